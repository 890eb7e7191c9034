//! Reporting: usage records go to `ledger.node.<epoch>` in batches, one append in flight.
//!
//! Group commit: while one batch is being acknowledged the next one fills, across all accounts, and no batch follows another
//! sooner than [`PACE`], unless a whole one waits or somebody is in a hurry. That makes durable metering cheap: hundreds of
//! records per disk flush, per message and per transaction of the projections. A record that comes alone does not wait. Claims: records stand on the log in the order in
//! which they were settled; a batch whose answer was lost is sent again with the same id and the same bytes; what a sealed
//! epoch could not report any more is reported under the next one, as it is; an epoch reports nothing before its begin is on
//! the outbox's disk.

use super::book::Entry;
use super::{Note, Shared};
use crate::log::{Appended, hash};
use crate::outbox::RecordJson;
use crate::{LedgerError, Subject, ambient, codec, crash};
use domain::{BatchId, EpochId, EventId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Records per batch: more would hold up, while they are read, the calls of a node that has one processor.
const MOST_RECORDS: usize = 250;
/// Bytes of the records of a batch, or of one record if that is larger: the server takes messages of 1 MiB.
const MOST_BYTES: usize = 512 * 1024;
/// From one batch to the next. The outbox has the records, so nothing is at stake meanwhile; and a disk that flushes in a
/// fraction of a millisecond would otherwise be given a handful of records at a time. Tables trail the calls by that much.
const PACE: Duration = Duration::from_millis(100);

/// Records on their way to the log.
#[derive(Default)]
pub(super) struct Reports {
    queue: Mutex<Queue>,
    /// Told when a first record is queued, when a whole batch is, and when somebody is in a hurry.
    queued: tokio::sync::Notify,
    /// Told when a batch is acknowledged.
    acknowledged: tokio::sync::Notify,
    broken: OnceLock<String>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    /// Bytes of those that wait.
    bytes: usize,
    /// Somebody waits for the log to have them.
    hurried: bool,
    /// Size of the batch that is being appended, and the age of its oldest record.
    in_flight: usize,
    in_flight_since: Option<Instant>,
}

struct Queued {
    record: RecordJson,
    /// Whose lease it is charged to; `None`: a lease of a run before.
    entry: Option<Arc<Entry>>,
    since: Instant,
}

impl Reports {
    /// Queues a record, in the bytes in which it stands in the outbox.
    pub(super) fn push(&self, record: RecordJson, entry: Option<Arc<Entry>>) {
        let tell = {
            let mut queue = self.queue();
            let was_whole = queue.is_whole();
            queue.bytes += record.json().len();
            queue.waiting.push_back(Queued { record, entry, since: Instant::now() });
            // Between the first and the last of a whole batch the reporter waits for the time.
            queue.waiting.len() == 1 || (!was_whole && queue.is_whole())
        };
        if tell {
            self.queued.notify_one();
        }
    }

    /// Lets what waits go to the log at once: somebody cannot go on before it is there.
    pub(super) fn hurry(&self) {
        let mut queue = self.queue();
        queue.hurried = !queue.waiting.is_empty();
        if queue.hurried {
            drop(queue);
            self.queued.notify_one();
        }
    }

    /// How many records the log has not acknowledged, and how long the oldest has waited.
    pub(super) fn waiting(&self) -> (u64, Duration) {
        let queue = self.queue();
        let oldest = queue.in_flight_since.or_else(|| queue.waiting.front().map(|queued| queued.since));
        let count = queue.waiting.len() + queue.in_flight;
        (u64::try_from(count).unwrap_or(u64::MAX), oldest.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Why this node can report no more, if so.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.get().cloned()
    }

    /// Waits until the log has acknowledged every record, or never will.
    pub(super) async fn drained(&self) {
        loop {
            let acknowledged = self.acknowledged.notified();
            self.hurry();
            if self.waiting().0 == 0 || self.broken.get().is_some() {
                return;
            }
            acknowledged.await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch; empty if nothing waits.
    fn take(&self) -> Vec<Queued> {
        let mut queue = self.queue();
        let (mut count, mut bytes) = (0, 0);
        for queued in queue.waiting.iter().take(MOST_RECORDS) {
            let with = bytes + queued.record.json().len();
            if count > 0 && with > MOST_BYTES {
                break;
            }
            (count, bytes) = (count + 1, with);
        }
        let batch: Vec<_> = queue.waiting.drain(..count).collect();
        queue.bytes -= bytes;
        queue.hurried &= !queue.waiting.is_empty();
        queue.in_flight = batch.len();
        queue.in_flight_since = batch.first().map(|queued| queued.since);
        batch
    }

    fn put_back(&self, batch: Vec<Queued>) {
        let mut queue = self.queue();
        queue.in_flight -= batch.len();
        for queued in batch.into_iter().rev() {
            queue.bytes += queued.record.json().len();
            queue.waiting.push_front(queued);
        }
    }

    fn done(&self) {
        let mut queue = self.queue();
        (queue.in_flight, queue.in_flight_since) = (0, None);
        drop(queue);
        self.acknowledged.notify_waiters();
    }
}

impl Queue {
    /// Is what waits as much as a batch may hold?
    fn is_whole(&self) -> bool {
        self.waiting.len() >= MOST_RECORDS || self.bytes >= MOST_BYTES
    }
}

/// Where this run's subject ends.
struct Place {
    epoch: EpochId,
    sequence: u64,
    version: u64,
    prev: Option<crate::log::Hash>,
}

impl Place {
    fn start(epoch: EpochId) -> Self {
        Self { epoch, sequence: 0, version: 0, prev: None }
    }
}

/// What became of a batch.
enum Sent {
    /// It stands at this sequence.
    At(u64),
    /// The epoch was sealed before it could land.
    Sealed,
    /// The meter was stopped while the log was away.
    Stopped,
}

/// Appends batches until the meter stops and nothing is left.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut place = Place::start(shared.epoch());
    let mut not_before = Instant::now();
    loop {
        gather(&shared.reports, not_before, &shared.stop).await;
        let mut batch = shared.reports.take();
        if batch.is_empty() {
            tokio::select! {
                biased;
                () = shared.reports.queued.notified() => continue,
                () = shared.stop.cancelled() => return,
            }
        }
        let epoch = shared.epoch();
        if epoch != place.epoch {
            place = Place::start(epoch);
        }
        let (id, bytes) = match encode(&shared, &place, &batch) {
            Ok(encoded) => encoded,
            Err(error) => return give_up(&shared, &error),
        };
        if place.version == 0 {
            begun_on_disk(&shared).await;
        }
        not_before = Instant::now() + PACE;
        let own_hash = hash(&bytes);
        crash::point("report.encoded");
        match append(&shared, &place, id, bytes).await {
            Ok(Sent::At(sequence)) => {
                place = Place { sequence, version: place.version + 1, prev: Some(own_hash), ..place };
            }
            Ok(Sent::Sealed) => {
                shared.reports.put_back(batch.split_off(0));
                shared.end_epoch(place.epoch);
                continue;
            }
            Ok(Sent::Stopped) => return, // the drain has said so; the next start reports what the outbox has
            Err(error) => return give_up(&shared, &error),
        }
        crash::point("report.appended");
        let records = batch.iter().map(|queued| queued.record.key()).collect();
        shared.note_lightly(&Note::Reported { sequence: place.sequence, records });
        crash::point("report.noted");
        for queued in &batch {
            if let Some(entry) = &queued.entry {
                entry.book().acknowledged(queued.record.key().0);
            }
        }
        shared.reports.done();
    }
}

/// Takes to the disk that this run has begun, before the log has anything of it: were a power cut to take that, the next
/// start would not know where to look for what this run reported, and would report the same calls otherwise.
async fn begun_on_disk(shared: &Shared) {
    let outbox = shared.outbox.clone();
    // A failure is logged by the outbox, and no call begins any more; what has ended still goes to the log.
    let _flushed = ambient::blocking(move || outbox.flush()).await;
}

/// Lets the next batch fill until it may go, or is a whole one, or somebody is in a hurry, or the meter stops.
async fn gather(reports: &Reports, not_before: Instant, stop: &CancellationToken) {
    loop {
        {
            let queue = reports.queue();
            if queue.is_whole() || queue.hurried {
                return;
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(not_before) => return,
            () = reports.queued.notified() => {}
        }
    }
}

fn encode(shared: &Shared, place: &Place, batch: &[Queued]) -> Result<(EventId, Vec<u8>), LedgerError> {
    let id = EventId::from_uuid(ambient::new_id());
    let head = codec::ReportHead {
        id,
        epoch: place.epoch,
        batch: BatchId::from_uuid(id.uuid()),
        version: place.version + 1,
        at: ambient::now(),
        actor: &shared.actor()?,
        prev: place.prev,
    };
    Ok((id, codec::encode_report(&head, batch.iter().map(|queued| queued.record.json()))?))
}

/// Tries for as long as the log is away.
async fn append(shared: &Shared, place: &Place, id: EventId, bytes: Vec<u8>) -> Result<Sent, LedgerError> {
    let subject = Subject::Node(place.epoch);
    loop {
        match shared.ledger.log().append(&subject, place.sequence, id, bytes.clone()).await {
            Ok(Appended::Stored { sequence }) => return Ok(Sent::At(sequence)),
            Ok(Appended::LostRace) => match super::epoch::is_sealed(shared, place.epoch).await {
                Ok(true) => return Ok(Sent::Sealed),
                Err(LedgerError::Unavailable(why)) => {
                    tracing::warn!(%subject, why, "usage waits for the log");
                }
                Ok(false) | Err(_) => {
                    return Err(LedgerError::Damaged(format!("another process writes to {subject}")));
                }
            },
            Err(LedgerError::Unavailable(why)) => {
                tracing::warn!(epoch = %place.epoch, why, "usage waits for the log");
                check_tail(shared, &subject, place.sequence).await?;
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return Ok(Sent::Stopped),
            () = tokio::time::sleep(ambient::jitter(Duration::from_millis(100)..Duration::from_millis(300))) => {}
        }
    }
}

/// A log that was restored from an older state misses what it had acknowledged: no append can succeed then, and the outbox
/// has to report again, which a start does.
async fn check_tail(shared: &Shared, subject: &Subject, expected: u64) -> Result<(), LedgerError> {
    match shared.ledger.log().last_on(subject).await {
        Ok(last) if last.as_ref().map_or(0, |logged| logged.recorded.sequence) < expected => {
            Err(LedgerError::Damaged(format!(
                "message {expected} on {subject} was acknowledged and is gone: start this node again, so that its outbox reports what the log has lost"
            )))
        }
        Ok(_) | Err(LedgerError::Unavailable(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// This process can report no more: no new call may start on this node.
pub(super) fn give_up(shared: &Shared, error: &LedgerError) {
    tracing::error!(epoch = %shared.epoch(), %error, "usage cannot be reported; no more calls are admitted");
    // The first reason stands.
    shared.reports.broken.set(error.to_string()).ok();
    shared.reports.acknowledged.notify_waiters();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::usage;
    use domain::{AccountId, Credits, LeaseId, UsageRecord};

    fn json(n: u64) -> RecordJson {
        let (account, lease) =
            (AccountId::from_uuid(uuid::Uuid::nil()), LeaseId::from_uuid(uuid::Uuid::nil()));
        let (spent, uncovered) = (Credits::ZERO, Credits::ZERO);
        let usage = usage(Credits::ZERO);
        RecordJson::of(&UsageRecord { account, lease, n, spent, uncovered, usage }).unwrap()
    }

    fn push(reports: &Reports, n: u64) {
        reports.push(json(n), None);
    }

    /// How long the next batch filled, by a clock that only sleepers move.
    async fn gathered(reports: &Reports, stop: &CancellationToken) -> Duration {
        let begun = Instant::now();
        gather(reports, begun + PACE, stop).await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_fills_until_its_time_has_come() {
        let (reports, stop) = (Reports::default(), CancellationToken::new());
        push(&reports, 1);
        assert!(gathered(&reports, &stop).await >= PACE);
        push(&reports, 2);
        gather(&reports, Instant::now(), &stop).await;
        assert_eq!(reports.take().len(), 2);
        assert!(reports.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_batch_goes_at_once_and_holds_no_more_than_it_may() {
        let (reports, stop) = (Reports::default(), CancellationToken::new());
        (1..=MOST_RECORDS as u64 + 7).for_each(|n| push(&reports, n));
        assert_eq!(gathered(&reports, &stop).await, Duration::ZERO);
        assert_eq!(reports.take().len(), MOST_RECORDS);
        assert_eq!(gathered(&reports, &stop).await.as_millis(), PACE.as_millis());
        assert_eq!(reports.take().len(), 7);
        assert_eq!(reports.queue().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn large_records_make_a_batch_whole_by_their_bytes() {
        let (reports, stop) = (Reports::default(), CancellationToken::new());
        let attempts = MOST_BYTES / json(1).json().len();
        let attempt = |index: usize| domain::usage::Attempt {
            provider: domain::Label::try_new(format!("{index:0200}")).unwrap(),
            status: None,
            error: None,
            duration_ms: 0,
            key: None,
            chosen: None,
        };
        let mut usage = usage(Credits::ZERO);
        usage.attempts = (0..attempts * 3).map(attempt).collect();
        let large = UsageRecord { usage, ..serde_json::from_slice(json(1).json()).unwrap() };
        let large = RecordJson::of(&large).unwrap();
        assert!(large.json().len() > MOST_BYTES / 2);
        reports.push(large.clone(), None);
        reports.push(large, None);
        assert_eq!(gathered(&reports, &stop).await, Duration::ZERO);
        assert_eq!(reports.take().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_in_a_hurry_or_stops_does_not_wait_for_the_time() {
        let (reports, stop) = (Reports::default(), CancellationToken::new());
        reports.hurry();
        push(&reports, 1);
        assert!(gathered(&reports, &stop).await >= PACE, "nothing waited when somebody was in a hurry");
        reports.hurry();
        assert_eq!(gathered(&reports, &stop).await, Duration::ZERO);
        // What came after that has time again.
        assert_eq!(reports.take().len(), 1);
        push(&reports, 2);
        assert!(gathered(&reports, &stop).await >= PACE);
        stop.cancel();
        assert_eq!(gathered(&reports, &stop).await, Duration::ZERO);
    }

    #[test]
    fn what_could_not_be_reported_goes_first_again() {
        let reports = Reports::default();
        (1..=3).for_each(|n| push(&reports, n));
        let (batch, bytes) = (reports.take(), reports.queue().bytes);
        assert_eq!((batch.len(), bytes), (3, 0));
        push(&reports, 4);
        reports.put_back(batch);
        let order: Vec<u64> = reports.take().iter().map(|queued| queued.record.key().1).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }
}
