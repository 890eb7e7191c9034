//! Many calls at once on little money: never more is spent than there is, and never less is billed than was answered.

use domain::Credits;
use futures_util::future::join_all;
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use system_tests::{
    Behaviour, FakeProvider, Gateway, credits, eventually,
    people::{Caller, Operator, User, text},
};

const MODEL: &str = "crowded-model";
/// Prompts are free and a generated token costs 0.001 credits, so that a call's worst case is its `max_tokens` alone.
const OUTPUT: &str = "1000";
/// Worst case 0.1 credits.
const MOST_TOKENS: u64 = 100;

fn answers_with(tokens: u64) -> Behaviour {
    Behaviour { usage: Some((10, tokens)), ..Behaviour::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_calls_at_once_exactly_the_fifty_that_are_paid_for_are_answered() {
    let (gateway, provider) = tokio::join!(Gateway::start(), FakeProvider::start(answers_with(40)));
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", OUTPUT).await;
    let user = User::with_credits(&gateway, &operator, "5").await;
    let caller = Caller::new(&gateway, &user.makes_key().await);

    // The provider holds every call back, so that all 200 want their worst case at the same time.
    provider.close_gate();
    let calls = join_all((0..200).map(|_| caller.chat(MODEL, MOST_TOKENS)));
    let opener = async {
        provider.until_waiting(50).await;
        // All that could be admitted is; whoever else comes must be refused, not wait for luck.
        let mut refused = 0;
        let late = caller.chat(MODEL, MOST_TOKENS).await;
        refused += usize::from(late.openai_error(402) == "insufficient_credits");
        assert_eq!(
            (refused, provider.waiting()),
            (1, 50),
            "more calls reached the provider than can be paid"
        );
        let reserved = user.balance().await;
        assert_eq!((reserved.available, reserved.total.to_string()), (Credits::ZERO, "5".to_owned()));
        // Only now may a call end and make room.
        refusals_are_done(&gateway).await;
        provider.open_gate();
    };
    let (answers, ()) = tokio::join!(calls, opener);

    let (answered, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    refused.iter().for_each(|answer| assert_eq!(answer.openai_error(402), "insufficient_credits"));
    assert_eq!((answered.len(), refused.len()), (50, 150));
    // 50 × 40 tokens × 0.001
    let balance = user.until_total(credits(&json!("3"))).await;
    assert!(!balance.available.is_negative());
    let idle = user.until_nothing_is_reserved().await;
    assert_eq!(idle.available, idle.total);
    the_books_agree(
        gateway,
        &user,
        "5",
        &answered.iter().map(|it| it.header("x-request-id").unwrap().to_owned()).collect(),
    )
    .await;
}

/// Waits until the requests that were refused have been answered: nothing but the held calls is in flight any more.
async fn refusals_are_done(gateway: &Gateway) {
    let api = gateway.nobody();
    eventually("only the held calls are in flight", Duration::from_secs(30), async || {
        let ready = api.get("/readyz").await.ok();
        (ready["meter"]["calls_in_flight"] == 50).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_with_a_short_purse_spends_it_to_the_last_credit_and_not_below() {
    let (gateway, provider) = tokio::join!(Gateway::start(), FakeProvider::start(answers_with(MOST_TOKENS)));
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, provider.url(), "0", OUTPUT).await;
    let user = User::with_credits(&gateway, &operator, "5").await;
    let keys = [user.makes_key().await, user.makes_key().await];
    let callers = keys.each_ref().map(|key| Caller::new(&gateway, key));

    let answers = join_all((0..200).map(|n| callers[n % 2].chat(MODEL, MOST_TOKENS))).await;
    let answered: BTreeSet<String> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.header("x-request-id").unwrap().to_owned())
        .collect();
    answers
        .iter()
        .filter(|it| it.status != 200)
        .for_each(|it| assert_eq!(it.openai_error(402), "insufficient_credits"));
    // Each answered call took its whole worst case, so that exactly fifty fit whatever the order.
    assert_eq!(answered.len(), 50);
    user.until_total(Credits::ZERO).await;
    assert_eq!(caller_is_told_where_to_pay(&callers[0], &gateway).await, 402);
    // Money again, calls again.
    operator.adjusts(&user, "0.1").await.ok();
    let last = callers[0].chat(MODEL, MOST_TOKENS).await;
    last.ok();
    user.usage(last.header("x-request-id").unwrap()).await;
    user.until_total(Credits::ZERO).await;
    let mut paid = answered;
    paid.insert(last.header("x-request-id").unwrap().to_owned());
    the_books_agree(gateway, &user, "5.1", &paid).await;
}

async fn caller_is_told_where_to_pay(caller: &Caller, gateway: &Gateway) -> u16 {
    let refused = caller.chat(MODEL, MOST_TOKENS).await;
    assert_eq!(refused.openai_error(402), "insufficient_credits");
    assert!(text(&refused.json()["error"]["message"]).contains(gateway.url()), "{}", refused.text);
    refused.status
}

/// The calls that were answered, the usage list and the log name the same calls and the same sums.
async fn the_books_agree(gateway: Gateway, user: &User, credits_in: &str, answered: &BTreeSet<String>) {
    let listed = user.every("/api/user/usage").await;
    let ids: BTreeSet<String> = listed.iter().map(|call| text(&call["id"])).collect();
    assert_eq!(ids, *answered);
    let charged = Credits::checked_sum(listed.iter().map(|call| credits(&call["charge"]))).unwrap();
    let options = gateway.options().clone();
    gateway.stop().await;
    let books = options.audit().await;
    books.assert_all_leases_closed();
    let account = books.account(&user.id);
    assert_eq!(account.credits_in, credits(&json!(credits_in)));
    assert_eq!((account.paid, &account.requests), (charged, answered));
}
