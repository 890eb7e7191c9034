//! Admin and security acts: who did what, on a stream of their own.
//!
//! For: recording acts, and reading them newest first.
//! Claims: an act that was recorded is never changed or taken away; a page reads a bounded stretch of the stream, and says
//! where the next one begins.

use crate::log::Stream;
use crate::log::streams::AUDIT;
use crate::{LedgerError, Log};
use domain::{Actor, EventId, Moment};
use std::ops::ControlFlow;

/// One admin or security act.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Act {
    /// When.
    pub at: Moment,
    /// Who.
    pub actor: Actor,
    /// What, as `noun.verb`: `provider.create`.
    pub act: String,
    /// On which thing: an id or a name.
    pub subject: String,
    /// What it was, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// What it became, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}

/// An act as it stands on AUDIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAct {
    /// Its AUDIT sequence.
    pub sequence: u64,
    /// The act.
    pub act: Act,
}

/// Which acts are wanted; what is `None` asks nothing.
#[derive(Clone, Debug, Default)]
pub struct ActFilter {
    /// By whom: the id of an actor.
    pub actor: Option<String>,
    /// Which: `provider.create`, or all of a noun: `provider`.
    pub act: Option<String>,
    /// On which thing.
    pub subject: Option<String>,
    /// Done at this moment or later.
    pub from: Option<Moment>,
    /// Done before this moment.
    pub to: Option<Moment>,
}

impl ActFilter {
    fn takes(&self, it: &Act) -> bool {
        let is_of = |wanted: &String| {
            it.act.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.actor.as_ref().is_none_or(|id| it.actor.id.as_str() == id)
            && self.act.as_ref().is_none_or(is_of)
            && self.subject.as_ref().is_none_or(|subject| it.subject == *subject)
            && self.from.is_none_or(|from| it.at >= from)
            && self.to.is_none_or(|to| it.at < to)
    }
}

/// Some acts, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActPage {
    /// The acts. There may be fewer than wanted, or none, though more follow: a page looks at so many and no more.
    pub items: Vec<StoredAct>,
    /// Before which sequence the next page begins; `None`: there is none.
    pub next: Option<u64>,
}

/// How many messages a page looks at, at most.
const LOOKED_AT: u64 = 20_000;
/// How many messages are read at once at first, and at most: what is wanted is mostly what happened last.
const STRETCH: (u64, u64) = (128, 2_000);

/// The stream of admin and security acts.
#[derive(Clone)]
pub struct Audit {
    log: Log,
}

impl Audit {
    /// The audit stream of a log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Appends an act to `audit.<noun>`; answers with its sequence once it is durable.
    pub async fn record(&self, act: &Act) -> Result<u64, LedgerError> {
        self.record_as(EventId::from_uuid(uuid::Uuid::now_v7()), act).await
    }

    /// The same under an id: what is recorded again within the server's window of de-duplication stands there once.
    pub async fn record_as(&self, id: EventId, act: &Act) -> Result<u64, LedgerError> {
        let bytes = serde_json::to_vec(act)
            .map_err(|error| LedgerError::Damaged(format!("an act cannot be written: {error}")))?;
        let noun = act.act.split('.').next().filter(|noun| !noun.is_empty()).unwrap_or("other");
        self.log.append_unordered(AUDIT, &format!("audit.{noun}"), id, bytes).await
    }

