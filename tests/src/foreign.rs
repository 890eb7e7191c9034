//! Programs that this project did not write: llmock (an OpenAI-compatible server) and the official OpenAI client.
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
use std::{process::Stdio, time::Duration};
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

    /// Every chat request that it served, as it arrived: its journal.
    pub async fn seen(&self) -> Vec<Value> {
        let journal = self.api.get("/_llmock/requests").await.ok();
        let requests = journal["requests"].as_array().unwrap();
        requests
            .iter()
            .filter(|it| it["path"] == "/v1/chat/completions")
            .map(|it| it["body"].clone())
            .collect()
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

/// Makes calls with the official client: `tests/clients/openai_walk.py` explains the steps and the answers.
pub async fn openai_client(gateway: &str, key: &str, steps: &Value) -> Vec<Value> {
    let mut child = tokio::process::Command::new(place::python())
        .arg(place::repository().join("tests/clients/openai_walk.py"))
        .env("OPENAI_BASE_URL", format!("{gateway}/v1"))
        .env("OPENAI_API_KEY", key)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await;
    let output = ended.expect("the OpenAI client did not end").unwrap();
    assert!(
        output.status.success(),
        "the OpenAI client failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
