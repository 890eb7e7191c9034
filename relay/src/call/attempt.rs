//! One try at a provider: the request, and what the head of its answer means.
//!
//! Claims: a provider's key goes to that provider's address and nowhere else; none of its headers reach a caller.

use super::Tools;
use super::admission::Call;
use crate::catalogue::{ProviderFormat, Route};
use crate::error::CallError;
use crate::openai;
use crate::openai::request::CapField;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::BytesMut;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What a busy provider is taken to mean when it names no time, in seconds.
pub(crate) const DEFAULT_RETRY_AFTER: u64 = 5;
/// The longest wait that callers are told, in seconds. Their libraries give up on much longer ones.
const MAX_RETRY_AFTER: u64 = 60;
/// How much of a provider's refusal is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 256 << 10;
/// How long a provider's refusal may take to arrive after its head.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What the head of an answer means.
pub(crate) enum Opened {
    /// The provider serves the call.
    Answer(reqwest::Response),
    /// It refuses the request, and any other provider would.
    Refused(CallError),
}

/// Why a try came to nothing. Another provider may do better.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// A short code for the usage record.
    pub(crate) code: &'static str,
    /// The provider's status, if it answered.
    pub(crate) status: Option<StatusCode>,
    /// For the log.
    pub(crate) detail: Option<String>,
}

/// What a failure means for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Too many requests.
    Busy {
        /// After how many seconds it takes more.
        retry_after: u64,
    },
    /// It does not accept our key, or our account there is empty.
    Unauthorized,
    /// No answer in time.
    Timeout,
    /// Anything else.
    Failed,
}

impl Failure {
    pub(crate) fn failed(code: &'static str) -> Self {
        Self { kind: FailureKind::Failed, code, status: None, detail: None }
    }

    pub(crate) fn timeout(code: &'static str) -> Self {
        Self { kind: FailureKind::Timeout, code, status: None, detail: None }
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Of a broken exchange. The address is left out of the detail: an operator may have put a key into it.
    pub(crate) fn transport(code: &'static str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            detail.push_str(": ");
            detail.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { detail: Some(detail), ..Self::failed(code) }
    }
}

/// Sends the request and waits for the head of the answer.
pub(crate) async fn open(
    tools: &Tools,
    call: &Call,
    route: &Route,
    deadline: Instant,
) -> Result<Opened, Failure> {
    let request = match route.format {
        ProviderFormat::OpenAi => openai_request(&tools.http, call, route)?,
    };
    let first_byte = deadline.min(Instant::now() + tools.options.first_byte_timeout);
    let response = match timeout_at(first_byte, request.send()).await {
        Err(_) => return Err(Failure::timeout("first_byte_timeout")),
        Ok(Err(error)) if error.is_connect() => return Err(Failure::transport("connect", error)),
        Ok(Err(error)) if error.is_timeout() => return Err(Failure::timeout("timeout")),
        Ok(Err(error)) => return Err(Failure::transport("transport", error)),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    match meaning(status) {
        Meaning::Answer => Ok(Opened::Answer(response)),
        Meaning::Refusal => Ok(Opened::Refused(refusal(response).await)),
        Meaning::Failure(kind) => {
            let kind = match kind {
                FailureKind::Busy { .. } => {
                    FailureKind::Busy { retry_after: retry_after(response.headers()) }
                }
                FailureKind::Unauthorized | FailureKind::Timeout | FailureKind::Failed => kind,
            };
            Err(Failure { kind, code: "status", status: Some(status), detail: None })
        }
    }
}

fn openai_request(
    http: &reqwest::Client,
    call: &Call,
    route: &Route,
) -> Result<reqwest::RequestBuilder, Failure> {
    let mut key = HeaderValue::from_str(&format!("Bearer {}", route.api_key.expose()))
        .map_err(|_| Failure::failed("provider_key"))?;
    key.set_sensitive(true);
    let accept = if call.chat.stream { "text/event-stream" } else { "application/json" };
    let body =
        call.chat.body_for(route.upstream_model.as_str(), cap_field(&route.base_url), call.default_cap);
    Ok(http
        .post(format!("{}/chat/completions", route.base_url))
        .header(header::AUTHORIZATION, key)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, accept)
        // Compressed bytes could be passed through, but not metered.
        .header(header::ACCEPT_ENCODING, "identity")
        .body(body))
}

/// OpenAI's newer models refuse `max_tokens`; all of its models take `max_completion_tokens`. Of the others many know
/// only the former.
fn cap_field(base_url: &str) -> CapField {
    let host = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    let is_openai =
        host == "api.openai.com" || host.ends_with(".api.openai.com") || host.ends_with(".openai.azure.com");
    if is_openai { CapField::MaxCompletionTokens } else { CapField::MaxTokens }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Answer,
    Refusal,
    Failure(FailureKind),
}

fn meaning(status: StatusCode) -> Meaning {
    match status.as_u16() {
        200..=299 => Meaning::Answer,
        // Our key, our bill, our proxy: never the caller's fault.
        401..=403 | 407 => Meaning::Failure(FailureKind::Unauthorized),
        408 | 504 => Meaning::Failure(FailureKind::Timeout),
        429 => Meaning::Failure(FailureKind::Busy { retry_after: DEFAULT_RETRY_AFTER }),
        400..=499 => Meaning::Refusal,
        // Redirects among them: they are not followed.
        _ => Meaning::Failure(FailureKind::Failed),
    }
}

async fn refusal(mut response: reqwest::Response) -> CallError {
    let status = response.status();
    let mut body = BytesMut::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_REFUSAL_BYTES {
                break;
            }
        }
    };
    // What has come by then is read as it is: the status alone says enough.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, read).await;
    openai::error::refused(status, &body)
}

