//! Measurements, run by `make bench`: metering beside raw appends of equal batches, and one hot account.
//!
//! Two figures of metering: whole calls (hold, opened in the outbox, settled in the outbox, reported), whose work shares the
//! processors with the server; and reports alone, of records that were settled before, which is what a report costs where
//! calls come slower than the log.
//! Rounds alternate, so that what else the machine does falls on both sides; medians and ratios are printed. The server
//! flushes every message (`sync_interval: always`) on one replica; the outbox is flushed within 5 ms.

use super::tests::start_meter;
use super::*;
use crate::testing::{Server, credits, funded, usage};
use crate::{Subject, codec, log};
use domain::event::UsageReported;
use domain::{BatchId, Event, EventId, LeaseId, NodeEvent, UsageRecord};
use tokio::time::Instant;

/// The binary's allocator: the system's would make measurements look worse than what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;
const RECORDS: usize = 50_000;
const BATCH: usize = 250;
const ACCOUNTS: usize = 64;

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

#[expect(clippy::cast_precision_loss, clippy::float_arithmetic, reason = "a rate for people to read")]
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn busy() -> MeterOptions {
    MeterOptions { report_bound: Duration::from_secs(600), ..MeterOptions::with_outbox("") }
}

/// One append in flight of batches that are encoded beforehand: what the server and the wire allow.
async fn raw(server: &Server) -> f64 {
    let log = server.log().await;
    let epoch = EpochId::from_uuid(uuid::Uuid::now_v7());
    let lease = LeaseId::from_uuid(uuid::Uuid::now_v7());
    let account = AccountId::from_uuid(uuid::Uuid::now_v7());
    let actor = Actor { kind: ActorKind::Node, id: Label::try_new(epoch.to_string()).unwrap() };
    let batches: Vec<_> = (0..RECORDS / BATCH)
        .map(|batch| {
            let records = (0..BATCH).map(|i| UsageRecord {
                account,
                lease,
                n: u64::try_from(batch * BATCH + i + 1).unwrap(),
                spent: Credits::from_nano(1_000),
                uncovered: Credits::ZERO,
                usage: usage(credits("0.000001")),
            });
            let id = EventId::from_uuid(uuid::Uuid::now_v7());
            let report = UsageReported { batch: BatchId::from_uuid(id.uuid()), records: records.collect() };
            let event = Event::Node(epoch, NodeEvent::UsageReported(report));
            let version = u64::try_from(batch + 1).unwrap();
            let at = ambient::now();
            let prev = Some([7; 32]);
            let draft = codec::Draft { id, version, at, actor: &actor, key: None, prev, event: &event };
            (id, codec::encode(&draft).unwrap())
        })
        .collect();
    let (subject, mut last) = (Subject::Node(epoch), 0);
    let begun = Instant::now();
    for (id, bytes) in batches {
        let log::Appended::Stored { sequence } = log.append(&subject, last, id, bytes).await.unwrap() else {
            panic!("nobody else writes here")
        };
        last = sequence;
    }
    per_second(RECORDS, begun.elapsed())
}

/// Settled records on their way from the queue to the log, and noted in the outbox.
async fn reported(server: &Server) -> f64 {
    let meter = start_meter(server, server.ledger().await, busy()).await;
    meter.outbox().flush_really();
    let lease = LeaseId::from_uuid(uuid::Uuid::now_v7());
    let account = AccountId::from_uuid(uuid::Uuid::now_v7());
    let records: Vec<_> = (1..=RECORDS)
        .map(|n| UsageRecord {
            account,
            lease,
            n: u64::try_from(n).unwrap(),
            spent: Credits::from_nano(1_000),
            uncovered: Credits::ZERO,
            usage: usage(credits("0.000001")),
        })
        .map(|record| RecordJson::of(&record).unwrap())
        .collect();
    let begun = Instant::now();
    for record in records {
        meter.shared.reports.push(record, None);
    }
    meter.shared.reports.drained().await;
    let rate = per_second(RECORDS, begun.elapsed());
    meter.drain(Duration::from_secs(60)).await;
    rate
}

