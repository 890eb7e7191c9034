//! Alipay (支付宝): a page, or a code to scan, by the OpenAPI with RSA2, in public-key mode and in certificate mode.
//!
//! May not touch: orders; like any channel it says what Alipay said.
//! Claims: a notification is believed only if Alipay's key signed it and both the application and the seller are ours; an answer is
//! verified over the text that was sent, not over one written anew; an answer that is not verified can be a failure and never a
//! payment; a certificate that changed is taken over only by a chain to the configured root, and under the configured name.

mod answer;
mod keys;
mod notice;
#[cfg(test)]
mod tests;

use super::channel::{
    Action, Bill, BillKind, BillWish, CallbackFault, Channel, ChannelError, Closing, Created, Method,
    NewOrder, Notice, Payment, PaymentState, RefundState, RefundWish, Refunded, Reply, Verdict,
};
use super::config::{ChannelConfig, Unusable};
use super::configured::Common;
use super::epay::yuan;
use super::fields::Fields;
use super::form::{encode, string_to_sign};
use super::gateway::words;
use crate::reconciliation::{bill::Format, matching::FeeTerms};
use answer::{Said, read_answer, read_certificates};
use chrono::{DateTime, FixedOffset};
use domain::account::event::CloseReason;
use domain::{ChannelName, Currency, Label, Moment};
use futures_util::future::BoxFuture;
use keys::Keys;
use ledger::RawCallback;
use serde_json::{Value, json};

/// The ways to pay.
const METHODS: [Method; 2] =
    [Method { name: "page", title: "Alipay's page" }, Method { name: "qr", title: "Alipay QR code" }];

/// One application of one merchant.
pub struct Alipay {
    name: ChannelName,
    title: String,
    app_id: String,
    seller_id: String,
    keys: Keys,
    methods: Vec<Method>,
    bill_hosts: Vec<String>,
    subject: String,
    currency: Currency,
    common: Common,
}

impl Alipay {
    /// Checks what an operator configured.
    pub(super) fn try_new(config: &ChannelConfig, common: Common) -> Result<Self, Unusable> {
        let methods = config.list("methods", |word| METHODS.iter().find(|it| it.name == word).cloned())?;
        if methods.is_empty() {
            return Err(config.wrong("methods", "names none"));
        }
        Ok(Self {
            name: config.name.clone(),
            title: match config.text("title") {
                "" => "Alipay".to_owned(),
                title => title.to_owned(),
            },
            keys: Keys::try_new(config)?,
            app_id: config.needed("app_id")?.to_owned(),
            seller_id: config.needed("seller_id")?.to_owned(),
            methods,
            bill_hosts: config.list("bill_hosts", |host| Some(host.to_owned()))?,
            subject: config.needed("subject")?.to_owned(),
            currency: Currency::try_new("CNY").map_err(|error| config.wrong("kind", &error.to_string()))?,
            common,
        })
    }

