//! The run as a whole: its end by a seal, and the next one.
//!
//! A seal fences reports: nothing of a sealed epoch can land on the log any more. A node that lives all the same goes on
//! under a new epoch: calls in flight finish on the leases they have, their records are reported under the new epoch with
//! the old (lease, n), and new calls get new leases.

use super::Shared;
use super::book::{Asked, Deadline};
use crate::outbox::Entry as Note;
use crate::{LedgerError, Subject, ambient, crash};
use domain::{EpochId, Event, NodeEvent};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

impl Shared {
    /// Ends an epoch that was found sealed and begins the next; nothing if somebody has done so.
    pub(super) fn end_epoch(&self, sealed: EpochId) {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if run.epoch != sealed {
            return;
        }
        let next = Run::begin(self.options.lease_life);
        let epoch = next.epoch;
        tracing::warn!(%sealed, %epoch, "this node was taken for dead and goes on as a new run");
        self.epochs_sealed.fetch_add(1, Ordering::Relaxed);
        self.note_lightly(&Note::Began { epoch });
        crash::point("epoch.noted");
        *run = next;
        drop(run);
        for entry in self.all_entries() {
            entry.book().end_epoch(sealed);
        }
    }

    /// Asked before a lease that has run out is used again: is this run still the present one? A pause so long may have been
    /// taken for its end.
    pub(super) async fn check_epoch(&self) -> Result<(), LedgerError> {
        let (asked, epoch) = (Asked::now(), self.epoch());
        if is_sealed(self, epoch).await? {
            self.end_epoch(epoch);
            return Ok(());
        }
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if run.epoch == epoch {
            run.known_until = Deadline::after(asked, self.options.lease_life);
        }
        Ok(())
    }

    /// Asked before a lease is granted to this run. A node may sleep with no lease of its own to tell it how long: then
    /// the time since it last looked does.
    pub(super) async fn check_epoch_after_a_pause(&self) -> Result<(), LedgerError> {
        let known_until = self.run.lock().unwrap_or_else(PoisonError::into_inner).known_until;
        if known_until.passed(Instant::now()) {
            self.check_epoch().await?;
        }
        Ok(())
    }
}

/// A run of this node.
pub(super) struct Run {
    pub(super) epoch: EpochId,
    /// It was not sealed one lease's life before this.
    known_until: Deadline,
}

impl Run {
    /// A new one, which nobody else knows of yet.
    pub(super) fn begin(lease_life: Duration) -> Self {
        let known_until = Deadline::after(Asked::now(), lease_life);
        Self { epoch: EpochId::from_uuid(ambient::new_id()), known_until }
    }
}

/// Does the epoch's subject end with a seal?
pub(super) async fn is_sealed(shared: &Shared, epoch: EpochId) -> Result<bool, LedgerError> {
    let last = shared.ledger.log().last_on(&Subject::Node(epoch)).await?;
    Ok(last.is_some_and(|logged| matches!(logged.recorded.event, Event::Node(_, NodeEvent::NodeSealed(_)))))
}
