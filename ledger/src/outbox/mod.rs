//! The outbox: a node's own durable store of leases asked for, calls opened and usage records, until the projections have
//! them.
//!
//! For: what a restart must know of the run before it, whether that ended by a stop, a kill or a power cut.
//! May not touch: NATS, SQL; it does not know what the log or the projections hold but by being told ([`Entry::Reported`],
//! [`Outbox::trim`]).
//! Claims: an entry whose `append` returned survives the end of the process, and after `durable` or `flush` a power cut;
//! what is read at the start is a prefix of what was written; a torn tail is cut and said so; damage anywhere else is
//! refused, naming file and offset, with nothing touched; two processes never share an outbox; a settled record stays until
//! it was reported at a position that the projections have passed; a failed flush is never called a success later.
//!
//! Entries stand in segments, files `outbox-<number>.log` of frames (`frame.rs`). Each segment begins with all that is still
//! live of those before it (runs, open leases, open calls), so that the oldest can be deleted when none of its records is
//! needed, however long a lease or a call lasts. A segment is flushed before the next one is begun. Why own file code:
//! docs/adr/0006-the-outbox-is-a-file-of-its-own.md.

mod books;
mod entry;
mod flusher;
mod frame;
mod read;
mod segment;
mod store;
#[cfg(test)]
mod tests;

pub use entry::{
    Cut, Entry, FormerEpoch, InterruptedCall, RecordJson, Recovered, RecoveredLease, RecoveredRecord,
};

use domain::UsageRecord;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use store::{Progress, Store};
use tokio::sync::watch;

/// Where an outbox lies, how large it may grow, and when it is flushed.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// The folder; made if it is not there. No other process may use it.
    pub dir: PathBuf,
    /// A segment that would outgrow this is followed by the next, in bytes. Default 16 MiB.
    pub segment_bytes: u64,
    /// Beyond this nothing is begun any more, in bytes; what ends or reports a call is still taken, up to an eighth more.
    /// Default 1 GiB.
    pub max_bytes: u64,
    /// When entries go to the disk. Default within 5 ms.
    pub flush: Flush,
}

impl OutboxOptions {
    /// The defaults, in this folder.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), segment_bytes: 16 << 20, max_bytes: 1 << 30, flush: Flush::default() }
    }

    /// Room for ending what was begun when `max_bytes` is reached.
    fn reserve(&self) -> u64 {
        self.max_bytes / 8
    }
}

/// When entries go to the disk. A kill of the process loses nothing in any mode; a power cut loses what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// In the background, within this time. The flush begins after half of it.
    Within(Duration),
    /// In the background, at once and as often as the disk can: for callers that await [`Written::durable`]. Whatever is
    /// written while one flush runs shares the next.
    BeforeAnswer,
    /// Only by [`Outbox::flush`], and before a new segment; not when the outbox is dropped. For tests.
    Manual,
}

impl Default for Flush {
    fn default() -> Self {
        Self::Within(Duration::from_millis(5))
    }
}

/// Why an outbox cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Another process, or another outbox of this process, uses the folder.
    #[error("the outbox in {} is in use by another process", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The bound is reached. Nothing was written; it ends when the projections catch up.
    #[error("the outbox in {} is full: it holds {bytes} bytes that the projections have not passed, and {max_bytes} are allowed", dir.display())]
    Full {
        /// The folder.
        dir: PathBuf,
        /// What it holds.
        bytes: u64,
        /// What it may hold.
        max_bytes: u64,
    },
    /// A segment is not as it was written. Nothing was changed. An operator has to look: settled usage may be lost.
    #[error("the outbox file {} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the first bad frame begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system refused, for example because the disk is full. Nothing was written, and a retry can help.
    #[error("could not {act} {}", path.display())]
    Io {
        /// What was tried, such as `write`.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        #[source]
        source: io::Error,
    },
    /// An earlier failure left it unknown what is on disk. Nothing is written until a restart has read it again.
    #[error("the outbox takes no more entries: {why}")]
    Broken {
        /// What happened, and to which file.
        why: Arc<str>,
    },
    /// The entry has no form that could be written. Nothing was written.
    #[error("an outbox entry cannot be written: {why}")]
    Unwritable {
        /// Why.
        why: String,
    },
}

fn io_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutboxError {
    let path = path.to_owned();
    move |source| OutboxError::Io { act, path, source }
}

