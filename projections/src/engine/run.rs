use super::check::{check, check_hash, proves};
use super::{Applied, ProjectorOptions, ProjectorStatus, apply};
use crate::error::with_sources;
use crate::{Checkpoint, Database, DatabaseError, Halt, ProjectionError};
use ledger::{LedgerError, Log, Logged, StreamIdentity, Tail};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often an idle engine compares the log with the checkpoint: so long does a cut log go unnoticed that gets no new
/// messages. Twice as long does a reader that has lost its server.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The first and the longest wait for a log or database that is away.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a batch under way may take to end once the engine is told to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The engine's task.
pub(super) struct Run {
    pub(super) db: Database,
    pub(super) log: Log,
    pub(super) options: ProjectorOptions,
    pub(super) status: Arc<watch::Sender<ProjectorStatus>>,
    pub(super) stop: CancellationToken,
}

/// Where a session stands: what the tables contain, and which stream it was compared with.
struct Place {
    checkpoint: Checkpoint,
    identity: StreamIdentity,
}

impl Run {
    /// Works until it is told to stop; after a halt it only waits for that.
    pub(super) async fn until_stopped(self) {
        let mut back_off = BACK_OFF.0;
        while !self.stop.is_cancelled() {
            let before = self.status.borrow().applied;
            // Dropping a session in the middle of a transaction rolls it back.
            let ended = tokio::select! {
                ended = self.session() => ended,
                () = self.stopped_for(STOP_GRACE) => return,
            };
            let Err(error) = ended else { return };
            if let Some(halt) = permanent(&error) {
                return self.halt(&halt).await;
            }
            if self.status.borrow().applied > before {
                back_off = BACK_OFF.0;
            }
            let why = with_sources(&error);
            tracing::warn!(error = %why, retry_ms = back_off.as_millis(), "the projections wait");
            self.status.send_modify(|status| status.waiting = Some(why));
            // Ended early by the stop: the loop's condition sees it.
            let _ = self.stop.run_until_cancelled(tokio::time::sleep(jitter(back_off))).await;
            back_off = (back_off * 2).min(BACK_OFF.1);
        }
    }

    async fn stopped_for(&self, grace: Duration) {
        self.stop.cancelled().await;
        tokio::time::sleep(grace).await;
    }

    /// Compares the log with the checkpoint and applies what comes. `Ok`: told to stop. An error that is not a halt means
    /// that the next session must compare again.
    async fn session(&self) -> Result<(), ProjectionError> {
        let mut place = self.compare().await?;
        let mut tail = self.log.tail(place.checkpoint.sequence, None).await?;
        self.status.send_modify(|status| status.waiting = None);
        loop {
            let batch = match self.next(&mut tail, &mut place).await {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(()),
                Err(error) => return self.up_to(error, place).await,
            };
            let behind = tail.pending().unwrap_or(0);
            if let Some(last) = batch.last() {
                place.identity.last_sequence = last.recorded.sequence.saturating_add(behind);
            }
            let batch = self.without_holes(&place, batch).await?;
            self.apply_all(&mut place, batch).await?;
        }
    }

    /// The end of a session by an error of the reader. What stands before an unknown event is applied, so that the tables
    /// stop right before it wherever a batch happened to begin.
    async fn up_to(&self, error: ProjectionError, mut place: Place) -> Result<(), ProjectionError> {
        if let ProjectionError::Ledger(LedgerError::UnknownEvent { sequence, .. }) = &error {
            for before in place.checkpoint.sequence + 1..*sequence {
                let logged = self.log.at(before).await?.ok_or(Halt::Hole { sequence: before })?;
                self.apply_all(&mut place, vec![logged]).await?;
            }
        }
        Err(error)
    }

    /// Applies a batch, less what other projectors have applied of it meanwhile.
    async fn apply_all(&self, place: &mut Place, mut batch: Vec<Logged>) -> Result<(), ProjectionError> {
        loop {
            batch.retain(|logged| logged.recorded.sequence > place.checkpoint.sequence);
            let Some(first) = batch.first() else { return Ok(()) };
            if first.recorded.sequence > place.checkpoint.sequence + 1 {
                return Err(moved_back(place));
            }
            self.stands(&place.checkpoint, &batch).await?;
            let zone = self.options.time_zone;
            let applied = apply(&self.db, zone, &place.identity, &place.checkpoint, &batch);
            match self.in_time(applied).await? {
                Applied::Here(checkpoint) => {
                    place.checkpoint = checkpoint;
                    self.report(place);
                    return Ok(());
                }
                Applied::Elsewhere => *place = self.compare().await?,
            }
        }
    }

    /// Is the message at the checkpoint still the one that was applied? Asked before every batch, after it has arrived:
    /// the reader repairs its connection by itself, and a log that lost its tail meanwhile has given the lost sequences to
    /// new messages. Once those are applied, the checkpoint is one of them and nothing would ever show it. Between two
    /// reports of one run, nearly always under load, the batch itself tells, and nobody need be asked.
    async fn stands(&self, checkpoint: &Checkpoint, batch: &[Logged]) -> Result<(), ProjectionError> {
        if checkpoint.sequence > 0 && !proves(checkpoint, batch) {
            check_hash(checkpoint, self.log.hash_at(checkpoint.sequence).await?)?;
        }
        Ok(())
    }

