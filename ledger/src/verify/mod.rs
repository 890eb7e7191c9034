//! Verifying: every promise of the log, checked again from its stored bytes.
//!
//! For: one pass over LEDGER, from the server or from an archive, that names what is wrong by sequence and subject.
//! May not touch: the network and SQL; it is fed message by message ([`Verifier::take`]). The tables are compared with the
//! log by the projections.
//! Claims, each of which has a finding: sequences have no holes; every message is an event of its subject; on each subject
//! versions run 1, 2, 3… and `prev` is the hash of the stored bytes before; nothing follows a seal; every decision is one
//! that the rules allow on the account as it was; a usage record counts once, and its lease's records run 1, 2, 3… with a
//! cumulative sum that adds up, stays within the lease, and is what the lease was closed with; a charge follows from
//! tokens, prices and multiplier; postings sum to zero in every unit. Budgets are not on the log and are not judged.
//! Memory grows with accounts and open leases, not with messages.

mod decision;
mod report;
mod suspense;
#[cfg(test)]
pub(crate) mod tests;
mod usage;

pub use report::{
    Code, Counts, FINDINGS_LISTED, Finding, Note, NoteCode, Report, Total, Wallets, credits_text,
};

use crate::log::{Hash, RawMessage, hash};
use crate::{LedgerError, Subject, codec};
use domain::event::UsageReported;
use domain::posting::{self, Posting, Split, Unit};
use domain::{Account, AccountEvent, AccountId, ChannelEvent, Event, EventId, Moment, NodeEvent, Recorded};
use report::{Findings, Place};
use std::collections::{BTreeMap, HashMap};
use suspense::Payments;
use usage::{Leases, Standing};

/// Judges a log message by message.
#[derive(Default)]
pub struct Verifier {
    findings: Findings,
    first: Option<u64>,
    /// The last message's sequence and the log's time then.
    last: Option<(u64, Moment)>,
    messages: u64,
    bytes: u64,
    subjects: HashMap<Subject, Tail>,
    accounts: HashMap<AccountId, Account>,
    leases: Leases,
    usage_records: u64,
    repeated_records: u64,
    suspense: Payments,
    totals: BTreeMap<Unit, Total>,
}

/// Where a subject has come to.
#[derive(Default)]
struct Tail {
    sequence: u64,
    version: u64,
    hash: Option<Hash>,
    id: Option<EventId>,
    /// The sequence of the event that ended it.
    sealed: Option<u64>,
}

impl Verifier {
    /// At the beginning of a log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next message of LEDGER.
    pub fn take(&mut self, message: &RawMessage) {
        let place = Place { sequence: message.sequence, subject: &message.subject };
        self.messages += 1;
        self.bytes += u64::try_from(message.data.len()).unwrap_or(u64::MAX);
        self.check_sequence(place);
        self.first.get_or_insert(message.sequence);
        self.last = Some((message.sequence, message.stored_at));
        let Some(subject) = Subject::parse(&message.subject).filter(|it| it.to_string() == message.subject)
        else {
            let sentence = "no event belongs on this subject".into();
            self.findings.add(place.finding(Code::ForeignSubject, sentence));
            return;
        };
        let own_hash = hash(&message.data);
        let decoded = codec::decode(&message.subject, message.sequence, &message.data);
        let tail = self.subjects.entry(subject).or_default();
        check_seal(tail, place, &mut self.findings);
        let recorded = match decoded {
            Ok(codec::Decoded { recorded, prev }) => {
                check_chain(tail, &recorded, prev, place, &mut self.findings);
                recorded
            }
            Err(error) => {
                let code = match error {
                    LedgerError::UnknownEvent { .. } => Code::UnknownEvent,
                    LedgerError::Damaged(_)
                    | LedgerError::Refused(_)
                    | LedgerError::Contended { .. }
                    | LedgerError::Unavailable(_)
                    | LedgerError::Unfit(_) => Code::Unreadable,
                };
                self.findings.add(place.finding(code, error.to_string()));
                // The next one is judged as if this one had been what it should be.
                let (version, sealed) = (tail.version + 1, tail.sealed);
                *tail = Tail { sequence: message.sequence, version, hash: Some(own_hash), id: None, sealed };
                return;
            }
        };
        let ends = matches!(recorded.event, Event::Node(_, NodeEvent::NodeSealed(_)));
        *tail = Tail {
            sequence: message.sequence,
            version: recorded.version,
            hash: Some(own_hash),
            id: Some(recorded.id),
            sealed: tail.sealed.or(ends.then_some(message.sequence)),
        };
        self.take_event(&recorded, message.stored_at, place);
    }

