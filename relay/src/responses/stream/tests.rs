use super::{Reader, Writer};
use crate::dialogue::{Finish, Piece, Voice};
use crate::error::CallError;
use crate::sse::Splitter;
use bytes::BytesMut;
use domain::Tokens;
use proptest::prelude::*;
use serde_json::{Value, json};

fn voice() -> Voice {
    Voice { model: "m".into(), id: "abc".into(), created: 7, wants_usage: false }
}

fn read(stream: &str, cut: usize) -> Vec<Piece> {
    let mut splitter = Splitter::new(1 << 20);
    let (mut reader, mut pieces) = (Reader::default(), Vec::new());
    for packet in stream.as_bytes().chunks(cut) {
        splitter.push(packet);
        while let Some(event) = splitter.next_event().unwrap() {
            reader.event(&event, &mut pieces);
        }
    }
    reader.end(&mut pieces);
    pieces
}

fn write(pieces: Vec<Piece>) -> String {
    let (mut writer, mut out) = (Writer::new(voice()), BytesMut::new());
    for piece in pieces {
        writer.piece(piece, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

fn lines(pieces: &[Piece]) -> Vec<String> {
    pieces.iter().map(|piece| format!("{piece:?}")).collect()
}

/// The events' data, their names checked.
fn data(stream: &str) -> Vec<Value> {
    stream
        .split("\n\n")
        .filter(|event| !event.is_empty() && !event.starts_with(':'))
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
            data
        })
        .collect()
}

fn stream_of(events: &[Value]) -> String {
    events.iter().map(|data| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())).collect()
}

fn text(text: &str) -> Piece {
    Piece::Text { choice: 0, text: text.into() }
}

