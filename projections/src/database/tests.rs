//! The database layer, the same on every database.

use super::*;
use crate::testing::{On, TestDatabase, on_every_database};
use sea_query::{Expr, ExprTrait, Query};

on_every_database! {
    values_come_back_as_they_went,
    errors_are_told_apart,
    after_an_error_the_connections_are_as_good_as_before,
    a_dropped_transaction_leaves_nothing_and_the_writer_free,
    many_rows_go_in_and_come_out_whatever_their_number_and_length,
    a_bulk_insert_given_up_half_way_leaves_nothing_and_the_connections_good,
    texts_are_compared_byte_by_byte,
    a_sum_is_a_whole_number_or_an_error,
    a_snapshot_sees_one_state_and_writes_nothing,
    rows_are_handed_over_one_by_one_until_an_error,
    a_list_is_filtered_as_its_query_says,
    migrations_run_twice_and_by_many_at_once,
    a_database_that_is_away_is_worth_waiting_for,
}

/// Texts that a careless layer would alter, cut or refuse.
const TEXTS: [&str; 14] = [
    "",
    "it's \"quoted\" `so`",
    "back\\slash \\0 \\' %_",
    "? $1 :name -- /* */ ;",
    "line\nfeed\r\n\ttab",
    " blanks ",
    "é è e\u{301}",
    "模型 モデル 모델",
    "👩‍👩‍👧‍👦 🏳️‍🌈 𝔘",
    "\u{202e}right to left \u{200b}\u{feff}",
    "\u{1}\u{7f}\u{85}",
    "\u{10ffff}\u{fffd}",
    r#"{"a":[1,"b\u0000\\"]}"#,
    "NULL",
];

