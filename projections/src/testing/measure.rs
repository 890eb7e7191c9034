//! What measurements share: the yardstick, and how rounds become one number.

use super::On;
use crate::checksum::TABLES;
use crate::database::Cell;
use crate::{Database, Value};
use futures_util::TryStreamExt as _;
use std::time::{Duration, Instant};

/// Rows of one transaction of the raw insert.
const RAW_ROWS: usize = 10_000;

/// The binary's allocator: the system's would make measurements look worse than what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The processor time that this process has used, children not counted: on a busy machine the clock on the wall says little.
pub(crate) fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Fields 14 and 15, in hundredths of a second, behind a name that may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].into_iter().map(|at| fields[at].parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// A number from the environment.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap())
}

/// The databases to measure: all, or those that `NEXUSROUTE_BENCH_ON` names (`Sqlite,Postgres`).
pub(crate) fn databases() -> Vec<On> {
    let wanted = std::env::var("NEXUSROUTE_BENCH_ON").ok();
    let named =
        |on: &On| wanted.as_ref().is_none_or(|names| names.split(',').any(|it| it == format!("{on:?}")));
    On::ALL.into_iter().filter(named).collect()
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// So many a second.
#[expect(clippy::float_arithmetic, reason = "a measurement, not money")]
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / time.as_secs_f64()
}

/// Inserts all projected rows of one database into another's empty tables, indexes and all, in the bulk form of each and in
/// large transactions; the time that took, without reading them.
pub(crate) async fn insert_raw(from: &Database, into: &Database) -> Duration {
    let mut took = Duration::ZERO;
    let mut tx = from.snapshot().await.unwrap();
    for (table, _) in TABLES {
        let sql = format!("SELECT * FROM {table}");
        let mut rows = tx.stream(&sql).try_chunks(RAW_ROWS);
        while let Some(chunk) = rows.try_next().await.unwrap() {
            let columns: Vec<&str> = chunk[0].columns();
            let mut values: Vec<Value> = Vec::with_capacity(columns.len() * chunk.len());
            for row in &chunk {
                values.extend((0..columns.len()).map(|at| match row.cell(at).unwrap() {
                    Cell::Null => Value::Null,
                    Cell::Int(value) => value.into(),
                    Cell::Text(text) => text.into(),
                }));
            }
            let begun = Instant::now();
            let mut tx = into.begin().await.unwrap();
            tx.insert(table, &columns, &values, "").await.unwrap();
            tx.commit().await.unwrap();
            took += begun.elapsed();
        }
    }
    tx.rollback().await.unwrap();
    took
}
