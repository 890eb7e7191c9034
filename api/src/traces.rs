//! Traces for OpenTelemetry: a span for each call of a model and each answer of `/api`, sent to a collector by OTLP/HTTP as JSON.
//!
//! For: seeing this gateway's part beside others', and finding a request by its id: the trace's id is the request's, without the
//! dashes. A span is made of the line that the log has of the same request, so it knows no more than the log: no prompt, no answer,
//! no key, no address, no name of a user.
//! May not touch: calls. They hand over a few numbers and go on; what a full queue does not take is counted and gone.
//! Claims: off unless `traces.url` is set; memory is bounded by [`WAITING`]; a collector that is away or slow costs spans, and
//! nothing else.

use crate::config::TracesConfig;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use uuid::Uuid;

/// So many spans may wait for the collector.
const WAITING: usize = 4_096;
/// So many are sent at once.
const AT_ONCE: usize = 512;
/// So long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// So long the collector may take, at a stop too.
const LIMIT: Duration = Duration::from_secs(3);
/// The kind of a span that answers somebody.
const SERVER: u8 = 2;
/// The status of a span that failed.
const FAILED: u8 = 2;

/// Makes spans of log lines. Cheap to clone.
#[derive(Clone)]
pub struct Traces {
    spans: mpsc::Sender<Value>,
    lost: Arc<AtomicU64>,
}

/// Sends them.
pub struct Sender {
    spans: mpsc::Receiver<Value>,
    lost: Arc<AtomicU64>,
    client: reqwest::Client,
    config: TracesConfig,
    roles: String,
}

/// Traces as configured: what belongs into the log's subscriber, and what is to be run.
///
/// # Errors
/// When no HTTP client can be made.
pub fn start(config: &TracesConfig, roles: &str) -> Result<(Traces, Sender), reqwest::Error> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("nexusroute/", env!("CARGO_PKG_VERSION")))
        .timeout(LIMIT)
        .build()?;
    let lost = Arc::<AtomicU64>::default();
    let traces = Traces { spans: sender, lost: lost.clone() };
    let (config, roles) = (config.clone(), roles.to_owned());
    Ok((traces, Sender { spans: receiver, lost, client, config, roles }))
}

