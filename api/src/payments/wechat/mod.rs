//! WeChat Pay (微信支付), API v3: a code to scan, a page for phones, and the wallet's own JavaScript.
//!
//! May not touch: orders; like any channel it says what WeChat Pay said.
//! Claims: nothing is believed that WeChat Pay's key did not sign over the raw bytes within five minutes, and both steps are taken
//! always: a message that can be decrypted is not thereby proven; the key is chosen by its serial number, and a certificate is
//! accepted only from an answer that itself verifies; a length that is wrong is an error.

mod request;
#[cfg(test)]
mod tests;
mod verify;

use super::alipay::beijing;
use super::channel::{
    Action, Bill, BillKind, BillWish, CallbackFault, Channel, ChannelError, Closing, Created, FormField,
    Method, NewOrder, Notice, Payment, PaymentState, RefundNotice, RefundState, RefundWish, Refunded, Reply,
    Verdict,
};
use super::config::{ChannelConfig, Unusable};
use super::configured::Common;
use super::crypto::PrivateKey;
use super::fields::Fields;
use super::form::escaped;
use super::gateway::words;
use crate::reconciliation::{bill::Format, matching::FeeTerms};
use domain::account::event::CloseReason;
use domain::{ChannelName, Currency, Label, Money};
use futures_util::future::BoxFuture;
use ledger::RawCallback;
use request::Told;
use ring::digest;
use serde::Deserialize;
use serde_json::json;
use verify::{ApiKey, PlatformKeys, Sealed};

/// The ways to pay.
const METHODS: [Method; 3] = [
    Method { name: "native", title: "WeChat QR code" },
    Method { name: "h5", title: "WeChat in a phone's browser" },
    Method { name: "jsapi", title: "WeChat within WeChat" },
];

/// One merchant.
pub struct Wechat {
    name: ChannelName,
    title: String,
    appid: String,
    mchid: String,
    serial_no: String,
    own: PrivateKey,
    api_key: ApiKey,
    platform: PlatformKeys,
    methods: Vec<Method>,
    description: String,
    currency: Currency,
    common: Common,
}

/// What a callback or an answer says of an order.
#[derive(Debug, Deserialize)]
struct Transaction {
    mchid: String,
    appid: String,
    out_trade_no: String,
    transaction_id: Option<String>,
    trade_state: String,
    amount: Option<Amount>,
}

#[derive(Debug, Deserialize)]
struct Amount {
    total: i64,
    #[serde(default)]
    refund: i64,
    /// Not told of refunds in callbacks, where it can only be the yuan.
    currency: Option<String>,
}

/// What a callback says of a refund.
#[derive(Debug, Deserialize)]
struct RefundTold {
    mchid: String,
    out_trade_no: String,
    out_refund_no: String,
    refund_id: String,
    transaction_id: Option<String>,
    refund_status: String,
    amount: Amount,
}

/// A callback's envelope.
#[derive(Debug, Deserialize)]
struct Envelope {
    event_type: String,
    resource: Sealed,
}

impl Wechat {
    /// Checks what an operator configured.
    pub(super) fn try_new(config: &ChannelConfig, common: Common) -> Result<Self, Unusable> {
        let own = config.secret("private_key", 64)?;
        let methods = config.list("methods", |word| METHODS.iter().find(|it| it.name == word).cloned())?;
        if methods.is_empty() {
            return Err(config.wrong("methods", "names none"));
        }
        Ok(Self {
            name: config.name.clone(),
            title: match config.text("title") {
                "" => "WeChat Pay".to_owned(),
                title => title.to_owned(),
            },
            own: PrivateKey::read(own.expose())
                .map_err(|fault| config.wrong("private_key", &fault.to_string()))?,
            api_key: ApiKey::try_new(config)?,
            platform: PlatformKeys::try_new(config)?,
            appid: config.needed("appid")?.to_owned(),
            mchid: config.needed("mchid")?.to_owned(),
            serial_no: config.needed("serial_no")?.to_owned(),
            methods,
            description: config.needed("description")?.to_owned(),
            currency: Currency::try_new("CNY").map_err(|error| config.wrong("kind", &error.to_string()))?,
            common,
        })
    }

