//! Rebuilds from a real log, on every database.

use super::schema::{NEW, OLD};
use super::*;
use crate::compare::DifferenceKind;
use crate::testing::*;
use crate::{checksum, verify_tables};
use futures_util::future::join;
use std::collections::BTreeMap;

on_every_database! {
    tables_that_are_right_are_found_equal_and_swapped,
    however_little_is_kept_in_memory_the_tables_are_the_same,
    tables_that_are_wrong_are_named_and_replaced_only_when_asked,
    a_dry_run_changes_nothing,
    after_swaps_the_schema_is_what_the_migrations_make,
    projectors_and_readers_go_on_while_tables_are_swapped,
    a_table_that_was_dropped_comes_back,
    two_rebuilds_never_run_at_once,
    a_rebuild_given_up_anywhere_harms_nothing_and_is_cleaned_up,
    tables_of_another_log_are_replaced_only_when_asked,
    another_time_zone_is_a_difference,
    a_message_that_cannot_be_applied_stops_the_rebuild_and_changes_nothing,
}

fn options() -> RebuildOptions {
    RebuildOptions { time_zone: zone(8), ..RebuildOptions::default() }
}

fn replace() -> RebuildOptions {
    RebuildOptions { replace: true, ..options() }
}

fn busy(seed: u64) -> TestLog {
    let mut log = TestLog::busy_week(seed);
    log.oddities();
    log
}

/// What the tables are when nothing happens to them.
async fn undisturbed(log: &TestLog, server: &LogServer) -> crate::Checksums {
    let test = TestDatabase::on(On::Sqlite).await;
    server.apply_all(&test.db).await;
    let sums = checksum(&test.db).await.unwrap();
    assert_eq!(sums.position, u64::try_from(log.messages.len()).unwrap());
    sums
}

/// Tables that nobody reads.
async fn leftovers(db: &Database) -> Vec<String> {
    let sql = match db.dialect() {
        Dialect::Sqlite => "SELECT name FROM sqlite_schema",
        Dialect::Postgres => "SELECT relname::text AS name FROM pg_class",
        Dialect::MySql => {
            "SELECT CAST(table_name AS CHAR) AS name FROM information_schema.tables WHERE table_schema = DATABASE()"
        }
    };
    let names = db.fetch_all(sql, &[]).await.unwrap().into_iter().map(|row| row.text("name").unwrap());
    names.filter(|name| name.starts_with(NEW) || name.starts_with(OLD)).collect()
}

async fn tables_that_are_right_are_found_equal_and_swapped(on: On) {
    let (log, mut server) = (busy(31), LogServer::start().await);
    let last = server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let before = checksum(&test.db).await.unwrap();
    let report = rebuild(&test.db, &server.log, &options()).await.unwrap();
    assert_eq!((report.outcome, report.position), (RebuildOutcome::Swapped, last));
    assert!(report.is_equal(), "{report:?}");
    let tables = report.comparison.unwrap();
    assert_eq!(tables.position, last);
    for (compared, summed) in tables.tables.iter().zip(&before.tables) {
        assert_eq!((compared.table, compared.rows, compared.equal), (summed.table, summed.rows, summed.rows));
    }
    assert_eq!(checksum(&test.db).await.unwrap(), before);
    assert_eq!(leftovers(&test.db).await, Vec::<String>::new());
    server.local.stop().await;
}

async fn however_little_is_kept_in_memory_the_tables_are_the_same(on: On) {
    let (log, mut server) = (busy(42), LogServer::start().await);
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let dry = RebuildOptions { dry_run: true, ..options() };
    for (transaction, kept, waiting) in [(50, 1_000, 1_000), (50, 1_000, 40), (50, 20, 1_000), (200, 1, 1)] {
        let limits = Limits { transaction, kept, waiting };
        let report = rebuild_within(&test.db, &server.log, &dry, limits).await.unwrap();
        assert!(report.is_equal(), "{limits:?}: {report:?}");
    }
    server.local.stop().await;
}

