//! Restoring: writing the messages of an archive back to the sequences they had.
//!
//! For: making a stream that says what it is being filled with, filling it, and declaring it whole.
//! Claims: each message lands on its own sequence or not at all, for every write states the stream's last sequence; many
//! may be under way at once all the same, because one that fails makes those behind it fail; a stream that was not
//! declared whole is refused by every gateway.

use super::raw::STORED_AT;
use super::read::Patience;
use super::streams::{CREATED, IMPORTING, check_configuration};
use super::{Extent, Log, RawMessage, Stream};
use crate::LedgerError;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Metadata of an imported stream: the digest of its archive.
const ARCHIVE: &str = "nexusroute-archive";

/// Messages under way at once.
///
/// A server that flushes each message takes no more of them per second with many under way than with few; one that does
/// not takes several times as many.
const WINDOW: usize = 64;
/// And their bytes.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// A stream that is being filled.
pub(crate) struct Restore {
    log: Log,
    stream: Stream,
    /// The last sequence that was sent.
    sent: u64,
    window: VecDeque<InFlight>,
    bytes: usize,
    patience: Patience,
}

struct InFlight {
    message: RawMessage,
    /// `None`: it must be sent again.
    answer: Option<PublishAckFuture>,
}

impl Restore {
    /// Makes the stream, or goes on with one that an import of the same archive has left.
    ///
    /// Errors: [`LedgerError::Unfit`] when the stream holds anything else.
    pub(crate) async fn begin(
        log: &Log,
        stream: Stream,
        original: &Extent,
        archive: &str,
    ) -> Result<Self, LedgerError> {
        let unfit = |what: String| Err(LedgerError::Unfit(format!("stream {stream} {what}")));
        let metadata = json!({ (CREATED): original.created, (ARCHIVE): archive, (IMPORTING): archive });
        let mut wanted = log.wanted(stream);
        let Some(info) = log.stream_info(stream.name()).await? else {
            wanted["metadata"] = metadata;
            if original.first > 1 {
                wanted["first_seq"] = json!(original.first);
            }
            log.api(&format!("STREAM.CREATE.{stream}"), &wanted).await?;
            return Ok(Self::new(log, stream, original.first.saturating_sub(1)));
        };
        check_configuration(stream.name(), &wanted, &info["config"])?;
        let Some(found) = log.extent(stream).await? else { return unfit("is gone again".into()) };
        let said = |what: &str| info["config"]["metadata"][what].as_str();
        match (said(IMPORTING), said(ARCHIVE)) {
            (Some(of), _) if of != archive => unfit("holds a part of another archive".into()),
            (None, of) if found.messages > 0 && (of != Some(archive) || found.last != original.last) => {
                unfit(format!("is not empty: it holds {} messages, and nothing is ever overwritten", found.messages))
            }
            _ if found.messages == 0 && found.first != original.first => unfit(format!(
                "is empty but would begin at {}, and the archive begins at {}: remove the empty stream, or begin with an \
                 empty server",
                found.first, original.first
            )),
            _ => {
                log.update_metadata(stream, &info, |all| {
                    for (name, value) in metadata.as_object().into_iter().flatten() {
                        all[name.as_str()] = value.clone();
                    }
                })
                .await?;
                Ok(Self::new(log, stream, found.last))
            }
        }
    }

    fn new(log: &Log, stream: Stream, sent: u64) -> Self {
        Self { log: log.clone(), stream, sent, window: VecDeque::new(), bytes: 0, patience: Patience::new(log) }
    }

    /// The last sequence that is there, or under way.
    pub(crate) fn last(&self) -> u64 {
        self.sent
    }

    /// Sends the next message, once there is room for it.
    pub(crate) async fn push(&mut self, message: RawMessage) -> Result<(), LedgerError> {
        if message.sequence != self.sent + 1 {
            return Err(LedgerError::Damaged(format!(
                "{}: message {} cannot follow message {}",
                self.stream, message.sequence, self.sent
            )));
        }
        while self.window.len() >= WINDOW || self.bytes >= WINDOW_BYTES {
            self.settle_first().await?;
        }
        (self.sent, self.bytes) = (message.sequence, self.bytes + message.data.len());
        let answer = self.send(&message).await;
        self.window.push_back(InFlight { message, answer });
        Ok(())
    }

