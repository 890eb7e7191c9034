use super::*;
use crate::payments::configured::common_for_tests;
use crate::payments::testing::{Reply, Stub, bill_wish, refund_wish};
use domain::Moment;
use serde_json::Value;

const VECTORS: &str = include_str!("../../../testdata/payments/stripe/webhook_signatures.json");
/// The secret and the vector that the negatives without their own are about.
const SECRET: &str = "whsec_test_secret";
const BASE: &str = "checkout.session.completed paid";

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

fn base() -> Value {
    vectors()["vectors"].as_array().unwrap().iter().find(|it| it["name"] == BASE).unwrap().clone()
}

fn stripe(secret: &str) -> Stripe {
    let table = "secret_key = \"sk_test_4eC39HqLyjWDarjtT1zdp7dc\"\nwebhook_secret = \"whsec_unused_here\"";
    let config = ChannelConfig::try_new("stripe", &table.parse().unwrap()).unwrap();
    let made = Stripe::try_new(&config, common_for_tests("https://api.stripe.com")).unwrap();
    Stripe { webhook_secrets: vec![Secret::new(secret)], ..made }
}

fn callback(header: &str, payload: &str, now: i64) -> RawCallback {
    RawCallback {
        method: "POST".into(),
        uri: "/api/payments/stripe/callback".into(),
        headers: vec![("stripe-signature".into(), header.into())],
        body: payload.as_bytes().to_vec(),
        received_at: Moment::from_micros(now * 1_000_000),
    }
}

#[test]
fn every_published_signature_is_accepted_and_its_event_understood() {
    let vectors = vectors();
    for vector in vectors["vectors"].as_array().unwrap() {
        let (secret, header, payload) =
            (text(vector, "secret"), text(vector, "header"), text(vector, "payload"));
        let at = vector["timestamp"].as_i64().unwrap();
        let secrets = [Secret::new(secret)];
        assert_eq!(events::check(&secrets, header, payload.as_bytes(), at), Ok(()), "{}", vector["name"]);
        assert_eq!(events::check(&secrets, header, payload.as_bytes(), at + 301), Err(CallbackFault::Stale));
        assert_eq!(events::check(&secrets, header, payload.as_bytes(), at - 301), Err(CallbackFault::Stale));
        let verdict = stripe(secret).read_callback(&callback(header, payload, at));
        match text(vector, "name") {
            name if name.starts_with("async-stripe") => assert_eq!(verdict, Ok(Verdict::Nothing)),
            // An object without the fields of an event.
            name if name.starts_with("stripe-python") => {
                assert!(matches!(verdict, Err(CallbackFault::Malformed(_))))
            }
            BASE | "checkout.session.async_payment_succeeded" => {
                let Ok(Verdict::Paid(payment)) = verdict else { panic!("{verdict:?}") };
                assert_eq!(payment.paid.to_string(), "10.00 USD");
                assert_eq!(payment.order.as_str(), "NR20261121080000A1");
            }
            name if name.contains("payment_status=unpaid") => {
                assert!(matches!(verdict, Ok(Verdict::Pending { .. })))
            }
            "checkout.session.async_payment_failed" => {
                assert!(matches!(verdict, Ok(Verdict::Closed { reason: CloseReason::Failed, .. })));
            }
            "checkout.session.expired" => {
                assert!(matches!(verdict, Ok(Verdict::Closed { reason: CloseReason::Expired, .. })));
            }
            name if name.contains("jpy") => {
                let Ok(Verdict::Paid(payment)) = verdict else { panic!("{verdict:?}") };
                assert_eq!(payment.paid.to_string(), "1000 JPY");
            }
            "refund.updated" => {
                let Ok(Verdict::Refund(refund)) = verdict else { panic!("{verdict:?}") };
                assert_eq!(
                    (refund.amount.to_string().as_str(), refund.state),
                    ("1.00 USD", RefundState::Done)
                );
            }
            other => panic!("{other} is not looked at"),
        }
    }
}

