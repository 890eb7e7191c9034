//! The desk: asks gateways for the refunds that were approved, and what became of them.
//!
//! For: the task that does so ([`keep_refunding`]), and what is done with a refund that is looked at ([`step`]).
//! May not touch: balances; what it finds out is booked by [`super::book`].
//! Claims: a gateway is asked only for what the log says is approved; that it is asked is written first, so after a death at any
//! moment it is known that it may have been; a refund that may have been given is asked about before it is asked for again, and
//! at a gateway that can not be asked about refunds, a person decides; several processes may do this at once.

use super::{Booked, OutsideRefund, OutsideRefundState, book, note_outside_refund};
use crate::app::App;
use crate::directory::now;
use crate::directory::refund::{CallState, RefundCall};
use crate::payments::callback::{Trouble, channel_actor};
use crate::payments::channel::{Channel, ChannelError, RefundState, RefundWish, Refunded};
use domain::{Label, Moment};
use futures_util::StreamExt;
use projections::refunds::{self, Refund, RefundStatus};
use projections::top_ups;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often the due refunds are looked for.
const WATCH: Duration = Duration::from_secs(1);
/// How many are claimed at once, and asked for at once.
const BATCH: i64 = 16;
const AT_ONCE: usize = 4;
/// How long a stop waits for a gateway's answer. What is broken off is asked about when its claim is over.
const GRACE: Duration = Duration::from_secs(5);
/// Where asking twice is paying twice: an approval that is older than this and was never asked for, in milliseconds, may have
/// been asked for by a process whose notes are lost with the database that held them.
const FRESH_MS: i64 = 600_000;
/// So often a gateway is asked to pay before a person looks.
const MOST_ATTEMPTS: i64 = 8;

/// Asks for refunds until told to stop. Run it as a task of its own, in as many processes as you like.
pub async fn keep_refunding(app: App, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = round(&app) => {}
            () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => break,
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(WATCH) => {}
        }
    }
}

/// Looks at all that is due.
pub(crate) async fn round(app: &App) {
    if let Err(error) = app.directory.adopt_refunds(100, now()).await {
        tracing::warn!(%error, "approved refunds cannot be looked for");
    }
    let claimed = app.directory.claim_refunds(BATCH, now()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the list of refunds cannot be read; it is looked at again");
        Vec::new()
    });
    futures_util::stream::iter(claimed)
        .for_each_concurrent(AT_ONCE, |call| async move { look(app, &call).await })
        .await;
}

/// What is done about a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Ask the gateway to give the money back.
    Ask,
    /// Ask it what became of it.
    Question,
    /// Wait for a person.
    Person,
    /// Nothing any more.
    Rest,
}

/// What comes next. `repeats`: asking the gateway twice is asking once. `approved_ms`: how long ago it was approved.
fn step(call: &RefundCall, repeats: bool, approved_ms: i64) -> Step {
    match (call.state, repeats) {
        (CallState::Due, false) if call.attempts == 0 && approved_ms > FRESH_MS => Step::Person,
        (CallState::Due, _) => Step::Ask,
        (CallState::Sending | CallState::Unknown, true) => Step::Question,
        (CallState::Sending | CallState::Unknown, false) => Step::Person,
        (CallState::Pending | CallState::Abnormal, _) => Step::Question,
        (CallState::Refused, _) => Step::Person,
        (CallState::Done, _) => Step::Rest,
    }
}

/// What is written of a refund that was looked at.
struct Note {
    state: CallState,
    next_at: Option<Moment>,
    error: Option<String>,
}

impl Note {
    fn done() -> Self {
        Self { state: CallState::Done, next_at: None, error: None }
    }

    fn later(state: CallState, next_at: Moment, error: Option<String>) -> Self {
        Self { state, next_at: Some(next_at), error }
    }
}

async fn look(app: &App, call: &RefundCall) {
    let note = match judge(app, call).await {
        Ok(Some(note)) => note,
        // Somebody else has it.
        Ok(None) => return,
        Err(trouble) => {
            tracing::warn!(refund = %call.refund, "a refund could not be looked after; it is tried again: {trouble}");
            // What was written before the gateway was asked stays true.
            match app.directory.refund_call(call.refund).await {
                Ok(Some(found)) => Note::later(found.state, pause(app, call), Some(trouble.to_string())),
                Ok(None) | Err(_) => return,
            }
        }
    };
    let noted = app.directory.note_refund_call(call, note.state, note.next_at, note.error.as_deref()).await;
    if let Err(error) = noted {
        tracing::warn!(refund = %call.refund, %error, "the list of refunds cannot be written; the claim ends by itself");
    }
}

