//! Upkeep: leases are renewed ahead of the calls, and given back when nobody uses them; the outbox lets go of what the
//! projections have.

use super::book::{Care, Entry};
use super::lease::may_ask_ahead;
use super::{Note, Shared};
use crate::ambient;
use domain::account::Amend;
use domain::{Credits, LeaseId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Lease decisions under way at once in the background.
const AT_ONCE: usize = 16;
/// How often the outbox is told how far the projections are.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// Looks after all leases until the meter stops.
pub(super) async fn run(shared: Arc<Shared>) {
    shared.tasks.spawn(trim(shared.clone()));
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut ticks = tokio::time::interval(shared.options.upkeep_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for entry in shared.all_entries() {
            shared.finish(&entry);
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
                    Care::Close => give_back(&shared, &entry).await,
                    Care::CloseFormer => close_former(&shared, &entry).await,
                    Care::Forget => forget(&shared, &entry),
                }
                drop(permit);
            });
        }
    }
}

/// Tells the outbox how far the projections are, until the meter stops.
async fn trim(shared: Arc<Shared>) {
    let mut last = 0;
    loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TRIM_EVERY) => {}
        }
        match shared.projected.position().await {
            Ok(position) if position > last => {
                let outbox = shared.outbox.clone();
                match ambient::blocking(move || outbox.trim(position)).await {
                    Some(Ok(())) => last = position,
                    Some(Err(error)) => tracing::error!(%error, "the outbox could not be trimmed"),
                    None => return,
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the projections do not say how far they are"),
        }
    }
}

fn care(shared: &Shared, entry: &Entry) -> Care {
    entry.book().care(shared.options.idle_close, may_ask_ahead(&entry.scope), Instant::now())
}

async fn renew(shared: &Shared, entry: &Entry, lease: LeaseId, wanted: Credits) {
    // Busy: somebody is amending it right now, which renews it too.
    let Ok(_slow) = entry.slow.try_lock() else { return };
    if entry.book().has_lapsed(Instant::now())
        && let Err(error) = shared.check_epoch().await
    {
        return tracing::warn!(account = %entry.account, %lease, %error, "a lease has run out");
    }
    if !entry.book().is(lease) {
        return;
    }
    let amend = Amend::Extend { at_least: Credits::ZERO, wanted };
    if let Err(error) = shared.amend(entry, lease, amend, None).await {
        tracing::warn!(account = %entry.account, %lease, %error, "a lease could not be renewed");
    }
}

/// Closes the entry's lease if nothing uses it.
async fn give_back(shared: &Shared, entry: &Entry) {
    let _slow = entry.slow.lock().await;
    let stopping = shared.stopping.load(Ordering::SeqCst);
    let ready = {
        let mut book = entry.book();
        book.is_closing() || book.begin_close_if_unused(stopping)
    };
    if !ready {
        return;
    }
    if let Err(error) = shared.close(entry).await {
        tracing::warn!(account = %entry.account, %error, "a lease could not be given back; trying again");
    }
}

async fn close_former(shared: &Shared, entry: &Entry) {
    let _slow = entry.slow.lock().await;
    if let Err(error) = shared.close_former(entry).await {
        tracing::warn!(account = %entry.account, %error, "a lease of an earlier run could not be given back; trying again");
    }
}

/// Closes whatever of the entry nothing uses: at the end.
pub(super) async fn give_all_back(shared: &Shared, entry: Arc<Entry>) {
    give_back(shared, &entry).await;
    close_former(shared, &entry).await;
    let in_vain = entry.book().noted_in_vain();
    if let Some(lease) = in_vain {
        shared.note_lightly(&Note::Ended { lease });
    }
}

/// Takes an entry out of the map, unless somebody has come for it.
fn forget(shared: &Shared, entry: &Arc<Entry>) {
    let Ok(_slow) = entry.slow.try_lock() else { return };
    let mut entries = shared.entries();
    if care(shared, entry) != Care::Forget {
        return;
    }
    let in_vain = {
        let mut book = entry.book();
        book.retired = true;
        book.noted_in_vain()
    };
    entries.remove(&(entry.account, entry.scope.clone()));
    drop(entries);
    if let Some(lease) = in_vain {
        shared.note_lightly(&Note::Ended { lease });
    }
}