    /// Acts newest first, from below a sequence (`None`: from the newest), `limit` of them at most.
    ///
    /// Errors: [`LedgerError::Damaged`] where the stream holds what is no act.
    pub async fn page(
        &self,
        filter: &ActFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<ActPage, LedgerError> {
        let mut page = ActPage { items: Vec::new(), next: None };
        let Some(extent) = self.log.extent(Stream::Audit).await? else { return Ok(page) };
        let mut high = before.map_or(extent.last, |before| extent.last.min(before.saturating_sub(1)));
        let lowest = high.saturating_sub(LOOKED_AT).max(extent.first.saturating_sub(1));
        let mut stretch = STRETCH.0;
        while high > lowest {
            let low = high.saturating_sub(stretch).max(lowest);
            if self.take(filter, low, high, limit, &mut page).await?.is_break() {
                return Ok(page);
            }
            (high, stretch) = (low, STRETCH.1);
        }
        page.next = (lowest >= extent.first).then_some(lowest + 1);
        Ok(page)
    }

    /// Takes what is wanted of one stretch, newest first; breaks when the page is whole.
    async fn take(
        &self,
        filter: &ActFilter,
        low: u64,
        high: u64,
        limit: usize,
        page: &mut ActPage,
    ) -> Result<ControlFlow<()>, LedgerError> {
        let mut scan = self.log.scan(Stream::Audit, low, high);
        let mut messages = Vec::new();
        while let Some(batch) = scan.next_batch().await? {
            messages.extend(batch);
        }
        for message in messages.into_iter().rev() {
            // An act is stored after it was done, so all before this one were done earlier still.
            if filter.from.is_some_and(|from| message.stored_at < from) {
                return Ok(ControlFlow::Break(()));
            }
            let sequence = message.sequence;
            let act: Act = serde_json::from_slice(&message.data)
                .map_err(|error| LedgerError::Damaged(format!("AUDIT message {sequence}: {error}")))?;
            if !filter.takes(&act) {
                continue;
            }
            if page.items.len() == limit {
                page.next = page.items.last().map(|last| last.sequence);
                return Ok(ControlFlow::Break(()));
            }
            page.items.push(StoredAct { sequence, act });
        }
        Ok(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Server, now, tester};
    use serde_json::json;

    #[tokio::test]
    async fn an_act_stands_under_its_noun() {
        let server = Server::start().await;
        let (log, raw) = (server.log().await, server.raw().await);
        let audit = Audit::new(log.clone());
        let act = Act {
            at: now(),
            actor: tester(),
            act: "provider.create".into(),
            subject: "antinomy".into(),
            before: None,
            after: Some(json!({ "base_url": "https://example.com", "priority": 1 })),
        };
        let first = audit.record(&act).await.unwrap();
        let second = audit.record(&Act { act: ".odd".into(), ..act.clone() }).await.unwrap();
        assert_eq!((first, second), (1, 2));
        let message = log.message(AUDIT, &json!({ "seq": 1 })).await.unwrap().unwrap();
        assert_eq!(message.subject, "audit.provider");
        assert_eq!(serde_json::from_slice::<Act>(&message.data).unwrap(), act);
        assert_eq!(log.message(AUDIT, &json!({ "seq": 2 })).await.unwrap().unwrap().subject, "audit.other");
        assert!(!raw.api("STREAM.MSG.DELETE.AUDIT", &json!({ "seq": 1 })).await["error"].is_null());
        let id = EventId::from_uuid(uuid::Uuid::now_v7());
        let once = (audit.record_as(id, &act).await.unwrap(), audit.record_as(id, &act).await.unwrap());
        assert_eq!(once, (3, 3));
    }

    #[tokio::test]
    async fn acts_are_read_newest_first_page_by_page() {
        let server = Server::start().await;
        let audit = Audit::new(server.log().await);
        assert_eq!(audit.page(&ActFilter::default(), None, 5).await.unwrap().items, []);
        let began = now();
        for n in 0..300 {
            let verb = if n % 2 == 0 { "key.create" } else { "user.change" };
            let subject = format!("thing {}", n % 3);
            let act =
                Act { at: now(), actor: tester(), act: verb.into(), subject, before: None, after: None };
            audit.record(&act).await.unwrap();
        }
        let all = async |filter: ActFilter, limit| {
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let page = audit.page(&filter, before, limit).await.unwrap();
                assert!(page.items.len() <= limit);
                seen.extend(page.items.iter().map(|it| it.sequence));
                before = page.next;
                if before.is_none() {
                    return seen;
                }
            }
        };
        assert_eq!(all(ActFilter::default(), 7).await, (1..=300).rev().collect::<Vec<_>>());
        assert_eq!(all(ActFilter::default(), 300).await.len(), 300);
        let of = |act: &str| ActFilter { act: Some(act.into()), ..ActFilter::default() };
        assert_eq!(all(of("key"), 100).await, (1..=300).rev().filter(|n| n % 2 == 1).collect::<Vec<_>>());
        assert_eq!(all(of("key.create"), 1000).await.len(), 150);
        assert!(all(of("ke"), 100).await.is_empty());
        let thing = ActFilter { subject: Some("thing 2".into()), ..of("user") };
        assert_eq!(all(thing, 20).await.len(), 50);
        let by = |id: &str| ActFilter { actor: Some(id.into()), ..ActFilter::default() };
        assert_eq!(all(by(tester().id.as_str()), 100).await.len(), 300);
        assert!(all(by("somebody"), 100).await.is_empty());
        let ninth = audit.page(&ActFilter::default(), Some(10), 1).await.unwrap().items[0].act.at;
        let since = ActFilter { from: Some(ninth), ..ActFilter::default() };
        assert_eq!(all(since, 50).await.len(), 292);
        let until = ActFilter { from: Some(began), to: Some(ninth), ..ActFilter::default() };
        assert_eq!(all(until, 50).await, (1..=8).rev().collect::<Vec<_>>());
    }
}
