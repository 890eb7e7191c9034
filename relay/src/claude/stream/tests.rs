//! Golden transcripts, read and written; and the rules of the protocol for any pieces.

use super::{Reader, Writer};
use crate::dialogue::{Finish, Piece, Voice};
use crate::error::CallError;
use crate::sse::{Event, Splitter};
use bytes::BytesMut;
use domain::Tokens;
use proptest::prelude::*;
use serde_json::{Value, json};

fn voice() -> Voice {
    Voice { model: "my-model".into(), id: "0123abc".into(), created: 1_700_000_000, wants_usage: false }
}

fn events(stream: &[u8]) -> Vec<Event> {
    let mut splitter = Splitter::new(1 << 20);
    splitter.push(stream);
    let mut events = Vec::new();
    while let Some(event) = splitter.next_event().unwrap() {
        events.push(event);
    }
    events.extend(splitter.rest());
    events
}

/// Data lines as a stream of this format.
fn transcript(data: &[&str]) -> String {
    data.iter().map(|data| format!("event: x\ndata: {}\n\n", data.replace('\n', ""))).collect()
}

fn read(stream: &str) -> Vec<Piece> {
    let mut reader = Reader::default();
    let mut pieces = Vec::new();
    for event in events(stream.as_bytes()) {
        reader.event(&event, &mut pieces);
    }
    reader.end(&mut pieces);
    pieces
}

/// Pieces in short: one line each.
fn short(pieces: &[Piece]) -> Vec<String> {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Begin { id } => format!("begin {}", id.as_deref().unwrap_or("-")),
            Piece::Text { text, .. } => format!("text {text}"),
            Piece::Thinking { text, .. } => format!("thought {text}"),
            Piece::Signature { signature, .. } => format!("signature {signature}"),
            Piece::HiddenThinking { data, .. } => format!("hidden {data}"),
            Piece::Refusal { text, .. } => format!("refusal {text}"),
            Piece::CallBegin { index, id, name, .. } => format!("call {index} {id} {name}"),
            Piece::CallArguments { index, fragment, .. } => format!("arguments {index} {fragment}"),
            Piece::CallEnd { index, .. } => format!("call {index} ends"),
            Piece::Finish { finish, .. } => format!("finish {finish:?}"),
            Piece::Usage(tokens) => format!("usage {} {}", tokens.input_total(), tokens.output_total()),
            Piece::Ping => "ping".into(),
            Piece::Error(error) => format!("error {error:?}"),
            Piece::End => "end".into(),
        })
        .collect()
}

fn write(pieces: impl IntoIterator<Item = Piece>) -> String {
    let mut writer = Writer::new(voice());
    let mut out = BytesMut::new();
    for piece in pieces {
        writer.piece(piece, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

/// The data of a written stream. Each event's name must be its type.
fn data(stream: &str) -> Vec<Value> {
    stream
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
            data
        })
        .collect()
}

/// A written stream in short, checked against the rules of the protocol.
fn checked(stream: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut open, mut next) = (None, 0);
    let all = data(stream);
    for (at, event) in all.iter().enumerate() {
        let kind = event["type"].as_str().unwrap();
        assert_eq!(kind == "message_start", at == 0 && kind != "ping", "one start, first: {stream}");
        match kind {
            "message_start" => lines.push("start".into()),
            "content_block_start" => {
                assert_eq!(open, None, "one block at a time: {stream}");
                assert_eq!(event["index"], next, "{stream}");
                open = Some(next);
                next += 1;
                lines.push(format!("+{}", event["content_block"]["type"].as_str().unwrap()));
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open, "{stream}");
                let delta = &event["delta"];
                let text = ["text", "thinking", "signature", "partial_json"]
                    .iter()
                    .find_map(|key| delta[key].as_str())
                    .unwrap();
                lines.push(format!("{} {text}", delta["type"].as_str().unwrap()));
            }
            "content_block_stop" => {
                assert_eq!(event["index"].as_u64(), open.take(), "{stream}");
                lines.push("-".into());
            }
            "message_delta" => {
                assert_eq!((open, at), (None, all.len() - 2), "{stream}");
                let usage = &event["usage"];
                lines.push(format!(
                    "delta {} {} {}",
                    event["delta"]["stop_reason"].as_str().unwrap(),
                    usage["input_tokens"],
                    usage["output_tokens"]
                ));
            }
            "message_stop" => {
                assert_eq!(at, all.len() - 1, "nothing follows: {stream}");
                lines.push("stop".into());
            }
            other => lines.push(other.into()),
        }
    }
    lines
}

