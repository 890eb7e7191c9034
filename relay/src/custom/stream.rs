//! The vendor's streams, event by event, made into those of the protocol that it is nearest to.
//!
//! Claims: any cutting into packets gives the same events; a stream that only gives text becomes a whole stream of the
//! protocol, with its beginning, its reason for the end and its counts; one that breaks off before its end has none; an
//! event that nobody can read goes on as it is, so that the relay sees that something is missing.

use super::answer::{counts, is_answer};
use super::edit::Node;
use super::pointer::Pointer;
use super::template::{Cut, Done, StreamRules, Template};
use super::usage::Counted;
use crate::dialogue::{Piece, Voice};
use crate::sse::{Event, EventTooLong, Splitter};
use crate::wire::Wire;
use crate::wire::convert::Writer;
use crate::{claude, gemini, openai};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use domain::Tokens;
use serde::de::IgnoredAny;
use std::collections::VecDeque;

impl Template {
    /// Is its stream a JSON value per line?
    pub(crate) fn streams_lines(&self, wire: Wire) -> bool {
        is_shaped(wire) && self.0.stream_rules().is_some_and(|rules| rules.framing == Cut::Lines)
    }
}

/// Do rules for streams concern this wire?
fn is_shaped(wire: Wire) -> bool {
    wire.is_conversation() && wire != Wire::Responses || wire == Wire::Completions
}

/// Makes the vendor's events into the protocol's.
pub(crate) struct Shaper {
    template: Template,
    rules: StreamRules,
    wire: Wire,
    counted: Counted,
    /// Writes the stream of a vendor that only gives text; `None`: its events are the protocol's own, once unwrapped.
    writer: Option<Writer>,
    /// Cuts what the writer writes.
    splitter: Splitter,
    has_begun: bool,
    is_finished: bool,
    is_over: bool,
}

impl Shaper {
    /// For a stream of events of at most `limit` bytes. `None`: the vendor's events are the protocol's own.
    pub(crate) fn new(template: &Template, wire: Wire, voice: Voice, limit: usize) -> Option<Self> {
        let rules = template.0.stream_rules().cloned().unwrap_or_default();
        let own = StreamRules { framing: rules.framing, ..StreamRules::default() };
        let is_own = rules == own && template.0.usage.is_none() && template.0.answer.error.is_none();
        if is_own || !is_shaped(wire) {
            return None;
        }
        // The counts are wanted here, whether or not the caller gets them.
        let voice = Voice { wants_usage: true, ..voice };
        let writer = if rules.text.is_some() { Some(Writer::new(wire, voice)?) } else { None };
        Some(Self {
            template: template.clone(),
            rules,
            wire,
            counted: Counted::default(),
            writer,
            splitter: Splitter::new(limit),
            has_begun: false,
            is_finished: false,
            is_over: false,
        })
    }

