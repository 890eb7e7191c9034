//! Logs made by hand: each kind of fault beside the same log without it.

use super::*;
use crate::testing::{credits, label, tester, usage};
use bytes::Bytes;
use domain::UsageRecord;
use domain::account::event::*;
use domain::event::{NodeSealed, PaymentSuspended, Resolution, SealCause, SuspenseEvent, SuspenseResolved};
use domain::{
    AdjustmentId, BatchId, ChannelName, Credits, Currency, EpochId, GrantId, IdempotencyKey, LeaseId, Money,
    OrderId, Outcome,
};
use uuid::Uuid;

/// The same name always gives the same id.
fn id(name: &str) -> Uuid {
    assert!(name.len() <= 16, "{name}");
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Uuid::from_bytes(bytes)
}

fn account(name: &str) -> AccountId {
    AccountId::from_uuid(id(name))
}

fn lease(name: &str) -> LeaseId {
    LeaseId::from_uuid(id(name))
}

fn epoch(name: &str) -> EpochId {
    EpochId::from_uuid(id(name))
}

fn order(name: &str) -> OrderId {
    OrderId::from_uuid(id(name))
}

fn channel() -> ChannelName {
    "epay".parse().unwrap()
}

fn cny(minor: i64) -> Money {
    Money { currency: Currency::try_from("CNY".to_owned()).unwrap(), minor }
}

/// A log as the gateway would write it: sequences, versions and chains are right, whatever the events say.
#[derive(Clone, Default)]
pub(crate) struct Story {
    pub(crate) messages: Vec<RawMessage>,
    key: Option<IdempotencyKey>,
}

impl Story {
    pub(crate) fn event(mut self, event: &Event) -> Self {
        let subject = codec::subject_of(event).to_string();
        let before: Vec<_> = self.messages.iter().filter(|it| it.subject == subject).collect();
        let sequence = self.messages.last().map_or(1, |last| last.sequence + 1);
        let at = Moment::from_micros(1_795_348_800_000_000 + i64::try_from(sequence).unwrap() * 1_000_000);
        let key = self.key.take();
        let draft = codec::Draft {
            id: EventId::from_uuid(Uuid::from_u128(u128::from(sequence))),
            version: u64::try_from(before.len()).unwrap() + 1,
            at,
            actor: &tester(),
            key: key.as_ref(),
            prev: before.last().map(|last| hash(&last.data)),
            event,
        };
        let data = Bytes::from(codec::encode(&draft).unwrap());
        self.messages.push(RawMessage { sequence, subject, stored_at: at, data });
        self
    }

    fn on(self, name: &str, event: AccountEvent) -> Self {
        self.event(&Event::Account(account(name), event))
    }

    fn ann(self, event: AccountEvent) -> Self {
        self.on("ann", event)
    }

    /// The next event has an idempotency key.
    fn keyed(mut self, key: &str) -> Self {
        self.key = Some(key.parse().unwrap());
        self
    }

    fn grant(self, name: &str, amount: &str) -> Self {
        self.ann(AccountEvent::CreditGranted(CreditGranted {
            grant: GrantId::from_uuid(id(name)),
            source: GrantSource::Admin,
            credits: credits(amount),
            reason: None,
        }))
    }

    fn adjust(self, name: &str, amount: &str) -> Self {
        self.ann(AccountEvent::AdjustmentPosted(AdjustmentPosted {
            adjustment: AdjustmentId::from_uuid(id(name)),
            credits: credits(amount),
            reason: "a reason".parse().unwrap(),
        }))
    }

    fn order(self, name: &str, pay: Money, amount: &str) -> Self {
        self.ann(AccountEvent::TopUpInitiated(TopUpInitiated {
            order: order(name),
            channel: channel(),
            pay,
            credits: credits(amount),
            expires_at: Moment::from_micros(0),
        }))
    }

    fn paid(self, name: &str, txn: &str, paid: Money, amount: &str) -> Self {
        self.ann(AccountEvent::TopUpCompleted(TopUpCompleted {
            order: order(name),
            channel: channel(),
            provider_txn: label(txn),
            paid,
            credits: credits(amount),
        }))
    }

    fn unpaid(self, name: &str) -> Self {
        self.ann(AccountEvent::TopUpClosed(TopUpClosed { order: order(name), reason: CloseReason::Expired }))
    }

    fn lent(self, name: &str, amount: &str) -> Self {
        self.lent_to(name, "node", amount)
    }

    fn lent_to(self, name: &str, node: &str, amount: &str) -> Self {
        self.ann(AccountEvent::LeaseGranted(LeaseGranted {
            lease: lease(name),
            epoch: epoch(node),
            scope: Scope::Account,
            credits: credits(amount),
            ttl_ms: 60_000,
        }))
    }

