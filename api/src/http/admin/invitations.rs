//! Invitations: codes that let people register.

use crate::http::permission::{Permission, Routes};
use crate::{
    app::App,
    body::{Json, Page, PageQuery, Path, Query},
    directory::{invitation::Invitation, now},
    problem::Problem,
    session::Admin,
};
use axum::{extract::State, http::StatusCode};
use domain::Moment;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SettingsRead, routes!(list))
        .guarded(Permission::SettingsWrite, routes!(create))
        .guarded(Permission::SettingsWrite, routes!(revoke))
}

/// An invitation to be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// What it is for; up to 200 characters.
    note: Option<String>,
    /// How many it lets in: 1 to 100000, else 1.
    max_uses: Option<i64>,
    /// When it ends; absent: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
}

/// An invitation just made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Invited {
    /// The code, shown this once.
    code: String,
    #[serde(flatten)]
    invitation: Invitation,
}

/// Invitations, newest first.
#[utoipa::path(operation_id = "list_invitations", get, path = "/api/admin/invitations", tag = "admin: users", params(PageQuery),
    responses((status = 200, body = Page<Invitation>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Invitation>>, Problem> {
    let limit = query.limit()?;
    let items = app.directory.invitations(query.before()?, limit + 1).await?;
    Ok(Json(Page::of(items, limit, |it| it.id.to_string())))
}

/// Makes an invitation.
#[utoipa::path(operation_id = "create_invitation", post, path = "/api/admin/invitations", tag = "admin: users",
    request_body = NewInvitation, responses((status = 201, description = "The code is shown this once", body = Invited)))]
async fn create(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<NewInvitation>,
) -> Result<(StatusCode, Json<Invited>), Problem> {
    let note = body.note.unwrap_or_default();
    if note.chars().count() > 200 || note.chars().any(char::is_control) {
        return Err(Problem::invalid("note", "must be up to 200 characters without control characters"));
    }
    let max_uses = body.max_uses.unwrap_or(1);
    if !(1..=100_000).contains(&max_uses) {
        return Err(Problem::invalid("max_uses", "must be 1 to 100000"));
    }
    if body.expires_at.is_some_and(|at| at <= now()) {
        return Err(Problem::invalid("expires_at", "lies in the past"));
    }
    let (invitation, code) = app.directory.invite(note, max_uses, body.expires_at, admin.actor()).await?;
    Ok((StatusCode::CREATED, Json(Invited { code: code.expose().to_owned(), invitation })))
}

/// Takes an invitation back.
#[utoipa::path(operation_id = "revoke_invitation", delete, path = "/api/admin/invitations/{id}", tag = "admin: users", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Taken back; whoever has used it stays")))]
async fn revoke(State(app): State<App>, admin: Admin, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    app.directory.revoke_invitation(id, admin.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
