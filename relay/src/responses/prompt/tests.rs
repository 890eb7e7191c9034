use super::{read, write};
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Sampling, Source, Target, Tool, ToolUse,
    Turn,
};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const TARGET: Target<'static> = Target { upstream_model: "up", default_cap: 99, newer_cap: true };

fn request(fields: &str) -> Result<Prompt, String> {
    read(format!(r#"{{"model":"m",{fields}}}"#).as_bytes()).map_err(|it| it.to_string())
}

fn with(fields: &str) -> Prompt {
    request(&format!(r#""input":"hi",{fields}"#)).unwrap()
}

fn items(items: &str) -> Prompt {
    request(&format!(r#""input":[{items}]"#)).unwrap()
}

fn show<T: std::fmt::Debug>(value: &T) -> String {
    format!("{value:?}")
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

fn body(prompt: &Prompt) -> Value {
    serde_json::from_slice(&write(prompt, &TARGET).unwrap().body).unwrap()
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

fn thought(text: &str, signature: Option<&str>) -> Part {
    Part::Thinking { text: text.into(), signature: signature.map(Into::into) }
}

fn call(id: &str, arguments: &str, signature: Option<&str>) -> Part {
    let signature = signature.map(Into::into);
    Part::Call { id: id.into(), name: "f".into(), arguments: raw(arguments), signature }
}

fn result(id: &str, content: Vec<Part>) -> Part {
    Part::Result { id: id.into(), name: "f".into(), content, is_error: false, cache: None }
}

#[test]
fn items_become_turns_and_call_ids_not_item_ids_tie_results_to_calls() {
    let read = request(
        r#""instructions":"be brief","input":[
        {"role":"developer","content":"and kind"},
        {"type":"message","role":"user","content":[{"type":"input_text","text":"q"}]},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],"encrypted_content":"s","status":"completed"},
        {"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"redacted:d"},
        {"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"t","annotations":[]},{"type":"refusal","refusal":"no"}]},
        {"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{\"z\":1.0}","status":"completed","extra_content":{"google":{"thought_signature":"g"}}},
        {"type":"function_call","id":"fc_2","call_id":"call_2","name":"f","arguments":""},
        {"type":"function_call_output","call_id":"call_1","output":"r1"},
        {"type":"function_call_output","call_id":"call_2","output":[{"type":"input_text","text":"r2"}]},
        {"role":"user","content":"go on"}]"#,
    )
    .unwrap();
    assert_eq!(show(&read.system), show(&[Part::text("be brief"), Part::text("and kind")]));
    let expected = [
        user(vec![Part::text("q")]),
        assistant(vec![
            thought("a\n\nb", Some("s")),
            Part::HiddenThinking { data: "d".into() },
            Part::text("t"),
            Part::Refusal { text: "no".into() },
            call("call_1", r#"{"z":1.0}"#, Some("g")),
            call("call_2", "{}", None),
        ]),
        user(vec![
            result("call_1", vec![Part::text("r1")]),
            result("call_2", vec![Part::text("r2")]),
            Part::text("go on"),
        ]),
    ];
    assert_eq!(show(&read.turns), show(&expected));
    assert!(read.unread.is_empty(), "{:?}", read.unread);
}

#[test]
fn media_of_every_kind_are_read() {
    let inline = |media_type: &str, filename: Option<&str>| Source::Inline {
        media_type: media_type.into(),
        data: "QQ==".into(),
        filename: filename.map(Into::into),
    };
    let url = |url: &str| Source::Url { url: url.into(), media_type: None };
    let cases = [
        (
            r#"{"type":"input_image","image_url":"data:image/png;base64,QQ==","detail":"low"}"#,
            (Medium::Image, inline("image/png", None), Some("low")),
        ),
        (r#"{"type":"input_image","image_url":"https://x"}"#, (Medium::Image, url("https://x"), None)),
        (
            r#"{"type":"input_image","file_id":"file-1"}"#,
            (Medium::Image, Source::File { id: "file-1".into() }, None),
        ),
        (
            r#"{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,QQ=="}"#,
            (Medium::Document, inline("application/pdf", Some("a.pdf")), None),
        ),
        (r#"{"type":"input_file","file_url":"https://x"}"#, (Medium::Document, url("https://x"), None)),
        (
            r#"{"type":"input_file","file_id":"file-1"}"#,
            (Medium::Document, Source::File { id: "file-1".into() }, None),
        ),
        (
            r#"{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}"#,
            (Medium::Audio, inline("audio/wav", None), None),
        ),
    ];
    for (json, (medium, source, detail)) in cases {
        let read = items(&format!(r#"{{"role":"user","content":[{json}]}}"#));
        let expected = Part::Media { medium, source, detail: detail.map(Into::into), cache: None };
        assert_eq!(show(&read.turns[0].parts[0]), show(&expected), "{json}");
    }
}

#[test]
fn the_other_fields_are_read() {
    let read = with(
        r#""stream":true,"max_output_tokens":5,"temperature":1,"top_p":0.5,"user":"u","parallel_tool_calls":true,
        "tools":[{"type":"function","name":"f","description":"d","parameters":{"b":1,"a":2},"strict":null}],
        "tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]},
        "reasoning":{"effort":"high","summary":"auto"},"include":["reasoning.encrypted_content"],"store":false,
        "text":{"format":{"type":"json_schema","name":"n","schema":{"b":1,"a":2},"strict":true},"verbosity":"medium"},
        "truncation":"disabled","metadata":{}"#,
    );
    assert!(read.stream && read.unread.is_empty(), "{:?}", read.unread);
    assert_eq!((read.max_output, read.choices, read.parallel_tools), (Some(5), 1, Some(true)));
    assert_eq!(read.tools[0].schema.as_ref().unwrap().get(), r#"{"b":1,"a":2}"#);
    assert_eq!(read.tools[0].strict, None);
    assert_eq!(read.tool_use, Some(ToolUse::Among { names: vec!["f".into()], must: false }));
    assert_eq!(read.reasoning, Some(Reasoning::Effort(Effort::High)));
    assert!(matches!(read.format, OutputFormat::Schema { strict: Some(true), .. }));
    assert_eq!(
        with(r#""tool_choice":{"type":"function","name":"f"}"#).tool_use,
        Some(ToolUse::Only("f".into()))
    );
    assert_eq!(with(r#""tool_choice":"required""#).tool_use, Some(ToolUse::Some));
    let noted =
        with(r#""store":true,"service_tier":"flex","text":{"verbosity":"low"},"max_tool_calls":3,"novel":1"#);
    assert_eq!(noted.unread, ["text.verbosity", "store", "service_tier", "max_tool_calls", "novel"]);
}

#[test]
fn what_only_its_own_provider_can_do_is_refused_by_name() {
    let cases = [
        (r#""input":"x","previous_response_id":"resp_1""#, "`previous_response_id` refers to"),
        (r#""input":"x","conversation":{"id":"conv_1"}"#, "`conversation` refers to"),
        (r#""prompt":{"id":"pmpt_1"}"#, "`prompt` refers to"),
        (r#""input":"x","background":true"#, "`background` cannot be honoured"),
        (r#""input":"x","tools":[{"type":"web_search"}]"#, "`tools[0].type` must be"),
        (r#""input":"x","tool_choice":{"type":"file_search"}"#, "`tool_choice.type` must be"),
        (r#""input":[{"type":"item_reference","id":"x"}]"#, r#"`input[0].type` is "item_reference""#),
        (
            r#""input":[{"type":"web_search_call","id":"x"}]"#,
            "which the provider of this model does not know",
        ),
        (
            r#""input":[{"type":"function_call_output","call_id":"x","output":""}]"#,
            "`input[0].call_id` names no call",
        ),
        (
            r#""input":[{"type":"function_call","call_id":"x","name":"f","arguments":"7"}]"#,
            "`input[0].arguments` must be",
        ),
        (
            r#""input":[{"role":"user","content":[{"type":"novel"}]}]"#,
            "`input[0].content[0].type` is unknown",
        ),
        (r#""stream":false"#, "`input` is missing"),
        (r#""input":"x","reasoning":{"effort":"vast"}"#, "`reasoning.effort` must be"),
        (r#""input":"x","text":{"format":{"type":"xml"}}"#, "`text.format.type` must be"),
    ];
    for (fields, fault) in cases {
        let error = request(fields).unwrap_err();
        assert!(error.contains(fault), "{fields}: {error}");
    }
}

#[test]
fn a_request_is_written_as_the_provider_takes_it() {
    let mut asked = prompt(vec![
        user(vec![Part::text("q")]),
        assistant(vec![thought("hm", Some("gAAAAsealed")), Part::text("t"), call("c", r#"{"z":1.0}"#, None)]),
        user(vec![result("c", vec![Part::text("r")]), Part::text("go on")]),
    ]);
    asked.system = vec![Part::text("s")];
    asked.tools = vec![Tool {
        name: "f".into(),
        description: None,
        schema: Some(raw("{}")),
        strict: None,
        cache: None,
    }];
    asked.tool_use = Some(ToolUse::Only("f".into()));
    asked.sampling = Sampling { seed: Some(4.into()), ..Sampling::default() };
    let written = write(&asked, &TARGET).unwrap();
    assert_eq!(written.dropped, ["seed"]);
    assert_eq!(
        serde_json::from_slice::<Value>(&written.body).unwrap(),
        json!({"model":"up","instructions":"s","input":[
            {"role":"user","content":[{"type":"input_text","text":"q"}]},
            {"type":"reasoning","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"gAAAAsealed"},
            {"role":"assistant","content":[{"type":"output_text","text":"t"}]},
            {"type":"function_call","call_id":"c","name":"f","arguments":"{\"z\":1.0}"},
            {"type":"function_call_output","call_id":"c","output":"r"},
            {"role":"user","content":[{"type":"input_text","text":"go on"}]}],
            "max_output_tokens":99,"stream":false,"store":false,
            "tools":[{"type":"function","name":"f","parameters":{},"strict":false}],
            "tool_choice":{"type":"function","name":"f"},"include":["reasoning.encrypted_content"]})
    );
}

#[test]
fn thoughts_of_other_providers_stay_behind() {
    let asked = prompt(vec![assistant(vec![
        thought("a", None),
        thought("b", Some("claudes")),
        Part::HiddenThinking { data: "d".into() },
        call("c", "{}", Some("g")),
    ])]);
    let written = write(&asked, &TARGET).unwrap();
    assert_eq!(written.dropped.len(), 2, "{:?}", written.dropped);
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    assert_eq!(body["input"].as_array().unwrap().len(), 1);
    assert!(body.get("include").is_none());
}

#[test]
fn results_keep_their_images_and_failures_say_so() {
    let image = Part::Media {
        medium: Medium::Image,
        source: Source::Inline { media_type: "image/png".into(), data: "QQ==".into(), filename: None },
        detail: None,
        cache: None,
    };
    let failed =
        |content| Part::Result { id: "c".into(), name: "f".into(), content, is_error: true, cache: None };
    let asked = prompt(vec![
        assistant(vec![call("c", "{}", None)]),
        user(vec![failed(vec![Part::text("no")]), failed(vec![image])]),
    ]);
    let written = body(&asked);
    assert_eq!(written["input"][1]["output"], "Error: no");
    assert_eq!(
        written["input"][2]["output"],
        json!([{"type":"input_text","text":"Error: "},{"type":"input_image","image_url":"data:image/png;base64,QQ==","detail":"auto"}])
    );
}

#[test]
fn what_responses_cannot_say_is_refused_by_name() {
    let asked = || prompt(vec![user(vec![Part::text("hi")])]);
    let refused = |prompt: Prompt| write(&prompt, &TARGET).unwrap_err().to_string();
    assert!(refused(Prompt { choices: 2, ..asked() }).contains("several answers"));
    assert!(refused(Prompt { stop: vec!["x".into()], ..asked() }).contains("`stop`"));
    let video = Part::Media {
        medium: Medium::Video,
        source: Source::Url { url: "https://x".into(), media_type: None },
        detail: None,
        cache: None,
    };
    assert!(refused(prompt(vec![user(vec![video])])).contains("a video"));
}

fn word() -> impl Strategy<Value = String> {
    "[a-zé密\"\\\\\n {}]{1,12}"
}

prop_compose! {
    fn exchange()(
        asked in proptest::collection::vec(word(), 1..3),
        thoughts in proptest::collection::vec(word(), 0..3),
        words in proptest::collection::vec((word(), any::<bool>()), 0..3),
        calls in proptest::collection::vec(proptest::collection::vec(word(), 1..3), 0..3),
        number in any::<u32>(),
    ) -> [Turn; 3] {
        let mut parts: Vec<Part> = thoughts.iter().map(|text| thought(text, Some("gAAAAs"))).collect();
        parts.extend(words.into_iter().map(|(text, refuses)| if refuses { Part::Refusal { text } } else { Part::text(text) }));
        let mut results = Vec::new();
        for (index, content) in calls.into_iter().enumerate() {
            let id = format!("call{number}x{index}");
            parts.push(call(&id, r#"{"z":1.0,"a":[1e3,null]}"#, None));
            results.push(result(&id, content.into_iter().map(Part::text).collect()));
        }
        // A turn of the model that says nothing leaves no trace.
        if parts.is_empty() {
            parts.push(Part::text("."));
        }
        results.extend(asked.into_iter().map(Part::text));
        [user(vec![Part::text("q")]), assistant(parts), user(results)]
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_the_same(
        turns in exchange(),
        system in proptest::collection::vec(word(), 0..3),
        strict in any::<bool>(),
        reasoning in proptest::sample::select(vec![None, Some(Reasoning::Effort(Effort::Low))]),
        stream in any::<bool>(),
    ) {
        let tool = Tool { name: "f".into(), description: Some("d".into()), schema: Some(raw("{}")), strict: Some(strict), cache: None };
        let prompt = Prompt {
            stream,
            system: system.into_iter().map(Part::text).collect(),
            turns: turns.into(),
            tools: vec![tool],
            tool_use: Some(ToolUse::Among { names: vec!["f".into()], must: true }),
            parallel_tools: Some(false),
            max_output: Some(7),
            choices: 1,
            format: OutputFormat::Schema { name: "n".into(), description: None, schema: raw(r#"{"b":1.0,"a":2}"#), strict: Some(strict) },
            reasoning,
            user: Some("u".into()),
            ..Prompt::default()
        };
        let written = write(&prompt, &TARGET).unwrap();
        prop_assert!(written.dropped.is_empty());
        prop_assert_eq!(show(&read(&written.body).unwrap()), show(&prompt));
    }
}
