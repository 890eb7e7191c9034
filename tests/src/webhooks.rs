//! A receiver of webhooks: Python's own HTTP server and the code of `docs/webhooks.md`, run by `tests/clients/webhook.py`.

use crate::{place, process::Process, wait::eventually};
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running receiver, and what it was sent.
pub struct Receiver {
    _process: Process,
    folder: TempDir,
    port: u16,
}

impl Receiver {
    /// Starts one.
    pub async fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), place::free_port());
        std::fs::write(folder.path().join("secret"), "none yet").unwrap();
        let mut command = tokio::process::Command::new(place::python());
        command
            .arg(place::repository().join("tests/clients/webhook.py"))
            .arg(folder.path())
            .arg(port.to_string())
            .arg(place::repository().join("docs/webhooks.md"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let mut process = Process::start("webhook.py", &mut command);
        eventually("the receiver is ready", PATIENCE, async || {
            assert!(process.ended().is_none(), "webhook.py ended at once:\n{}", process.output());
            process.output().contains("ready").then_some(())
        })
        .await;
        Self { _process: process, folder, port }
    }

    /// Where it takes calls.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook?of=ann", self.port)
    }

    /// The secret that it checks signatures by from now on.
    pub fn knows(&self, secret: &str) {
        std::fs::write(self.folder.path().join("secret"), secret).unwrap();
    }

    /// The status that it answers from now on.
    pub fn answers(&self, status: u16) {
        std::fs::write(self.folder.path().join("answer"), status.to_string()).unwrap();
    }

    /// Every call of a type that it took, oldest first.
    pub fn calls(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("calls.jsonl")).unwrap_or_default();
        // The last line may be half written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|call| call["type"] == kind)
            .collect()
    }

    /// Waits for the n-th call of a type.
    pub async fn call(&self, kind: &str, n: usize) -> Value {
        let what = format!("call number {n} of {kind}");
        eventually(&what, PATIENCE, async || self.calls(kind).into_iter().nth(n - 1)).await
    }
}
