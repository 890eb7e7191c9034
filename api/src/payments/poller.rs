//! The poller: orders whose callback does not come are asked about at their gateway.
//!
//! For: when to ask ([`Schedule`]), what follows from the answer, and the end of orders that nobody paid.
//! May not touch: balances. A payment that it finds takes the callback road's own last part: one command to the ledger.
//! Claims: an order is asked about by one process at a time; an unpaid one is closed at the gateway before it is closed here;
//! a payment that comes after that still credits; a gateway that does not answer keeps its orders open for a day and then
//! calls for a person.

use super::callback::{self, Ending};
use super::channel::{Channel, ChannelError, Closing, NewOrder, Payer, PaymentState};
use crate::app::App;
use crate::directory::DirectoryError;
use crate::directory::now;
use crate::directory::payment::ClaimedOrder;
use crate::session::gateway;
use domain::account::event::CloseReason;
use domain::{Command, Moment, Refusal};
use futures_util::StreamExt;
use ledger::LedgerError;
use projections::top_ups::{self, OrderStatus, TopUpOrder};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the due orders are looked for.
const WATCH: Duration = Duration::from_secs(1);
/// How often orders without a row are looked for, and old notes forgotten, in rounds of [`WATCH`].
const ADOPT_EVERY: u64 = 10;
const FORGET_EVERY: u64 = 3_600;
/// How many are claimed at once, and asked about at once.
const BATCH: i64 = 16;
const AT_ONCE: usize = 4;
/// How long a stop waits for a gateway's answer. What is broken off is asked again when its claim is over.
const GRACE: Duration = Duration::from_secs(5);
/// How long a gateway that does not answer keeps an expired order open: a day, in milliseconds.
const PATIENCE_MS: i64 = 24 * 3_600_000;
/// After its end an order is looked at again so many of the last pause later: with ten minutes, after ten minutes, an hour,
/// six hours and a day.
const LATE: [i64; 4] = [1, 6, 36, 144];

/// When an order is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Milliseconds after its opening; the last one repeats.
    pauses_ms: Vec<i64>,
}

impl Schedule {
    /// From the operator's seconds, which are at least one and above zero.
    pub fn new(seconds: &[u32]) -> Self {
        let pauses_ms = seconds.iter().map(|it| i64::from((*it).max(1)) * 1000).collect();
        Self { pauses_ms }
    }

    fn last_ms(&self) -> i64 {
        self.pauses_ms.last().copied().unwrap_or(600_000)
    }

    /// The first look at an order opened at that time.
    pub fn first(&self, opened: Moment) -> Moment {
        opened.plus_ms(self.pauses_ms.first().copied().unwrap_or(30_000))
    }

    /// The next look after `at`, the last of them at the order's end.
    fn next(&self, opened: Moment, ends: Moment, at: Moment) -> Moment {
        let named = self.pauses_ms.iter().map(|pause| opened.plus_ms(*pause)).find(|look| *look > at);
        let next = named.unwrap_or_else(|| at.plus_ms(self.last_ms()));
        if at < ends { next.min(ends) } else { next }
    }

    /// The next look at an order that has ended; `None`: nobody looks again.
    fn late(&self, ends: Moment, at: Moment) -> Option<Moment> {
        LATE.iter().map(|times| ends.plus_ms(times.saturating_mul(self.last_ms()))).find(|look| *look > at)
    }
}

/// Asks about orders until told to stop. Run it as a task of its own.
pub async fn keep_polling(app: App, stop: CancellationToken) {
    for round in 0_u64.. {
        let schedule = Schedule::new(&app.live.now().topup.poll_seconds);
        if round.is_multiple_of(ADOPT_EVERY)
            && let Err(error) = app.directory.adopt_orders(100, now()).await
        {
            tracing::warn!(%error, "orders without a place in the poller's list cannot be looked for");
        }
        if round.is_multiple_of(FORGET_EVERY) {
            let old = now().plus_ms(-i64::from(app.config.inbox_days) * 86_400_000);
            if let Err(error) = app.directory.forget_callbacks(old).await {
                tracing::warn!(%error, "old notes of callbacks cannot be forgotten");
            }
        }
        let claimed = app.directory.claim_orders(BATCH, now()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the poller's list cannot be read; it is looked at again");
            Vec::new()
        });
        let (app, schedule) = (&app, &schedule);
        let looking = futures_util::stream::iter(claimed)
            .for_each_concurrent(AT_ONCE, |order| async move { look(app, schedule, &order).await });
        tokio::select! {
            () = looking => {}
            () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => break,
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(WATCH) => {}
        }
    }
}

