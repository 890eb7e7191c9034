//! Errors in Google's shape: `{"error":{"code","message","status","details"}}`, where `code` is the HTTP status.
//!
//! For: telling callers of this format, and reading what providers of it say.
//! Claims: a provider that does not like **our** key is never taken for one that refuses the caller's request, although
//! Google answers both with 400.

use crate::error::{CallError, Retry};
use crate::openai;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest sentence of a provider that is passed on, in bytes.
const MAX_MESSAGE: usize = 2000;
/// The longest status, field or reason of a provider that is passed on, in bytes.
const MAX_NAME: usize = 200;
/// The longest wait that is believed, in seconds: a day's quota.
const MAX_DELAY: u64 = 86_400;

#[derive(Serialize)]
struct Envelope<'a> {
    error: Shape<'a>,
}

#[derive(Serialize)]
struct Shape<'a> {
    code: u16,
    message: String,
    status: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "@type")]
enum Detail<'a> {
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    Info { reason: String, domain: &'static str },
    #[serde(rename = "type.googleapis.com/google.rpc.BadRequest", rename_all = "camelCase")]
    BadRequest { field_violations: [Violation<'a>; 1] },
    #[serde(rename = "type.googleapis.com/google.rpc.RetryInfo", rename_all = "camelCase")]
    Retry { retry_delay: String },
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    description: String,
}

fn envelope(error: &CallError) -> Envelope<'_> {
    let message = if *error == CallError::MissingKey {
        "no API key was given: send it as `x-goog-api-key: sk-…`".to_owned()
    } else {
        error.to_string()
    };
    let mut details = Vec::new();
    if let Some(code) = error.code() {
        details.push(Detail::Info { reason: code.to_ascii_uppercase(), domain: "nexusroute" });
    }
    if let Some(field) = error.param() {
        details.push(Detail::BadRequest {
            field_violations: [Violation { field, description: message.clone() }],
        });
    }
    if let Retry::After(seconds) = error.retry() {
        details.push(Detail::Retry { retry_delay: format!("{seconds}s") });
    }
    let code = error.status();
    Envelope { error: Shape { code: code.as_u16(), message, status: status_name(error, code), details } }
}

/// Google's word for a status.
fn status_name(error: &CallError, status: StatusCode) -> &str {
    if let CallError::Refused { kind: Some(kind), .. } = error
        && kind.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    {
        return kind;
    }
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        // There is no word for a payment that is due.
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        405 | 501 => "UNIMPLEMENTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        502 | 503 => "UNAVAILABLE",
        400..=499 => "INVALID_ARGUMENT",
        _ => "UNKNOWN",
    }
}

/// The error as JSON: the body of an answer, or an element of an array.
pub(crate) fn body(error: &CallError) -> Vec<u8> {
    serde_json::to_vec(&envelope(error)).unwrap_or_else(|_| {
        // Serialising strings into memory cannot fail; were it to, the client must still see an error.
        br#"{"error":{"code":500,"message":"error","status":"INTERNAL"}}"#.to_vec()
    })
}

/// The answer that a caller gets.
pub fn response(error: &CallError) -> Response {
    let mut response = (error.status(), Json(envelope(error))).into_response();
    error.put_headers(response.headers_mut());
    response
}

/// The event that ends a stream whose status has already been sent.
pub fn event(error: &CallError) -> Bytes {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&body(error));
    event.extend_from_slice(b"\r\n\r\n");
    event.into()
}

#[derive(Deserialize)]
struct ForeignEnvelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ForeignShape<'a> {
    code: Option<serde_json::Value>,
    message: Option<serde_json::Value>,
    status: Option<serde_json::Value>,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ForeignDetail {
    reason: Option<String>,
    #[serde(alias = "retry_delay")]
    retry_delay: Option<String>,
    #[serde(default, alias = "field_violations")]
    field_violations: Vec<ForeignViolation>,
}

#[derive(Deserialize)]
struct ForeignViolation {
    field: Option<String>,
}

/// What a provider said of itself, as far as it is legible.
struct Foreign {
    code: Option<u16>,
    message: Option<String>,
    status: Option<String>,
    details: Vec<ForeignDetail>,
}

