//! Why a call was not answered as asked, whatever format its caller speaks.
//!
//! For: one enum, and one exhaustive mapping to status, code, sentence and whether a retry can help. The formats
//! render it (`openai::error`).
//! Claims: no message holds a key, a provider's address or a provider's own words, but for a refusal of the request
//! itself, which its caller must read to mend it.

use crate::limits::Exceeded;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use domain::Credits;

/// Tells the clients of OpenAI and Anthropic whether to repeat a request, whatever its status.
pub(crate) const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a call was not answered as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No `Authorization: Bearer` header.
    #[error("no API key was given: send it as `Authorization: Bearer sk-…`")]
    MissingKey,
    /// Not a key, or not one of ours.
    #[error("the API key is not valid")]
    InvalidKey,
    /// Switched off by its owner.
    #[error("the API key is disabled")]
    KeyDisabled,
    /// Past its end.
    #[error("the API key has expired")]
    KeyExpired,
    /// The account behind the key is switched off.
    #[error("the account of this API key is disabled")]
    OwnerDisabled,
    /// The key's networks do not hold the caller's address.
    #[error("the API key may not be used from this address")]
    AddressNotAllowed,
    /// No such path.
    #[error("there is no {method} {path} here")]
    UnknownPath {
        /// The method asked.
        method: Method,
        /// The path asked.
        path: String,
    },
    /// The path exists, the method does not.
    #[error("this path takes {allow} only")]
    MethodNotAllowed {
        /// What it takes.
        allow: &'static str,
    },
    /// Not JSON by its content type.
    #[error("the content type must be `application/json`")]
    ContentType,
    /// Not a form by its content type.
    #[error("the content type must be `multipart/form-data` with a boundary")]
    FormExpected,
    /// A compressed body.
    #[error("a request body with a content encoding is not accepted: send it plain")]
    ContentEncoding,
    /// Larger than the limit.
    #[error("the request body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body broke off.
    #[error("the request body broke off")]
    BodyCut,
    /// The body did not come in time.
    #[error("the request body did not arrive in time")]
    BodyTimeout,
    /// A fault in the request itself.
    #[error("{message}")]
    BadRequest {
        /// The field at fault, if one is.
        param: Option<&'static str>,
        /// The kind of fault.
        code: &'static str,
        /// A sentence that names it.
        message: String,
    },
    /// Nobody knows this model.
    #[error("the model `{model}` does not exist")]
    ModelNotFound {
        /// What was asked for.
        model: String,
    },
    /// The key's list does not hold it.
    #[error("this API key may not call the model `{model}`")]
    ModelNotAllowed {
        /// What was asked for.
        model: String,
    },
    /// It has no price yet.
    #[error("the model `{model}` has no price yet, so it cannot be called")]
    ModelNotPriced {
        /// What was asked for.
        model: String,
    },
    /// None of its providers offers this endpoint.
    #[error("the model `{model}` cannot be called at {endpoint}")]
    EndpointUnsupported {
        /// What was asked for.
        model: String,
        /// Where.
        endpoint: &'static str,
    },
    /// No provider serves it now.
    #[error("no provider serves the model `{model}` at the moment")]
    NoRoute {
        /// What was asked for.
        model: String,
    },
    /// The wallet does not cover the worst case.
    #[error(
        "not enough credits: this call may cost up to {wanted}, {available} are available. Top up at {top_up_url}, or \
         ask for fewer output tokens"
    )]
    InsufficientCredits {
        /// What may be spent.
        available: Credits,
        /// The worst case.
        wanted: Credits,
        /// Where to top up.
        top_up_url: String,
    },
    /// The key's budget does not cover the worst case.
    #[error(
        "the budget of this API key does not suffice: this call may cost up to {wanted}, {left} are left of it"
    )]
    BudgetSpent {
        /// What is left.
        left: Credits,
        /// The worst case.
        wanted: Credits,
    },
    /// Credits cannot be reserved now.
    #[error("calls cannot be metered at the moment, so none is served; please try again")]
    MeteringUnavailable,
    /// This node is stopping.
    #[error("this server is stopping; please try again")]
    Draining,
    /// The provider refuses the request itself.
    #[error("{message}")]
    Refused {
        /// Its status, 4xx.
        status: StatusCode,
        /// Its sentence.
        message: String,
        /// Its kind, if it named one.
        kind: Option<String>,
        /// The field at fault, if it named one.
        param: Option<String>,
        /// Its code, if it named one.
        code: Option<String>,
    },
    /// Every provider of the model has failed of late, and is left alone for a moment.
    #[error("no provider of this model is well at the moment; please try again")]
    ProvidersUnwell {
        /// After how many seconds a retry makes sense.
        retry_after: u64,
    },
    /// A rate limit of this gateway forbids the call now.
    #[error("{0}; please try again later")]
    RateLimited(Exceeded),
    /// Every provider says that it is busy.
    #[error("every provider of this model is busy; please try again")]
    ProvidersBusy {
        /// After how many seconds a retry makes sense.
        retry_after: u64,
    },
    /// No provider gave a usable answer.
    #[error("the model's provider failed to answer; please try again")]
    ProviderFailed,
    /// No provider answered in time.
    #[error("the model's provider did not answer in time")]
    ProviderTimeout,
    /// Our own fault.
    #[error("something went wrong here")]
    Internal,
}

/// Can a retry help?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// As the status says.
    AsUsual,
    /// No, whatever the status says.
    Never,
    /// Yes, after this many seconds.
    After(u64),
}

