//! Joining: registering, and proving an address.
//!
//! Claims: where addresses must be proven, nobody learns from an answer, or from how long it takes, whether an address is
//! known; a link that does not work is one error, whatever is wrong with it.

use super::limit::{MAIL_FROM, MAIL_TO, REGISTER, TOKEN};
use super::pages::{page, wants_page};
use crate::http::permission::Routes;
use crate::{
    app::App,
    body::{Json, Query},
    config::RegistrationMode,
    directory::{
        DirectoryError,
        mail::MailKind,
        password::check_password,
        registration::NewRegistration,
        settings::Language,
        user::{User, check_email, check_username},
    },
    mail::words::escape,
    problem::Problem,
    session::ClientIp,
};
use axum::{
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().open(routes!(register)).open(routes!(verify)).open(routes!(resend))
}

/// The language of a request: what `Accept-Language` names first of those that we speak.
pub(super) fn language(headers: &HeaderMap) -> Language {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Language::accepted(accepted.unwrap_or_default())
}

/// Checks an address for what every way in asks: may addresses of its domain register, and can mail be sent to it?
pub(super) fn check_domain(app: &App, email: &str) -> Result<(), Problem> {
    let live = app.live.now();
    let domains = &live.registration.email_domains;
    let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain).to_lowercase();
    if !domains.is_empty() && !domains.contains(&domain) {
        return Err(Problem::invalid("email", "addresses of this domain are not accepted here"));
    }
    match email.parse::<lettre::Address>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::invalid("email", "must be an e-mail address such as ann@example.org")),
    }
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
    /// An invitation's code. Needed where only those with an invitation may register; used up once.
    invite: Option<String>,
    /// The code of whoever brought them (`GET /api/user/referral`).
    referral: Option<String>,
    /// The language of mails. Absent: as `Accept-Language` says.
    language: Option<Language>,
}

/// What is answered to a request for a mail, whether there will be one or not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MailAsked {
    /// What happens next, in a sentence.
    detail: &'static str,
}

const ASKED: MailAsked =
    MailAsked { detail: "if this address can be used for it, a mail with a link is on its way there" };

/// Registers a user.
///
/// 201 where an address need not be proven. 202 where it must be: there is a user once the link in the mail was followed. The
/// answer is then the same for addresses that have an account.
#[utoipa::path(post, path = "/api/user/register", tag = "user", security(()), request_body = Register,
    responses(
        (status = 201, description = "Registered; now log in", body = User),
        (status = 202, description = "Look for a mail", body = MailAsked),
    ))]
async fn register(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    Json(body): Json<Register>,
) -> Result<Response, Problem> {
    let live = app.live.now();
    let terms = &live.registration;
    if terms.mode == RegistrationMode::Closed {
        let detail = "nobody can register here; ask the operator for an account";
        return Err(Problem::new(StatusCode::FORBIDDEN, "registration_closed", detail));
    }
    check_username(&body.username).map_err(|fault| Problem::invalid("username", fault))?;
    check_email(&body.email).map_err(|fault| Problem::invalid("email", fault))?;
    check_password(&body.password).map_err(|fault| Problem::invalid("password", fault))?;
    check_domain(&app, &body.email)?;
    if terms.mode == RegistrationMode::Invite && body.invite.is_none() {
        return Err(Problem::invalid("invite", "only those with an invitation may register here"));
    }
    app.limits.admit(REGISTER, &ip.to_string()).await?;
    let referrer = super::referral::referrer(&app, body.referral.as_deref()).await?;
    if terms.needs_proof {
        app.limits.admit(MAIL_TO, &body.email).await?;
    }
    let new = NewRegistration {
        username: body.username,
        email: body.email,
        password_hash: app.passwords.hash(body.password).await?,
        language: body.language.unwrap_or_else(|| language(&headers)),
        invite: body.invite,
        referrer,
    };
    if terms.needs_proof {
        app.directory.ask_to_join(new).await?;
        app.post.wake();
        return Ok((StatusCode::ACCEPTED, Json(ASKED)).into_response());
    }
    let user = app.directory.join(new, terms.fold_aliases, app.post.delivers()).await?;
    app.post.wake();
    Ok((StatusCode::CREATED, Json(user)).into_response())
}

