//! Every route of the document, tried with every role, without credentials and on another's things.

use super::{EXTENSION, OPEN, Permission, written};
use crate::directory::identity::IdentityName;
use crate::directory::user::Role;
use crate::http::passkeys::tests::Authenticator;
use crate::http::tests::{Gateway, Node, gateway, lease, record};
use domain::{AccountId, Command, GrantId, LeaseId, Money, OrderId, RefundId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// One operation of the document.
struct Operation {
    method: String,
    path: String,
    name: String,
    /// `None`: open to everybody.
    permission: Option<Permission>,
}

/// Every operation; one that does not say who may call it ends the test.
fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let label = format!("{method} {path}");
            assert!(operation["responses"]["default"].is_object(), "{label} does not say that it may fail");
            let word = operation[EXTENSION].as_str().unwrap_or_else(|| panic!("{label} has no permission"));
            let permission = Permission::ALL.iter().copied().find(|it| it.as_str() == word);
            assert!(permission.is_some() || word == OPEN, "{label}: {word} is no permission");
            assert_eq!(permission.is_none(), operation["security"] == json!([{}]), "{label}");
            let name = operation["operationId"].as_str().unwrap().to_owned();
            all.push(Operation { method: method.to_uppercase(), path: path.clone(), name, permission });
        }
    }
    all
}

/// `{id}` and its like become an id that nobody has.
fn with_ids(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{channel}" => "sandbox".to_owned(),
        "{action}" | "{button}" => "pay".to_owned(),
        _ if part.starts_with('{') => Uuid::nil().to_string(),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_lets_in_the_roles_of_the_table_and_nobody_else() {
    let it = gateway().await;
    let document = it.call("GET", "/api/openapi.json", None, None).await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut names = BTreeSet::new();
    let (mut let_in, mut turned_away) = (0, 0);
    for operation in operations(&document) {
        let Operation { method, path, name, permission } = operation;
        let (label, path) = (format!("{method} {path}"), with_ids(&path));
        // A generated client makes a function of it.
        assert!(names.insert(name.clone()), "two operations are named {name}");
        let Some(permission) = permission else {
            let answer = it.call(&method, &path, None, None).await;
            // A callback that nobody signed is turned away in the gateways' own words.
            let code = answer.body["code"].as_str();
            assert!(
                !matches!(code, Some("unauthenticated" | "forbidden")),
                "{label} is not open: {}",
                answer.body
            );
            continue;
        };
        for token in [None, Some("nonsense")] {
            let answer = it.call(&method, &path, token, None).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["code"]),
                (401, &json!("unauthenticated")),
                "{label}"
            );
        }
        for role in Role::ALL {
            // Of their own for each try: some of these routes end the session, or the person.
            let token = it.token(&format!("r{}", let_in + turned_away), role).await;
            let answer = it.call(&method, &path, Some(&token), None).await;
            let refused = (answer.status.as_u16(), answer.body["code"].as_str()) == (403, Some("forbidden"));
            if permission.is_held_by(role) {
                let_in += 1;
                assert!(!refused && answer.status != 401, "{label} as {role}: {}", answer.body);
                assert!(answer.status.as_u16() < 500, "{label} as {role}: {}", answer.body);
            } else {
                turned_away += 1;
                assert!(refused, "{label} as {role}: {} {}", answer.status, answer.body);
            }
        }
    }
    assert!(let_in > 150 && turned_away > 50, "{let_in} {turned_away}");
}

#[tokio::test]
async fn a_method_that_nobody_declared_is_not_reached() {
    let it = gateway().await;
    let owner = it.token("boss", Role::Owner).await;
    let answer = it.call("PUT", "/api/user/keys", Some(&owner), None).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (405, &json!("method_not_allowed")));
    assert_eq!(answer.headers["allow"], "GET,HEAD,POST");
    // HEAD is GET without a body, and asks for what GET asks for.
    assert_eq!(it.call("HEAD", "/api/user/keys", Some(&owner), None).await.status, 200);
    assert_eq!(it.call("HEAD", "/api/user/keys", None, None).await.status, 401);
    let user = it.token("ann", Role::User).await;
    assert_eq!(it.call("HEAD", "/api/admin/users", Some(&user), None).await.status, 403);
}

