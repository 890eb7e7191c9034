//! One call, from its admission to its settlement.
//!
//! For: what a call needs before it may start ([`admission`]), who is tried in which order ([`routing`]), one try
//! ([`attempt`]), the two kinds of answer ([`whole`], [`stream`]), the caller at the other end ([`client`]), and the
//! end of the hold ([`settlement`]).
//! May not touch: how callers are known, how requests are read.
//! Claims: a client that leaves changes nothing about the settlement, for the call then goes on in a task of its own
//! ([`carried`]); another provider is tried only while the client has seen nothing.

pub(crate) mod admission;
pub(crate) mod attempt;
pub(crate) mod carried;
pub(crate) mod client;
pub(crate) mod cost;
pub(crate) mod count;
pub(crate) mod routing;
pub(crate) mod settlement;
pub(crate) mod stream;
pub(crate) mod whole;

use crate::call::admission::Call;
use crate::call::attempt::{Failure, FailureKind, Opened};
use crate::call::client::{Client, X_DROPPED};
use crate::call::routing::{Candidate, Place};
use crate::call::settlement::{End, Settlement};
use crate::catalogue::{ProviderKey, Route};
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::figures::Figures;
use crate::health::{Fitness, Health, Verdict};
use crate::http::ProviderClient;
use crate::limits::{Admitted, Limits, Turn};
use crate::metering::Holding;
use crate::options::RelayOptions;
use crate::wire::outgoing::{self, NotSent, Outgoing};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{AccountId, Credits, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a call's log and usage record say where the caller left before it got a status.
const STATUS_CLIENT_GONE: u16 = 499;
/// For how long the end of a provider's stream is waited for, so that its connection can serve again.
const END_OF_STREAM_WAIT: Duration = Duration::from_secs(1);

/// What every call uses.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) http: ProviderClient,
    pub(crate) options: Arc<RelayOptions>,
    pub(crate) health: Arc<Health>,
    pub(crate) limits: Limits,
    pub(crate) figures: Arc<Figures>,
}

/// An answer that one provider gave.
enum Answer {
    /// The request is refused.
    Refused(CallError),
    /// Read whole.
    Whole(whole::Answer),
    /// Streamed, but for its last bytes.
    Streamed(stream::Ended),
}

