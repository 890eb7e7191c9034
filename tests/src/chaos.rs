//! Chaos: load on the real binary, faults in the middle of it, and a judgement of what is left.
//!
//! For: a provider that speaks at any pace and remembers what it said ([`model`]), callers who remember what they saw
//! ([`load`]), the processes that are killed, stopped and started again ([`stage`]), the comparison of what was seen with
//! what is on the log ([`judge`]), and cuts of the outbox ([`tail`]).
//! May not touch: the product's insides. The one exception is the frame of the outbox's files, which a power cut must know.
//! Claims: chance comes from a seed that is printed; what is random is the moment of a fault, never what is waited for.

pub mod judge;
pub mod load;
pub mod model;
pub mod stage;
pub mod tail;

use crate::databases::servers;
pub use judge::Judge;
pub use load::{Call, Fate, Load};
pub use model::Model;
pub use stage::{Setting, Stage};

use std::time::Duration;

/// Chance from a seed (splitmix64): the same seed, the same choices.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `from` up to and without `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.number() % (to - from).max(1)
    }

    /// An index into so many things.
    pub fn index(&mut self, of: usize) -> usize {
        usize::try_from(self.between(0, of as u64)).unwrap()
    }

    /// A time from `from` up to `to` milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }

    /// Another stream of chance.
    pub fn another(&mut self) -> Self {
        Self(self.number())
    }
}

/// How many rounds of a kind are run: `ROUNDS`, else a few.
pub fn rounds(few: u64) -> u64 {
    std::env::var("ROUNDS").ok().map_or(few, |text| text.parse().expect("ROUNDS is a number"))
}

/// The seed of a kind: `SEED`, else the one given. A run of many rounds without one takes another each time.
pub fn seed(fixed: u64) -> u64 {
    match std::env::var("SEED") {
        Ok(text) => text.parse().expect("SEED is a number"),
        Err(_) if std::env::var_os("ROUNDS").is_none() => fixed,
        Err(_) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20) ^ fixed
        }
    }
}
