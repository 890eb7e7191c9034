//! Calls that leave the table: whole months of them, which stand in a file by then.
//!
//! May not touch: files and their format; when a month is due.
//! Claims: of a call that left the table its sums stay, by account, quarter of an hour and model, so that every balance and
//! every statement is what it was, to the nano; each step takes rows out and adds their sums, or does nothing; a rebuild leaves
//! out exactly what left, because what is archived is told by a month and a position of the log and by nothing else.
//!
//! # What is archived
//!
//! A row of `usage_archives` says: calls that ended in this month (UTC) and stand on the log at `position` or before. They leave
//! in steps, in the order in which they ended; `removed_to` says how far that is. A call of the month that is reported later
//! stays in the table until the month is archived once more, behind that position.
//!
//! Nothing else changes a call that left: it is counted as paid or not when it is reported, or taken back when its lease is
//! closed, and a month waits until no lease of its calls is open ([`Archiving::begin_month`]).

use super::query::{Receipt, read};
use crate::periods::Month;
use crate::rebuild::RebuildLock;
use crate::{Checkpoint, Database, DatabaseError, Dialect, Set, Tx, Value};
use domain::{AccountId, Credits, Moment};
use std::collections::BTreeMap;
use std::time::Duration;

/// The sums' span: every zone's days begin at one of its multiples, which hours do not do.
pub(crate) const SLOT: i64 = 15 * 60 * 1_000_000;
/// Rows of one step. Projectors wait meanwhile, and on SQLite whoever writes.
const STEP: i64 = 5_000;
/// How long others may write between two steps on SQLite, where those who wait look again every 100 ms.
const PAUSE: Duration = Duration::from_millis(110);

/// Calls of a month that stand in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The month, in UTC.
    pub month: Month,
    /// Those that stand on the log up to here.
    pub position: u64,
    /// The last sequence that one of them stands at.
    pub last_seq: u64,
    /// The file's name.
    pub file: String,
    /// Hex SHA-256 of the file.
    pub sha256: String,
    /// How many they are.
    pub rows: u64,
    /// What was paid for them.
    pub paid: Credits,
    /// Those that ended before this moment have left the table.
    pub removed_to: Moment,
    /// When the file was made.
    pub created_at: Moment,
}

impl Archive {
    /// Have all of its calls left the table?
    pub fn is_done(&self) -> bool {
        self.removed_to >= self.month.ends()
    }
}

