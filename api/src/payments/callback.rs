//! The callback road: what happens to every message of a payment gateway.
//!
//! Store raw in INBOX (acknowledged) → verify signature, merchant, order, amount, currency → one command to the ledger
//! → the success word, only after the durable append. Anything else answers failure, so that the gateway tries again.
//! May not touch: HTTP; a callback arrives as [`RawCallback`], so that a stored one can take the same road again.
//! Claims: a callback that is not believed changes nothing but INBOX; a verified payment ends as credits or in suspense,
//! never nowhere; a hundred identical callbacks make one credit.

use super::channel::{
    CallbackFault, Channel, ChannelError, NewOrder, Notice, Payer, Payment, PaymentState, Verdict,
};
use super::{bonus, disputes, refunds};
use crate::app::App;
use crate::directory::payment::CallbackNote;
use axum::http::StatusCode;
use domain::account::event::CloseReason;
use domain::event::PaymentSuspended;
use domain::{Actor, ActorKind, ChannelName, Command, Label, OrderId, Reason, Refusal};
use ledger::{LedgerError, RawCallback};
use projections::top_ups::{self, OrderStatus, TopUpOrder};
use std::time::Duration;

/// How long a callback waits for the projection to reach the end of the log before it is sent away to come again.
/// Gateways hang up after five seconds or more.
const PATIENCE: Duration = Duration::from_secs(4);

/// How the road ended.
#[derive(Debug)]
pub enum Ending {
    /// The payment is credited, now or since an earlier callback.
    Credited,
    /// The order is closed, now or since an earlier callback.
    Closed,
    /// There was nothing to decide.
    Noted,
    /// It tells of money that went back, or would: booked, or shown to a person.
    Back {
        /// A stable word: what it was.
        verdict: &'static str,
        /// In a sentence.
        detail: String,
    },
    /// The callback is not believed.
    NotBelieved(CallbackFault),
    /// The gateway closes an order that we do not have.
    UnknownOrder,
    /// The payment is real and fits no order; it is in suspense.
    Suspended {
        /// A stable word: why.
        code: &'static str,
    },
    /// We could not finish; the next try can.
    Later(Trouble),
}

