//! Exports that were asked for: the queue, and what became of each.
//!
//! Claims: whoever raises `attempts` from what they read makes the file, so two processes never make one at once; one whose maker
//! is silent is made again, a few times.

use super::{Directory, DirectoryError, act, now, words};
use chrono::NaiveDate;
use domain::{AccountId, Actor, Moment};
use projections::periods::Month;
use projections::{Row, Value};
use serde_json::json;
use uuid::Uuid;

/// How often a file is begun before it is given up.
pub const MAX_ATTEMPTS: i64 = 3;
/// A maker that has said nothing for so long is dead.
const SILENCE_MS: i64 = 60_000;
/// How long a file is kept.
pub const KEPT_MS: i64 = 7 * 86_400_000;

words! {
    /// What is exported.
    ExportKind {
        /// The journal: lines of events, and sums of usage.
        Journal = "journal",
        /// What the period did to each book, and what it had before and after.
        TrialBalance = "trial_balance",
        /// Statement lines of all accounts.
        Billing = "billing",
        /// Calls by day, account, key, model and provider.
        Usage = "usage",
        /// What was paid for and not used yet, by account and currency, at the end of the period.
        DeferredRevenue = "deferred_revenue",
        /// What accounts paid, less what providers take, by model and provider.
        Margin = "margin",
        /// What has no counterpart, and since when: payments in suspense, differences, paid orders that no bill has.
        Unmatched = "unmatched",
    }

    /// As which file.
    ExportFormat {
        /// Comma-separated values.
        Csv = "csv",
        /// An Excel workbook.
        Xlsx = "xlsx",
        /// Parquet.
        Parquet = "parquet",
        /// Beancount's text; of the journal only.
        Beancount = "beancount",
    }

    /// How far an export got.
    ExportState {
        /// It waits.
        Queued = "queued",
        /// It is being made.
        Running = "running",
        /// Its file can be fetched.
        Done = "done",
        /// It could not be made.
        Failed = "failed",
        /// Somebody took it back.
        Cancelled = "cancelled",
        /// Its file is gone.
        Expired = "expired",
    }
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What.
    pub kind: ExportKind,
    /// As which file.
    pub format: ExportFormat,
    /// The first day, by the operator's clock.
    pub from: NaiveDate,
    /// The last day.
    pub to: NaiveDate,
    /// A month of the books, closed or not.
    pub month: Option<Month>,
}

/// An export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its id.
    pub id: Uuid,
    /// What is wanted.
    pub wanted: Wanted,
    /// How far it got.
    pub state: ExportState,
    /// How often it was begun.
    pub attempts: i64,
    /// Rows that are written.
    pub rows_done: u64,
    /// About how many there will be, and no fewer.
    pub rows_expected: Option<u64>,
    /// The file's size.
    pub bytes: Option<u64>,
    /// Its SHA-256, in hexadecimal.
    pub sha256: Option<String>,
    /// Every event up to this one is in it.
    pub position: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
    /// Who asked.
    pub created_by: AccountId,
    /// When.
    pub created_at: Moment,
    /// When it was begun.
    pub started_at: Option<Moment>,
    /// When it ended.
    pub finished_at: Option<Moment>,
    /// When its file goes.
    pub expires_at: Option<Moment>,
    /// In which folder the file lies.
    pub place: Option<String>,
    /// On which host it was made.
    pub made_on: Option<String>,
}

/// Where a file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder's own id: processes that share a folder say the same.
    pub id: String,
    /// What this host is called.
    pub host: String,
}

/// What a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Rows.
    pub rows: u64,
    /// Size.
    pub bytes: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Every event up to this one is in it.
    pub position: u64,
}

const COLUMNS: &str = "id, kind, format, from_day, to_day, month, state, attempts, rows_done, rows_expected, bytes, sha256, \
                       position, error, created_by, created_at, started_at, finished_at, expires_at, place, made_on";

