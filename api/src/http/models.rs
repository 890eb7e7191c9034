//! The models on offer, with their prices. Public: people look at prices before they join.

use super::prices::PriceTable;
use crate::{app::App, body::Json, http::permission::Routes, problem::Problem};
use axum::extract::State;
use domain::Moment;
use serde::Serialize;
use std::collections::HashMap;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().open(routes!(list))
}

/// A model on offer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OfferedModel {
    /// The name to call it by.
    name: String,
    /// The name to show.
    display_name: String,
    /// Credits per one million tokens, before the user group's multiplier.
    prices: PriceTable,
    /// The cap on generated tokens that is set when the caller sets none.
    max_output_tokens: u64,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

/// The models on offer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Offer {
    /// By name.
    items: Vec<OfferedModel>,
}

/// The models that can be called, with their prices.
#[utoipa::path(operation_id = "list_models", get, path = "/api/models", tag = "models", security(()), responses((status = 200, body = Offer)))]
async fn list(State(app): State<App>) -> Result<Json<Offer>, Problem> {
    let mut names: HashMap<String, String> =
        app.directory.models().await?.into_iter().map(|row| (row.name, row.display_name)).collect();
    let catalogue = app.catalogue.load_full();
    let offered =
        catalogue.models.iter().filter(|(_, model)| !model.routes.is_empty()).filter_map(|(name, model)| {
            Some(OfferedModel {
                name: name.clone(),
                display_name: names.remove(name).unwrap_or_else(|| name.clone()),
                prices: PriceTable::from(&model.price.as_ref()?.prices),
                max_output_tokens: model.max_output_tokens,
                created_at: model.created,
            })
        });
    Ok(Json(Offer { items: offered.collect() }))
}
