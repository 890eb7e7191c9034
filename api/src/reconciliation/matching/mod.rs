//! One day of a channel, compared three ways: the channel's bill, our orders, our ledger.
//!
//! For: [`compare`], which finds every row and every credit that has no partner, or a partner that differs; and the day's sums.
//! May not touch: files, tables, clocks. All that is known of the day arrives in a [`Question`].
//! Claims: a payment on both sides with the same amount is no difference, whatever day each side wrote it on; whatever is on one
//! side alone is one, once; the same question has the same answer; a credit that a neighbouring day's bill may still hold is
//! called [`Class::Timing`] until that bill is in, and only as near to midnight as that can be ([`EDGE_MS`]).
//!
//! The key of a payment is the order's number and the channel's transaction; of a refund, the refund's number, or the order's
//! number and the amount where a channel has no numbers for refunds. A payment that was put in suspense is known by its transaction
//! alone: the order that a claim made for it, and the refund that gave it back, have numbers that its row cannot name.

mod suspense;
#[cfg(test)]
mod tests;

pub use suspense::{KnownSuspended, Suspended};

use super::bill::{BillRow, RowKind, RowStatus};
use crate::directory::words;
use chrono::NaiveDate;
use domain::{AccountId, Currency, Moment, Money, OrderId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How near to midnight a payment must be credited for its row to stand in a neighbouring day's bill that is not in yet.
pub const EDGE_MS: i64 = 3_600_000;
/// How far a row's fee may be from its rate times its amount, in thousandths of a minor unit: the channel rounds it.
const FEE_TOLERANCE_MILLI: i64 = 1_000;
/// How far rounding moves a fee at most: what a day's rows may be off together, each.
const FEE_ROUNDING_MILLI: i64 = 500;

words! {
    /// Kinds of differences.
    Class {
        /// 长款: the channel was paid, and nobody was credited.
        ProviderOnly = "provider_only",
        /// 短款: somebody was credited, and the channel knows of no payment.
        LedgerOnly = "ledger_only",
        /// 金额不符: both know of it, with other amounts or currencies.
        Amount = "amount",
        /// 状态不符: the channel says paid and we closed, or we credited what it holds back or took back.
        Status = "status",
        /// 跨日: both know of it, on different days; or the other day's bill is not in yet.
        Timing = "timing",
        /// 重复支付: a second payment of an order.
        DuplicatePayment = "duplicate_payment",
        /// 退款差异: a refund that one side has not, or has with another amount or end.
        Refund = "refund",
        /// 手续费差异: a fee that is not what was agreed, or a day whose sums do not close.
        Fee = "fee",
        /// 未知行: a withdrawal, a transfer, a dispute: nothing of ours.
        UnknownRow = "unknown_row",
    }

    /// How far an order is, or a refund.
    Standing {
        /// It waits.
        Pending = "pending",
        /// The ledger has it.
        Completed = "completed",
        /// It ended without.
        Closed = "closed",
    }
}

/// An order of ours, with what the ledger says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownOrder {
    /// The order.
    pub order: OrderId,
    /// Its number at channels.
    pub number: String,
    /// Whose.
    pub account: AccountId,
    /// Is it paid at the channel that is asked about?
    pub is_here: bool,
    /// What it costs.
    pub pay: Money,
    /// How far it is.
    pub standing: Standing,
    /// The transaction that the ledger credited.
    pub txn: Option<String>,
    /// When it did.
    pub completed_at: Option<Moment>,
    /// Was it made for a payment that was claimed out of suspense?
    pub claimed: Option<Claimed>,
}

/// Of an order that took a payment out of suspense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The day on which that payment came, if its bill is not in yet.
    pub waits_for: Option<NaiveDate>,
}

/// A refund of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRefund {
    /// Its number at channels.
    pub number: String,
    /// The order that was paid.
    pub order: OrderId,
    /// That order's number at channels.
    pub order_number: String,
    /// Whose.
    pub account: AccountId,
    /// What goes back.
    pub amount: Money,
    /// How far it is.
    pub standing: Standing,
    /// When it was last changed.
    pub at: Moment,
}

/// What a channel was agreed to keep: so many millionths, and a fixed part in thousandths of a minor unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeeTerms {
    /// Millionths of the amount.
    pub rate_ppm: i64,
    /// Thousandths of a minor unit for each payment.
    pub fixed_milli: i64,
}

