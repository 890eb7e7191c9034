//! The books: the lines of any event sum to zero per unit, and so do those of any usage, whoever is found to pay.

use super::fixed;
use crate::event::{
    AccountEvent, AdjustmentPosted, ChannelEvent, ChannelFeePosted, ChargebackPosted, ChargebackReversed,
    CloseReason, Closer, CreditGranted, Event, GrantSource, LeaseAmended, LeaseClosed, LeaseGranted,
    NodeEvent, NodeSealed, PaymentSuspended, RefundApproved, RefundCompleted, RefundFailed, RefundRequested,
    Resolution, ReturnedBy, Scope, SealCause, SuspenseEvent, SuspenseResolved, TopUpClosed, TopUpCompleted,
    TopUpInitiated, UsageReported,
};
use crate::posting::of_usage;
use crate::samples::{channel, label, reason, usage_record, uuid};
use crate::{
    Account, AccountId, Actor, ActorKind, AdjustmentId, BatchId, Book, ChargebackId, Credits, EpochId,
    EventId, GrantId, KeyId, LeaseId, Moment, Money, OrderId, Posting, Recorded, RefundId, Split,
    UsageRecord, postings,
};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Any amount at all: a fold must bear what a damaged log says.
fn amount() -> impl Strategy<Value = Credits> {
    prop_oneof![
        6 => -1_000_i64..1_000_000_000_000,
        1 => any::<i64>(),
        1 => select(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX]),
    ]
    .prop_map(Credits::from_nano)
}

fn money() -> impl Strategy<Value = Money> {
    (select(vec!["CNY", "USD", "JPY"]), amount())
        .prop_map(|(code, amount)| Money { currency: code.parse().unwrap(), minor: amount.nano() })
}

/// One of a few ids, so that they meet again.
fn id<T: std::fmt::Debug>(wrap: fn(Uuid) -> T) -> impl Strategy<Value = T> {
    (0_u128..4).prop_map(move |n| wrap(Uuid::from_u128(n)))
}

fn scope() -> impl Strategy<Value = Scope> {
    let period = select(vec![
        "total",
        "2026-11",
        "2026-11-21",
        "2026-11-22",
        "2026-11-23",
        "2026-11-24",
        "2026-11-25",
    ]);
    prop_oneof![
        Just(Scope::Account),
        (id(KeyId::from_uuid), period).prop_map(|(key, period)| Scope::Key { key, period: label(period) }),
    ]
}

