//! Whole answers, converted: a provider's into the dialogue, and the dialogue's into one for a caller of this format.

use super::usage::{self, View};
use super::wire::{Object, empty_object, is_object, raw, string};
use crate::body::json_string;
use crate::dialogue::{Answered, Finish, Part, Reply, Voice};
use bytes::Bytes;
use domain::Tokens;
use serde::Serialize;
use serde_json::value::RawValue;

/// What stands for a generated image or sound, for which the format has no block.
const NO_MEDIA: &str = "(Here the model gave an image or a sound, which this API cannot carry.)";

/// Reads a provider's answer. `None`: it is no answer of this format.
pub fn read(body: &[u8]) -> Option<Reply> {
    let message: Object<'_> = serde_json::from_slice(body).ok()?;
    if message.get("error").is_some() {
        return None;
    }
    let id = message.optional_text("id").ok().flatten();
    let parts: Vec<Part> = super::answer::blocks(message.get("content")?)
        .into_iter()
        .enumerate()
        .filter_map(|(index, block)| match string(block) {
            // A vendor's content may be a plain string.
            Ok(text) => Some(Part::text(text)),
            Err(_) => part(&Object::read(block).ok()?, id.as_deref(), index),
        })
        .collect();
    let has_calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
    let text = |name| message.optional_text(name).ok().flatten();
    let finish = finish(text("stop_reason").as_deref(), text("stop_sequence"), has_calls);
    let usage = message.get("usage").and_then(usage::tokens);
    Some(Reply { id, choices: vec![Answered { parts, finish }], usage })
}

/// A block; `None`: it is of a kind that says nothing elsewhere, such as what a server's tool found.
fn part(block: &Object<'_>, message: Option<&str>, index: usize) -> Option<Part> {
    let text = |name| block.optional_text(name).ok().flatten();
    match text("type")?.as_str() {
        "text" => Some(Part::text(text("text")?)),
        "thinking" => Some(Part::Thinking {
            text: text("thinking").unwrap_or_default(),
            signature: text("signature").filter(|signature| !signature.is_empty()),
        }),
        "redacted_thinking" => Some(Part::HiddenThinking { data: text("data")? }),
        "tool_use" => Some(Part::Call {
            id: call_id(text("id"), message, index as u64),
            name: text("name")?,
            arguments: arguments(block.get("input")),
            signature: None,
        }),
        _ => None,
    }
}

/// A call's id; made up, and like no other, where a vendor gives none.
pub(super) fn call_id(given: Option<String>, message: Option<&str>, index: u64) -> String {
    given.filter(|id| !id.is_empty()).unwrap_or_else(|| {
        let message: String =
            message.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect();
        format!("toolu_{message}{index}")
    })
}

/// A call's arguments as an object, whatever a vendor made of them.
pub(super) fn arguments(input: Option<&RawValue>) -> Box<RawValue> {
    let Some(input) = input else { return empty_object() };
    if is_object(input) {
        return input.to_owned();
    }
    let text = string(input).ok().filter(|text| text.trim_start().starts_with('{'));
    match text.and_then(|text| RawValue::from_string(text).ok()) {
        Some(object) => object,
        None => raw(format!(r#"{{"input":{}}}"#, input.get())),
    }
}

/// Why an answer ended, in the dialogue's words.
pub(super) fn finish(reason: Option<&str>, stop_sequence: Option<String>, has_calls: bool) -> Finish {
    match reason {
        Some("end_turn") => Finish::Stop,
        Some("stop_sequence") => Finish::StopText(stop_sequence),
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("tool_use") => Finish::Calls,
        Some("pause_turn") => Finish::Paused,
        Some("refusal") => Finish::Filtered,
        None if has_calls => Finish::Calls,
        None => Finish::Stop,
        Some(other) => Finish::Other(other.to_owned()),
    }
}

/// Why an answer ended, in this format's words: the reason, and the text that ended it.
pub(super) fn stop(finish: &Finish, has_calls: bool, has_refused: bool) -> (&'static str, Option<&str>) {
    let done = match (has_calls, has_refused) {
        (true, _) => "tool_use",
        (false, true) => "refusal",
        (false, false) => "end_turn",
    };
    match finish {
        Finish::Stop | Finish::Other(_) => (done, None),
        Finish::StopText(text) => ("stop_sequence", text.as_deref()),
        Finish::Length => ("max_tokens", None),
        Finish::Calls => ("tool_use", None),
        Finish::Filtered => ("refusal", None),
        Finish::Paused => ("pause_turn", None),
    }
}

/// A message, whole or as a stream begins it.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    id: String,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: Option<&'a str>,
    stop_sequence: Option<&'a str>,
    usage: View,
}

/// A block of an answer.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: &'a str,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
        /// Not of this format: another provider's proof, which comes back to it if the caller repeats the block.
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<&'a str>,
    },
}

