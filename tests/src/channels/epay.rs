//! An Epay site, in both versions of the protocol.

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
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, post},
};
use chrono::{NaiveDateTime, Utc};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The merchant's number there.
pub const PID: &str = "1001";
/// The merchant's key of version 1.
pub const KEY: &str = "89unJUB8HZ54Hj7x4nUj56HN4nUzUJ8i";

/// A running site.
pub struct EpaySite {
    url: String,
    shared: Arc<Shared>,
    /// What it gave back.
    pub refunds: Arc<Refunds>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    refunds: Arc<Refunds>,
    /// Version 2: the merchant's key and the platform's.
    rsa: Option<(KeyPair, KeyPair)>,
    state: Mutex<Site>,
}

#[derive(Default)]
struct Site {
    orders: BTreeMap<String, Order>,
    /// Every path that was asked, with what it was asked for.
    asked: Vec<String>,
    /// What its list of orders says instead of the truth.
    listed: Option<Vec<Value>>,
    /// Answers an error page to everything.
    is_down: bool,
}

/// An order there.
#[derive(Clone, Debug)]
struct Order {
    asked: Form,
    trade_no: String,
    paid_at: Option<String>,
    opened_at: String,
    is_closed: bool,
}

impl EpaySite {
    /// Starts a site of version 1 or 2.
    pub async fn start(version: u8) -> Self {
        let rsa = if version == 2 { Some((KeyPair::new().await, KeyPair::new().await)) } else { None };
        let refunds = Arc::<Refunds>::default();
        let shared = Arc::new(Shared { refunds: refunds.clone(), rsa, state: Mutex::default() });
        let router = Router::new()
            .route("/shop/submit.php", any(submit))
            .route("/shop/mapi.php", any(create))
            .route("/shop/api.php", any(old_api))
            .route("/shop/api/{room}/{act}", post(new_api))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/shop", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, refunds, server }
    }

    /// Lets a gateway take payments here, as the channel of that name.
    #[must_use]
    pub fn for_gateway(&self, options: GatewayOptions, channel: &str, mode: &str) -> GatewayOptions {
        let variable = |field: &str| {
            format!(
                "NEXUSROUTE_PAYMENTS_{}_{}",
                channel.replace('-', "_").to_uppercase(),
                field.to_uppercase()
            )
        };
        let mut options = options
            .environment(&variable("kind"), "epay")
            .environment(&variable("base_url"), &self.url)
            .environment(&variable("allow_private"), "true")
            .environment(&variable("mode"), mode)
            .environment(&variable("pid"), PID);
        for (name, secret) in self.settings() {
            options = options.environment(&variable(name), &secret);
        }
        options
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        match &self.shared.rsa {
            None => vec![("version", "1".into()), ("key", KEY.into())],
            Some((merchant, platform)) => vec![
                ("version", "2".into()),
                ("private_key", merchant.private_pem.clone()),
                ("platform_public_key", platform.public_spki.clone()),
            ],
        }
    }

