//! Exports for finance: asking for one, seeing how far it is, fetching its file.
//!
//! Claims: who asked for what is an act on AUDIT; a file is handed out as it was made, with its SHA-256 beside it.

use crate::app::App;
use crate::body::{Json, Page, PageQuery, Path, Query};
use crate::directory::export::{Export, ExportFormat, ExportKind, ExportState, Wanted};
use crate::directory::now;
use crate::exports::{Missing, content_type, extension};
use crate::http::permission::{Permission, Routes};
use crate::http::statements::attachment;
use crate::problem::Problem;
use crate::session::Admin;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{FixedOffset, NaiveDate};
use domain::{AccountId, Moment};
use projections::periods::Month;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::BooksExport, routes!(create_export))
        .guarded(Permission::BooksExport, routes!(list_exports))
        .guarded(Permission::BooksExport, routes!(get_export, delete_export))
        .guarded(Permission::BooksExport, routes!(get_export_file))
}

/// What is wanted: days, or a month of the books. Without either, the present month so far.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateExport {
    /// What.
    kind: ExportKind,
    /// As which file; `beancount` is the journal's alone.
    format: ExportFormat,
    /// The first day, in the operator's time zone.
    #[schema(value_type = Option<String>, example = "2026-11-01")]
    from: Option<String>,
    /// The last day, which is in it.
    #[schema(value_type = Option<String>, example = "2026-11-30")]
    to: Option<String>,
    /// Instead of days: a month of the books. A closed one is given as it was closed; the one behind it holds what came later
    /// for closed months. Billing, usage and margin are by days also then; of unmatched items the last day counts alone.
    #[schema(value_type = Option<String>, example = "2026-11")]
    month: Option<String>,
}

/// An export.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ExportView {
    /// Its id.
    id: Uuid,
    /// What.
    kind: ExportKind,
    /// As which file.
    format: ExportFormat,
    /// The first day.
    #[schema(value_type = String, format = Date)]
    from: NaiveDate,
    /// The last day.
    #[schema(value_type = String, format = Date)]
    to: NaiveDate,
    /// The month of the books that was asked for.
    #[schema(example = "2026-11")]
    month: Option<String>,
    /// By which clock days are counted.
    #[schema(example = "+08:00")]
    time_zone: String,
    /// How far it got.
    state: ExportState,
    /// Rows that are written.
    rows_done: u64,
    /// About how many there will be, and no fewer; null while nobody knows.
    rows_expected: Option<u64>,
    /// The file's size.
    bytes: Option<u64>,
    /// Its SHA-256, in hexadecimal.
    sha256: Option<String>,
    /// What it is called when it is fetched.
    #[schema(example = "journal-2026-11.csv")]
    file_name: String,
    /// Every event of the log up to this one is in it, and none behind it.
    position: Option<u64>,
    /// On which host its file was made, and lies if processes share no folder.
    made_on: Option<String>,
    /// Why it failed.
    error: Option<String>,
    /// Who asked.
    #[schema(value_type = Uuid)]
    created_by: AccountId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it was begun.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Moment>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Moment>,
    /// When its file goes.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
}

fn view(app: &App, it: Export) -> ExportView {
    ExportView {
        id: it.id,
        kind: it.wanted.kind,
        format: it.wanted.format,
        from: it.wanted.from,
        to: it.wanted.to,
        month: it.wanted.month.map(|it| it.to_string()),
        time_zone: zone(app).to_string(),
        state: it.state,
        rows_done: it.rows_done,
        rows_expected: it.rows_expected,
        bytes: it.bytes,
        sha256: it.sha256.clone(),
        file_name: file_name(&it),
        position: it.position,
        made_on: it.made_on.clone(),
        error: it.error.clone(),
        created_by: it.created_by,
        created_at: it.created_at,
        started_at: it.started_at,
        finished_at: it.finished_at,
        expires_at: it.expires_at,
    }
}

fn file_name(it: &Export) -> String {
    let Wanted { kind, format, from, to, month } = &it.wanted;
    let kind = kind.as_str().replace('_', "-");
    let span = month.map_or_else(|| format!("{from}-to-{to}"), |month| month.to_string());
    format!("{kind}-{span}.{}", extension(*format))
}

/// The operator's clock, by which the books count days.
pub(super) fn zone(app: &App) -> FixedOffset {
    app.config.zone()
}

/// Today by the operator's clock.
pub(super) fn today(app: &App) -> NaiveDate {
    now().to_utc().with_timezone(&zone(app)).date_naive()
}

fn wanted(app: &App, body: CreateExport) -> Result<Wanted, Problem> {
    let CreateExport { kind, format, from, to, month } = body;
    if format == ExportFormat::Beancount && kind != ExportKind::Journal {
        return Err(Problem::invalid("format", "beancount is for the journal alone"));
    }
    let day = |field: &str, text: Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let day = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok();
        let day =
            day.filter(|day| day.to_string() == text && Month::of(*day).to_string().parse::<Month>().is_ok());
        day.map(Some).ok_or_else(|| Problem::invalid(field, "is no date such as 2026-11-22"))
    };
    let (from, to) = (day("from", from)?, day("to", to)?);
    let today = today(app);
    let (from, to, month) = match month {
        Some(_) if from.is_some() || to.is_some() => {
            return Err(Problem::invalid("month", "not together with from and to"));
        }
        Some(text) => {
            let month: Month = text.parse().map_err(|error| Problem::invalid("month", error))?;
            (month.first(), month.last(), Some(month))
        }
        None => {
            let to = to.unwrap_or(today);
            (from.unwrap_or_else(|| Month::of(to).first()), to, None)
        }
    };
    if to < from {
        return Err(Problem::invalid("to", "lies before from"));
    }
    Ok(Wanted { kind, format, from, to, month })
}

