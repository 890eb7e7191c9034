//! A whole answer of Responses and the hub's [`Reply`], both ways.
//!
//! For: providers of Responses that answer callers of another format ([`read`]), and callers of Responses that are
//! answered by providers of another ([`write`]).
//! Claims: reading never fails on odd content; items of an unknown kind are skipped; thoughts and their proofs are where
//! [`super::prompt`] says.

use super::prompt::{CallItem, REDACTED, ReasoningItem};
use super::usage::{self, Counts};
use crate::dialogue::{Answered, Finish, Part, Reply, Voice};
use crate::openai::message::{parse, text};
use crate::openai::parts;
use crate::openai::prompt::ExtraContent;
use crate::openai::reply::made_up_id;
use bytes::Bytes;
use domain::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Default, Deserialize)]
pub(crate) struct Wire<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    incomplete_details: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) error: Option<&'a RawValue>,
}

/// An item of an answer.
#[derive(Default, Deserialize)]
pub(crate) struct Item<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    call_id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(borrow)]
    encrypted_content: Option<&'a RawValue>,
    #[serde(borrow)]
    extra_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
}

impl Item<'_> {
    pub(crate) fn kind(&self) -> String {
        text(self.r#type).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> Option<String> {
        text(self.id)
    }

    /// The id by which a result refers to a call.
    pub(crate) fn call_id(&self, index: usize) -> String {
        text(self.call_id).or_else(|| self.id()).unwrap_or_else(|| made_up_id(index))
    }

    pub(crate) fn name(&self) -> String {
        text(self.name).unwrap_or_default()
    }

    pub(crate) fn arguments(&self) -> String {
        text(self.arguments).unwrap_or_default()
    }

    /// The proof of a thought.
    pub(crate) fn proof(&self) -> Option<String> {
        text(self.encrypted_content)
    }

    /// Gemini's proof of a call.
    pub(crate) fn signature(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Extra {
            google: Google,
        }
        #[derive(Deserialize)]
        struct Google {
            thought_signature: String,
        }
        self.extra_content.and_then(parse::<Extra>).map(|extra| extra.google.thought_signature)
    }

    /// A thought's text: its summary, else itself.
    pub(crate) fn thought(&self) -> String {
        let texts = |list| contents(list).into_iter().filter_map(|it| text(it.text)).collect::<Vec<_>>();
        let summary = texts(self.summary);
        if summary.is_empty() { texts(self.content).concat() } else { summary.join("\n\n") }
    }

    /// What a message says.
    pub(crate) fn said(&self) -> Vec<Part> {
        contents(self.content)
            .into_iter()
            .filter_map(|content| match (text(content.text), text(content.refusal)) {
                (Some(text), _) => Some(Part::text(text)),
                (None, Some(text)) => Some(Part::Refusal { text }),
                (None, None) => None,
            })
            .collect()
    }
}

fn contents<'a>(list: Option<&'a RawValue>) -> Vec<Content<'a>> {
    let elements: Vec<&'a RawValue> = list.and_then(parse).unwrap_or_default();
    elements.into_iter().filter_map(parse).collect()
}

impl<'a> Wire<'a> {
    pub(crate) fn items(&self) -> Vec<Item<'a>> {
        let elements: Vec<&'a RawValue> = self.output.and_then(parse).unwrap_or_default();
        elements.into_iter().filter_map(parse).collect()
    }

    /// Why the answer ended.
    pub(crate) fn finish(&self, has_calls: bool) -> Finish {
        #[derive(Deserialize)]
        struct Details<'a> {
            #[serde(borrow)]
            reason: Option<&'a RawValue>,
        }
        let reason = self.incomplete_details.and_then(parse::<Details<'_>>).and_then(|it| text(it.reason));
        match (text(self.status).as_deref(), reason.as_deref()) {
            (Some("incomplete"), Some("content_filter")) => Finish::Filtered,
            (Some("incomplete"), Some("max_output_tokens") | None) => Finish::Length,
            (Some("incomplete"), Some(other)) => Finish::Other(other.to_owned()),
            (None | Some("completed"), _) if has_calls => Finish::Calls,
            (None | Some("completed"), _) => Finish::Stop,
            (Some(other), _) => Finish::Other(other.to_owned()),
        }
    }

    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.usage.and_then(usage::tokens)
    }
}

