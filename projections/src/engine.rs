//! The engine: one ordered reader of the log, one SQL transaction per batch.
//!
//! May not touch: what a table means (that is the rooms').
//! Claims: a batch's rows and the checkpoint become visible together, once, however many projectors run and wherever
//! one of them dies; the log is compared with the checkpoint at the start and before every batch, and a log that was cut
//! or replaced stops the engine; nothing is ever skipped.

mod apply;
#[cfg(test)]
mod bench;
mod check;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod live_tests;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use apply::{Applied, Rows, apply};
pub(crate) use check::{check, check_hash};

use crate::{Database, background};
use chrono::FixedOffset;
use ledger::Log;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How long what is left over in a runtime may take to end with it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Knobs; `Default` fits production.
#[derive(Clone, Debug)]
pub struct ProjectorOptions {
    /// The most messages of one transaction. A message may carry hundreds of usage records.
    pub max_batch: usize,
    /// The operator's time zone: what a billing day is. After a change, days begun before keep their old zone until a
    /// rebuild.
    pub time_zone: FixedOffset,
    /// How long the database may take for one batch before it is given up and tried again.
    pub patience: Duration,
}

impl Default for ProjectorOptions {
    fn default() -> Self {
        Self {
            max_batch: 512,
            time_zone: chrono::Offset::fix(&chrono::Utc),
            patience: Duration::from_secs(60),
        }
    }
}

/// How far the projections are.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ProjectorStatus {
    /// The last sequence in the tables.
    pub applied: u64,
    /// The log's last sequence, as last seen.
    pub last_seen: u64,
    /// How many messages the tables are behind it.
    pub lag: u64,
    /// Why the engine stopped for good; a person has to look.
    pub halted: Option<String>,
    /// What it waits for before it tries again: the log or the database is unavailable.
    pub waiting: Option<String>,
}

/// Starts the engine.
#[derive(Debug)]
pub struct Projector;

impl Projector {
    /// Starts the one task that applies the log to the database, until [`ProjectorHandle::stop`].
    ///
    /// The database must be migrated. A log or database that is away is waited for.
    pub fn start(db: Database, log: Log, options: ProjectorOptions) -> ProjectorHandle {
        let (run, handle, ended) = Self::prepare(db, log, options);
        tokio::spawn(async move {
            run.until_stopped().await;
            // Nobody may be waiting for it.
            let _ = ended.send(());
        });
        handle
    }

    /// The same in a thread of its own that goes behind all others: reading a batch of hundreds of usage records takes
    /// milliseconds, for which no call should wait. The tables may trail; callers may not.
    ///
    /// Errors: the thread cannot be started.
    pub fn start_aside(
        db: &Database,
        log: Log,
        options: ProjectorOptions,
    ) -> std::io::Result<ProjectorHandle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let db = {
            // Connections to a server belong to the runtime that makes them.
            let _inside = runtime.enter();
            db.with_own_connections()
        };
        let (run, handle, ended) = Self::prepare(db, log, options);
        background::thread("projector", move || {
            runtime.block_on(run.until_stopped());
            // What the last connections still have to say to the database is not waited for long.
            runtime.shutdown_timeout(LAST_WORDS);
            let _ = ended.send(());
        })?;
        Ok(handle)
    }

    fn prepare(
        db: Database,
        log: Log,
        options: ProjectorOptions,
    ) -> (run::Run, ProjectorHandle, oneshot::Sender<()>) {
        let (status, _) = watch::channel(ProjectorStatus::default());
        let status = Arc::new(status);
        let stop = CancellationToken::new();
        let run = run::Run { db, log, options, status: status.clone(), stop: stop.clone() };
        let (sender, ended) = oneshot::channel();
        let ended = Mutex::new(Some(ended));
        (run, ProjectorHandle { inner: Arc::new(Inner { status, stop, ended }) }, sender)
    }
}

/// A running engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProjectorHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    status: Arc<watch::Sender<ProjectorStatus>>,
    stop: CancellationToken,
    /// Told when the task has ended; dropped untold when it ended badly.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl ProjectorHandle {
    /// The last sequence in the tables.
    pub fn applied(&self) -> u64 {
        self.inner.status.borrow().applied
    }

    /// Waits until the tables contain a position; `false`: not within the time, or not before the engine halted.
    pub async fn wait_for(&self, position: u64, timeout: Duration) -> bool {
        let mut status = self.inner.status.subscribe();
        let reached = status.wait_for(|it| it.applied >= position || it.halted.is_some());
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(status)) => status.applied >= position,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// How far the projections are.
    pub fn status(&self) -> ProjectorStatus {
        self.inner.status.borrow().clone()
    }

    /// Ends the task within seconds; a batch under way is finished first, or undone. Safe to call again.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        let ended = self.inner.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended
            && ended.await.is_err()
        {
            tracing::error!("the projector's task ended badly");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody can ask for its results any more.
        self.stop.cancel();
    }
}
