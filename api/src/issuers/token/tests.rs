//! Tokens that an issuer made, and tokens that somebody else did.

use super::*;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use serde_json::{Value, json};

const AT_S: i64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

/// A key pair that signs tokens.
pub(crate) enum Signer {
    /// ES256.
    P256(EcdsaKeyPair),
    /// ES384.
    P384(EcdsaKeyPair),
    /// EdDSA.
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn p256() -> Self {
        Self::P256(elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING))
    }

    /// The public key as issuers publish it.
    pub(crate) fn public(&self, kid: &str) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = |curve: &str, key: &EcdsaKeyPair| {
            let (x, y) = key.public_key().as_ref()[1..].split_at((key.public_key().as_ref().len() - 1) / 2);
            json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y), "kid": kid, "use": "sig"})
        };
        match self {
            Self::P256(key) => point("P-256", key),
            Self::P384(key) => point("P-384", key),
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().as_ref()), "kid": kid})
            }
        }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed(_) => "EdDSA",
        }
    }

    /// A token with this header and these claims.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = match self {
            Self::P256(key) | Self::P384(key) => {
                key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
            }
            Self::Ed(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn elliptic(algorithm: &'static ring::signature::EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn keys(of: &[Value]) -> Vec<Jwk> {
    of.iter().map(|key| serde_json::from_value(key.clone()).unwrap()).collect()
}

fn wanted() -> Wanted<'static> {
    Wanted { issuer: ISSUER, client_id: "us", nonce: "n", announced: &[] }
}

/// What a good token claims, with something changed; null takes a claim away.
fn claims(change: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "us", "sub": "1", "iat": AT_S - 5, "exp": AT_S + 300, "nonce": "n",
        "email": "ann@example.org", "email_verified": true, "preferred_username": "ann",
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn judge(token: &str, keys: &[Jwk], wanted: &Wanted<'_>) -> Result<Claims, TokenError> {
    crate::issuers::signature::install();
    verify(token, keys, wanted, AT_S)
}

#[test]
fn a_token_of_the_issuer_for_us_is_believed() {
    let edwards = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    for signer in [
        Signer::p256(),
        Signer::P384(elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING)),
        Signer::Ed(Ed25519KeyPair::from_pkcs8(edwards.as_ref()).unwrap()),
    ] {
        let alg = signer.algorithm();
        let known = keys(&[Signer::p256().public("other"), signer.public("k1")]);
        for header in [json!({"alg": alg, "kid": "k1"}), json!({"alg": alg})] {
            let token = signer.sign(&header, &claims(json!({"aud": ["us"], "azp": "us"})));
            let person = judge(&token, &known, &wanted()).unwrap_or_else(|error| panic!("{alg}: {error}"));
            let person = person.person();
            assert_eq!((person.subject.as_str(), person.email_verified), ("1", true));
            assert_eq!(person.email.as_deref(), Some("ann@example.org"));
            assert_eq!(person.name.as_deref(), Some("ann"));
        }
        let announced = ["RS256".to_owned(), alg.to_owned()];
        let token = signer.sign(&json!({"alg": alg, "kid": "k1"}), &claims(json!({})));
        assert!(judge(&token, &known, &Wanted { announced: &announced, ..wanted() }).is_ok());
        let refused = judge(&token, &known, &Wanted { announced: &announced[..1], ..wanted() });
        assert_eq!(refused.err(), Some(TokenError::Algorithm), "the issuer does not sign so");
    }
}

#[test]
fn an_address_is_vouched_for_only_by_a_clear_yes() {
    let signer = Signer::p256();
    let known = keys(&[signer.public("k1")]);
    for (said, heard) in [
        (json!(true), true),
        (json!("true"), true),
        (json!(false), false),
        (json!("false"), false),
        (json!("yes"), false),
        (json!(1), false),
        (json!(null), false),
    ] {
        let token = signer.sign(&json!({"alg": "ES256"}), &claims(json!({"email_verified": said})));
        assert_eq!(judge(&token, &known, &wanted()).unwrap().person().email_verified, heard, "{said}");
    }
}

