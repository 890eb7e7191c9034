//! Disputes, as operators see them, and those that a gateway does not tell of by itself.
//!
//! Claims: an operator's dispute is booked as a gateway's is; told twice, by the same reference, it is one; what it gives back counts
//! among what an operator may hand out alone, and is never one's own.

use super::approvals;
use super::refunds::{order, problem, worth};
use crate::app::App;
use crate::body::{Json, Page, Path, Query, page_before, page_limit};
use crate::directory::now;
use crate::directory::refund::{Dispute, DisputeState, dispute_id};
use crate::directory::words;
use crate::http::permission::{Permission, Routes};
use crate::http::reading::MoneyView;
use crate::payments::disputes::{self, Outcome};
use crate::problem::Problem;
use crate::session::{Admin, actor};
use axum::extract::State;
use axum::http::StatusCode;
use domain::{AccountId, ActorKind, ChannelName, ChargebackId, Label, Moment, Money, OrderId, Reason};
use projections::refunds;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::MoneyRead, routes!(list))
        .confirmed(Permission::MoneyWrite, routes!(open))
        .guarded(Permission::MoneyRead, routes!(show))
        .confirmed(Permission::MoneyWrite, routes!(close))
}

words! {
    /// How a dispute ended.
    DisputeEnd {
        /// For us: the money came back.
        Won = "won",
        /// For the payer.
        Lost = "lost",
    }
}

/// A disputed payment.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct DisputeView {
    /// Its id, also the chargeback's on the log.
    #[schema(value_type = Uuid)]
    id: ChargebackId,
    /// Where.
    #[schema(value_type = String)]
    channel: ChannelName,
    /// The gateway's name of it.
    reference: String,
    /// The order, where it is ours.
    #[schema(value_type = Option<Uuid>)]
    order: Option<OrderId>,
    /// Whose order.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<AccountId>,
    /// The transaction that is disputed.
    provider_txn: Option<String>,
    /// What is disputed.
    amount: MoneyView,
    /// How far it is.
    state: DisputeState,
    /// What was told last.
    what: String,
    /// The credits that it took, a decimal string; null: it took none yet.
    credits: Option<String>,
    /// When they came back.
    #[schema(value_type = Option<String>, format = DateTime)]
    reversed_at: Option<Moment>,
    /// When it was first told.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it was last told.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

async fn view(app: &App, it: Dispute) -> Result<DisputeView, Problem> {
    let taken = refunds::chargeback(&app.db, it.id).await?;
    Ok(DisputeView {
        id: it.id,
        channel: it.channel,
        reference: it.reference.into(),
        order: it.order,
        user_id: it.account,
        provider_txn: it.provider_txn.map(String::from),
        amount: it.amount.into(),
        state: it.state,
        what: it.what,
        credits: taken.as_ref().map(|it| it.credits.to_string()),
        reversed_at: taken.and_then(|it| it.reversed_at),
        created_at: it.created_at,
        updated_at: it.updated_at,
    })
}

/// Which disputes are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DisputesQuery {
    /// Only those that are this far.
    #[param(inline)]
    state: Option<DisputeState>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Disputed payments, in the order of their ids.
#[utoipa::path(operation_id = "list_disputes", get, path = "/api/admin/disputes", tag = "admin: money", params(DisputesQuery),
    responses((status = 200, body = Page<DisputeView>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<DisputesQuery>,
) -> Result<Json<Page<DisputeView>>, Problem> {
    let limit = page_limit(query.limit)?;
    let items = app.directory.disputes(query.state, page_before(query.cursor.as_deref())?, limit + 1).await?;
    let page = Page::of(items, limit, |it| it.id.to_string());
    let mut views = Vec::with_capacity(page.items.len());
    for it in page.items {
        views.push(view(&app, it).await?);
    }
    Ok(Json(Page { items: views, next_cursor: page.next_cursor }))
}

/// One dispute.
#[utoipa::path(operation_id = "get_dispute", get, path = "/api/admin/disputes/{id}", tag = "admin: money",
    params(("id" = Uuid, Path)), responses((status = 200, body = DisputeView)))]
async fn show(State(app): State<App>, _: Admin, Path(id): Path<Uuid>) -> Result<Json<DisputeView>, Problem> {
    let it = app.directory.dispute(ChargebackId::from_uuid(id)).await?;
    Ok(Json(view(&app, it).await?))
}

/// A dispute that the gateway told of otherwise: by mail, or on its console.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct OpenDispute {
    /// The order whose payment was taken back.
    order: Uuid,
    /// How much, in the order's currency; all that was paid where absent.
    #[schema(example = "50.00")]
    amount: Option<String>,
    /// The gateway's name of the dispute; the same one again is the same dispute.
    reference: String,
    /// What happened.
    reason: String,
}

/// Books that a payment was taken back: its credits are taken, also where they are spent. The account then owes them, and spends
/// nothing until it has paid.
#[utoipa::path(operation_id = "open_dispute", post, path = "/api/admin/disputes", tag = "admin: money",
    request_body = OpenDispute, responses((status = 201, body = DisputeView)))]
