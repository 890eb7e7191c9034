//! Many rows at once, in the form that measurements showed to be each database's fastest.
//!
//! SQLite and MySQL: VALUES of up to 128 rows. PostgreSQL: an array for each column,
//! UNNESTed; new rows that are too many for one such statement by COPY in its binary format.
//! Claims: whatever the form, the same rows come in, and the same faults are refused with the same error.

use super::{Dialect, Source, Tx, Untyped, Value, question_marks};
use crate::DatabaseError;
use futures_util::future::join;
use sqlx::{AssertSqlSafe, MySql, PgConnection, Postgres, Sqlite};

/// Bytes that one statement sends at most (or one row's, if that is longer): MariaDB takes 16 MiB by default.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Rows of one UNNEST at most; there is no limit but the memory that they take on both sides.
const MOST_UNNESTED: usize = 10_000;
/// How much of a COPY is put together before it is sent.
const COPY_BUFFER: usize = 256 * 1024;

impl Tx {
    /// Inserts rows (their values one after the other) in as few statements as the database likes; `tail` is empty or
    /// an upsert's ([`Dialect::upsert`]).
    ///
    /// A column's values must be all integers or all texts, or NULL. An upsert must not meet the same key twice in one
    /// call: PostgreSQL refuses that.
    pub async fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        values: &[Value],
        tail: &str,
    ) -> Result<(), DatabaseError> {
        let width = columns.len().max(1);
        let (table, tail) = (&*self.named(table), &*self.named(tail));
        if let Source::Postgres(connection) = self.connection()
            && let Some(types) = types(columns, values)?
        {
            // COPY ends in a small packet of its own, which may wait for the acknowledgement of the one before: 40 ms when
            // that was measured, as long as UNNEST takes for some thousand rows.
            let long = chunks(values, width, MOST_UNNESTED).nth(1).is_some();
            if long && tail.is_empty() {
                return Ok(copy(connection, table, columns, values).await?);
            }
            for rows in chunks(values, width, MOST_UNNESTED) {
                unnest(connection, table, columns, &types, rows, tail).await?;
            }
            return Ok(());
        }
        let dialect = self.dialect();
        let most_rows = dialect.rows_per_insert(width);
        let mut portions = Vec::new();
        for rows in chunks(values, width, most_rows) {
            // SQLite takes longer to prepare a statement than to run it, and MySQL answers it with a packet for each of its
            // thousands of parameters. Portions of 64, 32, 16… rows make few statements, each prepared once.
            let mut rest = rows;
            while !rest.is_empty() {
                // A part of a row is the statement's to refuse, not a reason to stand still here.
                let count = (rest.len() / width).max(1);
                let portion = match dialect {
                    Dialect::MySql | Dialect::Sqlite if count < most_rows => 1 << count.ilog2(),
                    Dialect::MySql | Dialect::Sqlite | Dialect::Postgres => count,
                };
                let (now, later) = rest.split_at(rest.len().min(portion * width));
                portions.push(now);
                rest = later;
            }
        }
        let statement = |values: &[Value]| {
            let rows = values.len() / width;
            // Statements of odd lengths would push the useful ones out of the connection's cache.
            let keep = rows == most_rows || (rows.is_power_of_two() && dialect != Dialect::Postgres);
            (dialect.placeholders(&insert_values(table, columns, rows, tail)), keep)
        };
        // While the database is at work on one statement the next one is bound.
        macro_rules! all {
            ($database:ty, $null:expr, $connection:expr) => {{
                let mut portions = portions.iter().map(|values| {
                    let (sql, keep) = statement(values);
                    bound!($database, sql, *values, keep, $null)
                });
                let mut next = portions.next();
                while let Some(query) = next.take() {
                    let bind = async { portions.next() };
                    let (done, bound) = join(query.execute(&mut *$connection), bind).await;
                    done?;
                    next = bound;
                }
            }};
        }
        match self.connection() {
            Source::Sqlite(it) => all!(Sqlite, None::<&str>, it),
            Source::Postgres(it) => all!(Postgres, Untyped, it),
            Source::MySql(it) => all!(MySql, None::<&str>, it),
        }
        Ok(())
    }
}

/// `INSERT … VALUES (…), (…) …`.
fn insert_values(table: &str, columns: &[&str], rows: usize, tail: &str) -> String {
    let row = format!("({})", question_marks(columns.len()));
    let mut sql = format!("INSERT INTO {table} ({}) VALUES {row}", columns.join(", "));
    sql.reserve((row.len() + 2) * rows + tail.len());
    for _ in 1..rows {
        sql.push_str(", ");
        sql.push_str(&row);
    }
    sql.push_str(tail);
    sql
}

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Int,
    Text,
}

