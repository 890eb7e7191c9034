//! What can go wrong on the way to the log.

use domain::{AccountId, Refusal};

/// An error of this crate. A variant exists because some caller acts differently on it.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The rules of money say no. Nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Other writers were faster, again and again. Nothing was written; a retry can help.
    #[error("too many writers on account {account}")]
    Contended {
        /// The account.
        account: AccountId,
    },
    /// The log cannot be reached, or did not answer in time. What was sent may or may not have landed; the next
    /// attempt finds out.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// The log is not what it must be: another configuration, an altered or lost message, a foreign writer.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The server or its streams are not fit for a ledger.
    #[error("{0}")]
    Unfit(String),
    /// An event of a type or version that this binary does not know.
    #[error("event {sequence} is unknown to this version: {what}")]
    UnknownEvent {
        /// Its stream sequence.
        sequence: u64,
        /// Its type and version.
        what: String,
    },
}
