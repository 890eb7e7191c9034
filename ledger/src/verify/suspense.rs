//! Payments in suspense, as the verifier follows them.
//!
//! Claims: a resolution is judged by [`domain::suspense`] itself; a claim that nobody was credited with is told of.

use super::decision::code_of;
use super::report::{Code, Findings, Note, NoteCode, Place};
use domain::event::{Resolution, SuspenseResolved};
use domain::suspense::Resolving;
use domain::{
    AccountEvent, AccountId, ChannelName, Label, Money, OrderId, Recorded, Suspense, SuspenseEvent,
};
use std::collections::{BTreeMap, HashMap};

/// What is known of them so far.
#[derive(Default)]
pub(super) struct Payments {
    pub(super) suspended: u64,
    pub(super) resolved: u64,
    channels: BTreeMap<ChannelName, Suspense>,
    /// What is still to be credited: whom, and with which payment.
    claims: HashMap<OrderId, Claim>,
}

#[derive(PartialEq, Eq)]
struct Claim {
    account: AccountId,
    channel: ChannelName,
    provider_txn: Label,
    paid: Money,
}

impl Payments {
    pub(super) fn take(
        &mut self,
        channel: &ChannelName,
        recorded: &Recorded<SuspenseEvent>,
        place: Place<'_>,
        findings: &mut Findings,
    ) {
        let Self { suspended, resolved, channels, claims } = self;
        let state = channels.entry(channel.clone()).or_default();
        match &recorded.event {
            SuspenseEvent::PaymentSuspended(_) => *suspended += 1,
            SuspenseEvent::SuspenseResolved(it) => {
                let (resolution, reason) = (it.resolution.clone(), it.reason.clone());
                match state.resolve(recorded.id, it.payment, resolution, reason) {
                    Ok(Resolving::Append(due)) if due == *it => {
                        *resolved += 1;
                        claims.extend(claim(channel, it));
                    }
                    Ok(Resolving::Append(_)) => {
                        let sentence = format!("it is not the payment that stands at {}", it.payment);
                        findings.add(place.finding(Code::SuspenseUnknown, sentence));
                    }
                    Ok(Resolving::AlreadyApplied { sequence }) => {
                        let sentence = format!("the same act stands at {sequence}");
                        findings.add(place.finding(Code::SuspenseResolved, sentence));
                    }
                    Err(refusal) => findings.add(place.finding(code_of(&refusal), refusal.to_string())),
                }
            }
        }
        state.evolve(recorded);
    }

    /// An account's event: perhaps the credit of a claim.
    pub(super) fn credited(&mut self, account: AccountId, event: &AccountEvent) {
        if let AccountEvent::TopUpCompleted(it) = event
            && let Some(claim) = self.claims.get(&it.order)
        {
            let credited = Claim {
                account,
                channel: it.channel.clone(),
                provider_txn: it.provider_txn.clone(),
                paid: it.paid,
            };
            if *claim == credited {
                self.claims.remove(&it.order);
            }
        }
    }

    /// What was claimed and not credited by the log's end.
    pub(super) fn unfinished(&self) -> Option<Note> {
        let number = self.claims.len();
        let code = NoteCode::ClaimsUnfinished;
        let sentence =
            format!("{number} payments were claimed out of suspense and are not credited by the log's end");
        (number > 0).then_some(Note { code, sentence })
    }
}

/// The credit that a resolution promises.
fn claim(channel: &ChannelName, it: &SuspenseResolved) -> Option<(OrderId, Claim)> {
    match &it.resolution {
        Resolution::Claimed { account, order } => {
            let (account, channel, provider_txn) = (*account, channel.clone(), it.provider_txn.clone());
            Some((*order, Claim { account, channel, provider_txn, paid: it.paid }))
        }
        Resolution::Returned { .. } | Resolution::Dismissed => None,
    }
}
