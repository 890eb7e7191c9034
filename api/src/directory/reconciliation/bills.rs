//! Bills and their rows, as they were imported.
//!
//! Claims: a bill and its rows are one transaction and never changed; the same file is one bill; of one day and kind the last one
//! stands.

use super::{BillSource, Which, by};
use crate::directory::{Directory, DirectoryError, act, corrupt, now, taken};
use crate::payments::BillKind;
use crate::reconciliation::bill::BillRow;
use chrono::NaiveDate;
use domain::{AccountId, ChannelName, Moment};
use projections::{Row, Tx, Value};
use serde_json::json;
use uuid::Uuid;

/// A bill to be.
#[derive(Clone, Debug)]
pub struct NewBill<'a> {
    /// Whose.
    pub channel: &'a ChannelName,
    /// The merchant's number there.
    pub merchant: &'a str,
    /// Of which day.
    pub day: NaiveDate,
    /// Payments, or movements.
    pub kind: BillKind,
    /// What the file is called.
    pub name: &'a str,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: &'a str,
    /// Where it came from.
    pub source: BillSource,
    /// Who brought it; `None`: the daily run.
    pub by: Option<AccountId>,
}

/// A bill that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBill {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub channel: ChannelName,
    /// The merchant's number there.
    pub merchant: String,
    /// Of which day.
    pub day: NaiveDate,
    /// Payments, or movements.
    pub kind: BillKind,
    /// What the file is called.
    pub name: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// How many rows.
    pub rows: u64,
    /// Where it came from.
    pub source: BillSource,
    /// Does it stand for its day? A later file of the same day takes its place.
    pub is_current: bool,
    /// Who brought it; `None`: the daily run.
    pub imported_by: Option<AccountId>,
    /// When.
    pub imported_at: Moment,
}

const BILLS: &str =
    "id, channel, merchant, day, kind, name, sha256, entries, source, is_current, imported_by, imported_at";

fn kind_word(kind: BillKind) -> &'static str {
    match kind {
        BillKind::Trades => "trades",
        BillKind::Funds => "funds",
    }
}

fn bill(row: &Row) -> Result<StoredBill, DirectoryError> {
    let kind = match row.text("kind")?.as_str() {
        "trades" => BillKind::Trades,
        "funds" => BillKind::Funds,
        other => return Err(corrupt("reconciliation_bills.kind", other)),
    };
    Ok(StoredBill {
        id: row.parsed("id")?,
        channel: row.parsed("channel")?,
        merchant: row.text("merchant")?,
        day: row.parsed("day")?,
        kind,
        name: row.text("name")?,
        sha256: row.text("sha256")?,
        rows: row.count("entries")?,
        source: row.parsed("source")?,
        is_current: row.truth("is_current")?,
        imported_by: row.opt_parsed("imported_by")?,
        imported_at: row.moment("imported_at")?,
    })
}

impl Directory {
    /// Keeps a bill with its rows. The same file again is the bill that is there, which stands for its day again where another one
    /// had taken its place. Answers whether the day stands on another bill than before.
    pub async fn store_bill(
        &self,
        new: &NewBill<'_>,
        rows: &[BillRow],
    ) -> Result<(StoredBill, bool), DirectoryError> {
        loop {
            let sql = format!(
                "SELECT {BILLS} FROM reconciliation_bills WHERE channel = ? AND merchant = ? AND day = ? AND kind = ? AND sha256 = ?"
            );
            let values: [Value; 5] = [
                new.channel.as_str().into(),
                new.merchant.into(),
                new.day.to_string().into(),
                kind_word(new.kind).into(),
                new.sha256.into(),
            ];
            if let Some(row) = self.0.db.fetch_optional(&sql, &values).await? {
                let known = bill(&row)?;
                return match known.is_current {
                    true => Ok((known, false)),
                    false => Ok((self.stand_again(known, new).await?, true)),
                };
            }
            match self.write_bill(new, rows).await {
                Err(DirectoryError::Taken(_)) => {}
                other => return other.map(|bill| (bill, true)),
            }
        }
    }

    /// Makes a bill that another one had replaced stand for its day.
    async fn stand_again(&self, known: StoredBill, new: &NewBill<'_>) -> Result<StoredBill, DirectoryError> {
        let mut change = self.change_aside().await?;
        replace_current(&mut change.tx, &known).await?;
        let sql = "UPDATE reconciliation_bills SET is_current = 1 WHERE id = ?";
        change.tx.execute(sql, &[known.id.to_string().into()]).await?;
        let after = json!({"is_current": true, "name": new.name, "source": new.source});
        let before = json!({"is_current": false});
        let id = known.id.to_string();
        change.acts.push(act(by(new.by), "reconciliation.import", id, Some(before), Some(after)));
        self.finish(change).await?;
        Ok(StoredBill { is_current: true, ..known })
    }

