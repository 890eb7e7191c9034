//! Stripe: Checkout sessions, signed events.

use super::{
    Form, Heard,
    bills::Line,
    decode,
    refunds::{Given, Refunds, says},
    tell,
};
use crate::{GatewayOptions, http};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::{DateTime, NaiveDateTime, Utc};
use ring::hmac;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The account's key.
pub const SECRET_KEY: &str = "sk_test_4eC39HqLyjWDarjtT1zdp7dcSIM";
/// The endpoint's secret.
pub const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A running Stripe.
pub struct StripeApi {
    url: String,
    shared: Arc<Mutex<Account>>,
    /// What it gave back.
    pub refunds: Arc<Refunds>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Account {
    sessions: BTreeMap<String, Session>,
    /// Idempotency keys, with the request and the answer that each stands for.
    keys: BTreeMap<String, (String, Value)>,
    /// Reports to be downloaded, by their day.
    bills: BTreeMap<String, Vec<u8>>,
    asked: usize,
    is_down: bool,
    refunds: Arc<Refunds>,
}

#[derive(Clone)]
struct Session {
    form: Form,
    status: &'static str,
    is_paid: bool,
    paid_at: Option<NaiveDateTime>,
}

impl StripeApi {
    /// Starts one.
    pub async fn start() -> Self {
        let shared = Arc::<Mutex<Account>>::default();
        let router = Router::new()
            .route("/v1/checkout/sessions", post(create))
            .route("/v1/checkout/sessions/{id}", get(show))
            .route("/v1/checkout/sessions/{id}/expire", post(expire))
            .route("/v1/refunds", post(give_back).get(list_refunds))
            .route("/v1/reporting/report_runs", post(report))
            .route("/v1/files/{day}/contents", get(file))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let refunds = shared.lock().unwrap().refunds.clone();
        Self { url, shared, refunds, server }
    }

    /// An event about a refund that was made for a merchant's number; without one, on the dashboard.
    pub fn refund_event(&self, kind: &str, txn: &str, number: Option<&str>, given: &Given) -> Value {
        let object = match number {
            Some(number) => refund(number, given),
            None => {
                let mut refund = refund("dashboard", given);
                refund["metadata"] = json!({});
                refund
            }
        };
        self.about(kind, &format!("{txn}_{}", given.state), object)
    }

    /// An event about a dispute of all of a transaction.
    pub fn dispute_event(&self, kind: &str, txn: &str, amount: i64, status: &str) -> Value {
        let object = json!({"id": format!("dp_{txn}"), "object": "dispute", "amount": amount, "currency": "usd",
                            "payment_intent": txn, "charge": "ch_1", "status": status, "reason": "fraudulent"});
        self.about(kind, &format!("{txn}_{status}"), object)
    }

    fn about(&self, kind: &str, what: &str, object: Value) -> Value {
        json!({
            "id": format!("evt_{kind}_{what}"), "object": "event", "api_version": "2025-09-30.clover",
            "created": Utc::now().timestamp(), "livemode": false, "pending_webhooks": 1, "type": kind,
            "data": {"object": object},
        })
    }

    /// The transaction that paid an order.
    pub fn txn(&self, number: &str) -> String {
        let account = self.shared.lock().unwrap();
        let found = account.sessions.iter().find(|(_, it)| it.form["client_reference_id"] == number);
        format!("pi_{}", &found.expect("it has a session").0[3..])
    }

    /// Lets a gateway take payments here.
    #[must_use]
    pub fn for_gateway(&self, options: GatewayOptions) -> GatewayOptions {
        options
            .environment("NEXUSROUTE_PAYMENTS_STRIPE_BASE_URL", &self.url)
            .environment("NEXUSROUTE_PAYMENTS_STRIPE_FILES_URL", &self.url)
            .environment("NEXUSROUTE_PAYMENTS_STRIPE_ALLOW_PRIVATE", "true")
            .environment("NEXUSROUTE_PAYMENTS_STRIPE_SECRET_KEY", SECRET_KEY)
            .environment("NEXUSROUTE_PAYMENTS_STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
    }

    /// What must never be seen in a log.
    pub fn secrets(&self) -> Vec<String> {
        vec![SECRET_KEY.to_owned(), WEBHOOK_SECRET.to_owned()]
    }

    fn with<T>(&self, number: &str, act: impl FnOnce(&mut Session) -> T) -> T {
        let mut account = self.shared.lock().unwrap();
        let found = account.sessions.values_mut().find(|it| it.form["client_reference_id"] == number);
        act(found.unwrap_or_else(|| panic!("no session of {number}")))
    }

    /// The payer pays; nobody is told.
    pub fn is_paid(&self, number: &str) {
        self.with(number, |session| {
            session.is_paid = true;
            session.status = "complete";
            session.paid_at = Some(Utc::now().naive_utc());
        });
    }

    /// What its report says of the payments so far.
    pub fn lines(&self) -> Vec<Line> {
        let account = self.shared.lock().unwrap();
        let paid = account.sessions.iter().filter_map(|(id, session)| Some((id, session, session.paid_at?)));
        let paid = paid.map(|(id, session, at)| {
            let cents: i64 = session.form["line_items[0][price_data][unit_amount]"].parse().unwrap();
            let (order, txn) = (&session.form["client_reference_id"], format!("pi_{}", &id[3..]));
            Line::payment(order, &txn, &super::bills::amount(cents), at)
        });
        let now = Utc::now().naive_utc();
        super::bills::with_refunds(paid.collect(), &self.refunds, |it| it.parse().unwrap(), now)
    }

    /// From now on the report of a day can be downloaded.
    pub fn offers_bill(&self, day: &str, bytes: Vec<u8>) {
        self.shared.lock().unwrap().bills.insert(day.to_owned(), bytes);
    }

    /// How far an order's session is: open, complete, expired.
    pub fn status(&self, number: &str) -> &'static str {
        self.with(number, |session| session.status)
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.shared.lock().unwrap().sessions.len()
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.shared.lock().unwrap().asked
    }

