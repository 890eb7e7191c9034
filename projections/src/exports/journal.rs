//! The journal's lines, and what they add up to.
//!
//! Decisions and payments have lines of their own. Of usage there are the sums by book only: what the books have beyond those
//! lines. They are given by the day, or of a closed month, or of the one behind it, once for the month.

use super::Reader;
use crate::journal::BILLION;
use crate::{DatabaseError, Row, Tx, Value};
use chrono::NaiveDate;
use domain::{AccountId, Book, Moment, Unit};

/// The books up to the end of a day: as they are, or as they were at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The last day in it.
    pub day: NaiveDate,
    /// The month that was closed there, and the position at which it was.
    pub closed: Option<(String, u64)>,
}

/// What lies between two cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What is before it.
    pub after: Cut,
    /// Its end.
    pub until: Cut,
}

impl Cut {
    /// As the books are.
    pub fn open(day: NaiveDate) -> Self {
        Self { day, closed: None }
    }

    /// The condition on entries, with its values.
    pub(super) fn holds(&self) -> (&'static str, Vec<Value>) {
        let day = Value::display(self.day);
        match &self.closed {
            None => ("day <= ?", vec![day]),
            Some((_, position)) => ("day <= ? AND event_seq <= ?", vec![day, Value::count(*position)]),
        }
    }

    /// The sums of the books, as a query.
    pub(super) fn sums(&self, sign: &str) -> (String, Value) {
        let sums = ["entries", "debit_billions", "debit_units", "credit_billions", "credit_units"]
            .map(|column| format!("{sign}{column} AS {column}"))
            .join(", ");
        match &self.closed {
            None => (
                format!("SELECT unit, book, {sums} FROM journal_daily WHERE day <= ?"),
                Value::display(self.day),
            ),
            Some((month, _)) => (
                format!("SELECT unit, book, {sums} FROM period_books WHERE month = ?"),
                month.as_str().into(),
            ),
        }
    }
}

impl Span {
    /// Whole days, the last one included, as the books are.
    pub fn days(from: NaiveDate, to: NaiveDate) -> Self {
        let before = from.pred_opt().unwrap_or(NaiveDate::MIN);
        Self { after: Cut::open(before), until: Cut::open(to) }
    }

    /// The condition on entries, with its values.
    pub(crate) fn holds(&self) -> (String, Vec<Value>) {
        let ((until, mut values), (after, before)) = (self.until.holds(), self.after.holds());
        values.extend(before);
        (format!("{until} AND NOT ({after})"), values)
    }

    fn is_open(&self) -> bool {
        self.after.closed.is_none() && self.until.closed.is_none()
    }
}

/// Where a line of an export comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineSource {
    /// A line of an event.
    Event {
        /// Where the event stands.
        event_seq: u64,
        /// Which line of it.
        line: u32,
        /// When it was decided, by its writer's clock.
        at: Moment,
    },
    /// The sum of usage by day, or by month.
    Usage,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalLine {
    /// Where it comes from.
    pub source: LineSource,
    /// The day it counts in, by the operator's clock; a month's usage counts in its last.
    pub day: String,
    /// The event's type; `usage`.
    pub kind: String,
    /// Whose decision it was.
    pub account: Option<AccountId>,
    /// The book's name.
    pub book: String,
    /// In which unit.
    pub unit: Unit,
    /// Nano-credits or minor units; one of both is zero. Not below zero.
    pub debit: i128,
    /// As `debit`.
    pub credit: i128,
    /// How many lines of the books it stands for.
    pub entries: u64,
}

/// What a span did to a book. Amounts in nano-credits or minor units, wider than an amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookMove {
    /// In which unit.
    pub unit: Unit,
    /// The book's name; all that is owed to accounts is one, unless each was asked for.
    pub book: String,
    /// Debits less credits before the span.
    pub opening: i128,
    /// Debits within it.
    pub debit: i128,
    /// Credits within it, counted above zero.
    pub credit: i128,
    /// How many lines that is.
    pub entries: u64,
}

impl BookMove {
    /// Debits less credits at the end.
    pub fn closing(&self) -> i128 {
        self.opening + self.debit - self.credit
    }
}

const ENTRY: &str = "event_seq, line, at, day, type, account, book, unit, amount";

