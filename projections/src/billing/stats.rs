use super::query::BillingKind;
use crate::calendar::DAY;
use crate::usage::{self, StatsFilter, UsageBy, only_touching};
use crate::{Database, DatabaseError};
use domain::{AccountId, Credits, Moment};
use sea_query::{Cond, Expr, ExprTrait, Query};
use std::collections::BTreeMap;

/// What statistics are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BillingBy {
    /// A day in the operator's time zone: `2026-11-22`.
    Day,
    /// A month of such days: `2026-11`.
    Month,
    /// A model's name; consumption only.
    Model,
    /// A key's id; consumption only.
    Key,
}

/// Credits that moved in one bucket. Only what is completed counts, and refunds from when they are asked for until they fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BillingStat {
    /// The day, month, model or key: see [`BillingBy`].
    pub bucket: String,
    /// Bought.
    pub topped_up: Credits,
    /// Given.
    pub granted: Credits,
    /// Corrected, up or down.
    pub adjusted: Credits,
    /// Given back for money, or set aside for that.
    pub refunded: Credits,
    /// Used.
    pub consumed: Credits,
    /// Calls behind what was used.
    pub requests: u64,
}

/// An account's statistics; days and months newest first, models and keys by what was used, most first.
///
/// Days and hours that touch `from..to` count whole: days and months are made of days, models and keys of hours.
pub async fn stats(
    db: &Database,
    account: AccountId,
    from: Option<Moment>,
    to: Option<Moment>,
    by: BillingBy,
) -> Result<Vec<BillingStat>, DatabaseError> {
    match by {
        BillingBy::Day => by_days(db, account, from, to, |day| day).await,
        BillingBy::Month => by_days(db, account, from, to, |day| day.get(..7).unwrap_or(day)).await,
        BillingBy::Model => of_usage(db, account, from, to, UsageBy::Model).await,
        BillingBy::Key => of_usage(db, account, from, to, UsageBy::Key).await,
    }
}

async fn by_days(
    db: &Database,
    account: AccountId,
    from: Option<Moment>,
    to: Option<Moment>,
    bucket_of: fn(&str) -> &str,
) -> Result<Vec<BillingStat>, DatabaseError> {
    let mut query = Query::select();
    query
        .columns(["day", "type"])
        .expr_as(Expr::cust(db.dialect().sum("quota_amount")), "credits_sum")
        .expr_as(Expr::cust(db.dialect().sum("requests")), "requests_sum")
        .from("billing_records")
        .and_where(Expr::col("user_id").eq(account.to_string()))
        .cond_where(Cond::any().add(Expr::col("status").eq("completed")).add(
            // Its credits are set aside already.
            Cond::all().add(Expr::col("type").eq("refund")).add(Expr::col("status").eq("pending")),
        ))
        .group_by_columns(["day", "type"]);
    only_touching(&mut query, "day_start", DAY, from, to);
    // A month is put together here: one row per day and kind is little, and cutting texts differs between databases.
    let mut buckets: BTreeMap<String, BillingStat> = BTreeMap::new();
    for row in db.select(&query).await? {
        let day = row.text("day")?;
        let bucket = bucket_of(&day).to_owned();
        let stat =
            buckets.entry(bucket.clone()).or_insert_with(|| BillingStat { bucket, ..BillingStat::default() });
        let sum = match row.parsed("type")? {
            BillingKind::TopUp => &mut stat.topped_up,
            BillingKind::Consumption => &mut stat.consumed,
            BillingKind::Refund => &mut stat.refunded,
            BillingKind::Grant => &mut stat.granted,
            BillingKind::Adjustment => &mut stat.adjusted,
        };
        let too_large = || DatabaseError::column("quota_amount", "adds up to more than can be counted");
        *sum = sum.checked_add(row.credits("credits_sum")?).ok_or_else(too_large)?;
        stat.requests = stat.requests.saturating_add(row.count("requests_sum")?);
    }
    Ok(buckets.into_values().rev().collect())
}

async fn of_usage(
    db: &Database,
    account: AccountId,
    from: Option<Moment>,
    to: Option<Moment>,
    by: UsageBy,
) -> Result<Vec<BillingStat>, DatabaseError> {
    let filter = StatsFilter { account: Some(account), from, to, ..StatsFilter::default() };
    let stats = usage::stats(db, &filter, by).await?;
    let of = |it: usage::UsageStat| BillingStat {
        bucket: it.bucket,
        consumed: it.paid,
        requests: it.calls,
        ..BillingStat::default()
    };
    Ok(stats.into_iter().map(of).collect())
}
