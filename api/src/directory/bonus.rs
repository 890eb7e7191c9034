//! Bonuses: what was promised beside an order, and whether it was given.
//!
//! For: the promise, made once when the order is opened, and the list of what is owed.
//! May not touch: credits; the ledger grants them ([`crate::payments::bonus`]).
//! Claims: an order's promise is its first: other tiers later, or the same wish again, do not change it.

use super::{Directory, DirectoryError, now, words};
use domain::{AccountId, Credits, Moment, OrderId};
use projections::{Row, Value};
use std::collections::BTreeMap;

words! {
    /// What became of a bonus.
    BonusState {
        /// It is given once the order is paid.
        Due = "due",
        /// It stands on the log.
        Given = "given",
        /// Money of the order went back before it could be given.
        Forfeited = "forfeited",
    }
}

/// A bonus of a paid order that was not given yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bonus {
    /// The order.
    pub order: OrderId,
    /// Whose.
    pub account: AccountId,
    /// How much.
    pub credits: Credits,
}

impl Directory {
    /// Promises a bonus beside an order. Answers what is promised: an earlier promise stands.
    pub async fn promise_bonus(
        &self,
        account: AccountId,
        order: OrderId,
        credits: Credits,
    ) -> Result<Credits, DirectoryError> {
        if credits.is_positive() {
            let sql = "INSERT INTO top_up_bonuses (order_id, account, credits, state, created_at, updated_at) \
                       VALUES (?, ?, ?, 'due', ?, ?)";
            let values = [order.into(), account.into(), Value::from(credits), now().into(), now().into()];
            match self.0.db.execute(sql, &values).await {
                Ok(_) => return Ok(credits),
                Err(error) if error.is_unique_violation() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.bonuses(&[order]).await?.remove(&order).unwrap_or(Credits::ZERO))
    }

    /// What was promised beside these orders; those without a bonus are not in it.
    pub async fn bonuses(&self, orders: &[OrderId]) -> Result<BTreeMap<OrderId, Credits>, DirectoryError> {
        let mut found = BTreeMap::new();
        for some in orders.chunks(500) {
            let places = vec!["?"; some.len()].join(", ");
            let sql = format!("SELECT order_id, credits FROM top_up_bonuses WHERE order_id IN ({places})");
            let values: Vec<Value> = some.iter().map(|order| (*order).into()).collect();
            for row in self.0.db.fetch_all(&sql, &values).await? {
                found.insert(row.parsed("order_id")?, row.credits("credits")?);
            }
        }
        Ok(found)
    }

    /// The bonus of an order, if it is still to be given.
    pub async fn due_bonus(&self, order: OrderId) -> Result<Option<Bonus>, DirectoryError> {
        let sql =
            "SELECT order_id, account, credits FROM top_up_bonuses WHERE order_id = ? AND state = 'due'";
        self.0.db.fetch_optional(sql, &[order.into()]).await?.as_ref().map(read).transpose()
    }

    /// Bonuses of orders that are paid, promised since a moment and not given yet.
    pub async fn owed_bonuses(&self, since: Moment, limit: i64) -> Result<Vec<Bonus>, DirectoryError> {
        let sql = "SELECT b.order_id AS order_id, b.account AS account, b.credits AS credits FROM top_up_bonuses b \
                   JOIN top_up_orders o ON o.account = b.account AND o.order_id = b.order_id \
                   WHERE b.state = 'due' AND b.created_at >= ? AND o.status = 'completed' ORDER BY b.created_at, b.order_id LIMIT ?";
        let rows = self.0.db.fetch_all(sql, &[since.into(), limit.into()]).await?;
        rows.iter().map(read).collect()
    }

    /// Notes how a bonus ended; `event_seq`: where its grant stands on the log.
    pub async fn end_bonus(
        &self,
        order: OrderId,
        state: BonusState,
        event_seq: Option<u64>,
    ) -> Result<(), DirectoryError> {
        let sql = "UPDATE top_up_bonuses SET state = ?, event_seq = ?, updated_at = ? WHERE order_id = ? AND state = 'due'";
        let event_seq = event_seq.map_or_else(|| Value::from(None::<i64>), Value::count);
        self.0.db.execute(sql, &[state.as_str().into(), event_seq, now().into(), order.into()]).await?;
        Ok(())
    }
}

fn read(row: &Row) -> Result<Bonus, DirectoryError> {
    Ok(Bonus {
        order: row.parsed("order_id")?,
        account: row.parsed("account")?,
        credits: row.credits("credits")?,
    })
}
