//! Metering on a relay node: leases taken from accounts, holds inside them, usage reported to the log.
//!
//! A lease is a slice of an account's credits that this node may spend for a short time; a hold reserves the worst case of
//! one call inside it; settling turns a hold into a usage record. For: calls ([`hold`]), the leases under them ([`lease`],
//! [`book`], [`upkeep`]), reports ([`report`]), the run as a whole ([`epoch`], [`restart`]), and what nodes do for each other
//! ([`recall`], [`sweep`]). May not touch: prices, providers, SQL.
//! Claims: a call starts only if its worst case fits a lease that has not run out, and only after the outbox has it; while a
//! lease suffices a call waits for no network; records of a lease count 1, 2, 3… with a cumulative sum; one report is in
//! flight at a time; a lease is closed only when no call uses it and all of its records are acknowledged, or by a sweeper
//! after its run was sealed; whatever a run has settled reaches the log, by it or by its successor.

#[cfg(test)]
mod bench;
mod book;
mod epoch;
mod hold;
mod lease;
mod recall;
mod report;
mod restart;
mod restored;
pub(crate) mod sweep;
#[cfg(test)]
mod tests;
mod upkeep;

pub use hold::{Hold, Settled};

use crate::outbox::{Entry as Note, Flush, Outbox, OutboxOptions, OutboxStatus, RecordJson, Written};
use crate::{Ledger, LedgerError, Projected, ambient, crash};
use book::{Book, Entry};
use domain::account::{Budget, event::Scope};
use domain::{AccountId, Actor, ActorKind, Credits, EpochId, Label, UsageRecord};
use report::Reports;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
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
    /// The log cannot be reached, reports are late, the outbox is full, or the node is stopping. A retry can help.
    #[error("metering is unavailable: {0}")]
    Unavailable(String),
}

impl HoldError {
    /// The same refusal of somebody who needs this much.
    fn for_need(&self, need: Credits) -> Self {
        match self.clone() {
            Self::InsufficientCredits { available, .. } => {
                Self::InsufficientCredits { available, wanted: need }
            }
            Self::BudgetSpent { left, .. } => Self::BudgetSpent { left, wanted: need },
            Self::Unavailable(why) => Self::Unavailable(why),
        }
    }
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
    /// How long a call that the credits do not cover waits for what other calls and other nodes give back.
    pub recall_wait: Duration,
    /// How often leases of silent nodes are looked for.
    pub sweep_every: Duration,
    /// How long the leases of a sealed run stay reserved: no less than the longest call, the report bound and the error of
    /// clocks together, for a call that was admitted before the seal may still be running.
    pub quarantine: Duration,
    /// Where calls and records are kept until the projections have them.
    pub outbox: OutboxOptions,
}

impl MeterOptions {
    /// The defaults, with the outbox in this folder.
    pub fn with_outbox(dir: impl Into<std::path::PathBuf>) -> Self {
        Self {
            lease_life: Duration::from_secs(60),
            idle_close: Duration::from_secs(15),
            report_bound: Duration::from_secs(30),
            upkeep_every: Duration::from_millis(500),
            recall_wait: Duration::from_secs(1),
            sweep_every: Duration::from_secs(5),
            quarantine: Duration::from_secs(600),
            outbox: OutboxOptions::at(dir),
        }
    }
}

/// Figures for metrics and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MeterStatus {
    /// Calls that hold credits now.
    pub calls_in_flight: u64,
    /// Leases that are not closed.
    pub open_leases: u64,
    /// Usage records that the log has not acknowledged.
    pub unreported: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub oldest_unreported_ms: u64,
    /// Decisions about leases that went to the log since the start.
    pub lease_decisions: u64,
    /// Calls that waited for the log, at their hold or at their settlement, since the start. All others waited for nothing
    /// but the write to the outbox.
    pub calls_by_log: u64,
    /// Runs of this process that other nodes have sealed since the start.
    pub epochs_sealed: u64,
    /// The outbox.
    pub outbox: OutboxStatus,
}

/// Leases, holds and usage reports of one relay node. Cheap to clone.
#[derive(Clone)]
pub struct Meter {
    shared: Arc<Shared>,
}

/// A map that is walked in order, so that a run can be repeated exactly.
type Entries = BTreeMap<(AccountId, Scope), Arc<Entry>>;

