//! A day's reconciliation: import its bill, collect what the ledger says of it, compare, keep what was found.
//!
//! For: bills that people send ([`upload`]), that channels are asked for ([`download`]), and every morning by itself
//! ([`keep_reconciling`]). May not touch: what is a difference; [`super::matching`] says.
//! Claims: a day is worked on by one process at a time; nothing of a bill that is refused is kept; the ledger's side is read when
//! the tables have reached the end of the log; a bill that comes in has its neighbours' days compared again, and a day that ends what
//! waited in suspense has that payment's day compared again; a day's fees are booked once, and corrected by their difference where a later bill says otherwise; a day is done when it was over, every bill that the
//! daily run would ask for had been asked for or sent since, and their comparison ended well.

use super::bill::{self, BillFault, BillRow, Format, RowKind, RowStatus};
use super::matching::{
    self, Claimed, Class, KnownOrder, KnownRefund, KnownSuspended, Question, Standing, Suspended, Total,
};
use crate::app::App;
use crate::directory::DirectoryError;
use crate::directory::now;
use crate::directory::reconciliation::{
    BillSource, DayEnd, Import, NewBill, NewRun, RunCause, StoredBill, StoredRun,
};
use crate::payments::{BillKind, BillWish, Channel, ChannelError};
use chrono::{Days, NaiveDate, NaiveTime};
use domain::event::{Resolution, ReturnedBy};
use domain::suspense::{Held, Suspense};
use domain::{AccountId, ChannelName, Label, Moment, Money, OrderId};
use projections::DatabaseError;
use projections::refunds::{self, RefundStatus};
use projections::top_ups::{self, OrderStatus, TopUpOrder};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a process has a day, in milliseconds: longer than a channel takes to write a report.
const CLAIM_MS: i64 = 20 * 60_000;
/// How often the daily run looks for days.
const WATCH: Duration = Duration::from_secs(60);
/// How many days back it makes up for.
const LOOK_BACK: u64 = 3;
/// After so many milliseconds a bill that is not ready is asked for again: WeChat Pay's own advice.
const AGAIN_MS: i64 = 30 * 60_000;
/// The same for a channel that refuses: a person must see to it first.
const REFUSED_MS: i64 = 6 * 3_600_000;
/// How long the tables may take to reach the end of the log.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a neighbour's day may be another process's.
const NEIGHBOUR_TRIES: u32 = 20;
const NEIGHBOUR_PAUSE: Duration = Duration::from_millis(250);

/// Why a day was not compared.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The channel writes no bills.
    #[error("the channel {0} writes no bills")]
    NoBills(ChannelName),
    /// Another process works on this day.
    #[error("this day is being reconciled at this moment; try again")]
    Busy,
    /// No bill of payments is in.
    #[error("no bill of that day is in")]
    NoBill,
    /// The bill is refused.
    #[error(transparent)]
    Bill(#[from] BillFault),
    /// The channel was asked for it in vain.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The tables trail the log.
    #[error("the projections did not reach the end of the log in time")]
    Trailing,
    /// The directory's tables.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The projections' tables.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The log.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
}

/// What came of a bill.
#[derive(Debug)]
pub struct Imported {
    /// The bill.
    pub bill: StoredBill,
    /// What became of it.
    pub import: Import,
    /// The comparison; `None`: the bill of payments is still missing.
    pub run: Option<StoredRun>,
}

/// What came of asking a channel for a day's bills.
#[derive(Debug)]
pub struct Downloaded {
    /// The comparison.
    pub run: StoredRun,
    /// Bills with rows that go on standing, of which the channel says now that there is none.
    pub kept: Vec<StoredBill>,
}

/// A comparison, and whether it answers for what the daily run would do.
struct Compared {
    run: StoredRun,
    is_complete: bool,
    /// Other days that have an open difference about a payment that this one has credited or given back.
    others: BTreeSet<NaiveDate>,
}

/// A file that somebody sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Of which day.
    pub day: NaiveDate,
    /// Payments, or movements.
    pub kind: BillKind,
    /// What it is called.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub by: AccountId,
}

/// The format of a channel's bills.
pub fn format_of(channel: &dyn Channel) -> Result<Format, RunError> {
    channel.bill_format().ok_or_else(|| RunError::NoBills(channel.name().clone()))
}

