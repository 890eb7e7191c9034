//! Whole calls: a real client, the relay's router, and a provider, over loopback. Only the meter is a counter.

use super::*;
use crate::catalogue::{KeyStatus, Model, Priced, ProviderFormat, ProviderKey, Route, Secret};
use crate::key;
use crate::limits::Admitted;
use crate::metering::Holding;
use axum::http::StatusCode;
use domain::Moment;
use domain::price::PriceList;
use domain::usage::Usage;
use domain::{AccountId, Credits, KeyId, Outcome, PriceVersionId, Prices, Tokens, UsageSource};
use futures_util::stream;
use ledger::{HoldError, HoldRequest, Settled};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A meter that is one wallet in memory.
#[derive(Clone, Default)]
struct Wallet(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    available: i64,
    held: i64,
    confirms: bool,
    /// Holding panics.
    breaks: bool,
    holds: u64,
    /// What a crash would have left.
    drafts: Vec<Usage>,
    records: Vec<Usage>,
}

struct Reserved {
    wallet: Wallet,
    credits: Credits,
}

impl Metering for Wallet {
    type Hold = Reserved;

    async fn hold(&self, request: HoldRequest) -> Result<Reserved, HoldError> {
        let mut books = self.0.lock().unwrap();
        let wanted = request.worst_case;
        if std::mem::take(&mut books.breaks) {
            drop(books);
            panic!("the meter is broken");
        }
        if books.available < wanted.nano() {
            return Err(HoldError::InsufficientCredits {
                available: Credits::from_nano(books.available),
                wanted,
            });
        }
        books.available -= wanted.nano();
        books.held += wanted.nano();
        books.holds += 1;
        Ok(Reserved { wallet: self.clone(), credits: wanted })
    }
}

impl Reserved {
    fn end(&mut self, spent: i64) {
        let mut books = self.wallet.0.lock().unwrap();
        books.held -= self.credits.nano();
        books.available += self.credits.nano() - spent;
        self.credits = Credits::ZERO;
    }
}

impl Holding for Reserved {
    async fn open(&mut self, usage: Usage) -> Result<(), HoldError> {
        let mut books = self.wallet.0.lock().unwrap();
        books.drafts.push(usage);
        match books.confirms {
            true => Ok(()),
            false => Err(HoldError::Unavailable("the lease has run out".into())),
        }
    }

    fn mark(&self, usage: Usage) {
        self.wallet.0.lock().unwrap().drafts.push(usage);
    }

    fn held(&self) -> Credits {
        self.credits
    }

    async fn extend(&mut self, wanted: Credits) -> Credits {
        let mut books = self.wallet.0.lock().unwrap();
        let more = (wanted.nano() - self.credits.nano()).clamp(0, books.available.max(0));
        books.available -= more;
        books.held += more;
        self.credits = Credits::from_nano(self.credits.nano() + more);
        self.credits
    }

    async fn settle(mut self, usage: Usage) -> Settled {
        let paid = usage.charge;
        self.end(paid.nano());
        self.wallet.0.lock().unwrap().records.push(usage);
        Settled { paid, uncovered: Credits::ZERO }
    }

    fn release(self) {}
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.end(0);
    }
}

/// What a provider does with a call.
type Script = Box<dyn Fn(Value) -> Response + Send + Sync>;

