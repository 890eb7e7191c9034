//! Money that goes back: asked for by its payer, approved by an operator, given by the channel, and booked once, whatever the
//! channel, the network or our own process does in between.

use super::*;
use futures_util::future::join_all;
use system_tests::channels::{
    alipay::AlipayGateway,
    epay::EpaySite,
    refunds::Manner,
    stripe::{StripeApi, WEBHOOK_SECRET},
    wechat::WechatApi,
};
use system_tests::databases;

/// Asks for a part of an order as its payer, and approves it as the operator. Answers the refund.
pub(super) async fn refunds(operator: &Operator, user: &User, order: &Value, amount: &str) -> Value {
    let wish = json!({"order": order["order"], "amount": amount, "reason": "not wanted"});
    let refund = user.api.post("/api/user/refunds", &wish).await.ok();
    assert_eq!(refund["status"], "requested");
    approves(operator, &refund).await;
    refund
}

async fn approves(operator: &Operator, refund: &Value) {
    let path = format!("/api/admin/refunds/{}/approve", text(&refund["id"]));
    // The tables may trail the request by a moment.
    eventually("the refund is approved", PATIENCE, async || {
        (operator.api.post(&path, &json!({})).await.status == 200).then_some(())
    })
    .await;
}

/// Waits until a refund, or the gateway's part in it, is so far; answers it.
pub(super) async fn until(operator: &Operator, refund: &Value, what: &str, state: &str) -> Value {
    let path = format!("/api/admin/refunds/{}", text(&refund["id"]));
    eventually(&format!("the refund's {what} is {state}"), PATIENCE, async || {
        let found = operator.api.get(&path).await.ok();
        let is = if what == "status" { &found["status"] } else { &found["call"]["state"] };
        (is == state).then_some(found)
    })
    .await
}

/// How often an account's log has an event of a type.
async fn counted(operator: &Operator, user: &User, kind: &str) -> usize {
    let path = format!("/api/admin/ledger/events?account={}&limit=100", user.id);
    let events = operator.api.get(&path).await.ok()["items"].as_array().unwrap().clone();
    events.iter().filter(|it| it["event"]["type"] == kind).count()
}

