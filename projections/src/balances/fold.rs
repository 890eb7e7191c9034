use crate::facts::Facts;
use crate::{DatabaseError, Halt, Set, Tx, Value};
use domain::{AccountEvent, AccountId, Credits};
use std::collections::BTreeMap;

const TABLE: &str = "account_balances";
const COLUMNS: [&str; 7] =
    ["account", "credits_in", "credits_out", "leased", "spent_closed", "used", "position"];

/// What a batch adds to balances: one row per account.
#[derive(Debug, Default)]
pub(crate) struct BalanceRows {
    rows: BTreeMap<AccountId, Change>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Change {
    credits_in: Credits,
    credits_out: Credits,
    leased: Credits,
    spent_closed: Credits,
    used: Credits,
    position: u64,
}

impl BalanceRows {
    /// What a batch means for balances; pure.
    pub(crate) fn fold(facts: &Facts<'_>) -> Result<Self, Halt> {
        let mut rows = Self::default();
        for decision in &facts.decisions {
            let (account, sequence) = (decision.account, decision.sequence());
            rows.change(account, sequence, |change| match decision.event {
                AccountEvent::TopUpCompleted(it) => add(&mut change.credits_in, it.credits),
                AccountEvent::CreditGranted(it) => add(&mut change.credits_in, it.credits),
                AccountEvent::AdjustmentPosted(it) if it.credits.is_negative() => {
                    add(&mut change.credits_out, it.credits.checked_neg()?)
                }
                AccountEvent::AdjustmentPosted(it) => add(&mut change.credits_in, it.credits),
                AccountEvent::RefundRequested(it) => add(&mut change.credits_out, it.credits),
                AccountEvent::ChargebackPosted(it) => add(&mut change.credits_out, it.credits),
                AccountEvent::RefundFailed(it) => add(&mut change.credits_out, it.credits.checked_neg()?),
                AccountEvent::ChargebackReversed(it) => {
                    add(&mut change.credits_out, it.credits.checked_neg()?)
                }
                // Leases come as moves, since an amendment does not say what the lease was before.
                AccountEvent::TopUpInitiated(_)
                | AccountEvent::TopUpClosed(_)
                | AccountEvent::RefundApproved(_)
                | AccountEvent::RefundCompleted(_)
                | AccountEvent::LeaseGranted(_)
                | AccountEvent::LeaseAmended(_)
                | AccountEvent::LeaseClosed(_) => Some(()),
            })?;
        }
        for moved in &facts.lease_moves {
            rows.change(moved.account, moved.sequence, |change| {
                add(&mut change.leased, moved.leased)?;
                add(&mut change.spent_closed, moved.spent_closed)
            })?;
        }
        for usage in &facts.usage {
            rows.change(usage.record.account, usage.sequence, |change| add(&mut change.used, usage.paid))?;
        }
        for it in &facts.taken_back {
            rows.change(it.account, it.sequence, |change| {
                add(&mut change.used, it.record.paid.checked_neg()?)
            })?;
        }
        Ok(rows)
    }

    fn change(
        &mut self,
        account: AccountId,
        sequence: u64,
        by: impl FnOnce(&mut Change) -> Option<()>,
    ) -> Result<(), Halt> {
        let change = self.rows.entry(account).or_default();
        change.position = change.position.max(sequence);
        by(change).ok_or(Halt::Overflow { account, sequence })
    }

    /// Adds what a later batch adds.
    pub(crate) fn merge(&mut self, later: Self) -> Result<(), Halt> {
        for (account, it) in later.rows {
            self.change(account, it.position, |change| {
                add(&mut change.credits_in, it.credits_in)?;
                add(&mut change.credits_out, it.credits_out)?;
                add(&mut change.leased, it.leased)?;
                add(&mut change.spent_closed, it.spent_closed)?;
                add(&mut change.used, it.used)
            })?;
        }
        Ok(())
    }

    /// How many rows it is.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// One upsert for all.
    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), DatabaseError> {
        let mut values = Vec::with_capacity(self.rows.len() * COLUMNS.len());
        for (account, it) in &self.rows {
            values.push((*account).into());
            values.extend(
                [it.credits_in, it.credits_out, it.leased, it.spent_closed, it.used].map(Value::from),
            );
            values.push(Value::count(it.position));
        }
        let sets = [
            Set::Add("credits_in"),
            Set::Add("credits_out"),
            Set::Add("leased"),
            Set::Add("spent_closed"),
            Set::Add("used"),
            Set::New("position"),
        ];
        let tail = tx.dialect().upsert(TABLE, &["account"], &sets);
        tx.insert(TABLE, &COLUMNS, &values, &tail).await
    }
}

fn add(sum: &mut Credits, credits: Credits) -> Option<()> {
    *sum = sum.checked_add(credits)?;
    Some(())
}
