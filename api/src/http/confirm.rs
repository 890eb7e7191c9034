//! Confirmation: a fresh proof, within a session, that it is still its owner who asks.
//!
//! For: `POST /api/user/confirm`, and [`require`], which the doors call for routes that are declared with
//! [`Routes::confirmed`].
//! Claims: a login is a confirmation; who has a second factor confirms with it, who has none with the password; tries are
//! limited as logins are; how a session's token is carried, as a cookie or as `Authorization: Bearer`, makes no difference.

use super::login::{Method, admit_code, forgive_code, methods};
use crate::{
    app::App,
    body::Json,
    directory::now,
    http::permission::{Permission, Routes},
    problem::Problem,
    session::Caller,
};
use axum::{extract::State, http::StatusCode};
use domain::Moment;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::SelfLogin, routes!(confirm))
}

/// Until when the last proof is fresh.
pub(super) fn fresh_until(confirmed_at: Moment, window: Duration) -> Moment {
    confirmed_at.plus_ms(i64::try_from(window.as_millis()).unwrap_or(i64::MAX / 1_000))
}

/// Refuses who has not proven to be who they are for too long.
pub(super) fn require(app: &App, caller: &Caller) -> Result<(), Problem> {
    let window = app.config.security.confirmation;
    if now() < fresh_until(caller.confirmed_at, window) {
        return Ok(());
    }
    let detail = format!(
        "this needs a proof from the last {} minutes that it is you: POST /api/user/confirm, or log in again",
        window.as_secs() / 60
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "confirmation_required", detail))
}

/// A proof: exactly one of them.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The password, of who has no second factor.
    password: Option<String>,
    /// A code of the authenticator app, or a recovery code.
    code: Option<String>,
}

/// A confirmation.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Confirmed {
    /// Until when it counts as fresh.
    #[schema(value_type = String, format = DateTime)]
    confirmed_until: Moment,
}

/// Confirms that it is me.
///
/// Routes that say `x-confirmation` answer `403 confirmation_required` to a session whose last proof is too old. A login is a
/// proof, so that nobody confirms who has just logged in. Who has a second factor confirms with that, else with the password.
#[utoipa::path(post, path = "/api/user/confirm", tag = "user", request_body = Confirm, responses((status = 200, body = Confirmed)))]
async fn confirm(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<Confirm>,
) -> Result<Json<Confirmed>, Problem> {
    match (body.password, body.code) {
        (Some(password), None) => {
            let has = methods(&app.directory.second_factors(caller.user).await?);
            if has.iter().any(|method| *method != Method::RecoveryCode) {
                let detail = "password: you have a second factor; confirm with it";
                return Err(Problem::new(StatusCode::FORBIDDEN, "second_factor_needed", detail));
            }
            super::user::prove(&app, &caller, "password", password).await?;
        }
        (None, Some(code)) => {
            let account = caller.user.to_string();
            admit_code(&app, &account).await?;
            app.directory.take_code(caller.user, &code).await?;
            forgive_code(&app, &account).await;
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(Problem::invalid("password", "send exactly one of password and code"));
        }
    }
    let at = app.directory.confirm_session(&caller.session).await?;
    let confirmed_until = fresh_until(at, app.config.security.confirmation);
    Ok(Json(Confirmed { confirmed_until }))
}
