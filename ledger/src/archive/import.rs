use super::read::{check, open};
use super::{ArchiveError, Fault, Item, Part};
use crate::log::{RawMessage, Restore, Scan, Stream};
use crate::{LedgerError, Log};
use std::path::Path;

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What each stream holds now.
    pub parts: Vec<Part>,
    /// All messages.
    pub messages: u64,
    /// Of these, those that an import before this one had written.
    pub were_there: u64,
    /// The archive's digest.
    pub digest: String,
}

/// Writes an archive's messages into empty streams, each to the sequence it had, then reads all of it back and compares.
///
/// `log` comes from [`Log::attach`]: streams that are missing are made here. Until the end they are marked as unfinished,
/// and no gateway takes them. An import that was interrupted goes on where it stood when it is run again with the same
/// archive. Errors: [`ArchiveError::Damaged`] before anything is written, [`ArchiveError::Log`] when a stream holds something
/// else or somebody else writes to it.
pub async fn import(log: &Log, path: &Path) -> Result<Imported, ArchiveError> {
    let contents = check(path)?;
    for (stream, extent) in &contents.parts {
        if *stream != Stream::Inbox && extent.first != 1 {
            let what = format!("{stream} begins at {}: only INBOX may have lost its beginning", extent.first);
            return Err(ArchiveError::Refused(what));
        }
    }
    // All streams are looked at before the first is touched.
    let mut plans = Vec::new();
    for (stream, extent) in &contents.parts {
        plans.push(Restore::plan(log, *stream, extent, &contents.digest).await?);
    }
    let mut restores = Vec::new();
    for plan in plans {
        restores.push(plan.begin().await?);
    }
    let were_there = fill(restores, path).await?;
    compare(log, path).await?;
    for (stream, _) in &contents.parts {
        Restore::complete(log, *stream).await?;
    }
    Ok(Imported { parts: contents.parts, messages: contents.messages, were_there, digest: contents.digest })
}

/// Writes what is not there yet; answers with how much was.
async fn fill(restores: Vec<Restore>, path: &Path) -> Result<u64, ArchiveError> {
    let mut reader = open(path)?;
    let mut restores = restores.into_iter();
    let (mut current, mut had, mut were_there): (Option<Restore>, _, _) = (None, 0, 0);
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Stream(_) => {
                settle(&mut current).await?;
                current = restores.next();
                had = current.as_ref().map_or(0, Restore::last);
            }
            Item::Message(message) => {
                let Some(restore) = &mut current else { continue };
                if message.sequence > had {
                    restore.push(message).await?;
                } else {
                    were_there += 1;
                    if message.sequence == had {
                        restore.check_there(&message).await?;
                    }
                }
            }
            Item::End { .. } => settle(&mut current).await?,
        }
    }
    Ok(were_there)
}

async fn settle(restore: &mut Option<Restore>) -> Result<(), LedgerError> {
    match restore {
        Some(restore) => restore.settle().await,
        None => Ok(()),
    }
}

/// Reads everything back.
async fn compare(log: &Log, path: &Path) -> Result<(), ArchiveError> {
    let mut reader = open(path)?;
    let mut there: Option<There> = None;
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Stream((stream, extent)) => {
                let found = log.extent(stream).await?;
                if found.as_ref() != Some(&extent) {
                    let what = format!("{stream} is {found:?} after the import, and {extent:?} was written");
                    return Err(LedgerError::Damaged(what).into());
                }
                let scan = log.scan(stream, extent.first - 1, extent.last);
                there = Some(There { scan, batch: Vec::new().into_iter() });
            }
            Item::Message(message) => {
                let found = match &mut there {
                    Some(there) => there.next().await?,
                    None => None,
                };
                if found.as_ref() != Some(&message) {
                    let what = format!(
                        "message {} on {} is not as it was written",
                        message.sequence, message.subject
                    );
                    return Err(LedgerError::Damaged(what).into());
                }
            }
            Item::End { .. } => {}
        }
        if let Some(fault) = reader.faults().into_iter().next() {
            return Err(changed(fault));
        }
    }
    Ok(())
}

/// The file was whole a moment ago.
fn changed(fault: Fault) -> ArchiveError {
    ArchiveError::Damaged(Fault { what: format!("it changed while it was read: {}", fault.what), ..fault })
}

/// What a stream holds, message by message.
struct There {
    scan: Scan,
    batch: std::vec::IntoIter<RawMessage>,
}

impl There {
    async fn next(&mut self) -> Result<Option<RawMessage>, LedgerError> {
        loop {
            if let Some(message) = self.batch.next() {
                return Ok(Some(message));
            }
            match self.scan.next_batch().await? {
                Some(batch) => self.batch = batch.into_iter(),
                None => return Ok(None),
            }
        }
    }
}
