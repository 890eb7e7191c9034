use super::fold::{CHARGEBACK_COLUMNS, COLUMNS};
use crate::page::page;
use crate::{Database, DatabaseError, Page, Paging, Row, Value};
use domain::{AccountId, ChannelName, ChargebackId, Credits, Label, Moment, Money, OrderId, RefundId};
use sea_query::{Expr, ExprTrait, Query};

/// A refund of an order, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Whose.
    pub account: AccountId,
    /// The refund.
    pub refund: RefundId,
    /// The order that was paid.
    pub order: OrderId,
    /// Where.
    pub channel: ChannelName,
    /// What goes back.
    pub pay: Money,
    /// The credits that this takes.
    pub credits: Credits,
    /// Why it was asked for.
    pub reason: String,
    /// How far it got.
    pub status: RefundStatus,
    /// The channel's number of it.
    pub provider_refund: Option<Label>,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it was asked for.
    pub created_at: Moment,
    /// When it was approved.
    pub approved_at: Option<Moment>,
    /// When it ended.
    pub ended_at: Option<Moment>,
    /// When it last changed.
    pub updated_at: Moment,
    /// The sequence of its first event.
    pub first_seq: u64,
    /// The sequence of its last event.
    pub event_seq: u64,
}

/// How far a refund got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefundStatus {
    /// It waits for an operator; its credits are set aside.
    Requested,
    /// The channel may be asked, or was.
    Approved,
    /// The money went back.
    Completed,
    /// It did not; the credits are there again.
    Failed,
}

impl RefundStatus {
    /// The word in rows and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for RefundStatus {
    type Err = UnknownRefundStatus;

    fn from_str(text: &str) -> Result<Self, UnknownRefundStatus> {
        let all = [Self::Requested, Self::Approved, Self::Completed, Self::Failed];
        all.into_iter().find(|status| status.as_str() == text).ok_or(UnknownRefundStatus)
    }
}

/// A text that is no status of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a refund is requested, approved, completed or failed")]
pub struct UnknownRefundStatus;

/// Which refunds a list shows; `None` does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefundFilter {
    /// Whose.
    pub account: Option<AccountId>,
    /// Of which order.
    pub order: Option<OrderId>,
    /// At which channel.
    pub channel: Option<ChannelName>,
    /// That got this far.
    pub status: Option<RefundStatus>,
}

/// A refund of an account.
pub async fn get(
    db: &Database,
    account: AccountId,
    refund: RefundId,
) -> Result<Option<Refund>, DatabaseError> {
    let sql = format!("SELECT {} FROM refunds WHERE account = ? AND refund_id = ?", COLUMNS.join(", "));
    db.fetch_optional(&sql, &[account.into(), refund.into()]).await?.as_ref().map(read).transpose()
}

/// A refund of any account: for operators, and for callbacks, which name only its number. The caller checks the channel.
pub async fn find(db: &Database, refund: RefundId) -> Result<Option<Refund>, DatabaseError> {
    let sql = format!("SELECT {} FROM refunds WHERE refund_id = ? ORDER BY first_seq", COLUMNS.join(", "));
    db.fetch_optional(&sql, &[refund.into()]).await?.as_ref().map(read).transpose()
}

/// All refunds of an order, the first one first.
pub async fn of_order(db: &Database, order: OrderId) -> Result<Vec<Refund>, DatabaseError> {
    let sql = format!("SELECT {} FROM refunds WHERE order_id = ? ORDER BY first_seq", COLUMNS.join(", "));
    db.fetch_all(&sql, &[order.into()]).await?.iter().map(read).collect()
}

/// Refunds, newest first.
pub async fn list(
    db: &Database,
    filter: &RefundFilter,
    paging: &Paging,
) -> Result<Page<Refund>, DatabaseError> {
    let mut query = Query::select();
    query.columns(COLUMNS).from("refunds");
    if let Some(account) = filter.account {
        query.and_where(Expr::col("account").eq(account.to_string()));
    }
    if let Some(order) = filter.order {
        query.and_where(Expr::col("order_id").eq(order.to_string()));
    }
    if let Some(channel) = &filter.channel {
        query.and_where(Expr::col("channel").eq(channel.as_str()));
    }
    if let Some(status) = filter.status {
        query.and_where(Expr::col("status").eq(status.as_str()));
    }
    page(db, query, ("created_at", "refund_id"), paging, read).await
}

