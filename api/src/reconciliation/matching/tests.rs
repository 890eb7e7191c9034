//! The comparison: one case for each class, and any day with any planted differences.

use super::*;
use proptest::prelude::*;
use uuid::Uuid;

const MIDNIGHT: i64 = 1_795_190_400_000_000;
const HOUR: i64 = 3_600_000_000;

fn cny(minor: i64) -> Money {
    Money { currency: Currency::try_new("CNY").unwrap(), minor }
}

fn at(micros: i64) -> Moment {
    Moment::from_micros(MIDNIGHT + micros)
}

fn order(n: u32, minor: i64, completed_at: i64) -> KnownOrder {
    let order = OrderId::from_uuid(Uuid::from_u128(u128::from(n) + 1));
    KnownOrder {
        order,
        number: order.merchant_number(),
        account: AccountId::from_uuid(Uuid::from_u128(9)),
        is_here: true,
        pay: cny(minor),
        standing: Standing::Completed,
        txn: Some(format!("txn{n}")),
        completed_at: Some(at(completed_at)),
        claimed: None,
    }
}

/// The row that an honest channel writes of an order, a second before we heard of it.
fn row(order: &KnownOrder) -> BillRow {
    let credited = order.completed_at.unwrap().micros();
    BillRow {
        line: 1,
        kind: RowKind::Payment,
        status: RowStatus::Done,
        order: Some(order.number.clone()),
        refund: None,
        txn: order.txn.clone().unwrap(),
        amount: order.pay,
        fee_milli: Some(order.pay.minor * 6),
        rate_ppm: Some(6_000),
        settled: order.pay,
        at: Moment::from_micros(credited - 1_000_000),
        word: "交易".into(),
    }
}

fn refund_of(order: &KnownOrder, number: &str, minor: i64) -> (KnownRefund, BillRow) {
    let known = KnownRefund {
        number: number.into(),
        order: order.order,
        order_number: order.number.clone(),
        account: order.account,
        amount: cny(minor),
        standing: Standing::Completed,
        at: at(20 * HOUR),
    };
    let row = BillRow {
        kind: RowKind::Refund,
        refund: Some(number.into()),
        amount: cny(minor),
        settled: cny(minor),
        fee_milli: Some(-minor * 6),
        ..row(order)
    };
    (known, row)
}

#[derive(Clone, Default)]
struct Day {
    rows: Vec<BillRow>,
    funds: Option<Vec<BillRow>>,
    elsewhere: Vec<(NaiveDate, BillRow)>,
    orders: Vec<KnownOrder>,
    refunds: Vec<KnownRefund>,
    suspended: Vec<KnownSuspended>,
    terms: Option<FeeTerms>,
    has_neighbours: bool,
}

impl Day {
    fn compared(&self) -> Answer {
        compare(&Question {
            day: "2026-11-21".parse().unwrap(),
            from: at(0),
            to: at(24 * HOUR),
            rows: &self.rows,
            funds: self.funds.as_deref(),
            elsewhere: &self.elsewhere,
            has_before: self.has_neighbours,
            has_after: self.has_neighbours,
            orders: &self.orders,
            refunds: &self.refunds,
            suspended: &self.suspended,
            has_refunds: true,
            terms: self.terms,
        })
    }

    /// The classes found, those that settle themselves in brackets.
    fn found(&self) -> Vec<String> {
        let word =
            |it: &Finding| if it.is_cleared { format!("({})", it.class) } else { it.class.to_string() };
        self.compared().findings.iter().map(word).collect()
    }
}

/// A payment at ten, and whatever is changed of it.
fn one(change: impl FnOnce(&mut Day)) -> Vec<String> {
    let order = order(1, 5_000, 10 * HOUR);
    let mut day =
        Day { rows: vec![row(&order)], orders: vec![order], has_neighbours: true, ..Day::default() };
    change(&mut day);
    day.found()
}

