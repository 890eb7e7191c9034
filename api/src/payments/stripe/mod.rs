//! Stripe Checkout: a page of Stripe's, and signed events.
//!
//! May not touch: orders; like any channel it says what Stripe said.
//! Claims: an event is believed only under one of the endpoint's secrets, none of which is empty, and only within five minutes of
//! its time, in both directions; a session counts as paid only by its `payment_status`; every request that makes something carries
//! an idempotency key made of what it is for, so that asking twice is asking once.

mod events;
#[cfg(test)]
mod tests;

use super::channel::{
    Action, Bill, BillKind, BillWish, CallbackFault, Channel, ChannelError, Closing, Created, Method,
    NewOrder, Notice, Payment, PaymentState, RefundState, RefundWish, Refunded, Reply, Verdict,
};
use super::config::{ChannelConfig, Unusable};
use super::configured::Common;
use super::fields::Fields;
use super::form::{encode, escaped};
use super::gateway::{Answer, GatewayClient, words};
use crate::reconciliation::{bill::Format, matching::FeeTerms};
use chrono::{Days, NaiveTime};
use domain::account::event::CloseReason;
use domain::{ChannelName, Currency, Label, Money};
use futures_util::future::BoxFuture;
use ledger::RawCallback;
use relay::Secret;
use serde::Deserialize;
use std::time::Duration;

/// How often a report that is being written is asked for, and how many times.
const REPORT_PAUSE: Duration = Duration::from_secs(5);
const REPORT_TRIES: u32 = 60;

/// The columns of a report that a payment or refund is known again by.
const COLUMNS: [&str; 16] = [
    "balance_transaction_id",
    "created_utc",
    "currency",
    "gross",
    "fee",
    "net",
    "reporting_category",
    "source_id",
    "description",
    "customer_facing_amount",
    "customer_facing_currency",
    "charge_id",
    "payment_intent_id",
    "automatic_payout_id",
    "payment_metadata[order_no]",
    "refund_metadata[refund_no]",
];

/// One account at Stripe.
pub struct Stripe {
    name: ChannelName,
    title: String,
    key: Secret,
    /// More than one while a secret is being replaced.
    webhook_secrets: Vec<Secret>,
    /// Is it the live mode's key? Events of the other mode are refused.
    is_live: bool,
    api_version: String,
    currencies: Vec<Currency>,
    product: String,
    files_url: String,
    common: Common,
}

/// A Checkout session, as far as it is read.
#[derive(Debug, Deserialize)]
struct Session {
    id: String,
    url: Option<String>,
    client_reference_id: Option<String>,
    amount_total: Option<i64>,
    currency: Option<String>,
    payment_status: Option<String>,
    status: Option<String>,
    payment_intent: Option<String>,
    livemode: bool,
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// What we wrote beside an object.
#[derive(Debug, Default, Deserialize)]
struct Metadata {
    order_no: Option<String>,
    refund_no: Option<String>,
}

/// A refund.
#[derive(Debug, Deserialize)]
struct Refund {
    id: String,
    amount: i64,
    currency: String,
    status: Option<String>,
    payment_intent: Option<String>,
    charge: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

impl Stripe {
    /// Checks what an operator configured.
    pub(super) fn try_new(config: &ChannelConfig, common: Common) -> Result<Self, Unusable> {
        let key = config.secret("secret_key", 16)?;
        let both = config.secret("webhook_secret", 8)?;
        let webhook_secrets: Vec<Secret> =
            both.expose().split(',').map(|it| Secret::new(it.trim())).collect();
        if webhook_secrets
            .iter()
            .any(|it| it.expose().len() < 8 || super::config::is_placeholder(it.expose()))
        {
            return Err(Unusable::Off("one of webhook_secret is empty or a placeholder".to_owned()));
        }
        let allow_private = config.flag("allow_private")?;
        Ok(Self {
            name: config.name.clone(),
            title: match config.text("title") {
                "" => "Stripe".to_owned(),
                title => title.to_owned(),
            },
            is_live: key.expose().contains("_live_"),
            key,
            webhook_secrets,
            api_version: config.needed("api_version")?.to_owned(),
            currencies: config
                .list("currencies", |code| Currency::try_new(code).ok().filter(|it| fits(*it)))?,
            product: config.needed("product")?.to_owned(),
            files_url: GatewayClient::check_url(config.needed("files_url")?, allow_private)
                .map_err(|fault| config.wrong("files_url", &fault))?,
            common,
        })
    }