struct Shared {
    ledger: Ledger,
    projected: Arc<dyn Projected>,
    options: MeterOptions,
    outbox: Outbox,
    /// The present run: another one after other nodes have sealed it.
    run: Mutex<epoch::Run>,
    entries: Mutex<Entries>,
    reports: Reports,
    stopping: AtomicBool,
    lease_decisions: AtomicU64,
    calls_by_log: AtomicU64,
    epochs_sealed: AtomicU64,
    /// Told whenever a call ends.
    call_ended: tokio::sync::Notify,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Meter {
    /// Opens the outbox, ends what the run before left (its epoch is sealed, its records are reported, its leases closed),
    /// begins a new epoch and starts the tasks that report usage and look after leases.
    ///
    /// Errors: [`LedgerError::Unfit`] where the outbox cannot be opened or is damaged; those of the log.
    pub async fn start(
        ledger: Ledger,
        projected: Arc<dyn Projected>,
        options: MeterOptions,
    ) -> Result<Self, LedgerError> {
        let dir = options.outbox.clone();
        let opened = ambient::blocking(move || Outbox::open(dir)).await;
        let opened = opened.ok_or_else(|| LedgerError::Unfit("the outbox could not be opened".into()))?;
        let (outbox, recovered) = opened.map_err(unfit)?;
        crash::point("restart.locked");
        let run = epoch::Run::begin(options.lease_life);
        if let Ok(position) = projected.position().await
            && restored::is_the_same_log(&ledger, &recovered).await?
        {
            // What they have passed since the run before need not be there any more.
            let old = outbox.clone();
            ambient::blocking(move || old.trim(position)).await.transpose().map_err(unfit)?;
        }
        // Taken by a full outbox too: what that holds is reported by this run, and that is what makes room.
        let _ = outbox.append(&Note::Began { epoch: run.epoch }).map_err(unfit)?;
        crash::point("restart.began");
        let shared = Arc::new(Shared {
            ledger,
            projected,
            options,
            outbox,
            run: Mutex::new(run),
            entries: Mutex::default(),
            reports: Reports::default(),
            stopping: AtomicBool::new(false),
            lease_decisions: AtomicU64::new(0),
            calls_by_log: AtomicU64::new(0),
            epochs_sealed: AtomicU64::new(0),
            call_ended: tokio::sync::Notify::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        shared.tasks.spawn(report::run(shared.clone()));
        if let Err(error) = restart::finish_former(&shared, recovered).await {
            shared.end_tasks().await;
            return Err(error);
        }
        shared.tasks.spawn(upkeep::run(shared.clone()));
        shared.tasks.spawn(recall::run(shared.clone()));
        shared.tasks.spawn(sweep::run(shared.clone()));
        Ok(Self { shared })
    }

    #[cfg(test)]
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.shared.outbox
    }

    /// The present run. It changes when other nodes have sealed it.
    pub fn epoch(&self) -> EpochId {
        self.shared.epoch()
    }

    /// Reserves credits for a call. While the lease suffices this waits for nothing; else for the log, as long as its
    /// patience, and for what other nodes give back.
    pub async fn hold(&self, request: HoldRequest) -> Result<Hold, HoldError> {
        let shared = &self.shared;
        shared.check_open()?;
        let entry = shared.entry(request.account, &request.scope);
        if let Some(hold) = shared.try_hold(&entry, &request) {
            return Ok(hold);
        }
        shared.calls_by_log.fetch_add(1, Ordering::Relaxed);
        // In a task of its own: a caller that goes away must not leave a grant half asked for.
        let task = shared.tasks.spawn(shared.clone().hold_by_log(request));
        let limit = shared.ledger.log().patience() + shared.options.recall_wait;
        match tokio::time::timeout(limit, task).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(HoldError::Unavailable(error.to_string())),
            Err(_) => Err(HoldError::Unavailable("the log did not answer in time".into())),
        }
    }

    /// Why no call is admitted now, if so: for `/readyz`.
    pub fn fault(&self) -> Option<String> {
        let shared = &self.shared;
        let outbox = shared.outbox.status();
        let full = outbox.bytes >= outbox.max_bytes;
        let full =
            full.then(|| format!("the outbox is full: {} of {} bytes", outbox.bytes, outbox.max_bytes));
        shared.check_open().err().map(|error| error.to_string()).or(outbox.broken).or(full)
    }

    /// Figures as of now.
    pub fn status(&self) -> MeterStatus {
        let shared = &self.shared;
        let (mut calls_in_flight, mut open_leases) = (0, 0);
        for entry in shared.all_entries() {
            let book = entry.book();
            open_leases += u64::from(book.open.is_some()) + u64::from(book.closable().is_some());
            calls_in_flight += book.calls();
        }
        let (unreported, oldest) = shared.reports.waiting();
        MeterStatus {
            calls_in_flight,
            open_leases,
            unreported,
            oldest_unreported_ms: u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
            lease_decisions: shared.lease_decisions.load(Ordering::Relaxed),
            calls_by_log: shared.calls_by_log.load(Ordering::Relaxed),
            epochs_sealed: shared.epochs_sealed.load(Ordering::Relaxed),
            outbox: shared.outbox.status(),
        }
    }

    /// Refuses new holds, waits for calls in flight, reports everything, closes the leases, ends the tasks.
    ///
    /// Waits at most `limit` for the calls and as long again for the log; what is open then is logged and left to the
    /// outbox: the next start ends it.
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
            let closing = shared.all_entries().into_iter().map(|entry| upkeep::give_all_back(shared, entry));
            futures_util::future::join_all(closing).await;
        };
        if tokio::time::timeout(limit, log).await.is_err() {
            tracing::error!(status = ?self.status(), "the log did not take everything before the end of the drain");
        }
        shared.end_tasks().await;
    }
}

