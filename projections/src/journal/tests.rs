//! The journal on every database, against a plain reading of the same events.

use super::*;
use crate::facts::Facts;
use crate::leases::LeaseRows;
use crate::testing::*;
use crate::{Checkpoint, Database, Dialect, balances, billing, usage};
use chrono::NaiveDate;
use domain::{AccountEvent, AccountId, Book, Credits, Event, NodeEvent, Unit};
use ledger::Logged;
use std::collections::{BTreeMap, BTreeSet};

on_every_database! {
    every_day_of_the_books_balances_and_they_owe_each_account_its_total,
    the_balance_at_a_position_is_the_fold_of_what_came_before_it,
    a_late_call_is_a_loss_of_the_operators_and_no_debt_of_the_owners,
    a_call_is_booked_on_the_day_of_its_owners_statement,
    a_payment_in_suspense_is_booked_though_it_is_nobodys,
    sums_over_all_accounts_outgrow_an_amount_and_stop_nothing,
    lines_are_found_by_book_account_event_and_time,
    a_page_of_lines_ends_where_the_next_begins,
    a_database_from_before_the_journal_is_read_again_from_the_first_message,
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// The end of time, as far as the books know.
fn ever() -> NaiveDate {
    day("9999-12-31")
}

/// Every book's balance, read from the sums.
async fn books(db: &Database, until: NaiveDate) -> BTreeMap<(String, String), i128> {
    let trial = trial_balance(db, until).await.unwrap();
    for (unit, sums) in &trial.totals {
        assert_eq!(sums.balance(), 0, "{unit} on {until}");
        assert!(sums.entries > 0 && sums.debit > 0, "{unit} on {until}");
    }
    trial.books.into_iter().map(|it| ((it.unit.to_string(), it.book), it.sums.balance())).collect()
}

pub(crate) async fn book(db: &Database, name: &str) -> i128 {
    books(db, ever()).await.remove(&("credits".to_owned(), name.to_owned())).unwrap_or(0)
}

/// What an account had behind each message, by the plainest reading: what came in less what the log's own rule counts.
fn totals(messages: &[Logged], of: AccountId) -> Vec<i128> {
    let (mut total, mut seen, mut closed, mut sums) = (0_i128, BTreeSet::new(), BTreeMap::new(), Vec::new());
    for logged in messages {
        match &logged.recorded.event {
            Event::Account(account, event) => match event {
                AccountEvent::LeaseClosed(it) => {
                    closed.insert(it.lease, it.count);
                }
                _ if *account != of => {}
                AccountEvent::TopUpCompleted(it) => total += i128::from(it.credits.nano()),
                AccountEvent::CreditGranted(it) => total += i128::from(it.credits.nano()),
                AccountEvent::AdjustmentPosted(it) => total += i128::from(it.credits.nano()),
                AccountEvent::RefundRequested(it) => total -= i128::from(it.credits.nano()),
                AccountEvent::RefundFailed(it) => total += i128::from(it.credits.nano()),
                AccountEvent::ChargebackPosted(it) => total -= i128::from(it.credits.nano()),
                AccountEvent::ChargebackReversed(it) => total += i128::from(it.credits.nano()),
                _ => {}
            },
            Event::Node(_, NodeEvent::UsageReported(report)) => {
                for it in &report.records {
                    let late = closed.get(&it.lease).is_some_and(|count| it.n > *count);
                    if seen.insert((it.lease, it.n)) && it.account == of && !late {
                        total -= i128::from(it.usage.charge.nano() - it.uncovered.nano());
                    }
                }
            }
            Event::Node(..) | Event::Suspense(..) | Event::Channel(..) => {}
        }
        sums.push(total);
    }
    sums
}

async fn every_day_of_the_books_balances_and_they_owe_each_account_its_total(on: On) {
    let mut log = TestLog::busy_week(11);
    log.oddities();
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 37).await;
    let days = test.db.fetch_all("SELECT DISTINCT day FROM journal_daily", &[]).await.unwrap();
    assert!(days.len() > 5, "{} days say little", days.len());
    for row in &days {
        let until = row.parsed("day").unwrap();
        assert!(!books(&test.db, until).await.is_empty());
        // Each day by itself, too.
        let sql = format!(
            "SELECT unit, {} AS over_billions, {} AS over_units FROM journal_daily WHERE day = ? GROUP BY unit",
            test.db.dialect().sum("debit_billions - credit_billions"),
            test.db.dialect().sum("debit_units - credit_units"),
        );
        for sums in test.db.fetch_all(&sql, &[row.text("day").unwrap().into()]).await.unwrap() {
            let (billions, units) = (sums.int("over_billions").unwrap(), sums.int("over_units").unwrap());
            assert_eq!(billions * 1_000_000_000 + units, 0, "{until}");
        }
    }
    let before = trial_balance(&test.db, day("2026-11-21")).await.unwrap();
    assert_eq!((before.books.len(), before.totals.len()), (0, 0), "nothing had happened yet");

    let all = books(&test.db, ever()).await;
    let mut owed = 0;
    for owner in log.accounts.keys() {
        let total = balances::balance(&test.db, *owner).await.unwrap().total;
        assert_eq!(*totals(&log.messages, *owner).last().unwrap(), i128::from(total.nano()));
        owed -= i128::from(total.nano());
    }
    let of = |unit: &str, book: &str| all[&(unit.to_owned(), book.to_owned())];
    assert_eq!(of("credits", "liability:credits"), owed);
    let sums = usage::stats(&test.db, &usage::StatsFilter::default(), usage::UsageBy::Model).await.unwrap();
    for model in sums {
        let earned = of("credits", &format!("revenue:usage:{}", model.bucket));
        assert_eq!(earned, -i128::from(model.charge.nano()), "{}", model.bucket);
    }
    // What the payers paid lies in the clearing account; what nobody could be credited with waits beside it.
    assert_eq!(of("CNY", "fx:CNY") + of("CNY", "suspense:sandbox"), -of("CNY", "asset:clearing:sandbox"));
}

