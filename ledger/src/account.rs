//! Deciding about one account: load, decide, append, and again on a lost race.
//!
//! For: [`Ledger::execute`], the only way a decision gets on the log.
//! May not touch: the rules (`domain::decide`), SQL (snapshots come through [`Snapshots`]).
//! Claims: a decision is appended on exactly the state it was made on; a refusal is given only on a state read after the
//! command arrived; the state is chained and numbered, so that a lost or altered message is noticed here first.

#[cfg(test)]
mod tests;

use crate::log::{Appended, Hash, Logged, hash};
use crate::subject::Subject;
use crate::{LedgerError, Log, ambient, codec, crash};
use domain::{
    Account, AccountEvent, AccountId, Actor, Command, Decision, Event, EventId, IdempotencyKey, Recorded,
    decide,
};
use futures_util::future::BoxFuture;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::MutexGuard;

/// A cached state of an account, kept by the projections. Deleting all of them changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// The state.
    pub account: Account,
    /// The sequence of the account's last event in it.
    pub sequence: u64,
    /// The hash of that event's stored bytes, in hexadecimal: the next event's `prev`.
    pub hash: String,
}

/// Where snapshots are kept.
pub trait Snapshots: Send + Sync + 'static {
    /// The newest snapshot of an account, if there is one. Any trouble reads as none: the log has it all.
    fn load(&self, account: AccountId) -> BoxFuture<'_, Option<Snapshot>>;
}

/// No snapshots: every account is folded from its first event.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSnapshots;

impl Snapshots for NoSnapshots {
    fn load(&self, _account: AccountId) -> BoxFuture<'_, Option<Snapshot>> {
        Box::pin(std::future::ready(None))
    }
}

/// Decides and appends. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    log: Log,
    snapshots: Arc<dyn Snapshots>,
    accounts: Mutex<lru::LruCache<AccountId, Slot>>,
}

/// One account's place in the cache. Its lock makes commands of this process on one account queue up instead of racing.
type Slot = Arc<tokio::sync::Mutex<Option<Loaded>>>;

/// An account as of its last event that this process has seen.
#[derive(Default)]
struct Loaded {
    account: Account,
    sequence: u64,
    hash: Option<Hash>,
}

/// The answer to a command: what is on the log now.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The account.
    pub account: AccountId,
    /// The event, with its sequence: the position to wait for.
    pub recorded: Recorded<AccountEvent>,
    /// The first answer to the same command, given again.
    pub repeated: bool,
}

/// Accounts held in memory: a few kilobytes each.
const CACHED_ACCOUNTS: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(count) => count,
    None => NonZeroUsize::MIN,
};
/// Lost races before a command is given up. Eight writers on one subject need three or four tries each.
const RACES: u32 = 64;

impl Ledger {
    /// A ledger on a log.
    pub fn new(log: Log, snapshots: Arc<dyn Snapshots>) -> Self {
        let accounts = Mutex::new(lru::LruCache::new(CACHED_ACCOUNTS));
        Self { inner: Arc::new(Inner { log, snapshots, accounts }) }
    }

