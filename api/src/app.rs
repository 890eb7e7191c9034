//! What every handler can reach.

use crate::{
    config::Config,
    directory::{Directory, password::Passwords},
    exports::Clerk,
    http::{events::Streams, limit::Limits, status},
    issuers::Issuers,
    live::Live,
    mail::Post,
    metrics::Tallies,
    payments::Channels,
    webhook::Courier,
};
use arc_swap::ArcSwap;
use ledger::{Audit, Inbox, Ledger};
use projections::{Database, Follower};
use relay::Catalogue;
use std::{ops::Deref, sync::Arc};

/// The parts of a running gateway, as the state of every handler. Cloning it clones one pointer.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub struct Parts {
    /// Decides and appends.
    pub ledger: Ledger,
    /// Raw payment callbacks.
    pub inbox: Inbox,
    /// Admin and security acts. Handlers record theirs through [`Directory`], which cannot lose one.
    pub audit: Audit,
    /// The tables: projections for reading, plain ones behind [`Directory`].
    pub db: Database,
    /// How far the projections are; `?after=` waits on it.
    pub follower: Follower,
    /// People, keys, providers, models, prices.
    pub directory: Directory,
    /// Ways to pay.
    pub channels: Channels,
    /// What the operator configured.
    pub config: Arc<Config>,
    /// That, with what operators have changed since; ask it for whatever can be changed while the gateway runs.
    pub live: Live,
    /// The snapshot that the relay reads; the directory swaps it.
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// How well providers are, as the calls of this process found them; `None`: it carries none.
    pub provider_health: Option<Arc<relay::health::Health>>,
    /// Hashes and checks passwords, a few at a time.
    pub passwords: Passwords,
    /// Failed logins, registrations and requests for mail, by login and by address.
    pub limits: Limits,
    /// Whoever listens to what changes on an account.
    pub streams: Streams,
    /// Other sites by which people log in.
    pub issuers: Issuers,
    /// Sends what stands in the queue of mails.
    pub post: Post,
    /// Makes the calls that stand in the queue of webhooks.
    pub courier: Courier,
    /// Makes the exports that stand in the queue.
    pub clerk: Clerk,
    /// What was last answered about how well the models are.
    pub status: status::Kept,
    /// What is counted for the metrics.
    pub tallies: Arc<Tallies>,
}

impl App {
    /// Wraps the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
