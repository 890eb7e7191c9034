//! The journal, line by line: `book unit amount`, as an accountant would read it.

use super::*;
use crate::event::{
    AdjustmentPosted, ChannelFeePosted, ChargebackPosted, ChargebackReversed, CloseReason, Closer,
    CreditGranted, LeaseAmended, LeaseClosed, LeaseGranted, PaymentSuspended, RefundCompleted, RefundFailed,
    RefundRequested, Resolution, ReturnedBy, Scope, SuspenseResolved, TopUpClosed, TopUpCompleted,
    TopUpInitiated, UsageReported,
};
use crate::samples::{channel, credits, label, lease_id, money, reason, usage_record, uuid};
use crate::{AdjustmentId, BatchId, ChargebackId, EpochId, GrantId, Moment, OrderId, RefundId};

const ANN: &str = "liability:credits:616e6e00-0000-0000-0000-000000000000";

fn lines(event: &Event) -> Vec<String> {
    as_lines(&postings(event))
}

fn as_lines(postings: &[Posting]) -> Vec<String> {
    postings.iter().map(|line| format!("{} {} {}", line.book, line.unit, line.amount)).collect()
}

fn of_ann(event: AccountEvent) -> Vec<String> {
    lines(&Event::Account(AccountId::from_uuid(uuid("ann")), event))
}

fn reported(records: Vec<UsageRecord>) -> Vec<String> {
    let batch = BatchId::from_uuid(uuid("batch"));
    lines(&Event::Node(
        EpochId::from_uuid(uuid("epoch")),
        NodeEvent::UsageReported(UsageReported { batch, records }),
    ))
}

#[test]
fn a_top_up_brings_money_in_and_owes_credits() {
    let completed = TopUpCompleted {
        order: OrderId::from_uuid(uuid("order")),
        channel: channel("epay"),
        provider_txn: label("tx"),
        paid: money("50.00 CNY"),
        credits: credits("7"),
    };
    assert_eq!(
        of_ann(AccountEvent::TopUpCompleted(completed)),
        [
            "asset:clearing:epay CNY 5000".to_owned(),
            "fx:CNY CNY -5000".to_owned(),
            "fx:CNY credits 7000000000".to_owned(),
            format!("{ANN} credits -7000000000"),
        ]
    );
}

#[test]
fn a_gift_is_an_expense_and_a_balance_brought_along_is_not() {
    for (source, book) in [
        (GrantSource::Signup, "expense:promotions"),
        (GrantSource::Redemption, "expense:promotions"),
        (GrantSource::Referral, "expense:promotions"),
        (GrantSource::Promotion, "expense:promotions"),
        (GrantSource::Admin, "expense:promotions"),
        (GrantSource::Import, "equity:opening"),
    ] {
        let grant = GrantId::from_uuid(uuid("gift"));
        let granted = CreditGranted { grant, source, credits: credits("1"), reason: None };
        assert_eq!(
            of_ann(AccountEvent::CreditGranted(granted)),
            [format!("{book} credits 1000000000"), format!("{ANN} credits -1000000000"),]
        );
    }
}

#[test]
fn a_correction_is_booked_in_its_direction() {
    for (amount, goodwill, owed) in
        [("2", 2_000_000_000, -2_000_000_000), ("-2", -2_000_000_000, 2_000_000_000)]
    {
        let adjustment = AdjustmentId::from_uuid(uuid("slip"));
        let posted = AdjustmentPosted { adjustment, credits: credits(amount), reason: reason("a slip") };
        assert_eq!(
            of_ann(AccountEvent::AdjustmentPosted(posted)),
            [format!("expense:goodwill credits {goodwill}"), format!("{ANN} credits {owed}"),]
        );
    }
}

