use super::*;

#[test]
fn a_signature_is_the_hmac_of_the_moment_and_the_body_under_the_secrets_text() {
    // Made with Python's hmac: hmac.new(b"whsec_test", b'1732350000.{"id":"1"}', "sha256").hexdigest()
    let known = "bb8f0697ee0f9682d08aef24c217fe5a87e432e8d63a40202a3d7a64dc806afb";
    let body = r#"{"id":"1"}"#;
    let signed = sign(&[Secret::new("whsec_test")], 1_732_350_000, body);
    assert_eq!(signed, format!("t=1732350000,v1={known}"));
    let both = sign(&[Secret::new("whsec_test"), Secret::new("whsec_before")], 1_732_350_000, body);
    assert!(both.starts_with(&format!("{signed},v1=")) && both.matches("v1=").count() == 2, "{both}");
    assert_ne!(sign(&[Secret::new("whsec_test")], 1_732_350_001, body), signed.replace("0000,", "0001,"));
}

#[test]
fn pauses_grow_to_four_hours_and_end_after_about_eighteen() {
    assert_eq!([1, 2, 3].map(pause_ms), [10_000, 20_000, 40_000]);
    assert_eq!(pause_ms(14), 4 * 3_600_000);
    assert_eq!((1..MAX_ATTEMPTS).map(pause_ms).sum::<i64>() / 3_600_000, 17);
}
