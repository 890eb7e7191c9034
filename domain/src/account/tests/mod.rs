//! What an account does, as given/when/then: a row per refusal and per boundary.
//!
//! The events given stand at sequences 10, 20, 30, …, so that a sequence can never be taken for a version.

mod gift;
mod lease;
mod refund;
mod repeat;
mod top_up;

use super::event::{
    AccountEvent, AdjustmentPosted, CloseReason, Closer, CreditGranted, GrantSource, LeaseAmended,
    LeaseClosed, LeaseGranted, Scope, TopUpClosed, TopUpCompleted, TopUpInitiated,
};
use super::{Account, Amend, Budget, Command, Decision, Refusal, decide};
use crate::samples::{channel, credits, key, label, lease_id, money, nano, reason, uuid};
use crate::{
    Actor, ActorKind, AdjustmentId, Credits, EpochId, EventId, GrantId, IdempotencyKey, KeyId, Moment,
    OrderId, Recorded,
};

pub(super) fn given(events: impl IntoIterator<Item = AccountEvent>) -> Given {
    events.into_iter().fold(Given::default(), Given::and)
}

#[derive(Default)]
pub(super) struct Given {
    account: Account,
}

impl Given {
    pub(super) fn and(self, event: AccountEvent) -> Self {
        self.record(event, None)
    }

    pub(super) fn and_keyed(self, with: &str, event: AccountEvent) -> Self {
        self.record(event, Some(key(with)))
    }

    fn record(self, event: AccountEvent, key: Option<IdempotencyKey>) -> Self {
        let version = self.account.version + 1;
        let recorded = Recorded {
            sequence: version * 10,
            id: EventId::from_uuid(uuid::Uuid::from_u128(version.into())),
            version,
            at: Moment::from_micros(0),
            actor: Actor { kind: ActorKind::System, id: label("test") },
            key,
            event,
        };
        Self { account: self.account.evolve(&recorded) }
    }

    pub(super) fn when(self, command: Command) -> Answer {
        self.decided(&command, None)
    }

    pub(super) fn when_keyed(self, with: &str, command: Command) -> Answer {
        self.decided(&command, Some(key(with)))
    }

    fn decided(self, command: &Command, key: Option<IdempotencyKey>) -> Answer {
        let decision = decide(&self.account, command, key.as_ref());
        Answer { given: self, decision, key }
    }

    pub(super) fn has_available(self, amount: &str) -> Self {
        assert_eq!(self.account.available(), credits(amount), "what is available");
        self
    }
}

pub(super) struct Answer {
    given: Given,
    decision: Result<Decision, Refusal>,
    key: Option<IdempotencyKey>,
}

impl Answer {
    /// Exactly this event happens; what follows is the account after it.
    #[track_caller]
    pub(super) fn then(self, event: AccountEvent) -> Given {
        assert_eq!(self.decision, Ok(Decision::Append(event.clone())));
        self.given.record(event, self.key)
    }

    #[track_caller]
    pub(super) fn refused(self, refusal: Refusal) {
        assert_eq!(self.decision, Err(refusal));
    }

    /// The `nth` of the given events (counted from 1) is the answer.
    #[track_caller]
    pub(super) fn already_applied(self, nth: u64) {
        assert_eq!(self.decision, Ok(Decision::AlreadyApplied { sequence: nth * 10 }));
    }
}

// Events and commands in few words. Orders cost 50.00 CNY at the sandbox and buy what is said.

pub(super) fn order_id(name: &str) -> OrderId {
    OrderId::from_uuid(uuid(name))
}

pub(super) fn grant_id(name: &str) -> GrantId {
    GrantId::from_uuid(uuid(name))
}

pub(super) fn key_id(name: &str) -> KeyId {
    KeyId::from_uuid(uuid(name))
}

fn epoch(name: &str) -> EpochId {
    EpochId::from_uuid(uuid(name))
}

pub(super) fn initiated(order: &str, buys: &str) -> AccountEvent {
    AccountEvent::TopUpInitiated(TopUpInitiated {
        order: order_id(order),
        channel: channel("sandbox"),
        pay: money("50.00 CNY"),
        credits: credits(buys),
        expires_at: Moment::from_micros(7),
    })
}

pub(super) fn completed(order: &str, txn: &str, buys: &str) -> AccountEvent {
    AccountEvent::TopUpCompleted(TopUpCompleted {
        order: order_id(order),
        channel: channel("sandbox"),
        provider_txn: label(txn),
        paid: money("50.00 CNY"),
        credits: credits(buys),
    })
}

pub(super) fn closed_order(order: &str, reason: CloseReason) -> AccountEvent {
    AccountEvent::TopUpClosed(TopUpClosed { order: order_id(order), reason })
}

