//! Notices of refunds: how far each was when its owner was told of it last.
//!
//! For: finding refunds that have come further, and claiming one together with its notice.
//! May not touch: refunds; they are on the log, and this reads their projection.
//! Claims: a stage is told of once, however many processes look and whatever dies in between, for the claim and the notice are
//! one transaction. A stage that was passed before anybody looked is not told of: the next one is.

use super::{
    Directory, DirectoryError,
    notice::{self, Notice},
    now, words,
};
use domain::{AccountId, Credits, Moment, Money, OrderId, RefundId};
use projections::{Row, Value};

/// How many refunds are handled in one look; the next look takes the next ones.
const AT_ONCE: i64 = 200;
/// How old a change may be that is still told of, in milliseconds: tables that were made anew must not tell everything again.
const TOLD_WITHIN_MS: i64 = 3 * 86_400_000;

words! {
    /// What an owner is told of a refund.
    RefundStage {
        /// It was asked for.
        Requested = "requested",
        /// The money went back.
        Completed = "completed",
        /// It did not; the credits are there again.
        Failed = "failed",
    }
}

/// A refund of which its owner is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNews {
    /// Whose.
    pub account: AccountId,
    /// The refund.
    pub refund: RefundId,
    /// The order that was paid.
    pub order: OrderId,
    /// What goes back.
    pub pay: Money,
    /// The credits that this takes.
    pub credits: Credits,
    /// Why it failed.
    pub failure: Option<String>,
    /// How far it is.
    pub stage: RefundStage,
    told: Option<RefundStage>,
}

fn news(row: &Row) -> Result<RefundNews, DirectoryError> {
    Ok(RefundNews {
        account: row.parsed("account")?,
        refund: row.parsed("refund_id")?,
        order: row.parsed("order_id")?,
        pay: Money { currency: row.parsed("currency")?, minor: row.int("amount")? },
        credits: row.credits("credits")?,
        failure: row.opt_text("failure")?,
        stage: row.parsed("stage")?,
        told: row.opt_parsed("told")?,
    })
}

impl Directory {
    /// Refunds that are further than their owners know.
    pub async fn refund_news(&self) -> Result<Vec<RefundNews>, DirectoryError> {
        let since: Moment = now().plus_ms(-TOLD_WITHIN_MS);
        // To its owner a refund that is approved waits as before.
        let stage = "CASE r.status WHEN 'approved' THEN 'requested' ELSE r.status END";
        let sql = format!(
            "SELECT r.account AS account, r.refund_id AS refund_id, r.order_id AS order_id, r.currency AS currency, r.amount AS amount, \
             r.credits AS credits, r.failure AS failure, {stage} AS stage, n.told AS told \
             FROM refunds r LEFT JOIN refund_notices n ON n.refund_id = r.refund_id \
             WHERE r.updated_at >= ? AND (n.told IS NULL OR n.told <> {stage}) ORDER BY r.updated_at, r.refund_id LIMIT ?"
        );
        self.0.db.fetch_all(&sql, &[since.into(), AT_ONCE.into()]).await?.iter().map(news).collect()
    }

    /// Tells an owner of a refund, if nobody else has. Answers whether it did.
    pub async fn tell_of_refund(&self, it: &RefundNews) -> Result<bool, DirectoryError> {
        let mut change = self.change_aside().await?;
        let (stage, at) = (it.stage.as_str(), now());
        let claimed = match it.told {
            None => {
                let sql =
                    "INSERT INTO refund_notices (refund_id, account, told, updated_at) VALUES (?, ?, ?, ?)";
                let values: [Value; 4] = [it.refund.into(), it.account.into(), stage.into(), at.into()];
                match change.tx.execute(sql, &values).await {
                    Ok(_) => true,
                    Err(error) if error.is_unique_violation() => false,
                    Err(error) => return Err(error.into()),
                }
            }
            Some(told) => {
                let sql =
                    "UPDATE refund_notices SET told = ?, updated_at = ? WHERE refund_id = ? AND told = ?";
                let values: [Value; 4] = [stage.into(), at.into(), it.refund.into(), told.as_str().into()];
                change.tx.execute(sql, &values).await? == 1
            }
        };
        if !claimed {
            return Ok(false);
        }
        let notice = Notice::Refund {
            stage: it.stage,
            refund: it.refund,
            order: it.order,
            pay: it.pay,
            credits: it.credits,
            failure: it.failure.clone(),
        };
        notice::notify(&mut change.tx, it.account, &notice, at).await?;
        self.finish(change).await?;
        Ok(true)
    }
}
