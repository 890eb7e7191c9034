//! The database: one type over SQLite, PostgreSQL and MySQL.
//!
//! For: pools, migrations, statements with `?` in every dialect, write transactions, and the few words in which the
//! dialects differ ([`Dialect`]).
//! May not touch: what any table means.
//! Claims: on SQLite a write transaction takes the write lock when it begins, so it never fails half-way for want of
//! it; a commit whose answer was lost is told apart from one that failed ([`DatabaseError::OutcomeUnknown`]); what was
//! committed survives a power cut as far as the database can promise it.

mod aliases;
mod dialect;
mod row;
mod value;

pub(crate) use aliases::{Aliases, statements, words};
pub use dialect::{Dialect, Set, question_marks};
pub(crate) use row::Cell;
pub use row::Row;
pub use value::Value;

use crate::background;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use row::Inner;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, MySql, MySqlPool, PgPool, Postgres, SqlSafeStr as _, Sqlite, SqlitePool};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Connections that one process opens to a database server at most; with a handful of instances that stays below the
/// hundred that PostgreSQL allows by default.
const SERVER_CONNECTIONS: u32 = 16;
/// Connections that a projector opens beside them, if it runs in a thread of its own.
const ASIDE_CONNECTIONS: u32 = 4;
/// Connections that read a SQLite file while one writes.
const SQLITE_READERS: u32 = 8;
/// Statements that a connection to SQLite or MySQL keeps prepared: for each projected table up to eight lengths of its insert,
/// and what the rest of the program asks.
const STATEMENTS: usize = 256;
/// How long a statement waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process waits for another that changes the tables, and how often it looks where there is no lock.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(3_600);
const MIGRATION_PAUSE: Duration = Duration::from_millis(200);
const MIGRATION_RETRIES: u32 = 10;
/// How long SQLite waits for another process that writes.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A database and its connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pools: Pools,
}

#[derive(Clone, Debug)]
enum Pools {
    /// SQLite has one writer at a time: a pool of one makes writers queue here instead of failing there.
    Sqlite {
        write: SqlitePool,
        read: SqlitePool,
    },
    Postgres(PgPool),
    MySql(MySqlPool),
}

/// What can go wrong with the database. A variant exists because some caller acts differently on it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL names no database that this binary speaks, or its options are wrong.
    #[error("the database cannot be used: {0}")]
    Config(String),
    /// The database cannot be reached, is busy, or gave up a deadlock. Nothing was done; a retry can help.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A unique key is taken.
    #[error("a row with that key exists")]
    UniqueViolation(#[source] sqlx::Error),
    /// The database will not do that, however often it is asked: a constraint, a value, the statement itself.
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
    /// The answer to a COMMIT was lost, or did not come in time: it may or may not have happened. Look before you repeat.
    #[error("the outcome of a commit is unknown")]
    OutcomeUnknown(#[source] sqlx::Error),
    /// One row was asked for, there is none.
    #[error("no such row")]
    NoRow,
    /// A value in a row is not what it must be.
    #[error("column {column} {why}")]
    Column {
        /// Which column.
        column: String,
        /// What is wrong with it.
        why: String,
    },
    /// The migrations cannot be applied.
    #[error("the database's tables cannot be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
}

impl DatabaseError {
    /// No answer came in time. What was asked for may have been done.
    pub(crate) fn no_answer(within: Duration) -> Self {
        let why = format!("no answer within {} ms", within.as_millis());
        Self::OutcomeUnknown(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why)))
    }

    /// Is a unique key taken?
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::UniqueViolation(_))
    }

    /// May the same call succeed later?
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::OutcomeUnknown(_) => true,
            Self::Config(_)
            | Self::UniqueViolation(_)
            | Self::Refused(_)
            | Self::NoRow
            | Self::Column { .. }
            | Self::Migration(_) => false,
        }
    }

    pub(crate) fn column(column: &str, why: impl std::fmt::Display) -> Self {
        Self::Column { column: column.to_owned(), why: why.to_string() }
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::NoRow,
            sqlx::Error::Configuration(why) => Self::Config(why.to_string()),
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::UniqueViolation(error),
            sqlx::Error::Database(inner) if may_pass(inner.as_ref()) => Self::Unavailable(error),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
            // sqlx's list is open-ended; an error we do not know is one that we do not retry.
            _ => Self::Refused(error),
        }
    }
}

