//! The thread that takes written entries to the disk, so that no call waits for it.
//!
//! Claims: what is written is flushed within the time given, whatever else happens; when the outbox has been quiet for a
//! while a mark is written behind it, so that damage to its last entries is not taken for a torn tail.

use super::store::{Store, Wake};
use super::{OutboxError, io_error};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing written for so long: the outbox is quiet.
const QUIET: Duration = Duration::from_secs(1);

/// Starts the thread. It ends after [`Store::close`].
pub(super) fn start(store: &Arc<Store>, delay: Duration) -> Result<JoinHandle<()>, OutboxError> {
    let flushed = store.clone();
    let thread = std::thread::Builder::new().name("outbox-flush".into());
    thread.spawn(move || run(&flushed, delay)).map_err(io_error("start a thread for", store.folder()))
}

fn run(store: &Store, delay: Duration) {
    loop {
        // A failure is kept by the store, told to everyone who writes, and logged there once.
        match store.wait(delay, QUIET) {
            Wake::Flush => store.flush().unwrap_or_default(),
            Wake::Quiet => store.mark(),
            Wake::Closing => {
                store.flush().unwrap_or_default();
                store.mark();
                store.flush().unwrap_or_default();
                return;
            }
        }
    }
}
