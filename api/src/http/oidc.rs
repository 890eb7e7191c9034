//! Logging in by another site, and linking what one is there to one's account.
//!
//! A browser is sent to the issuer and comes back with a code; whatever goes wrong on that way, it lands on a page of ours with
//! a word for what it was ([`Failure`]), never on a problem in JSON.
//! Claims: what comes back is good for the browser that was sent, once, within ten minutes; a browser is only ever sent on to a
//! path of this site; nobody becomes an existing user because an address is the same, unless the operator says so of that
//! issuer; who joins by an issuer joins by the same rules as everybody else.

use super::limit::{ISSUER, REGISTER};
use super::login::{Entry, Means, Origin, SecondFactorNeeded, enter};
use super::registration::{check_domain, language};
use crate::{
    app::App,
    body::{Json, Path, Query},
    config::RegistrationMode,
    directory::{
        DirectoryError, Status,
        identity::{ATTEMPT_MS, Attempt, Identity, IdentityName, Linking, NewAttempt, NewByIdentity},
        user::{User, check_email},
        words,
    },
    http::permission::{Permission, Routes},
    issuers::{Issuer, IssuerError, Person, Secrets, form},
    problem::{Problem, current_request_id},
    session::{Caller, ClientIp, cookie_named},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Moment;
use relay::Secret;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .open(routes!(methods))
        .open(routes!(start))
        .open(routes!(callback))
        .guarded(Permission::SelfLogin, routes!(list))
        .confirmed(Permission::SelfLogin, routes!(link))
        .confirmed(Permission::SelfLogin, routes!(unlink))
}

/// Where a login that failed lands, with `?error=` and `&issuer=`.
const LOGIN_PAGE: &str = "/login";
/// The longest path to come back to.
const MOST_RETURN: usize = 500;

words! {
    /// Why a login by another site, or a link to it, came to nothing.
    Failure {
        /// The person said no there.
        Denied = "denied",
        /// The issuer ended it, or does not take the code.
        IssuerRefused = "issuer_refused",
        /// The issuer does not answer as it must.
        IssuerUnavailable = "issuer_unavailable",
        /// It is not the answer to a login of this browser, or comes too late or again.
        InvalidState = "invalid_state",
        /// What the issuer says cannot be believed.
        InvalidToken = "invalid_token",
        /// The issuer vouches for no address, which a new user needs.
        NoVerifiedEmail = "no_verified_email",
        /// A user has the address: log in, then link.
        EmailKnown = "email_known",
        /// Addresses of the domain are not accepted here.
        EmailDomain = "email_domain",
        /// Nobody can register here.
        RegistrationClosed = "registration_closed",
        /// Only those with an invitation may register.
        InvitationNeeded = "invitation_needed",
        /// The invitation is used up, too old, or was never given out.
        InvalidInvitation = "invalid_invitation",
        /// The account is switched off.
        AccountDisabled = "account_disabled",
        /// The account's own address is not proven.
        EmailNotVerified = "email_not_verified",
        /// What is to be linked is another user's.
        IdentityTaken = "identity_taken",
        /// There are too many links already.
        TooManyIdentities = "too_many_identities",
        /// Who wanted to link is not logged in any more.
        SessionEnded = "session_ended",
        /// Too many tries from this address.
        TooManyRequests = "too_many_requests",
        /// Something here does not answer; try again.
        Unavailable = "unavailable",
        /// Our fault; it is in the log.
        Internal = "internal",
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem.status {
            StatusCode::TOO_MANY_REQUESTS => Self::TooManyRequests,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        // It is logged on the way.
        Problem::from(error).into()
    }
}

/// Says in the log what an issuer did, and answers what a person is told.
fn judged(issuer: &Issuer, error: &IssuerError) -> Failure {
    let (request, issuer, cause) =
        (current_request_id(), &issuer.config.id, std::error::Error::source(error));
    match (error, cause) {
        (_, Some(cause)) => tracing::warn!(request, issuer, "{error}: {cause}"),
        (_, None) => tracing::warn!(request, issuer, "{error}"),
    }
    match error {
        IssuerError::Unavailable(_) => Failure::IssuerUnavailable,
        IssuerError::Refused(_) => Failure::IssuerRefused,
        IssuerError::Token(_) => Failure::InvalidToken,
    }
}

/// A site by which one can log in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct IssuerView {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// What stands on its button.
    label: String,
    /// Where the button leads; takes `return` and `invite`.
    start: String,
}

