//! ID tokens: whether one is to be believed.
//!
//! Claims: signed by a key of the issuer's that is meant for signing and fits the algorithm, which is one of a fixed list of
//! public-key algorithms and, where the issuer announces its own, of those: never `none`, never HMAC; issued by exactly this
//! issuer, for us (and, where it is for others too, to us), not expired, not of the future, for the login that it answers.
//! Anything that is missing is as bad as anything that is wrong.

use super::Person;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

/// By how many seconds clocks may differ.
const LEEWAY_S: i64 = 60;

/// Signatures that are believed.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What is wrong with an ID token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("it is not a signed token")]
    Malformed,
    /// It is signed in a way that is not believed, or not at all.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// It asks for something that we do not know to be heeded.
    #[error("it has critical headers")]
    Critical,
    /// No key of the issuer's is the one that it names.
    #[error("its key is none of the issuer's")]
    UnknownKey,
    /// The signature is not of any of the issuer's keys.
    #[error("its signature is wrong")]
    Signature,
    /// It is another issuer's.
    #[error("it is of another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("it is for another client")]
    Audience,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is of the future")]
    NotYet,
    /// It answers another login.
    #[error("its nonce is of another login")]
    Nonce,
    /// It does not say whom it is about.
    #[error("its subject is missing or odd")]
    Subject,
    /// What goes with it is about somebody else.
    #[error("the userinfo endpoint speaks of another person")]
    AnotherPerson,
}

/// What a token must be.
pub struct Wanted<'a> {
    /// Whose.
    pub issuer: &'a str,
    /// For whom.
    pub client_id: &'a str,
    /// In answer to what.
    pub nonce: &'a str,
    /// The algorithms that the issuer announces; empty: it announces none.
    pub announced: &'a [String],
}

/// What is known of a person, in a token or at the userinfo endpoint.
#[derive(Deserialize)]
pub struct About {
    /// Who they are.
    #[serde(default)]
    pub sub: String,
    #[serde(default, deserialize_with = "lenient")]
    email: Option<String>,
    #[serde(default, deserialize_with = "truth")]
    email_verified: bool,
    #[serde(default, deserialize_with = "lenient")]
    preferred_username: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    name: Option<String>,
}

/// What a token claims. Only [`verify`] makes one that may be believed.
#[derive(Deserialize)]
pub struct Claims {
    /// Who they are.
    #[serde(default)]
    pub sub: String,
    /// Their address.
    #[serde(default, deserialize_with = "lenient")]
    pub email: Option<String>,
    #[serde(default, deserialize_with = "truth")]
    email_verified: bool,
    #[serde(default, deserialize_with = "lenient")]
    preferred_username: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    name: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    azp: Option<String>,
    exp: Option<serde_json::Number>,
    iat: Option<serde_json::Number>,
    nbf: Option<serde_json::Number>,
    nonce: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// A text, where there is one.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.and_then(|it| it.as_str().map(ToOwned::to_owned)).filter(|it| !it.is_empty()))
}

/// `true`; some issuers write it as a text. Anything else is not.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.is_some_and(|it| it == true || it == "true"))
}

impl Claims {
    pub(super) fn with(self, more: About) -> Self {
        Self {
            email: more.email,
            email_verified: more.email_verified,
            preferred_username: self.preferred_username.or(more.preferred_username),
            name: self.name.or(more.name),
            ..self
        }
    }

    pub(super) fn person(self) -> Person {
        Person {
            subject: self.sub,
            email: self.email,
            email_verified: self.email_verified,
            name: self.preferred_username.or(self.name),
        }
    }

