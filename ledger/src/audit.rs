//! Admin and security acts: who did what, on a stream of their own.

use crate::log::streams::AUDIT;
use crate::{LedgerError, Log};
use domain::{Actor, EventId, Moment};

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
        let bytes = serde_json::to_vec(act)
            .map_err(|error| LedgerError::Damaged(format!("an act cannot be written: {error}")))?;
        let noun = act.act.split('.').next().filter(|noun| !noun.is_empty()).unwrap_or("other");
        let id = EventId::from_uuid(uuid::Uuid::now_v7());
        self.log.append_unordered(AUDIT, &format!("audit.{noun}"), id, bytes).await
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
    }
}
