//! Errors in Anthropic's shape: `{"type":"error","error":{"type","message","details":{"error_code"}}}`.

use crate::error::CallError;
use crate::openai;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a provider that is busy in the middle of a stream is taken to mean, in seconds.
const RETRY_AFTER: u64 = 5;

#[derive(Serialize)]
struct Envelope<'a> {
    r#type: &'static str,
    error: Shape<'a>,
}

#[derive(Serialize)]
struct Shape<'a> {
    r#type: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

/// Where this format has its stable codes.
#[derive(Serialize)]
struct Details<'a> {
    error_code: &'a str,
}

fn envelope(error: &CallError) -> Envelope<'_> {
    let details = error.code().map(|error_code| Details { error_code });
    Envelope { r#type: "error", error: Shape { r#type: kind(error), message: error.to_string(), details } }
}

/// Anthropic's coarse `type` of an error.
fn kind(error: &CallError) -> &'static str {
    match error {
        CallError::MissingKey | CallError::InvalidKey | CallError::KeyDisabled | CallError::KeyExpired => {
            "authentication_error"
        }
        CallError::OwnerDisabled | CallError::AddressNotAllowed | CallError::ModelNotAllowed { .. } => {
            "permission_error"
        }
        CallError::InsufficientCredits { .. } | CallError::BudgetSpent { .. } => "billing_error",
        CallError::UnknownPath { .. } | CallError::ModelNotFound { .. } => "not_found_error",
        CallError::BodyTooLarge { .. } => "request_too_large",
        CallError::RateLimited(_) | CallError::ProvidersBusy { .. } => "rate_limit_error",
        CallError::NoRoute { .. }
        | CallError::ProvidersUnwell { .. }
        | CallError::MeteringUnavailable
        | CallError::Draining => "overloaded_error",
        CallError::ModelNotPriced { .. } | CallError::ProviderFailed | CallError::Internal => "api_error",
        CallError::ProviderTimeout | CallError::BodyTimeout => "timeout_error",
        CallError::Refused { status, kind, .. } => kind.as_deref().and_then(known).unwrap_or(of(*status)),
        CallError::MethodNotAllowed { .. }
        | CallError::ContentType
        | CallError::FormExpected
        | CallError::EndpointUnsupported { .. }
        | CallError::ContentEncoding
        | CallError::BodyCut
        | CallError::BadRequest { .. } => "invalid_request_error",
    }
}

/// A type that this format's clients know.
fn known(kind: &str) -> Option<&'static str> {
    const KNOWN: [&str; 11] = [
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "conflict_error",
        "request_too_large",
        "rate_limit_error",
        "api_error",
        "timeout_error",
        "overloaded_error",
    ];
    KNOWN.into_iter().find(|known| *known == kind)
}

/// The type that goes with a status.
fn of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The answer that a caller gets.
pub fn response(error: &CallError) -> Response {
    let mut response = (error.status(), Json(envelope(error))).into_response();
    error.put_headers(response.headers_mut());
    response
}