async fn with_table(on: On) -> TestDatabase {
    let test = TestDatabase::without_tables(on).await;
    let sql = match test.db.dialect() {
        Dialect::Sqlite => {
            "CREATE TABLE things (id TEXT NOT NULL PRIMARY KEY, number INTEGER, name TEXT) STRICT"
        }
        Dialect::Postgres => {
            "CREATE TABLE things (id TEXT COLLATE \"C\" NOT NULL PRIMARY KEY, number BIGINT, name TEXT)"
        }
        Dialect::MySql => {
            "CREATE TABLE things (id VARCHAR(200) NOT NULL PRIMARY KEY, number BIGINT, name MEDIUMTEXT) \
             ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        }
    };
    test.db.execute(sql, &[]).await.unwrap();
    test
}

const COLUMNS: [&str; 3] = ["id", "number", "name"];

async fn ids(db: &Database) -> Vec<String> {
    let rows = db.fetch_all("SELECT id FROM things ORDER BY id", &[]).await.unwrap();
    rows.iter().map(|row| row.text("id").unwrap()).collect()
}

async fn values_come_back_as_they_went(on: On) {
    let test = with_table(on).await;
    let db = &test.db;
    let numbers = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::from(i32::MAX) + 1, i64::MAX];
    let rows: Vec<(String, Value, Value)> = TEXTS
        .iter()
        .zip(numbers.iter().cycle())
        .enumerate()
        .map(|(at, (text, number))| (format!("row {at}"), (*number).into(), (*text).into()))
        .chain([("nothing".to_owned(), Value::NullInt, Value::NullText)])
        .collect();
    let values = |id: &str, rows: &[(String, Value, Value)]| -> Vec<Value> {
        let row = |(of, number, name): &(String, Value, Value)| {
            [format!("{id} {of}").into(), number.clone(), name.clone()]
        };
        rows.iter().flat_map(row).collect()
    };
    // One by one, a few at once, in the bulk form, and as upserts of what is there.
    let insert = "INSERT INTO things (id, number, name) VALUES (?, ?, ?)";
    for row in values("one", &rows).chunks(3) {
        assert_eq!(db.execute(insert, row).await.unwrap(), 1);
    }
    let mut tx = db.begin().await.unwrap();
    tx.insert("things", &COLUMNS, &values("some", &rows), "").await.unwrap();
    // Long ones among them make them too many for one statement.
    let long = [("filler".to_owned(), Value::NullInt, "y".repeat(100_000).into())];
    let many = (0..60)
        .flat_map(|copy| [values(&format!("bulk {copy}"), &rows), values(&format!("bulk {copy}"), &long)]);
    let many: Vec<Value> = many.flatten().collect();
    tx.insert("things", &COLUMNS, &many, "").await.unwrap();
    let tail = tx.dialect().upsert("things", &["id"], &[Set::New("number"), Set::New("name")]);
    let blank: Vec<(String, Value, Value)> =
        rows.iter().map(|(id, ..)| (id.clone(), 7_i64.into(), "old".into())).collect();
    tx.insert("things", &COLUMNS, &values("upsert", &blank), &tail).await.unwrap();
    tx.insert("things", &COLUMNS, &values("upsert", &rows), &tail).await.unwrap();
    tx.commit().await.unwrap();

    let mut copies = 0;
    for (id, number, name) in &rows {
        let found =
            db.fetch_all("SELECT * FROM things WHERE id LIKE ?", &[format!("% {id}").into()]).await.unwrap();
        for row in found {
            copies += 1;
            let (int, text) = (row.opt_int("number").unwrap(), row.opt_text("name").unwrap());
            assert_eq!((Value::from(int), Value::from(text)), (number.clone(), name.clone()));
            assert_eq!(row.columns(), COLUMNS);
            let cell = row.cell(1).unwrap();
            assert_eq!(cell, int.map_or(Cell::Null, Cell::Int));
        }
    }
    assert_eq!(copies, rows.len() * (1 + 1 + 60 + 1));
    // And they are found by themselves.
    for text in TEXTS {
        let sql = "SELECT COUNT(*) AS found FROM things WHERE name = ? AND id LIKE 'one %'";
        assert_eq!(db.fetch_one(sql, &[text.into()]).await.unwrap().int("found").unwrap(), 1, "{text:?}");
    }

    // Neither NULL nor a wrong type nor a text that does not parse reads as something.
    let nothing = db.fetch_one("SELECT * FROM things WHERE id = ?", &["one nothing".into()]).await.unwrap();
    let first = db.fetch_one("SELECT * FROM things WHERE id = ?", &["one row 0".into()]).await.unwrap();
    for error in [
        nothing.int("number").map(|_| ()),
        nothing.text("name").map(|_| ()),
        first.int("name").map(|_| ()),
        first.count("number").map(|_| ()),
        first.int("nowhere").map(|_| ()),
        first.cell(3).map(|_| ()),
        first.parsed::<domain::AccountId>("name").map(|_| ()),
    ] {
        assert!(matches!(error, Err(DatabaseError::Column { .. })), "{error:?}");
    }
    let none = db.fetch_one("SELECT * FROM things WHERE id = 'z'", &[]).await;
    assert!(matches!(none, Err(DatabaseError::NoRow)));
}

async fn errors_are_told_apart(on: On) {
    let test = with_table(on).await;
    let insert = "INSERT INTO things (id) VALUES ('a')";
    test.db.execute(insert, &[]).await.unwrap();
    let taken = test.db.execute(insert, &[]).await.unwrap_err();
    assert!(taken.is_unique_violation() && !taken.is_unavailable(), "{taken:?}");
    let mut refused = vec![
        test.db.execute("SELEC", &[]).await,
        test.db.execute("INSERT INTO nowhere (id) VALUES ('a')", &[]).await,
        test.db.execute("INSERT INTO things (id, number) VALUES (?, 1)", &[Value::NullText]).await,
        test.db.execute("INSERT INTO things (id, number) VALUES ('b', ?)", &["much".into()]).await,
        test.db.execute("UPDATE things SET number = 9223372036854775807 + 1", &[]).await,
    ];
    match on {
        // Without STRICT it would store anything; and readers have connections that cannot write.
        On::Sqlite => {
            refused.push(test.db.fetch_all("DELETE FROM things RETURNING id", &[]).await.map(|_| 0));
        }
        On::Postgres => {
            refused.push(test.db.execute("INSERT INTO things (id) VALUES (?)", &["b\0".into()]).await);
        }
        // Without strict mode it would cut the text.
        On::MariaDb => {
            let long = "x".repeat(201);
            refused.push(test.db.execute("INSERT INTO things (id) VALUES (?)", &[long.into()]).await);
        }
    }
    for refused in refused {
        assert!(matches!(refused, Err(DatabaseError::Refused(_))), "{refused:?}");
    }
    assert_eq!(ids(&test.db).await, ["a"]);
    test.db.close().await;
    assert!(test.db.execute(insert, &[]).await.unwrap_err().is_unavailable());
}

