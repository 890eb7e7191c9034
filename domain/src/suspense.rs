//! Suspense: verified payments that no order takes, and what became of each.
//!
//! For: which payments of a channel wait ([`Suspense`], a fold of its subject), and whether one may be resolved.
//! May not touch: accounts. A claimed payment is credited by the account's own events; this only says whose it is.
//! Claims: a payment is resolved once; the same act again is already applied; a resolution has the amount of the payment.

use crate::account::error::Refusal;
use crate::event::{PaymentSuspended, Resolution, SuspenseEvent, SuspenseResolved};
use crate::{Actor, EventId, Label, Moment, Money, Reason, Recorded};
use std::collections::BTreeMap;

/// The payments that were put in suspense at one channel, by where they stand on the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspense {
    held: BTreeMap<u64, Held>,
}

/// A payment in suspense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The payment.
    pub payment: PaymentSuspended,
    /// Since when it is there.
    pub since: Moment,
    /// What became of it; `None`: it waits.
    pub resolved: Option<Resolved>,
}

/// What became of a payment in suspense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Where it stands on the log.
    pub sequence: u64,
    /// The act: the event's own id.
    pub act: EventId,
    /// When.
    pub at: Moment,
    /// Who.
    pub by: Actor,
    /// What.
    pub event: SuspenseResolved,
}

/// An answer to somebody who resolves a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolving {
    /// This is to be appended.
    Append(SuspenseResolved),
    /// This act stands on the log already.
    AlreadyApplied {
        /// Where.
        sequence: u64,
    },
}

impl Suspense {
    /// The state after an event. Never refuses: what is on the log has happened.
    pub fn evolve(&mut self, recorded: &Recorded<SuspenseEvent>) {
        match &recorded.event {
            SuspenseEvent::PaymentSuspended(payment) => {
                let held = Held { payment: payment.clone(), since: recorded.at, resolved: None };
                self.held.insert(recorded.sequence, held);
            }
            SuspenseEvent::SuspenseResolved(event) => {
                if let Some(held) = self.held.get_mut(&event.payment)
                    && held.resolved.is_none()
                {
                    held.resolved = Some(Resolved {
                        sequence: recorded.sequence,
                        act: recorded.id,
                        at: recorded.at,
                        by: recorded.actor.clone(),
                        event: event.clone(),
                    });
                }
            }
        }
    }

    /// The payment at that place of the log.
    pub fn get(&self, sequence: u64) -> Option<&Held> {
        self.held.get(&sequence)
    }

    /// The payments with where they stand on the log, the oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (u64, &Held)> {
        self.held.iter().map(|(sequence, held)| (*sequence, held))
    }

    /// The same payment, if it was put here before: another sum under the same transaction is another payment.
    pub fn same(&self, payment: &PaymentSuspended) -> Option<(u64, &Held)> {
        self.find(&payment.order, &payment.provider_txn, payment.paid)
    }

    /// The payment of that order's number, transaction and sum.
    pub fn find(&self, order: &Label, provider_txn: &Label, paid: Money) -> Option<(u64, &Held)> {
        self.all().find(|(_, Held { payment, .. })| {
            payment.provider_txn == *provider_txn && payment.order == *order && payment.paid == paid
        })
    }

    /// May this act resolve that payment so?
    ///
    /// Errors: [`Refusal::NotInSuspense`], and [`Refusal::ResolvedBefore`] by another act.
    pub fn resolve(
        &self,
        act: EventId,
        payment: u64,
        resolution: Resolution,
        reason: Reason,
    ) -> Result<Resolving, Refusal> {
        let held = self.get(payment).ok_or(Refusal::NotInSuspense { payment })?;
        match &held.resolved {
            Some(it) if it.act == act && it.event.resolution == resolution => {
                Ok(Resolving::AlreadyApplied { sequence: it.sequence })
            }
            Some(it) => Err(Refusal::ResolvedBefore { by: it.sequence }),
            None => Ok(Resolving::Append(SuspenseResolved {
                payment,
                provider_txn: held.payment.provider_txn.clone(),
                paid: held.payment.paid,
                resolution,
                reason,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ActorKind, ReturnedBy};
    use crate::{AccountId, OrderId};
    use uuid::Uuid;

    fn recorded(sequence: u64, event: SuspenseEvent) -> Recorded<SuspenseEvent> {
        Recorded {
            sequence,
            id: EventId::from_uuid(Uuid::from_u128(sequence.into())),
            version: sequence,
            at: Moment::from_micros(0),
            actor: Actor { kind: ActorKind::Admin, id: Label::try_new("ann").unwrap() },
            key: None,
            event,
        }
    }

    fn payment(txn: &str, minor: i64) -> PaymentSuspended {
        PaymentSuspended {
            order: Label::try_new("nobody's").unwrap(),
            provider_txn: Label::try_new(txn).unwrap(),
            paid: Money { currency: "CNY".to_owned().try_into().unwrap(), minor },
            reason: "no such order".parse().unwrap(),
            inbox: 7,
        }
    }

    fn claimed(n: u128) -> Resolution {
        let account = AccountId::from_uuid(Uuid::from_u128(n));
        Resolution::Claimed { account, order: OrderId::from_uuid(Uuid::from_u128(n)) }
    }

    #[test]
    fn a_payment_is_resolved_once_and_the_same_act_again_is_that_once() {
        let (act, other) = (EventId::from_uuid(Uuid::from_u128(9)), EventId::from_uuid(Uuid::from_u128(10)));
        let why = || "they sent a receipt".parse::<Reason>().unwrap();
        let mut state = Suspense::default();
        assert_eq!(state.resolve(act, 3, claimed(1), why()), Err(Refusal::NotInSuspense { payment: 3 }));
        state.evolve(&recorded(3, SuspenseEvent::PaymentSuspended(payment("t", 500))));
        let Ok(Resolving::Append(event)) = state.resolve(act, 3, claimed(1), why()) else { panic!() };
        assert_eq!((event.paid, event.provider_txn.as_str()), (payment("t", 500).paid, "t"));
        state.evolve(&recorded(9, SuspenseEvent::SuspenseResolved(event)));
        let again = state.resolve(act, 3, claimed(1), why());
        assert_eq!(again, Ok(Resolving::AlreadyApplied { sequence: 9 }));
        let returned = Resolution::Returned { by: ReturnedBy::Hand, reference: None };
        for (act, resolution) in [(other, claimed(1)), (other, returned), (act, claimed(2))] {
            let answer = state.resolve(act, 3, resolution, why());
            assert_eq!(answer, Err(Refusal::ResolvedBefore { by: 9 }));
        }
        // What is on the log twice for all that does not change what was first.
        let second = state.clone();
        let Some(held) = second.get(3) else { panic!() };
        let mut event = held.resolved.as_ref().unwrap().event.clone();
        event.resolution = claimed(2);
        state.evolve(&recorded(11, SuspenseEvent::SuspenseResolved(event)));
        assert_eq!(state, second);
    }

    #[test]
    fn another_sum_or_order_under_the_same_transaction_is_another_payment() {
        let mut state = Suspense::default();
        state.evolve(&recorded(3, SuspenseEvent::PaymentSuspended(payment("t", 500))));
        assert_eq!(state.same(&payment("t", 500)).map(|(sequence, _)| sequence), Some(3));
        assert_eq!(state.same(&payment("t", 501)), None);
        assert_eq!(state.same(&payment("u", 500)), None);
        assert_eq!(
            state.same(&PaymentSuspended { order: Label::try_new("x").unwrap(), ..payment("t", 500) }),
            None
        );
    }
}
