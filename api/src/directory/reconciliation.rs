//! What reconciliation keeps: bills and their rows, runs, differences and who signed them off, and whose turn a day is.
//!
//! For: the tables. May not touch: what is a difference ([`crate::reconciliation::matching`] says) and what is done about one.
//! Claims: a bill's rows are written with it in one transaction and never changed; the same file is one bill; a day is worked on
//! by one process at a time, and by another when that one died; a difference that was signed off is never opened again: a later
//! import that shows it makes a new one; whoever proposes how a difference ends does not approve it; every step is an act on AUDIT.

use super::{Directory, DirectoryError, act, corrupt, now, words};
use crate::payments::BillKind;
use crate::reconciliation::bill::BillRow;
use crate::reconciliation::matching::{Class, Finding, Total};
use crate::session::{Caller, actor};
use chrono::NaiveDate;
use domain::{AccountId, Actor, ActorKind, ChannelName, Currency, Label, Moment, Money, OrderId};
use projections::{Row, Tx, Value};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

words! {
    /// Where a bill came from.
    BillSource {
        /// Somebody sent the file.
        Upload = "upload",
        /// The channel was asked for it.
        Download = "download",
    }

    /// Why a day was compared.
    RunCause {
        /// Somebody sent a bill.
        Upload = "upload",
        /// Somebody asked for the channel's bill.
        Download = "download",
        /// It was its time.
        Daily = "daily",
        /// A neighbouring day's bill came in, or somebody asked.
        Again = "again",
    }

    /// How far a difference is.
    DifferenceState {
        /// Nobody looks after it.
        Open = "open",
        /// Somebody does.
        Assigned = "assigned",
        /// It is said how it ends; a second person must agree.
        Proposed = "proposed",
        /// Signed off.
        Resolved = "resolved",
        /// It ended by itself: a later comparison does not find it any more, or found it settled.
        Cleared = "cleared",
    }

    /// What was done about a difference.
    DifferenceAct {
        /// The credits were given.
        Credited = "credited",
        /// The money was given back.
        Refunded = "refunded",
        /// A balance was corrected.
        Adjusted = "adjusted",
        /// The channel corrected it.
        ProviderCorrected = "provider_corrected",
        /// It is taken as it is.
        Accepted = "accepted",
        /// Something else, which the reason says.
        Other = "other",
    }
}

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

/// A difference and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its id.
    pub id: Uuid,
    /// The comparison that found it first.
    pub run: Uuid,
    /// Whose day.
    pub channel: ChannelName,
    /// Which.
    pub day: NaiveDate,
    /// Its kind.
    pub class: Class,
    /// How far it is.
    pub state: DifferenceState,
    /// The order's number.
    pub order_number: Option<String>,
    /// The refund's number.
    pub refund_number: Option<String>,
    /// The channel's transaction.
    pub txn: Option<String>,
    /// The order, if it is one of ours.
    pub order: Option<OrderId>,
    /// Whose it is.
    pub account: Option<AccountId>,
    /// What the ledger says.
    pub ledger: Option<Money>,
    /// What the channel says.
    pub provider: Option<Money>,
    /// A sentence.
    pub detail: String,
    /// The other side's day.
    pub linked: Option<NaiveDate>,
    /// Who looks after it.
    pub owner: Option<AccountId>,
    /// What was done.
    pub act: Option<DifferenceAct>,
    /// Why that ends it.
    pub reason: Option<String>,
    /// Who says so.
    pub resolved_by: Option<AccountId>,
    /// Who agreed.
    pub approved_by: Option<AccountId>,
    /// What they said.
    pub note: Option<String>,
    /// The difference that had been signed off before a later import showed it again.
    pub reopens: Option<Uuid>,
    /// When it was found.
    pub created_at: Moment,
    /// When it last changed.
    pub updated_at: Moment,
    /// When it ended.
    pub ended_at: Option<Moment>,
    mark: String,
}

/// Why a step is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepFault {
    /// It is past that step, or not there yet.
    #[error("this difference is {0}")]
    State(DifferenceState),
    /// Whoever proposed it does not approve it.
    #[error("whoever says how a difference ends does not approve it; ask another person")]
    Involved,
}