    async fn write_bill(&self, new: &NewBill<'_>, rows: &[BillRow]) -> Result<StoredBill, DirectoryError> {
        let made = StoredBill {
            id: Uuid::now_v7(),
            channel: new.channel.clone(),
            merchant: new.merchant.to_owned(),
            day: new.day,
            kind: new.kind,
            name: new.name.to_owned(),
            sha256: new.sha256.to_owned(),
            rows: u64::try_from(rows.len()).unwrap_or(u64::MAX),
            source: new.source,
            is_current: true,
            imported_by: new.by,
            imported_at: now(),
        };
        let mut change = self.change_aside().await?;
        let (channel, day, kind) = (made.channel.as_str(), made.day.to_string(), kind_word(made.kind));
        replace_current(&mut change.tx, &made).await?;
        let sql =
            format!("INSERT INTO reconciliation_bills ({BILLS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        let values: [Value; 12] = [
            made.id.to_string().into(),
            channel.into(),
            (&made.merchant).into(),
            (&day).into(),
            kind.into(),
            (&made.name).into(),
            (&made.sha256).into(),
            Value::count(made.rows),
            made.source.as_str().into(),
            true.into(),
            made.imported_by.into(),
            made.imported_at.into(),
        ];
        change.tx.execute(&sql, &values).await.map_err(taken("that bill"))?;
        write_rows(&mut change.tx, made.id, rows).await?;
        let after = json!({
            "channel": channel, "merchant": made.merchant, "day": day, "kind": kind, "name": made.name,
            "sha256": made.sha256, "rows": made.rows, "source": made.source,
        });
        change.acts.push(act(by(new.by), "reconciliation.import", made.id.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok(made)
    }

    /// The bills that stand for a day: at most one of each kind.
    pub async fn current_bills(
        &self,
        channel: &ChannelName,
        day: NaiveDate,
    ) -> Result<Vec<StoredBill>, DirectoryError> {
        let sql = format!(
            "SELECT {BILLS} FROM reconciliation_bills WHERE channel = ? AND day = ? AND is_current = 1 ORDER BY kind DESC"
        );
        let values = [channel.as_str().into(), day.to_string().into()];
        self.0.db.fetch_all(&sql, &values).await?.iter().map(bill).collect()
    }

    /// A bill's rows, in their order.
    pub async fn bill_rows(&self, bill: Uuid) -> Result<Vec<BillRow>, DirectoryError> {
        let sql = "SELECT body FROM reconciliation_rows WHERE bill_id = ? ORDER BY line";
        let rows = self.0.db.fetch_all(sql, &[bill.to_string().into()]).await?;
        rows.iter().map(|row| Ok(row.json("body")?)).collect()
    }

    /// Rows of other days of a channel that are about one of these transactions or refunds, by the bills that stand.
    pub async fn rows_elsewhere(
        &self,
        channel: &ChannelName,
        day: NaiveDate,
        txns: &[String],
        refunds: &[String],
    ) -> Result<Vec<(NaiveDate, BillRow)>, DirectoryError> {
        let mut found = Vec::new();
        // Their values stand before the keys, so the statement is made here instead of by `fetch_in`.
        for (column, keys) in [("r.txn", txns), ("r.refund_number", refunds)] {
            for some in keys.chunks(500) {
                let places = vec!["?"; some.len()].join(", ");
                let sql = format!(
                    "SELECT b.day, r.body FROM reconciliation_rows r JOIN reconciliation_bills b ON b.id = r.bill_id \
                     WHERE b.channel = ? AND b.day <> ? AND b.is_current = 1 AND {column} IN ({places})"
                );
                let mut values: Vec<Value> = vec![channel.as_str().into(), day.to_string().into()];
                values.extend(some.iter().map(Value::from));
                for row in self.0.db.fetch_all(&sql, &values).await? {
                    found.push((row.parsed("day")?, row.json("body")?));
                }
            }
        }
        Ok(found)
    }

    /// Bills, newest first.
    pub async fn bills(&self, which: &Which) -> Result<Vec<StoredBill>, DirectoryError> {
        self.listed(BILLS, "reconciliation_bills", which, &[], bill).await
    }
}

/// The bill that stands for the day of this one stands for it no more.
async fn replace_current(tx: &mut Tx, by: &StoredBill) -> Result<(), DirectoryError> {
    let sql = "UPDATE reconciliation_bills SET is_current = 0 WHERE channel = ? AND day = ? AND kind = ? AND is_current = 1";
    let values: [Value; 3] =
        [by.channel.as_str().into(), by.day.to_string().into(), kind_word(by.kind).into()];
    tx.execute(sql, &values).await?;
    Ok(())
}

async fn write_rows(tx: &mut Tx, bill: Uuid, rows: &[BillRow]) -> Result<(), DirectoryError> {
    let at_once = tx.dialect().rows_per_insert(5).clamp(1, 200);
    for some in rows.chunks(at_once) {
        let places = vec!["(?, ?, ?, ?, ?)"; some.len()].join(", ");
        let sql = format!(
            "INSERT INTO reconciliation_rows (bill_id, line, txn, refund_number, body) VALUES {places}"
        );
        let mut values: Vec<Value> = Vec::new();
        for row in some {
            let body = serde_json::to_string(row).map_err(|error| corrupt("a bill's row", error))?;
            values.extend([
                bill.to_string().into(),
                i64::from(row.line).into(),
                (&row.txn).into(),
                row.refund.as_deref().into(),
                body.into(),
            ]);
        }
        tx.execute(&sql, &values).await?;
    }
    Ok(())
}
