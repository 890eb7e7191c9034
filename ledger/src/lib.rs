//! The log: every decision, report and callback as an append-only event on NATS JetStream.
//!
//! For: streams and their guards ([`log`]), event JSON and its versions ([`codec`]), deciding and appending about one
//! account ([`account`]), leases and metering on a relay node ([`meter`]), raw payment callbacks ([`inbox`]), admin acts
//! ([`audit`]), judging the whole log ([`verify`]), keeping it elsewhere and bringing it back ([`archive`]), and the
//! supervised local server ([`server`]).
//! May not touch: SQL, HTTP, provider formats.
//! Claims: an acknowledged event is on the log exactly once; a subject has one un-acknowledged append at a time; no
//! balance is ever stored here, only what happened.

pub mod account;
mod ambient;
pub mod archive;
pub mod audit;
pub mod codec;
pub mod crash;
pub mod error;
pub mod fees;
pub mod inbox;
pub mod log;
pub mod meter;
pub mod outbox;
pub mod projected;
pub mod server;
#[cfg(test)]
mod simulation;
pub mod subject;
pub mod suspense;
#[cfg(test)]
mod testing;
pub mod verify;

pub use account::{Ledger, NoSnapshots, Receipt, Snapshot, Snapshots};
pub use audit::{Act, ActFilter, ActPage, Audit, StoredAct};
pub use error::LedgerError;
pub use inbox::{Inbox, RawCallback, StoredCallback};
pub use log::{
    Appended, Durability, Extent, Hash, Log, LogOptions, Logged, RawMessage, Scan, Stream, StreamIdentity,
    Tail,
};
pub use meter::{Hold, HoldError, HoldRequest, Meter, MeterOptions, MeterStatus, Settled};
pub use projected::{Projected, StaleLease, StaleLeases};
pub use server::{LocalServer, LocalServerOptions};
pub use subject::Subject;
pub use verify::Verifier;
