//! Streams, converted: a provider's events into the dialogue's pieces, and pieces into events for a caller of this
//! format.

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;
pub(super) use writer::length;

#[cfg(test)]
mod tests;