struct Provider {
    url: String,
    calls: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

async fn provider(script: impl Fn(Value) -> Response + Send + Sync + 'static) -> Provider {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (seen, script) = (Arc::clone(&calls), Arc::new(script));
    let handler = move |headers: HeaderMap, body: Bytes| {
        let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
        async move {
            let body: Value = serde_json::from_slice(&body).unwrap();
            seen.lock().unwrap().push((headers, body.clone()));
            script(body)
        }
    };
    let address = serve(Router::new().route("/api/v1/chat/completions", post(handler))).await;
    Provider { url: format!("http://{address}/api/v1"), calls }
}

/// A gateway with one key, one account and one model, `vendor/model`, at 3 credits a million in and 15 out.
struct Gateway {
    url: String,
    key: String,
    wallet: Wallet,
    relay: Relay<Wallet>,
    http: reqwest::Client,
}

const PLENTY: i64 = 1_000_000_000_000;

fn label(text: &str) -> Label {
    Label::try_new(text).unwrap()
}

fn route(url: &str) -> Route {
    Route {
        provider: label("fake"),
        format: ProviderFormat::OpenAi,
        custom: None,
        base_url: url.into(),
        speaks_responses: false,
        keys: vec![ProviderKey { name: label("main"), secret: Secret::new("provider-key") }],
        upstream_model: label("upstream-model"),
        cost: Some(Prices::flat(PriceList::plain(Decimal::ONE, Decimal::from(5)))),
        priority: 0,
        weight: 1,
        limit: None,
    }
}

/// The request that most tests send, as it is read.
fn chat() -> Asked {
    Asked::try_new(Endpoint::Chat, PathSays::default(), &HeaderMap::new(), body("").into()).unwrap()
}

fn price() -> Priced {
    Priced {
        version: PriceVersionId::from_uuid(Uuid::nil()),
        prices: Prices::flat(PriceList::plain(Decimal::from(3), Decimal::from(15))),
    }
}

fn model(name: &str, price: Option<Priced>, routes: Vec<Route>) -> (String, Arc<Model>) {
    let created = Moment::from_micros(1_700_000_000_000_000);
    let model = Model { name: label(name), created, price, max_output_tokens: 1000, routes, limit: None };
    (name.to_owned(), Arc::new(model))
}

/// Providers in the order in which they are tried.
fn ranked(urls: &[&str]) -> Vec<Route> {
    let named = |index: i32| if index == 0 { label("fake") } else { label(&format!("fake-{index}")) };
    let ranked =
        |(url, index): (&&str, i32)| Route { provider: named(index), priority: -index, ..route(url) };
    urls.iter().zip(0..).map(ranked).collect()
}

async fn gateway_with(options: RelayOptions, available: i64, routes: Vec<Route>) -> Gateway {
    // Fails where another test of the same process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let minted = key::mint();
    let grant = KeyGrant {
        key: KeyId::from_uuid(Uuid::nil()),
        account: AccountId::from_uuid(Uuid::nil()),
        status: KeyStatus::Active,
        expires_at: None,
        models: Some(["vendor/model", "free/model", "idle", "unknown"].map(String::from).into()),
        ip_allow: vec!["127.0.0.0/8".parse().unwrap()],
        budget: None,
        multiplier: Decimal::ONE,
        limits: Vec::new(),
        last_use: Arc::default(),
    };
    let models = BTreeMap::from([
        model("vendor/model", Some(price()), routes.clone()),
        model("free/model", None, routes.clone()),
        model("idle", Some(price()), Vec::new()),
        model("secret/model", Some(price()), routes),
    ]);
    let catalogue = Catalogue { keys: [(minted.hash, Arc::new(grant))].into(), models };
    let wallet = Wallet(Arc::new(Mutex::new(Books { available, confirms: true, ..Books::default() })));
    let http =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let catalogue = Arc::new(ArcSwap::from_pointee(catalogue));
    let client = crate::provider_client(&options, NoNames).unwrap();
    let relay = Relay::new(wallet.clone(), catalogue, client, Limits::in_process(), options);
    let url = format!("http://{}", serve(relay.router()).await);
    Gateway { url, key: minted.secret.expose().to_owned(), wallet, relay, http }
}

/// Test providers are called by their addresses.
struct NoNames;

impl reqwest::dns::Resolve for NoNames {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(std::future::ready(Err("no test calls a provider by its name".into())))
    }
}

async fn gateway(routes: Vec<Route>) -> Gateway {
    let options = RelayOptions { top_up_url: "https://gateway/topup".into(), ..RelayOptions::default() };
    gateway_with(options, PLENTY, routes).await
}

impl Gateway {
    fn post(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.http
            .post(format!("{}/v1/chat/completions", self.url))
            .bearer_auth(&self.key)
            .header("content-type", "application/json")
            .body(body)
    }

    async fn call(&self, fields: &str) -> reqwest::Response {
        self.post(body(fields)).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key).send().await.unwrap()
    }

    fn records(&self) -> Vec<Usage> {
        self.wallet.0.lock().unwrap().records.clone()
    }

    /// Waits until every call is settled; then nothing may be held, and what was spent is the sum of the charges.
    async fn settled(&self) -> Vec<Usage> {
        let calls = &self.relay.0.calls;
        tokio::time::timeout(Duration::from_secs(20), calls.wait()).await.expect("every call ends");
        let books = self.wallet.0.lock().unwrap();
        assert_eq!(books.held, 0);
        for record in &books.records {
            assert!(record.charge == Credits::ZERO || record.charge == record.derived_charge().unwrap());
        }
        books.records.clone()
    }

    async fn settled_one(&self) -> Usage {
        let mut records = self.settled().await;
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }
}

fn body(fields: &str) -> String {
    format!(
        r#"{{"model": "vendor/model", "messages": [{{"role": "user", "content": "say hello"}}]{fields}}}"#
    )
}

const STREAM: &str = r#", "stream": true"#;

fn json_answer(body: &'static str) -> Response {
    ([("content-type", "application/json"), ("x-ratelimit-remaining-requests", "3")], body).into_response()
}

const ANSWER: &str = r#"{"id":"c1", "object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":200,"total_tokens":1200}, "vendor_field":1.50}"#;

