//! As much of a certificate as gateways make us look at: serial number, issuer, key, and the kind of its signature.
//!
//! May not touch: trust. Who issued a certificate is not judged here; each channel says why it believes one.

use super::der::{self, Reader, tag};
use super::{PublicKey, blocks};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest, Md5};

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its serial number, in capital hexadecimal digits without leading zeros.
    pub serial_hex: String,
    /// The same in decimal.
    pub serial_decimal: String,
    /// Its issuer, last part first: `CN=…,OU=…,O=…,C=…`.
    pub issuer: String,
    /// How it is signed, as an object identifier.
    pub signature_algorithm: String,
    /// Its key, where that is RSA.
    pub public_key: Option<PublicKey>,
}

impl Certificate {
    /// The first certificate of a PEM text.
    pub fn read(pem: &str) -> Option<Self> {
        Self::read_all(pem).into_iter().next()
    }

    /// Every certificate of a PEM text that can be read, in its order. Alipay's bundle holds some that nobody's reader takes.
    pub fn read_all(pem: &str) -> Vec<Self> {
        blocks(pem).filter_map(|body| Self::of_der(&BASE64.decode(body).ok()?)).collect()
    }

    pub(super) fn of_der(bytes: &[u8]) -> Option<Self> {
        // The outer sequence may be followed by something in the wild; what is read stands within it.
        let mut outer = Reader::new(Reader::new(bytes).expect(tag::SEQUENCE)?);
        let mut body = Reader::new(outer.expect(tag::SEQUENCE)?);
        let mut signature = Reader::new(outer.expect(tag::SEQUENCE)?);
        let signature_algorithm = der::oid(signature.expect(tag::OID)?)?;
        let mut first = body.next()?;
        if first.tag == tag::VERSION {
            first = body.next()?;
        }
        if first.tag != tag::INTEGER {
            return None;
        }
        let serial = first.contents;
        body.expect(tag::SEQUENCE)?; // the signature's algorithm, once more
        let issuer = name(body.expect(tag::SEQUENCE)?)?;
        body.expect(tag::SEQUENCE)?; // validity
        body.expect(tag::SEQUENCE)?; // subject
        let spki = body.expect(tag::SEQUENCE)?;
        let hex: String = hex::encode_upper(serial).trim_start_matches('0').to_owned();
        Some(Self {
            serial_hex: if hex.is_empty() { "0".to_owned() } else { hex },
            serial_decimal: der::decimal(serial),
            issuer,
            signature_algorithm,
            public_key: PublicKey::of_spki(&as_sequence(spki)),
        })
    }

    /// Is it signed with RSA?
    pub fn is_signed_by_rsa(&self) -> bool {
        self.signature_algorithm.starts_with("1.2.840.113549.1.1")
    }

    /// What Alipay calls a certificate's SN: MD5 of issuer and serial number.
    pub fn alipay_sn(&self) -> String {
        let mut md5 = Md5::new();
        md5.update(self.issuer.as_bytes());
        md5.update(self.serial_decimal.as_bytes());
        hex::encode(md5.finalize())
    }
}

/// What Alipay calls the root's SN: those of the certificates in the bundle that RSA signed.
pub fn alipay_root_sn(pem: &str) -> Option<String> {
    let all = Certificate::read_all(pem);
    let sns: Vec<String> =
        all.iter().filter(|it| it.is_signed_by_rsa()).map(Certificate::alipay_sn).collect();
    (!sns.is_empty()).then(|| sns.join("_"))
}

/// The contents of a sequence as a value again.
fn as_sequence(contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut out = vec![tag::SEQUENCE];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        Ok(_) | Err(_) => {
            let bytes = length.to_be_bytes();
            let bytes: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0x7f));
            out.extend(bytes);
        }
    }
    out.extend(contents);
    out
}

/// A distinguished name, its last part first.
fn name(contents: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Reader::new(contents);
    while !sets.is_at_end() {
        let mut set = Reader::new(sets.expect(tag::SET)?);
        let mut pair = Reader::new(set.expect(tag::SEQUENCE)?);
        let oid = der::oid(pair.expect(tag::OID)?)?;
        let value = pair.next()?;
        let text = match value.tag {
            // BMPString: two bytes a character.
            0x1e => {
                let units = value
                    .contents
                    .chunks(2)
                    .map(|two| two.iter().fold(0, |sum, it| (sum << 8) | u16::from(*it)));
                String::from_utf16_lossy(&units.collect::<Vec<_>>())
            }
            _ => String::from_utf8_lossy(value.contents).into_owned(),
        };
        let short = match oid.as_str() {
            "2.5.4.3" => "CN",
            "2.5.4.6" => "C",
            "2.5.4.7" => "L",
            "2.5.4.8" => "ST",
            "2.5.4.10" => "O",
            "2.5.4.11" => "OU",
            "1.2.840.113549.1.9.1" => "E",
            other => other,
        };
        parts.push(format!("{short}={text}"));
    }
    parts.reverse();
    Some(parts.join(","))
}