    /// What the database answers, unless it takes longer than patience lasts: a server that has stopped answering, or a
    /// road to it that swallows everything, closes no connection. A transaction that is given up ends with its connection;
    /// whether its commit happened is what the next session reads from the checkpoint.
    async fn in_time<T, E: Into<ProjectionError>>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ProjectionError> {
        let patience = self.options.patience;
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(DatabaseError::no_answer(patience).into()),
        }
    }

    /// The next messages; `None`: told to stop. While it waits, the log is compared now and then.
    async fn next(&self, tail: &mut Tail, place: &mut Place) -> Result<Option<Vec<Logged>>, ProjectionError> {
        // One future from start to end: dropping it half-way could lose messages that it has taken.
        let next = tail.next_batch(self.options.max_batch.max(1));
        tokio::pin!(next);
        let mut seen = place.checkpoint.sequence;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                batch = &mut next => return Ok(Some(batch?)),
                () = tokio::time::sleep(CHECK_EVERY) => {
                    let before = place.checkpoint.sequence;
                    *place = self.compare().await?;
                    if place.checkpoint.sequence < before {
                        return Err(moved_back(place));
                    }
                }
            }
            // Its own heartbeats would take many seconds to tell it that the server has forgotten it.
            if seen > place.checkpoint.sequence {
                return Err(LedgerError::Unavailable("the reader of LEDGER is silent".into()).into());
            }
            seen = place.identity.last_sequence;
        }
    }

    /// Fetches what the reader left out. Nothing may be deleted from the log, so a message that it does not have either
    /// is a reason to halt.
    async fn without_holes(&self, place: &Place, batch: Vec<Logged>) -> Result<Vec<Logged>, ProjectionError> {
        let mut whole = Vec::with_capacity(batch.len());
        let mut due = place.checkpoint.sequence + 1;
        for logged in batch {
            while due < logged.recorded.sequence {
                tracing::error!(
                    sequence = due,
                    "the reader of the log left out a message; it is fetched directly"
                );
                whole.push(self.log.at(due).await?.ok_or(Halt::Hole { sequence: due })?);
                due += 1;
            }
            if logged.recorded.sequence == due {
                due += 1;
            }
            whole.push(logged);
        }
        Ok(whole)
    }

    /// Reads the checkpoint and compares the log with it.
    async fn compare(&self) -> Result<Place, ProjectionError> {
        let checkpoint = self.in_time(Checkpoint::read(&self.db)).await?;
        let identity = self.log.identity().await?;
        let at_checkpoint = match checkpoint.sequence {
            0 => None,
            sequence => self.log.hash_at(sequence).await?,
        };
        check(&checkpoint, &identity, at_checkpoint)?;
        let place = Place { checkpoint, identity };
        self.report(&place);
        Ok(place)
    }

    fn report(&self, place: &Place) {
        let applied = place.checkpoint.sequence;
        self.status.send_modify(|status| {
            status.applied = applied;
            status.last_seen = status.last_seen.max(place.identity.last_sequence).max(applied);
            status.lag = status.last_seen - applied;
        });
    }

    async fn halt(&self, halt: &Halt) {
        let applied = self.status.borrow().applied;
        tracing::error!(reason = %halt, applied, "the projections have stopped and will not go on by themselves");
        self.status.send_modify(|status| {
            status.halted = Some(halt.to_string());
            status.waiting = None;
        });
        self.stop.cancelled().await;
    }
}

/// The tables stand before what was read: rebuilt ones have come in their place, or a backup. The next session reads again
/// from there.
fn moved_back(place: &Place) -> ProjectionError {
    let position = place.checkpoint.sequence;
    LedgerError::Unavailable(format!(
        "the tables were put back to {position}; LEDGER is read again from there"
    ))
    .into()
}

/// Is an error one that no retry cures?
fn permanent(error: &ProjectionError) -> Option<Halt> {
    match error {
        ProjectionError::Halt(halt) => Some(halt.clone()),
        ProjectionError::Ledger(error) => match error {
            LedgerError::Damaged(_) | LedgerError::Unfit(_) | LedgerError::UnknownEvent { .. } => {
                Some(Halt::Unreadable(error.to_string()))
            }
            LedgerError::Refused(_) | LedgerError::Contended { .. } | LedgerError::Unavailable(_) => None,
        },
        ProjectionError::Database(inner) => match inner {
            // An outcome unknown is settled by the next session, which reads the checkpoint.
            DatabaseError::Unavailable(_) | DatabaseError::OutcomeUnknown(_) => None,
            DatabaseError::Config(_)
            | DatabaseError::UniqueViolation(_)
            | DatabaseError::Refused(_)
            | DatabaseError::NoRow
            | DatabaseError::Column { .. }
            | DatabaseError::Migration(_) => Some(Halt::RefusedRow { why: with_sources(error) }),
        },
    }
}

/// Between half of it and all of it, so that nodes that lost the same server do not come back in step.
fn jitter(wait: Duration) -> Duration {
    let [random, ..] = uuid::Uuid::new_v4().into_bytes();
    wait / 2 + wait / 2 * u32::from(random) / 255
}

#[cfg(test)]
impl Run {
    pub(super) fn for_tests(db: Database, log: Log) -> Self {
        let status = Arc::new(watch::channel(ProjectorStatus::default()).0);
        Self { db, log, options: ProjectorOptions::default(), status, stop: CancellationToken::new() }
    }

    pub(super) async fn apply_after(
        &self,
        checkpoint: Checkpoint,
        identity: StreamIdentity,
        batch: Vec<Logged>,
    ) -> Result<(), ProjectionError> {
        self.apply_all(&mut Place { checkpoint, identity }, batch).await
    }
}
