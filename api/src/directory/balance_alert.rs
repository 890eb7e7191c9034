//! Balance alerts: whose balance has fallen below the threshold that they set, and has not been told of yet.
//!
//! For: finding crossings, and claiming one together with its notice. Reads the projected balances beside the settings, in one
//! statement, so that a look costs what those who want to be warned cost and not what all accounts do.
//! May not touch: writing balances.
//! Claims: a crossing is told of once, however many processes look and whatever dies in between, for the claim and the notice
//! are one transaction; no claim is made on a balance that has risen meanwhile; an alert is armed again once the balance is at
//! or above the threshold, or the threshold was changed.
//!
//! What is compared is the total: what leases hold for calls counts as there, since most of it comes back. Below a threshold
//! of what is available alone, every busy minute would ring the bell.

use super::{
    Directory, DirectoryError,
    notice::{self, Notice},
    now,
};
use domain::{AccountId, Credits};
use projections::{Row, Value};

/// An alert whose time has come: to be raised, or to be armed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// Whose.
    pub user: AccountId,
    /// The threshold that was crossed.
    pub threshold: Credits,
    /// The balance fell below it; else it is back.
    pub fell: bool,
}

/// How many crossings are handled in one look; the next look takes the next ones.
const AT_ONCE: i64 = 500;

const TOTAL: &str = "(b.credits_in - b.credits_out - b.used)";

fn crossing(row: &Row) -> Result<Crossing, DirectoryError> {
    Ok(Crossing {
        user: row.parsed("user_id")?,
        threshold: row.credits("low_balance_alert")?,
        fell: row.truth("alert_armed")?,
    })
}

impl Directory {
    /// The crossings that nobody has handled yet. An account without events never had a balance that could fall.
    pub async fn balance_crossings(&self) -> Result<Vec<Crossing>, DirectoryError> {
        let sql = format!(
            "SELECT s.user_id, s.low_balance_alert, s.alert_armed FROM user_settings s \
             JOIN users u ON u.id = s.user_id JOIN account_balances b ON b.account = s.user_id \
             WHERE s.low_balance_alert IS NOT NULL AND u.status = 'active' AND (\
             (s.alert_armed = 1 AND {TOTAL} < s.low_balance_alert) OR \
             (s.alert_armed = 0 AND {TOTAL} >= s.low_balance_alert)) ORDER BY s.user_id LIMIT ?"
        );
        self.0.db.fetch_all(&sql, &[AT_ONCE.into()]).await?.iter().map(crossing).collect()
    }

    /// Handles a crossing, if nobody else has: warns its user, or arms the alert again. Answers whether it did.
    pub async fn take_crossing(&self, it: Crossing) -> Result<bool, DirectoryError> {
        let mut change = self.change_aside().await?;
        let claim = "UPDATE user_settings SET alert_armed = ? WHERE user_id = ? AND alert_armed = ? \
                     AND low_balance_alert = ?";
        let values: [Value; 4] = [(!it.fell).into(), it.user.into(), it.fell.into(), it.threshold.into()];
        if change.tx.execute(claim, &values).await? == 0 {
            return Ok(false);
        }
        // Behind the claim, so that it is the balance of now: whoever looked may have slept since.
        let sql = format!("SELECT {TOTAL} AS total, b.position FROM account_balances b WHERE b.account = ?");
        let row = change.tx.fetch_one(&sql, &[it.user.into()]).await?;
        let balance = row.credits("total")?;
        if (balance < it.threshold) != it.fell {
            return Ok(false); // the claim is undone as the transaction is dropped
        }
        if it.fell {
            let (threshold, position) = (it.threshold, row.count("position")?);
            let low = Notice::BalanceLow { balance, threshold, position };
            notice::notify(&mut change.tx, it.user, &low, now()).await?;
        }
        self.finish(change).await?;
        Ok(true)
    }
}
