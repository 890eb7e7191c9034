//! Closed months of the books.
//!
//! Claims: a month is closed once, in order, by somebody who has just proven who they are, when it is over and the tables hold all
//! that the log does; nothing opens one again.

use crate::app::App;
use crate::body::{Json, Path};
use crate::directory::period::ClosingError;
use crate::http::exports::{today, zone};
use crate::http::permission::{Permission, Routes};
use crate::http::reading::reached;
use crate::problem::Problem;
use crate::session::Admin;
use axum::extract::State;
use axum::http::StatusCode;
use domain::{AccountId, Moment};
use projections::periods::{self, Closed, Month};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::BooksRead, routes!(list_periods))
        .guarded(Permission::BooksRead, routes!(get_period))
        .confirmed(Permission::BooksClose, routes!(close_period))
}

/// A closed month.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PeriodView {
    /// Which.
    #[schema(example = "2026-11")]
    month: String,
    /// Every event of its days up to this one is in it; what came later belongs to the next.
    position: u64,
    /// How many lines of events it has.
    entries: u64,
    /// SHA-256 of the document, in hexadecimal.
    digest: String,
    /// Ed25519 signature of the document, in hexadecimal.
    signature: String,
    /// The key that checks it, in hexadecimal.
    public_key: String,
    /// The digest of the month before; null: it is the first.
    previous_digest: Option<String>,
    /// When it was closed.
    #[schema(value_type = String, format = DateTime)]
    closed_at: Moment,
    /// By whom.
    #[schema(value_type = uuid::Uuid)]
    closed_by: AccountId,
}

impl From<Closed> for PeriodView {
    fn from(it: Closed) -> Self {
        Self {
            month: it.month.to_string(),
            position: it.position,
            entries: it.entries,
            digest: it.digest,
            signature: it.signature,
            public_key: it.public_key,
            previous_digest: it.previous,
            closed_at: it.closed_at,
            closed_by: it.closed_by,
        }
    }
}

/// Closed months.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Periods {
    /// Newest first.
    items: Vec<PeriodView>,
    /// The month that can be closed next; null: it is not over, or there is nothing in the books.
    #[schema(example = "2026-11")]
    next: Option<String>,
    /// By which clock months are counted.
    #[schema(example = "+08:00")]
    time_zone: String,
}

/// The months of the books that are closed, and the one that comes next.
#[utoipa::path(get, path = "/api/admin/periods", tag = "admin: finance", responses((status = 200, body = Periods)))]
async fn list_periods(State(app): State<App>, _: Admin) -> Result<Json<Periods>, Problem> {
    let closed = periods::list(&app.db).await?;
    let next = match closed.first() {
        Some(last) => Some(last.month.next()),
        None => periods::first_month(&app.db).await?,
    };
    let present = Month::of(today(&app));
    Ok(Json(Periods {
        items: closed.into_iter().map(Into::into).collect(),
        next: next.filter(|next| *next < present).map(|next| next.to_string()),
        time_zone: zone(&app).to_string(),
    }))
}

/// A closed month with what was signed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PeriodDetail {
    /// The month.
    #[serde(flatten)]
    period: PeriodView,
    /// What was signed, byte for byte: JSON, with the trial balance of the month.
    document: String,
}

/// A closed month, with the document that was signed.
#[utoipa::path(get, path = "/api/admin/periods/{month}", tag = "admin: finance",
    params(("month" = String, Path, description = "The month: 2026-11")), responses((status = 200, body = PeriodDetail)))]
async fn get_period(
    State(app): State<App>,
    _: Admin,
    Path(month): Path<String>,
) -> Result<Json<PeriodDetail>, Problem> {
    let missing = || Problem::not_found("no such closed month");
    let month: Month = month.parse().map_err(|_| missing())?;
    let it = periods::get(&app.db, month).await?.ok_or_else(missing)?;
    let document = it.document.clone();
    Ok(Json(PeriodDetail { period: it.into(), document }))
}

/// Which month.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ClosePeriod {
    /// `2026-11`.
    #[schema(example = "2026-11")]
    month: String,
}

/// Closes a month of the books, for good. Months are closed in order, the first one with all that came before it.
#[utoipa::path(post, path = "/api/admin/periods", tag = "admin: finance", request_body = ClosePeriod,
    responses((status = 201, body = PeriodView)))]
async fn close_period(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<ClosePeriod>,
) -> Result<(StatusCode, Json<PeriodView>), Problem> {
    let month: Month = body.month.parse().map_err(|error| Problem::invalid("month", error))?;
    if month >= Month::of(today(&app)) {
        return Err(Problem::conflict("period_not_over", format!("{month} is not over")));
    }
    // All that the log holds now is in the month's figures, where it belongs there.
    let end = app.ledger.log().identity().await?.last_sequence;
    reached(&app, Some(end)).await?;
    let actor = admin.actor();
    let closed = app.directory.close_month(month, zone(&app).to_string(), admin.0.user, actor).await;
    let closed = closed.map_err(|error| match error {
        ClosingError::Closed(_) => Problem::conflict("period_closed", error.to_string()),
        ClosingError::OutOfOrder(_) => Problem::conflict("period_out_of_order", error.to_string()),
        ClosingError::Unbalanced(_) => Problem::internal(&error),
        ClosingError::Directory(error) => error.into(),
    })?;
    Ok((StatusCode::CREATED, Json(closed.into())))
}

#[cfg(test)]
mod tests;