    /// The log underneath.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// Decides a command and appends its event; answers as soon as that is durable.
    ///
    /// With an idempotency key: the same request gets the first receipt, another one is refused. Errors:
    /// [`LedgerError::Refused`] when the rules say no, [`LedgerError::Unavailable`] when the outcome is open (repeat it with
    /// the same ids or key), [`LedgerError::Contended`] when nothing was written and a retry can help.
    pub async fn execute(
        &self,
        account: AccountId,
        command: Command,
        actor: Actor,
        key: Option<IdempotencyKey>,
    ) -> Result<Receipt, LedgerError> {
        let slot = self.slot(account);
        let mut slot = self.turn(&slot).await?;
        // A cached state may trail what other processes wrote. That is fine for appending (the expected sequence tells),
        // not for saying no.
        let mut fresh = slot.is_none();
        let mut state = match slot.take() {
            Some(state) => state,
            None => self.load(account).await?,
        };
        let id = EventId::from_uuid(ambient::new_id());
        let mut races = 0;
        let answer = loop {
            let decision = decide(&state.account, &command, key.as_ref());
            if !fresh && !matches!(decision, Ok(Decision::Append(_))) {
                if let Err(error) = self.catch_up(account, &mut state).await {
                    break Err(error);
                }
                fresh = true;
                continue;
            }
            let event = match decision {
                Ok(Decision::Append(event)) => event,
                Ok(Decision::AlreadyApplied { sequence }) => break self.repeated(account, sequence).await,
                Err(refusal) => break Err(refusal.into()),
            };
            match self.append(account, &mut state, id, &actor, key.as_ref(), event).await {
                Ok(Some(recorded)) => break Ok(Receipt { account, recorded, repeated: false }),
                Ok(None) if races >= RACES => break Err(LedgerError::Contended { account }),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            crate::log::pause(races.min(2)).await;
            races += 1;
            if let Err(error) = self.catch_up(account, &mut state).await {
                break Err(error);
            }
            fresh = true;
        };
        // A damaged account is not kept: the next command reads the log again and says so again.
        if !matches!(answer, Err(LedgerError::Damaged(_) | LedgerError::UnknownEvent { .. })) {
            *slot = Some(state);
        }
        answer
    }

    /// The account's state as of now, read from the log.
    pub async fn account(&self, account: AccountId) -> Result<Account, LedgerError> {
        let slot = self.slot(account);
        let mut slot = self.turn(&slot).await?;
        let mut state = match slot.take() {
            Some(state) => state,
            None => self.load(account).await?,
        };
        self.catch_up(account, &mut state).await?;
        Ok(slot.insert(state).account.clone())
    }

    /// The account's state as of a position, folded from the log: from its first event, unless the snapshot is older than
    /// the position.
    pub async fn account_at(&self, account: AccountId, position: u64) -> Result<Account, LedgerError> {
        let snapshot = self.inner.snapshots.load(account).await.filter(|it| it.sequence <= position);
        let mut state = match snapshot {
            Some(snapshot) => self.trusted(account, snapshot).await?.unwrap_or_default(),
            None => Loaded::default(),
        };
        let subject = Subject::Account(account);
        for logged in self.inner.log.events_between(&subject, state.sequence, position).await? {
            state.take(logged)?;
        }
        Ok(state.account)
    }

    fn slot(&self, account: AccountId) -> Slot {
        let mut accounts = self.inner.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get_or_insert(account, Slot::default).clone()
    }

    /// Waits for the commands before this one, but no longer than one of them may take: while the log is away each would
    /// use up its own patience.
    async fn turn<'a>(&self, slot: &'a Slot) -> Result<MutexGuard<'a, Option<Loaded>>, LedgerError> {
        let turn = tokio::time::timeout(self.inner.log.patience(), slot.lock()).await;
        turn.map_err(|_| LedgerError::Unavailable("too many commands of one account wait for the log".into()))
    }

    async fn load(&self, account: AccountId) -> Result<Loaded, LedgerError> {
        let mut state = match self.inner.snapshots.load(account).await {
            Some(snapshot) => self.trusted(account, snapshot).await?.unwrap_or_default(),
            None => Loaded::default(),
        };
        self.catch_up(account, &mut state).await?;
        Ok(state)
    }

    /// A snapshot counts only if its last event stands on the log with the same bytes: a log that lost its tail has
    /// reused those sequences for other events.
    async fn trusted(&self, account: AccountId, snapshot: Snapshot) -> Result<Option<Loaded>, LedgerError> {
        let found = self.inner.log.at(snapshot.sequence).await?;
        let same = found.as_ref().is_some_and(|logged| {
            hex::encode(logged.hash) == snapshot.hash
                && matches!(logged.recorded.event, Event::Account(on, _) if on == account)
        });
        if !same {
            tracing::warn!(%account, sequence = snapshot.sequence, "a snapshot does not match the log and is not used");
            return Ok(None);
        }
        let hash = found.map(|logged| logged.hash);
        Ok(Some(Loaded { account: snapshot.account, sequence: snapshot.sequence, hash }))
    }

    async fn catch_up(&self, account: AccountId, state: &mut Loaded) -> Result<(), LedgerError> {
        for logged in self.inner.log.account_events(account, state.sequence).await? {
            state.take(logged)?;
        }
        Ok(())
    }

    /// `Ok(None)`: another writer was faster.
    async fn append(
        &self,
        account: AccountId,
        state: &mut Loaded,
        id: EventId,
        actor: &Actor,
        key: Option<&IdempotencyKey>,
        event: AccountEvent,
    ) -> Result<Option<Recorded<AccountEvent>>, LedgerError> {
        let (version, at) = (state.account.version + 1, ambient::now());
        let wrapped = Event::Account(account, event.clone());
        let draft = codec::Draft { id, version, at, actor, key, prev: state.hash, event: &wrapped };
        let bytes = codec::encode(&draft)?;
        let own_hash = hash(&bytes);
        crash::point("decide.encoded");
        match self.inner.log.append(&Subject::Account(account), state.sequence, id, bytes).await? {
            Appended::LostRace => Ok(None),
            Appended::Stored { sequence } => {
                crash::point("decide.appended");
                let recorded =
                    Recorded { sequence, id, version, at, actor: actor.clone(), key: key.cloned(), event };
                state.account.apply(&recorded);
                (state.sequence, state.hash) = (sequence, Some(own_hash));
                Ok(Some(recorded))
            }
        }
    }

    async fn repeated(&self, account: AccountId, sequence: u64) -> Result<Receipt, LedgerError> {
        let logged = self.inner.log.at(sequence).await?;
        match logged.map(|logged| logged.recorded) {
            Some(recorded) => match recorded.event.clone() {
                Event::Account(on, event) if on == account => {
                    Ok(Receipt { account, recorded: recorded.with(event), repeated: true })
                }
                _ => {
                    Err(LedgerError::Damaged(format!("event {sequence} is not account {account}'s any more")))
                }
            },
            None => Err(LedgerError::Damaged(format!("event {sequence} of account {account} is gone"))),
        }
    }
}

impl Loaded {
    /// Folds the next event, after checking that it is the next.
    fn take(&mut self, logged: Logged) -> Result<(), LedgerError> {
        let recorded = logged.recorded;
        if recorded.version != self.account.version + 1 || logged.prev != self.hash {
            return Err(LedgerError::Damaged(format!(
                "event {} has version {} and does not follow version {} of its account",
                recorded.sequence, recorded.version, self.account.version
            )));
        }
        if let Event::Account(_, event) = recorded.event.clone() {
            self.account.apply(&recorded.with(event));
        }
        (self.sequence, self.hash) = (recorded.sequence, Some(logged.hash));
        Ok(())
    }
}
