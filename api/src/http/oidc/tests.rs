//! Logging in by other sites, over HTTP: with an issuer that can be made to lie, and GitHub's three addresses.
//! An issuer that others wrote is in the system tests.

use super::*;
use crate::config::{Config, IssuerConfig, IssuerKind};
use crate::directory::identity::IdentityName;
use crate::directory::user::Role;
use crate::http::tests::{Answer, Gateway, gateway, gateway_with};
use crate::issuers::token::{challenge, tests::Signer};
use axum::body::Body;
use axum::extract::Form;
use axum::http::Request;
use axum::routing::{get, post};
use axum::{Router, extract};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// An issuer under the test's control.
#[derive(Clone)]
struct Fake {
    url: String,
    script: Arc<Mutex<Script>>,
}

/// What it says next.
struct Script {
    signer: Signer,
    kid: &'static str,
    published: Vec<Value>,
    /// Laid over what a good ID token claims.
    claims: Value,
    /// Laid over the discovery document.
    document: Value,
    userinfo: Value,
    /// What the browser brought: the nonce and the challenge.
    nonce: String,
    challenge: String,
    /// The whole answer of the token endpoint, instead of a good one.
    answer: Option<(StatusCode, Value)>,
    /// Requests to the token endpoint and for the keys.
    exchanges: u32,
    key_requests: u32,
}

fn lay_over(value: &mut Value, changes: &Value) {
    for (name, change) in changes.as_object().into_iter().flatten() {
        value[name] = change.clone();
    }
}

impl Fake {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let signer = Signer::p256();
        let script = Script {
            published: vec![signer.public("k1")],
            signer,
            kid: "k1",
            claims: json!({}),
            document: json!({}),
            userinfo: json!({}),
            nonce: String::new(),
            challenge: String::new(),
            answer: None,
            exchanges: 0,
            key_requests: 0,
        };
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { url, script: Arc::new(Mutex::new(script)) };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route(
                "/userinfo",
                get(async |extract::State(it): extract::State<Fake>| axum::Json(it.now().userinfo.clone())),
            )
            .route("/login/oauth/access_token", post(github_token))
            .route("/api/v3/user", get(github_user))
            .route("/api/v3/user/emails", get(github_emails))
            .with_state(fake.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        fake
    }

    fn now(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn claims(&self, claims: Value) {
        self.now().claims = claims;
    }

    /// The next ID token is of somebody whom the issuer vouches for.
    fn is(&self, subject: &str, name: &str) {
        let email = format!("{}@example.org", name.to_lowercase());
        self.claims(
            json!({"sub": subject, "preferred_username": name, "email": email, "email_verified": true}),
        );
    }

    fn config(&self, id: &str) -> IssuerConfig {
        IssuerConfig {
            id: id.into(),
            kind: IssuerKind::Oidc,
            name: "The Issuer".into(),
            label: "Log in with The Issuer".into(),
            issuer: self.url.clone(),
            api_url: String::new(),
            client_id: "us & co".into(),
            client_secret: Some(Secret::new("a secret: 100%")),
            scopes: vec!["openid".into(), "email".into()],
            link_by_email: false,
            trust_email: false,
            allow_private: true,
        }
    }

    fn github(&self) -> IssuerConfig {
        let api_url = format!("{}/api/v3/", self.url);
        IssuerConfig {
            kind: IssuerKind::Github,
            api_url,
            scopes: vec!["read:user".into()],
            ..self.config("hub")
        }
    }
}

async fn document(extract::State(it): extract::State<Fake>) -> axum::Json<Value> {
    let at = |path: &str| format!("{}{path}", it.url);
    let mut document = json!({
        "issuer": it.url, "authorization_endpoint": at("/authorize?tenant=1"), "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"), "userinfo_endpoint": at("/userinfo"),
    });
    lay_over(&mut document, &it.now().document);
    axum::Json(document)
}

async fn keys(extract::State(it): extract::State<Fake>) -> axum::Json<Value> {
    let mut script = it.now();
    script.key_requests += 1;
    // With one of a kind that nobody knows.
    let mut keys = vec![json!({"kty": "XYZ", "kid": "k0"})];
    keys.extend(script.published.clone());
    axum::Json(json!({ "keys": keys }))
}

