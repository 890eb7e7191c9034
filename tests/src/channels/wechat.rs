//! WeChat Pay's API, with platform certificates or a public key.

use super::{
    Heard, base64,
    bills::Line,
    keys::KeyPair,
    refunds::{Given, Refunds, says},
    tell,
};
use crate::{GatewayOptions, http};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::{NaiveDateTime, TimeDelta, Utc};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The application's id.
pub const APPID: &str = "wxd678efh567hg6787";
/// The merchant's number.
pub const MCHID: &str = "1230000109";
/// The APIv3 key.
pub const API_V3_KEY: &str = "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb";
/// The public key's number, in public-key mode.
const PUBLIC_KEY_ID: &str = "PUB_KEY_ID_0000000000000024101100397200000006";

/// A running WeChat Pay.
pub struct WechatApi {
    url: String,
    shared: Arc<Shared>,
    /// What it gave back.
    pub refunds: Arc<Refunds>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    refunds: Arc<Refunds>,
    merchant: KeyPair,
    platform: KeyPair,
    has_certificates: bool,
    state: Mutex<Orders>,
}

#[derive(Default)]
struct Orders {
    orders: BTreeMap<String, Order>,
    asked: Vec<String>,
    /// Bills to be downloaded, by their kind and day.
    bills: BTreeMap<(String, String), Vec<u8>>,
    is_down: bool,
}

#[derive(Clone)]
struct Order {
    asked: Value,
    state: &'static str,
    transaction_id: String,
    paid_at: Option<NaiveDateTime>,
}

/// How a callback is changed on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tampering {
    /// So many seconds old.
    pub age_s: i64,
    /// A signature of its own.
    pub signature: Option<&'static str>,
    /// A serial number of its own.
    pub serial: Option<&'static str>,
    /// Sealed with another key.
    pub wrong_key: bool,
    /// Something else in the place of what is sealed.
    pub ciphertext: Option<&'static str>,
    /// A nonce of its own.
    pub nonce: Option<&'static str>,
    /// The body is changed after it was signed.
    pub changed: bool,
}

