//! Suspense: verified payments that match no order, or not its amount, held until a person decides.
//!
//! For: putting one there, resolving it, and reading what is there; the rules are [`domain::suspense`]'s.
//! Claims: the same transaction of a channel is booked once, however often and by how many processes it is reported, and
//! resolved once, by however many operators. What is read is what the log's leader has at that moment: a fold that is kept
//! between two readings only saves reading its beginning again.

use crate::log::{Appended, Hash, hash};
use crate::{LedgerError, Log, Subject, codec};
use domain::event::{PaymentSuspended, Resolution};
use domain::suspense::{Held, Resolving};
use domain::{
    Actor, ActorKind, ChannelName, Event, EventId, Label, Moment, Reason, Recorded, Suspense, SuspenseEvent,
};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Lost races before a booking is given up; the gateway will report the payment again.
const RACES: u32 = 32;

/// The folds of the channels' subjects, as far as this process has read them.
#[derive(Default)]
pub(crate) struct Folds(Mutex<HashMap<ChannelName, Arc<tokio::sync::Mutex<Fold>>>>);

/// A channel's subject, read to its end.
#[derive(Default)]
struct Fold {
    state: Suspense,
    sequence: u64,
    version: u64,
    hash: Option<Hash>,
}

/// A payment in suspense, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspended {
    /// The sequence of its event.
    pub sequence: u64,
    /// The payment and what became of it.
    pub held: Held,
}

/// An operator's act on a payment in suspense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspenseAct {
    /// The act's own id, and that of its event: the same act again is the same event.
    pub id: EventId,
    /// Who does it.
    pub actor: Actor,
    /// Where the payment stands.
    pub payment: u64,
    /// What becomes of it.
    pub resolution: Resolution,
    /// Why.
    pub reason: Reason,
}

impl Log {
    /// What is and was in suspense at a channel.
    pub async fn suspense(&self, channel: &ChannelName) -> Result<Suspense, LedgerError> {
        let fold = self.fold(channel);
        let mut fold = fold.lock().await;
        self.catch_up(channel, &mut fold).await?;
        Ok(fold.state.clone())
    }

    /// The channels that ever had a payment in suspense, also those that are not configured any more.
    pub async fn suspense_channels(&self) -> Result<Vec<ChannelName>, LedgerError> {
        let info = self.api("STREAM.INFO.LEDGER", &json!({ "subjects_filter": "ledger.suspense.*" })).await?;
        let subjects = info["state"]["subjects"].as_object();
        let mut channels = Vec::new();
        for subject in subjects.into_iter().flat_map(|subjects| subjects.keys()) {
            if let Some(Subject::Suspense(channel)) = Subject::parse(subject) {
                channels.push(channel);
            }
        }
        channels.sort();
        Ok(channels)
    }

    /// Books a payment into `ledger.suspense.<channel>`. A transaction that is there already is answered as it is there,
    /// with what became of it.
    pub async fn suspend_payment(
        &self,
        channel: &ChannelName,
        payment: PaymentSuspended,
    ) -> Result<Suspended, LedgerError> {
        let actor = Actor {
            kind: ActorKind::Channel,
            id: Label::try_new(channel.as_str()).map_err(|error| LedgerError::Unfit(error.to_string()))?,
        };
        let id = EventId::from_uuid(uuid::Uuid::now_v7());
        let fold = self.fold(channel);
        let mut fold = fold.lock().await;
        for race in 0..RACES {
            self.catch_up(channel, &mut fold).await?;
            if let Some((sequence, held)) = fold.state.same(&payment) {
                return Ok(Suspended { sequence, held: held.clone() });
            }
            let event = SuspenseEvent::PaymentSuspended(payment.clone());
            if let Some(recorded) = self.append_to(channel, &fold, id, &actor, event).await? {
                tracing::debug!(%channel, sequence = recorded.sequence, "payment suspended");
                let held = Held { payment, since: recorded.at, resolved: None };
                return Ok(Suspended { sequence: recorded.sequence, held });
            }
            crate::log::pause(race.min(2)).await;
        }
        Err(too_many(channel))
    }