async fn token(
    extract::State(it): extract::State<Fake>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, axum::Json<Value>) {
    let mut script = it.now();
    script.exchanges += 1;
    // base64 of "us+%26+co:a+secret%3A+100%25", as RFC 6749 writes a login.
    assert_eq!(headers["authorization"], "Basic dXMrJTI2K2NvOmErc2VjcmV0JTNBKzEwMCUyNQ==");
    assert_eq!(form["grant_type"], "authorization_code");
    assert_eq!(form["redirect_uri"], "http://127.0.0.1:3000/api/user/oidc/main/callback");
    if let Some((status, body)) = &script.answer {
        return (*status, axum::Json(body.clone()));
    }
    if form["code"] != "good" || challenge(&form["code_verifier"]) != script.challenge {
        return (StatusCode::BAD_REQUEST, axum::Json(json!({"error": "invalid_grant"})));
    }
    let at_s = chrono::Utc::now().timestamp();
    let mut claims = json!({
        "iss": it.url, "aud": "us & co", "sub": "1", "iat": at_s, "exp": at_s + 300, "nonce": script.nonce,
    });
    lay_over(&mut claims, &script.claims);
    let header = json!({"alg": script.signer.algorithm(), "kid": script.kid});
    let id_token = script.signer.sign(&header, &claims);
    (StatusCode::OK, axum::Json(json!({"id_token": id_token, "access_token": "at", "token_type": "Bearer"})))
}

async fn github_token(
    extract::State(it): extract::State<Fake>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> axum::Json<Value> {
    assert_eq!(headers["accept"], "application/json");
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("us & co", "a secret: 100%"));
    let good = form["code"] == "good" && challenge(&form["code_verifier"]) == it.now().challenge;
    // It says so with the status of a success.
    axum::Json(match good {
        true => json!({"access_token": "gho_x", "token_type": "bearer", "scope": "read:user"}),
        false => {
            json!({"error": "bad_verification_code", "error_description": "The code is incorrect or expired."})
        }
    })
}

async fn github_user(extract::State(it): extract::State<Fake>, headers: HeaderMap) -> axum::Json<Value> {
    assert_eq!(headers["authorization"], "Bearer gho_x");
    assert!(
        headers["user-agent"].to_str().unwrap().starts_with("nexusroute/"),
        "GitHub answers nobody without"
    );
    axum::Json(it.now().userinfo["user"].clone())
}

async fn github_emails(extract::State(it): extract::State<Fake>) -> axum::Json<Value> {
    axum::Json(it.now().userinfo["emails"].clone())
}

/// A browser: it keeps cookies, and follows nothing by itself.
struct Browser<'a> {
    gateway: &'a Gateway,
    cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, cookies: BTreeMap::new() }
    }

    async fn send(&mut self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::builder().method(method).uri(path).header("cookie", cookies.join("; "));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
        let answer = self.gateway.send(request.body(body).unwrap()).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.contains("; Path=/; HttpOnly; SameSite=Lax; Max-Age="), "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Where a request sends the browser.
    async fn goes(&mut self, path: &str) -> String {
        let answer = self.send("GET", path, None).await;
        assert_eq!(answer.status, 303, "{path}: {}", answer.body);
        answer.headers["location"].to_str().unwrap().to_owned()
    }

    /// Clicks on the button; answers what the issuer's page is asked with.
    async fn starts(&mut self, issuer: &str, query: &str) -> HashMap<String, String> {
        let there = self.goes(&format!("/api/user/oidc/{issuer}/start{query}")).await;
        let url = Url::parse(&there).unwrap_or_else(|_| panic!("{there}"));
        url.query_pairs().into_owned().collect()
    }

    /// From the button to where the browser lands in the end.
    async fn logs_in(&mut self, fake: &Fake, query: &str) -> String {
        let asked = self.starts("main", query).await;
        self.comes_back(fake, &asked).await
    }

    /// The person says yes at the issuer, which sends the browser back.
    async fn comes_back(&mut self, fake: &Fake, asked: &HashMap<String, String>) -> String {
        let callback = self.agrees(fake, asked);
        self.goes(&callback).await
    }

    fn agrees(&self, fake: &Fake, asked: &HashMap<String, String>) -> String {
        let mut script = fake.now();
        script.nonce = asked.get("nonce").cloned().unwrap_or_default();
        script.challenge = asked["code_challenge"].clone();
        let back = Url::parse(&asked["redirect_uri"]).unwrap();
        format!("{}?code=good&state={}&scope=openid", back.path(), asked["state"])
    }

    async fn me(&mut self) -> Option<Value> {
        let answer = self.send("GET", "/api/user/self", None).await;
        (answer.status == 200).then_some(answer.body)
    }
}

async fn with(fake: &Fake, change: impl FnOnce(&mut Config)) -> Gateway {
    let issuer = fake.config("main");
    gateway_with(|config| {
        config.issuers = vec![issuer];
        change(config);
    })
    .await
}

async fn people(it: &Gateway) -> i64 {
    it.app.db.fetch_one("SELECT COUNT(*) AS n FROM users", &[]).await.unwrap().int("n").unwrap()
}

