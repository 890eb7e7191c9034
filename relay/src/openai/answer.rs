//! What a provider answers, whole or in chunks, read only as far as money depends on it.
//!
//! Claims: a vendor's odd shape of content never hides the usage beside it: content is walked, not typed.

use super::{cut, error, usage};
use crate::body::Key;
use crate::estimate::Estimate;
use crate::seen::{Cut, Seen, Watch};
use crate::sse::Event;
use axum::http::StatusCode;
use bytes::Bytes;
use domain::Tokens;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A chunk of a stream, or a whole answer.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    /// Of the older completions.
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    /// Where one vendor puts it.
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// What a chunk or an answer came to.
#[derive(Debug, Default)]
pub struct Read<'a> {
    /// Does it hold any choice?
    pub has_choices: bool,
    /// Does it say that a choice is finished?
    pub finished: bool,
    /// Does it have a `usage` that is not null, legible or not?
    pub has_usage: bool,
    /// The counts, if legible.
    pub usage: Option<Tokens>,
    /// The error it is instead.
    pub error: Option<&'a RawValue>,
}

/// Reads a chunk or an answer and counts its generated text. `None`: not JSON of that shape.
pub fn read<'a>(json: &'a [u8], text: &mut Estimate) -> Option<Read<'a>> {
    let wire: Wire<'a> = serde_json::from_slice(json).ok()?;
    let choices = wire.choices.unwrap_or_default();
    let raw_usage = wire.usage.or_else(|| choices.iter().find_map(|choice| choice.usage));
    for choice in &choices {
        if let Some(generated) = choice.delta.or(choice.message) {
            count_generated(generated, false, text);
        }
        if let Some(generated) = choice.text {
            count_generated(generated, true, text);
        }
    }
    Some(Read {
        has_choices: !choices.is_empty(),
        // Some vendors write an empty reason until there is one.
        finished: choices
            .iter()
            .filter_map(|choice| choice.finish_reason)
            .any(|reason| reason.get() != "\"\""),
        has_usage: raw_usage.is_some(),
        usage: raw_usage.and_then(usage::tokens),
        error: wire.error,
    })
}

impl From<Read<'_>> for Seen {
    fn from(read: Read<'_>) -> Self {
        Self {
            usage: read.usage,
            // Azure's first chunk has no choices either, but no usage.
            is_usage_only: read.has_usage && !read.has_choices,
            has_answer: read.has_choices,
            is_finished: read.finished,
            error: read.error.map(|error| error::refused_by(StatusCode::BAD_GATEWAY, Some(error))),
            ..Self::default()
        }
    }
}

/// Reads a whole answer, of chat or of the older completions. `None`: it is illegible.
pub fn whole(body: &[u8], delivered: &mut Estimate) -> Option<Seen> {
    read(body, delivered).map(Seen::from)
}

/// Reads a stream of chat chunks, or of the older completions, for metering.
#[derive(Debug, Default)]
pub struct ChatWatch {
    /// The choices that have said why they ended.
    finished: Vec<u64>,
}

impl Watch for ChatWatch {
    fn event(&mut self, event: &Event, delivered: &mut Estimate) -> Option<Seen> {
        let data = event.data()?;
        if data.starts_with(b"[DONE]") {
            return Some(Seen { is_last: true, ..Seen::default() });
        }
        let seen = read(&data, delivered).map(Seen::from)?;
        if seen.is_finished {
            self.finished.extend(cut::finished(&data));
        }
        Some(seen)
    }

    fn cut(&self, last: &Event, cut: &Cut<'_>) -> Bytes {
        let unfinished = (0..cut.choices).filter(|choice| !self.finished.contains(choice)).collect();
        cut::end(last, unfinished, cut)
    }

    fn ends_with_its_bytes(&self) -> bool {
        false
    }
}

/// Counts the text in a generated value: all its strings if `counts`, else those below keys that hold generated text.
pub(crate) fn count_generated(value: &RawValue, counts: bool, text: &mut Estimate) {
    // Never fails: the value is JSON already, and the walk accepts any.
    let _ = Generated { text, counts }.deserialize(&mut serde_json::Deserializer::from_str(value.get()));
}

/// Walks a message or a delta, counting the strings that a model generated.
struct Generated<'a> {
    text: &'a mut Estimate,
    /// Are strings at this place generated text?
    counts: bool,
}

/// Does this key hold generated text? (`reasoning_details` repeats `reasoning`, and ids and roles cost nothing.)
fn is_generated(key: &str) -> bool {
    matches!(
        key,
        "content"
            | "text"
            | "refusal"
            | "reasoning"
            | "reasoning_content"
            | "thinking"
            | "name"
            | "arguments"
            | "input"
            | "transcript"
    )
}

