//! A whole chat answer and the hub's [`Reply`], both ways.
//!
//! For: providers of Chat Completions that answer callers of another format ([`read`]), and callers of Chat
//! Completions that are answered by providers of another ([`write`]).
//! Claims: reading never fails on odd content; thoughts and their proofs are where [`super::prompt`] says.

use super::message::{CallPiece, Message, text};
use super::parts;
use super::prompt::{ThinkingBlock, ToolCall};
use super::usage::{self, Counts};
use crate::dialogue::{Answered, Finish, Part, Reply, Source, Voice};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// Reads a provider's answer. `None`: it is none.
pub fn read(body: &[u8]) -> Option<Reply> {
    let wire: Wire<'_> = serde_json::from_slice(body).ok()?;
    let counts = wire.usage.or_else(|| wire.choices.iter().find_map(|choice| choice.usage));
    Some(Reply {
        id: text(wire.id),
        usage: counts.and_then(usage::tokens),
        choices: wire.choices.iter().map(answered).collect(),
    })
}

fn answered(choice: &Choice<'_>) -> Answered {
    let message = Message::read(choice.message);
    let mut parts = message.thinking_blocks();
    if parts.is_empty() {
        parts.extend(message.thought().map(|text| Part::Thinking { text, signature: None }));
    }
    parts.extend(message.said());
    parts.extend(message.images());
    let calls = message.calls();
    let has_calls = !calls.is_empty();
    parts.extend(calls.into_iter().enumerate().map(|(index, call)| called(index, call)));
    Answered { parts, finish: finish(text(choice.finish_reason).as_deref(), has_calls) }
}

fn called(index: usize, call: CallPiece) -> Part {
    Part::Call {
        id: call.id.unwrap_or_else(|| made_up_id(index)),
        name: call.name.unwrap_or_default(),
        arguments: parts::arguments_of_a_model(call.arguments),
        signature: call.signature,
    }
}

/// An id for a call that came without one: unlike any other in the conversation.
pub(crate) fn made_up_id(index: usize) -> String {
    format!("call_{}{index}", uuid::Uuid::now_v7().simple())
}

/// A finish reason as the hub knows it. Some vendors say `stop` where the model calls functions.
pub(crate) fn finish(reason: Option<&str>, has_calls: bool) -> Finish {
    match reason {
        Some("tool_calls" | "function_call") => Finish::Calls,
        None | Some("stop") if has_calls => Finish::Calls,
        None | Some("stop") => Finish::Stop,
        Some("length") => Finish::Length,
        Some("content_filter") => Finish::Filtered,
        Some(other) => Finish::Other(other.to_owned()),
    }
}

/// A finish reason as a caller gets it.
pub(crate) fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText(_) | Finish::Paused | Finish::Other(_) => "stop",
        Finish::Length => "length",
        Finish::Calls => "tool_calls",
        Finish::Filtered => "content_filter",
    }
}

#[derive(Serialize)]
struct Body<'a> {
    id: String,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<BodyChoice<'a>>,
    usage: Option<Counts>,
}

#[derive(Serialize)]
struct BodyChoice<'a> {
    index: usize,
    message: BodyMessage<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct BodyMessage<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<ThinkingBlock<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Image>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Serialize)]
struct Image {
    r#type: &'static str,
    image_url: ImageUrl,
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

/// An answer's id.
pub(crate) fn id(voice: &Voice) -> String {
    format!("chatcmpl-{}", voice.id)
}

/// Writes an answer for a caller.
pub fn write(reply: &Reply, voice: &Voice) -> Bytes {
    let body = Body {
        id: id(voice),
        object: "chat.completion",
        created: voice.created,
        model: &voice.model,
        choices: reply
            .choices
            .iter()
            .enumerate()
            .map(|(index, answered)| BodyChoice {
                index,
                message: message(&answered.parts),
                logprobs: None,
                finish_reason: finish_reason(&answered.finish),
            })
            .collect(),
        usage: reply.usage.map(Counts::from),
    };
    // Serialising strings and numbers into memory cannot fail.
    serde_json::to_vec(&body).unwrap_or_default().into()
}

fn message(parts: &[Part]) -> BodyMessage<'_> {
    let mut message = BodyMessage {
        role: "assistant",
        content: None,
        refusal: None,
        reasoning_content: None,
        thinking_blocks: Vec::new(),
        images: Vec::new(),
        tool_calls: Vec::new(),
    };
    let mut has_proof = false;
    for part in parts {
        match part {
            Part::Text { text, .. } => message.content.get_or_insert_default().push_str(text),
            Part::Refusal { text } => message.refusal.get_or_insert_default().push_str(text),
            Part::Thinking { text, signature } => {
                if !text.is_empty() {
                    message.reasoning_content.get_or_insert_default().push_str(text);
                }
                has_proof |= signature.is_some();
                message.thinking_blocks.push(ThinkingBlock::Thinking {
                    index: Some(message.thinking_blocks.len() as u64),
                    thinking: text,
                    signature: signature.as_deref(),
                });
            }
            Part::HiddenThinking { data } => {
                has_proof = true;
                let index = Some(message.thinking_blocks.len() as u64);
                message.thinking_blocks.push(ThinkingBlock::RedactedThinking { index, data });
            }
            Part::Call { id, name, arguments, signature } => {
                message.tool_calls.push(ToolCall::new(id, name, arguments.get(), signature.as_deref()));
            }
            Part::Media { source, .. } => {
                let url = match source {
                    Source::Inline { media_type, data, .. } => parts::data_url(media_type, data),
                    Source::Url { url, .. } => url.clone(),
                    Source::File { .. } => continue,
                };
                message.images.push(Image { r#type: "image_url", image_url: ImageUrl { url } });
            }
            // No model gives one.
            Part::Result { .. } => {}
        }
    }
    if !has_proof {
        // The text is in `reasoning_content`, and there is nothing to prove.
        message.thinking_blocks.clear();
    }
    if message.content.is_none() && message.tool_calls.is_empty() && message.refusal.is_none() {
        message.content = Some(String::new());
    }
    message
}
