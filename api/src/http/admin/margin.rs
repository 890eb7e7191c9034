//! Margin: what accounts paid, less what providers take, over all accounts.
//!
//! May not touch: single calls and who made them; these are sums.
//! Claims: margin is paid less cost to the last digit, in each group and in all together.

use crate::{
    app::App,
    body::{Json, Query},
    directory::words,
    http::billing::SumTooLarge,
    http::permission::{Permission, Routes},
    http::reading::{Period, reached},
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use domain::Credits;
use projections::usage::{self, StatsFilter, UsageBy, UsageStat};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::BooksRead, routes!(margin))
}

words! {
    /// What margins are grouped by.
    MarginGroup {
        /// A model, as callers name it.
        Model = "model",
        /// A provider.
        Provider = "provider",
        /// A day in the operator's time zone.
        Day = "day",
    }
}

impl From<MarginGroup> for UsageBy {
    fn from(group: MarginGroup) -> Self {
        match group {
            MarginGroup::Model => Self::Model,
            MarginGroup::Provider => Self::Provider,
            MarginGroup::Day => Self::Day,
        }
    }
}

/// Which margins are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MarginQuery {
    /// From this moment: RFC 3339, or a date in the operator's time zone. Hours that touch the period count whole.
    from: Option<String>,
    /// Before this moment; a date includes that day.
    to: Option<String>,
    /// Grouped by; a model where absent.
    by: Option<MarginGroup>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// Margins.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Margins {
    /// What they are grouped by.
    by: MarginGroup,
    /// The groups: days newest first, models and providers by what was paid.
    items: Vec<MarginView>,
    /// All groups together.
    total: MarginView,
}

/// What one group of calls left to the operator. Amounts are decimal strings of credits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MarginView {
    /// The model, provider or day; `total` for the sum.
    #[schema(example = "gpt-5")]
    bucket: String,
    /// Calls.
    calls: u64,
    /// What the calls cost by the price list.
    charge: String,
    /// What accounts paid of it.
    paid: String,
    /// What the operator bore of it, because nothing was left to pay with.
    uncovered: String,
    /// What providers take for the calls. A call of a model for which no cost was set at its provider counts as zero here,
    /// so the margin is too high by what the provider took.
    cost: String,
    /// `paid` less `cost`; below zero where providers took more.
    #[schema(example = "-0.25")]
    margin: String,
}

/// The margin by model, provider or day, over all accounts.
#[utoipa::path(operation_id = "get_margin", get, path = "/api/admin/usage/margin", tag = "admin: models", params(MarginQuery),
    responses((status = 200, body = Margins)))]
async fn margin(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<MarginQuery>,
) -> Result<Json<Margins>, Problem> {
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    let filter = StatsFilter { from: period.from, to: period.to, ..StatsFilter::default() };
    let by = query.by.unwrap_or(MarginGroup::Model);
    reached(&app, query.after).await?;
    let stats = usage::stats(&app.db, &filter, by.into()).await?;
    let margins = margins(by, &stats).ok_or_else(|| Problem::internal(&SumTooLarge))?;
    Ok(Json(margins))
}

/// `None`: a sum does not fit.
fn margins(by: MarginGroup, stats: &[UsageStat]) -> Option<Margins> {
    let sum = |of: fn(&UsageStat) -> Credits| Credits::checked_sum(stats.iter().map(of));
    let (paid, cost) = (sum(|it| it.paid)?, sum(|it| it.cost)?);
    let total = MarginView {
        bucket: "total".to_owned(),
        calls: stats.iter().try_fold(0_u64, |sum, it| sum.checked_add(it.calls))?,
        charge: sum(|it| it.charge)?.to_string(),
        paid: paid.to_string(),
        uncovered: sum(|it| it.uncovered)?.to_string(),
        cost: cost.to_string(),
        margin: paid.checked_sub(cost)?.to_string(),
    };
    let items = stats.iter().map(|it| {
        Some(MarginView {
            bucket: it.bucket.clone(),
            calls: it.calls,
            charge: it.charge.to_string(),
            paid: it.paid.to_string(),
            uncovered: it.uncovered.to_string(),
            cost: it.cost.to_string(),
            margin: it.margin()?.to_string(),
        })
    });
    Some(Margins { by, items: items.collect::<Option<_>>()?, total })
}
