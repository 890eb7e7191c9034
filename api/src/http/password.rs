//! Forgotten passwords: a link by mail, and the new password that it lets one set.
//!
//! Claims: asking tells nobody whether an address is known; a token works once, for 30 minutes, and never stands where a log
//! could keep it: behind the `#` of the link, and in a body.

use super::limit::TOKEN;
use super::pages::page;
use super::registration::{MailAsked, WhichAddress, ask, language};
use crate::http::permission::Routes;
use crate::{
    app::App,
    body::Json,
    directory::{mail::MailKind, password::check_password, settings::Language},
    problem::Problem,
    session::ClientIp,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().open(routes!(forgot)).open(routes!(reset_page, reset))
}

/// Asks for a mail with which a forgotten password can be set anew.
///
/// The answer is the same whether the address has an account or not.
#[utoipa::path(operation_id = "forgot_password", post, path = "/api/user/password/forgot", tag = "user", security(()),
    request_body = WhichAddress, responses((status = 202, body = MailAsked)))]
async fn forgot(
    state: State<App>,
    client: ClientIp,
    headers: HeaderMap,
    body: Json<WhichAddress>,
) -> Result<(StatusCode, Json<MailAsked>), Problem> {
    ask(state, client, headers, body, MailKind::Reset).await
}

/// A new password for who was sent a token.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The token in the mail.
    token: String,
    /// 8 to 256 characters.
    password: String,
}

/// Sets a forgotten password anew. All sessions of its user end.
#[utoipa::path(operation_id = "reset_password", post, path = "/api/user/password/reset", tag = "user", security(()),
    request_body = ResetPassword, responses((status = 204, description = "Set; now log in")))]
async fn reset(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    Json(body): Json<ResetPassword>,
) -> Result<StatusCode, Problem> {
    check_password(&body.password).map_err(|fault| Problem::invalid("password", fault))?;
    let ip = ip.to_string();
    app.limits.admit(TOKEN, &ip).await?;
    // Before the token is looked at: a good one takes no longer than a bad one.
    let hash = app.passwords.hash(body.password).await?;
    app.directory.reset_password(&body.token, hash).await?;
    app.limits.forgive(TOKEN, &ip).await;
    Ok(StatusCode::NO_CONTENT)
}

const SCRIPT: &str = include_str!("password.js");

/// The page behind the link of the mail: a field for the new password.
#[utoipa::path(operation_id = "reset_password_page", get, path = "/api/user/password/reset", tag = "user", security(()),
    responses((status = 200, description = "A page that sends the token behind `#` with a new password", content_type = "text/html", body = String)))]
async fn reset_page(headers: HeaderMap) -> Response {
    let language = language(&headers);
    let [title, field, button, done, failed] = match language {
        Language::English => [
            "Set a new password",
            "New password (8 characters or more)",
            "Set the password",
            "Your password is set. You can log in now.",
            "The password was not set: ",
        ],
        Language::Chinese => [
            "设置新密码",
            "新密码（至少 8 个字符）",
            "设置密码",
            "密码已设置，现在可以登录了。",
            "未能设置密码：",
        ],
    };
    let content = format!(
        "<form id=\"form\" data-done=\"{done}\" data-failed=\"{failed}\"><label for=\"password\">{field}</label>\
         <input id=\"password\" type=\"password\" minlength=\"8\" maxlength=\"256\" required autocomplete=\"new-password\">\
         <button>{button}</button></form><p id=\"said\" role=\"status\"></p>"
    );
    page(StatusCode::OK, language, title, &content, SCRIPT)
}