async fn tables_that_are_wrong_are_named_and_replaced_only_when_asked(on: On) {
    let (log, mut server) = (busy(32), LogServer::start().await);
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let right = checksum(&test.db).await.unwrap();
    let balance = "UPDATE account_balances SET used = used + 1 WHERE account = ?";
    test.db.execute(balance, &[account(1).into()]).await.unwrap();
    test.db.execute("DELETE FROM top_up_orders WHERE order_id = ?", &[order(770_003).into()]).await.unwrap();
    let stranger = "INSERT INTO account_balances VALUES ('stranger', 1, 2, 3, 4, 5, 6)";
    test.db.execute(stranger, &[]).await.unwrap();
    let wrong = checksum(&test.db).await.unwrap();

    let refused = rebuild(&test.db, &server.log, &options()).await.unwrap();
    assert_eq!(refused.outcome, RebuildOutcome::Differs);
    assert!(!refused.is_equal());
    assert_eq!(checksum(&test.db).await.unwrap(), wrong);
    assert_eq!(leftovers(&test.db).await, Vec::<String>::new());
    let named: Vec<_> = refused
        .comparison
        .as_ref()
        .unwrap()
        .tables
        .iter()
        .flat_map(|it| {
            it.differences
                .iter()
                .map(|named| (it.table, named.kind, named.column.as_deref(), named.key.clone()))
        })
        .collect();
    let expected = [
        ("account_balances", DifferenceKind::Different, Some("used"), format!("account={}", account(1))),
        ("account_balances", DifferenceKind::Extra, None, "account=stranger".to_owned()),
        (
            "top_up_orders",
            DifferenceKind::Missing,
            None,
            format!("account={}, order_id={}", account(77), order(770_003)),
        ),
    ];
    assert_eq!(named, expected);

    let replaced = rebuild(&test.db, &server.log, &replace()).await.unwrap();
    assert_eq!((replaced.outcome, replaced.is_equal()), (RebuildOutcome::Swapped, false));
    assert_eq!(replaced.comparison, refused.comparison);
    assert_eq!(checksum(&test.db).await.unwrap(), right);
    server.local.stop().await;
}

async fn a_dry_run_changes_nothing(on: On) {
    let (log, mut server) = (TestLog::busy_week(33), LogServer::start().await);
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let (before, schema) = (checksum(&test.db).await.unwrap(), catalogue(&test.db).await);
    let dry = RebuildOptions { dry_run: true, ..replace() };
    let report = rebuild(&test.db, &server.log, &dry).await.unwrap();
    assert_eq!((report.outcome, report.is_equal()), (RebuildOutcome::DryRun, true));
    assert_eq!((checksum(&test.db).await.unwrap(), catalogue(&test.db).await), (before, schema));
    server.local.stop().await;
}

/// All that the database knows of its tables and indexes.
async fn catalogue(db: &Database) -> Vec<String> {
    let queries: &[&str] = match db.dialect() {
        Dialect::Sqlite => &[
            "SELECT type || ' ' || name || ' of ' || tbl_name || ': ' || COALESCE(sql, '') AS line FROM sqlite_schema",
        ],
        Dialect::Postgres => &[
            "SELECT c.relname || ' ' || c.relkind::text || ' ' || c.relpersistence::text || ' ' || \
             COALESCE(array_to_string(c.reloptions, ','), '') AS line FROM pg_class c \
             WHERE c.relnamespace = current_schema()::regnamespace",
            "SELECT indexdef || '' AS line FROM pg_indexes WHERE schemaname = current_schema()",
            "SELECT c.relname || '.' || a.attname || ' ' || a.attnum || ' ' || format_type(a.atttypid, a.atttypmod) \
             || ' ' || a.attnotnull || ' ' || a.attcollation || ' ' || a.attstorage::text AS line \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             WHERE c.relnamespace = current_schema()::regnamespace AND a.attnum > 0 AND c.relkind = 'r'",
            "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) AS line FROM pg_constraint \
             WHERE connamespace = current_schema()::regnamespace",
        ],
        Dialect::MySql => &[],
    };
    let mut lines = Vec::new();
    for sql in queries {
        lines.extend(db.fetch_all(sql, &[]).await.unwrap().iter().map(|row| row.text("line").unwrap()));
    }
    if db.dialect() == Dialect::MySql {
        let sql = "SELECT CAST(table_name AS CHAR) AS name FROM information_schema.tables WHERE table_schema = DATABASE()";
        for row in db.fetch_all(sql, &[]).await.unwrap() {
            let name = row.text("name").unwrap();
            let shown = db.fetch_one(&format!("SHOW CREATE TABLE {name}"), &[]).await.unwrap();
            lines.push(shown.text("Create Table").unwrap());
        }
    }
    lines.sort();
    lines
}

