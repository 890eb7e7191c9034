//! Rebuild: the projected tables made anew from the log's first message, beside the ones that are read, and put in their
//! place.
//!
//! For: tables that are wrong, damaged, dropped, or made by an older binary or for another time zone; and for showing that
//! they are none of it.
//! May not touch: the log; plain tables.
//! Claims: the tables that are read stay so, and projectors go on, until one short step; that step loses no batch and
//! doubles none, whichever process dies when; two rebuilds never run at once; what is put in place was compared, row by
//! row, with what was there before, at the same position, and differs only if the operator said so.
//!
//! # Why a swap loses and doubles nothing
//!
//! Let S be the last message in the new tables and L the live checkpoint. Right is: whatever set of tables has the plain
//! names, `live` says what is in it, and a batch is written only together with moving `live` from where its projector
//! believed it to be. So the names and the checkpoint must change together, with no batch under way.
//!
//! *SQLite and PostgreSQL* rename tables in transactions. The swap's one begins by locking the row of `live` (on SQLite: by
//! being the one writer), as every batch does. A batch that came first is committed before the swap reads L; one that comes
//! later waits. With the lock held L cannot move. If S < L, the messages between are added to the new tables, in the same
//! transaction. Then the names change and `live` becomes S: all of it or, if anything fails, nothing. A batch that waited
//! meanwhile finds `live` moved and does nothing ("elsewhere": it reads the checkpoint and goes on from there), or, when S
//! was L, finds it where it believed, in which case the tables that it now writes to contain just what it believes.
//! (Statements find tables by name, and PostgreSQL looks names up again after it has waited for a lock.)
//!
//! *MySQL* renames only outside of transactions, but many tables in one statement, all or none of them. So the checkpoints
//! are a table of the set: the new ones say S before the rename, and come in its place together with the new tables. No
//! batch is under way then, since the rename waits for every transaction that has touched one of the tables, and later ones
//! wait for it. L may have moved past S just before. Then `live` goes back from L to S along with the tables, and the
//! projector, which finds it moved, applies the messages between to the new tables, as does the rebuild itself. Nothing is
//! lost, since the log has them; nothing is doubled, since these tables never had them. For that moment readers may see an
//! earlier position again.
//!
//! A rebuild that dies before the swap leaves tables that nobody reads, one that dies after it leaves the old ones; the next
//! rebuild drops both. What was written to the new tables without waiting for the disk is on it once the swap is: a commit
//! that waits makes all before it last.

mod carry;
mod fill;
mod lock;
mod schema;

pub(crate) use carry::Limits;
pub(crate) use fill::{Filler, identity};
pub(crate) use schema::Schema;

use crate::compare::{TableReport, compare, fits, held};
use crate::engine::{Applied, apply};
use crate::usage::Archived;
use crate::{Checkpoint, Database, DatabaseError, Dialect, Halt, ProjectionError, Value};
use chrono::FixedOffset;
use ledger::{LedgerError, Log};
pub(crate) use lock::RebuildLock;
use schema::{CHECKPOINTS, NEW, OLD};
use std::time::{Duration, Instant};

/// How often the new tables are brought up to a moving end before the swap, which adds the rest.
const ROUNDS: u32 = 5;
/// So few messages behind it is not worth another round.
const CLOSE: u64 = 64;
/// How often a swap is tried that had to wait for a reader for too long, how long that is, and the pause in between.
const SWAPS: u32 = 20;
const SWAP_WAIT_SECONDS: u64 = 3;
const SWAP_PAUSE: Duration = Duration::from_millis(500);

/// What a rebuild does; the default compares and swaps equal tables.
#[derive(Clone, Debug)]
pub struct RebuildOptions {
    /// The operator's time zone, as the projector has it.
    pub time_zone: FixedOffset,
    /// Only compares.
    pub dry_run: bool,
    /// Swaps also where the new tables differ from the old ones, or cannot be compared with them.
    pub replace: bool,
    /// How many differences of each table are named; all are counted.
    pub most_differences: usize,
}

