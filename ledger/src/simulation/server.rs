//! A JetStream server in memory: the LEDGER stream, and the answers that a real one gives.
//!
//! Claims: one order for all messages; a publish is stored only on the last sequence it expects; with replicas a message
//! takes its time to be committed, and nobody can append to its subject meanwhile.

use super::Micros;
use crate::log::{Hash, hash};
use crate::{LedgerError, codec};
use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use domain::{Event, Moment, Recorded};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The first moment of every simulation: a day in November 2026.
const BEGINNING: i64 = 1_795_341_600_000_000;

/// How long message ids are remembered.
const DUPLICATE_WINDOW: Micros = 120_000_000;

/// The server's clock.
pub(super) fn moment(at: Micros) -> Moment {
    Moment::from_micros(BEGINNING + i64::try_from(at).unwrap())
}

#[derive(Default)]
pub(super) struct Server {
    stored: Vec<Stored>,
    subjects: BTreeMap<String, Vec<u64>>,
    ids: BTreeMap<String, u64>,
    /// Subjects of messages that are being committed.
    committing: BTreeSet<String>,
}

/// A message of the stream.
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) subject: String,
    id: String,
    data: Bytes,
    pub(super) at: Micros,
    pub(super) hash: Hash,
    pub(super) prev: Option<Hash>,
    pub(super) recorded: Recorded<Event>,
}

/// A message that was let in.
pub(super) struct Publish {
    pub(super) subject: String,
    id: String,
    data: Bytes,
}

pub(super) enum Handled {
    Answer(Bytes),
    /// To be committed, then acknowledged.
    Commit(Publish),
}

impl Server {
    pub(super) fn handle(
        &mut self,
        subject: &str,
        headers: Option<&HeaderMap>,
        payload: &Bytes,
        now: Micros,
    ) -> Handled {
        match subject.strip_prefix("$JS.API.") {
            Some("STREAM.INFO.LEDGER") => Handled::Answer(self.info(now)),
            Some("STREAM.MSG.GET.LEDGER") => Handled::Answer(self.get(payload)),
            Some(verb) => panic!("the simulated server knows no {verb}"),
            None => self.publish(subject, headers, payload, now),
        }
    }

    fn info(&self, now: Micros) -> Bytes {
        let (created, ts, last) = (moment(0), moment(now), self.last_sequence());
        format!(r#"{{"config":{{"name":"LEDGER"}},"created":"{created}","ts":"{ts}","state":{{"messages":{last},"first_seq":1,"last_seq":{last}}}}}"#)
            .into()
    }

    fn get(&self, payload: &[u8]) -> Bytes {
        let which: Value = serde_json::from_slice(payload).unwrap();
        let on = |field: &str| which[field].as_str().map(|subject| self.on(subject));
        let sequence = match (on("last_by_subj"), on("next_by_subj"), which["seq"].as_u64()) {
            (Some(all), None, None) => all.last().copied(),
            (None, Some(all), Some(from)) => all.get(all.partition_point(|it| *it < from)).copied(),
            (None, None, Some(sequence)) => Some(sequence),
            _ => panic!("the simulated server does not understand {which}"),
        };
        let Some(it) = sequence.and_then(|sequence| self.at(sequence)) else {
            return error(404, 10037, "no message found");
        };
        let headers = BASE64.encode(format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", it.id));
        let (subject, data, time) = (&it.subject, BASE64.encode(&it.data), moment(it.at));
        let sequence = it.sequence;
        format!(r#"{{"message":{{"subject":"{subject}","seq":{sequence},"hdrs":"{headers}","data":"{data}","time":"{time}"}}}}"#)
            .into()
    }

    fn publish(
        &mut self,
        subject: &str,
        headers: Option<&HeaderMap>,
        payload: &Bytes,
        now: Micros,
    ) -> Handled {
        let header =
            |name: &str| headers.and_then(|all| all.get(name)).map(|value| value.as_str().to_owned());
        assert_eq!(header("Nats-Expected-Stream").as_deref(), Some("LEDGER"), "on {subject}");
        let expected: u64 = header("Nats-Expected-Last-Subject-Sequence").unwrap().parse().unwrap();
        let id = header("Nats-Msg-Id").unwrap();
        if self.committing.contains(subject) {
            return Handled::Answer(error(400, 10164, "wrong last sequence"));
        }
        let last = self.on(subject).last().copied().unwrap_or(0);
        if last != expected {
            return Handled::Answer(error(400, 10071, &format!("wrong last sequence: {last}")));
        }
        if let Some(it) = self.ids.get(&id).and_then(|sequence| self.at(*sequence))
            && now < it.at + DUPLICATE_WINDOW
        {
            let sequence = it.sequence;
            return Handled::Answer(
                format!(r#"{{"stream":"LEDGER","seq":{sequence},"duplicate":true}}"#).into(),
            );
        }
        self.committing.insert(subject.to_owned());
        Handled::Commit(Publish { subject: subject.to_owned(), id, data: payload.clone() })
    }

    /// Stores a message that was let in.
    pub(super) fn commit(&mut self, publish: Publish, now: Micros) -> Result<&Stored, LedgerError> {
        let Publish { subject, id, data } = publish;
        self.committing.remove(&subject);
        let sequence = self.last_sequence() + 1;
        let decoded = codec::decode(&subject, sequence, &data)?;
        self.subjects.entry(subject.clone()).or_default().push(sequence);
        self.ids.insert(id.clone(), sequence);
        let (hash, prev, recorded) = (hash(&data), decoded.prev, decoded.recorded);
        self.stored.push(Stored { sequence, subject, id, data, at: now, hash, prev, recorded });
        Ok(self.stored.last().unwrap())
    }

    /// A message that was let in is lost with the leader who let it in.
    pub(super) fn forget(&mut self, publish: &Publish) {
        self.committing.remove(&publish.subject);
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.stored.len() as u64
    }

    /// The messages behind a sequence.
    pub(super) fn behind(&self, sequence: u64) -> &[Stored] {
        &self.stored[usize::try_from(sequence).unwrap()..]
    }

    fn at(&self, sequence: u64) -> Option<&Stored> {
        self.stored.get(usize::try_from(sequence.checked_sub(1)?).unwrap())
    }

    fn on(&self, subject: &str) -> &[u64] {
        self.subjects.get(subject).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn acknowledgement(sequence: u64) -> Bytes {
    format!(r#"{{"stream":"LEDGER","seq":{sequence}}}"#).into()
}

fn error(code: u64, err_code: u64, description: &str) -> Bytes {
    format!(r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"{description}"}}}}"#).into()
}
