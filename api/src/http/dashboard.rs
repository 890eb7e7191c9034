//! The balance as tools for OpenAI's API ask for it: `/v1/dashboard/billing/{subscription,usage}`, with an API key.
//!
//! For: chat applications that show what is left. A credit is shown as a dollar.
//! May not touch: sessions. Whoever has the key sees these two sums of its account, and nothing else.
//! Claims: `hard_limit_usd` less `total_usage ÷ 100` of all time is the balance's total.

use crate::{app::App, problem::Problem};
use axum::{
    Json, Router,
    extract::{ConnectInfo, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::NaiveDate;
use domain::{AccountId, Credits, Moment};
use projections::billing::{self, BillingBy};
use relay::{CallError, caller};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::net::SocketAddr;

/// The routes of this room.
pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/dashboard/billing/subscription", get(subscription))
        .route("/v1/dashboard/billing/usage", get(usage))
        .route_layer(middleware::from_fn_with_state(app.clone(), only_with_a_key))
        .with_state(app)
}

/// The account that a request's key spends from.
#[derive(Clone, Copy)]
struct Payer(AccountId);

async fn only_with_a_key(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let address = caller::address(peer, request.headers(), &app.config.trusted_proxies);
    let catalogue = app.catalogue.load_full();
    let now = crate::directory::now();
    match caller::authenticate(&catalogue, request.headers(), request.uri().query(), address, now) {
        Ok(grant) => {
            request.extensions_mut().insert(Payer(grant.account));
            next.run(request).await
        }
        Err(error) => relay::openai::error::response(&error),
    }
}

/// What is known of the wallet, in the shape of OpenAI's subscription.
#[derive(Serialize)]
struct Subscription {
    object: &'static str,
    has_payment_method: bool,
    /// All credits that ever came in, less what went out other than by use.
    soft_limit_usd: Box<RawValue>,
    hard_limit_usd: Box<RawValue>,
    system_hard_limit_usd: Box<RawValue>,
    /// Seconds since 1970; 0: without end.
    access_until: i64,
}

/// What was used, in the shape of OpenAI's usage.
#[derive(Serialize)]
struct Used {
    object: &'static str,
    /// In hundredths of a credit.
    total_usage: Box<RawValue>,
}

#[derive(Deserialize)]
struct Days {
    start_date: Option<NaiveDate>,
    /// Itself not counted.
    end_date: Option<NaiveDate>,
}

async fn subscription(
    State(app): State<App>,
    axum::Extension(Payer(account)): axum::Extension<Payer>,
) -> Result<Json<Subscription>, Fault> {
    let balance = projections::balances::balance(&app.db, account).await.map_err(Problem::from)?;
    let used = consumed(&app, account, None, None).await?;
    let limit = balance.total.checked_add(used).ok_or(Fault)?;
    let limit = number(limit.to_string())?;
    Ok(Json(Subscription {
        object: "billing_subscription",
        has_payment_method: true,
        soft_limit_usd: limit.clone(),
        hard_limit_usd: limit.clone(),
        system_hard_limit_usd: limit,
        access_until: 0,
    }))
}

async fn usage(
    State(app): State<App>,
    axum::Extension(Payer(account)): axum::Extension<Payer>,
    Query(days): Query<Days>,
) -> Result<Json<Used>, Fault> {
    let start = |day: NaiveDate| Moment::from(day.and_time(chrono::NaiveTime::MIN).and_utc());
    let used = consumed(&app, account, days.start_date.map(start), days.end_date.map(start)).await?;
    let hundredths = rust_decimal::Decimal::new(used.nano(), 7).normalize();
    Ok(Json(Used { object: "list", total_usage: number(hundredths.to_string())? }))
}

async fn consumed(
    app: &App,
    account: AccountId,
    from: Option<Moment>,
    to: Option<Moment>,
) -> Result<Credits, Fault> {
    let stats = billing::stats(&app.db, account, from, to, BillingBy::Day).await.map_err(Problem::from)?;
    Credits::checked_sum(stats.iter().map(|stat| stat.consumed)).ok_or(Fault)
}

/// A decimal as a JSON number, digit by digit: these tools know no decimal strings.
fn number(decimal: String) -> Result<Box<RawValue>, Fault> {
    RawValue::from_string(decimal).map_err(|_| Fault)
}

/// Something failed here; what, is in the log.
struct Fault;

impl From<Problem> for Fault {
    fn from(_: Problem) -> Self {
        Self
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        relay::openai::error::response(&CallError::Internal)
    }
}
