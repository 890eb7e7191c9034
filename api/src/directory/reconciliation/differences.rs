//! Differences, and the steps by which people end them.
//!
//! Claims: a step is taken from where the difference was read, or not at all; whoever proposes how one ends does not approve it,
//! but for the only operator of an installation that says so; every step is an act on AUDIT.

use super::Which;
use crate::directory::{Directory, DirectoryError, act, now, words};
use crate::reconciliation::matching::{Class, Finding};
use crate::session::{Caller, actor};
use chrono::NaiveDate;
use domain::{AccountId, ActorKind, ChannelName, Currency, Moment, Money, OrderId};
use projections::{Row, Value};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use uuid::Uuid;

words! {
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
    pub(super) mark: String,
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

pub(super) const DIFFERENCES: &str = "id, run_id, channel, day, class, mark, state, order_number, refund_number, txn, order_id, account, \
                           ledger_currency, ledger_amount, provider_currency, provider_amount, detail, linked_day, owner, act, \
                           reason, resolved_by, approved_by, note, reopens, created_at, updated_at, ended_at";

pub(super) fn difference(row: &Row) -> Result<Difference, DirectoryError> {
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
pub(super) fn mark(finding: &Finding) -> String {
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

pub(super) fn told(it: &Difference) -> Json {
    json!({
        "channel": it.channel, "day": it.day, "class": it.class, "state": it.state, "order": it.order_number,
        "owner": it.owner, "act": it.act, "reason": it.reason, "resolved_by": it.resolved_by, "approved_by": it.approved_by,
    })
}

pub(super) fn told_of(
    finding: &Finding,
    channel: &ChannelName,
    day: NaiveDate,
    state: DifferenceState,
) -> Json {
    json!({"channel": channel, "day": day, "class": finding.class, "state": state, "order": finding.order_number})
}

impl Directory {
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

    /// The days, but for `day`, that have a difference to be looked after about one of these transactions.
    pub async fn open_days_about(
        &self,
        channel: &ChannelName,
        day: NaiveDate,
        txns: &[String],
    ) -> Result<BTreeSet<NaiveDate>, DirectoryError> {
        let mut days = BTreeSet::new();
        for some in txns.chunks(500) {
            let places = vec!["?"; some.len()].join(", ");
            let sql = format!(
                "SELECT DISTINCT day FROM reconciliation_differences \
                 WHERE channel = ? AND day <> ? AND ended_at IS NULL AND txn IN ({places})"
            );
            let mut values: Vec<Value> = vec![channel.as_str().into(), day.to_string().into()];
            values.extend(some.iter().map(Value::from));
            for row in self.0.db.fetch_all(&sql, &values).await? {
                days.insert(row.parsed("day")?);
            }
        }
        Ok(days)
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

    /// Agrees with how a difference ends. `is_alone`: nobody but the caller could.
    pub async fn approve_end(
        &self,
        id: Uuid,
        note: Option<&str>,
        caller: &Caller,
        is_alone: bool,
    ) -> Result<Result<Difference, StepFault>, DirectoryError> {
        self.step(id, caller, "reconciliation.approve", |it, caller| {
            if it.state != DifferenceState::Proposed {
                return Err(StepFault::State(it.state));
            }
            if it.resolved_by == Some(caller.user) && !is_alone {
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
