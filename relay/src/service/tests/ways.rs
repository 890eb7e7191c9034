//! The ways of a call: limits, keys, health, other protocols.

use super::*;
use crate::limits::{Limit, Subject, SubjectKind};

fn key(name: &str) -> ProviderKey {
    ProviderKey { name: label(name), secret: Secret::new(name) }
}

impl Gateway {
    /// The catalogue with another grant for its key.
    fn grants(&self, edit: impl Fn(&mut KeyGrant)) {
        let mut catalogue = Catalogue::clone(&self.relay.0.catalogue.load());
        for grant in catalogue.keys.values_mut() {
            edit(Arc::make_mut(grant));
        }
        self.relay.0.catalogue.store(Arc::new(catalogue));
    }

    async fn messages(&self, fields: &str) -> reqwest::Response {
        let body = format!(
            r#"{{"model":"vendor/model","max_tokens":50,"messages":[{{"role":"user","content":"say hello"}}]{fields}}}"#
        );
        let request = self.http.post(format!("{}/v1/messages", self.url)).header("x-api-key", &self.key);
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    }
}

fn chosen(record: &Usage) -> Vec<(String, Option<String>, Option<String>)> {
    let text = |label: &Option<Label>| label.as_ref().map(ToString::to_string);
    record.attempts.iter().map(|it| (text(&it.key).unwrap(), text(&it.chosen), text(&it.error))).collect()
}

#[tokio::test]
async fn a_key_beyond_its_limit_is_refused_before_anything_is_held() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let limit = Limit { requests_per_minute: Some(2), ..Limit::NONE };
    gateway.grants(|grant| grant.limits = vec![(Subject::new(SubjectKind::Key, "k"), limit)]);
    let first = gateway.call("").await;
    assert_eq!(first.headers()["x-ratelimit-limit-requests"], "2");
    assert_eq!(first.headers()["x-ratelimit-remaining-requests"], "1");
    assert_eq!(gateway.call("").await.status(), 200);
    gateway.settled().await;
    let holds = gateway.wallet.0.lock().unwrap().holds;
    let refused = gateway.call("").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(refused.headers()["x-ratelimit-remaining-requests"], "0");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "rate_limit_exceeded", "{body}");
    let theirs = gateway.messages("").await;
    assert_eq!(
        (theirs.status().as_u16(), theirs.headers()["anthropic-ratelimit-requests-limit"].as_bytes()),
        (429, &b"2"[..])
    );
    assert_eq!(theirs.json::<Value>().await.unwrap()["error"]["type"], "rate_limit_error");
    assert_eq!(gateway.wallet.0.lock().unwrap().holds, holds, "nothing was held");
    assert_eq!(gateway.settled().await.len(), 2);
}

#[tokio::test]
async fn a_provider_beyond_its_limit_is_passed_over_and_all_of_them_are_busy() {
    let (small, large) = (provider(|_| json_answer(ANSWER)).await, provider(|_| json_answer(ANSWER)).await);
    let mut routes = ranked(&[&small.url, &large.url]);
    for (route, most) in routes.iter_mut().zip([1, 2]) {
        let limit = Limit { requests_per_minute: Some(most), ..Limit::NONE };
        route.limit = Some((Subject::new(SubjectKind::Provider, route.provider.as_str()), limit));
    }
    let gateway = gateway(routes).await;
    for _ in 0..3 {
        assert_eq!(gateway.call("").await.status(), 200);
    }
    let busy = gateway.call("").await;
    assert_eq!(busy.status(), 429);
    let records = gateway.settled().await;
    assert_eq!(
        (records.len(), small.calls.lock().unwrap().len(), large.calls.lock().unwrap().len()),
        (3, 1, 2)
    );
    assert_eq!(chosen(&records[1])[0], ("main".into(), None, Some("rate_limited".into())));
}

