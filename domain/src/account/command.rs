//! What may be asked of an account.

use super::event::{CloseReason, Closer, GrantSource, Scope};
use crate::{
    AdjustmentId, ChannelName, ChargebackId, Credits, EpochId, GrantId, Label, LeaseId, Moment, Money,
    OrderId, Reason, RefundId,
};

/// A wish, in the imperative. Ids are made by the caller, so that a repeated wish is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open an order.
    InitiateTopUp {
        /// The order's id, new.
        order: OrderId,
        /// Where it will be paid.
        channel: ChannelName,
        /// What must be paid.
        pay: Money,
        /// What it buys.
        credits: Credits,
        /// When the offer ends.
        expires_at: Moment,
    },
    /// Credit a payment that the channel confirmed.
    CompleteTopUp {
        /// The order.
        order: OrderId,
        /// The channel that says so.
        channel: ChannelName,
        /// Its transaction number.
        provider_txn: Label,
        /// What was paid.
        paid: Money,
    },
    /// End an unpaid order.
    CloseTopUp {
        /// The order.
        order: OrderId,
        /// Why.
        reason: CloseReason,
    },
    /// Give credits.
    GrantCredit {
        /// The grant's id, new.
        grant: GrantId,
        /// Where it comes from.
        source: GrantSource,
        /// How much.
        credits: Credits,
        /// A sentence about it.
        reason: Option<Reason>,
    },
    /// Correct the balance by a difference.
    PostAdjustment {
        /// The adjustment's id, new.
        adjustment: AdjustmentId,
        /// The difference.
        credits: Credits,
        /// Why.
        reason: Reason,
    },
    /// Set the credits of an order aside, to give its money back.
    RequestRefund {
        /// The refund's id, new.
        refund: RefundId,
        /// The order that was paid.
        order: OrderId,
        /// What is to be given back.
        pay: Money,
        /// Why.
        reason: Reason,
    },
    /// Let the channel be asked for a refund.
    ApproveRefund {
        /// The refund.
        refund: RefundId,
    },
    /// Give up a refund that nobody has approved.
    RejectRefund {
        /// The refund.
        refund: RefundId,
        /// Why.
        reason: Reason,
    },
    /// The channel gave the money back.
    CompleteRefund {
        /// The refund.
        refund: RefundId,
        /// The channel's number of it, where it has one.
        provider_refund: Option<Label>,
    },
    /// The channel did not and will not give the money back.
    FailRefund {
        /// The refund.
        refund: RefundId,
        /// Why.
        reason: Reason,
    },
    /// Book a payment that was taken back.
    PostChargeback {
        /// The chargeback's id, made of what names the dispute.
        chargeback: ChargebackId,
        /// The order that was paid.
        order: OrderId,
        /// What was taken back.
        pay: Money,
        /// The channel's name of the dispute.
        reference: Label,
    },
    /// Book that a payment which was taken back has come back.
    ReverseChargeback {
        /// The chargeback.
        chargeback: ChargebackId,
    },
    /// Lend a slice to a node.
    GrantLease {
        /// The lease's id, new.
        lease: LeaseId,
        /// The asking run.
        epoch: EpochId,
        /// Who may spend it.
        scope: Scope,
        /// Less than this is of no use to the asker.
        at_least: Credits,
        /// What it would like.
        wanted: Credits,
        /// For how long, in milliseconds.
        ttl_ms: u64,
        /// The cap of a key's budget, where the scope is a key.
        budget: Option<Budget>,
    },
    /// Change a slice's size or life.
    AmendLease {
        /// The lease.
        lease: LeaseId,
        /// How.
        amend: Amend,
        /// Its new life, in milliseconds.
        ttl_ms: u64,
        /// The cap of a key's budget, where the scope is a key.
        budget: Option<Budget>,
    },
    /// Give a slice back.
    CloseLease {
        /// The lease.
        lease: LeaseId,
        /// What was spent of it.
        spent: Credits,
        /// How many usage records it has.
        count: u64,
        /// Who asks.
        by: Closer,
    },
}

/// How a lease changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amend {
    /// Add credits, or nothing but life when both are zero.
    Extend {
        /// Less than this is of no use.
        at_least: Credits,
        /// What it would like.
        wanted: Credits,
    },
    /// Give some back. The holder has shrunk its own books first.
    Shrink {
        /// The new size.
        to: Credits,
    },
}

/// A key's spending limit in its current period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Credits the key may spend in the period.
    pub limit: Credits,
}
