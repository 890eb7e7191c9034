//! What an outbox must hold, worked out the slow way: all entries ever written, read from the start.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

/// An entry with where it ended: its segment and the length of that with it.
struct Line {
    entry: Entry,
    segment: u64,
    end: u64,
}

/// All entries that should be there, and which records may be gone.
#[derive(Default)]
pub(super) struct Model {
    lines: Vec<Line>,
    trimmed: HashSet<(LeaseId, u64)>,
    /// Those that the outbox was told of since it was opened: a trim is not remembered across restarts.
    forgotten: HashSet<(LeaseId, u64)>,
}

impl Model {
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut model = Self::default();
        for entry in entries {
            model.lines.push(Line { entry: entry.clone(), segment: 0, end: 0 });
        }
        model
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.lines.iter().map(|line| &line.entry)
    }

    fn ended(&self, lease: LeaseId) -> bool {
        self.entries().any(|entry| matches!(entry, Entry::Ended { lease: it } if *it == lease))
    }

    fn records(&self) -> impl Iterator<Item = &UsageRecord> {
        self.entries().filter_map(|entry| match entry {
            Entry::Settled { record } => Some(record),
            _ => None,
        })
    }

    fn reported(&self, key: (LeaseId, u64)) -> Option<u64> {
        self.entries().rev().find_map(|entry| match entry {
            Entry::Reported { sequence, records } if records.contains(&key) => Some(*sequence),
            _ => None,
        })
    }

    /// Everything, as if nothing were ever trimmed or forgotten.
    pub(super) fn all(&self) -> Recovered {
        let mut all = Recovered::default();
        for entry in self.entries() {
            let reported = all.epochs.last().map_or(0, |last| last.last_reported);
            match entry {
                Entry::Began { epoch } => {
                    all.epochs.push(FormerEpoch { epoch: *epoch, last_reported: reported });
                }
                Entry::Reported { sequence, .. } => {
                    if let Some(last) = all.epochs.last_mut() {
                        last.last_reported = last.last_reported.max(*sequence);
                    }
                }
                Entry::Leasing { lease, account, epoch } if !self.ended(*lease) => {
                    let of = self.records().filter(|record| record.lease == *lease);
                    let last = of.max_by_key(|record| record.n);
                    let (count, spent) = last.map_or((0, Credits::ZERO), |last| (last.n, last.spent));
                    let (lease, account, epoch) = (*lease, *account, *epoch);
                    all.leases.push(RecoveredLease { lease, account, epoch, count, spent });
                }
                Entry::Opened { lease, account, worst_case, usage } if !self.over(usage.request) => {
                    let usage = self.entries().rev().find_map(|entry| match entry {
                        Entry::Progressed { usage: later } if later.request == usage.request => {
                            Some(later.clone())
                        }
                        _ => None,
                    });
                    let Entry::Opened { usage: opened, .. } = entry else { unreachable!() };
                    all.interrupted.push(InterruptedCall {
                        lease: *lease,
                        account: *account,
                        worst_case: *worst_case,
                        usage: usage.unwrap_or_else(|| opened.clone()),
                        opened_at: reported,
                    });
                }
                Entry::Settled { record } => {
                    let reported = self.reported((record.lease, record.n));
                    all.settled.push(RecoveredRecord { record: record.clone(), reported });
                }
                _ => {}
            }
        }
        all.leases.sort_by_key(|lease| lease.lease);
        all.interrupted.sort_by_key(|call| call.usage.request);
        all
    }

    fn over(&self, request: RequestId) -> bool {
        self.entries().any(|entry| match entry {
            Entry::Released { request: it } => *it == request,
            Entry::Settled { record } => record.usage.request == request,
            _ => false,
        })
    }

    fn trim(&mut self, position: u64) {
        let records = self.records().map(|record| (record.lease, record.n));
        let passed: Vec<_> =
            records.filter(|key| self.reported(*key).is_some_and(|sequence| sequence <= position)).collect();
        self.trimmed.extend(&passed);
        self.forgotten.extend(passed);
    }

    /// What is recovered is all that is needed, and nothing that never was.
    fn check(&self, recovered: &Recovered) {
        let all = self.all();
        assert_eq!(recovered.leases, all.leases);
        assert_eq!(recovered.interrupted, all.interrupted);
        let gone = all.settled.len() - recovered.settled.len();
        assert_eq!(recovered.settled, all.settled[gone..], "records are not what was written last");
        for lost in &all.settled[..gone] {
            let key = (lost.record.lease, lost.record.n);
            assert!(self.trimmed.contains(&key), "a record that the projections have not passed is gone");
        }
        let needed = |former: &&FormerEpoch| {
            Some(former.epoch) == all.epochs.last().map(|last| last.epoch)
                || all.leases.iter().any(|lease| lease.epoch == former.epoch)
        };
        for former in all.epochs.iter().filter(needed) {
            assert!(recovered.epochs.contains(former), "{former:?} is missing in {:?}", recovered.epochs);
        }
        let mut rest = all.epochs.iter();
        for former in &recovered.epochs {
            assert!(rest.any(|it| it == former), "{former:?} is not in its place in {:?}", all.epochs);
        }
    }
}