#[tokio::test]
async fn what_one_can_log_in_by_is_told_to_everybody() {
    let it = gateway().await;
    let answer = it.call("GET", "/api/user/login-methods", None, None).await;
    assert_eq!(answer.body, json!({"password": true, "registration": "optional", "issuers": []}));
    let fake = Fake::start().await;
    let it = with(&fake, |config| config.registration.mode = RegistrationMode::Closed).await;
    let answer = it.call("GET", "/api/user/login-methods", None, None).await;
    let issuer = json!({
        "id": "main", "name": "The Issuer", "label": "Log in with The Issuer", "start": "/api/user/oidc/main/start",
    });
    assert_eq!(answer.body, json!({"password": true, "registration": "closed", "issuers": [issuer]}));
    assert!(!answer.body.to_string().contains("secret") && fake.now().exchanges == 0);
}

#[tokio::test]
async fn somebody_new_joins_and_is_the_same_person_the_next_time() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    fake.is("7", "Ann");
    let mut browser = Browser::new(&it);
    let asked = browser.starts("main", "?return=/keys%3Fa=1%23new").await;
    assert_eq!(
        (asked["tenant"].as_str(), asked["response_type"].as_str(), asked["client_id"].as_str()),
        ("1", "code", "us & co")
    );
    assert_eq!((asked["scope"].as_str(), asked["code_challenge_method"].as_str()), ("openid email", "S256"));
    assert_eq!(browser.comes_back(&fake, &asked).await, "/keys?a=1#new");
    let ann = browser.me().await.unwrap();
    assert_eq!(
        (&ann["username"], &ann["email"], &ann["email_verified"], &ann["role"]),
        (&json!("Ann"), &json!("ann@example.org"), &json!(true), &json!("user"))
    );
    // Renamed there, with another address: still the same person here, with the address that they have here.
    fake.claims(json!({"sub": "7", "preferred_username": "Annie", "email": "other@example.org", "email_verified": true}));
    let mut elsewhere = Browser::new(&it);
    let again = elsewhere.starts("main", "").await;
    assert!(
        ["state", "nonce", "code_challenge"]
            .iter()
            .all(|it| again[*it] != asked[*it] && again[*it].len() == 43)
    );
    assert_eq!(elsewhere.comes_back(&fake, &again).await, "/");
    assert_eq!(elsewhere.me().await.unwrap()["id"], ann["id"]);
    assert_eq!(elsewhere.me().await.unwrap()["email"], "ann@example.org");
    let mine = elsewhere.send("GET", "/api/user/identities", None).await.body;
    assert_eq!((&mine["has_password"], &mine["items"][0]["label"]), (&json!(false), &json!("Annie")));
    assert_eq!(
        (&mine["items"][0]["issuer"], &mine["items"][0]["name"]),
        (&json!("main"), &json!("The Issuer"))
    );
    assert_eq!(people(&it).await, 1);
    assert_eq!(fake.now().key_requests, 1, "keys are kept");
    let wrong = json!({"login": "ann", "password": "!"});
    let answer = it.call("POST", "/api/user/login", None, Some(wrong)).await;
    assert_eq!(answer.body["code"], "wrong_credentials", "without a password there is none to guess");
}

#[tokio::test]
async fn an_answer_is_good_for_one_login_of_one_browser() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    fake.is("7", "Ann");
    let lost = "/login?error=invalid_state&issuer=main";
    let (mut ann, mut eve) = (Browser::new(&it), Browser::new(&it));
    let asked = ann.starts("main", "").await;
    eve.starts("main", "").await;
    let callback = ann.agrees(&fake, &asked);
    // Another browser, with its own cookie or with none: whose login it is would be forced on it.
    assert_eq!(eve.goes(&callback).await, lost);
    assert_eq!(Browser::new(&it).goes(&callback).await, lost);
    let state = &asked["state"];
    for odd in [
        callback.replace(state.as_str(), "x"),
        callback.replace(&format!("&state={state}"), ""),
        format!("{callback}&state=x"),
        format!("{callback}&code=x"),
    ] {
        assert_eq!(ann.goes(&odd).await, lost, "{odd}");
    }
    assert_eq!(fake.now().exchanges, 0, "the issuer is not asked for any of these");
    assert_eq!(it.call("HEAD", &callback, None, None).await.status, 200);
    assert_eq!(ann.goes(&callback).await, "/");
    assert_eq!(ann.goes(&callback).await, lost, "once");
    assert_eq!(fake.now().exchanges, 1);
    // Two tabs of one browser do not disturb each other.
    let (one, two) = (ann.starts("main", "?return=/one").await, ann.starts("main", "?return=/two").await);
    assert_eq!(ann.comes_back(&fake, &two).await, "/two");
    assert_eq!(ann.comes_back(&fake, &one).await, "/one");
    // A code that was given for another login does not fit this one's verifier.
    let (one, two) = (ann.starts("main", "").await, ann.starts("main", "").await);
    let stolen = ann.agrees(&fake, &one).replace(&one["state"], &two["state"]);
    assert_eq!(ann.goes(&stolen).await, "/login?error=issuer_refused&issuer=main");
    assert!(eve.me().await.is_none());
}

