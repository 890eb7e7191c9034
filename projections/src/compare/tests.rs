use super::*;
use crate::Value;
use crate::testing::*;
use crate::usage::archive_tests::archive;

on_every_database! {
    any_changed_value_of_any_row_is_named,
    a_changed_database_is_told_from_its_log,
    rows_too_many_and_too_few_are_named_and_counted,
}

async fn filled(on: On, log: &TestLog) -> TestDatabase {
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages[..log.messages.len() * 2 / 3], 100).await;
    archive(&test.db).await;
    apply_in(&test.db, &log.messages, 100).await;
    test
}

fn all_tables() -> BTreeSet<String> {
    TABLES.iter().map(|(table, _)| (*table).to_owned()).collect()
}

/// A row's values by column, and the condition that finds it.
type Found = (Vec<(String, Value)>, String, Vec<Value>);

async fn a_row(tx: &mut Tx, table: &str, keys: &[&str], at: usize) -> Found {
    let sql = format!("SELECT * FROM {table} ORDER BY {} LIMIT 1 OFFSET {at}", keys.join(", "));
    let row = tx.fetch_one(&sql, &[]).await.unwrap();
    let names: Vec<String> = row.columns().into_iter().map(str::to_owned).collect();
    let values = names.into_iter().enumerate().map(|(place, name)| {
        let value = match row.cell(place).unwrap() {
            Cell::Null => Value::Null,
            Cell::Int(value) => value.into(),
            Cell::Text(text) => text.into(),
        };
        (name, value)
    });
    let values: Vec<(String, Value)> = values.collect();
    let condition = keys.iter().map(|key| format!("{key} = ?")).collect::<Vec<_>>().join(" AND ");
    let of_key = |key: &&str| values.iter().find(|(name, _)| name == key).unwrap().1.clone();
    let key = keys.iter().map(of_key).collect();
    (values, condition, key)
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::NullInt | Value::NullText => None,
        Value::Int(value) => Some(value.to_string()),
        Value::Text(text) => Some(text.clone()),
    }
}

/// Another value of the same kind: one byte of a text, one bit of a number.
fn changed(value: &Value, is_text: bool) -> Value {
    match value {
        Value::Text(text) => {
            let mut characters = text.chars();
            let first = if characters.next() == Some('0') { '1' } else { '0' };
            format!("{first}{}", characters.as_str()).into()
        }
        Value::Int(value) => (value ^ 4096).into(),
        Value::Null | Value::NullInt | Value::NullText if is_text => "0".into(),
        Value::Null | Value::NullInt | Value::NullText => 0_i64.into(),
    }
}

