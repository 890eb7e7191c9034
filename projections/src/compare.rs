//! Comparing: the projected tables of two databases, or of two sets in one, row by row.
//!
//! For: what a rebuild reports before it swaps, and what `ledger verify` says about the tables.
//! May not touch: which of the two is right; the caller calls one "found" and the other "expected".
//! Claims: a row that is missing, one that should not be there and every value that differs is counted, and the first of
//! them are named with table, key and column; memory does not grow with the tables; a value that cannot even be read is a
//! difference and no error.

use crate::balances::is_older_snapshot;
use crate::checksum::TABLES;
use crate::database::Cell;
use crate::engine::check;
use crate::rebuild::{Filler, Limits, Schema, identity};
use crate::usage::Archived;
use crate::{Checkpoint, Database, DatabaseError, ProjectionError, Row, Tx};
use chrono::FixedOffset;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use ledger::Log;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// What a comparison of all projected tables found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableReport {
    /// The position that both sides were at.
    pub position: u64,
    /// One for each projected table, by name.
    pub tables: Vec<TableComparison>,
}

/// What a comparison of one table found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableComparison {
    /// Its name.
    pub table: &'static str,
    /// How many rows were found.
    pub rows: u64,
    /// Rows that are as expected.
    pub equal: u64,
    /// Rows that were expected and not found.
    pub missing: u64,
    /// Rows that were found and not expected.
    pub extra: u64,
    /// Rows that were found with other values than expected.
    pub different: u64,
    /// The first differences, by key.
    pub differences: Vec<Difference>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The row's primary key: `lease=…, n=…`.
    pub key: String,
    /// The column that differs; `None`: the row is missing or extra.
    pub column: Option<String>,
    /// What the column holds; `None`: NULL, or no row.
    pub found: Option<String>,
    /// What it should hold; `None`: NULL, or no row.
    pub expected: Option<String>,
    /// What is wrong with the row.
    pub kind: DifferenceKind,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// It was expected and not found.
    Missing,
    /// It was found and not expected.
    Extra,
    /// A value in it is another one.
    Different,
}

/// How [`verify_tables`] works.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The operator's time zone, as the projector has it.
    pub time_zone: FixedOffset,
    /// How many differences of each table are named; all are counted.
    pub most_differences: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { time_zone: chrono::Offset::fix(&chrono::Utc), most_differences: 10 }
    }
}

impl TableReport {
    /// Is everything as expected?
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(TableComparison::is_equal)
    }
}

impl TableComparison {
    fn of(table: &'static str) -> Self {
        Self { table, rows: 0, equal: 0, missing: 0, extra: 0, different: 0, differences: Vec::new() }
    }

    /// Is the table as expected?
    pub fn is_equal(&self) -> bool {
        self.missing + self.extra + self.different == 0
    }
}

/// Folds the log up to the live checkpoint into a scratch database in the temporary folder, and compares every row of every
/// projected table with it, while projectors and readers go on.
///
/// Errors: a [`crate::Halt`] when the log is not the one that the tables were made of, so that there is nothing to compare
/// with; what reading the log or the tables fails with.
pub async fn verify_tables(
    db: &Database,
    log: &Log,
    options: &VerifyOptions,
) -> Result<TableReport, ProjectionError> {
    let scratch = Scratch::new().await?;
    let (own, zone, archived) = (scratch.db.clone(), options.time_zone, Archived::read(db).await?);
    let mut filler =
        Filler::new(own, None, false, log.clone(), zone, Limits::default(), archived.clone()).await?;
    fits(&Checkpoint::read(db).await?, log).await?;
    // Most of the work before the live tables' state is held.
    filler.up_to(crate::position(db).await?).await?;
    let present = Schema::plain(db.dialect()).present(db).await?;
    let mut found = db.snapshot().await?;
    let checkpoint = held(&mut found, &present).await?;
    fits(&checkpoint, log).await?;
    if Archived::read_in(&mut found).await? != archived {
        let why = "calls are being taken out of the tables into an archive; verify when that is done";
        return Err(DatabaseError::Config(why.to_owned()).into());
    }
    filler.up_to(checkpoint.sequence).await?;
    let mut expected = scratch.db.snapshot().await?;
    let report =
        compare(&mut found, &present, &mut expected, checkpoint.sequence, options.most_differences).await?;
    found.rollback().await?;
    expected.rollback().await?;
    Ok(report)
}

