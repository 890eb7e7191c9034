//! Wiring: everything is built here, outward from the configuration, and taken down in the opposite order.
//!
//! For: the start (data folder, log, database, projections, meter, relay, doors), the banner, and the drain.
//! Claims: two gateways never share a data folder; the gateway says which durability is in force before it serves; a stop
//! lets calls finish, gives leases back and has every usage record on the log before the log's server stops.

use crate::app::{App, Parts};
use crate::config::Config;
use crate::directory::Directory;
use crate::directory::address::Guard;
use crate::directory::password::{Passwords, check_password};
use crate::directory::user::{NewUser, Role, check_email, check_username};
use crate::payments::Channels;
use crate::secrets::Sealer;
use crate::{health, http};
use anyhow::{Context, bail};
use axum::serve::ListenerExt;
use domain::{Actor, ActorKind, Label};
use ledger::outbox::Flush;
use ledger::{Audit, Inbox, Ledger, LocalServer, LocalServerOptions, Log, LogOptions, Meter, MeterOptions};
use projections::{Database, Projector, ProjectorOptions};
use relay::{Relay, RelayOptions};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The user that the first start makes.
const FIRST_ADMIN: &str = "admin";

/// Runs the gateway until it is told to stop.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    start_logging(&config)?;
    make_data_folder(&config)?;
    let _lock = lock(&config.data_dir)?;
    // Before anything else is started: a port in use is the most common reason to fail.
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let foundation = Foundation::open(&config).await?;
    let first_admin = foundation.first_admin(&config).await?;
    let access = own_log(&config, Streams::Prepared).await?;
    let address = listener.local_addr()?;
    let running = Running::start(&config, &foundation, &access.log, address).await?;
    let banner = Banner { config: &config, access: &access, first_admin };
    banner.print(address)?;

    // Small answers and stream events go out at once instead of waiting for more.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let stop = CancellationToken::new();
    let service = running.router().into_make_service_with_connect_info::<SocketAddr>();
    let mut server = tokio::spawn(
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future(),
    );
    let failed = tokio::select! {
        signal = stop_signal() => {
            tracing::info!(signal, "stopping: calls finish first");
            None
        }
        ended = &mut server => Some(ended),
    };
    stop.cancel();
    tokio::select! {
        () = running.drain(&config, server) => {}
        signal = stop_signal() => tracing::warn!(signal, "told twice: stopping without waiting any longer"),
    }
    access.end().await;
    match failed {
        None => Ok(()),
        Some(ended) => bail!("the HTTP server ended by itself: {ended:?}"),
    }
}

/// The database and what stands on it: enough for the command line's acts.
pub struct Foundation {
    db: Database,
    directory: Directory,
    passwords: Passwords,
}

impl Foundation {
    /// Opens and migrates the database.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        make_data_folder(config)?;
        let db = open_database(config).await?;
        db.migrate().await.context("cannot migrate the database")?;
        let sealer = Sealer::from_environment_or_file(config.master_key.as_deref(), &config.data_dir)?;
        let directory = Directory::open(db.clone(), sealer).await?;
        Ok(Self { db, directory, passwords: Passwords::default() })
    }

    /// Makes an operator.
    pub async fn create_admin(&self, username: &str, email: &str, password: &str) -> anyhow::Result<()> {
        let fits = |checked: Result<(), &str>, what: &str| match checked {
            Ok(()) => Ok(()),
            Err(fault) => bail!("the {what} {fault}"),
        };
        fits(check_username(username), "username")?;
        fits(check_email(email), "e-mail address")?;
        fits(check_password(password), "password")?;
        let password_hash = self.passwords.hash(password.to_owned()).await?;
        let new = NewUser {
            username: username.to_owned(),
            email: email.to_owned(),
            password_hash,
            role: Role::Admin,
            email_verified: true,
        };
        self.directory.create_user(new, Some(command_line())).await?;
        Ok(())
    }

    /// Gives a user a new password and ends their sessions.
    pub async fn reset_password(&self, login: &str, password: &str) -> anyhow::Result<()> {
        let (user, _) =
            self.directory.credentials(login).await?.with_context(|| format!("no user {login}"))?;
        let hash = self.passwords.hash(password.to_owned()).await?;
        self.directory.set_password(user.id, hash, None, command_line()).await?;
        Ok(())
    }

    /// Makes the user `admin` if there is no operator yet. `Some`: the one-time password to print, or `None` inside when
    /// the operator chose it.
    async fn first_admin(&self, config: &Config) -> anyhow::Result<Option<FirstAdmin>> {
        if self.directory.has_admin().await? {
            return Ok(None);
        }
        let (password, one_time) = match &config.admin_password {
            Some(password) => (password.clone(), None),
            None => {
                let password = one_time_password();
                (password.clone(), Some(password))
            }
        };
        self.create_admin(FIRST_ADMIN, "admin@localhost.localdomain", &password).await?;
        Ok(Some(FirstAdmin { one_time }))
    }
}

/// Twenty random letters and digits: 119 bits.
pub fn one_time_password() -> String {
    use rand::distr::{Alphanumeric, SampleString};
    Alphanumeric.sample_string(&mut rand::rng(), 20)
}

