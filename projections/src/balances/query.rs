use crate::{Database, DatabaseError};
use domain::{AccountId, Credits};

/// What an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What may be leased, or taken out, now.
    pub available: Credits,
    /// What open leases still hold: credits that calls under way, or about to come, may use.
    pub reserved: Credits,
    /// All that came in, less what was taken out and used: `available + reserved`.
    pub total: Credits,
    /// The position of the tables when this was read: every event up to it is in these numbers.
    pub position: u64,
}

/// An account's balance; all zero for one that has no events.
pub async fn balance(db: &Database, account: AccountId) -> Result<Balance, DatabaseError> {
    // One statement, so that the numbers and the position belong together.
    let sql = "SELECT c.sequence, b.credits_in, b.credits_out, b.leased, b.spent_closed, b.used \
               FROM projection_checkpoints c LEFT JOIN account_balances b ON b.account = ? WHERE c.name = 'live'";
    let row = db.fetch_one(sql, &[account.into()]).await?;
    let amount = |column| Ok::<_, DatabaseError>(row.opt_credits(column)?.unwrap_or(Credits::ZERO));
    let kept = less(amount("credits_in")?, amount("credits_out")?)?;
    let total = less(kept, amount("used")?)?;
    let available = less(less(kept, amount("leased")?)?, amount("spent_closed")?)?;
    Ok(Balance { available, reserved: less(total, available)?, total, position: row.count("sequence")? })
}

fn less(from: Credits, what: Credits) -> Result<Credits, DatabaseError> {
    from.checked_sub(what)
        .ok_or_else(|| DatabaseError::column("account_balances", "holds sums that do not fit"))
}
