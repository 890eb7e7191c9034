//! What can have happened to an account.

use crate::{
    AdjustmentId, ChannelName, ChargebackId, Credits, EpochId, GrantId, KeyId, Label, LeaseId, Moment, Money,
    OrderId, Reason, RefundId,
};
use serde::{Deserialize, Serialize};

/// A decision about one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum AccountEvent {
    /// A user wants to pay.
    TopUpInitiated(TopUpInitiated),
    /// A channel confirmed the payment: credits came in.
    TopUpCompleted(TopUpCompleted),
    /// An order ended unpaid. A payment that comes later still credits.
    TopUpClosed(TopUpClosed),
    /// Credits were given.
    CreditGranted(CreditGranted),
    /// An operator corrected the balance by a difference.
    AdjustmentPosted(AdjustmentPosted),
    /// Somebody asked for money back: its credits are set aside.
    RefundRequested(RefundRequested),
    /// An operator agreed; the channel may be asked to give the money back.
    RefundApproved(RefundApproved),
    /// The channel gave the money back.
    RefundCompleted(RefundCompleted),
    /// The money was not given back; the credits return.
    RefundFailed(RefundFailed),
    /// A payer's bank took a payment back. May leave less than nothing available.
    ChargebackPosted(ChargebackPosted),
    /// The bank gave it back after all.
    ChargebackReversed(ChargebackReversed),
    /// A node took a slice of the credits.
    LeaseGranted(LeaseGranted),
    /// A slice became larger, smaller, or lives longer.
    LeaseAmended(LeaseAmended),
    /// A slice came back, less what was spent of it.
    LeaseClosed(LeaseClosed),
}

/// Data of [`AccountEvent::TopUpInitiated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpInitiated {
    /// The order.
    pub order: OrderId,
    /// Where it will be paid.
    pub channel: ChannelName,
    /// What must be paid.
    pub pay: Money,
    /// What it buys.
    pub credits: Credits,
    /// When the offer ends.
    pub expires_at: Moment,
}

/// Data of [`AccountEvent::TopUpCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpCompleted {
    /// The order.
    pub order: OrderId,
    /// Where it was paid.
    pub channel: ChannelName,
    /// The channel's transaction number.
    pub provider_txn: Label,
    /// What was paid; equal to what was asked.
    pub paid: Money,
    /// The credits that came in.
    pub credits: Credits,
}

/// Data of [`AccountEvent::TopUpClosed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpClosed {
    /// The order.
    pub order: OrderId,
    /// Why it ended.
    pub reason: CloseReason,
}

/// Why an order ended unpaid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The channel says the payment failed.
    Failed,
    /// The payer gave up.
    Cancelled,
    /// Nobody paid in time.
    Expired,
}

/// Data of [`AccountEvent::CreditGranted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditGranted {
    /// The grant.
    pub grant: GrantId,
    /// Where it comes from.
    pub source: GrantSource,
    /// How much.
    pub credits: Credits,
    /// A sentence by whoever gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// Where a grant comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantSource {
    /// A welcome gift.
    Signup,
    /// A redemption code.
    Redemption,
    /// A reward for bringing someone.
    Referral,
    /// A campaign.
    Promotion,
    /// A balance brought from another system.
    Import,
    /// An operator's gift.
    Admin,
}

/// Data of [`AccountEvent::AdjustmentPosted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdjustmentPosted {
    /// The adjustment.
    pub adjustment: AdjustmentId,
    /// The difference; not zero.
    pub credits: Credits,
    /// Why.
    pub reason: Reason,
}

/// Data of [`AccountEvent::RefundRequested`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRequested {
    /// The refund.
    pub refund: RefundId,
    /// The order that was paid.
    pub order: OrderId,
    /// Where it was paid.
    pub channel: ChannelName,
    /// What is to be given back.
    pub pay: Money,
    /// The credits that this takes: the order's share, and that of its bonus.
    pub credits: Credits,
    /// What of these credits came as the order's bonus.
    #[serde(default, skip_serializing_if = "Credits::is_zero")]
    pub bonus: Credits,
    /// Why.
    pub reason: Reason,
}

