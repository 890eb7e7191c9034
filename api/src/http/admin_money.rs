//! What operators do to credits and see of money: grants, adjustments, orders.
//!
//! May not touch: balances. There is no "set balance"; a correction is a difference with a reason.
//! Claims: every act is an event that names the admin, and a record in AUDIT; what is more than one person may do waits for a
//! second one ([`approvals`]); a repeated `Idempotency-Key` is the same act.

use crate::app::App;
use crate::body::{Idempotency, Json, Page, Path, Query};
use crate::directory::approval::{Asked, GiftFrom};
use crate::http::admin::approvals::{self, ApprovalView, Taken};
use crate::http::permission::{Permission, Routes};
use crate::http::reading::{Position, page_of, paging, reached};
use crate::http::topup::{TopUpStatus, TopUpView};
use crate::problem::Problem;
use crate::session::Admin;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::account::event::GrantSource;
use domain::{AccountEvent, AccountId, Credits, IdempotencyKey, Moment, Reason};
use ledger::Receipt;
use projections::top_ups;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .confirmed(Permission::MoneyWrite, routes!(post_adjustment))
        .confirmed(Permission::MoneyWrite, routes!(post_grant))
        .guarded(Permission::MoneyRead, routes!(list_orders))
}

/// A correction of a balance by a difference.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PostAdjustment {
    /// The difference, a decimal string: `"5"`, `"-0.25"`.
    #[schema(example = "-0.25")]
    credits: String,
    /// Why; the account's owner sees it.
    reason: String,
}

/// A gift of credits.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PostGrant {
    /// How much, a decimal string above zero.
    #[schema(example = "5")]
    credits: String,
    /// Where it comes from; `admin` where absent.
    source: Option<GiftFrom>,
    /// A sentence about it; the account's owner sees it.
    reason: Option<String>,
}

/// An act on an account, as it stands on the log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PostedView {
    /// The adjustment's or grant's id; of the first answer where the key was repeated.
    #[schema(value_type = Uuid)]
    id: Uuid,
    /// The account.
    #[schema(value_type = Uuid)]
    user_id: AccountId,
    /// The credits, a decimal string.
    credits: String,
    /// Where a grant comes from.
    source: Option<GiftFrom>,
    /// Why.
    reason: Option<String>,
    /// When it was decided.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// Where it stands on the log.
    event_seq: u64,
}

/// Corrects a user's balance by a difference. Downwards it takes only what is available.
///
/// What is larger than one person of the caller's role may move (`adjustments.approval_above`, `adjustments.daily`) is a request
/// that another person approves.
#[utoipa::path(
    post,
    path = "/api/admin/users/{id}/adjustments",
    tag = "admin: money",
    params(
        ("id" = Uuid, Path, description = "The user"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body: the same act"),
    ),
    request_body = PostAdjustment,
    responses(
        (status = 201, body = PostedView, headers(("X-Ledger-Position" = u64, description = "Where it stands on the log"))),
        (status = 202, description = "It waits for a second person, or is on its way", body = ApprovalView),
    )
)]
async fn post_adjustment(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Idempotency(key): Idempotency,
    Json(body): Json<PostAdjustment>,
) -> Result<Response, Problem> {
    let asked = Asked::Adjustment { credits: credits(&body.credits)?, reason: reason(body.reason)? };
    execute(&app, &admin, AccountId::from_uuid(id), asked, key).await
}

/// Gives a user credits that nobody paid for.
///
/// Limits and second persons as with adjustments, counted together.
#[utoipa::path(
    post,
    path = "/api/admin/users/{id}/grants",
    tag = "admin: money",
    params(
        ("id" = Uuid, Path, description = "The user"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body: the same act"),
    ),
    request_body = PostGrant,
    responses(
        (status = 201, body = PostedView, headers(("X-Ledger-Position" = u64, description = "Where it stands on the log"))),
        (status = 202, description = "It waits for a second person, or is on its way", body = ApprovalView),
    )
)]
async fn post_grant(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<Uuid>,
    Idempotency(key): Idempotency,
    Json(body): Json<PostGrant>,
) -> Result<Response, Problem> {
    let asked = Asked::Grant {
        source: body.source.unwrap_or(GiftFrom::Admin),
        credits: credits(&body.credits)?,
        reason: body.reason.map(reason).transpose()?,
    };
    execute(&app, &admin, AccountId::from_uuid(id), asked, key).await
}

