//! The audit: what must hold after every message, and at the end. It keeps books of its own and trusts nobody's.
//!
//! | promise | where |
//! |---|---|
//! | no account below zero, at any message; no budget exceeded | `Audit::decided` |
//! | a lease is granted once and closed once, and never for more than it holds | `Audit::decided` |
//! | a holder closes on all of its records; the sweeper after a seal and the quarantine, on records that are there | `Audit::closed` |
//! | usage that lands on the subject of its lease's own run counts: a seal fences what is swept | `Audit::used` |
//! | a record is there once, the same each time; a call has one; sums of a lease go on without a gap | `Audit::used` |
//! | nothing stands behind a seal; versions and hashes chain | `Audit::stored` |
//! | what was answered as settled is on the log as it was answered; what was released is not | `Audit::finish` |
//! | credits in = available + leased + spent; no lease is open at the end | `Audit::finish` |
//! | nobody is refused for want of credits that are there (seeds without faults) | `Audit::refused` |

use super::plan::{LIFE, Plan, QUARANTINE};
use super::server::Stored;
use super::{Kind, Micros};
use crate::{HoldError, Settled};
use domain::account::event::{Closer, LeaseClosed, Scope};
use domain::event::SealCause;
use domain::{
    Account, AccountEvent, AccountId, EpochId, Event, KeyId, Label, LeaseId, NodeEvent, RequestId,
    UsageRecord,
};
use std::collections::{BTreeMap, BTreeSet};

/// How long a stale lease may wait, beyond two lives and the quarantine, while somebody could sweep it.
const SWEEPING: Micros = 8_000_000;

pub(super) struct Audit {
    accounts: BTreeMap<AccountId, Books>,
    budgets: BTreeMap<KeyId, i64>,
    leases: BTreeMap<LeaseId, Lease>,
    open: BTreeSet<LeaseId>,
    seals: BTreeMap<EpochId, Seal>,
    heads: BTreeMap<String, (u64, crate::Hash)>,
    requests: BTreeMap<RequestId, Vec<(LeaseId, u64)>>,
    calls: BTreeMap<RequestId, Call>,
    /// Calls of a node whose last step may not be on its disk.
    unflushed: BTreeMap<usize, Vec<RequestId>>,
    /// For how long somebody could sweep.
    pub(super) healthy: Micros,
    watch_refusals: bool,
    /// A disk may be full: an ending that it does not take is known to the log only.
    disks_fill: bool,
    pub(super) late: u64,
    /// Refusals for want of credits that other leases had, and no call needed.
    pub(super) refused_in_vain: u64,
    /// Calls that were told to come again though nothing was wrong.
    pub(super) unavailable: u64,
    pub(super) wrong: Option<String>,
}

/// An account by our own sums, in nano-credits.
#[derive(Default)]
struct Books {
    credits_in: i64,
    leased: i64,
    spent: i64,
    used: BTreeMap<(KeyId, Label), i64>,
    fold: Account,
    /// What calls could still be held for: neither spent nor held by calls, whoever leases it.
    free: i64,
    /// When that changed, and to what.
    history: Vec<(Micros, i64, i64)>,
}

struct Lease {
    account: AccountId,
    epoch: EpochId,
    scope: Scope,
    credits: i64,
    /// By the healthy time.
    touched: Micros,
    closed: Option<Closed>,
    records: BTreeMap<u64, UsageRecord>,
}

struct Closed {
    spent: i64,
    count: u64,
    by: Closer,
}

struct Seal {
    at: Micros,
    cause: SealCause,
}

/// A call as its caller knows it.
pub(super) struct Call {
    node: usize,
    account: AccountId,
    worst: i64,
    asked: Micros,
    step: Step,
    /// What it may be charged with if its process ends: one of these.
    marks: Vec<i64>,
    /// Its opening, and its last step, stand on the disk.
    opening_flushed: bool,
    step_flushed: bool,
    /// Its disk is gone, or never came back.
    disk_lost: bool,
    /// A power cut came between its last step and the flush.
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Asked,
    Refused,
    /// Its caller did not wait for the hold.
    Left,
    Held,
    Opening,
    Opened,
    Settling {
        charge: i64,
    },
    Settled {
        charge: i64,
        paid: i64,
    },
    Released,
}

