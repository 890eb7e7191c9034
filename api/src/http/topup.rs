//! Top-ups of the caller's account.
//!
//! For: what may be paid and how, opening an order, and looking after it.
//! Claims: an order is answered from its receipt; a repeated `Idempotency-Key` is the same order; nobody sees another's.

use crate::app::App;
use crate::body::{Idempotency, Json, Page, PageQuery, Path, Query};
use crate::directory::{import::PastTopUp, words};
use crate::http::permission::{Permission, Routes};
use crate::http::reading::{MoneyView, Position, page_of, paging, reached};
use crate::payments::callback::Trouble;
use crate::payments::limits::{self, LimitError};
use crate::payments::top_up::{self, OpenError, Wish};
use crate::payments::{Action, Channel, FormField, Payer};
use crate::problem::Problem;
use crate::session::{Caller, ClientIp};
use axum::extract::State;
use axum::http::StatusCode;
use domain::account::event::CloseReason;
use domain::{Credits, Label, Moment, Money, OrderId};
use projections::top_ups::{self, OrderStatus, TopUpOrder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa_axum::routes;
use uuid::Uuid;

/// The routes of this room.
pub fn routes() -> Routes {
    Routes::new()
        .guarded(Permission::SelfRead, routes!(get_top_up_options))
        .guarded(Permission::SelfRead, routes!(list_top_ups))
        .guarded(Permission::SelfUse, routes!(create_top_up))
        .guarded(Permission::SelfRead, routes!(list_imported_top_ups))
        .guarded(Permission::SelfRead, routes!(get_top_up))
}

/// What may be paid, and how.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TopUpOptions {
    /// The currency of `presets`, `min` and `max`, and the one meant where none is named.
    #[schema(example = "CNY")]
    currency: String,
    /// Amounts to choose from, in whole units. Any other amount within the bounds will do.
    #[schema(example = json!([50, 100, 150, 200, 300, 500, 1000]))]
    presets: Vec<u32>,
    /// The least that can be paid at once.
    #[schema(example = "1.00")]
    min: String,
    /// The most that can be paid at once.
    #[schema(example = "100000.00")]
    max: String,
    /// The ways to pay.
    channels: Vec<ChannelOption>,
    /// Units of each currency per credit.
    #[schema(example = json!({"CNY": "7.2"}))]
    rates: BTreeMap<String, String>,
    /// The bounds in each currency.
    currencies: Vec<CurrencyOption>,
    /// What one user may top up.
    limits: LimitsOption,
}

/// What one user may top up, in `currency`. Orders that are open or paid count, by the day and the month of their opening.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct LimitsOption {
    /// The most on one day; `null`: no such limit.
    #[schema(example = "5000.00")]
    daily_max: Option<String>,
    /// What is left of it for you.
    daily_left: Option<String>,
    /// The most in one month; `null`: no such limit.
    monthly_max: Option<String>,
    /// What is left of it for you.
    monthly_left: Option<String>,
    /// How many orders may wait for their payment at once; 0: no such limit.
    open_orders: u32,
}

/// What is given beside payments of a size.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct BonusOption {
    /// The least payment that has it.
    #[schema(example = "100.00")]
    from: String,
    /// How many hundredths of the credits bought are given beside them.
    #[schema(example = "5")]
    percent: String,
}

/// The offer in one currency.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct CurrencyOption {
    /// ISO 4217.
    currency: String,
    /// Digits after the point.
    decimals: u32,
    /// Units of the currency per credit.
    rate: String,
    /// The least that can be paid at once.
    min: String,
    /// The most that can be paid at once.
    max: String,
    /// What is given beside a payment, ascending: the last of them that a payment reaches holds.
    bonus: Vec<BonusOption>,
}

/// A way to pay.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ChannelOption {
    /// As it is sent.
    #[schema(example = "sandbox")]
    name: String,
    /// As it is shown.
    title: String,
    /// The currencies it takes, of those offered.
    currencies: Vec<String>,
    /// The ways to pay within it, the default first; empty where there is nothing to choose.
    methods: Vec<MethodOption>,
}

/// A way to pay within a channel.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct MethodOption {
    /// As it is sent.
    name: String,
    /// As it is shown.
    title: String,
}

