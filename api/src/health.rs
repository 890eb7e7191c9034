//! Health: is the process alive, and can it take money and calls right now?

use crate::roles::Roles;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ledger::{Durability, Log, Meter, MeterStatus};
use projections::{Database, ProjectorHandle, ProjectorStatus};
use serde::Serialize;

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
    let mut faults = Vec::new();
    let log_position = match health.log.identity().await {
        Ok(identity) => Some(identity.last_sequence),
        Err(error) => {
            faults.push(error.to_string());
            None
        }
    };
    let applied = projections::position(&health.db).await;
    if let Err(error) = &applied {
        faults.push(format!("the database does not answer: {error}"));
    }
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
