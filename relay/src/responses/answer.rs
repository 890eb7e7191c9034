//! What a provider answers, whole or event by event, read only as far as money depends on it.
//!
//! Claims: the text of every kind of delta is counted, arguments and summaries of thoughts too, so that a stream that is
//! cut before its counts is not free; what comes in a delta and again whole is counted once.

use super::{error, usage};
use crate::estimate::Estimate;
use crate::openai::answer::count_generated;
use crate::openai::message::text;
use crate::seen::{Cut, Seen, Watch};
use crate::sse::Event;
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// An answer, or what the events of its life hold.
#[derive(Default, Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    item_id: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

impl Response<'_> {
    fn seen(&self) -> Seen {
        let status = text(self.status);
        let is_failed = status.as_deref() == Some("failed") || self.error.is_some();
        Seen {
            usage: self.usage.and_then(usage::tokens),
            has_answer: self.output.is_some_and(|output| output.get().starts_with('[')),
            is_finished: matches!(status.as_deref(), Some("completed" | "incomplete")),
            error: is_failed.then(|| error::refused_by(StatusCode::BAD_GATEWAY, self.error)),
            ..Seen::default()
        }
    }
}

/// Reads a whole answer. `None`: it is illegible.
pub fn whole(body: &[u8], delivered: &mut Estimate) -> Option<Seen> {
    let response: Response<'_> = serde_json::from_slice(body).ok()?;
    if let Some(output) = response.output {
        count_generated(output, false, delivered);
    }
    Some(response.seen())
}

/// Reads a stream for metering.
#[derive(Debug, Default)]
pub struct ResponsesWatch {
    /// Items whose text came in deltas.
    in_deltas: HashSet<String>,
    has_counted: bool,
}