async fn after_an_error_the_connections_are_as_good_as_before(on: On) {
    let test = with_table(on).await;
    let long = "x".repeat(2_000);
    let row = |id: i64| [Value::display(id), id.into(), long.as_str().into()];
    test.db.execute("INSERT INTO things (id) VALUES ('3')", &[]).await.unwrap();
    // Few rows, and more than one statement takes, with the taken key near the end of what is sent.
    for count in [4, 2_500] {
        let values: Vec<Value> = (0..count).rev().flat_map(row).collect();
        for _ in 0..4 {
            let mut tx = test.db.begin().await.unwrap();
            let refused = tx.insert("things", &COLUMNS, &values, "").await.unwrap_err();
            assert!(refused.is_unique_violation(), "{refused:?}");
            tx.rollback().await.unwrap();
        }
    }
    let mut mixed: Vec<Value> = row(1).into();
    mixed.extend(["2".into(), "two".into(), "x".into()]);
    let mut tx = test.db.begin().await.unwrap();
    assert!(tx.insert("things", &COLUMNS, &mixed, "").await.is_err());
    tx.rollback().await.unwrap();
    assert_eq!(ids(&test.db).await, ["3"]);
}

async fn a_dropped_transaction_leaves_nothing_and_the_writer_free(on: On) {
    let test = with_table(on).await;
    let mut tx = test.db.begin().await.unwrap();
    tx.execute("INSERT INTO things (id) VALUES ('a')", &[]).await.unwrap();
    assert_eq!(tx.fetch_all("SELECT id FROM things", &[]).await.unwrap().len(), 1);
    assert!(ids(&test.db).await.is_empty(), "not yet for others");
    drop(tx);
    let mut tx = test.db.begin().await.unwrap();
    tx.execute("INSERT INTO things (id) VALUES ('b')", &[]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ids(&test.db).await, ["b"]);
}

async fn many_rows_go_in_and_come_out_whatever_their_number_and_length(on: On) {
    let test = with_table(on).await;
    let long = "x".repeat(100_000);
    let name = |number: i64| if number % 50 == 0 { long.as_str() } else { "short" };
    // Around the length of every form's portions.
    for count in [1_i64, 2, 99, 100, 101, 499, 500, 501, 999, 1_000, 1_001, 2_345] {
        let values: Vec<Value> = (0..count)
            .flat_map(|number| [Value::display(number), number.into(), name(number).into()])
            .collect();
        let mut tx = test.db.begin().await.unwrap();
        tx.execute("DELETE FROM things", &[]).await.unwrap();
        tx.insert("things", &COLUMNS, &values, "").await.unwrap();
        let tail = tx.dialect().upsert("things", &["id"], &[Set::Add("number"), Set::Larger("name")]);
        tx.insert("things", &COLUMNS, &values, &tail).await.unwrap();
        let nothing = tx.dialect().upsert("things", &["id"], &[]);
        tx.insert("things", &COLUMNS, &values, &nothing).await.unwrap();
        tx.insert("things", &COLUMNS, &[], &tail).await.unwrap();
        let keys: Vec<Value> = (0..count).map(Value::display).collect();
        let rows = tx.fetch_in("SELECT * FROM things WHERE number >= 0 AND", "id", &keys).await.unwrap();
        assert_eq!(rows.len(), usize::try_from(count).unwrap());
        for row in &rows {
            let id = row.parsed::<i64>("id").unwrap();
            assert_eq!((row.int("number").unwrap(), row.text("name").unwrap().as_str()), (id * 2, name(id)));
        }
        assert!(tx.fetch_in("SELECT id FROM things WHERE", "id", &[]).await.unwrap().is_empty());
        tx.commit().await.unwrap();
    }
    // A column whose values are all untyped NULLs.
    let values: Vec<Value> =
        (0..3).flat_map(|id| [Value::display(-id - 1), Value::Null, Value::Null]).collect();
    let mut tx = test.db.begin().await.unwrap();
    tx.insert("things", &COLUMNS, &values, "").await.unwrap();
    tx.rollback().await.unwrap();
}