/// Holds and settlements of many accounts, until the log has every record.
async fn metered(server: &Server, accounts: &[AccountId]) -> f64 {
    let meter = start_meter(server, server.ledger().await, busy()).await;
    meter.outbox().flush_really();
    let request = |account| HoldRequest {
        account,
        scope: Scope::Account,
        budget: None,
        worst_case: credits("0.00001"),
    };
    for account in accounts {
        meter.hold(HoldRequest { worst_case: credits("1"), ..request(*account) }).await.unwrap().release();
    }
    let begun = Instant::now();
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let (meter, accounts) = (meter.clone(), accounts.to_vec());
            tokio::spawn(async move {
                for i in 0..RECORDS / 4 {
                    let account = accounts[(i * 4 + task) % accounts.len()];
                    let mut hold = meter.hold(request(account)).await.unwrap();
                    let used = usage(credits("0.000001"));
                    hold.open(used.clone()).await.unwrap();
                    hold.settle(used).await;
                    if i % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    meter.shared.reports.drained().await;
    let rate = per_second(RECORDS, begun.elapsed());
    meter.drain(Duration::from_secs(60)).await;
    rate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: make bench"]
async fn bench_metering_against_raw_appends_of_equal_batches() {
    let server = Server::start().await;
    let ledger = server.ledger().await;
    let mut accounts = Vec::new();
    for _ in 0..ACCOUNTS {
        accounts.push(funded(&ledger, "1000").await);
    }
    let (mut raws, mut meters, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut reports, mut report_ratios) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (raw, reported, metered) = match round % 2 {
            0 => {
                let raw = raw(&server).await;
                let reported = reported(&server).await;
                (raw, reported, metered(&server, &accounts).await)
            }
            _ => {
                let metered = metered(&server, &accounts).await;
                let reported = reported(&server).await;
                (raw(&server).await, reported, metered)
            }
        };
        // The first round warms up.
        if round > 0 {
            ratios.push(metered / raw);
            report_ratios.push(reported / raw);
            raws.push(raw);
            reports.push(reported);
            meters.push(metered);
        }
    }
    println!(
        "raw appends of batches of {BATCH} records: {:.0} records/s; medians of {ROUNDS} alternating rounds (R1, sync always, outbox flushed within 5 ms):",
        median(raws)
    );
    println!("  whole calls through Meter: {:.0} records/s, ratio {:.2}", median(meters), median(ratios));
    println!(
        "  reports of settled records: {:.0} records/s, ratio {:.2}",
        median(reports),
        median(report_ratios)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: make bench"]
async fn bench_one_hot_account() {
    let server = Server::start().await;
    let account = funded(&server.ledger().await, "1000000").await;
    let meter = start_meter(&server, server.ledger().await, busy()).await;
    meter.outbox().flush_really();
    let run = |time: Duration| {
        let meter = meter.clone();
        async move {
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let meter = meter.clone();
                    tokio::spawn(async move {
                        let (begun, mut calls) = (Instant::now(), 0);
                        while begun.elapsed() < time {
                            let request = HoldRequest {
                                account,
                                scope: Scope::Account,
                                budget: None,
                                worst_case: credits("0.0001"),
                            };
                            let mut hold = meter.hold(request).await.unwrap();
                            let used = usage(credits("0.00001"));
                            hold.open(used.clone()).await.unwrap();
                            hold.settle(used).await;
                            calls += 1;
                            tokio::task::yield_now().await;
                        }
                        calls
                    })
                })
                .collect();
            let mut calls = 0_usize;
            for task in tasks {
                calls += task.await.unwrap();
            }
            calls
        }
    };
    run(Duration::from_secs(3)).await;
    let before = meter.status();
    let begun = Instant::now();
    let calls = run(Duration::from_secs(5)).await;
    let rate = per_second(calls, begun.elapsed());
    let after = meter.status();
    assert_eq!(after.calls_by_log, before.calls_by_log, "no call waited for the log");
    println!(
        "one hot account: {rate:.0} holds and settlements/s on one node; {} of {calls} calls waited for the log; {} lease decisions in the background",
        after.calls_by_log - before.calls_by_log,
        after.lease_decisions - before.lease_decisions
    );
    meter.drain(Duration::from_secs(120)).await;
}