    /// Judges the log as a whole.
    pub fn finish(mut self) -> Report {
        for (unit, total) in &self.totals {
            if total.debit != total.credit {
                let sentence =
                    format!("{unit}: all debits come to {}, all credits to {}", total.debit, total.credit);
                let subject = "LEDGER".to_owned();
                self.findings.add(Finding {
                    code: Code::PostingsUnbalanced,
                    sequence: None,
                    subject,
                    sentence,
                });
            }
        }
        let mut counts = Counts {
            messages: self.messages,
            bytes: self.bytes,
            accounts: count(self.accounts.len()),
            nodes: 0,
            sealed_nodes: 0,
            leases_granted: self.leases.granted,
            leases_closed: self.leases.closed,
            leases_open: 0,
            usage_records: self.usage_records,
            repeated_records: self.repeated_records,
            late_records: self.leases.late.records,
            suspended_payments: self.suspense.suspended,
            resolved_payments: self.suspense.resolved,
        };
        for (subject, tail) in &self.subjects {
            if matches!(subject, Subject::Node(_)) {
                counts.nodes += 1;
                counts.sealed_nodes += u64::from(tail.sealed.is_some());
            }
        }
        let mut wallets = Wallets::default();
        for account in self.accounts.values() {
            wallets.credits_in += i128::from(account.credits_in.nano());
            wallets.credits_out += i128::from(account.credits_out.nano());
            wallets.spent_of_closed_leases += i128::from(account.spent_of_closed.nano());
            wallets.leased +=
                account.leases.values().map(|open| i128::from(open.credits.nano())).sum::<i128>();
        }
        wallets.available =
            wallets.credits_in - wallets.credits_out - wallets.spent_of_closed_leases - wallets.leased;
        let (late, not_compared) = (self.leases.late.nano, self.leases.not_compared);
        let subject_of = |account| Subject::Account(account).to_string();
        let open = self.leases.finish(subject_of, &mut self.findings);
        counts.leases_open = open.count;
        let mut notes = notes(&counts, &open, late, not_compared, self.last.map(|(_, at)| at));
        notes.extend(self.suspense.unfinished());
        Report {
            clean: self.findings.total == 0,
            first_sequence: self.first,
            last_sequence: self.last.map(|(sequence, _)| sequence),
            last_stored_at: self.last.map(|(_, at)| at),
            counts,
            wallets,
            totals: self.totals.into_iter().map(|(unit, total)| (unit.to_string(), total)).collect(),
            findings_total: self.findings.total,
            findings: self.findings.listed,
            notes,
        }
    }

    /// The log says that it goes on to `last`, and holds nothing behind `position`.
    pub fn lost_tail(&mut self, position: u64, last: u64) {
        let sentence =
            format!("the stream's last sequence is {last}, and nothing is there behind {position}");
        let place = Place { sequence: last, subject: "LEDGER" };
        self.findings.add(place.finding(Code::SequenceGap, sentence));
    }

    /// Adds a finding that was made elsewhere: about the archive that the messages come from.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.add(finding);
    }

    fn check_sequence(&mut self, place: Place<'_>) {
        let last = self.last.map_or(0, |(sequence, _)| sequence);
        if place.sequence <= last {
            let sentence = format!("it stands behind message {last}");
            self.findings.add(place.finding(Code::SequenceOrder, sentence));
        } else if place.sequence > last + 1 {
            let missing = match place.sequence - last - 1 {
                1 => format!("message {} is missing", last + 1),
                _ => format!("messages {} to {} are missing", last + 1, place.sequence - 1),
            };
            self.findings.add(place.finding(Code::SequenceGap, format!("{missing} before it")));
        }
    }

    fn take_event(&mut self, recorded: &Recorded<Event>, at: Moment, place: Place<'_>) {
        match &recorded.event {
            Event::Account(account, event) => {
                let state = self.accounts.entry(*account).or_default();
                decision::judge(state, &recorded.with(event.clone()), place, &mut self.findings);
                self.take_lease_event(*account, event, at, place);
                self.suspense.credited(*account, event);
                self.post(&posting::postings(&recorded.event), place);
            }
            Event::Node(_, NodeEvent::UsageReported(report)) => self.take_usage(report, place),
            Event::Node(_, NodeEvent::NodeSealed(_)) => {}
            Event::Suspense(channel, event) => {
                self.suspense.take(channel, &recorded.with(event.clone()), place, &mut self.findings);
                self.post(&posting::postings(&recorded.event), place);
            }
            Event::Channel(_, ChannelEvent::ChannelFeePosted(_)) => {
                self.post(&posting::postings(&recorded.event), place);
            }
        }
    }

    fn take_lease_event(&mut self, account: AccountId, event: &AccountEvent, at: Moment, place: Place<'_>) {
        match event {
            AccountEvent::LeaseGranted(it) => self.leases.granted(account, it, at),
            AccountEvent::LeaseAmended(it) => self.leases.amended(it.lease, it.credits, at),
            AccountEvent::LeaseClosed(it) => self.leases.closed(it, place, &mut self.findings),
            AccountEvent::TopUpInitiated(_)
            | AccountEvent::TopUpCompleted(_)
            | AccountEvent::TopUpClosed(_)
            | AccountEvent::CreditGranted(_)
            | AccountEvent::RefundRequested(_)
            | AccountEvent::RefundApproved(_)
            | AccountEvent::RefundCompleted(_)
            | AccountEvent::RefundFailed(_)
            | AccountEvent::ChargebackPosted(_)
            | AccountEvent::ChargebackReversed(_)
            | AccountEvent::AdjustmentPosted(_) => {}
        }
    }

    fn take_usage(&mut self, report: &UsageReported, place: Place<'_>) {
        for record in &report.records {
            let account = self.accounts.get(&record.account);
            let remembers = || {
                account.is_some_and(|it| it.closed_leases.iter().any(|(closed, _)| *closed == record.lease))
            };
            match self.leases.record(record, remembers, place, &mut self.findings) {
                Standing::New => {
                    self.usage_records += 1;
                    self.post(&posting::of_usage(record, Split::reported(record)), place);
                }
                Standing::Late => {
                    self.usage_records += 1;
                    // Nobody's credits paid it.
                    self.post(&posting::of_usage(record, Split::late(record)), place);
                }
                Standing::Repeated => self.repeated_records += 1,
            }
        }
    }

    /// Adds an event's postings to the totals, after seeing that they sum to zero by themselves.
    fn post(&mut self, lines: &[Posting], place: Place<'_>) {
        let mut sums: BTreeMap<Unit, i128> = BTreeMap::new();
        for line in lines {
            *sums.entry(line.unit).or_default() += i128::from(line.amount);
            let total = self.totals.entry(line.unit).or_insert_with(|| Total::of(line.unit));
            match line.amount {
                0.. => total.debit += i128::from(line.amount),
                _ => total.credit -= i128::from(line.amount),
            }
        }
        for (unit, sum) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
            let sentence = format!("its postings in {unit} come to {sum}, not to zero");
            self.findings.add(place.finding(Code::PostingsUnbalanced, sentence));
        }
    }
}