/// Why calls did not leave the table.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A rebuild of the tables, or another archiving, is under way.
    #[error("a rebuild of these tables, or another archiving, is under way")]
    UnderWay,
    /// Leases of its calls are open, so that these may still change.
    #[error("{month} waits: {leases} leases of its calls are open")]
    Open {
        /// The month.
        month: Month,
        /// How many.
        leases: u64,
    },
    /// The table holds other calls than the file. Nothing more leaves it.
    #[error("{month}: the table's calls are not the file's: {found} where {expected} were expected")]
    Differs {
        /// The month.
        month: Month,
        /// How many rows the table would give.
        found: u64,
        /// How many it should.
        expected: u64,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What has left the tables, as a fold needs to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Archived(Vec<(i64, i64, u64)>);

impl Archived {
    /// As the database has it in this state.
    pub(crate) async fn read_in(tx: &mut Tx) -> Result<Self, DatabaseError> {
        let all = archives_in(tx).await?;
        let span = |it: &Archive| (it.month.begins().micros(), it.removed_to.micros(), it.position);
        Ok(Self(all.iter().map(span).collect()))
    }

    /// As the database has it.
    pub(crate) async fn read(db: &Database) -> Result<Self, DatabaseError> {
        let mut tx = db.snapshot().await?;
        let archived = Self::read_in(&mut tx).await?;
        tx.rollback().await?;
        Ok(archived)
    }

    /// Has a call left that ended then and stands there on the log?
    pub(crate) fn has(&self, ended: Moment, sequence: u64) -> bool {
        let at = ended.micros();
        self.0
            .iter()
            .any(|(begin, removed_to, position)| (*begin..*removed_to).contains(&at) && sequence <= *position)
    }
}

/// The sums of calls that left, or are leaving.
#[derive(Debug, Default)]
pub(crate) struct Carried(BTreeMap<(AccountId, i64, String), Sum>);

#[derive(Clone, Copy, Debug)]
struct Sum {
    calls: i64,
    paid: i64,
    last: i64,
}

impl Carried {
    /// Adds calls of one account and model that ended then; `None`: a sum does not fit.
    pub(crate) fn add(
        &mut self,
        account: AccountId,
        ended: Moment,
        model: &str,
        (calls, paid): (i64, Credits),
    ) -> Option<()> {
        let slot = ended.micros() - ended.micros().rem_euclid(SLOT);
        let call = Sum { calls, paid: paid.nano(), last: ended.micros() };
        self.merge((account, slot, model.to_owned()), call)
    }

    fn merge(&mut self, key: (AccountId, i64, String), sum: Sum) -> Option<()> {
        let into = self.0.entry(key).or_insert(Sum { calls: 0, paid: 0, last: sum.last });
        into.calls = into.calls.checked_add(sum.calls)?;
        into.paid = into.paid.checked_add(sum.paid)?;
        into.last = into.last.max(sum.last);
        Some(())
    }

    /// Moves them to those of earlier batches; `None`: a sum does not fit.
    pub(crate) fn move_to(&mut self, earlier: &mut Self) -> Option<()> {
        std::mem::take(&mut self.0).into_iter().try_for_each(|(key, sum)| earlier.merge(key, sum))
    }

    /// How many rows they are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds them to `usage_carried`.
    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), DatabaseError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut values = Vec::with_capacity(self.0.len() * 6);
        for ((account, slot, model), sum) in &self.0 {
            values.extend([(*account).into(), (*slot).into(), model.as_str().into()]);
            values.extend([sum.calls, sum.paid, sum.last].map(Value::from));
        }
        let sets = [Set::Add("calls"), Set::Add("paid"), Set::Larger("last_at")];
        let tail = tx.dialect().upsert("usage_carried", &["account", "slot", "model"], &sets);
        tx.insert("usage_carried", &["account", "slot", "model", "calls", "paid", "last_at"], &values, &tail)
            .await
    }
}

const ARCHIVE_COLUMNS: &str = "month, position, last_seq, file, sha256, calls, paid, removed_to, created_at";

async fn archives_in(tx: &mut Tx) -> Result<Vec<Archive>, DatabaseError> {
    let sql = format!("SELECT {ARCHIVE_COLUMNS} FROM usage_archives ORDER BY month, position");
    let mut all = Vec::new();
    tx.for_each(&sql, &[], |row| {
        all.push(Archive {
            month: row.parsed("month")?,
            position: row.count("position")?,
            last_seq: row.count("last_seq")?,
            file: row.text("file")?,
            sha256: row.text("sha256")?,
            rows: row.count("calls")?,
            paid: row.credits("paid")?,
            removed_to: row.moment("removed_to")?,
            created_at: row.moment("created_at")?,
        });
        Ok(())
    })
    .await?;
    Ok(all)
}

/// All that was archived, oldest month first.
pub async fn archives(db: &Database) -> Result<Vec<Archive>, DatabaseError> {
    let mut tx = db.snapshot().await?;
    let all = archives_in(&mut tx).await?;
    tx.rollback().await?;
    Ok(all)
}

