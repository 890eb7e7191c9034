//! The whole of `/api` on a real log and a real database: a nats-server and SQLite in a temporary folder.

use super::{edge, router};
use crate::{
    app::{App, Parts},
    body::{BODY_LIMIT_BYTES, Json},
    config::Config,
    directory::{Directory, user::NewUser, user::Role},
    exports::Clerk,
    http::limit::Limits,
    issuers::Issuers,
    live::Live,
    mail::Post,
    payments::Channels,
    secrets::Sealer,
    webhook::Courier,
};
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
    routing::post,
};
use domain::account::event::Scope;
use domain::event::UsageReported;
use domain::price::PriceList;
use domain::usage::Usage;
use domain::{
    AccountId, Actor, ActorKind, BatchId, Command, Credits, EpochId, Event, EventId, KeyId, Label, LeaseId,
    NodeEvent, Outcome, PriceVersionId, RequestId, Tokens, UsageRecord, UsageSource,
};
use ledger::{Audit, Inbox, Ledger, LocalServer, LocalServerOptions, Log, LogOptions, account::NoSnapshots};
use projections::{Database, Follower, Projector, ProjectorHandle, ProjectorOptions};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

/// The admin who decides in these tests.
pub(crate) const ADMIN: &str = "0197a000-0000-7000-8000-00000000ad31";

/// A gateway without sockets.
pub(crate) struct Gateway {
    pub(crate) app: App,
    pub(crate) projector: ProjectorHandle,
    router: Router,
    server: Option<LocalServer>,
    _folder: TempDir,
}

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// The nats-server: `NEXUSROUTE_NATS_SERVER`, else the one that the set-up installed, else the one on PATH.
fn nats_server() -> PathBuf {
    if let Some(path) = std::env::var_os("NEXUSROUTE_NATS_SERVER") {
        return path.into();
    }
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let installed = here.ancestors().map(|it| it.join(".deps/bin/nats-server")).find(|it| it.is_file());
    installed.unwrap_or_else(|| "nats-server".into())
}

pub(crate) async fn gateway() -> Gateway {
    gateway_with(|_| ()).await
}

/// A gateway whose operator has changed something.
pub(crate) async fn gateway_with(change: impl FnOnce(&mut Config)) -> Gateway {
    // Another test of this process may have installed it already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let folder = tempfile::tempdir().unwrap();
    let server = LocalServer::start(LocalServerOptions {
        binary: nats_server(),
        folder: folder.path().join("nats"),
        start_limit: Duration::from_secs(20),
    })
    .await
    .unwrap();
    let options = LogOptions {
        servers: vec![server.url().to_owned()],
        token: Some(server.token().to_owned()),
        ..LogOptions::default()
    };
    let log = Log::connect(options).await.unwrap();
    let database = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
    let db = Database::connect(&database).await.unwrap();
    db.migrate().await.unwrap();
    let mut config =
        Config { data_dir: folder.path().to_owned(), allow_private_providers: true, ..Config::default() };
    config.allow_private_webhooks = true;
    change(&mut config);
    let directory = Directory::open(db.clone(), Sealer::new(&[1; 32])).await.unwrap();
    let projector = Projector::start(db.clone(), log.clone(), ProjectorOptions::default());
    let shared = directory.clone();
    let directory_for_live = directory.clone();
    let post = Post::try_new(&config, directory.clone()).unwrap();
    let courier = Courier::try_new(&config, directory.clone()).unwrap();
    let issuers = Issuers::try_new(&config).unwrap();
    let ledger = Ledger::new(log.clone(), Arc::new(NoSnapshots));
    let clerk = Clerk::new(directory.clone(), db.clone(), ledger.clone(), config.zone(), folder.path());
    let app = App::new(Parts {
        ledger,
        inbox: Inbox::new(log.clone()),
        audit: Audit::new(log.clone()),
        follower: Follower::Here(projector.clone()),
        catalogue: directory.catalogue_handle(),
        channels: Channels::try_new(&config, "http://127.0.0.1:3000").unwrap(),
        db,
        directory,
        live: Live::try_new(Arc::new(config.clone()), directory_for_live).unwrap(),
        config: Arc::new(config),
        provider_health: None,
        passwords: Default::default(),
        limits: Limits::shared(shared),
        streams: Default::default(),
        issuers,
        post,
        courier,
        clerk,
        status: Default::default(),
        tallies: Arc::default(),
    });
    let router = router(app.clone());
    Gateway { app, projector, router, server: Some(server), _folder: folder }
}

/// Sends a request to a router.
async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = axum::body::to_bytes(body, 10_000_000).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status: parts.status, headers: parts.headers, body }
}

impl Gateway {
    /// A JSON request with a token, if there is one.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    /// All routes: made once, for making them takes longer than most requests.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Any request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    /// Decides a command about an account as an admin of this id would; answers where its event stands.
    pub(crate) async fn decides(&self, account: AccountId, command: Command) -> u64 {
        let actor = Actor { kind: ActorKind::Admin, id: ADMIN.parse().unwrap() };
        self.app.ledger.execute(account, command, actor, None).await.unwrap().recorded.sequence
    }

    /// Ends the log's server for good.
    pub(crate) async fn stop_log(&mut self) {
        self.server.take().expect("it was stopped before").stop().await;
    }

    /// The account of whoever has this token.
    pub(crate) async fn account_of(&self, token: &str) -> AccountId {
        let me = self.call("GET", "/api/user/self", Some(token), None).await.body;
        AccountId::from_uuid(me["id"].as_str().unwrap().parse().unwrap())
    }

    /// Makes a user with a role and logs them in.
    pub(crate) async fn token(&self, username: &str, role: Role) -> String {
        // One for all of this process: a hash is made to be slow, and these tests make hundreds of people.
        static HASH: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
        let hash = HASH.get_or_init(async || self.app.passwords.hash("correct horse".into()).await.unwrap());
        let new = NewUser {
            username: username.into(),
            email: format!("{username}@example.org"),
            password_hash: hash.await.clone(),
            role,
            email_verified: false,
        };
        let user = self.app.directory.create_user(new, None).await.unwrap();
        self.app.directory.open_session(&user, "test").await.unwrap().token
    }
}

/// One run of a relay node that reports what it is told to.
pub(crate) struct Node {
    pub(crate) epoch: EpochId,
    version: u64,
    /// Its last message: where it stands, and the hash of its bytes.
    last: (u64, Option<ledger::Hash>),
}

