//! Exports: files for finance and for accounts' owners.
//!
//! For: statements ([`statement`]), and exports of whole tables, made one at a time by a task of each process ([`Clerk`]) into a
//! folder, which processes may share.
//! May not touch: what a table means; SQL.
//! Claims: an export is of one position of the log, and no more than some thousand rows of it are ever in memory; it says how far
//! it is, can be stopped, and is begun again by whoever is left where its maker dies; a file is there whole or not at all, and
//! its row says in which folder: who has another one says so, and who finds it gone from its own says that, for good.

pub mod beancount;
mod making;
pub mod parquet;
pub mod pdf;
pub mod statement;
pub mod table;
pub mod unmatched;
pub mod workbook;

use crate::directory::export::{Export, ExportFormat, ExportState, Made, Place};
use crate::directory::{Directory, DirectoryError};
use chrono::FixedOffset;
use domain::AccountId;
use ledger::{Ledger, LedgerError};
use projections::{Database, DatabaseError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The tables cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The log cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
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
    books: Books,
    folder: PathBuf,
    place: OnceCell<Place>,
    wake: Notify,
}

/// What files are made of.
#[derive(Clone)]
pub(crate) struct Books {
    /// The tables.
    pub(crate) db: Database,
    /// What is in suspense; `None`, nothing of it is known: a measurement.
    pub(crate) ledger: Option<Ledger>,
    /// The clock by which days end.
    pub(crate) zone: FixedOffset,
}

/// What a folder of exports calls itself: a name in it, that no file of an export has.
const PLACE: &str = ".place";

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
    /// With files in this data folder, and days that end by this clock.
    pub fn new(
        directory: Directory,
        db: Database,
        ledger: Ledger,
        zone: FixedOffset,
        data_dir: &Path,
    ) -> Self {
        let folder = data_dir.join("exports");
        let books = Books { db, ledger: Some(ledger), zone };
        Self(Arc::new(Inner { directory, books, folder, place: OnceCell::new(), wake: Notify::new() }))
    }

    /// Which folder this is, and on which host.
    async fn place(&self) -> io::Result<&Place> {
        let name = async || {
            let folder = self.0.folder.clone();
            tokio::task::spawn_blocking(move || name_of(&folder)).await.map_err(io::Error::other)?
        };
        self.0.place.get_or_try_init(name).await
    }

    /// Opens the file of an export that is done. `None`: it is not here, and in its own folder it is lost.
    pub(crate) async fn open(&self, it: &Export) -> Result<Option<tokio::fs::File>, Missing> {
        match tokio::fs::File::open(self.file(it)).await {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let here = self.place().await.map_err(Missing::Io)?;
                if it.place.as_ref() != Some(&here.id) {
                    return Err(Missing::Elsewhere);
                }
                tracing::warn!(export = %it.id, "an export's file is gone from its folder");
                self.0.directory.export_lost(it).await.map_err(Missing::Directory)?;
                Ok(None)
            }
            Err(error) => Err(Missing::Io(error)),
        }
    }

    /// Something was asked for: looks at once.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Where the file of an export lies, if it is here.
    fn file(&self, it: &Export) -> PathBuf {
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
                let (made, place) = made;
                let is_wanted = self.0.directory.export_made(&it, &made, &place).await?;
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
                    ExportError::Ledger(_) => "the log could not be read".to_owned(),
                    ExportError::Database(_) | ExportError::Stopped => {
                        "the tables could not be read".to_owned()
                    }
                };
                self.0.directory.export_not_made(&it, Some(&told)).await?;
            }
        }
        Ok(true)
    }

    async fn make(&self, it: &Export, stop: &CancellationToken) -> Result<(Made, Place), ExportError> {
        let place = self.place().await?.clone();
        // Whoever took it over from a maker that is only slow, in the same folder, writes another file.
        let part = self.0.folder.join(format!("{}.{}.part", it.id, it.attempts));
        let path = self.file(it);
        let progress = Arc::new(Progress::default());
        let (books, wanted) = (self.0.books.clone(), it.wanted.clone());
        let (in_thread, to) = (Arc::clone(&progress), part.clone());
        // Rows are written where they are read, on a thread that may wait for the disk.
        let runtime = tokio::runtime::Handle::current();
        let mut making = tokio::task::spawn_blocking(move || {
            runtime.block_on(making::make(&books, &wanted, &to, &in_thread))
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
                Ok((made, place))
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
        let Ok(place) = self.place().await else { return Ok(()) };
        for it in self.0.directory.exports_at(place).await? {
            if matches!(tokio::fs::try_exists(self.file(&it)).await, Ok(false)) {
                tracing::warn!(export = %it.id, "an export's file is gone from its folder");
                self.0.directory.export_lost(&it).await?;
            }
        }
        let Ok(mut files) = tokio::fs::read_dir(&self.0.folder).await else { return Ok(()) };
        while let Ok(Some(file)) = files.next_entry().await {
            let name = file.file_name();
            let id =
                name.to_str().and_then(|name| name.split('.').next()).and_then(|id| Uuid::parse_str(id).ok());
            let Some(id) = id else { continue };
            let state = self.0.directory.export(id).await?.map(|it| it.state);
            // Nothing is being made by this process now, but one that shares the folder may be at work.
            let is_wanted = match state {
                Some(ExportState::Done) => !name.to_string_lossy().ends_with(".part"),
                Some(ExportState::Running) => true,
                Some(
                    ExportState::Queued | ExportState::Failed | ExportState::Cancelled | ExportState::Expired,
                )
                | None => false,
            };
            if !is_wanted {
                tokio::fs::remove_file(file.path()).await.ok();
            }
        }
        Ok(())
    }
}

/// Why the file of an export that is done is not handed out.
#[derive(Debug)]
pub(crate) enum Missing {
    /// It lies in another folder.
    Elsewhere,
    /// It cannot be read.
    Io(io::Error),
    /// Its row cannot be written.
    Directory(DirectoryError),
}

/// Reads what a folder calls itself, or names it; of several that name it at once all read the same.
fn name_of(folder: &Path) -> io::Result<Place> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(PLACE);
    if !path.try_exists()? {
        let mut draft = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut draft, Uuid::new_v4().to_string().as_bytes())?;
        draft.as_file().sync_all()?;
        match draft.persist_noclobber(&path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
    let id = std::fs::read_to_string(&path)?.trim().to_owned();
    if Uuid::parse_str(&id).is_err() {
        return Err(io::Error::other(format!("{} does not hold a folder's id", path.display())));
    }
    // For people: which host to ask. A system without it has no name worth telling.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|it| !it.is_control()).take(255).collect();
    Ok(Place { id, host: if host.is_empty() { "unknown".to_owned() } else { host } })
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
