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