impl WechatApi {
    /// Starts one: with platform certificates, which the gateway must fetch, or in public-key mode.
    pub async fn start(has_certificates: bool) -> Self {
        let (merchant, platform) = tokio::join!(KeyPair::new(), KeyPair::new());
        let refunds = Arc::<Refunds>::default();
        let shared = Arc::new(Shared {
            refunds: refunds.clone(),
            merchant,
            platform,
            has_certificates,
            state: Mutex::default(),
        });
        let router = Router::new()
            .route("/v3/certificates", get(certificates))
            .route("/v3/bill/{kind}", get(bill))
            .route("/v3/billdownload/{kind}/{day}", get(file))
            .route("/v3/pay/transactions/{method}", post(create))
            .route("/v3/pay/transactions/out-trade-no/{number}", get(query))
            .route("/v3/pay/transactions/out-trade-no/{number}/close", post(close))
            .route("/v3/refund/domestic/refunds", post(give_back))
            .route("/v3/refund/domestic/refunds/{number}", get(show_refund))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, refunds, server }
    }

    /// Lets a gateway take payments here.
    #[must_use]
    pub fn for_gateway(&self, options: GatewayOptions) -> GatewayOptions {
        let Shared { merchant, platform, .. } = &*self.shared;
        let mut fields = vec![
            ("BASE_URL", self.url.as_str()),
            ("ALLOW_PRIVATE", "true"),
            ("APPID", APPID),
            ("MCHID", MCHID),
            ("SERIAL_NO", &merchant.serial_hex),
            ("PRIVATE_KEY", &merchant.private_pem),
            ("API_V3_KEY", API_V3_KEY),
            ("METHODS", "native,h5,jsapi"),
        ];
        if !self.shared.has_certificates {
            fields.extend([("PUBLIC_KEY_ID", PUBLIC_KEY_ID), ("PUBLIC_KEY", &platform.public_pem)]);
        }
        fields.into_iter().fold(options, |options, (name, value)| {
            options.environment(&format!("NEXUSROUTE_PAYMENTS_WECHAT_{name}"), value)
        })
    }

    /// What must never be seen in a log.
    pub fn secrets(&self) -> Vec<String> {
        vec![API_V3_KEY.to_owned(), self.shared.merchant.private_pem.lines().nth(1).unwrap().to_owned()]
    }

    /// The key by which a page's JavaScript call was signed.
    pub fn knows(&self, message: &str, signature: &str) -> bool {
        self.shared.merchant.verifies(message, signature)
    }

    /// The payer pays; nobody is told.
    pub fn is_paid(&self, number: &str) {
        let mut state = self.shared.state.lock().unwrap();
        let order = state.orders.get_mut(number).expect("it has the order");
        (order.state, order.paid_at) = ("SUCCESS", Some((Utc::now() + TimeDelta::hours(8)).naive_utc()));
    }

    /// What its bill says of the payments so far.
    pub fn lines(&self) -> Vec<Line> {
        let state = self.shared.state.lock().unwrap();
        let paid = state.orders.iter().filter_map(|(number, order)| Some((number, order, order.paid_at?)));
        let paid = paid.map(|(number, order, at)| {
            let total = order.asked["amount"]["total"].as_i64().unwrap();
            Line::payment(number, &order.transaction_id, &super::bills::amount(total), at)
        });
        let now = (Utc::now() + TimeDelta::hours(8)).naive_utc();
        super::bills::with_refunds(paid.collect(), &self.refunds, |it| it.parse().unwrap(), now)
    }

    /// From now on a bill (`tradebill`, `fundflowbill`) of a day can be downloaded.
    pub fn offers_bill(&self, kind: &str, day: &str, bytes: Vec<u8>) {
        self.shared.state.lock().unwrap().bills.insert((kind.to_owned(), day.to_owned()), bytes);
    }

    /// How far an order is.
    pub fn status(&self, number: &str) -> &'static str {
        self.shared.state.lock().unwrap().orders[number].state
    }

    /// Every path that was asked.
    pub fn asked(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    /// From now on it answers nothing but errors, or works again.
    pub fn is_down(&self, is_down: bool) {
        self.shared.state.lock().unwrap().is_down = is_down;
    }

    /// What it says of an order, unsealed.
    pub fn transaction(&self, number: &str) -> Value {
        self.shared.state.lock().unwrap().orders[number].shown(number)
    }

    /// Tells the gateway what a refund became.
    pub async fn tells_refund(&self, door: &str, order: &str, refund: &str) -> Heard {
        let given = self.refunds.get(refund).expect("it was asked for");
        let status = refund_status(given.state);
        let amount: i64 = given.amount.parse().unwrap();
        let plain = json!({
            "mchid": MCHID, "out_trade_no": order, "transaction_id": given.of, "out_refund_no": refund,
            "refund_id": format!("50{refund}"), "refund_status": status, "user_received_account": "招商银行信用卡0403",
            "amount": {"total": amount, "refund": amount, "payer_total": 1, "payer_refund": 1},
        });
        self.tells_of(door, &format!("REFUND.{status}"), &plain, Tampering::default()).await
    }

    /// Tells the gateway what a transaction became.
    pub async fn tells(&self, door: &str, transaction: &Value, tampering: Tampering) -> Heard {
        self.tells_of(door, "TRANSACTION.SUCCESS", transaction, tampering).await
    }

    async fn tells_of(&self, door: &str, event: &str, transaction: &Value, tampering: Tampering) -> Heard {
        tell(self.telling(door, event, transaction, tampering)).await
    }

    /// The same, not sent yet.
    pub fn telling(
        &self,
        door: &str,
        event: &str,
        transaction: &Value,
        tampering: Tampering,
    ) -> reqwest::RequestBuilder {
        let key = if tampering.wrong_key { "0123456789abcdef0123456789abcdef" } else { API_V3_KEY };
        let mut body = json!({
            "id": "EV-2018022511223320873", "create_time": Utc::now().to_rfc3339(), "resource_type": "encrypt-resource",
            "event_type": event, "summary": "支付成功",
            "resource": {
                "original_type": "transaction", "algorithm": "AEAD_AES_256_GCM", "associated_data": "transaction",
                "nonce": "fdasflkja484", "ciphertext": sealed(key, "transaction", transaction.to_string().as_bytes()),
            },
        });
        for (name, other) in [("ciphertext", tampering.ciphertext), ("nonce", tampering.nonce)] {
            if let Some(other) = other {
                body["resource"][name] = json!(other);
            }
        }
        let body = serde_json::to_string_pretty(&body).unwrap();
        let signed = self.shared.headers(body.as_bytes(), tampering.age_s);
        let mut request = http::client().post(door).header("content-type", "application/json");
        for (name, value) in signed {
            let value = match (name, tampering.signature, tampering.serial) {
                ("wechatpay-signature", Some(other), _) | ("wechatpay-serial", _, Some(other)) => {
                    other.to_owned()
                }
                _ => value,
            };
            request = request.header(name, value);
        }
        request.body(if tampering.changed { format!("{body} ") } else { body })
    }

    /// Tells the gateway what became of an order.
    pub async fn notifies(&self, door: &str, number: &str) -> Heard {
        self.tells(door, &self.transaction(number), Tampering::default()).await
    }
}

