//! Restart: the run before is ended exactly, without waiting for its leases to run out.
//!
//! The lock on the outbox proves that run dead. Its epoch is sealed first, so that nothing of it can land any more; then what
//! stands on the log is known for good, and the rest is told from the outbox.
//! Claims: every settled record reaches the log, with the (lease, n) it had; a call in flight at the end becomes a record
//! with what was delivered by its last mark; then the leases are closed at exactly what was spent of them. A run that the
//! outbox has lost (a disk that did not keep what it had flushed, a folder restored from an older copy) is found by the seal
//! that it left on its predecessor, and nothing that it reported is reported otherwise. On a log that is older than the outbox
//! nothing is begun before a person has said what becomes of what it does not know ([`restored`]).

use super::restored;
use super::sweep::seal;
use super::{Note, Shared, unfit};
use crate::outbox::{FormerEpoch, InterruptedCall, RecordJson, Recovered};
use crate::{LedgerError, Subject, crash};
use domain::event::{SealCause, UsageReported};
use domain::{AccountId, Credits, Event, LeaseId, NodeEvent, RequestId, UsageRecord};
use futures_util::{StreamExt, stream};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Leases closed at once.
const AT_ONCE: usize = 16;
/// How long a start waits for the log to take what the run before had settled.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of a lease of the run before.
#[derive(Clone, Copy)]
struct Known {
    account: AccountId,
    count: u64,
    spent: Credits,
}

/// What the log has of the run before.
#[derive(Default)]
struct OnLog {
    /// With the sequence of the report.
    records: BTreeMap<(LeaseId, u64), u64>,
    requests: BTreeSet<RequestId>,
}

impl OnLog {
    fn take(&mut self, sequence: u64, report: &UsageReported) {
        for record in &report.records {
            self.note(sequence, record);
        }
    }

    fn note(&mut self, sequence: u64, record: &UsageRecord) {
        self.records.insert((record.lease, record.n), sequence);
        self.requests.insert(record.usage.request);
    }
}

/// Seals, reports, closes. When this returns, the run before holds no credits any more.
pub(super) async fn finish_former(shared: &Arc<Shared>, mut recovered: Recovered) -> Result<(), LedgerError> {
    let started = Instant::now();
    let mut on_log = OnLog::default();
    let is_same = restored::is_the_same_log(&shared.ledger, &recovered).await?;
    if is_same {
        find_acknowledged(shared, &recovered, &mut on_log).await?;
    } else {
        // No sequence of the outbox means anything there: all that the log has of these runs is read.
        restored::reopen(shared, &mut recovered).await?;
        for former in &mut recovered.epochs {
            former.last_reported = 0;
            for logged in shared.ledger.log().events_behind(&Subject::Node(former.epoch), 0).await? {
                if let Event::Node(_, NodeEvent::UsageReported(report)) = &logged.recorded.event {
                    on_log.take(logged.recorded.sequence, report);
                }
            }
        }
    }
    restored::settle_with(shared, &mut recovered, is_same, &on_log.records).await?;
    let mut leases: BTreeMap<LeaseId, Known> = BTreeMap::new();
    for it in &recovered.leases {
        leases.insert(it.lease, Known { account: it.account, count: it.count, spent: it.spent });
    }
    // A full outbox takes no settlement, and the record goes to the log all the same: a call that seems interrupted is looked
    // for since it was opened.
    let opened = recovered.interrupted.iter().map(|call| call.opened_at).min().unwrap_or(u64::MAX);
    let mut runs: VecDeque<_> = recovered.epochs.iter().copied().collect();
    let mut told: BTreeSet<_> = runs.iter().map(|former| former.epoch).chain([shared.epoch()]).collect();
    while let Some(former) = runs.pop_front() {
        let seal = seal(shared, former.epoch, SealCause::Restarted).await?;
        crash::point("restart.sealed");
        if let Some(lost) = seal.and_then(|seal| seal.successor)
            && told.insert(lost)
        {
            tracing::error!(
                epoch = %lost,
                "the outbox has lost a run of this node, or was too full to note it; what that run reported is taken from the log"
            );
            runs.push_front(FormerEpoch { epoch: lost, last_reported: 0 });
        }
        // A power cut may have cost the outbox its last words; the log has them if they were reported.
        let subject = Subject::Node(former.epoch);
        for logged in shared.ledger.log().events_behind(&subject, former.last_reported.min(opened)).await? {
            let Event::Node(_, NodeEvent::UsageReported(report)) = &logged.recorded.event else { continue };
            on_log.take(logged.recorded.sequence, report);
            for record in &report.records {
                let known = Known { account: record.account, count: 0, spent: Credits::ZERO };
                let known = leases.entry(record.lease).or_insert(known);
                if record.n > known.count {
                    (known.count, known.spent) = (record.n, record.spent);
                }
            }
        }
    }
    let mut again = 0_usize;
    let mut found: BTreeMap<u64, Vec<(LeaseId, u64)>> = BTreeMap::new();
    for it in recovered.settled {
        let place = (it.record.lease, it.record.n);
        match on_log.records.get(&place) {
            // It landed, and the run died before it could note so: the outbox would keep it for ever.
            Some(sequence) if it.reported.is_none() => found.entry(*sequence).or_default().push(place),
            Some(_) => {}
            None => {
                again += 1;
                shared.reports.push(RecordJson::of(&it.record).map_err(unfit)?, None);
                crash::point("restart.queued");
            }
        }
    }
    for (sequence, records) in found {
        shared.note_lightly(&Note::Reported { sequence, records });
    }
    let (known, interrupted): (Vec<_>, Vec<_>) =
        recovered.interrupted.into_iter().partition(|it| on_log.requests.contains(&it.usage.request));
    for call in known {
        // A power cut took its settlement, the log has it. Unless that is noted the next start, which reads other runs,
        // would charge it again.
        shared.note_lightly(&Note::Released { request: call.usage.request });
    }
    let calls = interrupted.len();
    for call in interrupted {
        let record = settle(shared, call, &mut leases).await?;
        // What a full outbox does not take is found on the log by the next start.
        let json = RecordJson::of(&record).map_err(unfit)?;
        if let Err(error) = shared.outbox.settle(&record, &json) {
            tracing::error!(%error, "the outbox takes no record");
        }
        crash::point("restart.interrupted");
        shared.reports.push(json, None);
    }
    reported(shared).await?;
    crash::point("restart.reported");
    let count = leases.len();
    let closing = stream::iter(leases).map(|(lease, known)| close(shared, lease, known));
    let closed: Vec<_> = closing.buffer_unordered(AT_ONCE).collect().await;
    closed.into_iter().collect::<Result<(), _>>()?;
    if count + again + calls > 0 {
        let (took_ms, records, interrupted) = (started.elapsed().as_millis(), again, calls);
        tracing::info!(leases = count, records, interrupted, took_ms, "the run before is ended");
    }
    Ok(())
}

