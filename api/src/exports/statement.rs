//! Statements of a month, for an account's owner: the numbers, and the files they are handed out in.
//!
//! Claims: opening + credits − charges − refunds + adjustments = closing, to the nano, in every format; the closing of a month is
//! the opening of the next.

use super::pdf::{Document, Face, LEFT, Place, RIGHT};
use super::table::{Cell, Column, Table, TableFormat, amount, count, text};
use super::{ExportError, StatementError};
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use domain::{AccountId, Credits, Moment, Unit};
use projections::periods::Month;
use projections::{Database, statement};
use relay::zone::Zone;
use serde::Serialize;
use std::collections::BTreeMap;

/// A month of an account, in its owner's time zone. Amounts are decimal strings of credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Statement {
    /// Whose.
    #[schema(value_type = uuid::Uuid)]
    pub account: AccountId,
    /// Their name.
    pub user: String,
    /// The month.
    #[schema(example = "2026-11")]
    pub month: String,
    /// By whose clock.
    #[schema(example = "Asia/Shanghai")]
    pub time_zone: String,
    /// When it begins.
    #[schema(value_type = String, format = DateTime)]
    pub from: Moment,
    /// When it ends: the first moment after it.
    #[schema(value_type = String, format = DateTime)]
    pub to: Moment,
    /// When this was read.
    #[schema(value_type = String, format = DateTime)]
    pub as_of: Moment,
    /// Every event of the log up to this one is in it.
    pub position: u64,
    /// Is the month over? A call of it may still be reported for some minutes after.
    pub complete: bool,
    /// What the amounts count.
    #[schema(example = "credits")]
    pub unit: String,
    /// What there was at the beginning.
    pub opening: String,
    /// What came in: top-ups and gifts.
    pub credits: String,
    /// What calls cost.
    pub charges: String,
    /// What went back to the payer, or was taken back by a bank; below zero where more of it returned.
    pub refunds: String,
    /// Corrections, and all else; below zero where they took credits.
    pub adjustments: String,
    /// What there was at the end.
    pub closing: String,
    /// What happened, oldest first.
    pub lines: Vec<StatementLine>,
    /// The calls by model.
    pub by_model: Vec<ModelLine>,
    /// What was paid for top-ups of the month, by currency.
    pub paid: Vec<PaidLine>,
}

/// A line of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct StatementLine {
    /// When; of a day's calls, the last one.
    #[schema(value_type = String, format = DateTime)]
    pub at: Moment,
    /// The day, in the statement's time zone.
    #[schema(example = "2026-11-22")]
    pub day: String,
    /// What it is.
    pub kind: StatementKind,
    /// A sentence for the reader.
    pub description: String,
    /// The order, grant or adjustment.
    pub reference: Option<String>,
    /// The payer's money.
    pub money: Option<PaidLine>,
    /// How many calls; of charges only.
    pub calls: Option<u64>,
    /// Above zero: credits came in.
    #[schema(example = "6.944444444")]
    pub amount: String,
    /// What there was after it.
    pub balance: String,
}

crate::directory::words! {
    /// What a line of a statement is.
    StatementKind {
        /// A payment.
        TopUp = "topup",
        /// A gift.
        Grant = "grant",
        /// A day's calls.
        Charge = "charge",
        /// Money given back, or taken back.
        Refund = "refund",
        /// A correction, and all else.
        Adjustment = "adjustment",
    }

    /// What a statement is handed out as.
    StatementFormat {
        /// JSON.
        Json = "json",
        /// Comma-separated values.
        Csv = "csv",
        /// An Excel workbook.
        Xlsx = "xlsx",
        /// PDF.
        Pdf = "pdf",
    }
}

/// Calls of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ModelLine {
    /// The model.
    pub model: String,
    /// How many.
    pub calls: u64,
    /// What they cost.
    pub amount: String,
}

/// Money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PaidLine {
    /// ISO 4217.
    #[schema(example = "CNY")]
    pub currency: String,
    /// A decimal string.
    #[schema(example = "50.00")]
    pub amount: String,
}

