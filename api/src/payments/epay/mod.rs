//! Epay (易支付): the protocol of many sites that pass payments on to Alipay and WeChat Pay, in its two versions.
//!
//! There is no single vendor: sites share the protocol with small differences, so paths and words can be configured.
//! May not touch: orders; like any channel it says what the site said.
//! Claims: nothing is believed whose signature, merchant number and amount do not fit; an amount is read as an exact decimal of
//! at most two places; the key, which version 1 puts into addresses, stands in no error and no log line.

mod sign;
#[cfg(test)]
mod tests;

use super::channel::{
    Action, Bill, BillKind, BillWish, CallbackFault, Channel, ChannelError, Closing, Created, FormField,
    Method, NewOrder, Notice, Payment, PaymentState, RefundState, RefundWish, Refunded, Reply, Verdict,
};
use super::config::{ChannelConfig, Unusable};
use super::configured::Common;
use super::crypto::{PrivateKey, PublicKey};
use super::fields::Fields;
use super::form::{Form, encode, escaped};
use super::gateway::{Answer, words};
use crate::reconciliation::{bill::Format, matching::FeeTerms};
use chrono::NaiveDate;
use domain::{ChannelName, Currency, Label, Moment, Money};
use futures_util::future::BoxFuture;
use ledger::RawCallback;
use serde_json::value::RawValue;
use sign::Signer;

/// How far a site's clock may be off, in seconds. Version 1 carries no time.
const TOLERANCE_S: i64 = 300;
/// Orders of a page; sites give no more.
const PAGE: usize = 50;
/// The most pages of a bill.
const MOST_PAGES: usize = 400;

/// How sites say that they know no such order.
const UNKNOWN: &[&str] = &["不存在", "not exist", "not found"];

/// The ways to pay that sites know.
const METHODS: [Method; 6] = [
    Method { name: "alipay", title: "Alipay" },
    Method { name: "wxpay", title: "WeChat Pay" },
    Method { name: "qqpay", title: "QQ Wallet" },
    Method { name: "bank", title: "Bank card" },
    Method { name: "jdpay", title: "JD Pay" },
    Method { name: "usdt", title: "USDT" },
];

/// One merchant at one site.
pub struct Epay {
    name: ChannelName,
    title: String,
    pid: String,
    signer: Signer,
    methods: Vec<Method>,
    mode: Mode,
    submit_path: String,
    create_path: String,
    success_word: String,
    confirm: bool,
    currency: Currency,
    common: Common,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Form,
    Redirect,
    Api,
}

impl Epay {
    /// Checks what an operator configured.
    pub(super) fn try_new(config: &ChannelConfig, common: Common) -> Result<Self, Unusable> {
        let version_two = match config.text("version") {
            "1" => false,
            "2" => true,
            _ => return Err(config.wrong("version", "is neither 1 nor 2")),
        };
        let signer = if version_two {
            let (own, platform) =
                (config.secret("private_key", 64)?, config.secret("platform_public_key", 64)?);
            Signer::Rsa {
                own: PrivateKey::read(own.expose())
                    .map_err(|fault| config.wrong("private_key", &fault.to_string()))?,
                platform: PublicKey::read(platform.expose())
                    .map_err(|fault| config.wrong("platform_public_key", &fault.to_string()))?,
            }
        } else {
            Signer::Md5(config.secret("key", 8)?)
        };
        let mode = match config.text("mode") {
            "form" => Mode::Form,
            "redirect" => Mode::Redirect,
            "api" => Mode::Api,
            _ => return Err(config.wrong("mode", "is none of form, redirect and api")),
        };
        let path = |key: &str, one: &str, two: &str| match config.text(key) {
            "" if version_two => two.to_owned(),
            "" => one.to_owned(),
            path => path.trim_start_matches('/').to_owned(),
        };
        Ok(Self {
            name: config.name.clone(),
            title: match config.text("title") {
                "" => "Epay".to_owned(),
                title => title.to_owned(),
            },
            pid: config.needed("pid")?.to_owned(),
            signer,
            methods: config.list("methods", |word| METHODS.iter().find(|it| it.name == word).cloned())?,
            mode,
            submit_path: path("submit_path", "submit.php", "api/pay/submit"),
            create_path: path("create_path", "mapi.php", "api/pay/create"),
            success_word: config.needed("success_word")?.to_owned(),
            confirm: config.flag("confirm")?,
            currency: Currency::try_new("CNY").map_err(|error| config.wrong("kind", &error.to_string()))?,
            common,
        })
    }

