//! The balance of the caller's account.
//!
//! For: `GET /api/user/balance`. Claims: the numbers and the position belong together.

use crate::app::App;
use crate::body::{Json, Query};
use crate::http::reading::reached;
use crate::problem::Problem;
use crate::session::Caller;
use axum::extract::State;
use domain::Moment;
use projections::balances;
use serde::{Deserialize, Serialize};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this room.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_balance))
}

/// What is asked of a balance.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BalanceQuery {
    /// Wait until everything up to this position (`X-Ledger-Position` of a write) is in the answer.
    after: Option<u64>,
    /// The balance at a past moment. Not supported yet.
    at: Option<String>,
}

/// What an account has. Amounts are decimal strings of credits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BalanceView {
    /// What may be spent by new calls, or taken out.
    #[schema(example = "6.944444444")]
    available: String,
    /// What calls under way, or about to come, hold.
    #[schema(example = "0")]
    reserved: String,
    /// `available + reserved`: all that came in, less all that went out and was used so far.
    #[schema(example = "6.944444444")]
    total: String,
    /// What the amounts count.
    #[schema(example = "credit")]
    unit: &'static str,
    /// When this was read.
    #[schema(value_type = String, format = DateTime)]
    as_of: Moment,
    /// Every event of the log up to this one is in these numbers.
    position: u64,
}

/// The caller's balance.
#[utoipa::path(
    get,
    path = "/api/user/balance",
    tag = "balance",
    params(BalanceQuery),
    responses(
        (status = 200, body = BalanceView),
    )
)]
async fn get_balance(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<BalanceQuery>,
) -> Result<Json<BalanceView>, Problem> {
    if query.at.is_some() {
        return Err(Problem::unsupported("at: balances at a past moment are not supported yet"));
    }
    reached(&app, query.after).await?;
    let balance = balances::balance(&app.db, caller.user).await?;
    Ok(Json(BalanceView {
        available: balance.available.to_string(),
        reserved: balance.reserved.to_string(),
        total: balance.total.to_string(),
        unit: "credit",
        as_of: crate::directory::now(),
        position: balance.position,
    }))
}
