//! Leaving, over HTTP, on a real log.

use crate::directory::user::Role;
use crate::http::tests::{Answer, Gateway, Node, gateway, lease};
use domain::account::event::{Closer, GrantSource};
use domain::{AccountId, Command, GrantId, LeaseId, OrderId};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

impl Gateway {
    async fn leaves(&self, token: &str, body: Value) -> Answer {
        self.call("DELETE", "/api/user/self", Some(token), Some(body)).await
    }

    async fn is_given(&self, account: AccountId, credits: &str) {
        let grant = Command::GrantCredit {
            grant: GrantId::from_uuid(Uuid::now_v7()),
            source: GrantSource::Promotion,
            credits: credits.parse().unwrap(),
            reason: None,
        };
        self.decides(account, grant).await;
    }

    /// Opens an order of 7.20 CNY, which buys one credit.
    async fn orders(&self, token: &str) -> OrderId {
        let wish = json!({"amount": "7.20", "channel": "sandbox"});
        let order = self.call("POST", "/api/user/topup", Some(token), Some(wish)).await;
        order.body["order"].as_str().unwrap().parse().unwrap()
    }

    async fn completes(&self, account: AccountId, order: OrderId) -> u64 {
        let paid = Command::CompleteTopUp {
            order,
            channel: "sandbox".parse().unwrap(),
            provider_txn: "txn".parse().unwrap(),
            paid: domain::Money::parse("7.20", "CNY".parse().unwrap()).unwrap(),
        };
        self.decides(account, paid).await
    }

    async fn left_of(&self, account: AccountId) -> String {
        self.app.ledger.account(account).await.unwrap().available().to_string()
    }
}

#[track_caller]
fn is(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.body["code"].as_str()),
        (status, Some(code)),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn credits_that_were_paid_for_are_not_forfeited_unsaid_and_gifts_are() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let ann = it.account_of(&token).await;
    it.is_given(ann, "3").await;
    let order = it.orders(&token).await;
    it.completes(ann, order).await;
    it.orders(&token).await;
    let preview = it.call("GET", "/api/user/self/deletion", Some(&token), None).await;
    let expected = json!({"available": "4", "reserved": "0", "refundable": "1", "forfeited": "4", "needs_forfeit": true, "pending_orders": 1});
    assert_eq!((preview.status.as_u16(), &preview.body), (200, &expected));
    is(&it.leaves(&token, json!({})).await, 409, "credits_left");
    assert_eq!(it.left_of(ann).await, "4");
    let gone = it.leaves(&token, json!({"forfeit": true})).await;
    assert_eq!((gone.status.as_u16(), &gone.body["forfeited"]), (200, &json!("4")), "{}", gone.body);
    assert!(
        gone.body["closed_at"].is_string()
            && gone.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0")
    );
    assert_eq!(it.left_of(ann).await, "0");
    is(&it.call("GET", "/api/user/self", Some(&token), None).await, 401, "unauthenticated");

    let (bob, cat) = (it.token("bob", Role::User).await, it.token("cat", Role::User).await);
    let account = it.account_of(&bob).await;
    it.is_given(account, "3").await;
    let gone = it.call("DELETE", "/api/user/self", Some(&bob), None).await;
    assert_eq!(
        (gone.status.as_u16(), &gone.body["forfeited"]),
        (200, &json!("3")),
        "gifts, in a fresh session"
    );
    let gone = it.leaves(&cat, json!({})).await;
    assert_eq!(
        (&gone.body["forfeited"], &gone.body["event_seq"]),
        (&json!("0"), &Value::Null),
        "nothing to forfeit"
    );
}

#[tokio::test]
async fn a_session_that_is_not_fresh_confirms_first() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    it.app.db.execute("UPDATE sessions SET confirmed_at = 0", &[]).await.unwrap();
    is(&it.leaves(&token, json!({})).await, 403, "confirmation_required");
    let proof = json!({"password": "correct horse"});
    assert_eq!(it.call("POST", "/api/user/confirm", Some(&token), Some(proof)).await.status, 200);
    assert_eq!(it.leaves(&token, json!({})).await.status, 200);
}

