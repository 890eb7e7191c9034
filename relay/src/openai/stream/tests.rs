use super::{Reader, Writer};
use crate::dialogue::{Finish, Piece, Voice};
use crate::error::CallError;
use crate::sse::{Event, Splitter};
use bytes::BytesMut;
use domain::Tokens;
use proptest::prelude::*;
use serde_json::{Value, json};

fn voice(wants_usage: bool) -> Voice {
    Voice { model: "m".into(), id: "abc".into(), created: 7, wants_usage }
}

fn read(stream: &str) -> Vec<Piece> {
    let mut splitter = Splitter::new(1 << 20);
    splitter.push(stream.as_bytes());
    let (mut reader, mut pieces) = (Reader::default(), Vec::new());
    while let Some(event) = splitter.next_event().unwrap() {
        reader.event(&event, &mut pieces);
    }
    reader.end(&mut pieces);
    pieces
}

fn write(pieces: Vec<Piece>, wants_usage: bool) -> String {
    let (mut writer, mut out) = (Writer::new(voice(wants_usage)), BytesMut::new());
    for piece in pieces {
        writer.piece(piece, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

fn lines(pieces: &[Piece]) -> Vec<String> {
    pieces.iter().map(|piece| format!("{piece:?}")).collect()
}

fn data(stream: &str) -> Vec<Value> {
    stream
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn chunks(choices: &[&str]) -> String {
    choices
        .iter()
        .map(|choice| format!("data: {{\"id\":\"x\",\"choices\":[{{\"index\":0,{choice}}}]}}\n\n"))
        .collect()
}

fn text(text: &str) -> Piece {
    Piece::Text { choice: 0, text: text.into() }
}

fn begin(index: u64, id: &str, name: &str) -> Piece {
    Piece::CallBegin { choice: 0, index, id: id.into(), name: name.into(), signature: None }
}

fn arguments(index: u64, fragment: &str) -> Piece {
    Piece::CallArguments { choice: 0, index, fragment: fragment.into() }
}

fn call_end(index: u64) -> Piece {
    Piece::CallEnd { choice: 0, index }
}

fn finish(finish: Finish) -> Piece {
    Piece::Finish { choice: 0, finish }
}

#[test]
fn a_plain_stream_is_read() {
    let stream = concat!(
        ": OPENROUTER PROCESSING\n\n",
        "data: {\"choices\":[],\"prompt_filter_results\":[{}]}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Hm\"}}],\"usage\":null}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hel\"}}],\"usage\":null}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo\"}}],\"usage\":null}\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}],\"usage\":null}\n\n",
        "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n",
        "data: [DONE]\n\n",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"after the end\"}}]}\n\n",
    );
    let expected = [
        Piece::Ping,
        Piece::Begin { id: Some("x".into()) },
        Piece::Thinking { choice: 0, text: "Hm".into() },
        text("Hel"),
        text("lo"),
        finish(Finish::Length),
        Piece::Usage(Tokens { input: 3, output: 4, ..Tokens::default() }),
        Piece::End,
    ];
    assert_eq!(lines(&read(stream)), lines(&expected));
}

#[test]
fn split_and_interleaved_calls_find_their_own() {
    let stream = chunks(&[
        r#""delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
        r#""delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{"}}]}"#,
        r#""delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}},{"index":1,"function":{"arguments":"}"}}]}"#,
        r#""delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"1}"}}]}"#,
        r#""delta":{},"finish_reason":"tool_calls""#,
    ]);
    let expected = [
        Piece::Begin { id: Some("x".into()) },
        begin(0, "a", "f"),
        begin(1, "b", "g"),
        arguments(1, "{"),
        arguments(0, "{\"x\":"),
        arguments(1, "}"),
        arguments(0, "1}"),
        call_end(0),
        call_end(1),
        finish(Finish::Calls),
        Piece::End,
    ];
    assert_eq!(lines(&read(&stream)), lines(&expected));
}

#[test]
fn calls_without_index_or_id_or_with_the_same_index_are_told_apart() {
    let begun = |deltas: &[&str]| {
        let mut ids = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        for piece in read(&chunks(deltas)) {
            match piece {
                Piece::CallBegin { id, index, .. } => {
                    assert!(!id.is_empty() && index == ids.len() as u64 && !ids.contains(&id));
                    ids.push(id);
                    texts.push(String::new());
                }
                Piece::CallArguments { index, fragment, .. } => {
                    texts[usize::try_from(index).unwrap()].push_str(&fragment);
                }
                _ => {}
            }
        }
        texts
    };
    // Whole calls, all at index 0.
    assert_eq!(
        begun(&[
            r#""delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#,
            r#""delta":{"tool_calls":[{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
        ]),
        ["{}", "{\"x\":1}"]
    );
    // No index, no id.
    assert_eq!(
        begun(&[
            r#""delta":{"tool_calls":[{"function":{"name":"f","arguments":"{"}}]}"#,
            r#""delta":{"tool_calls":[{"function":{"arguments":"}"}}]}"#,
            r#""delta":{"tool_calls":[{"function":{"name":"g","arguments":{"x":1}}}]}"#,
        ]),
        ["{}", "{\"x\":1}"]
    );
    // The id again in every piece, and no index; the name late.
    assert_eq!(
        begun(&[
            r#""delta":{"tool_calls":[{"id":"a","function":{"arguments":"{"}}]}"#,
            r#""delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"}"}}]}"#,
        ]),
        ["{}"]
    );
    // The call of old.
    assert_eq!(
        begun(&[
            r#""delta":{"function_call":{"name":"f","arguments":""}}"#,
            r#""delta":{"function_call":{"arguments":"{}"}}"#,
        ]),
        ["{}"]
    );
}

#[test]
fn vendors_ends_are_understood() {
    let last = |choices: &[&str], tail: &str| {
        let pieces = read(&format!("{}{tail}", chunks(choices)));
        lines(&pieces[pieces.len().saturating_sub(2)..])
    };
    let ended = |reason| lines(&[finish(reason), Piece::End]);
    let done = "data: [DONE]\n\n";
    let content = r#""delta":{"content":"x"}"#;
    assert_eq!(last(&[content, r#""delta":{},"finish_reason":"stop""#], ""), ended(Finish::Stop));
    assert_eq!(last(&[content], done), ended(Finish::Stop));
    assert_eq!(
        last(&[r#""delta":{"content":"x"},"finish_reason":"""#, r#""delta":{},"finish_reason":"eos""#], ""),
        ended(Finish::Other("eos".into()))
    );
    let call = r#""delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop""#;
    assert_eq!(last(&[call], done), ended(Finish::Calls));
    // Cut: no end at all.
    assert!(!matches!(read(&chunks(&[content])).last(), Some(Piece::End)));
    assert!(read("").is_empty() && read(done).is_empty());
}

#[test]
fn an_error_ends_a_stream() {
    let stream = format!(
        "{}data: {{\"error\":{{\"message\":\"overloaded\"}}}}\n\n{}data: [DONE]\n\n",
        chunks(&[r#""delta":{"content":"x"}"#]),
        chunks(&[r#""delta":{"content":"y"}"#])
    );
    let pieces = read(&stream);
    assert!(matches!(pieces.last(), Some(Piece::Error(error)) if error.to_string() == "overloaded"));
    assert_eq!(pieces.len(), 3);
    let written = write(
        vec![Piece::Begin { id: None }, Piece::Error(CallError::ProviderFailed), text("z"), Piece::End],
        true,
    );
    assert!(written.ends_with("\n\n") && !written.contains("[DONE]") && !written.contains('z'));
    assert_eq!(data(&written)[1]["error"]["code"], "provider_error");
}

#[test]
fn a_proof_comes_with_its_whole_thought_once() {
    let written = write(
        vec![
            Piece::Begin { id: None },
            Piece::Thinking { choice: 0, text: "a".into() },
            Piece::Thinking { choice: 0, text: "b".into() },
            Piece::Signature { choice: 0, signature: "s".into() },
            Piece::HiddenThinking { choice: 0, data: "d".into() },
        ],
        false,
    );
    let blocks: Vec<_> = data(&written)
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"].get("thinking_blocks").cloned())
        .collect();
    assert_eq!(
        blocks,
        [
            json!([{"type":"thinking","index":0,"thinking":"ab","signature":"s"}]),
            json!([{"type":"redacted_thinking","index":1,"data":"d"}]),
        ]
    );
    // A vendor's blocks without the plain text beside them.
    let pieces = read(&chunks(&[
        r#""delta":{"thinking_blocks":[{"type":"thinking","thinking":"a","signature":"s"}]}"#,
    ]));
    assert!(matches!(&pieces[1], Piece::Thinking { text, .. } if text == "a"));
    assert!(matches!(&pieces[2], Piece::Signature { signature, .. } if signature == "s"));
}

#[test]
fn a_stream_is_written_as_openai_does() {
    let tokens = Tokens { input: 3, cache_read: 2, output: 4, reasoning: 1, ..Tokens::default() };
    let pieces = || {
        vec![
            Piece::Begin { id: Some("theirs".into()) },
            text("Hi"),
            Piece::Ping,
            begin(0, "a", "f"),
            call_end(0),
            Piece::CallBegin {
                choice: 0,
                index: 1,
                id: "b".into(),
                name: "g".into(),
                signature: Some("s".into()),
            },
            arguments(1, "{}"),
            call_end(1),
            finish(Finish::Calls),
            Piece::Usage(tokens),
            Piece::End,
        ]
    };
    let expected = concat!(
        r#"data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"logprobs":null,"finish_reason":null}]}"#,
        "\n\n",
        ": keep-alive\n\n",
        r#"data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]},"logprobs":null,"finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"logprobs":null,"finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":""},"extra_content":{"google":{"thought_signature":"s"}}}]},"logprobs":null,"finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]},"logprobs":null,"finish_reason":null}]}"#,
        "\n\n",
        r#"data: {"id":"chatcmpl-abc","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls"}]}"#,
        "\n\n",
        "data: [DONE]\n\n",
    );
    assert_eq!(write(pieces(), false), expected);

    let asked = data(&write(pieces(), true));
    let (last, others) = asked.split_last().unwrap();
    assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(
        last["usage"],
        json!({"prompt_tokens":5,"completion_tokens":5,"total_tokens":10,
            "prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":0}})
    );
}

#[test]
fn calls_that_interleave_are_written_one_after_another() {
    let written = write(
        vec![
            Piece::Begin { id: None },
            begin(0, "a", "f"),
            begin(1, "b", "g"),
            arguments(1, "{\"x\":"),
            begin(2, "c", "h"),
            arguments(0, "{"),
            arguments(2, "{}"),
            arguments(1, "1}"),
            call_end(1),
            arguments(0, "}"),
            call_end(0),
            finish(Finish::Calls),
            Piece::End,
        ],
        false,
    );
    let order: Vec<_> = data(&written)
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0].as_object().cloned())
        .map(|call| format!("{} {}", call["index"], call["function"]["arguments"].as_str().unwrap()))
        .collect();
    assert_eq!(order, ["0 ", "0 {", "0 }", "1 ", "1 {\"x\":", "1 1}", "2 ", "2 {}"]);
}

#[test]
fn every_choice_gets_its_role_and_its_end() {
    let piece = |choice, text: &str| Piece::Text { choice, text: text.into() };
    let written = data(&write(
        vec![
            Piece::Begin { id: None },
            piece(1, "b"),
            piece(0, "a"),
            Piece::Finish { choice: 1, finish: Finish::Stop },
            Piece::Finish { choice: 0, finish: Finish::Length },
            Piece::End,
        ],
        false,
    ));
    let roles: Vec<_> = written
        .iter()
        .filter(|chunk| chunk["choices"][0]["delta"].get("role").is_some())
        .map(|chunk| chunk["choices"][0]["index"].clone())
        .collect();
    assert_eq!(roles, [json!(0), json!(1)]);
}

prop_compose! {
    /// What a stream of chat can say, in the order in which its reader gives it.
    fn stream()(
        texts in proptest::collection::vec((0..4_u8, "[a-zé密\"\\\\\n]{1,8}"), 0..12),
        calls in proptest::collection::vec(("[a-z]{1,5}", proptest::collection::vec("[a-z{}\"]{1,5}", 0..4)), 0..4),
        tokens in proptest::option::of((0..100_u64, 0..100_u64)),
    ) -> Vec<Piece> {
        let mut pieces = vec![Piece::Begin { id: Some("chatcmpl-abc".into()) }];
        for (kind, text) in texts {
            pieces.push(match kind {
                0 => Piece::Text { choice: 0, text },
                1 => Piece::Thinking { choice: 0, text },
                2 => Piece::Refusal { choice: 0, text },
                _ => Piece::Signature { choice: 0, signature: text },
            });
        }
        for (index, (name, parts)) in calls.iter().enumerate() {
            pieces.push(begin(index as u64, &format!("id{index}"), name));
            pieces.extend(parts.iter().map(|part| arguments(index as u64, part)));
            if parts.is_empty() {
                pieces.push(arguments(index as u64, "{}"));
            }
        }
        pieces.extend((0..calls.len()).map(|index| call_end(index as u64)));
        pieces.push(finish(if calls.is_empty() { Finish::Stop } else { Finish::Calls }));
        if let Some((input, output)) = tokens {
            pieces.push(Piece::Usage(Tokens { input, output, ..Tokens::default() }));
        }
        pieces.push(Piece::End);
        pieces
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same_however_it_is_cut(pieces in stream(), cut in 1..40_usize) {
        let written = write(pieces.clone(), true);
        let mut splitter = Splitter::new(1 << 20);
        let (mut reader, mut read) = (Reader::default(), Vec::new());
        for packet in written.as_bytes().chunks(cut) {
            splitter.push(packet);
            while let Some(event) = splitter.next_event().unwrap() {
                reader.event(&event, &mut read);
            }
        }
        reader.end(&mut read);
        prop_assert_eq!(lines(&read), lines(&pieces));
    }

    #[test]
    fn no_bytes_bring_the_reader_down(data in "[\\[\\]{}:,\"a-z0-9 ]{0,60}") {
        let mut pieces = Vec::new();
        Reader::default().event(&Event { raw: format!("data: {data}\n\n").into() }, &mut pieces);
        prop_assert!(!matches!(pieces.last(), Some(Piece::End)));
    }
}