async fn the_balance_at_a_position_is_the_fold_of_what_came_before_it(on: On) {
    let log = TestLog::busy_week(12);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 100).await;
    for owner in log.accounts.keys() {
        let expected = totals(&log.messages, *owner);
        assert_eq!(total_at(&test.db, *owner, 0).await.unwrap(), Some(Credits::ZERO));
        for (expected, logged) in expected.iter().zip(&log.messages).step_by(3) {
            let position = logged.recorded.sequence;
            let total = total_at(&test.db, *owner, position).await.unwrap().unwrap();
            assert_eq!(i128::from(total.nano()), *expected, "{owner} at {position}");
        }
        let last = total_at(&test.db, *owner, u64::MAX).await.unwrap();
        assert_eq!(last, Some(balances::balance(&test.db, *owner).await.unwrap().total));
    }
    assert_eq!(total_at(&test.db, account(99), u64::MAX).await.unwrap(), Some(Credits::ZERO));
}

async fn a_late_call_is_a_loss_of_the_operators_and_no_debt_of_the_owners(on: On) {
    let when = at("2026-11-22T10:00:00Z");
    let calls = [1, 2, 3].map(|number| usage(number, "m", 1_000, 10, when));
    let charges = calls.each_ref().map(|call| i128::from(call.charge.nano()));
    let sum = |count: usize| Credits::checked_sum(calls[..count].iter().map(|call| call.charge)).unwrap();
    let nth =
        |n: usize| record(account(1), lease(2), u64::try_from(n).unwrap(), sum(n), calls[n - 1].clone());
    let mut log = TestLog::default();
    log.granted(account(1), 1, "10").leased(account(1), 2, "5").reported(vec![nth(1)]);
    // Closed with two records: the second comes late but is counted, the third is a loss. One is reported twice.
    log.ended(account(1), 2, sum(2), 2).reported(vec![nth(2), nth(3)]).reported(vec![nth(1), nth(3)]);
    for batch in [1, 100] {
        let test = TestDatabase::on(on).await;
        apply_in(&test.db, &log.messages, batch).await;
        let total = i128::from(balances::balance(&test.db, account(1)).await.unwrap().total.nano());
        assert_eq!(total, 10_000_000_000 - charges[0] - charges[1]);
        assert_eq!(book(&test.db, "liability:credits").await, -total);
        assert_eq!(book(&test.db, "revenue:usage:m").await, -charges.iter().sum::<i128>());
        assert_eq!(book(&test.db, "expense:metering_loss").await, charges[2]);
        let cost: i128 = calls.iter().map(|call| i128::from(call.cost.nano())).sum();
        assert_eq!(book(&test.db, "expense:provider:antinomy").await, cost);
        assert_eq!(book(&test.db, "payable:provider:antinomy").await, -cost);
    }
}

