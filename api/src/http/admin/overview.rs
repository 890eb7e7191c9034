//! The overview: how the gateway does, over all accounts, in one answer.
//!
//! May not touch: single calls and who made them; these are sums.
//! Claims: what stands here is what the statistics and the margin say of the same period; the hours add up to the whole.

use crate::{
    app::App,
    body::{Json, Query},
    directory::now,
    http::billing::SumTooLarge,
    http::permission::{Permission, Routes},
    http::reading::{Period, parameter, reached},
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use domain::{Credits, Moment};
use projections::usage::{self, StatsFilter, UsageBy, UsageStat};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::BooksRead, routes!(overview))
}

/// Which period.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OverviewQuery {
    /// From this moment: RFC 3339, or a date in the operator's time zone; a day before `to` where absent. Hours that touch the
    /// period count whole.
    from: Option<String>,
    /// Before this moment; a date includes that day; now where absent.
    to: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// The longest period, in milliseconds: a year and a day, by the hour.
const LONGEST_MS: i64 = 367 * DAY_MS;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// So many of the newest calls say how long calls take.
const SAMPLE: u32 = 1000;
/// How long an answer waits to learn how far the tables are, where another process moves them on.
const LOOK: Duration = Duration::from_millis(200);

/// How the gateway does.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Overview {
    /// The period's beginning.
    #[schema(value_type = String, format = DateTime)]
    from: Moment,
    /// The first moment after it.
    #[schema(value_type = String, format = DateTime)]
    to: Moment,
    /// All of the period.
    total: OverviewSums,
    /// Hour by hour, newest first; hours without calls are left out.
    hours: Vec<OverviewSums>,
    /// How long the newest thousand calls of the period took.
    latency: LatencyView,
    /// How far the tables behind these numbers are.
    projections: LagView,
}

/// Sums. Amounts are decimal strings of credits.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OverviewSums {
    /// The hour's beginning; `total` for all.
    #[schema(example = "2026-11-22T10:00:00.000000Z")]
    bucket: String,
    /// Calls.
    calls: u64,
    /// Calls that the gateway or a provider failed.
    errors: u64,
    /// Tokens of prompts.
    input_tokens: u64,
    /// Tokens generated.
    output_tokens: u64,
    /// What accounts paid.
    revenue: String,
    /// What the operator bore, because nothing was left to pay with.
    uncovered: String,
    /// What providers take.
    cost: String,
    /// `revenue` less `cost`; below zero where providers took more.
    margin: String,
}

/// Milliseconds; null where there were no calls. `p95`: of twenty calls, nineteen were no slower.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LatencyView {
    /// How many calls these numbers are of.
    calls: u64,
    /// To the first byte: the middle one.
    ttft_p50_ms: Option<u64>,
    /// To the first byte.
    ttft_p95_ms: Option<u64>,
    /// To the end: the middle one.
    duration_p50_ms: Option<u64>,
    /// To the end.
    duration_p95_ms: Option<u64>,
}

/// How far the tables are.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LagView {
    /// The log's last position; null: the log did not answer.
    log_position: Option<u64>,
    /// The last position in the tables.
    applied: u64,
    /// How many events are not in the tables yet; null: the log did not answer.
    lag: Option<u64>,
}

/// Calls, tokens, revenue, cost, margin, errors, latency and lag.
#[utoipa::path(operation_id = "get_overview", get, path = "/api/admin/overview", tag = "admin: ledger", params(OverviewQuery),
    responses((status = 200, body = Overview)))]
async fn overview(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<OverviewQuery>,
) -> Result<Json<Overview>, Problem> {
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    let to = period.to.unwrap_or_else(now);
    let from = period.from.unwrap_or_else(|| to.plus_ms(-DAY_MS));
    if from > to {
        return parameter("from", Err("lies behind the period's end"));
    }
    if from < to.plus_ms(-LONGEST_MS) {
        return parameter("from", Err("the period is longer than a year"));
    }
    reached(&app, query.after).await?;
    let filter = StatsFilter { from: Some(from), to: Some(to), ..StatsFilter::default() };
    let hours = usage::stats(&app.db, &filter, UsageBy::Hour).await?;
    let latencies = usage::latencies(&app.db, from, to, SAMPLE).await?;
    let too_large = || Problem::internal(&SumTooLarge);
    let latency = LatencyView {
        calls: latencies.duration_ms.len() as u64,
        ttft_p50_ms: percentile(&latencies.ttft_ms, 50),
        ttft_p95_ms: percentile(&latencies.ttft_ms, 95),
        duration_p50_ms: percentile(&latencies.duration_ms, 50),
        duration_p95_ms: percentile(&latencies.duration_ms, 95),
    };
    Ok(Json(Overview {
        from,
        to,
        total: sums("total".to_owned(), &hours).ok_or_else(too_large)?,
        hours: hours
            .iter()
            .map(|hour| sums(hour.bucket.clone(), std::slice::from_ref(hour)))
            .collect::<Option<_>>()
            .ok_or_else(too_large)?,
        latency,
        projections: lag(&app).await,
    }))
}