    /// Sends a request with the key; a good answer's bytes.
    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, ChannelError> {
        let request = request.bearer_auth(self.key.expose()).header("stripe-version", &self.api_version);
        let answer = self.common.client.send(request).await?;
        if answer.status == 200 { Ok(answer.body) } else { Err(refusal(&answer)) }
    }

    async fn get(&self, path: &str) -> Result<Vec<u8>, ChannelError> {
        self.ask(self.common.client.get(&format!("{}{path}", self.common.base_url))).await
    }

    /// Makes something, once per `purpose`.
    async fn make(
        &self,
        path: &str,
        fields: &[(&str, String)],
        purpose: &str,
    ) -> Result<Vec<u8>, ChannelError> {
        let form = encode(fields.iter().map(|(name, value)| (*name, value.as_str())));
        let url = format!("{}{path}", self.common.base_url);
        self.ask(self.common.client.post_form(&url, form).header("idempotency-key", purpose)).await
    }

    async fn begin(&self, order: &NewOrder) -> Result<Created, ChannelError> {
        let number = order.order.merchant_number();
        // Made of the order alone: a repeated wish must be the same request, or Stripe refuses its key. Hence no end of its own:
        // Stripe counts one from its clock and takes none below half an hour. The poller ends the session with the order.
        let fields = [
            ("mode", "payment".to_owned()),
            ("success_url", self.common.return_url.clone()),
            ("cancel_url", self.common.return_url.clone()),
            ("client_reference_id", number.clone()),
            ("metadata[order_no]", number.clone()),
            ("payment_intent_data[metadata][order_no]", number.clone()),
            ("line_items[0][quantity]", "1".to_owned()),
            ("line_items[0][price_data][currency]", order.pay.currency.code().to_lowercase()),
            ("line_items[0][price_data][unit_amount]", to_stripe(order.pay)?.to_string()),
            ("line_items[0][price_data][product_data][name]", self.product.clone()),
        ];
        let body = self.make("/v1/checkout/sessions", &fields, &format!("{number}-create")).await?;
        let session: Session = read(&body)?;
        let reference = Label::try_new(session.id).map_err(|_| unreadable())?;
        let url = session.url.ok_or_else(|| ChannelError::Refused("the session has no page".to_owned()))?;
        Ok(Created { action: Action::Redirect { url }, reference: Some(reference) })
    }

    async fn session(&self, order: &NewOrder) -> Result<Option<Session>, ChannelError> {
        // Without its name the session was never shown to anybody, so nobody can have paid it.
        let Some(reference) = &order.reference else { return Ok(None) };
        let body = self.get(&format!("/v1/checkout/sessions/{}", escaped(reference.as_str()))).await?;
        let session: Session = read(&body)?;
        self.owns(&session).map_err(|fault| ChannelError::Refused(fault.to_string()))?;
        if session.client_reference_id.as_deref() != Some(order.order.merchant_number().as_str()) {
            return Err(ChannelError::Refused("the session is another order's".to_owned()));
        }
        Ok(Some(session))
    }

    async fn state(&self, order: &NewOrder) -> Result<PaymentState, ChannelError> {
        let Some(session) = self.session(order).await? else { return Ok(PaymentState::Unknown) };
        match (session.payment_status.as_deref(), session.status.as_deref()) {
            (Some("paid"), _) => Ok(PaymentState::Paid(
                payment(&session).map_err(|fault| ChannelError::Refused(fault.to_string()))?,
            )),
            (_, Some("expired")) => Ok(PaymentState::Closed(CloseReason::Expired)),
            _ => Ok(PaymentState::Waiting),
        }
    }

    async fn shut(&self, order: &NewOrder) -> Result<Closing, ChannelError> {
        let Some(reference) = &order.reference else { return Ok(Closing::Closed) };
        let path = format!("/v1/checkout/sessions/{}/expire", escaped(reference.as_str()));
        let purpose = format!("{}-expire", order.order.merchant_number());
        match self.make(&path, &[], &purpose).await {
            Ok(_) => Ok(Closing::Closed),
            Err(ChannelError::Refused(why)) => {
                // Only an open session can be ended; the others say by themselves what they are.
                let Some(session) = self.session(order).await? else { return Ok(Closing::Closed) };
                match (session.payment_status.as_deref(), session.status.as_deref()) {
                    (Some("paid"), _) => Ok(Closing::Paid),
                    (_, Some("expired")) => Ok(Closing::Closed),
                    // Paid by a method that takes days: the money may still come.
                    (_, Some("complete")) => Ok(Closing::Impossible),
                    _ => Err(ChannelError::Refused(why)),
                }
            }
            Err(other) => Err(other),
        }
    }