#[test]
fn every_published_negative_is_what_it_says() {
    let (vectors, base) = (vectors(), base());
    let negative = vectors["negative"].as_array().unwrap();
    assert_eq!(negative.len(), 12);
    for vector in negative {
        let payload = vector["payload"].as_str().unwrap_or(text(&base, "payload"));
        let secret = vector["secret"].as_str().unwrap_or(SECRET);
        let now = vector["now"].as_i64().unwrap_or(base["timestamp"].as_i64().unwrap());
        let verdict = events::check(&[Secret::new(secret)], text(vector, "header"), payload.as_bytes(), now);
        let expected = match text(vector, "expect") {
            it if it.starts_with("valid") => Ok(()),
            "too old" => Err(CallbackFault::Stale),
            it if it.contains("empty secret") => Err(CallbackFault::NoSecret),
            _ => Err(CallbackFault::BadSignature),
        };
        assert_eq!(verdict, expected, "{}", vector["name"]);
    }
}

#[test]
fn either_secret_is_good_while_one_is_replaced_and_an_empty_one_spoils_all() {
    let base = base();
    let (header, payload, now) =
        (text(&base, "header"), text(&base, "payload"), base["timestamp"].as_i64().unwrap());
    let check = |secrets: &[&str]| {
        let secrets: Vec<Secret> = secrets.iter().map(|it| Secret::new(*it)).collect();
        events::check(&secrets, header, payload.as_bytes(), now)
    };
    assert_eq!(check(&["whsec_another", SECRET]), Ok(()));
    assert_eq!(check(&["whsec_another"]), Err(CallbackFault::BadSignature));
    assert_eq!(check(&[SECRET, ""]), Err(CallbackFault::NoSecret));
    assert_eq!(check(&[]), Err(CallbackFault::NoSecret));
    let twice = format!("t=1,{header}");
    assert!(events::check(&[Secret::new(SECRET)], &twice, payload.as_bytes(), now).is_err());
}

/// An event of ours, rightly signed, with one thing changed.
fn changed(from: &str, to: &str) -> Result<Verdict, CallbackFault> {
    let base = base();
    let payload = text(&base, "payload");
    assert!(payload.contains(from), "{from}");
    let payload = payload.replace(from, to);
    let now = base["timestamp"].as_i64().unwrap();
    let mut mac = <hmac::Hmac<sha2::Sha256> as hmac::KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
    hmac::Mac::update(&mut mac, format!("{now}.{payload}").as_bytes());
    let header = format!("t={now},v1={}", hex::encode(hmac::Mac::finalize(mac).into_bytes()));
    stripe(SECRET).read_callback(&callback(&header, &payload, now))
}

#[test]
fn a_rightly_signed_event_with_odd_contents_is_no_payment() {
    assert!(matches!(changed("\"amount_total\": 1000", "\"amount_total\": 1000"), Ok(Verdict::Paid(_))));
    assert_eq!(changed("\"livemode\": false", "\"livemode\": true"), Err(CallbackFault::WrongMerchant));
    for (from, to) in [
        ("\"amount_total\": 1000", "\"amount_total\": 10.5"),
        ("\"amount_total\": 1000", "\"amount_total\": -1000"),
        ("\"amount_total\": 1000", "\"amount_total\": null"),
        ("\"currency\": \"usd\"", "\"currency\": \"\""),
        ("\"currency\": \"usd\"", "\"currency\": \"kwd\""),
        ("\"order_no\": \"NR20261121080000A1\"", "\"order_no\": \"another\""),
        ("\"order_no\": \"NR20261121080000A1\"", "\"order\": \"NR20261121080000A1\""),
    ] {
        let verdict = changed(from, to);
        assert!(matches!(verdict, Err(CallbackFault::Malformed(_))), "{to}: {verdict:?}");
    }
    // Somebody else's session of the same account.
    let other = changed("\"client_reference_id\": \"NR20261121080000A1\"", "\"client_reference_id\": null");
    assert_eq!(other, Ok(Verdict::Nothing));
    assert_eq!(changed("\"object\": \"event\"", "\"object\": \"v2.core.event\""), Ok(Verdict::Nothing));
}