/// What an account paid for calls that left the table, and the last sequence that any account's stands at (0: none left).
pub(crate) async fn carried_in(tx: &mut Tx, account: AccountId) -> Result<(i128, u64), DatabaseError> {
    let sum = tx.dialect().sum("paid");
    let sql = format!("SELECT {sum} AS paid FROM usage_carried WHERE account = ?");
    let paid = tx.fetch_one(&sql, &[account.into()]).await?.int("paid")?;
    let sql = "SELECT COALESCE(MAX(last_seq), 0) AS last_seq FROM usage_archives";
    Ok((paid.into(), tx.fetch_one(sql, &[]).await?.count("last_seq")?))
}

/// The right to archive: nobody else does, and nobody rebuilds, as long as it lasts.
pub struct Archiving {
    db: Database,
    aside: Database,
    lock: RebuildLock,
}

/// A month's calls in one state of the tables.
pub struct MonthOfCalls {
    /// The month.
    pub month: Month,
    /// The state's position: calls that stand on the log up to here.
    pub position: u64,
    tx: Tx,
}

impl Archiving {
    /// Takes the right. Errors: [`ArchiveError::UnderWay`].
    pub async fn begin(db: &Database) -> Result<Self, ArchiveError> {
        let aside = db.aside().await?;
        match RebuildLock::try_take(&aside).await {
            Ok(Some(lock)) => Ok(Self { db: db.clone(), aside, lock }),
            Ok(None) => {
                aside.close().await;
                Err(ArchiveError::UnderWay)
            }
            Err(error) => {
                aside.close().await;
                Err(error.into())
            }
        }
    }

    /// Gives it back.
    pub async fn end(self) {
        if let Err(error) = self.lock.release(self.aside.dialect()).await {
            tracing::info!(%error, "the lock of an archiving goes with its session");
        }
        self.aside.close().await;
    }

    /// The month of the oldest call in the table. `None`: there is none.
    pub async fn oldest(&self) -> Result<Option<Month>, DatabaseError> {
        let sql = "SELECT at FROM usage_records ORDER BY at, request_id LIMIT 1";
        let oldest = self.db.fetch_optional(sql, &[]).await?;
        oldest.map(|row| row.moment("at")).transpose().map(|at| at.and_then(Month::in_utc))
    }

    /// Holds a state of the tables to read a month's calls from. Errors: [`ArchiveError::Open`].
    pub async fn begin_month(&self, month: Month) -> Result<MonthOfCalls, ArchiveError> {
        let mut tx = self.db.snapshot().await?;
        let position = Checkpoint::read_in(&mut tx).await?.sequence;
        let sql = "SELECT COUNT(*) AS n FROM leases WHERE status = 'open' AND EXISTS (SELECT 1 FROM usage_records \
                   WHERE usage_records.lease = leases.lease AND usage_records.at >= ? AND usage_records.at < ?)";
        let leases = tx.fetch_one(sql, &[month.begins().into(), month.ends().into()]).await?.count("n")?;
        if leases > 0 {
            tx.rollback().await?;
            return Err(ArchiveError::Open { month, leases });
        }
        Ok(MonthOfCalls { month, position, tx })
    }

