//! Second factors and confirmations over HTTP, on a real log and a real database.

use crate::directory::{now, second_factor::totp, user::Role};
use crate::http::tests::{Answer, Gateway, gateway, gateway_with};
use domain::Moment;
use serde_json::{Value, json};

/// A code that was not used yet: of the present step, or of the next one, which is taken as well.
fn code(secret: &str, steps: i64) -> String {
    totp::shown(secret, now().micros() / 1_000_000 + 30 * steps)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or("-"))
}

impl Gateway {
    /// Sets an app up; answers its secret and the recovery codes.
    pub(crate) async fn sets_app_up(&self, token: &str) -> (String, Vec<String>) {
        let begun = self.call("POST", "/api/user/totp", Some(token), None).await;
        assert_eq!(begun.status, 201, "{}", begun.body);
        let secret = text(&begun.body["secret"]);
        let confirm = json!({"code": code(&secret, 0)});
        let done = self.call("POST", "/api/user/totp/confirm", Some(token), Some(confirm)).await;
        assert_eq!(done.status, 200, "{}", done.body);
        (secret, done.body["recovery_codes"].as_array().unwrap().iter().map(text).collect())
    }

    async fn comes_with_password(&self, login: &str) -> Answer {
        let body = json!({"login": login, "password": "correct horse"});
        self.call("POST", "/api/user/login", None, Some(body)).await
    }

    async fn answers_with(&self, challenge: &Value, code: &str) -> Answer {
        let body = json!({"challenge": challenge, "code": code});
        self.call("POST", "/api/user/login/second-factor", None, Some(body)).await
    }

    async fn confirms_with(&self, token: &str, proof: Value) -> Answer {
        self.call("POST", "/api/user/confirm", Some(token), Some(proof)).await
    }

    /// Lets everybody's last proof have been so long ago.
    pub(crate) async fn proofs_age(&self, minutes: i64) {
        let at: Moment = now().plus_ms(-minutes * 60_000);
        self.app.db.execute("UPDATE sessions SET confirmed_at = ?", &[at.into()]).await.unwrap();
    }
}

#[tokio::test]
async fn a_login_with_an_app_asks_for_a_code_and_takes_each_once() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    assert_eq!(it.comes_with_password("ann").await.status, 200);
    let (secret, recovery) = it.sets_app_up(&token).await;
    let mine = it.call("GET", "/api/user/second-factor", Some(&token), None).await.body;
    assert_eq!((&mine["enabled"], &mine["recovery_codes"]), (&json!(true), &json!(10)), "{mine}");

    let asked = it.comes_with_password("ann").await;
    assert_eq!(asked.status, 202);
    assert_eq!(asked.body["methods"], json!(["totp", "recovery_code"]));
    assert!(asked.headers.get("set-cookie").is_none() && asked.body.get("access_token").is_none());
    let challenge = &asked.body["challenge"];
    // A challenge is no session.
    let as_token = it.call("GET", "/api/user/self", Some(&text(challenge)), None).await;
    assert_eq!(as_token.status, 401);
    assert_eq!(told(&it.answers_with(challenge, "000000").await), (401, "wrong_code"));
    let this = code(&secret, 1);
    let session = it.answers_with(challenge, &this).await;
    assert_eq!(session.status, 200, "{}", session.body);
    assert!(session.headers["set-cookie"].to_str().unwrap().contains("HttpOnly"));
    let token = text(&session.body["access_token"]);
    assert_eq!(it.call("GET", "/api/user/self", Some(&token), None).await.body["username"], "ann");

    assert_eq!(told(&it.answers_with(challenge, &recovery[5]).await), (401, "challenge_over"));
    let again = it.comes_with_password("ann").await;
    assert_eq!(
        told(&it.answers_with(&again.body["challenge"], &this).await),
        (401, "wrong_code"),
        "used before"
    );
    assert_eq!(it.answers_with(&again.body["challenge"], &recovery[0].to_uppercase()).await.status, 200);
    let again = it.comes_with_password("ann").await;
    assert_eq!(told(&it.answers_with(&again.body["challenge"], &recovery[0]).await), (401, "wrong_code"));

    assert_eq!(it.call("DELETE", "/api/user/totp", Some(&token), None).await.status, 204);
    assert_eq!(it.comes_with_password("ann").await.status, 200);
}