    fn amended(self, name: &str, amount: &str) -> Self {
        let (lease, credits) = (lease(name), credits(amount));
        self.ann(AccountEvent::LeaseAmended(LeaseAmended { lease, credits, ttl_ms: 60_000 }))
    }

    fn closed(self, name: &str, spent: &str, count: u64) -> Self {
        self.closed_by(name, spent, count, Closer::Holder)
    }

    fn closed_by(self, name: &str, spent: &str, count: u64, by: Closer) -> Self {
        let (lease, spent) = (lease(name), credits(spent));
        self.ann(AccountEvent::LeaseClosed(LeaseClosed { lease, spent, count, by }))
    }

    fn used(self, records: impl IntoIterator<Item = UsageRecord>) -> Self {
        self.used_at("node", records)
    }

    fn used_at(self, node: &str, records: impl IntoIterator<Item = UsageRecord>) -> Self {
        let batch = BatchId::from_uuid(id("batch"));
        let report = UsageReported { batch, records: records.into_iter().collect() };
        self.event(&Event::Node(epoch(node), NodeEvent::UsageReported(report)))
    }

    fn sealed(self, node: &str) -> Self {
        let seal = NodeSealed { cause: SealCause::Silent };
        self.event(&Event::Node(epoch(node), NodeEvent::NodeSealed(seal)))
    }

    fn suspended(self) -> Self {
        let payment = PaymentSuspended {
            order: label("nobody's"),
            provider_txn: label("txn"),
            paid: cny(700),
            reason: "no such order".parse().unwrap(),
            inbox: 3,
        };
        self.event(&Event::Suspense(channel(), SuspenseEvent::PaymentSuspended(payment)))
    }

    /// A claim of the payment at `payment`, for ann's order of that name.
    fn claimed(self, payment: u64, minor: i64, claim: &str) -> Self {
        let resolved = SuspenseResolved {
            payment,
            provider_txn: label("txn"),
            paid: cny(minor),
            resolution: Resolution::Claimed { account: account("ann"), order: order(claim) },
            reason: "theirs".parse().unwrap(),
        };
        self.event(&Event::Suspense(channel(), SuspenseEvent::SuspenseResolved(resolved)))
    }

    fn without(mut self, sequence: u64) -> Self {
        self.messages.retain(|message| message.sequence != sequence);
        self
    }

    /// Changes a message's bytes, and nothing else.
    fn altered(mut self, sequence: u64, from: &str, to: &str) -> Self {
        let message = self.messages.iter_mut().find(|it| it.sequence == sequence).unwrap();
        let text = String::from_utf8(message.data.to_vec()).unwrap();
        assert!(text.contains(from), "{text}");
        message.data = text.replace(from, to).into();
        self
    }

    pub(crate) fn report(&self) -> Report {
        let mut verifier = Verifier::new();
        self.messages.iter().for_each(|message| verifier.take(message));
        verifier.finish()
    }

    fn faults(&self) -> Vec<(Code, Option<u64>)> {
        self.report().findings.into_iter().map(|finding| (finding.code, finding.sequence)).collect()
    }

    #[track_caller]
    fn clean(self) -> Self {
        let report = self.report();
        assert!(report.clean && report.findings.is_empty(), "{:?}", report.findings);
        self
    }

    #[track_caller]
    fn has<const N: usize>(&self, codes: [(Code, u64); N]) {
        let expected: Vec<_> = codes.into_iter().map(|(code, sequence)| (code, Some(sequence))).collect();
        assert_eq!(self.faults(), expected, "{:?}", self.report().findings);
    }
}

/// Record n of a lease: its charge, and what was spent with it.
fn record(name: &str, n: u64, charge: &str, spent: &str) -> UsageRecord {
    UsageRecord {
        account: account("ann"),
        lease: lease(name),
        n,
        spent: credits(spent),
        uncovered: Credits::ZERO,
        // The same record is the same in every report of it.
        usage: domain::usage::Usage {
            request: domain::RequestId::from_uuid(Uuid::from_u128(u128::from(n))),
            at: Moment::from_micros(0),
            ..usage(credits(charge))
        },
    }
}

fn funded() -> Story {
    Story::default().grant("gift", "10")
}

fn leased() -> Story {
    funded().lent("lease", "2")
}

/// A log with every kind of event.
pub(crate) fn everything() -> Story {
    leased()
        .used([record("lease", 1, "0.5", "0.5"), record("lease", 2, "0.25", "0.75")])
        .keyed("once")
        .order("paid", cny(5000), "6.9")
        .paid("paid", "txn", cny(5000), "6.9")
        .order("late", cny(100), "0.1")
        .unpaid("late")
        .paid("late", "txn 2", cny(100), "0.1")
        .amended("lease", "3")
        .adjust("less", "-1.5")
        .suspended()
        .closed("lease", "0.75", 2)
        .lent_to("second", "other", "1")
        .sealed("node")
        .used_at("other", [record("second", 1, "0.125", "0.125")])
}