#[test]
fn claims_that_are_wrong_or_missing_are_refused() {
    let signer = Signer::p256();
    let known = keys(&[signer.public("k1")]);
    for (change, fault) in [
        (json!({"iss": "https://evil.example"}), TokenError::Issuer),
        (json!({"iss": format!("{ISSUER}/")}), TokenError::Issuer),
        (json!({"iss": null}), TokenError::Issuer),
        (json!({"iss": [ISSUER]}), TokenError::Malformed),
        (json!({"aud": "them"}), TokenError::Audience),
        (json!({"aud": null}), TokenError::Audience),
        (json!({"aud": []}), TokenError::Audience),
        (json!({"aud": ["us", "them"]}), TokenError::Audience),
        (json!({"aud": ["us", "them"], "azp": "them"}), TokenError::Audience),
        (json!({"aud": "us", "azp": "them"}), TokenError::Audience),
        (json!({"exp": AT_S - 61}), TokenError::Expired),
        (json!({"exp": null}), TokenError::Expired),
        (json!({"exp": "never"}), TokenError::Malformed),
        (json!({"iat": AT_S + 61}), TokenError::NotYet),
        (json!({"nbf": AT_S + 61}), TokenError::NotYet),
        (json!({"nonce": "m"}), TokenError::Nonce),
        (json!({"nonce": null}), TokenError::Nonce),
        (json!({"sub": ""}), TokenError::Subject),
        (json!({"sub": null}), TokenError::Malformed),
        (json!({"sub": "x".repeat(256)}), TokenError::Subject),
        (json!({"sub": "1\n2"}), TokenError::Subject),
    ] {
        let token = signer.sign(&json!({"alg": "ES256"}), &claims(change.clone()));
        assert_eq!(judge(&token, &known, &wanted()).err(), Some(fault), "{change}");
    }
    // Clocks differ, some issuers count in fractions, and a token for several may be given to us.
    for change in [
        json!({"exp": AT_S - 59, "iat": AT_S + 59, "nbf": AT_S + 59}),
        json!({"exp": 1_800_000_300.5}),
        json!({"aud": ["us", "them"], "azp": "us"}),
    ] {
        let token = signer.sign(&json!({"alg": "ES256"}), &claims(change.clone()));
        assert_eq!(judge(&token, &known, &wanted()).err(), None, "{change}");
    }
}

#[test]
fn forged_signatures_are_refused() {
    let (signer, stranger) = (Signer::p256(), Signer::p256());
    let public = signer.public("k1");
    let known = keys(std::slice::from_ref(&public));
    let good = claims(json!({}));
    let header = json!({"alg": "ES256", "kid": "k1"});
    let refused = |token: &str| judge(token, &known, &wanted()).err().unwrap();
    let token = signer.sign(&header, &good);
    let (message, signature) = token.rsplit_once('.').unwrap();

    assert_eq!(refused(&stranger.sign(&header, &good)), TokenError::Signature);
    assert_eq!(refused(&signer.sign(&json!({"alg": "ES256", "kid": "k2"}), &good)), TokenError::UnknownKey);
    let other = unsigned(&header, &claims(json!({"sub": "2"})));
    assert_eq!(refused(&format!("{other}.{signature}")), TokenError::Signature, "of another token");
    assert_eq!(refused(&format!("{message}.")), TokenError::Signature);
    // A key that the token itself brings is nobody's.
    let own =
        json!({"alg": "ES256", "kid": "k1", "jwk": stranger.public("k1"), "jku": "https://evil.example"});
    assert_eq!(refused(&stranger.sign(&own, &good)), TokenError::Signature);
    let critical = json!({"alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": false});
    assert_eq!(refused(&signer.sign(&critical, &good)), TokenError::Critical);

    for none in ["none", "None", "NONE", ""] {
        let message = unsigned(&json!({"alg": none, "kid": "k1"}), &good);
        assert_eq!(refused(&format!("{message}.")), TokenError::Algorithm, "{none}");
        assert_eq!(refused(&format!("{message}.{signature}")), TokenError::Algorithm, "{none}");
    }
    for odd in ["", "a.b", "a.b.c", "....", "not a token"] {
        assert_eq!(refused(odd), TokenError::Malformed, "{odd}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    use hmac::{Hmac, KeyInit, Mac};
    let public = Signer::p256().public("k1");
    let shared = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("a secret"), "kid": "k2", "alg": "HS256"});
    let known = keys(&[public.clone(), shared]);
    for (kid, secret) in [("k1", public.to_string()), ("k2", "a secret".to_owned())] {
        for alg in ["HS256", "HS384", "HS512"] {
            let message = unsigned(&json!({"alg": alg, "kid": kid}), &claims(json!({})));
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(message.as_bytes());
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
            assert_eq!(judge(&token, &known, &wanted()).err(), Some(TokenError::Algorithm), "{alg} {kid}");
            let announced = [alg.to_owned()];
            let refused = judge(&token, &known, &Wanted { announced: &announced, ..wanted() });
            assert_eq!(refused.err(), Some(TokenError::Algorithm), "though the issuer announces it");
        }
    }
}

#[test]
fn a_key_for_something_else_signs_nothing() {
    let signer = Signer::p256();
    let token = signer.sign(&json!({"alg": "ES256", "kid": "k1"}), &claims(json!({})));
    for (name, value) in [("use", "enc"), ("alg", "ES384"), ("crv", "P-384"), ("kty", "oct")] {
        let mut public = signer.public("k1");
        public[name] = json!(value);
        let Ok(key) = serde_json::from_value::<Jwk>(public) else { continue };
        assert_eq!(judge(&token, &[key], &wanted()).err(), Some(TokenError::UnknownKey), "{name}");
    }
}

