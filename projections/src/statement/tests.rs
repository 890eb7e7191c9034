//! Statements against a plain fold of the same events.

use super::statement;
use crate::balances;
use crate::facts::Facts;
use crate::leases::LeaseRows;
use crate::testing::*;
use domain::{AccountId, Book, Credits, Moment, Unit, postings};
use ledger::Logged;
use std::collections::BTreeMap;

on_every_database! {
    a_statement_is_the_fold_of_what_happened_between_two_moments,
    a_statement_names_what_was_paid_and_given,
}

/// Everything that moved an account's credits, by the log's own rule: when, how much, and whether it was a call.
fn moves(messages: &[Logged], of: AccountId) -> Vec<(Moment, i128, bool)> {
    let (mut leases, mut moves, mut calls) = (LeaseRows::default(), Vec::new(), BTreeMap::new());
    let facts: Facts<'_> = leases.fold(messages, zone(8)).unwrap();
    for decision in &facts.decisions {
        for line in postings(&decision.recorded.event) {
            if line.book == Book::Liability(of) && line.unit == Unit::Credits {
                moves.push((decision.at(), -i128::from(line.amount), false));
            }
        }
    }
    for counted in facts.usage.iter().filter(|it| it.record.account == of) {
        calls.insert((counted.record.lease, counted.record.n), (counted.record.usage.at, counted.paid));
    }
    for it in &facts.taken_back {
        calls.entry((it.lease, it.n)).and_modify(|call| call.1 = Credits::ZERO);
    }
    moves.extend(calls.into_values().map(|(at, paid)| (at, -i128::from(paid.nano()), true)));
    moves
}

async fn a_statement_is_the_fold_of_what_happened_between_two_moments(on: On) {
    let test = TestDatabase::on(on).await;
    let seeds = if on == On::Sqlite { 3..9 } else { 3..4 };
    for seed in seeds {
        let log = TestLog::busy_week(seed);
        let test = if seed == 3 { &test } else { &TestDatabase::on(on).await };
        apply_in(&test.db, &log.messages, 64).await;
        let (begin, end) = (at("2026-11-22T10:00:00Z").micros(), log.messages.last().unwrap().recorded.at);
        let mut random = seed;
        let mut moment = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let reach = (end.micros() - begin + 7_200_000_000).unsigned_abs();
            Moment::from_micros(begin - 3_600_000_000 + ((random >> 20) % reach).cast_signed())
        };
        for owner in 0..3 {
            let owner = account(owner);
            let moves = moves(&log.messages, owner);
            let until = |at: Moment| moves.iter().filter(|it| it.0 < at).map(|it| it.1).sum::<i128>();
            // Month ends of three zones, and moments of no meaning; each begins where the one before it ended.
            let mut moments: Vec<Moment> = (0..6).map(|_| moment()).collect();
            moments.extend(["2026-11-30T16:00:00Z", "2026-12-01T00:00:00Z", "2026-12-01T05:00:00Z"].map(at));
            moments.extend([Moment::MIN, Moment::from_micros(end.micros() + 1), Moment::MAX]);
            moments.sort();
            let mut before = None;
            for span in moments.windows(2) {
                let (from, to) = (span[0], span[1]);
                let hours = i64::try_from(seed).unwrap() - 6;
                let day = |at: Moment| (at.micros() + hours * 3_600_000_000).div_euclid(86_400_000_000);
                let it = statement(&test.db, owner, (from, to), day).await.unwrap();
                let label = format!("seed {seed}, {from} to {to}");
                assert_eq!(i128::from(it.opening.nano()), until(from), "{label}");
                assert_eq!(i128::from(it.closing.nano()), until(to), "{label}");
                assert!(before.is_none_or(|closing| closing == it.opening), "{label}");
                before = Some(it.closing);
                let within: Vec<_> = moves.iter().filter(|it| (from..to).contains(&it.0)).collect();
                let calls = within.iter().filter(|it| it.2).count();
                assert_eq!(it.movements.len(), within.len() - calls, "{label}");
                assert_eq!(it.days.values().map(|it| it.calls).sum::<u64>(), u64::try_from(calls).unwrap());
                assert_eq!(
                    it.days.values().map(|it| it.paid).sum::<i128>(),
                    it.models.values().map(|it| it.paid).sum::<i128>()
                );
                for (number, used) in &it.days {
                    let of_day = within.iter().filter(|it| it.2 && day(it.0) == *number);
                    assert_eq!(-used.paid, of_day.map(|it| it.1).sum::<i128>(), "{label}");
                }
            }
            let total = balances::balance(&test.db, owner).await.unwrap().total;
            assert_eq!(before, Some(total), "seed {seed}");
        }
    }
}

async fn a_statement_names_what_was_paid_and_given(on: On) {
    let mut log = TestLog::default();
    log.at("2026-11-22T10:00:00Z").initiated(account(1), 3, "50.00", "7").completed(
        account(1),
        3,
        "50.00",
        "7",
    );
    log.granted(account(1), 4, "2").adjusted(account(1), 5, "-0.5").granted(account(2), 6, "9");
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 2).await;
    let it = statement(&test.db, account(1), (Moment::MIN, Moment::MAX), |_| 0).await.unwrap();
    assert_eq!((it.opening, it.closing, it.position), (Credits::ZERO, credits("8.5"), 5));
    let lines: Vec<_> = it
        .movements
        .iter()
        .map(|it| (it.kind.as_str(), it.amount, it.bill.as_ref().unwrap().money.map(|it| it.amount())))
        .collect();
    assert_eq!(
        lines,
        [
            ("top_up_completed", credits("7"), Some("50.00".to_owned())),
            ("credit_granted", credits("2"), None),
            ("adjustment_posted", credits("-0.5"), None),
        ]
    );
    let nobody = statement(&test.db, account(7), (Moment::MIN, Moment::MAX), |_| 0).await.unwrap();
    assert_eq!(
        (nobody.opening, nobody.closing, nobody.movements),
        (Credits::ZERO, Credits::ZERO, Vec::new())
    );
}
