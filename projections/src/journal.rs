//! The journal: debits and credits, and the books made of them.
//!
//! Owns: `journal_entries` (the lines of decisions and of payments in suspense), `journal_daily` (the sums of all lines by
//! day and book; usage is only here). Answers: the trial balance of a day, lines, what an account had at a position.
//! Claims: the lines of an event, of a day and of any stretch of days sum to zero per unit; usage is booked as it was
//! counted (once, and wholly as the operator's loss where it came too late), so the books' debt to an account is its
//! balance's `total`; no sum of honest amounts is too large for its row.

mod fold;
mod query;
#[cfg(test)]
pub(crate) mod tests;
mod trial;

pub(crate) use fold::{BILLION, JournalRows};
pub use query::{
    BookPrefix, Entry, EntryCursor, EntryFilter, EntryPage, UnknownPrefix, entries, entries_of, total_at,
};
pub use trial::{BookSums, Sums, TrialBalance, trial_balance};