/// Made by another library (Python's cryptography); the private key was thrown away.
#[test]
fn rsa_signatures_of_another_library_are_right() {
    let modulus = "1LZIE6m3tCFegNAg-DoRTSpv8IvWp2jCToHVFN9711cH-39STQAWQ6pY4O5arpGiM9ZMphy3VGZRop7DJBqs4Q3mEHBfyxUIQXGu6uCzuCTZM3kINaqqP05EWHyLst1GvkGpGBNkGD7jnuMD_zbo7srOG25jQLkGgegGhKl387cuwPYU70XkaXuMlqU1Y7orOgKGfW75mPIN-k5HKIy2scFNWQk6dzw5eAsXRh7DTcwlqIGTk_z-XQtxwEV3UJdoHzH9xW2RxEKp98MxZB8PS_P9Zr4Iuv03djtNbaHGb8o54J0cMIaZIHBkjpsWbI4WaOwXegMXqBR579j4MawNTw";
    let payload = "eyJpc3MiOiAiaHR0cHM6Ly9pc3N1ZXIuZXhhbXBsZSIsICJhdWQiOiAidXMiLCAic3ViIjogIjEiLCAiZXhwIjogNDEwMjQ0NDgwMCwgIm5vbmNlIjogIm4ifQ";
    let signatures = [
        (
            "RS256",
            "oXbX96H4vHIjoeh8Yn5xSElS4GD6YvBI65zB2-mMFJ4SlWMMeTlOUEMIMzWvA-NGkMQXP8FINNA8fCPesd6JddmzKjMmcT0ZD_LvJj5xtudReeN3eov2Jctr9QiwQeSH93AckmYTkERDq8oOaLBrb72Z072jaRfnKcwCyJaVCAVbGt8H6_Im3wO1RKO_TJVz4EYuH3m0vciDAYzFKmquphabEdGpk_nkCMzqVhk2rV4Cm6S2hKCBXqvB6IMt0_U99j4dXHLX5VeVjdTW242aYcZSWCoCPo7hqDLADirm7rOOiJRLjoplhQ1dne7586GLeftzT1wkzt7F7XIXVTLqyQ",
        ),
        (
            "RS512",
            "mwue5csl7agInIPgSwluzjrh7Yx7D-87xrC7hx3Nap-_sZKcErP6Gh_EUvXVu8RCIHQddr4bGlTRbb03lUIAYQ8AnWqpXpe1vCebSW-0efEkvNLunxv3X7BhpRs_-HUwQ4O9AIrQiq4PIzz_RviWAbMoPuqqJiSGIy0JEFatYoq0BtCRx1uHYdWB3g9Na_S7-2WqUui6wh82e7IFpD8qC0bncO3DTF1vChMqpdGSaRbDf4fTd_AKEq783je_ET4b4g_fqvoUlBKcHGSYNoKsb7C8RUXkNuAJgVw4N8tk-P9fUiRrASVBVem0ECGbFjZOhXk3-Fb9moj4les_wo4UYg",
        ),
        (
            "PS256",
            "XFjbJe7YCbMs1zUtzsl0yqUxGY07s7VpBesM9XIksYqGrKVsz7QHjeftIKk5uBpAQ-XEGTU-st1NkyN1VJloW5xsmZHX05TAc4dfBz4uNr57wKMeRR6Hk3DgLHTE0DLpFhvV9WAapJRc4woziVKBb70k5ww6vzAvzu2UYjtIg0HBY85_tPSOXPTBD2Xm78Xt_Gkxpxflwvk8mRzXe9RmuB-xos5RLcY6yfmPuQY7hTNsSobErbNWNfihSnz9rCnvqUfuyaqWhOTvd4vYkh_S54d_x6Hdsq5Lnoy-qMEYYOHSGi4ftBOCL7W26zAgW5YbsYHrPNFjJIIYFWnsq3k4Aw",
        ),
        (
            "PS384",
            "oFRGE2dYo1avtL2f4eVJ0iGGpFllGGRhYI3Gfw3PMOG_YgChEpU9FWShC--CoSfpPAuiA3xql-GsapXGnxPL4dsfwYNONpp74Usi2M4BurM79wY2m07wYww0KD7dae3aW8me44JpMRnHRV6gGYoJAJNvCO0hA87sdu9WyPZ9HW3eibN8nkOaJOAw8pVtwVru2-txMfjbz2qlppz5afz6TU5j-_E44v2nGHPxHXglYPc5dbRGDUOFy-rrnSFM3O-psSljtpvrHD-XJi38rbU3JxJbTyBPoG3A8c3XOiUVDiJqxfrCSpRl96pp25fRfkbY6wtroLM52hTd4ErSGOYdOA",
        ),
    ];
    let known = keys(&[json!({"kty": "RSA", "n": modulus, "e": "AQAB"})]);
    for (alg, signature) in signatures {
        let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\": \"{alg}\"}}"));
        let token = format!("{header}.{payload}.{signature}");
        assert_eq!(judge(&token, &known, &wanted()).map(|it| it.sub).ok().as_deref(), Some("1"), "{alg}");
        let (_, other) = signatures.iter().find(|(name, _)| *name != alg).unwrap();
        let token = format!("{header}.{payload}.{other}");
        assert_eq!(judge(&token, &known, &wanted()).err(), Some(TokenError::Signature), "{alg}");
    }
}

/// The example of RFC 7636, appendix B.
#[test]
fn a_challenge_is_that_of_the_standard() {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}