    /// Resolves a payment in suspense; the same act again is answered with its first record's sequence.
    ///
    /// Errors: [`LedgerError::Refused`] where there is no such payment, or another act resolved it.
    pub async fn resolve_payment(
        &self,
        channel: &ChannelName,
        act: &SuspenseAct,
    ) -> Result<u64, LedgerError> {
        let fold = self.fold(channel);
        let mut fold = fold.lock().await;
        for race in 0..RACES {
            self.catch_up(channel, &mut fold).await?;
            let (resolution, reason) = (act.resolution.clone(), act.reason.clone());
            let event = match fold.state.resolve(act.id, act.payment, resolution, reason)? {
                Resolving::AlreadyApplied { sequence } => return Ok(sequence),
                Resolving::Append(event) => SuspenseEvent::SuspenseResolved(event),
            };
            if let Some(recorded) = self.append_to(channel, &fold, act.id, &act.actor, event).await? {
                return Ok(recorded.sequence);
            }
            crate::log::pause(race.min(2)).await;
        }
        Err(too_many(channel))
    }

    fn fold(&self, channel: &ChannelName) -> Arc<tokio::sync::Mutex<Fold>> {
        let mut folds = self.folds().0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(folds.entry(channel.clone()).or_default())
    }

    /// Reads what came since.
    async fn catch_up(&self, channel: &ChannelName, fold: &mut Fold) -> Result<(), LedgerError> {
        let subject = Subject::Suspense(channel.clone());
        for logged in self.events_behind(&subject, fold.sequence).await? {
            let recorded = &logged.recorded;
            if recorded.version != fold.version + 1 || logged.prev != fold.hash {
                let sequence = recorded.sequence;
                // Nothing of it is believed until it has been read from its beginning again.
                *fold = Fold::default();
                let what = format!("message {sequence} on {subject} does not follow the one before it");
                return Err(LedgerError::Damaged(what));
            }
            match &recorded.event {
                Event::Suspense(_, event) => fold.state.evolve(&recorded.with(event.clone())),
                Event::Account(..) | Event::Node(..) | Event::Channel(..) => {
                    return Err(LedgerError::Damaged(format!("a foreign event stands on {subject}")));
                }
            }
            (fold.sequence, fold.version, fold.hash) =
                (recorded.sequence, recorded.version, Some(logged.hash));
        }
        Ok(())
    }

    /// `None`: somebody else came first.
    async fn append_to(
        &self,
        channel: &ChannelName,
        fold: &Fold,
        id: EventId,
        actor: &Actor,
        event: SuspenseEvent,
    ) -> Result<Option<Recorded<SuspenseEvent>>, LedgerError> {
        let (at, version) = (Moment::from(chrono::Utc::now()), fold.version + 1);
        let wrapped = Event::Suspense(channel.clone(), event.clone());
        let draft = codec::Draft { id, version, at, actor, key: None, prev: fold.hash, event: &wrapped };
        let bytes = codec::encode(&draft)?;
        tracing::trace!(%channel, hash = hex::encode(hash(&bytes)), "appending to suspense");
        match self.append(&Subject::Suspense(channel.clone()), fold.sequence, id, bytes).await? {
            Appended::Stored { sequence } => {
                Ok(Some(Recorded { sequence, id, version, at, actor: actor.clone(), key: None, event }))
            }
            Appended::LostRace => Ok(None),
        }
    }
}

