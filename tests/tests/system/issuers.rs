//! Logging in by another site, with an issuer that this project did not write, on every database.

use reqwest::Method;
use serde_json::json;
use system_tests::{
    Gateway, GatewayOptions, Nats, databases,
    issuer::{Browser, Issuer},
    people::{Operator, PASSWORD, User},
};

/// Where a login that failed lands.
fn landed(code: &str) -> String {
    format!("/login?error={code}&issuer=main")
}

#[tokio::test(flavor = "multi_thread")]
async fn people_join_log_in_and_link_by_another_site() {
    walks(GatewayOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_do_so_on_postgresql() {
    walks(GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &databases::postgres().await))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_do_so_on_mariadb() {
    walks(GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &databases::mariadb().await))
        .await;
}

async fn walks(options: GatewayOptions) {
    let mut issuer = Issuer::start(3600).await;
    let gateway = issuer.for_gateway(options).start().await;
    let ann = json!({"email": "ann@example.org", "email_verified": true, "preferred_username": "ann"});
    issuer.knows("ann-there", &ann).await;

    // Somebody new, and the same person again.
    let mut browser = Browser::new(&gateway);
    assert_eq!(browser.logs_in("ann-there", "?return=/keys").await, "/keys");
    let me = browser.me().await;
    assert_eq!((&me["username"], &me["email_verified"]), (&json!("ann"), &json!(true)), "{me}");
    let mut elsewhere = Browser::new(&gateway);
    assert_eq!(elsewhere.logs_in("ann-there", "").await, "/");
    assert_eq!(elsewhere.me().await["id"], me["id"]);

    // Somebody who has an account with a password links it, and logs in by it.
    let user = User::new(&gateway).await;
    let name = user.api.get("/api/user/self").await.ok()["username"].as_str().unwrap().to_owned();
    let known = json!({"email": format!("{name}@example.com"), "email_verified": true});
    issuer.knows("known-there", &known).await;
    let mut browser = Browser::new(&gateway);
    assert_eq!(browser.logs_in("known-there", "").await, landed("email_known"), "an address links nothing");
    browser.logs_in_with(&name, PASSWORD).await;
    let body = json!({"issuer": "main", "return": "/settings"});
    let (status, _, begun) = browser.send(Method::POST, "/api/user/identities", Some(&body)).await;
    assert_eq!(status, 200, "{begun}");
    let back = browser.agrees(begun["url"].as_str().unwrap(), "known-there").await;
    assert_eq!(browser.goes(&back).await, "/settings");
    let mut elsewhere = Browser::new(&gateway);
    assert_eq!(elsewhere.logs_in("known-there", "").await, "/");
    assert_eq!(elsewhere.me().await["id"], user.id);
    let (_, _, mine) = elsewhere.send(Method::GET, "/api/user/identities", None).await;
    assert_eq!(mine["items"].as_array().unwrap().len(), 1);
    let path = format!("/api/user/identities/{}", mine["items"][0]["id"].as_str().unwrap());
    assert_eq!(elsewhere.send(Method::DELETE, &path, None).await.0, 204);
    assert_eq!(Browser::new(&gateway).logs_in("known-there", "").await, landed("email_known"));

    attacks(&gateway).await;

    // The issuer has another key from now on.
    issuer.goes_away().await;
    assert_eq!(Browser::new(&gateway).starts("").await.split("state=").count(), 2, "what is known is kept");
    issuer.comes_back().await;
    issuer.knows("ann-there", &ann).await;
    let mut browser = Browser::new(&gateway);
    assert_eq!(browser.logs_in("ann-there", "").await, "/");
    assert_eq!(browser.me().await["id"], me["id"]);

    // Switched off.
    let operator = Operator::of(&gateway).await;
    let off = ("application/json", br#"{"status":"disabled"}"#.to_vec());
    let path = format!("/api/admin/users/{}", me["id"].as_str().unwrap());
    operator.api.send(Method::PATCH, &path, Some(off)).await.ok();
    assert!(browser.me().await.is_null());
    assert_eq!(browser.logs_in("ann-there", "").await, landed("account_disabled"));
    let output = gateway.output();
    assert!(
        !output.contains("a client secret") && !output.contains("code=") && !output.contains("eyJ"),
        "{output}"
    );
    gateway.stop().await;
}

/// What others try with a login that is under way.
async fn attacks(gateway: &Gateway) {
    let mut browser = Browser::new(gateway);
    // A token that answers another login: the nonce is another than the one that was sent out.
    let page = browser.starts("").await;
    let nonce = page.split("nonce=").nth(1).unwrap();
    let back = browser.agrees(&page.replace(nonce, "of-another-login"), "ann-there").await;
    assert_eq!(browser.goes(&back).await, landed("invalid_token"));
    // Another state, none, and another browser.
    let page = browser.starts("").await;
    let back = browser.agrees(&page, "ann-there").await;
    let (path, query) = back.split_once('?').unwrap();
    let code = query.split('&').find(|it| it.starts_with("code=")).unwrap();
    for query in [format!("{code}&state=another"), code.to_owned()] {
        assert_eq!(browser.goes(&format!("{path}?{query}")).await, landed("invalid_state"));
    }
    assert_eq!(Browser::new(gateway).goes(&back).await, landed("invalid_state"));
    assert_eq!(browser.goes(&back).await, "/");
    // The same answer again; and its code within another login.
    assert_eq!(browser.goes(&back).await, landed("invalid_state"));
    let other = browser.starts("").await;
    let state = other.split('&').find(|it| it.starts_with("state=")).unwrap();
    assert_eq!(browser.goes(&format!("{path}?{code}&{state}")).await, landed("issuer_refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_and_a_closed_door_let_nobody_in() {
    let (expired, mut issuer) = tokio::join!(Issuer::start(-3600), Issuer::start(3600));
    let gateway = expired.for_gateway(GatewayOptions::default()).start().await;
    let ann = json!({"email": "ann@example.org", "email_verified": true});
    expired.knows("ann", &ann).await;
    assert_eq!(Browser::new(&gateway).logs_in("ann", "").await, landed("invalid_token"));
    gateway.stop().await;

    let closed = GatewayOptions::default().environment("NEXUSROUTE_REGISTRATION_MODE", "closed");
    let gateway = issuer.for_gateway(closed).start().await;
    issuer.knows("ann", &ann).await;
    assert_eq!(Browser::new(&gateway).logs_in("ann", "").await, landed("registration_closed"));
    // Without the issuer's word for the address not even that is told.
    issuer.knows("bob", &json!({"email": "admin@localhost.localdomain"})).await;
    assert_eq!(Browser::new(&gateway).logs_in("bob", "").await, landed("no_verified_email"));
    // The issuer goes between the button and the way back.
    let mut browser = Browser::new(&gateway);
    let page = browser.starts("").await;
    let back = browser.agrees(&page, "ann").await;
    issuer.goes_away().await;
    assert_eq!(browser.goes(&back).await, landed("issuer_unavailable"));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_begins_at_one_process_ends_at_another() {
    let (nats, database, issuer) = tokio::join!(Nats::start(), databases::postgres(), Issuer::start(3600));
    let shared = || {
        issuer
            .for_gateway(GatewayOptions::default())
            .nats(&nats)
            .environment("NEXUSROUTE_DATABASE_URL", &database)
            .environment("NEXUSROUTE_MASTER_KEY", &"07".repeat(32))
            .environment("NEXUSROUTE_PUBLIC_URL", "http://gateway.example.org")
    };
    let (one, two) = (shared(), shared());
    let (one, two) = tokio::join!(one.start(), two.start());
    issuer.knows("ann", &json!({"email": "ann@example.org", "email_verified": true})).await;
    let mut browser = Browser::new(&one);
    let page = browser.starts("").await;
    let back = browser.agrees(&page, "ann").await;
    browser.moves_to(&two);
    assert_eq!(browser.goes(&back).await, "/");
    browser.moves_to(&one);
    assert_eq!(browser.me().await["username"], "ann");
    assert_eq!(browser.goes(&back).await, landed("invalid_state"), "used up everywhere");
    for gateway in [one, two] {
        gateway.stop().await;
    }
}
