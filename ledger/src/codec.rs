//! Event JSON and its versions.
//!
//! For: writing an event's envelope, and reading every envelope ever written.
//! Claims: a type's JSON never changes: a new shape is a new `v` and an upcaster beside it (golden files in
//! `testdata/events` must decode for ever); an unknown type or version is an error, never skipped; `prev` is the hash of
//! the stored bytes of the subject's previous message, never of a re-serialisation.

#[cfg(test)]
mod tests;
mod upcast;

use crate::log::Hash;
use crate::{LedgerError, subject::Subject};
use domain::event::UsageReported;
use domain::{
    AccountEvent, AccountId, Actor, BatchId, ChannelEvent, ChannelName, Credits, EpochId, Event, EventId,
    IdempotencyKey, Moment, NodeEvent, Recorded, SuspenseEvent,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What surrounds an event's data. Exactly one of `account`, `epoch`, `channel` is there, as in the subject.
#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    id: EventId,
    v: u32,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<EpochId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<ChannelName>,
    version: u64,
    at: Moment,
    actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<IdempotencyKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prev: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Cow<'a, RawValue>,
}

/// An event on its way to the log.
pub struct Draft<'a> {
    /// Its id, made once.
    pub id: EventId,
    /// The subject's next version.
    pub version: u64,
    /// The writer's clock.
    pub at: Moment,
    /// Who caused it.
    pub actor: &'a Actor,
    /// The caller's idempotency key.
    pub key: Option<&'a IdempotencyKey>,
    /// The hash of the subject's previous message; `None` for the first.
    pub prev: Option<Hash>,
    /// What happened.
    pub event: &'a Event,
}

/// A message as read.
pub struct Decoded {
    /// The event.
    pub recorded: Recorded<Event>,
    /// What it says of its predecessor.
    pub prev: Option<Hash>,
}

/// The type's name and current version: what `encode` writes.
fn current(event: &Event) -> (&'static str, u32) {
    match event {
        Event::Account(_, event) => match event {
            AccountEvent::TopUpInitiated(_) => ("top_up_initiated", 1),
            AccountEvent::TopUpCompleted(_) => ("top_up_completed", 1),
            AccountEvent::TopUpClosed(_) => ("top_up_closed", 1),
            AccountEvent::CreditGranted(_) => ("credit_granted", 1),
            AccountEvent::AdjustmentPosted(_) => ("adjustment_posted", 1),
            AccountEvent::RefundRequested(it) => ("refund_requested", with_bonus(it.bonus)),
            AccountEvent::RefundApproved(_) => ("refund_approved", 1),
            AccountEvent::RefundCompleted(it) => ("refund_completed", with_bonus(it.bonus)),
            AccountEvent::RefundFailed(_) => ("refund_failed", 1),
            AccountEvent::ChargebackPosted(it) => ("chargeback_posted", with_bonus(it.bonus)),
            AccountEvent::ChargebackReversed(it) => ("chargeback_reversed", with_bonus(it.bonus)),
            AccountEvent::LeaseGranted(_) => ("lease_granted", 1),
            AccountEvent::LeaseAmended(_) => ("lease_amended", 1),
            AccountEvent::LeaseClosed(_) => ("lease_closed", 1),
        },
        Event::Node(_, NodeEvent::UsageReported(_)) => ("usage_reported", 2),
        Event::Node(_, NodeEvent::NodeSealed(_)) => ("node_sealed", 1),
        Event::Suspense(_, SuspenseEvent::PaymentSuspended(_)) => ("payment_suspended", 1),
        Event::Suspense(_, SuspenseEvent::SuspenseResolved(_)) => ("suspense_resolved", 1),
        Event::Channel(_, ChannelEvent::ChannelFeePosted(_)) => ("channel_fee_posted", 1),
    }
}

/// Version 2 of what goes back names a bonus; without one it is version 1, to the byte.
fn with_bonus(bonus: Credits) -> u32 {
    if bonus.is_zero() { 1 } else { 2 }
}

/// The type's name, as on the log.
pub fn type_name(event: &Event) -> &'static str {
    current(event).0
}

/// The subject that an event belongs on.
pub fn subject_of(event: &Event) -> Subject {
    match event {
        Event::Account(account, _) => Subject::Account(*account),
        Event::Node(epoch, _) => Subject::Node(*epoch),
        Event::Suspense(channel, _) => Subject::Suspense(channel.clone()),
        Event::Channel(channel, _) => Subject::Channel(channel.clone()),
    }
}

