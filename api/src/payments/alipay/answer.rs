//! Answers of the gateway: a node within an object, and a signature over the node's text.

use super::keys::Keys;
use crate::payments::channel::ChannelError;
use crate::payments::fields::Fields;
use crate::payments::gateway::words;

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

/// Reads an answer to a method and, if it is a good one, verifies it.
pub(super) fn read_answer(keys: &Keys, method: &str, body: &[u8]) -> Result<Said, ChannelError> {
    let unreadable = || ChannelError::Refused("its answer is not the gateway's JSON".to_owned());
    let root = Fields::read(body).ok_or_else(unreadable)?;
    let name = format!("{}_response", method.replace('.', "_"));
    let Some(node) = root.source(&name) else {
        let failed = root.object("error_response").ok_or_else(unreadable)?;
        return Ok(Said::Failed(failure(&failed)));
    };
    let said = Fields::read(node.as_bytes()).ok_or_else(unreadable)?;
    if said.text("code").as_deref() != Some("10000") {
        return Ok(Said::Failed(failure(&said)));
    }
    if let Some(expected) = keys.alipay_sn()
        && root.text("alipay_cert_sn").as_deref() != Some(expected)
    {
        let text = "its certificate is not the one in alipay_cert: download the new one from the console";
        return Err(ChannelError::Refused(text.to_owned()));
    }
    let sign = root.text("sign").unwrap_or_default();
    match keys.alipay.verifies(node.as_bytes(), &sign) {
        true => Ok(Said::Good(said)),
        false => Err(ChannelError::Refused("its answer is not signed with Alipay's key".to_owned())),
    }
}

fn failure(said: &Fields) -> Failure {
    let text = |name| said.text(name).unwrap_or_default();
    Failure { code: text("code"), sub_code: text("sub_code"), text: text("sub_msg") }
}
