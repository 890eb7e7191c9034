//! Requests, converted: a caller's into the dialogue, and the dialogue's into one for a provider of this format.

mod ids;
mod model;
mod read;
mod shape;
mod thought;
mod tools;
mod turns;
mod write;

pub use read::read;
pub use write::write;

#[cfg(test)]
mod tests;