async fn any_changed_value_of_any_row_is_named(on: On) {
    let mut log = TestLog::busy_week(51);
    log.messages.truncate(150);
    let (test, expected) = (filled(on, &log).await, filled(On::Sqlite, &log).await);
    let mut right = expected.db.snapshot().await.unwrap();
    let mut tampered = 0;
    for (table, keys) in TABLES {
        let sql = "SELECT name FROM pragma_table_info(?) WHERE type = 'TEXT'";
        let texts = expected.db.fetch_all(sql, &[table.into()]).await.unwrap();
        let texts: BTreeSet<String> = texts.iter().map(|row| row.text("name").unwrap()).collect();
        for at in if on == On::Sqlite { 0..3 } else { 1..2 } {
            let mut tx = test.db.begin().await.unwrap();
            let (row, condition, key) = a_row(&mut tx, table, keys, at).await;
            tx.rollback().await.unwrap();
            for (column, value) in row {
                let new = changed(&value, texts.contains(&column));
                let mut tx = test.db.begin().await.unwrap();
                let mut values = vec![new.clone()];
                values.extend(key.clone());
                let sql = format!("UPDATE {table} SET {column} = ? WHERE {condition}");
                assert_eq!(tx.execute(&sql, &values).await.unwrap(), 1, "{table}.{column}");
                let report = compare(&mut tx, &all_tables(), &mut right, 1, 10).await.unwrap();
                tx.rollback().await.unwrap();
                let differ: Vec<_> = report.tables.iter().filter(|it| !it.is_equal()).collect();
                let [found] = &differ[..] else { panic!("{table}.{column}: {report:?}") };
                assert_eq!(found.table, table);
                let key_of = |values: &[Value]| {
                    let parts = keys
                        .iter()
                        .zip(values)
                        .map(|(key, value)| format!("{key}={}", shown(value).unwrap()));
                    parts.collect::<Vec<_>>().join(", ")
                };
                if let Some(part) = keys.iter().position(|key| *key == column) {
                    let mut other = key.clone();
                    other[part] = new;
                    assert_eq!((found.missing, found.extra, found.different), (1, 1, 0));
                    let named: BTreeSet<_> =
                        found.differences.iter().map(|it| (it.kind, it.key.clone())).collect();
                    let expected =
                        [(DifferenceKind::Missing, key_of(&key)), (DifferenceKind::Extra, key_of(&other))];
                    assert_eq!(named, expected.into());
                } else {
                    assert_eq!((found.missing, found.extra, found.different), (0, 0, 1));
                    let expected = Difference {
                        key: key_of(&key),
                        column: Some(column.clone()),
                        found: shown(&new),
                        expected: shown(&value),
                        kind: DifferenceKind::Different,
                    };
                    assert_eq!(found.differences, [expected], "{table}.{column}");
                }
                tampered += 1;
            }
        }
    }
    assert!(tampered >= 100, "{tampered} changes say little");
    right.rollback().await.unwrap();
}

async fn a_changed_database_is_told_from_its_log(on: On) {
    let mut log = TestLog::busy_week(52);
    log.oddities();
    let mut server = LogServer::start().await;
    server.pour_up_to(&log, 200).await;
    let test = TestDatabase::on(on).await;
    server.apply_all(&test.db).await;
    archive(&test.db).await;
    // The log goes on; what the tables do not have yet is nothing to complain about.
    server.pour(&log).await;
    let options = VerifyOptions { time_zone: zone(8), most_differences: 2 };
    let report = verify_tables(&test.db, &server.log, &options).await.unwrap();
    assert_eq!((report.is_equal(), report.position), (true, 200), "{report:?}");
    server.apply_all(&test.db).await;
    let report = verify_tables(&test.db, &server.log, &options).await.unwrap();
    assert!(report.is_equal(), "{report:?}");
    assert!(report.tables.iter().all(|it| it.rows > 2 && it.rows == it.equal));

    test.db.execute("UPDATE usage_records SET cost = cost + 1", &[]).await.unwrap();
    let report = verify_tables(&test.db, &server.log, &options).await.unwrap();
    let usage = report.tables.iter().find(|it| it.table == "usage_records").unwrap();
    assert_eq!((usage.different, usage.equal, usage.differences.len()), (usage.rows, 0, 2));
    assert!(usage.differences.iter().all(|it| it.column.as_deref() == Some("cost")));
    assert_eq!(report.tables.iter().filter(|it| !it.is_equal()).count(), 1);

    // Without a log that these tables are made of there is nothing to compare with.
    let sql = "UPDATE projection_checkpoints SET hash = 'another'";
    test.db.execute(sql, &[]).await.unwrap();
    let error = verify_tables(&test.db, &server.log, &options).await.unwrap_err();
    assert!(matches!(error, ProjectionError::Halt(crate::Halt::OtherMessage { .. })), "{error:?}");
    server.local.stop().await;
}

