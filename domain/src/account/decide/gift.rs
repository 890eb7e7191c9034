//! Grants and adjustments: credits that no payer paid for.
//!
//! Claims: an order's bonus comes once, after its payment, and not where money of it went back: what goes back later takes the
//! bonus along in proportion.

use super::{Decision, check_room};
use crate::account::error::Refusal;
use crate::account::event::{AccountEvent, AdjustmentPosted, CreditGranted, GrantSource};
use crate::account::state::{Account, Order, OrderStatus};
use crate::{AdjustmentId, Credits, GrantId, Reason};

pub(super) fn grant(
    account: &Account,
    grant: GrantId,
    source: GrantSource,
    credits: Credits,
    reason: Option<&Reason>,
) -> Result<Decision, Refusal> {
    if let Some(sequence) = account.grants.get(&grant) {
        return Ok(Decision::AlreadyApplied { sequence: *sequence });
    }
    if !credits.is_positive() {
        return Err(Refusal::NotPositive { what: "a grant" });
    }
    if let Some(order) = account.orders.get(&grant.order_of_bonus()) {
        check_bonus(grant, order)?;
    }
    check_room(account, credits)?;
    let reason = reason.cloned();
    Ok(Decision::Append(AccountEvent::CreditGranted(CreditGranted { grant, source, credits, reason })))
}

fn check_bonus(grant: GrantId, order: &Order) -> Result<(), Refusal> {
    match order.status {
        OrderStatus::Pending | OrderStatus::Closed { .. } => {
            Err(Refusal::OrderNotPaid(grant.order_of_bonus()))
        }
        OrderStatus::Completed { .. } if order.taken_minor != 0 => {
            Err(Refusal::AboveOrder { left: order.left(), wanted: order.pay })
        }
        OrderStatus::Completed { .. } => Ok(()),
    }
}

/// A correction downwards takes only what is available: leased credits are a node's until it gives them back.
pub(super) fn adjust(
    account: &Account,
    adjustment: AdjustmentId,
    credits: Credits,
    reason: &Reason,
) -> Result<Decision, Refusal> {
    if let Some(sequence) = account.adjustments.get(&adjustment) {
        return Ok(Decision::AlreadyApplied { sequence: *sequence });
    }
    if credits == Credits::ZERO {
        return Err(Refusal::ZeroAdjustment);
    }
    if credits.is_positive() {
        check_room(account, credits)?;
    } else {
        let wanted = credits.checked_neg().ok_or(Refusal::Overflow)?;
        let available = account.available();
        if wanted > available {
            return Err(Refusal::InsufficientCredits { available, wanted });
        }
    }
    let reason = reason.clone();
    Ok(Decision::Append(AccountEvent::AdjustmentPosted(AdjustmentPosted { adjustment, credits, reason })))
}
