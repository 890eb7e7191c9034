//! Fuzzing: schemathesis, which this project did not write, makes requests of every kind from the API's own document.
//!
//! Claims: whatever is asked, there is no 5xx; an answer has a status, a content type and a shape that the document tells of.
//! `make test` sends the same few thousand requests each time, `make fuzz` others for ten minutes.

use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use system_tests::{GatewayOptions, gateway::ADMIN_PASSWORD, people::text, place};

/// Where a request would end the session that asks, or would call an address that the fuzzer made up.
const SPARED: &str = "logout|/password|/sessions/|/providers/\\{id\\}/test";
/// What is judged of an answer.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// A guard against a run that hangs.
const LIMIT: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_the_api_answers_as_its_document_says() {
    // The operator logs in once for all of it.
    let options = GatewayOptions::default().environment("NEXUSROUTE_SECURITY_CONFIRMATION_MINUTES", "1440");
    let gateway = options.start().await;
    let login = json!({"login": "admin", "password": ADMIN_PASSWORD});
    let session = gateway.nobody().post("/api/user/login", &login).await.ok();
    let token = text(&session["access_token"]);
    let seconds: Option<u64> = std::env::var("FUZZ_SECONDS").ok().map(|it| it.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(place::python());
    command.args(["-m", "schemathesis.cli", "run", &format!("{}/api/openapi.json", gateway.url())]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    command.args(["--checks", CHECKS, "--exclude-path-regex", SPARED, "--continue-on-failure", "--no-color"]);
    command.args(["--suppress-health-check", "all"]);
    match seconds {
        Some(seconds) => command.args(["--max-time", &seconds.to_string(), "--generation-database", "none"]),
        None => command.args(["--phases", "examples,coverage", "--generation-deterministic"]),
    };
    let run = command.current_dir(&folder).stdin(Stdio::null()).kill_on_drop(true).output();
    let limit = LIMIT + Duration::from_secs(seconds.unwrap_or(0));
    let run = tokio::time::timeout(limit, run).await.expect("the fuzzer did not end").unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}\n{}", String::from_utf8_lossy(&run.stderr));
    if seconds.is_some() {
        println!("{told}");
    }
    gateway.stop().await;
}
