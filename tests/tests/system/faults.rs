//! A log that dies and comes back: refusals are clear, nothing is counted twice, nothing is lost.

use domain::Credits;
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use system_tests::{
    Behaviour, FakeProvider, Gateway, GatewayOptions, Nats, auditor, credits, eventually,
    people::{Caller, Operator, User, chat, text},
    process::signal,
};

const MODEL: &str = "steady-model";

/// One call is 20 tokens at 0.001 credits.
fn price_of(calls: usize) -> Credits {
    Credits::from_nano(20_000_000 * i64::try_from(calls).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nats_child_is_started_again_and_calls_go_on() {
    let (gateway, provider) = tokio::join!(Gateway::start(), FakeProvider::start(Behaviour::default()));
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let user = User::with_credits(&gateway, &operator, "10").await;
    let caller = Caller::new(&gateway, &user.makes_key().await);
    let mut answered = BTreeSet::new();
    let mut count = |answer: &system_tests::Answer| {
        if answer.status == 200 {
            answered.insert(answer.header("x-request-id").unwrap().to_owned());
        } else {
            answer.openai_error(503);
        }
    };
    let first = caller.chat(MODEL, 20).await;
    first.ok();
    count(&first);

    let killed = gateway.nats_id().expect("it has a child");
    signal("KILL", killed);
    // Calls while it is away may be served from the lease or refused for now; never anything else.
    for _ in 0..20 {
        count(&caller.chat(MODEL, 20).await);
    }
    eventually("the child is back", Duration::from_secs(30), async || {
        gateway.nats_id().filter(|id| *id != killed)
    })
    .await;
    // A new account needs the log itself: its top-up and its lease.
    let other = User::new(&gateway).await;
    eventually("the ledger takes decisions again", Duration::from_secs(30), async || {
        let answer = operator.adjusts(&other, "1").await;
        if answer.status == 503 { None } else { Some(answer.ok()) }
    })
    .await;
    Caller::new(&gateway, &other.makes_key().await).chat(MODEL, 20).await.ok();
    let last = caller.chat(MODEL, 20).await;
    last.ok();
    count(&last);

    user.until_total(credits(&json!("10")).checked_sub(price_of(answered.len())).unwrap()).await;
    other.until_total(credits(&json!("1")).checked_sub(price_of(1)).unwrap()).await;
    let options = gateway.options().clone();
    gateway.stop().await;
    let books = options.audit().await;
    books.assert_all_leases_closed();
    assert_eq!(books.account(&user.id).requests, answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_is_away_money_does_not_move_and_afterwards_all_is_there() {
    let (mut nats, provider) = tokio::join!(Nats::start(), FakeProvider::start(Behaviour::default()));
    let gateway = GatewayOptions::default().nats(&nats).start().await;
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", "1000").await;
    let leased = User::with_credits(&gateway, &operator, "10").await;
    let fresh = User::with_credits(&gateway, &operator, "10").await;
    let leased_caller = Caller::new(&gateway, &leased.makes_key().await);
    let fresh_caller = Caller::new(&gateway, &fresh.makes_key().await);
    leased_caller.chat(MODEL, 20).await.ok();
    leased.until_total(credits(&json!("10")).checked_sub(price_of(1)).unwrap()).await;
    let before = fresh.balance().await;

    nats.go_away().await;
    // What a user asks for is refused, says so, and can be tried again.
    let topup = fresh.api.post("/api/user/topup", &json!({"amount": "50.00", "channel": "sandbox"})).await;
    assert_eq!(topup.problem(503), "ledger_unavailable", "{}", topup.text);
    assert!(topup.header("retry-after").is_some(), "{topup:?}");
    // An operator's act is noted, and waits for the log.
    let adjustment = operator.adjusts(&fresh, "1").await;
    assert_eq!(adjustment.status, 202, "{}", adjustment.text);
    assert!(adjustment.text.contains(r#""state":"approved""#), "{}", adjustment.text);
    let refused = fresh_caller.chat(MODEL, 20).await;
    refused.openai_error(503);
    // What was leased before may be spent for a while; what comes out is whole answers or refusals.
    let mut answered = 1;
    for _ in 0..5 {
        let answer = leased_caller.chat(MODEL, 20).await;
        if answer.status == 200 {
            answered += 1;
        } else {
            answer.openai_error(503);
        }
    }
    // Unrecorded usage is bounded: at last the leased account is refused as well, before its lease is spent.
    eventually("the relay refuses to serve unrecorded", Duration::from_secs(120), async || {
        let answer = leased_caller.chat(MODEL, 20).await;
        if answer.status == 200 {
            answered += 1;
            return None;
        }
        answer.openai_error(503);
        Some(())
    })
    .await;
    assert_eq!(gateway.nobody().get("/healthz").await.status, 200, "the process itself is well");
    assert_eq!(gateway.nobody().get("/readyz").await.status, 503);
    assert_eq!(fresh.balance().await, before, "reading goes on, and shows what is true");

    nats.come_back().await;
    eventually("the gateway is ready again", Duration::from_secs(60), async || {
        (gateway.nobody().get("/readyz").await.status == 200).then_some(())
    })
    .await;
    let calls = async |caller: &Caller| {
        eventually("calls go on", Duration::from_secs(60), async || {
            let answer = caller.chat(MODEL, 20).await;
            if answer.status == 503 { None } else { Some(answer.ok()) }
        })
        .await;
    };
    calls(&fresh_caller).await;
    calls(&leased_caller).await;
    answered += 1;
    leased.until_total(credits(&json!("10")).checked_sub(price_of(answered)).unwrap()).await;
    fresh.until_total(credits(&json!("11")).checked_sub(price_of(1)).unwrap()).await;

    gateway.stop().await;
    let books = auditor::audit(&nats.ledger().await);
    books.assert_all_leases_closed();
    assert_eq!(books.account(&leased.id).requests.len(), answered);
    let came_in = books.account(&fresh.id).credits_in;
    assert_eq!(
        came_in,
        credits(&json!("11")),
        "the refused top-up left nothing, and what waited was done once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_fails_costs_nothing_and_one_that_breaks_off_costs_what_was_delivered() {
    let (gateway, provider) = tokio::join!(Gateway::start(), FakeProvider::start(Behaviour::default()));
    let operator = Operator::of(&gateway).await;
    let terms = json!({"base_url": provider.url(), "api_format": "openai"});
    let offered = operator.offers_as(MODEL, terms, "0", "1000").await;
    let user = User::with_credits(&gateway, &operator, "1").await;
    let caller = Caller::new(&gateway, &user.makes_key().await);

    for (theirs, ours) in [(500, 502), (401, 502), (429, 429), (400, 400)] {
        provider.behave(Behaviour { status: theirs, ..Behaviour::default() });
        let answer = caller.chat(MODEL, 20).await;
        answer.openai_error(ours);
        assert!(
            !answer.text.contains(provider.url()),
            "where the provider is is the operator's affair: {}",
            answer.text
        );
        // A refused key or a busy provider is left alone for a while, unless the operator says that it is mended.
        let reset = format!("/api/admin/providers/{}/reset-health", text(&offered["id"]));
        operator.api.post(&reset, &json!({})).await.assert_success();
    }
    // No usage from the provider: counted by what came out of it, whether it broke off or simply does not count.
    let sentence: Vec<String> =
        "One two three four five six seven eight nine ten.".split_inclusive(' ').map(Into::into).collect();
    let mut charged = Credits::ZERO;
    let behaviours = [
        Behaviour { usage: None, pieces: sentence.clone(), ..Behaviour::default() },
        Behaviour { usage: None, pieces: sentence, cut_after: Some(5), ..Behaviour::default() },
    ];
    for (behaviour, outcome) in behaviours.into_iter().zip(["completed", "provider_error"]) {
        provider.behave(behaviour);
        let mut body = chat(MODEL, 50);
        body["stream"] = json!(true);
        let answer = caller.api.post("/v1/chat/completions", &body).await;
        answer.assert_success();
        assert_eq!(answer.text.contains("[DONE]"), outcome == "completed", "{}", answer.text);
        assert_eq!(answer.text.contains("\"error\""), outcome != "completed", "{}", answer.text);
        let receipt = user.usage(answer.header("x-request-id").unwrap()).await;
        assert_eq!(
            (&receipt["outcome"], &receipt["usage_source"]),
            (&json!(outcome), &json!("estimated")),
            "{receipt}"
        );
        let charge = credits(&receipt["charge"]);
        assert!(charge.is_positive() && charge < credits(&json!("0.03")), "a token costs 0.001: {receipt}");
        charged = charged.checked_add(charge).unwrap();
    }
    user.until_total(credits(&json!("1")).checked_sub(charged).unwrap()).await;
    let options = gateway.options().clone();
    gateway.stop().await;
    let books = options.audit().await;
    books.assert_all_leases_closed();
    assert_eq!(books.account(&user.id).paid, charged);
}
