//! The write side: appending, flushing, rolling over to the next segment, trimming.
//!
//! Claims: a frame is on disk up to where its header says before it is written; a segment is on disk before the next one
//! is begun, and what that carries over before a former one is deleted; after a failed write the segment ends with its last
//! whole frame, or nothing is written any more; after a failed flush nothing is.

use super::books::Books;
use super::entry::{Entry, RecordJson, Recovered, SETTLED, Writing};
use super::frame::Draft;
use super::read::{Found, Read, read};
use super::segment::{Folder, Segment};
use super::{OutboxError, OutboxOptions, OutboxStatus, Written, io_error};
use domain::{Moment, UsageRecord};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Locks are taken in the order `trimming`, `flushing`, `state`.
pub(super) struct Store {
    options: OutboxOptions,
    folder: Folder,
    /// Segments are deleted one after the other, oldest first.
    trimming: Mutex<()>,
    /// One flush at a time: the kernel tells a failure to one of them only.
    flushing: Mutex<()>,
    state: Mutex<State>,
    /// Told when there is something to flush, and at the end.
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

/// How far the disk is.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Frames with lower numbers are on disk.
    pub(super) next_frame: u64,
    pub(super) broken: Option<Arc<str>>,
}

struct State {
    books: Books,
    /// Oldest first; the last one is written to.
    segments: VecDeque<OnDisk>,
    file: Arc<Segment>,
    /// Length of the last segment, in bytes.
    length: u64,
    /// Its first frame, in bytes.
    carried: u64,
    /// What of it is on disk, in bytes.
    durable: u64,
    /// Its name may not be on disk yet.
    new_name: bool,
    /// It is followed by the next one when it would outgrow so many bytes.
    roll_at: u64,
    next_frame: u64,
    /// All segments, in bytes.
    bytes: u64,
    unflushed_since: Option<Instant>,
    /// The last frame is a mark.
    marked: bool,
    broken: Option<Arc<str>>,
    closing: bool,
}

#[derive(Clone, Copy, Debug)]
struct OnDisk {
    number: u64,
    bytes: u64,
    begun: Moment,
}

/// What the flushing thread has to do.
pub(super) enum Wake {
    /// Something is written.
    Flush,
    /// Nothing was written for a while.
    Quiet,
    /// The last handle is gone.
    Closing,
}

/// What may be written when the bound is near.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Begins something: only below the bound.
    Begins,
    /// Good to have: not at the cost of what ends calls.
    Marks,
    /// Ends something that was begun: as long as the reserve lasts.
    Ends,
    /// Makes room: always taken, written while the reserve lasts.
    Reports,
    /// Stands before whatever makes room: always taken, and written beyond the reserve, as much again.
    Runs,
}

fn need(entry: &Entry) -> Need {
    match entry {
        Entry::Leasing { .. } | Entry::Opened { .. } => Need::Begins,
        Entry::Progressed { .. } => Need::Marks,
        Entry::Ended { .. } | Entry::Released { .. } | Entry::Settled { .. } => Need::Ends,
        Entry::Began { .. } => Need::Runs,
        Entry::Reported { .. } => Need::Reports,
    }
}

fn now() -> Moment {
    crate::ambient::now()
}

