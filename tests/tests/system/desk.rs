//! The operator's desk from outside, on three databases: roles, codes, the audit log, keys that rotate, leak and are switched
//! off on every node; and a code that is redeemed while the process dies.

use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use system_tests::{
    Api, Behaviour, FakeProvider, Gateway, GatewayOptions, Nats,
    cluster::Shared,
    credits, databases, eventually,
    people::{Caller, Operator, PASSWORD, User, chat, log_in, text},
};

const MODEL: &str = "desk-model";
const OUTPUT: &str = "1000";
const TOKENS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(60);

async fn patch(api: &Api, path: &str, body: &Value) -> system_tests::Answer {
    api.send(Method::PATCH, path, Some(("application/json", body.to_string().into_bytes()))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desk_works_on_sqlite() {
    at_the_desk(GatewayOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desk_works_on_postgresql() {
    at_the_desk(
        GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &databases::postgres().await),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desk_works_on_mariadb() {
    at_the_desk(
        GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &databases::mariadb().await),
    )
    .await;
}

async fn at_the_desk(options: GatewayOptions) {
    let (gateway, provider) = tokio::join!(options.start(), FakeProvider::start(Behaviour::default()));
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", OUTPUT).await;
    let (user, other) = (User::new(&gateway).await, User::new(&gateway).await);
    let auditor = roles(&operator, User::new(&gateway).await).await;
    codes(&operator, &user, &other).await;
    keys(&gateway, &user).await;
    second_person(&operator, User::new(&gateway).await, &other).await;
    settings_and_referrals(&gateway, &operator).await;

    // What was done stands on AUDIT, who did it too.
    let owner = text(&operator.api.get("/api/user/self").await.ok()["id"]);
    let path = format!("/api/admin/audit?actor={owner}&limit=100");
    let acts = eventually("the acts are published", PATIENCE, async || {
        let acts = auditor.api.get(&path).await.ok()["items"].as_array().unwrap().clone();
        acts.iter().any(|act| act["act"] == "redemption.void").then_some(acts)
    })
    .await;
    for expected in ["provider.create", "price.publish", "user.change", "redemption.create"] {
        assert!(acts.iter().any(|act| act["act"] == expected), "{expected} is missing: {acts:?}");
    }
    let announced = json!({"title": "Maintenance", "body": "Tonight.", "level": "warning"});
    operator.api.post("/api/admin/announcements", &announced).await.ok();
    assert_eq!(gateway.nobody().get("/api/announcements").await.ok()["items"][0]["title"], "Maintenance");
    let overview = auditor.api.get("/api/admin/overview").await.ok();
    assert!(overview["total"]["calls"].as_u64().unwrap() >= 1, "{overview}");
    gateway.stop().await;

    // Keys' last uses outlive the process that saw them.
    let gateway = options.start().await;
    let keys = user.api.at(gateway.url()).get("/api/user/keys").await.ok();
    assert!(keys["items"][0]["last_used_at"].is_string(), "{keys}");
    gateway.stop().await;
    options.audit().await.assert_all_leases_closed();
}

/// The first start's operator is the owner, and makes an auditor, who sees and changes nothing.
async fn roles(operator: &Operator, auditor: User) -> User {
    let me = operator.api.get("/api/user/self").await.ok();
    assert_eq!(me["role"], "owner");
    let myself = format!("/api/admin/users/{}", text(&me["id"]));
    assert_eq!(patch(&operator.api, &myself, &json!({"role": "admin"})).await.problem(409), "last_owner");
    let path = format!("/api/admin/users/{}", auditor.id);
    assert_eq!(auditor.api.get("/api/admin/users").await.problem(403), "forbidden");
    patch(&operator.api, &path, &json!({"role": "auditor"})).await.ok();
    auditor.api.get("/api/admin/users").await.ok();
    assert_eq!(patch(&auditor.api, &path, &json!({"role": "owner"})).await.problem(403), "forbidden");
    assert_eq!(auditor.api.post("/api/user/keys", &json!({"name": "x"})).await.problem(403), "forbidden");
    auditor
}

async fn codes(operator: &Operator, user: &User, other: &User) {
    let body = json!({"name": "fair", "count": 250, "credits": "0.5", "expires_at": "2099-01-01T00:00:00Z"});
    let made = operator.api.post("/api/admin/redemption-codes", &body).await.ok();
    let codes = made["secrets"].as_array().unwrap();
    assert_eq!(codes.len(), 250);
    let redeem =
        async |who: &User, n: usize| who.api.post("/api/user/redeem", &json!({"code": codes[n]})).await;
    for n in [0, 0, 1] {
        assert_eq!(redeem(user, n).await.ok()["credits"], "0.5");
    }
    assert_eq!(redeem(other, 0).await.problem(409), "code_used");
    user.until_total(credits(&json!("1"))).await;
    let path = format!("/api/admin/redemption-codes/{}", text(&made["id"]));
    let voided = operator.api.send(Method::DELETE, &path, None).await.ok();
    assert_eq!(
        (&voided["redeemed"], &voided["voided"], &voided["open"]),
        (&json!(2), &json!(248), &json!(0))
    );
    assert_eq!(redeem(other, 2).await.problem(409), "code_void");
}

async fn keys(gateway: &Gateway, user: &User) {
    let key = user.makes_key_with(json!({"name": "mine"})).await;
    let path = format!("/api/user/keys/{}", text(&key["id"]));
    let old = Caller::new(gateway, &text(&key["secret"]));
    let rotated = user.api.post(&format!("{path}/rotate"), &json!({"overlap_seconds": 600})).await.ok();
    let new = Caller::new(gateway, &text(&rotated["secret"]));
    for caller in [&old, &new] {
        caller.chat(MODEL, TOKENS).await.ok();
    }
    let leaked = json!({"keys": [key["secret"], "sk-nonsense"]});
    assert_eq!(gateway.nobody().post("/api/keys/revoke-leaked", &leaked).await.status, 204);
    assert_eq!(old.chat(MODEL, TOKENS).await.status, 401);
    new.chat(MODEL, TOKENS).await.ok();
    let shown = user.api.get(&path).await.ok();
    assert!(shown["leaked_at"].is_string() && shown["last_used_at"].is_string(), "{shown}");
    assert_eq!((&shown["status"], &shown["previous_until"]), (&json!("active"), &Value::Null));
    eventually("the key's calls are counted", PATIENCE, async || {
        let stats = user.api.get(&format!("{path}/stats?by=model")).await.ok();
        (stats["total"]["calls"] == 3 && stats["items"][0]["bucket"] == MODEL).then_some(())
    })
    .await;
}

/// Finance gives within its limits; what is more waits for the owner, and is done once.
async fn second_person(operator: &Operator, finance: User, user: &User) {
    patch(&operator.api, &format!("/api/admin/users/{}", finance.id), &json!({"role": "finance"})).await.ok();
    let before = user.balance().await.total;
    let path = format!("/api/admin/users/{}/adjustments", user.id);
    let body = |credits: &str| json!({"credits": credits, "reason": "a test"});
    // 100 at once and 500 a day: sixes of a hundred come at the same moment.
    let tries = (0..6).map(|n| {
        let api = finance.api.with("idempotency-key", &format!("small-{n}"));
        let (path, body) = (path.clone(), body("100"));
        async move { api.post(&path, &body).await.status }
    });
    let mut statuses = futures_util::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 201, 201, 201, 202]);
    let big = finance.api.with("idempotency-key", "big");
    let asked = text(&big.post(&path, &body("2500.5")).await.ok()["id"]);
    assert_eq!(text(&big.post(&path, &body("2500.5")).await.ok()["id"]), asked);
    let decide = format!("/api/admin/approvals/{asked}/approve");
    assert_eq!(finance.api.post(&decide, &json!({})).await.problem(403), "second_person_needed");
    let both = (0..4).map(|_| {
        let (api, decide) = (operator.api.clone(), decide.clone());
        async move { api.post(&decide, &json!({"note": "seen"})).await }
    });
    let answers = futures_util::future::join_all(both).await;
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(done.len(), 1, "{answers:?}");
    assert_eq!(done[0].json()["state"], "done", "{}", done[0].text);
    user.until_total(before.checked_add(credits(&json!("3000.5"))).unwrap()).await;
    let waiting = operator.api.get("/api/admin/approvals?state=pending").await.ok();
    let waiting = text(&waiting["items"][0]["id"]);
    let reject = format!("/api/admin/approvals/{waiting}/reject");
    assert_eq!(operator.api.post(&reject, &json!({})).await.ok()["state"], "rejected");
    // What the ledger refuses is given back to the day.
    assert_eq!(operator.api.post(&path, &body("-9000")).await.problem(402), "insufficient_credits");
    operator.api.post(&path, &body("-3000.5")).await.ok();
    user.until_total(before).await;
}

async fn settings_and_referrals(gateway: &Gateway, operator: &Operator) {
    let set = json!({"version": 0, "set": {
        "site.name": "Ours", "referral.enabled": true, "referral.reward": "2", "referral.welcome": "1", "referral.min_topup": "5", "referral.hold_days": 0,
    }});
    assert_eq!(patch(&operator.api, "/api/admin/settings", &set).await.ok()["version"], 1);
    assert_eq!(patch(&operator.api, "/api/admin/settings", &set).await.problem(409), "settings_changed");
    assert_eq!(gateway.nobody().get("/api/site").await.ok()["name"], "Ours");
    let referrer = User::new(gateway).await;
    let code = referrer.api.get("/api/user/referral").await.ok()["code"].clone();
    let body = json!({"username": "brought", "email": "brought@example.net", "password": PASSWORD, "referral": code});
    gateway.nobody().post("/api/user/register", &body).await.ok();
    let api = log_in(gateway, "brought", PASSWORD).await;
    let brought = User { id: text(&api.get("/api/user/self").await.ok()["id"]), api };
    let order = brought.tops_up("50.00", "pay").await;
    let bought = credits(&order["credits"]);
    brought.until_total(bought.checked_add(credits(&json!("1"))).unwrap()).await;
    referrer.until_total(credits(&json!("2"))).await;
    let mine = referrer.api.get("/api/user/referral").await.ok();
    assert_eq!((&mine["brought"], &mine["rewarded"], &mine["credits"]), (&json!(1), &json!(1), &json!("2")));
    let back = json!({"version": 1, "set": {"site.name": null}});
    patch(&operator.api, "/api/admin/settings", &back).await.ok();
    assert_eq!(gateway.nobody().get("/api/site").await.ok()["name"], "NexusRoute");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_act_is_done_once_though_the_process_dies_beside_it() {
    for point in ["decide.encoded", "decide.appended"] {
        let options = GatewayOptions::default();
        let gateway = options.start().await;
        let operator = Operator::of(&gateway).await;
        let (finance, user) = (User::new(&gateway).await, User::new(&gateway).await);
        let path = format!("/api/admin/users/{}", finance.id);
        patch(&operator.api, &path, &json!({"role": "finance"})).await.ok();
        let adjustments = format!("/api/admin/users/{}/adjustments", user.id);
        let body = json!({"credits": "700", "reason": "a test"});
        let asked = text(&finance.api.post(&adjustments, &body).await.ok()["id"]);
        gateway.stop().await;

        let mut dying = options.clone().environment("CRASH_AT", &format!("{point}:1")).start().await;
        let api = operator.api.at(dying.url());
        let approve = format!("/api/admin/approvals/{asked}/approve");
        let nothing = Some(("application/json", b"{}".to_vec()));
        assert!(api.try_send(Method::POST, &approve, nothing).await.is_err(), "{point}");
        eventually("it died", PATIENCE, async || dying.has_ended().then_some(())).await;
        drop(dying);

        let gateway = options.start().await;
        let user = User { id: user.id.clone(), api: user.api.at(gateway.url()) };
        let operator = operator.api.at(gateway.url());
        user.until_total(credits(&json!("700"))).await;
        let done = eventually("it is noted", PATIENCE, async || {
            let request = operator.get(&format!("/api/admin/approvals/{asked}")).await.ok();
            (request["state"] == "done").then_some(request)
        })
        .await;
        let end = done["event_seq"].as_u64().unwrap();
        let total = user.api.get(&format!("/api/user/balance?after={end}")).await.ok()["total"].clone();
        assert_eq!(total, "700", "{point}");
        gateway.stop().await;
        let books = options.audit().await;
        assert_eq!(books.account(&user.id).versions, 1, "one event");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_in_force_in_every_process_within_a_second() {
    let (nats, database) = tokio::join!(Nats::start(), databases::postgres());
    let shared = Shared::new(&database).with("NEXUSROUTE_NATS_URL", &nats.url());
    let (one, two) = tokio::join!(shared.start("api,projector"), shared.start("api"));
    let operator = Operator::of(&one).await;
    let mut took = Vec::new();
    for version in 0..4 {
        let name = format!("name {version}");
        let set = json!({"version": version, "set": {"site.name": name}});
        patch(&operator.api, "/api/admin/settings", &set).await.ok();
        let since = Instant::now();
        eventually("the other has heard", PATIENCE, async || {
            (two.nobody().get("/api/site").await.ok()["name"] == name.as_str()).then_some(())
        })
        .await;
        took.push(since.elapsed());
    }
    println!("until another process had a setting: {took:?}");
    // How long a single round takes depends on what else the machine does.
    assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_granted_once_though_the_process_dies_beside_the_grant() {
    for point in ["decide.encoded", "decide.appended"] {
        let options = GatewayOptions::default();
        let gateway = options.start().await;
        let operator = Operator::of(&gateway).await;
        let (user, patient) = (User::new(&gateway).await, User::new(&gateway).await);
        let body = json!({"name": "two", "count": 2, "credits": "3"});
        let codes = operator.api.post("/api/admin/redemption-codes", &body).await.ok()["secrets"].clone();
        gateway.stop().await;
        for (person, code, comes_again) in [(&user, &codes[0], true), (&patient, &codes[1], false)] {
            let mut dying = options.clone().environment("CRASH_AT", &format!("{point}:1")).start().await;
            let body = Some(("application/json", json!({"code": code}).to_string().into_bytes()));
            let api = person.api.at(dying.url());
            assert!(api.try_send(Method::POST, "/api/user/redeem", body).await.is_err(), "{point}");
            eventually("it died", PATIENCE, async || dying.has_ended().then_some(())).await;
            drop(dying);

            let gateway = options.start().await;
            let person = User { id: person.id.clone(), api: person.api.at(gateway.url()) };
            if comes_again {
                person.api.post("/api/user/redeem", &json!({"code": code})).await.ok();
            }
            // The other waits, and is given what is theirs.
            person.until_total(credits(&json!("3"))).await;
            let again = person.api.post("/api/user/redeem", &json!({"code": code})).await.ok();
            let end = again["event_seq"].as_u64().unwrap();
            let total = person.api.get(&format!("/api/user/balance?after={end}")).await.ok()["total"].clone();
            assert_eq!(total, "3", "{point}");
            gateway.stop().await;
        }
        options.audit().await.assert_all_leases_closed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_is_refused_on_every_node_within_a_second_and_what_runs_goes_on() {
    let (nats, database, provider) =
        tokio::join!(Nats::start(), databases::postgres(), FakeProvider::start(Behaviour::default()));
    let shared = Shared::new(&database).with("NEXUSROUTE_NATS_URL", &nats.url());
    let (api, one, two) =
        tokio::join!(shared.start("api,projector"), shared.start("relay"), shared.start("relay"));
    let operator = Operator::of(&api).await;
    operator.offers(MODEL, provider.url(), "0", OUTPUT).await;
    let mut user = User::with_credits(&api, &operator, "5").await;
    let name = text(&user.api.get("/api/user/self").await.ok()["username"]);
    let key = user.makes_key_with(json!({"name": "mine"})).await;
    let callers = [&one, &two].map(|relay| Caller::new(relay, &text(&key["secret"])));
    let answers = async |caller: &Caller, expected: u16| {
        let since = Instant::now();
        eventually("the relay has heard", PATIENCE, async || {
            // Asked of the key alone: no call waits at the provider for this.
            (caller.api.get("/v1/models").await.status == expected).then_some(())
        })
        .await;
        since.elapsed()
    };
    let (of_key, of_user) =
        (format!("/api/user/keys/{}", text(&key["id"])), format!("/api/admin/users/{}", user.id));
    let (off, on) = (json!({"status": "disabled"}), json!({"status": "active"}));
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..3 {
        for caller in &callers {
            answers(caller, 200).await;
        }
        // A stream that runs when its key is switched off goes on to its end.
        let running = if round == 0 {
            provider.close_gate();
            let mut body = chat(MODEL, TOKENS);
            body["stream"] = json!(true);
            let stream = tokio::spawn({
                let api = callers[0].api.clone();
                async move { api.post("/v1/chat/completions", &body).await }
            });
            provider.until_waiting(1).await;
            Some(stream)
        } else {
            None
        };
        patch(&user.api, &of_key, &off).await.ok();
        let (first, second) = tokio::join!(answers(&callers[0], 401), answers(&callers[1], 401));
        took[0].push(first.max(second));
        if let Some(stream) = running {
            provider.open_gate();
            let answer = stream.await.unwrap();
            assert!(answer.status == 200 && answer.text.contains("[DONE]"), "{answer:?}");
        }
        patch(&user.api, &of_key, &on).await.ok();
        for caller in &callers {
            answers(caller, 200).await;
        }
        patch(&operator.api, &of_user, &off).await.ok();
        let (first, second) = tokio::join!(answers(&callers[0], 403), answers(&callers[1], 403));
        took[1].push(first.max(second));
        patch(&operator.api, &of_user, &on).await.ok();
        // Being switched off has ended the session.
        user.api.get("/api/user/self").await.problem(401);
        user.api = log_in(&api, &name, PASSWORD).await;
    }
    println!("until every relay refused a key, and a user: {took:?}");
    // How long a single round takes depends on what else the machine does.
    for took in took {
        assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
    }
    for gateway in [one, two, api] {
        gateway.stop().await;
    }
}
