//! Reconciliation (对账): a channel's own bill against our orders and our ledger, day by day.
//!
//! For: reading bills ([`bill`]), comparing one day of a channel three ways ([`matching`], a pure function), and the run that
//! collects, compares and keeps what was found ([`run`]).
//! May not touch: balances. What a difference asks for is done elsewhere, by a recorded act; here it is only found and signed off.
//! Claims: a bill whose rows do not add up to what the bill itself says is refused whole; a bill's rows are never changed; the same
//! file is one import however often it comes; a day without a difference is recorded too.

pub mod bill;
pub mod export;
pub mod matching;
pub mod run;
