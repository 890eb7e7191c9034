//! Joining, proving, forgetting: over HTTP, with the development mailbox as the mail that arrives.

use crate::config::{Config, PasswordConfig, RegistrationMode};
use crate::directory::{password::Passwords, user::Role};
use crate::http::limit::{Limits, MAIL_TO, REGISTER};
use crate::http::tests::{Answer, Gateway, gateway, gateway_with};
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// An address must be proven.
fn required(config: &mut Config) {
    config.registration.mode = RegistrationMode::Required;
    config.registration.needs_proof = true;
}

/// A deployment without a mail server.
fn in_production(config: &mut Config) {
    config.production = true;
    config.sandbox_enabled = false;
}

impl Gateway {
    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, None, Some(body)).await
    }

    async fn registers(&self, username: &str, email: &str) -> Answer {
        let body = json!({"username": username, "email": email, "password": "correct horse"});
        self.post("/api/user/register", body).await
    }

    async fn logs_in(&self, login: &str, password: &str) -> Answer {
        self.post("/api/user/login", json!({"login": login, "password": password})).await
    }

    /// Lets the post do what is due, and answers the mails to an address, newest first: subject and text.
    async fn mails_to(&self, to: &str) -> Vec<(String, String)> {
        let stop = CancellationToken::new();
        let post = tokio::spawn(self.app.post.clone().keep_delivering(stop.clone()));
        let due = "SELECT COUNT(*) AS n FROM mails WHERE state IN ('queued', 'sending')";
        while self.app.db.fetch_one(due, &[]).await.unwrap().int("n").unwrap() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        stop.cancel();
        post.await.unwrap();
        let mails = self.app.directory.mailbox(1000).await.unwrap();
        mails.into_iter().filter(|it| it.to == to).map(|it| (it.subject, it.text)).collect()
    }

    /// The token in the newest mail to an address.
    async fn token_to(&self, to: &str) -> String {
        let (_, text) =
            self.mails_to(to).await.into_iter().next().unwrap_or_else(|| panic!("no mail to {to}"));
        text.split("token=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }

    async fn follows(&self, token: &str) -> Answer {
        self.call("GET", &format!("/api/user/verify-email?token={token}"), None, None).await
    }

    async fn resets(&self, token: &str, password: &str) -> Answer {
        self.post("/api/user/password/reset", json!({"token": token, "password": password})).await
    }
}

/// Status, body without the request's id, and the headers that could differ.
fn told(mut answer: Answer) -> (StatusCode, Value, Vec<String>) {
    if let Some(body) = answer.body.as_object_mut() {
        body.remove("request_id");
    }
    let names = answer.headers.keys().map(ToString::to_string).collect();
    (answer.status, answer.body, names)
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
async fn where_addresses_must_be_proven_a_link_makes_the_user() {
    let it = gateway_with(required).await;
    let asked = it.registers("Ann", "ann@example.org").await;
    assert_eq!(asked.status, 202, "{}", asked.body);
    for login in ["ann", "ANN@example.org"] {
        is(&it.logs_in(login, "correct horse").await, 403, "email_not_verified");
        is(&it.logs_in(login, "wrong horse").await, 401, "wrong_credentials");
    }
    let token = it.token_to("ann@example.org").await;
    let proven = it.follows(&token).await;
    assert_eq!((proven.status.as_u16(), &proven.body["email_verified"]), (200, &json!(true)));
    is(&it.follows(&token).await, 400, "invalid_token");
    for login in ["ann", "ANN@example.org"] {
        assert_eq!(it.logs_in(login, "correct horse").await.status, 200, "{login}");
    }
}

#[tokio::test]
async fn a_browser_that_follows_a_link_sees_a_page() {
    let it = gateway_with(required).await;
    it.registers("ann", "ann@example.org").await;
    let token = it.token_to("ann@example.org").await;
    let follow = async |language: &str| {
        let request = Request::get(format!("/api/user/verify-email?token={token}"))
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("accept-language", language);
        it.send(request.body(Body::empty()).unwrap()).await
    };
    for (language, status) in [("zh-CN,zh;q=0.9", 200), ("en", 400), ("zh", 400)] {
        let page = follow(language).await;
        assert_eq!(page.status, status);
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert!(page.headers["content-security-policy"].to_str().unwrap().contains("script-src 'none'"));
    }
    let page = it.call("GET", "/api/user/password/reset", None, None).await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("script-src 'sha256-"));
}

#[tokio::test]
async fn nobody_learns_which_addresses_are_known() {
    let it = gateway_with(required).await;
    it.token("ann", Role::User).await;
    let (known, unknown) = ("ann@example.org", "nobody@example.org");
    // Not with the password that Ann has.
    let register = async |username: &str, email: &str| {
        let body = json!({"username": username, "email": email, "password": "battery staple"});
        it.post("/api/user/register", body).await
    };
    let (one, other) = (register("new1", known).await, register("new2", unknown).await);
    assert_eq!(one.status, 202);
    assert_eq!(told(one), told(other));
    for path in ["/api/user/password/forgot", "/api/user/resend-verification"] {
        let (one, other) =
            (it.post(path, json!({"email": known})).await, it.post(path, json!({"email": unknown})).await);
        assert_eq!(one.status, 202, "{path}: {}", one.body);
        assert_eq!(told(one), told(other), "{path}");
    }
    for password in ["wrong horse", ""] {
        let (one, other) =
            (it.logs_in(known, password).await, it.logs_in("else@example.org", password).await);
        is(&one, 401, "wrong_credentials");
        assert_eq!(told(one), told(other));
    }
    // Whoever tried to register with another's address sees what they would with an unknown one, also afterwards.
    for (name, email) in [("new1", known), ("new2", unknown)] {
        is(&it.logs_in(name, "battery staple").await, 403, "email_not_verified");
        is(&it.logs_in(email, "battery staple").await, 403, "email_not_verified");
        is(&it.registers(name, "third@example.org").await, 409, "taken");
    }
    let subjects =
        |mails: Vec<(String, String)>| mails.into_iter().map(|(subject, _)| subject).collect::<Vec<_>>();
    let to_known = subjects(it.mails_to(known).await);
    assert!(to_known.contains(&"You already have an account".to_owned()), "{to_known:?}");
    let to_unknown = subjects(it.mails_to(unknown).await);
    assert!(!to_unknown.contains(&"Set a new password".to_owned()), "{to_unknown:?}");
    assert!(it.mails_to("else@example.org").await.is_empty());
}

#[tokio::test]
async fn a_registration_with_anothers_address_is_no_way_around_the_limit_on_guessing() {
    let it = gateway_with(required).await;
    it.token("ann", Role::User).await;
    let body = json!({"username": "eve", "email": "ann@example.org", "password": "battery staple"});
    assert_eq!(it.post("/api/user/register", body).await.status, 202);
    for _ in 0..10 {
        is(&it.logs_in("ann@example.org", "battery staple").await, 403, "email_not_verified");
        is(&it.logs_in("ann@example.org", "a guess").await, 401, "wrong_credentials");
    }
    is(&it.logs_in("ann@example.org", "correct horse").await, 429, "too_many_requests");
}

#[tokio::test]
async fn mails_to_one_address_are_limited_whether_it_is_known_or_not() {
    let it = gateway().await;
    it.token("ann", Role::User).await;
    for email in ["ann@example.org", "nobody@example.org"] {
        for _ in 0..MAIL_TO.max {
            assert_eq!(it.post("/api/user/password/forgot", json!({"email": email})).await.status, 202);
        }
        let stopped = it.post("/api/user/password/forgot", json!({"email": email.to_uppercase()})).await;
        is(&stopped, 429, "too_many_requests");
    }
    assert_eq!(it.mails_to("ann@example.org").await.len(), MAIL_TO.max as usize);
}

#[tokio::test]
async fn a_forgotten_password_is_set_by_mail_and_ends_sessions() {
    let it = gateway().await;
    let here = it.token("ann", Role::User).await;
    it.post("/api/user/password/forgot", json!({"email": "Ann@example.org"})).await;
    let (_, text) = it.mails_to("Ann@example.org").await.remove(0);
    assert!(text.contains("/reset#token="), "{text}");
    let token = it.token_to("Ann@example.org").await;
    assert_eq!(it.resets(&token, "short").await.status, 422);
    for forged in ["", "x", &token[1..]] {
        is(&it.resets(forged, "battery staple").await, 400, "invalid_token");
    }
    is(&it.follows(&token).await, 400, "invalid_token");
    assert_eq!(it.resets(&token, "battery staple").await.status, 204);
    is(&it.resets(&token, "another staple").await, 400, "invalid_token");
    assert_eq!(it.call("GET", "/api/user/self", Some(&here), None).await.status, 401);
    is(&it.logs_in("ann", "correct horse").await, 401, "wrong_credentials");
    let session = it.logs_in("ann", "battery staple").await;
    assert_eq!(session.body["user"]["email_verified"], true, "mail to it has arrived");
}

#[tokio::test]
async fn who_may_register_is_the_operators_choice() {
    let closed = gateway_with(|config| config.registration.mode = RegistrationMode::Closed).await;
    is(&closed.registers("ann", "ann@example.org").await, 403, "registration_closed");

    let it = gateway_with(|config| {
        config.registration.mode = RegistrationMode::Invite;
        config.registration.email_domains = vec!["example.org".into()];
        config.registration.fold_aliases = true;
    })
    .await;
    let admin = it.token("root", Role::Admin).await;
    let body = json!({"note": "the team", "max_uses": 2});
    let made = it.call("POST", "/api/admin/invitations", Some(&admin), Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let code = made.body["code"].as_str().unwrap().to_owned();
    let register = async |username: &str, email: &str, invite: Option<&str>| {
        let body =
            json!({"username": username, "email": email, "password": "correct horse", "invite": invite});
        it.post("/api/user/register", body).await
    };
    is(&register("ann", "ann@example.org", None).await, 422, "invalid_value");
    is(&register("ann", "ann@example.org", Some("forged")).await, 422, "invalid_invitation");
    let elsewhere = register("ann", "ann@sub.example.org", Some(&code)).await;
    assert!(elsewhere.body["detail"].as_str().unwrap().starts_with("email: addresses of this domain"));
    assert_eq!(register("ann", "ann@EXAMPLE.org", Some(&code)).await.status, 201);
    is(&register("ann2", "ann+2@example.org", Some(&code)).await, 409, "taken");
    assert_eq!(register("bob", "bob@example.org", Some(&code)).await.status, 201);
    is(&register("cat", "cat@example.org", Some(&code)).await, 422, "invalid_invitation");

    let list = it.call("GET", "/api/admin/invitations", Some(&admin), None).await;
    assert_eq!(
        (&list.body["items"][0]["uses"], &list.body["items"][0]["note"]),
        (&json!(2), &json!("the team"))
    );
    assert!(!list.body.to_string().contains(&code));
    let path = format!("/api/admin/invitations/{}", made.body["id"].as_str().unwrap());
    assert_eq!(it.call("DELETE", &path, Some(&admin), None).await.status, 204);
    assert_eq!(it.call("DELETE", &path, Some(&admin), None).await.status, 404);
    for bad in [
        json!({"max_uses": 0}),
        json!({"expires_at": "2020-01-01T00:00:00Z"}),
        json!({"note": "x".repeat(201)}),
    ] {
        assert_eq!(it.call("POST", "/api/admin/invitations", Some(&admin), Some(bad)).await.status, 422);
    }
}

#[tokio::test]
async fn who_need_not_prove_an_address_may_do_so_later_until_the_operator_asks_for_it() {
    let it = gateway().await;
    assert_eq!(it.registers("ann", "ann@example.org").await.status, 201);
    let token = it.logs_in("ann", "correct horse").await.body["access_token"].as_str().unwrap().to_owned();
    // She changes her address, and proves the new one; the mail to the old one is worth nothing.
    let old = it.token_to("ann@example.org").await;
    let body = json!({"email": "ann@example.com", "password": "correct horse"});
    let changed = it.call("PATCH", "/api/user/self", Some(&token), Some(body)).await;
    assert_eq!(changed.body["email"], "ann@example.com");
    is(&it.follows(&old).await, 400, "invalid_token");
    let new = it.token_to("ann@example.com").await;
    let looked_at = it.call("HEAD", &format!("/api/user/verify-email?token={new}"), None, None).await;
    assert_eq!(looked_at.status, 200, "and nothing is proven by it");
    assert_eq!(it.follows(&new).await.body["email_verified"], true);
    it.post("/api/user/resend-verification", json!({"email": "ann@example.com"})).await;
    assert_eq!(it.mails_to("ann@example.com").await.len(), 1, "there is nothing left to prove");
}

#[tokio::test]
async fn where_addresses_must_be_proven_a_new_one_counts_from_its_proof_on() {
    let it = gateway_with(required).await;
    it.registers("ann", "ann@example.org").await;
    it.follows(&it.token_to("ann@example.org").await).await;
    let token = it.logs_in("ann", "correct horse").await.body["access_token"].as_str().unwrap().to_owned();
    let body = json!({"email": "ann@example.com", "password": "correct horse"});
    let asked = it.call("PATCH", "/api/user/self", Some(&token), Some(body)).await;
    assert_eq!(
        (&asked.body["email"], &asked.body["email_verified"]),
        (&json!("ann@example.org"), &json!(true))
    );
    let proven = it.follows(&it.token_to("ann@example.com").await).await;
    assert_eq!(
        (&proven.body["email"], &proven.body["email_verified"]),
        (&json!("ann@example.com"), &json!(true))
    );
    is(&it.logs_in("ann@example.org", "correct horse").await, 401, "wrong_credentials");
    assert_eq!(it.logs_in("ann@example.com", "correct horse").await.status, 200);
    // An operator whose address is not proven is let in all the same.
    let root = it.token("root", Role::Admin).await;
    assert_eq!(it.logs_in("root", "correct horse").await.status, 200);
    assert_eq!(it.call("POST", "/api/user/keys", Some(&root), Some(json!({"name": "k"}))).await.status, 201);
    let bob = it.token("bob", Role::User).await;
    is(&it.logs_in("bob", "correct horse").await, 403, "email_not_verified");
    let key = it.call("POST", "/api/user/keys", Some(&bob), Some(json!({"name": "k"}))).await;
    is(&key, 403, "email_not_verified");
    assert_eq!(it.call("POST", "/api/user/keys", Some(&token), Some(json!({"name": "k"}))).await.status, 201);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_owner() {
    let it = gateway().await;
    let (here, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
    let there = it.logs_in("ann", "correct horse").await.body["access_token"].as_str().unwrap().to_owned();
    let list = it.call("GET", "/api/user/sessions", Some(&here), None).await.body;
    let items = list["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 2);
    assert!(!list.to_string().contains(&here) && !list.to_string().contains(&there));
    let mine = items.iter().find(|it| it["current"] == true).unwrap();
    let other = items.iter().find(|it| it["current"] == false).unwrap();
    assert_eq!(mine["user_agent"], "test");
    let path = format!("/api/user/sessions/{}", other["id"].as_str().unwrap());
    assert_eq!(it.call("DELETE", &path, Some(&bob), None).await.status, 404, "another's");
    assert_eq!(it.call("GET", "/api/user/self", Some(&there), None).await.status, 200);
    assert_eq!(it.call("DELETE", &path, Some(&here), None).await.status, 204);
    assert_eq!(it.call("GET", "/api/user/self", Some(&there), None).await.status, 401);
    let there = it.logs_in("ann", "correct horse").await.body["access_token"].as_str().unwrap().to_owned();
    let ended = it.call("POST", "/api/user/logout-everywhere", Some(&here), None).await;
    assert_eq!(ended.status, 204);
    assert!(ended.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    for token in [&here, &there] {
        assert_eq!(it.call("GET", "/api/user/self", Some(token), None).await.status, 401);
    }
    assert_eq!(it.call("GET", "/api/user/self", Some(&bob), None).await.status, 200);
}

#[tokio::test]
async fn settings_are_kept_and_the_language_of_mails_is_one_of_them() {
    let it = gateway().await;
    let ann = it.token("ann", Role::User).await;
    let path = "/api/user/settings";
    let [all, none] = [true, false].map(|it| json!({"mail": it, "webhook": it}));
    let told = json!({"balance": all, "security": all, "announcements": none, "statements": none});
    let usual = json!({"language": "en", "time_zone": "+00:00", "display_currency": null, "low_balance_alert": null,
                       "notifications": told});
    assert_eq!(it.call("GET", path, Some(&ann), None).await.body, usual);
    let wanted = json!({"language": "zh-CN", "time_zone": "+08:00", "display_currency": "CNY", "low_balance_alert": "0.5",
                        "notifications": told});
    for _ in 0..2 {
        assert_eq!(it.call("PUT", path, Some(&ann), Some(wanted.clone())).await.body, wanted);
    }
    assert_eq!(it.call("GET", path, Some(&ann), None).await.body, wanted);
    for (field, value) in [
        ("language", json!("fr")),
        ("time_zone", json!("Mars")),
        ("time_zone", json!("+15:00")),
        ("display_currency", json!("XXX")),
        ("low_balance_alert", json!("-1")),
        ("low_balance_alert", json!(0.5)),
    ] {
        let mut body = wanted.clone();
        body[field] = value;
        let refused = it.call("PUT", path, Some(&ann), Some(body)).await;
        assert_eq!(refused.status, 422);
        assert!(refused.body["detail"].as_str().unwrap().contains(field), "{}", refused.body);
    }
    it.post("/api/user/password/forgot", json!({"email": "ann@example.org"})).await;
    assert_eq!(it.mails_to("ann@example.org").await[0].0, "设置新密码");
}

#[tokio::test]
async fn operators_see_mails_without_their_words_and_try_them_again() {
    let it = gateway_with(in_production).await;
    let admin = it.token("root", Role::Admin).await;
    it.token("ann", Role::User).await;
    it.post("/api/user/password/forgot", json!({"email": "ann@example.org"})).await;
    it.post("/api/user/password/forgot", json!({"email": "nobody@example.org"})).await;
    assert!(it.mails_to("ann@example.org").await.is_empty(), "in production nothing is kept");
    let list = it.call("GET", "/api/admin/mails?state=failed", Some(&admin), None).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1, "{}", list.body);
    let mail = &list.body["items"][0];
    assert_eq!(
        (&mail["to"], &mail["kind"], &mail["attempts"]),
        (&json!("ann@example.org"), &json!("reset"), &json!(1))
    );
    assert!(mail["last_error"].as_str().unwrap().contains("smtp.host"), "{mail}");
    assert!(!list.body.to_string().contains("token"), "{}", list.body);
    let path = format!("/api/admin/mails/{}/retry", mail["id"].as_str().unwrap());
    assert_eq!(it.call("POST", &path, Some(&admin), None).await.body["state"], "queued");
    it.mails_to("ann@example.org").await;
    let again = it.call("GET", "/api/admin/mails", Some(&admin), None).await;
    assert_eq!(again.body["items"][0]["attempts"], 2);
    let nothing = "/api/admin/mails/0197a000-0000-7000-8000-00000000ad31/retry";
    assert_eq!(it.call("POST", nothing, Some(&admin), None).await.status, 404);
}

#[tokio::test]
async fn the_mailbox_is_for_who_sits_at_the_machine() {
    let read = async |it: &Gateway, from: &str, header: Option<&str>| {
        let mut request = Request::get("/api/dev/mailbox");
        if let Some(name) = header {
            request = request.header(name, "127.0.0.1");
        }
        let mut request = request.body(Body::empty()).unwrap();
        let address: SocketAddr = from.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(address));
        it.send(request).await
    };
    let it = gateway().await;
    it.registers("ann", "ann@example.org").await;
    it.mails_to("ann@example.org").await;
    let near = read(&it, "127.0.0.1:5000", None).await;
    assert_eq!((near.status.as_u16(), &near.body["items"][0]["to"]), (200, &json!("ann@example.org")));
    assert_eq!(read(&it, "192.0.2.1:5000", None).await.status, 404);
    assert_eq!(read(&it, "127.0.0.1:5000", Some("x-forwarded-for")).await.status, 404);
    let production = gateway_with(in_production).await;
    assert_eq!(read(&production, "127.0.0.1:5000", None).await.status, 404);
}

#[tokio::test]
async fn a_login_makes_a_weak_hash_anew() {
    let it = gateway().await;
    it.token("ann", Role::User).await;
    let weak = Passwords::new(PasswordConfig { memory_kib: 8_192, passes: 1 });
    let (ann, _) = it.app.directory.credentials("ann").await.unwrap().unwrap();
    let old = weak.hash("correct horse".into()).await.unwrap();
    it.app.directory.upgrade_password(ann.id, "another", &old).await.unwrap();
    assert_ne!(
        it.app.directory.password_hash(ann.id).await.unwrap().as_ref(),
        Some(&old),
        "not the one it knew"
    );
    let actor = crate::session::actor(domain::ActorKind::User, ann.id);
    it.app.directory.set_password(ann.id, old.clone(), None, actor).await.unwrap();
    is(&it.logs_in("ann", "wrong horse").await, 401, "wrong_credentials");
    assert_eq!(it.app.directory.password_hash(ann.id).await.unwrap(), Some(old));
    for _ in 0..2 {
        assert_eq!(it.logs_in("ann", "correct horse").await.status, 200);
        let new = it.app.directory.password_hash(ann.id).await.unwrap().unwrap();
        assert!(new.contains("m=19456,t=2"), "{new}");
    }
}

#[tokio::test]
async fn processes_on_one_database_count_tries_together() {
    let it = gateway().await;
    let (here, there) = (Limits::shared(it.app.directory.clone()), Limits::shared(it.app.directory.clone()));
    for n in 0..REGISTER.max {
        let limits = if n % 2 == 0 { &here } else { &there };
        limits.admit(REGISTER, "192.0.2.1").await.unwrap();
    }
    for limits in [&here, &there] {
        let refused = limits.admit(REGISTER, "192.0.2.1").await.unwrap_err();
        assert!(refused.retry_after_s.is_some_and(|wait| wait > 3000 && wait <= 3601), "{refused:?}");
        limits.admit(REGISTER, "192.0.2.2").await.unwrap();
    }
    there.clear(REGISTER, "192.0.2.1").await;
    Limits::shared(it.app.directory.clone()).admit(REGISTER, "192.0.2.1").await.unwrap();
    let stored = it.app.db.fetch_all("SELECT id FROM tries", &[]).await.unwrap();
    assert!(stored.iter().all(|row| !row.text("id").unwrap().contains("192")));
}

/// How long answers take for known and for unknown addresses: medians of TRIES each, one after the other, so that whatever else
/// the machine does falls on both. Run it on a quiet machine: `--ignored nobody_learns_it_from_the_clock`.
#[tokio::test]
#[ignore = "a measurement of some minutes: it needs a quiet machine"]
async fn nobody_learns_it_from_the_clock() {
    let tries: usize = std::env::var("TRIES").ok().and_then(|it| it.parse().ok()).unwrap_or(500);
    let it = gateway_with(|config| {
        required(config);
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let stop = CancellationToken::new();
    tokio::spawn(it.app.post.clone().keep_delivering(stop.clone()));
    for n in 0..tries {
        let new = crate::directory::user::NewUser {
            username: format!("known{n}"),
            email: format!("known{n}@example.org"),
            password_hash: it.app.passwords.hash("correct horse".into()).await.unwrap(),
            role: Role::User,
            email_verified: true,
        };
        it.app.directory.create_user(new, None).await.unwrap();
    }
    let ask = async |path: &str, body: Value, n: usize| {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("x-forwarded-for", format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255))
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))))
            .body(Body::from(body.to_string()))
            .unwrap();
        let started = std::time::Instant::now();
        let status = it.send(request).await.status.as_u16();
        (started.elapsed(), status)
    };
    let mut apart = Vec::new();
    for (what, path, status) in [
        ("login", "/api/user/login", 401),
        ("register", "/api/user/register", 202),
        ("forgot", "/api/user/password/forgot", 202),
        ("resend", "/api/user/resend-verification", 202),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for n in 0..tries {
            // Which is first is left to chance: the post still works on what came before, which must fall on both alike.
            let first = usize::from(rand::random::<bool>());
            for side in [first, 1 - first] {
                let email = format!("{}{n}@example.org", ["known", "stranger"][side]);
                let body = match what {
                    "login" => json!({"login": email, "password": "wrong horse"}),
                    "register" => {
                        json!({"username": format!("{what}{side}-{n}"), "email": email, "password": "correct horse"})
                    }
                    _ => json!({"email": email}),
                };
                let (time, found) = ask(path, body, n * 2 + side).await;
                assert_eq!(found, status, "{what} {email}");
                times[side].push(time);
            }
        }
        let [known, unknown] = times.map(|mut times| {
            times.sort_unstable();
            (times[tries / 4], times[tries / 2], times[tries * 3 / 4])
        });
        println!("{what}: known {known:?}, unknown {unknown:?} (quartiles of {tries})");
        // Apart only if the medians differ by more than the middle half of the tries of one kind does, or a fiftieth.
        let spread = (known.2 - known.0).max(unknown.2 - unknown.0).max(known.1 / 50);
        if known.1.abs_diff(unknown.1) > spread {
            apart.push(what);
        }
    }
    stop.cancel();
    assert!(apart.is_empty(), "{apart:?}");
}
