//! Asking an issuer: one request, one answer in JSON.
//!
//! Claims: the address is checked as a provider's is, at every connection anew; no redirect is followed, for it would carry our
//! secret along; an answer is waited for and read only so long; errors name no address, for one may hold a code.

use super::IssuerError;
use crate::directory::address::{Guard, check_base_url};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long an issuer may take for an answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The most that an answer may hold; documents and keys of large issuers have some 20 KB.
const LIMIT_BYTES: usize = 256 * 1024;

/// A client for one issuer.
pub(super) struct Fetcher {
    http: reqwest::Client,
    allow_private: bool,
}

impl Fetcher {
    pub(super) fn try_new(allow_private: bool) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Guard { allow_private })
            .user_agent(concat!("nexusroute/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(LIMIT / 2)
            .timeout(LIMIT)
            .build()?;
        Ok(Self { http, allow_private })
    }

    /// An address of the issuer's, if it may be asked there. `what` names it.
    pub(super) async fn checked(&self, what: &str, text: &str) -> Result<Url, IssuerError> {
        let wrong = |fault: String| IssuerError::Unavailable(format!("its {what} {fault}"));
        let url = Url::parse(text).map_err(|error| wrong(format!("is no address: {error}")))?;
        if url.fragment().is_some() {
            return Err(wrong("holds a fragment".into()));
        }
        // Some issuers tell their tenants by the query.
        let mut bare = url.clone();
        bare.set_query(None);
        check_base_url(bare.as_str(), self.allow_private).await.map_err(wrong)?;
        Ok(url)
    }

    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.http.get(url).header("accept", "application/json")
    }

    /// A form, as token endpoints take it.
    pub(super) fn post(&self, url: Url, fields: &[(&str, &str)]) -> RequestBuilder {
        self.http
            .post(url)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(fields))
    }

    /// Sends a request; answers the status and the JSON, whatever the status.
    pub(super) async fn answer<T: DeserializeOwned>(
        &self,
        what: &str,
        request: RequestBuilder,
    ) -> Result<(StatusCode, T), IssuerError> {
        let broken = |error: reqwest::Error| {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            IssuerError::Unavailable(format!("{what}: {cause}"))
        };
        let mut response = request.send().await.map_err(|error| broken(error.without_url()))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(error.without_url()))? {
            if bytes.len() + chunk.len() > LIMIT_BYTES {
                return Err(IssuerError::Unavailable(format!("{what} is larger than {LIMIT_BYTES} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        // Not the parser's word: it quotes what it found.
        let odd = |_| IssuerError::Unavailable(format!("{what}: {status}, and not the JSON that it must be"));
        Ok((status, serde_json::from_slice(&bytes).map_err(odd)?))
    }

    /// The same, where anything but a success is an error.
    pub(super) async fn success<T: DeserializeOwned>(
        &self,
        what: &str,
        request: RequestBuilder,
    ) -> Result<T, IssuerError> {
        let (status, body) = self.answer::<serde_json::Value>(what, request).await?;
        if !status.is_success() {
            return Err(IssuerError::Unavailable(format!("{what}: {status}")));
        }
        serde_json::from_value(body)
            .map_err(|_| IssuerError::Unavailable(format!("{what} does not hold what it must")))
    }
}

/// Fields as a form writes them.
pub fn form(fields: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&escaped(name));
        text.push('=');
        text.push_str(&escaped(value));
    }
    text
}

/// A word as a form writes it: also within the login of RFC 6749, 2.3.1.
pub(super) fn escaped(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for byte in word.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                text.push(char::from(byte))
            }
            b' ' => text.push('+'),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

/// An issuer's own word for what is wrong, fit for a log line.
pub(super) fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect()
}