fn too_many(channel: &ChannelName) -> LedgerError {
    LedgerError::Unavailable(format!("too many writers on {}", Subject::Suspense(channel.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Server, label};
    use domain::{AccountId, Money, OrderId, Refusal};

    fn payment(order: &str, txn: &str) -> PaymentSuspended {
        PaymentSuspended {
            order: label(order),
            provider_txn: label(txn),
            paid: Money { currency: "CNY".to_owned().try_into().unwrap(), minor: 5000 },
            reason: "unknown order".parse().unwrap(),
            inbox: 1,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_transaction_is_booked_once_by_however_many_it_is_reported() {
        let server = Server::start().await;
        let logs = [server.log().await, server.log().await];
        let channel: ChannelName = "epay".parse().unwrap();
        let reports: Vec<_> = (0..40)
            .map(|i| {
                let (log, channel) = (logs[i % 2].clone(), channel.clone());
                // Four transactions, each reported ten times; each report is another callback.
                let payment =
                    PaymentSuspended { inbox: i as u64, ..payment("no-order", &format!("txn-{}", i % 4)) };
                tokio::spawn(async move { log.suspend_payment(&channel, payment).await.unwrap() })
            })
            .collect();
        let mut answers = std::collections::HashMap::new();
        for report in reports {
            let suspended = report.await.unwrap();
            let txn = suspended.held.payment.provider_txn.clone();
            let first = answers.entry(txn).or_insert_with(|| suspended.clone());
            assert_eq!(*first, suspended);
        }
        let booked = logs[0].events_behind(&Subject::Suspense(channel), 0).await.unwrap();
        assert_eq!((answers.len(), booked.len()), (4, 4));
        let mut before = None;
        for (logged, version) in booked.iter().zip(1..) {
            assert_eq!((logged.recorded.version, logged.prev), (version, before));
            before = Some(logged.hash);
        }
    }

    #[tokio::test]
    async fn channels_and_orders_do_not_answer_for_each_other() {
        let server = Server::start().await;
        let log = server.log().await;
        let mut sequences = Vec::new();
        for (channel, order) in [("epay", "a"), ("alipay", "a"), ("epay", "b"), ("epay", "a")] {
            sequences.push(
                log.suspend_payment(&channel.parse().unwrap(), payment(order, "txn")).await.unwrap().sequence,
            );
        }
        assert_eq!(sequences, [1, 2, 3, 1]);
    }

    #[tokio::test]
    async fn another_sum_under_the_same_transaction_is_another_payment() {
        let (server, channel) = (Server::start().await, "epay".parse::<ChannelName>().unwrap());
        let log = server.log().await;
        let first = log.suspend_payment(&channel, payment("no-order", "txn")).await.unwrap();
        let mut dearer = payment("no-order", "txn");
        dearer.paid.minor += 1;
        let second = log.suspend_payment(&channel, dearer).await.unwrap();
        assert_ne!(first.sequence, second.sequence);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_payment_is_resolved_by_one_of_however_many_try_and_by_that_one_however_often() {
        let server = Server::start().await;
        let logs = [server.log().await, server.log().await];
        let channel: ChannelName = "epay".parse().unwrap();
        let payment = logs[0].suspend_payment(&channel, payment("no-order", "txn")).await.unwrap().sequence;
        let act = |n: u128| SuspenseAct {
            id: EventId::from_uuid(uuid::Uuid::from_u128(n)),
            actor: Actor { kind: ActorKind::Admin, id: label("ann") },
            payment,
            resolution: Resolution::Claimed {
                account: AccountId::from_uuid(uuid::Uuid::from_u128(n)),
                order: OrderId::from_uuid(uuid::Uuid::from_u128(n)),
            },
            reason: "theirs".parse().unwrap(),
        };
        // Four acts, each tried five times.
        let tries: Vec<_> = (0..20_u128)
            .map(|i| {
                let (log, channel, act) = (logs[(i % 2) as usize].clone(), channel.clone(), act(i % 4));
                tokio::spawn(async move { (act.id, log.resolve_payment(&channel, &act).await) })
            })
            .collect();
        let (mut done, mut refused) = (std::collections::HashSet::new(), 0);
        for one in tries {
            match one.await.unwrap() {
                (id, Ok(sequence)) => {
                    done.insert((id, sequence));
                }
                (_, Err(LedgerError::Refused(Refusal::ResolvedBefore { by }))) => {
                    assert_eq!(by, 2);
                    refused += 1;
                }
                (_, other) => panic!("{other:?}"),
            }
        }
        assert_eq!((done.len(), refused), (1, 15));
        let missing = SuspenseAct { payment: 7, ..act(9) };
        let answer = logs[0].resolve_payment(&channel, &missing).await;
        assert!(matches!(answer, Err(LedgerError::Refused(Refusal::NotInSuspense { payment: 7 }))));
        // Who reports the payment again hears what became of it, also from a log that never read it before.
        let fresh = server.log().await;
        let again = fresh.suspend_payment(&channel, super::tests::payment("no-order", "txn")).await.unwrap();
        assert_eq!((again.sequence, again.held.resolved.map(|it| it.sequence)), (payment, Some(2)));
        assert_eq!(fresh.suspense_channels().await.unwrap(), [channel]);
    }
}