/// The link of a mail.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VerifyQuery {
    /// The token in the mail.
    token: String,
}

/// Proves an e-mail address: where a mail's link leads.
///
/// Answers a page where `Accept` asks for `text/html`, else JSON. A token works once, for 24 hours.
#[utoipa::path(operation_id = "verify_email", get, path = "/api/user/verify-email", tag = "user", security(()), params(VerifyQuery),
    responses((status = 200, description = "Proven; now log in", body = User)))]
async fn verify(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<VerifyQuery>,
) -> Result<Response, Problem> {
    // Programs that look at mails before people do ask with HEAD; that proves nothing and uses nothing up.
    if method == Method::HEAD {
        return Ok(StatusCode::OK.into_response());
    }
    let ip = ip.to_string();
    app.limits.admit(TOKEN, &ip).await?;
    let proven = app.directory.prove_email(&query.token, app.live.now().registration.fold_aliases).await;
    if proven.is_ok() {
        app.limits.forgive(TOKEN, &ip).await;
    }
    if !wants_page(&headers) {
        return Ok(Json(proven?).into_response());
    }
    let language = language(&headers);
    let (status, title, text) = match (proven, language) {
        (Ok(_), Language::English) => {
            (StatusCode::OK, "Your address is confirmed", "You can log in now.".to_owned())
        }
        (Ok(_), Language::Chinese) => (StatusCode::OK, "邮箱地址已验证", "现在可以登录了。".to_owned()),
        (Err(error @ DirectoryError::BadToken), Language::English) => {
            let text = format!("{error}. If you have followed it before, your address is confirmed: log in.");
            (StatusCode::BAD_REQUEST, "This link does not work", text)
        }
        (Err(DirectoryError::BadToken), Language::Chinese) => {
            let text = "此链接无效：可能已被使用、已过期，或从未发出。如果您之前点击过它，邮箱地址已经验证，可以直接登录；否则请重新申请验证邮件。";
            (StatusCode::BAD_REQUEST, "链接无效", text.to_owned())
        }
        (Err(error), Language::English | Language::Chinese) => return Err(error.into()),
    };
    let login = match language {
        Language::English => "To the login",
        Language::Chinese => "前往登录",
    };
    let content = format!("<p>{}</p><p><a href=\"/login\">{login}</a></p>", escape(&text));
    Ok(page(status, language, title, &content, ""))
}

/// Whose mail is wanted.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichAddress {
    /// The e-mail address.
    pub(super) email: String,
}

/// Asks for another mail to prove an address.
///
/// The answer is the same whether the address waits for a proof, has an account or is unknown.
#[utoipa::path(operation_id = "resend_verification", post, path = "/api/user/resend-verification", tag = "user", security(()),
    request_body = WhichAddress, responses((status = 202, body = MailAsked)))]
async fn resend(
    state: State<App>,
    client: ClientIp,
    headers: HeaderMap,
    body: Json<WhichAddress>,
) -> Result<(StatusCode, Json<MailAsked>), Problem> {
    ask(state, client, headers, body, MailKind::Resend).await
}

/// Takes a request for a mail: the same work for every address. Whether there is anybody, the post finds out.
pub(super) async fn ask(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    Json(body): Json<WhichAddress>,
    kind: MailKind,
) -> Result<(StatusCode, Json<MailAsked>), Problem> {
    check_email(&body.email).map_err(|fault| Problem::invalid("email", fault))?;
    app.limits.admit(MAIL_FROM, &ip.to_string()).await?;
    app.limits.admit(MAIL_TO, &body.email).await?;
    app.directory.ask_for_mail(kind, &body.email, language(&headers)).await?;
    app.post.wake();
    Ok((StatusCode::ACCEPTED, Json(ASKED)))
}

#[cfg(test)]
mod tests;
