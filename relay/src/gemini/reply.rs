//! Whole answers, from providers into the dialogue and from the dialogue for callers.
//!
//! Claims: a blocked prompt is an answer that was filtered; calls without ids get some; nothing a provider adds makes
//! an answer unreadable.

use super::usage;
use super::wire::{self, CandidateOut, ContentOut, PartOut, Response, ResponseOut, Said};
use crate::dialogue::{Answered, Finish, Part, Reply, Source, Voice};
use bytes::Bytes;

/// Reads a provider's answer. `None`: it is none.
pub fn read(body: &[u8]) -> Option<Reply> {
    let response = Response::read(body)?;
    if response.error.is_some() {
        return None;
    }
    let candidates = response.candidates.as_deref().unwrap_or_default();
    let mut choices: Vec<(u64, Answered)> = Vec::with_capacity(candidates.len());
    for (at, candidate) in candidates.iter().enumerate() {
        let mut parts: Vec<Part> = Vec::new();
        for said in candidate.said() {
            join(&mut parts, said);
        }
        let has_calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
        let finish = match candidate.finish() {
            Some(reason) => wire::finish(&reason, has_calls),
            None if has_calls => Finish::Calls,
            None => Finish::Stop,
        };
        choices.push((candidate.index(at), Answered { parts, finish }));
    }
    choices.sort_by_key(|(index, _)| *index);
    let mut choices: Vec<Answered> = choices.into_iter().map(|(_, choice)| choice).collect();
    if choices.is_empty() {
        if !response.prompt_feedback.is_some_and(super::answer::is_blocked) {
            return None;
        }
        choices.push(Answered { parts: Vec::new(), finish: Finish::Filtered });
    }
    Some(Reply { id: response.id(), choices, usage: response.usage_metadata.and_then(usage::tokens) })
}

fn join(parts: &mut Vec<Part>, said: Said) {
    match (parts.last_mut(), said) {
        (Some(Part::Text { text, .. }), Said::Text(more)) => text.push_str(&more),
        (Some(Part::Thinking { text, signature: None }), Said::Thought(more)) => text.push_str(&more),
        (Some(Part::Thinking { signature: signature @ None, .. }), Said::Signature(proof)) => {
            *signature = Some(proof);
        }
        (_, Said::Text(text)) => parts.push(Part::text(text)),
        (_, Said::Thought(text)) => parts.push(Part::Thinking { text, signature: None }),
        (_, Said::Signature(signature)) => {
            parts.push(Part::Thinking { text: String::new(), signature: Some(signature) });
        }
        (_, Said::Call { id, name, arguments, signature }) => {
            parts.push(Part::Call { id, name, arguments, signature });
        }
    }
}

/// Writes an answer for a caller.
pub fn write(reply: &Reply, voice: &Voice) -> Bytes {
    let candidates = reply
        .choices
        .iter()
        .zip(0..)
        .map(|(choice, index)| CandidateOut {
            content: ContentOut { role: "model", parts: choice.parts.iter().filter_map(part).collect() },
            finish_reason: Some(wire::finish_word(&choice.finish)),
            finish_message: None,
            index,
        })
        .collect();
    let response = ResponseOut {
        candidates,
        usage_metadata: reply.usage.as_ref().map(usage::View::new),
        model_version: &voice.model,
        response_id: &voice.id,
    };
    // Serialising into memory cannot fail.
    serde_json::to_vec(&response).unwrap_or_default().into()
}

