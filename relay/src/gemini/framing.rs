//! A stream as one JSON array that comes in pieces: what callers get who ask for a stream without `alt=sse`.
//!
//! For: turning the events that providers and [`super::stream::Writer`] write into the array's elements.
//! May not touch: what an event's data means.
//! Claims: however the events are cut into packets, the bytes are one JSON array as soon as the stream has ended, broken
//! streams included; an element is written as soon as its event has come.

use super::error;
use crate::error::CallError;
use crate::sse::{Event, EventTooLong, Splitter};
use bytes::BytesMut;

/// The content type of such a stream.
pub const CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// Turns events into array elements.
#[derive(Debug)]
pub struct ArrayFraming {
    splitter: Splitter,
    is_open: bool,
    is_closed: bool,
}

impl ArrayFraming {
    /// For events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { splitter: Splitter::new(limit), is_open: false, is_closed: false }
    }

    /// Takes more bytes of the events' stream.
    ///
    /// # Errors
    /// [`EventTooLong`]: it cannot be read on.
    pub fn push(&mut self, packet: &[u8], out: &mut BytesMut) -> Result<(), EventTooLong> {
        self.splitter.push(packet);
        while let Some(event) = self.splitter.next_event()? {
            self.event(&event, out);
        }
        Ok(())
    }

    /// Takes one whole event. Comments, and the end mark that some vendors write, are no elements.
    pub fn event(&mut self, event: &Event, out: &mut BytesMut) {
        if let Some(data) = event.data().filter(|data| !data.starts_with(b"[DONE]") && !data.is_empty()) {
            self.element(&data, out);
        }
    }

    /// The stream has broken off: an error as the last element, and the array's end.
    pub fn error(&mut self, error: &CallError, out: &mut BytesMut) {
        self.element(&error::body(error), out);
        self.end(out);
    }

    /// The stream has ended.
    pub fn end(&mut self, out: &mut BytesMut) {
        if self.is_closed {
            return;
        }
        if !self.is_open {
            out.extend_from_slice(b"[");
        }
        out.extend_from_slice(b"]");
        self.is_closed = true;
    }

    fn element(&mut self, json: &[u8], out: &mut BytesMut) {
        if self.is_closed {
            return;
        }
        out.extend_from_slice(if self.is_open { b",\r\n" } else { b"[" });
        self.is_open = true;
        out.extend_from_slice(json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn framed<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> (ArrayFraming, BytesMut) {
        let mut framing = ArrayFraming::new(1 << 20);
        let mut out = BytesMut::new();
        for packet in packets {
            framing.push(packet, &mut out).unwrap();
        }
        (framing, out)
    }

    const STREAM: &[u8] =
        "data: {\"a\":\"早\"}\r\n\r\n: comment\n\ndata: {\"b\":[1]}\r\n\r\ndata: [DONE]\n\n".as_bytes();

    #[test]
    fn events_become_elements_wherever_packets_are_cut() {
        for cut in 0..=STREAM.len() {
            let (mut framing, mut out) = framed([&STREAM[..cut], &STREAM[cut..]]);
            framing.end(&mut out);
            assert_eq!(out, "[{\"a\":\"早\"},\r\n{\"b\":[1]}]", "cut at {cut}");
        }
    }

    #[test]
    fn an_element_does_not_wait_for_the_next_one() {
        let (_, out) = framed([&b"data: {\"a\":1}\r\n\r\n"[..]]);
        assert_eq!(out, "[{\"a\":1}");
    }

    #[test]
    fn an_empty_stream_is_an_empty_array() {
        let (mut framing, mut out) = framed([&b": keep-alive\n\n"[..]]);
        framing.end(&mut out);
        framing.end(&mut out);
        assert_eq!(out, "[]");
    }

    #[test]
    fn a_broken_stream_is_an_array_with_an_error_at_its_end() {
        let (mut framing, mut out) = framed([&b"data: {\"a\":1}\r\n\r\ndata: {\"hal"[..]]);
        framing.error(&CallError::ProviderTimeout, &mut out);
        let array: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(array[0], json!({"a": 1}));
        assert_eq!((&array[1]["error"]["code"], array.as_array().unwrap().len()), (&json!(504), 2));
    }
}