    /// From now on it answers nothing but errors, or works again.
    pub fn is_down(&self, is_down: bool) {
        self.shared.lock().unwrap().is_down = is_down;
    }

    /// An event about an order's session.
    pub fn event(&self, kind: &str, number: &str) -> Value {
        let account = self.shared.lock().unwrap();
        let (id, session) =
            account.sessions.iter().find(|(_, it)| it.form["client_reference_id"] == number).unwrap();
        json!({
            "id": format!("evt_{kind}_{number}"), "object": "event", "api_version": "2025-09-30.clover",
            "created": Utc::now().timestamp(), "livemode": false, "pending_webhooks": 1, "type": kind,
            "data": {"object": shown(id, session)},
        })
    }

    /// Tells the gateway of an event as if it had been sent so many seconds ago, under a secret.
    pub async fn tells(&self, door: &str, event: &Value, age_s: i64, secret: &str) -> Heard {
        tell(Self::telling(door, event, age_s, secret)).await
    }

    /// The same, not sent yet.
    pub fn telling(door: &str, event: &Value, age_s: i64, secret: &str) -> reqwest::RequestBuilder {
        // As it is written, with blanks that a rewriting would lose.
        let body = serde_json::to_string_pretty(event).unwrap();
        let time = Utc::now().timestamp() - age_s;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = hex::encode(hmac::sign(&key, format!("{time}.{body}").as_bytes()));
        let header = format!("t={time},v1={},v1={signature},v0=6ffbb59b", "0".repeat(64));
        http::client().post(door).header("stripe-signature", header).body(body)
    }

    /// Tells the gateway that an order was paid.
    pub async fn notifies(&self, door: &str, number: &str) -> Heard {
        self.tells(door, &self.event("checkout.session.completed", number), 0, WEBHOOK_SECRET).await
    }
}

impl Drop for StripeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn shown(id: &str, session: &Session) -> Value {
    let form = &session.form;
    let amount: i64 = form["line_items[0][price_data][unit_amount]"].parse().unwrap();
    json!({
        "id": id, "object": "checkout.session", "client_reference_id": form["client_reference_id"],
        "amount_total": amount, "currency": form["line_items[0][price_data][currency]"], "livemode": false,
        "payment_status": if session.is_paid { "paid" } else { "unpaid" }, "status": session.status,
        "payment_intent": format!("pi_{}", &id[3..]), "metadata": {"order_no": form["metadata[order_no]"]},
        "url": if session.status == "open" { json!(format!("https://checkout.stripe.com/c/pay/{id}")) } else { Value::Null },
    })
}

type Shared = State<Arc<Mutex<Account>>>;

fn error(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, axum::Json(json!({"error": {"code": code, "message": message}}))).into_response()
}

/// Everything that asks must have the key and a version; `Err`: the answer to those who have not.
fn admitted(account: &mut Account, headers: &HeaderMap) -> Result<(), Box<Response>> {
    account.asked += 1;
    let has_key =
        headers.get("authorization").is_some_and(|it| it.to_str().unwrap() == format!("Bearer {SECRET_KEY}"));
    match (account.is_down, has_key && headers.contains_key("stripe-version")) {
        (true, _) => Err(Box::new(error(500, "", "try again"))),
        (false, false) => Err(Box::new(error(401, "", &format!("Invalid API Key: {SECRET_KEY}")))),
        (false, true) => Ok(()),
    }
}

