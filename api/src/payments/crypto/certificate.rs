//! As much of a certificate as gateways make us look at: serial number, names, key, life, and who signed it.
//!
//! May not touch: trust. Whom to believe, each channel says; here is only whether a chain leads there ([`is_chained`]).

use super::der::{self, Reader, tag};
use super::{PublicKey, blocks};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::NaiveDateTime;
use md5::{Digest, Md5};

/// How RSA signs with SHA-256.
const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";
/// How many certificates may stand between a root and another; no gateway has more than one or two.
const LONGEST_CHAIN: usize = 5;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its serial number, in capital hexadecimal digits without leading zeros.
    pub serial_hex: String,
    /// The same in decimal.
    pub serial_decimal: String,
    /// Its issuer, last part first: `CN=…,OU=…,O=…,C=…`.
    pub issuer: String,
    /// Whose key it is, written alike.
    pub subject: String,
    /// From when on it holds, in seconds since 1970.
    pub from_s: i64,
    /// Until when.
    pub until_s: i64,
    /// May it issue others?
    pub is_authority: bool,
    /// What is signed of it, and the signature.
    signed: (Vec<u8>, Vec<u8>),
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
        let all = Reader::new(bytes).expect(tag::SEQUENCE)?;
        let mut outer = Reader::new(all);
        let mut body = Reader::new(outer.expect(tag::SEQUENCE)?);
        let signed = all.get(..all.len() - outer.left())?.to_vec();
        let mut algorithm = Reader::new(outer.expect(tag::SEQUENCE)?);
        let signature_algorithm = der::oid(algorithm.expect(tag::OID)?)?;
        // Its first byte counts the bits of the last one that are not used: none.
        let (_, signature) = outer.expect(tag::BIT_STRING)?.split_first()?;
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
        let mut life = Reader::new(body.expect(tag::SEQUENCE)?);
        let (from_s, until_s) = (seconds(life.next()?)?, seconds(life.next()?)?);
        let subject = name(body.expect(tag::SEQUENCE)?)?;
        let spki = body.expect(tag::SEQUENCE)?;
        let mut is_authority = false;
        while let Some(more) = body.next() {
            if more.tag == tag::EXTENSIONS {
                is_authority = may_issue(more.contents).unwrap_or(false);
            }
        }
        let hex: String = hex::encode_upper(serial).trim_start_matches('0').to_owned();
        Some(Self {
            serial_hex: if hex.is_empty() { "0".to_owned() } else { hex },
            serial_decimal: der::decimal(serial),
            issuer,
            subject,
            from_s,
            until_s,
            is_authority,
            signed: (signed, signature.to_vec()),
            signature_algorithm,
            public_key: PublicKey::of_spki(&as_sequence(spki)),
        })
    }

    /// Is it signed with RSA?
    pub fn is_signed_by_rsa(&self) -> bool {
        self.signature_algorithm.starts_with("1.2.840.113549.1.1")
    }

    /// Did this other certificate's key sign it? RSA with SHA-256 only.
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        let (signed, signature) = &self.signed;
        self.signature_algorithm == SHA256_WITH_RSA
            && self.issuer == issuer.subject
            && issuer.public_key.as_ref().is_some_and(|key| key.verifies(signed, &BASE64.encode(signature)))
    }

    /// Does it hold at this moment, in seconds since 1970?
    pub fn holds_at(&self, now_s: i64) -> bool {
        (self.from_s..=self.until_s).contains(&now_s)
    }

    /// What Alipay calls a certificate's SN: MD5 of issuer and serial number.
    pub fn alipay_sn(&self) -> String {
        let mut md5 = Md5::new();
        md5.update(self.issuer.as_bytes());
        md5.update(self.serial_decimal.as_bytes());
        hex::encode(md5.finalize())
    }
}

/// Does a chain lead from a certificate to one of the roots, by certificates that hold and may issue others?
pub fn is_chained(leaf: &Certificate, between: &[Certificate], roots: &[Certificate], now_s: i64) -> bool {
    let mut at = leaf;
    for _ in 0..LONGEST_CHAIN {
        if !at.holds_at(now_s) {
            return false;
        }
        if roots.iter().any(|root| root.holds_at(now_s) && at.is_signed_by(root)) {
            return true;
        }
        let Some(next) = between.iter().find(|it| it.is_authority && at.is_signed_by(it)) else {
            return false;
        };
        at = next;
    }
    false
}

/// What Alipay calls the root's SN: those of the certificates in the bundle that RSA signed.
pub fn alipay_root_sn(pem: &str) -> Option<String> {
    let all = Certificate::read_all(pem);
    let sns: Vec<String> =
        all.iter().filter(|it| it.is_signed_by_rsa()).map(Certificate::alipay_sn).collect();
    (!sns.is_empty()).then(|| sns.join("_"))
}

/// A time within a certificate, in seconds since 1970.
fn seconds(value: der::Value<'_>) -> Option<i64> {
    let text = std::str::from_utf8(value.contents).ok()?;
    let text = match value.tag {
        tag::GENERALIZED_TIME => text.to_owned(),
        // Two digits of the year: from 1950 to 2049.
        tag::UTC_TIME => {
            let year: u32 = text.get(..2)?.parse().ok()?;
            format!("{}{text}", if year < 50 { "20" } else { "19" })
        }
        _ => return None,
    };
    let time = NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?;
    Some(time.and_utc().timestamp())
}

/// What the extensions say of issuing others; nothing where they do not.
fn may_issue(extensions: &[u8]) -> Option<bool> {
    let mut all = Reader::new(Reader::new(extensions).expect(tag::SEQUENCE)?);
    while let Some(extension) = all.expect(tag::SEQUENCE) {
        let mut parts = Reader::new(extension);
        if der::oid(parts.expect(tag::OID)?)? != "2.5.29.19" {
            continue;
        }
        let mut value = parts.next()?;
        // Whether it is critical.
        if value.tag == tag::BOOLEAN {
            value = parts.next()?;
        }
        let text = (value.tag == tag::OCTET_STRING).then_some(value.contents)?;
        let says = Reader::new(Reader::new(text).expect(tag::SEQUENCE)?).next();
        return Some(says.is_some_and(|it| it.tag == tag::BOOLEAN && it.contents == [0xff]));
    }
    None
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
