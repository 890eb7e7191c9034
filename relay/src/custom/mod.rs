//! Providers that speak none of the protocols exactly: an operator says in a [`Template`] what differs.
//!
//! For: the template and what is wrong with one ([`template`]); requests as the vendor wants them (`sending`); the
//! vendor's answers, refusals and streams, made into those of the protocol that it is nearest to (`answer`, `stream`),
//! so that metering and every conversion go on from there as for any provider; its counts (`usage`).
//! May not touch: sockets, holds, who is called.
//! Claims: a template cannot change the host that is called, nor any header that belongs to the connection; an unknown
//! key of it is refused; its counts reach the bill in the classes that it names, whatever the protocol's own usage
//! could say; what no rule names passes byte for byte.

pub(crate) mod answer;
mod edit;
mod fill;
mod pointer;
mod sending;
pub(crate) mod stream;
pub mod template;
mod usage;

#[cfg(test)]
mod tests;

pub use pointer::Pointer;
pub use template::Template;
