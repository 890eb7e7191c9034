//! What the tables say, asked seldom: the books, orders, queues, leases of all nodes.
//!
//! Claims: however often a page is asked for, the database is asked once in [`OFTEN`], and for the sums of the books once in
//! [`SELDOM`]; whoever asks meanwhile gets the last answer.

use super::families::{
    BOOKS_CREDITS, BOOKS_MONEY, IMBALANCE, LEASE_AGE, LEASED, LEASES_ALL, ORDERS, QUEUE_AGE, QUEUED, USERS,
};
use super::page::{Page, decimal, thousandths};
use chrono::NaiveDate;
use domain::{Moment, Unit};
use projections::journal::{TrialBalance, trial_balance};
use projections::leases::{self, OpenLeases};
use projections::{Database, DatabaseError};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const OFTEN: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_secs(120);
const DAY_MS: i64 = 86_400_000;
/// The states of what waits to be sent.
const QUEUES: [(&str, &str); 3] = [
    (
        "mails",
        "SELECT COUNT(*) AS n, MIN(created_at) AS oldest FROM mails WHERE state IN ('queued', 'sending')",
    ),
    (
        "webhooks",
        "SELECT COUNT(*) AS n, MIN(created_at) AS oldest FROM webhook_deliveries WHERE state IN ('queued', 'sending')",
    ),
    ("audit", "SELECT COUNT(*) AS n, MIN(created_at) AS oldest FROM audit_outbox"),
];

/// The last answers.
#[derive(Default)]
pub(super) struct Tables {
    figures: Option<(Instant, Figures)>,
    books: Option<(Instant, TrialBalance)>,
}

struct Figures {
    /// By channel and status.
    orders: Vec<(String, String, u64)>,
    /// By name: how many, and since when the oldest waits.
    queues: Vec<(&'static str, u64, Option<Moment>)>,
    users: Vec<(String, u64)>,
    leases: OpenLeases,
}

impl Tables {
    /// Asks again what is too old.
    pub(super) async fn refresh(&mut self, db: &Database) -> Result<(), DatabaseError> {
        let is_old = |asked: Option<Instant>, limit| asked.is_none_or(|asked| asked.elapsed() >= limit);
        if is_old(self.figures.as_ref().map(|it| it.0), OFTEN) {
            self.figures = Some((Instant::now(), figures(db).await?));
        }
        if is_old(self.books.as_ref().map(|it| it.0), SELDOM) {
            // Beyond every day that a book has.
            let day = NaiveDate::from_ymd_opt(9999, 12, 31).unwrap_or(NaiveDate::MAX);
            self.books = Some((Instant::now(), trial_balance(db, day).await?));
        }
        Ok(())
    }

    pub(super) fn write(&self, page: &mut Page, now: Moment) {
        let age =
            |since: Moment| thousandths(u64::try_from((now.micros() - since.micros()) / 1000).unwrap_or(0));
        if let Some((_, figures)) = &self.figures {
            for (channel, status, count) in &figures.orders {
                page.put(&ORDERS, &[channel, status], count);
            }
            page.put(&LEASED, &[], figures.leases.credits);
            page.put(&LEASES_ALL, &[], figures.leases.count);
            page.put(&LEASE_AGE, &[], figures.leases.oldest_touched.map_or_else(|| "0".into(), age));
            for (queue, length, _) in &figures.queues {
                page.put(&QUEUED, &[queue], length);
            }
            for (queue, _, oldest) in &figures.queues {
                page.put(&QUEUE_AGE, &[queue], oldest.map_or_else(|| "0".into(), age));
            }
            for (status, count) in &figures.users {
                page.put(&USERS, &[status], count);
            }
        }
        if let Some((_, books)) = &self.books {
            for it in books.books.iter().filter(|it| it.unit == Unit::Credits) {
                page.put(&BOOKS_CREDITS, &[&it.book], decimal(it.sums.balance(), 9));
            }
            for it in &books.books {
                if let Unit::Money(currency) = it.unit {
                    let sum = it.unit.decimal(it.sums.balance());
                    page.put(&BOOKS_MONEY, &[&it.book, &currency.to_string()], sum);
                }
            }
            // Balanced books of a system where nothing has happened yet are balanced too.
            let none = BTreeMap::from([(Unit::Credits, projections::journal::Sums::default())]);
            for (unit, sums) in if books.totals.is_empty() { &none } else { &books.totals } {
                page.put(&IMBALANCE, &[&unit.to_string()], unit.decimal(sums.balance()));
            }
        }
    }
}

async fn figures(db: &Database) -> Result<Figures, DatabaseError> {
    let since = Moment::from(chrono::Utc::now()).plus_ms(-DAY_MS);
    // Each status by itself: the index begins with it.
    let mut orders = Vec::new();
    for status in ["pending", "completed", "failed", "cancelled"] {
        let sql = "SELECT channel, COUNT(*) AS n FROM top_up_orders WHERE status = ? AND created_at >= ? GROUP BY channel";
        for row in db.fetch_all(sql, &[status.into(), since.into()]).await? {
            orders.push((row.text("channel")?, status.to_owned(), row.count("n")?));
        }
    }
    let mut queues = Vec::new();
    for (queue, sql) in QUEUES {
        let row = db.fetch_one(sql, &[]).await?;
        queues.push((queue, row.count("n")?, row.opt_moment("oldest")?));
    }
    let rows = db.fetch_all("SELECT status, COUNT(*) AS n FROM users GROUP BY status", &[]).await?;
    let users = rows.iter().map(|row| Ok((row.text("status")?, row.count("n")?)));
    Ok(Figures {
        orders,
        queues,
        users: users.collect::<Result<_, DatabaseError>>()?,
        leases: leases::counts(db).await?,
    })
}
