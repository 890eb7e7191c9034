//! Balances: what each account has, and its state as a snapshot for whoever decides.
//!
//! Owns: `account_balances`, `account_states`. Answers: the balance now; [`ledger::Snapshots`].
//! Claims: `available = in − out − leased − spent of closed leases`, as `decide` counts it; `total = in − out − used`;
//! an account's versions follow one another without a gap, or nothing goes on.

mod fold;
mod query;
mod state;

pub(crate) use fold::BalanceRows;
pub use query::{Balance, balance};
pub(crate) use state::{StateRows, is_older_snapshot};
