//! A million lines of the journal into a file of each format: how long, and in how much memory (`make bench-exports`).

use super::making::make;
use super::{Books, Progress};
use crate::directory::export::{ExportFormat, ExportKind, Wanted};
use projections::Database;
use std::time::Instant;

const LINES: u32 = 1_000_000;
/// What the process may ever have held, in KiB: the promise.
const MOST_KIB: u64 = 200 * 1024;

/// What the kernel says of this process's memory, in KiB: `VmHWM`, the most it ever was.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: `make bench-exports`"]
async fn bench_a_million_lines() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
    let db = Database::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    // Gifts to ten thousand accounts, two lines each, over a month; filled where they are, for what this process holds counts.
    let account = "printf('0197a000-0000-7000-8000-%012x', seq % 10000)";
    let day = "printf('2026-10-%02d', 1 + seq % 31)";
    let entries = format!(
        "WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < {}) \
         INSERT INTO journal_entries SELECT seq, line, 1790812800000000 + (seq % 31) * 86400000000 + seq, {day}, \
         'credit_granted', {account}, CASE line WHEN 0 THEN 'expense:promotions' ELSE 'liability:credits:' || {account} END, \
         'credits', CASE line WHEN 0 THEN 1 ELSE -1 END * (1000000000 + seq) FROM n, (SELECT 0 AS line UNION ALL SELECT 1)",
        LINES / 2
    );
    db.execute(&entries, &[]).await.unwrap();
    let daily = "INSERT INTO journal_daily SELECT day, unit, book, COUNT(*), SUM(MAX(amount, 0)) / 1000000000, \
                 SUM(MAX(amount, 0)) % 1000000000, SUM(MAX(-amount, 0)) / 1000000000, SUM(MAX(-amount, 0)) % 1000000000 \
                 FROM journal_entries GROUP BY day, unit, book";
    db.execute(daily, &[]).await.unwrap();
    println!(
        "{LINES} lines of the journal in SQLite; peak before the first export {} MiB",
        peak_kib() / 1024
    );
    let books = Books { db, ledger: None, zone: chrono::FixedOffset::east_opt(0).unwrap() };
    for format in [ExportFormat::Csv, ExportFormat::Beancount, ExportFormat::Parquet, ExportFormat::Xlsx] {
        let wanted = Wanted {
            kind: ExportKind::Journal,
            format,
            from: "2026-10-01".parse().unwrap(),
            to: "2026-10-31".parse().unwrap(),
            month: None,
        };
        let (path, progress, started) = (folder.path().join("file"), Progress::default(), Instant::now());
        let made = make(&books, &wanted, &path, &progress).await.unwrap();
        assert_eq!(made.rows, u64::from(LINES));
        println!(
            "{format:>10}: {:.1} s, {} MB, peak of the process so far {} MiB",
            started.elapsed().as_secs_f64(),
            made.bytes / 1_000_000,
            peak_kib() / 1024
        );
    }
    assert!(peak_kib() <= MOST_KIB, "{} KiB", peak_kib());
}