#[tokio::test]
async fn guessing_codes_ends_soon() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let (secret, _) = it.sets_app_up(&token).await;
    let asked = it.comes_with_password("ann").await;
    for _ in 0..5 {
        assert_eq!(told(&it.answers_with(&asked.body["challenge"], "no code").await), (401, "wrong_code"));
    }
    // The challenge is over, even for the right code.
    let late = it.answers_with(&asked.body["challenge"], &code(&secret, 1)).await;
    assert_eq!(told(&late), (401, "challenge_over"));
    // Other challenges, and the confirmation of a session, count for the same account.
    for _ in 0..5 {
        assert_eq!(told(&it.confirms_with(&token, json!({"code": "no code"})).await), (403, "wrong_code"));
    }
    let asked = it.comes_with_password("ann").await;
    let refused = it.answers_with(&asked.body["challenge"], &code(&secret, 1)).await;
    assert_eq!(told(&refused), (429, "too_many_requests"));
    assert!(refused.headers.contains_key("retry-after"));
    // Another account's tries are its own.
    let other = it.token("bob", Role::User).await;
    let (secret, _) = it.sets_app_up(&other).await;
    let asked = it.comes_with_password("bob").await;
    assert_eq!(it.answers_with(&asked.body["challenge"], &code(&secret, 1)).await.status, 200);
}

#[tokio::test]
async fn who_is_switched_off_between_the_factors_stays_out() {
    let it = gateway().await;
    let token = it.token("ann", Role::User).await;
    let (secret, _) = it.sets_app_up(&token).await;
    let id = it.account_of(&token).await;
    let asked = it.comes_with_password("ann").await;
    let boss = it.token("boss", Role::Owner).await;
    let off = Some(json!({"status": "disabled"}));
    assert_eq!(it.call("PATCH", &format!("/api/admin/users/{id}"), Some(&boss), off).await.status, 200);
    let refused = it.answers_with(&asked.body["challenge"], &code(&secret, 1)).await;
    assert_eq!(told(&refused), (403, "account_disabled"));
}

#[tokio::test]
async fn secrets_and_money_ask_for_a_fresh_proof() {
    let it = gateway().await;
    let boss = it.token("boss", Role::Owner).await;
    let account = it.account_of(&it.token("ann", Role::User).await).await;
    let adjust = async |token: &str| {
        let body = json!({"credits": "1", "reason": "test"});
        it.call("POST", &format!("/api/admin/users/{account}/adjustments"), Some(token), Some(body)).await
    };
    assert!(adjust(&boss).await.status.is_success(), "a login is a proof");
    it.proofs_age(9).await;
    assert!(adjust(&boss).await.status.is_success());
    it.proofs_age(10).await;
    let refused = adjust(&boss).await;
    assert_eq!(told(&refused), (403, "confirmation_required"));
    assert!(refused.body["detail"].as_str().unwrap().contains("/api/user/confirm"), "{}", refused.body);
    // Reading, and what is neither money nor a secret, goes on.
    assert_eq!(it.call("GET", "/api/admin/users", Some(&boss), None).await.status, 200);
    let key = it.call("POST", "/api/user/keys", Some(&boss), Some(json!({"name": "k"}))).await;
    assert_eq!(key.status, 201);

    assert_eq!(
        told(&it.confirms_with(&boss, json!({"password": "wrong horse"})).await),
        (403, "wrong_password")
    );
    assert_eq!(told(&it.confirms_with(&boss, json!({"code": "000000"})).await), (403, "wrong_code"));
    for odd in [json!({}), json!({"password": "correct horse", "code": "000000"})] {
        assert_eq!(told(&it.confirms_with(&boss, odd).await), (422, "invalid_value"));
    }
    assert_eq!(told(&adjust(&boss).await), (403, "confirmation_required"));
    assert_eq!(it.confirms_with(&boss, json!({"password": "correct horse"})).await.status, 200);
    assert!(adjust(&boss).await.status.is_success());

    // With a second factor, that is the proof, and the password alone is none.
    let (secret, recovery) = it.sets_app_up(&boss).await;
    it.proofs_age(60).await;
    let refused = it.confirms_with(&boss, json!({"password": "correct horse"})).await;
    assert_eq!(told(&refused), (403, "second_factor_needed"));
    assert_eq!(told(&adjust(&boss).await), (403, "confirmation_required"));
    assert_eq!(it.confirms_with(&boss, json!({"code": code(&secret, 1)})).await.status, 200);
    assert!(adjust(&boss).await.status.is_success());
    it.proofs_age(60).await;
    assert_eq!(it.confirms_with(&boss, json!({"code": recovery[9]})).await.status, 200);
    assert!(adjust(&boss).await.status.is_success());
}