/// All that is known of a day.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The day.
    pub day: NaiveDate,
    /// Its first moment, by the channel's clock.
    pub from: Moment,
    /// The first moment after it.
    pub to: Moment,
    /// The rows of its bill of payments; of its bill of movements where there is no other.
    pub rows: &'a [BillRow],
    /// The rows of its bill of movements, if there is one beside.
    pub funds: Option<&'a [BillRow]>,
    /// Rows of other days' bills that are about the same transactions and refunds as `orders` and `refunds`.
    pub elsewhere: &'a [(NaiveDate, BillRow)],
    /// Is the bill of the day before in?
    pub has_before: bool,
    /// Is the bill of the day after in?
    pub has_after: bool,
    /// The orders that the rows name, and those that were credited on the day.
    pub orders: &'a [KnownOrder],
    /// The refunds that the rows name or whose orders they name, and those that ended on the day.
    pub refunds: &'a [KnownRefund],
    /// The payments in suspense that the rows are about, and those that went back on the day.
    pub suspended: &'a [KnownSuspended],
    /// Has the channel's bill rows of refunds? Else that one is missing tells nothing.
    pub has_refunds: bool,
    /// What was agreed about fees, where that is known.
    pub terms: Option<FeeTerms>,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub class: Class,
    /// What it is about: with the class the same in every comparison of the day.
    pub subject: String,
    /// The order's number, as far as one side has it.
    pub order_number: Option<String>,
    /// The refund's number.
    pub refund_number: Option<String>,
    /// The channel's transaction.
    pub txn: Option<String>,
    /// The order, if it is one of ours.
    pub order: Option<OrderId>,
    /// Whose it is.
    pub account: Option<AccountId>,
    /// What the ledger says.
    pub ledger: Option<Money>,
    /// What the channel says.
    pub provider: Option<Money>,
    /// A sentence.
    pub detail: String,
    /// Is it settled as it is found? Both sides agree, on different days.
    pub is_cleared: bool,
    /// The other side's day.
    pub linked: Option<NaiveDate>,
}

/// The sums of a day in one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Which currency.
    pub currency: Currency,
    /// What payers paid, by the bill.
    pub payments: i64,
    /// What went back to them, by the bill.
    pub refunds: i64,
    /// What the channel kept, rounded to the minor unit once.
    pub fees: i64,
    /// What payments less refunds come to for the merchant, less fees: without coupons the difference of the three.
    pub net: i64,
    /// What the ledger credited on the day.
    pub ledger_payments: i64,
    /// The refunds that ended on the day, by our books.
    pub ledger_refunds: i64,
    /// By how much payments, refunds and fees moved the account, where there is a bill of its movements.
    pub fund_change: Option<i64>,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How many payments and refunds of the bill have a partner without a difference, on whichever day.
    pub matched: u64,
    /// Differences, in the bill's order, those of the ledger behind.
    pub findings: Vec<Finding>,
    /// Sums, by currency.
    pub totals: Vec<Total>,
}

/// Compares a day.
pub fn compare(it: &Question<'_>) -> Answer {
    let mut work = Work {
        it,
        orders: it.orders.iter().map(|order| (order.number.as_str(), order)).collect(),
        claims: BTreeMap::new(),
        refunds_of: BTreeMap::new(),
        returned: BTreeSet::new(),
        seen: BTreeSet::new(),
        refunds: BTreeSet::new(),
        matched: 0,
        findings: Vec::new(),
    };
    for order in it.orders.iter().filter(|it| it.is_here && it.claimed.is_some()) {
        if let (Standing::Completed, Some(txn)) = (order.standing, order.txn.as_deref()) {
            work.claims.insert(txn, order);
        }
    }
    for refund in it.refunds {
        work.refunds_of.entry(refund.order_number.as_str()).or_default().push(refund);
    }
    let (mut fee_off, mut fee_rows) = (BTreeMap::<Currency, i128>::new(), 0_i128);
    for row in it.rows {
        match row.kind {
            RowKind::Payment => work.payment(row),
            RowKind::Refund => work.refund(row),
            // A fee that stands alone has no partner among orders.
            RowKind::Fee => {}
            RowKind::Other => work.unknown(row),
        }
        if let Some(off) = work.fee(row) {
            fee_rows += 1;
            *fee_off.entry(row.settled.currency).or_default() += i128::from(off);
        }
    }
    for (currency, off) in fee_off {
        if off.abs() > fee_rows * i128::from(FEE_ROUNDING_MILLI) {
            let detail = format!("the day's fees in {currency} are off by {} together", milli(currency, off));
            let mut finding = work.about(Class::Fee, format!("sum {currency}"), detail);
            finding.provider = money(currency, off / 1_000);
            work.findings.push(finding);
        }
    }
    if let Some(funds) = it.funds {
        funds.iter().filter(|row| row.kind == RowKind::Other).for_each(|row| work.unknown(row));
    }
    work.credits();
    work.given_back();
    work.given_back_from_suspense();
    let totals = totals(it);
    for total in &totals {
        if let Some(change) = total.fund_change.filter(|change| *change != total.net) {
            let currency = total.currency;
            let detail = "the account did not move by payments less refunds less fees".to_owned();
            let mut finding = work.about(Class::Fee, format!("funds {currency}"), detail);
            finding.ledger = Some(Money { currency, minor: total.net });
            finding.provider = Some(Money { currency, minor: change });
            work.findings.push(finding);
        }
    }
    Answer { matched: work.matched, findings: work.findings, totals }
}

