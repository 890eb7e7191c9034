//! The book of one lease: what is held, spent and left, in memory and without waiting.
//!
//! May not touch: the network. Time arrives as an argument.
//! Claims: held + spent never exceeds the lease's credits; `n` counts 1, 2, 3… and `spent` is cumulative, both fixed
//! under the lock that ends the hold; a lease whose life has run out, by the monotonic or the wall clock, admits nothing.

#[cfg(test)]
mod tests;

use domain::account::event::Scope;
use domain::{AccountId, Credits, LeaseId};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

/// One account (or one key with a budget) on this node.
pub(super) struct Entry {
    pub(super) account: AccountId,
    pub(super) scope: Scope,
    book: Mutex<Book>,
    /// Held by whoever talks to the log about this entry's lease.
    pub(super) slow: tokio::sync::Mutex<()>,
}

/// What the entry's lock protects.
pub(super) struct Book {
    pub(super) open: Option<OpenLease>,
    /// Leases that the log ended while calls used them; kept until those calls end.
    ended: Vec<OpenLease>,
    /// The entry is out of the map: start over with a new one.
    pub(super) retired: bool,
    /// The id that the next grant will have. It changes only once the log has answered, so that a grant whose answer was
    /// lost is asked for again, not doubled.
    next: LeaseId,
    /// A grant of that id was asked for, and the answer is still out.
    asked: bool,
    /// The worst cases of those who wait for credits.
    waiting: Credits,
    spending: Spending,
    last_used: Instant,
}

pub(super) struct OpenLease {
    id: LeaseId,
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
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }
}

/// The end of a life by two clocks: the monotonic one stands still while a machine is suspended, the wall clock may be set.
/// Whichever says "over" is believed.
#[derive(Clone, Copy)]
struct Deadline {
    monotonic: Instant,
    wall: SystemTime,
}

impl Deadline {
    fn after(asked: Asked, life: Duration) -> Self {
        Self { monotonic: asked.monotonic + life, wall: asked.wall + life }
    }

    fn passed(&self, now: Instant) -> bool {
        now >= self.monotonic || SystemTime::now() >= self.wall
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
            ended: Vec::new(),
            retired: false,
            next: new_lease_id(),
            asked: false,
            waiting: Credits::ZERO,
            spending: Spending { since: now, current: Credits::ZERO, previous: Credits::ZERO },
            last_used: now,
        };
        Self { account, scope, book: Mutex::new(book), slow: tokio::sync::Mutex::new(()) }
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

    pub(super) fn is_closing(&self) -> bool {
        self.open.as_ref().is_some_and(|lease| lease.closing)
    }

    /// What is neither held nor spent.
    pub(super) fn free(&self) -> Credits {
        self.open.as_ref().map_or(Credits::ZERO, OpenLease::free)
    }

    pub(super) fn need(&mut self, worst_case: Credits) -> Need {
        let target = self.target(Instant::now());
        match &self.open {
            None => Need::Grant,
            Some(lease) => Need::Extend {
                lease: lease.id,
                at_least: minus(worst_case, lease.free()),
                wanted: minus(target, lease.free()),
            },
        }
    }

    /// The next grant's id and the size it should have. The grant counts as asked for from now on.
    pub(super) fn next_grant(&mut self) -> (LeaseId, Credits) {
        self.asked = true;
        (self.next, self.target(Instant::now()))
    }

    /// The log has answered the grant with a no.
    pub(super) fn not_granted(&mut self) {
        self.asked = false;
    }

    /// Everyone who waits, and at least what was spent of late.
    fn target(&mut self, now: Instant) -> Credits {
        self.waiting.max(self.spending.recent(now))
    }

