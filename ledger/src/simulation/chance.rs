//! Chance, all of it from the seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;

pub(super) struct Chance(StdRng);

impl Chance {
    /// Each part of the simulation has chance of its own, so that one more question here changes no answer there.
    pub(super) fn of(seed: u64, part: u64) -> Self {
        Self(StdRng::seed_from_u64(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part.wrapping_mul(0xd1b5_4a32_d192_ed03),
        ))
    }

    pub(super) fn within(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() { range.start } else { self.0.random_range(range) }
    }

    pub(super) fn index(&mut self, length: usize) -> usize {
        self.0.random_range(0..length.max(1))
    }

    /// True so many times in a thousand.
    pub(super) fn permille(&mut self, times: u64) -> bool {
        times > 0 && self.within(0..1000) < times
    }

    pub(super) fn uuid(&mut self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(self.0.random()).into_uuid()
    }

    pub(super) fn into_rng(self) -> StdRng {
        self.0
    }
}