#[tokio::test]
async fn a_confirmation_is_one_sessions() {
    let it = gateway().await;
    let first = it.token("boss", Role::Owner).await;
    let second = text(&it.comes_with_password("boss").await.body["access_token"]);
    it.proofs_age(60).await;
    assert_eq!(it.confirms_with(&first, json!({"password": "correct horse"})).await.status, 200);
    assert_eq!(it.call("POST", "/api/user/totp", Some(&first), None).await.status, 201);
    let other = it.call("POST", "/api/user/totp", Some(&second), None).await;
    assert_eq!(told(&other), (403, "confirmation_required"));
}

#[tokio::test]
async fn every_route_that_says_so_asks_for_a_fresh_proof_and_no_other_does() {
    let it = gateway().await;
    let document = it.call("GET", "/api/openapi.json", None, None).await.body;
    let boss = it.token("boss", Role::Owner).await;
    let (mut asking, mut others) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // Some of these routes end the session.
            let token = match operation["x-permission"] == "self:login" {
                true => it.token(&format!("p{}", asking + others), Role::Owner).await,
                false => boss.clone(),
            };
            it.proofs_age(60).await;
            let parts = path.split('/').map(|part| match part.starts_with('{') {
                true => "00000000-0000-0000-0000-000000000000",
                false => part,
            });
            let concrete: Vec<&str> = parts.collect();
            let answer = it.call(&method.to_uppercase(), &concrete.join("/"), Some(&token), None).await;
            let asks = operation["x-confirmation"] == true;
            let refused = told(&answer) == (403, "confirmation_required");
            assert_eq!(refused, asks, "{method} {path}: {}", answer.body);
            if asks { asking += 1 } else { others += 1 }
        }
    }
    assert!(asking >= 15 && others > 50, "{asking} {others}");
}

#[tokio::test]
async fn an_operator_without_the_factor_that_the_role_needs_gets_at_nothing_but_setting_it_up() {
    let it = gateway_with(|config| config.security.require_second_factor_for = vec![Role::Owner]).await;
    let boss = it.token("boss", Role::Owner).await;
    let refused = it.call("GET", "/api/admin/users", Some(&boss), None).await;
    assert_eq!(told(&refused), (403, "second_factor_required"));
    let mine = it.call("GET", "/api/user/second-factor", Some(&boss), None).await.body;
    assert_eq!((&mine["required"], &mine["enabled"]), (&json!(true), &json!(false)));
    let support = it.token("help", Role::Support).await;
    assert_eq!(it.call("GET", "/api/admin/users", Some(&support), None).await.status, 200);
    it.sets_app_up(&boss).await;
    assert_eq!(it.call("GET", "/api/admin/users", Some(&boss), None).await.status, 200);
}

#[tokio::test]
async fn an_operator_takes_anothers_second_factors_away_with_a_reason() {
    let it = gateway().await;
    let ann = it.token("ann", Role::User).await;
    let (boss, admin) = (it.token("boss", Role::Owner).await, it.token("adm", Role::Admin).await);
    for token in [&ann, &boss] {
        it.sets_app_up(token).await;
    }
    let path =
        async |token: &str| format!("/api/admin/users/{}/remove-second-factors", it.account_of(token).await);
    let reason = Some(json!({"reason": "showed a passport at the desk"}));
    let without = it.call("POST", &path(&ann).await, Some(&boss), Some(json!({"reason": ""}))).await;
    assert_eq!(without.status, 422);
    let above = it.call("POST", &path(&boss).await, Some(&admin), reason.clone()).await;
    assert_eq!(told(&above), (403, "forbidden"), "an admin's role does not govern an owner");
    assert_eq!(it.call("POST", &path(&ann).await, Some(&admin), reason.clone()).await.status, 204);
    assert_eq!(it.comes_with_password("ann").await.status, 200);
    assert_eq!(it.comes_with_password("boss").await.status, 202);
    let none = it.call("POST", &path(&ann).await, Some(&admin), reason).await;
    assert_eq!(told(&none), (409, "no_second_factor"));
    let rows = it.app.db.fetch_all("SELECT act FROM audit_outbox", &[]).await.unwrap();
    let acts: Vec<ledger::Act> = rows.iter().map(|row| row.json("act").unwrap()).collect();
    let act = acts.iter().find(|act| act.act == "user.remove_second_factors").unwrap();
    assert_eq!(act.after, Some(json!({"reason": "showed a passport at the desk"})));
    assert_eq!(act.before, Some(json!({"totp": true, "passkeys": 0})));
}