/// Figures for metrics and `/readyz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct OutboxStatus {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Beyond this nothing is begun, in bytes.
    pub max_bytes: u64,
    /// Segments on disk.
    pub segments: u64,
    /// How long ago the oldest segment was begun, in milliseconds. It stays while the projections, or the log, have not
    /// passed one of its records.
    pub oldest_segment_ms: u64,
    /// Settled records that are not trimmed.
    pub records: u64,
    /// Those of them that the log has not acknowledged.
    pub unreported: u64,
    /// Leases that did not end.
    pub open_leases: u64,
    /// Calls that are open.
    pub open_calls: u64,
    /// Written, not yet on disk, in bytes.
    pub unflushed_bytes: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub flush_lag_ms: u64,
    /// Why nothing is written any more, if so.
    pub broken: Option<String>,
}

/// The outbox of a node. Cheap to clone; the last clone dropped flushes, ends the background thread and frees the folder.
#[derive(Clone)]
pub struct Outbox {
    handle: Arc<Handle>,
}

struct Handle {
    store: Arc<Store>,
    flusher: Option<JoinHandle<()>>,
}

/// An entry that is written: it survives the end of the process.
#[derive(Debug)]
#[must_use = "await `durable` where a power cut must not lose the entry"]
pub struct Written {
    frame: u64,
    progress: watch::Receiver<Progress>,
}

impl Written {
    /// Waits until the entry is on disk. An error: it may not be, and the outbox takes no more entries.
    pub async fn durable(mut self) -> Result<(), OutboxError> {
        let frame = self.frame;
        let far = self.progress.wait_for(|now| now.next_frame > frame || now.broken.is_some()).await;
        let why = match far {
            Ok(now) if now.next_frame > frame => return Ok(()),
            Ok(now) => now.broken.clone(),
            Err(_) => None,
        };
        Err(OutboxError::Broken { why: why.unwrap_or_else(|| "it was closed without a flush".into()) })
    }
}

impl Outbox {
    /// Opens the outbox of a folder, made if it is not there, and says what it holds.
    ///
    /// A torn tail is cut, with a log line. Errors: `Locked`; `Damaged`, with nothing changed; `Io`.
    pub fn open(options: OutboxOptions) -> Result<(Self, Recovered), OutboxError> {
        let flush = options.flush;
        let (store, recovered) = Store::open(options)?;
        let store = Arc::new(store);
        let flusher = match flush {
            Flush::Within(time) => Some(flusher::start(&store, time / 2)?),
            Flush::BeforeAnswer => Some(flusher::start(&store, Duration::ZERO)?),
            Flush::Manual => None,
        };
        Ok((Self { handle: Arc::new(Handle { store, flusher }) }, recovered))
    }

    /// Writes an entry. When this returns the entry survives the end of the process; where a power cut must not lose it
    /// either, await [`Written::durable`].
    ///
    /// Takes microseconds, but for one short flush where a new segment begins. Errors: `Full` and `Io` with nothing written;
    /// `Broken`. [`Entry::Reported`] and [`Entry::Began`] are never refused as `Full`: beyond all bounds they are remembered
    /// and not written, since a report is what makes room, and only a run reports; a restart then reports those records
    /// again. The bound of runs is the further one: what a run reported is looked for on the log only by its name.
    pub fn append(&self, entry: &Entry) -> Result<Written, OutboxError> {
        self.handle.store.append(entry)
    }

    /// As [`Self::append`] of [`Entry::Settled`], of a record that is JSON already.
    pub fn settle(&self, record: &UsageRecord, json: &RecordJson) -> Result<Written, OutboxError> {
        self.handle.store.settle(record, json)
    }

    /// Returns when all that was written is on disk. Blocks for some milliseconds.
    pub fn flush(&self) -> Result<(), OutboxError> {
        self.handle.store.flush()
    }

    /// The projections durably contain the log up to this stream sequence: forgets the records reported there or before,
    /// and deletes the segments that nobody needs. Blocks for some milliseconds.
    pub fn trim(&self, position: u64) -> Result<(), OutboxError> {
        self.handle.store.trim(position)
    }

    /// Flushes reach the disk, which tests otherwise spare.
    #[cfg(test)]
    pub(crate) fn flush_really(&self) {
        tests::Faults::in_folder(self.handle.store.folder()).flush_really();
    }

    /// Figures as of now.
    pub fn status(&self) -> OutboxStatus {
        self.handle.store.status()
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("status", &self.status()).finish()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(flusher) = self.flusher.take() else { return };
        self.store.close();
        if flusher.join().is_err() {
            tracing::error!("the thread that flushes the outbox had failed");
        }
    }
}
