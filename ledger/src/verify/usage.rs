//! Leases and their usage records: each record counted once, in order of its n, and the sums that follow from it.
//!
//! Keeps: open leases, closed ones whose records are not all there, and the last [`CLOSED_REMEMBERED`] others. Of each the
//! last records' digests, so that a report of the same record can be compared with the first one.

use super::report::{Code, Findings, Place};
use domain::account::event::{Closer, LeaseClosed, LeaseGranted};
use domain::{AccountId, Credits, LeaseId, Moment, Outcome, Tokens, UsageRecord};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};

/// Records of an open lease whose digests are kept. A node reports again what it has not seen acknowledged: a few batches.
const RECENT: usize = 1024;
/// And of a closed one.
const RECENT_OF_CLOSED: usize = 16;
/// Closed leases that are kept, though all is well with them: for records that come again or too late.
pub(super) const CLOSED_REMEMBERED: usize = 100_000;
/// Records behind a gap that are kept until the gap fills. Beyond that the gap is taken for a loss.
const BEHIND_A_GAP: usize = 2000;

/// What a record is, after all that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It counts.
    New,
    /// It counted before.
    Repeated,
    /// Its lease was closed without it: the operator bears it.
    Late,
}

/// The leases of all accounts.
#[derive(Debug, Default)]
pub(super) struct Leases {
    known: HashMap<LeaseId, Lease>,
    /// Closed leases with all of their records, oldest first.
    whole: VecDeque<LeaseId>,
    pub(super) granted: u64,
    pub(super) closed: u64,
    pub(super) late: Late,
    pub(super) not_compared: u64,
}

/// Records that came too late.
#[derive(Debug, Default)]
pub(super) struct Late {
    pub(super) records: u64,
    pub(super) nano: i128,
}

/// All that is open at the end of the log.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) count: u64,
    pub(super) nano: i128,
    pub(super) oldest: Option<Moment>,
    /// Leases whose records have a gap.
    pub(super) pending: Vec<(LeaseId, u64)>,
}

#[derive(Debug)]
struct Lease {
    account: AccountId,
    credits: Credits,
    touched: Moment,
    /// The highest n up to which every record is there.
    watermark: u64,
    /// The cumulative sum of that record.
    spent: Credits,
    /// The digests and sums of the records up to the watermark: the last ones.
    recent: VecDeque<(u64, Credits)>,
    /// Records behind a gap.
    behind: BTreeMap<u64, Behind>,
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Behind {
    digest: u64,
    spent: Credits,
    paid: Credits,
    sequence: u64,
}

#[derive(Debug)]
struct Closed {
    sequence: u64,
    spent: Credits,
    count: u64,
    /// Numbers above `count` that have come.
    late: BTreeSet<u64>,
}

impl Leases {
    pub(super) fn granted(&mut self, account: AccountId, it: &LeaseGranted, at: Moment) {
        self.granted += 1;
        self.known.entry(it.lease).or_insert_with(|| Lease {
            account,
            credits: it.credits,
            touched: at,
            watermark: 0,
            spent: Credits::ZERO,
            recent: VecDeque::new(),
            behind: BTreeMap::new(),
            closed: None,
        });
    }

    pub(super) fn amended(&mut self, lease: LeaseId, credits: Credits, at: Moment) {
        if let Some(lease) = self.known.get_mut(&lease).filter(|lease| lease.closed.is_none()) {
            (lease.credits, lease.touched) = (credits, at);
        }
    }

    pub(super) fn closed(&mut self, it: &LeaseClosed, place: Place<'_>, findings: &mut Findings) {
        let Some(lease) = self.known.get_mut(&it.lease).filter(|lease| lease.closed.is_none()) else {
            return;
        };
        self.closed += 1;
        let mut late = BTreeSet::new();
        // A record that lands between a sweeper's look and its close is late by its number. A holder knows its own count.
        if lease.watermark > it.count {
            if it.by == Closer::Holder {
                let sentence = format!(
                    "its holder closes lease {} with {} records, and {} are on the log",
                    it.lease, it.count, lease.watermark
                );
                findings.add(place.finding(Code::CloseCount, sentence));
            }
            late.extend(it.count + 1..=lease.watermark);
        }
        for (n, behind) in lease.behind.split_off(&it.count.saturating_add(1)) {
            late.insert(n);
            self.late.nano += i128::from(behind.paid.nano());
        }
        self.late.records += u64::try_from(late.len()).unwrap_or(u64::MAX);
        let had = lease.spent_at(it.count);
        if let Some(above) = had.and_then(|had| lease.spent.checked_sub(had)) {
            self.late.nano += i128::from(above.nano());
        }
        if let Some(had) = had.filter(|had| *had != it.spent) {
            let sentence = format!(
                "lease {} is closed with {} spent, and its {} records come to {had}",
                it.lease, it.spent, it.count
            );
            findings.add(place.finding(Code::CloseSpent, sentence));
        }
        let is_whole = lease.watermark >= it.count;
        lease.closed = Some(Closed { sequence: place.sequence, spent: it.spent, count: it.count, late });
        if is_whole {
            self.now_whole(it.lease);
        }
    }

