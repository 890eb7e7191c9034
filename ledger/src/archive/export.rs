use super::{ArchiveError, Part, Writer};
use crate::Log;
use crate::log::{Extent, Stream};
use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// What was exported.
#[derive(Clone, Debug)]
pub struct Exported {
    /// What each stream has in the archive.
    pub parts: Vec<Part>,
    /// All messages.
    pub messages: u64,
    /// The archive's digest: of the same log always the same.
    pub digest: String,
    /// The file's size.
    pub file_bytes: u64,
    /// Stretches that LEDGER or AUDIT did not hold, though they should: first and last sequence.
    pub missing: Vec<(Stream, u64, u64)>,
}

/// Writes the whole log, as it is now, to a new file.
///
/// The file appears under its name only when all of it is on the disk; until then it is `<name>.partial`. A running gateway
/// goes on meanwhile. Errors: [`ArchiveError::Refused`] when the file exists or a stream does not.
pub async fn export(log: &Log, path: &Path) -> Result<Exported, ArchiveError> {
    if path.exists() {
        return Err(ArchiveError::Refused(format!("{} exists, and is not overwritten", path.display())));
    }
    let partial = with_suffix(path);
    let done = write(log, &partial).await;
    let (file, mut exported) = match done {
        Ok(done) => done,
        Err(error) => {
            // What is left of it is of no use; that it cannot be removed is no news beside the error.
            std::fs::remove_file(&partial).ok();
            return Err(error);
        }
    };
    let on = |what: &str, path: &Path| format!("cannot {what} {}", path.display());
    let failed = |what: String| move |source| ArchiveError::File { what, source };
    file.sync_all().map_err(failed(on("flush", &partial)))?;
    exported.file_bytes = file.metadata().map_err(failed(on("look at", &partial)))?.len();
    std::fs::rename(&partial, path).map_err(failed(on("make", path)))?;
    // The name is durable once its folder is.
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(on("flush", folder)))?;
    Ok(exported)
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

async fn write(log: &Log, path: &Path) -> Result<(File, Exported), ArchiveError> {
    let failed = |source| ArchiveError::File { what: format!("cannot write {}", path.display()), source };
    let file = OpenOptions::new().create(true).write(true).truncate(true).open(path).map_err(failed)?;
    let mut writer = Writer::begin(BufWriter::with_capacity(256 * 1024, file)).map_err(failed)?;
    // LEDGER's end first: whatever its events refer to in INBOX was there before them.
    let mut extents = Vec::new();
    for stream in Stream::ALL {
        match log.extent(stream).await? {
            Some(extent) => extents.push((stream, extent)),
            None => return Err(ArchiveError::Refused(format!("there is no stream {stream}"))),
        }
    }
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for (stream, extent) in extents {
        let part = write_stream(log, &mut writer, stream, extent, &mut missing, failed).await?;
        parts.push(part);
    }
    let (buffer, messages, digest) = writer.end().map_err(failed)?;
    let file = buffer.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok((file, Exported { parts, messages, digest, file_bytes: 0, missing }))
}

async fn write_stream(
    log: &Log,
    writer: &mut Writer<BufWriter<File>>,
    stream: Stream,
    mut extent: Extent,
    missing: &mut Vec<(Stream, u64, u64)>,
    failed: impl Fn(std::io::Error) -> ArchiveError,
) -> Result<Part, ArchiveError> {
    let mut scan = log.scan(stream, extent.first.saturating_sub(1), extent.last);
    let mut batch = scan.next_batch().await?;
    let first_there = batch.as_ref().and_then(|batch| batch.first()).map(|message| message.sequence);
    extent.first = match stream {
        // Its retention may have gone on since we asked.
        Stream::Inbox => first_there.unwrap_or(extent.last + 1),
        // What does not begin at 1 has lost its beginning.
        Stream::Ledger | Stream::Audit => 1,
    };
    extent.messages = extent.last + 1 - extent.first;
    writer.stream(stream, &extent).map_err(&failed)?;
    let mut next = extent.first;
    let mut lost = |from: u64, to: u64| {
        if from <= to {
            missing.push((stream, from, to));
        }
    };
    while let Some(messages) = batch {
        for message in &messages {
            if stream == Stream::Inbox && message.sequence != next {
                let what = "INBOX lost messages to its retention while it was read: try again";
                return Err(ArchiveError::Refused(what.into()));
            }
            lost(next, message.sequence - 1);
            writer.message(message).map_err(&failed)?;
            next = message.sequence + 1;
        }
        batch = scan.next_batch().await?;
    }
    lost(next, extent.last);
    Ok((stream, extent))
}
