//! Rate limits of groups, models and providers. Those of keys stand with the keys.

use crate::{
    app::App,
    body::Json,
    directory::rate_limit::{LimitKind, RateLimit},
    http::keys::checked_rate,
    http::permission::{Permission, Routes},
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use relay::limits::Limit;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::CatalogueRead, routes!(list))
        .guarded(Permission::CatalogueWrite, routes!(put))
}

/// What a limit is of.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limited {
    /// A group of users: all of them together.
    Group,
    /// A model, whoever calls it.
    Model,
    /// A provider: beyond its limit the next provider is asked.
    Provider,
}

/// A limit and whose it is.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitView {
    /// What it is of.
    kind: Limited,
    /// The name of a group or model, the id of a provider.
    subject: String,
    /// Requests per minute; null: no limit.
    rpm: Option<u64>,
    /// Tokens per minute, input and output together; null: no limit.
    tpm: Option<u64>,
    /// Calls at once; null: no limit.
    concurrency: Option<u64>,
}

/// All limits of groups, models and providers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RateLimits {
    /// By kind and subject.
    items: Vec<RateLimitView>,
}

/// All limits of groups, models and providers.
#[utoipa::path(operation_id = "list_rate_limits", get, path = "/api/admin/rate-limits", tag = "admin: limits",
    responses((status = 200, body = RateLimits)))]
async fn list(State(app): State<App>, _: Admin) -> Result<Json<RateLimits>, Problem> {
    let view = |rate: RateLimit| {
        let kind = match rate.kind {
            LimitKind::Group => Limited::Group,
            LimitKind::Model => Limited::Model,
            LimitKind::Provider => Limited::Provider,
            LimitKind::Key => return None,
        };
        let Limit { requests_per_minute: rpm, tokens_per_minute: tpm, concurrency } = rate.limit;
        Some(RateLimitView { kind, subject: rate.subject, rpm, tpm, concurrency })
    };
    Ok(Json(RateLimits { items: app.directory.rate_limits().await?.into_iter().filter_map(view).collect() }))
}

/// States a limit anew; calls see it at once. Without any number there is no limit any more.
#[utoipa::path(operation_id = "put_rate_limit", put, path = "/api/admin/rate-limits", tag = "admin: limits",
    request_body = RateLimitView, responses((status = 200, body = RateLimitView)))]
async fn put(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<RateLimitView>,
) -> Result<Json<RateLimitView>, Problem> {
    let (kind, is_known) = match body.kind {
        Limited::Group => {
            (LimitKind::Group, app.directory.groups().await?.iter().any(|it| it.name == body.subject))
        }
        Limited::Model => {
            (LimitKind::Model, app.directory.models().await?.iter().any(|it| it.name == body.subject))
        }
        Limited::Provider => {
            let providers = app.directory.providers().await?;
            (LimitKind::Provider, providers.iter().any(|it| it.id.to_string() == body.subject))
        }
    };
    if !is_known {
        return Err(Problem::invalid("subject", format!("there is no {kind} {:?}", body.subject)));
    }
    let limit = Limit {
        requests_per_minute: checked_rate("rpm", body.rpm)?,
        tokens_per_minute: checked_rate("tpm", body.tpm)?,
        concurrency: checked_rate("concurrency", body.concurrency)?,
    };
    let rate = RateLimit { kind, subject: body.subject.clone(), limit };
    app.directory.put_rate_limit(&rate, admin.actor()).await?;
    Ok(Json(body))
}