fn data_of(event: &Event) -> Result<Box<RawValue>, serde_json::Error> {
    use serde_json::value::to_raw_value as raw;
    match event {
        Event::Account(_, event) => match event {
            AccountEvent::TopUpInitiated(it) => raw(it),
            AccountEvent::TopUpCompleted(it) => raw(it),
            AccountEvent::TopUpClosed(it) => raw(it),
            AccountEvent::CreditGranted(it) => raw(it),
            AccountEvent::AdjustmentPosted(it) => raw(it),
            AccountEvent::RefundRequested(it) => raw(it),
            AccountEvent::RefundApproved(it) => raw(it),
            AccountEvent::RefundCompleted(it) => raw(it),
            AccountEvent::RefundFailed(it) => raw(it),
            AccountEvent::ChargebackPosted(it) => raw(it),
            AccountEvent::ChargebackReversed(it) => raw(it),
            AccountEvent::LeaseGranted(it) => raw(it),
            AccountEvent::LeaseAmended(it) => raw(it),
            AccountEvent::LeaseClosed(it) => raw(it),
        },
        Event::Node(_, NodeEvent::UsageReported(it)) => raw(it),
        Event::Node(_, NodeEvent::NodeSealed(it)) => raw(it),
        Event::Suspense(_, SuspenseEvent::PaymentSuspended(it)) => raw(it),
        Event::Suspense(_, SuspenseEvent::SuspenseResolved(it)) => raw(it),
        Event::Channel(_, ChannelEvent::ChannelFeePosted(it)) => raw(it),
    }
}

/// The bytes that go on the log.
pub fn encode(draft: &Draft<'_>) -> Result<Vec<u8>, LedgerError> {
    let unwritable =
        |error: serde_json::Error| LedgerError::Damaged(format!("an event cannot be written: {error}"));
    let (kind, v) = current(draft.event);
    let (account, epoch, channel) = match draft.event {
        Event::Account(account, _) => (Some(*account), None, None),
        Event::Node(epoch, _) => (None, Some(*epoch), None),
        Event::Suspense(channel, _) | Event::Channel(channel, _) => (None, None, Some(channel.clone())),
    };
    let envelope = Envelope {
        id: draft.id,
        v,
        kind: kind.into(),
        account,
        epoch,
        channel,
        version: draft.version,
        at: draft.at,
        actor: draft.actor.clone(),
        key: draft.key.cloned(),
        prev: draft.prev.map(|hash| hex::encode(hash).into()),
        data: Cow::Owned(data_of(draft.event).map_err(unwritable)?),
    };
    serde_json::to_vec(&envelope).map_err(unwritable)
}

/// What surrounds the records of a usage report.
pub(crate) struct ReportHead<'a> {
    pub(crate) id: EventId,
    pub(crate) epoch: EpochId,
    pub(crate) batch: BatchId,
    /// The subject's next version.
    pub(crate) version: u64,
    pub(crate) at: Moment,
    pub(crate) actor: &'a Actor,
    pub(crate) prev: Option<Hash>,
}

/// As [`encode`] of a usage report, to the byte, of records that are JSON already.
pub(crate) fn encode_report<'a>(
    head: &ReportHead<'_>,
    records: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Vec<u8>, LedgerError> {
    let empty = UsageReported { batch: head.batch, records: Vec::new() };
    let event = Event::Node(head.epoch, NodeEvent::UsageReported(empty));
    let ReportHead { id, version, at, actor, prev, .. } = *head;
    let mut bytes = encode(&Draft { id, version, at, actor, key: None, prev, event: &event })?;
    // The list of records is the last thing in it.
    if !bytes.ends_with(END_OF_REPORT) {
        return Err(LedgerError::Damaged("a report does not end with its records".into()));
    }
    bytes.truncate(bytes.len() - END_OF_REPORT.len());
    bytes.reserve(records.clone().map(|record| record.len() + 1).sum::<usize>() + END_OF_REPORT.len());
    for (number, record) in records.enumerate() {
        if number > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(record);
    }
    bytes.extend_from_slice(END_OF_REPORT);
    Ok(bytes)
}

/// The ends of the records, of the data and of the envelope.
const END_OF_REPORT: &[u8] = b"]}}";