fn account_event() -> impl Strategy<Value = AccountEvent> {
    let channels = || select(vec!["sandbox", "epay"]).prop_map(channel);
    let order = || id(OrderId::from_uuid);
    let lease = || id(LeaseId::from_uuid);
    let initiated = (order(), channels(), money(), amount(), any::<i64>()).prop_map(
        |(order, channel, pay, credits, at)| {
            let expires_at = Moment::from_micros(at);
            AccountEvent::TopUpInitiated(TopUpInitiated { order, channel, pay, credits, expires_at })
        },
    );
    let completed = (order(), channels(), money(), amount()).prop_map(|(order, channel, paid, credits)| {
        AccountEvent::TopUpCompleted(TopUpCompleted {
            order,
            channel,
            provider_txn: label("tx"),
            paid,
            credits,
        })
    });
    let closed_order =
        (order(), select(vec![CloseReason::Failed, CloseReason::Cancelled, CloseReason::Expired]))
            .prop_map(|(order, reason)| AccountEvent::TopUpClosed(TopUpClosed { order, reason }));
    let sources = vec![
        GrantSource::Signup,
        GrantSource::Redemption,
        GrantSource::Referral,
        GrantSource::Promotion,
        GrantSource::Import,
        GrantSource::Admin,
    ];
    let granted = (id(GrantId::from_uuid), select(sources), amount()).prop_map(|(grant, source, credits)| {
        AccountEvent::CreditGranted(CreditGranted { grant, source, credits, reason: None })
    });
    let adjusted = (id(AdjustmentId::from_uuid), amount()).prop_map(|(adjustment, credits)| {
        AccountEvent::AdjustmentPosted(AdjustmentPosted { adjustment, credits, reason: reason("a slip") })
    });
    let leased = (lease(), id(EpochId::from_uuid), scope(), amount(), any::<u64>()).prop_map(
        |(lease, epoch, scope, credits, ttl_ms)| {
            AccountEvent::LeaseGranted(LeaseGranted { lease, epoch, scope, credits, ttl_ms })
        },
    );
    let amended = (lease(), amount(), any::<u64>()).prop_map(|(lease, credits, ttl_ms)| {
        AccountEvent::LeaseAmended(LeaseAmended { lease, credits, ttl_ms })
    });
    let closed = (lease(), amount(), any::<u64>(), select(vec![Closer::Holder, Closer::Sweeper])).prop_map(
        |(lease, spent, count, by)| AccountEvent::LeaseClosed(LeaseClosed { lease, spent, count, by }),
    );
    let back =
        (id(RefundId::from_uuid), id(ChargebackId::from_uuid), order(), channels(), money(), amount(), 0..6)
            .prop_map(|(refund, chargeback, order, channel, pay, credits, which)| match which {
                0 => AccountEvent::RefundRequested(RefundRequested {
                    refund,
                    order,
                    channel,
                    pay,
                    credits,
                    bonus: half(credits),
                    reason: reason("not wanted"),
                }),
                1 => AccountEvent::RefundApproved(RefundApproved { refund, order }),
                2 => AccountEvent::RefundCompleted(RefundCompleted {
                    refund,
                    order,
                    channel,
                    pay,
                    credits,
                    bonus: half(credits),
                    provider_refund: None,
                }),
                3 => {
                    let reason = reason("closed");
                    AccountEvent::RefundFailed(RefundFailed { refund, order, channel, credits, reason })
                }
                4 => AccountEvent::ChargebackPosted(ChargebackPosted {
                    chargeback,
                    order,
                    channel,
                    pay,
                    credits,
                    bonus: half(credits),
                    reference: label("dp"),
                }),
                _ => AccountEvent::ChargebackReversed(ChargebackReversed {
                    chargeback,
                    order,
                    channel,
                    pay,
                    credits,
                    bonus: half(credits),
                }),
            });
    prop_oneof![initiated, completed, closed_order, granted, adjusted, leased, amended, closed, back]
}

/// As a bonus within them.
fn half(credits: Credits) -> Credits {
    Credits::from_nano(credits.nano() / 2)
}

