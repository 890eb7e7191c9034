//! Top-ups: an order is opened, then paid or closed.

use super::{Decision, check_room};
use crate::account::error::Refusal;
use crate::account::event::{AccountEvent, CloseReason, TopUpClosed, TopUpCompleted, TopUpInitiated};
use crate::account::state::{Account, OrderStatus};
use crate::{ChannelName, Credits, Label, Moment, Money, OrderId};

pub(super) fn initiate(
    account: &Account,
    order: OrderId,
    channel: &ChannelName,
    pay: Money,
    credits: Credits,
    expires_at: Moment,
) -> Result<Decision, Refusal> {
    if let Some(known) = account.orders.get(&order) {
        let same = known.channel == *channel && known.pay == pay && known.credits == credits;
        return match same {
            true => Ok(Decision::AlreadyApplied { sequence: known.initiated }),
            false => Err(Refusal::OrderExists(order)),
        };
    }
    if pay.minor <= 0 {
        return Err(Refusal::NotPositive { what: "the amount to pay" });
    }
    if !credits.is_positive() {
        return Err(Refusal::NotPositive { what: "the credits it buys" });
    }
    check_room(account, credits)?;
    let channel = channel.clone();
    Ok(Decision::Append(AccountEvent::TopUpInitiated(TopUpInitiated {
        order,
        channel,
        pay,
        credits,
        expires_at,
    })))
}

/// The channel must be the order's and the sum exactly what was asked. A closed order still credits: the payer paid.
pub(super) fn complete(
    account: &Account,
    order_id: OrderId,
    channel: &ChannelName,
    provider_txn: &Label,
    paid: Money,
) -> Result<Decision, Refusal> {
    let order = account.orders.get(&order_id).ok_or(Refusal::UnknownOrder(order_id))?;
    if order.channel != *channel {
        return Err(Refusal::WrongChannel { expected: order.channel.clone(), reported: channel.clone() });
    }
    if order.pay != paid {
        return Err(Refusal::WrongAmount { expected: order.pay, paid });
    }
    match &order.status {
        OrderStatus::Completed { provider_txn: first, sequence } if first == provider_txn => {
            Ok(Decision::AlreadyApplied { sequence: *sequence })
        }
        OrderStatus::Completed { provider_txn: first, .. } => Err(Refusal::PaidBefore { by: first.clone() }),
        OrderStatus::Pending | OrderStatus::Closed { .. } => {
            check_room(account, order.credits)?;
            Ok(Decision::Append(AccountEvent::TopUpCompleted(TopUpCompleted {
                order: order_id,
                channel: channel.clone(),
                provider_txn: provider_txn.clone(),
                paid,
                credits: order.credits,
            })))
        }
    }
}

pub(super) fn close(account: &Account, order: OrderId, reason: CloseReason) -> Result<Decision, Refusal> {
    match &account.orders.get(&order).ok_or(Refusal::UnknownOrder(order))?.status {
        OrderStatus::Pending => {
            Ok(Decision::Append(AccountEvent::TopUpClosed(TopUpClosed { order, reason })))
        }
        OrderStatus::Closed { sequence, .. } => Ok(Decision::AlreadyApplied { sequence: *sequence }),
        OrderStatus::Completed { .. } => Err(Refusal::OrderPaid(order)),
    }
}
