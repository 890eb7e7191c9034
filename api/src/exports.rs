//! Exports: files for finance and for accounts' owners.
//!
//! For: statements ([`statement`]), and exports of whole tables, made one at a time by a task of each process ([`Clerk`]) into a
//! folder of its own.
//! May not touch: what a table means; SQL.
//! Claims: an export is of one position of the log, and no more than some thousand rows of it are ever in memory; it says how far
//! it is, can be stopped, and is begun again by whoever is left where its maker dies; a file is there whole or not at all.

pub mod beancount;
mod making;
pub mod parquet;
pub mod pdf;
pub mod statement;
pub mod table;
pub mod workbook;

use crate::directory::export::{Export, ExportFormat, ExportState, Made};
use crate::directory::{Directory, DirectoryError};
use domain::AccountId;
use projections::{Database, DatabaseError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The tables cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The file cannot be written.
    #[error("the file cannot be written")]
    Io(#[from] io::Error),
    /// What writes the format refused.
    #[error("the file's format: {0}")]
    Format(String),
    /// A sheet has no room for so many rows.
    #[error("a workbook's sheet holds 1,048,576 rows: take csv or parquet, or fewer days")]
    WorkbookFull,
    /// Nobody wants it any more.
    #[error("it was stopped")]
    Stopped,
}

/// Why there is no statement.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// The tables cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Its parts are not its whole: the tables are damaged.
    #[error("the statement of {account} for {month} does not add up: the tables are damaged")]
    DoesNotAddUp {
        /// Whose.
        account: AccountId,
        /// Of which month.
        month: String,
    },
}

/// How often the queue is looked at; what is asked for in this process is seen at once.
const WATCH: Duration = Duration::from_secs(2);
/// How often it is said how far a file is.
const SAY: Duration = Duration::from_millis(500);
/// How often files that are not wanted any more are looked for.
const SWEEP: Duration = Duration::from_secs(3_600);

/// Makes exports. Cloning it clones one pointer.
#[derive(Clone)]
pub struct Clerk(Arc<Inner>);

struct Inner {
    directory: Directory,
    db: Database,
    folder: PathBuf,
    wake: Notify,
}

/// How far a file is, and whether to go on.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    rows: AtomicU64,
    /// 0: not known yet.
    expected: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// About so many rows will come.
    pub(crate) fn expect(&self, rows: u64) {
        self.expected.store(rows, Ordering::Relaxed);
    }

    /// Another row is written. Errors: it is to stop.
    pub(crate) fn row(&self) -> Result<(), ExportError> {
        self.rows.fetch_add(1, Ordering::Relaxed);
        if self.stop.load(Ordering::Relaxed) { Err(ExportError::Stopped) } else { Ok(()) }
    }

    fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    fn expected(&self) -> Option<u64> {
        Some(self.expected.load(Ordering::Relaxed)).filter(|it| *it > 0)
    }
}

impl Clerk {
    /// With files in this data folder.
    pub fn new(directory: Directory, db: Database, data_dir: &Path) -> Self {
        Self(Arc::new(Inner { directory, db, folder: data_dir.join("exports"), wake: Notify::new() }))
    }

    /// Something was asked for: looks at once.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Where the file of an export lies, if it is here.
    pub fn file(&self, it: &Export) -> PathBuf {
        self.0.folder.join(format!("{}.{}", it.id, extension(it.wanted.format)))
    }

