//! Payment callbacks as an operator sees them: what came in and what was found of it, never the message itself, which holds
//! signatures and what a payer is called.

use crate::http::permission::{Permission, Routes};
use crate::{
    app::App,
    body::{Json, Page, Query, page_before, page_limit},
    directory::payment::CallbackNote,
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::MoneyRead, routes!(list))
}

/// Which callbacks.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhichCallbacks {
    /// Only those of this channel.
    channel: Option<String>,
    /// Only those with this verdict, such as `bad_signature`.
    verdict: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Payment callbacks and what was found of each, newest first, for as long as INBOX holds them.
#[utoipa::path(operation_id = "list_payment_callbacks", get, path = "/api/admin/payments/callbacks", tag = "admin: payments",
    params(WhichCallbacks), responses((status = 200, body = Page<CallbackNote>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(which): Query<WhichCallbacks>,
) -> Result<Json<Page<CallbackNote>>, Problem> {
    let limit = page_limit(which.limit)?;
    let before = page_before(which.cursor.as_deref())?;
    for (name, word) in [("channel", &which.channel), ("verdict", &which.verdict)] {
        let fits = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, '_' | '-');
        if word.as_ref().is_some_and(|word| word.len() > 64 || !word.chars().all(fits)) {
            return Err(Problem::bad_request("invalid_query", format!("{name}: is no such word")));
        }
    }
    let (channel, verdict) = (which.channel.as_deref(), which.verdict.as_deref());
    let notes = app.directory.callbacks(channel, verdict, before, limit + 1).await?;
    Ok(Json(Page::of(notes, limit, |note| note.id.to_string())))
}