/// Data of [`AccountEvent::RefundApproved`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundApproved {
    /// The refund.
    pub refund: RefundId,
    /// Its order.
    pub order: OrderId,
}

/// Data of [`AccountEvent::RefundCompleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundCompleted {
    /// The refund.
    pub refund: RefundId,
    /// Its order.
    pub order: OrderId,
    /// Where it was paid back.
    pub channel: ChannelName,
    /// What was given back.
    pub pay: Money,
    /// The credits that this took.
    pub credits: Credits,
    /// What of these credits came as the order's bonus.
    #[serde(default, skip_serializing_if = "Credits::is_zero")]
    pub bonus: Credits,
    /// The channel's number of the refund, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_refund: Option<Label>,
}

/// Data of [`AccountEvent::RefundFailed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundFailed {
    /// The refund.
    pub refund: RefundId,
    /// Its order.
    pub order: OrderId,
    /// The order's channel.
    pub channel: ChannelName,
    /// The credits that return.
    pub credits: Credits,
    /// Why.
    pub reason: Reason,
}

/// Data of [`AccountEvent::ChargebackPosted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargebackPosted {
    /// The chargeback.
    pub chargeback: ChargebackId,
    /// The order whose payment is disputed.
    pub order: OrderId,
    /// Where it was paid.
    pub channel: ChannelName,
    /// What was taken back.
    pub pay: Money,
    /// The credits that go with it: the share of what was left of the order, and of its bonus.
    pub credits: Credits,
    /// What of these credits came as the order's bonus.
    #[serde(default, skip_serializing_if = "Credits::is_zero")]
    pub bonus: Credits,
    /// The channel's name of the dispute.
    pub reference: Label,
}

/// Data of [`AccountEvent::ChargebackReversed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargebackReversed {
    /// The chargeback.
    pub chargeback: ChargebackId,
    /// The order whose payment was disputed.
    pub order: OrderId,
    /// Where it was paid.
    pub channel: ChannelName,
    /// What came back.
    pub pay: Money,
    /// The credits that return.
    pub credits: Credits,
    /// What of these credits came as the order's bonus.
    #[serde(default, skip_serializing_if = "Credits::is_zero")]
    pub bonus: Credits,
}

/// Who may spend a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Scope {
    /// Any key of the account.
    Account,
    /// One key that has a budget.
    Key {
        /// The key.
        key: KeyId,
        /// The budget's period, such as `total`, `2026-11-22` or `2026-11`: uses in other periods do not count.
        period: Label,
    },
}

/// Data of [`AccountEvent::LeaseGranted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseGranted {
    /// The lease.
    pub lease: LeaseId,
    /// The node's run that holds it.
    pub epoch: EpochId,
    /// Who may spend it.
    pub scope: Scope,
    /// Its size.
    pub credits: Credits,
    /// Its life in milliseconds: a duration, counted by the holder from before it asked.
    pub ttl_ms: u64,
}

/// Data of [`AccountEvent::LeaseAmended`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAmended {
    /// The lease.
    pub lease: LeaseId,
    /// Its whole new size.
    pub credits: Credits,
    /// Its new life in milliseconds.
    pub ttl_ms: u64,
}

/// Data of [`AccountEvent::LeaseClosed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseClosed {
    /// The lease.
    pub lease: LeaseId,
    /// What was spent of it: the last record's cumulative sum.
    pub spent: Credits,
    /// How many usage records it has.
    pub count: u64,
    /// Who closed it.
    pub by: Closer,
}

/// Who closed a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closer {
    /// The node that held it.
    Holder,
    /// Another node, after the holder's epoch was sealed and a quarantine had passed.
    Sweeper,
}
