use super::*;
use crate::config::Config;
use crate::payments::configured::common_for_tests;
use crate::payments::testing::{Reply, Stub, bill_wish, refund_wish};
use serde_json::Value;

const MD5_VECTORS: &str = include_str!("../../../testdata/payments/epay/md5_sign.json");
const RSA_VECTOR: &str = include_str!("../../../testdata/payments/epay/v2_rsa_sign.json");
const AT: i64 = 1_764_000_000;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

fn params(value: &Value) -> Form {
    value["params"].as_object().unwrap().iter().map(|(name, it)| (name, it.as_str().unwrap())).collect()
}

fn channel(table: &str) -> Epay {
    let table = format!("base_url = \"https://pay.example.com\"\n{table}");
    let config = ChannelConfig::try_new("epay", &table.parse().unwrap()).unwrap();
    Epay::try_new(&config, common_for_tests("https://pay.example.com")).unwrap()
}

fn md5(pid: &str, key: &str) -> Epay {
    Epay {
        signer: Signer::Md5(relay::Secret::new(key)),
        ..channel(&format!("pid = \"{pid}\"\nkey = \"0123456789\""))
    }
}

fn get(form: &Form) -> RawCallback {
    RawCallback {
        method: "GET".into(),
        uri: format!("/api/payments/epay/callback?{}", encode(form.iter())),
        headers: Vec::new(),
        body: Vec::new(),
        received_at: Moment::from_micros(AT * 1_000_000),
    }
}

/// A form with one field changed, added or (empty) emptied.
fn with(form: &Form, name: &str, value: &str) -> Form {
    form.iter().filter(|(it, _)| *it != name).chain([(name, value)]).collect()
}

fn resigned(epay: &Epay, form: &Form) -> Form {
    let sign = epay.signer.sign(form.iter()).unwrap();
    with(form, "sign", &sign)
}

#[test]
fn every_published_md5_signature_is_made_and_accepted() {
    let vectors = json(MD5_VECTORS);
    for vector in vectors["vectors"].as_array().unwrap() {
        let form = params(vector);
        let signer = Signer::Md5(relay::Secret::new(text(vector, "key")));
        assert_eq!(
            super::super::form::string_to_sign(form.iter(), &["sign", "sign_type"]),
            text(vector, "string_to_sign")
        );
        let sign = text(vector, "sign");
        assert_eq!(signer.sign(form.iter()).as_deref(), Some(sign), "{vector}");
        assert_eq!(signer.check(form.iter(), sign, Some("MD5")), Ok(()), "{vector}");
        assert_eq!(signer.check(form.iter(), &sign.to_uppercase(), None), Err(CallbackFault::BadSignature));
    }
}

#[test]
fn every_published_negative_is_refused() {
    let vectors = json(MD5_VECTORS);
    let negative = vectors["negative"].as_array().unwrap();
    assert_eq!(negative.len(), 6);
    for vector in negative {
        let own = vector["own_pid"].as_str().unwrap_or("1000");
        let verdict = md5(own, text(vector, "key")).read_callback(&get(&params(vector)));
        let expect = text(vector, "expect");
        match verdict {
            Err(CallbackFault::NoSecret) => assert!(expect.contains("empty key"), "{vector}"),
            Err(CallbackFault::WrongMerchant) => assert!(expect.contains("pid mismatch"), "{vector}"),
            Err(CallbackFault::BadSignature) => {
                assert!(expect.contains("invalid signature") || expect.contains("reject"), "{vector}");
            }
            // Rightly signed, and another amount than was asked: the ledger compares them.
            Ok(Verdict::Paid(payment)) => {
                assert!(
                    expect.contains("amount mismatch")
                        && payment.paid.amount() != text(vector, "order_money")
                );
            }
            other => panic!("{other:?}: {vector}"),
        }
    }
}

