//! A hold: credits reserved for one call, from its admission to its settlement.
//!
//! Claims: before a provider is called the outbox knows of the call; when `settle` answers it has the record; a hold that is
//! dropped gives its credits back.

use super::book::Entry;
use super::{HoldError, Note, Shared, Written};
use crate::crash;
use domain::account::Budget;
use domain::usage::Usage;
use domain::{Credits, LeaseId, RequestId, UsageRecord};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// How often a charge above its hold asks the account: other calls may take what came for it.
const COVER_TRIES: usize = 8;

/// What a settled call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What the account paid.
    pub paid: Credits,
    /// What neither the lease nor the account could cover: the operator's loss.
    pub uncovered: Credits,
}

/// Credits reserved for one call. Dropping it without settling gives them back.
pub struct Hold {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    lease: LeaseId,
    held: Credits,
    budget: Option<Budget>,
    /// The call, once the outbox knows it.
    opened: Option<RequestId>,
    ended: bool,
}

impl Hold {
    pub(super) fn new(
        shared: Arc<Shared>,
        entry: Arc<Entry>,
        lease: LeaseId,
        held: Credits,
        budget: Option<Budget>,
    ) -> Self {
        Self { shared, entry, lease, held, budget, opened: None, ended: false }
    }

    /// Asked right before a provider is called: has the lease not run out since the hold? If so, writes the call to the
    /// outbox.
    ///
    /// `usage` is the record as it would be if the process died now: nothing delivered, outcome `interrupted`. Called again
    /// before another provider is tried. Errors: [`HoldError::Unavailable`]; the provider must not be called then.
    pub async fn open(&mut self, usage: Usage) -> Result<(), HoldError> {
        let written = self.open_now(usage)?;
        on_disk(&self.shared, written).await
    }

    /// All of it but the wait: what is large stays out of the futures of calls.
    fn open_now(&mut self, usage: Usage) -> Result<Written, HoldError> {
        crash::point("hold.taken");
        if !self.entry.book().is_live(self.lease, Instant::now()) {
            return Err(HoldError::Unavailable("the lease ran out before the call could start".into()));
        }
        let request = usage.request;
        let note = match self.opened {
            Some(_) => Note::Progressed { usage },
            None => {
                Note::Opened { lease: self.lease, account: self.entry.account, worst_case: self.held, usage }
            }
        };
        let written = self.shared.note(&note)?;
        self.opened = Some(request);
        crash::point("open.written");
        Ok(written)
    }

    /// Notes how far a long stream has come: after a crash the call is charged for that much.
    pub fn mark(&self, usage: Usage) {
        if self.opened.is_some() {
            self.shared.note_lightly(&Note::Progressed { usage });
            crash::point("mark.written");
        }
    }

    /// The credits reserved.
    pub fn held(&self) -> Credits {
        self.held
    }

    /// Makes the hold as large as `wanted`, for a stream that costs more than was foreseen: out of the lease's rest at once, else
    /// from what the account has available. Takes what there is where that is less. Answers with what is held then.
    pub async fn extend(&mut self, wanted: Credits) -> Credits {
        let shortfall = self.grow(wanted);
        if shortfall.is_positive() {
            self.shared.calls_by_log.fetch_add(1, Ordering::Relaxed);
            let (shared, entry) = (self.shared.clone(), self.entry.clone());
            let (lease, budget) = (self.lease, self.budget);
            // In a task of its own: an amendment that was begun is booked, also when the call waits no longer.
            let asked =
                self.shared.tasks.spawn(async move { shared.cover(&entry, lease, shortfall, budget).await });
            if asked.await.unwrap_or(false) {
                self.grow(wanted);
            }
        }
        self.held
    }

    #[cfg(test)]
    pub(crate) fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Ends the hold with what the call really cost: writes its usage record to the outbox and queues it for the log.
    ///
    /// A charge above the hold takes the lease's rest, then what the account has available; what even that cannot cover is
    /// the operator's loss. Once polled it happens, also when the caller waits no longer.
    pub async fn settle(mut self, usage: Usage) -> Settled {
        if self.grow(usage.charge) == Credits::ZERO {
            let shared = Arc::clone(&self.shared);
            let (settled, written) = self.end(usage);
            after_end(&shared, written).await;
            return settled;
        }
        self.shared.calls_by_log.fetch_add(1, Ordering::Relaxed);
        let (tasks, charge) = (self.shared.tasks.clone(), usage.charge);
        tasks.spawn(self.settle_by_log(usage)).await.unwrap_or_else(|error| {
            tracing::error!(%error, %charge, "a call could not be settled");
            Settled { paid: Credits::ZERO, uncovered: charge }
        })
    }

    async fn settle_by_log(mut self, usage: Usage) -> Settled {
        for _ in 0..COVER_TRIES {
            let shortfall = self.grow(usage.charge);
            if shortfall == Credits::ZERO
                || !self.shared.cover(&self.entry, self.lease, shortfall, self.budget).await
            {
                break;
            }
        }
        let shared = Arc::clone(&self.shared);
        let (settled, written) = self.end(usage);
        after_end(&shared, written).await;
        settled
    }

    /// Takes what the charge needs above the hold out of the lease's rest, at once: other calls cannot have it while the
    /// log is asked for more. Answers with what is missing.
    fn grow(&mut self, charge: Credits) -> Credits {
        self.entry.book().grow(self.lease, &mut self.held, charge)
    }

    /// Ends the hold, at once. What was written may still have to reach the disk.
    fn end(mut self, usage: Usage) -> (Settled, Option<Written>) {
        self.ended = true;
        crash::point("settle.begun");
        let (settled, written) = {
            let mut book = self.entry.book();
            let settlement = book.settle(self.lease, self.held, usage.charge, Instant::now());
            let uncovered = usage.charge.checked_sub(settlement.paid).unwrap_or(Credits::ZERO);
            let record = UsageRecord {
                account: self.entry.account,
                lease: self.lease,
                n: settlement.n,
                spent: settlement.spent,
                uncovered,
                usage,
            };
            // Written and queued under the book's lock, so that records of a lease stand in the order of their n. A record
            // that the outbox does not take still goes to the log; new calls are refused until the outbox is sound.
            let written = self.shared.queue(&record, Some(self.entry.clone()));
            crash::point("settle.queued");
            (Settled { paid: settlement.paid, uncovered }, written)
        };
        self.after();
        (settled, written)
    }

    /// Ends the hold with nothing: no record, no charge.
    pub fn release(self) {}

    /// A call has ended: whoever waits for credits may have them now.
    fn after(&self) {
        self.entry.freed.notify_waiters();
        self.shared.call_ended.notify_waiters();
        if self.entry.book().should_give(Instant::now()) {
            let (shared, entry) = (self.shared.clone(), self.entry.clone());
            self.shared.tasks.spawn(async move {
                super::recall::give_slack(&shared, &entry).await;
                entry.book().gave();
            });
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(request) = self.opened {
            self.shared.note_lightly(&Note::Released { request });
        }
        self.entry.book().release(self.lease, self.held);
        self.after();
    }
}

/// Waits for the disk after a call has ended: a failed flush is logged and stops new calls, not this one.
async fn after_end(shared: &Shared, written: Option<Written>) {
    if let Some(written) = written {
        let _ = on_disk(shared, written).await;
    }
}

/// Waits for the disk, where the node is configured to.
async fn on_disk(shared: &Shared, written: Written) -> Result<(), HoldError> {
    if !shared.waits_for_disk() {
        return Ok(());
    }
    written.durable().await.map_err(|error| HoldError::Unavailable(error.to_string()))
}
