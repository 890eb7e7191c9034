//! My webhook: where notices are posted besides the mailbox, its secret, and what became of the calls.
//!
//! Claims: the secret is shown when it is made and never again; an address that leads inward is refused here already.

use super::limit::Rule;
use crate::{
    app::App,
    body::{Json, Page, PageQuery, Path, Query},
    directory::{
        address::check_webhook_url,
        webhook::{Delivery, Webhook},
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::Caller,
};
use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfRead, routes!(show))
        .confirmed(Permission::SelfUse, routes!(put))
        .guarded(Permission::SelfUse, routes!(delete))
        .confirmed(Permission::SelfUse, routes!(rotate_secret))
        .guarded(Permission::SelfUse, routes!(test))
        .guarded(Permission::SelfRead, routes!(deliveries))
        .guarded(Permission::SelfUse, routes!(retry))
}

/// Changes and calls that one user asks for: each is work for a name server or for somebody else's machine.
const ASKED_FOR: Rule = Rule { name: "webhook", max: 60, window_s: 3600 };

/// Where notices go.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutWebhook {
    /// An `https://` address that everybody can reach; at most 1000 bytes.
    url: String,
}

/// A webhook, with its secret where it was just made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SecretWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    /// What signs the calls. Shown when it is made, and null ever after.
    secret: Option<String>,
}

/// My webhook.
#[utoipa::path(operation_id = "get_webhook", get, path = "/api/user/webhook", tag = "webhook",
    responses((status = 200, body = Webhook)))]
async fn show(State(app): State<App>, caller: Caller) -> Result<Json<Webhook>, Problem> {
    app.directory.webhook(caller.user).await?.map(Json).ok_or_else(|| Problem::not_found("no such webhook"))
}

/// Sets where my notices are posted. The first time the answer holds the secret that signs them; another address keeps it.
///
/// The calls, their signature and how to check it are described in docs/webhooks.md.
#[utoipa::path(operation_id = "put_webhook", put, path = "/api/user/webhook", tag = "webhook", request_body = PutWebhook,
    responses((status = 200, description = "Set; a new secret is shown this once", body = SecretWebhook)))]
async fn put(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<PutWebhook>,
) -> Result<Json<SecretWebhook>, Problem> {
    app.limits.admit(ASKED_FOR, &caller.user.to_string()).await?;
    let url = check_webhook_url(&body.url, app.config.allow_private_webhooks)
        .await
        .map_err(|fault| Problem::invalid("url", fault))?;
    let (webhook, secret) = app.directory.put_webhook(caller.user, &url, caller.actor()).await?;
    Ok(Json(SecretWebhook { webhook, secret: secret.map(|it| it.expose().to_owned()) }))
}

/// Takes my webhook away. Calls that wait are given up.
#[utoipa::path(operation_id = "delete_webhook", delete, path = "/api/user/webhook", tag = "webhook",
    responses((status = 204, description = "Taken away")))]
async fn delete(State(app): State<App>, caller: Caller) -> Result<StatusCode, Problem> {
    app.directory.delete_webhook(caller.user, caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives my webhook a new secret. For a day calls are signed by both.
#[utoipa::path(operation_id = "rotate_webhook_secret", post, path = "/api/user/webhook/rotate-secret", tag = "webhook",
    responses((status = 200, description = "The webhook; its new secret is shown this once", body = SecretWebhook)))]
async fn rotate_secret(State(app): State<App>, caller: Caller) -> Result<Json<SecretWebhook>, Problem> {
    app.limits.admit(ASKED_FOR, &caller.user.to_string()).await?;
    let (webhook, secret) = app.directory.rotate_webhook_secret(caller.user, caller.actor()).await?;
    Ok(Json(SecretWebhook { webhook, secret: Some(secret.expose().to_owned()) }))
}

/// Sends my webhook a call of the type `test`. What became of it is among the deliveries.
#[utoipa::path(operation_id = "test_webhook", post, path = "/api/user/webhook/test", tag = "webhook",
    responses((status = 202, description = "Queued", body = Delivery)))]
async fn test(State(app): State<App>, caller: Caller) -> Result<(StatusCode, Json<Delivery>), Problem> {
    app.limits.admit(ASKED_FOR, &caller.user.to_string()).await?;
    let queued = app.directory.test_webhook(caller.user).await?;
    app.courier.wake();
    Ok((StatusCode::ACCEPTED, Json(queued)))
}

/// The calls of my webhook, newest first. Those that are done with are kept for 30 days.
#[utoipa::path(operation_id = "list_deliveries", get, path = "/api/user/webhook/deliveries", tag = "webhook", params(PageQuery),
    responses((status = 200, body = Page<Delivery>)))]
async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Delivery>>, Problem> {
    let limit = page.limit()?;
    let items = app.directory.deliveries(caller.user, page.before()?, limit + 1).await?;
    Ok(Json(Page::of(items, limit, |it| it.id.to_string())))
}

/// Makes one of the calls again, at once and under the same id: one that was given up, that waits, or that was delivered.
#[utoipa::path(operation_id = "retry_delivery", post, path = "/api/user/webhook/deliveries/{id}/retry", tag = "webhook",
    params(("id" = Uuid, Path)), responses((status = 200, body = Delivery)))]
async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<Delivery>, Problem> {
    app.limits.admit(ASKED_FOR, &caller.user.to_string()).await?;
    let delivery = app.directory.retry_delivery(caller.user, id).await?;
    app.courier.wake();
    Ok(Json(delivery))
}

#[cfg(test)]
mod tests;
