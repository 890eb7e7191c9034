//! The format of OpenAI's Responses, as callers and providers speak it.
//!
//! For: the few fields of a request that money and routing depend on ([`request`]), answers and streams read for
//! metering ([`answer`]), counts ([`usage`]), errors both ways ([`error`]); and where caller and provider differ in
//! format, requests, answers and streams to and from the hub ([`prompt`], [`reply`], [`stream`]).
//! May not touch: sockets, holds, catalogues; answers that a provider keeps (`previous_response_id`, conversations,
//! background answers): only the provider that has them can go on with them, so such a call is never converted.
//! Claims: as in [`crate::openai`].

pub mod answer;
pub mod error;
pub mod prompt;
pub mod reply;
pub mod request;
pub mod stream;
pub mod usage;