struct Work<'a, 'b> {
    it: &'a Question<'b>,
    orders: BTreeMap<&'a str, &'a KnownOrder>,
    /// Orders that took a payment out of suspense, by its transaction.
    claims: BTreeMap<&'a str, &'a KnownOrder>,
    /// By the numbers of their orders.
    refunds_of: BTreeMap<&'a str, Vec<&'a KnownRefund>>,
    /// Payments in suspense that the day's bill gives back.
    returned: BTreeSet<u64>,
    /// Transactions that the day's bill pays.
    seen: BTreeSet<&'a str>,
    /// Refunds that the day's bill has.
    refunds: BTreeSet<&'a str>,
    matched: u64,
    findings: Vec<Finding>,
}

impl<'a> Work<'a, '_> {
    fn about(&self, class: Class, subject: String, detail: String) -> Finding {
        Finding {
            class,
            subject,
            order_number: None,
            refund_number: None,
            txn: None,
            order: None,
            account: None,
            ledger: None,
            provider: None,
            detail,
            is_cleared: false,
            linked: None,
        }
    }

    fn of_row(&self, class: Class, row: &BillRow, known: Option<&KnownOrder>, detail: String) -> Finding {
        let subject = row.refund.as_ref().unwrap_or(&row.txn).clone();
        Finding {
            order_number: row.order.clone(),
            refund_number: row.refund.clone(),
            txn: Some(row.txn.clone()),
            order: known.map(|it| it.order),
            account: known.map(|it| it.account),
            provider: Some(row.amount),
            ..self.about(class, subject, detail)
        }
    }

    fn payment(&mut self, row: &'a BillRow) {
        if row.status == RowStatus::Failed {
            return;
        }
        let known = self.order_of(row);
        let is_credited = known.is_some_and(|it| {
            it.is_here && it.standing == Standing::Completed && it.txn.as_deref() == Some(row.txn.as_str())
        });
        let held = if is_credited { None } else { self.held(row) };
        let finding = match known {
            _ if let Some(held) = held => self.in_suspense(row, held, known),
            None => {
                let detail = "the channel was paid for an order that is not ours, or names none".to_owned();
                Some(self.of_row(Class::ProviderOnly, row, None, detail))
            }
            Some(order) if !order.is_here => {
                let detail = "the channel was paid for an order of another channel".to_owned();
                Some(self.of_row(Class::ProviderOnly, row, Some(order), detail))
            }
            Some(order) => match order.standing {
                Standing::Pending => {
                    let detail = "the channel was paid, and the order still waits for its payment".to_owned();
                    Some(self.of_row(Class::ProviderOnly, row, Some(order), detail))
                }
                Standing::Closed => {
                    let detail = "the channel was paid, and the order is closed".to_owned();
                    Some(self.of_row(Class::Status, row, Some(order), detail))
                }
                Standing::Completed => self.credited(row, order),
            },
        };
        match finding {
            Some(finding) => {
                self.matched += u64::from(finding.is_cleared);
                self.findings.push(finding);
            }
            None => self.matched += 1,
        }
    }

    /// The order that a row is about: the one that it names, or the one that a claim made for its transaction.
    fn order_of(&self, row: &BillRow) -> Option<&'a KnownOrder> {
        let claim = self.claims.get(row.txn.as_str()).copied();
        claim.or_else(|| self.orders.get(row.order.as_deref()?).copied())
    }

    /// A row of an order that was credited.
    fn credited(&mut self, row: &'a BillRow, order: &'a KnownOrder) -> Option<Finding> {
        let is_its_own = order.txn.as_deref() == Some(row.txn.as_str());
        if !is_its_own || !self.seen.insert(row.txn.as_str()) {
            let detail = match is_its_own {
                true => "the bill has this payment twice",
                false => "the order was credited for another payment",
            };
            let mut finding = self.of_row(Class::DuplicatePayment, row, Some(order), detail.to_owned());
            if is_its_own {
                finding.subject = format!("{} {}", row.txn, row.line);
            }
            return Some(Finding { ledger: Some(order.pay), ..finding });
        }
        if row.amount != order.pay {
            let detail = "the channel was paid another amount than was credited for".to_owned();
            let finding = self.of_row(Class::Amount, row, Some(order), detail);
            return Some(Finding { ledger: Some(order.pay), ..finding });
        }
        let detail = match row.status {
            RowStatus::Done | RowStatus::Failed => None,
            RowStatus::Pending => Some("it was credited, and the channel holds the payment back"),
            // Told of again by a refund where we know of one.
            RowStatus::Reversed if self.is_given_back(order) => None,
            RowStatus::Reversed => Some("it was credited, and the channel has given the money back"),
        };
        if let Some(detail) = detail {
            let finding = self.of_row(Class::Status, row, Some(order), detail.to_owned());
            return Some(Finding { ledger: Some(order.pay), ..finding });
        }
        let at = order.completed_at.filter(|at| *at < self.it.from || *at >= self.it.to)?;
        // By whole days of this channel's clock.
        let days = (at.micros() - self.it.from.micros()).div_euclid(86_400_000_000);
        let linked = self.it.day.checked_add_signed(chrono::TimeDelta::days(days));
        let detail = "paid on this day, and credited on another".to_owned();
        let finding = self.of_row(Class::Timing, row, Some(order), detail);
        Some(Finding { ledger: Some(order.pay), is_cleared: true, linked, ..finding })
    }

    fn is_given_back(&self, order: &KnownOrder) -> bool {
        let refunds = self.refunds_of.get(order.number.as_str()).into_iter().flatten();
        refunds.into_iter().any(|it| it.standing == Standing::Completed)
    }

    fn refund(&mut self, row: &'a BillRow) {
        let fits = |known: &&KnownRefund| match &row.refund {
            Some(number) => known.number == *number,
            None => known.amount == row.amount,
        };
        let order = self.order_of(row);
        let number = order.map(|it| it.number.as_str()).or(row.order.as_deref());
        let of_order = number.and_then(|number| self.refunds_of.get(number));
        let free =
            of_order.into_iter().flatten().copied().filter(|it| !self.refunds.contains(it.number.as_str()));
        let known = free.filter(fits).min_by_key(|known| known.at);
        let Some(known) = known else {
            if let Some(held) = self.return_of(row) {
                self.returned(row, held);
            } else if row.status != RowStatus::Failed {
                let detail = "the channel gave money back, and we know of no such refund".to_owned();
                let finding = self.of_row(Class::Refund, row, order, detail);
                self.findings.push(finding);
            }
            return;
        };
        self.refunds.insert(known.number.as_str());
        let detail = match (row.status, known.standing) {
            _ if row.amount != known.amount => Some("the channel gave another amount back"),
            (RowStatus::Done | RowStatus::Reversed, Standing::Pending) => {
                Some("the channel gave the money back, and the refund still waits here")
            }
            (RowStatus::Done | RowStatus::Reversed, Standing::Closed) => {
                Some("the channel gave the money back, and the refund failed here")
            }
            (RowStatus::Failed, Standing::Completed) => {
                Some("the refund failed at the channel, and is done here")
            }
            // How far a refund is, a bill says as of its writing.
            (RowStatus::Pending | RowStatus::Failed, _) | (RowStatus::Done | RowStatus::Reversed, _) => None,
        };
        let Some(detail) = detail else {
            self.matched += 1;
            return;
        };
        let finding = self.of_row(Class::Refund, row, order, detail.to_owned());
        let (ledger, order, account) = (Some(known.amount), Some(known.order), Some(known.account));
        self.findings.push(Finding { subject: known.number.clone(), ledger, order, account, ..finding });
    }

    fn unknown(&mut self, row: &BillRow) {
        let detail = format!("the bill has a row that is no top-up: {}", row.word);
        let finding = self.of_row(Class::UnknownRow, row, None, detail);
        // One transaction may have several such rows.
        self.findings.push(Finding { subject: format!("{} {} {}", row.txn, row.word, row.line), ..finding });
    }

    /// How far a row's fee is from what it should be; a difference beyond the tolerance is found.
    fn fee(&mut self, row: &BillRow) -> Option<i64> {
        let fee = row.fee_milli?;
        if row.kind != RowKind::Payment || row.settled.currency != row.amount.currency {
            return None;
        }
        let terms = match (self.it.terms, row.rate_ppm) {
            (Some(terms), _) => terms,
            (None, Some(rate_ppm)) => FeeTerms { rate_ppm, fixed_milli: 0 },
            (None, None) => return None,
        };
        // Minor units times millionths are thousandths of a minor unit, a thousand times over.
        let share = i128::from(row.settled.minor) * i128::from(terms.rate_ppm) / 1_000;
        let expected = i64::try_from(share + i128::from(terms.fixed_milli)).ok()?;
        let off = fee.checked_sub(expected)?;
        if off.abs() > FEE_TOLERANCE_MILLI {
            let currency = row.settled.currency;
            let detail = format!(
                "the channel kept {}, and {} was agreed",
                milli(currency, fee.into()),
                milli(currency, expected.into())
            );
            let order = row.order.as_deref().and_then(|number| self.orders.get(number).copied());
            let finding = self.of_row(Class::Fee, row, order, detail);
            let (ledger, provider) =
                (money(currency, i128::from(expected) / 1_000), money(currency, i128::from(fee) / 1_000));
            self.findings.push(Finding { ledger, provider, ..finding });
            // Told of; it does not make the sum a second difference.
            return None;
        }
        Some(off)
    }

    /// What was credited on the day, and is in no bill.
    fn credits(&mut self) {
        let it = self.it;
        let is_paid = |row: &&BillRow| row.kind == RowKind::Payment && row.status != RowStatus::Failed;
        let here: BTreeSet<(&str, Option<&str>)> =
            it.rows.iter().filter(is_paid).map(|row| (row.txn.as_str(), row.order.as_deref())).collect();
        let elsewhere: BTreeSet<&str> =
            it.elsewhere.iter().map(|(_, row)| row).filter(is_paid).map(|row| row.txn.as_str()).collect();
        for order in it.orders.iter().filter(|order| order.is_here && order.standing == Standing::Completed) {
            let Some(at) = order.completed_at.filter(|at| *at >= it.from && *at < it.to) else { continue };
            let txn = order.txn.as_deref().unwrap_or_default();
            let is_here = match order.claimed {
                Some(_) => here.iter().any(|(here, _)| *here == txn),
                None => here.contains(&(txn, Some(order.number.as_str()))),
            };
            if is_here || elsewhere.contains(txn) {
                continue;
            }
            let otherwise = "somebody was credited, and no bill has the payment";
            let (class, linked, detail) = match order.claimed {
                // It came when it was put in suspense, however late it was claimed.
                Some(Claimed { waits_for: Some(day) }) => waiting(day),
                Some(Claimed { waits_for: None }) => (None, None, otherwise.to_owned()),
                None => self.absent(at, otherwise),
            };
            let finding = Finding {
                order_number: Some(order.number.clone()),
                txn: order.txn.clone(),
                order: Some(order.order),
                account: Some(order.account),
                ledger: Some(order.pay),
                linked,
                ..self.about(class.unwrap_or(Class::LedgerOnly), order.number.clone(), detail)
            };
            self.findings.push(finding);
        }
    }

    /// Refunds that ended well on the day, and are in no bill.
    fn given_back(&mut self) {
        let it = self.it;
        if !it.has_refunds {
            return;
        }
        let rows = || it.elsewhere.iter().map(|(_, row)| row).filter(|row| row.kind == RowKind::Refund);
        let numbers: BTreeSet<&str> = rows().filter_map(|row| row.refund.as_deref()).collect();
        // Of those without a number.
        let sums: BTreeSet<(&str, i64)> = rows()
            .filter(|row| row.refund.is_none())
            .filter_map(|row| Some((row.order.as_deref()?, row.amount.minor)))
            .collect();
        for known in it.refunds.iter().filter(|known| known.standing == Standing::Completed) {
            if known.at < it.from || known.at >= it.to || self.refunds.contains(known.number.as_str()) {
                continue;
            }
            if numbers.contains(known.number.as_str())
                || sums.contains(&(known.order_number.as_str(), known.amount.minor))
            {
                continue;
            }
            let (class, linked, detail) =
                self.absent(known.at, "the refund is done here, and no bill has it");
            let finding = Finding {
                order_number: Some(known.order_number.clone()),
                refund_number: Some(known.number.clone()),
                order: Some(known.order),
                account: Some(known.account),
                ledger: Some(known.amount),
                linked,
                ..self.about(class.unwrap_or(Class::Refund), known.number.clone(), detail)
            };
            self.findings.push(finding);
        }
    }

    /// Of what is in no bill: may a neighbour's that is not in yet hold it? Then its day, with [`Class::Timing`].
    fn absent(&self, at: Moment, otherwise: &str) -> (Option<Class>, Option<NaiveDate>, String) {
        let it = self.it;
        let neighbour = match () {
            () if !it.has_before && at < it.from.plus_ms(EDGE_MS) => it.day.pred_opt(),
            () if !it.has_after && at >= it.to.plus_ms(-EDGE_MS) => it.day.succ_opt(),
            () => None,
        };
        match neighbour {
            Some(day) => waiting(day),
            None => (None, None, otherwise.to_owned()),
        }
    }
}

