//! The end of a payment in suspense, once a second person has approved it.
//!
//! For: claiming it for a user, giving it back, dismissing it ([`perform`]); finishing what a process died over
//! ([`keep_doing`]); the alert when many callbacks are not believed; gateways' keys, twice a day.
//! May not touch: balances. A claimed payment becomes an order of its owner's, and is credited like any other.
//! Claims: the directory lets one request about a payment come true, and the log lets one act end it; a death anywhere in
//! between neither loses nor doubles it. A channel is asked under the request's own number; where it does not know such numbers
//! it is asked once, and what nobody can tell is left to a person.

use super::callback;
use super::channel::{ChannelError, RefundState, RefundWish, Refunded};
use crate::app::App;
use crate::directory::approval::{Approval, Asked};
use crate::directory::suspense::End;
use crate::directory::{DirectoryError, now};
use crate::session::actor;
use domain::event::{PaymentSuspended, Resolution, ReturnedBy};
use domain::suspense::Held;
use domain::{
    Actor, ActorKind, ChannelName, Command, Credits, EventId, Label, Moment, Money, OrderId, Reason,
};
use ledger::LedgerError;
use ledger::suspense::SuspenseAct;
use projections::top_ups;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often approved requests that nobody finished are looked for, and how old they are then at least.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const OLD_MS: i64 = 10_000;
/// How long a first question to a channel may be under way: longer than any of its calls.
const UNDER_WAY_MS: i64 = 120_000;
/// How often gateways are asked for their keys.
const LEARN_EVERY: Duration = Duration::from_secs(12 * 3_600);
/// So many callbacks that are not believed within ten minutes are an alert.
const MANY: i64 = 10;
const MANY_WITHIN_MS: i64 = 600_000;

/// What keeps an approved end from being done now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The log.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The tables.
    #[error(transparent)]
    Database(#[from] projections::DatabaseError),
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A text that cannot be written to the log.
    #[error(transparent)]
    Text(#[from] domain::text::TextError),
    /// The gateway does not answer.
    #[error("{0}")]
    Channel(String),
    /// The gateway has accepted the refund and not made it.
    #[error("the channel has accepted the refund; it is not done yet")]
    Pending,
}

/// What a request asks, taken apart.
struct Wish<'a> {
    request: &'a Approval,
    channel: &'a ChannelName,
    payment: u64,
    paid: Money,
    reason: &'a Reason,
}

/// Does what an approved request asks; the same end however often. What cannot be done at all is noted with the request.
pub async fn perform(app: &App, request: &Approval) -> Result<(), Trouble> {
    let (wish, end) = match &request.asked {
        Asked::Suspense { channel, payment, paid, end, reason } => {
            (Wish { request, channel, payment: *payment, paid: *paid, reason }, end)
        }
        Asked::Adjustment { .. } | Asked::Grant { .. } | Asked::Refund { .. } | Asked::Settle { .. } => {
            return Ok(());
        }
    };
    let state = app.ledger.log().suspense(wish.channel).await?;
    let Some(held) = state.get(wish.payment) else {
        return fail(app, request, "no such payment is in suspense").await;
    };
    let mine = held.resolved.as_ref().filter(|it| it.act == act_id(request)).map(|it| it.sequence);
    if held.resolved.is_some() && mine.is_none() {
        return fail(app, request, "the payment was resolved before, by another act").await;
    }
    match end {
        End::Claim { credits } => claim(app, &wish, held, *credits, mine).await,
        End::Return { by: ReturnedBy::Hand, reference } => {
            let resolution = Resolution::Returned { by: ReturnedBy::Hand, reference: reference.clone() };
            resolve(app, &wish, resolution).await
        }
        End::Return { by: ReturnedBy::Channel, .. } => match mine {
            Some(sequence) => Ok(app.directory.request_done(request, sequence).await?),
            None => give_back(app, &wish, held).await,
        },
        End::Dismiss => resolve(app, &wish, Resolution::Dismissed).await,
    }
}

/// The order that a claim makes: the request's own id, so that it is made once.
pub fn claimed_order(request: &Approval) -> OrderId {
    OrderId::from_uuid(request.id)
}

