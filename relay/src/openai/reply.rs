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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Medium;
    use domain::Tokens;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn voice() -> Voice {
        Voice { model: "m".into(), id: "abc".into(), created: 7, wants_usage: false }
    }

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.into()).unwrap()
    }

    fn parts(message: &str) -> String {
        let body = format!(r#"{{"choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#);
        format!("{:?}", read(body.as_bytes()).unwrap().choices[0].parts)
    }

    fn show(parts: &[Part]) -> String {
        format!("{parts:?}")
    }

    fn thought(text: &str, signature: Option<&str>) -> Part {
        Part::Thinking { text: text.into(), signature: signature.map(Into::into) }
    }

    #[test]
    fn answers_are_read_wherever_vendors_put_their_text() {
        let image = Part::Media {
            medium: Medium::Image,
            source: Source::Inline { media_type: "image/png".into(), data: "QQ==".into(), filename: None },
            detail: None,
            cache: None,
        };
        let call = |arguments: &str| Part::Call {
            id: "a".into(),
            name: "f".into(),
            arguments: raw(arguments),
            signature: None,
        };
        let cases = [
            (r#"{"role":"assistant","content":"hi","refusal":null,"audio":null}"#, vec![Part::text("hi")]),
            (r#"{"content":null,"refusal":"no"}"#, vec![Part::Refusal { text: "no".into() }]),
            (r#"{"content":"hi","reasoning_content":"hm"}"#, vec![thought("hm", None), Part::text("hi")]),
            (r#"{"content":"hi","reasoning":"hm"}"#, vec![thought("hm", None), Part::text("hi")]),
            (
                r#"{"content":"hi","reasoning_content":"hm","thinking_blocks":[{"type":"thinking","thinking":"hm","signature":"s"}]}"#,
                vec![thought("hm", Some("s")), Part::text("hi")],
            ),
            (
                r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"hi"}]}"#,
                vec![thought("hm", None), Part::text("hi")],
            ),
            (
                r#"{"content":"","images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}]}"#,
                vec![image],
            ),
            (
                r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"b\":1.0}"}}]}"#,
                vec![call(r#"{"b":1.0}"#)],
            ),
            (r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":""}}]}"#, vec![call("{}")]),
            (
                r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":{"b":1}}}]}"#,
                vec![call(r#"{"b":1}"#)],
            ),
            // Cut off, or no object: nothing of it is lost.
            (
                r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"b\":"}}]}"#,
                vec![call(r#"{"arguments":"{\"b\":"}"#)],
            ),
            (r#"{"content":7,"tool_calls":"x","reasoning":[]}"#, vec![]),
            ("null", vec![]),
        ];
        for (message, expected) in cases {
            assert_eq!(parts(message), show(&expected), "{message}");
        }
        assert!(read(b"{}").is_none() && read(b"nonsense").is_none());
    }

    #[test]
    fn a_call_without_an_id_gets_one() {
        let body = br#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"f"}},{"function":{"name":"g"}}]}}]}"#;
        let reply = read(body).unwrap();
        let ids: Vec<_> = reply.choices[0]
            .parts
            .iter()
            .map(|part| match part {
                Part::Call { id, .. } => id.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(ids.iter().all(|id| id.starts_with("call_")) && ids[0] != ids[1]);
        assert_eq!(reply.choices[0].finish, Finish::Calls);
    }

    #[test]
    fn finish_reasons_have_their_counterparts() {
        for (reason, has_calls, expected) in [
            (Some("stop"), false, Finish::Stop),
            (Some("stop"), true, Finish::Calls),
            (None, false, Finish::Stop),
            (Some("length"), true, Finish::Length),
            (Some("tool_calls"), false, Finish::Calls),
            (Some("function_call"), false, Finish::Calls),
            (Some("content_filter"), false, Finish::Filtered),
            (Some("eos"), false, Finish::Other("eos".into())),
        ] {
            assert_eq!(finish(reason, has_calls), expected);
        }
        for (finish, reason) in [
            (Finish::Stop, "stop"),
            (Finish::StopText(Some("x".into())), "stop"),
            (Finish::Paused, "stop"),
            (Finish::Other("x".into()), "stop"),
            (Finish::Length, "length"),
            (Finish::Calls, "tool_calls"),
            (Finish::Filtered, "content_filter"),
        ] {
            assert_eq!(finish_reason(&finish), reason);
        }
    }

    #[test]
    fn an_answer_is_written_as_openai_does() {
        let reply = Reply {
            id: Some("theirs".into()),
            choices: vec![
                Answered {
                    parts: vec![
                        thought("hm", Some("s")),
                        Part::HiddenThinking { data: "d".into() },
                        Part::text("a"),
                        Part::text("b"),
                    ],
                    finish: Finish::Length,
                },
                Answered {
                    parts: vec![Part::Call {
                        id: "c".into(),
                        name: "f".into(),
                        arguments: raw("{\"z\":1.0}"),
                        signature: Some("g".into()),
                    }],
                    finish: Finish::Calls,
                },
                Answered { parts: vec![], finish: Finish::Filtered },
            ],
            usage: Some(Tokens { input: 3, output: 4, ..Tokens::default() }),
        };
        let written: Value = serde_json::from_slice(&write(&reply, &voice())).unwrap();
        let choice = |index: u64, message: Value, reason: &str| json!({"index":index,"message":message,"logprobs":null,"finish_reason":reason});
        let expected = json!({"id":"chatcmpl-abc","object":"chat.completion","created":7,"model":"m","choices":[
            choice(0, json!({"role":"assistant","content":"ab","refusal":null,"reasoning_content":"hm","thinking_blocks":[
                {"type":"thinking","index":0,"thinking":"hm","signature":"s"},
                {"type":"redacted_thinking","index":1,"data":"d"}]}), "length"),
            choice(1, json!({"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"c","type":"function",
                "function":{"name":"f","arguments":"{\"z\":1.0}"},"extra_content":{"google":{"thought_signature":"g"}}}]}),
                "tool_calls"),
            choice(2, json!({"role":"assistant","content":"","refusal":null}), "content_filter")],
            "usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,
                "prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},
                "completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}});
        assert_eq!(written, expected);
    }

    prop_compose! {
        fn answers()(
            thoughts in proptest::collection::vec(("[a-z\"\n]{1,8}", "[a-z]{1,5}"), 0..3),
            text in proptest::option::of("[a-zé密\"\\\\\n]{1,12}"),
            refusal in proptest::option::of("[a-z]{1,8}"),
            calls in 0..3_usize,
        ) -> Answered {
            let mut parts: Vec<Part> = thoughts.iter().map(|(text, proof)| thought(text, Some(proof))).collect();
            parts.extend(text.map(Part::text));
            parts.extend(refusal.map(|text| Part::Refusal { text }));
            parts.extend((0..calls).map(|index| Part::Call {
                id: format!("id{index}"), name: "f".into(), arguments: raw(r#"{"b":1e2,"a":"\u00e9"}"#), signature: None,
            }));
            Answered { parts, finish: if calls > 0 { Finish::Calls } else { Finish::Stop } }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(choices in proptest::collection::vec(answers(), 1..3)) {
            let reply = Reply { id: Some("chatcmpl-abc".into()), choices, usage: None };
            let read = read(&write(&reply, &voice())).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{reply:?}"));
        }
    }
}