impl Watch for ResponsesWatch {
    fn event(&mut self, event: &Event, delivered: &mut Estimate) -> Option<Seen> {
        let data = event.data()?;
        if data.starts_with(b"[DONE]") {
            return Some(Seen { is_last: true, ..Seen::default() });
        }
        let wire: Wire<'_> = serde_json::from_slice(&data).ok()?;
        let failed = |fault| Seen {
            error: Some(error::refused_by(StatusCode::BAD_GATEWAY, fault)),
            is_last: true,
            ..Seen::default()
        };
        let Some(kind) = text(wire.r#type) else { return wire.error.map(|fault| failed(Some(fault))) };
        match kind.as_str() {
            "error" => {
                // The fields of an error stand in the event itself, or in an object of their own.
                let whole: Option<&RawValue> = serde_json::from_slice(&data).ok();
                return Some(failed(wire.error.or(whole)));
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                return Some(self.last(&kind, wire.response, delivered));
            }
            "response.output_item.added" => {
                self.added(wire.item, delivered);
            }
            "response.output_item.done" => self.done(wire.item, delivered),
            // Sound weighs by its transcript.
            "response.audio.delta" => {}
            other if other.ends_with(".delta") => {
                if let Some(delta) = wire.delta {
                    self.has_counted = true;
                    self.in_deltas.insert(text(wire.item_id).unwrap_or_default());
                    count_generated(delta, true, delivered);
                }
            }
            _ => return kind.starts_with("response.").then(Seen::default),
        }
        Some(Seen { has_answer: true, ..Seen::default() })
    }

    /// Such an end repeats all that was said, which nobody kept: the caller is told of an error instead (ADR 0018).
    fn cut(&self, _last: &Event, _cut: &Cut<'_>) -> Bytes {
        Bytes::new()
    }

    fn ends_with_its_bytes(&self) -> bool {
        false
    }
}

impl ResponsesWatch {
    /// The name of a call comes in no delta.
    fn added(&mut self, item: Option<&RawValue>, delivered: &mut Estimate) {
        let item = item.and_then(|item| serde_json::from_str::<Item<'_>>(item.get()).ok());
        if let Some(name) = item.and_then(|item| item.name) {
            self.has_counted = true;
            count_generated(name, true, delivered);
        }
    }

    /// Some vendors send whole items and no deltas.
    fn done(&mut self, item: Option<&RawValue>, delivered: &mut Estimate) {
        let Some(item) = item else { return };
        let id = serde_json::from_str::<Item<'_>>(item.get()).ok().and_then(|it| text(it.id));
        if !self.in_deltas.contains(&id.unwrap_or_default()) {
            self.has_counted = true;
            count_generated(item, false, delivered);
        }
    }

    fn last(&mut self, kind: &str, response: Option<&RawValue>, delivered: &mut Estimate) -> Seen {
        let response: Response<'_> =
            response.and_then(|it| serde_json::from_str(it.get()).ok()).unwrap_or_default();
        if let (Some(output), false) = (response.output, self.has_counted) {
            count_generated(output, false, delivered);
        }
        let is_failed = kind == "response.failed";
        let seen = response.seen();
        Seen {
            is_last: true,
            is_finished: !is_failed,
            error: if is_failed {
                Some(error::refused_by(StatusCode::BAD_GATEWAY, response.error))
            } else {
                seen.error
            },
            ..seen
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Tokens;

    fn words(texts: &[&str]) -> u64 {
        let mut estimate = Estimate::default();
        for text in texts {
            estimate.text(text);
        }
        estimate.upper()
    }

    fn watch(events: &[&str]) -> (Vec<Seen>, u64) {
        let (mut watch, mut delivered) = (ResponsesWatch::default(), Estimate::default());
        let seen = events
            .iter()
            .filter_map(|data| {
                let event = Event { raw: format!("event: x\ndata: {data}\n\n").into() };
                watch.event(&event, &mut delivered)
            })
            .collect();
        (seen, delivered.upper())
    }

    #[test]
    fn every_kind_of_delta_counts_and_nothing_twice() {
        let (seen, tokens) = watch(&[
            r#"{"type":"response.created","response":{"id":"r","status":"in_progress","output":[],"usage":null}}"#,
            r#"{"type":"response.output_item.added","item":{"type":"reasoning","id":"rs"}}"#,
            r#"{"type":"response.reasoning_summary_text.delta","item_id":"rs","delta":"one two"}"#,
            r#"{"type":"response.output_item.done","item":{"type":"reasoning","id":"rs","summary":[{"text":"one two"}]}}"#,
            r#"{"type":"response.output_item.added","item":{"type":"message","id":"m","content":[]}}"#,
            r#"{"type":"response.output_text.delta","item_id":"m","delta":"three","logprobs":[],"obfuscation":"xxxxxxxx"}"#,
            r#"{"type":"response.output_text.done","item_id":"m","text":"three"}"#,
            r#"{"type":"response.output_item.done","item":{"type":"message","id":"m","content":[{"text":"three"}]}}"#,
            r#"{"type":"response.output_item.added","item":{"type":"function_call","id":"f","name":"four","arguments":""}}"#,
            r#"{"type":"response.function_call_arguments.delta","item_id":"f","delta":"five"}"#,
            r#"{"type":"response.output_item.done","item":{"type":"function_call","id":"f","name":"four","arguments":"five"}}"#,
            r#"{"type":"response.completed","response":{"status":"completed","output":[{"content":[{"text":"three"}]}],
                "usage":{"input_tokens":3,"output_tokens":9}}}"#
                .replace('\n', "")
                .as_str(),
        ]);
        assert_eq!(tokens, words(&["one two", "three", "four", "five"]));
        let last = seen.last().unwrap();
        assert!(last.is_last && last.is_finished && last.has_answer && last.error.is_none());
        assert_eq!(last.usage, Some(Tokens { input: 3, output: 9, ..Tokens::default() }));
        assert!(!seen[0].has_answer && seen[0].usage.is_none());
        assert!(seen[..seen.len() - 1].iter().all(|it| !it.is_last && !it.is_finished));
    }

    #[test]
    fn whole_items_without_deltas_count() {
        let item = r#"{"type":"response.output_item.done","item":{"id":"m","content":[{"text":"one two"}]}}"#;
        let end = r#"{"type":"response.incomplete","response":{"status":"incomplete","output":[{"content":[{"text":"one two"}]}]}}"#;
        assert_eq!(watch(&[item, end]).1, words(&["one two"]));
        assert_eq!(watch(&[end]).1, words(&["one two"]));
    }

    #[test]
    fn failures_are_seen_with_their_counts() {
        let (seen, _) = watch(&[
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"broke"},"usage":{"input_tokens":3,"output_tokens":9}}}"#,
        ]);
        assert_eq!(seen[0].error.as_ref().unwrap().to_string(), "broke");
        assert!(seen[0].usage.is_some() && seen[0].is_last && !seen[0].is_finished);
        for event in [
            r#"{"type":"error","code":"x","message":"broke","param":null,"sequence_number":3}"#,
            r#"{"type":"error","error":{"message":"broke"}}"#,
            r#"{"error":{"message":"broke"}}"#,
        ] {
            let (seen, tokens) = watch(&[event]);
            assert_eq!(seen[0].error.as_ref().unwrap().to_string(), "broke", "{event}");
            assert!(seen[0].is_last && tokens == 0);
        }
    }

    #[test]
    fn unknown_events_are_no_fault_and_garbage_is_none() {
        let (seen, tokens) = watch(&[r#"{"type":"response.novel.thing","delta":7}"#, "[DONE]"]);
        assert!(seen.len() == 2 && seen[1].is_last && tokens == 0);
        assert!(watch(&["nonsense", "7", r#"{"type":"ping"}"#]).0.is_empty());
    }

    #[test]
    fn a_whole_answer_is_read() {
        let mut delivered = Estimate::default();
        let body = br#"{"id":"r","object":"response","status":"completed","error":null,"output":[
            {"type":"reasoning","summary":[{"type":"summary_text","text":"one"}],"encrypted_content":"gAAAA"},
            {"type":"message","role":"assistant","content":[{"type":"output_text","text":"two","annotations":[]}]},
            {"type":"function_call","call_id":"c","name":"three","arguments":"{}"}],
            "usage":{"input_tokens":1,"output_tokens":2}}"#;
        let seen = whole(body, &mut delivered).unwrap();
        assert!(seen.has_answer && seen.is_finished && seen.error.is_none());
        assert_eq!(delivered.upper(), words(&["one", "two", "three", "{}"]));
        let failed = whole(br#"{"status":"failed","error":{"message":"broke"},"output":[]}"#, &mut delivered);
        assert_eq!(failed.unwrap().error.unwrap().to_string(), "broke");
        assert!(whole(b"<html>", &mut delivered).is_none());
    }
}
