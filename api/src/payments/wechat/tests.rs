use super::*;
use crate::payments::configured::common_for_tests;
use crate::payments::crypto::PublicKey;
use crate::payments::crypto::certificate::Certificate;
use crate::payments::testing::{Reply, Stub, bill_wish, refund_wish};
use domain::Moment;
use serde_json::Value;

const AEAD: &str = include_str!("../../../testdata/payments/wechat/aead_aes_gcm.json");
const AUTHORIZATION: &str = include_str!("../../../testdata/payments/wechat/authorization.json");
const CALLBACK: &str = include_str!("../../../testdata/payments/wechat/callback.json");
const CERTIFICATES: &str = include_str!("../../../testdata/payments/wechat/certificates_response.json");
const REFUND: &str = include_str!("../../../testdata/payments/wechat/derived_callback_refund.json");
const TRANSACTION: &str =
    include_str!("../../../testdata/payments/wechat/derived_callback_transaction_pubkey.json");
const SIGNATURES: &str = include_str!("../../../testdata/payments/wechat/rsa_sign.json");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

/// A merchant with the published keys; `more`: what else is configured.
fn wechat(mchid: &str, appid: &str, api_v3_key: &str, more: &str) -> Wechat {
    let own = json(AUTHORIZATION);
    let table = format!(
        "mchid = \"{mchid}\"\nappid = \"{appid}\"\nserial_no = \"5F1C\"\napi_v3_key = \"{api_v3_key}\"\nprivate_key = '''{}'''\n{more}",
        text(&own, "merchant_private_key_java")
    );
    let config = ChannelConfig::try_new("wechat", &table.parse().unwrap()).unwrap();
    Wechat::try_new(&config, common_for_tests("https://api.mch.weixin.qq.com")).unwrap()
}

fn merchant(vector: &Value, more: &str) -> Wechat {
    wechat("1230000109", "wxd678efh567hg6787", text(vector, "api_v3_key"), more)
}

fn public_key_mode(vector: &Value) -> String {
    format!(
        "public_key_id = \"{}\"\npublic_key = '''{}'''",
        text(&vector["headers"], "Wechatpay-Serial"),
        text(vector, "public_key_pem")
    )
}

fn certificate_mode(vector: &Value) -> String {
    format!("platform_cert = '''{}'''", text(vector, "platform_certificate_pem"))
}

fn callback(vector: &Value, off_s: i64) -> RawCallback {
    let headers = vector["headers"].as_object().unwrap();
    let at: i64 = text(&vector["headers"], "Wechatpay-Timestamp").parse().unwrap();
    RawCallback {
        method: "POST".into(),
        uri: "/api/payments/wechat/callback".into(),
        headers: headers
            .iter()
            .map(|(name, it)| (name.to_lowercase(), it.as_str().unwrap().to_owned()))
            .collect(),
        body: text(vector, "body").as_bytes().to_vec(),
        received_at: Moment::from_micros((at + off_s) * 1_000_000),
    }
}

fn sealed(vector: &Value) -> Sealed {
    Sealed {
        algorithm: "AEAD_AES_256_GCM".into(),
        ciphertext: text(vector, "ciphertext_b64").into(),
        associated_data: Some(text(vector, "associated_data").into()),
        nonce: text(vector, "nonce").into(),
    }
}

#[test]
fn every_published_sealing_is_opened_or_refused_as_it_says() {
    let vectors = json(AEAD);
    let all = vectors["vectors"].as_array().unwrap();
    let mut opened = 0;
    for vector in all {
        match ApiKey::of(text(vector, "key").as_bytes()) {
            Some(key) => {
                assert_eq!(key.open(&sealed(vector)).unwrap(), text(vector, "plaintext").as_bytes());
                opened += 1;
            }
            None => assert_eq!(text(vector, "key").len(), 16, "an APIv3 key has 32 bytes"),
        }
    }
    assert_eq!(opened, 2);
    let negative = vectors["negative"].as_array().unwrap();
    assert_eq!(negative.len(), 10);
    for vector in negative {
        let base = &all[usize::try_from(vector["base"].as_u64().unwrap()).unwrap()];
        let mut changed = base.clone();
        for (name, value) in vector["change"].as_object().unwrap() {
            changed[name] = value.clone();
        }
        let key = ApiKey::of(text(base, "key").as_bytes()).unwrap();
        assert_eq!(key.open(&sealed(&changed)), None, "{}", vector["name"]);
    }
    let other = Sealed { algorithm: "AEAD_AES_128_GCM".into(), ..sealed(&all[1]) };
    assert_eq!(ApiKey::of(text(&all[1], "key").as_bytes()).unwrap().open(&other), None);
}

