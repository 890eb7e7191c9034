//! What operators do about refunds: ask for one, approve or reject it, help those that do not go through, and look after money
//! that went back without us.
//!
//! Claims: what is worth more than one person may move waits for a second one ([`approvals`]); a refund that the gateway may have
//! been asked for is not rejected; what a person settles by hand is on AUDIT before it is on the ledger.

use super::approvals::{self, ApprovalView, Taken};
use crate::app::App;
use crate::body::{Idempotency, Json, Page, Path, Query, page_before, page_limit};
use crate::directory::approval::{ApprovalFilter, ApprovalState, Asked, SettleOutcome};
use crate::directory::refund::{CallState, OutsideRefund, OutsideRefundState, RefundCall, chargeback_of};
use crate::http::permission::{Permission, Routes};
use crate::http::reading::{MoneyView, Position, page_of, paging, reached};
use crate::http::refunds::{RefundView, RefundWord, RequestRefund};
use crate::payments::callback::{self, Trouble};
use crate::payments::refunds as road;
use crate::problem::Problem;
use crate::session::{Admin, actor};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{
    AccountId, ActorKind, ChannelName, Command, Credits, Label, Moment, Money, OrderId, Reason, RefundId,
};
use projections::refunds::{self, Refund, RefundFilter, RefundStatus};
use projections::top_ups::TopUpOrder;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::MoneyRead, routes!(list))
        .confirmed(Permission::MoneyWrite, routes!(request))
        .guarded(Permission::MoneyRead, routes!(show))
        .confirmed(Permission::MoneyWrite, routes!(approve))
        .guarded(Permission::MoneyWrite, routes!(reject))
        .confirmed(Permission::MoneyWrite, routes!(retry))
        .confirmed(Permission::MoneyWrite, routes!(settle))
        .guarded(Permission::MoneyRead, routes!(list_outside))
        .confirmed(Permission::MoneyWrite, routes!(resolve))
}

/// What the payment gateway was asked and said of a refund.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct CallView {
    /// How far it is. `unknown` and `refused` without a `next_at` wait for a person.
    state: CallState,
    /// How often the gateway was asked to pay.
    attempts: i64,
    /// What went wrong last.
    last_error: Option<String>,
    /// When it is looked at next; null: not before a person says so, or never.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Moment>,
    /// When this last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

/// A refund, and the gateway's part in it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct AdminRefundView {
    /// Whose.
    #[schema(value_type = Uuid)]
    user_id: AccountId,
    /// The gateway's number of it.
    provider_refund: Option<String>,
    /// What the gateway was asked and said; null before the refund is approved.
    call: Option<CallView>,
    /// The refund.
    #[serde(flatten)]
    refund: RefundView,
}

impl AdminRefundView {
    fn new(refund: Refund, call: Option<RefundCall>) -> Self {
        Self {
            user_id: refund.account,
            provider_refund: refund.provider_refund.as_ref().map(ToString::to_string),
            call: call.map(|it| CallView {
                state: it.state,
                attempts: it.attempts,
                last_error: it.last_error,
                next_at: it.next_at,
                updated_at: it.updated_at,
            }),
            refund: refund.into(),
        }
    }
}

/// Which refunds are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RefundsQuery {
    /// Only this user's.
    user: Option<Uuid>,
    /// Only of this order.
    order: Option<Uuid>,
    /// Only at this channel.
    channel: Option<String>,
    /// Only those that got this far.
    #[param(inline)]
    status: Option<RefundWord>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// Everybody's refunds, newest first.