fn retry_after(headers: &HeaderMap) -> u64 {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms.div_ceil(1000)).or_else(|| number("retry-after"));
    seconds.unwrap_or(DEFAULT_RETRY_AFTER).clamp(1, MAX_RETRY_AFTER)
}

/// Is the answer JSON by its content type? Some providers answer so even where a stream was asked for.
pub(crate) fn is_json(response: &reqwest::Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|it| it.trim_start().to_ascii_lowercase().starts_with("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_meaning() {
        let cases = [
            (200, Meaning::Answer),
            (302, Meaning::Failure(FailureKind::Failed)),
            (400, Meaning::Refusal),
            (401, Meaning::Failure(FailureKind::Unauthorized)),
            (402, Meaning::Failure(FailureKind::Unauthorized)),
            (403, Meaning::Failure(FailureKind::Unauthorized)),
            (404, Meaning::Refusal),
            (408, Meaning::Failure(FailureKind::Timeout)),
            (413, Meaning::Refusal),
            (422, Meaning::Refusal),
            (429, Meaning::Failure(FailureKind::Busy { retry_after: DEFAULT_RETRY_AFTER })),
            (500, Meaning::Failure(FailureKind::Failed)),
            (504, Meaning::Failure(FailureKind::Timeout)),
            (529, Meaning::Failure(FailureKind::Failed)),
        ];
        for (status, expected) in cases {
            assert_eq!(meaning(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }

    #[test]
    fn a_busy_provider_names_its_time_and_we_bound_it() {
        let told = |name: &'static str, value: &'static str| {
            retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]))
        };
        assert_eq!(told("retry-after", "7"), 7);
        assert_eq!(told("retry-after-ms", "1500"), 2);
        assert_eq!(told("retry-after", "0"), 1);
        assert_eq!(told("retry-after", "86400"), 60);
        assert_eq!(told("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), DEFAULT_RETRY_AFTER);
    }

    #[test]
    fn only_openai_itself_gets_its_new_name_of_the_cap() {
        assert_eq!(cap_field("https://api.openai.com/v1"), CapField::MaxCompletionTokens);
        assert_eq!(cap_field("https://x.openai.azure.com/openai/v1"), CapField::MaxCompletionTokens);
        for other in
            ["https://antinomy.ai/api/v1", "http://127.0.0.1:9/v1", "https://evil.com/api.openai.com"]
        {
            assert_eq!(cap_field(other), CapField::MaxTokens, "{other}");
        }
    }
}
