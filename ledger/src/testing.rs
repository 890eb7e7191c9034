//! Support for this crate's tests: a nats-server for each test, and short ways to say what tests say often.
//!
//! The server's binary is what NEXUSROUTE_NATS_SERVER names, else `.deps/bin/nats-server` in this folder or above it, else
//! `nats-server` on PATH.

use crate::{Ledger, LocalServer, LocalServerOptions, Log, LogOptions, Logged, NoSnapshots, Subject};
use domain::account::event::{GrantSource, Scope};
use domain::usage::Usage;
use domain::{
    AccountEvent, AccountId, Actor, ActorKind, Command, Credits, Event, EventId, GrantId, KeyId, Label,
    LeaseId, Moment, Outcome, PriceVersionId, RequestId, Tokens, UnitPrices, UsageSource,
};
use rust_decimal::Decimal;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

/// Nothing in these tests takes this long unless it never happens.
const FOREVER: Duration = Duration::from_secs(20);

/// A running nats-server in a folder of its own. Dropping it ends the one and removes the other.
pub(crate) struct Server {
    local: Option<LocalServer>,
    folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalServer::start(server_options(folder.path())).await.unwrap();
        Self { local: Some(local), folder }
    }

    pub(crate) fn local(&self) -> &LocalServer {
        self.local.as_ref().expect("the server was stopped")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn options(&self) -> LogOptions {
        LogOptions {
            servers: vec![self.local().url().to_owned()],
            token: Some(self.local().token().to_owned()),
            ..LogOptions::default()
        }
    }

    /// A connection of its own, as another process would have.
    pub(crate) async fn log(&self) -> Log {
        Log::connect(self.options()).await.unwrap()
    }

    /// A log that gives up sooner than in production, so that a test need not wait long for it.
    pub(crate) async fn impatient_log(&self, timeout: Duration, patience: Duration) -> Log {
        // The server takes its time to make streams; looking at them is quick, but on a busy machine not always.
        self.log().await;
        let limit = Instant::now() + FOREVER;
        loop {
            match Log::connect(LogOptions { timeout, patience, ..self.options() }).await {
                Ok(log) => return log,
                Err(error) => assert!(Instant::now() < limit, "{error}"),
            }
        }
    }

    /// A ledger with a cache and a connection of its own, as another process would have.
    pub(crate) async fn ledger(&self) -> Ledger {
        Ledger::new(self.log().await, Arc::new(NoSnapshots))
    }

    /// A client that keeps no rules.
    pub(crate) async fn raw(&self) -> Raw {
        let options = async_nats::ConnectOptions::new().token(self.local().token().to_owned());
        Raw { client: options.connect(self.local().url()).await.unwrap() }
    }

    /// Kills the server; its supervisor starts another.
    pub(crate) fn kill(&self) {
        kill(self.local().pid().expect("the server runs"));
    }

    /// Stops the server for good.
    pub(crate) async fn stop(&mut self) {
        self.local.take().expect("the server was stopped before").stop().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(local) = self.local.take() else { return };
        let pid = local.pid();
        drop(local);
        if let Some(pid) = pid {
            kill(pid);
            // Its files can be removed once it is gone.
            let until = Instant::now() + Duration::from_secs(2);
            while is_running(pid) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

pub(crate) fn server_options(folder: &Path) -> LocalServerOptions {
    LocalServerOptions { binary: binary(), folder: folder.to_owned(), start_limit: Duration::from_secs(20) }
}

pub(crate) fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("NEXUSROUTE_NATS_SERVER") {
        return named.into();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed =
        here.ancestors().map(|folder| folder.join(".deps/bin/nats-server")).find(|file| file.exists());
    installed.unwrap_or_else(|| "nats-server".into())
}

pub(crate) fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Stops a process in the middle of whatever it does, with all of its threads.
pub(crate) fn freeze(pid: u32) {
    signal(pid, Signal::STOP);
    let frozen = || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
        threads.map_while(Result::ok).all(|thread| state(&thread.path()) == Some('T'))
    };
    while !frozen() {
        std::thread::yield_now();
    }
}

pub(crate) fn thaw(pid: u32) {
    signal(pid, Signal::CONT);
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may be gone already.
    kill_process(pid, signal).ok();
}

/// Not gone, and not a zombie that waits for its parent.
pub(crate) fn is_running(pid: u32) -> bool {
    state(Path::new(&format!("/proc/{pid}"))).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The kernel's letter for what a process or a thread does.
fn state(proc: &Path) -> Option<char> {
    std::fs::read_to_string(proc.join("stat")).ok()?.rsplit_once(')')?.1.trim_start().chars().next()
}

/// A client that keeps no rules.
pub(crate) struct Raw {
    client: async_nats::Client,
}

impl Raw {
    /// Publishes to a stream without any expectation; answers with the server's acknowledgement.
    pub(crate) async fn publish(&self, subject: &str, id: &str, payload: &[u8]) -> Value {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let request = async_nats::Request::new().headers(headers).payload(payload.to_vec().into());
        let answer = self.client.send_request(subject.to_owned(), request).await.unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// Publishes and expects it to be stored; answers with its sequence.
    pub(crate) async fn put(&self, subject: &Subject, payload: &[u8]) -> u64 {
        let answer = self.publish(&subject.to_string(), &Uuid::now_v7().to_string(), payload).await;
        answer["seq"].as_u64().unwrap_or_else(|| panic!("not stored: {answer}"))
    }

    /// One request to the JetStream API; the answer as it is.
    pub(crate) async fn api(&self, verb: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.client.request(format!("$JS.API.{verb}"), body.into()).await.unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// The stored bytes of a LEDGER message.
    pub(crate) async fn bytes(&self, sequence: u64) -> Vec<u8> {
        use base64::Engine;
        let answer = self.api("STREAM.MSG.GET.LEDGER", &json!({ "seq": sequence })).await;
        base64::engine::general_purpose::STANDARD.decode(answer["message"]["data"].as_str().unwrap()).unwrap()
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + FOREVER;
    while !condition().await {
        assert!(Instant::now() < limit, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

pub(crate) fn sum(all: impl IntoIterator<Item = Credits>) -> Credits {
    Credits::checked_sum(all).unwrap()
}

pub(crate) fn minus(a: Credits, b: Credits) -> Credits {
    a.checked_sub(b).unwrap()
}

pub(crate) fn label(text: &str) -> Label {
    text.parse().unwrap()
}

pub(crate) fn new_account() -> AccountId {
    AccountId::from_uuid(Uuid::now_v7())
}

pub(crate) fn new_event() -> EventId {
    EventId::from_uuid(Uuid::now_v7())
}

pub(crate) fn new_lease() -> LeaseId {
    LeaseId::from_uuid(Uuid::now_v7())
}

pub(crate) fn key_scope() -> Scope {
    Scope::Key { key: KeyId::from_uuid(Uuid::now_v7()), period: label("total") }
}

pub(crate) fn now() -> Moment {
    chrono::Utc::now().into()
}

pub(crate) fn tester() -> Actor {
    Actor { kind: ActorKind::System, id: label("test") }
}

/// A grant under an id of its own.
pub(crate) fn grant(amount: &str) -> Command {
    Command::GrantCredit {
        grant: GrantId::from_uuid(Uuid::now_v7()),
        source: GrantSource::Admin,
        credits: credits(amount),
        reason: None,
    }
}

/// A new account that was given credits.
pub(crate) async fn funded(ledger: &Ledger, amount: &str) -> AccountId {
    let account = new_account();
    ledger.execute(account, grant(amount), tester(), None).await.unwrap();
    account
}

/// All events of an account, after checking what every account's subject promises: versions 1, 2, 3… and the chain.
pub(crate) async fn chained(log: &Log, account: AccountId) -> Vec<Logged> {
    let all = log.events_behind(&Subject::Account(account), 0).await.unwrap();
    let mut before = None;
    for (logged, version) in all.iter().zip(1..) {
        assert_eq!(logged.recorded.version, version);
        assert_eq!(logged.prev, before);
        before = Some(logged.hash);
    }
    all
}

/// What happened to an account.
pub(crate) async fn story(log: &Log, account: AccountId) -> Vec<AccountEvent> {
    let events = chained(log, account).await.into_iter().map(|logged| logged.recorded.event);
    events
        .map(|event| match event {
            Event::Account(_, event) => event,
            other => panic!("on an account's subject: {other:?}"),
        })
        .collect()
}

/// A call that cost this much.
pub(crate) fn usage(charge: Credits) -> Usage {
    let none = Decimal::ZERO;
    Usage {
        request: RequestId::from_uuid(Uuid::now_v7()),
        at: now(),
        key: KeyId::from_uuid(Uuid::nil()),
        model: label("model"),
        provider: label("provider"),
        upstream_model: label("model"),
        endpoint: label("/v1/chat/completions"),
        tokens: Tokens { input: 10, output: 5, ..Tokens::default() },
        price_version: PriceVersionId::from_uuid(Uuid::nil()),
        unit_prices: UnitPrices {
            input: none,
            cache_read: none,
            cache_write: none,
            cache_write_1h: none,
            output: none,
            reasoning: none,
            image_input: none,
            image_output: none,
            audio_input: none,
            audio_output: none,
            // The charge follows from the record, as a real one does.
            per_call: Decimal::new(charge.nano(), 9),
            per_million_characters: None,
            per_audio_minute: None,
            per_image: None,
        },
        multiplier: Decimal::ONE,
        charge,
        cost: Credits::ZERO,
        cost_prices: None,
        outcome: Outcome::Completed,
        usage_source: UsageSource::Provider,
        stream: false,
        status: 200,
        ttft_ms: None,
        duration_ms: 1,
        attempts: Vec::new(),
    }
}

/// Projections that never get anywhere.
pub(crate) struct Unprojected;

impl crate::Projected for Unprojected {
    fn position(&self) -> futures_util::future::BoxFuture<'_, Result<u64, crate::LedgerError>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn stale_leases(
        &self,
        _now: Moment,
        _most: usize,
    ) -> futures_util::future::BoxFuture<'_, Result<crate::StaleLeases, crate::LedgerError>> {
        Box::pin(std::future::ready(Ok(crate::StaleLeases::default())))
    }
}
