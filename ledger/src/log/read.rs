//! Reading: single messages from the leader, and the ordered tail that projections follow.

use super::raw::{RawTail, STORED_AT, read_original_time};
use super::{ApiError, Hash, Log, RawMessage, Stream, hash, streams};
use crate::{LedgerError, codec, subject::Subject};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use domain::{AccountId, Event, Moment, Recorded};
use serde_json::{Value, json};
use tokio::time::Instant;

/// An event as read from the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The event.
    pub recorded: Recorded<Event>,
    /// The hash of its stored bytes: the `prev` of its successor on the subject.
    pub hash: Hash,
    /// What it says of its predecessor.
    pub prev: Option<Hash>,
    /// When the server stored it.
    pub stored_at: Moment,
}

impl Logged {
    /// The event's JSON: byte for byte what is stored, as long as the type's current version wrote it.
    pub fn json(&self) -> Result<Vec<u8>, LedgerError> {
        let recorded = &self.recorded;
        codec::encode(&codec::Draft {
            id: recorded.id,
            version: recorded.version,
            at: recorded.at,
            actor: &recorded.actor,
            key: recorded.key.as_ref(),
            prev: self.prev,
            event: &recorded.event,
        })
    }
}

/// A message as the server stores it.
pub(crate) struct StoredMessage {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) message_id: Option<String>,
    pub(crate) data: Vec<u8>,
    pub(crate) stored_at: Moment,
}

impl StoredMessage {
    fn decode(&self) -> Result<Logged, LedgerError> {
        logged(&self.subject, self.sequence, &self.data, self.stored_at)
    }
}

/// Messages fetched one by one before a consumer is worth its set-up.
const SINGLE_READS: usize = 16;

impl Log {
    /// The message at a LEDGER sequence, if there is one.
    pub async fn at(&self, sequence: u64) -> Result<Option<Logged>, LedgerError> {
        let message = self.message(streams::LEDGER, &json!({ "seq": sequence })).await?;
        message.map(|message| message.decode()).transpose()
    }

    /// The hash of the message at a LEDGER sequence, if there is one. Whether it can be understood is not asked.
    pub async fn hash_at(&self, sequence: u64) -> Result<Option<Hash>, LedgerError> {
        let message = self.message(streams::LEDGER, &json!({ "seq": sequence })).await?;
        Ok(message.map(|message| hash(&message.data)))
    }

    /// The last message on a LEDGER subject, if there is one.
    pub async fn last_on(&self, subject: &Subject) -> Result<Option<Logged>, LedgerError> {
        let message = self.message(streams::LEDGER, &json!({ "last_by_subj": subject.to_string() })).await?;
        message.map(|message| message.decode()).transpose()
    }

    /// The position that LEDGER had at a moment: the sequence of the last message that the server had stored by then, 0
    /// before the first. `None`: the server's clock has not passed that moment, so more may be stored by then.
    ///
    /// By the server's clock alone, whatever the events say. Were it ever turned back, messages stored meanwhile might be
    /// taken for earlier or later ones, each position by itself being as good as any. A log that was imported was stored
    /// when it was imported.
    pub async fn position_at(&self, moment: Moment) -> Result<Option<u64>, LedgerError> {
        let info = self.api("STREAM.INFO.LEDGER", &Value::Null).await?;
        let known = (|| {
            let now: Moment = info["ts"].as_str()?.parse().ok()?;
            Some((now, info["state"]["first_seq"].as_u64()?, info["state"]["last_seq"].as_u64()?))
        })();
        let (now, first, last) = known.ok_or_else(|| {
            LedgerError::Unavailable("the stream's information lacks the time or the sequences".into())
        })?;
        if now <= moment {
            return Ok(None);
        }
        // All up to `stored` were stored by then, all from `later` on were not. Nothing is ever deleted, so there is a
        // message at every sequence.
        let (mut stored, mut later) = (first.saturating_sub(1), last.saturating_add(1));
        while later - stored > 1 {
            let middle = stored + (later - stored) / 2;
            let message = self.message(streams::LEDGER, &json!({ "seq": middle })).await?;
            let message = message
                .ok_or_else(|| LedgerError::Damaged(format!("message {middle} is missing from the log")))?;
            if message.stored_at <= moment {
                stored = middle;
            } else {
                later = middle;
            }
        }
        Ok(Some(stored))
    }

    /// All events on a subject behind a sequence, in order.
    pub async fn events_behind(&self, subject: &Subject, after: u64) -> Result<Vec<Logged>, LedgerError> {
        self.events_between(subject, after, u64::MAX).await
    }

    /// All events on a subject behind a sequence, up to another one and with it, in order.
    pub async fn events_between(
        &self,
        subject: &Subject,
        after: u64,
        up_to: u64,
    ) -> Result<Vec<Logged>, LedgerError> {
        let (name, mut events, mut position) = (subject.to_string(), Vec::new(), after);
        // Where there are no consumers, in a simulation, all is fetched one by one.
        let singly = self.inner.wire.context().map_or(usize::MAX, |_| SINGLE_READS);
        while events.len() < singly {
            let message = self.next_on_subject(&name, position).await?;
            let Some(message) = message.filter(|message| message.sequence <= up_to) else {
                return Ok(events);
            };
            position = message.sequence;
            events.push(message.decode()?);
        }
        // The tail may not trail the leader's answer: read up to the last message known now.
        let last = self.last_on(subject).await?.map_or(0, |logged| logged.recorded.sequence);
        let (mut tail, mut patience) = (None, Patience::new(self));
        while position < last && position < up_to {
            // A consumer waits for ever by itself: what is known to be there must come within one answer's time.
            let batch = tokio::time::timeout(self.inner.options.timeout, async {
                match &mut tail {
                    None => tail.insert(self.tail(position, Some(&name)).await?),
                    Some(tail) => tail,
                }
                .next_batch(1000)
                .await
            });
            let silent = |_| Err(LedgerError::Unavailable("the reader of LEDGER is silent".into()));
            match batch.await.unwrap_or_else(silent) {
                Ok(batch) => {
                    position = batch.last().map_or(position, |logged| logged.recorded.sequence);
                    events.extend(batch.into_iter().filter(|logged| logged.recorded.sequence <= up_to));
                    patience = Patience::new(self);
                }
                Err(error) => {
                    patience.after(error).await?;
                    tail = None;
                }
            }
        }
        Ok(events)
    }

