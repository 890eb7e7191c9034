//! Golden files: every shape ever written must decode for ever, and the current ones must be written as they were.
//!
//! With NEXUSROUTE_GOLDEN=write files that are missing are added; existing ones are never touched.

use super::*;
use crate::testing::{credits, label, usage};
use domain::account::event::*;
use domain::event::{
    ChannelEvent, ChannelFeePosted, NodeSealed, PaymentSuspended, Resolution, SealCause, SuspenseResolved,
    UsageReported,
};
use domain::usage::{Attempt, Usage};
use domain::{
    ActorKind, AdjustmentId, BatchId, ChargebackId, Credits, GrantId, KeyId, LeaseId, Money, OrderId,
    Outcome, PriceVersionId, RefundId, RequestId, Tokens, UnitPrices, UsageRecord, UsageSource,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use uuid::Uuid;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/events")
}

fn golden_file(kind: &str, v: u32) -> PathBuf {
    folder().join(format!("{kind}.v{v}.json"))
}

/// Every `("type", version)` in the codec's own source: what it writes and what it can read.
fn shapes_in_source() -> BTreeSet<(String, u32)> {
    include_str!("../codec.rs").split("(\"").skip(1).filter_map(shape).collect()
}

fn shape(text: &str) -> Option<(String, u32)> {
    let (kind, rest) = text.split_once("\", ")?;
    let version = rest.split_once(')')?.0.parse().ok()?;
    kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then(|| (kind.to_owned(), version))
}

fn id(last: u8) -> Uuid {
    Uuid::from_u128(0x0193_5a00_0000_7000_8000_0000_0000_0000 + u128::from(last))
}

fn moment() -> Moment {
    "2026-11-22T10:00:00.123456Z".parse().unwrap()
}

fn yuan(minor: i64) -> Money {
    Money { currency: "CNY".to_owned().try_into().unwrap(), minor }
}

