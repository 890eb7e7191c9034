//! Leaving: what deleting an account would mean, and deleting it; for oneself and for operators.
//!
//! May not touch: what is erased, and what becomes of credits: `directory::deletion` and [`crate::deletion`].
//! Claims: nobody loses credits that were paid for without having said so; who is deleted has proven just now that it is they
//! who ask, or is governed by whoever does.

use super::login::set_cookie;
use crate::{
    app::App,
    body::{Json, Page, PageQuery, Path, Query},
    deletion::{CloseError, Standing, close, standing},
    directory::{
        deletion::{Deletion, NewDeletion},
        user::Role,
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::{Admin, Caller},
};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use domain::{AccountId, Credits, Moment};
use projections::balances;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfRead, routes!(preview))
        .confirmed(Permission::SelfLogin, routes!(delete_self))
        .guarded(Permission::UsersRead, routes!(preview_of))
        .confirmed(Permission::UsersWrite, routes!(delete_user))
        .guarded(Permission::UsersRead, routes!(list))
}

/// What deleting an account would mean now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeletionPreview {
    /// What may be spent or taken out, in credits.
    available: String,
    /// What calls under way hold; most of it comes back when they end.
    reserved: String,
    /// The part of both that was paid for and not used, gifts being used first. Ask the operator for a refund of it before.
    refundable: String,
    /// What would be forfeited: all that is left once calls under way have ended, with `reserved` at most.
    forfeited: String,
    /// Must the request say `"forfeit": true`? So it is where something is refundable.
    needs_forfeit: bool,
    /// Orders that wait for their payment. One that is paid later is still credited, and only the operator can give it back.
    pending_orders: usize,
}

/// What was erased, and what becomes of the credits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeletionView {
    /// Whose account it was.
    #[schema(value_type = Uuid)]
    user_id: AccountId,
    /// When its owner was erased.
    #[schema(value_type = String, format = DateTime)]
    deleted_at: Moment,
    /// On whose word: the owner's own id, or an operator's.
    #[schema(value_type = Uuid)]
    deleted_by: AccountId,
    /// Why, in the operator's words; null: the owner's own wish.
    reason: Option<String>,
    /// Credits that were forfeited so far.
    forfeited: String,
    /// Where the last forfeiture stands on the log; null: there was none.
    event_seq: Option<u64>,
    /// When nothing was left to forfeit; null: calls are still under way.
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Moment>,
}

impl From<Deletion> for DeletionView {
    fn from(it: Deletion) -> Self {
        Self {
            user_id: it.user,
            deleted_at: it.deleted_at,
            deleted_by: it.by,
            reason: Some(it.reason).filter(|text| !text.is_empty()),
            forfeited: it.forfeited.to_string(),
            event_seq: it.event_seq,
            closed_at: it.closed_at,
        }
    }
}

/// A deleted user's account.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DeletedAccount {
    #[serde(flatten)]
    deletion: DeletionView,
    /// What the account has now, in credits. Above zero on a closed account: somebody paid after it was deleted.
    balance: String,
}

impl From<CloseError> for Problem {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::Ledger(error) => error.into(),
            CloseError::Directory(error) => error.into(),
        }
    }
}

impl From<Standing> for DeletionPreview {
    fn from(it: Standing) -> Self {
        let all = it.available.checked_add(it.reserved).unwrap_or(it.available).max(Credits::ZERO);
        Self {
            available: it.available.to_string(),
            reserved: it.reserved.to_string(),
            refundable: it.refundable.to_string(),
            forfeited: all.to_string(),
            needs_forfeit: it.refundable.is_positive(),
            pending_orders: it.pending_orders,
        }
    }
}

/// What deleting my account would mean now, by the ledger's own word.
#[utoipa::path(operation_id = "preview_deletion", get, path = "/api/user/self/deletion", tag = "user",
    responses((status = 200, body = DeletionPreview)))]
async fn preview(State(app): State<App>, caller: Caller) -> Result<Json<DeletionPreview>, Problem> {
    Ok(Json(standing(&app.ledger, &app.directory, caller.user).await?.into()))
}

/// On what terms my account is to be deleted.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteSelf {
    /// I give up the credits that I paid for. Where there are none it makes no difference.
    #[serde(default)]
    forfeit: bool,
}

/// Deletes my account: what is known about me is erased, my keys and sessions end at once, and what is left of my credits is
/// forfeited.
///
/// Calls under way go on to their end. Credits that were paid for are not forfeited without `"forfeit": true`: the answer is
/// `409 credits_left`. The last active owner cannot leave.
#[utoipa::path(operation_id = "delete_self", delete, path = "/api/user/self", tag = "user", request_body = Option<DeleteSelf>,
    responses((status = 200, description = "Deleted; the cookie is cleared", body = DeletionView)))]
