//! Limits on guessing: how often a login may fail, and how often an address may try.
//!
//! Counted in this process's memory and, where a database is given, in it, for all processes together; the memory turns
//! away what is over a limit already without asking the database.
//! Claims: a try is counted before its (slow) check, so that a crowd of parallel guesses is no way around; a lock on a
//! login from one address does not lock its owner out elsewhere; memory is bounded.

use crate::directory::{Directory, digest, now};
use crate::problem::Problem;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How many tries in how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What is counted.
    pub name: &'static str,
    /// How many are let through in a window.
    pub max: u32,
    /// How long a window lasts, in seconds from its first try.
    pub window_s: u64,
}

/// Failed logins as one user from one address.
pub const LOGIN_FROM_ADDRESS: Rule = Rule { name: "login from address", max: 10, window_s: 900 };
/// Failed logins as one user from anywhere.
pub const LOGIN: Rule = Rule { name: "login", max: 100, window_s: 900 };
/// Failed logins from one address, whoever as.
pub const ADDRESS: Rule = Rule { name: "address", max: 100, window_s: 900 };
/// Wrong codes of one account's second factor.
pub const CODE: Rule = Rule { name: "code", max: 10, window_s: 900 };
/// The same in a day. Three of a million codes fit at a time: who has the password and guesses all day has one chance in seven
/// thousand.
pub const CODE_A_DAY: Rule = Rule { name: "code a day", max: 50, window_s: 86_400 };
/// Questions to passkeys that one address may ask for.
pub const PASSKEY: Rule = Rule { name: "passkey", max: 300, window_s: 900 };
/// Registrations from one address.
pub const REGISTER: Rule = Rule { name: "register", max: 100, window_s: 3600 };

/// Mails that anybody may ask for to one address, known or not.
pub const MAIL_TO: Rule = Rule { name: "mail to", max: 5, window_s: 3600 };
/// Mails that anybody may ask for from one address.
pub const MAIL_FROM: Rule = Rule { name: "mail from", max: 50, window_s: 3600 };
/// Links of mails that did not work, from one address.
pub const TOKEN: Rule = Rule { name: "token", max: 100, window_s: 3600 };
/// Logins by other sites that did not come to an end, from one address.
pub const ISSUER: Rule = Rule { name: "issuer", max: 100, window_s: 3600 };

/// The most windows remembered.
const MAX_WINDOWS: usize = 100_000;

/// Counts tries. By default in this process alone.
#[derive(Clone, Default)]
pub struct Limits {
    here: Arc<Mutex<HashMap<(&'static str, String), Window>>>,
    together: Option<Directory>,
}

struct Window {
    started: Instant,
    length: Duration,
    tries: u32,
}

impl Limits {
    /// Counts with all processes on this directory's database.
    pub fn shared(directory: Directory) -> Self {
        Self { here: Arc::default(), together: Some(directory) }
    }

    /// Counts a try, or refuses it with the seconds to wait.
    pub async fn admit(&self, rule: Rule, key: &str) -> Result<(), Problem> {
        self.admit_here(rule, key)?;
        let Some(directory) = &self.together else { return Ok(()) };
        let (at, length_ms) = (now(), i64::try_from(rule.window_s).unwrap_or(i64::MAX / 1_000) * 1_000);
        let window = directory.count_try(&id(rule, key), length_ms, at).await?;
        if window.tries > i64::from(rule.max) {
            let left_us = window.started_at.plus_ms(length_ms).micros() - at.micros();
            return Err(refused(u64::try_from(left_us / 1_000_000).unwrap_or(0) + 1));
        }
        Ok(())
    }

    /// Counts a try in this process alone.
    pub fn admit_here(&self, rule: Rule, key: &str) -> Result<(), Problem> {
        self.admit_at(rule, key, Instant::now()).map_err(refused)
    }

    fn admit_at(&self, rule: Rule, key: &str, at: Instant) -> Result<(), u64> {
        let mut windows = self.windows();
        if windows.len() >= MAX_WINDOWS {
            forget(&mut windows, at);
        }
        let length = Duration::from_secs(rule.window_s);
        let fresh = || Window { started: at, length, tries: 0 };
        let window = windows.entry(entry(rule, key)).or_insert_with(fresh);
        let elapsed = at.saturating_duration_since(window.started);
        if elapsed >= length {
            *window = fresh();
        } else if window.tries >= rule.max {
            return Err((length - elapsed).as_secs() + 1);
        }
        window.tries += 1;
        Ok(())
    }