/// Is a database's own error one that passes: a lock, a deadlock, a shutdown, a full disk?
fn may_pass(error: &dyn sqlx::error::DatabaseError) -> bool {
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // 1205 lock wait, 1213 deadlock; 1412 a table was changed after the snapshot was taken; too many connections, shutdown, disk or table full, read-only, killed.
        return matches!(
            error.number(),
            1021 | 1037 | 1038 | 1040 | 1053 | 1114 | 1158
                ..=1161 | 1205 | 1213 | 1290 | 1317 | 1412 | 1836 | 1927 | 3024
        );
    }
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // An extended code's low byte is the primary one: BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN.
        return code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 10 | 13 | 14));
    }
    // PostgreSQL's classes: connection, rollback (deadlock, serialisation), lock not available, resources, operator
    // intervention (shutdown), system error (I/O), read-only (a fail-over under way).
    ["08", "40", "55P03", "53", "57", "58", "25006"].iter().any(|class| code.starts_with(class))
}

/// A NULL that PostgreSQL types by its place: declared as its pseudo-type `unknown`.
struct Untyped;

impl sqlx::Type<Postgres> for Untyped {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        sqlx::postgres::PgTypeInfo::with_oid(sqlx::postgres::types::Oid(705))
    }
}

impl sqlx::Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(
        &self,
        _: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        Ok(sqlx::encode::IsNull::Yes)
    }
}

/// Binds each value to a query. `$keep`: is the statement worth a place among the connection's prepared ones? `$null` is
/// what an untyped NULL is to this database.
macro_rules! bound {
    ($database:ty, $sql:expr, $values:expr, $keep:expr, $null:expr) => {{
        let mut query = sqlx::query::<$database>(AssertSqlSafe($sql)).persistent($keep);
        for value in $values {
            query = match value {
                Value::Int(value) => query.bind(*value),
                Value::Text(value) => query.bind(value.as_str()),
                Value::Null => query.bind($null),
                Value::NullInt => query.bind(None::<i64>),
                Value::NullText => query.bind(None::<&str>),
            };
        }
        query
    }};
}

/// Runs a query on whichever database it is.
///
/// `AssertSqlSafe` is true by this crate's habit: statements are literals, or made of literals and placeholders; what
/// callers send is always bound.
macro_rules! each {
    ($source:expr, $dialect:expr, $sql:expr, $values:expr, $method:ident, $wrap:ident) => {
        each!($source, $dialect, $sql, $values, $method, $wrap, true)
    };
    ($source:expr, $dialect:expr, $sql:expr, $values:expr, $method:ident, $wrap:ident, $keep:expr) => {{
        let sql = $dialect.placeholders($sql);
        match $source {
            Source::Sqlite(it) => {
                bound!(Sqlite, sql, $values, $keep, None::<&str>).$method(it).await.map($wrap::sqlite)
            }
            Source::Postgres(it) => {
                bound!(Postgres, sql, $values, $keep, Untyped).$method(it).await.map($wrap::postgres)
            }
            Source::MySql(it) => {
                bound!(MySql, sql, $values, $keep, None::<&str>).$method(it).await.map($wrap::mysql)
            }
        }
        .map_err(DatabaseError::from)
    }};
}

// After the macros that they use.
mod aside;
mod bulk;

pub(crate) use aside::Session;
use aside::closing;

/// Where a statement runs: a pool, or a transaction's connection.
enum Source<S, P, M> {
    Sqlite(S),
    Postgres(P),
    MySql(M),
}

/// A connection taken out of its pool.
type Held = Source<PoolConnection<Sqlite>, PoolConnection<Postgres>, PoolConnection<MySql>>;

/// What is left of the drivers' three answers to `execute`.
mod affected {
    pub(super) fn sqlite(it: sqlx::sqlite::SqliteQueryResult) -> u64 {
        it.rows_affected()
    }
    pub(super) fn postgres(it: sqlx::postgres::PgQueryResult) -> u64 {
        it.rows_affected()
    }
    pub(super) fn mysql(it: sqlx::mysql::MySqlQueryResult) -> u64 {
        it.rows_affected()
    }
}

