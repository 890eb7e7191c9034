use super::query::RefundStatus;
use crate::facts::{Decision, Facts};
use crate::{Halt, ProjectionError, Tx, Value};
use domain::account::event::{ChargebackPosted, RefundRequested};
use domain::{AccountEvent, AccountId, ChargebackId, Moment, RefundId};
use std::collections::BTreeMap;

/// The columns of `refunds`.
pub(super) const COLUMNS: [&str; 17] = [
    "account",
    "refund_id",
    "order_id",
    "channel",
    "currency",
    "amount",
    "credits",
    "reason",
    "created_at",
    "first_seq",
    "status",
    "approved_at",
    "provider_refund",
    "failure",
    "ended_at",
    "updated_at",
    "event_seq",
];

/// The columns of `chargebacks`.
pub(super) const CHARGEBACK_COLUMNS: [&str; 14] = [
    "account",
    "chargeback_id",
    "order_id",
    "channel",
    "currency",
    "amount",
    "credits",
    "reference",
    "created_at",
    "first_seq",
    "status",
    "reversed_at",
    "updated_at",
    "event_seq",
];

/// What a batch does to refunds and chargebacks: one row or one change each.
#[derive(Debug, Default)]
pub(crate) struct RefundRows {
    refunds: BTreeMap<(AccountId, RefundId), Refund>,
    chargebacks: BTreeMap<(AccountId, ChargebackId), Chargeback>,
}

#[derive(Debug)]
struct Refund {
    /// Present if the refund began in this batch: then its row is new.
    began: Option<(RefundRequested, Moment, u64)>,
    approved_at: Option<Moment>,
    ended: Option<Ended>,
    last: (Moment, u64),
}

#[derive(Debug)]
struct Ended {
    status: RefundStatus,
    provider_refund: Option<String>,
    failure: Option<String>,
    at: Moment,
}

#[derive(Debug)]
struct Chargeback {
    began: Option<(ChargebackPosted, Moment, u64)>,
    reversed_at: Option<Moment>,
    last: (Moment, u64),
}

impl RefundRows {
    /// What a batch means for them; pure.
    pub(crate) fn fold(facts: &Facts<'_>) -> Self {
        let mut rows = Self::default();
        for decision in &facts.decisions {
            rows.decided(decision);
        }
        rows
    }

    fn decided(&mut self, decision: &Decision<'_>) {
        let (account, at, sequence) = (decision.account, decision.at(), decision.sequence());
        match decision.event {
            AccountEvent::RefundRequested(it) => {
                self.refund(account, it.refund, at, sequence).began = Some((it.clone(), at, sequence));
            }
            AccountEvent::RefundApproved(it) => {
                self.refund(account, it.refund, at, sequence).approved_at = Some(at);
            }
            AccountEvent::RefundCompleted(it) => {
                self.refund(account, it.refund, at, sequence).ended = Some(Ended {
                    status: RefundStatus::Completed,
                    provider_refund: it.provider_refund.as_ref().map(ToString::to_string),
                    failure: None,
                    at,
                });
            }
            AccountEvent::RefundFailed(it) => {
                self.refund(account, it.refund, at, sequence).ended = Some(Ended {
                    status: RefundStatus::Failed,
                    provider_refund: None,
                    failure: Some(it.reason.to_string()),
                    at,
                });
            }
            AccountEvent::ChargebackPosted(it) => {
                self.chargeback(account, it.chargeback, at, sequence).began =
                    Some((it.clone(), at, sequence));
            }
            AccountEvent::ChargebackReversed(it) => {
                self.chargeback(account, it.chargeback, at, sequence).reversed_at = Some(at);
            }
            AccountEvent::TopUpInitiated(_)
            | AccountEvent::TopUpCompleted(_)
            | AccountEvent::TopUpClosed(_)
            | AccountEvent::CreditGranted(_)
            | AccountEvent::AdjustmentPosted(_)
            | AccountEvent::LeaseGranted(_)
            | AccountEvent::LeaseAmended(_)
            | AccountEvent::LeaseClosed(_) => {}
        }
    }

    fn refund(&mut self, account: AccountId, refund: RefundId, at: Moment, sequence: u64) -> &mut Refund {
        let last = (at, sequence);
        let row = self.refunds.entry((account, refund));
        let row = row.or_insert(Refund { began: None, approved_at: None, ended: None, last });
        row.last = last;
        row
    }

    fn chargeback(
        &mut self,
        account: AccountId,
        id: ChargebackId,
        at: Moment,
        sequence: u64,
    ) -> &mut Chargeback {
        let last = (at, sequence);
        let row = self.chargebacks.entry((account, id));
        let row = row.or_insert(Chargeback { began: None, reversed_at: None, last });
        row.last = last;
        row
    }

