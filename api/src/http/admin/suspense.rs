//! Payments in suspense as an operator sees them, and what may be done about them.
//!
//! May not touch: credits. An act is a request here, which a second person approves ([`super::approvals`]) and
//! `payments::suspense` does.
//! Claims: what is listed is what the log holds at that moment; of two requests about a payment one is refused.

use crate::{
    app::App,
    body::{Idempotency, Json, Page, Path, Query, page_limit},
    directory::{approval::Asked, now, suspense::End, words},
    http::{
        admin::approvals::{ApprovalView, ask_two},
        permission::{Permission, Routes},
        reading::{MoneyView, parameter},
    },
    payments::{callback, evidence::Evidence, suspense},
    problem::Problem,
    session::Admin,
};
use axum::{extract::State, http::StatusCode};
use domain::event::{Resolution, ReturnedBy};
use domain::suspense::Held;
use domain::{AccountId, ChannelName, Label, Moment, Money, OrderId, Reason};
use projections::top_ups;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::MoneyRead, routes!(list))
        .guarded(Permission::MoneyRead, routes!(summary))
        .guarded(Permission::MoneyRead, routes!(show))
        .confirmed(Permission::MoneyWrite, routes!(claim))
        .confirmed(Permission::MoneyWrite, routes!(give_back))
        .confirmed(Permission::MoneyWrite, routes!(dismiss))
}

words! {
    /// How far a payment in suspense got.
    SuspenseStatus {
        /// Nobody has asked for anything yet.
        Open = "open",
        /// A request about it waits for a second person, or is on its way.
        Requested = "requested",
        /// It is a user's.
        Claimed = "claimed",
        /// The payer has it back.
        Returned = "returned",
        /// It was none.
        Dismissed = "dismissed",
    }

    /// How a payment goes back.
    ReturnBy {
        /// By a refund at the channel.
        Channel = "channel",
        /// By an operator, outside the gateway.
        Hand = "hand",
    }
}

impl From<ReturnedBy> for ReturnBy {
    fn from(by: ReturnedBy) -> Self {
        match by {
            ReturnedBy::Channel => Self::Channel,
            ReturnedBy::Hand => Self::Hand,
        }
    }
}

/// What became of a payment.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ResolutionView {
    /// Whose it is, of a claim.
    #[schema(value_type = Option<Uuid>)]
    user_id: Option<AccountId>,
    /// The order that was made for it, of a claim.
    #[schema(value_type = Option<Uuid>)]
    order: Option<OrderId>,
    /// How it went back.
    by: Option<ReturnBy>,
    /// What the refund is called.
    reference: Option<String>,
    /// Why.
    reason: String,
    /// Who asked for it.
    resolved_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// Where it stands on the log.
    event_seq: u64,
}

/// A payment in suspense.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SuspenseView {
    /// Where it stands on the log: its id.
    payment: u64,
    /// The channel.
    channel: String,
    /// The order's number, as the channel wrote it.
    order_number: String,
    /// The channel's own number of the transaction.
    transaction: String,
    /// What was paid.
    paid: MoneyView,
    /// Why it was not credited.
    why: String,
    /// Where its evidence is in INBOX.
    inbox: u64,
    /// Since when it is in suspense.
    #[schema(value_type = String, format = DateTime)]
    since: Moment,
    /// For how long it waits or did, in seconds.
    age_s: i64,
    /// How far it got.
    status: SuspenseStatus,
    /// The request that waits or was done.
    request: Option<Uuid>,
    /// What became of it; null while it waits.
    resolution: Option<ResolutionView>,
}

fn view(channel: &ChannelName, payment: u64, held: &Held, requests: &HashMap<u64, Uuid>) -> SuspenseView {
    let request = requests.get(&payment).copied();
    let status = match held.resolved.as_ref().map(|it| &it.event.resolution) {
        Some(Resolution::Claimed { .. }) => SuspenseStatus::Claimed,
        Some(Resolution::Returned { .. }) => SuspenseStatus::Returned,
        Some(Resolution::Dismissed) => SuspenseStatus::Dismissed,
        None if request.is_some() => SuspenseStatus::Requested,
        None => SuspenseStatus::Open,
    };
    let resolution = held.resolved.as_ref().map(|it| {
        let (user_id, order, by, reference) = match &it.event.resolution {
            Resolution::Claimed { account, order } => (Some(*account), Some(*order), None, None),
            Resolution::Returned { by, reference } => {
                (None, None, Some((*by).into()), reference.as_ref().map(ToString::to_string))
            }
            Resolution::Dismissed => (None, None, None, None),
        };
        let reason = it.event.reason.to_string();
        let (resolved_by, at, event_seq) = (it.by.id.to_string(), it.at, it.sequence);
        ResolutionView { user_id, order, by, reference, reason, resolved_by, at, event_seq }
    });
    let until = held.resolved.as_ref().map_or_else(now, |it| it.at);
    SuspenseView {
        payment,
        channel: channel.to_string(),
        order_number: held.payment.order.to_string(),
        transaction: held.payment.provider_txn.to_string(),
        paid: held.payment.paid.into(),
        why: held.payment.reason.to_string(),
        inbox: held.payment.inbox,
        since: held.since,
        age_s: (until.micros() - held.since.micros()).max(0) / 1_000_000,
        status,
        request,
        resolution,
    }
}