    /// Waits until all that was sent is there.
    pub(crate) async fn settle(&mut self) -> Result<(), LedgerError> {
        while !self.window.is_empty() {
            self.settle_first().await?;
        }
        Ok(())
    }

    /// Declares a stream whole.
    pub(crate) async fn complete(log: &Log, stream: Stream) -> Result<(), LedgerError> {
        let Some(info) = log.stream_info(stream.name()).await? else {
            return Err(LedgerError::Unfit(format!("stream {stream} is gone")));
        };
        log.update_metadata(stream, &info, |all| {
            if let Some(all) = all.as_object_mut() {
                all.remove(IMPORTING);
            }
        })
        .await
    }

    async fn send(&self, message: &RawMessage) -> Option<PublishAckFuture> {
        let publish = PublishMessage::build()
            .payload(message.data.clone())
            .expected_stream(self.stream.name())
            .expected_last_sequence(message.sequence - 1)
            .header(STORED_AT, message.stored_at.to_string());
        // Whatever keeps it from being sent shows again when it is looked for.
        self.log.inner.context.send_publish(message.subject.clone(), publish).await.ok()
    }

    /// Waits for the oldest message under way. Any trouble is settled by looking at what is there, and sending the rest
    /// again, until patience is over.
    async fn settle_first(&mut self) -> Result<(), LedgerError> {
        let Some(first) = self.window.front_mut() else { return Ok(()) };
        let trouble = match first.answer.take() {
            None => "it could not be sent".to_owned(),
            Some(answer) => match answer.await {
                Ok(stored) if stored.sequence == first.message.sequence => {
                    self.drop_first();
                    return Ok(());
                }
                Ok(stored) => return Err(self.written_by_another(stored.sequence)),
                Err(error) => error.to_string(),
            },
        };
        let what = format!("message {} of {} cannot be written: {trouble}", first.message.sequence, self.stream);
        self.patience.after(LedgerError::Unavailable(what)).await?;
        match self.drop_landed().await {
            Ok(()) => {}
            Err(LedgerError::Unavailable(_)) => return Ok(()), // asked again, with less patience left
            Err(error) => return Err(error),
        }
        for at in 0..self.window.len() {
            let answer = self.send(&self.window[at].message).await;
            self.window[at].answer = answer;
        }
        Ok(())
    }

    /// Lets go of what is there.
    async fn drop_landed(&mut self) -> Result<(), LedgerError> {
        let extent = self.log.extent(self.stream).await?;
        let last = extent.map_or(0, |extent| extent.last);
        while let Some(first) = self.window.front().filter(|first| first.message.sequence <= last) {
            self.check_landed(&first.message).await?;
            self.drop_first();
        }
        if last > self.sent {
            return Err(self.written_by_another(last));
        }
        Ok(())
    }

    async fn check_landed(&self, message: &RawMessage) -> Result<(), LedgerError> {
        let which = json!({ "seq": message.sequence });
        let found = self.log.message(self.stream.name(), &which).await?;
        let same = found.is_some_and(|found| found.subject == message.subject && found.data == message.data);
        if same { Ok(()) } else { Err(self.written_by_another(message.sequence)) }
    }

    fn written_by_another(&self, sequence: u64) -> LedgerError {
        LedgerError::Unfit(format!(
            "message {sequence} on stream {} is not the archive's: somebody else writes to it",
            self.stream
        ))
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.window.pop_front() {
            self.bytes -= first.message.data.len();
            self.patience = Patience::new(&self.log);
        }
    }
}

impl Log {
    /// Changes what a stream says about itself, and nothing else of it.
    async fn update_metadata(
        &self,
        stream: Stream,
        info: &Value,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), LedgerError> {
        let mut config = info["config"].clone();
        if !config["metadata"].is_object() {
            config["metadata"] = json!({});
        }
        change(&mut config["metadata"]);
        self.api(&format!("STREAM.UPDATE.{stream}"), &config).await.map(|_| ())
    }
}