/// What is left of the drivers' three answers to `fetch_all`.
mod all {
    use super::{Inner, Row};
    pub(super) fn sqlite(rows: Vec<sqlx::sqlite::SqliteRow>) -> Vec<Row> {
        rows.into_iter().map(|row| Row(Inner::Sqlite(row))).collect()
    }
    pub(super) fn postgres(rows: Vec<sqlx::postgres::PgRow>) -> Vec<Row> {
        rows.into_iter().map(|row| Row(Inner::Postgres(row))).collect()
    }
    pub(super) fn mysql(rows: Vec<sqlx::mysql::MySqlRow>) -> Vec<Row> {
        rows.into_iter().map(|row| Row(Inner::MySql(row))).collect()
    }
}

/// What is left of the drivers' three answers to `fetch_optional`.
mod optional {
    use super::{Inner, Row};
    pub(super) fn sqlite(row: Option<sqlx::sqlite::SqliteRow>) -> Option<Row> {
        row.map(|row| Row(Inner::Sqlite(row)))
    }
    pub(super) fn postgres(row: Option<sqlx::postgres::PgRow>) -> Option<Row> {
        row.map(|row| Row(Inner::Postgres(row)))
    }
    pub(super) fn mysql(row: Option<sqlx::mysql::MySqlRow>) -> Option<Row> {
        row.map(|row| Row(Inner::MySql(row)))
    }
}

/// The migrations of a dialect: number, name and text, in order.
pub(crate) fn migrations(dialect: Dialect) -> &'static [(i64, &'static str, &'static str)] {
    match dialect {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
        Dialect::MySql => MYSQL,
    }
}