fn export(row: &Row) -> Result<Export, DirectoryError> {
    Ok(Export {
        id: row.parsed("id")?,
        wanted: Wanted {
            kind: row.parsed("kind")?,
            format: row.parsed("format")?,
            from: row.parsed("from_day")?,
            to: row.parsed("to_day")?,
            month: row.opt_parsed("month")?,
        },
        state: row.parsed("state")?,
        attempts: row.int("attempts")?,
        rows_done: row.count("rows_done")?,
        rows_expected: row.opt_count("rows_expected")?,
        bytes: row.opt_count("bytes")?,
        sha256: row.opt_text("sha256")?,
        position: row.opt_count("position")?,
        error: row.opt_text("error")?,
        created_by: row.parsed("created_by")?,
        created_at: row.moment("created_at")?,
        started_at: row.opt_moment("started_at")?,
        finished_at: row.opt_moment("finished_at")?,
        expires_at: row.opt_moment("expires_at")?,
        place: row.opt_text("place")?,
        made_on: row.opt_text("made_on")?,
    })
}

impl Directory {
    /// Asks for an export.
    pub async fn ask_export(
        &self,
        wanted: Wanted,
        by: AccountId,
        actor: Actor,
    ) -> Result<Export, DirectoryError> {
        let (id, at) = (Uuid::now_v7(), now());
        let month = wanted.month.map(|it| it.to_string());
        let values: [Value; 8] = [
            id.to_string().into(),
            wanted.kind.as_str().into(),
            wanted.format.as_str().into(),
            Value::display(wanted.from),
            Value::display(wanted.to),
            month.clone().into(),
            by.into(),
            at.into(),
        ];
        let sql = "INSERT INTO exports (id, kind, format, from_day, to_day, month, state, attempts, rows_done, created_by, \
                   created_at) VALUES (?, ?, ?, ?, ?, ?, 'queued', 0, 0, ?, ?)";
        let mut change = self.change_aside().await?;
        change.tx.execute(sql, &values).await?;
        let told = json!({
            "kind": wanted.kind, "format": wanted.format, "from": wanted.from, "to": wanted.to, "month": month,
        });
        change.acts.push(act(actor, "export.create", id.to_string(), None, Some(told)));
        self.finish(change).await?;
        self.export(id).await?.ok_or(DirectoryError::NotFound("export"))
    }

