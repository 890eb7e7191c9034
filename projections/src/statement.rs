//! Statements: what an account had at two moments, and everything between them.
//!
//! For: the numbers of a statement ([`statement`]), by whichever clock the account's owner has.
//! May not touch: clocks and zones; the caller says where days begin.
//! Claims: opening + everything in it = closing, to the nano; a closing is the opening of what begins there; the closing of
//! a statement that reaches beyond the last movement is the balance's `total`; all of it is of one position of the log.
//!
//! Decisions count when they were decided, calls when they were made, each by the clock of who wrote them: what the books say of
//! the account's own book, but by moments instead of the operator's days. A call that is reported late changes the statement of
//! the month in which it was made. Calls that left for an archive count by the sums of quarters of an hour that are kept of them: days
//! of every zone begin at one.

use crate::usage::SLOT;
use crate::{Checkpoint, Database, DatabaseError, Tx, Value};
use domain::{AccountId, Book, Credits, Moment, Money, Unit};
use std::collections::BTreeMap;

/// What happened to an account's credits between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What the account had before.
    pub opening: Credits,
    /// Decisions that moved credits, oldest first.
    pub movements: Vec<Movement>,
    /// Usage by day, as the caller counts days; oldest first.
    pub days: BTreeMap<i64, Usage>,
    /// Usage by model.
    pub models: BTreeMap<String, Usage>,
    /// What the account had at the end.
    pub closing: Credits,
    /// Every event up to this one is in it.
    pub position: u64,
}

/// A decision that moved credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// When it was decided.
    pub at: Moment,
    /// Where it stands on the log.
    pub event_seq: u64,
    /// Its type, as on the log.
    pub kind: String,
    /// Above zero: they came in.
    pub amount: Credits,
    /// What the bill says of it, where it has a line of its own.
    pub bill: Option<Bill>,
}

/// What a line of the bill says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// A sentence for the reader.
    pub description: String,
    /// The order, grant or adjustment.
    pub reference: String,
    /// The payer's money.
    pub money: Option<Money>,
}

/// Calls, and what was paid for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many.
    pub calls: u64,
    /// What the account paid, in nano-credits.
    pub paid: i128,
    /// When the last one was made, in microseconds since 1970.
    pub last: i64,
}