fn sse_of(parts: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response {
    ([("content-type", "text/event-stream")], Body::from_stream(parts)).into_response()
}

fn sse(parts: &[&'static str]) -> Response {
    let parts: Vec<io::Result<Bytes>> =
        parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect();
    sse_of(stream::iter(parts))
}

/// As [`sse`], and then the connection breaks.
fn sse_broken(parts: &[&'static str]) -> Response {
    let parts: Vec<io::Result<Bytes>> =
        parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect();
    let end = stream::once(async {
        // A server that has to wait writes what it has before it hears of the end.
        tokio::task::yield_now().await;
        Err(io::Error::other("the provider died"))
    });
    sse_of(stream::iter(parts).chain(end))
}

const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n";
const HELLO: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello \"},\"finish_reason\":null}],\"usage\":null}\n\n";
const THERE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"there 早\"},\"finish_reason\":null}],\"usage\":null}\n\n";
const FINISH: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":200}}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const AZURE: &str = "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n";

/// 1000 × 3 + 200 × 15 millionths.
const CHARGE: &str = "0.006";

#[tokio::test]
async fn a_whole_answer_passes_untouched_and_costs_tokens_times_price() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let response = gateway.call(r#", "x_vendor": {"a": [1, 2.50]}"#).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("x-ratelimit-remaining-requests").is_none());
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(response.text().await.unwrap(), ANSWER);
    // Settled before the caller had its answer.
    let record = gateway.records().remove(0);
    assert_eq!(record.request.to_string(), id);
    assert_eq!(record.tokens, Tokens { input: 1000, output: 200, ..Tokens::default() });
    assert_eq!((record.charge.to_string(), record.cost.to_string()), (CHARGE.into(), "0.002".into()));
    assert_eq!((record.outcome, record.usage_source), (Outcome::Completed, UsageSource::Provider));
    assert_eq!((record.status, record.attempts.len(), record.stream), (200, 1, false));
    assert!(record.ttft_ms.is_some());
    gateway.settled().await;

    let (headers, sent) = provider.calls.lock().unwrap().remove(0);
    assert_eq!(headers["authorization"], "Bearer provider-key");
    assert_eq!(headers["accept-encoding"], "identity");
    assert_eq!(
        sent,
        json!({"model": "upstream-model", "max_tokens": 1000, "x_vendor": {"a": [1, 2.50]},
            "messages": [{"role": "user", "content": "say hello"}]})
    );
}

#[tokio::test]
async fn a_stream_passes_event_by_event_and_hides_the_usage_that_only_we_asked_for() {
    // Packets that respect no event, nor any character.
    let all = [AZURE, ": keep\r\n\r\n", ROLE, HELLO, THERE, FINISH, USAGE, DONE].concat();
    let pieces: Vec<Bytes> = all.as_bytes().chunks(7).map(Bytes::copy_from_slice).collect();
    let provider = provider(move |_| sse_of(stream::iter(pieces.clone().into_iter().map(Ok)))).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let response = gateway.call(STREAM).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let text = response.text().await.unwrap();
    assert_eq!(text, [AZURE, ": keep\r\n\r\n", ROLE, HELLO, THERE, FINISH, DONE].concat());
    let record = gateway.settled_one().await;
    assert_eq!((record.charge.to_string(), record.outcome), (CHARGE.into(), Outcome::Completed));
    assert!(record.stream);
    assert_eq!(provider.calls.lock().unwrap()[0].1["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn a_caller_that_asked_for_the_usage_gets_it() {
    let provider = provider(|_| sse(&[ROLE, HELLO, FINISH, USAGE, DONE])).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let response = gateway.call(r#", "stream": true, "stream_options": {"include_usage": true}"#).await;
    assert_eq!(response.text().await.unwrap(), [ROLE, HELLO, FINISH, USAGE, DONE].concat());
    gateway.settled_one().await;
}

#[tokio::test]
async fn who_asked_for_a_stream_gets_one_from_a_provider_that_answers_in_one_piece() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let response = gateway.call(r#", "stream": true, "stream_options": {"include_usage": true}"#).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    let text = response.text().await.unwrap();
    let events: Vec<Value> = text
        .split("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    let said: String =
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str()).collect();
    assert_eq!(said, "Hello there", "{text}");
    assert_eq!(events.last().unwrap().pointer("/usage/completion_tokens"), Some(&json!(200)), "{text}");
    assert!(text.ends_with(DONE), "{text}");
    assert_eq!(gateway.settled_one().await.charge.to_string(), CHARGE);
}

#[tokio::test]
async fn a_stream_is_settled_before_its_last_event_is_sent() {
    let provider = provider(|_| sse(&[ROLE, HELLO, FINISH, USAGE, DONE])).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let mut response = gateway.call(STREAM).await;
    let mut seen = Vec::new();
    while !seen.ends_with(DONE.as_bytes()) {
        seen.extend_from_slice(
            &response.chunk().await.unwrap().expect("the stream goes on until it is done"),
        );
    }
    assert_eq!(gateway.records().len(), 1);
}

#[tokio::test]
async fn the_first_events_do_not_wait_for_the_last() {
    let (events, script) = by_hand();
    let provider = provider(script).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    events.send(HELLO).unwrap();
    let mut response = gateway.call(STREAM).await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), HELLO);
    events.send(THERE).unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), THERE);
    assert_eq!((gateway.records().len(), gateway.relay.in_flight()), (0, 1));
    finish(events);
    assert_eq!(response.text().await.unwrap(), [FINISH, DONE].concat());
    assert_eq!(gateway.settled_one().await.charge.to_string(), CHARGE);
}

#[tokio::test]
async fn missing_and_zero_usage_is_estimated_never_free() {
    let zeros = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}\n\n";
    for parts in
        [vec![ROLE, HELLO, FINISH, DONE], vec![ROLE, HELLO, FINISH, zeros, DONE], vec![ROLE, HELLO, FINISH]]
    {
        let provider = provider(move |_| sse(&parts)).await;
        let gateway = gateway(ranked(&[&provider.url])).await;
        gateway.call(STREAM).await.text().await.unwrap();
        let record = gateway.settled_one().await;
        assert_eq!((record.outcome, record.usage_source), (Outcome::Completed, UsageSource::Estimated));
        assert!(
            record.tokens.input > 0 && record.tokens.output > 0 && record.charge.is_positive(),
            "{record:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_is_charged_for_what_was_delivered() {
    const CUT: &str = "data: {\"choices\":[{\"del";
    const GARBLED: &str = "data: {\"choices\":[{\"delta\":{\"con\n\n";
    let scripts: [fn() -> Response; 3] = [
        || sse(&[ROLE, HELLO, CUT]),
        || sse_broken(&[ROLE, HELLO, CUT]),
        || sse(&[ROLE, HELLO, GARBLED, HELLO]),
    ];
    for script in scripts {
        let provider = provider(move |_| script()).await;
        let gateway = gateway(ranked(&[&provider.url, &provider.url])).await;
        let text = gateway.call(STREAM).await.text().await.unwrap();
        let error = text.strip_prefix(&[ROLE, HELLO].concat()).expect("what came is delivered");
        assert!(error.starts_with("data: {\"error\":{\"message\":"), "{error}");
        assert!(error.contains("\"code\":\"provider_error\"") && error.ends_with("\n\n"), "{error}");
        let record = gateway.settled_one().await;
        assert_eq!((record.outcome, record.usage_source), (Outcome::ProviderError, UsageSource::Estimated));
        assert!(record.tokens.output > 0 && record.tokens.output < 10 && record.charge.is_positive());
        // No second provider: the caller had seen output.
        assert_eq!(provider.calls.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_error_within_a_stream_reaches_the_caller_and_is_not_output() {
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":503}}\n\n";
    let provider = provider(move |_| sse(&[HELLO, error])).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    let text = gateway.call(STREAM).await.text().await.unwrap();
    assert_eq!(
        text.strip_prefix(HELLO).unwrap(),
        "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"param\":null,\"code\":\"503\"}}\n\n"
    );
    assert_eq!(gateway.settled_one().await.attempts[0].error, Some(label("error_in_stream")));
}

#[tokio::test]
async fn another_provider_is_tried_while_the_caller_has_seen_nothing() {
    let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    let failing: Vec<(&str, Script)> = vec![
        ("status", Box::new(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())),
        ("status", Box::new(|_| StatusCode::TOO_MANY_REQUESTS.into_response())),
        ("status", Box::new(|_| StatusCode::UNAUTHORIZED.into_response())),
        ("status", Box::new(|_| (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response())),
        ("empty_stream", Box::new(|_| sse(&[]))),
        ("empty_stream", Box::new(|_| sse(&[ROLE, DONE]))),
        ("error_in_stream", Box::new(move |_| sse(&[ROLE, error]))),
        ("broken", Box::new(|_| sse_broken(&[ROLE]))),
        ("empty_answer", Box::new(|_| json_answer("{\"choices\":[]}"))),
        ("illegible", Box::new(|_| json_answer("{\"half\":"))),
        ("error_in_answer", Box::new(|_| json_answer("{\"error\":{\"message\":\"no\"}}"))),
    ];
    for (code, script) in failing {
        let (bad, good) =
            (provider(script).await, provider(|_| sse(&[ROLE, HELLO, FINISH, USAGE, DONE])).await);
        let gateway = gateway(ranked(&[&bad.url, &good.url])).await;
        let text = gateway.call(STREAM).await.text().await.unwrap();
        assert_eq!(text, [ROLE, HELLO, FINISH, DONE].concat(), "{code}");
        let record = gateway.settled_one().await;
        assert_eq!((record.charge.to_string(), record.outcome), (CHARGE.into(), Outcome::Completed));
        assert_eq!(record.attempts[0].error, Some(label(code)));
        assert_eq!((record.attempts[1].status, &record.attempts[1].error), (Some(200), &None));
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_passed_over() {
    let good = provider(|_| json_answer(ANSWER)).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = gateway(ranked(&[&format!("http://{closed}"), &good.url])).await;
    assert_eq!(gateway.call("").await.status(), 200);
    let record = gateway.settled_one().await;
    assert_eq!((record.attempts[0].status, &record.attempts[0].error), (None, &Some(label("connect"))));
}

#[tokio::test]
async fn when_every_try_fails_the_caller_pays_nothing_and_never_sees_our_credentials_refused() {
    type Case = (fn() -> Response, u16, &'static str);
    let cases: [Case; 5] = [
        (|| StatusCode::BAD_GATEWAY.into_response(), 502, "provider_error"),
        (
            || (StatusCode::UNAUTHORIZED, "Incorrect API key provided: provider-key").into_response(),
            502,
            "provider_error",
        ),
        (|| StatusCode::FORBIDDEN.into_response(), 502, "provider_error"),
        (|| StatusCode::GATEWAY_TIMEOUT.into_response(), 504, "provider_timeout"),
        (
            || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response(),
            429,
            "rate_limit_exceeded",
        ),
    ];
    for (script, status, code) in cases {
        let provider = provider(move |_| script()).await;
        let gateway = gateway(ranked(&[&provider.url, &provider.url])).await;
        let response = gateway.call("").await;
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers().get("retry-after").map(|it| it.to_str().unwrap()),
            (status == 429).then_some("7")
        );
        let text = response.text().await.unwrap();
        assert!(!text.contains("provider-key"));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["error"]["code"], code);
        let record = gateway.settled_one().await;
        assert_eq!(
            (record.charge, record.cost, record.outcome),
            (Credits::ZERO, Credits::ZERO, Outcome::ProviderError)
        );
        assert_eq!((record.attempts.len(), record.status), (2, status));
    }
}

#[tokio::test]
async fn a_refusal_of_the_request_itself_reaches_the_caller_and_is_not_tried_elsewhere() {
    let body = r#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
    for status in [400, 404, 413, 422] {
        let provider = provider(move |_| (StatusCode::from_u16(status).unwrap(), body).into_response()).await;
        let gateway = gateway(ranked(&[&provider.url, &provider.url])).await;
        let response = gateway.call(STREAM).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.json::<Value>().await.unwrap(), serde_json::from_str::<Value>(body).unwrap());
        let record = gateway.settled_one().await;
        assert_eq!((record.charge, record.outcome, record.status), (Credits::ZERO, Outcome::Refused, status));
    }
}

/// The ordinary end of a stream, sent by hand.
fn finish(events: mpsc::UnboundedSender<&'static str>) {
    for event in [FINISH, USAGE, DONE] {
        events.send(event).unwrap();
    }
}

/// A stream whose events a test sends one by one.
fn by_hand() -> (mpsc::UnboundedSender<&'static str>, impl Fn(Value) -> Response + Send + Sync) {
    let (events, receiver) = mpsc::unbounded_channel::<&'static str>();
    let receiver = Mutex::new(Some(receiver));
    let script = move |_: Value| {
        let receiver = receiver.lock().unwrap().take().unwrap();
        sse_of(stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (Ok(Bytes::from_static(event.as_bytes())), receiver))
        }))
    };
    (events, script)
}

/// Calls, reads until the first event, hangs up, and waits until the relay's side of the connection is closed too:
/// from then on the relay can know.
async fn call_and_hang_up(gateway: &Gateway) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (host, body) = (gateway.url.strip_prefix("http://").unwrap(), body(STREAM));
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        gateway.key,
        body.len()
    );
    let mut socket = tokio::net::TcpStream::connect(host).await.unwrap();
    socket.write_all(&[head, body].concat().into_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(HELLO.len()).any(|window| window == HELLO.as_bytes()) {
        assert_ne!(socket.read_buf(&mut seen).await.unwrap(), 0);
    }
    socket.shutdown().await.unwrap();
    // A reset is an end as well.
    while socket.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn a_caller_that_leaves_pays_what_the_provider_counts() {
    let (events, script) = by_hand();
    let provider = provider(script).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    events.send(HELLO).unwrap();
    call_and_hang_up(&gateway).await;
    events.send(THERE).unwrap();
    finish(events);
    let record = gateway.settled_one().await;
    assert_eq!((record.charge.to_string(), record.usage_source), (CHARGE.into(), UsageSource::Provider));
    assert_eq!((record.outcome, record.status), (Outcome::ClientGone, 200));
}

#[tokio::test]
async fn a_stream_without_its_caller_is_read_on_only_so_far() {
    for options in [
        RelayOptions { read_on_limit: Duration::from_millis(50), ..RelayOptions::default() },
        RelayOptions { read_on_bytes: 50, ..RelayOptions::default() },
    ] {
        let (events, script) = by_hand();
        let provider = provider(script).await;
        let gateway = gateway_with(options, PLENTY, ranked(&[&provider.url])).await;
        events.send(HELLO).unwrap();
        call_and_hang_up(&gateway).await;
        // The provider's stream stays open.
        events.send(THERE).unwrap();
        let record = gateway.settled_one().await;
        assert_eq!((record.outcome, record.usage_source), (Outcome::ClientGone, UsageSource::Estimated));
        assert!(record.charge.is_positive());
        drop(events);
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_is_a_504() {
    let (events, script) = by_hand();
    let silent = provider(script).await;
    let options = RelayOptions { idle_timeout: Duration::from_millis(50), ..RelayOptions::default() };
    let gateway = gateway_with(options, PLENTY, ranked(&[&silent.url])).await;
    let response = gateway.call(STREAM).await;
    assert_eq!(response.status(), 504);
    assert_eq!(gateway.settled_one().await.charge, Credits::ZERO);
    drop(events);
}

#[tokio::test]
async fn a_stream_that_never_pauses_ends_at_the_limit_of_a_call_whether_or_not_its_caller_reads() {
    for reads in [true, false] {
        let endless = || sse_of(stream::repeat_with(|| Ok(Bytes::from(HELLO.repeat(100)))));
        let provider = provider(move |_| endless()).await;
        let options = RelayOptions { call_limit: Duration::from_millis(500), ..RelayOptions::default() };
        let gateway = gateway_with(options, PLENTY, ranked(&[&provider.url])).await;
        let mut response = gateway.call(STREAM).await;
        let mut last = Bytes::new();
        let mut read = async || {
            while let Some(chunk) = response.chunk().await.unwrap() {
                last = chunk;
            }
        };
        if reads {
            let read = tokio::time::timeout(Duration::from_secs(20), read());
            read.await.expect("the stream ends at the limit of a call");
        }
        let record = gateway.settled_one().await;
        assert_eq!(record.attempts[0].error, Some(label("call_limit")), "{reads}");
        assert!(record.charge.is_positive() && record.duration_ms < 15_000, "{record:?}");
        let tail = String::from_utf8_lossy(&last);
        assert_eq!(tail.contains("\"code\":\"provider_timeout\""), reads, "{tail}");
    }
}

#[tokio::test]
async fn a_stuck_provider_is_a_504() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap(); // accepts, and says nothing
    let options = RelayOptions { first_byte_timeout: Duration::from_millis(50), ..RelayOptions::default() };
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = gateway_with(options, PLENTY, ranked(&[&url])).await;
    assert_eq!(gateway.call("").await.status(), 504);
    let record = gateway.settled_one().await;
    assert_eq!((record.outcome, record.status), (Outcome::ProviderError, 504));
    assert_eq!(record.attempts[0].error, Some(label("first_byte_timeout")));
}

#[tokio::test]
async fn silence_in_a_stream_is_filled_with_comments() {
    let (events, script) = by_hand();
    let provider = provider(script).await;
    let options = RelayOptions { keep_alive: Some(Duration::from_millis(20)), ..RelayOptions::default() };
    let gateway = gateway_with(options, PLENTY, ranked(&[&provider.url])).await;
    events.send(HELLO).unwrap();
    let mut response = gateway.call(STREAM).await;
    let mut seen = String::new();
    while !seen.ends_with(": keep-alive\n\n") {
        seen.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    finish(events);
    seen.push_str(&response.text().await.unwrap());
    assert_eq!(seen.replace(": keep-alive\n\n", ""), [HELLO, FINISH, DONE].concat());
}

#[tokio::test]
async fn the_head_is_held_back_only_so_long() {
    let (events, script) = by_hand();
    let provider = provider(script).await;
    let options = RelayOptions { hold_back: Duration::from_millis(20), ..RelayOptions::default() };
    let gateway = gateway_with(options, PLENTY, ranked(&[&provider.url])).await;
    events.send(ROLE).unwrap();
    let mut response = gateway.call(STREAM).await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), ROLE);
    drop(events);
    let text = response.text().await.unwrap();
    assert!(text.starts_with("data: {\"error\":"), "{text}");
    assert_eq!(gateway.settled_one().await.charge, Credits::ZERO);
}

#[tokio::test]
async fn without_credits_no_provider_is_called() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let options = RelayOptions { top_up_url: "https://gateway/topup".into(), ..RelayOptions::default() };
    let gateway = gateway_with(options, 1000, ranked(&[&provider.url])).await;
    let response = gateway.call("").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-should-retry"]),
        (402, &"false".parse().unwrap())
    );
    let error = response.json::<Value>().await.unwrap();
    assert_eq!(
        (&error["error"]["type"], &error["error"]["code"]),
        (&json!("insufficient_quota"), &json!("insufficient_credits"))
    );
    assert!(error["error"]["message"].as_str().unwrap().contains("https://gateway/topup"));
    assert!(gateway.settled().await.is_empty() && provider.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_hold_that_is_not_confirmed_calls_no_provider() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    gateway.wallet.0.lock().unwrap().confirms = false;
    let response = gateway.call("").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert!(gateway.settled().await.is_empty() && provider.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn parallel_calls_never_spend_what_is_not_there() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    // The worst case of one call, as the meter sees it.
    gateway.call("").await;
    let request = chat();
    let worst =
        crate::pricing::worst_case(&price(), request.input.upper(), 1000, None, Decimal::ONE).unwrap().nano();
    let paid = gateway.settled_one().await.charge.nano();
    assert!(paid < worst);
    {
        let mut books = gateway.wallet.0.lock().unwrap();
        books.available = 10 * worst;
        books.records.clear();
    }
    let calls = (0..60).map(|_| async { gateway.call("").await.status().as_u16() });
    let statuses = futures_util::future::join_all(calls).await;
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!(served >= 10 && statuses.iter().all(|status| [200, 402].contains(status)), "{statuses:?}");
    assert_eq!(gateway.settled().await.len(), served);
    assert_eq!(gateway.wallet.0.lock().unwrap().available, 10 * worst - paid * served as i64);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_nothing_is_held() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let options = RelayOptions { max_body_bytes: 10_000, ..RelayOptions::default() };
    let gateway = gateway_with(options, PLENTY, ranked(&[&provider.url])).await;
    let large = body(&format!(r#","x":"{}""#, "x".repeat(10_000)));
    let streamed = reqwest::Body::wrap_stream(stream::iter(
        large.clone().into_bytes().chunks(900).map(|it| Ok::<_, Infallible>(it.to_vec())).collect::<Vec<_>>(),
    ));
    let named = |model: &str| body("").replace("vendor/model", model);
    let cases: Vec<(reqwest::RequestBuilder, u16, &str)> = vec![
        (gateway.post(body("")).header("authorization", "Bearer sk-no"), 401, "invalid_api_key"),
        (
            gateway.http.post(format!("{}/v1/chat/completions", gateway.url)).body("{}"),
            401,
            "invalid_api_key",
        ),
        (gateway.post(body("")).header("content-type", "text/plain"), 415, "unsupported_media_type"),
        (gateway.post(body("")).header("content-encoding", "gzip"), 415, "unsupported_media_type"),
        (gateway.post(large), 413, "request_too_large"),
        (gateway.post(streamed), 413, "request_too_large"),
        (gateway.post(""), 400, "invalid_json"),
        (gateway.post("{"), 400, "invalid_json"),
        (gateway.post(r#"{"model":"vendor/model"}"#), 400, "missing_required_parameter"),
        (gateway.post(body(r#","stream":1"#)), 400, "invalid_value"),
        (gateway.post(body(r#","model":"x""#)), 400, "duplicate_field"),
        (gateway.post(named("unknown")), 404, "model_not_found"),
        (gateway.post(named("secret/model")), 403, "model_not_allowed"),
        (gateway.post(named("free/model")), 503, "model_not_priced"),
        (gateway.post(named("idle")), 503, "no_provider"),
    ];
    for (request, status, code) in cases {
        // A later header replaces an earlier one of the same name only when set on the request itself.
        let mut request = request.build().unwrap();
        for name in ["authorization", "content-type"] {
            if let Some(last) = request.headers().get_all(name).iter().next_back().cloned() {
                request.headers_mut().insert(name, last);
            }
        }
        let response = gateway.http.execute(request).await.unwrap();
        assert_eq!(response.status(), status, "{code}");
        assert!(Uuid::parse_str(response.headers()["x-request-id"].to_str().unwrap()).is_ok());
        let error = response.json::<Value>().await.unwrap();
        assert_eq!(error["error"]["code"], code, "{error}");
        let mut keys: Vec<&String> = error["error"].as_object().unwrap().keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"]);
    }
    assert!(gateway.settled().await.is_empty() && provider.calls.lock().unwrap().is_empty());
    assert_eq!(gateway.wallet.0.lock().unwrap().holds, 0);
}

#[tokio::test]
async fn the_model_list_holds_what_can_be_called() {
    let gateway = gateway(ranked(&["http://127.0.0.1:1"])).await;
    let model =
        json!({"id": "vendor/model", "object": "model", "created": 1_700_000_000, "owned_by": "nexusroute"});
    let list = gateway.get("/v1/models").await.json::<Value>().await.unwrap();
    assert_eq!(list, json!({"object": "list", "data": [model]}));
    for path in ["/v1/models/vendor/model", "/v1/models/vendor%2Fmodel"] {
        assert_eq!(gateway.get(path).await.json::<Value>().await.unwrap(), model);
    }
    for path in ["/v1/models/free/model", "/v1/models/secret/model", "/v1/models/none"] {
        assert_eq!(gateway.get(path).await.status(), 404, "{path}");
    }
    let stranger = gateway.http.get(format!("{}/v1/models", gateway.url)).send().await.unwrap();
    assert_eq!(stranger.status(), 401);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_openais_shape() {
    let gateway = gateway(Vec::new()).await;
    for (path, status, code) in [
        ("/v1/chat/completions", 405, "method_not_allowed"),
        ("/v1/nothing/here", 404, "unknown_url"),
        ("/v1", 404, "unknown_url"),
    ] {
        let response = gateway.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert!(response.headers().contains_key("x-request-id"));
        assert_eq!(response.headers().contains_key("allow"), status == 405);
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], code);
    }
}

#[tokio::test]
async fn anthropics_clients_find_the_requests_id_where_they_look() {
    let gateway = gateway(Vec::new()).await;
    for (path, is_theirs) in [("/v1/messages", true), ("/v1/chat/completions", false)] {
        let response = gateway.get(path).await;
        let headers = response.headers();
        assert_eq!(headers.get("request-id"), is_theirs.then(|| &headers["x-request-id"]), "{path}");
    }
}

#[tokio::test]
async fn a_drain_waits_for_calls_in_flight_and_refuses_new_ones() {
    let (events, script) = by_hand();
    let provider = provider(script).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    events.send(HELLO).unwrap();
    let mut response = gateway.call(STREAM).await;
    assert_eq!(response.chunk().await.unwrap().unwrap(), HELLO);
    assert_eq!(gateway.relay.drain(Duration::ZERO).await, 1);
    let refused = gateway.call("").await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    let drain = tokio::spawn({
        let relay = gateway.relay.clone();
        async move { relay.drain(Duration::from_secs(20)).await }
    });
    finish(events);
    assert_eq!(response.text().await.unwrap(), [FINISH, DONE].concat());
    assert_eq!(drain.await.unwrap(), 0);
    assert_eq!(gateway.records().len(), 1);
}

#[tokio::test]
async fn a_call_whose_task_dies_is_settled_for_what_was_delivered() {
    let gateway = gateway(ranked(&["http://127.0.0.1:1"])).await;
    let catalogue = gateway.relay.0.catalogue.load_full();
    let settlement = async || {
        let grant = Arc::clone(catalogue.keys.values().next().unwrap());
        let chat = chat();
        let call = Call::try_new(&catalogue, grant, chat, RequestId::from_uuid(Uuid::nil()), Instant::now())
            .unwrap();
        let hold = gateway.wallet.hold(call.hold_request(now()).unwrap()).await.unwrap();
        Settlement::new(
            hold,
            call,
            label(Endpoint::Chat.path()),
            Admitted::unlimited(),
            gateway.relay.0.calls.clone(),
            Arc::default(),
        )
    };
    // Before any provider was called there is nothing to record.
    drop(settlement().await);
    assert!(gateway.settled().await.is_empty());

    let mut settlement = settlement().await;
    let task = tokio::spawn(async move {
        let route = route("http://127.0.0.1:1");
        settlement.begin(&route, &route.keys[0], "priority", Admitted::unlimited(), &[]).await.unwrap();
        settlement.delivered.text("Hello there");
        panic!("a fault in the relay");
    });
    assert!(task.await.unwrap_err().is_panic());
    let record = gateway.settled_one().await;
    assert_eq!((record.outcome, record.usage_source), (Outcome::Interrupted, UsageSource::Estimated));
    assert!(record.charge.is_positive());
}

#[tokio::test]
async fn a_crash_would_find_the_call_before_its_provider_and_then_how_far_it_came() {
    let provider = provider(|_| json_answer(ANSWER)).await;
    let gateway = gateway(ranked(&[&provider.url])).await;
    gateway.call("").await;
    gateway.settled_one().await;
    let drafts = std::mem::take(&mut gateway.wallet.0.lock().unwrap().drafts);
    assert_eq!(drafts.len(), 1);
    assert_eq!(
        (drafts[0].outcome, drafts[0].charge, drafts[0].status),
        (Outcome::Interrupted, Credits::ZERO, 500)
    );

    let catalogue = gateway.relay.0.catalogue.load_full();
    let grant = Arc::clone(catalogue.keys.values().next().unwrap());
    let chat = chat();
    let call =
        Call::try_new(&catalogue, grant, chat, RequestId::from_uuid(Uuid::nil()), Instant::now()).unwrap();
    let hold = gateway.wallet.hold(call.hold_request(now()).unwrap()).await.unwrap();
    let mut settlement = Settlement::new(
        hold,
        call,
        label(Endpoint::Chat.path()),
        Admitted::unlimited(),
        gateway.relay.0.calls.clone(),
        Arc::default(),
    );
    let route = route("http://127.0.0.1:1");
    settlement.begin(&route, &route.keys[0], "priority", Admitted::unlimited(), &[]).await.unwrap();
    settlement.delivered.text("Hello there");
    settlement.progressed(Instant::now());
    settlement.progressed(Instant::now() + std::time::Duration::from_secs(2));
    let drafts = std::mem::take(&mut gateway.wallet.0.lock().unwrap().drafts);
    assert_eq!(drafts.len(), 2, "noted once a second, not with every chunk");
    assert!(drafts[1].charge.is_positive() && drafts[1].outcome == Outcome::Interrupted);
    assert_eq!(drafts[0].request, drafts[1].request);
}

mod custom;
mod doors;
mod leaving;
mod outgrown;
mod ways;
