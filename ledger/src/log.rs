//! The log: the connection to JetStream, its streams, and the one way to append.
//!
//! For: creating and checking LEDGER, INBOX and AUDIT; appending with the expected last sequence; reading back.
//! May not touch: what events mean.
//! Claims: the binary refuses to run on a server or a stream that could lose, drop or rewrite a message; an append whose
//! outcome was unclear is looked up, never guessed and never repeated under a new id.

mod append;
mod raw;
mod read;
mod restore;
pub(crate) mod streams;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use append::Appended;
pub(crate) use append::pause;
pub use raw::{RawMessage, Scan};
pub use read::{Logged, Tail};
pub(crate) use restore::Restore;
pub use streams::{Extent, Stream};

use crate::LedgerError;
use domain::Moment;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use wire::Wire;

/// SHA-256 of the stored bytes of a message.
pub type Hash = [u8; 32];

/// The hash that chains a message to its successor on the subject.
pub fn hash(bytes: &[u8]) -> Hash {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

/// How to reach the log.
#[derive(Clone)]
pub struct LogOptions {
    /// Server addresses: `nats://host:4222`.
    pub servers: Vec<String>,
    /// A token, where the server asks for one.
    pub token: Option<String>,
    /// A user and their password, where the server knows users.
    pub login: Option<(String, String)>,
    /// A file of certificates (PEM) that are trusted besides the machine's own; with one, TLS is demanded.
    pub ca_file: Option<std::path::PathBuf>,
    /// Copies of each message: 1 on a single server, 3 in a cluster.
    pub replicas: usize,
    /// How often the server flushes to disk, where whoever configured it knows: `always`. The server itself does not say.
    pub sync: Option<String>,
    /// How long INBOX keeps raw callbacks, in days.
    pub inbox_days: u32,
    /// How long to wait for one answer of the server.
    pub timeout: Duration,
    /// How long one append is tried before its outcome is left open: long enough for a server to be started again.
    pub patience: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".into()],
            token: None,
            login: None,
            ca_file: None,
            replicas: 1,
            sync: None,
            inbox_days: 400,
            timeout: Duration::from_secs(2),
            patience: Duration::from_secs(5),
        }
    }
}

/// Which stream this is: another one of the same name has another creation time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamIdentity {
    /// Its name.
    pub stream: String,
    /// When it was created, as the server writes it; of an imported stream, when its original was.
    pub created: String,
    /// The sequence of its last message; 0 when it is empty.
    pub last_sequence: u64,
}

/// The durability in force, for the banner and `/readyz`: nobody should learn it from an incident.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Durability {
    /// The server's version.
    pub server_version: String,
    /// Copies of each message.
    pub replicas: usize,
    /// How often the server flushes: `always`, an interval, or `unknown` where nobody said.
    pub sync: String,
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    wire: Wire,
    options: LogOptions,
    /// Turns for appends that have no order of their own. A server that flushes every message takes them one by one: more
    /// of them at once only wait there, with their time running.
    unordered: tokio::sync::Semaphore,
    /// What was read of the payments in suspense.
    suspense: crate::suspense::Folds,
}

/// Unordered appends under way at once.
const UNORDERED_AT_ONCE: usize = 4;

impl Log {
    /// Connects, checks the server's version, creates the streams that are missing and compares those that exist.
    ///
    /// Errors: [`LedgerError::Unavailable`] when no server answers, [`LedgerError::Unfit`] when the server is too old or
    /// a stream differs from what a ledger needs.
    pub async fn connect(options: LogOptions) -> Result<Self, LedgerError> {
        let log = Self::attach(options).await?;
        log.prepare_streams().await?;
        Ok(log)
    }

    /// Connects and checks the server's version, but neither makes nor looks at streams: for an import, which brings them.
    ///
    /// Errors: as [`Log::connect`].
    pub async fn attach(options: LogOptions) -> Result<Self, LedgerError> {
        let mut connect = async_nats::ConnectOptions::new()
            .name("nexusroute")
            .request_timeout(Some(options.timeout))
            .reconnect_delay_callback(|attempts| {
                // Quick at first (a supervised server is back in a moment), then once a second.
                Duration::from_millis(u64::try_from(attempts.min(10)).unwrap_or(10) * 100)
            });
        if let Some(token) = &options.token {
            connect = connect.token(token.clone());
        }
        if let Some((user, password)) = &options.login {
            connect = connect.user_and_password(user.clone(), password.clone());
        }
        if let Some(path) = &options.ca_file {
            connect = connect.add_root_certificates(path.clone()).require_tls(true);
        }
        let servers = options
            .servers
            .iter()
            .map(|server| server.parse::<async_nats::ServerAddr>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| LedgerError::Unfit(format!("a NATS address is wrong: {error}")))?;
        let client = connect
            .connect(servers)
            .await
            .map_err(|error| LedgerError::Unavailable(format!("NATS: {error}")))?;
        let log = Self::on(Wire::nats(client), options);
        log.check_version()?;
        Ok(log)
    }

    pub(crate) fn on(wire: Wire, options: LogOptions) -> Self {
        let unordered = tokio::sync::Semaphore::new(UNORDERED_AT_ONCE);
        Self {
            inner: Arc::new(Inner { wire, options, unordered, suspense: crate::suspense::Folds::default() }),
        }
    }

