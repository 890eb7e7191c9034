//! Requests for what one operator may not do alone, and the second person's word on them.
//!
//! For: taking an act on an account's credits ([`ask`]), which other rooms share, and the routes by which requests are seen,
//! approved and rejected. May not touch: the limits' arithmetic, which is the directory's.
//! Claims: an act is answered from the ledger's receipt if one person was enough, and as a request if not; approving is done by
//! another person than asked, never by the account's own user.

use crate::{
    app::App,
    approval,
    body::{Json, Page, Path, Query, page_before, page_limit},
    directory::{
        Status,
        approval::{
            Approval, ApprovalFault, ApprovalFilter, ApprovalKind, ApprovalNeed, ApprovalState, Asked,
        },
        now,
    },
    http::permission::{Permission, Routes},
    problem::Problem,
    session::Admin,
};
use axum::{extract::State, http::StatusCode};
use domain::{AccountId, Credits, IdempotencyKey, Moment};
use ledger::{LedgerError, Receipt};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::MoneyRead, routes!(list))
        .guarded(Permission::MoneyRead, routes!(allowance))
        .guarded(Permission::MoneyRead, routes!(show))
        .confirmed(Permission::MoneyWrite, routes!(approve))
        .guarded(Permission::MoneyWrite, routes!(reject))
}

/// A request, and what became of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ApprovalView {
    /// Its id, also that of the adjustment or grant that it makes.
    id: Uuid,
    /// What is asked for.
    kind: ApprovalKind,
    /// Whose account; null: nobody's, as a payment in suspense that goes back.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<AccountId>,
    /// Where the payment in suspense stands on the log that it is about.
    payment: Option<u64>,
    /// The credits, a decimal string; below zero: away from the account.
    #[schema(example = "2500")]
    credits: String,
    /// Why.
    reason: Option<String>,
    /// Who asked.
    #[schema(value_type = Uuid)]
    requested_by: AccountId,
    /// Why a second person is asked; null: nobody is.
    needed: Option<ApprovalNeed>,
    /// How far it got.
    state: ApprovalState,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// Until when it can be approved.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Moment,
    /// Who decided; whoever asked, where one person was enough.
    #[schema(value_type = Option<Uuid>)]
    decided_by: Option<AccountId>,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Moment>,
    /// What they said.
    note: Option<String>,
    /// Why the ledger refused.
    failure: Option<String>,
    /// Where it stands on the log; null while it does not.
    event_seq: Option<i64>,
}

impl From<Approval> for ApprovalView {
    fn from(it: Approval) -> Self {
        Self {
            id: it.id,
            kind: it.asked.kind(),
            user_id: (!it.account.uuid().is_nil()).then_some(it.account),
            payment: it.asked.payment(),
            credits: it.asked.credits().to_string(),
            reason: it.asked.reason().map(ToString::to_string),
            requested_by: it.requester,
            needed: it.needed,
            state: it.state,
            created_at: it.created_at,
            expires_at: it.expires_at,
            decided_by: it.decided_by,
            decided_at: it.decided_at,
            note: it.note,
            failure: it.failure,
            event_seq: it.event_seq,
        }
    }
}

/// What came of an act.
pub enum Taken {
    /// It stands on the ledger.
    Done(Box<Receipt>),
    /// It waits for a second person, or is on its way.
    Waits(Box<ApprovalView>),
}

