//! Facts: what a batch of messages says, sorted out once for all rooms.
//!
//! Claims: a usage record that was seen before, by lease and n, is not among the facts, so no room can count it twice;
//! order is the log's.

use chrono::FixedOffset;
use domain::event::UsageReported;
use domain::{
    AccountEvent, AccountId, ChannelEvent, Credits, Event, KeyId, Label, LeaseId, Moment, NodeEvent,
    Recorded, Split, SuspenseEvent, UsageRecord,
};
use ledger::Logged;

/// All that a batch says.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Decisions about accounts.
    pub(crate) decisions: Vec<Decision<'a>>,
    /// Usage records, each seen for the first time.
    pub(crate) usage: Vec<CountedUsage<'a>>,
    /// Payments that were put in suspense, and what became of them.
    pub(crate) suspended: Vec<&'a Recorded<Event>>,
    /// Usage that was counted as paid, and was not when its lease was closed.
    pub(crate) taken_back: Vec<TakenBack>,
    /// What leases took from accounts and gave back.
    pub(crate) lease_moves: Vec<LeaseMove>,
    /// The zone of billing days.
    pub(crate) zone: FixedOffset,
}

/// A decision about an account, with its place on the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision<'a> {
    pub(crate) account: AccountId,
    pub(crate) event: &'a AccountEvent,
    pub(crate) recorded: &'a Recorded<Event>,
    pub(crate) logged: &'a Logged,
}

/// A usage record, and who bears its charge.
#[derive(Clone, Debug)]
pub(crate) struct CountedUsage<'a> {
    pub(crate) record: &'a UsageRecord,
    /// Where its report stands.
    pub(crate) sequence: u64,
    /// When it was reported, by the node's clock.
    pub(crate) reported_at: Moment,
    /// What the account pays.
    pub(crate) paid: Credits,
    /// What the operator loses.
    pub(crate) uncovered: Credits,
    /// It came after its lease had been closed without it (or for a lease that the log does not know): all of it is
    /// the operator's loss.
    pub(crate) late: bool,
}

/// What must be known of a record to take back that it was paid.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct AtRisk {
    /// When the call was made.
    pub(crate) at: Moment,
    pub(crate) key: KeyId,
    pub(crate) model: Label,
    pub(crate) provider: Label,
    /// What the account was counted to pay.
    pub(crate) paid: Credits,
}

/// A record that a sweeper's close leaves out although it was counted: the operator bears it after all.
#[derive(Clone, Debug)]
pub(crate) struct TakenBack {
    pub(crate) account: AccountId,
    pub(crate) lease: LeaseId,
    pub(crate) n: u64,
    /// Of the close.
    pub(crate) sequence: u64,
    pub(crate) record: AtRisk,
}

/// A change of what an account's leases hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseMove {
    pub(crate) account: AccountId,
    /// Added to open leases (below zero: taken back).
    pub(crate) leased: Credits,
    /// Added to what closed leases have spent.
    pub(crate) spent_closed: Credits,
    pub(crate) sequence: u64,
}

/// A message, by what the rooms do with it.
pub(crate) enum Said<'a> {
    /// A decision about one account.
    Decided(Decision<'a>),
    /// Usage, of many accounts.
    Reported(&'a UsageReported),
    /// A payment in suspense, its end, or a channel's fee: only the journal shows it. Whoever resolves a payment reads its own
    /// subject of the log.
    Suspended(&'a Recorded<Event>),
    /// Nothing that these tables show: the end of a node's run.
    Nothing,
}

/// What a message says. Every event by name: a new one must find its place here before this compiles.
pub(crate) fn said(logged: &Logged) -> Said<'_> {
    let recorded = &logged.recorded;
    match &recorded.event {
        Event::Account(account, event) => {
            Said::Decided(Decision { account: *account, event, recorded, logged })
        }
        Event::Node(_, NodeEvent::UsageReported(report)) => Said::Reported(report),
        Event::Node(_, NodeEvent::NodeSealed(_)) => Said::Nothing,
        Event::Suspense(_, SuspenseEvent::PaymentSuspended(_) | SuspenseEvent::SuspenseResolved(_)) => {
            Said::Suspended(recorded)
        }
        Event::Channel(_, ChannelEvent::ChannelFeePosted(_)) => Said::Suspended(recorded),
    }
}

impl CountedUsage<'_> {
    /// Who bears the charge.
    pub(crate) fn split(&self) -> Split {
        Split { paid: self.paid, uncovered: self.uncovered }
    }
}

impl Decision<'_> {
    pub(crate) fn sequence(&self) -> u64 {
        self.recorded.sequence
    }

    pub(crate) fn at(&self) -> Moment {
        self.recorded.at
    }
}