/// One event of each type, with every optional field there.
fn samples() -> Vec<Event> {
    let (order, lease, epoch) =
        (OrderId::from_uuid(id(1)), LeaseId::from_uuid(id(2)), EpochId::from_uuid(id(3)));
    let channel: ChannelName = "sandbox".parse().unwrap();
    let account = AccountId::from_uuid(id(4));
    let on_account = [
        AccountEvent::TopUpInitiated(TopUpInitiated {
            order,
            channel: channel.clone(),
            pay: yuan(5000),
            credits: credits("7.123456789"),
            expires_at: moment(),
        }),
        AccountEvent::TopUpCompleted(TopUpCompleted {
            order,
            channel: channel.clone(),
            provider_txn: label("2026112222001400000000000001"),
            paid: yuan(5000),
            credits: credits("7.123456789"),
        }),
        AccountEvent::TopUpClosed(TopUpClosed { order, reason: CloseReason::Expired }),
        AccountEvent::CreditGranted(CreditGranted {
            grant: GrantId::from_uuid(id(5)),
            source: GrantSource::Admin,
            credits: credits("1"),
            reason: Some("a \"gift\" für dich".parse().unwrap()),
        }),
        AccountEvent::AdjustmentPosted(AdjustmentPosted {
            adjustment: AdjustmentId::from_uuid(id(6)),
            credits: credits("-0.000000001"),
            reason: "rounding".parse().unwrap(),
        }),
        AccountEvent::RefundRequested(RefundRequested {
            refund: RefundId::from_uuid(id(10)),
            order,
            channel: channel.clone(),
            pay: yuan(2000),
            credits: credits("2.849382716"),
            bonus: Credits::ZERO,
            reason: "not wanted".parse().unwrap(),
        }),
        AccountEvent::RefundApproved(RefundApproved { refund: RefundId::from_uuid(id(10)), order }),
        AccountEvent::RefundCompleted(RefundCompleted {
            refund: RefundId::from_uuid(id(10)),
            order,
            channel: channel.clone(),
            pay: yuan(2000),
            credits: credits("2.849382716"),
            bonus: Credits::ZERO,
            provider_refund: Some(label("50300000002026112212345678901")),
        }),
        AccountEvent::RefundFailed(RefundFailed {
            refund: RefundId::from_uuid(id(10)),
            order,
            channel: channel.clone(),
            credits: credits("2.849382716"),
            reason: "the channel closed it".parse().unwrap(),
        }),
        AccountEvent::ChargebackPosted(ChargebackPosted {
            chargeback: ChargebackId::from_uuid(id(11)),
            order,
            channel: channel.clone(),
            pay: yuan(5000),
            credits: credits("7.123456789"),
            bonus: Credits::ZERO,
            reference: label("dp_1"),
        }),
        AccountEvent::ChargebackReversed(ChargebackReversed {
            chargeback: ChargebackId::from_uuid(id(11)),
            order,
            channel: channel.clone(),
            pay: yuan(5000),
            credits: credits("7.123456789"),
            bonus: Credits::ZERO,
        }),
        AccountEvent::RefundRequested(RefundRequested {
            refund: RefundId::from_uuid(id(10)),
            order,
            channel: channel.clone(),
            pay: yuan(2000),
            credits: credits("3.134320988"),
            bonus: credits("0.284938272"),
            reason: "not wanted".parse().unwrap(),
        }),
        AccountEvent::RefundCompleted(RefundCompleted {
            refund: RefundId::from_uuid(id(10)),
            order,
            channel: channel.clone(),
            pay: yuan(2000),
            credits: credits("3.134320988"),
            bonus: credits("0.284938272"),
            provider_refund: None,
        }),
        AccountEvent::ChargebackPosted(ChargebackPosted {
            chargeback: ChargebackId::from_uuid(id(11)),
            order,
            channel: channel.clone(),
            pay: yuan(5000),
            credits: credits("7.835802468"),
            bonus: credits("0.712345679"),
            reference: label("dp_1"),
        }),
        AccountEvent::ChargebackReversed(ChargebackReversed {
            chargeback: ChargebackId::from_uuid(id(11)),
            order,
            channel: channel.clone(),
            pay: yuan(5000),
            credits: credits("7.835802468"),
            bonus: credits("0.712345679"),
        }),
        AccountEvent::LeaseGranted(LeaseGranted {
            lease,
            epoch,
            scope: Scope::Key { key: KeyId::from_uuid(id(7)), period: label("2026-11") },
            credits: credits("0.5"),
            ttl_ms: 60_000,
        }),
        AccountEvent::LeaseAmended(LeaseAmended { lease, credits: credits("0.75"), ttl_ms: 60_000 }),
        AccountEvent::LeaseClosed(LeaseClosed {
            lease,
            spent: credits("0.25"),
            count: 3,
            by: Closer::Holder,
        }),
    ];
    let mut all: Vec<_> = on_account.into_iter().map(|event| Event::Account(account, event)).collect();
    let record = UsageRecord {
        account,
        lease,
        n: 3,
        spent: credits("0.25"),
        uncovered: credits("0.000000002"),
        usage: full_usage(),
    };
    let plain = UsageRecord { n: 4, uncovered: Credits::ZERO, usage: plain_usage(), ..record.clone() };
    let reported = UsageReported { batch: BatchId::from_uuid(id(8)), records: vec![record, plain] };
    all.push(Event::Node(epoch, NodeEvent::UsageReported(reported)));
    all.push(Event::Node(epoch, NodeEvent::NodeSealed(NodeSealed { cause: SealCause::Silent })));
    let suspended = PaymentSuspended {
        order: label("no such order"),
        provider_txn: label("txn-9"),
        paid: yuan(1),
        reason: "unknown order".parse().unwrap(),
        inbox: 42,
    };
    all.push(Event::Suspense(channel.clone(), SuspenseEvent::PaymentSuspended(suspended)));
    let resolved = SuspenseResolved {
        payment: 41,
        provider_txn: label("txn-9"),
        paid: yuan(1),
        resolution: Resolution::Claimed { account, order },
        reason: "they sent the bank's receipt".parse().unwrap(),
    };
    all.push(Event::Suspense(channel.clone(), SuspenseEvent::SuspenseResolved(resolved)));
    let fee = ChannelFeePosted { day: label("2026-11-21"), fee: yuan(-7), bill: label(&"ab".repeat(32)) };
    all.push(Event::Channel(channel, ChannelEvent::ChannelFeePosted(fee)));
    all
}

