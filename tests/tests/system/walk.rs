//! The first walk of a user, from registration to a bill that is right to the billionth, with the official OpenAI
//! client and a server that this project did not write.

use domain::Credits;
use futures_util::future::join_all;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use system_tests::{
    Gateway, GatewayOptions, credits, databases, eventually,
    foreign::{Llmock, Official, OwnAnswer, Speaks},
    people::{Operator, User, bought, presses, text, upstream_name},
};

const OPENAI: Official = Official { speaks: Speaks::OpenAi, is_node: false };
const MODEL: &str = "walk-model";
/// Credits per million tokens: a token costs a whole number of nano-credits, so that nothing here is rounded.
const INPUT: &str = "3.25";
const OUTPUT: &str = "15.5";
const PROMPT: &str = "How many credits does an honest answer cost, and who keeps the books?";

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_call_is_billed_exactly_what_its_tokens_cost() {
    walks(GatewayOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_postgresql() {
    walks(GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &databases::postgres().await))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_mariadb() {
    walks(GatewayOptions::default().environment("NEXUSROUTE_DATABASE_URL", &databases::mariadb().await))
        .await;
}

async fn walks(options: GatewayOptions) {
    let (gateway, llmock) = tokio::join!(options.start(), Llmock::start());
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, &llmock.url(), INPUT, OUTPUT).await;

    let user = User::new(&gateway).await;
    assert_eq!(user.balance().await.total, Credits::ZERO);
    let bought = buys_credits(&user, "50.00").await;
    let key = user.makes_key().await;

    // The counts that the records must show are the server's own, asked past the gateway.
    let own = llmock.own_answer(&upstream_name(MODEL), PROMPT).await;
    let chat = |stream: bool, include_usage: bool| json!({"do": "chat", "model": MODEL, "prompt": PROMPT, "stream": stream, "include_usage": include_usage});
    let steps = json!([{"do": "models"}, chat(false, false), chat(true, false), chat(true, true)]);
    let answers = OPENAI.walk(gateway.url(), &key, &steps).await;
    assert_eq!(answers[0]["models"], json!([MODEL]));
    let calls = &answers[1..];
    what_the_client_saw(calls, &own);

    let price = own.price(INPUT, OUTPUT);
    assert!(price.is_positive());
    let mut charged = Credits::ZERO;
    for (call, streamed) in calls.iter().zip([false, true, true]) {
        let receipt = user.usage(&text(&call["request_id"])).await;
        a_receipt_adds_up(&receipt, &own, price, streamed);
        charged = charged.checked_add(price).unwrap();
    }
    let left = bought.checked_sub(charged).unwrap();
    let balance = user.until_total(left).await;
    assert_eq!(balance.available.checked_add(balance.reserved).unwrap(), left);
    every_view_agrees(&user, bought, charged).await;
    the_books_agree(&operator, &user, left).await;
    explain_shows_the_arithmetic(&gateway, &text(&calls[1]["request_id"]), &own, price).await;
    the_log_tells_the_same(gateway, &user, bought, charged, calls).await;
}

/// Tops up at the sandbox; answers how many credits that must buy, and checks that it did.
async fn buys_credits(user: &User, amount: &str) -> Credits {
    let options = user.api.get("/api/user/topup/options").await.ok();
    let expected = bought(amount, &options);
    let order = user.tops_up(amount, "pay").await;
    assert_eq!(credits(&order["credits"]), expected, "{order}");
    let balance = user.until_total(expected).await;
    assert_eq!(balance.available, expected, "nothing is leased yet");
    let path = format!("/api/user/topup/{}", text(&order["order"]));
    assert_eq!(user.api.get(&path).await.ok()["status"], "completed");
    expected
}

fn what_the_client_saw(calls: &[Value], own: &OwnAnswer) {
    for call in calls {
        assert_eq!(call["text"], own.text, "{call}");
        assert_eq!(call["finish_reason"], "stop", "{call}");
    }
    let usage = json!({"prompt_tokens": own.input, "completion_tokens": own.output, "total_tokens": own.input + own.output});
    let (whole, plain_stream, stream_with_usage) = (&calls[0], &calls[1], &calls[2]);
    assert_eq!(whole["usage"], usage);
    assert_eq!(stream_with_usage["usage"], usage);
    // The gateway asked the provider for a usage chunk that this caller did not ask for, and kept it to itself.
    assert_eq!(plain_stream["usage"], Value::Null);
    assert_eq!(plain_stream["chunks_without_choices"], 0);
    assert!(plain_stream["pieces"].as_u64().unwrap() > 1, "it came in pieces: {plain_stream}");
}

fn a_receipt_adds_up(receipt: &Value, own: &OwnAnswer, price: Credits, streamed: bool) {
    assert_eq!(receipt["model"], MODEL, "{receipt}");
    assert_eq!(receipt["tokens"]["input"], own.input, "{receipt}");
    assert_eq!(receipt["tokens"]["output"], own.output, "{receipt}");
    assert_eq!(receipt["usage_source"], "provider", "{receipt}");
    assert_eq!(receipt["outcome"], "completed", "{receipt}");
    assert_eq!(receipt["stream"], streamed, "{receipt}");
    for shown in ["charge", "paid", "rounded"] {
        assert_eq!(credits(&receipt[shown]), price, "{shown}: {receipt}");
    }
    let lines: Vec<_> = receipt["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["class"], it["quantity"], it["unit_price"]]))
        .collect();
    assert_eq!(
        lines,
        [json!(["input", own.input, INPUT]), json!(["output", own.output, OUTPUT])],
        "{receipt}"
    );
}

/// The statement, the statistics and the call list must agree with each other and with what was charged.
async fn every_view_agrees(user: &User, bought: Credits, charged: Credits) {
    let rows = user.every("/api/user/billing").await;
    let of = |kind: &str| {
        let rows = rows.iter().filter(|row| row["type"] == kind && row["status"] == "completed");
        Credits::checked_sum(rows.map(|row| credits(&row["quota_amount"]))).unwrap()
    };
    assert_eq!((of("topup"), of("consumption")), (bought, charged), "{rows:?}");
    for row in &rows {
        let detail = user.api.get(&format!("/api/user/billing/{}", text(&row["id"]))).await.ok();
        assert_eq!(detail["quota_amount"], row["quota_amount"]);
        journal_lines_balance(&detail);
    }
    for by in ["day", "month", "model", "key"] {
        let stats = user.api.get(&format!("/api/user/billing/stats?by={by}")).await.ok();
        assert_eq!(credits(&stats["total"]["consumed"]), charged, "{stats}");
        assert_eq!(stats["total"]["requests"], 3, "{stats}");
        if matches!(by, "day" | "month") {
            assert_eq!(credits(&stats["total"]["topped_up"]), bought, "{stats}");
        }
        let items = stats["items"].as_array().unwrap().iter().map(|item| credits(&item["consumed"]));
        assert_eq!(Credits::checked_sum(items), Some(charged), "{stats}");
    }
    for by in ["hour", "day", "model", "key"] {
        let stats = user.api.get(&format!("/api/user/usage/stats?by={by}")).await.ok();
        assert_eq!(credits(&stats["total"]["charge"]), charged, "{stats}");
        let items = stats["items"].as_array().unwrap();
        assert_eq!(
            Credits::checked_sum(items.iter().map(|item| credits(&item["charge"]))),
            Some(charged),
            "{stats}"
        );
    }
    let calls = user.every("/api/user/usage").await;
    assert_eq!(calls.len(), 3);
    assert_eq!(Credits::checked_sum(calls.iter().map(|call| credits(&call["charge"]))), Some(charged));
}

/// The books balance, owe the one customer what is left, and knew so at the moment that the balance was read.
async fn the_books_agree(operator: &Operator, user: &User, left: Credits) {
    let trial = operator.api.get("/api/admin/ledger/trial-balance").await.ok();
    assert_eq!(trial["balanced"], true, "{trial}");
    let owed =
        trial["books"].as_array().unwrap().iter().find(|it| it["book"] == "liability:credits").unwrap();
    assert_eq!(credits(&owed["balance"]).checked_neg(), Some(left), "{trial}");
    let now = user.api.get("/api/user/balance").await.ok();
    let then = user.api.get(&format!("/api/user/balance?at={}", text(&now["as_of"]))).await.ok();
    assert_eq!(credits(&then["total"]), left, "{then}");
}

/// What a line means for the books sums to zero in every unit.
fn journal_lines_balance(detail: &Value) {
    let mut sums: BTreeMap<String, Decimal> = BTreeMap::new();
    for posting in detail["postings"].as_array().unwrap() {
        *sums.entry(text(&posting["unit"])).or_default() +=
            text(&posting["amount"]).parse::<Decimal>().unwrap();
    }
    assert!(!sums.is_empty() && sums.values().all(Decimal::is_zero), "{sums:?}: {detail}");
    assert_eq!(detail["events"].as_array().unwrap().is_empty(), detail["type"] == "consumption", "{detail}");
}

async fn explain_shows_the_arithmetic(gateway: &Gateway, request: &str, own: &OwnAnswer, price: Credits) {
    let explained = gateway.command(&["ledger", "explain", request]).await;
    for part in [&own.input.to_string(), &own.output.to_string(), INPUT, OUTPUT, &price.to_string(), MODEL] {
        assert!(explained.contains(part), "{part:?} is missing:\n{explained}");
    }
}

/// After an orderly stop the log alone, read without the product, gives the same sums.
async fn the_log_tells_the_same(
    gateway: Gateway,
    user: &User,
    bought: Credits,
    charged: Credits,
    calls: &[Value],
) {
    let tail = gateway.command(&["ledger", "tail", "--account", &user.id]).await;
    for kind in ["top_up_initiated", "top_up_completed", "lease_granted"] {
        assert!(tail.contains(kind), "{kind} is missing:\n{tail}");
    }
    let options = gateway.options().clone();
    gateway.stop().await;
    let books = options.audit().await;
    books.assert_all_leases_closed();
    let account = books.account(&user.id);
    assert_eq!((account.credits_in, account.paid), (bought, charged));
    let requests = calls.iter().map(|call| text(&call["request_id"])).collect();
    assert_eq!(account.requests, requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_raises_its_own_exceptions() {
    let (gateway, llmock) = tokio::join!(Gateway::start(), Llmock::start());
    let operator = Operator::of(&gateway).await;
    operator.offers(MODEL, &llmock.url(), INPUT, OUTPUT).await;
    let user = User::with_credits(&gateway, &operator, "0.000001").await;
    let key = user.makes_key().await;
    let chat =
        |model: &str, stream: bool| json!({"do": "chat", "model": model, "prompt": PROMPT, "stream": stream});

    let steps = json!([chat("no-such-model", false), chat(MODEL, false), chat(MODEL, true)]);
    let answers = OPENAI.walk(gateway.url(), &key, &steps).await;
    assert_eq!((&answers[0]["exception"], &answers[0]["status"]), (&json!("NotFoundError"), &json!(404)));
    assert_eq!(answers[0]["code"], "model_not_found");
    for refused in &answers[1..] {
        assert_eq!(refused["status"], 402, "{refused}");
        assert_eq!(refused["code"], "insufficient_credits", "{refused}");
        assert!(text(&refused["message"]).contains(gateway.url()), "it says where to top up: {refused}");
    }
    let answers =
        OPENAI.walk(gateway.url(), "sk-of-nobody", &json!([{"do": "models"}, chat(MODEL, false)])).await;
    for refused in &answers {
        assert_eq!((&refused["exception"], &refused["status"]), (&json!("AuthenticationError"), &json!(401)));
    }
    assert_eq!(llmock.seen().await, Vec::<Value>::new(), "a refused call never reaches the provider");
    assert_eq!(user.balance().await.total.to_string(), "0.000001");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_payment_credits() {
    let gateway = Gateway::start().await;
    let user = User::new(&gateway).await;
    for (button, status) in [("fail", "failed"), ("cancel", "cancelled")] {
        let order = text(&user.tops_up("50.00", button).await["order"]);
        let path = format!("/api/user/topup/{order}");
        eventually(&format!("the order is {status}"), Duration::from_secs(20), async || {
            let shown = user.api.get(&path).await.ok();
            (shown["status"] != "pending").then(|| assert_eq!(shown["status"], status, "{shown}"))
        })
        .await;
        assert_eq!(user.balance().await.total, Credits::ZERO);
    }
    // Pressed twice, and once more by another window: one payment.
    let order = user.tops_up("50.00", "pay").await;
    let total = credits(&order["credits"]);
    user.until_total(total).await;
    join_all((0..20).map(|_| presses(&user.api, &order, "pay"))).await;
    // A callback that somebody made up is kept for inspection and credits nothing.
    let forged = json!({"merchant": "nexusroute", "order": order["order"], "txn": "sbx_forged", "result": "paid",
        "amount": "50.00", "currency": "CNY"});
    for api in [user.api.clone(), gateway.nobody().with("x-sandbox-signature", &"0".repeat(64))] {
        let answer = api.post("/api/payments/sandbox/callback", &forged).await;
        assert_ne!(answer.text, "success", "{answer:?}");
    }
    let options = gateway.options().clone();
    gateway.stop().await;
    let books = options.audit().await;
    let account = books.account(&user.id);
    assert_eq!((account.credits_in, account.versions), (total, 6), "three orders, each ended once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_idempotency_key_is_the_same_act() {
    let gateway = Gateway::start().await;
    let operator = Operator::of(&gateway).await;
    let user = User::new(&gateway).await;
    let again = user.api.with("idempotency-key", "order-1");
    let wish = |amount: &str| json!({"amount": amount, "channel": "sandbox"});
    let first = again.post("/api/user/topup", &wish("50.00")).await.ok();
    let second = again.post("/api/user/topup", &wish("50.00")).await.ok();
    assert_eq!(first["order"], second["order"]);
    assert_eq!(again.post("/api/user/topup", &wish("60.00")).await.problem(409), "idempotency_key_reused");
    presses(&user.api, &first, "pay").await;
    let bought = credits(&first["credits"]);

    let api = operator.api.with("idempotency-key", "gift-1");
    let path = format!("/api/admin/users/{}/adjustments", user.id);
    for _ in 0..3 {
        api.post(&path, &json!({"credits": "1.5", "reason": "sorry"})).await.ok();
    }
    assert_eq!(
        api.post(&path, &json!({"credits": "2", "reason": "sorry"})).await.problem(409),
        "idempotency_key_reused"
    );
    user.until_total(bought.checked_add(credits(&json!("1.5"))).unwrap()).await;

    let options = gateway.options().clone();
    gateway.stop().await;
    let books = options.audit().await;
    assert_eq!(books.account(&user.id).versions, 3, "an order, its payment, one adjustment");
}