fn thinking(text: &str) -> Piece {
    Piece::Thinking { choice: 0, text: text.into() }
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

fn tokens() -> Tokens {
    Tokens { input: 3, output: 4, ..Tokens::default() }
}

/// As OpenAI sends it.
fn openais() -> Vec<Value> {
    vec![
        json!({"type":"response.created","sequence_number":0,"response":{"id":"resp_1","status":"in_progress","output":[],"usage":null}}),
        json!({"type":"response.in_progress","sequence_number":1,"response":{"id":"resp_1","status":"in_progress","output":[],"usage":null}}),
        json!({"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[]}}),
        json!({"type":"response.reasoning_summary_part.added","item_id":"rs_1","summary_index":0,"part":{"type":"summary_text","text":""}}),
        json!({"type":"response.reasoning_summary_text.delta","item_id":"rs_1","summary_index":0,"delta":"a"}),
        json!({"type":"response.reasoning_summary_part.added","item_id":"rs_1","summary_index":1,"part":{"type":"summary_text","text":""}}),
        json!({"type":"response.reasoning_summary_text.delta","item_id":"rs_1","summary_index":1,"delta":"b"}),
        json!({"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[{"text":"a"},{"text":"b"}],"encrypted_content":"s"}}),
        json!({"type":"response.web_search_call.searching","item_id":"ws_1"}),
        json!({"type":"response.output_item.added","output_index":1,"item":{"type":"message","id":"msg_1","content":[]}}),
        json!({"type":"response.output_text.delta","item_id":"msg_1","content_index":0,"delta":"Hi","logprobs":[]}),
        json!({"type":"response.output_text.done","item_id":"msg_1","content_index":0,"text":"Hi"}),
        json!({"type":"response.output_item.done","output_index":1,"item":{"type":"message","id":"msg_1","content":[{"type":"output_text","text":"Hi"}]}}),
        json!({"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":""}}),
        json!({"type":"response.function_call_arguments.delta","item_id":"fc_1","delta":"{\"x\":"}),
        json!({"type":"response.function_call_arguments.delta","item_id":"fc_1","delta":"1}"}),
        json!({"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{\"x\":1}"}}),
        json!({"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":4}}}),
    ]
}

fn openais_pieces() -> Vec<Piece> {
    vec![
        Piece::Begin { id: Some("resp_1".into()) },
        thinking("a"),
        thinking("\n\n"),
        thinking("b"),
        Piece::Signature { choice: 0, signature: "s".into() },
        text("Hi"),
        begin(0, "call_1", "f"),
        arguments(0, "{\"x\":"),
        arguments(0, "1}"),
        call_end(0),
        finish(Finish::Calls),
        Piece::Usage(tokens()),
        Piece::End,
    ]
}

#[test]
fn openais_events_are_read() {
    assert_eq!(lines(&read(&stream_of(&openais()), 9999)), lines(&openais_pieces()));
}

#[test]
fn items_without_deltas_are_read_from_their_ends() {
    let without: Vec<Value> =
        openais().into_iter().filter(|it| !it["type"].as_str().unwrap().ends_with(".delta")).collect();
    let read = read(&stream_of(&without), 9999);
    let joined: String = read
        .iter()
        .filter_map(|piece| match piece {
            Piece::Text { text, .. } => Some(text.as_str()),
            Piece::CallArguments { fragment, .. } => Some(fragment.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(joined, "Hi{\"x\":1}");
}

#[test]
fn a_stream_of_one_event_is_whole() {
    let pieces = read(
        &stream_of(&[json!({"type":"response.incomplete","response":{"id":"r","status":"incomplete",
            "incomplete_details":{"reason":"max_output_tokens"},
            "output":[{"type":"message","id":"m","content":[{"type":"output_text","text":"Hi"}]}]}})]),
        9999,
    );
    let expected = [Piece::Begin { id: Some("r".into()) }, text("Hi"), finish(Finish::Length), Piece::End];
    assert_eq!(lines(&pieces), lines(&expected));
}

#[test]
fn a_cut_stream_has_no_end_and_a_failed_one_has_an_error() {
    let events = openais();
    assert!(!matches!(read(&stream_of(&events[..12]), 9999).last(), Some(Piece::End)));
    for failure in [
        json!({"type":"error","code":"x","message":"broke","param":null}),
        json!({"type":"error","error":{"message":"broke"}}),
        json!({"type":"response.failed","response":{"status":"failed","error":{"message":"broke"},"usage":{"input_tokens":3,"output_tokens":4}}}),
    ] {
        let mut cut = events[..11].to_vec();
        cut.push(failure);
        cut.extend(events[12..].to_vec());
        let pieces = read(&stream_of(&cut), 9999);
        assert!(matches!(pieces.last(), Some(Piece::Error(error)) if error.to_string() == "broke"));
    }
}

/// Every rule of the protocol that can be checked from outside.
fn check(events: &[Value]) {
    let mut items: Vec<Option<Value>> = Vec::new();
    let mut deltas: Vec<String> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        let kind = event["type"].as_str().unwrap();
        let index = event["output_index"].as_u64().map(|index| usize::try_from(index).unwrap());
        match kind {
            "response.output_item.added" => {
                assert_eq!(index, Some(items.len()));
                items.push(None);
                deltas.push(String::new());
            }
            "response.output_item.done" => {
                assert!(items[index.unwrap()].replace(event["item"].clone()).is_none());
            }
            _ if kind.ends_with(".delta") => {
                assert!(items[index.unwrap()].is_none(), "a delta after its item: {event}");
                deltas[index.unwrap()].push_str(event["delta"].as_str().unwrap());
            }
            _ => {}
        }
    }
    let last = events.last().unwrap();
    assert_eq!(last["response"]["output"], items.iter().map(|it| it.clone().unwrap()).collect::<Value>());
    for (item, deltas) in items.iter().zip(&deltas) {
        let item = item.as_ref().unwrap();
        let whole = match item["type"].as_str().unwrap() {
            "message" => item["content"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| part["text"].as_str().or(part["refusal"].as_str()).unwrap())
                .collect(),
            "function_call" => item["arguments"].as_str().unwrap().to_owned(),
            _ => item["summary"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| part["text"].as_str().unwrap())
                .collect(),
        };
        assert_eq!(&whole, deltas);
    }
}

#[test]
fn a_stream_is_written_as_openai_does() {
    let written = write(vec![
        Piece::Begin { id: None },
        thinking("hm"),
        Piece::Signature { choice: 0, signature: "s".into() },
        text("H"),
        text("i"),
        Piece::Refusal { choice: 0, text: "no".into() },
        begin(0, "a", "f"),
        begin(1, "b", "g"),
        arguments(1, "{}"),
        call_end(0),
        call_end(1),
        Piece::Ping,
        finish(Finish::Calls),
        Piece::Usage(tokens()),
        Piece::End,
        text("after the end"),
    ]);
    assert!(written.contains("\n\n: keep-alive\n\n"));
    let events = data(&written);
    let kinds: Vec<_> = events
        .iter()
        .map(|event| {
            let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap();
            event["output_index"].as_u64().map_or(kind.to_owned(), |index| format!("{index} {kind}"))
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "created",
            "in_progress",
            "0 output_item.added",
            "0 reasoning_summary_part.added",
            "0 reasoning_summary_text.delta",
            "0 reasoning_summary_text.done",
            "0 reasoning_summary_part.done",
            "0 output_item.done",
            "1 output_item.added",
            "1 content_part.added",
            "1 output_text.delta",
            "1 output_text.delta",
            "1 output_text.done",
            "1 content_part.done",
            "1 content_part.added",
            "1 refusal.delta",
            "1 refusal.done",
            "1 content_part.done",
            "1 output_item.done",
            "2 output_item.added",
            "3 output_item.added",
            "3 function_call_arguments.delta",
            "2 function_call_arguments.delta",
            "2 function_call_arguments.done",
            "2 output_item.done",
            "3 function_call_arguments.done",
            "3 output_item.done",
            "completed",
        ]
    );
    check(&events);
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["usage"], Value::Null);
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["id"], &last["status"]), (&json!("resp_abc"), &json!("completed")));
    assert_eq!(
        last["usage"],
        json!({"input_tokens":3,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},
            "output_tokens":4,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":7})
    );
    assert_eq!(
        last["output"][0],
        json!({"type":"reasoning","id":"rs_abc_0","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"s"})
    );
    assert_eq!(
        last["output"][2],
        json!({"type":"function_call","id":"fc_abc_2","call_id":"a","name":"f","arguments":"{}","status":"completed"})
    );
}

#[test]
fn an_answer_that_is_cut_by_its_cap_is_incomplete() {
    let events =
        data(&write(vec![Piece::Begin { id: None }, text("Hi"), finish(Finish::Length), Piece::End]));
    check(&events);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["incomplete_details"], json!({"reason":"max_output_tokens"}));
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
}

#[test]
fn an_error_is_the_last_event_and_in_its_place() {
    let events = data(&write(vec![
        Piece::Begin { id: None },
        text("Hi"),
        Piece::Error(CallError::ProviderFailed),
        Piece::End,
    ]));
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["sequence_number"]), (&json!("error"), &json!(events.len() - 1)));
    assert_eq!(last["error"]["code"], "provider_error");
}

