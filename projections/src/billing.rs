//! Billing: what an account's owner is shown of the money.
//!
//! Owns: `billing_records`. Answers: statements, a record's detail, statistics.
//! Claims: top-ups, grants and adjustments have a row each, consumption one per day in the operator's time zone;
//! completed top-ups + grants + adjustments − consumption is the account's total, to the nano.

mod fold;
mod query;
mod stats;

pub(crate) use fold::{BillingRows, COLUMNS};
pub(crate) use query::read;
pub use query::{BillingFilter, BillingKind, BillingRecord, UnknownKind, get, list};
pub use stats::{BillingBy, BillingStat, stats};