/// Carries an admitted call through. It always settles or releases the hold, and always answers a client that waits.
///
/// What is awaited only before and after a stream is boxed: this future is as large as the largest of what it awaits, and there
/// is one for every stream that is open.
pub(crate) async fn run<H: Holding>(tools: Tools, mut settlement: Settlement<H>, mut client: Client) {
    let call = settlement.call();
    let protocol = call.asked.endpoint.protocol();
    let deadline = call.started + tools.options.call_limit;
    let mut failures: Vec<FailureKind> = Vec::new();
    // Why no provider could be called at all, should it come to that.
    let mut unsaid = None;
    let mut soonest: Option<Duration> = None;
    let mut are_all_busy = true;
    let latency = |it: &Candidate<'_>| tools.health.latency(it.route, it.key, call.started);
    for candidate in routing::in_order(&call.model.routes, call.grant.account, latency) {
        if client.is_gone() || failures.len() >= tools.options.max_attempts {
            break;
        }
        let Candidate { route, key, place } = candidate;
        let outgoing = match outgoing::write(&call.asked, route, key.secret.expose(), call.default_cap) {
            Ok(outgoing) => outgoing,
            Err(NotSent::Unsupported) => continue,
            Err(NotSent::Refused(error)) => {
                unsaid = Some(error);
                continue;
            }
            Err(NotSent::Misconfigured(code)) => {
                tracing::error!(provider = %route.provider, code, "a provider cannot be called as it is configured");
                continue;
            }
        };
        let turn = match &route.limit {
            None => Admitted::unlimited(),
            Some(limit) => {
                match Box::pin(tools.limits.try_provider(limit, call.likely_tokens(), Instant::now())).await {
                    Turn::Take(turn) => turn,
                    Turn::PassOver { retry_after } => {
                        soonest = Some(soonest.map_or(retry_after, |other| other.min(retry_after)));
                        settlement.passed_over(route, key, "rate_limited");
                        continue;
                    }
                }
            }
        };
        let why = match tools.health.ask(route, key, Instant::now()) {
            Fitness::Unfit { remaining, is_busy } => {
                are_all_busy &= is_busy;
                soonest = Some(soonest.map_or(remaining, |other| other.min(remaining)));
                settlement.passed_over(route, key, "circuit_open");
                continue;
            }
            Fitness::OnTrial => "half_open",
            Fitness::Fit if !failures.is_empty() => "failover",
            Fitness::Fit => match place {
                Place::Alone => "priority",
                Place::Drawn => "sticky",
                Place::Quicker => "latency",
            },
        };
        let mut trial = Trial { health: &tools.health, route, key, verdict: Verdict::Abandoned };
        if let Err(error) = Box::pin(settlement.begin(route, key, why, turn, &outgoing.dropped)).await {
            if failures.is_empty() {
                settlement.release();
                return client.answer(protocol.refused(&admission::hold_error(error, &tools.options)));
            }
            break;
        }
        let answer = Box::pin(attempt(&tools, outgoing, &mut settlement, &mut client, deadline)).await;
        trial.verdict = verdict_on(&answer, settlement.time_to_first_byte(), call.grant.account);
        drop(trial);
        match answer {
            Ok(Answer::Refused(error)) => {
                let status = error.status();
                settlement.end_attempt(Some(status), Some("refused"));
                let end = End { outcome: Outcome::Refused, status: status.as_u16(), is_complete: false };
                Box::pin(settlement.settle(end)).await;
                return client.answer(protocol.refused(&error));
            }
            Ok(Answer::Whole(mut answer)) => {
                settlement.end_attempt(Some(answer.status), None);
                let end = if client.is_gone() {
                    End { outcome: Outcome::ClientGone, status: STATUS_CLIENT_GONE, is_complete: true }
                } else {
                    End { outcome: Outcome::Completed, status: answer.status.as_u16(), is_complete: true }
                };
                let dropped = settlement.dropped();
                let charge = Box::pin(settlement.settle(end)).await;
                if call.asked.wants_cost {
                    answer.body = match answer.is_events {
                        true => cost::in_events(answer.body, charge),
                        false => cost::in_answer(answer.body, charge),
                    };
                }
                let charge = (call.asked.wants_cost || tools.options.cost_headers).then_some(charge);
                return client.answer(whole_response(answer, charge, dropped));
            }
            Ok(Answer::Streamed(ended)) => {
                settlement.end_attempt(Some(StatusCode::OK), ended.failure);
                let status = if ended.has_head { StatusCode::OK.as_u16() } else { STATUS_CLIENT_GONE };
                let end = End { outcome: ended.outcome, status, is_complete: ended.is_complete };
                let charge = Box::pin(settlement.settle(end)).await;
                if let Some(mut tail) = ended.tail {
                    if call.asked.wants_cost {
                        tail = cost::in_events(tail, charge);
                    }
                    client.send(tail, tools.options.client_timeout).await;
                }
                drop(client);
                if let Some(mut rest) = ended.rest {
                    let to_the_end = async { while let Ok(Some(_)) = rest.chunk().await {} };
                    // Late or broken, the connection is merely not used again.
                    let _ = tokio::time::timeout(END_OF_STREAM_WAIT, to_the_end).await;
                }
                return;
            }
            Err(failure) => {
                log_failure(&call, route, &failure);
                settlement.end_attempt(failure.status, Some(failure.code));
                // Whatever was read of a failed try reached nobody: it is not charged. What the provider counted stays,
                // for its cost.
                settlement.delivered = Estimate::default();
                failures.push(failure.kind);
            }
        }
    }
    if failures.is_empty() {
        // No provider was called: the client left before, none can be asked this, or none is well.
        settlement.release();
        let error = unsaid.unwrap_or_else(|| match soonest {
            Some(pause) => {
                let retry_after = pause.as_secs().clamp(1, attempt::MAX_RETRY_AFTER);
                if are_all_busy {
                    CallError::ProvidersBusy { retry_after }
                } else {
                    CallError::ProvidersUnwell { retry_after }
                }
            }
            None => CallError::ProviderFailed,
        });
        return client.answer(protocol.refused(&error));
    }
    let error = verdict(&failures);
    let end = if client.is_gone() {
        End { outcome: Outcome::ClientGone, status: STATUS_CLIENT_GONE, is_complete: false }
    } else {
        End { outcome: Outcome::ProviderError, status: error.status().as_u16(), is_complete: false }
    };
    Box::pin(settlement.settle(end)).await;
    client.answer(protocol.refused(&error));
}

/// Reports how a try went, also where its task dies.
struct Trial<'a> {
    health: &'a Health,
    route: &'a Route,
    key: &'a ProviderKey,
    verdict: Verdict,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.health.report(self.route, self.key, self.verdict, Instant::now());
    }
}

