//! The end of a provider's stream of chunks that is ended here, for its length.
//!
//! Claims: the last chunks go by the id and the names of those before them; a choice ends once.

use super::message::{parse, text};
use super::usage::Counts;
use crate::seen::Cut;
use crate::sse::Event;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The names in a chunk, and how its choices stand.
#[derive(Default, Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    system_fingerprint: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ChunkOut<'a> {
    id: &'a str,
    object: &'a str,
    created: i64,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_fingerprint: Option<&'a RawValue>,
    choices: Vec<ChoiceOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Counts>>,
}

#[derive(Serialize)]
struct ChoiceOut {
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'static str>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Empty {}

/// The choices that a chunk ends.
pub(super) fn finished(json: &[u8]) -> Vec<u64> {
    let chunk: Chunk<'_> = serde_json::from_slice(json).unwrap_or_default();
    let choices = chunk.choices.unwrap_or_default();
    let ended = choices.iter().filter(|it| it.finish_reason.is_some_and(|reason| reason.get() != "\"\""));
    ended.map(|it| it.index.and_then(parse).unwrap_or(0)).collect()
}

/// Chunks that end these choices, the counts if they are wanted, and the end.
pub(super) fn end(last: &Event, unfinished: Vec<u64>, cut: &Cut<'_>) -> Bytes {
    let data = last.data().unwrap_or_default();
    let chunk: Chunk<'_> = serde_json::from_slice(&data).unwrap_or_default();
    let choices = chunk.choices.as_deref().unwrap_or_default();
    // The older completions, which have a text where chat has a delta.
    let is_text = choices.iter().any(|choice| choice.text.is_some());
    let object = if is_text { "text_completion" } else { "chat.completion.chunk" };
    let (id, model) = (text(chunk.id), text(chunk.model));
    let object = text(chunk.object).unwrap_or_else(|| object.to_owned());
    let made_up = format!("chatcmpl-{}", cut.voice.id);
    let chunk = |choices, usage| ChunkOut {
        id: id.as_deref().unwrap_or(&made_up),
        object: &object,
        created: chunk.created.and_then(parse).unwrap_or(cut.voice.created),
        model: model.as_deref().unwrap_or(&cut.voice.model),
        system_fingerprint: chunk.system_fingerprint,
        choices,
        usage,
    };
    let mut out = BytesMut::new();
    for index in unfinished {
        let (delta, text) = if is_text { (None, Some("")) } else { (Some(Empty {}), None) };
        let choice = ChoiceOut { index, delta, text, logprobs: None, finish_reason: "length" };
        put(&chunk(vec![choice], cut.wants_usage.then_some(None)), &mut out);
    }
    if cut.wants_usage {
        put(&chunk(Vec::new(), Some(Some(Counts::from(cut.tokens)))), &mut out);
    }
    out.put_slice(b"data: [DONE]\n\n");
    out.freeze()
}

fn put(chunk: &ChunkOut<'_>, out: &mut BytesMut) {
    out.put_slice(b"data: ");
    // Serialising strings and numbers into memory cannot fail.
    let _ = serde_json::to_writer((&mut *out).writer(), chunk);
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Voice;
    use crate::estimate::Estimate;
    use crate::openai::answer::ChatWatch;
    use crate::seen::Watch;
    use domain::Tokens;
    use serde_json::{Value, json};

    fn ended(stream: &[&str], choices: u64, wants_usage: bool) -> Vec<Value> {
        let (mut watch, mut delivered) = (ChatWatch::default(), Estimate::default());
        let events: Vec<Event> =
            stream.iter().map(|json| Event { raw: format!("data: {json}\n\n").into() }).collect();
        for event in &events {
            watch.event(event, &mut delivered).unwrap();
        }
        let voice = Voice { model: "m".into(), id: "v".into(), created: 7, wants_usage };
        let tokens = Tokens { input: 3, output: 4, ..Tokens::default() };
        let end = watch.cut(events.last().unwrap(), &Cut { choices, tokens, wants_usage, voice: &voice });
        let end = String::from_utf8(end.to_vec()).unwrap();
        let end = end.strip_suffix("data: [DONE]\n\n").unwrap();
        end.split_terminator("\n\n")
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn chat_ends_by_its_own_names_and_each_choice_once() {
        let first = r#"{"id":"c1","object":"chat.completion.chunk","created":5,"model":"up","choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#;
        let last = r#"{"id":"c1","object":"chat.completion.chunk","created":5,"model":"up","system_fingerprint":"f","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}"#;
        let expected = json!({"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "up",
            "system_fingerprint": "f",
            "choices": [{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "length"}]});
        assert_eq!(ended(&[first, last], 2, false), [expected]);
        let with_counts = ended(&[last], 1, true);
        assert_eq!(with_counts[0]["usage"], Value::Null);
        assert_eq!(
            (&with_counts[1]["choices"], &with_counts[1]["usage"]["completion_tokens"]),
            (&json!([]), &json!(4))
        );
    }

    #[test]
    fn the_older_completions_end_with_a_text_and_vendors_without_names_get_ours() {
        let events = ended(&[r#"{"choices":[{"text":"x","index":0,"finish_reason":null}]}"#], 1, false);
        let expected = json!({"id": "chatcmpl-v", "object": "text_completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "text": "", "logprobs": null, "finish_reason": "length"}]});
        assert_eq!(events, [expected]);
    }
}
