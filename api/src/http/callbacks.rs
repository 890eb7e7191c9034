//! Doors for payment gateways, and the pages of the sandbox's pretended one.
//!
//! For: `/api/payments/…`. The road behind the first door is `payments::callback`.
//! May not touch: sessions. A gateway has no cookie; what proves it is its signature.
//! Claims: a callback arrives on the road byte for byte, or not at all; the sandbox's pages do not exist in production.

use crate::app::App;
use crate::body::{Json, Path};
use crate::http::limit::Rule;
use crate::http::permission::Routes;
use crate::payments::callback::{self, Ending, Trouble};
use crate::payments::sandbox::page;
use crate::payments::sandbox::{Delivered, NAME, Press};
use crate::payments::{ChannelError, Sandbox};
use crate::problem::{Problem, ProblemBody};
use crate::session::ClientIp;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use domain::OrderId;
use ledger::RawCallback;
use projections::top_ups::TopUpOrder;
use serde::Serialize;
use std::sync::Arc;
use utoipa_axum::router::UtoipaMethodRouterExt;
use utoipa_axum::routes;
use uuid::Uuid;

/// The most bytes of a callback's body. Real ones have a few kilobytes.
pub const CALLBACK_LIMIT_BYTES: usize = 64 * 1024;

/// Callbacks from one address that are not believed. Each one is kept on disk, so nobody may send them without end; a
/// gateway with a wrong secret must still be able to try again for days.
const NOT_BELIEVED: Rule = Rule { name: "callback not believed", max: 1000, window_s: 600 };

/// Headers that are not kept: no gateway signs them, and a browser that strays here would leave its session in INBOX.
const NOT_KEPT: [HeaderName; 3] = [header::COOKIE, header::AUTHORIZATION, header::PROXY_AUTHORIZATION];

/// The routes of this room.
pub fn routes() -> Routes {
    let limit = || DefaultBodyLimit::max(CALLBACK_LIMIT_BYTES);
    // The sandbox's own callback is said again: else its path would be read as the page of an order named "callback".
    let sandbox = axum::routing::get(sandbox_callback).post(sandbox_callback).layer(limit());
    Routes::new()
        .open(routes!(get_payment_callback, post_payment_callback).layer(limit()))
        .open_alias("/api/payments/sandbox/callback", &[Method::GET, Method::POST], sandbox)
        .open(routes!(get_sandbox_page))
        .open(routes!(press_sandbox_button))
}

/// What a payment gateway tells us, as a query.
///
/// Answers the channel's own success word once it is durable, and anything else so that the gateway tries again.
#[utoipa::path(
    get,
    path = "/api/payments/{channel}/callback",
    tag = "payments",
    params(("channel" = String, Path, description = "The channel's name")),
    security(()),
    responses(
        (status = 200, description = "The channel's success word: it is on the log",
         content((String = "text/plain"), (String = "application/json"))),
        (status = 400, description = "The channel's failure word: signed, and not what the channel sends",
         content((String = "text/plain"), (String = "application/json"))),
        (status = 403, description = "The channel's failure word: bad signature or another merchant's",
         content((String = "text/plain"), (String = "application/json"))),
        (status = 404, description = "The channel's failure word: no such order; a problem where there is no such channel",
         content((String = "text/plain"), (String = "application/json"), (ProblemBody = "application/problem+json"))),
        (status = 409, description = "The channel's failure word: the payment differs from the order",
         content((String = "text/plain"), (String = "application/json"))),
        (status = 503, description = "The channel's failure word: try again",
         content((String = "text/plain"), (String = "application/json"))),
    )
)]
async fn get_payment_callback(
    state: State<App>,
    Path(channel): Path<String>,
    client: ClientIp,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    take(state, &channel, client, &method, &uri, &headers, body).await
}

