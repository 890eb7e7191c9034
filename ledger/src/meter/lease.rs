//! Leases: how calls that do not fit get credits from the log, and how credits get back to it.
//!
//! Claims: one call of an entry at a time talks to the log, and the sum of those who wait tells it how much to ask for; a call
//! is refused for want of credits only after this node and the others were asked to give back what no call needs.

use super::book::{self, Entry, LeaseEnd, Need};
use super::{Hold, HoldError, HoldRequest, Note, Shared, recall};
use crate::{LedgerError, Receipt, ambient, crash};
use domain::account::{Amend, Budget, event::Closer, event::Scope};
use domain::{AccountEvent, AccountId, Command, Credits, LeaseId, Refusal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// How often a call asks again because its lease was gone when the answer came.
const GONE_TRIES: usize = 3;
/// How long a refusal holds for those who wait behind the refused one. They ask within microseconds of each other.
const VERDICT_HOLDS: Duration = Duration::from_millis(200);
/// Between two tries for credits that may come free.
const SCARCE_PAUSE: std::ops::Range<Duration> = Duration::from_millis(20)..Duration::from_millis(60);

/// What waiting for a turn came to.
enum Turn<'a> {
    /// Credits came free meanwhile.
    Held(Hold),
    /// It is this call's turn to talk to the log.
    Mine(MutexGuard<'a, ()>),
}

impl Shared {
    pub(super) fn try_hold(self: &Arc<Self>, entry: &Arc<Entry>, request: &HoldRequest) -> Option<Hold> {
        let mut book = entry.book();
        // Asked under the book's lock: the drain counts calls under it, so that none slips in behind its back.
        if self.stopping.load(Ordering::SeqCst) {
            return None;
        }
        let lease = book.try_hold(request.worst_case, Instant::now())?;
        Some(Hold::new(self.clone(), entry.clone(), lease, request.worst_case, request.budget))
    }

    /// Reserves credits after the log has given them.
    pub(super) async fn hold_by_log(self: Arc<Self>, request: HoldRequest) -> Result<Hold, HoldError> {
        let arrived = Instant::now();
        loop {
            let entry = self.entry(request.account, &request.scope);
            let _waiting = entry.wait(request.worst_case);
            let _slow = match self.turn(&entry, &request).await? {
                Turn::Held(hold) => return Ok(hold),
                Turn::Mine(slow) => slow,
            };
            if entry.book().retired {
                continue; // given back and forgotten while we waited
            }
            return self.hold_in_turn(&entry, &request, arrived).await;
        }
    }

    async fn turn<'a>(
        self: &Arc<Self>,
        entry: &'a Arc<Entry>,
        request: &HoldRequest,
    ) -> Result<Turn<'a>, HoldError> {
        // While the log is away every call before us uses up its own patience: no use to wait longer than for one.
        let limit = tokio::time::sleep(self.ledger.log().patience() + self.options.recall_wait);
        let slow = entry.slow.lock();
        tokio::pin!(limit, slow);
        loop {
            let freed = entry.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(hold) = self.try_hold(entry, request) {
                return Ok(Turn::Held(hold));
            }
            tokio::select! {
                biased;
                slow = &mut slow => return Ok(Turn::Mine(slow)),
                () = freed => {}
                () = &mut limit => {
                    return Err(HoldError::Unavailable("too many calls wait for the log".into()));
                }
            }
        }
    }

    /// The caller holds `entry.slow`.
    async fn hold_in_turn(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        request: &HoldRequest,
        arrived: Instant,
    ) -> Result<Hold, HoldError> {
        let (mut gone, mut scarce_until) = (0, None);
        loop {
            self.check_open()?;
            let freed = entry.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(hold) = self.try_hold(entry, request) {
                return Ok(hold);
            }
            let since = Instant::now().checked_sub(VERDICT_HOLDS).map_or(arrived, |since| since.max(arrived));
            if let Some(error) = entry.book().verdict(request.worst_case, since) {
                return Err(error);
            }
            let error = match self.enlarge(entry, request).await {
                // Calls that need not wait may have taken what came for this one: ask again, until it fits or there is no
                // more.
                Ok(()) if entry.book().has_live_lease(Instant::now()) => continue,
                Ok(()) if gone < GONE_TRIES => {
                    gone += 1;
                    continue;
                }
                Ok(()) => {
                    return Err(HoldError::Unavailable("the lease ran out while it was asked for".into()));
                }
                Err(HoldError::Unavailable(why)) => return Err(HoldError::Unavailable(why)),
                Err(error) => error,
            };
            let freed_here = self.reclaim(entry).await;
            let now = Instant::now();
            match scarce_until {
                None if freed_here || self.may_come_free(entry, request, &error).await => {
                    scarce_until = Some(now + self.options.recall_wait);
                    entry.book().tighten(now + recall::TIGHT_FOR);
                }
                Some(until) if now < until => {}
                None | Some(_) => {
                    entry.book().refuse(request.worst_case, error.clone(), now);
                    return Err(error);
                }
            }
            if freed_here {
                continue;
            }
            recall::ask(self, entry.account).await;
            // Whoever waits keeps no rest either: of two who wait with half of what they need, one shall be served.
            let rest = entry.book().shrink_to_use();
            if let Some((lease, to)) = rest
                && let Err(error) = self.amend(entry, lease, Amend::Shrink { to }, None).await
            {
                tracing::debug!(account = %entry.account, %lease, %error, "a rest could not be given back");
            }
            tokio::select! {
                biased;
                () = freed => {}
                () = tokio::time::sleep(ambient::jitter(SCARCE_PAUSE)) => {}
            }
        }
    }

    /// Could what calls and other leases hold cover the refused call, if all of it came back? If not, a recall is churn.
    async fn may_come_free(&self, entry: &Entry, request: &HoldRequest, error: &HoldError) -> bool {
        let (left, of_budget) = match error {
            HoldError::InsufficientCredits { available, .. } => (*available, false),
            HoldError::BudgetSpent { left, .. } => (*left, true),
            HoldError::Unavailable(_) => return false,
        };
        let Ok(account) = self.ledger.account(entry.account).await else { return false };
        let own = entry.book().open.as_ref().map(book::OpenLease::id);
        let others = account
            .leases
            .iter()
            .filter(|(id, lease)| own.as_ref() != Some(id) && (!of_budget || lease.scope == entry.scope));
        let elsewhere: i128 = others.map(|(_, lease)| i128::from(lease.credits.nano())).sum();
        let held = i128::from(entry.book().held().nano());
        i128::from(left.nano()) + elsewhere + held >= i128::from(request.worst_case.nano())
    }

    /// Gets the entry a lease that fits the request. The caller holds `entry.slow`.
    async fn enlarge(&self, entry: &Entry, request: &HoldRequest) -> Result<(), HoldError> {
        if entry.book().has_lapsed(Instant::now()) {
            self.check_epoch().await.map_err(unavailable)?;
        }
        if entry.book().is_closing() {
            self.close(entry).await.map_err(unavailable)?;
        }
        let need = entry.book().need(request.worst_case);
        match need {
            Need::Extend { lease, at_least, wanted } => {
                let amended =
                    self.amend(entry, lease, Amend::Extend { at_least, wanted }, request.budget).await;
                match amended {
                    Err(LedgerError::Refused(Refusal::LeaseClosed(_) | Refusal::UnknownLease(_))) => {
                        // The log is right. Calls in flight settle as the operator's loss would; new ones get a new lease.
                        tracing::error!(account = %entry.account, %lease, "a lease of this node is not open on the log");
                        entry.book().end_lease(LeaseEnd::Lost);
                        self.grant(entry, request).await
                    }
                    Err(error) => Err(refused(error, entry, request.worst_case)),
                    Ok(()) => Ok(()),
                }
            }
            Need::Grant => self.grant(entry, request).await,
        }
    }

    async fn grant(&self, entry: &Entry, request: &HoldRequest) -> Result<(), HoldError> {
        self.check_epoch_after_a_pause().await.map_err(unavailable)?;
        let epoch = self.epoch();
        let (lease, noted) = entry.book().next_id();
        if !noted {
            // Before it is asked for: a run that dies in between leaves its successor a lease to close.
            let _ = self.note(&Note::Leasing { lease, account: entry.account, epoch })?;
            entry.book().noted(lease);
            crash::point("lease.noted");
        }
        // A call that costs nothing still needs a lease to count its record in.
        let at_least = request.worst_case.max(Credits::from_nano(1));
        let wanted = entry.book().next_grant(request.worst_case).max(at_least);
        let command = Command::GrantLease {
            lease,
            epoch,
            scope: entry.scope.clone(),
            at_least,
            wanted,
            ttl_ms: self.life_ms(),
            budget: request.budget,
        };
        // The life counts from before we ask: the log's clock may have started it then.
        let asked = book::Asked::now();
        let receipt = self.decide(entry.account, command).await.map_err(|error| {
            if matches!(error, LedgerError::Refused(_) | LedgerError::Contended { .. }) {
                entry.book().not_granted(lease);
            }
            refused(error, entry, request.worst_case)
        })?;
        crash::point("lease.granted");
        let AccountEvent::LeaseGranted(granted) = &receipt.recorded.event else {
            return Err(HoldError::Unavailable("the log answered a grant with another event".into()));
        };
        // Granted before, at a time we do not know: its life begins with an amendment.
        let life = if receipt.repeated { Duration::ZERO } else { self.options.lease_life };
        let is_wanted = entry.book().granted(lease, epoch, granted.credits, life, asked);
        if self.epoch() != epoch {
            entry.book().end_epoch(epoch);
        } else if is_wanted && receipt.repeated {
            let amend = Amend::Extend { at_least: Credits::ZERO, wanted: Credits::ZERO };
            self.amend(entry, lease, amend, request.budget).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Amends the entry's lease. The caller holds `entry.slow`.
    pub(super) async fn amend(
        &self,
        entry: &Entry,
        lease: LeaseId,
        amend: Amend,
        budget: Option<Budget>,
    ) -> Result<(), LedgerError> {
        let wanted = match amend {
            Amend::Extend { wanted, .. } => wanted,
            Amend::Shrink { .. } => Credits::ZERO,
        };
        let command = Command::AmendLease { lease, amend, ttl_ms: self.life_ms(), budget };
        let asked = book::Asked::now();
        // Any amendment begins the life again, also one that a recall asks for: not that of a run which is over.
        if entry.book().has_lapsed(Instant::now()) {
            self.check_epoch().await?;
        }
        let receipt = self.decide(entry.account, command).await?;
        crash::point("lease.amended");
        if let AccountEvent::LeaseAmended(amended) = &receipt.recorded.event {
            entry.book().amended(lease, amended.credits, wanted, self.options.lease_life, asked);
            entry.freed.notify_waiters();
        }
        Ok(())
    }

    /// Gives the entry's lease back. The caller holds `entry.slow`, no call uses the lease, and its records are on the log.
    pub(super) async fn close(&self, entry: &Entry) -> Result<(), LedgerError> {
        let Some((lease, spent, count)) = entry.book().closing() else { return Ok(()) };
        crash::point("lease.unused");
        let end = self.close_on_log(entry.account, lease, spent, count).await?;
        crash::point("lease.closed");
        entry.book().end_lease(end);
        self.finish(entry);
        Ok(())
    }

    /// Closes the leases of sealed epochs that no call uses any more. The caller holds `entry.slow`.
    pub(super) async fn close_former(&self, entry: &Entry) -> Result<(), LedgerError> {
        loop {
            let closable = entry.book().closable();
            let Some((lease, spent, count)) = closable else { break };
            let end = self.close_on_log(entry.account, lease, spent, count).await?;
            entry.book().closed(lease, end);
        }
        self.finish(entry);
        Ok(())
    }

    pub(super) async fn close_on_log(
        &self,
        account: AccountId,
        lease: LeaseId,
        spent: Credits,
        count: u64,
    ) -> Result<LeaseEnd, LedgerError> {
        let command = Command::CloseLease { lease, spent, count, by: Closer::Holder };
        match self.decide(account, command).await {
            Ok(receipt) => {
                if let AccountEvent::LeaseClosed(closed) = &receipt.recorded.event
                    && (closed.spent, closed.count) != (spent, count)
                {
                    tracing::error!(%account, %lease, %spent, count, closed = %closed.spent, closed_count = closed.count, "a lease was closed by another node with less than was spent of it");
                }
                Ok(LeaseEnd::Closed)
            }
            Err(LedgerError::Refused(Refusal::UnknownLease(_))) if count == 0 => {
                tracing::info!(%account, %lease, "a lease that was asked for was never granted");
                Ok(LeaseEnd::Closed)
            }
            Err(LedgerError::Refused(refusal)) => {
                tracing::error!(%account, %lease, %refusal, "a lease could not be closed as it was");
                Ok(LeaseEnd::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets the leases of an entry that nobody needs any more.
    pub(super) fn finish(&self, entry: &Entry) {
        loop {
            let finished = entry.book().finished();
            let Some(lease) = finished else { return };
            self.note_lightly(&Note::Ended { lease });
            crash::point("lease.ended");
        }
    }

    /// Frees what other leases of the same account on this node do not need. True if that gave anything back.
    async fn reclaim(&self, wanting: &Entry) -> bool {
        let mut freed = false;
        for entry in self.entries_of(wanting.account) {
            if entry.scope == wanting.scope {
                continue;
            }
            // Busy means that somebody is asking for more right now: nothing to take.
            let Ok(_slow) = entry.slow.try_lock() else { continue };
            freed |= recall::give(self, &entry).await;
        }
        freed
    }

    pub(super) async fn decide(&self, account: AccountId, command: Command) -> Result<Receipt, LedgerError> {
        self.lease_decisions.fetch_add(1, Ordering::Relaxed);
        self.ledger.execute(account, command, self.actor()?, None).await
    }

    fn life_ms(&self) -> u64 {
        u64::try_from(self.options.lease_life.as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes from the account what a charge above its hold needs, down to the last credit. True if the lease got any.
    pub(super) async fn cover(
        &self,
        entry: &Entry,
        lease: LeaseId,
        shortfall: Credits,
        budget: Option<Budget>,
    ) -> bool {
        let _slow = entry.slow.lock().await;
        let extend = |credits| Amend::Extend { at_least: credits, wanted: credits };
        // A key's budget is as hard as the balance: what is above it is the operator's loss.
        let answer = match self.amend(entry, lease, extend(shortfall), budget).await {
            Err(LedgerError::Refused(
                Refusal::InsufficientCredits { available: left, .. } | Refusal::BudgetSpent { left, .. },
            )) if left.is_positive() => self.amend(entry, lease, extend(left), budget).await,
            answer => answer,
        };
        if let Err(error) = &answer {
            tracing::warn!(account = %entry.account, %lease, %shortfall, %error, "a charge above its hold is not covered");
        }
        answer.is_ok()
    }
}

/// More credits for a key are asked for by its calls, which know its budget: ahead of them only for the whole account.
pub(super) fn may_ask_ahead(scope: &Scope) -> bool {
    match scope {
        Scope::Account => true,
        Scope::Key { .. } => false,
    }
}

fn unavailable(error: LedgerError) -> HoldError {
    HoldError::Unavailable(error.to_string())
}

/// A refused lease in the words of the caller: what is available to it includes the rest of the lease it has.
fn refused(error: LedgerError, entry: &Entry, wanted: Credits) -> HoldError {
    let with_rest = |credits: Credits| credits.checked_add(entry.book().free()).unwrap_or(credits);
    match error {
        LedgerError::Refused(Refusal::InsufficientCredits { available, .. }) => {
            HoldError::InsufficientCredits { available: with_rest(available), wanted }
        }
        LedgerError::Refused(Refusal::BudgetSpent { left, .. }) => {
            HoldError::BudgetSpent { left: with_rest(left), wanted }
        }
        error => {
            tracing::error!(account = %entry.account, %error, "no lease could be had");
            unavailable(error)
        }
    }
}