impl Node {
    pub(crate) fn new() -> Self {
        Self { epoch: EpochId::from_uuid(Uuid::now_v7()), version: 0, last: (0, None) }
    }

    /// Reports records in one event; answers where it stands.
    pub(crate) async fn reports(&mut self, gateway: &Gateway, records: Vec<UsageRecord>) -> u64 {
        let id = EventId::from_uuid(Uuid::now_v7());
        let report = UsageReported { batch: BatchId::from_uuid(Uuid::now_v7()), records };
        let event = Event::Node(self.epoch, NodeEvent::UsageReported(report));
        let epoch = self.epoch.to_string().parse().unwrap();
        self.version += 1;
        let draft = ledger::codec::Draft {
            id,
            version: self.version,
            at: crate::directory::now(),
            actor: &Actor { kind: ActorKind::Node, id: epoch },
            key: None,
            prev: self.last.1,
            event: &event,
        };
        let bytes = ledger::codec::encode(&draft).unwrap();
        let hash = ledger::log::hash(&bytes);
        let subject = ledger::Subject::Node(self.epoch);
        match gateway.app.ledger.log().append(&subject, self.last.0, id, bytes).await.unwrap() {
            ledger::Appended::Stored { sequence } => self.last = (sequence, Some(hash)),
            ledger::Appended::LostRace => panic!("nobody else reports for this node"),
        }
        self.last.0
    }
}

/// A record of a call that just ended: the n-th of a lease, charged so much.
pub(crate) fn record(account: AccountId, lease: LeaseId, n: u64, charge: &str, spent: &str) -> UsageRecord {
    let label = |text: &str| Label::try_new(text).unwrap();
    // One credit for each million of input tokens: a token is a thousand nano-credits.
    let unit_prices = PriceList::plain(Decimal::ONE, Decimal::ZERO).resolve();
    let charge: Credits = charge.parse().unwrap();
    let input = u64::try_from(charge.nano() / 1_000).unwrap();
    UsageRecord {
        account,
        lease,
        n,
        spent: spent.parse().unwrap(),
        uncovered: Credits::ZERO,
        usage: Usage {
            request: RequestId::from_uuid(Uuid::now_v7()),
            at: crate::directory::now(),
            key: KeyId::from_uuid(Uuid::nil()),
            model: label("the-model"),
            provider: label("the-provider"),
            upstream_model: label("their-name-for-it"),
            endpoint: label("/v1/chat/completions"),
            tokens: Tokens { input, ..Tokens::default() },
            price_version: PriceVersionId::from_uuid(Uuid::nil()),
            unit_prices,
            multiplier: Decimal::ONE,
            charge,
            cost: Credits::from_nano(777),
            cost_prices: None,
            outcome: Outcome::Completed,
            usage_source: UsageSource::Provider,
            stream: false,
            status: 200,
            ttft_ms: None,
            duration_ms: 5,
            attempts: Vec::new(),
        },
    }
}

/// A lease of an account's credits.
pub(crate) fn lease(lease: LeaseId, epoch: EpochId, size: &str) -> Command {
    Command::GrantLease {
        lease,
        epoch,
        scope: Scope::Account,
        at_least: size.parse().unwrap(),
        wanted: size.parse().unwrap(),
        ttl_ms: 60_000,
        budget: None,
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    count: u8,
}

/// A router with one route that reads JSON, under the same edge as all of `/api`.
fn echo() -> Router {
    let handler = |Json(wanted): Json<Wanted>| async move { Json(json!({ "count": wanted.count })) };
    edge(Router::new().route("/api/echo", post(handler)).route("/api/panic", post(panics)), &Arc::default())
}

async fn panics() -> StatusCode {
    panic!("on purpose");
}

#[tokio::test]
async fn a_bad_body_is_a_problem_that_names_the_fault() {
    let json = Some("application/json");
    let large = format!("{{\"count\":1,\"x\":\"{}\"}}", "x".repeat(BODY_LIMIT_BYTES));
    for (content_type, body, status, code, fault) in [
        (json, "{\"count\":", 400, "malformed_json", "line 1"),
        (json, "{\"count\":\"1\"}", 422, "invalid_body", "count: invalid type: string"),
        (json, "{\"count\":1,\"colour\":2}", 422, "invalid_body", "unknown field `colour`"),
        (json, "{}", 422, "invalid_body", "missing field `count`"),
        (
            Some("text/plain"),
            "{\"count\":1}",
            415,
            "unsupported_media_type",
            "application/json, not \"text/plain\"",
        ),
        (None, "{\"count\":1}", 415, "unsupported_media_type", "application/json, not none"),
        (json, &large, 413, "body_too_large", "1048576 bytes"),
    ] {
        let mut request = Request::post("/api/echo");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = send(&echo(), request.body(Body::from(body.to_owned())).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (status, Some(code)));
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(answer.body["detail"].as_str().unwrap().contains(fault), "{}", answer.body);
    }
    let request = Request::post("/api/echo").header("content-type", "application/json; charset=utf-8");
    let answer = send(&echo(), request.body(Body::from("{\"count\":7}")).unwrap()).await;
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, &json!({"count": 7})));
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_the_security_headers() {
    for path in ["/api/echo", "/api/panic"] {
        let request = Request::post(path).header("x-request-id", "mine").body(Body::empty()).unwrap();
        let answer = send(&echo(), request).await;
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 7);
        assert_eq!(answer.body["request_id"], id, "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "frame-ancestors 'none'"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.headers[name], value);
        }
    }
    let answer = send(&echo(), Request::post("/api/panic").body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (500, &json!("internal")));
    assert!(!answer.body.to_string().contains("on purpose"));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let it = gateway().await;
    for (method, path, status, code) in [
        ("GET", "/api", 404, "not_found"),
        ("GET", "/api/nothing/here", 404, "not_found"),
        ("POST", "/api/user/nothing", 404, "not_found"),
        ("DELETE", "/api/user/login", 405, "method_not_allowed"),
        ("PUT", "/api/user/keys", 405, "method_not_allowed"),
    ] {
        let answer = it.call(method, path, None, None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body["code"].as_str()),
            (status, Some(code)),
            "{method} {path}"
        );
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    assert_eq!(it.call("GET", "/api/docs/", None, None).await.status, 200);
}