#[test]
fn a_good_log_adds_up() {
    let report = everything().clean().report();
    assert_eq!((report.first_sequence, report.last_sequence), (Some(1), Some(15)));
    let counts = Counts {
        messages: 15,
        bytes: everything().messages.iter().map(|it| count(it.data.len())).sum(),
        accounts: 1,
        nodes: 2,
        sealed_nodes: 1,
        leases_granted: 2,
        leases_closed: 1,
        leases_open: 1,
        usage_records: 3,
        repeated_records: 0,
        late_records: 0,
        suspended_payments: 1,
        resolved_payments: 0,
    };
    assert_eq!(report.counts, counts);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        json["wallets"],
        serde_json::json!({"credits_in": "17", "credits_out": "1.5", "spent_of_closed_leases": "0.75", "leased": "1",
            "available": "13.75"})
    );
    // 5000 and 100 bought 7 credits, 700 lie in suspense; 10 were given, 1.5 taken, 0.875 spent.
    assert_eq!(
        json["totals"],
        serde_json::json!({"CNY": {"debit": "5800", "credit": "5800"}, "credits": {"debit": "19.375", "credit": "19.375"}})
    );
    let notes: Vec<_> = report.notes.iter().map(|note| note.code).collect();
    assert_eq!(notes, [NoteCode::LeasesOpen, NoteCode::PaymentsSuspended]);
    assert!(report.notes[0].sentence.contains("for 2 s by the log's clock"), "{:?}", report.notes);
    assert!(Story::default().clean().report().last_sequence.is_none());
}

#[test]
fn a_payment_in_suspense_ends_once_and_a_claim_that_nobody_was_credited_with_is_told_of() {
    let notes = |story: &Story| {
        let report = story.clone().report();
        (report.counts.resolved_payments, report.notes.iter().map(|note| note.code).collect::<Vec<_>>())
    };
    let claimed = Story::default().suspended().claimed(1, 700, "claim").clean();
    assert_eq!(notes(&claimed), (1, vec![NoteCode::ClaimsUnfinished]));
    let opened = claimed.clone().order("claim", cny(700), "1");
    // Paid by another transaction it is not this payment that was credited.
    assert_eq!(notes(&opened.clone().paid("claim", "other", cny(700), "1")).1, [NoteCode::ClaimsUnfinished]);
    let credited = opened.paid("claim", "txn", cny(700), "1").clean();
    assert_eq!(notes(&credited), (1, vec![]));
    credited.clone().claimed(1, 700, "again").has([(Code::SuspenseResolved, 5)]);
    credited.clone().claimed(2, 700, "again").has([(Code::SuspenseUnknown, 5)]);
    Story::default().suspended().claimed(1, 701, "claim").has([(Code::SuspenseUnknown, 2)]);
}

#[test]
fn a_missing_message_is_named_and_so_is_what_it_breaks() {
    let good = everything().clean();
    good.clone().without(11).has([(Code::SequenceGap, 12)]);
    good.clone().without(10).has([(Code::SequenceGap, 11), (Code::Version, 12), (Code::Chain, 12)]);
    let findings = good.clone().without(1).report().findings;
    assert!(findings[0].sentence.starts_with("message 1 is missing"), "{findings:?}");
    assert_eq!(
        (findings[0].sequence, findings[0].subject.as_str()),
        (Some(2), good.messages[1].subject.as_str())
    );
    let findings = good.without(10).without(11).report().findings;
    assert!(findings[0].sentence.starts_with("messages 10 to 11 are missing"), "{findings:?}");
}

#[test]
fn a_last_message_that_is_missing_is_named_by_who_knows_of_it() {
    let story = everything().clean();
    let mut verifier = Verifier::new();
    story.messages.iter().for_each(|message| verifier.take(message));
    verifier.lost_tail(15, 17);
    let findings = verifier.finish().findings;
    assert_eq!((findings[0].code, findings[0].sequence), (Code::SequenceGap, Some(17)));
}

#[test]
fn a_message_out_of_order_is_named() {
    let mut story = Story::default().grant("a", "1").suspended().clean();
    story.messages.swap(0, 1);
    story.has([(Code::SequenceGap, 2), (Code::SequenceOrder, 1)]);
}

#[test]
fn a_foreign_message_is_named() {
    let mut story = everything().clean();
    let mut foreign = story.messages[14].clone();
    (foreign.sequence, foreign.subject) = (16, "ledger.account.nobody".into());
    story.messages.push(foreign.clone());
    story.has([(Code::ForeignSubject, 16)]);
    story.messages[15].subject =
        story.messages[0].subject.to_uppercase().replace("LEDGER.ACCOUNT", "ledger.account");
    story.has([(Code::ForeignSubject, 16)]);
}

