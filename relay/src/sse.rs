//! Server-sent events, cut out of a byte stream as they come.
//!
//! For: whole events as the bytes they were, and the data within.
//! May not touch: what the data means.
//! Claims: any cutting of a stream into packets gives the same events; the events' bytes one after another are the
//! stream's bytes; memory is bounded.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;
use std::borrow::Cow;

/// An event with its bytes, the blank line that ends it included. Comments and blank lines of their own are events
/// too: they are passed on like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The bytes as they came.
    pub raw: Bytes,
}

/// An event grew beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {limit} bytes")]
pub struct EventTooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

/// Cuts a stream into events.
#[derive(Debug)]
pub struct Splitter {
    buffer: BytesMut,
    /// Where the line begins that is being looked at.
    line: usize,
    /// Up to here no line end was found.
    scanned: usize,
    limit: usize,
}

impl Splitter {
    /// For events of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), line: 0, scanned: 0, limit }
    }

    /// Takes the next packet.
    pub fn push(&mut self, packet: &[u8]) {
        self.buffer.extend_from_slice(packet);
    }

    /// The next whole event, if there is one. After an error the stream cannot be read on.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLong> {
        while let Some(found) = memchr2(b'\n', b'\r', &self.buffer[self.scanned..]) {
            let end = self.scanned + found;
            let width = match (self.buffer[end], self.buffer.get(end + 1)) {
                (b'\r', Some(b'\n')) => 2,
                (b'\r', None) => {
                    // It may be half of a CR LF: the next byte tells.
                    self.scanned = end;
                    return self.within_limit();
                }
                _ => 1,
            };
            let is_blank = end == self.line;
            self.line = end + width;
            self.scanned = self.line;
            if is_blank {
                return Ok(Some(self.cut(self.line)));
            }
        }
        self.scanned = self.buffer.len();
        self.within_limit()
    }

    /// What is left when the stream has ended: an event without its blank line, or a last blank line.
    pub fn rest(&mut self) -> Option<Event> {
        (!self.buffer.is_empty()).then(|| self.cut(self.buffer.len()))
    }

    fn cut(&mut self, at: usize) -> Event {
        self.line = 0;
        self.scanned = 0;
        Event { raw: self.buffer.split_to(at).freeze() }
    }

    fn within_limit(&self) -> Result<Option<Event>, EventTooLong> {
        if self.buffer.len() > self.limit { Err(EventTooLong { limit: self.limit }) } else { Ok(None) }
    }
}

impl Event {
    /// The data: the values of its `data` lines, joined by line feeds. `None`: it has none, so it means nothing.
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        let mut data: Option<Cow<'_, [u8]>> = None;
        // A byte order mark can only stand at the very start of a stream; no field's name begins with one.
        let raw: &[u8] = self.raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.raw);
        for value in lines(raw).filter_map(data_value) {
            data = Some(match data {
                None => Cow::Borrowed(value),
                Some(before) => {
                    let mut joined = before.into_owned();
                    joined.push(b'\n');
                    joined.extend_from_slice(value);
                    Cow::Owned(joined)
                }
            });
        }
        data
    }

    /// Does a blank line end it?
    pub fn is_ended(&self) -> bool {
        self.raw.ends_with(b"\n\n")
            || self.raw.ends_with(b"\n\r\n")
            || self.raw.ends_with(b"\r\r")
            || self.raw.ends_with(b"\n\r")
    }
}

/// The lines, without their ends. Of a CR LF the LF makes an empty line more, which no one looks at.
fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(line)
    })
}

fn data_value(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let mut splitter = Splitter::new(1 << 20);
        let mut events = Vec::new();
        for packet in packets {
            splitter.push(packet);
            while let Some(event) = splitter.next_event().unwrap() {
                events.push(event);
            }
        }
        events.extend(splitter.rest());
        events
    }

    fn data(stream: &[u8]) -> Vec<Option<String>> {
        let text = |data: Cow<'_, [u8]>| String::from_utf8(data.into_owned()).unwrap();
        split([stream]).iter().map(|event| event.data().map(text)).collect()
    }

    const STREAM: &[u8] = "\u{feff}data: {\"a\":\"早\"}\n\n: comment\r\n\r\ndata:two\ndata: lines\ndata\n\nevent: x\rdata: 😀\r\r\
        \n\nid: 7\r\n\r\ndata: [DONE]\r\n\r\ndata: tail"
        .as_bytes();

    #[test]
    fn events_are_what_the_standard_says() {
        assert_eq!(
            data(STREAM),
            [
                Some("{\"a\":\"早\"}".into()),
                None,
                Some("two\nlines\n".into()),
                Some("😀".into()),
                None,
                None,
                Some("[DONE]".into()),
                Some("tail".into())
            ]
        );
    }

    #[test]
    fn every_way_to_cut_a_stream_in_three_gives_the_same_events() {
        let whole = split([STREAM]);
        for first in 0..=STREAM.len() {
            for second in first..=STREAM.len() {
                let parts = [&STREAM[..first], &STREAM[first..second], &STREAM[second..]];
                assert_eq!(split(parts), whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn an_event_comes_out_with_its_last_byte() {
        let mut splitter = Splitter::new(100);
        splitter.push(b"data: 1\n\ndata: 2\r\n\r\n");
        assert_eq!(splitter.next_event().unwrap().unwrap().raw, "data: 1\n\n");
        assert_eq!(splitter.next_event().unwrap().unwrap().raw, "data: 2\r\n\r\n");
        assert_eq!(splitter.next_event(), Ok(None));
        assert_eq!(splitter.rest(), None);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::new(10);
        splitter.push(b"data: 45\n");
        assert_eq!(splitter.next_event(), Ok(None));
        splitter.push(b"data");
        assert_eq!(splitter.next_event(), Err(EventTooLong { limit: 10 }));
    }

    #[test]
    fn a_field_that_only_begins_like_data_is_not_data() {
        assert_eq!(data(b"database: 1\n\n"), [None]);
        assert_eq!(data(b"data:  two spaces\n\n"), [Some(" two spaces".into())]);
    }

    proptest! {
        #[test]
        fn any_cutting_of_any_stream_gives_the_same_events(
            pieces in proptest::collection::vec(
                prop_oneof!["data: ?[a-z\u{e9}\u{4e2d}]{0,4}", Just("\n".into()), Just("\r".into()), Just("\r\n".into()),
                    Just(":".into()), Just("data".into()), Just("\u{feff}".into())], 0..40),
            cuts: Vec<proptest::sample::Index>,
        ) {
            let stream = pieces.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([stream.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let cut = split(starts.zip(ends).map(|(start, end)| &stream[start..end]));
            prop_assert_eq!(&cut, &split([stream.as_slice()]));
            prop_assert_eq!(cut.iter().flat_map(|event| event.raw.to_vec()).collect::<Vec<_>>(), stream);
        }
    }
}
