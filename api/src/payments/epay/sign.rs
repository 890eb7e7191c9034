//! Epay's signatures: MD5 with a shared key in version 1, RSA in version 2.
//!
//! Claims: every field that arrived and is not empty is signed, known or not; an empty key signs and verifies nothing.

use crate::payments::channel::CallbackFault;
use crate::payments::crypto::{PrivateKey, PublicKey, same};
use crate::payments::form::string_to_sign;
use md5::{Digest, Md5};
use relay::Secret;

/// Fields that are no part of what is signed.
const UNSIGNED: [&str; 2] = ["sign", "sign_type"];

/// What a merchant signs and checks with.
#[derive(Clone, Debug)]
pub(super) enum Signer {
    /// Version 1.
    Md5(Secret),
    /// Version 2.
    Rsa {
        own: PrivateKey,
        /// Shared by all merchants of a site, which is why the merchant's number must be compared.
        platform: PublicKey,
    },
}

impl Signer {
    /// What is sent as `sign_type`.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Md5(_) => "MD5",
            Self::Rsa { .. } => "RSA",
        }
    }

    /// Signs fields; `None`: it cannot.
    pub(super) fn sign<'a>(&self, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
        let text = string_to_sign(fields, &UNSIGNED);
        match self {
            Self::Md5(key) => md5_hex(&text, key),
            Self::Rsa { own, .. } => own.sign(text.as_bytes()),
        }
    }

    /// Checks what a site signed.
    pub(super) fn check<'a>(
        &self,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
        sign: &str,
        sign_type: Option<&str>,
    ) -> Result<(), CallbackFault> {
        // Version 1's sites often leave the kind out; none of them says another.
        let fits = match self {
            Self::Md5(_) => sign_type.is_none_or(|kind| kind.eq_ignore_ascii_case(self.kind())),
            Self::Rsa { .. } => sign_type == Some(self.kind()),
        };
        let text = string_to_sign(fields, &UNSIGNED);
        let is_right = match self {
            Self::Md5(key) => {
                let own = md5_hex(&text, key).ok_or(CallbackFault::NoSecret)?;
                same(own.as_bytes(), sign.as_bytes())
            }
            Self::Rsa { platform, .. } => platform.verifies(text.as_bytes(), sign),
        };
        if fits && is_right { Ok(()) } else { Err(CallbackFault::BadSignature) }
    }
}

/// Lower-case hexadecimal MD5 of the text with the key behind it.
fn md5_hex(text: &str, key: &Secret) -> Option<String> {
    if key.expose().is_empty() {
        return None;
    }
    let mut md5 = Md5::new();
    md5.update(text.as_bytes());
    md5.update(key.expose().as_bytes());
    Some(hex::encode(md5.finalize()))
}