#[test]
fn bytes_that_are_no_event_of_their_subject_are_named() {
    let good = everything().clean();
    good.clone().altered(15, "\"usage_reported\"", "\"usage_reported").has([(Code::Unreadable, 15)]);
    // The message after it does not hold its hash.
    let broken = good.clone().altered(8, "0.1", "free");
    broken.has([(Code::Unreadable, 8), (Code::Chain, 9)]);
    let mut moved = good;
    moved.messages[14].subject = moved.messages[0].subject.clone();
    moved.has([(Code::Unreadable, 15)]);
}

#[test]
fn an_event_that_this_version_does_not_know_is_named() {
    let good = everything().clean();
    good.clone().altered(15, "\"v\":2", "\"v\":9").has([(Code::UnknownEvent, 15)]);
    good.altered(15, "usage_reported", "usage_imagined").has([(Code::UnknownEvent, 15)]);
}

#[test]
fn versions_and_hashes_that_do_not_follow_are_named() {
    let good = funded().adjust("a", "1").adjust("b", "1").clean();
    good.clone().altered(2, "\"version\":2", "\"version\":3").has([
        (Code::Version, 2),
        (Code::Version, 3),
        (Code::Chain, 3),
    ]);
    good.clone().altered(1, "\"version\":1", "\"version\":2").has([
        (Code::Version, 1),
        (Code::Version, 2),
        (Code::Chain, 2),
    ]);
    // A byte that says nothing is a byte all the same.
    good.clone().altered(2, "a reason", "a Reason").has([(Code::Chain, 3)]);
    let findings = good.clone().altered(2, "a reason", "a Reason").report().findings;
    assert!(findings[0].sentence.contains("hash of message 2"), "{findings:?}");
    let prev = hex::encode(hash(&good.messages[0].data));
    good.clone().altered(2, &format!("\"prev\":\"{prev}\","), "").has([(Code::Chain, 2), (Code::Chain, 3)]);
    good.altered(1, "\"version\":1", &format!("\"prev\":\"{prev}\",\"version\":1"))
        .has([(Code::Chain, 1), (Code::Chain, 2)]);
}

#[test]
fn an_event_that_stands_twice_is_named() {
    let good = funded().adjust("a", "1").clean();
    let (first, second) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
    good.altered(2, &second, &first).has([(Code::RepeatedEvent, 2)]);
}

#[test]
fn whatever_follows_a_seal_is_named() {
    let good = leased().used([]).sealed("node").clean();
    good.clone().used([record("lease", 1, "1", "1")]).has([(Code::AfterSeal, 5)]);
    good.clone().sealed("node").used([]).has([(Code::AfterSeal, 5), (Code::AfterSeal, 6)]);
    good.used_at("successor", [record("lease", 1, "1", "1")]).clean();
}

#[test]
fn postings_that_do_not_sum_to_zero_are_named() {
    let good = posting::postings(&Event::Suspense(
        channel(),
        SuspenseEvent::PaymentSuspended(PaymentSuspended {
            order: label("o"),
            provider_txn: label("t"),
            paid: cny(700),
            reason: "r".parse().unwrap(),
            inbox: 1,
        }),
    ));
    let place = Place { sequence: 7, subject: "ledger.suspense.epay" };
    let mut verifier = Verifier::new();
    verifier.post(&good, place);
    assert!(verifier.finish().clean);
    let mut verifier = Verifier::new();
    verifier.post(&good[..1], place);
    let findings: Vec<_> = verifier.finish().findings.iter().map(|it| (it.code, it.sequence)).collect();
    assert_eq!(findings, [(Code::PostingsUnbalanced, Some(7)), (Code::PostingsUnbalanced, None)]);
}

#[test]
fn more_than_was_available_is_named_whatever_it_went_into() {
    let good = funded().lent("lease", "10").clean();
    funded().lent("lease", "10.000000001").has([(Code::AboveAvailable, 2), (Code::AvailableNegative, 2)]);
    good.clone()
        .lent_to("second", "other", "1")
        .has([(Code::AboveAvailable, 3), (Code::AvailableNegative, 3)]);
    good.clone().amended("lease", "11").has([(Code::AboveAvailable, 3), (Code::AvailableNegative, 3)]);
    good.clone().adjust("a", "-1").has([(Code::AboveAvailable, 3), (Code::AvailableNegative, 3)]);
    // What comes back is available again; a debt is named where it grows.
    good.clone().amended("lease", "9").adjust("a", "-1").clean();
    good.adjust("a", "-1")
        .grant("more", "0.5")
        .has([(Code::AboveAvailable, 3), (Code::AvailableNegative, 3)]);
}