/// Which differences, runs or bills are listed; `None` does not filter.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Of this channel.
    pub channel: Option<String>,
    /// Of this day or later.
    pub from: Option<NaiveDate>,
    /// Of this day or earlier.
    pub to: Option<NaiveDate>,
    /// Of this kind.
    pub class: Option<Class>,
    /// That are this far.
    pub state: Option<DifferenceState>,
    /// That this person looks after.
    pub owner: Option<AccountId>,
    /// That this comparison found first.
    pub run: Option<Uuid>,
    /// Only those before this one.
    pub before: Option<Uuid>,
    /// How many at most.
    pub limit: u32,
}

/// A day that the daily run has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDay {
    /// The day.
    pub day: NaiveDate,
    /// How often it was tried.
    pub tries: i64,
}

const BILLS: &str =
    "id, channel, merchant, day, kind, name, sha256, entries, source, is_current, imported_by, imported_at";
const RUNS: &str = "id, channel, day, cause, started_by, started_at, log_position, is_preliminary, bills, matched, found, totals";
const DIFFERENCES: &str = "id, run_id, channel, day, class, mark, state, order_number, refund_number, txn, order_id, account, \
                           ledger_currency, ledger_amount, provider_currency, provider_amount, detail, linked_day, owner, act, \
                           reason, resolved_by, approved_by, note, reopens, created_at, updated_at, ended_at";

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

fn difference(row: &Row) -> Result<Difference, DirectoryError> {
    let money = |currency: &str, amount: &str| -> Result<Option<Money>, DirectoryError> {
        let currency: Option<Currency> = row.opt_parsed(currency)?;
        Ok(currency.zip(row.opt_int(amount)?).map(|(currency, minor)| Money { currency, minor }))
    };
    Ok(Difference {
        id: row.parsed("id")?,
        run: row.parsed("run_id")?,
        channel: row.parsed("channel")?,
        day: row.parsed("day")?,
        class: row.parsed("class")?,
        state: row.parsed("state")?,
        order_number: row.opt_text("order_number")?,
        refund_number: row.opt_text("refund_number")?,
        txn: row.opt_text("txn")?,
        order: row.opt_parsed("order_id")?,
        account: row.opt_parsed("account")?,
        ledger: money("ledger_currency", "ledger_amount")?,
        provider: money("provider_currency", "provider_amount")?,
        detail: row.text("detail")?,
        linked: row.opt_parsed("linked_day")?,
        owner: row.opt_parsed("owner")?,
        act: row.opt_parsed("act")?,
        reason: row.opt_text("reason")?,
        resolved_by: row.opt_parsed("resolved_by")?,
        approved_by: row.opt_parsed("approved_by")?,
        note: row.opt_text("note")?,
        reopens: row.opt_parsed("reopens")?,
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
        ended_at: row.opt_moment("ended_at")?,
        mark: row.text("mark")?,
    })
}

/// By what a later comparison knows a finding again: its class, what it is about, and both amounts.
fn mark(finding: &Finding) -> String {
    let money = |it: Option<Money>| it.map(|it| it.to_string()).unwrap_or_default();
    let parts = [
        finding.class.as_str(),
        finding.subject.as_str(),
        finding.order_number.as_deref().unwrap_or_default(),
        &money(finding.ledger),
        &money(finding.provider),
    ];
    hex::encode(Sha256::digest(parts.join("\n")))
}

fn told(it: &Difference) -> Json {
    json!({
        "channel": it.channel, "day": it.day, "class": it.class, "state": it.state, "order": it.order_number,
        "owner": it.owner, "act": it.act, "reason": it.reason,
    })
}

fn told_of(finding: &Finding, channel: &ChannelName, day: NaiveDate, state: DifferenceState) -> Json {
    json!({"channel": channel, "day": day, "class": finding.class, "state": state, "order": finding.order_number})
}

/// Who acts where nobody asked.
fn system() -> Result<Actor, DirectoryError> {
    let id = Label::try_new("reconciliation").map_err(|error| corrupt("an actor", error))?;
    Ok(Actor { kind: ActorKind::System, id })
}

fn by(caller: Option<AccountId>) -> Result<Actor, DirectoryError> {
    caller.map_or_else(system, |user| Ok(actor(ActorKind::Admin, user)))
}

