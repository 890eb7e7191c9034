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
                    if booked.provider_txn == payment.provider_txn && booked.order == payment.order {
                        return Ok(recorded.with(event.clone()));
                    }
                }
                (sequence, version, prev) = (recorded.sequence, recorded.version, Some(logged.hash));
            }
            let (at, event) = (Moment::from(chrono::Utc::now()), SuspenseEvent::PaymentSuspended(payment.clone()));
            let wrapped = Event::Suspense(channel.clone(), event.clone());
            let draft =
                codec::Draft { id, version: version + 1, at, actor: &actor, key: None, prev, event: &wrapped };
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
