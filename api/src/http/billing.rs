//! Billing: what the caller's credits came from and went to.
//!
//! Claims: every line is a projection of events and says which; nobody sees another's.

use crate::app::App;
use crate::body::{Json, Page, Path, Query};
use crate::directory::words;
use crate::http::reading::{Period, page_of, paging, reached};
use crate::http::topup::{OneQuery, TopUpStatus};
use crate::problem::Problem;
use crate::session::Caller;
use axum::extract::State;
use domain::{Credits, Moment, Posting, postings};
use ledger::{LedgerError, Logged};
use projections::billing::{self, BillingBy, BillingFilter, BillingKind, BillingRecord, BillingStat};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_billing))
        .routes(routes!(get_billing_stats))
        .routes(routes!(get_billing_record))
}

words! {
    /// What a line is.
    BillingType {
        /// A payment, or the wish to pay.
        TopUp = "topup",
        /// A day's usage.
        Consumption = "consumption",
        /// Money given back.
        Refund = "refund",
        /// A gift of credits.
        Grant = "grant",
        /// A correction.
        Adjustment = "adjustment",
    }

    /// What statistics are grouped by.
    BillingGroup {
        /// A day in the operator's time zone.
        Day = "day",
        /// A month of such days.
        Month = "month",
        /// A model; usage only.
        Model = "model",
        /// A key; usage only.
        Key = "key",
    }
}

impl From<BillingKind> for BillingType {
    fn from(kind: BillingKind) -> Self {
        match kind {
            BillingKind::TopUp => Self::TopUp,
            BillingKind::Consumption => Self::Consumption,
            BillingKind::Refund => Self::Refund,
            BillingKind::Grant => Self::Grant,
            BillingKind::Adjustment => Self::Adjustment,
        }
    }
}

impl From<BillingType> for BillingKind {
    fn from(kind: BillingType) -> Self {
        match kind {
            BillingType::TopUp => Self::TopUp,
            BillingType::Consumption => Self::Consumption,
            BillingType::Refund => Self::Refund,
            BillingType::Grant => Self::Grant,
            BillingType::Adjustment => Self::Adjustment,
        }
    }
}

impl From<BillingGroup> for BillingBy {
    fn from(group: BillingGroup) -> Self {
        match group {
            BillingGroup::Day => Self::Day,
            BillingGroup::Month => Self::Month,
            BillingGroup::Model => Self::Model,
            BillingGroup::Key => Self::Key,
        }
    }
}

/// A line of the caller's statement.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingView {
    /// Its id.
    #[schema(value_type = Uuid)]
    id: String,
    /// Whose.
    #[schema(value_type = Uuid)]
    user_id: domain::AccountId,
    /// What it is.
    #[serde(rename = "type")]
    kind: BillingType,
    /// The payer's money, a decimal string; only a top-up has some.
    #[schema(example = "50.00")]
    amount: Option<String>,
    /// Its currency.
    #[schema(example = "CNY")]
    currency: Option<String>,
    /// The credits, a decimal string: what a top-up buys, what was used (above zero), the difference of an adjustment.
    /// They count once the status is completed.
    #[schema(example = "6.944444444")]
    quota_amount: String,
    /// A sentence for the reader.
    description: String,
    /// The channel's transaction number.
    transaction_id: Option<String>,
    /// How far it got.
    status: TopUpStatus,
    /// The order's, grant's or adjustment's id; of consumption the day with its time zone.
    reference: String,
    /// The day that it counts in, in `time_zone`.
    #[schema(example = "2026-11-22")]
    day: String,
    /// The operator's time zone when it was written.
    #[schema(example = "+08:00")]
    time_zone: String,
    /// How many calls consumption is made of.
    requests: u64,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// Where its last event stands on the log.
    event_seq: u64,
}

impl From<BillingRecord> for BillingView {
    fn from(it: BillingRecord) -> Self {
        Self {
            id: it.id,
            user_id: it.account,
            kind: it.kind.into(),
            amount: it.money.map(domain::Money::amount),
            currency: it.money.map(|money| money.currency.to_string()),
            quota_amount: it.quota_amount.to_string(),
            description: it.description,
            transaction_id: it.transaction_id,
            status: it.status.into(),
            reference: it.reference,
            day: it.day,
            time_zone: it.time_zone,
            requests: it.requests,
            created_at: it.created_at,
            updated_at: it.updated_at,
            event_seq: it.event_seq,
        }
    }
}

