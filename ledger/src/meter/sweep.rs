//! The sweeper: leases of nodes that fell silent come back.
//!
//! Any node sweeps. May not touch: clocks of its own: ages are measured by the server's, and only for liveness; what is
//! safe is decided by the order of the log.
//! Claims: no lease is closed before its run is sealed, and not before the quarantine after the seal is over: a call that
//! was admitted before may run as long; a lease is closed at a watermark that was read behind the seal.

use super::Shared;
use crate::log::Appended;
use crate::{LedgerError, Logged, StaleLease, StaleLeases, Subject, ambient, codec, crash};
use domain::account::event::Closer;
use domain::event::{NodeSealed, SealCause};
use domain::{Command, EpochId, Event, EventId, Moment, NodeEvent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Stale leases looked at in one sweep. A node that died with more is swept in several.
const MOST: usize = 500;
/// How long a sweep waits for the projections to reach the log's end as it was when the sweep began.
const CATCH_UP: Duration = Duration::from_secs(5);

/// A seal on the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    /// Its sequence.
    pub(super) sequence: u64,
    /// When the server stored it.
    pub(super) at: Moment,
    /// The run that found the sealed one dead when it took over its outbox; `None`: another node sealed it.
    pub(super) successor: Option<EpochId>,
}

impl Seal {
    fn of(logged: &Logged) -> Option<Self> {
        let Event::Node(_, NodeEvent::NodeSealed(NodeSealed { cause })) = &logged.recorded.event else {
            return None;
        };
        let actor = &logged.recorded.actor;
        let successor = match cause {
            SealCause::Restarted => actor.id.as_str().parse().ok(),
            SealCause::Silent => None,
        };
        Some(Self { sequence: logged.recorded.sequence, at: logged.stored_at, successor })
    }
}

/// Sweeps until the meter stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let every = shared.options.sweep_every;
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(ambient::jitter(every * 4 / 5..every * 6 / 5)) => {}
        }
        let swept = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            swept = sweep(&shared) => swept,
        };
        match swept {
            Ok(()) => {}
            Err(LedgerError::Unavailable(why)) => tracing::debug!(why, "leases are swept later"),
            Err(error) => tracing::error!(%error, "leases of silent nodes could not be swept"),
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), LedgerError> {
    let (now, end) = shared.ledger.log().server_now().await?;
    let Some(stale) = stale_as_of(shared, now, end).await? else { return Ok(()) };
    let own = shared.epoch();
    let mut by_epoch: BTreeMap<EpochId, Vec<StaleLease>> = BTreeMap::new();
    for lease in stale.leases {
        by_epoch.entry(lease.epoch).or_default().push(lease);
    }
    for (epoch, leases) in by_epoch {
        if epoch == own {
            continue; // this node lives; upkeep looks after its leases
        }
        #[cfg(test)]
        if planted::RELEASES_ON_EXPIRY.get() {
            for lease in leases {
                close(shared, &lease).await?;
            }
            continue;
        }
        let Some(seal) = seal(shared, epoch, SealCause::Silent).await? else { continue };
        crash::point("sweep.sealed");
        let quarantine = i64::try_from(shared.options.quarantine.as_millis()).unwrap_or(i64::MAX);
        if seal.at.plus_ms(quarantine) > now || stale.position < seal.sequence {
            continue;
        }
        for lease in leases {
            close(shared, &lease).await?;
            crash::point("sweep.closed");
        }
    }
    Ok(())
}

/// The stale leases, by tables that contain all that was on the log at `now`: a renewal must not be overlooked because the
/// projections trail. `None`: they trail by too much, later.
async fn stale_as_of(shared: &Shared, now: Moment, end: u64) -> Result<Option<StaleLeases>, LedgerError> {
    let limit = Instant::now() + CATCH_UP;
    while shared.projected.position().await? < end {
        if Instant::now() > limit {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shared.projected.stale_leases(now, MOST).await.map(Some)
}

/// Seals an epoch. `None`: it has just reported, so it lives.
pub(super) async fn seal(
    shared: &Shared,
    epoch: EpochId,
    cause: SealCause,
) -> Result<Option<Seal>, LedgerError> {
    let (log, subject) = (shared.ledger.log(), Subject::Node(epoch));
    loop {
        let last = log.last_on(&subject).await?;
        let (mut expected, mut version, mut prev) = (0, 0, None);
        if let Some(last) = &last {
            if let Some(seal) = Seal::of(last) {
                return Ok(Some(seal));
            }
            (expected, version, prev) = (last.recorded.sequence, last.recorded.version, Some(last.hash));
        }
        let id = EventId::from_uuid(ambient::new_id());
        let event = Event::Node(epoch, NodeEvent::NodeSealed(NodeSealed { cause }));
        let actor = shared.actor()?;
        let at = ambient::now();
        let draft =
            codec::Draft { id, version: version + 1, at, actor: &actor, key: None, prev, event: &event };
        let bytes = codec::encode(&draft)?;
        match log.append(&subject, expected, id, bytes).await? {
            Appended::Stored { .. } => {
                tracing::warn!(%epoch, ?cause, "a run was sealed");
                // Read back: when it was stored is the server's to say.
            }
            Appended::LostRace => match cause {
                // Whoever was faster is that node, or another sweeper: the next sweep sees.
                SealCause::Silent => return Ok(None),
                // The run is dead; the last words of its connection may still have come in.
                SealCause::Restarted => {}
            },
        }
    }
}

async fn close(shared: &Shared, lease: &StaleLease) -> Result<(), LedgerError> {
    let StaleLease { lease, account, spent, count, .. } = *lease;
    let command = Command::CloseLease { lease, spent, count, by: Closer::Sweeper };
    match shared.decide(account, command).await {
        Ok(receipt) if receipt.repeated => Ok(()),
        Ok(_) => {
            tracing::warn!(%account, %lease, %spent, count, "the lease of a silent node was closed");
            Ok(())
        }
        // One lease that the log sees otherwise must not keep the others from coming back.
        Err(LedgerError::Refused(refusal)) => {
            tracing::error!(%account, %lease, %refusal, "the lease of a silent node could not be closed");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Faults that the simulation must find.
#[cfg(test)]
pub(crate) mod planted {
    use std::cell::Cell;

    thread_local! {
        /// A lease is closed as soon as it has run out, without a seal and a quarantine.
        pub(crate) static RELEASES_ON_EXPIRY: Cell<bool> = const { Cell::new(false) };
    }
}
