//! Upkeep: leases are renewed ahead of the calls, and given back when nobody uses them.
//!
//! The sweeper, which closes the leases of dead nodes, will stand beside this.

use super::Shared;
use super::book::{Care, Entry};
use domain::account::{Amend, event::Scope};
use domain::{Credits, LeaseId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::Semaphore;

/// Lease decisions under way at once in the background.
const AT_ONCE: usize = 16;

/// Looks after all leases until the meter stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut ticks = tokio::time::interval(shared.options.upkeep_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.stop.cancelled() => return,
        }
        for entry in shared.all_entries() {
            let care = care(&shared, &entry);
            if care == Care::Nothing {
                continue;
            }
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            let shared = shared.clone();
            shared.clone().tasks.spawn(async move {
                match care {
                    Care::Nothing => {}
                    Care::Renew { lease, wanted } => renew(&shared, &entry, lease, wanted).await,
                    Care::Close => give_back(&shared, entry).await,
                    Care::Forget => forget(&shared, &entry),
                }
                drop(permit);
            });
        }
    }
}

fn care(shared: &Shared, entry: &Entry) -> Care {
    // More credits for a key are asked for by its calls, which know its budget: from here only for the whole account.
    let may_ask = match entry.scope {
        Scope::Account => true,
        Scope::Key { .. } => false,
    };
    entry.book().care(shared.options.idle_close, may_ask, Instant::now())
}

async fn renew(shared: &Shared, entry: &Entry, lease: LeaseId, wanted: Credits) {
    // Busy: somebody is amending it right now, which renews it too.
    let Ok(_slow) = entry.slow.try_lock() else { return };
    let amend = Amend::Extend { at_least: Credits::ZERO, wanted };
    if let Err(error) = shared.amend(entry, lease, amend, None).await {
        tracing::warn!(account = %entry.account, %lease, %error, "a lease could not be renewed");
    }
}

/// Closes the entry's lease if nothing uses it.
pub(super) async fn give_back(shared: &Shared, entry: Arc<Entry>) {
    let _slow = entry.slow.lock().await;
    let stopping = shared.stopping.load(Ordering::SeqCst);
    let ready = {
        let mut book = entry.book();
        book.is_closing() || book.begin_close_if_unused(stopping)
    };
    if !ready {
        return;
    }
    if let Err(error) = shared.close(&entry).await {
        tracing::warn!(account = %entry.account, %error, "a lease could not be given back; trying again");
    }
}

/// Takes an entry out of the map, unless somebody has come for it.
fn forget(shared: &Shared, entry: &Arc<Entry>) {
    let Ok(_slow) = entry.slow.try_lock() else { return };
    let mut entries = shared.entries();
    if care(shared, entry) == Care::Forget {
        entry.book().retired = true;
        entries.remove(&(entry.account, entry.scope.clone()));
    }
}