    async fn give_back(&self, wish: &RefundWish) -> Result<Refunded, ChannelError> {
        let fields = [
            ("payment_intent", wish.provider_txn.to_string()),
            ("amount", to_stripe(wish.amount)?.to_string()),
            ("reason", "requested_by_customer".to_owned()),
            ("metadata[order_no]", wish.order.merchant_number()),
            ("metadata[refund_no]", wish.refund.to_string()),
        ];
        let body = self.make("/v1/refunds", &fields, &format!("{}-refund", wish.refund)).await?;
        refunded(&read(&body)?)
    }

    async fn refund_state(&self, wish: &RefundWish) -> Result<Refunded, ChannelError> {
        let path = format!("/v1/refunds?limit=100&payment_intent={}", escaped(wish.provider_txn.as_str()));
        let body = self.get(&path).await?;
        let rows = Fields::read(&body).and_then(|it| it.list("data")).ok_or_else(unreadable)?;
        for row in rows {
            let refund: Refund = read(row.get().as_bytes())?;
            let number = refund.metadata.as_ref().and_then(|it| it.refund_no.as_deref());
            if number == Some(wish.refund.as_str()) {
                return refunded(&refund);
            }
        }
        Ok(Refunded { state: None, provider_refund: None })
    }

    /// The itemised report of a day in UTC: asked for, waited for, downloaded.
    async fn report(&self, wish: &BillWish) -> Result<Option<Bill>, ChannelError> {
        let kind = match wish.kind {
            BillKind::Trades => "balance_change_from_activity.itemized.3",
            BillKind::Funds => "payouts.itemized.3",
        };
        let start = wish.day.and_time(NaiveTime::MIN).and_utc().timestamp();
        let next = wish.day.checked_add_days(Days::new(1)).unwrap_or(wish.day);
        let end = next.and_time(NaiveTime::MIN).and_utc().timestamp();
        let mut fields = vec![
            ("report_type", kind.to_owned()),
            ("parameters[interval_start]", start.to_string()),
            ("parameters[interval_end]", end.to_string()),
            ("parameters[timezone]", "Etc/UTC".to_owned()),
        ];
        if wish.kind == BillKind::Trades {
            // Without a wish the report leaves out what we wrote beside payments and refunds.
            fields.extend(COLUMNS.iter().map(|name| ("parameters[columns][]", (*name).to_owned())));
        }
        // Asked for again later it is a new report: the day's data may have become complete.
        let purpose = format!("{}-{kind}-{}", wish.day, uuid::Uuid::new_v4());
        let mut run = Fields::read(&self.make("/v1/reporting/report_runs", &fields, &purpose).await?);
        for _ in 0..REPORT_TRIES {
            let said = run.as_ref().ok_or_else(unreadable)?;
            match said.text("status").as_deref() {
                Some("succeeded") => {
                    let url = said.object("result").and_then(|it| it.text("url")).ok_or_else(unreadable)?;
                    return self.download(&url, wish).await.map(Some);
                }
                Some("failed") => return Err(ChannelError::Refused("the report failed".to_owned())),
                Some(_) | None => tokio::time::sleep(REPORT_PAUSE).await,
            }
            let id = said.text("id").ok_or_else(unreadable)?;
            run = Fields::read(&self.get(&format!("/v1/reporting/report_runs/{}", escaped(&id))).await?);
        }
        Err(ChannelError::Unreachable("the report is not ready yet".to_owned()))
    }

    async fn download(&self, url: &str, wish: &BillWish) -> Result<Bill, ChannelError> {
        self.common.client.check_file_url(url, &self.files_url, &[])?;
        let answer =
            self.common.client.fetch(self.common.client.get(url).bearer_auth(self.key.expose())).await?;
        match answer.status {
            200 => Ok(Bill { name: format!("{}-{}.csv", self.name, wish.day), bytes: answer.body }),
            _ => Err(refusal(&answer)),
        }
    }

    /// Is a session of our account's mode?
    fn owns(&self, session: &Session) -> Result<(), CallbackFault> {
        if session.livemode == self.is_live { Ok(()) } else { Err(CallbackFault::WrongMerchant) }
    }
}

impl Channel for Stripe {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn title(&self) -> &str {
        &self.title
    }

    fn methods(&self) -> &[Method] {
        &[]
    }

    fn takes(&self, currency: Currency) -> bool {
        self.currencies.contains(&currency)
    }