    async fn begin(&self, order: &NewOrder) -> Result<Created, ChannelError> {
        let number = order.order.merchant_number();
        let mut body = json!({
            "appid": self.appid, "mchid": self.mchid, "description": format!("{} {number}", self.description),
            "out_trade_no": number, "notify_url": self.common.notify_url,
            "time_expire": beijing(order.expires_at).format("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            "amount": {"total": order.pay.minor, "currency": "CNY"},
        });
        let method = order.method.unwrap_or("native");
        let missing = |what: &str| ChannelError::Refused(what.to_owned());
        match method {
            "h5" => {
                let address =
                    order.payer.address.ok_or_else(|| missing("the payer's address is not known"))?;
                body["scene_info"] =
                    json!({"payer_client_ip": address.to_string(), "h5_info": {"type": "Wap"}});
            }
            "jsapi" => {
                let id = order
                    .payer
                    .id
                    .as_ref()
                    .ok_or_else(|| missing("jsapi needs the payer's openid, as `payer`"))?;
                body["payer"] = json!({"openid": id.as_str()});
            }
            _ => {}
        }
        let said = self.post(&format!("/v3/pay/transactions/{method}"), &body).await?.good()?;
        let text = |name: &str| said.text(name).ok_or_else(|| missing("it tells no way to pay"));
        let action = match method {
            "h5" => Action::Redirect { url: text("h5_url")? },
            "jsapi" => self.invocation(&text("prepay_id")?)?,
            _ => Action::Qr { content: text("code_url")? },
        };
        Ok(action.into())
    }

    /// What the wallet's JavaScript wants.
    fn invocation(&self, prepay_id: &str) -> Result<Action, ChannelError> {
        let (time, nonce) = (request::seconds().to_string(), request::nonce());
        let package = format!("prepay_id={prepay_id}");
        let message = format!("{}\n{time}\n{nonce}\n{package}\n", self.appid);
        let sign = self.own.sign(message.as_bytes()).ok_or_else(request::unsigned)?;
        let fields = [
            ("appId", self.appid.clone()),
            ("timeStamp", time),
            ("nonceStr", nonce),
            ("package", package),
            ("signType", "RSA".to_owned()),
            ("paySign", sign),
        ];
        let fields =
            fields.into_iter().map(|(name, value)| FormField { name: name.to_owned(), value }).collect();
        Ok(Action::Invoke { fields })
    }

    async fn state(&self, order: &NewOrder) -> Result<PaymentState, ChannelError> {
        let number = order.order.merchant_number();
        let path = format!("/v3/pay/transactions/out-trade-no/{number}?mchid={}", escaped(&self.mchid));
        let told = self.get(&path).await?;
        if told.status == 404 {
            return match told.code().as_str() {
                "ORDER_NOT_EXIST" | "ORDERNOTEXIST" | "RESOURCE_NOT_EXISTS" => Ok(PaymentState::Unknown),
                _ => Err(told.refusal()),
            };
        }
        let it: Transaction = told.read()?;
        if it.out_trade_no != number {
            return Err(ChannelError::Refused("it answers about another order".to_owned()));
        }
        match it.trade_state.as_str() {
            "SUCCESS" => {
                let paid = self.paid(it).map_err(|fault| ChannelError::Refused(fault.to_string()))?;
                Ok(PaymentState::Paid(paid))
            }
            "NOTPAY" | "USERPAYING" | "PAYERROR" => Ok(PaymentState::Waiting),
            "CLOSED" | "REVOKED" => Ok(PaymentState::Closed(CloseReason::Expired)),
            "REFUND" => Err(ChannelError::Refused("it was paid and given back".to_owned())),
            other => Err(ChannelError::Refused(format!("the order's state is {}", words(other)))),
        }
    }

    fn paid(&self, it: Transaction) -> Result<Payment, CallbackFault> {
        if it.mchid != self.mchid || it.appid != self.appid {
            return Err(CallbackFault::WrongMerchant);
        }
        let label = |text: &str, fault| Label::try_new(text).map_err(|_| CallbackFault::Malformed(fault));
        // What the order is worth, not what the payer paid after coupons.
        let paid = it.amount.and_then(|amount| money(amount.total, amount.currency.as_deref()));
        Ok(Payment {
            order: label(&it.out_trade_no, "it names no order")?,
            provider_txn: label(it.transaction_id.as_deref().unwrap_or_default(), "it names no transaction")?,
            paid: paid.ok_or(CallbackFault::Malformed("its amount is no amount"))?,
        })
    }

    async fn shut(&self, order: &NewOrder) -> Result<Closing, ChannelError> {
        let path = format!("/v3/pay/transactions/out-trade-no/{}/close", order.order.merchant_number());
        let told = self.post(&path, &json!({"mchid": self.mchid})).await?;
        match (told.status, told.code().as_str()) {
            (204 | 200, _) => Ok(Closing::Closed),
            (_, "ORDERPAID" | "ORDER_PAID") => Ok(Closing::Paid),
            (
                _,
                "ORDER_CLOSED" | "ORDERCLOSED" | "ORDER_NOT_EXIST" | "ORDERNOTEXIST" | "RESOURCE_NOT_EXISTS",
            ) => Ok(Closing::Closed),
            _ => Err(told.refusal()),
        }
    }

    async fn give_back(&self, wish: &RefundWish) -> Result<Refunded, ChannelError> {
        let body = json!({
            "transaction_id": wish.provider_txn.as_str(), "out_refund_no": wish.refund.as_str(),
            "reason": wish.reason.chars().take(26).collect::<String>(), "notify_url": self.common.notify_url,
            "amount": {"refund": wish.amount.minor, "total": wish.paid.minor, "currency": "CNY"},
        });
        refunded(&self.post("/v3/refund/domestic/refunds", &body).await?.good()?)
    }

    async fn refund_state(&self, wish: &RefundWish) -> Result<Refunded, ChannelError> {
        let told =
            self.get(&format!("/v3/refund/domestic/refunds/{}", escaped(wish.refund.as_str()))).await?;
        match told.status {
            404 => Ok(Refunded { state: None, provider_refund: None }),
            _ => refunded(&told.good()?),
        }
    }

    async fn download(&self, wish: &BillWish) -> Result<Option<Bill>, ChannelError> {
        let day = wish.day.format("%Y-%m-%d");
        let (path, kind) = match wish.kind {
            BillKind::Trades => (format!("/v3/bill/tradebill?bill_date={day}&bill_type=ALL"), "trade"),
            BillKind::Funds => {
                (format!("/v3/bill/fundflowbill?bill_date={day}&account_type=BASIC"), "fundflow")
            }
        };
        let told = self.get(&path).await?;
        match told.code().as_str() {
            "NO_STATEMENT_EXIST" => return Ok(None),
            "STATEMENT_CREATING" => {
                return Err(ChannelError::Unreachable("the bill is not ready yet".to_owned()));
            }
            _ => {}
        }
        let said = told.good()?;
        let text =
            |name: &str| said.text(name).ok_or_else(|| ChannelError::Refused("it names no file".to_owned()));
        let (url, hash) = (text("download_url")?, text("hash_value")?);
        let bytes = self.file(&url).await?;
        let own = hex::encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &bytes));
        if !own.eq_ignore_ascii_case(&hash) {
            return Err(ChannelError::Unreachable("the bill is not the one that was announced".to_owned()));
        }
        Ok(Some(Bill { name: format!("{}-{day}-{kind}.csv", self.name), bytes }))
    }
}

