//! The audit log: who did what, read from the AUDIT stream itself.
//!
//! May not touch: tables. What stands here cannot be edited by whoever holds the database.

use crate::{
    app::App,
    body::{Json, Page, Query, page_limit},
    http::permission::{Permission, Routes},
    http::reading::{Period, parameter},
    problem::Problem,
    session::Admin,
};
use axum::extract::State;
use domain::{ActorKind, Moment};
use ledger::{ActFilter, StoredAct};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new().guarded(Permission::AuditRead, routes!(list))
}

/// Which acts are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Only by this actor: a user's id, or `command line`.
    actor: Option<String>,
    /// Only this act (`user.change`), or all of a noun (`user`).
    act: Option<String>,
    /// Only on this thing: an id or a name.
    subject: Option<String>,
    /// Done at this moment or later: RFC 3339, or a date in the operator's time zone.
    from: Option<String>,
    /// Done before this moment; a date includes that day.
    to: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An act.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ActView {
    /// Where it stands on AUDIT.
    sequence: u64,
    /// When it was done.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// What kind of actor did it: user, admin (anyone who acts for the gateway), channel, node, system.
    #[schema(value_type = String, example = "admin")]
    actor_kind: ActorKind,
    /// Who did it: a user's id, or another name.
    actor: String,
    /// What was done, as `noun.verb`.
    #[schema(example = "provider.create")]
    act: String,
    /// On which thing: an id or a name.
    subject: String,
    /// What it was, without secrets; null where there was nothing to tell.
    #[schema(value_type = Option<Object>)]
    before: Option<serde_json::Value>,
    /// What it became, without secrets.
    #[schema(value_type = Option<Object>)]
    after: Option<serde_json::Value>,
}

impl From<StoredAct> for ActView {
    fn from(StoredAct { sequence, act }: StoredAct) -> Self {
        Self {
            sequence,
            at: act.at,
            actor_kind: act.actor.kind,
            actor: act.actor.id.into(),
            act: act.act,
            subject: act.subject,
            before: act.before,
            after: act.after,
        }
    }
}

/// Acts of all kinds, newest first. A page may hold fewer than asked for, or none, and still name a next one: each looks at a
/// bounded part of the stream. An act shows about a second after it was done.
#[utoipa::path(operation_id = "list_acts", get, path = "/api/admin/audit", tag = "admin: audit", params(AuditQuery),
    responses((status = 200, body = Page<ActView>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<ActView>>, Problem> {
    let limit = page_limit(query.limit)?;
    let before = query.cursor.map(|text| parameter("cursor", text.parse::<u64>())).transpose()?;
    let period = Period::parse(&app, query.from.as_deref(), query.to.as_deref())?;
    let filter = ActFilter {
        actor: query.actor,
        act: query.act,
        subject: query.subject,
        from: period.from,
        to: period.to,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = app.audit.page(&filter, before, limit).await?;
    let next_cursor = page.next.map(|sequence| sequence.to_string());
    Ok(Json(Page { items: page.items.into_iter().map(ActView::from).collect(), next_cursor }))
}
