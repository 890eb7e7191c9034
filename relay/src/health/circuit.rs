//! One circuit breaker.

use super::State;
use domain::AccountId;
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row that open a circuit.
const FAILURES_IN_A_ROW: u32 = 5;
/// The share of failures among recent tries that opens it, once there are enough of them, in millionths.
const TOO_MANY: i64 = 500_000;
/// All of them, in millionths.
const ALL: i64 = 1_000_000;
/// How many tries are enough.
const ENOUGH: u32 = 20;
/// For how long it opens at first, when tries fail; doubled with every trial that fails, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The same for a key that is refused: only an operator can mend it, so there is no hurry.
const FIRST_KEY_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_KEY_PAUSE: Duration = Duration::from_secs(3600);
/// So many accounts must meet a refusal that may be about the key or about their calls, and nobody an answer in between,
/// before it counts as one of the key: one caller alone, whatever it sends, never takes a key away from the others.
const DOUBTING_ACCOUNTS: usize = 3;
/// After this long a trial that never reported counts as failed: its call's task died.
const TRIAL_LIMIT: Duration = Duration::from_secs(600);
/// What was measured longer ago than this says nothing about now.
const LATENCY_HOLDS: Duration = Duration::from_secs(60);
/// The newest try moves a smoothed figure by one part in so many.
const SMOOTHING: i64 = 10;

/// What a busy provider's circuit names as its last failure.
pub(super) const BUSY: &str = "busy";
/// What it names where its key was refused.
const KEY_REFUSED: &str = "key_refused";

/// How a try went, as far as health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, if only to refuse the request. With the time to its first byte, if that tells how quick it is: a whole
    /// answer takes as long as its text is long.
    Answered { first_byte: Option<Duration> },
    /// It did not accept our key.
    KeyRefused,
    /// It forbade the call of this account, which may be about our key or about the call.
    KeyDoubted { account: AccountId },
    /// It is busy for so long.
    Busy { pause: Duration },
    /// It failed; a short code says how.
    Failed(&'static str),
    /// The try says nothing about it.
    Abandoned,
}

