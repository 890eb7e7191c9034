//! What a provider answers, whole or in events, read only as far as money depends on it.
//!
//! Claims: an odd shape of content never hides the usage beside it: content is walked, not typed; counts of a stream
//! are cumulative, so the last ones replace all before; a prompt that was blocked is an answer, since it is billed.

use super::wire::Response;
use super::{error, usage};
use crate::body::Key;
use crate::estimate::Estimate;
use crate::seen::{Cut, Seen, Watch};
use crate::sse::Event;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A generated image, where nobody counts: what Google counts for one.
const IMAGE_TOKENS: u64 = 1290;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, alias = "prompt_feedback")]
    prompt_feedback: Option<&'a RawValue>,
    #[serde(borrow, alias = "usage_metadata")]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow, alias = "finish_reason")]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow, alias = "block_reason")]
    block_reason: Option<&'a RawValue>,
}

/// Does this value of `finishReason` say that the candidate has ended? Numbers are how protocol buffers may write it.
pub(crate) fn is_finish(reason: &RawValue) -> bool {
    !matches!(reason.get(), "null" | r#""""# | r#""FINISH_REASON_UNSPECIFIED""# | "0")
}

/// Does this `promptFeedback` say that the prompt was blocked?
pub(crate) fn is_blocked(feedback: &RawValue) -> bool {
    serde_json::from_str::<Feedback<'_>>(feedback.get())
        .ok()
        .and_then(|feedback| feedback.block_reason)
        .is_some_and(|reason| {
            !matches!(reason.get(), "null" | r#""""# | r#""BLOCK_REASON_UNSPECIFIED""# | "0")
        })
}

/// Reads a whole answer and counts its generated text. `None`: not JSON of that shape. An answer that is a list of one
/// (as some proxies and errors of Google are) is read as the one.
pub fn whole(body: &[u8], delivered: &mut Estimate) -> Option<Seen> {
    if body.trim_ascii_start().starts_with(b"[") {
        let list: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
        let [one] = list.as_slice() else { return None };
        return read(one.get().as_bytes(), delivered);
    }
    read(body, delivered)
}

fn read(json: &[u8], delivered: &mut Estimate) -> Option<Seen> {
    let wire: Wire<'_> = serde_json::from_slice(json).ok()?;
    let candidates = wire.candidates.unwrap_or_default();
    for content in candidates.iter().filter_map(|candidate| candidate.content) {
        // Never fails: the text is JSON already, and the walk accepts any.
        let _ = Generated { text: &mut *delivered, counts: false }
            .deserialize(&mut serde_json::Deserializer::from_str(content.get()));
    }
    let is_blocked = candidates.is_empty() && wire.prompt_feedback.is_some_and(is_blocked);
    Some(Seen {
        usage: wire.usage_metadata.and_then(usage::tokens),
        // Nobody has to ask for counts in this format.
        is_usage_only: false,
        has_answer: !candidates.is_empty() || is_blocked,
        is_finished: is_blocked
            || candidates.iter().filter_map(|candidate| candidate.finish_reason).any(is_finish),
        is_last: false,
        error: wire.error.map(error::in_answer),
        ..Seen::default()
    })
}

/// Reads a stream's events. Each event's counts are those of all events so far.
#[derive(Clone, Debug, Default)]
pub struct Watcher {
    /// The candidates that have said why they ended.
    finished: Vec<u64>,
}

impl Watch for Watcher {
    fn event(&mut self, event: &Event, delivered: &mut Estimate) -> Option<Seen> {
        let data = event.data()?;
        if data.starts_with(b"[DONE]") {
            // Google has no such mark; vendors that serve several formats do.
            return Some(Seen { is_last: true, ..Seen::default() });
        }
        let seen = whole(&data, delivered)?;
        if seen.is_finished {
            let response = Response::read(&data);
            let candidates = response.as_ref().and_then(|it| it.candidates.as_deref()).unwrap_or_default();
            for (at, candidate) in candidates.iter().enumerate() {
                let index = candidate.index(at);
                // Older models say it with every event.
                if candidate.finish().is_some() && !self.finished.contains(&index) {
                    self.finished.push(index);
                }
            }
        }
        Some(seen)
    }

    fn cut(&self, last: &Event, cut: &Cut<'_>) -> Bytes {
        let data = last.data().unwrap_or_default();
        let unfinished = (0..cut.choices).filter(|choice| !self.finished.contains(choice));
        super::stream::length(Response::read(&data), unfinished, cut)
    }

    fn ends_with_its_bytes(&self) -> bool {
        true
    }
}

/// Walks a content, counting what a model generated.
struct Generated<'a> {
    text: &'a mut Estimate,
    /// Are strings at this place generated text?
    counts: bool,
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
            match &*key {
                // All of it is generated: keys, numbers and braces, too.
                "args" => self.text.text(map.next_value::<&RawValue>()?.get()),
                "inlineData" | "inline_data" => {
                    map.next_value::<IgnoredAny>()?;
                    self.text.tokens(IMAGE_TOKENS);
                }
                _ => {
                    // `output` is what code printed that the model wrote and its provider ran.
                    let counts = matches!(&*key, "text" | "name" | "code" | "output");
                    map.next_value_seed(Generated { text: &mut *self.text, counts })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CallError;
    use domain::Tokens;

    fn seen(json: &str) -> (Seen, u64) {
        let mut delivered = Estimate::default();
        let seen = whole(json.as_bytes(), &mut delivered).unwrap();
        (seen, delivered.upper())
    }

    fn words(texts: &[&str]) -> u64 {
        let mut estimate = Estimate::default();
        texts.iter().for_each(|text| estimate.text(text));
        estimate.upper()
    }

    fn candidate(part: &str) -> String {
        format!(r#"{{"candidates":[{{"content":{{"parts":[{part}],"role":"model"}},"index":0}}]}}"#)
    }

    #[test]
    fn generated_text_is_found_in_every_kind_of_part() {
        let cases = [
            (r#"{"text":"hello world"}"#, words(&["hello world"])),
            (r#"{"text":"hello world","thought":true,"thoughtSignature":"QUJD"}"#, words(&["hello world"])),
            (r#"{"functionCall":{"id":"x","name":"add","args":{"a":1}}}"#, words(&["add", r#"{"a":1}"#])),
            (r#"{"executableCode":{"language":"PYTHON","code":"print(1)"}}"#, words(&["print(1)"])),
            (r#"{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"1"}}"#, words(&["1"])),
            (r#"{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo"}}"#, IMAGE_TOKENS),
            (r#"{"text":7}, {"odd":["text"]}, null"#, 0),
        ];
        for (part, expected) in cases {
            let (seen, tokens) = seen(&candidate(part));
            assert_eq!(tokens, expected, "{part}");
            assert!(seen.has_answer && !seen.is_finished && seen.usage.is_none() && !seen.is_usage_only);
        }
    }

    #[test]
    fn any_reason_finishes_but_the_unspecified_one() {
        let finished =
            |reason: &str| seen(&format!(r#"{{"candidates":[{{"finishReason":{reason}}}]}}"#)).0.is_finished;
        for reason in [r#""STOP""#, r#""FUNCTION_CALL""#, r#""NEW_IN_2030""#, "1", "{}"] {
            assert!(finished(reason), "{reason}");
        }
        for reason in ["null", r#""""#, r#""FINISH_REASON_UNSPECIFIED""#, "0"] {
            assert!(!finished(reason), "{reason}");
        }
    }

    #[test]
    fn a_blocked_prompt_is_an_answer_with_its_counts() {
        let (blocked, _) = seen(
            r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":5,"totalTokenCount":5}}"#,
        );
        assert!(blocked.has_answer && blocked.is_finished);
        assert_eq!(blocked.usage, Some(Tokens { input: 5, ..Tokens::default() }));
        let (rated, _) = seen(r#"{"promptFeedback":{"safetyRatings":[]}}"#);
        assert!(!rated.has_answer && !rated.is_finished);
    }

    #[test]
    fn errors_are_seen_alone_and_in_a_list_of_one_and_garbage_is_not_read() {
        let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
        assert_eq!(seen(error).0.error, Some(CallError::ProviderFailed));
        assert_eq!(seen(&format!("[{error}]")).0.error, Some(CallError::ProviderFailed));
        for garbage in ["", "{", "[]", "[1,2]", "42", "[DONE]", r#"{"candidates":7}"#] {
            assert!(whole(garbage.as_bytes(), &mut Estimate::default()).is_none(), "{garbage}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_ends_each_candidate_for_its_length() {
        let voice =
            crate::dialogue::Voice { model: "m".into(), id: "1".into(), created: 0, wants_usage: true };
        let tokens = Tokens { input: 4, output: 7, ..Tokens::default() };
        let cut = Cut { choices: 2, tokens, wants_usage: true, voice: &voice };
        let raw = b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"index\":0}],\"responseId\":\"r1\"}\r\n\r\n";
        let last = Event { raw: Bytes::from_static(raw) };
        let mut watcher = Watcher::default();
        watcher.event(&last, &mut Estimate::default()).unwrap();
        let text = String::from_utf8(watcher.cut(&last, &cut).to_vec()).unwrap();
        let json: serde_json::Value =
            serde_json::from_str(text.strip_prefix("data: ").unwrap().trim_end()).unwrap();
        let ends: Vec<&serde_json::Value> =
            json["candidates"].as_array().unwrap().iter().map(|it| &it["finishReason"]).collect();
        assert_eq!(ends, ["MAX_TOKENS", "MAX_TOKENS"], "{text}");
        assert_eq!((&json["responseId"], &json["modelVersion"]), (&"r1".into(), &"m".into()));
        assert_eq!(json["usageMetadata"]["candidatesTokenCount"], 7);
    }

    #[test]
    fn a_stream_is_watched_event_by_event() {
        let mut watcher = Watcher::default();
        let mut delivered = Estimate::default();
        let mut event = |raw: &'static [u8]| {
            watcher
                .event(&Event { raw: raw.into() }, &mut delivered)
                .map(|seen| (seen.usage, seen.is_finished, seen.is_last))
        };
        let tokens = |input, output| Some(Tokens { input, output, ..Tokens::default() });
        assert_eq!(event(b": comment\n\n"), None);
        assert_eq!(
            event(b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":{\"promptTokenCount\":4}}\r\n\r\n"),
            Some((tokens(4, 0), false, false))
        );
        assert_eq!(
            event(b"data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":2}}\r\n\r\n"),
            Some((tokens(4, 2), true, false))
        );
        assert_eq!(event(b"data: [DONE]\n\n"), Some((None, false, true)));
        assert_eq!(event(b"data: {\"half\n\n"), None);
        assert!(Watcher::default().ends_with_its_bytes());
    }
}
