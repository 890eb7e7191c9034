use super::keys::NotTrusted;
use super::*;
use crate::payments::configured::common_for_tests;
use crate::payments::crypto::certificate::{Certificate, alipay_root_sn};
use crate::payments::crypto::{PrivateKey, PublicKey};
use crate::payments::form::Form;
use crate::payments::testing::{Reply, Stub, bill_wish, refund_wish};

const NOTICES: &str = include_str!("../../../testdata/payments/alipay/notify_sign.json");
const ANSWERS: &str = include_str!("../../../testdata/payments/alipay/response_sign.json");
const REQUESTS: &str = include_str!("../../../testdata/payments/alipay/request_sign.json");
const SNS: &str = include_str!("../../../testdata/payments/alipay/cert_sn.json");
const APP_CERT: &str =
    include_str!("../../../testdata/payments/alipay/certs/appCertPublicKey_2021001161683774.crt");
const ALIPAY_CERT: &str =
    include_str!("../../../testdata/payments/alipay/certs/alipayCertPublicKey_RSA2.crt");
/// Made for these tests.
const CHANGED: &str = include_str!("../../../testdata/payments/alipay/changed_certificates.json");
const ROOT_CERT: &str = include_str!("../../../testdata/payments/alipay/certs/alipayRootCert.crt");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

/// The first published notification's merchant, with Alipay's key of then.
fn alipay(app_id: &str, seller_id: &str, key: &str) -> Alipay {
    let own = json(REQUESTS);
    let table = format!(
        "app_id = \"{app_id}\"\nseller_id = \"{seller_id}\"\nprivate_key = \"{}\"\nalipay_public_key = \"{key}\"",
        text(&own, "private_key_pkcs1_b64")
    );
    let config = ChannelConfig::try_new("alipay", &table.parse().unwrap()).unwrap();
    Alipay::try_new(&config, common_for_tests("https://openapi.alipay.com/gateway.do")).unwrap()
}