#[tokio::test]
async fn a_person_registers_logs_in_and_out() {
    let it = gateway().await;
    let person = json!({"username": "Ann", "email": "ann@example.org", "password": "correct horse"});
    let made = it.call("POST", "/api/user/register", None, Some(person.clone())).await;
    assert_eq!(
        (made.status.as_u16(), &made.body["role"], &made.body["email_verified"]),
        (201, &json!("user"), &json!(false))
    );
    assert!(!made.body.to_string().contains("argon2"));
    assert_eq!(it.call("POST", "/api/user/register", None, Some(person)).await.status, 409);

    let wrong = json!({"login": "ann", "password": "wrong horse"});
    let nobody = json!({"login": "nobody", "password": "wrong horse"});
    let mut answers = Vec::new();
    for body in [wrong, nobody] {
        let answer = it.call("POST", "/api/user/login", None, Some(body)).await;
        assert_eq!(answer.status, 401);
        answers.push((answer.body["code"].clone(), answer.body["detail"].clone()));
    }
    assert_eq!(answers[0], answers[1], "who exists is not told");

    let right = json!({"login": "ANN@example.org", "password": "correct horse"});
    let session = it.call("POST", "/api/user/login", None, Some(right)).await;
    assert_eq!(session.status, 200);
    let cookie = session.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    let token = session.body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(it.call("GET", "/api/user/self", Some(&token), None).await.body["username"], "Ann");

    let with_cookie = |origin: &'static str| {
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let request =
            Request::post("/api/user/logout").header("cookie", cookie).header("host", "gw.example.org");
        send(&it.router, request.header("origin", origin).body(Body::empty()).unwrap())
    };
    assert_eq!(with_cookie("https://evil.example").await.status, 403);
    assert_eq!(with_cookie("https://gw.example.org").await.status, 204);
    assert_eq!(it.call("GET", "/api/user/self", Some(&token), None).await.status, 401);
}

