//! A million calls: how long the pages and filters of the log of calls take, and by which index (`make bench-usage-list`; the
//! tests ask the same of some thousands).

use super::query::{ORDER, listed};
use super::*;
use crate::page::paged;
use crate::testing::*;
use crate::{Database, Dialect, Paging};
use domain::{Moment, Outcome};
use std::time::{Duration, Instant};

/// What nobody waits longer for.
const LIMIT: Duration = Duration::from_millis(300);
const BEGIN: &str = "2026-10-01T00:00:00Z";
/// Between two calls, so that a million take about a month.
const STEP_MICROS: i64 = 2_600_000;

/// Account 1 made nine of ten calls; the others share the rest. Of its calls, all but the oldest fifty are by four keys, of eight
/// models, and were completed or failed at a provider; the oldest fifty are by another key, of another model, and were refused.
async fn fill(db: &Database, calls: u64) {
    let mut log = TestLog::default();
    log.at(BEGIN).granted(account(1), 1, "100").leased(account(1), 1, "50");
    let call = usage(2, "claude-sonnet-4", 1_200, 345, at(BEGIN));
    let charge = call.charge;
    log.reported(vec![record(account(1), lease(1), 1, charge, call)]);
    apply_in(db, &log.messages, 10).await;
    let on = db.dialect();
    let series = match on {
        Dialect::Sqlite => {
            format!("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {calls})")
        }
        Dialect::Postgres => {
            format!("WITH s AS (SELECT i FROM generate_series(CAST(1 AS BIGINT), {calls}) AS g(i))")
        }
        Dialect::MySql => format!("WITH s AS (SELECT seq AS i FROM seq_1_to_{calls})"),
    };
    let joined = |first: &str, rest: &str| match on {
        Dialect::Sqlite | Dialect::Postgres => format!("'{first}' || {rest}"),
        Dialect::MySql => format!("CONCAT('{first}', {rest})"),
    };
    // As `testing::id` makes them: the number stands in the last twelve digits.
    let uuid = |kind: u8, number: &str| {
        let digits = match on {
            Dialect::Sqlite => format!("printf('%012x', {number})"),
            Dialect::Postgres => format!("lpad(to_hex({number}), 12, '0')"),
            Dialect::MySql => format!("LPAD(LOWER(HEX({number})), 12, '0')"),
        };
        joined(&id(kind, 0).to_string()[..24], &digits)
    };
    let columns =
        "tokens, price_version, unit_prices, multiplier, charge, cost, cost_prices, paid, uncovered, late";
    let more = "source, stream, status, ttft_ms, duration_ms, attempts, spent, event_seq, reported_at";
    let rare = "i <= 500 AND i % 10 = 1";
    let rows = format!(
        "INSERT INTO usage_records (lease, n, account, request_id, at, key_id, model, provider, upstream_model, \
         endpoint, {columns}, outcome, {more}) {series} \
         SELECT {}, i, {}, {}, {} + i * {STEP_MICROS}, {}, CASE WHEN {rare} THEN 'model-rare' ELSE {} END, \
         provider, upstream_model, endpoint, {columns}, \
         CASE WHEN {rare} THEN 'refused' WHEN i % 100 = 7 THEN 'provider_error' ELSE 'completed' END, {more} \
         FROM s, (SELECT * FROM usage_records WHERE n = 1) AS one",
        uuid(3, "1000 + i - i % 100"),
        uuid(1, "CASE WHEN i % 10 = 0 THEN 2 + i % 997 ELSE 1 END"),
        uuid(4, "1000 + i"),
        at(BEGIN).micros(),
        uuid(5, &format!("CASE WHEN {rare} THEN 9 ELSE i % 4 END")),
        joined("model-", "(i % 8)"),
    );
    db.execute(&rows, &[]).await.unwrap();
    db.execute("DELETE FROM usage_hourly", &[]).await.unwrap();
    let sums = TOKEN_COLUMNS.join(", ");
    let day = match on {
        Dialect::Sqlite => "date(at / 1000000, 'unixepoch')",
        Dialect::Postgres => "to_char(to_timestamp(at / 1000000), 'YYYY-MM-DD')",
        Dialect::MySql => "DATE(FROM_UNIXTIME(at DIV 1000000))",
    };
    let (group, fives) = (
        format!("account, at - at % 3600000000, {day}, key_id, model, provider"),
        TOKEN_COLUMNS.map(|_| "5").join(", "),
    );
    let hourly = format!(
        "INSERT INTO usage_hourly (account, hour, day, key_id, model, provider, calls, errors, {sums}, charge, paid, \
         uncovered, cost) SELECT {group}, COUNT(*), 0, {fives}, 7, 7, 0, 7 FROM usage_records GROUP BY {group}"
    );
    db.execute(&hourly, &[]).await.unwrap();
    let analyse = match on {
        // Nobody analyses a gateway's SQLite.
        Dialect::Sqlite => return,
        Dialect::Postgres => "ANALYZE usage_records, usage_hourly",
        Dialect::MySql => "ANALYZE TABLE usage_records, usage_hourly",
    };
    db.fetch_all(analyse, &[]).await.unwrap();
}