/// Stops a gateway; then its log must be whole and legal, decision by decision, and the tables must be what the log says.
async fn verified(gateway: Gateway) {
    let options = gateway.options().clone();
    gateway.stop().await;
    let output = options.run(&["ledger", "verify"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

async fn paid(user: &User, order: &Value) {
    user.until_total(bought(order)).await;
    until_status(user, order, "completed").await;
}

fn part(order: &Value, credits: &str) -> Credits {
    bought(order).checked_sub(credits.parse().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epay_refund_is_given_once_and_where_nobody_can_ask_a_person_decides() {
    for version in [2, 1] {
        let site = EpaySite::start(version).await;
        let gateway = site.for_gateway(impatient(600), "epay", "form").start().await;
        let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
        let finance = User::new(&gateway).await;
        finance.becomes(&operator, "finance").await;
        // Nobody alone says where money is.
        let settles = async |path: &str, word: &Value| {
            let request = operator.api.post(path, word).await.ok();
            assert_eq!(
                (&request["needed"], &request["kind"]),
                (&json!("always"), &json!("settle")),
                "{request}"
            );
            let path = format!("/api/admin/approvals/{}/approve", text(&request["id"]));
            assert_eq!(operator.api.post(&path, &json!({})).await.problem(403), "second_person_needed");
            finance.api.post(&path, &json!({})).await.ok()
        };
        // 7.2 yuan are a credit.
        let order = orders(&user, "epay", "72").await;
        site.opens(&order["action"]).await;
        site.is_paid(&number(&order));
        assert_eq!(site.notifies(&door(&gateway, "epay"), &number(&order)).await.body, "success");
        paid(&user, &order).await;

        let first = refunds(&operator, &user, &order, "14.40").await;
        let done = until(&operator, &first, "status", "completed").await;
        let expected = if version == 2 { json!(format!("R{}", text(&first["number"]))) } else { Value::Null };
        assert_eq!(done["provider_refund"], expected);
        let above = json!({"order": order["order"], "amount": "57.61", "reason": "more than is left"});
        assert_eq!(user.api.post("/api/user/refunds", &above).await.problem(409), "refund_above_order");

        // The money goes, and the answer is lost.
        site.refunds.behaves(Manner::FailsAfter);
        let second = refunds(&operator, &user, &order, "7.20").await;
        if version == 2 {
            until(&operator, &second, "status", "completed").await;
        } else {
            let waits = until(&operator, &second, "call", "unknown").await;
            assert_eq!((&waits["status"], &waits["call"]["attempts"]), (&json!("approved"), &json!(1)));
            assert!(gateway.output().contains("refund_waits"), "somebody is called");
            let settle =
                json!({"outcome": "completed", "reference": "console 7", "reason": "seen on the console"});
            let path = format!("/api/admin/refunds/{}/settle", text(&second["id"]));
            assert_eq!(settles(&path, &settle).await["state"], "done");
            let settled = until(&operator, &second, "status", "completed").await;
            assert_eq!(
                (&settled["status"], &settled["provider_refund"]),
                (&json!("completed"), &json!("console 7"))
            );
            assert_eq!(operator.api.post(&path, &settle).await.problem(409), "refund_not_waiting");
        }
        assert_eq!(site.refunds.calls(), 2, "nothing was given twice");

        // There is nothing to give: an operator tries again when there is, or gives the credits back.
        site.refunds.behaves(Manner::Poor);
        let third = refunds(&operator, &user, &order, "21.60").await;
        let refused = until(&operator, &third, "call", "refused").await;
        assert!(text(&refused["call"]["last_error"]).contains("余额不足"), "{refused}");
        assert_eq!(user.balance().await.total, part(&order, "6"), "its credits are set aside");
        let path = |act: &str| format!("/api/admin/refunds/{}/{act}", text(&third["id"]));
        if version == 2 {
            site.refunds.behaves(Manner::Prompt);
            operator.api.post(&path("retry"), &json!({})).await.ok();
            until(&operator, &third, "status", "completed").await;
        } else {
            let settle = json!({"outcome": "failed", "reason": "the site has nothing"});
            assert_eq!(settles(&path("settle"), &settle).await["state"], "done");
            until(&operator, &third, "status", "failed").await;
            user.until_total(part(&order, "3")).await;
        }
        assert_eq!(counted(&operator, &user, "refund_completed").await, if version == 2 { 3 } else { 2 });
        nothing_leaks(&gateway, &site.secrets());
        verified(gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alipay_refund_is_told_often_and_booked_once_and_one_made_on_the_console_is_seen() {
    let alipay = AlipayGateway::start(false).await;
    let options = alipay.for_gateway(impatient(600));
    let options = options.environment("NEXUSROUTE_DATABASE_URL", &databases::postgres().await);
    let gateway = options.start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    let order = orders_with(&user, json!({"amount": "72", "channel": "alipay", "method": "page"})).await;
    alipay.opens(&order["action"]).await;
    let (number, door) = (number(&order), door(&gateway, "alipay"));
    alipay.is_paid(&number);
    assert_eq!(alipay.notifies(&door, &number).await.body, "success");
    paid(&user, &order).await;

    // The answer is lost; the question finds it.
    alipay.refunds.behaves(Manner::FailsAfter);
    let first = refunds(&operator, &user, &order, "14.40").await;
    until(&operator, &first, "status", "completed").await;
    alipay.refunds.behaves(Manner::Prompt);
    let second = refunds(&operator, &user, &order, "7.20").await;
    let told = |refund: &Value, so_far: &str| {
        alipay.signed(alipay.refund_notice(&number, &text(&refund["number"]), so_far))
    };
    until(&operator, &second, "status", "completed").await;
    let (one, two) = (told(&first, "14.40"), told(&second, "21.60"));
    let all = join_all((0..10).flat_map(|_| [&one, &two]).map(|form| alipay.tells(&door, form))).await;
    assert!(all.iter().all(|heard| heard.body == "success"), "{all:?}");
    assert_eq!(verdicts(&operator, "alipay").await[..20], vec!["refunded"; 20]);
    // On Alipay's console: a number of its own, and more in all than we know of.
    let console = alipay.signed(alipay.refund_notice(&number, "20261122console", "28.80"));
    for _ in 0..3 {
        assert_eq!(alipay.tells(&door, &console).await.body, "success");
    }
    let open = operator.api.get("/api/admin/outside-refunds?state=open").await.ok();
    assert_eq!(open["items"].as_array().map(Vec::len), Some(1), "{open}");
    assert_eq!(
        (&open["items"][0]["order"], &open["items"][0]["user_id"]),
        (&order["order"], &json!(user.id))
    );
    assert!(gateway.output().contains("refund_differs"), "somebody is called");
    // What nobody knows of, not all that went back so far; its credits can be taken.
    assert_eq!(open["items"][0]["amount"]["amount"], "7.20", "{open}");
    assert_eq!(counted(&operator, &user, "refund_completed").await, 2);
    user.until_total(part(&order, "3")).await;
    let path = format!("/api/admin/outside-refunds/{}/resolve", text(&open["items"][0]["id"]));
    let body = json!({"reason": "made on the console", "take_credits": true});
    operator.api.post(&path, &body).await.ok();
    user.until_total(part(&order, "4")).await;
    assert_eq!(alipay.refunds.calls(), 2);
    nothing_leaks(&gateway, &alipay.secrets());
    verified(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wechat_refund_that_hangs_waits_for_its_merchant_and_ends_by_its_callback() {
    let wechat = WechatApi::start(true).await;
    let options = wechat.for_gateway(impatient(600));
    let options = options.environment("NEXUSROUTE_DATABASE_URL", &databases::mariadb().await);
    let gateway = options.start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    let order = orders_with(&user, json!({"amount": "72", "channel": "wechat", "method": "native"})).await;
    let (number, door) = (number(&order), door(&gateway, "wechat"));
    wechat.is_paid(&number);
    assert_eq!(wechat.notifies(&door, &number).await.status, 200);
    paid(&user, &order).await;

    wechat.refunds.behaves(Manner::Slow);
    let (hangs, closes) =
        (refunds(&operator, &user, &order, "14.40").await, refunds(&operator, &user, &order, "7.20").await);
    for refund in [&hangs, &closes] {
        until(&operator, refund, "call", "pending").await;
    }
    wechat.refunds.becomes(&text(&hangs["number"]), "abnormal");
    let abnormal = until(&operator, &hangs, "call", "abnormal").await;
    assert_eq!(abnormal["status"], "approved", "its credits stay set aside");
    // Closed without money: the credits return.
    wechat.refunds.becomes(&text(&closes["number"]), "failed");
    until(&operator, &closes, "status", "failed").await;
    user.until_total(part(&order, "2")).await;
    // The merchant helps; WeChat Pay tells of it from all sides.
    wechat.refunds.becomes(&text(&hangs["number"]), "done");
    let refund = text(&hangs["number"]);
    for heard in join_all((0..20).map(|_| wechat.tells_refund(&door, &number, &refund))).await {
        assert_eq!((heard.status, heard.body.as_str()), (200, ""));
    }
    let done = until(&operator, &hangs, "status", "completed").await;
    assert_eq!(done["provider_refund"], json!(format!("50{refund}")));
    assert_eq!(counted(&operator, &user, "refund_completed").await, 1);
    assert_eq!(counted(&operator, &user, "refund_failed").await, 1);
    assert_eq!(user.balance().await.total, part(&order, "2"));
    // What failed here and went through there after all is no silent loss.
    wechat.refunds.becomes(&text(&closes["number"]), "done");
    assert_eq!(wechat.tells_refund(&door, &number, &text(&closes["number"])).await.status, 200);
    assert_eq!(verdicts(&operator, "wechat").await[0], "refund_differs");
    nothing_leaks(&gateway, &wechat.secrets());
    verified(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_in_the_middle_of_a_refund_loses_nothing_and_gives_nothing_twice() {
    let stripe = StripeApi::start().await;
    let gateway = stripe.for_gateway(impatient(600)).start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    let order = orders_with(&user, json!({"amount": "50", "currency": "USD", "channel": "stripe"})).await;
    let (number, at_first) = (number(&order), door(&gateway, "stripe"));
    stripe.is_paid(&number);
    assert_eq!(stripe.notifies(&at_first, &number).await.status, 200);
    paid(&user, &order).await;

    // The money has gone, nobody knows it yet, and the process is gone too.
    stripe.refunds.behaves(Manner::HangsAfter);
    let refund = refunds(&operator, &user, &order, "20").await;
    eventually("Stripe gives the money", PATIENCE, async || {
        stripe.refunds.get(&text(&refund["number"])).map(|_| ())
    })
    .await;
    let options = gateway.options().clone();
    gateway.kill().await;
    stripe.refunds.behaves(Manner::Prompt);
    let gateway = options.start().await;
    let operator = Operator::of(&gateway).await;
    let door = door(&gateway, "stripe");
    // Meanwhile a dispute about the rest: it takes what there is, and comes back when it is won. In any order, often.
    let txn = stripe.txn(&number);
    let dispute = |kind: &str, status: &str| stripe.dispute_event(kind, &txn, 3000, status);
    let opened = dispute("charge.dispute.created", "needs_response");
    let withdrawn = dispute("charge.dispute.funds_withdrawn", "needs_response");
    let tells = async |event: &Value| {
        assert_eq!(stripe.tells(&door, event, 0, WEBHOOK_SECRET).await.status, 200);
    };
    for event in [&withdrawn, &opened, &withdrawn] {
        tells(event).await;
    }
    let user = User { id: user.id.clone(), api: user.api.at(gateway.url()) };
    user.until_total(Credits::ZERO).await;
    tells(&dispute("charge.dispute.closed", "won")).await;
    tells(&opened).await;
    user.until_total(part(&order, "20")).await;
    let disputes = operator.api.get("/api/admin/disputes").await.ok();
    assert_eq!(
        (&disputes["items"][0]["state"], &disputes["items"][0]["order"]),
        (&json!("won"), &order["order"])
    );

    // The claim of the process that died ends by itself; then Stripe is asked what became of it.
    until(&operator, &refund, "status", "completed").await;
    assert_eq!(stripe.refunds.calls(), 1, "Stripe was asked for the money once");
    let given = stripe.refunds.get(&text(&refund["number"])).unwrap();
    for kind in ["refund.created", "refund.updated", "refund.updated"] {
        tells(&stripe.refund_event(kind, &txn, Some(&text(&refund["number"])), &given)).await;
    }
    // One that was made on the dashboard.
    let mut more = given.clone();
    more.amount = "500".to_owned();
    tells(&stripe.refund_event("refund.created", &txn, None, &more)).await;
    let open = operator.api.get("/api/admin/outside-refunds").await.ok();
    assert_eq!(
        (&open["items"][0]["order"], &open["items"][0]["inbox"].is_u64()),
        (&order["order"], &true),
        "{open}"
    );
    for (kind, times) in
        [("refund_completed", 1), ("chargeback_posted", 1), ("chargeback_reversed", 1), ("refund_failed", 0)]
    {
        assert_eq!(counted(&operator, &user, kind).await, times, "{kind}");
    }
    assert_eq!(user.balance().await.total, part(&order, "20"));
    nothing_leaks(&gateway, &stripe.secrets());
    verified(gateway).await;
}