fn record() -> impl Strategy<Value = UsageRecord> {
    (amount(), amount(), amount(), id(AccountId::from_uuid), select(vec!["claude", "gemini"])).prop_map(
        |(charge, uncovered, cost, account, model)| {
            let mut record = UsageRecord { account, uncovered, ..usage_record() };
            (record.usage.charge, record.usage.cost, record.usage.model) = (charge, cost, label(model));
            record
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (id(AccountId::from_uuid), account_event()).prop_map(|(account, event)| Event::Account(account, event)),
        2 => proptest::collection::vec(record(), 0..5).prop_map(|records| {
            let batch = BatchId::from_uuid(uuid("batch"));
            Event::Node(EpochId::from_uuid(uuid("epoch")), NodeEvent::UsageReported(UsageReported { batch, records }))
        }),
        1 => select(vec![SealCause::Silent, SealCause::Restarted]).prop_map(|cause| {
            Event::Node(EpochId::from_uuid(uuid("epoch")), NodeEvent::NodeSealed(NodeSealed { cause }))
        }),
        1 => money().prop_map(|paid| {
            let suspended = PaymentSuspended {
                order: label("what the channel wrote"),
                provider_txn: label("tx"),
                paid,
                reason: reason("no such order"),
                inbox: 1,
            };
            Event::Suspense(channel("epay"), SuspenseEvent::PaymentSuspended(suspended))
        }),
        1 => (money(), resolution()).prop_map(|(paid, resolution)| {
            let resolved = SuspenseResolved {
                payment: 1,
                provider_txn: label("tx"),
                paid,
                resolution,
                reason: reason("they asked"),
            };
            Event::Suspense(channel("epay"), SuspenseEvent::SuspenseResolved(resolved))
        }),
        1 => money().prop_map(|fee| {
            let posted = ChannelFeePosted { day: label("2026-11-21"), fee, bill: label("a hash") };
            Event::Channel(channel("epay"), ChannelEvent::ChannelFeePosted(posted))
        }),
    ]
}

fn resolution() -> impl Strategy<Value = Resolution> {
    let claimed = Resolution::Claimed {
        account: AccountId::from_uuid(uuid("claimant")),
        order: OrderId::from_uuid(uuid("claimed")),
    };
    let returned = Resolution::Returned { by: ReturnedBy::Channel, reference: None };
    select(vec![claimed, returned, Resolution::Dismissed])
}

pub(super) fn recorded(version: u64, event: AccountEvent) -> Recorded<AccountEvent> {
    Recorded {
        sequence: version * 10,
        id: EventId::from_uuid(Uuid::from_u128(version.into())),
        version,
        at: Moment::from_micros(0),
        actor: Actor { kind: ActorKind::System, id: label("test") },
        key: None,
        event,
    }
}

proptest! {
    #![proptest_config(fixed(1_000))]

    #[test]
    fn the_lines_of_any_event_are_debits_beside_their_credits_and_sum_to_zero_per_unit(event in event()) {
        let lines = postings(&event);
        balanced(&lines)?;
        for line in lines {
            prop_assert_eq!(line.book.to_string().parse(), Ok(line.book), "a book is read back from its name");
            prop_assert_eq!(line.unit.to_string().parse(), Ok(line.unit));
        }
    }

    #[test]
    fn the_lines_of_usage_sum_to_zero_whoever_pays(record in record(), paid in amount(), uncovered in amount()) {
        balanced(&of_usage(&record, Split { paid, uncovered }))?;
    }

    #[test]
    fn the_books_earn_a_calls_charge_whoever_bears_it(
        charge in 0_i64..1_000_000_000_000, covered in 0_i64..1_000_000_000_000, late in any::<bool>(),
    ) {
        let (charge, uncovered) = (Credits::from_nano(charge), Credits::from_nano((charge - covered).max(0)));
        let mut record = UsageRecord { uncovered, ..usage_record() };
        record.usage.charge = charge;
        let split = if late { Split::late(&record) } else { Split::reported(&record) };
        let lines = of_usage(&record, split);
        let booked = |of: fn(&Book) -> bool| lines.iter().filter(|line| of(&line.book)).map(|line| line.amount).sum::<i64>();
        prop_assert_eq!(booked(|book| matches!(book, Book::Revenue(_))), -charge.nano());
        let owner = booked(|book| matches!(book, Book::Liability(_)));
        prop_assert_eq!(owner, if late { 0 } else { charge.nano() - uncovered.nano() });
        prop_assert_eq!(booked(|book| matches!(book, Book::MeteringLoss)), charge.nano() - owner);
    }
}

/// A debit beside its credit, all the way down; so every unit sums to zero.
fn balanced(lines: &[Posting]) -> Result<(), TestCaseError> {
    let mut sums = BTreeMap::new();
    for pair in lines.chunks(2) {
        let [one, other] = pair else {
            return Err(TestCaseError::fail(format!("a line is alone: {lines:?}")));
        };
        prop_assert_eq!((one.unit, Some(one.amount)), (other.unit, other.amount.checked_neg()));
        for line in pair {
            prop_assert_ne!(line.amount, 0, "an empty line");
            *sums.entry(line.unit).or_insert(0_i128) += i128::from(line.amount);
        }
    }
    prop_assert!(sums.values().all(|sum| *sum == 0), "{:?} of {:?}", sums, lines);
    Ok(())
}

proptest! {
    #![proptest_config(fixed(200))]

    #[test]
    fn no_event_is_too_strange_to_fold(events in proptest::collection::vec(account_event(), 0..40)) {
        let mut account = Account::default();
        for (event, version) in events.into_iter().zip(1..) {
            account = account.evolve(&recorded(version, event));
            // Nor to look at afterwards.
            account.available();
            for key in account.budgets.keys() {
                account.budget_used(*key, &label("2026-11-22"));
            }
            prop_assert_eq!(account.version, version);
        }
        let json = serde_json::to_string(&account).unwrap();
        prop_assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), account);
    }
}
