//! Passkeys: logging in with one, and looking after one's own.
//!
//! Claims: whoever logs in with a passkey says no name and is told none before it has signed; what is wrong with a passkey that
//! is refused is not told; a new one and an end ask for a fresh confirmation.

use super::limit::{ADDRESS, PASSKEY};
use super::login::{LoggedIn, Means, Origin, enter};
use crate::{
    app::App,
    body::{Json, Page, Path},
    directory::{
        DirectoryError,
        passkey::{Ceremony, Passkey, RelyingParty, check_passkey_name},
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::{Caller, ClientIp},
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use domain::Moment;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .open(routes!(ask))
        .open(routes!(login))
        .guarded(Permission::SelfLogin, routes!(list))
        .confirmed(Permission::SelfLogin, routes!(begin))
        .confirmed(Permission::SelfLogin, routes!(add))
        .guarded(Permission::SelfLogin, routes!(rename))
        .confirmed(Permission::SelfLogin, routes!(remove))
}

/// This gateway, as authenticators know it.
fn relying_party(app: &App) -> Result<RelyingParty, Problem> {
    RelyingParty::of(&app.config.public_url).ok_or_else(|| {
        let detail = "passkeys need a public_url with a name in it, not an IP address";
        Problem::conflict("passkeys_unavailable", detail)
    })
}

/// What is asked of an authenticator.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CeremonyView {
    /// To be sent back with the authenticator's answer; good for one.
    ceremony: String,
    /// When it is over.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Moment,
    /// For `PublicKeyCredential.parseCreationOptionsFromJSON` or `parseRequestOptionsFromJSON`.
    #[schema(value_type = Object)]
    options: serde_json::Value,
}

impl From<Ceremony> for CeremonyView {
    fn from(it: Ceremony) -> Self {
        Self {
            ceremony: it.challenge.token.expose().to_owned(),
            expires_at: it.challenge.expires_at,
            options: it.options,
        }
    }
}

/// An authenticator's answer.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasskeyAnswer {
    /// The `ceremony` that it answers.
    ceremony: String,
    /// What `navigator.credentials.get` returned, by its `toJSON()`.
    #[schema(value_type = Object)]
    credential: serde_json::Value,
}

/// Whose passkey has signed.
pub(super) async fn check(
    app: &App,
    answer: &PasskeyAnswer,
) -> Result<crate::directory::user::User, Problem> {
    let credential = answer.credential.to_string();
    let rp = relying_party(app)?;
    Ok(app.directory.use_passkey(&answer.ceremony, credential.as_bytes(), &rp).await?)
}

/// Asks whoever has a passkey here to sign, for a login or a confirmation.
#[utoipa::path(operation_id = "ask_passkey", post, path = "/api/user/login/passkey/options", tag = "user", security(()),
    responses((status = 200, body = CeremonyView)))]
async fn ask(State(app): State<App>, ClientIp(ip): ClientIp) -> Result<Json<CeremonyView>, Problem> {
    app.limits.admit(PASSKEY, &ip.to_string()).await?;
    Ok(Json(app.directory.ask_passkey(&relying_party(&app)?).await?.into()))
}

/// Opens a session with a passkey, which is both factors. No name is asked for.
#[utoipa::path(operation_id = "login_passkey", post, path = "/api/user/login/passkey", tag = "user", security(()),
    request_body = PasskeyAnswer, responses((status = 200, description = "Logged in; the cookie is set", body = LoggedIn)))]
async fn login(
    State(app): State<App>,
    client: ClientIp,
    headers: HeaderMap,
    Json(body): Json<PasskeyAnswer>,
) -> Result<Response, Problem> {
    let origin = Origin::new(&headers, client);
    app.limits.admit(ADDRESS, &origin.address).await?;
    let user = check(&app, &body).await?;
    app.limits.forgive(ADDRESS, &origin.address).await;
    super::user::check_email_proof(&app, &user)?;
    Ok(enter(&app, user, Means::Passkey, &origin).await?.into_response())
}

/// My passkeys, the oldest first.
#[utoipa::path(operation_id = "list_passkeys", get, path = "/api/user/passkeys", tag = "user",
    responses((status = 200, body = Page<Passkey>)))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Page<Passkey>>, Problem> {
    Ok(Json(Page { items: app.directory.passkeys(caller.user).await?, next_cursor: None }))
}

/// Asks my authenticator for a new passkey.
#[utoipa::path(operation_id = "begin_passkey", post, path = "/api/user/passkeys/options", tag = "user",
    responses((status = 200, body = CeremonyView)))]
async fn begin(State(app): State<App>, caller: Caller) -> Result<Json<CeremonyView>, Problem> {
    Ok(Json(app.directory.begin_passkey(caller.user, &relying_party(&app)?).await?.into()))
}

/// A new passkey.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPasskey {
    /// The `ceremony` that asked for it.
    ceremony: String,
    /// What I call it: 1 to 100 characters.
    name: String,
    /// What `navigator.credentials.create` returned, by its `toJSON()`.
    #[schema(value_type = Object)]
    credential: serde_json::Value,
}

/// A passkey just registered.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PasskeyAdded {
    /// The passkey.
    passkey: Passkey,
    /// Recovery codes, if this is my first second factor; shown once. Empty: those from before go on.
    recovery_codes: Vec<String>,
}

/// Registers a passkey. From now on a login by password asks for a second factor.
#[utoipa::path(operation_id = "add_passkey", post, path = "/api/user/passkeys", tag = "user", request_body = NewPasskey,
    responses((status = 201, body = PasskeyAdded)))]
async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<NewPasskey>,
) -> Result<(StatusCode, Json<PasskeyAdded>), Problem> {
    check_passkey_name(&body.name).map_err(|fault| Problem::invalid("name", fault))?;
    let (rp, credential) = (relying_party(&app)?, body.credential.to_string());
    let added =
        app.directory.add_passkey(caller.user, &body.ceremony, &body.name, credential.as_bytes(), &rp).await;
    let (passkey, codes) = match added {
        Ok(added) => added,
        // It is the caller's own: they may know what is wrong with it.
        Err(DirectoryError::BadPasskey(fault)) => return Err(Problem::invalid("credential", fault)),
        Err(error) => return Err(error.into()),
    };
    let recovery_codes = codes.iter().map(|code| code.expose().to_owned()).collect();
    Ok((StatusCode::CREATED, Json(PasskeyAdded { passkey, recovery_codes })))
}

/// What is changed about a passkey.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenamePasskey {
    /// 1 to 100 characters.
    name: String,
}

/// Gives one of my passkeys another name.
#[utoipa::path(operation_id = "rename_passkey", patch, path = "/api/user/passkeys/{id}", tag = "user", params(("id" = String, Path)),
    request_body = RenamePasskey, responses((status = 200, body = Passkey)))]
async fn rename(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<RenamePasskey>,
) -> Result<Json<Passkey>, Problem> {
    check_passkey_name(&body.name).map_err(|fault| Problem::invalid("name", fault))?;
    Ok(Json(app.directory.rename_passkey(caller.user, &id, &body.name).await?))
}

/// Removes one of my passkeys; with the last second factor the recovery codes go.
#[utoipa::path(operation_id = "remove_passkey", delete, path = "/api/user/passkeys/{id}", tag = "user", params(("id" = String, Path)),
    responses((status = 204, description = "Removed; it opens nothing any more")))]
async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.directory.remove_passkey(caller.user, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
pub(crate) mod tests;