#[test]
fn every_published_signature_and_header_is_made() {
    let vectors = json(AUTHORIZATION);
    for vector in vectors["vectors"].as_array().unwrap() {
        let (method, url, body) = (text(vector, "method"), text(vector, "url"), text(vector, "body"));
        let (time, nonce) = (vector["timestamp"].as_i64().unwrap(), text(vector, "nonce"));
        let message = request::message(method, url, time, nonce, body);
        assert_eq!(message, text(vector, "message"));
        let signed = ["merchant_private_key_go", "merchant_private_key_java"].map(|name| {
            let own = PrivateKey::read(text(&vectors, name)).unwrap();
            let wechat = Wechat {
                own,
                mchid: text(vector, "mchid").into(),
                serial_no: text(vector, "serial_no").into(),
                ..wechat("1", "wx", "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb", "")
            };
            wechat.authorization(method, url, time, nonce, body).unwrap()
        });
        assert!(signed.iter().any(|it| it == text(vector, "header")), "{}", vector["name"]);
    }
}

#[test]
fn every_published_plain_signature_verifies_under_its_own_key_alone() {
    let vectors = json(SIGNATURES);
    let own = PrivateKey::read(text(&vectors, "go_private_key_pem")).unwrap();
    assert_eq!(own.sign(text(&vectors, "message").as_bytes()).as_deref(), vectors["signature_b64"].as_str());
    let certificate = Certificate::read(text(&vectors, "go_certificate_pem")).unwrap();
    assert_eq!(certificate.serial_hex, text(&vectors, "go_serial"));
    let key = certificate.public_key.unwrap();
    assert!(key.verifies(b"source", text(&vectors, "signature_b64")) && key == own.public());
    let java = &vectors["java"];
    let certificate = Certificate::read(text(java, "certificate_pem")).unwrap();
    assert_eq!(certificate.serial_hex, text(java, "serial"));
    let (message, signature) = (text(java, "message").as_bytes(), text(java, "signature_b64"));
    assert!(certificate.public_key.unwrap().verifies(message, signature));
    assert!(!PublicKey::read(text(java, "must_not_verify_with_pem")).unwrap().verifies(message, signature));
}

#[test]
fn the_published_certificates_are_decrypted() {
    let vector = json(CERTIFICATES);
    let key = ApiKey::of(text(&vector, "api_v3_key").as_bytes()).unwrap();
    let found = verify::certificates(&key, text(&vector, "response_body").as_bytes()).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), [text(&vector, "serial_hex_upper")]);
    let other = ApiKey::of(&[7; 32]).unwrap();
    assert!(verify::certificates(&other, text(&vector, "response_body").as_bytes()).is_none());
}

#[test]
fn the_published_callback_verifies_and_its_short_key_is_refused() {
    let vector = json(CALLBACK);
    let wechat = wechat("1", "wx", "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb", &certificate_mode(&vector));
    // It tells of a contract, not of a payment.
    assert_eq!(wechat.read_callback(&callback(&vector, 0)), Ok(Verdict::Nothing));
    assert!(ApiKey::of(text(&vector, "api_v3_key").as_bytes()).is_none());
}