fn waiting(day: NaiveDate) -> (Option<Class>, Option<NaiveDate>, String) {
    (Some(Class::Timing), Some(day), format!("no bill has it; that of {day} may, and is not in yet"))
}

fn totals(it: &Question<'_>) -> Vec<Total> {
    // Payments and refunds by what payers saw, in the currency of the order; fees by the account's.
    let mut sums: BTreeMap<Currency, [i128; 7]> = BTreeMap::new();
    for row in it.rows.iter().filter(|row| row.status != RowStatus::Failed) {
        let (amount, settled) = (i128::from(row.amount.minor), i128::from(row.settled.minor).abs());
        match row.kind {
            RowKind::Payment => {
                sums.entry(row.amount.currency).or_default()[0] += amount;
                sums.entry(row.settled.currency).or_default()[6] += settled;
            }
            RowKind::Refund => {
                sums.entry(row.amount.currency).or_default()[1] += amount;
                sums.entry(row.settled.currency).or_default()[6] -= settled;
            }
            RowKind::Fee => sums.entry(row.amount.currency).or_default()[2] += 1_000 * amount,
            RowKind::Other => {}
        }
        if let Some(fee) = row.fee_milli.filter(|_| row.kind != RowKind::Fee) {
            sums.entry(row.settled.currency).or_default()[2] += i128::from(fee);
        }
    }
    let within = |at: Moment| at >= it.from && at < it.to;
    for order in it.orders.iter().filter(|it| it.is_here && it.completed_at.is_some_and(within)) {
        sums.entry(order.pay.currency).or_default()[3] += i128::from(order.pay.minor);
    }
    for refund in it.refunds.iter().filter(|it| it.standing == Standing::Completed && within(it.at)) {
        sums.entry(refund.amount.currency).or_default()[4] += i128::from(refund.amount.minor);
    }
    for row in it.funds.into_iter().flatten().filter(|row| row.kind != RowKind::Other) {
        sums.entry(row.settled.currency).or_default()[5] += i128::from(row.settled.minor);
    }
    // No bill comes near the ends of an `i64`: its rows are limited, and so is each amount.
    let narrow = |sum: i128| i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX });
    sums.into_iter()
        .map(|(currency, [payments, refunds, fees_milli, credited, given_back, funds, settled])| {
            let fees = half_up(fees_milli);
            Total {
                currency,
                payments: narrow(payments),
                refunds: narrow(refunds),
                fees: narrow(fees),
                net: narrow(settled - fees),
                ledger_payments: narrow(credited),
                ledger_refunds: narrow(given_back),
                fund_change: it.funds.map(|_| narrow(funds)),
            }
        })
        .collect()
}

/// Thousandths to whole ones: the one rounding of a day's fees.
fn half_up(milli: i128) -> i128 {
    (milli + if milli < 0 { -500 } else { 500 }) / 1_000
}

fn money(currency: Currency, minor: i128) -> Option<Money> {
    i64::try_from(minor).ok().map(|minor| Money { currency, minor })
}

/// Thousandths of a minor unit, as a decimal of the currency.
fn milli(currency: Currency, milli: i128) -> String {
    let decimals = usize::try_from(currency.decimals()).unwrap_or(2) + 3;
    let sign = if milli < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", milli.unsigned_abs(), width = decimals + 1);
    let (whole, rest) = digits.split_at(digits.len() - decimals);
    format!("{sign}{whole}.{rest} {currency}")
}
