//! `/metrics`: what this process knows about itself, for Prometheus.
//!
//! For: the page ([`routes`]), the list of what is on it ([`families`]), what is counted as it happens ([`Tallies`],
//! [`LogTally`]).
//! May not touch: deciding anything; personal data: no label holds a name, an address, an account or a key of a user.
//! Claims: a page comes in time whatever else does not answer, and says so; figures about business are for those whom the
//! operator allows, and never for who comes through a proxy without the token.

pub mod families;
mod machine;
mod page;
mod tables;
mod tallies;

#[cfg(test)]
mod tests;

pub use page::CONTENT_TYPE;
pub use tallies::{LogTally, Tallies, counted};

use crate::chores::{BackedUp, Note, Verified};
use crate::config::Config;
use crate::roles::Roles;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use families as f;
use ledger::{Log, Meter};
use page::{Page, decimal, thousandths};
use projections::{Database, ProjectorHandle};
use relay::Relay;
use relay::health::State as Circuit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tables::Tables;

/// How long the log and the database are waited for. Prometheus gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// Headers by which proxies say for whom they ask. Their presence means that the peer is not who wants the page.
const FORWARDED: [&str; 4] = ["x-forwarded-for", "forwarded", "x-real-ip", "via"];

/// What a page is made of. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Parts>);

/// The parts of a process that are shown.
pub struct Parts {
    /// The configuration: who may see the page, and where the data folder is.
    pub config: Arc<Config>,
    /// What the process does.
    pub roles: Roles,
    /// The log.
    pub log: Log,
    /// The database.
    pub db: Database,
    /// The projections' engine, where it runs here.
    pub projector: Option<ProjectorHandle>,
    /// Metering and calls, where they are served here.
    pub calls: Option<(Meter, Relay)>,
    /// What is counted as it happens.
    pub tallies: Arc<Tallies>,
    /// What was logged loudly.
    pub logged: LogTally,
    tables: tokio::sync::Mutex<Tables>,
}

