//! What can go wrong while the log is applied.

use crate::DatabaseError;
use domain::{AccountId, LeaseId};
use ledger::LedgerError;

/// An error of the engine. A variant exists because the engine acts differently on it.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The database failed; [`DatabaseError::is_unavailable`] says whether to try again.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The log failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Going on would make the tables wrong.
    #[error(transparent)]
    Halt(#[from] Halt),
}

/// Why the engine stopped for good. A person has to look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Another stream, or one created anew.
    #[error("the tables belong to stream {expected}, the log is stream {found}")]
    OtherStream {
        /// Name and creation of the stream that the tables were made of.
        expected: String,
        /// Name and creation of the stream that is there.
        found: String,
    },
    /// The log ends before the checkpoint: it has lost its tail.
    #[error("the log ends at {last}, the tables were made up to {checkpoint}: the log has lost its tail")]
    ShorterLog {
        /// The log's last sequence.
        last: u64,
        /// The checkpoint.
        checkpoint: u64,
    },
    /// Another message stands at the checkpoint, or none.
    #[error("the message at {checkpoint} is not the one that the tables were made of: the log was altered")]
    OtherMessage {
        /// The checkpoint.
        checkpoint: u64,
    },
    /// A sequence is missing although nothing may be deleted.
    #[error("message {sequence} is missing from the log")]
    Hole {
        /// The missing sequence.
        sequence: u64,
    },
    /// An account's versions do not follow one another.
    #[error("account {account}: version {found} at {sequence} where {expected} was due")]
    VersionGap {
        /// The account.
        account: AccountId,
        /// The version that was due.
        expected: u64,
        /// The version that came.
        found: u64,
        /// Where it stands.
        sequence: u64,
    },
    /// An event changes a lease that is not open.
    #[error("the event at {sequence} changes lease {lease}, which is not open")]
    LeaseNotOpen {
        /// The lease.
        lease: LeaseId,
        /// Where the event stands.
        sequence: u64,
    },
    /// A lease is granted that was granted before.
    #[error("the event at {sequence} grants lease {lease} a second time")]
    LeaseTwice {
        /// The lease.
        lease: LeaseId,
        /// Where the event stands.
        sequence: u64,
    },
    /// An event ends an order that never began.
    #[error("account {account}: an event ends order {order}, which never began")]
    UnknownOrder {
        /// The account.
        account: AccountId,
        /// The order.
        order: String,
    },
    /// A sum that does not fit.
    #[error("account {account}: a sum does not fit at {sequence}")]
    Overflow {
        /// The account.
        account: AccountId,
        /// Where it happened.
        sequence: u64,
    },
    /// A sum of the books that does not fit: no honest log comes near it.
    #[error("a sum of the books does not fit at {sequence}")]
    BooksOverflow {
        /// Where it happened.
        sequence: u64,
    },
    /// A message that this binary does not understand, or one that is damaged.
    #[error("{0}")]
    Unreadable(String),
    /// The database will not take or give a row, however often it is asked.
    #[error("the database refuses: {why}")]
    RefusedRow {
        /// What it says.
        why: String,
    },
}

/// An error with what caused it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
