//! Bills: what a channel says happened on a day, read from the file as the channel wrote it.
//!
//! For: one form ([`BillRow`]) for the bills of all channels, and a room per channel that knows its files.
//! May not touch: orders, the ledger, the network. A file and a [`Format`] in, rows or a [`BillFault`] out.
//! Claims: an amount is read as an exact decimal; row counts and sums are compared with the file's own summary, where it has one;
//! a file that was cut, is of another merchant or of another day, or grows beyond [`MOST_BYTES`] when it is unpacked, is refused
//! whole, with the line at fault.

mod alipay;
mod epay;
#[cfg(test)]
mod published;
mod stripe;
mod table;
#[cfg(test)]
mod tests;
mod unpack;
mod wechat;

use crate::payments::BillKind;
use chrono::{FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
use domain::{Currency, Moment, Money};
use serde::{Deserialize, Serialize};

/// The most bytes of a bill, unpacked. Tests have less: packing so much takes a debug build a minute.
pub const MOST_BYTES: usize = if cfg!(test) { 1024 * 1024 } else { 64 * 1024 * 1024 };
/// The most rows.
const MOST_ROWS: usize = 200_000;
/// The longest number of an order, a transaction or a refund.
const MOST_NUMBER: usize = 128;
/// A fee is counted in thousandths of a minor unit: WeChat's have five decimals.
const FEE_DECIMALS: u32 = 3;

/// Whose files they are, and which merchant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Alipay's, of the merchant with this PID.
    Alipay {
        /// `2088…`.
        seller_id: String,
    },
    /// WeChat Pay's, of the merchant with this number.
    Wechat {
        /// The merchant's number.
        mchid: String,
    },
    /// Stripe's itemised reports. They do not say whose they are.
    Stripe,
    /// An Epay site's list of orders, of the merchant with this number.
    Epay {
        /// The merchant's number.
        pid: String,
        /// What the site counts in.
        currency: Currency,
    },
}

impl Format {
    /// Whose bills they are.
    pub fn merchant(&self) -> &str {
        match self {
            Self::Alipay { seller_id } => seller_id,
            Self::Wechat { mchid } => mchid,
            Self::Stripe => "",
            Self::Epay { pid, .. } => pid,
        }
    }

    /// By whose clock its days begin, in seconds east of UTC.
    fn zone_s(&self) -> i32 {
        match self {
            Self::Alipay { .. } | Self::Wechat { .. } | Self::Epay { .. } => 8 * 3600,
            // As the report is asked for.
            Self::Stripe => 0,
        }
    }

    /// Does it write a bill of the account's movements as well?
    pub fn has_funds(&self) -> bool {
        match self {
            Self::Alipay { .. } | Self::Wechat { .. } => true,
            // Stripe's itemised report is both; its report of payouts is another thing.
            Self::Stripe | Self::Epay { .. } => false,
        }
    }

    /// Does its bill have rows of refunds?
    pub fn has_refunds(&self) -> bool {
        match self {
            Self::Alipay { .. } | Self::Wechat { .. } | Self::Stripe => true,
            // A list of orders, each with its own state.
            Self::Epay { .. } => false,
        }
    }

    /// The first moment of a day, and the first after it.
    pub fn day(&self, day: NaiveDate) -> (Moment, Moment) {
        let next = day.succ_opt().unwrap_or(day);
        (self.moment(day.and_time(NaiveTime::MIN)), self.moment(next.and_time(NaiveTime::MIN)))
    }

    /// The day that a moment belongs to.
    pub fn day_of(&self, at: Moment) -> NaiveDate {
        let zone = FixedOffset::east_opt(self.zone_s());
        zone.map_or_else(|| at.to_utc().date_naive(), |zone| at.to_utc().with_timezone(&zone).date_naive())
    }

    fn moment(&self, local: NaiveDateTime) -> Moment {
        let seconds = local.and_utc().timestamp().saturating_sub(i64::from(self.zone_s()));
        Moment::from_micros(seconds.saturating_mul(1_000_000))
    }
}

/// What a row tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// Somebody paid.
    Payment,
    /// Somebody got their money back.
    Refund,
    /// The channel took its fee.
    Fee,
    /// A withdrawal, a transfer, a dispute: not a matter of top-ups.
    Other,
}

/// How far the channel says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    /// Done.
    Done,
    /// On its way, or held back.
    Pending,
    /// It did not happen.
    Failed,
    /// It happened and was taken back.
    Reversed,
}

