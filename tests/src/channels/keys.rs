//! RSA keys and certificates, made anew in each test by Python's `cryptography`.

use super::base64 as encoded;
use crate::place;
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use serde_json::Value;

/// Prints a key pair, with a certificate by itself or by the key that is given.
const SCRIPT: &str = r#"
import base64, datetime, json, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as s
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
key = rsa.generate_private_key(65537, 2048)
now = datetime.datetime.now(datetime.timezone.utc)
name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
                  x509.NameAttribute(NameOID.COMMON_NAME, "A gateway")])
issuer = s.load_pem_private_key(sys.argv[1].encode(), None) if sys.argv[1] else key
cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1)).sign(issuer, hashes.SHA256()))
text = lambda encoding, form: key.private_bytes(encoding, form, s.NoEncryption())
print(json.dumps({
    "private_pem": text(s.Encoding.PEM, s.PrivateFormat.PKCS8).decode(),
    "private_pkcs1": base64.b64encode(text(s.Encoding.DER, s.PrivateFormat.TraditionalOpenSSL)).decode(),
    "pkcs8": text(s.Encoding.DER, s.PrivateFormat.PKCS8).hex(),
    "public_pem": key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode(),
    "public_spki": base64.b64encode(key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)).decode(),
    "public_pkcs1": key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.PKCS1).hex(),
    "certificate": cert.public_bytes(s.Encoding.PEM).decode(),
    "serial_hex": "%X" % cert.serial_number, "serial": str(cert.serial_number),
}))
"#;

/// A key pair.
pub struct KeyPair {
    /// PKCS#8, as PEM.
    pub private_pem: String,
    /// PKCS#1, as bare base64.
    pub private_pkcs1: String,
    /// SPKI, as PEM.
    pub public_pem: String,
    /// SPKI, as bare base64.
    pub public_spki: String,
    /// A certificate over it, by itself or by whoever issued it, as PEM.
    pub certificate: String,
    /// The certificate's serial number, in capital hexadecimal digits.
    pub serial_hex: String,
    /// The same in decimal.
    pub serial: String,
    signer: RsaKeyPair,
    public: Vec<u8>,
}

impl KeyPair {
    /// A new one.
    pub async fn new() -> Self {
        Self::issued_by("").await
    }

    /// A new one, whose certificate this one's key has signed. All have the same name.
    pub async fn issues(&self) -> Self {
        Self::issued_by(&self.private_pem).await
    }

    async fn issued_by(key: &str) -> Self {
        let output =
            tokio::process::Command::new(place::python()).args(["-c", SCRIPT, key]).output().await.unwrap();
        let said: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no key: {}", String::from_utf8_lossy(&output.stderr)));
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        Self {
            private_pem: text("private_pem"),
            private_pkcs1: text("private_pkcs1"),
            public_pem: text("public_pem"),
            public_spki: text("public_spki"),
            certificate: text("certificate"),
            serial_hex: text("serial_hex"),
            serial: text("serial"),
            signer: RsaKeyPair::from_pkcs8(&hex::decode(text("pkcs8")).unwrap()).unwrap(),
            public: hex::decode(text("public_pkcs1")).unwrap(),
        }
    }

    /// RSA PKCS#1 v1.5 with SHA-256, in base64.
    pub fn sign(&self, message: &str) -> String {
        let mut signature = vec![0; self.signer.public().modulus_len()];
        self.signer
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .unwrap();
        encoded(&signature)
    }

    /// Is it this pair's signature?
    pub fn verifies(&self, message: &str, signature: &str) -> bool {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public)
            .verify(message.as_bytes(), &signature)
            .is_ok()
    }
}