    /// What must never be seen in a log.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets: Vec<String> = vec![KEY.to_owned()];
        if let Some((merchant, _)) = &self.shared.rsa {
            secrets.push(merchant.private_pem.lines().nth(1).unwrap().to_owned());
        }
        secrets
    }

    /// Does what the payer's browser does with a form: sends it here. Panics unless the site takes it.
    pub async fn opens(&self, action: &Value) {
        let client = http::client();
        let request = match action["kind"].as_str().unwrap() {
            "form" => {
                let fields = action["fields"].as_array().unwrap().iter();
                let form = fields.map(|it| (super_text(&it["name"]), super_text(&it["value"]))).collect();
                client
                    .post(action["url"].as_str().unwrap())
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(encode(&form))
            }
            "redirect" => client.get(action["url"].as_str().unwrap()),
            // The site has the order already.
            _ => return,
        };
        let heard = tell(request).await;
        assert_eq!(heard.status, 200, "{heard:?}");
    }

    /// The payer pays; nobody is told.
    pub fn is_paid(&self, number: &str) {
        let mut state = self.shared.state.lock().unwrap();
        let order = state.orders.get_mut(number).unwrap_or_else(|| panic!("the site has no order {number}"));
        order.paid_at = Some(stamp());
    }

    /// What its list says of the payments so far.
    pub fn lines(&self) -> Vec<Line> {
        let state = self.shared.state.lock().unwrap();
        let paid =
            state.orders.iter().filter_map(|(number, order)| Some((number, order, order.paid_at.as_ref()?)));
        paid.map(|(number, order, at)| {
            let at = NaiveDateTime::parse_from_str(at, "%Y-%m-%d %H:%M:%S").unwrap();
            Line { fee: 0, ..Line::payment(number, &order.trade_no, &order.asked["money"], at) }
        })
        .collect()
    }

    /// From now on its list of orders says this.
    pub fn lists(&self, lines: &[Line]) {
        self.shared.state.lock().unwrap().listed = Some(bills::epay(PID, lines));
    }

    /// From now on it answers nothing but errors, or works again.
    pub fn is_down(&self, is_down: bool) {
        self.shared.state.lock().unwrap().is_down = is_down;
    }

    /// Has it closed an order?
    pub fn has_closed(&self, number: &str) -> bool {
        self.shared.state.lock().unwrap().orders.get(number).is_some_and(|order| order.is_closed)
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    /// What it tells the merchant of a paid order, not signed yet.
    pub fn notice(&self, number: &str) -> Form {
        let state = self.shared.state.lock().unwrap();
        let order = &state.orders[number];
        let mut form: Form = [
            ("pid", PID),
            ("trade_no", &order.trade_no),
            ("out_trade_no", number),
            ("type", "alipay"),
            ("name", order.asked.get("name").map_or("", String::as_str)),
            ("money", &order.asked["money"]),
            ("trade_status", "TRADE_SUCCESS"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        if self.shared.rsa.is_some() {
            form.insert("timestamp".into(), Utc::now().timestamp().to_string());
        }
        form
    }

    /// The same, signed.
    pub fn signed(&self, mut form: Form) -> Form {
        let (sign, kind) = self.shared.sign(&form);
        form.extend([("sign".to_owned(), sign), ("sign_type".to_owned(), kind.to_owned())]);
        form
    }

    /// Tells the merchant's gateway, by GET.
    pub async fn tells(&self, notify_url: &str, form: &Form) -> Heard {
        tell(Self::telling(notify_url, form)).await
    }

    /// The same, not sent yet.
    pub fn telling(notify_url: &str, form: &Form) -> reqwest::RequestBuilder {
        http::client().get(format!("{notify_url}?{}", encode(form)))
    }

    /// Tells the merchant's gateway what it has to say of an order.
    pub async fn notifies(&self, notify_url: &str, number: &str) -> Heard {
        self.tells(notify_url, &self.signed(self.notice(number))).await
    }
}

impl Drop for EpaySite {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn super_text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn stamp() -> String {
    (Utc::now() + chrono::TimeDelta::hours(8)).format("%Y-%m-%d %H:%M:%S").to_string()
}

impl Shared {
    fn sign(&self, form: &Form) -> (String, &'static str) {
        let text = sorted(form, &["sign", "sign_type"]);
        match &self.rsa {
            None => (hex::encode(Md5::digest(format!("{text}{KEY}"))), "MD5"),
            Some((_, platform)) => (platform.sign(&text), "RSA"),
        }
    }

    /// Is it the merchant who asks?
    fn knows(&self, form: &Form) -> bool {
        let text = sorted(form, &["sign", "sign_type"]);
        let sign = form.get("sign").map_or("", String::as_str);
        let signed = match &self.rsa {
            None => sign == hex::encode(Md5::digest(format!("{text}{KEY}"))) && form["sign_type"] == "MD5",
            Some((merchant, _)) => {
                let is_now = form.get("timestamp").and_then(|it| it.parse::<i64>().ok());
                merchant.verifies(&text, sign)
                    && form["sign_type"] == "RSA"
                    && is_now.is_some_and(|it| (Utc::now().timestamp() - it).abs() <= 300)
            }
        };
        signed && form.get("pid").is_some_and(|pid| pid == PID)
    }

    fn opened(&self, form: Form) -> Order {
        let mut state = self.state.lock().unwrap();
        let number = form["out_trade_no"].clone();
        let trade_no = format!("2026112200000{:06}", state.orders.len() + 1);
        let order = Order { asked: form, trade_no, paid_at: None, opened_at: stamp(), is_closed: false };
        state.orders.entry(number).or_insert(order).clone()
    }

    /// An answer of version 2 is signed.
    fn answer(&self, mut answer: Value) -> Response {
        if self.rsa.is_some() {
            answer["timestamp"] = json!(Utc::now().timestamp().to_string());
            let plain: Form = answer
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, value)| !value.is_array() && !value.is_null())
                .map(|(name, value)| {
                    (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                })
                .collect();
            answer["sign"] = json!(self.sign(&plain).0);
            answer["sign_type"] = json!("RSA");
        }
        axum::Json(answer).into_response()
    }

    fn heard(
        &self,
        what: &str,
        query: Option<String>,
        body: &[u8],
    ) -> Result<Form, (StatusCode, &'static str)> {
        let mut form = decode(&query.unwrap_or_default());
        form.extend(decode(&String::from_utf8_lossy(body)));
        let mut state = self.state.lock().unwrap();
        let number = form.get("out_trade_no").or(form.get("trade_no"));
        state.asked.push(format!("{what} {}", number.map_or("", String::as_str)));
        match state.is_down {
            true => Err((StatusCode::BAD_GATEWAY, "<html>502 Bad Gateway</html>")),
            false => Ok(form),
        }
    }

    fn row(&self, number: &str, order: &Order) -> Value {
        json!({
            "pid": PID, "trade_no": order.trade_no, "out_trade_no": number, "type": "alipay",
            "addtime": order.opened_at, "endtime": order.paid_at, "name": order.asked["name"],
            "money": order.asked["money"], "status": i32::from(order.paid_at.is_some()),
        })
    }
}

type Asked = State<Arc<Shared>>;

async fn submit(State(shared): Asked, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let form = match shared.heard("submit", query, &body) {
        Ok(form) => form,
        Err(answer) => return answer.into_response(),
    };
    if !shared.knows(&form) {
        return (StatusCode::BAD_REQUEST, "签名校验失败").into_response();
    }
    shared.opened(form);
    "<html>Pay here.</html>".into_response()
}

async fn create(State(shared): Asked, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let form = match shared.heard("create", query, &body) {
        Ok(form) => form,
        Err(answer) => return answer.into_response(),
    };
    if !shared.knows(&form) || !form.contains_key("clientip") {
        return axum::Json(json!({"code": -1, "msg": "签名校验失败"})).into_response();
    }
    let order = shared.opened(form);
    // This site writes its code as a text.
    shared.answer(json!({"code": "1", "trade_no": order.trade_no, "qrcode": format!("weixin://pay/{}", order.trade_no)}))
}

async fn old_api(State(shared): Asked, RawQuery(query): RawQuery, body: Bytes) -> Response {
    let act = decode(query.as_deref().unwrap_or_default()).get("act").cloned().unwrap_or_default();
    let form = match shared.heard(&act, query, &body) {
        Ok(form) => form,
        Err(answer) => return answer.into_response(),
    };
    let is_merchant =
        form.get("pid").is_some_and(|it| it == PID) && form.get("key").is_some_and(|it| it == KEY);
    if shared.rsa.is_some() || !is_merchant {
        return axum::Json(json!({"code": -1, "msg": "商户密钥错误"})).into_response();
    }
    if act == "refund" {
        // It knows no numbers of refunds: each request is another one.
        let number = format!("{}-{}", form["trade_no"], shared.refunds.calls() + 1);
        return give_back(&shared, &number, &form, json!({"code": 1, "msg": "ok"})).await;
    }
    let state = shared.state.lock().unwrap();
    axum::Json(match act.as_str() {
        "order" => match state.orders.get(&form["out_trade_no"]) {
            None => json!({"code": -1, "msg": "订单号不存在"}),
            Some(order) => {
                let mut row = shared.row(&form["out_trade_no"], order);
                row["code"] = json!(1);
                row
            }
        },
        "orders" => {
            let truth = || state.orders.iter().map(|(number, order)| shared.row(number, order)).collect();
            let rows: Vec<Value> = state.listed.clone().unwrap_or_else(truth);
            let page: usize = form["page"].parse().unwrap();
            json!({"code": 1, "data": rows.into_iter().skip((page - 1) * 50).take(50).collect::<Vec<_>>()})
        }
        _ => json!({"code": -5, "msg": "no such act"}),
    })
    .into_response()
}

async fn new_api(State(shared): Asked, Path((room, act)): Path<(String, String)>, body: Bytes) -> Response {
    let form = match shared.heard(&act, None, &body) {
        Ok(form) => form,
        Err(answer) => return answer.into_response(),
    };
    if shared.rsa.is_none() || !shared.knows(&form) {
        return axum::Json(json!({"code": -1, "msg": "验签失败"})).into_response();
    }
    let number = form.get("out_trade_no").cloned().unwrap_or_default();
    if act == "submit" {
        shared.opened(form);
        return "<html>Pay here.</html>".into_response();
    }
    if act == "create" {
        let order = shared.opened(form);
        let answer = json!({"code": 0, "trade_no": order.trade_no, "pay_type": "qrcode", "pay_info": "https://qr.example/1"});
        return shared.answer(answer);
    }
    if act == "refund" {
        let number = form["out_refund_no"].clone();
        let answer = json!({"code": 0, "refund_no": format!("R{number}")});
        return give_back(&shared, &number, &form, answer).await;
    }
    let answer = {
        let mut state = shared.state.lock().unwrap();
        match (room.as_str(), act.as_str()) {
            ("pay", "query") => match state.orders.get(&number) {
                None => json!({"code": -1, "msg": "订单不存在"}),
                Some(order) => {
                    let mut row = shared.row(&number, order);
                    row["code"] = json!(0);
                    row
                }
            },
            ("pay", "close") => match state.orders.get_mut(&number) {
                Some(order) if order.paid_at.is_none() => {
                    order.is_closed = true;
                    json!({"code": 0, "msg": "ok"})
                }
                Some(_) => json!({"code": -1, "msg": "订单已支付"}),
                None => json!({"code": -1, "msg": "订单不存在"}),
            },
            ("pay", "refundquery") => match shared.refunds.get(&form["out_refund_no"]).is_some() {
                true => {
                    json!({"code": 0, "status": 1, "refund_no": format!("R{}", form["out_refund_no"])})
                }
                false => json!({"code": -1, "msg": "退款不存在"}),
            },
            ("merchant", "orders") => {
                let truth = || state.orders.iter().map(|(number, order)| shared.row(number, order)).collect();
                let rows: Vec<Value> = state.listed.clone().unwrap_or_else(truth);
                let offset: usize = form["offset"].parse().unwrap();
                json!({"code": 0, "data": rows.into_iter().skip(offset).take(50).collect::<Vec<_>>()})
            }
            _ => json!({"code": -5, "msg": "no such act"}),
        }
    };
    shared.answer(answer)
}

async fn give_back(shared: &Shared, number: &str, form: &Form, answer: Value) -> Response {
    let is_paid = {
        let state = shared.state.lock().unwrap();
        state.orders.values().any(|it| it.trade_no == form["trade_no"] && it.paid_at.is_some())
    };
    let asked = match is_paid {
        true => shared.refunds.asked(number, &form["trade_no"], &form["money"]),
        false => None,
    };
    match asked {
        None => shared.answer(json!({"code": -1, "msg": "商户余额不足"})),
        Some((_, manner)) if says(manner).await => shared.answer(answer),
        Some(_) => {
            (StatusCode::BAD_GATEWAY, "<html>502 Bad Gateway, and the money is gone</html>").into_response()
        }
    }
}