impl Database {
    /// Connects: `sqlite://path/to/file?mode=rwc`, `postgres://…` or `mysql://…`.
    pub async fn connect(url: &str) -> Result<Self, DatabaseError> {
        let pools = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => connect_sqlite(url).await?,
            Some("postgres" | "postgresql") => connect_postgres(url).await?,
            Some("mysql" | "mariadb") => connect_mysql(url).await?,
            // The URL itself may hold a password: not in the message.
            Some(_) | None => {
                let schemes = "its URL must begin with sqlite:, postgres: or mysql:";
                return Err(DatabaseError::Config(schemes.to_owned()));
            }
        };
        Ok(Self { pools })
    }

    /// The same database over connections of its own, made when they are needed by the runtime that this is called in, for
    /// that runtime alone. SQLite's are threads, which any runtime may wait for: those stay shared, and with them the
    /// queue of writers.
    pub(crate) fn with_own_connections(&self) -> Self {
        let pools = match &self.pools {
            Pools::Sqlite { write, read } => Pools::Sqlite { write: write.clone(), read: read.clone() },
            Pools::Postgres(pool) => Pools::Postgres(
                PgPoolOptions::new()
                    .max_connections(ASIDE_CONNECTIONS)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .connect_lazy_with((*pool.connect_options()).clone()),
            ),
            Pools::MySql(pool) => Pools::MySql(
                mysql_pool_options(ASIDE_CONNECTIONS).connect_lazy_with((*pool.connect_options()).clone()),
            ),
        };
        Self { pools }
    }

    /// Connects to a database of somebody else's, to read it by [`Database::snapshot`]: nothing is written to it, not even to
    /// the header of a SQLite file, and nothing is asked of its encoding.
    pub async fn connect_to_read(url: &str) -> Result<Self, DatabaseError> {
        let pools = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => {
                let options: SqliteConnectOptions = url.parse()?;
                let options = options.read_only(true).create_if_missing(false);
                let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
                let read = pool.connect_with(options.busy_timeout(SQLITE_BUSY_TIMEOUT)).await?;
                Pools::Sqlite { write: read.clone(), read }
            }
            Some("postgres" | "postgresql") => {
                let options: PgConnectOptions = url.parse()?;
                let options = options.application_name("nexusroute import");
                let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
                let read_only = [("default_transaction_read_only", "on")];
                Pools::Postgres(pool.connect_with(options.options(read_only)).await?)
            }
            Some("mysql" | "mariadb") => {
                let url =
                    url.strip_prefix("mariadb:").map_or_else(|| url.to_owned(), |it| format!("mysql:{it}"));
                let options: MySqlConnectOptions = url.parse()?;
                Pools::MySql(mysql_pool(options.charset("utf8mb4"), 1).await?)
            }
            Some(_) | None => {
                let schemes = "its URL must begin with sqlite:, postgres: or mysql:";
                return Err(DatabaseError::Config(schemes.to_owned()));
            }
        };
        Ok(Self { pools })
    }

    /// Brings the tables up to date. Safe to call from several processes at once: one does it, the
    /// others wait.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        let files = migrations(self.dialect()).iter().map(|(number, name, sql)| {
            let name = name.replace('_', " ").into();
            Migration::new(*number, name, MigrationType::Simple, sql.into_sql_str(), false)
        });
        let mut migrator = Migrator::with_migrations(files.collect());
        match &self.pools {
            Pools::Sqlite { write, .. } => {
                // There is no lock to take. A process that another was ahead of fails, leaves nothing, and finds the work
                // done when it looks again; what fails for another reason does so every time.
                let mut result = migrator.run(write).await;
                for _ in 0..MIGRATION_RETRIES {
                    if result.is_ok() {
                        break;
                    }
                    tokio::time::sleep(MIGRATION_PAUSE).await;
                    result = migrator.run(write).await;
                }
                result.map_err(DatabaseError::Migration)
            }
            Pools::Postgres(pool) => migrator.run(pool).await.map_err(DatabaseError::Migration),
            Pools::MySql(pool) => {
                let mut lock = MigrationLock::take(pool).await?;
                let result = migrator.set_locking(false).run(pool).await;
                lock.release().await;
                result.map_err(DatabaseError::Migration)
            }
        }
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match &self.pools {
            Pools::Sqlite { .. } => Dialect::Sqlite,
            Pools::Postgres(_) => Dialect::Postgres,
            Pools::MySql(_) => Dialect::MySql,
        }
    }

    /// Runs one statement by itself; returns how many rows it touched (do not trust that number of an upsert).
    pub async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, DatabaseError> {
        each!(self.writer(), self.dialect(), sql, values, execute, affected)
    }

    /// All rows of a query.
    pub async fn fetch_all(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        each!(self.reader(), self.dialect(), sql, values, fetch_all, all)
    }

    /// The first row of a query, if there is one.
    pub async fn fetch_optional(&self, sql: &str, values: &[Value]) -> Result<Option<Row>, DatabaseError> {
        each!(self.reader(), self.dialect(), sql, values, fetch_optional, optional)
    }

    /// The first row of a query; [`DatabaseError::NoRow`] if there is none.
    pub async fn fetch_one(&self, sql: &str, values: &[Value]) -> Result<Row, DatabaseError> {
        self.fetch_optional(sql, values).await?.ok_or(DatabaseError::NoRow)
    }

    /// All rows of a query that was put together at run time: lists with optional filters.
    pub async fn select(&self, statement: &sea_query::SelectStatement) -> Result<Vec<Row>, DatabaseError> {
        let (sql, values) = self.built(statement)?;
        self.fetch_all(&sql, &values).await
    }

    /// How the database means to answer a query: `word` is its own word for that question.
    #[cfg(test)]
    pub(crate) async fn explain(
        &self,
        word: &str,
        statement: &sea_query::SelectStatement,
    ) -> Result<Vec<Row>, DatabaseError> {
        let (sql, values) = self.built(statement)?;
        self.fetch_all(&format!("{word} {sql}"), &values).await
    }

    fn built(&self, statement: &sea_query::SelectStatement) -> Result<(String, Vec<Value>), DatabaseError> {
        // Each builder quotes names and writes placeholders as its database wants them; numbered ones pass as they are.
        let (sql, values) = match self.dialect() {
            Dialect::Sqlite => statement.build(sea_query::SqliteQueryBuilder),
            Dialect::Postgres => statement.build(sea_query::PostgresQueryBuilder),
            Dialect::MySql => statement.build(sea_query::MysqlQueryBuilder),
        };
        let values = values.into_iter().map(of_sea_query).collect::<Result<Vec<_>, _>>()?;
        Ok((sql, values))
    }

    /// Begins a write transaction. SQLite: takes the one write lock at once, so hold it briefly, and use no other write
    /// of this `Database` before it ends.
    pub async fn begin(&self) -> Result<Tx, DatabaseError> {
        let connection = match &self.pools {
            Pools::Sqlite { write, .. } => Source::Sqlite(write.acquire().await?),
            Pools::Postgres(pool) => Source::Postgres(pool.acquire().await?),
            Pools::MySql(pool) => Source::MySql(pool.acquire().await?),
        };
        Tx::begun_by(connection, if self.dialect() == Dialect::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" })
            .await
    }

    /// Begins a transaction that others wait for. Where this process says nothing for ten seconds in the middle of it, the
    /// server ends the connection and undoes it.
    ///
    /// A process that is stopped, or whose machine is cut off, keeps its connections, and a server would keep its locks for
    /// hours: one sleeping node would hold up the projections of all. SQLite knows no silence; its lock is within a machine.
    pub(crate) async fn begin_watched(&self) -> Result<Tx, DatabaseError> {
        let (connection, begin) = match &self.pools {
            Pools::Sqlite { write, .. } => (Source::Sqlite(write.acquire().await?), "BEGIN IMMEDIATE"),
            Pools::Postgres(pool) => (
                Source::Postgres(pool.acquire().await?),
                "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10s'",
            ),
            // There is no such limit for a transaction only, so it is the connection's until the end of it.
            Pools::MySql(pool) => {
                (Source::MySql(pool.acquire().await?), "SET SESSION wait_timeout = 10; BEGIN")
            }
        };
        let mut tx = Tx::begun_by(connection, begin).await?;
        tx.watched = true;
        Ok(tx)
    }

    /// Begins a transaction that only reads, and sees one state of the whole database for as long as it lasts. End it with
    /// [`Tx::rollback`].
    pub async fn snapshot(&self) -> Result<Tx, DatabaseError> {
        let (connection, begin) = match &self.pools {
            // Its state is that of the first read, also for the others.
            Pools::Sqlite { read, .. } => (Source::Sqlite(read.acquire().await?), "BEGIN"),
            Pools::Postgres(pool) => {
                (Source::Postgres(pool.acquire().await?), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            }
            Pools::MySql(pool) => {
                // The isolation of the next transaction; one request, since it must be the same connection.
                let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION READ ONLY";
                (Source::MySql(pool.acquire().await?), begin)
            }
        };
        Tx::begun_by(connection, begin).await
    }

    /// Closes the connections; calls after it fail.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
            Pools::MySql(pool) => pool.close().await,
        }
    }

    fn writer(&self) -> Source<&SqlitePool, &PgPool, &MySqlPool> {
        match &self.pools {
            Pools::Sqlite { write, .. } => Source::Sqlite(write),
            Pools::Postgres(pool) => Source::Postgres(pool),
            Pools::MySql(pool) => Source::MySql(pool),
        }
    }

    fn reader(&self) -> Source<&SqlitePool, &PgPool, &MySqlPool> {
        match &self.pools {
            Pools::Sqlite { read, .. } => Source::Sqlite(read),
            Pools::Postgres(pool) => Source::Postgres(pool),
            Pools::MySql(pool) => Source::MySql(pool),
        }
    }
}