async fn after_swaps_the_schema_is_what_the_migrations_make(on: On) {
    let (log, mut server) = (TestLog::busy_week(34), LogServer::start().await);
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let fresh = catalogue(&TestDatabase::on(on).await.db).await;
    assert!(fresh.iter().any(|line| line.contains("usage_records_list")));
    let other = test.another().await;
    for round in 0..2 {
        // A connection that knows the tables from before finds the new ones.
        assert!(count(&other, "usage_records").await > 100);
        let report = rebuild(&test.db, &server.log, &options()).await.unwrap();
        assert_eq!(report.outcome, RebuildOutcome::Swapped);
        assert_eq!(catalogue(&test.db).await, fresh, "after swap {round}");
        assert_eq!(catalogue(&other).await, fresh);
        test.another().await.migrate().await.unwrap();
        let drop = match on {
            On::Sqlite | On::Postgres => "DROP INDEX usage_records_list",
            On::MariaDb => "DROP INDEX usage_records_list ON usage_records",
        };
        // What later migrations do: an index is found by its name. A rebuild makes it again.
        other.execute(drop, &[]).await.unwrap();
        let own = "CREATE INDEX own_index ON usage_records (request_id)";
        other.execute(own, &[]).await.unwrap();
        if on == On::Sqlite {
            let checked = test.another().await.fetch_all("PRAGMA integrity_check", &[]).await.unwrap();
            assert_eq!(
                checked.iter().map(|it| it.text("integrity_check").unwrap()).collect::<Vec<_>>(),
                ["ok"]
            );
            let plan = "EXPLAIN QUERY PLAN SELECT n FROM usage_records WHERE at > 5";
            let plan = other.fetch_one(plan, &[]).await.unwrap().text("detail").unwrap();
            assert!(plan.contains("usage_records_newest"), "{plan}");
        }
    }
    server.local.stop().await;
}