#[tokio::test]
async fn an_id_token_that_is_not_the_issuers_for_us_now_lets_nobody_in() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    let at_s = chrono::Utc::now().timestamp();
    let refused = "/login?error=invalid_token&issuer=main";
    let mut browser = Browser::new(&it);
    for change in [
        json!({"iss": "https://accounts.example"}),
        json!({"aud": "somebody else"}),
        json!({"aud": ["us & co", "somebody else"]}),
        json!({"azp": "somebody else"}),
        json!({"exp": at_s - 120}),
        json!({"iat": at_s + 120}),
        json!({"nonce": "of another login"}),
        json!({"nonce": null}),
        json!({"sub": ""}),
    ] {
        fake.is("7", "Ann");
        lay_over(&mut fake.now().claims, &change);
        assert_eq!(browser.logs_in(&fake, "").await, refused, "{change}");
    }
    fake.is("7", "Ann");
    // Of a key that the issuer does not publish, under a known name and under another.
    let own = std::mem::replace(&mut fake.now().signer, Signer::p256());
    for kid in ["k1", "k2"] {
        fake.now().kid = kid;
        assert_eq!(browser.logs_in(&fake, "").await, refused, "{kid}");
    }
    fake.now().signer = own;
    fake.now().kid = "k1";
    for answer in [
        json!({"id_token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3In0.", "access_token": "at"}),
        json!({"id_token": "x", "access_token": "at"}),
    ] {
        fake.now().answer = Some((StatusCode::OK, answer));
        assert_eq!(browser.logs_in(&fake, "").await, refused);
    }
    assert_eq!((people(&it).await, browser.me().await), (0, None));
    fake.now().answer = None;
    assert_eq!(browser.logs_in(&fake, "").await, "/");
}

#[tokio::test]
async fn an_issuer_may_change_its_keys_at_any_time() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    fake.is("7", "Ann");
    let mut browser = Browser::new(&it);
    assert_eq!(browser.logs_in(&fake, "").await, "/");
    // Under another name, and then under the same.
    for kid in ["k2", "k2"] {
        let signer = Signer::p256();
        fake.now().published = vec![signer.public(kid)];
        fake.now().signer = signer;
        fake.now().kid = kid;
        assert_eq!(browser.logs_in(&fake, "").await, "/", "{kid}");
    }
    assert_eq!(fake.now().key_requests, 3);
}

