//! Closed months: what the books were at a position of the log, for good.
//!
//! Owns: `period_closes`, `period_books`. They are plain tables, which no rebuild touches: a month is closed by a person, once,
//! and what it was then stands here. (`period_keys` belongs to whoever signs.)
//! A posting belongs to the month of its day, unless that month was closed at an earlier position: then to the first one behind
//! it that was not. So what a month did to the books is what they were when it was closed, less what they were when the month
//! before was, and no event has to be moved.
//! Claims: months are closed in order, each once; a month's lines, sums and digests are of one position, which no projector
//! passes meanwhile; what is told of a closed month does not depend on anything that comes later.

use crate::exports::{BookMove, Cut, Span};
use crate::journal::BILLION;
use crate::{Checkpoint, Database, DatabaseError, Row, Tx, Value};
use chrono::{Datelike, Months, NaiveDate, NaiveTime};
use domain::{AccountId, Moment, Unit};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Years of months that are read and written; beyond them a calendar overflows somewhere.
const NAMED: std::ops::RangeInclusive<i32> = 1970..=9998;

/// A month of a calendar, the operator's where nothing else is said: `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(NaiveDate);

/// A text that is no month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no month such as 2026-11")]
pub struct UnknownMonth;

impl Month {
    /// The month of a day.
    pub fn of(day: NaiveDate) -> Self {
        Self(day.with_day(1).unwrap_or(day))
    }

    /// Its first day.
    pub fn first(self) -> NaiveDate {
        self.0
    }

    /// Its last day.
    pub fn last(self) -> NaiveDate {
        self.next().0.pred_opt().unwrap_or(self.0)
    }

    /// The month after it.
    pub fn next(self) -> Self {
        Self(self.0.checked_add_months(Months::new(1)).unwrap_or(self.0))
    }

    /// The month before it.
    pub fn previous(self) -> Self {
        self.before(1)
    }

    /// So many months before it; the first that calendars have, where they do not reach so far.
    pub fn before(self, months: u32) -> Self {
        Self(self.0.checked_sub_months(Months::new(months)).unwrap_or(NaiveDate::MIN))
    }

    /// The month of a moment in UTC. `None`: it would have no name that is read again.
    pub fn in_utc(at: Moment) -> Option<Self> {
        let day = chrono::DateTime::from_timestamp_micros(at.micros())?.date_naive();
        NAMED.contains(&day.year()).then(|| Self::of(day))
    }

