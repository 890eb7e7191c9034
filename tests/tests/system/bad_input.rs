//! Bad input: every fault is refused by name, with a 4xx in the right shape, and leaves nothing on the log.

use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use system_tests::{
    Answer, Api, Behaviour, FakeProvider, Gateway, GatewayOptions, Nats, eventually,
    people::{Caller, Operator, User, text},
};

const MODEL: &str = "strict-model";

/// Who is wrong.
#[derive(Clone, Copy, Debug)]
enum Who {
    Nobody,
    User,
    Admin,
    Key,
}

/// One wrong request: who, method, path, body, expected status, and words that the answer must hold.
struct Row(Who, &'static str, String, Body, u16, &'static [&'static str]);

enum Body {
    None,
    Json(Value),
    Raw(&'static str, Vec<u8>),
}

fn row(
    who: Who,
    method: &'static str,
    path: &str,
    body: Value,
    status: u16,
    named: &'static [&'static str],
) -> Row {
    Row(who, method, path.to_owned(), Body::Json(body), status, named)
}

fn raw(who: Who, path: &str, content_type: &'static str, body: &[u8], status: u16) -> Row {
    Row(who, "POST", path.to_owned(), Body::Raw(content_type, body.to_vec()), status, &[])
}

fn get(who: Who, path: &str, status: u16, named: &'static [&'static str]) -> Row {
    Row(who, "GET", path.to_owned(), Body::None, status, named)
}

fn top_ups() -> Vec<Row> {
    let order = |amount: Value| json!({"amount": amount, "currency": "CNY", "channel": "sandbox"});
    let path = "/api/user/topup";
    let huge = "9".repeat(400);
    let amounts =
        ["-50.00", "0", "0.00", "0.001", "50.001", "99999999999999999999999999", "1000000000000", &huge];
    let no_numbers = ["5e1", "NaN", "Infinity", "0x32", " 50", "fifty", ""];
    let mut rows: Vec<Row> = amounts
        .into_iter()
        .chain(no_numbers)
        .map(|amount| row(Who::User, "POST", path, order(json!(amount)), 422, &["amount"]))
        .collect();
    rows.extend([
        row(Who::User, "POST", path, order(json!(50)), 422, &["amount"]),
        row(Who::User, "POST", path, order(json!(null)), 422, &["amount"]),
        row(Who::User, "POST", path, json!({"channel": "sandbox"}), 422, &["amount"]),
        row(
            Who::User,
            "POST",
            path,
            json!({"amount": "50.00", "currency": "XXX", "channel": "sandbox"}),
            422,
            &["XXX"],
        ),
        row(Who::User, "POST", path, json!({"amount": "50.00", "channel": "pigeon"}), 422, &["channel"]),
        row(
            Who::User,
            "POST",
            path,
            json!({"amount": "50.00", "channel": "sandbox", "credits": "9999"}),
            422,
            &["credits"],
        ),
        raw(Who::User, path, "application/json", b"{\"amount\": ", 400),
        raw(Who::User, path, "application/json", b"", 400),
        raw(Who::User, path, "application/json", b"\xff\xfe", 400),
        raw(Who::User, path, "text/plain", b"{\"amount\":\"50.00\",\"channel\":\"sandbox\"}", 415),
        raw(Who::User, path, "application/x-www-form-urlencoded", b"amount=50.00&channel=sandbox", 415),
        raw(Who::User, path, "application/json", &vec![b' '; 3 << 20], 413),
        row(Who::Nobody, "POST", path, order(json!("50.00")), 401, &[]),
        get(Who::User, "/api/user/topup/not-a-uuid", 400, &["path"]),
        get(Who::User, "/api/user/topup/01930000-0000-4000-8000-000000000000", 404, &[]),
    ]);
    rows
}

fn reading() -> Vec<Row> {
    vec![
        get(Who::User, "/api/user/usage/not-a-uuid", 400, &["path"]),
        get(Who::User, "/api/user/usage/01930000-0000-7000-8000-000000000000", 404, &[]),
        get(Who::User, "/api/user/billing?limit=0", 400, &["limit"]),
        get(Who::User, "/api/user/billing?limit=100000", 400, &["limit"]),
        get(Who::User, "/api/user/billing?no_such=1", 400, &["no_such"]),
        get(Who::User, "/api/user/billing?type=gift", 400, &["gift"]),
        get(Who::User, "/api/user/usage?cursor=nonsense", 400, &["cursor"]),
        get(Who::User, "/api/user/usage?from=yesterday", 400, &["from"]),
        get(Who::User, "/api/user/usage/stats?by=moon", 400, &["moon"]),
        get(Who::User, "/api/user/balance?at=yesterday", 422, &["at"]),
        get(Who::User, "/api/user/balance?at=9999-01-01T00:00:00Z", 422, &["at", "future"]),
        get(Who::User, "/api/no-such-route", 404, &[]),
        Row(Who::User, "DELETE", "/api/user/balance".into(), Body::None, 405, &[]),
    ]
}

fn keys() -> Vec<Row> {
    let path = "/api/user/keys";
    vec![
        row(Who::User, "POST", path, json!({}), 422, &["name"]),
        row(Who::User, "POST", path, json!({"name": ""}), 422, &["name"]),
        row(Who::User, "POST", path, json!({"name": "k", "budgt": {}}), 422, &["budgt"]),
        row(
            Who::User,
            "POST",
            path,
            json!({"name": "k", "budget": {"credits": "-1", "period": "day"}}),
            422,
            &["budget"],
        ),
        row(
            Who::User,
            "POST",
            path,
            json!({"name": "k", "budget": {"credits": "1.0000000001", "period": "day"}}),
            422,
            &["budget"],
        ),
        row(
            Who::User,
            "POST",
            path,
            json!({"name": "k", "budget": {"credits": "1", "period": "week"}}),
            422,
            &["week"],
        ),
        row(Who::User, "POST", path, json!({"name": "k", "ip_allow": ["10.0.0.0/99"]}), 422, &["ip_allow"]),
        row(Who::User, "POST", path, json!({"name": "k", "expires_at": "soon"}), 422, &["expires_at"]),
        Row(Who::User, "DELETE", "/api/user/keys/not-a-uuid".into(), Body::None, 400, &["path"]),
        Row(
            Who::User,
            "DELETE",
            "/api/user/keys/01930000-0000-7000-8000-000000000000".into(),
            Body::None,
            404,
            &[],
        ),
    ]
}

fn people() -> Vec<Row> {
    let register = "/api/user/register";
    vec![
        row(
            Who::Nobody,
            "POST",
            register,
            json!({"username": "newcomer", "email": "no-address", "password": "long enough 123"}),
            422,
            &["email"],
        ),
        row(
            Who::Nobody,
            "POST",
            register,
            json!({"username": "newcomer", "email": "n@example.com", "password": "short"}),
            422,
            &["password"],
        ),
        row(
            Who::Nobody,
            "POST",
            register,
            json!({"username": "newcomer", "email": "n@example.com", "password": "long enough 123", "role": "admin"}),
            422,
            &["role"],
        ),
        row(Who::Nobody, "POST", "/api/user/login", json!({"login": "admin", "password": "wrong"}), 401, &[]),
        raw(Who::Nobody, "/api/user/login", "application/json", b"[]", 422),
        get(Who::Nobody, "/api/user/balance", 401, &[]),
    ]
}

fn admin_acts(user: &str) -> Vec<Row> {
    let adjustments = format!("/api/admin/users/{user}/adjustments");
    let adjust = |credits: Value| json!({"credits": credits, "reason": "a test"});
    let price = |input: Value| json!({"model": MODEL, "prices": {"input": input, "output": "1"}});
    let provider = |url: &str| json!({"name": "p", "base_url": url, "api_key": "k", "api_format": "openai"});
    let mut rows: Vec<Row> = ["0.0000000001", "99999999999999999999", "ten", "1e3", ""]
        .into_iter()
        .map(|credits| row(Who::Admin, "POST", &adjustments, adjust(json!(credits)), 422, &["credits"]))
        .collect();
    rows.extend([
        row(Who::Admin, "POST", &adjustments, adjust(json!(5)), 422, &["credits"]),
        row(Who::Admin, "POST", &adjustments, adjust(json!("0")), 422, &["zero"]),
        row(Who::Admin, "POST", &adjustments, adjust(json!("-1")), 402, &[]),
        row(Who::Admin, "POST", &adjustments, json!({"credits": "1"}), 422, &["reason"]),
        row(Who::Admin, "POST", &adjustments, json!({"credits": "1", "reason": ""}), 422, &["reason"]),
        row(
            Who::Admin,
            "POST",
            &adjustments,
            json!({"credits": "1", "reason": "r", "balance": "9"}),
            422,
            &["balance"],
        ),
        row(Who::Admin, "POST", "/api/admin/users/nobody/adjustments", adjust(json!("1")), 400, &["path"]),
        row(
            Who::Admin,
            "POST",
            "/api/admin/users/01930000-0000-7000-8000-000000000000/adjustments",
            adjust(json!("1")),
            404,
            &[],
        ),
        row(Who::User, "POST", &adjustments, adjust(json!("1")), 403, &[]),
        row(Who::Nobody, "POST", &adjustments, adjust(json!("1")), 401, &[]),
        row(Who::Admin, "POST", "/api/admin/prices", price(json!("-1")), 422, &["input"]),
        row(Who::Admin, "POST", "/api/admin/prices", price(json!("0.0000000001")), 422, &["input"]),
        row(Who::Admin, "POST", "/api/admin/prices", price(json!("10000000000000")), 422, &["input"]),
        row(Who::Admin, "POST", "/api/admin/prices", price(json!("free")), 422, &["input"]),
        row(
            Who::Admin,
            "POST",
            "/api/admin/prices",
            json!({"model": MODEL, "prices": {"inptu": "1", "output": "1"}}),
            422,
            &["inptu"],
        ),
        row(Who::Admin, "POST", "/api/admin/providers", provider("ftp://example.com"), 422, &["base_url"]),
        row(Who::Admin, "POST", "/api/admin/providers", provider("not a url"), 422, &["base_url"]),
        row(
            Who::Admin,
            "POST",
            "/api/admin/providers",
            json!({"name": "p", "api_key": "k"}),
            422,
            &["base_url"],
        ),
    ]);
    rows
}

fn calls() -> Vec<Row> {
    let path = "/v1/chat/completions";
    let messages = json!([{"role": "user", "content": "hi"}]);
    vec![
        raw(Who::Key, path, "application/json", b"{\"model\": ", 400),
        raw(Who::Key, path, "application/json", b"[]", 400),
        row(Who::Key, "POST", path, json!({"messages": messages}), 400, &["model"]),
        row(Who::Key, "POST", path, json!({"model": MODEL}), 400, &["messages"]),
        row(
            Who::Key,
            "POST",
            path,
            json!({"model": MODEL, "messages": messages, "max_tokens": -1}),
            400,
            &["max_tokens"],
        ),
        row(
            Who::Key,
            "POST",
            path,
            json!({"model": MODEL, "messages": messages, "stream": "yes"}),
            400,
            &["stream"],
        ),
        row(
            Who::Key,
            "POST",
            path,
            json!({"model": "no-such-model", "messages": messages}),
            404,
            &["no-such-model"],
        ),
        row(Who::Nobody, "POST", path, json!({"model": MODEL, "messages": messages}), 401, &[]),
        get(Who::Key, "/v1/models/no-such-model", 404, &["no-such-model"]),
        get(Who::Key, "/v1/no-such-endpoint", 404, &[]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_by_name_and_leaves_nothing_on_the_log() {
    let (nats, provider) = tokio::join!(Nats::start(), FakeProvider::start(Behaviour::default()));
    let gateway = GatewayOptions::default().nats(&nats).start().await;
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "1", "1").await;
    let user = User::new(&gateway).await;
    let caller = Caller::new(&gateway, &user.makes_key().await);
    let before = nats.positions().await;

    let rows = [top_ups(), reading(), keys(), people(), admin_acts(&user.id), calls()];
    let mut wrong = Vec::new();
    for Row(who, method, path, body, status, named) in rows.into_iter().flatten() {
        let api = match who {
            Who::Nobody => &gateway.nobody(),
            Who::User => &user.api,
            Who::Admin => &operator.api,
            Who::Key => &caller.api,
        };
        let (shown, body) = match body {
            Body::None => (String::new(), None),
            Body::Json(body) => (body.to_string(), Some(("application/json", body.to_string().into_bytes()))),
            Body::Raw(content_type, body) => (
                String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned(),
                Some((content_type, body)),
            ),
        };
        let answer = api.send(method.parse().unwrap(), &path, body).await;
        if let Err(fault) = judge(&answer, status, named) {
            wrong.push(format!(
                "{who:?} {method} {path} {shown}\n    {fault}: {} {}",
                answer.status, answer.text
            ));
        }
        let now = nats.positions().await;
        if (now.ledger, now.inbox) != (before.ledger, before.inbox) {
            wrong.push(format!("{who:?} {method} {path} {shown}\n    left something on the log: {now:?}"));
            break;
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(provider.seen().is_empty(), "no bad call reached the provider");
    gateway.stop().await;
}

/// The right status, in the right shape, naming the fault.
fn judge(answer: &Answer, status: u16, named: &[&str]) -> Result<(), String> {
    if answer.status != status {
        return Err(format!("{status} was expected"));
    }
    let body: Value = serde_json::from_str(&answer.text).map_err(|error| format!("no JSON ({error})"))?;
    let sentence = if answer.asked.contains(" /v1/") {
        &body["error"]["message"]
    } else {
        if answer.header("content-type") != Some("application/problem+json") || body["status"] != status {
            return Err("no problem+json".to_owned());
        }
        &body["detail"]
    };
    let sentence = sentence.as_str().filter(|it| !it.is_empty()).ok_or("no sentence")?;
    match named.iter().find(|word| !sentence.contains(**word)) {
        Some(word) => Err(format!("{word:?} is not named")),
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_disabled_expired_deleted_or_malformed_opens_nothing() {
    let (gateway, provider) = tokio::join!(Gateway::start(), FakeProvider::start(Behaviour::default()));
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let user = User::with_credits(&gateway, &operator, "1").await;
    let made = user.makes_key_with(json!({"name": "one"})).await;
    let (id, secret) = (text(&made["id"]), text(&made["secret"]));
    assert!(secret.starts_with("sk-") && secret.len() == 51, "sk- and 48 characters: {}", secret.len());
    let caller = Caller::new(&gateway, &secret);
    caller.chat(MODEL, 20).await.ok();

    let path = format!("/api/user/keys/{id}");
    let set = async |status: &str| {
        let body = Some(("application/json", json!({"status": status}).to_string().into_bytes()));
        user.api.send(Method::PATCH, &path, body).await.ok();
    };
    set("disabled").await;
    is_refused(&caller.api, "disabled").await;
    set("active").await;
    caller.chat(MODEL, 20).await.ok();
    user.api.send(Method::DELETE, &path, None).await.assert_success();
    is_refused(&caller.api, "deleted").await;

    let ends = Utc::now() + TimeDelta::seconds(3);
    let short = user.makes_key_with(json!({"name": "short", "expires_at": ends.to_rfc3339()})).await;
    let short = Caller::new(&gateway, &text(&short["secret"]));
    short.chat(MODEL, 20).await.ok();
    eventually("the key expires", Duration::from_secs(20), async || {
        (short.api.get("/v1/models").await.status == 401).then_some(())
    })
    .await;
    is_refused(&short.api, "expired").await;

    let mut mistyped = secret.into_bytes();
    mistyped[20] = if mistyped[20] == b'a' { b'b' } else { b'a' };
    for wrong in [&String::from_utf8(mistyped).unwrap(), "sk-", "x", "sk-中文"] {
        let api = match reqwest::header::HeaderValue::from_str(&format!("Bearer {wrong}")) {
            Ok(_) => gateway.nobody().bearer(wrong),
            Err(_) => continue,
        };
        is_refused(&api, wrong).await;
    }
    assert_eq!(provider.seen().len(), 3, "three good calls, and no other reached the provider");
    gateway.stop().await;
}

async fn is_refused(api: &Api, why: &str) {
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]});
    for answer in [api.get("/v1/models").await, api.post("/v1/chat/completions", &body).await] {
        assert_eq!(answer.status, 401, "{why}: {}", answer.text);
        answer.openai_error(401);
    }
}
