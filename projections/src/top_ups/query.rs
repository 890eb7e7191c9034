use super::fold::{COLUMNS, close_reason_text};
use crate::page::page;
use crate::{Database, DatabaseError, Page, Paging, Row, Value};
use domain::account::event::CloseReason;
use domain::{AccountId, ChannelName, Credits, Label, Moment, Money, OrderId};
use sea_query::{Expr, ExprTrait, Query};
use std::collections::BTreeMap;

/// A top-up order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopUpOrder {
    /// Whose.
    pub account: AccountId,
    /// The order.
    pub order: OrderId,
    /// Where it is paid.
    pub channel: ChannelName,
    /// What must be paid.
    pub pay: Money,
    /// What it buys.
    pub credits: Credits,
    /// How far it got.
    pub status: OrderStatus,
    /// Why it ended unpaid.
    pub close_reason: Option<CloseReason>,
    /// The channel's transaction that paid it.
    pub provider_txn: Option<Label>,
    /// When the offer ends.
    pub expires_at: Moment,
    /// When it began.
    pub created_at: Moment,
    /// When it last changed.
    pub updated_at: Moment,
    /// When it was paid.
    pub completed_at: Option<Moment>,
    /// The sequence of its first event.
    pub first_seq: u64,
    /// The sequence of its last event.
    pub event_seq: u64,
}

/// How far an order, or what is billed, got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderStatus {
    /// Waiting for its payment.
    Pending,
    /// Paid and credited.
    Completed,
    /// The channel says the payment failed.
    Failed,
    /// Given up, or not paid in time.
    Cancelled,
}

impl OrderStatus {
    /// The word in rows and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn of_close(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Failed => Self::Failed,
            CloseReason::Cancelled | CloseReason::Expired => Self::Cancelled,
        }
    }
}

impl std::str::FromStr for OrderStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        let all = [Self::Pending, Self::Completed, Self::Failed, Self::Cancelled];
        all.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// A text that is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a status is pending, completed, failed or cancelled")]
pub struct UnknownStatus;

/// An order of an account.
pub async fn get(
    db: &Database,
    account: AccountId,
    order: OrderId,
) -> Result<Option<TopUpOrder>, DatabaseError> {
    let sql = format!("SELECT {} FROM top_up_orders WHERE account = ? AND order_id = ?", COLUMNS.join(", "));
    db.fetch_optional(&sql, &[account.into(), order.into()]).await?.as_ref().map(read).transpose()
}

/// An order of any account: for callbacks, which name the order only. The caller checks the channel.
pub async fn find(db: &Database, order: OrderId) -> Result<Option<TopUpOrder>, DatabaseError> {
    let sql =
        format!("SELECT {} FROM top_up_orders WHERE order_id = ? ORDER BY first_seq", COLUMNS.join(", "));
    db.fetch_optional(&sql, &[order.into()]).await?.as_ref().map(read).transpose()
}

/// The first order that a channel's transaction has paid, of any account.
pub async fn paid_by(
    db: &Database,
    channel: &ChannelName,
    provider_txn: &Label,
) -> Result<Option<TopUpOrder>, DatabaseError> {
    let sql = format!(
        "SELECT {} FROM top_up_orders WHERE channel = ? AND provider_txn = ? ORDER BY event_seq LIMIT 1",
        COLUMNS.join(", ")
    );
    let values = [channel.as_str().into(), provider_txn.as_str().into()];
    db.fetch_optional(&sql, &values).await?.as_ref().map(read).transpose()
}

/// Orders, newest first; of one account or of all.
pub async fn list(
    db: &Database,
    account: Option<AccountId>,
    status: Option<OrderStatus>,
    paging: &Paging,
) -> Result<Page<TopUpOrder>, DatabaseError> {
    let mut query = Query::select();
    query.columns(COLUMNS).from("top_up_orders");
    if let Some(account) = account {
        query.and_where(Expr::col("account").eq(account.to_string()));
    }
    if let Some(status) = status {
        query.and_where(Expr::col("status").eq(status.as_str()));
    }
    page(db, query, ("created_at", "order_id"), paging, read).await
}

/// Orders that wait for their payment, newest first, of all accounts: the poller's work list.
pub async fn pending(db: &Database, paging: &Paging) -> Result<Page<TopUpOrder>, DatabaseError> {
    list(db, None, Some(OrderStatus::Pending), paging).await
}