#[test]
fn amounts_that_no_decision_may_have_are_named() {
    funded().grant("small", "0.000000001").clean();
    funded().grant("none", "0").has([(Code::AmountInvalid, 2)]);
    funded().adjust("none", "0").has([(Code::AmountInvalid, 2)]);
    funded().order("free", cny(0), "1").has([(Code::AmountInvalid, 2)]);
    funded().order("for nothing", cny(1), "0").has([(Code::AmountInvalid, 2)]);
    funded().lent("lease", "0").has([(Code::AmountInvalid, 2)]);
    leased().amended("lease", "0").clean();
    leased().amended("lease", "-1").has([(Code::AmountInvalid, 3)]);
}

#[test]
fn an_account_above_what_can_be_counted_is_named() {
    let most = domain::account::decide::MOST_CREDITS_IN.to_string();
    Story::default().grant("all", &most).clean();
    Story::default().grant("all", &most).grant("one more", "0.000000001").has([(Code::Overflow, 2)]);
}

#[test]
fn a_decision_that_was_made_before_is_named() {
    let good = funded().order("o", cny(5), "1").unpaid("o").adjust("a", "1").lent("lease", "1").clean();
    good.clone().grant("gift", "10").has([(Code::DecisionRepeated, 6)]);
    good.clone().order("o", cny(5), "1").has([(Code::DecisionRepeated, 6)]);
    good.clone().unpaid("o").has([(Code::DecisionRepeated, 6)]);
    good.clone().adjust("a", "1").has([(Code::DecisionRepeated, 6)]);
    good.clone().lent("lease", "1").has([(Code::DecisionRepeated, 6)]);
    good.closed("lease", "0", 0).closed("lease", "0", 0).has([(Code::DecisionRepeated, 7)]);
}

#[test]
fn an_idempotency_key_that_was_used_before_is_named() {
    let good = Story::default().keyed("once").grant("a", "1").clean();
    good.clone().keyed("twice").grant("b", "1").clean();
    good.clone().keyed("once").grant("b", "1").has([(Code::KeyReused, 2)]);
    good.keyed("once").order("o", cny(5), "1").has([(Code::KeyReused, 2)]);
}

#[test]
fn what_goes_back_is_judged_too() {
    let refund = domain::RefundId::from_uuid(id("r"));
    let (o, chargeback) = (order("o"), domain::ChargebackId::from_uuid(id("d")));
    let requested = |pay, takes: &str| {
        AccountEvent::RefundRequested(RefundRequested {
            refund,
            order: o,
            channel: channel(),
            pay: cny(pay),
            credits: credits(takes),
            bonus: Credits::ZERO,
            reason: "a reason".parse().unwrap(),
        })
    };
    let approved = || AccountEvent::RefundApproved(RefundApproved { refund, order: o });
    let completed = |takes: &str| {
        AccountEvent::RefundCompleted(RefundCompleted {
            refund,
            order: o,
            channel: channel(),
            pay: cny(2000),
            credits: credits(takes),
            bonus: Credits::ZERO,
            provider_refund: None,
        })
    };
    let failed = || {
        AccountEvent::RefundFailed(RefundFailed {
            refund,
            order: o,
            channel: channel(),
            credits: credits("2.8"),
            reason: "a reason".parse().unwrap(),
        })
    };
    let taken = |pay, takes: &str| {
        AccountEvent::ChargebackPosted(ChargebackPosted {
            chargeback,
            order: o,
            channel: channel(),
            pay: cny(pay),
            credits: credits(takes),
            bonus: Credits::ZERO,
            reference: label("dp"),
        })
    };
    let paid = Story::default().order("o", cny(5000), "7").paid("o", "txn", cny(5000), "7").clean();
    let asked = paid.clone().ann(requested(2000, "2.8")).clean();
    asked.clone().ann(approved()).ann(completed("2.8")).clean();
    // Rejected, and failed after it was approved.
    asked.clone().ann(failed()).clean();
    asked.clone().ann(approved()).ann(failed()).clean();
    paid.clone().ann(requested(5001, "7")).has([(Code::AboveOrder, 3)]);
    paid.clone().ann(requested(2000, "2.7")).has([(Code::CreditsDiffer, 3)]);
    asked.clone().ann(completed("2.8")).has([(Code::RefundOutOfTurn, 4)]);
    asked.clone().ann(approved()).ann(completed("2.9")).has([(Code::CreditsDiffer, 5)]);
    asked.clone().ann(approved()).ann(completed("2.8")).ann(failed()).has([(Code::RefundOutOfTurn, 6)]);
    asked.clone().ann(approved()).ann(approved()).has([(Code::DecisionRepeated, 5)]);
    Story::default().order("o", cny(5000), "7").ann(taken(5000, "7")).has([(Code::AboveOrder, 2)]);
    // A debt is legal where a bank has made it, and nowhere else.
    let owing = paid.clone().lent("l", "6").closed("l", "6", 0).ann(taken(5000, "7"));
    assert!(!owing.faults().iter().any(|(code, _)| *code == Code::AvailableNegative), "{:?}", owing.faults());
    asked.clone().ann(approved()).ann(completed("2.8")).ann(taken(5000, "4.2")).clean();
    // A refund that has not ended holds its credits only for now.
    asked.clone().ann(taken(5000, "7")).clean();
    asked.ann(taken(5000, "4.2")).has([(Code::CreditsDiffer, 4)]);
}

