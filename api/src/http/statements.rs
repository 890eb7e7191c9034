//! Statements: a month of an account, for its owner and for operators, as JSON, CSV, workbook and PDF.
//!
//! Claims: a statement is of one position of the log and adds up to the nano, or it is not handed out; nobody but operators sees
//! another's.

use crate::app::App;
use crate::body::{Json, Path, Query};
use crate::directory::now;
use crate::exports::statement::{self, Statement, StatementFormat};
use crate::exports::table::TableFormat;
use crate::http::permission::{Permission, Routes};
use crate::http::reading::{parameter, reached};
use crate::problem::Problem;
use crate::session::{Admin, Caller};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::AccountId;
use relay::zone::Zone;
use serde::Deserialize;
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfRead, routes!(get_statement))
        .guarded(Permission::BooksRead, routes!(get_user_statement))
}

/// Which statement is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatementQuery {
    /// The month, by the account's own clock: `2026-11`. The present one where absent.
    month: Option<String>,
    /// As what; JSON where absent.
    #[param(inline)]
    format: Option<StatementFormat>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// A month of the caller's account, in the time zone of their settings: what there was, what came, what went, what is left.
#[utoipa::path(get, path = "/api/user/statements", tag = "billing", params(StatementQuery),
    responses((status = 200, description = "The statement", content(
        (Statement = "application/json"), (String = "text/csv"), (String = "application/pdf"),
        (String = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")))))]
async fn get_statement(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<StatementQuery>,
) -> Result<Response, Problem> {
    answer(&app, caller.user, &caller.username, query).await
}

/// A month of anybody's account, in the time zone of their settings.
#[utoipa::path(get, path = "/api/admin/users/{id}/statements", tag = "admin: finance",
    params(("id" = Uuid, Path, description = "The user"), StatementQuery),
    responses((status = 200, description = "The statement", content(
        (Statement = "application/json"), (String = "text/csv"), (String = "application/pdf"),
        (String = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")))))]
async fn get_user_statement(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
    Query(query): Query<StatementQuery>,
) -> Result<Response, Problem> {
    let id = AccountId::from_uuid(id);
    let user = app.directory.user(id).await?.ok_or_else(|| Problem::not_found("no such user"))?;
    answer(&app, id, &user.username, query).await
}

async fn answer(
    app: &App,
    account: AccountId,
    user: &str,
    query: StatementQuery,
) -> Result<Response, Problem> {
    let zone = app.directory.settings(account).await?.map_or(Zone::UTC, |it| it.time_zone);
    let now = now();
    let present = statement::month_now(zone, now);
    let month = match query.month {
        None => present,
        Some(text) => parameter("month", text.parse())?,
    };
    if month > present {
        return parameter("month", Err("has not begun"));
    }
    reached(app, query.after).await?;
    let it = statement::of_month(&app.db, (account, user), month, zone, now).await?;
    let format = query.format.unwrap_or(StatementFormat::Json);
    let (kind, bytes) = match format {
        StatementFormat::Json => return Ok(Json(it).into_response()),
        StatementFormat::Csv => ("text/csv; charset=utf-8", it.table(TableFormat::Csv)?),
        StatementFormat::Xlsx => (
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            it.table(TableFormat::Xlsx)?,
        ),
        StatementFormat::Pdf => ("application/pdf", it.pdf(&app.live.now().site_name)),
    };
    Ok(([(header::CONTENT_TYPE, kind)], attachment(&format!("statement-{month}.{format}")), bytes)
        .into_response())
}

/// The header that makes a browser keep an answer as a file. The name is ours: letters, digits, dots and dashes.
pub(super) fn attachment(name: &str) -> [(header::HeaderName, HeaderValue); 1] {
    let value = format!("attachment; filename=\"{name}\"");
    let value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("attachment"));
    [(header::CONTENT_DISPOSITION, value)]
}
