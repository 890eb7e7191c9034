//! Stripe Checkout.

use super::*;
use futures_util::future::join_all;
use system_tests::channels::stripe::{StripeApi, WEBHOOK_SECRET};

fn wish(amount: &str) -> Value {
    json!({"amount": amount, "currency": "USD", "channel": "stripe"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_stripe_is_credited_once_however_often_it_is_told() {
    let stripe = StripeApi::start().await;
    let gateway = stripe.for_gateway(talkative()).start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    // Asked twice under one key it is one order and one session.
    let again = user.api.with("idempotency-key", "order-1");
    let order = again.post("/api/user/topup", &wish("50")).await.ok();
    assert_eq!(again.post("/api/user/topup", &wish("50")).await.ok()["action"], order["action"]);
    assert_eq!(stripe.sessions(), 1);
    assert!(text(&order["action"]["url"]).starts_with("https://checkout.stripe.com/"), "{order}");
    let (number, door) = (number(&order), door(&gateway, "stripe"));
    // A method that takes days: completed, and not paid.
    let unpaid = stripe.event("checkout.session.completed", &number);
    assert_eq!(stripe.tells(&door, &unpaid, 0, WEBHOOK_SECRET).await.status, 200);
    assert_eq!(user.balance().await.total, Credits::ZERO);
    stripe.is_paid(&number);
    let paid = stripe.event("checkout.session.async_payment_succeeded", &number);
    let told = (0..30).map(|_| stripe.tells(&door, &paid, 0, WEBHOOK_SECRET));
    for heard in join_all(told).await {
        assert_eq!(heard.status, 200, "{heard:?}");
    }
    user.until_total(bought(&order)).await;
    // Out of order, and of no concern.
    for kind in ["checkout.session.expired", "invoice.created"] {
        assert_eq!(stripe.tells(&door, &stripe.event(kind, &number), 0, WEBHOOK_SECRET).await.status, 200);
    }
    until_status(&user, &order, "completed").await;
    let mut expected = vec!["noted"; 2];
    expected.extend(vec!["credited"; 30]);
    expected.push("noted");
    assert_eq!(verdicts(&operator, "stripe").await, expected);
    nothing_leaks(&gateway, &stripe.secrets());
    let options = gateway.options().clone();
    gateway.stop().await;
    assert_eq!(options.audit().await.account(&user.id).versions, 2, "one order, one payment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_stripe_whose_events_are_all_lost_is_found() {
    let stripe = StripeApi::start().await;
    let gateway = stripe.for_gateway(impatient(600)).start().await;
    let user = User::new(&gateway).await;
    let order = orders_with(&user, wish("20")).await;
    stripe.is_down(true);
    let before = stripe.asked();
    eventually("Stripe is asked in vain", PATIENCE, async || (stripe.asked() > before + 1).then_some(()))
        .await;
    stripe.is_paid(&number(&order));
    stripe.is_down(false);
    user.until_total(bought(&order)).await;
    assert_eq!(stripe.notifies(&door(&gateway, "stripe"), &number(&order)).await.status, 200);
    assert_eq!(user.balance().await.total, bought(&order));
    nothing_leaks(&gateway, &stripe.secrets());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stripe_order_ends_with_its_session_and_a_payment_after_that_is_credited() {
    let stripe = StripeApi::start().await;
    let gateway = stripe.for_gateway(impatient(2)).start().await;
    let user = User::new(&gateway).await;
    let order = orders_with(&user, wish("20")).await;
    until_status(&user, &order, "cancelled").await;
    assert_eq!(stripe.status(&number(&order)), "expired", "at Stripe first");
    // Paid in the last moment, and told late.
    stripe.is_paid(&number(&order));
    assert_eq!(stripe.notifies(&door(&gateway, "stripe"), &number(&order)).await.status, 200);
    user.until_total(bought(&order)).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_stripe_events_are_kept_and_change_nothing() {
    let stripe = StripeApi::start().await;
    let gateway = stripe.for_gateway(talkative()).start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    let order = orders_with(&user, wish("50")).await;
    let foreign = orders(&user, "sandbox", "50").await;
    let (number, door) = (number(&order), door(&gateway, "stripe"));
    stripe.is_paid(&number);
    let good = stripe.event("checkout.session.completed", &number);
    let with = |name: &str, value: Value| {
        let mut event = good.clone();
        event["data"]["object"][name] = value;
        event
    };
    let tells = async |event: Value| stripe.tells(&door, &event, 0, WEBHOOK_SECRET).await;
    let forgery = |name, heard, status, verdict| Forged { name, heard, status, verdict };
    let post = || system_tests::http::client().post(&door);
    let mut live = with("livemode", json!(true));
    live["livemode"] = json!(true);
    let order_of = |number: &str| {
        let mut event = with("client_reference_id", json!(number));
        event["data"]["object"]["metadata"] = json!({"order_no": number});
        event
    };
    let headed = async |header: &str| {
        let request = post().header("stripe-signature", header).body(good.to_string());
        system_tests::channels::tell(request).await
    };
    let forged = vec![
        forgery(
            "unsigned",
            system_tests::channels::tell(post().body(good.to_string())).await,
            403,
            "bad_signature",
        ),
        forgery(
            "another secret",
            stripe.tells(&door, &good, 0, "whsec_another_secret_altogether").await,
            403,
            "bad_signature",
        ),
        forgery("an empty secret", stripe.tells(&door, &good, 0, "").await, 403, "bad_signature"),
        forgery("too old", stripe.tells(&door, &good, 400, WEBHOOK_SECRET).await, 403, "stale"),
        forgery("from the future", stripe.tells(&door, &good, -400, WEBHOOK_SECRET).await, 403, "stale"),
        forgery("no signature in it", headed("t=1,v0=00").await, 403, "bad_signature"),
        forgery("a time that is none", headed("t=now,v1=00").await, 403, "bad_signature"),
        forgery("no hexadecimal digits", headed("t=1,v1=%%zz%%").await, 403, "bad_signature"),
        forgery("the other mode", tells(live).await, 403, "wrong_merchant"),
        forgery("a lower amount", tells(with("amount_total", json!(1))).await, 409, "wrong_amount"),
        forgery("another currency", tells(with("currency", json!("jpy"))).await, 409, "wrong_amount"),
        forgery("no amount", tells(with("amount_total", json!("5000"))).await, 400, "malformed"),
        forgery(
            "an unknown order",
            tells(order_of("0123456789abcdef0123456789abcdef")).await,
            404,
            "unknown_order",
        ),
        forgery(
            "another channel's order",
            tells(order_of(&super::number(&foreign))).await,
            409,
            "wrong_channel",
        ),
        forgery("too large", system_tests::channels::tell(post().body("a".repeat(70_000))).await, 413, ""),
    ];
    all_refused(&gateway, &operator, &user, "stripe", "ok", forged).await;
    assert_eq!(stripe.notifies(&door, &number).await.status, 200);
    user.until_total(bought(&order)).await;
    nothing_leaks(&gateway, &stripe.secrets());
    gateway.stop().await;
}
