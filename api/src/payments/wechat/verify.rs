//! WeChat Pay's keys, what they have signed, and what is sealed with the merchant's own.

use crate::payments::channel::CallbackFault;
use crate::payments::config::{ChannelConfig, Unusable};
use crate::payments::crypto::PublicKey;
use crate::payments::crypto::certificate::Certificate;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How far two clocks may differ, in seconds.
const TOLERANCE_S: u64 = 300;
/// How often certificates are asked for at most: anybody can send a callback with an unknown serial number.
const FETCH_PAUSE: Duration = Duration::from_secs(60);
/// How the number of a public key begins.
const PUBLIC_KEY: &str = "PUB_KEY_ID_";

/// Keys by the serial numbers of their certificates.
pub(super) type Certificates = BTreeMap<String, PublicKey>;

/// The keys that WeChat Pay may sign with: its public key, its certificates, or both while a merchant changes over.
#[derive(Debug)]
pub(super) struct PlatformKeys {
    public_key: Option<(String, PublicKey)>,
    certificates: RwLock<Certificates>,
    fetched: Mutex<Option<Instant>>,
}

impl PlatformKeys {
    pub(super) fn try_new(config: &ChannelConfig) -> Result<Self, Unusable> {
        let public_key = match config.text("public_key_id") {
            "" => None,
            id if !id.starts_with(PUBLIC_KEY) => {
                return Err(config.wrong("public_key_id", "does not begin with PUB_KEY_ID_"));
            }
            id => {
                let text = config.secret("public_key", 64)?;
                let key = PublicKey::read(text.expose());
                Some((id.to_owned(), key.map_err(|fault| config.wrong("public_key", &fault.to_string()))?))
            }
        };
        let certificates = match config.text("platform_cert") {
            "" => Certificates::new(),
            pem => {
                let found = keyed(&Certificate::read_all(pem));
                if found.is_empty() {
                    return Err(config.wrong("platform_cert", "holds no RSA certificate"));
                }
                found
            }
        };
        Ok(Self { public_key, certificates: RwLock::new(certificates), fetched: Mutex::default() })
    }

    pub(super) fn public_key_id(&self) -> Option<&str> {
        self.public_key.as_ref().map(|(id, _)| id.as_str())
    }

    /// Checks a callback or an answer: its signature under the key that it names, then its time.
    pub(super) fn check<'a>(
        &self,
        header: impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
        now: i64,
    ) -> Result<(), CallbackFault> {
        self.check_with(&Certificates::new(), header, body, now)
    }

    /// The same, with more certificates than those that are known.
    pub(super) fn check_with<'a>(
        &self,
        more: &Certificates,
        header: impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
        now: i64,
    ) -> Result<(), CallbackFault> {
        let part = |name| header(name).filter(|it| !it.is_empty()).ok_or(CallbackFault::BadSignature);
        let (time, nonce) = (part("wechatpay-timestamp")?, part("wechatpay-nonce")?);
        let (signature, serial) = (part("wechatpay-signature")?, part("wechatpay-serial")?);
        let key = self.key(serial, more).ok_or(CallbackFault::UnknownKey)?;
        let mut message = format!("{time}\n{nonce}\n").into_bytes();
        message.extend_from_slice(body);
        message.push(b'\n');
        // Signatures that begin with WECHATPAY/SIGNTEST/ are probes, and wrong like any other.
        if !key.verifies(&message, signature) {
            return Err(CallbackFault::BadSignature);
        }
        let sent: i64 = time.parse().map_err(|_| CallbackFault::Malformed("it tells no time"))?;
        if now.abs_diff(sent) > TOLERANCE_S { Err(CallbackFault::Stale) } else { Ok(()) }
    }

    fn key(&self, serial: &str, more: &Certificates) -> Option<PublicKey> {
        if serial.starts_with(PUBLIC_KEY) {
            return self.public_key.as_ref().filter(|(id, _)| id == serial).map(|(_, key)| key.clone());
        }
        let serial = serial.to_uppercase();
        let serial = serial.trim_start_matches('0');
        let known = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        known.get(serial).or_else(|| more.get(serial)).cloned()
    }

    /// May certificates be asked for now? Whoever hears yes must ask.
    pub(super) fn may_fetch(&self) -> bool {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let may = fetched.is_none_or(|at| at.elapsed() >= FETCH_PAUSE);
        if may {
            *fetched = Some(Instant::now());
        }
        may
    }

    /// Keeps certificates that were proven. Answers whether one of them is new.
    pub(super) fn learn(&self, found: Certificates) -> bool {
        let mut known = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.extend(found);
        known.len() > before
    }
}

fn keyed(certificates: &[Certificate]) -> Certificates {
    certificates.iter().filter_map(|it| Some((it.serial_hex.clone(), it.public_key.clone()?))).collect()
}

/// Something sealed with the APIv3 key.
#[derive(Debug, Deserialize)]
pub(super) struct Sealed {
    pub(super) algorithm: String,
    pub(super) ciphertext: String,
    /// May be empty, or missing.
    #[serde(default)]
    pub(super) associated_data: Option<String>,
    pub(super) nonce: String,
}

/// The APIv3 key.
pub(super) struct ApiKey(LessSafeKey);

impl ApiKey {
    /// Exactly 32 bytes.
    pub(super) fn try_new(config: &ChannelConfig) -> Result<Self, Unusable> {
        let text = config.secret("api_v3_key", 1)?;
        Self::of(text.expose().as_bytes()).ok_or_else(|| config.wrong("api_v3_key", "is not 32 bytes long"))
    }

    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?)))
    }

    /// Opens what is sealed; `None`: it is not sealed with this key, or not at all.
    pub(super) fn open(&self, sealed: &Sealed) -> Option<Vec<u8>> {
        if sealed.algorithm != "AEAD_AES_256_GCM" {
            return None;
        }
        let nonce: [u8; NONCE_LEN] = sealed.nonce.as_bytes().try_into().ok()?;
        let mut bytes = BASE64.decode(&sealed.ciphertext).ok()?;
        let aad = Aad::from(sealed.associated_data.as_deref().unwrap_or_default().as_bytes());
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut bytes).ok()?.len();
        bytes.truncate(plain);
        Some(bytes)
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// The certificates in an answer to `/v3/certificates`; `None`: one of them cannot be opened or read.
pub(super) fn certificates(key: &ApiKey, body: &[u8]) -> Option<Certificates> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        serial_no: String,
        encrypt_certificate: Sealed,
    }
    let list: List = serde_json::from_slice(body).ok()?;
    let mut found = Certificates::new();
    for item in list.data {
        let pem = String::from_utf8(key.open(&item.encrypt_certificate)?).ok()?;
        let certificate = Certificate::read(&pem)?;
        if certificate.serial_hex != item.serial_no.to_uppercase().trim_start_matches('0') {
            return None;
        }
        found.insert(certificate.serial_hex, certificate.public_key?);
    }
    Some(found)
}
