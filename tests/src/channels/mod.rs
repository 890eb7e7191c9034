//! Payment gateways that do as they are told: real HTTP, keys of their own, real signatures, and faults on demand.
//!
//! Nothing of the product is used: each protocol is written here a second time, from its description, so that a mistake in one
//! of the two shows.

pub mod alipay;
pub mod bills;
pub mod epay;
pub mod keys;
pub mod refunds;
pub mod stripe;
pub mod wechat;

use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::BTreeMap;

/// Fields of a form, by name.
pub type Form = BTreeMap<String, String>;

/// Base64, as all of these protocols write it.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A form as it goes over the wire.
pub fn encode(form: &Form) -> String {
    let mut url = reqwest::Url::parse("http://x/").unwrap();
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

/// The reverse.
pub fn decode(text: &str) -> Form {
    let mut url = reqwest::Url::parse("http://x/").unwrap();
    url.set_query(Some(text));
    url.query_pairs().into_owned().collect()
}

/// What the sorted fields that are not empty look like to a signature.
pub fn sorted(form: &Form, without: &[&str]) -> String {
    let kept = form.iter().filter(|(name, value)| !value.is_empty() && !without.contains(&name.as_str()));
    kept.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// What the gateway answered to a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// HTTP's status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// Sends a callback as a payment gateway does: no redirects, no patience.
pub async fn tell(request: reqwest::RequestBuilder) -> Heard {
    let answer = request.timeout(std::time::Duration::from_secs(20)).send().await.unwrap();
    Heard { status: answer.status().as_u16(), body: answer.text().await.unwrap() }
}
