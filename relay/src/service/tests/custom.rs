//! Providers that speak no protocol exactly: each client at vendors whose shape a template tells.

use super::*;
use crate::custom::Template;

/// What a vendor was asked.
type Asked = (Uri, HeaderMap, Value);

struct Vendor {
    url: String,
    calls: Arc<Mutex<Vec<Asked>>>,
}

/// A vendor that answers at any path.
async fn vendor(script: impl Fn(&Uri, &Value) -> Response + Send + Sync + 'static) -> Vendor {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (seen, script) = (Arc::clone(&calls), Arc::new(script));
    let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
        async move {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let answer = script(&uri, &body);
            seen.lock().unwrap().push((uri, headers, body));
            answer
        }
    };
    let address = serve(Router::new().fallback(handler)).await;
    Vendor { url: format!("http://{address}/base"), calls }
}

fn custom(url: &str, json: Value) -> Route {
    let template: Template = serde_json::from_value(json).unwrap();
    Route { format: template.format(), custom: Some(template), ..route(url) }
}

/// The three protocols' clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Chat,
    Messages,
    Gemini,
}

const CALLERS: [Caller; 3] = [Caller::Chat, Caller::Messages, Caller::Gemini];

impl Caller {
    async fn call(self, gateway: &Gateway, stream: bool) -> reqwest::Response {
        let say = json!([{"role": "user", "content": "say hello"}]);
        let (path, body) = match self {
            Self::Chat => (
                "/v1/chat/completions".to_owned(),
                json!({"model": "vendor/model", "max_tokens": 50, "stream": stream, "messages": say}),
            ),
            Self::Messages => (
                "/v1/messages".to_owned(),
                json!({"model": "vendor/model", "max_tokens": 50, "stream": stream, "messages": say}),
            ),
            Self::Gemini => {
                let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                let said = json!({"contents": [{"role": "user", "parts": [{"text": "say hello"}]}]});
                (format!("/v1beta/models/vendor/model:{verb}"), said)
            }
        };
        let request =
            gateway.http.post(format!("{}{path}", gateway.url)).bearer_auth(&gateway.key).json(&body);
        request.send().await.unwrap()
    }

    fn text_of(self, json: &Value) -> &str {
        let place = match self {
            Self::Chat => "/choices/0/message/content",
            Self::Messages => "/content/0/text",
            Self::Gemini => "/candidates/0/content/parts/0/text",
        };
        json.pointer(place).and_then(Value::as_str).unwrap_or_default()
    }

    /// The text of a stream, and its end as clients look for it.
    fn text_of_stream(self, stream: &str) -> (String, bool) {
        let place = match self {
            Self::Chat => "/choices/0/delta/content",
            Self::Messages => "/delta/text",
            Self::Gemini => "/candidates/0/content/parts/0/text",
        };
        let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
        let text = events.iter().filter_map(|event| event.pointer(place)?.as_str()).collect();
        let has_end = match self {
            Self::Chat => stream.ends_with(DONE),
            Self::Messages => events.last().is_some_and(|event| event["type"] == "message_stop"),
            Self::Gemini => {
                events.last().is_some_and(|event| event.pointer("/candidates/0/finishReason").is_some())
            }
        };
        (text, has_end)
    }

    fn error_of(self, json: &Value) -> (&str, bool) {
        let has_shape = match self {
            Self::Chat => json["error"]["type"].is_string(),
            Self::Messages => json["type"] == "error",
            Self::Gemini => json["error"]["status"].is_string(),
        };
        (json["error"]["message"].as_str().unwrap_or_default(), has_shape)
    }
}