/// A thought by its text and proof. `None`: it is neither.
pub(crate) fn thinking(text: String, proof: Option<String>) -> Option<Part> {
    match proof.as_deref().and_then(|proof| proof.strip_prefix(REDACTED)) {
        Some(data) => Some(Part::HiddenThinking { data: data.to_owned() }),
        None if text.is_empty() && proof.is_none() => None,
        None => Some(Part::Thinking { text, signature: proof }),
    }
}

/// Reads a provider's answer. `None`: it is none.
pub fn read(body: &[u8]) -> Option<Reply> {
    let wire: Wire<'_> = serde_json::from_slice(body).ok()?;
    wire.output?;
    let mut parts = Vec::new();
    let mut has_calls = false;
    for (index, item) in wire.items().into_iter().enumerate() {
        match item.kind().as_str() {
            "message" => parts.extend(item.said()),
            "reasoning" => parts.extend(thinking(item.thought(), item.proof())),
            "function_call" => {
                has_calls = true;
                parts.push(Part::Call {
                    id: item.call_id(index),
                    name: item.name(),
                    arguments: parts::arguments_of_a_model(item.arguments()),
                    signature: item.signature(),
                });
            }
            _ => {}
        }
    }
    let finish = wire.finish(has_calls);
    Some(Reply { id: text(wire.id), choices: vec![Answered { parts, finish }], usage: wire.tokens() })
}

/// An answer, whole or in the making.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    id: String,
    object: &'static str,
    created_at: i64,
    status: &'static str,
    background: bool,
    error: Option<()>,
    incomplete_details: Option<Details>,
    instructions: Option<()>,
    max_output_tokens: Option<()>,
    metadata: Empty,
    model: &'a str,
    output: &'a [OutputItem],
    parallel_tool_calls: bool,
    previous_response_id: Option<()>,
    store: bool,
    temperature: Option<()>,
    tool_choice: &'static str,
    tools: [(); 0],
    top_p: Option<()>,
    usage: Option<Counts>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct Details {
    reason: &'static str,
}

/// How far an answer is.
#[derive(Clone, Copy)]
pub(crate) enum Status<'a> {
    InProgress,
    Finished(&'a Finish),
}

impl Status<'_> {
    /// Its word for items too.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Finished(Finish::Length | Finish::Filtered) => "incomplete",
            Self::Finished(
                Finish::Stop | Finish::StopText(_) | Finish::Calls | Finish::Paused | Finish::Other(_),
            ) => "completed",
        }
    }

    fn details(self) -> Option<Details> {
        match self {
            Self::Finished(Finish::Length) => Some(Details { reason: "max_output_tokens" }),
            Self::Finished(Finish::Filtered) => Some(Details { reason: "content_filter" }),
            Self::InProgress
            | Self::Finished(
                Finish::Stop | Finish::StopText(_) | Finish::Calls | Finish::Paused | Finish::Other(_),
            ) => None,
        }
    }
}

impl<'a> Body<'a> {
    pub(crate) fn new(
        voice: &'a Voice,
        status: Status<'_>,
        output: &'a [OutputItem],
        usage: Option<Tokens>,
    ) -> Self {
        Self {
            id: format!("resp_{}", voice.id),
            object: "response",
            created_at: voice.created,
            status: status.word(),
            background: false,
            error: None,
            incomplete_details: status.details(),
            instructions: None,
            max_output_tokens: None,
            metadata: Empty {},
            model: &voice.model,
            output,
            parallel_tool_calls: true,
            previous_response_id: None,
            store: false,
            temperature: None,
            tool_choice: "auto",
            tools: [],
            top_p: None,
            usage: usage.map(Counts::from),
        }
    }
}

