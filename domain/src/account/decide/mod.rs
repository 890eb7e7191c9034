//! Decisions: may a command happen, and as which event?
//!
//! Claims: `decide` reads the account and nothing else, and changes nothing; a command yields at most one event; a
//! repeated command is recognised and yields none.

mod gift;
mod lease;
mod refund;
mod top_up;

use super::command::Command;
use super::error::Refusal;
use super::event::AccountEvent;
use super::state::{Account, Request};
use crate::{Credits, IdempotencyKey};

/// The answer to a command that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This happens now.
    Append(AccountEvent),
    /// It had happened: the event at this sequence is the answer.
    AlreadyApplied {
        /// Where that event stands.
        sequence: u64,
    },
}

/// The most credits an account may ever have taken in: a quarter of what an `i64` holds, so that no sum of an account's
/// own amounts can overflow.
pub const MOST_CREDITS_IN: Credits = Credits::from_nano(i64::MAX / 4);

/// Decides one command.
///
/// With a key seen before, the same request is "already applied" and another one is [`Refusal::KeyReused`].
pub fn decide(
    account: &Account,
    command: &Command,
    key: Option<&IdempotencyKey>,
) -> Result<Decision, Refusal> {
    if let Some(seen) = key.and_then(|key| account.keys.get(key)) {
        return match command.request() {
            Some(request) if request == seen.request => {
                Ok(Decision::AlreadyApplied { sequence: seen.sequence })
            }
            _ => Err(Refusal::KeyReused),
        };
    }
    match command {
        Command::InitiateTopUp { order, channel, pay, credits, expires_at } => {
            top_up::initiate(account, *order, channel, *pay, *credits, *expires_at)
        }
        Command::CompleteTopUp { order, channel, provider_txn, paid } => {
            top_up::complete(account, *order, channel, provider_txn, *paid)
        }
        Command::CloseTopUp { order, reason } => top_up::close(account, *order, *reason),
        Command::GrantCredit { grant, source, credits, reason } => {
            gift::grant(account, *grant, *source, *credits, reason.as_ref())
        }
        Command::PostAdjustment { adjustment, credits, reason } => {
            gift::adjust(account, *adjustment, *credits, reason)
        }
        Command::RequestRefund { refund, order, pay, reason } => {
            refund::request(account, *refund, *order, *pay, reason)
        }
        Command::ApproveRefund { refund } => refund::approve(account, *refund),
        Command::RejectRefund { refund, reason } => refund::reject(account, *refund, reason),
        Command::CompleteRefund { refund, provider_refund } => {
            refund::complete(account, *refund, provider_refund.as_ref())
        }
        Command::FailRefund { refund, reason } => refund::fail(account, *refund, reason),
        Command::PostChargeback { chargeback, order, pay, reference } => {
            refund::charge_back(account, *chargeback, *order, *pay, reference)
        }
        Command::ReverseChargeback { chargeback } => refund::reverse(account, *chargeback),
        Command::GrantLease { lease, epoch, scope, at_least, wanted, ttl_ms, budget } => {
            lease::grant(account, *lease, *epoch, scope, *at_least, *wanted, *ttl_ms, *budget)
        }
        Command::AmendLease { lease, amend, ttl_ms, budget } => {
            lease::amend(account, *lease, *amend, *ttl_ms, *budget)
        }
        Command::CloseLease { lease, spent, count, by } => lease::close(account, *lease, *spent, *count, *by),
    }
}

impl Command {
    /// What the caller asks, without the ids that the gateway added. `None`: this command takes no idempotency key.
    fn request(&self) -> Option<Request> {
        match self {
            Self::InitiateTopUp { channel, pay, .. } => {
                Some(Request::TopUp { channel: channel.clone(), pay: *pay })
            }
            Self::GrantCredit { source, credits, reason, .. } => {
                Some(Request::Grant { source: *source, credits: *credits, reason: reason.clone() })
            }
            Self::PostAdjustment { credits, reason, .. } => {
                Some(Request::Adjustment { credits: *credits, reason: reason.clone() })
            }
            Self::RequestRefund { order, pay, reason, .. } => {
                Some(Request::Refund { order: *order, pay: *pay, reason: reason.clone() })
            }
            Self::CompleteTopUp { .. }
            | Self::CloseTopUp { .. }
            | Self::ApproveRefund { .. }
            | Self::RejectRefund { .. }
            | Self::CompleteRefund { .. }
            | Self::FailRefund { .. }
            | Self::PostChargeback { .. }
            | Self::ReverseChargeback { .. }
            | Self::GrantLease { .. }
            | Self::AmendLease { .. }
            | Self::CloseLease { .. } => None,
        }
    }
}

/// Refuses credits that would take the account past [`MOST_CREDITS_IN`].
fn check_room(account: &Account, credits: Credits) -> Result<(), Refusal> {
    match account.credits_in.checked_add(credits) {
        Some(sum) if sum <= MOST_CREDITS_IN => Ok(()),
        _ => Err(Refusal::Overflow),
    }
}