/// Ids and moments that are the same in every run.
fn plain_usage() -> Usage {
    Usage { request: RequestId::from_uuid(id(9)), at: moment(), ..usage(credits("0.000000003")) }
}

fn full_usage() -> Usage {
    let price = |text: &str| text.parse().unwrap();
    let unit_prices = UnitPrices {
        input: price("3"),
        cache_read: price("0.3"),
        cache_write: price("3.75"),
        cache_write_1h: price("6"),
        output: price("15.000000001"),
        reasoning: price("15"),
        image_input: price("4"),
        image_output: price("40"),
        audio_input: price("5"),
        audio_output: price("50"),
        per_call: price("0.001"),
        per_million_characters: Some(price("15")),
        per_audio_minute: Some(price("0.006")),
        per_image: Some(price("0.04")),
    };
    Usage {
        key: KeyId::from_uuid(id(7)),
        tokens: Tokens {
            input: 1,
            cache_read: 2,
            cache_write: 3,
            cache_write_1h: 4,
            output: 5,
            reasoning: 6,
            image_input: 7,
            image_output: 8,
            audio_input: 9,
            audio_output: 10,
            characters: 11,
            audio_seconds: 12,
            images: 13,
        },
        price_version: PriceVersionId::from_uuid(id(10)),
        multiplier: price("1.25"),
        cost: credits("0.1"),
        cost_prices: Some(unit_prices.clone()),
        unit_prices,
        outcome: Outcome::ClientGone,
        usage_source: UsageSource::Estimated,
        stream: true,
        ttft_ms: Some(120),
        attempts: vec![
            Attempt {
                provider: label("skipped"),
                key: None,
                chosen: None,
                status: None,
                error: Some(label("circuit_open")),
                duration_ms: 0,
            },
            Attempt {
                provider: label("first"),
                key: Some(label("eu-2")),
                chosen: Some(label("priority")),
                status: None,
                error: Some(label("connect")),
                duration_ms: 3,
            },
            Attempt {
                provider: label("second"),
                key: None,
                chosen: Some(label("failover")),
                status: Some(200),
                error: None,
                duration_ms: 900,
            },
        ],
        ..plain_usage()
    }
}

fn encoded(event: &Event) -> Vec<u8> {
    let actor = Actor { kind: ActorKind::User, id: label("0193") };
    let key: IdempotencyKey = "key-1".parse().unwrap();
    let draft = Draft {
        id: EventId::from_uuid(id(11)),
        version: 17,
        at: moment(),
        actor: &actor,
        key: Some(&key),
        prev: Some([0xab; 32]),
        event,
    };
    encode(&draft).unwrap()
}

