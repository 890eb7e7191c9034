//! The format of OpenAI's Chat Completions, as callers and providers speak it.
//!
//! For: reading the few fields of a request that money depends on and writing the few that must change
//! ([`request`], of the older completions [`completion`]), reading answers and stream chunks ([`answer`]), counts
//! ([`usage`]), errors both ways ([`error`]), the model list ([`models`]); and where caller and provider differ in
//! format, requests, answers and streams of chat to and from the hub ([`prompt`], [`reply`], [`stream`]).
//! May not touch: sockets, holds, catalogues.
//! Claims: bytes that nobody needs to change pass through unchanged; an unknown field, finish reason or usage key is
//! never an error.

pub mod answer;
pub mod completion;
mod cut;
pub mod error;
pub(crate) mod fields;
mod include_usage;
pub(crate) mod message;
pub mod models;
pub(crate) mod parts;
pub(crate) mod plain;
pub(crate) mod plain_answer;
pub mod prompt;
pub mod reply;
pub mod request;
pub mod stream;
pub(crate) mod upload;
pub mod usage;