/// The same key and request: the first answer. The same key and another request: an error.
fn once(
    account: &mut Account,
    headers: &HeaderMap,
    request: &str,
    act: impl FnOnce(&mut Account) -> Value,
) -> Response {
    let Some(key) = headers.get("idempotency-key").and_then(|it| it.to_str().ok()) else {
        return error(400, "no_key", "these tests want an idempotency key");
    };
    let known = account.keys.get(key).cloned();
    match known {
        Some((first, answer)) if first == request => axum::Json(answer).into_response(),
        Some(_) => error(400, "idempotency_error", "the key was used for another request"),
        None => {
            let answer = act(account);
            account.keys.insert(key.to_owned(), (request.to_owned(), answer.clone()));
            axum::Json(answer).into_response()
        }
    }
}

async fn create(State(shared): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let mut account = shared.lock().unwrap();
    if let Err(answer) = admitted(&mut account, &headers) {
        return *answer;
    }
    let text = String::from_utf8(body.to_vec()).unwrap();
    once(&mut account, &headers, &text.clone(), |account| {
        let form = decode(&text);
        assert_eq!(form["mode"], "payment");
        let id = format!("cs_test_{:024}", account.sessions.len() + 1);
        let session = Session { form, status: "open", is_paid: false, paid_at: None };
        let answer = shown(&id, &session);
        account.sessions.insert(id, session);
        answer
    })
}

async fn report(State(shared): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let mut account = shared.lock().unwrap();
    if let Err(answer) = admitted(&mut account, &headers) {
        return *answer;
    }
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("payment_metadata%5Border_no%5D"), "the report would not name orders: {text}");
    let form = decode(&text);
    let start = DateTime::from_timestamp(form["parameters[interval_start]"].parse().unwrap(), 0).unwrap();
    let day = start.format("%Y-%m-%d").to_string();
    assert_eq!((form["parameters[timezone]"].as_str(), start.timestamp() % 86_400), ("Etc/UTC", 0));
    account.bills.entry(day.clone()).or_insert_with(|| super::bills::stripe(&[]));
    let host = headers["host"].to_str().unwrap();
    let url = format!("http://{host}/v1/files/{day}/contents");
    axum::Json(json!({"id": "frr_1", "status": "succeeded", "result": {"url": url}})).into_response()
}

async fn file(State(shared): Shared, Path(day): Path<String>, headers: HeaderMap) -> Response {
    assert_eq!(headers["authorization"].to_str().unwrap(), format!("Bearer {SECRET_KEY}"));
    shared.lock().unwrap().bills[&day].clone().into_response()
}

async fn show(State(shared): Shared, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let mut account = shared.lock().unwrap();
    if let Err(answer) = admitted(&mut account, &headers) {
        return *answer;
    }
    match account.sessions.get(&id) {
        Some(session) => axum::Json(shown(&id, session)).into_response(),
        None => error(404, "resource_missing", "no such session"),
    }
}

async fn expire(State(shared): Shared, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let mut account = shared.lock().unwrap();
    if let Err(answer) = admitted(&mut account, &headers) {
        return *answer;
    }
    if account.sessions.get(&id).is_none_or(|session| session.status != "open") {
        return error(400, "", "Only Checkout Sessions with a status in [\"open\"] can be expired.");
    }
    once(&mut account, &headers, &id.clone(), |account| {
        let session = account.sessions.get_mut(&id).unwrap();
        session.status = "expired";
        shown(&id, session)
    })
}

fn refund(number: &str, given: &Given) -> Value {
    let status = match given.state {
        "done" => "succeeded",
        "failed" => "failed",
        _ => "pending",
    };
    json!({
        "id": format!("re_{number}"), "object": "refund", "amount": given.amount.parse::<i64>().unwrap(), "currency": "usd",
        "payment_intent": given.of, "charge": "ch_1", "status": status, "metadata": {"refund_no": number},
    })
}

async fn give_back(State(shared): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let (answer, manner) = {
        let mut account = shared.lock().unwrap();
        if let Err(answer) = admitted(&mut account, &headers) {
            return *answer;
        }
        let form = decode(std::str::from_utf8(&body).unwrap());
        let number = form["metadata[refund_no]"].clone();
        assert_eq!(headers["idempotency-key"], format!("{number}-refund"));
        match account.refunds.clone().asked(&number, &form["payment_intent"], &form["amount"]) {
            Some((given, manner)) => (axum::Json(refund(&number, &given)).into_response(), manner),
            None => return error(400, "balance_insufficient", "Insufficient funds in Stripe account."),
        }
    };
    if says(manner).await { answer } else { error(500, "", "something broke, and the money is gone") }
}

async fn list_refunds(State(shared): Shared, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let mut account = shared.lock().unwrap();
    if let Err(answer) = admitted(&mut account, &headers) {
        return *answer;
    }
    let asked = decode(&query.unwrap_or_default());
    let rows: Vec<Value> = account
        .refunds
        .of(&asked["payment_intent"])
        .iter()
        .map(|(number, given)| refund(number, given))
        .collect();
    axum::Json(json!({"object": "list", "data": rows, "has_more": false})).into_response()
}