impl Default for RebuildOptions {
    fn default() -> Self {
        Self {
            time_zone: chrono::Offset::fix(&chrono::Utc),
            dry_run: false,
            replace: false,
            most_differences: 10,
        }
    }
}

/// What a rebuild came to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RebuildReport {
    /// What became of the new tables.
    pub outcome: RebuildOutcome,
    /// The position of the new tables in the end.
    pub position: u64,
    /// Usage records read from the log.
    pub records: u64,
    /// How the tables that were read compare with the new ones; `None`: they could not be compared.
    pub comparison: Option<TableReport>,
    /// Why they could not.
    pub not_compared: Option<String>,
    /// Filling the new tables took so long.
    pub filled_ms: u64,
    /// Comparing took so long.
    pub compared_ms: u64,
    /// Making the indexes took so long.
    pub indexed_ms: u64,
    /// The swap took so long, with what the new tables still lacked.
    pub swapped_ms: u64,
}

/// What became of the new tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildOutcome {
    /// They are the ones that are read.
    Swapped,
    /// They were dropped: only a comparison was asked for.
    DryRun,
    /// They were dropped: they differ, and nobody asked to replace.
    Differs,
}

impl RebuildReport {
    /// Were the tables that were read as the log says?
    pub fn is_equal(&self) -> bool {
        self.comparison.as_ref().is_some_and(TableReport::is_equal)
    }
}

/// What can go wrong with a rebuild. The tables that are read are as they were, unless a commit's outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Another one runs.
    #[error("another rebuild of these tables is under way")]
    UnderWay,
    /// The log or the database failed, or the tables are not of this log.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
}

impl From<DatabaseError> for RebuildError {
    fn from(error: DatabaseError) -> Self {
        Self::Projection(error.into())
    }
}

impl From<LedgerError> for RebuildError {
    fn from(error: LedgerError) -> Self {
        Self::Projection(error.into())
    }
}

/// Makes all projected tables anew, compares them with the ones that are read, and swaps them.
///
/// The database must be migrated. Projectors may run, here and elsewhere; those of an older binary should not, since they
/// would go on with the new tables in their own way. Indexes that no migration makes are gone after a swap.
///
/// Errors: [`RebuildError::UnderWay`]; without [`RebuildOptions::replace`] a [`Halt`] when the tables were made of another
/// log; a [`Halt`] also for a log that cannot be applied.
pub async fn rebuild(
    db: &Database,
    log: &Log,
    options: &RebuildOptions,
) -> Result<RebuildReport, RebuildError> {
    rebuild_within(db, log, options, Limits::default()).await
}

async fn rebuild_within(
    db: &Database,
    log: &Log,
    options: &RebuildOptions,
    limits: Limits,
) -> Result<RebuildReport, RebuildError> {
    let aside = db.aside().await?;
    let done = Box::pin(exclusively(db, &aside, log, options, limits)).await;
    aside.close().await;
    done
}

async fn exclusively(
    db: &Database,
    aside: &Database,
    log: &Log,
    options: &RebuildOptions,
    limits: Limits,
) -> Result<RebuildReport, RebuildError> {
    let Some(lock) = RebuildLock::try_take(aside).await? else { return Err(RebuildError::UnderWay) };
    let schema = Schema::beside(db.dialect());
    schema.drop_leftovers(aside).await?;
    schema.create(aside).await?;
    let (own, aliases, zone) = (aside.clone(), schema.aliases.clone(), options.time_zone);
    // Nobody archives while the lock is held.
    let archived = Archived::read(aside).await?;
    let filler = Filler::new(own, aliases, true, log.clone(), zone, limits, archived).await?;
    let mut rebuild = Rebuild { db, aside, log, options, schema, filler, lock };
    let done = Box::pin(rebuild.run()).await;
    // New ones that are not wanted, old ones that were replaced. If this fails the next rebuild does it.
    if let Err(error) = rebuild.schema.drop_leftovers(aside).await {
        tracing::warn!(%error, "tables of a rebuild are left over; the next one drops them");
    }
    if let Err(error) = rebuild.lock.release(aside.dialect()).await {
        tracing::info!(%error, "the lock of a rebuild goes with its session");
    }
    done
}

