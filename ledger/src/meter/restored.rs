//! A log that is older than the outbox: it was restored from a backup, and the outbox tells of leases that it never granted.
//!
//! For: finding such usage before anything is appended ([`settle_with`]), refusing to start on it, and writing it off when an
//! operator says so: by a file named [`ACT`] in the outbox's folder, for one start.
//! May not touch: accounts. What is written off is the operator's loss; no user pays for it, and it is on no log.
//! Claims: usage of leases that the log knows is reported as ever, as far as it follows what the log has of them; of all else
//! nothing is reported, and nothing is dropped before it stands in a file of its own on disk; what stands there is never reported
//! by a later start; a lease is closed on what the log then has of it.

use super::{Note, Shared};
use crate::outbox::{FormerEpoch, InterruptedCall, Recovered, RecoveredLease, RecoveredRecord};
use crate::{Ledger, LedgerError, Subject};
use domain::{AccountEvent, AccountId, Credits, EpochId, Event, LeaseId, NodeEvent, RequestId, UsageRecord};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

/// The file by which an operator says that what the log does not know is written off.
pub(super) const ACT: &str = "write-off";
/// How the files begin that hold what was written off.
const WRITTEN_OFF: &str = "written-off-";

/// A line of such a file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A call that was charged.
    Settled(Box<UsageRecord>),
    /// A call that was in flight, with what was delivered by its last mark.
    Interrupted(Box<InterruptedCall>),
}

/// Does the log hold the last report that this node knows to be acknowledged? If not it is another one, or an older one that may
/// have gone on since, and the sequences in the outbox mean nothing there.
pub(super) async fn is_the_same_log(ledger: &Ledger, recovered: &Recovered) -> Result<bool, LedgerError> {
    let acknowledged = recovered.settled.iter().filter_map(|it| it.reported);
    let Some(last) = acknowledged.chain(recovered.epochs.iter().map(|it| it.last_reported)).max() else {
        return Ok(true);
    };
    if last == 0 {
        return Ok(true);
    }
    Ok(match ledger.log().at(last).await?.map(|logged| logged.recorded.event) {
        Some(Event::Node(epoch, NodeEvent::UsageReported(report))) => {
            recovered.epochs.iter().any(|it| it.epoch == epoch)
                || recovered.settled.iter().any(|it| {
                    it.reported == Some(last)
                        && report.records.iter().any(|there| (there.lease, there.n) == place(&it.record))
                })
        }
        Some(
            Event::Node(_, NodeEvent::NodeSealed(_))
            | Event::Account(..)
            | Event::Suspense(..)
            | Event::Channel(..),
        )
        | None => false,
    })
}

/// Adds leases that had ended and are open again on an older log, and the runs that they belong to: those are over too, for the
/// outbox was theirs.
pub(super) async fn reopen(shared: &Shared, recovered: &mut Recovered) -> Result<(), LedgerError> {
    let mut known: BTreeSet<LeaseId> = recovered.leases.iter().map(|it| it.lease).collect();
    let mut runs: BTreeSet<EpochId> = recovered.epochs.iter().map(|it| it.epoch).collect();
    for record in recovered.settled.iter().map(|it| &it.record) {
        if !known.insert(record.lease) {
            continue;
        }
        let account = shared.ledger.account(record.account).await?;
        let Some(open) = account.leases.get(&record.lease) else { continue };
        if runs.insert(open.epoch) {
            recovered.epochs.insert(0, FormerEpoch { epoch: open.epoch, last_reported: 0 });
        }
        let (lease, account, epoch) = (record.lease, record.account, open.epoch);
        recovered.leases.push(RecoveredLease { lease, account, epoch, count: 0, spent: Credits::ZERO });
    }
    Ok(())
}

fn place(record: &UsageRecord) -> (LeaseId, u64) {
    (record.lease, record.n)
}