/// Asks for an export. Its file is made in the background, one after the other.
#[utoipa::path(post, path = "/api/admin/exports", tag = "admin: finance", request_body = CreateExport,
    responses((status = 201, body = ExportView)))]
async fn create_export(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<CreateExport>,
) -> Result<(StatusCode, Json<ExportView>), Problem> {
    let wanted = wanted(&app, body)?;
    let made = app.directory.ask_export(wanted, admin.0.user, admin.actor()).await?;
    app.clerk.wake();
    Ok((StatusCode::CREATED, Json(view(&app, made))))
}

/// Exports, newest first.
#[utoipa::path(get, path = "/api/admin/exports", tag = "admin: finance", params(PageQuery),
    responses((status = 200, body = Page<ExportView>)))]
async fn list_exports(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ExportView>>, Problem> {
    let (limit, before) = (query.limit()?, query.before()?);
    let found = app.directory.exports(before, limit + 1).await?;
    Ok(Json(Page::of(found, limit, |it| it.id.to_string()).map(|it| view(&app, it))))
}

/// An export, and how far it is.
#[utoipa::path(get, path = "/api/admin/exports/{id}", tag = "admin: finance",
    params(("id" = Uuid, Path, description = "The export")), responses((status = 200, body = ExportView)))]
async fn get_export(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<ExportView>, Problem> {
    Ok(Json(view(&app, found(&app, id).await?)))
}

/// Stops an export, and lets its file go.
#[utoipa::path(delete, path = "/api/admin/exports/{id}", tag = "admin: finance",
    params(("id" = Uuid, Path, description = "The export")), responses((status = 204)))]
async fn delete_export(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    let it = found(&app, id).await?;
    app.directory.cancel_export(id, admin.actor()).await?;
    app.clerk.remove(&it).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn found(app: &App, id: Uuid) -> Result<Export, Problem> {
    app.directory.export(id).await?.ok_or_else(|| Problem::not_found("no such export"))
}

fn gone() -> Problem {
    Problem::new(StatusCode::GONE, "export_gone", "its file is gone: ask for it anew")
}

/// The file of an export that is done.
#[utoipa::path(get, path = "/api/admin/exports/{id}/file", tag = "admin: finance",
    params(("id" = Uuid, Path, description = "The export")),
    responses((status = 200, description = "The file", content(
        (String = "text/csv"), (String = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        (String = "application/vnd.apache.parquet"), (String = "text/plain")))))]
async fn get_export_file(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Response, Problem> {
    let it = found(&app, id).await?;
    match it.state {
        ExportState::Done => {}
        ExportState::Queued | ExportState::Running => {
            return Err(Problem::conflict("export_not_ready", "it is not done yet").retry_after(1));
        }
        ExportState::Failed => {
            let why = it.error.unwrap_or_else(|| "it could not be made".to_owned());
            return Err(Problem::conflict("export_failed", why));
        }
        ExportState::Cancelled | ExportState::Expired => {
            return Err(gone());
        }
    }
    let mut file = match app.clerk.open(&it).await {
        Ok(Some(file)) => file,
        Ok(None) => return Err(gone()),
        Err(Missing::Elsewhere) => {
            let host = it.made_on.as_deref().unwrap_or("another host");
            let detail = format!(
                "its file lies in the folder of another process, made on {host}: fetch it there, let processes share the folder \
                 `exports`, or ask for it anew"
            );
            return Err(Problem::conflict("export_elsewhere", detail));
        }
        Err(Missing::Io(error)) => return Err(Problem::internal(&error)),
        Err(Missing::Directory(error)) => return Err(error.into()),
    };
    // A piece at a time, and the next when that one was taken.
    let pieces = futures_util::stream::poll_fn({
        let mut buffer = vec![0_u8; 64 * 1024];
        move |context| {
            let mut room = tokio::io::ReadBuf::new(&mut buffer);
            let read = std::pin::Pin::new(&mut file);
            std::task::ready!(tokio::io::AsyncRead::poll_read(read, context, &mut room))?;
            let piece = bytes::Bytes::copy_from_slice(room.filled());
            std::task::Poll::Ready(
                Some(Ok::<_, std::io::Error>(piece))
                    .filter(|it| !matches!(it, Ok(piece) if piece.is_empty())),
            )
        }
    });
    let kind = [(header::CONTENT_TYPE, content_type(it.wanted.format))];
    let length = it.bytes.map(|bytes| [(header::CONTENT_LENGTH, bytes.to_string())]);
    let mut response = (kind, attachment(&file_name(&it)), Body::from_stream(pieces)).into_response();
    if let Some([(name, value)]) = length
        && let Ok(value) = value.parse()
    {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}