async fn delete_self(
    State(app): State<App>,
    caller: Caller,
    body: Option<Json<DeleteSelf>>,
) -> Result<Response, Problem> {
    let body = body.map(|Json(body)| body).unwrap_or_default();
    let wish = Wish { user: caller.user, role: None, reason: String::new(), forfeit: body.forfeit };
    let deletion = delete(&app, wish, caller.user, caller.actor()).await?;
    let cookie = set_cookie("", 0, &app.live.now().public_url);
    Ok(([(header::SET_COOKIE, cookie)], Json(DeletionView::from(deletion))).into_response())
}

/// What deleting a user's account would mean now.
#[utoipa::path(operation_id = "preview_user_deletion", get, path = "/api/admin/users/{id}/deletion", tag = "admin: users",
    params(("id" = Uuid, Path)), responses((status = 200, body = DeletionPreview)))]
async fn preview_of(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<DeletionPreview>, Problem> {
    let user = AccountId::from_uuid(id);
    if app.directory.user(user).await?.is_none() {
        return Err(Problem::not_found("no such user"));
    }
    Ok(Json(standing(&app.ledger, &app.directory, user).await?.into()))
}

/// Why a user is deleted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteUser {
    /// 1 to 200 characters, for the audit log. It outlives the person, so it should not name them.
    reason: String,
    /// Credits that were paid for are forfeited too. Where there are none it makes no difference.
    #[serde(default)]
    forfeit: bool,
}

/// Deletes a user whom the caller's role governs, as they could themselves. Repeated, it answers how far the closing has come.
#[utoipa::path(operation_id = "delete_user", delete, path = "/api/admin/users/{id}", tag = "admin: users",
    params(("id" = Uuid, Path)), request_body = DeleteUser, responses((status = 200, body = DeletionView)))]
async fn delete_user(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<DeleteUser>,
) -> Result<Json<DeletionView>, Problem> {
    if !(1..=200).contains(&body.reason.chars().count()) || body.reason.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "reason",
            "must be 1 to 200 characters, none of them a control character",
        ));
    }
    let user = AccountId::from_uuid(id);
    if user == admin.0.user {
        return Err(Problem::conflict("oneself", "delete your own account with DELETE /api/user/self"));
    }
    if app.directory.user(user).await?.is_none() {
        return Err(Problem::not_found("no such user"));
    }
    let wish = Wish { user, role: Some(admin.0.role), reason: body.reason, forfeit: body.forfeit };
    Ok(Json(delete(&app, wish, admin.0.user, admin.actor()).await?.into()))
}

/// Who is to be deleted, and on what terms.
struct Wish {
    user: AccountId,
    role: Option<Role>,
    reason: String,
    forfeit: bool,
}

/// Erases the person, then closes the account as far as that can be done now.
async fn delete(app: &App, wish: Wish, by: AccountId, actor: domain::Actor) -> Result<Deletion, Problem> {
    let known = app.directory.deletion(wish.user).await?;
    let deletion = match known {
        Some(deletion) => deletion,
        None => {
            let left = standing(&app.ledger, &app.directory, wish.user).await?;
            if left.refundable.is_positive() && !wish.forfeit {
                let detail = format!(
                    "{} credits of this account were paid for and not used: ask for a refund first, or say \
                     \"forfeit\": true",
                    left.refundable
                );
                return Err(Problem::conflict("credits_left", detail));
            }
            let Wish { user, role, reason, .. } = wish;
            let credits_in = left.credits_in;
            app.directory.delete_user(NewDeletion { user, by, role, reason, credits_in }, actor).await?
        }
    };
    app.post.wake();
    // The person is erased. What cannot be closed now is closed by whoever looks next.
    match close(&app.ledger, &app.directory, deletion.clone()).await {
        Ok(deletion) => Ok(deletion),
        Err(error) => {
            tracing::warn!(account = %deletion.user, %error, "the account of a deleted user is closed later");
            Ok(deletion)
        }
    }
}

/// Accounts whose users were deleted, newest first.
#[utoipa::path(operation_id = "list_deletions", get, path = "/api/admin/deletions", tag = "admin: users", params(PageQuery),
    responses((status = 200, body = Page<DeletedAccount>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<DeletedAccount>>, Problem> {
    let limit = page.limit()?;
    let found = app.directory.deletions(page.before()?, limit + 1).await?;
    let page = Page::of(found, limit, |it| it.user.to_string());
    let mut items = Vec::with_capacity(page.items.len());
    for deletion in page.items {
        let balance = balances::balance(&app.db, deletion.user).await?.total.to_string();
        items.push(DeletedAccount { deletion: deletion.into(), balance });
    }
    Ok(Json(Page { items, next_cursor: page.next_cursor }))
}

#[cfg(test)]
mod tests;