#[tokio::test]
async fn guessing_is_stopped_and_the_wait_is_told() {
    let it = gateway().await;
    it.token("ann", Role::User).await;
    let guess = async |password: &str| {
        let body = json!({"login": "ann", "password": password});
        it.call("POST", "/api/user/login", None, Some(body)).await
    };
    for _ in 0..10 {
        assert_eq!(guess("wrong horse").await.status, 401);
    }
    let stopped = guess("correct horse").await;
    assert_eq!((stopped.status.as_u16(), &stopped.body["code"]), (429, &json!("too_many_requests")));
    assert!(stopped.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_password_changes_with_the_old_one_and_ends_other_sessions() {
    let it = gateway().await;
    let here = it.token("ann", Role::User).await;
    let login = |password: &str| {
        let body = json!({"login": "ann", "password": password});
        it.call("POST", "/api/user/login", None, Some(body))
    };
    let there = login("correct horse").await.body["access_token"].as_str().unwrap().to_owned();
    let change = async |old: &str, new: &str| {
        let body = json!({"old_password": old, "new_password": new});
        it.call("PUT", "/api/user/password", Some(&here), Some(body)).await
    };
    assert_eq!(change("wrong horse", "battery staple").await.body["code"], "wrong_password");
    assert_eq!(change("correct horse", "short").await.status, 422);
    assert_eq!(change("correct horse", "battery staple").await.status, 204);
    assert_eq!(it.call("GET", "/api/user/self", Some(&here), None).await.status, 200);
    assert_eq!(it.call("GET", "/api/user/self", Some(&there), None).await.status, 401);
    assert_eq!(login("correct horse").await.status, 401);
    assert_eq!(login("battery staple").await.status, 200);
}

#[tokio::test]
async fn bad_registrations_are_refused_by_field() {
    let it = gateway().await;
    for (change, status, fault) in [
        (json!({"username": "a b"}), 422, "username:"),
        (json!({"email": "ann"}), 422, "email:"),
        (json!({"password": "short"}), 422, "password:"),
        (json!({"role": "admin"}), 422, "unknown field `role`"),
        (json!({"invite": "x"}), 422, "invite:"),
        (json!({"username": 5}), 422, "username: invalid type"),
    ] {
        let mut body = json!({"username": "ann", "email": "ann@example.org", "password": "correct horse"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = it.call("POST", "/api/user/register", None, Some(body)).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(answer.body["detail"].as_str().unwrap().contains(fault), "{}", answer.body);
    }
    assert!(it.app.directory.credentials("ann").await.unwrap().is_none());
}

#[tokio::test]
async fn keys_are_made_changed_rotated_and_deleted_by_their_owner() {
    let it = gateway().await;
    let (ann, bob) = (it.token("ann", Role::User).await, it.token("bob", Role::User).await);
    let budget = json!({"credits": "10.5", "period": "month"});
    let body = json!({"name": "laptop", "budget": budget, "ip_allow": ["192.0.2.7", "2001:db8::/32"]});
    let made = it.call("POST", "/api/user/keys", Some(&ann), Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    assert!(relay::key::is_well_formed(&secret));
    assert_eq!(made.body["ip_allow"], json!(["192.0.2.7/32", "2001:db8::/32"]));
    let path = format!("/api/user/keys/{}", made.body["id"].as_str().unwrap());

    let shown = it.call("GET", &path, Some(&ann), None).await;
    assert_eq!(shown.body["budget"], json!({"credits": "10.5", "period": "month"}));
    assert!(!shown.body.to_string().contains(&secret));
    assert_eq!(it.call("GET", &path, Some(&bob), None).await.status, 404);
    assert_eq!(it.call("DELETE", &path, Some(&bob), None).await.status, 404);
    assert_eq!(it.call("POST", &format!("{path}/rotate"), Some(&bob), None).await.status, 404);

    let patch = json!({"name": "desktop", "budget": null, "status": "disabled"});
    let changed = it.call("PATCH", &path, Some(&ann), Some(patch)).await;
    assert_eq!((&changed.body["name"], &changed.body["budget"]), (&json!("desktop"), &Value::Null));
    let rotated = it.call("POST", &format!("{path}/rotate"), Some(&ann), None).await;
    assert_ne!(rotated.body["secret"].as_str().unwrap(), secret);
    assert_eq!(rotated.body["previous_until"], Value::Null);
    let rotate = async |seconds: Value| {
        let body = json!({"overlap_seconds": seconds});
        it.call("POST", &format!("{path}/rotate"), Some(&ann), Some(body)).await
    };
    for bad in [json!(604_801), json!(-1), json!("1")] {
        assert_eq!(rotate(bad).await.status, 422);
    }
    let rotated = rotate(json!(604_800)).await;
    assert!(rotated.body["previous_until"].is_string(), "{}", rotated.body);
    let leaked = rotated.body["secret"].as_str().unwrap().to_owned();
    // Who reports it is told nothing, whatever there was of it.
    for keys in [json!(["sk-nonsense"]), json!([secret]), json!([leaked, "?"]), json!([leaked])] {
        let told = it.call("POST", "/api/keys/revoke-leaked", None, Some(json!({"keys": keys}))).await;
        assert_eq!((told.status.as_u16(), &told.body), (204, &Value::Null), "{keys}");
    }
    for keys in [json!([]), json!(vec!["x"; 101])] {
        let told = it.call("POST", "/api/keys/revoke-leaked", None, Some(json!({"keys": keys}))).await;
        assert_eq!((told.status.as_u16(), &told.body["code"]), (422, &json!("invalid_value")));
    }
    let shown = it.call("GET", &path, Some(&ann), None).await.body;
    assert_eq!((&shown["status"], shown["leaked_at"].is_string()), (&json!("disabled"), true), "{shown}");
    let stats =
        it.call("GET", &format!("{path}/stats?from=2026-01-01&by=model"), Some(&ann), None).await.body;
    assert_eq!((&stats["items"], &stats["total"]["calls"]), (&json!([]), &json!(0)));
    assert_eq!(it.call("DELETE", &path, Some(&ann), None).await.status, 204);
    let list = it.call("GET", "/api/user/keys", Some(&ann), None).await;
    assert_eq!(list.body, json!({"items": [], "next_cursor": null}));
}

#[tokio::test]
async fn bad_keys_are_refused_by_field() {
    let it = gateway().await;
    let ann = it.token("ann", Role::User).await;
    for (change, code, fault) in [
        (json!({"name": ""}), "invalid_value", "name:"),
        (json!({"name": "a\u{7}"}), "invalid_value", "name:"),
        (json!({"rpm": 0}), "invalid_value", "rpm:"),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), "invalid_value", "expires_at: lies in the past"),
        (json!({"expires_at": "tomorrow"}), "invalid_body", "expires_at: \"tomorrow\" is not a moment"),
        (json!({"models": []}), "invalid_value", "models:"),
        (json!({"models": ["nothing"]}), "invalid_value", "there is no model \"nothing\""),
        (json!({"ip_allow": ["192.0.2.0/33"]}), "invalid_value", "ip_allow: \"192.0.2.0/33\""),
        (
            json!({"budget": {"credits": "0", "period": "day"}}),
            "invalid_value",
            "budget.credits: must be above zero",
        ),
        (
            json!({"budget": {"credits": "-1", "period": "day"}}),
            "invalid_value",
            "budget.credits: must be above zero",
        ),
        (json!({"budget": {"credits": 1, "period": "day"}}), "invalid_body", "budget.credits: invalid type"),
        (
            json!({"budget": {"credits": "0.0000000001", "period": "day"}}),
            "invalid_body",
            "more than nine decimals",
        ),
        (
            json!({"budget": {"credits": "1", "period": "year"}}),
            "invalid_body",
            "budget.period: unknown variant",
        ),
        (json!({"quota": 5}), "invalid_body", "unknown field `quota`"),
    ] {
        let mut body = json!({"name": "laptop"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = it.call("POST", "/api/user/keys", Some(&ann), Some(body)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body["code"].as_str()),
            (422, Some(code)),
            "{}",
            answer.body
        );
        assert!(answer.body["detail"].as_str().unwrap().contains(fault), "{}", answer.body);
    }
    for (path, code) in [
        ("/api/user/keys/not-a-uuid", "invalid_path"),
        ("/api/user/keys?limit=0", "invalid_query"),
        ("/api/user/keys?limit=x", "invalid_query"),
        ("/api/user/keys?cursor=x", "invalid_query"),
        ("/api/user/keys?page=2", "invalid_query"),
    ] {
        let answer = it.call("GET", path, Some(&ann), None).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (400, Some(code)), "{path}");
    }
    assert!(it.app.catalogue.load().keys.is_empty());
}

#[tokio::test]
async fn an_operator_plugs_in_the_preset_and_sets_prices() {
    let it = gateway().await;
    let admin = it.token("root", Role::Admin).await;
    let admin = Some(admin.as_str());
    let presets = it.call("GET", "/api/admin/providers/presets", admin, None).await;
    assert_eq!(presets.body["items"][0]["name"], "Antinomy AI");
    let body = json!({"preset": "antinomy", "api_key": "sk-upstream"});
    let made = it.call("POST", "/api/admin/providers", admin, Some(body.clone())).await;
    assert_eq!(
        (made.status.as_u16(), &made.body["base_url"]),
        (201, &json!("https://antinomy.ai/api/v1")),
        "{}",
        made.body
    );
    assert!(!made.body.to_string().contains("sk-upstream"));
    assert_eq!(it.call("POST", "/api/admin/providers", admin, Some(body)).await.body["code"], "taken");
    assert_eq!(
        it.call("GET", "/api/models", None, None).await.body["items"],
        json!([]),
        "no price: not on offer"
    );

    let model = "anthropic/claude-3.7-sonnet:thinking";
    let price = json!({"model": model, "prices": {"input": "3", "output": "15", "cache_read": "0.3"}});
    let published = it.call("POST", "/api/admin/prices", admin, Some(price)).await;
    assert_eq!(published.status, 201, "{}", published.body);
    let offer = it.call("GET", "/api/models", None, None).await;
    assert_eq!(offer.body["items"][0]["name"], model);
    assert_eq!(offer.body["items"][0]["prices"], json!({"input": "3", "output": "15", "cache_read": "0.3"}));

    let patch = json!({"display_name": "Sonnet", "max_output_tokens": 64000});
    let path = format!("/api/admin/models?model={}", model.replace(':', "%3A"));
    let changed = it.call("PATCH", &path, admin, Some(patch)).await;
    assert_eq!(
        (&changed.body["display_name"], &changed.body["providers"]),
        (&json!("Sonnet"), &json!(["Antinomy AI"]))
    );
    let provider = format!("/api/admin/providers/{}", made.body["id"].as_str().unwrap());
    let models = it.call("GET", &format!("{provider}/models"), admin, None).await;
    assert_eq!(models.body["items"].as_array().unwrap().len(), 7);
    let gone = it.call("DELETE", &format!("{provider}/models?model={model}"), admin, None).await;
    assert_eq!(gone.status, 204);
    assert_eq!(it.call("GET", "/api/models", None, None).await.body["items"], json!([]));
    assert_eq!(it.call("DELETE", &provider, admin, None).await.status, 204);
    assert_eq!(it.call("GET", &provider, admin, None).await.status, 404);
}

#[tokio::test]
async fn bad_providers_and_prices_are_refused_by_field() {
    let it = gateway().await;
    let admin = it.token("root", Role::Admin).await;
    let good =
        json!({"name": "p", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk", "api_format": "openai"});
    for (change, code, fault) in [
        (
            json!({"api_format": "custom"}),
            "invalid_value",
            "config.custom: is needed with the format `custom`",
        ),
        (
            json!({"config": {"custom": {"speaks": "openai"}}}),
            "invalid_value",
            "config.custom: goes with the format",
        ),
        (
            json!({"api_format": "custom", "config": {"custom": {"speaks": "openai"}, "responses": "chat"}}),
            "invalid_value",
            "config.responses: says nothing of the format `custom`",
        ),
        (
            json!({"api_format": "custom", "config": {"custom": {"speaks": "openai", "headrs": {"a": "b"}}}}),
            "invalid_body",
            "config.custom.headrs: unknown field `headrs`",
        ),
        (
            json!({"api_format": "custom", "config": {"custom": {"speaks": "openai", "usage": {"prompt": "/a"}, "auth": "none"}}}),
            "invalid_body",
            "config.custom.usage.prompt: unknown field `prompt`",
        ),
        (
            json!({"api_format": "custom", "config": {"custom": {"speaks": "openai", "paths": {"chat": "//evil.example/x"}}}}),
            "invalid_body",
            "config.custom.paths.chat: the path \"//evil.example/x\" must begin with one slash",
        ),
        (
            json!({"api_format": "custom", "config": {"custom": {"speaks": "openai", "answer": {"root": "/data"}}}}),
            "invalid_body",
            "stream: is needed beside `answer.root`",
        ),
        (json!({"api_format": "soap"}), "invalid_body", "api_format: unknown variant `soap`"),
        (json!({"base_url": "http://93.184.216.34"}), "invalid_value", "base_url:"),
        (json!({"base_url": "https://a:b@127.0.0.1"}), "invalid_value", "base_url:"),
        (json!({"name": " p"}), "invalid_value", "name:"),
        (json!({"name": "x".repeat(201)}), "invalid_value", "name:"),
        (json!({"api_key": "a b"}), "invalid_value", "api_key:"),
        (json!({"weight": 0}), "invalid_value", "weight:"),
        (json!({"priority": 3_000_000_000_i64}), "invalid_body", "priority:"),
        (json!({"config": {"respones": "chat"}}), "invalid_body", "unknown field `respones`"),
        (json!({"config": {"responses": "both"}}), "invalid_body", "config.responses:"),
        (json!({"preset": "nothing"}), "invalid_value", "preset:"),
    ] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = it.call("POST", "/api/admin/providers", Some(&admin), Some(body)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body["code"].as_str()),
            (422, Some(code)),
            "{}",
            answer.body
        );
        assert!(answer.body["detail"].as_str().unwrap().contains(fault), "{}", answer.body);
    }
    let missing = json!({"api_key": "sk"});
    let answer = it.call("POST", "/api/admin/providers", Some(&admin), Some(missing)).await;
    assert_eq!(answer.body["detail"], "name: is needed without a preset");
    assert!(it.app.directory.providers().await.unwrap().is_empty());

    let made = it.call("POST", "/api/admin/providers", Some(&admin), Some(good)).await;
    let path = format!("/api/admin/providers/{}/models", made.body["id"].as_str().unwrap());
    let model = json!({"model_name": "m", "cost": {"input": "1", "output": "2"}});
    assert_eq!(it.call("POST", &path, Some(&admin), Some(model)).await.status, 201);
    for (body, fault) in [
        (json!({"model": "x", "prices": {"input": "1", "output": "1"}}), "model: there is no such model"),
        (json!({"model": "m", "prices": {"input": "-1", "output": "1"}}), "prices: the price of input"),
        (json!({"model": "m", "prices": {"input": 1, "output": "1"}}), "prices.input: invalid type"),
        (
            json!({"model": "m", "prices": {"input": "1", "output": "1"}, "effective_from": "2020-01-01T00:00:00Z"}),
            "effective_from: lies in the past",
        ),
    ] {
        let answer = it.call("POST", "/api/admin/prices", Some(&admin), Some(body)).await;
        assert_eq!(answer.status, 422);
        assert!(answer.body["detail"].as_str().unwrap().contains(fault), "{}", answer.body);
    }
    assert!(it.app.directory.price_versions(None, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_price_catalogue_is_searched_page_by_page() {
    let it = gateway().await;
    let admin = it.token("root", Role::Admin).await;
    let page = it
        .call("GET", "/api/admin/price-catalogue?provider=anthropic&query=SONNET&limit=2", Some(&admin), None)
        .await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.body["note"], "suggestions of 2026-10-21; the operator owns prices");
    assert_eq!(page.body["items"].as_array().unwrap().len(), 2);
    let first = &page.body["items"][0];
    assert_eq!(first["entry"], "anthropic/claude-sonnet-4-5");
    assert_eq!(
        first["prices"],
        json!({"input": "3", "output": "15", "cache_read": "0.3", "cache_write": "3.75", "cache_write_1h": "6"})
    );
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/admin/price-catalogue?limit=100{cursor}");
        let page = it.call("GET", &path, Some(&admin), None).await.body;
        seen.extend(page["items"].as_array().unwrap().iter().map(|it| it["entry"].as_str().unwrap().into()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len(), crate::price_catalogue::embedded().unwrap().entries.len());
    assert!(seen.is_sorted());
    let strange = it.call("GET", "/api/admin/price-catalogue?cursor=a/b", Some(&admin), None).await;
    assert_eq!((strange.status.as_u16(), &strange.body["code"]), (400, &json!("invalid_query")));
}

#[tokio::test]
async fn an_import_publishes_prices_and_sets_what_the_provider_takes() {
    let it = gateway().await;
    let token = it.token("root", Role::Admin).await;
    let admin = Some(token.as_str());
    let body =
        json!({"name": "p", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk", "api_format": "openai"});
    let provider = it.call("POST", "/api/admin/providers", admin, Some(body)).await.body["id"].clone();
    let models = format!("/api/admin/providers/{}/models", provider.as_str().unwrap());
    let served = json!({"model_name": "best", "upstream_name": "their-best", "display_name": "The best"});
    assert_eq!(it.call("POST", &models, admin, Some(served)).await.status, 201);

    let path = "/api/admin/price-catalogue/import";
    let body = json!({"costs_for": provider, "items": [
        {"entry": "anthropic/claude-sonnet-4-5", "model": "best", "multiplier": "1.1"},
        {"entry": "gemini/gemini-2.5-pro", "multiplier": "0.000001"},
        {"entry": "cohere/command-r7b-12-2024", "model": "small", "multiplier": "0.000003"},
        {"entry": "openai/whisper-1"},
    ]});
    let made = it.call("POST", path, admin, Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["rounding"], "half to even, to 0.000000001");
    let items = made.body["items"].as_array().unwrap();
    let told: Vec<_> =
        items.iter().map(|it| (&it["version"]["model"], &it["rounded"], &it["is_new_model"])).collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(
        told,
        [
            (&json!("best"), &no, &no),
            (&json!("gemini-2.5-pro"), &no, &yes),
            (&json!("small"), &yes, &yes),
            (&json!("whisper-1"), &no, &yes)
        ]
    );
    assert_eq!(
        items[0]["version"]["prices"],
        json!({"input": "3.3", "output": "16.5", "cache_read": "0.33", "cache_write": "4.125", "cache_write_1h": "6.6"})
    );
    assert_eq!(
        items[1]["version"]["prices"],
        json!({"input": "0.00000125", "output": "0.00001", "cache_read": "0.000000125", "tiers": [
            {"above_input": 200000, "input": "0.0000025", "output": "0.000015", "cache_read": "0.00000025"}]})
    );
    // 0.0000001125: the half goes to the even digit.
    assert_eq!(items[2]["version"]["prices"], json!({"input": "0.000000112", "output": "0.00000045"}));
    let offer = it.call("GET", "/api/admin/models", admin, None).await.body;
    let caps: Vec<_> =
        offer["items"].as_array().unwrap().iter().map(|it| (&it["name"], &it["max_output_tokens"])).collect();
    assert_eq!(
        caps,
        [
            (&json!("best"), &json!(4096)),
            (&json!("gemini-2.5-pro"), &json!(65536)),
            (&json!("small"), &json!(4096)),
            (&json!("whisper-1"), &json!(4096))
        ]
    );
    assert_eq!(offer["items"][0]["display_name"], "The best");
    let served = it.call("GET", &models, admin, None).await.body;
    assert_eq!(served["items"][0]["upstream_name"], "their-best");
    assert_eq!(served["items"][0]["cost"]["input"], "3");
    assert_eq!(served["items"][3]["cost"], json!({"input": "0", "output": "0", "per_audio_minute": "0.006"}));
    let priced = it.app.catalogue.load();
    let cost = priced.models["best"].routes[0].cost.as_ref().unwrap();
    assert_eq!((cost.base.output, priced.models["best"].price.is_some()), (Decimal::from(15), true));

    // Without a provider: costs stay as they are; a later price is not in force yet.
    let later = json!({"effective_from": "2099-01-01T00:00:00Z",
        "items": [{"entry": "openai/gpt-5", "model": "best", "multiplier": null}]});
    assert_eq!(it.call("POST", path, admin, Some(later)).await.status, 201);
    let served = it.call("GET", &models, admin, None).await.body;
    assert_eq!(served["items"][0]["cost"]["input"], "3");
    let offer = it.call("GET", "/api/admin/models", admin, None).await.body;
    assert_eq!(offer["items"][0]["prices"]["input"], "3.3");
}

#[tokio::test]
async fn an_import_with_one_bad_item_writes_nothing() {
    let it = gateway().await;
    let token = it.token("root", Role::Admin).await;
    let admin = Some(token.as_str());
    let body =
        json!({"name": "p", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk", "api_format": "openai"});
    let provider = it.call("POST", "/api/admin/providers", admin, Some(body)).await.body["id"].clone();
    let good = json!({"entry": "openai/gpt-5"});
    let of = |item: Value| json!({"costs_for": provider, "items": [good.clone(), item]});
    for (body, fault) in [
        (of(json!({"entry": "openai/gpt-0"})), "items[1].entry: the catalogue has no \"openai/gpt-0\""),
        (of(json!({"entry": "gpt-5"})), "items[1].entry: the catalogue has no"),
        (of(good.clone()), "items[1].model: \"gpt-5\" is named twice"),
        (of(json!({"entry": "openai/gpt-4.1", "model": " x"})), "items[1].model:"),
        (of(json!({"entry": "openai/gpt-4.1", "multiplier": "0"})), "items[1].multiplier: must be above 0"),
        (
            of(json!({"entry": "openai/gpt-4.1", "multiplier": "1000.1"})),
            "items[1].multiplier: a multiplier must",
        ),
        (
            of(json!({"entry": "openai/gpt-4.1", "multiplier": "1.0000001"})),
            "items[1].multiplier: a multiplier must",
        ),
        (
            of(json!({"entry": "openai/gpt-4.1", "multiplier": "-1"})),
            "items[1].multiplier: a multiplier must",
        ),
        (of(json!({"entry": "openai/gpt-4.1", "multiplier": 1.5})), "items[1].multiplier: invalid type"),
        (json!({"items": [good]}), "items[0].model: there is no model \"gpt-5\""),
        (json!({"items": []}), "items: must be 1 to 1000"),
        (json!({"items": [good], "costs_for": Uuid::nil()}), "costs_for: there is no such provider"),
        (
            json!({"items": [good], "costs_for": provider, "effective_from": "2020-01-01T00:00:00Z"}),
            "effective_from: lies in the past",
        ),
    ] {
        let answer = it.call("POST", "/api/admin/price-catalogue/import", admin, Some(body.clone())).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(fault), "{body}: {}", answer.body);
    }
    assert_eq!(it.call("GET", "/api/admin/prices", admin, None).await.body["items"], json!([]));
    assert_eq!(it.call("GET", "/api/admin/models", admin, None).await.body["items"], json!([]));
}

#[tokio::test]
async fn an_operator_sees_the_margin_by_model_provider_and_day() {
    let it = gateway().await;
    let token = it.token("root", Role::Admin).await;
    let owner = it.account_of(&it.token("ann", Role::User).await).await;
    let mut node = Node::new();
    let first = LeaseId::from_uuid(Uuid::now_v7());
    let grant = Command::GrantCredit {
        grant: domain::GrantId::from_uuid(Uuid::now_v7()),
        source: domain::account::event::GrantSource::Admin,
        credits: "10".parse().unwrap(),
        reason: None,
    };
    it.decides(owner, grant).await;
    it.decides(owner, lease(first, node.epoch, "5")).await;
    let mut other = record(owner, first, 2, "0.5", "1.5");
    other.usage.provider = Label::try_new("another").unwrap();
    other.usage.cost = "0.75".parse().unwrap();
    let after = node.reports(&it, vec![record(owner, first, 1, "1", "1"), other]).await;
    let path = |query: &str| format!("/api/admin/usage/margin?after={after}{query}");
    let by_model = it.call("GET", &path(""), Some(&token), None).await;
    assert_eq!(by_model.status, 200, "{}", by_model.body);
    let total = json!({"bucket": "total", "calls": 2, "charge": "1.5", "paid": "1.5", "uncovered": "0",
        "cost": "0.750000777", "margin": "0.749999223"});
    assert_eq!(by_model.body["total"], total);
    let mut model = total.clone();
    model["bucket"] = json!("the-model");
    assert_eq!((&by_model.body["by"], &by_model.body["items"]), (&json!("model"), &json!([model])));
    let by_provider = it.call("GET", &path("&by=provider"), Some(&token), None).await.body;
    let told: Vec<_> =
        by_provider["items"].as_array().unwrap().iter().map(|it| (&it["bucket"], &it["margin"])).collect();
    assert_eq!(told, [(&json!("the-provider"), &json!("0.999999223")), (&json!("another"), &json!("-0.25"))]);
    let by_day = it.call("GET", &path("&by=day&to=2020-01-01"), Some(&token), None).await.body;
    assert_eq!((&by_day["items"], &by_day["total"]["margin"]), (&json!([]), &json!("0")));
    let strange = it.call("GET", &path("&by=key"), Some(&token), None).await;
    assert_eq!(strange.status, 400);
}

#[tokio::test]
async fn a_provider_is_tried_with_its_key() {
    let it = gateway().await;
    let admin = it.token("root", Role::Admin).await;
    let models = |headers: HeaderMap| async move {
        if headers["authorization"] == "Bearer sk-good" { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let simulator = Router::new().route("/v1/models", axum::routing::get(models));
    tokio::spawn(async move { axum::serve(listener, simulator).await });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, base_url, key, ok, status) in [
        ("good", format!("http://{address}/v1"), "sk-good", true, json!(200)),
        ("bad key", format!("http://{address}/v1"), "sk-bad", false, json!(401)),
        ("away", format!("http://{closed}/v1"), "sk-good", false, Value::Null),
    ] {
        let body = json!({"name": name, "base_url": base_url, "api_key": key, "api_format": "openai"});
        let made = it.call("POST", "/api/admin/providers", Some(&admin), Some(body)).await;
        let path = format!("/api/admin/providers/{}/test", made.body["id"].as_str().unwrap());
        let tried = it.call("POST", &path, Some(&admin), None).await;
        assert_eq!(
            (&tried.body["ok"], &tried.body["status"]),
            (&json!(ok), &status),
            "{name}: {}",
            tried.body
        );
        assert_eq!(tried.body["error"].is_null(), ok, "{}", tried.body);
    }
}

#[tokio::test]
async fn a_provider_with_a_template_is_kept_tried_and_changed() {
    let it = gateway().await;
    let admin = it.token("root", Role::Admin).await;
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = asked.clone();
    let simulator = Router::new().fallback(move |uri: axum::http::Uri, headers: HeaderMap| async move {
        seen.lock().unwrap().push((uri.to_string(), headers.clone()));
        match (uri.path(), headers.get("api-key").map(|key| key.as_bytes())) {
            ("/openai/status", Some(b"sk-good")) => StatusCode::OK,
            ("/openai/status", _) => StatusCode::UNAUTHORIZED,
            _ => StatusCode::NOT_FOUND,
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/openai", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, simulator).await });
    let custom = json!({
        "speaks": "openai",
        "paths": {"chat": "/deployments/{model}/chat/completions?api-version=1", "models": "/status"},
        "headers": {"api-key": "{key}"}, "query": {"secret": "{key}"},
    });
    let body = json!({"name": "odd", "base_url": base_url, "api_key": "sk-good", "api_format": "custom",
                      "config": {"custom": custom}});
    let made = it.call("POST", "/api/admin/providers", Some(&admin), Some(body)).await;
    assert_eq!((made.status.as_u16(), &made.body["config"]["custom"]), (201, &custom), "{}", made.body);
    let path = format!("/api/admin/providers/{}", made.body["id"].as_str().unwrap());
    assert_eq!(it.call("GET", &path, Some(&admin), None).await.body["config"]["custom"], custom);
    let model = json!({"model_name": "m", "upstream_name": "up"});
    assert_eq!(it.call("POST", &format!("{path}/models"), Some(&admin), Some(model)).await.status, 201);
    let route = it.app.directory.catalogue_handle().load().models["m"].routes[0].clone();
    assert_eq!(serde_json::to_value(route.custom.unwrap()).unwrap(), custom);
    assert_eq!((route.format, route.speaks_responses), (relay::ProviderFormat::OpenAi, false));

    let tried = it.call("POST", &format!("{path}/test"), Some(&admin), None).await.body;
    assert_eq!((&tried["ok"], &tried["status"]), (&json!(true), &json!(200)), "{tried}");
    let (uri, headers) = asked.lock().unwrap().pop().unwrap();
    assert_eq!(uri, "/openai/status?secret=sk-good");
    assert!(!headers.contains_key("authorization"), "the key goes where the template says, and nowhere else");

    // Without an address to ask, and with one where nothing is: neither says more than it knows, nor the key.
    for (paths, says) in [
        (json!({"chat": "/chat"}), "config.custom.paths.models"),
        (json!({"chat": "/chat", "models": "/nothing"}), "there is nothing at"),
    ] {
        let mut other = custom.clone();
        other["paths"] = paths;
        let changed = it.call("PATCH", &path, Some(&admin), Some(json!({"config": {"custom": other}}))).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        let tried = it.call("POST", &format!("{path}/test"), Some(&admin), None).await.body;
        assert_eq!((&tried["ok"], &tried["status"]), (&json!(false), &json!(404)), "{tried}");
        let error = tried["error"].as_str().unwrap();
        assert!(error.contains(says) && !error.contains("sk-good"), "{error}");
    }
    for (change, fault) in [
        (json!({"api_format": "openai"}), "config.custom: goes with the format `custom` only"),
        (json!({"config": {}}), "config.custom: is needed with the format `custom`"),
    ] {
        let refused = it.call("PATCH", &path, Some(&admin), Some(change)).await;
        assert_eq!((refused.status.as_u16(), &refused.body["detail"]), (422, &json!(fault)));
    }
    let back = json!({"api_format": "claude", "config": {}});
    let changed = it.call("PATCH", &path, Some(&admin), Some(back)).await;
    assert_eq!((changed.status.as_u16(), &changed.body["config"]), (200, &json!({})));
    let route = it.app.directory.catalogue_handle().load().models["m"].routes[0].clone();
    assert!(route.custom.is_none() && route.format == relay::ProviderFormat::Claude);
}

#[tokio::test]
async fn acts_reach_the_audit_stream_and_leave_the_outbox() {
    let it = gateway().await;
    let admin = it.token("root", Role::Admin).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let keeper = tokio::spawn(it.app.directory.clone().keep_fresh(Some(it.app.audit.clone()), stop.clone()));
    let put = it.call("PUT", "/api/admin/groups/vip", Some(&admin), Some(json!({"multiplier": "0.9"}))).await;
    assert_eq!(put.status, 200, "{}", put.body);
    stop.cancel();
    keeper.await.unwrap();
    let waiting = it.app.db.fetch_one("SELECT COUNT(*) AS n FROM audit_outbox", &[]).await.unwrap();
    assert_eq!(waiting.int("n").unwrap(), 0);

    let auditor = it.token("eve", Role::Auditor).await;
    let acts = it.call("GET", "/api/admin/audit?act=group&limit=1", Some(&auditor), None).await;
    assert_eq!(acts.status, 200, "{}", acts.body);
    let id = it.account_of(&admin).await.to_string();
    let act = &acts.body["items"][0];
    assert_eq!(
        (&act["act"], &act["subject"], &act["actor"], &act["actor_kind"], &act["before"], &act["after"]),
        (
            &json!("group.put"),
            &json!("vip"),
            &json!(id),
            &json!("admin"),
            &Value::Null,
            &json!({"multiplier": "0.9"})
        )
    );
    let none = it.call("GET", "/api/admin/audit?actor=nobody&from=2026-01-01", Some(&auditor), None).await;
    assert_eq!(none.body, json!({"items": [], "next_cursor": null}));
    for bad in ["cursor=x", "from=x", "limit=0", "who=me"] {
        let answer = it.call("GET", &format!("/api/admin/audit?{bad}"), Some(&auditor), None).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (400, &json!("invalid_query")), "{bad}");
    }
}

#[tokio::test]
async fn an_admin_changes_users_and_groups() {
    let it = gateway().await;
    let (admin, ann) = (it.token("root", Role::Admin).await, it.token("ann", Role::User).await);
    let id = it.call("GET", "/api/user/self", Some(&ann), None).await.body["id"].as_str().unwrap().to_owned();
    let path = format!("/api/admin/users/{id}");
    for multiplier in ["-1", "1001", "0.1234567", "1e2", ""] {
        let body = json!({"multiplier": multiplier});
        assert_eq!(
            it.call("PUT", "/api/admin/groups/vip", Some(&admin), Some(body)).await.status,
            422,
            "{multiplier}"
        );
    }
    let answer = it.call("PATCH", &path, Some(&admin), Some(json!({"group": "vip"}))).await;
    assert_eq!(answer.body["detail"], "group: there is no such group");
    it.call("PUT", "/api/admin/groups/vip", Some(&admin), Some(json!({"multiplier": "0.90"}))).await;
    let groups = it.call("GET", "/api/admin/groups", Some(&admin), None).await;
    assert_eq!(groups.body["items"][1], json!({"name": "vip", "multiplier": "0.9"}));
    let changed =
        it.call("PATCH", &path, Some(&admin), Some(json!({"group": "vip", "status": "disabled"}))).await;
    assert_eq!((&changed.body["group"], &changed.body["status"]), (&json!("vip"), &json!("disabled")));
    assert_eq!(it.call("GET", "/api/user/self", Some(&ann), None).await.status, 401);
    let login = json!({"login": "ann", "password": "correct horse"});
    assert_eq!(it.call("POST", "/api/user/login", None, Some(login)).await.body["code"], "account_disabled");
    let found = it.call("GET", "/api/admin/users?q=AN&status=disabled", Some(&admin), None).await;
    assert_eq!(found.body["items"].as_array().unwrap().len(), 1);
    let admins = it.call("GET", "/api/admin/users?role=admin", Some(&admin), None).await;
    assert_eq!(
        (admins.body["items"].as_array().unwrap().len(), &admins.body["items"][0]["username"]),
        (1, &json!("root"))
    );
    let me =
        it.call("GET", "/api/user/self", Some(&admin), None).await.body["id"].as_str().unwrap().to_owned();
    let body = Some(json!({"role": "user"}));
    let answer = it.call("PATCH", &format!("/api/admin/users/{me}"), Some(&admin), body).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["code"]),
        (403, &json!("forbidden")),
        "an admin is not an owner"
    );
    let owner = it.token("boss", Role::Owner).await;
    let id = it.account_of(&owner).await;
    let body = Some(json!({"role": "user"}));
    let answer = it.call("PATCH", &format!("/api/admin/users/{id}"), Some(&owner), body).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (409, &json!("last_owner")));
    let body = || Some(json!({"role": "owner"}));
    let path = format!("/api/admin/users/{me}");
    assert_eq!(it.call("PATCH", &path, Some(&admin), body()).await.status, 403);
    assert_eq!(it.call("PATCH", &path, Some(&owner), body()).await.body["role"], "owner");
}

#[tokio::test]
async fn the_committed_document_is_current() {
    let it = gateway().await;
    let document = it.call("GET", "/api/openapi.json", None, None).await.body;
    let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    if std::env::var_os("NEXUSROUTE_GOLDEN").is_some_and(|mode| mode == "write") {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == text, "docs/openapi.json is not what the routes say; `make golden` writes it anew");
}

#[tokio::test]
async fn what_the_document_refers_to_stands_in_it() {
    let it = gateway().await;
    let document = it.call("GET", "/api/openapi.json", None, None).await.body;
    let text = document.to_string();
    let referred = text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
    let missing: std::collections::BTreeSet<&str> =
        referred.filter(|name| document["components"]["schemas"].get(*name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