/// Which payments.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhichPayments {
    /// Only those that got this far.
    #[param(inline)]
    status: Option<SuspenseStatus>,
    /// Only those of this channel.
    channel: Option<String>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Verified payments that no order takes, newest first, also those that are resolved.
#[utoipa::path(operation_id = "list_suspense", get, path = "/api/admin/payments/suspense", tag = "admin: payments",
    params(WhichPayments), responses((status = 200, body = Page<SuspenseView>)))]
async fn list(
    State(app): State<App>,
    _: Admin,
    Query(which): Query<WhichPayments>,
) -> Result<Json<Page<SuspenseView>>, Problem> {
    let limit = page_limit(which.limit)?;
    let before: Option<u64> =
        which.cursor.as_deref().map(|it| parameter("cursor", it.parse())).transpose()?;
    let channel = which.channel.map(|it| parameter("channel", ChannelName::try_new(it))).transpose()?;
    let mut items = everything(&app, channel.as_ref()).await?;
    items.sort_by_key(|it| std::cmp::Reverse(it.payment));
    items.retain(|it| {
        before.is_none_or(|before| it.payment < before)
            && which.status.is_none_or(|status| it.status == status)
    });
    items.truncate(limit as usize + 1);
    Ok(Json(Page::of(items, limit, |it| it.payment.to_string())))
}

async fn everything(app: &App, only: Option<&ChannelName>) -> Result<Vec<SuspenseView>, Problem> {
    let requests = app.directory.requests_of_payments().await?;
    let channels = match only {
        Some(channel) => vec![channel.clone()],
        None => app.ledger.log().suspense_channels().await?,
    };
    let mut items = Vec::new();
    for channel in channels {
        let state = app.ledger.log().suspense(&channel).await?;
        items.extend(state.all().map(|(payment, held)| view(&channel, payment, held, &requests)));
    }
    Ok(items)
}

/// What waits in suspense.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SuspenseSummary {
    /// How many payments.
    open: u64,
    /// Since when the oldest waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_since: Option<Moment>,
    /// By channel and currency.
    by_channel: Vec<SuspenseSum>,
}

/// What waits at one channel in one currency.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SuspenseSum {
    /// The channel.
    channel: String,
    /// The sum.
    paid: MoneyView,
    /// How many payments.
    payments: u64,
    /// Since when the oldest waits.
    #[schema(value_type = String, format = DateTime)]
    oldest_since: Moment,
    /// Of these, waiting for less than a day.
    under_1d: u64,
    /// For a day to a week.
    under_7d: u64,
    /// For a week to thirty days.
    under_30d: u64,
    /// For longer.
    older: u64,
}

/// How much waits in suspense, and for how long.
#[utoipa::path(operation_id = "get_suspense_summary", get, path = "/api/admin/payments/suspense/summary", tag = "admin: payments",
    responses((status = 200, body = SuspenseSummary)))]
async fn summary(State(app): State<App>, _: Admin) -> Result<Json<SuspenseSummary>, Problem> {
    let mut sums: BTreeMap<(String, String), (Money, SuspenseSum)> = BTreeMap::new();
    let at = now();
    for channel in app.ledger.log().suspense_channels().await? {
        let state = app.ledger.log().suspense(&channel).await?;
        for (_, held) in state.all().filter(|(_, held)| held.resolved.is_none()) {
            let paid = held.payment.paid;
            let key = (channel.to_string(), paid.currency.to_string());
            let (total, sum) = sums.entry(key).or_insert_with(|| {
                let zero = Money { minor: 0, ..paid };
                let sum = SuspenseSum {
                    channel: channel.to_string(),
                    paid: zero.into(),
                    payments: 0,
                    oldest_since: held.since,
                    under_1d: 0,
                    under_7d: 0,
                    under_30d: 0,
                    older: 0,
                };
                (zero, sum)
            });
            let too_much = || Problem::internal(&std::io::Error::other("the sum of suspense overflows"));
            total.minor = total.minor.checked_add(paid.minor).ok_or_else(too_much)?;
            sum.payments += 1;
            sum.oldest_since = sum.oldest_since.min(held.since);
            let days = (at.micros() - held.since.micros()) / 86_400_000_000;
            match days {
                ..1 => sum.under_1d += 1,
                1..7 => sum.under_7d += 1,
                7..30 => sum.under_30d += 1,
                30.. => sum.older += 1,
            }
        }
    }
    let by_channel: Vec<SuspenseSum> =
        sums.into_values().map(|(total, sum)| SuspenseSum { paid: total.into(), ..sum }).collect();
    Ok(Json(SuspenseSummary {
        open: by_channel.iter().map(|it| it.payments).sum(),
        oldest_since: by_channel.iter().map(|it| it.oldest_since).min(),
        by_channel,
    }))
}

