//! The keys of both modes.

use crate::payments::config::{ChannelConfig, Unusable};
use crate::payments::crypto::certificate::{Certificate, alipay_root_sn, is_chained};
use crate::payments::crypto::{PrivateKey, PublicKey};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// How long after asking for a certificate it is not asked for again, and how many are asked for within that time: anybody can send
/// a notification that names one.
const ASK_PAUSE: Duration = Duration::from_secs(60);
const MOST_ASKED: usize = 10;

/// What an application signs with and checks with.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) own: PrivateKey,
    /// Public-key mode: Alipay's key.
    pub(super) alipay: PublicKey,
    certificates: Option<Certificates>,
}

/// Certificate mode: the SNs of the certificates in use, and Alipay's own.
#[derive(Debug)]
struct Certificates {
    app: String,
    root: String,
    /// Whoever holds a certificate of Alipay's: the name in the configured one.
    subject: String,
    roots: Vec<Certificate>,
    /// The configured key and those that came in its place, by their SNs.
    alipay: RwLock<BTreeMap<String, PublicKey>>,
    /// An SN that something named and nobody knows, and those that were asked for lately.
    unknown: Mutex<Unknown>,
}

#[derive(Debug, Default)]
struct Unknown {
    named: Option<String>,
    asked: Vec<(String, Instant)>,
}

/// Why a certificate is not taken in place of the configured one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTrusted {
    /// Another one than was asked for, or none.
    #[error("it is not the certificate that was asked for")]
    Other,
    /// Somebody else's.
    #[error("it is not issued to whom the configured one is issued to")]
    Foreign,
    /// Nobody that is trusted issued it, or its time is over.
    #[error("no chain leads from it to alipay_root_cert")]
    NoChain,
    /// It has no RSA key.
    #[error("it holds no RSA key")]
    NoKey,
}

impl Keys {
    /// Reads them. Neither a public key nor certificates: the channel is off.
    pub(super) fn try_new(config: &ChannelConfig) -> Result<Self, Unusable> {
        let text = config.secret("private_key", 64)?;
        let own = PrivateKey::read(text.expose())
            .map_err(|fault| config.wrong("private_key", &fault.to_string()))?;
        let certificates = ["app_cert", "alipay_cert", "alipay_root_cert"];
        let (alipay, certificates) = if certificates.iter().any(|key| !config.text(key).is_empty()) {
            let [app, alipay, root] = certificates;
            let read = |key: &str| -> Result<Certificate, Unusable> {
                let text = config.secret(key, 64)?;
                Certificate::read(text.expose()).ok_or_else(|| config.wrong(key, "holds no certificate"))
            };
            let (app_certificate, alipay_certificate) = (read(app)?, read(alipay)?);
            if app_certificate.public_key.as_ref() != Some(&own.public()) {
                return Err(config.wrong(app, "is not the certificate of private_key"));
            }
            let roots = config.secret(root, 64)?;
            let sn = alipay_certificate.alipay_sn();
            let key =
                alipay_certificate.public_key.ok_or_else(|| config.wrong(alipay, "holds no RSA key"))?;
            let all = Certificates {
                app: app_certificate.alipay_sn(),
                root: alipay_root_sn(roots.expose())
                    .ok_or_else(|| config.wrong(root, "holds no RSA certificate"))?,
                subject: alipay_certificate.subject,
                roots: Certificate::read_all(roots.expose()),
                alipay: RwLock::new(BTreeMap::from([(sn, key.clone())])),
                unknown: Mutex::default(),
            };
            (key, Some(all))
        } else {
            let text = config.secret("alipay_public_key", 64)?;
            let key = PublicKey::read(text.expose());
            (key.map_err(|fault| config.wrong("alipay_public_key", &fault.to_string()))?, None)
        };
        // The most common mistake: the console shows both.
        if alipay == own.public() {
            return Err(config.wrong(
                "alipay_public_key",
                "is the application's own key; the console shows Alipay's beside it",
            ));
        }
        Ok(Self { own, alipay, certificates })
    }

    /// Certificate mode: what requests tell of our certificate and of the root.
    pub(super) fn own_sns(&self) -> Option<(&str, &str)> {
        self.certificates.as_ref().map(|it| (it.app.as_str(), it.root.as_str()))
    }

    /// The keys that may have signed what names this certificate. `None`: it names one that nobody knows, which is remembered.
    ///
    /// What names none may be signed with any of them; in public-key mode nothing names one that counts.
    pub(super) fn of(&self, sn: Option<&str>) -> Option<Vec<PublicKey>> {
        let Some(certificates) = &self.certificates else { return Some(vec![self.alipay.clone()]) };
        let known = certificates.alipay.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sn) = sn else { return Some(known.values().cloned().collect()) };
        let key = known.get(sn).cloned();
        if key.is_none() {
            let mut unknown = certificates.unknown.lock().unwrap_or_else(PoisonError::into_inner);
            unknown.named = is_sn(sn).then(|| sn.to_owned());
        }
        key.map(|key| vec![key])
    }

    /// The SN of a certificate that something named and nobody knows, if it may be asked for now. Whoever hears it must ask.
    pub(super) fn wanted(&self) -> Option<String> {
        let certificates = self.certificates.as_ref()?;
        let mut unknown = certificates.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let sn = unknown.named.take()?;
        unknown.asked.retain(|(_, at)| at.elapsed() < ASK_PAUSE);
        if unknown.asked.len() >= MOST_ASKED || unknown.asked.iter().any(|(asked, _)| *asked == sn) {
            return None;
        }
        unknown.asked.push((sn.clone(), Instant::now()));
        Some(sn)
    }

    /// Takes the certificate with this SN out of what Alipay sent, if it is Alipay's: issued to the same name, by a chain that
    /// leads to the configured root.
    pub(super) fn learn(&self, sn: &str, pem: &str, now_s: i64) -> Result<(), NotTrusted> {
        let ours = self.certificates.as_ref().ok_or(NotTrusted::Other)?;
        let sent = Certificate::read_all(pem);
        let new = sent.iter().find(|it| it.alipay_sn() == sn).ok_or(NotTrusted::Other)?;
        if new.subject != ours.subject {
            return Err(NotTrusted::Foreign);
        }
        if !is_chained(new, &sent, &ours.roots, now_s) {
            return Err(NotTrusted::NoChain);
        }
        let key = new.public_key.clone().ok_or(NotTrusted::NoKey)?;
        if key == self.own.public() {
            return Err(NotTrusted::Foreign);
        }
        ours.alipay.write().unwrap_or_else(PoisonError::into_inner).insert(sn.to_owned(), key);
        Ok(())
    }
}

/// 32 hexadecimal digits: what an SN is.
fn is_sn(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