#[test]
fn each_class_is_found_and_nothing_else() {
    assert_eq!(one(|_| {}), [""; 0]);
    assert_eq!(one(|it| it.orders.clear()), ["provider_only"]);
    assert_eq!(one(|it| it.rows[0].order = None), ["provider_only", "ledger_only"]);
    assert_eq!(one(|it| it.rows[0].order = Some("another shop's".into())), ["provider_only", "ledger_only"]);
    assert_eq!(one(|it| it.orders[0].standing = Standing::Pending), ["provider_only"]);
    assert_eq!(one(|it| it.orders[0].is_here = false), ["provider_only"]);
    assert_eq!(one(|it| it.rows.clear()), ["ledger_only"]);
    assert_eq!(one(|it| it.rows[0].status = RowStatus::Failed), ["ledger_only"]);
    assert_eq!(one(|it| it.rows[0].amount.minor += 1), ["amount"]);
    let usd = Currency::try_new("USD").unwrap();
    assert_eq!(one(|it| it.rows[0].amount.currency = usd), ["amount"]);
    assert_eq!(one(|it| it.orders[0].standing = Standing::Closed), ["status"]);
    assert_eq!(one(|it| it.rows[0].status = RowStatus::Pending), ["status"]);
    assert_eq!(one(|it| it.rows[0].status = RowStatus::Reversed), ["status"]);
    assert_eq!(one(|it| it.rows.push(it.rows[0].clone())), ["duplicate_payment"]);
    let again = |it: &mut Day| it.rows.push(BillRow { txn: "txn2".into(), line: 2, ..it.rows[0].clone() });
    assert_eq!(one(again), ["duplicate_payment"]);
    assert_eq!(one(|it| it.rows[0].kind = RowKind::Other), ["unknown_row", "ledger_only"]);
}

#[test]
fn a_payment_of_one_day_that_is_credited_on_the_next_settles_itself() {
    let late = order(1, 5_000, 24 * HOUR + 1);
    let day = Day { rows: vec![row(&late)], orders: vec![late.clone()], ..Day::default() };
    assert_eq!(day.found(), ["(timing)"]);
    let linked = |day: &Day| day.compared().findings[0].linked.unwrap().to_string();
    assert_eq!(linked(&day), "2026-11-22");
    // The day on which it was credited finds its row in the day before's bill.
    let early = order(1, 5_000, 1);
    let before: NaiveDate = "2026-11-20".parse().unwrap();
    let day = Day { elsewhere: vec![(before, row(&early))], orders: vec![early.clone()], ..Day::default() };
    assert_eq!(day.found(), [""; 0]);
    // While that bill is missing it may stand there; once it is in it does not.
    let waiting = Day { orders: vec![early], ..Day::default() };
    assert_eq!((waiting.found(), linked(&waiting)), (vec!["timing".to_owned()], "2026-11-20".to_owned()));
    assert_eq!(Day { has_neighbours: true, ..waiting }.found(), ["ledger_only"]);
    let evening = Day { orders: vec![order(1, 5_000, 24 * HOUR - 1)], ..Day::default() };
    assert_eq!((evening.found(), linked(&evening)), (vec!["timing".to_owned()], "2026-11-22".to_owned()));
    // At noon no neighbour can hold it: that is an alarm at once.
    assert_eq!(Day { orders: vec![order(1, 5_000, 12 * HOUR)], ..Day::default() }.found(), ["ledger_only"]);
}

#[test]
fn refunds_are_compared_by_their_numbers_or_by_order_and_amount() {
    let paid = order(1, 5_000, 10 * HOUR);
    let refunded = |change: fn(&mut KnownRefund, &mut BillRow)| {
        let (mut known, mut back) = refund_of(&paid, "r1", 2_000);
        change(&mut known, &mut back);
        let rows = vec![row(&paid), back];
        Day { rows, orders: vec![paid.clone()], refunds: vec![known], has_neighbours: true, ..Day::default() }
            .found()
    };
    assert_eq!(refunded(|_, _| {}), [""; 0]);
    assert_eq!(refunded(|_, back| back.refund = None), [""; 0]);
    assert_eq!(refunded(|_, back| back.status = RowStatus::Pending), [""; 0]);
    assert_eq!(refunded(|_, back| back.refund = Some("by hand".into())), ["refund", "refund"]);
    assert_eq!(refunded(|_, back| back.amount = cny(1_999)), ["refund"]);
    assert_eq!(refunded(|_, back| back.status = RowStatus::Failed), ["refund"]);
    assert_eq!(refunded(|known, _| known.standing = Standing::Closed), ["refund"]);
    assert_eq!(refunded(|known, _| known.standing = Standing::Pending), ["refund"]);
    let (known, _) = refund_of(&paid, "r1", 2_000);
    let missing = Day {
        rows: vec![row(&paid)],
        orders: vec![paid.clone()],
        refunds: vec![known.clone()],
        ..Day::default()
    };
    assert_eq!(missing.found(), ["refund"]);
    // Two of the same amount without numbers are two.
    let (second, mut back) = refund_of(&paid, "r2", 2_000);
    back.refund = None;
    let rows = vec![row(&paid), back.clone(), BillRow { line: 3, ..back }];
    let both = Day {
        rows,
        orders: vec![paid],
        refunds: vec![known, second],
        has_neighbours: true,
        ..Day::default()
    };
    assert_eq!(both.found(), [""; 0]);
}

