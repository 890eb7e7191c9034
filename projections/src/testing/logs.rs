//! A log on a real server, and messages of a [`super::TestLog`] on it.

use super::TestLog;
use crate::engine::{Projector, ProjectorHandle, ProjectorOptions};
use crate::{Database, engine};
use domain::Recorded;
use ledger::codec::{Draft, encode, subject_of};
use ledger::{Appended, LocalServer, LocalServerOptions, Log, LogOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Nothing here takes this long unless it never happens.
pub(crate) const FOREVER: Duration = Duration::from_secs(30);

/// A server in a folder of its own.
pub(crate) struct LogServer {
    pub(crate) local: LocalServer,
    pub(crate) log: Log,
    last_on: BTreeMap<String, u64>,
    _folder: TempDir,
}

impl LogServer {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (local, log) = serve(folder.path()).await;
        Self { local, log, last_on: BTreeMap::new(), _folder: folder }
    }

    /// Appends those messages of a log that are not there yet; answers with the last position.
    pub(crate) async fn pour(&mut self, log: &TestLog) -> u64 {
        self.pour_up_to(log, log.messages.len()).await
    }

    /// The same, up to a number of messages.
    pub(crate) async fn pour_up_to(&mut self, log: &TestLog, end: usize) -> u64 {
        let begin = usize::try_from(self.log.identity().await.unwrap().last_sequence).unwrap();
        for logged in &log.messages[begin.min(end)..end] {
            let Recorded { id, version, at, actor, key, event, .. } = &logged.recorded;
            let draft =
                Draft { id: *id, version: *version, at: *at, actor, key: key.as_ref(), prev: None, event };
            let subject = subject_of(event);
            let expected = self.last_on.get(&subject.to_string()).copied().unwrap_or(0);
            let stored = self.log.append(&subject, expected, *id, encode(&draft).unwrap()).await.unwrap();
            assert_eq!(stored, Appended::Stored { sequence: logged.recorded.sequence });
            self.last_on.insert(subject.to_string(), logged.recorded.sequence);
        }
        u64::try_from(end).unwrap()
    }

    /// Starts a projector in the zone that tests apply in.
    pub(crate) fn project(&self, db: &Database) -> ProjectorHandle {
        let options =
            ProjectorOptions { max_batch: 7, time_zone: super::zone(8), ..ProjectorOptions::default() };
        Projector::start_aside(db, self.log.clone(), options).unwrap()
    }

    /// Applies all there is.
    pub(crate) async fn apply_all(&self, db: &Database) {
        let projector: engine::ProjectorHandle = self.project(db);
        let last = self.log.identity().await.unwrap().last_sequence;
        assert!(projector.wait_for(last, FOREVER).await, "{:?}", projector.status());
        projector.stop().await;
    }
}

/// Starts a server in a folder, and connects to it.
pub(crate) async fn serve(folder: &Path) -> (LocalServer, Log) {
    let folder = folder.to_owned();
    let options = LocalServerOptions { binary: binary(), folder, start_limit: Duration::from_secs(20) };
    let local = LocalServer::start(options).await.unwrap();
    let options = LogOptions {
        servers: vec![local.url().to_owned()],
        token: Some(local.token().to_owned()),
        patience: FOREVER, // a killed server is started again
        ..LogOptions::default()
    };
    let log = Log::connect(options).await.unwrap();
    (local, log)
}

fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("NEXUSROUTE_NATS_SERVER") {
        return named.into();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed =
        here.ancestors().map(|folder| folder.join(".deps/bin/nats-server")).find(|file| file.exists());
    installed.unwrap_or_else(|| "nats-server".into())
}