impl Drop for WechatApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Order {
    fn shown(&self, number: &str) -> Value {
        let mut shown = json!({
            "mchid": MCHID, "appid": APPID, "out_trade_no": number, "trade_state": self.state, "trade_type": "NATIVE",
            "amount": {"total": self.asked["amount"]["total"], "currency": "CNY"},
        });
        if self.state == "SUCCESS" {
            shown["transaction_id"] = json!(self.transaction_id);
            shown["success_time"] = json!(Utc::now().to_rfc3339());
            // A coupon paid a part.
            shown["amount"]["payer_total"] = json!(1);
        }
        shown
    }
}

fn sealed(key: &str, aad: &str, plain: &[u8]) -> String {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_bytes()).unwrap());
    let mut bytes = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key(*b"fdasflkja484");
    key.seal_in_place_append_tag(nonce, Aad::from(aad.as_bytes()), &mut bytes).unwrap();
    base64(&bytes)
}

impl Shared {
    fn headers(&self, body: &[u8], age_s: i64) -> Vec<(&'static str, String)> {
        let (time, nonce) =
            ((Utc::now().timestamp() - age_s).to_string(), "EcZ9Cmy4Xyx1i6RlJQzLcCyEqDa26NBz");
        let message = format!("{time}\n{nonce}\n{}\n", String::from_utf8_lossy(body));
        let serial = match self.has_certificates {
            true => self.platform.serial_hex.clone(),
            false => PUBLIC_KEY_ID.to_owned(),
        };
        vec![
            ("wechatpay-timestamp", time),
            ("wechatpay-nonce", nonce.to_owned()),
            ("wechatpay-signature", self.platform.sign(&message)),
            ("wechatpay-serial", serial),
            ("wechatpay-signature-type", "WECHATPAY2-SHA256-RSA2048".to_owned()),
        ]
    }

    /// Is it the merchant who asks? `Err`: the answer to those who are not.
    fn admitted(
        &self,
        method: &str,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), Box<Response>> {
        let mut state = self.state.lock().unwrap();
        state.asked.push(uri.path().to_owned());
        if state.is_down {
            return Err(Box::new(failure(500, "SYSTEM_ERROR")));
        }
        let header = headers.get("authorization").and_then(|it| it.to_str().ok()).unwrap_or_default();
        let fields = header.strip_prefix("WECHATPAY2-SHA256-RSA2048 ").unwrap_or_default();
        let part = |name: &str| {
            let found = fields.split(',').find_map(|it| it.strip_prefix(name)?.strip_prefix("=\""));
            found.and_then(|it| it.strip_suffix('"')).unwrap_or_default().to_owned()
        };
        let path = uri.path_and_query().unwrap().as_str();
        let (time, nonce) = (part("timestamp"), part("nonce_str"));
        let message = format!("{method}\n{path}\n{time}\n{nonce}\n{}\n", String::from_utf8_lossy(body));
        let is_now = time.parse::<i64>().is_ok_and(|it| (Utc::now().timestamp() - it).abs() <= 300);
        let is_merchant = part("mchid") == MCHID && part("serial_no") == self.merchant.serial_hex;
        let names_key =
            self.has_certificates || headers.get("wechatpay-serial").is_some_and(|it| it == PUBLIC_KEY_ID);
        match is_now && is_merchant && names_key && self.merchant.verifies(&message, &part("signature")) {
            true => Ok(()),
            false => Err(Box::new(failure(401, "SIGN_ERROR"))),
        }
    }

    fn answer(&self, status: u16, body: String) -> Response {
        let mut answer = (StatusCode::from_u16(status).unwrap(), body.clone()).into_response();
        for (name, value) in self.headers(body.as_bytes(), 0) {
            answer.headers_mut().insert(name, value.parse().unwrap());
        }
        answer
    }
}

/// Failures are not signed.
fn failure(status: u16, code: &str) -> Response {
    let body = json!({"code": code, "message": "不行", "detail": {}});
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

type Asked = State<Arc<Shared>>;

async fn certificates(State(shared): Asked, uri: Uri, headers: HeaderMap) -> Response {
    if let Err(answer) = shared.admitted("GET", &uri, &headers, b"") {
        return *answer;
    }
    if !shared.has_certificates {
        return failure(404, "RESOURCE_NOT_EXISTS");
    }
    let body = json!({"data": [{
        "serial_no": shared.platform.serial_hex, "effective_time": "2023-09-19T23:15:58+08:00",
        "expire_time": "2033-09-17T23:15:58+08:00",
        "encrypt_certificate": {
            "algorithm": "AEAD_AES_256_GCM", "nonce": "fdasflkja484", "associated_data": "certificate",
            "ciphertext": sealed(API_V3_KEY, "certificate", shared.platform.certificate.as_bytes()),
        },
    }]});
    shared.answer(200, body.to_string())
}

async fn create(
    State(shared): Asked,
    Path(method): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(answer) = shared.admitted("POST", &uri, &headers, &body) {
        return *answer;
    }
    let asked: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&asked["mchid"], &asked["appid"]), (&json!(MCHID), &json!(APPID)));
    let number = asked["out_trade_no"].as_str().unwrap().to_owned();
    let mut state = shared.state.lock().unwrap();
    let transaction_id = format!("42000009142021011{:011}", state.orders.len() + 1);
    state.orders.entry(number.clone()).or_insert(Order {
        asked: asked.clone(),
        state: "NOTPAY",
        transaction_id,
        paid_at: None,
    });
    drop(state);
    let answer = match method.as_str() {
        "native" => json!({"code_url": format!("weixin://wxpay/bizpayurl?pr={number}")}),
        "h5" if asked["scene_info"]["payer_client_ip"].is_string() => {
            json!({"h5_url": format!("https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id={number}")})
        }
        "jsapi" if asked["payer"]["openid"].is_string() => json!({"prepay_id": format!("wx{number}")}),
        _ => return failure(400, "PARAM_ERROR"),
    };
    shared.answer(200, answer.to_string())
}

