//! Answers and contents on the wire: read leniently from providers, written for both sides.
//!
//! Claims: what cannot be read of a provider's answer is passed over; arguments stay as they were written.

use super::usage;
use crate::dialogue::Finish;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An answer, or an event of a stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(borrow)]
    pub(super) candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, alias = "prompt_feedback")]
    pub(super) prompt_feedback: Option<&'a RawValue>,
    #[serde(borrow, alias = "usage_metadata")]
    pub(super) usage_metadata: Option<&'a RawValue>,
    #[serde(borrow, alias = "response_id")]
    response_id: Option<&'a RawValue>,
    #[serde(borrow, alias = "model_version")]
    model_version: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// One of its candidates.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow, alias = "finish_reason")]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ContentIn<'a> {
    #[serde(borrow)]
    parts: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartIn<'a> {
    text: Option<String>,
    thought: Option<bool>,
    #[serde(alias = "thought_signature")]
    thought_signature: Option<String>,
    #[serde(alias = "inline_data")]
    inline_data: Option<BlobIn>,
    #[serde(borrow, alias = "function_call")]
    function_call: Option<CallIn<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlobIn {
    #[serde(alias = "mime_type")]
    mime_type: Option<String>,
    data: String,
}

#[derive(Deserialize)]
struct CallIn<'a> {
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

/// What a candidate says, part by part.
pub(super) enum Said {
    /// Text for the caller.
    Text(String),
    /// A thought.
    Thought(String),
    /// The proof of what was said so far.
    Signature(String),
    /// A call, whole.
    Call { id: String, name: String, arguments: Box<RawValue>, signature: Option<String> },
}

impl<'a> Response<'a> {
    /// Reads an answer; one in a list of one, as some proxies have it, too. `None`: not JSON of that shape.
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        if json.trim_ascii_start().starts_with(b"[") {
            let list: Vec<&'a RawValue> = serde_json::from_slice(json).ok()?;
            let [one] = list.as_slice() else { return None };
            return serde_json::from_str(one.get()).ok();
        }
        serde_json::from_slice(json).ok().filter(|_| json.trim_ascii_start().starts_with(b"{"))
    }

    pub(super) fn id(&self) -> Option<String> {
        self.response_id.and_then(|id| serde_json::from_str(id.get()).ok())
    }

    pub(super) fn model(&self) -> Option<String> {
        self.model_version.and_then(|model| serde_json::from_str(model.get()).ok())
    }
}

impl Candidate<'_> {
    /// Its number; `position`: its place in the list, where it has none.
    pub(super) fn index(&self, position: usize) -> u64 {
        self.index
            .and_then(|index| serde_json::from_str(index.get()).ok())
            .unwrap_or(u64::try_from(position).unwrap_or(u64::MAX))
    }

    /// Why it ended, if it says so.
    pub(super) fn finish(&self) -> Option<String> {
        let reason = self.finish_reason.filter(|reason| super::answer::is_finish(reason))?;
        Some(serde_json::from_str(reason.get()).unwrap_or_else(|_| reason.get().chars().take(100).collect()))
    }

    /// What it says. Parts that cannot be read are passed over.
    pub(super) fn said(&self) -> Vec<Said> {
        let parts = self
            .content
            .and_then(|content| serde_json::from_str::<ContentIn<'_>>(content.get()).ok())
            .and_then(|content| content.parts)
            .unwrap_or_default();
        let mut said = Vec::with_capacity(parts.len());
        for part in parts {
            if let Ok(part) = serde_json::from_str::<PartIn<'_>>(part.get()) {
                part.say(&mut said);
            }
        }
        said
    }
}

