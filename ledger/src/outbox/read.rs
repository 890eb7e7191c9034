//! Reading segments at the start: what is whole, where a torn tail begins, what is damaged.
//!
//! Claims: nothing is changed here. A bad frame is a torn tail only where no frame says that it had been on disk: in the
//! last segment, and not below the greatest length that a whole frame there calls flushed. Everything else is damage.

use super::books::Books;
use super::entry::{Cut, Entry, FORMAT, RecoveredRecord, Stored};
use super::frame;
use super::segment::Folder;
use super::{OutboxError, io_error};
use domain::{Moment, UsageRecord};
use std::path::Path;

/// A segment as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    /// Its whole frames, in bytes. 0: not even its first frame is whole.
    pub(super) length: u64,
    /// Its first frame, in bytes.
    pub(super) carried: u64,
    /// When it was begun.
    pub(super) begun: Moment,
}

/// All segments of a folder.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) books: Books,
    pub(super) segments: Vec<Found>,
    /// The number of the next frame.
    pub(super) next_frame: u64,
    /// Is the last frame a mark?
    pub(super) marked: bool,
    /// What has to be cut from the last segment.
    pub(super) cut: Option<Cut>,
    settled: Vec<(u64, UsageRecord)>,
}

impl Read {
    /// The settled records with what became of them, in their order.
    pub(super) fn take_settled(&mut self) -> Vec<RecoveredRecord> {
        let books = &self.books;
        let settled = std::mem::take(&mut self.settled).into_iter();
        settled
            .filter_map(|(frame, record)| {
                let kept = books.kept((record.lease, record.n)).filter(|kept| kept.frame == frame)?;
                Some(RecoveredRecord { record, reported: kept.reported })
            })
            .collect()
    }
}

/// Reads all segments of a folder.
pub(super) fn read(folder: &Folder) -> Result<Read, OutboxError> {
    let numbers = folder.segments()?;
    let mut read = Read { next_frame: 1, ..Read::default() };
    for (index, &number) in numbers.iter().enumerate() {
        let path = folder.segment(number);
        if let Some(before) = read.segments.last()
            && before.number + 1 != number
        {
            let what = format!("segment {} is missing before it", before.number + 1);
            return Err(OutboxError::Damaged { file: path, offset: 0, what });
        }
        let bytes = std::fs::read(&path).map_err(io_error("read", &path))?;
        read.segment(number, &path, &bytes, index + 1 == numbers.len())?;
    }
    Ok(read)
}

impl Read {
    fn segment(&mut self, number: u64, path: &Path, bytes: &[u8], last: bool) -> Result<(), OutboxError> {
        let damaged = |offset: usize, what: String| OutboxError::Damaged {
            file: path.to_owned(),
            offset: offset as u64,
            what,
        };
        let mut found = Found { number, length: 0, carried: 0, begun: Moment::from_micros(0) };
        let (mut offset, mut durable) = (0, 0);
        while offset < bytes.len() {
            let Some(frame) = frame::at(bytes, offset) else {
                if !last {
                    let what = "a record is damaged or cut off, and later segments follow".to_owned();
                    return Err(damaged(offset, what));
                }
                durable = durable.max(frame::durable_behind(bytes, offset + 1));
                if durable > offset as u64 {
                    let what =
                        format!("a record is damaged that was on disk: {durable} bytes had been flushed");
                    return Err(damaged(offset, what));
                }
                let torn = (bytes.len() - offset) as u64;
                self.cut = Some(Cut { file: path.to_owned(), offset: offset as u64, bytes: torn });
                break;
            };
            if (offset > 0 || !self.segments.is_empty()) && frame.number != self.next_frame {
                let what = format!("record {} follows record {}", frame.number, self.next_frame - 1);
                return Err(damaged(offset, what));
            }
            let stored: Stored = serde_json::from_slice(frame.payload).map_err(|error| {
                damaged(offset, format!("record {} is unknown to this version: {error}", frame.number))
            })?;
            self.marked = matches!(stored, Stored::Mark);
            match stored {
                Stored::Carried(carried) if offset == 0 => {
                    if carried.format != FORMAT {
                        let what = format!("its format is {}, this version reads {FORMAT}", carried.format);
                        return Err(damaged(offset, what));
                    }
                    found.begun = carried.at;
                    found.carried = frame.len() as u64;
                    self.books.begin(carried);
                }
                Stored::Carried(_) => {
                    return Err(damaged(offset, "a segment begins inside a segment".into()));
                }
                Stored::Entry(_) | Stored::Mark if offset == 0 => {
                    return Err(damaged(offset, "it does not begin with what it carries over".into()));
                }
                Stored::Entry(entry) => {
                    self.books.apply(&entry, number, frame.number);
                    if let Entry::Settled { record } = *entry {
                        self.settled.push((frame.number, record));
                    }
                }
                Stored::Mark => {}
            }
            durable = durable.max(frame.durable);
            offset += frame.len();
            self.next_frame = frame.number + 1;
        }
        // Former segments are deleted only when the first frame of the next one is on disk.
        if offset == 0 && self.segments.is_empty() && number > 1 {
            let what = "the state carried over from deleted segments is damaged or missing".to_owned();
            return Err(damaged(0, what));
        }
        if offset == 0 && !last {
            return Err(damaged(0, "it is empty, and later segments follow".into()));
        }
        found.length = offset as u64;
        self.segments.push(found);
        Ok(())
    }
}