/// 1000 in, of which 400 were read from a cache and 100 written to it for an hour (which the nearest protocol has no word
/// for), 200 out: at the flat price of [`price`], [`CHARGE`].
fn wrapped() -> Value {
    json!({
        "speaks": "openai",
        "paths": {"chat": "/v3/{model}/invoke?version=7", "models": "/v3/status"},
        "headers": {"api-key": "{key}", "x-tenant": "blue"},
        "body": {
            "rename": {"/max_tokens": "/options/limit", "/max_completion_tokens": "/options/limit"},
            "remove": ["/model", "/stream_options"],
            "set": {"/options/engine": "{model}"},
        },
        "answer": {"root": "/result", "error": "/fault/why"},
        "usage": {"input": "/bill/in", "output": "/bill/out", "cache_read": "/bill/cached", "cache_write_1h": "/bill/hour"},
        "stream": {"root": "/result", "done": "[END]"},
    })
}

const BILL: &str = r#"{"in":1000,"out":200,"cached":400,"hour":100}"#;

#[tokio::test]
async fn a_vendor_that_wraps_everything_is_called_and_charged_exactly_for_every_client() {
    for caller in CALLERS {
        let vendor = vendor(|_, body| {
            if body["stream"] != true {
                let result = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello there"},"finish_reason":"stop"}]}"#;
                return format!(r#"{{"code":0,"result":{result},"bill":{BILL}}}"#).into_response();
            }
            let part = |delta: &str, reason: &str| {
                format!("data: {{\"result\":{{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]}}}}\n\n")
            };
            let stream = [
                part(r#"{"role":"assistant","content":"Hello "}"#, "null"),
                part(r#"{"content":"there 早"}"#, "null"),
                part("{}", r#""stop""#),
                format!("data: {{\"bill\":{BILL}}}\n\ndata: [END]\n\n"),
            ]
            .concat();
            // Packets that end within events and characters.
            let packets: Vec<io::Result<Bytes>> =
                stream.as_bytes().chunks(7).map(|packet| Ok(Bytes::copy_from_slice(packet))).collect();
            sse_of(stream::iter(packets))
        })
        .await;
        let gateway = gateway(vec![custom(&vendor.url, wrapped())]).await;
        let answer = caller.call(&gateway, false).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(caller.text_of(&answer), "Hello there", "{answer}");
        let stream = caller.call(&gateway, true).await.text().await.unwrap();
        assert_eq!(caller.text_of_stream(&stream), ("Hello there 早".into(), true), "{caller:?} {stream}");

        let records = gateway.settled().await;
        let tokens =
            Tokens { input: 500, cache_read: 400, cache_write_1h: 100, output: 200, ..Tokens::default() };
        for record in &records {
            assert_eq!((record.tokens, record.usage_source), (tokens, UsageSource::Provider), "{caller:?}");
            assert_eq!((record.outcome, record.charge.to_string()), (Outcome::Completed, CHARGE.into()));
        }
        let calls = vendor.calls.lock().unwrap();
        assert_eq!((records.len(), calls.len()), (2, 2));
        for (uri, headers, body) in calls.iter() {
            assert_eq!(uri.to_string(), "/base/v3/upstream-model/invoke?version=7");
            assert_eq!(
                (&headers["api-key"], &headers["x-tenant"]),
                (&"provider-key".parse().unwrap(), &"blue".parse().unwrap())
            );
            assert!(
                !headers.contains_key("authorization"),
                "a key is sent where the template says, and nowhere else"
            );
            let limit = if caller == Caller::Gemini { 1000 } else { 50 };
            assert_eq!(body["options"], json!({"limit": limit, "engine": "upstream-model"}));
            assert!(
                body.get("model").is_none()
                    && body.get("max_tokens").is_none()
                    && body.get("stream_options").is_none()
            );
            assert_eq!(body["messages"][0]["content"], "say hello");
        }
    }
}

/// A vendor near Anthropic or Google that only gives text.
fn text_only(speaks: &str, stream: Value) -> Value {
    json!({
        "speaks": speaks,
        "auth": "none",
        "query": {"token": "{key}"},
        "answer": {"text": "/output/text", "finish": "/output/why", "finish_words": {"DONE": "stop"}, "error": "/error"},
        "usage": {"input": "/counts/prompt", "total": "/counts/all", "reasoning": "/counts/thought"},
        "stream": stream,
    })
}

#[tokio::test]
async fn a_vendor_that_gives_only_text_and_cannot_stream_serves_every_client_both_ways() {
    for speaks in ["openai", "claude", "gemini"] {
        for caller in CALLERS {
            let vendor = vendor(|_, _| {
                json_answer(r#"{"output":{"text":"Hello there","why":"DONE"},"counts":{"prompt":1000,"all":1200,"thought":50}}"#)
            })
            .await;
            let mut template = text_only(speaks, json!("none"));
            template.as_object_mut().unwrap().remove("auth");
            let gateway = gateway(vec![custom(&vendor.url, template)]).await;
            let answer: Value = caller.call(&gateway, false).await.json().await.unwrap();
            assert_eq!(caller.text_of(&answer), "Hello there", "{speaks} {caller:?} {answer}");
            let stream = caller.call(&gateway, true).await;
            assert_eq!(stream.headers()["content-type"], "text/event-stream; charset=utf-8");
            let stream = stream.text().await.unwrap();
            assert_eq!(
                caller.text_of_stream(&stream),
                ("Hello there".into(), true),
                "{speaks} {caller:?} {stream}"
            );

            let tokens = Tokens { input: 1000, output: 150, reasoning: 50, ..Tokens::default() };
            let records = gateway.settled().await;
            assert_eq!(records.len(), 2);
            for record in &records {
                assert_eq!(
                    (record.tokens, record.charge.to_string()),
                    (tokens, CHARGE.into()),
                    "{speaks} {caller:?}"
                );
            }
            for (uri, headers, body) in vendor.calls.lock().unwrap().iter() {
                assert!(uri.query().unwrap().ends_with("token=provider-key"), "{uri}");
                assert!(
                    body.get("stream").is_none_or(|it| it == false),
                    "it is asked for a whole answer: {body}"
                );
                assert!(
                    body.get("stream_options").is_none() && !uri.path().contains("streamGenerate"),
                    "{uri} {body}"
                );
                let own = ["authorization", "x-api-key", "x-goog-api-key"];
                assert!(own.iter().all(|name| !headers.contains_key(*name)));
            }
        }
    }
}

#[tokio::test]
async fn lines_of_text_reach_every_client_as_its_own_stream() {
    for speaks in ["openai", "claude", "gemini"] {
        for caller in CALLERS {
            let vendor = vendor(|_, _| {
                let lines = "{\"piece\":\"Hello \"}\n{\"piece\":\"there\"}\n{\"why\":\"DONE\"}\n{\"counts\":{\"prompt\":1000,\"all\":1200},\"last\":1}\n";
                // A content type that would mean one whole answer.
                ([("content-type", "application/json")], lines).into_response()
            })
            .await;
            let rules = json!({"framing": "lines", "text": "/piece", "finish": "/why", "done": {"at": "/last", "is": 1}});
            let mut template = text_only(speaks, rules);
            template["query"] = json!({});
            let gateway = gateway(vec![custom(&vendor.url, template)]).await;
            let stream = caller.call(&gateway, true).await.text().await.unwrap();
            assert_eq!(
                caller.text_of_stream(&stream),
                ("Hello there".into(), true),
                "{speaks} {caller:?} {stream}"
            );
            let record = gateway.settled_one().await;
            assert_eq!(
                (record.charge.to_string(), record.usage_source),
                (CHARGE.into(), UsageSource::Provider)
            );
            let (_, headers, _) = &vendor.calls.lock().unwrap()[0];
            let own = ["authorization", "x-api-key", "x-goog-api-key"];
            assert!(own.iter().all(|name| !headers.contains_key(*name)), "it wants no key at all");
        }
    }
}

#[tokio::test]
async fn a_vendors_refusal_reaches_each_client_in_its_own_shape_and_costs_nothing() {
    for caller in CALLERS {
        let vendor = vendor(|_, _| {
            (StatusCode::BAD_REQUEST, r#"{"fault":{"why":"the prompt is too long"}}"#).into_response()
        })
        .await;
        let gateway = gateway(vec![custom(&vendor.url, wrapped())]).await;
        for stream in [false, true] {
            let answer = caller.call(&gateway, stream).await;
            assert_eq!(answer.status(), 400);
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(caller.error_of(&answer), ("the prompt is too long", true), "{caller:?} {answer}");
        }
        let records = gateway.settled().await;
        assert!(records.iter().all(|it| it.outcome == Outcome::Refused && it.charge == Credits::ZERO));
    }
}

#[tokio::test]
async fn an_error_with_status_200_is_a_failed_try_and_the_next_provider_is_asked() {
    let failing =
        vendor(|_, _| json_answer(r#"{"code":1302,"fault":{"why":"overloaded"},"result":null}"#)).await;
    let well = provider(|_| json_answer(ANSWER)).await;
    let first = Route { provider: label("odd"), priority: 1, ..custom(&failing.url, wrapped()) };
    let gateway = gateway(vec![first, route(&well.url)]).await;
    assert_eq!(gateway.call("").await.text().await.unwrap(), ANSWER);
    let record = gateway.settled_one().await;
    let tries: Vec<_> = record
        .attempts
        .iter()
        .map(|it| (it.provider.as_str(), it.error.as_ref().map(Label::as_str)))
        .collect();
    assert_eq!(tries, [("odd", Some("error_in_answer")), ("fake", None)]);
    assert_eq!(record.charge.to_string(), CHARGE);
}

#[tokio::test]
async fn a_stream_that_breaks_off_or_fails_ends_with_an_error_and_is_charged_for_what_came() {
    let parts: [(&[&'static str], &str); 3] = [
        (&["data: {\"piece\":\"Hello there, \"}\n\n"], "cut_off"),
        (
            &["data: {\"piece\":\"Hello there, \"}\n\n", "data: {\"error\":\"overloaded\"}\n\n"],
            "error_in_stream",
        ),
        (
            &[
                "data: {\"piece\":\"Hello there, \"}\n\n",
                "data: {\"piece\":\"ho\n\n",
                "data: {\"why\":\"DONE\"}\n\n",
            ],
            "illegible",
        ),
    ];
    for (parts, code) in parts {
        for caller in [Caller::Chat, Caller::Messages] {
            let vendor = vendor(move |_, _| sse(parts)).await;
            let template = text_only("openai", json!({"text": "/piece", "finish": "/why"}));
            let mut template = template;
            template["query"] = json!({});
            let gateway = gateway(vec![custom(&vendor.url, template)]).await;
            let stream = caller.call(&gateway, true).await.text().await.unwrap();
            let (text, has_end) = caller.text_of_stream(&stream);
            assert_eq!((text.as_str(), has_end), ("Hello there, ", false), "{stream}");
            assert!(stream.contains("\"error\""), "{caller:?} {code} {stream}");
            let record = gateway.settled_one().await;
            let failure = record.attempts[0].error.as_ref().unwrap();
            assert_eq!((record.outcome, failure.as_str()), (Outcome::ProviderError, code));
            assert_eq!(record.usage_source, UsageSource::Estimated);
            assert!(record.charge.is_positive() && record.tokens.output > 0);
        }
    }
}

#[tokio::test]
async fn missing_counts_are_estimated_and_never_free() {
    let vendor =
        vendor(|_, _| json_answer(r#"{"output":{"text":"Hello there"},"counts":{"prompt":1000}}"#)).await;
    let mut template = text_only("openai", json!("none"));
    template.as_object_mut().unwrap().remove("auth");
    let gateway = gateway(vec![custom(&vendor.url, template)]).await;
    assert_eq!(gateway.call("").await.status(), 200);
    let record = gateway.settled_one().await;
    assert_eq!(record.usage_source, UsageSource::Estimated);
    assert!(record.tokens.output > 0 && record.charge.is_positive());
    assert!((1..1000).contains(&record.tokens.input), "half of the counts are no counts");
}

#[tokio::test]
async fn what_the_paths_do_not_name_is_not_asked_of_the_provider() {
    let vendor = vendor(|uri, _| match uri.path() {
        "/base/embed" => {
            json_answer(r#"{"result":{"data":[{"index":0,"embedding":[0.5]}]},"bill":{"all":1000}}"#)
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let template = json!({
        "speaks": "openai", "paths": {"embeddings": "/embed"}, "answer": {"root": "/result"},
        "usage": {"input": "/bill/all", "total": "/bill/all"},
    });
    let gateway = gateway(vec![custom(&vendor.url, template)]).await;
    let refused = gateway.call("").await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "endpoint_unsupported");
    let request = gateway.http.post(format!("{}/v1/embeddings", gateway.url)).bearer_auth(&gateway.key);
    let answer = request.json(&json!({"model": "vendor/model", "input": "say hello"})).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["data"][0]["embedding"], &answer["usage"]["prompt_tokens"]),
        (&json!([0.5]), &json!(1000))
    );
    let record = gateway.settled_one().await;
    assert_eq!((record.charge.to_string(), record.usage_source), ("0.003".into(), UsageSource::Provider));
    assert_eq!(vendor.calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_provider_is_probed_at_the_address_that_its_template_names() {
    let template: Template = serde_json::from_value(wrapped()).unwrap();
    let (url, headers) =
        crate::models_request(template.format(), "https://h/base", Some(&template), "k").unwrap();
    assert_eq!((url.as_str(), &headers["api-key"]), ("https://h/base/v3/status", &"k".parse().unwrap()));
    assert!(!headers.contains_key("authorization") && headers["api-key"].is_sensitive());
    let plain: Template = serde_json::from_value(json!({"speaks": "claude", "query": {"v": "1"}})).unwrap();
    let (url, headers) = crate::models_request(plain.format(), "https://h", Some(&plain), "k").unwrap();
    assert_eq!((url.as_str(), &headers["x-api-key"]), ("https://h/v1/models?v=1", &"k".parse().unwrap()));
    let (url, headers) = crate::models_request(ProviderFormat::Gemini, "https://h", None, "k").unwrap();
    assert_eq!(
        (url.as_str(), &headers["x-goog-api-key"]),
        ("https://h/v1beta/models", &"k".parse().unwrap())
    );
}

#[tokio::test]
async fn a_vendor_near_anthropic_is_asked_to_count_where_its_template_says() {
    let vendor = vendor(|_, _| json_answer(r#"{"result":{"input_tokens":4321}}"#)).await;
    let template = |paths: Value| json!({"speaks": "claude", "paths": paths, "headers": {"key": "{key}"}, "answer": {"root": "/result"}, "stream": {}});
    for (paths, is_asked) in
        [(json!({"chat": "/c", "count_tokens": "/n/{model}"}), true), (json!({"chat": "/c"}), false)]
    {
        let gateway = gateway(vec![custom(&vendor.url, template(paths))]).await;
        let body = json!({"model": "vendor/model", "messages": [{"role": "user", "content": "say hello"}]});
        let request = gateway.http.post(format!("{}/v1/messages/count_tokens", gateway.url));
        let answer = request.bearer_auth(&gateway.key).json(&body).send().await.unwrap();
        let counted = answer.json::<Value>().await.unwrap()["input_tokens"].as_u64().unwrap();
        assert_eq!(counted == 4321, is_asked, "else it is our own guess: {counted}");
    }
    let calls = vendor.calls.lock().unwrap();
    assert_eq!((calls.len(), calls[0].0.path()), (1, "/base/n/upstream-model"));
    assert_eq!(calls[0].1["key"], "provider-key");
}