    /// Reads LEDGER in order from the first message behind `after`; `filter` narrows it to one subject.
    ///
    /// Any error ends the tail: open a new one at the last position that was taken care of.
    pub async fn tail(&self, after: u64, filter: Option<&str>) -> Result<Tail, LedgerError> {
        Ok(Tail { raw: self.raw_tail(Stream::Ledger, after, filter).await? })
    }

    /// The first message on a LEDGER subject behind a sequence, asked of the stream's leader.
    async fn next_on_subject(&self, subject: &str, after: u64) -> Result<Option<StoredMessage>, LedgerError> {
        self.message(streams::LEDGER, &next_by_subject(subject, after)).await
    }

    /// One message of a stream, asked for until it is answered or patience is over: a server that is started again is no
    /// error.
    pub(crate) async fn message(
        &self,
        stream: &str,
        which: &Value,
    ) -> Result<Option<StoredMessage>, LedgerError> {
        let mut patience = Patience::new(self);
        loop {
            match self.message_now(stream, which).await {
                Err(error) => patience.after(error).await?,
                answer => return answer,
            }
        }
    }

    /// One message of a stream, by the ordinary message get: a direct get may be answered by a trailing replica.
    pub(super) async fn message_now(
        &self,
        stream: &str,
        which: &Value,
    ) -> Result<Option<StoredMessage>, LedgerError> {
        let verb = format!("STREAM.MSG.GET.{stream}");
        let Some(answer) = self.api_if_there(&verb, which, ApiError::NO_MESSAGE).await? else {
            return Ok(None);
        };
        stored_message(&answer["message"])
            .map(Some)
            .ok_or_else(|| LedgerError::Unavailable("an answer of the server holds no message".into()))
    }

    /// All events of one account behind a sequence.
    pub(crate) async fn account_events(
        &self,
        account: AccountId,
        after: u64,
    ) -> Result<Vec<Logged>, LedgerError> {
        self.events_behind(&Subject::Account(account), after).await
    }
}

/// How long trouble is met with another try.
pub(super) struct Patience {
    until: Instant,
    attempt: u32,
}

impl Patience {
    pub(super) fn new(log: &Log) -> Self {
        Self { until: Instant::now() + log.patience(), attempt: 0 }
    }

    /// Pauses before the next try, or hands the error on: it is none that passes, or patience is over.
    pub(super) async fn after(&mut self, error: LedgerError) -> Result<(), LedgerError> {
        if !matches!(error, LedgerError::Unavailable(_)) || Instant::now() > self.until {
            return Err(error);
        }
        super::pause(self.attempt).await;
        self.attempt += 1;
        Ok(())
    }
}

/// An ordered reader of LEDGER.
pub struct Tail {
    raw: RawTail,
}

impl Tail {
    /// Waits for the next message, then takes what has arrived already, up to `max`. Safe to drop while it waits.
    pub async fn next_batch(&mut self, max: usize) -> Result<Vec<Logged>, LedgerError> {
        self.raw.next_batch(max).await?.iter().map(RawMessage::decode).collect()
    }

    /// How many messages lay behind the last one taken, when the server sent it; `None` before the first.
    pub fn pending(&self) -> Option<u64> {
        self.raw.pending()
    }
}

impl RawMessage {
    /// Decodes a message of LEDGER.
    ///
    /// Errors: as [`codec::decode`].
    pub fn decode(&self) -> Result<Logged, LedgerError> {
        logged(&self.subject, self.sequence, &self.data, self.stored_at)
    }
}

fn logged(subject: &str, sequence: u64, data: &[u8], stored_at: Moment) -> Result<Logged, LedgerError> {
    let decoded = codec::decode(subject, sequence, data)?;
    Ok(Logged { recorded: decoded.recorded, hash: hash(data), prev: decoded.prev, stored_at })
}

/// Which message to get: the first on a subject behind a sequence.
pub(super) fn next_by_subject(subject: &str, after: u64) -> Value {
    json!({ "seq": after + 1, "next_by_subj": subject })
}

fn stored_message(message: &Value) -> Option<StoredMessage> {
    let decode = |field: &str| match &message[field] {
        Value::Null => Some(Vec::new()),
        text => BASE64.decode(text.as_str()?).ok(),
    };
    let headers = String::from_utf8(decode("hdrs")?).ok()?;
    let header = |wanted: &str| {
        headers.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let sequence = message["seq"].as_u64()?;
    let stored_at = match header(STORED_AT) {
        None => message["time"].as_str()?.parse().ok()?,
        Some(text) => read_original_time(sequence, text).ok()?,
    };
    Some(StoredMessage {
        sequence,
        subject: message["subject"].as_str()?.to_owned(),
        message_id: header("Nats-Msg-Id").map(str::to_owned),
        data: decode("data")?,
        stored_at,
    })
}
