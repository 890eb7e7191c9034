use crate::calendar::local_day;
use crate::facts::Facts;
use crate::{Halt, ProjectionError, Set, Tx, Value};
use chrono::FixedOffset;
use domain::posting::{of_taken_back, of_usage};
use domain::{AccountId, Book, Event, Moment, Posting, Recorded, Unit, postings};
use std::collections::BTreeMap;

/// The columns of `journal_entries`.
pub(super) const COLUMNS: [&str; 9] =
    ["event_seq", "line", "at", "day", "type", "account", "book", "unit", "amount"];

const DAILY_KEYS: [&str; 3] = ["day", "unit", "book"];
const DAILY_SUMS: [&str; 5] = ["entries", "debit_billions", "debit_units", "credit_billions", "credit_units"];

/// What one of a sum's two columns counts in units of the other.
pub(crate) const BILLION: i64 = 1_000_000_000;

/// What a batch adds to the journal.
#[derive(Debug, Default)]
pub(crate) struct JournalRows {
    entries: Vec<Value>,
    days: BTreeMap<String, BTreeMap<(Unit, Book), Day>>,
}

/// What a day adds to a book.
#[derive(Clone, Copy, Debug, Default)]
struct Day {
    entries: i64,
    debit: TwoPart,
    credit: TwoPart,
}

/// A sum as its row holds it. Amounts are taken apart one by one and never put together, so that the row is the same
/// however the log was cut into batches.
#[derive(Clone, Copy, Debug, Default)]
struct TwoPart {
    billions: i64,
    units: i64,
}

impl JournalRows {
    /// What a batch means for the books; pure.
    pub(crate) fn fold(facts: &Facts<'_>) -> Result<Self, Halt> {
        let mut rows = Self::default();
        for decision in &facts.decisions {
            rows.event(decision.recorded, Some(decision.account), facts.zone)?;
        }
        for recorded in &facts.suspended {
            rows.event(recorded, None, facts.zone)?;
        }
        for counted in &facts.usage {
            let lines = of_usage(counted.record, counted.split());
            // The day that billing counts the call in.
            rows.book(lines, counted.record.usage.at, counted.sequence, facts.zone)?;
        }
        for it in &facts.taken_back {
            rows.book(of_taken_back(it.account, it.record.paid), it.record.at, it.sequence, facts.zone)?;
        }
        Ok(rows)
    }

    /// An event whose lines are kept each by itself.
    fn event(
        &mut self,
        recorded: &Recorded<Event>,
        account: Option<AccountId>,
        zone: FixedOffset,
    ) -> Result<(), Halt> {
        let lines = postings(&recorded.event);
        if lines.is_empty() {
            return Ok(());
        }
        let day = local_day(recorded.at, zone).day;
        for (number, line) in (0_i64..).zip(&lines) {
            self.entries.extend([
                Value::count(recorded.sequence),
                number.into(),
                recorded.at.into(),
                day.as_str().into(),
                ledger::codec::type_name(&recorded.event).into(),
                account.into(),
                Value::display(&line.book),
                Value::display(line.unit),
                line.amount.into(),
            ]);
        }
        self.book(lines, recorded.at, recorded.sequence, zone)
    }

    fn book(
        &mut self,
        lines: Vec<Posting>,
        at: Moment,
        sequence: u64,
        zone: FixedOffset,
    ) -> Result<(), Halt> {
        if lines.is_empty() {
            return Ok(());
        }
        let books = self.days.entry(local_day(at, zone).day).or_default();
        for line in lines {
            let day = books.entry((line.unit, line.book)).or_default();
            day.add(line.amount).ok_or(Halt::BooksOverflow { sequence })?;
        }
        Ok(())
    }

    /// Moves the days to those of earlier batches; the entries stay.
    pub(crate) fn move_sums(&mut self, earlier: &mut Self) -> Result<(), Halt> {
        for (name, books) in std::mem::take(&mut self.days) {
            let day = earlier.days.entry(name.clone()).or_default();
            for (book, it) in books {
                let merged = day.entry(book).or_default().merge(it);
                merged.ok_or_else(|| Halt::Unreadable(format!("the books of {name}: a sum does not fit")))?;
            }
        }
        Ok(())
    }

    /// How many days and books it is.
    pub(crate) fn sums(&self) -> usize {
        self.days.values().map(BTreeMap::len).sum()
    }

    /// The lines in multi-row inserts, the days in one upsert.
    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), ProjectionError> {
        tx.insert("journal_entries", &COLUMNS, &self.entries, "").await?;
        let columns: Vec<&str> = DAILY_KEYS.into_iter().chain(DAILY_SUMS).collect();
        let mut values = Vec::new();
        for (day, books) in &self.days {
            for ((unit, book), it) in books {
                values.extend([day.as_str().into(), Value::display(unit), Value::display(book)]);
                let sums =
                    [it.entries, it.debit.billions, it.debit.units, it.credit.billions, it.credit.units];
                values.extend(sums.map(Value::from));
            }
        }
        let sets = DAILY_SUMS.map(Set::Add);
        let tail = tx.dialect().upsert("journal_daily", &DAILY_KEYS, &sets);
        tx.insert("journal_daily", &columns, &values, &tail).await?;
        Ok(())
    }
}

impl Day {
    /// `None`: a sum does not fit.
    fn merge(&mut self, later: Self) -> Option<()> {
        self.entries = self.entries.checked_add(later.entries)?;
        for (side, more) in [(&mut self.debit, later.debit), (&mut self.credit, later.credit)] {
            side.billions = side.billions.checked_add(more.billions)?;
            side.units = side.units.checked_add(more.units)?;
        }
        Some(())
    }

    /// `None`: a sum does not fit.
    fn add(&mut self, amount: i64) -> Option<()> {
        self.entries = self.entries.checked_add(1)?;
        let side = if amount < 0 { &mut self.credit } else { &mut self.debit };
        let (billions, units) = (amount / BILLION, amount % BILLION);
        side.billions = side.billions.checked_add(billions.checked_abs()?)?;
        side.units = side.units.checked_add(units.checked_abs()?)?;
        Some(())
    }
}

#[cfg(test)]
impl JournalRows {
    /// Of each unit: how many lines, and debits less credits.
    pub(super) fn by_unit(&self) -> BTreeMap<Unit, (i64, i128)> {
        let mut sums = BTreeMap::new();
        for ((unit, _), day) in self.days.values().flatten() {
            let whole = |it: TwoPart| i128::from(it.billions) * i128::from(BILLION) + i128::from(it.units);
            let (entries, over): &mut (i64, i128) = sums.entry(*unit).or_default();
            *entries += day.entries;
            *over += whole(day.debit) - whole(day.credit);
        }
        sums
    }
}