impl Directory {
    /// Takes a day of a channel for this process, until that moment; `false`: another process has it.
    pub async fn claim_day(
        &self,
        channel: &ChannelName,
        day: NaiveDate,
        claim: Uuid,
        until: Moment,
    ) -> Result<bool, DirectoryError> {
        let (channel, day) = (channel.as_str(), day.to_string());
        let first = "INSERT INTO reconciliation_days (channel, day, claimed_until, is_done, tries, next_try_at) \
                     VALUES (?, ?, 0, 0, 0, 0)";
        match self.0.db.execute(first, &[channel.into(), (&day).into()]).await {
            Ok(_) => {}
            Err(error) if error.is_unique_violation() => {}
            Err(error) => return Err(error.into()),
        }
        let sql = "UPDATE reconciliation_days SET claim = ?, claimed_until = ? WHERE channel = ? AND day = ? AND claimed_until < ?";
        let values: [Value; 5] =
            [claim.to_string().into(), until.into(), channel.into(), day.into(), now().into()];
        Ok(self.0.db.execute(sql, &values).await? == 1)
    }

    /// Lets go of a day. `again_at`: the daily run tries it again then; `None`: it is done.
    pub async fn release_day(
        &self,
        channel: &ChannelName,
        day: NaiveDate,
        claim: Uuid,
        again: Option<(Moment, &str)>,
    ) -> Result<(), DirectoryError> {
        let sql = "UPDATE reconciliation_days SET claimed_until = 0, is_done = ?, tries = tries + 1, next_try_at = ?, \
                   last_error = ? WHERE channel = ? AND day = ? AND claim = ?";
        let values: [Value; 6] = [
            again.is_none().into(),
            again.map_or(0, |(at, _)| at.micros()).into(),
            again.map(|(_, error)| error).into(),
            channel.as_str().into(),
            day.to_string().into(),
            claim.to_string().into(),
        ];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// The days from `from` to `to` that the daily run has to do now. Of a channel that never had one, only the last.
    pub async fn due_days(
        &self,
        channel: &ChannelName,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<DueDay>, DirectoryError> {
        let sql = "SELECT day, claimed_until, is_done, tries, next_try_at FROM reconciliation_days WHERE channel = ? AND day <= ? \
                   ORDER BY day DESC LIMIT 60";
        let rows = self.0.db.fetch_all(sql, &[channel.as_str().into(), to.to_string().into()]).await?;
        let (at, mut due) = (now().micros(), Vec::new());
        let known =
            |day: NaiveDate| rows.iter().find(|row| row.text("day").is_ok_and(|it| it == day.to_string()));
        for day in from.iter_days().take_while(|day| *day <= to) {
            match known(day) {
                Some(row) => {
                    let waits = row.int("next_try_at")? > at || row.int("claimed_until")? >= at;
                    if !row.truth("is_done")? && !waits {
                        due.push(DueDay { day, tries: row.int("tries")? });
                    }
                }
                // A process that slept over a day makes up for it; a channel that is new owes nothing of before.
                None if day == to
                    || rows
                        .last()
                        .is_some_and(|row| row.text("day").is_ok_and(|it| it < day.to_string())) =>
                {
                    due.push(DueDay { day, tries: 0 });
                }
                None => {}
            }
        }
        Ok(due)
    }

    /// Keeps a bill with its rows. The same file again is the bill that is there; answers whether it is new.
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
                return Ok((bill(&row)?, false));
            }
            match self.write_bill(new, rows).await {
                Err(DirectoryError::Taken(_)) => {}
                other => return other.map(|bill| (bill, true)),
            }
        }
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
        let older = "UPDATE reconciliation_bills SET is_current = 0 WHERE channel = ? AND day = ? AND kind = ? AND is_current = 1";
        change.tx.execute(older, &[channel.into(), (&day).into(), kind.into()]).await?;
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
        change.tx.execute(&sql, &values).await.map_err(super::taken("that bill"))?;
        write_rows(&mut change.tx, made.id, rows).await?;
        let after = json!({
            "channel": channel, "merchant": made.merchant, "day": day, "kind": kind, "name": made.name,
            "sha256": made.sha256, "rows": made.rows, "source": made.source,
        });
        change.acts.push(act(by(new.by)?, "reconciliation.import", made.id.to_string(), None, Some(after)));
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