/// Takes an act of an operator on somebody's credits: does it, or asks a second person.
pub async fn ask(
    app: &App,
    admin: &Admin,
    account: AccountId,
    asked: Asked,
    key: Option<IdempotencyKey>,
) -> Result<Taken, Problem> {
    // The ledger would open an account for any id, so a mistyped one is caught here.
    if app.directory.user(account).await?.is_none() {
        return Err(Problem::not_found("no such user"));
    }
    let live = app.live.now();
    let day = approval::day(now(), live.time_zone_offset_minutes);
    let asked = app.directory.ask_for(&admin.0, account, asked, key.as_ref(), &live.adjustments, &day);
    let request = asked.await?.map_err(fault)?;
    match request.state {
        ApprovalState::Approved | ApprovalState::Done => {}
        ApprovalState::Pending | ApprovalState::Failed | ApprovalState::Rejected | ApprovalState::Expired => {
            return Ok(Taken::Waits(Box::new(request.into())));
        }
    }
    match approval::perform(&app.ledger, &app.directory, &request).await {
        Ok(receipt) => Ok(Taken::Done(Box::new(receipt))),
        // It was taken and will be done: whoever tried again without a key would have it done twice.
        Err(LedgerError::Unavailable(_) | LedgerError::Contended { .. }) => {
            Ok(Taken::Waits(Box::new(app.directory.approval(request.id).await?.into())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks for what nobody does alone.
pub(super) async fn ask_two(
    app: &App,
    admin: &Admin,
    account: AccountId,
    asked: Asked,
    key: Option<IdempotencyKey>,
) -> Result<(StatusCode, Json<ApprovalView>), Problem> {
    let live = app.live.now();
    let day = approval::day(now(), live.time_zone_offset_minutes);
    let request = app.directory.ask_for(&admin.0, account, asked, key.as_ref(), &live.adjustments, &day);
    Ok((StatusCode::ACCEPTED, Json(request.await?.map_err(fault)?.into())))
}

/// Counts what is handed out to whoever comes, such as codes, as if the caller moved it. There is no request for it: what is beyond
/// the limits somebody with wider ones must do.
pub async fn move_alone(app: &App, admin: &Admin, credits: Credits) -> Result<(), Problem> {
    let live = app.live.now();
    let day = approval::day(now(), live.time_zone_offset_minutes);
    if app.directory.move_alone(&admin.0, credits, &live.adjustments, &day).await? {
        return Ok(());
    }
    let detail = format!(
        "this is worth {credits} credits, more than one {} hands out alone at once or on a day; make less, or ask somebody of a \
         higher role",
        admin.0.role
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "above_limit", detail))
}

pub(super) fn fault(fault: ApprovalFault) -> Problem {
    match fault {
        ApprovalFault::Refused(refusal) => refusal.into(),
        ApprovalFault::PaymentHeld => Problem::conflict("request_open", fault.to_string()),
        ApprovalFault::NotPending(_) => Problem::conflict("not_pending", fault.to_string()),
        ApprovalFault::Involved(why) => Problem::new(StatusCode::FORBIDDEN, "second_person_needed", why),
    }
}

/// Which requests are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ApprovalsQuery {
    /// Only those that got this far; `pending`: what waits for a second person.
    #[param(inline)]
    state: Option<ApprovalState>,
    /// Only about this user's account.
    user: Option<Uuid>,
    /// Only what this operator asked for.
    requested_by: Option<Uuid>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What operators have asked to be done with credits, newest first; also what one person was enough for.
#[utoipa::path(operation_id = "list_approvals", get, path = "/api/admin/approvals", tag = "admin: money", params(ApprovalsQuery),
    responses((status = 200, body = Page<ApprovalView>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<ApprovalsQuery>,
) -> Result<Json<Page<ApprovalView>>, Problem> {
    let limit = page_limit(query.limit)?;
    let filter = ApprovalFilter {
        state: query.state,
        account: query.user.map(AccountId::from_uuid),
        requester: query.requested_by.map(AccountId::from_uuid),
        before: page_before(query.cursor.as_deref())?,
        limit: limit + 1,
    };
    let items = app.directory.approvals(&filter).await?;
    Ok(Json(Page::of(items, limit, |it| it.id.to_string()).map(ApprovalView::from)))
}

/// What I may move alone.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AllowanceView {
    /// Credits at once, a decimal string.
    #[schema(example = "1000")]
    at_once: String,
    /// Credits on one day.
    #[schema(example = "5000")]
    on_a_day: String,
    /// Credits that I have moved alone today.
    #[schema(example = "120.5")]
    moved_today: String,
    /// The day that is meant.
    #[schema(value_type = String, format = Date)]
    day: String,
    /// I am the only one who could approve, and `approvals.single_operator` lets me approve what I asked for myself, with a `note`; not
    /// what is done to my own account.
    alone: bool,
}

/// What I may add to or take from accounts without a second person, and have today.
#[utoipa::path(operation_id = "get_adjustment_allowance", get, path = "/api/admin/approvals/allowance", tag = "admin: money",
    responses((status = 200, body = AllowanceView)))]
async fn allowance(State(app): State<App>, admin: Admin) -> Result<Json<AllowanceView>, Problem> {
    let live = app.live.now();
    let day = approval::day(now(), live.time_zone_offset_minutes);
    let found = app.directory.allowance(&admin.0, &live.adjustments, &day).await?;
    Ok(Json(AllowanceView {
        at_once: found.at_once.to_string(),
        on_a_day: found.on_a_day.to_string(),
        moved_today: found.moved.to_string(),
        day,
        alone: is_alone(&app, &admin).await?,
    }))
}

/// One request.
#[utoipa::path(operation_id = "get_approval", get, path = "/api/admin/approvals/{id}", tag = "admin: money",
    params(("id" = Uuid, Path)), responses((status = 200, body = ApprovalView)))]
