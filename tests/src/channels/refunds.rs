//! The refunds of a pretended gateway: what was given, how often it was asked, and how it misbehaves.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// What happens to the next refunds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// The money goes, and that is said.
    #[default]
    Prompt,
    /// It goes later: see [`Refunds::becomes`].
    Slow,
    /// It goes, and the answer is an error.
    FailsAfter,
    /// It goes, and the answer comes when nobody waits for it any more.
    HangsAfter,
    /// It does not go: there is nothing to give.
    Poor,
}

/// A refund there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The transaction that had been paid.
    pub of: String,
    /// The amount, as it was asked for.
    pub amount: String,
    /// `done`, `pending`, `abnormal` or `failed`.
    pub state: &'static str,
}

/// All refunds of one gateway, by the merchant's numbers.
#[derive(Default)]
pub struct Refunds(Mutex<State>);

#[derive(Default)]
struct State {
    given: BTreeMap<String, Given>,
    calls: usize,
    manner: Manner,
}

impl Refunds {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How it behaves from now on.
    pub fn behaves(&self, manner: Manner) {
        self.with(|state| state.manner = manner);
    }

    /// A refund gets on.
    pub fn becomes(&self, number: &str, to: &'static str) {
        self.with(|state| state.given.get_mut(number).expect("it was asked for").state = to);
    }

    /// How often it was asked to give money.
    pub fn calls(&self) -> usize {
        self.with(|state| state.calls)
    }

    /// All of them that were given, by their numbers.
    pub fn done(&self) -> Vec<(String, Given)> {
        self.with(|state| {
            let done = state.given.iter().filter(|(_, it)| it.state == "done");
            done.map(|(number, it)| (number.clone(), it.clone())).collect()
        })
    }

    /// One refund.
    pub fn get(&self, number: &str) -> Option<Given> {
        self.with(|state| state.given.get(number).cloned())
    }

    /// All refunds of a transaction, by their numbers.
    pub fn of(&self, txn: &str) -> Vec<(String, Given)> {
        self.with(|state| {
            let of = state.given.iter().filter(|(_, it)| it.of == txn);
            of.map(|(number, it)| (number.clone(), it.clone())).collect()
        })
    }

    /// Somebody asks for one. The same number again is the same refund. `None`: it refuses.
    pub fn asked(&self, number: &str, of: &str, amount: &str) -> Option<(Given, Manner)> {
        self.with(|state| {
            state.calls += 1;
            if state.manner == Manner::Poor {
                return None;
            }
            let state_of_new = if state.manner == Manner::Slow { "pending" } else { "done" };
            let new = || Given { of: of.to_owned(), amount: amount.to_owned(), state: state_of_new };
            let given = state.given.entry(number.to_owned()).or_insert_with(new).clone();
            assert_eq!((given.of.as_str(), given.amount.as_str()), (of, amount), "one number, two refunds");
            Some((given, state.manner))
        })
    }
}

/// Keeps the answer back where the manner says so. `false`: an error is to be answered.
pub async fn says(manner: Manner) -> bool {
    if manner == Manner::HangsAfter {
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    manner != Manner::FailsAfter
}
