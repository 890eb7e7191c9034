//! The format of Google's Gemini API, as callers and providers speak it.
//!
//! For: reading where a call goes ([`path`]), the few fields of a request that money depends on and writing the few
//! that must change ([`request`]), reading answers and stream events for metering ([`answer`], [`usage`]), errors both
//! ways ([`error`]), conversion to and from the dialogue ([`prompt`], [`reply`], [`stream`]), streams as a JSON array
//! ([`framing`]), embeddings ([`embeddings`]), counting ([`counting`]), the model list ([`models`]).
//! May not touch: sockets, holds, catalogues.
//! Claims: bytes that nobody needs to change pass through unchanged; an unknown field, finish reason or usage key is
//! never a provider's fault; callers may write every name in `camelCase` and in `snake_case`, as protocol buffers allow.

pub mod answer;
pub mod counting;
pub mod embeddings;
pub mod error;
pub mod framing;
pub mod models;
mod object;
pub mod path;
pub mod prompt;
pub mod reply;
pub mod request;
mod schema;
pub mod stream;
pub mod usage;
mod wire;
