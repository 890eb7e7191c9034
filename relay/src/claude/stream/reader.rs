//! A provider's events, read into pieces.
//!
//! Claims: blocks may overlap and miss their ends, as some vendors' do; an event, block or delta that nobody knows is
//! skipped; after the last event or an error nothing more is read.

use crate::claude::usage::Counts;
use crate::claude::wire::{Object, is_empty_object};
use crate::claude::{error, reply};
use crate::dialogue::{Finish, Piece};
use crate::sse::Event;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The only choice.
const CHOICE: u64 = 0;

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Reader {
    counts: Counts,
    id: Option<String>,
    has_begun: bool,
    /// The blocks that are open, by their place.
    open: BTreeMap<u64, Block>,
    /// How many calls there were.
    calls: u64,
    is_finished: bool,
    is_over: bool,
}

#[derive(Debug)]
enum Block {
    /// A thought, with its proof so far.
    Thought { signature: String },
    /// A call, with the arguments that it began with.
    Call { index: u64, input: Option<Box<RawValue>>, has_arguments: bool },
}

impl Reader {
    /// Reads an event.
    pub fn event(&mut self, event: &Event, out: &mut Vec<Piece>) {
        if self.is_over {
            return;
        }
        let Some(data) = event.data() else { return };
        if data.starts_with(b"[DONE]") {
            return self.end(out);
        }
        let Ok(fields) = serde_json::from_slice::<Object<'_>>(&data) else { return };
        if let Some(shape) = fields.get("error") {
            return self.fail(Some(shape), out);
        }
        match text(&fields, "type").as_deref() {
            Some("message_start") => self.start(&fields, out),
            Some("content_block_start") => self.block_start(&fields, out),
            Some("content_block_delta") => self.delta(&fields, out),
            Some("content_block_stop") => {
                if let Some(block) = self.open.remove(&place(&fields)) {
                    close(block, out);
                }
            }
            Some("message_delta") => self.message_delta(&fields, out),
            Some("message_stop") => self.stop(out),
            Some("ping") => out.push(Piece::Ping),
            Some("error") => self.fail(None, out),
            Some(_) | None => {}
        }
    }

    /// The bytes have ended. A vendor that forgets the last event is forgiven, one that broke off is not.
    pub fn end(&mut self, out: &mut Vec<Piece>) {
        if self.is_finished && !self.is_over {
            self.stop(out);
        }
    }

    fn fail(&mut self, shape: Option<&RawValue>, out: &mut Vec<Piece>) {
        self.is_over = true;
        out.push(Piece::Error(error::in_stream(shape)));
    }

