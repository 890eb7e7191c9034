use super::{read, write};
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Sampling, Source, Target, Tool, ToolUse,
    Turn, Written,
};
use crate::error::CallError;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

fn read_ok(json: &Value) -> Prompt {
    read(json.to_string().as_bytes(), false).unwrap()
}

fn refusal(json: &str) -> String {
    match read(json.as_bytes(), false) {
        Err(error) => error.to_string(),
        Ok(prompt) => panic!("{json} was read: {prompt:?}"),
    }
}

fn target(upstream_model: &str) -> Target<'_> {
    Target { upstream_model, default_cap: 99, newer_cap: false }
}

fn written_for(prompt: &Prompt, model: &str) -> (Value, Written) {
    let written = write(prompt, &target(model)).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), written)
}

fn written(prompt: &Prompt) -> (Value, Vec<String>) {
    let (json, written) = written_for(prompt, "gemini-2.5-flash");
    (json, written.dropped)
}

fn user(parts: Vec<Part>) -> Turn {
    Turn { role: Role::User, parts }
}

fn model(parts: Vec<Part>) -> Turn {
    Turn { role: Role::Assistant, parts }
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::Call { id: id.into(), name: name.into(), arguments: raw(arguments), signature: None }
}

fn result(id: &str, name: &str, text: &str) -> Part {
    Part::Result {
        id: id.into(),
        name: name.into(),
        content: vec![Part::text(text)],
        is_error: false,
        cache: None,
    }
}

fn says(turns: Vec<Turn>) -> Prompt {
    Prompt { turns, choices: 1, ..Prompt::default() }
}

fn hello() -> Prompt {
    says(vec![user(vec![Part::text("hi")])])
}

// Reading.

#[test]
fn a_bare_request_is_read_in_both_spellings() {
    for body in [
        r#"{"contents":[{"parts":[{"text":"hi"}]}],"systemInstruction":{"parts":[{"text":"be"},{"text":"kind"}]},
            "generationConfig":{"maxOutputTokens":5,"topP":0.50,"stopSequences":["x"],"candidateCount":2},"model":"models/m"}"#,
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"system_instruction":{"role":"system","parts":[{"text":"be"},{"text":"kind"}]},
            "generation_config":{"max_output_tokens":5,"top_p":0.50,"stop_sequences":["x"],"candidate_count":2}}"#,
    ] {
        let prompt = read(body.as_bytes(), true).unwrap();
        assert!(prompt.stream && prompt.unread.is_empty(), "{:?}", prompt.unread);
        assert_eq!((prompt.max_output, prompt.choices, &*prompt.stop), (Some(5), 2, &["x".to_owned()][..]));
        assert_eq!(prompt.sampling.top_p.unwrap().to_string(), "0.5");
        assert_eq!((prompt.system.len(), prompt.turns.len(), prompt.turns[0].role), (2, 1, Role::User));
    }
}

#[test]
fn all_numbers_of_sampling_are_read() {
    let prompt = read_ok(&json!({"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {
        "temperature": 1.5, "topP": 0.9, "topK": 40, "seed": 7, "presencePenalty": 0.1, "frequencyPenalty": -0.2}}));
    let it = prompt.sampling;
    let shown = [it.temperature, it.top_p, it.top_k, it.seed, it.presence_penalty, it.frequency_penalty]
        .map(|number| number.unwrap().to_string());
    assert_eq!(shown, ["1.5", "0.9", "40", "7", "0.1", "-0.2"]);
}