#[test]
fn orders_and_payments_that_do_not_fit_are_named() {
    let good = funded().order("o", cny(5000), "7").clean();
    good.clone().paid("o", "txn", cny(5000), "7").clean();
    good.clone().unpaid("o").paid("o", "txn", cny(5000), "7").clean();
    good.clone().paid("other", "txn", cny(5000), "7").has([(Code::OrderUnknown, 3)]);
    good.clone().unpaid("other").has([(Code::OrderUnknown, 3)]);
    good.clone().order("o", cny(1), "7").has([(Code::OrderRepeated, 3)]);
    good.clone().paid("o", "txn", cny(4999), "7").has([(Code::PaymentDiffers, 3)]);
    good.clone().paid("o", "txn", cny(5000), "7.1").has([(Code::CreditsDiffer, 3)]);
    let paid = good.clone().paid("o", "txn", cny(5000), "7");
    paid.clone().paid("o", "txn 2", cny(5000), "7").has([(Code::OrderPaid, 4)]);
    paid.clone().paid("o", "txn", cny(5000), "7").has([(Code::DecisionRepeated, 4)]);
    paid.unpaid("o").has([(Code::OrderPaid, 4)]);
    let other = AccountEvent::TopUpCompleted(TopUpCompleted {
        order: order("o"),
        channel: "alipay".parse().unwrap(),
        provider_txn: label("txn"),
        paid: cny(5000),
        credits: credits("7"),
    });
    good.clone().ann(other.clone()).has([(Code::PaymentDiffers, 3)]);
    // Another account's order is no order of this one.
    good.on("bob", other).has([(Code::OrderUnknown, 3)]);
}

#[test]
fn leases_that_are_not_open_or_open_already_are_named() {
    let good = leased().amended("lease", "3").clean();
    let closed = good.clone().closed("lease", "0", 0).clean();
    good.clone().amended("other", "1").has([(Code::LeaseUnknown, 4)]);
    good.clone().closed("other", "0", 0).has([(Code::LeaseUnknown, 4)]);
    good.clone().lent("second", "1").has([(Code::LeaseOpen, 4)]);
    good.clone().lent_to("second", "other", "1").clean();
    closed.clone().amended("lease", "1").has([(Code::LeaseClosed, 5)]);
    closed.clone().lent("lease", "1").has([(Code::LeaseClosed, 5)]);
    closed.lent("second", "1").clean();
    good.clone().used([record("lease", 1, "1", "1")]).clean();
    good.used([record("other", 1, "1", "1")]).has([(Code::LeaseUnknown, 4)]);
}

#[test]
fn more_spent_than_a_lease_held_is_named() {
    let good = leased().used([record("lease", 1, "2", "2")]).clean();
    good.clone().closed("lease", "2", 1).clean();
    leased().used([record("lease", 1, "2.1", "2.1")]).has([(Code::SpentAboveLease, 3)]);
    leased().amended("lease", "3").used([record("lease", 1, "2.1", "2.1")]).clean();
    good.closed("lease", "2.1", 1).has([(Code::SpentAboveLease, 4), (Code::CloseSpent, 4)]);
}

#[test]
fn a_lease_closed_with_other_sums_than_its_records_is_named() {
    let good = leased().used([record("lease", 1, "0.5", "0.5"), record("lease", 2, "0.5", "1")]);
    good.clone().closed("lease", "1", 2).clean();
    good.clone().closed("lease", "0.9", 2).has([(Code::CloseSpent, 4)]);
    good.clone().closed("lease", "0.5", 1).has([(Code::CloseCount, 4)]);
    good.clone().closed("lease", "1", 1).has([(Code::CloseCount, 4), (Code::CloseSpent, 4)]);
    leased().closed("lease", "0.5", 0).has([(Code::CloseSpent, 3)]);
    // A sweeper may have looked before the last record came.
    let swept = good.closed_by("lease", "0.5", 1, Closer::Sweeper).clean().report();
    assert_eq!(swept.counts.late_records, 1);
    assert!(swept.notes[0].sentence.contains("the operator bears 0.5 credits"), "{:?}", swept.notes);
}