    fn begin(&mut self, out: &mut Vec<Piece>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            out.push(Piece::Begin { id: self.id.clone() });
        }
    }

    fn start(&mut self, fields: &Object<'_>, out: &mut Vec<Piece>) {
        let message = object(fields, "message");
        self.id = message.as_ref().and_then(|message| text(message, "id"));
        self.begin(out);
        if let Some(usage) = message.as_ref().and_then(|message| message.get("usage"))
            && self.counts.open(usage)
        {
            out.extend(self.counts.tokens().map(Piece::Usage));
        }
    }

    fn block_start(&mut self, fields: &Object<'_>, out: &mut Vec<Piece>) {
        self.begin(out);
        let Some(block) = object(fields, "content_block") else { return };
        let place = place(fields);
        if let Some(forgotten) = self.open.remove(&place) {
            close(forgotten, out);
        }
        match text(&block, "type").as_deref() {
            Some("text") => said(&block, "text", out),
            Some("thinking") => {
                thought(&block, out);
                let signature = text(&block, "signature").unwrap_or_default();
                self.open.insert(place, Block::Thought { signature });
            }
            Some("redacted_thinking") => {
                let data = text(&block, "data");
                out.extend(data.map(|data| Piece::HiddenThinking { choice: CHOICE, data }));
            }
            Some("tool_use") => {
                let Some(name) = text(&block, "name") else { return };
                let index = self.calls;
                self.calls += 1;
                let id = reply::call_id(text(&block, "id"), self.id.as_deref(), index);
                out.push(Piece::CallBegin { choice: CHOICE, index, id, name, signature: None });
                let input = block.get("input").filter(|input| !is_empty_object(input.get()));
                let input = input.map(|input| reply::arguments(Some(input)));
                self.open.insert(place, Block::Call { index, input, has_arguments: false });
            }
            // Of tools that the provider itself runs, and whatever else is to come.
            Some(_) | None => {}
        }
    }

    fn delta(&mut self, fields: &Object<'_>, out: &mut Vec<Piece>) {
        self.begin(out);
        let Some(delta) = object(fields, "delta") else { return };
        let block = self.open.get_mut(&place(fields));
        match (text(&delta, "type").as_deref(), block) {
            (Some("text_delta"), _) => said(&delta, "text", out),
            (Some("thinking_delta"), _) => thought(&delta, out),
            (Some("signature_delta"), Some(Block::Thought { signature })) => {
                signature.push_str(&text(&delta, "signature").unwrap_or_default());
            }
            (Some("input_json_delta"), Some(Block::Call { index, has_arguments, .. })) => {
                if let Some(fragment) = text(&delta, "partial_json").filter(|text| !text.is_empty()) {
                    *has_arguments = true;
                    out.push(Piece::CallArguments { choice: CHOICE, index: *index, fragment });
                }
            }
            (Some(_) | None, _) => {}
        }
    }

    fn message_delta(&mut self, fields: &Object<'_>, out: &mut Vec<Piece>) {
        self.begin(out);
        if let Some(delta) = object(fields, "delta")
            && let Some(reason) = text(&delta, "stop_reason")
        {
            let stop_sequence = text(&delta, "stop_sequence");
            self.finish(reply::finish(Some(&reason), stop_sequence, self.calls > 0), out);
        }
        if let Some(usage) = fields.get("usage")
            && self.counts.merge(usage)
        {
            out.extend(self.counts.tokens().map(Piece::Usage));
        }
    }

    fn finish(&mut self, finish: Finish, out: &mut Vec<Piece>) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        for (_, forgotten) in std::mem::take(&mut self.open) {
            close(forgotten, out);
        }
        out.push(Piece::Finish { choice: CHOICE, finish });
    }

    fn stop(&mut self, out: &mut Vec<Piece>) {
        self.begin(out);
        self.finish(reply::finish(None, None, self.calls > 0), out);
        self.is_over = true;
        out.push(Piece::End);
    }
}

/// A block has ended: what only then is whole.
fn close(block: Block, out: &mut Vec<Piece>) {
    match block {
        Block::Thought { signature } if signature.is_empty() => {}
        Block::Thought { signature } => out.push(Piece::Signature { choice: CHOICE, signature }),
        Block::Call { index, input, has_arguments } => {
            if !has_arguments {
                // Given at once, or a call without arguments.
                let fragment = input.map_or_else(|| "{}".to_owned(), |input| input.get().to_owned());
                out.push(Piece::CallArguments { choice: CHOICE, index, fragment });
            }
            out.push(Piece::CallEnd { choice: CHOICE, index });
        }
    }
}

fn said(fields: &Object<'_>, name: &str, out: &mut Vec<Piece>) {
    let said = text(fields, name).filter(|text| !text.is_empty());
    out.extend(said.map(|text| Piece::Text { choice: CHOICE, text }));
}

fn thought(fields: &Object<'_>, out: &mut Vec<Piece>) {
    let thought = text(fields, "thinking").filter(|text| !text.is_empty());
    out.extend(thought.map(|text| Piece::Thinking { choice: CHOICE, text }));
}

fn text(fields: &Object<'_>, name: &str) -> Option<String> {
    fields.optional_text(name).ok().flatten()
}

fn object<'a>(fields: &Object<'a>, name: &str) -> Option<Object<'a>> {
    Object::read(fields.get(name)?).ok()
}

/// A block's place; a vendor that names none has one block at a time.
fn place(fields: &Object<'_>) -> u64 {
    fields.get("index").and_then(|index| serde_json::from_str(index.get()).ok()).unwrap_or(0)
}
