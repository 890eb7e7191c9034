//! Keys, signatures and certificates of payment gateways, on ring: the one cryptography of this binary.
//!
//! For: RSA PKCS#1 v1.5 with SHA-256 (Alipay, WeChat Pay, Epay's second version), and reading the texts that consoles give out.
//! Claims: no key is ever shown; signatures are compared by ring, other words in constant time; a text that holds no key says so
//! and cannot be used as one.

pub mod certificate;
mod der;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use der::{Reader, tag};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not base64, with or without its BEGIN and END lines.
    #[error("it is neither PEM nor base64")]
    Encoding,
    /// No RSA key.
    #[error("it holds no RSA key of 2048 bits or more")]
    NoKey,
}

/// A key to sign with. Cheap to clone.
#[derive(Clone)]
pub struct PrivateKey(Arc<RsaKeyPair>);

impl PrivateKey {
    /// Reads PKCS#8 or PKCS#1, as PEM or as the bare base64 that consoles and their tools give.
    pub fn read(text: &str) -> Result<Self, KeyFault> {
        let der = bytes(text)?;
        let pair = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der));
        Ok(Self(Arc::new(pair.map_err(|_| KeyFault::NoKey)?)))
    }

    /// The key that checks its signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey { rsa: self.0.public().as_ref().to_vec() }
    }

    /// The signature in base64; `None`: the machine gives no randomness.
    pub fn sign(&self, message: &[u8]) -> Option<String> {
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).ok()?;
        Some(BASE64.encode(signature))
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A key to check signatures with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// PKCS#1's `RSAPublicKey`, which is what ring wants.
    rsa: Vec<u8>,
}

impl PublicKey {
    /// Reads an SPKI or PKCS#1 key, or a certificate's, as PEM or as bare base64.
    pub fn read(text: &str) -> Result<Self, KeyFault> {
        let der = bytes(text)?;
        let certificate = certificate::Certificate::of_der(&der);
        let rsa = match certificate {
            Some(certificate) => certificate.public_key.map(|key| key.rsa),
            None => rsa_of_spki(&der).or_else(|| is_rsa(&der).then(|| der.clone())),
        };
        let rsa = rsa.filter(|rsa| has_bits(rsa)).ok_or(KeyFault::NoKey)?;
        Ok(Self { rsa })
    }

    fn of_spki(der: &[u8]) -> Option<Self> {
        Some(Self { rsa: rsa_of_spki(der)? })
    }

    /// Is this base64 text the signature of the message? No text makes it fail otherwise than by `false`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature) else { return false };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.rsa).verify(message, &signature).is_ok()
    }
}

/// Are they the same? In a time that depends on their lengths alone.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// The bytes of one PEM block, or of bare base64.
fn bytes(text: &str) -> Result<Vec<u8>, KeyFault> {
    let body: String = match blocks(text).next() {
        Some(block) => block,
        None => text.split_whitespace().collect(),
    };
    BASE64.decode(body).ok().filter(|bytes| !bytes.is_empty()).ok_or(KeyFault::Encoding)
}

/// The base64 of each PEM block, whatever it is called.
fn blocks(text: &str) -> impl Iterator<Item = String> {
    text.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (_, rest) = block.split_once("-----")?;
        let (body, _) = rest.split_once("-----END")?;
        Some(body.split_whitespace().collect())
    })
}

/// SPKI: the algorithm, then the key as a bit string.
fn rsa_of_spki(der: &[u8]) -> Option<Vec<u8>> {
    let mut spki = Reader::new(der::sequence(der)?);
    let mut algorithm = Reader::new(spki.expect(tag::SEQUENCE)?);
    if der::oid(algorithm.expect(tag::OID)?)? != "1.2.840.113549.1.1.1" {
        return None;
    }
    let (unused, rsa) = spki.expect(tag::BIT_STRING)?.split_first()?;
    (*unused == 0 && is_rsa(rsa)).then(|| rsa.to_vec())
}

/// Two integers and nothing else.
fn is_rsa(der: &[u8]) -> bool {
    let Some(contents) = der::sequence(der) else { return false };
    let mut reader = Reader::new(contents);
    reader.expect(tag::INTEGER).is_some() && reader.expect(tag::INTEGER).is_some() && reader.is_at_end()
}

/// At least 2048 bits: what ring verifies with.
fn has_bits(rsa: &[u8]) -> bool {
    let modulus = der::sequence(rsa).and_then(|contents| Reader::new(contents).expect(tag::INTEGER));
    modulus.is_some_and(|modulus| modulus.iter().skip_while(|byte| **byte == 0).count() >= 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "x", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", "your_public_key_here"]
        {
            assert!(PublicKey::read(text).is_err() && PrivateKey::read(text).is_err(), "{text}");
        }
        assert_eq!(PublicKey::read("MAA=").unwrap_err(), KeyFault::NoKey);
    }
}