fn credits(text: &str) -> Result<Credits, Problem> {
    // Longer than any amount the ledger can hold; a problem need not quote it all.
    if text.len() > 40 {
        return Err(Problem::invalid("credits", "an amount has at most 40 characters"));
    }
    text.parse().map_err(|error| Problem::invalid("credits", error))
}

fn reason(text: String) -> Result<Reason, Problem> {
    Reason::try_new(text).map_err(|error| Problem::invalid("reason", error))
}

async fn execute(
    app: &App,
    admin: &Admin,
    account: AccountId,
    asked: Asked,
    key: Option<IdempotencyKey>,
) -> Result<Response, Problem> {
    match approvals::ask(app, admin, account, asked, key).await? {
        Taken::Done(receipt) => {
            let view = posted(&receipt).ok_or_else(|| Problem::internal(&Foreign))?;
            Ok((StatusCode::CREATED, Position(view.event_seq), Json(view)).into_response())
        }
        Taken::Waits(view) => Ok((StatusCode::ACCEPTED, Json(view)).into_response()),
    }
}

fn posted(receipt: &Receipt) -> Option<PostedView> {
    let (id, credits, source, reason) = match &receipt.recorded.event {
        AccountEvent::AdjustmentPosted(it) => {
            (it.adjustment.uuid(), it.credits, None, Some(it.reason.to_string()))
        }
        AccountEvent::CreditGranted(it) => {
            let source = match it.source {
                GrantSource::Signup => GiftFrom::Signup,
                GrantSource::Redemption => GiftFrom::Redemption,
                GrantSource::Referral => GiftFrom::Referral,
                GrantSource::Promotion => GiftFrom::Promotion,
                GrantSource::Import => GiftFrom::Import,
                GrantSource::Admin => GiftFrom::Admin,
            };
            (it.grant.uuid(), it.credits, Some(source), it.reason.as_ref().map(ToString::to_string))
        }
        AccountEvent::TopUpInitiated(_)
        | AccountEvent::TopUpCompleted(_)
        | AccountEvent::TopUpClosed(_)
        | AccountEvent::RefundRequested(_)
        | AccountEvent::RefundApproved(_)
        | AccountEvent::RefundCompleted(_)
        | AccountEvent::RefundFailed(_)
        | AccountEvent::ChargebackPosted(_)
        | AccountEvent::ChargebackReversed(_)
        | AccountEvent::LeaseGranted(_)
        | AccountEvent::LeaseAmended(_)
        | AccountEvent::LeaseClosed(_) => return None,
    };
    Some(PostedView {
        id,
        user_id: receipt.account,
        credits: credits.to_string(),
        source,
        reason,
        at: receipt.recorded.at,
        event_seq: receipt.recorded.sequence,
    })
}

/// The ledger answered with another kind of event. Cannot happen: it compares what a key stood for.
#[derive(Debug, thiserror::Error)]
#[error("the ledger answered an admin's act with an event of another kind")]
struct Foreign;

/// Which orders are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OrdersQuery {
    /// Only this user's.
    user: Option<Uuid>,
    /// Only those that got this far.
    status: Option<TopUpStatus>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// An order and whose it is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct AdminTopUpView {
    /// Whose.
    #[schema(value_type = Uuid)]
    user_id: AccountId,
    /// The order.
    #[serde(flatten)]
    order: TopUpView,
}