/// Looks up what was acknowledged: a log that lost its tail may miss it. What the projections have is not
/// asked for again.
async fn find_acknowledged(
    shared: &Shared,
    recovered: &Recovered,
    on_log: &mut OnLog,
) -> Result<(), LedgerError> {
    let projected = shared.projected.position().await.unwrap_or(0);
    let mut reports = BTreeSet::new();
    for it in &recovered.settled {
        match it.reported {
            Some(sequence) if sequence <= projected => {
                on_log.note(sequence, &it.record);
            }
            Some(sequence) => {
                reports.insert(sequence);
            }
            None => {}
        }
    }
    for sequence in reports {
        if let Some(logged) = shared.ledger.log().at(sequence).await?
            && let Event::Node(_, NodeEvent::UsageReported(report)) = &logged.recorded.event
        {
            on_log.take(sequence, report);
        }
    }
    Ok(())
}

/// The record of a call that the end of the process interrupted: it pays what its lease still has.
async fn settle(
    shared: &Shared,
    call: InterruptedCall,
    leases: &mut BTreeMap<LeaseId, Known>,
) -> Result<UsageRecord, LedgerError> {
    let InterruptedCall { lease, account, usage, .. } = call;
    let known = leases.entry(lease).or_insert(Known { account, count: 0, spent: Credits::ZERO });
    let size = shared.ledger.account(account).await?.leases.get(&lease).map(|open| open.credits);
    // A lease that the log has closed pays nothing more.
    let free = size.and_then(|size| size.checked_sub(known.spent)).unwrap_or(Credits::ZERO);
    let paid = usage.charge.min(free).max(Credits::ZERO);
    known.count += 1;
    known.spent = known.spent.checked_add(paid).unwrap_or(known.spent);
    let uncovered = usage.charge.checked_sub(paid).unwrap_or(Credits::ZERO);
    tracing::warn!(request = %usage.request, %account, %lease, charge = %usage.charge, "a call was interrupted by the end of the process");
    Ok(UsageRecord { account, lease, n: known.count, spent: known.spent, uncovered, usage })
}

/// Waits until the log has everything.
async fn reported(shared: &Shared) -> Result<(), LedgerError> {
    let waited = tokio::time::timeout(PATIENCE, shared.reports.drained()).await;
    match shared.reports.broken() {
        Some(why) => Err(LedgerError::Damaged(why)),
        None => waited.map_err(|_| {
            LedgerError::Unavailable("usage of the run before cannot be written to the log".into())
        }),
    }
}

async fn close(shared: &Shared, lease: LeaseId, known: Known) -> Result<(), LedgerError> {
    let Known { account, count, spent } = known;
    // Refused: closed by a sweeper, or never granted. Either way nothing of it is ours any more.
    shared.close_on_log(account, lease, spent, count).await?;
    crash::point("restart.closed");
    shared.note_lightly(&Note::Ended { lease });
    crash::point("restart.ended");
    Ok(())
}
