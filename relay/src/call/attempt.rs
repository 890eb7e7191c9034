//! One try at a provider: the request, and what the head of its answer means.
//!
//! Claims: a provider's key goes to that provider's address and nowhere else; none of its headers reach a caller.

use super::Tools;
use crate::asked::Asked;
use crate::custom::Template;
use crate::error::CallError;
use crate::gemini;
use crate::http::{Broken, Response};
use crate::wire::Wire;
use crate::wire::outgoing::Outgoing;
use axum::http::{HeaderMap, Method, StatusCode, header};
use bytes::{Bytes, BytesMut};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What a busy provider is taken to mean when it names no time, in seconds.
pub(crate) const DEFAULT_RETRY_AFTER: u64 = 5;
/// The longest wait that callers are told, in seconds. Their libraries give up on much longer ones.
pub(crate) const MAX_RETRY_AFTER: u64 = 60;
/// How much of a provider's refusal is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 256 << 10;
/// How long a provider's refusal may take to arrive after its head.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What the head of an answer means.
pub(crate) enum Opened {
    /// The provider serves the call.
    Answer(Reached),
    /// It refuses the request, and any other provider would.
    Refused(CallError),
}

/// A provider's answer, of which the head is here.
pub(crate) struct Reached {
    pub(crate) response: Response,
    /// The wire in which it comes.
    pub(crate) wire: Wire,
    /// What of it differs from the wire.
    pub(crate) custom: Option<Template>,
}

impl Reached {
    /// Does it come as a stream? Some providers answer in one piece even where a stream was asked for.
    pub(crate) fn is_stream(&self, asked: &Asked) -> bool {
        match &self.custom {
            _ if !asked.is_streamed() => false,
            Some(custom) if custom.is_whole_only() && self.wire.is_conversation() => false,
            Some(custom) if custom.streams_lines(self.wire) => true,
            Some(_) | None => !is_json(&self.response),
        }
    }
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
    /// It forbids this call, or wants to be paid for it: because of our key, or because of what this caller sent.
    Forbidden,
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