/// What happens to an outbox. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Act {
    Begin,
    Lease,
    End(usize),
    Open(usize),
    Progress(usize),
    Release(usize),
    Settle(usize),
    /// A record without an opened call, in any lease, also one that ended.
    SettleLate(usize),
    Report(usize),
    /// The log lost its tail and is told again, elsewhere.
    ReportAgain(usize),
    Trim(u64),
    Flush,
    Reopen,
    /// What was not flushed is lost from some byte on.
    PowerCut(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let some = any::<usize>();
    prop_oneof![
        1 => Just(Act::Begin),
        2 => Just(Act::Lease),
        1 => some.prop_map(Act::End),
        6 => some.prop_map(Act::Open),
        2 => some.prop_map(Act::Progress),
        1 => some.prop_map(Act::Release),
        5 => some.prop_map(Act::Settle),
        1 => some.prop_map(Act::SettleLate),
        4 => some.prop_map(Act::Report),
        1 => some.prop_map(Act::ReportAgain),
        3 => (0..8_u64).prop_map(Act::Trim),
        2 => Just(Act::Flush),
        1 => Just(Act::Reopen),
        1 => some.prop_map(Act::PowerCut),
    ]
}

/// An outbox, what it should hold, and what the node around it would know.
struct Run {
    dir: TempDir,
    outbox: Option<Outbox>,
    model: Model,
    next: u64,
    sequence: u64,
}

