//! Calls that left the tables, beside tables that they never left.

use super::archive::*;
use crate::Database;
use crate::periods::Month;
use crate::statement::statement;
use crate::testing::*;
use crate::{
    RebuildOptions, RebuildOutcome, VerifyOptions, balances, checksum, journal, rebuild, verify_tables,
};
use domain::{Credits, Moment};

on_every_database! {
    calls_that_left_change_no_statement_and_no_balance,
    a_rebuild_leaves_out_what_left_and_finds_the_same_sums,
    what_is_taken_back_after_its_call_left_is_taken_out_of_the_sums,
    a_month_waits_for_its_leases_and_steps_go_on_where_they_stopped,
}

const MONTH: &str = "2026-11";

/// What whoever writes the file does: reads the month, notes it, and takes its calls out. Leases that are open do not keep it from
/// that, so that calls are taken back after they left.
pub(crate) async fn archive(db: &Database) -> Archive {
    db.execute("UPDATE leases SET status = 'was open' WHERE status = 'open'", &[]).await.unwrap();
    let mut archiving = Archiving::begin(db).await.unwrap();
    let archive = note(&archiving).await.unwrap();
    archiving.take_out(&archive).await.unwrap();
    archiving.end().await;
    db.execute("UPDATE leases SET status = 'open' WHERE status = 'was open'", &[]).await.unwrap();
    archive
}

async fn note(archiving: &Archiving) -> Result<Archive, ArchiveError> {
    let month: Month = MONTH.parse().unwrap();
    let mut calls = archiving.begin_month(month).await?;
    let (mut rows, mut paid, mut last_seq) = (0, Credits::ZERO, 0);
    calls
        .each(|it| {
            rows += 1;
            paid = paid.checked_add(it.record.paid()).unwrap();
            last_seq = last_seq.max(it.event_seq);
            Ok(())
        })
        .await?;
    let position = calls.position;
    calls.end().await?;
    let archive = Archive {
        month,
        position,
        last_seq,
        file: format!("usage-{MONTH}-{position}.parquet"),
        sha256: "0".repeat(64),
        rows,
        paid,
        removed_to: month.begins(),
        created_at: month.ends(),
    };
    archiving.note(&archive).await?;
    Ok(archive)
}

async fn rows(db: &Database, table: &str) -> u64 {
    db.fetch_one(&format!("SELECT COUNT(*) AS n FROM {table}"), &[]).await.unwrap().count("n").unwrap()
}

async fn calls_that_left_change_no_statement_and_no_balance(on: On) {
    let mut log = TestLog::busy_week(21);
    log.oddities();
    let (test, whole) = (TestDatabase::on(on).await, TestDatabase::on(On::Sqlite).await);
    apply_in(&test.db, &log.messages[..log.messages.len() / 2], 64).await;
    let half = archive(&test.db).await;
    assert!(half.rows > 10, "{half:?}");
    assert_eq!(rows(&test.db, "usage_records").await, 0);
    apply_in(&test.db, &log.messages, 64).await;
    apply_in(&whole.db, &log.messages, 64).await;
    // What was reported later stays, until it is archived as well.
    let later = rows(&test.db, "usage_records").await;
    assert_eq!(later + half.rows, rows(&whole.db, "usage_records").await);
    let begin = at("2026-11-22T00:00:00Z").micros();
    let moments: Vec<Moment> = std::iter::once(Moment::MIN)
        .chain((0..40).map(|step| Moment::from_micros(begin + step * 23 * SLOT)))
        .chain([Moment::MAX])
        .collect();
    for again in [false, true] {
        if again {
            // Those of the next month stay.
            assert!((10..=later).contains(&archive(&test.db).await.rows));
        }
        for owner in log.accounts.keys().copied() {
            for span in moments.windows(2) {
                let span = (span[0], span[1]);
                let day = |at: Moment| (at.micros() + 23 * SLOT).div_euclid(96 * SLOT);
                let found = statement(&test.db, owner, span, day).await.unwrap();
                assert_eq!(found, statement(&whole.db, owner, span, day).await.unwrap());
            }
            let total = balances::balance(&whole.db, owner).await.unwrap().total;
            assert_eq!(balances::balance(&test.db, owner).await.unwrap().total, total);
            assert_eq!(journal::total_at(&test.db, owner, u64::MAX).await.unwrap(), Some(total));
        }
    }
    let owner = *log.accounts.keys().next().unwrap();
    let last = archives(&test.db).await.unwrap().iter().map(|it| it.last_seq).max().unwrap();
    assert_eq!(journal::total_at(&test.db, owner, last - 1).await.unwrap(), None);
    assert_eq!(
        journal::total_at(&test.db, owner, last).await.unwrap(),
        journal::total_at(&whole.db, owner, last).await.unwrap()
    );
    // No finer sums are kept: a statement from the middle of a quarter is refused and not guessed.
    let slot = test
        .db
        .fetch_one("SELECT account, slot FROM usage_carried ORDER BY slot LIMIT 1", &[])
        .await
        .unwrap();
    let middle = Moment::from_micros(slot.int("slot").unwrap() + 1);
    let refused = statement(&test.db, slot.parsed("account").unwrap(), (middle, Moment::MAX), |_| 0).await;
    assert!(refused.unwrap_err().to_string().contains("quarter of an hour"));
}

