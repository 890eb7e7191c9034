//! Metering on a relay node: leases taken from accounts, holds inside them, usage reported to the log.
//!
//! A lease is a slice of an account's credits that this node may spend for a short time; a hold reserves the worst case of
//! one call inside it; settling turns a hold into a usage record. May not touch: prices, providers, SQL.
//! Claims: a call starts only if its worst case fits a lease that has not run out; while a lease suffices a call waits for
//! no network; records of a lease count 1, 2, 3… with a cumulative sum; one report is in flight at a time; a lease is
//! closed only when no call uses it and all of its records are acknowledged.
//!
//! Not here yet, and where they belong: the durable outbox between `settle` and `report`, sealing and the sweeper beside
//! `upkeep`, the recall of other nodes' leases in `Shared::reclaim`.

mod book;
mod report;
#[cfg(test)]
mod tests;
mod upkeep;

use crate::{Ledger, LedgerError};
use book::{Book, Entry};
use domain::account::{Amend, Budget, event::Closer, event::Scope};
use domain::usage::Usage;
use domain::{
    AccountEvent, AccountId, Actor, ActorKind, Command, Credits, EpochId, Label, LeaseId, Refusal,
    UsageRecord,
};
use report::Reports;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a call needs before it may start.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    /// Who pays.
    pub account: AccountId,
    /// The account, or a key that has a budget.
    pub scope: Scope,
    /// The budget, where the scope is a key.
    pub budget: Option<Budget>,
    /// The most that the call can cost.
    pub worst_case: Credits,
}

/// Why a call may not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// Not enough credits.
    #[error("{wanted} credits are needed, {available} are available")]
    InsufficientCredits {
        /// What may be spent.
        available: Credits,
        /// What this call could cost.
        wanted: Credits,
    },
    /// The key's budget is spent.
    #[error("{wanted} credits are needed, {left} are left of the key's budget")]
    BudgetSpent {
        /// What is left of it.
        left: Credits,
        /// What this call could cost.
        wanted: Credits,
    },
    /// The log cannot be reached, reports are late, or the node is stopping. A retry can help.
    #[error("metering is unavailable: {0}")]
    Unavailable(String),
}

/// What a settled call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What the account paid.
    pub paid: Credits,
    /// What neither the lease nor the account could cover: the operator's loss.
    pub uncovered: Credits,
}

/// Knobs. The defaults are the design's.
#[derive(Clone, Debug)]
pub struct MeterOptions {
    /// A lease's life; renewed at half of it.
    pub lease_life: Duration,
    /// A lease that nobody used for so long is given back.
    pub idle_close: Duration,
    /// Holds are refused while a record is waiting longer than this for the log.
    pub report_bound: Duration,
    /// How often leases are looked after.
    pub upkeep_every: Duration,
}

impl Default for MeterOptions {
    fn default() -> Self {
        Self {
            lease_life: Duration::from_secs(60),
            idle_close: Duration::from_secs(15),
            report_bound: Duration::from_secs(30),
            upkeep_every: Duration::from_millis(500),
        }
    }
}

/// Figures for metrics and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MeterStatus {
    /// Calls that hold credits now.
    pub calls_in_flight: u64,
    /// Open leases.
    pub open_leases: u64,
    /// Usage records that the log has not acknowledged.
    pub unreported: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub oldest_unreported_ms: u64,
    /// Decisions about leases that went to the log since the start.
    pub lease_decisions: u64,
}

/// How often a charge above its hold asks the account: other calls may take what came for it.
const COVER_TRIES: usize = 8;