impl Run {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Self { dir, outbox: None, model: Model::default(), next: 0, sequence: 10 };
        run.reopen();
        run.append(Entry::Began { epoch: epoch(0) });
        run
    }

    fn reopen(&mut self) {
        self.outbox = None;
        let options = OutboxOptions { segment_bytes: 6000, ..manual(self.dir.path()) };
        let (outbox, recovered) = Outbox::open(options).unwrap();
        self.model.forgotten.clear();
        self.model.check(&recovered);
        let status = outbox.status();
        let unreported = recovered.settled.iter().filter(|record| record.reported.is_none()).count();
        assert_eq!(status.records, recovered.settled.len() as u64);
        assert_eq!(status.unreported, unreported as u64);
        assert_eq!(status.open_calls, recovered.interrupted.len() as u64);
        self.outbox = Some(outbox);
    }

    fn outbox(&self) -> &Outbox {
        self.outbox.as_ref().unwrap()
    }

    fn append(&mut self, entry: Entry) {
        let _written = self.outbox().append(&entry).unwrap();
        let (segment, end, _) = self.outbox().handle.store.tail();
        self.model.lines.push(Line { entry, segment, end });
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn record(&self, lease: LeaseId, usage: Usage) -> UsageRecord {
        let n = 1 + self.model.records().filter(|record| record.lease == lease).count() as u64;
        let spent = Credits::from_nano(i64::try_from(n).unwrap() * 7);
        UsageRecord { account: account(), lease, n, spent, uncovered: Credits::ZERO, usage }
    }

    fn act(&mut self, act: Act) {
        let all = self.model.all();
        let current = all.epochs.last().map_or(epoch(0), |last| last.epoch);
        let chosen = |n: usize, of: usize| (of > 0).then(|| n % of);
        match act {
            Act::Begin => {
                let epoch = epoch(self.fresh());
                self.append(Entry::Began { epoch });
            }
            Act::Lease => {
                let lease = lease(self.fresh());
                self.append(Entry::Leasing { lease, account: account(), epoch: current });
            }
            Act::End(n) => {
                if let Some(n) = chosen(n, all.leases.len()) {
                    self.append(Entry::Ended { lease: all.leases[n].lease });
                }
            }
            Act::Open(n) => {
                let lease = chosen(n, all.leases.len()).map_or(lease(0), |n| all.leases[n].lease);
                let usage = usage(self.fresh());
                let worst_case = Credits::from_nano(5);
                self.append(Entry::Opened { lease, account: account(), worst_case, usage });
            }
            Act::Progress(n) => {
                if let Some(n) = chosen(n, all.interrupted.len()) {
                    let mut usage = all.interrupted[n].usage.clone();
                    usage.tokens.output += 100;
                    self.append(Entry::Progressed { usage });
                }
            }
            Act::Release(n) => {
                if let Some(n) = chosen(n, all.interrupted.len()) {
                    self.append(Entry::Released { request: all.interrupted[n].usage.request });
                }
            }
            Act::Settle(n) => {
                if let Some(n) = chosen(n, all.interrupted.len()) {
                    let call = all.interrupted[n].clone();
                    self.append(Entry::Settled { record: self.record(call.lease, call.usage) });
                }
            }
            Act::SettleLate(n) => {
                let lease = lease(n as u64 % (self.next + 1));
                let usage = usage(self.fresh());
                self.append(Entry::Settled { record: self.record(lease, usage) });
            }
            Act::Report(n) => {
                let waiting = all.settled.iter().filter(|record| record.reported.is_none());
                let waiting: Vec<_> = waiting.map(|it| (it.record.lease, it.record.n)).collect();
                if let Some(n) = chosen(n, waiting.len()) {
                    self.sequence += 1;
                    let (sequence, records) = (self.sequence, waiting[..=n].to_vec());
                    self.append(Entry::Reported { sequence, records });
                }
            }
            Act::ReportAgain(n) => {
                let told = all.settled.iter().filter(|record| record.reported.is_some());
                let told: Vec<_> = told.map(|it| (it.record.lease, it.record.n)).collect();
                if let Some(n) = chosen(n, told.len()) {
                    self.sequence += 1;
                    let sequence = self.sequence - [0, 4][n % 2];
                    self.append(Entry::Reported { sequence, records: told[n..].to_vec() });
                }
            }
            Act::Trim(behind) => {
                let position = self.sequence.saturating_sub(behind);
                self.outbox().trim(position).unwrap();
                self.model.trim(position);
                self.check_trimmed();
            }
            Act::Flush => self.outbox().flush().unwrap(),
            Act::Reopen => self.reopen(),
            Act::PowerCut(n) => self.power_cut(n),
        }
    }

    /// No more segments than needed: the oldest holds a record that is not trimmed, or is the one written to.
    fn check_trimmed(&self) {
        let files = segments(self.dir.path());
        assert_eq!(self.outbox().status().segments, files.len() as u64);
        let on_disk: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
        assert_eq!(self.outbox().status().bytes, on_disk);
        if files.len() > 1 {
            let oldest = segment_number(&files[0]);
            let wanted = |line: &Line| match &line.entry {
                Entry::Settled { record } => !self.model.forgotten.contains(&(record.lease, record.n)),
                _ => false,
            };
            let lines = self.model.lines.iter().filter(|line| line.segment == oldest);
            assert!(lines.into_iter().any(wanted), "segment {oldest} is needed by nobody");
        }
    }

    fn power_cut(&mut self, n: usize) {
        let (segment, length, durable) = self.outbox().handle.store.tail();
        self.outbox = None;
        let length_after = durable + n as u64 % (length - durable + 1);
        let path = segments(self.dir.path()).pop().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(length_after).unwrap();
        self.model.lines.retain(|line| line.segment < segment || line.end <= length_after);
        self.reopen();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_exactly_what_is_needed_is_recovered(acts in prop::collection::vec(act(), 1..100)) {
        let mut run = Run::start();
        for act in acts {
            run.act(act);
        }
        run.reopen();
    }
}
