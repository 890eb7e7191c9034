//! Models: what callers can name, and what it needs before they can call it.

use super::{checked_label, providers::WhichModel};
use crate::{
    app::App,
    body::{Json, Query},
    directory::{
        Status,
        model::{ModelChange, ModelRow},
    },
    http::permission::{Permission, Routes},
    http::prices::PriceTable,
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use domain::{Moment, Prices};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The most tokens that a cap may allow.
pub(super) const MAX_CAP: u64 = 10_000_000;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::CatalogueRead, routes!(list))
        .guarded(Permission::CatalogueWrite, routes!(change))
}

/// A model.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelView {
    /// The name callers use.
    name: String,
    /// The name to show.
    display_name: String,
    /// The cap on generated tokens that is set when the caller sets none.
    max_output_tokens: u64,
    /// Is it offered?
    status: Status,
    /// The prices in force; null: it cannot be called.
    prices: Option<PriceTable>,
    /// The active providers that serve it, best first; empty: it cannot be called.
    providers: Vec<String>,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl ModelView {
    fn new(row: ModelRow, prices: Option<&Prices>, providers: Vec<String>) -> Self {
        Self {
            name: row.name,
            display_name: row.display_name,
            max_output_tokens: row.max_output_tokens,
            status: row.status,
            prices: prices.map(PriceTable::from),
            providers,
            created_at: row.created_at,
        }
    }
}

/// All models.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Models {
    /// By name.
    items: Vec<ModelView>,
}

/// All models, offered or not.
#[utoipa::path(operation_id = "list_all_models", get, path = "/api/admin/models", tag = "admin: models", responses((status = 200, body = Models)))]
async fn list(State(app): State<App>, _: Admin) -> Result<Json<Models>, Problem> {
    let mut items = Vec::new();
    let offers = app.directory.offers().await?;
    for row in app.directory.models().await? {
        let offer = offers.get(&row.name);
        let providers = offer.map(|it| it.providers.clone()).unwrap_or_default();
        items.push(ModelView::new(row, offer.and_then(|it| it.prices.as_ref()), providers));
    }
    Ok(Json(Models { items }))
}

/// What is changed about a model; an absent field stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeModel {
    /// The name to show.
    display_name: Option<String>,
    /// The cap on generated tokens that is set when the caller sets none.
    max_output_tokens: Option<u64>,
    /// Is it offered?
    status: Option<Status>,
}

/// Changes a model; calls see it at once.
#[utoipa::path(operation_id = "change_model", patch, path = "/api/admin/models", tag = "admin: models", params(WhichModel),
    request_body = ChangeModel, responses((status = 200, body = ModelView)))]
async fn change(
    State(app): State<App>,
    admin: Admin,
    Query(which): Query<WhichModel>,
    Json(body): Json<ChangeModel>,
) -> Result<Json<ModelView>, Problem> {
    if body.max_output_tokens.is_some_and(|cap| !(1..=MAX_CAP).contains(&cap)) {
        return Err(Problem::invalid("max_output_tokens", format!("must be 1 to {MAX_CAP}")));
    }
    let wanted = ModelChange {
        display_name: body.display_name.map(|name| checked_label("display_name", name)).transpose()?,
        max_output_tokens: body.max_output_tokens,
        status: body.status,
    };
    let row = app.directory.change_model(&which.model, wanted, admin.actor()).await?;
    let offer = app.directory.offers().await?.remove(&row.name).unwrap_or_default();
    Ok(Json(ModelView::new(row, offer.prices.as_ref(), offer.providers)))
}
