//! The road of a redemption code: claimed in the directory, granted on the ledger, noted in the directory.
//!
//! May not touch: balances. What a code is good for is a grant like any other.
//! Claims: a process may die anywhere on the road and the credits are granted once: before the claim nothing has happened;
//! after it the code is its owner's for ever, and whoever comes by (its owner again, or [`keep_granting`] of any process)
//! grants the same grant.

use crate::{
    directory::{Directory, DirectoryError, now, redemption::Claim},
    session::actor,
};
use domain::{ActorKind, Command, Reason, account::event::GrantSource};
use ledger::{Ledger, LedgerError, Receipt};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often claims without a grant are looked for, and how old they are then at least.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const OLD_MS: i64 = 10_000;

/// Grants what a claimed code is good for; the same receipt however often.
pub async fn grant(ledger: &Ledger, directory: &Directory, claim: &Claim) -> Result<Receipt, LedgerError> {
    let command = Command::GrantCredit {
        grant: claim.grant(),
        source: GrantSource::Redemption,
        credits: claim.credits,
        reason: Reason::try_new(format!("code …{}", claim.ending)).ok(),
    };
    let by = actor(ActorKind::User, claim.account);
    let receipt = ledger.execute(claim.account, command, by, None).await?;
    // What is on the ledger has happened. A note that fails is made up for later.
    if let Err(error) = directory.finish_claim(claim, receipt.recorded.sequence).await {
        tracing::warn!(account = %claim.account, %error, "a redeemed code's grant could not be noted; it is tried again");
    }
    Ok(receipt)
}

/// Grants what was claimed and not granted because a process died or the log was away, until told to stop. Run it as a task
/// of its own, in as many processes as you like.
pub async fn keep_granting(ledger: Ledger, directory: Directory, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Err(error) = grant_old(&ledger, &directory).await {
            tracing::warn!(%error, "claimed codes could not be looked for");
        }
    }
}

async fn grant_old(ledger: &Ledger, directory: &Directory) -> Result<(), DirectoryError> {
    for claim in directory.unfinished_claims(now().plus_ms(-OLD_MS)).await? {
        match grant(ledger, directory, &claim).await {
            Ok(receipt) => {
                let event_seq = receipt.recorded.sequence;
                tracing::info!(account = %claim.account, event_seq, "a claimed code was granted after all");
            }
            Err(error) => {
                tracing::warn!(account = %claim.account, %error, "a claimed code cannot be granted yet")
            }
        }
    }
    Ok(())
}
