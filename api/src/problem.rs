//! Problems: every error of the API, as `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! Claims: the one place where errors become status codes, every variant by name; a problem says whether a retry can
//! help (`Retry-After`) and never shows what is inside: that goes to the log, once, here.

use crate::directory::DirectoryError;
use crate::exports::{ExportError, StatementError};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::Refusal;
use ledger::LedgerError;
use projections::DatabaseError;
use serde::Serialize;

/// An error as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// A stable word for programs: `insufficient_credits`.
    pub code: &'static str,
    /// A sentence for the person who called.
    pub detail: String,
    /// Seconds after which a retry can help.
    pub retry_after_s: Option<u64>,
}

/// A problem as it stands in the body.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// Names the kind of problem: `urn:nexusroute:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// A sentence about this fault.
    pub detail: String,
    /// A stable word for programs.
    pub code: String,
    /// The id of the request, to quote when asking for help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

tokio::task_local! {
    /// The id of the request that this task answers; set by `http::request_id`.
    pub(crate) static REQUEST_ID: String;
}

impl Problem {
    /// Any problem.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: nobody is logged in.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "log in first, or send a valid access token")
    }

    /// 403: logged in, but not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: `what` names the thing: "no such key".
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    /// 409: the state of things does not allow it.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422: a value that cannot be accepted; the detail starts with the field's name.
    pub fn invalid(field: &str, fault: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", format!("{field}: {fault}"))
    }

    /// 422: something of the contract that this version does not do yet.
    pub fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not_supported", detail)
    }

    /// 429: too many tries.
    pub fn too_many(detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail).retry_after(retry_after_s)
    }

    /// 503: something we need does not answer; a retry can help.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(1)
    }

    /// 500: our fault. What happened goes to the log, not to the caller.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes: Vec<String> =
            std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string).collect();
        tracing::error!(request = current_request_id(), ?causes, "{error}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something went wrong here; it has been logged",
        )
    }

    /// Adds when a retry can help.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

/// An error with all its causes, for the log.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |cause| cause.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

/// The id of the request being answered, where there is one.
pub fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: format!("urn:nexusroute:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            request_id: current_request_id(),
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match &refusal {
            Refusal::InsufficientCredits { .. } => (StatusCode::PAYMENT_REQUIRED, "insufficient_credits"),
            Refusal::BudgetSpent { .. } => (StatusCode::PAYMENT_REQUIRED, "budget_spent"),
            Refusal::UnknownOrder(_) => (StatusCode::NOT_FOUND, "unknown_order"),
            Refusal::OrderExists(_) => (StatusCode::CONFLICT, "order_exists"),
            Refusal::WrongChannel { .. } => (StatusCode::CONFLICT, "wrong_channel"),
            Refusal::WrongAmount { .. } => (StatusCode::CONFLICT, "wrong_amount"),
            Refusal::PaidBefore { .. } => (StatusCode::CONFLICT, "paid_before"),
            Refusal::OrderPaid(_) => (StatusCode::CONFLICT, "order_paid"),
            Refusal::OrderNotPaid(_) => (StatusCode::CONFLICT, "order_not_paid"),
            Refusal::AboveOrder { .. } => (StatusCode::CONFLICT, "refund_above_order"),
            Refusal::UnknownRefund(_) => (StatusCode::NOT_FOUND, "unknown_refund"),
            Refusal::RefundExists(_) => (StatusCode::CONFLICT, "refund_exists"),
            Refusal::RefundNotApproved(_) => (StatusCode::CONFLICT, "refund_not_approved"),
            Refusal::RefundUnderWay(_) => (StatusCode::CONFLICT, "refund_under_way"),
            Refusal::RefundOver(_) => (StatusCode::CONFLICT, "refund_over"),
            Refusal::ChargebackExists(_) => (StatusCode::CONFLICT, "chargeback_exists"),
            Refusal::UnknownChargeback(_) => (StatusCode::NOT_FOUND, "unknown_chargeback"),
            Refusal::NotPositive { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "not_positive"),
            Refusal::ZeroAdjustment => (StatusCode::UNPROCESSABLE_ENTITY, "zero_adjustment"),
            Refusal::Overflow => (StatusCode::UNPROCESSABLE_ENTITY, "overflow"),
            Refusal::UnknownLease(_) => (StatusCode::CONFLICT, "unknown_lease"),
            Refusal::LeaseClosed(_) => (StatusCode::CONFLICT, "lease_closed"),
            Refusal::LeaseOpen(_) => (StatusCode::CONFLICT, "lease_open"),
            Refusal::BadShrink { .. } => (StatusCode::CONFLICT, "bad_shrink"),
            Refusal::SpentAboveLease { .. } => (StatusCode::CONFLICT, "spent_above_lease"),
            Refusal::NotInSuspense { .. } => (StatusCode::NOT_FOUND, "not_in_suspense"),
            Refusal::ResolvedBefore { .. } => (StatusCode::CONFLICT, "suspense_resolved"),
            Refusal::KeyReused => (StatusCode::CONFLICT, "idempotency_key_reused"),
        };
        Self::new(status, code, refusal.to_string())
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(refusal) => refusal.into(),
            LedgerError::Contended { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "contended", error.to_string()).retry_after(1)
            }
            LedgerError::Unavailable(_) => {
                tracing::warn!(request = current_request_id(), "{error}");
                let detail =
                    "the ledger does not answer; try again, with the same Idempotency-Key if you sent one";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ledger_unavailable", detail).retry_after(1)
            }
            LedgerError::Damaged(_) | LedgerError::Unfit(_) | LedgerError::UnknownEvent { .. } => {
                Self::internal(&error)
            }
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(_) => {
                tracing::warn!(request = current_request_id(), "{error}");
                Self::unavailable("the database does not answer; try again")
            }
            // The change may have happened: a retry is for the caller to decide, after a look.
            DatabaseError::OutcomeUnknown(_) => {
                tracing::warn!(request = current_request_id(), "{error}");
                let detail = "the database broke off; look whether the change was made before you try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", detail)
            }
            DatabaseError::Config(_)
            | DatabaseError::UniqueViolation(_)
            | DatabaseError::Refused(_)
            | DatabaseError::NoRow
            | DatabaseError::Column { .. }
            | DatabaseError::Migration(_) => Self::internal(&error),
        }
    }
}