    /// Its first moment in UTC.
    pub fn begins(self) -> Moment {
        Moment::from_micros(self.0.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
    }

    /// The first moment after it in UTC.
    pub fn ends(self) -> Moment {
        self.next().begins()
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

impl FromStr for Month {
    type Err = UnknownMonth;

    fn from_str(text: &str) -> Result<Self, UnknownMonth> {
        let day = NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").map_err(|_| UnknownMonth)?;
        // Chrono also reads `2026-1` and years of five digits.
        let month = Self(day);
        let fits = NAMED.contains(&day.year()) && month.to_string() == text;
        if fits { Ok(month) } else { Err(UnknownMonth) }
    }
}

/// A closed month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which.
    pub month: Month,
    /// What of the log was in it: every event of its days up to this one.
    pub position: u64,
    /// How many lines of events.
    pub entries: u64,
    /// What was signed, byte for byte.
    pub document: String,
    /// SHA-256 of the document, in hexadecimal.
    pub digest: String,
    /// Ed25519 signature of the document, in hexadecimal.
    pub signature: String,
    /// The key that checks it, in hexadecimal.
    pub public_key: String,
    /// The digest of the month before; `None`: it is the first.
    pub previous: Option<String>,
    /// When.
    pub closed_at: Moment,
    /// By whom.
    pub closed_by: AccountId,
}

const COLUMNS: &str =
    "month, position, entries, document, digest, signature, public_key, previous, closed_at, closed_by";

fn closed(row: &Row) -> Result<Closed, DatabaseError> {
    Ok(Closed {
        month: row.parsed("month")?,
        position: row.count("position")?,
        entries: row.count("entries")?,
        document: row.text("document")?,
        digest: row.text("digest")?,
        signature: row.text("signature")?,
        public_key: row.text("public_key")?,
        previous: row.opt_text("previous")?,
        closed_at: row.moment("closed_at")?,
        closed_by: row.parsed("closed_by")?,
    })
}

/// The closed months, newest first.
pub async fn list(db: &Database) -> Result<Vec<Closed>, DatabaseError> {
    let sql = format!("SELECT {COLUMNS} FROM period_closes ORDER BY month DESC");
    db.fetch_all(&sql, &[]).await?.iter().map(closed).collect()
}

/// A closed month, if it is one.
pub async fn get(db: &Database, month: Month) -> Result<Option<Closed>, DatabaseError> {
    let sql = format!("SELECT {COLUMNS} FROM period_closes WHERE month = ?");
    db.fetch_optional(&sql, &[Value::display(month)]).await?.as_ref().map(closed).transpose()
}

/// The last closed month. Within a transaction that holds the checkpoint nobody closes another meanwhile.
pub async fn last_in(tx: &mut Tx) -> Result<Option<Closed>, DatabaseError> {
    let sql = format!("SELECT {COLUMNS} FROM period_closes ORDER BY month DESC LIMIT 1");
    tx.fetch_optional(&sql, &[]).await?.as_ref().map(closed).transpose()
}

/// The month of the books' first day; `None`: there is nothing in them.
pub async fn first_month(db: &Database) -> Result<Option<Month>, DatabaseError> {
    let row = db.fetch_one("SELECT MIN(day) AS first FROM journal_daily", &[]).await?;
    Ok(row.opt_parsed::<NaiveDate>("first")?.map(Month::of))
}

/// What a month is made of: its days as they are, or, where it or the month before it is closed, as they were.
pub async fn span(db: &Database, month: Month) -> Result<Span, DatabaseError> {
    let cut = async |of: Month| {
        let closed = get(db, of).await?.map(|it| (it.month.to_string(), it.position));
        Ok::<_, DatabaseError>(Cut { day: of.last(), closed })
    };
    Ok(Span { after: cut(month.previous()).await?, until: cut(month).await? })
}

/// What a month's document tells of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many lines of events the month has, and the SHA-256 of them all.
    pub entries: (u64, String),
    /// How many books there are at its end, and the SHA-256 of their sums.
    pub books: (u64, String),
    /// The trial balance: what the month did to the books. What is owed to accounts is one line.
    pub trial: Vec<BookMove>,
}

/// The state of the books that a month is about to be closed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The last event in it.
    pub position: u64,
    /// SHA-256 of that event's stored bytes.
    pub hash: String,
    /// When the log was created: its identity.
    pub log: String,
}

/// Holds the books where they are until the transaction ends.
pub async fn hold(tx: &mut Tx) -> Result<Standing, DatabaseError> {
    let Checkpoint { sequence, hash, stream, created } = Checkpoint::hold_in(tx).await?;
    Ok(Standing { position: sequence, hash, log: format!("{stream} {created}") })
}

/// Keeps what the books are at the end of a month, and tells what they are. [`hold`] comes first.
pub async fn keep_books(
    tx: &mut Tx,
    month: Month,
    before: Option<&Closed>,
    position: u64,
) -> Result<Contents, DatabaseError> {
    let sum = |column: &str| tx.dialect().sum(column);
    let sql = format!(
        "INSERT INTO period_books (month, unit, book, entries, debit_billions, debit_units, credit_billions, \
         credit_units) SELECT '{month}', unit, book, {}, {}, {}, {}, {} FROM journal_daily WHERE day <= ? \
         GROUP BY unit, book",
        sum("entries"),
        sum("debit_billions"),
        sum("debit_units"),
        sum("credit_billions"),
        sum("credit_units"),
    );
    tx.execute(&sql, &[Value::display(month.last())]).await?;
    contents(tx, month, before.map(|it| (it.month, it.position)), position).await
}

