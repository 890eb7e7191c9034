use super::fold::COLUMNS;
use crate::page::Paging;
use crate::usage::carried_in;
use crate::{Database, DatabaseError, Row};
use domain::{AccountId, Book, Credits, Moment, Unit};
use sea_query::{Cond, Expr, ExprTrait, Order, Query};

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event that it is a line of.
    pub event_seq: u64,
    /// Which one: 0, 1, 2… A debit and its credit stand one after the other.
    pub line: u32,
    /// When the event was decided, by its writer's clock.
    pub at: Moment,
    /// The day it counts in, by the operator's clock.
    pub day: String,
    /// The event's type, as on the log.
    pub kind: String,
    /// Whose decision it was; `None`: a payment in suspense.
    pub account: Option<AccountId>,
    /// Which account of the books.
    pub book: Book,
    /// In which unit.
    pub unit: Unit,
    /// Debit above zero, credit below: nano-credits or minor units.
    pub amount: i64,
}

/// The beginning of books' names, such as `asset:` or a whole one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookPrefix(String);

/// A text that no book's name begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a book's name begins with 1 to {most} bytes, none of them a control character", most = BookPrefix::MOST)]
pub struct UnknownPrefix;

impl BookPrefix {
    /// The longest name of a book, in bytes.
    const MOST: usize = 220;

    /// The first text after all those that begin so; `None`: there is none.
    fn end(&self) -> Option<String> {
        let mut end: Vec<char> = self.0.chars().collect();
        while let Some(last) = end.pop() {
            // Characters are ordered by number in all three databases. The range skips what is no character.
            if let Some(next) = (last..=char::MAX).nth(1) {
                end.push(next);
                return Some(end.into_iter().collect());
            }
        }
        None
    }
}

impl std::str::FromStr for BookPrefix {
    type Err = UnknownPrefix;

    fn from_str(text: &str) -> Result<Self, UnknownPrefix> {
        let fits = (1..=Self::MOST).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(UnknownPrefix) }
    }
}

/// Which lines a list shows; `None` does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// In books whose names begin so.
    pub book: Option<BookPrefix>,
    /// Of decisions about this account, in whichever book.
    pub account: Option<AccountId>,
    /// Of this event.
    pub event_seq: Option<u64>,
    /// Decided at this moment or later.
    pub from: Option<Moment>,
    /// Decided before this moment.
    pub to: Option<Moment>,
}

/// Where a page of lines ended: opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryCursor {
    at: Moment,
    event_seq: u64,
    line: u32,
}

impl std::fmt::Display for EntryCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.at.micros(), self.event_seq, self.line)
    }
}

impl std::str::FromStr for EntryCursor {
    type Err = crate::CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let (Some(at), Some(event_seq), Some(line), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(crate::CursorError);
        };
        let read = || {
            let at = Moment::from_micros(at.parse().ok()?);
            Some(Self { at, event_seq: event_seq.parse().ok()?, line: line.parse().ok()? })
        };
        read().ok_or(crate::CursorError)
    }
}

/// Some lines, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPage {
    /// The lines.
    pub items: Vec<Entry>,
    /// Where the next page begins; `None`: there is none.
    pub next_cursor: Option<EntryCursor>,
}

