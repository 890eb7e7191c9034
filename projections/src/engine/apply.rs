use crate::balances::{BalanceRows, StateRows};
use crate::billing::BillingRows;
use crate::facts::Facts;
use crate::journal::JournalRows;
use crate::leases::LeaseRows;
use crate::refunds::RefundRows;
use crate::top_ups::TopUpRows;
use crate::usage::{Archived, UsageRows};
use crate::{Checkpoint, Database, Dialect, Halt, ProjectionError, Tx};
use chrono::FixedOffset;
use ledger::{Logged, StreamIdentity};

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is in the tables, and the checkpoint stands here.
    Here(Checkpoint),
    /// Another projector has moved the checkpoint; nothing was done.
    Elsewhere,
}

/// Applies the messages after `from` in one transaction.
///
/// The batch must begin right after `from` and have no hole: else [`Halt::Hole`]. When the outcome of the commit is
/// unknown, the caller reads the checkpoint; calling again with the same `from` is harmless but may say `Elsewhere`.
pub(crate) async fn apply(
    db: &Database,
    zone: FixedOffset,
    identity: &StreamIdentity,
    from: &Checkpoint,
    batch: &[Logged],
) -> Result<Applied, ProjectionError> {
    for (due, logged) in (from.sequence + 1..).zip(batch) {
        if logged.recorded.sequence != due {
            return Err(Halt::Hole { sequence: due }.into());
        }
    }
    let Some(last) = batch.last() else { return Ok(Applied::Here(from.clone())) };
    let to = Checkpoint::after(last, identity);
    // The checkpoint's lock is what every other projector waits for.
    let mut tx = db.begin_watched().await?;
    // An explicit roll back also after an error: MySQL may have undone only a part.
    match in_transaction(db, &mut tx, zone, from, &to, batch).await {
        Ok(true) => {
            ledger::crash::point("project.written");
            tx.commit().await?;
            ledger::crash::point("project.committed");
            Ok(Applied::Here(to))
        }
        Ok(false) => {
            tx.rollback().await?;
            Ok(Applied::Elsewhere)
        }
        Err(error) => {
            if let Err(error) = tx.rollback().await {
                tracing::debug!(%error, "the roll back failed; the connection's end undoes it");
            }
            Err(error)
        }
    }
}

/// `false`: the checkpoint has moved. First the compare-and-set, so that another projector waits here or finds it moved;
/// then what the fold needs to know, the folds, and the rows.
pub(super) async fn in_transaction(
    db: &Database,
    tx: &mut Tx,
    zone: FixedOffset,
    from: &Checkpoint,
    to: &Checkpoint,
    batch: &[Logged],
) -> Result<bool, ProjectionError> {
    if !Checkpoint::compare_and_set(tx, from, to).await? {
        return Ok(false);
    }
    ledger::crash::point("project.moved");
    fold_in(db, tx, zone, batch).await?;
    Ok(true)
}

/// Folds a batch and writes its rows, in a transaction that has moved the checkpoint.
///
/// A process that slept may have lost its transaction, and the checkpoint with it, before it read: then what it read is of
/// others' making. Nothing of that can be written, since the transaction is gone; but a fold that finds it wrong must not be
/// believed before the transaction has been heard of again.
pub(super) async fn fold_in(
    db: &Database,
    tx: &mut Tx,
    zone: FixedOffset,
    batch: &[Logged],
) -> Result<(), ProjectionError> {
    let done = fold_and_write(db, tx, zone, batch).await;
    if let Err(ProjectionError::Halt(_)) = &done {
        tx.fetch_one("SELECT 1 AS held", &[]).await?;
    }
    done
}

/// What the rooms make of a batch, without the checkpoint: whoever calls this knows that the tables contain everything
/// before it and nothing of it.
///
/// PostgreSQL is asked over another connection, which sees the same: nobody else changes these tables while the checkpoint is
/// held. A server that has more to say than a connection's buffers take waits for a client that has fallen asleep for
/// ever, and no time limit of its own ends that; over this connection it would keep the checkpoint meanwhile. (MySQL's gives
/// up after `net_write_timeout`, and a swap of tables may come between two connections there.)
async fn fold_and_write(
    db: &Database,
    tx: &mut Tx,
    zone: FixedOffset,
    batch: &[Logged],
) -> Result<(), ProjectionError> {
    let mut beside = match db.dialect() {
        Dialect::Postgres => Some(db.snapshot().await?),
        Dialect::Sqlite | Dialect::MySql => None,
    };
    let (mut leases, mut states) = (LeaseRows::default(), StateRows::default());
    leases.learn(beside.as_mut().unwrap_or(tx), batch).await?;
    let facts = leases.fold(batch, zone)?;
    states.learn(beside.as_mut().unwrap_or(tx), &facts).await?;
    if let Some(beside) = beside {
        beside.rollback().await?;
    }
    states.fold(&facts)?;
    // What is archived lies before the checkpoint.
    let rows = Rows::fold(&facts, &Archived::default())?;

    // Always in this order, so that two transactions never wait for each other.
    leases.write(tx).await?;
    states.write(tx).await?;
    rows.write(tx, zone).await
}

/// What a batch adds to the rooms that need not know their rows beforehand.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    balances: BalanceRows,
    top_ups: TopUpRows,
    refunds: RefundRows,
    usage: UsageRows,
    billing: BillingRows,
    journal: JournalRows,
}

impl Rows {
    /// What a batch means for them; pure.
    pub(crate) fn fold(facts: &Facts<'_>, archived: &Archived) -> Result<Self, Halt> {
        Ok(Self {
            balances: BalanceRows::fold(facts)?,
            top_ups: TopUpRows::fold(facts),
            refunds: RefundRows::fold(facts),
            usage: UsageRows::fold(facts, archived)?,
            billing: BillingRows::fold(facts)?,
            journal: JournalRows::fold(facts)?,
        })
    }

    /// Moves what is added up (a balance, an hour, a day) to the sums of earlier batches, which are then written instead;
    /// a room may also leave its sums where they are. What has rows of its own stays to be written at once.
    pub(crate) fn move_sums(&mut self, earlier: &mut Self) -> Result<(), Halt> {
        earlier.balances.merge(std::mem::take(&mut self.balances))?;
        self.usage.move_sums(&mut earlier.usage)?;
        self.billing.move_sums(&mut earlier.billing)?;
        self.journal.move_sums(&mut earlier.journal)
    }

    /// How many sums there are.
    pub(crate) fn sums(&self) -> usize {
        self.balances.len() + self.usage.sums() + self.billing.sums() + self.journal.sums()
    }

    /// Writes them, always in this order.
    pub(crate) async fn write(&self, tx: &mut Tx, zone: FixedOffset) -> Result<(), ProjectionError> {
        self.balances.write(tx).await?;
        self.top_ups.write(tx).await?;
        self.refunds.write(tx).await?;
        self.usage.write(tx).await?;
        self.billing.write(tx, zone).await?;
        self.journal.write(tx).await
    }
}