fn in_suspense(of: &KnownOrder, standing: Suspended) -> KnownSuspended {
    let (txn, paid) = (of.txn.clone().unwrap(), of.pay);
    KnownSuspended { payment: 7, txn, paid, why: "no such order".into(), standing }
}

#[test]
fn a_payment_that_was_claimed_is_its_transactions_whatever_order_its_row_names() {
    let claimed = |it: &mut Day, waits_for| it.orders[0].claimed = Some(Claimed { waits_for });
    for named in [None, Some("another shop's".to_owned())] {
        let found = one(|it| {
            claimed(it, None);
            it.rows[0].order = named.clone();
            // What was found of it before is on the log still.
            it.suspended.push(in_suspense(&it.orders[0], Suspended::Claimed));
        });
        assert_eq!(found, [""; 0]);
    }
    // Nor where its row names an order that is closed, or that another payment paid.
    for standing in [Standing::Closed, Standing::Completed] {
        let found = one(|it| {
            claimed(it, None);
            let first = order(2, 7_000, 9 * HOUR);
            it.rows[0].order = Some(first.number.clone());
            if standing == Standing::Completed {
                it.rows.push(row(&first));
            }
            it.orders.push(KnownOrder { standing, ..first });
        });
        assert_eq!(found, [""; 0], "{standing}");
    }
    let other_sum = |it: &mut Day| {
        claimed(it, None);
        (it.rows[0].order, it.rows[0].amount) = (None, cny(4_999));
    };
    assert_eq!(one(other_sum), ["amount"]);
    // Claimed days later: its row is in the bill of the day on which it came.
    let earlier: NaiveDate = "2026-11-15".parse().unwrap();
    let later = |it: &mut Day| it.elsewhere.push((earlier, BillRow { order: None, ..it.rows.remove(0) }));
    assert_eq!(one(|it| (claimed(it, None), later(it)).0), [""; 0]);
    assert_eq!(one(|it| (claimed(it, Some(earlier)), it.rows.clear()).0), ["timing"]);
    assert_eq!(one(|it| (claimed(it, None), it.rows.clear()).0), ["ledger_only"]);
}

#[test]
fn a_payment_in_suspense_is_told_as_that_and_once() {
    let held = |standing: Suspended, change: fn(&mut Day)| {
        let paid = order(1, 5_000, 10 * HOUR);
        let suspended = vec![in_suspense(&paid, standing)];
        let mut day = Day { rows: vec![row(&paid)], suspended, has_neighbours: true, ..Day::default() };
        change(&mut day);
        let details: Vec<String> = day.compared().findings.into_iter().map(|it| it.detail).collect();
        (day.found(), details.join("; "))
    };
    let (found, detail) = held(Suspended::Waits, |_| {});
    assert_eq!(found, ["provider_only"]);
    assert!(detail.contains("payment 7 in suspense (no such order)"), "{detail}");
    let closed = |it: &mut Day| {
        it.orders.push(KnownOrder { standing: Standing::Closed, txn: None, ..order(1, 5_000, 0) });
    };
    assert_eq!(held(Suspended::Waits, closed).0, ["provider_only"]);
    let paid_before = |it: &mut Day| {
        it.orders.push(KnownOrder { txn: Some("first".into()), ..order(1, 5_000, -24 * HOUR) });
    };
    let (found, detail) = held(Suspended::Waits, paid_before);
    assert_eq!(found, ["duplicate_payment"]);
    assert!(detail.contains("payment 7 in suspense"), "{detail}");
    assert_eq!(held(Suspended::Waits, |it| it.rows[0].amount = cny(1)).0, ["amount"]);
    assert_eq!(held(Suspended::Waits, |it| it.rows[0].status = RowStatus::Reversed).0, ["status"]);
    assert_eq!(
        held(Suspended::Waits, |it| it.rows.push(it.rows[0].clone())).0,
        ["provider_only", "duplicate_payment"]
    );
    assert_eq!(held(Suspended::Claimed, |_| {}).0, ["provider_only"]);
    assert_eq!(held(Suspended::Dismissed, |_| {}).0, ["provider_only"]);
}

