//! Alipay's gateway: one address for every method, signed answers, signed notifications.

use super::{
    Form, Heard,
    bills::{self, Line},
    decode, encode,
    keys::KeyPair,
    refunds::{Refunds, says},
    sorted, tell,
};
use crate::{GatewayOptions, http};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use chrono::{NaiveDateTime, TimeDelta, Utc};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

/// The application's id.
pub const APP_ID: &str = "2021000122671080";
/// The merchant's.
pub const SELLER_ID: &str = "2088531891668739";

/// A running gateway.
pub struct AlipayGateway {
    url: String,
    shared: Arc<Shared>,
    /// What it gave back.
    pub refunds: Arc<Refunds>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    refunds: Arc<Refunds>,
    app: KeyPair,
    alipay: KeyPair,
    has_certificates: bool,
    /// What it signs with since its certificate has changed; the old one issued it.
    changed: OnceLock<KeyPair>,
    state: Mutex<Trades>,
}

#[derive(Default)]
struct Trades {
    trades: BTreeMap<String, Trade>,
    /// Codes that nobody has scanned yet: the trade begins with the scan.
    codes: BTreeMap<String, Trade>,
    /// Bills to be downloaded, by their kind and day.
    bills: BTreeMap<(String, String), Vec<u8>>,
    asked: usize,
    is_down: bool,
}

#[derive(Clone)]
struct Trade {
    amount: String,
    trade_no: String,
    status: &'static str,
    paid_at: Option<NaiveDateTime>,
}

impl AlipayGateway {
    /// Starts one, in public-key mode or in certificate mode.
    pub async fn start(has_certificates: bool) -> Self {
        let (app, alipay) = tokio::join!(KeyPair::new(), KeyPair::new());
        let refunds = Arc::<Refunds>::default();
        let shared = Arc::new(Shared {
            refunds: refunds.clone(),
            app,
            alipay,
            has_certificates,
            changed: OnceLock::new(),
            state: Mutex::default(),
        });
        let router = Router::new()
            .route("/gateway.do", any(gateway))
            .route("/bill/{kind}/{day}", get(bill))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/gateway.do", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, refunds, server }
    }

    /// Lets a gateway take payments here.
    #[must_use]
    pub fn for_gateway(&self, options: GatewayOptions) -> GatewayOptions {
        let Shared { app, alipay, .. } = &*self.shared;
        let keys = match self.shared.has_certificates {
            true => vec![
                ("PRIVATE_KEY", app.private_pem.clone()),
                ("APP_CERT", app.certificate.clone()),
                ("ALIPAY_CERT", alipay.certificate.clone()),
                ("ALIPAY_ROOT_CERT", alipay.certificate.clone()),
            ],
            false => vec![
                ("PRIVATE_KEY", app.private_pkcs1.clone()),
                ("ALIPAY_PUBLIC_KEY", alipay.public_spki.clone()),
            ],
        };
        let options = options
            .environment("NEXUSROUTE_PAYMENTS_ALIPAY_BASE_URL", &self.url)
            .environment("NEXUSROUTE_PAYMENTS_ALIPAY_ALLOW_PRIVATE", "true")
            .environment("NEXUSROUTE_PAYMENTS_ALIPAY_APP_ID", APP_ID)
            .environment("NEXUSROUTE_PAYMENTS_ALIPAY_SELLER_ID", SELLER_ID);
        keys.into_iter().fold(options, |options, (name, key)| {
            options.environment(&format!("NEXUSROUTE_PAYMENTS_ALIPAY_{name}"), &key)
        })
    }

    /// What must never be seen in a log.
    pub fn secrets(&self) -> Vec<String> {
        let app = &self.shared.app;
        vec![app.private_pkcs1[..64].to_owned(), app.private_pem.lines().nth(1).unwrap().to_owned()]
    }

