//! Deletions: what becomes of the credits of somebody who leaves.
//!
//! For: saying before what there is and what of it was paid for, and taking what is left off the ledger afterwards, by
//! adjustments. Erasing the person is [`crate::directory::deletion`]'s.
//! May not touch: balances; a forfeiture is a decision like any other correction.
//! Claims: credits are forfeited once, whoever closes the account and whatever dies in between, for the n-th forfeiture of an
//! account has an id made of the account's; only what was there when its owner agreed is forfeited: a payment that comes later
//! is credited and stays, for the operator to see and give back; leases are left to close by themselves.

use crate::directory::{Directory, DirectoryError, deletion::Deletion};
use crate::session::actor;
use domain::account::state::OrderStatus;
use domain::{AccountEvent, AccountId, ActorKind, AdjustmentId, Command, Credits, Event, Reason, Refusal};
use ledger::{Ledger, LedgerError};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often accounts that are not closed yet are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often one closing tries again when leases move while it decides.
const TRIES: usize = 5;

/// What somebody would leave behind, by the ledger's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What may be spent or taken out now.
    pub available: Credits,
    /// What leases hold for calls; most of it comes back.
    pub reserved: Credits,
    /// How much of both was paid for, if gifts are what was used first: what a refund could give back.
    pub refundable: Credits,
    /// Orders that wait for their payment.
    pub pending_orders: usize,
    /// All that ever came in.
    pub credits_in: Credits,
}

/// Why an account could not be closed yet.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The note of it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// What an account has, and what of it was paid for.
pub async fn standing(
    ledger: &Ledger,
    directory: &Directory,
    user: AccountId,
) -> Result<Standing, CloseError> {
    let account = ledger.account(user).await?;
    let damaged = || LedgerError::Damaged(format!("the credits of account {user} do not fit"));
    let sum = |credits: &mut dyn Iterator<Item = Credits>| Credits::checked_sum(credits).ok_or_else(damaged);
    let reserved = sum(&mut account.leases.values().map(|lease| lease.credits))?;
    let available = account.available();
    let is_paid = |status: &OrderStatus| match status {
        OrderStatus::Completed { .. } => true,
        OrderStatus::Pending | OrderStatus::Closed { .. } => false,
    };
    let orders = account.orders.values();
    // Less what went back already.
    let paid = sum(&mut orders.clone().filter(|it| is_paid(&it.status)).map(|it| it.left_credits()))?;
    let opening = directory.opening_credits(user).await?;
    let paid = paid.checked_add(opening).ok_or_else(damaged)?;
    let left = available.checked_add(reserved).ok_or_else(damaged)?;
    Ok(Standing {
        available,
        reserved,
        refundable: left.min(paid).max(Credits::ZERO),
        pending_orders: orders.filter(|it| it.status == OrderStatus::Pending).count(),
        credits_in: account.credits_in,
    })
}

/// The id of an account's n-th forfeiture.
fn forfeiture(user: AccountId, n: u32) -> AdjustmentId {
    let hash = Sha256::digest(format!("forfeited by deletion {n}\n{user}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    AdjustmentId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// Takes what can be taken of a deleted user's credits, and notes it. Answers how far the closing has come.
pub async fn close(
    ledger: &Ledger,
    directory: &Directory,
    deletion: Deletion,
) -> Result<Deletion, CloseError> {
    if deletion.closed_at.is_some() {
        return Ok(deletion);
    }
    let user = deletion.user;
    let by = if deletion.by == user { ActorKind::User } else { ActorKind::Admin };
    let damaged = || LedgerError::Damaged(format!("the credits of account {user} do not fit"));
    for _ in 0..TRIES {
        let account = ledger.account(user).await?;
        let (mut n, mut forfeited, mut event_seq) = (0, Credits::ZERO, None);
        // What was forfeited before, perhaps by a process that died before it could note so.
        while let Some(sequence) = account.adjustments.get(&forfeiture(user, n)) {
            let taken = taken_at(ledger, *sequence).await?.ok_or_else(damaged)?;
            forfeited = forfeited.checked_add(taken).ok_or_else(damaged)?;
            (n, event_seq) = (n + 1, Some(*sequence));
        }
        let later = account.credits_in.checked_sub(deletion.credits_in).ok_or_else(damaged)?;
        let left = account.available().checked_sub(later.max(Credits::ZERO)).ok_or_else(damaged)?;
        if left.is_positive() {
            let command = Command::PostAdjustment {
                adjustment: forfeiture(user, n),
                credits: left.checked_neg().ok_or_else(damaged)?,
                reason: reason()?,
            };
            match ledger.execute(user, command, actor(by, deletion.by), None).await {
                Ok(_) => continue,
                // A lease was faster; what it leaves is taken when it closes.
                Err(LedgerError::Refused(Refusal::InsufficientCredits { .. })) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        let closed = account.leases.is_empty();
        if closed || forfeited != deletion.forfeited {
            directory.note_forfeited(user, forfeited, event_seq, closed).await?;
        }
        break;
    }
    Ok(directory.deletion(user).await?.unwrap_or(deletion))
}

/// What the adjustment at a position took.
async fn taken_at(ledger: &Ledger, sequence: u64) -> Result<Option<Credits>, LedgerError> {
    let Some(logged) = ledger.log().at(sequence).await? else { return Ok(None) };
    match logged.recorded.event {
        Event::Account(_, AccountEvent::AdjustmentPosted(it)) => Ok(it.credits.checked_neg()),
        Event::Account(..) | Event::Node(..) | Event::Suspense(..) | Event::Channel(..) => Ok(None),
    }
}

fn reason() -> Result<Reason, LedgerError> {
    Reason::try_new("the account was deleted; what was left is forfeited")
        .map_err(|error| LedgerError::Damaged(error.to_string()))
}

/// Closes accounts whose leases were still open when their users were erased, until told to stop. Run it as a task of its own,
/// in as many processes as you like.
pub async fn keep_closing(ledger: Ledger, directory: Directory, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let open = match directory.open_deletions().await {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(%error, "accounts of the deleted could not be looked for");
                continue;
            }
        };
        for deletion in open {
            let account = deletion.user;
            match close(&ledger, &directory, deletion).await {
                Ok(after) if after.closed_at.is_some() => {
                    tracing::info!(%account, forfeited = %after.forfeited, "the account of a deleted user was closed");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%account, %error, "the account of a deleted user cannot be closed yet")
                }
            }
        }
    }
}
