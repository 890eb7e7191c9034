//! Payments in suspense, and what of them stands in a day's bill.
//!
//! Claims: a row is about the payment of its transaction, and of its sum if there are several; one that was given back is known by
//! its refund's number, or by transaction and sum where the channel numbered it itself.

use super::{BillRow, Class, Finding, KnownOrder, Standing, Work};
use crate::reconciliation::bill::{RowKind, RowStatus};
use domain::{Moment, Money};

/// A payment that was put in suspense at the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSuspended {
    /// Where it stands on the log: its id.
    pub payment: u64,
    /// The channel's transaction.
    pub txn: String,
    /// What was paid.
    pub paid: Money,
    /// Why it was not credited.
    pub why: String,
    /// What became of it.
    pub standing: Suspended,
}

/// What became of a payment in suspense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspended {
    /// It waits.
    Waits,
    /// It is a user's, who has or will have an order for it.
    Claimed,
    /// The payer has it back.
    Returned {
        /// When.
        at: Moment,
        /// By a refund at the channel? Else by hand, and perhaps not there.
        is_by_channel: bool,
        /// What the refund may be called in a bill.
        numbers: Vec<String>,
    },
    /// An operator said that it is none.
    Dismissed,
}

impl<'a> Work<'a, '_> {
    /// The payment in suspense that a row is about.
    pub(super) fn held(&self, row: &BillRow) -> Option<&'a KnownSuspended> {
        // Another sum under the same transaction is another payment there.
        self.it.suspended.iter().filter(|it| it.txn == row.txn).min_by_key(|it| it.paid != row.amount)
    }

    /// A row of a payment that was put in suspense, and that no order has.
    pub(super) fn in_suspense(
        &mut self,
        row: &'a BillRow,
        held: &KnownSuspended,
        known: Option<&KnownOrder>,
    ) -> Option<Finding> {
        if !self.seen.insert(row.txn.as_str()) {
            let detail = "the bill has this payment twice".to_owned();
            let finding = self.of_row(Class::DuplicatePayment, row, known, detail);
            return Some(Finding { subject: format!("{} {}", row.txn, row.line), ..finding });
        }
        let name = format!("payment {} in suspense ({})", held.payment, held.why);
        if row.amount != held.paid {
            let finding = self.of_row(Class::Amount, row, known, format!("another amount than {name}"));
            return Some(Finding { ledger: Some(held.paid), ..finding });
        }
        let (class, detail) = match &held.standing {
            Suspended::Returned { .. } => return None,
            Suspended::Waits if row.status == RowStatus::Reversed => {
                (Class::Status, format!("the channel has given the money back, and it waits as {name}"))
            }
            Suspended::Waits => match known.filter(|it| it.is_here && it.standing == Standing::Completed) {
                Some(order) => {
                    let detail =
                        format!("the order was credited for another payment; this one waits as {name}");
                    let finding = self.of_row(Class::DuplicatePayment, row, known, detail);
                    return Some(Finding { ledger: Some(order.pay), ..finding });
                }
                None => (Class::ProviderOnly, format!("the channel was paid, and it waits as {name}")),
            },
            Suspended::Claimed => (
                Class::ProviderOnly,
                format!("the channel was paid; it was claimed as {name} and is not credited yet"),
            ),
            Suspended::Dismissed => {
                (Class::ProviderOnly, format!("the channel was paid, and it was dismissed as {name}"))
            }
        };
        Some(self.of_row(class, row, known, detail))
    }

    /// The payment in suspense that a refund's row gives back.
    pub(super) fn return_of(&self, row: &BillRow) -> Option<&'a KnownSuspended> {
        let mut free = self.it.suspended.iter().filter(|it| !self.returned.contains(&it.payment));
        free.find(|it| {
            let is_its_own = it.txn == row.txn && it.paid == row.amount;
            match (&it.standing, &row.refund) {
                (Suspended::Returned { numbers, .. }, Some(number)) if numbers.contains(number) => true,
                // By hand it may have been given back in the channel's own console, which numbers it.
                (Suspended::Returned { is_by_channel, .. }, Some(_)) => !is_by_channel && is_its_own,
                (Suspended::Returned { .. }, None) => is_its_own,
                (Suspended::Waits | Suspended::Claimed | Suspended::Dismissed, _) => false,
            }
        })
    }

    /// A row of a refund of a payment in suspense.
    pub(super) fn returned(&mut self, row: &BillRow, held: &KnownSuspended) {
        self.returned.insert(held.payment);
        let detail = match row.status {
            _ if row.amount != held.paid => "the channel gave another amount back than was in suspense",
            RowStatus::Failed => {
                "the refund of a payment in suspense failed at the channel, and is done here"
            }
            RowStatus::Done | RowStatus::Pending | RowStatus::Reversed => {
                self.matched += 1;
                return;
            }
        };
        let finding = self.of_row(Class::Refund, row, None, detail.to_owned());
        self.findings.push(Finding { ledger: Some(held.paid), ..finding });
    }

    /// Payments in suspense that the channel gave back on the day, and are in no bill.
    pub(super) fn given_back_from_suspense(&mut self) {
        let it = self.it;
        if !it.has_refunds {
            return;
        }
        for held in it.suspended.iter().filter(|held| !self.returned.contains(&held.payment)) {
            let Suspended::Returned { at, is_by_channel: true, numbers } = &held.standing else { continue };
            let has = |row: &BillRow| match &row.refund {
                Some(number) => numbers.contains(number),
                None => held.txn == row.txn && held.paid == row.amount,
            };
            let mut rows = it.elsewhere.iter().map(|(_, row)| row).filter(|row| row.kind == RowKind::Refund);
            if *at < it.from || *at >= it.to || rows.any(has) {
                continue;
            }
            let (class, linked, detail) =
                self.absent(*at, "a payment in suspense was given back here, and no bill has it");
            let finding = Finding {
                refund_number: numbers.first().cloned(),
                txn: Some(held.txn.clone()),
                ledger: Some(held.paid),
                linked,
                ..self.about(class.unwrap_or(Class::Refund), format!("suspense {}", held.payment), detail)
            };
            self.findings.push(finding);
        }
    }
}
