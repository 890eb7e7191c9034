//! How fast batches are applied, beside a raw bulk insert of the rows that come of it, on the same server in the same run.
//!
//! `cargo test --release --package projections projection_bench -- --ignored --nocapture`; what is committed is flushed to
//! disk on both sides. Rounds: 3, or `NEXUSROUTE_BENCH_ROUNDS`; reports of 100 records: 1,000, or `NEXUSROUTE_BENCH_REPORTS`.

use super::{Applied, apply};
use crate::testing::*;
use crate::{Checkpoint, Database, checksum};
use domain::Credits;
use std::time::{Duration, Instant};

/// Records of one report, as a busy node makes them.
const RECORDS_OF_A_REPORT: u64 = 100;
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

/// Applies the usage of a log in transactions of so many reports; the time that took.
async fn project(db: &Database, log: &TestLog, first: usize, reports: usize) -> Duration {
    let identity = identity();
    let mut from = apply_in(db, &log.messages[..first], 10_000).await;
    let begun = Instant::now();
    for batch in log.messages[first..].chunks(reports) {
        from = match apply(db, zone(8), &identity, &from, batch).await.unwrap() {
            Applied::Here(next) => next,
            Applied::Elsewhere => panic!("nobody else applies"),
        };
    }
    let took = begun.elapsed();
    assert_eq!(Checkpoint::read(db).await.unwrap(), from);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: it takes minutes and proves nothing by itself"]
async fn projection_bench() {
    let rounds = number("NEXUSROUTE_BENCH_ROUNDS", 3);
    let log = busy_hours(number("NEXUSROUTE_BENCH_REPORTS", 1_000));
    let first =
        log.messages.iter().position(|it| matches!(it.recorded.event, domain::Event::Node(..))).unwrap();
    let records = RECORDS_OF_A_REPORT * u64::try_from(log.messages.len() - first).unwrap();
    println!(
        "{records} usage records; a record is a row of 30 columns, and its part of an hour, a day, a balance and a lease"
    );
    for on in databases() {
        let server = on.program().map(Server::start_durable);
        let sizes = [5, 50, 250];
        let mut ratios = [(); 3].map(|()| Vec::new());
        let mut rates = [(); 3].map(|()| Vec::new());
        let mut raws = Vec::new();
        // One after the other in each round, so that whatever else the machine does meets both.
        for _ in 0..rounds {
            for (at, reports) in sizes.into_iter().enumerate() {
                let test = TestDatabase::for_bench(on, server.as_ref()).await;
                let projected = project(&test.db, &log, first, reports).await;
                let raw = TestDatabase::for_bench(on, server.as_ref()).await;
                let inserted = insert_raw(&test.db, &raw.db).await;
                assert_eq!(checksum(&raw.db).await.unwrap().tables, checksum(&test.db).await.unwrap().tables);
                ratios[at].push(inserted.as_secs_f64() / projected.as_secs_f64());
                rates[at].push(rate(records, projected));
                raws.push(rate(records, inserted));
            }
        }
        let raw = median(raws);
        for (reports, (ratios, rates)) in sizes.into_iter().zip(ratios.into_iter().zip(rates)) {
            let of_a_transaction = reports * usize::try_from(RECORDS_OF_A_REPORT).unwrap();
            println!(
                "{on:?}, {of_a_transaction:>5} records a transaction: projected {:>6.0}/s, raw insert {raw:>6.0}/s, ratio {:.2} (medians of {rounds} rounds)",
                median(rates),
                median(ratios),
            );
        }
    }
}
