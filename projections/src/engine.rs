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

use crate::Database;
use chrono::FixedOffset;
use ledger::Log;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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
        let (status, _) = watch::channel(ProjectorStatus::default());
        let status = Arc::new(status);
        let stop = CancellationToken::new();
        let run = run::Run { db, log, options, status: status.clone(), stop: stop.clone() };
        let task = Mutex::new(Some(tokio::spawn(run.until_stopped())));
        ProjectorHandle { inner: Arc::new(Inner { status, stop, task }) }
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
    task: Mutex<Option<JoinHandle<()>>>,
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
        let task = self.inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the projector's task ended badly");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody can ask for its results any more.
        self.stop.cancel();
    }
}