/// A write transaction. Dropping it rolls back, by ending its connection: that is the one way that also works in the
/// middle of a statement, and with a server that has stopped answering.
#[derive(Debug)]
pub struct Tx {
    connection: Held,
    aliases: Option<Arc<Aliases>>,
    /// Begun by [`Database::begin_watched`].
    watched: bool,
    ended: bool,
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.ended {
            match &mut self.connection {
                Source::Sqlite(it) => it.close_on_drop(),
                Source::Postgres(it) => it.close_on_drop(),
                Source::MySql(it) => it.close_on_drop(),
            }
        }
    }
}

impl<S, P, M> std::fmt::Debug for Source<S, P, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "Sqlite",
            Self::Postgres(_) => "Postgres",
            Self::MySql(_) => "MySql",
        })
    }
}

impl Tx {
    async fn begun_by(connection: Held, begin: &'static str) -> Result<Self, DatabaseError> {
        let mut tx = Self { connection, aliases: None, watched: false, ended: false };
        tx.control(begin).await?;
        Ok(tx)
    }

    /// From here on statements mean the tables that these aliases say.
    pub(crate) fn set_aliases(&mut self, aliases: Option<Arc<Aliases>>) {
        self.aliases = aliases;
    }

    /// As the first words of a [`Database::snapshot`]: nobody gives these names to other tables while it lasts. Only
    /// PostgreSQL would let a state seen before such a change be looked for in the tables after it.
    pub(crate) async fn keep_tables(&mut self, tables: &BTreeSet<String>) -> Result<(), DatabaseError> {
        if self.dialect() == Dialect::Postgres && !tables.is_empty() {
            let tables = tables.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.execute(&format!("LOCK TABLE {tables} IN ACCESS SHARE MODE"), &[]).await?;
        }
        Ok(())
    }

