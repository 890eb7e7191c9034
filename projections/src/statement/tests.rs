//! Statements against a plain fold of the same events.

use super::statement;
use crate::balances;
use crate::exports::{LineSource, Reader, Span};
use crate::facts::Facts;
use crate::leases::LeaseRows;
use crate::testing::*;
use chrono::{Days, FixedOffset, NaiveDate, NaiveTime};
use domain::{AccountId, Book, Credits, Moment, Unit, postings};
use ledger::Logged;
use std::collections::BTreeMap;

on_every_database! {
    a_statement_is_the_fold_of_what_happened_between_two_moments,
    a_statement_names_what_was_paid_and_given,
    a_statement_the_ledger_and_every_export_say_the_same_of_any_days_in_any_zone,
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

/// What the exports say of an account's own book in some days.
#[derive(Debug, Default, PartialEq, Eq)]
struct Exported {
    opening: i128,
    /// Lines of events.
    decided: i128,
    /// Sums of usage.
    used: i128,
    closing: i128,
    /// What the export of usage says was paid.
    paid: i128,
}

async fn exported(test: &TestDatabase, of: AccountId, (from, to): (NaiveDate, NaiveDate)) -> Exported {
    let (own, span) = (Book::Liability(of).to_string(), Span::days(from, to));
    let (mut found, mut reader) = (Exported::default(), Reader::open(&test.db).await.unwrap());
    let lines = reader.lines(&span, |it| {
        if it.book == own && it.unit == Unit::Credits {
            // What is owed to an account is a credit.
            let moved = it.credit - it.debit;
            match it.source {
                LineSource::Event { .. } => found.decided += moved,
                LineSource::Usage => found.used -= moved,
            }
        }
        Ok(())
    });
    lines.await.unwrap();
    let books = reader.trial(&span, true, |it| {
        if it.book == own && it.unit == Unit::Credits {
            (found.opening, found.closing) = (-it.opening, -it.closing());
        }
        Ok(())
    });
    books.await.unwrap();
    let usage = reader.usage(from, to, |it| {
        if it.account.to_string() == of.to_string() {
            found.paid += i128::from(it.paid.nano());
        }
        Ok(())
    });
    usage.await.unwrap();
    reader.close().await.unwrap();
    found
}

async fn a_statement_the_ledger_and_every_export_say_the_same_of_any_days_in_any_zone(on: On) {
    // No clock is further from UTC than the first two.
    let zones = [14 * 60, -12 * 60, 5 * 60 + 45, -3 * 60 - 30, 0, 12 * 60 + 45, -9 * 60 - 30, 60];
    let seeds = if on == On::Sqlite { 60..68_u64 } else { 60..62 };
    for (seed, minutes) in seeds.zip(zones) {
        let zone = FixedOffset::east_opt(minutes * 60).unwrap();
        let (log, test) = (TestLog::busy_week(seed), TestDatabase::on(on).await);
        apply_by(zone, &test.db, &log.messages, 50).await;
        let begins = |day: NaiveDate| {
            let there = day.and_time(NaiveTime::MIN).and_utc();
            Moment::from_micros(there.timestamp_micros() - i64::from(minutes) * 60_000_000)
        };
        let number = |at: Moment| (at.micros() + i64::from(minutes) * 60_000_000).div_euclid(86_400_000_000);
        let (first, mut random) = ("2026-11-20".parse::<NaiveDate>().unwrap(), seed);
        let mut below = |end: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % end
        };
        let mut spans: Vec<_> = (0..6)
            .map(|_| {
                let from = first + Days::new(below(24));
                (from, from + Days::new(below(9)))
            })
            .collect();
        for (from, to) in
            [("2026-11-01", "2026-11-30"), ("2026-12-01", "2026-12-31"), ("2026-11-30", "2026-11-30")]
        {
            spans.push((from.parse().unwrap(), to.parse().unwrap()));
        }
        for owner in (0..3).map(account) {
            let moves = moves(&log.messages, owner);
            let mut moved = 0;
            for (from, to) in &spans {
                let (begin, end) = (begins(*from), begins(*to + Days::new(1)));
                let it = statement(&test.db, owner, (begin, end), number).await.unwrap();
                let label = format!("seed {seed}, {from} to {to} at {zone}");
                // By the log itself.
                let within = moves.iter().filter(|it| (begin..end).contains(&it.0));
                let sum =
                    |calls: bool| within.clone().filter(|it| it.2 == calls).map(|it| it.1).sum::<i128>();
                let before: i128 = moves.iter().filter(|it| it.0 < begin).map(|it| it.1).sum();
                let expected = Exported {
                    opening: before,
                    decided: sum(false),
                    used: -sum(true),
                    closing: before + sum(false) + sum(true),
                    paid: -sum(true),
                };
                moved += within.count();
                let told = Exported {
                    opening: it.opening.nano().into(),
                    decided: it.movements.iter().map(|it| i128::from(it.amount.nano())).sum(),
                    used: it.days.values().map(|it| it.paid).sum(),
                    closing: it.closing.nano().into(),
                    paid: it.models.values().map(|it| it.paid).sum(),
                };
                assert_eq!(told, expected, "{label}");
                let mut exported = exported(&test, owner, (*from, *to)).await;
                if (exported.opening, exported.closing) == (0, 0) && exported.decided == exported.used {
                    // A book that nothing touched by then is in no trial balance.
                    exported.closing = exported.opening + exported.decided - exported.used;
                }
                assert_eq!(exported, expected, "{label}");
                let days = (number(begin)..number(end)).collect::<std::collections::BTreeSet<_>>();
                assert!(it.days.keys().all(|day| days.contains(day)), "{label}: {:?}", it.days.keys());
            }
            assert!(moved > 50, "the spans hold something");
        }
    }
}
