//! A cluster: three nats-servers that keep three copies, and gateways that share the work on one database.

use crate::{
    Gateway, GatewayOptions,
    nats::messages,
    place,
    process::{self, Process},
    wait::eventually,
};
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;

/// The token that the servers ask for.
const TOKEN: &str = "aTokenOfTheTests";
/// How long a server may take to find its peers again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Three nats-servers on loopback, run with `deploy/nats-cluster.conf` but for their ports, stores and secrets.
pub struct NatsCluster {
    nodes: Vec<Node>,
    _folder: TempDir,
}

struct Node {
    name: String,
    port: u16,
    monitor: u16,
    configuration: PathBuf,
    process: Option<Process>,
}

impl NatsCluster {
    /// Starts three with empty stores and waits until they have found each other.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let example = std::fs::read_to_string(place::repository().join("deploy/nats-cluster.conf")).unwrap();
        let routes = [1, 2, 3].map(|number| (format!("nats-{number}:6222"), place::free_port()));
        let mut nodes = Vec::new();
        for (number, (_, route)) in (1..).zip(&routes) {
            let (name, port, monitor) = (format!("nats-{number}"), place::free_port(), place::free_port());
            let store = folder.path().join(&name);
            let mut ours = example
                .replace("/var/lib/nats", store.to_str().unwrap())
                .replace("0.0.0.0:4222", &format!("127.0.0.1:{port}"))
                .replace("0.0.0.0:6222", &format!("127.0.0.1:{route}"))
                .replace("127.0.0.1:8222", &format!("127.0.0.1:{monitor}"));
            for (there, port) in &routes {
                ours = ours.replace(there, &format!("127.0.0.1:{port}"));
            }
            let configuration = folder.path().join(format!("{name}.conf"));
            std::fs::write(&configuration, ours).unwrap();
            nodes.push(Node { name, port, monitor, configuration, process: None });
        }
        nodes.iter_mut().for_each(Node::start);
        let mut cluster = Self { nodes, _folder: folder };
        cluster.until_whole().await;
        cluster
    }

    /// Waits until each of them runs and says that it is well, its copies of the streams included.
    pub async fn until_whole(&mut self) {
        let http = crate::http::client();
        for node in &mut self.nodes {
            let monitor = format!("http://127.0.0.1:{}", node.monitor);
            eventually(&format!("{} has its peers", node.name), PATIENCE, async || {
                if let Some(process) = &mut node.process {
                    assert!(process.ended().is_none(), "{} ended:\n{}", node.name, process.output());
                }
                let health = http.get(format!("{monitor}/healthz")).send().await.ok()?;
                let state = http.get(format!("{monitor}/jsz")).send().await.ok()?.text().await.ok()?;
                let state: serde_json::Value = serde_json::from_str(&state).ok()?;
                let peers = state["meta_cluster"]["cluster_size"] == 3;
                (health.status() == 200 && peers).then_some(())
            })
            .await;
        }
    }

    /// Their addresses, as `nats_url` takes them.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect();
        urls.join(",")
    }

    /// A JetStream client of whichever server answers.
    pub async fn context(&self) -> async_nats::jetstream::Context {
        let servers: Vec<async_nats::ServerAddr> =
            self.url().split(',').map(|url| url.parse().unwrap()).collect();
        let options = async_nats::ConnectOptions::with_token(TOKEN.to_owned());
        async_nats::jetstream::new(options.connect(servers).await.unwrap())
    }

    /// The server that leads LEDGER.
    pub async fn leader(&self) -> String {
        let context = self.context().await;
        eventually("LEDGER has a leader", PATIENCE, async || {
            context.get_stream("LEDGER").await.ok()?.cached_info().cluster.as_ref()?.leader.clone()
        })
        .await
    }

    /// Kills a server (SIGKILL).
    pub async fn kill(&mut self, name: &str) {
        let mut process = self.node(name).process.take().expect("it runs");
        process::signal("KILL", process.id());
        process.wait().await;
    }

    /// Starts a killed server again on its store.
    pub fn bring_back(&mut self, name: &str) {
        self.node(name).start();
    }

    /// Every message of LEDGER, in order, as its leader has them.
    pub async fn ledger(&self) -> Vec<(String, Vec<u8>)> {
        messages(&self.context().await).await
    }

    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).expect("a server of this cluster")
    }
}

impl Node {
    fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = tokio::process::Command::new(place::nats_server());
        command.arg("--config").arg(&self.configuration);
        command.env("NATS_NAME", &self.name).env("NATS_TOKEN", TOKEN);
        self.process = Some(Process::start(&self.name, &mut command));
    }
}

/// What the processes of a cluster have in common.
#[derive(Clone)]
pub struct Shared {
    settings: Vec<(String, String)>,
}

impl Shared {
    /// A database and, for the log, one server or a cluster ([`Self::on`] and [`Self::with`] say which).
    pub fn new(database_url: &str) -> Self {
        // 32 bytes that seal the providers' keys for all of them.
        let key = "6e".repeat(32);
        Self { settings: Vec::new() }
            .with("NEXUSROUTE_DATABASE_URL", database_url)
            .with("NEXUSROUTE_MASTER_KEY", &key)
    }

    /// On three servers.
    #[must_use]
    pub fn on(self, nats: &NatsCluster) -> Self {
        self.with("NEXUSROUTE_NATS_URL", &nats.url())
            .with("NEXUSROUTE_NATS_TOKEN", TOKEN)
            .with("NEXUSROUTE_NATS_REPLICAS", "3")
            .with("NEXUSROUTE_NATS_SYNC", "always")
    }

    /// One more environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How to start a process with these roles, in a data folder of its own.
    pub fn options(&self, roles: &str) -> GatewayOptions {
        self.apply(GatewayOptions::default(), roles)
    }

    /// The same, for a process whose data folder is known already.
    pub fn apply(&self, options: GatewayOptions, roles: &str) -> GatewayOptions {
        let options = options.environment("NEXUSROUTE_ROLES", roles);
        self.settings.iter().fold(options, |options, (name, value)| options.environment(name, value))
    }

    /// Starts a process with these roles.
    pub async fn start(&self, roles: &str) -> Gateway {
        self.options(roles).start().await
    }
}
