//! The book of one entry: its lease, and those it had before, while calls still use them. What is held, spent and left, in
//! memory and without waiting.
//!
//! May not touch: the network. Time arrives as an argument.
//! Claims: held + spent never exceeds the lease's credits; `n` counts 1, 2, 3… and `spent` is cumulative, both fixed
//! under the lock that ends the hold; a lease whose life has run out, by the monotonic or the wall clock, admits nothing;
//! a lease is forgotten only when no call uses it, all of its records are acknowledged and the log has closed it.

#[cfg(test)]
mod tests;

use super::{HoldError, ambient};
use domain::account::event::Scope;
use domain::{AccountId, Credits, EpochId, LeaseId};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// One account (or one key with a budget) on this node.
pub(super) struct Entry {
    pub(super) account: AccountId,
    pub(super) scope: Scope,
    book: Mutex<Book>,
    /// Held by whoever talks to the log about this entry's lease.
    pub(super) slow: tokio::sync::Mutex<()>,
    /// Told when credits may have come free here: a call ended, or the lease grew.
    pub(super) freed: tokio::sync::Notify,
}

/// What the entry's lock protects.
pub(super) struct Book {
    pub(super) open: Option<OpenLease>,
    /// Leases that admit nothing any more; kept until their calls have ended and the log has their records.
    former: Vec<Former>,
    /// The entry is out of the map: start over with a new one.
    pub(super) retired: bool,
    /// The id that the next grant will have. It changes only once the log has answered, so that a grant whose answer was
    /// lost is asked for again, not doubled.
    next: LeaseId,
    /// A grant of that id was asked for, and the answer is still out.
    asked: bool,
    /// The outbox knows that id.
    noted: bool,
    /// The worst cases of those who wait for credits.
    waiting: Credits,
    spending: Spending,
    last_used: Instant,
    /// Until then credits are scarce: one call's worth is asked for at a time, and what no call needs is given back.
    tight_until: Option<Instant>,
    /// Somebody is on the way to give the slack back.
    giving: bool,
    /// The last refusal after all nodes were asked.
    verdict: Option<Verdict>,
}

/// A refusal that holds for whoever asked before it and needs no less.
struct Verdict {
    at: Instant,
    need: Credits,
    error: HoldError,
}

/// A lease that admits nothing any more.
struct Former {
    lease: OpenLease,
    end: LeaseEnd,
}

/// How a lease came to admit nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseEnd {
    /// Its epoch is sealed. It stands open on the log: its calls are charged to it, and then it is closed.
    Sealed,
    /// The log has closed it, or never knew it: what its calls cost is the operator's loss.
    Lost,
    /// Closed by us.
    Closed,
}

pub(super) struct OpenLease {
    id: LeaseId,
    epoch: EpochId,
    credits: Credits,
    held: Credits,
    spent: Credits,
    n: u64,
    /// Records that the log has not acknowledged.
    unacknowledged: u64,
    pub(super) calls: u64,
    lapses: Deadline,
    renew_at: Instant,
    /// Being given back: no new hold, whatever the answer to the close was.
    closing: bool,
    /// The account had less to give than was asked for last: nothing is asked ahead of the calls until the next renewal.
    dry: bool,
}

/// When something was asked, by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    monotonic: Instant,
    wall: SystemTime,
}

impl Asked {
    pub(super) fn now() -> Self {
        Self { monotonic: Instant::now(), wall: ambient::wall() }
    }
}

/// The end of a life by two clocks: the monotonic one stands still while a machine is suspended, the wall clock may be set.
/// Whichever says "over" is believed.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    monotonic: Instant,
    wall: SystemTime,
}

impl Deadline {
    pub(super) fn after(asked: Asked, life: Duration) -> Self {
        Self { monotonic: asked.monotonic + life, wall: asked.wall + life }
    }

    pub(super) fn passed(&self, now: Instant) -> bool {
        now >= self.monotonic || ambient::wall() >= self.wall
    }
}

/// What was spent in the current and the previous window: how much a lease should hold.
#[derive(Clone, Copy)]
struct Spending {
    since: Instant,
    current: Credits,
    previous: Credits,
}

/// A lease is sized for what was spent in about this time.
const WINDOW: Duration = Duration::from_secs(15);