/// The event that ends a stream whose status has already been sent. Anthropic's clients raise an error on it.
pub fn event(error: &CallError) -> Bytes {
    let mut event = b"event: error\ndata: ".to_vec();
    if serde_json::to_writer(&mut event, &envelope(error)).is_err() {
        // Serialising strings into memory cannot fail; were it to, the client must still see an error.
        event.extend_from_slice(br#"{"type":"error","error":{"type":"api_error","message":"error"}}"#);
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// What a provider's error body says: in this format's shape, in OpenAI's, or in another.
pub fn refused(status: StatusCode, body: &[u8]) -> CallError {
    #[derive(Deserialize)]
    struct Foreign<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }

    let shape = serde_json::from_slice::<Foreign<'_>>(body).ok().and_then(|it| it.error);
    with_code(openai::error::refused(status, body), shape)
}

/// What the error within a stream means, which names its type and no status.
pub fn in_stream(shape: Option<&RawValue>) -> CallError {
    let refused = |status| with_code(openai::error::refused_by(status, shape), shape);
    let CallError::Refused { kind, .. } = refused(StatusCode::BAD_REQUEST) else {
        return CallError::ProviderFailed;
    };
    match kind.as_deref().unwrap_or_default() {
        "invalid_request_error" => refused(StatusCode::BAD_REQUEST),
        "not_found_error" => refused(StatusCode::NOT_FOUND),
        "conflict_error" => refused(StatusCode::CONFLICT),
        "request_too_large" => refused(StatusCode::PAYLOAD_TOO_LARGE),
        "overloaded_error" | "rate_limit_error" => CallError::ProvidersBusy { retry_after: RETRY_AFTER },
        "timeout_error" => CallError::ProviderTimeout,
        // Our key, our bill, its own fault, or what nobody knows: nothing that the caller can mend.
        _ => CallError::ProviderFailed,
    }
}

/// The same refusal, with the code that this format keeps in its details.
fn with_code(error: CallError, shape: Option<&RawValue>) -> CallError {
    #[derive(Deserialize)]
    struct Shape {
        details: Option<Details>,
    }

    #[derive(Deserialize)]
    struct Details {
        error_code: Option<String>,
    }

    match error {
        CallError::Refused { status, message, kind, param, code: None } => {
            let shape = shape.and_then(|shape| serde_json::from_str::<Shape>(shape.get()).ok());
            let code = shape.and_then(|shape| shape.details?.error_code).map(|mut code| {
                code.truncate(code.floor_char_boundary(200));
                code
            });
            CallError::Refused { status, message, kind, param, code }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Credits;
    use serde_json::{Value, json};

    fn shape(error: &CallError) -> Value {
        serde_json::to_value(envelope(error)).unwrap()
    }

    #[test]
    fn statuses_and_types_are_those_that_clients_know() {
        let credits = Credits::from_nano(1);
        let broke = CallError::InsufficientCredits {
            available: credits,
            wanted: credits,
            top_up_url: "https://x/topup".into(),
        };
        let model = || "x".to_owned();
        let cases = [
            (CallError::MissingKey, 401, "authentication_error", "invalid_api_key"),
            (CallError::KeyExpired, 401, "authentication_error", "api_key_expired"),
            (CallError::OwnerDisabled, 403, "permission_error", "account_disabled"),
            (CallError::ModelNotAllowed { model: model() }, 403, "permission_error", "model_not_allowed"),
            (broke.clone(), 402, "billing_error", "insufficient_credits"),
            (CallError::ModelNotFound { model: model() }, 404, "not_found_error", "model_not_found"),
            (CallError::BodyTooLarge { limit: 9 }, 413, "request_too_large", "request_too_large"),
            (CallError::ContentType, 415, "invalid_request_error", "unsupported_media_type"),
            (CallError::bad("tools", "no"), 400, "invalid_request_error", "invalid_value"),
            (
                CallError::MethodNotAllowed { allow: "POST" },
                405,
                "invalid_request_error",
                "method_not_allowed",
            ),
            (CallError::ProvidersBusy { retry_after: 3 }, 429, "rate_limit_error", "rate_limit_exceeded"),
            (CallError::NoRoute { model: model() }, 503, "overloaded_error", "no_provider"),
            (CallError::MeteringUnavailable, 503, "overloaded_error", "metering_unavailable"),
            (CallError::ModelNotPriced { model: model() }, 503, "api_error", "model_not_priced"),
            (CallError::ProviderFailed, 502, "api_error", "provider_error"),
            (CallError::ProviderTimeout, 504, "timeout_error", "provider_timeout"),
            (CallError::BodyTimeout, 408, "timeout_error", "incomplete_body"),
            (CallError::Internal, 500, "api_error", "internal_error"),
        ];
        for (error, status, kind, code) in cases {
            assert_eq!(error.status(), status, "{error:?}");
            assert_eq!(
                shape(&error),
                json!({"type": "error", "error": {
                    "type": kind, "message": error.to_string(), "details": {"error_code": code},
                }})
            );
        }
        assert_eq!(response(&broke).headers()["x-should-retry"], "false");
        assert_eq!(response(&CallError::MeteringUnavailable).headers()["retry-after"], "1");
        assert_eq!(response(&CallError::ProvidersBusy { retry_after: 7 }).headers()["retry-after"], "7");
        assert_eq!(response(&CallError::MethodNotAllowed { allow: "POST" }).headers()["allow"], "POST");
    }

    #[test]
    fn any_error_body_of_a_provider_becomes_anthropics_shape() {
        let cases = [
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: too long"},"request_id":"req_1"}"#,
                json!({"type": "invalid_request_error", "message": "messages: too long"}),
            ),
            (
                413,
                r#"{"type":"error","error":{"type":"request_too_large","message":"big","details":{"error_code":"prompt_too_big"}}}"#,
                json!({"type": "request_too_large", "message": "big", "details": {"error_code": "prompt_too_big"}}),
            ),
            // OpenAI's shape.
            (
                404,
                r#"{"error":{"message":"no such model","type":"model_error","param":null,"code":"model_not_found"}}"#,
                json!({"type": "not_found_error", "message": "no such model",
                    "details": {"error_code": "model_not_found"}}),
            ),
            (
                422,
                r#"{"error":"plain words"}"#,
                json!({"type": "invalid_request_error", "message": "plain words"}),
            ),
            (
                400,
                "<html>nginx</html>",
                json!({"type": "invalid_request_error", "message": "the model's provider refused the request"}),
            ),
        ];
        for (status, body, expected) in cases {
            let error = refused(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(error.status(), status, "{body}");
            assert_eq!(shape(&error)["error"], expected, "{body}");
        }
    }

    #[test]
    fn an_error_in_a_stream_is_told_by_its_type() {
        let told = |kind: &str| {
            let shape = format!(r#"{{"type":"{kind}","message":"their words"}}"#);
            in_stream(Some(&RawValue::from_string(shape).unwrap()))
        };
        assert_eq!(told("overloaded_error"), CallError::ProvidersBusy { retry_after: RETRY_AFTER });
        assert_eq!(told("rate_limit_error"), CallError::ProvidersBusy { retry_after: RETRY_AFTER });
        assert_eq!(told("timeout_error"), CallError::ProviderTimeout);
        for ours in ["api_error", "authentication_error", "permission_error", "billing_error", "brand_new"] {
            assert_eq!(told(ours), CallError::ProviderFailed, "{ours}");
        }
        let refused = told("invalid_request_error");
        assert_eq!((refused.status(), refused.to_string()), (StatusCode::BAD_REQUEST, "their words".into()));
        assert_eq!(in_stream(None), CallError::ProviderFailed);
    }

    #[test]
    fn an_error_within_a_stream_is_one_whole_event() {
        let event = event(&CallError::ProviderFailed);
        assert!(
            event.starts_with(b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"")
        );
        assert!(event.ends_with(b"}}\n\n"));
        assert_eq!(event.iter().filter(|byte| **byte == b'\n').count(), 3);
    }
}