impl Channel for Wechat {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn title(&self) -> &str {
        &self.title
    }

    fn methods(&self) -> &[Method] {
        &self.methods
    }

    fn takes(&self, currency: Currency) -> bool {
        currency == self.currency
    }

    fn create<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<Created, ChannelError>> {
        Box::pin(self.begin(order))
    }

    fn read_callback(&self, callback: &RawCallback) -> Result<Verdict, CallbackFault> {
        let header = |name: &str| {
            let mut all = callback.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
            all.next().filter(|_| all.next().is_none()).map(|(_, value)| value.as_str())
        };
        let now = callback.received_at.micros().div_euclid(1_000_000);
        self.platform.check(header, &callback.body, now)?;
        let envelope: Envelope =
            serde_json::from_slice(&callback.body).map_err(|_| CallbackFault::Malformed("it is no event"))?;
        let kind = envelope.event_type.as_str();
        if !kind.starts_with("TRANSACTION.") && !kind.starts_with("REFUND.") {
            return Ok(Verdict::Nothing);
        }
        let opened = self.api_key.open(&envelope.resource);
        let bytes = opened.ok_or(CallbackFault::Malformed("it cannot be decrypted with the APIv3 key"))?;
        let malformed = |_| CallbackFault::Malformed("its contents are not what the event says");
        if kind.starts_with("REFUND.") {
            let it: RefundTold = serde_json::from_slice(&bytes).map_err(malformed)?;
            return self.refund_told(it);
        }
        let it: Transaction = serde_json::from_slice(&bytes).map_err(malformed)?;
        match it.trade_state.as_str() {
            "SUCCESS" => self.paid(it).map(Verdict::Paid),
            _ => {
                let order = Label::try_new(it.out_trade_no);
                order
                    .map(|order| Verdict::Pending { order })
                    .map_err(|_| CallbackFault::Malformed("it names no order"))
            }
        }
    }