impl Spending {
    fn add(&mut self, credits: Credits, now: Instant) {
        self.roll(now);
        self.current = plus(self.current, credits);
    }

    fn recent(&mut self, now: Instant) -> Credits {
        self.roll(now);
        self.current.max(self.previous)
    }

    fn roll(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= WINDOW {
            self.previous = if age < WINDOW * 2 { self.current } else { Credits::ZERO };
            (self.current, self.since) = (Credits::ZERO, now);
        }
    }
}

/// What the entry must ask of the log before a call fits.
pub(super) enum Need {
    Grant,
    Extend { lease: LeaseId, at_least: Credits, wanted: Credits },
}

/// What a settled hold came to.
pub(super) struct Settlement {
    pub(super) n: u64,
    pub(super) spent: Credits,
    pub(super) paid: Credits,
}

/// What a lease needs from its keeper.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Care {
    Nothing,
    /// Renew its life and add this much.
    Renew {
        lease: LeaseId,
        wanted: Credits,
    },
    /// Give it back.
    Close,
    /// Close a lease of a sealed epoch that no call uses any more.
    CloseFormer,
    /// There is no lease, and nobody has asked for one for long.
    Forget,
}

/// The worst case of one who waits, for as long as it waits.
pub(super) struct Waiting<'a> {
    entry: &'a Entry,
    credits: Credits,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut book = self.entry.book();
        book.waiting = minus(book.waiting, self.credits);
    }
}

impl Entry {
    pub(super) fn new(account: AccountId, scope: Scope) -> Self {
        let now = Instant::now();
        let book = Book {
            open: None,
            former: Vec::new(),
            retired: false,
            next: new_lease_id(),
            asked: false,
            noted: false,
            waiting: Credits::ZERO,
            spending: Spending { since: now, current: Credits::ZERO, previous: Credits::ZERO },
            last_used: now,
            tight_until: None,
            giving: false,
            verdict: None,
        };
        let (slow, freed) = (tokio::sync::Mutex::new(()), tokio::sync::Notify::new());
        Self { account, scope, book: Mutex::new(book), slow, freed }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        super::lock(&self.book)
    }

    pub(super) fn wait(&self, credits: Credits) -> Waiting<'_> {
        let mut book = self.book();
        book.waiting = plus(book.waiting, credits);
        Waiting { entry: self, credits }
    }
}

impl Book {
    /// Reserves credits if the lease lives and they fit.
    pub(super) fn try_hold(&mut self, worst_case: Credits, now: Instant) -> Option<LeaseId> {
        let lease = self.open.as_mut().filter(|lease| !lease.closing && !lease.lapses.passed(now))?;
        if worst_case > lease.free() {
            return None;
        }
        lease.held = plus(lease.held, worst_case);
        lease.calls += 1;
        self.last_used = now;
        Some(lease.id)
    }

