//! The system tests: one binary, so that it links once. What they show is in the modules' heads.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on ends where it stands")]

mod accounts;
mod alerts;
mod archive;
mod bad_input;
mod chaos;
mod clients;
mod cluster;
mod concurrency;
mod deployment;
mod deployment_tls;
mod desk;
mod doors;
mod exports;
mod faults;
mod fuzz;
mod health;
mod import;
mod issuers;
mod lifecycle;
mod payments;
mod readme;
mod second_factor;
mod soak;
mod tables;
mod walk;