struct FirstAdmin {
    one_time: Option<String>,
}

fn command_line() -> Actor {
    // The constant fits a label; a wrong one would be refused at the first use of the command line.
    let id = Label::try_new("command line").unwrap_or_else(|_| unreachable!());
    Actor { kind: ActorKind::System, id }
}

/// Opens the database that is configured: the named one, or SQLite in the data folder.
pub async fn open_database(config: &Config) -> anyhow::Result<Database> {
    let url = match &config.database_url {
        Some(url) => url.clone(),
        None => format!("sqlite://{}?mode=rwc", config.data_dir.join("nexusroute.db").display()),
    };
    Database::connect(&url).await.context("cannot open the database")
}

/// A log, and the server under it if it is ours to stop.
pub struct LogAccess {
    log: Log,
    local: Option<LocalServer>,
}

impl LogAccess {
    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Stops the server, if it is ours.
    pub async fn end(self) {
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// The log for a command: the configured servers, the running gateway's own server, or a server started for the moment.
pub async fn log_of(config: &Config) -> anyhow::Result<LogAccess> {
    log_with(config, Streams::Prepared).await
}

/// The same for an import: the data folder may be new, and the streams are left as they are, for it brings its own.
pub async fn log_for_import(config: &Config) -> anyhow::Result<LogAccess> {
    make_data_folder(config)?;
    log_with(config, Streams::AsTheyAre).await
}

/// What to do about the log's streams.
#[derive(Clone, Copy)]
enum Streams {
    /// Make those that are missing, and look at the others.
    Prepared,
    /// Nothing.
    AsTheyAre,
}

async fn connect(options: LogOptions, streams: Streams) -> Result<Log, ledger::LedgerError> {
    match streams {
        Streams::Prepared => Log::connect(options).await,
        Streams::AsTheyAre => Log::attach(options).await,
    }
}

async fn log_with(config: &Config, streams: Streams) -> anyhow::Result<LogAccess> {
    if config.nats_url.is_some() {
        return own_log(config, streams).await;
    }
    if let Some((url, token)) = LocalServer::found_in(&nats_folder(config)) {
        let options = LogOptions { servers: vec![url], token: Some(token), ..local_options(config) };
        if let Ok(log) = connect(options, streams).await {
            return Ok(LogAccess { log, local: None });
        }
    }
    let _lock = lock(&config.data_dir)?;
    own_log(config, streams).await
}

/// The log of a gateway: the configured servers, or a supervised one in the data folder.
async fn own_log(config: &Config, streams: Streams) -> anyhow::Result<LogAccess> {
    if let Some(servers) = &config.nats_url {
        let options = LogOptions {
            servers: servers.clone(),
            token: config.nats_token.clone(),
            replicas: config.nats_replicas,
            sync: config.nats_sync.clone(),
            inbox_days: config.inbox_days,
            ..LogOptions::default()
        };
        return Ok(LogAccess { log: connect(options, streams).await?, local: None });
    }
    let binary = nats_server(config)?;
    let folder = nats_folder(config);
    let local =
        LocalServer::start(LocalServerOptions { binary, folder, start_limit: Duration::from_secs(60) })
            .await?;
    let options = LogOptions {
        servers: vec![local.url().to_owned()],
        token: Some(local.token().to_owned()),
        ..local_options(config)
    };
    match connect(options, streams).await {
        Ok(log) => Ok(LogAccess { log, local: Some(local) }),
        Err(error) => {
            local.stop().await;
            Err(error.into())
        }
    }
}

fn local_options(config: &Config) -> LogOptions {
    LogOptions { sync: Some("always".into()), inbox_days: config.inbox_days, ..LogOptions::default() }
}

fn nats_folder(config: &Config) -> PathBuf {
    config.data_dir.join("nats")
}

/// The nats-server to supervise: the configured one, the one that `make` fetched, or the one on PATH.
fn nats_server(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(path) = &config.nats_server {
        return Ok(path.clone());
    }
    let fetched = PathBuf::from(".deps/bin/nats-server");
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(fetched)
        .chain(std::env::split_paths(&on_path).map(|folder| folder.join("nats-server")))
        .find(|path| path.is_file())
        .context("no nats-server found: run `make deps`, set nats_server to its path, or nats_url to running servers")
}

/// Where this process reaches itself.
fn own_url(address: SocketAddr) -> String {
    match address.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{}", address.port()),
        false => format!("http://{address}"),
    }
}

fn make_data_folder(config: &Config) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data folder {}", config.data_dir.display()))
}