/// What is done about an order, and when it is looked at next.
enum Next {
    At(Moment),
    Never,
}

async fn look(app: &App, schedule: &Schedule, claimed: &ClaimedOrder) {
    let next = match judge(app, schedule, claimed).await {
        Ok(Next::At(at)) => Some(at),
        Ok(Next::Never) => None,
        Err(error) => {
            tracing::warn!(order = %claimed.order, "an order could not be looked after; it is tried again: {error}");
            Some(now().plus_ms(schedule.last_ms().min(60_000)))
        }
    };
    if let Err(error) = app.directory.release_order(claimed, next).await {
        tracing::warn!(order = %claimed.order, %error, "the poller's list cannot be written; the claim ends by itself");
    }
}

/// What kept an order from being looked after.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Database(#[from] projections::DatabaseError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Text(#[from] domain::text::TextError),
}

async fn judge(app: &App, schedule: &Schedule, claimed: &ClaimedOrder) -> Result<Next, PollError> {
    let Some(order) = top_ups::get(&app.db, claimed.account, claimed.order).await? else {
        // The tables trail the log by a moment. An order that never gets there is none.
        return Ok(Next::At(now().plus_ms(10_000)));
    };
    if order.status == OrderStatus::Completed {
        return Ok(Next::Never);
    }
    let is_open = order.status == OrderStatus::Pending;
    let at = now();
    let Some(channel) = app.channels.get(order.channel.as_str()) else {
        return without_channel(app, schedule, &order, is_open, at).await;
    };
    let asked = NewOrder {
        order: order.order,
        pay: order.pay,
        method: channel.methods().iter().map(|it| it.name).find(|it| Some(*it) == claimed.method.as_deref()),
        expires_at: order.expires_at,
        payer: Payer::default(),
        reference: claimed.reference.clone(),
    };
    match channel.query(&asked).await {
        Ok(PaymentState::Paid(payment)) => paid(app, channel.as_ref(), schedule, &order, payment, at).await,
        Ok(PaymentState::Closed(reason)) if is_open => {
            close(app, &order, reason).await?;
            Ok(Next::Never)
        }
        Ok(PaymentState::Closed(_)) => Ok(Next::Never),
        Ok(PaymentState::Waiting | PaymentState::Unknown) if !is_open => {
            Ok(schedule.late(order.expires_at, at).map_or(Next::Never, Next::At))
        }
        Ok(PaymentState::Waiting | PaymentState::Unknown) if at < order.expires_at => {
            Ok(Next::At(schedule.next(order.created_at, order.expires_at, at)))
        }
        Ok(PaymentState::Waiting | PaymentState::Unknown) => {
            end(app, channel.as_ref(), schedule, &order, &asked, at).await
        }
        Err(error) => unanswered(app, schedule, &order, is_open, at, &error).await,
    }
}

/// An order's time is over and nobody has paid: first the gateway takes no payment any more, then the order ends here.
async fn end(
    app: &App,
    channel: &dyn Channel,
    schedule: &Schedule,
    order: &TopUpOrder,
    asked: &NewOrder,
    at: Moment,
) -> Result<Next, PollError> {
    match channel.close(asked).await {
        Ok(Closing::Closed) => {
            close(app, order, CloseReason::Expired).await?;
            Ok(Next::Never)
        }
        // Paid between our two questions: the next look finds it.
        Ok(Closing::Paid) => Ok(Next::At(at.plus_ms(1_000))),
        // Somebody may still pay; then the callback credits, or one of the late looks.
        Ok(Closing::Impossible) | Err(ChannelError::Unsupported(_)) => {
            close(app, order, CloseReason::Expired).await?;
            Ok(schedule.late(order.expires_at, at).map_or(Next::Never, Next::At))
        }
        Err(error @ (ChannelError::Unreachable(_) | ChannelError::Refused(_))) => {
            unanswered(app, schedule, order, true, at, &error).await
        }
    }
}