#[tokio::test]
async fn an_address_makes_nobody_an_existing_user_unless_the_operator_says_so() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    let token = it.token("ann", Role::User).await;
    let ann = it.account_of(&token).await;
    it.app.db.execute("UPDATE users SET email_verified = 1", &[]).await.unwrap();
    fake.is("7", "Ann");
    let mut browser = Browser::new(&it);
    assert_eq!(browser.logs_in(&fake, "").await, "/login?error=email_known&issuer=main");
    // An address that the issuer does not vouch for says nothing, whether it is known or not.
    for email in ["ann@example.org", "new@example.org"] {
        fake.claims(json!({"sub": "8", "email": email, "email_verified": false}));
        let landed = browser.logs_in(&fake, "").await;
        assert_eq!(landed, "/login?error=no_verified_email&issuer=main", "{email}");
    }
    fake.claims(json!({"sub": "8"}));
    fake.now().userinfo = json!({"sub": "8"});
    assert_eq!(browser.logs_in(&fake, "").await, "/login?error=no_verified_email&issuer=main");
    assert_eq!(people(&it).await, 1);
    assert!(it.app.directory.identities(ann).await.unwrap().is_empty());

    let mut trusting = fake.config("main");
    trusting.link_by_email = true;
    let it = gateway_with(|config| config.issuers = vec![trusting]).await;
    let token = it.token("ann", Role::User).await;
    let ann = it.account_of(&token).await;
    fake.is("7", "Ann");
    let mut browser = Browser::new(&it);
    let landed = browser.logs_in(&fake, "").await;
    assert_eq!(
        landed, "/login?error=email_known&issuer=main",
        "nobody has shown that the address here is Ann's"
    );
    it.app.db.execute("UPDATE users SET email_verified = 1", &[]).await.unwrap();
    assert_eq!(browser.logs_in(&fake, "").await, "/");
    assert_eq!(browser.me().await.unwrap()["id"], ann.to_string());
    assert_eq!(it.app.directory.identities(ann).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_issuer_whose_addresses_are_trusted_need_not_vouch_for_them() {
    let fake = Fake::start().await;
    let mut trusted = fake.config("main");
    trusted.trust_email = true;
    let it = gateway_with(|config| config.issuers = vec![trusted]).await;
    let mut browser = Browser::new(&it);
    // And where the ID token holds no address, the userinfo endpoint is asked, about the same person.
    fake.claims(json!({"sub": "7"}));
    fake.now().userinfo = json!({"sub": "8", "email": "eve@example.org"});
    assert_eq!(browser.logs_in(&fake, "").await, "/login?error=invalid_token&issuer=main");
    fake.now().userinfo = json!({"sub": "7", "email": "ann@example.org", "name": "Ann"});
    assert_eq!(browser.logs_in(&fake, "").await, "/");
    assert_eq!(browser.me().await.unwrap()["email"], "ann@example.org");
}

#[tokio::test]
async fn who_is_logged_in_links_and_unlinks() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    let (ann, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
    let mut browser = Browser::new(&it);
    browser.cookies.insert("nexusroute_session".into(), ann.clone());
    let wanted = json!({"issuer": "main", "return": "/settings?tab=login"});
    let begins = async |browser: &mut Browser<'_>| {
        let answer = browser.send("POST", "/api/user/identities", Some(wanted.clone())).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let url = Url::parse(answer.body["url"].as_str().unwrap()).unwrap();
        url.query_pairs().into_owned().collect::<HashMap<String, String>>()
    };
    fake.claims(json!({"sub": "7", "preferred_username": "ann-at-work"}));
    fake.now().userinfo = json!({"sub": "7"});
    let asked = begins(&mut browser).await;
    assert_eq!(browser.comes_back(&fake, &asked).await, "/settings?tab=login");
    let asked = begins(&mut browser).await;
    assert_eq!(browser.comes_back(&fake, &asked).await, "/settings?tab=login", "again changes nothing");
    let mine = it.call("GET", "/api/user/identities", Some(&ann), None).await.body;
    assert_eq!((mine["items"].as_array().unwrap().len(), &mine["has_password"]), (1, &json!(true)));

    // By it she logs in, without any word about an address.
    let mut other = Browser::new(&it);
    assert_eq!(other.logs_in(&fake, "").await, "/");
    assert_eq!(other.me().await.unwrap()["username"], "ann");

    // Nobody else links it, and nobody who has logged out in the meantime.
    let mut bobs = Browser::new(&it);
    bobs.cookies.insert("nexusroute_session".into(), bob.clone());
    let asked = begins(&mut bobs).await;
    let landed = bobs.comes_back(&fake, &asked).await;
    assert_eq!(landed, "/settings?tab=login&error=identity_taken&issuer=main");
    let asked = begins(&mut bobs).await;
    assert_eq!(it.call("POST", "/api/user/logout", Some(&bob), None).await.status, 204);
    let landed = bobs.comes_back(&fake, &asked).await;
    assert_eq!(landed, "/settings?tab=login&error=session_ended&issuer=main");

    for (body, code) in [
        (json!({"issuer": "other"}), "invalid_value"),
        (json!({"issuer": "main", "return": "https://evil.example"}), "invalid_value"),
    ] {
        let answer = it.call("POST", "/api/user/identities", Some(&ann), Some(body)).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (422, &json!(code)));
    }
    let path = format!("/api/user/identities/{}", mine["items"][0]["id"].as_str().unwrap());
    it.proofs_age(60).await;
    for (method, path, body) in
        [("POST", "/api/user/identities", Some(wanted.clone())), ("DELETE", &path, None)]
    {
        let answer = it.call(method, path, Some(&ann), body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (403, &json!("confirmation_required")));
    }
    let proof = json!({"password": "correct horse"});
    assert_eq!(it.call("POST", "/api/user/confirm", Some(&ann), Some(proof)).await.status, 200);
    assert_eq!(it.call("DELETE", &path, Some(&ann), None).await.status, 204);
    assert_eq!(it.call("DELETE", &path, Some(&ann), None).await.status, 404);
    assert_eq!(other.logs_in(&fake, "").await, "/login?error=no_verified_email&issuer=main");
}

#[tokio::test]
async fn who_has_a_second_factor_is_asked_for_it() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    fake.is("7", "Ann");
    let mut browser = Browser::new(&it);
    browser.logs_in(&fake, "").await;
    let (_, recovery) = it.sets_app_up(&browser.cookies["nexusroute_session"].clone()).await;

    let mut elsewhere = Browser::new(&it);
    let landed = elsewhere.logs_in(&fake, "?return=/keys").await;
    let asked = landed.strip_prefix("/login#second_factor=").unwrap_or_else(|| panic!("{landed}"));
    let (challenge, rest) = asked.split_once('&').unwrap();
    assert_eq!(rest, "methods=totp%2Crecovery_code&return=%2Fkeys");
    assert!(elsewhere.me().await.is_none(), "no session before");
    let body = json!({"challenge": challenge, "code": recovery[0]});
    let answer = elsewhere.send("POST", "/api/user/login/second-factor", Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(elsewhere.me().await.unwrap()["username"], "Ann");
}

