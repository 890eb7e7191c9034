//! The end of every login: a session, or the question for a second factor.
//!
//! For: [`enter`], which whoever has checked a password, another issuer's word or a passkey calls, whatever the means; and the
//! step that answers the question.
//! May not touch: how the first factor was checked.
//! Claims: a user with a second factor has no session before they have shown it, by whatever means they came, but for a
//! passkey, which is both; tries at it are limited per login, per account and per address; a login that waits is over when
//! the password changes or the account is switched off.

use super::limit::{ADDRESS, CODE, CODE_A_DAY};
use crate::{
    app::App,
    body::Json,
    directory::{DirectoryError, Status, second_factor::SecondFactors, session::LIFE_MS, user::User, words},
    http::permission::Routes,
    problem::Problem,
    session::{COOKIE, ClientIp},
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
    Routes::new().open(routes!(second_factor))
}

/// By what somebody has shown who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The password: one factor.
    Password,
    /// The word of another issuer (OIDC), of whose own factors we know nothing: one factor.
    Oidc,
    /// A passkey whose authenticator has verified its user: two factors.
    Passkey,
}

impl Means {
    /// May a second factor be asked for?
    const fn is_one_factor(self) -> bool {
        match self {
            Self::Password | Self::Oidc => true,
            Self::Passkey => false,
        }
    }
}

/// Where a login comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The program, as it names itself; may be empty.
    pub agent: String,
    /// The address.
    pub address: String,
}

impl Origin {
    /// Of a request.
    pub fn new(headers: &HeaderMap, ClientIp(ip): ClientIp) -> Self {
        let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self { agent: agent.to_owned(), address: ip.to_string() }
    }
}

/// A session.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LoggedIn {
    /// Who is logged in.
    pub(crate) user: User,
    /// The session's token, also set as a cookie; programs send it as `Authorization: Bearer`.
    pub(crate) access_token: String,
    /// When the session ends at the latest.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Moment,
}

words! {
    /// What is accepted as a second factor.
    Method {
        /// A code of the authenticator app, to `POST /api/user/login/second-factor`.
        Totp = "totp",
        /// A recovery code, to the same.
        RecoveryCode = "recovery_code",
        /// A login by passkey instead: `POST /api/user/login/passkey/options`.
        Passkey = "passkey",
    }
}

/// A login that waits for its second factor.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SecondFactorNeeded {
    /// To be sent with a code to `POST /api/user/login/second-factor`; good for one login.
    pub(crate) challenge: String,
    /// When it is over.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Moment,
    /// What this user may answer with.
    pub(crate) methods: Vec<Method>,
}

/// What a first factor leads to.
#[derive(Debug)]
pub enum Entry {
    /// A session.
    Open {
        /// What its owner is told.
        session: Box<LoggedIn>,
        /// The cookie to set.
        cookie: HeaderValue,
    },
    /// The question for the second factor.
    SecondFactor(SecondFactorNeeded),
}

impl IntoResponse for Entry {
    fn into_response(self) -> Response {
        match self {
            Self::Open { session, cookie } => {
                ([(header::SET_COOKIE, cookie)], Json(*session)).into_response()
            }
            Self::SecondFactor(needed) => (StatusCode::ACCEPTED, Json(needed)).into_response(),
        }
    }
}

/// Lets in somebody who has shown by `means` to be this user: opens a session, which counts as a fresh confirmation, or asks for
/// the second factor. Whether an address must be proven first is the caller's to judge; whether the account is switched
/// off is judged here.
pub async fn enter(app: &App, user: User, means: Means, origin: &Origin) -> Result<Entry, Problem> {
    check_status(&user)?;
    if means.is_one_factor() {
        let factors = app.directory.second_factors(user.id).await?;
        if factors.any() {
            let asked = app.directory.ask_second_factor(user.id).await?;
            return Ok(Entry::SecondFactor(SecondFactorNeeded {
                challenge: asked.token.expose().to_owned(),
                expires_at: asked.expires_at,
                methods: methods(&factors),
            }));
        }
    }
    open(app, user, origin).await
}

