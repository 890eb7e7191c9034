//! What callers are told about their limits, in their protocol's headers.
//!
//! Claims: only the limits of the key and of the group are told; those of models and providers are the operator's
//! business.

use super::bucket::Standing;
use super::{SubjectKind, What};
use crate::endpoint::Protocol;
use axum::http::{HeaderName, HeaderValue};
use chrono::SecondsFormat;
use domain::Moment;
use std::time::Duration;

/// What is told: of the key's and the group's limits the tighter one, for requests and for tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Requests per minute, if limited.
    pub requests: Option<Standing>,
    /// Tokens per minute, if limited.
    pub tokens: Option<Standing>,
}

impl Shown {
    /// Takes in where a subject stands, if it is one that callers are told of.
    pub(super) fn add(&mut self, kind: SubjectKind, other: Self) {
        let tighter = |one: Option<Standing>, other: Option<Standing>| {
            let both = [one, other].into_iter().flatten();
            both.min_by_key(|standing| (standing.remaining, standing.limit))
        };
        match kind {
            SubjectKind::Key | SubjectKind::Group => {
                self.requests = tighter(self.requests, other.requests);
                self.tokens = tighter(self.tokens, other.tokens);
            }
            SubjectKind::Model | SubjectKind::Provider => {}
        }
    }

    /// The headers. None where nothing is limited.
    pub fn headers(&self, protocol: Protocol, now: Moment) -> Vec<(HeaderName, HeaderValue)> {
        let each = [(What::Requests, self.requests), (What::Tokens, self.tokens)];
        let mut headers = Vec::new();
        for (what, standing) in each {
            let Some(standing) = standing else { continue };
            let Some((names, reset)) = named(protocol, what, standing.reset, now) else { continue };
            let [limit, remaining, reset_name] = names.map(HeaderName::from_static);
            headers.push((limit, standing.limit.into()));
            headers.push((remaining, standing.remaining.into()));
            if let Ok(reset) = HeaderValue::try_from(reset) {
                headers.push((reset_name, reset));
            }
        }
        headers
    }
}

/// The names of limit, remaining and reset, and the reset as the protocol writes it.
fn named(
    protocol: Protocol,
    what: What,
    reset: Duration,
    now: Moment,
) -> Option<([&'static str; 3], String)> {
    let moment = || {
        // The next whole second: who comes then finds what was told.
        let seconds = i64::try_from(reset.as_millis().div_ceil(1000)).unwrap_or(i64::MAX / 2000);
        let at = now.plus_ms(999).plus_ms(seconds.saturating_mul(1000));
        at.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true)
    };
    match (protocol, what) {
        (Protocol::OpenAi, What::Requests) => Some((
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
            duration(reset),
        )),
        (Protocol::OpenAi, What::Tokens) => Some((
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
            duration(reset),
        )),
        (Protocol::Claude, What::Requests) => Some((
            [
                "anthropic-ratelimit-requests-limit",
                "anthropic-ratelimit-requests-remaining",
                "anthropic-ratelimit-requests-reset",
            ],
            moment(),
        )),
        (Protocol::Claude, What::Tokens) => Some((
            [
                "anthropic-ratelimit-tokens-limit",
                "anthropic-ratelimit-tokens-remaining",
                "anthropic-ratelimit-tokens-reset",
            ],
            moment(),
        )),
        (Protocol::OpenAi | Protocol::Claude, What::Concurrency)
        | (Protocol::Gemini, What::Requests | What::Tokens | What::Concurrency) => None,
    }
}

/// As OpenAI writes durations: `0s`, `120ms`, `1.5s`, `6m0s`, `1h0m2s`.
fn duration(reset: Duration) -> String {
    let ms = reset.as_millis();
    if ms > 0 && ms < 1000 {
        return format!("{ms}ms");
    }
    let (hours, minutes, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    let mut seconds = (ms / 1000).to_string();
    if ms % 1000 > 0 {
        seconds = format!("{seconds}.{:03}", ms % 1000).trim_end_matches('0').to_owned();
    }
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        (_, _) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_writes_them() {
        let cases =
            [(0, "0s"), (120, "120ms"), (1000, "1s"), (1500, "1.5s"), (59_050, "59.05s"), (360_000, "6m0s")];
        for (ms, expected) in cases.into_iter().chain([(3_602_000, "1h0m2s")]) {
            assert_eq!(duration(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn each_protocol_is_told_in_its_own_headers() {
        let standing =
            |limit, remaining, ms| Some(Standing { limit, remaining, reset: Duration::from_millis(ms) });
        let shown = Shown { requests: standing(60, 59, 1000), tokens: standing(90_000, 0, 360_000) };
        let now: Moment = "2026-11-22T10:00:00.000000Z".parse().unwrap();
        let headers = |protocol| -> Vec<String> {
            let pairs = shown.headers(protocol, now).into_iter();
            pairs.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
        };
        assert_eq!(
            headers(Protocol::OpenAi),
            [
                "x-ratelimit-limit-requests: 60",
                "x-ratelimit-remaining-requests: 59",
                "x-ratelimit-reset-requests: 1s",
                "x-ratelimit-limit-tokens: 90000",
                "x-ratelimit-remaining-tokens: 0",
                "x-ratelimit-reset-tokens: 6m0s",
            ]
        );
        assert_eq!(
            headers(Protocol::Claude),
            [
                "anthropic-ratelimit-requests-limit: 60",
                "anthropic-ratelimit-requests-remaining: 59",
                "anthropic-ratelimit-requests-reset: 2026-11-22T10:00:01Z",
                "anthropic-ratelimit-tokens-limit: 90000",
                "anthropic-ratelimit-tokens-remaining: 0",
                "anthropic-ratelimit-tokens-reset: 2026-11-22T10:06:00Z",
            ]
        );
        assert!(headers(Protocol::Gemini).is_empty());
        assert!(Shown::default().headers(Protocol::OpenAi, now).is_empty());
    }

    #[test]
    fn of_key_and_group_the_tighter_is_told_and_nothing_of_models_and_providers() {
        let standing = |limit, remaining| Some(Standing { limit, remaining, reset: Duration::from_secs(1) });
        let mut shown = Shown::default();
        shown.add(SubjectKind::Model, Shown { requests: standing(1, 0), tokens: standing(1, 0) });
        shown.add(SubjectKind::Key, Shown { requests: standing(10, 9), tokens: None });
        shown.add(SubjectKind::Group, Shown { requests: standing(100, 3), tokens: standing(50, 50) });
        shown.add(SubjectKind::Provider, Shown { requests: standing(1, 0), tokens: standing(1, 0) });
        assert_eq!(shown, Shown { requests: standing(100, 3), tokens: standing(50, 50) });
    }
}
