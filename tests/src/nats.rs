//! A nats-server that a test starts and stops itself, as an operator with a server of their own would run it.

use crate::{place, process::Process, wait::eventually};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// A nats-server with JetStream on loopback, run with `deploy/nats.conf` but for its port and its store.
pub struct Nats {
    process: Option<Process>,
    port: u16,
    configuration: PathBuf,
    store: PathBuf,
    _folder: TempDir,
}

impl Nats {
    /// Starts one with an empty store.
    pub async fn start() -> Self {
        Self::run(None).await
    }

    /// Starts one on the store that another server left behind.
    pub async fn on_store(store: &Path) -> Self {
        Self::run(Some(store)).await
    }

    async fn run(store: Option<&Path>) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), place::free_port());
        let store = store.map_or_else(|| folder.path().join("store"), Path::to_owned);
        let example = std::fs::read_to_string(place::repository().join("deploy/nats.conf")).unwrap();
        let ours =
            example.replace("/var/lib/nats", store.to_str().unwrap()).replace(":4222", &format!(":{port}"));
        let configuration = folder.path().join("nats.conf");
        std::fs::write(&configuration, ours).unwrap();
        let mut nats = Self { process: None, port, configuration, store, _folder: folder };
        nats.come_back().await;
        nats
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it again on the same port and store.
    pub async fn come_back(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = tokio::process::Command::new(place::nats_server());
        command.arg("--config").arg(&self.configuration);
        let process = self.process.insert(Process::start("nats-server", &mut command));
        let address = format!("127.0.0.1:{}", self.port);
        eventually("the nats-server greets", Duration::from_secs(30), async || {
            assert!(process.ended().is_none(), "nats-server ended at once:\n{}", process.output());
            tokio::net::TcpStream::connect(&address).await.ok()
        })
        .await;
    }

    /// Stops it; its store stays.
    pub async fn go_away(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.stop().await;
    }

    /// Kills it (SIGKILL); its store stays as it is.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        crate::process::signal("KILL", process.id());
        process.wait().await;
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// The folder of its store.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// A JetStream client.
    pub async fn context(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }

    /// The last sequence of each of the gateway's streams.
    pub async fn positions(&self) -> Positions {
        let context = self.context().await;
        let last =
            async |name: &str| context.get_stream(name).await.unwrap().cached_info().state.last_sequence;
        Positions { ledger: last("LEDGER").await, inbox: last("INBOX").await, audit: last("AUDIT").await }
    }

    /// Every message of LEDGER, in order: subject and stored bytes.
    pub async fn ledger(&self) -> Vec<(String, Vec<u8>)> {
        messages(&self.context().await).await
    }
}

/// Every message of LEDGER, in order: subject and stored bytes. Asked of the stream's leader, for a replica may trail.
pub async fn messages(context: &async_nats::jetstream::Context) -> Vec<(String, Vec<u8>)> {
    let stream = context.get_stream("LEDGER").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        messages.push((message.subject.to_string(), message.payload.to_vec()));
    }
    messages
}

/// How far the streams have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Events.
    pub ledger: u64,
    /// Raw payment callbacks.
    pub inbox: u64,
    /// Admin and security acts.
    pub audit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_example_configuration_runs_and_its_store_survives_a_restart() {
        let mut nats = Nats::start().await;
        let stream = async_nats::jetstream::stream::Config {
            name: "LEDGER".into(),
            subjects: vec!["ledger.>".into()],
            allow_direct: true,
            ..Default::default()
        };
        nats.context().await.create_stream(stream).await.unwrap();
        nats.context().await.publish("ledger.x", "kept".into()).await.unwrap().await.unwrap();
        nats.go_away().await;
        nats.come_back().await;
        assert_eq!(nats.ledger().await, [("ledger.x".to_owned(), b"kept".to_vec())]);
        nats.go_away().await;
    }
}