#[test]
fn a_payment_that_went_back_from_suspense_is_known_with_its_refund() {
    let paid = order(1, 5_000, 10 * HOUR);
    let (_, back) = refund_of(&paid, "returned", 5_000);
    let day = |is_by_channel, change: fn(&mut Day)| {
        let numbers = vec!["request".to_owned(), "returned".to_owned()];
        let standing = Suspended::Returned { at: at(20 * HOUR), is_by_channel, numbers };
        let mut day = Day {
            rows: vec![row(&paid), back.clone()],
            suspended: vec![in_suspense(&paid, standing)],
            has_neighbours: true,
            ..Day::default()
        };
        change(&mut day);
        (day.found(), day.compared().matched)
    };
    let none = Vec::<String>::new;
    assert_eq!(day(true, |_| {}), (none(), 2));
    assert_eq!(day(true, |it| it.rows[1].refund = None), (none(), 2));
    assert_eq!(day(true, |it| it.rows[1].amount = cny(4_000)), (vec!["refund".to_owned()], 1));
    assert_eq!(day(true, |it| it.rows[1].status = RowStatus::Failed), (vec!["refund".to_owned()], 1));
    // One return is one refund: a second is not known.
    assert_eq!(day(true, |it| it.rows.push(it.rows[1].clone())), (vec!["refund".to_owned()], 2));
    // Another number than the channel was asked under, and the one that it was asked under is missing.
    let other = |it: &mut Day| it.rows[1].refund = Some("by hand".into());
    assert_eq!(day(true, other), (vec!["refund".to_owned(), "refund".to_owned()], 1));
    assert_eq!(day(false, other), (none(), 2));
    // Not in the bill.
    let missing = |it: &mut Day| drop(it.rows.remove(1));
    assert_eq!(day(true, missing), (vec!["refund".to_owned()], 1));
    assert_eq!(day(false, missing), (none(), 1), "by hand it may not be the channel's");
}

#[test]
fn fees_may_be_off_by_rounding_and_no_more() {
    // 0.6% of 50.00 is 0.30.
    assert_eq!(one(|it| it.rows[0].fee_milli = Some(30_400)), [""; 0]);
    assert_eq!(one(|it| it.rows[0].fee_milli = Some(31_001)), ["fee"]);
    assert_eq!(one(|it| it.rows[0].rate_ppm = None), [""; 0]);
    // Of what is left of it after the merchant's coupon.
    assert_eq!(one(|it| (it.rows[0].settled, it.rows[0].fee_milli) = (cny(1_000), Some(6_000))), [""; 0]);
    let agreed = Some(FeeTerms { rate_ppm: 3_800, fixed_milli: 0 });
    assert_eq!(one(|it| it.terms = agreed), ["fee"]);
    assert_eq!(one(|it| it.terms = Some(FeeTerms { rate_ppm: 0, fixed_milli: 30_000 })), [""; 0]);
    // Each within the tolerance, and all of them in the channel's favour.
    let skimmed: Vec<KnownOrder> = (0..10).map(|n| order(n, 5_000, 10 * HOUR)).collect();
    let rows: Vec<BillRow> =
        skimmed.iter().map(|it| BillRow { fee_milli: Some(30_900), ..row(it) }).collect();
    let day = Day { rows, orders: skimmed, has_neighbours: true, ..Day::default() };
    assert_eq!(day.found(), ["fee"]);
}

#[test]
fn the_days_sums_close_against_the_account() {
    let paid = order(1, 5_000, 10 * HOUR);
    let moved =
        |kind, minor: i64| BillRow { kind, settled: cny(minor), amount: cny(minor.abs()), ..row(&paid) };
    let funds =
        vec![moved(RowKind::Payment, 5_000), moved(RowKind::Fee, -30), moved(RowKind::Other, -100_000)];
    let mut day =
        Day { rows: vec![row(&paid)], orders: vec![paid.clone()], funds: Some(funds), ..Day::default() };
    assert_eq!(day.found(), ["unknown_row"]);
    let total = day.compared().totals[0];
    let expected = Total {
        currency: total.currency,
        payments: 5_000,
        refunds: 0,
        fees: 30,
        net: 4_970,
        ledger_payments: 5_000,
        ledger_refunds: 0,
        fund_change: Some(4_970),
    };
    assert_eq!(total, expected);
    day.funds = Some(vec![moved(RowKind::Payment, 5_000), moved(RowKind::Fee, -31)]);
    assert_eq!(day.found(), ["fee"]);
}

/// What is planted into a day of honest payments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    Nothing,
    NotCredited,
    NotPaid,
    Amount(i64),
    Closed,
    Twice,
    ByHand,
    Fee,
    Foreign,
    NextDay,
}

