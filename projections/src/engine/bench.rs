//! How fast batches are applied, beside a raw bulk insert of the rows that come of it, on the same server in the same run.
//!
//! `cargo test --release --package projections bench -- --ignored --nocapture`; committed batches are flushed to disk.

use super::{Applied, apply};
use crate::checksum::{TABLES, checksum};
use crate::database::Cell;
use crate::testing::*;
use crate::{Checkpoint, Database, Value};
use domain::Credits;
use std::time::{Duration, Instant};

/// Records of one report, as a busy node makes them.
const RECORDS_OF_A_REPORT: u64 = 100;
/// Rows of one transaction of the raw insert.
const RAW_ROWS: usize = 10_000;

fn busy_hours(reports: u64) -> TestLog {
    let accounts = 500;
    let mut log = TestLog::default();
    log.at("2026-11-22T10:00:00Z");
    for number in 0..accounts {
        log.granted(account(number), number, "1000000");
        log.leased(account(number), number * 2, "900000");
    }
    let mut spent = vec![(0, Credits::ZERO); usize::try_from(accounts).unwrap()];
    for report in 0..reports {
        let records = (0..RECORDS_OF_A_REPORT).map(|of_report| {
            let call = report * RECORDS_OF_A_REPORT + of_report;
            let number = call * 7_919 % accounts;
            let when = at("2026-11-22T10:00:00Z").plus_ms(i64::try_from(call * 360).unwrap());
            let model = ["claude-sonnet-4", "gemini-2.5-pro", "gpt-5"][usize::try_from(call % 3).unwrap()];
            let usage = usage(call, model, call % 5_000, call % 900, when);
            let (n, spent) = &mut spent[usize::try_from(number).unwrap()];
            (*n, *spent) = (*n + 1, spent.checked_add(usage.charge).unwrap());
            record(account(number), lease(number * 2), *n, *spent, usage)
        });
        let records = records.collect();
        log.reported(records);
    }
    log
}

/// Every row of every table, by table.
async fn rows(db: &Database) -> Vec<(&'static str, Vec<String>, Vec<Value>)> {
    let mut tables = Vec::new();
    let mut tx = db.snapshot().await.unwrap();
    for (table, _) in TABLES {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        tx.for_each(&format!("SELECT * FROM {table}"), &[], |row| {
            columns = row.columns().into_iter().map(str::to_owned).collect();
            values.extend((0..columns.len()).map(|at| match row.cell(at).unwrap() {
                Cell::Null => Value::Null,
                Cell::Int(value) => value.into(),
                Cell::Text(text) => text.into(),
            }));
            Ok(())
        })
        .await
        .unwrap();
        tables.push((table, columns, values));
    }
    tx.rollback().await.unwrap();
    tables
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: it takes minutes and proves nothing by itself"]
async fn bench() {
    let log = busy_hours(1_000);
    let first =
        log.messages.iter().position(|it| matches!(it.recorded.event, domain::Event::Node(..))).unwrap();
    let records = RECORDS_OF_A_REPORT * u64::try_from(log.messages.len() - first).unwrap();
    let rate = |time: Duration| {
        format!("{:>7.0}/s", f64::from(u32::try_from(records).unwrap()) / time.as_secs_f64())
    };
    for on in On::ALL {
        let server = on.program().map(Server::start_durable);
        let mut yardstick = None;
        for reports in [5, 50, 250] {
            let (test, raw) = (
                TestDatabase::for_bench(on, server.as_ref()).await,
                TestDatabase::for_bench(on, server.as_ref()).await,
            );
            let identity = identity();
            let mut from = apply_in(&test.db, &log.messages[..first], 10_000).await;
            let begun = Instant::now();
            for batch in log.messages[first..].chunks(reports) {
                from = match apply(&test.db, zone(8), &identity, &from, batch).await.unwrap() {
                    Applied::Here(next) => next,
                    Applied::Elsewhere => panic!("nobody else applies"),
                };
            }
            let projected = begun.elapsed();
            assert_eq!(Checkpoint::read(&test.db).await.unwrap(), from);

            let tables = rows(&test.db).await;
            let begun = Instant::now();
            for (table, columns, values) in &tables {
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                for part in values.chunks(RAW_ROWS * columns.len().max(1)) {
                    let mut tx = raw.db.begin().await.unwrap();
                    tx.insert(table, &columns, part, "").await.unwrap();
                    tx.commit().await.unwrap();
                }
            }
            let inserted = begun.elapsed();
            let begun = Instant::now();
            let sums = checksum(&test.db).await.unwrap();
            let summed = begun.elapsed();
            assert_eq!(checksum(&raw.db).await.unwrap().tables, sums.tables);
            let raw = *yardstick.get_or_insert(inserted);
            println!(
                "{on:?}: {records} usage records, {:>5} a transaction: {} projected, {} raw, ratio {:.2}; checksum {}",
                reports * 100,
                rate(projected),
                rate(raw),
                raw.as_secs_f64() / projected.as_secs_f64(),
                rate(summed),
            );
        }
    }
}