    /// All records of a closed lease are there: it need not be remembered for long.
    fn now_whole(&mut self, lease: LeaseId) {
        if let Some(lease) = self.known.get_mut(&lease) {
            let surplus = lease.recent.len().saturating_sub(RECENT_OF_CLOSED);
            lease.recent.drain(..surplus);
            lease.recent.shrink_to_fit();
        }
        self.whole.push_back(lease);
        if self.whole.len() > CLOSED_REMEMBERED
            && let Some(oldest) = self.whole.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Takes a record. `remembers`: does its account remember having closed this lease?
    pub(super) fn record(
        &mut self,
        record: &UsageRecord,
        remembers: impl FnOnce() -> bool,
        place: Place<'_>,
        findings: &mut Findings,
    ) -> Standing {
        let name = format_args!("record {} of lease {}", record.n, record.lease).to_string();
        let mut found =
            |code, sentence: String| findings.add(place.finding(code, format!("{name}: {sentence}")));
        let Some(lease) = self.known.get_mut(&record.lease) else {
            if remembers() {
                self.not_compared += 1;
                return Standing::Repeated;
            }
            found(Code::LeaseUnknown, "no such lease was granted".into());
            return Standing::New;
        };
        if record.account != lease.account {
            let sentence = format!("it names account {}, the lease is of {}", record.account, lease.account);
            found(Code::RecordAccount, sentence);
        }
        if record.n == 0 {
            found(Code::RecordNumber, "records count from 1".into());
            return Standing::New;
        }
        if let Some(closed) = lease.closed.as_mut().filter(|closed| record.n > closed.count) {
            if !closed.late.insert(record.n) {
                return Standing::Repeated;
            }
            self.late.records += 1;
            self.late.nano += i128::from(record.usage.charge.nano());
            return Standing::Late;
        }
        let digest = digest(record);
        let first = match lease.behind.get(&record.n) {
            Some(first) => Some(Some(first.digest)),
            None if record.n <= lease.watermark => Some(lease.recent_at(record.n).map(|(digest, _)| digest)),
            None => None,
        };
        match first {
            Some(Some(first)) if first != digest => {
                found(Code::RecordDiffers, "it was reported before, with other contents".into());
                return Standing::Repeated;
            }
            Some(Some(_)) => return Standing::Repeated,
            Some(None) => {
                self.not_compared += 1;
                return Standing::Repeated;
            }
            None => {}
        }
        for (code, sentence) in faults(record) {
            found(code, sentence);
        }
        let behind = Behind { digest, spent: record.spent, paid: record.paid(), sequence: place.sequence };
        lease.behind.insert(record.n, behind);
        if lease.behind.len() > BEHIND_A_GAP && lease.closed.is_none() {
            lease.give_up_gap(record.lease, place, findings);
        }
        self.advance(record.lease, place, findings);
        Standing::New
    }

    /// Moves a lease's watermark as far as its records go.
    fn advance(&mut self, id: LeaseId, place: Place<'_>, findings: &mut Findings) {
        let Some(lease) = self.known.get_mut(&id) else { return };
        while let Some(next) = lease.behind.remove(&lease.watermark.saturating_add(1)) {
            lease.watermark += 1;
            let place = Place { sequence: next.sequence, ..place };
            let name = format!("record {} of lease {id}", lease.watermark);
            let due = lease.spent.checked_add(next.paid);
            if due != Some(next.spent) {
                let sentence = format!(
                    "{name}: {} were spent before it and it pays {}, but it says {}",
                    lease.spent, next.paid, next.spent
                );
                findings.add(place.finding(Code::RecordSum, sentence));
            }
            if next.spent > lease.credits {
                let sentence = format!("{name}: {} are spent of a lease of {}", next.spent, lease.credits);
                findings.add(place.finding(Code::SpentAboveLease, sentence));
            }
            lease.spent = next.spent;
            lease.recent.push_back((next.digest, next.spent));
            if lease.recent.len() > RECENT {
                lease.recent.pop_front();
            }
        }
        let Some(closed) = lease.closed.as_ref().filter(|closed| closed.count == lease.watermark) else {
            return;
        };
        if closed.spent != lease.spent {
            let sentence = format!(
                "lease {id} was closed by event {} with {} spent, and its {} records come to {}",
                closed.sequence, closed.spent, closed.count, lease.spent
            );
            findings.add(place.finding(Code::CloseSpent, sentence));
        }
        self.now_whole(id);
    }

    /// What the end of the log leaves.
    pub(super) fn finish(self, subject_of: impl Fn(AccountId) -> String, findings: &mut Findings) -> Open {
        let mut open = Open::default();
        // In the order of the log, so that a report is the same however often it is made.
        let mut missing = BTreeMap::new();
        for (id, lease) in self.known {
            match &lease.closed {
                None => {
                    open.count += 1;
                    open.nano += i128::from(lease.credits.nano());
                    open.oldest = Some(open.oldest.map_or(lease.touched, |oldest| oldest.min(lease.touched)));
                    if !lease.behind.is_empty() {
                        open.pending.push((id, lease.watermark + 1));
                    }
                }
                Some(closed) if lease.watermark < closed.count => {
                    let sentence = format!(
                        "lease {id} was closed with {} records, and {} not on the log",
                        closed.count,
                        { lease.gaps(closed.count) }
                    );
                    missing.insert((closed.sequence, id), (subject_of(lease.account), sentence));
                }
                Some(_) => {}
            }
        }
        for ((sequence, _), (subject, sentence)) in missing {
            let place = Place { sequence, subject: &subject };
            findings.add(place.finding(Code::RecordsMissing, sentence));
        }
        open.pending.sort_unstable();
        open
    }
}

impl Lease {
    /// The digest and the sum of a record up to the watermark, if it is remembered.
    fn recent_at(&self, n: u64) -> Option<(u64, Credits)> {
        let back = usize::try_from(self.watermark.checked_sub(n)?).ok()?;
        let at = self.recent.len().checked_sub(back + 1)?;
        self.recent.get(at).copied()
    }