fn plants() -> impl Strategy<Value = Vec<Plant>> {
    let one = prop_oneof![
        4 => Just(Plant::Nothing),
        1 => Just(Plant::NotCredited),
        1 => Just(Plant::NotPaid),
        1 => (1_i64..1_000).prop_map(Plant::Amount),
        1 => Just(Plant::Closed),
        1 => Just(Plant::Twice),
        1 => Just(Plant::ByHand),
        1 => Just(Plant::Fee),
        1 => Just(Plant::Foreign),
        1 => Just(Plant::NextDay),
    ];
    proptest::collection::vec(one, 0..40)
}

proptest! {
    #[test]
    fn whatever_is_planted_is_found_and_nothing_else_is(
        plants in plants(),
        amounts in proptest::collection::vec(1_i64..10_000_000, 40),
        seed in any::<u64>(),
    ) {
        let (mut day, mut expected) = (Day { has_neighbours: true, ..Day::default() }, Vec::new());
        for (n, plant) in (0_u32..).zip(&plants) {
            let minor = amounts[usize::try_from(n).unwrap()];
            let hour = if *plant == Plant::NextDay { 24 * HOUR + 500_000 } else { HOUR * i64::from(n % 23) + HOUR };
            let mut known = order(n, minor, hour);
            let mut paid = row(&known);
            paid.line = n + 1;
            match plant {
                Plant::Nothing => {}
                Plant::NotCredited => expected.push((Class::ProviderOnly, paid.txn.clone())),
                Plant::NotPaid => expected.push((Class::LedgerOnly, known.number.clone())),
                Plant::Amount(more) => {
                    paid.amount.minor += more;
                    paid.rate_ppm = None;
                    expected.push((Class::Amount, paid.txn.clone()));
                }
                Plant::Closed => {
                    known.standing = Standing::Closed;
                    (known.txn, known.completed_at) = (None, None);
                    expected.push((Class::Status, paid.txn.clone()));
                }
                Plant::Twice => {
                    let again = BillRow { txn: format!("again{n}"), ..paid.clone() };
                    expected.push((Class::DuplicatePayment, again.txn.clone()));
                    day.rows.push(again);
                }
                Plant::ByHand => {
                    let (_, back) = refund_of(&known, &format!("hand{n}"), 1);
                    expected.push((Class::Refund, format!("hand{n}")));
                    day.rows.push(back);
                }
                Plant::Fee => {
                    paid.fee_milli = paid.fee_milli.map(|fee| fee + 1_001);
                    expected.push((Class::Fee, paid.txn.clone()));
                }
                Plant::Foreign => {
                    let foreign = BillRow { kind: RowKind::Other, order: None, ..paid.clone() };
                    expected.push((Class::UnknownRow, format!("{} {} {}", paid.txn, paid.word, paid.line)));
                    day.rows.push(foreign);
                }
                Plant::NextDay => expected.push((Class::Timing, paid.txn.clone())),
            }
            if *plant != Plant::NotCredited {
                day.orders.push(known);
            }
            if *plant != Plant::NotPaid {
                day.rows.push(paid);
            }
        }
        // In whatever order the bill has its rows.
        let mut keys: Vec<u64> = (0..day.rows.len() as u64).map(|n| (n + 1).wrapping_mul(seed | 1)).collect();
        let mut rows: Vec<BillRow> = std::mem::take(&mut day.rows);
        rows.sort_by_key(|_| keys.pop());
        day.rows = rows;
        let answer = day.compared();
        let mut found: Vec<(Class, String)> =
            answer.findings.iter().map(|it| (it.class, it.subject.clone())).collect();
        let by = |it: &(Class, String)| (it.0.as_str(), it.1.clone());
        found.sort_by_key(by);
        expected.sort_by_key(by);
        prop_assert_eq!(&found, &expected);
        prop_assert!(answer.findings.iter().all(|it| it.is_cleared == (it.class == Class::Timing)));
        let sum = |rows: &[BillRow], kind| -> i64 {
            rows.iter().filter(|row| row.kind == kind).map(|row| row.amount.minor).sum()
        };
        if let Some(total) = answer.totals.first() {
            prop_assert_eq!(total.payments, sum(&day.rows, RowKind::Payment));
            prop_assert_eq!(total.refunds, sum(&day.rows, RowKind::Refund));
            let settled = |kind| -> i64 {
                day.rows.iter().filter(|row| row.kind == kind).map(|row| row.settled.minor.abs()).sum()
            };
            prop_assert_eq!(total.net, settled(RowKind::Payment) - settled(RowKind::Refund) - total.fees);
        }
        prop_assert_eq!(day.compared(), answer, "the same question has the same answer");
    }
}