/// `None`: a sum does not fit.
fn sums(bucket: String, stats: &[UsageStat]) -> Option<OverviewSums> {
    let credits = |of: fn(&UsageStat) -> Credits| Credits::checked_sum(stats.iter().map(of));
    let count = |of: fn(&UsageStat) -> u64| stats.iter().try_fold(0_u64, |sum, it| sum.checked_add(of(it)));
    let (paid, cost) = (credits(|it| it.paid)?, credits(|it| it.cost)?);
    Some(OverviewSums {
        bucket,
        calls: count(|it| it.calls)?,
        errors: count(|it| it.errors)?,
        input_tokens: count(|it| it.tokens.input_total())?,
        output_tokens: count(|it| it.tokens.output_total())?,
        revenue: paid.to_string(),
        uncovered: credits(|it| it.uncovered)?.to_string(),
        cost: cost.to_string(),
        margin: paid.checked_sub(cost)?.to_string(),
    })
}

/// The smallest of these, shortest first, that so many of a hundred are no longer than.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let nth = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(nth - 1).copied()
}

pub(in crate::http) async fn lag(app: &App) -> LagView {
    let end = match app.ledger.log().identity().await {
        Ok(identity) => Some(identity.last_sequence),
        // The tables answer all the same.
        Err(error) => {
            tracing::warn!(%error, "the log's end could not be asked for");
            None
        }
    };
    if let Some(end) = end {
        app.follower.wait_for(end, LOOK).await;
    }
    let applied = app.follower.applied();
    LagView { log_position: end, applied, lag: end.map(|end| end.saturating_sub(applied)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::user::Role;
    use crate::http::tests::{Node, gateway, lease, record};
    use domain::{Command, GrantId, LeaseId};
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn a_percentile_is_one_of_the_numbers() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!((percentile(&[7], 50), percentile(&[7], 95)), (Some(7), Some(7)));
        assert_eq!((percentile(&[1, 2], 50), percentile(&[1, 2], 95)), (Some(1), Some(2)));
        let twenty: Vec<u64> = (1..=20).collect();
        assert_eq!((percentile(&twenty, 50), percentile(&twenty, 95)), (Some(10), Some(19)));
    }

    #[tokio::test]
    async fn the_overview_says_what_the_margin_says() {
        let it = gateway().await;
        let auditor = it.token("eve", Role::Auditor).await;
        let ask = async |query: &str| {
            it.call("GET", &format!("/api/admin/overview{query}"), Some(&auditor), None).await
        };
        let empty = ask("").await;
        assert_eq!(empty.status, 200, "{}", empty.body);
        let nothing = json!({"calls": 0, "ttft_p50_ms": null, "ttft_p95_ms": null, "duration_p50_ms": null,
            "duration_p95_ms": null});
        assert_eq!((&empty.body["hours"], &empty.body["latency"]), (&json!([]), &nothing));
        assert_eq!(empty.body["projections"], json!({"log_position": 0, "applied": 0, "lag": 0}));

        let owner = it.account_of(&it.token("ann", Role::User).await).await;
        let mut node = Node::new();
        let first = LeaseId::from_uuid(Uuid::now_v7());
        let grant = Command::GrantCredit {
            grant: GrantId::from_uuid(Uuid::now_v7()),
            source: domain::account::event::GrantSource::Admin,
            credits: "10".parse().unwrap(),
            reason: None,
        };
        it.decides(owner, grant).await;
        it.decides(owner, lease(first, node.epoch, "5")).await;
        let mut failed = record(owner, first, 2, "0.5", "1.5");
        failed.usage.outcome = domain::Outcome::ProviderError;
        failed.usage.duration_ms = 90;
        failed.usage.ttft_ms = Some(30);
        let after = node.reports(&it, vec![record(owner, first, 1, "1", "1"), failed]).await;
        let seen = ask(&format!("?after={after}")).await.body;
        let margin = it.call("GET", "/api/admin/usage/margin", Some(&auditor), None).await.body;
        let total = &seen["total"];
        assert_eq!(
            (&total["calls"], &total["errors"], &total["input_tokens"]),
            (&json!(2), &json!(1), &json!(1_500_000))
        );
        for (here, there) in
            [("revenue", "paid"), ("cost", "cost"), ("margin", "margin"), ("uncovered", "uncovered")]
        {
            assert_eq!(total[here], margin["total"][there], "{here}");
        }
        assert_eq!(total["revenue"], "1.5");
        let latency = json!({"calls": 2, "ttft_p50_ms": 30, "ttft_p95_ms": 30, "duration_p50_ms": 5, "duration_p95_ms": 90});
        assert_eq!(seen["latency"], latency);
        assert_eq!(seen["projections"], json!({"log_position": 3, "applied": 3, "lag": 0}));
        assert_eq!(ask("?from=2026-01-01&to=2026-01-02").await.body["total"]["calls"], 0);
        for bad in ["?from=2020-01-01&to=2026-01-01", "?from=2099-01-01", "?from=x", "?by=day"] {
            let answer = ask(bad).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["code"]),
                (400, &json!("invalid_query")),
                "{bad}"
            );
        }
    }
}
