//! The dialogue: what callers and models say to each other, apart from how any protocol writes it.
//!
//! For: the middle of every conversion. A format reads its requests into a [`Prompt`] and writes one for a provider,
//! reads answers into a [`Reply`] or a stream into [`Piece`]s, and writes those for a caller; so `n` formats need `n`
//! readers and writers, not a conversion for each pair.
//! May not touch: JSON of any one protocol, sockets, prices. A call whose caller and provider speak the same format
//! never comes here: its bytes pass through.
//! Claims: what one format can say and another cannot is either refused by name or named in [`Written::dropped`],
//! never lost without a word; texts, arguments and schemas pass as they were written (key order, form of numbers).

pub mod prompt;
pub mod reply;

pub use prompt::{
    Choice, Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Sampling, Source, Tool, ToolUse,
    Turn,
};
pub use reply::{Answered, Finish, Piece, Reply};

use bytes::Bytes;

/// A request as a provider gets it.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its body.
    pub body: Bytes,
    /// The caller's fields that have no counterpart there, by the names the caller used, such as `logit_bias`. Each
    /// name once, in the order found. Their absence changes the answer a little, never what is asked; a field without
    /// which the call would mean something else is refused instead.
    pub dropped: Vec<String>,
}

/// Whom a request is written for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model's name there.
    pub upstream_model: &'a str,
    /// The cap on generated tokens where the caller set none.
    pub default_cap: u64,
    /// Does the provider want the cap as `max_completion_tokens`? Formats with one name for it ignore this.
    pub newer_cap: bool,
}

/// How an answer is written for its caller.
#[derive(Clone, Debug)]
pub struct Voice {
    /// The model, as the caller named it.
    pub model: String,
    /// An id for the answer: letters and digits, without a protocol's prefix.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Did the caller of a stream ask for counts at its end? Formats that always give them ignore this.
    pub wants_usage: bool,
}
