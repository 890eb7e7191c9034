//! Prices: versions that are published and never changed.

use crate::{
    app::App,
    body::{Json, Page, Query, page_before, page_limit},
    directory::{DirectoryError, model::PriceVersion, now},
    http::permission::{Permission, Routes},
    http::prices::PriceTable,
    problem::Problem,
    session::Admin,
};
use axum::{extract::State, http::StatusCode};
use domain::{Moment, PriceVersionId};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// How far in the past a price may begin: what clocks may differ by. Anything more would tell a wrong history.
const PAST_MS: i64 = 60_000;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::CatalogueRead, routes!(list))
        .confirmed(Permission::CatalogueWrite, routes!(publish))
}

/// A version of a model's prices.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PriceView {
    /// Its id; usage records carry it.
    #[schema(value_type = Uuid)]
    id: PriceVersionId,
    /// The model.
    model: String,
    /// Credits per one million tokens.
    prices: PriceTable,
    /// From when on it holds, until the next one's time has come.
    #[schema(value_type = String, format = DateTime)]
    effective_from: Moment,
    /// The id of the admin who published it.
    author: String,
    /// When it was published.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<PriceVersion> for PriceView {
    fn from(version: PriceVersion) -> Self {
        Self {
            id: version.id,
            prices: PriceTable::from(&version.prices),
            model: version.model,
            effective_from: version.effective_from,
            author: version.author,
            created_at: version.created_at,
        }
    }
}

/// Which versions.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichPrices {
    /// Of this model; absent: of all.
    model: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Price versions, last published first.
#[utoipa::path(operation_id = "list_prices", get, path = "/api/admin/prices", tag = "admin: models", params(WhichPrices),
    responses((status = 200, body = Page<PriceView>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(which): Query<WhichPrices>,
) -> Result<Json<Page<PriceView>>, Problem> {
    let limit = page_limit(which.limit)?;
    let before = page_before(which.cursor.as_deref())?;
    let versions = app.directory.price_versions(which.model.as_deref(), before, limit + 1).await?;
    Ok(Json(Page::of(versions, limit, |version| version.id.to_string()).map(PriceView::from)))
}

/// A version to be.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishPrice {
    /// The model; some provider must serve it, or have served it.
    model: String,
    /// Credits per one million tokens.
    prices: PriceTable,
    /// From when on it holds; absent: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<Moment>,
}

/// Publishes a version of a model's prices.
#[utoipa::path(operation_id = "publish_price", post, path = "/api/admin/prices", tag = "admin: models", request_body = PublishPrice,
    responses((status = 201, body = PriceView)))]
async fn publish(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<PublishPrice>,
) -> Result<(StatusCode, Json<PriceView>), Problem> {
    let prices = body.prices.checked("prices")?;
    not_past(body.effective_from)?;
    let published =
        app.directory.publish_price(&body.model, prices, body.effective_from, admin.actor()).await;
    match published {
        Ok(version) => Ok((StatusCode::CREATED, Json(version.into()))),
        Err(DirectoryError::NotFound(_)) => {
            Err(Problem::invalid("model", "there is no such model; let a provider serve it first"))
        }
        Err(error) => Err(error.into()),
    }
}

/// A price may begin now or later.
pub(super) fn not_past(effective_from: Option<Moment>) -> Result<(), Problem> {
    if effective_from.is_some_and(|from| from < now().plus_ms(-PAST_MS)) {
        return Err(Problem::invalid("effective_from", "lies in the past"));
    }
    Ok(())
}