/// What a try says about its provider's health.
fn verdict_on(answer: &Result<Answer, Failure>, first_byte: Option<Duration>, account: AccountId) -> Verdict {
    match answer {
        Ok(Answer::Refused(_) | Answer::Whole(_)) => Verdict::Answered { first_byte: None },
        Ok(Answer::Streamed(ended)) => match ended.failure {
            Some(code) if ended.outcome == Outcome::ProviderError => Verdict::Failed(code),
            Some(_) | None => Verdict::Answered { first_byte },
        },
        Err(failure) => match failure.kind {
            FailureKind::Busy { retry_after } => Verdict::Busy { pause: Duration::from_secs(retry_after) },
            FailureKind::Unauthorized => Verdict::KeyRefused,
            FailureKind::Forbidden => Verdict::KeyDoubted { account },
            FailureKind::Timeout | FailureKind::Failed => Verdict::Failed(failure.code),
        },
    }
}

/// One try at one provider. After an error the client has seen nothing.
async fn attempt<H: Holding>(
    tools: &Tools,
    outgoing: Outgoing,
    settlement: &mut Settlement<H>,
    client: &mut Client,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let reached = match Box::pin(attempt::open(tools, outgoing, deadline)).await? {
        Opened::Refused(error) => return Ok(Answer::Refused(error)),
        Opened::Answer(reached) => reached,
    };
    if reached.is_stream(&settlement.call().asked) {
        return stream::forward(&tools.options, reached, settlement, client, deadline)
            .await
            .map(Answer::Streamed);
    }
    settlement.first_byte();
    Box::pin(whole::read(&tools.options, reached, settlement, deadline)).await.map(Answer::Whole)
}

/// What a caller is told when every try failed.
fn verdict(failures: &[FailureKind]) -> CallError {
    let waits: Option<Vec<u64>> = failures
        .iter()
        .map(|failure| match failure {
            FailureKind::Busy { retry_after } => Some(*retry_after),
            FailureKind::Failed
            | FailureKind::Unauthorized
            | FailureKind::Forbidden
            | FailureKind::Timeout => None,
        })
        .collect();
    match (waits, failures.last()) {
        (Some(waits), Some(_)) => CallError::ProvidersBusy {
            retry_after: waits.into_iter().min().unwrap_or(attempt::DEFAULT_RETRY_AFTER),
        },
        (_, Some(FailureKind::Timeout)) => CallError::ProviderTimeout,
        _ => CallError::ProviderFailed,
    }
}

fn whole_response(answer: whole::Answer, charge: Option<Credits>, dropped: Option<HeaderValue>) -> Response {
    const CHARGE: HeaderName = HeaderName::from_static("x-nexusroute-charge");
    let mut response =
        (answer.status, [(header::CONTENT_TYPE, answer.content_type)], answer.body).into_response();
    let charge = charge.and_then(|charge| HeaderValue::from_str(&charge.to_string()).ok());
    for (name, value) in [(CHARGE, charge), (X_DROPPED, dropped)] {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn log_failure(call: &Call, route: &Route, failure: &Failure) {
    let (request, provider, model) = (call.request, &route.provider, &call.model.name);
    let status = failure.status.map(|status| status.as_u16());
    let (code, detail) = (failure.code, failure.detail.as_deref());
    match failure.kind {
        // Only the operator can mend a provider's key.
        FailureKind::Unauthorized => {
            tracing::error!(%request, %provider, %model, status, code, "a provider does not accept its key");
        }
        FailureKind::Busy { .. } | FailureKind::Forbidden | FailureKind::Failed | FailureKind::Timeout => {
            tracing::warn!(%request, %provider, %model, status, code, detail, "a try at a provider failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_names_what_went_wrong_last_and_busy_only_if_all_were() {
        let busy = |retry_after| FailureKind::Busy { retry_after };
        let cases: &[(&[FailureKind], u16)] = &[
            (&[busy(9), busy(4)], 429),
            (&[busy(9), FailureKind::Failed], 502),
            (&[FailureKind::Failed, busy(9)], 502),
            (&[FailureKind::Failed, FailureKind::Timeout], 504),
            (&[FailureKind::Timeout, FailureKind::Unauthorized], 502),
        ];
        for (failures, status) in cases {
            assert_eq!(verdict(failures).status(), *status, "{failures:?}");
        }
        assert_eq!(verdict(&[busy(9), busy(4)]), CallError::ProvidersBusy { retry_after: 4 });
    }
}