impl Audit {
    pub(super) fn new(plan: &Plan) -> Self {
        let budgets = plan.owners.iter().flat_map(|owner| owner.keys.iter().copied()).collect();
        Self {
            accounts: BTreeMap::new(),
            budgets,
            leases: BTreeMap::new(),
            open: BTreeSet::new(),
            seals: BTreeMap::new(),
            heads: BTreeMap::new(),
            requests: BTreeMap::new(),
            calls: BTreeMap::new(),
            unflushed: BTreeMap::new(),
            healthy: 0,
            watch_refusals: plan.kind == Kind::Calm,
            disks_fill: plan.disk < 1 << 20,
            late: 0,
            refused_in_vain: 0,
            unavailable: 0,
            wrong: None,
        }
    }

    /// The first breach stands.
    pub(super) fn broken(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken(what());
        }
    }

    /// A message was stored.
    pub(super) fn stored(&mut self, stored: &Stored, now: Micros) {
        let (recorded, sequence) = (&stored.recorded, stored.sequence);
        let head = self.heads.insert(stored.subject.clone(), (recorded.version, stored.hash));
        let follows = match head {
            None => recorded.version == 1 && stored.prev.is_none(),
            Some((version, hash)) => recorded.version == version + 1 && stored.prev == Some(hash),
        };
        self.check(follows, || format!("#{sequence} does not follow the last message of {}", stored.subject));
        match &recorded.event {
            Event::Account(account, event) => {
                self.accounts.entry(*account).or_default().fold.apply(&recorded.with(event.clone()));
                self.decided(*account, event, sequence, now);
            }
            Event::Node(epoch, event) => {
                if self.seals.contains_key(epoch) {
                    self.broken(format!("#{sequence} stands behind the seal of {epoch}"));
                }
                match event {
                    NodeEvent::UsageReported(report) => {
                        for record in &report.records {
                            self.used(*epoch, record, sequence, now);
                        }
                    }
                    NodeEvent::NodeSealed(sealed) => {
                        self.seals.insert(*epoch, Seal { at: now, cause: sealed.cause });
                    }
                }
            }
            Event::Suspense(..) | Event::Channel(..) => {
                self.broken(format!("#{sequence} is no event of this simulation"))
            }
        }
    }

    fn decided(&mut self, account: AccountId, event: &AccountEvent, sequence: u64, now: Micros) {
        let healthy = self.healthy;
        match event {
            AccountEvent::CreditGranted(it) => {
                let books = self.accounts.entry(account).or_default();
                books.credits_in += it.credits.nano();
                books.free(it.credits.nano(), now);
            }
            AccountEvent::LeaseGranted(it) => {
                let lease = Lease {
                    account,
                    epoch: it.epoch,
                    scope: it.scope.clone(),
                    credits: 0,
                    touched: healthy,
                    closed: None,
                    records: BTreeMap::new(),
                };
                let before = self.leases.insert(it.lease, lease);
                self.check(before.is_none(), || format!("#{sequence} grants {} again", it.lease));
                self.open.insert(it.lease);
                self.resized(it.lease, it.credits.nano());
            }
            AccountEvent::LeaseAmended(it) => {
                if !self.is_open(account, it.lease) {
                    return self.broken(format!("#{sequence} amends {}, which is not open", it.lease));
                }
                self.resized(it.lease, it.credits.nano());
                if let Some(lease) = self.leases.get_mut(&it.lease) {
                    lease.touched = healthy;
                }
            }
            AccountEvent::LeaseClosed(it) => {
                if !self.is_open(account, it.lease) {
                    return self.broken(format!("#{sequence} closes {}, which is not open", it.lease));
                }
                self.closed(it, sequence, now);
            }
            AccountEvent::TopUpInitiated(_)
            | AccountEvent::TopUpCompleted(_)
            | AccountEvent::TopUpClosed(_)
            | AccountEvent::RefundRequested(_)
            | AccountEvent::RefundApproved(_)
            | AccountEvent::RefundCompleted(_)
            | AccountEvent::RefundFailed(_)
            | AccountEvent::ChargebackPosted(_)
            | AccountEvent::ChargebackReversed(_)
            | AccountEvent::AdjustmentPosted(_) => {
                self.broken(format!("#{sequence} is no event of this simulation"));
            }
        }
        let books = self.accounts.entry(account).or_default();
        books.remember(now);
        let available = books.available();
        let fold = books.fold.available().nano();
        self.check(available >= 0, || format!("#{sequence} leaves {account} with {available} available"));
        self.check(available == fold, || {
            format!("#{sequence}: {account} has {available} by our sums and {fold} by the fold")
        });
        let over = books_over(&self.accounts[&account], &self.budgets);
        if let Some((key, used)) = over {
            self.broken(format!(
                "#{sequence} brings {key} to {used}, above its budget {}",
                self.budgets[&key]
            ));
        }
    }

    fn is_open(&self, account: AccountId, lease: LeaseId) -> bool {
        self.open.contains(&lease) && self.leases[&lease].account == account
    }

    fn resized(&mut self, lease: LeaseId, credits: i64) {
        let Some(it) = self.leases.get_mut(&lease) else { return };
        let more = credits - it.credits;
        it.credits = credits;
        let spent = it.watermark().1;
        let books = self.accounts.entry(it.account).or_default();
        books.leased += more;
        if let Some(used) = books.of(&it.scope) {
            *used += more;
        }
        self.check(credits >= spent, || format!("{lease} shrinks to {credits}, and {spent} is spent of it"));
    }

    fn closed(&mut self, it: &LeaseClosed, sequence: u64, now: Micros) {
        let (lease, spent, count) = (it.lease, it.spent.nano(), it.count);
        self.open.remove(&lease);
        let Some(row) = self.leases.get_mut(&lease) else { return };
        row.closed = Some(Closed { spent, count, by: it.by });
        let books = self.accounts.entry(row.account).or_default();
        books.leased -= row.credits;
        books.spent += spent;
        if let Some(used) = books.of(&row.scope) {
            *used += spent - row.credits;
        }
        let (credits, on_log) = (row.credits, row.watermark());
        let last = row.records.last_key_value().map_or(0, |(n, _)| *n);
        let at_count = row.records.get(&count).map_or(0, |record| record.spent.nano());
        let seal = self.seals.get(&row.epoch).map(|seal| (seal.at, seal.cause));
        self.check(spent <= credits, || {
            format!("#{sequence} closes {lease} of {credits} with {spent} spent")
        });
        self.check(count <= on_log.0 && spent == at_count, || {
            format!("#{sequence} closes {lease} with {count} records and {spent}, the log has {on_log:?}")
        });
        match it.by {
            Closer::Holder => self.check(count == last, || {
                format!("#{sequence}: its holder closes {lease} with {count} records, the log has {last}")
            }),
            Closer::Sweeper => {
                let due = match seal {
                    Some((at, SealCause::Silent)) => Some(at + QUARANTINE),
                    Some((at, SealCause::Restarted)) => Some(at),
                    None => None,
                };
                self.check(due.is_some(), || format!("#{sequence} sweeps {lease}, whose run is not sealed"));
                self.check(due.is_none_or(|due| now >= due), || {
                    format!("#{sequence} sweeps {lease} before its quarantine is over")
                });
            }
        }
    }

    fn used(&mut self, epoch: EpochId, record: &UsageRecord, sequence: u64, _now: Micros) {
        let (lease, n, request) = (record.lease, record.n, record.usage.request);
        let Some(row) = self.leases.get_mut(&lease) else {
            return self.broken(format!("#{sequence} reports usage of {lease}, which was never granted"));
        };
        if let Some(before) = row.records.get(&n) {
            let same = before == record;
            return self.check(same, || {
                format!(
                    "#{sequence} reports {lease}/{n} by {request}, which was there by another call or charge"
                )
            });
        }
        row.records.insert(n, record.clone());
        let own = row.epoch == epoch;
        let follows = |n: u64| row.records.get(&n).map(|it| (it.spent.nano(), it.paid().nano()));
        let (spent, paid) = (record.spent.nano(), record.paid().nano());
        let before = if n == 1 { Some((0, 0)) } else { follows(n - 1) };
        let sums = before.is_none_or(|(before, _)| before + paid == spent)
            && follows(n + 1).is_none_or(|(after, paid)| spent + paid == after);
        let late = row.closed.as_ref().is_some_and(|closed| n > closed.count);
        let (account, credits, open) = (row.account, row.credits, row.closed.is_none());
        let by = row.closed.as_ref().map(|closed| closed.by);
        self.late += u64::from(late);
        self.check(n > 0 && sums, || format!("#{sequence}: the sums of {lease} do not go on at {n}"));
        self.check(record.account == account, || format!("#{sequence}: {lease}/{n} names another account"));
        self.check(!open || spent <= credits, || {
            format!("#{sequence}: {spent} is spent of {lease}, which holds {credits}")
        });
        self.check(!(late && own), || {
            format!("#{sequence}: {lease}/{n} is not charged: {by:?} closed the lease and the node lives")
        });
        // A full disk may have forgotten that the call was released.
        let released =
            self.disks_fill && self.calls.get(&request).is_some_and(|it| it.step == Step::Released);
        self.check(!(late && by == Some(Closer::Holder)) || released, || {
            format!("#{sequence}: {lease}/{n} is not charged: its holder had closed the lease")
        });
        let of_request = self.requests.entry(request).or_default();
        of_request.push((lease, n));
        let all = of_request.clone();
        self.check(all.len() == 1, || {
            format!("#{sequence}: call {request} is charged more than once: {all:?}")
        });
        self.check(self.calls.contains_key(&request), || format!("#{sequence}: nobody made call {request}"));
    }

    // What callers know.

    pub(super) fn asked(
        &mut self,
        request: RequestId,
        node: usize,
        account: AccountId,
        worst: i64,
        now: Micros,
    ) {
        let call = Call {
            node,
            account,
            worst,
            asked: now,
            step: Step::Asked,
            marks: Vec::new(),
            opening_flushed: false,
            step_flushed: false,
            disk_lost: false,
            cut: false,
        };
        self.calls.insert(request, call);
    }

    fn step(&mut self, request: RequestId, step: Step) -> (AccountId, i64) {
        let call = self.calls.get_mut(&request).unwrap();
        (call.step, call.step_flushed) = (step, false);
        let (node, account, worst) = (call.node, call.account, call.worst);
        if !matches!(step, Step::Asked | Step::Refused | Step::Left | Step::Held) {
            self.unflushed.entry(node).or_default().push(request);
        }
        (account, worst)
    }

    pub(super) fn held(&mut self, request: RequestId, now: Micros) {
        let (account, worst) = self.step(request, Step::Held);
        self.accounts.entry(account).or_default().free(-worst, now);
    }

    pub(super) fn left(&mut self, request: RequestId) {
        self.step(request, Step::Left);
    }

    pub(super) fn refused(&mut self, request: RequestId, error: &HoldError) {
        let (account, worst) = self.step(request, Step::Refused);
        let asked = self.calls[&request].asked;
        if !self.watch_refusals {
            return;
        }
        match error {
            HoldError::InsufficientCredits { .. } => {
                let (available, free) =
                    self.accounts.get(&account).map_or((0, 0), |books| books.least(asked));
                self.check(available < worst, || {
                    format!("call {request} for {worst} is refused: {error}; {available} were available all the time")
                });
                self.refused_in_vain += u64::from(free >= worst);
            }
            HoldError::BudgetSpent { .. } => {}
            // Too many wait for too little.
            HoldError::Unavailable(_) => self.unavailable += 1,
        }
    }

    pub(super) fn opening(&mut self, request: RequestId, mark: i64) {
        self.step(request, Step::Opening);
        self.marked(request, mark);
    }

    pub(super) fn marked(&mut self, request: RequestId, mark: i64) {
        self.calls.get_mut(&request).unwrap().marks.push(mark);
    }

    pub(super) fn opened(&mut self, request: RequestId, lease: LeaseId) {
        self.step(request, Step::Opened);
        self.check(self.open.contains(&lease), || {
            format!("call {request} goes to its provider on {lease}, which is not open")
        });
    }

    pub(super) fn settling(&mut self, request: RequestId, charge: i64, now: Micros) {
        let (account, worst) = self.step(request, Step::Settling { charge });
        self.accounts.entry(account).or_default().free((worst - charge).min(0), now);
    }

    pub(super) fn settled(&mut self, request: RequestId, settled: Settled, now: Micros) {
        let Step::Settling { charge } = self.calls[&request].step else { return };
        let paid = settled.paid.nano();
        let (account, worst) = self.step(request, Step::Settled { charge, paid });
        self.accounts.entry(account).or_default().free(worst.max(charge) - paid, now);
        self.check(paid + settled.uncovered.nano() == charge && paid >= 0, || {
            format!("call {request} over {charge} is answered with {settled:?}")
        });
    }

    pub(super) fn released(&mut self, request: RequestId, now: Micros) {
        let (account, worst) = self.step(request, Step::Released);
        self.accounts.entry(account).or_default().free(worst, now);
    }

    // What befalls disks.

    /// All that a node's outbox had written is on its disk.
    pub(super) fn flushed(&mut self, node: usize) {
        for request in self.unflushed.remove(&node).unwrap_or_default() {
            let call = self.calls.get_mut(&request).unwrap();
            call.step_flushed = true;
            call.opening_flushed |= !matches!(call.step, Step::Opening);
        }
    }

    /// A node lost power: what was not flushed may be gone.
    pub(super) fn cut(&mut self, node: usize) {
        for request in self.unflushed.remove(&node).unwrap_or_default() {
            self.calls.get_mut(&request).unwrap().cut = true;
        }
    }

    /// A node's disk is gone for good.
    pub(super) fn disk_lost(&mut self, node: usize) {
        for call in self.calls.values_mut().filter(|call| call.node == node) {
            call.disk_lost = true;
        }
    }

    // The end.

    /// Leases that wait for longer than they should, while somebody could have swept them.
    pub(super) fn check_stuck(&mut self) {
        let limit = 2 * LIFE + QUARANTINE + SWEEPING;
        let stuck = self.open.iter().find(|lease| self.healthy > self.leases[lease].touched + limit).copied();
        if let Some(lease) = stuck {
            self.broken(format!(
                "{lease} is stuck: nobody has touched it for two lives, the quarantine and more"
            ));
        }
    }

    /// Everything has come to rest.
    pub(super) fn finish(&mut self) {
        if let Some(lease) = self.open.first().copied() {
            self.broken(format!("{lease} is open at the end"));
        }
        let mut wrong = Vec::new();
        for (lease, row) in &self.leases {
            let Some(closed) = &row.closed else { continue };
            let counted = row.records.range(..=closed.count).map(|(_, record)| record.paid().nano());
            let (count, spent) = (counted.clone().count() as u64, counted.sum::<i64>());
            if (count, spent) != (closed.count, closed.spent) {
                wrong.push(format!(
                    "{lease} was closed with {} records and {}, and has {count} and {spent}",
                    closed.count, closed.spent
                ));
            }
        }
        for (account, books) in &self.accounts {
            let spent = self
                .leases
                .values()
                .filter(|row| row.account == *account)
                .filter_map(|row| row.closed.as_ref())
                .map(|closed| closed.spent)
                .sum::<i64>();
            if books.leased != 0
                || spent != books.spent
                || books.available() + spent != books.credits_in
                || spent > books.credits_in
            {
                wrong.push(format!(
                    "{account} had {}, and has {} available and {spent} spent",
                    books.credits_in,
                    books.available()
                ));
            }
        }
        for (request, call) in &self.calls {
            if let Some(what) = self.call_wrong(*request, call) {
                wrong.push(format!("call {request} by node {} ended as {:?}, {what}", call.node, call.step));
            }
        }
        for what in wrong {
            self.broken(what);
        }
    }

    fn call_wrong(&self, request: RequestId, call: &Call) -> Option<String> {
        let found = self.requests.get(&request).and_then(|all| all.first());
        let record = found.map(|(lease, n)| &self.leases[lease].records[n]);
        let charge = record.map(|record| record.usage.charge.nano());
        let paid = record.map(|record| record.paid().nano());
        let cut = call.cut || self.disks_fill;
        let forgiven = call.disk_lost || (call.cut && !call.opening_flushed);
        let (may_lack, fits) = match call.step {
            Step::Asked | Step::Refused | Step::Left | Step::Held => (true, false),
            Step::Opening => (true, charge.is_some_and(|it| call.marks.contains(&it))),
            Step::Opened => (forgiven, charge.is_some_and(|it| call.marks.contains(&it))),
            Step::Settling { charge: asked } => {
                (forgiven, charge.is_some_and(|it| it == asked || call.marks.contains(&it)))
            }
            Step::Settled { charge: asked, paid: answered } => {
                let exact = charge == Some(asked) && paid == Some(answered);
                (forgiven, exact || (cut && charge.is_some_and(|it| call.marks.contains(&it))))
            }
            // Its release may not have reached the disk: it is then taken for interrupted.
            Step::Released => (true, cut && charge.is_some_and(|it| call.marks.contains(&it))),
        };
        match record {
            None if may_lack => None,
            None => Some("and is not on the log".into()),
            Some(_) if fits => None,
            Some(record) => Some(format!(
                "and is on the log as {}/{} with {charge:?}, {paid:?} paid",
                record.lease, record.n
            )),
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        self.calls.values().filter(|call| matches!(call.step, Step::Settled { .. })).count() as u64
    }
}

