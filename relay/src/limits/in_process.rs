//! The limits of one process.
//!
//! Claims: all subjects of a call admit it or none does, and nobody sees a state between; no two calls wait for one
//! another's locks in a circle; subjects that have nothing in use are forgotten, so there are at most about twice as
//! many as are in use (and some).

use super::bucket::{Bucket, SOON_MS};
use super::{Limit, Refusal, Shown, Subject, What};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 16;
/// A shard with fewer subjects is not swept.
const FEW: usize = 64;

/// The subjects of this process.
pub(super) struct InProcess {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    subjects: HashMap<Subject, Arc<Mutex<State>>>,
    /// With how many subjects the idle ones are looked for next.
    sweep_at: usize,
}

/// What a subject has in use.
#[derive(Debug, Default)]
struct State {
    requests: Bucket,
    tokens: Bucket,
    /// Tokens that calls in flight may still use.
    held: u64,
    /// Calls in flight.
    calls: u64,
    /// When both buckets will be empty.
    empty_at_ms: u64,
}

/// What a call in flight has of a subject.
pub(super) struct Share {
    state: Arc<Mutex<State>>,
    is_call: bool,
    /// The tokens held, and the limit by which they drain.
    tokens: Option<(u64, u64)>,
}

impl InProcess {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: Default::default() }
    }

    /// Admits a call, or says whose limit forbids it. Each subject is there once.
    pub(super) fn admit(
        &self,
        wanted: &[(&Subject, Limit)],
        tokens: u64,
        now_ms: u64,
    ) -> Result<(Vec<Share>, Shown), Refusal> {
        let states: Vec<_> = wanted.iter().map(|(subject, _)| self.state(subject, now_ms)).collect();
        // Locked in one order by all calls, whatever order they name their subjects in.
        let mut order: Vec<usize> = (0..states.len()).collect();
        order.sort_unstable_by_key(|&index| Arc::as_ptr(&states[index]));
        let mut locked: Vec<(usize, MutexGuard<'_, State>)> =
            order.into_iter().map(|index| (index, lock(&states[index]))).collect();
        locked.sort_unstable_by_key(|(index, _)| *index);

        for ((_, state), (index, (subject, limit))) in locked.iter_mut().zip(wanted.iter().enumerate()) {
            if let Err((what, wait_ms)) = state.room(limit, tokens, now_ms) {
                let mut shown = Shown::default();
                shown.add(subject.kind, state.standings(limit));
                return Err(Refusal { index, what, wait_ms, shown });
            }
        }
        let mut shown = Shown::default();
        let mut taken = Vec::with_capacity(wanted.len());
        for ((_, state), (subject, limit)) in locked.iter_mut().zip(wanted) {
            taken.push(state.take(limit, tokens, now_ms));
            shown.add(subject.kind, state.standings(limit));
        }
        drop(locked);
        let shares = states.into_iter().zip(taken);
        let shares = shares.map(|(state, (is_call, tokens))| Share { state, is_call, tokens });
        Ok((shares.collect(), shown))
    }

    /// How many subjects are remembered.
    pub(super) fn subjects(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).subjects.len()).sum()
    }

    fn state(&self, subject: &Subject, now_ms: u64) -> Arc<Mutex<State>> {
        // The remainder is below the number of shards.
        let index = self.hasher.hash_one(subject) as usize % SHARDS;
        let mut shard = lock(&self.shards[index]);
        if let Some(state) = shard.subjects.get(subject) {
            return Arc::clone(state);
        }
        if shard.subjects.len() >= shard.sweep_at.max(FEW) {
            // One that is held by a call (in flight, or being admitted right now) is in use.
            shard.subjects.retain(|_, state| Arc::strong_count(state) > 1 || !lock(state).is_idle(now_ms));
            shard.sweep_at = shard.subjects.len() * 2;
        }
        Arc::clone(shard.subjects.entry(subject.clone()).or_default())
    }
}

impl State {
    fn is_idle(&self, now_ms: u64) -> bool {
        self.calls == 0 && self.held == 0 && self.empty_at_ms <= now_ms
    }

    /// Is there room for one more call of so many tokens? If not, in what, and for how many milliseconds.
    fn room(&mut self, limit: &Limit, tokens: u64, now_ms: u64) -> Result<(), (What, u64)> {
        let (requests, tokens_most) = (limit.requests(), limit.tokens());
        // Both before either refuses: where the subject stands is told with the refusal.
        if let Some(most) = requests {
            self.requests.drain(most, now_ms);
        }
        if let Some(most) = tokens_most {
            self.tokens.drain(most, now_ms);
        }
        if let Some(most) = requests {
            self.requests.room(0, 1, most).map_err(|wait| (What::Requests, wait))?;
        }
        if let Some(most) = tokens_most {
            self.tokens.room(self.held, tokens, most).map_err(|wait| (What::Tokens, wait))?;
        }
        match limit.concurrency {
            Some(most) if self.calls >= most => Err((What::Concurrency, SOON_MS)),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes what there is room for.
    fn take(&mut self, limit: &Limit, tokens: u64, now_ms: u64) -> (bool, Option<(u64, u64)>) {
        if let Some(most) = limit.requests() {
            self.requests.add(1);
            self.empty_at_ms = self.empty_at_ms.max(now_ms + self.requests.empty_in_ms(most));
        }
        let tokens = limit.tokens().map(|most| (tokens.min(most), most));
        self.held += tokens.map_or(0, |(held, _)| held);
        self.calls += u64::from(limit.concurrency.is_some());
        (limit.concurrency.is_some(), tokens)
    }

    fn standings(&self, limit: &Limit) -> Shown {
        Shown {
            requests: limit.requests().map(|most| self.requests.standing(0, most)),
            tokens: limit.tokens().map(|most| self.tokens.standing(self.held, most)),
        }
    }
}

impl Share {
    /// The call has ended; `used`: the tokens it came to, and when.
    pub(super) fn end(self, used: Option<(u64, u64)>) {
        let mut state = lock(&self.state);
        state.calls -= u64::from(self.is_call);
        let Some((held, limit)) = self.tokens else { return };
        state.held -= held;
        let Some((used, now_ms)) = used else { return };
        state.tokens.drain(limit, now_ms);
        state.tokens.add(used);
        state.empty_at_ms = state.empty_at_ms.max(now_ms + state.tokens.empty_in_ms(limit));
    }
}

/// No code that holds one of these locks panics between two changes that belong together.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
