//! The account's state: what its events add up to.
//!
//! Claims: `evolve` records and never refuses; two halves folded one after the other equal the whole; the state is
//! plain data, so that projections can keep it as a snapshot.

use super::event::{AccountEvent, CloseReason, GrantSource, Scope};
use crate::{
    AdjustmentId, ChannelName, ChargebackId, Credits, EpochId, GrantId, IdempotencyKey, KeyId, Label,
    LeaseId, Moment, Money, OrderId, Reason, Recorded, RefundId,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How many closed leases are remembered, so that a late repeat of their grant is recognised.
///
/// Bounded because an account opens a lease for every burst of calls. A repeat comes within seconds of the first, from
/// the node that made the lease's id, so some hundreds are ample.
pub const CLOSED_LEASES_REMEMBERED: usize = 256;

/// How many periods of one kind (days, months) are remembered per key with a budget.
///
/// More than the current one, because a call may outlive its day and nodes' clocks differ around midnight: a period whose
/// use was forgotten too early could be spent twice.
pub const PERIODS_REMEMBERED: usize = 3;

/// A wallet as of its last event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Events so far; the last one's version.
    pub version: u64,
    /// All credits that ever came in.
    pub credits_in: Credits,
    /// All credits that were taken out, other than by usage.
    pub credits_out: Credits,
    /// All that was spent of leases that are closed.
    pub spent_of_closed: Credits,
    /// Top-up orders.
    pub orders: BTreeMap<OrderId, Order>,
    /// Refunds of those orders.
    pub refunds: BTreeMap<RefundId, Refund>,
    /// Disputed payments that were taken back.
    pub chargebacks: BTreeMap<ChargebackId, Chargeback>,
    /// Grants, with the sequence of their event.
    pub grants: BTreeMap<GrantId, u64>,
    /// Adjustments, with the sequence of their event.
    pub adjustments: BTreeMap<AdjustmentId, u64>,
    /// Idempotency keys, with what was asked and the sequence of the answer.
    pub keys: BTreeMap<IdempotencyKey, Keyed>,
    /// Leases that nodes hold.
    pub leases: BTreeMap<LeaseId, OpenLease>,
    /// The last closed leases, oldest first, with the sequence of their close.
    pub closed_leases: VecDeque<(LeaseId, u64)>,
    /// What keys with a budget have spent of it, by period: of leases that are closed.
    pub budgets: BTreeMap<KeyId, BTreeMap<Label, Credits>>,
}

/// A top-up order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Where it is paid.
    pub channel: ChannelName,
    /// What must be paid.
    pub pay: Money,
    /// What it buys.
    pub credits: Credits,
    /// When the offer ends.
    pub expires_at: Moment,
    /// The sequence of its first event.
    pub initiated: u64,
    /// How far it got.
    pub status: OrderStatus,
    /// Minor units of what was paid that refunds (but failed ones) and chargebacks (but reversed ones) took.
    pub taken_minor: i64,
    /// The credits that went with them, but for the bonus.
    pub taken_credits: Credits,
    /// What was given beside it once it was paid: see [`GrantId::bonus_of`].
    #[serde(default, skip_serializing_if = "Credits::is_zero")]
    pub bonus: Credits,
    /// What of the bonus went with what was taken.
    #[serde(default, skip_serializing_if = "Credits::is_zero")]
    pub taken_bonus: Credits,
}

impl Order {
    /// What was paid and neither given nor taken back.
    pub fn left(&self) -> Money {
        Money { minor: self.pay.minor.saturating_sub(self.taken_minor).max(0), ..self.pay }
    }

    /// The credits that belong to [`Order::left`].
    pub fn left_credits(&self) -> Credits {
        self.credits.checked_sub(self.taken_credits).unwrap_or(Credits::ZERO).max(Credits::ZERO)
    }

    /// What of the bonus belongs to [`Order::left`].
    pub fn left_bonus(&self) -> Credits {
        self.bonus.checked_sub(self.taken_bonus).unwrap_or(Credits::ZERO).max(Credits::ZERO)
    }

    /// `credits` with the bonus in them.
    fn take(&mut self, pay: Money, credits: Credits, bonus: Credits) {
        self.taken_minor = self.taken_minor.saturating_add(pay.minor);
        add(&mut self.taken_credits, credits);
        subtract(&mut self.taken_credits, bonus);
        add(&mut self.taken_bonus, bonus);
    }

