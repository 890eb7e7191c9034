//! Refunds and chargebacks: money that goes back to a payer, with our will or against it.
//!
//! Claims: never more goes back than was paid; a refund takes only credits that are available, and gives them back if it
//! fails; an order's bonus goes with it in proportion; the channel may be asked only for what was approved, and a refund ends
//! once; a chargeback takes the order's credits even where they were spent, or wait in a refund: the account then owes them.
//! Whoever lost a dispute has no credits beside the money, however the order's refunds end.

use super::Decision;
use crate::account::error::Refusal;
use crate::account::event::{
    AccountEvent, ChargebackPosted, ChargebackReversed, RefundApproved, RefundCompleted, RefundFailed,
    RefundRequested,
};
use crate::account::state::{Account, Order, OrderStatus, Refund, RefundStatus};
use crate::{ChannelName, ChargebackId, Credits, Label, Money, OrderId, Reason, RefundId};

pub(super) fn request(
    account: &Account,
    refund: RefundId,
    order_id: OrderId,
    pay: Money,
    reason: &Reason,
) -> Result<Decision, Refusal> {
    if let Some(known) = account.refunds.get(&refund) {
        return match known.order == order_id && known.pay == pay {
            true => Ok(Decision::AlreadyApplied { sequence: known.requested }),
            false => Err(Refusal::RefundExists(refund)),
        };
    }
    let order = paid_order(account, order_id)?;
    if pay.minor <= 0 {
        return Err(Refusal::NotPositive { what: "a refund" });
    }
    let left = order.left();
    if pay.currency != left.currency || pay.minor > left.minor {
        return Err(Refusal::AboveOrder { left, wanted: pay });
    }
    let (Share { credits, bonus }, available) = (share(order, pay)?, account.available());
    if credits > available {
        return Err(Refusal::InsufficientCredits { available, wanted: credits });
    }
    Ok(Decision::Append(AccountEvent::RefundRequested(RefundRequested {
        refund,
        order: order_id,
        channel: order.channel.clone(),
        pay,
        credits,
        bonus,
        reason: reason.clone(),
    })))
}

pub(super) fn approve(account: &Account, id: RefundId) -> Result<Decision, Refusal> {
    let (refund, _) = known(account, id)?;
    match (refund.status, refund.approved) {
        (RefundStatus::Requested, _) => {
            let (order, paid) = (refund.order, paid_order(account, refund.order)?);
            if paid.taken_minor > paid.pay.minor {
                // The payer's bank has taken it back meanwhile: asked now, the channel would give it back twice.
                return Err(Refusal::AboveOrder { left: paid.left(), wanted: refund.pay });
            }
            Ok(Decision::Append(AccountEvent::RefundApproved(RefundApproved { refund: id, order })))
        }
        (RefundStatus::Approved | RefundStatus::Completed { .. }, Some(sequence)) => {
            Ok(Decision::AlreadyApplied { sequence })
        }
        (RefundStatus::Approved | RefundStatus::Completed { .. } | RefundStatus::Failed { .. }, _) => {
            Err(Refusal::RefundOver(id))
        }
    }
}

/// Before the channel can have been asked.
pub(super) fn reject(account: &Account, id: RefundId, reason: &Reason) -> Result<Decision, Refusal> {
    let (refund, channel) = known(account, id)?;
    match refund.status {
        RefundStatus::Requested => Ok(failed(id, refund, channel, reason)),
        RefundStatus::Failed { sequence } if refund.approved.is_none() => {
            Ok(Decision::AlreadyApplied { sequence })
        }
        RefundStatus::Approved => Err(Refusal::RefundUnderWay(id)),
        RefundStatus::Completed { .. } | RefundStatus::Failed { .. } => Err(Refusal::RefundOver(id)),
    }
}

pub(super) fn complete(
    account: &Account,
    id: RefundId,
    provider_refund: Option<&Label>,
) -> Result<Decision, Refusal> {
    let (refund, channel) = known(account, id)?;
    match refund.status {
        RefundStatus::Requested => Err(Refusal::RefundNotApproved(id)),
        RefundStatus::Approved => Ok(Decision::Append(AccountEvent::RefundCompleted(RefundCompleted {
            refund: id,
            order: refund.order,
            channel,
            pay: refund.pay,
            credits: refund.credits,
            bonus: refund.bonus,
            provider_refund: provider_refund.cloned(),
        }))),
        RefundStatus::Completed { sequence } => Ok(Decision::AlreadyApplied { sequence }),
        RefundStatus::Failed { .. } => Err(Refusal::RefundOver(id)),
    }
}

pub(super) fn fail(account: &Account, id: RefundId, reason: &Reason) -> Result<Decision, Refusal> {
    let (refund, channel) = known(account, id)?;
    match refund.status {
        RefundStatus::Requested => Err(Refusal::RefundNotApproved(id)),
        RefundStatus::Approved => Ok(failed(id, refund, channel, reason)),
        RefundStatus::Failed { sequence } if refund.approved.is_some() => {
            Ok(Decision::AlreadyApplied { sequence })
        }
        RefundStatus::Completed { .. } | RefundStatus::Failed { .. } => Err(Refusal::RefundOver(id)),
    }
}