async fn paid(
    app: &App,
    channel: &dyn Channel,
    schedule: &Schedule,
    order: &TopUpOrder,
    payment: super::Payment,
    at: Moment,
) -> Result<Next, PollError> {
    match callback::found_paid(app, channel, payment).await {
        Ending::Credited => {
            tracing::info!(channel = %order.channel, order = %order.order, "a payment was found without its callback");
            Ok(Next::Never)
        }
        // In suspense a person has it.
        Ending::Suspended { .. } => Ok(Next::Never),
        Ending::Closed
        | Ending::Noted
        | Ending::Back { .. }
        | Ending::NotBelieved(_)
        | Ending::UnknownOrder
        | Ending::Later(_) => Ok(Next::At(at.plus_ms(schedule.last_ms().min(60_000)))),
    }
}

/// The gateway does not answer, or answers what cannot be understood.
async fn unanswered(
    app: &App,
    schedule: &Schedule,
    order: &TopUpOrder,
    is_open: bool,
    at: Moment,
    error: &ChannelError,
) -> Result<Next, PollError> {
    tracing::warn!(channel = %order.channel, order = %order.order, "a gateway cannot be asked about an order: {error}");
    if !is_open {
        return Ok(schedule.late(order.expires_at, at).map_or(Next::Never, Next::At));
    }
    if at < order.expires_at.plus_ms(PATIENCE_MS) {
        return Ok(Next::At(schedule.next(order.created_at, order.expires_at, at)));
    }
    give_up(app, order).await
}

/// The order's channel is not configured any more, or is off.
async fn without_channel(
    app: &App,
    schedule: &Schedule,
    order: &TopUpOrder,
    is_open: bool,
    at: Moment,
) -> Result<Next, PollError> {
    if !is_open {
        return Ok(Next::Never);
    }
    if at < order.expires_at.plus_ms(PATIENCE_MS) {
        return Ok(Next::At(schedule.next(order.created_at, order.expires_at, at)));
    }
    give_up(app, order).await
}

async fn give_up(app: &App, order: &TopUpOrder) -> Result<Next, PollError> {
    tracing::error!(
        alert = "order_given_up", channel = %order.channel, order = %order.order,
        "an order expired a day ago and its gateway could not be asked whether it was paid"
    );
    close(app, order, CloseReason::Expired).await?;
    Ok(Next::Never)
}

async fn close(app: &App, order: &TopUpOrder, reason: CloseReason) -> Result<(), PollError> {
    let command = Command::CloseTopUp { order: order.order, reason };
    match app.ledger.execute(order.account, command, gateway("poller"), None).await {
        Ok(_) => {
            tracing::info!(channel = %order.channel, order = %order.order, "an unpaid order has ended");
            Ok(())
        }
        // A callback was faster.
        Err(LedgerError::Refused(Refusal::OrderPaid(_))) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_grow_rarer_until_the_end_and_go_on_for_a_day() {
        let schedule = Schedule::new(&[30, 120, 600]);
        let second = |n: i64| Moment::from_micros(n * 1_000_000);
        let (opened, ends) = (second(0), second(1800));
        let mut at = schedule.first(opened);
        let mut looks = vec![at];
        while at < ends {
            at = schedule.next(opened, ends, at);
            looks.push(at);
        }
        assert_eq!(looks, [30, 120, 600, 1200, 1800].map(second));
        let mut late = Vec::new();
        while let Some(next) = schedule.late(ends, at) {
            at = next;
            late.push(next);
        }
        assert_eq!(late, [2400, 5400, 23_400, 88_200].map(second));
    }
}