    pub(super) fn is_live(&self, id: LeaseId, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|lease| lease.id == id && !lease.lapses.passed(now))
    }

    /// Has it a lease that lives?
    pub(super) fn has_live_lease(&self, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|lease| !lease.lapses.passed(now))
    }

    /// Is this the lease that calls get?
    pub(super) fn is(&self, id: LeaseId) -> bool {
        self.open.as_ref().is_some_and(|lease| lease.id == id)
    }

    /// Has its lease run out?
    pub(super) fn has_lapsed(&self, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|lease| lease.lapses.passed(now))
    }

    pub(super) fn is_closing(&self) -> bool {
        self.open.as_ref().is_some_and(|lease| lease.closing)
    }

    /// What is neither held nor spent.
    pub(super) fn free(&self) -> Credits {
        self.open.as_ref().map_or(Credits::ZERO, OpenLease::free)
    }

    /// What calls in flight hold: it may come free.
    pub(super) fn held(&self) -> Credits {
        let leases = self.open.iter().chain(self.former.iter().map(|former| &former.lease));
        leases.fold(Credits::ZERO, |sum, lease| plus(sum, lease.held))
    }

    /// Credits are scarce for this long.
    pub(super) fn tighten(&mut self, until: Instant) {
        self.tight_until = Some(until);
    }

    fn is_tight(&self, now: Instant) -> bool {
        self.tight_until.is_some_and(|until| now < until)
    }

    /// Whether somebody should give the slack back, now that a call has ended. Says so once until [`Self::gave`].
    pub(super) fn should_give(&mut self, now: Instant) -> bool {
        let slack = self.open.as_ref().is_some_and(|lease| !lease.closing && lease.free().is_positive());
        let should = !self.giving && slack && self.waiting == Credits::ZERO && self.is_tight(now);
        self.giving |= should;
        should
    }

    pub(super) fn gave(&mut self) {
        self.giving = false;
    }

    /// A refusal given after `since` to somebody who needed no more than this.
    pub(super) fn verdict(&self, need: Credits, since: Instant) -> Option<HoldError> {
        let verdict = self.verdict.as_ref().filter(|verdict| verdict.at >= since && need >= verdict.need)?;
        Some(verdict.error.for_need(need))
    }

    pub(super) fn refuse(&mut self, need: Credits, error: HoldError, now: Instant) {
        self.verdict = Some(Verdict { at: now, need, error });
    }

    pub(super) fn need(&mut self, worst_case: Credits) -> Need {
        let target = self.target(worst_case, Instant::now());
        match &self.open {
            None => Need::Grant,
            Some(lease) => Need::Extend {
                lease: lease.id,
                at_least: minus(worst_case, lease.free()),
                wanted: minus(target, lease.free()),
            },
        }
    }

    /// The id that the next grant will have, and whether the outbox knows it.
    pub(super) fn next_id(&self) -> (LeaseId, bool) {
        (self.next, self.noted)
    }

    /// The outbox knows the next grant's id.
    pub(super) fn noted(&mut self, id: LeaseId) {
        self.noted |= self.next == id;
    }

    /// The next grant's size. The grant counts as asked for from now on.
    pub(super) fn next_grant(&mut self, worst_case: Credits) -> Credits {
        self.asked = true;
        self.target(worst_case, Instant::now())
    }

    /// The log has answered the grant with a no. The id serves the next try.
    pub(super) fn not_granted(&mut self, id: LeaseId) {
        self.asked &= self.next != id;
    }

    /// Everyone who waits, and at least what was spent of late; one call's worth while credits are scarce.
    fn target(&mut self, worst_case: Credits, now: Instant) -> Credits {
        match self.is_tight(now) {
            true => worst_case,
            false => self.waiting.max(self.spending.recent(now)),
        }
    }

    /// The log has granted the lease; `false`: its epoch has ended meanwhile, and it will be closed unused.
    pub(super) fn granted(
        &mut self,
        id: LeaseId,
        epoch: EpochId,
        credits: Credits,
        life: Duration,
        asked: Asked,
    ) -> bool {
        if self.next != id {
            return false;
        }
        self.renew_id();
        self.open = Some(OpenLease::new(id, epoch, credits, life, asked));
        true
    }

    fn renew_id(&mut self) {
        (self.next, self.asked, self.noted) = (new_lease_id(), false, false);
    }

    /// The log has another size and a new life for the lease. `wanted` is how much more was asked for.
    pub(super) fn amended(
        &mut self,
        id: LeaseId,
        credits: Credits,
        wanted: Credits,
        life: Duration,
        asked: Asked,
    ) {
        if let Some(lease) = self.payer(id) {
            lease.dry = minus(credits, lease.credits) < wanted;
            lease.credits = credits;
            lease.lapses = Deadline::after(asked, life);
            lease.renew_at = renewal(asked, life);
        }
    }

    /// Shrinks a lease to what is held and spent, ahead of the log: answers with its new size, if there was a rest to give.
    ///
    /// Measured and shrunk in one breath: a hold that came between the two would be out of cover.
    pub(super) fn shrink_to_use(&mut self) -> Option<(LeaseId, Credits)> {
        let lease = self.open.as_mut().filter(|lease| !lease.closing && lease.free().is_positive())?;
        lease.credits = minus(lease.credits, lease.free());
        Some((lease.id, lease.credits))
    }

    /// The lease of that id, if the log charges it.
    fn payer(&mut self, id: LeaseId) -> Option<&mut OpenLease> {
        let sealed = self.former.iter_mut().filter(|former| former.end == LeaseEnd::Sealed);
        self.open.iter_mut().chain(sealed.map(|former| &mut former.lease)).find(|lease| lease.id == id)
    }

    /// The lease of that id, however it stands.
    fn any(&mut self, id: LeaseId) -> Option<&mut OpenLease> {
        let former = self.former.iter_mut().map(|former| &mut former.lease);
        self.open.iter_mut().chain(former).find(|lease| lease.id == id)
    }

    /// Grows a hold towards a charge, out of the lease's rest; answers with what is still missing. A lease that the log has
    /// ended pays nothing, so nothing is missing there.
    pub(super) fn grow(&mut self, id: LeaseId, held: &mut Credits, charge: Credits) -> Credits {
        let Some(lease) = self.payer(id) else { return Credits::ZERO };
        let more = minus(charge, *held).min(lease.free());
        lease.held = plus(lease.held, more);
        *held = plus(*held, more);
        minus(charge, *held)
    }

    /// Ends a hold with a charge. Pays what the hold and the lease's rest can pay.
    pub(super) fn settle(&mut self, id: LeaseId, held: Credits, charge: Credits, now: Instant) -> Settlement {
        self.last_used = now;
        // A lease that the log has ended is out of our hands: its record counts on, but the charge is the operator's loss.
        let payable = if self.payer(id).is_some() { charge } else { Credits::ZERO };
        let Some(lease) = self.any(id) else {
            return Settlement { n: 0, spent: Credits::ZERO, paid: Credits::ZERO };
        };
        lease.end_call(held);
        let paid = payable.min(lease.free()).max(Credits::ZERO);
        lease.spent = plus(lease.spent, paid);
        lease.n += 1;
        lease.unacknowledged += 1;
        let settlement = Settlement { n: lease.n, spent: lease.spent, paid };
        self.spending.add(paid, now);
        settlement
    }

    /// Ends a hold with nothing.
    pub(super) fn release(&mut self, id: LeaseId, held: Credits) {
        if let Some(lease) = self.any(id) {
            lease.end_call(held);
        }
    }

    /// The log has acknowledged a record of this lease.
    pub(super) fn acknowledged(&mut self, id: LeaseId) {
        if let Some(lease) = self.any(id) {
            lease.unacknowledged = lease.unacknowledged.saturating_sub(1);
        }
    }

    /// The lease admits nothing any more. Without a lease: the grant whose answer is out.
    pub(super) fn end_lease(&mut self, end: LeaseEnd) {
        match self.open.take() {
            Some(lease) => self.former.push(Former { lease, end }),
            None if self.asked => self.end_grant(end),
            None => {}
        }
    }

    /// The epoch is over: its lease admits nothing any more, and a grant that is on its way must not be used.
    pub(super) fn end_epoch(&mut self, epoch: EpochId) {
        if let Some(lease) = self.open.take_if(|lease| lease.epoch == epoch) {
            self.former.push(Former { lease, end: LeaseEnd::Sealed });
        }
        if self.asked {
            self.end_grant(LeaseEnd::Sealed);
        }
    }

    /// A grant whose answer is out is given up: it may stand on the log, unused.
    fn end_grant(&mut self, end: LeaseEnd) {
        let asked = Asked::now();
        let nil = EpochId::from_uuid(uuid::Uuid::nil());
        let lease = OpenLease::new(self.next, nil, Credits::ZERO, Duration::ZERO, asked);
        self.former.push(Former { lease, end });
        self.renew_id();
    }

    /// A former lease that stands open on the log, is used by no call and has all of its records there: its id, what was
    /// spent, how many records it has.
    pub(super) fn closable(&self) -> Option<(LeaseId, Credits, u64)> {
        let done = |it: &&Former| it.end == LeaseEnd::Sealed && it.lease.is_done();
        self.former.iter().find(done).map(|it| (it.lease.id, it.lease.spent, it.lease.n))
    }

    /// The log has closed a former lease.
    pub(super) fn closed(&mut self, id: LeaseId, end: LeaseEnd) {
        if let Some(former) = self.former.iter_mut().find(|former| former.lease.id == id) {
            former.end = end;
        }
    }

    /// The next grant's id, if the outbox knows it and nothing came of it.
    pub(super) fn noted_in_vain(&self) -> Option<LeaseId> {
        (self.noted && !self.asked).then_some(self.next)
    }

    /// Takes out a former lease that nobody needs any more.
    pub(super) fn finished(&mut self) -> Option<LeaseId> {
        let is_over = |it: &Former| it.end != LeaseEnd::Sealed && it.lease.is_done();
        let index = self.former.iter().position(is_over)?;
        Some(self.former.swap_remove(index).lease.id)
    }

    /// Calls that hold credits now, also of former leases.
    pub(super) fn calls(&self) -> u64 {
        let former = self.former.iter().map(|former| &former.lease);
        self.open.iter().chain(former).map(|lease| lease.calls).sum()
    }

    /// Stops new holds if nothing stands in the way of giving the lease back. A node that is stopping lets nobody wait.
    pub(super) fn begin_close_if_unused(&mut self, stopping: bool) -> bool {
        let unwanted = stopping || self.waiting == Credits::ZERO;
        if self.open.is_none() {
            return unwanted && self.asked;
        }
        match self.open.as_mut().filter(|lease| unwanted && lease.is_done()) {
            Some(lease) => {
                lease.closing = true;
                true
            }
            None => false,
        }
    }

    /// The lease that is being given back: its id, what was spent, how many records it has. A grant whose answer is out may
    /// be on the log: it is given back unused.
    pub(super) fn closing(&self) -> Option<(LeaseId, Credits, u64)> {
        match &self.open {
            Some(lease) => lease.closing.then_some((lease.id, lease.spent, lease.n)),
            None => self.asked.then_some((self.next, Credits::ZERO, 0)),
        }
    }

    /// What should be done about this entry now. Where it may not ask for more credits by itself, a renewal is all it gets.
    pub(super) fn care(&mut self, idle_close: Duration, may_ask: bool, now: Instant) -> Care {
        if self.closable().is_some() {
            return Care::CloseFormer;
        }
        let ask = may_ask && !self.is_tight(now);
        let target = if ask { self.target(Credits::ZERO, now) } else { Credits::ZERO };
        let idle =
            now.saturating_duration_since(self.last_used) >= idle_close && self.waiting == Credits::ZERO;
        match &self.open {
            None if idle && self.asked => Care::Close,
            None if idle && self.former.is_empty() => Care::Forget,
            None => Care::Nothing,
            Some(lease) if lease.closing => Care::Close,
            Some(lease) if idle && lease.is_done() => Care::Close,
            Some(lease) => {
                // Ahead of the calls: at half its life, or when half its credits are gone.
                let wanted = minus(target, lease.free());
                let half_gone =
                    lease.free().nano() < lease.credits.nano() / 2 && wanted.is_positive() && !lease.dry;
                match now >= lease.renew_at || half_gone {
                    true => Care::Renew { lease: lease.id, wanted },
                    false => Care::Nothing,
                }
            }
        }
    }
}