impl Shared {
    async fn end_tasks(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Err(error) = self.outbox.flush() {
            tracing::error!(%error, "the outbox could not be flushed");
        }
    }

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

    fn epoch(&self) -> EpochId {
        self.run.lock().unwrap_or_else(PoisonError::into_inner).epoch
    }

    /// This run as the cause of events.
    fn actor(&self) -> Result<Actor, LedgerError> {
        let id = Label::try_new(self.epoch().to_string());
        let id = id.map_err(|error| LedgerError::Unfit(error.to_string()))?;
        Ok(Actor { kind: ActorKind::Node, id })
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_entries(&self) -> Vec<Arc<Entry>> {
        self.entries().values().cloned().collect()
    }

    fn entries_of(&self, account: AccountId) -> Vec<Arc<Entry>> {
        self.entries().values().filter(|entry| entry.account == account).cloned().collect()
    }

    fn entry(&self, account: AccountId, scope: &Scope) -> Arc<Entry> {
        let mut entries = self.entries();
        let key = (account, scope.clone());
        entries.entry(key).or_insert_with(|| Arc::new(Entry::new(account, scope.clone()))).clone()
    }

    /// Notes something that must survive this process. An error is said in the caller's words.
    fn note(&self, note: &Note) -> Result<Written, HoldError> {
        self.outbox.append(note).map_err(|error| {
            tracing::error!(%error, "the outbox takes no entry");
            HoldError::Unavailable(error.to_string())
        })
    }

    /// Notes something whose loss costs at most a repeated report.
    fn note_lightly(&self, note: &Note) {
        if let Err(error) = self.outbox.append(note).map(drop) {
            tracing::error!(%error, "the outbox takes no entry");
        }
    }

    /// Writes a settled record to the outbox and queues it for the log, made into JSON once for both; `None`: the outbox
    /// has not taken it.
    fn queue(&self, record: &UsageRecord, entry: Option<Arc<Entry>>) -> Option<Written> {
        let json = match RecordJson::of(record) {
            Ok(json) => json,
            Err(error) => {
                // No record is like that. Were one, the numbers of its lease would have a hole for ever.
                report::give_up(self, &unfit(error));
                return None;
            }
        };
        let written = self.outbox.settle(record, &json);
        let written = written.inspect_err(|error| tracing::error!(%error, "the outbox takes no record")).ok();
        crash::point("settle.written");
        self.reports.push(json, entry);
        written
    }

    /// Does a call wait for the disk?
    fn waits_for_disk(&self) -> bool {
        self.options.outbox.flush == Flush::BeforeAnswer
    }
}

fn unfit(error: crate::outbox::OutboxError) -> LedgerError {
    // The whole chain: this ends as text in front of an operator.
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    LedgerError::Unfit(text)
}

/// Locks a book; a panic elsewhere cannot have left it half-written, for every change is a few assignments.
fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
