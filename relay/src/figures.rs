//! Figures: what this node's calls came to since its start, counted as they end.
//!
//! For: whoever exports metrics. May not touch: money's truth, which is on the log; these are counters that begin at zero
//! with the process.
//! Claims: a call that reached a provider is counted once, when it is settled; one that became no call is counted by why;
//! the number of rows is bounded by what operators set up (models, providers) and by this program's own words, never by
//! what callers send.

use domain::Credits;
use domain::usage::Usage;
use domain::{Label, Outcome};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper bounds of a histogram's buckets, in milliseconds; one more bucket holds what is above them all.
pub const BUCKETS_MS: [u64; 13] =
    [25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000];

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many fell into each bucket of [`BUCKETS_MS`], not cumulative; the last one is above them all.
    pub counts: [u64; BUCKETS_MS.len() + 1],
    /// All of them together, in milliseconds.
    pub sum_ms: u64,
}

impl Durations {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.add_ms(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    /// One more, in milliseconds.
    pub fn add_ms(&mut self, took: u64) {
        let place = BUCKETS_MS.iter().position(|bound| took <= *bound).unwrap_or(BUCKETS_MS.len());
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.sum_ms = self.sum_ms.saturating_add(took);
    }
}

/// Whose calls are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Served {
    /// The model, by the name that callers use.
    pub model: Label,
    /// The provider of the last try.
    pub provider: Label,
}

/// What the calls of one model at one provider came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls that were answered to their end.
    pub completed: u64,
    /// Calls whose caller left.
    pub client_gone: u64,
    /// Calls whose provider failed.
    pub provider_error: u64,
    /// Calls whose task died.
    pub interrupted: u64,
    /// Requests that the provider refused.
    pub refused: u64,
    /// Tokens read, of every class.
    pub input_tokens: u64,
    /// Tokens generated, of every class.
    pub output_tokens: u64,
    /// What accounts paid, in nano-credits.
    pub paid_nano: i128,
    /// What providers cost, in nano-credits; of calls without a cost price nothing.
    pub cost_nano: i128,
    /// What nobody's credits covered, in nano-credits.
    pub uncovered_nano: i128,
}

/// How long calls took at a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Whole calls that were not streamed.
    pub whole: Durations,
    /// Streamed calls.
    pub streamed: Durations,
    /// The first byte of streamed calls, from the call's start.
    pub first_byte: Durations,
}

#[derive(Default)]
struct Books {
    served: HashMap<Served, Sums>,
    times: HashMap<Label, Times>,
    attempts: HashMap<(Label, Label), u64>,
    refused: HashMap<(&'static str, String, u16), u64>,
}

/// The counters of one relay.
#[derive(Default)]
pub struct Figures(Mutex<Books>);

/// Every row, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// By model and provider.
    pub served: Vec<(Served, Sums)>,
    /// By provider.
    pub times: Vec<(Label, Times)>,
    /// Tries at a provider, by how they ended: `ok`, or what went wrong as the attempts of usage records name it.
    pub attempts: Vec<((Label, Label), u64)>,
    /// Requests that became no call: the protocol, the code and the status of the answer.
    pub refused: Vec<((&'static str, String, u16), u64)>,
}

impl Figures {
    fn books(&self) -> MutexGuard<'_, Books> {
        // A panic elsewhere leaves at worst a count that is off by one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has ended: what its record says, and what the account paid of it.
    pub(crate) fn ended(&self, usage: &Usage) {
        let mut books = self.books();
        let key = Served { model: usage.model.clone(), provider: usage.provider.clone() };
        let sums = books.served.entry(key).or_default();
        *match usage.outcome {
            Outcome::Completed => &mut sums.completed,
            Outcome::ClientGone => &mut sums.client_gone,
            Outcome::ProviderError => &mut sums.provider_error,
            Outcome::Interrupted => &mut sums.interrupted,
            Outcome::Refused => &mut sums.refused,
        } += 1;
        sums.input_tokens = sums.input_tokens.saturating_add(usage.tokens.input_total());
        sums.output_tokens = sums.output_tokens.saturating_add(usage.tokens.output_total());
        sums.cost_nano += i128::from(usage.cost.nano());
        let times = books.times.entry(usage.provider.clone()).or_default();
        match usage.stream {
            true => times.streamed.add_ms(usage.duration_ms),
            false => times.whole.add_ms(usage.duration_ms),
        }
        if let Some(first_byte) = usage.ttft_ms.filter(|_| usage.stream) {
            times.first_byte.add_ms(first_byte);
        }
        for attempt in &usage.attempts {
            let result = attempt.error.clone().or_else(|| Label::try_new("ok").ok());
            let Some(result) = result else { continue };
            *books.attempts.entry((attempt.provider.clone(), result)).or_default() += 1;
        }
    }

    /// What a call came to in credits, once its hold has ended.
    pub(crate) fn paid(&self, model: &Label, provider: &Label, paid: Credits, uncovered: Credits) {
        let mut books = self.books();
        let sums =
            books.served.entry(Served { model: model.clone(), provider: provider.clone() }).or_default();
        sums.paid_nano += i128::from(paid.nano());
        sums.uncovered_nano += i128::from(uncovered.nano());
    }

    /// A request became no call.
    pub(crate) fn refused(&self, protocol: &'static str, code: &str, status: u16) {
        *self.books().refused.entry((protocol, code.to_owned(), status)).or_default() += 1;
    }

    /// All of it as of now.
    pub fn counted(&self) -> Counted {
        let books = self.books();
        Counted {
            served: sorted(&books.served),
            times: sorted(&books.times),
            attempts: sorted(&books.attempts),
            refused: sorted(&books.refused),
        }
    }
}

fn sorted<K: Clone + Ord, V: Copy>(rows: &HashMap<K, V>) -> Vec<(K, V)> {
    let mut rows: Vec<(K, V)> = rows.iter().map(|(key, value)| (key.clone(), *value)).collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it_or_above_them_all() {
        let mut durations = Durations::default();
        for took in [0, 25, 26, 300_000, 300_001] {
            durations.add_ms(took);
        }
        assert_eq!((durations.counts[0], durations.counts[1]), (2, 1));
        assert_eq!((durations.counts[BUCKETS_MS.len() - 1], durations.counts[BUCKETS_MS.len()]), (1, 1));
        assert_eq!(durations.sum_ms, 600_052);
        assert!(BUCKETS_MS.is_sorted());
    }

    #[test]
    fn requests_that_became_no_call_are_counted_by_why() {
        let figures = Figures::default();
        figures.refused("openai", "invalid_api_key", 401);
        figures.refused("openai", "invalid_api_key", 401);
        figures.refused("claude", "insufficient_credits", 402);
        let rows = figures.counted().refused;
        let counts = rows.iter().map(|((_, code, _), count)| (code.as_str(), *count));
        assert_eq!(counts.collect::<Vec<_>>(), [("insufficient_credits", 1), ("invalid_api_key", 2)]);
    }
}