/// Nothing is left half-done under these locks: a panic elsewhere must not stop the outbox.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(super) fn open(options: OutboxOptions) -> Result<(Self, Recovered), OutboxError> {
        let folder = Folder::lock(&options.dir)?;
        let mut found = read(&folder)?;
        let recovered = Recovered {
            epochs: found.books.epochs(),
            leases: found.books.leases(),
            settled: found.take_settled(),
            interrupted: found.books.calls(),
            cut: found.cut.clone(),
        };
        let state = State::of(found, &folder, options.segment_bytes)?;
        let (progress, _) = watch::channel(Progress::default());
        let store = Self {
            options,
            folder,
            trimming: Mutex::default(),
            flushing: Mutex::default(),
            state: Mutex::new(state),
            wake: Condvar::new(),
            progress,
        };
        // What was read may only have been in memory: the caller is about to act on it.
        store.flush()?;
        Ok((store, recovered))
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn append(&self, entry: &Entry) -> Result<Written, OutboxError> {
        // All that takes time and needs no lock comes first.
        let draft = Draft::of(&Writing::Entry(entry))?;
        self.add(draft, need(entry), |books, segment, frame| books.apply(entry, segment, frame))
    }

    pub(super) fn settle(&self, record: &UsageRecord, json: &RecordJson) -> Result<Written, OutboxError> {
        let [before, behind] = SETTLED;
        let draft = Draft::of_parts([before, json.json(), behind])?;
        self.add(draft, Need::Ends, |books, segment, frame| books.settle(record, segment, frame))
    }

    /// Writes a frame and enters it in the books.
    fn add(
        &self,
        mut draft: Draft,
        need: Need,
        enter: impl FnOnce(&mut Books, u64, u64),
    ) -> Result<Written, OutboxError> {
        let mut state = lock(&self.state);
        state.check()?;
        if state.would_outgrow(&draft) {
            drop(state);
            self.roll(|state| state.would_outgrow(&draft))?;
            state = lock(&self.state);
            state.check()?;
        }
        let segment = state.last_number();
        if !self.has_room(&state, need, draft.len())? {
            enter(&mut state.books, segment, 0);
            return Ok(self.written(0));
        }
        let frame = self.write(&mut state, &mut draft)?;
        enter(&mut state.books, segment, frame);
        state.marked = false;
        let first = state.unflushed_since.is_none();
        if first {
            state.unflushed_since = Some(Instant::now());
        }
        drop(state);
        if first {
            self.wake.notify_all();
        }
        Ok(self.written(frame))
    }

    fn written(&self, frame: u64) -> Written {
        Written { frame, progress: self.progress.subscribe() }
    }

    /// May an entry be written? `false`: it is to be remembered only.
    fn has_room(&self, state: &State, need: Need, more: u64) -> Result<bool, OutboxError> {
        let (bound, reserve) = (self.options.max_bytes, self.options.reserve());
        let limit = match need {
            Need::Begins => bound,
            Need::Marks => bound.saturating_add(reserve / 2),
            Need::Ends | Need::Reports => bound.saturating_add(reserve),
            // A few bytes, and without them the next start would not know of the run, nor read what it reported.
            Need::Runs => bound.saturating_add(reserve.saturating_mul(2)),
        };
        if state.bytes.saturating_add(more) <= limit {
            return Ok(true);
        }
        if matches!(need, Need::Reports | Need::Runs) {
            return Ok(false);
        }
        let dir = self.folder.path().to_owned();
        Err(OutboxError::Full { dir, bytes: state.bytes, max_bytes: bound })
    }

    /// Writes a frame at the end of the last segment; answers its number. After an error the segment is as before, or the
    /// outbox is broken.
    fn write(&self, state: &mut State, draft: &mut Draft) -> Result<u64, OutboxError> {
        let number = state.next_frame;
        if let Err(error) = state.file.append(draft.sealed(number, state.durable)) {
            let failed = io_error("write", state.file.path())(error);
            if let Err(cut) = state.file.cut(state.length) {
                self.break_down(state, format!("{failed}, nor cut what was half written: {cut}"));
            }
            return Err(failed);
        }
        state.next_frame += 1;
        state.length += draft.len();
        state.bytes += draft.len();
        if let Some(last) = state.segments.back_mut() {
            last.bytes = state.length;
        }
        Ok(number)
    }

    /// From now on nothing is written.
    fn break_down(&self, state: &mut State, why: String) {
        tracing::error!(folder = %self.folder.path().display(), why, "the outbox takes no more entries");
        let why = state.broken.get_or_insert_with(|| why.into()).clone();
        self.progress.send_modify(|progress| progress.broken = Some(why));
    }

    pub(super) fn flush(&self) -> Result<(), OutboxError> {
        let _turn = lock(&self.flushing);
        let (file, length, next_frame, new_name) = {
            let state = lock(&self.state);
            state.check()?;
            (state.file.clone(), state.length, state.next_frame, state.new_name)
        };
        let begun = Instant::now();
        let flushed = self.flush_files(&file, new_name);
        let mut state = lock(&self.state);
        self.flushed(&mut state, flushed, length, next_frame)?;
        state.unflushed_since = (state.length > length).then_some(begun);
        Ok(())
    }

    fn flush_files(&self, file: &Segment, new_name: bool) -> io::Result<()> {
        file.flush()?;
        if new_name { self.folder.flush() } else { Ok(()) }
    }

    /// Records the outcome of a flush of the last segment. The caller holds `flushing`, so that it still is the last one.
    fn flushed(
        &self,
        state: &mut State,
        outcome: io::Result<()>,
        length: u64,
        next_frame: u64,
    ) -> Result<(), OutboxError> {
        if let Err(error) = outcome {
            // The kernel may have dropped what it could not write and call the next flush a success: never ask again.
            self.break_down(state, format!("{} could not be flushed: {error}", state.file.path().display()));
            return state.check();
        }
        state.durable = length;
        state.new_name = false;
        self.progress.send_modify(|progress| progress.next_frame = next_frame);
        Ok(())
    }

    /// Begins the next segment if that is (still) wanted.
    fn roll(&self, wanted: impl Fn(&State) -> bool) -> Result<(), OutboxError> {
        let _turn = lock(&self.flushing);
        let mut state = lock(&self.state);
        state.check()?;
        if !wanted(&state) {
            return Ok(());
        }
        let (length, next_frame) = (state.length, state.next_frame);
        let flushed = self.flush_files(&state.file.clone(), state.new_name);
        self.flushed(&mut state, flushed, length, next_frame)?;
        state.unflushed_since = None;
        if let Err(error) = self.begin_segment(&mut state) {
            state.check()?;
            // For want of a file handle, say: this segment grows on meanwhile.
            tracing::warn!(folder = %self.folder.path().display(), %error, "the next outbox segment cannot be begun");
            state.roll_at = state.length + self.options.segment_bytes / 8;
        }
        Ok(())
    }

    fn begin_segment(&self, state: &mut State) -> Result<(), OutboxError> {
        let (number, begun) = (state.last_number() + 1, now());
        let mut draft = Draft::of(&Writing::Carried(&state.books.carry(begun)))?;
        let path = self.folder.segment(number);
        let file = Segment::create(path.clone()).map_err(io_error("make", &path))?;
        if let Err(error) = file.append(draft.sealed(state.next_frame, 0)) {
            // Were it left behind, the former segment would be taken for one that is never written to again.
            if let Err(left) = std::fs::remove_file(&path).and_then(|()| self.folder.flush()) {
                self.break_down(state, format!("{} could not be removed: {left}", path.display()));
            }
            return Err(io_error("write", &path)(error));
        }
        state.segments.push_back(OnDisk { number, bytes: draft.len(), begun });
        state.file = Arc::new(file);
        state.bytes += draft.len();
        (state.length, state.carried, state.durable) = (draft.len(), draft.len(), 0);
        state.next_frame += 1;
        (state.new_name, state.marked) = (true, false);
        state.roll_at = self.options.segment_bytes;
        state.unflushed_since = Some(Instant::now());
        Ok(())
    }

    pub(super) fn trim(&self, position: u64) -> Result<(), OutboxError> {
        let _turn = lock(&self.trimming);
        {
            let mut state = lock(&self.state);
            state.check()?;
            state.books.trim(position);
        }
        // An idle node's outbox shrinks too.
        let least = self.options.segment_bytes / 16;
        self.roll(|state| state.length - state.carried > least && !state.books.needs(state.last_number()))?;
        loop {
            let (oldest, flush) = {
                let state = lock(&self.state);
                state.check()?;
                let (Some(oldest), Some(next)) = (state.segments.front(), state.segments.get(1)) else {
                    return Ok(());
                };
                if state.books.needs(oldest.number) {
                    return Ok(());
                }
                (*oldest, next.number == state.last_number() && state.durable < state.carried)
            };
            if flush {
                self.flush()?;
            }
            self.delete(oldest)?;
        }
    }

    /// Deletes the oldest segment. The caller holds `trimming`.
    fn delete(&self, oldest: OnDisk) -> Result<(), OutboxError> {
        let path = self.folder.segment(oldest.number);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("delete", &path)(error));
            }
            Ok(()) | Err(_) => {}
        }
        // Each before the next: after a power cut there must be no hole in the row.
        self.folder.flush().map_err(io_error("flush", self.folder.path()))?;
        let mut state = lock(&self.state);
        state.segments.pop_front();
        state.bytes -= oldest.bytes;
        Ok(())
    }

    pub(super) fn status(&self) -> OutboxStatus {
        let state = lock(&self.state);
        let oldest = state.segments.front().map_or(0, |oldest| now().micros() - oldest.begun.micros());
        let waited = state.unflushed_since.map_or(Duration::ZERO, |since| since.elapsed());
        OutboxStatus {
            bytes: state.bytes,
            max_bytes: self.options.max_bytes,
            segments: state.segments.len() as u64,
            oldest_segment_ms: u64::try_from(oldest / 1000).unwrap_or(0),
            records: state.books.kept_count(),
            unreported: state.books.unreported(),
            open_leases: state.books.open_leases(),
            open_calls: state.books.open_calls(),
            unflushed_bytes: state.length - state.durable,
            flush_lag_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            broken: state.broken.as_deref().map(str::to_owned),
        }
    }

    /// Waits for work. What is written waits for `delay`, so that a flush takes more than one entry.
    pub(super) fn wait(&self, delay: Duration, quiet: Duration) -> Wake {
        let mut state = lock(&self.state);
        loop {
            if state.closing {
                return Wake::Closing;
            }
            let patience = match (&state.broken, state.unflushed_since) {
                (Some(_), _) => None,
                (None, Some(since)) => match delay.checked_sub(since.elapsed()) {
                    None | Some(Duration::ZERO) => return Wake::Flush,
                    Some(left) => Some(left),
                },
                (None, None) if state.marked => None,
                (None, None) => Some(quiet),
            };
            let idle = state.unflushed_since.is_none();
            let Some(patience) = patience else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.wake.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && idle && state.unflushed_since.is_none() && !state.closing {
                return Wake::Quiet;
            }
        }
    }

    /// Writes a mark if the last frame is none. When it cannot be written nothing is lost.
    pub(super) fn mark(&self) {
        let mut state = lock(&self.state);
        if state.marked || state.check().is_err() {
            return;
        }
        state.marked = true;
        let written = Draft::of(&Writing::Mark).and_then(|mut draft| self.write(&mut state, &mut draft));
        match written {
            Ok(_) => {
                state.unflushed_since.get_or_insert_with(Instant::now);
            }
            Err(error) => tracing::warn!(%error, "the outbox could not be marked as flushed"),
        }
    }

    /// Lets the flushing thread end.
    pub(super) fn close(&self) {
        lock(&self.state).closing = true;
        self.wake.notify_all();
    }
}