/// A payment in suspense with all that is known of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SuspenseDetail {
    /// The payment.
    #[serde(flatten)]
    payment: SuspenseView,
    /// The order that its number names, if it is one of ours.
    #[schema(value_type = Option<Uuid>)]
    named_order: Option<OrderId>,
    /// Whose order that is.
    #[schema(value_type = Option<Uuid>)]
    named_user: Option<AccountId>,
    /// The order that the same transaction has paid.
    #[schema(value_type = Option<Uuid>)]
    paid_order: Option<OrderId>,
    /// What came in; null: INBOX does not hold it any more.
    evidence: Option<Evidence>,
    /// What was asked about it, the newest first.
    requests: Vec<ApprovalView>,
}

/// One payment in suspense, with its evidence and the requests about it.
#[utoipa::path(operation_id = "get_suspense", get, path = "/api/admin/payments/suspense/{payment}", tag = "admin: payments",
    params(("payment" = u64, Path, description = "Where it stands on the log")), responses((status = 200, body = SuspenseDetail)))]
async fn show(
    State(app): State<App>,
    _: Admin,
    Path(payment): Path<u64>,
) -> Result<Json<SuspenseDetail>, Problem> {
    let (channel, held) = found(&app, payment).await?;
    let requests = app.directory.requests_of_payments().await?;
    let named = match callback::order_of(&held.payment.order) {
        Some(order) => top_ups::find(&app.db, order).await?,
        None => None,
    };
    let evidence = app.inbox.read(held.payment.inbox).await?.map(|it| Evidence::of(&it));
    let about = app.directory.requests_about(payment).await?;
    Ok(Json(SuspenseDetail {
        payment: view(&channel, payment, &held, &requests),
        named_order: named.as_ref().map(|it| it.order),
        named_user: named.as_ref().map(|it| it.account),
        paid_order: suspense::paid_by(&app, &channel, &held.payment.provider_txn).await?,
        evidence,
        requests: about.into_iter().map(ApprovalView::from).collect(),
    }))
}

/// A payment by its place on the log.
async fn found(app: &App, payment: u64) -> Result<(ChannelName, Held), Problem> {
    for channel in app.ledger.log().suspense_channels().await? {
        let state = app.ledger.log().suspense(&channel).await?;
        if let Some(held) = state.get(payment) {
            return Ok((channel, held.clone()));
        }
    }
    Err(Problem::not_found("no payment in suspense stands there"))
}

/// A payment that still waits.
async fn waiting(app: &App, payment: u64) -> Result<(ChannelName, Held), Problem> {
    let (channel, held) = found(app, payment).await?;
    match &held.resolved {
        None => Ok((channel, held)),
        Some(it) => {
            let detail = format!("this payment was resolved before, by event {}", it.sequence);
            Err(Problem::conflict("suspense_resolved", detail))
        }
    }
}

/// Whose a payment is.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Claim {
    /// The user.
    user_id: Uuid,
    /// Why; it stands on the log.
    reason: String,
}

/// Asks that a payment in suspense be credited to a user.
///
/// It becomes an order of theirs, at the rate of this moment, once a second person approves.
#[utoipa::path(operation_id = "claim_suspense", post, path = "/api/admin/payments/suspense/{payment}/claim", tag = "admin: payments",
    params(("payment" = u64, Path), ("Idempotency-Key" = Option<String>, Header, description = "The same key and body: the same request")),
    request_body = Claim, responses((status = 202, description = "It waits for a second person", body = ApprovalView)))]
