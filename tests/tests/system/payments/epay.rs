//! Epay, in both versions.

use super::*;
use futures_util::future::join_all;
use system_tests::channels::{Form, encode, epay::EpaySite, tell};
use system_tests::databases;

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_epay_is_credited_once_however_often_it_is_told() {
    for (version, mode) in [(1, "form"), (2, "api")] {
        let site = EpaySite::start(version).await;
        let gateway = site.for_gateway(talkative(), "epay", mode).start().await;
        let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
        let order = orders(&user, "epay", "50").await;
        site.opens(&order["action"]).await;
        let (number, door) = (number(&order), door(&gateway, "epay"));
        site.is_paid(&number);
        assert_eq!(user.balance().await.total, Credits::ZERO, "nobody was told yet");
        let form = site.signed(site.notice(&number));
        for heard in join_all((0..30).map(|_| site.tells(&door, &form))).await {
            assert_eq!((heard.status, heard.body.as_str()), (200, "success"), "version {version}");
        }
        // By POST, as some sites do.
        let posted = system_tests::http::client()
            .post(&door)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encode(&form));
        assert_eq!(tell(posted).await.body, "success");
        user.until_total(bought(&order)).await;
        until_status(&user, &order, "completed").await;
        assert_eq!(verdicts(&operator, "epay").await, vec!["credited"; 31]);
        let mut secrets = site.secrets();
        secrets.push(form["sign"].clone());
        nothing_leaks(&gateway, &secrets);
        let options = gateway.options().clone();
        gateway.stop().await;
        let books = options.audit().await;
        assert_eq!(books.account(&user.id).versions, 2, "one order, one payment");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_by_epay_whose_callbacks_are_all_lost_is_found() {
    let databases = [None, Some(databases::postgres().await), Some(databases::mariadb().await)];
    for ((version, mode), database) in [(1, "redirect"), (2, "form"), (1, "form")].into_iter().zip(databases)
    {
        let site = EpaySite::start(version).await;
        let mut options = site.for_gateway(impatient(600), "epay", mode);
        if let Some(database) = database {
            options = options.environment("NEXUSROUTE_DATABASE_URL", &database);
        }
        let gateway = options.start().await;
        let user = User::new(&gateway).await;
        let order = orders(&user, "epay", "100").await;
        site.opens(&order["action"]).await;
        // A site that fails for a while loses nothing.
        site.is_down(true);
        let before = site.asked().len();
        eventually("the site is asked in vain", PATIENCE, async || {
            (site.asked().len() > before + 1).then_some(())
        })
        .await;
        site.is_paid(&number(&order));
        site.is_down(false);
        user.until_total(bought(&order)).await;
        until_status(&user, &order, "completed").await;
        // The callback that comes in the end changes nothing.
        assert_eq!(site.notifies(&door(&gateway, "epay"), &number(&order)).await.body, "success");
        assert_eq!(user.balance().await.total, bought(&order));
        nothing_leaks(&gateway, &site.secrets());
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epay_order_ends_unpaid_and_a_payment_after_that_is_credited() {
    for version in [1, 2] {
        let site = EpaySite::start(version).await;
        let gateway = site.for_gateway(impatient(2), "epay", "form").start().await;
        let user = User::new(&gateway).await;
        let (told, found) = (orders(&user, "epay", "50").await, orders(&user, "epay", "100").await);
        for order in [&told, &found] {
            site.opens(&order["action"]).await;
        }
        for order in [&told, &found] {
            until_status(&user, order, "cancelled").await;
            assert_eq!(site.has_closed(&number(order)), version == 2, "version 1 cannot close");
        }
        site.is_paid(&number(&told));
        assert_eq!(site.notifies(&door(&gateway, "epay"), &number(&told)).await.body, "success");
        user.until_total(bought(&told)).await;
        if version == 1 {
            // Nobody tells of this one; it is looked at again after its end.
            site.is_paid(&number(&found));
            user.until_total(bought(&told).checked_add(bought(&found)).unwrap()).await;
        }
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_epay_callbacks_are_kept_and_change_nothing() {
    let (site, other_site) = (EpaySite::start(1).await, EpaySite::start(1).await);
    let options = site.for_gateway(talkative(), "epay", "form");
    let options = other_site.for_gateway(options, "epay-two", "form");
    let two = EpaySite::start(2).await;
    let options = two.for_gateway(options, "epay-rsa", "api");
    // Merchants whose secrets were never filled in, or are empty.
    let options = [
        ("EPAY_OFF_KIND", "epay"),
        ("EPAY_OFF_BASE_URL", "https://pay.example.com"),
        ("EPAY_OFF_PID", "1001"),
        ("EPAY_OFF_KEY", "changeme"),
        ("ALIPAY_OFF_KIND", "alipay"),
        ("ALIPAY_OFF_APP_ID", "2021000122671080"),
        ("ALIPAY_OFF_SELLER_ID", "2088531891668739"),
        ("ALIPAY_OFF_PRIVATE_KEY", ""),
        ("WECHAT_OFF_KIND", "wechat"),
        ("WECHAT_OFF_APPID", "wxd678efh567hg6787"),
        ("WECHAT_OFF_MCHID", "1230000109"),
        ("WECHAT_OFF_SERIAL_NO", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"),
        ("WECHAT_OFF_API_V3_KEY", ""),
        ("STRIPE_OFF_KIND", "stripe"),
        ("STRIPE_OFF_SECRET_KEY", "sk_test_0123456789abcdef"),
        ("STRIPE_OFF_WEBHOOK_SECRET", ""),
    ]
    .iter()
    .fold(options, |options, (name, value)| {
        options.environment(&format!("NEXUSROUTE_PAYMENTS_{name}"), value)
    });
    let gateway = options.start().await;
    let (operator, user) = (Operator::of(&gateway).await, User::new(&gateway).await);
    let (own, others) = (orders(&user, "epay", "50").await, orders(&user, "epay-two", "50").await);
    site.opens(&own["action"]).await;
    other_site.opens(&others["action"]).await;
    let (door, notice) = (door(&gateway, "epay"), site.notice(&number(&own)));
    let with = |name: &str, value: &str| -> Form {
        let mut form = notice.clone();
        form.insert(name.to_owned(), value.to_owned());
        form
    };
    let tells = async |form: Form| site.tells(&door, &form).await;
    let forgery = |name, heard, status, verdict| Forged { name, heard, status, verdict };
    let good = site.signed(notice.clone());

    let mut forged = Vec::new();
    let mut unsigned = good.clone();
    unsigned.remove("sign");
    forged.push(forgery("no signature", tells(unsigned).await, 403, "bad_signature"));
    let mut wrong = good.clone();
    wrong.insert("sign".into(), "0".repeat(32));
    forged.push(forgery("a bad signature", tells(wrong).await, 403, "bad_signature"));
    let mut raised = good.clone();
    raised.insert("money".into(), "5000.00".into());
    forged.push(forgery("a changed amount", tells(raised).await, 403, "bad_signature"));
    forged.push(forgery(
        "another merchant",
        tells(site.signed(with("pid", "1002"))).await,
        403,
        "wrong_merchant",
    ));
    forged.push(forgery(
        "a lower amount",
        tells(site.signed(with("money", "0.01"))).await,
        409,
        "wrong_amount",
    ));
    forged.push(forgery("no amount", tells(site.signed(with("money", "5e1"))).await, 400, "malformed"));
    let unknown = "0123456789abcdef0123456789abcdef";
    forged.push(forgery(
        "an unknown order",
        tells(site.signed(with("out_trade_no", unknown))).await,
        404,
        "unknown_order",
    ));
    let of_two = tells(site.signed(with("out_trade_no", &number(&others)))).await;
    forged.push(forgery("another channel's order", of_two, 409, "wrong_channel"));
    let twice = system_tests::http::client().get(format!("{door}?{}&money=5000", encode(&good)));
    forged.push(forgery("a field twice", tell(twice).await, 400, "unreadable"));
    let large = system_tests::http::client().post(&door).body("a".repeat(70_000));
    // Never taken in.
    forged.push(forgery("too large", tell(large).await, 413, ""));
    all_refused(&gateway, &operator, &user, "epay", "success", forged).await;

    forged_with_rsa(&gateway, &operator, &user, &two).await;
    for channel in ["epay-off", "alipay-off", "wechat-off", "stripe-off"] {
        let heard = site.tells(&super::door(&gateway, channel), &good).await;
        assert_eq!(
            (heard.status, verdicts(&operator, channel).await),
            (503, vec!["channel_has_no_secret".to_owned()]),
            "{channel}"
        );
    }
    let options = user.api.get("/api/user/topup/options").await.ok();
    let names: Vec<&Value> = options["channels"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["epay", "epay-rsa", "epay-two", "sandbox"], "what is off is not offered");
    assert!(gateway.output().contains("key is a placeholder"), "and it says so at the start");
    // The order is as good as before.
    site.is_paid(&number(&own));
    assert_eq!(site.notifies(&door, &number(&own)).await.body, "success");
    user.until_total(bought(&own)).await;
    nothing_leaks(&gateway, &site.secrets());
    gateway.stop().await;
}

/// The same of version 2, whose key signs for all merchants of a site.
async fn forged_with_rsa(gateway: &Gateway, operator: &Operator, user: &User, site: &EpaySite) {
    let order = orders(user, "epay-rsa", "50").await;
    let (door, notice) = (super::door(gateway, "epay-rsa"), site.notice(&number(&order)));
    let with = |name: &str, value: &str| -> Form {
        let mut form = notice.clone();
        form.insert(name.to_owned(), value.to_owned());
        form
    };
    let after_signing = |name: &str, value: &str| -> Form {
        let mut form = site.signed(notice.clone());
        form.insert(name.to_owned(), value.to_owned());
        form
    };
    let tells = async |form: Form| site.tells(&door, &form).await;
    let forgery = |name, heard, status, verdict| Forged { name, heard, status, verdict };
    let stranger = EpaySite::start(2).await;
    let past = (chrono::Utc::now().timestamp() - 400).to_string();
    let future = (chrono::Utc::now().timestamp() + 400).to_string();
    let unknown = "0123456789abcdef".repeat(2);
    let twice = system_tests::http::client()
        .get(format!("{door}?{}&money=5000", encode(&site.signed(notice.clone()))));
    let forged = vec![
        forgery("unsigned", tells(notice.clone()).await, 403, "bad_signature"),
        forgery("a stranger's key", tells(stranger.signed(notice.clone())).await, 403, "bad_signature"),
        forgery("no base64", tells(after_signing("sign", "%%%")).await, 403, "bad_signature"),
        forgery("a changed amount", tells(after_signing("money", "5000.00")).await, 403, "bad_signature"),
        forgery("another kind", tells(after_signing("sign_type", "MD5")).await, 403, "bad_signature"),
        forgery("another merchant", tells(site.signed(with("pid", "1002"))).await, 403, "wrong_merchant"),
        forgery("too old", tells(site.signed(with("timestamp", &past))).await, 403, "stale"),
        forgery("from the future", tells(site.signed(with("timestamp", &future))).await, 403, "stale"),
        forgery("a lower amount", tells(site.signed(with("money", "0.01"))).await, 409, "wrong_amount"),
        forgery(
            "an unknown order",
            tells(site.signed(with("out_trade_no", &unknown))).await,
            404,
            "unknown_order",
        ),
        forgery("a field twice", tell(twice).await, 400, "unreadable"),
    ];
    all_refused(gateway, operator, user, "epay-rsa", "success", forged).await;
}
