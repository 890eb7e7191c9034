//! Mails on their way, as an operator sees them: never their words, which may hold a token.

use crate::http::permission::{Permission, Routes};
use crate::{
    app::App,
    body::{Json, Page, Path, Query, page_before, page_limit},
    directory::mail::{Mail, MailState},
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::UsersRead, routes!(list))
        .guarded(Permission::SettingsWrite, routes!(retry))
}

/// Which mails.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichMails {
    /// Only those that have come this far.
    state: Option<MailState>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Mails, newest first. Those that are done with are kept for 30 days.
#[utoipa::path(operation_id = "list_mails", get, path = "/api/admin/mails", tag = "admin: mails", params(WhichMails),
    responses((status = 200, body = Page<Mail>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(which): Query<WhichMails>,
) -> Result<Json<Page<Mail>>, Problem> {
    let limit = page_limit(which.limit)?;
    let before = page_before(which.cursor.as_deref())?;
    let mails = app.directory.mails(which.state, before, limit + 1).await?;
    Ok(Json(Page::of(mails, limit, |mail| mail.id.to_string())))
}

/// Tries a mail at once that was given up, or that waits.
#[utoipa::path(operation_id = "retry_mail", post, path = "/api/admin/mails/{id}/retry", tag = "admin: mails", params(("id" = Uuid, Path)),
    responses((status = 200, body = Mail)))]
async fn retry(State(app): State<App>, admin: Admin, Path(id): Path<Uuid>) -> Result<Json<Mail>, Problem> {
    let mail = app.directory.retry_mail(id, admin.actor()).await?;
    app.post.wake();
    Ok(Json(mail))
}