    fn named<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        self.aliases.as_ref().map_or(Cow::Borrowed(sql), |aliases| aliases.apply(sql))
    }

    /// Runs words about the transaction itself, without preparing them.
    async fn control(&mut self, words: &'static str) -> Result<(), sqlx::Error> {
        use sqlx::Executor as _;
        match self.connection() {
            Source::Sqlite(it) => it.execute(words).await.map(drop),
            Source::Postgres(it) => it.execute(words).await.map(drop),
            Source::MySql(it) => it.execute(words).await.map(drop),
        }
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match &self.connection {
            Source::Sqlite(_) => Dialect::Sqlite,
            Source::Postgres(_) => Dialect::Postgres,
            Source::MySql(_) => Dialect::MySql,
        }
    }

    /// Runs one statement; returns how many rows it touched (do not trust that number of an upsert).
    ///
    /// After any error roll back: PostgreSQL's transaction is dead by then, MySQL may have undone only the statement.
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, DatabaseError> {
        let sql = self.named(sql);
        each!(self.connection(), self.dialect(), &sql, values, execute, affected)
    }

    /// All rows of a query.
    pub async fn fetch_all(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let sql = self.named(sql);
        each!(self.connection(), self.dialect(), &sql, values, fetch_all, all)
    }

    /// The first row of a query, if there is one.
    pub async fn fetch_optional(
        &mut self,
        sql: &str,
        values: &[Value],
    ) -> Result<Option<Row>, DatabaseError> {
        let sql = self.named(sql);
        each!(self.connection(), self.dialect(), &sql, values, fetch_optional, optional)
    }

    /// The first row of a query; [`DatabaseError::NoRow`] if there is none.
    pub async fn fetch_one(&mut self, sql: &str, values: &[Value]) -> Result<Row, DatabaseError> {
        self.fetch_optional(sql, values).await?.ok_or(DatabaseError::NoRow)
    }

    /// Hands over the rows of a query one by one, so that a table of any size may be read; the first error ends it.
    pub async fn for_each(
        &mut self,
        sql: &str,
        values: &[Value],
        mut with: impl FnMut(Row) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        use futures_util::TryStreamExt as _;
        let sql = self.dialect().placeholders(&self.named(sql));
        macro_rules! rows {
            ($database:ty, $null:expr, $inner:path, $connection:expr) => {{
                let mut rows = bound!($database, sql, values, true, $null).fetch($connection);
                while let Some(row) = rows.try_next().await? {
                    with(Row($inner(row)))?;
                }
            }};
        }
        match self.connection() {
            Source::Sqlite(it) => rows!(Sqlite, None::<&str>, Inner::Sqlite, it),
            Source::Postgres(it) => rows!(Postgres, Untyped, Inner::Postgres, it),
            Source::MySql(it) => rows!(MySql, None::<&str>, Inner::MySql, it),
        }
        Ok(())
    }

    /// The rows of a query without values, as they come.
    pub(crate) fn stream(&mut self, sql: &str) -> BoxStream<'_, Result<Row, DatabaseError>> {
        let sql = AssertSqlSafe(self.named(sql).into_owned());
        macro_rules! rows {
            ($database:ty, $inner:path, $connection:expr) => {
                sqlx::query::<$database>(sql).fetch($connection).map(|row| Ok(Row($inner(row?)))).boxed()
            };
        }
        match self.connection() {
            Source::Sqlite(it) => rows!(Sqlite, Inner::Sqlite, it),
            Source::Postgres(it) => rows!(Postgres, Inner::Postgres, it),
            Source::MySql(it) => rows!(MySql, Inner::MySql, it),
        }
    }

    /// The rows whose `column` is among `keys`, in as many queries as it takes. `sql` ends in `… WHERE` (or `… AND`).
    pub async fn fetch_in(
        &mut self,
        sql: &str,
        column: &str,
        keys: &[Value],
    ) -> Result<Vec<Row>, DatabaseError> {
        let mut rows = Vec::new();
        for chunk in keys.chunks(1_024) {
            let Some(last) = chunk.last() else { continue };
            // The last key is repeated up to a power of two, so that a handful of statements serves every length.
            let mut padded = chunk.to_vec();
            padded.resize(chunk.len().next_power_of_two(), last.clone());
            let sql = format!("{sql} {column} IN ({})", question_marks(padded.len()));
            rows.extend(self.fetch_all(&sql, &padded).await?);
        }
        Ok(rows)
    }

    /// Makes it last. Any error means that nobody knows whether it did: [`DatabaseError::OutcomeUnknown`].
    pub async fn commit(mut self) -> Result<(), DatabaseError> {
        self.end_watch().await?;
        self.control("COMMIT").await.map_err(DatabaseError::OutcomeUnknown)?;
        self.ended = true;
        Ok(())
    }

    /// Undoes all of it.
    pub async fn rollback(mut self) -> Result<(), DatabaseError> {
        self.end_watch().await?;
        self.control("ROLLBACK").await?;
        self.ended = true;
        Ok(())
    }

    /// What the others of the pool do with the connection may take its time.
    async fn end_watch(&mut self) -> Result<(), DatabaseError> {
        if self.watched && self.dialect() == Dialect::MySql {
            self.control("SET SESSION wait_timeout = DEFAULT").await?;
        }
        Ok(())
    }

    fn connection(
        &mut self,
    ) -> Source<&mut sqlx::SqliteConnection, &mut sqlx::PgConnection, &mut sqlx::MySqlConnection> {
        match &mut self.connection {
            Source::Sqlite(it) => Source::Sqlite(it),
            Source::Postgres(it) => Source::Postgres(it),
            Source::MySql(it) => Source::MySql(it),
        }
    }
}

