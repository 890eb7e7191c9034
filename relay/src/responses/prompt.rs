//! A request of Responses and the hub's [`Prompt`](crate::dialogue::Prompt), both ways.
//!
//! For: callers of Responses whose model's provider speaks another format ([`read`]), and providers of Responses that
//! are asked on behalf of callers of another ([`write`]).
//! May not touch: answers.
//! Claims: a field is read, or named as not read, or refused; a field of a wrong shape is refused by its path; what only
//! the provider has that keeps it (earlier answers, conversations, prompts, items by reference) is refused.
//!
//! Where a thought's proof is: `encrypted_content` of a `reasoning` item. Of a thought that only its provider can read,
//! it is that thought after the word `redacted:`. Gemini's proof of a call is `extra_content.google.thought_signature`
//! of the `function_call` item. A caller that sends items back as it got them keeps a thinking tool loop going.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::read;
pub use write::write;
pub(crate) use write::{CallItem, ReasoningItem};

/// What stands before a thought that only its provider can read.
pub(crate) const REDACTED: &str = "redacted:";