/// When a day begins there: the first moment that a clock of the zone shows it.
pub fn midnight(zone: Zone, day: NaiveDate) -> Moment {
    let utc: DateTime<Utc> = day.and_time(NaiveTime::MIN).and_utc();
    let at = Moment::from(utc).micros();
    // No clock is further from UTC than a day; where clocks change at midnight, this is where it first strikes or is skipped.
    let (mut before, mut after) = (at - 100_000_000_000, at + 100_000_000_000);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        match zone.date(Moment::from_micros(middle)) < day {
            true => before = middle,
            false => after = middle,
        }
    }
    Moment::from_micros(after)
}

/// Which month it is there now.
pub fn month_now(zone: Zone, now: Moment) -> Month {
    Month::of(zone.date(now))
}

/// Puts a month's statement together.
pub async fn of_month(
    db: &Database,
    (account, user): (AccountId, &str),
    month: Month,
    zone: Zone,
    now: Moment,
) -> Result<Statement, StatementError> {
    let (from, to) = (midnight(zone, month.first()), midnight(zone, month.next().first()));
    let day = |at: Moment| i64::from(zone.date(at).clamp(month.first(), month.last()).num_days_from_ce());
    let read = statement::statement(db, account, (from, to), day).await?;

    let mut lines: Vec<(Moment, i128, StatementLine)> = Vec::new();
    let mut paid: BTreeMap<domain::Currency, i128> = BTreeMap::new();
    let (mut credits, mut refunds, mut adjustments, mut charges) = (0_i128, 0_i128, 0_i128, 0_i128);
    for it in read.movements {
        let (kind, words) = of_event(&it.kind);
        let amount = i128::from(it.amount.nano());
        match kind {
            StatementKind::TopUp | StatementKind::Grant => credits += amount,
            StatementKind::Refund => refunds -= amount,
            StatementKind::Adjustment | StatementKind::Charge => adjustments += amount,
        }
        let money = it.bill.as_ref().and_then(|bill| bill.money).filter(|_| kind == StatementKind::TopUp);
        if let Some(money) = money {
            *paid.entry(money.currency).or_default() += i128::from(money.minor);
        }
        // A bill tells of the whole order; what is told of a refund of it is its own.
        let bill = it.bill.filter(|_| kind != StatementKind::Refund);
        let line = StatementLine {
            at: it.at,
            day: zone.date(it.at).to_string(),
            kind,
            description: bill.as_ref().map_or_else(|| words.to_owned(), |bill| bill.description.clone()),
            reference: bill.map(|bill| bill.reference),
            money: money.map(|it| PaidLine { currency: it.currency.to_string(), amount: it.amount() }),
            calls: None,
            amount: String::new(),
            balance: String::new(),
        };
        lines.push((it.at, amount, line));
    }
    for (number, used) in read.days {
        charges += used.paid;
        let at = Moment::from_micros(used.last);
        let day =
            i32::try_from(number).ok().and_then(NaiveDate::from_num_days_from_ce_opt).unwrap_or_default();
        let line = StatementLine {
            at,
            day: day.to_string(),
            kind: StatementKind::Charge,
            description: format!("Usage on {day}"),
            reference: None,
            money: None,
            calls: Some(used.calls),
            amount: String::new(),
            balance: String::new(),
        };
        lines.push((at, -used.paid, line));
    }
    lines.sort_by_key(|(at, ..)| *at);
    let mut balance = i128::from(read.opening.nano());
    let lines = lines.into_iter().map(|(_, amount, line)| {
        balance += amount;
        StatementLine { amount: decimal(amount), balance: decimal(balance), ..line }
    });
    let lines: Vec<_> = lines.collect();
    // What is handed out is what adds up, or nothing.
    let sum = i128::from(read.opening.nano()) + credits - charges - refunds + adjustments;
    if sum != i128::from(read.closing.nano()) || balance != sum {
        return Err(StatementError::DoesNotAddUp { account, month: month.to_string() });
    }
    let mut by_model: Vec<_> = read.models.into_iter().collect();
    by_model.sort_by_key(|(_, used)| std::cmp::Reverse(used.paid));
    Ok(Statement {
        account,
        user: user.to_owned(),
        month: month.to_string(),
        time_zone: zone.to_string(),
        from,
        to,
        as_of: now,
        position: read.position,
        complete: to <= now,
        unit: Unit::Credits.to_string(),
        opening: read.opening.to_string(),
        credits: decimal(credits),
        charges: decimal(charges),
        refunds: decimal(refunds),
        adjustments: decimal(adjustments),
        closing: read.closing.to_string(),
        lines,
        by_model: by_model
            .into_iter()
            .map(|(model, used)| ModelLine { model, calls: used.calls, amount: decimal(used.paid) })
            .collect(),
        paid: paid
            .into_iter()
            .map(|(currency, minor)| PaidLine {
                currency: currency.to_string(),
                amount: Unit::Money(currency).decimal(minor),
            })
            .collect(),
    })
}