async fn rows_too_many_and_too_few_are_named_and_counted(on: On) {
    let mut log = TestLog::busy_week(53);
    log.oddities();
    let (test, expected) = (filled(on, &log).await, filled(On::Sqlite, &log).await);
    let mut right = expected.db.snapshot().await.unwrap();
    let mut seen = test.db.snapshot().await.unwrap();
    let report = compare(&mut seen, &all_tables(), &mut right, 9, 5).await.unwrap();
    assert!(report.is_equal(), "{report:?}");
    seen.rollback().await.unwrap();
    right.rollback().await.unwrap();

    // Each table empty on the one side, then on the other.
    let empty = TestDatabase::on(On::Sqlite).await;
    let (mut none, mut all) = (empty.db.snapshot().await.unwrap(), test.db.snapshot().await.unwrap());
    let report = compare(&mut all, &all_tables(), &mut none, 9, 3).await.unwrap();
    for it in &report.tables {
        assert_eq!((it.extra, it.missing, it.equal, it.differences.len()), (it.rows, 0, 0, 3));
        assert!(it.differences.iter().all(|it| it.kind == DifferenceKind::Extra));
    }
    let report = compare(&mut none, &all_tables(), &mut all, 9, 3).await.unwrap();
    assert!(report.tables.iter().all(|it| (it.extra, it.rows, it.equal) == (0, 0, 0) && it.missing > 2));
    none.rollback().await.unwrap();
    all.rollback().await.unwrap();

    // Every other row gone: what is left is still compared with what it should be.
    let mut tx = test.db.begin().await.unwrap();
    tx.execute("DELETE FROM usage_records WHERE n % 2 = 0", &[]).await.unwrap();
    let mut right = expected.db.snapshot().await.unwrap();
    let report = compare(&mut tx, &all_tables(), &mut right, 9, 3).await.unwrap();
    let usage = report.tables.iter().find(|it| it.table == "usage_records").unwrap();
    assert!(usage.missing > 10 && usage.rows == usage.equal && usage.different + usage.extra == 0);
    tx.rollback().await.unwrap();
    right.rollback().await.unwrap();
}

/// SQLite stores what it is given: bytes that are no text, in a key or elsewhere.
#[tokio::test]
async fn a_value_that_cannot_be_read_is_a_difference() {
    let log = TestLog::busy_week(54);
    let (test, expected) = (filled(On::Sqlite, &log).await, filled(On::Sqlite, &log).await);
    for (sql, kinds) in [
        ("UPDATE account_balances SET account = CAST(x'ff41' AS TEXT) WHERE account = ?", (1, 1, 0)),
        ("UPDATE account_states SET snapshot = CAST(x'7bff7d' AS TEXT) WHERE account = ?", (0, 0, 1)),
    ] {
        let mut tx = test.db.begin().await.unwrap();
        assert_eq!(tx.execute(sql, &[account(1).into()]).await.unwrap(), 1);
        let mut right = expected.db.snapshot().await.unwrap();
        let report = compare(&mut tx, &all_tables(), &mut right, 1, 3).await.unwrap();
        let differ: Vec<_> = report.tables.iter().filter(|it| !it.is_equal()).collect();
        let [found] = &differ[..] else { panic!("{report:?}") };
        assert_eq!((found.missing, found.extra, found.different), kinds, "{found:?}");
        assert!(format!("{:?}", found.differences).contains("unreadable"), "{found:?}");
        tx.rollback().await.unwrap();
        right.rollback().await.unwrap();
    }
}

/// What an older binary wrote, and what this one makes of such a row, is left to be: readers fold such accounts from the log.
#[tokio::test]
async fn a_snapshot_of_an_older_shape_is_no_difference_but_another_one_is() {
    let log = TestLog::busy_week(55);
    let (test, expected) = (filled(On::Sqlite, &log).await, filled(On::Sqlite, &log).await);
    for (sets, equal) in [
        ("shape = 0, snapshot = ''", true),
        ("shape = 0", false),
        ("shape = 0, snapshot = '', version = version + 1", false),
        ("shape = 999", false),
    ] {
        let mut tx = test.db.begin().await.unwrap();
        tx.execute(&format!("UPDATE account_states SET {sets}"), &[]).await.unwrap();
        let mut right = expected.db.snapshot().await.unwrap();
        let report = compare(&mut tx, &all_tables(), &mut right, 1, 3).await.unwrap();
        assert_eq!(report.is_equal(), equal, "{sets}: {report:?}");
        tx.rollback().await.unwrap();
        right.rollback().await.unwrap();
    }
}