/// What a payment gateway tells us, as a body.
///
/// Answers the channel's own success word once it is durable, and anything else so that the gateway tries again.
#[utoipa::path(
    post,
    path = "/api/payments/{channel}/callback",
    tag = "payments",
    params(("channel" = String, Path, description = "The channel's name")),
    security(()),
    request_body(content = String, description = "As the channel sends it; at most 64 KiB", content_type = "*/*"),
    responses(
        (status = 200, description = "The channel's success word: it is on the log",
         content((String = "text/plain"), (String = "application/json"))),
        (status = 400, description = "The channel's failure word: signed, and not what the channel sends",
         content((String = "text/plain"), (String = "application/json"))),
        (status = 403, description = "The channel's failure word: bad signature or another merchant's",
         content((String = "text/plain"), (String = "application/json"))),
        (status = 404, description = "The channel's failure word: no such order; a problem where there is no such channel",
         content((String = "text/plain"), (String = "application/json"), (ProblemBody = "application/problem+json"))),
        (status = 409, description = "The channel's failure word: the payment differs from the order",
         content((String = "text/plain"), (String = "application/json"))),
        (status = 503, description = "The channel's failure word: try again",
         content((String = "text/plain"), (String = "application/json"))),
    )
)]
async fn post_payment_callback(
    state: State<App>,
    Path(channel): Path<String>,
    client: ClientIp,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    take(state, &channel, client, &method, &uri, &headers, body).await
}

async fn sandbox_callback(
    state: State<App>,
    client: ClientIp,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    take(state, NAME, client, &method, &uri, &headers, body).await
}

async fn take(
    State(app): State<App>,
    channel: &str,
    ClientIp(client): ClientIp,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let channel =
        app.channels.for_callback(channel).ok_or_else(|| Problem::not_found("no such payment channel"))?;
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("a callback has at most {CALLBACK_LIMIT_BYTES} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        }
        _ => Problem::bad_request("unreadable_body", "the body could not be read to its end"),
    })?;
    let raw = RawCallback {
        method: method.to_string(),
        uri: uri.path_and_query().map_or_else(|| uri.path(), |it| it.as_str()).to_owned(),
        headers: kept(headers),
        body: body.to_vec(),
        received_at: crate::directory::now(),
    };
    let client = client.to_string();
    app.limits.admit_here(NOT_BELIEVED, &client)?;
    let ending = callback::take(&app, channel.as_ref(), &raw).await;
    if !matches!(ending, Ending::NotBelieved(_)) {
        app.limits.forgive_here(NOT_BELIEVED, &client);
    }
    let reply = channel.reply(&ending.notice());
    ledger::crash::point("callback.answering");
    Ok((ending.status(), [(header::CONTENT_TYPE, reply.content_type)], reply.body).into_response())
}

fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| !NOT_KEPT.contains(name))
        .filter_map(|(name, value)| {
            Some((name.to_string(), std::str::from_utf8(value.as_bytes()).ok()?.to_owned()))
        })
        .collect()
}

/// The sandbox's payment page. Development only.
///
/// Whoever has the order's number may open it, as at a real gateway.
#[utoipa::path(
    get,
    path = "/api/payments/sandbox/{order}",
    tag = "payments",
    params(("order" = Uuid, Path, description = "The order, with or without hyphens")),
    security(()),
    responses(
        (status = 200, description = "A page with three buttons: pay, fail, cancel", content_type = "text/html", body = String),
    )
)]
async fn get_sandbox_page(State(app): State<App>, Path(order): Path<Uuid>) -> Result<Response, Problem> {
    let (_, order) = sandbox_order(&app, order).await?;
    Ok(html(StatusCode::OK, page::payment(order.order, order.pay, order.status.as_str())))
}

/// What a press of a button on the sandbox's page came to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Pressed {
    /// The order.
    #[schema(value_type = Uuid)]
    order: OrderId,
    /// The button.
    pressed: Press,
    /// What our callback route answered to the sandbox.
    callback: Delivered,
}

