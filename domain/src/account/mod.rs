//! The account: a wallet as the fold of its own events.
//!
//! For: what an account is ([`state`]), what may be asked of it ([`command`]), whether it may happen ([`decide`]),
//! and what then has happened ([`event`]).
//! May not touch: clocks, randomness, I/O; and no usage record: what is spent inside a lease never changes what is
//! available, so this fold reads the account's own subject and nothing else.
//! Claims: `available = credits in − credits out − Σ open leases − Σ spent of closed leases`, and no accepted command
//! takes it below zero but a chargeback; a repeated command changes nothing.

pub mod command;
pub mod decide;
pub mod error;
pub mod event;
pub mod state;
#[cfg(test)]
mod tests;

pub use command::{Amend, Budget, Command};
pub use decide::{Decision, decide};
pub use error::Refusal;
pub use event::AccountEvent;
pub use state::Account;