    fn learn_keys(&self) -> BoxFuture<'_, Result<bool, ChannelError>> {
        Box::pin(self.fetch_certificates())
    }

    fn query<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<PaymentState, ChannelError>> {
        Box::pin(self.state(order))
    }

    fn close<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<Closing, ChannelError>> {
        Box::pin(self.shut(order))
    }

    fn refund<'a>(&'a self, wish: &'a RefundWish) -> BoxFuture<'a, Result<Refunded, ChannelError>> {
        Box::pin(self.give_back(wish))
    }

    fn query_refund<'a>(&'a self, wish: &'a RefundWish) -> BoxFuture<'a, Result<Refunded, ChannelError>> {
        Box::pin(self.refund_state(wish))
    }

    fn bill<'a>(&'a self, wish: &'a BillWish) -> BoxFuture<'a, Result<Option<Bill>, ChannelError>> {
        Box::pin(self.download(wish))
    }

    fn bill_format(&self) -> Option<Format> {
        Some(Format::Wechat { mchid: self.mchid.clone() })
    }

    fn fee_terms(&self) -> Option<FeeTerms> {
        self.common.fee
    }

    fn reply(&self, notice: &Notice) -> Reply {
        // The status decides; a good answer has nothing to say.
        let body = match notice {
            Notice::Done => String::new(),
            Notice::Failed { code } => json!({"code": "FAIL", "message": code}).to_string(),
        };
        Reply { content_type: "application/json", body }
    }
}

impl Wechat {
    fn refund_told(&self, it: RefundTold) -> Result<Verdict, CallbackFault> {
        if it.mchid != self.mchid {
            return Err(CallbackFault::WrongMerchant);
        }
        let amount = money(it.amount.refund, it.amount.currency.as_deref());
        Ok(Verdict::Refund(RefundNotice {
            order: Label::try_new(it.out_trade_no).ok(),
            refund: Label::try_new(it.out_refund_no).ok(),
            provider_refund: Label::try_new(it.refund_id).ok(),
            provider_txn: it.transaction_id.and_then(|it| Label::try_new(it).ok()),
            is_total: false,
            amount: amount.ok_or(CallbackFault::Malformed("its amount is no amount"))?,
            state: refund_state(&it.refund_status),
        }))
    }
}

impl std::fmt::Debug for Wechat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wechat").field("name", &self.name).finish_non_exhaustive()
    }
}

fn money(minor: i64, code: Option<&str>) -> Option<Money> {
    let currency = Currency::try_new(code.unwrap_or("CNY")).ok()?;
    (minor >= 0).then_some(Money { currency, minor })
}

fn refunded(said: &Fields) -> Result<Refunded, ChannelError> {
    let status = said
        .text("status")
        .ok_or_else(|| ChannelError::Refused("it does not tell the refund's state".into()))?;
    let provider_refund = said.text("refund_id").and_then(|it| Label::try_new(it).ok());
    Ok(Refunded { state: Some(refund_state(&status)), provider_refund })
}

/// `ABNORMAL` waits for the merchant to find another way; the money has not come back.
fn refund_state(status: &str) -> RefundState {
    match status {
        "SUCCESS" => RefundState::Done,
        "CLOSED" => RefundState::Failed,
        "ABNORMAL" => RefundState::Abnormal,
        _ => RefundState::Pending,
    }
}

// A told answer is read in `request`, which knows how it was verified.
impl Told {
    /// A good answer's fields.
    fn good(&self) -> Result<Fields, ChannelError> {
        match self.status {
            200 => Fields::read(&self.body)
                .ok_or_else(|| ChannelError::Refused("its answer is no object".to_owned())),
            _ => Err(self.refusal()),
        }
    }
}