/// Writes a closed month down.
pub async fn insert(tx: &mut Tx, it: &Closed) -> Result<(), DatabaseError> {
    let values: [Value; 10] = [
        Value::display(it.month),
        Value::count(it.position),
        Value::count(it.entries),
        it.document.as_str().into(),
        it.digest.as_str().into(),
        it.signature.as_str().into(),
        it.public_key.as_str().into(),
        it.previous.clone().into(),
        it.closed_at.into(),
        it.closed_by.into(),
    ];
    let sql = format!("INSERT INTO period_closes ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    tx.execute(&sql, &values).await.map(drop)
}

/// Reads again what a closed month is made of: what its document must say.
pub async fn read_again(
    db: &Database,
    it: &Closed,
    before: Option<&Closed>,
) -> Result<Contents, DatabaseError> {
    let mut tx = db.snapshot().await?;
    let read = contents(&mut tx, it.month, before.map(|it| (it.month, it.position)), it.position).await?;
    tx.rollback().await?;
    Ok(read)
}

async fn contents(
    tx: &mut Tx,
    month: Month,
    before: Option<(Month, u64)>,
    position: u64,
) -> Result<Contents, DatabaseError> {
    // The first one to be closed takes everything before it along.
    let (mut holds, mut values) = (
        "day <= ? AND event_seq <= ?".to_owned(),
        vec![Value::display(month.last()), Value::count(position)],
    );
    if let Some((before, position)) = before {
        holds.push_str(" AND NOT (day <= ? AND event_seq <= ?)");
        values.extend([Value::display(before.last()), Value::count(position)]);
    }
    let (mut entries, mut hash) = (0, Sha256::new());
    let sql = format!(
        "SELECT event_seq, line, at, day, type, account, book, unit, amount FROM journal_entries WHERE {holds} \
         ORDER BY event_seq, line"
    );
    tx.for_each(&sql, &values, |row| {
        entries += 1;
        // No field holds a bar but a book, by a model's name; it stands between two that cannot.
        let text = format!(
            "{}|{}|{}|{}|{}|{}|{}|{}|{}\n",
            row.int("event_seq")?,
            row.int("line")?,
            row.int("at")?,
            row.text("day")?,
            row.text("type")?,
            row.opt_text("account")?.unwrap_or_default(),
            row.text("book")?,
            row.text("unit")?,
            row.int("amount")?,
        );
        hash.update(text);
        Ok(())
    })
    .await?;
    let entries = (entries, hex::encode(hash.finalize()));

    let (mut books, mut hash) = (0, Sha256::new());
    let sql = "SELECT unit, book, entries, debit_billions, debit_units, credit_billions, credit_units \
               FROM period_books WHERE month = ? ORDER BY unit, book";
    tx.for_each(sql, &[Value::display(month)], |row| {
        books += 1;
        let whole = |side: &str| {
            let billions = i128::from(row.int(&format!("{side}_billions"))?);
            Ok::<_, DatabaseError>(
                billions * i128::from(BILLION) + i128::from(row.int(&format!("{side}_units"))?),
            )
        };
        let (unit, book, count) = (row.text("unit")?, row.text("book")?, row.int("entries")?);
        hash.update(format!("{unit}|{book}|{count}|{}|{}\n", whole("debit")?, whole("credit")?));
        Ok(())
    })
    .await?;
    let books = (books, hex::encode(hash.finalize()));

    let cut = |month: Month, position| Cut { day: month.last(), closed: Some((month.to_string(), position)) };
    // Where none was closed before, an empty month's sums: there are none.
    let after = before.map_or_else(|| cut(Month::of(NaiveDate::MIN), 0), |(month, at)| cut(month, at));
    let span = Span { after, until: cut(month, position) };
    let mut trial = Vec::new();
    crate::exports::trial(tx, &span, false, |it| {
        trial.push(it);
        Ok(())
    })
    .await?;
    Ok(Contents { entries, books, trial })
}

/// Do the lines of every unit sum to zero, before and within?
pub fn is_balanced(trial: &[BookMove]) -> bool {
    let mut sums: std::collections::BTreeMap<Unit, (i128, i128)> = std::collections::BTreeMap::new();
    for it in trial {
        let (opening, moved) = sums.entry(it.unit).or_default();
        *opening += it.opening;
        *moved += it.debit - it.credit;
    }
    sums.values().all(|sums| *sums == (0, 0))
}
