//! What finance takes out of the gateway, read by programs of others: statements, exports, a closed month.

use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use system_tests::{
    Behaviour, FakeProvider, GatewayOptions, credits, eventually,
    gateway::ADMIN_PASSWORD,
    people::{Caller, Operator, PASSWORD, User, text},
    place,
};

const MODEL: &str = "model/v1.5:α";

#[tokio::test(flavor = "multi_thread")]
async fn others_read_statements_and_exports_and_find_the_same_sums_in_all_of_them() {
    let provider = FakeProvider::start(Behaviour::default()).await;
    // The months of the books, and of an account without settings, are UTC's here.
    let options = GatewayOptions::default().environment("NEXUSROUTE_TIME_ZONE", "+00:00");
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0.000001", "1000").await;
    let user = User::new(&gateway).await;
    user.tops_up("50.00", "pay").await;
    let adjustments = format!("/api/admin/users/{}/adjustments", user.id);
    for (by, reason) in [("0.000000003", "补偿 für eine späte Antwort"), ("-0.5", "=1+1")] {
        operator.api.post(&adjustments, &json!({"credits": by, "reason": reason})).await.ok();
    }
    let key = user.makes_key().await;
    for _ in 0..3 {
        Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    }
    eventually("all calls are projected", Duration::from_secs(30), async || {
        (user.every("/api/user/usage").await.len() == 3).then_some(())
    })
    .await;
    let balance = user.balance().await;

    let me = user.api.get("/api/user/self").await.ok();
    let now = user.api.get("/api/user/statements").await.ok();
    let month = text(&now["month"]);
    let output = tokio::process::Command::new(place::python())
        .arg(place::repository().join("tests/clients/read_exports.py"))
        .args([gateway.url(), &text(&me["username"]), PASSWORD, ADMIN_PASSWORD, &month])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let statement = &found["statement"];
    assert_eq!(credits(&statement["closing"]), balance.total, "{statement}");
    assert_eq!(statement["paid"], json!([{"currency": "CNY", "amount": "50.00"}]));
    assert_eq!(credits(&found["used"]), credits(&statement["charges"]));
    assert_eq!(found["deferred"][0]["account"], user.id, "{found}");

    // This month is not over; the one before it can be closed, once, and is what was signed.
    let close = async |month: &str| operator.api.post("/api/admin/periods", &json!({"month": month})).await;
    assert_eq!(close(&month).await.problem(409), "period_not_over");
    let before = json!("2026-01");
    let closed = close(before.as_str().unwrap()).await.ok();
    assert_eq!(closed["entries"], 0);
    assert_eq!(close("2026-01").await.problem(409), "period_closed");
    assert_eq!(close("2026-03").await.problem(409), "period_out_of_order");
    let told =
        gateway.command(&["ledger", "verify-periods", "--public-key", &text(&closed["public_key"])]).await;
    assert!(told.contains("1 closed months, all as they were signed"), "{told}");
    gateway.stop().await;
}
