//! Errors in OpenAI's shape: `{"error":{"message","type","param","code"}}`, every key present even when null.

use crate::error::CallError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest sentence of a provider that is passed on, in bytes.
const MAX_MESSAGE: usize = 2000;
/// The longest kind, field or code of a provider that is passed on, in bytes.
const MAX_NAME: usize = 200;

#[derive(Serialize)]
struct Envelope<'a> {
    error: Shape<'a>,
}

#[derive(Serialize)]
struct Shape<'a> {
    message: String,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

fn envelope(error: &CallError) -> Envelope<'_> {
    Envelope {
        error: Shape {
            message: error.to_string(),
            r#type: kind(error),
            param: error.param(),
            code: error.code(),
        },
    }
}

/// OpenAI's coarse `type` of an error.
fn kind(error: &CallError) -> &str {
    match error {
        CallError::InsufficientCredits { .. } | CallError::BudgetSpent { .. } => "insufficient_quota",
        CallError::Refused { kind: Some(kind), .. } => kind,
        CallError::MissingKey | CallError::InvalidKey | CallError::KeyDisabled | CallError::KeyExpired => {
            "authentication_error"
        }
        CallError::OwnerDisabled | CallError::AddressNotAllowed | CallError::ModelNotAllowed { .. } => {
            "permission_error"
        }
        CallError::RateLimited(_) | CallError::ProvidersBusy { .. } => "rate_limit_error",
        CallError::ModelNotPriced { .. }
        | CallError::NoRoute { .. }
        | CallError::ProvidersUnwell { .. }
        | CallError::MeteringUnavailable
        | CallError::Draining
        | CallError::ProviderFailed
        | CallError::ProviderTimeout
        | CallError::Internal => "server_error",
        CallError::Refused { kind: None, .. }
        | CallError::UnknownPath { .. }
        | CallError::MethodNotAllowed { .. }
        | CallError::ContentType
        | CallError::FormExpected
        | CallError::ContentEncoding
        | CallError::BodyTooLarge { .. }
        | CallError::BodyCut
        | CallError::BodyTimeout
        | CallError::BadRequest { .. }
        | CallError::EndpointUnsupported { .. }
        | CallError::ModelNotFound { .. } => "invalid_request_error",
    }
}

/// The inner object of an error, for formats that put it elsewhere.
pub(crate) fn shape(error: &CallError) -> serde_json::Value {
    serde_json::to_value(envelope(error).error).unwrap_or_default()
}

/// The answer that a caller gets.
pub fn response(error: &CallError) -> Response {
    let mut response = (error.status(), Json(envelope(error))).into_response();
    error.put_headers(response.headers_mut());
    response
}