/// The completed orders of these accounts (a few hundred at most), by account and the oldest first, each with the credits of it that
/// still stand: less the part of its money that went back, is asked to go back, or was charged back. Bonuses are not counted.
pub async fn standing(
    db: &Database,
    accounts: &[AccountId],
) -> Result<Vec<(TopUpOrder, Credits)>, DatabaseError> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let places = vec!["?"; accounts.len()].join(", ");
    let values: Vec<Value> = accounts.iter().map(|account| (*account).into()).collect();
    let mut gone: BTreeMap<OrderId, i128> = BTreeMap::new();
    for (table, is_gone) in [("refunds", "status <> 'failed'"), ("chargebacks", "status = 'posted'")] {
        let sql = format!("SELECT order_id, amount FROM {table} WHERE {is_gone} AND account IN ({places})");
        for row in db.fetch_all(&sql, &values).await? {
            *gone.entry(row.parsed("order_id")?).or_default() += i128::from(row.int("amount")?);
        }
    }
    let sql = format!(
        "SELECT {} FROM top_up_orders WHERE status = 'completed' AND account IN ({places}) \
         ORDER BY account, completed_at, order_id",
        COLUMNS.join(", ")
    );
    let mut orders = Vec::new();
    for row in db.fetch_all(&sql, &values).await? {
        let order = read(&row)?;
        let gone = gone.get(&order.order).copied().unwrap_or_default();
        let left = left(order.credits, order.pay.minor, gone);
        orders.push((order, left));
    }
    Ok(orders)
}

/// What of an order's credits belongs to the money that is left of it, rounded down; none where nothing is left.
fn left(credits: Credits, paid: i64, gone: i128) -> Credits {
    let paid = i128::from(paid);
    let nano = match paid - gone {
        rest if rest > 0 && paid > 0 => i128::from(credits.nano()) * rest / paid,
        _ => 0,
    };
    i64::try_from(nano).map_or(Credits::ZERO, Credits::from_nano)
}

/// These orders of whichever accounts, as far as they are there.
pub async fn of_orders(db: &Database, orders: &[OrderId]) -> Result<Vec<TopUpOrder>, DatabaseError> {
    let mut found = Vec::new();
    for some in orders.chunks(500) {
        let places = vec!["?"; some.len()].join(", ");
        let sql = format!(
            "SELECT {} FROM top_up_orders WHERE order_id IN ({places}) ORDER BY first_seq",
            COLUMNS.join(", ")
        );
        let values: Vec<Value> = some.iter().map(|order| (*order).into()).collect();
        for row in db.fetch_all(&sql, &values).await? {
            found.push(read(&row)?);
        }
    }
    Ok(found)
}

/// What an account may still pay or has paid of the orders that it opened since a moment, each with when that was.
pub async fn counted_since(
    db: &Database,
    account: AccountId,
    since: Moment,
) -> Result<Vec<(Money, Moment)>, DatabaseError> {
    let sql = "SELECT currency, amount, created_at FROM top_up_orders \
               WHERE account = ? AND created_at >= ? AND status IN ('pending', 'completed')";
    let rows = db.fetch_all(sql, &[account.into(), since.into()]).await?;
    let read = |row: &Row| {
        let pay = Money { currency: row.parsed("currency")?, minor: row.int("amount")? };
        Ok((pay, row.moment("created_at")?))
    };
    rows.iter().map(read).collect()
}

/// The orders whose payment at a channel was credited from one moment to before another.
pub async fn completed_between(
    db: &Database,
    channel: &ChannelName,
    from: Moment,
    to: Moment,
) -> Result<Vec<TopUpOrder>, DatabaseError> {
    let sql = format!(
        "SELECT {} FROM top_up_orders WHERE channel = ? AND completed_at >= ? AND completed_at < ? ORDER BY completed_at, order_id",
        COLUMNS.join(", ")
    );
    let values = [channel.as_str().into(), from.into(), to.into()];
    db.fetch_all(&sql, &values).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<TopUpOrder, DatabaseError> {
    let reasons = [CloseReason::Failed, CloseReason::Cancelled, CloseReason::Expired];
    let close_reason = row.opt_text("close_reason")?.map(|text| {
        let known = reasons.into_iter().find(|reason| close_reason_text(*reason) == text);
        known.ok_or_else(|| DatabaseError::column("close_reason", "is no reason"))
    });
    Ok(TopUpOrder {
        account: row.parsed("account")?,
        order: row.parsed("order_id")?,
        channel: row.parsed("channel")?,
        pay: Money { currency: row.parsed("currency")?, minor: row.int("amount")? },
        credits: row.credits("credits")?,
        status: row.parsed("status")?,
        close_reason: close_reason.transpose()?,
        provider_txn: row.opt_parsed("provider_txn")?,
        expires_at: row.moment("expires_at")?,
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
        completed_at: row.opt_moment("completed_at")?,
        first_seq: row.count("first_seq")?,
        event_seq: row.count("event_seq")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credits_that_are_left_of_an_order_go_with_its_money_and_round_down() {
        let ten = Credits::from_nano(10_000_000_001);
        assert_eq!(left(ten, 7_200, 0), ten);
        assert_eq!(left(ten, 7_200, 3_600).nano(), 5_000_000_000);
        assert_eq!([left(ten, 7_200, 7_200), left(ten, 7_200, 9_000), left(ten, 0, 0)], [Credits::ZERO; 3]);
    }
}
