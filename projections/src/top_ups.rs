//! Top-ups: the orders and how far they got.
//!
//! Owns: `top_up_orders`. Answers: an order's page, the callback road's "whose order is this?", the poller's work list.
//! Claims: one row per order; its status is that of the order's last event.

mod fold;
mod query;

pub(crate) use fold::TopUpRows;
pub use query::{
    OrderStatus, TopUpOrder, completed_between, counted_since, find, get, list, of_orders, paid_by, pending,
    standing,
};
