//! INBOX as an operator sees it: what came in and what was found of it, what a callback holds (masked), and judging one again.
//!
//! Claims: what proves a callback and what a payer is called is never shown; a replay takes the callback's own road, by the
//! callback's own time of arrival, so it can credit what was not credited and nothing twice; it is an act on AUDIT.

use crate::http::permission::{Permission, Routes};
use crate::{
    app::App,
    body::{Json, Page, Path, Query, page_before, page_limit},
    directory::{
        act, now,
        payment::{CallbackNote, QuarantineCount, WhichNotes},
    },
    payments::{callback, evidence::Evidence},
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use domain::{Label, Moment, OrderId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::MoneyRead, routes!(list))
        .guarded(Permission::MoneyRead, routes!(quarantine))
        .guarded(Permission::MoneyRead, routes!(show))
        .confirmed(Permission::MoneyWrite, routes!(replay))
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
    /// Only those of this order: its id, or its number as the gateway wrote it.
    order: Option<String>,
    /// Only those that are not believed (`true`), or only the others.
    quarantined: Option<bool>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Payment callbacks and what was found of each, newest first, for as long as INBOX holds them.
#[utoipa::path(operation_id = "list_payment_callbacks", get, path = "/api/admin/payments/inbox", tag = "admin: payments",
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
    let order = which.order.map(order_number).transpose()?;
    let which = WhichNotes {
        channel: which.channel.as_deref(),
        verdict: which.verdict.as_deref(),
        order: order.as_deref(),
        inbox: None,
        quarantined: which.quarantined,
        before,
        limit: limit + 1,
    };
    let notes = app.directory.callbacks(&which).await?;
    Ok(Json(Page::of(notes, limit, |note| note.id.to_string())))
}

/// An order's id is written at gateways without its hyphens.
fn order_number(text: String) -> Result<String, Problem> {
    let bad = |error| Problem::bad_request("invalid_query", format!("order: {error}"));
    let label = Label::try_new(text).map_err(bad)?;
    Ok(label.as_str().parse::<OrderId>().map_or_else(|_| label.to_string(), OrderId::merchant_number))
}

/// A callback, and what was found of it each time it was judged.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct InboxDetail {
    /// What came in, with what proves it and what a payer is called masked.
    #[serde(flatten)]
    evidence: Evidence,
    /// The newest first.
    judgements: Vec<CallbackNote>,
}

/// One payment callback as it came in, masked.
#[utoipa::path(operation_id = "get_payment_callback_stored", get, path = "/api/admin/payments/inbox/{seq}", tag = "admin: payments",
    params(("seq" = u64, Path, description = "Its sequence in INBOX")), responses((status = 200, body = InboxDetail)))]
async fn show(State(app): State<App>, _: Admin, Path(seq): Path<u64>) -> Result<Json<InboxDetail>, Problem> {
    let stored = app.inbox.read(seq).await?.ok_or_else(gone)?;
    let which = WhichNotes { inbox: Some(seq), limit: 100, ..WhichNotes::default() };
    let judgements = app.directory.callbacks(&which).await?;
    Ok(Json(InboxDetail { evidence: Evidence::of(&stored), judgements }))
}

fn gone() -> Problem {
    Problem::not_found("INBOX holds no callback there, or not any more")
}

/// How a replay ended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Replayed {
    /// The callback's sequence in INBOX.
    inbox: u64,
    /// What was found now.
    verdict: String,
    /// In a sentence.
    detail: String,
    /// The HTTP status that the gateway would have heard.
    status: u16,
}

/// Judges a stored callback again: the same road, as if it came in now but by its own time of arrival.
///
/// It is credited if it can be and is not yet; a payment in suspense stays there until somebody resolves it.
#[utoipa::path(operation_id = "replay_payment_callback", post, path = "/api/admin/payments/inbox/{seq}/replay", tag = "admin: payments",
    params(("seq" = u64, Path, description = "Its sequence in INBOX")), responses((status = 200, body = Replayed)))]
async fn replay(
    State(app): State<App>,
    admin: Admin,
    Path(seq): Path<u64>,
) -> Result<Json<Replayed>, Problem> {
    let stored = app.inbox.read(seq).await?.ok_or_else(gone)?;
    let channel = app.channels.for_callback(stored.channel.as_str()).ok_or_else(|| {
        Problem::conflict("channel_gone", format!("there is no channel {} any more", stored.channel))
    })?;
    let ending = callback::judge(&app, channel.as_ref(), &stored.callback, seq).await;
    let replayed = Replayed {
        inbox: seq,
        verdict: ending.verdict().to_owned(),
        detail: ending.detail(),
        status: ending.status().as_u16(),
    };
    let after = json!({"channel": stored.channel, "verdict": replayed.verdict});
    app.directory.tell(act(admin.actor(), "callback.replay", seq.to_string(), None, Some(after))).await?;
    Ok(Json(replayed))
}

/// Since when callbacks are counted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QuarantineQuery {
    /// So many days back: 1 to 90, else 7.
    #[param(minimum = 1, maximum = 90)]
    days: Option<u32>,
}

/// Callbacks that are not believed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Quarantine {
    /// Since when they are counted.
    #[schema(value_type = String, format = DateTime)]
    since: Moment,
    /// How many judgements in all.
    total: i64,
    /// By channel and verdict. `GET /api/admin/payments/inbox?quarantined=true` lists them.
    by: Vec<QuarantineCount>,
}

/// How many callbacks are not believed, and why.
#[utoipa::path(operation_id = "get_payment_quarantine", get, path = "/api/admin/payments/quarantine", tag = "admin: payments",
    params(QuarantineQuery), responses((status = 200, body = Quarantine)))]
async fn quarantine(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<QuarantineQuery>,
) -> Result<Json<Quarantine>, Problem> {
    let days = query.days.unwrap_or(7);
    if !(1..=90).contains(&days) {
        return Err(Problem::bad_request("invalid_query", format!("days: {days} is not between 1 and 90")));
    }
    let since = now().plus_ms(-i64::from(days) * 86_400_000);
    let by = app.directory.quarantine(since).await?;
    Ok(Json(Quarantine { since, total: by.iter().map(|it| it.count).sum(), by }))
}
