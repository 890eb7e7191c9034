//! Wiring: everything is built here, outward from the configuration, and taken down in the opposite order.
//!
//! For: the start (data folder, database, log, what the roles ask for, doors), the banner, and the drain.
//! Claims: two gateways never share a data folder; the gateway says which durability is in force before it serves; a stop
//! lets calls finish, gives leases back and has every usage record on the log before the log's server stops.

mod banner;
mod door;
mod foundation;
mod log;
mod running;

pub use foundation::{Foundation, one_time_password, open_database};
pub(crate) use foundation::{command_line, database_url};
pub use log::{LogAccess, log_for_import, log_of};
pub use running::time_zone;

use crate::config::Config;
use crate::metrics::LogTally;
use crate::traces;
use anyhow::{Context, bail};
use axum::serve::ListenerExt;
use banner::Banner;
use running::Running;
use std::fs::File;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Runs the gateway until it is told to stop.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let (logged, traces) = start_logging(&config)?;
    make_data_folder(&config)?;
    let _lock = lock(&config.data_dir)?;
    // Before anything else is started: a port in use is the most common reason to fail.
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let db = foundation::migrated(&config).await?;
    // A projector alone needs no people, no keys and no master key.
    let serves = config.roles.api || config.roles.relay;
    let foundation = if serves { Some(Foundation::on(&config, db.clone()).await?) } else { None };
    let first_admin = match &foundation {
        Some(foundation) if config.roles.api => foundation.first_admin(&config).await?,
        Some(_) | None => None,
    };
    let access = log::awaited_log(&config).await?;
    let address = listener.local_addr()?;
    let running = Running::start(&config, &db, foundation.as_ref(), access.log(), address, logged).await?;
    if let Some(sender) = traces {
        running.sends(sender);
    }
    let banner = Banner { config: &config, access: &access, first_admin };
    banner.print(address)?;

    // Small answers and stream events go out at once instead of waiting for more.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let stop = CancellationToken::new();
    // Whoever finds it ready may tell it to stop, and calls in flight finish then.
    let mut signals = StopSignals::caught()?;
    let service = running.door();
    let mut server = tokio::spawn(
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned()).into_future(),
    );
    let failed = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping: calls finish first");
            None
        }
        ended = &mut server => Some(ended),
    };
    stop.cancel();
    tokio::select! {
        () = running.drain(&config, server) => {}
        signal = signals.next() => tracing::warn!(signal, "told twice: stopping without waiting any longer"),
    }
    access.end().await;
    match failed {
        None => Ok(()),
        Some(ended) => bail!("the HTTP server ended by itself: {ended:?}"),
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

/// Starts the log; answers who counts what it says loudly, and who sends traces where they are wanted.
fn start_logging(config: &Config) -> anyhow::Result<(LogTally, Option<traces::Sender>)> {
    let filter = || {
        tracing_subscriber::EnvFilter::try_new(&config.log_level)
            .with_context(|| format!("log_level: {:?} is no filter", config.log_level))
    };
    let tally = LogTally::default();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_json {
        true => Box::new(lines.json().flatten_event(true)),
        false => Box::new(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))),
    };
    let (started, sender) = match &config.traces {
        None => {
            // One filter before all: what it leaves out costs nothing.
            let subscriber = tracing_subscriber::registry().with(lines).with(filter()?).with(tally.clone());
            (subscriber.try_init(), None)
        }
        Some(wanted) => {
            let (made, sender) =
                traces::start(wanted, &config.roles.to_string()).context("no HTTP client")?;
            // Spans are made of lines that the log may not show.
            let subscriber = tracing_subscriber::registry()
                .with(lines.with_filter(filter()?))
                .with(tally.clone().with_filter(filter()?))
                .with(made.with_filter(traces::lines()));
            (subscriber.try_init(), Some(sender))
        }
    };
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))?;
    Ok((tally, sender))
}

/// Ctrl-C and a service manager's request to stop.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Catches them from now on: before this they end the process at once.
    fn caught() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
        let interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits for the next one; answers with its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