    /// Takes a counted try back: it did not fail.
    pub async fn forgive(&self, rule: Rule, key: &str) {
        self.forgive_here(rule, key);
        if let Some(directory) = &self.together
            && let Err(error) = directory.forgive_try(&id(rule, key)).await
        {
            tracing::warn!(%error, "a try could not be taken back; it counts until its window ends");
        }
    }

    /// Takes back a try that was counted in this process alone.
    pub fn forgive_here(&self, rule: Rule, key: &str) {
        if let Some(window) = self.windows().get_mut(&entry(rule, key)) {
            window.tries = window.tries.saturating_sub(1);
        }
    }

    /// Forgets all tries of a key: its owner has shown up.
    pub async fn clear(&self, rule: Rule, key: &str) {
        self.clear_here(rule, key);
        if let Some(directory) = &self.together
            && let Err(error) = directory.clear_tries(&id(rule, key)).await
        {
            tracing::warn!(%error, "tries could not be forgotten; they count until their window ends");
        }
    }

    fn clear_here(&self, rule: Rule, key: &str) {
        self.windows().remove(&entry(rule, key));
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<(&'static str, String), Window>> {
        // Counters are whole at every point, so a panic elsewhere has not broken them.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(rule: Rule, key: &str) -> (&'static str, String) {
    (rule.name, key.chars().take(320).flat_map(char::to_lowercase).collect())
}

/// What the database counts by: no address and no name is kept there.
fn id(rule: Rule, key: &str) -> String {
    let (name, key) = entry(rule, key);
    digest(&format!("{name}\n{key}"))
}

fn refused(wait_s: u64) -> Problem {
    Problem::too_many("too many tries; wait before the next one", wait_s)
}

/// Makes room: windows that are over go first, then the half with the fewest tries, the older of them first. So who fills the memory
/// with names that were tried once does not make it forget the one that is being guessed at.
fn forget(windows: &mut HashMap<(&'static str, String), Window>, at: Instant) {
    windows.retain(|_, window| at.saturating_duration_since(window.started) < window.length);
    if windows.len() >= MAX_WINDOWS {
        let mut order: Vec<(u32, Instant)> = windows.values().map(|it| (it.tries, it.started)).collect();
        let middle = order.len() / 2;
        let (_, median, _) = order.select_nth_unstable(middle);
        let median = *median;
        windows.retain(|_, window| (window.tries, window.started) > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { name: "test", max: 3, window_s: 60 };

    #[test]
    fn the_limit_holds_until_the_window_ends() {
        let (limits, start) = (Limits::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(limits.admit_at(RULE, "ann", start), Ok(()));
        }
        assert_eq!(limits.admit_at(RULE, "ANN", start + Duration::from_secs(10)), Err(51));
        assert_eq!(limits.admit_at(RULE, "bob", start), Ok(()));
        assert_eq!(limits.admit_at(RULE, "ann", start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn a_success_is_not_a_failure() {
        let (limits, start) = (Limits::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(limits.admit_at(RULE, "ann", start), Ok(()));
            limits.forgive_here(RULE, "ann");
        }
        for _ in 0..3 {
            assert_eq!(limits.admit_at(RULE, "ann", start), Ok(()));
        }
        assert!(limits.admit_at(RULE, "ann", start).is_err());
        limits.clear_here(RULE, "ann");
        assert_eq!(limits.admit_at(RULE, "ann", start), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_windows_stay_and_those_of_many_tries() {
        let (limits, start) = (Limits::default(), Instant::now());
        let long = Rule { window_s: 86_400, ..RULE };
        for _ in 0..3 {
            assert_eq!(limits.admit_at(long, "ann", start), Ok(()));
        }
        let start = start + Duration::from_secs(7_200);
        for n in 0..MAX_WINDOWS + 10 {
            let at = start + Duration::from_micros(n as u64);
            assert_eq!(limits.admit_at(RULE, &n.to_string(), at), Ok(()));
        }
        assert!(
            limits.admit_at(long, "ann", start).is_err(),
            "an account that is guessed at is not forgotten for others"
        );
        let windows = limits.windows();
        assert!(windows.len() <= MAX_WINDOWS);
        assert!(windows.contains_key(&entry(RULE, &(MAX_WINDOWS + 9).to_string())));
    }
}
