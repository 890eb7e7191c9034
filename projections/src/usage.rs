//! Usage: every call's record, and sums by the hour.
//!
//! Owns: `usage_records`, `usage_hourly`, `usage_carried`. Answers: call history, a call's receipt, statistics, margin.
//! Claims: one row per (lease, n), but for calls that left for an archive ([`Archiving`]); the hourly sums equal the records to the nano; a receipt holds all that its charge
//! was made of.

mod archive;
#[cfg(test)]
pub(crate) mod archive_tests;
mod fold;
#[cfg(test)]
mod listing_tests;
mod query;
mod stats;

pub use archive::{Archive, ArchiveError, Archiving, MonthOfCalls, archives};
pub(crate) use archive::{Archived, SLOT, carried_in};
pub(crate) use fold::UsageRows;
pub use query::{Receipt, UsageFilter, find, get, list};
pub use stats::{DayOfModel, Latencies, StatsFilter, UsageBy, UsageStat, days_of_models, latencies, stats};
pub(crate) use stats::{TOKEN_COLUMNS, only_touching};