/// When a refund is looked at again: rarer each time, as orders are.
fn pause(app: &App, call: &RefundCall) -> Moment {
    let live = app.live.now();
    let pauses = &live.topup.poll_seconds;
    let nth =
        usize::try_from(call.claims.max(1) - 1).unwrap_or(usize::MAX).min(pauses.len().saturating_sub(1));
    now().plus_ms(pauses.get(nth).map_or(60_000, |seconds| i64::from((*seconds).max(1)) * 1000))
}

async fn judge(app: &App, call: &RefundCall) -> Result<Option<Note>, Trouble> {
    let Some(refund) = refunds::get(&app.db, call.account, call.refund).await? else {
        // The tables are being made anew.
        return Ok(Some(Note::later(call.state, now().plus_ms(10_000), None)));
    };
    match refund.status {
        RefundStatus::Completed | RefundStatus::Failed => return Ok(Some(Note::done())),
        RefundStatus::Requested => {
            return Ok(Some(Note::later(call.state, now().plus_ms(10_000), None)));
        }
        RefundStatus::Approved => {}
    }
    let Some(channel) = app.channels.get(refund.channel.as_str()) else {
        let error = "the channel is off, or not configured any more".to_owned();
        return Ok(Some(Note::later(call.state, pause(app, call), Some(error))));
    };
    let Some(wish) = wish(app, &refund).await? else {
        return Ok(Some(Note::later(call.state, now().plus_ms(10_000), None)));
    };
    let approved = refund.approved_at.unwrap_or(refund.created_at);
    let approved_ms = (now().micros() - approved.micros()) / 1000;
    let at = Look { app, channel: channel.as_ref(), call, refund: &refund, wish: &wish };
    match step(call, channel.repeats_refunds(), approved_ms) {
        Step::Ask => at.ask().await,
        Step::Question => at.question().await.map(Some),
        Step::Person => {
            let state =
                if call.state == CallState::Refused { CallState::Refused } else { CallState::Unknown };
            let error = call.last_error.clone();
            let error = error.unwrap_or_else(|| {
                "the gateway was asked, or may have been, and nobody knows what became of it; it cannot be asked".to_owned()
            });
            Ok(Some(at.calls_for_a_person(state, error)))
        }
        Step::Rest => Ok(Some(Note::done())),
    }
}

async fn wish(app: &App, refund: &Refund) -> Result<Option<RefundWish>, Trouble> {
    let order = top_ups::get(&app.db, refund.account, refund.order).await?;
    let Some((order, provider_txn)) = order.and_then(|it| it.provider_txn.clone().map(|txn| (it, txn)))
    else {
        return Ok(None);
    };
    Ok(Some(RefundWish {
        order: order.order,
        paid: order.pay,
        provider_txn,
        reference: app.directory.payment_reference(order.order).await?,
        refund: Label::try_new(refund.refund.merchant_number())?,
        amount: refund.pay,
        reason: refund.reason.chars().take(80).collect(),
    }))
}

/// A look at one refund.
struct Look<'a> {
    app: &'a App,
    channel: &'a dyn Channel,
    call: &'a RefundCall,
    refund: &'a Refund,
    wish: &'a RefundWish,
}

