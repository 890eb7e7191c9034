//! The log that a process works on: configured servers, or a supervised one in the data folder.

use super::{lock, make_data_folder};
use crate::config::Config;
use anyhow::Context;
use ledger::{LedgerError, LocalServer, LocalServerOptions, Log, LogOptions};
use std::path::PathBuf;
use std::time::Duration;

/// How long a start waits for servers that do not answer, and how long between two tries.
const START_PATIENCE: Duration = Duration::from_secs(60);
const START_PAUSE: Duration = Duration::from_millis(500);

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

    /// Is the server under it ours?
    pub(super) fn is_supervised(&self) -> bool {
        self.local.is_some()
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

/// The log of a gateway that starts. Servers that do not answer yet are waited for: after a power cut, or with several
/// processes that start at once, a cluster needs some seconds to agree on who leads.
pub(super) async fn awaited_log(config: &Config) -> anyhow::Result<LogAccess> {
    let limit = tokio::time::Instant::now() + START_PATIENCE;
    loop {
        let error = match own_log(config, Streams::Prepared).await {
            Ok(access) => return Ok(access),
            Err(error) => error,
        };
        let passes = matches!(error.downcast_ref(), Some(LedgerError::Unavailable(_)));
        // A server of our own was waited for already.
        if !passes || config.nats_url.is_none() || tokio::time::Instant::now() > limit {
            return Err(error);
        }
        tracing::warn!(%error, "the log does not answer yet; trying again");
        tokio::time::sleep(START_PAUSE).await;
    }
}

/// The log of a gateway: the configured servers, or a supervised one in the data folder.
async fn own_log(config: &Config, streams: Streams) -> anyhow::Result<LogAccess> {
    if let Some(servers) = &config.nats_url {
        let options = LogOptions {
            servers: servers.clone(),
            token: config.nats_token.clone(),
            login: config
                .nats_login
                .as_ref()
                .map(|(user, password)| (user.clone(), password.expose().to_owned())),
            ca_file: config.nats_ca_file.clone(),
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
