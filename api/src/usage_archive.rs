//! The archive of calls: whole months of the table of calls, in Parquet files.
//!
//! For: keeping that table as large as its operator wants it ([`keep`]), and the command line ([`archive_due`]).
//! May not touch: money's tables; what the sums of calls that left are (that is `projections`').
//! Claims: a call leaves the table only after the file that holds it was read back and found to hold exactly what the table has; a
//! file is there whole or not at all, and one that was noted is never written over; a crash between any two steps loses nothing, and
//! the next run goes on.

use crate::config::Config;
use crate::exports::ExportError;
use crate::exports::parquet::ParquetFile;
use crate::exports::table::{Cell, Column, amount, count, text};
use domain::{Credits, Moment};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use projections::periods::Month;
use projections::usage::{Archive, ArchiveError, Archiving, MonthOfCalls, Receipt};
use projections::{Database, DatabaseError};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a month is due.
const EVERY: Duration = Duration::from_secs(3_600);

/// What the name of a file ends in that is not whole.
const PARTIAL: &str = ".partial";

/// A call as the file has it: the columns of `usage_records`, in their order there. Amounts are credits, moments UTC.
const COLUMNS: [Column; 30] = [
    text("lease"),
    count("n"),
    text("account"),
    text("request_id"),
    text("at"),
    text("key_id"),
    text("model"),
    text("provider"),
    text("upstream_model"),
    text("endpoint"),
    text("tokens"),
    text("price_version"),
    text("unit_prices"),
    amount("multiplier"),
    amount("charge"),
    amount("cost"),
    text("cost_prices"),
    amount("paid"),
    amount("uncovered"),
    count("late"),
    text("outcome"),
    text("source"),
    count("stream"),
    count("status"),
    count("ttft_ms"),
    count("duration_ms"),
    text("attempts"),
    amount("spent"),
    count("event_seq"),
    text("reported_at"),
];

/// Why a month was not archived.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The tables, or somebody who is at them.
    #[error(transparent)]
    Tables(#[from] ArchiveError),
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] ExportError),
    /// The folder, or a file in it.
    #[error("{path} cannot be used: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that was at it.
    #[error("the archiving ended badly: {0}")]
    Ended(String),
    /// The file that was written is not what was to be in it. It stays as it is until the next run.
    #[error("{file} was read back and is not what the table holds: {why}")]
    NotTheSame {
        /// The file.
        file: PathBuf,
        /// What differs.
        why: String,
    },
}

impl From<DatabaseError> for Fault {
    fn from(error: DatabaseError) -> Self {
        Self::Tables(error.into())
    }
}