impl Metrics {
    /// Metrics of these parts.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part, and they are named where this is called"
    )]
    pub fn new(
        config: Arc<Config>,
        roles: Roles,
        log: Log,
        db: Database,
        projector: Option<ProjectorHandle>,
        calls: Option<(Meter, Relay)>,
        tallies: Arc<Tallies>,
        logged: LogTally,
    ) -> Self {
        let tables = tokio::sync::Mutex::default();
        Self(Arc::new(Parts { config, roles, log, db, projector, calls, tallies, logged, tables }))
    }

    /// The page as of now.
    pub async fn page(&self) -> String {
        let Parts { config, roles, projector, calls, tallies, logged, .. } = &*self.0;
        let mut page = Page::default();
        page.put(&f::BUILD, &[env!("CARGO_PKG_VERSION"), &roles.to_string()], 1);
        machine::write(&mut page, &config.data_dir);
        write_logged(&mut page, &logged.now());
        let is_whole = Box::pin(self.write_stores(&mut page)).await;
        if let Some(projector) = projector {
            let status = projector.status();
            page.put(&f::HALTED, &[], u8::from(status.halted.is_some()));
            page.put(&f::WAITING, &[], u8::from(status.waiting.is_some()));
        }
        write_tallies(&mut page, &tallies.now());
        if let Some((meter, relay)) = calls {
            write_calls(&mut page, relay);
            write_meter(&mut page, meter);
        }
        let is_whole = Box::pin(self.write_tables(&mut page)).await && is_whole;
        let (verified, backed_up) = (Verified::left(&config.data_dir), BackedUp::left(&config.data_dir));
        page.put_some(&f::VERIFY_TIME, verified.map(|it| it.at));
        page.put_some(&f::VERIFY_FINDINGS, verified.map(|it| it.findings));
        page.put_some(&f::BACKUP_TIME, backed_up.map(|it| it.at));
        page.put_some(&f::BACKUP_BYTES, backed_up.map(|it| it.bytes));
        page.put_some(&f::BACKUP_POSITION, backed_up.map(|it| it.position));
        page.put(&f::UNANSWERED, &[], u8::from(!is_whole));
        page.into_text()
    }

    /// The log, the database, and how far they are from each other. Answers whether both answered.
    async fn write_stores(&self, page: &mut Page) -> bool {
        let Parts { log, db, .. } = &*self.0;
        let (end, applied) = tokio::join!(
            tokio::time::timeout(PATIENCE, log.identity()),
            tokio::time::timeout(PATIENCE, projections::position(db)),
        );
        let end = end.ok().and_then(Result::ok).map(|identity| identity.last_sequence);
        let applied = applied.ok().and_then(Result::ok);
        page.put(&f::LOG_UP, &[], u8::from(end.is_some()));
        page.put_some(&f::LOG_POSITION, end);
        page.put(&f::REPLICAS, &[], log.durability().replicas);
        page.put(&f::DATABASE_UP, &[], u8::from(applied.is_some()));
        page.put_some(&f::APPLIED, applied);
        page.put_some(&f::LAG, end.zip(applied).map(|(end, applied)| end.saturating_sub(applied)));
        end.is_some() && applied.is_some()
    }

    /// What the tables say, where a projector is. Answers whether they did.
    async fn write_tables(&self, page: &mut Page) -> bool {
        if self.0.projector.is_none() {
            return true;
        }
        let mut tables = self.0.tables.lock().await;
        let refreshed = tokio::time::timeout(PATIENCE, tables.refresh(&self.0.db)).await;
        if let Ok(Err(error)) = &refreshed {
            tracing::debug!(%error, "figures for metrics cannot be read");
        }
        // The last answers are better than none: the gauges of what is old move again when the database does.
        tables.write(page, crate::directory::now());
        matches!(refreshed, Ok(Ok(())))
    }

    /// May whoever sent this see the page?
    fn lets_in(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
        let config = &self.0.config.metrics;
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .unwrap_or_default();
        if let Some(token) = &config.token
            && bool::from(token.expose().as_bytes().ct_eq(given.as_bytes()))
        {
            return true;
        }
        let came_straight = !FORWARDED.iter().any(|name| headers.contains_key(*name));
        let peer = peer.map(|it| it.to_canonical());
        came_straight && peer.is_some_and(|peer| config.allow.iter().any(|network| network.contains(&peer)))
    }
}

/// `/metrics`.
pub fn routes(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(show)).with_state(metrics)
}

