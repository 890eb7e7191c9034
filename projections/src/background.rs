//! Threads that go behind those which callers wait for.
//!
//! May not touch: what runs in them.
//! Claims: where processor time is short, such a thread gets about a third of what an ordinary one gets, and never none;
//! where it is not, nothing changes.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Steps of niceness, of which each takes a fifth of the share.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Starts a thread in the background. Threads that it starts go behind the others as well.
pub(crate) fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(move || {
        step_back(name_of_this());
        work()
    })
}

fn name_of_this() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// On Linux niceness is a thread's own. Elsewhere it would be the whole process's, so it stays as it is.
#[cfg(target_os = "linux")]
fn step_back(thread: String) {
    if let Err(error) = rustix::process::nice(NICENESS) {
        // It works all the same.
        tracing::debug!(thread, %error, "a thread could not be put behind the others");
    }
}

#[cfg(not(target_os = "linux"))]
fn step_back(_thread: String) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_background_thread_and_its_threads_go_behind_and_the_others_do_not() {
        // `nice(0)` answers what is in force.
        let niceness = || rustix::process::nice(0).unwrap();
        let ours = niceness();
        let theirs = thread("behind", move || {
            (niceness(), std::thread::spawn(move || rustix::process::nice(0).unwrap()).join().unwrap())
        });
        let behind = (ours + NICENESS).min(19);
        assert_eq!(theirs.unwrap().join().unwrap(), (behind, behind));
        assert_eq!(niceness(), ours);
    }
}