    /// The durability in force.
    pub fn durability(&self) -> Durability {
        Durability {
            server_version: self.inner.wire.server_version(),
            replicas: self.inner.options.replicas,
            sync: self.inner.options.sync.clone().unwrap_or_else(|| "unknown".into()),
        }
    }

    /// What was read of the payments in suspense.
    pub(crate) fn folds(&self) -> &crate::suspense::Folds {
        &self.inner.suspense
    }

    /// How long one append is tried.
    pub(crate) fn patience(&self) -> Duration {
        self.inner.options.patience
    }

    /// Is the connection up at this moment?
    pub fn is_connected(&self) -> bool {
        self.inner.wire.is_connected()
    }

    /// Which stream LEDGER is, and its last sequence. Answered by the stream's leader.
    pub async fn identity(&self) -> Result<StreamIdentity, LedgerError> {
        let info = self.api("STREAM.INFO.LEDGER", &Value::Null).await?;
        let created = streams::created(&info);
        let last_sequence = info["state"]["last_seq"].as_u64().ok_or_else(|| {
            LedgerError::Unavailable("the stream's information has no last sequence".into())
        })?;
        Ok(StreamIdentity { stream: streams::LEDGER.into(), created, last_sequence })
    }

    /// The server's clock, and LEDGER's last sequence at that moment. Answered by the stream's leader.
    ///
    /// Ages are measured by this clock alone, so that no node's clock decides about another node's lease.
    pub(crate) async fn server_now(&self) -> Result<(Moment, u64), LedgerError> {
        let info = self.api("STREAM.INFO.LEDGER", &Value::Null).await?;
        let now = info["ts"].as_str().and_then(|ts| ts.parse().ok());
        now.zip(info["state"]["last_seq"].as_u64()).ok_or_else(|| {
            LedgerError::Unavailable("the stream's information has no time or no last sequence".into())
        })
    }

    /// Tells all nodes something that is lost if nobody listens.
    pub(crate) async fn tell(&self, subject: &str, payload: Vec<u8>) -> Result<(), LedgerError> {
        let told = self.inner.wire.publish(subject.to_owned(), payload.into()).await;
        told.map_err(|error| LedgerError::Unavailable(format!("{subject}: {error}")))
    }

    /// Listens to what nodes tell each other on subjects of this pattern.
    pub(crate) async fn listen(&self, pattern: &str) -> Result<wire::Heard, LedgerError> {
        let heard = self.inner.wire.subscribe(pattern.to_owned()).await;
        heard.map_err(|error| LedgerError::Unavailable(format!("{pattern}: {error}")))
    }

    /// One request to the JetStream API.
    pub(crate) async fn api(&self, verb: &str, body: &Value) -> Result<Value, LedgerError> {
        let answer = self.ask(verb, body).await?;
        match &answer["error"] {
            Value::Null => Ok(answer),
            error => Err(ApiError::of(error).into_ledger(verb)),
        }
    }

    /// One request for a thing that may not be there: `None` where the server answers with this error.
    async fn api_if_there(
        &self,
        verb: &str,
        body: &Value,
        absent: u64,
    ) -> Result<Option<Value>, LedgerError> {
        let answer = self.ask(verb, body).await?;
        match &answer["error"] {
            Value::Null => Ok(Some(answer)),
            error if error["err_code"] == absent => Ok(None),
            error => Err(ApiError::of(error).into_ledger(verb)),
        }
    }

    /// The server's answer as it is, errors included.
    async fn ask(&self, verb: &str, body: &Value) -> Result<Value, LedgerError> {
        let payload = match body {
            Value::Null => bytes::Bytes::new(),
            body => body.to_string().into(),
        };
        let answer = self
            .inner
            .wire
            .request(format!("$JS.API.{verb}"), None, payload)
            .await
            .map_err(|error| LedgerError::Unavailable(format!("JetStream does not answer: {error}")))?;
        serde_json::from_slice(&answer)
            .map_err(|error| LedgerError::Unavailable(format!("an answer of the server is no JSON: {error}")))
    }
}

/// An error answer of JetStream. Only the numbers are stable.
#[derive(Debug)]
struct ApiError {
    /// The HTTP-like status.
    code: u64,
    /// JetStream's own number.
    err_code: u64,
    description: String,
}

impl ApiError {
    const STREAM_NOT_FOUND: u64 = 10059;
    const NO_MESSAGE: u64 = 10037;
    /// "wrong last sequence", with the number.
    const WRONG_LAST_SEQUENCE: u64 = 10071;
    /// "wrong last sequence" without a number: another message for the subject is still being committed.
    const WRONG_LAST_SEQUENCE_IN_FLIGHT: u64 = 10164;

    fn of(error: &Value) -> Self {
        Self {
            code: error["code"].as_u64().unwrap_or(0),
            err_code: error["err_code"].as_u64().unwrap_or(0),
            description: error["description"].as_str().unwrap_or("no description").to_owned(),
        }
    }

    fn into_ledger(self, verb: &str) -> LedgerError {
        let text = format!("{verb}: {} ({}/{})", self.description, self.code, self.err_code);
        // 5xx and "not available" pass; anything else will not get better by itself.
        match self.code {
            500.. => LedgerError::Unavailable(text),
            _ => LedgerError::Unfit(text),
        }
    }
}
