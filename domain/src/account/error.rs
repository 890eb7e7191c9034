//! Why a command was refused. A refusal leaves nothing behind.

use crate::{ChannelName, ChargebackId, Credits, Label, LeaseId, Money, OrderId, RefundId};

/// What was wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not enough is available.
    #[error("{wanted} credits are needed, {available} are available")]
    InsufficientCredits {
        /// What may be spent now.
        available: Credits,
        /// What was asked.
        wanted: Credits,
    },
    /// A key's budget does not allow it.
    #[error("{wanted} credits are needed, {left} are left of the key's budget")]
    BudgetSpent {
        /// What the budget still allows.
        left: Credits,
        /// What was asked.
        wanted: Credits,
    },
    /// No such order in this account.
    #[error("no order {0} in this account")]
    UnknownOrder(OrderId),
    /// An order's id was used before.
    #[error("order {0} exists already, with other contents")]
    OrderExists(OrderId),
    /// A channel reported an order of another channel.
    #[error("the order belongs to channel {expected}, not {reported}")]
    WrongChannel {
        /// The order's channel.
        expected: ChannelName,
        /// The reporting one.
        reported: ChannelName,
    },
    /// The payment differs from the order.
    #[error("{paid} was paid, {expected} was asked")]
    WrongAmount {
        /// The order's amount.
        expected: Money,
        /// The payment.
        paid: Money,
    },
    /// Another transaction has paid this order.
    #[error("the order was paid before, by transaction {by}")]
    PaidBefore {
        /// The first transaction.
        by: Label,
    },
    /// A paid order cannot be closed.
    #[error("order {0} is paid and cannot be closed")]
    OrderPaid(OrderId),
    /// An order that was not paid cannot be given back.
    #[error("order {0} is not paid")]
    OrderNotPaid(OrderId),
    /// More than is left of an order, or in another currency.
    #[error("{wanted} cannot be given back: {left} is left of the order")]
    AboveOrder {
        /// What was paid and not given or taken back.
        left: Money,
        /// What was asked.
        wanted: Money,
    },
    /// No such refund in this account.
    #[error("no refund {0} in this account")]
    UnknownRefund(RefundId),
    /// A refund's id was used before.
    #[error("refund {0} exists already, with other contents")]
    RefundExists(RefundId),
    /// Nobody has approved the refund.
    #[error("refund {0} is not approved")]
    RefundNotApproved(RefundId),
    /// The channel may have been asked already.
    #[error("refund {0} is approved and under way")]
    RefundUnderWay(RefundId),
    /// The refund has ended otherwise.
    #[error("refund {0} is over")]
    RefundOver(RefundId),
    /// A chargeback's id was used before.
    #[error("chargeback {0} exists already, with other contents")]
    ChargebackExists(ChargebackId),
    /// No such chargeback in this account.
    #[error("no chargeback {0} in this account")]
    UnknownChargeback(ChargebackId),
    /// An amount that must be above zero is not.
    #[error("{what} must be above zero")]
    NotPositive {
        /// Which amount.
        what: &'static str,
    },
    /// An adjustment of nothing.
    #[error("an adjustment of zero changes nothing")]
    ZeroAdjustment,
    /// A sum that the ledger cannot hold.
    #[error("the account would hold more than the ledger can count")]
    Overflow,
    /// No such open lease in this account.
    #[error("no open lease {0} in this account")]
    UnknownLease(LeaseId),
    /// A lease that ended cannot be opened again.
    #[error("lease {0} is closed")]
    LeaseClosed(LeaseId),
    /// A node has a lease of this scope already; more credit is an amendment.
    #[error("lease {0} of this scope and epoch is open already")]
    LeaseOpen(LeaseId),
    /// A lease cannot shrink below zero or grow by shrinking.
    #[error("a lease of {size} cannot shrink to {to}")]
    BadShrink {
        /// The lease's size.
        size: Credits,
        /// What was asked.
        to: Credits,
    },
    /// More was spent than the lease held.
    #[error("{spent} cannot have been spent of a lease of {size}")]
    SpentAboveLease {
        /// What was reported.
        spent: Credits,
        /// The lease's size.
        size: Credits,
    },
    /// No payment in suspense stands there.
    #[error("no payment in suspense stands at {payment}")]
    NotInSuspense {
        /// The sequence that was named.
        payment: u64,
    },
    /// A payment in suspense is resolved once.
    #[error("this payment in suspense was resolved before, by event {by}")]
    ResolvedBefore {
        /// That event.
        by: u64,
    },
    /// The same idempotency key with another request.
    #[error("this idempotency key was used before with another request")]
    KeyReused,
}
