//! Recall: when an account runs short, its holders give back what no call needs.
//!
//! A message on core NATS, lost if nobody listens: advice, not a command. A holder that does not answer gives its lease back
//! at the end of its life. May not touch: what calls hold.
//! Claims: whoever tightens moves first: credits are out of reach here before they are free on the log.

use super::Shared;
use super::book::Entry;
use domain::account::Amend;
use domain::{AccountId, EpochId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const PREFIX: &str = "nexusroute.recall.";
/// For so long after a recall an account's credits count as scarce on its holders.
pub(super) const TIGHT_FOR: Duration = Duration::from_secs(3);
/// Before the subscription is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Asks all other nodes to give back what they do not need of an account.
pub(super) async fn ask(shared: &Shared, account: AccountId) {
    let asked =
        shared.ledger.log().tell(&format!("{PREFIX}{account}"), shared.epoch().to_string().into()).await;
    if let Err(error) = asked {
        tracing::debug!(%account, %error, "a recall could not be sent");
    }
}

/// Follows recalls until the meter stops.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let listening = follow(&shared);
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = listening => {}
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn follow(shared: &Arc<Shared>) {
    let mut heard = match shared.ledger.log().listen(&format!("{PREFIX}*")).await {
        Ok(heard) => heard,
        Err(error) => return tracing::warn!(%error, "recalls cannot be heard"),
    };
    while let Some((subject, payload)) = heard.next().await {
        let account = subject.strip_prefix(PREFIX).and_then(|id| id.parse::<AccountId>().ok());
        let from = std::str::from_utf8(&payload).ok().and_then(|id| id.parse::<EpochId>().ok());
        // Our own recall comes back too.
        let (Some(account), Some(_)) = (account, from.filter(|from| *from != shared.epoch())) else {
            continue;
        };
        for entry in shared.entries_of(account) {
            entry.book().tighten(Instant::now() + TIGHT_FOR);
            let shared = shared.clone();
            shared.clone().tasks.spawn(async move { give_slack(&shared, &entry).await });
        }
    }
}

/// Gives back what no call of this entry needs. True if that gave anything.
pub(super) async fn give_slack(shared: &Shared, entry: &Entry) -> bool {
    // Whoever talks to the log about this lease now will be done soon; waiting for longer helps nobody.
    let Ok(_slow) = tokio::time::timeout(shared.options.recall_wait, entry.slow.lock()).await else {
        return false;
    };
    give(shared, entry).await
}

/// The same, for who holds `entry.slow`.
pub(super) async fn give(shared: &Shared, entry: &Entry) -> bool {
    // What waits to be reported keeps a lease from being closed.
    shared.reports.hurry();
    let unused = entry.book().begin_close_if_unused(false);
    if unused {
        return shared.close(entry).await.is_ok();
    }
    let shrunk = entry.book().shrink_to_use();
    match shrunk {
        Some((lease, to)) => shared.amend(entry, lease, Amend::Shrink { to }, None).await.is_ok(),
        None => false,
    }
}
