//! Limits of one user's top-ups: how much on a day and in a month, and how many orders at once.
//!
//! For: whether another order may be opened ([`check`]), and what is left ([`standing`]).
//! May not touch: payments. What was paid is credited whatever the limits say.
//! Claims: what counts is what may still be paid and what was: open orders and paid ones, by the operator's day and month of
//! their opening, those that went back later too; a repeated wish is answered, not counted.
//! Two orders of one user that are opened in the same instant may each find the place that there is.

use super::callback::{self, Trouble};
use crate::app::App;
use crate::directory::now;
use chrono::{Datelike, FixedOffset, NaiveDate, NaiveTime};
use domain::account::state::OrderStatus;
use domain::{AccountId, IdempotencyKey, Moment, Money};
use projections::{DatabaseError, top_ups};

/// Why no order is opened.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Too much in one period.
    #[error(
        "at most {max} may be topped up {per}, and {left} is left of it; open orders count until they end"
    )]
    Amount {
        /// `a day`, `a month`.
        per: &'static str,
        /// The limit.
        max: Money,
        /// What is left of it.
        left: Money,
    },
    /// Too many at once.
    #[error(
        "{open} orders wait for their payment, and no more may be open at once than {max}: pay one, or wait until one ends"
    )]
    Open {
        /// How many are open.
        open: usize,
        /// The limit.
        max: u32,
    },
    /// What there is could not be read.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// What is left of a user's limits, in the usual currency; `None`: there is no such limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of the day.
    pub daily_left: Option<Money>,
    /// Of the month.
    pub monthly_left: Option<Money>,
}

/// May this user open an order of this amount?
pub async fn check(
    app: &App,
    account: AccountId,
    key: Option<&IdempotencyKey>,
    pay: Money,
) -> Result<(), LimitError> {
    let live = app.live.now();
    let state = app.ledger.account(account).await.map_err(Trouble::from)?;
    if key.is_some_and(|key| state.keys.contains_key(key)) {
        return Ok(());
    }
    let open = state.orders.values().filter(|order| order.status == OrderStatus::Pending).count();
    let max = live.topup.open_orders;
    if max > 0 && u32::try_from(open).is_ok_and(|open| open >= max) {
        return Err(LimitError::Open { open, max });
    }
    let terms = &live.terms;
    let (daily, monthly) = (terms.daily_max(), terms.monthly_max());
    if daily.is_none() && monthly.is_none() {
        return Ok(());
    }
    // The tables say when an order was opened, and may trail.
    callback::caught_up(app).await?;
    let left = standing(app, account).await.map_err(Trouble::from)?;
    // What cannot be said in the usual currency is too much.
    let wanted = terms.worth(pay).map_or(i64::MAX, |it| it.minor);
    for (per, max, left) in [("a day", daily, left.daily_left), ("a month", monthly, left.monthly_left)] {
        if let (Some(max), Some(left)) = (max, left)
            && wanted > left.minor
        {
            return Err(LimitError::Amount { per, max, left });
        }
    }
    Ok(())
}

/// What is left of a user's limits, as far as the tables are.
pub async fn standing(app: &App, account: AccountId) -> Result<Standing, DatabaseError> {
    let live = app.live.now();
    let terms = &live.terms;
    let (daily, monthly) = (terms.daily_max(), terms.monthly_max());
    if daily.is_none() && monthly.is_none() {
        return Ok(Standing { daily_left: None, monthly_left: None });
    }
    let (day, month) = begins(now(), live.time_zone_offset_minutes);
    let opened = top_ups::counted_since(&app.db, account, month).await?;
    let left = |max: Option<Money>, since: Moment| {
        let worth = |pay: Money| terms.worth(pay).map_or(i64::MAX, |it| it.minor);
        let used = opened.iter().filter(|it| it.1 >= since).map(|it| worth(it.0));
        let used = used.fold(0_i64, i64::saturating_add);
        max.map(|max| Money { minor: max.minor.saturating_sub(used).max(0), ..max })
    };
    Ok(Standing { daily_left: left(daily, day), monthly_left: left(monthly, month) })
}

/// When the operator's day and month of a moment began.
fn begins(at: Moment, zone_minutes: i32) -> (Moment, Moment) {
    let Some(zone) = FixedOffset::east_opt(zone_minutes.saturating_mul(60)) else { return (at, at) };
    let date = at.to_utc().with_timezone(&zone).date_naive();
    let midnight = |date: NaiveDate| {
        let local = date.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
        Moment::from_micros(local - i64::from(zone.local_minus_utc()) * 1_000_000)
    };
    (midnight(date), midnight(date.with_day(1).unwrap_or(date)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_and_a_month_begin_at_the_operators_midnight() {
        let at = |text: &str| text.parse::<Moment>().unwrap();
        for (now, minutes, day, month) in [
            ("2026-11-23T10:00:00Z", 0, "2026-11-23T00:00:00Z", "2026-11-01T00:00:00Z"),
            ("2026-11-30T16:00:00Z", 480, "2026-11-30T16:00:00Z", "2026-11-30T16:00:00Z"),
            ("2026-11-30T15:59:59Z", 480, "2026-11-29T16:00:00Z", "2026-10-31T16:00:00Z"),
            ("2026-03-01T02:00:00Z", -210, "2026-02-28T03:30:00Z", "2026-02-01T03:30:00Z"),
        ] {
            assert_eq!(begins(at(now), minutes), (at(day), at(month)), "{now}");
        }
    }
}