/// Lines of decisions and of payments in suspense, the last decided first; those of one moment in the log's order turned
/// round. `limit` is read as between 1 and [`Paging::MOST`].
pub async fn entries(
    db: &Database,
    filter: &EntryFilter,
    after: Option<EntryCursor>,
    limit: u32,
) -> Result<EntryPage, DatabaseError> {
    let mut query = Query::select();
    query.columns(COLUMNS).from("journal_entries");
    if let Some(prefix) = &filter.book {
        query.and_where(Expr::col("book").gte(prefix.0.as_str()));
        if let Some(end) = prefix.end() {
            query.and_where(Expr::col("book").lt(end));
        }
    }
    if let Some(account) = filter.account {
        query.and_where(Expr::col("account").eq(account.to_string()));
    }
    if let Some(event_seq) = filter.event_seq {
        query.and_where(Expr::col("event_seq").eq(event_seq));
    }
    if let Some(from) = filter.from {
        query.and_where(Expr::col("at").gte(from.micros()));
    }
    if let Some(to) = filter.to {
        query.and_where(Expr::col("at").lt(to.micros()));
    }
    if let Some(EntryCursor { at, event_seq, line }) = after {
        let at = at.micros();
        // The first condition says nothing new; it tells the database where in the index to begin.
        query.and_where(Expr::col("at").lte(at)).cond_where(
            Cond::any()
                .add(Expr::col("at").lt(at))
                .add(Expr::col("event_seq").lt(event_seq))
                .add(Cond::all().add(Expr::col("event_seq").eq(event_seq)).add(Expr::col("line").lt(line))),
        );
    }
    let limit = limit.clamp(1, Paging::MOST);
    for column in ["at", "event_seq", "line"] {
        query.order_by(column, Order::Desc);
    }
    // One more than asked tells whether there is a next page.
    query.limit(u64::from(limit) + 1);
    let rows = db.select(&query).await?;
    let shown = &rows[..rows.len().min(limit as usize)];
    let items = shown.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let next_cursor = match items.last() {
        Some(last) if rows.len() > items.len() => {
            Some(EntryCursor { at: last.at, event_seq: last.event_seq, line: last.line })
        }
        _ => None,
    };
    Ok(EntryPage { items, next_cursor })
}

/// The lines of some events, in the log's order.
pub async fn entries_of(db: &Database, events: &[u64]) -> Result<Vec<Entry>, DatabaseError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = Query::select();
    query.columns(COLUMNS).from("journal_entries");
    query.and_where(Expr::col("event_seq").is_in(events.iter().copied()));
    query.order_by("event_seq", Order::Asc).order_by("line", Order::Asc);
    db.select(&query).await?.iter().map(read).collect()
}

/// All that came in, less what was taken out and used, up to a position of the log: what the books owed to the account
/// then. The tables must have reached the position. `None`: calls that stand on the log behind the position have left the tables for
/// an archive, so that what was used until then is not known any more.
pub async fn total_at(
    db: &Database,
    account: AccountId,
    position: u64,
) -> Result<Option<Credits>, DatabaseError> {
    let mut tx = db.snapshot().await?;
    let (carried, last_archived) = carried_in(&mut tx, account).await?;
    if position < last_archived {
        tx.rollback().await?;
        return Ok(None);
    }
    let (book, position) = (Book::Liability(account), crate::Value::count(position));
    let sum = |column| db.dialect().sum(column);
    let decided = format!(
        "SELECT {} AS owed FROM journal_entries WHERE account = ? AND book = ? AND unit = ? AND event_seq <= ?",
        sum("amount")
    );
    let values =
        [account.into(), crate::Value::display(book), crate::Value::display(Unit::Credits), position.clone()];
    let owed = tx.fetch_one(&decided, &values).await?.int("owed")?;
    let used =
        format!("SELECT {} AS used FROM usage_records WHERE account = ? AND event_seq <= ?", sum("paid"));
    let used = tx.fetch_one(&used, &[account.into(), position]).await?.int("used")?;
    tx.rollback().await?;
    // A debt is a credit, and below zero.
    let total = -i128::from(owed) - i128::from(used) - carried;
    let total =
        i64::try_from(total).map_err(|_| DatabaseError::column("owed", "holds a sum that does not fit"))?;
    Ok(Some(Credits::from_nano(total)))
}

fn read(row: &Row) -> Result<Entry, DatabaseError> {
    let line = row.int("line")?;
    Ok(Entry {
        event_seq: row.count("event_seq")?,
        line: u32::try_from(line).map_err(|error| DatabaseError::column("line", error))?,
        at: row.moment("at")?,
        day: row.text("day")?,
        kind: row.text("type")?,
        account: row.opt_parsed("account")?,
        book: row.parsed("book")?,
        unit: row.parsed("unit")?,
        amount: row.int("amount")?,
    })
}