    /// What was spent with a record up to the watermark, if it is remembered.
    fn spent_at(&self, n: u64) -> Option<Credits> {
        match n {
            0 => Some(Credits::ZERO),
            n => self.recent_at(n).map(|(_, spent)| spent),
        }
    }

    /// So many records have come behind a gap that what is missing will not come any more.
    fn give_up_gap(&mut self, id: LeaseId, place: Place<'_>, findings: &mut Findings) {
        let Some((next, first)) = self.behind.first_key_value() else { return };
        let sentence = format!("lease {id}: {} not on the log", range(self.watermark + 1, next - 1));
        let place = Place { sequence: first.sequence, ..place };
        findings.add(place.finding(Code::RecordsMissing, sentence));
        self.watermark = next - 1;
        self.spent = first.spent.checked_sub(first.paid).unwrap_or(Credits::ZERO);
        self.recent.clear();
    }

    /// The numbers up to `count` that are missing, in words.
    fn gaps(&self, count: u64) -> String {
        let (mut words, mut next, mut others) = (Vec::new(), self.watermark + 1, 0);
        for n in self.behind.keys().copied().take_while(|n| *n <= count).chain([count + 1]) {
            if n > next {
                match words.len() {
                    ..5 => words.push(range(next, n - 1)),
                    _ => others += 1,
                }
            }
            next = n + 1;
        }
        if others > 0 {
            words.push(format!("others in {others} more gaps are"));
        }
        words.join(", ")
    }
}

fn range(first: u64, last: u64) -> String {
    if first == last { format!("record {first} is") } else { format!("records {first} to {last} are") }
}

/// What is wrong about a record by itself.
fn faults(record: &UsageRecord) -> Vec<(Code, String)> {
    let (usage, mut faults) = (&record.usage, Vec::new());
    if record.uncovered.is_negative() || record.uncovered > usage.charge {
        let sentence = format!("{} of a charge of {} cannot be uncovered", record.uncovered, usage.charge);
        faults.push((Code::RecordUncovered, sentence));
    }
    match usage.derived_charge() {
        Ok(due) if due == usage.charge && (due == Credits::ZERO || !is_always_free(usage.outcome)) => {}
        _ if usage.charge == Credits::ZERO && may_be_free(usage.outcome) => {}
        Ok(due) => {
            let sentence = format!("it charges {}, its tokens and prices come to {due}", usage.charge);
            faults.push((Code::RecordCharge, sentence));
        }
        Err(error) => {
            let sentence = format!("its charge of {} cannot be derived: {error}", usage.charge);
            faults.push((Code::RecordCharge, sentence));
        }
    }
    if let Some(prices) = &usage.cost_prices {
        let is_unserved = usage.cost == Credits::ZERO && usage.tokens == Tokens::default();
        let due = prices.charge(&usage.tokens, rust_decimal::Decimal::ONE);
        if !is_unserved && due.as_ref() != Ok(&usage.cost) {
            let due = due.map_or_else(|error| error.to_string(), |due| due.to_string());
            let sentence = format!("it books a cost of {}, the provider's prices come to {due}", usage.cost);
            faults.push((Code::RecordCharge, sentence));
        }
    }
    faults
}

/// May the metering policy have made such a call free? One that brought an answer to its end never is.
fn may_be_free(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Completed => false,
        Outcome::ClientGone | Outcome::ProviderError | Outcome::Interrupted | Outcome::Refused => true,
    }
}

/// A call that the provider refused costs nothing.
fn is_always_free(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Refused => true,
        Outcome::Completed | Outcome::ClientGone | Outcome::ProviderError | Outcome::Interrupted => false,
    }
}

/// A number that tells records apart. Against forgery there is the chain; this is for comparing two reports of one record
/// without keeping either.
fn digest(record: &UsageRecord) -> u64 {
    struct Into(DefaultHasher);
    impl std::io::Write for Into {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut into = Into(DefaultHasher::new());
    // Writing into a hasher cannot fail, and a record was read from JSON.
    serde_json::to_writer(&mut into, record).ok();
    into.0.finish()
}
