//! The rules of money, as pure functions.
//!
//! For: what a credit, a price, an account, a lease and an event are; whether a command may happen
//! ([`account::decide`]), what an event changes ([`account::Account::evolve`]) and which journal lines it makes
//! ([`posting::postings`]).
//! May not touch: clocks, randomness, I/O, NATS, SQL, HTTP. Times and ids arrive as arguments.
//! Claims: no accepted sequence of commands takes what is available below zero; postings sum to zero per unit;
//! every amount is a checked integer, and every rounding has a name.

pub mod account;
pub mod credits;
pub mod event;
pub mod id;
pub mod money;
pub mod posting;
pub mod price;
mod short;
pub mod suspense;
pub mod text;
pub mod time;
pub mod usage;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod samples;

pub use account::{Account, Command, Decision, Refusal, decide};
pub use credits::Credits;
pub use event::{AccountEvent, Actor, ActorKind, ChannelEvent, Event, NodeEvent, Recorded, SuspenseEvent};
pub use id::{
    AccountId, AdjustmentId, BatchId, ChargebackId, EpochId, EventId, GrantId, KeyId, LeaseId, OrderId,
    PriceVersionId, RefundId, RequestId,
};
pub use money::{Currency, Money};
pub use posting::{Book, Posting, Split, Unit, postings};
pub use price::{MediaUnit, Prices, Tokens, UnitPrices};
pub use suspense::Suspense;
pub use text::{ChannelName, IdempotencyKey, Label, Reason};
pub use time::Moment;
pub use usage::{Outcome, UsageRecord, UsageSource};