#[tokio::test]
async fn the_only_way_in_stays_until_there_is_a_password() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    fake.is("7", "Ann");
    let mut browser = Browser::new(&it);
    browser.logs_in(&fake, "").await;
    let mine = browser.send("GET", "/api/user/identities", None).await.body;
    let path = format!("/api/user/identities/{}", mine["items"][0]["id"].as_str().unwrap());
    let kept = browser.send("DELETE", &path, None).await;
    assert_eq!((kept.status.as_u16(), &kept.body["code"]), (409, &json!("last_login_method")));
    // The first password comes as a forgotten one does.
    let ann = browser.me().await.unwrap();
    let purpose = crate::directory::token::Purpose::Reset;
    let id = ann["id"].as_str().unwrap();
    let token = it.app.directory.make_email_token(purpose, id, "ann@example.org").await.unwrap();
    let body = json!({"token": token.expose(), "password": "correct horse"});
    assert_eq!(it.call("POST", "/api/user/password/reset", None, Some(body)).await.status, 204);
    let body = json!({"login": "ann", "password": "correct horse"});
    let session = it.call("POST", "/api/user/login", None, Some(body)).await;
    let token = session.body["access_token"].as_str().unwrap();
    assert_eq!(it.call("DELETE", &path, Some(token), None).await.status, 204);
}

#[tokio::test]
async fn who_joins_by_an_issuer_joins_by_the_rules() {
    let fake = Fake::start().await;
    let landed = |code: &str| format!("/login?error={code}&issuer=main");
    fake.is("7", "Ann");
    let it = with(&fake, |config| config.registration.mode = RegistrationMode::Closed).await;
    assert_eq!(Browser::new(&it).logs_in(&fake, "").await, landed("registration_closed"));

    let it = with(&fake, |config| config.registration.email_domains = vec!["example.com".into()]).await;
    assert_eq!(Browser::new(&it).logs_in(&fake, "").await, landed("email_domain"));

    let it = with(&fake, |config| config.registration.fold_aliases = true).await;
    it.token("ann", Role::User).await;
    fake.claims(json!({"sub": "7", "email": "ann+shop@example.org", "email_verified": true}));
    assert_eq!(Browser::new(&it).logs_in(&fake, "").await, landed("email_known"));

    let it = with(&fake, |config| config.registration.mode = RegistrationMode::Invite).await;
    let admin = it.token("boss", Role::Admin).await;
    fake.is("7", "Ann");
    assert_eq!(Browser::new(&it).logs_in(&fake, "").await, landed("invitation_needed"));
    assert_eq!(Browser::new(&it).logs_in(&fake, "?invite=nonsense").await, landed("invalid_invitation"));
    let made = it.call("POST", "/api/admin/invitations", Some(&admin), Some(json!({"note": "x"}))).await;
    let invite = format!("?invite={}", made.body["code"].as_str().unwrap());
    let mut browser = Browser::new(&it);
    assert_eq!(browser.logs_in(&fake, &invite).await, "/");
    fake.is("8", "Bob");
    assert_eq!(Browser::new(&it).logs_in(&fake, &invite).await, landed("invalid_invitation"), "used up");
    fake.is("7", "Ann");
    assert_eq!(Browser::new(&it).logs_in(&fake, "").await, "/", "who is here needs none");

    // Switched off: the issuer's word does not help.
    let ann = browser.me().await.unwrap()["id"].as_str().unwrap().to_owned();
    let off = json!({"status": "disabled"});
    assert_eq!(
        it.call("PATCH", &format!("/api/admin/users/{ann}"), Some(&admin), Some(off)).await.status,
        200
    );
    assert_eq!(Browser::new(&it).logs_in(&fake, "").await, landed("account_disabled"));
    assert!(browser.me().await.is_none());
}

#[tokio::test]
async fn an_account_whose_address_must_be_proven_first_is_not_opened_by_a_link() {
    let fake = Fake::start().await;
    let it = with(&fake, |config| {
        config.registration.mode = RegistrationMode::Required;
        config.registration.needs_proof = true;
    })
    .await;
    let token = it.token("ann", Role::User).await;
    let ann = it.account_of(&token).await;
    let name = IdentityName { issuer: &fake.url, subject: "7" };
    let actor = crate::session::actor(domain::ActorKind::User, ann);
    it.app.directory.link_identity(ann, name, "ann", actor).await.unwrap();
    fake.is("7", "Ann");
    let landed = Browser::new(&it).logs_in(&fake, "").await;
    assert_eq!(landed, "/login?error=email_not_verified&issuer=main");
}

