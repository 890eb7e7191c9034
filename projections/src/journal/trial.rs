use super::fold::BILLION;
use crate::{Checkpoint, Database, DatabaseError, Row};
use chrono::NaiveDate;
use domain::{Book, Unit};
use std::collections::BTreeMap;

/// Debits and credits, in nano-credits or minor units, both counted above zero. They are sums over all accounts and all
/// days, hence wider than an amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// All debits.
    pub debit: i128,
    /// All credits.
    pub credit: i128,
    /// How many lines they are made of.
    pub entries: u64,
}

impl Sums {
    /// Debits less credits: what a book holds, above zero on the debit side.
    pub fn balance(&self) -> i128 {
        self.debit - self.credit
    }
}

/// A book, or a chapter of books, with its sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookSums {
    /// In which unit.
    pub unit: Unit,
    /// The book's name; all `liability:credits:<account>` together are `liability:credits`.
    pub book: String,
    /// Its sums.
    pub sums: Sums,
}

/// All books at the end of a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalance {
    /// The last day in it.
    pub day: NaiveDate,
    /// Every event up to this position is in it.
    pub position: u64,
    /// The books, by unit (credits first) and name.
    pub books: Vec<BookSums>,
    /// All books of a unit together: their balance is zero, or the tables are damaged.
    pub totals: BTreeMap<Unit, Sums>,
}

/// The sums of all books up to a day, that day included. The debt to each account is a book; they are shown as one, for
/// there may be very many. Days are the operator's. Usage is booked on the day of the call,
/// so a day that has ended still grows by what nodes report of it.
pub async fn trial_balance(db: &Database, day: NaiveDate) -> Result<TrialBalance, DatabaseError> {
    let owed = Book::LIABILITY;
    let sum = |column| format!("{} AS {column}_sum", db.dialect().sum(column));
    // All names that begin with `liability:credits:`; the semicolon is the character after the colon.
    let sql = format!(
        "SELECT unit, CASE WHEN book >= '{owed}:' AND book < '{owed};' THEN '{owed}' ELSE book END \
         AS name, {}, {}, {}, {}, {} FROM journal_daily WHERE day <= ? GROUP BY unit, name",
        sum("entries"),
        sum("debit_billions"),
        sum("debit_units"),
        sum("credit_billions"),
        sum("credit_units"),
    );
    // One state, so that the sums and the position belong together.
    let mut tx = db.snapshot().await?;
    let position = Checkpoint::read_in(&mut tx).await?.sequence;
    let rows = tx.fetch_all(&sql, &[day.format("%Y-%m-%d").to_string().into()]).await?;
    tx.rollback().await?;

    let mut books = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    books.sort_by(|one, other| (one.unit, &one.book).cmp(&(other.unit, &other.book)));
    let mut totals: BTreeMap<Unit, Sums> = BTreeMap::new();
    for book in &books {
        let total = totals.entry(book.unit).or_default();
        total.debit += book.sums.debit;
        total.credit += book.sums.credit;
        total.entries = total.entries.saturating_add(book.sums.entries);
    }
    Ok(TrialBalance { day, position, books, totals })
}

fn read(row: &Row) -> Result<BookSums, DatabaseError> {
    let side = |side: &str| {
        let billions = row.int(&format!("{side}_billions_sum"))?;
        let units = row.int(&format!("{side}_units_sum"))?;
        Ok::<_, DatabaseError>(i128::from(billions) * i128::from(BILLION) + i128::from(units))
    };
    let sums = Sums { debit: side("debit")?, credit: side("credit")?, entries: row.count("entries_sum")? };
    Ok(BookSums { unit: row.parsed("unit")?, book: row.text("name")?, sums })
}