#[utoipa::path(operation_id = "list_all_refunds", get, path = "/api/admin/refunds", tag = "admin: money", params(RefundsQuery),
    responses((status = 200, body = Page<AdminRefundView>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<RefundsQuery>,
) -> Result<Json<Page<AdminRefundView>>, Problem> {
    let paging = paging(query.limit, query.cursor.as_deref())?;
    let channel = query.channel.map(ChannelName::try_new).transpose();
    let channel =
        channel.map_err(|error| Problem::bad_request("invalid_query", format!("channel: {error}")))?;
    reached(&app, query.after).await?;
    let filter = RefundFilter {
        account: query.user.map(AccountId::from_uuid),
        order: query.order.map(OrderId::from_uuid),
        channel,
        status: query.status.map(Into::into),
    };
    let page = refunds::list(&app.db, &filter, &paging).await?;
    let ids: Vec<RefundId> = page.items.iter().map(|it| it.refund).collect();
    let calls = app.directory.refund_calls(&ids).await?;
    let call = |id: RefundId| calls.iter().find(|it| it.refund == id).cloned();
    Ok(Json(page_of(page, |it| {
        let call = call(it.refund);
        AdminRefundView::new(it, call)
    })))
}

/// One refund.
#[utoipa::path(operation_id = "get_any_refund", get, path = "/api/admin/refunds/{id}", tag = "admin: money",
    params(("id" = Uuid, Path)), responses((status = 200, body = AdminRefundView)))]
async fn show(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<AdminRefundView>, Problem> {
    Ok(Json(view(&app, RefundId::from_uuid(id)).await?))
}

async fn found(app: &App, id: RefundId) -> Result<Refund, Problem> {
    refunds::find(&app.db, id).await?.ok_or_else(|| Problem::not_found("no such refund"))
}

async fn view(app: &App, id: RefundId) -> Result<AdminRefundView, Problem> {
    let call = app.directory.refund_call(id).await?;
    Ok(AdminRefundView::new(found(app, id).await?, call))
}

/// The same once the tables hold everything up to a position.
async fn view_at(app: &App, id: RefundId, position: u64) -> Result<Response, Problem> {
    reached(app, Some(position)).await?;
    Ok((Position(position), Json(view(app, id).await?)).into_response())
}

/// An order, whoever it belongs to.
pub(super) async fn order(app: &App, id: Uuid) -> Result<TopUpOrder, Problem> {
    let order = callback::find(app, OrderId::from_uuid(id)).await.map_err(problem)?;
    order.ok_or_else(|| Problem::not_found("no such order"))
}

pub(super) fn problem(trouble: Trouble) -> Problem {
    match trouble {
        Trouble::Ledger(error) => error.into(),
        Trouble::Directory(error) => error.into(),
        Trouble::Database(error) => error.into(),
        Trouble::Trailing | Trouble::Text(_) | Trouble::Gateway(_) | Trouble::NotConfirmed => {
            Problem::unavailable(trouble.to_string())
        }
    }
}

/// Asks for a refund of somebody's order. Like one that its owner asks for, it waits to be approved.
#[utoipa::path(operation_id = "request_refund_for_user", post, path = "/api/admin/refunds", tag = "admin: money",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and wish: the same refund")),
    request_body = RequestRefund,
    responses((status = 201, body = AdminRefundView, headers(("X-Ledger-Position" = u64, description = "Where it stands on the log")))))]
async fn request(
    State(app): State<App>,
    admin: Admin,
    Idempotency(key): Idempotency,
    Json(body): Json<RequestRefund>,
) -> Result<Response, Problem> {
    let reason = body.reason()?;
    let order = order(&app, body.order).await?;
    let by = actor(ActorKind::Admin, admin.0.user);
    let (it, at, position) =
        road::request(&app, &order, body.amount.as_deref(), reason, by, key).await.map_err(Problem::from)?;
    let after =
        json!({"order": it.order, "amount": it.pay.to_string(), "reason": it.reason, "event_seq": position});
    app.directory.note_refund_act("refund.request", it.refund, &admin.0, after).await?;
    let refund = RefundView::requested(it, at, position);
    let view = AdminRefundView { user_id: order.account, provider_refund: None, call: None, refund };
    Ok((StatusCode::CREATED, Position(position), Json(view)).into_response())
}