/// Imports a file and compares its day.
pub async fn upload(app: &App, channel: &dyn Channel, sent: Sent<'_>) -> Result<Imported, RunError> {
    let format = format_of(channel)?;
    // Before the day is taken: most of what is refused is refused here.
    let read = bill::read(&format, sent.kind, sent.day, sent.bytes)?;
    let claim = Claim::take(app, channel, sent.day).await?;
    let work = async {
        let new = NewBill {
            channel: channel.name(),
            merchant: format.merchant(),
            day: sent.day,
            kind: sent.kind,
            name: sent.name,
            sha256: &hex::encode(Sha256::digest(sent.bytes)),
            source: BillSource::Upload,
            by: Some(sent.by),
        };
        let (bill, import) = app.directory.store_bill(&new, &read.rows).await?;
        let done = match compare(app, channel, &format, sent.day, RunCause::Upload, Some(sent.by)).await {
            Ok(done) => Some(done),
            Err(RunError::NoBill) => None,
            Err(other) => return Err(other),
        };
        Ok((bill, import, done))
    };
    let done = work.await;
    match &done {
        Ok((_, _, Some(Compared { is_complete: true, .. }))) => claim.release(DayEnd::Done).await?,
        Ok(_) => claim.release(DayEnd::AsBefore).await?,
        // The bill may be in and not compared.
        Err(error) => claim.release(DayEnd::Again { at: now(), error: &error.to_string() }).await?,
    }
    let (bill, import, done) = done?;
    let (run, others) = done.map(|it| (it.run, it.others)).unzip();
    concerned(app, channel, &format, sent.day, import.is_change(), others.unwrap_or_default()).await;
    Ok(Imported { bill, import, run })
}

/// Asks the channel for a day's bill, imports it and compares the day.
pub async fn download(
    app: &App,
    channel: &dyn Channel,
    day: NaiveDate,
    cause: RunCause,
    by: Option<AccountId>,
) -> Result<Downloaded, RunError> {
    let format = format_of(channel)?;
    let claim = Claim::take(app, channel, day).await?;
    let (_, to) = format.day(day);
    let is_over = now() >= to;
    let done = downloaded(app, channel, &format, day, cause, by).await;
    match &done {
        // What was fetched while the day went on is not all of it, however late the comparison was.
        Ok((it, ..)) if is_over && !it.run.is_preliminary => claim.release(DayEnd::Done).await?,
        Ok(_) => claim.release(DayEnd::AsBefore).await?,
        Err(error) => {
            let pause_ms = match error {
                RunError::Bill(_)
                | RunError::Channel(ChannelError::Refused(_) | ChannelError::Unsupported(_)) => REFUSED_MS,
                _ => AGAIN_MS,
            };
            let (at, error) = (now().plus_ms(pause_ms), error.to_string());
            claim.release(DayEnd::Again { at, error: &error }).await?;
        }
    }
    let (downloaded, is_change, others) = done?;
    concerned(app, channel, &format, day, is_change, others).await;
    Ok(downloaded)
}

async fn downloaded(
    app: &App,
    channel: &dyn Channel,
    format: &Format,
    day: NaiveDate,
    cause: RunCause,
    by: Option<AccountId>,
) -> Result<(Downloaded, bool, BTreeSet<NaiveDate>), RunError> {
    let (_, to) = format.day(day);
    // A person's bill of a day that was over is what they want compared; who wants the channel's instead asks for it.
    let standing = match cause {
        RunCause::Daily => app.directory.current_bills(channel.name(), day).await?,
        RunCause::Upload | RunCause::Download | RunCause::Again => Vec::new(),
    };
    let is_sent = |kind: BillKind| {
        standing.iter().any(|it| it.kind == kind && it.source == BillSource::Upload && it.imported_at >= to)
    };
    let (mut kept, mut is_change) = (Vec::new(), false);
    let mut take = |(bill, import): (StoredBill, Import)| {
        is_change |= import.is_change();
        if import == Import::Kept {
            kept.push(bill);
        }
    };
    if !is_sent(BillKind::Trades) {
        match fetched(app, channel, format, day, BillKind::Trades, by).await {
            // Not every product of Alipay has a bill of payments; that of movements holds them too.
            Err(RunError::Channel(ChannelError::Refused(why))) if has_orders_in_funds(format) => {
                tracing::warn!(channel = %channel.name(), %day, "the channel has no bill of payments, that of movements is taken: {why}");
            }
            other => take(other?),
        }
    }
    if format.has_funds() && !is_sent(BillKind::Funds) {
        match fetched(app, channel, format, day, BillKind::Funds, by).await {
            Ok(it) => take(it),
            Err(error @ RunError::Channel(_))
                if !app.directory.current_bills(channel.name(), day).await?.is_empty() =>
            {
                tracing::warn!(channel = %channel.name(), %day, %error, "the bill of movements is not to be had; the day is compared without");
            }
            Err(other) => return Err(other),
        }
    }
    let done = compare(app, channel, format, day, cause, by).await?;
    Ok((Downloaded { run: done.run, kept }, is_change, done.others))
}

