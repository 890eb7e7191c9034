//! The lines of the conversion table, read and written, and the way there and back.

use super::{read, write};
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Sampling, Source, Target, Tool, ToolUse,
    Turn,
};
use crate::error::CallError;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

const MODEL: &str = "claude-opus-4-5";

fn target(upstream_model: &str) -> Target<'_> {
    Target { upstream_model, default_cap: 4096, newer_cap: false }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

/// Reads a request with these fields beside a model and a cap.
fn asked(fields: Value) -> Result<Prompt, CallError> {
    let mut body = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    for (field, value) in fields.as_object().unwrap() {
        body[field] = value.clone();
    }
    read(body.to_string().as_bytes())
}

/// Reads the content of one user's turn.
fn user(content: Value) -> Result<Prompt, CallError> {
    asked(json!({"messages": [{"role": "user", "content": content}]}))
}

/// A prompt with one turn of a user.
fn prompt(parts: Vec<Part>) -> Prompt {
    Prompt { turns: vec![Turn { role: Role::User, parts }], choices: 1, ..Prompt::default() }
}

fn hello() -> Prompt {
    prompt(vec![Part::text("hi")])
}

fn sent_to(model: &str, prompt: &Prompt) -> (Value, Vec<String>) {
    let written = write(prompt, &target(model)).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), written.dropped)
}

fn sent(prompt: &Prompt) -> (Value, Vec<String>) {
    sent_to(MODEL, prompt)
}

fn refused(prompt: &Prompt) -> String {
    let error = write(prompt, &target(MODEL)).unwrap_err();
    assert_eq!(error.status(), 400);
    error.to_string()
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::Call { id: id.into(), name: name.into(), arguments: raw(arguments), signature: None }
}

fn result(id: &str, name: &str, content: Vec<Part>) -> Part {
    Part::Result { id: id.into(), name: name.into(), content, is_error: false, cache: None }
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, parts }
}