fn text(text: &str) -> Piece {
    Piece::Text { choice: 0, text: text.into() }
}

fn thought(text: &str) -> Piece {
    Piece::Thinking { choice: 0, text: text.into() }
}

fn signature(signature: &str) -> Piece {
    Piece::Signature { choice: 0, signature: signature.into() }
}

fn call(index: u64, name: &str) -> Piece {
    Piece::CallBegin { choice: 0, index, id: format!("call_{index}"), name: name.into(), signature: None }
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

fn usage(input: u64, output: u64) -> Piece {
    Piece::Usage(Tokens { input, output, ..Tokens::default() })
}

const BEGIN: Piece = Piece::Begin { id: None };

#[test]
fn a_providers_stream_becomes_pieces() {
    let stream = transcript(&[
        r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"stop_reason":null,
            "usage":{"input_tokens":9,"cache_read_input_tokens":1,"output_tokens":3}}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"let me "}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"see"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"Eq"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"QB"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"ABC"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"早"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{}}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"srv_1","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"query\":1}"}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"toolu_1","name":"get","input":{}}}"#,
        r#"{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{\"city\": \"Os"}}"#,
        r#"{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"lo\"}"}}"#,
        r#"{"type":"content_block_stop","index":4}"#,
        r#"{"type":"content_block_start","index":5,"content_block":{"type":"tool_use","id":"toolu_2","name":"now","input":{}}}"#,
        r#"{"type":"content_block_stop","index":5}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":40}}"#,
        r#"{"type":"message_stop"}"#,
        r#"{"type":"ping"}"#,
    ]);
    assert_eq!(
        short(&read(&stream)),
        [
            "begin msg_1",
            "usage 10 0",
            "ping",
            "thought let me ",
            "thought see",
            "signature EqQB",
            "hidden ABC",
            "text 早",
            "call 0 toolu_1 get",
            r#"arguments 0 {"city": "Os"#,
            r#"arguments 0 lo"}"#,
            "call 0 ends",
            "call 1 toolu_2 now",
            "arguments 1 {}",
            "call 1 ends",
            "finish Calls",
            "usage 10 40",
            "end",
        ]
    );
}

#[test]
fn vendors_that_bend_the_protocol_are_read_too() {
    // A thought that is closed after the text has begun, a call with its arguments at once and without an id, a block
    // that is never closed, and no last event.
    let stream = transcript(&[
        r#"{"type":"message_start","message":{"id":"chatcmpl-7","usage":{"input_tokens":0,"output_tokens":0}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"h"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"a"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"b"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"brand_new_delta","text":"c"}}"#,
        r#"{"type":"brand_new"}"#,
        "not json",
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","name":"f","input":{"a":1}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":5,"output_tokens":6}}"#,
    ]);
    assert_eq!(
        short(&read(&stream)),
        [
            "begin chatcmpl-7",
            "usage 0 0",
            "thought h",
            "text a",
            "text b",
            "call 0 toolu_chatcmpl70 f",
            r#"arguments 0 {"a":1}"#,
            "call 0 ends",
            "finish Stop",
            "usage 5 6",
            "end",
        ]
    );
}

#[test]
fn a_stream_that_breaks_off_has_no_end() {
    let cut = transcript(&[
        r#"{"type":"message_start","message":{"id":"msg_1"}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
    ]);
    assert_eq!(short(&read(&cut)), ["begin msg_1", "text a"]);
    assert_eq!(short(&read("")), [""; 0]);
}

#[test]
fn an_error_ends_a_stream() {
    for error in [
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#,
    ] {
        let stream = transcript(&[
            r#"{"type":"message_start","message":{"id":"msg_1"}}"#,
            error,
            r#"{"type":"message_stop"}"#,
        ]);
        assert_eq!(short(&read(&stream)), ["begin msg_1", "error ProvidersBusy { retry_after: 5 }"]);
    }
}