    /// Of a broken exchange.
    pub(crate) fn transport(code: &'static str, error: Broken) -> Self {
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
pub(crate) async fn open(tools: &Tools, outgoing: Outgoing, deadline: Instant) -> Result<Opened, Failure> {
    let Outgoing { url, headers, body, wire, custom, dropped: _ } = outgoing;
    let sending = tools.http.send(Method::POST, &url, headers, body);
    let first_byte = deadline.min(Instant::now() + tools.options.first_byte_timeout);
    let response = match timeout_at(first_byte, sending).await {
        Err(_) => return Err(Failure::timeout("first_byte_timeout")),
        Ok(Err(error)) if error.is_connect() => return Err(Failure::transport("connect", error)),
        Ok(Err(error)) => return Err(Failure::transport("transport", error)),
        Ok(Ok(response)) => response,
    };
    let status = response.status;
    let meaning = meaning(status);
    if meaning == Meaning::Answer {
        return Ok(Opened::Answer(Reached { response, wire, custom }));
    }
    let told = retry_after(&response.headers);
    let body = refusal(response).await;
    let kind = match meaning {
        Meaning::Failure(FailureKind::Busy { .. }) if is_our_account_empty(&body) => {
            FailureKind::Unauthorized
        }
        Meaning::Failure(FailureKind::Busy { .. }) => {
            let retry_after =
                told.or_else(|| gemini::error::retry_delay(&body)).unwrap_or(DEFAULT_RETRY_AFTER);
            FailureKind::Busy { retry_after: retry_after.clamp(1, MAX_RETRY_AFTER) }
        }
        Meaning::Failure(FailureKind::Forbidden) if gemini::error::is_key_error(&body) => {
            FailureKind::Unauthorized
        }
        Meaning::Failure(FailureKind::Forbidden)
            if status == StatusCode::FORBIDDEN && is_moderated(&body) =>
        {
            return Ok(Opened::Refused(refused(wire, custom.as_ref(), status, &body)));
        }
        Meaning::Failure(kind) => kind,
        // Google answers so to a key that it does not know.
        Meaning::Refusal if gemini::error::is_key_error(&body) => FailureKind::Unauthorized,
        Meaning::Refusal | Meaning::Answer => {
            return Ok(Opened::Refused(refused(wire, custom.as_ref(), status, &body)));
        }
    };
    Err(Failure { kind, code: "status", status: Some(status), detail: None })
}

fn refused(wire: Wire, custom: Option<&Template>, status: StatusCode, body: &[u8]) -> CallError {
    match custom {
        None => wire.refused(status, body),
        Some(custom) => custom.refused(wire, status, body),
    }
}

/// Does a 403 speak of what the caller sent, and not of our key? So say gateways that ask a filter first, and vendors with
/// one of their own.
fn is_moderated(body: &[u8]) -> bool {
    const WORDS: &[&[u8]] = &[
        b"moderation",
        b"flagged",
        b"content_policy",
        b"content policy",
        b"content_filter",
        b"usage guidelines",
        b"safety_check",
    ];
    let body = body.to_ascii_lowercase();
    WORDS.iter().any(|word| memchr::memmem::find(&body, word).is_some())
}

/// Does a 429 mean that nothing is left of what the operator paid for? Waiting does not help then.
fn is_our_account_empty(body: &[u8]) -> bool {
    const CODES: &[&[u8]] =
        &[b"insufficient_quota", b"credit_balance_exhausted", b"enforced_spend_limit_reached"];
    CODES.iter().any(|code| memchr::memmem::find(body, code).is_some())
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
        // Our key, our proxy: never the caller's fault.
        401 | 407 => Meaning::Failure(FailureKind::Unauthorized),
        // Our key or our bill, as a rule; but some answer so to a prompt that they do not like, or to a cap that is more than
        // is left. One caller must not be able to take a key away from all others.
        402 | 403 => Meaning::Failure(FailureKind::Forbidden),
        408 | 504 => Meaning::Failure(FailureKind::Timeout),
        429 => Meaning::Failure(FailureKind::Busy { retry_after: DEFAULT_RETRY_AFTER }),
        400..=499 => Meaning::Refusal,
        // Redirects among them: they are not followed.
        _ => Meaning::Failure(FailureKind::Failed),
    }
}

async fn refusal(mut response: Response) -> Bytes {
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
    body.freeze()
}

/// The seconds that a provider asks us to wait.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number("retry-after-ms").map(|ms| ms.div_ceil(1000)).or_else(|| number("retry-after"))
}

/// Is the answer JSON by its content type? Some providers answer so even where a stream was asked for.
fn is_json(response: &Response) -> bool {
    let content_type = response.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|it| it.trim_start().to_ascii_lowercase().starts_with("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn every_status_has_a_meaning() {
        let cases = [
            (200, Meaning::Answer),
            (302, Meaning::Failure(FailureKind::Failed)),
            (400, Meaning::Refusal),
            (401, Meaning::Failure(FailureKind::Unauthorized)),
            (402, Meaning::Failure(FailureKind::Forbidden)),
            (403, Meaning::Failure(FailureKind::Forbidden)),
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
    fn a_busy_provider_names_its_time() {
        let told = |name: &'static str, value: &'static str| {
            retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]))
        };
        assert_eq!(told("retry-after", "7"), Some(7));
        assert_eq!(told("retry-after-ms", "1500"), Some(2));
        assert_eq!(told("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn a_flagged_prompt_is_told_from_a_key_that_may_not_call() {
        for body in [
            &br#"{"error":{"code":403,"message":"Your input was flagged","metadata":{"reasons":["violence"]}}}"#[..],
            br#"{"error":"Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO"}"#,
            br#"{"error":{"code":"Content_Policy_Violation"}}"#,
        ] {
            assert!(is_moderated(body), "{}", String::from_utf8_lossy(body));
        }
        for body in [&b""[..], br#"{"error":{"message":"Your API key may not use this model"}}"#] {
            assert!(!is_moderated(body));
        }
    }

    #[test]
    fn an_empty_account_of_ours_is_no_busy_provider() {
        assert!(is_our_account_empty(br#"{"error":{"type":"insufficient_quota"}}"#));
        assert!(!is_our_account_empty(br#"{"error":{"type":"rate_limit_error"}}"#));
    }
}
