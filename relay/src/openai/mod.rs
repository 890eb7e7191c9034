//! The format of OpenAI's Chat Completions, as callers and providers speak it.
//!
//! For: reading the few fields of a request that money depends on and writing the few that must change
//! ([`request`]), reading answers and stream chunks ([`answer`]), counts ([`usage`]), errors both ways ([`error`]),
//! the model list ([`models`]).
//! May not touch: sockets, holds, catalogues.
//! Claims: bytes that nobody needs to change pass through unchanged; an unknown field, finish reason or usage key is
//! never an error.

pub mod answer;
pub mod completion;
pub mod error;
mod include_usage;
pub mod models;
pub(crate) mod plain;
pub(crate) mod plain_answer;
pub mod prompt;
pub mod reply;
pub mod request;
pub mod stream;
pub(crate) mod upload;
pub mod usage;