/// Archives what is due, now and every hour, until the stop. A process whose neighbour does it already leaves it to that one.
pub async fn keep(db: Database, folder: PathBuf, keep_months: u32, stop: CancellationToken) {
    loop {
        let (own, to, stopping) = (db.clone(), folder.clone(), stop.clone());
        let runtime = tokio::runtime::Handle::current();
        // Rows are pressed and written where they are read, on a thread for which no call waits.
        let archiving = tokio::task::spawn_blocking(move || {
            let due = archive_due(&own, &to, keep_months, crate::directory::now());
            runtime.block_on(stopping.run_until_cancelled(due))
        });
        let ended = archiving.await.unwrap_or_else(|error| Some(Err(Fault::Ended(error.to_string()))));
        // The next start goes on where a stop cut it off.
        let Some(ended) = ended else { return };
        match ended {
            Ok(done) => {
                for it in done {
                    tracing::info!(month = %it.month, calls = it.rows, file = it.file, "a month of calls was archived");
                }
            }
            Err(Fault::Tables(error @ (ArchiveError::UnderWay | ArchiveError::Open { .. }))) => {
                tracing::info!(%error, "no calls are archived now");
            }
            Err(error) => {
                tracing::error!(%error, alert = "usage_archive_failed", "calls could not be archived");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Archives the months that are due, oldest first: those that ended `keep_months` whole months ago, or earlier. First what an
/// earlier run did not finish. Answers with what has left the table.
pub async fn archive_due(
    db: &Database,
    folder: &Path,
    keep_months: u32,
    now: Moment,
) -> Result<Vec<Archive>, Fault> {
    let first_kept = Month::in_utc(now).map(|month| month.before(keep_months));
    let mut archiving = Archiving::begin(db).await?;
    let done = archive_before(db, &mut archiving, folder, first_kept, now).await;
    archiving.end().await;
    done
}

async fn archive_before(
    db: &Database,
    archiving: &mut Archiving,
    folder: &Path,
    first_kept: Option<Month>,
    now: Moment,
) -> Result<Vec<Archive>, Fault> {
    remove_leftovers(folder).map_err(|source| Fault::Folder { path: folder.to_owned(), source })?;
    let mut done = Vec::new();
    for it in projections::usage::archives(db).await?.into_iter().filter(|it| !it.is_done()) {
        check(folder, &it)?;
        archiving.take_out(&it).await?;
        done.push(it);
    }
    while let Some(month) = archiving.oldest().await?
        && first_kept.is_some_and(|kept| month < kept)
    {
        let mut calls = archiving.begin_month(month).await?;
        let written = write(&mut calls, folder, now).await;
        calls.end().await?;
        let Some(archive) = written? else { break };
        archiving.note(&archive).await?;
        archiving.take_out(&archive).await?;
        done.push(archive);
    }
    Ok(done)
}

/// Removes what a run left that did not come to its end. Nobody else writes here: there is one archiving at a time.
fn remove_leftovers(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|it| it.starts_with("usage-") && it.ends_with(PARTIAL)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Is an archive's file in the folder as it was written?
pub fn check(folder: &Path, archive: &Archive) -> Result<(), Fault> {
    let path = folder.join(&archive.file);
    let digest = digest(&path).map_err(|source| Fault::Folder { path: path.clone(), source })?;
    match digest == archive.sha256 {
        true => Ok(()),
        false => Err(Fault::NotTheSame { file: path, why: format!("its SHA-256 is {digest}") }),
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let (mut hash, mut file, mut bytes) = (Sha256::new(), File::open(path)?, vec![0; 1 << 16]);
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&bytes[..read]),
        }
    }
}

/// What a file holds, by its cells.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    rows: u64,
    digest: Vec<u8>,
}

/// Adds rows up.
#[derive(Default)]
struct Adding {
    rows: u64,
    hash: Sha256,
}

impl Adding {
    fn row<'a>(&mut self, cells: impl Iterator<Item = Option<std::borrow::Cow<'a, str>>>) {
        self.rows += 1;
        for cell in cells {
            match cell {
                None => self.hash.update(b"-;"),
                Some(text) => self.hash.update(format!("{}:{text};", text.len())),
            }
        }
    }

    fn contents(self) -> Contents {
        Contents { rows: self.rows, digest: self.hash.finalize().to_vec() }
    }
}

/// Writes a month's calls into a file and reads it back. `None`: all its calls are later than the state that was read.
async fn write(calls: &mut MonthOfCalls, folder: &Path, now: Moment) -> Result<Option<Archive>, Fault> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Fault::Folder { path, source }
    };
    let name = format!("usage-{}-{}.parquet", calls.month, calls.position);
    let (path, partial) = (folder.join(&name), folder.join(format!("{name}{PARTIAL}")));
    let out = BufWriter::new(File::create(&partial).map_err(at(&partial))?);
    let mut file = ParquetFile::begin(&COLUMNS, out)?;
    let (mut adding, mut paid, mut last_seq, mut fault) = (Adding::default(), Some(Credits::ZERO), 0, None);
    let read = calls
        .each(|it| {
            let cells = cells(&it).map_err(|error| DatabaseError::Config(error.to_string()))?;
            adding.row(cells.iter().map(written));
            paid = paid.and_then(|sum| sum.checked_add(it.record.paid()));
            last_seq = last_seq.max(it.event_seq);
            file.row(&cells).map_err(|error| {
                fault = Some(error);
                DatabaseError::Config("what was read could not be written".to_owned())
            })
        })
        .await;
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    read?;
    let mut out = file.finish()?;
    out.flush().map_err(at(&partial))?;
    out.get_ref().sync_all().map_err(at(&partial))?;
    let contents = adding.contents();
    if contents.rows == 0 {
        std::fs::remove_file(&partial).map_err(at(&partial))?;
        return Ok(None);
    }
    let found = read_back(&partial)
        .map_err(|error| Fault::NotTheSame { file: partial.clone(), why: error.to_string() })?;
    if found != contents {
        let why = format!("{} of {} calls, or other values in them", found.rows, contents.rows);
        return Err(Fault::NotTheSame { file: partial, why });
    }
    // A file of that name is of a run that ended before it was noted; what it held stands in the table still.
    std::fs::rename(&partial, &path).map_err(at(&path))?;
    File::open(folder).and_then(|it| it.sync_all()).map_err(at(folder))?;
    let paid = paid.ok_or_else(|| ExportError::Format("a month's sum does not fit".to_owned()))?;
    Ok(Some(Archive {
        month: calls.month,
        position: calls.position,
        last_seq,
        file: name,
        sha256: digest(&path).map_err(at(&path))?,
        rows: contents.rows,
        paid,
        removed_to: calls.month.begins(),
        created_at: now,
    }))
}

