//! The follower: how far the tables are, for whoever reads them, whether the engine runs in this process or in another.
//!
//! May not touch: moving the tables on.
//! Claims: what it says was committed before it says so; however many wait for a position, one of them at a time asks the
//! database again and again.

#[cfg(test)]
mod tests;

use crate::{Database, ProjectorHandle, position};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// Between two looks at the checkpoint.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Says how far the tables are. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Follower {
    /// The engine runs in this process and tells.
    Here(ProjectorHandle),
    /// Other processes move the tables on; the checkpoint is looked at when somebody asks.
    Elsewhere(Onlooker),
}

/// Looks at the checkpoint.
#[derive(Clone, Debug)]
pub struct Onlooker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Database,
    /// The checkpoint as last seen.
    seen: watch::Sender<u64>,
    /// Held by the one who looks for all who wait.
    turn: Mutex<()>,
}

impl Follower {
    /// Follows the tables of a database that other processes move on.
    pub fn elsewhere(db: Database) -> Self {
        let inner = Inner { db, seen: watch::Sender::new(0), turn: Mutex::new(()) };
        Self::Elsewhere(Onlooker { inner: Arc::new(inner) })
    }

    /// The last sequence in the tables, as this process last heard or saw it.
    pub fn applied(&self) -> u64 {
        match self {
            Self::Here(projector) => projector.applied(),
            Self::Elsewhere(onlooker) => *onlooker.inner.seen.borrow(),
        }
    }

    /// Waits until the tables contain a position; `false`: not within the time, or not before the engine here halted.
    pub async fn wait_for(&self, position: u64, timeout: Duration) -> bool {
        match self {
            Self::Here(projector) => projector.wait_for(position, timeout).await,
            Self::Elsewhere(onlooker) => {
                tokio::time::timeout(timeout, onlooker.reaches(position)).await.is_ok()
            }
        }
    }
}

impl Onlooker {
    async fn reaches(&self, position: u64) {
        let mut seen = self.inner.seen.subscribe();
        // Everybody looks once: what was seen last may be of before a backup was restored.
        if self.look().await >= Some(position) {
            return;
        }
        // Only what is seen from now on counts. An error would mean that the sender, which is ours, is gone.
        seen.mark_unchanged();
        let told = async { while seen.changed().await.is_ok() && *seen.borrow_and_update() < position {} };
        tokio::select! {
            () = told => {}
            _turn = self.inner.turn.lock() => while self.look().await < Some(position) {
                tokio::time::sleep(LOOK_EVERY).await;
            },
        }
    }

    /// Reads the checkpoint. `None`: the database does not answer now.
    async fn look(&self) -> Option<u64> {
        match position(&self.inner.db).await {
            Ok(position) => {
                self.inner.seen.send_replace(position);
                Some(position)
            }
            Err(error) => {
                tracing::debug!(%error, "the checkpoint cannot be read");
                None
            }
        }
    }
}