    /// `credits` with the bonus in them.
    pub(super) fn put_back(&mut self, pay: Money, credits: Credits, bonus: Credits) {
        self.taken_minor = self.taken_minor.saturating_sub(pay.minor);
        add(&mut self.taken_credits, bonus);
        subtract(&mut self.taken_credits, credits);
        subtract(&mut self.taken_bonus, bonus);
    }
}

/// A refund of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The order.
    pub order: OrderId,
    /// What is given back.
    pub pay: Money,
    /// The credits that this takes, with the bonus in them.
    pub credits: Credits,
    /// What of them came as the order's bonus.
    #[serde(default, skip_serializing_if = "Credits::is_zero")]
    pub bonus: Credits,
    /// The sequence of its first event.
    pub requested: u64,
    /// The sequence of its approval.
    pub approved: Option<u64>,
    /// How far it got.
    pub status: RefundStatus,
}

/// How far a refund got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RefundStatus {
    /// It waits for an operator.
    Requested,
    /// The channel may be asked, or was.
    Approved,
    /// The money was given back.
    Completed {
        /// The sequence of that event.
        sequence: u64,
    },
    /// It was not; the credits are back.
    Failed {
        /// The sequence of that event.
        sequence: u64,
    },
}

/// A disputed payment that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chargeback {
    /// The order.
    pub order: OrderId,
    /// What was taken back.
    pub pay: Money,
    /// The credits that went with it, with the bonus in them.
    pub credits: Credits,
    /// What of them came as the order's bonus.
    #[serde(default, skip_serializing_if = "Credits::is_zero")]
    pub bonus: Credits,
    /// The sequence of its event.
    pub posted: u64,
    /// The sequence of its reversal.
    pub reversed: Option<u64>,
}

/// How far an order got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum OrderStatus {
    /// Waiting for its payment.
    Pending,
    /// Ended unpaid; a late payment still credits.
    Closed {
        /// Why.
        reason: CloseReason,
        /// The sequence of that event.
        sequence: u64,
    },
    /// Paid and credited.
    Completed {
        /// The channel's transaction.
        provider_txn: Label,
        /// The sequence of that event.
        sequence: u64,
    },
}

/// A slice that a node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLease {
    /// The holder's run.
    pub epoch: EpochId,
    /// Who may spend it.
    pub scope: Scope,
    /// Its size.
    pub credits: Credits,
    /// The sequence of its grant.
    pub granted: u64,
}

/// What an idempotency key stood for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// What was asked.
    pub request: Request,
    /// The sequence of the event it led to.
    pub sequence: u64,
}

/// What a caller asked, without the ids and numbers that the gateway added: what two requests with the same
/// idempotency key must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Request {
    /// Pay this much there.
    TopUp {
        /// Where.
        channel: ChannelName,
        /// How much.
        pay: Money,
    },
    /// Give this much.
    Grant {
        /// Why it is given.
        source: GrantSource,
        /// How much.
        credits: Credits,
        /// What is said about it.
        reason: Option<Reason>,
    },
    /// Give this much of an order back.
    Refund {
        /// The order.
        order: OrderId,
        /// How much.
        pay: Money,
        /// Why.
        reason: Reason,
    },
    /// Correct by this much.
    Adjustment {
        /// The difference.
        credits: Credits,
        /// Why.
        reason: Reason,
    },
}

impl Account {
    /// What may be spent, leased or taken out now. Below zero only after a payment was taken back.
    ///
    /// The difference fits, for `decide` refuses what would not. A log that says otherwise shows as a debt, which blocks
    /// the account, never as credits or as nothing.
    pub fn available(&self) -> Credits {
        let leased: i128 = self.leases.values().map(|lease| i128::from(lease.credits.nano())).sum();
        let taken = i128::from(self.credits_out.nano()) + i128::from(self.spent_of_closed.nano()) + leased;
        let nano = i128::from(self.credits_in.nano()) - taken;
        Credits::from_nano(i64::try_from(nano).unwrap_or(i64::MIN))
    }