async fn a_bulk_insert_given_up_half_way_leaves_nothing_and_the_connections_good(on: On) {
    use futures_util::FutureExt as _;
    let test = with_table(on).await;
    let long = "x".repeat(1_000);
    let values: Vec<Value> =
        (0..5_000_i64).flat_map(|id| [Value::display(id), id.into(), long.as_str().into()]).collect();
    for polls in 0..40 {
        let mut tx = test.db.begin().await.unwrap();
        let mut insert = Box::pin(tx.insert("things", &COLUMNS, &values, ""));
        for _ in 0..polls {
            if insert.as_mut().now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(insert);
        drop(tx);
    }
    // As many at once as there are connections, so that each is asked.
    let all = (0..SERVER_CONNECTIONS).map(|_| ids(&test.db));
    for found in futures_util::future::join_all(all).await {
        assert!(found.is_empty());
    }
}

async fn texts_are_compared_byte_by_byte(on: On) {
    let test = with_table(on).await;
    let mut keys =
        ["a", "A", "ab", "a-b", "a b", "á", "a\u{301}", "Z", "z", "é", "ß", "ss", "模", "👩", "\u{ffff}"];
    for key in keys {
        test.db.execute("INSERT INTO things (id) VALUES (?)", &[key.into()]).await.unwrap();
    }
    keys.sort_unstable();
    assert_eq!(ids(&test.db).await, keys);
    for (at, key) in keys.iter().enumerate() {
        let before = test.db.fetch_all("SELECT id FROM things WHERE id < ?", &[(*key).into()]).await.unwrap();
        assert_eq!(before.len(), at, "{key}");
    }
}

async fn a_sum_is_a_whole_number_or_an_error(on: On) {
    let test = with_table(on).await;
    let sum = async || {
        let sql = format!("SELECT {} AS total FROM things", test.db.dialect().sum("number"));
        test.db.fetch_one(&sql, &[]).await.and_then(|row| row.int("total"))
    };
    assert_eq!(sum().await.unwrap(), 0);
    let insert = "INSERT INTO things (id, number) VALUES (?, ?)";
    for (id, number) in [("a", i64::MAX - 1), ("b", 1), ("c", i64::MIN + 2)] {
        test.db.execute(insert, &[id.into(), number.into()]).await.unwrap();
    }
    assert_eq!(sum().await.unwrap(), 1);
    test.db.execute("UPDATE things SET number = ?", &[i64::MAX.into()]).await.unwrap();
    let overflow = sum().await;
    assert!(overflow.is_err(), "{overflow:?} is no sum of three times {}", i64::MAX);
}

async fn a_snapshot_sees_one_state_and_writes_nothing(on: On) {
    let test = with_table(on).await;
    let insert = "INSERT INTO things (id) VALUES (?)";
    test.db.execute(insert, &["a".into()]).await.unwrap();
    let mut snapshot = test.db.snapshot().await.unwrap();
    let seen =
        async |snapshot: &mut Tx| snapshot.fetch_all("SELECT id FROM things", &[]).await.unwrap().len();
    assert_eq!(seen(&mut snapshot).await, 1);
    test.another().await.execute(insert, &["b".into()]).await.unwrap();
    assert_eq!(seen(&mut snapshot).await, 1);
    let written = snapshot.execute(insert, &["c".into()]).await;
    assert!(written.is_err(), "{written:?}");
    snapshot.rollback().await.unwrap();
    assert_eq!(ids(&test.db).await, ["a", "b"]);
    // The isolation was that transaction's alone.
    let mut tx = test.db.begin().await.unwrap();
    tx.execute(insert, &["d".into()]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn rows_are_handed_over_one_by_one_until_an_error(on: On) {
    let test = with_table(on).await;
    let values: Vec<Value> =
        (0..2_000_i64).flat_map(|id| [Value::display(id), id.into(), Value::NullText]).collect();
    let mut tx = test.db.begin().await.unwrap();
    tx.insert("things", &COLUMNS, &values, "").await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = test.db.snapshot().await.unwrap();
    let (mut next, sql) = (500, "SELECT number FROM things WHERE number >= ? ORDER BY number");
    tx.for_each(sql, &[500_i64.into()], |row| {
        assert_eq!(row.int("number")?, next);
        next += 1;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(next, 2_000);
    let broken = tx.for_each(sql, &[0_i64.into()], |row| row.int("nowhere").map(|_| ())).await;
    assert!(matches!(broken, Err(DatabaseError::Column { .. })), "{broken:?}");
    assert_eq!(tx.fetch_all("SELECT id FROM things", &[]).await.unwrap().len(), 2_000);
    tx.rollback().await.unwrap();
}

async fn a_list_is_filtered_as_its_query_says(on: On) {
    let test = with_table(on).await;
    let values: Vec<Value> = (0..100_i64)
        .flat_map(|id| [Value::display(id), id.into(), if id % 5 == 0 { "?'five" } else { "short" }.into()])
        .collect();
    let mut tx = test.db.begin().await.unwrap();
    tx.insert("things", &COLUMNS, &values, "").await.unwrap();
    tx.commit().await.unwrap();
    let mut query = Query::select();
    query.column("id").from("things").and_where(Expr::col("number").gt(10_i64));
    query.and_where(Expr::col("name").eq("?'five")).order_by("number", sea_query::Order::Desc).limit(2);
    let rows = test.db.select(&query).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.text("id").unwrap()).collect::<Vec<_>>(), ["95", "90"]);
}

async fn migrations_run_twice_and_by_many_at_once(on: On) {
    let test = TestDatabase::without_tables(on).await;
    let others = [test.another().await, test.another().await, test.another().await];
    let runs = futures_util::future::join_all(others.iter().map(Database::migrate)).await;
    assert!(runs.iter().all(Result::is_ok), "{runs:?}");
    test.db.migrate().await.unwrap();
    // The plain tables are there too, with the rows that they begin with.
    let first = test.db.fetch_one("SELECT revision FROM directory_revision", &[]).await.unwrap();
    assert_eq!(first.int("revision").unwrap(), 1);
    let group = test.db.fetch_one("SELECT name, multiplier FROM user_groups", &[]).await.unwrap();
    assert_eq!(
        (group.text("name").unwrap(), group.text("multiplier").unwrap()),
        ("default".into(), "1".into())
    );
}

async fn a_database_that_is_away_is_worth_waiting_for(on: On) {
    let url = match on {
        On::Sqlite => "sqlite:///nowhere/at/all.db?mode=rwc",
        On::Postgres => "postgres://nobody@localhost/none?host=/nowhere/at/all",
        On::MariaDb => "mysql://nobody@localhost/none?socket=/nowhere/at/all",
    };
    let error = Database::connect(url).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}

/// Two transactions that wait for each other, and one that waits too long: both end, and may be tried again.
#[tokio::test]
async fn a_lock_that_was_not_had_is_worth_another_try() {
    for on in [On::Postgres, On::MariaDb] {
        let test = with_table(on).await;
        for id in ["a", "b"] {
            test.db.execute("INSERT INTO things (id, number) VALUES (?, 0)", &[id.into()]).await.unwrap();
        }
        let patience = match on {
            On::Sqlite | On::Postgres => "SET LOCAL lock_timeout = 100",
            On::MariaDb => "SET SESSION innodb_lock_wait_timeout = 1",
        };
        let update = "UPDATE things SET number = number + 1 WHERE id = ?";
        let (mut one, mut two) = (test.db.begin().await.unwrap(), test.db.begin().await.unwrap());
        one.execute(update, &["a".into()]).await.unwrap();
        two.execute(patience, &[]).await.unwrap();
        let waited = two.execute(update, &["a".into()]).await.unwrap_err();
        assert!(waited.is_unavailable(), "{waited:?}");
        two.rollback().await.unwrap();

        let mut two = test.db.begin().await.unwrap();
        two.execute(update, &["b".into()]).await.unwrap();
        let (b, a) = (["b".into()], ["a".into()]);
        let (first, second) = tokio::join!(one.execute(update, &b), two.execute(update, &a));
        let given_up = first.err().xor(second.err()).expect("one of them gives up");
        assert!(given_up.is_unavailable(), "{given_up:?}");
    }
}

/// As when a server is stopped, or an administrator ends a connection that holds others up.
#[tokio::test]
async fn a_connection_that_is_ended_is_worth_another_try() {
    for on in [On::Postgres, On::MariaDb] {
        let test = with_table(on).await;
        let (who, end, sleep) = match on {
            On::Sqlite | On::Postgres => {
                ("SELECT pg_backend_pid() AS id", "SELECT pg_terminate_backend", "SELECT 1 FROM pg_sleep(60)")
            }
            On::MariaDb => {
                ("SELECT CAST(CONNECTION_ID() AS SIGNED) AS id", "KILL ", "SELECT 1 AS a WHERE SLEEP(60) = 0")
            }
        };
        let mut tx = test.db.begin().await.unwrap();
        tx.execute("INSERT INTO things (id) VALUES ('a')", &[]).await.unwrap();
        let id = tx.fetch_one(who, &[]).await.unwrap().int("id").unwrap();
        let asleep = tx.fetch_all(sleep, &[]);
        let ended = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            test.db.execute(&format!("{end}({id})"), &[]).await.unwrap();
        };
        let (heard, ()) = tokio::join!(asleep, ended);
        assert!(heard.as_ref().is_err_and(DatabaseError::is_unavailable), "{heard:?}");
        let _ = tx.rollback().await;
        assert!(ids(&test.db).await.is_empty());
    }
}

#[tokio::test]
async fn urls_that_cannot_work_are_refused_by_name() {
    for url in ["", "oracle://x", "data.db", "sqlite::memory:", "sqlite://x.db?mode=memory"] {
        let error = Database::connect(url).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Config(_)), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn a_postgres_database_that_cannot_hold_every_text_is_refused_at_once() {
    let server = crate::testing::Program::Postgres.shared();
    let administrator = Database::connect(&server.url("postgres")).await.unwrap();
    let create = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0";
    administrator.execute(create, &[]).await.unwrap();
    let refused = Database::connect(&server.url("latin")).await.unwrap_err();
    assert!(matches!(&refused, DatabaseError::Config(why) if why.contains("UTF8")), "{refused:?}");
}

#[test]
fn migrations_have_the_same_numbers_and_names_everywhere() {
    let names = |files: &[(i64, &'static str, &'static str)]| {
        files.iter().map(|(number, name, _)| (*number, *name)).collect::<Vec<_>>()
    };
    assert_eq!(names(SQLITE), names(POSTGRES));
    assert_eq!(names(SQLITE), names(MYSQL));
}

#[tokio::test]
async fn anothers_database_is_read_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    assert!(Database::connect_to_read(&url).await.is_err() && !path.exists(), "it is not made");
    // A file as another program leaves it, with a journal of another kind than ours.
    let options: SqliteConnectOptions = url.parse().unwrap();
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (7)").execute(&pool).await.unwrap();
    pool.close().await;
    let before = std::fs::read(&path).unwrap();

    let db = Database::connect_to_read(&url).await.unwrap();
    let mut tx = db.snapshot().await.unwrap();
    assert_eq!(tx.fetch_one("SELECT a FROM t", &[]).await.unwrap().int("a").unwrap(), 7);
    assert!(tx.execute("INSERT INTO t VALUES (8)", &[]).await.is_err());
    drop(tx);
    db.close().await;
    assert_eq!(std::fs::read(&path).unwrap(), before, "to the last byte");
    assert!(!folder.path().join("theirs.db-wal").exists());
}
