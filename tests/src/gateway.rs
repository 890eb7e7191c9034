//! The gateway under test: the real binary in a data folder of its own.

use crate::{
    auditor::{self, Books},
    http::Api,
    nats::Nats,
    place,
    process::{self, Process},
    wait::eventually,
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// The admin's password in tests that do not ask for a generated one.
pub const ADMIN_PASSWORD: &str = "an admin's long password";

/// How to start a gateway.
#[derive(Clone)]
pub struct GatewayOptions {
    folder: Arc<TempDir>,
    admin_password: Option<String>,
    environment: Vec<(String, String)>,
    launcher: Vec<String>,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            admin_password: Some(ADMIN_PASSWORD.to_owned()),
            environment: Vec::new(),
            launcher: Vec::new(),
        }
    }
}

impl GatewayOptions {
    /// Uses a server that the test runs, instead of the gateway's own child.
    #[must_use]
    pub fn nats(self, nats: &Nats) -> Self {
        self.environment("NEXUSROUTE_NATS_URL", &nats.url())
    }

    /// Lets the gateway make the admin's first password up.
    #[must_use]
    pub fn generated_admin_password(mut self) -> Self {
        self.admin_password = None;
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The environment variables that were added.
    pub fn variables(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Starts it through another program, which gets the binary's path and arguments after its own.
    #[must_use]
    pub fn through(mut self, launcher: &[&str]) -> Self {
        self.launcher = launcher.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The data folder. Starting again with the same options is a second start on it.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: impl AsRef<OsStr>) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NEXUSROUTE_")) {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder.path())
            .env("NEXUSROUTE_DATA_DIR", self.data())
            .env("NEXUSROUTE_NATS_SERVER", place::nats_server())
            // The fake providers listen on loopback.
            .env("NEXUSROUTE_ALLOW_PRIVATE_PROVIDERS", "true");
        if let Some(password) = &self.admin_password {
            command.env("NEXUSROUTE_ADMIN_PASSWORD", password);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Gateway {
        let mut gateway = self.launch();
        assert!(
            gateway.gets_ready().await,
            "nexusroute ended before it was ready:\n{}",
            gateway.process.output()
        );
        gateway
    }

    /// Starts it, and does not wait.
    pub fn launch(&self) -> Gateway {
        let listen = format!("127.0.0.1:{}", place::free_port());
        let mut command = match self.launcher.split_first() {
            None => self.command(place::nexusroute()),
            Some((program, arguments)) => {
                let mut command = self.command(program);
                command.args(arguments).arg(place::nexusroute());
                command
            }
        };
        command.arg("serve").env("NEXUSROUTE_LISTEN", &listen);
        let process = Process::start("nexusroute", &mut command);
        Gateway { options: self.clone(), process, url: format!("http://{listen}") }
    }

    /// Runs another command of the binary (`ledger tail`, …) on the same data and waits for its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let command = &mut self.command(place::nexusroute());
        let run = command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true).output();
        // A guard against one that hangs: the log of a long run takes a busy machine minutes to verify.
        let limit = Duration::from_secs(300);
        tokio::time::timeout(limit, run)
            .await
            .unwrap_or_else(|_| panic!("{arguments:?} did not end"))
            .unwrap()
    }

    /// Runs shell commands with this gateway's environment and some variables more; answers all that they print, and
    /// fails the test when one of them fails.
    pub async fn shell(&self, script: &str, variables: &[(&str, &str)]) -> String {
        let mut command = self.command("bash");
        command.args(["-euo", "pipefail", "-c", script]).envs(variables.iter().copied());
        let run = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(120), run)
            .await
            .expect("the script did not end")
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "the script ended with {}:\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Reads the log that a stopped gateway left in its data folder, message by message, and judges it.
    pub async fn audit(&self) -> Books {
        let mut nats = Nats::on_store(&self.data().join("nats/store")).await;
        let books = auditor::audit(&nats.ledger().await);
        nats.go_away().await;
        books
    }
}

/// A running gateway.
pub struct Gateway {
    options: GatewayOptions,
    process: Process,
    url: String,
}

impl Gateway {
    /// Starts one with the embedded default: SQLite and a nats-server child of its own.
    pub async fn start() -> Self {
        GatewayOptions::default().start().await
    }

    /// What it was started with.
    pub fn options(&self) -> &GatewayOptions {
        &self.options
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A caller without credentials.
    pub fn nobody(&self) -> Api {
        Api::nobody(&self.url)
    }

    /// Everything it printed so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process id of its nats-server child, while there is one.
    pub fn nats_id(&self) -> Option<u32> {
        nats_child(&self.options.data())
    }

    /// Runs another command of the binary and answers what it printed; fails the test when the command fails.
    pub async fn command(&self, arguments: &[&str]) -> String {
        let output = self.options.run(arguments).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Waits until it is ready; false: it ended before.
    pub async fn gets_ready(&mut self) -> bool {
        let api = self.nobody();
        eventually("the gateway is ready", Duration::from_secs(60), async || {
            if self.process.ended().is_some() {
                return Some(false);
            }
            let answer = api.try_send(reqwest::Method::GET, "/readyz", None).await.ok()?;
            (answer.status == 200).then_some(true)
        })
        .await
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Kills it (SIGKILL), and it alone, and waits for its end.
    pub async fn kill(mut self) {
        if self.process.ended().is_none() {
            process::signal("KILL", self.process.id());
        }
        self.process.wait().await;
    }

    /// Sends SIGTERM and waits for the end; fails the test unless it ends well.
    pub async fn stop(mut self) {
        let status = self.process.stop().await;
        assert!(status.success(), "the gateway ended with {status}:\n{}", self.process.output());
    }

    /// Sends a signal to its whole process group, as a terminal does.
    pub fn signal_group(&self, name: &str) {
        process::signal_group(name, self.process.id());
    }

    /// Waits for its end.
    pub async fn wait(mut self) -> ExitStatus {
        self.process.wait().await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The gateway itself is killed with its handle; a child that it could not stop any more is ended here, once it
        // is certain that the id is still that child's.
        if self.process.ended().is_none()
            && let Some(id) = self.nats_id()
        {
            process::signal("KILL", id);
        }
    }
}

fn nats_child(data: &Path) -> Option<u32> {
    let folder = data.join("nats");
    let id = std::fs::read_to_string(folder.join("nats.pid")).ok()?.trim().parse().ok()?;
    process::runs_with(id, &folder).then_some(id)
}