async fn a_rebuild_leaves_out_what_left_and_finds_the_same_sums(on: On) {
    let mut log = TestLog::busy_week(22);
    log.oddities();
    let mut server = LogServer::start().await;
    let test = TestDatabase::on(on).await;
    server.pour_up_to(&log, 250).await;
    server.apply_all(&test.db).await;
    let archive = archive(&test.db).await;
    server.pour(&log).await;
    server.apply_all(&test.db).await;
    let before = archive.rows + rows(&test.db, "usage_records").await;
    assert!(10 < archive.rows && archive.rows + 10 < before, "{archive:?} of {before}");
    let sums = checksum(&test.db).await.unwrap();
    let verified = VerifyOptions { time_zone: zone(8), ..VerifyOptions::default() };
    assert!(verify_tables(&test.db, &server.log, &verified).await.unwrap().is_equal());
    let options = RebuildOptions { time_zone: zone(8), ..RebuildOptions::default() };
    let report = rebuild(&test.db, &server.log, &options).await.unwrap();
    assert_eq!((report.outcome, report.is_equal()), (RebuildOutcome::Swapped, true), "{report:?}");
    assert_eq!(checksum(&test.db).await.unwrap(), sums);
    // A sum that somebody changed is found.
    test.db.execute("UPDATE usage_carried SET paid = paid + 1", &[]).await.unwrap();
    let report = verify_tables(&test.db, &server.log, &verified).await.unwrap();
    let differs: Vec<_> = report.tables.iter().filter(|it| !it.is_equal()).map(|it| it.table).collect();
    assert_eq!(differs, ["usage_carried"]);
    // Without the list of archives the log brings all of them back.
    test.db.execute("DELETE FROM usage_archives", &[]).await.unwrap();
    let replace = RebuildOptions { replace: true, ..options };
    rebuild(&test.db, &server.log, &replace).await.unwrap();
    assert_eq!((rows(&test.db, "usage_records").await, rows(&test.db, "usage_carried").await), (before, 0));
    server.local.stop().await;
}

async fn what_is_taken_back_after_its_call_left_is_taken_out_of_the_sums(on: On) {
    let when = at("2026-11-22T10:00:00Z");
    let calls = [1, 2, 3].map(|number| usage(number, "m", 1_000, 10, when));
    let sum = |count: usize| Credits::checked_sum(calls[..count].iter().map(|call| call.charge)).unwrap();
    let nth =
        |n: usize| record(account(1), lease(2), u64::try_from(n).unwrap(), sum(n), calls[n - 1].clone());
    let mut log = TestLog::default();
    log.granted(account(1), 1, "10").leased(account(1), 2, "5").reported(vec![nth(1)]);
    // A run that does not hold the lease reports the rest; a sweeper closes the lease without it.
    log.reported_by(2, vec![nth(2), nth(3)]).ended(account(1), 2, sum(1), 1);
    let mut server = LogServer::start().await;
    let test = TestDatabase::on(on).await;
    server.pour_up_to(&log, 4).await;
    server.apply_all(&test.db).await;
    assert_eq!(archive(&test.db).await.paid, sum(3));
    server.pour(&log).await;
    server.apply_all(&test.db).await;
    let left = credits("10").checked_sub(sum(1)).unwrap();
    let told = statement(&test.db, account(1), (Moment::MIN, Moment::MAX), |_| 0).await.unwrap();
    assert_eq!((told.closing, told.days[&0].calls), (left, 3));
    assert_eq!(balances::balance(&test.db, account(1)).await.unwrap().total, left);
    assert_eq!(journal::total_at(&test.db, account(1), u64::MAX).await.unwrap(), Some(left));
    let options = RebuildOptions { time_zone: zone(8), ..RebuildOptions::default() };
    let report = rebuild(&test.db, &server.log, &options).await.unwrap();
    assert_eq!((report.outcome, report.is_equal()), (RebuildOutcome::Swapped, true), "{report:?}");
    server.local.stop().await;
}

async fn a_month_waits_for_its_leases_and_steps_go_on_where_they_stopped(on: On) {
    let log = TestLog::busy_week(23);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 64).await;
    let open = "UPDATE leases SET status = 'open' WHERE lease = (SELECT MIN(lease) FROM usage_records)";
    test.db.execute(open, &[]).await.unwrap();
    let mut archiving = Archiving::begin(&test.db).await.unwrap();
    assert!(matches!(archiving.begin_month(MONTH.parse().unwrap()).await, Err(ArchiveError::Open { .. })));
    test.db.execute("UPDATE leases SET status = 'closed' WHERE status = 'open'", &[]).await.unwrap();
    assert!(matches!(Archiving::begin(&test.db).await, Err(ArchiveError::UnderWay)));
    let archive = note(&archiving).await.unwrap();
    // Somebody took a call out by hand: what left is less than the file has, and the last step does not happen.
    let last =
        test.db.fetch_one("SELECT lease, n FROM usage_records ORDER BY at DESC LIMIT 1", &[]).await.unwrap();
    let call = [last.text("lease").unwrap().into(), crate::Value::count(last.count("n").unwrap())];
    let gone = test.db.execute("DELETE FROM usage_records WHERE lease = ? AND n = ?", &call).await.unwrap();
    assert_eq!(gone, 1);
    assert!(matches!(archiving.take_out(&archive).await, Err(ArchiveError::Differs { .. })));
    assert!(!archives(&test.db).await.unwrap()[0].is_done());
    let (calls, key) = (archive.rows - gone, crate::Value::count(archive.position));
    test.db
        .execute("UPDATE usage_archives SET calls = ? WHERE position = ?", &[crate::Value::count(calls), key])
        .await
        .unwrap();
    let noted = archives(&test.db).await.unwrap().remove(0);
    archiving.take_out(&noted).await.unwrap();
    // Once more, as after an answer that was lost.
    archiving.take_out(&noted).await.unwrap();
    archiving.end().await;
    assert!(archives(&test.db).await.unwrap()[0].is_done());
    assert_eq!(rows(&test.db, "usage_records").await, 0);
}
