//! Health: is the process alive, and can it take money and calls right now?

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
    /// The log.
    pub log: Log,
    /// The projections.
    pub projector: ProjectorHandle,
    /// Metering.
    pub meter: Meter,
    /// The database.
    pub db: Database,
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    /// Why not, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    durability: Durability,
    /// The last position on the log; absent when it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_position: Option<u64>,
    projections: ProjectorStatus,
    meter: MeterStatus,
}

/// `/healthz` and `/readyz`.
pub fn routes(health: Health) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(readyz)).with_state(health)
}

async fn readyz(State(health): State<Health>) -> Response {
    let mut faults = Vec::new();
    let log_position = match health.log.identity().await {
        Ok(identity) => Some(identity.last_sequence),
        Err(error) => {
            faults.push(error.to_string());
            None
        }
    };
    if let Err(error) = health.db.fetch_one("SELECT 1 AS one", &[]).await {
        faults.push(format!("the database does not answer: {error}"));
    }
    let projections = health.projector.status();
    if let Some(reason) = &projections.halted {
        faults.push(format!("projections have halted: {reason}"));
    }
    let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = Readiness {
        ready: faults.is_empty(),
        faults,
        durability: health.log.durability(),
        log_position,
        projections,
        meter: health.meter.status(),
    };
    (status, Json(body)).into_response()
}