#[tokio::test]
async fn what_leases_hold_is_forfeited_when_they_close_and_what_is_paid_later_is_not() {
    let it = gateway().await;
    let (token, boss) = (it.token("ann", Role::User).await, it.token("boss", Role::Owner).await);
    let ann = it.account_of(&token).await;
    it.is_given(ann, "5").await;
    let late = it.orders(&token).await;
    let (node, held) = (Node::new(), LeaseId::from_uuid(Uuid::now_v7()));
    it.decides(ann, lease(held, node.epoch, "2")).await;
    let gone = it.leaves(&token, json!({})).await;
    assert_eq!(
        (&gone.body["forfeited"], &gone.body["closed_at"]),
        (&json!("3"), &Value::Null),
        "{}",
        gone.body
    );
    // The payment comes while a call is still under way.
    it.completes(ann, late).await;
    let path = format!("/api/admin/users/{ann}");
    let again = async || it.call("DELETE", &path, Some(&boss), Some(json!({"reason": "look again"}))).await;
    assert_eq!(again().await.body["forfeited"], "3", "the payment stays");
    let spent = "0.5".parse().unwrap();
    it.decides(ann, Command::CloseLease { lease: held, spent, count: 1, by: Closer::Holder }).await;
    let closed = again().await;
    assert_eq!(closed.body["forfeited"], "4.5", "{}", closed.body);
    assert!(closed.body["closed_at"].is_string() && closed.body["deleted_by"] == ann.to_string());
    assert_eq!(it.left_of(ann).await, "1");
    let position = closed.body["event_seq"].as_u64().unwrap();
    assert!(it.projector.wait_for(position, Duration::from_secs(20)).await);
    let list = it.call("GET", "/api/admin/deletions", Some(&boss), None).await.body;
    assert_eq!((&list["items"][0]["user_id"], &list["items"][0]["forfeited"]), (&json!(ann), &json!("4.5")));
    // What the lease spent is not reported here, so the tables still count it as there.
    assert_eq!(list["items"][0]["balance"], "1.5");
    // A note that was lost is made up for from the log.
    it.app
        .db
        .execute("UPDATE account_deletions SET forfeited = 0, event_seq = NULL, closed_at = NULL", &[])
        .await
        .unwrap();
    let mended = again().await;
    assert_eq!((&mended.body["forfeited"], &mended.body["event_seq"]), (&json!("4.5"), &json!(position)));
    assert_eq!(it.left_of(ann).await, "1");
}

#[tokio::test]
async fn many_who_close_one_account_forfeit_once() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let ann = it.account_of(&token).await;
    it.is_given(ann, "5").await;
    let deletion = crate::directory::deletion::NewDeletion {
        user: ann,
        by: ann,
        role: None,
        reason: String::new(),
        credits_in: "5".parse().unwrap(),
    };
    let actor = crate::session::actor(domain::ActorKind::User, ann);
    let deletion = it.app.directory.delete_user(deletion, actor).await.unwrap();
    let crowd = futures_util::future::join_all(
        (0..8).map(|_| crate::deletion::close(&it.app.ledger, &it.app.directory, deletion.clone())),
    )
    .await;
    for closed in crowd {
        let closed = closed.unwrap();
        assert_eq!((closed.forfeited.to_string(), closed.closed_at.is_some()), ("5".to_owned(), true));
    }
    let account = it.app.ledger.account(ann).await.unwrap();
    assert_eq!((account.adjustments.len(), account.available().to_string()), (1, "0".to_owned()));
}

#[tokio::test]
async fn an_operator_deletes_with_a_reason_whom_they_govern() {
    let it = gateway().await;
    let (boss, token) = (it.token("boss", Role::Owner).await, it.token("ann", Role::User).await);
    let ann = it.account_of(&token).await;
    let order = it.orders(&token).await;
    it.completes(ann, order).await;
    let path = format!("/api/admin/users/{ann}");
    let preview = it.call("GET", &format!("{path}/deletion"), Some(&boss), None).await;
    assert_eq!((&preview.body["refundable"], &preview.body["needs_forfeit"]), (&json!("1"), &json!(true)));
    let delete = async |body: Value| it.call("DELETE", &path, Some(&boss), Some(body)).await;
    is(&delete(json!({"reason": ""})).await, 422, "invalid_value");
    is(&delete(json!({"reason": "asked by letter"})).await, 409, "credits_left");
    let gone = delete(json!({"reason": "asked by letter", "forfeit": true})).await;
    assert_eq!(
        (gone.status.as_u16(), &gone.body["reason"]),
        (200, &json!("asked by letter")),
        "{}",
        gone.body
    );
    let tomb = it.call("GET", &path, Some(&boss), None).await.body;
    assert!(tomb["deleted_at"].is_string() && !tomb.to_string().contains("ann"), "{tomb}");
    let me = it.account_of(&boss).await;
    let own =
        it.call("DELETE", &format!("/api/admin/users/{me}"), Some(&boss), Some(json!({"reason": "x"}))).await;
    is(&own, 409, "oneself");
    is(&it.leaves(&boss, json!({})).await, 409, "last_owner");
    let acts = it.app.db.fetch_all("SELECT act FROM audit_outbox", &[]).await.unwrap();
    let acts: Vec<ledger::Act> = acts.iter().map(|row| row.json("act").unwrap()).collect();
    let told = acts.iter().find(|act| act.act == "user.delete").unwrap();
    assert_eq!(
        (&told.subject, &told.after.as_ref().unwrap()["reason"]),
        (&ann.to_string(), &json!("asked by letter"))
    );
}