/// The event that ends a stream whose status has already been sent. OpenAI's clients raise an error on it; a stream
/// that merely stops raises nothing in any of them.
pub fn event(error: &CallError) -> Bytes {
    let mut event = b"data: ".to_vec();
    if serde_json::to_writer(&mut event, &envelope(error)).is_err() {
        // Serialising strings into memory cannot fail; were it to, the client must still see an error.
        event.extend_from_slice(
            br#"{"error":{"message":"error","type":"server_error","param":null,"code":null}}"#,
        );
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[derive(Deserialize)]
struct ForeignEnvelope<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ForeignShape<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    param: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
}

/// What a provider's error body says, in whatever shape it came: OpenAI's own, `{"error":"…"}`, `{"message":…}`,
/// `{"detail":…}`, numeric codes, or nothing legible.
pub fn refused(status: StatusCode, body: &[u8]) -> CallError {
    let envelope = serde_json::from_slice::<ForeignEnvelope<'_>>(body).ok();
    let error = envelope.as_ref().and_then(|it| it.error.or(it.message).or(it.detail));
    refused_by(status, error)
}

/// As [`refused`], of the value of an `error` key.
pub fn refused_by(status: StatusCode, error: Option<&RawValue>) -> CallError {
    let shape = error.and_then(|error| serde_json::from_str::<ForeignShape<'_>>(error.get()).ok());
    let field = |pick: fn(&ForeignShape<'_>) -> Option<String>| shape.as_ref().and_then(pick);
    let message = match &shape {
        Some(shape) => shape.message.and_then(|it| text(it, MAX_MESSAGE)),
        None => error.and_then(|it| text(it, MAX_MESSAGE)),
    };
    CallError::Refused {
        status,
        message: message.unwrap_or_else(|| "the model's provider refused the request".into()),
        kind: field(|it| it.r#type.and_then(|it| text(it, MAX_NAME))),
        param: field(|it| it.param.and_then(|it| text(it, MAX_NAME))),
        code: field(|it| it.code.and_then(|it| text(it, MAX_NAME))),
    }
}

/// A string or a number as text, cut at a character. `None` of anything else, and of an empty string.
fn text(value: &RawValue, max: usize) -> Option<String> {
    let mut text = match serde_json::from_str(value.get()).ok()? {
        serde_json::Value::String(text) => text,
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => return None,
    };
    text.truncate(text.floor_char_boundary(max));
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Credits;

    fn json(error: &CallError) -> serde_json::Value {
        serde_json::to_value(envelope(error)).unwrap()
    }

    #[test]
    fn every_key_is_present_even_when_null() {
        assert_eq!(
            json(&CallError::ProviderFailed),
            serde_json::json!({"error": {
                "message": "the model's provider failed to answer; please try again",
                "type": "server_error", "param": null, "code": "provider_error",
            }})
        );
    }

    #[test]
    fn statuses_types_and_codes_are_those_that_clients_know() {
        let credits = Credits::from_nano(1);
        let broke = CallError::InsufficientCredits {
            available: credits,
            wanted: credits,
            top_up_url: "https://x/topup".into(),
        };
        let cases = [
            (CallError::InvalidKey, 401, "authentication_error", "invalid_api_key"),
            (CallError::KeyExpired, 401, "authentication_error", "api_key_expired"),
            (CallError::AddressNotAllowed, 403, "permission_error", "address_not_allowed"),
            (CallError::ContentType, 415, "invalid_request_error", "unsupported_media_type"),
            (CallError::BodyTooLarge { limit: 9 }, 413, "invalid_request_error", "request_too_large"),
            (CallError::bad("n", "no"), 400, "invalid_request_error", "invalid_value"),
            (CallError::ModelNotFound { model: "x".into() }, 404, "invalid_request_error", "model_not_found"),
            (CallError::ModelNotAllowed { model: "x".into() }, 403, "permission_error", "model_not_allowed"),
            (CallError::ModelNotPriced { model: "x".into() }, 503, "server_error", "model_not_priced"),
            (broke.clone(), 402, "insufficient_quota", "insufficient_credits"),
            (
                CallError::BudgetSpent { left: credits, wanted: credits },
                402,
                "insufficient_quota",
                "budget_exceeded",
            ),
            (CallError::ProvidersBusy { retry_after: 3 }, 429, "rate_limit_error", "rate_limit_exceeded"),
            (CallError::ProviderTimeout, 504, "server_error", "provider_timeout"),
        ];
        for (error, status, kind, code) in cases {
            assert_eq!(error.status(), status, "{error:?}");
            assert_eq!(json(&error)["error"]["type"], kind, "{error:?}");
            assert_eq!(json(&error)["error"]["code"], code, "{error:?}");
        }
        assert!(json(&broke)["error"]["message"].as_str().unwrap().contains("https://x/topup"));
        assert_eq!(response(&broke).headers()["x-should-retry"], "false");
        assert_eq!(response(&CallError::MeteringUnavailable).headers()["retry-after"], "1");
        assert_eq!(response(&CallError::MethodNotAllowed { allow: "POST" }).headers()["allow"], "POST");
    }

    #[test]
    fn any_error_body_of_a_provider_becomes_openais_shape() {
        let cases = [
            (
                r#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
                r#"{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}"#,
            ),
            (
                r#"{"error":{"code":400,"message":"bad","type":"x"}}"#,
                r#"{"message":"bad","type":"x","param":null,"code":"400"}"#,
            ),
            (
                r#"{"error":"plain words"}"#,
                r#"{"message":"plain words","type":"invalid_request_error","param":null,"code":null}"#,
            ),
            (
                r#"{"object":"error","message":"vllm","code":400}"#,
                r#"{"message":"vllm","type":"invalid_request_error","param":null,"code":null}"#,
            ),
            (
                r#"{"detail":"fastapi"}"#,
                r#"{"message":"fastapi","type":"invalid_request_error","param":null,"code":null}"#,
            ),
            (
                "<html>nginx</html>",
                r#"{"message":"the model's provider refused the request","type":"invalid_request_error","param":null,"code":null}"#,
            ),
        ];
        for (body, shape) in cases {
            let error = refused(StatusCode::BAD_REQUEST, body.as_bytes());
            assert_eq!(
                json(&error)["error"],
                serde_json::from_str::<serde_json::Value>(shape).unwrap(),
                "{body}"
            );
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let body = format!(r#"{{"error":{{"message":"{}"}}}}"#, "密".repeat(1000));
        let CallError::Refused { message, .. } = refused(StatusCode::BAD_REQUEST, body.as_bytes()) else {
            panic!()
        };
        assert_eq!(message.len(), 1998);
    }

    #[test]
    fn an_error_within_a_stream_is_one_whole_event() {
        let event = event(&CallError::ProviderFailed);
        assert!(event.starts_with(br#"data: {"error":{"message":"#) && event.ends_with(b"}}\n\n"));
        assert_eq!(event.iter().filter(|byte| **byte == b'\n').count(), 2);
    }
}
