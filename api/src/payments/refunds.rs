//! Refunds: money that goes back to a payer with our will.
//!
//! A refund is asked for (its credits are set aside), approved by an operator, given by the channel, and booked as done or
//! failed. The log holds each of these steps; beside it is only what a gateway was asked ([`crate::directory::refund`]).
//! For: asking ([`request`]), booking how one ended ([`book`]), what callbacks tell ([`told`]), and the task that asks gateways
//! ([`desk`]).
//! May not touch: balances; HTTP.
//! Claims: a refund is booked by the ledger's own decision, once, whoever finds out first: an answer, a question, a callback or
//! an operator; what a gateway tells of and the log does not know becomes a difference that a person sees.

pub mod desk;

use super::callback::{self, Ending, Trouble, caught_up, channel_actor};
use super::channel::{RefundNotice, RefundState};
use super::suspense;
use crate::app::App;
use crate::directory::approval::{ApprovalState, Asked};
use crate::directory::refund::{OutsideRefund, OutsideRefundState, chargeback_of};
use crate::directory::suspense::End;
use crate::directory::{DirectoryError, now};
use domain::account::state::Request;
use domain::event::{RefundRequested, ReturnedBy};
use domain::{
    AccountEvent, Actor, ChannelName, Command, IdempotencyKey, Label, Moment, Money, OrderId, Reason,
    RefundId, Refusal,
};
use ledger::LedgerError;
use projections::refunds::{self, Refund};
use projections::top_ups::{self, TopUpOrder};
use uuid::Uuid;

/// Why a refund was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The ledger said no, or did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The amount is none.
    #[error("{0}")]
    Amount(String),
    /// The receipt is not a refund's. Cannot happen: the ledger compares what a key stood for.
    #[error("the ledger answered a refund with event {0}, which is none")]
    Foreign(u64),
}

/// Asks for a refund of an order; without an amount, of all that is left of it. The same key and wish again is the first one.
/// Answers the event, its time and its position.
pub async fn request(
    app: &App,
    order: &TopUpOrder,
    amount: Option<&str>,
    reason: Reason,
    actor: Actor,
    key: Option<IdempotencyKey>,
) -> Result<(RefundRequested, Moment, u64), RequestError> {
    let pay = match amount {
        Some(text) if text.len() > 40 => {
            return Err(RequestError::Amount("an amount has at most 40 characters".to_owned()));
        }
        Some(text) => {
            Money::parse(text, order.pay.currency).map_err(|error| RequestError::Amount(error.to_string()))?
        }
        None => whole(app, order, &reason, key.as_ref()).await?,
    };
    let command = Command::RequestRefund {
        refund: RefundId::from_uuid(Uuid::new_v4()),
        order: order.order,
        pay,
        reason,
    };
    let receipt = app.ledger.execute(order.account, command, actor, key).await?;
    let (sequence, at) = (receipt.recorded.sequence, receipt.recorded.at);
    match receipt.recorded.event {
        AccountEvent::RefundRequested(it) => Ok((it, at, sequence)),
        AccountEvent::TopUpInitiated(_)
        | AccountEvent::TopUpCompleted(_)
        | AccountEvent::TopUpClosed(_)
        | AccountEvent::CreditGranted(_)
        | AccountEvent::AdjustmentPosted(_)
        | AccountEvent::RefundApproved(_)
        | AccountEvent::RefundCompleted(_)
        | AccountEvent::RefundFailed(_)
        | AccountEvent::ChargebackPosted(_)
        | AccountEvent::ChargebackReversed(_)
        | AccountEvent::LeaseGranted(_)
        | AccountEvent::LeaseAmended(_)
        | AccountEvent::LeaseClosed(_) => Err(RequestError::Foreign(sequence)),
    }
}

/// All that is left of an order; of a wish that was made before under this key, what it was then.
async fn whole(
    app: &App,
    order: &TopUpOrder,
    reason: &Reason,
    key: Option<&IdempotencyKey>,
) -> Result<Money, LedgerError> {
    let account = app.ledger.account(order.account).await?;
    if let Some(Request::Refund { order: before, pay, reason: said }) =
        key.and_then(|key| account.keys.get(key)).map(|it| &it.request)
        && *before == order.order
        && said == reason
    {
        return Ok(*pay);
    }
    let left = account.orders.get(&order.order).map_or(order.pay, domain::account::state::Order::left);
    match left.minor {
        0 => Err(Refusal::AboveOrder { left, wanted: order.pay }.into()),
        _ => Ok(left),
    }
}

/// What came of booking how a refund ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Booked {
    /// It stands on the log, now or since before.
    Yes,
    /// Nothing to book: it goes on.
    NotYet,
    /// The log says otherwise, in this sentence.
    Contradicts(String),
}