    /// The payer opens the page, or scans the code.
    pub async fn opens(&self, action: &Value) {
        match action["kind"].as_str().unwrap() {
            "redirect" => {
                let heard = tell(http::client().get(action["url"].as_str().unwrap())).await;
                assert_eq!(heard.status, 200, "{heard:?}");
            }
            "qr" => {
                let code = action["content"].as_str().unwrap();
                let number = code.strip_prefix("https://qr.alipay.com/").unwrap();
                let mut state = self.shared.state.lock().unwrap();
                let trade = state.codes[number].clone();
                state.trades.insert(number.to_owned(), trade);
            }
            other => panic!("{other}"),
        }
    }

    /// The payer pays; nobody is told.
    pub fn is_paid(&self, number: &str) {
        let mut state = self.shared.state.lock().unwrap();
        let trade = state.trades.get_mut(number).expect("the trade began");
        (trade.status, trade.paid_at) = ("TRADE_SUCCESS", Some(beijing_time()));
    }

    /// What its bill says of the payments and refunds so far.
    pub fn lines(&self) -> Vec<Line> {
        let state = self.shared.state.lock().unwrap();
        let paid = state.trades.iter().filter_map(|(number, trade)| Some((number, trade, trade.paid_at?)));
        let paid = paid.map(|(number, trade, at)| Line::payment(number, &trade.trade_no, &trade.amount, at));
        bills::with_refunds(paid.collect(), &self.refunds, bills::minor, beijing_time())
    }

    /// From now on a bill (`trade`, `signcustomer`) of a day can be downloaded.
    pub fn offers_bill(&self, kind: &str, day: &str, bytes: Vec<u8>) {
        self.shared.state.lock().unwrap().bills.insert((kind.to_owned(), day.to_owned()), bytes);
    }

    /// Its certificate changes, as it does every few years: from now on it signs with another.
    pub async fn changes_its_certificate(&self) {
        let new = self.shared.alipay.issues().await;
        assert!(self.shared.changed.set(new).is_ok(), "once");
    }