fn callback(body: &str) -> RawCallback {
    RawCallback {
        method: "POST".into(),
        uri: "/api/payments/alipay/callback".into(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
        received_at: Moment::from_micros(0),
    }
}

#[test]
fn every_published_notification_is_what_it_says() {
    let vectors = json(NOTICES);
    for vector in vectors["vectors"].as_array().unwrap() {
        let key = PublicKey::read(text(vector, "public_key_der_b64")).unwrap();
        let form = Form::read(text(vector, "form_body").as_bytes()).unwrap();
        for (name, value) in vector["params"].as_object().unwrap() {
            assert_eq!(form.get(name), value.as_str(), "{name}");
        }
        let is_good = text(vector, "expect") == "success";
        assert_eq!(notice::check(&key, &form).is_ok(), is_good, "{}", vector["name"]);
        let (app_id, seller_id) =
            (text(&vector["params"], "app_id"), form.get("seller_id").unwrap_or("2088"));
        let alipay = alipay(app_id, seller_id, text(vector, "public_key_der_b64"));
        let verdict = alipay.read_callback(&callback(text(vector, "form_body")));
        match (is_good, form.get("notify_type")) {
            (true, Some("trade_status_sync")) => {
                let Ok(Verdict::Paid(payment)) = verdict else { panic!("{verdict:?}") };
                assert_eq!(
                    (payment.paid.to_string().as_str(), payment.order.as_str()),
                    ("0.10 CNY", "20190815155618536-564-57")
                );
            }
            (true, _) => assert_eq!(verdict, Ok(Verdict::Nothing)),
            (false, _) => assert_eq!(verdict, Err(CallbackFault::BadSignature)),
        }
    }
}

#[test]
fn a_published_notification_for_another_or_changed_by_a_byte_is_refused() {
    let vectors = json(NOTICES);
    let vector = &vectors["vectors"][0];
    let (key, body) = (text(vector, "public_key_der_b64"), text(vector, "form_body"));
    let (app_id, seller_id) = (text(&vector["params"], "app_id"), text(&vector["params"], "seller_id"));
    assert_eq!(
        alipay("2019", seller_id, key).read_callback(&callback(body)),
        Err(CallbackFault::WrongMerchant)
    );
    assert_eq!(alipay(app_id, "2088", key).read_callback(&callback(body)), Err(CallbackFault::WrongMerchant));
    let alipay = alipay(app_id, seller_id, key);
    for (from, to) in [
        ("total_amount=0.10", "total_amount=9.10"),
        ("sign_type=RSA2", "sign_type=RSA"),
        ("TRADE_SUCCESS", "TRADE_FINISHED"),
        ("subject=", "subject=x"),
        ("&sign=", "&sign=A"),
        ("&sign=", "&nosign="),
    ] {
        let changed = body.replacen(from, to, 1);
        assert_ne!(changed, body, "{from}");
        assert_eq!(alipay.read_callback(&callback(&changed)), Err(CallbackFault::BadSignature), "{to}");
    }
    for more in ["&total_amount=9.10", "&broken=%", "&gbk=%ff"] {
        let changed = format!("{body}{more}");
        assert!(
            matches!(alipay.read_callback(&callback(&changed)), Err(CallbackFault::Unreadable(_))),
            "{more}"
        );
    }
}

#[test]
fn every_published_answer_gives_the_text_that_was_signed() {
    let vectors = json(ANSWERS);
    let mut verified = 0;
    for vector in vectors["vectors"].as_array().unwrap() {
        if let Some(raw) = vector["raw"].as_str() {
            let root = Fields::read(raw.as_bytes()).unwrap();
            assert_eq!(
                root.source(text(vector, "node")),
                vector["signed_bytes"].as_str(),
                "{}",
                vector["name"]
            );
            if let Some(sign) = vector["sign"].as_str() {
                assert_eq!(root.text("sign").as_deref(), Some(sign));
            }
            assert_eq!(root.text("alipay_cert_sn").as_deref(), vector["alipay_cert_sn"].as_str());
        }
        if vector["expect"] == "valid" {
            let key = PublicKey::read(text(vector, "public_key_der_b64")).unwrap();
            let signed = text(vector, "signed_bytes");
            assert!(key.verifies(signed.as_bytes(), text(vector, "sign")), "{}", vector["name"]);
            assert!(!key.verifies(signed.replace("0000", "0001").as_bytes(), text(vector, "sign")));
            verified += 1;
        }
    }
    assert_eq!(verified, 2);
}

#[test]
fn an_answer_is_good_only_if_it_is_verified() {
    let vectors = json(ANSWERS);
    let vector = &vectors["vectors"][0];
    let alipay = alipay("2019", "2088", text(vector, "public_key_der_b64"));
    let raw = text(vector, "raw");
    let read = |raw: &str| read_answer(&alipay.keys, "alipay.open.file.upload", raw.as_bytes());
    assert!(matches!(read(raw), Ok(Some(Said::Good(_)))));
    for bad in [
        raw.replace("CAxAToWB1", "CAxAToWB2"),
        raw.replace("\"sign\"", "\"nosign\""),
        raw.replace("{\"alipay_open", "{\"alipay_open_file_upload_response\":{},\"alipay_open"),
        "<html>".to_owned(),
    ] {
        assert!(matches!(read(&bad), Err(ChannelError::Refused(_))), "{bad}");
    }
    // A failure needs no signature: nobody is credited by one.
    let failed = r#"{"alipay_open_file_upload_response":{"code":"40004","sub_code":"ACQ.TRADE_NOT_EXIST"}}"#;
    assert!(matches!(read(failed), Ok(Some(Said::Failed(it))) if it.sub_code == "ACQ.TRADE_NOT_EXIST"));
    let refused = read(r#"{"error_response":{"code":"40002"}}"#);
    assert!(matches!(refused, Ok(Some(Said::Failed(it))) if it.code == "40002"));
}

#[test]
fn every_published_request_signature_is_made_with_either_form_of_the_key() {
    let vectors = json(REQUESTS);
    let keys = ["private_key_pkcs1_b64", "private_key_pkcs8_b64"]
        .map(|it| PrivateKey::read(text(&vectors, it)).unwrap());
    let public = PublicKey::read(text(&vectors, "public_key_b64")).unwrap();
    assert!(keys.iter().all(|key| key.public() == public));
    for vector in vectors["vectors"].as_array().unwrap() {
        let form: Form = vector["params"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, it)| (name, it.as_str().unwrap()))
            .collect();
        let signed = string_to_sign(form.iter(), &["sign"]);
        assert_eq!(signed, text(vector, "string_to_sign"));
        for key in &keys {
            assert_eq!(key.sign(signed.as_bytes()).as_deref(), vector["sign"].as_str(), "{}", vector["name"]);
        }
        assert!(public.verifies(signed.as_bytes(), text(vector, "sign")));
    }
}

#[test]
fn certificates_have_the_published_names() {
    let vectors = json(SNS);
    let vectors = vectors["vectors"].as_array().unwrap();
    for (vector, pem) in vectors.iter().zip([APP_CERT, ALIPAY_CERT]) {
        let certificate = Certificate::read(pem).unwrap();
        assert_eq!(certificate.issuer, text(vector, "issuer"));
        assert_eq!(certificate.serial_decimal, text(vector, "serial_decimal"));
        assert_eq!(certificate.alipay_sn(), text(vector, "cert_sn"));
        assert!(certificate.public_key.is_some());
    }
    assert_eq!(alipay_root_sn(ROOT_CERT).as_deref(), vectors[2]["root_cert_sn"].as_str());
    assert_eq!(alipay_root_sn(""), None);
}

#[test]
fn keys_that_cannot_be_right_are_refused_and_missing_ones_switch_it_off() {
    let own = json(REQUESTS);
    let (private, public) = (text(&own, "private_key_pkcs8_b64"), text(&own, "public_key_b64"));
    let made = |table: &str| {
        let table = format!("app_id = \"2021\"\nseller_id = \"2088\"\n{table}");
        let config = ChannelConfig::try_new("alipay", &table.parse().unwrap()).unwrap();
        Alipay::try_new(&config, common_for_tests("https://openapi.alipay.com/gateway.do"))
            .map(|_| ())
            .unwrap_err()
    };
    for table in [
        String::new(),
        format!("private_key = \"{private}\""),
        format!("private_key = \"{private}\"\nalipay_public_key = \"<key>\""),
    ] {
        assert!(matches!(made(&table), Unusable::Off(_)), "{table}");
    }
    let Unusable::Wrong(what) =
        made(&format!("private_key = \"{private}\"\nalipay_public_key = \"{public}\""))
    else {
        panic!("its own key")
    };
    assert!(what.contains("application's own key"), "{what}");
    let foreign = format!(
        "private_key = \"{private}\"\napp_cert = '''{APP_CERT}'''\nalipay_cert = '''{ALIPAY_CERT}'''\nalipay_root_cert = '''{ROOT_CERT}'''"
    );
    assert!(matches!(made(&foreign), Unusable::Wrong(what) if what.contains("app_cert")));
}

/// Alipay's side in these tests has a published key too: what the stub signs, we verify.
fn answered(method: &str, node: &str) -> Vec<u8> {
    let wechat = json(include_str!("../../../testdata/payments/wechat/authorization.json"));
    let sign =
        PrivateKey::read(text(&wechat, "merchant_private_key_go")).unwrap().sign(node.as_bytes()).unwrap();
    format!(r#"{{"{}_response":{node},"sign":"{sign}"}}"#, method.replace('.', "_")).into_bytes()
}

#[tokio::test]
async fn refunds_are_numbered_and_bills_come_from_where_they_may() {
    let stub = Stub::start(|own, asked| {
        if asked.path == "/bill.zip" {
            return Reply::of("PK\u{3}\u{4} and so on");
        }
        let query = Form::read(asked.path.split_once('?').unwrap().1.as_bytes()).unwrap();
        let method = query.get("method").unwrap().to_owned();
        let content = Form::read(asked.body.as_bytes()).unwrap().get("biz_content").unwrap().to_owned();
        let node = match method.as_str() {
            "alipay.trade.refund" if content.contains("\"out_request_no\":\"refund1\"") => {
                r#"{"code":"10000","fund_change":"N"}"#.to_owned()
            }
            "alipay.trade.fastpay.refund.query" => {
                r#"{"code":"10000","refund_status":"REFUND_SUCCESS"}"#.to_owned()
            }
            _ if content.contains("signcustomer") => {
                r#"{"code":"40004","sub_code":"isp.BILL_NOT_EXIST"}"#.to_owned()
            }
            _ => format!(r#"{{"code":"10000","bill_download_url":"{own}/bill.zip"}}"#),
        };
        Reply::of(answered(&method, &node))
    })
    .await;
    let wechat = json(include_str!("../../../testdata/payments/wechat/authorization.json"));
    let own = PrivateKey::read(text(&wechat, "merchant_private_key_go")).unwrap();
    let mut alipay = alipay("2019", "2088", text(&json(ANSWERS)["vectors"][0], "public_key_der_b64"));
    alipay.keys.alipay = own.public();
    alipay.common = common_for_tests(&format!("{}/gateway.do", stub.url));
    let refunded = alipay.refund(&refund_wish("CNY")).await.unwrap();
    assert_eq!(refunded.state, Some(RefundState::Done), "done by an earlier call");
    assert_eq!(stub.asked().len(), 2, "which was asked");
    let bill = alipay.bill(&bill_wish(BillKind::Trades)).await.unwrap().unwrap();
    assert_eq!((bill.name.as_str(), bill.bytes.starts_with(b"PK")), ("alipay-2026-11-21-trade.zip", true));
    assert_eq!(
        alipay.bill(&bill_wish(BillKind::Funds)).await.unwrap(),
        None,
        "there was nothing on that day"
    );
}

/// An application in certificate mode, and what a gateway may send it when its certificate has changed.
fn in_certificate_mode(base_url: &str) -> (Alipay, Value) {
    let made = json(CHANGED);
    let field = |name: &str, key: &str| format!("{name} = '''{}'''\n", text(&made, key));
    let table = format!(
        "app_id = \"2021001161683774\"\nseller_id = \"2088831204659217\"\n{}{}{}{}",
        field("private_key", "private_key"),
        field("app_cert", "app_cert"),
        field("alipay_cert", "alipay_cert"),
        field("alipay_root_cert", "root_cert"),
    );
    let config = ChannelConfig::try_new("alipay", &table.parse().unwrap()).unwrap();
    (Alipay::try_new(&config, common_for_tests(base_url)).unwrap(), made)
}

/// The SN of what a case is about: the one certificate in it that is no authority's.
fn sn_in(case: &Value) -> String {
    let sent = Certificate::read_all(text(case, "pem"));
    let leaf = sent.iter().find(|it| it.subject.starts_with("CN=Test Payments Ltd"));
    leaf.unwrap().alipay_sn()
}

#[test]
fn a_changed_certificate_is_taken_over_only_by_a_chain_to_the_root_and_under_the_same_name() {
    let now_s = 1_790_000_000;
    for case in json(CHANGED)["sent"].as_array().unwrap() {
        let (alipay, made) = in_certificate_mode("https://openapi.alipay.com/gateway.do");
        let (sn, name) = (sn_in(case), text(case, "name"));
        assert_eq!(alipay.keys.of(Some(&sn)), None, "{name}");
        let expected = match text(case, "expect") {
            "trusted" => Ok(()),
            "foreign" => Err(NotTrusted::Foreign),
            "no chain" => Err(NotTrusted::NoChain),
            other => panic!("{other}"),
        };
        assert_eq!(alipay.keys.learn(&sn, text(case, "pem"), now_s), expected, "{name}");
        let new = PrivateKey::read(text(&made, "new_private_key")).unwrap().public();
        let known = alipay.keys.of(Some(&sn));
        assert_eq!(known, expected.is_ok().then(|| vec![new]), "{name}");
        assert_eq!(alipay.keys.of(None).unwrap().len(), if expected.is_ok() { 2 } else { 1 });
        // Asked for one, and another was sent.
        let other = alipay.keys.learn(&"0".repeat(32), text(case, "pem"), now_s);
        assert_eq!(other, Err(NotTrusted::Other), "{name}");
    }
}

#[test]
fn a_certificate_that_nobody_knows_is_asked_for_once_and_not_whatever_is_sent() {
    let (alipay, _) = in_certificate_mode("https://openapi.alipay.com/gateway.do");
    assert_eq!(alipay.keys.wanted(), None);
    for sn in ["", "a", "no certificate\u{2019}s number, of any kind"] {
        assert_eq!((alipay.keys.of(Some(sn)), alipay.keys.wanted()), (None, None), "{sn}");
    }
    let mut asked = 0;
    for n in 0..40_u128 {
        let sn = format!("{n:032x}");
        for _ in 0..2 {
            assert_eq!(alipay.keys.of(Some(&sn)), None);
            asked += usize::from(alipay.keys.wanted() == Some(sn.clone()));
        }
    }
    assert_eq!(asked, 10, "within a minute");
}

#[tokio::test]
async fn an_answer_under_a_changed_certificate_is_verified_with_the_one_that_is_fetched() {
    let made = json(CHANGED);
    let (trusted, refused) = (made["sent"][0].clone(), made["sent"][4].clone());
    let key = std::sync::Arc::new(PrivateKey::read(text(&made, "new_private_key")).unwrap());
    let (of_trusted, of_refused) = (trusted.clone(), refused.clone());
    let stub = Stub::start(move |_, asked| {
        use base64::Engine;
        let query = Form::read(asked.path.split_once('?').unwrap().1.as_bytes()).unwrap();
        let method = query.get("method").unwrap();
        let content = Form::read(asked.body.as_bytes()).unwrap().get("biz_content").unwrap().to_owned();
        let is_first = content.contains(&sn_in(&of_trusted)) || content.contains("first");
        let case = if is_first { &of_trusted } else { &of_refused };
        let node = if method.ends_with("alipaycert.download") {
            let sent = base64::engine::general_purpose::STANDARD.encode(text(case, "pem"));
            format!(r#"{{"code":"10000","alipay_cert_content":"{sent}"}}"#)
        } else {
            r#"{"code":"10000","refund_status":"REFUND_SUCCESS"}"#.to_owned()
        };
        let (name, sn) = (method.replace('.', "_"), sn_in(case));
        let sign = key.sign(node.as_bytes()).unwrap();
        Reply::of(format!(r#"{{"{name}_response":{node},"alipay_cert_sn":"{sn}","sign":"{sign}"}}"#))
    })
    .await;
    let (alipay, _) = in_certificate_mode(&format!("{}/gateway.do", stub.url));
    let asks = async |what: &str| {
        alipay.ask("alipay.trade.fastpay.refund.query", &json!({"out_request_no": what}), &[]).await
    };
    let why = asks("second").await.unwrap_err().to_string();
    assert!(why.contains("alipay_cert"), "{why}");
    assert_eq!(stub.asked().len(), 2, "asked, and asked for the certificate");
    assert!(matches!(asks("first").await, Ok(Said::Good(_))));
    assert_eq!(stub.asked().len(), 4);
    // From now on it is known; the other is not asked for again so soon.
    assert!(matches!(asks("first").await, Ok(Said::Good(_))));
    assert!(asks("second").await.is_err());
    assert_eq!(stub.asked().len(), 6);
}