/// Asks for one bill and keeps it. A day without payments has none at some channels, which is a bill without rows.
async fn fetched(
    app: &App,
    channel: &dyn Channel,
    format: &Format,
    day: NaiveDate,
    kind: BillKind,
    by: Option<AccountId>,
) -> Result<(StoredBill, Import), RunError> {
    let found = channel.bill(&BillWish { day, kind }).await?;
    let (rows, name, bytes) = match found {
        Some(found) => (bill::read(format, kind, day, &found.bytes)?.rows, found.name, found.bytes),
        None => (Vec::new(), "the channel says that there is none".to_owned(), Vec::new()),
    };
    let new = NewBill {
        channel: channel.name(),
        merchant: format.merchant(),
        day,
        kind,
        name: &name,
        sha256: &hex::encode(Sha256::digest(&bytes)),
        source: BillSource::Download,
        by,
    };
    let (bill, import) = app.directory.store_bill(&new, &rows).await?;
    if import == Import::Kept {
        tracing::warn!(
            channel = %channel.name(), %day, bill = %bill.id, rows = bill.rows, alert = "bill_kept",
            "the channel says that it has no bill of that day, and one with rows is in: that one stands"
        );
    }
    Ok((bill, import))
}

/// Compares a day again, by the bills that are in, and the days that this is news for.
pub async fn again(
    app: &App,
    channel: &dyn Channel,
    day: NaiveDate,
    by: Option<AccountId>,
) -> Result<StoredRun, RunError> {
    let format = format_of(channel)?;
    let done = once_more(app, channel, &format, day, by).await?;
    concerned(app, channel, &format, day, false, done.others).await;
    Ok(done.run)
}

async fn once_more(
    app: &App,
    channel: &dyn Channel,
    format: &Format,
    day: NaiveDate,
    by: Option<AccountId>,
) -> Result<Compared, RunError> {
    let claim = Claim::take(app, channel, day).await?;
    let done = compare(app, channel, format, day, RunCause::Again, by).await;
    let is_done = done.as_ref().is_ok_and(|it| it.is_complete);
    claim.release(if is_done { DayEnd::Done } else { DayEnd::AsBefore }).await?;
    done
}