#[test]
fn a_refund_sets_credits_aside_and_then_meets_the_money_that_goes() {
    let (refund, order) = (RefundId::from_uuid(uuid("refund")), OrderId::from_uuid(uuid("order")));
    let (pay, amount, at) = (money("20.00 CNY"), credits("2"), channel("epay"));
    let requested = RefundRequested {
        refund,
        order,
        channel: at.clone(),
        pay,
        credits: amount,
        bonus: Credits::ZERO,
        reason: reason("r"),
    };
    assert_eq!(
        of_ann(AccountEvent::RefundRequested(requested)),
        [format!("{ANN} credits 2000000000"), "liability:refunds:epay credits -2000000000".to_owned()]
    );
    let failed = RefundFailed { refund, order, channel: at.clone(), credits: amount, reason: reason("no") };
    assert_eq!(
        of_ann(AccountEvent::RefundFailed(failed)),
        ["liability:refunds:epay credits 2000000000".to_owned(), format!("{ANN} credits -2000000000")]
    );
    let completed = RefundCompleted {
        refund,
        order,
        channel: at.clone(),
        pay,
        credits: amount,
        bonus: Credits::ZERO,
        provider_refund: None,
    };
    assert_eq!(
        of_ann(AccountEvent::RefundCompleted(completed)),
        [
            "fx:CNY CNY 2000",
            "asset:clearing:epay CNY -2000",
            "liability:refunds:epay credits 2000000000",
            "fx:CNY credits -2000000000",
        ]
    );
    let chargeback = ChargebackId::from_uuid(uuid("dispute"));
    let posted = ChargebackPosted {
        chargeback,
        order,
        channel: at.clone(),
        pay,
        credits: amount,
        bonus: Credits::ZERO,
        reference: label("dp"),
    };
    let taken = [
        "fx:CNY CNY 2000".to_owned(),
        "asset:clearing:epay CNY -2000".to_owned(),
        format!("{ANN} credits 2000000000"),
        "fx:CNY credits -2000000000".to_owned(),
    ];
    assert_eq!(of_ann(AccountEvent::ChargebackPosted(posted)), taken);
    let reversed = ChargebackReversed {
        chargeback,
        order,
        channel: at.clone(),
        pay,
        credits: amount,
        bonus: Credits::ZERO,
    };
    let back = of_ann(AccountEvent::ChargebackReversed(reversed));
    assert_eq!((back[0].as_str(), back[1].as_str()), ("asset:clearing:epay CNY 2000", "fx:CNY CNY -2000"));
    assert_eq!(
        (back[2].as_str(), &back[3]),
        ("fx:CNY credits 2000000000", &format!("{ANN} credits -2000000000"))
    );
    // What came as a bonus was given away, and comes back to what was given away.
    let bonus = Credits::from_nano(500_000_000);
    let provider_refund = None;
    let completed =
        RefundCompleted { refund, order, channel: at.clone(), pay, credits: amount, bonus, provider_refund };
    let expected = [
        "liability:refunds:epay credits 1500000000",
        "fx:CNY credits -1500000000",
        "liability:refunds:epay credits 500000000",
        "expense:promotions credits -500000000",
    ];
    assert_eq!(of_ann(AccountEvent::RefundCompleted(completed))[2..], expected);
    let reference = label("dp");
    let posted =
        ChargebackPosted { chargeback, order, channel: at.clone(), pay, credits: amount, bonus, reference };
    let posted = of_ann(AccountEvent::ChargebackPosted(posted));
    assert_eq!(
        posted[3..],
        [
            "fx:CNY credits -1500000000".to_owned(),
            format!("{ANN} credits 500000000"),
            "expense:promotions credits -500000000".to_owned(),
        ]
    );
    let reversed = ChargebackReversed { chargeback, order, channel: at, pay, credits: amount, bonus };
    let back = of_ann(AccountEvent::ChargebackReversed(reversed));
    assert_eq!(
        back[4..],
        ["expense:promotions credits 500000000".to_owned(), format!("{ANN} credits -500000000"),]
    );
}

#[test]
fn promises_and_leases_move_no_money() {
    let (order, lease) = (OrderId::from_uuid(uuid("order")), lease_id("lease"));
    let quiet = [
        AccountEvent::TopUpInitiated(TopUpInitiated {
            order,
            channel: channel("epay"),
            pay: money("50.00 CNY"),
            credits: credits("7"),
            expires_at: Moment::from_micros(0),
        }),
        AccountEvent::TopUpClosed(TopUpClosed { order, reason: CloseReason::Failed }),
        AccountEvent::LeaseGranted(LeaseGranted {
            lease,
            epoch: EpochId::from_uuid(uuid("epoch")),
            scope: Scope::Account,
            credits: credits("7"),
            ttl_ms: 1,
        }),
        AccountEvent::LeaseAmended(LeaseAmended { lease, credits: credits("7"), ttl_ms: 1 }),
        AccountEvent::LeaseClosed(LeaseClosed { lease, spent: credits("7"), count: 1, by: Closer::Holder }),
    ];
    for event in quiet {
        assert_eq!(of_ann(event.clone()), [""; 0], "{event:?}");
    }
}

#[test]
fn usage_turns_what_is_owed_into_revenue_and_books_its_cost() {
    assert_eq!(
        reported(vec![usage_record()]),
        [
            format!("{ANN} credits 8850000"),
            "revenue:usage:claude credits -8850000".to_owned(),
            "expense:provider:antinomy credits 5000000".to_owned(),
            "payable:provider:antinomy credits -5000000".to_owned(),
        ]
    );
}

#[test]
fn what_nobody_covers_is_the_operators_loss_and_not_the_owners_debt() {
    let record = UsageRecord { uncovered: credits("0.00885"), ..usage_record() };
    assert_eq!(
        reported(vec![record])[..2],
        [
            "expense:metering_loss credits 8850000".to_owned(),
            "revenue:usage:claude credits -8850000".to_owned(),
        ]
    );
    let record = UsageRecord { uncovered: credits("0.00005"), ..usage_record() };
    assert_eq!(
        reported(vec![record])[..4],
        [
            format!("{ANN} credits 8800000"),
            "revenue:usage:claude credits -8800000".to_owned(),
            "expense:metering_loss credits 50000".to_owned(),
            "revenue:usage:claude credits -50000".to_owned(),
        ]
    );
}

