//! The gateway's own settings: every option as it is in force, and those that can be changed while it runs.
//!
//! Claims: a secret is never shown; what is changed passes the very checks that the configuration file passes, is told on AUDIT,
//! and is in force in every process within a second; of two changes of one version the second is refused.

use crate::{
    app::App,
    body::{Json, Page, Query, page_limit},
    config::{Origin, Overrides, Shown},
    directory::{options::OptionsVersion, user::Role, words},
    http::permission::{Permission, Routes},
    problem::Problem,
    session::Admin,
};
use axum::{extract::State, http::StatusCode};
use domain::Moment;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SettingsRead, routes!(show))
        .confirmed(Permission::SettingsWrite, routes!(change))
        .guarded(Permission::SettingsRead, routes!(versions))
}

words! {
    /// Where a setting's value comes from.
    SettingSource {
        /// Nobody said anything.
        Default = "default",
        /// The configuration file.
        File = "file",
        /// An environment variable, or the command line.
        Environment = "environment",
        /// It was changed here.
        Database = "database",
    }
}

/// A setting as it is in force.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SettingView {
    /// Its key, as in the file.
    #[schema(example = "topup.min")]
    key: &'static str,
    /// Its value; null: there is none, or it is a secret.
    #[schema(value_type = Option<Value>)]
    value: Option<Value>,
    /// Is it a secret that is set?
    hidden: bool,
    /// Where the value comes from.
    source: SettingSource,
    /// Can it be changed here? The others are read once at the start.
    changeable: bool,
    /// Its default, as one would write it in an environment variable; empty: none.
    default: &'static str,
    /// What it does.
    help: &'static str,
}

impl From<Shown> for SettingView {
    fn from(it: Shown) -> Self {
        Self {
            key: it.key,
            value: it.value,
            hidden: it.is_hidden,
            source: match it.origin {
                Origin::Default => SettingSource::Default,
                Origin::File => SettingSource::File,
                Origin::Environment => SettingSource::Environment,
                Origin::Database => SettingSource::Database,
            },
            changeable: it.is_changeable,
            default: it.default,
            help: it.help,
        }
    }
}

/// All settings.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SettingsInForce {
    /// The version of what was changed here; 0: nothing ever was. Send it with the next change.
    version: i64,
    /// Every option, in the order of the documentation.
    items: Vec<SettingView>,
}

/// Every setting as it is in force, with where it comes from. Secrets are hidden.
#[utoipa::path(operation_id = "get_gateway_settings", get, path = "/api/admin/settings", tag = "admin: settings",
    responses((status = 200, body = SettingsInForce)))]
async fn show(State(app): State<App>, _: Admin) -> Json<SettingsInForce> {
    Json(in_force(&app, &app.directory.options()))
}

fn in_force(app: &App, options: &OptionsVersion) -> SettingsInForce {
    let items = app.live.start().shown(&options.options);
    SettingsInForce { version: options.version, items: items.into_iter().map(SettingView::from).collect() }
}

/// Settings to be changed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSettings {
    /// The version that was read; another one in force is a conflict.
    version: i64,
    /// Values by key; null takes a change back, so that the file, the environment or the default counts again.
    #[schema(value_type = std::collections::HashMap<String, Value>, example = json!({"topup.min": "5", "registration.mode": null}))]
    set: BTreeMap<String, Value>,
}

/// Changes settings while the gateway runs.
///
/// They stand over the file and the environment until they are taken back. Payment channels and the links in answers of the
/// relay take up `public_url` at the next start. What one operator may move alone (`adjustments.…`) only an owner changes.
#[utoipa::path(operation_id = "change_gateway_settings", patch, path = "/api/admin/settings", tag = "admin: settings",
    request_body = ChangeSettings, responses((status = 200, body = SettingsInForce)))]
async fn change(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<ChangeSettings>,
) -> Result<Json<SettingsInForce>, Problem> {
    // Of an operator's own limits somebody else decides.
    if admin.0.role != Role::Owner && body.set.keys().any(|key| key.starts_with("adjustments.")) {
        return Err(Problem::forbidden("only an owner changes what operators may move alone"));
    }
    // What this process has read may be half a second old.
    app.directory.refresh().await?;
    let before = app.directory.options();
    if before.version != body.version {
        return Err(changed(before.version));
    }
    let mut options: Overrides = before.options.clone();
    for (key, value) in body.set {
        // An unknown key with null would otherwise be taken for one that was taken back.
        if value.is_null() && !options.contains_key(&key) && !crate::config::is_changeable(&key) {
            return Err(Problem::invalid(
                &shortened(&key),
                "there is no such option that can be changed here",
            ));
        }
        match value {
            Value::Null => drop(options.remove(&key)),
            value => drop(options.insert(key, value)),
        }
    }
    if let Err(error) = app.live.check(&options) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", error.to_string()));
    }
    if options == before.options {
        return Ok(Json(in_force(&app, &before)));
    }
    match app.directory.put_options(before.version, &options, admin.actor()).await? {
        Ok(after) => Ok(Json(in_force(&app, &after))),
        Err(newest) => Err(changed(newest)),
    }
}

fn changed(newest: i64) -> Problem {
    let detail = format!("version: somebody has changed the settings; {newest} is in force now");
    Problem::conflict("settings_changed", detail)
}

fn shortened(key: &str) -> String {
    key.chars().take(60).collect()
}

/// What was changed at one time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SettingsVersionView {
    /// Its number.
    version: i64,
    /// All options that were changed at that time.
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    options: Overrides,
    /// Who made it: a user's id, or `command line`.
    author: String,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Moment>,
}

/// Which versions are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VersionsQuery {
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Versions of what was changed here, newest first.
#[utoipa::path(operation_id = "list_settings_versions", get, path = "/api/admin/settings/versions", tag = "admin: settings",
    params(VersionsQuery), responses((status = 200, body = Page<SettingsVersionView>)))]
async fn versions(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<VersionsQuery>,
) -> Result<Json<Page<SettingsVersionView>>, Problem> {
    let limit = page_limit(query.limit)?;
    let bad = |_| Problem::bad_request("invalid_query", "cursor: is not one that this list gave");
    let before = query.cursor.map(|text| text.parse()).transpose().map_err(bad)?;
    let items = app.directory.options_versions(before, limit + 1).await?;
    let view = |it: OptionsVersion| SettingsVersionView {
        version: it.version,
        options: it.options,
        author: it.author,
        created_at: it.created_at,
    };
    Ok(Json(Page::of(items, limit, |it| it.version.to_string()).map(view)))
}

#[cfg(test)]
mod tests;