/// Compares the days again that a comparison has news for: those beside it if another bill stands for it now, since what they miss
/// may be in there; and `others`, whose payment was claimed out of suspense, or went back, on this day, however much later it is.
async fn concerned(
    app: &App,
    channel: &dyn Channel,
    format: &Format,
    day: NaiveDate,
    is_change: bool,
    mut others: BTreeSet<NaiveDate>,
) {
    if is_change {
        others.extend([day.pred_opt(), day.succ_opt()].into_iter().flatten());
    }
    for other in others {
        let mut tries = 0;
        let outcome = loop {
            match main_bill(app, channel.name(), format, other).await {
                Ok(None) => break Ok(()),
                Ok(Some(_)) => match once_more(app, channel, format, other, None).await {
                    Err(RunError::Busy) if tries < NEIGHBOUR_TRIES => {
                        tries += 1;
                        tokio::time::sleep(NEIGHBOUR_PAUSE).await;
                    }
                    other => break other.map(drop),
                },
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(channel = %channel.name(), day = %other, %error, "a day that a comparison has news for could not be compared again");
        }
    }
}

/// Are payments in the bill of movements told with their orders' numbers?
fn has_orders_in_funds(format: &Format) -> bool {
    match format {
        Format::Alipay { .. } => true,
        Format::Wechat { .. } | Format::Stripe | Format::Epay { .. } => false,
    }
}

/// The bill that a day is compared by, and the one of movements beside it.
async fn main_bill(
    app: &App,
    channel: &ChannelName,
    format: &Format,
    day: NaiveDate,
) -> Result<Option<(StoredBill, Option<StoredBill>)>, RunError> {
    let (mut trades, mut funds) = (None, None);
    for bill in app.directory.current_bills(channel, day).await? {
        match bill.kind {
            BillKind::Trades => trades = Some(bill),
            BillKind::Funds => funds = Some(bill),
        }
    }
    Ok(match (trades, funds) {
        (Some(trades), funds) => Some((trades, funds)),
        (None, Some(funds)) if has_orders_in_funds(format) => Some((funds, None)),
        (None, _) => None,
    })
}

async fn compare(
    app: &App,
    channel: &dyn Channel,
    format: &Format,
    day: NaiveDate,
    cause: RunCause,
    by: Option<AccountId>,
) -> Result<Compared, RunError> {
    let name = channel.name();
    let (main, beside) = main_bill(app, name, format, day).await?.ok_or(RunError::NoBill)?;
    let end = app.ledger.log().identity().await?.last_sequence;
    if !app.follower.wait_for(end, PATIENCE).await {
        return Err(RunError::Trailing);
    }
    let position = app.follower.applied();
    let (from, to) = format.day(day);
    let rows = app.directory.bill_rows(main.id).await?;
    let funds = match &beside {
        Some(bill) => Some(app.directory.bill_rows(bill.id).await?),
        None => None,
    };
    let suspense = app.ledger.log().suspense(name).await?;
    let claims = claims(&suspense);
    let mut orders = known_orders(app, name, from, to, &rows, &claims).await?;
    for order in &mut orders {
        order.claimed = claimed(app, name, format, order.order, &claims).await?;
    }
    let refunds = known_refunds(app, name, from, to, &rows, &claims).await?;
    let suspended = known_suspended(&suspense, from, to, &rows);
    let here: BTreeSet<&str> = rows.iter().map(|row| row.txn.as_str()).collect();
    let of_orders = orders.iter().filter_map(|it| it.txn.clone());
    let of_suspense = suspended.iter().map(|it| it.txn.clone());
    let txns: Vec<String> = of_orders.filter(|it| !here.contains(it.as_str())).chain(of_suspense).collect();
    let mut numbers: Vec<String> = refunds.iter().map(|it| it.number.clone()).collect();
    for it in &suspended {
        if let Suspended::Returned { numbers: known, .. } = &it.standing {
            numbers.extend_from_slice(known);
        }
    }
    let elsewhere = app.directory.rows_elsewhere(name, day, &txns, &numbers).await?;
    let has = async |day: Option<NaiveDate>| match day {
        Some(day) => Ok::<_, RunError>(main_bill(app, name, format, day).await?.is_some()),
        None => Ok(false),
    };
    let question = Question {
        day,
        from,
        to,
        rows: &rows,
        funds: funds.as_deref(),
        elsewhere: &elsewhere,
        has_before: has(day.pred_opt()).await?,
        has_after: has(day.succ_opt()).await?,
        orders: &orders,
        refunds: &refunds,
        suspended: &suspended,
        has_refunds: format.has_refunds(),
        terms: channel.fee_terms(),
    };
    let answer = matching::compare(&question);
    let bills: Vec<StoredBill> = [Some(main), beside].into_iter().flatten().collect();
    let new = NewRun {
        channel: name,
        day,
        cause,
        by,
        position,
        is_preliminary: now() < to,
        bills: &bills,
        matched: answer.matched,
        totals: &answer.totals,
    };
    let run = app.directory.keep_run(&new, &answer.findings).await?;
    if !run.is_preliminary {
        post_fees(app, name, day, &bills, &answer.totals).await?;
    }
    let waiting = answer.findings.iter().filter(|it| !it.is_cleared).count();
    let unpaid = answer.findings.iter().filter(|it| it.class == Class::LedgerOnly).count();
    if unpaid > 0 {
        // Credits without a payment: the first sign of a forged callback.
        tracing::error!(channel = %name, %day, unpaid, run = %run.id, alert = "credited_and_not_paid", "somebody was credited whom no bill knows");
    }
    if waiting > 0 {
        tracing::warn!(channel = %name, %day, waiting, run = %run.id, alert = "reconciliation_differences", "a day has differences");
    } else {
        tracing::info!(channel = %name, %day, matched = answer.matched, run = %run.id, "a day is reconciled without a difference");
    }
    let is_complete = !run.is_preliminary && are_all_in(format, to, &bills);
    let others = app.directory.open_days_about(name, day, &txns).await?;
    Ok(Compared { run, is_complete, others })
}

/// Are all bills in that the daily run would ask for, and since the day was over?
fn are_all_in(format: &Format, to: Moment, bills: &[StoredBill]) -> bool {
    let is_in = |kind| bills.iter().any(|it| it.kind == kind && it.imported_at >= to);
    is_in(BillKind::Trades) && (!format.has_funds() || is_in(BillKind::Funds))
}

/// Books what the channel kept; a figure that was booked before is only corrected by its difference.
async fn post_fees(
    app: &App,
    channel: &ChannelName,
    day: NaiveDate,
    bills: &[StoredBill],
    totals: &[Total],
) -> Result<(), RunError> {
    let label =
        |text: String| Label::try_new(text).map_err(|error| ledger::LedgerError::Unfit(error.to_string()));
    let Some(bill) = bills.first() else { return Ok(()) };
    let (day, bill) = (label(day.to_string())?, label(bill.sha256.clone())?);
    // A currency that has left the bill has no fee any more; what was booked in it is taken back.
    let mut fees = app.ledger.log().posted_channel_fees(channel, &day).await?;
    fees.values_mut().for_each(|minor| *minor = 0);
    fees.extend(totals.iter().map(|total| (total.currency, total.fees)));
    for (currency, minor) in fees {
        let fee = Money { currency, minor };
        if let Some(posted) = app.ledger.log().post_channel_fee(channel, &day, fee, &bill).await? {
            tracing::info!(%channel, day = day.as_str(), sequence = posted.sequence, "a channel's fee is booked");
        }
    }
    Ok(())
}

/// The orders that rows name, and those that the channel's payments completed on the day.
async fn known_orders(
    app: &App,
    channel: &ChannelName,
    from: Moment,
    to: Moment,
    rows: &[BillRow],
    claims: &[ClaimedPayment],
) -> Result<Vec<KnownOrder>, RunError> {
    let mut named: BTreeSet<OrderId> =
        rows.iter().filter_map(|row| row.order.as_deref()?.parse().ok()).collect();
    named.extend(claimed_by(rows.iter(), claims));
    let named: Vec<OrderId> = named.into_iter().collect();
    let mut all = top_ups::of_orders(&app.db, &named).await?;
    let of_rows: BTreeSet<OrderId> = all.iter().map(|it| it.order).collect();
    let credited = top_ups::completed_between(&app.db, channel, from, to).await?;
    all.extend(credited.into_iter().filter(|it| !of_rows.contains(&it.order)));
    Ok(all.into_iter().map(|order| known(order, channel)).collect())
}

fn known(order: TopUpOrder, channel: &ChannelName) -> KnownOrder {
    KnownOrder {
        number: order.order.merchant_number(),
        order: order.order,
        account: order.account,
        is_here: order.channel == *channel,
        pay: order.pay,
        standing: match order.status {
            OrderStatus::Pending => Standing::Pending,
            OrderStatus::Completed => Standing::Completed,
            OrderStatus::Failed | OrderStatus::Cancelled => Standing::Closed,
        },
        txn: order.provider_txn.map(Into::into),
        completed_at: order.completed_at,
        claimed: None,
    }
}

/// The refunds that rows name or whose orders they name, and those that ended on the day.
async fn known_refunds(
    app: &App,
    channel: &ChannelName,
    from: Moment,
    to: Moment,
    rows: &[BillRow],
    claims: &[ClaimedPayment],
) -> Result<Vec<KnownRefund>, RunError> {
    let back = || rows.iter().filter(|row| row.kind == RowKind::Refund || row.status == RowStatus::Reversed);
    let mut orders: BTreeSet<OrderId> = back().filter_map(|row| row.order.as_deref()?.parse().ok()).collect();
    orders.extend(claimed_by(back(), claims));
    let orders: Vec<OrderId> = orders.into_iter().collect();
    let mut all = refunds::of_orders(&app.db, &orders).await?;
    let of_rows: BTreeSet<_> = all.iter().map(|it| it.refund).collect();
    let ended = refunds::ended_between(&app.db, channel, from, to).await?;
    all.extend(ended.into_iter().filter(|it| !of_rows.contains(&it.refund)));
    let here = all.into_iter().filter(|it| it.channel == *channel);
    Ok(here
        .map(|it| KnownRefund {
            number: it.refund.merchant_number(),
            order: it.order,
            order_number: it.order.merchant_number(),
            account: it.account,
            amount: it.pay,
            standing: match it.status {
                RefundStatus::Requested | RefundStatus::Approved => Standing::Pending,
                RefundStatus::Completed => Standing::Completed,
                RefundStatus::Failed => Standing::Closed,
            },
            at: it.ended_at.unwrap_or(it.updated_at),
        })
        .collect())
}

/// A payment that was claimed out of suspense.
struct ClaimedPayment {
    txn: String,
    order: OrderId,
    since: Moment,
}

fn claims(suspense: &Suspense) -> Vec<ClaimedPayment> {
    let claim = |held: &Held| match &held.resolved.as_ref()?.event.resolution {
        Resolution::Claimed { order, .. } => Some(ClaimedPayment {
            txn: held.payment.provider_txn.to_string(),
            order: *order,
            since: held.since,
        }),
        Resolution::Returned { .. } | Resolution::Dismissed => None,
    };
    suspense.all().filter_map(|(_, held)| claim(held)).collect()
}

/// The orders that were made for the payments of these rows.
fn claimed_by<'a>(rows: impl Iterator<Item = &'a BillRow>, claims: &[ClaimedPayment]) -> Vec<OrderId> {
    let txns: BTreeSet<&str> = rows.map(|row| row.txn.as_str()).collect();
    claims.iter().filter(|it| txns.contains(it.txn.as_str())).map(|it| it.order).collect()
}

