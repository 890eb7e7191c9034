//! Exports and closed months against the books.

use super::{BookMove, Cut, JournalLine, Reader, Span};
use crate::billing;
use crate::journal::trial_balance;
use crate::periods::{self, Closed, Month};
use crate::testing::*;
use crate::{Database, usage};
use chrono::NaiveDate;
use domain::{Moment, Unit};
use std::collections::BTreeMap;

on_every_database! {
    the_lines_of_any_days_add_up_to_the_books,
    a_closed_month_stays_as_it_was_and_what_comes_later_is_in_the_next,
    what_was_paid_for_and_not_used_is_deferred,
}

type Sums = BTreeMap<(Unit, String), (i128, i128)>;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

async fn lines(db: &Database, span: &Span) -> Vec<JournalLine> {
    let mut reader = Reader::open(db).await.unwrap();
    let mut lines = Vec::new();
    let most = reader.count_lines(span).await.unwrap();
    reader
        .lines(span, |it| {
            lines.push(it);
            Ok(())
        })
        .await
        .unwrap();
    reader.close().await.unwrap();
    assert!(most >= u64::try_from(lines.len()).unwrap());
    lines
}

fn added(lines: &[JournalLine]) -> Sums {
    let mut sums = Sums::new();
    for it in lines {
        assert!(it.debit >= 0 && it.credit >= 0 && (it.debit == 0) != (it.credit == 0), "{it:?}");
        let sum = sums.entry((it.unit, it.book.clone())).or_default();
        *sum = (sum.0 + it.debit, sum.1 + it.credit);
    }
    sums
}

async fn trial_of(db: &Database, span: &Span, each: bool) -> Vec<BookMove> {
    let mut reader = Reader::open(db).await.unwrap();
    let mut moves = Vec::new();
    reader
        .trial(span, each, |it| {
            moves.push(it);
            Ok(())
        })
        .await
        .unwrap();
    reader.close().await.unwrap();
    moves
}

fn moved(trial: &[BookMove]) -> Sums {
    let within = trial.iter().filter(|it| (it.debit, it.credit) != (0, 0));
    within.map(|it| ((it.unit, it.book.clone()), (it.debit, it.credit))).collect()
}

