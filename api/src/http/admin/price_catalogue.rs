//! The price catalogue: what providers publish as their prices, to be looked up and imported.
//!
//! Claims: the catalogue only suggests, nothing is charged by it until an operator imports it; an import is checked whole
//! before anything is written, and is written whole or not at all; a price is the catalogue's times the multiplier to the
//! last digit, and where nine decimals do not hold it the answer says that it was rounded.

use super::{
    checked_label,
    models::MAX_CAP,
    prices::{PriceView, not_past},
};
use crate::{
    app::App,
    body::{Json, Query, page_limit},
    directory::price_import::{ImportedPrice, PriceImport},
    http::permission::{Permission, Routes},
    http::prices::{PriceTable, decimal},
    price_catalogue::{Entry, MarkedUp, PriceCatalogue, embedded, marked_up},
    problem::Problem,
    session::Admin,
};
use axum::{extract::State, http::StatusCode};
use domain::{Moment, Tokens, price::PriceList};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use utoipa_axum::routes;
use uuid::Uuid;

/// How many models one request imports at most: more than the catalogue has.
const MAX_ITEMS: usize = 1000;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::CatalogueRead, routes!(search))
        .confirmed(Permission::CatalogueWrite, routes!(import))
}

/// What a provider publishes for a model.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CatalogueEntry {
    /// Its id, for an import.
    #[schema(example = "openai/gpt-5")]
    entry: String,
    /// The model's name at the provider.
    name: String,
    /// The provider.
    provider: String,
    /// What the model does: `chat`, `responses`, `completion`, `embedding`, `image_generation`, `audio_transcription`,
    /// `audio_speech` or `moderation`.
    #[schema(example = "chat")]
    mode: String,
    /// The longest prompt, in tokens; null: unknown.
    max_input: Option<u64>,
    /// The most generated tokens; null: unknown.
    max_output: Option<u64>,
    /// US dollars per one million tokens, or per unit of media.
    prices: PriceTable,
}

impl From<&Entry> for CatalogueEntry {
    fn from(it: &Entry) -> Self {
        Self {
            entry: it.id(),
            name: it.name.clone(),
            provider: it.provider.clone(),
            mode: it.mode.clone(),
            max_input: it.max_input,
            max_output: it.max_output,
            prices: PriceTable::from(&it.prices),
        }
    }
}

/// A page of the catalogue.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CataloguePage {
    /// What these prices are, and are not.
    #[schema(example = "suggestions of 2026-10-21; the operator owns prices")]
    note: String,
    /// Whose list it was made from.
    source: &'static str,
    /// The version of that list.
    version: &'static str,
    /// The day of that version.
    #[schema(example = "2026-10-21")]
    date: &'static str,
    /// Under which licence it is.
    licence: &'static str,
    /// What the prices are in. An import takes one credit for one US dollar.
    #[schema(example = "USD")]
    currency: &'static str,
    /// The entries, by their ids.
    items: Vec<CatalogueEntry>,
    /// Pass it as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Which entries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichEntries {
    /// Words that the id must hold, whatever their case; absent: all entries.
    query: Option<String>,
    /// Only of this provider, such as `openai`.
    provider: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn catalogue() -> Result<&'static PriceCatalogue, Problem> {
    embedded().map_err(|error| Problem::internal(error))
}

/// What providers publish as their prices: suggestions of the catalogue's day. The operator owns prices.
#[utoipa::path(operation_id = "search_price_catalogue", get, path = "/api/admin/price-catalogue", tag = "admin: models", params(WhichEntries),
    responses((status = 200, body = CataloguePage)))]
async fn search(_: Admin, Query(which): Query<WhichEntries>) -> Result<Json<CataloguePage>, Problem> {
    let limit = page_limit(which.limit)? as usize;
    let catalogue = catalogue()?;
    let after = which.cursor.as_deref();
    if after.is_some_and(|id| catalogue.find(id).is_none()) {
        return Err(Problem::bad_request("invalid_query", "cursor: is not one that this list gave"));
    }
    let query = which.query.as_deref().unwrap_or_default();
    let mut found = catalogue.search(query, which.provider.as_deref(), after);
    let items: Vec<CatalogueEntry> = found.by_ref().take(limit).map(CatalogueEntry::from).collect();
    let more = found.next().is_some();
    Ok(Json(CataloguePage {
        note: format!("suggestions of {}; the operator owns prices", catalogue.date),
        source: &catalogue.source,
        version: &catalogue.version,
        date: &catalogue.date,
        licence: &catalogue.licence,
        currency: &catalogue.currency,
        next_cursor: items.last().filter(|_| more).map(|it| it.entry.clone()),
        items,
    }))
}

/// An entry to be imported.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportItem {
    /// The entry's id.
    #[schema(example = "openai/gpt-5")]
    entry: String,
    /// The model, as callers name it; absent: the entry's name.
    model: Option<String>,
    /// What the catalogue's prices are multiplied with: above 0, to 1000, with at most six decimals; absent: 1.
    #[schema(value_type = Option<String>, example = "1.2")]
    multiplier: Option<Multiplier>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Multiplier(#[serde(deserialize_with = "decimal")] Decimal);

/// Entries to be imported.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportPrices {
    /// 1 to 1000 of them, each for another model.
    items: Vec<ImportItem>,
    /// From when on the prices hold; absent: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_from: Option<Moment>,
    /// A provider's id: it takes the catalogue's own prices for these models from now on. One that it does not serve yet, it
    /// serves then, under the entry's name.
    costs_for: Option<Uuid>,
}