/// A MySQL lock on migrating a database, for as long as its connection lives. sqlx's own waits for ever by a time-out below
/// zero, which MariaDB takes for none.
struct MigrationLock(PoolConnection<MySql>);

impl MigrationLock {
    async fn take(pool: &MySqlPool) -> Result<Self, DatabaseError> {
        // Also where nobody comes to release it: back in the pool the connection would hold it for ever.
        let mut connection = closing(pool.acquire().await?);
        // The lock is the whole server's, so its name holds the database's; names end at 64 characters.
        let sql = "SELECT GET_LOCK(SHA2(CONCAT('nexusroute migrations ', DATABASE()), 256), ?)";
        let query = sqlx::query_scalar(sql).bind(MIGRATION_PATIENCE.as_secs().cast_signed());
        let taken: Option<i64> = query.fetch_one(&mut *connection).await?;
        match taken {
            Some(1) => Ok(Self(connection)),
            Some(_) | None => {
                let why = "another process has been changing its tables for too long";
                Err(DatabaseError::Config(why.to_owned()))
            }
        }
    }

    async fn release(&mut self) {
        // The connection's end releases it too.
        if let Err(error) = sqlx::query("DO RELEASE_ALL_LOCKS()").execute(&mut *self.0).await {
            tracing::debug!(%error, "the lock on migrations goes with its connection");
        }
    }
}

async fn connect_sqlite(url: &str) -> Result<Pools, DatabaseError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        let why = "SQLite must live in a file: each connection to :memory: would see its own database";
        return Err(DatabaseError::Config(why.to_owned()));
    }
    let options: SqliteConnectOptions = url.parse()?;
    // FULL: what was committed survives a power cut, so that nothing may be trimmed elsewhere on the strength of a
    // commit that is then forgotten.
    let options = options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .statement_cache_capacity(STATEMENTS)
        .busy_timeout(SQLITE_BUSY_TIMEOUT);
    sqlite_pools(options).await
}