impl State {
    /// Goes on where the segments end: cuts a torn tail, begins the first segment of a new outbox.
    fn of(found: Read, folder: &Folder, roll_at: u64) -> Result<Self, OutboxError> {
        let Read { mut books, segments, mut next_frame, marked, cut, .. } = found;
        let (number, mut length, mut carried) =
            segments.last().map_or((1, 0, 0), |last| (last.number, last.length, last.carried));
        let path = folder.segment(number);
        let file =
            if segments.is_empty() { Segment::create(path.clone()) } else { Segment::open(path.clone()) };
        let file = file.map_err(io_error("open", &path))?;
        if let Some(cut) = cut {
            tracing::warn!(
                file = %cut.file.display(),
                offset = cut.offset,
                bytes = cut.bytes,
                "the outbox ended in a record that had not reached the disk whole; it was cut off"
            );
            file.cut(cut.offset).and_then(|()| file.flush()).map_err(io_error("cut", &path))?;
        }
        let of = |found: Found| OnDisk { number: found.number, bytes: found.length, begun: found.begun };
        let mut segments: VecDeque<_> = segments.into_iter().map(of).collect();
        if length == 0 {
            let begun = now();
            let mut draft = Draft::of(&Writing::Carried(&books.carry(begun)))?;
            file.append(draft.sealed(next_frame, 0)).map_err(io_error("write", &path))?;
            next_frame += 1;
            (length, carried) = (draft.len(), draft.len());
            segments.pop_back();
            segments.push_back(OnDisk { number, bytes: length, begun });
        }
        Ok(Self {
            books,
            bytes: segments.iter().map(|on_disk| on_disk.bytes).sum(),
            segments,
            file: Arc::new(file),
            length,
            carried,
            durable: 0,
            new_name: true,
            roll_at,
            next_frame,
            unflushed_since: None,
            marked,
            broken: None,
            closing: false,
        })
    }

    fn check(&self) -> Result<(), OutboxError> {
        self.broken.as_ref().map_or(Ok(()), |why| Err(OutboxError::Broken { why: why.clone() }))
    }

    fn last_number(&self) -> u64 {
        self.segments.back().map_or(1, |last| last.number)
    }

    /// Would this frame take the last segment beyond its size? One that holds nothing of its own takes any frame.
    fn would_outgrow(&self, draft: &Draft) -> bool {
        self.length > self.carried && self.length + draft.len() > self.roll_at.saturating_add(self.carried)
    }
}