#[test]
fn the_published_rsa_signature_is_made_and_accepted() {
    let vector = json(RSA_VECTOR);
    let own = PrivateKey::read(text(&vector, "private_key_pem")).unwrap();
    let platform = PublicKey::read(text(&vector, "public_key_pem")).unwrap();
    let signer = Signer::Rsa { own, platform };
    let form = params(&vector);
    let sign = text(&vector, "sign");
    assert_eq!(signer.sign(form.iter()).as_deref(), Some(sign));
    assert_eq!(signer.check(form.iter(), sign, Some("RSA")), Ok(()));
    for (form, sign, kind) in [
        (with(&form, "money", "3.00"), sign, Some("RSA")),
        (form.clone(), &sign[4..], Some("RSA")),
        (form.clone(), "not base64!", Some("RSA")),
        (form.clone(), sign, Some("MD5")),
        (form, sign, None),
    ] {
        assert_eq!(signer.check(form.iter(), sign, kind), Err(CallbackFault::BadSignature));
    }
}

fn notify() -> Form {
    [
        ("pid", "1000"),
        ("trade_no", "2026112200000000001"),
        ("out_trade_no", "0123456789abcdef0123456789abcdef"),
        ("type", "wxpay"),
        ("name", "A&B=C+D 100%"),
        ("money", "50"),
        ("trade_status", "TRADE_SUCCESS"),
        ("sign_type", "MD5"),
        ("unknown_field", "is signed too"),
    ]
    .into_iter()
    .collect()
}

#[test]
fn a_notification_by_get_or_post_is_a_payment() {
    let epay = md5("1000", "a merchant's key");
    let form = resigned(&epay, &notify());
    let mut posted = get(&form);
    posted.method = "POST".into();
    posted.uri = "/api/payments/epay/callback".into();
    posted.body = encode(form.iter()).into_bytes();
    for callback in [get(&form), posted] {
        let Ok(Verdict::Paid(payment)) = epay.read_callback(&callback) else { panic!("not paid") };
        assert_eq!(
            (payment.paid.amount().as_str(), payment.provider_txn.as_str()),
            ("50.00", "2026112200000000001")
        );
    }
    let waiting = resigned(&epay, &with(&notify(), "trade_status", "WAIT"));
    assert!(matches!(epay.read_callback(&get(&waiting)), Ok(Verdict::Pending { .. })));
}

#[test]
fn a_rightly_signed_notification_with_odd_contents_is_refused() {
    let epay = md5("1000", "a merchant's key");
    for (name, value) in [
        ("money", "1e2"),
        ("money", "+50"),
        ("money", "-50"),
        ("money", "50.001"),
        ("money", " 50"),
        ("money", "NaN"),
        ("money", ""),
        ("trade_no", ""),
        ("out_trade_no", ""),
    ] {
        let form = resigned(&epay, &with(&notify(), name, value));
        assert!(
            matches!(epay.read_callback(&get(&form)), Err(CallbackFault::Malformed(_))),
            "{name}={value}"
        );
    }
    let form = resigned(&epay, &with(&notify(), "pid", "1001"));
    assert_eq!(epay.read_callback(&get(&form)), Err(CallbackFault::WrongMerchant));
    let mut twice = get(&resigned(&epay, &notify()));
    twice.uri.push_str("&money=5000");
    assert!(matches!(epay.read_callback(&twice), Err(CallbackFault::Unreadable(_))));
}

#[test]
fn version_two_compares_the_time_and_the_merchant_of_a_shared_key() {
    let vector = json(RSA_VECTOR);
    let own = PrivateKey::read(text(&vector, "private_key_pem")).unwrap();
    let platform = PublicKey::read(text(&vector, "public_key_pem")).unwrap();
    let epay = Epay { signer: Signer::Rsa { own, platform }, ..md5("1000", "unused key") };
    let at = |off: i64| with(&with(&notify(), "timestamp", &(AT + off).to_string()), "sign_type", "RSA");
    let read = |form: &Form| epay.read_callback(&get(&resigned(&epay, form)));
    for off in [-300, 0, 300] {
        assert!(matches!(read(&at(off)), Ok(Verdict::Paid(_))), "{off}");
    }
    for off in [-301, 301, i64::MIN / 2] {
        assert_eq!(read(&at(off)), Err(CallbackFault::Stale), "{off}");
    }
    assert_eq!(read(&with(&at(0), "pid", "1001")), Err(CallbackFault::WrongMerchant));
    assert!(matches!(read(&with(&at(0), "timestamp", "")), Err(CallbackFault::Malformed(_))));
}