pub(super) fn check_status(user: &User) -> Result<(), Problem> {
    match user.status {
        Status::Active => Ok(()),
        Status::Disabled => {
            Err(Problem::new(StatusCode::FORBIDDEN, "account_disabled", "this account is switched off"))
        }
    }
}

/// Opens the session of who has shown all that is asked for.
async fn open(app: &App, user: User, origin: &Origin) -> Result<Entry, Problem> {
    check_status(&user)?;
    let session = app.directory.open_session_from(&user, &origin.agent, &origin.address).await?;
    let cookie = set_cookie(&session.token, LIFE_MS / 1000, &app.live.now().public_url);
    let session = LoggedIn { user, access_token: session.token, expires_at: session.expires_at };
    Ok(Entry::Open { session: Box::new(session), cookie })
}

/// What a user may answer with.
pub(super) fn methods(factors: &SecondFactors) -> Vec<Method> {
    let has = [
        (factors.totp_since.is_some(), Method::Totp),
        (factors.passkeys > 0, Method::Passkey),
        (factors.recovery_codes > 0, Method::RecoveryCode),
    ];
    has.into_iter().filter_map(|(has, method)| has.then_some(method)).collect()
}

/// The session cookie. `Secure` where browsers reach us by https: without TLS they would not send such a cookie back.
pub(super) fn set_cookie(token: &str, max_age_s: i64, public_url: &str) -> HeaderValue {
    let secure = if public_url.starts_with("https://") { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// The answer to a login that waits.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorAnswer {
    /// The login's `challenge`.
    challenge: String,
    /// A code of the authenticator app, or a recovery code.
    code: String,
}

/// Ends a login that waits for a code.
///
/// A challenge lives five minutes and takes five tries. A code that is wrong is `401 wrong_code`; a challenge that is over
/// `401 challenge_over`, after which the login begins anew.
#[utoipa::path(operation_id = "login_second_factor", post, path = "/api/user/login/second-factor", tag = "user", security(()),
    request_body = SecondFactorAnswer, responses((status = 200, description = "Logged in; the cookie is set", body = LoggedIn)))]
async fn second_factor(
    State(app): State<App>,
    client: ClientIp,
    headers: HeaderMap,
    Json(body): Json<SecondFactorAnswer>,
) -> Result<Response, Problem> {
    let origin = Origin::new(&headers, client);
    app.limits.admit(ADDRESS, &origin.address).await?;
    let waiting = app.directory.waiting_login(&body.challenge).await?;
    let account = waiting.user.to_string();
    admit_code(&app, &account).await?;
    let user = match app.directory.answer_login(&waiting, &body.code).await {
        Ok(user) => user,
        Err(error @ DirectoryError::WrongCode) => {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "wrong_code", error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    app.limits.forgive(ADDRESS, &origin.address).await;
    forgive_code(&app, &account).await;
    Ok(open(&app, user, &origin).await?.into_response())
}

/// Counts a try at a code of an account, or refuses it.
pub(super) async fn admit_code(app: &App, account: &str) -> Result<(), Problem> {
    app.limits.admit(CODE, account).await?;
    app.limits.admit(CODE_A_DAY, account).await
}

/// Takes a try at a code back: it was right.
pub(super) async fn forgive_code(app: &App, account: &str) {
    app.limits.forgive(CODE, account).await;
    app.limits.forgive(CODE_A_DAY, account).await;
}

#[cfg(test)]
mod tests {
    use super::set_cookie;

    #[test]
    fn a_session_is_for_no_script_no_other_site_and_where_there_is_tls_for_nothing_without_it() {
        let flags = "nexusroute_session=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60";
        assert_eq!(set_cookie("t", 60, "http://127.0.0.1:3000"), flags);
        assert_eq!(set_cookie("t", 60, "https://gateway.example.com"), format!("{flags}; Secure"));
    }
}