/// How one can log in and register.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LoginMethods {
    /// By name or address and password: always.
    password: bool,
    /// Who may register: `required`, `optional`, `invite` or `closed`, as the option `registration.mode` says.
    registration: &'static str,
    /// By other sites.
    issuers: Vec<IssuerView>,
}

/// How one can log in here.
#[utoipa::path(operation_id = "login_methods", get, path = "/api/user/login-methods", tag = "user", security(()),
    responses((status = 200, body = LoginMethods)))]
async fn methods(State(app): State<App>) -> Json<LoginMethods> {
    let view = |issuer: &Issuer| IssuerView {
        id: issuer.config.id.clone(),
        name: issuer.config.name.clone(),
        label: issuer.config.label.clone(),
        start: format!("/api/user/oidc/{}/start", issuer.config.id),
    };
    let registration = match app.live.now().registration.mode {
        RegistrationMode::Required => "required",
        RegistrationMode::Optional => "optional",
        RegistrationMode::Invite => "invite",
        RegistrationMode::Closed => "closed",
    };
    let issuers = app.issuers.all().iter().map(view).collect();
    Json(LoginMethods { password: true, registration, issuers })
}

/// How a login by another site is to begin and end.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StartQuery {
    /// The path of this site to go to afterwards. Absent: `/`.
    #[serde(rename = "return")]
    #[param(rename = "return")]
    return_to: Option<String>,
    /// An invitation's code, for somebody new where one is needed.
    invite: Option<String>,
}

/// Sends the browser to another site to log in there.
///
/// A page for browsers: a button's link. If the site cannot be reached, the browser lands at `/login?error=…`.
#[utoipa::path(operation_id = "start_oidc_login", get, path = "/api/user/oidc/{issuer}/start", tag = "user", security(()),
    params(("issuer" = String, Path, description = "Its id"), StartQuery),
    responses((status = 303, description = "To the other site, or to the login page with an error")))]
async fn start(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<StartQuery>,
) -> Result<Response, Problem> {
    let issuer = find(&app, &id)?;
    let return_to = own_path(&app.config.public_url, query.return_to.as_deref())
        .ok_or_else(|| Problem::bad_request("invalid_query", format!("return: {NOT_OURS}")))?;
    let begun = match app.limits.admit(ISSUER, &ip.to_string()).await {
        Ok(()) => begin(&app, issuer, &headers, None, query.invite.as_deref(), &return_to).await,
        Err(problem) => Err(problem.into()),
    };
    Ok(match begun {
        Ok((url, cookie)) => ([(header::SET_COOKIE, cookie)], Redirect::to(url.as_str())).into_response(),
        Err(failure) => land(&app, issuer, LOGIN_PAGE, failure),
    })
}

const NOT_OURS: &str = "must be a path of this site, such as /keys";

fn find<'a>(app: &'a App, id: &str) -> Result<&'a Issuer, Problem> {
    app.issuers.find(id).ok_or_else(|| Problem::not_found("no such issuer"))
}

/// Notes that a login begins; answers where to send the browser, and the cookie by which it is known again.
async fn begin(
    app: &App,
    issuer: &Issuer,
    headers: &HeaderMap,
    links: Option<Linking>,
    invite: Option<&str>,
    return_to: &str,
) -> Result<(Url, HeaderValue), Failure> {
    let random = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let secrets = Secrets { state: random(), nonce: random(), verifier: Secret::new(random()) };
    let url = issuer.authorization(&secrets).await.map_err(|error| judged(issuer, &error))?;
    let public_url = &app.config.public_url;
    // The same for all tabs of a browser, so that one does not end what another began.
    let known = cookie_named(headers, cookie_name(public_url)).filter(|it| is_browser(it));
    let browser = known.map_or_else(random, ToOwned::to_owned);
    let attempt = NewAttempt {
        state: &secrets.state,
        browser: &browser,
        issuer: &issuer.config.id,
        nonce: &secrets.nonce,
        verifier: &secrets.verifier,
        links,
        invite,
        return_to,
    };
    app.directory.begin_attempt(attempt).await?;
    Ok((url, browser_cookie(&browser, public_url)))
}

