//! How fast tables are rebuilt from a log on a real server, beside a raw bulk insert of the rows that come of it, on the
//! same database server in the same run.
//!
//! `cargo test --release --package projections rebuild_bench -- --ignored --nocapture`. Records: 1,000,000, or
//! `NEXUSROUTE_BENCH_RECORDS`; rounds: 3, or `NEXUSROUTE_BENCH_ROUNDS`. Decoding the log is part of a rebuild's time, as are
//! indexes and the swap; both sides flush to disk as in production.

use super::*;
use crate::testing::*;
use crate::{VerifyOptions, checksum, verify_tables};
use domain::account::event::{Closer, LeaseClosed, LeaseGranted, Scope};
use domain::event::UsageReported;
use domain::{AccountEvent, Actor, ActorKind, BatchId, Credits, Event, EventId, NodeEvent};
use futures_util::StreamExt as _;
use ledger::Appended;
use ledger::codec::{Draft, encode, subject_of};
use std::collections::BTreeMap;

const ACCOUNTS: u64 = 1_000;
const RECORDS_OF_A_REPORT: u64 = 250;
const RECORDS_OF_A_LEASE: u64 = 100;
/// Writes a busy log to a server: leases of a thousand accounts, their usage, their ends, and again.
struct Writer<'a> {
    log: &'a ledger::Log,
    /// Version and last sequence of each subject.
    subjects: BTreeMap<String, (u64, u64)>,
    ids: u64,
}

impl Writer<'_> {
    async fn append_all(&mut self, events: Vec<Event>) {
        let mut drafts = Vec::with_capacity(events.len());
        for event in &events {
            let subject = subject_of(event);
            let (version, expected) = self.subjects.get(&subject.to_string()).copied().unwrap_or_default();
            self.ids += 1;
            let id = EventId::from_uuid(id(7, self.ids));
            let actor = Actor { kind: ActorKind::System, id: label("bench") };
            let draft =
                Draft { id, version: version + 1, at: now(), actor: &actor, key: None, prev: None, event };
            drafts.push((subject, version + 1, expected, id, encode(&draft).unwrap()));
        }
        let log = self.log;
        let stored =
            futures_util::stream::iter(drafts).map(|(subject, version, expected, id, bytes)| async move {
                match log.append(&subject, expected, id, bytes).await.unwrap() {
                    Appended::Stored { sequence } => (subject.to_string(), (version, sequence)),
                    Appended::LostRace => panic!("nobody else writes"),
                }
            });
        let stored: Vec<_> = stored.buffer_unordered(64).collect().await;
        self.subjects.extend(stored);
    }

    async fn write(&mut self, records: u64) {
        let epoch = domain::EpochId::from_uuid(id(10, 1));
        let all = 0..ACCOUNTS;
        self.append_all(all.clone().map(grant).collect()).await;
        let (mut call, mut leases) = (0, 0);
        while call < records {
            // A lease for each account, all of its usage, and its end.
            let first = leases;
            leases += ACCOUNTS;
            let granted = all.clone().map(|of| {
                let it = LeaseGranted {
                    lease: lease(first + of),
                    epoch,
                    scope: Scope::Account,
                    credits: credits("1000"),
                    ttl_ms: 60_000,
                };
                Event::Account(account(of), AccountEvent::LeaseGranted(it))
            });
            self.append_all(granted.collect()).await;
            let mut spent = vec![(0, Credits::ZERO); usize::try_from(ACCOUNTS).unwrap()];
            let end = (call + ACCOUNTS * RECORDS_OF_A_LEASE).min(records);
            while call < end {
                let of_report = (call..end.min(call + RECORDS_OF_A_REPORT)).map(|call| {
                    let of = call * 7_919 % ACCOUNTS;
                    let when = at("2026-11-22T10:00:00Z").plus_ms(i64::try_from(call * 36).unwrap());
                    let model =
                        ["claude-sonnet-4", "gemini-2.5-pro", "gpt-5"][usize::try_from(call % 3).unwrap()];
                    let usage = usage(call, model, call % 5_000, call % 900, when);
                    let (n, spent) = &mut spent[usize::try_from(of).unwrap()];
                    (*n, *spent) = (*n + 1, spent.checked_add(usage.charge).unwrap());
                    record(account(of), lease(first + of), *n, *spent, usage)
                });
                let report =
                    UsageReported { batch: BatchId::from_uuid(id(11, call)), records: of_report.collect() };
                self.append_all(vec![Event::Node(epoch, NodeEvent::UsageReported(report))]).await;
                call = end.min(call + RECORDS_OF_A_REPORT);
            }
            let ended = all.clone().zip(&spent).map(|(of, (count, spent))| {
                let it = LeaseClosed {
                    lease: lease(first + of),
                    spent: *spent,
                    count: *count,
                    by: Closer::Holder,
                };
                Event::Account(account(of), AccountEvent::LeaseClosed(it))
            });
            self.append_all(ended.collect()).await;
        }
    }
}