async fn projectors_and_readers_go_on_while_tables_are_swapped(on: On) {
    let (log, mut server) = (busy(35), LogServer::start().await);
    let test = TestDatabase::on(on).await;
    let others = [test.another().await, test.another().await];
    let begin = log.messages.len() / 3;
    server.pour_up_to(&log, begin).await;
    let projectors = [server.project(&test.db), server.project(&others[0])];
    let ledger_log = server.log.clone();
    let writing = async {
        for end in begin..=log.messages.len() {
            server.pour_up_to(&log, end).await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    let rebuilding = async {
        let mut swaps = 0;
        while !done.load(std::sync::atomic::Ordering::SeqCst) || swaps < 2 {
            let report = rebuild(&test.db, &ledger_log, &options()).await.unwrap();
            assert_eq!(report.outcome, RebuildOutcome::Swapped, "{report:?}");
            assert!(report.is_equal(), "{report:?}");
            swaps += 1;
        }
        swaps
    };
    let reading = async {
        let mut seen = 0;
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            // Never an error but one that passes, never half a table.
            match checksum(&others[1]).await {
                Ok(sums) => {
                    let rows: u64 = sums.tables.iter().map(|it| it.rows).sum();
                    assert!(sums.position == 0 || rows > 0, "{sums:?}");
                    seen += 1;
                }
                Err(error) => assert!(error.is_unavailable(), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        seen
    };
    let writing = async {
        writing.await;
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    let ((), (swaps, seen)) = Box::pin(join(writing, join(rebuilding, reading))).await;
    assert!(swaps > 1 && seen > 5, "{swaps} swaps and {seen} readings say little");
    let last = u64::try_from(log.messages.len()).unwrap();
    for projector in &projectors {
        assert!(projector.wait_for(last, FOREVER).await, "{:?}", projector.status());
        assert_eq!(projector.status().halted, None);
        projector.stop().await;
    }
    assert_eq!(checksum(&test.db).await.unwrap(), undisturbed(&log, &server).await);
    assert_eq!(leftovers(&test.db).await, Vec::<String>::new());
    server.local.stop().await;
}

async fn a_table_that_was_dropped_comes_back(on: On) {
    let (log, mut server) = (TestLog::busy_week(36), LogServer::start().await);
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let (before, schema) = (checksum(&test.db).await.unwrap(), catalogue(&test.db).await);
    for table in ["usage_records", "leases"] {
        test.db.execute(&format!("DROP TABLE {table}"), &[]).await.unwrap();
        let report = rebuild(&test.db, &server.log, &options()).await.unwrap();
        assert_eq!(report.outcome, RebuildOutcome::Differs);
        let report = rebuild(&test.db, &server.log, &replace()).await.unwrap();
        assert_eq!(report.outcome, RebuildOutcome::Swapped);
        let rows = before.tables.iter().find(|it| it.table == table).unwrap().rows;
        let compared = report.comparison.unwrap().tables.into_iter().find(|it| it.table == table).unwrap();
        assert_eq!((compared.rows, compared.missing), (0, rows));
        assert_eq!(
            (checksum(&test.db).await.unwrap(), catalogue(&test.db).await),
            (before.clone(), schema.clone())
        );
    }
    server.local.stop().await;
}

async fn two_rebuilds_never_run_at_once(on: On) {
    let (log, mut server) = (TestLog::busy_week(37), LogServer::start().await);
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    let other = test.another().await;
    server.apply_all(&test.db).await;
    let (some_options, log) = (options(), server.log.clone());
    let both = join(rebuild(&test.db, &log, &some_options), rebuild(&other, &log, &some_options)).await;
    let refused = |it: &Result<RebuildReport, RebuildError>| matches!(it, Err(RebuildError::UnderWay));
    assert!(refused(&both.0) ^ refused(&both.1), "{both:?}");
    // Whoever had the lock has let go of it.
    let report = rebuild(&other, &log, &some_options).await.unwrap();
    assert_eq!((report.outcome, report.is_equal()), (RebuildOutcome::Swapped, true));
    server.local.stop().await;
}

async fn a_rebuild_given_up_anywhere_harms_nothing_and_is_cleaned_up(on: On) {
    let (log, mut server) = (TestLog::busy_week(38), LogServer::start().await);
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let before = checksum(&test.db).await.unwrap();
    let mut given_up = 0;
    for wait_ms in (0..).map(|round| round * round * 3) {
        let process = test.another().await;
        let (log, options) = (server.log.clone(), options());
        let limit = Duration::from_millis(wait_ms);
        if tokio::time::timeout(limit, rebuild(&process, &log, &options)).await.is_ok() {
            break;
        }
        given_up += 1;
        // Readers wait out a swap that is being undone.
        let sums = loop {
            match checksum(&test.db).await {
                Ok(sums) => break sums,
                Err(error) => assert!(error.is_unavailable(), "{error:?}"),
            }
        };
        assert_eq!(sums, before, "given up after {wait_ms} ms");
    }
    assert!(given_up > 3);
    let report = loop {
        // The lock of one that was given up is gone in a moment.
        match rebuild(&test.db, &server.log, &options()).await {
            Err(RebuildError::UnderWay) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => break other.unwrap(),
        }
    };
    assert_eq!((report.outcome, report.is_equal()), (RebuildOutcome::Swapped, true));
    assert_eq!(leftovers(&test.db).await, Vec::<String>::new());
    assert_eq!(checksum(&test.db).await.unwrap(), before);
    server.local.stop().await;
}

async fn tables_of_another_log_are_replaced_only_when_asked(on: On) {
    let (log, other) = (TestLog::busy_week(39), TestLog::busy_week(40));
    let (mut server, mut another) = (LogServer::start().await, LogServer::start().await);
    server.pour(&log).await;
    another.pour_up_to(&other, 100).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let before = checksum(&test.db).await.unwrap();
    let refused = rebuild(&test.db, &another.log, &options()).await.unwrap_err();
    let RebuildError::Projection(ProjectionError::Halt(Halt::OtherStream { .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(checksum(&test.db).await.unwrap(), before);
    let report = rebuild(&test.db, &another.log, &replace()).await.unwrap();
    assert_eq!((report.outcome, report.position, report.comparison), (RebuildOutcome::Swapped, 100, None));
    assert!(report.not_compared.unwrap().contains("the log is stream"));
    let expected = TestDatabase::on(On::Sqlite).await;
    another.apply_all(&expected.db).await;
    assert_eq!(checksum(&test.db).await.unwrap(), checksum(&expected.db).await.unwrap());
    // And projectors go on with it.
    let last = another.pour(&other).await;
    another.apply_all(&test.db).await;
    assert_eq!(crate::position(&test.db).await.unwrap(), last);
    server.local.stop().await;
    another.local.stop().await;
}

async fn another_time_zone_is_a_difference(on: On) {
    let (log, mut server) = (TestLog::busy_week(41), LogServer::start().await);
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let moved = RebuildOptions { time_zone: zone(-3), ..options() };
    let report = rebuild(&test.db, &server.log, &moved).await.unwrap();
    assert_eq!(report.outcome, RebuildOutcome::Differs);
    let tables = report.comparison.unwrap().tables;
    let differ: Vec<_> = tables.iter().filter(|it| !it.is_equal()).map(|it| it.table).collect();
    assert_eq!(differ, ["billing_records", "journal_daily", "journal_entries", "usage_hourly"]);
    server.local.stop().await;
}

async fn a_message_that_cannot_be_applied_stops_the_rebuild_and_changes_nothing(on: On) {
    let mut server = LogServer::start().await;
    let mut log = TestLog::default();
    log.granted(account(1), 1, "5").leased(account(1), 2, "2");
    server.pour(&log).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    let before = checksum(&test.db).await.unwrap();
    log.leased(account(1), 2, "2").granted(account(1), 3, "1");
    server.pour(&log).await;
    let refused = rebuild(&test.db, &server.log, &replace()).await.unwrap_err();
    let RebuildError::Projection(ProjectionError::Halt(Halt::LeaseTwice { .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(checksum(&test.db).await.unwrap(), before);
    assert_eq!(leftovers(&test.db).await, Vec::<String>::new());
    // What stands before it can be compared.
    let dry = RebuildOptions { dry_run: true, ..options() };
    assert!(rebuild(&test.db, &server.log, &dry).await.unwrap().is_equal());
    let verify = crate::VerifyOptions { time_zone: zone(8), most_differences: 3 };
    assert!(verify_tables(&test.db, &server.log, &verify).await.unwrap().is_equal());
    server.local.stop().await;
}

/// A statement about the table of a rebuild must not change a column's name by accident.
#[tokio::test]
async fn no_column_and_no_index_has_a_tables_name() {
    let test = TestDatabase::on(On::Sqlite).await;
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for row in test
        .db
        .fetch_all("SELECT m.name AS of_table, c.name FROM sqlite_schema m, pragma_table_info(m.name) c", &[])
        .await
        .unwrap()
    {
        names.insert(row.text("name").unwrap(), row.text("of_table").unwrap());
    }
    for (table, _) in crate::checksum::TABLES {
        assert_eq!(names.get(table), None);
    }
}