/// 256 bits, as we write them?
fn is_browser(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}

/// The name of the cookie of a browser that is on its way. With `__Host-` no other host of the domain can set it.
fn cookie_name(public_url: &str) -> &'static str {
    if public_url.starts_with("https://") { "__Host-nexusroute_login" } else { "nexusroute_login" }
}

fn browser_cookie(browser: &str, public_url: &str) -> HeaderValue {
    let (name, max_age_s) = (cookie_name(public_url), ATTEMPT_MS / 1000);
    let secure = if public_url.starts_with("https://") { "; Secure" } else { "" };
    // Lax: the other site sends the browser back, and the cookie must come along.
    let text = format!("{name}={browser}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// A path of this site, as a browser reads it; `None`: it is none. Absent: the start page.
fn own_path(public_url: &str, path: Option<&str>) -> Option<String> {
    let path = path.unwrap_or("/");
    let odd = |c: char| c.is_control() || c == '\\';
    if path.len() > MOST_RETURN || !path.starts_with('/') || path.chars().any(odd) {
        return None;
    }
    let base = Url::parse(public_url).ok()?;
    let there = base.join(path).ok()?;
    let query = there.query().map(|it| format!("?{it}")).unwrap_or_default();
    let fragment = there.fragment().map(|it| format!("#{it}")).unwrap_or_default();
    let text = format!("{}{query}{fragment}", there.path());
    // After what a browser makes of dots: `/.//evil.example` is another site.
    let ours = there.origin() == base.origin() && !text.starts_with("//") && text.len() <= MOST_RETURN + 100;
    ours.then_some(text)
}

/// Sends a browser to a page of ours with a word for what went wrong.
fn land(app: &App, issuer: &Issuer, page: &str, failure: Failure) -> Response {
    let there = Url::parse(&app.config.public_url).and_then(|base| base.join(page));
    let Ok(mut there) = there else {
        return Problem::unavailable("there is no page to go to").into_response();
    };
    there.query_pairs_mut().append_pair("error", failure.as_str()).append_pair("issuer", &issuer.config.id);
    let fragment = there.fragment().map(|it| format!("#{it}")).unwrap_or_default();
    let text = format!("{}?{}{fragment}", there.path(), there.query().unwrap_or_default());
    Redirect::to(&text).into_response()
}

/// What an issuer sends a browser back with. It may add what it likes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CallbackQuery {
    /// The code.
    code: Option<String>,
    /// What we sent along.
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
    /// Who sends it (RFC 9207).
    iss: Option<String>,
}

/// Where another site sends the browser back to.
///
/// Opens a session, or makes a link, and goes to where the login was to end. Who has a second factor lands at
/// `/login#second_factor=<challenge>&methods=…&return=…`. Otherwise at `/login` (or, when linking, where that
/// was to end) with `?error=`: `denied`, `issuer_refused`, `issuer_unavailable`, `invalid_state`, `invalid_token`,
/// `no_verified_email`, `email_known`, `email_domain`, `registration_closed`, `invitation_needed`, `invalid_invitation`,
/// `account_disabled`, `email_not_verified`, `identity_taken`, `too_many_identities`, `session_ended`, `too_many_requests`,
/// `unavailable` or `internal`.
#[utoipa::path(operation_id = "finish_oidc_login", get, path = "/api/user/oidc/{issuer}/callback", tag = "user", security(()),
    params(("issuer" = String, Path, description = "Its id"), CallbackQuery),
    responses((status = 303, description = "To where the login was to end, or to the login page with an error")))]
