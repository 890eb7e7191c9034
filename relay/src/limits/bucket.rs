//! A minute's allowance: a bucket that fills with what was used and drains at the limit's pace.
//!
//! For: whether so much more fits, when it will, what is left.
//! May not touch: clocks. Times arrive as whole milliseconds of whatever clock the store has.
//! Claims: exact in whole numbers: what was used is counted in 60,000ths, so that a limit of seven a minute drains by
//! seven parts each millisecond; every number stays below 2^53, which is where those of Redis's Lua stop being whole.
//!
//! It is a token bucket, looked at from below. GCRA is the same rule written as a time, which for most limits is no
//! whole number (60 s / 7).

use std::time::Duration;

/// A limit per minute drains this many milliseconds' parts.
pub(super) const MINUTE_MS: u64 = 60_000;
/// The greatest limit, and the most tokens that one call counts for.
pub(super) const MOST: u64 = 50_000_000_000;
/// The highest level: two of the greatest limits. A debt beyond it is forgotten.
const HIGHEST: u64 = 2 * MOST * MINUTE_MS;
/// When to come again where only the end of other calls makes room, which nobody can foretell.
pub(super) const SOON_MS: u64 = 1000;

/// What was used and has not drained yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// In 60,000ths of a request or token.
    level: u64,
    /// As of this millisecond.
    at_ms: u64,
}

/// Where a subject stands in one of its limits per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The limit per minute.
    pub limit: u64,
    /// What may be used at once.
    pub remaining: u64,
    /// After how long all of the limit may be used again, if nothing more is used meanwhile.
    pub reset: Duration,
}

impl Bucket {
    /// Lets drain what has drained by now. A time before the last one counts as the last one.
    pub(super) fn drain(&mut self, limit: u64, now_ms: u64) {
        let drained = limit.saturating_mul(now_ms.saturating_sub(self.at_ms));
        self.level = self.level.saturating_sub(drained);
        self.at_ms = self.at_ms.max(now_ms);
    }

    /// Is there room for `more` besides what is `held`? If not, in how many milliseconds there will be.
    ///
    /// What is more than the whole limit fits where nothing else is: it takes the whole bucket.
    pub(super) fn room(&self, held: u64, more: u64, limit: u64) -> Result<(), u64> {
        if limit == 0 {
            return Err(MINUTE_MS);
        }
        let wanted = self.level + (held + more.min(limit)) * MINUTE_MS;
        let over = wanted.saturating_sub(limit * MINUTE_MS);
        if over == 0 {
            Ok(())
        } else if over <= self.level {
            Err(over.div_ceil(limit))
        } else {
            Err(self.level.div_ceil(limit).max(SOON_MS))
        }
    }

    /// Books what was used.
    pub(super) fn add(&mut self, used: u64) {
        self.level = (self.level + used.min(MOST) * MINUTE_MS).min(HIGHEST);
    }

    /// In how many milliseconds it will be empty, if nothing is added.
    pub(super) fn empty_in_ms(&self, limit: u64) -> u64 {
        self.level.div_ceil(limit.max(1))
    }

    pub(super) fn standing(&self, held: u64, limit: u64) -> Standing {
        let used = self.level + held * MINUTE_MS;
        let remaining = (limit * MINUTE_MS).saturating_sub(used) / MINUTE_MS;
        Standing { limit, remaining, reset: Duration::from_millis(used.div_ceil(limit.max(1))) }
    }
}
