//! Payments: how money comes in.
//!
//! For: the ways to pay ([`Channel`], kept in [`Channels`]), what may be paid and what it buys ([`Terms`]), opening a
//! top-up ([`top_up`]) within a user's [`limits`] and with its [`bonus`], the road that every payment callback takes
//! ([`callback`]), and how money goes back, with our will ([`refunds`]) or against it ([`disputes`]).
//! May not touch: balances. A payment becomes credits by one command to the ledger, never by a write to a table, and so does what
//! goes back.
//! Claims: nothing is decided about a callback before it is stored; a gateway hears its success word only after the
//! durable append; a payment that fits no order is kept in suspense, never dropped; an empty secret verifies nothing.

pub mod alipay;
pub mod bonus;
pub mod callback;
pub mod channel;
pub mod config;
mod configured;
pub mod crypto;
pub mod disputes;
pub mod epay;
pub mod evidence;
pub mod fields;
pub mod form;
pub mod gateway;
pub mod limits;
pub mod poller;
pub mod refunds;
pub mod sandbox;
pub mod stripe;
pub mod suspense;
pub mod terms;
#[cfg(test)]
mod testing;
pub mod top_up;
pub mod wechat;

pub use channel::{
    Action, Bill, BillKind, BillWish, CallbackFault, Channel, ChannelError, Channels, ChannelsError, Closing,
    Created, DisputeNotice, DisputeStage, FormField, Method, NewOrder, Notice, Payer, Payment, PaymentState,
    RefundNotice, RefundState, RefundWish, Refunded, Reply, Verdict,
};
pub use sandbox::{Sandbox, SandboxError, SandboxOptions};
pub use terms::{CurrencyTerms, Terms, TermsError};