/// Does what a button of the sandbox's page does. Development only.
///
/// The sandbox then sends its signed callback to our callback route, as a foreign gateway would. Answers JSON where
/// `Accept` asks for `application/json`, else a page.
#[utoipa::path(
    post,
    path = "/api/payments/sandbox/{order}/{button}",
    tag = "payments",
    params(
        ("order" = Uuid, Path, description = "The order, with or without hyphens"),
        ("button" = Press, Path, description = "pay, fail or cancel"),
    ),
    security(()),
    responses(
        (status = 200, description = "The callback was accepted",
         content((Pressed = "application/json"), (String = "text/html"))),
        (status = 502, description = "The callback was not accepted; the body says what was answered",
         content((Pressed = "application/json"), (String = "text/html"))),
    )
)]
async fn press_sandbox_button(
    State(app): State<App>,
    Path((order, pressed)): Path<(Uuid, Press)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (sandbox, order) = sandbox_order(&app, order).await?;
    let callback = sandbox.press(order.order, order.pay, pressed).await.map_err(|error| match error {
        ChannelError::Unreachable(_) | ChannelError::Refused(_) | ChannelError::Unsupported(_) => {
            Problem::new(StatusCode::BAD_GATEWAY, "callback_not_sent", error.to_string())
        }
    })?;
    let status = if callback.accepted { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    Ok(match wants_json(&headers) {
        true => (status, Json(Pressed { order: order.order, pressed, callback })).into_response(),
        false => {
            html(status, page::result(order.order, pressed, &callback, &sandbox.return_url(order.order)))
        }
    })
}

/// The sandbox and one of its orders.
async fn sandbox_order(app: &App, order: Uuid) -> Result<(Arc<Sandbox>, TopUpOrder), Problem> {
    let sandbox = app.channels.sandbox().ok_or_else(|| Problem::not_found("there is no sandbox here"))?;
    let order = callback::find(app, OrderId::from_uuid(order)).await.map_err(|trouble| match trouble {
        Trouble::Ledger(error) => error.into(),
        Trouble::Database(error) => error.into(),
        Trouble::Directory(error) => error.into(),
        Trouble::Trailing | Trouble::Text(_) | Trouble::Gateway(_) | Trouble::NotConfirmed => {
            Problem::unavailable(trouble.to_string())
        }
    })?;
    let order = order.filter(|order| order.channel.as_str() == NAME);
    Ok((Arc::clone(sandbox), order.ok_or_else(|| Problem::not_found("no such order at the sandbox"))?))
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|it| {
        it.split(';').next().is_some_and(|mime| mime.trim().eq_ignore_ascii_case("application/json"))
    })
}

