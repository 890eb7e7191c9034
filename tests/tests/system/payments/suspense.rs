//! Payments that fit no order, at a gateway of a kind that gives money back.

use super::*;
use system_tests::Api;
use system_tests::channels::epay::EpaySite;

/// Nothing here is found by asking.
fn unasked() -> GatewayOptions {
    talkative().environment("NEXUSROUTE_TOPUP_POLL_SECONDS", "3600")
}

async fn only(api: &Api, status: &str) -> Value {
    let list = api.get(&format!("/api/admin/payments/suspense?status={status}")).await.ok();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{status}: {list}");
    items[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_of_the_wrong_sum_goes_back_at_its_channel_and_a_transaction_pays_one_order() {
    let site = EpaySite::start(2).await;
    let gateway = site.for_gateway(unasked(), "epay", "api").start().await;
    let (operator, user, other) =
        (Operator::of(&gateway).await, User::new(&gateway).await, User::new(&gateway).await);
    other.becomes(&operator, "finance").await;
    let door = door(&gateway, "epay");
    let asks = async |payment: &Value, act: &str, body: Value| {
        let path = format!("/api/admin/payments/suspense/{}/{act}", payment["payment"]);
        operator.api.post(&path, &body).await
    };
    let approves = async |request: &Value| {
        let path = format!("/api/admin/approvals/{}/approve", text(&request["id"]));
        other.api.post(&path, &json!({})).await.ok()
    };

    // One transaction, told of two orders: the second is never credited by it.
    let (first, second) = (orders(&user, "epay", "50").await, orders(&user, "epay", "50").await);
    site.is_paid(&number(&first));
    assert_eq!(site.notifies(&door, &number(&first)).await.status, 200);
    user.until_total(bought(&first)).await;
    let mut twice = site.notice(&number(&first));
    twice.insert("out_trade_no".into(), number(&second));
    let heard = site.tells(&door, &site.signed(twice)).await;
    assert_eq!((heard.status, heard.body.as_str()), (409, "fail: transaction_used"));
    let waiting = only(&operator.api, "open").await;
    let claim = json!({"user_id": user.id, "reason": "mine"});
    assert_eq!(asks(&waiting, "claim", claim).await.problem(409), "transaction_used");
    let request = asks(&waiting, "dismiss", json!({"reason": "told twice"})).await.ok();
    assert_eq!(approves(&request).await["state"], "done");
    assert_eq!(only(&operator.api, "dismissed").await["payment"], waiting["payment"]);

    // A payment of another sum goes back to its payer, once.
    site.is_paid(&number(&second));
    let mut dear = site.notice(&number(&second));
    dear.insert("money".into(), "49.00".into());
    let dear = site.signed(dear);
    assert_eq!(site.tells(&door, &dear).await.status, 409);
    let waiting = only(&operator.api, "open").await;
    assert_eq!(waiting["paid"]["amount"], "49.00");
    let wish = json!({"by": "channel", "reason": "the wrong sum"});
    let request = asks(&waiting, "return", wish).await.ok();
    assert_eq!(approves(&request).await["state"], "done");
    let returned = only(&operator.api, "returned").await;
    let named = text(&request["id"]).replace('-', "");
    assert_eq!(returned["resolution"]["reference"], format!("R{named}"));
    assert_eq!(site.tells(&door, &dear).await.status, 200, "the site may stop telling");
    assert_eq!(user.balance().await.total, bought(&first));
    nothing_leaks(&gateway, &site.secrets());
    let options = gateway.options().clone();
    gateway.stop().await;
    let verified = options.run(&["ledger", "verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_process_is_killed_on_its_way_is_credited_once() {
    let site = EpaySite::start(1).await;
    for (dies_at, stray) in [("decide.encoded:1", "a"), ("decide.appended:1", "b"), ("decide.encoded:2", "c")]
    {
        let options = site.for_gateway(unasked(), "epay", "form");
        let gateway = options.start().await;
        let (operator, user, other) =
            (Operator::of(&gateway).await, User::new(&gateway).await, User::new(&gateway).await);
        other.becomes(&operator, "finance").await;
        let order = orders(&user, "epay", "50").await;
        site.opens(&order["action"]).await;
        site.is_paid(&number(&order));
        let mut form = site.notice(&number(&order));
        form.insert("out_trade_no".into(), stray.into());
        assert_eq!(site.tells(&door(&gateway, "epay"), &site.signed(form)).await.status, 404);
        let payment = only(&operator.api, "open").await["payment"].clone();
        gateway.stop().await;

        let mut dying = options.clone().environment("CRASH_AT", dies_at).start().await;
        let claim = json!({"user_id": user.id, "reason": "theirs"});
        let path = format!("/api/admin/payments/suspense/{payment}/claim");
        let request = operator.api.at(dying.url()).post(&path, &claim).await.ok();
        let path = format!("/api/admin/approvals/{}/approve", text(&request["id"]));
        assert!(other.api.at(dying.url()).begin(&path, &json!({})).await.is_err(), "{dies_at}: it died");
        eventually("it is dead", PATIENCE, async || dying.has_ended().then_some(())).await;

        let gateway = options.start().await;
        let user = User { id: user.id, api: user.api.at(gateway.url()) };
        user.until_total(bought(&order)).await;
        let api = operator.api.at(gateway.url());
        eventually("the request is done", PATIENCE, async || {
            let path = format!("/api/admin/approvals/{}", text(&request["id"]));
            (api.get(&path).await.ok()["state"] == "done").then_some(())
        })
        .await;
        assert_eq!(only(&api, "claimed").await["payment"], payment);
        gateway.stop().await;
        let books = options.audit().await;
        assert_eq!(books.account(&user.id).versions, 3, "{dies_at}: an order, a claimed one, one payment");
    }
}