    /// What a key has used of its budget in a period: spent, or still out in leases. Of a period so old that it was
    /// forgotten: everything.
    pub fn budget_used(&self, key: KeyId, period: &Label) -> Credits {
        let spent = match self.budgets.get(&key) {
            None => Credits::ZERO,
            Some(periods) => match periods.get(period) {
                Some(spent) => *spent,
                None if is_forgotten(periods, period) => return Credits::from_nano(i64::MAX),
                None => Credits::ZERO,
            },
        };
        let leased =
            self.leases.values().filter(|lease| lease.scope.is_of(key, period)).map(|lease| lease.credits);
        Credits::checked_sum(leased.chain([spent])).unwrap_or(Credits::from_nano(i64::MAX))
    }

    /// Records what has happened. Never refuses: the decision was made when the event was appended.
    #[must_use]
    pub fn evolve(mut self, recorded: &Recorded<AccountEvent>) -> Self {
        self.apply(recorded);
        self
    }

    /// [`Account::evolve`] in place.
    pub fn apply(&mut self, recorded: &Recorded<AccountEvent>) {
        let sequence = recorded.sequence;
        self.version = recorded.version;
        if let (Some(key), Some(request)) = (&recorded.key, Request::of_event(&recorded.event)) {
            self.keys.insert(key.clone(), Keyed { request, sequence });
        }
        match &recorded.event {
            AccountEvent::TopUpInitiated(it) => {
                let order = Order {
                    channel: it.channel.clone(),
                    pay: it.pay,
                    credits: it.credits,
                    expires_at: it.expires_at,
                    initiated: sequence,
                    status: OrderStatus::Pending,
                    taken_minor: 0,
                    taken_credits: Credits::ZERO,
                    bonus: Credits::ZERO,
                    taken_bonus: Credits::ZERO,
                };
                self.orders.insert(it.order, order);
            }
            AccountEvent::TopUpCompleted(it) => {
                add(&mut self.credits_in, it.credits);
                if let Some(order) = self.orders.get_mut(&it.order) {
                    order.status = OrderStatus::Completed { provider_txn: it.provider_txn.clone(), sequence };
                }
            }
            AccountEvent::TopUpClosed(it) => {
                if let Some(order) = self.orders.get_mut(&it.order) {
                    order.status = OrderStatus::Closed { reason: it.reason, sequence };
                }
            }
            AccountEvent::CreditGranted(it) => {
                add(&mut self.credits_in, it.credits);
                self.grants.insert(it.grant, sequence);
                if let Some(order) = self.orders.get_mut(&it.grant.order_of_bonus()) {
                    order.bonus = it.credits;
                }
            }
            AccountEvent::AdjustmentPosted(it) => {
                if it.credits.is_negative() {
                    subtract(&mut self.credits_out, it.credits);
                } else {
                    add(&mut self.credits_in, it.credits);
                }
                self.adjustments.insert(it.adjustment, sequence);
            }
            AccountEvent::RefundRequested(it) => {
                add(&mut self.credits_out, it.credits);
                if let Some(order) = self.orders.get_mut(&it.order) {
                    order.take(it.pay, it.credits, it.bonus);
                }
                let refund = Refund {
                    order: it.order,
                    pay: it.pay,
                    credits: it.credits,
                    bonus: it.bonus,
                    requested: sequence,
                    approved: None,
                    status: RefundStatus::Requested,
                };
                self.refunds.insert(it.refund, refund);
            }
            AccountEvent::RefundApproved(it) => {
                if let Some(refund) = self.refunds.get_mut(&it.refund) {
                    (refund.approved, refund.status) = (Some(sequence), RefundStatus::Approved);
                }
            }
            AccountEvent::RefundCompleted(it) => {
                if let Some(refund) = self.refunds.get_mut(&it.refund) {
                    refund.status = RefundStatus::Completed { sequence };
                }
            }
            AccountEvent::RefundFailed(it) => {
                subtract(&mut self.credits_out, it.credits);
                if let Some(refund) = self.refunds.get_mut(&it.refund) {
                    refund.status = RefundStatus::Failed { sequence };
                    if let Some(order) = self.orders.get_mut(&it.order) {
                        order.put_back(refund.pay, it.credits, refund.bonus);
                    }
                }
            }
            AccountEvent::ChargebackPosted(it) => {
                add(&mut self.credits_out, it.credits);
                if let Some(order) = self.orders.get_mut(&it.order) {
                    order.take(it.pay, it.credits, it.bonus);
                }
                let chargeback = Chargeback {
                    order: it.order,
                    pay: it.pay,
                    credits: it.credits,
                    bonus: it.bonus,
                    posted: sequence,
                    reversed: None,
                };
                self.chargebacks.insert(it.chargeback, chargeback);
            }
            AccountEvent::ChargebackReversed(it) => {
                subtract(&mut self.credits_out, it.credits);
                if let Some(chargeback) = self.chargebacks.get_mut(&it.chargeback) {
                    chargeback.reversed = Some(sequence);
                    if let Some(order) = self.orders.get_mut(&it.order) {
                        order.put_back(it.pay, it.credits, it.bonus);
                    }
                }
            }
            AccountEvent::LeaseGranted(it) => {
                let lease = OpenLease {
                    epoch: it.epoch,
                    scope: it.scope.clone(),
                    credits: it.credits,
                    granted: sequence,
                };
                self.leases.insert(it.lease, lease);
            }
            AccountEvent::LeaseAmended(it) => {
                if let Some(lease) = self.leases.get_mut(&it.lease) {
                    lease.credits = it.credits;
                }
            }
            AccountEvent::LeaseClosed(it) => {
                if let Some(lease) = self.leases.remove(&it.lease) {
                    add(&mut self.spent_of_closed, it.spent);
                    self.count_budget(lease.scope, it.spent);
                }
                self.closed_leases.push_back((it.lease, sequence));
                if self.closed_leases.len() > CLOSED_LEASES_REMEMBERED {
                    self.closed_leases.pop_front();
                }
            }
        }
    }

