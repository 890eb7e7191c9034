//! The format of Anthropic's Messages, as callers and providers speak it.
//!
//! For: the same pieces as every format has. Passing through: the few fields of a request that money depends on
//! ([`request`]), what answers and streams come to ([`answer`], [`usage`]), errors both ways ([`error`]), the model
//! list ([`models`]). Converting: requests ([`prompt`]), whole answers ([`reply`]) and streams ([`stream`]) read into
//! the [`crate::dialogue`] and written from it.
//! May not touch: sockets, holds, catalogues.
//! Claims: bytes that nobody needs to change pass through unchanged; an unknown field, block, event or stop reason of a
//! provider is never an error; the output count that opens a stream is a placeholder and never counts.

pub mod answer;
pub mod error;
pub mod models;
pub mod prompt;
pub mod reply;
pub mod request;
pub mod stream;
pub mod usage;
mod wire;

/// Headers of a caller that a provider of this format must see: they choose the shape of requests and answers, so a
/// call that passes through without them would mean something else.
pub const FORWARDED: [&str; 2] = ["anthropic-version", "anthropic-beta"];

/// The `anthropic-version` that a provider is sent where the caller named none.
pub const VERSION: &str = "2023-06-01";

/// Those of a caller's headers that a provider of this format gets as they are.
pub(crate) fn forwarded(headers: &axum::http::HeaderMap) -> axum::http::HeaderMap {
    FORWARDED
        .iter()
        .filter_map(|name| {
            let name = axum::http::HeaderName::from_static(name);
            headers.get(&name).map(|value| (name, value.clone()))
        })
        .collect()
}
