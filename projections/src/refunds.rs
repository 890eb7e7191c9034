//! Refunds and chargebacks: what of orders goes back to payers, and how far it got.
//!
//! Owns: `refunds`, `chargebacks`. Answers: an owner's and the operators' lists, the list of what is approved and not done, "whose
//! refund is this?" of a gateway's callback.
//! Claims: one row per refund and per chargeback; its status is that of its last event.

mod fold;
mod query;

pub(crate) use fold::RefundRows;
pub use query::{
    Chargeback, Refund, RefundFilter, RefundStatus, UnknownRefundStatus, chargeback, ended_between, find,
    get, list, of_order, of_orders,
};
