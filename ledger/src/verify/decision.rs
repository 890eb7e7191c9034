//! Decisions judged again: each event of an account is asked of the rules as the command that must have led to it, on the
//! account as it was.
//!
//! Budgets are not on the log, so a lease is judged without one.

use super::report::{Code, Findings, Place};
use domain::account::Amend;
use domain::account::state::RefundStatus;
use domain::{Account, AccountEvent, Command, Credits, Decision, Recorded, Refusal, decide};

/// Names what is not legal about a decision, and records it all the same: what is on the log has happened.
pub(super) fn judge(
    account: &mut Account,
    recorded: &Recorded<AccountEvent>,
    place: Place<'_>,
    findings: &mut Findings,
) {
    let mut found = |code, sentence| findings.add(place.finding(code, sentence));
    if let Some(used) = recorded.key.as_ref().and_then(|key| account.keys.get(key)) {
        let sentence = format!("its idempotency key was used before, by event {}", used.sequence);
        found(Code::KeyReused, sentence);
    }
    match decide(account, &command_of(account, &recorded.event), None) {
        Ok(Decision::Append(event)) if event == recorded.event => {}
        Ok(Decision::Append(event)) => {
            let sentence = match (&event, &recorded.event) {
                (AccountEvent::TopUpCompleted(due), AccountEvent::TopUpCompleted(it)) => {
                    format!("order {} buys {} credits, and {} came in", it.order, due.credits, it.credits)
                }
                (due, _) => format!("the rules would have made another event of it: {due:?}"),
            };
            found(Code::CreditsDiffer, sentence);
        }
        Ok(Decision::AlreadyApplied { sequence }) => {
            found(Code::DecisionRepeated, format!("event {sequence} has decided this already"));
        }
        Err(refusal) => found(code_of(&refusal), refusal.to_string()),
    }
    let before = account.available();
    account.apply(recorded);
    let after = account.available();
    // A payment that was taken back may leave a debt; nothing else may.
    let is_owed = matches!(recorded.event, AccountEvent::ChargebackPosted(_));
    if after.is_negative() && after < before && !is_owed {
        let sentence = format!("it leaves the account with {after} credits available");
        findings.add(place.finding(Code::AvailableNegative, sentence));
    }
}

/// The command that leads to this event and to no other.
fn command_of(account: &Account, event: &AccountEvent) -> Command {
    match event.clone() {
        AccountEvent::TopUpInitiated(it) => Command::InitiateTopUp {
            order: it.order,
            channel: it.channel,
            pay: it.pay,
            credits: it.credits,
            expires_at: it.expires_at,
        },
        AccountEvent::TopUpCompleted(it) => Command::CompleteTopUp {
            order: it.order,
            channel: it.channel,
            provider_txn: it.provider_txn,
            paid: it.paid,
        },
        AccountEvent::TopUpClosed(it) => Command::CloseTopUp { order: it.order, reason: it.reason },
        AccountEvent::CreditGranted(it) => Command::GrantCredit {
            grant: it.grant,
            source: it.source,
            credits: it.credits,
            reason: it.reason,
        },
        AccountEvent::AdjustmentPosted(it) => {
            Command::PostAdjustment { adjustment: it.adjustment, credits: it.credits, reason: it.reason }
        }
        AccountEvent::RefundRequested(it) => {
            Command::RequestRefund { refund: it.refund, order: it.order, pay: it.pay, reason: it.reason }
        }
        AccountEvent::RefundApproved(it) => Command::ApproveRefund { refund: it.refund },
        AccountEvent::RefundCompleted(it) => {
            Command::CompleteRefund { refund: it.refund, provider_refund: it.provider_refund }
        }
        // A rejection and a failure are the same fact; which command led to it, the state before says.
        AccountEvent::RefundFailed(it) => match account.refunds.get(&it.refund).map(|known| known.status) {
            Some(RefundStatus::Requested) => Command::RejectRefund { refund: it.refund, reason: it.reason },
            Some(RefundStatus::Approved | RefundStatus::Completed { .. } | RefundStatus::Failed { .. })
            | None => Command::FailRefund { refund: it.refund, reason: it.reason },
        },
        AccountEvent::ChargebackPosted(it) => Command::PostChargeback {
            chargeback: it.chargeback,
            order: it.order,
            pay: it.pay,
            reference: it.reference,
        },
        AccountEvent::ChargebackReversed(it) => Command::ReverseChargeback { chargeback: it.chargeback },
        // Exactly this much, no more and no less.
        AccountEvent::LeaseGranted(it) => Command::GrantLease {
            lease: it.lease,
            epoch: it.epoch,
            scope: it.scope,
            at_least: it.credits,
            wanted: it.credits,
            ttl_ms: it.ttl_ms,
            budget: None,
        },
        AccountEvent::LeaseAmended(it) => {
            let size = account.leases.get(&it.lease).map_or(Credits::ZERO, |open| open.credits);
            let amend = match it.credits.checked_sub(size) {
                Some(more) if !more.is_negative() => Amend::Extend { at_least: more, wanted: more },
                Some(_) | None => Amend::Shrink { to: it.credits },
            };
            Command::AmendLease { lease: it.lease, amend, ttl_ms: it.ttl_ms, budget: None }
        }
        AccountEvent::LeaseClosed(it) => {
            Command::CloseLease { lease: it.lease, spent: it.spent, count: it.count, by: it.by }
        }
    }
}

pub(super) fn code_of(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::InsufficientCredits { .. } | Refusal::BudgetSpent { .. } => Code::AboveAvailable,
        Refusal::UnknownOrder(_) => Code::OrderUnknown,
        Refusal::OrderExists(_) => Code::OrderRepeated,
        Refusal::WrongChannel { .. } | Refusal::WrongAmount { .. } => Code::PaymentDiffers,
        Refusal::PaidBefore { .. } | Refusal::OrderPaid(_) => Code::OrderPaid,
        Refusal::NotPositive { .. } | Refusal::ZeroAdjustment | Refusal::BadShrink { .. } => {
            Code::AmountInvalid
        }
        Refusal::OrderNotPaid(_) | Refusal::AboveOrder { .. } => Code::AboveOrder,
        Refusal::UnknownRefund(_)
        | Refusal::RefundExists(_)
        | Refusal::RefundNotApproved(_)
        | Refusal::RefundUnderWay(_)
        | Refusal::RefundOver(_)
        | Refusal::ChargebackExists(_)
        | Refusal::UnknownChargeback(_) => Code::RefundOutOfTurn,
        Refusal::Overflow => Code::Overflow,
        Refusal::UnknownLease(_) => Code::LeaseUnknown,
        Refusal::LeaseClosed(_) => Code::LeaseClosed,
        Refusal::LeaseOpen(_) => Code::LeaseOpen,
        Refusal::SpentAboveLease { .. } => Code::SpentAboveLease,
        Refusal::NotInSuspense { .. } => Code::SuspenseUnknown,
        Refusal::ResolvedBefore { .. } => Code::SuspenseResolved,
        Refusal::KeyReused => Code::KeyReused,
    }
}