    /// The fields of a request, signed.
    fn signed(
        &self,
        method: &str,
        content: &Value,
        more: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>, ChannelError> {
        let mut fields: Vec<(String, String)> = [
            ("app_id", self.app_id.as_str()),
            ("method", method),
            ("format", "JSON"),
            ("charset", "utf-8"),
            ("sign_type", "RSA2"),
            ("version", "1.0"),
        ]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
        fields.push((
            "timestamp".to_owned(),
            beijing(crate::directory::now()).format("%Y-%m-%d %H:%M:%S").to_string(),
        ));
        fields.push(("biz_content".to_owned(), content.to_string()));
        if let Some((app, root)) = self.keys.own_sns() {
            fields.extend([
                ("app_cert_sn".to_owned(), app.to_owned()),
                ("alipay_root_cert_sn".to_owned(), root.to_owned()),
            ]);
        }
        let text = string_to_sign(borrowed(&fields), &["sign"]);
        let sign = self.keys.own.sign(text.as_bytes());
        fields.push((
            "sign".to_owned(),
            sign.ok_or_else(|| ChannelError::Refused("the request cannot be signed".into()))?,
        ));
        Ok(fields)
    }

    /// Calls the gateway; a refusal of its business is an answer too.
    async fn ask(&self, method: &str, content: &Value, more: &[(&str, &str)]) -> Result<Said, ChannelError> {
        let body = self.send(method, content, more).await?;
        if let Some(said) = read_answer(&self.keys, method, &body)? {
            return Ok(said);
        }
        self.fetch_certificate().await?;
        read_answer(&self.keys, method, &body)?.ok_or_else(|| {
            let text = "its certificate is not the one in alipay_cert: download the new one from the console";
            ChannelError::Refused(text.to_owned())
        })
    }

    /// Asks for the certificate that something named and nobody knows. Answers whether it was taken over.
    async fn fetch_certificate(&self) -> Result<bool, ChannelError> {
        let Some(sn) = self.keys.wanted() else { return Ok(false) };
        let method = "alipay.open.app.alipaycert.download";
        let body = self.send(method, &json!({"alipay_cert_sn": sn}), &[]).await?;
        let sent = match read_certificates(&body) {
            Ok(sent) => sent,
            // It knows of no such certificate: whoever named it is not the gateway.
            Err(ChannelError::Refused(why)) => {
                tracing::warn!(channel = %self.name, sn, "a certificate that was named cannot be had: {why}");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let now_s = crate::directory::now().micros() / 1_000_000;
        match self.keys.learn(&sn, &sent, now_s) {
            Ok(()) => {
                tracing::warn!(
                    channel = %self.name, sn,
                    "Alipay signs with another certificate now, and it is taken over: put it in the place of alipay_cert"
                );
                Ok(true)
            }
            Err(fault) => {
                tracing::error!(alert = "certificate_not_trusted", channel = %self.name, sn, "a certificate is refused: {fault}");
                Ok(false)
            }
        }
    }

    /// The bytes of an answer, believed in nothing yet.
    async fn send(
        &self,
        method: &str,
        content: &Value,
        more: &[(&str, &str)],
    ) -> Result<Vec<u8>, ChannelError> {
        let fields = self.signed(method, content, more)?;
        let (body, query): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| name == "biz_content");
        let url = format!("{}?{}", self.common.base_url, encode(borrowed(&query)));
        let request = self.common.client.post_form(&url, encode(borrowed(&body)));
        let answer = self.common.client.send(request).await?;
        if answer.status >= 500 {
            return Err(ChannelError::Unreachable(format!("HTTP {}", answer.status)));
        }
        Ok(answer.body)
    }

    async fn begin(&self, order: &NewOrder) -> Result<Created, ChannelError> {
        let number = order.order.merchant_number();
        let left_ms = (order.expires_at.micros() - crate::directory::now().micros()) / 1000;
        let mut content = json!({
            "out_trade_no": number, "total_amount": order.pay.amount(), "subject": format!("{} {number}", self.subject),
        });
        let notify = ("notify_url", self.common.notify_url.as_str());
        if order.method == Some("qr") {
            content["timeout_express"] = json!(format!("{}m", (left_ms / 60_000).clamp(1, 1440)));
            let said = self.ask("alipay.trade.precreate", &content, &[notify]).await?.good()?;
            let content = said
                .text("qr_code")
                .ok_or_else(|| ChannelError::Refused("it gives no code to scan".into()))?;
            return Ok(Action::Qr { content }.into());
        }
        content["product_code"] = json!("FAST_INSTANT_TRADE_PAY");
        content["time_expire"] = json!(beijing(order.expires_at).format("%Y-%m-%d %H:%M:%S").to_string());
        let more = [notify, ("return_url", self.common.return_url.as_str())];
        let fields = self.signed("alipay.trade.page.pay", &content, &more)?;
        let url = format!("{}?{}", self.common.base_url, encode(borrowed(&fields)));
        Ok(Action::Redirect { url }.into())
    }

    async fn state(&self, order: &NewOrder) -> Result<PaymentState, ChannelError> {
        let number = order.order.merchant_number();
        let said = match self.ask("alipay.trade.query", &json!({"out_trade_no": number}), &[]).await? {
            Said::Good(said) => said,
            Said::Failed(failure) if failure.sub_code == "ACQ.TRADE_NOT_EXIST" => {
                return Ok(PaymentState::Unknown);
            }
            Said::Failed(failure) => return Err(failure.into()),
        };
        if said.text("out_trade_no").as_deref() != Some(number.as_str()) {
            return Err(ChannelError::Refused("it answers about another order".into()));
        }
        match said.text("trade_status").as_deref() {
            Some("WAIT_BUYER_PAY") => Ok(PaymentState::Waiting),
            Some("TRADE_SUCCESS" | "TRADE_FINISHED") => self.paid(&said, &number),
            // Closed is what an order is that nobody paid, and one that was paid and given back.
            Some("TRADE_CLOSED") if said.text("send_pay_date").is_none() => {
                Ok(PaymentState::Closed(CloseReason::Expired))
            }
            Some("TRADE_CLOSED") => Err(ChannelError::Refused("it was paid and given back".into())),
            other => Err(ChannelError::Refused(format!(
                "the order's state is {}",
                words(other.unwrap_or("not told"))
            ))),
        }
    }

    fn paid(&self, said: &Fields, number: &str) -> Result<PaymentState, ChannelError> {
        let refused = |what: &str| ChannelError::Refused(what.to_owned());
        let paid = said.text("total_amount").and_then(|text| yuan(&text, self.currency));
        let txn = said.text("trade_no").and_then(|it| Label::try_new(it).ok());
        Ok(PaymentState::Paid(Payment {
            order: Label::try_new(number).map_err(|_| refused("it names no order"))?,
            provider_txn: txn.ok_or_else(|| refused("it names no transaction"))?,
            paid: paid.ok_or_else(|| refused("its amount is no amount"))?,
        }))
    }

    async fn shut(&self, order: &NewOrder) -> Result<Closing, ChannelError> {
        let content = json!({"out_trade_no": order.order.merchant_number()});
        match self.ask("alipay.trade.close", &content, &[]).await? {
            Said::Good(_) => Ok(Closing::Closed),
            // Nobody has scanned the code or opened the page, and both end with the order.
            Said::Failed(failure) if failure.sub_code == "ACQ.TRADE_NOT_EXIST" => Ok(Closing::Closed),
            // Paid, or closed already: the next question tells.
            Said::Failed(failure) if failure.sub_code == "ACQ.TRADE_STATUS_ERROR" => Ok(Closing::Paid),
            Said::Failed(failure) => Err(failure.into()),
        }
    }

    async fn give_back(&self, wish: &RefundWish) -> Result<Refunded, ChannelError> {
        let content = json!({
            "trade_no": wish.provider_txn.as_str(), "refund_amount": wish.amount.amount(),
            "refund_reason": wish.reason, "out_request_no": wish.refund.as_str(),
        });
        let said = self.ask("alipay.trade.refund", &content, &[]).await?.good()?;
        // "N": no money moved by this call; whether it did by an earlier one is asked.
        match said.text("fund_change").as_deref() {
            Some("Y") => Ok(Refunded { state: Some(RefundState::Done), provider_refund: None }),
            Some(_) | None => self.refund_state(wish).await,
        }
    }

    async fn refund_state(&self, wish: &RefundWish) -> Result<Refunded, ChannelError> {
        let content = json!({"trade_no": wish.provider_txn.as_str(), "out_request_no": wish.refund.as_str()});
        let state = match self.ask("alipay.trade.fastpay.refund.query", &content, &[]).await? {
            Said::Good(said) => {
                let is_done = said.text("refund_status").as_deref() == Some("REFUND_SUCCESS");
                is_done.then_some(RefundState::Done)
            }
            Said::Failed(failure) if failure.sub_code == "ACQ.TRADE_NOT_EXIST" => None,
            Said::Failed(failure) => return Err(failure.into()),
        };
        Ok(Refunded { state, provider_refund: None })
    }

    async fn download(&self, wish: &BillWish) -> Result<Option<Bill>, ChannelError> {
        let kind = match wish.kind {
            BillKind::Trades => "trade",
            BillKind::Funds => "signcustomer",
        };
        let content = json!({"bill_type": kind, "bill_date": wish.day.format("%Y-%m-%d").to_string()});
        let said = match self.ask("alipay.data.dataservice.bill.downloadurl.query", &content, &[]).await? {
            Said::Good(said) => said,
            Said::Failed(failure)
                if failure.sub_code.contains("BILL_NOT_EXIST")
                    || failure.sub_code.contains("NO_BILL_DATA") =>
            {
                return Ok(None);
            }
            Said::Failed(failure) => return Err(failure.into()),
        };
        let url =
            said.text("bill_download_url").ok_or_else(|| ChannelError::Refused("it names no file".into()))?;
        let hosts: Vec<&str> = self.bill_hosts.iter().map(String::as_str).collect();
        self.common.client.check_file_url(&url, &self.common.base_url, &hosts)?;
        let answer = self.common.client.fetch(self.common.client.get(&url)).await?;
        // A link that is over leads to a page that says so.
        if answer.status != 200 || !answer.body.starts_with(b"PK") {
            return Err(ChannelError::Unreachable(format!(
                "the bill is no zip file (HTTP {})",
                answer.status
            )));
        }
        Ok(Some(Bill { name: format!("{}-{}-{kind}.zip", self.name, wish.day), bytes: answer.body }))
    }
}

impl Channel for Alipay {
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
        notice::read(self, callback)
    }

    fn learn_keys(&self) -> BoxFuture<'_, Result<bool, ChannelError>> {
        Box::pin(self.fetch_certificate())
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
        Some(Format::Alipay { seller_id: self.seller_id.clone() })
    }

    fn fee_terms(&self) -> Option<FeeTerms> {
        self.common.fee
    }

    fn reply(&self, notice: &Notice) -> Reply {
        let body = match notice {
            Notice::Done => "success".to_owned(),
            Notice::Failed { code } => format!("fail: {code}"),
        };
        Reply { content_type: "text/plain; charset=utf-8", body }
    }
}

impl std::fmt::Debug for Alipay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alipay").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A moment on the clocks of both Chinese gateways.
pub(super) fn beijing(at: Moment) -> DateTime<FixedOffset> {
    let utc = at.to_utc();
    match FixedOffset::east_opt(8 * 3600) {
        Some(zone) => utc.with_timezone(&zone),
        None => utc.fixed_offset(),
    }
}

fn borrowed(fields: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> + Clone {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}