async fn a_call_is_booked_on_the_day_of_its_owners_statement(on: On) {
    // Apart by a microsecond, and by a day at +08:00; reported, and partly decided, on the next.
    let calls = [("2026-11-22T15:59:59.999999Z", 1), ("2026-11-22T16:00:00Z", 2)]
        .map(|(when, number)| usage(number, "m", 1_000, 10, at(when)));
    let mut log = TestLog::default();
    // Each event is a second behind the one before it, the first a second behind what the clock is set to.
    log.at("2026-11-22T15:59:58.999999Z").granted(account(1), 1, "10").granted(account(1), 2, "1");
    log.leased(account(1), 3, "5");
    let both = calls[0].charge.checked_add(calls[1].charge).unwrap();
    log.at("2026-11-23T10:00:00Z").reported(vec![
        record(account(1), lease(3), 1, calls[0].charge, calls[0].clone()),
        record(account(1), lease(3), 2, both, calls[1].clone()),
    ]);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 10).await;
    let entries = entries(&test.db, &EntryFilter::default(), None, 10).await.unwrap().items;
    let days: Vec<_> = entries.iter().map(|it| (it.event_seq, it.line, it.day.as_str())).collect();
    assert_eq!(
        days,
        [(2, 1, "2026-11-23"), (2, 0, "2026-11-23"), (1, 1, "2026-11-22"), (1, 0, "2026-11-22")]
    );
    let earned =
        |it: BTreeMap<(String, String), i128>| it[&("credits".to_owned(), "revenue:usage:m".to_owned())];
    let first = earned(books(&test.db, day("2026-11-22")).await);
    assert_eq!(first, -i128::from(calls[0].charge.nano()));
    assert_eq!(earned(books(&test.db, day("2026-11-23")).await), -i128::from(both.nano()));
    let stats = billing::stats(&test.db, account(1), None, None, billing::BillingBy::Day).await.unwrap();
    let consumed: Vec<_> = stats.iter().map(|it| (it.bucket.as_str(), it.consumed)).collect();
    assert_eq!(consumed, [("2026-11-23", calls[1].charge), ("2026-11-22", calls[0].charge)]);
}

async fn a_payment_in_suspense_is_booked_though_it_is_nobodys(on: On) {
    let mut log = TestLog::default();
    log.at("2026-11-22T10:00:00Z").suspended().suspended().resolved(2);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 10).await;
    let lines = entries_of(&test.db, &[1, 3]).await.unwrap();
    let seen: Vec<_> = lines
        .iter()
        .map(|it| (it.book.to_string(), it.unit.to_string(), it.amount, it.account, it.kind.as_str()))
        .collect();
    let cny = || "CNY".to_owned();
    assert_eq!(
        seen,
        [
            ("asset:clearing:sandbox".to_owned(), cny(), 100, None, "payment_suspended"),
            ("suspense:sandbox".to_owned(), cny(), -100, None, "payment_suspended"),
            ("suspense:sandbox".to_owned(), cny(), 100, None, "suspense_resolved"),
            ("asset:clearing:sandbox".to_owned(), cny(), -100, None, "suspense_resolved"),
        ]
    );
    let all = books(&test.db, ever()).await;
    assert_eq!(all[&(cny(), "suspense:sandbox".to_owned())], -100);
}

