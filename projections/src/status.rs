//! Status: where the tables stand and whether the log is still theirs, asked from outside of a running engine.

use crate::checksum::{TABLES, checksum};
use crate::compare::fits;
use crate::{Checkpoint, Database, DatabaseError, Halt, ProjectionError};
use ledger::{LedgerError, Log};

/// Where the tables stand.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// The last sequence in the tables.
    pub position: u64,
    /// The log's last sequence.
    pub last_sequence: u64,
    /// How many messages the tables are behind it.
    pub lag: u64,
    /// The stream that the tables were made of: its name.
    pub stream: String,
    /// When that stream was created, as its server writes it.
    pub created: String,
    /// Why projectors refuse to go on with these tables and this log; a person has to look.
    pub halted: Option<String>,
    /// The projected tables, by name.
    pub tables: Vec<TableStatus>,
    /// The position that the tables' checksums are of; `None`: not asked for.
    pub checksum_position: Option<u64>,
}

/// A projected table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableStatus {
    /// Its name.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// Its checksum, if it was asked for: see [`crate::TableChecksum`].
    pub sha256: Option<String>,
}

/// Reads where the tables stand; with `checksums` one of each table, all at one position.
pub async fn status(db: &Database, log: &Log, checksums: bool) -> Result<Status, ProjectionError> {
    let (tables, checksum_position) = match checksums {
        true => {
            let sums = checksum(db).await?;
            let tables = sums.tables.into_iter();
            let tables =
                tables.map(|it| TableStatus { table: it.table, rows: it.rows, sha256: Some(it.sha256) });
            (tables.collect(), Some(sums.position))
        }
        false => (counts(db).await?, None),
    };
    let checkpoint = Checkpoint::read(db).await?;
    let last_sequence = log.identity().await?.last_sequence;
    let halted = match fits(&checkpoint, log).await {
        Ok(()) if checkpoint.sequence < last_sequence => {
            next_is_unreadable(log, checkpoint.sequence + 1).await?
        }
        Ok(()) => None,
        Err(ProjectionError::Halt(halt)) => Some(halt.to_string()),
        Err(error) => return Err(error),
    };
    Ok(Status {
        position: checkpoint.sequence,
        last_sequence,
        lag: last_sequence.saturating_sub(checkpoint.sequence),
        stream: checkpoint.stream,
        created: checkpoint.created,
        halted,
        tables,
        checksum_position,
    })
}

/// Why a message that is due cannot be applied; `None`: it can, as far as reading it tells.
async fn next_is_unreadable(log: &Log, sequence: u64) -> Result<Option<String>, LedgerError> {
    match log.at(sequence).await {
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(Some(Halt::Hole { sequence }.to_string())),
        Err(error @ (LedgerError::UnknownEvent { .. } | LedgerError::Damaged(_))) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

async fn counts(db: &Database) -> Result<Vec<TableStatus>, DatabaseError> {
    let mut tables = Vec::with_capacity(TABLES.len());
    for (table, _) in TABLES {
        let row = db.fetch_one(&format!("SELECT COUNT(*) AS row_count FROM {table}"), &[]).await?;
        tables.push(TableStatus { table, rows: row.count("row_count")?, sha256: None });
    }
    Ok(tables)
}
