//! People: logging in and out, one's own data and password.

use super::limit::{ADDRESS, LOGIN, LOGIN_FROM_ADDRESS, MAIL_TO};
use super::login::{LoggedIn, Means, Origin, SecondFactorNeeded, check_status, enter, set_cookie};
use super::registration::{check_domain, language};
use crate::{
    app::App,
    body::{Json, Page, Path},
    directory::{
        mail::MailKind,
        password::{Checked, check_password},
        session::SessionView,
        user::{Role, User, check_email, check_username},
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::{Caller, ClientIp},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .open(routes!(login))
        .guarded(Permission::SelfLogin, routes!(logout))
        .guarded(Permission::SelfLogin, routes!(logout_everywhere))
        .guarded(Permission::SelfLogin, routes!(sessions))
        .guarded(Permission::SelfLogin, routes!(end_session))
        .guarded(Permission::SelfRead, routes!(show))
        .confirmed(Permission::SelfLogin, routes!(change))
        .confirmed(Permission::SelfLogin, routes!(change_password))
}

/// Who wants in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user name or the e-mail address.
    login: String,
    /// The password.
    password: String,
}

/// Opens a session, or asks for the second factor of who has one.
#[utoipa::path(post, path = "/api/user/login", tag = "user", security(()), request_body = Login, responses(
    (status = 200, description = "Logged in; the cookie is set", body = LoggedIn),
    (status = 202, description = "The password is right; now the second factor", body = SecondFactorNeeded)))]
async fn login(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    Json(body): Json<Login>,
) -> Result<Response, Problem> {
    let origin = Origin::new(&headers, ClientIp(ip));
    let (here, ip) = (format!("{} {ip}", body.login), ip.to_string());
    app.limits.admit(ADDRESS, &ip).await?;
    app.limits.admit(LOGIN_FROM_ADDRESS, &here).await?;
    app.limits.admit(LOGIN, &body.login).await?;
    let wrong =
        || Problem::new(StatusCode::UNAUTHORIZED, "wrong_credentials", "the login or the password is wrong");
    // The work is the same whether there is such a user or not, and a password that nobody can have is not hashed.
    let plausible =
        body.password.chars().count() <= crate::directory::password::MAX_CHARS && body.login.len() <= 320;
    let found = if plausible { app.directory.credentials(&body.login).await? } else { None };
    let (user, hash) = found.unzip();
    let guess = if plausible { body.password } else { String::new() };
    let needs_proof = app.live.now().registration.needs_proof;
    let pending = match plausible && needs_proof {
        true => app.directory.pending_password(&body.login).await?,
        false => None,
    };
    // An address may be a user's and a registration's at once, so that both are checked, for every address. A name is one's.
    let (checked, waits) = if needs_proof && body.login.contains('@') {
        let checked = app.passwords.check(hash.clone(), guess.clone()).await?;
        (checked, app.passwords.verify(pending, guess.clone()).await?)
    } else if user.is_some() {
        (app.passwords.check(hash.clone(), guess.clone()).await?, false)
    } else {
        (Checked::Wrong, app.passwords.verify(pending, guess.clone()).await?)
    };
    let user = user.filter(|_| checked != Checked::Wrong);
    if user.is_none() && !waits {
        return Err(wrong());
    }
    app.limits.forgive(ADDRESS, &ip).await;
    app.limits.forgive(LOGIN, &body.login).await;
    let Some(user) = user else {
        // Not cleared: whoever asked to join with another's address would clear the tries at guessing the other's password.
        app.limits.forgive(LOGIN_FROM_ADDRESS, &here).await;
        return Err(not_verified());
    };
    app.limits.clear(LOGIN_FROM_ADDRESS, &here).await;
    check_status(&user)?;
    check_email_proof(&app, &user)?;
    if let (Checked::RightButWeak, Some(old)) = (checked, hash)
        && let Ok(new) = app.passwords.hash(guess).await
    {
        app.directory.upgrade_password(user.id, &old, &new).await?;
    }
    Ok(enter(&app, user, Means::Password, &origin).await?.into_response())
}

/// Does this user have to prove their address before anything else? Those who hold an office do not: they may have to mend the
/// mail server.
pub(super) fn owes_proof(app: &App, user: &User) -> bool {
    user.role == Role::User && !user.email_verified && app.live.now().registration.needs_proof
}

/// Refuses who has to prove their address first.
pub(super) fn check_email_proof(app: &App, user: &User) -> Result<(), Problem> {
    match owes_proof(app, user) {
        true => Err(not_verified()),
        false => Ok(()),
    }
}

/// The password is right, the address is not proven.
fn not_verified() -> Problem {
    let detail = "prove your e-mail address first: follow the link in the mail, or ask for another one";
    Problem::new(StatusCode::FORBIDDEN, "email_not_verified", detail)
}

/// Refuses who has a session from before addresses had to be proven, and has not proven theirs.
pub(super) async fn check_proof(app: &App, caller: &Caller) -> Result<(), Problem> {
    if !app.live.now().registration.needs_proof || caller.role != Role::User {
        return Ok(());
    }
    match app.directory.user(caller.user).await? {
        Some(user) => check_email_proof(app, &user),
        None => Err(not_verified()),
    }
}