/// What a call finds at a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// Open to this one call.
    Trial,
    Shut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    /// No call until then.
    Open {
        until: Instant,
    },
    /// One call is on trial since then.
    Trial {
        since: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Circuit {
    phase: Phase,
    in_a_row: u32,
    /// Of this length was the last pause; the next one is twice as long.
    pause: Option<Duration>,
    tries: u32,
    /// In millionths.
    failures: i64,
    latency_us: Option<i64>,
    measured: Option<Instant>,
    last_failure: Option<&'static str>,
    /// The accounts whose calls were forbidden since the last answer; fewer than [`DOUBTING_ACCOUNTS`].
    doubting: Vec<AccountId>,
}

impl Default for Circuit {
    fn default() -> Self {
        Self {
            phase: Phase::Closed,
            in_a_row: 0,
            pause: None,
            tries: 0,
            failures: 0,
            latency_us: None,
            measured: None,
            last_failure: None,
            doubting: Vec::new(),
        }
    }
}

impl Circuit {
    /// How long calls must wait; `None`: they need not.
    pub(super) fn waits(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { until } => (now < until).then(|| until - now),
            Phase::Trial { since } => (now < since + TRIAL_LIMIT).then_some(FIRST_PAUSE),
        }
    }

    /// A call goes in.
    pub(super) fn enter(&mut self, now: Instant) -> Door {
        match self.phase {
            Phase::Closed => Door::Open,
            Phase::Open { .. } | Phase::Trial { .. } if self.waits(now).is_none() => {
                self.phase = Phase::Trial { since: now };
                Door::Trial
            }
            Phase::Open { .. } | Phase::Trial { .. } => Door::Shut,
        }
    }

    pub(super) fn report(&mut self, verdict: Verdict, now: Instant) {
        match verdict {
            Verdict::Answered { first_byte } => {
                self.count(0);
                if let Some(latency) = first_byte {
                    let us = i64::try_from(latency.as_micros()).unwrap_or(i64::MAX);
                    self.latency_us = Some(self.latency_us.map_or(us, |old| old + (us - old) / SMOOTHING));
                    self.measured = Some(now);
                }
                self.in_a_row = 0;
                self.doubting.clear();
                // A call that began before the circuit opened says nothing new.
                if !matches!(self.phase, Phase::Open { .. }) {
                    self.phase = Phase::Closed;
                    self.pause = None;
                }
            }
            Verdict::Failed(code) => {
                self.count(ALL);
                self.last_failure = Some(code);
                self.in_a_row = self.in_a_row.saturating_add(1);
                let is_bad =
                    self.in_a_row >= FAILURES_IN_A_ROW || (self.tries >= ENOUGH && self.failures >= TOO_MANY);
                if is_bad || matches!(self.phase, Phase::Trial { .. }) {
                    self.open(FIRST_PAUSE, LONGEST_PAUSE, now);
                }
            }
            Verdict::KeyRefused => {
                self.count(ALL);
                self.last_failure = Some(KEY_REFUSED);
                self.open(FIRST_KEY_PAUSE, LONGEST_KEY_PAUSE, now);
            }
            Verdict::KeyDoubted { account } => {
                self.count(ALL);
                if !self.doubting.contains(&account) {
                    self.doubting.push(account);
                }
                if self.doubting.len() >= DOUBTING_ACCOUNTS {
                    self.doubting.clear();
                    self.last_failure = Some(KEY_REFUSED);
                    self.open(FIRST_KEY_PAUSE, LONGEST_KEY_PAUSE, now);
                } else if matches!(self.phase, Phase::Trial { .. }) {
                    // Others found the same before, so it stays open, but one account does not make the pause longer.
                    self.phase = Phase::Open { until: now + FIRST_KEY_PAUSE };
                }
            }
            Verdict::Busy { pause } => {
                self.last_failure = Some(BUSY);
                self.phase = Phase::Open { until: now + pause };
            }
            // A trial that says nothing leaves the question to the next call.
            Verdict::Abandoned => {
                if matches!(self.phase, Phase::Trial { .. }) {
                    self.phase = Phase::Open { until: now };
                }
            }
        }
    }

    /// The pause is over.
    pub(super) fn may_be_tried(&mut self, now: Instant) {
        if let Phase::Open { until } = &mut self.phase {
            *until = now.min(*until);
        }
    }

    fn open(&mut self, first: Duration, longest: Duration, now: Instant) {
        // Calls that were under way when it opened are no new reason to make the pause longer.
        if let Phase::Open { until } = self.phase
            && now < until
        {
            return;
        }
        let pause = self.pause.map_or(first, |last| (last * 2).clamp(first, longest));
        self.pause = Some(pause);
        self.phase = Phase::Open { until: now + pause };
    }

    fn count(&mut self, failure: i64) {
        self.tries = self.tries.saturating_add(1);
        // The mean of all at first, then of about the last twenty.
        self.failures += (failure - self.failures) / SMOOTHING.min(i64::from(self.tries));
    }

    /// Did the provider say that it is busy, when last it did not answer?
    pub(super) fn is_busy(&self) -> bool {
        self.last_failure == Some(BUSY)
    }

    pub(super) fn state(&self, now: Instant) -> State {
        match (self.phase, self.waits(now)) {
            (Phase::Closed, _) => State::Closed,
            (Phase::Open { .. }, Some(remaining)) => State::Open { remaining },
            (Phase::Open { .. }, None) => State::Open { remaining: Duration::ZERO },
            (Phase::Trial { .. }, _) => State::HalfOpen,
        }
    }

    pub(super) fn failure_percent(&self) -> u8 {
        u8::try_from(self.failures / (ALL / 100)).unwrap_or(100)
    }

    pub(super) fn latency(&self) -> Option<Duration> {
        self.latency_us.and_then(|us| u64::try_from(us).ok()).map(Duration::from_micros)
    }

    /// The same, if it was measured of late.
    pub(super) fn latency_now(&self, now: Instant) -> Option<Duration> {
        self.measured.filter(|measured| now < *measured + LATENCY_HOLDS).and(self.latency())
    }

    pub(super) fn last_failure(&self) -> Option<&'static str> {
        self.last_failure
    }
}