/// An item as a caller gets it.
#[derive(Clone, Debug)]
pub(crate) struct OutputItem {
    pub(crate) id: String,
    pub(crate) status: &'static str,
    pub(crate) kind: ItemKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ItemKind {
    /// Texts and refusals.
    Message(Vec<Said>),
    Thought {
        text: String,
        proof: Option<String>,
    },
    Call {
        call_id: String,
        name: String,
        arguments: String,
        signature: Option<String>,
    },
}

/// A part of a message.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Text(String),
    Refusal(String),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SaidPart<'a> {
    OutputText { text: &'a str, annotations: [(); 0], logprobs: [(); 0] },
    Refusal { refusal: &'a str },
}

impl Serialize for Said {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => SaidPart::OutputText { text, annotations: [], logprobs: [] },
            Self::Refusal(refusal) => SaidPart::Refusal { refusal },
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct MessageItem<'a> {
    r#type: &'static str,
    id: &'a str,
    status: &'static str,
    role: &'static str,
    content: &'a [Said],
}

impl Serialize for OutputItem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (id, status) = (self.id.as_str(), self.status);
        match &self.kind {
            ItemKind::Message(content) => {
                MessageItem { r#type: "message", id, status, role: "assistant", content }
                    .serialize(serializer)
            }
            ItemKind::Thought { text, proof } => {
                ReasoningItem::new(Some(id), text, proof.as_deref().map(Into::into)).serialize(serializer)
            }
            ItemKind::Call { call_id, name, arguments, signature } => CallItem {
                r#type: "function_call",
                id: Some(id),
                call_id,
                name,
                arguments,
                status: Some(status),
                extra_content: signature.as_deref().map(ExtraContent::new),
            }
            .serialize(serializer),
        }
    }
}

impl ItemKind {
    /// What an item's id begins with.
    pub(crate) fn prefix(&self) -> &'static str {
        match self {
            Self::Message(_) => "msg",
            Self::Thought { .. } => "rs",
            Self::Call { .. } => "fc",
        }
    }
}