impl Foreign {
    /// Of the value of an `error` key. `None`: not Google's shape.
    fn of(error: &RawValue) -> Option<Self> {
        let shape: ForeignShape<'_> = serde_json::from_str(error.get()).ok()?;
        let text = |value: Option<serde_json::Value>, max: usize| match value {
            Some(serde_json::Value::String(mut text)) if !text.is_empty() => {
                text.truncate(text.floor_char_boundary(max));
                Some(text)
            }
            _ => None,
        };
        // An odd detail must not cost the others.
        let details: Vec<&RawValue> =
            shape.details.and_then(|details| serde_json::from_str(details.get()).ok()).unwrap_or_default();
        Some(Self {
            code: shape.code.and_then(|code| u16::try_from(code.as_u64()?).ok()),
            message: text(shape.message, MAX_MESSAGE),
            status: Some(text(shape.status, MAX_NAME)?),
            details: details.into_iter().filter_map(|it| serde_json::from_str(it.get()).ok()).collect(),
        })
    }

    /// Of a body, which may be a list of one on streaming calls.
    fn of_body(body: &[u8]) -> Option<Self> {
        Self::of(error_in(body)?)
    }

    fn reason(&self) -> Option<String> {
        let mut reason = self.details.iter().find_map(|detail| detail.reason.clone())?;
        reason.truncate(reason.floor_char_boundary(MAX_NAME));
        Some(reason)
    }

    /// Is it about us, not about the caller's request?
    fn is_about_our_key(&self) -> bool {
        // What Google says with 400, too, of an account that may not call it.
        if self
            .status
            .as_deref()
            .is_some_and(|it| matches!(it, "UNAUTHENTICATED" | "PERMISSION_DENIED" | "FAILED_PRECONDITION"))
        {
            return true;
        }
        let is_ours = |reason: &str| {
            ["API_KEY_", "ACCESS_TOKEN_", "CREDENTIALS_", "CONSUMER_", "ACCOUNT_STATE_", "BILLING_"]
                .iter()
                .any(|start| reason.starts_with(start))
                || reason == "SERVICE_DISABLED"
        };
        self.details.iter().filter_map(|detail| detail.reason.as_deref()).any(is_ours)
            || self.message.as_deref().is_some_and(|it| it.starts_with("API key "))
    }

    fn delay(&self) -> Option<u64> {
        self.details.iter().find_map(|detail| seconds(detail.retry_delay.as_deref()?))
    }

    fn refused(self, status: StatusCode) -> CallError {
        let param = self
            .details
            .iter()
            .flat_map(|detail| &detail.field_violations)
            .find_map(|violation| violation.field.clone())
            .map(|mut field| {
                field.truncate(field.floor_char_boundary(MAX_NAME));
                field
            });
        let code = self.reason();
        CallError::Refused {
            status,
            message: self.message.unwrap_or_else(|| "the model's provider refused the request".into()),
            kind: self.status,
            param,
            code,
        }
    }
}

/// The value of a body's `error` key; the body may be a list of one.
pub(crate) fn error_in(body: &[u8]) -> Option<&RawValue> {
    if let Ok(envelope) = serde_json::from_slice::<ForeignEnvelope<'_>>(body)
        && body.trim_ascii_start().starts_with(b"{")
    {
        return envelope.error;
    }
    let list: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    serde_json::from_str::<ForeignEnvelope<'_>>(list.first()?.get()).ok()?.error
}

/// `37s` or `1.5s`, rounded up.
fn seconds(delay: &str) -> Option<u64> {
    let number = delay.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let more = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    Some(whole.saturating_add(more).min(MAX_DELAY))
}

/// What a provider's error body says: in Google's shape, alone or as a list of one, or in any that OpenAI's reader
/// knows.
pub fn refused(status: StatusCode, body: &[u8]) -> CallError {
    match (Foreign::of_body(body), error_in(body)) {
        (Some(foreign), _) => foreign.refused(status),
        (None, Some(error)) => openai::error::refused_by(status, Some(error)),
        (None, None) => openai::error::refused(status, body),
    }
}

/// Does this error body say that our key, or the account behind it, may not call the provider? Google says so with 400
/// as well, which would look like a fault of the caller.
pub fn is_key_error(body: &[u8]) -> bool {
    Foreign::of_body(body).is_some_and(|foreign| foreign.is_about_our_key())
}

