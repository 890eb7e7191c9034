use super::fold::{COLUMNS, outcome_text, source_text};
use crate::page::page;
use crate::{Database, DatabaseError, Page, Paging, Row};
use domain::usage::Usage;
use domain::{AccountId, KeyId, Label, Moment, Outcome, RequestId, UsageRecord, UsageSource};
use sea_query::{Expr, ExprTrait, Query, SelectStatement};

/// A call's record as it was counted: all that its charge was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The record; [`UsageRecord::paid`] is what the account paid.
    pub record: UsageRecord,
    /// It came after its lease had been closed without it, so the operator bears all of it: `record.uncovered` is the
    /// whole charge, whatever its report says.
    pub late: bool,
    /// The sequence of the report.
    pub event_seq: u64,
    /// When it was reported; the call itself ended at `record.usage.at`.
    pub reported_at: Moment,
}

/// Which records a list shows; `None` does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Whose; `None`: everybody's, for operators.
    pub account: Option<AccountId>,
    /// By which key.
    pub key: Option<KeyId>,
    /// Of which model.
    pub model: Option<Label>,
    /// With which outcome.
    pub outcome: Option<Outcome>,
    /// Ended at this moment or later.
    pub from: Option<Moment>,
    /// Ended before this moment.
    pub to: Option<Moment>,
}

/// Records, newest call first.
pub async fn list(
    db: &Database,
    filter: &UsageFilter,
    paging: &Paging,
) -> Result<Page<Receipt>, DatabaseError> {
    page(db, listed(filter), ORDER, paging, read).await
}

/// What pages of the list go by.
pub(super) const ORDER: (&str, &str) = ("at", "request_id");

/// The list's query, before it is cut into pages.
pub(super) fn listed(filter: &UsageFilter) -> SelectStatement {
    let mut query = Query::select();
    query.columns(COLUMNS).from("usage_records");
    if let Some(account) = filter.account {
        query.and_where(Expr::col("account").eq(account.to_string()));
    }
    if let Some(key) = filter.key {
        query.and_where(Expr::col("key_id").eq(key.to_string()));
    }
    if let Some(model) = &filter.model {
        query.and_where(Expr::col("model").eq(model.as_str()));
    }
    if let Some(outcome) = filter.outcome {
        query.and_where(Expr::col("outcome").eq(outcome_text(outcome)));
    }
    if let Some(from) = filter.from {
        query.and_where(Expr::col("at").gte(from.micros()));
    }
    if let Some(to) = filter.to {
        query.and_where(Expr::col("at").lt(to.micros()));
    }
    query
}

/// The record of an account's call.
pub async fn get(
    db: &Database,
    account: AccountId,
    request: RequestId,
) -> Result<Option<Receipt>, DatabaseError> {
    Ok(find(db, request).await?.filter(|receipt| receipt.record.account == account))
}

/// The record of a call of any account.
pub async fn find(db: &Database, request: RequestId) -> Result<Option<Receipt>, DatabaseError> {
    let sql = format!(
        "SELECT {} FROM usage_records WHERE request_id = ? ORDER BY event_seq, n",
        COLUMNS.join(", ")
    );
    db.fetch_optional(&sql, &[request.into()]).await?.as_ref().map(read).transpose()
}

pub(super) fn read(row: &Row) -> Result<Receipt, DatabaseError> {
    let outcome = row.text("outcome")?;
    let source = row.text("source")?;
    let outcomes = [
        Outcome::Completed,
        Outcome::ClientGone,
        Outcome::ProviderError,
        Outcome::Interrupted,
        Outcome::Refused,
    ];
    let sources = [UsageSource::Provider, UsageSource::Estimated];
    let status = row.int("status")?;
    Ok(Receipt {
        late: row.truth("late")?,
        event_seq: row.count("event_seq")?,
        reported_at: row.moment("reported_at")?,
        record: UsageRecord {
            account: row.parsed("account")?,
            lease: row.parsed("lease")?,
            n: row.count("n")?,
            spent: row.credits("spent")?,
            uncovered: row.credits("uncovered")?,
            usage: Usage {
                request: row.parsed("request_id")?,
                at: row.moment("at")?,
                key: row.parsed("key_id")?,
                model: row.parsed("model")?,
                provider: row.parsed("provider")?,
                upstream_model: row.parsed("upstream_model")?,
                endpoint: row.parsed("endpoint")?,
                tokens: row.json("tokens")?,
                price_version: row.parsed("price_version")?,
                unit_prices: row.json("unit_prices")?,
                multiplier: row.parsed("multiplier")?,
                charge: row.credits("charge")?,
                cost: row.credits("cost")?,
                cost_prices: row.opt_json("cost_prices")?,
                outcome: outcomes
                    .into_iter()
                    .find(|it| outcome_text(*it) == outcome)
                    .ok_or_else(|| DatabaseError::column("outcome", "is no outcome"))?,
                usage_source: sources
                    .into_iter()
                    .find(|it| source_text(*it) == source)
                    .ok_or_else(|| DatabaseError::column("source", "is no source"))?,
                stream: row.truth("stream")?,
                status: u16::try_from(status).map_err(|error| DatabaseError::column("status", error))?,
                ttft_ms: row.opt_count("ttft_ms")?,
                duration_ms: row.count("duration_ms")?,
                attempts: row.json("attempts")?,
            },
        },
    })
}
