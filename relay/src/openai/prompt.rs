//! A chat request and the hub's [`Prompt`](crate::dialogue::Prompt), both ways.
//!
//! For: callers of Chat Completions whose model's provider speaks another format ([`read`]), and providers of Chat
//! Completions that are asked on behalf of callers of another ([`write`]).
//! May not touch: answers.
//! Claims: a field is read, or named as not read, or refused; a field of a wrong shape is refused by its path.
//!
//! Chat Completions has no field for some of what a dialogue needs. What is read and written instead:
//! - Thoughts: `reasoning_content` of an assistant's message (`reasoning` is read too).
//! - Their proofs: `thinking_blocks` of an assistant's message, a list of
//!   `{"type":"thinking","thinking","signature"}` and `{"type":"redacted_thinking","data"}`, complete and in order; each
//!   has an `index` in answers, which clients that add up deltas want of lists. A message that has them is not asked for
//!   its `reasoning_content`, which says the same. A caller keeps a thinking tool loop going by sending a message back
//!   as it got it. (`reasoning_details` with `{"type":"reasoning.text","text","signature"}` is read too.)
//! - Gemini's proof of a call: `extra_content.google.thought_signature` of the tool call, as Google's own
//!   OpenAI-compatible API has it.
//! - Claude's marks for its cache: `cache_control` of a content part, a tool's message or a tool.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::read;
pub(crate) use read::{file_source, is_required, json_object, thought_signature, word_of_tool_use};
pub use write::write;
pub(crate) use write::{ExtraContent, ThinkingBlock, ToolCall};
