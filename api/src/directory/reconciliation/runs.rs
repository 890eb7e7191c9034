//! Comparisons of days, each with what it found.
//!
//! Claims: a comparison and what it opens and clears are one transaction; what was signed off is never opened again, a later bill
//! that shows it makes a new difference; a step that somebody takes while a comparison is kept is not overwritten by it.

use super::differences::{DIFFERENCES, difference, mark, told, told_of};
use super::{Difference, DifferenceState, RunCause, StoredBill, Which, by};
use crate::directory::{Directory, DirectoryError, act, corrupt, now};
use crate::reconciliation::matching::{Finding, Total};
use chrono::NaiveDate;
use domain::{AccountId, ChannelName, Moment};
use projections::{Row, Tx, Value};
use serde_json::json;
use uuid::Uuid;

/// A comparison to be kept.
#[derive(Clone, Debug)]
pub struct NewRun<'a> {
    /// Whose day.
    pub channel: &'a ChannelName,
    /// Which.
    pub day: NaiveDate,
    /// Why.
    pub cause: RunCause,
    /// Who asked; `None`: the daily run.
    pub by: Option<AccountId>,
    /// How far the tables were.
    pub position: u64,
    /// Was the day not over?
    pub is_preliminary: bool,
    /// The bills that were compared.
    pub bills: &'a [StoredBill],
    /// How many rows have a partner.
    pub matched: u64,
    /// The day's sums.
    pub totals: &'a [Total],
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// Its id.
    pub id: Uuid,
    /// Whose day.
    pub channel: ChannelName,
    /// Which.
    pub day: NaiveDate,
    /// Why.
    pub cause: RunCause,
    /// Who asked; `None`: the daily run.
    pub started_by: Option<AccountId>,
    /// When.
    pub started_at: Moment,
    /// How far the tables were.
    pub position: u64,
    /// Was the day not over?
    pub is_preliminary: bool,
    /// The bills that were compared.
    pub bills: Vec<Uuid>,
    /// How many rows have a partner.
    pub matched: u64,
    /// How many differences it found.
    pub found: u64,
    /// The day's sums.
    pub totals: Vec<Total>,
}

const RUNS: &str = "id, channel, day, cause, started_by, started_at, log_position, is_preliminary, bills, matched, found, totals";

fn run(row: &Row) -> Result<StoredRun, DirectoryError> {
    Ok(StoredRun {
        id: row.parsed("id")?,
        channel: row.parsed("channel")?,
        day: row.parsed("day")?,
        cause: row.parsed("cause")?,
        started_by: row.opt_parsed("started_by")?,
        started_at: row.moment("started_at")?,
        position: row.count("log_position")?,
        is_preliminary: row.truth("is_preliminary")?,
        bills: row.json("bills")?,
        matched: row.count("matched")?,
        found: row.count("found")?,
        totals: row.json("totals")?,
    })
}

impl Directory {
    /// Keeps a comparison: what is found anew is opened, what is not found any more is cleared, what was signed off stays so
    /// unless a bill that came later shows it again.
    pub async fn keep_run(
        &self,
        new: &NewRun<'_>,
        findings: &[Finding],
    ) -> Result<StoredRun, DirectoryError> {
        // Each time around somebody has taken a step of a difference in between, so this ends with their patience.
        loop {
            if let Some(made) = self.try_keep_run(new, findings).await? {
                return Ok(made);
            }
        }
    }

    /// `None`: a difference was changed after it was read here; nothing is kept.
    async fn try_keep_run(
        &self,
        new: &NewRun<'_>,
        findings: &[Finding],
    ) -> Result<Option<StoredRun>, DirectoryError> {
        let made = StoredRun {
            id: Uuid::now_v7(),
            channel: new.channel.clone(),
            day: new.day,
            cause: new.cause,
            started_by: new.by,
            started_at: now(),
            position: new.position,
            is_preliminary: new.is_preliminary,
            bills: new.bills.iter().map(|bill| bill.id).collect(),
            matched: new.matched,
            found: u64::try_from(findings.len()).unwrap_or(u64::MAX),
            totals: new.totals.to_vec(),
        };
        let imported_at = new.bills.iter().map(|bill| bill.imported_at).max();
        let mut change = self.change_aside().await?;
        let sql = format!(
            "SELECT {DIFFERENCES} FROM reconciliation_differences WHERE channel = ? AND day = ? ORDER BY id"
        );
        let values = [made.channel.as_str().into(), made.day.to_string().into()];
        let before: Vec<Difference> =
            change.tx.fetch_all(&sql, &values).await?.iter().map(difference).collect::<Result<_, _>>()?;
        let mut kept = std::collections::BTreeSet::new();
        for finding in findings {
            let mark = mark(finding);
            let known = before.iter().rev().find(|it| it.mark == mark);
            let reopens = match known {
                None => None,
                Some(it) => match (it.state, it.ended_at) {
                    // It goes on, or it ends here because both sides agree now.
                    (DifferenceState::Open | DifferenceState::Assigned | DifferenceState::Proposed, _) => {
                        if !finding.is_cleared {
                            kept.insert(it.id);
                        }
                        continue;
                    }
                    (DifferenceState::Cleared, _) if finding.is_cleared => continue,
                    (DifferenceState::Resolved, Some(ended)) if imported_at.is_none_or(|at| at <= ended) => {
                        continue;
                    }
                    (DifferenceState::Cleared | DifferenceState::Resolved, _) => Some(it.id),
                },
            };
            let id = insert(&mut change.tx, &made, finding, &mark, reopens).await?;
            let state = if finding.is_cleared { DifferenceState::Cleared } else { DifferenceState::Open };
            let after = told_of(finding, &made.channel, made.day, state);
            change.acts.push(act(
                by(made.started_by),
                "reconciliation.find",
                id.to_string(),
                None,
                Some(after),
            ));
        }
        for it in before.iter().filter(|it| it.ended_at.is_none() && !kept.contains(&it.id)) {
            if !clear(&mut change.tx, it, &made).await? {
                change.tx.rollback().await?;
                return Ok(None);
            }
            let after = json!({"state": DifferenceState::Cleared, "run": made.id});
            change.acts.push(act(
                by(made.started_by),
                "reconciliation.clear",
                it.id.to_string(),
                Some(told(it)),
                Some(after),
            ));
        }
        write_run(&mut change.tx, &made).await?;
        self.finish(change).await?;
        Ok(Some(made))
    }