    /// Keeps a comparison: what is found anew is opened, what is not found any more is cleared, what was signed off stays so
    /// unless a bill that came later shows it again.
    pub async fn keep_run(
        &self,
        new: &NewRun<'_>,
        findings: &[Finding],
    ) -> Result<StoredRun, DirectoryError> {
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
                by(made.started_by)?,
                "reconciliation.find",
                id.to_string(),
                None,
                Some(after),
            ));
        }
        for it in before.iter().filter(|it| it.ended_at.is_none() && !kept.contains(&it.id)) {
            let sql = "UPDATE reconciliation_differences SET state = ?, cleared_run = ?, updated_at = ?, ended_at = ? WHERE id = ?";
            let values: [Value; 5] = [
                DifferenceState::Cleared.as_str().into(),
                made.id.to_string().into(),
                made.started_at.into(),
                made.started_at.into(),
                it.id.to_string().into(),
            ];
            change.tx.execute(sql, &values).await?;
            let after = json!({"state": DifferenceState::Cleared, "run": made.id});
            change.acts.push(act(
                by(made.started_by)?,
                "reconciliation.clear",
                it.id.to_string(),
                Some(told(it)),
                Some(after),
            ));
        }
        write_run(&mut change.tx, &made).await?;
        self.finish(change).await?;
        Ok(made)
    }

    /// Bills, newest first.
    pub async fn bills(&self, which: &Which) -> Result<Vec<StoredBill>, DirectoryError> {
        self.listed(BILLS, "reconciliation_bills", which, &[], bill).await
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

    /// How many differences of a day are still to be looked after.
    pub async fn open_differences(
        &self,
        channel: &ChannelName,
        day: NaiveDate,
    ) -> Result<u64, DirectoryError> {
        let sql = "SELECT COUNT(*) AS n FROM reconciliation_differences WHERE channel = ? AND day = ? AND ended_at IS NULL";
        let values = [channel.as_str().into(), day.to_string().into()];
        Ok(self.0.db.fetch_one(sql, &values).await?.count("n")?)
    }

    /// Differences, newest first.
    pub async fn differences(&self, which: &Which) -> Result<Vec<Difference>, DirectoryError> {
        let more = [
            ("class", which.class.map(|it| Value::from(it.as_str()))),
            ("state", which.state.map(|it| Value::from(it.as_str()))),
            ("owner", which.owner.map(Value::from)),
            ("run_id", which.run.map(|it| Value::from(it.to_string()))),
        ];
        self.listed(DIFFERENCES, "reconciliation_differences", which, &more, difference).await
    }

    async fn listed<T>(
        &self,
        columns: &str,
        table: &str,
        which: &Which,
        more: &[(&str, Option<Value>)],
        read: impl Fn(&Row) -> Result<T, DirectoryError>,
    ) -> Result<Vec<T>, DirectoryError> {
        let mut sql = format!("SELECT {columns} FROM {table} WHERE 1 = 1");
        let mut values: Vec<Value> = Vec::new();
        let day = |day: Option<NaiveDate>| day.map(|it| Value::from(it.to_string()));
        let common = [
            (" AND channel = ?", which.channel.as_ref().map(Value::from)),
            (" AND day >= ?", day(which.from)),
            (" AND day <= ?", day(which.to)),
            // Ids are made in the order of time.
            (" AND id < ?", which.before.map(|it| Value::from(it.to_string()))),
        ];
        for (text, value) in common {
            if let Some(value) = value {
                sql.push_str(text);
                values.push(value);
            }
        }
        for (column, value) in more {
            if let Some(value) = value {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(value.clone());
            }
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::from(which.limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(read).collect()
    }

    /// One difference.
    pub async fn difference(&self, id: Uuid) -> Result<Difference, DirectoryError> {
        let sql = format!("SELECT {DIFFERENCES} FROM reconciliation_differences WHERE id = ?");
        let row = self.0.db.fetch_optional(&sql, &[id.to_string().into()]).await?;
        difference(&row.ok_or(DirectoryError::NotFound("difference"))?)
    }

    /// Differences that are still to be looked after: channel, class, when found. Oldest first.
    pub async fn waiting_differences(
        &self,
        channel: Option<&str>,
    ) -> Result<Vec<(ChannelName, Class, Moment)>, DirectoryError> {
        let mut sql = String::from(
            "SELECT channel, class, created_at FROM reconciliation_differences WHERE state IN ('open', 'assigned', 'proposed')",
        );
        let mut values: Vec<Value> = Vec::new();
        if let Some(channel) = channel {
            sql.push_str(" AND channel = ?");
            values.push(channel.into());
        }
        sql.push_str(" ORDER BY id");
        let rows = self.0.db.fetch_all(&sql, &values).await?;
        rows.iter()
            .map(|row| Ok((row.parsed("channel")?, row.parsed("class")?, row.moment("created_at")?)))
            .collect()
    }

    /// Gives a difference to somebody to look after.
    pub async fn assign_difference(
        &self,
        id: Uuid,
        owner: AccountId,
        caller: &Caller,
    ) -> Result<Result<Difference, StepFault>, DirectoryError> {
        self.step(id, caller, "reconciliation.assign", |it, _| {
            match it.state {
                DifferenceState::Open | DifferenceState::Assigned => {}
                DifferenceState::Proposed | DifferenceState::Resolved | DifferenceState::Cleared => {
                    return Err(StepFault::State(it.state));
                }
            }
            it.state = DifferenceState::Assigned;
            it.owner = Some(owner);
            Ok(())
        })
        .await
    }

    /// Says how a difference ends; a second person must agree.
    pub async fn propose_end(
        &self,
        id: Uuid,
        ends_by: DifferenceAct,
        reason: &str,
        caller: &Caller,
    ) -> Result<Result<Difference, StepFault>, DirectoryError> {
        self.step(id, caller, "reconciliation.resolve", |it, caller| {
            match it.state {
                DifferenceState::Open | DifferenceState::Assigned => {}
                DifferenceState::Proposed | DifferenceState::Resolved | DifferenceState::Cleared => {
                    return Err(StepFault::State(it.state));
                }
            }
            it.state = DifferenceState::Proposed;
            it.owner = it.owner.or(Some(caller.user));
            it.act = Some(ends_by);
            it.reason = Some(reason.to_owned());
            it.resolved_by = Some(caller.user);
            Ok(())
        })
        .await
    }

    /// Agrees with how a difference ends.
    pub async fn approve_end(
        &self,
        id: Uuid,
        note: Option<&str>,
        caller: &Caller,
    ) -> Result<Result<Difference, StepFault>, DirectoryError> {
        self.step(id, caller, "reconciliation.approve", |it, caller| {
            if it.state != DifferenceState::Proposed {
                return Err(StepFault::State(it.state));
            }
            if it.resolved_by == Some(caller.user) {
                return Err(StepFault::Involved);
            }
            it.state = DifferenceState::Resolved;
            it.approved_by = Some(caller.user);
            it.note = note.map(str::to_owned);
            it.ended_at = Some(now());
            Ok(())
        })
        .await
    }

    /// Does not agree, or takes one's own word back: it goes on.
    pub async fn reject_end(
        &self,
        id: Uuid,
        note: Option<&str>,
        caller: &Caller,
    ) -> Result<Result<Difference, StepFault>, DirectoryError> {
        self.step(id, caller, "reconciliation.reject", |it, _| {
            if it.state != DifferenceState::Proposed {
                return Err(StepFault::State(it.state));
            }
            it.state = if it.owner.is_some() { DifferenceState::Assigned } else { DifferenceState::Open };
            (it.act, it.reason, it.resolved_by) = (None, None, None);
            it.note = note.map(str::to_owned);
            Ok(())
        })
        .await
    }

    /// A step of a difference: by whom and to what, if it is still where it was read.
    async fn step(
        &self,
        id: Uuid,
        caller: &Caller,
        verb: &str,
        next: impl FnOnce(&mut Difference, &Caller) -> Result<(), StepFault>,
    ) -> Result<Result<Difference, StepFault>, DirectoryError> {
        let before = self.difference(id).await?;
        let mut after = before.clone();
        if let Err(fault) = next(&mut after, caller) {
            return Ok(Err(fault));
        }
        after.updated_at = now();
        let mut change = self.change_aside().await?;
        let sql = "UPDATE reconciliation_differences SET state = ?, owner = ?, act = ?, reason = ?, resolved_by = ?, approved_by = ?, \
                   note = ?, updated_at = ?, ended_at = ? WHERE id = ? AND state = ? AND updated_at = ?";
        let values: [Value; 12] = [
            after.state.as_str().into(),
            after.owner.into(),
            after.act.map(DifferenceAct::as_str).into(),
            after.reason.clone().into(),
            after.resolved_by.into(),
            after.approved_by.into(),
            after.note.clone().into(),
            after.updated_at.into(),
            after.ended_at.into(),
            id.to_string().into(),
            before.state.as_str().into(),
            before.updated_at.into(),
        ];
        if change.tx.execute(sql, &values).await? != 1 {
            // Somebody else was faster; what it is now says more than what we wanted.
            change.tx.rollback().await?;
            return Ok(Err(StepFault::State(self.difference(id).await?.state)));
        }
        let by = actor(ActorKind::Admin, caller.user);
        change.acts.push(act(by, verb, id.to_string(), Some(told(&before)), Some(told(&after))));
        self.finish(change).await?;
        Ok(Ok(after))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::user::Role;
    use crate::secrets::Sealer;
    use projections::Database;

    async fn directories() -> (Directory, Directory, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
        let db = Database::connect(&url).await.unwrap();
        db.migrate().await.unwrap();
        let sealer = || Sealer::new(&[1; 32]);
        let (here, there) =
            tokio::join!(Directory::open(db.clone(), sealer()), Directory::open(db, sealer()));
        (here.unwrap(), there.unwrap(), folder)
    }

    fn channel() -> ChannelName {
        ChannelName::try_new("wechat").unwrap()
    }

    fn day(n: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, n).unwrap()
    }

    fn person(n: u128) -> Caller {
        Caller {
            user: AccountId::from_uuid(Uuid::from_u128(n)),
            username: "ann".into(),
            role: Role::Finance,
            group: "default".into(),
            session: String::new(),
            confirmed_at: now(),
        }
    }

    async fn bill_of(directory: &Directory, sha256: &str) -> (StoredBill, bool) {
        let channel = channel();
        let new = NewBill {
            channel: &channel,
            merchant: "1",
            day: day(21),
            kind: BillKind::Trades,
            name: "bill.csv",
            sha256,
            source: BillSource::Upload,
            by: None,
        };
        directory.store_bill(&new, &[]).await.unwrap()
    }

    fn finding(minor: i64) -> Finding {
        let money = Money { currency: Currency::try_new("CNY").unwrap(), minor };
        Finding {
            class: Class::LedgerOnly,
            subject: "a".into(),
            order_number: Some("a".into()),
            refund_number: None,
            txn: None,
            order: None,
            account: None,
            ledger: Some(money),
            provider: None,
            detail: "somebody was credited".into(),
            is_cleared: false,
            linked: None,
        }
    }

    async fn compared(directory: &Directory, findings: &[Finding]) -> StoredRun {
        let channel = channel();
        let bills = directory.current_bills(&channel, day(21)).await.unwrap();
        let new = NewRun {
            channel: &channel,
            day: day(21),
            cause: RunCause::Again,
            by: None,
            position: 1,
            is_preliminary: false,
            bills: &bills,
            matched: 0,
            totals: &[],
        };
        directory.keep_run(&new, findings).await.unwrap()
    }

    async fn states(directory: &Directory) -> Vec<(DifferenceState, bool)> {
        let which = Which { limit: 100, ..Which::default() };
        let all = directory.differences(&which).await.unwrap();
        all.iter().rev().map(|it| (it.state, it.reopens.is_some())).collect()
    }

    #[tokio::test]
    async fn a_day_is_one_processs_at_a_time_and_done_once() {
        let (here, there, _folder) = directories().await;
        let (one, two, wechat) = (Uuid::new_v4(), Uuid::new_v4(), channel());
        let until = now().plus_ms(60_000);
        let (first, second) = tokio::join!(
            here.claim_day(&wechat, day(21), one, until),
            there.claim_day(&wechat, day(21), two, until)
        );
        assert!(first.unwrap() ^ second.unwrap());
        for claim in [one, two] {
            here.release_day(&channel(), day(21), claim, Some((now().plus_ms(60_000), "not ready")))
                .await
                .unwrap();
        }
        // It is tried again later, not now; the days before it are another matter: they were never begun.
        assert_eq!(here.due_days(&channel(), day(18), day(21)).await.unwrap(), []);
        assert!(there.claim_day(&channel(), day(21), two, now().plus_ms(-1)).await.unwrap());
        assert!(here.claim_day(&channel(), day(21), one, until).await.unwrap(), "the other one died");
        there.release_day(&channel(), day(21), two, None).await.unwrap();
        assert!(!there.claim_day(&channel(), day(21), two, until).await.unwrap(), "its word counts no more");
        here.release_day(&channel(), day(21), one, None).await.unwrap();
        // Two days slept over, and today's.
        let due = here.due_days(&channel(), day(21), day(24)).await.unwrap();
        assert_eq!(due.iter().map(|it| it.day).collect::<Vec<_>>(), [day(22), day(23), day(24)]);
        let other = ChannelName::try_new("stripe").unwrap();
        let due = here.due_days(&other, day(21), day(24)).await.unwrap();
        assert_eq!(
            due.iter().map(|it| it.day).collect::<Vec<_>>(),
            [day(24)],
            "a new channel owes only the last"
        );
    }

    #[tokio::test]
    async fn a_file_is_one_bill_and_the_last_of_a_day_stands() {
        let (here, _, _folder) = directories().await;
        let (first, is_new) = bill_of(&here, "one").await;
        assert!(is_new && !bill_of(&here, "one").await.1);
        let (second, _) = bill_of(&here, "two").await;
        let current = here.current_bills(&channel(), day(21)).await.unwrap();
        assert_eq!(current.iter().map(|it| it.id).collect::<Vec<_>>(), [second.id]);
        let all = here.bills(&Which { limit: 10, ..Which::default() }).await.unwrap();
        assert_eq!(all.iter().map(|it| it.id).collect::<Vec<_>>(), [second.id, first.id]);
    }

    #[tokio::test]
    async fn what_is_signed_off_stays_so_until_a_later_bill_shows_it_again() {
        use DifferenceState::{Assigned, Cleared, Open, Proposed, Resolved};
        let (here, _, _folder) = directories().await;
        bill_of(&here, "one").await;
        compared(&here, &[finding(1), finding(2)]).await;
        compared(&here, &[finding(1)]).await;
        assert_eq!(
            states(&here).await,
            [(Open, false), (Cleared, false)],
            "known again, and not found any more"
        );
        let which = Which { state: Some(Open), limit: 1, ..Which::default() };
        let id = here.differences(&which).await.unwrap()[0].id;
        let (maker, checker) = (person(1), person(2));
        let assigned = here.assign_difference(id, maker.user, &checker).await.unwrap().unwrap();
        assert_eq!((assigned.state, assigned.owner), (Assigned, Some(maker.user)));
        let propose = || here.propose_end(id, DifferenceAct::Accepted, "seen", &maker);
        assert_eq!(propose().await.unwrap().unwrap().state, Proposed);
        assert_eq!(here.reject_end(id, None, &checker).await.unwrap().unwrap().state, Assigned);
        propose().await.unwrap().unwrap();
        assert_eq!(here.approve_end(id, None, &maker).await.unwrap(), Err(StepFault::Involved));
        // Two who approve at once: one of them does.
        let (one, two) =
            tokio::join!(here.approve_end(id, None, &checker), here.approve_end(id, None, &checker));
        assert!(one.unwrap().is_ok() ^ two.unwrap().is_ok());
        compared(&here, &[finding(1)]).await;
        assert_eq!(states(&here).await, [(Resolved, false), (Cleared, false)], "the same bill opens nothing");
        bill_of(&here, "two").await;
        compared(&here, &[finding(1)]).await;
        assert_eq!(states(&here).await, [(Resolved, false), (Cleared, false), (Open, true)]);
        compared(&here, &[finding(1)]).await;
        assert_eq!(states(&here).await.len(), 3, "and it is one again");
    }
}
