//! What has no counterpart, with its age: the file that says what finance still has to look for.
//!
//! Claims: what waits when the file is made is in it, if it came by the end of the last day that was asked for; ages are counted to
//! that moment, in whole days.

use super::table::{Cell, Column, amount, count, text};
use crate::directory::unmatched::Item;
use domain::{Moment, Money};

const DAY_US: i64 = 86_400_000_000;

/// The columns.
pub const COLUMNS: [Column; 19] = [
    text("kind"),
    text("channel"),
    text("id"),
    text("what"),
    text("state"),
    text("since_utc"),
    count("age_days"),
    text("ageing"),
    text("user_id"),
    text("order_number"),
    text("transaction_id"),
    text("refund_number"),
    text("ledger_currency"),
    amount("ledger_amount"),
    text("channel_currency"),
    amount("channel_amount"),
    text("owner"),
    text("detail"),
    text("as_of_utc"),
];

/// How many whole days it has waited, and which bucket that is. A clock that runs ahead makes it new.
pub fn age(since: Moment, at: Moment) -> (u64, &'static str) {
    let days = u64::try_from((at.micros() - since.micros()) / DAY_US).unwrap_or(0);
    // In words, for a spreadsheet takes `2-7` for a date.
    let bucket = match days {
        ..=1 => "0-1 days",
        2..=7 => "2-7 days",
        8..=30 => "8-30 days",
        31.. => "over 30 days",
    };
    (days, bucket)
}

/// A row.
pub fn cells(it: &Item, at: Moment) -> [Cell; COLUMNS.len()] {
    let (days, bucket) = age(it.since, at);
    let currency = |money: Option<Money>| Cell::opt_text(money.map(|it| it.currency));
    let sum = |money: Option<Money>| money.map_or(Cell::Empty, |it| Cell::amount(it.amount()));
    [
        Cell::text(it.kind),
        Cell::text(&it.channel),
        Cell::text(&it.id),
        Cell::text(&it.what),
        Cell::text(&it.state),
        Cell::moment(it.since),
        Cell::Count(days),
        Cell::text(bucket),
        Cell::opt_text(it.account),
        Cell::opt_text(it.order_number.as_ref()),
        Cell::opt_text(it.transaction.as_ref()),
        Cell::opt_text(it.refund_number.as_ref()),
        currency(it.ledger),
        sum(it.ledger),
        currency(it.channel_says),
        sum(it.channel_says),
        Cell::opt_text(it.owner),
        Cell::opt_text(it.detail.as_ref()),
        Cell::moment(at),
    ]
}

#[cfg(test)]
mod tests;
