//! What a provider answers, whole or as a stream, read only as far as money and routing depend on it.
//!
//! Claims: a vendor's odd shape of content never hides the usage beside it; what server tools found counts as nothing
//! generated.

use super::usage::{self, Counts};
use super::wire::is_empty_object;
use super::{error, stream};
use crate::count::Count;
use crate::estimate::Estimate;
use crate::seen::{Cut, Seen, Watch};
use crate::sse::Event;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Base64 characters of a hidden thought per token: it holds at least the thought's text.
const HIDDEN_BYTES_PER_TOKEN: u64 = 8;

/// An event of a stream, or a whole answer.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    index: Option<Count>,
    stop_reason: Option<IgnoredAny>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// A message or a delta, of which only this is wanted.
#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    stop_reason: Option<IgnoredAny>,
}

/// A block or a delta: whatever of it a model generated.
#[derive(Deserialize)]
struct Generated<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    partial_json: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads a whole answer and counts its generated text. `None`: it is no answer of this format.
pub fn whole(body: &[u8], delivered: &mut Estimate) -> Option<Seen> {
    let wire: Wire<'_> = serde_json::from_slice(body).ok()?;
    if wire.error.is_none() && wire.content.is_none() && wire.usage.is_none() {
        return None;
    }
    for block in wire.content.map(blocks).unwrap_or_default() {
        count(block, delivered);
    }
    Some(Seen {
        usage: wire.usage.and_then(usage::tokens),
        has_answer: wire.content.is_some(),
        is_finished: wire.stop_reason.is_some(),
        is_last: true,
        error: wire.error.map(|shape| error::in_stream(Some(shape))),
        ..Seen::default()
    })
}

/// Reads a stream.
#[derive(Debug, Default)]
pub struct StreamWatch {
    counts: Counts,
    /// The blocks that are open: one, as a rule.
    open: Vec<u64>,
}

impl Watch for StreamWatch {
    fn event(&mut self, event: &Event, delivered: &mut Estimate) -> Option<Seen> {
        let data = event.data()?;
        // Not of this format, but some vendors send it.
        if data.starts_with(b"[DONE]") {
            return Some(Seen { is_last: true, ..Seen::default() });
        }
        let wire: Wire<'_> = serde_json::from_slice(&data).ok()?;
        if let Some(shape) = wire.error {
            return Some(Seen { error: Some(error::in_stream(Some(shape))), ..Seen::default() });
        }
        let mut seen = Seen::default();
        match wire.r#type.as_deref()? {
            "message_start" => {
                seen.has_answer = true;
                let usage = wire.message.and_then(inner).and_then(|message| message.usage);
                if usage.or(wire.usage).is_some_and(|usage| self.counts.open(usage)) {
                    seen.usage = self.counts.tokens();
                }
            }
            "content_block_start" => {
                seen.has_answer = true;
                self.open.push(wire.index.unwrap_or_default().or_zero());
                if let Some(block) = wire.content_block {
                    count(block, delivered);
                }
            }
            "content_block_delta" => {
                seen.has_answer = true;
                if let Some(delta) = wire.delta {
                    count(delta, delivered);
                }
            }
            "message_delta" => {
                seen.has_answer = true;
                seen.is_finished =
                    wire.delta.and_then(inner).is_some_and(|delta| delta.stop_reason.is_some());
                if wire.usage.is_some_and(|usage| self.counts.merge(usage)) {
                    seen.usage = self.counts.tokens();
                }
            }
            "message_stop" => seen.is_last = true,
            "error" => seen.error = Some(error::in_stream(None)),
            "content_block_stop" => {
                let ended = wire.index.unwrap_or_default().or_zero();
                self.open.retain(|open| *open != ended);
            }
            "ping" => {}
            _ => return None,
        }
        Some(seen)
    }

    fn cut(&self, _last: &Event, cut: &Cut<'_>) -> Bytes {
        stream::length(&self.open, &cut.tokens)
    }

    fn ends_with_its_bytes(&self) -> bool {
        false
    }
}

fn inner(json: &RawValue) -> Option<Inner<'_>> {
    serde_json::from_str(json.get()).ok()
}

/// The blocks of a content: those of its list, or the one that it is itself, as some vendors have it.
pub(super) fn blocks(content: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(content.get()).unwrap_or_else(|_| vec![content])
}