/// What may be paid, in which currencies, and how.
#[utoipa::path(
    get,
    path = "/api/user/topup/options",
    tag = "topup",
    responses((status = 200, body = TopUpOptions))
)]
async fn get_top_up_options(State(app): State<App>, caller: Caller) -> Result<Json<TopUpOptions>, Problem> {
    let live = app.live.now();
    let terms = &live.terms;
    let (usual, bounds) = terms.of(None).map_err(|error| Problem::internal(&error))?;
    let offered: Vec<CurrencyOption> = terms
        .currencies()
        .map(|(currency, it)| CurrencyOption {
            currency: currency.to_string(),
            decimals: currency.decimals(),
            rate: it.rate.normalize().to_string(),
            min: it.min.amount(),
            max: it.max.amount(),
            bonus: it
                .bonus
                .iter()
                .map(|tier| BonusOption {
                    from: tier.from.amount(),
                    percent: tier.percent.normalize().to_string(),
                })
                .collect(),
        })
        .collect();
    let channel = |it: &dyn Channel| ChannelOption {
        name: it.name().to_string(),
        title: it.title().to_owned(),
        currencies: terms
            .currencies()
            .filter(|(code, _)| it.takes(*code))
            .map(|(code, _)| code.to_string())
            .collect(),
        methods: it
            .methods()
            .iter()
            .map(|method| MethodOption { name: method.name.to_owned(), title: method.title.to_owned() })
            .collect(),
    };
    let left = limits::standing(&app, caller.user).await?;
    let amount = |money: Option<Money>| money.map(|it| it.amount());
    let limits = LimitsOption {
        daily_max: amount(terms.daily_max()),
        daily_left: amount(left.daily_left),
        monthly_max: amount(terms.monthly_max()),
        monthly_left: amount(left.monthly_left),
        open_orders: live.topup.open_orders,
    };
    Ok(Json(TopUpOptions {
        limits,
        currency: usual.to_string(),
        presets: terms.presets().to_vec(),
        min: bounds.min.amount(),
        max: bounds.max.amount(),
        channels: app.channels.all().map(|it| channel(it.as_ref())).collect(),
        rates: offered.iter().map(|it| (it.currency.clone(), it.rate.clone())).collect(),
        currencies: offered,
    }))
}

/// A wish to pay.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateTopUp {
    /// A decimal string, such as `"50.00"`.
    #[schema(example = "50.00")]
    amount: String,
    /// ISO 4217; the usual currency where absent.
    currency: Option<String>,
    /// The channel's name, as in the options.
    #[schema(example = "sandbox")]
    channel: String,
    /// One of the channel's methods; its first where absent.
    method: Option<String>,
    /// Who pays, as the channel knows them, where a method asks for it: the `openid` of WeChat's `jsapi`.
    payer: Option<String>,
}

/// What the payer does next.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ActionView {
    /// Open this address.
    Redirect {
        /// The address.
        url: String,
    },
    /// Show this as a QR code.
    Qr {
        /// What the code holds.
        content: String,
    },
    /// Let the browser send this form.
    Form {
        /// Where to.
        url: String,
        /// Hidden fields, in order.
        fields: Vec<FieldView>,
    },
    /// Hand these to the wallet's own JavaScript.
    Invoke {
        /// What it wants, in order.
        fields: Vec<FieldView>,
    },
}

/// A hidden field of a form.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct FieldView {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
}

impl From<Action> for ActionView {
    fn from(action: Action) -> Self {
        let view = |fields: Vec<FormField>| {
            fields.into_iter().map(|it| FieldView { name: it.name, value: it.value }).collect()
        };
        match action {
            Action::Redirect { url } => Self::Redirect { url },
            Action::Qr { content } => Self::Qr { content },
            Action::Form { url, fields } => Self::Form { url, fields: view(fields) },
            Action::Invoke { fields } => Self::Invoke { fields: view(fields) },
        }
    }
}

words! {
    /// How far an order got.
    TopUpStatus {
        /// Waiting for its payment.
        Pending = "pending",
        /// Paid and credited.
        Completed = "completed",
        /// The channel says the payment failed.
        Failed = "failed",
        /// Given up, or not paid in time.
        Cancelled = "cancelled",
    }
}

