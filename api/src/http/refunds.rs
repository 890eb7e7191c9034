//! Refunds of the caller's orders: asking for one, and seeing how far it got.
//!
//! Claims: a refund is answered from its receipt; a repeated `Idempotency-Key` is the same refund; nobody sees another's; nothing
//! goes back before an operator has agreed.

use crate::app::App;
use crate::body::{Idempotency, Json, Page, Path, Query};
use crate::directory::words;
use crate::http::permission::{Permission, Routes};
use crate::http::reading::{MoneyView, Position, page_of, paging, reached};
use crate::http::topup::OneQuery;
use crate::payments::refunds::{self, RequestError};
use crate::problem::Problem;
use crate::session::Caller;
use axum::extract::State;
use axum::http::StatusCode;
use domain::event::RefundRequested;
use domain::{Moment, OrderId, Reason, RefundId};
use projections::refunds::{Refund, RefundFilter, RefundStatus};
use projections::top_ups;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfRead, routes!(list_refunds))
        .guarded(Permission::SelfUse, routes!(request_refund))
        .guarded(Permission::SelfRead, routes!(get_refund))
}

words! {
    /// How far a refund got.
    RefundWord {
        /// It waits for an operator; its credits are set aside.
        Requested = "requested",
        /// An operator agreed; the payment gateway is asked.
        Approved = "approved",
        /// The money went back.
        Completed = "completed",
        /// It did not; the credits are there again.
        Failed = "failed",
    }
}

impl From<RefundStatus> for RefundWord {
    fn from(status: RefundStatus) -> Self {
        match status {
            RefundStatus::Requested => Self::Requested,
            RefundStatus::Approved => Self::Approved,
            RefundStatus::Completed => Self::Completed,
            RefundStatus::Failed => Self::Failed,
        }
    }
}

impl From<RefundWord> for RefundStatus {
    fn from(word: RefundWord) -> Self {
        match word {
            RefundWord::Requested => Self::Requested,
            RefundWord::Approved => Self::Approved,
            RefundWord::Completed => Self::Completed,
            RefundWord::Failed => Self::Failed,
        }
    }
}

/// A wish to have money back.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestRefund {
    /// The order that was paid.
    #[schema(value_type = Uuid)]
    pub(crate) order: Uuid,
    /// How much of it, in the order's currency; all that is left of it where absent.
    #[schema(example = "20.00")]
    pub(crate) amount: Option<String>,
    /// Why; the operators and the order's owner see it, and some gateways show it to the payer.
    pub(crate) reason: String,
}

impl RequestRefund {
    /// The reason, checked.
    pub(crate) fn reason(&self) -> Result<Reason, Problem> {
        Reason::try_new(self.reason.as_str()).map_err(|error| Problem::invalid("reason", error))
    }
}

/// A refund.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct RefundView {
    /// Its id.
    #[schema(value_type = Uuid)]
    pub(crate) id: RefundId,
    /// Its number at the payment gateway.
    number: String,
    /// The order.
    #[schema(value_type = Uuid)]
    order: OrderId,
    /// Where it was paid.
    channel: String,
    /// What goes back.
    pay: MoneyView,
    /// The credits that this takes, a decimal string.
    #[schema(example = "2.777777778")]
    credits: String,
    /// Why it was asked for.
    reason: String,
    /// How far it got.
    status: RefundWord,
    /// Why it failed.
    failure: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Moment>,
    /// Where its last event stands on the log.
    event_seq: u64,
}

impl From<Refund> for RefundView {
    fn from(it: Refund) -> Self {
        Self {
            id: it.refund,
            number: it.refund.merchant_number(),
            order: it.order,
            channel: it.channel.to_string(),
            pay: it.pay.into(),
            credits: it.credits.to_string(),
            reason: it.reason,
            status: it.status.into(),
            failure: it.failure,
            created_at: it.created_at,
            updated_at: it.updated_at,
            ended_at: it.ended_at,
            event_seq: it.event_seq,
        }
    }
}

impl RefundView {
    /// As it was asked for, by its receipt.
    pub(crate) fn requested(it: RefundRequested, at: Moment, position: u64) -> Self {
        Self {
            id: it.refund,
            number: it.refund.merchant_number(),
            order: it.order,
            channel: it.channel.to_string(),
            pay: it.pay.into(),
            credits: it.credits.to_string(),
            reason: it.reason.to_string(),
            status: RefundWord::Requested,
            failure: None,
            created_at: at,
            updated_at: at,
            ended_at: None,
            event_seq: position,
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Ledger(error) => error.into(),
            RequestError::Amount(fault) => Self::invalid("amount", fault),
            RequestError::Foreign(_) => Self::internal(&error),
        }
    }
}

/// Asks for money back: all that is left of one of my orders, or a part. Only credits that are not spent can go back; they are
/// set aside at once, and return if an operator says no.
#[utoipa::path(
    post,
    path = "/api/user/refunds",
    tag = "topup",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and wish: the same refund")),
    request_body = RequestRefund,
    responses(
        (status = 201, body = RefundView, headers(("X-Ledger-Position" = u64, description = "Where it stands on the log"))),
    )
)]
async fn request_refund(
    State(app): State<App>,
    caller: Caller,
    Idempotency(key): Idempotency,
    Json(body): Json<RequestRefund>,
) -> Result<(StatusCode, Position, Json<RefundView>), Problem> {
    let reason = body.reason()?;
    let order = top_ups::get(&app.db, caller.user, OrderId::from_uuid(body.order)).await?;
    let order = order.ok_or_else(|| Problem::not_found("no such order"))?;
    let asked = refunds::request(&app, &order, body.amount.as_deref(), reason, caller.actor(), key).await?;
    let (refund, at, position) = asked;
    Ok((StatusCode::CREATED, Position(position), Json(RefundView::requested(refund, at, position))))
}

/// Which refunds are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RefundsQuery {
    /// Only of this order.
    order: Option<Uuid>,
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

/// My refunds, newest first.
#[utoipa::path(
    get,
    path = "/api/user/refunds",
    tag = "topup",
    params(RefundsQuery),
    responses((status = 200, body = Page<RefundView>))
)]
async fn list_refunds(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<RefundsQuery>,
) -> Result<Json<Page<RefundView>>, Problem> {
    let paging = paging(query.limit, query.cursor.as_deref())?;
    reached(&app, query.after).await?;
    let filter = RefundFilter {
        account: Some(caller.user),
        order: query.order.map(OrderId::from_uuid),
        channel: None,
        status: query.status.map(Into::into),
    };
    Ok(Json(page_of(projections::refunds::list(&app.db, &filter, &paging).await?, RefundView::from)))
}

/// One of my refunds.
#[utoipa::path(
    get,
    path = "/api/user/refunds/{id}",
    tag = "topup",
    params(("id" = Uuid, Path, description = "The refund"), OneQuery),
    responses((status = 200, body = RefundView))
)]
async fn get_refund(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<OneQuery>,
) -> Result<Json<RefundView>, Problem> {
    reached(&app, query.after).await?;
    let refund = projections::refunds::get(&app.db, caller.user, RefundId::from_uuid(id)).await?;
    Ok(Json(refund.ok_or_else(|| Problem::not_found("no such refund"))?.into()))
}

#[cfg(test)]
mod tests;
