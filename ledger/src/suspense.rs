//! Suspense: verified payments that match no order, or not its amount, held until a person decides.
//!
//! Claims: the same transaction of a channel is booked once, however often and by how many processes it is reported.

use crate::log::{Appended, hash};
use crate::{LedgerError, Log, Subject, codec};
use domain::event::PaymentSuspended;
use domain::{Actor, ActorKind, ChannelName, Event, EventId, Label, Moment, Recorded, SuspenseEvent};

/// Lost races before the booking is given up; the gateway will report the payment again.
const RACES: u32 = 32;

impl Log {
    /// Books a payment into `ledger.suspense.<channel>`. A transaction that is there already is answered with its first
    /// record.
    ///
    /// Reads the channel's whole suspense subject, which is short or somebody should be worried.
    pub async fn suspend_payment(
        &self,
        channel: &ChannelName,
        payment: PaymentSuspended,
    ) -> Result<Recorded<SuspenseEvent>, LedgerError> {
        let subject = Subject::Suspense(channel.clone());
        let actor = Actor {
            kind: ActorKind::Channel,
            id: Label::try_new(channel.as_str()).map_err(|error| LedgerError::Unfit(error.to_string()))?,
        };
        let id = EventId::from_uuid(uuid::Uuid::now_v7());
        let (mut sequence, mut version, mut prev) = (0, 0, None);
        for race in 0..RACES {
            for logged in self.events_behind(&subject, sequence).await? {
                let recorded = &logged.recorded;
                if let Event::Suspense(_, event) = &recorded.event {
                    let SuspenseEvent::PaymentSuspended(booked) = event;
                    let same = booked.provider_txn == payment.provider_txn
                        && booked.order == payment.order
                        && booked.paid == payment.paid;
                    if same {
                        return Ok(recorded.with(event.clone()));
                    }
                }
                (sequence, version, prev) = (recorded.sequence, recorded.version, Some(logged.hash));
            }
            let (at, event) =
                (Moment::from(chrono::Utc::now()), SuspenseEvent::PaymentSuspended(payment.clone()));
            let wrapped = Event::Suspense(channel.clone(), event.clone());
            let draft = codec::Draft {
                id,
                version: version + 1,
                at,
                actor: &actor,
                key: None,
                prev,
                event: &wrapped,
            };
            let bytes = codec::encode(&draft)?;
            let own_hash = hash(&bytes);
            match self.append(&subject, sequence, id, bytes).await? {
                Appended::Stored { sequence } => {
                    tracing::debug!(%channel, sequence, hash = hex::encode(own_hash), "payment suspended");
                    return Ok(Recorded { sequence, id, version: version + 1, at, actor, key: None, event });
                }
                Appended::LostRace => crate::log::pause(race.min(2)).await,
            }
        }
        Err(LedgerError::Unavailable(format!("too many writers on {subject}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Server, label};
    use domain::Money;

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
            let recorded = report.await.unwrap();
            let SuspenseEvent::PaymentSuspended(payment) = &recorded.event;
            let first = answers.entry(payment.provider_txn.clone()).or_insert_with(|| recorded.clone());
            assert_eq!(*first, recorded);
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
}