impl CallError {
    /// A fault in a field of the request.
    pub(crate) fn bad(param: &'static str, message: impl Into<String>) -> Self {
        Self::BadRequest { param: Some(param), code: "invalid_value", message: message.into() }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::MissingKey | Self::InvalidKey | Self::KeyDisabled | Self::KeyExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::OwnerDisabled | Self::AddressNotAllowed | Self::ModelNotAllowed { .. } => {
                StatusCode::FORBIDDEN
            }
            Self::UnknownPath { .. } | Self::ModelNotFound { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType | Self::FormExpected | Self::ContentEncoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyCut | Self::BadRequest { .. } | Self::EndpointUnsupported { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::InsufficientCredits { .. } | Self::BudgetSpent { .. } => StatusCode::PAYMENT_REQUIRED,
            Self::ModelNotPriced { .. }
            | Self::NoRoute { .. }
            | Self::ProvidersUnwell { .. }
            | Self::MeteringUnavailable
            | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused { status, .. } => *status,
            Self::RateLimited(_) | Self::ProvidersBusy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::ProviderFailed => StatusCode::BAD_GATEWAY,
            Self::ProviderTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable code, for programs. A provider's own where it refused the request.
    pub fn code(&self) -> Option<&str> {
        Some(match self {
            Self::MissingKey | Self::InvalidKey => "invalid_api_key",
            Self::KeyDisabled => "api_key_disabled",
            Self::KeyExpired => "api_key_expired",
            Self::OwnerDisabled => "account_disabled",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::UnknownPath { .. } => "unknown_url",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::ContentType | Self::FormExpected | Self::ContentEncoding => "unsupported_media_type",
            Self::BodyTooLarge { .. } => "request_too_large",
            Self::BodyCut | Self::BodyTimeout => "incomplete_body",
            Self::BadRequest { code, .. } => code,
            Self::ModelNotFound { .. } => "model_not_found",
            Self::ModelNotAllowed { .. } => "model_not_allowed",
            Self::ModelNotPriced { .. } => "model_not_priced",
            Self::EndpointUnsupported { .. } => "endpoint_unsupported",
            Self::NoRoute { .. } => "no_provider",
            Self::InsufficientCredits { .. } => "insufficient_credits",
            Self::BudgetSpent { .. } => "budget_exceeded",
            Self::MeteringUnavailable => "metering_unavailable",
            Self::Draining => "server_stopping",
            Self::Refused { code, .. } => return code.as_deref(),
            Self::ProvidersUnwell { .. } => "providers_unwell",
            Self::RateLimited(_) | Self::ProvidersBusy { .. } => "rate_limit_exceeded",
            Self::ProviderFailed => "provider_error",
            Self::ProviderTimeout => "provider_timeout",
            Self::Internal => "internal_error",
        })
    }

    /// The field of the request at fault, if one is.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::BadRequest { param, .. } => *param,
            Self::ModelNotFound { .. }
            | Self::ModelNotAllowed { .. }
            | Self::ModelNotPriced { .. }
            | Self::EndpointUnsupported { .. }
            | Self::NoRoute { .. } => Some("model"),
            Self::Refused { param, .. } => param.as_deref(),
            Self::MissingKey
            | Self::InvalidKey
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::OwnerDisabled
            | Self::AddressNotAllowed
            | Self::UnknownPath { .. }
            | Self::MethodNotAllowed { .. }
            | Self::ContentType
            | Self::FormExpected
            | Self::ContentEncoding
            | Self::BodyTooLarge { .. }
            | Self::BodyCut
            | Self::BodyTimeout
            | Self::InsufficientCredits { .. }
            | Self::BudgetSpent { .. }
            | Self::MeteringUnavailable
            | Self::Draining
            | Self::ProvidersUnwell { .. }
            | Self::RateLimited(_)
            | Self::ProvidersBusy { .. }
            | Self::ProviderFailed
            | Self::ProviderTimeout
            | Self::Internal => None,
        }
    }

    /// Puts in what clients of every protocol read beside the body: whether and when to come again, what a path takes.
    pub(crate) fn put_headers(&self, headers: &mut HeaderMap) {
        match self.retry() {
            Retry::AsUsual => {}
            Retry::Never => {
                headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            Retry::After(seconds) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
        }
        if let Self::MethodNotAllowed { allow } = self {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
    }

    /// Can a retry help? The clients of the big providers repeat 408, 409, 429 and all 5xx unless told not to.
    pub fn retry(&self) -> Retry {
        match self {
            Self::InsufficientCredits { .. } | Self::BudgetSpent { .. } | Self::ModelNotPriced { .. } => {
                Retry::Never
            }
            Self::MeteringUnavailable | Self::Draining => Retry::After(1),
            Self::NoRoute { .. } => Retry::After(10),
            Self::RateLimited(exceeded) => Retry::After(exceeded.retry_after_seconds()),
            Self::ProvidersUnwell { retry_after } | Self::ProvidersBusy { retry_after } => {
                Retry::After(*retry_after)
            }
            Self::MissingKey
            | Self::InvalidKey
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::OwnerDisabled
            | Self::AddressNotAllowed
            | Self::UnknownPath { .. }
            | Self::MethodNotAllowed { .. }
            | Self::ContentType
            | Self::FormExpected
            | Self::ContentEncoding
            | Self::BodyTooLarge { .. }
            | Self::BodyCut
            | Self::BodyTimeout
            | Self::BadRequest { .. }
            | Self::ModelNotFound { .. }
            | Self::ModelNotAllowed { .. }
            | Self::EndpointUnsupported { .. }
            | Self::Refused { .. }
            | Self::ProviderFailed
            | Self::ProviderTimeout
            | Self::Internal => Retry::AsUsual,
        }
    }
}
