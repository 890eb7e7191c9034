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
    assert!(matches!(read(raw), Ok(Said::Good(_))));
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
    assert!(matches!(read(failed), Ok(Said::Failed(it)) if it.sub_code == "ACQ.TRADE_NOT_EXIST"));
    assert!(
        matches!(read(r#"{"error_response":{"code":"40002"}}"#), Ok(Said::Failed(it)) if it.code == "40002")
    );
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
