//! A request for a provider, written.

use super::*;

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
    assert_eq!(sent(&prompt(vec![detailed])).1, ["image_url.detail"]);
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
    assert_eq!(sent_to("kimi-k2", &prompt).1, ["tools[].strict"]);

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
        description: Some("what it is".into()),
        schema: raw(r#"{"type":"object", "z":1.0,"a":2}"#),
        strict: None,
    };
    let written = write(&Prompt { format, ..hello() }, &target(MODEL)).unwrap();
    let body = String::from_utf8(written.body.to_vec()).unwrap();
    let expected =
        r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object", "z":1.0,"a":2}}}"#;
    assert!(body.contains(expected), "{body}");
    assert_eq!(written.dropped, ["response_format.json_schema.description"]);
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
