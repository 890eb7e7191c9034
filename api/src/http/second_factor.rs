//! One's own second factors: the authenticator app and the recovery codes; and taking another's away.
//!
//! Claims: every change asks for a fresh confirmation; a secret and recovery codes are shown once.

use super::confirm::fresh_until;
use super::login::{admit_code, forgive_code};
use crate::{
    app::App,
    body::{Json, Path},
    http::permission::{Permission, Routes},
    problem::Problem,
    session::{Admin, Caller},
};
use axum::{extract::State, http::StatusCode};
use domain::{AccountId, Moment};
use relay::Secret;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfLogin, routes!(show))
        .confirmed(Permission::SelfLogin, routes!(begin_totp, end_totp))
        .confirmed(Permission::SelfLogin, routes!(confirm_totp))
        .confirmed(Permission::SelfLogin, routes!(new_recovery_codes))
        .confirmed(Permission::UsersSecondFactor, routes!(remove))
}

/// What besides the password lets me in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SecondFactorView {
    /// Is a second factor asked for when I log in by password?
    enabled: bool,
    /// Since when codes of an authenticator app are asked for; null: they are not.
    #[schema(value_type = Option<String>, format = DateTime)]
    totp_since: Option<Moment>,
    /// How many passkeys I have.
    passkeys: i64,
    /// How many of my recovery codes are left.
    recovery_codes: i64,
    /// Must somebody of my role have one?
    required: bool,
    /// Until when this session needs no confirmation.
    #[schema(value_type = String, format = DateTime)]
    confirmed_until: Moment,
}

/// My second factors.
#[utoipa::path(operation_id = "get_second_factor", get, path = "/api/user/second-factor", tag = "user",
    responses((status = 200, body = SecondFactorView)))]
async fn show(State(app): State<App>, caller: Caller) -> Result<Json<SecondFactorView>, Problem> {
    let factors = app.directory.second_factors(caller.user).await?;
    let security = &app.config.security;
    Ok(Json(SecondFactorView {
        enabled: factors.any(),
        totp_since: factors.totp_since,
        passkeys: factors.passkeys,
        recovery_codes: factors.recovery_codes,
        required: security.require_second_factor_for.contains(&caller.role),
        confirmed_until: fresh_until(caller.confirmed_at, security.confirmation),
    }))
}

/// An authenticator app to be.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct NewTotp {
    /// The secret in base32, for typing it in. Shown once.
    secret: String,
    /// The same for a QR code: `otpauth://totp/…`.
    otpauth_uri: String,
}

/// Begins to set an authenticator app up.
///
/// Nothing is asked for until a code of it has come to `POST /api/user/totp/confirm`; asking again makes another secret.
#[utoipa::path(operation_id = "begin_totp", post, path = "/api/user/totp", tag = "user",
    responses((status = 201, description = "Now show it to the app and confirm one of its codes", body = NewTotp)))]
async fn begin_totp(State(app): State<App>, caller: Caller) -> Result<(StatusCode, Json<NewTotp>), Problem> {
    let (_, host) = app.config.public_url.split_once("://").unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let (secret, uri) = app.directory.begin_totp(caller.user, host).await?;
    let view = NewTotp { secret: secret.expose().to_owned(), otpauth_uri: uri.expose().to_owned() };
    Ok((StatusCode::CREATED, Json(view)))
}

/// A code of the app.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TotpCode {
    /// Its six digits.
    code: String,
}

/// Recovery codes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RecoveryCodes {
    /// Each lets in once where the app or the passkey is lost; shown once. Empty: those from before go on.
    recovery_codes: Vec<String>,
}

impl RecoveryCodes {
    fn new(codes: &[Secret]) -> Self {
        Self { recovery_codes: codes.iter().map(|code| code.expose().to_owned()).collect() }
    }
}

/// From now on a login by password asks for codes of the app.
#[utoipa::path(operation_id = "confirm_totp", post, path = "/api/user/totp/confirm", tag = "user", request_body = TotpCode,
    responses((status = 200, description = "Set up; with recovery codes if this is the first second factor", body = RecoveryCodes)))]
async fn confirm_totp(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<TotpCode>,
) -> Result<Json<RecoveryCodes>, Problem> {
    let account = caller.user.to_string();
    admit_code(&app, &account).await?;
    let codes = app.directory.confirm_totp(caller.user, &body.code).await?;
    forgive_code(&app, &account).await;
    Ok(Json(RecoveryCodes::new(&codes)))
}

/// Removes the authenticator app; with the last second factor the recovery codes go.
#[utoipa::path(operation_id = "end_totp", delete, path = "/api/user/totp", tag = "user",
    responses((status = 204, description = "Removed; its codes are asked for no more")))]
async fn end_totp(State(app): State<App>, caller: Caller) -> Result<StatusCode, Problem> {
    app.directory.end_totp(caller.user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes my recovery codes anew; the old ones end.
#[utoipa::path(operation_id = "new_recovery_codes", post, path = "/api/user/recovery-codes", tag = "user",
    responses((status = 201, description = "Shown once", body = RecoveryCodes)))]
async fn new_recovery_codes(
    State(app): State<App>,
    caller: Caller,
) -> Result<(StatusCode, Json<RecoveryCodes>), Problem> {
    let codes = app.directory.new_recovery_codes(caller.user).await?;
    Ok((StatusCode::CREATED, Json(RecoveryCodes::new(&codes))))
}

/// Why somebody's second factors are taken away.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveSecondFactors {
    /// How you know that it is them who ask: 1 to 200 characters, kept in the audit log.
    reason: String,
}

/// Takes the second factors of a user away whom the caller's role governs: they log in by password alone until they set one
/// up again.
#[utoipa::path(operation_id = "remove_second_factors", post, path = "/api/admin/users/{id}/remove-second-factors",
    tag = "admin: users", params(("id" = Uuid, Path)), request_body = RemoveSecondFactors,
    responses((status = 204, description = "Removed, the recovery codes too")))]
async fn remove(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<RemoveSecondFactors>,
) -> Result<StatusCode, Problem> {
    let reason = super::admin::checked_label("reason", body.reason)?;
    let (user, role) = (AccountId::from_uuid(id), admin.0.role);
    app.directory.remove_second_factors(user, &reason, admin.actor(), role).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests;
