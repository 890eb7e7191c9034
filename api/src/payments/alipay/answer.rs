//! Answers of the gateway: a node within an object, and a signature over the node's text.

use super::keys::Keys;
use crate::payments::channel::ChannelError;
use crate::payments::fields::Fields;
use crate::payments::gateway::words;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// What the gateway answered.
#[derive(Debug)]
pub(super) enum Said {
    /// It did what it was asked; verified.
    Good(Fields),
    /// It did not; not necessarily verified.
    Failed(Failure),
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) sub_code: String,
    text: String,
}

impl Said {
    /// A refusal is an error.
    pub(super) fn good(self) -> Result<Fields, ChannelError> {
        match self {
            Self::Good(said) => Ok(said),
            Self::Failed(failure) => Err(failure.into()),
        }
    }
}

impl From<Failure> for ChannelError {
    fn from(failure: Failure) -> Self {
        let text = format!("{} {} {}", failure.code, failure.sub_code, failure.text);
        // Its own trouble; the same request again may succeed.
        match failure.code == "20000" || failure.sub_code.ends_with("SYSTEM_ERROR") {
            true => Self::Unreachable(words(&text)),
            false => Self::Refused(words(&text)),
        }
    }
}

/// Reads an answer to a method and, if it is a good one, verifies it. `None`: it is signed with the key of a certificate that is
/// not known.
pub(super) fn read_answer(keys: &Keys, method: &str, body: &[u8]) -> Result<Option<Said>, ChannelError> {
    let unreadable = || ChannelError::Refused("its answer is not the gateway's JSON".to_owned());
    let root = Fields::read(body).ok_or_else(unreadable)?;
    let name = format!("{}_response", method.replace('.', "_"));
    let Some(node) = root.source(&name) else {
        let failed = root.object("error_response").ok_or_else(unreadable)?;
        return Ok(Some(Said::Failed(failure(&failed))));
    };
    let said = Fields::read(node.as_bytes()).ok_or_else(unreadable)?;
    if said.text("code").as_deref() != Some("10000") {
        return Ok(Some(Said::Failed(failure(&said))));
    }
    // In certificate mode every answer names its certificate; one that names none is of no known one.
    let sn = root.text("alipay_cert_sn").or_else(|| keys.own_sns().map(|_| String::new()));
    let Some(known) = keys.of(sn.as_deref()) else { return Ok(None) };
    let sign = root.text("sign").unwrap_or_default();
    match known.iter().any(|key| key.verifies(node.as_bytes(), &sign)) {
        true => Ok(Some(Said::Good(said))),
        false => Err(ChannelError::Refused("its answer is not signed with Alipay's key".to_owned())),
    }
}

/// The certificates in an answer to `alipay.open.app.alipaycert.download`, as PEM. Its signature cannot be checked, being one with
/// the very key that is asked for: what it holds is believed for the chain that it has, and for nothing else.
pub(super) fn read_certificates(body: &[u8]) -> Result<String, ChannelError> {
    let unreadable = || ChannelError::Refused("it sends no certificate".to_owned());
    let root = Fields::read(body).ok_or_else(unreadable)?;
    let said = root.object("alipay_open_app_alipaycert_download_response").ok_or_else(unreadable)?;
    if said.text("code").as_deref() != Some("10000") {
        return Err(failure(&said).into());
    }
    let content = said.text("alipay_cert_content").ok_or_else(unreadable)?;
    let bytes = BASE64.decode(content).map_err(|_| unreadable())?;
    String::from_utf8(bytes).map_err(|_| unreadable())
}

fn failure(said: &Fields) -> Failure {
    let text = |name| said.text(name).unwrap_or_default();
    Failure { code: text("code"), sub_code: text("sub_code"), text: text("sub_msg") }
}
