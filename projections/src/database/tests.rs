//! The database layer on SQLite.

use super::*;
use crate::testing::TestDatabase;
use sea_query::{Expr, ExprTrait, Query};

async fn with_table() -> TestDatabase {
    let test = TestDatabase::new().await;
    test.db
        .execute("CREATE TABLE things (id TEXT PRIMARY KEY, number INTEGER, name TEXT) STRICT", &[])
        .await
        .unwrap();
    test
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    let test = with_table().await;
    let db = &test.db;
    let insert = "INSERT INTO things (id, number, name) VALUES (?, ?, ?)";
    assert_eq!(db.execute(insert, &["a".into(), i64::MIN.into(), "é?'\"".into()]).await.unwrap(), 1);
    db.execute(insert, &["b".into(), Value::Null, Value::Null]).await.unwrap();
    let a = db.fetch_one("SELECT * FROM things WHERE id = ?", &["a".into()]).await.unwrap();
    assert_eq!((a.int("number").unwrap(), a.text("name").unwrap()), (i64::MIN, "é?'\"".to_owned()));
    let b = db.fetch_one("SELECT * FROM things WHERE id = ?", &["b".into()]).await.unwrap();
    assert_eq!((b.opt_int("number").unwrap(), b.opt_text("name").unwrap()), (None, None));
    // Neither NULL nor a wrong type nor a text that does not parse reads as something.
    for error in [
        b.int("number").map(|_| ()),
        a.int("name").map(|_| ()),
        a.count("number").map(|_| ()),
        a.int("nothing").map(|_| ()),
        a.parsed::<domain::AccountId>("name").map(|_| ()),
    ] {
        assert!(matches!(error, Err(DatabaseError::Column { .. })), "{error:?}");
    }
    assert!(matches!(
        db.fetch_one("SELECT * FROM things WHERE id = 'z'", &[]).await,
        Err(DatabaseError::NoRow)
    ));
}

#[tokio::test]
async fn errors_are_told_apart() {
    let test = with_table().await;
    let insert = "INSERT INTO things (id) VALUES ('a')";
    test.db.execute(insert, &[]).await.unwrap();
    let taken = test.db.execute(insert, &[]).await.unwrap_err();
    assert!(taken.is_unique_violation() && !taken.is_unavailable());
    let nonsense = test.db.execute("SELEC", &[]).await.unwrap_err();
    assert!(matches!(nonsense, DatabaseError::Refused(_)), "{nonsense:?}");
    let read_only = test.db.fetch_all("DELETE FROM things RETURNING id", &[]).await;
    assert!(read_only.is_err(), "reads must not write");
    test.db.close().await;
    assert!(test.db.execute(insert, &[]).await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing_and_the_writer_free() {
    let test = with_table().await;
    let mut tx = test.db.begin().await.unwrap();
    tx.execute("INSERT INTO things (id) VALUES ('a')", &[]).await.unwrap();
    assert_eq!(tx.fetch_all("SELECT id FROM things", &[]).await.unwrap().len(), 1);
    assert!(test.db.fetch_all("SELECT id FROM things", &[]).await.unwrap().is_empty(), "not yet for others");
    drop(tx);
    let mut tx = test.db.begin().await.unwrap();
    tx.execute("INSERT INTO things (id) VALUES ('b')", &[]).await.unwrap();
    tx.commit().await.unwrap();
    let rows = test.db.fetch_all("SELECT id FROM things", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.text("id").unwrap()).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn many_rows_go_in_and_come_out_whatever_their_number_and_length() {
    let test = with_table().await;
    let mut tx = test.db.begin().await.unwrap();
    let count = 2_345_i64;
    let long = "x".repeat(100_000);
    let name = |number: i64| if number % 50 == 0 { long.as_str() } else { "short" };
    let values: Vec<Value> =
        (0..count).flat_map(|number| [Value::display(number), number.into(), name(number).into()]).collect();
    let columns = ["id", "number", "name"];
    tx.insert("things", &columns, &values, "").await.unwrap();
    let tail = Dialect::Sqlite.upsert("things", &["id"], &[Set::Add("number"), Set::Larger("name")]);
    tx.insert("things", &columns, &values, &tail).await.unwrap();
    tx.insert("things", &columns, &[], &tail).await.unwrap();
    let keys: Vec<Value> = (0..count).map(Value::display).collect();
    let rows = tx.fetch_in("SELECT id, number FROM things WHERE number >= 0 AND", "id", &keys).await.unwrap();
    assert_eq!(rows.len(), usize::try_from(count).unwrap());
    for row in &rows {
        assert_eq!(row.int("number").unwrap(), row.parsed::<i64>("id").unwrap() * 2);
    }
    assert!(tx.fetch_in("SELECT id FROM things WHERE", "id", &[]).await.unwrap().is_empty());
    tx.commit().await.unwrap();

    let mut query = Query::select();
    query
        .column("id")
        .from("things")
        .and_where(Expr::col("number").gt(10_i64))
        .and_where(Expr::col("name").eq("short"));
    query.order_by("number", sea_query::Order::Asc).limit(2);
    let rows = test.db.select(&query).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.text("id").unwrap()).collect::<Vec<_>>(), ["6", "7"]);
}

#[tokio::test]
async fn urls_that_cannot_work_are_refused_by_name() {
    for url in ["", "oracle://x", "data.db", "sqlite::memory:", "sqlite://x.db?mode=memory"] {
        let error = Database::connect(url).await.unwrap_err();
        assert!(matches!(error, DatabaseError::Config(_)), "{url}: {error:?}");
    }
}

#[tokio::test]
async fn migrations_have_the_same_numbers_and_names_everywhere_and_run_twice() {
    let names = |files: &[(i64, &'static str, &'static str)]| {
        files.iter().map(|(number, name, _)| (*number, *name)).collect::<Vec<_>>()
    };
    assert_eq!(names(SQLITE), names(POSTGRES));
    assert_eq!(names(SQLITE), names(MYSQL));
    let test = TestDatabase::new().await;
    test.db.migrate().await.unwrap();
}
