//! Pieces, written as events.

use crate::dialogue::{Finish, Piece, Voice};
use crate::error::CallError;
use crate::responses::error;
use crate::responses::prompt::REDACTED;
use crate::responses::reply::{Body, ItemKind, OutputItem, Said, Status};
use bytes::{BufMut, BytesMut};
use domain::Tokens;
use serde::Serialize;

/// An event's data; fields that a kind does not have are left out.
#[derive(Default, Serialize)]
struct Data<'a> {
    r#type: &'static str,
    sequence_number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a OutputItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Part<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Body<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Said(&'a Said),
    Summary { r#type: &'static str, text: &'a str },
}

/// Writes events for a caller.
///
/// Claims: events are numbered from 0 without a gap; items are numbered in the order of their beginnings; thoughts and
/// messages are open one at a time, calls may interleave; every item that begins is done before the last event, which is
/// the only one with counts and holds the same items as were streamed; an error is the last event.
#[derive(Debug)]
pub struct Writer {
    voice: Voice,
    /// The next event's number.
    sequence: u64,
    has_begun: bool,
    is_over: bool,
    items: Vec<OutputItem>,
    /// The thought or the message that is open.
    open: Option<usize>,
    /// Open calls: their index among the pieces, and their item.
    calls: Vec<(u64, usize)>,
    finish: Finish,
    usage: Option<Tokens>,
}

impl Writer {
    /// For one answer.
    pub fn new(voice: Voice) -> Self {
        Self {
            voice,
            sequence: 0,
            has_begun: false,
            is_over: false,
            items: Vec::new(),
            open: None,
            calls: Vec::new(),
            finish: Finish::Stop,
            usage: None,
        }
    }

    /// Writes a piece. Of several choices only the first is written: nobody can ask for more.
    pub fn piece(&mut self, piece: Piece, out: &mut BytesMut) {
        if self.is_over {
            return;
        }
        match piece {
            Piece::Begin { .. } => self.begin(out),
            // A part of a message or of a thought begins with its first text.
            Piece::Text { text, .. } | Piece::Refusal { text, .. } | Piece::Thinking { text, .. }
                if text.is_empty() => {}
            Piece::Text { choice: 0, text } => self.say(Said::Text(text), out),
            Piece::Refusal { choice: 0, text } => self.say(Said::Refusal(text), out),
            Piece::Thinking { choice: 0, text } => self.think(&text, out),
            Piece::Signature { choice: 0, signature } => self.prove(signature, out),
            Piece::HiddenThinking { choice: 0, data } => {
                self.close_open("completed", out);
                let proof = Some(format!("{REDACTED}{data}"));
                self.add(ItemKind::Thought { text: String::new(), proof }, out);
                self.close_open("completed", out);
            }
            Piece::CallBegin { choice: 0, index, id, name, signature } => {
                self.close_open("completed", out);
                let kind = ItemKind::Call { call_id: id, name, arguments: String::new(), signature };
                let item = self.add(kind, out);
                self.open = None;
                self.calls.push((index, item));
            }
            Piece::CallArguments { choice: 0, index, fragment } => self.arguments(index, &fragment, out),
            Piece::CallEnd { choice: 0, index } => self.call_ends(index, "completed", out),
            Piece::Finish { choice: 0, finish } => {
                let status = Status::Finished(&finish).word();
                self.close_all(status, out);
                self.finish = finish;
            }
            Piece::Usage(tokens) => self.usage = Some(tokens),
            Piece::Ping => out.put_slice(b": keep-alive\n\n"),
            Piece::Error(fault) => {
                self.is_over = true;
                out.put_slice(&error::event_at(&fault, self.sequence));
            }
            Piece::End => self.end(out),
            Piece::Text { .. }
            | Piece::Refusal { .. }
            | Piece::Thinking { .. }
            | Piece::Signature { .. }
            | Piece::HiddenThinking { .. }
            | Piece::CallBegin { .. }
            | Piece::CallArguments { .. }
            | Piece::CallEnd { .. }
            | Piece::Finish { .. } => {}
        }
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if self.has_begun {
            return;
        }
        self.has_begun = true;
        for kind in ["response.created", "response.in_progress"] {
            let response = Body::new(&self.voice, Status::InProgress, &[], None);
            let data = Data { response: Some(response), ..Data::default() };
            send(&mut self.sequence, kind, data, out);
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.begin(out);
        let status = Status::Finished(&self.finish);
        self.close_all(status.word(), out);
        let status = Status::Finished(&self.finish);
        let kind = if status.word() == "incomplete" { "response.incomplete" } else { "response.completed" };
        let response = Body::new(&self.voice, status, &self.items, self.usage);
        send(&mut self.sequence, kind, Data { response: Some(response), ..Data::default() }, out);
        self.is_over = true;
    }

    /// Begins an item.
    fn add(&mut self, kind: ItemKind, out: &mut BytesMut) -> usize {
        self.begin(out);
        let index = self.items.len();
        let id = format!("{}_{}_{index}", kind.prefix(), self.voice.id);
        // A thought begins without its text; a proof comes when it is done.
        let item = OutputItem { id, status: "in_progress", kind };
        let data = Data { output_index: Some(index), item: Some(&item), ..Data::default() };
        send(&mut self.sequence, "response.output_item.added", data, out);
        self.items.push(item);
        self.open = Some(index);
        index
    }

    fn say(&mut self, more: Said, out: &mut BytesMut) {
        let is_message = self.open.is_some_and(|open| matches!(self.items[open].kind, ItemKind::Message(_)));
        if !is_message {
            self.close_open("completed", out);
            self.add(ItemKind::Message(Vec::new()), out);
        }
        let Some(index) = self.open else { return };
        let OutputItem { id, kind: ItemKind::Message(parts), .. } = &mut self.items[index] else { return };
        let at = |content: usize| Data {
            item_id: Some(id.as_str()),
            output_index: Some(index),
            content_index: Some(content),
            ..Data::default()
        };
        let goes_on = matches!(
            (parts.last(), &more),
            (Some(Said::Text(_)), Said::Text(_)) | (Some(Said::Refusal(_)), Said::Refusal(_))
        );
        if !goes_on {
            if let (Some(before), Some(content)) = (parts.last(), parts.len().checked_sub(1)) {
                part_done(before, &at(content), &mut self.sequence, out);
            }
            let empty = match &more {
                Said::Text(_) => Said::Text(String::new()),
                Said::Refusal(_) => Said::Refusal(String::new()),
            };
            let data = Data { part: Some(Part::Said(&empty)), ..at(parts.len()) };
            send(&mut self.sequence, "response.content_part.added", data, out);
            parts.push(empty);
        }
        let data = at(parts.len() - 1);
        let (kind, text, logprobs) = match &more {
            Said::Text(text) => ("response.output_text.delta", text, Some([])),
            Said::Refusal(text) => ("response.refusal.delta", text, None),
        };
        send(&mut self.sequence, kind, Data { delta: Some(text), logprobs, ..data }, out);
        if let Some(Said::Text(said) | Said::Refusal(said)) = parts.last_mut() {
            said.push_str(text);
        }
    }

    fn think(&mut self, more: &str, out: &mut BytesMut) {
        // A thought that has its proof is over.
        let goes_on = self
            .open
            .is_some_and(|open| matches!(self.items[open].kind, ItemKind::Thought { proof: None, .. }));
        if !goes_on {
            self.close_open("completed", out);
            self.add(ItemKind::Thought { text: String::new(), proof: None }, out);
        }
        let Some(index) = self.open else { return };
        let OutputItem { id, kind: ItemKind::Thought { text, .. }, .. } = &mut self.items[index] else {
            return;
        };
        let at = || Data {
            item_id: Some(id.as_str()),
            output_index: Some(index),
            summary_index: Some(0),
            ..Data::default()
        };
        if text.is_empty() {
            let data = Data { part: Some(Part::Summary { r#type: "summary_text", text: "" }), ..at() };
            send(&mut self.sequence, "response.reasoning_summary_part.added", data, out);
        }
        let data = Data { delta: Some(more), ..at() };
        send(&mut self.sequence, "response.reasoning_summary_text.delta", data, out);
        text.push_str(more);
    }

    /// A proof belongs to the thought that is open, else to a thought without words.
    fn prove(&mut self, signature: String, out: &mut BytesMut) {
        if let Some(open) = self.open
            && let ItemKind::Thought { proof: proof @ None, .. } = &mut self.items[open].kind
        {
            *proof = Some(signature);
            return;
        }
        self.close_open("completed", out);
        self.add(ItemKind::Thought { text: String::new(), proof: Some(signature) }, out);
    }

    fn arguments(&mut self, index: u64, fragment: &str, out: &mut BytesMut) {
        let Some((_, item)) = self.calls.iter().find(|(known, _)| *known == index) else { return };
        let OutputItem { id, kind: ItemKind::Call { arguments, .. }, .. } = &mut self.items[*item] else {
            return;
        };
        arguments.push_str(fragment);
        let data =
            Data { item_id: Some(id), output_index: Some(*item), delta: Some(fragment), ..Data::default() };
        send(&mut self.sequence, "response.function_call_arguments.delta", data, out);
    }

    fn call_ends(&mut self, index: u64, status: &'static str, out: &mut BytesMut) {
        let Some(at) = self.calls.iter().position(|(known, _)| *known == index) else { return };
        let is_empty = matches!(
            &self.items[self.calls[at].1].kind,
            ItemKind::Call { arguments, .. } if arguments.is_empty()
        );
        if is_empty {
            self.arguments(index, "{}", out);
        }
        let (_, item) = self.calls.remove(at);
        if let OutputItem { id, kind: ItemKind::Call { arguments, name, .. }, .. } = &self.items[item] {
            let data = Data {
                item_id: Some(id),
                output_index: Some(item),
                name: Some(name),
                arguments: Some(arguments),
                ..Data::default()
            };
            send(&mut self.sequence, "response.function_call_arguments.done", data, out);
        }
        self.item_done(item, status, out);
    }

    fn close_all(&mut self, status: &'static str, out: &mut BytesMut) {
        self.close_open(status, out);
        while let Some((index, _)) = self.calls.first() {
            self.call_ends(*index, status, out);
        }
    }

    /// Ends the thought or the message that is open.
    fn close_open(&mut self, status: &'static str, out: &mut BytesMut) {
        let Some(index) = self.open.take() else { return };
        let item = &self.items[index];
        let at = Data { item_id: Some(&item.id), output_index: Some(index), ..Data::default() };
        match &item.kind {
            ItemKind::Message(parts) => {
                if let (Some(said), Some(content)) = (parts.last(), parts.len().checked_sub(1)) {
                    let at = Data { content_index: Some(content), ..at };
                    part_done(said, &at, &mut self.sequence, out);
                }
            }
            ItemKind::Thought { text, .. } if !text.is_empty() => {
                let at = || Data {
                    item_id: Some(&item.id),
                    output_index: Some(index),
                    summary_index: Some(0),
                    ..Data::default()
                };
                let data = Data { text: Some(text), ..at() };
                send(&mut self.sequence, "response.reasoning_summary_text.done", data, out);
                let part = Part::Summary { r#type: "summary_text", text };
                let data = Data { part: Some(part), ..at() };
                send(&mut self.sequence, "response.reasoning_summary_part.done", data, out);
            }
            ItemKind::Thought { .. } | ItemKind::Call { .. } => {}
        }
        self.item_done(index, status, out);
    }

    fn item_done(&mut self, index: usize, status: &'static str, out: &mut BytesMut) {
        self.items[index].status = status;
        let data = Data { output_index: Some(index), item: Some(&self.items[index]), ..Data::default() };
        send(&mut self.sequence, "response.output_item.done", data, out);
    }
}

/// Ends a part of a message.
fn part_done(said: &Said, at: &Data<'_>, sequence: &mut u64, out: &mut BytesMut) {
    let here = || Data {
        item_id: at.item_id,
        output_index: at.output_index,
        content_index: at.content_index,
        ..Data::default()
    };
    let (kind, data) = match said {
        Said::Text(text) => {
            ("response.output_text.done", Data { text: Some(text), logprobs: Some([]), ..here() })
        }
        Said::Refusal(text) => ("response.refusal.done", Data { refusal: Some(text), ..here() }),
    };
    send(sequence, kind, data, out);
    let data = Data { part: Some(Part::Said(said)), ..here() };
    send(sequence, "response.content_part.done", data, out);
}

fn send(sequence: &mut u64, kind: &'static str, data: Data<'_>, out: &mut BytesMut) {
    let data = Data { r#type: kind, sequence_number: *sequence, ..data };
    out.put_slice(b"event: ");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\ndata: ");
    if serde_json::to_writer((&mut *out).writer(), &data).is_err() {
        // Serialising strings and numbers into memory cannot fail; were it to, the caller must see an error.
        out.put_slice(b"{}\n\n");
        out.put_slice(&error::event_at(&CallError::Internal, *sequence));
        return;
    }
    *sequence += 1;
    out.put_slice(b"\n\n");
}
