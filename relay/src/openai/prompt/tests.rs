use super::{read, write};
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Sampling, Source, Target, Tool, ToolUse,
    Turn,
};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const OTHERS: Target<'static> = Target { upstream_model: "up", default_cap: 99, newer_cap: false };
const OPENAI: Target<'static> = Target { upstream_model: "up", default_cap: 99, newer_cap: true };

/// Reads a request with these messages and fields.
fn chat(messages: &str, fields: &str) -> Result<Prompt, String> {
    read(format!(r#"{{"model":"m","messages":[{messages}]{fields}}}"#).as_bytes())
        .map_err(|it| it.to_string())
}

fn with(fields: &str) -> Prompt {
    chat(r#"{"role":"user","content":"hi"}"#, fields).unwrap()
}

fn said(messages: &str) -> Prompt {
    chat(messages, "").unwrap()
}

fn show<T: std::fmt::Debug>(value: &T) -> String {
    format!("{value:?}")
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

fn body(prompt: &Prompt, target: &Target<'_>) -> Value {
    serde_json::from_slice(&write(prompt, target).unwrap().body).unwrap()
}

fn prompt(turns: Vec<Turn>) -> Prompt {
    Prompt { turns, choices: 1, ..Prompt::default() }
}

fn user(parts: Vec<Part>) -> Turn {
    Turn { role: Role::User, parts }
}

fn assistant(parts: Vec<Part>) -> Turn {
    Turn { role: Role::Assistant, parts }
}

fn call(id: &str, arguments: &str) -> Part {
    Part::Call { id: id.into(), name: "f".into(), arguments: raw(arguments), signature: None }
}

fn result(id: &str, content: Vec<Part>) -> Part {
    Part::Result { id: id.into(), name: "f".into(), content, is_error: false, cache: None }
}

const CALLED: &str = r#"{"role":"assistant","content":null,"tool_calls":[
    {"id":"a","type":"function","function":{"name":"f","arguments":"{\"z\":1.0, \"a\":2}"}},
    {"id":"b","type":"function","function":{"name":"f","arguments":""}}]}"#;

#[test]
fn system_and_developer_messages_stand_above_the_conversation() {
    let read = said(
        r#"{"role":"system","content":"a"},{"role":"developer","content":[{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}]},
           {"role":"user","content":"hi"}"#,
    );
    let cache = Some(raw(r#"{"type":"ephemeral"}"#));
    assert_eq!(show(&read.system), show(&[Part::text("a"), Part::Text { text: "b".into(), cache }]));
    assert!(read.unread.is_empty());
    let late = said(r#"{"role":"user","content":"hi"},{"role":"system","content":"late"}"#);
    assert_eq!((late.system.len(), late.unread.len()), (1, 1));
}

#[test]
fn calls_and_results_find_each_other_and_results_lead_the_next_turn() {
    let read = said(&format!(
        r#"{{"role":"user","content":"q"}},{CALLED},{{"role":"tool","tool_call_id":"b","content":"rb"}},
        {{"role":"tool","tool_call_id":"a","content":[{{"type":"text","text":"ra"}},
            {{"type":"image_url","image_url":{{"url":"data:image/png;base64,AAAA"}}}}]}},
        {{"role":"user","content":"go on"}}"#
    ));
    let image = Part::Media {
        medium: Medium::Image,
        source: Source::Inline { media_type: "image/png".into(), data: "AAAA".into(), filename: None },
        detail: None,
        cache: None,
    };
    let expected = [
        user(vec![Part::text("q")]),
        assistant(vec![call("a", r#"{"z":1.0, "a":2}"#), call("b", "{}")]),
        user(vec![
            result("b", vec![Part::text("rb")]),
            result("a", vec![Part::text("ra"), image]),
            Part::text("go on"),
        ]),
    ];
    assert_eq!(show(&read.turns), show(&expected));
    let unknown = chat(&format!(r#"{CALLED},{{"role":"tool","tool_call_id":"x","content":""}}"#), "");
    assert!(unknown.unwrap_err().contains("`messages[1].tool_call_id` names no call"));
}

#[test]
fn the_functions_of_old_are_tools() {
    let read = chat(
        r#"{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
           {"role":"function","name":"f","content":"r"}"#,
        r#","functions":[{"name":"f","description":"d","parameters":{"type":"object"}}],"function_call":{"name":"f"}"#,
    )
    .unwrap();
    let Part::Call { id, .. } = &read.turns[0].parts[0] else { panic!() };
    assert!(!id.is_empty());
    assert_eq!(show(&read.turns[1].parts[0]), show(&result(id, vec![Part::text("r")])));
    assert_eq!(read.tool_use, Some(ToolUse::Only("f".into())));
    assert_eq!(read.tools[0].schema.as_ref().unwrap().get(), r#"{"type":"object"}"#);
    assert_eq!(with(r#","function_call":"none""#).tool_use, Some(ToolUse::Never));
}

#[test]
fn calls_without_ids_get_some_that_their_results_share() {
    let read = said(
        r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}},{"id":"","function":{"name":"f","arguments":"{}"}}]},
           {"role":"tool","content":"1"},{"role":"tool","tool_call_id":"","content":"2"}"#,
    );
    let ids = |turn: &Turn| -> Vec<String> {
        turn.parts
            .iter()
            .map(|part| match part {
                Part::Call { id, .. } | Part::Result { id, .. } => id.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(ids(&read.turns[0]), ids(&read.turns[1]));
    assert_ne!(ids(&read.turns[0])[0], ids(&read.turns[0])[1]);
}

#[test]
fn media_of_every_kind_are_read() {
    let part = |json: &str| {
        let read = chat(&format!(r#"{{"role":"user","content":[{json}]}}"#), "");
        read.map(|mut read| read.turns.remove(0).parts.remove(0))
    };
    let media = |medium, source, detail: Option<&str>| {
        show(&Part::Media { medium, source, detail: detail.map(Into::into), cache: None })
    };
    let inline = |media_type: &str, filename: Option<&str>| Source::Inline {
        media_type: media_type.into(),
        data: "QQ==".into(),
        filename: filename.map(Into::into),
    };
    let cases = [
        (
            r#"{"type":"image_url","image_url":{"url":"data:image/png;charset=x;base64,QQ==","detail":"low"}}"#,
            media(Medium::Image, inline("image/png", None), Some("low")),
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"https://x/y.png"}}"#,
            media(Medium::Image, Source::Url { url: "https://x/y.png".into(), media_type: None }, None),
        ),
        (
            r#"{"type":"input_audio","input_audio":{"data":"QQ==","format":"mp3"}}"#,
            media(Medium::Audio, inline("audio/mpeg", None), None),
        ),
        (
            r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,QQ=="}}"#,
            media(Medium::Document, inline("application/pdf", Some("a.pdf")), None),
        ),
        (
            r#"{"type":"file","file":{"file_id":"file-1"}}"#,
            media(Medium::Document, Source::File { id: "file-1".into() }, None),
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(show(&part(json).unwrap()), expected, "{json}");
    }
    for (json, fault) in [
        (
            r#"{"type":"image_url","image_url":{"url":"data:image/png,raw"}}"#,
            "`messages[0].content[0].image_url.url` must be",
        ),
        (r#"{"type":"novel"}"#, r#"`messages[0].content[0].type` is unknown here: "novel""#),
        (r#"{"type":"text"}"#, "`messages[0].content[0].text` is missing"),
        (r#"{"type":"refusal","refusal":"no"}"#, "is unknown here"),
    ] {
        let error = part(json).unwrap_err();
        assert!(error.contains(fault), "{json}: {error}");
    }
}

#[test]
fn thoughts_and_their_proofs_are_read_from_wherever_they_are() {
    let parts = |fields: &str| {
        let mut read = said(&format!(r#"{{"role":"assistant","content":"t",{fields}}}"#));
        let mut parts = read.turns.remove(0).parts;
        parts.pop();
        show(&parts)
    };
    let thought =
        |signature: Option<&str>| Part::Thinking { text: "hm".into(), signature: signature.map(Into::into) };
    assert_eq!(parts(r#""reasoning_content":"hm""#), show(&[thought(None)]));
    assert_eq!(parts(r#""reasoning":"hm""#), show(&[thought(None)]));
    assert_eq!(
        parts(
            r#""reasoning_content":"hm","thinking_blocks":[{"type":"thinking","index":0,"thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"}]"#
        ),
        show(&[thought(Some("s")), Part::HiddenThinking { data: "d".into() }])
    );
    assert_eq!(
        parts(
            r#""reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"s"}]"#
        ),
        show(&[thought(Some("s"))])
    );
    let gemini = said(
        r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"g"}}}]}"#,
    );
    assert!(matches!(&gemini.turns[0].parts[0], Part::Call { signature: Some(it), .. } if it == "g"));
}

#[test]
fn the_other_fields_are_read() {
    let read = with(
        r#","stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"max_completion_tokens":7,"n":2,
        "temperature":0.50,"top_p":1,"top_k":4,"seed":-3,"presence_penalty":1e0,"frequency_penalty":0,"stop":["a","b"],
        "user":"u","parallel_tool_calls":false"#,
    );
    assert!(read.stream && read.unread.is_empty());
    assert_eq!((read.max_output, read.choices, read.parallel_tools), (Some(7), 2, Some(false)));
    assert_eq!(show(&read.sampling.temperature), show(&Some(serde_json::Number::from_f64(0.5).unwrap())));
    assert_eq!(read.sampling.top_k.unwrap().as_u64(), Some(4));
    assert_eq!((read.stop.len(), read.user.as_deref()), (2, Some("u")));
    assert_eq!(with(r#","stop":"x","safety_identifier":"s""#).stop, ["x"]);
    let cases = [
        (r#","reasoning_effort":"xhigh""#, Some(Reasoning::Effort(Effort::Higher))),
        (r#","reasoning_effort":"none""#, Some(Reasoning::Off)),
        (r#","thinking":{"type":"enabled","budget_tokens":2000}"#, Some(Reasoning::Budget(2000))),
        (r#","thinking":{"type":"adaptive"}"#, Some(Reasoning::Adaptive)),
        (r#","reasoning":{"max_tokens":9}"#, Some(Reasoning::Budget(9))),
        (r#","reasoning":{"effort":"low"}"#, Some(Reasoning::Effort(Effort::Low))),
        (r#","reasoning":{"enabled":false}"#, Some(Reasoning::Off)),
        ("", None),
    ];
    for (fields, expected) in cases {
        assert_eq!(with(fields).reasoning, expected, "{fields}");
    }
    let choices = [
        (r#""auto""#, ToolUse::Auto),
        (r#""none""#, ToolUse::Never),
        (r#""required""#, ToolUse::Some),
        (r#"{"type":"function","function":{"name":"f"}}"#, ToolUse::Only("f".into())),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}}"#,
            ToolUse::Among { names: vec!["f".into()], must: true },
        ),
    ];
    for (choice, expected) in choices {
        assert_eq!(with(&format!(r#","tool_choice":{choice}"#)).tool_use, Some(expected));
    }
    assert!(matches!(with(r#","response_format":{"type":"json_object"}"#).format, OutputFormat::Json));
    let schema = with(
        r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1.0,"a":2},"strict":true}}"#,
    );
    let OutputFormat::Schema { schema, strict: Some(true), .. } = schema.format else { panic!() };
    assert_eq!(schema.get(), r#"{"b":1.0,"a":2}"#);
}

#[test]
fn what_is_not_read_is_named_once_and_what_says_nothing_is_not() {
    let read = chat(
        r#"{"role":"user","content":"a","name":"x"},{"role":"user","content":"b","name":"y"}"#,
        r#","logit_bias":{"1":2},"store":true,"metadata":{"a":"b"},"logprobs":true,"service_tier":"flex","prediction":{},
        "verbosity":"low","prompt_cache_key":"k","novel":1"#,
    )
    .unwrap();
    assert_eq!(
        read.unread,
        [
            "messages[].name",
            "logit_bias",
            "store",
            "metadata",
            "logprobs",
            "service_tier",
            "prediction",
            "verbosity",
            "prompt_cache_key",
            "novel"
        ]
    );
    let silent = with(
        r#","logit_bias":{},"store":false,"metadata":null,"logprobs":false,"service_tier":"auto","modalities":["text"],"audio":null"#,
    );
    assert!(silent.unread.is_empty(), "{:?}", silent.unread);
    let echoed = said(
        r#"{"role":"assistant","content":"a","refusal":null,"annotations":[],"audio":null,"function_call":null}"#,
    );
    assert!(echoed.unread.is_empty(), "{:?}", echoed.unread);
}

#[test]
fn faults_and_what_nobody_else_can_answer_are_refused_by_name() {
    let cases = [
        (r#","modalities":["text","audio"]"#, "`modalities` asks for something"),
        (r#","audio":{"voice":"x"}"#, "`audio` asks for something"),
        (r#","web_search_options":{}"#, "`web_search_options` asks for something"),
        (r#","tools":[{"type":"custom","custom":{"name":"x"}}]"#, "`tools[0].type` must be"),
        (r#","tools":[{"type":"function","function":{}}]"#, "`tools[0].function.name` is missing"),
        (
            r#","tools":[{"type":"function","function":{"name":"f","parameters":[]}}]"#,
            "`tools[0].function.parameters` must be a JSON object",
        ),
        (r#","tool_choice":{"type":"custom"}"#, "`tool_choice.type` must be"),
        (r#","tool_choice":"maybe""#, "`tool_choice` must be"),
        (r#","reasoning_effort":"vast""#, "`reasoning_effort` must be"),
        (r#","temperature":"hot""#, "`temperature` must be a number"),
        (r#","stop":7"#, "`stop` must be"),
        (r#","n":0"#, "`n` must be"),
        (r#","response_format":{"type":"xml"}"#, "`response_format.type` must be"),
        (
            r#","response_format":{"type":"json_schema","json_schema":{"name":"n"}}"#,
            "`response_format.json_schema.schema` is missing",
        ),
    ];
    for (fields, fault) in cases {
        let error = chat(r#"{"role":"user","content":"hi"}"#, fields).unwrap_err();
        assert!(error.contains(fault), "{fields}: {error}");
    }
    let cases = [
        ("", "`messages` must be"),
        ("7", "`messages[0]` must be a JSON object"),
        (r#"{"content":"x"}"#, "`messages[0].role` is missing"),
        (r#"{"role":"king","content":"x"}"#, "`messages[0].role` must be"),
        (r#"{"role":"user"}"#, "`messages[0].content` is missing"),
        (r#"{"role":"user","content":7}"#, "`messages[0].content` must be an array"),
        (r#"{"role":"user","content":"x","content":"y"}"#, "each of its fields once"),
        (
            r#"{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"[1]"}}]}"#,
            "`messages[0].tool_calls[0].function.arguments` must be the text of a JSON object",
        ),
        (r#"{"role":"assistant","audio":{"id":"x"}}"#, "`messages[0].audio` names an answer"),
    ];
    for (messages, fault) in cases {
        let error = chat(messages, "").unwrap_err();
        assert!(error.contains(fault), "{messages}: {error}");
    }
}

#[test]
fn a_request_is_written_as_the_provider_takes_it() {
    let mut asked = prompt(vec![user(vec![Part::text("hi")])]);
    assert_eq!(
        body(&asked, &OTHERS),
        json!({"model":"up","messages":[{"role":"user","content":"hi"}],"max_tokens":99})
    );
    asked.stream = true;
    asked.max_output = Some(5);
    asked.unread = vec!["x".into()];
    asked.sampling = Sampling { top_k: Some(3.into()), seed: Some(4.into()), ..Sampling::default() };
    let written = write(&asked, &OPENAI).unwrap();
    assert_eq!(written.dropped, ["x", "top_k"]);
    assert_eq!(
        serde_json::from_slice::<Value>(&written.body).unwrap(),
        json!({"model":"up","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":5,"stream":true,
            "stream_options":{"include_usage":true},"seed":4})
    );
}

#[test]
fn tool_choices_say_nothing_without_tools() {
    let mut asked = prompt(vec![user(vec![Part::text("hi")])]);
    asked.tool_use = Some(ToolUse::Auto);
    asked.parallel_tools = Some(false);
    let written = body(&asked, &OTHERS);
    assert!(written.get("tool_choice").is_none() && written.get("parallel_tool_calls").is_none());
}

#[test]
fn efforts_are_written_as_words() {
    for (reasoning, word) in [
        (Reasoning::Off, json!("none")),
        (Reasoning::Budget(8192), json!("medium")),
        (Reasoning::Effort(Effort::Max), json!("xhigh")),
        (Reasoning::Adaptive, Value::Null),
    ] {
        let mut asked = prompt(vec![user(vec![Part::text("hi")])]);
        asked.reasoning = Some(reasoning);
        assert_eq!(body(&asked, &OTHERS)["reasoning_effort"], word);
    }
}

#[test]
fn images_of_results_follow_in_the_users_words_and_failures_say_so() {
    let image = Part::Media {
        medium: Medium::Image,
        source: Source::Inline { media_type: "image/png".into(), data: "QQ==".into(), filename: None },
        detail: None,
        cache: None,
    };
    let failed = Part::Result {
        id: "b".into(),
        name: "f".into(),
        content: vec![Part::text("no such city")],
        is_error: true,
        cache: Some(raw("{}")),
    };
    let asked = prompt(vec![
        assistant(vec![call("a", "{}"), call("b", "{}")]),
        user(vec![result("a", vec![image]), failed, Part::text("well?")]),
    ]);
    let written = write(&asked, &OTHERS).unwrap();
    assert_eq!(written.dropped, ["cache_control"]);
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    let messages = body["messages"].as_array().unwrap();
    let roles: Vec<_> = messages.iter().map(|it| it["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["assistant", "tool", "tool", "user"]);
    assert_eq!(messages[2]["content"], "Error: no such city");
    let said = messages[3]["content"].as_array().unwrap();
    assert_eq!(said[1]["image_url"]["url"], "data:image/png;base64,QQ==");
    assert_eq!((said[0]["type"].as_str(), &said[2]["text"]), (Some("text"), &json!("well?")));
}

#[test]
fn thoughts_go_back_to_those_who_know_them_and_never_to_openai() {
    let turn = assistant(vec![
        Part::Thinking { text: "hm".into(), signature: Some("s".into()) },
        Part::HiddenThinking { data: "d".into() },
        Part::Call { id: "a".into(), name: "f".into(), arguments: raw("{}"), signature: Some("g".into()) },
    ]);
    let others = body(&prompt(vec![turn.clone()]), &OTHERS);
    let message = &others["messages"][0];
    assert_eq!(message["reasoning_content"], "hm");
    assert_eq!(
        message["thinking_blocks"],
        json!([{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"}])
    );
    assert_eq!(message["tool_calls"][0]["extra_content"]["google"]["thought_signature"], "g");
    let written = write(&prompt(vec![turn]), &OPENAI).unwrap();
    let openai: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(
        openai["messages"][0],
        json!({"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]})
    );
    assert_eq!(written.dropped.len(), 2);
}

#[test]
fn what_chat_cannot_say_is_refused_by_name() {
    let media = |medium, source| Part::Media { medium, source, detail: None, cache: None };
    let url = || Source::Url { url: "https://x".into(), media_type: None };
    for (part, fault) in [
        (media(Medium::Video, url()), "a video"),
        (media(Medium::Audio, url()), "a sound at an address"),
        (media(Medium::Document, url()), "a document at an address"),
        (media(Medium::Document, Source::File { id: "file_claude".into() }), "a file that is kept"),
    ] {
        let error = write(&prompt(vec![user(vec![part])]), &OTHERS).unwrap_err();
        assert_eq!(error.status(), 400);
        assert!(error.to_string().contains(fault), "{error}");
    }
}

#[test]
fn a_body_of_many_messages_is_read_in_linear_time() {
    let messages = vec![r#"{"role":"user","content":"x"}"#; 100_000].join(",");
    assert_eq!(said(&messages).turns.len(), 100_000);
}

fn word() -> impl Strategy<Value = String> {
    "[a-zé密\"\\\\\n {}]{1,12}"
}

fn object() -> impl Strategy<Value = Box<RawValue>> {
    proptest::sample::select(vec!["{}", r#"{"z":1.0,"a":[1e3,null]}"#, r#"{ "k" : "\u00e9\"" }"#])
        .prop_map(raw)
}

fn media() -> impl Strategy<Value = Part> {
    let inline = |media_type: &str, filename: Option<&str>| Source::Inline {
        media_type: media_type.into(),
        data: "QUJD".into(),
        filename: filename.map(Into::into),
    };
    let url = Source::Url { url: "https://x/y".into(), media_type: None };
    proptest::sample::select(vec![
        (Medium::Image, inline("image/png", None), Some("high".to_owned())),
        (Medium::Image, url, None),
        (Medium::Audio, inline("audio/wav", None), None),
        (Medium::Audio, inline("audio/mpeg", None), None),
        (Medium::Document, inline("application/pdf", Some("a.pdf")), None),
        (Medium::Document, Source::File { id: "file-7".into() }, None),
    ])
    .prop_map(|(medium, source, detail)| Part::Media { medium, source, detail, cache: None })
}

prop_compose! {
    /// A question, and perhaps thoughts, words, calls and their results.
    fn exchange()(
        asked in proptest::collection::vec(prop_oneof![word().prop_map(Part::text), media()], 1..4),
        thoughts in proptest::collection::vec((word(), proptest::option::of("[a-z]{1,6}")), 0..3),
        hidden in proptest::option::of("[a-z]{1,6}"),
        words in proptest::collection::vec(word(), 0..3),
        refusal in proptest::option::of(word()),
        calls in proptest::collection::vec((object(), proptest::option::of("[a-z]{1,6}"), proptest::collection::vec(word(), 1..3)), 0..3),
        number in any::<u32>(),
    ) -> [Turn; 3] {
        let mut parts = Vec::new();
        // Without a proof the parts of a thought are one text.
        let has_proof = hidden.is_some() || thoughts.iter().any(|(_, proof)| proof.is_some());
        let kept = if has_proof { thoughts.len() } else { thoughts.len().min(1) };
        parts.extend(thoughts.into_iter().take(kept).map(|(text, signature)| Part::Thinking { text, signature }));
        parts.extend(hidden.map(|data| Part::HiddenThinking { data }));
        parts.extend(words.into_iter().map(Part::text));
        parts.extend(refusal.map(|text| Part::Refusal { text }));
        let mut results = Vec::new();
        for (index, (arguments, signature, content)) in calls.into_iter().enumerate() {
            let id = format!("call{number}x{index}");
            parts.push(Part::Call { id: id.clone(), name: "f".into(), arguments, signature });
            results.push(result(&id, content.into_iter().map(Part::text).collect()));
        }
        [user(asked), assistant(parts), user(results)]
    }
}

prop_compose! {
    fn prompts()(
        system in proptest::collection::vec(word(), 0..3),
        exchanges in proptest::collection::vec(exchange(), 1..4),
        tools in proptest::collection::vec((word(), proptest::option::of(word()), proptest::option::of(object()), any::<Option<bool>>()), 0..3),
        tool_use in proptest::sample::select(vec![
            None, Some(ToolUse::Some), Some(ToolUse::Only("f".into())), Some(ToolUse::Among { names: vec!["f".into()], must: false }),
        ]),
        (stream, max_output, choices, temperature) in (any::<bool>(), 1..9000_u64, 1..4_u64, proptest::sample::select(vec![None, Some("0.5"), Some("1"), Some("1.0"), Some("1e0")])),
        stop in proptest::collection::vec(word(), 0..3),
        format in 0..3_u8,
        schema in object(),
        reasoning in proptest::sample::select(vec![None, Some(Reasoning::Off), Some(Reasoning::Effort(Effort::Higher))]),
        name in proptest::option::of(word()),
    ) -> Prompt {
        Prompt {
            stream,
            system: system.into_iter().map(Part::text).collect(),
            turns: exchanges.into_iter().flatten().filter(|turn| turn.role == Role::Assistant || !turn.parts.is_empty()).collect(),
            tools: tools.into_iter().map(|(name, description, schema, strict)| Tool { name, description, schema, strict, cache: None }).collect(),
            tool_use,
            parallel_tools: None,
            max_output: Some(max_output),
            choices,
            sampling: Sampling {
                temperature: temperature.map(|it: &str| serde_json::from_str(it).unwrap()),
                ..Sampling::default()
            },
            stop,
            format: match format {
                0 => OutputFormat::Text,
                1 => OutputFormat::Json,
                _ => OutputFormat::Schema { name: "n".into(), description: None, schema, strict: Some(true) },
            },
            reasoning,
            user: name,
            unread: Vec::new(),
        }
    }
}

/// The turns as the API tells them apart: results are joined by what the user says next.
fn joined(prompt: &Prompt) -> String {
    let mut turns: Vec<Turn> = Vec::new();
    for turn in &prompt.turns {
        match turns.last_mut() {
            Some(last)
                if turn.role == Role::User && matches!(last.parts.last(), Some(Part::Result { .. })) =>
            {
                last.parts.extend(turn.parts.clone());
            }
            _ => turns.push(turn.clone()),
        }
    }
    show(&Prompt { turns, ..prompt.clone() })
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(prompt in prompts()) {
        let written = write(&prompt, &OTHERS).unwrap();
        prop_assert!(written.dropped.is_empty());
        prop_assert_eq!(show(&read(&written.body).unwrap()), joined(&prompt));
    }
}
