//! The harness of the system tests: the real binary, a real log, real clients, and a provider that can misbehave.
//!
//! For: starting and stopping what a test needs ([`gateway`], [`nats`], [`cluster`], [`databases`],
//! [`provider`], [`foreign`], [`smtp`], [`issuer`], [`channels`], [`old_gateways`]), calling it as a user
//! would ([`http`], [`people`]), judging the log without any code of the product ([`auditor`]), measuring the relay
//! beside a plain proxy ([`bench`]), and lending the payment channels to the console's tests ([`simulators`]).
//! May not touch: the product's insides. What it knows, it knows from the outside: HTTP, the command line, the log.
//! Claims: every process is stopped by the test that started it; ports and folders are its own, so tests run side by
//! side; waiting is for conditions, with a limit and a message.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on ends where it stands")]

pub mod auditor;
pub mod bench;
pub mod channels;
pub mod chaos;
pub mod cluster;
pub mod databases;
pub mod foreign;
pub mod gateway;
pub mod http;
pub mod issuer;
pub mod nats;
pub mod old_gateways;
pub mod people;
pub mod place;
pub mod process;
pub mod provider;
pub mod simulators;
pub mod smtp;
pub mod wait;
pub mod webhooks;

pub use cluster::NatsCluster;
pub use gateway::{Gateway, GatewayOptions};
pub use http::{Answer, Api, credits};
pub use nats::Nats;
pub use provider::{Behaviour, FakeProvider};
pub use wait::eventually;