/// Whether a claim made the order, and which bill should have its payment and is not in yet.
async fn claimed(
    app: &App,
    channel: &ChannelName,
    format: &Format,
    order: OrderId,
    claims: &[ClaimedPayment],
) -> Result<Option<Claimed>, RunError> {
    let Some(claim) = claims.iter().find(|it| it.order == order) else { return Ok(None) };
    // Heard of just after midnight it may have been paid just before.
    for day in [format.day_of(claim.since.plus_ms(-matching::EDGE_MS)), format.day_of(claim.since)] {
        if main_bill(app, channel, format, day).await?.is_none() {
            return Ok(Some(Claimed { waits_for: Some(day) }));
        }
    }
    Ok(Some(Claimed { waits_for: None }))
}

/// The payments in suspense that the rows are about, and those that went back on the day.
fn known_suspended(suspense: &Suspense, from: Moment, to: Moment, rows: &[BillRow]) -> Vec<KnownSuspended> {
    let txns: BTreeSet<&str> = rows.iter().map(|row| row.txn.as_str()).collect();
    let numbers: BTreeSet<&str> = rows.iter().filter_map(|row| row.refund.as_deref()).collect();
    let known = |(payment, held): (u64, &Held)| {
        let standing = match held.resolved.as_ref().map(|it| (it, &it.event.resolution)) {
            None => Suspended::Waits,
            Some((_, Resolution::Claimed { .. })) => Suspended::Claimed,
            Some((_, Resolution::Dismissed)) => Suspended::Dismissed,
            Some((it, Resolution::Returned { by, reference })) => {
                // The channel is asked under the request's own number, which is the act's, and may answer with another.
                let mut numbers = vec![it.act.uuid().simple().to_string()];
                numbers.extend(reference.as_ref().map(ToString::to_string));
                Suspended::Returned { at: it.at, is_by_channel: *by == ReturnedBy::Channel, numbers }
            }
        };
        let is_meant = txns.contains(held.payment.provider_txn.as_str())
            || match &standing {
                Suspended::Returned { at, numbers: known, .. } => {
                    (*at >= from && *at < to) || known.iter().any(|it| numbers.contains(it.as_str()))
                }
                Suspended::Waits | Suspended::Claimed | Suspended::Dismissed => false,
            };
        is_meant.then(|| KnownSuspended {
            payment,
            txn: held.payment.provider_txn.to_string(),
            paid: held.payment.paid,
            why: held.payment.reason.to_string(),
            standing,
        })
    };
    suspense.all().filter_map(known).collect()
}