#[tokio::test]
async fn a_key_that_is_refused_is_left_alone_and_the_next_one_serves() {
    let gate = picky("good").await;
    let mut routes = ranked(&[&gate.url]);
    routes[0].keys = vec![key("bad"), key("good")];
    let gateway = gateway(routes).await;
    for _ in 0..3 {
        assert_eq!(gateway.call("").await.status(), 200);
    }
    let records = gateway.settled().await;
    let tried = gate
        .calls
        .lock()
        .unwrap()
        .iter()
        .filter(|(headers, _)| headers["authorization"] == "Bearer bad")
        .count();
    assert!(tried <= 1, "it was tried once at most, as the account's number drew");
    assert!(records.iter().all(|record| record.outcome == Outcome::Completed));
    let last = chosen(&records[2]);
    assert_eq!(last.last().unwrap().0, "good");
    if tried == 1 {
        assert_eq!(last[0], ("bad".into(), None, Some("circuit_open".into())));
    }
}

#[tokio::test]
async fn a_flagged_prompt_is_its_callers_affair_and_leaves_the_key_to_the_others() {
    let flagged = r#"{"error":{"message":"Your input was flagged","code":403}}"#;
    let provider = provider(move |body| match body["x"].as_str() {
        Some("flagged") => (StatusCode::FORBIDDEN, flagged).into_response(),
        Some(_) => StatusCode::FORBIDDEN.into_response(),
        None => json_answer(ANSWER),
    })
    .await;
    let gateway = gateway(ranked(&[&provider.url, &provider.url])).await;
    let refused = gateway.call(r#","x":"flagged""#).await;
    assert_eq!(refused.status(), 403);
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["message"], "Your input was flagged");
    assert_eq!(provider.calls.lock().unwrap().len(), 1, "no other provider was asked");
    for _ in 0..5 {
        assert_eq!(gateway.call(r#","x":"forbidden""#).await.status(), 502);
    }
    assert_eq!(gateway.call("").await.status(), 200);
    let records = gateway.settled().await;
    assert_eq!((records[0].outcome, records[0].charge), (Outcome::Refused, Credits::ZERO));
    assert_eq!(chosen(records.last().unwrap()).len(), 1, "the first provider's key is not left alone");
}

/// A provider that knows one key.
async fn picky(good: &'static str) -> Provider {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let handler = move |headers: HeaderMap, body: Bytes| {
        let seen = Arc::clone(&seen);
        async move {
            let is_good = headers["authorization"] == format!("Bearer {good}");
            seen.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
            if is_good { json_answer(ANSWER) } else { StatusCode::UNAUTHORIZED.into_response() }
        }
    };
    let address = serve(Router::new().route("/api/v1/chat/completions", post(handler))).await;
    Provider { url: format!("http://{address}/api/v1"), calls }
}

#[tokio::test]
async fn a_provider_that_fails_again_and_again_is_not_called_for_a_while() {
    let bad = provider(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()).await;
    let gateway = gateway(ranked(&[&bad.url])).await;
    for _ in 0..5 {
        assert_eq!(gateway.call("").await.status(), 502);
    }
    let unwell = gateway.call("").await;
    assert_eq!(unwell.status(), 503);
    assert!(unwell.headers().contains_key("retry-after"));
    let body: Value = unwell.json().await.unwrap();
    assert_eq!(body["error"]["code"], "providers_unwell", "{body}");
    assert_eq!((gateway.settled().await.len(), bad.calls.lock().unwrap().len()), (5, 5));
}

#[tokio::test]
async fn while_a_provider_says_that_it_is_busy_so_do_we() {
    let busy = provider(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response()).await;
    let gateway = gateway(ranked(&[&busy.url])).await;
    for _ in 0..3 {
        let answer = gateway.call("").await;
        let retry_after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert_eq!((answer.status().as_u16(), (1..=7).contains(&retry_after)), (429, true));
    }
    gateway.settled().await;
    assert_eq!(busy.calls.lock().unwrap().len(), 1, "it is not asked again before its time");
}

#[tokio::test]
async fn a_callers_own_fault_leaves_the_provider_well() {
    let refusing =
        provider(|_| (StatusCode::BAD_REQUEST, r#"{"error":{"message":"no"}}"#).into_response()).await;
    let gateway = gateway(ranked(&[&refusing.url])).await;
    for _ in 0..8 {
        assert_eq!(gateway.call("").await.status(), 400);
    }
    gateway.settled().await;
    assert_eq!(refusing.calls.lock().unwrap().len(), 8);
}

#[tokio::test]
async fn counting_tokens_keeps_to_the_limits_and_leaves_unwell_providers_alone() {
    let asked = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&asked);
    let count = move || {
        let seen = Arc::clone(&seen);
        async move {
            *seen.lock().unwrap() += 1;
            json_answer(r#"{"input_tokens":7777}"#)
        }
    };
    let router = Router::new()
        .route("/v1/messages/count_tokens", post(count))
        .route("/v1/messages", post(|| async { StatusCode::UNAUTHORIZED }));
    let mut routes = ranked(&[&format!("http://{}", serve(router).await)]);
    routes[0].format = ProviderFormat::Claude;
    let limit = |most| Limit { requests_per_minute: Some(most), ..Limit::NONE };
    routes[0].limit = Some((Subject::new(SubjectKind::Provider, "fake"), limit(3)));
    let gateway = gateway(routes).await;
    gateway.grants(|grant| grant.limits = vec![(Subject::new(SubjectKind::Key, "k"), limit(5))]);
    let count = async || {
        let request = gateway.http.post(format!("{}/v1/messages/count_tokens", gateway.url));
        let answer = request.header("x-api-key", &gateway.key).header("content-type", "application/json");
        let answer = answer.body(body("")).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["input_tokens"].as_u64())
    };
    assert_eq!(count().await, (200, Some(7777)));
    assert_eq!(gateway.messages("").await.status(), 502, "the key is refused, and left alone from now on");
    let guess = count().await;
    assert!(guess.0 == 200 && guess.1.is_some_and(|tokens| tokens < 1000), "{guess:?}");
    gateway.relay.health().forgive(&label("fake"));
    assert_eq!(count().await, (200, Some(7777)));
    assert_eq!(count().await, guess, "the provider's limit is reached");
    assert_eq!(count().await, (429, None), "and now the key's");
    assert_eq!(*asked.lock().unwrap(), 2);
    gateway.relay.drain(Duration::ZERO).await;
    assert_eq!(count().await.0, 503);
}

#[tokio::test]
async fn an_answer_that_reached_nobody_is_not_charged_and_its_cost_is_booked() {
    const ODD: &str = r#"{"content":[{"type":"text","text":"Hello there"}],"error":{"message":"x"},"usage":{"input_tokens":1000,"output_tokens":200}}"#;
    let address = serve(Router::new().route("/v1/messages", post(|| async { json_answer(ODD) }))).await;
    let mut routes = ranked(&[&format!("http://{address}")]);
    routes[0].format = ProviderFormat::Claude;
    let gateway = gateway(routes).await;
    assert_eq!(gateway.call("").await.status(), 502);
    let record = gateway.settled_one().await;
    assert_eq!(record.attempts[0].error, Some(label("unconvertible")));
    assert_eq!((record.charge, record.cost.to_string()), (Credits::ZERO, "0.002".into()));
}

#[tokio::test]
async fn whoever_asks_for_the_charge_finds_it_in_the_counts() {
    let whole = provider(|_| json_answer(ANSWER)).await;
    let streaming = provider(|_| sse(&[ROLE, HELLO, FINISH, USAGE, DONE])).await;
    let gateway_of = async |url: &str| gateway(ranked(&[url])).await;
    let gateway = gateway_of(&whole.url).await;
    let response = gateway.post(body("")).header("x-nexusroute-cost", "true").send().await.unwrap();
    assert_eq!(response.headers()["x-nexusroute-charge"], CHARGE);
    assert_eq!(response.json::<Value>().await.unwrap()["usage"]["cost"], CHARGE);
    let gateway = gateway_of(&streaming.url).await;
    let fields = r#","stream":true,"stream_options":{"include_usage":true}"#;
    let response = gateway.post(body(fields)).header("x-nexusroute-cost", "true").send().await.unwrap();
    let text = response.text().await.unwrap();
    assert!(text.contains(&format!("\"usage\":{{\"cost\":\"{CHARGE}\",")), "{text}");
    assert!(text.ends_with(DONE));
}

#[tokio::test]
async fn a_caller_of_another_protocol_gets_its_own_words_and_is_told_what_was_left_out() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let response = gateway.messages(r#","top_k":5"#).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-nexusroute-dropped"], "top_k");
    let answer: Value = response.json().await.unwrap();
    assert_eq!((&answer["type"], &answer["content"][0]["text"]), (&json!("message"), &json!("Hello there")));
    assert_eq!(
        (&answer["usage"]["input_tokens"], &answer["stop_reason"]),
        (&json!(1000), &json!("end_turn"))
    );
    let record = gateway.settled_one().await;
    assert_eq!((record.charge.to_string(), record.endpoint.as_str()), (CHARGE.into(), "/v1/messages"));
    let sent = provider.calls.lock().unwrap()[0].1.clone();
    assert_eq!((&sent["model"], &sent["max_tokens"]), (&json!("upstream-model"), &json!(50)));

    let refused =
        gateway.messages(r#","model_":1,"tools":[{"type":"text_editor_20250728","name":"edit"}]"#).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["type"], "invalid_request_error");
    assert_eq!(gateway.settled().await.len(), 1, "what cannot be asked is neither sent nor recorded");
}

#[tokio::test]
async fn what_no_price_covers_passes_only_where_the_operator_bears_it() {
    for (allow_unpriced, status, sent) in [(false, 400, 0), (true, 200, 1)] {
        let provider = provider(|_| json_answer(ANSWER)).await;
        let options = RelayOptions { allow_unpriced, ..RelayOptions::default() };
        let gateway = gateway_with(options, PLENTY, ranked(&[&provider.url])).await;
        let response = gateway.call(r#","service_tier":"priority""#).await;
        assert_eq!(response.status(), status);
        let body: Value = response.json().await.unwrap();
        if !allow_unpriced {
            assert_eq!(body["error"]["param"], "service_tier", "{body}");
            assert_eq!(gateway.wallet.0.lock().unwrap().holds, 0);
        }
        assert_eq!(provider.calls.lock().unwrap().len(), sent);
    }
}

#[tokio::test]
async fn an_endpoint_that_no_provider_offers_is_refused_before_a_hold() {
    let mut routes = ranked(&["http://127.0.0.1:1"]);
    routes[0].format = ProviderFormat::Claude;
    let gateway = gateway(routes).await;
    let response = gateway
        .http
        .post(format!("{}/v1/images/generations", gateway.url))
        .bearer_auth(&gateway.key)
        .json(&json!({"model": "vendor/model", "prompt": "a red dot"}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["code"], "endpoint_unsupported", "{body}");
    assert_eq!(gateway.wallet.0.lock().unwrap().holds, 0);
}

#[tokio::test]
async fn sound_passes_as_it_comes_and_costs_its_characters() {
    for (breaks, ending) in [(false, Outcome::Completed), (true, Outcome::ProviderError)] {
        let handler = move || async move {
            let parts: Vec<io::Result<Bytes>> =
                vec![Ok(Bytes::from_static(b"ID3\x04data: {")), Ok(Bytes::from_static(b"\n\nsound"))];
            let end = stream::once(async {
                tokio::task::yield_now().await;
                Err(io::Error::other("the provider died"))
            });
            let body = if breaks {
                Body::from_stream(stream::iter(parts).chain(end))
            } else {
                Body::from_stream(stream::iter(parts))
            };
            ([("content-type", "audio/mpeg")], body).into_response()
        };
        let address = serve(Router::new().route("/v1/audio/speech", post(handler))).await;
        let gateway = gateway(ranked(&[&format!("http://{address}/v1")])).await;
        let mut catalogue = Catalogue::clone(&gateway.relay.0.catalogue.load());
        let model = catalogue.models.get_mut("vendor/model").unwrap();
        Arc::make_mut(model).price.as_mut().unwrap().prices.base.per_million_characters =
            Some(Decimal::from(15));
        gateway.relay.0.catalogue.store(Arc::new(catalogue));
        let response = gateway
            .http
            .post(format!("{}/v1/audio/speech", gateway.url))
            .bearer_auth(&gateway.key)
            .json(&json!({"model": "vendor/model", "input": "Hello there", "voice": "alloy"}))
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["content-type"], "audio/mpeg");
        assert_eq!(response.bytes().await.unwrap(), &b"ID3\x04data: {\n\nsound"[..], "and nothing else");
        let record = gateway.settled_one().await;
        assert_eq!(record.outcome, ending);
        if !breaks {
            assert_eq!((record.tokens.characters, record.charge.to_string()), (11, "0.000165".into()));
        }
    }
}
