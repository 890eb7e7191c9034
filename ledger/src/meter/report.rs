//! Reporting: usage records go to `ledger.node.<epoch>` in batches, one append in flight.
//!
//! Group commit: while one batch is being acknowledged the next one fills, across all accounts. That makes durable
//! metering cheap: hundreds of records per disk flush. Claims: records stand on the log in the order in which they were
//! settled; a batch whose answer was lost is sent again with the same id and the same bytes.

use super::Shared;
use super::book::Entry;
use crate::log::{Appended, hash};
use crate::{LedgerError, Subject, codec};
use domain::event::UsageReported;
use domain::{BatchId, Event, EventId, Moment, NodeEvent, UsageRecord};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Records per batch. With about one kilobyte each a batch stays far below the server's 1 MiB.
const MOST_RECORDS: usize = 250;
/// A larger batch is halved.
const MOST_BYTES: usize = 512 * 1024;

/// Records on their way to the log.
#[derive(Default)]
pub(super) struct Reports {
    queue: Mutex<Queue>,
    /// Told when a record is queued.
    queued: tokio::sync::Notify,
    /// Told when a batch is acknowledged.
    acknowledged: tokio::sync::Notify,
    broken: OnceLock<String>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    /// Size of the batch that is being appended, and the age of its oldest record.
    in_flight: usize,
    in_flight_since: Option<Instant>,
}

struct Queued {
    record: UsageRecord,
    entry: Arc<Entry>,
    since: Instant,
}

impl Reports {
    pub(super) fn push(&self, record: UsageRecord, entry: Arc<Entry>) {
        self.queue().waiting.push_back(Queued { record, entry, since: Instant::now() });
        self.queued.notify_one();
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
            if self.waiting().0 == 0 || self.broken.get().is_some() {
                return;
            }
            acknowledged.await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, most: usize) -> Vec<Queued> {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(most);
        let batch: Vec<_> = queue.waiting.drain(..count).collect();
        queue.in_flight = batch.len();
        queue.in_flight_since = batch.first().map(|queued| queued.since);
        batch
    }

    fn put_back(&self, batch: Vec<Queued>) {
        let mut queue = self.queue();
        queue.in_flight -= batch.len();
        for queued in batch.into_iter().rev() {
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

/// Where this node's subject ends.
#[derive(Default)]
struct Position {
    sequence: u64,
    version: u64,
    prev: Option<crate::log::Hash>,
}

/// Appends batches until the meter stops and nothing is left.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut position = Position::default();
    let mut most = MOST_RECORDS;
    loop {
        let mut batch = shared.reports.take(most);
        if batch.is_empty() {
            tokio::select! {
                () = shared.reports.queued.notified() => continue,
                () = shared.stop.cancelled() => return,
            }
        }
        let records: Vec<_> = batch.iter().map(|queued| queued.record.clone()).collect();
        let (id, bytes) = match encode(&shared, &position, records) {
            Ok(encoded) => encoded,
            Err(error) => return give_up(&shared, &error),
        };
        if bytes.len() > MOST_BYTES && batch.len() > 1 {
            most = batch.len() / 2;
            shared.reports.put_back(batch.split_off(0));
            continue;
        }
        most = MOST_RECORDS;
        let own_hash = hash(&bytes);
        match append(&shared, position.sequence, id, bytes).await {
            Ok(Some(sequence)) => {
                position = Position { sequence, version: position.version + 1, prev: Some(own_hash) };
            }
            Ok(None) => return, // stopped while the log was away; the drain has said so
            Err(error) => return give_up(&shared, &error),
        }
        for queued in &batch {
            queued.entry.book().acknowledged(queued.record.lease);
        }
        shared.reports.done();
    }
}

fn encode(
    shared: &Shared,
    position: &Position,
    records: Vec<UsageRecord>,
) -> Result<(EventId, Vec<u8>), LedgerError> {
    let id = EventId::from_uuid(uuid::Uuid::now_v7());
    let batch = BatchId::from_uuid(id.uuid());
    let event = Event::Node(shared.epoch, NodeEvent::UsageReported(UsageReported { batch, records }));
    let draft = codec::Draft {
        id,
        version: position.version + 1,
        at: Moment::from(chrono::Utc::now()),
        actor: &shared.actor,
        key: None,
        prev: position.prev,
        event: &event,
    };
    Ok((id, codec::encode(&draft)?))
}

/// Tries for as long as the log is away. `None`: the meter was stopped meanwhile.
async fn append(
    shared: &Shared,
    expected: u64,
    id: EventId,
    bytes: Vec<u8>,
) -> Result<Option<u64>, LedgerError> {
    let subject = Subject::Node(shared.epoch);
    loop {
        match shared.ledger.log().append(&subject, expected, id, bytes.clone()).await {
            Ok(Appended::Stored { sequence }) => return Ok(Some(sequence)),
            Ok(Appended::LostRace) => {
                return Err(LedgerError::Damaged(format!("another process writes to {subject}")));
            }
            Err(LedgerError::Unavailable(why)) => {
                tracing::warn!(epoch = %shared.epoch, why, "usage waits for the log");
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(rand::random_range(100..300))) => {}
                    () = shared.stop.cancelled() => return Ok(None),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// This epoch cannot report any more: no new call may start on this node.
fn give_up(shared: &Shared, error: &LedgerError) {
    tracing::error!(epoch = %shared.epoch, %error, "usage cannot be reported; no more calls are admitted");
    // The first reason stands.
    shared.reports.broken.set(error.to_string()).ok();
    shared.reports.acknowledged.notify_waiters();
}
