//! What I have set for myself.

use super::registration::language;
use crate::http::permission::{Permission, Routes};
use crate::{
    app::App,
    body::Json,
    directory::{
        notice::Choices,
        settings::{Language, Settings},
    },
    problem::Problem,
    session::Caller,
};
use axum::{extract::State, http::HeaderMap};
use domain::Credits;
use relay::zone::Zone;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::SelfRead, routes!(show)).guarded(Permission::SelfLogin, routes!(put))
}

/// A user's settings.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsView {
    /// The language of mails and pages.
    language: Language,
    /// An offset from UTC (`+08:00`) or an IANA name (`Europe/Berlin`), by which days are shown, and by which the days and
    /// months of keys' budgets begin.
    time_zone: String,
    /// The currency that amounts are shown in, one of those that top-ups take; null: credits.
    display_currency: Option<String>,
    /// Below which balance, in credits, to be warned; null: never.
    #[schema(value_type = Option<String>)]
    low_balance_alert: Option<Credits>,
    /// What to be told of, and how; null: as is usual. Mails about security cannot be switched off.
    notifications: Option<Choices>,
}

impl From<Settings> for SettingsView {
    fn from(it: Settings) -> Self {
        Self {
            language: it.language,
            time_zone: it.time_zone.to_string(),
            display_currency: it.display_currency,
            low_balance_alert: it.low_balance_alert,
            notifications: Some(it.notifications),
        }
    }
}

/// My settings.
#[utoipa::path(operation_id = "get_settings", get, path = "/api/user/settings", tag = "user",
    responses((status = 200, body = SettingsView)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Json<SettingsView>, Problem> {
    let settings = app.directory.settings(caller.user).await?;
    Ok(Json(settings.unwrap_or_else(|| Settings::new(language(&headers))).into()))
}

/// States my settings anew; what is absent is null.
#[utoipa::path(operation_id = "put_settings", put, path = "/api/user/settings", tag = "user", request_body = SettingsView,
    responses((status = 200, body = SettingsView)))]
async fn put(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<SettingsView>,
) -> Result<Json<SettingsView>, Problem> {
    let time_zone: Zone = body.time_zone.parse().map_err(|fault| Problem::invalid("time_zone", fault))?;
    if let Some(currency) = &body.display_currency
        && !app.live.now().topup.rates.contains_key(currency)
    {
        return Err(Problem::invalid("display_currency", "must be a currency that top-ups take, or null"));
    }
    if body.low_balance_alert.is_some_and(|credits| credits.nano() < 0) {
        return Err(Problem::invalid("low_balance_alert", "must not be below zero"));
    }
    let notifications = body.notifications.unwrap_or_default();
    if !notifications.security.mail {
        return Err(Problem::invalid(
            "notifications.security.mail",
            "mails about security cannot be switched off",
        ));
    }
    let settings = Settings {
        language: body.language,
        time_zone,
        display_currency: body.display_currency,
        low_balance_alert: body.low_balance_alert,
        notifications,
    };
    app.directory.put_settings(caller.user, &settings).await?;
    Ok(Json(settings.into()))
}