#[test]
fn a_stream_is_written_as_clients_know_it() {
    let written = write([
        BEGIN,
        Piece::Ping,
        text("hi"),
        usage(10, 2),
        finish(Finish::StopText(Some("END".into()))),
        Piece::End,
    ]);
    let zeros = json!({"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "output_tokens": 0});
    let mut counts = zeros.clone();
    (counts["input_tokens"], counts["output_tokens"]) = (json!(10), json!(2));
    assert_eq!(
        data(&written),
        [
            json!({"type": "message_start", "message": {"id": "msg_0123abc", "type": "message", "role": "assistant",
                "model": "my-model", "content": [], "stop_reason": null, "stop_sequence": null, "usage": zeros}}),
            json!({"type": "ping"}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"},
                "usage": counts}),
            json!({"type": "message_stop"}),
        ]
    );
    assert!(
        written.starts_with("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\"")
    );
}

#[test]
fn a_block_is_opened_when_the_kind_changes() {
    let written = write([
        BEGIN,
        thought("a"),
        thought("b"),
        signature("S"),
        thought("c"),
        text("d"),
        text(""),
        text("e"),
        Piece::HiddenThinking { choice: 0, data: "X".into() },
        signature("T"),
        text("f"),
        usage(1, 2),
        finish(Finish::Length),
        Piece::End,
    ]);
    assert_eq!(
        checked(&written),
        [
            "start",
            "+thinking",
            "thinking_delta a",
            "thinking_delta b",
            "signature_delta S",
            "-",
            "+thinking",
            "thinking_delta c",
            "-",
            "+text",
            "text_delta d",
            "text_delta e",
            "-",
            "+redacted_thinking",
            "-",
            "+thinking",
            "signature_delta T",
            "-",
            "+text",
            "text_delta f",
            "-",
            "delta max_tokens 1 2",
            "stop",
        ]
    );
}

#[test]
fn calls_that_interleave_are_written_one_after_the_other() {
    let written = write([
        BEGIN,
        text("so"),
        call(0, "a"),
        call(1, "b"),
        arguments(1, r#"{"b":"#),
        arguments(0, r#"{"a":"#),
        call(2, "c"),
        text("mid"),
        text("dle"),
        arguments(0, "1}"),
        arguments(1, "2}"),
        call_end(1),
        call_end(0),
        arguments(2, r#"{"c":3}"#),
        finish(Finish::Calls),
        usage(5, 6),
        Piece::End,
    ]);
    assert_eq!(
        checked(&written),
        [
            "start",
            "+text",
            "text_delta so",
            "-",
            "+tool_use",
            r#"input_json_delta {"a":"#,
            "input_json_delta 1}",
            "-",
            "+tool_use",
            r#"input_json_delta {"b":2}"#,
            "-",
            "+tool_use",
            r#"input_json_delta {"c":3}"#,
            "-",
            "+text",
            "text_delta middle",
            "-",
            "delta tool_use 5 6",
            "stop",
        ]
    );
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let written = write([call(0, "now"), call_end(0), finish(Finish::Stop), Piece::End]);
    assert_eq!(
        checked(&written),
        ["start", "+tool_use", "input_json_delta {}", "-", "delta tool_use 0 0", "stop"]
    );
    let start = &data(&written)[1]["content_block"];
    assert_eq!(*start, json!({"type": "tool_use", "id": "call_0", "name": "now", "input": {}}));
}

#[test]
fn another_providers_proof_travels_with_its_call() {
    let begin = Piece::CallBegin {
        choice: 0,
        index: 0,
        id: "c".into(),
        name: "f".into(),
        signature: Some("proof".into()),
    };
    assert_eq!(data(&write([begin, Piece::End]))[1]["content_block"]["signature"], "proof");
}

#[test]
fn an_error_is_the_last_event_and_only_one_choice_is_told() {
    let other = Piece::Text { choice: 1, text: "no".into() };
    let broken =
        write([BEGIN, text("a"), other, Piece::Error(CallError::ProviderFailed), text("b"), Piece::End]);
    let kinds: Vec<Value> = data(&broken).into_iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["message_start", "content_block_start", "content_block_delta", "error"]);
    let ended = write([BEGIN, Piece::End, text("b"), Piece::Ping, Piece::End]);
    assert_eq!(checked(&ended), ["start", "delta end_turn 0 0", "stop"]);
}

#[test]
fn a_refusal_in_words_is_told_by_the_stop_reason() {
    let refusal = Piece::Refusal { choice: 0, text: "no".into() };
    let written = write([BEGIN, refusal, finish(Finish::Stop), Piece::End]);
    assert_eq!(checked(&written), ["start", "+text", "text_delta no", "-", "delta refusal 0 0", "stop"]);
}

/// What any provider may send after the beginning: also nonsense such as arguments of no call.
fn any_piece() -> impl Strategy<Value = Piece> {
    let words = "[ -~\u{e9}\u{4e2d}\n]{0,6}";
    prop_oneof![
        words.prop_map(|words| text(&words)),
        words.prop_map(|words| thought(&words)),
        "[a-z]{1,4}".prop_map(|proof| signature(&proof)),
        "[a-z]{1,4}".prop_map(|data| Piece::HiddenThinking { choice: 0, data }),
        (0..4_u64).prop_map(|index| call(index, "f")),
        (0..4_u64, words).prop_map(|(index, words)| arguments(index, &words)),
        (0..4_u64).prop_map(call_end),
        Just(Piece::Ping),
        (0..9_u64, 0..9_u64).prop_map(|(input, output)| usage(input, output)),
    ]
}

/// What a model says, part by part: pieces as a reader of this format gives them.
fn any_answer() -> impl Strategy<Value = Vec<Piece>> {
    let words = "[ -~\u{e9}\u{4e2d}\n]{1,6}";
    let part = prop_oneof![
        proptest::collection::vec(words, 1..3).prop_map(|all| all.iter().map(|it| text(it)).collect()),
        (proptest::collection::vec(words, 0..3), "[a-z]{1,4}").prop_map(|(all, proof)| {
            all.iter().map(|it| thought(it)).chain([signature(&proof)]).collect::<Vec<_>>()
        }),
        "[a-z]{1,4}".prop_map(|data| vec![Piece::HiddenThinking { choice: 0, data }]),
        proptest::collection::vec(words, 1..3).prop_map(|all| {
            let fragments = all.iter().map(|it| arguments(0, it));
            [call(0, "f")].into_iter().chain(fragments).chain([call_end(0)]).collect()
        }),
    ];
    (proptest::collection::vec(part, 0..5), 0..9_u64).prop_map(|(parts, output)| {
        let mut calls = 0;
        let mut pieces = vec![Piece::Begin { id: Some("msg_0123abc".into()) }, usage(0, 0)];
        for piece in parts.into_iter().flatten() {
            pieces.push(match piece {
                Piece::CallBegin { .. } => {
                    calls += 1;
                    call(calls - 1, "f")
                }
                Piece::CallArguments { fragment, .. } => arguments(calls - 1, &fragment),
                Piece::CallEnd { .. } => call_end(calls - 1),
                other => other,
            });
        }
        pieces.push(finish(if calls > 0 { Finish::Calls } else { Finish::Stop }));
        pieces.push(usage(7, output));
        pieces.push(Piece::End);
        pieces
    })
}

proptest! {
    #[test]
    fn whatever_comes_is_written_by_the_rules(
        pieces in proptest::collection::vec(any_piece(), 0..30), has_finish: bool,
    ) {
        let end = has_finish.then(|| finish(Finish::Stop)).into_iter().chain([Piece::End]);
        let written = write([BEGIN].into_iter().chain(pieces.clone()).chain(end));
        checked(&written);
        // All that was said is there, in its order.
        let said = |pieces: &[Piece]| -> String {
            pieces.iter().filter_map(|piece| match piece { Piece::Text { text, .. } => Some(text.as_str()), _ => None }).collect()
        };
        prop_assert_eq!(said(&read(&written)), said(&pieces));
    }

    #[test]
    fn what_is_written_is_read_again_however_it_is_cut(
        pieces in any_answer(), cuts: Vec<proptest::sample::Index>,
    ) {
        let stream = write(pieces.clone());
        checked(&stream);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).chain([0, stream.len()]).collect();
        cuts.sort_unstable();
        let (mut splitter, mut reader, mut again) = (Splitter::new(1 << 20), Reader::default(), Vec::new());
        for cut in cuts.windows(2) {
            splitter.push(&stream.as_bytes()[cut[0]..cut[1]]);
            while let Some(event) = splitter.next_event().unwrap() {
                reader.event(&event, &mut again);
            }
        }
        reader.end(&mut again);
        prop_assert_eq!(short(&again), short(&pieces));
    }
}