pub(super) fn initiate(order: &str, pay: &str, buys: Credits) -> Command {
    Command::InitiateTopUp {
        order: order_id(order),
        channel: channel("sandbox"),
        pay: money(pay),
        credits: buys,
        expires_at: Moment::from_micros(7),
    }
}

pub(super) fn complete(order: &str, txn: &str, paid: &str) -> Command {
    let (order, provider_txn) = (order_id(order), label(txn));
    Command::CompleteTopUp { order, channel: channel("sandbox"), provider_txn, paid: money(paid) }
}

pub(super) fn close_order(order: &str, reason: CloseReason) -> Command {
    Command::CloseTopUp { order: order_id(order), reason }
}

/// A gift named `gift`: the shortest way to credits.
pub(super) fn gifted(amount: &str) -> AccountEvent {
    gifted_as("gift", credits(amount))
}

pub(super) fn gifted_as(name: &str, credits: Credits) -> AccountEvent {
    let grant = grant_id(name);
    AccountEvent::CreditGranted(CreditGranted { grant, source: GrantSource::Admin, credits, reason: None })
}

pub(super) fn give(name: &str, credits: Credits) -> Command {
    Command::GrantCredit { grant: grant_id(name), source: GrantSource::Admin, credits, reason: None }
}

pub(super) fn adjusted(name: &str, amount: &str) -> AccountEvent {
    let adjustment = AdjustmentId::from_uuid(uuid(name));
    AccountEvent::AdjustmentPosted(AdjustmentPosted {
        adjustment,
        credits: credits(amount),
        reason: reason("a slip"),
    })
}

pub(super) fn adjust(name: &str, credits: Credits) -> Command {
    Command::PostAdjustment {
        adjustment: AdjustmentId::from_uuid(uuid(name)),
        credits,
        reason: reason("a slip"),
    }
}

/// The scope of the one key of these tests, in a period.
pub(super) fn of_key(period: &str) -> Scope {
    Scope::Key { key: key_id("key"), period: label(period) }
}

pub(super) fn leased(lease: &str, by: &str, amount: Credits) -> AccountEvent {
    leased_to(Scope::Account, lease, by, amount)
}

pub(super) fn leased_to(scope: Scope, lease: &str, by: &str, credits: Credits) -> AccountEvent {
    let (lease, epoch) = (lease_id(lease), epoch(by));
    AccountEvent::LeaseGranted(LeaseGranted { lease, epoch, scope, credits, ttl_ms: 60_000 })
}

pub(super) fn amended(lease: &str, credits: Credits) -> AccountEvent {
    AccountEvent::LeaseAmended(LeaseAmended { lease: lease_id(lease), credits, ttl_ms: 60_000 })
}

pub(super) fn closed(lease: &str, spent: Credits, count: u64) -> AccountEvent {
    AccountEvent::LeaseClosed(LeaseClosed { lease: lease_id(lease), spent, count, by: Closer::Holder })
}

/// Asks for a lease of the whole account.
pub(super) fn lease(lease: &str, by: &str, at_least: Credits, wanted: Credits) -> Command {
    Command::GrantLease {
        lease: lease_id(lease),
        epoch: epoch(by),
        scope: Scope::Account,
        at_least,
        wanted,
        ttl_ms: 60_000,
        budget: None,
    }
}

/// Asks for a lease of the key, whose budget has that limit.
pub(super) fn lease_of_key(name: &str, period: &str, amount: Credits, limit: Credits) -> Command {
    Command::GrantLease {
        lease: lease_id(name),
        epoch: epoch(name),
        scope: of_key(period),
        at_least: amount,
        wanted: amount,
        ttl_ms: 60_000,
        budget: Some(Budget { limit }),
    }
}

pub(super) fn extend(lease: &str, at_least: Credits, wanted: Credits) -> Command {
    let amend = Amend::Extend { at_least, wanted };
    Command::AmendLease { lease: lease_id(lease), amend, ttl_ms: 60_000, budget: None }
}

pub(super) fn extend_of_key(lease: &str, amount: Credits, limit: Credits) -> Command {
    let amend = Amend::Extend { at_least: amount, wanted: amount };
    Command::AmendLease { lease: lease_id(lease), amend, ttl_ms: 60_000, budget: Some(Budget { limit }) }
}

pub(super) fn shrink(lease: &str, to: Credits) -> Command {
    Command::AmendLease { lease: lease_id(lease), amend: Amend::Shrink { to }, ttl_ms: 60_000, budget: None }
}

pub(super) fn close(lease: &str, spent: Credits, count: u64) -> Command {
    Command::CloseLease { lease: lease_id(lease), spent, count, by: Closer::Holder }
}