/// Which lines are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BillingQuery {
    /// Only lines of this kind.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    kind: Option<BillingType>,
    /// Only lines that got this far.
    status: Option<TopUpStatus>,
    /// Begun at this moment or later: RFC 3339, or a date in the operator's time zone.
    from: Option<String>,
    /// Begun before this moment; a date includes that day.
    to: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// The caller's statement lines, newest first.
#[utoipa::path(
    get,
    path = "/api/user/billing",
    tag = "billing",
    params(BillingQuery),
    responses(
        (status = 200, body = Page<BillingView>),
    )
)]
async fn list_billing(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<BillingQuery>,
) -> Result<Json<Page<BillingView>>, Problem> {
    let paging = paging(query.limit, query.cursor.as_deref())?;
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    reached(&app, query.after).await?;
    let filter = BillingFilter {
        account: Some(caller.user),
        kind: query.kind.map(Into::into),
        status: query.status.map(Into::into),
        from: period.from,
        to: period.to,
    };
    Ok(Json(page_of(billing::list(&app.db, &filter, &paging).await?, BillingView::from)))
}

/// A line with what it was made of.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingDetail {
    /// The line.
    #[serde(flatten)]
    record: BillingView,
    /// Its first and its last event, with the journal lines they made; empty for consumption, which is made of the
    /// usage records within `usage`. Null when the log did not answer.
    events: Option<Vec<BillingEvent>>,
    /// Of consumption: the period of the usage records behind it, as `from` and `to` of `GET /api/user/usage`.
    usage: Option<UsageSpan>,
}

/// The period of the usage records behind a line.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct UsageSpan {
    /// The first moment.
    #[schema(value_type = String, format = DateTime)]
    from: Moment,
    /// The first moment after it.
    #[schema(value_type = String, format = DateTime)]
    to: Moment,
}

/// An event of the log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingEvent {
    /// Where it stands.
    sequence: u64,
    /// As it is stored.
    #[schema(value_type = Object)]
    event: Box<RawValue>,
    /// The journal lines it made; they sum to zero per unit.
    postings: Vec<PostingView>,
}

/// A line of the journal.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PostingView {
    /// Which account of the books.
    #[schema(example = "fx:CNY")]
    book: String,
    /// `credits`, or a currency.
    #[schema(example = "credits")]
    unit: String,
    /// Debit above zero, credit below; a decimal string.
    #[schema(example = "6.944444444")]
    amount: String,
}

impl From<Posting> for PostingView {
    fn from(posting: Posting) -> Self {
        let amount = match posting.unit {
            domain::Unit::Credits => Credits::from_nano(posting.amount).to_string(),
            domain::Unit::Money(currency) => domain::Money { currency, minor: posting.amount }.amount(),
        };
        Self { book: posting.book.to_string(), unit: posting.unit.to_string(), amount }
    }
}

/// One line of the caller's statement, with its events and postings. The id is the line's, or that of the order, grant
/// or adjustment behind it.
#[utoipa::path(
    get,
    path = "/api/user/billing/{id}",
    tag = "billing",
    params(("id" = Uuid, Path, description = "The line"), OneQuery),
    responses(
        (status = 200, body = BillingDetail),
    )
)]
async fn get_billing_record(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<OneQuery>,
) -> Result<Json<BillingDetail>, Problem> {
    reached(&app, query.after).await?;
    let record = billing::get(&app.db, caller.user, &id.to_string()).await?;
    let record = record.ok_or_else(|| Problem::not_found("no such billing record"))?;
    let (from, to) = record.day_span;
    let is_consumption = record.kind == BillingKind::Consumption;
    let events = if is_consumption { Some(Vec::new()) } else { events(&app, &record).await? };
    let usage = is_consumption.then_some(UsageSpan { from, to });
    Ok(Json(BillingDetail { record: record.into(), events, usage }))
}

