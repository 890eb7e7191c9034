//! Calling the gateway as a program would: plain HTTP, plain JSON.

use domain::Credits;
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use std::{sync::Once, time::Duration};

/// A caller: an address and the credentials sent along.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    headers: HeaderMap,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked, for messages.
    pub asked: String,
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

/// An HTTP client; the cryptography provider is installed on first use.
pub fn client() -> reqwest::Client {
    static RING: Once = Once::new();
    RING.call_once(|| {
        // An error means that somebody else in this process installed it.
        rustls::crypto::ring::default_provider().install_default().ok();
    });
    reqwest::Client::builder()
        .timeout(Duration::from_secs(60))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

impl Api {
    /// A caller without credentials.
    pub fn nobody(base: &str) -> Self {
        Self { http: client(), base: base.to_owned(), headers: HeaderMap::new() }
    }

    /// The same with one more header on every request.
    #[must_use]
    pub fn with(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        other
    }

    /// The same with `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// The same caller at another address.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// Where the gateway is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(("application/json", body.to_string().into_bytes()))).await
    }

    /// Any request.
    pub async fn send(&self, method: Method, path: &str, body: Option<(&str, Vec<u8>)>) -> Answer {
        self.try_send(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// POST with a JSON body; the answer's body is still to come. An error when the connection failed.
    pub async fn begin(&self, path: &str, body: &Value) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.http.post(format!("{}{path}", self.base)).headers(self.headers.clone());
        request.header("content-type", "application/json").body(body.to_string()).send().await
    }

    /// Any request; an error when the connection failed.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Answer, reqwest::Error> {
        let asked = format!("{method} {path}");
        let mut request =
            self.http.request(method, format!("{}{path}", self.base)).headers(self.headers.clone());
        if let Some((content_type, bytes)) = body {
            request = request.header("content-type", content_type).body(bytes);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { asked, status, headers, text: response.text().await? })
    }
}

impl Answer {
    /// The body as JSON; fails the test when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON of a success; fails the test on anything else.
    #[track_caller]
    pub fn ok(&self) -> Value {
        self.assert_success();
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// Fails the test unless this is a success.
    #[track_caller]
    pub fn assert_success(&self) {
        assert!((200..300).contains(&self.status), "{} answered {}: {}", self.asked, self.status, self.text);
    }

    /// A header, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Fails unless this is a problem+json with this status; answers its code.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}: {}",
            self.asked,
            self.text
        );
        let body = self.json();
        assert_eq!(body["status"], status, "{}: {body}", self.asked);
        assert!(body["detail"].as_str().is_some_and(|it| !it.is_empty()), "{}: {body}", self.asked);
        body["code"].as_str().expect("a problem has a code").to_owned()
    }

    /// Fails unless this is an error in OpenAI's shape with this status; answers its code.
    #[track_caller]
    pub fn openai_error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text);
        let body = self.json();
        let error = &body["error"];
        assert!(error["message"].as_str().is_some_and(|it| !it.is_empty()), "{}: {body}", self.asked);
        assert!(error["type"].is_string(), "{}: {body}", self.asked);
        error["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// An amount of credits as it stands in JSON: a decimal string, never a number.
#[track_caller]
pub fn credits(value: &Value) -> Credits {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is not an amount: amounts are strings"));
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}
