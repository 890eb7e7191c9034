//! The relay: what a caller's model call goes through.
//!
//! For: API keys ([`key`]), what may be called and by whom ([`catalogue`], [`caller`]), how much of it ([`limits`]), the
//! calls themselves (`call`), the formats that callers and providers speak ([`openai`], [`sse`]), what a call may cost
//! and did cost ([`estimate`], [`pricing`]), and the HTTP face of it all ([`Relay`]).
//! May not touch: SQL, NATS. It sees a meter ([`metering`]) and plain snapshots of keys and routes.
//! Claims: no provider is called without a confirmed hold; a call that reached a provider is settled exactly once,
//! whatever its client does, and before the last byte of the answer is handed over; no provider's key, rate limit
//! or 401 reaches a caller.

mod asked;
mod body;
mod call;
pub mod caller;
pub mod catalogue;
pub mod claude;
mod clock;
mod count;
pub mod custom;
pub mod dialogue;
pub mod endpoint;
pub mod error;
pub mod estimate;
pub mod figures;
pub mod gemini;
pub mod health;
mod http;
pub mod key;
pub mod limits;
pub mod metering;
pub mod openai;
pub mod options;
pub mod pricing;
pub mod responses;
pub mod seen;
mod service;
pub mod sse;
mod unpriced;
mod wire;
pub mod zone;

pub use catalogue::{
    BudgetPeriod, Catalogue, KeyBudget, KeyGrant, KeyStatus, LastUse, Model, Priced, ProviderFormat,
    ProviderKey, Route, Secret,
};
pub use error::CallError;
pub use http::{NoClient, ProviderClient};
pub use metering::{Holding, Metering};
pub use options::{RelayOptions, provider_client};
pub use service::Relay;
pub use wire::outgoing::{is_openai, models_request};
