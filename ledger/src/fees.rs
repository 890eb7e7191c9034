//! Fees: what a payment channel kept of a day's payments, as its bill says.
//!
//! Claims: however often and by how many processes a day's fee is told, what is posted for it sums to what was told last; the same
//! figure again posts nothing.

use crate::log::Appended;
use crate::{LedgerError, Log, Subject, codec};
use domain::event::{ChannelEvent, ChannelFeePosted};
use domain::{Actor, ActorKind, ChannelName, Currency, Event, EventId, Label, Moment, Money, Recorded};
use std::collections::BTreeMap;

/// Lost races before the posting is given up; the next comparison of the day posts it.
const RACES: u32 = 32;

impl Log {
    /// What is posted for a day by now, in each currency that ever was: also one that was taken back to nothing.
    pub async fn posted_channel_fees(
        &self,
        channel: &ChannelName,
        day: &Label,
    ) -> Result<BTreeMap<Currency, i64>, LedgerError> {
        let mut posted = BTreeMap::<Currency, i64>::new();
        for logged in self.events_behind(&Subject::Channel(channel.clone()), 0).await? {
            if let Event::Channel(_, ChannelEvent::ChannelFeePosted(it)) = &logged.recorded.event
                && it.day == *day
            {
                let sum = posted.entry(it.fee.currency).or_default();
                *sum = sum
                    .checked_add(it.fee.minor)
                    .ok_or_else(|| LedgerError::Unfit("a day's fees are too large".to_owned()))?;
            }
        }
        Ok(posted)
    }

    /// Posts by how much a day's fee in its currency is other than what was posted before; `None`: it is not.
    ///
    /// Reads the channel's whole subject: some events a day.
    pub async fn post_channel_fee(
        &self,
        channel: &ChannelName,
        day: &Label,
        wanted: Money,
        bill: &Label,
    ) -> Result<Option<Recorded<ChannelEvent>>, LedgerError> {
        let subject = Subject::Channel(channel.clone());
        let actor = Actor {
            kind: ActorKind::Channel,
            id: Label::try_new(channel.as_str()).map_err(|error| LedgerError::Unfit(error.to_string()))?,
        };
        let id = EventId::from_uuid(uuid::Uuid::now_v7());
        let (mut sequence, mut version, mut prev, mut posted) = (0, 0, None, 0_i64);
        let overflow = || LedgerError::Unfit("a day's fees are too large".to_owned());
        for race in 0..RACES {
            for logged in self.events_behind(&subject, sequence).await? {
                let recorded = &logged.recorded;
                if let Event::Channel(_, ChannelEvent::ChannelFeePosted(it)) = &recorded.event
                    && it.day == *day
                    && it.fee.currency == wanted.currency
                {
                    posted = posted.checked_add(it.fee.minor).ok_or_else(overflow)?;
                }
                (sequence, version, prev) = (recorded.sequence, recorded.version, Some(logged.hash));
            }
            let minor = wanted.minor.checked_sub(posted).ok_or_else(overflow)?;
            if minor == 0 {
                return Ok(None);
            }
            let fee = Money { minor, ..wanted };
            let event = ChannelEvent::ChannelFeePosted(ChannelFeePosted {
                day: day.clone(),
                fee,
                bill: bill.clone(),
            });
            let (at, wrapped) =
                (Moment::from(chrono::Utc::now()), Event::Channel(channel.clone(), event.clone()));
            let draft = codec::Draft {
                id,
                version: version + 1,
                at,
                actor: &actor,
                key: None,
                prev,
                event: &wrapped,
            };
            match self.append(&subject, sequence, id, codec::encode(&draft)?).await? {
                Appended::Stored { sequence } => {
                    return Ok(Some(Recorded {
                        sequence,
                        id,
                        version: version + 1,
                        at,
                        actor,
                        key: None,
                        event,
                    }));
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

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_days_fee_is_posted_once_by_however_many_and_later_by_its_difference() {
        let server = Server::start().await;
        let logs = [server.log().await, server.log().await];
        let channel: ChannelName = "wechat".parse().unwrap();
        let yuan = |minor| Money { currency: "CNY".to_owned().try_into().unwrap(), minor };
        let post = async |log: &Log, day: &str, minor| {
            log.post_channel_fee(&channel, &label(day), yuan(minor), &label("b1")).await.unwrap()
        };
        let all = futures_util::future::join_all((0..20).map(|n| post(&logs[n % 2], "2026-11-21", 90))).await;
        assert_eq!(all.iter().flatten().count(), 1);
        post(&logs[0], "2026-11-22", 7).await;
        for (minor, difference) in [(90, None), (83, Some(-7)), (83, None), (0, Some(-83)), (0, None)] {
            let posted = post(&logs[1], "2026-11-21", minor).await.map(|it| {
                let ChannelEvent::ChannelFeePosted(it) = it.event;
                it.fee.minor
            });
            assert_eq!(posted, difference);
        }
        let dollars = Money { currency: "USD".to_owned().try_into().unwrap(), minor: 5 };
        logs[0].post_channel_fee(&channel, &label("2026-11-22"), dollars, &label("b1")).await.unwrap();
        let posted = logs[1].posted_channel_fees(&channel, &label("2026-11-22")).await.unwrap();
        assert_eq!(posted, BTreeMap::from([(yuan(0).currency, 7), (dollars.currency, 5)]));
        let posted = logs[1].posted_channel_fees(&channel, &label("2026-11-21")).await.unwrap();
        assert_eq!(posted, BTreeMap::from([(yuan(0).currency, 0)]));
        assert_eq!(logs[0].events_behind(&Subject::Channel(channel), 0).await.unwrap().len(), 5);
    }
}
