//! Pieces, written as events for a caller.
//!
//! Claims: blocks are numbered 0, 1, 2… and one is open at a time; pieces that interleave wait until the open block is
//! closed; counts stand in the last but one event, wherever they came; nothing is written after the end or an error.

use crate::claude::error;
use crate::claude::reply::{Block, Message, stop};
use crate::claude::usage::View;
use crate::claude::wire::empty_object;
use crate::dialogue::{Finish, Piece, Voice};
use bytes::{BufMut, Bytes, BytesMut};
use domain::Tokens;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// Writes a stream.
#[derive(Debug)]
pub struct Writer {
    voice: Voice,
    has_begun: bool,
    is_over: bool,
    /// The next block's number.
    next: u64,
    open: Open,
    /// What came while a call was open, in order.
    waiting: VecDeque<Waiting>,
    usage: Tokens,
    finish: Option<Finish>,
    has_calls: bool,
    has_refused: bool,
}

/// The open block.
#[derive(Debug, PartialEq, Eq)]
enum Open {
    None,
    Text,
    Thought,
    /// A call, by its place among the calls.
    Call {
        call: u64,
        has_arguments: bool,
    },
}

#[derive(Debug)]
enum Waiting {
    Text(String),
    Thought(String),
    Signature(String),
    Hidden(String),
    Call { call: u64, id: String, name: String, signature: Option<String>, arguments: String, is_ended: bool },
}

/// An event's data.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Data<'a> {
    MessageStart { message: Message<'a> },
    ContentBlockStart { index: u64, content_block: Block<'a> },
    ContentBlockDelta { index: u64, delta: Delta<'a> },
    ContentBlockStop { index: u64 },
    MessageDelta { delta: Stop<'a>, usage: View },
    MessageStop,
    Ping,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thought { thinking: &'a str },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'a str },
    #[serde(rename = "input_json_delta")]
    Arguments { partial_json: &'a str },
}

#[derive(Serialize)]
struct Stop<'a> {
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
}

impl Data<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
            Self::Ping => "ping",
        }
    }
}

/// Clients skip an event without its name, and look for what it means in the data.
fn put(data: &Data<'_>, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(data.name().as_bytes());
    out.put_slice(b"\ndata: ");
    // Serialising strings into memory cannot fail.
    let _ = serde_json::to_writer((&mut *out).writer(), data);
    out.put_slice(b"\n\n");
}

/// The events that end a stream of a provider for its length; `open`: its blocks that are open.
pub(crate) fn length(open: &[u64], tokens: &Tokens) -> Bytes {
    let mut out = BytesMut::new();
    for index in open {
        put(&Data::ContentBlockStop { index: *index }, &mut out);
    }
    let (stop_reason, stop_sequence) = stop(&Finish::Length, false, false);
    let delta = Stop { stop_reason, stop_sequence };
    put(&Data::MessageDelta { delta, usage: View::new(tokens) }, &mut out);
    put(&Data::MessageStop, &mut out);
    out.freeze()
}

impl Writer {
    /// For a caller.
    pub fn new(voice: Voice) -> Self {
        Self {
            voice,
            has_begun: false,
            is_over: false,
            next: 0,
            open: Open::None,
            waiting: VecDeque::new(),
            usage: Tokens::default(),
            finish: None,
            has_calls: false,
            has_refused: false,
        }
    }

    /// Writes a piece. The format knows one choice; what belongs to others is left out.
    pub fn piece(&mut self, piece: Piece, out: &mut BytesMut) {
        if self.is_over {
            return;
        }
        match piece {
            Piece::Begin { .. } => self.begin(out),
            Piece::Text { choice: 0, text } => self.take(Waiting::Text(text), out),
            Piece::Refusal { choice: 0, text } => {
                self.has_refused = true;
                self.take(Waiting::Text(text), out);
            }
            Piece::Thinking { choice: 0, text } => self.take(Waiting::Thought(text), out),
            Piece::Signature { choice: 0, signature } => self.take(Waiting::Signature(signature), out),
            Piece::HiddenThinking { choice: 0, data } => self.take(Waiting::Hidden(data), out),
            Piece::CallBegin { choice: 0, index: call, id, name, signature } => {
                self.has_calls = true;
                let arguments = String::new();
                self.take(Waiting::Call { call, id, name, signature, arguments, is_ended: false }, out);
            }
            Piece::CallArguments { choice: 0, index, fragment } => self.arguments(index, &fragment, out),
            Piece::CallEnd { choice: 0, index } => self.call_end(index, out),
            Piece::Finish { choice: 0, finish } => {
                self.close_all(out);
                self.finish = Some(finish);
            }
            Piece::Text { .. }
            | Piece::Refusal { .. }
            | Piece::Thinking { .. }
            | Piece::Signature { .. }
            | Piece::HiddenThinking { .. }
            | Piece::CallBegin { .. }
            | Piece::CallArguments { .. }
            | Piece::CallEnd { .. }
            | Piece::Finish { .. } => {}
            Piece::Usage(tokens) => self.usage = tokens,
            Piece::Ping => put(&Data::Ping, out),
            Piece::Error(error) => {
                self.is_over = true;
                out.put_slice(&error::event(&error));
            }
            Piece::End => self.end(out),
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.has_begun, true) {
            // The counts are not known yet, as a rule: the real ones stand at the end, as the format allows.
            let message = Message::begun(&self.voice, &self.usage);
            put(&Data::MessageStart { message }, out);
        }
    }

