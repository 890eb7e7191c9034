//! Checksums of the projected tables.
//!
//! For: comparing databases. The same log gives the same rows in SQLite, PostgreSQL and MySQL, and the same checksums.
//! Claims: all tables are read in one state, at one position; a checksum depends on every value of every row, and on
//! nothing else: not on the database, nor on the order in which rows or columns were made; memory does not grow with the
//! tables.

use crate::database::Cell;
use crate::{Checkpoint, Database, DatabaseError, Row, Tx};
use sha2::{Digest, Sha256};

/// Every projected table but the checkpoint's, with its primary key: rows are read in its order.
pub(crate) const TABLES: [(&str, &[&str]); 12] = [
    ("account_balances", &["account"]),
    ("account_states", &["account"]),
    ("billing_records", &["id"]),
    ("chargebacks", &["account", "chargeback_id"]),
    ("journal_daily", &["day", "unit", "book"]),
    ("journal_entries", &["event_seq", "line"]),
    ("leases", &["lease"]),
    ("refunds", &["account", "refund_id"]),
    ("top_up_orders", &["account", "order_id"]),
    ("usage_carried", &["account", "slot", "model"]),
    ("usage_hourly", &["account", "hour", "day", "key_id", "model", "provider"]),
    ("usage_records", &["lease", "n"]),
];

/// What the tables held at a position. Equal logs up to equal positions give equal ones.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Checksums {
    /// The position: the last sequence in the tables.
    pub position: u64,
    /// One for each projected table, by name.
    pub tables: Vec<TableChecksum>,
}

/// A table's checksum.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableChecksum {
    /// Its name.
    pub table: &'static str,
    /// How many rows it has.
    pub rows: u64,
    /// Hex SHA-256 over the rows by primary key; of each its values by the columns' names. NULL is `-;`, an integer is
    /// its decimal digits and `;`, a text is its length in bytes, `:`, its UTF-8 and `;`; a row ends in a line feed.
    pub sha256: String,
}

/// Reads all projected tables and sums them up, while projectors and readers go on.
pub async fn checksum(db: &Database) -> Result<Checksums, DatabaseError> {
    let mut tx = db.snapshot().await?;
    tx.keep_tables(&TABLES.iter().map(|(table, _)| (*table).to_owned()).collect()).await?;
    let position = Checkpoint::read_in(&mut tx).await?.sequence;
    let mut tables = Vec::with_capacity(TABLES.len());
    for (table, keys) in TABLES {
        tables.push(of_table(&mut tx, table, keys).await?);
    }
    tx.rollback().await?;
    Ok(Checksums { position, tables })
}

async fn of_table(tx: &mut Tx, table: &'static str, keys: &[&str]) -> Result<TableChecksum, DatabaseError> {
    let sql = format!("SELECT * FROM {table} ORDER BY {}", keys.join(", "));
    let (mut rows, mut digest, mut order, mut line) = (0, Sha256::new(), None, Vec::new());
    tx.for_each(&sql, &[], |row| {
        // A migration may add a column at the end of a table that another database makes with it.
        let order = order.get_or_insert_with(|| by_name(&row));
        line.clear();
        for column in order {
            write(&mut line, &row.cell(*column)?);
        }
        line.push(b'\n');
        digest.update(&line);
        rows += 1;
        Ok(())
    })
    .await?;
    Ok(TableChecksum { table, rows, sha256: hex::encode(digest.finalize()) })
}

/// The places of a row's columns, in the order of their names.
fn by_name(row: &Row) -> Vec<usize> {
    let names = row.columns();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|at| names.get(*at));
    order
}

fn write(line: &mut Vec<u8>, cell: &Cell<'_>) {
    match cell {
        Cell::Null => line.push(b'-'),
        Cell::Int(value) => line.extend_from_slice(value.to_string().as_bytes()),
        Cell::Text(text) => {
            line.extend_from_slice(text.len().to_string().as_bytes());
            line.push(b':');
            line.extend_from_slice(text.as_bytes());
        }
    }
    line.push(b';');
}

#[cfg(test)]
mod tests;
