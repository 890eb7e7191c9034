//! Usage by day, account, key, model and provider, and what it left.

use super::Reader;
use crate::usage::TOKEN_COLUMNS;
use crate::{DatabaseError, Value};
use chrono::NaiveDate;
use domain::{AccountId, Credits};

/// A day's calls of an account by one key, of one model at one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// The day, by the operator's clock.
    pub day: String,
    /// Whose.
    pub account: AccountId,
    /// The key's id.
    pub key: String,
    /// The model, as callers name it.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// Calls.
    pub calls: u64,
    /// Calls that the gateway or a provider failed.
    pub errors: u64,
    /// Tokens by class and units of media, as [`UsageLine::QUANTITIES`] names them.
    pub quantities: [u64; TOKEN_COLUMNS.len()],
    /// What they cost by the price list.
    pub charge: Credits,
    /// What the account paid of it.
    pub paid: Credits,
    /// What the operator bore of it.
    pub uncovered: Credits,
    /// What the provider takes.
    pub cost: Credits,
}

impl UsageLine {
    /// The names of the quantities.
    pub const QUANTITIES: [&'static str; TOKEN_COLUMNS.len()] = TOKEN_COLUMNS;
}

/// What calls of a model at a provider left to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarginLine {
    /// The model, as callers name it.
    pub model: String,
    /// The provider.
    pub provider: String,
    /// Calls.
    pub calls: u64,
    /// What they cost by the price list.
    pub charge: Credits,
    /// What accounts paid of it.
    pub paid: Credits,
    /// What the operator bore of it.
    pub uncovered: Credits,
    /// What the provider takes; a call whose cost is not known counts as nothing.
    pub cost: Credits,
}

const MONEY: [&str; 4] = ["charge", "paid", "uncovered", "cost"];

impl Reader {
    /// How many lines [`Reader::usage`] has at most.
    pub async fn count_usage(&mut self, from: NaiveDate, to: NaiveDate) -> Result<u64, DatabaseError> {
        let sql = "SELECT COUNT(*) AS n FROM usage_hourly WHERE day >= ? AND day <= ?";
        self.tx.fetch_one(sql, &[Value::display(from), Value::display(to)]).await?.count("n")
    }

    /// Usage of these days of the operator's, by day, account, key, model and provider.
    pub async fn usage(
        &mut self,
        from: NaiveDate,
        to: NaiveDate,
        mut with: impl FnMut(UsageLine) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let keys = "day, account, key_id, model, provider";
        let sql = format!(
            "SELECT {keys}, {} FROM usage_hourly WHERE day >= ? AND day <= ? GROUP BY {keys} ORDER BY {keys}",
            self.sums(&[&["calls", "errors"], TOKEN_COLUMNS.as_slice(), &MONEY].concat())
        );
        self.tx
            .for_each(&sql, &[Value::display(from), Value::display(to)], |row| {
                let mut quantities = [0; TOKEN_COLUMNS.len()];
                for (quantity, column) in quantities.iter_mut().zip(TOKEN_COLUMNS) {
                    *quantity = row.count(&format!("{column}_sum"))?;
                }
                with(UsageLine {
                    day: row.text("day")?,
                    account: row.parsed("account")?,
                    key: row.text("key_id")?,
                    model: row.text("model")?,
                    provider: row.text("provider")?,
                    calls: row.count("calls_sum")?,
                    errors: row.count("errors_sum")?,
                    quantities,
                    charge: row.credits("charge_sum")?,
                    paid: row.credits("paid_sum")?,
                    uncovered: row.credits("uncovered_sum")?,
                    cost: row.credits("cost_sum")?,
                })
            })
            .await
    }

    /// What calls of these days left, by model and provider.
    pub async fn margin(
        &mut self,
        from: NaiveDate,
        to: NaiveDate,
        mut with: impl FnMut(MarginLine) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let sql = format!(
            "SELECT model, provider, {} FROM usage_hourly WHERE day >= ? AND day <= ? GROUP BY model, provider \
             ORDER BY model, provider",
            self.sums(&[["calls"].as_slice(), &MONEY].concat())
        );
        self.tx
            .for_each(&sql, &[Value::display(from), Value::display(to)], |row| {
                with(MarginLine {
                    model: row.text("model")?,
                    provider: row.text("provider")?,
                    calls: row.count("calls_sum")?,
                    charge: row.credits("charge_sum")?,
                    paid: row.credits("paid_sum")?,
                    uncovered: row.credits("uncovered_sum")?,
                    cost: row.credits("cost_sum")?,
                })
            })
            .await
    }

    fn sums(&self, columns: &[&str]) -> String {
        let sums = columns.iter().map(|it| format!("{} AS {it}_sum", self.tx.dialect().sum(it)));
        sums.collect::<Vec<_>>().join(", ")
    }
}