impl PartIn<'_> {
    fn say(self, said: &mut Vec<Said>) {
        let mut signature = self.thought_signature.filter(|signature| !signature.is_empty());
        if let Some(text) = self.text.filter(|text| !text.is_empty()) {
            said.push(if self.thought == Some(true) { Said::Thought(text) } else { Said::Text(text) });
        }
        if let Some(media) = self.inline_data {
            // The dialogue's answers are text: a picture becomes what Markdown shows as one.
            let kind = media.mime_type.unwrap_or_else(|| "image/png".into());
            let mark = if kind.starts_with("image/") { "!" } else { "" };
            said.push(Said::Text(format!("{mark}[{kind}](data:{kind};base64,{})", media.data)));
        }
        if let Some(call) = self.function_call {
            said.push(Said::Call {
                id: call.id.filter(|id| !id.is_empty()).unwrap_or_else(new_call_id),
                name: call.name.unwrap_or_default(),
                arguments: arguments(call.args),
                signature: signature.take(),
            });
        }
        said.extend(signature.map(Said::Signature));
    }
}

/// Google's models often give none.
fn new_call_id() -> String {
    format!("call_{}", uuid::Uuid::new_v4().simple())
}

/// A call's arguments, as an object in any case.
fn arguments(args: Option<&RawValue>) -> Box<RawValue> {
    let json = match args {
        Some(args) if args.get().starts_with('{') => return args.to_owned(),
        Some(args) if args.get() != "null" => format!(r#"{{"value":{}}}"#, args.get()),
        Some(_) | None => "{}".to_owned(),
    };
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Why an answer ended, in the dialogue's words.
pub(super) fn finish(reason: &str, has_calls: bool) -> Finish {
    match reason {
        "STOP" if has_calls => Finish::Calls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Finish::Filtered,
        // A call that could not be read, or must not be made.
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE" => Finish::Other(reason.to_owned()),
        // Such as the `FUNCTION_CALL` of other makers' servers.
        _ if has_calls => Finish::Calls,
        _ => Finish::Other(reason.to_owned()),
    }
}

/// Why an answer ended, in Google's words. There is none for calls.
pub(super) fn finish_word(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText(_) | Finish::Calls | Finish::Paused | Finish::Other(_) => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::Filtered => "SAFETY",
    }
}

/// An answer, or an event of a stream, for a caller.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResponseOut<'a> {
    pub(super) candidates: Vec<CandidateOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage_metadata: Option<usage::View>,
    pub(super) model_version: &'a str,
    pub(super) response_id: &'a str,
}

/// One of its candidates.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CandidateOut<'a> {
    pub(super) content: ContentOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish_message: Option<&'static str>,
    pub(super) index: u64,
}

/// A turn.
#[derive(Serialize)]
pub(super) struct ContentOut<'a> {
    pub(super) role: &'static str,
    pub(super) parts: Vec<PartOut<'a>>,
}

/// A part of a turn.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inline_data: Option<BlobOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_data: Option<FileOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<CallOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_response: Option<ResultOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thought_signature: Option<&'a str>,
}

/// Media within a request or an answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlobOut<'a> {
    pub(super) mime_type: &'a str,
    pub(super) data: &'a str,
}

/// Media at an address.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mime_type: Option<&'a str>,
    pub(super) file_uri: &'a str,
}

/// A call.
#[derive(Serialize)]
pub(super) struct CallOut<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) args: &'a RawValue,
}

/// A call's result.
#[derive(Serialize)]
pub(super) struct ResultOut<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) response: Box<RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<PartOut<'a>>,
}

impl<'a> PartOut<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A thought with its proof; the proof alone belongs to the text before it.
    pub(super) fn thought(text: &'a str, signature: Option<&'a str>) -> Self {
        Self { thought: (!text.is_empty()).then_some(true), thought_signature: signature, ..Self::text(text) }
    }

    pub(super) fn call(id: &'a str, name: &'a str, args: &'a RawValue, signature: Option<&'a str>) -> Self {
        Self {
            function_call: Some(CallOut { id, name, args }),
            thought_signature: signature,
            ..Self::default()
        }
    }

    pub(super) fn blob(mime_type: &'a str, data: &'a str) -> Self {
        Self { inline_data: Some(BlobOut { mime_type, data }), ..Self::default() }
    }
}