#[test]
fn records_of_a_closed_lease_that_are_missing_are_named() {
    let records: Vec<_> = (1..=4).map(|n| record("lease", n, "0.1", &format!("0.{n}"))).collect();
    let all = leased().used(records.clone());
    all.closed("lease", "0.4", 4).clean();
    for (without, words) in [
        (vec![2], "4 records, and record 2 is not on the log"),
        (vec![4], "4 records, and record 4 is not on the log"),
        (vec![1, 2, 4], "4 records, and records 1 to 2 are, record 4 is not on the log"),
    ] {
        let some = leased().used(records.iter().filter(|it| !without.contains(&it.n)).cloned());
        let closed = some.clone().closed("lease", "0.4", 4);
        closed.has([(Code::RecordsMissing, 4)]);
        let sentence = closed.report().findings[0].sentence.clone();
        assert!(sentence.ends_with(words), "{sentence}");
        // They may come later, from a node that started again.
        let late = records.iter().filter(|it| without.contains(&it.n)).cloned();
        let healed = closed.used_at("successor", late).clean().report();
        assert_eq!((healed.counts.usage_records, healed.counts.late_records), (4, 0));
        // As long as the lease is open they are only awaited.
        let notes: Vec<_> = some.clean().report().notes.iter().map(|note| note.code).collect();
        let gap = without != [4];
        assert_eq!(notes.contains(&NoteCode::RecordsPending), gap, "{notes:?}");
    }
    // What fills the gap is checked like the rest.
    let wrong = leased().used([records[0].clone(), records[3].clone()]).closed("lease", "0.4", 4);
    wrong
        .used_at("successor", [records[1].clone(), record("lease", 3, "0.05", "0.25")])
        .has([(Code::RecordSum, 3)]);
}

#[test]
fn a_gap_that_nothing_fills_is_named_after_many_records() {
    let many = |from: u64| {
        (from..=2_010).map(move |n| {
            let spent = Credits::from_nano(i64::try_from(n).unwrap()).to_string();
            record("lease", n, "0.000000001", &spent)
        })
    };
    leased().used(many(1)).closed("lease", "0.00000201", 2_010).clean();
    let lost = leased().used(many(1).filter(|it| it.n != 3)).closed("lease", "0.00000201", 2_010);
    lost.has([(Code::RecordsMissing, 3)]);
}

#[test]
fn a_record_reported_again_counts_once_and_must_be_the_same() {
    let (first, second) = (record("lease", 1, "0.5", "0.5"), record("lease", 2, "0.5", "1"));
    let good = leased().used([first.clone(), second.clone()]);
    let again = good.clone().sealed("node").used_at("successor", [second.clone()]).clean();
    let counts = again.report().counts;
    assert_eq!((counts.usage_records, counts.repeated_records), (2, 1));
    assert_eq!(again.report().totals["credits"].debit_text(), "11");
    again.closed("lease", "1", 2).used_at("successor", [first.clone(), second.clone()]).clean();
    let mut other = first;
    other.usage.duration_ms += 1;
    good.clone().used([other.clone()]).has([(Code::RecordDiffers, 4)]);
    good.closed("lease", "1", 2).used_at("successor", [other.clone()]).has([(Code::RecordDiffers, 5)]);
    // Behind a gap too.
    let behind = leased().used([second.clone(), second.clone()]).clean();
    let mut other = second;
    other.usage.status = 201;
    behind.used([other]).has([(Code::RecordDiffers, 4)]);
}

#[test]
fn a_record_beyond_its_closed_leases_count_is_the_operators_loss() {
    let closed = leased().used([record("lease", 1, "0.5", "0.5")]).sealed("node");
    let closed = closed.closed_by("lease", "0.5", 1, Closer::Sweeper);
    let late = closed.used_at("successor", [record("lease", 2, "0.25", "0.75")]).clean();
    let report = late.clone().used_at("successor", [record("lease", 2, "0.25", "0.75")]).clean().report();
    assert_eq!((report.counts.late_records, report.counts.repeated_records), (1, 1));
    let note = report.notes.iter().find(|note| note.code == NoteCode::RecordsLate).unwrap();
    assert_eq!(
        note.sentence,
        "1 usage records came too late for their leases: the operator bears 0.25 credits"
    );
}

#[test]
fn repeats_of_records_long_past_are_counted_but_not_compared() {
    let many: Vec<_> = (1..=1100)
        .map(|n: u64| {
            let spent = Credits::from_nano(i64::try_from(n).unwrap()).to_string();
            record("lease", n, "0.000000001", &spent)
        })
        .collect();
    let story = leased().used(many.clone());
    assert!(story.clone().clean().report().notes.iter().all(|it| it.code == NoteCode::LeasesOpen));
    let notes = story.used_at("successor", many).clean().report().notes;
    assert!(notes[1].sentence.starts_with("76 repeated usage records"), "{notes:?}");
    // Of a lease that was closed very long ago only its account knows.
    let mut verifier = Verifier::new();
    let closed = leased().closed("lease", "0", 0);
    closed.messages.iter().for_each(|message| verifier.take(message));
    verifier.leases = Leases::default();
    verifier.take(closed.used([record("lease", 1, "0.5", "0.5")]).messages.last().unwrap());
    let report = verifier.finish();
    assert!(report.clean, "{:?}", report.findings);
    assert_eq!(report.notes[0].code, NoteCode::RepeatsNotCompared);
}