async fn show(State(app): State<App>, _: Admin, Path(id): Path<Uuid>) -> Result<Json<ApprovalView>, Problem> {
    Ok(Json(app.directory.approval(id).await?.into()))
}

/// What a second person says.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// A sentence about it, up to 500 characters; operators alone see it.
    note: Option<String>,
}

impl Verdict {
    fn checked(self) -> Result<Option<String>, Problem> {
        let Some(note) = self.note else { return Ok(None) };
        if note.chars().count() > 500 || note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(Problem::invalid(
                "note",
                "must be at most 500 characters without control characters",
            ));
        }
        Ok(Some(note).filter(|note| !note.is_empty()))
    }
}

/// Approves a request, as another person than asked for it and than the account's user. The act is on the ledger when this
/// answers `done`; `approved` means that it is on its way there.
#[utoipa::path(operation_id = "approve_request", post, path = "/api/admin/approvals/{id}/approve", tag = "admin: money",
    params(("id" = Uuid, Path)), request_body = Option<Verdict>, responses((status = 200, body = ApprovalView)))]
async fn approve(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    body: Option<Json<Verdict>>,
) -> Result<Json<ApprovalView>, Problem> {
    let note = body.map(|Json(body)| body).unwrap_or_default().checked()?;
    second(&app, &admin, id, note.as_deref()).await?;
    Ok(Json(app.directory.approval(id).await?.into()))
}

/// Approves a request as its second person, and does it; `None`: it is on its way.
pub(super) async fn second(
    app: &App,
    admin: &Admin,
    id: Uuid,
    note: Option<&str>,
) -> Result<Option<Box<Receipt>>, Problem> {
    let before = app.directory.approval(id).await?;
    let requester = app.directory.user(before.requester).await?;
    if !requester.is_some_and(|it| it.status == Status::Active && Permission::MoneyWrite.is_held_by(it.role))
    {
        let detail = "whoever asked for this may not move credits any more; reject it";
        return Err(Problem::conflict("requester_gone", detail));
    }
    let request = match alone(app, admin, before.requester, note).await? {
        Some(note) => app.directory.approve_alone(id, &admin.0, note, Permission::MoneyWrite.roles()).await?,
        None => app.directory.approve(id, &admin.0, note).await?,
    };
    let request = request.map_err(fault)?;
    if request.asked.payment().is_some() {
        // What cannot be done yet is tried again; what cannot be done at all is noted.
        if let Err(error) = crate::payments::suspense::perform(app, &request).await {
            tracing::warn!(request = %request.id, "an approved end of a payment in suspense is not done yet: {error}");
        }
        return Ok(None);
    }
    match approval::perform(&app.ledger, &app.directory, &request).await {
        Ok(receipt) => Ok(Some(Box::new(receipt))),
        Err(LedgerError::Unavailable(_) | LedgerError::Contended { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Does the operator's file say that there is one operator, and is it this one?
async fn is_alone(app: &App, admin: &Admin) -> Result<bool, Problem> {
    let may_approve = Permission::MoneyWrite.is_held_by(admin.0.role);
    if !app.config.single_operator || !may_approve {
        return Ok(false);
    }
    Ok(app.directory.others_of(Permission::MoneyWrite.roles(), admin.0.user).await? == 0)
}

/// Where there is one operator: what they say when they agree with themselves.
pub(in crate::http) async fn alone<'a>(
    app: &App,
    admin: &Admin,
    asked_by: AccountId,
    note: Option<&'a str>,
) -> Result<Option<&'a str>, Problem> {
    if asked_by != admin.0.user || !is_alone(app, admin).await? {
        return Ok(None);
    }
    let missing = "say why: who agrees with themselves leaves a note";
    note.map(Some).ok_or_else(|| Problem::invalid("note", missing))
}

/// Rejects a request, or takes one's own back.
#[utoipa::path(operation_id = "reject_request", post, path = "/api/admin/approvals/{id}/reject", tag = "admin: money",
    params(("id" = Uuid, Path)), request_body = Option<Verdict>, responses((status = 200, body = ApprovalView)))]
async fn reject(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    body: Option<Json<Verdict>>,
) -> Result<Json<ApprovalView>, Problem> {
    let note = body.map(|Json(body)| body).unwrap_or_default().checked()?;
    let request = app.directory.reject(id, &admin.0, note.as_deref()).await?.map_err(fault)?;
    Ok(Json(request.into()))
}

#[cfg(test)]
mod tests;