    /// Comparisons, newest first.
    pub async fn runs(&self, which: &Which) -> Result<Vec<StoredRun>, DirectoryError> {
        self.listed(RUNS, "reconciliation_runs", which, &[], run).await
    }

    /// A comparison.
    pub async fn run(&self, id: Uuid) -> Result<StoredRun, DirectoryError> {
        let sql = format!("SELECT {RUNS} FROM reconciliation_runs WHERE id = ?");
        let row = self.0.db.fetch_optional(&sql, &[id.to_string().into()]).await?;
        run(&row.ok_or(DirectoryError::NotFound("reconciliation"))?)
    }
}

/// Ends a difference that a comparison does not find any more; `false`: it is not where it was read, so somebody's step, perhaps
/// the sign-off, would be lost. Only SQLite keeps others from writing since this transaction read it.
pub(super) async fn clear(tx: &mut Tx, it: &Difference, made: &StoredRun) -> Result<bool, DirectoryError> {
    let sql = "UPDATE reconciliation_differences SET state = ?, cleared_run = ?, updated_at = ?, ended_at = ? \
               WHERE id = ? AND state = ? AND updated_at = ? AND ended_at IS NULL";
    let values: [Value; 7] = [
        DifferenceState::Cleared.as_str().into(),
        made.id.to_string().into(),
        made.started_at.into(),
        made.started_at.into(),
        it.id.to_string().into(),
        it.state.as_str().into(),
        it.updated_at.into(),
    ];
    Ok(tx.execute(sql, &values).await? == 1)
}

async fn write_run(tx: &mut Tx, made: &StoredRun) -> Result<(), DirectoryError> {
    let json = |it: Result<String, serde_json::Error>| it.map_err(|error| corrupt("a reconciliation", error));
    let sql = format!("INSERT INTO reconciliation_runs ({RUNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    let values: [Value; 12] = [
        made.id.to_string().into(),
        made.channel.as_str().into(),
        made.day.to_string().into(),
        made.cause.as_str().into(),
        made.started_by.into(),
        made.started_at.into(),
        Value::count(made.position),
        made.is_preliminary.into(),
        json(serde_json::to_string(&made.bills))?.into(),
        Value::count(made.matched),
        Value::count(made.found),
        json(serde_json::to_string(&made.totals))?.into(),
    ];
    tx.execute(&sql, &values).await?;
    Ok(())
}

async fn insert(
    tx: &mut Tx,
    made: &StoredRun,
    finding: &Finding,
    mark: &str,
    reopens: Option<Uuid>,
) -> Result<Uuid, DirectoryError> {
    let id = Uuid::now_v7();
    let state = if finding.is_cleared { DifferenceState::Cleared } else { DifferenceState::Open };
    let values: [Value; 23] = [
        id.to_string().into(),
        made.id.to_string().into(),
        made.channel.as_str().into(),
        made.day.to_string().into(),
        finding.class.as_str().into(),
        mark.into(),
        state.as_str().into(),
        finding.order_number.as_deref().into(),
        finding.refund_number.as_deref().into(),
        finding.txn.as_deref().into(),
        finding.order.into(),
        finding.account.into(),
        finding.ledger.map(|it| it.currency.to_string()).into(),
        finding.ledger.map(|it| it.minor).into(),
        finding.provider.map(|it| it.currency.to_string()).into(),
        finding.provider.map(|it| it.minor).into(),
        (&finding.detail).into(),
        finding.linked.map(|day| day.to_string()).into(),
        reopens.map(|id| id.to_string()).into(),
        finding.is_cleared.then(|| made.id.to_string()).into(),
        made.started_at.into(),
        made.started_at.into(),
        finding.is_cleared.then_some(made.started_at).into(),
    ];
    let sql = "INSERT INTO reconciliation_differences (id, run_id, channel, day, class, mark, state, order_number, refund_number, \
               txn, order_id, account, ledger_currency, ledger_amount, provider_currency, provider_amount, detail, linked_day, \
               reopens, cleared_run, created_at, updated_at, ended_at) \
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    tx.execute(sql, &values).await?;
    Ok(id)
}