#[test]
fn a_record_that_does_not_add_up_is_named() {
    let good = record("lease", 1, "0.5", "0.5");
    leased().used([good.clone()]).clean();
    leased().used([UsageRecord { n: 0, ..good.clone() }]).has([(Code::RecordNumber, 3)]);
    leased().used([UsageRecord { account: account("bob"), ..good.clone() }]).has([(Code::RecordAccount, 3)]);
    leased().used([UsageRecord { spent: credits("0.6"), ..good.clone() }]).has([(Code::RecordSum, 3)]);
    // What the operator bears is not spent.
    let uncovered = |part: &str, spent: &str| UsageRecord {
        uncovered: credits(part),
        spent: credits(spent),
        ..good.clone()
    };
    leased().used([uncovered("0.2", "0.3")]).clean();
    leased().used([uncovered("0.2", "0.5")]).has([(Code::RecordSum, 3)]);
    leased().used([uncovered("0.6", "-0.1")]).has([(Code::RecordUncovered, 3)]);
    leased().used([uncovered("-0.1", "0.6")]).has([(Code::RecordUncovered, 3)]);
}

#[test]
fn a_charge_that_does_not_follow_from_its_prices_is_named() {
    let with = |outcome, charge: &str| {
        let mut it = record("lease", 1, "0.5", charge);
        (it.usage.outcome, it.usage.charge) = (outcome, credits(charge));
        leased().used([it])
    };
    let outcomes = [
        (Outcome::Completed, true, false),
        (Outcome::ClientGone, true, true),
        (Outcome::ProviderError, true, true),
        (Outcome::Interrupted, true, true),
        (Outcome::Refused, false, true),
    ];
    for (outcome, may_cost, may_be_free) in outcomes {
        for (charge, is_good) in [("0.5", may_cost), ("0", may_be_free), ("0.4", false), ("0.6", false)] {
            match is_good {
                true => drop(with(outcome, charge).clean()),
                false => with(outcome, charge).has([(Code::RecordCharge, 3)]),
            }
        }
    }
    let mut odd = record("lease", 1, "0.5", "0.5");
    odd.usage.multiplier = "1001".parse().unwrap();
    leased().used([odd]).has([(Code::RecordCharge, 3)]);
    let mut cost = record("lease", 1, "0.5", "0.5");
    cost.usage.cost_prices = Some(cost.usage.unit_prices.clone());
    cost.usage.cost = credits("0.5");
    leased().used([cost.clone()]).clean();
    cost.usage.cost = credits("0.4");
    leased().used([cost]).has([(Code::RecordCharge, 3)]);
}

#[test]
fn any_byte_that_changes_is_found_but_in_the_last_message_of_a_subject() {
    // What nothing follows is held by no chain; archives have checksums for that.
    let story = leased().used([record("lease", 1, "1", "1")]).adjust("a", "1").used([]).clean();
    for at in 0..story.messages.len() {
        let subject = story.messages[at].subject.clone();
        if !story.messages[at + 1..].iter().any(|later| later.subject == subject) {
            continue;
        }
        for byte in 0..story.messages[at].data.len() {
            let mut changed = story.clone();
            let mut data = story.messages[at].data.to_vec();
            data[byte] ^= 1;
            changed.messages[at].data = data.into();
            let findings = changed.report().findings;
            let name = format!("hash of message {},", at + 1);
            assert!(
                findings.iter().any(|it| it.sequence == Some(count(at) + 1) || it.sentence.contains(&name)),
                "byte {byte} of message {}: {findings:?}",
                at + 1
            );
        }
    }
}

#[test]
fn a_report_lists_so_many_findings_and_counts_the_rest() {
    let mut story = Story::default().grant("a", "1").clean();
    for _ in 0..FINDINGS_LISTED + 5 {
        let mut foreign = story.messages[0].clone();
        (foreign.sequence, foreign.subject) = (count(story.messages.len()) + 1, "ledger.x".into());
        story.messages.push(foreign);
    }
    let report = story.report();
    assert_eq!((report.findings.len(), report.findings_total), (FINDINGS_LISTED, count(FINDINGS_LISTED) + 5));
}

#[test]
fn sums_beyond_one_account_are_written_in_credits() {
    for (nano, text) in [
        (0, "0"),
        (1_500_000_000, "1.5"),
        (-1, "-0.000000001"),
        (10_000_000_000_000_000_000, "10000000000"),
        (-10_000_000_000_500_000_000, "-10000000000.5"),
    ] {
        assert_eq!(credits_text(nano), text);
    }
}
