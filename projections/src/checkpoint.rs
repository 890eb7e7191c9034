//! The checkpoint: the last message that the tables contain.
//!
//! Claims: it moves only together with the rows, and only from where the mover believed it to be.

use crate::{Database, DatabaseError, Dialect, Row, Tx, Value};
use ledger::{Logged, StreamIdentity};

/// The checkpoint of the tables that are read.
const LIVE: &str = "live";
const READ: &str = "SELECT sequence, hash, stream, created FROM projection_checkpoints WHERE name = ?";

/// The last message that the tables contain, with what is needed to recognise it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its sequence; 0: none.
    pub sequence: u64,
    /// Hex SHA-256 of its stored bytes; empty: none.
    pub hash: String,
    /// The stream's name; empty: none yet.
    pub stream: String,
    /// When that stream was created, as its server writes it.
    pub created: String,
}

impl Checkpoint {
    /// The checkpoint after a message of a stream.
    pub(crate) fn after(message: &Logged, identity: &StreamIdentity) -> Self {
        Self {
            sequence: message.recorded.sequence,
            hash: hex::encode(message.hash),
            stream: identity.stream.clone(),
            created: identity.created.clone(),
        }
    }

    /// Reads it.
    pub(crate) async fn read(db: &Database) -> Result<Self, DatabaseError> {
        Self::of_row(&db.fetch_one(READ, &[LIVE.into()]).await?)
    }

    /// Reads it in a transaction: what else is read there belongs to it.
    pub(crate) async fn read_in(tx: &mut Tx) -> Result<Self, DatabaseError> {
        Self::of_row(&tx.fetch_one(READ, &[LIVE.into()]).await?)
    }

    /// Reads it and keeps projectors waiting until the transaction ends: each begins a batch by moving it. (On SQLite the
    /// transaction as such does that.)
    pub(crate) async fn hold_in(tx: &mut Tx) -> Result<Self, DatabaseError> {
        let sql = match tx.dialect() {
            Dialect::Sqlite => READ.to_owned(),
            Dialect::Postgres | Dialect::MySql => format!("{READ} FOR UPDATE"),
        };
        Self::of_row(&tx.fetch_one(&sql, &[LIVE.into()]).await?)
    }

    /// Moves it, if it still stands where `from` says; else nothing happens and the answer is `false`.
    ///
    /// As the first statement of a transaction it makes every other projector wait, and then find it moved.
    pub(crate) async fn compare_and_set(tx: &mut Tx, from: &Self, to: &Self) -> Result<bool, DatabaseError> {
        let sql = "UPDATE projection_checkpoints SET sequence = ?, hash = ?, stream = ?, created = ? \
                   WHERE name = ? AND sequence = ? AND hash = ?";
        let values: [Value; 7] = [
            Value::count(to.sequence),
            to.hash.as_str().into(),
            to.stream.as_str().into(),
            to.created.as_str().into(),
            LIVE.into(),
            Value::count(from.sequence),
            from.hash.as_str().into(),
        ];
        Ok(tx.execute(sql, &values).await? == 1)
    }

    fn of_row(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            sequence: row.count("sequence")?,
            hash: row.text("hash")?,
            stream: row.text("stream")?,
            created: row.text("created")?,
        })
    }
}

/// The position of the tables: the last sequence that was applied, by whichever process.
pub async fn position(db: &Database) -> Result<u64, DatabaseError> {
    Ok(Checkpoint::read(db).await?.sequence)
}