    /// Makes what stands in the queue, until told to stop. Run it as a task of its own.
    pub async fn keep_making(self, stop: CancellationToken) {
        let mut next_sweep = tokio::time::Instant::now();
        while !stop.is_cancelled() {
            if tokio::time::Instant::now() >= next_sweep {
                next_sweep += SWEEP;
                if let Err(error) = self.sweep().await {
                    tracing::warn!(%error, "files of exports could not be cleared away; it is tried again");
                }
            }
            match self.make_next(&stop).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the queue of exports cannot be read; it is looked at again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(WATCH) => {}
            }
        }
    }

    /// Makes the next one; `false`: there is none.
    pub(crate) async fn make_next(&self, stop: &CancellationToken) -> Result<bool, DirectoryError> {
        let Some(it) = self.0.directory.claim_export().await? else { return Ok(false) };
        let (id, started) = (it.id, std::time::Instant::now());
        match self.make(&it, stop).await {
            Ok(made) => {
                let is_wanted = self.0.directory.export_made(&it, &made).await?;
                if !is_wanted {
                    self.remove(&it).await;
                }
                let duration_ms = started.elapsed().as_millis();
                tracing::info!(export = %id, kind = %it.wanted.kind, rows = made.rows, bytes = made.bytes, duration_ms, "an export is made");
            }
            Err(ExportError::Stopped) => {
                // Whoever took it back has said so in its row; a process that ends leaves it to the next.
                self.0.directory.export_not_made(&it, None).await?;
            }
            Err(error) => {
                tracing::warn!(export = %id, error = %crate::problem::chain(&error), "an export could not be made");
                let told = match &error {
                    ExportError::WorkbookFull | ExportError::Format(_) => error.to_string(),
                    ExportError::Io(_) => "its file could not be written".to_owned(),
                    ExportError::Database(_) | ExportError::Stopped => {
                        "the tables could not be read".to_owned()
                    }
                };
                self.0.directory.export_not_made(&it, Some(&told)).await?;
            }
        }
        Ok(true)
    }

    async fn make(&self, it: &Export, stop: &CancellationToken) -> Result<Made, ExportError> {
        tokio::fs::create_dir_all(&self.0.folder).await?;
        let (path, part) = (self.file(it), self.0.folder.join(format!("{}.part", it.id)));
        let progress = Arc::new(Progress::default());
        let (db, wanted) = (self.0.db.clone(), it.wanted.clone());
        let (in_thread, to) = (Arc::clone(&progress), part.clone());
        // Rows are written where they are read, on a thread that may wait for the disk.
        let runtime = tokio::runtime::Handle::current();
        let mut making = tokio::task::spawn_blocking(move || {
            runtime.block_on(making::make(&db, &wanted, &to, &in_thread))
        });
        let made = loop {
            tokio::select! {
                made = &mut making => break made.map_err(io::Error::other)?,
                () = stop.cancelled(), if !progress.stop.load(Ordering::Relaxed) => {
                    progress.stop.store(true, Ordering::Relaxed);
                }
                () = tokio::time::sleep(SAY) => {
                    let said = self.0.directory.export_progress(it, progress.rows(), progress.expected()).await;
                    // A database that is away for a moment stops nothing.
                    if matches!(said, Ok(false)) {
                        progress.stop.store(true, Ordering::Relaxed);
                    }
                }
            }
        };
        match made {
            Ok(made) => {
                tokio::fs::rename(&part, &path).await?;
                Ok(made)
            }
            Err(error) => {
                tokio::fs::remove_file(&part).await.ok();
                Err(error)
            }
        }
    }

    /// Clears away the file of an export that is not wanted any more, if it is here.
    pub async fn remove(&self, it: &Export) {
        match tokio::fs::remove_file(self.file(it)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(export = %it.id, %error, "an export's file could not be removed; it is tried again");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Ends what was kept for long enough, and clears away all files here that are nobody's.
    async fn sweep(&self) -> Result<(), DirectoryError> {
        self.0.directory.expire_exports().await?;
        let Ok(mut files) = tokio::fs::read_dir(&self.0.folder).await else { return Ok(()) };
        while let Ok(Some(file)) = files.next_entry().await {
            let name = file.file_name();
            let id =
                name.to_str().and_then(|name| name.split('.').next()).and_then(|id| Uuid::parse_str(id).ok());
            let Some(id) = id else { continue };
            let state = self.0.directory.export(id).await?.map(|it| it.state);
            // Half a file of a run before this one is made anew; nothing runs here now.
            if state != Some(ExportState::Done) || name.to_string_lossy().ends_with(".part") {
                tokio::fs::remove_file(file.path()).await.ok();
            }
        }
        Ok(())
    }
}

/// The end of a file's name.
pub fn extension(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Csv => "csv",
        ExportFormat::Xlsx => "xlsx",
        ExportFormat::Parquet => "parquet",
        ExportFormat::Beancount => "beancount",
    }
}

/// What a file's bytes are.
pub fn content_type(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Csv => "text/csv; charset=utf-8",
        ExportFormat::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ExportFormat::Parquet => "application/vnd.apache.parquet",
        ExportFormat::Beancount => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod bench;
