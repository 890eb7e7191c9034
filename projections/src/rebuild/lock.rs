//! One rebuild at a time, over all processes; the lock ends with whoever holds it, however that ends.

use crate::database::Session;
use crate::{Database, DatabaseError, Dialect};
use std::fs::{File, TryLockError};
use std::time::Duration;

/// PostgreSQL's locks are numbers within a database: the letters `rebuil` and a number that nobody else will have thought of.
const NUMBER: i64 = 0x7265_6275_696c_64b1;
/// How long the database may take to say that the lock is still held.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lock.
pub(crate) enum RebuildLock {
    /// A file beside SQLite's, which knows no lock of this kind.
    File {
        _file: File,
    },
    Session(Session),
}

impl RebuildLock {
    /// `None`: somebody else holds it.
    pub(crate) async fn try_take(db: &Database) -> Result<Option<Self>, DatabaseError> {
        if let Some(path) = db.file() {
            let beside = path.with_added_extension("rebuild-lock");
            let fault = |error: std::io::Error| {
                DatabaseError::Config(format!("{} cannot be locked: {error}", beside.display()))
            };
            let file = File::create(&beside).map_err(fault)?;
            return match file.try_lock() {
                Ok(()) => Ok(Some(Self::File { _file: file })),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(fault(error)),
            };
        }
        let sql = match db.dialect() {
            Dialect::Sqlite | Dialect::Postgres => {
                "SELECT CASE WHEN pg_try_advisory_lock(?) THEN 1 ELSE 0 END AS taken"
            }
            // The lock is the whole server's, so its name holds the database's; names end at 64 characters.
            Dialect::MySql => {
                "SELECT CAST(COALESCE(GET_LOCK(SHA2(CONCAT('nexusroute rebuild ', DATABASE(), ?), 256), 0), 0) AS SIGNED) \
                 AS taken"
            }
        };
        let mut session = db.session().await?;
        let taken = session.fetch_one(&db.dialect().placeholders(sql), &[NUMBER.into()]).await?;
        Ok(taken.truth("taken")?.then_some(Self::Session(session)))
    }

    /// Lets go of the lock before this returns. One that is dropped goes when the server has noticed that its session is
    /// over, which can be after the next rebuild asks for it.
    pub(crate) async fn release(self, dialect: Dialect) -> Result<(), DatabaseError> {
        let Self::Session(mut session) = self else { return Ok(()) };
        let sql = match dialect {
            Dialect::Sqlite | Dialect::Postgres => {
                "SELECT CASE WHEN pg_advisory_unlock(?) THEN 1 ELSE 0 END AS released"
            }
            Dialect::MySql => {
                "SELECT CAST(COALESCE(RELEASE_LOCK(SHA2(CONCAT('nexusroute rebuild ', DATABASE(), ?), 256)), 0) AS SIGNED) \
                 AS released"
            }
        };
        session.fetch_one(&dialect.placeholders(sql), &[NUMBER.into()]).await.map(drop)
    }

    /// Errors: the session that held it has ended, so that another rebuild may have begun.
    pub(crate) async fn still_held(&mut self) -> Result<(), DatabaseError> {
        match self {
            Self::File { .. } => Ok(()),
            Self::Session(session) => {
                let answer = session.fetch_one("SELECT 1 AS held", &[]);
                match tokio::time::timeout(PATIENCE, answer).await {
                    Ok(answer) => answer.map(drop),
                    Err(_) => Err(DatabaseError::no_answer(PATIENCE)),
                }
            }
        }
    }
}
