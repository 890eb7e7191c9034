//! WeChat Pay, with platform certificates and in public-key mode.

use super::*;
use futures_util::future::join_all;
use system_tests::channels::wechat::{APPID, Tampering, WechatApi};

fn wish(method: &str, amount: &str) -> Value {
    json!({"amount": amount, "channel": "wechat", "method": method})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_wechat_is_credited_once_however_often_it_is_told() {
    for has_certificates in [true, false] {
        let wechat = WechatApi::start(has_certificates).await;
        let gateway = wechat.for_gateway(talkative()).start().await;
        let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
        let order = orders_with(&user, wish("native", "50")).await;
        assert_eq!(order["action"]["kind"], "qr", "{order}");
        let (number, door) = (number(&order), door(&gateway, "wechat"));
        wechat.is_paid(&number);
        for heard in join_all((0..30).map(|_| wechat.notifies(&door, &number))).await {
            assert_eq!((heard.status, heard.body.as_str()), (200, ""));
        }
        user.until_total(bought(&order)).await;
        until_status(&user, &order, "completed").await;
        assert_eq!(verdicts(&operator, "wechat").await, vec!["credited"; 30]);
        let fetched = wechat.asked().iter().filter(|it| *it == "/v3/certificates").count();
        assert_eq!(
            fetched,
            usize::from(has_certificates),
            "certificates are fetched once, and only where there are some"
        );
        nothing_leaks(&gateway, &wechat.secrets());
        let options = gateway.options().clone();
        gateway.stop().await;
        assert_eq!(options.audit().await.account(&user.id).versions, 2, "one order, one payment");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_pay_by_wechat_gives_what_its_page_needs() {
    let wechat = WechatApi::start(false).await;
    let gateway = wechat.for_gateway(talkative()).start().await;
    let user = User::new(&gateway).await;
    let order = orders_with(&user, wish("h5", "50")).await;
    assert!(text(&order["action"]["url"]).starts_with("https://wx.tenpay.com/"), "{order}");
    let mut jsapi = wish("jsapi", "50");
    assert_eq!(user.api.post("/api/user/topup", &jsapi).await.problem(502), "channel_failed");
    jsapi["payer"] = json!("oUpF8uMuAJO_M2pxb1Q9zNjWeS6o");
    let order = orders_with(&user, jsapi).await;
    assert_eq!(order["action"]["kind"], "invoke", "{order}");
    let fields = order["action"]["fields"].as_array().unwrap();
    let field = |name: &str| text(&fields.iter().find(|it| it["name"] == name).unwrap()["value"]);
    let message = format!("{APPID}\n{}\n{}\n{}\n", field("timeStamp"), field("nonceStr"), field("package"));
    assert!(wechat.knows(&message, &field("paySign")), "{order}");
    assert_eq!((field("appId").as_str(), field("signType").as_str()), (APPID, "RSA"));
    nothing_leaks(&gateway, &wechat.secrets());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_wechat_whose_callbacks_are_all_lost_is_found() {
    let wechat = WechatApi::start(true).await;
    let gateway = wechat.for_gateway(impatient(600)).start().await;
    let user = User::new(&gateway).await;
    let order = orders_with(&user, wish("native", "100")).await;
    wechat.is_down(true);
    let before = wechat.asked().len();
    eventually("WeChat Pay is asked in vain", PATIENCE, async || {
        (wechat.asked().len() > before + 1).then_some(())
    })
    .await;
    wechat.is_paid(&number(&order));
    wechat.is_down(false);
    user.until_total(bought(&order)).await;
    assert_eq!(wechat.notifies(&door(&gateway, "wechat"), &number(&order)).await.status, 200);
    assert_eq!(user.balance().await.total, bought(&order));
    nothing_leaks(&gateway, &wechat.secrets());
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wechat_order_is_closed_there_and_a_payment_after_that_is_credited() {
    let wechat = WechatApi::start(false).await;
    let gateway = wechat.for_gateway(impatient(2)).start().await;
    let user = User::new(&gateway).await;
    let order = orders_with(&user, wish("native", "50")).await;
    until_status(&user, &order, "cancelled").await;
    assert_eq!(wechat.status(&number(&order)), "CLOSED", "there first");
    wechat.is_paid(&number(&order));
    assert_eq!(wechat.notifies(&door(&gateway, "wechat"), &number(&order)).await.status, 200);
    user.until_total(bought(&order)).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_wechat_callbacks_are_kept_and_change_nothing() {
    let (wechat, stranger) = tokio::join!(WechatApi::start(true), WechatApi::start(true));
    let gateway = wechat.for_gateway(talkative()).start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    let (order, foreign) =
        (orders_with(&user, wish("native", "50")).await, orders(&user, "sandbox", "50").await);
    let (number, door) = (number(&order), door(&gateway, "wechat"));
    wechat.is_paid(&number);
    let good = wechat.transaction(&number);
    let with = |name: &str, value: Value| {
        let mut transaction = good.clone();
        transaction[name] = value;
        transaction
    };
    let amount = |total: i64, currency: &str| with("amount", json!({"total": total, "currency": currency}));
    let tells = async |transaction: Value| wechat.tells(&door, &transaction, Tampering::default()).await;
    let tampered = async |tampering: Tampering| wechat.tells(&door, &good, tampering).await;
    let forgery = |name, heard, status, verdict| Forged { name, heard, status, verdict };
    let usual = Tampering::default();
    let post = || system_tests::http::client().post(&door);
    let probe = Tampering { signature: Some("WECHATPAY/SIGNTEST/ABCDEFG"), ..usual };
    let forged = vec![
        forgery(
            "unsigned",
            system_tests::channels::tell(post().body(good.to_string())).await,
            403,
            "bad_signature",
        ),
        forgery("WeChat's own probe", tampered(probe).await, 403, "bad_signature"),
        forgery(
            "changed after signing",
            tampered(Tampering { changed: true, ..usual }).await,
            403,
            "bad_signature",
        ),
        forgery("a stranger's key", stranger.tells(&door, &good, usual).await, 403, "unknown_key"),
        forgery(
            "an unknown serial",
            tampered(Tampering { serial: Some("5DEA10EF"), ..usual }).await,
            403,
            "unknown_key",
        ),
        forgery("too old", tampered(Tampering { age_s: 400, ..usual }).await, 403, "stale"),
        forgery("from the future", tampered(Tampering { age_s: -400, ..usual }).await, 403, "stale"),
        forgery(
            "sealed with another key",
            tampered(Tampering { wrong_key: true, ..usual }).await,
            400,
            "malformed",
        ),
        forgery(
            "sealed with nothing",
            tampered(Tampering { ciphertext: Some("%%no base64%%"), ..usual }).await,
            400,
            "malformed",
        ),
        forgery("cut off", tampered(Tampering { ciphertext: Some("AAAA"), ..usual }).await, 400, "malformed"),
        forgery(
            "a nonce of another length",
            tampered(Tampering { nonce: Some("short"), ..usual }).await,
            400,
            "malformed",
        ),
        forgery("another merchant", tells(with("mchid", json!("1230000110"))).await, 403, "wrong_merchant"),
        forgery("another application", tells(with("appid", json!("wx1"))).await, 403, "wrong_merchant"),
        forgery("a lower amount", tells(amount(1, "CNY")).await, 409, "wrong_amount"),
        forgery("another currency", tells(amount(5000, "JPY")).await, 409, "wrong_amount"),
        forgery(
            "an unknown order",
            tells(with("out_trade_no", json!("0123456789abcdef".repeat(2)))).await,
            404,
            "unknown_order",
        ),
        forgery(
            "another channel's order",
            tells(with("out_trade_no", json!(super::number(&foreign)))).await,
            409,
            "wrong_channel",
        ),
        forgery("too large", system_tests::channels::tell(post().body("a".repeat(70_000))).await, 413, ""),
    ];
    all_refused(&gateway, &operator, &user, "wechat", "", forged).await;
    assert_eq!(wechat.notifies(&door, &number).await.status, 200);
    user.until_total(bought(&order)).await;
    nothing_leaks(&gateway, &wechat.secrets());
    gateway.stop().await;
}