    /// The vendor's counts so far, if the template names them.
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.counted.tokens(self.template.0.usage.as_ref()?)
    }

    /// Takes one of the vendor's events, and gives the protocol's that it becomes.
    pub(crate) fn event(&mut self, event: &Event, out: &mut VecDeque<Event>) {
        if self.is_over {
            return;
        }
        let Some(data) = event.data() else { return out.push_back(event.clone()) };
        if self.is_mark(&data) {
            return self.done(out);
        }
        let json = std::str::from_utf8(&data).ok();
        let Some(json) = json.filter(|json| serde_json::from_str::<IgnoredAny>(json).is_ok()) else {
            return out.push_back(event.clone());
        };
        let has_counts = self.template.0.usage.as_ref().is_some_and(|rules| self.counted.read(rules, json));
        if self.writer.is_some() {
            self.text(json, has_counts, out);
        } else {
            self.own(event, json, has_counts, out);
        }
        let is_last = match &self.rules.done {
            Some(Done::Value(last)) => {
                let found = last.at.find(json).and_then(|it| serde_json::from_str(it.get()).ok());
                found.unwrap_or(serde_json::Value::Null) == last.is
            }
            Some(Done::Mark(_)) | None => false,
        };
        if is_last {
            self.done(out);
        }
    }

    /// The bytes have ended. A vendor that said why the answer ended is forgiven a missing last event.
    pub(crate) fn end(&mut self, out: &mut VecDeque<Event>) {
        if self.writer.is_some() && self.is_finished && !self.is_over {
            self.done(out);
        }
    }

    fn is_mark(&self, data: &[u8]) -> bool {
        let data = data.trim_ascii();
        let is_own = self.writer.is_some() && data.starts_with(b"[DONE]");
        is_own || matches!(&self.rules.done, Some(Done::Mark(mark)) if mark.as_bytes() == data)
    }

    fn done(&mut self, out: &mut VecDeque<Event>) {
        if self.writer.is_some() {
            self.begin(out);
            if !std::mem::replace(&mut self.is_finished, true) {
                let finish = self.template.finish(None);
                self.piece(Piece::Finish { choice: 0, finish }, out);
            }
            if let Some(tokens) = self.tokens() {
                self.piece(Piece::Usage(tokens), out);
            }
            self.piece(Piece::End, out);
        } else {
            match self.wire {
                Wire::Chat | Wire::Completions => out.push_back(sse(None, "[DONE]")),
                Wire::Claude => out.push_back(sse(Some("message_stop"), r#"{"type":"message_stop"}"#)),
                // Their streams end with their bytes.
                Wire::Gemini
                | Wire::Responses
                | Wire::Embeddings
                | Wire::GeminiEmbeddings
                | Wire::Media(_) => {}
            }
        }
        self.is_over = true;
    }

    /// An event of a vendor that only gives text.
    fn text(&mut self, json: &str, has_counts: bool, out: &mut VecDeque<Event>) {
        let read = |pointer: &Option<Pointer>| pointer.as_ref().and_then(|pointer| pointer.text(json));
        let (text, word) = (read(&self.rules.text), read(&self.rules.finish).filter(|word| !word.is_empty()));
        if text.is_none()
            && word.is_none()
            && let Some(error) = self.template.error_in(json)
        {
            return self.fail(&error, out);
        }
        self.begin(out);
        if let Some(text) = text.filter(|text| !text.is_empty() && !self.is_finished) {
            self.piece(Piece::Text { choice: 0, text: text.into_owned() }, out);
        }
        if let Some(word) = word
            && !std::mem::replace(&mut self.is_finished, true)
        {
            let finish = self.template.finish(Some(&word));
            self.piece(Piece::Finish { choice: 0, finish }, out);
        }
        if has_counts && let Some(tokens) = self.tokens() {
            self.piece(Piece::Usage(tokens), out);
        }
    }

    fn begin(&mut self, out: &mut VecDeque<Event>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.piece(Piece::Begin { id: None }, out);
        }
    }

    fn piece(&mut self, piece: Piece, out: &mut VecDeque<Event>) {
        let Some(writer) = &mut self.writer else { return };
        let mut bytes = BytesMut::new();
        writer.piece(piece, &mut bytes);
        self.splitter.push(&bytes);
        // What we write are whole events, each hardly longer than the vendor's, which kept to the limit.
        while let Ok(Some(event)) = self.splitter.next_event() {
            out.push_back(event);
        }
    }

    /// An event that holds one of the protocol's, or nothing but counts, or an error.
    fn own(&mut self, event: &Event, json: &str, has_counts: bool, out: &mut VecDeque<Event>) {
        let own = match &self.rules.root {
            Some(root) => root.find(json).map(serde_json::value::RawValue::get),
            None => Some(json),
        };
        let is_error = match (own, self.wire) {
            (None, _) => true,
            (Some(_), _) if self.rules.root.is_some() => false,
            (Some(own), Wire::Claude) => kind(own).is_none(),
            (Some(own), wire) => !is_answer(wire, own.as_bytes()),
        };
        if is_error && let Some(error) = self.template.error_in(json) {
            return self.fail(&error, out);
        }
        let tokens = if has_counts { self.tokens() } else { None };
        let counts = tokens.and_then(|tokens| counts(self.wire, &tokens));
        match (own, counts) {
            (Some(_), None) if self.rules.root.is_none() => out.push_back(event.clone()),
            (Some(own), counts) => {
                let kind = if self.wire == Wire::Claude { kind(own) } else { None };
                let mut node = Node::new(own);
                match (counts, kind.as_deref()) {
                    (Some((key, counts)), Some("message_start")) => {
                        node.put_key_in("message", key, Node::Owned(counts));
                    }
                    (Some((key, counts)), kind)
                        if kind == Some("message_delta") || self.wire != Wire::Claude =>
                    {
                        node.put_key(key, Node::Owned(counts));
                    }
                    _ => {}
                }
                let json = String::from_utf8_lossy(&node.written()).into_owned();
                out.push_back(sse(kind.as_deref(), &json));
            }
            (None, Some((key, counts))) => out.push_back(match self.wire {
                Wire::Claude => {
                    let json = format!(r#"{{"type":"message_delta","delta":{{}},"{key}":{counts}}}"#);
                    sse(Some("message_delta"), &json)
                }
                Wire::Gemini => sse(None, &format!(r#"{{"{key}":{counts}}}"#)),
                _ => sse(None, &format!(r#"{{"choices":[],"{key}":{counts}}}"#)),
            }),
            (None, None) => {}
        }
    }

    /// The vendor's error ends the stream.
    fn fail(&mut self, error: &str, out: &mut VecDeque<Event>) {
        let error = self.wire.refused(StatusCode::BAD_GATEWAY, error.as_bytes());
        let raw = match self.wire {
            Wire::Claude => claude::error::event(&error),
            Wire::Gemini | Wire::GeminiEmbeddings => gemini::error::event(&error),
            Wire::Chat | Wire::Completions | Wire::Responses | Wire::Embeddings | Wire::Media(_) => {
                openai::error::event(&error)
            }
        };
        out.push_back(Event { raw });
        self.is_over = true;
    }
}

/// The `type` of an event of Anthropic's.
fn kind(json: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Kind {
        r#type: String,
    }
    serde_json::from_str::<Kind>(json).ok().map(|kind| kind.r#type)
}

fn sse(name: Option<&str>, json: &str) -> Event {
    // Line ends within JSON stand between its parts only.
    let json = json.replace(['\r', '\n'], " ");
    let name = name.map(|name| format!("event: {}\n", name.replace(['\r', '\n'], " "))).unwrap_or_default();
    Event { raw: format!("{name}data: {json}\n\n").into() }
}

/// Cuts a stream into lines, each of which is given as an event.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// Up to here no line end was found.
    scanned: usize,
    limit: usize,
}

impl Lines {
    /// For lines of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), scanned: 0, limit }
    }

    /// Takes the next packet.
    pub(crate) fn push(&mut self, packet: &[u8]) {
        self.buffer.extend_from_slice(packet);
    }

    /// The next whole line that is not blank. After an error the stream cannot be read on.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, EventTooLong> {
        while let Some(found) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let line = self.buffer.split_to(self.scanned + found + 1).freeze();
            self.scanned = 0;
            if let Some(event) = as_event(&line) {
                return Ok(Some(event));
            }
        }
        self.scanned = self.buffer.len();
        if self.buffer.len() > self.limit { Err(EventTooLong { limit: self.limit }) } else { Ok(None) }
    }

    /// What is left when the stream has ended: a line without its end.
    pub(crate) fn rest(&mut self) -> Option<Event> {
        let line: Bytes = self.buffer.split().freeze();
        self.scanned = 0;
        as_event(&line)
    }
}

fn as_event(line: &[u8]) -> Option<Event> {
    let line = line.trim_ascii();
    (!line.is_empty()).then(|| Event { raw: [b"data: ", line, b"\n\n"].concat().into() })
}