/// A day that this process has.
struct Claim<'a> {
    app: &'a App,
    channel: &'a ChannelName,
    day: NaiveDate,
    id: Uuid,
}

impl<'a> Claim<'a> {
    async fn take(app: &'a App, channel: &'a dyn Channel, day: NaiveDate) -> Result<Self, RunError> {
        let id = Uuid::new_v4();
        match app.directory.claim_day(channel.name(), day, id, now().plus_ms(CLAIM_MS)).await? {
            true => Ok(Self { app, channel: channel.name(), day, id }),
            false => Err(RunError::Busy),
        }
    }

    async fn release(self, end: DayEnd<'_>) -> Result<(), RunError> {
        Ok(self.app.directory.release_day(self.channel, self.day, self.id, end).await?)
    }
}

/// Reconciles every channel's last days by itself, until told to stop. Run it as a task of its own.
pub async fn keep_reconciling(app: App, stop: CancellationToken) {
    let Some(daily_at) = app.config.reconciliation.daily_at else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(WATCH) => {}
        }
        for channel in app.channels.with_bills() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = morning(&app, channel.as_ref(), daily_at) => {}
            }
        }
    }
}

/// Does the days of a channel that are over and not done.
async fn morning(app: &App, channel: &dyn Channel, daily_at: NaiveTime) {
    let Some(format) = channel.bill_format() else { return };
    let Some(last) = last_day(&format, now(), daily_at) else { return };
    let first = last.checked_sub_days(Days::new(LOOK_BACK)).unwrap_or(last);
    let due = match app.directory.due_days(channel.name(), first, last).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(channel = %channel.name(), %error, "the days to reconcile cannot be looked up");
            return;
        }
    };
    for it in due {
        match download(app, channel, it.day, RunCause::Daily, None).await {
            Ok(_) | Err(RunError::Busy) => {}
            Err(error) => {
                tracing::warn!(channel = %channel.name(), day = %it.day, tries = it.tries, %error, "a day could not be reconciled; it is tried again");
            }
        }
    }
}

