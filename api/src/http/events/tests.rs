use super::*;
use crate::http::tests::{Gateway, gateway};
use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use domain::account::event::GrantSource;
use domain::{Command, GrantId};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who listens.
struct Ear {
    body: BodyDataStream,
    heard: String,
}

impl Gateway {
    async fn opens_stream(&self, token: &str) -> Response {
        let request = Request::get("/api/user/events")
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "text/event-stream");
        self.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn listens(&self, token: &str) -> Ear {
        let response = self.opens_stream(token).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Ear { body: response.into_body().into_data_stream(), heard: String::new() }
    }

    async fn grants_to(&self, account: AccountId, credits: &str) {
        let grant = Command::GrantCredit {
            grant: GrantId::from_uuid(Uuid::now_v7()),
            source: GrantSource::Admin,
            credits: credits.parse().unwrap(),
            reason: None,
        };
        self.decides(account, grant).await;
    }
}

impl Ear {
    /// The next event, with its data; `None`: the stream is over.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.heard.split_once("\n\n") {
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let found = line("event:").zip(line("data:"));
                let found = found.map(|(name, data)| (name.to_owned(), serde_json::from_str(data).unwrap()));
                self.heard = rest.to_owned();
                match found {
                    Some(found) => return Some(found),
                    // A comment.
                    None => continue,
                }
            }
            let more = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("nothing came");
            self.heard.push_str(std::str::from_utf8(&more?.unwrap()).unwrap());
        }
    }

    /// The next event of this name.
    async fn hears(&mut self, name: &str) -> Value {
        loop {
            let (event, data) = self.next().await.expect("the stream is over");
            if event == name {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn a_balance_and_an_order_are_told_as_they_change_until_the_session_ends() {
    let it = gateway().await;
    let (token, other) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
    let (ann, bob) = (it.account_of(&token).await, it.account_of(&other).await);
    let mut ear = it.listens(&token).await;
    assert_eq!(ear.hears("balance").await["available"], "0");
    // What happens to others is not told.
    it.grants_to(bob, "7").await;
    it.grants_to(ann, "3").await;
    let (name, data) = ear.next().await.unwrap();
    assert_eq!((name.as_str(), &data["available"]), ("balance", &json!("3")));

    let order = json!({"amount": "50.00", "channel": "sandbox"});
    let order = it.call("POST", "/api/user/topup", Some(&token), Some(order)).await.body["order"].clone();
    let opened = ear.hears("order").await;
    assert_eq!((&opened["order"], &opened["status"]), (&order, &json!("pending")));
    let paid = Command::CompleteTopUp {
        order: OrderId::from_uuid(order.as_str().unwrap().parse().unwrap()),
        channel: "sandbox".parse().unwrap(),
        provider_txn: domain::Label::try_new("txn-1").unwrap(),
        paid: domain::Money::parse("50.00", "CNY".parse().unwrap()).unwrap(),
    };
    it.decides(ann, paid).await;
    assert_eq!(ear.hears("order").await["status"], "completed");

    // As JSON the same, once.
    let now = it.call("GET", "/api/user/events", Some(&token), None).await.body;
    assert_eq!((&now["orders"][0]["order"], &now["orders"][0]["status"]), (&order, &json!("completed")));
    assert_eq!(now["balance"]["available"], "9.944444444");
    assert_eq!(now["tables"], Value::Null, "a user does not see the books");

    it.call("POST", "/api/user/logout", Some(&token), None).await;
    while ear.next().await.is_some() {}
    assert_eq!(it.opens_stream(&token).await.status(), 401);
}

#[tokio::test]
async fn news_of_an_order_outlast_a_look_that_fails() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let ann = it.account_of(&token).await;
    let mut ear = it.listens(&token).await;
    ear.hears("balance").await;
    it.app.db.execute("ALTER TABLE top_up_bonuses RENAME TO away", &[]).await.unwrap();
    let order = OrderId::from_uuid(Uuid::new_v4());
    let initiated = Command::InitiateTopUp {
        order,
        channel: "sandbox".parse().unwrap(),
        pay: domain::Money::parse("50.00", "CNY".parse().unwrap()).unwrap(),
        credits: "6.944444444".parse().unwrap(),
        expires_at: crate::directory::now().plus_ms(60_000),
    };
    it.decides(ann, initiated).await;
    it.grants_to(ann, "3").await;
    // A look that saw the grant saw the order as well, and could not tell of it.
    assert_eq!(ear.hears("balance").await["available"], "3");
    it.app.db.execute("ALTER TABLE away RENAME TO top_up_bonuses", &[]).await.unwrap();
    // The balance is told again and again meanwhile.
    let told = tokio::time::timeout(PATIENCE, ear.hears("order")).await.expect("the order is not told");
    assert_eq!(told["order"], json!(order.uuid()));
}

#[tokio::test]
async fn who_may_see_the_books_hears_how_far_the_tables_are() {
    let it = gateway().await;
    let auditor = it.token("eve", Role::Auditor).await;
    let mut ear = it.listens(&auditor).await;
    assert_eq!(ear.hears("tables").await, json!({"log_position": 0, "applied": 0, "lag": 0}));
    it.app.streams.end();
    while ear.next().await.is_some() {}
}

#[tokio::test]
async fn an_account_has_so_many_streams_and_no_more() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let mut open = Vec::new();
    for _ in 0..STREAMS_OF_ONE {
        open.push(it.listens(&token).await);
    }
    assert_eq!(it.opens_stream(&token).await.status(), 429);
    // Another's are another's, and who leaves makes room.
    let other = it.token("bob", Role::User).await;
    drop(it.listens(&other).await);
    drop(open.pop());
    assert_eq!(it.opens_stream(&token).await.status(), 200);
}