async fn sums_over_all_accounts_outgrow_an_amount_and_stop_nothing(on: On) {
    let mut log = TestLog::default();
    log.at("2026-11-22T10:00:00Z");
    // As much as an account may ever hold, nine times on one day: more than 64 bits of nano-credits.
    for number in 0..9 {
        log.granted(account(number), number, "2305843009.213693951");
    }
    for batch in [2, 100] {
        let test = TestDatabase::on(on).await;
        apply_in(&test.db, &log.messages, batch).await;
        let given = 9 * 2_305_843_009_213_693_951_i128;
        assert!(given > i128::from(i64::MAX));
        assert_eq!(book(&test.db, "expense:promotions").await, given);
        assert_eq!(book(&test.db, "liability:credits").await, -given);
    }
}

async fn lines_are_found_by_book_account_event_and_time(on: On) {
    let mut log = TestLog::default();
    log.at("2026-11-22T10:00:00Z").granted(account(1), 1, "10").adjusted(account(2), 2, "-0.5");
    log.initiated(account(1), 3, "50.00", "7").completed(account(1), 3, "50.00", "7").suspended();
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 10).await;
    let found = async |filter: EntryFilter| {
        let page = entries(&test.db, &filter, None, 100).await.unwrap();
        assert_eq!(page.next_cursor, None);
        page.items.iter().map(|it| (it.event_seq, it.line)).collect::<Vec<_>>()
    };
    let all = [(5, 1), (5, 0), (4, 3), (4, 2), (4, 1), (4, 0), (2, 1), (2, 0), (1, 1), (1, 0)];
    assert_eq!(found(EntryFilter::default()).await, all);
    let of = |book: &str| EntryFilter { book: Some(book.parse().unwrap()), ..EntryFilter::default() };
    for (prefix, expected) in [
        ("asset:", vec![(5, 0), (4, 0)]),
        ("asset:clearing:sandbox", vec![(5, 0), (4, 0)]),
        ("liability:credits:", vec![(4, 3), (2, 1), (1, 1)]),
        ("expense:", vec![(2, 0), (1, 0)]),
        ("fx:CNY", vec![(4, 2), (4, 1)]),
        // An underscore and a percent sign are themselves, as is the case of a letter.
        ("expense_", vec![]),
        ("expense%", vec![]),
        ("Asset:", vec![]),
        ("\u{10ffff}", vec![]),
        ("it's", vec![]),
    ] {
        assert_eq!(found(of(prefix)).await, expected, "{prefix}");
    }
    let owner = EntryFilter { account: Some(account(1)), ..EntryFilter::default() };
    assert_eq!(found(owner.clone()).await, [(4, 3), (4, 2), (4, 1), (4, 0), (1, 1), (1, 0)]);
    assert_eq!(found(EntryFilter { event_seq: Some(4), ..owner.clone() }).await.len(), 4);
    assert_eq!(found(EntryFilter { event_seq: Some(u64::MAX), ..owner.clone() }).await, []);
    let moment = |sequence: usize| Some(log.messages[sequence - 1].recorded.at);
    let within = EntryFilter { from: moment(2), to: moment(4), ..EntryFilter::default() };
    assert_eq!(found(within).await, [(2, 1), (2, 0)]);
    for bad in ["", "a\0", "a\n", &"x".repeat(221)] {
        assert_eq!(bad.parse::<BookPrefix>(), Err(UnknownPrefix), "{bad:?}");
    }
    assert_eq!(entries_of(&test.db, &[4, 1]).await.unwrap().len(), 6);
    assert_eq!(entries_of(&test.db, &[]).await.unwrap(), []);
    let line = entries_of(&test.db, &[4]).await.unwrap().remove(3);
    assert_eq!(
        (line.book, line.unit, line.amount),
        (Book::Liability(account(1)), Unit::Credits, -7_000_000_000)
    );
}

