//! What an outbox remembers of the entries in its segments: what is live, and where records wait for the projections.
//!
//! For: what to carry over into a new segment, which segments nobody needs, what a restart finds.
//! May not touch: files, clocks.
//! Claims: its size is bounded by open leases, the runs since the oldest of them, open calls and records that are not
//! trimmed; applying entries one by one and recovering from segments give the same books.

use super::entry::{Carried, Entry, FORMAT, FormerEpoch, InterruptedCall, RecoveredLease};
use domain::{LeaseId, Moment, RequestId, UsageRecord};
use std::collections::{BTreeMap, HashMap};

/// A record by its lease and its number there.
pub(super) type Key = (LeaseId, u64);

/// A settled record that the projections may not have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The segment that holds it.
    pub(super) segment: u64,
    /// Its frame there.
    pub(super) frame: u64,
    /// Where the log acknowledged it.
    pub(super) reported: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    epochs: Vec<FormerEpoch>,
    leases: BTreeMap<LeaseId, RecoveredLease>,
    /// In boxes, since a tree moves its neighbours whenever one comes or goes.
    calls: BTreeMap<RequestId, Box<InterruptedCall>>,
    kept: HashMap<Key, Kept>,
    /// Acknowledged records by the position of the acknowledgement. May name records of `kept` that were acknowledged again
    /// elsewhere.
    reported: BTreeMap<u64, Vec<Key>>,
    unreported: u64,
    /// How many of `kept` a segment holds; absent means none.
    per_segment: BTreeMap<u64, u64>,
}

impl Books {
    /// Records an entry that stands in this segment, in this frame.
    pub(super) fn apply(&mut self, entry: &Entry, segment: u64, frame: u64) {
        match entry {
            Entry::Began { epoch } => {
                let (epoch, last_reported) = (*epoch, self.last_reported());
                self.epochs.push(FormerEpoch { epoch, last_reported });
            }
            Entry::Leasing { lease, account, epoch } => {
                let (lease, account, epoch) = (*lease, *account, *epoch);
                let spent = domain::Credits::ZERO;
                self.leases.insert(lease, RecoveredLease { lease, account, epoch, count: 0, spent });
            }
            Entry::Ended { lease } => {
                self.leases.remove(lease);
            }
            Entry::Opened { lease, account, worst_case, usage } => {
                let (lease, account, worst_case) = (*lease, *account, *worst_case);
                let (usage, opened_at) = (usage.clone(), self.last_reported());
                let call = InterruptedCall { lease, account, worst_case, usage, opened_at };
                self.calls.insert(call.usage.request, Box::new(call));
            }
            Entry::Progressed { usage } => {
                if let Some(call) = self.calls.get_mut(&usage.request) {
                    call.usage.clone_from(usage);
                }
            }
            Entry::Released { request } => {
                self.calls.remove(request);
            }
            Entry::Settled { record } => self.settle(record, segment, frame),
            Entry::Reported { sequence, records } => self.report(*sequence, records),
        }
    }

    /// Records a settled record.
    pub(super) fn settle(&mut self, record: &UsageRecord, segment: u64, frame: u64) {
        self.calls.remove(&record.usage.request);
        if let Some(lease) = self.leases.get_mut(&record.lease)
            && record.n > lease.count
        {
            (lease.count, lease.spent) = (record.n, record.spent);
        }
        self.keep((record.lease, record.n), Kept { segment, frame, reported: None });
    }

    fn keep(&mut self, key: Key, kept: Kept) {
        // The same record again: the later one stands.
        self.forget(key);
        self.kept.insert(key, kept);
        self.unreported += 1;
        *self.per_segment.entry(kept.segment).or_default() += 1;
    }

    fn forget(&mut self, key: Key) {
        let Some(kept) = self.kept.remove(&key) else { return };
        self.unreported -= u64::from(kept.reported.is_none());
        if let Some(count) = self.per_segment.get_mut(&kept.segment) {
            *count -= 1;
            if *count == 0 {
                self.per_segment.remove(&kept.segment);
            }
        }
    }

    fn last_reported(&self) -> u64 {
        self.epochs.last().map_or(0, |current| current.last_reported)
    }

    fn report(&mut self, sequence: u64, records: &[Key]) {
        if let Some(current) = self.epochs.last_mut() {
            current.last_reported = current.last_reported.max(sequence);
        }
        for key in records {
            let Some(kept) = self.kept.get_mut(key) else { continue };
            // A log that lost its tail is told again: the later acknowledgement stands.
            self.unreported -= u64::from(kept.reported.replace(sequence).is_none());
            self.reported.entry(sequence).or_default().push(*key);
        }
    }

    /// Forgets the records that were acknowledged at `position` or before.
    pub(super) fn trim(&mut self, position: u64) {
        while let Some(first) = self.reported.first_entry() {
            let sequence = *first.key();
            if sequence > position {
                break;
            }
            for key in first.remove() {
                if self.kept.get(&key).is_some_and(|kept| kept.reported == Some(sequence)) {
                    self.forget(key);
                }
            }
        }
    }

    /// What a new segment begins with. From here on the runs before the first that has an open lease are forgotten; those
    /// behind it may have reported its calls.
    pub(super) fn carry(&mut self, at: Moment) -> Carried {
        let needed = |former: &FormerEpoch| self.leases.values().any(|lease| lease.epoch == former.epoch);
        let first = self.epochs.iter().position(needed).unwrap_or(self.epochs.len().saturating_sub(1));
        self.epochs.drain(..first);
        Carried {
            format: FORMAT,
            at,
            epochs: self.epochs.clone(),
            leases: self.leases.values().copied().collect(),
            calls: self.calls(),
        }
    }

    /// Begins a segment as it was begun: what is live is what it carries.
    pub(super) fn begin(&mut self, carried: Carried) {
        self.epochs = carried.epochs;
        self.leases = carried.leases.into_iter().map(|lease| (lease.lease, lease)).collect();
        self.calls = carried.calls.into_iter().map(|call| (call.usage.request, Box::new(call))).collect();
    }

    pub(super) fn epochs(&self) -> Vec<FormerEpoch> {
        self.epochs.clone()
    }

    pub(super) fn leases(&self) -> Vec<RecoveredLease> {
        self.leases.values().copied().collect()
    }

    pub(super) fn calls(&self) -> Vec<InterruptedCall> {
        self.calls.values().map(|call| InterruptedCall::clone(call)).collect()
    }

    pub(super) fn open_leases(&self) -> u64 {
        self.leases.len() as u64
    }

    pub(super) fn open_calls(&self) -> u64 {
        self.calls.len() as u64
    }

    /// Records not trimmed.
    pub(super) fn kept_count(&self) -> u64 {
        self.kept.len() as u64
    }

    /// Records that the log has not acknowledged.
    pub(super) fn unreported(&self) -> u64 {
        self.unreported
    }

    pub(super) fn kept(&self, key: Key) -> Option<Kept> {
        self.kept.get(&key).copied()
    }

    /// Does a segment hold records that are not trimmed?
    pub(super) fn needs(&self, segment: u64) -> bool {
        self.per_segment.contains_key(&segment)
    }
}