#[test]
fn calls_without_ids_get_the_same_ones_each_time_and_results_find_them() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [
            {"functionCall": {"id": "given", "name": "f", "args": {}}},
            {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "QUJD"},
            {"functionCall": {"name": "g"}}, {"functionCall": {"name": "f", "args": {"a": 2}}}]},
        {"role": "user", "parts": [
            {"text": "and now?"},
            {"functionResponse": {"id": "given", "name": "f", "response": {"output": "four"}}},
            {"functionResponse": {"name": "f", "response": {"result": "one"}}},
            {"functionResponse": {"name": "f", "response": {"x": 2.50}}},
            {"functionResponse": {"name": "g", "response": {"error": "broke"}}}]},
    ]});
    let prompt = read_ok(&body);
    let ids: Vec<&str> = prompt.turns[1]
        .parts
        .iter()
        .map(|part| match part {
            Part::Call { id, .. } => id.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, ["given", "call_0", "call_1", "call_2"]);
    assert!(matches!(&prompt.turns[1].parts[1], Part::Call { signature: Some(it), arguments, .. }
        if it == "QUJD" && arguments.get() == r#"{"a":1}"#));
    let results: Vec<(&str, &str, bool)> = prompt.turns[2]
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Result { id, content, is_error, .. } => match &content[..] {
                [Part::Text { text, .. }] => Some((id.as_str(), text.as_str(), *is_error)),
                other => panic!("{other:?}"),
            },
            _ => None,
        })
        .collect();
    assert_eq!(
        results,
        [
            ("given", "four", false),
            ("call_0", "one", false),
            ("call_2", r#"{"x":2.5}"#, false),
            ("call_1", "broke", true)
        ]
    );
    assert!(matches!(prompt.turns[2].parts.last(), Some(Part::Text { .. })), "results stand first");
    assert_eq!(format!("{:?}", read_ok(&body).turns), format!("{:?}", prompt.turns));
}

#[test]
fn a_model_turn_that_comes_back_in_pieces_is_one_turn() {
    let prompt = read_ok(&json!({"contents": [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [{"text": "hm ", "thought": true}]},
        {"role": "model", "parts": [{"text": "so", "thought": true, "thoughtSignature": "AA=="}]},
        {"role": "model", "parts": [{"text": "Hel"}]},
        {"role": "model", "parts": [{"text": "lo"}, {"text": "", "thoughtSignature": "BB=="}]},
        {"role": "model", "parts": [{"text": ""}]},
        {"role": "user", "parts": [{"text": "more"}]},
    ]}));
    assert_eq!(prompt.turns.len(), 3);
    let [
        Part::Thinking { text: thought, signature: Some(first) },
        Part::Text { text, .. },
        Part::Thinking { text: empty, signature: Some(second) },
    ] = prompt.turns[1].parts.as_slice()
    else {
        panic!("{:?}", prompt.turns[1].parts)
    };
    assert_eq!([&**thought, &**first, &**text, &**empty, &**second], ["hm so", "AA==", "Hello", "", "BB=="]);
}