async fn a_page_of_lines_ends_where_the_next_begins(on: On) {
    let mut log = TestLog::default();
    log.at("2026-11-22T10:00:00Z");
    for number in 0..9 {
        log.initiated(account(1), number, "50.00", "7");
        // The writer's clock was turned back: nine payments, and nine gifts, of the same moment.
        log.at("2026-11-22T09:30:00Z").completed(account(1), number, "50.00", "7");
        log.granted(account(1), number, "1");
    }
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 10).await;
    let whole = entries(&test.db, &EntryFilter::default(), None, 200).await.unwrap().items;
    assert_eq!(whole.len(), 54);
    for limit in [1, 3, 54] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = entries(&test.db, &EntryFilter::default(), after, limit).await.unwrap();
            seen.extend(page.items);
            assert!(seen.len() <= whole.len(), "a line is shown twice");
            let Some(cursor) = page.next_cursor else { break };
            after = Some(cursor.to_string().parse().unwrap());
        }
        assert_eq!(seen, whole, "pages of {limit}");
    }
    for text in ["", "1", "1.2", "1.2.3.4", "1.-2.3", "x.1.1", "1.2.3 "] {
        assert_eq!(text.parse::<EntryCursor>(), Err(crate::CursorError), "{text:?}");
    }
}

async fn a_database_from_before_the_journal_is_read_again_from_the_first_message(on: On) {
    let log = TestLog::busy_week(13);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 100).await;
    let expected = dump(&test.db).await;
    // As the release before left it.
    let of_table = if test.db.dialect() == Dialect::MySql { " ON usage_records" } else { "" };
    for sql in [
        "DROP TABLE journal_entries",
        "DROP TABLE journal_daily",
        &format!("DROP INDEX usage_records_balance{of_table}"),
        "ALTER TABLE leases DROP COLUMN at_risk",
        // These came later: a database of that time did not have them.
        "DELETE FROM refunds",
        "DELETE FROM chargebacks",
        "DELETE FROM _sqlx_migrations WHERE version = 3",
    ] {
        test.db.execute(sql, &[]).await.unwrap();
    }
    test.db.migrate().await.unwrap();
    assert_eq!(Checkpoint::read(&test.db).await.unwrap(), Checkpoint::default());
    assert_eq!(dump(&test.db).await, Vec::<String>::new());
    apply_in(&test.db, &log.messages, 100).await;
    assert_eq!(dump(&test.db).await, expected);
}

/// One fold after the other, without a database: the leases' rows are kept between batches, as the tables would.
fn folded(messages: &[Logged], size: impl Fn(usize) -> usize) -> Vec<JournalRows> {
    let (mut leases, mut rest, mut rows) = (LeaseRows::default(), messages, Vec::new());
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(size(rest.len()).clamp(1, rest.len()));
        let facts: Facts<'_> = leases.fold(batch, zone(8)).unwrap();
        rows.push(JournalRows::fold(&facts).unwrap());
        rest = later;
    }
    rows
}

#[test]
fn whatever_the_events_and_however_they_are_cut_every_batch_sums_to_zero() {
    for seed in 0..100 {
        let log = TestLog::busy_week(seed);
        let whole = folded(&log.messages, |all| all);
        let cut = folded(&log.messages, |left| left.wrapping_mul(2_654_435_761) >> 7 & 31);
        assert!(cut.len() > 10);
        let mut sums = BTreeMap::new();
        for batch in &cut {
            assert!(
                batch.by_unit().values().all(|(_, over)| *over == 0),
                "seed {seed}: {:?}",
                batch.by_unit()
            );
            for (unit, (entries, _)) in batch.by_unit() {
                *sums.entry(unit).or_insert(0) += entries;
            }
        }
        let whole: BTreeMap<_, _> = whole[0].by_unit().into_iter().map(|(unit, it)| (unit, it.0)).collect();
        assert_eq!(sums, whole, "seed {seed}");
        assert!(sums[&Unit::Credits] > 100);
    }
}