/// The events behind a line. The line itself is read from the tables, so it is shown also while the log is away.
async fn events(app: &App, record: &BillingRecord) -> Result<Option<Vec<BillingEvent>>, Problem> {
    let mut sequences = vec![record.first_seq, record.event_seq];
    sequences.dedup();
    let mut events = Vec::new();
    for sequence in sequences {
        match app.ledger.log().at(sequence).await {
            Ok(found) => events.extend(found.map(|logged| event_view(&logged)).transpose()?),
            Err(error @ LedgerError::Unavailable(_)) => {
                tracing::warn!(record = %record.id, sequence, "a billing record is shown without its events: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(events))
}

fn event_view(logged: &Logged) -> Result<BillingEvent, Problem> {
    Ok(BillingEvent {
        sequence: logged.recorded.sequence,
        event: event_json(logged)?,
        postings: postings(&logged.recorded.event).into_iter().map(Into::into).collect(),
    })
}

/// An event as it is stored, byte for byte: its SHA-256 is the `prev` of its successor.
pub(crate) fn event_json(logged: &Logged) -> Result<Box<RawValue>, Problem> {
    serde_json::from_slice(&logged.json()?).map_err(|error| Problem::internal(&error))
}

/// Which statistics are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BillingStatsQuery {
    /// From this moment: RFC 3339, or a date in the operator's time zone. Days (of models and keys: hours) that touch
    /// the period count whole.
    from: Option<String>,
    /// Before this moment; a date includes that day.
    to: Option<String>,
    /// Grouped by; a day where absent.
    by: Option<BillingGroup>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// The caller's statistics.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingStats {
    /// What they are grouped by.
    by: BillingGroup,
    /// The groups: days and months newest first, models and keys by what was used.
    items: Vec<BillingStatView>,
    /// All groups together.
    total: BillingStatView,
}

/// Credits that moved in one group, as decimal strings. Only what is completed counts.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BillingStatView {
    /// The day, month, model or key; `total` for the sum.
    #[schema(example = "2026-11-22")]
    bucket: String,
    /// Bought.
    topped_up: String,
    /// Given.
    granted: String,
    /// Corrected, up or down.
    adjusted: String,
    /// Given back for money.
    refunded: String,
    /// Used.
    consumed: String,
    /// Calls behind what was used.
    requests: u64,
}

impl From<BillingStat> for BillingStatView {
    fn from(it: BillingStat) -> Self {
        Self {
            bucket: it.bucket,
            topped_up: it.topped_up.to_string(),
            granted: it.granted.to_string(),
            adjusted: it.adjusted.to_string(),
            refunded: it.refunded.to_string(),
            consumed: it.consumed.to_string(),
            requests: it.requests,
        }
    }
}

/// The caller's credits by day, month, model or key.
#[utoipa::path(
    get,
    path = "/api/user/billing/stats",
    tag = "billing",
    params(BillingStatsQuery),
    responses(
        (status = 200, body = BillingStats),
    )
)]
async fn get_billing_stats(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<BillingStatsQuery>,
) -> Result<Json<BillingStats>, Problem> {
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    let by = query.by.unwrap_or(BillingGroup::Day);
    reached(&app, query.after).await?;
    let stats = billing::stats(&app.db, caller.user, period.from, period.to, by.into()).await?;
    let total = sum(&stats).ok_or_else(|| Problem::internal(&SumTooLarge))?;
    Ok(Json(BillingStats { by, items: stats.into_iter().map(Into::into).collect(), total: total.into() }))
}

fn sum(stats: &[BillingStat]) -> Option<BillingStat> {
    let start = BillingStat { bucket: "total".to_owned(), ..BillingStat::default() };
    stats.iter().try_fold(start, |sum, it| {
        Some(BillingStat {
            topped_up: sum.topped_up.checked_add(it.topped_up)?,
            granted: sum.granted.checked_add(it.granted)?,
            adjusted: sum.adjusted.checked_add(it.adjusted)?,
            refunded: sum.refunded.checked_add(it.refunded)?,
            consumed: sum.consumed.checked_add(it.consumed)?,
            requests: sum.requests.checked_add(it.requests)?,
            bucket: sum.bucket,
        })
    })
}

/// A sum of amounts that does not fit.
#[derive(Debug, thiserror::Error)]
#[error("the sum of an account's amounts does not fit")]
pub(crate) struct SumTooLarge;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_statistics_is_exact_and_never_wraps() {
        let of =
            |nano| BillingStat { consumed: Credits::from_nano(nano), requests: 1, ..BillingStat::default() };
        let total = sum(&[of(1), of(2)]).unwrap();
        assert_eq!((total.consumed.nano(), total.requests), (3, 2));
        assert!(sum(&[of(i64::MAX), of(1)]).is_none());
    }
}
