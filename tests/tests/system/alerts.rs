//! Being told, and leaving: a low balance by mail and by a signed webhook, in several processes at once; what is left of a person
//! who was deleted; on every database.

use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use system_tests::{
    Gateway, GatewayOptions, Nats, databases, eventually,
    people::{Operator, PASSWORD, User, text, try_log_in},
    webhooks::Receiver,
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn puts(user: &User, path: &str, body: Value) -> Value {
    let body = ("application/json", body.to_string().into_bytes());
    user.api.send(Method::PUT, path, Some(body)).await.ok()
}

fn with_threshold(credits: &str) -> Value {
    json!({"language": "zh-CN", "time_zone": "Asia/Shanghai", "low_balance_alert": credits})
}

/// The mails of a kind, as the operator sees them.
async fn mails(operator: &Operator, kind: &str) -> Vec<Value> {
    let list = operator.api.get("/api/admin/mails?limit=100").await.ok();
    list["items"].as_array().unwrap().iter().filter(|it| it["kind"] == kind).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_told_and_leaves() {
    let gateway = inward(GatewayOptions::default()).start().await;
    walks(&[&gateway]).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_postgresql_and_three_processes() {
    let database = databases::postgres().await;
    on_three(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_mariadb_and_three_processes() {
    let database = databases::mariadb().await;
    on_three(&database).await;
}

fn inward(options: GatewayOptions) -> GatewayOptions {
    options.environment("NEXUSROUTE_ALLOW_PRIVATE_WEBHOOKS", "true")
}

async fn on_three(database: &str) {
    let nats = Nats::start().await;
    let shared = || {
        inward(GatewayOptions::default())
            .nats(&nats)
            .environment("NEXUSROUTE_DATABASE_URL", database)
            .environment("NEXUSROUTE_MASTER_KEY", &"07".repeat(32))
    };
    let (one, two, three) = (shared(), shared(), shared());
    let (one, two, three) = tokio::join!(one.start(), two.start(), three.start());
    walks(&[&one, &two, &three]).await;
    for gateway in [one, two, three] {
        gateway.stop().await;
    }
}

async fn walks(gateways: &[&Gateway]) {
    let gateway = gateways[0];
    let (operator, receiver) = tokio::join!(Operator::of(gateway), Receiver::start());
    let ann = User::new(gateway).await;
    let made = puts(&ann, "/api/user/webhook", json!({"url": receiver.url()})).await;
    receiver.knows(made["secret"].as_str().unwrap());
    puts(&ann, "/api/user/settings", with_threshold("5")).await;

    operator.adjusts(&ann, "3").await.ok();
    let told = receiver.call("balance.low", 1).await;
    assert_eq!((&told["genuine"], &told["account"]), (&json!(true), &json!(ann.id)), "{told}");
    assert_eq!(told["forgeries"], json!(vec![false; 6]), "{told}");
    assert_eq!((&told["path"], &told["delivery"]), (&json!("/hook?of=ann"), &told["id"]));
    assert_eq!((&told["data"]["balance"], &told["data"]["threshold"]), (&json!("3"), &json!("5")));
    // Another threshold is another crossing, told once however many processes watch, and however far it falls.
    puts(&ann, "/api/user/settings", with_threshold("2.5")).await;
    for change in ["-1", "-0.5"] {
        operator.adjusts(&ann, change).await.ok();
        assert_eq!(receiver.call("balance.low", 2).await["data"]["balance"], "2");
    }
    operator.adjusts(&ann, "1.5").await.ok();
    let low = mails(&operator, "low-balance").await;
    assert_eq!((low.len(), receiver.calls("balance.low").len()), (2, 2), "{low:?}");
    assert!(low.iter().all(|mail| mail["language"] == "zh-CN"), "{low:?}");

    // What is not taken is made again under its id, and each process finds it claimed.
    receiver.answers(503);
    let body = json!({"old_password": PASSWORD, "new_password": "another long password"});
    puts_nothing(&ann, "/api/user/password", body).await;
    let first = receiver.call("security.password_changed", 1).await;
    receiver.answers(204);
    let second = receiver.call("security.password_changed", 2).await;
    assert_eq!((&first["id"], &second["genuine"]), (&second["id"], &json!(true)));
    eventually("it is delivered", PATIENCE, async || {
        let list = ann.api.get("/api/user/webhook/deliveries").await.ok();
        let it = list["items"].as_array().unwrap().iter().find(|it| it["id"] == second["id"]).cloned()?;
        (it["state"] == "delivered" && it["attempts"] == 2).then_some(())
    })
    .await;
    assert_eq!(mails(&operator, "password-changed").await.len(), 1);

    // A key that leaked is revoked, and its owner told.
    let key = ann.makes_key().await;
    gateway.nobody().post("/api/keys/revoke-leaked", &json!({"keys": [key]})).await;
    assert_eq!(receiver.call("security.key_leaked", 1).await["data"]["name"], "test");

    leaves(gateways, &operator, &ann).await;
}

async fn puts_nothing(user: &User, path: &str, body: Value) {
    let body = ("application/json", body.to_string().into_bytes());
    let answer = user.api.send(Method::PUT, path, Some(body)).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
}

/// Ann pays for some credits, leaves with an order open, and pays that later.
async fn leaves(gateways: &[&Gateway], operator: &Operator, ann: &User) {
    let gateway = gateways[0];
    let name = text(&ann.api.get("/api/user/self").await.ok()["username"]);
    let late = ann.api.post("/api/user/topup", &json!({"amount": "7.20", "channel": "sandbox"})).await.ok();
    ann.tops_up("7.20", "pay").await;
    let preview = ann.api.get("/api/user/self/deletion").await.ok();
    assert_eq!(
        (&preview["refundable"], &preview["forfeited"], &preview["pending_orders"]),
        (&json!("1"), &json!("4"), &json!(1)),
        "{preview}"
    );
    let delete = async |body: Value| {
        let body = ("application/json", body.to_string().into_bytes());
        ann.api.send(Method::DELETE, "/api/user/self", Some(body)).await
    };
    let password = "another long password";
    assert_eq!(delete(json!({})).await.problem(409), "credits_left");
    let gone = delete(json!({"forfeit": true})).await.ok();
    assert_eq!((&gone["forfeited"], gone["closed_at"].is_string()), (&json!("4"), true), "{gone}");
    for gateway in gateways {
        assert_eq!(try_log_in(gateway, &name, password).await.problem(401), "wrong_credentials");
    }
    let tomb = operator.api.get(&format!("/api/admin/users/{}", ann.id)).await.ok();
    assert!(tomb["deleted_at"].is_string() && !tomb.to_string().contains(&name), "{tomb}");
    // The name is free.
    let body = json!({"username": name, "email": format!("{name}@example.com"), "password": PASSWORD});
    gateway.nobody().post("/api/user/register", &body).await.ok();
    // The gateway's callback comes after all: the payment is credited, and the operator sees it.
    system_tests::people::presses(&gateway.nobody(), &late, "pay").await;
    eventually("the late payment is seen", PATIENCE, async || {
        let list = operator.api.get("/api/admin/deletions").await.ok();
        let it =
            list["items"].as_array().unwrap().iter().find(|it| it["user_id"] == json!(ann.id)).cloned()?;
        assert_eq!(it["forfeited"], "4", "{it}");
        (it["balance"] == "1").then_some(())
    })
    .await;
}