/// A line of a bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillRow {
    /// Its line in the file, from 1.
    pub line: u32,
    /// What it tells of.
    pub kind: RowKind,
    /// How far that is.
    pub status: RowStatus,
    /// The order number, as the channel wrote it.
    pub order: Option<String>,
    /// The number of the refund.
    pub refund: Option<String>,
    /// The channel's number of the payment.
    pub txn: String,
    /// The amount in the payer's currency; of payments, refunds and fees without a sign.
    pub amount: Money,
    /// What the channel keeps, in thousandths of a minor unit of `settled`'s currency; below zero: it gives back.
    pub fee_milli: Option<i64>,
    /// The rate by which it says it takes that, in millionths.
    pub rate_ppm: Option<i64>,
    /// What it comes to in the currency of the merchant's account: less the merchant's own coupons, before the fee. Refunds of bills
    /// of movements and of Stripe's have a sign.
    pub settled: Money,
    /// When, by the channel's clock.
    pub at: Moment,
    /// The channel's own word for it.
    pub word: String,
}

/// A bill that was read and adds up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBill {
    /// Its rows, in their order.
    pub rows: Vec<BillRow>,
}

/// Why a bill is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", match line { Some(line) => format!("line {line}: "), None => String::new() })]
pub struct BillFault {
    /// The line at fault.
    pub line: Option<u32>,
    /// What is wrong.
    pub what: String,
}

impl BillFault {
    fn whole(what: impl Into<String>) -> Self {
        Self { line: None, what: what.into() }
    }

    fn at(line: u32, what: impl Into<String>) -> Self {
        Self { line: Some(line), what: what.into() }
    }
}

/// Reads a bill of a day.
///
/// Errors: it is not what it should be; the text names the line.
pub fn read(format: &Format, kind: BillKind, day: NaiveDate, bytes: &[u8]) -> Result<ReadBill, BillFault> {
    let rows = match (format, kind) {
        (Format::Alipay { seller_id }, _) => alipay::read(format, seller_id, kind, day, bytes)?,
        (Format::Wechat { mchid }, _) => wechat::read(format, mchid, kind, bytes)?,
        (Format::Stripe, BillKind::Trades) => stripe::read(format, bytes)?,
        (Format::Epay { pid, currency }, BillKind::Trades) => epay::read(format, pid, *currency, bytes)?,
        (Format::Stripe | Format::Epay { .. }, BillKind::Funds) => {
            return Err(BillFault::whole("this channel has no bill of the account's movements"));
        }
    };
    let is_long = |text: &Option<String>| text.as_ref().is_some_and(|it| it.len() > MOST_NUMBER);
    if let Some(row) =
        rows.iter().find(|it| it.txn.len() > MOST_NUMBER || is_long(&it.order) || is_long(&it.refund))
    {
        return Err(BillFault::at(
            row.line,
            format!("one of its numbers is longer than {MOST_NUMBER} bytes"),
        ));
    }
    let (from, to) = format.day(day);
    if let Some(row) = rows.iter().find(|row| row.at < from || row.at >= to) {
        let found = format.day_of(row.at);
        return Err(BillFault::at(row.line, format!("this is of {found}, and the bill should be of {day}")));
    }
    Ok(ReadBill { rows })
}

/// Reads `1`, `-1.50` or `0.00600` as an integer scaled by `10^decimals`; zeros beyond them are no precision. `None`: it is no
/// decimal, has more decimals, or does not fit.
fn scaled(text: &str, decimals: u32) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(rest.bytes()).all(|it| it.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_end_matches('0');
    let missing = decimals.checked_sub(u32::try_from(rest.len()).ok()?)?;
    let number: i64 = format!("{whole}{rest}").parse().ok()?;
    number.checked_mul(10_i64.checked_pow(missing)?)?.checked_mul(sign)
}

/// An amount in a currency.
fn money(text: &str, currency: Currency) -> Option<Money> {
    scaled(text, currency.decimals()).map(|minor| Money { currency, minor })
}

/// A fee, in thousandths of the currency's minor unit.
fn fee(text: &str, currency: Currency) -> Option<i64> {
    scaled(text, currency.decimals() + FEE_DECIMALS)
}

/// Without its sign.
fn size(money: Money) -> Option<Money> {
    money.minor.checked_abs().map(|minor| Money { minor, ..money })
}

/// `0.60%` in millionths: 6000.
fn percent_ppm(text: &str) -> Option<i64> {
    scaled(text.trim().strip_suffix('%')?, 4)
}

/// `2026-11-21 10:00:00`, by the format's clock.
fn moment(format: &Format, text: &str) -> Option<Moment> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok().map(|local| format.moment(local))
}

/// A number as a channel writes it, as text; `None`: empty, or a placeholder.
fn number(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text != "0" && text != "-").then(|| text.to_owned())
}

/// The yuan, which the Chinese gateways count in.
fn yuan() -> Result<Currency, BillFault> {
    Currency::try_new("CNY").map_err(|error| BillFault::whole(error.to_string()))
}