/// Lets the payment gateway be asked for a refund. What is worth more than one person of the caller's role may move
/// (`adjustments.approval_above`, `adjustments.daily`) waits for a second one, who comes here too, or decides the request.
#[utoipa::path(operation_id = "approve_refund", post, path = "/api/admin/refunds/{id}/approve", tag = "admin: money",
    params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = AdminRefundView, headers(("X-Ledger-Position" = u64, description = "Where it stands on the log"))),
        (status = 202, description = "It waits for a second person, or is on its way", body = ApprovalView),
    ))]
async fn approve(State(app): State<App>, admin: Admin, Path(id): Path<Uuid>) -> Result<Response, Problem> {
    let refund = found(&app, RefundId::from_uuid(id)).await?;
    match refund.status {
        RefundStatus::Requested => {}
        // Whoever asks twice hears how far it is.
        RefundStatus::Approved | RefundStatus::Completed => {
            return Ok(Json(view(&app, refund.refund).await?).into_response());
        }
        RefundStatus::Failed => {
            return Err(Problem::conflict("refund_over", "this refund is over: it was rejected, or failed"));
        }
    }
    // Somebody may have asked for a second person before.
    let waiting = ApprovalFilter {
        state: Some(ApprovalState::Pending),
        account: Some(refund.account),
        limit: 100,
        ..ApprovalFilter::default()
    };
    let waiting = app.directory.approvals(&waiting).await?;
    let waiting = waiting.into_iter().find(|it| match &it.asked {
        Asked::Refund { refund: which, .. } => *which == refund.refund,
        Asked::Adjustment { .. } | Asked::Grant { .. } | Asked::Settle { .. } | Asked::Suspense { .. } => {
            false
        }
    });
    let taken = match waiting {
        Some(request) if request.requester == admin.0.user => Taken::Waits(Box::new(request.into())),
        Some(request) => match approvals::second(&app, &admin, request.id, None).await? {
            Some(receipt) => Taken::Done(receipt),
            None => Taken::Waits(Box::new(app.directory.approval(request.id).await?.into())),
        },
        None => {
            let asked = Asked::Refund {
                refund: refund.refund,
                credits: Credits::from_nano(refund.credits.nano().saturating_neg()),
                reason: Reason::try_new(refund.reason.as_str()).map_err(|error| Problem::internal(&error))?,
            };
            approvals::ask(&app, &admin, refund.account, asked, None).await?
        }
    };
    match taken {
        Taken::Done(receipt) => view_at(&app, refund.refund, receipt.recorded.sequence).await,
        Taken::Waits(view) => Ok((StatusCode::ACCEPTED, Json(view)).into_response()),
    }
}

/// Why.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct RejectRefund {
    /// A sentence; whoever asked for the refund sees it.
    reason: String,
}

/// Rejects a refund that nobody has approved; its credits are there again.
#[utoipa::path(operation_id = "reject_refund", post, path = "/api/admin/refunds/{id}/reject", tag = "admin: money",
    params(("id" = Uuid, Path)), request_body = RejectRefund,
    responses((status = 200, body = AdminRefundView, headers(("X-Ledger-Position" = u64, description = "Where it stands on the log")))))]
async fn reject(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<RejectRefund>,
) -> Result<Response, Problem> {
    let reason = Reason::try_new(body.reason).map_err(|error| Problem::invalid("reason", error))?;
    let refund = found(&app, RefundId::from_uuid(id)).await?;
    let command = Command::RejectRefund { refund: refund.refund, reason: reason.clone() };
    let by = actor(ActorKind::Admin, admin.0.user);
    let receipt = app.ledger.execute(refund.account, command, by, None).await?;
    if !receipt.repeated {
        let after = json!({"reason": reason, "event_seq": receipt.recorded.sequence});
        app.directory.note_refund_act("refund.reject", refund.refund, &admin.0, after).await?;
    }
    view_at(&app, refund.refund, receipt.recorded.sequence).await
}

