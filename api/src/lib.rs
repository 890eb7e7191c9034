//! The gateway's doors: HTTP for users, operators and payment callbacks, and the wiring of the `nexusroute` binary.
//!
//! For: routes ([`http`]), the plain tables of people, keys, providers and prices ([`directory`]), payment channels
//! ([`payments`]), logging in by other sites ([`issuers`]), what comes from other gateways ([`import`]), configuration ([`config`]), and starting it all ([`serve`], [`cli`]).
//! May not touch: the rules of money. A handler extracts, calls and wraps; amounts are decided in `domain`.
//! Claims: every JSON error is a problem that names the fault and carries the request's id; every route is in the
//! OpenAPI document; no secret leaves in an answer, a log line or an audit record, but once, when it is made.

pub mod alerts;
pub mod app;
pub mod approval;
pub mod body;
pub mod bulletin;
pub mod chores;
pub mod cli;
pub mod config;
mod console;
pub mod deletion;
pub mod directory;
pub mod exports;
pub mod health;
pub mod http;
pub mod import;
pub mod issuers;
pub mod live;
pub mod mail;
pub mod metrics;
pub mod payments;
pub mod price_catalogue;
pub mod problem;
pub mod reconciliation;
pub mod redemption;
pub mod referral;
pub mod roles;
pub mod secrets;
pub mod serve;
pub mod session;
pub mod traces;
pub mod usage_archive;
pub mod webhook;