/// Leases, holds and usage reports of one run of one relay node. Cheap to clone.
#[derive(Clone)]
pub struct Meter {
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Ledger,
    options: MeterOptions,
    epoch: EpochId,
    actor: Actor,
    entries: Mutex<HashMap<(AccountId, Scope), Arc<Entry>>>,
    reports: Reports,
    stopping: AtomicBool,
    lease_decisions: AtomicU64,
    /// Told whenever a call ends.
    call_ended: tokio::sync::Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Credits reserved for one call. Dropping it without settling gives them back.
pub struct Hold {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    lease: LeaseId,
    held: Credits,
    budget: Option<Budget>,
    ended: bool,
}

impl Meter {
    /// Begins a new epoch and starts the tasks that report usage and look after leases.
    pub fn start(ledger: Ledger, options: MeterOptions) -> Result<Self, LedgerError> {
        let epoch = EpochId::from_uuid(uuid::Uuid::now_v7());
        let id = Label::try_new(epoch.to_string()).map_err(|error| LedgerError::Unfit(error.to_string()))?;
        let shared = Arc::new(Shared {
            ledger,
            options,
            epoch,
            actor: Actor { kind: ActorKind::Node, id },
            entries: Mutex::default(),
            reports: Reports::default(),
            stopping: AtomicBool::new(false),
            lease_decisions: AtomicU64::new(0),
            call_ended: tokio::sync::Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        shared.tasks.spawn(report::run(shared.clone()));
        shared.tasks.spawn(upkeep::run(shared.clone()));
        Ok(Self { shared })
    }

    /// This run.
    pub fn epoch(&self) -> EpochId {
        self.shared.epoch
    }

    /// Reserves credits for a call. While the lease suffices this waits for nothing; else for the log, as long as its
    /// patience.
    pub async fn hold(&self, request: HoldRequest) -> Result<Hold, HoldError> {
        let shared = &self.shared;
        shared.check_open()?;
        let entry = shared.entry(request.account, &request.scope);
        if let Some(hold) = shared.try_hold(&entry, &request) {
            return Ok(hold);
        }
        // In a task of its own: a caller that goes away must not leave a grant half asked for.
        let task = shared.tasks.spawn(shared.clone().hold_by_log(request));
        match tokio::time::timeout(shared.ledger.log().patience(), task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(HoldError::Unavailable(error.to_string())),
            Err(_) => Err(HoldError::Unavailable("the log did not answer in time".into())),
        }
    }

    /// Figures as of now.
    pub fn status(&self) -> MeterStatus {
        let shared = &self.shared;
        let (mut calls_in_flight, mut open_leases) = (0, 0);
        for entry in shared.all_entries() {
            let book = entry.book();
            open_leases += u64::from(book.open.is_some());
            calls_in_flight += book.calls();
        }
        let (unreported, oldest) = shared.reports.waiting();
        MeterStatus {
            calls_in_flight,
            open_leases,
            unreported,
            oldest_unreported_ms: u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
            lease_decisions: shared.lease_decisions.load(Ordering::Relaxed),
        }
    }

    /// Refuses new holds, waits for calls in flight, reports everything, closes the leases, ends the tasks.
    ///
    /// Waits at most `limit` for the calls and as long again for the log; what is open then is logged and left.
    pub async fn drain(&self, limit: Duration) {
        let shared = &self.shared;
        shared.stopping.store(true, Ordering::SeqCst);
        let calls = async {
            loop {
                let ended = shared.call_ended.notified();
                if self.status().calls_in_flight == 0 {
                    break;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(limit, calls).await.is_err() {
            tracing::error!(
                calls = self.status().calls_in_flight,
                "calls are still in flight at the end of the drain"
            );
        }
        let log = async {
            shared.reports.drained().await;
            let closing: Vec<_> =
                shared.all_entries().into_iter().map(|entry| upkeep::give_back(shared, entry)).collect();
            futures_util::future::join_all(closing).await;
        };
        if tokio::time::timeout(limit, log).await.is_err() {
            tracing::error!(status = ?self.status(), "the log did not take everything before the end of the drain");
        }
        shared.stop.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
    }
}

impl Shared {
    fn check_open(&self) -> Result<(), HoldError> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(HoldError::Unavailable("the gateway is stopping".into()));
        }
        if let Some(why) = self.reports.broken() {
            return Err(HoldError::Unavailable(why));
        }
        if self.reports.waiting().1 > self.options.report_bound {
            return Err(HoldError::Unavailable("usage cannot be written to the log".into()));
        }
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<(AccountId, Scope), Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_entries(&self) -> Vec<Arc<Entry>> {
        self.entries().values().cloned().collect()
    }

    fn entry(&self, account: AccountId, scope: &Scope) -> Arc<Entry> {
        let mut entries = self.entries();
        let key = (account, scope.clone());
        entries.entry(key).or_insert_with(|| Arc::new(Entry::new(account, scope.clone()))).clone()
    }

    fn try_hold(self: &Arc<Self>, entry: &Arc<Entry>, request: &HoldRequest) -> Option<Hold> {
        let mut book = entry.book();
        // Asked under the book's lock: the drain counts calls under it, so that none slips in behind its back.
        if self.stopping.load(Ordering::SeqCst) {
            return None;
        }
        let (held, budget) = (request.worst_case, request.budget);
        let lease = book.try_hold(held, Instant::now())?;
        Some(Hold { shared: self.clone(), entry: entry.clone(), lease, held, budget, ended: false })
    }

    /// Reserves credits after the log has given them. One call of an entry at a time goes to the log; the sum of those who
    /// wait tells it how much to ask for.
    async fn hold_by_log(self: Arc<Self>, request: HoldRequest) -> Result<Hold, HoldError> {
        loop {
            let entry = self.entry(request.account, &request.scope);
            let _waiting = entry.wait(request.worst_case);
            // While the log is away every call before us uses up its own patience: no use to wait longer than for one.
            let turn = tokio::time::timeout(self.ledger.log().patience(), entry.slow.lock()).await;
            let _slow = turn.map_err(|_| HoldError::Unavailable("too many calls wait for the log".into()))?;
            if entry.book().retired {
                continue; // given back and forgotten while we waited
            }
            // Calls that need not wait may have taken what came for this one: ask again, until it fits or there is no more.
            loop {
                self.check_open()?;
                if let Some(hold) = self.try_hold(&entry, &request) {
                    return Ok(hold);
                }
                match self.enlarge(&entry, &request).await {
                    Err(HoldError::InsufficientCredits { .. }) if self.reclaim(&entry).await => {
                        self.enlarge(&entry, &request).await?;
                    }
                    answer => answer?,
                }
                if !entry.book().has_live_lease(Instant::now()) {
                    return Err(HoldError::Unavailable("the lease ran out while it was asked for".into()));
                }
            }
        }
    }

    /// Gets the entry a lease that fits the request. The caller holds `entry.slow`.
    async fn enlarge(&self, entry: &Entry, request: &HoldRequest) -> Result<(), HoldError> {
        if entry.book().is_closing() {
            self.close(entry).await.map_err(unavailable)?;
        }
        let need = entry.book().need(request.worst_case);
        match need {
            book::Need::Extend { lease, at_least, wanted } => {
                let amended =
                    self.amend(entry, lease, Amend::Extend { at_least, wanted }, request.budget).await;
                match amended {
                    Err(LedgerError::Refused(Refusal::LeaseClosed(_) | Refusal::UnknownLease(_))) => {
                        // The log is right. Calls in flight settle as the operator's loss would; new ones get a new lease.
                        tracing::error!(account = %entry.account, %lease, "a lease of this node is not open on the log");
                        entry.book().forget_lease();
                        self.grant(entry, request).await
                    }
                    Err(error) => Err(refused(error, entry, request.worst_case)),
                    Ok(()) => Ok(()),
                }
            }
            book::Need::Grant => self.grant(entry, request).await,
        }
    }

    async fn grant(&self, entry: &Entry, request: &HoldRequest) -> Result<(), HoldError> {
        let (lease, wanted) = entry.book().next_grant();
        // A call that costs nothing still needs a lease to count its record in.
        let at_least = request.worst_case.max(Credits::from_nano(1));
        let command = Command::GrantLease {
            lease,
            epoch: self.epoch,
            scope: entry.scope.clone(),
            at_least,
            wanted: wanted.max(at_least),
            ttl_ms: self.life_ms(),
            budget: request.budget,
        };
        // The life counts from before we ask: the log's clock may have started it then.
        let asked = book::Asked::now();
        let receipt = self.decide(entry.account, command).await.map_err(|error| {
            if matches!(error, LedgerError::Refused(_) | LedgerError::Contended { .. }) {
                entry.book().not_granted();
            }
            refused(error, entry, request.worst_case)
        })?;
        let AccountEvent::LeaseGranted(granted) = &receipt.recorded.event else {
            return Err(HoldError::Unavailable("the log answered a grant with another event".into()));
        };
        // Granted before, at a time we do not know: its life begins with an amendment.
        let life = if receipt.repeated { Duration::ZERO } else { self.options.lease_life };
        entry.book().granted(lease, granted.credits, life, asked);
        if receipt.repeated {
            let amend = Amend::Extend { at_least: Credits::ZERO, wanted: Credits::ZERO };
            self.amend(entry, lease, amend, request.budget).await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Amends the entry's lease. The caller holds `entry.slow`.
    async fn amend(
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
        let receipt = self.decide(entry.account, command).await?;
        if let AccountEvent::LeaseAmended(amended) = &receipt.recorded.event {
            entry.book().amended(lease, amended.credits, wanted, self.options.lease_life, asked);
        }
        Ok(())
    }

    /// Gives the entry's lease back. The caller holds `entry.slow`, no call uses the lease, and its records are on the log.
    async fn close(&self, entry: &Entry) -> Result<(), LedgerError> {
        let Some((lease, spent, count)) = entry.book().closing() else { return Ok(()) };
        let command = Command::CloseLease { lease, spent, count, by: Closer::Holder };
        match self.decide(entry.account, command).await {
            Ok(_) => {}
            Err(LedgerError::Refused(Refusal::UnknownLease(_))) if count == 0 => {
                tracing::info!(account = %entry.account, %lease, "a lease that was asked for was never granted");
            }
            Err(LedgerError::Refused(refusal)) => {
                tracing::error!(account = %entry.account, %lease, %refusal, "a lease could not be closed as it was");
            }
            Err(error) => return Err(error),
        }
        entry.book().forget_lease();
        Ok(())
    }

    /// Frees what other leases of the same account on this node do not need. True if that gave anything back.
    ///
    /// Leases of other nodes are recalled here too, once there is a recall.
    async fn reclaim(&self, wanting: &Entry) -> bool {
        let others: Vec<_> = self.all_entries();
        let mut freed = false;
        for entry in
            others.into_iter().filter(|it| it.account == wanting.account && it.scope != wanting.scope)
        {
            // Busy means that somebody is asking for more right now: nothing to take.
            let Ok(_slow) = entry.slow.try_lock() else { continue };
            let unused = entry.book().begin_close_if_unused(false);
            if unused {
                freed |= self.close(&entry).await.is_ok();
                continue;
            }
            // Whoever tightens moves first: the credits are out of reach here before they are free there.
            let shrunk = entry.book().shrink_to_use();
            if let Some((lease, to)) = shrunk {
                freed |= self.amend(&entry, lease, Amend::Shrink { to }, None).await.is_ok();
            }
        }
        freed
    }

    async fn decide(&self, account: AccountId, command: Command) -> Result<crate::Receipt, LedgerError> {
        self.lease_decisions.fetch_add(1, Ordering::Relaxed);
        self.ledger.execute(account, command, self.actor.clone(), None).await
    }

    fn life_ms(&self) -> u64 {
        u64::try_from(self.options.lease_life.as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes from the account what a charge above its hold needs, down to the last credit. True if the lease got any.
    async fn cover(&self, entry: &Entry, lease: LeaseId, shortfall: Credits, budget: Option<Budget>) -> bool {
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

impl Hold {
    /// Asked right before the provider is called: has the lease not run out since the hold?
    pub fn confirm(&self) -> Result<(), HoldError> {
        match self.entry.book().is_live(self.lease, Instant::now()) {
            true => Ok(()),
            false => Err(HoldError::Unavailable("the lease ran out before the call could start".into())),
        }
    }

    /// The credits reserved.
    pub fn held(&self) -> Credits {
        self.held
    }

    /// Ends the hold with what the call really cost, and queues its usage record for the log.
    ///
    /// A charge above the hold takes the lease's rest, then what the account has available; what even that cannot cover is
    /// the operator's loss. Once polled it happens, also when the caller waits no longer.
    pub async fn settle(mut self, usage: Usage) -> Settled {
        if self.grow(usage.charge) == Credits::ZERO {
            return self.end(usage);
        }
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
        self.end(usage)
    }

    /// Takes what the charge needs above the hold out of the lease's rest, at once: other calls cannot have it while the
    /// log is asked for more. Answers with what is missing.
    fn grow(&mut self, charge: Credits) -> Credits {
        self.entry.book().grow(self.lease, &mut self.held, charge)
    }

    fn end(mut self, usage: Usage) -> Settled {
        self.ended = true;
        let settled = {
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
            // Queued under the book's lock, so that records of a lease stand in the order of their n.
            self.shared.reports.push(record, self.entry.clone());
            Settled { paid: settlement.paid, uncovered }
        };
        self.shared.call_ended.notify_waiters();
        settled
    }

    /// Ends the hold with nothing: no record, no charge.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.ended {
            self.entry.book().release(self.lease, self.held);
            self.shared.call_ended.notify_waiters();
        }
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

/// Locks a book; a panic elsewhere cannot have left it half-written, for every change is a few assignments.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