fn decimal(nano: i128) -> String {
    // As every other amount is written.
    i64::try_from(nano)
        .map_or_else(|_| Unit::Credits.decimal(nano), |nano| Credits::from_nano(nano).to_string())
}

/// What an event is on a statement. Any that has a line in the account's book has a place, whatever it is called.
fn of_event(kind: &str) -> (StatementKind, &'static str) {
    match kind {
        "top_up_completed" => (StatementKind::TopUp, "Top-up"),
        "credit_granted" => (StatementKind::Grant, "Gift"),
        "refund_requested" => (StatementKind::Refund, "Refund: credits set aside"),
        "refund_failed" => (StatementKind::Refund, "Refund that was not made: credits returned"),
        "refund_completed" => (StatementKind::Refund, "Refund"),
        "chargeback_posted" => (StatementKind::Refund, "Payment taken back by the payer's bank"),
        "chargeback_reversed" => (StatementKind::Refund, "Payment given back by the payer's bank"),
        "adjustment_posted" => (StatementKind::Adjustment, "Adjustment"),
        _ => (StatementKind::Adjustment, "Correction"),
    }
}

const COLUMNS: [Column; 11] = [
    text("day"),
    text("time_utc"),
    text("time_zone_of_day"),
    text("kind"),
    text("description"),
    text("reference"),
    amount("paid_amount"),
    text("paid_currency"),
    count("calls"),
    amount("credits"),
    amount("balance"),
];

impl Statement {
    /// As a table: the opening, the lines, the closing.
    pub fn table(&self, format: TableFormat) -> Result<Vec<u8>, ExportError> {
        let mut table = Table::begin(format, "statement", &COLUMNS, Vec::new())?;
        let (first, last) = (self.day_of(self.from), self.day_of(Moment::from_micros(self.to.micros() - 1)));
        self.edge(&mut table, "opening", &first, self.from, &self.opening)?;
        for it in &self.lines {
            let money = it.money.as_ref();
            table.row(&[
                Cell::text(&it.day),
                Cell::moment(it.at),
                Cell::text(&self.time_zone),
                Cell::text(it.kind),
                Cell::text(&it.description),
                Cell::opt_text(it.reference.as_ref()),
                money.map_or(Cell::Empty, |it| Cell::amount(&it.amount)),
                Cell::opt_text(money.map(|it| &it.currency)),
                it.calls.map_or(Cell::Empty, Cell::Count),
                Cell::amount(&it.amount),
                Cell::amount(&it.balance),
            ])?;
        }
        self.edge(&mut table, "closing", &last, self.to, &self.closing)?;
        table.finish()
    }

    fn edge(
        &self,
        table: &mut Table<Vec<u8>>,
        kind: &str,
        day: &str,
        at: Moment,
        balance: &str,
    ) -> Result<(), ExportError> {
        let mut cells =
            vec![Cell::text(day), Cell::moment(at), Cell::text(&self.time_zone), Cell::text(kind)];
        cells.extend([Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty, Cell::Empty]);
        cells.push(Cell::amount(balance));
        table.row(&cells)
    }

    fn day_of(&self, at: Moment) -> String {
        self.time_zone.parse::<Zone>().map_or_else(|_| String::new(), |zone| zone.date(at).to_string())
    }

