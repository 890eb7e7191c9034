//! Bills and their rows, as they were imported.
//!
//! Claims: a bill and its rows are one transaction, and the rows are never changed; the same file is one bill; of one day and kind
//! the one that came in last stands, also where it had been there before; a channel that says it has none takes no bill with rows
//! away.

use super::{BillSource, Import, Which, by};
use crate::directory::{Directory, DirectoryError, act, corrupt, now, taken};
use crate::payments::BillKind;
use crate::reconciliation::bill::BillRow;
use chrono::NaiveDate;
use domain::{AccountId, ChannelName, Moment};
use projections::{Row, Tx, Value};
use serde_json::{Value as Json, json};
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
    /// Who brought it when it last took its place; `None`: the daily run.
    pub imported_by: Option<AccountId>,
    /// When that was.
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
    /// Keeps a bill with its rows, and has it stand for its day. The same file again is the bill that is there.
    pub async fn store_bill(
        &self,
        new: &NewBill<'_>,
        rows: &[BillRow],
    ) -> Result<(StoredBill, Import), DirectoryError> {
        loop {
            if rows.is_empty() && new.source == BillSource::Download {
                // A channel may forget, or be asked too early; a person who knows better sends the empty file.
                let standing = self.current_bills(new.channel, new.day).await?;
                if let Some(it) = standing.into_iter().find(|it| it.kind == new.kind && it.rows > 0) {
                    return Ok((it, Import::Kept));
                }
            }
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
                let found = bill(&row)?;
                if found.is_current {
                    return Ok((found, Import::Known));
                }
                match self.stand_again(&found, new).await? {
                    Some(it) => return Ok((it, Import::StandsAgain)),
                    // Another process has just done so.
                    None => continue,
                }
            }
            match self.write_bill(new, rows).await {
                Err(DirectoryError::Taken(_)) => {}
                other => return other.map(|bill| (bill, Import::New)),
            }
        }
    }

    /// A bill whose place another one took stands for its day again. It counts as come in now: what is signed off by the other
    /// and shows again is a new difference.
    async fn stand_again(
        &self,
        before: &StoredBill,
        new: &NewBill<'_>,
    ) -> Result<Option<StoredBill>, DirectoryError> {
        let after = StoredBill {
            is_current: true,
            source: new.source,
            imported_by: new.by,
            imported_at: now(),
            ..before.clone()
        };
        let mut change = self.change_aside().await?;
        step_aside(&mut change.tx, &after).await?;
        let sql = "UPDATE reconciliation_bills SET is_current = 1, source = ?, imported_by = ?, imported_at = ? \
                   WHERE id = ? AND is_current = 0";
        let values: [Value; 4] = [
            after.source.as_str().into(),
            after.imported_by.into(),
            after.imported_at.into(),
            after.id.to_string().into(),
        ];
        if change.tx.execute(sql, &values).await? != 1 {
            change.tx.rollback().await?;
            return Ok(None);
        }
        let acts = act(
            by(new.by),
            "reconciliation.import",
            after.id.to_string(),
            Some(json!({"is_current": false, "source": before.source, "imported_at": before.imported_at})),
            Some(told(&after)),
        );
        change.acts.push(acts);
        self.finish(change).await?;
        Ok(Some(after))
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
        step_aside(&mut change.tx, &made).await?;
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
        let after = told(&made);
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

fn told(it: &StoredBill) -> Json {
    json!({
        "channel": it.channel, "merchant": it.merchant, "day": it.day, "kind": kind_word(it.kind), "name": it.name,
        "sha256": it.sha256, "rows": it.rows, "source": it.source,
    })
}

/// The bill that stood where this one is to stand does so no more.
async fn step_aside(tx: &mut Tx, it: &StoredBill) -> Result<(), DirectoryError> {
    let sql = "UPDATE reconciliation_bills SET is_current = 0 WHERE channel = ? AND day = ? AND kind = ? AND is_current = 1";
    let values = [it.channel.as_str().into(), it.day.to_string().into(), kind_word(it.kind).into()];
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