async fn bill(
    State(shared): Asked,
    Path(kind): Path<String>,
    RawQuery(query): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(answer) = shared.admitted("GET", &uri, &headers, b"") {
        return *answer;
    }
    let day = super::decode(&query.unwrap_or_default())["bill_date"].clone();
    let found = shared.state.lock().unwrap().bills.get(&(kind.clone(), day.clone())).cloned();
    let Some(bytes) = found else { return failure(400, "NO_STATEMENT_EXIST") };
    let hash = hex::encode(<sha1::Sha1 as sha1::Digest>::digest(&bytes));
    let host = headers["host"].to_str().unwrap();
    let url = format!("http://{host}/v3/billdownload/{kind}/{day}?token=x");
    shared.answer(200, json!({"hash_type": "SHA1", "hash_value": hash, "download_url": url}).to_string())
}

/// A file is not signed.
async fn file(
    State(shared): Asked,
    Path((kind, day)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(answer) = shared.admitted("GET", &uri, &headers, b"") {
        return *answer;
    }
    shared.state.lock().unwrap().bills[&(kind, day)].clone().into_response()
}

async fn query(
    State(shared): Asked,
    Path(number): Path<String>,
    RawQuery(query): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(answer) = shared.admitted("GET", &uri, &headers, b"") {
        return *answer;
    }
    assert_eq!(query.as_deref(), Some("mchid=1230000109"));
    let found = shared.state.lock().unwrap().orders.get(&number).cloned();
    match found {
        Some(order) => shared.answer(200, order.shown(&number).to_string()),
        None => failure(404, "ORDER_NOT_EXIST"),
    }
}

async fn close(
    State(shared): Asked,
    Path(number): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(answer) = shared.admitted("POST", &uri, &headers, &body) {
        return *answer;
    }
    let mut state = shared.state.lock().unwrap();
    match state.orders.get_mut(&number) {
        None => return failure(404, "ORDER_NOT_EXIST"),
        Some(order) if order.state == "SUCCESS" => return failure(400, "ORDERPAID"),
        Some(order) => order.state = "CLOSED",
    }
    drop(state);
    shared.answer(204, String::new())
}

fn refund_status(state: &str) -> &'static str {
    match state {
        "done" => "SUCCESS",
        "abnormal" => "ABNORMAL",
        "failed" => "CLOSED",
        _ => "PROCESSING",
    }
}

fn refund(number: &str, given: &Given) -> Value {
    json!({
        "refund_id": format!("50{number}"), "out_refund_no": number, "transaction_id": given.of,
        "status": refund_status(given.state), "amount": {"refund": given.amount.parse::<i64>().unwrap(), "currency": "CNY"},
    })
}

async fn give_back(State(shared): Asked, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(answer) = shared.admitted("POST", &uri, &headers, &body) {
        return *answer;
    }
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let text = |name: &str| asked[name].as_str().unwrap().to_owned();
    let (number, txn) = (text("out_refund_no"), text("transaction_id"));
    assert!(
        asked["notify_url"].is_string()
            && asked["amount"]["total"].as_i64() >= asked["amount"]["refund"].as_i64()
    );
    let Some((given, manner)) = shared.refunds.asked(&number, &txn, &asked["amount"]["refund"].to_string())
    else {
        return failure(403, "NOT_ENOUGH");
    };
    if says(manner).await {
        shared.answer(200, refund(&number, &given).to_string())
    } else {
        failure(500, "SYSTEM_ERROR")
    }
}

async fn show_refund(
    State(shared): Asked,
    Path(number): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(answer) = shared.admitted("GET", &uri, &headers, b"") {
        return *answer;
    }
    match shared.refunds.get(&number) {
        Some(given) => shared.answer(200, refund(&number, &given).to_string()),
        None => failure(404, "RESOURCE_NOT_EXISTS"),
    }
}
