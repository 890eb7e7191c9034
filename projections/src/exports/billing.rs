//! Billing records, whole.

use super::Reader;
use crate::billing::BillingRecord;
use crate::{DatabaseError, Value};
use chrono::NaiveDate;

/// A line of anybody's statement.
pub type BillingLine = BillingRecord;

impl Reader {
    /// How many records count in these days.
    pub async fn count_billing(&mut self, from: NaiveDate, to: NaiveDate) -> Result<u64, DatabaseError> {
        let sql = "SELECT COUNT(*) AS n FROM billing_records WHERE day >= ? AND day <= ?";
        self.tx.fetch_one(sql, &[Value::display(from), Value::display(to)]).await?.count("n")
    }

    /// The records that count in these days of the operator's, by their beginning.
    pub async fn billing(
        &mut self,
        from: NaiveDate,
        to: NaiveDate,
        mut with: impl FnMut(BillingLine) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let sql = format!(
            "SELECT {} FROM billing_records WHERE day >= ? AND day <= ? ORDER BY created_at, id",
            crate::billing::COLUMNS.join(", ")
        );
        let values = [Value::display(from), Value::display(to)];
        self.tx.for_each(&sql, &values, |row| with(crate::billing::read(&row)?)).await
    }
}