    fn create<'a>(&'a self, order: &'a NewOrder) -> BoxFuture<'a, Result<Created, ChannelError>> {
        Box::pin(self.begin(order))
    }

    fn read_callback(&self, callback: &RawCallback) -> Result<Verdict, CallbackFault> {
        events::read(self, callback)
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
        Box::pin(self.report(wish))
    }

    fn bill_format(&self) -> Option<Format> {
        Some(Format::Stripe)
    }

    fn fee_terms(&self) -> Option<FeeTerms> {
        self.common.fee
    }

    fn reply(&self, notice: &Notice) -> Reply {
        let body = match notice {
            Notice::Done => "ok".to_owned(),
            Notice::Failed { code } => format!("failure: {code}"),
        };
        Reply { content_type: "text/plain; charset=utf-8", body }
    }
}

impl std::fmt::Debug for Stripe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stripe").field("name", &self.name).finish_non_exhaustive()
    }
}

/// May a currency be paid with here? Those whose minor unit is not what Stripe counts in are left out, but for the ones
/// that [`to_stripe`] knows.
fn fits(currency: Currency) -> bool {
    !matches!(
        currency.code(),
        "UGX" | "IQD" | "LYD" | "MRU" | "BHD" | "JOD" | "KWD" | "OMR" | "TND" | "HUF" | "TWD" | "MGA"
    )
}

/// Stripe's number of an amount: minor units, but for the króna, which it counts in hundredths that are zero.
fn to_stripe(money: Money) -> Result<i64, ChannelError> {
    let factor = if money.currency.code() == "ISK" { 100 } else { 1 };
    money.minor.checked_mul(factor).ok_or_else(|| ChannelError::Refused("the amount is too large".to_owned()))
}

/// The reverse; `None`: not a currency, or hundredths of a króna.
fn of_stripe(amount: i64, code: &str) -> Option<Money> {
    let currency = Currency::try_new(&code.to_uppercase()).ok().filter(|it| fits(*it))?;
    let minor = match currency.code() {
        "ISK" => (amount % 100 == 0).then_some(amount / 100)?,
        _ => amount,
    };
    (minor >= 0).then_some(Money { currency, minor })
}

/// What a session that is paid says of its payment.
fn payment(session: &Session) -> Result<Payment, CallbackFault> {
    let order = session.client_reference_id.clone().ok_or(CallbackFault::Malformed("it names no order"))?;
    let noted = session.metadata.as_ref().and_then(|it| it.order_no.as_deref());
    if noted != Some(order.as_str()) {
        return Err(CallbackFault::Malformed("it names two orders"));
    }
    let label = |text: &str, fault| Label::try_new(text).map_err(|_| CallbackFault::Malformed(fault));
    let paid =
        session.amount_total.zip(session.currency.as_deref()).and_then(|(sum, code)| of_stripe(sum, code));
    Ok(Payment {
        order: label(&order, "it names no order")?,
        provider_txn: label(session.payment_intent.as_deref().unwrap_or_default(), "it names no payment")?,
        paid: paid.ok_or(CallbackFault::Malformed("its amount is no amount"))?,
    })
}

fn refunded(refund: &Refund) -> Result<Refunded, ChannelError> {
    let provider_refund = Label::try_new(refund.id.as_str()).map_err(|_| unreadable())?;
    Ok(Refunded { state: Some(refund_state(refund)), provider_refund: Some(provider_refund) })
}

fn refund_state(refund: &Refund) -> RefundState {
    match refund.status.as_deref() {
        Some("succeeded") => RefundState::Done,
        Some("failed" | "canceled") => RefundState::Failed,
        Some(_) | None => RefundState::Pending,
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ChannelError> {
    serde_json::from_slice(bytes).map_err(|_| unreadable())
}

fn unreadable() -> ChannelError {
    ChannelError::Refused("its answer is not what it documents".to_owned())
}

/// An error's type and message, which hold no secret; where a retry can help it is as if it had not been reached.
fn refusal(answer: &Answer) -> ChannelError {
    let error = Fields::read(&answer.body).and_then(|it| it.object("error"));
    let said = |name| error.as_ref().and_then(|it| it.text(name)).unwrap_or_default();
    // A message about a key may quote most of it.
    let text = match answer.status {
        401 | 403 => format!("HTTP {}: the key is not accepted", answer.status),
        status => format!("HTTP {status}: {} {}", words(&said("code")), words(&said("message"))),
    };
    match answer.status {
        409 | 429 | 500.. => ChannelError::Unreachable(text),
        _ => ChannelError::Refused(text),
    }
}
