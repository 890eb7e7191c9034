//! Calls to payment gateways.
//!
//! Claims: a call ends within [`TOTAL`]; an answer has a size limit; redirects are not followed; nothing is called but what the
//! operator configured, and nothing inward unless the operator said so; neither an address's query nor a body, either of which
//! may hold a key or a signature, stands in an error.

use super::channel::ChannelError;
use crate::directory::address::{Guard, check_literal};
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Url};
use std::time::Duration;

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take.
const TOTAL: Duration = Duration::from_secs(15);
/// The same for a file.
const TOTAL_FILE: Duration = Duration::from_secs(300);
/// The largest answer, in bytes.
const MOST_ANSWER: usize = 1024 * 1024;
/// The largest file, in bytes.
const MOST_FILE: usize = 256 * 1024 * 1024;
/// Some gateways answer nobody who has none.
const USER_AGENT: &str = concat!("NexusRoute/", env!("CARGO_PKG_VERSION"));

/// Calls one gateway.
#[derive(Clone, Debug)]
pub struct GatewayClient {
    http: reqwest::Client,
    allow_private: bool,
}

/// What a gateway answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its bytes.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl GatewayClient {
    /// A client. `allow_private`: the gateway is on a private or loopback address.
    pub fn try_new(allow_private: bool) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
            // A proxy would look names up past the guard.
            .no_proxy()
            .dns_resolver(Guard { allow_private })
            .build()?;
        Ok(Self { http, allow_private })
    }

    /// Checks where a gateway is; answers it without a trailing slash. Plain http is for this machine alone: a test's gateway.
    pub fn check_url(text: &str, allow_private: bool) -> Result<String, String> {
        let url = check_literal(text, allow_private)?;
        let is_plain = url.starts_with("http://");
        let host = Url::parse(&url).ok().and_then(|it| it.host_str().map(str::to_owned)).unwrap_or_default();
        match is_plain && !matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
            true => Err("must start with https:// (http:// is for this machine only)".to_owned()),
            false => Ok(url),
        }
    }

    /// May a file be fetched from there? Its address came in an answer, so it must lead to the gateway or to one of `hosts`.
    pub fn check_file_url(&self, text: &str, base_url: &str, hosts: &[&str]) -> Result<(), ChannelError> {
        let refused = || ChannelError::Refused("it names a file in an unexpected place".to_owned());
        let (url, base) =
            (Url::parse(text).map_err(|_| refused())?, Url::parse(base_url).map_err(|_| refused())?);
        let at_base =
            url.host_str() == base.host_str() && url.port_or_known_default() == base.port_or_known_default();
        let at_host = url.host_str().is_some_and(|host| hosts.contains(&host)) && url.port().is_none();
        let is_plain =
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        if !is_plain || !(at_base || at_host) || check_literal(base_url, self.allow_private).is_err() {
            return Err(refused());
        }
        Ok(())
    }

    /// A GET to be.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.http.get(url)
    }

    /// A POST to be.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.http.post(url)
    }

    /// A POST of a form to be.
    pub fn post_form(&self, url: &str, form: String) -> RequestBuilder {
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        self.http.post(url).header(reqwest::header::CONTENT_TYPE, kind).body(form)
    }

    /// Sends a call and reads its answer.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, ChannelError> {
        self.take(request, MOST_ANSWER).await
    }

    /// Sends a call whose answer is a file.
    pub async fn fetch(&self, request: RequestBuilder) -> Result<Answer, ChannelError> {
        self.take(request.timeout(TOTAL_FILE), MOST_FILE).await
    }

    async fn take(&self, request: RequestBuilder, most: usize) -> Result<Answer, ChannelError> {
        // Without its address: the query may hold a key.
        let unreachable = |error: reqwest::Error| ChannelError::Unreachable(told(&error.without_url()));
        let mut answer = request.send().await.map_err(unreachable)?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > most {
                return Err(ChannelError::Unreachable(format!("its answer is larger than {most} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if (300..400).contains(&status) {
            return Err(ChannelError::Refused(format!(
                "it redirects (HTTP {status}): the base URL may be wrong"
            )));
        }
        Ok(Answer { status, headers, body })
    }
}

/// An error with its causes: the outermost alone says little.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A gateway's own words, short and printable, for an error or the log.
pub fn words(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        let check = GatewayClient::check_url;
        assert_eq!(check("http://127.0.0.1:9/epay/", true).unwrap(), "http://127.0.0.1:9/epay");
        assert!(check("https://pay.example.com/shop", false).is_ok());
        for (url, allow_private) in [
            ("http://127.0.0.1:9", false),
            ("https://10.0.0.1", false),
            ("http://10.0.0.1", true),
            ("http://pay.example.com", true),
            ("https://pay.example.com/?key=1", false),
            ("https://user:pw@pay.example.com", false),
            ("ftp://pay.example.com", true),
            ("", false),
        ] {
            assert!(check(url, allow_private).is_err(), "{url}");
        }
    }

    #[test]
    fn a_file_lies_at_the_gateway_or_where_it_is_known_to_lie() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = GatewayClient::try_new(false).unwrap();
        let check = |url| client.check_file_url(url, "https://api.example.com/v3", &["bills.example.com"]);
        for url in ["https://api.example.com/f?token=1", "http://bills.example.com/f?x=1"] {
            assert!(check(url).is_ok(), "{url}");
        }
        for url in [
            "https://evil.example.com/f",
            "https://api.example.com:8443/f",
            "https://user@api.example.com/f",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "https://bills.example.com:22/f",
            "f",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }
}