#[test]
fn golden_files_decode_and_are_written_again_to_the_byte() {
    let samples = samples();
    if std::env::var("NEXUSROUTE_GOLDEN").as_deref() == Ok("write") {
        std::fs::create_dir_all(folder()).unwrap();
        for event in &samples {
            let (kind, v) = current(event);
            let file = golden_file(kind, v);
            if !file.exists() {
                std::fs::write(&file, encoded(event)).unwrap();
            }
        }
    }
    let shapes = shapes_in_source();
    assert!(shapes.len() >= samples.len(), "the codec's source could not be read: {shapes:?}");
    for (kind, v) in &shapes {
        let file = golden_file(kind, *v);
        let stored = std::fs::read(&file).unwrap_or_else(|error| {
            panic!(
                "{kind} v{v} has no golden file ({error}): add a sample of it here, then run `make golden`"
            )
        });
        let envelope: Envelope<'_> = serde_json::from_slice(&stored).unwrap();
        let subject = match (envelope.account, envelope.epoch, &envelope.channel) {
            (Some(account), None, None) => Subject::Account(account),
            (None, Some(epoch), None) => Subject::Node(epoch),
            (None, None, Some(channel)) if kind == "channel_fee_posted" => Subject::Channel(channel.clone()),
            (None, None, Some(channel)) => Subject::Suspense(channel.clone()),
            named => panic!("{kind}: {named:?}"),
        };
        assert_eq!((envelope.kind.as_ref(), envelope.v), (kind.as_str(), *v));
        let decoded = decode(&subject.to_string(), 7, &stored).unwrap();
        let recorded = &decoded.recorded;
        let (now, current_v) = current(&recorded.event);
        assert_eq!((now, subject_of(&recorded.event)), (kind.as_str(), subject));
        if current_v == *v {
            let draft = Draft {
                id: recorded.id,
                version: recorded.version,
                at: recorded.at,
                actor: &recorded.actor,
                key: recorded.key.as_ref(),
                prev: decoded.prev,
                event: &recorded.event,
            };
            let again = encode(&draft).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&again),
                String::from_utf8_lossy(&stored),
                "{}",
                file.display()
            );
        }
    }
}

#[test]
fn every_event_type_has_a_sample_that_survives_the_log() {
    let mut sampled = BTreeSet::new();
    for event in samples() {
        let bytes = encoded(&event);
        let decoded = decode(&subject_of(&event).to_string(), 7, &bytes).unwrap();
        assert_eq!(decoded.recorded.event, event);
        assert_eq!(
            (decoded.recorded.sequence, decoded.recorded.version, decoded.recorded.at),
            (7, 17, moment())
        );
        assert_eq!(decoded.prev, Some([0xab; 32]));
        sampled.insert(type_name(&event).to_owned());
    }
    let types: BTreeSet<_> = shapes_in_source().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(sampled, types);
}

#[test]
fn what_is_no_event_of_its_subject_is_said_to_be_so() {
    let sample = &samples()[3];
    let (subject, good) = (subject_of(sample).to_string(), String::from_utf8(encoded(sample)).unwrap());
    let decode = |subject: &str, text: &str| decode(subject, 7, text.as_bytes()).map(|_| ());
    decode(&subject, &good).unwrap();

    let epoch = format!("\"epoch\":\"{}\",\"version\"", id(3));
    for bad in [
        String::new(),
        good[..good.len() - 1].to_owned(),
        good.replace("\"credits\":\"1\"", "\"credits\":1"),
        good.replace("\"credits\":\"1\"", "\"credits\":\"1.0000000001\""),
        good.replace("\"version\"", &epoch),
        good.replace("\"account\"", "\"accounts\""),
        good.replace("abab", "ab"),
        good.replace("2026-11-22T", "2026-22-22T"),
    ] {
        assert_ne!(bad, good);
        match decode(&subject, &bad) {
            Err(LedgerError::Damaged(text)) => assert!(text.contains("message 7"), "{text}"),
            other => panic!("{bad}: {other:?}"),
        }
    }
    for elsewhere in
        [format!("ledger.account.{}", id(99)), format!("ledger.node.{}", id(4)), "ledger.account.x".into()]
    {
        assert!(matches!(decode(&elsewhere, &good), Err(LedgerError::Damaged(_))), "{elsewhere}");
    }
    for unknown in [good.replace("\"v\":1", "\"v\":2"), good.replace("credit_granted", "usage_reported")] {
        assert!(
            matches!(decode(&subject, &unknown), Err(LedgerError::UnknownEvent { sequence: 7, .. })),
            "{unknown}"
        );
    }
}