/// Counts what a model generated of a block or a delta; of a shape that nobody knows, nothing.
fn count(json: &RawValue, delivered: &mut Estimate) {
    let Ok(generated) = serde_json::from_str::<Generated<'_>>(json.get()) else {
        // A vendor's content may be a plain string.
        return text(Some(json), delivered);
    };
    for json in [generated.text, generated.thinking, generated.partial_json, generated.name] {
        text(json, delivered);
    }
    // Arguments as they stand, which is how they come in a stream. The start of a call has empty ones.
    if let Some(input) = generated.input.filter(|input| !is_empty_object(input.get())) {
        delivered.text(input.get());
    }
    if let Some(data) = generated.data {
        let len = data.get().len() as u64;
        delivered.tokens(len.div_ceil(HIDDEN_BYTES_PER_TOKEN));
    }
}

fn text(json: Option<&RawValue>, delivered: &mut Estimate) {
    if let Some(Ok(text)) = json.map(|json| serde_json::from_str::<Cow<'_, str>>(json.get())) {
        delivered.text(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CallError;
    use domain::Tokens;

    fn words(text: &str) -> u64 {
        let mut estimate = Estimate::default();
        estimate.text(text);
        estimate.upper()
    }

    fn event(data: &str) -> Event {
        Event { raw: Bytes::from(format!("event: x\ndata: {}\n\n", data.replace('\n', ""))) }
    }

    fn watch(watch: &mut StreamWatch, data: &str) -> (Option<Seen>, u64) {
        let mut delivered = Estimate::default();
        let seen = watch.event(&event(data), &mut delivered);
        (seen, delivered.upper())
    }

    #[test]
    fn a_stream_that_is_cut_ends_its_open_blocks_and_then_for_its_length() {
        let voice =
            crate::dialogue::Voice { model: "m".into(), id: "1".into(), created: 0, wants_usage: true };
        let tokens = Tokens { input: 9, output: 7, ..Tokens::default() };
        let cut = Cut { choices: 1, tokens, wants_usage: true, voice: &voice };
        let mut reader = StreamWatch::default();
        let last =
            event(r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"so"}}"#);
        for data in [
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        ] {
            watch(&mut reader, data).0.unwrap();
        }
        let text = String::from_utf8(reader.cut(&last, &cut).to_vec()).unwrap();
        let events: Vec<(&str, serde_json::Value)> = text
            .split_terminator("\n\n")
            .map(|event| event.split_once("\ndata: ").unwrap())
            .map(|(name, data)| (name, serde_json::from_str(data).unwrap()))
            .collect();
        let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["event: content_block_stop", "event: message_delta", "event: message_stop"]);
        assert_eq!((&events[0].1["index"], &events[0].1["type"]), (&1.into(), &"content_block_stop".into()));
        assert_eq!(events[1].1["delta"]["stop_reason"], "max_tokens");
        assert_eq!(events[1].1["usage"]["output_tokens"], 7);
    }

    #[test]
    fn a_stream_is_read_event_by_event() {
        let mut reader = StreamWatch::default();
        let mut next = |data: &str| {
            let (seen, text) = watch(&mut reader, data);
            (seen.unwrap(), text)
        };
        let (start, text) = next(
            r#"{"type":"message_start","message":{"id":"msg_1","content":[],"stop_reason":null,
                "usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}"#,
        );
        let opened = Tokens { input: 9, cache_read: 4, ..Tokens::default() };
        assert_eq!((start.usage, text), (Some(opened), 0));
        assert!(!start.is_finished && start.error.is_none() && !start.is_usage_only);

        let (ping, text) = next(r#"{"type":"ping"}"#);
        assert_eq!((ping.usage, ping.has_answer, text), (None, false, 0));

        let generated = [
            (
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
                String::new(),
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello world"}}"#,
                "hello world".into(),
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm\u4e2d"}}"#,
                "hm中".into(),
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQBCgIYAhIM"}}"#,
                String::new(),
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"cited_text":"abc"}}}"#,
                String::new(),
            ),
            (
                r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{}}}"#,
                "get_weather".into(),
            ),
            (
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}"#,
                "{\"a\":".into(),
            ),
            (
                r#"{"type":"content_block_start","index":2,"content_block":{"type":"web_search_tool_result","content":[{"title":"a long one","url":"https://x"}]}}"#,
                String::new(),
            ),
            (r#"{"type":"content_block_stop","index":1}"#, String::new()),
        ];
        for (data, expected) in generated {
            let (seen, text) = next(data);
            assert_eq!(text, words(&expected), "{data}");
            assert!(seen.usage.is_none() && !seen.is_finished && !seen.is_last);
        }

        let (delta, _) = next(
            r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":25}}"#,
        );
        assert_eq!((delta.usage, delta.is_finished), (Some(Tokens { output: 25, ..opened }), true));
        assert!(next(r#"{"type":"message_stop"}"#).0.is_last);
    }

    #[test]
    fn a_delta_without_a_stop_reason_does_not_finish() {
        let (seen, _) = watch(
            &mut StreamWatch::default(),
            r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":2}}"#,
        );
        let seen = seen.unwrap();
        assert!(!seen.is_finished);
        assert_eq!(seen.usage, None, "the prompt was not counted");
    }

    #[test]
    fn errors_are_seen_in_every_shape() {
        for data in [
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            r#"{"type":"error"}"#,
            r#"{"error":{"message":"openai's shape","type":"server_error"}}"#,
            r#"{"error":"plain words"}"#,
        ] {
            assert!(watch(&mut StreamWatch::default(), data).0.unwrap().error.is_some(), "{data}");
        }
        let (seen, _) =
            watch(&mut StreamWatch::default(), r#"{"type":"error","error":{"type":"overloaded_error"}}"#);
        assert!(matches!(seen.unwrap().error, Some(CallError::ProvidersBusy { .. })));
    }

    #[test]
    fn what_is_not_known_is_nothing() {
        for data in ["", "{", "[]", "7", "{}", r#"{"type":"message_pause"}"#, r#"{"type":7}"#] {
            assert!(watch(&mut StreamWatch::default(), data).0.is_none(), "{data}");
        }
        assert!(watch(&mut StreamWatch::default(), "[DONE]").0.unwrap().is_last);
        let mut delivered = Estimate::default();
        let comment = Event { raw: Bytes::from_static(b": keep-alive\n\n") };
        assert!(StreamWatch::default().event(&comment, &mut delivered).is_none());
    }

    #[test]
    fn a_whole_answer_counts_all_that_was_generated() {
        let body = r#"{"id":"msg_1","type":"message","role":"assistant","content":[
            {"type":"thinking","thinking":"let me see","signature":"EqQB"},
            {"type":"text","text":"hello world"},
            {"type":"tool_use","id":"toolu_1","name":"get","input":{"city":"Oslo"}},
            {"type":"web_search_tool_result","content":[{"title":"long"}]}],
            "stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":30}}"#;
        let mut delivered = Estimate::default();
        let seen = whole(body.as_bytes(), &mut delivered).unwrap();
        let mut expected = Estimate::default();
        for text in ["let me see", "hello world", "get", r#"{"city":"Oslo"}"#] {
            expected.text(text);
        }
        assert_eq!(delivered.upper(), expected.upper());
        assert_eq!(seen.usage, Some(Tokens { input: 3, output: 30, ..Tokens::default() }));
        assert!(seen.has_answer && seen.is_finished && seen.error.is_none());
    }

    #[test]
    fn odd_content_does_not_hide_the_usage() {
        for content in [r#""hello""#, "7", "{}", r#"[7,null,"hello",{"text":9}]"#, "[]"] {
            let body = format!(r#"{{"content":{content},"usage":{{"input_tokens":3,"output_tokens":4}}}}"#);
            let seen = whole(body.as_bytes(), &mut Estimate::default()).unwrap();
            assert!(seen.usage.is_some(), "{content}");
        }
        for body in ["", "[]", "{}", r#"{"choices":[]}"#] {
            assert!(whole(body.as_bytes(), &mut Estimate::default()).is_none(), "{body}");
        }
        let error = whole(
            br#"{"type":"error","error":{"type":"api_error","message":"x"}}"#,
            &mut Estimate::default(),
        );
        assert!(error.unwrap().error.is_some());
    }

    #[test]
    fn a_hidden_thought_is_not_free() {
        let data = "A".repeat(800);
        let body = format!(r#"{{"content":[{{"type":"redacted_thinking","data":"{data}"}}]}}"#);
        let mut delivered = Estimate::default();
        whole(body.as_bytes(), &mut delivered).unwrap();
        assert_eq!(delivered.upper(), 101);
    }
}