/// Writes an answer for a caller: its first choice, since nobody can ask for more.
pub fn write(reply: &Reply, voice: &Voice) -> Bytes {
    let (no_parts, no_finish) = (Vec::new(), Finish::Stop);
    let (parts, finish) =
        reply.choices.first().map_or((&no_parts, &no_finish), |answered| (&answered.parts, &answered.finish));
    let mut kinds: Vec<ItemKind> = Vec::new();
    let say = |kinds: &mut Vec<ItemKind>, said| match kinds.last_mut() {
        Some(ItemKind::Message(parts)) => parts.push(said),
        _ => kinds.push(ItemKind::Message(vec![said])),
    };
    for part in parts {
        match part {
            Part::Text { text, .. } => say(&mut kinds, Said::Text(text.clone())),
            Part::Refusal { text } => say(&mut kinds, Said::Refusal(text.clone())),
            Part::Thinking { text, signature } => {
                kinds.push(ItemKind::Thought { text: text.clone(), proof: signature.clone() });
            }
            Part::HiddenThinking { data } => kinds
                .push(ItemKind::Thought { text: String::new(), proof: Some(format!("{REDACTED}{data}")) }),
            Part::Call { id, name, arguments, signature } => kinds.push(ItemKind::Call {
                call_id: id.clone(),
                name: name.clone(),
                arguments: arguments.get().to_owned(),
                signature: signature.clone(),
            }),
            // An answer of Responses has no place for media, and results are never answered.
            Part::Media { .. } | Part::Result { .. } => {}
        }
    }
    let status = Status::Finished(finish);
    let last = kinds.len().saturating_sub(1);
    let output: Vec<OutputItem> = kinds
        .into_iter()
        .enumerate()
        .map(|(index, kind)| OutputItem {
            id: format!("{}_{}_{index}", kind.prefix(), voice.id),
            // Only what was being said last can be cut off.
            status: if index == last { status.word() } else { "completed" },
            kind,
        })
        .collect();
    let body = Body::new(voice, status, &output, reply.usage);
    // Serialising strings and numbers into memory cannot fail.
    serde_json::to_vec(&body).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn voice() -> Voice {
        Voice { model: "m".into(), id: "abc".into(), created: 7, wants_usage: false }
    }

    fn call(id: &str) -> Part {
        let arguments = RawValue::from_string(r#"{"z":1.0}"#.into()).unwrap();
        Part::Call { id: id.into(), name: "f".into(), arguments, signature: Some("g".into()) }
    }

    fn reply(parts: Vec<Part>, finish: Finish) -> Reply {
        Reply { id: Some("resp_abc".into()), choices: vec![Answered { parts, finish }], usage: None }
    }

    #[test]
    fn an_answer_is_read_with_its_reasons() {
        let body = br#"{"id":"r","status":"completed","output":[
            {"type":"reasoning","id":"rs","summary":[{"text":"a"},{"text":"b"}],"encrypted_content":"s"},
            {"type":"web_search_call","id":"ws"},
            {"type":"message","content":[{"type":"output_text","text":"t","annotations":[]},{"type":"refusal","refusal":"no"}]},
            {"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":"{}"}]}"#;
        let read = read(body).unwrap();
        let Part::Call { id, .. } = &read.choices[0].parts[3] else { panic!() };
        assert_eq!((id.as_str(), &read.choices[0].finish), ("c", &Finish::Calls));
        let thought = Part::Thinking { text: "a\n\nb".into(), signature: Some("s".into()) };
        let expected = [thought, Part::text("t"), Part::Refusal { text: "no".into() }];
        assert_eq!(format!("{:?}", &read.choices[0].parts[..3]), format!("{expected:?}"));
        for (fields, expected) in [
            (r#""status":"completed""#, Finish::Stop),
            (r#""status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}"#, Finish::Length),
            (r#""status":"incomplete","incomplete_details":{"reason":"content_filter"}"#, Finish::Filtered),
            (r#""status":"incomplete""#, Finish::Length),
            (r#""status":"cancelled""#, Finish::Other("cancelled".into())),
        ] {
            let body = format!(r#"{{{fields},"output":[]}}"#);
            assert_eq!(super::read(body.as_bytes()).unwrap().choices[0].finish, expected, "{fields}");
        }
        assert!(super::read(b"{}").is_none() && super::read(b"nonsense").is_none());
    }

    #[test]
    fn an_answer_is_written_as_openai_does() {
        let written = write(
            &Reply {
                usage: Some(Tokens { input: 3, output: 4, ..Tokens::default() }),
                ..reply(
                    vec![Part::HiddenThinking { data: "d".into() }, Part::text("t"), call("c")],
                    Finish::Length,
                )
            },
            &voice(),
        );
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!((&written["object"], &written["status"]), (&json!("response"), &json!("incomplete")));
        assert_eq!(written["incomplete_details"], json!({"reason":"max_output_tokens"}));
        assert_eq!((&written["created_at"], &written["model"]), (&json!(7), &json!("m")));
        assert_eq!(written["usage"]["total_tokens"], 7);
        assert_eq!(
            written["output"],
            json!([
                {"type":"reasoning","id":"rs_abc_0","summary":[],"encrypted_content":"redacted:d"},
                {"type":"message","id":"msg_abc_1","status":"completed","role":"assistant",
                    "content":[{"type":"output_text","text":"t","annotations":[],"logprobs":[]}]},
                {"type":"function_call","id":"fc_abc_2","call_id":"c","name":"f","arguments":"{\"z\":1.0}","status":"incomplete",
                    "extra_content":{"google":{"thought_signature":"g"}}},
            ])
        );
    }

    prop_compose! {
        fn parts()(kinds in proptest::collection::vec((0..4_u8, "[a-zé\"\n]{1,8}"), 0..8), calls in 0..3_usize) -> Vec<Part> {
            let mut parts: Vec<Part> = kinds.into_iter().map(|(kind, text)| match kind {
                0 => Part::text(text),
                1 => Part::Refusal { text },
                2 => Part::Thinking { text, signature: Some("s".into()) },
                _ => Part::HiddenThinking { data: text },
            }).collect();
            parts.extend((0..calls).map(|index| call(&format!("c{index}"))));
            parts
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(parts in parts()) {
            let has_calls = matches!(parts.last(), Some(Part::Call { .. }));
            let reply = reply(parts, if has_calls { Finish::Calls } else { Finish::Stop });
            let read = read(&write(&reply, &voice())).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{reply:?}"));
        }
    }
}