    /// New rows in one insert per table, others by an update each.
    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), ProjectionError> {
        let new: Vec<Value> = self
            .refunds
            .iter()
            .filter_map(|((account, id), row)| row.whole(*account, *id))
            .flatten()
            .collect();
        tx.insert("refunds", &COLUMNS, &new, "").await?;
        for ((account, id), row) in self.refunds.iter().filter(|(_, row)| row.began.is_none()) {
            let found = row.update(tx, *account, *id).await?;
            if found != 1 {
                return Err(Halt::UnknownOrder { account: *account, order: format!("of refund {id}") }.into());
            }
        }
        let new: Vec<Value> = self
            .chargebacks
            .iter()
            .filter_map(|((account, id), row)| row.whole(*account, *id))
            .flatten()
            .collect();
        tx.insert("chargebacks", &CHARGEBACK_COLUMNS, &new, "").await?;
        for ((account, id), row) in self.chargebacks.iter().filter(|(_, row)| row.began.is_none()) {
            let sql = "UPDATE chargebacks SET status = ?, reversed_at = ?, updated_at = ?, event_seq = ? \
                       WHERE account = ? AND chargeback_id = ?";
            let mut values = row.state().to_vec();
            values.extend([(*account).into(), (*id).into()]);
            if tx.execute(sql, &values).await? != 1 {
                return Err(
                    Halt::UnknownOrder { account: *account, order: format!("of chargeback {id}") }.into()
                );
            }
        }
        Ok(())
    }
}

impl Refund {
    fn status(&self) -> RefundStatus {
        match (&self.ended, self.approved_at) {
            (Some(ended), _) => ended.status,
            (None, Some(_)) => RefundStatus::Approved,
            (None, None) => RefundStatus::Requested,
        }
    }

    /// A new row, in the order of the columns.
    fn whole(&self, account: AccountId, id: RefundId) -> Option<Vec<Value>> {
        let (began, at, sequence) = self.began.as_ref()?;
        let mut values: Vec<Value> = vec![
            account.into(),
            id.into(),
            began.order.into(),
            began.channel.as_str().into(),
            began.pay.currency.code().into(),
            began.pay.minor.into(),
            began.credits.into(),
            began.reason.to_string().into(),
            (*at).into(),
            Value::count(*sequence),
            self.status().as_str().into(),
            self.approved_at.into(),
        ];
        values.extend(self.end());
        values.extend(self.position());
        Some(values)
    }

    fn end(&self) -> [Value; 3] {
        let ended = self.ended.as_ref();
        [
            ended.and_then(|it| it.provider_refund.clone()).into(),
            ended.and_then(|it| it.failure.clone()).into(),
            ended.map(|it| it.at).into(),
        ]
    }

    fn position(&self) -> [Value; 2] {
        [self.last.0.into(), Value::count(self.last.1)]
    }

    async fn update(&self, tx: &mut Tx, account: AccountId, id: RefundId) -> Result<u64, ProjectionError> {
        let mut sql = "UPDATE refunds SET status = ?".to_owned();
        let mut values: Vec<Value> = vec![self.status().as_str().into()];
        if let Some(at) = self.approved_at {
            sql.push_str(", approved_at = ?");
            values.push(at.into());
        }
        if self.ended.is_some() {
            sql.push_str(", provider_refund = ?, failure = ?, ended_at = ?");
            values.extend(self.end());
        }
        sql.push_str(", updated_at = ?, event_seq = ? WHERE account = ? AND refund_id = ?");
        values.extend(self.position());
        values.extend([account.into(), id.into()]);
        Ok(tx.execute(&sql, &values).await?)
    }
}

impl Chargeback {
    fn whole(&self, account: AccountId, id: ChargebackId) -> Option<Vec<Value>> {
        let (began, at, sequence) = self.began.as_ref()?;
        let mut values: Vec<Value> = vec![
            account.into(),
            id.into(),
            began.order.into(),
            began.channel.as_str().into(),
            began.pay.currency.code().into(),
            began.pay.minor.into(),
            began.credits.into(),
            began.reference.as_str().into(),
            (*at).into(),
            Value::count(*sequence),
        ];
        values.extend(self.state());
        Some(values)
    }

    /// In the order of the last four columns.
    fn state(&self) -> [Value; 4] {
        let status = if self.reversed_at.is_some() { "reversed" } else { "posted" };
        [status.into(), self.reversed_at.into(), self.last.0.into(), Value::count(self.last.1)]
    }
}
