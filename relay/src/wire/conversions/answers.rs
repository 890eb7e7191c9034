//! Answers, whole and as streams, of each provider for each caller of another protocol.

use super::assert_covers;
use crate::dialogue::Voice;
use crate::wire::{Wire, convert};
use serde_json::Value;

const HEADING: &str = "Answers";
const OPENAI: &str = "from `openai`";
const CLAUDE: &str = "from `claude`";
const GEMINI: &str = "from `gemini`";

/// Where each protocol tells why an answer ended, with its words for: done, a call, cut, filtered.
const ENDS: [(Wire, &str, [&str; 4]); 4] = [
    (Wire::Chat, "/choices/0/finish_reason", ["stop", "tool_calls", "length", "content_filter"]),
    (Wire::Responses, "/status", ["completed", "completed", "incomplete", "incomplete"]),
    (Wire::Claude, "/stop_reason", ["end_turn", "tool_use", "max_tokens", "refusal"]),
    (Wire::Gemini, "/candidates/0/finishReason", ["STOP", "STOP", "MAX_TOKENS", "SAFETY"]),
];
const DONE: usize = 0;
const CALL: usize = 1;
const CUT: usize = 2;
const FILTERED: usize = 3;

fn wire(column: &str) -> Wire {
    match column {
        CLAUDE => Wire::Claude,
        GEMINI => Wire::Gemini,
        _ => Wire::Chat,
    }
}

fn voice() -> Voice {
    Voice { model: "m".into(), id: "r1".into(), created: 1, wants_usage: true }
}

fn answer(column: &str, to: Wire, body: &str) -> Value {
    let answer = convert::answer(wire(column), to, body.as_bytes(), &voice());
    serde_json::from_slice(&answer.unwrap_or_else(|| panic!("{column}: {body}"))).unwrap()
}

fn streamed(column: &str, to: Wire, body: &str) -> String {
    let stream = convert::answer_as_stream(wire(column), to, body.as_bytes(), voice()).unwrap();
    String::from_utf8(stream.to_vec()).unwrap()
}

/// An answer that ended so, with a call or without.
fn ended(column: &str, reason: &str, calls: bool) -> String {
    match (column, calls) {
        (CLAUDE, false) => {
            format!(r#"{{"id":"a","content":[{{"type":"text","text":"t"}}],"stop_reason":"{reason}"}}"#)
        }
        (CLAUDE, true) => {
            format!(
                r#"{{"id":"a","content":[{{"type":"tool_use","id":"c","name":"f","input":{{}}}}],"stop_reason":"{reason}"}}"#
            )
        }
        (GEMINI, _) => {
            let part = if calls { r#"{"functionCall":{"name":"f"}}"# } else { r#"{"text":"t"}"# };
            format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}},"finishReason":"{reason}"}}]}}"#)
        }
        (_, false) => {
            format!(r#"{{"choices":[{{"message":{{"content":"t"}},"finish_reason":"{reason}"}}]}}"#)
        }
        (_, true) => format!(
            r#"{{"choices":[{{"message":{{"tool_calls":[{{"id":"c","function":{{"name":"f","arguments":"{{}}"}}}}]}},"finish_reason":"{reason}"}}]}}"#
        ),
    }
}