/// Things of one person, by the beginning of the path below which they are found.
async fn things(it: &Gateway, owner: &str) -> BTreeMap<&'static str, String> {
    let account = it.account_of(owner).await;
    let key = it.call("POST", "/api/user/keys", Some(owner), Some(json!({"name": "mine"}))).await.body;
    let order = json!({"amount": "50.00", "channel": "sandbox"});
    let order = it.call("POST", "/api/user/topup", Some(owner), Some(order)).await;
    assert_eq!(order.status, 201, "{}", order.body);
    let request = a_call(it, account).await;
    let lines = it.call("GET", "/api/user/billing", Some(owner), None).await.body;
    // The one that asks: its end is the last thing that the owner is asked to try.
    let sessions = it.call("GET", "/api/user/sessions", Some(owner), None).await.body;
    let name = IdentityName { issuer: "https://issuer.example", subject: "7" };
    let actor = crate::session::actor(domain::ActorKind::User, account);
    it.app.directory.link_identity(account, name, "ann there", actor).await.unwrap();
    let identities = it.call("GET", "/api/user/identities", Some(owner), None).await.body;
    let passkey = it.adds_passkey(owner, &mut Authenticator::new()).await.body;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let webhook = json!({"url": "http://127.0.0.1:9/"});
    it.call("PUT", "/api/user/webhook", Some(owner), Some(webhook)).await;
    let delivery = it.call("POST", "/api/user/webhook/test", Some(owner), None).await.body;
    let refund = a_refund(it, account).await;
    BTreeMap::from([
        ("/api/user/refunds/", refund),
        ("/api/user/webhook/deliveries/", text(&delivery["id"])),
        ("/api/user/sessions/", text(&sessions["items"][0]["id"])),
        ("/api/user/keys/", text(&key["id"])),
        ("/api/user/identities/", text(&identities["items"][0]["id"])),
        ("/api/user/passkeys/", text(&passkey["passkey"]["id"])),
        ("/api/user/topup/", text(&order.body["order"])),
        ("/api/user/usage/", request),
        ("/api/user/billing/", text(&lines["items"][0]["id"])),
    ])
}

/// A refund of an account, asked for.
async fn a_refund(it: &Gateway, account: AccountId) -> String {
    let (order, refund) = (OrderId::from_uuid(Uuid::new_v4()), RefundId::from_uuid(Uuid::new_v4()));
    let (channel, pay) =
        (|| "sandbox".parse().unwrap(), Money::parse("50.00", "CNY".parse().unwrap()).unwrap());
    let (credits, expires_at) = ("7".parse().unwrap(), crate::directory::now());
    it.decides(account, Command::InitiateTopUp { order, channel: channel(), pay, credits, expires_at }).await;
    let provider_txn = "txn".parse().unwrap();
    it.decides(account, Command::CompleteTopUp { order, channel: channel(), provider_txn, paid: pay }).await;
    let reason = "not wanted".parse().unwrap();
    let position = it.decides(account, Command::RequestRefund { refund, order, pay, reason }).await;
    assert!(it.projector.wait_for(position, std::time::Duration::from_secs(20)).await);
    refund.to_string()
}

/// A paid call of an account; answers its id once the tables hold it.
async fn a_call(it: &Gateway, account: AccountId) -> String {
    let mut node = Node::new();
    let first = LeaseId::from_uuid(Uuid::now_v7());
    let grant = Command::GrantCredit {
        grant: GrantId::from_uuid(Uuid::now_v7()),
        source: domain::account::event::GrantSource::Admin,
        credits: "10".parse().unwrap(),
        reason: None,
    };
    it.decides(account, grant).await;
    it.decides(account, lease(first, node.epoch, "5")).await;
    let record = record(account, first, 1, "1", "1");
    let request = record.usage.request.to_string();
    let position = node.reports(it, vec![record]).await;
    assert!(it.projector.wait_for(position, std::time::Duration::from_secs(20)).await);
    request
}

/// What a route wants to hear before it looks at whose thing it is.
fn body_of(name: &str) -> Option<Value> {
    match name {
        "change_key" | "rename_passkey" => Some(json!({"name": "stolen"})),
        _ => None,
    }
}

#[tokio::test]
async fn anothers_things_are_not_found_by_anybody() {
    let it = gateway().await;
    let document = it.call("GET", "/api/openapi.json", None, None).await.body;
    let owner = it.token("ann", Role::User).await;
    let things = things(&it, &owner).await;
    let mut tried = 0;
    let mut own = Vec::new();
    for Operation { method, path, name, permission } in operations(&document) {
        let Some((beginning, rest)) = path.strip_prefix("/api/user/").and(path.split_once('{')) else {
            continue;
        };
        // Without an owner: the doors of other sites.
        let Some(permission) = permission else { continue };
        let id = things
            .get(beginning)
            .unwrap_or_else(|| panic!("{path}: this test has no such thing of a person"));
        let rest = rest.split_once('}').unwrap().1;
        let (label, path) = (format!("{method} {path}"), format!("{beginning}{id}{rest}"));
        for role in Role::ALL {
            let other = it.token(&format!("o{tried}"), role).await;
            tried += 1;
            let answer = it.call(&method, &path, Some(&other), body_of(&name)).await;
            let expected = if permission.is_held_by(role) { 404 } else { 403 };
            assert_eq!(answer.status.as_u16(), expected, "{label} as {role}: {}", answer.body);
        }
        own.push((method, path, name));
    }
    assert!(tried >= 6 * 7, "{tried}");
    // And the owner finds them: the 404s were about whose they are. What takes a thing away comes last.
    own.sort_by_key(|(method, ..)| method == "DELETE");
    for (method, path, name) in own {
        let answer = it.call(&method, &path, Some(&owner), body_of(&name)).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.body);
    }
}

#[tokio::test]
async fn the_committed_table_of_permissions_is_current() {
    let it = gateway().await;
    let text = written(&it.call("GET", "/api/openapi.json", None, None).await.body);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/permissions.md");
    if std::env::var_os("NEXUSROUTE_GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/permissions.md is not what the routes say; `make golden` writes it anew"
    );
}