impl Reader {
    /// About how many lines [`Reader::lines`] hands over, and no fewer.
    pub async fn count_lines(&mut self, span: &Span) -> Result<u64, DatabaseError> {
        let (holds, mut values) = span.holds();
        let entries = format!("SELECT COUNT(*) AS n FROM journal_entries WHERE {holds}");
        let entries = self.tx.fetch_one(&entries, &values).await?.count("n")?;
        // Each book may have a debit and a credit: by the day, or once in a month, where late days may be of any before.
        let (sums, days) = match span.is_open() {
            true => {
                ("SELECT COUNT(*) AS n FROM journal_daily WHERE day > ? AND day <= ?", Some(span.after.day))
            }
            false => (
                "SELECT COUNT(*) AS n FROM (SELECT DISTINCT unit, book FROM journal_daily WHERE day <= ?) AS books",
                None,
            ),
        };
        values = days.into_iter().chain([span.until.day]).map(Value::display).collect();
        let sums = self.tx.fetch_one(sums, &values).await?.count("n")?;
        Ok(entries.saturating_add(sums.saturating_mul(2)))
    }

    /// The lines of events by time, then the sums of usage by day, unit and book.
    pub async fn lines(
        &mut self,
        span: &Span,
        mut with: impl FnMut(JournalLine) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let (holds, values) = span.holds();
        let sql = format!("SELECT {ENTRY} FROM journal_entries WHERE {holds} ORDER BY at, event_seq, line");
        self.tx.for_each(&sql, &values, |row| with(entry(&row)?)).await?;
        let (sql, values) = usage_sql(&self.tx, span);
        let month = span.until.day.to_string();
        self.tx
            .for_each(&sql, &values, |row| {
                let day = if span.is_open() { row.text("day")? } else { month.clone() };
                let (entries, debit, credit) = sums(&row)?;
                let line = |debit, credit, entries| {
                    Ok::<_, DatabaseError>(JournalLine {
                        source: LineSource::Usage,
                        day: day.clone(),
                        kind: "usage".to_owned(),
                        account: None,
                        book: row.text("book")?,
                        unit: row.parsed("unit")?,
                        debit,
                        credit,
                        entries,
                    })
                };
                // Debits and credits stay apart, as the books have them; whose lines they are is not known any more.
                match (debit, credit) {
                    (0, 0) => Ok(()),
                    (debit, 0) => with(line(debit, 0, entries)?),
                    (0, credit) => with(line(0, credit, entries)?),
                    (debit, credit) => {
                        with(line(debit, 0, entries)?)?;
                        with(line(0, credit, 0)?)
                    }
                }
            })
            .await
    }

    /// What a span did to the books, by unit and name. `each_account`: what is owed to each account by itself.
    pub async fn trial(
        &mut self,
        span: &Span,
        each_account: bool,
        with: impl FnMut(BookMove) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        trial(&mut self.tx, span, each_account, with).await
    }
}

/// As [`Reader::trial`], in any transaction.
pub(crate) async fn trial(
    tx: &mut Tx,
    span: &Span,
    each_account: bool,
    mut with: impl FnMut(BookMove) -> Result<(), DatabaseError>,
) -> Result<(), DatabaseError> {
    let ((until, first), (after, second)) = (span.until.sums(""), span.after.sums("-"));
    // A book that was there before: what it had then is what is taken away.
    let before = after.replacen("SELECT unit, book,", "SELECT 1 AS side, unit, book,", 1);
    let until = until.replacen("SELECT unit, book,", "SELECT 0 AS side, unit, book,", 1);
    let book = book_name(each_account);
    let sum = |column: &str| tx.dialect().sum(column);
    let opening = |column: &str| {
        let before = format!("CASE WHEN side = 1 THEN -{column} ELSE 0 END");
        format!("{} AS {column}_before", tx.dialect().sum(&before))
    };
    let sql = format!(
        "SELECT unit, {book} AS name, {} AS entries, {} AS debit_billions, {} AS debit_units, {} AS credit_billions, \
         {} AS credit_units, {}, {}, {}, {} FROM ({until} UNION ALL {before}) moved GROUP BY unit, name \
         ORDER BY CASE WHEN unit = 'credits' THEN 0 ELSE 1 END, unit, name",
        sum("entries"),
        sum("debit_billions"),
        sum("debit_units"),
        sum("credit_billions"),
        sum("credit_units"),
        opening("debit_billions"),
        opening("debit_units"),
        opening("credit_billions"),
        opening("credit_units"),
    );
    tx.for_each(&sql, &[first, second], |row| {
        let (entries, debit, credit) = sums(&row)?;
        let two = |side: &str| {
            let billions = row.int(&format!("{side}_billions_before"))?;
            Ok::<_, DatabaseError>(whole(billions, row.int(&format!("{side}_units_before"))?))
        };
        with(BookMove {
            unit: row.parsed("unit")?,
            book: row.text("name")?,
            opening: two("debit")? - two("credit")?,
            debit,
            credit,
            entries,
        })
    })
    .await
}