/// Every list that is asked for, by name: a page from the newest, from the middle and from the end, and each filter.
async fn lists(db: &Database, calls: u64) -> Vec<(&'static str, UsageFilter, Paging)> {
    let owner = UsageFilter { account: Some(account(1)), ..UsageFilter::default() };
    let moment = |part: i64| {
        Moment::from_micros(at(BEGIN).micros() + STEP_MICROS * i64::try_from(calls).unwrap() * part / 100)
    };
    let first = Paging { after: None, limit: 50 };
    let after = async |part: i64| {
        let before = UsageFilter { to: Some(moment(part)), ..owner.clone() };
        let page = list(db, &before, &Paging { after: None, limit: 1 }).await.unwrap();
        Paging { after: page.next_cursor, limit: 50 }
    };
    let (middle, end) = (after(50).await, after(2).await);
    let rare = UsageFilter { model: Some(label("model-rare")), ..owner.clone() };
    vec![
        ("the newest", owner.clone(), first.clone()),
        ("from the middle on", owner.clone(), middle.clone()),
        ("the oldest", owner.clone(), end),
        ("by a busy key", UsageFilter { key: Some(key(1)), ..owner.clone() }, first.clone()),
        ("by a key used long ago", UsageFilter { key: Some(key(9)), ..owner.clone() }, first.clone()),
        ("of a common model", UsageFilter { model: Some(label("model-3")), ..owner.clone() }, first.clone()),
        ("of a model used long ago", rare.clone(), first.clone()),
        ("of a model used long ago, from the middle on", rare, middle.clone()),
        (
            "that failed",
            UsageFilter { outcome: Some(Outcome::ProviderError), ..owner.clone() },
            first.clone(),
        ),
        (
            "that were refused, long ago",
            UsageFilter { outcome: Some(Outcome::Refused), ..owner.clone() },
            first.clone(),
        ),
        (
            "of one day in the middle",
            UsageFilter { from: Some(moment(50)), to: Some(moment(53)), ..owner.clone() },
            first.clone(),
        ),
        (
            "by key, model, outcome and time together, of which there are none",
            UsageFilter {
                key: Some(key(1)),
                model: Some(label("model-2")),
                outcome: Some(Outcome::Completed),
                from: Some(moment(0)),
                to: Some(moment(100)),
                ..owner.clone()
            },
            first.clone(),
        ),
        (
            "of somebody with few",
            UsageFilter { account: Some(account(12)), ..UsageFilter::default() },
            first.clone(),
        ),
        ("of everybody", UsageFilter::default(), first),
        ("of everybody, from the middle on", UsageFilter::default(), middle),
    ]
}

/// How the database means to answer a list, a line for each step.
async fn plan(db: &Database, filter: &UsageFilter, paging: &Paging) -> String {
    let query = paged(listed(filter), ORDER, paging);
    let (word, column) = match db.dialect() {
        Dialect::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
        Dialect::Postgres => ("EXPLAIN", "QUERY PLAN"),
        Dialect::MySql => ("EXPLAIN", "key"),
    };
    let rows = db.explain(word, &query).await.unwrap();
    let steps = rows.iter().map(|row| row.text(column).unwrap_or_default());
    let mut steps: Vec<String> = steps.collect();
    if db.dialect() == Dialect::MySql {
        steps.extend(rows.iter().map(|row| row.text("Extra").unwrap_or_default()));
    }
    steps.join("\n")
}