    /// How far a trade is.
    pub fn status(&self, number: &str) -> Option<&'static str> {
        self.shared.state.lock().unwrap().trades.get(number).map(|trade| trade.status)
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.shared.state.lock().unwrap().asked
    }

    /// From now on it answers nothing but errors, or works again.
    pub fn is_down(&self, is_down: bool) {
        self.shared.state.lock().unwrap().is_down = is_down;
    }

    /// What it tells of a trade, not signed yet.
    pub fn notice(&self, number: &str) -> Form {
        let state = self.shared.state.lock().unwrap();
        let trade = &state.trades[number];
        [
            ("notify_time", beijing()),
            ("notify_type", "trade_status_sync".to_owned()),
            ("notify_id", format!("2026112200{number}")),
            ("app_id", APP_ID.to_owned()),
            ("auth_app_id", APP_ID.to_owned()),
            ("seller_id", SELLER_ID.to_owned()),
            ("charset", "utf-8".to_owned()),
            ("version", "1.0".to_owned()),
            ("trade_no", trade.trade_no.clone()),
            ("out_trade_no", number.to_owned()),
            ("trade_status", trade.status.to_owned()),
            ("total_amount", trade.amount.clone()),
            ("subject", "额度 100% A&B=C+D".to_owned()),
            ("buyer_logon_id", "xud***@126.com".to_owned()),
            (
                "fund_bill_list",
                format!("[{{\"amount\":\"{}\",\"fundChannel\":\"ALIPAYACCOUNT\"}}]", trade.amount),
            ),
            ("gmt_payment", beijing()),
            ("passback_params", String::new()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// What it tells of a refund: which one it was, and how much went back of the payment so far.
    pub fn refund_notice(&self, number: &str, refund: &str, so_far: &str) -> Form {
        let mut form = self.notice(number);
        form.extend([
            ("out_biz_no".to_owned(), refund.to_owned()),
            ("refund_fee".to_owned(), so_far.to_owned()),
            ("gmt_refund".to_owned(), format!("{}.123", beijing())),
        ]);
        form
    }

    /// The same, signed.
    pub fn signed(&self, mut form: Form) -> Form {
        if self.shared.has_certificates {
            form.insert("alipay_cert_sn".to_owned(), sn(self.shared.signer()));
        }
        let sign = self.shared.signer().sign(&sorted(&form, &["sign", "sign_type"]));
        form.extend([("sign".to_owned(), sign), ("sign_type".to_owned(), "RSA2".to_owned())]);
        form
    }

    /// Tells the gateway.
    pub async fn tells(&self, door: &str, form: &Form) -> Heard {
        tell(Self::telling(door, form)).await
    }

    /// The same, not sent yet.
    pub fn telling(door: &str, form: &Form) -> reqwest::RequestBuilder {
        http::client()
            .post(door)
            .header("content-type", "application/x-www-form-urlencoded; text/html; charset=utf-8")
            .body(encode(form))
    }

    /// Tells the gateway what it has to say of a trade.
    pub async fn notifies(&self, door: &str, number: &str) -> Heard {
        self.tells(door, &self.signed(self.notice(number))).await
    }
}

impl Drop for AlipayGateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn beijing_time() -> NaiveDateTime {
    (Utc::now() + TimeDelta::hours(8)).naive_utc()
}

fn beijing() -> String {
    beijing_time().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The SN of a certificate that `keys` made.
fn sn(pair: &KeyPair) -> String {
    hex::encode(Md5::digest(format!("CN=A gateway,O=Tests,C=CN{}", pair.serial)))
}

impl Shared {
    /// What it signs with now.
    fn signer(&self) -> &KeyPair {
        self.changed.get().unwrap_or(&self.alipay)
    }

    fn knows(&self, form: &Form) -> bool {
        let text = |name: &str| form.get(name).map_or("", String::as_str);
        let has_certificates = !self.has_certificates
            || (text("app_cert_sn") == sn(&self.app) && text("alipay_root_cert_sn") == sn(&self.alipay));
        text("app_id") == APP_ID
            && text("sign_type") == "RSA2"
            && text("charset") == "utf-8"
            && has_certificates
            && self.app.verifies(&sorted(form, &["sign"]), text("sign"))
    }

    /// An answer is text, with blanks that a rewriting would lose and slashes that it would change.
    fn answer(&self, method: &str, node: &Value) -> Response {
        let node = node.to_string().replace("\":", "\": ").replace('/', "\\/");
        let sign = self.signer().sign(&node);
        let certificate = match self.has_certificates {
            true => format!("\"alipay_cert_sn\":\"{}\",", sn(self.signer())),
            false => String::new(),
        };
        let text = format!(
            "{{\"{}_response\" : {node},{certificate}\"sign\":\"{sign}\"}}",
            method.replace('.', "_")
        );
        ([("content-type", "text/html;charset=utf-8")], text).into_response()
    }
}

async fn bill(State(shared): State<Arc<Shared>>, Path((kind, day)): Path<(String, String)>) -> Vec<u8> {
    shared.state.lock().unwrap().bills[&(kind, day)].clone()
}

async fn gateway(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut form = decode(&query.unwrap_or_default());
    form.extend(decode(&String::from_utf8_lossy(&body)));
    if form.get("method").is_some_and(|it| it == "alipay.trade.refund") && shared.knows(&form) {
        return give_back(&shared, &serde_json::from_str(&form["biz_content"]).unwrap()).await;
    }
    let mut state = shared.state.lock().unwrap();
    state.asked += 1;
    if state.is_down {
        return (StatusCode::SERVICE_UNAVAILABLE, "<html>busy</html>").into_response();
    }
    if !shared.knows(&form) {
        let error = json!({"error_response": {"code": "40002", "msg": "Invalid Arguments", "sub_code": "isv.invalid-signature"}});
        return axum::Json(error).into_response();
    }
    let content: Value = serde_json::from_str(&form["biz_content"]).unwrap();
    let number = content["out_trade_no"].as_str().unwrap_or_default().to_owned();
    let refused = |sub_code: &str| json!({"code": "40004", "msg": "Business Failed", "sub_code": sub_code, "sub_msg": "不行"});
    let new = |count: usize| Trade {
        amount: content["total_amount"].as_str().unwrap().to_owned(),
        trade_no: format!("20261122220014{:014}", count + 1),
        status: "WAIT_BUYER_PAY",
        paid_at: None,
    };
    let method = form["method"].clone();
    let node = match method.as_str() {
        "alipay.trade.page.pay" => {
            assert!(content["product_code"] == "FAST_INSTANT_TRADE_PAY" && form.contains_key("return_url"));
            let trade = new(state.trades.len());
            state.trades.entry(number).or_insert(trade);
            return "<html>Pay here.</html>".into_response();
        }
        "alipay.trade.precreate" => {
            let trade = new(state.codes.len());
            state.codes.entry(number.clone()).or_insert(trade);
            json!({"code": "10000", "msg": "Success", "out_trade_no": number, "qr_code": format!("https://qr.alipay.com/{number}")})
        }
        "alipay.trade.query" => match state.trades.get(&number) {
            None => refused("ACQ.TRADE_NOT_EXIST"),
            Some(trade) => json!({
                "code": "10000", "msg": "Success", "out_trade_no": number, "trade_no": trade.trade_no,
                "trade_status": trade.status, "total_amount": trade.amount, "sign": "an inner field of that name",
            }),
        },
        "alipay.trade.close" => match state.trades.get_mut(&number) {
            None => refused("ACQ.TRADE_NOT_EXIST"),
            Some(trade) if trade.status != "WAIT_BUYER_PAY" => refused("ACQ.TRADE_STATUS_ERROR"),
            Some(trade) => {
                trade.status = "TRADE_CLOSED";
                json!({"code": "10000", "msg": "Success", "out_trade_no": number, "trade_no": trade.trade_no})
            }
        },
        "alipay.trade.fastpay.refund.query" => {
            match shared
                .refunds
                .get(content["out_request_no"].as_str().unwrap())
                .filter(|it| it.state == "done")
            {
                Some(given) => {
                    json!({"code": "10000", "msg": "Success", "refund_status": "REFUND_SUCCESS", "refund_amount": given.amount})
                }
                // It says so of refunds that it does not have.
                None => json!({"code": "10000", "msg": "Success"}),
            }
        }
        "alipay.open.app.alipaycert.download" => {
            let wanted = content["alipay_cert_sn"].as_str().unwrap();
            let all = [Some(&shared.alipay), shared.changed.get()];
            match all.into_iter().flatten().find(|it| sn(it) == wanted) {
                Some(pair) => {
                    let sent = format!("{}{}", pair.certificate, shared.alipay.certificate);
                    json!({"code": "10000", "msg": "Success", "alipay_cert_content": super::base64(sent.as_bytes())})
                }
                None => refused("CERT_NOT_EXIST"),
            }
        }
        "alipay.data.dataservice.bill.downloadurl.query" => {
            let text = |name: &str| content[name].as_str().unwrap().to_owned();
            let (kind, day) = (text("bill_type"), text("bill_date"));
            match state.bills.contains_key(&(kind.clone(), day.clone())) {
                true => {
                    let host = headers["host"].to_str().unwrap();
                    json!({"code": "10000", "msg": "Success", "bill_download_url": format!("http://{host}/bill/{kind}/{day}")})
                }
                false => refused("isp.BILL_NOT_EXIST"),
            }
        }
        other => panic!("{other} is not asked in these tests"),
    };
    shared.answer(&method, &node)
}

async fn give_back(shared: &Shared, content: &Value) -> Response {
    let text = |name: &str| content[name].as_str().unwrap().to_owned();
    let (number, txn, amount) = (text("out_request_no"), text("trade_no"), text("refund_amount"));
    let before = shared.refunds.get(&number).is_some();
    let method = "alipay.trade.refund";
    let Some((_, manner)) = shared.refunds.asked(&number, &txn, &amount) else {
        let refused = json!({"code": "40004", "msg": "Business Failed", "sub_code": "ACQ.SELLER_BALANCE_NOT_ENOUGH", "sub_msg": "余额不足"});
        return shared.answer(method, &refused);
    };
    if !says(manner).await {
        return (StatusCode::SERVICE_UNAVAILABLE, "<html>busy, and the money is gone</html>").into_response();
    }
    let moved = if before { "N" } else { "Y" };
    shared.answer(method, &json!({"code": "10000", "msg": "Success", "trade_no": txn, "fund_change": moved}))
}