/// Ends the session.
#[utoipa::path(post, path = "/api/user/logout", tag = "user",
    responses((status = 204, description = "Logged out; the cookie is cleared")))]
async fn logout(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    app.directory.close_session(&caller.session).await?;
    let cookie = set_cookie("", 0, &app.live.now().public_url);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Ends all my sessions, this one too.
#[utoipa::path(post, path = "/api/user/logout-everywhere", tag = "user",
    responses((status = 204, description = "Logged out everywhere; the cookie is cleared")))]
async fn logout_everywhere(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    app.directory.end_sessions(caller.user).await?;
    let cookie = set_cookie("", 0, &app.live.now().public_url);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// My sessions, the one used last first.
#[utoipa::path(operation_id = "list_sessions", get, path = "/api/user/sessions", tag = "user",
    responses((status = 200, body = Page<SessionView>)))]
async fn sessions(State(app): State<App>, caller: Caller) -> Result<Json<Page<SessionView>>, Problem> {
    let items = app.directory.sessions(caller.user, &caller.session).await?;
    Ok(Json(Page { items, next_cursor: None }))
}

/// Ends one of my sessions.
#[utoipa::path(operation_id = "end_session", delete, path = "/api/user/sessions/{id}", tag = "user", params(("id" = String, Path)),
    responses((status = 204, description = "Ended")))]
async fn end_session(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.directory.end_session(caller.user, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who I am.
#[utoipa::path(operation_id = "get_self", get, path = "/api/user/self", tag = "user", responses((status = 200, body = User)))]
async fn show(State(app): State<App>, caller: Caller) -> Result<Json<User>, Problem> {
    app.directory.user(caller.user).await?.map(Json).ok_or_else(Problem::unauthenticated)
}

/// What one changes about oneself; an absent field stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSelf {
    /// A new name.
    username: Option<String>,
    /// A new address; it has to be proven again. Where addresses must be proven, it is yours from then on, and the old one
    /// until then.
    email: Option<String>,
    /// The password; needed for a new address, which could otherwise be used to take the account over.
    password: Option<String>,
}

/// Changes my name or address.
#[utoipa::path(operation_id = "change_self", patch, path = "/api/user/self", tag = "user", request_body = ChangeSelf,
    responses((status = 200, body = User)))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<ChangeSelf>,
) -> Result<Json<User>, Problem> {
    if let Some(username) = &body.username {
        check_username(username).map_err(|fault| Problem::invalid("username", fault))?;
    }
    if let Some(email) = &body.email {
        check_email(email).map_err(|fault| Problem::invalid("email", fault))?;
        check_domain(&app, email)?;
        let Some(password) = body.password else {
            return Err(Problem::invalid("password", "is needed to change the e-mail address"));
        };
        prove(&app, &caller, "password", password).await?;
    }
    let (now, later) = match app.live.now().registration.needs_proof {
        true => (None, body.email),
        false => (body.email, None),
    };
    if let Some(email) = now.as_ref().or(later.as_ref()) {
        app.limits.admit(MAIL_TO, email).await?;
    }
    let is_new = now.is_some();
    let user = app.directory.rename_user(caller.user, body.username, now, caller.actor()).await?;
    if is_new && !user.email_verified && app.post.delivers() {
        app.directory.ask_for_mail(MailKind::Resend, &user.email, language(&headers)).await?;
        app.post.wake();
    }
    if let Some(email) = later {
        app.directory.want_email(caller.user, &email, language(&headers), caller.actor()).await?;
        app.post.wake();
    }
    Ok(Json(user))
}

/// A new password.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The present one.
    old_password: String,
    /// 8 to 256 characters.
    new_password: String,
}

/// Changes my password and ends my other sessions.
#[utoipa::path(put, path = "/api/user/password", tag = "user", request_body = ChangePassword,
    responses((status = 204, description = "Changed; other sessions have ended")))]
async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<ChangePassword>,
) -> Result<StatusCode, Problem> {
    check_password(&body.new_password).map_err(|fault| Problem::invalid("new_password", fault))?;
    prove(&app, &caller, "old_password", body.old_password).await?;
    let hash = app.passwords.hash(body.new_password).await?;
    app.directory.set_password(caller.user, hash, Some(&caller.session), caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller proves again to be who they are. Wrong guesses count as failed logins.
pub(super) async fn prove(
    app: &App,
    caller: &Caller,
    field: &'static str,
    password: String,
) -> Result<(), Problem> {
    app.limits.admit(LOGIN, &caller.username).await?;
    let hash = app.directory.password_hash(caller.user).await?;
    if password.chars().count() > crate::directory::password::MAX_CHARS
        || !app.passwords.verify(hash, password).await?
    {
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_password", format!("{field}: is wrong")));
    }
    app.limits.forgive(LOGIN, &caller.username).await;
    Ok(())
}
