//! Health: is the process alive, and can it take money and calls right now?
//!
//! Claims: an answer comes within two seconds, whatever is away or silent, and names it. Those who probe (a balancer, Kubernetes, an
//! orchestrator's health check) give up after a few seconds, and would learn nothing from an answer that comes later.

use crate::roles::Roles;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ledger::{Durability, Log, Meter, MeterStatus};
use projections::{Database, ProjectorHandle, ProjectorStatus};
use serde::Serialize;
use std::fmt::Display;
use std::time::Duration;

/// So long each of what a process needs may take to answer; all are asked at once.
const ANSWER_LIMIT: Duration = Duration::from_millis(1_500);

/// What readiness is judged by.
#[derive(Clone)]
pub struct Health {
    /// What the process does.
    pub roles: Roles,
    /// The log.
    pub log: Log,
    /// The database.
    pub db: Database,
    /// The projections' engine, where it runs here.
    pub projector: Option<ProjectorHandle>,
    /// Metering, where calls are served here.
    pub meter: Option<Meter>,
}

/// The body of `/healthz`.
#[derive(Serialize)]
struct Alive {
    status: &'static str,
    roles: Roles,
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    roles: Roles,
    /// Why not, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    durability: Durability,
    /// The last position on the log; absent when it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_position: Option<u64>,
    projections: Tables,
    /// Absent where no calls are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    meter: Option<MeterStatus>,
}

/// How far the tables are.
#[derive(Serialize)]
#[serde(untagged)]
enum Tables {
    /// As the engine in this process tells.
    Here(ProjectorStatus),
    /// As the checkpoint in the database tells: others move it.
    Elsewhere { applied: Option<u64>, lag: Option<u64> },
}

/// `/healthz` and `/readyz`.
pub fn routes(health: Health) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(health)
}

async fn healthz(State(health): State<Health>) -> Json<Alive> {
    Json(Alive { status: "ok", roles: health.roles })
}

/// Judges what this process's roles need: the log and the database, and the engine where it runs here. Tables that other
/// processes move on are theirs to answer for: their lag is shown, and no reason to take this process out of service.
async fn readyz(State(health): State<Health>) -> Response {
    let (log, applied) = tokio::join!(
        within_limit("the log", health.log.identity()),
        within_limit("the database", projections::position(&health.db)),
    );
    let mut faults: Vec<String> =
        [log.as_ref().err(), applied.as_ref().err()].into_iter().flatten().cloned().collect();
    let log_position = log.ok().map(|identity| identity.last_sequence);
    let projections = match &health.projector {
        Some(projector) => {
            let status = projector.status();
            if let Some(reason) = &status.halted {
                faults.push(format!("projections have halted: {reason}"));
            }
            Tables::Here(status)
        }
        None => {
            let applied = applied.ok();
            let lag = log_position.zip(applied).map(|(end, applied)| end.saturating_sub(applied));
            Tables::Elsewhere { applied, lag }
        }
    };
    if let Some(fault) = health.meter.as_ref().and_then(Meter::fault) {
        faults.push(format!("no calls are admitted: {fault}"));
    }
    let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Readiness {
        ready: faults.is_empty(),
        roles: health.roles,
        faults,
        durability: health.log.durability(),
        log_position,
        projections,
        meter: health.meter.as_ref().map(Meter::status),
    };
    (status, Json(body)).into_response()
}

/// What something answers in time; else what is away, in words. One that is stopped rather than gone (a frozen machine, a lost
/// network) refuses nothing: its connections stay open and silent, and a pool waits for far longer than anybody who probes.
async fn within_limit<T, E: Display>(
    what: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_LIMIT, answer).await {
        Ok(answer) => answer.map_err(|error| format!("{what} does not answer: {error}")),
        Err(_) => Err(format!("{what} does not answer within {} ms", ANSWER_LIMIT.as_millis())),
    }
}