    fn is_two(&self) -> bool {
        matches!(self.signer, Signer::Rsa { .. })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.common.base_url)
    }

    /// Fields of a request, signed; in version 2 with the time.
    fn signed(&self, mut fields: Vec<(String, String)>) -> Result<Vec<(String, String)>, ChannelError> {
        fields.push(("pid".into(), self.pid.clone()));
        if self.is_two() {
            fields.push(("timestamp".into(), seconds(crate::directory::now()).to_string()));
        }
        fields.retain(|(_, value)| !value.is_empty());
        let sign = self.signer.sign(borrowed(&fields));
        let sign = sign.ok_or_else(|| ChannelError::Refused("the request cannot be signed".into()))?;
        fields.extend([("sign".into(), sign), ("sign_type".into(), self.signer.kind().into())]);
        Ok(fields)
    }

    fn order_fields(&self, order: &NewOrder) -> Vec<(String, String)> {
        let number = order.order.merchant_number();
        let mut fields = vec![
            ("type".to_owned(), order.method.unwrap_or_default().to_owned()),
            ("out_trade_no".to_owned(), number.clone()),
            ("notify_url".to_owned(), self.common.notify_url.clone()),
            ("return_url".to_owned(), self.common.return_url.clone()),
            // The number is the name too: sites show it to payers and cut it at 127 bytes.
            ("name".to_owned(), format!("Credits {number}")),
            ("money".to_owned(), order.pay.amount()),
        ];
        if self.mode == Mode::Api || self.is_two() {
            let address = order.payer.address.map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string());
            fields.push(("clientip".to_owned(), address));
        }
        fields
    }

    async fn begin(&self, order: &NewOrder) -> Result<Created, ChannelError> {
        let mut fields = self.order_fields(order);
        if self.mode != Mode::Api {
            let fields = self.signed(fields)?;
            let url = self.url(&self.submit_path);
            let action = match self.mode {
                Mode::Redirect => Action::Redirect { url: format!("{url}?{}", encode(borrowed(&fields))) },
                Mode::Form | Mode::Api => {
                    let fields = fields.into_iter().map(|(name, value)| FormField { name, value }).collect();
                    Action::Form { url, fields }
                }
            };
            return Ok(action.into());
        }
        if self.is_two() {
            fields.push(("method".into(), "web".into()));
        } else {
            fields.push(("device".into(), "pc".into()));
        }
        let fields = self.signed(fields)?;
        let form = encode(borrowed(&fields));
        let answer =
            self.common.client.send(self.common.client.post_form(&self.url(&self.create_path), form)).await?;
        let said = self.understood(&answer)?;
        let reference = said.text("trade_no").and_then(|it| Label::try_new(it).ok());
        let action = match (said.text("pay_type"), said.text("pay_info")) {
            // Version 2.
            (Some(kind), Some(info)) => match kind.as_str() {
                "qrcode" => Action::Qr { content: info },
                "jump" | "urlscheme" => Action::Redirect { url: info },
                other => {
                    return Err(ChannelError::Refused(format!("it wants to be paid by {}", words(other))));
                }
            },
            // Version 1.
            _ => match (said.text("payurl"), said.text("qrcode"), said.text("urlscheme")) {
                (Some(url), _, _) | (None, None, Some(url)) => Action::Redirect { url },
                (None, Some(content), _) => Action::Qr { content },
                (None, None, None) => return Err(ChannelError::Refused("it tells no way to pay".into())),
            },
        };
        Ok(Created { action, reference })
    }

    /// A good answer: 1 in version 1, 0 and signed in version 2.
    fn understood(&self, answer: &Answer) -> Result<Fields, ChannelError> {
        let said = self.said(answer)?;
        let good = if self.is_two() { "0" } else { "1" };
        if said.text("code").as_deref() != Some(good) {
            return Err(refusal(&said));
        }
        if self.is_two() {
            let plain = said.plain();
            let fields = || plain.iter().map(|(name, value)| (*name, value.as_str()));
            let (sign, kind) = (said.text("sign").unwrap_or_default(), said.text("sign_type"));
            self.signer
                .check(fields(), &sign, kind.as_deref().or(Some(self.signer.kind())))
                .map_err(|_| ChannelError::Refused("its answer is not signed by the platform".into()))?;
        }
        Ok(said)
    }

    fn said(&self, answer: &Answer) -> Result<Fields, ChannelError> {
        // A site answers a page where its address is wrong, and where it fails.
        Fields::read(&answer.body).ok_or_else(|| {
            let text = format!("its answer is not the interface's JSON (HTTP {})", answer.status);
            if answer.status >= 500 { ChannelError::Unreachable(text) } else { ChannelError::Refused(text) }
        })
    }

    /// Asks in version 2's way.
    async fn ask(&self, path: &str, fields: Vec<(String, String)>) -> Result<Answer, ChannelError> {
        let form = encode(borrowed(&self.signed(fields)?));
        self.common.client.send(self.common.client.post_form(&self.url(path), form)).await
    }

    fn key(&self) -> &str {
        match &self.signer {
            Signer::Md5(key) => key.expose(),
            Signer::Rsa { .. } => "",
        }
    }

    async fn state(&self, order: &NewOrder) -> Result<PaymentState, ChannelError> {
        let number = order.order.merchant_number();
        let answer = if self.is_two() {
            self.ask("api/pay/query", vec![("out_trade_no".into(), number.clone())]).await?
        } else {
            let (pid, key) = (escaped(&self.pid), escaped(self.key()));
            let url = format!("{}?act=order&pid={pid}&key={key}&out_trade_no={number}", self.url("api.php"));
            self.common.client.send(self.common.client.get(&url)).await?
        };
        let said = match self.understood(&answer) {
            Ok(said) => said,
            Err(ChannelError::Refused(_)) if self.says(&answer, UNKNOWN) => return Ok(PaymentState::Unknown),
            Err(other) => return Err(other),
        };
        if said.text("out_trade_no").as_deref() != Some(number.as_str()) {
            return Err(ChannelError::Refused("it answers about another order".into()));
        }
        // Not every site repeats the merchant's number.
        if said.text("pid").is_some_and(|pid| pid != self.pid) {
            return Err(ChannelError::Refused("it answers about another merchant".into()));
        }
        match said.text("status").as_deref() {
            Some("0") => Ok(PaymentState::Waiting),
            Some("1") => paid(&said, &number, self.currency),
            Some(other) => Err(ChannelError::Refused(format!("the order's state is {}", words(other)))),
            None => Err(ChannelError::Refused("it does not tell the order's state".into())),
        }
    }

    async fn give_back(&self, wish: &RefundWish) -> Result<Refunded, ChannelError> {
        let (txn, money) = (wish.provider_txn.to_string(), wish.amount.amount());
        let answer = if self.is_two() {
            let fields = vec![
                ("trade_no".to_owned(), txn),
                ("out_refund_no".to_owned(), wish.refund.to_string()),
                ("money".to_owned(), money),
            ];
            self.ask("api/pay/refund", fields).await?
        } else {
            let form = encode([
                ("pid", self.pid.as_str()),
                ("key", self.key()),
                ("trade_no", &txn),
                ("money", &money),
            ]);
            let url = format!("{}?act=refund", self.url("api.php"));
            let answer = self.common.client.send(self.common.client.post_form(&url, form)).await?;
            // A page in place of an answer says nothing of whether the money went, and asking again could send it twice.
            if Fields::read(&answer.body).is_none() {
                return Err(ChannelError::Unreachable(format!(
                    "its answer is no JSON (HTTP {})",
                    answer.status
                )));
            }
            answer
        };
        let said = self.understood(&answer)?;
        let provider_refund = said.text("refund_no").and_then(|it| Label::try_new(it).ok());
        Ok(Refunded { state: Some(RefundState::Done), provider_refund })
    }

    async fn refund_state(&self, wish: &RefundWish) -> Result<Refunded, ChannelError> {
        if !self.is_two() {
            return Err(ChannelError::Unsupported("questions about refunds"));
        }
        let fields = vec![("out_refund_no".to_owned(), wish.refund.to_string())];
        let answer = self.ask("api/pay/refundquery", fields).await?;
        let said = match self.understood(&answer) {
            Ok(said) => said,
            Err(ChannelError::Refused(_)) if self.says(&answer, UNKNOWN) => {
                return Ok(Refunded { state: None, provider_refund: None });
            }
            Err(other) => return Err(other),
        };
        let state = match said.text("status").as_deref() {
            Some("1") => Some(RefundState::Done),
            Some("0") => Some(RefundState::Failed),
            Some(_) | None => None,
        };
        Ok(Refunded { state, provider_refund: said.text("refund_no").and_then(|it| Label::try_new(it).ok()) })
    }

    async fn shut(&self, order: &NewOrder) -> Result<Closing, ChannelError> {
        if !self.is_two() {
            return Ok(Closing::Impossible);
        }
        let answer =
            self.ask("api/pay/close", vec![("out_trade_no".into(), order.order.merchant_number())]).await?;
        match self.understood(&answer) {
            Ok(_) => Ok(Closing::Closed),
            Err(ChannelError::Refused(_)) if self.says(&answer, &["已支付", "paid"]) => Ok(Closing::Paid),
            // The site hears of an order when the payer's browser brings it; that may still happen.
            Err(ChannelError::Refused(_)) if self.says(&answer, UNKNOWN) => Ok(Closing::Impossible),
            Err(other) => Err(other),
        }
    }

    /// Do a refusal's words hold one of these? Sites have no codes for them.
    fn says(&self, answer: &Answer, words: &[&str]) -> bool {
        let said = self.said(answer).ok().and_then(|it| it.text("msg")).unwrap_or_default().to_lowercase();
        words.iter().any(|word| said.contains(word))
    }

    /// A site has no bill but its list of orders, newest first: the day's, each as the site wrote it.
    async fn orders_of(&self, day: NaiveDate) -> Result<Option<Bill>, ChannelError> {
        let prefix = day.format("%Y-%m-%d").to_string();
        let mut rows: Vec<Box<RawValue>> = Vec::new();
        for page in 0..MOST_PAGES {
            let offset = (page * PAGE).to_string();
            let answer = if self.is_two() {
                let fields = vec![("offset".to_owned(), offset), ("limit".to_owned(), PAGE.to_string())];
                self.ask("api/merchant/orders", fields).await?
            } else {
                let (pid, key) = (escaped(&self.pid), escaped(self.key()));
                let number = page + 1;
                let url = format!(
                    "{}?act=orders&pid={pid}&key={key}&limit={PAGE}&page={number}&offset={offset}",
                    self.url("api.php")
                );
                self.common.client.send(self.common.client.get(&url)).await?
            };
            let found = self.understood(&answer)?.list("data").unwrap_or_default();
            let (count, mut is_past) = (found.len(), false);
            for row in found {
                let fields = Fields::read(row.get().as_bytes())
                    .ok_or_else(|| ChannelError::Refused("a row of its list cannot be read".into()))?;
                // A payment belongs to the day on which it was made; the list goes by when orders were opened.
                let opened = fields.text("addtime").unwrap_or_default();
                let paid = fields.text("endtime").unwrap_or_else(|| opened.clone());
                // Two days before: an order is never paid that much later.
                is_past |= !opened.is_empty() && opened.as_str() < two_days_before(day).as_str();
                if paid.starts_with(&prefix) {
                    rows.push(row);
                }
            }
            if count < PAGE || is_past {
                let bytes = serde_json::to_vec(&rows)
                    .map_err(|_| ChannelError::Refused("its list cannot be kept".into()))?;
                let name = format!("{}-{prefix}.json", self.name);
                return Ok((!rows.is_empty()).then_some(Bill { name, bytes }));
            }
        }
        Err(ChannelError::Refused(format!("it has more than {} orders", MOST_PAGES * PAGE)))
    }
}