/// What kept a callback from being decided.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The log.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The plain tables.
    #[error(transparent)]
    Directory(#[from] crate::directory::DirectoryError),
    /// The tables.
    #[error(transparent)]
    Database(#[from] projections::DatabaseError),
    /// The tables trail the log: an order could be too young to be seen.
    #[error("the projections did not reach the end of the log in time")]
    Trailing,
    /// A text that cannot be written to the log.
    #[error(transparent)]
    Text(#[from] domain::text::TextError),
    /// The gateway, which is asked before this callback is believed, or for the key that it is signed with.
    #[error(transparent)]
    Gateway(#[from] ChannelError),
    /// The gateway does not say what its callback says.
    #[error("the gateway, asked itself, does not know of this payment")]
    NotConfirmed,
}

impl Ending {
    /// What the gateway hears.
    pub fn notice(&self) -> Notice {
        let code = match self {
            Self::Credited | Self::Closed | Self::Noted | Self::Back { .. } => return Notice::Done,
            Self::NotBelieved(CallbackFault::NoSecret) => "channel_has_no_secret",
            Self::NotBelieved(CallbackFault::BadSignature) => "bad_signature",
            Self::NotBelieved(CallbackFault::Unreadable(_)) => "unreadable",
            Self::NotBelieved(CallbackFault::UnknownKey) => "unknown_key",
            Self::NotBelieved(CallbackFault::Stale) => "stale",
            Self::NotBelieved(CallbackFault::WrongMerchant) => "wrong_merchant",
            Self::NotBelieved(CallbackFault::Malformed(_)) => "malformed",
            Self::UnknownOrder => "unknown_order",
            Self::Suspended { code } => code,
            Self::Later(_) => "try_again",
        };
        Notice::Failed { code }
    }

    /// In a word, for operators.
    pub fn verdict(&self) -> &'static str {
        match (self, self.notice()) {
            (Self::Credited, _) => "credited",
            (Self::Closed, _) => "closed",
            (Self::Back { verdict, .. }, _) => verdict,
            (_, Notice::Done) => "noted",
            (_, Notice::Failed { code }) => code,
        }
    }

    /// In a sentence, for operators.
    pub fn detail(&self) -> String {
        match self {
            Self::Credited => "the payment is credited".to_owned(),
            Self::Closed => "the order is closed".to_owned(),
            Self::Noted => "there was nothing to decide".to_owned(),
            Self::Back { detail, .. } => detail.clone(),
            Self::NotBelieved(fault) => fault.to_string(),
            Self::UnknownOrder => "the gateway closes an order that is not there".to_owned(),
            Self::Suspended { code } => format!("the payment waits in suspense: {code}"),
            Self::Later(trouble) => trouble.to_string(),
        }
    }

    /// The HTTP status of the answer. Gateways take anything but 200 for a failure.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Credited | Self::Closed | Self::Noted | Self::Back { .. } => StatusCode::OK,
            Self::NotBelieved(CallbackFault::Malformed(_) | CallbackFault::Unreadable(_)) => {
                StatusCode::BAD_REQUEST
            }
            Self::NotBelieved(
                CallbackFault::BadSignature
                | CallbackFault::WrongMerchant
                | CallbackFault::UnknownKey
                | CallbackFault::Stale,
            ) => StatusCode::FORBIDDEN,
            Self::UnknownOrder | Self::Suspended { code: "unknown_order" } => StatusCode::NOT_FOUND,
            Self::Suspended { .. } => StatusCode::CONFLICT,
            Self::NotBelieved(CallbackFault::NoSecret) | Self::Later(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Takes a fresh callback down the whole road.
pub async fn take(app: &App, channel: &dyn Channel, callback: &RawCallback) -> Ending {
    match app.inbox.store(channel.name(), callback).await {
        Ok(inbox) => {
            ledger::crash::point("callback.stored");
            judge(app, channel, callback, inbox).await
        }
        Err(error) => {
            app.tallies.callback(channel.name(), "not_stored");
            tracing::error!(channel = %channel.name(), %error, "a payment callback could not be stored");
            Ending::Later(error.into())
        }
    }
}

/// Judges a callback that lies in INBOX at `inbox`, and keeps the verdict beside it.
pub async fn judge(app: &App, channel: &dyn Channel, callback: &RawCallback, inbox: u64) -> Ending {
    let (ending, order) = judged(app, channel, callback, inbox).await;
    app.tallies.callback(channel.name(), ending.verdict());
    let note = CallbackNote {
        id: uuid::Uuid::now_v7(),
        inbox,
        channel: channel.name().clone(),
        verdict: ending.verdict().to_owned(),
        order_number: order.map(|it| it.to_string()),
        detail: ending.detail(),
        at: crate::directory::now(),
    };
    let verdict = note.verdict.clone();
    // The callback itself is durable and decided; this is for people who look for it.
    if let Err(error) = app.directory.note_callback(note).await {
        tracing::warn!(channel = %channel.name(), inbox, verdict, %error, "a callback's verdict could not be kept");
    }
    ending
}

async fn judged(
    app: &App,
    channel: &dyn Channel,
    callback: &RawCallback,
    inbox: u64,
) -> (Ending, Option<Label>) {
    let name = channel.name();
    let mut read = channel.read_callback(callback);
    if read == Err(CallbackFault::UnknownKey) {
        match channel.learn_keys().await {
            // Also where there are none: another callback may have asked in the meantime.
            Ok(_) => read = channel.read_callback(callback),
            Err(error) => {
                tracing::warn!(channel = %name, inbox, "a gateway's keys cannot be asked for: {error}");
                return (Ending::Later(error.into()), None);
            }
        }
    }
    let verdict = match read {
        Ok(verdict) => verdict,
        // Anybody can send an unsigned one; a signed one that is wrong is somebody's mistake to be looked into.
        Err(
            fault @ (CallbackFault::BadSignature
            | CallbackFault::NoSecret
            | CallbackFault::Unreadable(_)
            | CallbackFault::UnknownKey),
        ) => {
            tracing::warn!(channel = %name, inbox, "a payment callback is not believed: {fault}");
            return (Ending::NotBelieved(fault), None);
        }
        Err(fault @ (CallbackFault::WrongMerchant | CallbackFault::Malformed(_) | CallbackFault::Stale)) => {
            tracing::error!(channel = %name, inbox, "a signed payment callback cannot be used: {fault}");
            return (Ending::NotBelieved(fault), None);
        }
    };
    let (order, decided) = match verdict {
        Verdict::Paid(payment) => {
            (Some(payment.order.clone()), believed(app, channel, payment, Evidence::Callback(inbox)).await)
        }
        Verdict::Closed { order, reason } => {
            (Some(order.clone()), close(app, channel, &order, reason, inbox).await)
        }
        Verdict::Pending { order } => (Some(order), Ok(Ending::Noted)),
        Verdict::Refund(it) => (it.order.clone(), refunds::told(app, name, it, inbox).await),
        Verdict::Dispute(it) => disputes::told(app, name, it, inbox).await,
        Verdict::Nothing => (None, Ok(Ending::Noted)),
    };
    ledger::crash::point("callback.decided");
    let ending = decided.unwrap_or_else(|trouble| {
        tracing::error!(channel = %name, inbox, "a payment callback could not be decided: {trouble}");
        Ending::Later(trouble)
    });
    (ending, order)
}

/// Where a payment was learnt of.
enum Evidence {
    /// From a callback, at this place of INBOX.
    Callback(u64),
    /// By asking the gateway.
    Answer,
}

/// Credits a payment that a gateway told of when it was asked.
pub async fn found_paid(app: &App, channel: &dyn Channel, payment: Payment) -> Ending {
    credit(app, channel, payment, Evidence::Answer).await.unwrap_or_else(|trouble| {
        tracing::error!(channel = %channel.name(), "a payment that was found could not be decided: {trouble}");
        Ending::Later(trouble)
    })
}

/// Credits a payment that a callback tells of, once the gateway has confirmed it where the operator asks for that.
async fn believed(
    app: &App,
    channel: &dyn Channel,
    payment: Payment,
    evidence: Evidence,
) -> Result<Ending, Trouble> {
    if channel.confirms()
        && let Some(order) = find_number(app, &payment.order).await?
    {
        let asked = NewOrder {
            order: order.order,
            pay: order.pay,
            method: None,
            expires_at: order.expires_at,
            payer: Payer::default(),
            reference: app.directory.payment_reference(order.order).await.ok().flatten(),
        };
        match channel.query(&asked).await? {
            PaymentState::Paid(told) if told == payment => {}
            PaymentState::Paid(_)
            | PaymentState::Unknown
            | PaymentState::Waiting
            | PaymentState::Closed(_) => return Err(Trouble::NotConfirmed),
        }
    }
    credit(app, channel, payment, evidence).await
}

async fn credit(
    app: &App,
    channel: &dyn Channel,
    payment: Payment,
    evidence: Evidence,
) -> Result<Ending, Trouble> {
    let Some(order) = find_number(app, &payment.order).await? else {
        let inbox = kept(app, channel, &payment, evidence).await?;
        return suspend(app, channel, payment, inbox, "unknown_order", "no such order".into()).await;
    };
    // Only what would be credited: the ledger refuses the rest in its own words.
    let fits = order.channel == *channel.name() && order.pay == payment.paid;
    if fits && order.status != OrderStatus::Completed {
        // The tables may have moved on since they were asked about the order: then it is this one.
        let first = top_ups::paid_by(&app.db, channel.name(), &payment.provider_txn).await?;
        if let Some(first) = first.filter(|first| first.order != order.order) {
            let inbox = kept(app, channel, &payment, evidence).await?;
            let why = format!("this transaction has paid order {} already", first.order.merchant_number());
            return suspend(app, channel, payment, inbox, "transaction_used", why).await;
        }
        // A payment leaves suspense by an operator's act and by nothing else, or it could be credited twice.
        let state = app.ledger.log().suspense(channel.name()).await?;
        if let Some((sequence, held)) = state.find(&payment.order, &payment.provider_txn, payment.paid) {
            return Ok(in_suspense(channel, &payment, sequence, held.resolved.is_some(), "in_suspense"));
        }
    }
    let command = Command::CompleteTopUp {
        order: order.order,
        channel: channel.name().clone(),
        provider_txn: payment.provider_txn.clone(),
        paid: payment.paid,
    };
    match app.ledger.execute(order.account, command, actor(channel)?, None).await {
        Ok(receipt) => {
            if !receipt.repeated {
                app.tallies.credited(channel.name(), payment.paid);
            }
            tracing::info!(
                channel = %channel.name(),
                account = %order.account,
                order = %order.order,
                provider_txn = %payment.provider_txn,
                paid = %payment.paid,
                sequence = receipt.recorded.sequence,
                repeated = receipt.repeated,
                "payment credited"
            );
            if !receipt.repeated {
                bonus::give(app, order.order).await;
            }
            Ok(Ending::Credited)
        }
        Err(LedgerError::Refused(refusal)) => {
            let (code, why) = (code_of(&refusal), refusal.to_string());
            let inbox = kept(app, channel, &payment, evidence).await?;
            suspend(app, channel, payment, inbox, code, why).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Where the evidence of a payment is in INBOX. An answer that ends in suspense is put there, unsigned as it is: it can be
/// read, and judged again it is not believed.
async fn kept(
    app: &App,
    channel: &dyn Channel,
    payment: &Payment,
    evidence: Evidence,
) -> Result<u64, Trouble> {
    match evidence {
        Evidence::Callback(inbox) => Ok(inbox),
        Evidence::Answer => {
            let told = serde_json::json!({
                "order": payment.order.as_str(), "transaction": payment.provider_txn.as_str(),
                "paid": payment.paid.to_string(),
            });
            let answer = RawCallback {
                method: "ANSWER".to_owned(),
                uri: String::new(),
                headers: Vec::new(),
                body: told.to_string().into_bytes(),
                received_at: crate::directory::now(),
            };
            Ok(app.inbox.store(channel.name(), &answer).await?)
        }
    }
}

async fn close(
    app: &App,
    channel: &dyn Channel,
    number: &Label,
    reason: CloseReason,
    inbox: u64,
) -> Result<Ending, Trouble> {
    // The command does not name the channel, so a channel may close its own orders only by this check.
    let order = find_number(app, number).await?;
    let Some(order) = order.filter(|order| order.channel == *channel.name()) else {
        tracing::error!(channel = %channel.name(), order = %number, inbox, "a gateway closes an order it does not have");
        return Ok(Ending::UnknownOrder);
    };
    let command = Command::CloseTopUp { order: order.order, reason };
    match app.ledger.execute(order.account, command, actor(channel)?, None).await {
        Ok(_) => Ok(Ending::Closed),
        // The order's end is durable already, and a paid order stays paid whatever comes later or out of order: to have
        // this told again would not change it.
        Err(LedgerError::Refused(Refusal::OrderPaid(_))) => {
            tracing::warn!(channel = %channel.name(), order = %number, inbox, "a gateway closes an order that is paid");
            Ok(Ending::Noted)
        }
        Err(error) => Err(error.into()),
    }
}

async fn find_number(app: &App, number: &Label) -> Result<Option<TopUpOrder>, Trouble> {
    match order_of(number) {
        Some(id) => find(app, id).await,
        None => Ok(None),
    }
}

/// An order, whoever it belongs to.
///
/// The tables may trail the log by a moment, so an order that is not there is looked for again once they have reached
/// the log's end: only then is it unknown. An order is on the log before its number is told to anyone.
pub async fn find(app: &App, id: OrderId) -> Result<Option<TopUpOrder>, Trouble> {
    if let Some(order) = top_ups::find(&app.db, id).await? {
        return Ok(Some(order));
    }
    caught_up(app).await?;
    Ok(top_ups::find(&app.db, id).await?)
}

/// Waits until the tables have reached what is the log's end now.
pub(super) async fn caught_up(app: &App) -> Result<(), Trouble> {
    let end = app.ledger.log().identity().await?.last_sequence;
    if app.follower.wait_for(end, PATIENCE).await { Ok(()) } else { Err(Trouble::Trailing) }
}

/// Reads the number that we gave: 32 lower-case hexadecimal digits and nothing else.
pub fn order_of(number: &Label) -> Option<OrderId> {
    let id: OrderId = number.as_str().parse().ok()?;
    (id.merchant_number() == number.as_str()).then_some(id)
}

/// Keeps a verified payment that nobody can be credited with, and calls for a person once it is kept.
async fn suspend(
    app: &App,
    channel: &dyn Channel,
    payment: Payment,
    inbox: u64,
    code: &'static str,
    why: String,
) -> Result<Ending, Trouble> {
    let (order, provider_txn, paid) = (payment.order.clone(), payment.provider_txn.clone(), payment.paid);
    let told = payment.clone();
    let suspended = PaymentSuspended {
        order: payment.order,
        provider_txn: payment.provider_txn,
        paid: payment.paid,
        reason: Reason::try_new(why.as_str())?,
        inbox,
    };
    let booked = app.ledger.log().suspend_payment(channel.name(), suspended).await?;
    if booked.held.resolved.is_some() {
        return Ok(in_suspense(channel, &told, booked.sequence, true, code));
    }
    let first = booked.held.payment;
    let channel = channel.name();
    // The gateway will tell this for days; a person needs to hear it once.
    if first.inbox == inbox {
        tracing::error!(
            alert = "payment_suspended", %channel, %order, %provider_txn, %paid, inbox, sequence = booked.sequence,
            "a verified payment fits no order and waits in suspense: {why}"
        );
    } else {
        tracing::info!(%channel, %order, %provider_txn, inbox, "a payment in suspense is reported again");
    }
    Ok(Ending::Suspended { code })
}

/// A payment that stands in suspense is told again: once an operator has resolved it, the gateway may stop telling.
fn in_suspense(
    channel: &dyn Channel,
    payment: &Payment,
    sequence: u64,
    resolved: bool,
    code: &'static str,
) -> Ending {
    tracing::info!(
        channel = %channel.name(), order = %payment.order, provider_txn = %payment.provider_txn, sequence, resolved,
        "a payment in suspense is reported again"
    );
    if resolved { Ending::Noted } else { Ending::Suspended { code } }
}

/// The stable word of a refusal. All of them end in suspense; three come up in practice.
fn code_of(refusal: &Refusal) -> &'static str {
    crate::problem::Problem::from(refusal.clone()).code
}

fn actor(channel: &dyn Channel) -> Result<Actor, Trouble> {
    channel_actor(channel.name())
}

/// Whoever speaks for a gateway.
pub(super) fn channel_actor(channel: &ChannelName) -> Result<Actor, Trouble> {
    Ok(Actor { kind: ActorKind::Channel, id: Label::try_new(channel.as_str())? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{Currency, Money};
    use uuid::Uuid;

    #[test]
    fn only_the_number_that_we_gave_is_an_order() {
        let id = OrderId::from_uuid(Uuid::new_v4());
        let number = id.merchant_number();
        let order = |text: &str| order_of(&Label::try_new(text).unwrap());
        assert_eq!(order(&number), Some(id));
        for other in [
            number.to_uppercase().as_str(),
            &id.to_string(),
            &format!("{{{id}}}"),
            &format!("urn:uuid:{id}"),
            &number[..31],
            &format!("{number}0"),
            "1",
            "' OR 1=1",
        ] {
            assert!(other == number || order(other).is_none(), "{other}");
        }
    }

    #[test]
    fn only_what_is_durable_is_answered_with_success() {
        let money = |text: &str| Money::parse(text, Currency::try_new("CNY").unwrap()).unwrap();
        let refusal = Refusal::WrongAmount { expected: money("50.00"), paid: money("5.00") };
        for (ending, status, code) in [
            (Ending::Credited, 200, None),
            (Ending::Closed, 200, None),
            (Ending::Noted, 200, None),
            (Ending::Back { verdict: "refunded", detail: String::new() }, 200, None),
            (Ending::NotBelieved(CallbackFault::NoSecret), 503, Some("channel_has_no_secret")),
            (Ending::NotBelieved(CallbackFault::BadSignature), 403, Some("bad_signature")),
            (Ending::NotBelieved(CallbackFault::WrongMerchant), 403, Some("wrong_merchant")),
            (Ending::NotBelieved(CallbackFault::UnknownKey), 403, Some("unknown_key")),
            (Ending::NotBelieved(CallbackFault::Stale), 403, Some("stale")),
            (Ending::NotBelieved(CallbackFault::Unreadable("")), 400, Some("unreadable")),
            (Ending::Later(Trouble::NotConfirmed), 503, Some("try_again")),
            (Ending::NotBelieved(CallbackFault::Malformed("")), 400, Some("malformed")),
            (Ending::UnknownOrder, 404, Some("unknown_order")),
            (Ending::Suspended { code: "unknown_order" }, 404, Some("unknown_order")),
            (Ending::Suspended { code: code_of(&refusal) }, 409, Some("wrong_amount")),
            (Ending::Later(Trouble::Trailing), 503, Some("try_again")),
        ] {
            assert_eq!(ending.status().as_u16(), status, "{ending:?}");
            let notice = code.map_or(Notice::Done, |code| Notice::Failed { code });
            assert_eq!(ending.notice(), notice, "{ending:?}");
        }
    }
}
