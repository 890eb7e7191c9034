//! Leases: a slice of an account's credits that one node may spend for a short time.
//!
//! For: whether a lease may be granted, amended or closed, and how large it is.
//! Claims: open leases never exceed what was available; a budget caps its key's leases; a lease closes exactly once.

use super::Decision;
use crate::account::command::{Amend, Budget};
use crate::account::error::Refusal;
use crate::account::event::{AccountEvent, Closer, LeaseAmended, LeaseClosed, LeaseGranted, Scope};
use crate::account::state::{Account, OpenLease};
use crate::{Credits, EpochId, LeaseId};

#[expect(clippy::too_many_arguments, reason = "the fields of one command")]
pub(super) fn grant(
    account: &Account,
    lease: LeaseId,
    epoch: EpochId,
    scope: &Scope,
    at_least: Credits,
    wanted: Credits,
    ttl_ms: u64,
    budget: Option<Budget>,
) -> Result<Decision, Refusal> {
    if let Some(open) = account.leases.get(&lease) {
        return Ok(Decision::AlreadyApplied { sequence: open.granted });
    }
    if account.closed_leases.iter().any(|(closed, _)| *closed == lease) {
        return Err(Refusal::LeaseClosed(lease));
    }
    if let Some((open, _)) = account.leases.iter().find(|(_, it)| it.epoch == epoch && it.scope == *scope) {
        return Err(Refusal::LeaseOpen(*open));
    }
    if !at_least.is_positive() {
        return Err(Refusal::NotPositive { what: "a lease" });
    }
    let credits = size(account, scope, epoch, at_least, wanted, budget)?;
    let scope = scope.clone();
    Ok(Decision::Append(AccountEvent::LeaseGranted(LeaseGranted { lease, epoch, scope, credits, ttl_ms })))
}

pub(super) fn amend(
    account: &Account,
    lease: LeaseId,
    amend: Amend,
    ttl_ms: u64,
    budget: Option<Budget>,
) -> Result<Decision, Refusal> {
    let open = open_lease(account, lease)?;
    let credits = match amend {
        Amend::Extend { at_least, wanted } => {
            if at_least.is_negative() || wanted.is_negative() {
                return Err(Refusal::NotPositive { what: "an extension" });
            }
            let more = match wanted.max(at_least) {
                Credits::ZERO => Credits::ZERO,
                _ => size(account, &open.scope, open.epoch, at_least, wanted, budget)?,
            };
            open.credits.checked_add(more).ok_or(Refusal::Overflow)?
        }
        Amend::Shrink { to } if to.is_negative() || to > open.credits => {
            return Err(Refusal::BadShrink { size: open.credits, to });
        }
        Amend::Shrink { to } => to,
    };
    Ok(Decision::Append(AccountEvent::LeaseAmended(LeaseAmended { lease, credits, ttl_ms })))
}

pub(super) fn close(
    account: &Account,
    lease: LeaseId,
    spent: Credits,
    count: u64,
    by: Closer,
) -> Result<Decision, Refusal> {
    if let Some((_, sequence)) = account.closed_leases.iter().find(|(closed, _)| *closed == lease) {
        return Ok(Decision::AlreadyApplied { sequence: *sequence });
    }
    let open = open_lease(account, lease)?;
    if spent.is_negative() || spent > open.credits {
        return Err(Refusal::SpentAboveLease { spent, size: open.credits });
    }
    Ok(Decision::Append(AccountEvent::LeaseClosed(LeaseClosed { lease, spent, count, by })))
}

fn open_lease(account: &Account, lease: LeaseId) -> Result<&OpenLease, Refusal> {
    account.leases.get(&lease).ok_or_else(|| {
        match account.closed_leases.iter().any(|(closed, _)| *closed == lease) {
            true => Refusal::LeaseClosed(lease),
            false => Refusal::UnknownLease(lease),
        }
    })
}

/// `min(available, budget left, max(at_least, min(wanted, share)))`, refused below `at_least`.
///
/// `share = available ÷ (2 × (holders + 1))` leaves room for nodes that have not asked yet: halving converges, and an
/// account never ends up wholly in the hands of the first node that serves it. A call that needs more than its share
/// gets what it needs.
fn size(
    account: &Account,
    scope: &Scope,
    epoch: EpochId,
    at_least: Credits,
    wanted: Credits,
    budget: Option<Budget>,
) -> Result<Credits, Refusal> {
    let available = account.available();
    if at_least > available {
        return Err(Refusal::InsufficientCredits { available, wanted: at_least });
    }
    let budget_left = match (scope, budget) {
        (Scope::Key { key, period }, Some(Budget { limit })) => {
            let left = limit
                .checked_sub(account.budget_used(*key, period))
                .unwrap_or(Credits::ZERO)
                .max(Credits::ZERO);
            if at_least > left {
                return Err(Refusal::BudgetSpent { left, wanted: at_least });
            }
            left
        }
        (Scope::Account, _) | (Scope::Key { .. }, None) => available,
    };
    let holders = account.leases.values().filter(|lease| lease.epoch != epoch).count();
    let parts = i64::try_from(holders).unwrap_or(i64::MAX / 4).saturating_add(1).saturating_mul(2);
    let share = Credits::from_nano(available.nano() / parts);
    Ok(at_least.max(wanted.min(share)).min(available).min(budget_left))
}