#[test]
fn a_proof_is_read_in_the_alphabet_of_who_gave_it() {
    let proof = |signature: &str| {
        let part = json!({"text": "a", "thought": true, "thoughtSignature": signature});
        match &read_ok(&json!({"contents": [{"role": "model", "parts": [part]}]})).turns[0].parts[0] {
            Part::Thinking { signature: Some(signature), .. } => signature.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(proof("EqoB_-A"), "EqoB/+A=");
    assert_eq!(proof("EqoB/+A="), "EqoB/+A=");
    assert_eq!(proof("gAAAAAB_-w"), "gAAAAAB_-w");
}

#[test]
fn media_is_read_wherever_it_is() {
    let prompt = read_ok(&json!({"contents": [{"role": "user", "parts": [
        {"inlineData": {"mimeType": "image/png", "data": "_9j-4A"}},
        {"inline_data": {"mime_type": "audio/wav", "data": "AAAA", "displayName": "a.wav"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://x.example/a.webp?b=c.pdf"}},
        {"fileData": {"fileUri": "https://x.example/a", "mimeType": "video/mp4"}},
        {"fileData": {"fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf"}},
        {"file_data": {"file_uri": "https://youtu.be/abc"}},
    ]}]}));
    let inline = |media_type: &str, data: &str, filename: Option<&str>| Source::Inline {
        media_type: media_type.into(),
        data: data.into(),
        filename: filename.map(Into::into),
    };
    let url = |url: &str, media_type: Option<&str>| Source::Url {
        url: url.into(),
        media_type: media_type.map(Into::into),
    };
    let expected = [
        // In the alphabet that other providers read.
        (Medium::Image, inline("image/png", "/9j+4A==", None)),
        (Medium::Audio, inline("audio/wav", "AAAA", Some("a.wav"))),
        (Medium::Document, inline("application/pdf", "AAAA", None)),
        (Medium::Image, url("https://x.example/a.webp?b=c.pdf", None)),
        (Medium::Video, url("https://x.example/a", Some("video/mp4"))),
        (Medium::Document, Source::File { id: "gs://bucket/a.pdf".into() }),
        (Medium::Video, url("https://youtu.be/abc", None)),
    ];
    let found: Vec<(Medium, Source)> = prompt.turns[0]
        .parts
        .iter()
        .map(|part| match part {
            Part::Media { medium, source, .. } => (*medium, source.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn tools_are_read_with_both_kinds_of_schema() {
    let prompt = read_ok(&json!({"contents": [{"parts": [{"text": "a"}]}], "tools": [
        {"functionDeclarations": [
            {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
            {"name": "g", "parametersJsonSchema": {"type": "object", "additionalProperties": false}, "behavior": "BLOCKING"}]},
        {"function_declarations": [{"name": "h"}]},
    ]}));
    let tools: Vec<(&str, Option<&str>, Option<&str>)> = prompt
        .tools
        .iter()
        .map(|tool| (&*tool.name, tool.description.as_deref(), tool.schema.as_deref().map(RawValue::get)))
        .collect();
    assert_eq!(
        tools,
        [
            ("f", Some("d"), Some(r#"{"properties":{"a":{"type":"string"}},"type":"object"}"#)),
            ("g", None, Some(r#"{"additionalProperties":false,"type":"object"}"#)),
            ("h", None, None),
        ]
    );
    assert_eq!(prompt.unread, ["tools[].functionDeclarations[].behavior"]);
}

#[test]
fn whether_a_tool_must_be_called_is_read() {
    let read = |config: Value| {
        read_ok(&json!({"contents": [{"parts": [{"text": "a"}]}], "toolConfig": {"functionCallingConfig": config}}))
            .tool_use
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(read(json!({})), None);
    assert_eq!(read(json!({"mode": "AUTO"})), Some(ToolUse::Auto));
    assert_eq!(read(json!({"mode": "none"})), Some(ToolUse::Never));
    assert_eq!(read(json!({"mode": "ANY"})), Some(ToolUse::Some));
    assert_eq!(read(json!({"mode": "ANY", "allowedFunctionNames": ["f"]})), Some(ToolUse::Only("f".into())));
    assert_eq!(
        read(json!({"mode": "ANY", "allowed_function_names": ["f", "g"]})),
        Some(ToolUse::Among { names: names(&["f", "g"]), must: true })
    );
    assert_eq!(
        read(json!({"mode": "VALIDATED", "allowedFunctionNames": ["f"]})),
        Some(ToolUse::Among { names: names(&["f"]), must: false })
    );
    assert_eq!(read(json!({"mode": "VALIDATED"})), Some(ToolUse::Auto));
}

#[test]
fn the_answers_form_and_thinking_are_read() {
    let read = |config: Value| {
        read_ok(&json!({"contents": [{"parts": [{"text": "a"}]}], "generationConfig": config}))
    };
    assert!(matches!(read(json!({"responseMimeType": "text/plain"})).format, OutputFormat::Text));
    assert!(matches!(read(json!({"responseMimeType": "application/json"})).format, OutputFormat::Json));
    for (field, schema) in [("responseSchema", "ARRAY"), ("responseJsonSchema", "array")] {
        let format = read(json!({"responseMimeType": "application/json", field: {"type": schema}})).format;
        assert!(matches!(format, OutputFormat::Schema { name, schema, strict: None, .. }
            if name == "answer" && schema.get() == r#"{"type":"array"}"#));
    }
    let thinking = |config: Value| read(json!({ "thinkingConfig": config })).reasoning;
    assert_eq!(thinking(json!({"includeThoughts": true})), None);
    assert_eq!(thinking(json!({"thinkingBudget": 0})), Some(Reasoning::Off));
    assert_eq!(thinking(json!({"thinking_budget": -1})), Some(Reasoning::Adaptive));
    assert_eq!(thinking(json!({"thinkingBudget": 512})), Some(Reasoning::Budget(512)));
    assert_eq!(thinking(json!({"thinkingLevel": "minimal"})), Some(Reasoning::Effort(Effort::Minimal)));
    assert_eq!(thinking(json!({"thinkingLevel": "HIGH"})), Some(Reasoning::Effort(Effort::High)));
    assert_eq!(thinking(json!({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"})), None);
}

#[test]
fn what_is_not_read_is_noted_by_its_place_once() {
    let prompt = read_ok(&json!({
        "contents": [
            {"parts": [{"text": "a", "videoMetadata": {}}, {"text": "b", "videoMetadata": {}}]},
            {"parts": [{"text": "c", "videoMetadata": {}}]}],
        "safetySettings": [{}], "newThing": 1, "gone": null,
        "generationConfig": {"responseLogprobs": true, "responseModalities": ["text"]},
        "toolConfig": {"retrievalConfig": {}},
    }));
    let mut unread = prompt.unread;
    unread.sort();
    assert_eq!(
        unread,
        [
            "contents[].parts[].videoMetadata",
            "generationConfig.responseLogprobs",
            "newThing",
            "safetySettings",
            "toolConfig.retrievalConfig"
        ]
    );
}

#[test]
fn a_flood_of_unknown_names_is_noted_in_part() {
    let parts: Vec<Value> = (0..5000).map(|at| json!({"text": "a", format!("x{at}"): 1})).collect();
    let prompt = read_ok(&json!({"contents": [{"parts": parts}]}));
    assert_eq!((prompt.unread.len(), prompt.unread.last().unwrap().as_str()), (65, "and others"));
}

#[test]
fn faults_are_named_by_their_place() {
    let part = |part: &str| format!(r#"{{"contents":[{{"parts":[{{"text":"a"}},{part}]}}]}}"#);
    let model = |part: &str| format!(r#"{{"contents":[{{"role":"model","parts":[{part}]}}]}}"#);
    let config = |config: &str| {
        format!(r#"{{"contents":[{{"parts":[{{"text":"a"}}]}}],"generationConfig":{config}}}"#)
    };
    let tools = |tools: &str| format!(r#"{{"contents":[{{"parts":[{{"text":"a"}}]}}],"tools":{tools}}}"#);
    let cases = [
        ("[]".into(), "must be a JSON object"),
        ("{}".into(), "`contents` is missing"),
        (r#"{"contents":[]}"#.into(), "`contents` must not be empty"),
        (r#"{"contents":"hi"}"#.into(), "`contents` must be an array"),
        (r#"{"contents":["hi"]}"#.into(), "`contents[0]` must be an object"),
        (
            r#"{"contents":[{"role":"system","parts":[]}]}"#.into(),
            "`contents[0].role` must be `user` or `model`",
        ),
        (r#"{"contents":[{"parts":{}}]}"#.into(), "`contents[0].parts` must be an array"),
        (part("7"), "`contents[0].parts[1]` must be an object"),
        (part(r#"{"text":7}"#), "`contents[0].parts[1].text` must be a string"),
        (part(r#"{"executableCode":{}}"#), "`contents[0].parts[1]` holds nothing that the provider"),
        (part(r#"{"functionCall":{"name":"f"}}"#), "must be in a content of the role `model`"),
        (
            part(r#"{"functionResponse":{"name":"f","response":{}}}"#),
            "the result of a `functionCall` of the same name",
        ),
        (part(r#"{"inlineData":{"data":"AAAA"}}"#), "`contents[0].parts[1].inlineData.mimeType` is missing"),
        (
            part(r#"{"fileData":{"fileUri":"https://x.example/a"}}"#),
            "`contents[0].parts[1].fileData.mimeType` is missing",
        ),
        (part(r#"{"inlineData":{},"inline_data":{}}"#), "`inlineData` is given twice"),
        (
            model(r#"{"functionCall":{"name":"f","args":"{}"}}"#),
            "`contents[0].parts[0].functionCall.args` must be an object",
        ),
        (model(r#"{"functionCall":{}}"#), "`contents[0].parts[0].functionCall.name` is missing"),
        (model(r#"{"functionResponse":{}}"#), "must be in a content of the role `user`"),
        (config("7"), "`generationConfig` must be an object"),
        (config(r#"{"temperature":"hot"}"#), "`generationConfig.temperature` must be a number"),
        (config(r#"{"stopSequences":"x"}"#), "`generationConfig.stopSequences` must be an array of strings"),
        (config(r#"{"candidateCount":0}"#), "`candidateCount` must be a whole number"),
        (
            config(r#"{"responseModalities":["TEXT","IMAGE"]}"#),
            "`generationConfig.responseModalities` may hold nothing but",
        ),
        (config(r#"{"responseMimeType":"text/x.enum"}"#), "`generationConfig.responseMimeType` may be"),
        (config(r#"{"responseSchema":{}}"#), "must be `application/json` where the answer has a schema"),
        (
            config(r#"{"thinkingConfig":{"thinkingLevel":"LOTS"}}"#),
            "`generationConfig.thinkingConfig.thinkingLevel` must be",
        ),
        (
            tools(r#"[{"googleSearch":{}}]"#),
            "`tools[0].googleSearch` is a tool that only Google's own models have",
        ),
        (tools(r#"[{"functionDeclarations":[{}]}]"#), "`tools[0].functionDeclarations[0].name` is missing"),
        (
            tools(r#"[{"functionDeclarations":[{"name":"f","parameters":{},"parametersJsonSchema":{}}]}]"#),
            "not both",
        ),
        (
            r#"{"contents":[{"parts":[{"text":"a"}]}],"cachedContent":"cachedContents/x"}"#.into(),
            "`cachedContent` cannot be read",
        ),
        (
            r#"{"contents":[{"parts":[{"text":"a"}]}],"systemInstruction":{"parts":[{"inlineData":{}}]}}"#
                .into(),
            "`systemInstruction.parts[0]` must be text",
        ),
    ];
    for (body, expected) in cases {
        let error = refusal(&body);
        assert!(error.contains(expected), "{body}: {error}");
    }
}

#[test]
fn many_calls_of_one_function_take_no_more_than_linear_time() {
    let calls: Vec<Value> =
        (0..20_000).map(|at| json!({"functionCall": {"id": format!("i{at}"), "name": "f"}})).collect();
    let results: Vec<Value> = (0..20_000)
        .rev()
        .map(|at| json!({"functionResponse": {"id": format!("i{at}"), "name": "f", "response": {}}}))
        .collect();
    let prompt = read_ok(
        &json!({"contents": [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]}),
    );
    let (json, _) = written(&prompt);
    // In the calls' order again.
    assert_eq!(json["contents"][1]["parts"][0]["functionResponse"]["id"], "i0");
}

// Writing.

#[test]
fn everything_that_can_be_said_is_written() {
    let prompt = Prompt {
        stream: true,
        system: vec![Part::text("be"), Part::text("kind")],
        turns: vec![user(vec![Part::text("hi")]), user(vec![Part::text("there")])],
        tools: vec![
            Tool {
                name: "f".into(),
                description: Some("d".into()),
                schema: Some(raw(r#"{"type":"object","$schema":"x","z":1.0}"#)),
                strict: Some(false),
                cache: None,
            },
            Tool { name: "g".into(), description: None, schema: None, strict: None, cache: None },
        ],
        tool_use: Some(ToolUse::Only("f".into())),
        parallel_tools: Some(true),
        max_output: Some(7),
        choices: 2,
        sampling: Sampling {
            temperature: Number::from_f64(1.5),
            top_p: Number::from_f64(0.5),
            top_k: Some(40.into()),
            seed: Some(7.into()),
            presence_penalty: Some(1.into()),
            frequency_penalty: Some(2.into()),
        },
        stop: vec!["x".into()],
        format: OutputFormat::Schema {
            name: "n".into(),
            description: None,
            schema: raw(r#"{"b":1,"a":2}"#),
            strict: Some(true),
        },
        reasoning: Some(Reasoning::Effort(Effort::Low)),
        user: None,
        unread: vec![],
    };
    let (json, dropped) = written(&prompt);
    assert!(dropped.is_empty(), "{dropped:?}");
    assert_eq!(
        json,
        json!({
            "systemInstruction": {"parts": [{"text": "be"}, {"text": "kind"}]},
            "contents": [{"role": "user", "parts": [{"text": "hi"}, {"text": "there"}]}],
            "tools": [{"functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object", "$schema": "x", "z": 1.0}},
                {"name": "g"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
            "generationConfig": {"maxOutputTokens": 7, "candidateCount": 2, "temperature": 1.5, "topP": 0.5, "topK": 40,
                "seed": 7, "presencePenalty": 1, "frequencyPenalty": 2, "stopSequences": ["x"],
                "responseMimeType": "application/json", "responseJsonSchema": {"b": 1, "a": 2},
                "thinkingConfig": {"thinkingBudget": 2048, "includeThoughts": true}},
        })
    );
    let body = write(&prompt, &target("gemini-2.5-flash")).unwrap().body;
    assert!(std::str::from_utf8(&body).unwrap().contains(r#"{"type":"object","$schema":"x","z":1.0}"#));
}

#[test]
fn the_default_cap_stands_where_the_caller_set_none() {
    assert_eq!(written(&hello()).0["generationConfig"], json!({"maxOutputTokens": 99}));
}

#[test]
fn results_are_objects_in_the_order_of_their_calls() {
    let failed = Part::Result {
        id: "c".into(),
        name: "h".into(),
        content: vec![Part::text("broke"), Part::text("twice")],
        is_error: true,
        cache: None,
    };
    let prompt = says(vec![
        user(vec![Part::text("go")]),
        model(vec![
            call("a", "f", r#"{"x":1.0}"#),
            call("b", "g", "{}"),
            call("c", "h", "{}"),
            call("d", "f", "{}"),
        ]),
        user(vec![failed, result("b", "", r#"{"ok":true}"#)]),
        user(vec![Part::text("well?"), result("d", "f", r#"{"result":1}"#), result("a", "f", "plain")]),
    ]);
    assert_eq!(
        written(&prompt).0["contents"].as_array().unwrap()[1..],
        [
            json!({"role": "model", "parts": [
                {"functionCall": {"id": "a", "name": "f", "args": {"x": 1.0}}},
                {"functionCall": {"id": "b", "name": "g", "args": {}}},
                {"functionCall": {"id": "c", "name": "h", "args": {}}},
                {"functionCall": {"id": "d", "name": "f", "args": {}}}]}),
            json!({"role": "user", "parts": [
                {"functionResponse": {"id": "a", "name": "f", "response": {"result": "plain"}}},
                {"functionResponse": {"id": "b", "name": "g", "response": {"ok": true}}},
                {"functionResponse": {"id": "c", "name": "h", "response": {"error": "broke\ntwice"}}},
                {"functionResponse": {"id": "d", "name": "f", "response": {"result": "{\"result\":1}"}}},
                {"text": "well?"}]}),
        ]
    );
}

fn picture() -> Part {
    let source = Source::Inline {
        media_type: "image/png".into(),
        data: "iVBO".into(),
        filename: Some("a.png".into()),
    };
    Part::Media { medium: Medium::Image, source, detail: Some("high".into()), cache: Some(raw("{}")) }
}

#[test]
fn pictures_in_results_stand_beside_them_or_within_as_the_model_takes_them() {
    let seen = Part::Result {
        id: "a".into(),
        name: "f".into(),
        content: vec![Part::text("see"), picture()],
        is_error: false,
        cache: None,
    };
    let prompt = says(vec![
        user(vec![Part::text("go")]),
        model(vec![call("a", "f", "{}"), call("b", "f", "{}")]),
        user(vec![seen, result("b", "f", "x")]),
    ]);
    let parts = |model: &str| written_for(&prompt, model).0["contents"][2]["parts"].clone();
    let inline = json!({"inlineData": {"mimeType": "image/png", "data": "iVBO"}});
    let older = parts("gemini-2.5-flash");
    assert_eq!((older.as_array().unwrap().len(), &older[2]), (3, &inline));
    let newer = parts("gemini-3-flash");
    assert_eq!((newer.as_array().unwrap().len(), &newer[0]["functionResponse"]["parts"][0]), (2, &inline));
    let (_, dropped) = written(&prompt);
    assert_eq!(dropped, ["image_url.detail", "cache_control", "filename"]);
}

#[test]
fn proofs_of_thoughts_go_back_and_a_newer_model_gets_a_stand_in_where_one_is_missing() {
    let proven =
        Part::Call { id: "b".into(), name: "f".into(), arguments: raw("{}"), signature: Some("AA==".into()) };
    let prompt = says(vec![
        user(vec![Part::text("go")]),
        model(vec![
            Part::Thinking { text: "hm".into(), signature: Some("BB==".into()) },
            Part::Thinking { text: String::new(), signature: Some("CC==".into()) },
            call("a", "f", "{}"),
            proven,
            call("c", "f", "{}"),
        ]),
    ]);
    let proofs = |model: &str| -> Vec<Value> {
        let (json, _) = written_for(&prompt, model);
        let parts = json["contents"][1]["parts"].as_array().unwrap().clone();
        parts.into_iter().map(|part| part["thoughtSignature"].clone()).collect()
    };
    let missing = Value::Null;
    assert_eq!(
        proofs("gemini-2.5-pro"),
        [json!("BB=="), json!("CC=="), missing.clone(), json!("AA=="), missing.clone()]
    );
    assert_eq!(
        proofs("gemini-3-pro")[2..],
        [json!("skip_thought_signature_validator"), json!("AA=="), missing]
    );
    let (json, _) = written(&prompt);
    assert_eq!(json["contents"][1]["parts"][0]["thought"], true);
    assert_eq!(json["contents"][1]["parts"][1]["thought"], Value::Null);
}

#[test]
fn how_tools_must_be_used_is_written() {
    let mode = |tool_use: ToolUse| {
        let prompt = Prompt { tool_use: Some(tool_use), ..hello() };
        written(&prompt).0["toolConfig"]["functionCallingConfig"].clone()
    };
    let names = || vec!["f".to_owned(), "g".to_owned()];
    assert_eq!(mode(ToolUse::Auto), json!({"mode": "AUTO"}));
    assert_eq!(mode(ToolUse::Never), json!({"mode": "NONE"}));
    assert_eq!(mode(ToolUse::Some), json!({"mode": "ANY"}));
    assert_eq!(
        mode(ToolUse::Among { names: names(), must: true }),
        json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]})
    );
    assert_eq!(
        mode(ToolUse::Among { names: names(), must: false }),
        json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]})
    );
}

#[test]
fn addresses_are_handed_on_with_a_type_or_refused() {
    let written = |source: Source| {
        let part = Part::Media { medium: Medium::Image, source, detail: None, cache: None };
        write(&says(vec![user(vec![part])]), &target("gemini-2.5-flash")).map(|written| {
            let json: Value = serde_json::from_slice(&written.body).unwrap();
            json["contents"][0]["parts"][0]["fileData"].clone()
        })
    };
    let url = |url: &str, media_type: Option<&str>| Source::Url {
        url: url.into(),
        media_type: media_type.map(Into::into),
    };
    assert_eq!(
        written(url("https://x.example/a.JPG?x=1", None)).unwrap(),
        json!({"mimeType": "image/jpeg", "fileUri": "https://x.example/a.JPG?x=1"})
    );
    assert_eq!(
        written(url("https://x.example/a", Some("image/png"))).unwrap(),
        json!({"mimeType": "image/png", "fileUri": "https://x.example/a"})
    );
    assert_eq!(written(url("https://youtu.be/x", None)).unwrap(), json!({"fileUri": "https://youtu.be/x"}));
    assert_eq!(written(Source::File { id: "gs://a/b".into() }).unwrap(), json!({"fileUri": "gs://a/b"}));
    for (source, expected) in [
        (url("https://x.example/a", None), "an image's address must end like one"),
        (url("https://x.example", None), "an image's address must end like one"),
        (url("ftp://x.example/a.png", None), "must be given inline or at an https address"),
        (Source::File { id: "file-123".into() }, "a file that another provider keeps"),
    ] {
        let error = written(source).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(error, CallError::BadRequest { code: "unsupported_parameter", .. }));
    }
}

#[test]
fn what_has_no_counterpart_is_named() {
    let prompt = Prompt {
        system: vec![Part::Text { text: "s".into(), cache: Some(raw("{}")) }],
        turns: vec![
            user(vec![Part::text("go")]),
            model(vec![
                Part::HiddenThinking { data: "x".into() },
                Part::Refusal { text: "no".into() },
                Part::text(""),
            ]),
            user(vec![Part::text("why")]),
        ],
        tools: vec![Tool {
            name: "f".into(),
            description: None,
            schema: None,
            strict: Some(true),
            cache: Some(raw("{}")),
        }],
        parallel_tools: Some(false),
        format: OutputFormat::Schema {
            name: "n".into(),
            description: Some("d".into()),
            schema: raw("{}"),
            strict: None,
        },
        user: Some("u".into()),
        unread: vec!["logit_bias".into()],
        ..says(vec![])
    };
    let (json, dropped) = written(&prompt);
    assert_eq!(
        dropped,
        [
            "logit_bias",
            "cache_control",
            "redacted_thinking",
            "user",
            "parallel_tool_calls",
            "response_format.json_schema.description",
            "tools[].strict"
        ]
    );
    assert_eq!(json["contents"][1]["parts"], json!([{"text": "no"}]));
}

#[test]
fn what_would_mean_something_else_is_refused() {
    let refused = |prompt: Prompt, expected: &str| {
        let error = write(&prompt, &target("gemini-2.5-flash")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(Prompt { stop: vec!["x".into(); 6], ..hello() }, "at most 5 texts");
    refused(says(vec![]), "a message with something in it");
    refused(says(vec![user(vec![Part::text("")])]), "a message with something in it");
    refused(says(vec![user(vec![result("x", "", "y")])]), "`x` has no call before it");
    refused(says(vec![user(vec![call("x", "f", "{}")])]), "must not call tools");
    refused(says(vec![model(vec![result("x", "f", "y")])]), "must not hold results");
    refused(Prompt { system: vec![picture()], ..hello() }, "must be text");
}

// Both ways.

fn any_text() -> impl Strategy<Value = String> {
    "[a-z\u{e9}\u{4e2d}\"\\\\{}\r\n ]{1,12}"
}

fn any_media() -> impl Strategy<Value = Part> {
    let source = prop_oneof![
        "[A-Za-z0-9+/]{4}".prop_map(|data| Source::Inline {
            media_type: "image/png".into(),
            data,
            filename: None
        }),
        "[a-z]{1,8}".prop_map(|name| Source::Url {
            url: format!("https://x.example/{name}"),
            media_type: Some("image/webp".into()),
        }),
    ];
    source.prop_map(|source| Part::Media { medium: Medium::Image, source, detail: None, cache: None })
}

fn any_result_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any_text(),
        Just(String::new()),
        Just(r#"{"a": 1.0, "b":[]}"#.into()),
        Just(r#"{"result":"x"}"#.into()),
        Just(r#"{"error":null}"#.into()),
        Just(r#" {"a":1}"#.into()),
        Just(r#"{"a":1} "#.into()),
        Just("{}".into()),
    ]
}

/// A conversation as a reader gives it: turns of both sides in turn, results first and in the order of their calls.
fn any_turns() -> impl Strategy<Value = Vec<Turn>> {
    let user_part = prop_oneof![any_text().prop_map(Part::text), any_media()];
    let signature = proptest::option::of("[A-Za-z0-9+/]{4}");
    let round = (
        proptest::collection::vec(user_part, 1..3),
        proptest::option::of((any_text(), "[A-Za-z0-9+/]{4}")),
        any_text(),
        proptest::collection::vec(
            (any_result_text(), signature, any::<bool>(), proptest::option::of(any_media())),
            0..3,
        ),
    );
    proptest::collection::vec(round, 1..4).prop_map(|rounds| {
        let mut turns = Vec::new();
        let mut results = Vec::new();
        for (at, (said, thought, answer, calls)) in rounds.into_iter().enumerate() {
            let mut parts: Vec<Part> = std::mem::take(&mut results);
            parts.extend(said);
            turns.push(user(parts));
            let mut parts = Vec::new();
            if let Some((text, signature)) = thought {
                parts.push(Part::Thinking { text, signature: Some(signature) });
            }
            parts.push(Part::text(answer));
            for (number, (text, signature, is_error, media)) in calls.into_iter().enumerate() {
                let id = format!("id{at}_{number}");
                let name = format!("f{number}");
                parts.push(Part::Call {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: raw(r#"{"z":1.0,"a":[{}]}"#),
                    // The first has one, or would get the stand-in.
                    signature: if number == 0 { Some("AAAA".into()) } else { signature },
                });
                let mut content = vec![Part::text(text)];
                content.extend(media);
                results.push(Part::Result { id, name, content, is_error, cache: None });
            }
            turns.push(model(parts));
        }
        turns
    })
}

fn any_prompt() -> impl Strategy<Value = Prompt> {
    let tools =
        proptest::collection::vec((any_text(), proptest::option::of(any_text()), any::<bool>()), 0..3);
    let tool_use = prop_oneof![
        Just(None),
        Just(Some(ToolUse::Auto)),
        Just(Some(ToolUse::Never)),
        Just(Some(ToolUse::Some)),
        Just(Some(ToolUse::Only("f".into()))),
        Just(Some(ToolUse::Among { names: vec!["f".into(), "g".into()], must: true })),
        Just(Some(ToolUse::Among { names: vec!["f".into()], must: false })),
    ];
    let format = prop_oneof![
        Just(OutputFormat::Text),
        Just(OutputFormat::Json),
        Just(OutputFormat::Schema {
            name: "answer".into(),
            description: None,
            schema: raw(r#"{"type":"object","b":1.0,"a":{}}"#),
            strict: None,
        }),
    ];
    let reasoning = prop_oneof![
        Just(None),
        Just(Some(Reasoning::Effort(Effort::Minimal))),
        Just(Some(Reasoning::Effort(Effort::Low))),
        Just(Some(Reasoning::Effort(Effort::Medium))),
        Just(Some(Reasoning::Effort(Effort::High))),
    ];
    let number = || proptest::option::of((0..200_u32).prop_map(Number::from));
    let sampling = (number(), number(), number(), number(), number(), number()).prop_map(
        |(temperature, top_p, top_k, seed, presence_penalty, frequency_penalty)| Sampling {
            temperature,
            top_p,
            top_k,
            seed,
            presence_penalty,
            frequency_penalty,
        },
    );
    (
        (proptest::collection::vec(any_text(), 0..3), any_turns(), tools, tool_use, format),
        (reasoning, sampling, proptest::collection::vec(any_text(), 0..5), 1..5_u64, 1..1000_u64),
    )
        .prop_map(
            |((system, turns, tools, tool_use, format), (reasoning, sampling, stop, choices, cap))| Prompt {
                stream: true,
                system: system.into_iter().map(Part::text).collect(),
                turns,
                tools: tools
                    .into_iter()
                    .map(|(name, description, has_schema)| Tool {
                        name,
                        description,
                        schema: has_schema.then(|| raw(r#"{"type":"object","$defs":{"x":true},"a":1.0}"#)),
                        strict: None,
                        cache: None,
                    })
                    .collect(),
                tool_use,
                parallel_tools: None,
                max_output: Some(cap),
                choices,
                sampling,
                stop,
                format,
                reasoning,
                user: None,
                unread: vec![],
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(prompt in any_prompt()) {
        let written = write(&prompt, &target("gemini-3-flash-preview")).unwrap();
        prop_assert!(written.dropped.is_empty(), "{:?}", written.dropped);
        let again = read(&written.body, true).unwrap();
        prop_assert_eq!(format!("{again:#?}"), format!("{prompt:#?}"));
    }

    #[test]
    fn no_bytes_make_a_reader_fall_over(body in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = read(&body, false);
    }
}
