//! Connections beside the usual ones: for work that can be thrown away, and for what belongs to a session.

use super::{
    ACQUIRE_TIMEOUT, Database, DatabaseError, Dialect, Held, Pools, Row, Source, Untyped, Value, affected,
    mysql_pool, optional, sqlite_pools,
};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, MySql, Postgres, Sqlite};
use std::path::{Path, PathBuf};

/// Connections of work beside: one writes, two read, one holds a lock.
const CONNECTIONS: u32 = 4;

impl Database {
    /// The same database over a few connections of their own, for work that can be thrown away: what they commit may be
    /// lost by a power cut, and costs less for it. Nothing is torn by that; and a commit over the other connections makes
    /// what these have committed before it last, too.
    pub(crate) async fn aside(&self) -> Result<Self, DatabaseError> {
        let pools = match &self.pools {
            Pools::Sqlite { write, .. } => {
                let options = (*write.connect_options()).clone();
                // In WAL mode NORMAL leaves out the flush of each commit and keeps those of checkpoints; OFF would risk
                // the other tables in the file. The pages under work are many, so keep more of them in memory.
                sqlite_pools(options.synchronous(SqliteSynchronous::Normal).pragma("cache_size", "-65536"))
                    .await?
            }
            Pools::Postgres(pool) => {
                let options = PgPoolOptions::new()
                    .max_connections(CONNECTIONS)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .after_connect(|connection, _| {
                        Box::pin(async move {
                            use sqlx::Executor as _;
                            connection.execute("SET synchronous_commit = off").await?;
                            connection.execute("SET maintenance_work_mem = '256MB'").await?;
                            Ok(())
                        })
                    });
                Pools::Postgres(options.connect_with((*pool.connect_options()).clone()).await?)
            }
            // When InnoDB flushes is the server's setting, not a connection's.
            Pools::MySql(pool) => {
                Pools::MySql(mysql_pool((*pool.connect_options()).clone(), CONNECTIONS).await?)
            }
        };
        Ok(Self { pools })
    }

    /// A SQLite database that lives for one piece of work and may be lost at any moment: nothing is ever flushed, and a
    /// crash leaves a file to be removed.
    pub(crate) async fn scratch(file: &Path) -> Result<Self, DatabaseError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off)
            .pragma("cache_size", "-65536");
        Ok(Self { pools: sqlite_pools(options).await? })
    }

    /// Where the file lies, if it is SQLite's.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match &self.pools {
            Pools::Sqlite { write, .. } => Some(write.connect_options().get_filename().to_owned()),
            Pools::Postgres(_) | Pools::MySql(_) => None,
        }
    }

    /// A connection of one's own, with what its session holds: ended by dropping it.
    pub(crate) async fn session(&self) -> Result<Session, DatabaseError> {
        Ok(Session(match &self.pools {
            Pools::Sqlite { write, .. } => Source::Sqlite(closing(write.acquire().await?)),
            Pools::Postgres(pool) => Source::Postgres(closing(pool.acquire().await?)),
            Pools::MySql(pool) => Source::MySql(closing(pool.acquire().await?)),
        }))
    }
}

/// A connection with what its session holds: locks, settings.
#[derive(Debug)]
pub(crate) struct Session(Held);

impl Session {
    /// Runs one statement.
    pub(crate) async fn execute(&mut self, sql: &str) -> Result<u64, DatabaseError> {
        each!(self.connection(), self.dialect(), sql, &[] as &[Value], execute, affected)
    }

    /// The first row of a query; [`DatabaseError::NoRow`] if there is none.
    pub(crate) async fn fetch_one(&mut self, sql: &str, values: &[Value]) -> Result<Row, DatabaseError> {
        let row = each!(self.connection(), self.dialect(), sql, values, fetch_optional, optional)?;
        row.ok_or(DatabaseError::NoRow)
    }

    fn dialect(&self) -> Dialect {
        match &self.0 {
            Source::Sqlite(_) => Dialect::Sqlite,
            Source::Postgres(_) => Dialect::Postgres,
            Source::MySql(_) => Dialect::MySql,
        }
    }

    fn connection(
        &mut self,
    ) -> Source<&mut sqlx::SqliteConnection, &mut sqlx::PgConnection, &mut sqlx::MySqlConnection> {
        match &mut self.0 {
            Source::Sqlite(it) => Source::Sqlite(it),
            Source::Postgres(it) => Source::Postgres(it),
            Source::MySql(it) => Source::MySql(it),
        }
    }
}

/// A connection that is not used again.
pub(super) fn closing<D: sqlx::Database>(mut connection: PoolConnection<D>) -> PoolConnection<D> {
    connection.close_on_drop();
    connection
}