impl From<OrderStatus> for TopUpStatus {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Pending => Self::Pending,
            OrderStatus::Completed => Self::Completed,
            OrderStatus::Failed => Self::Failed,
            OrderStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<TopUpStatus> for OrderStatus {
    fn from(status: TopUpStatus) -> Self {
        match status {
            TopUpStatus::Pending => Self::Pending,
            TopUpStatus::Completed => Self::Completed,
            TopUpStatus::Failed => Self::Failed,
            TopUpStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// An order that was opened.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct TopUpOpened {
    /// The order.
    #[schema(value_type = Uuid)]
    order: OrderId,
    /// As of its opening: pending. Ask for the order to see how far it got since.
    status: TopUpStatus,
    /// Where it is paid.
    channel: String,
    /// What must be paid.
    pay: MoneyView,
    /// What it buys, as a decimal string.
    #[schema(example = "6.944444444")]
    credits: String,
    /// What is given beside them once it is paid, as a decimal string. Money that goes back takes its share of it along.
    #[schema(example = "0.347222222")]
    bonus: String,
    /// What the payer does next.
    action: ActionView,
    /// When the offer ends. A payment that comes later is still credited.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Moment,
}

/// Opens an order. Nothing is credited before its payment is confirmed.
#[utoipa::path(
    post,
    path = "/api/user/topup",
    tag = "topup",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and wish: the same order")),
    request_body = CreateTopUp,
    responses(
        (status = 201, body = TopUpOpened, headers(("X-Ledger-Position" = u64, description = "Where it stands on the log"))),
    )
)]
async fn create_top_up(
    State(app): State<App>,
    caller: Caller,
    ClientIp(address): ClientIp,
    Idempotency(key): Idempotency,
    Json(body): Json<CreateTopUp>,
) -> Result<(StatusCode, Position, Json<TopUpOpened>), Problem> {
    let (currency, method) = (body.currency.as_deref(), body.method.as_deref());
    let wish =
        Wish::try_new(&app.channels, &app.live.now().terms, &body.amount, currency, &body.channel, method)
            .map_err(|unfit| Problem::invalid(unfit.field, unfit.fault))?;
    let id = body.payer.map(Label::try_new).transpose();
    let id = id.map_err(|error| Problem::invalid("payer", error))?;
    let wish = wish.by(Payer { address: Some(address), id });
    let opened = top_up::open(&app, caller.user, caller.actor(), key, wish).await?;
    let order = opened.order;
    let view = TopUpOpened {
        order: order.order,
        status: TopUpStatus::Pending,
        channel: order.channel.to_string(),
        pay: order.pay.into(),
        credits: order.credits.to_string(),
        bonus: opened.bonus.to_string(),
        action: opened.action.into(),
        expires_at: order.expires_at,
    };
    Ok((StatusCode::CREATED, Position(opened.position), Json(view)))
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Ledger(error) => error.into(),
            OpenError::Limit(error @ LimitError::Amount { .. }) => {
                Self::conflict("top_up_limit", error.to_string())
            }
            OpenError::Limit(error @ LimitError::Open { .. }) => {
                Self::conflict("too_many_open_orders", error.to_string())
            }
            OpenError::Limit(LimitError::Trouble(Trouble::Ledger(error))) => error.into(),
            OpenError::Limit(LimitError::Trouble(error)) => {
                tracing::error!("a user's top-ups cannot be counted: {error}");
                Self::unavailable("the orders so far cannot be counted now; try again")
            }
            OpenError::Directory(error) => error.into(),
            OpenError::Channel { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, "channel_failed", error.to_string())
            }
            OpenError::Foreign { .. } => Self::internal(&error),
        }
    }
}

/// An order.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TopUpView {
    /// The order.
    #[schema(value_type = Uuid)]
    order: OrderId,
    /// Its number at the channel.
    number: String,
    /// How far it got.
    status: TopUpStatus,
    /// Why it ended unpaid: failed, cancelled or expired.
    close_reason: Option<&'static str>,
    /// Where it is paid.
    channel: String,
    /// What must be paid, or was.
    pay: MoneyView,
    /// What it buys, as a decimal string.
    credits: String,
    /// What is given beside them once it is paid, as a decimal string.
    bonus: String,
    /// The channel's transaction number, once it is paid.
    transaction_id: Option<String>,
    /// When the offer ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Moment,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// When it was paid.
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Moment>,
    /// Where its last event stands on the log.
    event_seq: u64,
}