#[test]
fn amounts_are_counted_as_stripe_counts_them() {
    let money = |text: &str, code: &str| Money::parse(text, Currency::try_new(code).unwrap()).unwrap();
    for (text, code, counted) in [("10.00", "USD", 1000), ("500", "JPY", 500), ("500", "ISK", 50_000)] {
        assert_eq!(to_stripe(money(text, code)).unwrap(), counted);
        assert_eq!(of_stripe(counted, &code.to_lowercase()), Some(money(text, code)));
    }
    assert_eq!(of_stripe(50_050, "isk"), None);
    assert_eq!(of_stripe(1000, "kwd"), None);
}

#[test]
fn a_channel_without_one_of_its_secrets_is_off() {
    for table in [
        "",
        "secret_key = \"sk_test_4eC39HqLyjWDarjtT1zdp7dc\"",
        "secret_key = \"sk_test_4eC39HqLyjWDarjtT1zdp7dc\"\nwebhook_secret = \"whsec_...\"",
        "secret_key = \"sk_test_4eC39HqLyjWDarjtT1zdp7dc\"\nwebhook_secret = \"whsec_test_secret,\"",
        "secret_key = \"sk_live_...\"\nwebhook_secret = \"whsec_test_secret\"",
    ] {
        let config = ChannelConfig::try_new("stripe", &table.parse().unwrap()).unwrap();
        let made = Stripe::try_new(&config, common_for_tests("https://api.stripe.com"));
        assert!(matches!(made, Err(Unusable::Off(_))), "{table}");
    }
}

#[tokio::test]
async fn refunds_are_asked_for_once_and_reports_are_waited_for() {
    let stub = Stub::start(|own, asked| match asked.path.as_str() {
        "/v1/refunds" => Reply::of(r#"{"id":"re_1","amount":1234,"currency":"usd","status":"pending","metadata":{}}"#),
        "/v1/reporting/report_runs" => {
            Reply::of(format!(r#"{{"id":"frr_1","status":"succeeded","result":{{"url":"{own}/v1/files/1/contents"}}}}"#))
        }
        "/v1/files/1/contents" => Reply::of("balance_transaction_id\n"),
        path if path.starts_with("/v1/refunds?") => Reply::of(
            r#"{"data":[{"id":"re_0","amount":1,"currency":"usd","status":"failed"},
                {"id":"re_1","amount":1234,"currency":"usd","status":"succeeded","metadata":{"refund_no":"refund1"}}]}"#,
        ),
        _ => Reply { status: 404, ..Reply::of("{}") },
    })
    .await;
    let stripe =
        Stripe { common: common_for_tests(&stub.url), files_url: stub.url.clone(), ..stripe(SECRET) };
    let wish = refund_wish("USD");
    for _ in 0..2 {
        assert_eq!(stripe.refund(&wish).await.unwrap().state, Some(RefundState::Pending));
    }
    let asked = stub.asked();
    assert_eq!(
        (&asked[0].body, &asked[0].headers["idempotency-key"]),
        (&asked[1].body, &asked[1].headers["idempotency-key"])
    );
    assert!(asked[0].body.contains("payment_intent=txn-1&amount=1234&"), "{}", asked[0].body);
    assert_eq!(stripe.query_refund(&wish).await.unwrap().state, Some(RefundState::Done));
    let other = RefundWish { refund: Label::try_new("refund2").unwrap(), ..wish };
    assert_eq!(stripe.query_refund(&other).await.unwrap().state, None);
    let bill = stripe.bill(&bill_wish(BillKind::Trades)).await.unwrap().unwrap();
    assert_eq!(
        (bill.name.as_str(), bill.bytes.as_slice()),
        ("stripe-2026-11-21.csv", &b"balance_transaction_id\n"[..])
    );
    let run = stub.asked().into_iter().find(|it| it.path.ends_with("report_runs")).unwrap();
    assert!(
        run.body.contains("interval_start%5D=1795219200&parameters%5Binterval_end%5D=1795305600"),
        "{}",
        run.body
    );
    assert!(
        stub.asked()
            .iter()
            .all(|it| it.headers["authorization"].to_str().unwrap().starts_with("Bearer sk_test_"))
    );
}