/// Is the log the one that a checkpoint is about?
pub(crate) async fn fits(checkpoint: &Checkpoint, log: &Log) -> Result<(), ProjectionError> {
    let at_checkpoint = match checkpoint.sequence {
        0 => None,
        sequence => log.hash_at(sequence).await?,
    };
    Ok(check(checkpoint, &identity(log).await?, at_checkpoint)?)
}

/// The checkpoint of a snapshot whose tables nobody swaps while it lasts.
pub(crate) async fn held(tx: &mut Tx, present: &BTreeSet<String>) -> Result<Checkpoint, DatabaseError> {
    tx.keep_tables(present).await?;
    Checkpoint::read_in(tx).await
}

/// A database for one comparison, gone when dropped.
struct Scratch {
    db: Database,
    _folder: tempfile::TempDir,
}

impl Scratch {
    async fn new() -> Result<Self, DatabaseError> {
        let folder = tempfile::Builder::new().prefix("nexusroute-").tempdir();
        let folder = folder
            .map_err(|error| DatabaseError::Config(format!("no temporary folder can be made: {error}")))?;
        let db = Database::scratch(&folder.path().join("scratch.db")).await?;
        Schema::plain(db.dialect()).create(&db).await?;
        Ok(Self { db, _folder: folder })
    }
}

/// Compares all projected tables as two transactions see them; of those found some may not be `present`.
pub(crate) async fn compare(
    found: &mut Tx,
    present: &BTreeSet<String>,
    expected: &mut Tx,
    position: u64,
    most_differences: usize,
) -> Result<TableReport, DatabaseError> {
    let mut tables = Vec::with_capacity(TABLES.len());
    for (table, keys) in TABLES {
        let mut report = Comparison { table: TableComparison::of(table), keys, most_differences };
        let sql = format!("SELECT * FROM {table} ORDER BY {}", keys.join(", "));
        let found = match present.contains(table) {
            true => found.stream(&sql),
            false => futures_util::stream::empty().boxed(),
        };
        compare_table(found, expected.stream(&sql), &mut report).await?;
        tables.push(report.table);
    }
    Ok(TableReport { position, tables })
}

async fn compare_table(
    found: BoxStream<'_, Result<Row, DatabaseError>>,
    expected: BoxStream<'_, Result<Row, DatabaseError>>,
    report: &mut Comparison,
) -> Result<(), DatabaseError> {
    let (mut found_rows, mut expected_rows) = (found, expected);
    let mut found = found_rows.next().await.transpose()?;
    let mut expected = expected_rows.next().await.transpose()?;
    let mut both = None;
    let (mut found_key, mut expected_key) = (Vec::new(), Vec::new());
    loop {
        if let (true, Some(row)) = (found_key.is_empty(), &found) {
            found_key = places(row, report.keys);
        }
        if let (true, Some(row)) = (expected_key.is_empty(), &expected) {
            expected_key = places(row, report.keys);
        }
        let order = match (&found, &expected) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => by_key((one, &found_key), (other, &expected_key)),
        };
        if let (Ordering::Less, Some(row)) = (order, &found) {
            report.table.extra += 1;
            report.name((row, &found_key), DifferenceKind::Extra, None);
        }
        if let (Ordering::Greater, Some(row)) = (order, &expected) {
            report.table.missing += 1;
            report.name((row, &expected_key), DifferenceKind::Missing, None);
        }
        if let (Ordering::Equal, Some(one), Some(other)) = (order, &found, &expected) {
            let columns = both.get_or_insert_with(|| columns_of(one, other));
            report.compare_rows((one, &found_key), other, columns);
        }
        if order.is_le() {
            report.table.rows += 1;
            found = found_rows.next().await.transpose()?;
        }
        if order.is_ge() {
            expected = expected_rows.next().await.transpose()?;
        }
    }
}