async fn callback(
    State(app): State<App>,
    ClientIp(ip): ClientIp,
    method: Method,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Result<Query<CallbackQuery>, Problem>,
) -> Result<Response, Problem> {
    let issuer = find(&app, &id)?;
    // What looks at a link before a person follows it uses nothing up.
    if method == Method::HEAD {
        return Ok(StatusCode::OK.into_response());
    }
    let taken = match query {
        Ok(Query(query)) => take(&app, issuer, &headers, query).await,
        Err(_) => Err(Failure::InvalidState),
    };
    let (attempt, query) = match taken {
        Ok(taken) => taken,
        Err(failure) => return Ok(land(&app, issuer, LOGIN_PAGE, failure)),
    };
    let person = match identify(issuer, &attempt, query).await {
        Ok(person) => person,
        Err(failure) => return Ok(land(&app, issuer, page_of(&attempt), failure)),
    };
    let ended = match &attempt.links {
        Some(linking) => link_to(&app, issuer, linking, &person).await.map(|()| None),
        None => log_in(&app, issuer, &attempt, &person, &headers, ip).await.map(Some),
    };
    if ended.is_ok() {
        app.limits.forgive(ISSUER, &ip.to_string()).await;
    }
    Ok(match ended {
        Ok(None) => Redirect::to(&attempt.return_to).into_response(),
        Ok(Some(Entry::Open { cookie, .. })) => {
            ([(header::SET_COOKIE, cookie)], Redirect::to(&attempt.return_to)).into_response()
        }
        Ok(Some(Entry::SecondFactor(needed))) => {
            Redirect::to(&question(&needed, &attempt.return_to)).into_response()
        }
        Err(failure) => land(&app, issuer, page_of(&attempt), failure),
    })
}

/// The page that asks for the second factor. What it needs stands behind `#`, which no server sees.
fn question(needed: &SecondFactorNeeded, return_to: &str) -> String {
    let methods: Vec<&str> = needed.methods.iter().map(|method| method.as_str()).collect();
    let fields = [
        ("second_factor", needed.challenge.as_str()),
        ("methods", &methods.join(",")),
        ("return", return_to),
    ];
    format!("{LOGIN_PAGE}#{}", form(&fields))
}

/// Where a person is told what went wrong.
fn page_of(attempt: &Attempt) -> &str {
    if attempt.links.is_some() { &attempt.return_to } else { LOGIN_PAGE }
}

/// Which login of this browser it is that comes back.
async fn take(
    app: &App,
    issuer: &Issuer,
    headers: &HeaderMap,
    query: CallbackQuery,
) -> Result<(Attempt, CallbackQuery), Failure> {
    let browser = cookie_named(headers, cookie_name(&app.config.public_url));
    let (Some(browser), Some(state)) = (browser, query.state.as_deref()) else {
        return Err(Failure::InvalidState);
    };
    let attempt = app.directory.take_attempt(&issuer.config.id, state, browser).await?;
    Ok((attempt.ok_or(Failure::InvalidState)?, query))
}

/// Asks the issuer whose the code is.
async fn identify(issuer: &Issuer, attempt: &Attempt, query: CallbackQuery) -> Result<Person, Failure> {
    let named = issuer.is_named_rightly(query.iss.as_deref()).await;
    if !named.map_err(|error| judged(issuer, &error))? {
        return Err(Failure::InvalidState);
    }
    match (query.error.as_deref(), query.code) {
        (Some("access_denied"), _) => Err(Failure::Denied),
        (Some(_), _) | (None, None) => Err(Failure::IssuerRefused),
        (None, Some(code)) => {
            let person = issuer.identify(&code, &attempt.nonce, &attempt.verifier).await;
            person.map_err(|error| judged(issuer, &error))
        }
    }
}

fn name_of<'a>(issuer: &'a Issuer, person: &'a Person) -> IdentityName<'a> {
    IdentityName { issuer: &issuer.config.issuer, subject: &person.subject }
}