/// The statement of an account from a moment (within) to another (without). `day` numbers the day of a moment.
pub async fn statement(
    db: &Database,
    account: AccountId,
    (from, to): (Moment, Moment),
    day: impl Fn(Moment) -> i64,
) -> Result<Statement, DatabaseError> {
    let mut tx = db.snapshot().await?;
    let position = Checkpoint::read_in(&mut tx).await?.sequence;
    let owed = Book::Liability(account).to_string();

    let sum = tx.dialect().sum("amount");
    let sql = format!("SELECT {sum} AS owed FROM journal_entries WHERE book = ? AND unit = ? AND at < ?");
    let values = [owed.as_str().into(), Value::display(Unit::Credits), from.into()];
    // A debt is a credit, and below zero.
    let decided = -i128::from(tx.fetch_one(&sql, &values).await?.int("owed")?);

    let mut movements = Vec::new();
    let sql = "SELECT event_seq, at, type, amount FROM journal_entries WHERE book = ? AND unit = ? AND at >= ? \
               AND at < ? ORDER BY at, event_seq, line";
    let values = [owed.into(), Value::display(Unit::Credits), from.into(), to.into()];
    tx.for_each(sql, &values, |row| {
        let amount = row.credits("amount")?.checked_neg();
        movements.push(Movement {
            at: row.moment("at")?,
            event_seq: row.count("event_seq")?,
            kind: row.text("type")?,
            amount: amount.ok_or_else(|| DatabaseError::column("amount", "has no opposite"))?,
            bill: None,
        });
        Ok(())
    })
    .await?;

    // What was used before is all that was used, less what was used since: a month is read, and not the years before it.
    let used = "SELECT used FROM account_balances WHERE account = ?";
    let used = tx.fetch_optional(used, &[account.into()]).await?;
    let used = used.map_or(Ok(0), |row| row.int("used"))?;
    let (mut since, mut days, mut models) =
        (0_i128, BTreeMap::<i64, Usage>::new(), BTreeMap::<String, Usage>::new());
    let sql = "SELECT at, model, paid FROM usage_records WHERE account = ? AND at >= ?";
    tx.for_each(sql, &[account.into(), from.into()], |row| {
        let (at, paid) = (row.moment("at")?, i128::from(row.int("paid")?));
        since += paid;
        if at < to {
            days.entry(day(at)).or_default().add(1, paid, at.micros());
            models.entry(row.text("model")?).or_default().add(1, paid, at.micros());
        }
        Ok(())
    })
    .await?;
    let sql = "SELECT slot, model, calls, paid, last_at FROM usage_carried WHERE account = ? AND slot > ?";
    let first = Value::from(from.micros().saturating_sub(SLOT));
    tx.for_each(sql, &[account.into(), first], |row| {
        let (slot, paid) = (row.moment("slot")?, i128::from(row.int("paid")?));
        let cut = |at: Moment| slot < at && at.micros() < slot.micros().saturating_add(SLOT);
        if cut(from) || cut(to) {
            let why = "is no quarter of an hour, and no finer sums are kept of calls that were archived";
            return Err(DatabaseError::column("a statement's first or last moment", why));
        }
        since += paid;
        if slot < to {
            let (calls, last) = (row.count("calls")?, row.int("last_at")?);
            days.entry(day(slot)).or_default().add(calls, paid, last);
            models.entry(row.text("model")?).or_default().add(calls, paid, last);
        }
        Ok(())
    })
    .await?;
    describe(&mut tx, account, &mut movements).await?;
    tx.rollback().await?;

    let opening = decided - (i128::from(used) - since);
    let moved: i128 = movements.iter().map(|it| i128::from(it.amount.nano())).sum();
    let paid: i128 = days.values().map(|it| it.paid).sum();
    Ok(Statement {
        opening: credits(opening)?,
        closing: credits(opening + moved - paid)?,
        movements,
        days,
        models,
        position,
    })
}

impl Usage {
    fn add(&mut self, calls: u64, paid: i128, last: i64) {
        self.last = if self.calls == 0 { last } else { self.last.max(last) };
        self.calls += calls;
        self.paid += paid;
    }
}

fn credits(nano: i128) -> Result<Credits, DatabaseError> {
    let nano = i64::try_from(nano).map_err(|error| DatabaseError::column("a statement's sum", error))?;
    Ok(Credits::from_nano(nano))
}

/// Adds what the bill says of movements.
async fn describe(tx: &mut Tx, account: AccountId, movements: &mut [Movement]) -> Result<(), DatabaseError> {
    let sequences = || movements.iter().map(|it| it.event_seq);
    let (Some(first), Some(last)) = (sequences().min(), sequences().max()) else { return Ok(()) };
    let sql = "SELECT first_seq, event_seq, description, reference, amount, currency FROM billing_records \
               WHERE user_id = ? AND type <> 'consumption' AND event_seq >= ? AND first_seq <= ?";
    let values = [account.into(), Value::count(first), Value::count(last)];
    let mut bills: BTreeMap<u64, Bill> = BTreeMap::new();
    tx.for_each(sql, &values, |row| {
        let money = match row.opt_int("amount")? {
            None => None,
            Some(minor) => Some(Money { currency: row.parsed("currency")?, minor }),
        };
        let bill = Bill { description: row.text("description")?, reference: row.text("reference")?, money };
        bills.insert(row.count("first_seq")?, bill.clone());
        bills.insert(row.count("event_seq")?, bill);
        Ok(())
    })
    .await?;
    for it in movements {
        it.bill = bills.get(&it.event_seq).cloned();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