    fn check(&self, wanted: &Wanted<'_>, at_s: i64) -> Result<(), TokenError> {
        if self.iss.as_deref() != Some(wanted.issuer) {
            return Err(TokenError::Issuer);
        }
        let (for_us, for_others) = match &self.aud {
            None => (false, false),
            Some(Audience::One(audience)) => (audience == wanted.client_id, false),
            Some(Audience::Many(all)) => {
                (all.iter().any(|it| it == wanted.client_id), all.iter().any(|it| it != wanted.client_id))
            }
        };
        let to_us = match &self.azp {
            Some(party) => party == wanted.client_id,
            // A token for several says to which of them it was given.
            None => !for_others,
        };
        if !for_us || !to_us {
            return Err(TokenError::Audience);
        }
        match self.exp.as_ref().and_then(seconds) {
            Some(end) if at_s < end.saturating_add(LEEWAY_S) => {}
            Some(_) | None => return Err(TokenError::Expired),
        }
        let begins = [self.iat.as_ref(), self.nbf.as_ref()];
        if begins.into_iter().flatten().any(|it| seconds(it).is_none_or(|begin| begin > at_s + LEEWAY_S)) {
            return Err(TokenError::NotYet);
        }
        if self.nonce.as_deref() != Some(wanted.nonce) {
            return Err(TokenError::Nonce);
        }
        let odd = |c: char| c.is_control();
        if self.sub.is_empty() || self.sub.len() > 255 || self.sub.chars().any(odd) {
            return Err(TokenError::Subject);
        }
        Ok(())
    }
}

/// Whole seconds: a fraction, which the standard allows, is dropped.
fn seconds(number: &serde_json::Number) -> Option<i64> {
    let text = number.to_string();
    number.as_i64().or_else(|| text.split_once('.').and_then(|(whole, _)| whole.parse().ok()))
}

/// Judges a token by the issuer's keys; answers what it claims.
pub fn verify(token: &str, keys: &[Jwk], wanted: &Wanted<'_>, at_s: i64) -> Result<Claims, TokenError> {
    // An algorithm without a name here, `none` among them, does not even parse.
    let header = decode_header(token).map_err(|_| match parts(token) {
        true => TokenError::Algorithm,
        false => TokenError::Malformed,
    })?;
    let name = format!("{:?}", header.alg);
    let announced = wanted.announced.is_empty() || wanted.announced.contains(&name);
    if !ALGORITHMS.contains(&header.alg) || !announced {
        return Err(TokenError::Algorithm);
    }
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    let mut fault = TokenError::UnknownKey;
    for key in keys.iter().filter(|key| fits(key, &header)) {
        match signed_by(token, key, header.alg) {
            Ok(claims) => {
                claims.check(wanted, at_s)?;
                return Ok(claims);
            }
            Err(found) => fault = found,
        }
    }
    Err(fault)
}

/// Three parts of which the first is an object?
fn parts(token: &str) -> bool {
    let mut parts = token.split('.');
    let head = parts.next().and_then(|it| URL_SAFE_NO_PAD.decode(it).ok());
    let object = head.and_then(|it| serde_json::from_slice::<serde_json::Value>(&it).ok());
    object.is_some_and(|it| it.is_object()) && parts.count() == 2
}

/// The signature alone is the library's to check; what is claimed, this room's.
fn signed_by(token: &str, key: &Jwk, algorithm: Algorithm) -> Result<Claims, TokenError> {
    use jsonwebtoken::errors::ErrorKind;
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_jwk(key).map_err(|_| TokenError::UnknownKey)?;
    match decode::<Claims>(token, &key, &validation) {
        Ok(data) => Ok(data.claims),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidKeyFormat => TokenError::Signature,
            _ => TokenError::Malformed,
        }),
    }
}

/// May this key have signed it?
fn fits(key: &Jwk, header: &Header) -> bool {
    let common = &key.common;
    let named = header.kid.is_none() || common.key_id == header.kid;
    let for_signing = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let for_this = common.key_algorithm.is_none_or(|it| it == KeyAlgorithm::from(header.alg));
    let of_this_kind = match (&key.algorithm, header.alg) {
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
        ) => true,
        (AlgorithmParameters::EllipticCurve(it), Algorithm::ES256) => it.curve == EllipticCurve::P256,
        (AlgorithmParameters::EllipticCurve(it), Algorithm::ES384) => it.curve == EllipticCurve::P384,
        (AlgorithmParameters::OctetKeyPair(it), Algorithm::EdDSA) => it.curve == EllipticCurve::Ed25519,
        _ => false, // a shared secret among them: `oct` keys sign nothing here
    };
    named && for_signing && for_this && of_this_kind
}

/// What the authorization page is told of a PKCE verifier.
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

#[cfg(test)]
pub(crate) mod tests;
