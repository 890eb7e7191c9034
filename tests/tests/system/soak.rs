//! Soak: hours of mixed load with something dying all the while, and one process that lives through all of it and must not grow.
//!
//! Two gateways on one log and one PostgreSQL. Streams, whole answers, top-ups by the sandbox and reads of the console go to both,
//! at seven tenths of what as many callers could do. One gateway, the nats-server or the database is killed (SIGKILL) every few
//! seconds, and comes back. The other gateway is never killed: its memory must stay flat, and at rest it must not hold more files
//! and tasks than after the first round. Every round ends as those of chaos do, in the judge; the whole in `ledger verify` and
//! a rebuild that equals.
//!
//! `make soak` runs it for an hour, `DURATION=…` seconds of it otherwise; a few without.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use system_tests::{
    chaos::{Setting, Stage, load::Manner, seed, stage::DatabaseServer},
    eventually,
    http::Api,
};

/// Without `DURATION`.
const SHORT: u64 = 6;
/// A round of load. What callers saw is judged after it.
const ROUND: Duration = Duration::from_secs(60);
/// The gateway that lives.
const WITNESS: usize = 0;
const CALLERS: usize = 24;
/// What a pool of connections or a client's idle connections may come to between two moments of rest.
const CONNECTIONS: u64 = 32 + 2 * CALLERS as u64;
/// An allocator's noise. The rest is a share of what the process holds.
const NOISE_BYTES: u64 = 24 << 20;
/// Whatever is waited for on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(120);

/// What the page of metrics says of a process at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    memory: u64,
    files: u64,
    tasks: u64,
}

/// What a page of metrics says of the process; `None`: it did not answer.
async fn sample(api: &Api, begun: Instant) -> Option<Sample> {
    let page =
        api.try_send(reqwest::Method::GET, "/metrics", None).await.ok().filter(|it| it.status == 200)?;
    let value = |name: &str| {
        let line = page.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|text| text.split('.').next()?.parse::<u64>().ok())
    };
    Some(Sample {
        at: begun.elapsed(),
        memory: value("process_resident_memory_bytes")?,
        files: value("process_open_fds")?,
        tasks: value("nexusroute_tasks")?,
    })
}

/// By how much memory grew, by the line of least squares through all samples: bytes from the first to the last.
fn growth(samples: &[Sample]) -> i64 {
    let count = samples.len() as i128;
    let x = |it: &Sample| it.at.as_millis() as i128;
    let y = |it: &Sample| i128::from(it.memory);
    let mean = |of: &dyn Fn(&Sample) -> i128| samples.iter().map(of).sum::<i128>() / count.max(1);
    let (mean_x, mean_y) = (mean(&x), mean(&y));
    let above: i128 = samples.iter().map(|it| (x(it) - mean_x) * (y(it) - mean_y)).sum();
    let below: i128 = samples.iter().map(|it| (x(it) - mean_x).pow(2)).sum();
    let span = samples.last().map_or(0, x) - samples.first().map_or(0, x);
    i64::try_from(above * span / below.max(1)).unwrap()
}

#[test]
fn growth_is_told_from_noise() {
    let samples = |memory: fn(u64) -> u64| -> Vec<Sample> {
        (0..100)
            .map(|n| Sample { at: Duration::from_secs(n), memory: memory(n), files: 0, tasks: 0 })
            .collect()
    };
    assert_eq!(growth(&samples(|n| 50_000_000 + n * 1_000_000)), 99_000_000);
    assert!(growth(&samples(|n| 50_000_000 + n % 2 * 1_000_000)).abs() < 50_000);
    assert_eq!(growth(&[]), 0);
}

/// What dies.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Gateway,
    Nats,
    Database,
}

const VICTIMS: [Victim; 3] = [Victim::Gateway, Victim::Nats, Victim::Database];