fn read_back(path: &Path) -> Result<Contents, ParquetError> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let mut adding = Adding::default();
    for row in reader.get_row_iter(None)? {
        let row = row?;
        adding.row(row.get_column_iter().map(|(_, field)| match field {
            Field::Null => None,
            Field::Str(text) => Some(text.as_str().into()),
            other => Some(other.to_string().into()),
        }));
    }
    Ok(adding.contents())
}

fn written(cell: &Cell) -> Option<std::borrow::Cow<'_, str>> {
    match cell {
        Cell::Empty => None,
        Cell::Text(text) | Cell::Amount(text) => Some(text.as_str().into()),
        Cell::Count(count) => Some(count.to_string().into()),
    }
}

fn json(value: &impl serde::Serialize) -> Result<Cell, serde_json::Error> {
    serde_json::to_string(value).map(Cell::Text)
}

fn cells(it: &Receipt) -> Result<[Cell; COLUMNS.len()], serde_json::Error> {
    let (record, usage) = (&it.record, &it.record.usage);
    let word = |value: serde_json::Value| Cell::text(value.as_str().unwrap_or_default());
    Ok([
        Cell::text(record.lease),
        Cell::Count(record.n),
        Cell::text(record.account),
        Cell::text(usage.request),
        Cell::moment(usage.at),
        Cell::text(usage.key),
        Cell::text(&usage.model),
        Cell::text(&usage.provider),
        Cell::text(&usage.upstream_model),
        Cell::text(&usage.endpoint),
        json(&usage.tokens)?,
        Cell::text(usage.price_version),
        json(&usage.unit_prices)?,
        Cell::amount(usage.multiplier),
        Cell::amount(usage.charge),
        Cell::amount(usage.cost),
        usage.cost_prices.as_ref().map_or(Ok(Cell::Empty), json)?,
        Cell::amount(record.paid()),
        Cell::amount(record.uncovered),
        Cell::Count(it.late.into()),
        word(serde_json::to_value(usage.outcome)?),
        word(serde_json::to_value(usage.usage_source)?),
        Cell::Count(usage.stream.into()),
        Cell::Count(usage.status.into()),
        usage.ttft_ms.map_or(Cell::Empty, Cell::Count),
        Cell::Count(usage.duration_ms),
        json(&usage.attempts)?,
        Cell::amount(record.spent),
        Cell::Count(it.event_seq),
        Cell::moment(it.reported_at),
    ])
}

/// The folder of a configuration: `usage_archive_dir`, or one in the data folder.
pub fn folder(config: &Config) -> PathBuf {
    config.usage_archive_dir.clone().unwrap_or_else(|| config.data_dir.join("usage-archive"))
}