impl<'a> Message<'a> {
    /// An answer of which nothing is known yet.
    pub(super) fn begun(voice: &'a Voice, usage: &Tokens) -> Self {
        Self {
            id: format!("msg_{}", voice.id),
            r#type: "message",
            role: "assistant",
            model: &voice.model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: View::new(usage),
        }
    }
}

/// Writes an answer for its caller: the first choice, since the format knows no others.
pub fn write(reply: &Reply, voice: &Voice) -> Bytes {
    let first = reply.choices.first();
    let parts = first.map(|choice| choice.parts.as_slice()).unwrap_or_default();
    let content: Vec<Block<'_>> = parts.iter().filter_map(block).collect();
    let has_calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
    let has_refused = parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
    let finish = first.map_or(&Finish::Stop, |choice| &choice.finish);
    let (stop_reason, stop_sequence) = stop(finish, has_calls, has_refused);
    let usage = reply.usage.unwrap_or_default();
    let message =
        Message { content, stop_reason: Some(stop_reason), stop_sequence, ..Message::begun(voice, &usage) };
    match serde_json::to_vec(&message) {
        Ok(body) => body.into(),
        // Serialising strings into memory cannot fail; were it to, the answer must still be legible.
        Err(_) => format!(
            r#"{{"type":"message","role":"assistant","model":{},"content":[],"stop_reason":"end_turn"}}"#,
            json_string(&voice.model)
        )
        .into(),
    }
}