/// Everybody's orders, newest first.
#[utoipa::path(
    get,
    path = "/api/admin/orders",
    tag = "admin: money",
    params(OrdersQuery),
    responses((status = 200, body = Page<AdminTopUpView>))
)]
async fn list_orders(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<OrdersQuery>,
) -> Result<Json<Page<AdminTopUpView>>, Problem> {
    let paging = paging(query.limit, query.cursor.as_deref())?;
    reached(&app, query.after).await?;
    let (account, status) = (query.user.map(AccountId::from_uuid), query.status.map(Into::into));
    let page = top_ups::list(&app.db, account, status, &paging).await?;
    let owners: Vec<AccountId> = page.items.iter().map(|it| it.account).collect();
    let orders = TopUpView::all(&app, page.items).await?;
    let items = owners.into_iter().zip(orders).map(|(user_id, order)| AdminTopUpView { user_id, order });
    let page = projections::Page { items: items.collect(), next_cursor: page.next_cursor };
    Ok(Json(page_of(page, |it| it)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::user::Role;
    use crate::http::tests::gateway;
    use serde_json::{Value, json};

    #[test]
    fn credits_are_read_exactly_or_refused_by_field() {
        for (text, nano) in [("5", 5_000_000_000), ("+0.000000001", 1), ("-0.25", -250_000_000)] {
            assert_eq!(credits(text).unwrap().nano(), nano);
        }
        for text in ["", "five", "1e3", "0.0000000001", "99999999999", &"9".repeat(41)] {
            let problem = credits(text).unwrap_err();
            assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
            assert!(problem.detail.starts_with("credits: "), "{}", problem.detail);
        }
        assert!(reason(String::new()).unwrap_err().detail.starts_with("reason: "));
        assert!(reason("a\0b".to_owned()).unwrap_err().detail.starts_with("reason: "));
    }

    #[tokio::test]
    async fn an_operators_act_is_an_event_that_names_them() {
        let gateway = gateway().await;
        let (user, admin) =
            (gateway.token("ann", Role::User).await, gateway.token("root", Role::Admin).await);
        let ann = gateway.call("GET", "/api/user/self", Some(&user), None).await.body;
        let ann = ann["id"].as_str().unwrap();
        let grants = format!("/api/admin/users/{ann}/grants");
        let adjustments = format!("/api/admin/users/{ann}/adjustments");
        let post = |path: String, token: String, body: Value| {
            let gateway = &gateway;
            async move { gateway.call("POST", &path, Some(&token), Some(body)).await }
        };
        let gift = json!({ "credits": "5", "source": "promotion", "reason": "hello" });
        assert_eq!(post(grants.clone(), user.clone(), gift.clone()).await.status, 403);
        let granted = post(grants, admin.clone(), gift).await;
        assert_eq!(
            (granted.status.as_u16(), &granted.headers["x-ledger-position"]),
            (201, &"1".parse().unwrap())
        );
        let oops = json!({ "credits": "-0.000000001", "reason": "one too many" });
        assert_eq!(post(adjustments.clone(), admin.clone(), oops).await.status, 201);
        for (body, status) in [
            (json!({ "credits": "0", "reason": "nothing" }), 422),
            (json!({ "credits": "-6", "reason": "too much" }), 402),
            (json!({ "credits": "99999999999", "reason": "far too much" }), 422),
            (json!({ "credits": "1" }), 422),
            (json!({ "credits": "1", "reason": "" }), 422),
            (json!({ "credits": 1, "reason": "a number" }), 422),
        ] {
            let answer = post(adjustments.clone(), admin.clone(), body.clone()).await;
            assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.body);
        }
        let nobody = format!("/api/admin/users/{}/grants", Uuid::new_v4());
        assert_eq!(post(nobody, admin.clone(), json!({ "credits": "5" })).await.status, 404);

        let balance = gateway.call("GET", "/api/user/balance?after=2", Some(&user), None).await.body;
        assert_eq!(balance["total"], "4.999999999");
        let events = format!("/api/admin/ledger/events?account={ann}");
        let events = gateway.call("GET", &events, Some(&admin), None).await.body;
        assert_eq!(events["items"].as_array().map(Vec::len), Some(2), "refusals leave nothing");
        assert_eq!(events["items"][0]["event"]["actor"]["kind"], "admin");
        assert_eq!(events["items"][1]["event"]["prev"], events["items"][0]["hash"]);
        let stats = gateway.call("GET", "/api/user/billing/stats?by=month", Some(&user), None).await.body;
        assert_eq!(
            (&stats["total"]["granted"], &stats["total"]["adjusted"]),
            (&json!("5"), &json!("-0.000000001"))
        );
    }
}