impl OpenLease {
    fn new(id: LeaseId, epoch: EpochId, credits: Credits, life: Duration, asked: Asked) -> Self {
        Self {
            id,
            epoch,
            credits,
            held: Credits::ZERO,
            spent: Credits::ZERO,
            n: 0,
            unacknowledged: 0,
            calls: 0,
            lapses: Deadline::after(asked, life),
            renew_at: renewal(asked, life),
            closing: false,
            dry: false,
        }
    }

    fn end_call(&mut self, held: Credits) {
        self.held = minus(self.held, held);
        self.calls = self.calls.saturating_sub(1);
    }

    pub(super) fn id(&self) -> LeaseId {
        self.id
    }

    fn free(&self) -> Credits {
        minus(minus(self.credits, self.held), self.spent)
    }

    /// No call uses it, and the log has all of its records.
    fn is_done(&self) -> bool {
        self.calls == 0 && self.unacknowledged == 0
    }
}

/// Half the life, give or take a fifth, so that leases granted together are not renewed together.
fn renewal(asked: Asked, life: Duration) -> Instant {
    asked.monotonic + ambient::jitter(life * 2 / 5..life * 3 / 5)
}

fn new_lease_id() -> LeaseId {
    LeaseId::from_uuid(ambient::new_id())
}

/// Sums inside one lease fit: each is at most what the account holds, which `decide` keeps far below the limit.
fn plus(a: Credits, b: Credits) -> Credits {
    a.checked_add(b).unwrap_or(Credits::from_nano(i64::MAX))
}

/// Never below zero.
fn minus(a: Credits, b: Credits) -> Credits {
    a.checked_sub(b).unwrap_or(Credits::ZERO).max(Credits::ZERO)
}