    /// An export.
    pub async fn export(&self, id: Uuid) -> Result<Option<Export>, DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM exports WHERE id = ?");
        self.0.db.fetch_optional(&sql, &[id.to_string().into()]).await?.as_ref().map(export).transpose()
    }

    /// Exports, newest first.
    pub async fn exports(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Export>, DirectoryError> {
        let (behind, mut values) = match before {
            None => ("", Vec::new()),
            Some(id) => (" WHERE id < ?", vec![Value::display(id)]),
        };
        values.push(i64::from(limit).into());
        let sql = format!("SELECT {COLUMNS} FROM exports{behind} ORDER BY id DESC LIMIT ?");
        self.0.db.fetch_all(&sql, &values).await?.iter().map(export).collect()
    }

    /// Takes the next export that waits, or whose maker is silent; `None`: there is none.
    pub async fn claim_export(&self) -> Result<Option<Export>, DirectoryError> {
        let at = now();
        let sql = format!(
            "SELECT {COLUMNS} FROM exports WHERE state = 'queued' OR (state = 'running' AND touched_at < ?) \
             ORDER BY created_at LIMIT 1"
        );
        let silent = at.plus_ms(-SILENCE_MS);
        let Some(row) = self.0.db.fetch_optional(&sql, &[silent.into()]).await? else { return Ok(None) };
        let mut it = export(&row)?;
        let given_up = it.attempts >= MAX_ATTEMPTS;
        let sql = "UPDATE exports SET state = ?, attempts = ?, started_at = ?, touched_at = ?, rows_done = 0, error = ?, \
                   finished_at = ? WHERE id = ? AND attempts = ? AND state IN ('queued', 'running')";
        let values: [Value; 8] = [
            if given_up { "failed" } else { "running" }.into(),
            (it.attempts + 1).into(),
            at.into(),
            at.into(),
            given_up.then_some("every process that began it ended before it was done").into(),
            given_up.then_some(at).into(),
            it.id.to_string().into(),
            it.attempts.into(),
        ];
        let is_ours = self.0.db.execute(sql, &values).await? == 1;
        it.attempts += 1;
        Ok((is_ours && !given_up).then_some(it))
    }

    /// Notes how far it got. `false`: it is nobody's any more.
    pub async fn export_progress(
        &self,
        it: &Export,
        rows: u64,
        expected: Option<u64>,
    ) -> Result<bool, DirectoryError> {
        let sql = "UPDATE exports SET rows_done = ?, rows_expected = ?, touched_at = ? WHERE id = ? AND attempts = ? AND \
                   state = 'running'";
        let values: [Value; 5] = [
            Value::count(rows),
            Value::opt_count(expected),
            now().into(),
            it.id.to_string().into(),
            it.attempts.into(),
        ];
        Ok(self.0.db.execute(sql, &values).await? == 1)
    }

    /// Notes that the file is there. `false`: it is not wanted any more.
    pub async fn export_made(&self, it: &Export, made: &Made, place: &Place) -> Result<bool, DirectoryError> {
        let at = now();
        let sql = "UPDATE exports SET state = 'done', rows_done = ?, rows_expected = ?, bytes = ?, sha256 = ?, position = ?, \
                   finished_at = ?, expires_at = ?, place = ?, made_on = ? WHERE id = ? AND attempts = ? AND state = 'running'";
        let values: [Value; 11] = [
            Value::count(made.rows),
            Value::count(made.rows),
            Value::count(made.bytes),
            made.sha256.as_str().into(),
            Value::count(made.position),
            at.into(),
            at.plus_ms(KEPT_MS).into(),
            place.id.as_str().into(),
            place.host.as_str().into(),
            it.id.to_string().into(),
            it.attempts.into(),
        ];
        Ok(self.0.db.execute(sql, &values).await? == 1)
    }

    /// Notes that it cannot be made, or, without a reason, that it waits again.
    pub async fn export_not_made(&self, it: &Export, why: Option<&str>) -> Result<(), DirectoryError> {
        let sql = "UPDATE exports SET state = ?, error = ?, finished_at = ? WHERE id = ? AND attempts = ? AND state = 'running'";
        let values: [Value; 5] = [
            if why.is_some() { "failed" } else { "queued" }.into(),
            why.into(),
            why.is_some().then(now).into(),
            it.id.to_string().into(),
            it.attempts.into(),
        ];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// Takes an export back; its file goes.
    pub async fn cancel_export(&self, id: Uuid, actor: Actor) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        let sql = "UPDATE exports SET state = 'cancelled', finished_at = ? WHERE id = ? AND state IN ('queued', 'running', 'done')";
        if change.tx.execute(sql, &[now().into(), id.to_string().into()]).await? == 0 {
            let sql = "SELECT id FROM exports WHERE id = ?";
            let there = change.tx.fetch_optional(sql, &[id.to_string().into()]).await?;
            return there.map(drop).ok_or(DirectoryError::NotFound("export"));
        }
        change.acts.push(act(actor, "export.cancel", id.to_string(), None, None));
        self.finish(change).await
    }

    /// The exports whose files should lie in a folder.
    pub async fn exports_at(&self, place: &Place) -> Result<Vec<Export>, DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM exports WHERE state = 'done' AND place = ?");
        self.0.db.fetch_all(&sql, &[place.id.as_str().into()]).await?.iter().map(export).collect()
    }

    /// Notes that a file is not where it should lie.
    pub async fn export_lost(&self, it: &Export) -> Result<(), DirectoryError> {
        let sql = "UPDATE exports SET state = 'expired' WHERE id = ? AND state = 'done'";
        self.0.db.execute(sql, &[it.id.to_string().into()]).await?;
        Ok(())
    }

    /// Ends those whose files have been kept for long enough.
    pub async fn expire_exports(&self) -> Result<(), DirectoryError> {
        let sql = "UPDATE exports SET state = 'expired' WHERE state = 'done' AND expires_at < ?";
        self.0.db.execute(sql, &[now().into()]).await?;
        Ok(())
    }
}
