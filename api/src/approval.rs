//! The road of an operator's act: taken in the directory, done on the ledger, noted in the directory.
//!
//! May not touch: balances. What is approved is a command like any other.
//! Claims: a process may die anywhere on the road, two people may approve at once, and the act is done once: the directory lets
//! one decision through, and whoever comes by (the process that decided, or [`keep_doing`] of any) asks the ledger for the act
//! of that id. What is refused stays refused.

use crate::{
    directory::{
        Directory, DirectoryError,
        approval::{Approval, Asked},
        now,
    },
    session::actor,
};
use chrono::{DateTime, FixedOffset};
use domain::{ActorKind, Moment, Refusal, account::state::RefundStatus};
use ledger::{Ledger, LedgerError, Receipt};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often approved requests that nobody finished are looked for, and how old they are then at least.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const OLD_MS: i64 = 10_000;

/// Does what a request asks; the same receipt however often. The event names whoever asked; who approved, the request says.
pub async fn perform(
    ledger: &Ledger,
    directory: &Directory,
    request: &Approval,
) -> Result<Receipt, LedgerError> {
    let by = actor(ActorKind::Admin, request.requester);
    let Some(command) = request.command() else {
        return Err(LedgerError::Unfit("a request about a payment in suspense has a road of its own".into()));
    };
    if let Err(refusal) = prepare(ledger, directory, request).await? {
        note(request, directory.request_failed(request, &refusal.to_string()).await);
        return Err(refusal.into());
    }
    let done = ledger.execute(request.account, command, by, None).await;
    let noted = match &done {
        Ok(receipt) => directory.request_done(request, receipt.recorded.sequence).await,
        Err(LedgerError::Refused(refusal)) => directory.request_failed(request, &refusal.to_string()).await,
        // It stays on its way.
        Err(
            LedgerError::Contended { .. }
            | LedgerError::Unavailable(_)
            | LedgerError::Damaged(_)
            | LedgerError::Unfit(_)
            | LedgerError::UnknownEvent { .. },
        ) => Ok(()),
    };
    note(request, noted);
    if let (Ok(_), Asked::Settle { refund, .. }) = (&done, &request.asked) {
        note(request, directory.hurry_refund(*refund).await);
    }
    done
}

/// What is on the ledger has happened. A note that fails is made up for later.
fn note(request: &Approval, noted: Result<(), DirectoryError>) {
    if let Err(error) = noted {
        tracing::warn!(request = %request.id, %error, "what became of a request could not be noted; it is tried again");
    }
}

/// What comes before the ledger is asked: of a refund that a person ends, that nobody asks its gateway any more, and that they say
/// so on AUDIT. The refusal: it does not wait for a
/// person, but for its gateway.
async fn prepare(
    ledger: &Ledger,
    directory: &Directory,
    request: &Approval,
) -> Result<Result<(), Refusal>, LedgerError> {
    let Asked::Settle { refund, outcome, reference, reason, .. } = &request.asked else { return Ok(Ok(())) };
    let noted = directory
        .settle_refund(*refund, request.requester, outcome.as_str(), reference.as_ref(), reason.as_str())
        .await
        .map_err(|error| LedgerError::Unavailable(error.to_string()))?;
    // What is over was ended by this request before, or by another word: the ledger knows.
    let account = ledger.account(request.account).await?;
    let is_over = account.refunds.get(refund).is_some_and(|it| match it.status {
        RefundStatus::Completed { .. } | RefundStatus::Failed { .. } => true,
        RefundStatus::Requested | RefundStatus::Approved => false,
    });
    Ok(if noted || is_over { Ok(()) } else { Err(Refusal::RefundUnderWay(*refund)) })
}

/// Does what was approved and not done because a process died or the log was away, until told to stop. Run it as a task of
/// its own, in as many processes as you like.
pub async fn keep_doing(ledger: Ledger, directory: Directory, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = do_old(&ledger, &directory).await {
            tracing::warn!(%error, "approved requests could not be looked for");
        }
    }
}

async fn do_old(ledger: &Ledger, directory: &Directory) -> Result<(), DirectoryError> {
    for request in directory.unfinished_requests(now().plus_ms(-OLD_MS)).await? {
        if request.asked.payment().is_some() {
            // `payments::suspense` does those.
            continue;
        }
        match perform(ledger, directory, &request).await {
            Ok(receipt) => {
                let event_seq = receipt.recorded.sequence;
                tracing::info!(request = %request.id, event_seq, "an approved request was done after all");
            }
            Err(error) => {
                tracing::warn!(request = %request.id, %error, "an approved request is not done yet")
            }
        }
    }
    Ok(())
}

/// The operator's day of a moment, by which sums are counted: `2026-11-23`.
pub fn day(at: Moment, zone_minutes: i32) -> String {
    let utc = DateTime::from_timestamp_micros(at.micros()).unwrap_or_default();
    let zone = FixedOffset::east_opt(zone_minutes.saturating_mul(60));
    zone.map_or_else(|| utc.date_naive(), |zone| utc.with_timezone(&zone).date_naive()).to_string()
}
