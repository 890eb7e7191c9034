//! Chunks, read into pieces.

use crate::dialogue::{Finish, Part, Piece};
use crate::openai::message::{CallPiece, Message, text};
use crate::openai::{error, reply, usage};
use crate::sse::Event;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Reads a provider's chunks.
///
/// Claims: pieces of a call find their call by index, else by id, else it is the latest; a call without an id gets one;
/// a call begins when its name is known; calls end with their choice; chunks of no known shape say nothing; nothing
/// follows the end or an error.
#[derive(Debug, Default)]
pub struct Reader {
    has_begun: bool,
    is_over: bool,
    choices: BTreeMap<u64, ChoiceState>,
}

#[derive(Debug, Default)]
struct ChoiceState {
    is_finished: bool,
    /// Was there a thought in plain text since the last proof?
    has_open_thought: bool,
    calls: Vec<CallState>,
    /// How many have begun.
    begun: u64,
}

#[derive(Debug)]
struct CallState {
    /// The provider's index and id.
    index: Option<u64>,
    id: Option<String>,
    /// Its place among the calls that have begun.
    begun: Option<u64>,
    signature: Option<String>,
    /// Arguments that came before the name.
    waiting: String,
}

impl Reader {
    /// Reads an event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<Piece>) {
        let Some(data) = event.data() else {
            if !self.is_over {
                out.push(Piece::Ping);
            }
            return;
        };
        if self.is_over {
            return;
        }
        if data.starts_with(b"[DONE]") {
            self.done(out);
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(&data) else { return };
        if let Some(fault) = chunk.error {
            self.is_over = true;
            out.push(Piece::Error(error::refused_by(StatusCode::BAD_GATEWAY, Some(fault))));
            return;
        }
        let choices = chunk.choices.unwrap_or_default();
        if !self.has_begun && !choices.is_empty() {
            self.has_begun = true;
            out.push(Piece::Begin { id: text(chunk.id) });
        }
        for choice in &choices {
            let number = choice.index.unwrap_or(0);
            let state = self.choices.entry(number).or_default();
            if !state.is_finished {
                state.delta(number, &Message::read(choice.delta.or(choice.message)), out);
                if let Some(reason) = text(choice.finish_reason) {
                    state.finish(number, Some(&reason), out);
                }
            }
        }
        let counts = chunk.usage.or_else(|| choices.iter().find_map(|choice| choice.usage));
        if let Some(tokens) = counts.and_then(usage::tokens) {
            out.push(Piece::Usage(tokens));
        }
    }

    /// The bytes have ended. A stream that said why it ended is complete without its last event.
    pub fn end(&mut self, out: &mut Vec<Piece>) {
        let is_finished = !self.choices.is_empty() && self.choices.values().all(|choice| choice.is_finished);
        if is_finished && !self.is_over {
            self.done(out);
        }
    }

    fn done(&mut self, out: &mut Vec<Piece>) {
        self.is_over = true;
        if !self.has_begun {
            return;
        }
        for (number, choice) in &mut self.choices {
            // Some vendors end without a reason.
            if !choice.is_finished {
                choice.finish(*number, None, out);
            }
        }
        out.push(Piece::End);
    }
}

impl ChoiceState {
    fn delta(&mut self, choice: u64, delta: &Message<'_>, out: &mut Vec<Piece>) {
        if let Some(text) = delta.thought() {
            self.has_open_thought = true;
            out.push(Piece::Thinking { choice, text });
        }
        for block in delta.thinking_blocks() {
            match block {
                Part::Thinking { text, signature } => {
                    // A block repeats what came in plain text.
                    if !text.is_empty() && !self.has_open_thought {
                        out.push(Piece::Thinking { choice, text });
                    }
                    if let Some(signature) = signature {
                        self.has_open_thought = false;
                        out.push(Piece::Signature { choice, signature });
                    }
                }
                Part::HiddenThinking { data } => out.push(Piece::HiddenThinking { choice, data }),
                // A list of thoughts holds no other.
                Part::Text { .. }
                | Part::Media { .. }
                | Part::Call { .. }
                | Part::Result { .. }
                | Part::Refusal { .. } => {}
            }
        }
        for part in delta.said() {
            match part {
                Part::Text { text, .. } => out.push(Piece::Text { choice, text }),
                Part::Refusal { text } => out.push(Piece::Refusal { choice, text }),
                Part::Thinking { text, .. } => out.push(Piece::Thinking { choice, text }),
                // A stream has no piece for media.
                Part::Media { .. }
                | Part::HiddenThinking { .. }
                | Part::Call { .. }
                | Part::Result { .. } => {}
            }
        }
        for piece in delta.calls() {
            self.call(choice, piece, out);
        }
    }

    /// The call that a piece belongs to. `None`: it begins a new one.
    fn known(&mut self, piece: &CallPiece) -> Option<usize> {
        let is_other = |call: &CallState| {
            piece.id.is_some() && piece.name.is_some() && call.id.is_some() && call.id != piece.id
        };
        match (piece.index, &piece.id) {
            (Some(index), _) => {
                let at = self.calls.iter().rposition(|call| call.index == Some(index))?;
                // Some vendors give every whole call the index 0.
                (!is_other(&self.calls[at])).then_some(at)
            }
            (None, Some(id)) => self.calls.iter().rposition(|call| call.id.as_ref() == Some(id)),
            (None, None) if piece.name.is_some() => None,
            (None, None) => self.calls.len().checked_sub(1),
        }
    }

    fn call(&mut self, choice: u64, piece: CallPiece, out: &mut Vec<Piece>) {
        let at = self.known(&piece).unwrap_or_else(|| {
            let call = CallState {
                index: piece.index,
                id: None,
                begun: None,
                signature: None,
                waiting: String::new(),
            };
            self.calls.push(call);
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        if call.id.is_none() {
            call.id = piece.id;
        }
        if call.signature.is_none() {
            call.signature = piece.signature;
        }
        if call.begun.is_none() {
            let Some(name) = piece.name else {
                call.waiting.push_str(&piece.arguments);
                return;
            };
            let index = self.begun;
            self.begun += 1;
            call.begun = Some(index);
            let id = call.id.get_or_insert_with(|| reply::made_up_id(at)).clone();
            out.push(Piece::CallBegin { choice, index, id, name, signature: call.signature.clone() });
        }
        let mut fragment = std::mem::take(&mut call.waiting);
        fragment.push_str(&piece.arguments);
        if let (Some(index), false) = (call.begun, fragment.is_empty()) {
            out.push(Piece::CallArguments { choice, index, fragment });
        }
    }

    fn finish(&mut self, choice: u64, reason: Option<&str>, out: &mut Vec<Piece>) {
        self.is_finished = true;
        out.extend((0..self.begun).map(|index| Piece::CallEnd { choice, index }));
        let finish: Finish = reply::finish(reason, self.begun > 0);
        out.push(Piece::Finish { choice, finish });
    }
}
