//! A disk that fails when it is told to.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// What goes wrong with the segments of one folder. By default nothing.
#[derive(Debug)]
pub(in crate::outbox) struct Faults {
    room: AtomicU64,
    cut: AtomicBool,
    flush: AtomicBool,
    flushes: AtomicU64,
    /// No test can see whether a flush reached the disk; without it thousands of outboxes can be opened in a second.
    really: AtomicBool,
    gate: Mutex<()>,
}

impl Faults {
    /// Those of the folder of this file; the same for each of its segments.
    pub(in crate::outbox) fn of(file: &Path) -> Arc<Self> {
        Self::in_folder(file.parent().unwrap())
    }

    pub(in crate::outbox) fn in_folder(folder: &Path) -> Arc<Self> {
        static ALL: OnceLock<Mutex<HashMap<PathBuf, Arc<Faults>>>> = OnceLock::new();
        let new = || Self {
            room: AtomicU64::new(u64::MAX),
            cut: AtomicBool::new(false),
            flush: AtomicBool::new(false),
            flushes: AtomicU64::new(0),
            really: AtomicBool::new(false),
            gate: Mutex::default(),
        };
        let all = ALL.get_or_init(Mutex::default);
        all.lock().unwrap().entry(folder.to_owned()).or_insert_with(|| Arc::new(new())).clone()
    }

    /// The disk takes so many bytes more.
    pub(super) fn leave_room(&self, bytes: u64) {
        self.room.store(bytes, Ordering::SeqCst);
    }

    pub(super) fn fail_cuts(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub(super) fn fail_flushes(&self, fail: bool) {
        self.flush.store(fail, Ordering::SeqCst);
    }

    /// Flushes take until the guard is dropped.
    pub(super) fn hold_flushes(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap()
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// How much of a write gets through before it fails, if it does.
    pub(in crate::outbox) fn write(&self, length: usize) -> Option<(usize, io::Error)> {
        let room = self.room.load(Ordering::SeqCst);
        if room == u64::MAX {
            return None;
        }
        let taken = room.min(length as u64);
        self.room.store(room - taken, Ordering::SeqCst);
        let taken = usize::try_from(taken).unwrap();
        (taken < length).then(|| (taken, io::ErrorKind::StorageFull.into()))
    }

    pub(in crate::outbox) fn cut(&self) -> io::Result<()> {
        if self.cut.load(Ordering::SeqCst) { Err(io::Error::other("planted")) } else { Ok(()) }
    }

    /// Is the disk to be asked?
    pub(in crate::outbox) fn flush(&self) -> io::Result<bool> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().unwrap());
        if self.flush.load(Ordering::SeqCst) {
            return Err(io::Error::other("planted"));
        }
        Ok(self.flushes_really())
    }

    pub(in crate::outbox) fn flush_really(&self) {
        self.really.store(true, Ordering::SeqCst);
    }

    pub(in crate::outbox) fn flushes_really(&self) -> bool {
        self.really.load(Ordering::SeqCst)
    }
}