/// The last day whose bill is there by now.
fn last_day(format: &Format, at: Moment, daily_at: NaiveTime) -> Option<NaiveDate> {
    let since_midnight = daily_at.signed_duration_since(NaiveTime::MIN).num_milliseconds();
    format.day_of(at.plus_ms(-since_midnight)).pred_opt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_due_on_the_next_morning_by_the_channels_clock() {
        let ten = NaiveTime::from_hms_opt(10, 0, 0).unwrap();
        let wechat = Format::Wechat { mchid: "1".into() };
        for (format, at, expected) in [
            (&wechat, "2026-11-22T01:59:59.000000Z", "2026-11-20"),
            (&wechat, "2026-11-22T02:00:00.000000Z", "2026-11-21"),
            (&wechat, "2026-11-22T23:00:00.000000Z", "2026-11-21"),
            (&Format::Stripe, "2026-11-22T09:59:59.000000Z", "2026-11-20"),
            (&Format::Stripe, "2026-11-22T10:00:00.000000Z", "2026-11-21"),
        ] {
            let day = last_day(format, at.parse().unwrap(), ten).unwrap();
            assert_eq!(day.to_string(), expected, "{format:?} {at}");
        }
    }

    #[test]
    fn a_day_is_not_done_by_bills_that_are_too_early_or_too_few() {
        let day: NaiveDate = "2026-11-21".parse().unwrap();
        let bill = |kind, imported_at: Moment| StoredBill {
            id: Uuid::new_v4(),
            channel: "wechat".parse().unwrap(),
            merchant: "1".into(),
            day,
            kind,
            name: "bill".into(),
            sha256: String::new(),
            rows: 1,
            source: BillSource::Upload,
            is_current: true,
            imported_by: None,
            imported_at,
        };
        let wechat = Format::Wechat { mchid: "1".into() };
        let (_, to) = wechat.day(day);
        let (early, trades) = (bill(BillKind::Trades, to.plus_ms(-1)), bill(BillKind::Trades, to));
        let (late, before) = (bill(BillKind::Funds, to), bill(BillKind::Funds, to.plus_ms(-1)));
        let both = |one: &StoredBill, two: &StoredBill| are_all_in(&wechat, to, &[one.clone(), two.clone()]);
        assert!(both(&trades, &late));
        assert!(!both(&early, &late) && !both(&trades, &before));
        assert!(
            !are_all_in(&wechat, to, std::slice::from_ref(&trades)),
            "movements are still to be asked for"
        );
        assert!(!are_all_in(&wechat, to, std::slice::from_ref(&late)));
        let (_, to) = Format::Stripe.day(day);
        assert!(are_all_in(&Format::Stripe, to, &[bill(BillKind::Trades, to)]));
    }
}
