//! What comes out of a statement.
//!
//! Claims: a value of the wrong type, or a text that does not parse, is an error that names its column; it never reads
//! as zero or empty.

use super::DatabaseError;
use domain::{Credits, Moment};
use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _};
use std::str::FromStr;

/// A value as it stands in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Null,
    Int(i64),
    Text(&'a str),
}

/// A row of any of the three databases.
#[derive(Debug)]
pub struct Row(pub(super) Inner);

#[derive(Debug)]
pub(super) enum Inner {
    Sqlite(sqlx::sqlite::SqliteRow),
    Postgres(sqlx::postgres::PgRow),
    MySql(sqlx::mysql::MySqlRow),
}

impl Row {
    /// An integer. Errors: no such column, NULL, not an integer.
    pub fn int(&self, column: &str) -> Result<i64, DatabaseError> {
        self.opt_int(column)?.ok_or_else(|| DatabaseError::column(column, "is NULL"))
    }

    /// An integer or NULL.
    pub fn opt_int(&self, column: &str) -> Result<Option<i64>, DatabaseError> {
        let value = match &self.0 {
            Inner::Sqlite(row) => row.try_get(column),
            Inner::MySql(row) => row.try_get(column),
            // A literal such as `SELECT 1` is an INT4 there.
            Inner::Postgres(row) => match row.try_get_raw(column) {
                Ok(raw) if raw.type_info().name() == "INT4" => {
                    row.try_get::<Option<i32>, _>(column).map(|value| value.map(i64::from))
                }
                Ok(_) => row.try_get(column),
                Err(error) => Err(error),
            },
        };
        value.map_err(|error| DatabaseError::column(column, error))
    }

    /// A text. Errors: no such column, NULL, not a text.
    pub fn text(&self, column: &str) -> Result<String, DatabaseError> {
        self.opt_text(column)?.ok_or_else(|| DatabaseError::column(column, "is NULL"))
    }

    /// A text or NULL.
    pub fn opt_text(&self, column: &str) -> Result<Option<String>, DatabaseError> {
        let value = match &self.0 {
            Inner::Sqlite(row) => row.try_get(column),
            Inner::Postgres(row) => row.try_get(column),
            Inner::MySql(row) => row.try_get(column),
        };
        value.map_err(|error| DatabaseError::column(column, error))
    }

    /// Nano-credits.
    pub fn credits(&self, column: &str) -> Result<Credits, DatabaseError> {
        self.int(column).map(Credits::from_nano)
    }

    /// Nano-credits or NULL.
    pub fn opt_credits(&self, column: &str) -> Result<Option<Credits>, DatabaseError> {
        Ok(self.opt_int(column)?.map(Credits::from_nano))
    }

    /// Microseconds since 1970.
    pub fn moment(&self, column: &str) -> Result<Moment, DatabaseError> {
        self.int(column).map(Moment::from_micros)
    }

    /// Microseconds since 1970, or NULL.
    pub fn opt_moment(&self, column: &str) -> Result<Option<Moment>, DatabaseError> {
        Ok(self.opt_int(column)?.map(Moment::from_micros))
    }

    /// A count or a sequence. Errors: below zero.
    pub fn count(&self, column: &str) -> Result<u64, DatabaseError> {
        u64::try_from(self.int(column)?).map_err(|error| DatabaseError::column(column, error))
    }

    /// A count or NULL.
    pub fn opt_count(&self, column: &str) -> Result<Option<u64>, DatabaseError> {
        let count = self.opt_int(column)?.map(u64::try_from).transpose();
        count.map_err(|error| DatabaseError::column(column, error))
    }

    /// Truth, kept as 0 or 1.
    pub fn truth(&self, column: &str) -> Result<bool, DatabaseError> {
        Ok(self.int(column)? != 0)
    }

    /// A text as a type of ours, such as an id. Errors: it does not parse.
    pub fn parsed<T>(&self, column: &str) -> Result<T, DatabaseError>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(column)?.parse().map_err(|error: T::Err| DatabaseError::column(column, error))
    }

    /// A text as a type of ours, or NULL.
    pub fn opt_parsed<T>(&self, column: &str) -> Result<Option<T>, DatabaseError>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let parsed = self.opt_text(column)?.map(|text| text.parse()).transpose();
        parsed.map_err(|error: T::Err| DatabaseError::column(column, error))
    }

    /// The columns' names, in the statement's order.
    pub(crate) fn columns(&self) -> Vec<&str> {
        match &self.0 {
            Inner::Sqlite(row) => row.columns().iter().map(|column| column.name()).collect(),
            Inner::Postgres(row) => row.columns().iter().map(|column| column.name()).collect(),
            Inner::MySql(row) => row.columns().iter().map(|column| column.name()).collect(),
        }
    }

    /// The value at a place in the statement's order, whichever type it has. Errors: no such place; neither an integer
    /// of 64 bits nor a text.
    pub(crate) fn cell(&self, at: usize) -> Result<Cell<'_>, DatabaseError> {
        macro_rules! cell {
            ($row:expr, $integer:literal) => {{
                let raw = $row.try_get_raw(at);
                let kind = raw.map(|raw| (raw.is_null(), raw.type_info().name() == $integer));
                match kind {
                    Ok((true, _)) => Ok(Cell::Null),
                    Ok((false, true)) => $row.try_get(at).map(Cell::Int),
                    Ok((false, false)) => $row.try_get(at).map(Cell::Text),
                    Err(error) => Err(error),
                }
            }};
        }
        let cell = match &self.0 {
            Inner::Sqlite(row) => cell!(row, "INTEGER"),
            Inner::Postgres(row) => cell!(row, "INT8"),
            Inner::MySql(row) => cell!(row, "BIGINT"),
        };
        cell.map_err(|error| DatabaseError::column(&format!("number {at}"), error))
    }

    /// A text holding JSON. Errors: it is not, or of another shape.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T, DatabaseError> {
        serde_json::from_str(&self.text(column)?).map_err(|error| DatabaseError::column(column, error))
    }

    /// A text holding JSON, or NULL.
    pub fn opt_json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<Option<T>, DatabaseError> {
        let parsed = self.opt_text(column)?.map(|text| serde_json::from_str(&text)).transpose();
        parsed.map_err(|error| DatabaseError::column(column, error))
    }
}