struct Rebuild<'a> {
    db: &'a Database,
    aside: &'a Database,
    log: &'a Log,
    options: &'a RebuildOptions,
    schema: Schema,
    filler: Filler,
    lock: RebuildLock,
}

impl Rebuild<'_> {
    async fn run(&mut self) -> Result<RebuildReport, RebuildError> {
        let (mut filled_ms, not_compared) = timed(self.fill_to_live()).await?;
        let (compared_ms, comparison) = match &not_compared {
            None => timed(self.compare()).await.map(|(took, report)| (took, Some(report)))?,
            Some(_) => (0, None),
        };
        let equal = comparison.as_ref().is_some_and(TableReport::is_equal);
        let outcome = match (self.options.dry_run, equal || self.options.replace) {
            (true, _) => RebuildOutcome::DryRun,
            (false, false) => RebuildOutcome::Differs,
            (false, true) => RebuildOutcome::Swapped,
        };
        let (mut indexed_ms, mut swapped_ms) = (0, 0);
        if outcome == RebuildOutcome::Swapped {
            // The live tables may be far behind the log, or not of it.
            let (more_ms, ()) = timed(self.fill_to_end()).await?;
            filled_ms += more_ms;
            // Last, because a row costs several times as much when there are indexes to keep.
            (indexed_ms, ()) = timed(async { Ok(self.schema.index(self.aside).await?) }).await?;
            (swapped_ms, ()) = timed(self.swap(not_compared.is_none())).await?;
        }
        let (position, records) = (self.filler.place().sequence, self.filler.records());
        Ok(RebuildReport {
            outcome,
            position,
            records,
            comparison,
            not_compared,
            filled_ms,
            compared_ms,
            indexed_ms,
            swapped_ms,
        })
    }

    /// Fills the new tables up to where the live ones are. Answers why the two cannot be compared, if so: the live ones are
    /// of another log.
    async fn fill_to_live(&mut self) -> Result<Option<String>, RebuildError> {
        match fits(&Checkpoint::read(self.db).await?, self.log).await {
            Ok(()) => {}
            Err(ProjectionError::Halt(halt)) if self.options.replace => return Ok(Some(halt.to_string())),
            Err(error) => return Err(error.into()),
        }
        for _ in 0..ROUNDS {
            let position = crate::position(self.db).await?;
            self.filler.up_to(position).await?;
            if crate::position(self.db).await? <= position + CLOSE {
                break;
            }
        }
        Ok(None)
    }

    /// Fills the new tables up to the log's end, or close to it if it moves.
    async fn fill_to_end(&mut self) -> Result<(), RebuildError> {
        for _ in 0..ROUNDS {
            let end = self.filler.end().await?;
            self.filler.up_to(end).await?;
            if self.filler.end().await? <= end + CLOSE {
                break;
            }
        }
        Ok(())
    }

    /// Compares the live tables, at wherever they are, with the new ones at the same position.
    async fn compare(&mut self) -> Result<TableReport, RebuildError> {
        let present = self.schema.present(self.db).await?;
        let mut found = self.db.snapshot().await?;
        let live = held(&mut found, &present).await?;
        fits(&live, self.log).await?;
        self.filler.up_to(live.sequence).await?;
        if self.filler.place().sequence != live.sequence {
            let (last, checkpoint) = (live.sequence, self.filler.place().sequence);
            return Err(ProjectionError::from(Halt::ShorterLog { last, checkpoint }).into());
        }
        let mut expected = self.aside.snapshot().await?;
        expected.set_aliases(self.schema.aliases.clone());
        let most = self.options.most_differences;
        let report = compare(&mut found, &present, &mut expected, live.sequence, most).await?;
        expected.rollback().await?;
        found.rollback().await?;
        Ok(report)
    }

    /// Puts the new tables in the place of the live ones. `same_log`: the live ones are of this log.
    async fn swap(&mut self, same_log: bool) -> Result<(), RebuildError> {
        let mut attempt = 0;
        loop {
            self.fill_to_end().await?;
            self.filler.stands().await?;
            self.lock.still_held().await?;
            let before = self.filler.place().clone();
            let swapped = match self.db.dialect() {
                Dialect::Sqlite | Dialect::Postgres => self.swap_in_transaction(same_log).await,
                Dialect::MySql => self.swap_in_a_statement().await,
            };
            attempt += 1;
            match swapped {
                Ok(()) => return Ok(()),
                Err(RebuildError::Projection(ProjectionError::Database(DatabaseError::Unavailable(why))))
                    if attempt < SWAPS =>
                {
                    tracing::info!(error = %why, attempt, "the swap of rebuilt tables had to wait for too long and is tried again");
                    self.filler.rewind(before);
                    tokio::time::sleep(SWAP_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn swap_in_transaction(&mut self, same_log: bool) -> Result<(), RebuildError> {
        let live_tables = self.schema.present(self.db).await?;
        // Over the connections whose commits wait for the disk.
        let mut tx = self.db.begin().await?;
        if tx.dialect() == Dialect::Postgres {
            // Who waits for a table makes all later ones wait behind him.
            tx.execute(&format!("SET LOCAL lock_timeout = '{SWAP_WAIT_SECONDS}s'"), &[]).await?;
        }
        let live = Checkpoint::hold_in(&mut tx).await?;
        if same_log {
            self.filler.up_to_in(&mut tx, live.sequence).await?;
        }
        self.schema.swap(&mut tx, &live_tables).await?;
        let to = self.filler.place();
        if live != *to && !Checkpoint::compare_and_set(&mut tx, &live, to).await? {
            return Err(ProjectionError::from(Halt::OtherMessage { checkpoint: live.sequence }).into());
        }
        Ok(tx.commit().await?)
    }

    async fn swap_in_a_statement(&mut self) -> Result<(), RebuildError> {
        let live_tables = self.schema.present(self.db).await?;
        let to = self.filler.place().clone();
        let sql = format!(
            "UPDATE {NEW}{CHECKPOINTS} SET sequence = ?, hash = ?, stream = ?, created = ? WHERE name = 'live'"
        );
        let values = [
            Value::count(to.sequence),
            to.hash.as_str().into(),
            to.stream.as_str().into(),
            to.created.as_str().into(),
        ];
        self.aside.execute(&sql, &values).await?;
        let mut session = self.aside.session().await?;
        session.execute(&format!("SET SESSION lock_wait_timeout = {SWAP_WAIT_SECONDS}")).await?;
        session.execute(&self.schema.rename(&live_tables)).await?;
        drop(session);
        self.after_a_statement(to).await
    }

    /// The messages that the old tables had and the new ones do not, if any; the projector may be doing the same.
    async fn after_a_statement(&mut self, mut from: Checkpoint) -> Result<(), RebuildError> {
        let sql = format!("SELECT sequence, stream, created FROM {OLD}{CHECKPOINTS} WHERE name = 'live'");
        let old = match self.aside.fetch_optional(&sql, &[]).await? {
            Some(row) => row,
            None => return Ok(()),
        };
        let identity = identity(self.log).await?;
        if (old.text("stream")?, old.text("created")?) != (identity.stream.clone(), identity.created.clone())
        {
            return Ok(());
        }
        for sequence in from.sequence + 1..=old.count("sequence")?.min(identity.last_sequence) {
            let logged =
                self.log.at(sequence).await?.ok_or(ProjectionError::Halt(Halt::Hole { sequence }))?;
            match apply(self.db, self.options.time_zone, &identity, &from, &[logged]).await? {
                Applied::Here(next) => from = next,
                Applied::Elsewhere => return Ok(()),
            }
        }
        Ok(())
    }
}

/// What a step answers, and how many milliseconds it took.
async fn timed<T>(step: impl Future<Output = Result<T, RebuildError>>) -> Result<(u64, T), RebuildError> {
    let begun = Instant::now();
    let done = step.await?;
    Ok((u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), done))
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
