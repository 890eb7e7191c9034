//! Programs that this project did not write: servers that speak providers' protocols (llmock, aimock), and the official
//! clients of the providers.
//!
//! What is relied on, seen with llmock 0.2.2: it needs no key, answers for any model name, and counts tokens as a
//! quarter of the characters of prompt and answer; the same model and prompt give the same answer and counts, in every
//! process, streamed or not; a stream carries usage only when asked by `stream_options.include_usage`, then as a last
//! chunk without choices, and `"usage": null` on the others.

use crate::{
    http::{Api, credits},
    place,
    process::Process,
    wait::eventually,
};
use domain::Credits;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::{fmt, process::Stdio, time::Duration};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

/// A running llmock.
pub struct Llmock {
    _process: Process,
    api: Api,
}

impl Llmock {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let port = place::free_port().to_string();
        let mut command = tokio::process::Command::new(place::python());
        command.args([
            "-m",
            "llmock.cli",
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--log-level",
            "warning",
        ]);
        let mut process = Process::start("llmock", &mut command);
        let api = Api::nobody(&format!("http://127.0.0.1:{port}"));
        eventually("llmock answers", Duration::from_secs(60), async || {
            assert!(process.ended().is_none(), "llmock ended at once:\n{}", process.output());
            api.try_send(reqwest::Method::GET, "/v1/models", None)
                .await
                .ok()
                .filter(|answer| answer.status == 200)
        })
        .await;
        Self { _process: process, api }
    }

    /// Its base URL for OpenAI clients.
    pub fn url(&self) -> String {
        format!("{}/v1", self.api.base())
    }

    /// Asks it directly, past the gateway: the text and the counts that it gives for this model and prompt.
    pub async fn own_answer(&self, model: &str, prompt: &str) -> OwnAnswer {
        let body = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
        let answer = self.api.post("/v1/chat/completions", &body).await.ok();
        OwnAnswer {
            text: answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned(),
            input: answer["usage"]["prompt_tokens"].as_u64().unwrap(),
            output: answer["usage"]["completion_tokens"].as_u64().unwrap(),
        }
    }

    /// Its base URL for a provider's format.
    pub fn url_as(&self, format: &str) -> String {
        match format {
            "claude" => format!("{}/anthropic", self.api.base()),
            "gemini" => format!("{}/gemini", self.api.base()),
            _ => self.url(),
        }
    }

    /// Calls it past the gateway.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The bodies of all requests that it served at one path, as they arrived: its journal.
    pub async fn seen_at(&self, path: &str) -> Vec<Value> {
        let journal = self.api.get("/_llmock/requests").await.ok();
        let requests = journal["requests"].as_array().unwrap();
        requests.iter().filter(|it| it["path"] == path).map(|it| it["body"].clone()).collect()
    }

    /// Every chat request that it served, as it arrived: its journal.
    pub async fn seen(&self) -> Vec<Value> {
        self.seen_at("/v1/chat/completions").await
    }
}

/// What llmock says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAnswer {
    /// The text.
    pub text: String,
    /// `prompt_tokens`.
    pub input: u64,
    /// `completion_tokens`.
    pub output: u64,
}

impl OwnAnswer {
    /// What these tokens cost at prices per million tokens, by the textbook; fails where that is no whole nano-credit.
    pub fn price(&self, input: &str, output: &str) -> Credits {
        let price = |text: &str| text.parse::<Decimal>().unwrap();
        let sum = Decimal::from(self.input) * price(input) + Decimal::from(self.output) * price(output);
        credits(&json!((sum / Decimal::from(1_000_000)).normalize().to_string()))
    }
}

/// A running aimock, in the words of its package `@copilotkit/aimock`: it answers what its fixtures say.
pub struct Aimock {
    _process: Process,
    api: Api,
    _fixtures: NamedTempFile,
}

impl Aimock {
    /// Starts it on a free port with these fixtures.
    pub async fn start(fixtures: &Value) -> Self {
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        std::fs::write(file.path(), json!({"fixtures": fixtures}).to_string()).unwrap();
        let port = place::free_port().to_string();
        let mut command = tokio::process::Command::new("node");
        command
            .arg(place::npm("@copilotkit/aimock/dist/cli.js"))
            .args(["--port", &port, "--log-level", "warn", "--chunk-size", "6", "--validate-on-load"])
            .arg("--fixtures")
            .arg(file.path());
        let mut process = Process::start("aimock", &mut command);
        let api = Api::nobody(&format!("http://127.0.0.1:{port}"));
        eventually("aimock answers", Duration::from_secs(60), async || {
            assert!(process.ended().is_none(), "aimock ended at once:\n{}", process.output());
            let answer = api.try_send(reqwest::Method::GET, "/__aimock/health", None).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        Self { _process: process, api, _fixtures: file }
    }

    /// Its base URL for a provider's format; the format says which of its paths follow.
    pub fn url(&self, format: &str) -> String {
        match format {
            "openai" => format!("{}/v1", self.api.base()),
            _ => self.api.base().to_owned(),
        }
    }

    /// Calls it past the gateway.
    pub fn api(&self) -> &Api {
        &self.api
    }
}

/// The protocol of an official client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// `openai`.
    OpenAi,
    /// `anthropic`, `@anthropic-ai/sdk`.
    Anthropic,
    /// `google-genai`, `@google/genai`.
    Google,
}

/// An official client of a provider's own making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Official {
    /// Its protocol.
    pub speaks: Speaks,
    /// From npm; else from PyPI.
    pub is_node: bool,
}

impl fmt::Display for Official {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} from {}", self.speaks, if self.is_node { "npm" } else { "PyPI" })
    }
}

impl Official {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self { speaks: Speaks::OpenAi, is_node: false },
        Self { speaks: Speaks::OpenAi, is_node: true },
        Self { speaks: Speaks::Anthropic, is_node: false },
        Self { speaks: Speaks::Anthropic, is_node: true },
        Self { speaks: Speaks::Google, is_node: false },
        Self { speaks: Speaks::Google, is_node: true },
    ];

    /// Makes calls with it: `tests/clients/walk.py` explains the steps and the answers.
    pub async fn walk(self, gateway: &str, key: &str, steps: &Value) -> Vec<Value> {
        let (name, address, key_name) = match self.speaks {
            Speaks::OpenAi => ("openai", ("OPENAI_BASE_URL", format!("{gateway}/v1")), "OPENAI_API_KEY"),
            Speaks::Anthropic => {
                ("anthropic", ("ANTHROPIC_BASE_URL", gateway.to_owned()), "ANTHROPIC_API_KEY")
            }
            Speaks::Google => ("google", ("GOOGLE_GEMINI_BASE_URL", gateway.to_owned()), "GEMINI_API_KEY"),
        };
        let (program, script) =
            if self.is_node { ("node".into(), "walk.mjs") } else { (place::python(), "walk.py") };
        let mut child = tokio::process::Command::new(program)
            .arg(place::repository().join("tests/clients").join(script))
            .arg(name)
            .env(address.0, address.1)
            .env(key_name, key)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await;
        let output = ended.unwrap_or_else(|_| panic!("{self} did not end")).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{self} failed:\n{said}");
        let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answers.len(), steps.as_array().unwrap().len(), "{self}:\n{said}");
        answers
    }
}