async fn claim(
    State(app): State<App>,
    admin: Admin,
    Path(payment): Path<u64>,
    Idempotency(key): Idempotency,
    Json(body): Json<Claim>,
) -> Result<(StatusCode, Json<ApprovalView>), Problem> {
    let reason = reason(body.reason)?;
    let user = AccountId::from_uuid(body.user_id);
    // The ledger would open an account for any id, so a mistyped one is caught here.
    if user.uuid().is_nil() || app.directory.user(user).await?.is_none() {
        return Err(Problem::not_found("no such user"));
    }
    let (channel, held) = waiting(&app, payment).await?;
    if let Some(order) = suspense::paid_by(&app, &channel, &held.payment.provider_txn).await? {
        let detail = format!("this transaction has paid order {order} already; dismiss it");
        return Err(Problem::conflict("transaction_used", detail));
    }
    let paid = held.payment.paid;
    let live = app.live.now();
    let (_, terms) = live.terms.of(Some(paid.currency.code())).map_err(|error| {
        Problem::conflict("currency_not_offered", format!("what it is worth is not known: {error}"))
    })?;
    let credits = paid.to_credits(terms.rate).map_err(|error| Problem::invalid("payment", error))?;
    if !credits.is_positive() {
        return Err(Problem::conflict("worth_nothing", "the payment buys no credits; give it back"));
    }
    let asked = Asked::Suspense { channel, payment, paid, end: End::Claim { credits }, reason };
    ask_two(&app, &admin, user, asked, key).await
}

/// How a payment goes back.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct GiveBack {
    /// By whom.
    by: ReturnBy,
    /// What was done by hand is called so: the number of a transfer.
    reference: Option<String>,
    /// Why; it stands on the log, and the payer may read it.
    reason: String,
}

/// Asks that a payment in suspense go back to its payer, or notes that it has, by hand.
#[utoipa::path(operation_id = "return_suspense", post, path = "/api/admin/payments/suspense/{payment}/return", tag = "admin: payments",
    params(("payment" = u64, Path), ("Idempotency-Key" = Option<String>, Header, description = "The same key and body: the same request")),
    request_body = GiveBack, responses((status = 202, description = "It waits for a second person", body = ApprovalView)))]
async fn give_back(
    State(app): State<App>,
    admin: Admin,
    Path(payment): Path<u64>,
    Idempotency(key): Idempotency,
    Json(body): Json<GiveBack>,
) -> Result<(StatusCode, Json<ApprovalView>), Problem> {
    let reason = reason(body.reason)?;
    let reference = body.reference.filter(|it| !it.is_empty()).map(Label::try_new).transpose();
    let reference = reference.map_err(|error| Problem::invalid("reference", error))?;
    let (channel, held) = waiting(&app, payment).await?;
    let by = match body.by {
        ReturnBy::Hand => ReturnedBy::Hand,
        ReturnBy::Channel => {
            if reference.is_some() {
                return Err(Problem::invalid("reference", "is given by the channel"));
            }
            let why = if app.channels.get(channel.as_str()).is_none() {
                Some("the channel is off")
            } else if callback::order_of(&held.payment.order).is_none() {
                Some("the order's number is not one of ours")
            } else {
                None
            };
            if let Some(why) = why {
                let detail = format!("by: {why}; give the money back by hand");
                return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_refundable", detail));
            }
            ReturnedBy::Channel
        }
    };
    let (paid, end) = (held.payment.paid, End::Return { by, reference });
    let asked = Asked::Suspense { channel, payment, paid, end, reason };
    ask_two(&app, &admin, AccountId::from_uuid(Uuid::nil()), asked, key).await
}

/// Why a payment is none.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Dismiss {
    /// It stands on the log.
    reason: String,
}

/// Asks that a payment in suspense be taken for none: no money came with it.
#[utoipa::path(operation_id = "dismiss_suspense", post, path = "/api/admin/payments/suspense/{payment}/dismiss", tag = "admin: payments",
    params(("payment" = u64, Path), ("Idempotency-Key" = Option<String>, Header, description = "The same key and body: the same request")),
    request_body = Dismiss, responses((status = 202, description = "It waits for a second person", body = ApprovalView)))]
async fn dismiss(
    State(app): State<App>,
    admin: Admin,
    Path(payment): Path<u64>,
    Idempotency(key): Idempotency,
    Json(body): Json<Dismiss>,
) -> Result<(StatusCode, Json<ApprovalView>), Problem> {
    let reason = reason(body.reason)?;
    let (channel, held) = waiting(&app, payment).await?;
    let asked = Asked::Suspense { channel, payment, paid: held.payment.paid, end: End::Dismiss, reason };
    ask_two(&app, &admin, AccountId::from_uuid(Uuid::nil()), asked, key).await
}

fn reason(text: String) -> Result<Reason, Problem> {
    Reason::try_new(text).map_err(|error| Problem::invalid("reason", error))
}

#[cfg(test)]
mod tests;