/// After how many seconds this error body says that a retry makes sense. Google sends no `retry-after` header.
pub fn retry_delay(body: &[u8]) -> Option<u64> {
    Foreign::of_body(body)?.delay()
}

/// The error that came where an answer was due, with status 200. What concerns our own account with the provider is
/// not told.
pub(crate) fn in_answer(error: &RawValue) -> CallError {
    let Some(foreign) = Foreign::of(error) else {
        return openai::error::refused_by(StatusCode::BAD_GATEWAY, Some(error));
    };
    match foreign.code.and_then(|code| StatusCode::from_u16(code).ok()) {
        Some(StatusCode::TOO_MANY_REQUESTS) => {
            CallError::ProvidersBusy { retry_after: foreign.delay().unwrap_or(1) }
        }
        Some(StatusCode::GATEWAY_TIMEOUT) => CallError::ProviderTimeout,
        Some(status) if status.is_client_error() && !foreign.is_about_our_key() && status != 402 => {
            foreign.refused(status)
        }
        _ => CallError::ProviderFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Credits;
    use serde_json::{Value, json};

    fn shown(error: &CallError) -> Value {
        serde_json::from_slice::<Value>(&body(error)).unwrap()["error"].take()
    }

    #[test]
    fn an_error_is_in_googles_shape() {
        assert_eq!(
            shown(&CallError::bad("contents", "`contents` must not be empty")),
            json!({
                "code": 400, "message": "`contents` must not be empty", "status": "INVALID_ARGUMENT",
                "details": [
                    {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "INVALID_VALUE", "domain": "nexusroute"},
                    {"@type": "type.googleapis.com/google.rpc.BadRequest",
                        "fieldViolations": [{"field": "contents", "description": "`contents` must not be empty"}]},
                ],
            })
        );
        let busy = shown(&CallError::ProvidersBusy { retry_after: 7 });
        assert_eq!(
            busy["details"][1],
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"})
        );
    }

    #[test]
    fn statuses_are_those_that_clients_know() {
        let credits = Credits::from_nano(1);
        let broke =
            CallError::InsufficientCredits { available: credits, wanted: credits, top_up_url: "x".into() };
        let cases = [
            (CallError::MissingKey, 401, "UNAUTHENTICATED"),
            (CallError::InvalidKey, 401, "UNAUTHENTICATED"),
            (broke.clone(), 402, "FAILED_PRECONDITION"),
            (CallError::OwnerDisabled, 403, "PERMISSION_DENIED"),
            (CallError::ModelNotFound { model: "m".into() }, 404, "NOT_FOUND"),
            (CallError::MethodNotAllowed { allow: "POST" }, 405, "UNIMPLEMENTED"),
            (CallError::BodyTimeout, 408, "DEADLINE_EXCEEDED"),
            (CallError::BodyTooLarge { limit: 1 }, 413, "INVALID_ARGUMENT"),
            (CallError::ContentType, 415, "INVALID_ARGUMENT"),
            (CallError::ProvidersBusy { retry_after: 1 }, 429, "RESOURCE_EXHAUSTED"),
            (CallError::Internal, 500, "INTERNAL"),
            (CallError::ProviderFailed, 502, "UNAVAILABLE"),
            (CallError::Draining, 503, "UNAVAILABLE"),
            (CallError::ProviderTimeout, 504, "DEADLINE_EXCEEDED"),
        ];
        for (error, code, status) in cases {
            assert_eq!(response(&error).status(), code, "{error:?}");
            assert_eq!((&shown(&error)["code"], &shown(&error)["status"]), (&json!(code), &json!(status)));
        }
        assert!(shown(&CallError::MissingKey)["message"].as_str().unwrap().contains("x-goog-api-key"));
        assert_eq!(response(&broke).headers()["x-should-retry"], "false");
        assert_eq!(response(&CallError::Draining).headers()["retry-after"], "1");
        assert_eq!(response(&CallError::MethodNotAllowed { allow: "POST" }).headers()["allow"], "POST");
    }

    #[test]
    fn an_error_within_a_stream_is_one_whole_event() {
        let event = event(&CallError::ProviderFailed);
        assert!(event.starts_with(br#"data: {"error":{"code":502,"#) && event.ends_with(b"}}\r\n\r\n"));
    }

    const TOO_LONG: &str = r#"{"error":{"code":400,"message":"too long","status":"INVALID_ARGUMENT","details":[
        {"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"contents[0]","description":"x"}]},
        {"odd":[]}, 7, {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"TOO_LONG","domain":"x"}]}}"#;

    #[test]
    fn a_providers_refusal_is_read_alone_and_as_a_list_of_one() {
        let expected = CallError::Refused {
            status: StatusCode::BAD_REQUEST,
            message: "too long".into(),
            kind: Some("INVALID_ARGUMENT".into()),
            param: Some("contents[0]".into()),
            code: Some("TOO_LONG".into()),
        };
        assert_eq!(refused(StatusCode::BAD_REQUEST, TOO_LONG.as_bytes()), expected);
        assert_eq!(refused(StatusCode::BAD_REQUEST, format!(" [{TOO_LONG}]\n").as_bytes()), expected);
        assert_eq!(shown(&expected)["status"], "INVALID_ARGUMENT");
    }

    #[test]
    fn a_refusal_in_openais_shape_is_read_too() {
        let cases = [
            (
                r#"{"error":{"message":"bad","type":"invalid_request_error","param":"n","code":"c"}}"#,
                "bad",
                Some("c"),
            ),
            (r#"[{"error":{"message":"bad","code":400}}]"#, "bad", Some("400")),
            (r#"{"message":"plain"}"#, "plain", None),
            ("<html>", "the model's provider refused the request", None),
        ];
        for (body, message, code) in cases {
            let error = refused(StatusCode::BAD_REQUEST, body.as_bytes());
            assert_eq!((error.to_string().as_str(), error.code()), (message, code), "{body}");
            assert_eq!(shown(&error)["status"], "INVALID_ARGUMENT", "{body}");
        }
    }

    #[test]
    fn a_bad_key_of_ours_is_told_from_a_bad_request() {
        let key = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",
            "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com",
            "metadata":{"service":"generativelanguage.googleapis.com"}}]}}"#;
        let ours = [
            key.to_owned(),
            format!("[{key}]"),
            r#"{"error":{"code":400,"message":"API key expired. Please renew the API key.","status":"INVALID_ARGUMENT"}}"#.into(),
            r#"{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED"}}"#.into(),
            r#"{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}"#.into(),
        ];
        for body in ours {
            assert!(is_key_error(body.as_bytes()), "{body}");
        }
        for body in [TOO_LONG, "", "[]", "{}", "7", r#"{"error":{"message":"API key","code":400}}"#] {
            assert!(!is_key_error(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_delay_is_read_and_rounded_up() {
        let body = |delay: &str| {
            format!(
                r#"{{"error":{{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[
                {{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{}}]}},
                {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":{delay}}}]}}}}"#
            )
        };
        let cases = [
            (r#""37s""#, Some(37)),
            (r#""36.001s""#, Some(37)),
            (r#""36.000s""#, Some(36)),
            (r#""0s""#, Some(0)),
            (r#""99999999999s""#, Some(86_400)),
            (r#""soon""#, None),
            (r#""-1s""#, None),
            ("{}", None),
        ];
        for (delay, expected) in cases {
            assert_eq!(retry_delay(body(delay).as_bytes()), expected, "{delay}");
        }
        assert_eq!(retry_delay(b"{}"), None);
    }

    #[test]
    fn an_error_in_place_of_an_answer_does_not_tell_of_our_account() {
        let error = |code: u16, status: &str| {
            let json = format!(r#"{{"code":{code},"message":"secret words","status":"{status}"}}"#);
            in_answer(serde_json::from_str(&json).unwrap())
        };
        assert_eq!(error(429, "RESOURCE_EXHAUSTED"), CallError::ProvidersBusy { retry_after: 1 });
        assert_eq!(error(401, "UNAUTHENTICATED"), CallError::ProviderFailed);
        assert_eq!(error(503, "UNAVAILABLE"), CallError::ProviderFailed);
        assert_eq!(error(504, "DEADLINE_EXCEEDED"), CallError::ProviderTimeout);
        assert_eq!(error(400, "INVALID_ARGUMENT").to_string(), "secret words");
    }
}
