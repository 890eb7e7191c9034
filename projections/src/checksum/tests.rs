use super::*;
use crate::testing::{On, TestDatabase, TestLog, apply_in, on_every_database};
use crate::usage::archive_tests::archive;

on_every_database! {
    a_checksum_depends_on_every_value_and_on_nothing_else,
    a_checksum_is_of_one_state_while_others_write,
}

#[tokio::test]
async fn the_same_log_gives_equal_tables_in_every_database() {
    let mut log = TestLog::busy_week(5);
    log.oddities();
    let mut sums = Vec::new();
    for (on, size) in On::ALL.into_iter().zip([7, 50, 10_000]) {
        let test = TestDatabase::on(on).await;
        apply_in(&test.db, &log.messages[..log.messages.len() / 2], size).await;
        archive(&test.db).await;
        apply_in(&test.db, &log.messages, size).await;
        sums.push(checksum(&test.db).await.unwrap());
    }
    let [sqlite, postgres, mariadb] = &sums[..] else { panic!() };
    assert_eq!(sqlite, postgres);
    assert_eq!(sqlite, mariadb);
    assert_eq!(sqlite.position, log.messages.last().unwrap().recorded.sequence);
    assert!(sqlite.tables.iter().all(|table| table.rows > 2), "{sqlite:?}");
}

/// Its columns but those of the primary key, and whether they hold texts; one that is NULL in every row does.
async fn columns(db: &Database, table: &str, keys: &[&str]) -> Vec<(String, bool)> {
    let rows = db.fetch_all(&format!("SELECT * FROM {table}"), &[]).await.unwrap();
    let is_text = |at| {
        rows.iter().find_map(|row| match row.cell(at).unwrap() {
            Cell::Null => None,
            Cell::Int(_) => Some(false),
            Cell::Text(_) => Some(true),
        })
    };
    let names = rows[0].columns().into_iter().enumerate().filter(|(_, name)| !keys.contains(name));
    names.map(|(at, name)| (name.to_owned(), is_text(at).unwrap_or(true))).collect()
}

async fn a_checksum_depends_on_every_value_and_on_nothing_else(on: On) {
    let log = TestLog::busy_week(6);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages[..75], 100).await;
    archive(&test.db).await;
    apply_in(&test.db, &log.messages[..150], 100).await;
    let before = checksum(&test.db).await.unwrap();
    assert_eq!(checksum(&test.another().await).await.unwrap(), before);
    for (at, (table, keys)) in TABLES.iter().enumerate() {
        for (column, text) in columns(&test.db, table, keys).await {
            let change = match (text, test.db.dialect()) {
                (false, _) => format!("COALESCE({column}, 0) + 1"),
                (true, crate::Dialect::MySql) => format!("CONCAT('x', SUBSTRING(COALESCE({column}, ''), 2))"),
                (true, _) => format!("'x' || SUBSTR(COALESCE({column}, ''), 2)"),
            };
            let mut tx = test.db.begin().await.unwrap();
            tx.execute(&format!("UPDATE {table} SET {column} = {change}"), &[]).await.unwrap();
            let changed = of_table(&mut tx, table, keys).await.unwrap();
            tx.rollback().await.unwrap();
            assert_eq!(changed.rows, before.tables[at].rows);
            assert_ne!(changed.sha256, before.tables[at].sha256, "{table}.{column}");
        }
    }
    assert_eq!(checksum(&test.db).await.unwrap(), before);
}

async fn a_checksum_is_of_one_state_while_others_write(on: On) {
    let log = TestLog::busy_week(8);
    let (test, alone) = (TestDatabase::on(on).await, TestDatabase::on(on).await);
    let mut at_position = std::collections::BTreeMap::new();
    at_position.insert(0, checksum(&alone.db).await.unwrap());
    for end in (40..=log.messages.len()).step_by(40) {
        let checkpoint = apply_in(&alone.db, &log.messages[..end], 40).await;
        at_position.insert(checkpoint.sequence, checksum(&alone.db).await.unwrap());
    }
    let end = log.messages.len() / 40 * 40;
    let writer = apply_in(&test.db, &log.messages[..end], 40);
    let reader = async {
        let mut seen = 0;
        loop {
            let sums = checksum(&test.db).await.unwrap();
            assert_eq!(&sums, &at_position[&sums.position]);
            seen += 1;
            if sums.position == u64::try_from(end).unwrap() {
                return seen;
            }
        }
    };
    let (_, seen) = tokio::join!(writer, reader);
    assert!(seen > 2, "{seen} checksums say little");
}

#[test]
fn values_that_run_together_are_told_apart() {
    let lines = [
        vec![Cell::Text("a"), Cell::Text("b")],
        vec![Cell::Text("ab"), Cell::Text("")],
        vec![Cell::Text("a;1:b"), Cell::Text("")],
        vec![Cell::Text(""), Cell::Null],
        vec![Cell::Null, Cell::Text("")],
        vec![Cell::Int(1), Cell::Int(23)],
        vec![Cell::Int(12), Cell::Int(3)],
        vec![Cell::Text("1"), Cell::Int(23)],
        vec![Cell::Text("-"), Cell::Null],
    ];
    let written: std::collections::BTreeSet<Vec<u8>> = lines
        .iter()
        .map(|cells| {
            let mut line = Vec::new();
            cells.iter().for_each(|cell| write(&mut line, cell));
            line
        })
        .collect();
    assert_eq!(written.len(), lines.len());
}

/// A new table must be listed here: under `TABLES` if it is made of events.
#[tokio::test]
async fn every_table_is_either_summed_up_or_plain() {
    const PLAIN: [&str; 59] = [
        "_sqlx_migrations",
        "account_deletions",
        "announcements",
        "api_keys",
        "approvals",
        "audit_outbox",
        "directory_revision",
        "disputes",
        "email_tokens",
        "exports",
        "identities",
        "import_sources",
        "imported_rows",
        "imported_top_ups",
        "invitations",
        "login_attempts",
        "login_challenges",
        "mails",
        "models",
        "operator_days",
        "passkeys",
        "payment_callbacks",
        "payment_orders",
        "period_books",
        "period_closes",
        "period_keys",
        "price_versions",
        "projection_checkpoints",
        "provider_keys",
        "provider_models",
        "providers",
        "rate_limits",
        "reconciliation_bills",
        "reconciliation_days",
        "reconciliation_differences",
        "reconciliation_rows",
        "reconciliation_runs",
        "recovery_codes",
        "redemption_batches",
        "redemption_codes",
        "referral_codes",
        "referrals",
        "refund_calls",
        "outside_refunds",
        "refund_notices",
        "registrations",
        "sessions",
        "settings",
        "settings_versions",
        "suspense_requests",
        "top_up_bonuses",
        "totp_secrets",
        "tries",
        "user_groups",
        "user_settings",
        "usage_archives",
        "users",
        "webhook_deliveries",
        "webhooks",
    ];
    let test = TestDatabase::on(On::Sqlite).await;
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    let rows = test.db.fetch_all(sql, &[]).await.unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.text("name").unwrap()).collect();
    let mut known: Vec<&str> = TABLES.iter().map(|(table, _)| *table).chain(PLAIN).collect();
    known.sort_unstable();
    assert_eq!(found, known);
    for (table, keys) in TABLES {
        let sql = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk";
        let found = test.db.fetch_all(sql, &[table.into()]).await.unwrap();
        assert_eq!(found.iter().map(|row| row.text("name").unwrap()).collect::<Vec<_>>(), keys, "{table}");
    }
}