/// What was charged under the first shape of a usage record is derived from it for ever, and it comes back without what it
/// could not say.
#[test]
fn a_usage_record_of_the_first_version_means_what_it_did() {
    let stored = std::fs::read(golden_file("usage_reported", 1)).unwrap();
    let subject = format!("ledger.node.{}", id(3));
    let decoded = decode(&subject, 7, &stored).unwrap();
    let Event::Node(_, NodeEvent::UsageReported(report)) = decoded.recorded.event else { panic!() };
    let [full, plain] = &report.records[..] else { panic!() };
    // (1×3 + 2×0.3 + 3×3.75 + 4×6 + 5×15.000000001 + 6×15 + 7×4 + 8×40 + 9×5 + 10×50) ÷ 1e6 + 0.001, times 1.25
    assert_eq!(full.usage.derived_charge(), Ok(credits("0.002621063")));
    assert_eq!(plain.usage.derived_charge(), Ok(Credits::ZERO));
    assert_eq!(full.uncovered, credits("0.000000002"));

    let now = UsageRecord { n: 3, ..sampled(0) };
    let then = |usage: &Usage| Usage {
        tokens: Tokens { characters: 0, audio_seconds: 0, images: 0, ..usage.tokens },
        unit_prices: without_media(&usage.unit_prices),
        cost_prices: usage.cost_prices.as_ref().map(without_media),
        attempts: usage.attempts[1..]
            .iter()
            .map(|it| Attempt { key: None, chosen: None, ..it.clone() })
            .collect(),
        ..usage.clone()
    };
    assert_eq!(*full, UsageRecord { usage: then(&now.usage), ..now });

    // Written again it is of the second version, and no longer than it was.
    let again = Event::Node(EpochId::from_uuid(id(3)), NodeEvent::UsageReported(report));
    assert_eq!(encoded(&again).len(), stored.len());

    let text = String::from_utf8(stored).unwrap();
    let later = text.replace("\"reasoning\":6", "\"images\":6");
    assert_ne!(later, text);
    match decode(&subject, 7, later.as_bytes()) {
        Err(LedgerError::Damaged(what)) => assert!(what.contains("usage_reported v1"), "{what}"),
        other => panic!("the first version had no images: {:?}", other.map(|_| ())),
    }
}

fn sampled(at: usize) -> UsageRecord {
    let reports = samples().into_iter().find_map(|event| match event {
        Event::Node(_, NodeEvent::UsageReported(report)) => Some(report.records),
        Event::Node(_, NodeEvent::NodeSealed(_))
        | Event::Account(..)
        | Event::Suspense(..)
        | Event::Channel(..) => None,
    });
    reports.unwrap().swap_remove(at)
}

fn without_media(prices: &UnitPrices) -> UnitPrices {
    UnitPrices { per_million_characters: None, per_audio_minute: None, per_image: None, ..prices.clone() }
}

#[test]
fn a_report_of_written_records_is_the_same_to_the_byte() {
    let epoch = EpochId::from_uuid(id(1));
    let actor = Actor { kind: ActorKind::Node, id: label("n") };
    for count in [0, 1, 3] {
        let records: Vec<_> = (1..=count)
            .map(|n| UsageRecord {
                account: AccountId::from_uuid(id(2)),
                lease: LeaseId::from_uuid(id(3)),
                n,
                spent: Credits::from_nano(7),
                uncovered: Credits::ZERO,
                usage: if n == 2 { full_usage() } else { plain_usage() },
            })
            .collect();
        let written: Vec<_> = records.iter().map(|record| serde_json::to_vec(record).unwrap()).collect();
        let batch = BatchId::from_uuid(id(4));
        let prev = Some([9; 32]);
        let head = ReportHead {
            id: EventId::from_uuid(id(5)),
            epoch,
            batch,
            version: 3,
            at: moment(),
            actor: &actor,
            prev,
        };
        let event = Event::Node(epoch, NodeEvent::UsageReported(UsageReported { batch, records }));
        let draft =
            Draft { id: head.id, version: 3, at: moment(), actor: &actor, key: None, prev, event: &event };
        let report = encode_report(&head, written.iter().map(Vec::as_slice)).unwrap();
        assert_eq!(String::from_utf8(report).unwrap(), String::from_utf8(encode(&draft).unwrap()).unwrap());
    }
}