fn tool(name: &str) -> Tool {
    Tool {
        name: name.into(),
        description: None,
        schema: Some(raw(r#"{"type":"object"}"#)),
        strict: None,
        cache: None,
    }
}

fn number(json: &str) -> Option<Number> {
    Some(serde_json::from_str(json).unwrap())
}

// ---- reading

#[test]
fn a_request_is_read_field_by_field() {
    let body = r#"{"model":"m","max_tokens":100,"stream":true,"temperature":0.70,"top_p":0.9,"top_k":40,
        "system":[{"type":"text","text":"be kind","cache_control":{"type":"ephemeral","ttl":"1h"}}],
        "stop_sequences":["END"],"metadata":{"user_id":"u1"},
        "tools":[{"name":"get","description":"gets","input_schema":{"type":"object","b":1.0,"a":2},"strict":true,
            "cache_control":{"type":"ephemeral"}}],
        "tool_choice":{"type":"tool","name":"get","disable_parallel_tool_use":true},
        "thinking":{"type":"enabled","budget_tokens":2000},
        "messages":[
            {"role":"user","content":"weather?"},
            {"role":"assistant","content":[
                {"type":"thinking","thinking":"hm","signature":"Eq"},{"type":"redacted_thinking","data":"X"},
                {"type":"text","text":"let me look"},
                {"type":"tool_use","id":"toolu_1","name":"get","input":{"z":1.50,"a":[1e3]}}]},
            {"role":"user","content":[{"type":"text","text":"well?"},
                {"type":"tool_result","tool_use_id":"toolu_1","is_error":true,"content":[{"type":"text","text":"down"}]}]}]}"#;
    let prompt = read(body.as_bytes()).unwrap();
    assert!(prompt.stream && prompt.unread.is_empty(), "{:?}", prompt.unread);
    assert_eq!((prompt.choices, prompt.max_output), (1, Some(100)));
    let Sampling { temperature, top_p, top_k, .. } = &prompt.sampling;
    assert_eq!((temperature, top_p, top_k), (&number("0.70"), &number("0.9"), &number("40")));
    assert_eq!((prompt.stop, prompt.user), (vec!["END".into()], Some("u1".into())));
    let [Part::Text { text, cache: Some(cache) }] = prompt.system.as_slice() else { panic!() };
    assert_eq!((text.as_str(), cache.get()), ("be kind", r#"{"type":"ephemeral","ttl":"1h"}"#));
    let [tool] = prompt.tools.as_slice() else { panic!() };
    assert_eq!(
        (tool.name.as_str(), tool.description.as_deref(), tool.strict),
        ("get", Some("gets"), Some(true))
    );
    assert_eq!(tool.schema.as_ref().unwrap().get(), r#"{"type":"object","b":1.0,"a":2}"#);
    assert!(tool.cache.is_some());
    assert_eq!(prompt.tool_use, Some(ToolUse::Only("get".into())));
    assert_eq!(prompt.parallel_tools, Some(false));
    assert_eq!(prompt.reasoning, Some(Reasoning::Budget(2000)));

    let [question, answer, results] = prompt.turns.as_slice() else { panic!() };
    assert!(matches!(question.parts.as_slice(), [Part::Text { text, .. }] if text == "weather?"));
    let [
        Part::Thinking { text, signature },
        Part::HiddenThinking { data },
        Part::Text { .. },
        Part::Call { arguments, .. },
    ] = answer.parts.as_slice()
    else {
        panic!()
    };
    assert_eq!((text.as_str(), signature.as_deref(), data.as_str()), ("hm", Some("Eq"), "X"));
    assert_eq!(arguments.get(), r#"{"z":1.50,"a":[1e3]}"#, "as written");
    // Results first, named after their calls.
    let [Part::Result { id, name, is_error: true, .. }, Part::Text { .. }] = results.parts.as_slice() else {
        panic!()
    };
    assert_eq!((id.as_str(), name.as_str()), ("toolu_1", "get"));
}

#[test]
fn media_is_read_from_every_source() {
    let read = |block: Value| match user(json!([block])).unwrap().turns.remove(0).parts.remove(0) {
        Part::Media { medium, source, .. } => (medium, source),
        other => panic!("{other:?}"),
    };
    let inline = |media_type: &str, filename: Option<&str>| Source::Inline {
        media_type: media_type.into(),
        data: "AAAA".into(),
        filename: filename.map(Into::into),
    };
    let base64 = |media_type: &str| json!({"type": "base64", "media_type": media_type, "data": "AAAA"});
    let url = json!({"type": "url", "url": "https://x/y"});
    let cases = [
        (json!({"type": "image", "source": base64("image/png")}), Medium::Image, inline("image/png", None)),
        (
            json!({"type": "image", "source": url}),
            Medium::Image,
            Source::Url { url: "https://x/y".into(), media_type: None },
        ),
        (
            json!({"type": "image", "source": {"type": "file", "file_id": "file_1"}}),
            Medium::Image,
            Source::File { id: "file_1".into() },
        ),
        (
            json!({"type": "document", "title": "a.pdf", "source": base64("application/pdf")}),
            Medium::Document,
            inline("application/pdf", Some("a.pdf")),
        ),
        (
            json!({"type": "document", "source": url}),
            Medium::Document,
            Source::Url { url: "https://x/y".into(), media_type: Some("application/pdf".into()) },
        ),
    ];
    for (block, medium, source) in cases {
        assert_eq!(read(block.clone()), (medium, source), "{block}");
    }
}

#[test]
fn documents_of_text_and_search_results_become_texts() {
    let prompt = user(json!([
        {"type": "document", "title": "T", "context": "C", "citations": {"enabled": true},
            "source": {"type": "text", "media_type": "text/plain", "data": "plain words"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
        {"type": "document", "source": {"type": "content", "content": "bare"}},
        {"type": "search_result", "title": "A", "source": "https://x", "content": [{"type": "text", "text": "found"}]},
    ]))
    .unwrap();
    let texts: Vec<&str> = prompt.turns[0]
        .parts
        .iter()
        .map(|part| match part {
            Part::Text { text, .. } => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, ["plain words", "inner", "bare", "A\nhttps://x\nfound"]);
    assert_eq!(
        prompt.unread,
        ["messages[].content[].citations", "messages[].content[].context", "messages[].content[].title"]
    );
}

#[test]
fn instructions_within_the_conversation_stand_above_it() {
    let prompt = asked(json!({"system": "one", "messages": [
        {"role": "user", "content": "hi"}, {"role": "system", "content": "two"}]}))
    .unwrap();
    assert_eq!(prompt.system.len(), 2);
    assert_eq!(prompt.turns.len(), 1);
}

#[test]
fn every_tool_choice_has_its_meaning() {
    let cases = [
        (json!({"type": "auto"}), ToolUse::Auto, None),
        (json!({"type": "any", "disable_parallel_tool_use": false}), ToolUse::Some, Some(true)),
        (json!({"type": "tool", "name": "f"}), ToolUse::Only("f".into()), None),
        (json!({"type": "none"}), ToolUse::Never, None),
    ];
    for (choice, expected, parallel) in cases {
        let prompt = asked(json!({ "tool_choice": choice })).unwrap();
        assert_eq!((prompt.tool_use, prompt.parallel_tools), (Some(expected), parallel), "{choice}");
    }
}

#[test]
fn every_measure_of_thought_has_its_meaning() {
    let effort = |word: &str| json!({ "output_config": {"effort": word} });
    let cases = [
        (json!({"thinking": {"type": "disabled"}}), Some(Reasoning::Off), vec![]),
        (json!({"thinking": {"type": "adaptive"}}), Some(Reasoning::Adaptive), vec![]),
        (
            json!({"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}}),
            Some(Reasoning::Effort(Effort::Max)),
            vec!["thinking.display"],
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "low"}}),
            Some(Reasoning::Budget(1024)),
            vec!["output_config.effort"],
        ),
        (json!({"thinking": {"type": "between_tools"}}), Some(Reasoning::Adaptive), vec!["thinking.type"]),
        (effort("low"), Some(Reasoning::Effort(Effort::Low)), vec![]),
        (effort("medium"), Some(Reasoning::Effort(Effort::Medium)), vec![]),
        (effort("high"), Some(Reasoning::Effort(Effort::High)), vec![]),
        (effort("xhigh"), Some(Reasoning::Effort(Effort::Higher)), vec![]),
        (json!({}), None, vec![]),
    ];
    for (fields, expected, unread) in cases {
        let prompt = asked(fields.clone()).unwrap();
        assert_eq!(
            (prompt.reasoning, prompt.unread),
            (expected, unread.into_iter().map(str::to_owned).collect()),
            "{fields}"
        );
    }
}

#[test]
fn a_schema_is_read_under_both_names() {
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    for fields in [json!({"output_config": {"format": format}}), json!({"output_format": format})] {
        let prompt = asked(fields).unwrap();
        let OutputFormat::Schema { schema, .. } = prompt.format else { panic!() };
        assert_eq!(schema.get(), r#"{"type":"object"}"#);
    }
}

#[test]
fn what_has_no_place_is_noted_and_null_is_nothing() {
    let prompt = asked(json!({
        "service_tier": "auto", "container": null, "inference_geo": "eu", "cache_control": {"type": "ephemeral"},
        "mcp_servers": [], "thinking": null, "tools": [{"name": "f", "input_schema": {}, "defer_loading": true}],
        "context_management": {}, "output_config": {"verbosity": "low"},
    }))
    .unwrap();
    let mut unread = prompt.unread;
    unread.sort();
    assert_eq!(
        unread,
        [
            "cache_control",
            "context_management",
            "inference_geo",
            "output_config.verbosity",
            "service_tier",
            "tools[].defer_loading"
        ]
    );
}

#[test]
fn a_flood_of_unknown_fields_is_not_noted_for_ever() {
    let fields: String = (0..200_000).map(|i| format!(r#""f{i}":1,"#)).collect();
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"hi"}}],"tools":[{{{fields}"name":"f","input_schema":{{}}}}]}}"#
    );
    assert_eq!(read(body.as_bytes()).unwrap().unread.len(), 128);
}

#[test]
fn faults_name_their_place() {
    let assistant = |content: Value| asked(json!({"messages": [{"role": "assistant", "content": content}]}));
    let cases = [
        (asked(json!({"messages": []})), "`messages` must not be empty"),
        (asked(json!({"messages": "hi"})), "`messages` must be an array"),
        (asked(json!({"messages": ["hi"]})), "`messages.0` must be an object"),
        (asked(json!({"messages": [{"role": "user"}]})), "`messages.0.content` is missing"),
        (
            asked(json!({"messages": [{"role": "tool", "content": "x"}]})),
            "`messages.0.role` must be `user` or",
        ),
        (user(json!(7)), "`messages.0.content` must be a string or an array"),
        (user(json!([{"type": "text"}])), "`messages.0.content.0.text` is missing"),
        (user(json!([{"type": "text", "text": 7}])), "`messages.0.content.0.text` must be a string"),
        (user(json!([{"text": "x"}])), "`messages.0.content.0.type` is missing"),
        (
            user(json!([{"type": "image", "source": {"type": "base64", "data": "x"}}])),
            "`messages.0.content.0.source.media_type` is missing",
        ),
        (
            user(json!([{"type": "image", "source": {"type": "text", "data": "x"}}])),
            "`messages.0.content.0.source.type` must be",
        ),
        (
            user(json!([{"type": "tool_use", "id": "a", "name": "f"}])),
            "`messages.0.content.0` cannot be a block",
        ),
        (
            user(json!([{"type": "tool_result", "tool_use_id": "a"}])),
            "`messages.0.content.0.tool_use_id` refers to no call",
        ),
        (
            assistant(json!([{"type": "tool_use", "id": "", "name": "f"}])),
            "`messages.0.content.0.id` must not be empty",
        ),
        (
            assistant(json!([{"type": "tool_use", "id": "a", "name": "f", "input": "{}"}])),
            "`messages.0.content.0.input` must be an object",
        ),
        (assistant(json!([{"type": "server_tool_use", "id": "a"}])), "of the type `server_tool_use`, which"),
        (
            user(json!([{"type": "container_upload", "file_id": "a"}])),
            "of the type `container_upload`, which",
        ),
        (asked(json!({"system": [{"type": "image"}]})), "`system.0` cannot be a block"),
        (asked(json!({"tools": {}})), "`tools` must be an array"),
        (
            asked(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
            "`tools.0` is a tool of the type",
        ),
        (
            asked(json!({"tools": [{"name": "f", "input_schema": []}]})),
            "`tools.0.input_schema` must be an object",
        ),
        (asked(json!({"tool_choice": {"type": "required"}})), "`tool_choice.type` must be"),
        (asked(json!({"tool_choice": {"type": "tool"}})), "`tool_choice.name` is missing"),
        (asked(json!({"thinking": {"type": "enabled"}})), "`thinking.budget_tokens` is missing"),
        (
            asked(json!({"thinking": {"type": "enabled", "budget_tokens": 1023}})),
            "`thinking.budget_tokens` must be a whole number of at least 1024",
        ),
        (asked(json!({"thinking": {"type": "hard"}})), "`thinking.type` must be"),
        (asked(json!({"output_config": {"effort": "huge"}})), "`output_config.effort` must be"),
        (
            asked(json!({"output_config": {"format": {"type": "json"}}})),
            "`output_config.format.type` must be",
        ),
        (asked(json!({"temperature": "hot"})), "`temperature` must be a number"),
        (asked(json!({"stop_sequences": "END"})), "`stop_sequences` must be an array of strings"),
        (asked(json!({"metadata": {"user_id": 7}})), "`metadata.user_id` must be a string"),
        (asked(json!({"max_tokens": 0})), "`max_tokens` must be a whole number"),
        (asked(json!({"mcp_servers": [{"url": "https://x"}]})), "`mcp_servers` cannot be served"),
    ];
    for (result, fault) in cases {
        let error = result.unwrap_err();
        assert_eq!(error.status(), 400);
        assert!(error.to_string().contains(fault), "{error} for {fault}");
    }
}

// ---- writing

#[test]
fn a_plain_request_is_short() {
    let (body, dropped) = sent(&hello());
    assert_eq!(
        body,
        json!({"model": MODEL, "max_tokens": 4096, "messages": [{"role": "user", "content": "hi"}]})
    );
    assert!(dropped.is_empty());
    let (body, _) = sent(&Prompt { max_output: Some(7), stream: true, user: Some("u".into()), ..hello() });
    assert_eq!((&body["max_tokens"], &body["stream"]), (&json!(7), &json!(true)));
    assert_eq!(body["metadata"], json!({"user_id": "u"}));
}

#[test]
fn neighbours_are_merged_and_results_come_first() {
    let prompt = Prompt {
        turns: vec![
            turn(Role::User, vec![Part::text("a")]),
            turn(Role::Assistant, vec![call("c.1", "f", r#"{"x": 1.0}"#)]),
            turn(Role::Assistant, vec![call("c.2", "g", "{}")]),
            turn(Role::User, vec![Part::text("and?"), result("c.1", "f", vec![Part::text("1")])]),
            turn(Role::User, vec![result("c.2", "g", vec![Part::text("2"), Part::text("3")])]),
            turn(Role::User, vec![Part::text("b")]),
        ],
        tools: vec![tool("f"), tool("g")],
        ..hello()
    };
    let (body, _) = sent(&prompt);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c_1", "name": "f", "input": {"x": 1.0}},
                {"type": "tool_use", "id": "c_2", "name": "g", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c_1", "content": "1"},
                {"type": "tool_result", "tool_use_id": "c_2", "content": [
                    {"type": "text", "text": "2"}, {"type": "text", "text": "3"}]},
                {"type": "text", "text": "and?"},
                {"type": "text", "text": "b"}]},
        ])
    );
    let written = write(&prompt, &target(MODEL)).unwrap();
    assert!(
        String::from_utf8(written.body.to_vec()).unwrap().contains(r#""input":{"x": 1.0}"#),
        "as written"
    );
}

#[test]
fn the_first_turn_is_the_users_and_the_last_has_no_trailing_blank() {
    let prompt = Prompt { turns: vec![turn(Role::Assistant, vec![Part::text("I think \n")])], ..hello() };
    let (body, _) = sent(&prompt);
    assert_eq!(body["messages"][0]["role"], "user");
    assert!(!body["messages"][0]["content"].as_str().unwrap().trim().is_empty());
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "I think"}));
}

#[test]
fn blank_texts_are_left_out() {
    let blank = vec![Part::text(""), Part::text(" \n"), Part::text("a")];
    assert_eq!(sent(&prompt(blank)).0["messages"], json!([{"role": "user", "content": "a"}]));
    let nothing = prompt(vec![Part::text(" ")]);
    assert!(refused(&nothing).contains("`messages` must hold something"));
    let empty_result = vec![result("c", "f", vec![Part::text("")])];
    let prompt = Prompt {
        turns: vec![
            turn(Role::User, vec![Part::text("a")]),
            turn(Role::Assistant, vec![call("c", "f", "{}")]),
            turn(Role::User, empty_result),
        ],
        tools: vec![tool("f")],
        system: vec![Part::text("")],
        ..hello()
    };
    let (body, _) = sent(&prompt);
    assert_eq!(body["messages"][2]["content"], json!([{"type": "tool_result", "tool_use_id": "c"}]));
    assert!(body.get("system").is_none());
}

#[test]
fn system_stays_in_blocks_with_its_cache_marks() {
    let marked = Part::Text { text: "b".into(), cache: Some(raw(r#"{"type":"ephemeral"}"#)) };
    let (body, _) = sent(&Prompt { system: vec![Part::text("a"), marked], ..hello() });
    assert_eq!(
        body["system"],
        json!([{"type": "text", "text": "a"},
            {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}])
    );
    assert_eq!(sent(&Prompt { system: vec![Part::text("a")], ..hello() }).0["system"], "a");
}

#[test]
fn media_is_written_or_refused_by_name() {
    let media = |medium, source| Part::Media { medium, source, detail: None, cache: None };
    let inline = |media_type: &str, filename: Option<&str>| Source::Inline {
        media_type: media_type.into(),
        data: "AAAA".into(),
        filename: filename.map(Into::into),
    };
    let url = || Source::Url { url: "https://x/y".into(), media_type: None };
    let cases = [
        (
            media(Medium::Image, inline("image/jpg", None)),
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}}),
        ),
        (
            media(Medium::Image, url()),
            json!({"type": "image", "source": {"type": "url", "url": "https://x/y"}}),
        ),
        (
            media(Medium::Document, inline("application/pdf", Some("a.pdf"))),
            json!({"type": "document", "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}),
        ),
        (
            media(Medium::Document, url()),
            json!({"type": "document", "source": {"type": "url", "url": "https://x/y"}}),
        ),
    ];
    for (part, expected) in cases {
        assert_eq!(sent(&prompt(vec![part])).0["messages"][0]["content"], json!([expected]));
    }
    let refusals = [
        (media(Medium::Image, inline("image/bmp", None)), "cannot read `image/bmp`"),
        (media(Medium::Document, inline("text/csv", None)), "cannot read `text/csv`"),
        (
            media(Medium::Image, Source::File { id: "file-1".into() }),
            "cannot read files that another provider keeps",
        ),
        (media(Medium::Document, Source::File { id: "file-1".into() }), "cannot read files"),
        (media(Medium::Audio, inline("audio/wav", None)), "cannot read audio"),
        (media(Medium::Video, url()), "cannot read video"),
        (result("c", "f", vec![media(Medium::Audio, inline("audio/wav", None))]), "cannot read audio"),
    ];
    for (part, fault) in refusals {
        assert!(refused(&prompt(vec![part])).contains(fault), "{fault}");
    }
    let detailed =
        Part::Media { medium: Medium::Image, source: url(), detail: Some("low".into()), cache: None };
    assert_eq!(sent(&prompt(vec![detailed])).1, ["detail"]);
}

#[test]
fn thoughts_go_back_only_with_their_proof() {
    let thought =
        |signature: Option<&str>| Part::Thinking { text: "hm".into(), signature: signature.map(Into::into) };
    let prompt = Prompt {
        turns: vec![
            turn(Role::User, vec![Part::text("a")]),
            turn(
                Role::Assistant,
                vec![
                    thought(Some("Eq")),
                    thought(None),
                    Part::HiddenThinking { data: "X".into() },
                    Part::Refusal { text: "no".into() },
                ],
            ),
        ],
        ..hello()
    };
    let (body, dropped) = sent(&prompt);
    assert_eq!(
        body["messages"][1]["content"],
        json!([{"type": "thinking", "thinking": "hm", "signature": "Eq"},
            {"type": "redacted_thinking", "data": "X"}, {"type": "text", "text": "no"}])
    );
    assert_eq!(dropped, ["thinking"]);
}

#[test]
fn tools_and_their_choice_are_written() {
    let with = |tool_use, parallel_tools| {
        let prompt = Prompt { tools: vec![tool("f"), tool("g")], tool_use, parallel_tools, ..hello() };
        let body = sent(&prompt).0;
        let names: Vec<Value> =
            body["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
        (body["tool_choice"].clone(), names.len())
    };
    let among = |must| Some(ToolUse::Among { names: vec!["g".into()], must });
    let cases = [
        (None, None, Value::Null, 2),
        (None, Some(false), json!({"type": "auto", "disable_parallel_tool_use": true}), 2),
        (Some(ToolUse::Auto), None, json!({"type": "auto"}), 2),
        (Some(ToolUse::Never), Some(false), json!({"type": "none"}), 2),
        (Some(ToolUse::Some), Some(true), json!({"type": "any", "disable_parallel_tool_use": false}), 2),
        (Some(ToolUse::Only("f".into())), None, json!({"type": "tool", "name": "f"}), 2),
        (among(true), None, json!({"type": "any"}), 1),
        (among(false), None, json!({"type": "auto"}), 1),
    ];
    for (tool_use, parallel, choice, count) in cases {
        assert_eq!(with(tool_use.clone(), parallel), (choice, count), "{tool_use:?}");
    }

    let bare = Tool { schema: None, strict: Some(true), description: Some("d".into()), ..tool("f") };
    let prompt = Prompt { tools: vec![bare], ..hello() };
    let (body, dropped) = sent(&prompt);
    assert_eq!(
        body["tools"],
        json!([{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}, "strict": true}])
    );
    assert!(dropped.is_empty());
    assert_eq!(sent_to("kimi-k2", &prompt).1, ["strict"]);

    let none = Prompt { tool_use: Some(ToolUse::Some), ..hello() };
    assert!(refused(&none).contains("asks for a tool, but there is none"));
}

#[test]
fn a_conversation_about_tools_that_are_gone_names_them() {
    let prompt = Prompt {
        turns: vec![
            turn(Role::User, vec![Part::text("a")]),
            turn(Role::Assistant, vec![call("c", "f", "{}"), call("d", "f", "{}")]),
            turn(Role::User, vec![result("c", "f", vec![]), result("d", "f", vec![])]),
        ],
        ..hello()
    };
    let (body, _) = sent(&prompt);
    assert_eq!(body["tools"], json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]));
    assert_eq!(body["tool_choice"], json!({"type": "none"}));
}

#[test]
fn thinking_is_a_budget_within_the_cap_or_an_effort() {
    let write = |model, reasoning, max_output, tool_use| {
        let prompt = Prompt {
            reasoning: Some(reasoning),
            max_output: Some(max_output),
            tools: vec![tool("f")],
            tool_use,
            ..hello()
        };
        let (body, dropped) = sent_to(model, &prompt);
        (body["thinking"].clone(), body["output_config"]["effort"].clone(), dropped)
    };
    let enabled = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
    let adaptive = || json!({"type": "adaptive"});
    let (null, old, new) = (Value::Null, MODEL, "claude-opus-4-7");
    let noted = || vec!["reasoning".to_owned()];
    let cases = [
        (old, Reasoning::Off, 4000, json!({"type": "disabled"}), null.clone(), vec![]),
        (old, Reasoning::Budget(0), 4000, json!({"type": "disabled"}), null.clone(), vec![]),
        (old, Reasoning::Budget(3999), 4000, enabled(3999), null.clone(), vec![]),
        (old, Reasoning::Budget(4000), 4000, enabled(3000), null.clone(), vec![]),
        (old, Reasoning::Budget(5), 4000, enabled(1024), null.clone(), vec![]),
        (old, Reasoning::Effort(Effort::Low), 4000, enabled(2048), null.clone(), vec![]),
        (old, Reasoning::Effort(Effort::High), 4000, enabled(3000), null.clone(), vec![]),
        (old, Reasoning::Effort(Effort::High), 100_000, enabled(16_384), null.clone(), vec![]),
        (old, Reasoning::Adaptive, 100_000, enabled(8192), null.clone(), vec![]),
        (old, Reasoning::Effort(Effort::Minimal), 1025, enabled(1024), null.clone(), vec![]),
        (old, Reasoning::Effort(Effort::Minimal), 1024, null.clone(), null.clone(), noted()),
        (new, Reasoning::Effort(Effort::Minimal), 100, adaptive(), json!("low"), vec![]),
        (new, Reasoning::Effort(Effort::Higher), 100, adaptive(), json!("xhigh"), vec![]),
        ("claude-opus-4-6", Reasoning::Effort(Effort::Higher), 100, adaptive(), json!("max"), vec![]),
        (new, Reasoning::Budget(8000), 100, adaptive(), json!("medium"), vec![]),
        (new, Reasoning::Adaptive, 100, adaptive(), null.clone(), vec![]),
        (new, Reasoning::Off, 100, json!({"type": "disabled"}), null.clone(), vec![]),
    ];
    for (model, reasoning, max_output, thinking, effort, dropped) in cases {
        assert_eq!(
            write(model, reasoning.clone(), max_output, None),
            (thinking, effort, dropped),
            "{model} {reasoning:?} {max_output}"
        );
    }
    // A forced call and a thought exclude each other.
    assert_eq!(write(old, Reasoning::Adaptive, 4000, Some(ToolUse::Some)), (null.clone(), null, noted()));
}

#[test]
fn a_tool_loop_without_a_signed_thought_goes_on_without_thinking() {
    let looped = |thought: Vec<Part>| Prompt {
        turns: vec![
            turn(Role::User, vec![Part::text("a")]),
            turn(Role::Assistant, thought.into_iter().chain([call("c", "f", "{}")]).collect()),
            turn(Role::User, vec![result("c", "f", vec![])]),
        ],
        tools: vec![tool("f")],
        reasoning: Some(Reasoning::Budget(2000)),
        ..hello()
    };
    let (body, dropped) = sent(&looped(vec![]));
    assert_eq!((body.get("thinking"), dropped), (None, vec!["reasoning".to_owned()]));
    let signed = Part::Thinking { text: "hm".into(), signature: Some("Eq".into()) };
    let (body, dropped) = sent(&looped(vec![signed]));
    assert!(body["thinking"]["type"] == "enabled" && dropped.is_empty());
}

#[test]
fn sampling_is_clamped_or_dropped_with_a_note() {
    let write = |model, sampling: Sampling, reasoning| {
        let (body, dropped) =
            sent_to(model, &Prompt { sampling, reasoning, max_output: Some(4000), ..hello() });
        (["temperature", "top_p", "top_k"].map(|field| body[field].clone()), dropped)
    };
    let at = |temperature: &str| Sampling { temperature: number(temperature), ..Sampling::default() };
    let null = Value::Null;
    let both = || Sampling { top_p: number("0.5"), top_k: number("40"), ..at("0.25") };
    assert_eq!(write(MODEL, at("0.70"), None), ([json!(0.7), null.clone(), null.clone()], vec![]));
    assert_eq!(
        write(MODEL, at("1.5"), None),
        ([json!(1), null.clone(), null.clone()], vec!["temperature".to_owned()])
    );
    assert_eq!(write("kimi-k2", both(), None), ([json!(0.25), json!(0.5), json!(40)], vec![]));
    assert_eq!(
        write(MODEL, both(), None),
        ([json!(0.25), null.clone(), json!(40)], vec!["top_p".to_owned()])
    );
    let none = [null.clone(), null.clone(), null];
    let all = vec!["temperature".to_owned(), "top_p".to_owned(), "top_k".to_owned()];
    assert_eq!(write(MODEL, both(), Some(Reasoning::Budget(2000))), (none.clone(), all.clone()));
    assert_eq!(write("claude-opus-4-7", both(), None), (none.clone(), all));
    assert_eq!(write("claude-opus-4-7", at("1"), None), (none, vec![]));
}

#[test]
fn what_cannot_be_said_is_noted() {
    let prompt = Prompt {
        sampling: Sampling {
            seed: number("7"),
            presence_penalty: number("0.5"),
            frequency_penalty: number("0"),
            ..Sampling::default()
        },
        stop: vec!["END".into(), "\n".into()],
        format: OutputFormat::Json,
        unread: vec!["logit_bias".into()],
        turns: vec![
            turn(Role::User, vec![Part::text("a")]),
            turn(
                Role::Assistant,
                vec![Part::Call {
                    id: "c".into(),
                    name: "f".into(),
                    arguments: raw("{}"),
                    signature: Some("gemini's".into()),
                }],
            ),
        ],
        ..hello()
    };
    let (body, dropped) = sent(&prompt);
    assert_eq!(dropped, ["logit_bias", "signature", "presence_penalty", "seed", "response_format", "stop"]);
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert!(body.get("output_config").is_none());
}

#[test]
fn a_schema_of_the_answer_is_written_as_it_stands() {
    let format = OutputFormat::Schema {
        name: "n".into(),
        description: None,
        schema: raw(r#"{"type":"object", "z":1.0,"a":2}"#),
        strict: None,
    };
    let written = write(&Prompt { format, ..hello() }, &target(MODEL)).unwrap();
    let body = String::from_utf8(written.body.to_vec()).unwrap();
    let expected =
        r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object", "z":1.0,"a":2}}}"#;
    assert!(body.contains(expected), "{body}");
}

#[test]
fn more_than_one_answer_is_refused() {
    assert!(refused(&Prompt { choices: 2, ..hello() }).contains("`n` must be 1"));
    let image = Part::Media {
        medium: Medium::Image,
        source: Source::Url { url: "https://x".into(), media_type: None },
        detail: None,
        cache: None,
    };
    assert!(refused(&Prompt { system: vec![image], ..hello() }).contains("can only be text"));
}

// ---- there and back

fn any_text() -> impl Strategy<Value = Part> {
    let cache = proptest::option::of(Just(r#"{"type":"ephemeral","ttl":"5m"}"#));
    ("[!-~\u{e9}\u{4e2d}][ -~\n]{0,9}[!-~]", cache)
        .prop_map(|(text, cache)| Part::Text { text, cache: cache.map(raw) })
}

fn any_media() -> impl Strategy<Value = Part> {
    let inline = |media_type: &str, filename: Option<String>| Source::Inline {
        media_type: media_type.into(),
        data: "AAAA".into(),
        filename,
    };
    let url = |media_type: Option<&str>| Source::Url {
        url: "https://x/y".into(),
        media_type: media_type.map(Into::into),
    };
    prop_oneof![
        Just((Medium::Image, inline("image/png", None))),
        Just((Medium::Image, url(None))),
        proptest::option::of("[a-z]{1,5}")
            .prop_map(move |name| (Medium::Document, inline("application/pdf", name))),
        Just((Medium::Document, url(Some("application/pdf")))),
    ]
    .prop_map(|(medium, source)| Part::Media { medium, source, detail: None, cache: None })
}

/// A user's turn and the model's, perhaps with a call; the next user's turn holds its result.
fn any_exchange() -> impl Strategy<Value = (Vec<Part>, Vec<Part>, bool)> {
    let user = proptest::collection::vec(prop_oneof![any_text(), any_media()], 1..3);
    let thought = ("[a-z]{0,9}", "[A-Z]{1,5}")
        .prop_map(|(text, signature)| Part::Thinking { text, signature: Some(signature) });
    let hidden = "[A-Z]{1,5}".prop_map(|data| Part::HiddenThinking { data });
    let assistant = proptest::collection::vec(prop_oneof![any_text(), thought, hidden], 1..4);
    (user, assistant, any::<bool>())
}

fn any_prompt() -> impl Strategy<Value = Prompt> {
    let turns = proptest::collection::vec(any_exchange(), 1..4);
    let result_content = proptest::collection::vec(prop_oneof![any_text(), any_media()], 0..3);
    let tool_use = proptest::option::of(prop_oneof![
        Just(ToolUse::Auto),
        Just(ToolUse::Some),
        Just(ToolUse::Never),
        Just(ToolUse::Only("get".into())),
    ]);
    let settings = (
        any::<bool>(),
        proptest::option::of(1..9999_u64),
        proptest::option::of(prop_oneof![Just(Reasoning::Off), (1024..4000_u64).prop_map(Reasoning::Budget)]),
        proptest::option::of(0..=10_u64),
        any::<bool>(),
        proptest::collection::vec("[A-Z]{1,4}", 0..3),
        proptest::option::of(Just("user-1".to_owned())),
        proptest::collection::vec(any_text(), 0..3),
    );
    (turns, result_content, tool_use, any::<bool>(), settings).prop_map(
        |(exchanges, result_content, tool_use, is_parallel, settings)| {
            let (stream, max_output, reasoning, temperature, has_schema, stop, user, system) = settings;
            let mut turns = Vec::new();
            let mut results = Vec::new();
            for (index, (user, mut assistant, has_call)) in exchanges.into_iter().enumerate() {
                results.extend(user);
                turns.push(turn(Role::User, std::mem::take(&mut results)));
                if has_call {
                    let id = format!("toolu_{index}");
                    assistant.push(call(&id, "get", r#"{"z": 1.0,"a":[1e2]}"#));
                    results.push(result(&id, "get", result_content.clone()));
                }
                turns.push(turn(Role::Assistant, assistant));
            }
            turns.push(turn(Role::User, results.into_iter().chain([Part::text("go on")]).collect()));
            let is_forced = matches!(tool_use, Some(ToolUse::Some | ToolUse::Only(_)));
            // What this format has both ways, without what it changes by its rules.
            let reasoning = reasoning.filter(|reasoning| {
                !matches!(reasoning, Reasoning::Budget(budget)
                    if is_forced || *budget >= max_output.unwrap_or(4096))
            });
            let is_thinking = matches!(reasoning, Some(Reasoning::Budget(_)));
            let temperature = temperature
                .filter(|_| !is_thinking)
                .map(|tenths| serde_json::from_str(&format!("{}.{}", tenths / 10, tenths % 10)).unwrap());
            let parallel_tools =
                (is_parallel && tool_use.is_some() && tool_use != Some(ToolUse::Never)).then_some(false);
            let format = if has_schema {
                OutputFormat::Schema {
                    name: "answer".into(),
                    description: None,
                    schema: raw(r#"{"type": "object"}"#),
                    strict: Some(true),
                }
            } else {
                OutputFormat::Text
            };
            let strict =
                Tool { strict: Some(true), cache: Some(raw(r#"{"type":"ephemeral"}"#)), ..tool("get") };
            Prompt {
                stream,
                system,
                turns,
                tools: vec![strict, tool("other")],
                tool_use,
                parallel_tools,
                max_output: max_output.or(Some(4096)),
                choices: 1,
                sampling: Sampling { temperature, ..Sampling::default() },
                stop,
                format,
                reasoning,
                user,
                unread: Vec::new(),
            }
        },
    )
}

/// Does a result wait whose call came without a signed thought? Then thinking is switched off.
fn is_unsigned_loop(prompt: &Prompt) -> bool {
    let [.., calls, results] = prompt.turns.as_slice() else { return false };
    let is_thought = matches!(calls.parts.first(), Some(Part::Thinking { .. } | Part::HiddenThinking { .. }));
    matches!(results.parts.first(), Some(Part::Result { .. })) && !is_thought
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(prompt in any_prompt()) {
        let mut prompt = prompt;
        if matches!(prompt.reasoning, Some(Reasoning::Budget(_))) && is_unsigned_loop(&prompt) {
            prompt.reasoning = None;
        }
        let written = write(&prompt, &target(MODEL)).unwrap();
        prop_assert!(written.dropped.is_empty(), "{:?}", written.dropped);
        let again = read(&written.body).unwrap();
        prop_assert_eq!(format!("{again:#?}"), format!("{prompt:#?}"));
    }
}
