//! Leases: what nodes hold, and which usage records have been seen.
//!
//! Owns: `leases`. Answers: which leases are open, and which of them nobody renews ([`ledger::Projected`]); whether a usage
//! record is new.
//! Claims: a record counts once, by (lease, n), whoever reports it and how often; a closed lease never changes: a record
//! beyond its count is the operator's loss, decided by n and not by the order of arrival.

mod fold;
mod query;
mod stale;
#[cfg(test)]
mod tests;

pub(crate) use fold::{LeaseRows, named};
pub use query::{OpenLeaseRow, OpenLeases, counts, open};