    /// Writes what is said next, or keeps it while a call is open.
    fn take(&mut self, next: Waiting, out: &mut BytesMut) {
        self.begin(out);
        match (&self.open, self.waiting.back_mut(), &next) {
            (Open::None | Open::Text | Open::Thought, _, _) => self.write(next, out),
            (Open::Call { .. }, Some(Waiting::Text(before)), Waiting::Text(text))
            | (Open::Call { .. }, Some(Waiting::Thought(before)), Waiting::Thought(text)) => {
                before.push_str(text);
            }
            (Open::Call { .. }, _, _) => self.waiting.push_back(next),
        }
    }

    /// Writes what is said, with no call open.
    fn write(&mut self, next: Waiting, out: &mut BytesMut) {
        match next {
            Waiting::Text(text) if text.is_empty() => {}
            Waiting::Text(text) => {
                self.ensure(Open::Text, out);
                self.delta(Delta::Text { text: &text }, out);
            }
            Waiting::Thought(text) if text.is_empty() => {}
            Waiting::Thought(text) => {
                self.ensure(Open::Thought, out);
                self.delta(Delta::Thought { thinking: &text }, out);
            }
            Waiting::Signature(signature) => {
                // A proof without a thought is of one that is withheld; it ends the thought in any case.
                self.ensure(Open::Thought, out);
                self.delta(Delta::Signature { signature: &signature }, out);
                self.close(out);
            }
            Waiting::Hidden(data) => {
                self.start(Block::RedactedThinking { data: &data }, Open::None, out);
                self.stop_block(out);
            }
            Waiting::Call { call, id, name, signature, arguments, is_ended } => {
                let input: &RawValue = &empty_object();
                let block = Block::ToolUse { id: &id, name: &name, input, signature: signature.as_deref() };
                self.start(block, Open::Call { call, has_arguments: false }, out);
                self.arguments(call, &arguments, out);
                if is_ended {
                    self.close(out);
                }
            }
        }
    }

    fn arguments(&mut self, of: u64, fragment: &str, out: &mut BytesMut) {
        if fragment.is_empty() {
            return;
        }
        match &mut self.open {
            Open::Call { call, has_arguments } if *call == of => {
                *has_arguments = true;
                self.delta(Delta::Arguments { partial_json: fragment }, out);
            }
            Open::None | Open::Text | Open::Thought | Open::Call { .. } => {
                if let Some((arguments, false)) = self.waiting_call(of).map(|(text, ended)| (text, *ended)) {
                    arguments.push_str(fragment);
                }
            }
        }
    }

    fn call_end(&mut self, of: u64, out: &mut BytesMut) {
        if matches!(self.open, Open::Call { call, .. } if call == of) {
            self.close(out);
            self.catch_up(out);
        } else if let Some((_, is_ended)) = self.waiting_call(of) {
            *is_ended = true;
        }
    }

    fn waiting_call(&mut self, of: u64) -> Option<(&mut String, &mut bool)> {
        self.waiting.iter_mut().rev().find_map(|waiting| match waiting {
            Waiting::Call { call, arguments, is_ended, .. } if *call == of => Some((arguments, is_ended)),
            Waiting::Call { .. }
            | Waiting::Text(_)
            | Waiting::Thought(_)
            | Waiting::Signature(_)
            | Waiting::Hidden(_) => None,
        })
    }

    /// Writes what waited, up to a call that goes on.
    fn catch_up(&mut self, out: &mut BytesMut) {
        while !matches!(self.open, Open::Call { .. })
            && let Some(next) = self.waiting.pop_front()
        {
            self.write(next, out);
        }
    }

    fn close_all(&mut self, out: &mut BytesMut) {
        self.begin(out);
        self.close(out);
        while let Some(next) = self.waiting.pop_front() {
            self.write(next, out);
            if matches!(self.open, Open::Call { .. }) {
                self.close(out);
            }
        }
        self.close(out);
    }

    /// Opens a text or a thought unless it is open.
    fn ensure(&mut self, kind: Open, out: &mut BytesMut) {
        if self.open == kind {
            return;
        }
        let block = match kind {
            Open::Thought => Block::Thinking { thinking: "", signature: "" },
            Open::Text | Open::None | Open::Call { .. } => Block::Text { text: "" },
        };
        self.start(block, kind, out);
    }

    fn start(&mut self, content_block: Block<'_>, kind: Open, out: &mut BytesMut) {
        self.close(out);
        put(&Data::ContentBlockStart { index: self.next, content_block }, out);
        self.open = kind;
    }

    fn delta(&self, delta: Delta<'_>, out: &mut BytesMut) {
        put(&Data::ContentBlockDelta { index: self.next, delta }, out);
    }

    /// Closes the open block, if one is.
    fn close(&mut self, out: &mut BytesMut) {
        match std::mem::replace(&mut self.open, Open::None) {
            Open::None => return,
            Open::Call { has_arguments: false, .. } => {
                self.delta(Delta::Arguments { partial_json: "{}" }, out);
            }
            Open::Call { has_arguments: true, .. } | Open::Text | Open::Thought => {}
        }
        self.stop_block(out);
    }

    fn stop_block(&mut self, out: &mut BytesMut) {
        put(&Data::ContentBlockStop { index: self.next }, out);
        self.next += 1;
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.close_all(out);
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        let (stop_reason, stop_sequence) = stop(&finish, self.has_calls, self.has_refused);
        let delta = Stop { stop_reason, stop_sequence };
        put(&Data::MessageDelta { delta, usage: View::new(&self.usage) }, out);
        put(&Data::MessageStop, out);
        self.is_over = true;
    }
}