/// All that is owed to accounts under one name, or each under its own.
pub(crate) fn book_name(each_account: bool) -> String {
    let owed = Book::LIABILITY;
    match each_account {
        true => "book".to_owned(),
        // The semicolon is the character after the colon.
        false => format!("CASE WHEN book >= '{owed}:' AND book < '{owed};' THEN '{owed}' ELSE book END"),
    }
}

/// What the books have beyond the lines of events.
fn usage_sql(tx: &Tx, span: &Span) -> (String, Vec<Value>) {
    let sum = |column: &str| format!("{} AS {column}", tx.dialect().sum(column));
    let sums = [
        sum("entries"),
        sum("debit_billions"),
        sum("debit_units"),
        sum("credit_billions"),
        sum("credit_units"),
    ]
    .join(", ");
    // An amount is taken apart as `journal_daily` has it. Of two integers `%` has the dividend's sign in all three.
    let part = |is: &str, sign: &str| {
        let rest = format!("amount % {BILLION}");
        format!(
            "CASE WHEN amount {is} 0 THEN {sign}(amount - {rest}) / {BILLION} ELSE 0 END, \
             CASE WHEN amount {is} 0 THEN {sign}({rest}) ELSE 0 END"
        )
    };
    let (holds, of_entries) = span.holds();
    let entries = format!(
        "SELECT {{day}}unit, book, -1, {}, {} FROM journal_entries WHERE {holds}",
        part(">", "-"),
        part("<", "")
    );
    let (sql, mut values) = if span.is_open() {
        let daily = "SELECT day, unit, book, entries, debit_billions, debit_units, credit_billions, credit_units \
                     FROM journal_daily WHERE day > ? AND day <= ?";
        let sql = format!(
            "SELECT day, unit, book, {sums} FROM ({daily} UNION ALL {}) used GROUP BY day, unit, book \
             ORDER BY day, unit, book",
            entries.replace("{day}", "day, ")
        );
        (sql, vec![Value::display(span.after.day), Value::display(span.until.day)])
    } else {
        let ((until, first), (after, second)) = (span.until.sums(""), span.after.sums("-"));
        let sql = format!(
            "SELECT unit, book, {sums} FROM ({until} UNION ALL {after} UNION ALL {}) used GROUP BY unit, book \
             ORDER BY unit, book",
            entries.replace("{day}", "")
        );
        (sql, vec![first, second])
    };
    values.extend(of_entries);
    (sql, values)
}

fn whole(billions: i64, units: i64) -> i128 {
    i128::from(billions) * i128::from(BILLION) + i128::from(units)
}

/// Entries, debits and credits of a row of sums.
fn sums(row: &Row) -> Result<(u64, i128, i128), DatabaseError> {
    let side = |side: &str| {
        let billions = row.int(&format!("{side}_billions"))?;
        Ok::<_, DatabaseError>(whole(billions, row.int(&format!("{side}_units"))?))
    };
    Ok((row.count("entries")?, side("debit")?, side("credit")?))
}

fn entry(row: &Row) -> Result<JournalLine, DatabaseError> {
    let line = u32::try_from(row.int("line")?).map_err(|error| DatabaseError::column("line", error))?;
    let amount = i128::from(row.int("amount")?);
    Ok(JournalLine {
        source: LineSource::Event { event_seq: row.count("event_seq")?, line, at: row.moment("at")? },
        day: row.text("day")?,
        kind: row.text("type")?,
        account: row.opt_parsed("account")?,
        book: row.text("book")?,
        unit: row.parsed("unit")?,
        debit: amount.max(0),
        credit: (-amount).max(0),
        entries: 1,
    })
}