#[test]
fn every_cell_of_answers_is_as_the_document_says() {
    let ends = [
        ("done", OPENAI, "stop", false, DONE),
        ("done", CLAUDE, "end_turn", false, DONE),
        ("done", GEMINI, "STOP", false, DONE),
        ("calls", OPENAI, "tool_calls", true, CALL),
        ("calls", OPENAI, "stop", true, CALL),
        ("calls", CLAUDE, "tool_use", true, CALL),
        ("calls", GEMINI, "STOP", true, CALL),
        ("cut by the cap", OPENAI, "length", false, CUT),
        ("cut by the cap", CLAUDE, "max_tokens", false, CUT),
        ("cut by the cap", CLAUDE, "model_context_window_exceeded", false, CUT),
        ("cut by the cap", GEMINI, "MAX_TOKENS", false, CUT),
        ("filtered, declined", OPENAI, "content_filter", false, FILTERED),
        ("filtered, declined", CLAUDE, "refusal", false, FILTERED),
        ("filtered, declined", GEMINI, "SAFETY", false, FILTERED),
        ("filtered, declined", GEMINI, "RECITATION", false, FILTERED),
        ("filtered, declined", GEMINI, "PROHIBITED_CONTENT", false, FILTERED),
        ("paused", CLAUDE, "pause_turn", false, DONE),
        ("unknown word", OPENAI, "novel", false, DONE),
        ("unknown word", CLAUDE, "novel", false, DONE),
        ("unknown word", GEMINI, "NOVEL", false, DONE),
    ];
    let mut cells = Vec::new();
    for (row, column, reason, calls, meaning) in ends {
        let body = ended(column, reason, calls);
        for (to, path, words) in ENDS.iter().filter(|(to, ..)| *to != wire(column)) {
            let word = words[meaning];
            let told = answer(column, *to, &body);
            assert_eq!(
                told.pointer(path).and_then(Value::as_str),
                Some(word),
                "{row} | {column}: {reason} → {told}"
            );
            let stream = streamed(column, *to, &body);
            assert!(
                stream.contains(&format!("\"{word}\"")),
                "{row} | {column}: {reason}, streamed → {stream}"
            );
        }
        cells.push((row, column));
    }
    let stopped = answer(CLAUDE, Wire::Chat, &ended(CLAUDE, "stop_sequence", false));
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#;
    assert_eq!(answer(GEMINI, Wire::Chat, blocked)["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(answer(GEMINI, Wire::Claude, blocked)["stop_reason"], "refusal");
    let declined = r#"{"choices":[{"message":{"refusal":"no"},"finish_reason":"stop"}]}"#;
    assert_eq!(answer(OPENAI, Wire::Claude, declined)["stop_reason"], "refusal");

    cells.extend([OPENAI, CLAUDE, GEMINI].map(|column| ("counts", column)));
    counts();
    cells.extend([OPENAI, CLAUDE, GEMINI].map(|column| ("thoughts", column)));
    thoughts();
    assert_covers(HEADING, &cells);
}

fn counts() {
    let body = r#"{"choices":[{"message":{"content":"t"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    let usage = &answer(OPENAI, Wire::Claude, body)["usage"];
    let of = |usage: &Value, name: &str| usage[name].as_u64();
    assert_eq!(
        (of(usage, "input_tokens"), of(usage, "cache_read_input_tokens"), of(usage, "output_tokens")),
        (Some(6), Some(4), Some(5)),
        "counts | {OPENAI}"
    );
    let body = r#"{"id":"a","content":[{"type":"text","text":"t"}],"stop_reason":"end_turn",
        "usage":{"input_tokens":6,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":5,
            "cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2}}}"#;
    for (to, usage, prompt, answer_tokens) in [
        (Wire::Chat, "usage", "prompt_tokens", "completion_tokens"),
        (Wire::Responses, "usage", "input_tokens", "output_tokens"),
        (Wire::Gemini, "usageMetadata", "promptTokenCount", "candidatesTokenCount"),
    ] {
        let told = answer(CLAUDE, to, body);
        let counted = (of(&told[usage], prompt), of(&told[usage], answer_tokens));
        assert_eq!(counted, (Some(13), Some(5)), "counts | {CLAUDE}: {told}");
    }
    let read = crate::claude::reply::read(body.as_bytes()).unwrap().usage.unwrap();
    assert_eq!((read.cache_write, read.cache_write_1h), (1, 2), "counts | {CLAUDE}: writes apart");
    for (total, expected) in [(18, 8), (15, 5)] {
        let body = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"t"}}]}},"finishReason":"STOP"}}],
            "usageMetadata":{{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":3,"totalTokenCount":{total}}}}}"#
        );
        let told = answer(GEMINI, Wire::Chat, &body);
        assert_eq!(of(&told["usage"], "completion_tokens"), Some(expected), "counts | {GEMINI}: {told}");
    }
}

fn thoughts() {
    for name in ["reasoning_content", "reasoning"] {
        let body = format!(
            r#"{{"choices":[{{"message":{{"{name}":"hm","content":"t"}},"finish_reason":"stop"}}]}}"#
        );
        let told = answer(OPENAI, Wire::Claude, &body);
        assert_eq!(told["content"][0]["thinking"], "hm", "thoughts | {OPENAI}: {told}");
        let told = answer(OPENAI, Wire::Gemini, &body);
        assert_eq!(told["candidates"][0]["content"]["parts"][0]["thought"], true, "thoughts | {OPENAI}");
    }
    let claudes = r#"{"id":"a","content":[{"type":"thinking","thinking":"hm","signature":"QUJD"},{"type":"text","text":"t"}],
        "stop_reason":"end_turn"}"#;
    let geminis = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true,"thoughtSignature":"QUJD"},{"text":"t"}]},
        "finishReason":"STOP"}]}"#;
    for (column, body) in [(CLAUDE, claudes), (GEMINI, geminis)] {
        for to in [Wire::Chat, Wire::Responses, Wire::Claude, Wire::Gemini] {
            for told in [answer(column, to, body).to_string(), streamed(column, to, body)] {
                let holds = |text: &str| told.contains(&format!("\"{text}\""));
                assert!(holds("hm") && holds("QUJD"), "thoughts | {column} → {to:?}: {told}");
            }
        }
    }
}