/// Asks the payment gateway again for a refund that it refused, or of which nobody knows whether it went through: at gateways that
/// cannot tell, look at their console first.
#[utoipa::path(operation_id = "retry_refund", post, path = "/api/admin/refunds/{id}/retry", tag = "admin: money",
    params(("id" = Uuid, Path)), responses((status = 200, body = AdminRefundView)))]
async fn retry(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
) -> Result<Json<AdminRefundView>, Problem> {
    let refund = found(&app, RefundId::from_uuid(id)).await?;
    if refund.status != RefundStatus::Approved || !app.directory.retry_refund(refund.refund, &admin.0).await?
    {
        return Err(not_waiting());
    }
    Ok(Json(view(&app, refund.refund).await?))
}

fn not_waiting() -> Problem {
    Problem::conflict("refund_not_waiting", "this refund does not wait for a person")
}

/// How a refund ended, as an operator found at the gateway's console.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SettleRefund {
    /// Did the money go back?
    outcome: SettleOutcome,
    /// The gateway's number of the refund.
    reference: Option<String>,
    /// How this is known.
    reason: String,
}

/// Asks that a refund be ended by hand: one that the gateway refused, has not finished, or cannot tell of. It ends once a second
/// person approves, whatever the sum: nobody else can say where the money is.
#[utoipa::path(operation_id = "settle_refund", post, path = "/api/admin/refunds/{id}/settle", tag = "admin: money",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header, description = "The same key and word: the same request")),
    request_body = SettleRefund, responses((status = 202, description = "It waits for a second person", body = ApprovalView)))]
async fn settle(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Idempotency(key): Idempotency,
    Json(body): Json<SettleRefund>,
) -> Result<(StatusCode, Json<ApprovalView>), Problem> {
    let reason = Reason::try_new(body.reason).map_err(|error| Problem::invalid("reason", error))?;
    let reference = body.reference.map(Label::try_new).transpose();
    let reference = reference.map_err(|error| Problem::invalid("reference", error))?;
    let refund = found(&app, RefundId::from_uuid(id)).await?;
    let call = app.directory.refund_call(refund.refund).await?;
    let waits = call.is_some_and(|it| match it.state {
        CallState::Unknown | CallState::Refused | CallState::Pending | CallState::Abnormal => true,
        CallState::Due | CallState::Sending | CallState::Done => false,
    });
    if refund.status != RefundStatus::Approved || !waits {
        return Err(not_waiting());
    }
    let asked = Asked::Settle {
        refund: refund.refund,
        outcome: body.outcome,
        reference,
        credits: refund.credits,
        reason,
    };
    approvals::ask_two(&app, &admin, refund.account, asked, key).await
}

/// Money that a gateway says went back, and the ledger does not know of.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct OutsideRefundView {
    /// Its id.
    id: Uuid,
    /// Where.
    #[schema(value_type = String)]
    channel: ChannelName,
    /// The order, where it is ours.
    #[schema(value_type = Option<Uuid>)]
    order: Option<OrderId>,
    /// Whose order.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<AccountId>,
    /// The order's number as the gateway wrote it.
    order_number: Option<String>,
    /// The refund's number as the gateway wrote it.
    refund_number: Option<String>,
    /// The gateway's own number of the refund.
    provider_refund: Option<String>,
    /// How much.
    amount: MoneyView,
    /// What does not fit.
    what: String,
    /// Where the callback lies in INBOX; 0: it was an answer.
    inbox: u64,
    /// Has somebody looked after it?
    state: OutsideRefundState,
    /// What they said.
    note: Option<String>,
    /// Who.
    #[schema(value_type = Option<Uuid>)]
    resolved_by: Option<AccountId>,
    /// When it was told.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When somebody had looked after it.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Moment>,
}