fn html(status: StatusCode, page: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, page::policy()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (status, headers, page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::user::Role;
    use crate::http::tests::{Gateway, gateway, gateway_with};
    use crate::payments::sandbox::{SIGNATURE_HEADER, SignedCallback};
    use axum::body::Body;
    use axum::http::Request;
    use domain::{Currency, Money};
    use tower::ServiceExt;

    /// A gateway, a user's token, and a pending order of 50.00 CNY.
    async fn pending() -> (Gateway, String, OrderId) {
        let gateway = gateway().await;
        let token = gateway.token("ann", Role::User).await;
        let wish = serde_json::json!({ "amount": "50.00", "channel": "sandbox" });
        let opened = gateway.call("POST", "/api/user/topup", Some(&token), Some(wish)).await;
        assert_eq!(opened.status, StatusCode::CREATED, "{}", opened.body);
        assert_eq!(opened.headers["x-ledger-position"], "1");
        let order = opened.body["order"].as_str().unwrap().parse().unwrap();
        (gateway, token, order)
    }

    /// Sends a sandbox callback to the real route, changed on its way.
    async fn send(
        gateway: &Gateway,
        order: OrderId,
        pay: &str,
        press: Press,
        change: impl FnOnce(&mut SignedCallback),
    ) -> (u16, String) {
        let pay = Money::parse(pay, Currency::try_new("CNY").unwrap()).unwrap();
        let mut signed = gateway.app.channels.sandbox().unwrap().callback(order, pay, press).unwrap();
        change(&mut signed);
        let request =
            Request::post("/api/payments/sandbox/callback").header(SIGNATURE_HEADER, signed.signature);
        let request = request.body(Body::from(signed.body)).unwrap();
        let answer = gateway.router().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn log_end(gateway: &Gateway) -> u64 {
        gateway.app.ledger.log().identity().await.unwrap().last_sequence
    }

    fn as_sent(_: &mut SignedCallback) {}

    #[tokio::test]
    async fn a_hundred_identical_callbacks_make_one_credit() {
        let (gateway, token, order) = pending().await;
        let storm = (0..100).map(|_| send(&gateway, order, "50.00", Press::Pay, as_sent));
        for (status, body) in futures_util::future::join_all(storm).await {
            assert_eq!((status, body.as_str()), (200, "success"));
        }
        assert_eq!(log_end(&gateway).await, 2, "the order and one payment");
        let path = format!("/api/user/topup/{order}?after=2");
        let paid = gateway.call("GET", &path, Some(&token), None).await.body;
        assert_eq!(paid["status"], "completed");
        let balance = gateway.call("GET", "/api/user/balance?after=2", Some(&token), None).await.body;
        assert_eq!((&balance["available"], &balance["total"]), (&paid["credits"], &paid["credits"]));
        // News that come late or out of order do not take a payment back.
        assert_eq!(send(&gateway, order, "50.00", Press::Fail, as_sent).await.0, 200);
        assert_eq!(log_end(&gateway).await, 2);
        // Another user sees nothing of it.
        let other = gateway.token("bob", Role::User).await;
        for path in [format!("/api/user/topup/{order}"), format!("/api/user/billing/{order}")] {
            let status = |token| gateway.call("GET", &path, token, None);
            assert_eq!(status(Some(&other)).await.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(status(Some(&token)).await.status, StatusCode::OK, "{path}");
            assert_eq!(status(None).await.status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }

    /// A gateway whose options are these, and a user's token.
    async fn with_options(changes: serde_json::Value) -> (Gateway, String) {
        let gateway = gateway_with(|config| {
            *config = config.with(&serde_json::from_value(changes).unwrap()).unwrap();
        })
        .await;
        let token = gateway.token("ann", Role::User).await;
        (gateway, token)
    }

    async fn opens(
        gateway: &Gateway,
        token: &str,
        amount: &str,
        currency: &str,
    ) -> crate::http::tests::Answer {
        let wish = serde_json::json!({ "amount": amount, "currency": currency, "channel": "sandbox" });
        gateway.call("POST", "/api/user/topup", Some(token), Some(wish)).await
    }

    #[tokio::test]
    async fn a_bonus_is_promised_shown_given_once_and_taken_back_with_its_payment() {
        let options = serde_json::json!({"topup.bonus": {"50": "10", "100": "20"}, "topup.rates": {"CNY": "5", "USD": "1"}});
        let (gateway, token) = with_options(options).await;
        let options = gateway.call("GET", "/api/user/topup/options", Some(&token), None).await.body;
        let tiers = |at: usize| options["currencies"][at]["bonus"].clone();
        assert_eq!(
            tiers(0),
            serde_json::json!([{"from": "50.00", "percent": "10"}, {"from": "100.00", "percent": "20"}])
        );
        assert_eq!(tiers(1)[0]["from"], "10.00", "worth the same in dollars: {options}");
        let none = opens(&gateway, &token, "49.99", "CNY").await.body;
        assert_eq!(none["bonus"], "0");
        let opened = opens(&gateway, &token, "50", "CNY").await;
        assert_eq!((&opened.body["credits"], &opened.body["bonus"]), (&"10".into(), &"1".into()));
        let order: OrderId = opened.body["order"].as_str().unwrap().parse().unwrap();
        let storm = (0..20).map(|_| send(&gateway, order, "50.00", Press::Pay, as_sent));
        for (status, _) in futures_util::future::join_all(storm).await {
            assert_eq!(status, 200);
        }
        assert_eq!(log_end(&gateway).await, 4, "two orders, a payment and its bonus");
        let path = format!("/api/user/topup/{order}?after=4");
        let paid = gateway.call("GET", &path, Some(&token), None).await.body;
        assert_eq!((&paid["status"], &paid["bonus"]), (&"completed".into(), &"1".into()));
        let balance = gateway.call("GET", "/api/user/balance?after=4", Some(&token), None).await.body;
        assert_eq!(balance["available"], "11");
        // The task that looks for what is owed finds nothing; where the note was lost, it finds what stands on the log.
        let again = async || {
            let (ledger, directory) = (&gateway.app.ledger, &gateway.app.directory);
            crate::payments::bonus::give_owed(ledger, directory).await.unwrap();
        };
        again().await;
        gateway.app.db.execute("UPDATE top_up_bonuses SET state = 'due'", &[]).await.unwrap();
        again().await;
        let state =
            gateway.app.db.fetch_one("SELECT state, event_seq FROM top_up_bonuses", &[]).await.unwrap();
        assert_eq!((state.text("state").unwrap(), state.int("event_seq").unwrap()), ("given".into(), 4));
        assert_eq!(log_end(&gateway).await, 4);
        // Half of the money takes half of both.
        let body = serde_json::json!({"order": order.to_string(), "amount": "25", "reason": "not wanted"});
        let refund = gateway.call("POST", "/api/user/refunds", Some(&token), Some(body)).await.body;
        assert_eq!(refund["credits"], "5.5", "{refund}");
        let balance = gateway.call("GET", "/api/user/balance?after=5", Some(&token), None).await.body;
        assert_eq!(balance["available"], "5.5");
        // One of 49.99 that is paid has none, and whoever is owed one is given it by the task.
        let order: OrderId = none["order"].as_str().unwrap().parse().unwrap();
        assert_eq!(send(&gateway, order, "49.99", Press::Pay, as_sent).await.0, 200);
        assert_eq!(log_end(&gateway).await, 6);
        let account = gateway.account_of(&token).await;
        gateway.app.directory.promise_bonus(account, order, "0.5".parse().unwrap()).await.unwrap();
        assert!(gateway.projector.wait_for(6, std::time::Duration::from_secs(20)).await);
        again().await;
        let balance = gateway.call("GET", "/api/user/balance?after=7", Some(&token), None).await.body;
        assert_eq!(balance["available"], "15.998", "9.998 and 0.5 more");
    }

    #[tokio::test]
    async fn a_users_top_ups_are_limited_by_day_by_month_and_in_number() {
        let options = serde_json::json!({"topup.daily_max": "100", "topup.monthly_max": "150", "topup.open_orders": 3,
            "topup.rates": {"CNY": "5", "USD": "1"}});
        let (gateway, token) = with_options(options).await;
        let left = async |after: u64| {
            let path = format!("/api/user/topup?after={after}");
            gateway.call("GET", &path, Some(&token), None).await;
            gateway.call("GET", "/api/user/topup/options", Some(&token), None).await.body["limits"].clone()
        };
        let limits = left(0).await;
        assert_eq!((&limits["daily_left"], &limits["monthly_left"]), (&"100.00".into(), &"150.00".into()));
        // 10 dollars are worth 50 yuan.
        assert_eq!(opens(&gateway, &token, "10", "USD").await.status, 201);
        let refused = opens(&gateway, &token, "50.01", "CNY").await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &"top_up_limit".into()));
        assert!(refused.body["detail"].as_str().unwrap().contains("50.00 CNY is left"), "{}", refused.body);
        let second = opens(&gateway, &token, "20", "CNY").await;
        let third = opens(&gateway, &token, "5", "CNY").await;
        assert_eq!(left(3).await["daily_left"], "25.00");
        let refused = opens(&gateway, &token, "1", "CNY").await;
        assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &"too_many_open_orders".into()));
        // One that is closed does not count, one that is paid does.
        let id = |opened: &crate::http::tests::Answer| -> OrderId {
            opened.body["order"].as_str().unwrap().parse().unwrap()
        };
        assert_eq!(send(&gateway, id(&second), "20.00", Press::Cancel, as_sent).await.0, 200);
        assert_eq!(send(&gateway, id(&third), "5.00", Press::Pay, as_sent).await.0, 200);
        assert_eq!(left(5).await["daily_left"], "45.00");
        assert_eq!(opens(&gateway, &token, "45.01", "CNY").await.status, 409);
        assert_eq!(opens(&gateway, &token, "45", "CNY").await.status, 201);
        // What was opened on another day counts in its month, and not beyond.
        let month =
            gateway.app.db.execute("UPDATE top_up_orders SET created_at = created_at - 86400000000", &[]);
        month.await.unwrap();
        let limits = left(6).await;
        let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
        let same_month = yesterday.format("%m").to_string() == chrono::Utc::now().format("%m").to_string();
        let monthly = if same_month { "50.00" } else { "150.00" };
        assert_eq!((&limits["daily_left"], &limits["monthly_left"]), (&"100.00".into(), &monthly.into()));
        // Nobody else is concerned.
        let other = gateway.token("bob", Role::User).await;
        assert_eq!(opens(&gateway, &other, "100", "CNY").await.status, 201);
        // A repeated wish is the same order, whatever the limits say by then.
        let wish = serde_json::json!({ "amount": "10", "channel": "sandbox" });
        let with_key = async || {
            let request = Request::post("/api/user/topup")
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/json")
                .header("idempotency-key", "once");
            let request = request.body(Body::from(wish.to_string())).unwrap();
            gateway.router().oneshot(request).await.unwrap().status().as_u16()
        };
        assert_eq!(with_key().await, 201);
        assert_eq!(opens(&gateway, &token, "1", "CNY").await.body["code"], "too_many_open_orders");
        assert_eq!(with_key().await, 201);
    }

    #[tokio::test]
    async fn a_closed_order_is_credited_when_its_payment_comes_late() {
        let (gateway, token, order) = pending().await;
        assert_eq!(send(&gateway, order, "50.00", Press::Cancel, as_sent).await, (200, "success".into()));
        let path = format!("/api/user/topup/{order}?after=2");
        assert_eq!(gateway.call("GET", &path, Some(&token), None).await.body["status"], "cancelled");
        assert_eq!(send(&gateway, order, "50.00", Press::Pay, as_sent).await, (200, "success".into()));
        let path = format!("/api/user/topup/{order}?after=3");
        assert_eq!(gateway.call("GET", &path, Some(&token), None).await.body["status"], "completed");
    }

    #[tokio::test]
    async fn what_is_not_believed_stays_in_the_inbox_and_nowhere_else() {
        let (gateway, _, order) = pending().await;
        let forged = |signed: &mut SignedCallback| signed.signature = "0".repeat(64);
        let (status, body) = send(&gateway, order, "50.00", Press::Pay, forged).await;
        assert_eq!((status, body.as_str()), (403, "failure: bad_signature"));
        let raised = |signed: &mut SignedCallback| {
            signed.body =
                String::from_utf8(signed.body.clone()).unwrap().replace("50.00", "5000.00").into_bytes();
        };
        assert_eq!(send(&gateway, order, "50.00", Press::Pay, raised).await.0, 403);
        let large = |signed: &mut SignedCallback| signed.body = vec![b' '; CALLBACK_LIMIT_BYTES + 1];
        assert_eq!(send(&gateway, order, "50.00", Press::Pay, large).await.0, 413);
        assert_eq!(log_end(&gateway).await, 1, "nothing but the order");
        let kept = gateway.app.inbox.read(2).await.unwrap().unwrap();
        assert!(kept.channel.as_str() == NAME && kept.callback.body.windows(7).any(|it| it == b"5000.00"));
        assert_eq!(gateway.app.inbox.read(3).await.unwrap(), None, "the large one was never taken in");
        let nobody = gateway.call("POST", "/api/payments/nobody/callback", None, None).await;
        assert_eq!(nobody.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_real_payment_that_fits_no_order_is_suspended_once_and_answered_with_failure() {
        let (gateway, token, order) = pending().await;
        let unknown = OrderId::from_uuid(Uuid::new_v4());
        for _ in 0..2 {
            let answer = send(&gateway, unknown, "50.00", Press::Pay, as_sent).await;
            assert_eq!(answer, (404, "failure: unknown_order".into()));
            let answer = send(&gateway, order, "49.99", Press::Pay, as_sent).await;
            assert_eq!(answer, (409, "failure: wrong_amount".into()));
        }
        assert_eq!(log_end(&gateway).await, 3, "the order and two payments in suspense");
        let balance = gateway.call("GET", "/api/user/balance?after=3", Some(&token), None).await.body;
        assert_eq!(balance["total"], "0");
        let admin = gateway.token("root", Role::Admin).await;
        let events = "/api/admin/ledger/events?suspense=sandbox&limit=1";
        let page = gateway.call("GET", events, Some(&admin), None).await.body;
        assert_eq!(page["items"][0]["event"]["data"]["order"], unknown.merchant_number());
        assert_eq!((&page["next_after"], &page["end"]), (&2.into(), &3.into()));
        let page = gateway.call("GET", &format!("{events}&after=2"), Some(&admin), None).await.body;
        assert_eq!(page["items"][0]["event"]["data"]["reason"], "49.99 CNY was paid, 50.00 CNY was asked");
        assert_eq!(page["next_after"], serde_json::Value::Null);
        // An unpaid order that nobody knows is not money: refused, and nothing is kept but the callback.
        assert_eq!(send(&gateway, unknown, "50.00", Press::Cancel, as_sent).await.0, 404);
        assert_eq!(log_end(&gateway).await, 3);
    }

    #[tokio::test]
    async fn an_order_that_the_tables_do_not_show_yet_is_sent_away_to_come_again_and_not_suspended() {
        let (gateway, token, _) = pending().await;
        gateway.projector.stop().await;
        let wish = serde_json::json!({ "amount": "100", "channel": "sandbox" });
        let opened = gateway.call("POST", "/api/user/topup", Some(&token), Some(wish)).await.body;
        let order = opened["order"].as_str().unwrap().parse().unwrap();
        let answer = send(&gateway, order, "100.00", Press::Pay, as_sent).await;
        assert_eq!(answer, (503, "failure: try_again".into()));
        assert_eq!(log_end(&gateway).await, 2, "two orders and no payment");
    }

    #[tokio::test]
    async fn the_page_is_for_orders_of_the_sandbox_only() {
        let (gateway, _, order) = pending().await;
        let page = |path: String| {
            let gateway = &gateway;
            async move { gateway.call("GET", &path, None, None).await }
        };
        let found = page(format!("/api/payments/sandbox/{}", order.merchant_number())).await;
        assert_eq!(
            (found.status, &found.headers["content-type"]),
            (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
        );
        assert_eq!(found.headers["content-security-policy"], page::policy());
        let unknown = page(format!("/api/payments/sandbox/{}", Uuid::new_v4())).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        assert_eq!(page("/api/payments/sandbox/1".into()).await.status, StatusCode::BAD_REQUEST);
        let pressed = gateway.call("POST", &format!("/api/payments/sandbox/{order}/steal"), None, None).await;
        assert_eq!(pressed.status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn the_doors_do_not_stand_in_each_others_way() {
        // A conflict of paths panics when the router is built.
        let routes = routes();
        let document = routes.document();
        let paths: Vec<&str> = document.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(paths.len(), 3, "{paths:?}");
        let callback = &document.paths.paths["/api/payments/{channel}/callback"];
        assert!(callback.get.is_some() && callback.post.is_some());
    }

    #[test]
    fn sessions_and_unreadable_headers_are_not_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("x-sandbox-signature", "ab".parse().unwrap());
        headers.insert(header::COOKIE, "nexusroute_session=secret".parse().unwrap());
        headers.insert(header::AUTHORIZATION, "Bearer secret".parse().unwrap());
        headers.insert("x-odd", header::HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(kept(&headers), [("x-sandbox-signature".to_owned(), "ab".to_owned())]);
    }

    #[test]
    fn json_is_for_those_who_ask() {
        for (accept, json) in [
            ("application/json", true),
            ("text/html, application/json;q=0.9", true),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("*/*", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wants_json(&headers), json, "{accept}");
        }
        assert!(!wants_json(&HeaderMap::new()));
    }
}
