//! Messages as they stand on a stream, not decoded: for verifying, for archives.
//!
//! Claims: a scan answers every message of its stretch once and in order, whatever becomes of the connection meanwhile.

use super::read::{Patience, next_by_subject};
use super::{Log, Stream};
use crate::LedgerError;
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use bytes::Bytes;
use domain::Moment;
use futures_util::{FutureExt, StreamExt};

/// The header of an imported message: when its original was stored. Reading honours it, so that whatever is measured by
/// the log's clock (the age of a lease) is the same after an import.
pub(super) const STORED_AT: &str = "Nexusroute-Stored-At";

/// A message as it stands on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// Its stream sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// When the server stored it; of an imported message, when its original was.
    pub stored_at: Moment,
    /// Its bytes.
    pub data: Bytes,
}

impl Log {
    /// Reads a stream from the first message behind `after` up to the sequence `last`, which must be there already.
    pub fn scan(&self, stream: Stream, after: u64, last: u64) -> Scan {
        Scan { log: self.clone(), stream, position: after, last, tail: None, patience: Patience::new(self) }
    }

    /// Reads a stream in order from the first message behind `after`; `filter` narrows it to one subject.
    pub(super) async fn raw_tail(
        &self,
        stream: Stream,
        after: u64,
        filter: Option<&str>,
    ) -> Result<RawTail, LedgerError> {
        let config = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            filter_subject: filter.unwrap_or_default().to_owned(),
            ..Default::default()
        };
        let unavailable =
            |error: &dyn std::fmt::Display| LedgerError::Unavailable(format!("reading {stream}: {error}"));
        let handle = self
            .inner
            .wire
            .context()?
            .get_stream_no_info(stream.name())
            .await
            .map_err(|error| unavailable(&error))?;
        let consumer = handle.create_consumer(config).await.map_err(|error| unavailable(&error))?;
        let messages = consumer.messages().await.map_err(|error| unavailable(&error))?;
        Ok(RawTail { stream, messages, pending: None })
    }
}

/// An ordered reader of a stream.
pub(super) struct RawTail {
    stream: Stream,
    messages: pull::Ordered,
    pending: Option<u64>,
}

impl RawTail {
    /// Waits for the next message, then takes what has arrived already, up to `max`. Safe to drop while it waits.
    pub(super) async fn next_batch(&mut self, max: usize) -> Result<Vec<RawMessage>, LedgerError> {
        let mut batch = Vec::new();
        let first = self.messages.next().await;
        batch.push(self.take(first)?);
        while batch.len() < max {
            match self.messages.next().now_or_never() {
                None => break,
                Some(next) => batch.push(self.take(next)?),
            }
        }
        Ok(batch)
    }

    /// How many messages lay behind the last one taken, when the server sent it; `None` before the first.
    pub(super) fn pending(&self) -> Option<u64> {
        self.pending
    }

    fn take<E: std::fmt::Display>(
        &mut self,
        next: Option<Result<async_nats::jetstream::Message, E>>,
    ) -> Result<RawMessage, LedgerError> {
        let stream = self.stream;
        let unavailable =
            |error: &dyn std::fmt::Display| LedgerError::Unavailable(format!("reading {stream}: {error}"));
        let message = next
            .ok_or_else(|| LedgerError::Unavailable(format!("the reader of {stream} has ended")))?
            .map_err(|error| unavailable(&error))?;
        let info = message.info().map_err(|error| unavailable(&error))?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let published = i64::try_from(info.published.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX);
        let stored_at = match message.headers.as_ref().and_then(original_time) {
            None => Moment::from_micros(published),
            Some(text) => read_original_time(sequence, text)?,
        };
        self.pending = Some(pending);
        let message = message.message;
        Ok(RawMessage { sequence, subject: message.subject.to_string(), stored_at, data: message.payload })
    }
}

fn original_time(headers: &HeaderMap) -> Option<&str> {
    headers.get(STORED_AT).map(async_nats::HeaderValue::as_str)
}

/// The time that an import has noted on a message.
pub(super) fn read_original_time(sequence: u64, text: &str) -> Result<Moment, LedgerError> {
    text.parse().map_err(|_| {
        LedgerError::Damaged(format!("message {sequence}: its header {STORED_AT} is no time: {text:?}"))
    })
}

/// Messages handed out at once.
const BATCH: usize = 1000;

/// A stretch of a stream, read to its end.
pub struct Scan {
    log: Log,
    stream: Stream,
    position: u64,
    last: u64,
    tail: Option<RawTail>,
    patience: Patience,
}

impl Scan {
    /// The next messages; `None` at the end of the stretch. Not safe to drop while it waits.
    ///
    /// Errors: [`LedgerError::Unavailable`] when the server stays away longer than the log's patience.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<RawMessage>>, LedgerError> {
        while self.position < self.last {
            match self.try_batch().await {
                Ok(mut batch) => {
                    self.patience = Patience::new(&self.log);
                    self.position = batch.last().map_or(self.position, |message| message.sequence);
                    batch.retain(|message| message.sequence <= self.last);
                    if !batch.is_empty() {
                        return Ok(Some(batch));
                    }
                }
                Err(error) => {
                    self.tail = None;
                    if self.is_gone().await {
                        return Ok(None);
                    }
                    self.patience.after(error).await?;
                }
            }
        }
        Ok(None)
    }

    /// A consumer waits for ever by itself: what is known to be there must come within one answer's time.
    async fn try_batch(&mut self) -> Result<Vec<RawMessage>, LedgerError> {
        let batch = tokio::time::timeout(self.log.inner.options.timeout, async {
            match &mut self.tail {
                None => self.tail.insert(self.log.raw_tail(self.stream, self.position, None).await?),
                Some(tail) => tail,
            }
            .next_batch(BATCH)
            .await
        });
        let silent = |_| Err(LedgerError::Unavailable(format!("the reader of {} is silent", self.stream)));
        batch.await.unwrap_or_else(silent)
    }

    /// Is there nothing left of the stretch, because retention took it while it was read, or it was lost?
    async fn is_gone(&mut self) -> bool {
        let next = next_by_subject(">", self.position);
        match self.log.message_now(self.stream.name(), &next).await {
            Ok(found) => found.is_none_or(|found| found.sequence > self.last),
            Err(_) => false,
        }
    }
}
