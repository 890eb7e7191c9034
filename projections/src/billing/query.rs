use super::fold::COLUMNS;
use crate::calendar::DAY;
use crate::page::page;
use crate::top_ups::OrderStatus;
use crate::{Database, DatabaseError, Page, Paging, Row};
use domain::{AccountId, Credits, Moment, Money};
use sea_query::{Expr, ExprTrait, Query};

/// A line of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillingRecord {
    /// Its id: a UUID, the same after a rebuild.
    pub id: String,
    /// Whose.
    pub account: AccountId,
    /// What kind of line it is.
    pub kind: BillingKind,
    /// The order's, grant's or adjustment's id; for consumption the day and its zone.
    pub reference: String,
    /// The payer's money; only top-ups and refunds have some.
    pub money: Option<Money>,
    /// The credits: of a top-up what it buys, of consumption what was used (above zero), of a refund what
    /// it takes (above zero), of an adjustment the difference. They count if the status is completed, a refund's also while it is
    /// pending.
    pub quota_amount: Credits,
    /// A sentence for the reader.
    pub description: String,
    /// The channel's transaction number.
    pub transaction_id: Option<String>,
    /// How far it got.
    pub status: OrderStatus,
    /// When it began.
    pub created_at: Moment,
    /// When it last changed; of consumption, its last call.
    pub updated_at: Moment,
    /// The sequence of its first event.
    pub first_seq: u64,
    /// The sequence of its last event.
    pub event_seq: u64,
    /// The day it counts in, in `time_zone`.
    pub day: String,
    /// The operator's time zone when it was written: `+08:00`.
    pub time_zone: String,
    /// When that day began and ended: the span of the usage records behind consumption.
    pub day_span: (Moment, Moment),
    /// How many calls consumption is made of.
    pub requests: u64,
}

/// What a line of a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BillingKind {
    /// A payment, or the wish to pay.
    TopUp,
    /// A day's usage.
    Consumption,
    /// Money given back, or taken back by a payer's bank.
    Refund,
    /// A gift of credits.
    Grant,
    /// A correction.
    Adjustment,
}

impl BillingKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::TopUp, Self::Consumption, Self::Refund, Self::Grant, Self::Adjustment];

    /// The word in rows and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "topup",
            Self::Consumption => "consumption",
            Self::Refund => "refund",
            Self::Grant => "grant",
            Self::Adjustment => "adjustment",
        }
    }
}

impl std::str::FromStr for BillingKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownKind)
    }
}

/// A text that is no kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a type is topup, consumption, refund, grant or adjustment")]
pub struct UnknownKind;

/// Which lines a list shows; `None` does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BillingFilter {
    /// Whose; `None`: everybody's, for operators.
    pub account: Option<AccountId>,
    /// Of which kind.
    pub kind: Option<BillingKind>,
    /// With which status.
    pub status: Option<OrderStatus>,
    /// Begun at this moment or later.
    pub from: Option<Moment>,
    /// Begun before this moment.
    pub to: Option<Moment>,
}

/// Lines, the last begun first.
pub async fn list(
    db: &Database,
    filter: &BillingFilter,
    paging: &Paging,
) -> Result<Page<BillingRecord>, DatabaseError> {
    let mut query = Query::select();
    query.columns(COLUMNS).from("billing_records");
    if let Some(account) = filter.account {
        query.and_where(Expr::col("user_id").eq(account.to_string()));
    }
    if let Some(kind) = filter.kind {
        query.and_where(Expr::col("type").eq(kind.as_str()));
    }
    if let Some(status) = filter.status {
        query.and_where(Expr::col("status").eq(status.as_str()));
    }
    if let Some(from) = filter.from {
        query.and_where(Expr::col("created_at").gte(from.micros()));
    }
    if let Some(to) = filter.to {
        query.and_where(Expr::col("created_at").lt(to.micros()));
    }
    page(db, query, ("created_at", "id"), paging, read).await
}

/// A line of an account. The id is the line's, or that of the order, grant or adjustment behind it.
pub async fn get(
    db: &Database,
    account: AccountId,
    id: &str,
) -> Result<Option<BillingRecord>, DatabaseError> {
    // Not a UUID: not an id, and perhaps a text that PostgreSQL would not take.
    let Ok(id) = uuid::Uuid::parse_str(id) else { return Ok(None) };
    let sql = format!(
        "SELECT {} FROM billing_records WHERE user_id = ? AND (id = ? OR reference = ?) ORDER BY first_seq",
        COLUMNS.join(", ")
    );
    let id = id.to_string();
    let row = db.fetch_optional(&sql, &[account.into(), id.as_str().into(), id.into()]).await?;
    row.as_ref().map(read).transpose()
}

pub(crate) fn read(row: &Row) -> Result<BillingRecord, DatabaseError> {
    let money = match row.opt_int("amount")? {
        None => None,
        Some(minor) => Some(Money { currency: row.parsed("currency")?, minor }),
    };
    let day_start = row.moment("day_start")?;
    Ok(BillingRecord {
        id: row.text("id")?,
        account: row.parsed("user_id")?,
        kind: row.parsed("type")?,
        reference: row.text("reference")?,
        money,
        quota_amount: row.credits("quota_amount")?,
        description: row.text("description")?,
        transaction_id: row.opt_text("transaction_id")?,
        status: row.parsed("status")?,
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
        first_seq: row.count("first_seq")?,
        event_seq: row.count("event_seq")?,
        day: row.text("day")?,
        time_zone: row.text("time_zone")?,
        day_span: (day_start, Moment::from_micros(day_start.micros().saturating_add(DAY))),
        requests: row.count("requests")?,
    })
}
