//! What this process counts as it happens: answers of `/api`, messages of payment channels, and what the log said loudly.
//!
//! Claims: the number of rows is bounded by routes, channels and this program's own words; what callers make up is counted
//! under one name.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use domain::{ChannelName, Currency, Money};
use relay::figures::Durations;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::Context;

/// The counters. All clones of the `Arc` are the same.
#[derive(Default)]
pub struct Tallies(Mutex<Counts>);

/// As of a moment.
#[derive(Clone, Default)]
pub(super) struct Counts {
    /// By method, route and status.
    pub(super) answers: BTreeMap<(String, String, u16), u64>,
    /// By route.
    pub(super) times: BTreeMap<String, Durations>,
    /// By channel and verdict.
    pub(super) callbacks: BTreeMap<(String, String), u64>,
    /// By channel and currency: how many, and how much in minor units.
    pub(super) payments: BTreeMap<(String, Currency), (u64, i128)>,
}

impl Tallies {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // A panic elsewhere leaves at worst a count that is off by one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Counts {
        self.counts().clone()
    }

    /// A message of a payment channel was judged.
    pub fn callback(&self, channel: &ChannelName, verdict: &str) {
        *self.counts().callbacks.entry((channel.to_string(), verdict.to_owned())).or_default() += 1;
    }

    /// A payment was credited, and had not been before.
    pub fn credited(&self, channel: &ChannelName, paid: Money) {
        let mut counts = self.counts();
        let (count, minor) = counts.payments.entry((channel.to_string(), paid.currency)).or_default();
        *count += 1;
        *minor += i128::from(paid.minor);
    }
}

/// Counts every answer by its route.
pub async fn counted(State(tallies): State<Arc<Tallies>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    // Callers may send any word for a method.
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    let mut counts = tallies.counts();
    counts.times.entry(route.clone()).or_default().add(started.elapsed());
    *counts.answers.entry((method, route, response.status().as_u16())).or_default() += 1;
    drop(counts);
    response
}

/// Counts what is logged at `warn` and above, whether or not it is shown, and the field `alert`.
#[derive(Clone, Default)]
pub struct LogTally(Arc<Mutex<Logged>>);

#[derive(Clone, Default)]
pub(super) struct Logged {
    pub(super) errors: u64,
    pub(super) warnings: u64,
    pub(super) alerts: BTreeMap<String, u64>,
}

impl LogTally {
    pub(super) fn now(&self) -> Logged {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for LogTally {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > tracing::Level::WARN {
            return;
        }
        let mut alert = Alert::default();
        event.record(&mut alert);
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match level {
            tracing::Level::ERROR => logged.errors += 1,
            _ => logged.warnings += 1,
        }
        if let Some(alert) = alert.0 {
            *logged.alerts.entry(alert).or_default() += 1;
        }
    }
}

/// The field `alert` of a line, which holds words of this program only.
#[derive(Default)]
struct Alert(Option<String>);

impl Visit for Alert {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "alert" {
            self.0 = Some(value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn what_is_logged_loudly_is_counted_and_alerts_by_name() {
        let tally = LogTally::default();
        let subscriber = tracing_subscriber::registry().with(tally.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(alert = "not_this", "quiet");
            tracing::warn!("odd");
            tracing::error!(alert = "payment_suspended", "a person is needed");
            tracing::error!(alert = "payment_suspended", other = 1, "and again");
        });
        let logged = tally.now();
        assert_eq!((logged.errors, logged.warnings), (2, 1));
        assert_eq!(logged.alerts.into_iter().collect::<Vec<_>>(), [("payment_suspended".to_owned(), 2)]);
    }
}
