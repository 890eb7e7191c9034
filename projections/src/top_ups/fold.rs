use super::query::OrderStatus;
use crate::facts::{Decision, Facts};
use crate::{Halt, ProjectionError, Tx, Value};
use domain::account::event::{CloseReason, TopUpInitiated};
use domain::{AccountEvent, AccountId, Label, Moment, OrderId};
use std::collections::BTreeMap;

/// The columns of `top_up_orders`.
pub(super) const COLUMNS: [&str; 15] = [
    "account",
    "order_id",
    "channel",
    "currency",
    "amount",
    "credits",
    "expires_at",
    "created_at",
    "first_seq",
    "status",
    "close_reason",
    "provider_txn",
    "completed_at",
    "updated_at",
    "event_seq",
];

/// What a batch does to orders: one row or one change per order.
#[derive(Debug, Default)]
pub(crate) struct TopUpRows {
    orders: BTreeMap<(AccountId, OrderId), Order>,
}

#[derive(Debug)]
struct Order {
    /// Present if the order began in this batch: then its row is new.
    began: Option<(TopUpInitiated, Moment, u64)>,
    state: State,
}

/// The part of a row that events after the first change.
#[derive(Clone, Debug)]
struct State {
    status: OrderStatus,
    close_reason: Option<CloseReason>,
    provider_txn: Option<Label>,
    completed_at: Option<Moment>,
    updated_at: Moment,
    event_seq: u64,
}

impl TopUpRows {
    /// What a batch means for orders; pure.
    pub(crate) fn fold(facts: &Facts<'_>) -> Self {
        let mut rows = Self::default();
        for decision in &facts.decisions {
            match decision.event {
                AccountEvent::TopUpInitiated(it) => {
                    let began = Some((it.clone(), decision.at(), decision.sequence()));
                    let order = Order { began, state: State::new(OrderStatus::Pending, decision) };
                    rows.orders.insert((decision.account, it.order), order);
                }
                AccountEvent::TopUpCompleted(it) => {
                    let state = State {
                        provider_txn: Some(it.provider_txn.clone()),
                        completed_at: Some(decision.at()),
                        ..State::new(OrderStatus::Completed, decision)
                    };
                    rows.change(decision.account, it.order, state);
                }
                AccountEvent::TopUpClosed(it) => {
                    let state = State {
                        close_reason: Some(it.reason),
                        ..State::new(OrderStatus::of_close(it.reason), decision)
                    };
                    rows.change(decision.account, it.order, state);
                }
                AccountEvent::CreditGranted(_)
                | AccountEvent::AdjustmentPosted(_)
                | AccountEvent::RefundRequested(_)
                | AccountEvent::RefundApproved(_)
                | AccountEvent::RefundCompleted(_)
                | AccountEvent::RefundFailed(_)
                | AccountEvent::ChargebackPosted(_)
                | AccountEvent::ChargebackReversed(_)
                | AccountEvent::LeaseGranted(_)
                | AccountEvent::LeaseAmended(_)
                | AccountEvent::LeaseClosed(_) => {}
            }
        }
        rows
    }

    fn change(&mut self, account: AccountId, order: OrderId, state: State) {
        self.orders
            .entry((account, order))
            .and_modify(|order| order.state = state.clone())
            .or_insert(Order { began: None, state });
    }

    /// New orders in one insert, others by an update each: an order's end rarely shares a batch with others'.
    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), ProjectionError> {
        let mut new = Vec::new();
        for ((account, id), order) in &self.orders {
            if let Some((began, at, sequence)) = &order.began {
                new.extend([
                    (*account).into(),
                    (*id).into(),
                    began.channel.as_str().into(),
                    began.pay.currency.code().into(),
                    began.pay.minor.into(),
                    began.credits.into(),
                    began.expires_at.into(),
                    (*at).into(),
                    Value::count(*sequence),
                ]);
                new.extend(order.state.values());
            }
        }
        tx.insert("top_up_orders", &COLUMNS, &new, "").await?;
        let changed = self.orders.iter().filter(|(_, order)| order.began.is_none());
        for ((account, id), order) in changed {
            let sql = "UPDATE top_up_orders SET status = ?, close_reason = ?, provider_txn = ?, completed_at = ?, \
                       updated_at = ?, event_seq = ? WHERE account = ? AND order_id = ?";
            let mut values = order.state.values().to_vec();
            values.extend([(*account).into(), (*id).into()]);
            if tx.execute(sql, &values).await? != 1 {
                return Err(Halt::UnknownOrder { account: *account, order: id.to_string() }.into());
            }
        }
        Ok(())
    }
}

impl State {
    fn new(status: OrderStatus, decision: &Decision<'_>) -> Self {
        Self {
            status,
            close_reason: None,
            provider_txn: None,
            completed_at: None,
            updated_at: decision.at(),
            event_seq: decision.sequence(),
        }
    }

    /// In the order of the last six columns.
    fn values(&self) -> [Value; 6] {
        [
            self.status.as_str().into(),
            self.close_reason.map(close_reason_text).into(),
            self.provider_txn.as_ref().map(Label::as_str).into(),
            self.completed_at.into(),
            self.updated_at.into(),
            Value::count(self.event_seq),
        ]
    }
}

/// A close reason as its row and its JSON write it.
pub(super) fn close_reason_text(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Failed => "failed",
        CloseReason::Cancelled => "cancelled",
        CloseReason::Expired => "expired",
    }
}