#[tokio::test]
async fn who_may_join_is_as_the_operator_has_it_now() {
    let fake = Fake::start().await;
    let it = with(&fake, |config| config.registration.mode = RegistrationMode::Optional).await;
    let owner = it.token("own", Role::Owner).await;
    let body = json!({"version": 0, "set": {"registration.mode": "closed"}});
    assert_eq!(it.call("PATCH", "/api/admin/settings", Some(&owner), Some(body)).await.status, 200);
    let methods = it.call("GET", "/api/user/login-methods", None, None).await.body;
    assert_eq!(methods["registration"], "closed", "{methods}");
    fake.is("7", "Ann");
    let landed = Browser::new(&it).logs_in(&fake, "").await;
    assert_eq!(landed, "/login?error=registration_closed&issuer=main");
}

#[tokio::test]
async fn what_goes_wrong_at_the_issuer_lands_on_a_page() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    fake.is("7", "Ann");
    let landed = |code: &str| format!("/login?error={code}&issuer=main");
    let mut browser = Browser::new(&it);
    for (error, code) in
        [("access_denied", "denied"), ("server_error", "issuer_refused"), ("<script>", "issuer_refused")]
    {
        let asked = browser.starts("main", "").await;
        let back = format!(
            "/api/user/oidc/main/callback?state={}&error={error}&error_description=x",
            asked["state"]
        );
        assert_eq!(browser.goes(&back.replace('<', "%3C").replace('>', "%3E")).await, landed(code));
    }
    let asked = browser.starts("main", "").await;
    let back = format!("/api/user/oidc/main/callback?state={}", asked["state"]);
    assert_eq!(browser.goes(&back).await, landed("issuer_refused"), "neither a code nor an error");
    // An answer that names another issuer was meant for another (RFC 9207).
    let asked = browser.starts("main", "").await;
    let back = format!("{}&iss=https://other.example", browser.agrees(&fake, &asked));
    assert_eq!(browser.goes(&back).await, landed("invalid_state"));
    let asked = browser.starts("main", "").await;
    let back = format!("{}&iss={}", browser.agrees(&fake, &asked), fake.url);
    assert_eq!(browser.goes(&back).await, "/");
    for (status, body, code) in [
        (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}), "issuer_refused"),
        (StatusCode::UNAUTHORIZED, json!({"error": "invalid_client"}), "issuer_refused"),
        (StatusCode::OK, json!({"access_token": "at"}), "issuer_unavailable"),
        (StatusCode::OK, json!("odd"), "issuer_unavailable"),
        (StatusCode::OK, json!({"id_token": "x".repeat(300_000)}), "issuer_unavailable"),
    ] {
        fake.now().answer = Some((status, body));
        assert_eq!(browser.logs_in(&fake, "").await, landed(code), "{status}");
    }
    for unknown in ["start", "callback"] {
        let answer = it.call("GET", &format!("/api/user/oidc/other/{unknown}"), None, None).await;
        assert_eq!(answer.status, 404);
    }
}

#[tokio::test]
async fn an_issuer_is_asked_only_where_it_may_be() {
    let fake = Fake::start().await;
    let landed = "/login?error=issuer_unavailable&issuer=main";
    let at = |path: &str| format!("{}{path}", fake.url);
    for document in [
        json!({"issuer": "https://other.example"}),
        json!({"issuer": at("/")}),
        json!({"authorization_endpoint": "http://93.184.216.34/authorize"}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
        json!({"authorization_endpoint": null}),
    ] {
        fake.now().document = document.clone();
        let it = with(&fake, |_| ()).await;
        assert_eq!(Browser::new(&it).goes("/api/user/oidc/main/start").await, landed, "{document}");
    }
    fake.is("7", "Ann");
    for document in [
        json!({"token_endpoint": "http://93.184.216.34/token"}),
        json!({"token_endpoint": "file:///etc/passwd"}),
        json!({"token_endpoint": at("/login/oauth")}),
        json!({"jwks_uri": "https://169.254.169.254:1/"}),
    ] {
        fake.now().document = document.clone();
        let it = with(&fake, |_| ()).await;
        assert_eq!(people(&it).await, 0);
        let landed = Browser::new(&it).logs_in(&fake, "").await;
        assert!(landed.starts_with("/login?error=issuer_"), "{document}: {landed}");
    }
    fake.now().document = json!({});
    // On a private address without the operator's word; and where nobody listens.
    let mut inward = fake.config("main");
    inward.allow_private = false;
    let mut nobody = fake.config("main");
    nobody.issuer = "http://127.0.0.1:1".into();
    for issuer in [inward, nobody] {
        let it = gateway_with(|config| config.issuers = vec![issuer]).await;
        assert_eq!(Browser::new(&it).goes("/api/user/oidc/main/start").await, landed);
        let token = it.token("ann", Role::User).await;
        let body = json!({"issuer": "main"});
        let answer = it.call("POST", "/api/user/identities", Some(&token), Some(body)).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (503, &json!("issuer_unavailable")));
    }
}

