//! Starting, stopping, starting again.

use domain::Credits;
use serde_json::json;
use std::time::Duration;
use system_tests::{
    Behaviour, FakeProvider, Gateway, GatewayOptions, credits, eventually,
    gateway::ADMIN_PASSWORD,
    people::{Caller, Operator, User, chat, log_in, try_log_in},
};

const MODEL: &str = "patient-model";

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_reuses_everything() {
    let provider = FakeProvider::start(Behaviour::default()).await;
    let options = GatewayOptions::default();
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let user = User::with_credits(&gateway, &operator, "1").await;
    let key = user.makes_key().await;
    Caller::new(&gateway, &key).chat(MODEL, 20).await.ok();
    let left = credits(&json!("0.98"));
    user.until_total(left).await;
    let billing = user.every("/api/user/billing").await;
    gateway.stop().await;

    // Another password in the environment changes nothing: the admin exists.
    let again = options.environment("NEXUSROUTE_ADMIN_PASSWORD", "some other password").start().await;
    assert_eq!(try_log_in(&again, "admin", "some other password").await.status, 401);
    log_in(&again, "admin", ADMIN_PASSWORD).await;
    let user = User { api: user.api.at(again.url()), ..user };
    let balance = user.balance().await;
    assert_eq!(
        (balance.total, balance.reserved),
        (left, Credits::ZERO),
        "the session is good, the lease came back"
    );
    assert_eq!(user.every("/api/user/billing").await, billing);
    Caller::new(&again, &key).chat(MODEL, 20).await.ok();
    user.until_total(credits(&json!("0.96"))).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_an_admin_and_shows_the_password_once() {
    let options = GatewayOptions::default().generated_admin_password();
    let gateway = options.start().await;
    let output = gateway.output();
    let candidates = output.lines().filter(|line| line.to_lowercase().contains("password"));
    let mut words = candidates.flat_map(|line| line.split_whitespace()).filter(|word| word.len() >= 12);
    let mut found = None;
    for word in words.by_ref() {
        if try_log_in(&gateway, "admin", word).await.status == 200 {
            found = Some(word.to_owned());
            break;
        }
    }
    let password = found.unwrap_or_else(|| panic!("no password that works was printed:\n{output}"));
    let data = options.data();
    for part in [gateway.url(), data.to_str().unwrap(), "always"] {
        assert!(output.contains(part), "the banner does not show {part}:\n{output}");
    }
    gateway.stop().await;
    let again = options.start().await;
    assert!(!again.output().contains(&password), "{}", again.output());
    log_in(&again, "admin", &password).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_calls_finish_and_leaves_nothing_open() {
    for (signal, streamed) in [("TERM", false), ("INT", true)] {
        a_call_survives(signal, streamed).await;
    }
}

/// The signal goes to the whole process group, as from a terminal: the nats-server must outlive the drain.
async fn a_call_survives(signal: &str, streamed: bool) {
    let (gateway, provider) = tokio::join!(Gateway::start(), FakeProvider::start(Behaviour::default()));
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let user = User::with_credits(&gateway, &operator, "1").await;
    let caller = Caller::new(&gateway, &user.makes_key().await);
    let options = gateway.options().clone();
    let nats = gateway.nats_id().expect("it has a child");
    let nobody = gateway.nobody();

    provider.close_gate();
    let mut body = chat(MODEL, 50);
    body["stream"] = json!(streamed);
    let call = caller.api.post("/v1/chat/completions", &body);
    let stop = async {
        provider.until_waiting(1).await;
        gateway.signal_group(signal);
        eventually("no new work is taken", Duration::from_secs(20), async || {
            match nobody.try_send(reqwest::Method::GET, "/readyz", None).await {
                Ok(answer) => (answer.status == 503).then_some(()),
                Err(_) => Some(()),
            }
        })
        .await;
        provider.open_gate();
        gateway.wait().await
    };
    let (answer, status) = tokio::join!(call, stop);
    assert!(status.success(), "it ended with {status}");
    answer.assert_success();
    assert!(answer.text.contains(if streamed { "[DONE]" } else { "The books balance." }), "{}", answer.text);
    assert!(!system_tests::process::runs_with(nats, &options.data()), "the child outlived its parent");

    let books = options.audit().await;
    books.assert_all_leases_closed();
    let account = books.account(&user.id);
    assert_eq!(account.paid, credits(&json!("0.02")));
    assert_eq!(account.requests.iter().next().map(String::as_str), answer.header("x-request-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_are_made_and_passwords_reset_from_the_command_line() {
    let gateway = Gateway::start().await;
    let printed = gateway.command(&["admin", "reset-password", "admin"]).await;
    assert_eq!(try_log_in(&gateway, "admin", ADMIN_PASSWORD).await.status, 401, "the old one is gone");
    let new = printed.split_whitespace().filter(|word| word.len() >= 12);
    let mut works = false;
    for word in new {
        works = works || try_log_in(&gateway, "admin", word).await.status == 200;
    }
    assert!(works, "no password that works was printed:\n{printed}");
    gateway.stop().await;
}
