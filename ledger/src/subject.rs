//! Subjects: where an event stands on the log.

use domain::{AccountId, ChannelName, EpochId};

/// A subject of the LEDGER stream. One per account and per node run: bounded by users and restarts, never one per lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// `ledger.account.<account>`: decisions about one account.
    Account(AccountId),
    /// `ledger.node.<epoch>`: what one run of one relay node reported.
    Node(EpochId),
    /// `ledger.suspense.<channel>`: payments that match no order.
    Suspense(ChannelName),
    /// `ledger.channel.<channel>`: what a channel did as a whole.
    Channel(ChannelName),
}

impl Subject {
    /// Reads a subject as NATS writes it; `None` for a foreign one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        match (parts.next()?, parts.next()?, parts.next()?, parts.next()) {
            ("ledger", "account", id, None) => id.parse().ok().map(Self::Account),
            ("ledger", "node", id, None) => id.parse().ok().map(Self::Node),
            ("ledger", "suspense", name, None) => name.parse().ok().map(Self::Suspense),
            ("ledger", "channel", name, None) => name.parse().ok().map(Self::Channel),
            _ => None,
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Account(id) => write!(f, "ledger.account.{id}"),
            Self::Node(id) => write!(f, "ledger.node.{id}"),
            Self::Suspense(channel) => write!(f, "ledger.suspense.{channel}"),
            Self::Channel(channel) => write!(f, "ledger.channel.{channel}"),
        }
    }
}