impl Channel for Epay {
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
        let query = callback.uri.split_once('?').map_or("", |(_, query)| query);
        let bytes = if callback.method == "GET" { query.as_bytes() } else { &callback.body };
        let form = Form::read(bytes).map_err(CallbackFault::Unreadable)?;
        let sign = form.get("sign").ok_or(CallbackFault::BadSignature)?;
        self.signer.check(form.iter(), sign, form.get("sign_type"))?;
        if self.is_two() {
            let sent = form.get("timestamp").and_then(|it| it.parse::<i64>().ok());
            let sent = sent.ok_or(CallbackFault::Malformed("it tells no time"))?;
            if seconds(callback.received_at).abs_diff(sent) > TOLERANCE_S.unsigned_abs() {
                return Err(CallbackFault::Stale);
            }
        }
        if form.get("pid") != Some(self.pid.as_str()) {
            return Err(CallbackFault::WrongMerchant);
        }
        let label = |name: &str, fault| {
            Label::try_new(form.get(name).unwrap_or_default()).map_err(|_| CallbackFault::Malformed(fault))
        };
        let order = label("out_trade_no", "it names no order")?;
        if form.get("trade_status") != Some("TRADE_SUCCESS") {
            return Ok(Verdict::Pending { order });
        }
        let paid = yuan(form.get("money").unwrap_or_default(), self.currency)
            .ok_or(CallbackFault::Malformed("its amount is no amount"))?;
        let provider_txn = label("trade_no", "it names no transaction")?;
        Ok(Verdict::Paid(Payment { order, provider_txn, paid }))
    }

    fn confirms(&self) -> bool {
        self.confirm
    }

    fn form_targets(&self) -> Vec<String> {
        match self.mode {
            Mode::Form => {
                let origin =
                    reqwest::Url::parse(&self.url("")).ok().map(|url| url.origin().ascii_serialization());
                origin.into_iter().collect()
            }
            Mode::Redirect | Mode::Api => Vec::new(),
        }
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

    fn repeats_refunds(&self) -> bool {
        self.is_two()
    }

    fn query_refund<'a>(&'a self, wish: &'a RefundWish) -> BoxFuture<'a, Result<Refunded, ChannelError>> {
        Box::pin(self.refund_state(wish))
    }

    fn bill<'a>(&'a self, wish: &'a BillWish) -> BoxFuture<'a, Result<Option<Bill>, ChannelError>> {
        Box::pin(async move {
            match wish.kind {
                BillKind::Trades => self.orders_of(wish.day).await,
                BillKind::Funds => Err(ChannelError::Unsupported("bills of the account's movements")),
            }
        })
    }

    fn bill_format(&self) -> Option<Format> {
        Some(Format::Epay { pid: self.pid.clone(), currency: self.currency })
    }

    fn fee_terms(&self) -> Option<FeeTerms> {
        self.common.fee
    }

    fn reply(&self, notice: &Notice) -> Reply {
        let body = match notice {
            Notice::Done => self.success_word.clone(),
            // Some sites look for their word anywhere in the answer; no code of ours holds it.
            Notice::Failed { code } => format!("fail: {code}"),
        };
        Reply { content_type: "text/plain; charset=utf-8", body }
    }
}