impl From<OutsideRefund> for OutsideRefundView {
    fn from(it: OutsideRefund) -> Self {
        let text = |label: Option<Label>| label.map(String::from);
        Self {
            id: it.id,
            channel: it.channel,
            order: it.order,
            user_id: it.account,
            order_number: text(it.order_number),
            refund_number: text(it.refund_number),
            provider_refund: text(it.provider_refund),
            amount: it.amount.into(),
            what: it.what,
            inbox: it.inbox,
            state: it.state,
            note: it.note,
            resolved_by: it.resolved_by,
            created_at: it.created_at,
            resolved_at: it.resolved_at,
        }
    }
}

/// Which differences are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OutsideQuery {
    /// Only those that somebody has, or nobody has, looked after.
    #[param(inline)]
    state: Option<OutsideRefundState>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Money that gateways say went back otherwise than the ledger knows, newest first: refunds made at a gateway's own console, or of
/// another amount, or of a refund that had failed here.
#[utoipa::path(operation_id = "list_outside_refunds", get, path = "/api/admin/outside-refunds", tag = "admin: money",
    params(OutsideQuery), responses((status = 200, body = Page<OutsideRefundView>)))]
async fn list_outside(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<OutsideQuery>,
) -> Result<Json<Page<OutsideRefundView>>, Problem> {
    let limit = page_limit(query.limit)?;
    let items =
        app.directory.outside_refunds(query.state, page_before(query.cursor.as_deref())?, limit + 1).await?;
    Ok(Json(Page::of(items, limit, |it| it.id.to_string()).map(OutsideRefundView::from)))
}

/// What was done about a difference.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ResolveOutsideRefund {
    /// What was found.
    reason: String,
    /// Take the order's credits for the money that went, also where they are spent: the account then owes them.
    take_credits: bool,
}

/// Notes that somebody has looked after a difference, and takes the credits that went with the money if asked.
#[utoipa::path(operation_id = "resolve_outside_refund", post, path = "/api/admin/outside-refunds/{id}/resolve",
    tag = "admin: money", params(("id" = Uuid, Path)), request_body = ResolveOutsideRefund,
    responses((status = 200, body = OutsideRefundView)))]
async fn resolve(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<ResolveOutsideRefund>,
) -> Result<Json<OutsideRefundView>, Problem> {
    let reason = Reason::try_new(body.reason).map_err(|error| Problem::invalid("reason", error))?;
    let it = app.directory.outside_refund(id).await?;
    let over = || Problem::conflict("outside_refund_resolved", "somebody has looked after this difference");
    if it.state == OutsideRefundState::Resolved {
        return Err(over());
    }
    if body.take_credits {
        let (Some(order_id), Some(account)) = (it.order, it.account) else {
            return Err(Problem::conflict("order_unknown", "no order of ours is known to go with this"));
        };
        let order = order(&app, order_id.uuid()).await?;
        approvals::move_alone(&app, &admin, worth(&order, it.amount)).await?;
        let number = it.provider_refund.or(it.refund_number).or(it.order_number);
        let command = Command::PostChargeback {
            chargeback: chargeback_of(id),
            order: order_id,
            pay: it.amount,
            reference: number
                .map_or_else(|| Label::try_new(id.to_string()), Ok)
                .map_err(|error| Problem::internal(&error))?,
        };
        let by = actor(ActorKind::Admin, admin.0.user);
        app.ledger.execute(account, command, by, None).await?;
    }
    if !app.directory.resolve_outside_refund(id, &admin.0, reason.as_str(), body.take_credits).await? {
        return Err(over());
    }
    Ok(Json(app.directory.outside_refund(id).await?.into()))
}

/// The credits that an amount of an order is worth, for the limits of operators; the ledger counts exactly.
pub(super) fn worth(order: &TopUpOrder, amount: Money) -> Credits {
    let part =
        i128::from(order.credits.nano()) * i128::from(amount.minor) / i128::from(order.pay.minor.max(1));
    Credits::from_nano(i64::try_from(part).unwrap_or(i64::MAX))
}