#[test]
fn a_channel_without_its_secret_is_off_and_one_with_a_broken_key_is_wrong() {
    let made = |table: &str| {
        let table = format!("base_url = \"https://pay.example.com\"\npid = 1000\n{table}");
        let config = ChannelConfig::try_new("epay", &table.parse().unwrap()).unwrap();
        Epay::try_new(&config, common_for_tests("https://pay.example.com")).map(|_| ()).unwrap_err()
    };
    for table in ["", "key = \"\"", "key = \"changeme\"", "key = \"short\"", "version = 2"] {
        assert!(matches!(made(table), Unusable::Off(_)), "{table}");
    }
    let broken = "A".repeat(80);
    for table in [
        format!("version = 2\nprivate_key = \"{broken}b\"\nplatform_public_key = \"{broken}b\""),
        "version = 3".to_owned(),
        "key = \"0123456789\"\nmode = \"fax\"".to_owned(),
        "key = \"0123456789\"\nmethods = [\"gold\"]".to_owned(),
    ] {
        assert!(matches!(made(&table), Unusable::Wrong(_)), "{table}");
    }
    let config =
        Config::from_parts("[payments.epay]\nbase_url = \"https://p.example\"\npid = 1\n", []).unwrap();
    let channels = crate::payments::Channels::try_new(&config, "http://127.0.0.1:3000").unwrap();
    assert!(channels.get("epay").is_none(), "nobody can pay there");
    let off = channels.for_callback("epay").unwrap();
    assert_eq!(off.read_callback(&get(&notify())), Err(CallbackFault::NoSecret));
}

#[tokio::test]
async fn refunds_and_lists_of_orders_are_asked_for_as_the_site_wants() {
    let stub = Stub::start(|_, asked| {
        if asked.path.contains("act=refund") {
            return Reply::of(if asked.body.contains("money=12.34") {
                r#"{"code":1}"#
            } else {
                r#"{"code":"-1","msg":"no"}"#
            });
        }
        let row =
            |paid: &str| format!(r#"{{"addtime":"2026-11-20 23:59:00","endtime":"{paid}","money":1.00}}"#);
        let rows =
            [row("2026-11-21 00:00:01"), row("2026-11-20 23:59:30"), row("2026-11-21 10:00:00")].join(",");
        Reply::of(format!(r#"{{"code":1,"data":[{rows}]}}"#))
    })
    .await;
    let epay = Epay { common: common_for_tests(&stub.url), ..md5("1000", "a merchant's key") };
    let refunded = epay.refund(&refund_wish("CNY")).await.unwrap();
    assert_eq!(refunded.state, Some(RefundState::Done));
    let mut more = refund_wish("CNY");
    more.amount.minor += 1;
    assert!(matches!(epay.refund(&more).await, Err(ChannelError::Refused(why)) if why == "no (-1)"));
    assert!(matches!(epay.query_refund(&more).await, Err(ChannelError::Unsupported(_))));
    let bill = epay.bill(&bill_wish(BillKind::Trades)).await.unwrap().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&bill.bytes).unwrap();
    assert_eq!(rows.len(), 2, "those that were paid on that day");
    assert!(String::from_utf8(bill.bytes).unwrap().contains("1.00"), "as the site wrote it");
    assert!(matches!(epay.bill(&bill_wish(BillKind::Funds)).await, Err(ChannelError::Unsupported(_))));
    // What cannot be reached is told without the address, which holds the key.
    let away = Epay { common: common_for_tests("http://127.0.0.1:1"), ..md5("1000", "a merchant's key") };
    let error = away.bill(&bill_wish(BillKind::Trades)).await.unwrap_err().to_string();
    assert!(!error.contains("key") && !error.contains("127.0.0.1"), "{error}");
    assert_eq!(stub.asked().len(), 3);
}
