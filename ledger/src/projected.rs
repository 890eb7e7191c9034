//! What metering asks of the projections: how far they are, and which leases nobody renews.
//!
//! For: trimming the outbox and sweeping. The tables are the projections'; this crate sees only this trait.
//! Claims: a position is only ever answered once it is durable, for the outbox lets go of what it covers.

use crate::LedgerError;
use domain::{AccountId, Credits, EpochId, LeaseId, Moment};
use futures_util::future::BoxFuture;

/// An open lease that was neither granted nor amended for twice its life, by the log's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleLease {
    /// The lease.
    pub lease: LeaseId,
    /// Whose credits.
    pub account: AccountId,
    /// The run that holds it.
    pub epoch: EpochId,
    /// The cumulative spend of its last usage record without a gap before it.
    pub spent: Credits,
    /// That record's n: as many are on the log.
    pub count: u64,
    /// When it was last granted or amended, by the log's clock.
    pub touched: Moment,
}

/// Stale leases, and what they were read at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaleLeases {
    /// Every message of the log up to this one is in the answer.
    pub position: u64,
    /// The longest untouched first.
    pub leases: Vec<StaleLease>,
}

/// Where the log is projected to.
///
/// Errors are [`LedgerError::Unavailable`]: the tables cannot be read now.
pub trait Projected: Send + Sync + 'static {
    /// The last sequence that is durably in the tables.
    fn position(&self) -> BoxFuture<'_, Result<u64, LedgerError>>;

    /// Open leases that were not touched within twice their life before `now`, at most so many.
    fn stale_leases(&self, now: Moment, most: usize) -> BoxFuture<'_, Result<StaleLeases, LedgerError>>;
}
