use crate::balances::{BalanceRows, StateRows};
use crate::billing::BillingRows;
use crate::leases::LeaseRows;
use crate::top_ups::TopUpRows;
use crate::usage::UsageRows;
use crate::{Checkpoint, Database, Halt, ProjectionError, Tx};
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
    let mut tx = db.begin().await?;
    // An explicit roll back also after an error: MySQL may have undone only a part.
    match in_transaction(&mut tx, zone, from, &to, batch).await {
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
    fold_and_write(tx, zone, batch).await?;
    Ok(true)
}

/// What the rooms make of a batch, without the checkpoint: whoever calls this knows that the tables contain everything
/// before it and nothing of it.
pub(crate) async fn fold_and_write(
    tx: &mut Tx,
    zone: FixedOffset,
    batch: &[Logged],
) -> Result<(), ProjectionError> {
    let mut leases = LeaseRows::load(tx, batch).await?;
    let facts = leases.fold(batch, zone)?;
    let mut states = StateRows::load(tx, &facts).await?;
    states.fold(&facts)?;
    let balances = BalanceRows::fold(&facts)?;
    let usage = UsageRows::fold(&facts)?;
    let billing = BillingRows::fold(&facts)?;
    let top_ups = TopUpRows::fold(&facts);

    // Always in this order, so that two transactions never wait for each other.
    leases.write(tx).await?;
    states.write(tx).await?;
    balances.write(tx).await?;
    top_ups.write(tx).await?;
    usage.write(tx).await?;
    billing.write(tx, zone).await
}
