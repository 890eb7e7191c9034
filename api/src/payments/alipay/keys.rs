//! The keys of both modes.

use crate::payments::config::{ChannelConfig, Unusable};
use crate::payments::crypto::certificate::{Certificate, alipay_root_sn};
use crate::payments::crypto::{PrivateKey, PublicKey};

/// What an application signs with and checks with.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) own: PrivateKey,
    pub(super) alipay: PublicKey,
    certificates: Option<Certificates>,
}

/// Certificate mode: the SNs of the certificates in use.
#[derive(Debug)]
struct Certificates {
    app: String,
    root: String,
    alipay: String,
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
            let sns = Certificates {
                app: app_certificate.alipay_sn(),
                root: alipay_root_sn(roots.expose())
                    .ok_or_else(|| config.wrong(root, "holds no RSA certificate"))?,
                alipay: alipay_certificate.alipay_sn(),
            };
            let key =
                alipay_certificate.public_key.ok_or_else(|| config.wrong(alipay, "holds no RSA key"))?;
            (key, Some(sns))
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

    /// Certificate mode: the SN that answers must name.
    pub(super) fn alipay_sn(&self) -> Option<&str> {
        self.certificates.as_ref().map(|it| it.alipay.as_str())
    }
}
