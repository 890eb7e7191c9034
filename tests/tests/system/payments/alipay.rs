//! Alipay, in both modes and both ways to pay.

use super::*;
use futures_util::future::join_all;
use system_tests::channels::{Form, alipay::AlipayGateway, encode, tell};

fn wish(method: &str, amount: &str) -> Value {
    json!({"amount": amount, "channel": "alipay", "method": method})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_alipay_is_credited_once_however_often_it_is_told() {
    for (has_certificates, method) in [(false, "page"), (true, "qr")] {
        let alipay = AlipayGateway::start(has_certificates).await;
        let gateway = alipay.for_gateway(talkative()).start().await;
        let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
        let order = orders_with(&user, wish(method, "50")).await;
        alipay.opens(&order["action"]).await;
        let (number, door) = (number(&order), door(&gateway, "alipay"));
        let waiting = alipay.signed(alipay.notice(&number));
        assert_eq!(alipay.tells(&door, &waiting).await.body, "success", "there is nothing to decide yet");
        alipay.is_paid(&number);
        let form = alipay.signed(alipay.notice(&number));
        for heard in join_all((0..30).map(|_| alipay.tells(&door, &form))).await {
            assert_eq!((heard.status, heard.body.as_str()), (200, "success"));
        }
        user.until_total(bought(&order)).await;
        until_status(&user, &order, "completed").await;
        let mut expected = vec!["credited"; 30];
        expected.push("noted");
        assert_eq!(verdicts(&operator, "alipay").await, expected);
        let mut secrets = alipay.secrets();
        secrets.push(form["sign"].clone());
        nothing_leaks(&gateway, &secrets);
        let options = gateway.options().clone();
        gateway.stop().await;
        assert_eq!(options.audit().await.account(&user.id).versions, 2, "one order, one payment");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_alipay_whose_notifications_are_all_lost_is_found() {
    let alipay = AlipayGateway::start(true).await;
    let gateway = alipay.for_gateway(impatient(600)).start().await;
    let user = User::new(&gateway).await;
    let order = orders_with(&user, wish("page", "100")).await;
    alipay.opens(&order["action"]).await;
    alipay.is_down(true);
    let before = alipay.asked();
    eventually("Alipay is asked in vain", PATIENCE, async || (alipay.asked() > before + 1).then_some(()))
        .await;
    alipay.is_paid(&number(&order));
    // Meanwhile Alipay has a new certificate: its answers are under it, and so are its notifications.
    alipay.changes_its_certificate().await;
    alipay.is_down(false);
    user.until_total(bought(&order)).await;
    let door = door(&gateway, "alipay");
    assert_eq!(alipay.notifies(&door, &number(&order)).await.body, "success");
    assert_eq!(user.balance().await.total, bought(&order));
    // One of a stranger, who names a certificate that Alipay does not know of, or this one.
    let stranger = AlipayGateway::start(true).await;
    let notice = alipay.notice(&number(&order));
    assert_eq!(alipay.tells(&door, &stranger.signed(notice.clone())).await.status, 403);
    let mut borrowed = stranger.signed(notice.clone());
    borrowed.insert("alipay_cert_sn".into(), alipay.signed(notice)["alipay_cert_sn"].clone());
    assert_eq!(alipay.tells(&door, &borrowed).await.status, 403);
    let operator = Operator::of(&gateway).await;
    assert_eq!(verdicts(&operator, "alipay").await, ["bad_signature", "unknown_key", "credited"]);
    nothing_leaks(&gateway, &alipay.secrets());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alipay_order_is_closed_there_and_a_payment_after_that_is_credited() {
    let alipay = AlipayGateway::start(false).await;
    let gateway = alipay.for_gateway(impatient(2)).start().await;
    let user = User::new(&gateway).await;
    let (opened, unseen) =
        (orders_with(&user, wish("page", "50")).await, orders_with(&user, wish("qr", "50")).await);
    alipay.opens(&opened["action"]).await;
    for order in [&opened, &unseen] {
        until_status(&user, order, "cancelled").await;
    }
    assert_eq!(alipay.status(&number(&opened)), Some("TRADE_CLOSED"));
    assert_eq!(alipay.status(&number(&unseen)), None, "nobody scanned it");
    // Paid in the last moment, and told late.
    alipay.is_paid(&number(&opened));
    assert_eq!(alipay.notifies(&door(&gateway, "alipay"), &number(&opened)).await.body, "success");
    user.until_total(bought(&opened)).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_alipay_notifications_are_kept_and_change_nothing() {
    let (alipay, stranger) = tokio::join!(AlipayGateway::start(false), AlipayGateway::start(false));
    let gateway = alipay.for_gateway(talkative()).start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    let (order, foreign) =
        (orders_with(&user, wish("page", "50")).await, orders(&user, "sandbox", "50").await);
    alipay.opens(&order["action"]).await;
    let (number, door) = (number(&order), door(&gateway, "alipay"));
    alipay.is_paid(&number);
    let notice = alipay.notice(&number);
    let with = |name: &str, value: &str| -> Form {
        let mut form = notice.clone();
        form.insert(name.to_owned(), value.to_owned());
        form
    };
    let tells = async |form: Form| alipay.tells(&door, &form).await;
    let signed = |form: Form| alipay.signed(form);
    let forgery = |name, heard, status, verdict| Forged { name, heard, status, verdict };
    let good = signed(notice.clone());
    let mut raised = good.clone();
    raised.insert("total_amount".into(), "5000.00".into());
    let [mut no_base64, mut of_kind] = [good.clone(), good.clone()];
    no_base64.insert("sign".into(), "%%no base64%%".into());
    of_kind.insert("sign_type".into(), "RSA".into());
    let post = |body: String| {
        let kind = "application/x-www-form-urlencoded";
        system_tests::http::client().post(&door).header("content-type", kind).body(body)
    };
    let forged = vec![
        forgery("no signature", tells(notice.clone()).await, 403, "bad_signature"),
        forgery("a stranger's key", tells(stranger.signed(notice.clone())).await, 403, "bad_signature"),
        forgery("a changed amount", tells(raised).await, 403, "bad_signature"),
        forgery("a signature that is no base64", tells(no_base64).await, 403, "bad_signature"),
        forgery("another kind of signature", tells(of_kind).await, 403, "bad_signature"),
        forgery("another application", tells(signed(with("app_id", "2021"))).await, 403, "wrong_merchant"),
        forgery("another seller", tells(signed(with("seller_id", "2088"))).await, 403, "wrong_merchant"),
        forgery("a lower amount", tells(signed(with("total_amount", "0.01"))).await, 409, "wrong_amount"),
        forgery("no amount", tells(signed(with("total_amount", "5e1"))).await, 400, "malformed"),
        forgery("an odd state", tells(signed(with("trade_status", "PAID"))).await, 400, "malformed"),
        forgery(
            "an unknown order",
            tells(signed(with("out_trade_no", &"0123456789abcdef".repeat(2)))).await,
            404,
            "unknown_order",
        ),
        forgery(
            "another channel's order",
            tells(signed(with("out_trade_no", &super::number(&foreign)))).await,
            409,
            "wrong_channel",
        ),
        forgery(
            "a field twice",
            tell(post(format!("{}&total_amount=5000", encode(&good)))).await,
            400,
            "unreadable",
        ),
        forgery(
            "another charset",
            tell(post(format!("{}&subject=%b6%ee", encode(&good)))).await,
            400,
            "unreadable",
        ),
        forgery("too large", tell(post("a".repeat(70_000))).await, 413, ""),
    ];
    all_refused(&gateway, &operator, &user, "alipay", "success", forged).await;
    assert_eq!(alipay.notifies(&door, &number).await.body, "success");
    user.until_total(bought(&order)).await;
    nothing_leaks(&gateway, &alipay.secrets());
    gateway.stop().await;
}
