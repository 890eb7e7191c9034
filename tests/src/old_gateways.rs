//! Databases of other gateways, as an import finds them: made on each engine from one script, with faults planted in them.

use crate::databases;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection};
use std::path::Path;

/// The password of everybody but the root user.
pub const PASSWORD: &str = "alice's old password";
/// As the old gateway stored it: bcrypt at its usual cost.
const HASH: &str = "$2a$10$abcdefghijklmnopqrstuu3FBQssI54tZ2uz.9YKbTgHVtrsqpQ2G";
const ROOT_HASH: &str = "$2a$10$ABCDEFGHIJKLMNOPQRSTUuhc.RD6/Z9pIstlLG4jbkwY/MqpMsbqi";

/// New API's tables.
pub const NEW_API: &str = include_str!("old_gateways/new_api.sql");
/// One API's tables.
pub const ONE_API: &str = include_str!("old_gateways/one_api.sql");

/// A database engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A SQLite file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    MariaDb,
}

/// The key number n of a source, as its user has it.
pub fn key(number: u32) -> String {
    format!("sk-{}", bare_key(number))
}

fn bare_key(number: u32) -> String {
    format!("{:0<40}Key{number:05}", "AbCd")
}

/// Makes the database that a script describes, with channels that lead to `provider`; answers what `--from` takes.
pub async fn seeded(engine: Engine, script: &str, provider: &str, folder: &Path) -> String {
    let provider = provider.trim_end_matches("/v1");
    let sql = translated(engine, script, provider);
    let sql = sqlx::raw_sql(AssertSqlSafe(sql));
    match engine {
        Engine::Sqlite => {
            let path = folder.join("one-api.db").display().to_string();
            let mut connection =
                SqliteConnection::connect(&format!("sqlite://{path}?mode=rwc")).await.unwrap();
            sql.execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            path
        }
        Engine::Postgres => {
            let url = databases::postgres().await;
            sql.execute(&mut PgConnection::connect(&url).await.unwrap()).await.unwrap();
            url
        }
        Engine::MariaDb => {
            let url = databases::mariadb().await;
            execute(&url, "ALTER DATABASE CHARACTER SET utf8mb4").await;
            sql.execute(&mut MySqlConnection::connect(&url).await.unwrap()).await.unwrap();
            url
        }
    }
}

/// Runs one statement in a database that `--from` or the gateway's configuration names.
pub async fn execute(url: &str, sql: &str) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    match url.split(':').next() {
        Some("postgres" | "postgresql") => {
            sql.execute(&mut PgConnection::connect(url).await.unwrap()).await.unwrap();
        }
        Some("mysql") => {
            sql.execute(&mut MySqlConnection::connect(url).await.unwrap()).await.unwrap();
        }
        _ => {
            let url = format!("sqlite://{url}");
            sql.execute(&mut SqliteConnection::connect(&url).await.unwrap()).await.unwrap();
        }
    }
}

/// A text that a query finds.
pub async fn text_of(url: &str, sql: &str) -> String {
    let sql = AssertSqlSafe(sql.to_owned());
    match url.split(':').next() {
        Some("postgres" | "postgresql") => {
            sqlx::query_scalar(sql).fetch_one(&mut PgConnection::connect(url).await.unwrap()).await.unwrap()
        }
        Some("mysql") => sqlx::query_scalar(sql)
            .fetch_one(&mut MySqlConnection::connect(url).await.unwrap())
            .await
            .unwrap(),
        _ => {
            let mut connection = SqliteConnection::connect(&format!("sqlite://{url}")).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        }
    }
}

fn translated(engine: Engine, script: &str, provider: &str) -> String {
    // By token: SQLite, PostgreSQL, MariaDB.
    let words = [
        ("{id}", ["integer PRIMARY KEY", "bigint PRIMARY KEY", "bigint PRIMARY KEY"]),
        ("{int}", ["integer", "bigint", "bigint"]),
        ("{int32}", ["integer", "integer", "int"]),
        ("{text}", ["text", "text", "longtext"]),
        ("{double}", ["real", "double precision", "double"]),
        ("{bool}", ["numeric", "boolean", "tinyint(1)"]),
        ("{true}", ["1", "true", "1"]),
        ("{false}", ["0", "false", "0"]),
        ("{time}", ["datetime", "timestamptz", "datetime(3)"]),
        ("{json}", ["json", "json", "json"]),
    ];
    let mut sql = script.to_owned();
    for (token, by_engine) in words {
        sql = sql.replace(token, by_engine[engine as usize]);
    }
    for number in 1..=20 {
        sql = sql.replace(&format!("{{key{number}}}"), &bare_key(number));
    }
    sql = sql.replace("{provider}", provider).replace("{root_password}", ROOT_HASH);
    sql = sql.replace("{alice_password}", HASH);
    if engine == Engine::MariaDb {
        // Names only: every second piece between single quotes is a text.
        let pieces = sql.split('\'').enumerate();
        let quoted =
            pieces.map(|(at, piece)| if at % 2 == 0 { piece.replace('"', "`") } else { piece.to_owned() });
        sql = quoted.collect::<Vec<_>>().join("'");
    }
    sql
}
