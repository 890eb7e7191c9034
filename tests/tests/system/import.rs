//! Databases of other gateways brought here: to the last unit of quota, once, whatever happens in between.

use domain::Credits;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use system_tests::old_gateways::{self, Engine, NEW_API, ONE_API, PASSWORD};
use system_tests::{
    Behaviour, FakeProvider, Gateway, GatewayOptions, credits, databases, eventually,
    people::{Caller, Operator, User, log_in, text, try_log_in},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_api_database_in_a_sqlite_file_becomes_this_gateways() {
    imports(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_api_database_in_postgresql_becomes_this_gateways() {
    imports(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_api_database_in_mariadb_becomes_this_gateways() {
    imports(Engine::MariaDb).await;
}

/// What is planted in `new_api.sql`, and how often.
const PLANTED: &[(&str, u64)] = &[
    ("negative_quota", 1),
    ("quota_bound", 1),
    ("used_quota_differs", 1),
    ("referral_quota", 1),
    ("deleted_users", 1),
    ("disabled_users", 1),
    ("operators", 2),
    ("no_password", 1),
    ("email_missing", 2),
    ("email_invalid", 1),
    ("email_duplicate", 1),
    ("username_changed", 1),
    ("group_without_ratio", 1),
    ("orphan_keys", 1),
    ("deleted_keys", 2),
    ("disabled_keys", 1),
    ("key_unusable", 1),
    ("key_negative_quota", 1),
    ("key_above_balance", 1),
    ("key_group", 1),
    ("key_network", 1),
    ("unknown_channel_type", 1),
    ("unsupported_channel_type", 1),
    ("disabled_channels", 1),
    ("channel_groups", 1),
    ("channel_options", 1),
    ("channel_renamed", 1),
    ("model_mapping", 1),
    ("model_without_price", 1),
    ("price_tiered", 1),
    ("ratio_pattern", 1),
    ("redemption_codes", 2),
    ("redemption_codes_used", 2),
    ("redemption_codes_odd", 1),
    ("top_up_pending", 1),
    ("top_up_duplicate", 1),
    ("top_up_time", 1),
    ("top_up_orphan", 1),
    ("not_imported", 1),
    ("unknown_tables", 1),
    ("secrets_skipped", 1),
];

/// The quota of all users that have a balance to bring: root, alice, bob, carol, frank, admin, grace.
const QUOTA: i64 = 100_000_000 + 12_345_678 + 1 + 500_000 + 2_147_483_647 + 3 + 20_000_000;

fn report(output: &std::process::Output) -> Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON:\n{out}\n{err}"))
}

fn anomalies(report: &Value) -> BTreeMap<String, u64> {
    let all = report["anomalies"].as_array().unwrap().iter();
    all.map(|it| (text(&it["code"]), it["count"].as_u64().unwrap())).collect()
}

async fn import(options: &GatewayOptions, from: &str, more: &[&str]) -> Value {
    report(&options.run(&[&["import", "--from", from, "--json"], more].concat()).await)
}

async fn imports(engine: Engine) {
    let provider = FakeProvider::start(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let from = old_gateways::seeded(engine, NEW_API, provider.url(), folder.path()).await;
    let mut options = GatewayOptions::default();
    let mut own = options.data().join("nexusroute.db").display().to_string();
    match engine {
        Engine::Sqlite => {}
        Engine::Postgres => own = databases::postgres().await,
        Engine::MariaDb => own = databases::mariadb().await,
    }
    if engine != Engine::Sqlite {
        options = options.environment("NEXUSROUTE_DATABASE_URL", &own);
    }

    // Before there is anything here, a dry run tells all and leaves nothing.
    let dry = import(&options, &from, &["--dry-run"]).await;
    assert!(!options.data().exists(), "a dry run makes no data folder");
    let told = anomalies(&dry);
    for (code, count) in PLANTED.iter().filter(|(code, _)| *code != "username_changed") {
        assert_eq!(told.get(*code), Some(count), "{code}: {dry:#}");
    }
    assert_eq!(told.get("nothing_here"), Some(&1), "{dry:#}");
    assert_eq!(dry["balances"]["imported"]["quota"], QUOTA.to_string());
    assert_eq!(dry["balances"]["all_rows"]["quota"], (QUOTA - 700 + 999_999).to_string());
    assert_eq!(dry["balances"]["on_ledger"], Value::Null);
    let printed = options.run(&["import", "--from", &from, "--dry-run"]).await;
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    for shown in
        ["used_quota_differs (1, 277 quota)", "user 10 (grace): used_quota 777, logs 500", "a dry run"]
    {
        assert!(printed.contains(shown), "{printed}");
    }
    for secret in
        ["sk-upstream-one", "a secret of the old site", "socks5", "$2a$", &old_gateways::key(1)[3..]]
    {
        assert!(!printed.contains(secret) && !dry.to_string().contains(secret), "{secret}: {printed}");
    }

    let refused = options.run(&["import", "--from", &from]).await;
    assert!(!refused.status.success(), "without an operator there is nobody to look after it");
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    let dry = import(&options, &from, &["--dry-run"]).await;
    let told = anomalies(&dry);
    for (code, count) in PLANTED {
        assert_eq!(told.get(*code), Some(count), "{code}: {dry:#}");
    }
    assert_eq!(told.get("nothing_here"), None, "{dry:#}");
    let users = operator.api.get("/api/admin/users").await.ok();
    assert_eq!(users["items"].as_array().unwrap().len(), 1, "a dry run writes nothing: {users}");

    // The run dies when users, keys and some balances are here, and the next one completes it.
    let killed = options.clone().environment("CRASH_AT", "decide.encoded:4");
    let killed = killed.run(&["import", "--from", &from]).await;
    assert!(!killed.status.success(), "{killed:?}");
    let done = import(&options, &from, &[]).await;
    let balances = &done["balances"];
    assert_eq!(balances["difference"], "0", "{done:#}");
    assert_eq!(balances["imported"]["quota"], QUOTA.to_string());
    let expected = Credits::from_nano(QUOTA * 2_000);
    assert_eq!(credits(&balances["on_ledger"]["credits"]), expected);
    assert_eq!(balances["on_ledger"]["accounts"], 7);
    let appended = balances["on_ledger"]["events_appended"].as_u64().unwrap();
    assert!((1..=7).contains(&appended), "one at least was missing: {done:#}");
    assert_eq!(done["counts"]["users"], json!({"source": 10, "imported": 0, "already": 9}), "{done:#}");
    assert_eq!(anomalies(&done).get("unknown_tables"), Some(&1));

    works_as_before(&gateway, &operator, &provider, &own).await;

    // Once more: nothing, though the old site went on for a while.
    old_gateways::execute(&from, "UPDATE users SET quota = quota + 5 WHERE id = 3").await;
    let again = import(&options, &from, &[]).await;
    for what in ["users", "keys", "providers", "prices", "groups", "top-ups", "redemption codes"] {
        assert_eq!(again["counts"][what]["imported"].as_u64().unwrap_or(0), 0, "{what}: {again:#}");
    }
    let on_ledger = &again["balances"]["on_ledger"];
    assert_eq!((&on_ledger["events_appended"], &on_ledger["accounts"]), (&json!(0), &json!(7)));
    assert_eq!(again["balances"]["difference"], "0");
    assert_eq!(anomalies(&again).get("changed_since_import"), Some(&1), "{again:#}");
    let bob = log_in(&gateway, "bob", PASSWORD).await;
    let held = bob.get("/api/user/balance").await.ok();
    assert_eq!(held["total"], "0.010002", "a quota of 1, and of a code that was redeemed before: {held}");
    // The other code is good for once more, by whoever has it; the old forms of case and dashes do not matter.
    let typed = json!({"code": "3123-4567-89ab-cdef-0123-4567-89AB-CDEF"});
    let again = bob.post("/api/user/redeem", &typed).await.ok();
    assert_eq!(again["credits"], "0.01");
    let alice = log_in(&gateway, "alice", PASSWORD).await;
    assert_eq!(alice.post("/api/user/redeem", &typed).await.problem(409), "code_used");

    gateway.stop().await;
    let verified = report(&options.run(&["ledger", "verify", "--json"]).await);
    assert_eq!(
        (&verified["clean"], &verified["tables"]["equal"]),
        (&json!(true), &json!(true)),
        "{verified}"
    );
}

/// Passwords, keys, prices and balances do what they did.
async fn works_as_before(gateway: &Gateway, operator: &Operator, provider: &FakeProvider, own: &str) {
    let hash = async |name: &str| {
        old_gateways::text_of(own, &format!("SELECT password_hash FROM users WHERE username = '{name}'"))
            .await
    };
    assert!(hash("alice").await.starts_with("$2a$10$"));
    assert_eq!(try_log_in(gateway, "alice", "another password").await.status, 401);
    assert!(hash("alice").await.starts_with("$2a$10$"), "a wrong password changes nothing");
    log_in(gateway, "alice@example.com", PASSWORD).await;
    assert!(hash("alice").await.starts_with("$argon2id$"));
    let alice = log_in(gateway, "ALICE", PASSWORD).await;
    assert_eq!(try_log_in(gateway, "alice", "another password").await.status, 401);
    assert_eq!(try_log_in(gateway, "carol", PASSWORD).await.status, 403, "disabled, as she was");
    for nobody in ["erin", "frank"] {
        assert_eq!(try_log_in(gateway, nobody, PASSWORD).await.status, 401, "{nobody}");
    }
    log_in(gateway, "张三", PASSWORD).await;

    let me = alice.get("/api/user/self").await.ok();
    assert_eq!((&me["group"], &me["email_verified"]), (&json!("vip"), &json!(false)));
    assert_eq!(text(&me["created_at"])[..10], *"2025-10-09");
    let alice = User { id: text(&me["id"]), api: alice };
    let opening = credits(&json!("24.691356"));
    alice.until_total(opening).await;
    let lines = alice.every("/api/user/billing").await;
    assert_eq!((lines.len(), &lines[0]["type"]), (1, &json!("grant")), "{lines:?}");
    let past = alice.api.get("/api/user/topup/imported").await.ok();
    let expected = json!([{
        "trade_no": "USR2NOabc", "channel": "epay", "paid": "365.25", "credits": "50", "status": "success",
        "created_at": "2025-10-09T08:56:40.000000Z", "completed_at": "2025-10-09T08:58:20.000000Z",
    }]);
    assert_eq!(past["items"], expected);

    // The key works unchanged, at the old price: (10 × 2 + 20 × 6) ÷ 1,000,000 × 0.5.
    let caller = Caller::new(gateway, &old_gateways::key(1));
    let answer = eventually("the catalogue has the imported keys", Duration::from_secs(10), async || {
        let answer = caller.chat("old-model", 20).await;
        (answer.status != 401).then_some(answer)
    })
    .await;
    answer.ok();
    alice.until_total(credits(&json!("24.691286"))).await;
    let keys = alice.every("/api/user/keys").await;
    let limited = keys.iter().find(|key| key["name"] == "limited").unwrap();
    assert_eq!(limited["budget"], json!({"credits": "12", "period": "total"}));
    Caller::new(gateway, &old_gateways::key(2)[3..]).chat("mapped", 20).await.ok();
    let seen = provider.seen();
    assert_eq!(seen.last().unwrap().body["model"], "upstream-real");
    let sent = seen.iter().map(|it| it.headers["authorization"].to_str().unwrap());
    assert!(sent.clone().all(|key| key.starts_with("Bearer sk-upstream-")), "{:?}", sent.collect::<Vec<_>>());
    for (number, model, status) in [
        (1, "unpriced", 503),
        (1, "tiered", 503),
        (3, "old-model", 401),
        (4, "old-model", 401),
        (6, "old-model", 401),
        (7, "old-model", 403),
        (8, "old-model", 401),
        (9, "old-model", 402),
        (10, "mapped", 403),
        (12, "old-model", 401),
    ] {
        let answer = Caller::new(gateway, &old_gateways::key(number)).chat(model, 20).await;
        assert_eq!(answer.status, status, "key {number}, {model}: {}", answer.text);
    }

    // An old code is redeemed once, by one person; what was used or over there is nothing here.
    let bob = log_in(gateway, "bob", PASSWORD).await;
    let code = |first: u32| json!({"code": format!("{first}123456789abcdef0123456789abcdef")});
    for _ in 0..2 {
        assert_eq!(bob.post("/api/user/redeem", &code(0)).await.ok()["credits"], "0.01");
    }
    assert_eq!(alice.api.post("/api/user/redeem", &code(0)).await.problem(409), "code_used");
    for gone in [1, 2, 4] {
        assert_eq!(bob.post("/api/user/redeem", &code(gone)).await.problem(404), "unknown_code");
    }
    let batches = operator.api.get("/api/admin/redemption-codes").await.ok();
    assert_eq!(
        batches["items"].as_array().unwrap().len(),
        2,
        "one that ends and one that does not: {batches}"
    );

    let providers = operator.api.get("/api/admin/providers").await.ok();
    let status = |name: &str| {
        let all = providers["items"].as_array().unwrap();
        let found = all.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}: {providers}"));
        (text(&found["status"]), text(&found["api_format"]))
    };
    let expected = |status: &str, format: &str| (status.to_owned(), format.to_owned());
    assert_eq!(status("main"), expected("active", "openai"));
    assert_eq!(status("of a fork"), expected("disabled", "custom"));
    assert_eq!(status("bedrock"), expected("disabled", "custom"));
    assert_eq!(status("main (4)"), expected("disabled", "claude"));
    assert_eq!(status("gold"), expected("disabled", "gemini"), "it served one group only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_api_database_becomes_this_gateways() {
    let provider = FakeProvider::start(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let from = old_gateways::seeded(Engine::Sqlite, ONE_API, provider.url(), folder.path()).await;
    let options = GatewayOptions::default();
    let gateway = options.start().await;
    let done = import(&options, &from, &["--without-operator-balances", "--emails-verified"]).await;
    assert_eq!(done["kind"], "one-api");
    assert_eq!(done["balances"]["left_out"]["operators"]["quota"], "500000000000000", "{done:#}");
    assert_eq!(done["balances"]["imported"]["quota"], "2147483648");
    assert_eq!(done["balances"]["difference"], "0");
    let alice = log_in(&gateway, "alice", PASSWORD).await;
    let me = alice.get("/api/user/self").await.ok();
    assert_eq!(me["email_verified"], true);
    let alice = User { id: text(&me["id"]), api: alice };
    alice.until_total(credits(&json!("4294.967296"))).await;
    // One API prices what is sent: ratio 1, not 100.
    let caller = Caller::new(&gateway, &old_gateways::key(1));
    eventually("the imported key works", Duration::from_secs(10), async || {
        let answer = caller.chat("old-model", 20).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(provider.seen().last().unwrap().body["model"], "sent-model");
    alice.until_total(credits(&json!("4294.967226"))).await;
    assert_eq!(Caller::new(&gateway, &old_gateways::key(2)).chat("old-model", 20).await.status, 403);

    // Another database is not taken for this one, under a name of its own it is imported beside it.
    let other = tempfile::tempdir().unwrap();
    let other = old_gateways::seeded(Engine::Sqlite, ONE_API, provider.url(), other.path()).await;
    old_gateways::execute(&other, "UPDATE users SET aff_code = 'else' WHERE id = 1").await;
    let refused = options.run(&["import", "--from", &other]).await;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another database"), "{refused:?}");
    let beside = import(&options, &other, &["--source", "second"]).await;
    assert_eq!(anomalies(&beside).get("key_taken"), Some(&2), "{beside:#}");
    assert_eq!(beside["balances"]["difference"], "0");
    gateway.stop().await;
}