async fn the_lines_of_any_days_add_up_to_the_books(on: On) {
    for seed in if on == On::Sqlite { 20..24 } else { 20..21 } {
        let mut log = TestLog::busy_week(seed);
        if seed == 20 {
            log.oddities();
        }
        let test = TestDatabase::on(on).await;
        apply_in(&test.db, &log.messages, 50).await;
        let begin = day("2026-11-20");
        for (from, to) in [(0, 30), (2, 2), (3, 8), (9, 11), (10, 10), (11, 20), (25, 40)] {
            let (from, to) = (begin + chrono::Days::new(from), begin + chrono::Days::new(to));
            let span = Span::days(from, to);
            let lines = lines(&test.db, &span).await;
            let trial = trial_of(&test.db, &span, true).await;
            assert_eq!(added(&lines), moved(&trial), "seed {seed}, {from} to {to}");
            assert!(periods::is_balanced(&trial));
            assert_eq!(
                lines.iter().map(|it| it.entries).sum::<u64>(),
                trial.iter().map(|it| it.entries).sum::<u64>()
            );
            assert!(lines.iter().all(|it| (from.to_string()..=to.to_string()).contains(&it.day)));
            // The same as the trial balance that operators see.
            let (seen, before) = (
                trial_balance(&test.db, to).await.unwrap(),
                trial_balance(&test.db, from.pred_opt().unwrap()).await.unwrap(),
            );
            let one = trial_of(&test.db, &span, false).await;
            let opening = |it: &BookMove| {
                let found = before.books.iter().find(|book| (book.unit, &book.book) == (it.unit, &it.book));
                found.map_or(0, |it| it.sums.balance())
            };
            assert!(one.iter().all(|it| it.opening == opening(it)), "seed {seed}, {from} to {to}");
            let closing: Vec<_> = one.iter().map(|it| (it.unit, it.book.clone(), it.closing())).collect();
            let books = seen.books.iter().map(|it| (it.unit, it.book.clone(), it.sums.balance()));
            assert_eq!(closing, books.collect::<Vec<_>>(), "seed {seed}, {from} to {to}");
        }
        let (from, to) = (begin, begin + chrono::Days::new(60));
        let mut reader = Reader::open(&test.db).await.unwrap();
        assert_eq!(reader.position(), u64::try_from(log.messages.len()).unwrap());
        let (mut billed, mut used, mut margin) = (0, 0, 0);
        reader
            .billing(from, to, |it| {
                billed += 1;
                assert!(!it.id.is_empty());
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(billed, reader.count_billing(from, to).await.unwrap());
        reader
            .usage(from, to, |it| {
                used += i128::from(it.paid.nano());
                Ok(())
            })
            .await
            .unwrap();
        reader
            .margin(from, to, |it| {
                margin += i128::from(it.paid.nano());
                Ok(())
            })
            .await
            .unwrap();
        reader.close().await.unwrap();
        let all = usage::stats(&test.db, &Default::default(), usage::UsageBy::Model).await.unwrap();
        let all: i128 = all.iter().map(|it| i128::from(it.paid.nano())).sum();
        assert_eq!((used, margin), (all, all));
        assert_eq!(billed, count(&test.db, "billing_records").await);
        let days = billing::stats(&test.db, account(0), None, None, billing::BillingBy::Day).await.unwrap();
        assert!(!days.is_empty());
    }
}

/// Closes a month as whoever signs would.
async fn close(db: &Database, month: &str, before: Option<&Closed>) -> (Closed, periods::Contents) {
    let month: Month = month.parse().unwrap();
    let mut tx = db.begin().await.unwrap();
    let standing = periods::hold(&mut tx).await.unwrap();
    let contents = periods::keep_books(&mut tx, month, before, standing.position).await.unwrap();
    let closed = Closed {
        month,
        position: standing.position,
        entries: contents.entries.0,
        document: "{}".to_owned(),
        digest: "d".to_owned(),
        signature: "s".to_owned(),
        public_key: "k".to_owned(),
        previous: before.map(|it| it.digest.clone()),
        closed_at: Moment::from_micros(7),
        closed_by: account(1),
    };
    periods::insert(&mut tx, &closed).await.unwrap();
    tx.commit().await.unwrap();
    assert!(periods::is_balanced(&contents.trial));
    (closed, contents)
}

async fn a_closed_month_stays_as_it_was_and_what_comes_later_is_in_the_next(on: On) {
    let call = |number: u64, when: &str| usage(number, "m", 1_000, 10, at(when));
    let calls = [
        call(1, "2026-11-30T10:00:00Z"),
        call(2, "2026-11-30T15:59:59Z"),
        call(3, "2026-12-02T10:00:00Z"),
        call(4, "2026-11-30T15:00:00Z"),
    ];
    let mut spent = credits("0");
    let records: Vec<_> = (1..)
        .zip(&calls)
        .map(|(n, it)| {
            spent = spent.checked_add(it.charge).unwrap();
            record(account(1), lease(9), n, spent, it.clone())
        })
        .collect();
    let mut log = TestLog::default();
    log.at("2026-10-05T10:00:00Z").granted(account(1), 1, "100").at("2026-11-22T10:00:00Z");
    log.initiated(account(1), 3, "50.00", "7").completed(account(1), 3, "50.00", "7").leased(
        account(1),
        9,
        "50",
    );
    log.at("2026-11-30T16:00:01Z").reported(vec![records[0].clone()]).granted(account(2), 2, "3");
    let before_close = log.messages.len();
    // A call of November that is reported when the month is closed, and a decision whose writer's clock was slow.
    log.at("2026-12-01T08:00:00Z").reported(vec![records[1].clone(), records[2].clone()]);
    log.at("2026-11-29T08:00:00Z").granted(account(2), 7, "0.25");
    let before_second = log.messages.len();
    log.at("2026-12-05T08:00:00Z").reported(vec![records[3].clone()]);

    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages[..before_close], 3).await;
    let november: Month = "2026-11".parse().unwrap();
    let as_days = Span::days(day("2026-11-01"), day("2026-11-30"));
    let was = added(&lines(&test.db, &as_days).await);
    let (first, november_was) = close(&test.db, "2026-11", None).await;
    // Everything before the first closed month is in it: October's gift too.
    assert_eq!(november_was.entries.0, 6);
    assert_eq!(periods::first_month(&test.db).await.unwrap(), Some("2026-10".parse().unwrap()));
    let closed_span = periods::span(&test.db, november).await.unwrap();
    assert_eq!(added(&lines(&test.db, &closed_span).await), was);
    let trial_was = trial_of(&test.db, &closed_span, true).await;
    assert_eq!(moved(&trial_was), was);

    apply_in(&test.db, &log.messages[..before_second], 3).await;
    let december: Month = "2026-12".parse().unwrap();
    assert_ne!(added(&lines(&test.db, &as_days).await), was, "the days themselves have grown");
    assert_eq!(added(&lines(&test.db, &closed_span).await), was);
    assert_eq!(trial_of(&test.db, &closed_span, true).await, trial_was);
    assert_eq!(periods::read_again(&test.db, &first, None).await.unwrap(), november_was);
    let next = periods::span(&test.db, december).await.unwrap();
    let carried = added(&lines(&test.db, &next).await);
    let late = records[1].usage.charge.nano() + records[2].usage.charge.nano();
    assert_eq!(carried[&(Unit::Credits, "revenue:usage:m".to_owned())].1, i128::from(late));
    assert_eq!(carried[&(Unit::Credits, "expense:promotions".to_owned())].0, 3_250_000_000);
    assert_eq!(moved(&trial_of(&test.db, &next, true).await), carried);

    let (second, contents) = close(&test.db, "2026-12", Some(&first)).await;
    assert_eq!((second.entries, contents.entries.0), (4, 4));
    apply_in(&test.db, &log.messages, 3).await;
    assert_eq!(added(&lines(&test.db, &periods::span(&test.db, december).await.unwrap()).await), carried);
    assert_eq!(periods::read_again(&test.db, &second, Some(&first)).await.unwrap(), contents);
    let january = periods::span(&test.db, december.next()).await.unwrap();
    let rest = added(&lines(&test.db, &january).await);
    assert_eq!(rest[&(Unit::Credits, "revenue:usage:m".to_owned())].1, i128::from(calls[3].charge.nano()));
    // All months together are the books.
    let mut all = Sums::new();
    for sums in
        [added(&lines(&test.db, &Span::days(day("2026-10-01"), day("2026-10-31"))).await), was, carried, rest]
    {
        for (book, (debit, credit)) in sums {
            let sum = all.entry(book).or_default();
            *sum = (sum.0 + debit, sum.1 + credit);
        }
    }
    assert_eq!(all, added(&lines(&test.db, &Span::days(day("2026-01-01"), day("2027-12-31"))).await));
    let months: Vec<_> =
        periods::list(&test.db).await.unwrap().iter().map(|it| it.month.to_string()).collect();
    assert_eq!(months, ["2026-12", "2026-11"]);
    assert_eq!(periods::get(&test.db, november).await.unwrap(), Some(first));

    // A line that was altered is seen.
    test.db
        .execute("UPDATE journal_entries SET amount = amount + 1 WHERE event_seq = 3 AND line = 0", &[])
        .await
        .unwrap();
    let first = periods::get(&test.db, november).await.unwrap().unwrap();
    let again = periods::read_again(&test.db, &first, None).await.unwrap();
    assert_eq!(again.entries.0, 6);
    assert_ne!(again.entries.1, november_was.entries.1);
}

async fn what_was_paid_for_and_not_used_is_deferred(on: On) {
    let mut log = TestLog::default();
    log.at("2026-11-22T10:00:00Z").initiated(account(1), 1, "50.00", "7").completed(
        account(1),
        1,
        "50.00",
        "7",
    );
    log.granted(account(1), 2, "3").granted(account(2), 3, "5").adjusted(account(1), 4, "-4");
    log.initiated(account(3), 5, "50.00", "10").completed(account(3), 5, "50.00", "10").granted(
        account(3),
        6,
        "1",
    );
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 4).await;
    let mut reader = Reader::open(&test.db).await.unwrap();
    let mut found = Vec::new();
    let until = Cut::open(day("2026-12-31"));
    reader
        .deferred(&until, |it| {
            found.push((it.account, it.currency.to_string(), it.owed, it.unspent, it.deferred_minor));
            Ok(())
        })
        .await
        .unwrap();
    reader.deferred(&Cut::open(day("2026-11-21")), |_| panic!("nothing was paid by then")).await.unwrap();
    reader.close().await.unwrap();
    let nano = 1_000_000_000;
    assert_eq!(
        found,
        [
            // The gift of 3 went first, then one of the seven that were paid for: 50.00 × 6 ÷ 7.
            (account(1), "CNY".to_owned(), 6 * nano, 6 * nano, 4286),
            (account(3), "CNY".to_owned(), 11 * nano, 10 * nano, 5000),
        ]
    );
}

#[test]
fn a_month_is_written_in_one_way() {
    for text in
        ["", "2026", "2026-1", "2026-13", "2026-00", "26-01", "2026-11-22", "+2026-01", "1969-12", "9999-01"]
    {
        assert!(text.parse::<Month>().is_err(), "{text}");
    }
    let month: Month = "2028-02".parse().unwrap();
    assert_eq!(
        (month.to_string(), month.last(), month.first()),
        ("2028-02".into(), day("2028-02-29"), day("2028-02-01"))
    );
    assert_eq!(
        (month.next().to_string(), month.previous().to_string()),
        ("2028-03".into(), "2028-01".into())
    );
}