impl<'de> DeserializeSeed<'de> for Generated<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Generated<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.counts {
            self.text.text(text);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Generated { text: &mut *self.text, counts: self.counts })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            if key == "reasoning_details" {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Generated { text: &mut *self.text, counts: is_generated(&key) })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(json: &str) -> (Read<'_>, u64) {
        let mut text = Estimate::default();
        let read = read(json.as_bytes(), &mut text).unwrap();
        (read, text.upper())
    }

    fn words(text: &str) -> u64 {
        let mut estimate = Estimate::default();
        estimate.text(text);
        estimate.upper()
    }

    #[test]
    fn generated_text_is_found_wherever_vendors_put_it() {
        for delta in [
            r#"{"role":"assistant","content":"hello world"}"#,
            r#"{"content":null,"reasoning_content":"hello world"}"#,
            r#"{"reasoning":"hello world","reasoning_details":[{"type":"reasoning.text","text":"hello world"}]}"#,
            r#"{"content":[{"type":"text","text":"hello world"}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"arguments":"hello world"}}]}"#,
            r#"{"refusal":"hello world"}"#,
            r#"{"audio":{"id":"a","data":"UklGRgAAAABXQVZF","transcript":"hello world"}}"#,
        ] {
            let json =
                format!(r#"{{"id":"x","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#);
            let (read, tokens) = count(&json);
            assert_eq!(tokens, words("hello world"), "{delta}");
            assert!(read.has_choices && !read.finished && read.usage.is_none());
        }
    }

    #[test]
    fn a_role_is_no_text() {
        let (read, tokens) =
            count(r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#);
        assert_eq!((tokens, read.has_choices), (0, true));
    }

    #[test]
    fn usage_is_read_at_the_top_and_within_a_choice() {
        let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":4}"#;
        let expected = Some(Tokens { input: 3, output: 4, ..Tokens::default() });
        assert_eq!(count(&format!(r#"{{"choices":[],{usage}}}"#)).0.usage, expected);
        assert_eq!(
            count(&format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"stop",{usage}}}]}}"#)).0.usage,
            expected
        );
        let (azure, _) = count(r#"{"choices":[],"prompt_filter_results":[{}],"usage":null}"#);
        assert!(!azure.has_choices && !azure.has_usage);
    }

    #[test]
    fn a_finish_reason_of_any_kind_finishes_and_null_does_not() {
        assert!(count(r#"{"choices":[{"delta":{},"finish_reason":"FUNCTION_CALL"}]}"#).0.finished);
        assert!(!count(r#"{"choices":[{"delta":{},"finish_reason":null}]}"#).0.finished);
    }

    fn watched(data: &str) -> (Option<Seen>, u64) {
        let mut text = Estimate::default();
        let event = Event { raw: format!("data: {data}\n\n").into() };
        (ChatWatch::default().event(&event, &mut text), text.upper())
    }

    #[test]
    fn the_older_completions_are_read_alike() {
        let (seen, tokens) = watched(
            r#"{"object":"text_completion","choices":[{"text":"hello world","index":0,"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        );
        let seen = seen.unwrap();
        assert_eq!(tokens, words("hello world"));
        assert!(seen.has_answer && seen.is_finished && !seen.is_last);
        assert_eq!(seen.usage, Some(Tokens { input: 3, output: 2, ..Tokens::default() }));
    }

    #[test]
    fn of_a_stream_the_usage_chunk_and_the_end_are_told_apart() {
        let usage = watched(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#).0.unwrap();
        assert!(usage.is_usage_only && !usage.has_answer);
        let odd = watched(r#"{"choices":[],"usage":{"prompt_tokens":"many"}}"#).0.unwrap();
        assert!(odd.is_usage_only && odd.usage.is_none());
        let azure = watched(r#"{"choices":[],"prompt_filter_results":[{}]}"#).0.unwrap();
        assert!(!azure.is_usage_only);
        assert!(watched("[DONE]").0.unwrap().is_last);
        let empty_reason =
            watched(r#"{"choices":[{"delta":{"content":"x"},"finish_reason":""}]}"#).0.unwrap();
        assert!(!empty_reason.is_finished);
        let error = watched(r#"{"error":{"message":"overloaded"}}"#).0.unwrap().error.unwrap();
        assert_eq!(error.to_string(), "overloaded");
        assert!(watched("nonsense").0.is_none());
    }

    #[test]
    fn an_error_is_seen_and_garbage_is_not_read() {
        assert!(count(r#"{"error":{"message":"overloaded"}}"#).0.error.is_some());
        assert!(count(r#"{"choices":[],"error":null}"#).0.error.is_none());
        for garbage in ["", "{", "[]", "42", "[DONE]", "{\"choices\":7}"] {
            assert!(read(garbage.as_bytes(), &mut Estimate::default()).is_none(), "{garbage}");
        }
    }
}