#[test]
fn a_late_record_is_wholly_the_operators_loss_whatever_it_says() {
    for uncovered in ["0", "0.00005", "0.00885"] {
        let record = UsageRecord { uncovered: credits(uncovered), ..usage_record() };
        assert_eq!(
            as_lines(&of_usage(&record, Split::late(&record)))[..2],
            [
                "expense:metering_loss credits 8850000".to_owned(),
                "revenue:usage:claude credits -8850000".to_owned(),
            ]
        );
    }
}

#[test]
fn a_channels_fee_leaves_what_it_owes_and_comes_back_where_it_was_too_much() {
    for (minor, sign) in [(90, ""), (-7, "-")] {
        let fee = Money { currency: "CNY".to_owned().try_into().unwrap(), minor };
        let posted = ChannelFeePosted { day: label("2026-11-21"), fee, bill: label("a hash") };
        let event = Event::Channel(channel("epay"), ChannelEvent::ChannelFeePosted(posted));
        let back = if sign.is_empty() { "-" } else { "" };
        let size = minor.abs();
        let expected =
            [format!("expense:fees:epay CNY {sign}{size}"), format!("asset:clearing:epay CNY {back}{size}")];
        assert_eq!(as_lines(&postings(&event)), expected);
    }
}

#[test]
fn a_book_is_read_back_from_its_name_and_stands_in_its_chapter() {
    for (name, chapter) in [
        ("asset:clearing:epay", "asset:clearing"),
        ("fx:CNY", "fx"),
        (ANN, "liability:credits"),
        ("liability:refunds:epay", "liability:refunds"),
        ("revenue:usage:anthropic/claude:thinking", "revenue:usage"),
        ("expense:provider:antinomy: the second", "expense:provider"),
        ("payable:provider:a", "payable:provider"),
        ("expense:promotions", "expense:promotions"),
        ("expense:goodwill", "expense:goodwill"),
        ("expense:metering_loss", "expense:metering_loss"),
        ("equity:opening", "equity:opening"),
        ("suspense:epay", "suspense"),
        ("expense:fees:epay", "expense:fees"),
    ] {
        let book: Book = name.parse().unwrap();
        assert_eq!((book.to_string().as_str(), book.chapter()), (name, chapter));
    }
    for text in
        ["", "fx", "fx:", "fx:yen", "liability:credits:ann", "expense", "revenue:usage", "suspense:A:B"]
    {
        assert_eq!(text.parse::<Book>(), Err(UnknownBook(text.into())));
    }
}

#[test]
fn a_sum_is_written_like_the_amounts_it_is_made_of() {
    for (unit, sum, text) in [
        ("credits", 0, "0"),
        ("credits", 6_944_444_444, "6.944444444"),
        ("credits", -500_000_000, "-0.5"),
        ("CNY", 5000, "50.00"),
        ("CNY", -7, "-0.07"),
        ("JPY", 12, "12"),
        ("KWD", 1, "0.001"),
        ("credits", i128::from(i64::MAX) * 3, "27670116110.564327421"),
    ] {
        let parsed: Unit = unit.parse().unwrap();
        assert_eq!((parsed.to_string().as_str(), parsed.decimal(sum).as_str()), (unit, text));
    }
    assert!("yen".parse::<Unit>().is_err());
}

#[test]
fn a_free_call_leaves_only_its_cost_and_every_record_of_a_batch_is_booked() {
    let mut free = usage_record();
    free.usage.charge = Credits::ZERO;
    assert_eq!(
        reported(vec![free.clone()]),
        ["expense:provider:antinomy credits 5000000", "payable:provider:antinomy credits -5000000",]
    );
    assert_eq!(reported(vec![free.clone(), free]).len(), 4);
    assert_eq!(reported(Vec::new()), [""; 0]);
}

#[test]
fn a_payment_that_matches_nothing_waits_in_suspense() {
    let suspended = PaymentSuspended {
        order: label("0123"),
        provider_txn: label("tx"),
        paid: money("0.05 USD"),
        reason: reason("no such order"),
        inbox: 1,
    };
    let event = Event::Suspense(channel("stripe"), SuspenseEvent::PaymentSuspended(suspended));
    assert_eq!(lines(&event), ["asset:clearing:stripe USD 5", "suspense:stripe USD -5"]);
}

#[test]
fn what_is_resolved_leaves_suspense_and_a_claim_is_then_credited_like_any_payment() {
    let (account, order) = (AccountId::from_uuid(uuid("ann")), OrderId::from_uuid(uuid("claimed")));
    for resolution in [
        Resolution::Claimed { account, order },
        Resolution::Returned { by: ReturnedBy::Hand, reference: Some(label("transfer 7")) },
        Resolution::Dismissed,
    ] {
        let resolved = SuspenseResolved {
            payment: 1,
            provider_txn: label("tx"),
            paid: money("0.05 USD"),
            resolution,
            reason: reason("they sent a receipt"),
        };
        let event = Event::Suspense(channel("stripe"), SuspenseEvent::SuspenseResolved(resolved));
        assert_eq!(lines(&event), ["suspense:stripe USD 5", "asset:clearing:stripe USD -5"]);
    }
}
