use super::answer::Shaped;
use super::edit::Node;
use super::stream::{Lines, Shaper};
use super::usage::Counted;
use super::{Pointer, Template};
use crate::catalogue::ProviderFormat;
use crate::dialogue::Voice;
use crate::endpoint::Endpoint;
use crate::estimate::Estimate;
use crate::sse::{Event, Splitter};
use crate::wire::{Framing, Wire};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use domain::Tokens;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::VecDeque;

fn template(json: Value) -> Template {
    serde_json::from_str(&json.to_string()).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn pointer(text: &str) -> Pointer {
    Pointer::try_from(text.to_owned()).unwrap()
}

fn voice() -> Voice {
    Voice { model: "m".into(), id: "0123".into(), created: 7, wants_usage: false }
}

const NONE: Tokens = Tokens {
    input: 0,
    cache_read: 0,
    cache_write: 0,
    cache_write_1h: 0,
    output: 0,
    reasoning: 0,
    image_input: 0,
    image_output: 0,
    audio_input: 0,
    audio_output: 0,
    characters: 0,
    audio_seconds: 0,
    images: 0,
};

#[test]
fn a_template_that_cannot_be_used_is_refused_and_its_fault_named() {
    let cases = [
        (json!({}), "missing field `speaks`"),
        (json!({"speaks": "custom"}), "unknown variant `custom`"),
        (json!({"speaks": "openai", "path": {}}), "unknown field `path`"),
        (json!({"speaks": "openai", "body": {"renames": {}}}), "unknown field `renames`"),
        (json!({"speaks": "openai", "answer": {"roots": "/a"}}), "unknown field `roots`"),
        (json!({"speaks": "openai", "usage": {"prompt": "/a"}}), "unknown field `prompt`"),
        (json!({"speaks": "openai", "stream": {"mark": "x"}}), "unknown field `mark`"),
        (json!({"speaks": "openai", "stream": "never"}), "invalid value: string \"never\""),
        (json!({"speaks": "openai", "stream": {"done": {"at": "/a"}}}), "missing field `is`"),
        (json!({"speaks": "openai", "stream": {"done": "{}"}}), "an object with `at` and `is`"),
        (json!({"speaks": "openai", "auth": "basic"}), "unknown variant `basic`"),
        (json!({"speaks": "openai", "paths": {}}), "paths: names nothing to call"),
        (json!({"speaks": "openai", "paths": {"models": "/m"}}), "paths: names nothing to call"),
        (json!({"speaks": "openai", "paths": {"chats": "/c"}}), "unknown variant `chats`"),
        (json!({"speaks": "openai", "paths": {"stream": "/s", "embeddings": "/e"}}), "goes with `chat` only"),
        (json!({"speaks": "claude", "paths": {"chat": "/c", "speech": "/s"}}), "paths.speech: is nothing"),
        (json!({"speaks": "gemini", "paths": {"chat": "/c"}}), "paths.stream: is needed beside `chat`"),
        (
            json!({"speaks": "openai", "paths": {"chat": "/c", "models": "/{model}"}}),
            "paths.models: must not",
        ),
        (
            json!({"speaks": "openai", "paths": {"chat": "/c", "stream": "/s"}, "stream": "none"}),
            "paths.stream: contradicts",
        ),
        (
            json!({"speaks": "openai", "paths": {"responses": "/r"}, "answer": {"error": "/e"}}),
            "paths.responses: excludes",
        ),
        (
            json!({"speaks": "openai", "paths": {"completions": "/c"}, "answer": {"text": "/t"}, "stream": "none"}),
            "paths.completions: excludes",
        ),
        (json!({"speaks": "openai", "headers": {"Host": "x"}}), "the header host belongs to the connection"),
        (
            json!({"speaks": "openai", "headers": {"content-length": "1"}}),
            "the header content-length belongs",
        ),
        (json!({"speaks": "openai", "headers": {"Proxy-Authorization": "{key}"}}), "belongs"),
        (json!({"speaks": "openai", "headers": {"a b": "x"}}), "\"a b\" is no name of a header"),
        (
            json!({"speaks": "openai", "headers": {"x": "a\r\nb: c"}}),
            "visible ASCII characters and blanks only",
        ),
        (json!({"speaks": "openai", "headers": {"x": "{secret}"}}), "may hold {key}"),
        (json!({"speaks": "openai", "headers": {"x": "{key"}}), "a brace without its other half"),
        (json!({"speaks": "openai", "headers": {"x": "{key}"}, "auth": "none"}), "auth: `none` contradicts"),
        (json!({"speaks": "openai", "query": {"a b": "x"}}), "query: \"a b\" is no name"),
        (
            json!({"speaks": "openai", "body": {"set": {"/a": "x".repeat(40_000)}}}),
            "it is longer than 32768 bytes",
        ),
        (
            json!({"speaks": "openai", "body": {"remove": vec!["/a"; 65]}}),
            "body.remove: has more than 64 entries",
        ),
        (json!({"speaks": "openai", "body": {"remove": ["model"]}}), "must begin with a slash"),
        (json!({"speaks": "openai", "body": {"remove": [""]}}), "must begin with a slash"),
        (json!({"speaks": "openai", "body": {"remove": ["/a//b"]}}), "a step is empty"),
        (json!({"speaks": "openai", "body": {"remove": ["/a~2"]}}), "~ is written ~0"),
        (json!({"speaks": "openai", "answer": {"root": "/r"}}), "stream: is needed beside"),
        (json!({"speaks": "openai", "answer": {"text": "/t"}}), "stream: is needed beside"),
        (
            json!({"speaks": "openai", "answer": {"text": "/t", "root": "/r"}, "stream": "none"}),
            "answer: `root` and `text` exclude each other",
        ),
        (json!({"speaks": "openai", "answer": {"finish": "/f"}}), "answer.finish: goes with `text` only"),
        (
            json!({"speaks": "openai", "answer": {"finish_words": {"a": "stop"}}}),
            "answer.finish_words: go with",
        ),
        (json!({"speaks": "openai", "stream": {"finish": "/f"}}), "stream.finish: goes with `text` only"),
        (json!({"speaks": "openai", "stream": {"text": "/t"}}), "stream: needs `finish` or `done`"),
        (
            json!({"speaks": "openai", "stream": {"text": "/t", "root": "/r"}}),
            "stream: `root` and `text` exclude each other",
        ),
        (json!({"speaks": "openai", "usage": {"input": "/i"}}), "usage: needs two of"),
        (json!({"speaks": "openai", "usage": {"output": "/o", "cache_read": "/c"}}), "usage: needs two of"),
    ];
    for (json, fault) in cases {
        let refused = serde_json::from_value::<Template>(json.clone());
        let error = refused.expect_err(&json.to_string()).to_string();
        assert!(error.contains(fault), "{json}: {error}");
    }
}

#[test]
fn a_template_is_written_as_it_was_read() {
    for json in [
        json!({"speaks": "claude"}),
        json!({
            "speaks": "openai", "auth": "none",
            "paths": {"chat": "/deployments/{model}/chat?v=1", "embeddings": "/e", "models": "/m"},
            "headers": {"x-a": "b c"}, "query": {"v": "2"},
            "body": {"rename": {"/a": "/b/c"}, "remove": ["/d"], "set": {"/e": {"f": ["{model}", 1.5, null]}}},
            "answer": {"text": "/t", "finish": "/f", "finish_words": {"A": "length"}, "error": "/m"},
            "usage": {"input": "/u/i", "output": "/u/o", "cache_write_1h": "/u/w", "input_includes_cache": false},
            "stream": {"framing": "lines", "text": "/t", "done": {"at": "/done", "is": true}},
        }),
        json!({"speaks": "gemini", "stream": "none"}),
        json!({"speaks": "openai", "stream": {"done": "[END]"}}),
    ] {
        let read = template(json.clone());
        assert_eq!(serde_json::to_value(&read).unwrap(), json);
        assert_eq!(template(serde_json::to_value(&read).unwrap()), read);
    }
}

#[test]
fn a_secret_that_was_written_out_by_mistake_is_in_no_debug_output() {
    let read = template(json!({"speaks": "openai", "headers": {"x": "sk-123"}, "query": {"k": "sk-123"}}));
    assert!(!format!("{read:?}").contains("sk-123"));
    let error =
        serde_json::from_value::<Template>(json!({"speaks": "openai", "headers": {"x": "sk-123 {a}"}}));
    assert!(!error.unwrap_err().to_string().contains("sk-123"));
}

fn url(template: &Template, wire: Wire, endpoint: Endpoint, stream: bool, model: &str) -> String {
    let own = ("https://api.vendor.example/v1", "https://api.vendor.example/v1/own?alt=sse".to_owned());
    template.url(own, (wire, endpoint, stream), model, "s3cret&key").unwrap()
}

#[test]
fn each_endpoint_has_its_path_and_the_key_stands_where_the_template_puts_it() {
    let named = template(json!({
        "speaks": "openai",
        "paths": {"chat": "/d/{model}/chat?v=1&m={model}", "stream": "/s", "rerank": "/r"},
        "query": {"key": "{key}"},
    }));
    let chat = |stream| url(&named, Wire::Chat, Endpoint::Messages, stream, "a/b c");
    assert_eq!(chat(false), "https://api.vendor.example/v1/d/a/b%20c/chat?v=1&m=a%2Fb%20c&key=s3cret%26key");
    assert_eq!(chat(true), "https://api.vendor.example/v1/s?key=s3cret%26key");
    let rerank = url(&named, Wire::Media(Endpoint::Rerank), Endpoint::Rerank, false, "m");
    assert_eq!(rerank, "https://api.vendor.example/v1/r?key=s3cret%26key");
    assert!(
        named.serves(Wire::Chat, Endpoint::Chat) && !named.serves(Wire::Embeddings, Endpoint::Embeddings)
    );
    let own = template(json!({"speaks": "gemini", "query": {"key": "{key}"}}));
    let address = url(&own, Wire::Gemini, Endpoint::Generate, true, "m");
    assert_eq!(address, "https://api.vendor.example/v1/own?alt=sse&key=s3cret%26key");
    assert!(own.serves(Wire::GeminiEmbeddings, Endpoint::EmbedContent) && own.counts());
}

#[test]
fn a_key_is_sent_once_and_marked_as_secret() {
    let cases = [
        (json!({"speaks": "openai"}), true, None),
        (json!({"speaks": "openai", "auth": "none"}), false, None),
        (json!({"speaks": "openai", "headers": {"API-Key": "{key}"}}), false, Some(("api-key", "k1"))),
        (
            json!({"speaks": "openai", "headers": {"authorization": "Key {key}"}}),
            false,
            Some(("authorization", "Key k1")),
        ),
        (json!({"speaks": "openai", "query": {"key": "{key}"}}), false, None),
        (json!({"speaks": "openai", "headers": {"x-version": "3"}}), true, Some(("x-version", "3"))),
    ];
    for (json, keeps_auth, header) in cases {
        let template = template(json.clone());
        let mut headers = HeaderMap::new();
        template.put_headers(&mut headers, "k1").unwrap();
        assert_eq!(template.keeps_auth(), keeps_auth, "{json}");
        let sent: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(sent, Vec::from_iter(header), "{json}");
        assert!(headers.values().all(axum::http::HeaderValue::is_sensitive));
    }
}

#[test]
fn a_path_that_could_lead_elsewhere_is_refused() {
    for path in [
        "",
        "chat",
        "//evil.example/x",
        "@evil.example/x",
        "/../x",
        "/a/./b",
        "/a/%2e%2E/b",
        "/a\\b",
        "/a#b",
        "/a b",
        "/{key}",
        "/{model",
        "/a}b",
        "/ä",
        "/a\nb",
        "https://evil.example/x",
        ":8080/x",
        ".evil.example/x",
    ] {
        let json = json!({"speaks": "openai", "paths": {"chat": path}});
        assert!(serde_json::from_value::<Template>(json).is_err(), "{path:?}");
    }
    let named = template(json!({"speaks": "openai", "paths": {"chat": "/d/{model}/chat"}}));
    for model in ["..", "a/../b", ".", "", "/evil", "a//b"] {
        let base = ("https://h", String::new());
        let refused = named.url(base, (Wire::Chat, Endpoint::Chat, false), model, "k");
        assert_eq!(refused, Err("model_in_path"), "{model:?}");
    }
}

proptest! {
    #[test]
    fn no_path_model_or_key_leads_to_another_host(path in "/[ -~]{0,20}(\\{model\\})?[ -~]{0,10}", model in ".{0,12}", key in "[!-~]{1,12}") {
        let json = json!({"speaks": "openai", "paths": {"chat": path}, "query": {"k": "{key}"}});
        let Ok(template) = serde_json::from_value::<Template>(json) else { return Ok(()) };
        for base in ["https://api.vendor.example", "https://api.vendor.example:8443/v1/x"] {
            let asked = (Wire::Chat, Endpoint::Chat, false);
            let Ok(url) = template.url((base, String::new()), asked, &model, &key) else { continue };
            let (url, base) = (reqwest::Url::parse(&url).unwrap(), reqwest::Url::parse(base).unwrap());
            prop_assert_eq!(url.origin(), base.origin());
            prop_assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
            prop_assert!(url.path().starts_with(base.path()), "{} {}", url, base);
            let sent = url.query_pairs().last().unwrap().1.into_owned();
            prop_assert_eq!(sent, key.clone());
        }
    }
}

#[test]
fn a_body_is_changed_where_rules_say_and_nowhere_else() {
    let shaped = |json: Value, body: &str, stream| {
        let json = template(json).body(Bytes::from(body.to_owned()), "their \"model\"", stream);
        String::from_utf8(json.to_vec()).unwrap()
    };
    let body = r#"{"model":"m", "stream":true,"max_tokens":1.50, "z":{"b": 1 ,"a":"ä\u0041"},"messages":[ {"x":1e2} ]}"#;
    let cases = [
        (json!({}), body.to_owned()),
        (
            json!({"rename": {"/max_tokens": "/parameters/max_new_tokens", "/stream": "/streaming"}, "remove": ["/model"]}),
            r#"{"z":{"b": 1 ,"a":"ä\u0041"},"messages":[ {"x":1e2} ],"parameters":{"max_new_tokens":1.50},"streaming":true}"#.into(),
        ),
        // Both are taken before either is put.
        (
            json!({"rename": {"/z": "/messages", "/messages": "/z"}, "remove": ["/model", "/stream", "/max_tokens", "/nothing/here"]}),
            r#"{"z":[ {"x":1e2} ],"messages":{"b": 1 ,"a":"ä\u0041"}}"#.into(),
        ),
        (
            json!({"remove": ["/z", "/messages", "/stream"], "set": {"/max_tokens": 9, "/model": "x/{model}", "/n/o": [true, "{model}"]}}),
            r#"{"model":"x/their \"model\"","max_tokens":9,"n":{"o":[true,"their \"model\""]}}"#.into(),
        ),
        (
            json!({"remove": ["/z/b", "/model", "/stream", "/max_tokens"], "set": {"/messages/1/role": "user", "/messages/0/x": 2, "/messages/9/x": 1}}),
            r#"{"z":{"a":"ä\u0041"},"messages":[{"x":2},{"role":"user"}]}"#.into(),
        ),
    ];
    for (rules, expected) in cases {
        assert_eq!(shaped(json!({"speaks": "openai", "body": rules}), body, true), expected, "{rules}");
    }
    let whole = shaped(
        json!({"speaks": "openai", "stream": "none"}),
        r#"{"stream":true,"stream_options":{},"a":1}"#,
        true,
    );
    assert_eq!(whole, r#"{"a":1}"#);
    // What is given twice goes twice: a caller cannot hide a second one behind the first.
    let twice = shaped(
        json!({"speaks": "openai", "body": {"remove": ["/z/a"]}}),
        r#"{"z":{"a":1,"b":2,"a":3}}"#,
        false,
    );
    assert_eq!(twice, r#"{"z":{"b":2}}"#);
    let caps = json!({"rename": {"/max_tokens": "/o/limit", "/max_completion_tokens": "/o/limit"}});
    for (body, expected) in [
        (r#"{"max_tokens":5}"#, r#"{"o":{"limit":5}}"#),
        (r#"{"max_completion_tokens":5}"#, r#"{"o":{"limit":5}}"#),
        (r#"{"o":{"limit":900,"a":1,"limit":800},"max_tokens":5}"#, r#"{"o":{"a":1,"limit":5}}"#),
        (r#"{"o":[],"max_tokens":5}"#, r#"{"o":{"limit":5}}"#),
        (r#"{"o":"much","max_tokens":5}"#, r#"{"o":{"limit":5}}"#),
    ] {
        assert_eq!(shaped(json!({"speaks": "openai", "body": caps}), body, false), expected);
    }
}

/// Any JSON.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-c\"\\\\é\\n]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c/~0-2]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_are_found_put_and_taken_as_by_the_standard(json in any_json(), steps in prop::collection::vec("[a-c/~0-2]{1,2}", 1..4), value in any_json()) {
        let text: String = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
        let pointer = pointer(&text);
        let written = json.to_string();
        let found = pointer.find(&written).map(|found| serde_json::from_str::<Value>(found.get()).unwrap());
        prop_assert_eq!(found.as_ref(), json.pointer(&text).filter(|found| !found.is_null()));

        let mut node = Node::new(&written);
        let taken = node.take(&pointer).map(|taken| serde_json::from_slice::<Value>(&taken.written()).unwrap());
        prop_assert_eq!(taken.as_ref(), json.pointer(&text));
        let left: Value = serde_json::from_slice(&node.written()).unwrap();
        prop_assert_eq!(taken.is_none(), left == json);

        let mut node = Node::new(&written);
        node.put(&pointer, Node::Owned(value.to_string()));
        let put: Value = serde_json::from_slice(&node.written()).unwrap();
        // Not at all only where an array on the way has no such place.
        prop_assert!(put.pointer(&text) == Some(&value) || put == json, "{} {} {}", json, text, put);
    }

    #[test]
    fn untouched_json_keeps_its_bytes(json in any_json()) {
        let pretty = serde_json::to_string_pretty(&json).unwrap();
        prop_assert_eq!(Node::new(&pretty).written(), pretty.as_bytes());
    }
}

fn counted(rules: Value, answers: &[Value]) -> Option<Tokens> {
    let rules = serde_json::from_value(rules).unwrap();
    let mut counted = Counted::default();
    for answer in answers {
        counted.read(&rules, &answer.to_string());
    }
    counted.tokens(&rules)
}

#[test]
fn a_vendors_counts_are_brought_into_disjoint_classes() {
    let all = json!({"input": "/u/i", "output": "/u/o", "total": "/u/t", "cache_read": "/u/r", "cache_write": "/u/w",
                     "cache_write_1h": "/u/h", "reasoning": "/u/z"});
    let with = |key: &str| {
        let mut rules = all.clone();
        rules[key] = json!(false);
        rules
    };
    let is = |input, output| Some(Tokens { input, output, ..NONE });
    let full = json!({"i": 100, "o": 50, "r": 30, "w": 20, "h": 10, "z": 15});
    let cases = [
        (all.clone(), json!({"i": 7, "o": 3}), is(7, 3)),
        (
            all.clone(),
            full.clone(),
            Some(Tokens {
                input: 40,
                cache_read: 30,
                cache_write: 20,
                cache_write_1h: 10,
                output: 35,
                reasoning: 15,
                ..NONE
            }),
        ),
        (
            with("input_includes_cache"),
            full.clone(),
            Some(Tokens {
                input: 100,
                cache_read: 30,
                cache_write: 20,
                cache_write_1h: 10,
                output: 35,
                reasoning: 15,
                ..NONE
            }),
        ),
        (
            with("output_includes_reasoning"),
            full,
            Some(Tokens {
                input: 40,
                cache_read: 30,
                cache_write: 20,
                cache_write_1h: 10,
                output: 50,
                reasoning: 15,
                ..NONE
            }),
        ),
        // One of the three follows from the others.
        (all.clone(), json!({"i": 7, "t": 10}), is(7, 3)),
        (all.clone(), json!({"o": 3, "t": 10}), is(7, 3)),
        (
            with("input_includes_cache"),
            json!({"o": 3, "t": 10, "r": 2}),
            Some(Tokens { input: 5, cache_read: 2, output: 3, ..NONE }),
        ),
        (
            with("output_includes_reasoning"),
            json!({"i": 3, "t": 10, "z": 2}),
            Some(Tokens { input: 3, output: 5, reasoning: 2, ..NONE }),
        ),
        // A total below its part is nonsense: an estimate is better.
        (all.clone(), json!({"i": 7, "t": 5}), None),
        // Half of the counts would bill the other half as nothing.
        (all.clone(), json!({"i": 7}), None),
        (all.clone(), json!({"o": 7}), None),
        (all.clone(), json!({"t": 7}), None),
        (all.clone(), json!({}), None),
        // Odd values.
        (all.clone(), json!({"i": 7.0, "o": 3}), is(7, 3)),
        (all.clone(), json!({"i": 7, "o": 3, "r": null, "z": "many"}), is(7, 3)),
        (all.clone(), json!({"i": -7, "o": 3}), None),
        (all.clone(), json!({"i": 7.5, "o": 3}), None),
        (all.clone(), json!({"i": "7", "o": 3}), None),
        (all.clone(), json!({"i": {"a": 7}, "o": 3}), None),
        (all.clone(), json!({"i": 7, "o": 2_000_000_000_u64}), None),
        (all.clone(), json!({"i": -7, "o": 3, "t": 9}), is(6, 3)),
        // Parts above the whole.
        (all.clone(), json!({"i": 7, "o": 3, "r": 9}), Some(Tokens { cache_read: 9, output: 3, ..NONE })),
        (all.clone(), json!({"i": 7, "o": 3, "z": 9}), Some(Tokens { input: 7, reasoning: 3, ..NONE })),
    ];
    for (rules, usage, expected) in cases {
        assert_eq!(counted(rules.clone(), &[json!({"u": usage})]), expected, "{rules} {usage}");
    }
    assert_eq!(counted(all.clone(), &[json!({"u": null})]), None);
    assert_eq!(counted(all.clone(), &[json!([1])]), None);
    // Over a stream the last of each holds.
    let events =
        [json!({"u": {"i": 7, "o": 1}}), json!({"x": 1}), json!({"u": {"o": 5}}), json!({"u": {"o": 9}})];
    assert_eq!(counted(all, &events), is(7, 9));
}

proptest! {
    #[test]
    fn no_token_is_lost_or_counted_twice(i in 0_u64..1000, o in 0_u64..1000, r in 0_u64..300, w in 0_u64..300, z in 0_u64..1000, includes in any::<(bool, bool)>()) {
        let rules = json!({"input": "/i", "output": "/o", "cache_read": "/r", "cache_write": "/w", "reasoning": "/z",
                           "input_includes_cache": includes.0, "output_includes_reasoning": includes.1});
        let tokens = counted(rules, &[json!({"i": i, "o": o, "r": r, "w": w, "z": z})]).unwrap();
        prop_assert_eq!(tokens.input_total(), if includes.0 { i.max(r + w) } else { i + r + w });
        prop_assert_eq!(tokens.output_total(), if includes.1 { o } else { o + z });
    }
}

const USAGE: &str = r#"{"input":"/meta/in","output":"/meta/out","cache_write_1h":"/meta/hour"}"#;

fn with_usage(mut json: Value) -> Template {
    json["usage"] = serde_json::from_str(USAGE).unwrap();
    template(json)
}

#[test]
fn a_whole_answer_becomes_the_protocols() {
    let meta = json!({"in": 100, "out": 7, "hour": 60});
    let tokens = Some(Tokens { input: 40, cache_write_1h: 60, output: 7, ..NONE });
    let wrapped = |speaks: &str| {
        with_usage(
            json!({"speaks": speaks, "answer": {"root": "/data/0", "error": "/message"}, "stream": "none"}),
        )
    };
    let text = |speaks: &str| {
        with_usage(
            json!({"speaks": speaks, "stream": "none", "answer": {"text": "/out/0/text", "finish": "/why",
            "finish_words": {"FULL": "length"}, "error": "/message"}}),
        )
    };
    let chat = json!({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
    let message =
        json!({"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"});
    let content = json!({"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]});
    for (wire, speaks, own) in
        [(Wire::Chat, "openai", chat), (Wire::Claude, "claude", message), (Wire::Gemini, "gemini", content)]
    {
        // Many say "ok" where others say what went wrong.
        let vendor = json!({"message": "ok", "data": [own], "meta": meta});
        let shaped = wrapped(speaks).whole(wire, vendor.to_string().into(), &voice());
        assert_eq!(shaped.tokens, tokens);
        let seen = wire.whole(&shaped.body, &mut Estimate::default()).unwrap();
        assert!(seen.has_answer && seen.error.is_none());
        // Callers see all of the counts, in the words that the protocol has.
        assert_eq!(seen.usage.unwrap().input_total(), 100, "{shaped:?}");
        assert_eq!(seen.usage.unwrap().output_total(), 7);

        let vendor = json!({"message": "ok", "out": [{"text": "hi"}], "why": "FULL", "meta": meta});
        let Shaped { body, tokens: counted } = text(speaks).whole(wire, vendor.to_string().into(), &voice());
        assert_eq!(counted, tokens);
        let mut delivered = Estimate::default();
        let seen = wire.whole(&body, &mut delivered).unwrap();
        assert!(seen.has_answer && !delivered.is_empty());
        let told = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            told.contains("\"hi\"")
                && (told.contains("length") || told.contains("max_tokens") || told.contains("MAX_TOKENS")),
            "{told}"
        );

        for template in [wrapped(speaks), text(speaks)] {
            let failed = json!({"message": "no such thing", "data": [null], "out": null});
            let shaped = template.whole(wire, failed.to_string().into(), &voice());
            let seen = wire.whole(&shaped.body, &mut Estimate::default()).unwrap();
            assert!(seen.error.is_some() && !seen.has_answer && shaped.tokens.is_none(), "{shaped:?}");
        }
    }
}

#[test]
fn what_the_template_does_not_name_passes_byte_for_byte() {
    let body = Bytes::from_static(br#"{ "choices":[{"message":{"content":"hi"}}], "vendor":1.50 }"#);
    for json in [json!({"speaks": "openai"}), json!({"speaks": "openai", "answer": {"error": "/vendor"}})] {
        let shaped = template(json).whole(Wire::Chat, body.clone(), &voice());
        assert_eq!((shaped.body, shaped.tokens), (body.clone(), None));
    }
    // Sound, and whatever is no JSON.
    for body in [&b"\xff\xf3\x00"[..], b"not json"] {
        let body = Bytes::copy_from_slice(body);
        let wrapped = template(json!({"speaks": "openai", "answer": {"root": "/a"}, "stream": {}}));
        assert_eq!(wrapped.whole(Wire::Media(Endpoint::Speech), body.clone(), &voice()).body, body);
    }
    assert!(Shaper::new(&template(json!({"speaks": "openai"})), Wire::Chat, voice(), 1000).is_none());
}

#[test]
fn a_refusal_is_read_where_the_template_says() {
    let told = template(json!({"speaks": "openai", "answer": {"error": "/fault/text"}}));
    for (wire, body, message) in [
        (Wire::Chat, r#"{"fault":{"text":"too long"}}"#, "too long"),
        (Wire::Claude, r#"{"fault":{"text":"too long"}}"#, "too long"),
        (Wire::Gemini, r#"{"fault":{"text":{"message":"too long"}}}"#, "too long"),
        (Wire::Chat, r#"{"fault":{"text":4021}}"#, "4021"),
        (Wire::Chat, r#"{"error":{"message":"its own"}}"#, "its own"),
        (Wire::Chat, "<html>", "the model's provider refused the request"),
    ] {
        let error = told.refused(wire, StatusCode::BAD_REQUEST, body.as_bytes());
        assert_eq!((error.status(), error.to_string()), (StatusCode::BAD_REQUEST, message.into()), "{body}");
    }
}

/// A stream, shaped, whatever its packets: what the protocol's reader sees, the counts, and the bytes.
fn shaped(template: &Template, wire: Wire, packets: &[&[u8]]) -> (Vec<Event>, Option<Tokens>) {
    let mut shaper = Shaper::new(template, wire, voice(), 1 << 20).unwrap();
    let mut out = VecDeque::new();
    if template.streams_lines(wire) {
        let mut lines = Lines::new(1 << 20);
        for packet in packets {
            lines.push(packet);
            while let Some(event) = lines.next_event().unwrap() {
                shaper.event(&event, &mut out);
            }
        }
        if let Some(event) = lines.rest() {
            shaper.event(&event, &mut out);
        }
    } else {
        let mut splitter = Splitter::new(1 << 20);
        for packet in packets {
            splitter.push(packet);
            while let Some(event) = splitter.next_event().unwrap() {
                shaper.event(&event, &mut out);
            }
        }
    }
    shaper.end(&mut out);
    (out.into(), shaper.tokens())
}

/// The text and the end that the protocol's watch sees: text, finished, over, failed.
fn watched(wire: Wire, events: &[Event]) -> (String, bool, bool, bool) {
    let mut watch = wire.watch(Framing::Events);
    let (mut finished, mut last, mut failed) = (false, false, false);
    let mut text = String::new();
    for event in events {
        assert!(event.is_ended(), "{event:?}");
        let data = event.data().unwrap();
        if let Ok(json) = serde_json::from_slice::<Value>(&data) {
            for place in ["/choices/0/delta/content", "/delta/text", "/candidates/0/content/parts/0/text"] {
                text.push_str(json.pointer(place).and_then(Value::as_str).unwrap_or_default());
            }
        }
        let Some(seen) = watch.event(event, &mut Estimate::default()) else { continue };
        finished |= seen.is_finished;
        last |= seen.is_last;
        failed |= seen.error.is_some();
    }
    (text, finished, last, failed)
}

const TEXT_ONLY: &str = "data: {\"piece\":\"Hel\"}\n\n: alive\n\ndata: {\"piece\":\"lo 早\",\"meta\":{\"in\":100}}\r\n\r\ndata: {\"piece\":\"\",\"why\":\"FULL\"}\n\ndata: {\"meta\":{\"out\":7,\"hour\":60}}\n\ndata: [END]\n\n";

fn text_only(speaks: &str) -> Template {
    with_usage(
        json!({"speaks": speaks, "answer": {"text": "/text", "finish_words": {"FULL": "length"}, "error": "/message"},
                      "stream": {"text": "/piece", "finish": "/why", "done": "[END]"}}),
    )
}

#[test]
fn a_stream_that_only_gives_text_becomes_a_whole_one() {
    for (wire, speaks) in [(Wire::Chat, "openai"), (Wire::Claude, "claude"), (Wire::Gemini, "gemini")] {
        let (events, tokens) = shaped(&text_only(speaks), wire, &[TEXT_ONLY.as_bytes()]);
        assert_eq!(tokens, Some(Tokens { input: 40, cache_write_1h: 60, output: 7, ..NONE }));
        let with_data: Vec<Event> = events.into_iter().filter(|event| event.data().is_some()).collect();
        let (text, finished, last, failed) = watched(wire, &with_data);
        assert_eq!((text.as_str(), finished, failed), ("Hello 早", true, false), "{with_data:?}");
        assert!(last || wire == Wire::Gemini);
        let told: String =
            with_data.iter().map(|event| String::from_utf8_lossy(&event.raw).into_owned()).collect();
        assert!(
            told.contains("\"length\"") || told.contains("\"max_tokens\"") || told.contains("\"MAX_TOKENS\""),
            "{told}"
        );
    }
}

#[test]
fn a_stream_that_breaks_off_has_no_end_and_an_error_in_it_is_one() {
    for (wire, speaks) in [(Wire::Chat, "openai"), (Wire::Claude, "claude"), (Wire::Gemini, "gemini")] {
        let (events, tokens) =
            shaped(&text_only(speaks), wire, &[b"data: {\"piece\":\"Hel\",\"meta\":{\"in\":9}}\n\n"]);
        let (text, finished, last, _) = watched(wire, &events);
        // Gemini's writer holds the newest text back until it knows whether it is the last.
        assert!(!finished && !last && (text == "Hel" || wire == Wire::Gemini), "{events:?}");
        assert_eq!(tokens, None);
        let packets =
            "data: {\"piece\":\"Hel\"}\n\ndata: {\"message\":\"overloaded\"}\n\ndata: {\"piece\":\"lo\"}\n\n";
        let (events, _) = shaped(&text_only(speaks), wire, &[packets.as_bytes()]);
        let (text, finished, _, failed) = watched(wire, &events);
        assert!(failed && !finished && !text.contains("lo"), "{events:?}");
        // Half of an event is nobody's text, and is not swallowed.
        let (events, _) = shaped(&text_only(speaks), wire, &[b"data: {\"piece\":\"Hel\n\n"]);
        assert_eq!(events[0].raw, "data: {\"piece\":\"Hel\n\n");
        // The reason was there, the last event is missing: forgiven.
        let (events, _) =
            shaped(&text_only(speaks), wire, &[b"data: {\"piece\":\"Hel\",\"why\":\"stop\"}\n\n"]);
        assert!(watched(wire, &events).1, "{events:?}");
    }
}

#[test]
fn wrapped_events_are_unwrapped_and_get_the_vendors_counts() {
    let wrapped = |speaks: &str| {
        with_usage(
            json!({"speaks": speaks, "answer": {"error": "/message"}, "stream": {"root": "/r", "done": {"at": "/last", "is": true}}}),
        )
    };
    let chat = [
        json!({"message": "ok", "r": {"choices": [{"delta": {"content": "hi"}, "finish_reason": null}]}}),
        json!({"r": {"choices": [{"delta": {}, "finish_reason": "stop"}]}, "meta": {"in": 5}}),
        json!({"meta": {"out": 2}, "last": true}),
        json!({"r": {"choices": [{"delta": {"content": "too late"}}]}}),
    ];
    let claude = [
        json!({"r": {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 1}}}, "meta": {"in": 5}}),
        json!({"r": {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}}),
        json!({"r": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}}),
        json!({"r": {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, "meta": {"out": 2}, "last": true}),
    ];
    let gemini = [
        json!({"r": {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}]}, "meta": {"in": 5, "out": 2}}),
        json!({"last": true}),
    ];
    for (wire, speaks, events) in [
        (Wire::Chat, "openai", &chat[..]),
        (Wire::Claude, "claude", &claude[..]),
        (Wire::Gemini, "gemini", &gemini[..]),
    ] {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let (events, tokens) = shaped(&wrapped(speaks), wire, &[stream.as_bytes()]);
        assert_eq!(tokens, Some(Tokens { input: 5, output: 2, ..NONE }));
        let (text, finished, last, failed) = watched(wire, &events);
        assert_eq!((text.as_str(), finished, failed), ("hi", true, false), "{events:?}");
        assert!(last || wire == Wire::Gemini);
        let mut watch = wire.watch(Framing::Events);
        let read =
            events.iter().filter_map(|event| watch.event(event, &mut Estimate::default())?.usage).last();
        assert_eq!(read, tokens, "{events:?}");
        if wire == Wire::Claude {
            assert!(
                events[0].raw.starts_with(b"event: message_start\n"),
                "Anthropic's clients look for names"
            );
        }
        let (events, _) =
            shaped(&wrapped(speaks), wire, &[b"data: {\"message\":\"overloaded\",\"r\":null}\n\n"]);
        assert!(watched(wire, &events).3, "{events:?}");
    }
}

#[test]
fn lines_are_events_and_a_value_may_tell_the_last_one() {
    let lines = template(json!({
        "speaks": "openai", "answer": {"text": "/message/content"},
        "usage": {"input": "/prompt_eval_count", "output": "/eval_count"},
        "stream": {"framing": "lines", "text": "/message/content", "finish": "/done_reason", "done": {"at": "/done", "is": true}},
    }));
    let stream = "{\"message\":{\"content\":\"Hel\"},\"done\":false}\n\r\n{\"message\":{\"content\":\"lo\"},\"done\":false}\n{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":26,\"eval_count\":3}";
    let (events, tokens) = shaped(&lines, Wire::Chat, &[stream.as_bytes()]);
    assert_eq!(tokens, Some(Tokens { input: 26, output: 3, ..NONE }));
    assert_eq!(watched(Wire::Chat, &events), ("Hello".into(), true, true, false));
    let mut long = Lines::new(10);
    long.push(b"01234567890");
    assert!(long.next_event().is_err());
}

proptest! {
    #[test]
    fn packets_do_not_matter(cuts in prop::collection::vec(0..TEXT_ONLY.len(), 0..12)) {
        let whole = shaped(&text_only("openai"), Wire::Chat, &[TEXT_ONLY.as_bytes()]);
        let mut cuts = cuts;
        cuts.extend([0, TEXT_ONLY.len()]);
        cuts.sort_unstable();
        let packets: Vec<&[u8]> = cuts.windows(2).map(|cut| &TEXT_ONLY.as_bytes()[cut[0]..cut[1]]).collect();
        prop_assert_eq!(shaped(&text_only("openai"), Wire::Chat, &packets), whole);
    }

    #[test]
    fn no_event_of_a_vendor_breaks_the_shaper(events in prop::collection::vec(any_json(), 0..6)) {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        for (wire, speaks) in [(Wire::Chat, "openai"), (Wire::Claude, "claude"), (Wire::Gemini, "gemini")] {
            let rules = json!({"speaks": speaks, "answer": {"error": "/c"}, "usage": {"input": "/a", "output": "/b"},
                               "stream": {"root": "/a", "done": {"at": "/b", "is": 1}}});
            for template in [text_only(speaks), template(rules)] {
                let (events, _) = shaped(&template, wire, &[stream.as_bytes()]);
                prop_assert!(events.iter().all(Event::is_ended));
            }
        }
    }
}

#[test]
fn a_template_names_its_protocol() {
    for (speaks, format) in [
        ("openai", ProviderFormat::OpenAi),
        ("claude", ProviderFormat::Claude),
        ("gemini", ProviderFormat::Gemini),
    ] {
        assert_eq!(template(json!({"speaks": speaks})).format(), format);
    }
    let responses = template(json!({"speaks": "openai", "paths": {"responses": "/r"}}));
    assert!(responses.speaks_responses() && !responses.names_models());
    assert!(!template(json!({"speaks": "openai"})).speaks_responses());
}

#[test]
fn the_examples_in_the_documents_are_templates() {
    let document = include_str!("../../../docs/providers.md");
    let mut found = 0;
    for block in document.split("```json\n").skip(1) {
        let provider: Value = serde_json::from_str(block.split("```").next().unwrap()).unwrap();
        assert_eq!(provider["api_format"], "custom");
        template(provider["config"]["custom"].clone());
        found += 1;
    }
    assert_eq!(found, 2);
    for key in ["speaks", "paths", "headers", "query", "auth", "body", "answer", "usage", "stream"] {
        assert!(document.contains(&format!("\n| `{key}` |")), "{key} is not told");
    }
}