fn block(part: &Part) -> Option<Block<'_>> {
    match part {
        Part::Text { text, .. } | Part::Refusal { text } => {
            (!text.is_empty()).then_some(Block::Text { text })
        }
        Part::Thinking { text, signature } => {
            Some(Block::Thinking { thinking: text, signature: signature.as_deref().unwrap_or_default() })
        }
        Part::HiddenThinking { data } => Some(Block::RedactedThinking { data }),
        Part::Call { id, name, arguments, signature } => {
            Some(Block::ToolUse { id, name, input: arguments, signature: signature.as_deref() })
        }
        Part::Media { .. } => Some(Block::Text { text: NO_MEDIA }),
        // Results are the caller's, never a model's.
        Part::Result { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn voice() -> Voice {
        Voice { model: "my-model".into(), id: "0123abc".into(), created: 1_700_000_000, wants_usage: false }
    }

    fn written(reply: &Reply) -> Value {
        serde_json::from_slice(&write(reply, &voice())).unwrap()
    }

    fn reply(parts: Vec<Part>, finish: Finish) -> Reply {
        Reply { id: None, choices: vec![Answered { parts, finish }], usage: None }
    }

    fn object(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.into()).unwrap()
    }

    #[test]
    fn a_providers_answer_is_read() {
        let body = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[
            {"type":"thinking","thinking":"hm","signature":"EqQB"},
            {"type":"redacted_thinking","data":"ABC"},
            {"type":"text","text":"hi","citations":null},
            {"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"x"}},
            {"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]},
            {"type":"brand_new"},
            7,
            {"type":"tool_use","id":"toolu_1","name":"get","input":{"b":1.0,"a":[2e3]}}],
            "stop_reason":"tool_use","stop_sequence":null,
            "usage":{"input_tokens":3,"cache_read_input_tokens":2,"output_tokens":30}}"#;
        let reply = read(body.as_bytes()).unwrap();
        assert_eq!(reply.id.as_deref(), Some("msg_1"));
        assert_eq!(reply.usage, Some(Tokens { input: 3, cache_read: 2, output: 30, ..Tokens::default() }));
        let [answered] = reply.choices.as_slice() else { panic!() };
        assert_eq!(answered.finish, Finish::Calls);
        let [
            Part::Thinking { text, signature },
            Part::HiddenThinking { data },
            Part::Text { text: said, .. },
            Part::Call { id, name, arguments, .. },
        ] = answered.parts.as_slice()
        else {
            panic!("{:?}", answered.parts)
        };
        assert_eq!((text.as_str(), signature.as_deref(), data.as_str()), ("hm", Some("EqQB"), "ABC"));
        assert_eq!((said.as_str(), id.as_str(), name.as_str()), ("hi", "toolu_1", "get"));
        assert_eq!(arguments.get(), r#"{"b":1.0,"a":[2e3]}"#, "as written");
    }

    #[test]
    fn what_is_no_answer_is_not_read() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#,
            r#"{"content":[],"error":{"message":"x"}}"#,
        ] {
            assert!(read(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn content_that_is_no_list_is_read_as_what_it_is() {
        for content in
            [r#""x""#, r#"["x"]"#, r#"{"type":"text","text":"x"}"#, r#"[{"type":"text","text":"x"}]"#]
        {
            let reply = read(format!(r#"{{"content":{content}}}"#).as_bytes()).unwrap();
            assert_eq!(
                format!("{:?}", reply.choices[0].parts),
                format!("{:?}", [Part::text("x")]),
                "{content}"
            );
        }
    }

    #[test]
    fn every_stop_reason_has_its_word_both_ways() {
        let cases = [
            ("end_turn", Finish::Stop, "end_turn"),
            ("stop_sequence", Finish::StopText(Some("END".into())), "stop_sequence"),
            ("max_tokens", Finish::Length, "max_tokens"),
            ("model_context_window_exceeded", Finish::Length, "max_tokens"),
            ("tool_use", Finish::Calls, "tool_use"),
            ("pause_turn", Finish::Paused, "pause_turn"),
            ("refusal", Finish::Filtered, "refusal"),
            ("brand_new", Finish::Other("brand_new".into()), "end_turn"),
        ];
        for (reason, expected, back) in cases {
            let body = format!(r#"{{"content":[],"stop_reason":"{reason}","stop_sequence":"END"}}"#);
            let reply = read(body.as_bytes()).unwrap();
            assert_eq!(reply.choices[0].finish, expected, "{reason}");
            let sequence = if back == "stop_sequence" { json!("END") } else { Value::Null };
            let written = written(&reply);
            assert_eq!((&written["stop_reason"], &written["stop_sequence"]), (&json!(back), &sequence));
        }
        let silent = read(br#"{"content":[{"type":"tool_use","name":"f"}],"stop_reason":null}"#).unwrap();
        assert_eq!(silent.choices[0].finish, Finish::Calls);
    }

    #[test]
    fn an_answer_is_written_as_clients_know_it() {
        let call = Part::Call {
            id: "call_1".into(),
            name: "get".into(),
            arguments: object(r#"{"b": 1.0, "a":2}"#),
            signature: None,
        };
        let thought = Part::Thinking { text: "hm".into(), signature: None };
        let usage = Tokens { input: 5, cache_read: 7, output: 2, ..Tokens::default() };
        let reply = Reply {
            usage: Some(usage),
            ..reply(vec![thought, Part::text(""), Part::text("hi"), call], Finish::Stop)
        };
        assert_eq!(
            written(&reply),
            json!({
                "id": "msg_0123abc", "type": "message", "role": "assistant", "model": "my-model",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "text", "text": "hi"},
                    {"type": "tool_use", "id": "call_1", "name": "get", "input": {"b": 1.0, "a": 2}},
                ],
                // Some providers say `stop` where they call.
                "stop_reason": "tool_use", "stop_sequence": null,
                "usage": {
                    "input_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 7,
                    "output_tokens": 2,
                },
            })
        );
        assert!(write(&reply, &voice()).windows(18).any(|bytes| bytes == br#"{"b": 1.0, "a":2}}"#));
    }

    #[test]
    fn a_refusal_is_told_as_one() {
        let written = written(&reply(vec![Part::Refusal { text: "no".into() }], Finish::Stop));
        assert_eq!(written["content"], json!([{"type": "text", "text": "no"}]));
        assert_eq!(written["stop_reason"], "refusal");
    }

    #[test]
    fn odd_arguments_become_an_object() {
        let cases = [
            (r#","input":{"a":1}"#, r#"{"a":1}"#),
            ("", "{}"),
            (r#","input":null"#, "{}"),
            (r#","input":"{\"a\":1}""#, r#"{"a":1}"#),
            (r#","input":"{broken""#, r#"{"input":"{broken"}"#),
            (r#","input":[1]"#, r#"{"input":[1]}"#),
        ];
        for (input, expected) in cases {
            let body = format!(r#"{{"id":"msg_é1","content":[{{"type":"tool_use","name":"f"{input}}}]}}"#);
            let reply = read(body.as_bytes()).unwrap();
            let Part::Call { id, arguments, .. } = &reply.choices[0].parts[0] else { panic!() };
            assert_eq!((id.as_str(), arguments.get()), ("toolu_msg10", expected));
        }
    }

    fn any_part() -> impl Strategy<Value = Part> {
        let text = "[ -~\u{e9}\u{4e2d}]{1,9}";
        prop_oneof![
            text.prop_map(Part::text),
            (text, proptest::option::of("[a-z]{1,5}"))
                .prop_map(|(text, signature)| Part::Thinking { text, signature }),
            "[A-Z]{1,9}".prop_map(|data| Part::HiddenThinking { data }),
            ("[a-z0-9_]{1,9}", "[a-z]{1,5}", text).prop_map(|(id, name, value)| Part::Call {
                id,
                name,
                arguments: object(&json!({ "z": value, "a": 1.5 }).to_string()),
                signature: None,
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            parts in proptest::collection::vec(any_part(), 0..6), length: bool, counts in proptest::array::uniform4(0..999_u64),
        ) {
            let has_calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
            let finish = if length { Finish::Length } else if has_calls { Finish::Calls } else { Finish::Stop };
            let [input, cache_read, cache_write_1h, output] = counts;
            let usage = Tokens { input, cache_read, cache_write_1h, output, ..Tokens::default() };
            let original = Reply { id: Some("msg_0123abc".into()), usage: Some(usage), ..reply(parts, finish) };
            let again = read(&write(&original, &voice())).unwrap();
            prop_assert_eq!(format!("{again:?}"), format!("{original:?}"));
        }
    }
}
