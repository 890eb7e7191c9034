use crate::{Database, DatabaseError};
use domain::account::event::Scope;
use domain::{AccountId, Credits, EpochId, LeaseId, Moment};

/// An open lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLeaseRow {
    /// The lease.
    pub lease: LeaseId,
    /// Whose credits.
    pub account: AccountId,
    /// The node's run that holds it.
    pub epoch: EpochId,
    /// Who may spend it.
    pub scope: Scope,
    /// Its size.
    pub credits: Credits,
    /// Spent of it, as far as reported without a gap.
    pub spent: Credits,
    /// Usage records reported without a gap.
    pub count: u64,
    /// Its life, in milliseconds.
    pub ttl_ms: u64,
    /// When it was granted, by the log's clock.
    pub granted_at: Moment,
    /// When it was last granted or amended, by the log's clock.
    pub touched: Moment,
}

/// All open leases in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenLeases {
    /// How many.
    pub count: u64,
    /// What they hold.
    pub credits: Credits,
    /// The one that was not touched for the longest, by the log's clock; `None`: there are none.
    pub oldest_touched: Option<Moment>,
}

/// An account's open leases, newest first. An account has one per node and scope, so there is no paging.
pub async fn open(db: &Database, account: AccountId) -> Result<Vec<OpenLeaseRow>, DatabaseError> {
    let sql = "SELECT lease, account, epoch, scope, credits, spent, watermark, ttl_ms, granted_at, touched FROM leases \
               WHERE account = ? AND status = 'open' ORDER BY granted_at DESC, lease DESC";
    let rows = db.fetch_all(sql, &[account.into()]).await?;
    rows.iter()
        .map(|row| {
            Ok(OpenLeaseRow {
                lease: row.parsed("lease")?,
                account: row.parsed("account")?,
                epoch: row.parsed("epoch")?,
                scope: row.json("scope")?,
                credits: row.credits("credits")?,
                spent: row.credits("spent")?,
                count: row.count("watermark")?,
                ttl_ms: row.count("ttl_ms")?,
                granted_at: row.moment("granted_at")?,
                touched: row.moment("touched")?,
            })
        })
        .collect()
}

/// All open leases in sum, of every account.
pub async fn counts(db: &Database) -> Result<OpenLeases, DatabaseError> {
    let sql = format!(
        "SELECT COUNT(*) AS open_count, {} AS open_credits, MIN(touched) AS oldest FROM leases WHERE status = 'open'",
        db.dialect().sum("credits")
    );
    let row = db.fetch_one(&sql, &[]).await?;
    Ok(OpenLeases {
        count: row.count("open_count")?,
        credits: row.credits("open_credits")?,
        oldest_touched: row.opt_moment("oldest")?,
    })
}
