//! Projections: SQL tables made of events, and what is read from them.
//!
//! For: the database ([`Database`]), the engine that applies the log to it ([`engine`]), and a room per projection with
//! its tables and its queries ([`balances`], [`billing`], [`top_ups`], [`refunds`], [`usage`], [`leases`], [`journal`]).
//! May not touch: deciding anything; HTTP; providers.
//! Claims: every message of the log is applied exactly once and in order, all rooms together with the checkpoint in one
//! transaction; the same log gives the same tables, however it is cut into batches; a log that was cut, replaced or is
//! not understood stops the engine instead of being skipped.

mod background;
pub mod balances;
pub mod billing;
mod calendar;
mod checkpoint;
mod checksum;
mod compare;
pub mod database;
pub mod engine;
mod error;
pub mod exports;
mod facts;
mod follower;
pub mod journal;
pub mod leases;
mod page;
pub mod periods;
mod rebuild;
pub mod refunds;
pub mod statement;
mod status;
pub mod top_ups;
pub mod usage;

#[cfg(test)]
mod testing;

pub use checkpoint::{Checkpoint, position};
pub use checksum::{Checksums, TableChecksum, checksum};
pub use compare::{Difference, DifferenceKind, TableComparison, TableReport, VerifyOptions, verify_tables};
pub use database::{Database, DatabaseError, Dialect, Row, Set, Tx, Value};
pub use engine::{Projector, ProjectorHandle, ProjectorOptions, ProjectorStatus};
pub use error::{Halt, ProjectionError};
pub use follower::{Follower, Onlooker};
pub use page::{Cursor, CursorError, Page, Paging};
pub use rebuild::{RebuildError, RebuildOptions, RebuildOutcome, RebuildReport, rebuild};
pub use status::{Status, TableStatus, status};