/// Books what a gateway says of a refund.
pub async fn book(
    app: &App,
    refund: &Refund,
    state: RefundState,
    provider_refund: Option<Label>,
    actor: Actor,
) -> Result<Booked, Trouble> {
    let command = match state {
        RefundState::Pending | RefundState::Abnormal => return Ok(Booked::NotYet),
        RefundState::Done => Command::CompleteRefund { refund: refund.refund, provider_refund },
        RefundState::Failed => Command::FailRefund {
            refund: refund.refund,
            reason: Reason::try_new("the payment gateway did not give the money back")?,
        },
    };
    match app.ledger.execute(refund.account, command, actor, None).await {
        Ok(receipt) => {
            tracing::info!(
                channel = %refund.channel, account = %refund.account, order = %refund.order, refund = %refund.refund,
                amount = %refund.pay, sequence = receipt.recorded.sequence, repeated = receipt.repeated, ?state,
                "a refund has ended"
            );
            Ok(Booked::Yes)
        }
        Err(LedgerError::Refused(refusal)) => Ok(Booked::Contradicts(refusal.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Takes what a callback tells of a refund.
pub async fn told(
    app: &App,
    channel: &ChannelName,
    notice: RefundNotice,
    inbox: u64,
) -> Result<Ending, Trouble> {
    if let Some(ending) = returned(app, channel, &notice).await? {
        return Ok(ending);
    }
    let Some(refund) = find(app, notice.refund.as_ref()).await?.filter(|it| it.channel == *channel) else {
        return unasked(app, channel, notice, inbox).await;
    };
    if let Some(what) = unlike(&refund, &notice) {
        // Less in all than one refund: nothing of it is more than we know of.
        let nothing = Money { minor: 0, ..notice.amount };
        let notice = match notice.is_total {
            true => RefundNotice { is_total: false, amount: nothing, ..notice },
            false => notice,
        };
        return differs(app, channel, notice, Some(&refund), what, inbox).await;
    }
    if notice.is_total {
        let what = "more went back of this payment than was asked for here".to_owned();
        differs(app, channel, notice.clone(), Some(&refund), what, inbox).await?;
    }
    let (state, provider_refund) = (notice.state, notice.provider_refund.clone());
    match book(app, &refund, state, provider_refund, channel_actor(channel)?).await? {
        Booked::Yes => {
            app.directory.hurry_refund(refund.refund).await?;
            let (verdict, detail) = match state {
                RefundState::Failed => ("refund_failed", "the refund failed; its credits are back"),
                RefundState::Done | RefundState::Pending | RefundState::Abnormal => {
                    ("refunded", "the refund is booked as done")
                }
            };
            Ok(Ending::Back { verdict, detail: detail.to_owned() })
        }
        Booked::NotYet => {
            // Asked itself, the gateway tells what it waits for.
            if state == RefundState::Abnormal {
                app.directory.hurry_refund(refund.refund).await?;
            }
            Ok(Ending::Back { verdict: "refund_pending", detail: "the refund goes on".to_owned() })
        }
        Booked::Contradicts(why) => {
            let what = format!("the gateway says {}, and here {why}", word(state));
            differs(app, channel, notice, Some(&refund), what, inbox).await
        }
    }
}

/// Takes what a gateway tells of a payment in suspense that goes back by it: its request has the refund's number. `None`: it is no
/// such refund, or not all of it.
async fn returned(
    app: &App,
    channel: &ChannelName,
    notice: &RefundNotice,
) -> Result<Option<Ending>, Trouble> {
    let Some(id) = notice.refund.as_ref().and_then(refund_of) else { return Ok(None) };
    let request = match app.directory.approval(id.uuid()).await {
        Ok(request) => request,
        Err(DirectoryError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_it = match &request.asked {
        Asked::Suspense { channel: of, paid, end: End::Return { by: ReturnedBy::Channel, .. }, .. } => {
            of == channel && *paid == notice.amount
        }
        Asked::Suspense { .. }
        | Asked::Adjustment { .. }
        | Asked::Grant { .. }
        | Asked::Refund { .. }
        | Asked::Settle { .. } => false,
    };
    // Only what a second person agreed to was asked for.
    if !is_it || !matches!(request.state, ApprovalState::Approved | ApprovalState::Done) {
        return Ok(None);
    }
    let back = |verdict, detail: &str| Ok(Some(Ending::Back { verdict, detail: detail.to_owned() }));
    if request.state == ApprovalState::Done {
        return back("returned", "the payment in suspense went back");
    }
    // The gateway is asked itself: one word of it is as good as the other, and this is the road that ends it.
    match suspense::perform(app, &request).await {
        Ok(()) => back("returned", "the payment in suspense went back, or was found not to"),
        Err(suspense::Trouble::Ledger(error)) => Err(error.into()),
        Err(suspense::Trouble::Database(error)) => Err(error.into()),
        Err(suspense::Trouble::Directory(error)) => Err(error.into()),
        Err(suspense::Trouble::Text(error)) => Err(error.into()),
        Err(suspense::Trouble::Channel(_) | suspense::Trouble::Pending) => {
            back("refund_pending", "the payment in suspense is on its way back")
        }
    }
}

/// Takes what a gateway tells of a refund that was not asked for here.
async fn unasked(
    app: &App,
    channel: &ChannelName,
    notice: RefundNotice,
    inbox: u64,
) -> Result<Ending, Trouble> {
    match notice.state {
        RefundState::Done => {
            let what = "the gateway gave money back that nobody asked for here".to_owned();
            differs(app, channel, notice, None, what, inbox).await
        }
        // It has not gone yet, and may not.
        RefundState::Pending | RefundState::Abnormal => Ok(Ending::Noted),
        RefundState::Failed => unmade(app, channel, notice, inbox).await,
    }
}

/// One that was told of as given did not come about after all: whoever looked after it must know, above all if they took credits.
async fn unmade(
    app: &App,
    channel: &ChannelName,
    notice: RefundNotice,
    inbox: u64,
) -> Result<Ending, Trouble> {
    let Some(number) = &notice.provider_refund else { return Ok(Ending::Noted) };
    let told = app.directory.outside_refunds_named(channel, number).await?;
    let Some(first) = told.first() else { return Ok(Ending::Noted) };
    tracing::error!(
        alert = "refund_differs", %channel, inbox, difference = %first.id, provider_refund = %number,
        "a refund that was told of as given has failed"
    );
    let mut took = false;
    for it in &told {
        let posted = refunds::chargeback(&app.db, chargeback_of(it.id)).await?;
        took |= posted.is_some_and(|it| it.reversed_at.is_none());
    }
    if !took {
        return Ok(Ending::Noted);
    }
    let what = "this refund failed after its credits had been taken: give them back".to_owned();
    // No money went back by it, so there is none whose credits could be taken.
    let nothing = Money { minor: 0, ..notice.amount };
    differs(app, channel, RefundNotice { is_total: false, amount: nothing, ..notice }, None, what, inbox)
        .await
}

/// What went back of a payment in all, less what was asked for here and has not failed, and less what was told of as different: in
/// minor units.
async fn excess(app: &App, channel: &ChannelName, total: Money, order: OrderId) -> Result<i64, Trouble> {
    let ours = refunds::of_order(&app.db, order).await?;
    let ours = ours.iter().filter(|it| it.status != refunds::RefundStatus::Failed);
    let ours = ours.fold(0_i64, |sum, it| sum.saturating_add(it.pay.minor));
    let told = app.directory.went_back_outside(channel, order).await?;
    Ok(total.minor.saturating_sub(ours).saturating_sub(told))
}

fn word(state: RefundState) -> &'static str {
    match state {
        RefundState::Pending | RefundState::Abnormal => "that it goes on",
        RefundState::Done => "that the money went back",
        RefundState::Failed => "that the money did not go back",
    }
}

/// Why what a gateway tells cannot be that refund.
fn unlike(refund: &Refund, notice: &RefundNotice) -> Option<String> {
    let number = refund.order.merchant_number();
    if notice.order.as_ref().is_some_and(|order| order.as_str() != number) {
        return Some("the gateway names another order than the refund's".to_owned());
    }
    let fits = match notice.is_total {
        true => notice.amount.currency == refund.pay.currency && notice.amount.minor >= refund.pay.minor,
        false => notice.amount == refund.pay,
    };
    (!fits).then(|| format!("{} was to go back, and the gateway tells of {}", refund.pay, notice.amount))
}

/// The refund with a number that we gave. The tables may trail; a number is told to a gateway only after its refund is on the
/// log and in them, so this waits only for what comes from another process.
async fn find(app: &App, number: Option<&Label>) -> Result<Option<Refund>, Trouble> {
    let Some(id) = number.and_then(refund_of) else { return Ok(None) };
    if let Some(refund) = refunds::find(&app.db, id).await? {
        return Ok(Some(refund));
    }
    caught_up(app).await?;
    Ok(refunds::find(&app.db, id).await?)
}

/// Reads the number that we gave: 32 lower-case hexadecimal digits and nothing else.
fn refund_of(number: &Label) -> Option<RefundId> {
    let id: RefundId = number.as_str().parse().ok()?;
    (id.merchant_number() == number.as_str()).then_some(id)
}

/// Keeps a difference, and calls for a person the first time.
async fn differs(
    app: &App,
    channel: &ChannelName,
    notice: RefundNotice,
    refund: Option<&Refund>,
    what: String,
    inbox: u64,
) -> Result<Ending, Trouble> {
    let order = match (refund, notice.order.as_ref().and_then(callback::order_of), &notice.provider_txn) {
        (Some(refund), _, _) => Some((refund.order, refund.account)),
        (None, Some(order), _) => callback::find(app, order)
            .await?
            .filter(|it| it.channel == *channel)
            .map(|it| (it.order, it.account)),
        (None, None, Some(txn)) => {
            top_ups::paid_by(&app.db, channel, txn).await?.map(|it| (it.order, it.account))
        }
        (None, None, None) => None,
    };
    let (amount, what) = match (notice.is_total, order) {
        (true, Some((order, _))) => match excess(app, channel, notice.amount, order).await? {
            // All of it is known, or was told of before.
            ..=0 => return Ok(Ending::Noted),
            minor => {
                let what = format!("{what}; {} went back of this payment so far", notice.amount);
                (Money { minor, ..notice.amount }, what)
            }
        },
        (true, None) | (false, _) => (notice.amount, what),
    };
    let it = OutsideRefund {
        id: Uuid::now_v7(),
        channel: channel.clone(),
        order: order.map(|(order, _)| order),
        account: order.map(|(_, account)| account),
        order_number: notice.order,
        refund_number: notice.refund,
        provider_refund: notice.provider_refund,
        amount,
        what,
        inbox,
        state: OutsideRefundState::Open,
        note: None,
        resolved_by: None,
        created_at: now(),
        resolved_at: None,
    };
    note_outside_refund(app, &it).await?;
    Ok(Ending::Back { verdict: "refund_differs", detail: it.what })
}

/// The same, of a difference as it stands.
async fn note_outside_refund(app: &App, it: &OutsideRefund) -> Result<(), Trouble> {
    if app.directory.note_outside_refund(it).await? {
        tracing::error!(
            alert = "refund_differs", channel = %it.channel, inbox = it.inbox, amount = %it.amount, difference = %it.id,
            order = it.order_number.as_ref().map(Label::as_str), refund = it.refund_number.as_ref().map(Label::as_str),
            "money went back otherwise than the ledger knows: {}", it.what
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AccountId, OrderId};
    use projections::refunds::RefundStatus;

    fn money(text: &str) -> Money {
        let (amount, code) = text.split_once(' ').unwrap();
        Money::parse(amount, code.parse().unwrap()).unwrap()
    }

    fn refund() -> Refund {
        Refund {
            account: AccountId::from_uuid(Uuid::from_u128(1)),
            refund: RefundId::from_uuid(Uuid::from_u128(2)),
            order: OrderId::from_uuid(Uuid::from_u128(3)),
            channel: "alipay".parse().unwrap(),
            pay: money("20.00 CNY"),
            credits: "2".parse().unwrap(),
            reason: "not wanted".into(),
            status: RefundStatus::Approved,
            provider_refund: None,
            failure: None,
            created_at: Moment::from_micros(0),
            approved_at: None,
            ended_at: None,
            updated_at: Moment::from_micros(0),
            first_seq: 1,
            event_seq: 2,
        }
    }

    #[test]
    fn only_what_names_the_refund_in_full_is_that_refund() {
        let told = |order: Option<String>, amount: &str, is_total| RefundNotice {
            order: order.map(|it| Label::try_new(it).unwrap()),
            refund: None,
            provider_refund: None,
            provider_txn: None,
            amount: money(amount),
            is_total,
            state: RefundState::Done,
        };
        let own = || Some(refund().order.merchant_number());
        for (notice, fits) in [
            (told(own(), "20.00 CNY", false), true),
            (told(None, "20.00 CNY", false), true),
            (told(own(), "20.01 CNY", false), false),
            (told(own(), "19.99 CNY", false), false),
            (told(own(), "20.00 USD", false), false),
            (told(Some("0".repeat(32)), "20.00 CNY", false), false),
            // All that went back so far is at least this part of it.
            (told(own(), "20.00 CNY", true), true),
            (told(own(), "35.00 CNY", true), true),
            (told(own(), "19.99 CNY", true), false),
        ] {
            assert_eq!(unlike(&refund(), &notice).is_none(), fits, "{notice:?}");
        }
    }

    #[test]
    fn only_the_number_that_we_gave_is_a_refund() {
        let id = RefundId::from_uuid(Uuid::new_v4());
        let read = |text: &str| refund_of(&Label::try_new(text).unwrap());
        assert_eq!(read(&id.merchant_number()), Some(id));
        for other in [id.to_string(), id.merchant_number()[..31].to_owned(), "re_1".to_owned()] {
            assert_eq!(read(&other), None, "{other}");
        }
    }
}