async fn sqlite_pools(options: SqliteConnectOptions) -> Result<Pools, DatabaseError> {
    let write = sqlite_writer(options.clone()).await?;
    let read = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options.create_if_missing(false).pragma("query_only", "1"))
        .await?;
    Ok(Pools::Sqlite { write, read })
}

/// The one connection that writes. What it works in goes behind the threads that callers wait for: nearly all that is
/// written are projections. It is kept for good, since one that came in its place would go before them again.
async fn sqlite_writer(options: SqliteConnectOptions) -> Result<SqlitePool, DatabaseError> {
    let runtime = tokio::runtime::Handle::current();
    let (sender, connected) = tokio::sync::oneshot::channel();
    // A connection's thread is as nice as the one that starts it.
    let thread = background::thread("sqlite-connect", move || {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options);
        // Given up only by a caller who is gone.
        let _ = sender.send(runtime.block_on(pool));
    });
    thread.map_err(sqlx::Error::Io)?;
    Ok(connected.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))?)
}

async fn connect_postgres(url: &str) -> Result<Pools, DatabaseError> {
    let options: PgConnectOptions = url.parse()?;
    // The default isolation, READ COMMITTED, is what we want: writes that race meet in a compare-and-set.
    let pool = PgPoolOptions::new()
        .max_connections(SERVER_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options.application_name("nexusroute"))
        .await?;
    let encoding: String = sqlx::query_scalar("SHOW server_encoding").fetch_one(&pool).await?;
    if encoding != "UTF8" {
        // A name that it cannot hold would stop the projections for ever, long after this.
        let why = format!("the PostgreSQL database has the encoding {encoding}: create one with UTF8");
        return Err(DatabaseError::Config(why));
    }
    Ok(Pools::Postgres(pool))
}

async fn connect_mysql(url: &str) -> Result<Pools, DatabaseError> {
    // sqlx knows the one scheme.
    let url = url.strip_prefix("mariadb:").map_or_else(|| url.to_owned(), |rest| format!("mysql:{rest}"));
    let options: MySqlConnectOptions = url.parse()?;
    let options = options.charset("utf8mb4").statement_cache_capacity(STATEMENTS);
    Ok(Pools::MySql(mysql_pool(options, SERVER_CONNECTIONS).await?))
}

async fn mysql_pool(options: MySqlConnectOptions, connections: u32) -> Result<MySqlPool, DatabaseError> {
    Ok(mysql_pool_options(connections).connect_with(options).await?)
}

fn mysql_pool_options(connections: u32) -> MySqlPoolOptions {
    MySqlPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).after_connect(
        |connection, _| {
            Box::pin(async move {
                use sqlx::Executor as _;
                // REPEATABLE READ, the default, adds gap locks and with them deadlocks; and without strict mode a text
                // that is too long is cut instead of refused.
                connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                connection.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')").await?;
                Ok(())
            })
        },
    )
}

/// A value that sea-query collected, as one of ours.
fn of_sea_query(value: sea_query::Value) -> Result<Value, DatabaseError> {
    use sea_query::Value as Theirs;
    Ok(match value {
        Theirs::Bool(it) => it.map(i64::from).into(),
        Theirs::TinyInt(it) => it.map(i64::from).into(),
        Theirs::SmallInt(it) => it.map(i64::from).into(),
        Theirs::Int(it) => it.map(i64::from).into(),
        Theirs::BigInt(it) => it.into(),
        Theirs::TinyUnsigned(it) => it.map(i64::from).into(),
        Theirs::SmallUnsigned(it) => it.map(i64::from).into(),
        Theirs::Unsigned(it) => it.map(i64::from).into(),
        Theirs::BigUnsigned(it) => Value::opt_count(it),
        Theirs::String(it) => it.into(),
        Theirs::Char(it) => Value::opt_display(it),
        // sea-query's list depends on its features; what is left are floats, bytes and enums, which no column is.
        other => {
            return Err(DatabaseError::Config(format!("{other:?} cannot be bound: only integers and texts")));
        }
    })
}

#[cfg(test)]
mod tests;
