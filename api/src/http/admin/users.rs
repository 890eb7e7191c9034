//! Users, as an operator sees them.

use crate::{
    app::App,
    body::{Json, Page, Path, Query, page_before, page_limit},
    directory::{
        DirectoryError, Status,
        user::{Role, User, UserChange, UserFilter},
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use domain::AccountId;
use serde::Deserialize;
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::UsersRead, routes!(list))
        .guarded(Permission::UsersRead, routes!(show))
        .confirmed(Permission::UsersWrite, routes!(change))
}

/// Which users.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichUsers {
    /// A part of the name or the address.
    q: Option<String>,
    /// Of this status.
    status: Option<Status>,
    /// Of this role.
    role: Option<Role>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Users, newest first.
#[utoipa::path(operation_id = "list_users", get, path = "/api/admin/users", tag = "admin: users", params(WhichUsers),
    responses((status = 200, body = Page<User>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(which): Query<WhichUsers>,
) -> Result<Json<Page<User>>, Problem> {
    let limit = page_limit(which.limit)?;
    let before = page_before(which.cursor.as_deref())?;
    let filter = UserFilter { q: which.q, status: which.status, role: which.role, before, limit: limit + 1 };
    let users = app.directory.users(&filter).await?;
    Ok(Json(Page::of(users, limit, |user| user.id.to_string())))
}

/// One user.
#[utoipa::path(operation_id = "get_user", get, path = "/api/admin/users/{id}", tag = "admin: users", params(("id" = Uuid, Path)),
    responses((status = 200, body = User)))]
async fn show(State(app): State<App>, _: Admin, Path(id): Path<Uuid>) -> Result<Json<User>, Problem> {
    let user = app.directory.user(AccountId::from_uuid(id)).await?;
    user.map(Json).ok_or_else(|| Problem::not_found("no such user"))
}

/// What is changed about a user; an absent field stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// Disabled: sessions end and keys stop working.
    status: Option<Status>,
    /// The price group.
    group: Option<String>,
    /// What they may do.
    role: Option<Role>,
}

/// Changes a user whom the caller's role governs. The last active owner stays one.
#[utoipa::path(operation_id = "change_user", patch, path = "/api/admin/users/{id}", tag = "admin: users", params(("id" = Uuid, Path)),
    request_body = ChangeUser, responses((status = 200, body = User)))]
async fn change(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<ChangeUser>,
) -> Result<Json<User>, Problem> {
    let wanted = UserChange { status: body.status, group: body.group, role: body.role };
    match app.directory.change_user(AccountId::from_uuid(id), wanted, admin.actor(), admin.0.role).await {
        Ok(user) => Ok(Json(user)),
        Err(DirectoryError::NotFound("group")) => Err(Problem::invalid("group", "there is no such group")),
        Err(error) => Err(error.into()),
    }
}