impl From<StatementError> for Problem {
    fn from(error: StatementError) -> Self {
        match error {
            StatementError::Database(error) => error.into(),
            StatementError::DoesNotAddUp { .. } => Self::internal(&error),
        }
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Database(error) => error.into(),
            ExportError::Ledger(error) => error.into(),
            ExportError::WorkbookFull => Self::conflict("workbook_full", error.to_string()),
            ExportError::Io(_) | ExportError::Format(_) | ExportError::Stopped => Self::internal(&error),
        }
    }
}

impl From<DirectoryError> for Problem {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::NotFound(what) => Self::not_found(format!("no such {what}")),
            DirectoryError::Taken(what) => Self::conflict("taken", format!("{what} is taken")),
            DirectoryError::LastWayIn => Self::conflict("last_login_method", error.to_string()),
            DirectoryError::LastOwner => Self::conflict("last_owner", error.to_string()),
            DirectoryError::NotAllowed(why) => Self::forbidden(why),
            DirectoryError::TooMany { .. } => Self::conflict("too_many", error.to_string()),
            DirectoryError::Mismatch { field, fault } => Self::invalid(field, fault),
            DirectoryError::BadToken => Self::bad_request("invalid_token", error.to_string()),
            DirectoryError::BadInvitation => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_invitation", format!("invite: {error}"))
            }
            DirectoryError::WrongCode => Self::new(StatusCode::FORBIDDEN, "wrong_code", error.to_string()),
            DirectoryError::BadPasskey(fault) => {
                tracing::debug!(request = current_request_id(), fault, "a passkey was not accepted");
                Self::new(StatusCode::UNAUTHORIZED, "bad_passkey", "this passkey was not accepted")
            }
            DirectoryError::BadChallenge => {
                Self::new(StatusCode::UNAUTHORIZED, "challenge_over", error.to_string())
            }
            DirectoryError::TotpOn => Self::conflict("totp_on", error.to_string()),
            DirectoryError::NoSecondFactor => Self::conflict("no_second_factor", error.to_string()),
            DirectoryError::MailNotWaiting(_) => Self::conflict("mail_not_waiting", error.to_string()),
            DirectoryError::Busy => Self::unavailable(error.to_string()),
            DirectoryError::Database(error) => error.into(),
            DirectoryError::Corrupt { .. } | DirectoryError::Seal(_) | DirectoryError::Password(_) => {
                Self::internal(&error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{AccountId, Credits};
    use uuid::Uuid;

    async fn rendered(problem: Problem) -> (Response, serde_json::Value) {
        let (parts, body) = problem.into_response().into_parts();
        let bytes = axum::body::to_bytes(body, 10_000).await.unwrap();
        let json = serde_json::from_slice(&bytes).unwrap();
        (Response::from_parts(parts, axum::body::Body::empty()), json)
    }

    #[tokio::test]
    async fn a_problem_has_the_shape_of_rfc_9457() {
        let id = "0190-test".to_owned();
        let problem = Problem::invalid("amount", "must be above zero").retry_after(7);
        let (response, body) = REQUEST_ID.scope(id, rendered(problem)).await;
        assert_eq!(response.status(), 422);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "7");
        let expected = serde_json::json!({
            "type": "urn:nexusroute:problem:invalid_value", "title": "Unprocessable Entity", "status": 422,
            "detail": "amount: must be above zero", "code": "invalid_value", "request_id": "0190-test",
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn refusals_and_failures_have_their_status() {
        let account = AccountId::from_uuid(Uuid::nil());
        let poor = Refusal::InsufficientCredits { available: Credits::ZERO, wanted: Credits::from_nano(1) };
        for (error, status, code, retry) in [
            (LedgerError::Refused(poor), 402, "insufficient_credits", false),
            (LedgerError::Refused(Refusal::KeyReused), 409, "idempotency_key_reused", false),
            (LedgerError::Contended { account }, 503, "contended", true),
            (LedgerError::Unavailable("secret detail".into()), 503, "ledger_unavailable", true),
            (LedgerError::Damaged("secret detail".into()), 500, "internal", false),
        ] {
            let (response, body) = rendered(error.into()).await;
            assert_eq!((response.status().as_u16(), body["code"].as_str().unwrap()), (status, code));
            assert_eq!(response.headers().contains_key("retry-after"), retry, "{code}");
            assert!(!body.to_string().contains("secret detail"), "{body}");
        }
    }

    #[tokio::test]
    async fn nobody_is_told_how_to_become_somebody() {
        let (response, body) = rendered(Problem::unauthenticated()).await;
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert!(body.get("request_id").is_none());
    }
}
