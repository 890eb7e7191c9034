//! A streamed answer of Responses and the hub's [`Piece`](crate::dialogue::Piece)s, both ways.
//!
//! For: providers of Responses that stream to callers of another format ([`Reader`]), and callers of Responses that get
//! a stream of a provider of another ([`Writer`]).
//! Claims: what each type states.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::Reader;
pub use write::Writer;