impl std::fmt::Debug for Epay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epay").field("name", &self.name).finish_non_exhaustive()
    }
}

/// `1`, `1.0` or `1.00`: digits and at most one point, at most two places, no sign.
pub(crate) fn yuan(text: &str, currency: Currency) -> Option<Money> {
    text.starts_with(|it: char| it.is_ascii_digit()).then(|| Money::parse(text, currency).ok()).flatten()
}

fn paid(said: &Fields, number: &str, currency: Currency) -> Result<PaymentState, ChannelError> {
    let refused = |what: &str| ChannelError::Refused(what.to_owned());
    let money = said.text("money").and_then(|text| yuan(&text, currency));
    let txn = said.text("trade_no").and_then(|it| Label::try_new(it).ok());
    Ok(PaymentState::Paid(Payment {
        order: Label::try_new(number).map_err(|_| refused("it names no order"))?,
        provider_txn: txn.ok_or_else(|| refused("it names no transaction"))?,
        paid: money.ok_or_else(|| refused("its amount is no amount"))?,
    }))
}

fn refusal(said: &Fields) -> ChannelError {
    let (code, text) = (said.text("code").unwrap_or_default(), said.text("msg").unwrap_or_default());
    ChannelError::Refused(format!("{} ({})", words(&text), words(&code)))
}

fn two_days_before(day: NaiveDate) -> String {
    day.checked_sub_days(chrono::Days::new(2)).unwrap_or(day).format("%Y-%m-%d").to_string()
}

fn borrowed(fields: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> + Clone {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn seconds(at: Moment) -> i64 {
    at.micros().div_euclid(1_000_000)
}