/// A column's name, and its places in the rows found and in those expected.
type Column = (String, Option<usize>, Option<usize>);

fn columns_of(found: &Row, expected: &Row) -> Vec<Column> {
    let (theirs, ours) = (found.columns(), expected.columns());
    let names: BTreeSet<&str> = theirs.iter().chain(&ours).copied().collect();
    let place = |names: &[&str], name| names.iter().position(|it| *it == name);
    names.into_iter().map(|name| (name.to_owned(), place(&theirs, name), place(&ours, name))).collect()
}

/// The places of the key's columns.
fn places(row: &Row, keys: &[&str]) -> Vec<usize> {
    let names = row.columns();
    keys.iter().filter_map(|key| names.iter().position(|name| name == key)).collect()
}

/// Which of two rows comes first. A row whose key cannot be read was never expected: it goes before all others, so that it
/// takes nothing along.
fn by_key(found: (&Row, &[usize]), expected: (&Row, &[usize])) -> Ordering {
    for (at, to) in found.1.iter().zip(expected.1) {
        let one = Seen::of(found.0, *at);
        let order = match one {
            Seen::Unreadable(_) => return Ordering::Less,
            Seen::Null | Seen::Int(_) | Seen::Text(_) => one.cmp(&Seen::of(expected.0, *to)),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// A value as it was found, readable or not. The order is that of primary keys in all three databases.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Unreadable(String),
}

impl<'a> Seen<'a> {
    fn of(row: &'a Row, at: usize) -> Self {
        match row.cell(at) {
            Ok(Cell::Null) => Self::Null,
            Ok(Cell::Int(value)) => Self::Int(value),
            Ok(Cell::Text(text)) => Self::Text(text),
            Err(error) => Self::Unreadable(format!("unreadable: {}", crate::error::with_sources(&error))),
        }
    }

    fn shown(self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Int(value) => Some(value.to_string()),
            Self::Text(text) => Some(text.to_owned()),
            Self::Unreadable(why) => Some(why),
        }
    }
}

struct Comparison {
    table: TableComparison,
    keys: &'static [&'static str],
    most_differences: usize,
}

impl Comparison {
    fn compare_rows(&mut self, found: (&Row, &[usize]), expected: &Row, columns: &[Column]) {
        let value = |row, place: &Option<usize>| match place {
            Some(at) => Seen::of(row, *at),
            None => Seen::Unreadable("no such column".to_owned()),
        };
        let mut differ = Vec::new();
        for (name, at, to) in columns {
            let (one, other) = (value(found.0, at), value(expected, to));
            if one != other {
                differ.push((name.as_str(), one, other));
            }
        }
        let names: Vec<&str> = differ.iter().map(|(name, ..)| *name).collect();
        if names.is_empty() || (self.table.table == "account_states" && is_older_snapshot(found.0, &names)) {
            self.table.equal += 1;
            return;
        }
        self.table.different += 1;
        for (column, one, other) in differ {
            let value = (column.to_owned(), one.shown(), other.shown());
            self.name(found, DifferenceKind::Different, Some(value));
        }
    }

    /// Names a difference, if not enough are named already.
    fn name(
        &mut self,
        (row, key): (&Row, &[usize]),
        kind: DifferenceKind,
        value: Option<(String, Option<String>, Option<String>)>,
    ) {
        if self.table.differences.len() >= self.most_differences {
            return;
        }
        let parts = self.keys.iter().zip(key);
        let parts =
            parts.map(|(name, at)| format!("{name}={}", Seen::of(row, *at).shown().unwrap_or_default()));
        let key = parts.collect::<Vec<_>>().join(", ");
        let (column, found, expected) = match value {
            None => (None, None, None),
            Some((column, found, expected)) => (Some(column), found, expected),
        };
        self.table.differences.push(Difference { key, column, found, expected, kind });
    }
}

#[cfg(test)]
mod tests;