    /// Notes that a file holds these calls, so that they may leave the table.
    pub async fn note(&self, archive: &Archive) -> Result<(), DatabaseError> {
        let sql =
            format!("INSERT INTO usage_archives ({ARCHIVE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
        let values = [
            Value::display(archive.month),
            Value::count(archive.position),
            Value::count(archive.last_seq),
            archive.file.as_str().into(),
            archive.sha256.as_str().into(),
            Value::count(archive.rows),
            archive.paid.into(),
            archive.removed_to.into(),
            archive.created_at.into(),
        ];
        self.db.execute(&sql, &values).await.map(drop)
    }

    /// Takes the rest of a noted month's calls out of the table, step by step. Safe to call again after any error.
    pub async fn take_out(&mut self, archive: &Archive) -> Result<(), ArchiveError> {
        let mut removed_to = archive.removed_to;
        while removed_to < archive.month.ends() {
            self.lock.still_held().await?;
            removed_to = self.step(archive, removed_to).await?;
            if self.db.dialect() == Dialect::Sqlite {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// One step. With the checkpoint held nobody else changes the rows.
    async fn step(&self, archive: &Archive, from: Moment) -> Result<Moment, ArchiveError> {
        let mut tx = self.db.begin_watched().await?;
        match step_in(&mut tx, archive, from).await {
            Ok(to) => {
                tx.commit().await?;
                Ok(to)
            }
            Err(error) => {
                if let Err(error) = tx.rollback().await {
                    tracing::debug!(%error, "the roll back failed; the connection's end undoes it");
                }
                Err(error)
            }
        }
    }
}

async fn step_in(tx: &mut Tx, archive: &Archive, from: Moment) -> Result<Moment, ArchiveError> {
    Checkpoint::hold_in(tx).await?;
    let end = archive.month.ends();
    let key = [Value::display(archive.month), Value::count(archive.position)];
    let noted = "SELECT removed_to FROM usage_archives WHERE month = ? AND position = ?";
    let noted = tx.fetch_one(noted, &key).await?.moment("removed_to")?;
    // An answer to a commit was lost: the step is done.
    if noted > from {
        return Ok(noted);
    }
    let next = "SELECT at FROM usage_records WHERE at >= ? AND at < ? AND event_seq <= ? ORDER BY at LIMIT 1 OFFSET ?";
    let position = Value::count(archive.position);
    let values = [from.into(), end.into(), position.clone(), STEP.into()];
    let to = match tx.fetch_optional(next, &values).await? {
        // However many end in one microsecond leave together.
        Some(row) => row.moment("at")?.max(Moment::from_micros(from.micros() + 1)),
        None => end,
    };
    let (mut carried, mut rows, mut fits) = (Carried::default(), 0, true);
    let within = [from.into(), to.into(), position];
    let sql =
        "SELECT account, at, model, paid FROM usage_records WHERE at >= ? AND at < ? AND event_seq <= ?";
    tx.for_each(sql, &within, |row| {
        rows += 1;
        let call = (1, row.credits("paid")?);
        fits &= carried.add(row.parsed("account")?, row.moment("at")?, &row.text("model")?, call).is_some();
        Ok(())
    })
    .await?;
    if !fits {
        return Err(DatabaseError::column("paid", "holds a sum that does not fit").into());
    }
    carried.write(tx).await?;
    let gone = "DELETE FROM usage_records WHERE at >= ? AND at < ? AND event_seq <= ?";
    let gone = tx.execute(gone, &within).await?;
    let month = archive.month;
    if gone != rows {
        return Err(ArchiveError::Differs { month, found: gone, expected: rows });
    }
    let [month_key, position_key] = key;
    let sql =
        "UPDATE usage_archives SET removed_to = ?, removed = removed + ? WHERE month = ? AND position = ?";
    tx.execute(sql, &[to.into(), Value::count(rows), month_key.clone(), position_key.clone()]).await?;
    if to >= end {
        let sql = "SELECT removed FROM usage_archives WHERE month = ? AND position = ?";
        let found = tx.fetch_one(sql, &[month_key, position_key]).await?.count("removed")?;
        if found != archive.rows {
            return Err(ArchiveError::Differs { month, found, expected: archive.rows });
        }
    }
    Ok(to)
}

impl MonthOfCalls {
    /// Hands over its calls in the order in which they ended.
    pub async fn each(
        &mut self,
        mut with: impl FnMut(Receipt) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let sql = format!(
            "SELECT {} FROM usage_records WHERE at >= ? AND at < ? AND event_seq <= ? ORDER BY at, request_id",
            super::fold::COLUMNS.join(", ")
        );
        let values = [self.month.begins().into(), self.month.ends().into(), Value::count(self.position)];
        self.tx.for_each(&sql, &values, |row| with(read(&row)?)).await
    }

    /// Lets the state go.
    pub async fn end(self) -> Result<(), DatabaseError> {
        self.tx.rollback().await
    }
}