    fn count_budget(&mut self, scope: Scope, spent: Credits) {
        let Scope::Key { key, period } = scope else { return };
        let periods = self.budgets.entry(key).or_default();
        let kind = period.as_str().len();
        add(periods.entry(period).or_default(), spent);
        while of_kind(periods, kind).count() > PERIODS_REMEMBERED {
            let Some(oldest) = of_kind(periods, kind).next().cloned() else { return };
            periods.remove(&oldest);
        }
    }
}

/// The periods of one kind, oldest first: those of a kind are written equally long, the later ones sorting after.
fn of_kind(periods: &BTreeMap<Label, Credits>, kind: usize) -> impl Iterator<Item = &Label> {
    periods.keys().filter(move |period| period.as_str().len() == kind)
}

/// Older than all that is remembered of its kind, where no more is?
fn is_forgotten(periods: &BTreeMap<Label, Credits>, period: &Label) -> bool {
    let kind = period.as_str().len();
    of_kind(periods, kind).count() >= PERIODS_REMEMBERED && of_kind(periods, kind).all(|known| period < known)
}

impl Scope {
    /// Is this the scope of that key's budget in that period?
    pub fn is_of(&self, of_key: KeyId, of_period: &Label) -> bool {
        match self {
            Self::Account => false,
            Self::Key { key, period } => *key == of_key && period == of_period,
        }
    }
}

impl Request {
    /// What the caller had asked that led to this event.
    fn of_event(event: &AccountEvent) -> Option<Self> {
        match event {
            AccountEvent::TopUpInitiated(it) => {
                Some(Self::TopUp { channel: it.channel.clone(), pay: it.pay })
            }
            AccountEvent::CreditGranted(it) => {
                Some(Self::Grant { source: it.source, credits: it.credits, reason: it.reason.clone() })
            }
            AccountEvent::AdjustmentPosted(it) => {
                Some(Self::Adjustment { credits: it.credits, reason: it.reason.clone() })
            }
            AccountEvent::RefundRequested(it) => {
                Some(Self::Refund { order: it.order, pay: it.pay, reason: it.reason.clone() })
            }
            AccountEvent::TopUpCompleted(_)
            | AccountEvent::TopUpClosed(_)
            | AccountEvent::RefundApproved(_)
            | AccountEvent::RefundCompleted(_)
            | AccountEvent::RefundFailed(_)
            | AccountEvent::ChargebackPosted(_)
            | AccountEvent::ChargebackReversed(_)
            | AccountEvent::LeaseGranted(_)
            | AccountEvent::LeaseAmended(_)
            | AccountEvent::LeaseClosed(_) => None,
        }
    }
}

/// Adds what `decide` has checked to fit.
fn add(sum: &mut Credits, credits: Credits) {
    *sum = sum.checked_add(credits).unwrap_or(*sum);
}

/// Subtracts what `decide` has checked to fit.
fn subtract(sum: &mut Credits, credits: Credits) {
    *sum = sum.checked_sub(credits).unwrap_or(*sum);
}