#[test]
fn a_payment_signed_in_public_key_mode_is_read() {
    let vector = json(TRANSACTION);
    let wechat = merchant(&vector, &public_key_mode(&vector));
    let Ok(Verdict::Paid(payment)) = wechat.read_callback(&callback(&vector, 0)) else { panic!("not paid") };
    assert_eq!(
        (payment.paid.to_string().as_str(), payment.order.as_str()),
        ("0.01 CNY", "S20210119074247105778399200")
    );
    assert_eq!(payment.provider_txn.as_str(), "4200000914202101195554393855");
    for off in [-300, 300] {
        assert!(wechat.read_callback(&callback(&vector, off)).is_ok());
    }
    for off in [-301, 301] {
        assert_eq!(wechat.read_callback(&callback(&vector, off)), Err(CallbackFault::Stale));
    }
}

#[test]
fn a_refund_signed_in_certificate_mode_is_read() {
    let vector = json(REFUND);
    let wechat = merchant(&vector, &certificate_mode(&vector));
    let Ok(Verdict::Refund(refund)) = wechat.read_callback(&callback(&vector, 0)) else {
        panic!("no refund")
    };
    assert_eq!((refund.amount.to_string().as_str(), refund.state), ("9.99 CNY", RefundState::Done));
    assert_eq!(refund.refund.unwrap().as_str(), "7752501201407033233368018");
}

#[test]
fn a_callback_that_is_not_whole_and_ours_is_refused() {
    let vector = json(TRANSACTION);
    let mode = public_key_mode(&vector);
    let wechat = merchant(&vector, &mode);
    let changed = |change: &dyn Fn(&mut RawCallback)| {
        let mut it = callback(&vector, 0);
        change(&mut it);
        wechat.read_callback(&it).unwrap_err()
    };
    let set = |it: &mut RawCallback, name: &str, value: &str| {
        it.headers.iter_mut().find(|(header, _)| header == name).unwrap().1 = value.to_owned();
    };
    assert_eq!(
        changed(&|it| set(it, "wechatpay-signature", "WECHATPAY/SIGNTEST/abc")),
        CallbackFault::BadSignature
    );
    assert_eq!(changed(&|it| set(it, "wechatpay-signature", "")), CallbackFault::BadSignature);
    assert_eq!(changed(&|it| set(it, "wechatpay-nonce", "another")), CallbackFault::BadSignature);
    assert_eq!(changed(&|it| set(it, "wechatpay-timestamp", "1764000001")), CallbackFault::BadSignature);
    assert_eq!(changed(&|it| set(it, "wechatpay-serial", "PUB_KEY_ID_1")), CallbackFault::UnknownKey);
    assert_eq!(changed(&|it| set(it, "wechatpay-serial", "5DEA10EF")), CallbackFault::UnknownKey);
    assert_eq!(changed(&|it| it.headers.clear()), CallbackFault::BadSignature);
    assert_eq!(changed(&|it| it.headers.extend(it.headers.clone())), CallbackFault::BadSignature);
    assert_eq!(changed(&|it| it.body.push(b' ')), CallbackFault::BadSignature);
    // Rightly signed, and another's.
    let key = text(&vector, "api_v3_key");
    for (mchid, appid) in [("1230000110", "wxd678efh567hg6787"), ("1230000109", "wx1")] {
        let other = self::wechat(mchid, appid, key, &mode);
        assert_eq!(other.read_callback(&callback(&vector, 0)), Err(CallbackFault::WrongMerchant));
    }
    let other_key =
        self::wechat("1230000109", "wxd678efh567hg6787", "0123456789abcdef0123456789abcdef", &mode);
    assert!(matches!(other_key.read_callback(&callback(&vector, 0)), Err(CallbackFault::Malformed(_))));
}