#[test]
fn a_browser_is_sent_on_to_this_site_alone() {
    let path = |text: &str| own_path("https://gw.example.org", Some(text));
    for (text, there) in [
        ("/", "/"),
        ("/keys?a=b#c", "/keys?a=b#c"),
        ("/a/../b", "/b"),
        ("/https://evil.example", "/https://evil.example"),
        ("/?next=//evil.example", "/?next=//evil.example"),
        ("/键", "/%E9%94%AE"),
    ] {
        assert_eq!(path(text).as_deref(), Some(there), "{text}");
    }
    for text in [
        "",
        "keys",
        "https://evil.example/",
        "https://gw.example.org/keys",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/.//evil.example",
        "/x/..//evil.example",
        "/%2e//evil.example",
        "javascript:alert(1)",
        " //evil.example",
        "@evil.example",
        &format!("/{}", "x".repeat(500)),
        &format!("/{}", "键".repeat(100)),
    ] {
        assert_eq!(path(text), None, "{text}");
    }
    assert_eq!(own_path("https://gw.example.org", None).as_deref(), Some("/"));
}

#[tokio::test]
async fn a_path_of_another_site_begins_nothing() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    for path in ["https://evil.example", "//evil.example", "/.//evil.example"] {
        let answer = it.call("GET", &format!("/api/user/oidc/main/start?return={path}"), None, None).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (400, &json!("invalid_query")), "{path}");
    }
}

#[test]
fn by_https_the_cookie_can_be_set_by_this_host_alone() {
    let cookie = browser_cookie("x", "https://gw.example.org");
    let text = cookie.to_str().unwrap();
    assert_eq!(text, "__Host-nexusroute_login=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure");
    assert!(browser_cookie("x", "http://127.0.0.1").to_str().unwrap().starts_with("nexusroute_login=x;"));
}

#[tokio::test]
async fn logins_that_come_to_nothing_are_counted() {
    let fake = Fake::start().await;
    let it = with(&fake, |_| ()).await;
    fake.is("7", "Ann");
    let mut browser = Browser::new(&it);
    for _ in 0..3 {
        assert_eq!(browser.logs_in(&fake, "").await, "/");
    }
    for _ in 0..ISSUER.max {
        it.app.limits.admit(ISSUER, "0.0.0.0").await.unwrap();
    }
    assert_eq!(browser.goes("/api/user/oidc/main/start").await, "/login?error=too_many_requests&issuer=main");
}

#[tokio::test]
async fn github_tells_who_somebody_is_by_its_api() {
    let fake = Fake::start().await;
    let hub = fake.github();
    let it = gateway_with(|config| config.issuers = vec![hub]).await;
    let is = |id: u64, login: &str, email: &str, verified: bool| {
        let emails = json!([
            {"email": "old@example.org", "primary": false, "verified": true, "visibility": null},
            {"email": email, "primary": true, "verified": verified, "visibility": "private"},
        ]);
        let user = json!({"id": id, "login": login, "email": null, "type": "User"});
        fake.now().userinfo = json!({"user": user, "emails": emails});
    };
    let logs_in = async |browser: &mut Browser<'_>| {
        let asked = browser.starts("hub", "").await;
        assert!(!asked.contains_key("nonce") && asked["scope"] == "read:user");
        browser.comes_back(&fake, &asked).await
    };
    let mut browser = Browser::new(&it);
    is(42, "octo-cat", "octo@example.org", false);
    assert_eq!(logs_in(&mut browser).await, "/login?error=no_verified_email&issuer=hub");
    is(42, "octo-cat", "octo@example.org", true);
    assert_eq!(logs_in(&mut browser).await, "/");
    let cat = browser.me().await.unwrap();
    assert_eq!((&cat["username"], &cat["email"]), (&json!("octo-cat"), &json!("octo@example.org")));
    // A number stays; a login name can pass to somebody else.
    is(42, "renamed", "octo@example.org", true);
    let mut elsewhere = Browser::new(&it);
    assert_eq!(logs_in(&mut elsewhere).await, "/");
    assert_eq!(elsewhere.me().await.unwrap()["id"], cat["id"]);
    is(43, "octo-cat", "other@example.org", true);
    let mut other = Browser::new(&it);
    assert_eq!(logs_in(&mut other).await, "/");
    assert_eq!(other.me().await.unwrap()["username"], "octo-cat-2");
    // A refusal comes with the status of a success.
    let asked = other.starts("hub", "").await;
    let back = other.agrees(&fake, &asked).replace("code=good", "code=bad");
    assert_eq!(other.goes(&back).await, "/login?error=issuer_refused&issuer=hub");
    fake.now().userinfo = json!({"user": {"login": "nobody"}, "emails": []});
    assert_eq!(logs_in(&mut other).await, "/login?error=issuer_unavailable&issuer=hub");
}