fn grant(of: u64) -> Event {
    let it = domain::account::event::CreditGranted {
        grant: domain::GrantId::from_uuid(id(8, of)),
        source: domain::account::event::GrantSource::Signup,
        credits: credits("1000000"),
        reason: None,
    };
    Event::Account(account(of), AccountEvent::CreditGranted(it))
}

fn now() -> domain::Moment {
    at("2026-11-22T10:00:00Z")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: it takes minutes and proves nothing by itself"]
async fn rebuild_bench() {
    let records = number("NEXUSROUTE_BENCH_RECORDS", 1_000_000);
    let rounds = number("NEXUSROUTE_BENCH_ROUNDS", 3);
    let server = LogServer::start().await;
    let begun = Instant::now();
    Writer { log: &server.log, subjects: BTreeMap::new(), ids: 0 }.write(records).await;
    let last = server.log.identity().await.unwrap().last_sequence;
    println!("{records} usage records in {last} messages, written in {:.0} s", begun.elapsed().as_secs_f64());
    let rate = |time| rate(records, time);
    for on in databases() {
        let below = on.program().map(Server::start_durable);
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let test = TestDatabase::for_bench(on, below.as_ref()).await;
            let (begun, used) = (Instant::now(), processor_time());
            let options = RebuildOptions { replace: true, ..RebuildOptions::default() };
            let report = rebuild(&test.db, &server.log, &options).await.unwrap();
            let (rebuilt, used) = (begun.elapsed(), processor_time() - used);
            assert_eq!(
                (report.outcome, report.position, report.records),
                (RebuildOutcome::Swapped, last, records)
            );
            let raw = TestDatabase::for_bench(on, below.as_ref()).await;
            let inserted = insert_raw(&test.db, &raw.db).await;
            let micros = |time: Duration| time.as_micros() / u128::from(records);
            ratios.push(inserted.as_secs_f64() / rebuilt.as_secs_f64());
            let begun = Instant::now();
            let sums = checksum(&test.db).await.unwrap();
            let summed = begun.elapsed();
            assert_eq!(checksum(&raw.db).await.unwrap().tables, sums.tables);
            println!(
                "{on:?}: rebuilt {:>6.0}/s ({} us of our processor time each; filled {} ms, indexed {} ms, swapped {} ms), \
                 raw {:>6.0}/s; checksum {:>6.0}/s",
                rate(rebuilt),
                micros(used),
                report.filled_ms,
                report.indexed_ms,
                report.swapped_ms,
                rate(inserted),
                rate(summed),
            );
            if ratios.len() == 1 {
                let begun = Instant::now();
                let verified = verify_tables(&test.db, &server.log, &VerifyOptions::default()).await.unwrap();
                assert!(verified.is_equal());
                println!("{on:?}: verified {:>6.0}/s", rate(begun.elapsed()));
            }
        }
        println!("{on:?}: rebuild to raw insert, median of {rounds} rounds: {:.2}", median(ratios));
    }
    server.local.stop().await;
}