/// The order that a transaction of a channel has paid, if it has paid one.
pub async fn paid_by(
    app: &App,
    channel: &ChannelName,
    provider_txn: &Label,
) -> Result<Option<OrderId>, projections::DatabaseError> {
    Ok(top_ups::paid_by(&app.db, channel, provider_txn).await?.map(|it| it.order))
}

/// First the payment is this user's and nobody else's; then an order takes it, and is paid by it.
async fn claim(
    app: &App,
    wish: &Wish<'_>,
    held: &Held,
    credits: Credits,
    mine: Option<u64>,
) -> Result<(), Trouble> {
    let (request, order) = (wish.request, claimed_order(wish.request));
    let PaymentSuspended { provider_txn, .. } = &held.payment;
    if mine.is_none() {
        if paid_by(app, wish.channel, provider_txn).await?.is_some_and(|paid| paid != order) {
            return fail(app, request, "this transaction has paid an order already").await;
        }
        let resolution = Resolution::Claimed { account: request.account, order };
        if let Err(refusal) = act(app, wish, resolution).await? {
            return fail(app, request, &refusal).await;
        }
    }
    let begin = Command::InitiateTopUp {
        order,
        channel: wish.channel.clone(),
        pay: wish.paid,
        credits,
        expires_at: request.created_at.plus_ms(app.live.now().topup.order_life_ms),
    };
    let by = actor(ActorKind::Admin, request.requester);
    app.ledger.execute(request.account, begin, by, None).await?;
    let complete = Command::CompleteTopUp {
        order,
        channel: wish.channel.clone(),
        provider_txn: provider_txn.clone(),
        paid: wish.paid,
    };
    let by = Actor { kind: ActorKind::Channel, id: Label::try_new(wish.channel.as_str())? };
    let receipt = app.ledger.execute(request.account, complete, by, None).await?;
    tracing::info!(
        channel = %wish.channel, account = %request.account, %order, payment = wish.payment,
        sequence = receipt.recorded.sequence, "a payment in suspense was claimed and credited"
    );
    Ok(app.directory.request_done(request, receipt.recorded.sequence).await?)
}

async fn give_back(app: &App, wish: &Wish<'_>, held: &Held) -> Result<(), Trouble> {
    let request = wish.request;
    let Some(channel) = app.channels.get(wish.channel.as_str()) else {
        return fail(app, request, "the channel is off; switch it on, or give the money back by hand").await;
    };
    let Some(order) = callback::order_of(&held.payment.order) else {
        let why = "the order's number is not one of ours; give the money back by hand";
        return fail(app, request, why).await;
    };
    let refund = RefundWish {
        order,
        paid: wish.paid,
        provider_txn: held.payment.provider_txn.clone(),
        reference: app.directory.payment_reference(order).await?,
        refund: Label::try_new(request.id.simple().to_string())?,
        amount: wish.paid,
        reason: wish.reason.to_string(),
    };
    let answer = match app.directory.begin_return(request.id).await? {
        None => channel.refund(&refund).await,
        Some(began) => match channel.query_refund(&refund).await {
            Ok(Refunded { state: None, .. }) => channel.refund(&refund).await,
            Err(ChannelError::Unsupported(_)) if now() >= began.plus_ms(UNDER_WAY_MS) => {
                let why = "the channel was asked for the refund and nobody knows what came of it, nor can it be asked: look there, \
                           then note it as given back by hand, or ask again";
                return fail(app, request, why).await;
            }
            Err(ChannelError::Unsupported(_)) => return Err(Trouble::Pending),
            other => other,
        },
    };
    match answer {
        Ok(Refunded { state: Some(RefundState::Done), provider_refund }) => {
            let reference = Some(provider_refund.unwrap_or(refund.refund));
            resolve(app, wish, Resolution::Returned { by: ReturnedBy::Channel, reference }).await
        }
        Ok(Refunded { state: Some(RefundState::Pending | RefundState::Abnormal) | None, .. }) => {
            Err(Trouble::Pending)
        }
        Ok(Refunded { state: Some(RefundState::Failed), .. }) => {
            fail(app, request, "the channel says that the refund failed").await
        }
        Err(ChannelError::Unreachable(why)) => Err(Trouble::Channel(why)),
        Err(error @ (ChannelError::Refused(_) | ChannelError::Unsupported(_))) => {
            fail(app, request, &error.to_string()).await
        }
    }
}