/// A part of an answer; `None`: this format cannot say it.
fn part(part: &Part) -> Option<PartOut<'_>> {
    match part {
        Part::Text { text, .. } | Part::Refusal { text } => Some(PartOut::text(text)),
        Part::Thinking { text, signature } => {
            (!text.is_empty() || signature.is_some()).then(|| PartOut::thought(text, signature.as_deref()))
        }
        Part::Call { id, name, arguments, signature } => {
            Some(PartOut::call(id, name, arguments, signature.as_deref()))
        }
        Part::Media { source: Source::Inline { media_type, data, .. }, .. } => {
            Some(PartOut::blob(media_type, data))
        }
        Part::Media { source: Source::Url { .. } | Source::File { .. }, .. }
        | Part::HiddenThinking { .. }
        | Part::Result { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Tokens;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    fn voice() -> Voice {
        Voice { model: "m".into(), id: "r1".into(), created: 1, wants_usage: false }
    }

    fn shown(reply: &Reply) -> String {
        format!("{:?} {:?}", reply.choices, reply.usage)
    }

    fn one(json: &str) -> Answered {
        read(json.as_bytes()).unwrap().choices.swap_remove(0)
    }

    #[test]
    fn a_list_of_one_answer_is_that_answer() {
        let answer = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#;
        let listed = read(format!(" [{answer}]").as_bytes()).unwrap();
        assert_eq!(shown(&listed), shown(&read(answer.as_bytes()).unwrap()));
        assert!(read(format!("[{answer},{answer}]").as_bytes()).is_none());
    }

    #[test]
    fn every_kind_of_part_is_read() {
        let reply = read(
            br#"{"candidates":[{"content":{"role":"model","parts":[
                {"text":"hm ","thought":true},{"text":"so","thought":true,"thoughtSignature":"AA=="},
                {"text":"Hel"},{"text":"lo"},{"text":"","thoughtSignature":"BB=="},
                {"functionCall":{"id":"c1","name":"f","args":{"b":1.0,"a":[2]}},"thoughtSignature":"CC=="},
                {"functionCall":{"name":"g"}},{"unheardOf":{}}, null, {"text":7}]},
                "finishReason":"STOP","index":0,"safetyRatings":[{"blocked":false}]}],
                "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7},
                "modelVersion":"x","responseId":"abc"}"#,
        )
        .unwrap();
        assert_eq!(reply.id.as_deref(), Some("abc"));
        assert_eq!(reply.usage, Some(Tokens { input: 3, output: 4, ..Tokens::default() }));
        let choice = &reply.choices[0];
        assert_eq!(choice.finish, Finish::Calls);
        let [
            Part::Thinking { text: thought, signature: Some(first) },
            Part::Text { text, .. },
            Part::Thinking { text: empty, signature: Some(second) },
            Part::Call { id, name, arguments, signature: Some(third) },
            Part::Call { id: made_up, arguments: none, signature: None, .. },
        ] = choice.parts.as_slice()
        else {
            panic!("{:?}", choice.parts)
        };
        assert_eq!(
            (&**thought, &**first, &**text, &**empty, &**second),
            ("hm so", "AA==", "Hello", "", "BB==")
        );
        assert_eq!((&**id, &**name, arguments.get(), &**third), ("c1", "f", r#"{"b":1.0,"a":[2]}"#, "CC=="));
        assert!(made_up.starts_with("call_") && made_up.len() > 20 && none.get() == "{}");
    }

    #[test]
    fn reasons_are_mapped() {
        let finish = |reason: &str, part: &str| {
            one(&format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}},"finishReason":{reason}}}]}}"#))
                .finish
        };
        let (text, call) = (r#"{"text":"a"}"#, r#"{"functionCall":{"name":"f"}}"#);
        let other = |reason: &str| Finish::Other(reason.into());
        let cases = [
            (r#""STOP""#, text, Finish::Stop),
            (r#""STOP""#, call, Finish::Calls),
            (r#""MAX_TOKENS""#, text, Finish::Length),
            (r#""MAX_TOKENS""#, call, Finish::Length),
            (r#""SAFETY""#, text, Finish::Filtered),
            (r#""RECITATION""#, "", Finish::Filtered),
            (r#""BLOCKLIST""#, "", Finish::Filtered),
            (r#""PROHIBITED_CONTENT""#, "", Finish::Filtered),
            (r#""SPII""#, "", Finish::Filtered),
            (r#""IMAGE_SAFETY""#, "", Finish::Filtered),
            (r#""FUNCTION_CALL""#, call, Finish::Calls),
            (r#""FUNCTION_CALL""#, text, other("FUNCTION_CALL")),
            (r#""MALFORMED_FUNCTION_CALL""#, "", other("MALFORMED_FUNCTION_CALL")),
            (r#""MALFORMED_FUNCTION_CALL""#, call, other("MALFORMED_FUNCTION_CALL")),
            (r#""OTHER""#, text, other("OTHER")),
            ("null", text, Finish::Stop),
            ("7", text, other("7")),
        ];
        for (reason, part, expected) in cases {
            assert_eq!(finish(reason, part), expected, "{reason} {part}");
        }
    }

    #[test]
    fn a_blocked_prompt_is_a_filtered_answer_and_an_error_is_none() {
        let blocked = read(
            br#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#,
        )
        .unwrap();
        assert_eq!((blocked.choices.len(), &blocked.choices[0].finish), (1, &Finish::Filtered));
        assert_eq!(blocked.usage.unwrap().input, 9);
        for none in
            ["", "[]", "{}", r#"{"candidates":[]}"#, r#"{"error":{"code":500}}"#, r#"{"candidates":1}"#]
        {
            assert!(read(none.as_bytes()).is_none(), "{none}");
        }
    }

    #[test]
    fn candidates_come_in_their_order() {
        let reply = read(
            br#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"index":1},{"content":{"parts":[{"text":"a"}]},"index":0}]}"#,
        )
        .unwrap();
        assert!(matches!(&reply.choices[0].parts[0], Part::Text { text, .. } if text == "a"));
    }

    #[test]
    fn a_picture_is_shown_in_markdown() {
        let choice = one(
            r#"{"candidates":[{"content":{"parts":[{"text":"See "},{"inlineData":{"mimeType":"image/png","data":"iVBO"}}]}}]}"#,
        );
        assert!(
            matches!(&choice.parts[..], [Part::Text { text, .. }] if text == "See ![image/png](data:image/png;base64,iVBO)")
        );
    }

    #[test]
    fn an_answer_is_written_as_google_writes_it() {
        let call = Part::Call {
            id: "c1".into(),
            name: "f".into(),
            arguments: RawValue::from_string(r#"{"z":1,"a":2.50}"#.into()).unwrap(),
            signature: None,
        };
        let reply = Reply {
            id: None,
            choices: vec![
                Answered {
                    parts: vec![
                        Part::Thinking { text: "hm".into(), signature: Some("AA==".into()) },
                        Part::text("Hi"),
                        call,
                        Part::HiddenThinking { data: "x".into() },
                    ],
                    finish: Finish::Calls,
                },
                Answered { parts: vec![Part::Refusal { text: "No.".into() }], finish: Finish::Filtered },
            ],
            usage: Some(Tokens { input: 3, cache_read: 2, output: 4, reasoning: 1, ..Tokens::default() }),
        };
        let written = write(&reply, &voice());
        assert!(std::str::from_utf8(&written).unwrap().contains(r#""args":{"z":1,"a":2.50}"#));
        assert_eq!(
            serde_json::from_slice::<Value>(&written).unwrap(),
            json!({
                "candidates": [
                    {"content": {"role": "model", "parts": [
                        {"text": "hm", "thought": true, "thoughtSignature": "AA=="}, {"text": "Hi"},
                        {"functionCall": {"id": "c1", "name": "f", "args": {"z": 1, "a": 2.5}}},
                    ]}, "finishReason": "STOP", "index": 0},
                    {"content": {"role": "model", "parts": [{"text": "No."}]}, "finishReason": "SAFETY", "index": 1},
                ],
                "usageMetadata": {"promptTokenCount": 5, "cachedContentTokenCount": 2, "candidatesTokenCount": 4,
                    "thoughtsTokenCount": 1, "totalTokenCount": 10},
                "modelVersion": "m", "responseId": "r1",
            })
        );
    }

    fn any_parts() -> impl Strategy<Value = Vec<Part>> {
        let part = (0..4_u8, "[a-z\u{e9}\u{4e2d}\"\\\\ ]{1,8}", proptest::option::of("[A-Za-z0-9+/]{4}"));
        proptest::collection::vec(part, 0..6).prop_map(|kinds| {
            let mut parts: Vec<Part> = Vec::new();
            for (at, (kind, text, signature)) in kinds.into_iter().enumerate() {
                parts.push(match (kind, parts.last()) {
                    (0, Some(Part::Text { .. })) | (1, _) => Part::Call {
                        id: format!("c{at}"),
                        name: text.clone(),
                        arguments: serde_json::value::to_raw_value(&json!({ "k": text })).unwrap(),
                        signature,
                    },
                    (0, _) => Part::text(text),
                    // Neighbours that would be one thought.
                    (2, Some(Part::Thinking { signature: None, .. })) => continue,
                    (2, _) => Part::Thinking { text, signature },
                    // The proof of a text.
                    (_, Some(Part::Text { .. })) => {
                        Part::Thinking { text: String::new(), signature: Some(text) }
                    }
                    _ => continue,
                });
            }
            parts
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            choices in proptest::collection::vec((any_parts(), 0..4_u8), 1..4),
            [input, output, reasoning] in proptest::array::uniform3(0..1000_u64),
        ) {
            let choices = choices.into_iter().map(|(parts, finish)| {
                let has_calls = parts.iter().any(|part| matches!(part, Part::Call { .. }));
                let finish = match finish {
                    0 => Finish::Length,
                    1 => Finish::Filtered,
                    _ if has_calls => Finish::Calls,
                    _ => Finish::Stop,
                };
                Answered { parts, finish }
            }).collect();
            let usage = Some(Tokens { input, output, reasoning, ..Tokens::default() });
            let reply = Reply { id: None, choices, usage };
            let again = read(&write(&reply, &voice())).unwrap();
            prop_assert_eq!(shown(&again), shown(&reply));
            prop_assert_eq!(again.id.as_deref(), Some("r1"));
        }
    }
}