/// Which index the plan goes by. Panics where it reads the whole table, or sorts what the index has in order: a filter that
/// leaves few rows may sort those.
fn index_of(name: &str, filter: &UsageFilter, plan: &str) -> &'static str {
    let is_narrow = filter.key.is_some() || filter.model.is_some() || filter.outcome.is_some();
    let sorts = ["TEMP B-TREE", "Sort", "filesort"].iter().any(|word| plan.contains(word));
    assert!(is_narrow || !sorts, "{name}:\n{plan}");
    let indexes = ["usage_records_list", "usage_records_newest"];
    let found = indexes.into_iter().find(|index| plan.contains(index));
    found.unwrap_or_else(|| panic!("{name}:\n{plan}"))
}

async fn every_list_of_calls_is_read_from_an_index(on: On) {
    let test = TestDatabase::on(on).await;
    let calls = 20_000;
    fill(&test.db, calls).await;
    for (name, filter, paging) in lists(&test.db, calls).await {
        index_of(name, &filter, &plan(&test.db, &filter, &paging).await);
    }
    // The same tables, and what the filter of few says is what it shows, page by page.
    let rare =
        UsageFilter { account: Some(account(1)), model: Some(label("model-rare")), ..UsageFilter::default() };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = list(&test.db, &rare, &Paging { after, limit: 20 }).await.unwrap();
        seen.extend(page.items.iter().map(|it| it.record.usage.at));
        after = page.next_cursor;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 50);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
}

on_every_database!(every_list_of_calls_is_read_from_an_index);

/// The slower of an act's later runs, after one that warms it up, and the first run.
async fn timed(mut act: impl AsyncFnMut()) -> (Duration, Duration) {
    let mut runs = Vec::new();
    for _ in 0..6 {
        let begun = Instant::now();
        act().await;
        runs.push(begun.elapsed());
    }
    (runs[0], runs.into_iter().skip(1).max().unwrap())
}

#[tokio::test]
#[ignore = "a measurement: `make bench-usage-list`"]
async fn bench_a_million_calls() {
    let calls = number("NEXUSROUTE_BENCH_RECORDS", 1_000_000);
    let mut slow = Vec::new();
    for on in databases() {
        let server = on.program().map(Server::start_durable);
        let test = TestDatabase::for_bench(on, server.as_ref()).await;
        let begun = Instant::now();
        fill(&test.db, calls).await;
        println!(
            "{on:?}: {calls} calls, filled in {} s; milliseconds: first, slowest of five more",
            begun.elapsed().as_secs()
        );
        let mut told = |name: &str, (first, slowest): (Duration, Duration), plan: &str| {
            println!("{:>7} {:>7}  {name}{plan}", first.as_millis(), slowest.as_millis());
            if slowest > LIMIT {
                slow.push(format!("{on:?}: {name}"));
            }
        };
        for (name, filter, paging) in lists(&test.db, calls).await {
            let time = timed(async || drop(list(&test.db, &filter, &paging).await.unwrap())).await;
            let index = index_of(name, &filter, &plan(&test.db, &filter, &paging).await);
            told(name, time, &format!(" [{index}]"));
        }
        told(
            "a receipt",
            timed(async || drop(find(&test.db, request(1_077)).await.unwrap().unwrap())).await,
            "",
        );
        let owner = StatsFilter { account: Some(account(1)), ..StatsFilter::default() };
        for by in [UsageBy::Hour, UsageBy::Day, UsageBy::Model, UsageBy::Key] {
            let time = timed(async || drop(stats(&test.db, &owner, by).await.unwrap())).await;
            told(&format!("an owner's statistics by {by:?}"), time, "");
        }
        let all = StatsFilter::default();
        let time = timed(async || drop(stats(&test.db, &all, UsageBy::Provider).await.unwrap())).await;
        told("everybody's by provider", time, "");
    }
    assert!(slow.is_empty(), "slower than {LIMIT:?}: {slow:?}");
}
