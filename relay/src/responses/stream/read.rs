//! Events, read into pieces.

use crate::dialogue::{Part, Piece};
use crate::openai::message::{parse, text};
use crate::responses::error;
use crate::responses::reply::{Item, Wire, thinking};
use crate::sse::Event;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    item_id: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    summary_index: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Reads a provider's events.
///
/// Claims: items are told apart by their ids; what came in no delta is taken from the whole item; calls are numbered in
/// the order of their items; an answer that ends with its last event is complete; nothing follows the end or an error.
#[derive(Debug, Default)]
pub struct Reader {
    has_begun: bool,
    is_over: bool,
    /// Items of which something came in deltas.
    in_deltas: HashSet<String>,
    /// Calls that have begun, by their items: their place, and whether they are open.
    calls: HashMap<String, (u64, bool)>,
}

impl Reader {
    /// Reads an event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<Piece>) {
        if self.is_over {
            return;
        }
        let Some(data) = event.data() else {
            out.push(Piece::Ping);
            return;
        };
        let Ok(wire) = serde_json::from_slice::<Envelope<'_>>(&data) else { return };
        let Some(kind) = text(wire.r#type) else {
            if wire.error.is_some() {
                self.failed(wire.error, out);
            }
            return;
        };
        match kind.as_str() {
            "error" => {
                let whole: Option<&RawValue> = serde_json::from_slice(&data).ok();
                self.failed(wire.error.or(whole), out);
            }
            "response.created" | "response.in_progress" => {
                let response: Wire<'_> = wire.response.and_then(parse).unwrap_or_default();
                self.begin(text(response.id), out);
            }
            "response.completed" | "response.incomplete" => {
                let response: Wire<'_> = wire.response.and_then(parse).unwrap_or_default();
                self.last(&response, out);
            }
            "response.failed" => {
                let response: Wire<'_> = wire.response.and_then(parse).unwrap_or_default();
                out.extend(response.tokens().map(Piece::Usage));
                self.failed(response.error, out);
            }
            "response.output_item.added" => {
                if let Some(item) = wire.item.and_then(parse::<Item<'_>>)
                    && item.kind() == "function_call"
                {
                    self.call_begins(&item, out);
                }
            }
            "response.output_item.done" => {
                if let Some(item) = wire.item.and_then(parse::<Item<'_>>) {
                    self.item(&item, out);
                }
            }
            "response.reasoning_summary_part.added" => {
                // A blank line between the parts of a summary.
                if wire.summary_index.and_then(parse::<u64>).is_some_and(|index| index > 0) {
                    self.begin(None, out);
                    out.push(Piece::Thinking { choice: 0, text: "\n\n".into() });
                }
            }
            other => {
                if let Some(delta) = text(wire.delta) {
                    self.delta(other, text(wire.item_id).unwrap_or_default(), delta, out);
                }
            }
        }
    }

    /// The bytes have ended. Only its last event completes a stream, and that has been read.
    pub fn end(&mut self, _out: &mut Vec<Piece>) {
        self.is_over = true;
    }

    fn begin(&mut self, id: Option<String>, out: &mut Vec<Piece>) {
        if !self.has_begun {
            self.has_begun = true;
            out.push(Piece::Begin { id });
        }
    }

    fn failed(&mut self, fault: Option<&RawValue>, out: &mut Vec<Piece>) {
        self.is_over = true;
        out.push(Piece::Error(error::refused_by(StatusCode::BAD_GATEWAY, fault)));
    }

    fn delta(&mut self, kind: &str, item: String, text: String, out: &mut Vec<Piece>) {
        let piece = match kind {
            "response.output_text.delta" => Piece::Text { choice: 0, text },
            "response.refusal.delta" => Piece::Refusal { choice: 0, text },
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                Piece::Thinking { choice: 0, text }
            }
            "response.function_call_arguments.delta" => {
                let Some((index, true)) = self.calls.get(&item) else { return };
                Piece::CallArguments { choice: 0, index: *index, fragment: text }
            }
            _ => return,
        };
        self.begin(None, out);
        self.in_deltas.insert(item);
        out.push(piece);
    }

    fn call_begins(&mut self, item: &Item<'_>, out: &mut Vec<Piece>) {
        self.begin(None, out);
        let index = self.calls.len();
        self.calls.insert(item.id().unwrap_or_default(), (index as u64, true));
        out.push(Piece::CallBegin {
            choice: 0,
            index: index as u64,
            id: item.call_id(index),
            name: item.name(),
            signature: item.signature(),
        });
    }

    /// A whole item.
    fn item(&mut self, item: &Item<'_>, out: &mut Vec<Piece>) {
        self.begin(None, out);
        let id = item.id().unwrap_or_default();
        let in_deltas = self.in_deltas.contains(&id);
        match item.kind().as_str() {
            "function_call" => {
                if !self.calls.contains_key(&id) {
                    self.call_begins(item, out);
                }
                let Some((index, is_open)) = self.calls.get_mut(&id) else { return };
                if !std::mem::take(is_open) {
                    return;
                }
                let (index, fragment) = (*index, item.arguments());
                if !in_deltas && !fragment.is_empty() {
                    out.push(Piece::CallArguments { choice: 0, index, fragment });
                }
                out.push(Piece::CallEnd { choice: 0, index });
            }
            "message" if !in_deltas => {
                for part in item.said() {
                    match part {
                        Part::Text { text, .. } => out.push(Piece::Text { choice: 0, text }),
                        Part::Refusal { text } => out.push(Piece::Refusal { choice: 0, text }),
                        // A message says nothing else.
                        Part::Media { .. }
                        | Part::Thinking { .. }
                        | Part::HiddenThinking { .. }
                        | Part::Call { .. }
                        | Part::Result { .. } => {}
                    }
                }
            }
            "reasoning" => match thinking(item.thought(), item.proof()) {
                Some(Part::HiddenThinking { data }) => out.push(Piece::HiddenThinking { choice: 0, data }),
                Some(Part::Thinking { text, signature }) => {
                    if !in_deltas && !text.is_empty() {
                        out.push(Piece::Thinking { choice: 0, text });
                    }
                    if let Some(signature) = signature {
                        out.push(Piece::Signature { choice: 0, signature });
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn last(&mut self, response: &Wire<'_>, out: &mut Vec<Piece>) {
        self.is_over = true;
        if !self.has_begun {
            // All in one event.
            self.begin(text(response.id), out);
            for item in response.items() {
                self.item(&item, out);
            }
        }
        let mut open: Vec<u64> =
            self.calls.values().filter(|(_, is_open)| *is_open).map(|(index, _)| *index).collect();
        open.sort_unstable();
        out.extend(open.into_iter().map(|index| Piece::CallEnd { choice: 0, index }));
        out.push(Piece::Finish { choice: 0, finish: response.finish(!self.calls.is_empty()) });
        out.extend(response.tokens().map(Piece::Usage));
        out.push(Piece::End);
    }
}
