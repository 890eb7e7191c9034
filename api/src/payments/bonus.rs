//! The bonus beside a top-up: promised when the order is opened, granted when it is paid.
//!
//! For: granting what is due, at once after the credit and, where that failed, by a task that looks for it.
//! May not touch: what decides how much; those are the terms ([`super::terms`]), by which the promise was made.
//! Claims: an order's bonus is granted once, whoever tries: the grant is named after the order. A payment is credited whether or
//! not its bonus could be granted. What goes back of the payment takes the bonus along: the ledger decides that.

use crate::app::App;
use crate::directory::bonus::{Bonus, BonusState};
use crate::directory::{Directory, DirectoryError, now};
use crate::session::gateway;
use domain::account::event::GrantSource;
use domain::{Command, GrantId, OrderId, Reason, Refusal};
use ledger::{Ledger, LedgerError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the task looks for what is owed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How far back it looks. A payment that comes later than this after its order still has its bonus, at once and by no second try.
const LOOK_BACK_MS: i64 = 40 * 86_400_000;
/// How many it grants at once.
const PAGE: i64 = 200;

/// Grants the bonus of an order that was paid just now, if it has one. What fails is left to [`keep_giving`].
pub(super) async fn give(app: &App, order: OrderId) {
    let due = match app.directory.due_bonus(order).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%order, %error, "the bonus of a payment cannot be looked up; it is given later");
            return;
        }
    };
    if let Some(bonus) = due {
        grant(&app.ledger, &app.directory, &bonus).await;
    }
}

/// Grants what is owed until told to stop. Run it as a task of its own, in as many processes as you like.
pub async fn keep_giving(ledger: Ledger, directory: Directory, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = give_owed(&ledger, &directory).await {
            tracing::warn!(%error, "bonuses could not be looked after");
        }
    }
}

/// Grants the bonuses of paid orders that were not granted yet.
pub(crate) async fn give_owed(ledger: &Ledger, directory: &Directory) -> Result<(), DirectoryError> {
    for bonus in directory.owed_bonuses(now().plus_ms(-LOOK_BACK_MS), PAGE).await? {
        grant(ledger, directory, &bonus).await;
    }
    Ok(())
}

async fn grant(ledger: &Ledger, directory: &Directory, bonus: &Bonus) {
    let Bonus { order, account, credits } = *bonus;
    let command = Command::GrantCredit {
        grant: GrantId::bonus_of(order),
        source: GrantSource::Promotion,
        credits,
        reason: Reason::try_new(format!("bonus of top-up {}", order.merchant_number())).ok(),
    };
    let ended = match ledger.execute(account, command, gateway("bonuses"), None).await {
        Ok(receipt) => {
            tracing::info!(%account, %order, %credits, sequence = receipt.recorded.sequence, "a bonus is given");
            directory.end_bonus(order, BonusState::Given, Some(receipt.recorded.sequence)).await
        }
        Err(LedgerError::Refused(refusal @ (Refusal::AboveOrder { .. } | Refusal::Overflow))) => {
            tracing::warn!(%account, %order, %credits, "a bonus is forfeited: {refusal}");
            directory.end_bonus(order, BonusState::Forfeited, None).await
        }
        Err(error) => {
            tracing::warn!(%account, %order, %credits, %error, "a bonus is not given yet");
            return;
        }
    };
    if let Err(error) = ended {
        tracing::warn!(%account, %order, %error, "that a bonus has ended could not be noted; it is tried again");
    }
}
