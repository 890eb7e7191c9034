//! Filling tables from the log's first message, as fast as it goes: one task reads and decodes, one folds, one writes.
//!
//! Claims: what is written is the log without a hole, from sequence 1; before each transaction the log is asked whether it
//! still has what was written last, so that tables are never made of two logs.

use super::carry::{Carry, Limits};
use crate::database::Aliases;
use crate::engine::check_hash;
use crate::usage::Archived;
use crate::{Checkpoint, Database, Dialect, Halt, ProjectionError, Tx};
use chrono::FixedOffset;
use domain::{Event, NodeEvent};
use ledger::{LedgerError, Log, Logged, StreamIdentity};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How long SQLite is left alone after a transaction, when others write to the same file: those who wait look again every
/// 100 ms.
const PAUSE: Duration = Duration::from_millis(110);
/// Messages that the reader hands over at once, and how many such portions may wait: about 20 MB of full reports.
const PORTION: usize = 16;
const PORTIONS: usize = 4;
/// How long the reader may be silent, and how often it is started again without a message in between.
const SILENCE: Duration = Duration::from_secs(10);
const RESTARTS: u32 = 6;

/// Fills tables.
pub(crate) struct Filler {
    db: Database,
    aliases: Option<Arc<Aliases>>,
    /// Do others write to the same database?
    shared: bool,
    log: Log,
    limits: Limits,
    carry: Carry,
    /// The last message written, or handed out to be written.
    place: Checkpoint,
    identity: StreamIdentity,
    /// The last message read.
    read: u64,
    waiting: VecDeque<Logged>,
    reader: Option<Reader>,
    /// Usage records read, those reported twice among them.
    records: u64,
}

struct Reader {
    portions: mpsc::Receiver<Result<Vec<Logged>, LedgerError>>,
    _task: AbortOnDropHandle<()>,
}

impl Filler {
    /// For empty tables, which calls that an archive holds stay out of. `shared`: others write to the same database.
    pub(crate) async fn new(
        db: Database,
        aliases: Option<Arc<Aliases>>,
        shared: bool,
        log: Log,
        zone: FixedOffset,
        limits: Limits,
        archived: Archived,
    ) -> Result<Self, ProjectionError> {
        let identity = identity(&log).await?;
        Ok(Self {
            db,
            aliases,
            shared,
            log,
            limits,
            carry: Carry::new(zone, limits, Arc::new(archived)),
            place: Checkpoint::default(),
            identity,
            read: 0,
            waiting: VecDeque::new(),
            reader: None,
            records: 0,
        })
    }

    /// The last message written.
    pub(crate) fn place(&self) -> &Checkpoint {
        &self.place
    }