async fn show(State(metrics): State<Metrics>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if !metrics.lets_in(peer, request.headers()) {
        // As if there were nothing: whoever is meant to come knows that there is.
        return StatusCode::NOT_FOUND.into_response();
    }
    (
        [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")],
        Box::pin(metrics.page()).await,
    )
        .into_response()
}

fn write_logged(page: &mut Page, logged: &tallies::Logged) {
    page.put(&f::LOG_LINES, &["error"], logged.errors);
    page.put(&f::LOG_LINES, &["warn"], logged.warnings);
    for (alert, count) in &logged.alerts {
        page.put(&f::ALERTS, &[alert], count);
    }
}

fn write_tallies(page: &mut Page, counts: &tallies::Counts) {
    for ((method, route, status), count) in &counts.answers {
        page.put(&f::HTTP_REQUESTS, &[method, route, &status.to_string()], count);
    }
    for (route, times) in &counts.times {
        page.put_durations(&f::HTTP_TIMES, &[route], times);
    }
    for ((channel, verdict), count) in &counts.callbacks {
        page.put(&f::CALLBACKS, &[channel, verdict], count);
    }
    for ((channel, currency), (count, _)) in &counts.payments {
        page.put(&f::PAYMENTS, &[channel, &currency.to_string()], count);
    }
    for ((channel, currency), (_, minor)) in &counts.payments {
        page.put(
            &f::MONEY,
            &[channel, &currency.to_string()],
            domain::Unit::Money(*currency).decimal(*minor),
        );
    }
}

fn write_calls(page: &mut Page, relay: &Relay) {
    let counted = relay.figures().counted();
    for (of, sums) in &counted.served {
        let labels = [of.model.as_str(), of.provider.as_str()];
        for (outcome, count) in [
            ("completed", sums.completed),
            ("client_gone", sums.client_gone),
            ("provider_error", sums.provider_error),
            ("interrupted", sums.interrupted),
            ("refused", sums.refused),
        ] {
            page.put(&f::CALLS, &[labels[0], labels[1], outcome], count);
        }
    }
    for (provider, times) in &counted.times {
        page.put_durations(&f::CALL_TIMES, &[provider.as_str(), "false"], &times.whole);
        page.put_durations(&f::CALL_TIMES, &[provider.as_str(), "true"], &times.streamed);
    }
    for (provider, times) in &counted.times {
        page.put_durations(&f::FIRST_BYTE, &[provider.as_str()], &times.first_byte);
    }
    for (of, sums) in &counted.served {
        let labels = [of.model.as_str(), of.provider.as_str()];
        page.put(&f::CALL_TOKENS, &[labels[0], labels[1], "input"], sums.input_tokens);
        page.put(&f::CALL_TOKENS, &[labels[0], labels[1], "output"], sums.output_tokens);
    }
    type Nano = fn(&relay::figures::Sums) -> i128;
    let amounts: [(_, Nano); 3] = [
        (&f::CALL_PAID, |sums| sums.paid_nano),
        (&f::CALL_COST, |sums| sums.cost_nano),
        (&f::CALL_UNCOVERED, |sums| sums.uncovered_nano),
    ];
    for (family, nano) in amounts {
        for (of, sums) in &counted.served {
            page.put(family, &[of.model.as_str(), of.provider.as_str()], decimal(nano(sums), 9));
        }
    }
    for ((protocol, code, status), count) in &counted.refused {
        page.put(&f::CALLS_REFUSED, &[protocol, code, &status.to_string()], count);
    }
    page.put(&f::CALLS_RUNNING, &[], relay.in_flight());
    for ((provider, result), count) in &counted.attempts {
        page.put(&f::ATTEMPTS, &[provider.as_str(), result.as_str()], count);
    }
    let conditions = relay.health().conditions(tokio::time::Instant::now());
    let labels = |it: &relay::health::Watched| {
        let name =
            |label: &Option<domain::Label>| label.as_ref().map_or_else(String::new, ToString::to_string);
        [it.provider.to_string(), name(&it.key), name(&it.model)]
    };
    for it in &conditions {
        let [provider, key, model] = labels(&it.watched);
        let is_up = match it.state {
            Circuit::Closed | Circuit::HalfOpen => 1,
            Circuit::Open { .. } => 0,
        };
        page.put(&f::PROVIDER_UP, &[&provider, &key, &model], is_up);
    }
    for it in &conditions {
        let [provider, key, model] = labels(&it.watched);
        page.put(&f::PROVIDER_FAILURES, &[&provider, &key, &model], it.failure_percent);
    }
    let limits = relay.limits();
    if limits.is_shared {
        page.put(&f::LIMITS_AWAY, &[], u8::from(limits.is_redis_away));
        page.put(&f::LIMITS_ALONE, &[], limits.fallbacks);
    }
}

fn write_meter(page: &mut Page, meter: &Meter) {
    let status = meter.status();
    page.put(&f::LEASES, &[], status.open_leases);
    page.put(&f::HOLDS, &[], status.calls_in_flight);
    page.put(&f::LEASE_DECISIONS, &[], status.lease_decisions);
    page.put(&f::CALLS_BY_LOG, &[], status.calls_by_log);
    page.put(&f::SEALED, &[], status.epochs_sealed);
    page.put(&f::UNREPORTED, &[], status.unreported);
    page.put(&f::UNREPORTED_AGE, &[], thousandths(status.oldest_unreported_ms));
    page.put(&f::ADMITS, &[], u8::from(meter.fault().is_none()));
    page.put(&f::OUTBOX_BYTES, &[], status.outbox.bytes);
    page.put(&f::OUTBOX_MAX, &[], status.outbox.max_bytes);
    page.put(&f::OUTBOX_AGE, &[], thousandths(status.outbox.oldest_segment_ms));
    page.put(&f::OUTBOX_RECORDS, &[], status.outbox.records);
    page.put(&f::OUTBOX_UNFLUSHED, &[], status.outbox.unflushed_bytes);
}