/// What somebody is called at the issuer.
fn label_of(person: &Person) -> &str {
    person.name.as_deref().or(person.email.as_deref()).unwrap_or(&person.subject)
}

async fn link_to(app: &App, issuer: &Issuer, linking: &Linking, person: &Person) -> Result<(), Failure> {
    if !app.directory.session_is_open(linking).await? {
        return Err(Failure::SessionEnded);
    }
    let (name, label) = (name_of(issuer, person), label_of(person));
    match app.directory.user_by_identity(name, label).await? {
        Some(user) if user.id == linking.user => return Ok(()),
        Some(_) => return Err(Failure::IdentityTaken),
        None => {}
    }
    let actor = crate::session::actor(domain::ActorKind::User, linking.user);
    match app.directory.link_identity(linking.user, name, label, actor).await {
        Ok(()) => Ok(()),
        Err(DirectoryError::Taken(_)) => Err(Failure::IdentityTaken),
        Err(DirectoryError::TooMany { .. }) => Err(Failure::TooManyIdentities),
        Err(error) => Err(error.into()),
    }
}

/// Lets somebody in, or asks for their second factor.
async fn log_in(
    app: &App,
    issuer: &Issuer,
    attempt: &Attempt,
    person: &Person,
    headers: &HeaderMap,
    ip: IpAddr,
) -> Result<Entry, Failure> {
    let known = app.directory.user_by_identity(name_of(issuer, person), label_of(person)).await?;
    let user = match known {
        Some(user) => user,
        None => newcomer(app, issuer, attempt, person, headers, ip).await?,
    };
    if user.status == Status::Disabled {
        return Err(Failure::AccountDisabled);
    }
    // As at a login by password.
    if super::user::owes_proof(app, &user) {
        return Err(Failure::EmailNotVerified);
    }
    Ok(enter(app, user, Means::Oidc, &Origin::new(headers, ClientIp(ip))).await?)
}

/// Somebody whom nobody here knows by this identity: a user by their address where the operator allows it, else somebody new.
async fn newcomer(
    app: &App,
    issuer: &Issuer,
    attempt: &Attempt,
    person: &Person,
    headers: &HeaderMap,
    ip: IpAddr,
) -> Result<User, Failure> {
    let vouched = person.email.as_deref().filter(|email| person.email_verified && check_email(email).is_ok());
    // Without the issuer's word for it an address says nothing, and nothing is said of it.
    let email = vouched.ok_or(Failure::NoVerifiedEmail)?;
    let (name, label) = (name_of(issuer, person), label_of(person));
    if let Some((user, _)) = app.directory.credentials(email).await? {
        let allowed = issuer.config.link_by_email && user.email_verified && user.status == Status::Active;
        if !allowed {
            return Err(Failure::EmailKnown);
        }
        let actor = crate::session::actor(domain::ActorKind::User, user.id);
        return match app.directory.link_identity(user.id, name, label, actor).await {
            Ok(()) => Ok(user),
            // Another tab was faster.
            Err(DirectoryError::Taken(_)) => {
                app.directory.user_by_identity(name, label).await?.ok_or(Failure::IdentityTaken)
            }
            Err(DirectoryError::TooMany { .. }) => Err(Failure::TooManyIdentities),
            Err(error) => Err(error.into()),
        };
    }
    let terms = app.live.now().registration.clone();
    match terms.mode {
        RegistrationMode::Closed => return Err(Failure::RegistrationClosed),
        RegistrationMode::Invite if attempt.invite_hash.is_none() => return Err(Failure::InvitationNeeded),
        RegistrationMode::Invite | RegistrationMode::Required | RegistrationMode::Optional => {}
    }
    check_domain(app, email).map_err(|_| Failure::EmailDomain)?;
    app.limits.admit(REGISTER, &ip.to_string()).await?;
    // A name that was free can be taken by the time it is written.
    for _ in 0..3 {
        let new = NewByIdentity {
            identity: name,
            called: person.name.as_deref().unwrap_or(email),
            email,
            language: language(headers),
            invite_hash: attempt.invite_hash.as_deref(),
        };
        match app.directory.join_by_identity(new, terms.fold_aliases).await {
            Ok(user) => return Ok(user),
            Err(DirectoryError::BadInvitation) => return Err(Failure::InvalidInvitation),
            Err(DirectoryError::Taken(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(user) = app.directory.user_by_identity(name, label).await? {
            return Ok(user);
        }
    }
    Err(Failure::EmailKnown)
}

/// What one is at another site.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct IdentityView {
    /// Its id.
    id: String,
    /// The issuer's id; null where one cannot log in by it any more.
    issuer: Option<String>,
    /// The issuer's name, or its address.
    name: String,
    /// What one is called there.
    label: String,
    /// When it was linked.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it was last logged in by.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Moment,
}

/// The other sites by which one can log in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Identities {
    /// What one is there.
    items: Vec<IdentityView>,
    /// Is there a password too? Without one, `POST /api/user/password/forgot` sets the first.
    has_password: bool,
}

/// The other sites by which I can log in.
#[utoipa::path(operation_id = "list_identities", get, path = "/api/user/identities", tag = "user",
    responses((status = 200, body = Identities)))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Identities>, Problem> {
    let view = |it: Identity| {
        let issuer = app.issuers.all().iter().find(|issuer| issuer.config.issuer == it.issuer);
        IdentityView {
            id: it.id,
            issuer: issuer.map(|issuer| issuer.config.id.clone()),
            name: issuer.map_or(it.issuer, |issuer| issuer.config.name.clone()),
            label: it.label,
            created_at: it.created_at,
            last_used_at: it.last_used_at,
        }
    };
    let items = app.directory.identities(caller.user).await?.into_iter().map(view).collect();
    let has_password = app.directory.has_password(caller.user).await?;
    Ok(Json(Identities { items, has_password }))
}

