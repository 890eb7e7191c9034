//! How well the models are, for whoever uses them: now, and on the days of three months.
//!
//! For: a page that tells a user whether it is them or us. Public, as the models and their prices are.
//! Claims: shares alone, never how much is called; the tables are read once a minute however often it is asked for.

use crate::{app::App, body::Json, directory::now, http::permission::Routes, problem::Problem};
use axum::extract::State;
use domain::Moment;
use projections::usage::{self, DayOfModel};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};
use utoipa_axum::routes;

/// For so long an answer is given again.
const KEPT: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;
/// Over so many days uptime is told.
const DAYS: i64 = 90;
/// Fewer calls than these in two hours tell nothing.
const TELLING: u64 = 5;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().open(routes!(show))
}

/// The last answer, and when it was made.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Option<(Instant, StatusView)>>);

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Too few calls to tell.
    Unknown,
    /// Fewer than 5 calls of 100 failed.
    Operational,
    /// Fewer than half of the calls failed.
    Degraded,
    /// Half of the calls failed, or more.
    Down,
}

/// How well the models are.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct StatusView {
    /// When this was read; up to a minute ago.
    #[schema(value_type = String, format = DateTime)]
    as_of: Moment,
    /// The worst of the models' states.
    state: Health,
    /// Each model on offer, by name.
    models: Vec<ModelStatus>,
}

/// How well a model is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ModelStatus {
    /// The name to call it by.
    model: String,
    /// The name to show.
    display_name: String,
    /// By the calls of this hour and the one before.
    state: Health,
    /// Percent of the calls of 90 days that neither a provider nor the gateway failed; null: it was not called.
    #[schema(example = "99.95")]
    uptime: Option<String>,
    /// Days on which it was called, newest first, 91 at most.
    days: Vec<DayStatus>,
}

/// How well a model was on a day.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DayStatus {
    /// The day in the operator's time zone.
    #[schema(example = "2026-11-22")]
    day: String,
    /// Percent of its calls that neither a provider nor the gateway failed.
    #[schema(example = "99.95")]
    uptime: String,
}

/// How well the models are now, and how well they were.
#[utoipa::path(operation_id = "get_status", get, path = "/api/status", tag = "models", security(()),
    responses((status = 200, body = StatusView)))]
async fn show(State(app): State<App>) -> Result<Json<StatusView>, Problem> {
    // Whoever asks meanwhile waits for the same answer.
    let mut kept = app.status.0.lock().await;
    if let Some((at, view)) = kept.as_ref()
        && at.elapsed() < KEPT
    {
        return Ok(Json(view.clone()));
    }
    let view = read(&app).await?;
    *kept = Some((Instant::now(), view.clone()));
    Ok(Json(view))
}

async fn read(app: &App) -> Result<StatusView, Problem> {
    let as_of = now();
    let mut names: HashMap<String, String> =
        app.directory.models().await?.into_iter().map(|row| (row.name, row.display_name)).collect();
    let recent = by_model(usage::days_of_models(&app.db, as_of.plus_ms(-2 * HOUR_MS)).await?);
    let mut days = by_model(usage::days_of_models(&app.db, as_of.plus_ms(-24 * DAYS * HOUR_MS)).await?);
    let catalogue = app.catalogue.load_full();
    let offered = catalogue.models.iter().filter(|(_, it)| !it.routes.is_empty() && it.price.is_some());
    let mut models: Vec<ModelStatus> = offered
        .map(|(name, _)| {
            let days = days.remove(name.as_str()).unwrap_or_default();
            ModelStatus {
                model: name.clone(),
                display_name: names.remove(name).unwrap_or_else(|| name.clone()),
                state: state(recent.get(name.as_str()).map_or(&[][..], Vec::as_slice)),
                uptime: uptime(&days),
                days: days
                    .iter()
                    .filter_map(|day| {
                        let uptime = uptime(std::slice::from_ref(day))?;
                        Some(DayStatus { day: day.day.clone(), uptime })
                    })
                    .collect(),
            }
        })
        .collect();
    models.sort_by(|one, other| one.model.cmp(&other.model));
    let state = models.iter().map(|model| model.state).max().unwrap_or(Health::Unknown);
    Ok(StatusView { as_of, state, models })
}

fn by_model(days: Vec<DayOfModel>) -> BTreeMap<String, Vec<DayOfModel>> {
    let mut sorted: BTreeMap<String, Vec<DayOfModel>> = BTreeMap::new();
    for day in days {
        sorted.entry(day.model.clone()).or_default().push(day);
    }
    sorted
}

fn sums(days: &[DayOfModel]) -> (u64, u64) {
    days.iter().fold((0, 0), |(calls, errors), day| {
        (day.calls.saturating_add(calls), day.errors.saturating_add(errors))
    })
}

fn state(recent: &[DayOfModel]) -> Health {
    let (calls, errors) = sums(recent);
    match errors.saturating_mul(100) {
        _ if calls < TELLING => Health::Unknown,
        failed if failed < calls.saturating_mul(5) => Health::Operational,
        failed if failed < calls.saturating_mul(50) => Health::Degraded,
        _ => Health::Down,
    }
}

/// Percent with two decimals, rounded down: 100.00 is said of no day with a failure.
fn uptime(days: &[DayOfModel]) -> Option<String> {
    let (calls, errors) = sums(days);
    let hundredths = calls.saturating_sub(errors).saturating_mul(10_000).checked_div(calls)?;
    Some(format!("{}.{:02}", hundredths / 100, hundredths % 100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(calls: u64, errors: u64) -> DayOfModel {
        DayOfModel { model: "m".into(), day: "2026-11-22".into(), calls, errors }
    }

    #[test]
    fn few_calls_tell_nothing_and_many_tell_the_worst_that_is_true() {
        for (calls, errors, expected) in [
            (0, 0, Health::Unknown),
            (4, 4, Health::Unknown),
            (5, 0, Health::Operational),
            (100, 4, Health::Operational),
            (100, 5, Health::Degraded),
            (100, 49, Health::Degraded),
            (100, 50, Health::Down),
            (5, 5, Health::Down),
        ] {
            assert_eq!(state(&[day(calls, errors)]), expected, "{errors} of {calls}");
        }
        assert_eq!(state(&[day(90, 0), day(10, 6)]), Health::Degraded);
        assert!(Health::Down > Health::Degraded && Health::Degraded > Health::Operational);
    }

    #[test]
    fn uptime_is_rounded_down() {
        assert_eq!(uptime(&[]), None);
        assert_eq!(uptime(&[day(0, 0)]), None);
        assert_eq!(uptime(&[day(3, 1)]).as_deref(), Some("66.66"));
        assert_eq!(uptime(&[day(1_000_000, 1)]).as_deref(), Some("99.99"));
        assert_eq!(uptime(&[day(7, 0), day(3, 0)]).as_deref(), Some("100.00"));
    }
}