    /// Usage records read so far.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Fills the tables up to a position, which the log must have reached. A batch is folded while the one before it is
    /// being written.
    pub(crate) async fn up_to(&mut self, position: u64) -> Result<(), ProjectionError> {
        let mut writing: Option<AbortOnDropHandle<Result<(), ProjectionError>>> = None;
        while self.place.sequence < position {
            let batch = self.batch(position).await?;
            self.stands().await?;
            let last = self.read >= position;
            let portion = match self.carry.reads() {
                false => self.carry.fold(None, &batch, last).await?,
                true => {
                    finish(&mut writing).await?;
                    let mut tx = self.db.snapshot().await?;
                    tx.set_aliases(self.aliases.clone());
                    let portion = self.carry.fold(Some(&mut tx), &batch, last).await?;
                    tx.rollback().await?;
                    portion
                }
            };
            finish(&mut writing).await?;
            let pause =
                if self.shared && self.db.dialect() == Dialect::Sqlite { PAUSE } else { Duration::ZERO };
            let (db, aliases) = (self.db.clone(), self.aliases.clone());
            writing = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                portion.commit(db, aliases).await?;
                tokio::time::sleep(pause).await;
                Ok(())
            })));
            self.written(&batch);
        }
        finish(&mut writing).await
    }

    /// As [`Self::up_to`], in a transaction that does more. If that does not happen, call [`Self::rewind`].
    pub(crate) async fn up_to_in(&mut self, tx: &mut Tx, position: u64) -> Result<(), ProjectionError> {
        while self.place.sequence < position {
            let batch = self.batch(position).await?;
            let last = self.read >= position;
            tx.set_aliases(self.aliases.clone());
            let portion = self.carry.fold(Some(tx), &batch, last).await?;
            portion.write(tx).await?;
            tx.set_aliases(None);
            self.written(&batch);
        }
        Ok(())
    }

    /// Goes back to where the tables are after a transaction that did not happen.
    pub(crate) fn rewind(&mut self, place: Checkpoint) {
        if self.place != place {
            self.read = place.sequence;
            self.place = place;
            self.waiting.clear();
            self.reader = None;
            self.carry.forget();
        }
    }

    fn written(&mut self, batch: &[Logged]) {
        if let Some(last) = batch.last() {
            self.place = Checkpoint::after(last, &self.identity);
        }
    }

    /// Is the log still the one that the tables are made of?
    pub(crate) async fn stands(&self) -> Result<(), ProjectionError> {
        match self.place.sequence {
            0 => Ok(()),
            sequence => Ok(check_hash(&self.place, self.log.hash_at(sequence).await?)?),
        }
    }

    /// The log's last sequence. Errors: it is another log by now.
    pub(crate) async fn end(&self) -> Result<u64, ProjectionError> {
        let identity = identity(&self.log).await?;
        if identity.created != self.identity.created {
            let of = |it: &StreamIdentity| format!("{} of {}", it.stream, it.created);
            return Err(Halt::OtherStream { expected: of(&self.identity), found: of(&identity) }.into());
        }
        Ok(identity.last_sequence)
    }

    /// The next messages up to a position, as many as a transaction takes.
    async fn batch(&mut self, position: u64) -> Result<Vec<Logged>, ProjectionError> {
        let (mut batch, mut weight) = (Vec::new(), 0);
        while weight < self.limits.transaction && self.read < position {
            let logged = self.next().await?;
            let records = records_of(&logged);
            weight += 1 + records;
            self.records += u64::try_from(records).unwrap_or(u64::MAX);
            self.read = logged.recorded.sequence;
            batch.push(logged);
        }
        Ok(batch)
    }

    /// The message after the last one read.
    async fn next(&mut self) -> Result<Logged, ProjectionError> {
        let due = self.read + 1;
        let mut restarts = 0;
        loop {
            while let Some(logged) = self.waiting.pop_front() {
                match logged.recorded.sequence {
                    sequence if sequence < due => {}
                    sequence if sequence == due => return Ok(logged),
                    _ => {
                        self.waiting.push_front(logged);
                        return self.directly(due).await;
                    }
                }
            }
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => self.reader.insert(Reader::start(self.log.clone(), self.read)),
            };
            let error = match tokio::time::timeout(SILENCE, reader.portions.recv()).await {
                Ok(Some(Ok(portion))) => {
                    self.waiting.extend(portion);
                    continue;
                }
                Ok(Some(Err(error))) => error,
                Ok(None) | Err(_) => LedgerError::Unavailable("the reader of LEDGER is silent".into()),
            };
            self.reader = None;
            match error {
                LedgerError::Unavailable(_) if restarts < RESTARTS => {
                    restarts += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                LedgerError::Unavailable(_) => return Err(error.into()),
                // Some message ahead is none that we understand; whether it is this one shows when it is asked for.
                LedgerError::UnknownEvent { .. }
                | LedgerError::Damaged(_)
                | LedgerError::Refused(_)
                | LedgerError::Contended { .. }
                | LedgerError::Unfit(_) => return self.directly(due).await,
            }
        }
    }

    async fn directly(&self, sequence: u64) -> Result<Logged, ProjectionError> {
        Ok(self.log.at(sequence).await?.ok_or(Halt::Hole { sequence })?)
    }
}

impl Reader {
    fn start(log: Log, after: u64) -> Self {
        let (sender, portions) = mpsc::channel(PORTIONS);
        let task = tokio::spawn(async move {
            let mut tail = match log.tail(after, None).await {
                Ok(tail) => tail,
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            loop {
                let portion = tail.next_batch(PORTION).await;
                let ended = portion.is_err();
                if sender.send(portion).await.is_err() || ended {
                    return;
                }
            }
        });
        Self { portions, _task: AbortOnDropHandle::new(task) }
    }
}

/// Waits for a transaction under way.
async fn finish(
    writing: &mut Option<AbortOnDropHandle<Result<(), ProjectionError>>>,
) -> Result<(), ProjectionError> {
    match writing.take() {
        None => Ok(()),
        // A panic of the task is a defect: what it left undone must not be taken for done.
        Some(task) => {
            task.await.map_err(|error| Halt::Unreadable(format!("a writing task ended: {error}")))?
        }
    }
}

/// Which log it is, asked again when the server is too busy to answer: it may be sending us what we read.
pub(crate) async fn identity(log: &Log) -> Result<StreamIdentity, LedgerError> {
    let mut restarts = 0;
    loop {
        match log.identity().await {
            Err(LedgerError::Unavailable(_)) if restarts < RESTARTS => restarts += 1,
            answer => return answer,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn records_of(logged: &Logged) -> usize {
    match &logged.recorded.event {
        Event::Node(_, NodeEvent::UsageReported(report)) => report.records.len(),
        Event::Node(_, NodeEvent::NodeSealed(_))
        | Event::Account(..)
        | Event::Suspense(..)
        | Event::Channel(..) => 0,
    }
}