/// Takes out of what was recovered what the log cannot take: `is_same`, whether it is the log that the outbox knows, and which
/// records are there.
///
/// Errors: [`LedgerError::Unfit`] where some of it can never be there, and nobody said that it is written off.
pub(super) async fn settle_with(
    shared: &Shared,
    recovered: &mut Recovered,
    is_same: bool,
    on_log: &BTreeMap<(LeaseId, u64), u64>,
) -> Result<(), LedgerError> {
    let is_on_log = |it: &UsageRecord| on_log.contains_key(&place(it));
    let dir = shared.options.outbox.dir.clone();
    let before = written_before(&dir)?;
    recovered.settled.retain(|it| !before.records.contains(&(it.record.lease, it.record.n)));
    recovered.interrupted.retain(|it| !before.requests.contains(&it.usage.request));
    let wanted = recovered.settled.iter().filter(|it| !is_on_log(&it.record));
    let wanted = wanted.map(|it| (it.record.lease, it.record.account));
    let wanted = wanted.chain(recovered.interrupted.iter().map(|it| (it.lease, it.account)));
    let unknown = unknown_leases(shared, wanted.collect()).await?;
    let mut behind_a_hole = BTreeSet::new();
    if !is_same {
        let mut sizes = BTreeMap::new();
        for it in &recovered.leases {
            let account = shared.ledger.account(it.account).await?;
            sizes.extend(account.leases.get(&it.lease).map(|open| (it.lease, open.credits)));
        }
        behind_a_hole = cut_at_holes(recovered, &unknown, &sizes, on_log);
    }
    let (settled, kept): (Vec<RecoveredRecord>, _) =
        std::mem::take(&mut recovered.settled).into_iter().partition(|it| {
            let is_lost = unknown.contains(&it.record.lease) || behind_a_hole.contains(&place(&it.record));
            is_lost && !is_on_log(&it.record)
        });
    recovered.settled = kept;
    let (interrupted, kept) = std::mem::take(&mut recovered.interrupted)
        .into_iter()
        .partition::<Vec<_>, _>(|it| unknown.contains(&it.lease));
    recovered.interrupted = kept;
    if settled.is_empty() && interrupted.is_empty() {
        return Ok(());
    }
    let lines: Vec<Line> = settled
        .iter()
        .map(|it| Line::Settled(Box::new(it.record.clone())))
        .chain(interrupted.iter().map(|it| Line::Interrupted(Box::new(it.clone()))))
        .collect();
    let act = dir.join(ACT);
    if !act.try_exists().map_err(io)? {
        return Err(LedgerError::Unfit(format!(
            "the outbox {} holds {} calls of leases that this log never granted, or that come behind others which it does not \
             have: the log was restored from a state before them. Nothing was reported. Restore a younger log; or make the file \
             {}, and start again: these calls are then written off as the operator's loss, into a file beside it (docs/backup.md)",
            dir.display(),
            lines.len(),
            act.display(),
        )));
    }
    let path = dir.join(format!("{WRITTEN_OFF}{}.jsonl", shared.epoch()));
    write(&path, &lines).map_err(io)?;
    for (account, (calls, charge)) in by_account(&lines) {
        tracing::error!(
            alert = "usage_written_off", %account, calls, %charge, file = %path.display(),
            "calls of leases that the restored log never granted are written off: the account keeps what they cost"
        );
    }
    // From here on nothing of it is asked for again, and the outbox may let go of it.
    let sequence = shared.ledger.log().identity().await?.last_sequence;
    let records = settled.iter().map(|it| (it.record.lease, it.record.n)).collect();
    shared.note_lightly(&Note::Reported { sequence, records });
    for call in interrupted {
        shared.note_lightly(&Note::Released { request: call.usage.request });
    }
    std::fs::remove_file(&act).map_err(io)
}

fn io(error: std::io::Error) -> LedgerError {
    LedgerError::Unfit(format!("the outbox: what was written off cannot be kept there: {error}"))
}