impl TopUpView {
    /// The same orders, with their bonuses.
    pub(crate) async fn all(app: &App, orders: Vec<TopUpOrder>) -> Result<Vec<Self>, Problem> {
        let ids: Vec<OrderId> = orders.iter().map(|it| it.order).collect();
        let bonuses = app.directory.bonuses(&ids).await?;
        let view = |order: TopUpOrder| {
            let bonus = bonuses.get(&order.order).copied().unwrap_or(Credits::ZERO);
            Self::of(order, bonus)
        };
        Ok(orders.into_iter().map(view).collect())
    }

    fn of(order: TopUpOrder, bonus: Credits) -> Self {
        Self {
            order: order.order,
            number: order.order.merchant_number(),
            status: order.status.into(),
            close_reason: order.close_reason.map(|reason| match reason {
                CloseReason::Failed => "failed",
                CloseReason::Cancelled => "cancelled",
                CloseReason::Expired => "expired",
            }),
            channel: order.channel.to_string(),
            pay: order.pay.into(),
            credits: order.credits.to_string(),
            bonus: bonus.to_string(),
            transaction_id: order.provider_txn.map(|it| it.to_string()),
            expires_at: order.expires_at,
            created_at: order.created_at,
            updated_at: order.updated_at,
            completed_at: order.completed_at,
            event_seq: order.event_seq,
        }
    }
}

/// Which orders are wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TopUpsQuery {
    /// Only those that got this far.
    status: Option<TopUpStatus>,
    /// How many at most: 1 to 100, else 20.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Wait until everything up to this position is in the answer.
    after: Option<u64>,
}

/// The caller's orders, newest first.
#[utoipa::path(
    get,
    path = "/api/user/topup",
    tag = "topup",
    params(TopUpsQuery),
    responses(
        (status = 200, body = Page<TopUpView>),
    )
)]
async fn list_top_ups(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<TopUpsQuery>,
) -> Result<Json<Page<TopUpView>>, Problem> {
    let paging = paging(query.limit, query.cursor.as_deref())?;
    reached(&app, query.after).await?;
    let status = query.status.map(Into::into);
    let page = top_ups::list(&app.db, Some(caller.user), status, &paging).await?;
    let items = TopUpView::all(&app, page.items).await?;
    Ok(Json(page_of(projections::Page { items, next_cursor: page.next_cursor }, |it| it)))
}

/// The caller's payments at the gateway that this account came from, newest first. History: no balance comes from them.
#[utoipa::path(
    get,
    path = "/api/user/topup/imported",
    tag = "topup",
    params(PageQuery),
    responses(
        (status = 200, body = Page<PastTopUp>),
    )
)]
async fn list_imported_top_ups(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<PastTopUp>>, Problem> {
    let limit = query.limit()?;
    // Nothing is added to the past, so a place in the list is a cursor.
    let skip = query.cursor.as_deref().map_or(Ok(0), str::parse::<u32>);
    let skip =
        skip.map_err(|_| Problem::bad_request("invalid_query", "cursor: is not one that this list gave"))?;
    let items = app.directory.past_top_ups(caller.user, skip, limit + 1).await?;
    Ok(Json(Page::of(items, limit, |_| skip.saturating_add(limit).to_string())))
}

/// What is asked of one thing.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OneQuery {
    /// Wait until everything up to this position is in the answer.
    pub(crate) after: Option<u64>,
}

/// One of the caller's orders.
#[utoipa::path(
    get,
    path = "/api/user/topup/{order}",
    tag = "topup",
    params(("order" = Uuid, Path, description = "The order"), OneQuery),
    responses(
        (status = 200, body = TopUpView),
    )
)]
async fn get_top_up(
    State(app): State<App>,
    caller: Caller,
    Path(order): Path<Uuid>,
    Query(query): Query<OneQuery>,
) -> Result<Json<TopUpView>, Problem> {
    reached(&app, query.after).await?;
    let order = top_ups::get(&app.db, caller.user, OrderId::from_uuid(order)).await?;
    let order = order.ok_or_else(|| Problem::not_found("no such order"))?;
    let bonus = app.directory.bonuses(&[order.order]).await?.remove(&order.order);
    Ok(Json(TopUpView::of(order, bonus.unwrap_or(Credits::ZERO))))
}

