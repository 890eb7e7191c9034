//! Appending: one message, the subject's expected last sequence, and what to do when the answer is unclear.
//!
//! The rule: on "wrong last sequence" and on any unknown outcome read what stands on the subject behind the sequence we
//! expected. Our own message id there: it landed. Another message: the race is lost. Nothing: append again, same id, same
//! bytes. Never `Nats-Expected-Last-Msg-Id` (a mismatch wedges a replicated stream), never a new id for a retry.

use super::read::next_by_subject;
use super::{ApiError, Log, streams};
use crate::{LedgerError, ambient, subject::Subject};
use async_nats::HeaderMap;
use bytes::Bytes;
use domain::EventId;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on the log, durable as configured.
    Stored {
        /// Its stream sequence.
        sequence: u64,
    },
    /// Another message stands where ours was meant to. Ours is not on the log and cannot land any more.
    LostRace,
}

/// What one publish came to.
enum Published {
    Stored(u64),
    WrongSequence,
    /// No answer, or one that says nothing about the message: it may have landed.
    Unknown(String),
}

impl Log {
    /// Appends to a LEDGER subject whose last message stands at `expected` (0: none yet).
    ///
    /// Errors: [`LedgerError::Unavailable`] when its patience is over; then the outcome is open, and whoever appends to this
    /// subject next (with the same `expected`) finds out.
    pub async fn append(
        &self,
        subject: &Subject,
        expected: u64,
        id: EventId,
        payload: Vec<u8>,
    ) -> Result<Appended, LedgerError> {
        let (subject, payload) = (subject.to_string(), Bytes::from(payload));
        let deadline = Instant::now() + self.inner.options.patience;
        let mut attempt = 0;
        loop {
            let mut trouble =
                match self.publish(streams::LEDGER, &subject, Some(expected), id, payload.clone()).await? {
                    Published::Stored(sequence) => return Ok(Appended::Stored { sequence }),
                    Published::WrongSequence => "wrong last sequence".into(),
                    Published::Unknown(trouble) => trouble,
                };
            match self.find_behind(&subject, expected, id).await {
                Ok(Behind::Ours(sequence)) => return Ok(Appended::Stored { sequence }),
                Ok(Behind::Others) => return Ok(Appended::LostRace),
                Ok(Behind::Nothing) => {}
                Err(LedgerError::Unavailable(why)) => trouble = why,
                Err(error) => return Err(error),
            }
            if Instant::now() > deadline {
                return Err(LedgerError::Unavailable(format!("{subject}: {trouble}")));
            }
            pause(attempt).await;
            attempt += 1;
        }
    }

    /// Appends to a stream whose subjects have no order to defend (INBOX, AUDIT). The id makes a retry within the
    /// de-duplication window harmless; a duplicate beyond it is harmless too, for these streams are evidence, not state.
    pub(crate) async fn append_unordered(
        &self,
        stream: &'static str,
        subject: &str,
        id: EventId,
        payload: Vec<u8>,
    ) -> Result<u64, LedgerError> {
        let payload = Bytes::from(payload);
        // An error would mean that the semaphore was closed, which nobody does.
        let _turn = self.inner.unordered.acquire().await;
        let deadline = Instant::now() + self.inner.options.patience;
        let mut attempt = 0;
        loop {
            let trouble = match self.publish(stream, subject, None, id, payload.clone()).await? {
                Published::Stored(sequence) => return Ok(sequence),
                Published::WrongSequence => "wrong last sequence".into(),
                Published::Unknown(trouble) => trouble,
            };
            if Instant::now() > deadline {
                return Err(LedgerError::Unavailable(format!("{subject}: {trouble}")));
            }
            pause(attempt).await;
            attempt += 1;
        }
    }

    async fn publish(
        &self,
        stream: &'static str,
        subject: &str,
        expected: Option<u64>,
        id: EventId,
        payload: Bytes,
    ) -> Result<Published, LedgerError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id.to_string());
        // A foreign stream that listens on our subject fails loudly instead of swallowing events.
        headers.insert("Nats-Expected-Stream", stream);
        if let Some(expected) = expected {
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        }
        let answer = match self.inner.wire.request(subject.to_owned(), Some(headers), payload).await {
            Ok(answer) => answer,
            // Time-out, a broken connection and "no responders" (a stream without a leader) alike.
            Err(error) => return Ok(Published::Unknown(error)),
        };
        let answer: Value = match serde_json::from_slice(&answer) {
            Ok(answer) => answer,
            Err(_) => return Ok(Published::Unknown("the acknowledgement is no JSON".into())),
        };
        if let Some(sequence) = answer["seq"].as_u64().filter(|_| answer["error"].is_null()) {
            return Ok(Published::Stored(sequence));
        }
        let error = ApiError::of(&answer["error"]);
        match error.err_code {
            ApiError::WRONG_LAST_SEQUENCE | ApiError::WRONG_LAST_SEQUENCE_IN_FLIGHT => {
                Ok(Published::WrongSequence)
            }
            _ if error.code >= 500 || error.code == 0 => Ok(Published::Unknown(error.description)),
            _ => Err(error.into_ledger(subject)),
        }
    }

    /// What stands on the subject behind `after`: asked of the leader, for a replica may trail.
    async fn find_behind(&self, subject: &str, after: u64, id: EventId) -> Result<Behind, LedgerError> {
        let id = id.to_string();
        let mut found = Behind::Nothing;
        let mut after = after;
        while let Some(message) = self.message_now(streams::LEDGER, &next_by_subject(subject, after)).await? {
            if message.message_id.as_deref() == Some(id.as_str()) {
                return Ok(Behind::Ours(message.sequence));
            }
            found = Behind::Others;
            after = message.sequence;
        }
        Ok(found)
    }
}

enum Behind {
    Nothing,
    Ours(u64),
    Others,
}

/// A jittered pause that doubles: 5–10 ms, 10–20 ms … 160–320 ms.
pub(crate) async fn pause(attempt: u32) {
    let base = Duration::from_millis(5_u64 << attempt.min(5));
    tokio::time::sleep(ambient::jitter(base..base * 2)).await;
}