/// Holds the data folder for this process. The lock ends with the process, however it ends.
fn lock(data_dir: &Path) -> anyhow::Result<File> {
    let path = data_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another gateway runs on the data folder {}", data_dir.display())
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// The parts that run.
struct Running {
    app: App,
    meter: Meter,
    relay: Relay,
    projector: projections::ProjectorHandle,
    log: Log,
    background: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    async fn start(
        config: &Config,
        foundation: &Foundation,
        log: &Log,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let db = foundation.db.clone();
        let time_zone = chrono::FixedOffset::east_opt(config.time_zone_offset_minutes * 60)
            .context("the time zone is out of range")?;
        let projector =
            Projector::start(db.clone(), log.clone(), ProjectorOptions { time_zone, ..Default::default() });
        let ledger = Ledger::new(log.clone(), Arc::new(db.clone()));
        let meter = Meter::start(ledger.clone(), Arc::new(db.clone()), meter_options(config)).await?;
        let directory = foundation.directory.clone();
        let catalogue = directory.catalogue_handle();
        let options = RelayOptions {
            top_up_url: format!("{}/", config.public_url),
            max_body_bytes: config.relay.max_body_bytes,
            first_byte_timeout: config.relay.first_byte,
            idle_timeout: config.relay.idle,
            call_limit: config.relay.call,
            trusted_proxies: config.trusted_proxies.clone(),
            ..RelayOptions::default()
        };
        let client =
            relay::provider_client(&options, Guard { allow_private: config.allow_private_providers })
                .context("cannot make an HTTP client")?;
        let relay = Relay::new(meter.clone(), catalogue.clone(), client, options);
        let audit = Audit::new(log.clone());
        let (background, stop) = (TaskTracker::new(), CancellationToken::new());
        background.spawn(directory.clone().keep_fresh(audit.clone(), stop.clone()));
        let app = App::new(Parts {
            ledger,
            inbox: Inbox::new(log.clone()),
            audit,
            db,
            projector: projector.clone(),
            directory,
            channels: Channels::try_new(config, &own_url(address))?,
            config: Arc::new(config.clone()),
            catalogue,
            passwords: foundation.passwords.clone(),
            limits: http::limit::Limits::default(),
        });
        Ok(Self { app, meter, relay, projector, log: log.clone(), background, stop })
    }

    fn router(&self) -> axum::Router {
        let state = health::Health {
            log: self.log.clone(),
            projector: self.projector.clone(),
            meter: self.meter.clone(),
            db: self.app.db.clone(),
        };
        http::router(self.app.clone())
            .merge(self.relay.router())
            .merge(health::routes(state))
            .layer(axum::middleware::from_fn(http::security_headers))
    }

    /// Calls finish, usage is reported, leases are closed, projections see it all.
    async fn drain(&self, config: &Config, server: tokio::task::JoinHandle<std::io::Result<()>>) {
        let unfinished = self.relay.drain(config.drain).await;
        if unfinished > 0 {
            tracing::error!(unfinished, "calls did not finish in time");
        }
        if tokio::time::timeout(Duration::from_secs(5), server).await.is_err() {
            tracing::warn!("connections are still open; they end with the process");
        }
        self.meter.drain(config.drain).await;
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        if let Ok(identity) = self.log.identity().await {
            // Not needed for anything but a next start without catching up.
            self.projector.wait_for(identity.last_sequence, Duration::from_secs(5)).await;
        }
        self.projector.stop().await;
    }
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

/// What a person sees at the start.
struct Banner<'a> {
    config: &'a Config,
    access: &'a LogAccess,
    first_admin: Option<FirstAdmin>,
}

impl Banner<'_> {
    fn print(&self, address: SocketAddr) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let data = std::path::absolute(&self.config.data_dir)?;
        let durability = self.access.log.durability();
        let server = match &self.access.local {
            Some(_) => "supervised",
            None => "external",
        };
        let database = match &self.config.database_url {
            Some(url) => url.split(':').next().unwrap_or_default().to_owned(),
            None => "SQLite in the data folder".into(),
        };
        writeln!(out, "NexusRoute {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "  address     {} (API documentation: /api/docs)", self.config.public_url)?;
        writeln!(out, "  data        {}", data.display())?;
        writeln!(out, "  database    {database}")?;
        writeln!(
            out,
            "  log         nats-server {} ({server}), durability: replicas {}, sync {}",
            durability.server_version, durability.replicas, durability.sync
        )?;
        if self.config.sandbox_enabled {
            writeln!(out, "  payments    sandbox channel (development: nobody pays)")?;
        }
        match &self.first_admin {
            Some(FirstAdmin { one_time: Some(password) }) => {
                writeln!(
                    out,
                    "  operator    user {FIRST_ADMIN}, one-time password {password} (shown this once; change it)"
                )?;
            }
            Some(FirstAdmin { one_time: None }) => {
                writeln!(out, "  operator    user {FIRST_ADMIN}, with the configured password")?;
            }
            None => {}
        }
        writeln!(out, "NexusRoute is ready on http://{address}")?;
        out.flush()?;
        Ok(())
    }
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log_level)
        .with_context(|| format!("log_level: {:?} is no filter", config.log_level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.log_json {
        true => builder.json().try_init(),
        false => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))
}

/// Waits for Ctrl-C or a service manager's request; answers with its name.
async fn stop_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            // Without it Ctrl-C still works.
            Err(error) => {
                tracing::error!(%error, "SIGTERM cannot be caught");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminate => "SIGTERM",
        _ = tokio::signal::ctrl_c() => "SIGINT",
    }
}