impl Look<'_> {
    /// Asks the gateway to give the money back; `None`: somebody else has the refund by now.
    async fn ask(&self) -> Result<Option<Note>, Trouble> {
        if self.call.attempts >= MOST_ATTEMPTS && self.call.state != CallState::Due {
            let error =
                format!("the gateway was asked {} times, and knows nothing of it", self.call.attempts);
            return Ok(Some(self.calls_for_a_person(CallState::Unknown, error)));
        }
        if !self.app.directory.begin_refund_call(self.call).await? {
            return Ok(None);
        }
        let answer = self.channel.refund(self.wish).await;
        let note = match answer {
            Ok(told) => self.take(told).await?,
            Err(ChannelError::Unreachable(why)) if self.channel.repeats_refunds() => {
                tracing::warn!(channel = %self.refund.channel, refund = %self.refund.refund, "a gateway does not answer for a refund: {why}");
                Note::later(CallState::Unknown, pause(self.app, self.call), Some(why))
            }
            Err(ChannelError::Unreachable(why)) => self.calls_for_a_person(CallState::Unknown, why),
            Err(error @ ChannelError::Unsupported(_)) => {
                self.calls_for_a_person(CallState::Refused, error.to_string())
            }
            Err(ChannelError::Refused(why)) => {
                // It may refuse because an earlier try went through; then it knows the refund.
                match self.channel.query_refund(self.wish).await {
                    Ok(told) if told.state.is_some() => self.take(told).await?,
                    Ok(_) | Err(_) => self.calls_for_a_person(CallState::Refused, why),
                }
            }
        };
        Ok(Some(note))
    }

    /// Asks the gateway what became of it, and for it again where it knows nothing.
    async fn question(&self) -> Result<Note, Trouble> {
        let next = pause(self.app, self.call);
        match self.channel.query_refund(self.wish).await {
            Ok(told) if told.state.is_some() => self.take(told).await,
            Ok(_) if matches!(self.call.state, CallState::Pending | CallState::Abnormal) => {
                let error = "the gateway had taken the refund, and knows nothing of it now".to_owned();
                Ok(self.calls_for_a_person(CallState::Unknown, error))
            }
            Ok(_) | Err(ChannelError::Unsupported(_)) => {
                Ok(self.ask().await?.unwrap_or_else(|| Note::later(CallState::Unknown, next, None)))
            }
            Err(error @ (ChannelError::Unreachable(_) | ChannelError::Refused(_))) => {
                tracing::warn!(channel = %self.refund.channel, refund = %self.refund.refund, "a gateway cannot be asked about a refund: {error}");
                Ok(Note::later(self.call.state, next, Some(error.to_string())))
            }
        }
    }

    /// What a gateway says.
    async fn take(&self, told: Refunded) -> Result<Note, Trouble> {
        let next = pause(self.app, self.call);
        let state = match told.state {
            None => {
                let error = "the gateway took the question and did not say what became of it".to_owned();
                return Ok(Note::later(CallState::Unknown, next, Some(error)));
            }
            Some(RefundState::Pending) => return Ok(Note::later(CallState::Pending, next, None)),
            Some(RefundState::Abnormal) => {
                let error =
                    "the gateway could not pass the money on; help it on at the gateway's own console"
                        .to_owned();
                if self.call.state != CallState::Abnormal {
                    drop(self.calls_for_a_person(CallState::Abnormal, error.clone()));
                }
                return Ok(Note::later(CallState::Abnormal, next, Some(error)));
            }
            Some(state @ (RefundState::Done | RefundState::Failed)) => state,
        };
        let actor = channel_actor(&self.refund.channel)?;
        match book(self.app, self.refund, state, told.provider_refund.clone(), actor).await? {
            Booked::Yes | Booked::NotYet => Ok(Note::done()),
            Booked::Contradicts(why) => {
                let it = OutsideRefund {
                    id: Uuid::now_v7(),
                    channel: self.refund.channel.clone(),
                    order: Some(self.refund.order),
                    account: Some(self.refund.account),
                    order_number: Label::try_new(self.refund.order.merchant_number()).ok(),
                    refund_number: Some(self.wish.refund.clone()),
                    provider_refund: told.provider_refund,
                    amount: self.refund.pay,
                    what: format!("the gateway says {}, and here {why}", super::word(state)),
                    inbox: 0,
                    state: OutsideRefundState::Open,
                    note: None,
                    resolved_by: None,
                    created_at: now(),
                    resolved_at: None,
                };
                note_outside_refund(self.app, &it).await?;
                Ok(Note::done())
            }
        }
    }

    fn calls_for_a_person(&self, state: CallState, error: String) -> Note {
        tracing::error!(
            alert = "refund_waits", channel = %self.refund.channel, account = %self.refund.account, order = %self.refund.order,
            refund = %self.refund.refund, amount = %self.refund.pay, state = state.as_str(),
            "a refund waits for a person: {error}"
        );
        Note { state, next_at: None, error: Some(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AccountId, RefundId};

    fn call(state: CallState, attempts: i64) -> RefundCall {
        RefundCall {
            refund: RefundId::from_uuid(Uuid::from_u128(1)),
            account: AccountId::from_uuid(Uuid::from_u128(2)),
            state,
            attempts,
            next_at: None,
            last_error: None,
            updated_at: Moment::from_micros(0),
            claims: 1,
        }
    }

    #[test]
    fn what_may_have_been_given_is_asked_about_and_never_given_blindly_again() {
        let young = FRESH_MS;
        for (state, attempts, repeats, approved_ms, expected) in [
            (CallState::Due, 0, true, young, Step::Ask),
            (CallState::Due, 0, true, 100 * young, Step::Ask),
            (CallState::Due, 0, false, young, Step::Ask),
            // Approved long ago and never asked for, as far as this database knows.
            (CallState::Due, 0, false, young + 1, Step::Person),
            // By an operator's word.
            (CallState::Due, 1, false, 100 * young, Step::Ask),
            (CallState::Sending, 1, true, young, Step::Question),
            (CallState::Unknown, 1, true, young, Step::Question),
            (CallState::Sending, 1, false, young, Step::Person),
            (CallState::Unknown, 1, false, young, Step::Person),
            (CallState::Pending, 1, true, young, Step::Question),
            (CallState::Pending, 1, false, young, Step::Question),
            (CallState::Abnormal, 1, true, young, Step::Question),
            (CallState::Refused, 1, true, young, Step::Person),
            (CallState::Refused, 1, false, young, Step::Person),
            (CallState::Done, 1, true, young, Step::Rest),
        ] {
            assert_eq!(
                step(&call(state, attempts), repeats, approved_ms),
                expected,
                "{state:?} {attempts} {repeats}"
            );
        }
    }
}
