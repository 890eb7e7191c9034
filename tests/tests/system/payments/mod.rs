//! Payments at gateways that are not ours, end to end: the real binary against simulators with keys of their own.
//!
//! Shown for each channel: a payment is credited once however often it is told; one whose callbacks are all lost is found; one
//! that comes after its order's end is credited; a forged callback is kept with its verdict and changes nothing; no secret and no
//! signature is ever logged.

mod alipay;
mod epay;
mod reconciliation;
mod refunds;
mod storm;
mod stripe;
mod suspense;
mod wechat;

use domain::Credits;
use serde_json::{Value, json};
use std::time::Duration;
use system_tests::{
    Gateway, GatewayOptions,
    channels::Heard,
    credits, eventually,
    people::{Operator, User, text},
};

/// How long a poller or a projection may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that logs all that it can of its own, so that what it must not log would show.
fn talkative() -> GatewayOptions {
    GatewayOptions::default().environment("NEXUSROUTE_LOG_LEVEL", "debug,async_nats=warn,sqlx=warn")
}

/// The same, whose orders end after so many seconds and are looked at every second.
fn impatient(seconds: u32) -> GatewayOptions {
    talkative()
        .environment("NEXUSROUTE_TOPUP_ORDER_SECONDS", &seconds.to_string())
        .environment("NEXUSROUTE_TOPUP_POLL_SECONDS", "1")
}

/// A user orders a top-up in CNY; answers the order.
async fn orders(user: &User, channel: &str, amount: &str) -> Value {
    orders_with(user, json!({"amount": amount, "channel": channel})).await
}

async fn orders_with(user: &User, wish: Value) -> Value {
    user.api.post("/api/user/topup", &wish).await.ok()
}

/// The order's number at its gateway.
fn number(order: &Value) -> String {
    text(&order["order"]).replace('-', "")
}

fn bought(order: &Value) -> Credits {
    credits(&order["credits"])
}

/// Where a channel's callbacks go.
fn door(gateway: &Gateway, channel: &str) -> String {
    format!("{}/api/payments/{channel}/callback", gateway.url())
}

/// Waits until an order has come so far.
async fn until_status(user: &User, order: &Value, status: &str) {
    let path = format!("/api/user/topup/{}", text(&order["order"]));
    eventually(&format!("the order is {status}"), PATIENCE, async || {
        (user.api.get(&path).await.ok()["status"] == status).then_some(())
    })
    .await;
}

/// The verdicts that were kept, newest first.
async fn verdicts(operator: &Operator, channel: &str) -> Vec<String> {
    let path = format!("/api/admin/payments/inbox?channel={channel}&limit=100");
    let notes = operator.api.get(&path).await.ok()["items"].as_array().unwrap().clone();
    notes.iter().map(|note| text(&note["verdict"])).collect()
}

/// A forged callback: what it is called, what the gateway answered, and the status and verdict that it must have had.
struct Forged {
    name: &'static str,
    heard: Heard,
    status: u16,
    verdict: &'static str,
}

/// What is real and fits no order: kept in suspense, and a person is called.
const MISFITS: [&str; 3] = ["unknown_order", "wrong_amount", "wrong_channel"];

/// Every one was answered with a failure, is kept with its verdict, and changed nothing; what is real and fits no order waits in
/// suspense, and somebody was called for each.
async fn all_refused(
    gateway: &Gateway,
    operator: &Operator,
    user: &User,
    channel: &str,
    success: &str,
    forged: Vec<Forged>,
) {
    for it in &forged {
        assert_eq!(it.heard.status, it.status, "{}: {:?}", it.name, it.heard);
        assert_ne!(it.heard.body, success, "{}", it.name);
    }
    let kept: Vec<&Forged> = forged.iter().filter(|it| !it.verdict.is_empty()).collect();
    let mut found = verdicts(operator, channel).await;
    found.reverse();
    let expected: Vec<&str> = kept.iter().map(|it| it.verdict).collect();
    assert_eq!(found, expected, "in the order in which they came");
    assert_eq!(user.balance().await.total, Credits::ZERO);
    let misfits = forged.iter().filter(|it| MISFITS.contains(&it.verdict)).count();
    let path = format!("/api/admin/payments/suspense?channel={channel}&status=open&limit=100");
    let held = operator.api.get(&path).await.ok()["items"].as_array().unwrap().len();
    let output = gateway.output();
    let of_channel = |line: &&str| line.contains("payment_suspended") && line.contains(channel);
    assert_eq!((held, output.lines().filter(of_channel).count()), (misfits, misfits), "{channel}");
}

/// Nothing that was logged holds one of these, nor a signature.
fn nothing_leaks(gateway: &Gateway, secrets: &[String]) {
    let output = gateway.output();
    assert!(output.lines().count() > 10, "it logged: {output}");
    for secret in secrets.iter().filter(|it| it.len() >= 8) {
        assert!(!output.contains(secret.as_str()), "{} stands in the log", &secret[..8]);
    }
    for word in ["sign=", "&key=", "signature=\""] {
        let line = output.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "{word} stands in the log");
    }
}