/// Which lines spans are made of, whatever `log_level` shows.
pub fn lines() -> Targets {
    Targets::new()
        .with_target("relay::call::settlement", LevelFilter::INFO)
        .with_target("api::http", LevelFilter::DEBUG)
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Traces {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(span) = fields.span(SystemTime::now())
            && self.spans.try_send(span).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The fields of a line.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Fields {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    /// The span of a line that tells of a request's end; `None`: it is another line.
    fn span(&self, now: SystemTime) -> Option<Value> {
        let (name, attributes, is_failed) = match self.text("message") {
            "a call ended" => self.call(),
            "answered" => self.answer(),
            _ => return None,
        };
        let request: Uuid = self.text("request").parse().ok()?;
        let (_, own) = request.as_u64_pair();
        let end = nanos(now);
        let before = |ms: u64| end.saturating_sub(u128::from(ms) * 1_000_000);
        let duration = self.number("duration_ms").unwrap_or(0);
        let first_byte = self.number("ttft_ms").map(|ms| before(duration.saturating_sub(ms)));
        let first_byte = first_byte.map(|at| json!({"timeUnixNano": at.to_string(), "name": "first byte"}));
        Some(json!({
            "traceId": request.simple().to_string(),
            "spanId": format!("{own:016x}"),
            "name": name,
            "kind": SERVER,
            "startTimeUnixNano": before(duration).to_string(),
            "endTimeUnixNano": end.to_string(),
            "attributes": attributes,
            "events": first_byte.into_iter().collect::<Vec<_>>(),
            "status": if is_failed { json!({"code": FAILED}) } else { json!({}) },
        }))
    }

    fn call(&self) -> (String, Vec<Value>, bool) {
        let outcome = self.text("outcome");
        let attributes = vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.request.model", self.text("model")),
            text("gen_ai.provider.name", self.text("provider")),
            number("gen_ai.usage.input_tokens", self.number("input_tokens")),
            number("gen_ai.usage.output_tokens", self.number("output_tokens")),
            number("http.response.status_code", self.number("status")),
            text("nexusroute.outcome", outcome),
            text("nexusroute.usage_source", self.text("usage_source")),
            text("nexusroute.stream", self.text("stream")),
            number("nexusroute.tries", self.number("tries")),
            text("nexusroute.charge", self.text("charge")),
        ];
        (
            format!("call {}", self.text("model")),
            attributes,
            matches!(outcome, "ProviderError" | "Interrupted"),
        )
    }

    fn answer(&self) -> (String, Vec<Value>, bool) {
        let status = self.number("status");
        let (method, route) = (self.text("method"), self.text("route"));
        let attributes = vec![
            text("http.request.method", method),
            text("http.route", route),
            number("http.response.status_code", status),
        ];
        (format!("{method} {route}"), attributes, status.is_some_and(|it| it >= 500))
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Whole numbers are strings in OTLP's JSON.
fn number(key: &str, value: Option<u64>) -> Value {
    json!({"key": key, "value": {"intValue": value.unwrap_or(0).to_string()}})
}

fn nanos(moment: SystemTime) -> u128 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

impl Sender {
    /// Sends spans until it is told to stop, and then what is left.
    pub async fn keep_sending(mut self, stop: CancellationToken) {
        let mut is_away = false;
        loop {
            let mut spans = Vec::new();
            let first = tokio::select! {
                first = self.spans.recv() => first,
                () = stop.cancelled() => self.spans.try_recv().ok(),
            };
            let Some(first) = first else { return };
            spans.push(first);
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = stop.cancelled() => {}
            }
            while spans.len() < AT_ONCE
                && let Ok(span) = self.spans.try_recv()
            {
                spans.push(span);
            }
            let sent = self.send(spans).await;
            // Said once, and again when it has answered in between.
            if let (Err(error), false) = (&sent, is_away) {
                tracing::warn!(error, "traces are not taken; they are dropped until they are");
            }
            is_away = sent.is_err();
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(lost, "traces were dropped: the collector is too slow");
            }
            if is_away && stop.is_cancelled() {
                return;
            }
        }
    }

    async fn send(&self, spans: Vec<Value>) -> Result<(), String> {
        let body = json!({"resourceSpans": [{
            "resource": {"attributes": [
                text("service.name", "nexusroute"),
                text("service.version", env!("CARGO_PKG_VERSION")),
                text("nexusroute.roles", &self.roles),
            ]},
            "scopeSpans": [{"scope": {"name": "nexusroute"}, "spans": spans}],
        }]});
        let mut request = self.client.post(self.config.url.clone()).json(&body);
        if let Some(token) = &self.config.token {
            request = request.bearer_auth(token.expose());
        }
        let answer = request.send().await.map_err(|error| error.without_url().to_string())?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the collector answered {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    const REQUEST: &str = "019aaf10-0f3a-7bb2-8c4d-0123456789ab";

    #[tokio::test]
    async fn a_calls_line_becomes_a_span_and_others_do_not() {
        let (sender, mut spans) = mpsc::channel(1);
        let traces = Traces { spans: sender, lost: Arc::default() };
        let subscriber = tracing_subscriber::registry().with(traces.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(request = REQUEST, "something else");
            tracing::info!(
                request = REQUEST, model = %"m", provider = %"p", status = 200_u16, outcome = ?domain::Outcome::ProviderError,
                input_tokens = 10_u64, output_tokens = 20_u64, ttft_ms = 100_u64, duration_ms = 250_u64, key = "its-id", "a call ended"
            );
            // There is room for one.
            tracing::info!(request = REQUEST, method = %"GET", route = "/api/site", status = 200_u16, "answered");
        });
        let span = spans.recv().await.unwrap();
        assert_eq!(span["traceId"], REQUEST.replace('-', ""));
        assert_eq!((&span["spanId"], &span["name"]), (&json!("8c4d0123456789ab"), &json!("call m")));
        let at = |value: &Value| value.as_str().unwrap().parse::<u128>().unwrap();
        let start = at(&span["startTimeUnixNano"]);
        assert_eq!(at(&span["endTimeUnixNano"]) - start, 250_000_000);
        assert_eq!(at(&span["events"][0]["timeUnixNano"]) - start, 100_000_000);
        assert_eq!(span["status"]["code"], 2);
        assert!(!span.to_string().contains("its-id"), "{span}");
        assert!(spans.try_recv().is_err());
        assert_eq!(traces.lost.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn answers_of_the_api_are_named_by_their_route() {
        let mut fields = Fields::default();
        for (name, value) in [
            ("message", "answered"),
            ("request", REQUEST),
            ("method", "GET"),
            ("path", "/api/user/keys/secret"),
            ("route", "/api/user/keys/{id}"),
            ("status", "503"),
            ("duration_ms", "7"),
        ] {
            fields.0.insert(name, value.to_owned());
        }
        let span = fields.span(SystemTime::now()).unwrap();
        assert_eq!((&span["name"], &span["status"]["code"]), (&json!("GET /api/user/keys/{id}"), &json!(2)));
        assert!(!span.to_string().contains("secret"), "{span}");
    }
}
