//! The wall clock of calls: when a key ends, which day or month a budget is of, when a call was.
//!
//! For: one place to take it from, so that a test can move it: `CLOCK_FILE` in the environment names a file with the seconds that
//! this process's clock is ahead.
//! May not touch: who may spend. Leases live by the monotonic clock and end by the log's order.
//! Claims: without debug assertions, as in every release, the variable is not read and no file is.

use domain::Moment;

/// Now.
pub(crate) fn now() -> Moment {
    Moment::from(chrono::Utc::now()).plus_ms(ahead_ms())
}

#[cfg(debug_assertions)]
fn ahead_ms() -> i64 {
    use std::{path::PathBuf, sync::LazyLock};
    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("CLOCK_FILE").map(PathBuf::from));
    let text = FILE.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(0).saturating_mul(1000)
}

#[cfg(not(debug_assertions))]
fn ahead_ms() -> i64 {
    0
}