prop_compose! {
    fn stream()(
        said in proptest::collection::vec((0..4_u8, "[a-zé密\"\\\\\n]{1,8}"), 0..12),
        calls in proptest::collection::vec(("[a-z]{1,5}", proptest::collection::vec("[a-z{}\"]{1,5}", 1..4)), 0..4),
        order in 0..9_usize,
        cut_off in any::<bool>(),
    ) -> Vec<Piece> {
        let mut pieces = vec![Piece::Begin { id: Some("resp_abc".into()) }];
        let mut is_proved = true;
        for (kind, text) in said {
            match kind {
                0 => { pieces.push(Piece::Text { choice: 0, text }); is_proved = true; }
                1 => { pieces.push(Piece::Refusal { choice: 0, text }); is_proved = true; }
                2 => { pieces.push(thinking(&text)); is_proved = false; }
                _ if !is_proved => { pieces.push(Piece::Signature { choice: 0, signature: text }); is_proved = true; }
                _ => { pieces.push(Piece::HiddenThinking { choice: 0, data: text }); }
            }
        }
        let mut fragments = Vec::new();
        for (index, (name, parts)) in calls.iter().enumerate() {
            pieces.push(begin(index as u64, &format!("id{index}"), name));
            fragments.extend(parts.iter().map(|part| arguments(index as u64, part)));
        }
        if !fragments.is_empty() {
            let turn = order % fragments.len();
            fragments.rotate_left(turn);
        }
        pieces.extend(fragments);
        pieces.extend((0..calls.len()).map(|index| call_end(index as u64)));
        pieces.push(finish(if cut_off { Finish::Length } else if calls.is_empty() { Finish::Stop } else { Finish::Calls }));
        pieces.push(Piece::Usage(tokens()));
        pieces.push(Piece::End);
        pieces
    }
}

proptest! {
    #[test]
    fn what_is_written_keeps_the_rules_and_reads_the_same_however_it_is_cut(pieces in stream(), cut in 1..60_usize) {
        let written = write(pieces.clone());
        check(&data(&written));
        prop_assert_eq!(lines(&read(&written, cut)), lines(&pieces));
    }
}