/// All refunds of these orders, of whichever accounts.
pub async fn of_orders(db: &Database, orders: &[OrderId]) -> Result<Vec<Refund>, DatabaseError> {
    let mut found = Vec::new();
    for some in orders.chunks(500) {
        let places = vec!["?"; some.len()].join(", ");
        let sql = format!(
            "SELECT {} FROM refunds WHERE order_id IN ({places}) ORDER BY first_seq",
            COLUMNS.join(", ")
        );
        let values: Vec<Value> = some.iter().map(|order| (*order).into()).collect();
        for row in db.fetch_all(&sql, &values).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// The refunds of a channel that ended from one moment to before another.
pub async fn ended_between(
    db: &Database,
    channel: &ChannelName,
    from: Moment,
    to: Moment,
) -> Result<Vec<Refund>, DatabaseError> {
    let sql = format!(
        "SELECT {} FROM refunds WHERE channel = ? AND ended_at >= ? AND ended_at < ? ORDER BY first_seq",
        COLUMNS.join(", ")
    );
    let values = [channel.as_str().into(), from.into(), to.into()];
    db.fetch_all(&sql, &values).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Refund, DatabaseError> {
    Ok(Refund {
        account: row.parsed("account")?,
        refund: row.parsed("refund_id")?,
        order: row.parsed("order_id")?,
        channel: row.parsed("channel")?,
        pay: Money { currency: row.parsed("currency")?, minor: row.int("amount")? },
        credits: row.credits("credits")?,
        reason: row.text("reason")?,
        status: row.parsed("status")?,
        provider_refund: row.opt_parsed("provider_refund")?,
        failure: row.opt_text("failure")?,
        created_at: row.moment("created_at")?,
        approved_at: row.opt_moment("approved_at")?,
        ended_at: row.opt_moment("ended_at")?,
        updated_at: row.moment("updated_at")?,
        first_seq: row.count("first_seq")?,
        event_seq: row.count("event_seq")?,
    })
}

/// A disputed payment that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chargeback {
    /// Whose.
    pub account: AccountId,
    /// The chargeback.
    pub chargeback: ChargebackId,
    /// The order that was paid.
    pub order: OrderId,
    /// Where.
    pub channel: ChannelName,
    /// What was taken back.
    pub pay: Money,
    /// The credits that went with it.
    pub credits: Credits,
    /// The channel's name of the dispute.
    pub reference: Label,
    /// When it was booked.
    pub created_at: Moment,
    /// When it came back.
    pub reversed_at: Option<Moment>,
    /// The sequence of its last event.
    pub event_seq: u64,
}

/// A chargeback of any account.
pub async fn chargeback(db: &Database, id: ChargebackId) -> Result<Option<Chargeback>, DatabaseError> {
    let sql = format!(
        "SELECT {} FROM chargebacks WHERE chargeback_id = ? ORDER BY first_seq",
        CHARGEBACK_COLUMNS.join(", ")
    );
    db.fetch_optional(&sql, &[id.into()]).await?.as_ref().map(read_chargeback).transpose()
}

fn read_chargeback(row: &Row) -> Result<Chargeback, DatabaseError> {
    Ok(Chargeback {
        account: row.parsed("account")?,
        chargeback: row.parsed("chargeback_id")?,
        order: row.parsed("order_id")?,
        channel: row.parsed("channel")?,
        pay: Money { currency: row.parsed("currency")?, minor: row.int("amount")? },
        credits: row.credits("credits")?,
        reference: row.parsed("reference")?,
        created_at: row.moment("created_at")?,
        reversed_at: row.opt_moment("reversed_at")?,
        event_seq: row.count("event_seq")?,
    })
}
