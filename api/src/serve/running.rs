//! The parts that run: what each role starts, what it needs, and how it is taken down.
//!
//! Claims: without the relay there is no meter and no outbox, without the projector nothing moves the tables; a process
//! without the projector's role waits for positions by the checkpoint in the database.

use super::door::Door;
use super::foundation::Foundation;
use crate::app::{App, Parts};
use crate::config::Config;
use crate::directory::address::Guard;
use crate::exports::Clerk;
use crate::issuers::Issuers;
use crate::live::Live;
use crate::mail::Post;
use crate::metrics::{LogTally, Metrics, Tallies};
use crate::payments::{Channels, bonus, poller, refunds::desk, suspense};
use crate::roles::Roles;
use crate::webhook::Courier;
use crate::{
    alerts, approval, bulletin, console, deletion, health, http, metrics, reconciliation, redemption,
    referral, traces, usage_archive,
};
use anyhow::Context;
use ledger::outbox::Flush;
use ledger::{Audit, Inbox, Ledger, Log, Meter, MeterOptions};
use projections::{Database, Follower, Projector, ProjectorHandle, ProjectorOptions};
use relay::limits::{Limits, SharedOptions};
use relay::{Relay, RelayOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The parts that run.
pub(super) struct Running {
    roles: Roles,
    db: Database,
    log: Log,
    follower: Follower,
    /// With the projector's role.
    projector: Option<ProjectorHandle>,
    /// With the relay's role.
    calls: Option<Calls>,
    /// With the API's role.
    app: Option<App>,
    config: Arc<Config>,
    tallies: Arc<Tallies>,
    logged: LogTally,
    background: TaskTracker,
    stop: CancellationToken,
}

/// Model calls and their metering.
struct Calls {
    meter: Meter,
    relay: Relay,
}

impl Running {
    /// Starts what the roles ask for on a migrated database. `foundation` is what users and calls stand on; only a process
    /// that serves neither does without.
    pub(super) async fn start(
        config: &Config,
        db: &Database,
        foundation: Option<&Foundation>,
        log: &Log,
        address: SocketAddr,
        logged: LogTally,
    ) -> anyhow::Result<Self> {
        let projector = if config.roles.projector { Some(projector(config, db, log)?) } else { None };
        let follower = projector.clone().map_or_else(|| Follower::elsewhere(db.clone()), Follower::Here);
        let mut running = Self {
            roles: config.roles,
            db: db.clone(),
            log: log.clone(),
            follower,
            projector,
            calls: None,
            app: None,
            config: Arc::new(config.clone()),
            tallies: Arc::default(),
            logged,
            background: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        if config.roles.projector && config.usage_keep_months > 0 {
            let (folder, stop) = (usage_archive::folder(config), running.stop.clone());
            running.background.spawn(usage_archive::keep(db.clone(), folder, config.usage_keep_months, stop));
        }
        if let Some(foundation) = foundation {
            let ledger = Ledger::new(log.clone(), Arc::new(db.clone()));
            if config.roles.relay {
                let calls = Calls::start(config, foundation, ledger.clone()).await?;
                running.background.spawn(calls.relay.clone().keep_probing(running.stop.clone()));
                running.calls = Some(calls);
            }
            let audit = Audit::new(log.clone());
            // A relay takes no acts, and its user at the log's servers need not be allowed to tell of any.
            let acts = config.roles.api.then(|| audit.clone());
            let fresh = foundation.directory().clone().keep_fresh(acts, running.stop.clone());
            running.background.spawn(fresh);
            if config.roles.api {
                let directory = foundation.directory().clone();
                let granting = redemption::keep_granting(ledger.clone(), directory, running.stop.clone());
                running.background.spawn(granting);
                let directory = foundation.directory().clone();
                let doing = approval::keep_doing(ledger.clone(), directory, running.stop.clone());
                running.background.spawn(doing);
                let referring = referral::Road {
                    ledger: ledger.clone(),
                    directory: foundation.directory().clone(),
                    db: db.clone(),
                    live: live(config, foundation)?,
                };
                running.background.spawn(referring.keep_rewarding(running.stop.clone()));
                let directory = foundation.directory().clone();
                running.background.spawn(bonus::keep_giving(ledger.clone(), directory, running.stop.clone()));
                let app = running.app(config, foundation, ledger, audit, address)?;
                running.background.spawn(poller::keep_polling(app.clone(), running.stop.clone()));
                running.background.spawn(desk::keep_refunding(app.clone(), running.stop.clone()));
                running
                    .background
                    .spawn(reconciliation::run::keep_reconciling(app.clone(), running.stop.clone()));
                running.background.spawn(suspense::keep_doing(app.clone(), running.stop.clone()));
                running.app = Some(app);
            }
        }
        Ok(running)
    }

    /// Sends traces until the stop, and the last ones then.
    pub(super) fn sends(&self, traces: traces::Sender) {
        self.background.spawn(traces.keep_sending(self.stop.clone()));
    }

    fn app(
        &self,
        config: &Config,
        foundation: &Foundation,
        ledger: Ledger,
        audit: Audit,
        address: SocketAddr,
    ) -> anyhow::Result<App> {
        let post = Post::try_new(config, foundation.directory().clone())?;
        self.background.spawn(post.clone().keep_delivering(self.stop.clone()));
        let courier = Courier::try_new(config, foundation.directory().clone()).context("no HTTP client")?;
        self.background.spawn(courier.clone().keep_delivering(self.stop.clone()));
        let (directory, zone) = (foundation.directory().clone(), config.zone());
        let clerk = Clerk::new(directory, self.db.clone(), ledger.clone(), zone, &config.data_dir);
        if config.single_operator {
            tracing::warn!(
                "approvals.single_operator is on: a lone operator may approve what they asked for themselves"
            );
        }
        self.background.spawn(clerk.clone().keep_making(self.stop.clone()));
        self.background.spawn(alerts::keep_watching(
            foundation.directory().clone(),
            self.db.clone(),
            self.stop.clone(),
        ));
        self.background.spawn(bulletin::keep_telling(foundation.directory().clone(), self.stop.clone()));
        self.background.spawn(deletion::keep_closing(
            ledger.clone(),
            foundation.directory().clone(),
            self.stop.clone(),
        ));
        Ok(App::new(Parts {
            ledger,
            inbox: Inbox::new(self.log.clone()),
            audit,
            db: self.db.clone(),
            follower: self.follower.clone(),
            directory: foundation.directory().clone(),
            channels: Channels::try_new(config, &own_url(address))?,
            live: live(config, foundation)?,
            config: Arc::new(config.clone()),
            catalogue: foundation.directory().catalogue_handle(),
            provider_health: self.calls.as_ref().map(|calls| calls.relay.health()),
            passwords: foundation.passwords().clone(),
            limits: http::limit::Limits::shared(foundation.directory().clone()),
            streams: http::events::Streams::default(),
            issuers: Issuers::try_new(config).context("cannot make an HTTP client")?,
            post,
            courier,
            clerk,
            status: Default::default(),
            tallies: self.tallies.clone(),
        }))
    }

    /// All that requests come through.
    pub(super) fn door(&self) -> Door {
        Door::new(self.calls.as_ref().map(|calls| calls.relay.clone()), self.router())
    }

    /// The routes of the roles, and every role's health.
    fn router(&self) -> axum::Router {
        let health = health::Health {
            roles: self.roles,
            log: self.log.clone(),
            db: self.db.clone(),
            projector: self.projector.clone(),
            meter: self.calls.as_ref().map(|calls| calls.meter.clone()),
        };
        let mut router = health::routes(health).merge(metrics::routes(self.metrics()));
        if let Some(app) = &self.app {
            router = router.merge(http::router(app.clone())).merge(http::dashboard(app.clone()));
        }
        if let Some(calls) = &self.calls {
            router = router.merge(calls.relay.router());
        }
        if let Some(app) = &self.app {
            router = console::behind(router, &app.channels.form_targets());
        }
        router.layer(axum::middleware::from_fn(http::security_headers))
    }

    fn metrics(&self) -> Metrics {
        Metrics::new(
            self.config.clone(),
            self.roles,
            self.log.clone(),
            self.db.clone(),
            self.projector.clone(),
            self.calls.as_ref().map(|calls| (calls.meter.clone(), calls.relay.clone())),
            self.tallies.clone(),
            self.logged.clone(),
        )
    }

    /// Calls finish, usage is reported, leases are closed, projections see it all.
    pub(super) async fn drain(&self, config: &Config, server: JoinHandle<std::io::Result<()>>) {
        // They never end by themselves, and the server waits for every connection.
        if let Some(app) = &self.app {
            app.streams.end();
        }
        if let Some(Calls { relay, .. }) = &self.calls {
            let unfinished = relay.drain(config.drain).await;
            if unfinished > 0 {
                tracing::error!(unfinished, "calls did not finish in time");
            }
        }
        if tokio::time::timeout(Duration::from_secs(5), server).await.is_err() {
            tracing::warn!("connections are still open; they end with the process");
        }
        if let Some(Calls { meter, .. }) = &self.calls {
            meter.drain(config.drain).await;
        }
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        let Some(projector) = &self.projector else { return };
        if let Ok(identity) = self.log.identity().await {
            // Not needed for anything but a next start without catching up.
            projector.wait_for(identity.last_sequence, Duration::from_secs(5)).await;
        }
        projector.stop().await;
    }
}

impl Calls {
    /// Ends what the run before left, and is ready for calls.
    async fn start(config: &Config, foundation: &Foundation, ledger: Ledger) -> anyhow::Result<Self> {
        let projected = Arc::new(foundation.db().clone());
        let meter = Meter::start(ledger, projected, meter_options(config)).await?;
        let options = RelayOptions {
            top_up_url: format!("{}/topup", config.public_url),
            max_body_bytes: config.relay.max_body_bytes,
            first_byte_timeout: config.relay.first_byte,
            idle_timeout: config.relay.idle,
            call_limit: config.relay.call,
            allow_unpriced: config.relay.allow_unpriced,
            trusted_proxies: config.trusted_proxies.clone(),
            ..RelayOptions::default()
        };
        let guard = Guard { allow_private: config.allow_private_providers };
        let client = relay::provider_client(&options, guard).context("cannot make an HTTP client")?;
        let limits = match &config.redis_url {
            None => Limits::in_process(),
            Some(url) => {
                let ca = config.redis_ca_file.as_ref().map(std::fs::read).transpose();
                let ca = ca.context("redis_ca_file cannot be read")?;
                let options = SharedOptions { ca, ..SharedOptions::new(url.clone(), config.relay.call) };
                Limits::shared(options).context("redis_url is unusable")?
            }
        };
        let catalogue = foundation.directory().catalogue_handle();
        let relay = Relay::new(meter.clone(), catalogue, client, limits, options);
        Ok(Self { meter, relay })
    }
}

/// The configuration with what operators have changed since.
fn live(config: &Config, foundation: &Foundation) -> anyhow::Result<Live> {
    let directory = foundation.directory().clone();
    Live::try_new(Arc::new(config.clone()), directory).context(
        "the settings that were changed in the database do not go with this configuration; change it, or take them back by \
         `nexusroute settings reset`",
    )
}

fn projector(config: &Config, db: &Database, log: &Log) -> anyhow::Result<ProjectorHandle> {
    let options = ProjectorOptions { time_zone: time_zone(config)?, ..Default::default() };
    Projector::start_aside(db, log.clone(), options).context("cannot start the projector's thread")
}

/// The operator's time zone: what a billing day is.
pub fn time_zone(config: &Config) -> anyhow::Result<chrono::FixedOffset> {
    chrono::FixedOffset::east_opt(config.time_zone_offset_minutes * 60)
        .context("the time zone is out of range")
}

fn meter_options(config: &Config) -> MeterOptions {
    let mut options = MeterOptions::with_outbox(config.data_dir.join("outbox"));
    options.lease_life = config.lease.life;
    options.report_bound = config.lease.report;
    options.quarantine = config.lease.quarantine;
    // A short life is swept as closely.
    options.sweep_every = options.sweep_every.min(config.lease.life / 2);
    options.outbox.max_bytes = config.outbox.max_bytes;
    if config.outbox.sync {
        options.outbox.flush = Flush::BeforeAnswer;
    }
    options
}

/// Where this process reaches itself.
fn own_url(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{}", address.port()),
        false => format!("http://{address}"),
    }
}