async fn open(
    State(app): State<App>,
    admin: Admin,
    Json(body): Json<OpenDispute>,
) -> Result<(StatusCode, Json<DisputeView>), Problem> {
    let reason = Reason::try_new(body.reason).map_err(|error| Problem::invalid("reason", error))?;
    let reference = Label::try_new(body.reference).map_err(|error| Problem::invalid("reference", error))?;
    let order = order(&app, body.order).await?;
    let amount = match body.amount.as_deref() {
        None => order.pay,
        Some(text) if text.len() > 40 => {
            return Err(Problem::invalid("amount", "an amount has at most 40 characters"));
        }
        Some(text) => {
            Money::parse(text, order.pay.currency).map_err(|error| Problem::invalid("amount", error))?
        }
    };
    if amount.minor <= 0 || amount.minor > order.pay.minor {
        return Err(Problem::invalid("amount", format!("must be above zero and at most {}", order.pay)));
    }
    let Some(provider_txn) = order.provider_txn.clone() else {
        return Err(Problem::conflict("order_not_paid", "this order is not paid"));
    };
    let id = dispute_id(&order.channel, &reference);
    // Known already, it moves nothing more.
    if refunds::chargeback(&app.db, id).await?.is_none() {
        approvals::move_alone(&app, &admin, worth(&order, amount)).await?;
    }
    let told = Dispute {
        id,
        channel: order.channel.clone(),
        reference,
        order: Some(order.order),
        account: Some(order.account),
        provider_txn: Some(provider_txn),
        amount,
        state: DisputeState::Open,
        what: reason.to_string(),
        created_at: now(),
        updated_at: now(),
    };
    let dispute = app.directory.note_dispute(&told, Some(&admin.0)).await?;
    book(&app, &admin, &dispute).await?;
    Ok((StatusCode::CREATED, Json(view(&app, dispute).await?)))
}

/// How a dispute ended.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CloseDispute {
    /// For whom.
    outcome: DisputeEnd,
    /// How this is known.
    reason: String,
}

/// Ends a dispute. Of one that was won the credits come back, within what the caller may hand out alone (`403 above_limit`), and
/// not to the caller's own account; one that was won stays so.
#[utoipa::path(operation_id = "close_dispute", post, path = "/api/admin/disputes/{id}/close", tag = "admin: money",
    params(("id" = Uuid, Path)), request_body = CloseDispute, responses((status = 200, body = DisputeView)))]
async fn close(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Json(body): Json<CloseDispute>,
) -> Result<Json<DisputeView>, Problem> {
    let reason = Reason::try_new(body.reason).map_err(|error| Problem::invalid("reason", error))?;
    let before = app.directory.dispute(ChargebackId::from_uuid(id)).await?;
    let state = match body.outcome {
        DisputeEnd::Won => DisputeState::Won,
        DisputeEnd::Lost => DisputeState::Lost,
    };
    if before.state == DisputeState::Won && state == DisputeState::Lost {
        return Err(Problem::conflict(
            "dispute_won",
            "this dispute was won, and what was taken has come back",
        ));
    }
    if state == DisputeState::Won {
        may_give_back(&app, &admin, &before).await?;
    }
    let told = Dispute { state, what: reason.to_string(), updated_at: now(), ..before };
    let dispute = app.directory.note_dispute(&told, Some(&admin.0)).await?;
    book(&app, &admin, &dispute).await?;
    Ok(Json(view(&app, dispute).await?))
}

/// Credits that come back by an operator's word count as if the operator handed them out, and never to oneself.
async fn may_give_back(app: &App, admin: &Admin, dispute: &Dispute) -> Result<(), Problem> {
    if dispute.account == Some(admin.0.user) {
        let why = "this dispute is about your own account; another person must say how it ended";
        return Err(Problem::new(StatusCode::FORBIDDEN, "second_person_needed", why));
    }
    let Some(order_id) = dispute.order else { return Ok(()) };
    let credits = match refunds::chargeback(&app.db, dispute.id).await? {
        Some(taken) if taken.reversed_at.is_some() => return Ok(()),
        Some(taken) => taken.credits,
        // The tables trail, or it was never booked: what it would be worth.
        None => worth(&order(app, order_id.uuid()).await?, dispute.amount),
    };
    approvals::move_alone(app, admin, credits).await
}

async fn book(app: &App, admin: &Admin, dispute: &Dispute) -> Result<(), Problem> {
    let by = actor(ActorKind::Admin, admin.0.user);
    match disputes::book(app, dispute, by).await.map_err(problem)? {
        Outcome::Booked => Ok(()),
        Outcome::NoOrder => {
            Err(Problem::conflict("order_unknown", "no order of ours goes with this dispute"))
        }
        Outcome::Refused(why) => Err(Problem::conflict("dispute_unbooked", why)),
    }
}