/// The records that come behind others which neither the log nor the outbox has, or that spend more of a lease than the log lent,
/// which an amendment did that it has lost; their leases end before them.
fn cut_at_holes(
    recovered: &mut Recovered,
    unknown: &BTreeSet<LeaseId>,
    sizes: &BTreeMap<LeaseId, Credits>,
    on_log: &BTreeMap<(LeaseId, u64), u64>,
) -> BTreeSet<(LeaseId, u64)> {
    let mut cut = BTreeSet::new();
    for lease in recovered.leases.iter_mut().filter(|it| !unknown.contains(&it.lease)) {
        let id = lease.lease;
        let there = on_log.range((id, 0)..=(id, u64::MAX)).next_back().map_or(0, |((_, n), _)| *n);
        let own = recovered.settled.iter().map(|it| &it.record).filter(|it| it.lease == id && it.n > there);
        let own: BTreeMap<u64, Credits> = own.map(|it| (it.n, it.spent)).collect();
        let told = own.keys().next_back().map_or(lease.count, |last| lease.count.max(*last));
        // What the log has of it raises this, where it is more.
        (lease.count, lease.spent) = (0, Credits::ZERO);
        let mut next = there + 1;
        for (n, spent) in own {
            if n == next && sizes.get(&id).is_none_or(|size| spent <= *size) {
                (lease.count, lease.spent) = (n, spent);
                next += 1;
            } else {
                cut.insert((id, n));
            }
        }
        let missing = (next..=told).filter(|n| !cut.contains(&(id, *n))).count();
        if missing > 0 {
            tracing::error!(
                alert = "usage_lost", lease = %id, account = %lease.account, missing, behind = next - 1,
                "records of a lease are neither on the restored log nor in the outbox: it ends before them"
            );
        }
    }
    cut
}

/// Those of some leases that the log never granted.
async fn unknown_leases(
    shared: &Shared,
    wanted: BTreeSet<(LeaseId, AccountId)>,
) -> Result<BTreeSet<LeaseId>, LedgerError> {
    let mut unknown: BTreeMap<AccountId, BTreeSet<LeaseId>> = BTreeMap::new();
    for (lease, of) in wanted {
        let account = shared.ledger.account(of).await?;
        let is_closed = account.closed_leases.iter().any(|(closed, _)| *closed == lease);
        if !is_closed && !account.leases.contains_key(&lease) {
            unknown.entry(of).or_default().insert(lease);
        }
    }
    // An account forgets leases that were closed long ago; its events do not.
    let mut never = BTreeSet::new();
    for (account, mut leases) in unknown {
        for logged in shared.ledger.log().events_behind(&Subject::Account(account), 0).await? {
            if let Event::Account(_, AccountEvent::LeaseGranted(it)) = &logged.recorded.event {
                leases.remove(&it.lease);
            }
        }
        never.extend(leases);
    }
    Ok(never)
}

/// What was written off by earlier starts.
#[derive(Default)]
struct Before {
    records: BTreeSet<(LeaseId, u64)>,
    requests: BTreeSet<RequestId>,
}

fn written_before(dir: &Path) -> Result<Before, LedgerError> {
    let mut before = Before::default();
    for file in std::fs::read_dir(dir).map_err(io)? {
        let path = file.map_err(io)?.path();
        if !path.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.starts_with(WRITTEN_OFF)) {
            continue;
        }
        for line in std::fs::read_to_string(&path).map_err(io)?.lines() {
            let broken =
                |error: serde_json::Error| LedgerError::Unfit(format!("{}: {error}", path.display()));
            match serde_json::from_str(line).map_err(broken)? {
                Line::Settled(it) => {
                    before.records.insert((it.lease, it.n));
                }
                Line::Interrupted(it) => {
                    before.requests.insert(it.usage.request);
                }
            }
        }
    }
    Ok(before)
}

/// Under another name until it is whole and on disk.
fn write(path: &Path, lines: &[Line]) -> std::io::Result<()> {
    let draft = path.with_file_name("write-off.draft");
    let mut file = std::fs::File::create(&draft)?;
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn by_account(lines: &[Line]) -> BTreeMap<AccountId, (u64, Credits)> {
    let mut sums: BTreeMap<AccountId, (u64, Credits)> = BTreeMap::new();
    for line in lines {
        let (account, charge) = match line {
            Line::Settled(it) => (it.account, it.usage.charge),
            Line::Interrupted(it) => (it.account, it.usage.charge),
        };
        let (calls, sum) = sums.entry(account).or_default();
        *calls += 1;
        *sum = sum.checked_add(charge).unwrap_or(*sum);
    }
    sums
}