fn check_seal(tail: &Tail, place: Place<'_>, findings: &mut Findings) {
    if let Some(seal) = tail.sealed {
        let sentence = format!("event {seal} has ended this subject");
        findings.add(place.finding(Code::AfterSeal, sentence));
    }
}

fn check_chain(
    tail: &Tail,
    recorded: &Recorded<Event>,
    prev: Option<Hash>,
    place: Place<'_>,
    findings: &mut Findings,
) {
    if tail.id == Some(recorded.id) {
        let sentence = format!("the same event stands at {}", tail.sequence);
        findings.add(place.finding(Code::RepeatedEvent, sentence));
    }
    if recorded.version != tail.version + 1 {
        let sentence = match tail.sequence {
            0 => format!("the first message of its subject has version {}", recorded.version),
            before => format!(
                "it has version {}, and message {before}, the one before it on its subject, has {}",
                recorded.version, tail.version
            ),
        };
        findings.add(place.finding(Code::Version, sentence));
    }
    if prev != tail.hash {
        let sentence = match (prev, tail.hash) {
            (None, _) => format!("it names no predecessor, and message {} stands before it", tail.sequence),
            (Some(_), None) => "it names a predecessor, and there is none on its subject".into(),
            (Some(_), Some(_)) => format!(
                "it does not hold the hash of message {}, the one before it on its subject: one of them was altered, or one \
                 between them is gone",
                tail.sequence
            ),
        };
        findings.add(place.finding(Code::Chain, sentence));
    }
}

fn notes(
    counts: &Counts,
    open: &usage::Open,
    late: i128,
    not_compared: u64,
    last: Option<Moment>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |code, sentence| notes.push(Note { code, sentence });
    if let (Some(oldest), Some(last)) = (open.oldest, last) {
        let age = (last.micros() - oldest.micros()) / 1_000_000;
        let sentence = format!(
            "{} open, with {} credits; the one longest untouched has been so for {age} s by the log's clock",
            leases(open.count),
            credits_text(open.nano)
        );
        note(NoteCode::LeasesOpen, sentence);
    }
    if let Some((lease, n)) = open.pending.first() {
        let sentence = format!(
            "{} open with records still to come, such as record {n} of lease {lease}",
            leases(count(open.pending.len()))
        );
        note(NoteCode::RecordsPending, sentence);
    }
    if counts.late_records > 0 {
        let sentence = format!(
            "{} usage records came too late for their leases: the operator bears {} credits",
            counts.late_records,
            credits_text(late)
        );
        note(NoteCode::RecordsLate, sentence);
    }
    if not_compared > 0 {
        let sentence = format!(
            "{not_compared} repeated usage records came too late to be compared with their first report"
        );
        note(NoteCode::RepeatsNotCompared, sentence);
    }
    let waiting = counts.suspended_payments.saturating_sub(counts.resolved_payments);
    if waiting > 0 {
        let sentence = format!("{waiting} payments matched no order and wait in suspense");
        note(NoteCode::PaymentsSuspended, sentence);
    }
    notes
}

fn leases(number: u64) -> String {
    if number == 1 { "1 lease is".into() } else { format!("{number} leases are") }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
