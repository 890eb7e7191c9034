//! What everybody may know of this gateway before they log in.

use crate::{app::App, body::Json, config::RegistrationMode, http::permission::Routes};
use axum::extract::State;
use serde::Serialize;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().open(routes!(show))
}

/// This gateway, as its users see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SiteView {
    /// What it is called.
    #[schema(example = "NexusRoute")]
    name: String,
    /// How browsers reach it.
    #[schema(example = "https://gateway.example.org")]
    public_url: String,
    /// Who may register.
    registration: RegistrationMode,
    /// Is anything given for bringing somebody?
    referral: bool,
}

/// What this gateway is called, and who may register.
#[utoipa::path(operation_id = "get_site", get, path = "/api/site", tag = "user", security(()),
    responses((status = 200, body = SiteView)))]
async fn show(State(app): State<App>) -> Json<SiteView> {
    let live = app.live.now();
    Json(SiteView {
        name: live.site_name.clone(),
        public_url: live.public_url.clone(),
        registration: live.registration.mode,
        referral: live.referral.enabled,
    })
}
