//! Pages: lists are read newest first, from where the last page ended.
//!
//! Claims: a row is never shown twice and never skipped while others come in, because a page begins after a row, not
//! after a number of rows.

use crate::{Database, DatabaseError, Row};
use domain::Moment;
use sea_query::{Cond, Expr, ExprTrait, Order, SelectStatement};

/// Where a page ended: opaque to callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    at: Moment,
    id: String,
}

/// A text that no page ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor of this list")]
pub struct CursorError;

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    /// After which row; `None`: from the newest.
    pub after: Option<Cursor>,
    /// At most how many rows; read as between 1 and [`Paging::MOST`].
    pub limit: u32,
}

/// Some rows of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: there is none.
    pub next_cursor: Option<Cursor>,
}

impl Paging {
    /// The most rows of a page.
    pub const MOST: u32 = 200;

    fn limit(&self) -> u32 {
        self.limit.clamp(1, Self::MOST)
    }
}

impl Default for Paging {
    fn default() -> Self {
        Self { after: None, limit: 50 }
    }
}

impl<T> Page<T> {
    /// The same page of other items.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(item).collect(), next_cursor: self.next_cursor }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(format!("{}:{}", self.at.micros(), self.id)))
    }
}

impl std::str::FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = hex::decode(text).map_err(|_| CursorError)?;
        let text = String::from_utf8(bytes).map_err(|_| CursorError)?;
        let (micros, id) = text.split_once(':').ok_or(CursorError)?;
        // Our ids are UUIDs. Anything else, a NUL above all, must not reach a database.
        let plain =
            !id.is_empty() && id.len() <= 36 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !plain {
            return Err(CursorError);
        }
        Ok(Self { at: Moment::from_micros(micros.parse().map_err(|_| CursorError)?), id: id.to_owned() })
    }
}

impl serde::Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Runs a list's query for one page, ordered by the columns `at` and `id`; each row becomes an item by `read`.
pub(crate) async fn page<T>(
    db: &Database,
    query: SelectStatement,
    (at, id): (&'static str, &'static str),
    paging: &Paging,
    read: impl Fn(&Row) -> Result<T, DatabaseError>,
) -> Result<Page<T>, DatabaseError> {
    let rows = db.select(&paged(query, (at, id), paging)).await?;
    let limit = paging.limit() as usize;
    let shown = &rows[..rows.len().min(limit)];
    let items = shown.iter().map(read).collect::<Result<_, _>>()?;
    let next_cursor = match shown.last() {
        Some(last) if rows.len() > limit => Some(Cursor { at: last.moment(at)?, id: last.text(id)? }),
        _ => None,
    };
    Ok(Page { items, next_cursor })
}

/// A list's query for one page and one row more, which tells whether there is a next page.
pub(crate) fn paged(
    mut query: SelectStatement,
    (at, id): (&'static str, &'static str),
    paging: &Paging,
) -> SelectStatement {
    if let Some(after) = &paging.after {
        let micros = after.at.micros();
        // Says nothing new, and lets an index begin here: no database makes a place to begin of the two conditions below,
        // so that a late page would read all the pages before it.
        query.and_where(Expr::col(at).lte(micros));
        query.cond_where(
            Cond::any()
                .add(Expr::col(at).lt(micros))
                .add(Cond::all().add(Expr::col(at).eq(micros)).add(Expr::col(id).lt(after.id.as_str()))),
        );
    }
    query.order_by(at, Order::Desc).order_by(id, Order::Desc).limit(u64::from(paging.limit()) + 1);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_nothing_else_is_one() {
        let cursor =
            Cursor { at: Moment::from_micros(-5), id: "0190b8b2-1111-7000-8000-000000000000".into() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        let texts = ["", "zz", "00", "3a", &hex::encode("5:"), &hex::encode("x:1"), &hex::encode("1:a'b\0")];
        for text in texts {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
