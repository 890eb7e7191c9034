//! People: registering, logging in and out, one's own data and password.

use super::limit::{ADDRESS, LOGIN, LOGIN_FROM_ADDRESS, REGISTER};
use crate::{
    app::App,
    body::Json,
    directory::{
        Status,
        password::check_password,
        session::LIFE_MS,
        user::{NewUser, Role, User, check_email, check_username},
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::{COOKIE, Caller, ClientIp},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::Moment;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .open(routes!(register))
        .open(routes!(login))
        .guarded(Permission::SelfLogin, routes!(logout))
        .guarded(Permission::SelfRead, routes!(show))
        .guarded(Permission::SelfLogin, routes!(change))
        .guarded(Permission::SelfLogin, routes!(change_password))
}

/// Who wants to join.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// 3 to 32 letters, digits, `_` or `-`; unique whatever its case.
    username: String,
    /// An e-mail address; unique whatever its case.
    email: String,
    /// 8 to 256 characters.
    password: String,
    /// An invitation's code. Not supported yet.
    invite: Option<String>,
}

/// Registers a user.
#[utoipa::path(post, path = "/api/user/register", tag = "user", security(()), request_body = Register,
    responses((status = 201, description = "Registered; now log in", body = User)))]
async fn register(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    Json(body): Json<Register>,
) -> Result<(StatusCode, Json<User>), Problem> {
    check_username(&body.username).map_err(|fault| Problem::invalid("username", fault))?;
    check_email(&body.email).map_err(|fault| Problem::invalid("email", fault))?;
    check_password(&body.password).map_err(|fault| Problem::invalid("password", fault))?;
    if body.invite.is_some() {
        return Err(Problem::unsupported("invite: invitations are not supported yet"));
    }
    app.limits.admit(REGISTER, &ip.to_string())?;
    let new = NewUser {
        username: body.username,
        email: body.email,
        password_hash: app.passwords.hash(body.password).await?,
        role: Role::User,
        email_verified: false,
    };
    let user = app.directory.create_user(new, None).await?;
    Ok((StatusCode::CREATED, Json(user)))
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

/// A session.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LoggedIn {
    /// Who is logged in.
    user: User,
    /// The session's token, also set as a cookie; programs send it as `Authorization: Bearer`.
    access_token: String,
    /// When the session ends at the latest.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Moment,
}

/// Opens a session.
#[utoipa::path(post, path = "/api/user/login", tag = "user", security(()), request_body = Login,
    responses((status = 200, description = "Logged in; the cookie is set", body = LoggedIn)))]
async fn login(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    Json(body): Json<Login>,
) -> Result<Response, Problem> {
    let (here, ip) = (format!("{} {ip}", body.login), ip.to_string());
    app.limits.admit(ADDRESS, &ip)?;
    app.limits.admit(LOGIN_FROM_ADDRESS, &here)?;
    app.limits.admit(LOGIN, &body.login)?;
    let wrong =
        || Problem::new(StatusCode::UNAUTHORIZED, "wrong_credentials", "the login or the password is wrong");
    // The work is the same whether there is such a user or not, and a password that nobody can have is not hashed.
    let plausible =
        body.password.chars().count() <= crate::directory::password::MAX_CHARS && body.login.len() <= 320;
    let found = if plausible { app.directory.credentials(&body.login).await? } else { None };
    let (user, hash) = found.unzip();
    let guess = if plausible { body.password } else { String::new() };
    let fits = app.passwords.verify(hash, guess).await?;
    let user = user.filter(|_| fits).ok_or_else(wrong)?;
    app.limits.forgive(ADDRESS, &ip);
    app.limits.clear(LOGIN_FROM_ADDRESS, &here);
    app.limits.forgive(LOGIN, &body.login);
    if user.status == Status::Disabled {
        return Err(Problem::new(StatusCode::FORBIDDEN, "account_disabled", "this account is switched off"));
    }
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let session = app.directory.open_session(&user, agent).await?;
    let cookie = set_cookie(&session.token, LIFE_MS / 1000, &app.config.public_url);
    let body = LoggedIn { user, access_token: session.token, expires_at: session.expires_at };
    Ok(([(header::SET_COOKIE, cookie)], Json(body)).into_response())
}

/// Ends the session.
#[utoipa::path(post, path = "/api/user/logout", tag = "user",
    responses((status = 204, description = "Logged out; the cookie is cleared")))]
async fn logout(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    app.directory.close_session(&caller.session).await?;
    let cookie = set_cookie("", 0, &app.config.public_url);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// The session cookie. `Secure` where browsers reach us by https: without TLS they would not send such a cookie back.
fn set_cookie(token: &str, max_age_s: i64, public_url: &str) -> HeaderValue {
    let secure = if public_url.starts_with("https://") { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
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
    /// A new address; it has to be proven again.
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
    Json(body): Json<ChangeSelf>,
) -> Result<Json<User>, Problem> {
    if let Some(username) = &body.username {
        check_username(username).map_err(|fault| Problem::invalid("username", fault))?;
    }
    if let Some(email) = &body.email {
        check_email(email).map_err(|fault| Problem::invalid("email", fault))?;
        let Some(password) = body.password else {
            return Err(Problem::invalid("password", "is needed to change the e-mail address"));
        };
        prove(&app, &caller, "password", password).await?;
    }
    let user = app.directory.rename_user(caller.user, body.username, body.email, caller.actor()).await?;
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
async fn prove(app: &App, caller: &Caller, field: &'static str, password: String) -> Result<(), Problem> {
    app.limits.admit(LOGIN, &caller.username)?;
    let hash = app.directory.password_hash(caller.user).await?;
    if password.chars().count() > crate::directory::password::MAX_CHARS
        || !app.passwords.verify(hash, password).await?
    {
        return Err(Problem::new(StatusCode::FORBIDDEN, "wrong_password", format!("{field}: is wrong")));
    }
    app.limits.forgive(LOGIN, &caller.username);
    Ok(())
}
