//! Events: facts on the log, in the past tense, immutable.
//!
//! Claims: everything a fold needs is in the event; no e-mail, name, address, prompt or secret is. The JSON of a type
//! never changes: another shape is another version (`ledger::codec`).

pub use crate::account::event::*;
use crate::{
    AccountId, BatchId, ChannelName, EpochId, EventId, IdempotencyKey, Label, Moment, Money, OrderId, Reason,
    UsageRecord,
};
use serde::{Deserialize, Serialize};

/// Who caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// What kind of actor.
    pub kind: ActorKind,
    /// Which one: a user's id, a channel's name, an epoch; opaque here.
    pub id: Label,
}

/// Kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// The account's owner.
    User,
    /// An operator.
    Admin,
    /// A payment channel.
    Channel,
    /// A relay node.
    Node,
    /// The gateway itself.
    System,
}

/// Reported by one run of one relay node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum NodeEvent {
    /// Calls consumed tokens.
    UsageReported(UsageReported),
    /// The run is over: nothing can follow on its subject, for whoever writes there expects another last message.
    NodeSealed(NodeSealed),
}

/// The end of a run's subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSealed {
    /// Why.
    pub cause: SealCause,
}

/// Why a run was declared over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealCause {
    /// A lease of it was not renewed for twice its life.
    Silent,
    /// Its successor holds the lock of its outbox, which proves it dead.
    Restarted,
}

/// A batch of usage records, of many accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReported {
    /// This report.
    pub batch: BatchId,
    /// What was consumed.
    pub records: Vec<UsageRecord>,
}

/// A payment that could not be credited to anyone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum SuspenseEvent {
    /// A verified payment matched no order, or not its amount.
    PaymentSuspended(PaymentSuspended),
    /// An operator has decided what becomes of such a payment.
    SuspenseResolved(SuspenseResolved),
}

/// A payment held until a person decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentSuspended {
    /// The order number that the channel named, as it wrote it.
    pub order: Label,
    /// The channel's own transaction number.
    pub provider_txn: Label,
    /// What was paid.
    pub paid: Money,
    /// Why it was not credited.
    pub reason: Reason,
    /// Where the raw callback lies in INBOX.
    pub inbox: u64,
}

/// The end of a payment in suspense. The act that made it is the event's own id, so it is made once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspenseResolved {
    /// Which one: the sequence of its `payment_suspended`, on this subject.
    pub payment: u64,
    /// The channel's own transaction number, as the payment has it.
    pub provider_txn: Label,
    /// What was paid, as the payment has it.
    pub paid: Money,
    /// What becomes of it.
    pub resolution: Resolution,
    /// Why.
    pub reason: Reason,
}

/// What becomes of a payment in suspense.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resolution {
    /// It is a user's: an order of that account, made for it, takes the money from here and credits it.
    Claimed {
        /// Whose.
        account: AccountId,
        /// The order.
        order: OrderId,
    },
    /// The payer has it back.
    Returned {
        /// How.
        by: ReturnedBy,
        /// What the refund is called: the channel's number, or the operator's note of a transfer.
        reference: Option<Label>,
    },
    /// There never was such money: the channel told of one payment twice, under two orders.
    Dismissed,
}

/// How a payment went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnedBy {
    /// By a refund at the channel.
    Channel,
    /// By an operator, outside the gateway.
    Hand,
}

/// Something that a payment channel did as a whole, to no account in particular.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ChannelEvent {
    /// It kept its fee of a day's payments.
    ChannelFeePosted(ChannelFeePosted),
}

/// What a channel kept of a day's payments, or by how much it is other than was posted before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelFeePosted {
    /// The day, as the channel counts days: `2026-11-21`.
    pub day: Label,
    /// The difference to what was posted for this day and currency before; not zero.
    pub fee: Money,
    /// SHA-256 of the bill that says so, in hexadecimal.
    pub bill: Label,
}

/// Any event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A decision about one account.
    Account(AccountId, AccountEvent),
    /// A report of one node.
    Node(EpochId, NodeEvent),
    /// A payment at one channel that matches nothing.
    Suspense(ChannelName, SuspenseEvent),
    /// What one channel did as a whole.
    Channel(ChannelName, ChannelEvent),
}

/// An event as it stands on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<E> {
    /// The stream sequence: the global order and the only position.
    pub sequence: u64,
    /// The event's own id.
    pub id: EventId,
    /// 1, 2, 3… within its subject.
    pub version: u64,
    /// When it was decided, by the writer's clock; never used to order.
    pub at: Moment,
    /// Who caused it.
    pub actor: Actor,
    /// The caller's idempotency key.
    pub key: Option<IdempotencyKey>,
    /// What happened.
    pub event: E,
}

impl<E> Recorded<E> {
    /// The same record around another event.
    pub fn with<F>(&self, event: F) -> Recorded<F> {
        Recorded {
            sequence: self.sequence,
            id: self.id,
            version: self.version,
            at: self.at,
            actor: self.actor.clone(),
            key: self.key.clone(),
            event,
        }
    }
}