fn books_over(books: &Books, budgets: &BTreeMap<KeyId, i64>) -> Option<(KeyId, i64)> {
    books.used.iter().find(|((key, _), used)| **used > budgets[key]).map(|((key, _), used)| (*key, *used))
}

impl Books {
    fn available(&self) -> i64 {
        self.credits_in - self.leased - self.spent
    }

    fn of(&mut self, scope: &Scope) -> Option<&mut i64> {
        match scope {
            Scope::Account => None,
            Scope::Key { key, period } => Some(self.used.entry((*key, period.clone())).or_default()),
        }
    }

    fn free(&mut self, more: i64, now: Micros) {
        self.free += more;
        self.remember(now);
    }

    fn remember(&mut self, now: Micros) {
        self.history.push((now, self.available(), self.free));
    }

    /// The least that was available, and free, since then.
    fn least(&self, since: Micros) -> (i64, i64) {
        // It began with nothing.
        let Some(first) = self.history.partition_point(|(at, ..)| *at <= since).checked_sub(1) else {
            return (0, 0);
        };
        let since = &self.history[first..];
        let least = |of: fn(&(Micros, i64, i64)) -> i64| since.iter().map(of).min().unwrap_or(0);
        (least(|it| it.1), least(|it| it.2))
    }
}

impl Lease {
    /// How many records are there without a gap, and what they sum up to.
    fn watermark(&self) -> (u64, i64) {
        // Records come in order but after a restart: look from the end.
        let all = self.records.len() as u64;
        if let Some((last, record)) = self.records.last_key_value()
            && *last == all
        {
            return (all, record.spent.nano());
        }
        let mut mark = (0, 0);
        for (n, record) in &self.records {
            if *n != mark.0 + 1 {
                break;
            }
            mark = (*n, record.spent.nano());
        }
        mark
    }
}
