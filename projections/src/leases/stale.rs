use crate::{Database, DatabaseError, Value, position};
use domain::Moment;
use futures_util::future::BoxFuture;
use ledger::{LedgerError, Projected, StaleLease, StaleLeases};

/// What metering asks. A position is committed before anyone can read it; that a commit is on the disk by then is the
/// database's promise (InnoDB shows it some milliseconds earlier), so that no log may be cut on the strength of it alone.
impl Projected for Database {
    fn position(&self) -> BoxFuture<'_, Result<u64, LedgerError>> {
        Box::pin(async { position(self).await.map_err(unavailable) })
    }

    fn stale_leases(&self, now: Moment, most: usize) -> BoxFuture<'_, Result<StaleLeases, LedgerError>> {
        Box::pin(async move { stale(self, now, most).await.map_err(unavailable) })
    }
}

async fn stale(db: &Database, now: Moment, most: usize) -> Result<StaleLeases, DatabaseError> {
    // Before the leases: tables that move on meanwhile hold more than the position says, never less.
    let position = position(db).await?;
    // Twice a life, in microseconds, is 2000 times its milliseconds; divided here, because a product of a nonsensical life
    // would not fit.
    let sql = "SELECT lease, account, epoch, spent, watermark, touched FROM leases \
               WHERE status = 'open' AND touched <= ? AND ttl_ms <= (? - touched) / 2000 ORDER BY touched, lease LIMIT ?";
    let most = Value::count(u64::try_from(most).unwrap_or(u64::MAX));
    let rows = db.fetch_all(sql, &[now.into(), now.into(), most]).await?;
    let leases = rows.iter().map(|row| {
        Ok(StaleLease {
            lease: row.parsed("lease")?,
            account: row.parsed("account")?,
            epoch: row.parsed("epoch")?,
            spent: row.credits("spent")?,
            count: row.count("watermark")?,
            touched: row.moment("touched")?,
        })
    });
    Ok(StaleLeases { position, leases: leases.collect::<Result<_, DatabaseError>>()? })
}

/// Whatever it is that the database says: nobody who meters can do more about it than ask again.
fn unavailable(error: DatabaseError) -> LedgerError {
    LedgerError::Unavailable(format!("the projected tables: {}", crate::error::with_sources(&error)))
}