/// A site to link.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The issuer's id.
    issuer: String,
    /// The path of this site to go to afterwards. Absent: `/`.
    #[serde(rename = "return")]
    return_to: Option<String>,
}

/// Where to go to link a site.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LinkStarted {
    /// The page of the other site. The browser that asked goes there, for it has got a cookie.
    url: String,
}

/// Begins to link another site to my account.
///
/// The browser comes back to `return`, with `?error=` if it came to nothing.
#[utoipa::path(operation_id = "link_identity", post, path = "/api/user/identities", tag = "user", request_body = Link,
    responses((status = 200, description = "Go to the address; a cookie is set", body = LinkStarted)))]
async fn link(
    State(app): State<App>,
    caller: Caller,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    Json(body): Json<Link>,
) -> Result<Response, Problem> {
    let issuer = app
        .issuers
        .find(&body.issuer)
        .ok_or_else(|| Problem::invalid("issuer", "there is no such issuer"))?;
    let return_to = own_path(&app.config.public_url, body.return_to.as_deref())
        .ok_or_else(|| Problem::invalid("return", NOT_OURS))?;
    app.limits.admit(ISSUER, &ip.to_string()).await?;
    let linking = Linking { user: caller.user, session: caller.session };
    let begun = begin(&app, issuer, &headers, Some(linking), None, &return_to).await;
    let (url, cookie) = begun.map_err(|failure| match failure {
        Failure::IssuerUnavailable => {
            let detail = "the other site does not answer as it must; try again later";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "issuer_unavailable", detail).retry_after(10)
        }
        _ => Problem::unavailable("the link could not be begun; try again"),
    })?;
    let body = LinkStarted { url: url.into() };
    Ok(([(header::SET_COOKIE, cookie)], Json(body)).into_response())
}

/// Takes away the link to another site. The last way to log in stays.
#[utoipa::path(operation_id = "unlink_identity", delete, path = "/api/user/identities/{id}", tag = "user",
    params(("id" = String, Path)), responses((status = 204, description = "Taken away")))]
async fn unlink(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let usable: Vec<&str> = app.issuers.all().iter().map(|it| it.config.issuer.as_str()).collect();
    app.directory.unlink_identity(caller.user, &id, &usable, caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests;