impl Type {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Int(_) | Value::NullInt => Some(Self::Int),
            Value::Text(_) | Value::NullText => Some(Self::Text),
            Value::Null => None,
        }
    }
}

/// The type of each column; `None`: one has no value that tells.
fn types(columns: &[&str], values: &[Value]) -> Result<Option<Vec<Type>>, DatabaseError> {
    let mut types = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        let mut found = values.iter().skip(at).step_by(columns.len()).filter_map(Type::of);
        let Some(first) = found.next() else { return Ok(None) };
        if found.any(|other| other != first) {
            return Err(DatabaseError::Config(format!(
                "column {column} is given integers and texts at once"
            )));
        }
        types.push(first);
    }
    Ok(Some(types))
}

/// `INSERT … SELECT … FROM UNNEST(…)`: one statement for every number of rows, so it is prepared once.
async fn unnest(
    connection: &mut PgConnection,
    table: &str,
    columns: &[&str],
    types: &[Type],
    values: &[Value],
    tail: &str,
) -> Result<(), sqlx::Error> {
    let arrays = (1..).zip(types).map(|(number, of)| match of {
        Type::Int => format!("${number}::bigint[]"),
        Type::Text => format!("${number}::text[]"),
    });
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO {table} ({}) SELECT * FROM UNNEST({arrays}){tail}", columns.join(", "));
    let mut query = sqlx::query::<Postgres>(AssertSqlSafe(sql));
    for (at, of) in types.iter().enumerate() {
        let column = values.iter().skip(at).step_by(columns.len());
        query = match of {
            Type::Int => query.bind(column.map(int).collect::<Vec<_>>()),
            Type::Text => query.bind(column.map(text).collect::<Vec<_>>()),
        };
    }
    query.execute(connection).await?;
    Ok(())
}

fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        Value::Text(_) | Value::Null | Value::NullInt | Value::NullText => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(value) => Some(value),
        Value::Int(_) | Value::Null | Value::NullInt | Value::NullText => None,
    }
}

/// `COPY … FROM STDIN (FORMAT BINARY)`: a header; per row the number of its fields, and per field its length and its
/// bytes; an end mark. It fits columns of type BIGINT and TEXT, which are all that we have.
async fn copy(
    connection: &mut PgConnection,
    table: &str,
    columns: &[&str],
    values: &[Value],
) -> Result<(), sqlx::Error> {
    let too_long = |_| sqlx::Error::Protocol("a value is too long for PostgreSQL".to_owned());
    let sql = format!("COPY {table} ({}) FROM STDIN (FORMAT BINARY)", columns.join(", "));
    let fields = i16::try_from(columns.len()).map_err(too_long)?;
    let mut copy = connection.copy_in_raw(&sql).await?;
    let mut buffer = Vec::with_capacity(COPY_BUFFER + COPY_BUFFER / 8);
    buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
    for row in values.chunks(columns.len().max(1)) {
        buffer.extend_from_slice(&fields.to_be_bytes());
        for value in row {
            match value {
                Value::Int(value) => {
                    buffer.extend_from_slice(&8_i32.to_be_bytes());
                    buffer.extend_from_slice(&value.to_be_bytes());
                }
                Value::Text(text) => {
                    buffer.extend_from_slice(&i32::try_from(text.len()).map_err(too_long)?.to_be_bytes());
                    buffer.extend_from_slice(text.as_bytes());
                }
                Value::Null | Value::NullInt | Value::NullText => {
                    buffer.extend_from_slice(&(-1_i32).to_be_bytes());
                }
            }
        }
        if buffer.len() >= COPY_BUFFER {
            copy.send(buffer.as_slice()).await?;
            buffer.clear();
        }
    }
    buffer.extend_from_slice(&(-1_i16).to_be_bytes());
    copy.send(buffer.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

/// Rows in portions that one statement takes: at most `most_rows`, fewer if they are long.
fn chunks(values: &[Value], width: usize, most_rows: usize) -> impl Iterator<Item = &[Value]> {
    let mut rest = values;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |row: &&[Value]| {
            bytes += row.iter().map(size).sum::<usize>();
            bytes <= MOST_BYTES
        };
        let rows = rest.chunks(width).take(most_rows).take_while(fits).count().max(1);
        let (chunk, after) = rest.split_at(rest.len().min(rows * width));
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Int(_) | Value::Null | Value::NullInt | Value::NullText => 8,
    }
}