/// What became of an entry.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ImportedItem {
    /// The entry.
    entry: String,
    /// The version that was published.
    version: PriceView,
    /// The multiplier that was applied.
    #[schema(value_type = String, example = "1.2")]
    multiplier: Decimal,
    /// Had a price more than nine decimals, so that it was rounded?
    rounded: bool,
    /// Was there no such model before? Then its cap on generated tokens is the catalogue's, if that is known.
    is_new_model: bool,
}

/// What was imported.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ImportedPrices {
    /// The day of the catalogue.
    #[schema(example = "2026-10-21")]
    date: &'static str,
    /// How prices with more than nine decimals were rounded.
    #[schema(example = "half to even, to 0.000000001")]
    rounding: &'static str,
    /// In the order in which they were asked for.
    items: Vec<ImportedItem>,
}

/// Publishes a version of each named model's prices: the catalogue's times a multiplier, one credit for one US dollar. All of
/// them, or none.
#[utoipa::path(operation_id = "import_prices", post, path = "/api/admin/price-catalogue/import", tag = "admin: models",
    request_body = ImportPrices, responses((status = 201, body = ImportedPrices)))]
async fn import(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<ImportPrices>,
) -> Result<(StatusCode, Json<ImportedPrices>), Problem> {
    let catalogue = catalogue()?;
    if !(1..=MAX_ITEMS).contains(&body.items.len()) {
        return Err(Problem::invalid("items", format!("must be 1 to {MAX_ITEMS}")));
    }
    not_past(body.effective_from)?;
    let wanted = body.items.into_iter().enumerate();
    let wanted: Vec<Wanted> =
        wanted.map(|(at, item)| Wanted::read(catalogue, at, item)).collect::<Result<_, _>>()?;
    let mut models = HashSet::new();
    for (at, it) in wanted.iter().enumerate() {
        if !models.insert(it.import.model.as_str()) {
            let fault = format!("{:?} is named twice", it.import.model);
            return Err(Problem::invalid(&format!("items[{at}].model"), fault));
        }
    }
    match body.costs_for {
        Some(provider) => {
            let known = app.directory.providers().await?;
            if !known.iter().any(|it| it.id == provider) {
                return Err(Problem::invalid("costs_for", "there is no such provider"));
            }
        }
        None => {
            let known = app.directory.models().await?;
            let known: HashSet<&str> = known.iter().map(|it| it.name.as_str()).collect();
            for (at, it) in wanted.iter().enumerate() {
                let model = &it.import.model;
                if !known.contains(model.as_str()) {
                    let fault = format!(
                        "there is no model {model:?}; let a provider serve it first, or name one in costs_for"
                    );
                    return Err(Problem::invalid(&format!("items[{at}].model"), fault));
                }
            }
        }
    }
    let (told, imports): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .map(|it| ((it.import.entry.clone(), it.import.multiplier, it.rounded), it.import))
        .unzip();
    let imported =
        app.directory.import_prices(imports, body.effective_from, body.costs_for, admin.actor()).await?;
    let item = |((entry, multiplier, rounded), ImportedPrice { version, is_new_model })| ImportedItem {
        entry,
        version: PriceView::from(version),
        multiplier,
        rounded,
        is_new_model,
    };
    Ok((
        StatusCode::CREATED,
        Json(ImportedPrices {
            date: &catalogue.date,
            rounding: "half to even, to 0.000000001",
            items: told.into_iter().zip(imported).map(item).collect(),
        }),
    ))
}

/// An item that was checked.
struct Wanted {
    import: PriceImport,
    rounded: bool,
}

impl Wanted {
    fn read(catalogue: &PriceCatalogue, at: usize, item: ImportItem) -> Result<Self, Problem> {
        let field = |name: &str| format!("items[{at}].{name}");
        let entry = catalogue.find(&item.entry).ok_or_else(|| {
            Problem::invalid(&field("entry"), format!("the catalogue has no {:?}", item.entry))
        })?;
        let model = checked_label(&field("model"), item.model.unwrap_or_else(|| entry.name.clone()))?;
        let multiplier =
            checked_multiplier(&field("multiplier"), item.multiplier.map_or(Decimal::ONE, |it| it.0))?;
        let too_large = || Problem::invalid(&field("multiplier"), "makes a price that is too large");
        let MarkedUp { prices, rounded } = marked_up(&entry.prices, multiplier).ok_or_else(too_large)?;
        prices.validate().map_err(|error| Problem::invalid(&field("multiplier"), error))?;
        let import = PriceImport {
            entry: item.entry,
            model,
            multiplier,
            prices,
            cost: entry.prices.clone(),
            upstream_name: entry.name.clone(),
            max_output_tokens: entry.max_output.map(|cap| cap.clamp(1, MAX_CAP)),
        };
        Ok(Self { import, rounded })
    }
}

/// As a group's, but not zero: what is to be free is published by hand.
fn checked_multiplier(field: &str, multiplier: Decimal) -> Result<Decimal, Problem> {
    // The domain knows which multipliers a charge can be taken times.
    let nothing = PriceList::plain(Decimal::ZERO, Decimal::ZERO).resolve();
    nothing.charge(&Tokens::default(), multiplier).map_err(|error| Problem::invalid(field, error))?;
    if multiplier.is_zero() {
        return Err(Problem::invalid(field, "must be above 0; what is to be free is published by hand"));
    }
    Ok(multiplier.normalize())
}