/// Ends the payment on the log, and the request with it.
async fn resolve(app: &App, wish: &Wish<'_>, resolution: Resolution) -> Result<(), Trouble> {
    match act(app, wish, resolution).await? {
        Ok(sequence) => {
            tracing::info!(
                channel = %wish.channel, payment = wish.payment, sequence, kind = %wish.request.asked.kind(),
                "a payment in suspense was resolved"
            );
            Ok(app.directory.request_done(wish.request, sequence).await?)
        }
        Err(refusal) => fail(app, wish.request, &refusal).await,
    }
}

/// The act on the log; `Err`: the log refuses it.
async fn act(app: &App, wish: &Wish<'_>, resolution: Resolution) -> Result<Result<u64, String>, Trouble> {
    let act = SuspenseAct {
        id: act_id(wish.request),
        actor: actor(ActorKind::Admin, wish.request.requester),
        payment: wish.payment,
        resolution,
        reason: wish.reason.clone(),
    };
    match app.ledger.log().resolve_payment(wish.channel, &act).await {
        Ok(sequence) => Ok(Ok(sequence)),
        Err(LedgerError::Refused(refusal)) => Ok(Err(refusal.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn act_id(request: &Approval) -> EventId {
    EventId::from_uuid(request.id)
}

async fn fail(app: &App, request: &Approval, why: &str) -> Result<(), Trouble> {
    tracing::warn!(request = %request.id, payment = request.asked.payment(), "an end of a payment in suspense is refused: {why}");
    Ok(app.directory.request_failed(request, why).await?)
}

/// Does what was approved and not done because a process died or somebody did not answer, until told to stop. Run it as a task
/// of its own, in as many processes as you like.
pub async fn keep_doing(app: App, stop: CancellationToken) {
    let (mut alerted, mut learnt) = (Moment::from_micros(0), Instant::now());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = do_old(&app, OLD_MS).await {
            tracing::warn!(%error, "approved ends of payments in suspense could not be looked for");
        }
        if learnt.elapsed() >= LEARN_EVERY {
            learnt = Instant::now();
            learn(&app).await;
        }
        match quarantine_alert(&app, alerted).await {
            Ok(at) => alerted = at,
            Err(error) => tracing::debug!(%error, "callbacks that are not believed could not be counted"),
        }
    }
}

/// Asks the gateways for the keys that they sign with now: certificates change before the old ones end.
async fn learn(app: &App) {
    for channel in app.channels.all() {
        match channel.learn_keys().await {
            Ok(true) => tracing::info!(channel = %channel.name(), "a gateway has new keys"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(channel = %channel.name(), "a gateway's keys cannot be asked for: {error}")
            }
        }
    }
}

/// Does what was approved so long ago and is not done.
pub(crate) async fn do_old(app: &App, old_ms: i64) -> Result<(), DirectoryError> {
    for request in app.directory.unfinished_requests(now().plus_ms(-old_ms)).await? {
        if request.asked.payment().is_none() {
            continue;
        }
        match perform(app, &request).await {
            Ok(()) => {
                tracing::info!(request = %request.id, "an approved end of a payment in suspense was done after all")
            }
            // A gateway that takes its time is nothing to worry about.
            Err(error @ Trouble::Pending) => tracing::info!(request = %request.id, "{error}"),
            Err(error) => {
                tracing::warn!(request = %request.id, "an approved end of a payment in suspense is not done yet: {error}")
            }
        }
    }
    Ok(())
}

/// Calls for a person where many callbacks are not believed, once in a while. Answers when it last did.
async fn quarantine_alert(app: &App, before: Moment) -> Result<Moment, DirectoryError> {
    let at = now();
    if at < before.plus_ms(MANY_WITHIN_MS) {
        return Ok(before);
    }
    let counts = app.directory.quarantine(at.plus_ms(-MANY_WITHIN_MS)).await?;
    let all: i64 = counts.iter().map(|it| it.count).sum();
    if all < MANY {
        return Ok(before);
    }
    for it in counts {
        tracing::error!(
            alert = "callbacks_not_believed", channel = %it.channel, verdict = it.verdict, count = it.count,
            last_inbox = it.last_inbox, "many payment callbacks of the last ten minutes are not believed"
        );
    }
    Ok(at)
}