async fn dies_and_comes_back(stage: &mut Stage, victim: Victim) {
    let pause = stage.chance.millis(0, 300);
    match victim {
        Victim::Gateway => {
            stage.kill(1).await;
            stage.revive(1).await;
        }
        Victim::Nats => {
            let nats = stage.nats.as_mut().unwrap();
            nats.kill().await;
            tokio::time::sleep(pause).await;
            nats.come_back().await;
        }
        Victim::Database => {
            stage.kill_database();
            tokio::time::sleep(pause).await;
            stage.revive_database();
        }
    }
    stage.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_and_deaths_for_hours_nothing_grows_and_nothing_is_lost() {
    let named = std::env::var("DURATION").ok();
    let is_short = named.is_none();
    let seconds = named.map_or(SHORT, |text| text.parse().expect("DURATION is a number of seconds"));
    let manner = Manner { callers: CALLERS, tokens: 40, pause_ms: 20, pays: true, percent: 70, reads: true };
    let setting = Setting {
        nodes: 2,
        nats: true,
        database: Some(DatabaseServer::Postgres),
        // A line for each call would fill the memory of whoever keeps the output.
        environment: &[("NEXUSROUTE_LOG_LEVEL", "info,relay=warn,async_nats=warn")],
        manner,
        ..Setting::embedded("soak", seed(11))
    };
    let mut stage = Stage::set(setting).await;
    let (begun, total) = (Instant::now(), Duration::from_secs(seconds));
    // At least two: a leak is what is there after the second round and was not after the first.
    let round = ROUND.min(total / 2);
    let (samples, mut at_rest) = (Mutex::new(Vec::new()), Vec::<Sample>::new());
    let (mut calls, mut pages, mut deaths) = (0, 0, 0);
    while begun.elapsed() < total || at_rest.len() < 2 {
        let (load, from) = (stage.load(), Instant::now());
        let witness = stage.gateway(WITNESS).nobody();
        let watching = async {
            loop {
                let now = sample(&witness, begun).await;
                samples.lock().unwrap().extend(now);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let dying = async {
            while from.elapsed() < round {
                let longest = if is_short { 1_000 } else { 10_000 };
                tokio::time::sleep(stage.chance.millis(longest / 4, longest)).await;
                // Each once, then any.
                let any = stage.chance.index(VICTIMS.len());
                let victim = VICTIMS[if deaths < VICTIMS.len() { deaths } else { any }];
                dies_and_comes_back(&mut stage, victim).await;
                load.more_are_answered(CALLERS).await;
                deaths += 1;
            }
        };
        tokio::select! {
            () = watching => unreachable!("it watches until it is told otherwise"),
            () = dying => {}
        }
        let seen = load.stop().await;
        calls += seen.complete();
        pages += seen.pages.load(std::sync::atomic::Ordering::Relaxed);
        stage.judge(&seen).await;
        let witness = stage.gateway(WITNESS).nobody();
        at_rest.push(
            eventually("the witness tells of itself", LONG, async || sample(&witness, begun).await).await,
        );
    }
    let samples = samples.into_inner().unwrap();
    // What is there to stay (pools, caches, prepared statements) comes in the first third.
    let warm = &samples[samples.len() / 3..];
    let typical = {
        let mut all: Vec<u64> = warm.iter().map(|it| it.memory).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (grown, mib) = (growth(warm), |bytes: u64| bytes >> 20);
    let (first, last) = (at_rest[0], at_rest[at_rest.len() - 1]);
    eprintln!(
        "soak: {} s, {calls} calls, {pages} pages, {deaths} deaths; memory {} MiB, grown by {} KiB over the last {} s; at rest {} files \
         and {} tasks after the first round, {} and {} after the last",
        begun.elapsed().as_secs(),
        mib(typical),
        grown >> 10,
        (warm[warm.len() - 1].at - warm[0].at).as_secs(),
        first.files,
        first.tasks,
        last.files,
        last.tasks,
    );
    assert!(pages > 0 && calls > CALLERS, "{pages} pages, {calls} calls");
    // A short run ends before the first tables and pools have their size: it only tells a flood.
    let allowed = NOISE_BYTES + typical / if is_short { 1 } else { 10 };
    assert!(grown < i64::try_from(allowed).unwrap(), "memory grew by {} KiB: {warm:?}", grown >> 10);
    assert!(last.files <= first.files + CONNECTIONS, "files: {at_rest:?}");
    assert!(last.tasks <= first.tasks + CONNECTIONS, "tasks: {at_rest:?}");
    stage.ends().await;
}