    /// As PDF. `site`: who hands it out.
    pub fn pdf(&self, site: &str) -> Vec<u8> {
        let mut page = Document::new(&format!("{site}: statement {}", self.month));
        page.text(Face::Bold, 16, Place::From(LEFT, RIGHT), &format!("Statement {}", self.month));
        page.down(20);
        page.text(Face::Plain, 10, Place::From(LEFT, RIGHT), site);
        page.down(22);
        let last = self.day_of(Moment::from_micros(self.to.micros() - 1));
        for (name, value) in [
            ("Account of", self.user.clone()),
            ("Account", self.account.to_string()),
            ("Period", format!("{} to {last} ({})", self.day_of(self.from), self.time_zone)),
            ("As of", format!("{} (ledger position {})", self.as_of, self.position)),
        ] {
            page.text(Face::Plain, 9, Place::From(LEFT, 120), name);
            page.text(Face::Plain, 9, Place::From(120, RIGHT), &value);
            page.down(13);
        }
        if !self.complete {
            page.text(
                Face::Bold,
                9,
                Place::From(LEFT, RIGHT),
                "The month is not over: this is what it holds so far.",
            );
            page.down(13);
        }
        page.down(8);
        for (name, value, face) in [
            ("Opening balance", &self.opening, Face::Bold),
            ("Credits", &self.credits, Face::Plain),
            ("Charges", &self.charges, Face::Plain),
            ("Refunds", &self.refunds, Face::Plain),
            ("Adjustments", &self.adjustments, Face::Plain),
            ("Closing balance", &self.closing, Face::Bold),
        ] {
            page.text(face, 10, Place::From(LEFT, 250), name);
            page.text(face, 10, Place::To(360), value);
            page.down(14);
        }
        for it in &self.paid {
            page.text(Face::Plain, 9, Place::From(LEFT, 250), &format!("Paid for top-ups, {}", it.currency));
            page.text(Face::Plain, 9, Place::To(360), &it.amount);
            page.down(13);
        }
        page.down(10);
        head(&mut page);
        for it in &self.lines {
            if page.down(13) {
                head(&mut page);
                page.down(13);
            }
            let description = match it.calls {
                Some(1) => format!("{}: 1 call", it.description),
                Some(calls) => format!("{}: {calls} calls", it.description),
                None => it.description.clone(),
            };
            page.text(Face::Plain, 8, Place::From(LEFT, 100), &it.day);
            page.text(Face::Plain, 8, Place::From(102, 330), &description);
            if let Some(money) = &it.money {
                page.text(Face::Plain, 8, Place::To(395), &format!("{} {}", money.amount, money.currency));
            }
            page.text(Face::Plain, 8, Place::To(470), &it.amount);
            page.text(Face::Plain, 8, Place::To(RIGHT), &it.balance);
        }
        if !self.by_model.is_empty() {
            page.down(26);
            page.text(Face::Bold, 9, Place::From(LEFT, 300), "Charges by model");
            page.text(Face::Bold, 9, Place::To(395), "calls");
            page.text(Face::Bold, 9, Place::To(RIGHT), "credits");
            page.rule();
            for it in &self.by_model {
                page.down(13);
                page.text(Face::Plain, 8, Place::From(LEFT, 340), &it.model);
                page.text(Face::Plain, 8, Place::To(395), &it.calls.to_string());
                page.text(Face::Plain, 8, Place::To(RIGHT), &it.amount);
            }
        }
        page.finish(&format!("{site}: statement {} of account {}", self.month, self.account))
    }
}

fn head(page: &mut Document) {
    page.text(Face::Bold, 8, Place::From(LEFT, 100), "Day");
    page.text(Face::Bold, 8, Place::From(102, 330), "Description");
    page.text(Face::Bold, 8, Place::To(395), "Paid");
    page.text(Face::Bold, 8, Place::To(470), "Credits");
    page.text(Face::Bold, 8, Place::To(RIGHT), "Balance");
    page.rule();
}

#[cfg(test)]
mod tests;
