//! Alerts: watches balances for those who want to be warned, and refunds for those whose money it is.
//!
//! For: looking again whenever the projections have moved on. What a crossing is, and that it is told of once, is
//! [`crate::directory::balance_alert`]'s; what an owner knows of a refund is [`crate::directory::refund_notice`]'s.
//! May not touch: sending; a warning goes into the queues of mails and webhooks.
//! Claims: may run in as many processes as you like; a look that finds nothing costs one row while nothing has happened; a
//! crossing that a failure kept from being told of is found again, for nothing is remembered here.

use crate::directory::{Directory, DirectoryError};
use projections::Database;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is asked whether the tables have moved on.
const WATCH: Duration = Duration::from_secs(2);
/// How often thresholds are looked at though they have not: somebody may have set another one.
const LOOK_ANYHOW: Duration = Duration::from_secs(20);

/// Watches until told to stop. Run it as a task of its own.
pub async fn keep_watching(directory: Directory, db: Database, stop: CancellationToken) {
    let (mut seen, mut looked) = (None, None::<Instant>);
    loop {
        match projections::position(&db).await {
            Ok(position) => {
                let is_due = looked.is_none_or(|at| at.elapsed() >= LOOK_ANYHOW);
                if seen != Some(position) || is_due {
                    let looked_at = match look(&directory).await {
                        Ok(_) => tell_of_refunds(&directory).await,
                        Err(error) => Err(error),
                    };
                    match looked_at {
                        Ok(_) => (seen, looked) = (Some(position), Some(Instant::now())),
                        Err(error) => {
                            tracing::warn!(%error, "low balances could not be looked for; it is tried again")
                        }
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the checkpoint cannot be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(WATCH) => {}
        }
    }
}

/// Handles all crossings that there are. Answers how many users were warned.
pub async fn look(directory: &Directory) -> Result<usize, DirectoryError> {
    let mut warned = 0;
    loop {
        let crossings = directory.balance_crossings().await?;
        let mut taken = 0;
        for crossing in crossings {
            if directory.take_crossing(crossing).await? {
                taken += 1;
                if crossing.fell {
                    tracing::info!(account = %crossing.user, "a balance fell below its owner's threshold");
                    warned += 1;
                }
            }
        }
        // What others took meanwhile is theirs. Only what this look has changed can have made room for more.
        if taken == 0 {
            return Ok(warned);
        }
    }
}

/// Tells owners how far their refunds are. Answers how many were told.
pub async fn tell_of_refunds(directory: &Directory) -> Result<usize, DirectoryError> {
    let mut told = 0;
    loop {
        let mut taken = 0;
        for news in directory.refund_news().await? {
            if directory.tell_of_refund(&news).await? {
                tracing::info!(account = %news.account, refund = %news.refund, stage = %news.stage, "an owner is told of a refund");
                taken += 1;
            }
        }
        told += taken;
        if taken == 0 {
            return Ok(told);
        }
    }
}

#[cfg(test)]
mod tests;
