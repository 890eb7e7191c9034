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
use serde_json::{Map, Value, json};
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

/// A stream that may be filled, and what must be done first.
pub(crate) struct Plan {
    log: Log,
    stream: Stream,
    /// What the stream says of itself, where there is one.
    info: Option<Value>,
    original: Extent,
    archive: String,
    last: u64,
}

impl Restore {
    /// Looks whether a stream can take an archive's messages: it is not there, or empty, or an import of the same archive
    /// has left it. Changes nothing.
    ///
    /// Errors: [`LedgerError::Unfit`] when the stream holds anything else.
    pub(crate) async fn plan(
        log: &Log,
        stream: Stream,
        original: &Extent,
        archive: &str,
    ) -> Result<Plan, LedgerError> {
        let unfit = |what: String| Err(LedgerError::Unfit(format!("stream {stream} {what}")));
        let info = log.stream_info(stream.name()).await?;
        let plan = |info, last| Plan {
            log: log.clone(),
            stream,
            info,
            original: original.clone(),
            archive: archive.to_owned(),
            last,
        };
        let (Some(info), Some(found)) = (info, log.extent(stream).await?) else {
            return Ok(plan(None, original.first - 1));
        };
        check_configuration(stream.name(), &log.wanted(stream), &info["config"])?;
        let said = |what: &str| info["config"]["metadata"][what].as_str();
        let is_ours = said(ARCHIVE) == Some(archive)
            && (said(IMPORTING).is_some() || found.last == original.last)
            && found.last <= original.last;
        match found.messages {
            0 if found.first != original.first => unfit(format!(
                "is empty but would begin at {}, and the archive begins at {}: remove the empty stream, or begin with an \
                 empty server",
                found.first, original.first
            )),
            0 => Ok(plan(Some(info), found.last)),
            _ if is_ours && found.first == original.first => Ok(plan(Some(info), found.last)),
            messages if said(IMPORTING).is_some() => {
                unfit(format!("holds {messages} messages of another archive, whose import was not finished"))
            }
            messages => {
                unfit(format!("is not empty: it holds {messages} messages, and nothing is ever overwritten"))
            }
        }
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
            all.remove(IMPORTING);
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
        self.log.inner.wire.context().ok()?.send_publish(message.subject.clone(), publish).await.ok()
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
        let what =
            format!("message {} of {} cannot be written: {trouble}", first.message.sequence, self.stream);
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
            self.check_there(&first.message).await?;
            self.drop_first();
        }
        if last > self.sent {
            return Err(self.written_by_another(last));
        }
        Ok(())
    }

    /// Is this message there, as it should be?
    pub(crate) async fn check_there(&self, message: &RawMessage) -> Result<(), LedgerError> {
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

impl Plan {
    /// Makes the stream, or marks the one that is there, so that no gateway takes it for a whole log.
    pub(crate) async fn begin(self) -> Result<Restore, LedgerError> {
        let Self { log, stream, info, original, archive, last } = self;
        let marks = json!({ (CREATED): original.created, (ARCHIVE): archive, (IMPORTING): archive });
        match info {
            Some(info) => {
                log.update_metadata(stream, &info, |all| {
                    all.extend(
                        marks
                            .as_object()
                            .into_iter()
                            .flatten()
                            .map(|(name, mark)| (name.clone(), mark.clone())),
                    );
                })
                .await?;
            }
            None => {
                let mut wanted = log.wanted(stream);
                wanted["metadata"] = marks;
                if original.first > 1 {
                    wanted["first_seq"] = json!(original.first);
                }
                log.api(&format!("STREAM.CREATE.{stream}"), &wanted).await?;
            }
        }
        let patience = Patience::new(&log);
        Ok(Restore { log, stream, sent: last, window: VecDeque::new(), bytes: 0, patience })
    }
}

impl Log {
    /// Changes what a stream says about itself, and nothing else of it.
    async fn update_metadata(
        &self,
        stream: Stream,
        info: &Value,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<(), LedgerError> {
        let mut config = info["config"].clone();
        let mut metadata = config["metadata"].as_object().cloned().unwrap_or_default();
        // What the server notes there by itself is its own.
        metadata.retain(|name, _| !name.starts_with("_nats."));
        change(&mut metadata);
        config["metadata"] = Value::Object(metadata);
        self.api(&format!("STREAM.UPDATE.{stream}"), &config).await.map(|_| ())
    }
}
