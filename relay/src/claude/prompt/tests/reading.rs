//! A caller's request, read.

use super::*;

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
    assert_eq!(prompt.unread.len(), 1, "their place is lost");
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
    let unread = read(body.as_bytes()).unwrap().unread;
    assert_eq!((unread.len(), unread[64].as_str()), (65, "and others"));
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
