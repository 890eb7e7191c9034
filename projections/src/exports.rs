//! Exports: whole tables read row by row, in one state.
//!
//! For: handing over the journal, the trial balance, billing records, usage, deferred revenue and margins, however many rows
//! they are ([`Reader`]).
//! May not touch: files and formats; deciding anything.
//! Claims: all that a reader hands over is of one position of the log, so that its parts add up; no more than a row is held
//! in memory; the journal's lines of any span add up to its trial balance, book by book, the sums of usage included.

mod billing;
mod deferred;
mod journal;
mod usage;

pub use billing::BillingLine;
pub use deferred::Deferred;
pub(crate) use journal::trial;
pub use journal::{BookMove, Cut, JournalLine, LineSource, Span};
pub use usage::{MarginLine, UsageLine};

use crate::{Checkpoint, Database, DatabaseError, Row, Tx, Value};

/// One state of the tables, to be read from for as long as it takes. It keeps a connection; PostgreSQL and MySQL keep old rows
/// for it meanwhile, as SQLite keeps its write-ahead log.
#[derive(Debug)]
pub struct Reader {
    tx: Tx,
    position: u64,
}

impl Reader {
    /// Takes hold of the present state.
    pub async fn open(db: &Database) -> Result<Self, DatabaseError> {
        let mut tx = db.snapshot().await?;
        let position = Checkpoint::read_in(&mut tx).await?.sequence;
        Ok(Self { tx, position })
    }

    /// Every event up to this one is in what is read, and none behind it.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Hands over the rows of a query about tables of which this crate knows nothing, in the same state.
    pub async fn each(
        &mut self,
        sql: &str,
        values: &[Value],
        with: impl FnMut(Row) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        self.tx.for_each(sql, values, with).await
    }

    /// Lets the state go.
    pub async fn close(self) -> Result<(), DatabaseError> {
        self.tx.rollback().await
    }
}

#[cfg(test)]
pub(crate) mod tests;