#[test]
fn a_channel_without_a_secret_is_off_and_one_with_a_broken_one_is_wrong() {
    let own = json(AUTHORIZATION);
    let private = format!(
        "private_key = '''{}'''\nmchid = 1\nappid = \"wx\"\nserial_no = \"5F\"",
        text(&own, "merchant_private_key_java")
    );
    let made = |table: &str| {
        let config = ChannelConfig::try_new("wechat", &table.parse().unwrap()).unwrap();
        Wechat::try_new(&config, common_for_tests("https://api.mch.weixin.qq.com")).map(|_| ()).unwrap_err()
    };
    for table in ["", private.as_str(), &format!("{private}\napi_v3_key = \"changeme\"")] {
        assert!(matches!(made(table), Unusable::Off(_)), "{table}");
    }
    for table in [
        format!("{private}\napi_v3_key = \"a key of 16 bytes\""),
        format!("{private}\napi_v3_key = \"a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb\"\npublic_key_id = \"1\""),
        format!("{private}\napi_v3_key = \"a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb\"\nplatform_cert = \"none\""),
    ] {
        assert!(matches!(made(&table), Unusable::Wrong(_)), "{table}");
    }
}

/// What the stub signs with: a published key that is the platform's here.
fn platform() -> PrivateKey {
    PrivateKey::read(text(&json(AUTHORIZATION), "merchant_private_key_go")).unwrap()
}

fn signed(status: u16, body: &str) -> Reply {
    let time = request::seconds().to_string();
    let signature = platform().sign(format!("{time}\nnonce\n{body}\n").as_bytes()).unwrap();
    let headers = vec![
        ("wechatpay-timestamp", time),
        ("wechatpay-nonce", "nonce".to_owned()),
        ("wechatpay-serial", text(&json(SIGNATURES), "go_serial").to_owned()),
        ("wechatpay-signature", signature),
    ];
    Reply { status, headers, body: body.into() }
}

#[tokio::test]
async fn refunds_are_numbered_and_a_bill_is_the_one_that_was_announced() {
    let stub = Stub::start(|own, asked| match asked.path.split('?').next().unwrap() {
        "/v3/refund/domestic/refunds" => signed(200, r#"{"refund_id":"5030","status":"PROCESSING"}"#),
        "/v3/refund/domestic/refunds/refund1" => signed(200, r#"{"refund_id":"5030","status":"ABNORMAL"}"#),
        "/v3/refund/domestic/refunds/refund2" => Reply { status: 404, ..Reply::of(r#"{"code":"RESOURCE_NOT_EXISTS"}"#) },
        "/v3/bill/fundflowbill" => Reply { status: 400, ..Reply::of(r#"{"code":"NO_STATEMENT_EXIST"}"#) },
        // SHA-1 of "abc".
        "/v3/bill/tradebill" => signed(
            200,
            &format!(r#"{{"hash_type":"SHA1","hash_value":"a9993e364706816aba3e25717850c26c9cd0d89d","download_url":"{own}/file?token=1"}}"#),
        ),
        "/file" => Reply::of("abc"),
        _ => Reply { status: 404, ..Reply::of("{}") },
    })
    .await;
    let mode = format!("platform_cert = '''{}'''", text(&json(SIGNATURES), "go_certificate_pem"));
    let made = wechat("1230000109", "wx1", "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb", &mode);
    let wechat = Wechat { common: common_for_tests(&stub.url), ..made };
    let wish = refund_wish("CNY");
    let refunded = wechat.refund(&wish).await.unwrap();
    assert_eq!(refunded.state, Some(RefundState::Pending));
    let asked: Value = serde_json::from_str(&stub.asked()[0].body).unwrap();
    assert_eq!(asked["amount"], json!({"refund": 1234, "total": 5000, "currency": "CNY"}));
    assert_eq!(
        wechat.query_refund(&wish).await.unwrap().state,
        Some(RefundState::Abnormal),
        "it waits for a person there"
    );
    let other = RefundWish { refund: Label::try_new("refund2").unwrap(), ..wish };
    assert_eq!(wechat.query_refund(&other).await.unwrap().state, None);
    let bill = wechat.bill(&bill_wish(BillKind::Trades)).await.unwrap().unwrap();
    assert_eq!((bill.name.as_str(), bill.bytes.as_slice()), ("wechat-2026-11-21-trade.csv", &b"abc"[..]));
    assert_eq!(wechat.bill(&bill_wish(BillKind::Funds)).await.unwrap(), None);
    assert!(stub.asked().iter().all(|it| it.headers.contains_key("authorization")));
}