/// Whatever is available: the money is gone already.
pub(super) fn charge_back(
    account: &Account,
    chargeback: ChargebackId,
    order_id: OrderId,
    pay: Money,
    reference: &Label,
) -> Result<Decision, Refusal> {
    if let Some(known) = account.chargebacks.get(&chargeback) {
        return match known.order == order_id && known.pay == pay {
            true => Ok(Decision::AlreadyApplied { sequence: known.posted }),
            false => Err(Refusal::ChargebackExists(chargeback)),
        };
    }
    let order = paid_order(account, order_id)?;
    if pay.minor <= 0 {
        return Err(Refusal::NotPositive { what: "a chargeback" });
    }
    if pay.currency != order.pay.currency || pay.minor > order.pay.minor {
        return Err(Refusal::AboveOrder { left: order.left(), wanted: pay });
    }
    // Of what was given back before, the credits are gone already. A refund that has not ended holds its credits only for
    // now: if it fails they return to the payer, who must not have them beside the money. If it does not, the payer had
    // that money twice.
    let order_but_for_pending = without_pending_refunds(account, order_id, order);
    let left = order_but_for_pending.left();
    let part = Money { minor: pay.minor.min(left.minor), ..pay };
    let Share { credits, bonus } = share(&order_but_for_pending, part)?;
    Ok(Decision::Append(AccountEvent::ChargebackPosted(ChargebackPosted {
        chargeback,
        order: order_id,
        channel: order.channel.clone(),
        pay,
        credits,
        bonus,
        reference: reference.clone(),
    })))
}

pub(super) fn reverse(account: &Account, id: ChargebackId) -> Result<Decision, Refusal> {
    let posted = account.chargebacks.get(&id).ok_or(Refusal::UnknownChargeback(id))?;
    if let Some(sequence) = posted.reversed {
        return Ok(Decision::AlreadyApplied { sequence });
    }
    let order = paid_order(account, posted.order)?;
    Ok(Decision::Append(AccountEvent::ChargebackReversed(ChargebackReversed {
        chargeback: id,
        order: posted.order,
        channel: order.channel.clone(),
        pay: posted.pay,
        credits: posted.credits,
        bonus: posted.bonus,
    })))
}

fn paid_order(account: &Account, id: OrderId) -> Result<&Order, Refusal> {
    let order = account.orders.get(&id).ok_or(Refusal::UnknownOrder(id))?;
    match &order.status {
        OrderStatus::Completed { .. } => Ok(order),
        OrderStatus::Pending | OrderStatus::Closed { .. } => Err(Refusal::OrderNotPaid(id)),
    }
}

/// The order as it would be if none of its refunds were under way.
fn without_pending_refunds(account: &Account, id: OrderId, order: &Order) -> Order {
    let mut order = order.clone();
    let pending = |it: &&Refund| matches!(it.status, RefundStatus::Requested | RefundStatus::Approved);
    for refund in account.refunds.values().filter(|it| it.order == id).filter(pending) {
        order.put_back(refund.pay, refund.credits, refund.bonus);
    }
    order
}

fn known(account: &Account, id: RefundId) -> Result<(&Refund, ChannelName), Refusal> {
    let refund = account.refunds.get(&id).ok_or(Refusal::UnknownRefund(id))?;
    let order = account.orders.get(&refund.order).ok_or(Refusal::UnknownOrder(refund.order))?;
    Ok((refund, order.channel.clone()))
}

fn failed(id: RefundId, refund: &Refund, channel: ChannelName, reason: &Reason) -> Decision {
    Decision::Append(AccountEvent::RefundFailed(RefundFailed {
        refund: id,
        order: refund.order,
        channel,
        credits: refund.credits,
        reason: reason.clone(),
    }))
}

/// What goes with a part of an order.
struct Share {
    /// All of it.
    credits: Credits,
    /// What of that came as its bonus.
    bonus: Credits,
}

/// The credits that belong to a part of what is left of an order, and of its bonus.
fn share(order: &Order, part: Money) -> Result<Share, Refusal> {
    let left = order.left().minor;
    let bonus = share_of(order.left_bonus(), part.minor, left)?;
    let bought = share_of(order.left_credits(), part.minor, left)?;
    Ok(Share { credits: bought.checked_add(bonus).ok_or(Refusal::Overflow)?, bonus })
}

/// All of them for all that is left, else the share, rounded up to the nano, so that many small parts never leave more
/// credits than money.
fn share_of(credits: Credits, part: i64, left: i64) -> Result<Credits, Refusal> {
    if part >= left {
        return Ok(credits);
    }
    let product = i128::from(credits.nano()) * i128::from(part);
    let (whole, rest) = (product / i128::from(left), product % i128::from(left));
    let nano = whole + i128::from(rest > 0);
    i64::try_from(nano).map(Credits::from_nano).map_err(|_| Refusal::Overflow)
}
