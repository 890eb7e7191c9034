//! Every door is locked: each route of the API's own document is tried without credentials and with a user's.

use reqwest::Method;
use serde_json::{Value, json};
use system_tests::{
    Behaviour, FakeProvider, Gateway,
    people::{Caller, Operator, User, text},
};

/// Routes that are there for everybody. Payment gateways and payers come without a session: those routes check a signature
/// or an unguessable order number. The links of mails carry a token; the mailbox is there in development, for the same machine.
const OPEN: &[&str] = &[
    "GET /api/announcements",
    "GET /api/dev/mailbox",
    "GET /api/models",
    "GET /api/payments/sandbox/{order}",
    "GET /api/site",
    "GET /api/status",
    "POST /api/payments/sandbox/{order}/{button}",
    "GET /api/payments/{channel}/callback",
    "POST /api/keys/revoke-leaked",
    "POST /api/payments/{channel}/callback",
    "GET /api/user/login-methods",
    "GET /api/user/oidc/{issuer}/callback",
    "GET /api/user/oidc/{issuer}/start",
    "GET /api/user/password/reset",
    "GET /api/user/verify-email",
    "POST /api/user/login",
    "POST /api/user/login/passkey",
    "POST /api/user/login/passkey/options",
    "POST /api/user/login/second-factor",
    "POST /api/user/password/forgot",
    "POST /api/user/password/reset",
    "POST /api/user/register",
    "POST /api/user/resend-verification",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_route_is_open_by_accident() {
    let gateway = Gateway::start().await;
    let document = gateway.nobody().get("/api/openapi.json").await.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let user = User::new(&gateway).await;
    let mut open = Vec::new();
    for Route { path, method, documented_open } in routes(&document) {
        if documented_open {
            open.push(format!("{method} {path}"));
            continue;
        }
        let concrete = with_ids(&path);
        let body = (method != Method::GET).then(|| ("application/json", b"{}".to_vec()));
        for api in [gateway.nobody(), gateway.nobody().bearer("not-a-token")] {
            let answer = api.send(method.clone(), &concrete, body.clone()).await;
            assert_eq!(answer.problem(401), "unauthenticated", "{method} {path}");
        }
        if path.starts_with("/api/admin/") {
            let answer = user.api.send(method.clone(), &concrete, body).await;
            assert_eq!(answer.problem(403), "forbidden", "{method} {path} as a user");
        }
    }
    open.sort();
    let mut expected = OPEN.to_vec();
    expected.sort_unstable();
    assert_eq!(open, expected);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_what_is_anothers() {
    let (gateway, provider) = tokio::join!(Gateway::start(), FakeProvider::start(Behaviour::default()));
    let operator = Operator::of(&gateway).await;
    operator.offers("model", provider.url(), "0", "1000").await;
    let (owner, other) = (User::with_credits(&gateway, &operator, "1").await, User::new(&gateway).await);
    let order = text(&owner.tops_up("50.00", "pay").await["order"]);
    let key = owner.makes_key_with(json!({"name": "mine"})).await;
    let call = Caller::new(&gateway, &text(&key["secret"])).chat("model", 20).await;
    let request = call.header("x-request-id").unwrap().to_owned();
    owner.usage(&request).await;
    let line = text(&owner.every("/api/user/billing").await[0]["id"]);

    let paths = [
        format!("/api/user/topup/{order}"),
        format!("/api/user/keys/{}", text(&key["id"])),
        format!("/api/user/usage/{request}"),
        format!("/api/user/billing/{line}"),
    ];
    for path in &paths {
        owner.api.get(path).await.ok();
        assert_eq!(other.api.get(path).await.problem(404), "not_found", "{path}");
    }
    for method in [Method::DELETE, Method::PATCH] {
        let body = (method == Method::PATCH).then(|| ("application/json", br#"{"name":"stolen"}"#.to_vec()));
        assert_eq!(other.api.send(method, &paths[1], body).await.problem(404), "not_found");
    }
    for list in ["/api/user/topup", "/api/user/keys", "/api/user/usage", "/api/user/billing"] {
        assert!(!owner.every(list).await.is_empty(), "{list}");
        assert!(other.every(list).await.is_empty(), "{list}");
    }
    gateway.stop().await;
}

struct Route {
    path: String,
    method: Method,
    documented_open: bool,
}

fn routes(document: &Value) -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (name, operation) in operations.as_object().unwrap() {
            let method = name.to_uppercase().parse().unwrap();
            routes.push(Route {
                path: path.clone(),
                method,
                documented_open: operation["security"] == json!([{}]),
            });
        }
    }
    assert!(routes.len() > 20, "only {} routes are in the document", routes.len());
    routes
}

/// `{id}` and its like become an id that nobody has.
fn with_ids(path: &str) -> String {
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "01930000-0000-7000-8000-000000000000" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
