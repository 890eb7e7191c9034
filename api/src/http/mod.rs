//! The routes under `/api`, one room per subject.
//!
//! For: extract, call, wrap; views and bodies of the wire. May not touch: SQL, rules of money.
//! Claims: every route is registered with its description, so the OpenAPI document is whole by construction, and
//! with the permission it asks for ([`permission`]); every
//! answer carries `x-request-id` and the security headers; unknown paths and methods answer as problems too.

pub mod admin;
pub mod admin_money;
pub mod announcements;
pub mod balance;
pub mod billing;
pub mod callbacks;
pub mod confirm;
mod dashboard;
pub mod deletion;
pub mod dev_mailbox;
pub mod events;
pub mod exports;
pub mod keys;
pub mod limit;
pub mod login;
pub mod models;
pub mod oidc;
pub mod openapi;
mod pages;
pub mod passkeys;
pub mod password;
pub mod periods;
pub mod permission;
pub mod prices;
pub mod reading;
pub mod reconciliation;
pub mod redemption;
pub mod referral;
pub mod refunds;
pub mod registration;
pub mod second_factor;
pub mod settings;
pub mod site;
pub mod statements;
pub mod status;
pub mod topup;
pub mod usage;
pub mod user;
pub mod webhooks;

use crate::{
    app::App,
    body::BODY_LIMIT_BYTES,
    http::permission::Routes,
    metrics::{self, Tallies},
    problem::{Problem, REQUEST_ID},
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::any,
};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every described route, with who may call it.
fn described() -> Routes {
    Routes::with_document(openapi::frame())
        .merge(registration::routes())
        .merge(user::routes())
        .merge(login::routes())
        .merge(confirm::routes())
        .merge(second_factor::routes())
        .merge(passkeys::routes())
        .merge(password::routes())
        .merge(oidc::routes())
        .merge(settings::routes())
        .merge(webhooks::routes())
        .merge(deletion::routes())
        .merge(dev_mailbox::routes())
        .merge(keys::routes())
        .merge(models::routes())
        .merge(balance::routes())
        .merge(events::routes())
        .merge(topup::routes())
        .merge(refunds::routes())
        .merge(callbacks::routes())
        .merge(billing::routes())
        .merge(statements::routes())
        .merge(exports::routes())
        .merge(periods::routes())
        .merge(usage::routes())
        .merge(admin::routes())
        .merge(admin_money::routes())
        .merge(reconciliation::routes())
        .merge(redemption::routes())
        .merge(referral::routes())
        .merge(site::routes())
        .merge(announcements::routes())
        .merge(status::routes())
}

/// All of `/api`, ready to be merged with the relay's routes and the console's files.
pub fn router(app: App) -> Router {
    let (router, document) = described().into_parts(&app);
    let whole = router
        .merge(openapi::pages(openapi::finish(document)))
        .method_not_allowed_fallback(wrong_method)
        .route("/api", any(unknown_path))
        .route("/api/{*rest}", any(unknown_path))
        .with_state(app.clone());
    edge(whole, &app.tallies)
}

/// The two paths below `/v1` that tell a key's holder what is left; the relay serves the rest.
pub fn dashboard(app: App) -> Router {
    let tallies = app.tallies.clone();
    edge(dashboard::router(app), &tallies)
}

/// What surrounds every route of `/api`: from the inside out, the body limit, panics as problems, the request's id,
/// the count of what was answered.
fn edge(router: Router, tallies: &Arc<Tallies>) -> Router {
    router
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(request_id))
        .layer(middleware::from_fn_with_state(Arc::clone(tallies), metrics::counted))
        .layer(middleware::from_fn(security_headers))
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not allowed at {}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    // The panic itself went through the panic hook, with its place.
    tracing::error!(request = crate::problem::current_request_id(), "a handler panicked");
    let detail = "something went wrong here; it has been logged";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

/// Gives a request its id: in the answer's `x-request-id`, in problems and in the log. What the caller sent under that
/// name is ignored, so that an id names one request only.
pub async fn request_id(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let started = std::time::Instant::now();
    let mut response = REQUEST_ID.scope(id.clone(), next.run(request)).await;
    let (status, duration_ms) = (response.status().as_u16(), started.elapsed().as_millis());
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    tracing::debug!(request = id, %method, path, route, status, duration_ms, "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().entry(X_REQUEST_ID).or_insert(value);
    }
    response
}

/// The security headers of every answer of the gateway; a route that set its own keeps them.
pub async fn security_headers(request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api");
    let mut response = next.run(request).await;
    secure(&mut response, api);
    response
}

/// Gives an answer the security headers. `api`: it is one of `/api`, which nothing may keep.
pub fn secure(response: &mut Response, api: bool) {
    let mut set = |name: HeaderName, value: &'static str| {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "same-origin");
    if api {
        set(header::CACHE_CONTROL, "no-store");
    }
}

#[cfg(test)]
pub(crate) mod tests;