    pub(super) fn granted(&mut self, id: LeaseId, credits: Credits, life: Duration, asked: Asked) {
        (self.next, self.asked) = (new_lease_id(), false);
        self.open = Some(OpenLease {
            id,
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
        });
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
        if let Some(lease) = self.open.as_mut().filter(|lease| lease.id == id) {
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

    /// Grows a hold towards a charge, out of the lease's rest; answers with what is still missing. A lease that the log has
    /// ended pays nothing, so nothing is missing there.
    pub(super) fn grow(&mut self, id: LeaseId, held: &mut Credits, charge: Credits) -> Credits {
        let Some(lease) = self.open.as_mut().filter(|lease| lease.id == id) else { return Credits::ZERO };
        let more = minus(charge, *held).min(lease.free());
        lease.held = plus(lease.held, more);
        *held = plus(*held, more);
        minus(charge, *held)
    }

    /// Ends a hold with a charge. Pays what the hold and the lease's rest can pay.
    pub(super) fn settle(&mut self, id: LeaseId, held: Credits, charge: Credits, now: Instant) -> Settlement {
        self.last_used = now;
        let open = self.open.as_mut().filter(|lease| lease.id == id);
        // A lease that the log has ended is out of our hands: its record counts on, but the charge is the operator's loss.
        let (lease, payable) = match (open, self.ended.iter_mut().find(|lease| lease.id == id)) {
            (Some(lease), _) => (lease, charge),
            (None, Some(lease)) => (lease, Credits::ZERO),
            (None, None) => return Settlement { n: 0, spent: Credits::ZERO, paid: Credits::ZERO },
        };
        lease.end_call(held);
        let paid = payable.min(lease.free()).max(Credits::ZERO);
        lease.spent = plus(lease.spent, paid);
        lease.n += 1;
        lease.unacknowledged += 1;
        let settlement = Settlement { n: lease.n, spent: lease.spent, paid };
        self.spending.add(paid, now);
        self.ended.retain(|lease| lease.calls > 0);
        settlement
    }

    /// Ends a hold with nothing.
    pub(super) fn release(&mut self, id: LeaseId, held: Credits) {
        if let Some(lease) = self.open.iter_mut().chain(&mut self.ended).find(|lease| lease.id == id) {
            lease.end_call(held);
        }
        self.ended.retain(|lease| lease.calls > 0);
    }

    /// The log has acknowledged a record of this lease.
    pub(super) fn acknowledged(&mut self, id: LeaseId) {
        if let Some(lease) = self.open.as_mut().filter(|lease| lease.id == id) {
            lease.unacknowledged = lease.unacknowledged.saturating_sub(1);
        }
    }

    /// The log has ended the lease.
    pub(super) fn forget_lease(&mut self) {
        self.ended.extend(self.open.take().filter(|lease| lease.calls > 0));
        (self.next, self.asked) = (new_lease_id(), false);
    }

    /// Calls that hold credits now, also of leases that the log has ended.
    pub(super) fn calls(&self) -> u64 {
        self.open.iter().chain(&self.ended).map(|lease| lease.calls).sum()
    }

    /// Stops new holds if nothing stands in the way of giving the lease back. A node that is stopping lets nobody wait.
    pub(super) fn begin_close_if_unused(&mut self, stopping: bool) -> bool {
        let unwanted = stopping || self.waiting == Credits::ZERO;
        if self.open.is_none() {
            return unwanted && self.asked;
        }
        match self.open.as_mut().filter(|lease| unwanted && lease.calls == 0 && lease.unacknowledged == 0) {
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
        let target = if may_ask { self.target(now) } else { Credits::ZERO };
        let idle =
            now.saturating_duration_since(self.last_used) >= idle_close && self.waiting == Credits::ZERO;
        match &self.open {
            None if idle && self.asked => Care::Close,
            None if idle && self.ended.is_empty() => Care::Forget,
            None => Care::Nothing,
            Some(lease) if lease.closing => Care::Close,
            Some(lease) if idle && lease.calls == 0 && lease.unacknowledged == 0 => Care::Close,
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
    fn end_call(&mut self, held: Credits) {
        self.held = minus(self.held, held);
        self.calls = self.calls.saturating_sub(1);
    }

    fn free(&self) -> Credits {
        minus(minus(self.credits, self.held), self.spent)
    }
}

/// Half the life, give or take a fifth, so that leases granted together are not renewed together.
fn renewal(asked: Asked, life: Duration) -> Instant {
    asked.monotonic + life.mul_f32(rand::random_range(0.4..0.6))
}

fn new_lease_id() -> LeaseId {
    LeaseId::from_uuid(uuid::Uuid::now_v7())
}

/// Sums inside one lease fit: each is at most what the account holds, which `decide` keeps far below the limit.
fn plus(a: Credits, b: Credits) -> Credits {
    a.checked_add(b).unwrap_or(Credits::from_nano(i64::MAX))
}

/// Never below zero.
fn minus(a: Credits, b: Credits) -> Credits {
    a.checked_sub(b).unwrap_or(Credits::ZERO).max(Credits::ZERO)
}
