//! The health of providers, as calls find it.
//!
//! For: who is worth a try now. Every try reports how it went; a provider's key that is refused, a route that fails
//! again and again or says that it is busy is left alone for a while (its circuit is open), then one call may try it
//! (half open), and its success closes the circuit.
//! May not touch: sockets, catalogues' meaning. Times arrive as arguments.
//! Claims: what a caller does wrong never opens a circuit, nor does what one account alone meets with a key; an open
//! circuit always ends; while it is half open exactly one call tries it; what is known of a provider that left the catalogue is forgotten.

mod circuit;
pub(crate) mod probe;

pub(crate) use circuit::Verdict;

use crate::catalogue::{ProviderKey, Route};
use circuit::{Circuit, Door};
use domain::Label;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watched {
    /// The provider.
    pub provider: Label,
    /// Its key, by name; `None`: whatever the key.
    pub key: Option<Label>,
    /// The model there; `None`: whatever the model.
    pub model: Option<Label>,
}

/// The state of one circuit, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What is watched.
    pub watched: Watched,
    /// May calls try it?
    pub state: State,
    /// The share of failures among the recent tries, in per cent.
    pub failure_percent: u8,
    /// The time to the first byte of recent streams, smoothed.
    pub latency: Option<Duration>,
    /// The last failure, as the attempts of usage records name it.
    pub last_failure: Option<&'static str>,
}

/// May calls try a provider?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Yes.
    Closed,
    /// Not for this long.
    Open {
        /// What is left of it.
        remaining: Duration,
    },
    /// One call is trying.
    HalfOpen,
}

/// The circuits of all providers that calls have met.
#[derive(Debug, Default)]
pub struct Health {
    circuits: Mutex<HashMap<Watched, Circuit>>,
}

/// Why a candidate may be tried, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fitness {
    /// Nothing speaks against it.
    Fit,
    /// Its circuit was open; this call is the one that tries.
    OnTrial,
    /// Its circuit is open.
    Unfit {
        /// For how long.
        remaining: Duration,
        /// Because it said that it is busy, not because it failed?
        is_busy: bool,
    },
}

impl Health {
    fn circuits(&self) -> MutexGuard<'_, HashMap<Watched, Circuit>> {
        // A panic elsewhere leaves at worst a count that is off by one.
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// May this candidate be tried now? A `Fit` or `OnTrial` answer must be followed by a [`Health::report`].
    pub(crate) fn ask(&self, route: &Route, key: &ProviderKey, now: Instant) -> Fitness {
        let mut circuits = self.circuits();
        let watched = watched(route, key);
        // Both are looked at before either is entered, so that a trial is never taken in vain.
        let shut = |it| {
            circuits.get(it).and_then(|circuit: &Circuit| Some((circuit.waits(now)?, circuit.is_busy())))
        };
        if let Some((remaining, is_busy)) = watched.iter().filter_map(shut).max() {
            return Fitness::Unfit { remaining, is_busy };
        }
        let mut fitness = Fitness::Fit;
        for it in &watched {
            if let Some(Door::Trial) = circuits.get_mut(it).map(|circuit| circuit.enter(now)) {
                fitness = Fitness::OnTrial;
            }
        }
        fitness
    }

    /// The time to the first byte of its streams of late; `None`: not known.
    pub(crate) fn latency(&self, route: &Route, key: &ProviderKey, now: Instant) -> Option<Duration> {
        let [_, by_model] = watched(route, key);
        self.circuits().get(&by_model)?.latency_now(now)
    }

    /// How a try went.
    pub(crate) fn report(&self, route: &Route, key: &ProviderKey, verdict: Verdict, now: Instant) {
        let mut circuits = self.circuits();
        let [by_key, by_model] = watched(route, key);
        let (of_key, of_model) = match verdict {
            // A key that is refused says nothing about the model, and the other way round.
            Verdict::KeyRefused | Verdict::KeyDoubted { .. } => (verdict, Verdict::Abandoned),
            Verdict::Busy { .. } | Verdict::Failed(_) => (Verdict::Abandoned, verdict),
            Verdict::Answered { .. } | Verdict::Abandoned => (verdict, verdict),
        };
        circuits.entry(by_key).or_default().report(of_key, now);
        circuits.entry(by_model).or_default().report(of_model, now);
    }

    /// Forgets what no route of a new catalogue names.
    pub fn keep<'a>(&self, routes: impl Iterator<Item = &'a Route>) {
        let known: std::collections::HashSet<Watched> =
            routes.flat_map(|route| route.keys.iter().flat_map(|key| watched(route, key))).collect();
        self.circuits().retain(|it, _| known.contains(it));
    }

    /// Every circuit that calls have met, sorted.
    pub fn conditions(&self, now: Instant) -> Vec<Condition> {
        let circuits = self.circuits();
        let mut conditions: Vec<Condition> = circuits
            .iter()
            .map(|(watched, circuit)| Condition {
                watched: watched.clone(),
                state: circuit.state(now),
                failure_percent: circuit.failure_percent(),
                latency: circuit.latency(),
                last_failure: circuit.last_failure(),
            })
            .collect();
        conditions.sort_by(|one, other| one.watched.cmp(&other.watched));
        conditions
    }

    /// A probe found it well: the next call may try at once, and its success closes the circuit.
    pub(crate) fn may_be_tried(&self, watched: &Watched, now: Instant) {
        if let Some(circuit) = self.circuits().get_mut(watched) {
            circuit.may_be_tried(now);
        }
    }

    /// Closes every circuit of a provider: an operator says that it is mended.
    pub fn forgive(&self, provider: &Label) {
        self.circuits().retain(|it, _| it.provider != *provider);
    }
}

/// The circuits that a candidate goes through: its key's, whatever the model, and its model's by this key.
fn watched(route: &Route, key: &ProviderKey) -> [Watched; 2] {
    let (provider, name) = (route.provider.clone(), Some(key.name.clone()));
    [
        Watched { provider: provider.clone(), key: name.clone(), model: None },
        Watched { provider, key: name, model: Some(route.upstream_model.clone()) },
    ]
}

#[cfg(test)]
mod tests;