/// Reads a message of the LEDGER stream.
///
/// Errors: [`LedgerError::UnknownEvent`] for a type or version written by a newer binary, [`LedgerError::Damaged`] for
/// bytes that are no envelope or stand on another subject than they name.
pub fn decode(subject: &str, sequence: u64, bytes: &[u8]) -> Result<Decoded, LedgerError> {
    let damaged = |what: String| LedgerError::Damaged(format!("message {sequence} on {subject}: {what}"));
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    let subject = Subject::parse(subject).ok_or_else(|| damaged("no subject of the ledger".into()))?;
    let named = match (envelope.account, envelope.epoch, envelope.channel) {
        (Some(account), None, None) => Subject::Account(account),
        (None, Some(epoch), None) => Subject::Node(epoch),
        // Two kinds of subjects are a channel's; the message says by its place which one it means.
        (None, None, Some(channel)) => match &subject {
            Subject::Channel(_) => Subject::Channel(channel),
            Subject::Suspense(_) | Subject::Account(_) | Subject::Node(_) => Subject::Suspense(channel),
        },
        _ => return Err(damaged("it must name one of account, epoch, channel".into())),
    };
    if named != subject {
        return Err(damaged(format!("it names {named}")));
    }
    let (kind, v, data) = (envelope.kind.as_ref(), envelope.v, envelope.data.get());
    let event = match &subject {
        Subject::Account(account) => {
            account_event(kind, v, data).map(|it| it.map(|it| Event::Account(*account, it)))
        }
        Subject::Node(epoch) => node_event(kind, v, data).map(|it| it.map(|it| Event::Node(*epoch, it))),
        Subject::Suspense(channel) => {
            suspense_event(kind, v, data).map(|it| it.map(|it| Event::Suspense(channel.clone(), it)))
        }
        Subject::Channel(channel) => {
            channel_event(kind, v, data).map(|it| it.map(|it| Event::Channel(channel.clone(), it)))
        }
    };
    let event = event
        .map_err(|error| damaged(format!("{kind} v{v}: {error}")))?
        .ok_or_else(|| LedgerError::UnknownEvent { sequence, what: format!("{kind} v{v}") })?;
    let prev = envelope
        .prev
        .map(|text| {
            let mut hash = Hash::default();
            hex::decode_to_slice(text.as_bytes(), &mut hash).map(|()| hash)
        })
        .transpose()
        .map_err(|_| damaged("prev is no SHA-256".into()))?;
    let recorded = Recorded {
        sequence,
        id: envelope.id,
        version: envelope.version,
        at: envelope.at,
        actor: envelope.actor,
        key: envelope.key,
        event,
    };
    Ok(Decoded { recorded, prev })
}

/// `Ok(None)`: no such type and version.
type Found<E> = Result<Option<E>, serde_json::Error>;

fn read<T: DeserializeOwned, E>(data: &str, wrap: fn(T) -> E) -> Found<E> {
    serde_json::from_str(data).map(|it| Some(wrap(it)))
}

fn account_event(kind: &str, v: u32, data: &str) -> Found<AccountEvent> {
    match (kind, v) {
        ("top_up_initiated", 1) => read(data, AccountEvent::TopUpInitiated),
        ("top_up_completed", 1) => read(data, AccountEvent::TopUpCompleted),
        ("top_up_closed", 1) => read(data, AccountEvent::TopUpClosed),
        ("credit_granted", 1) => read(data, AccountEvent::CreditGranted),
        ("adjustment_posted", 1) => read(data, AccountEvent::AdjustmentPosted),
        ("refund_requested", 1) => read(data, AccountEvent::RefundRequested),
        ("refund_requested", 2) => read(data, AccountEvent::RefundRequested),
        ("refund_approved", 1) => read(data, AccountEvent::RefundApproved),
        ("refund_completed", 1) => read(data, AccountEvent::RefundCompleted),
        ("refund_completed", 2) => read(data, AccountEvent::RefundCompleted),
        ("refund_failed", 1) => read(data, AccountEvent::RefundFailed),
        ("chargeback_posted", 1) => read(data, AccountEvent::ChargebackPosted),
        ("chargeback_posted", 2) => read(data, AccountEvent::ChargebackPosted),
        ("chargeback_reversed", 1) => read(data, AccountEvent::ChargebackReversed),
        ("chargeback_reversed", 2) => read(data, AccountEvent::ChargebackReversed),
        ("lease_granted", 1) => read(data, AccountEvent::LeaseGranted),
        ("lease_amended", 1) => read(data, AccountEvent::LeaseAmended),
        ("lease_closed", 1) => read(data, AccountEvent::LeaseClosed),
        _ => Ok(None),
    }
}

fn node_event(kind: &str, v: u32, data: &str) -> Found<NodeEvent> {
    match (kind, v) {
        ("usage_reported", 1) => {
            read(data, |it: upcast::UsageReportedV1| NodeEvent::UsageReported(it.into()))
        }
        ("usage_reported", 2) => read(data, NodeEvent::UsageReported),
        ("node_sealed", 1) => read(data, NodeEvent::NodeSealed),
        _ => Ok(None),
    }
}

fn channel_event(kind: &str, v: u32, data: &str) -> Found<ChannelEvent> {
    match (kind, v) {
        ("channel_fee_posted", 1) => read(data, ChannelEvent::ChannelFeePosted),
        _ => Ok(None),
    }
}

fn suspense_event(kind: &str, v: u32, data: &str) -> Found<SuspenseEvent> {
    match (kind, v) {
        ("payment_suspended", 1) => read(data, SuspenseEvent::PaymentSuspended),
        ("suspense_resolved", 1) => read(data, SuspenseEvent::SuspenseResolved),
        _ => Ok(None),
    }
}
