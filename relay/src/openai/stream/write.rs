//! Pieces, written as chunks.

use crate::dialogue::{Piece, Voice};
use crate::error::CallError;
use crate::openai::prompt::{ExtraContent, ThinkingBlock};
use crate::openai::usage::Counts;
use crate::openai::{error, reply};
use bytes::{BufMut, BytesMut};
use domain::Tokens;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    /// Absent, null, or counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Counts>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u64,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_blocks: Option<[ThinkingBlock<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCall<'a>; 1]>,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraContent<'a>>,
}

#[derive(Serialize)]
struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// Writes chunks for a caller.
///
/// Claims: the first chunk of a choice has the role; the id and the time are the same in all chunks; calls are numbered
/// from 0 by their beginnings, come one after another, however they interleaved (OpenAI's own client takes a call for
/// done when the next one begins), and one without arguments gets `{}`; a choice ends with an empty delta and its reason;
/// counts come in a chunk of their own before `[DONE]`, for callers who asked, whose other chunks say `"usage":null`;
/// an error is the last event.
#[derive(Debug)]
pub struct Writer {
    voice: Voice,
    id: String,
    usage: Option<Tokens>,
    is_over: bool,
    choices: BTreeMap<u64, ChoiceState>,
}

#[derive(Debug, Default)]
struct ChoiceState {
    has_role: bool,
    /// The thought since the last proof.
    thought: String,
    blocks: u64,
    /// Has the call of this index got arguments?
    calls: BTreeMap<u64, bool>,
    /// The call that is open.
    open: Option<u64>,
    /// Pieces of the calls after it.
    waiting: Vec<Piece>,
}

impl ChoiceState {
    /// The next block of thoughts.
    fn block(&mut self) -> Option<u64> {
        self.blocks += 1;
        Some(self.blocks - 1)
    }
}

impl Writer {
    /// For one answer.
    pub fn new(voice: Voice) -> Self {
        Self { id: reply::id(&voice), voice, usage: None, is_over: false, choices: BTreeMap::new() }
    }

    /// Writes a piece.
    pub fn piece(&mut self, piece: Piece, out: &mut BytesMut) {
        if self.is_over {
            return;
        }
        match piece {
            Piece::Begin { .. } => self.role(0, out),
            Piece::Text { choice, text } => {
                self.delta(choice, Delta { content: Some(&text), ..Delta::default() }, out);
            }
            Piece::Refusal { choice, text } => {
                self.delta(choice, Delta { refusal: Some(&text), ..Delta::default() }, out);
            }
            Piece::Thinking { choice, text } => {
                self.delta(choice, Delta { reasoning_content: Some(&text), ..Delta::default() }, out);
                self.choice(choice).thought.push_str(&text);
            }
            Piece::Signature { choice, signature } => {
                let state = self.choice(choice);
                let (thinking, index) = (std::mem::take(&mut state.thought), state.block());
                let block =
                    ThinkingBlock::Thinking { index, thinking: &thinking, signature: Some(&signature) };
                self.delta(choice, Delta { thinking_blocks: Some([block]), ..Delta::default() }, out);
            }
            Piece::HiddenThinking { choice, data } => {
                let index = self.choice(choice).block();
                let block = ThinkingBlock::RedactedThinking { index, data: &data };
                self.delta(choice, Delta { thinking_blocks: Some([block]), ..Delta::default() }, out);
            }
            Piece::CallBegin { choice, index, .. }
            | Piece::CallArguments { choice, index, .. }
            | Piece::CallEnd { choice, index }
                if self.choice(choice).open.is_some_and(|open| open != index) =>
            {
                self.choice(choice).waiting.push(piece);
            }
            Piece::CallBegin { choice, index, id, name, signature } => {
                let state = self.choice(choice);
                state.calls.insert(index, false);
                state.open = Some(index);
                let call = ToolCall {
                    index,
                    id: Some(&id),
                    r#type: Some("function"),
                    function: Function { name: Some(&name), arguments: "" },
                    extra_content: signature.as_deref().map(ExtraContent::new),
                };
                self.delta(choice, Delta { tool_calls: Some([call]), ..Delta::default() }, out);
            }
            Piece::CallArguments { choice, index, fragment } => self.arguments(choice, index, &fragment, out),
            Piece::CallEnd { choice, index } => self.call_ends(choice, index, out),
            Piece::Finish { choice, finish } => {
                while let Some(open) = self.choice(choice).open {
                    self.call_ends(choice, open, out);
                }
                self.role(choice, out);
                let choice = Choice {
                    index: choice,
                    delta: Delta::default(),
                    logprobs: None,
                    finish_reason: Some(reply::finish_reason(&finish)),
                };
                self.chunk(&[choice], out);
            }
            Piece::Usage(tokens) => self.usage = Some(tokens),
            Piece::Ping => out.put_slice(b": keep-alive\n\n"),
            Piece::Error(fault) => {
                self.is_over = true;
                out.put_slice(&error::event(&fault));
            }
            Piece::End => self.end(out),
        }
    }

    fn end(&mut self, out: &mut BytesMut) {
        if self.voice.wants_usage
            && let Some(tokens) = self.usage
        {
            self.write(&[], Some(Some(Counts::from(tokens))), out);
        }
        self.is_over = true;
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn call_ends(&mut self, choice: u64, index: u64, out: &mut BytesMut) {
        if self.choice(choice).calls.get(&index) == Some(&false) {
            self.arguments(choice, index, "{}", out);
        }
        let state = self.choice(choice);
        state.open = None;
        for piece in std::mem::take(&mut state.waiting) {
            self.piece(piece, out);
        }
    }

    fn arguments(&mut self, choice: u64, index: u64, fragment: &str, out: &mut BytesMut) {
        if !fragment.is_empty() {
            self.choice(choice).calls.insert(index, true);
        }
        let function = Function { name: None, arguments: fragment };
        let call = ToolCall { index, id: None, r#type: None, function, extra_content: None };
        self.delta(choice, Delta { tool_calls: Some([call]), ..Delta::default() }, out);
    }

    fn choice(&mut self, choice: u64) -> &mut ChoiceState {
        self.choices.entry(choice).or_default()
    }

    /// The chunk with the role, if the choice has not had it.
    fn role(&mut self, choice: u64, out: &mut BytesMut) {
        if std::mem::replace(&mut self.choice(choice).has_role, true) {
            return;
        }
        let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
        self.chunk(&[Choice { index: choice, delta, logprobs: None, finish_reason: None }], out);
    }

    fn delta(&mut self, choice: u64, delta: Delta<'_>, out: &mut BytesMut) {
        self.role(choice, out);
        self.chunk(&[Choice { index: choice, delta, logprobs: None, finish_reason: None }], out);
    }

    fn chunk(&mut self, choices: &[Choice<'_>], out: &mut BytesMut) {
        let usage = self.voice.wants_usage.then_some(None);
        self.write(choices, usage, out);
    }

    fn write(&mut self, choices: &[Choice<'_>], usage: Option<Option<Counts>>, out: &mut BytesMut) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.voice.created,
            model: &self.voice.model,
            choices,
            usage,
        };
        out.put_slice(b"data: ");
        if serde_json::to_writer((&mut *out).writer(), &chunk).is_err() {
            // Serialising strings and numbers into memory cannot fail; were it to, the caller must see an error.
            self.is_over = true;
            out.put_slice(b"\n\n");
            out.put_slice(&error::event(&CallError::Internal));
            return;
        }
        out.put_slice(b"\n\n");
    }
}
