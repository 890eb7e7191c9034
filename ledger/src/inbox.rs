//! The inbox: a payment callback is stored raw and durably before anything is decided about it.
//!
//! Claims: what a gateway sent can be read back byte for byte and judged again.

use crate::log::streams::INBOX;
use crate::{LedgerError, Log};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::{ChannelName, EventId, Moment};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A callback as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawCallback {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query.
    pub uri: String,
    /// Header names and values, in their order; values that are not UTF-8 are left out.
    pub headers: Vec<(String, String)>,
    /// The body's bytes; base64 in JSON.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub body: Vec<u8>,
    /// When it arrived.
    pub received_at: Moment,
}

/// A callback as it stands in INBOX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCallback {
    /// Its INBOX sequence.
    pub sequence: u64,
    /// The channel whose route it came in by.
    pub channel: ChannelName,
    /// What arrived.
    pub callback: RawCallback,
}

/// The stream of raw payment callbacks.
#[derive(Clone)]
pub struct Inbox {
    log: Log,
}

impl Inbox {
    /// The inbox of a log.
    pub fn new(log: Log) -> Self {
        Self { log }
    }

    /// Stores a callback; answers with its sequence once it is durable.
    pub async fn store(&self, channel: &ChannelName, callback: &RawCallback) -> Result<u64, LedgerError> {
        let bytes = serde_json::to_vec(callback)
            .map_err(|error| LedgerError::Damaged(format!("a callback cannot be written: {error}")))?;
        let id = EventId::from_uuid(uuid::Uuid::now_v7());
        self.log.append_unordered(INBOX, &format!("inbox.{channel}"), id, bytes).await
    }

    /// Reads a callback back; `None` when there is none at that sequence.
    pub async fn read(&self, sequence: u64) -> Result<Option<StoredCallback>, LedgerError> {
        // The server counts from 1, and calls a question for 0 a bad request.
        if sequence == 0 {
            return Ok(None);
        }
        let Some(message) = self.log.message(INBOX, &serde_json::json!({ "seq": sequence })).await? else {
            return Ok(None);
        };
        let damaged = |what: &str| LedgerError::Damaged(format!("INBOX message {sequence}: {what}"));
        let channel = message.subject.strip_prefix("inbox.").and_then(|name| name.parse().ok());
        let channel = channel.ok_or_else(|| damaged("its subject names no channel"))?;
        let callback = serde_json::from_slice(&message.data).map_err(|error| damaged(&error.to_string()))?;
        Ok(Some(StoredCallback { sequence, channel, callback }))
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    BASE64.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Server, now};

    #[tokio::test]
    async fn a_callback_is_read_back_byte_for_byte() {
        let server = Server::start().await;
        let inbox = Inbox::new(server.log().await);
        let channel: ChannelName = "epay".parse().unwrap();
        let callback = RawCallback {
            method: "POST".into(),
            uri: "/api/payments/epay/callback?sign=%2B&x=ü".into(),
            headers: vec![
                ("b".into(), "2".into()),
                ("a".into(), "1".into()),
                ("b".into(), "\"\\\u{1}".into()),
            ],
            body: (0..=255).cycle().take(70_000).collect(),
            received_at: now(),
        };
        let empty = RawCallback { body: Vec::new(), headers: Vec::new(), ..callback.clone() };
        let (first, second) =
            (inbox.store(&channel, &callback).await.unwrap(), inbox.store(&channel, &empty).await.unwrap());
        assert!(second > first);
        // Read by another process.
        let inbox = Inbox::new(server.log().await);
        for (sequence, callback) in [(first, callback), (second, empty)] {
            let stored = StoredCallback { sequence, channel: channel.clone(), callback };
            assert_eq!(inbox.read(sequence).await.unwrap(), Some(stored));
        }
        assert_eq!(inbox.read(second + 1).await.unwrap(), None);
    }
}