#[cfg(test)]
mod tests {
    use crate::directory::user::Role;
    use crate::http::tests::gateway;
    use serde_json::json;

    #[tokio::test]
    async fn a_wish_that_cannot_be_fulfilled_names_its_field_and_leaves_nothing() {
        let gateway = gateway().await;
        let token = gateway.token("ann", Role::User).await;
        for (body, status, fault) in [
            (json!({ "channel": "sandbox" }), 422, "missing field `amount`"),
            (json!({ "amount": 50, "channel": "sandbox" }), 422, "amount: "),
            (json!({ "amount": "0", "channel": "sandbox" }), 422, "amount: "),
            (json!({ "amount": "-50", "channel": "sandbox" }), 422, "amount: "),
            (json!({ "amount": "50.001", "channel": "sandbox" }), 422, "amount: "),
            (json!({ "amount": "1e2", "channel": "sandbox" }), 422, "amount: "),
            (json!({ "amount": "9".repeat(30), "channel": "sandbox" }), 422, "amount: "),
            (json!({ "amount": "100000.01", "channel": "sandbox" }), 422, "amount: "),
            (json!({ "amount": "50", "channel": "nobody" }), 422, "channel: "),
            (json!({ "amount": "50", "channel": "sandbox", "currency": "XXX" }), 422, "currency: "),
            (json!({ "amount": "50", "channel": "sandbox", "method": "card" }), 422, "method: "),
            (json!({ "amount": "50", "channel": "sandbox", "credits": "9" }), 422, "unknown field `credits`"),
        ] {
            let answer = gateway.call("POST", "/api/user/topup", Some(&token), Some(body.clone())).await;
            let detail = answer.body["detail"].as_str().unwrap_or_default();
            assert!(answer.status == status && detail.contains(fault), "{body}: {}", answer.body);
        }
        let body = json!({ "amount": "50", "channel": "sandbox" });
        assert_eq!(gateway.call("POST", "/api/user/topup", None, Some(body)).await.status, 401);
        assert_eq!(gateway.app.ledger.log().identity().await.unwrap().last_sequence, 0);
    }

    #[tokio::test]
    async fn the_options_say_what_a_wish_may_be() {
        let gateway = gateway().await;
        let token = gateway.token("ann", Role::User).await;
        let options = gateway.call("GET", "/api/user/topup/options", Some(&token), None).await.body;
        assert_eq!(options["presets"], json!([50, 100, 150, 200, 300, 500, 1000]));
        assert_eq!(options["channels"][0]["name"], "sandbox");
        for amount in [&options["min"], &options["max"], &json!(options["presets"][0].to_string())] {
            let wish = json!({ "amount": amount, "channel": "sandbox", "currency": options["currency"] });
            let opened = gateway.call("POST", "/api/user/topup", Some(&token), Some(wish)).await;
            assert_eq!(opened.status, 201, "{}", opened.body);
        }
        let page = gateway.call("GET", "/api/user/topup?after=3&limit=2", Some(&token), None).await.body;
        assert_eq!(page["items"].as_array().map(Vec::len), Some(2));
        let rest = format!("/api/user/topup?cursor={}", page["next_cursor"].as_str().unwrap());
        let rest = gateway.call("GET", &rest, Some(&token), None).await.body;
        assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(1), &json!(null)));
    }

    #[tokio::test]
    async fn how_long_an_order_can_be_paid_holds_from_the_moment_that_it_is_changed() {
        let gateway = gateway().await;
        let owner = gateway.token("own", Role::Owner).await;
        let ann = gateway.token("ann", Role::User).await;
        let lasts = async |seconds: i64| {
            let wish = json!({ "amount": "50", "channel": "sandbox" });
            let before = crate::directory::now();
            let order = gateway.call("POST", "/api/user/topup", Some(&ann), Some(wish)).await.body;
            let after = crate::directory::now();
            let ends: domain::Moment = order["expires_at"].as_str().unwrap().parse().unwrap();
            let began = ends.plus_ms(-seconds * 1_000);
            assert!(before <= began && began <= after, "{before} {order} {after}");
        };
        lasts(1_800).await;
        let change = json!({"version": 0, "set": {"topup.order_seconds": 60}});
        let changed = gateway.call("PATCH", "/api/admin/settings", Some(&owner), Some(change)).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        lasts(60).await;
    }
}
