//! Crash points: places where a test ends the real process, as a power switch would end it.
//!
//! For: the crash test of `tests/`, which walks all of [`POINTS`], and fails when one was never reached. `CRASH_AT=point:3`
//! in the environment kills this process (SIGKILL) when it reaches that point the third time.
//! May not touch: anything; a point is a name and nothing else.
//! Claims: without debug assertions, as in every release, a point is nothing at all and the variable is not read; with them
//! a point that was not named changes nothing.

/// All points, in the order of their roads.
pub const POINTS: &[&str] = &[
    // A decision about an account: a grant, a top-up, an adjustment.
    "decide.encoded",
    "decide.appended",
    // A lease.
    "lease.noted",
    "lease.granted",
    "lease.amended",
    "lease.unused",
    "lease.closed",
    "lease.ended",
    // A call: its hold, its begin, its progress, its end.
    "hold.taken",
    "open.written",
    "mark.written",
    "settle.begun",
    "settle.written",
    "settle.queued",
    // A report.
    "report.encoded",
    "report.appended",
    "report.noted",
    // A start after a death.
    "restart.locked",
    "restart.began",
    "restart.sealed",
    "restart.queued",
    "restart.interrupted",
    "restart.reported",
    "restart.closed",
    "restart.ended",
    // A sweep of a node that fell silent, and that node when it wakes.
    "sweep.sealed",
    "sweep.closed",
    "epoch.noted",
    // A batch of the projections.
    "project.moved",
    "project.written",
    "project.committed",
    // A payment gateway's callback.
    "callback.stored",
    "callback.decided",
    "callback.answering",
];

/// The process ends here if the environment says so.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static PLAN: LazyLock<Option<(String, u32)>> = LazyLock::new(|| {
        let plan = std::env::var("CRASH_AT").ok()?;
        let (name, nth) = plan.rsplit_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let Some((planned, nth)) = &*PLAN else { return };
    if planned == name && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *nth {
        tracing::error!(name, nth, "the environment asked for a crash here");
        // An error cannot be: the process may signal itself. The signal is delivered before the call returns.
        kill_process(getpid(), Signal::KILL).ok();
    }
}

/// Nothing: crash points are for tests of debug builds.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &'static str) {}
