//! Limits that all nodes share, in Redis.
//!
//! For: one script call per admission, one per call that ended; what happens while Redis is away.
//! Claims: an admission is one step in Redis, by Redis's clock, so neither nodes that race nor clocks that differ let
//! through more; a place that was taken is given back also when its caller left before the answer came, or when the answer
//! did not come in time; the place of a call whose node died frees itself after the longest call; waiting for Redis is
//! bounded by [`SharedOptions::timeout`], and while it is away only one call in [`AGAIN`] waits for it at all.

use super::bucket::Standing;
use super::{Limit, Refusal, Shown, Status, Subject, What, bucket};
use arc_swap::ArcSwap;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{RedisError, RedisResult, Script, TlsCertificates};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

/// While Redis is away, it is tried again so often.
const AGAIN: Duration = Duration::from_millis(500);
/// How many ended calls may wait until Redis is told of them.
const ENDS_WAITING: usize = 16_384;
/// Of how many ended calls Redis is told at once.
const ENDS_AT_ONCE: usize = 64;
/// By how much a call's place outlasts the longest call.
const BEYOND_THE_LONGEST: Duration = Duration::from_secs(60);

/// Which Redis, and how it is used.
#[derive(Clone)]
pub struct SharedOptions {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: String,
    /// Certificates (PEM) that are trusted instead of the machine's own. Only for `rediss://`.
    pub ca: Option<Vec<u8>>,
    /// How long a call may take at all: a place is held for at most this and a minute.
    pub call_limit: Duration,
    /// How long an answer of Redis is waited for before the call is judged by this node's own counts.
    pub timeout: Duration,
}

impl SharedOptions {
    /// The usual ones.
    pub fn new(url: impl Into<String>, call_limit: Duration) -> Self {
        Self { url: url.into(), ca: None, call_limit, timeout: Duration::from_millis(250) }
    }
}

/// The limits in Redis, as one node sees them.
pub(super) struct Shared {
    server: Arc<Server>,
    ends: mpsc::Sender<Message>,
}

/// What Redis said. `None` instead of it: it is away.
pub(super) enum Answer {
    Admitted { share: Share, shown: Shown },
    Refused(Refusal),
}

/// A call's places in Redis, given back when this is dropped.
pub(super) struct Share {
    /// `None`: there is nothing to give back.
    end: Option<End>,
    server: Arc<Server>,
    ends: mpsc::Sender<Message>,
}

/// What Redis is told of a call that ended.
struct End {
    call: String,
    used: u64,
    subjects: Vec<Held>,
    since: Instant,
}

/// What a call holds of one subject.
struct Held {
    keys: [String; 2],
    tokens_per_minute: Option<u64>,
    tokens: u64,
}

enum Message {
    End(End),
    /// Answered when Redis has been told of all before it.
    Flush(oneshot::Sender<()>),
}

/// The connection, and whether there is anyone at its other end.
struct Server {
    client: redis::Client,
    options: SharedOptions,
    connection: ArcSwap<ConnectionManager>,
    admit: Script,
    end: Script,
    origin: Instant,
    /// 0: Redis answers. Else the millisecond since `origin` from which it is tried again.
    away_until_ms: AtomicU64,
    fallbacks: AtomicU64,
    untold_ends: AtomicU64,
    /// Tells this node's calls from those of others.
    run: u64,
    calls: AtomicU64,
}

impl Shared {
    pub(super) fn try_new(options: SharedOptions) -> Result<Self, RedisError> {
        let client = match &options.ca {
            None => redis::Client::open(options.url.as_str())?,
            Some(ca) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) };
                redis::Client::build_with_tls(options.url.as_str(), certificates)?
            }
        };
        let connection = ArcSwap::from_pointee(connection(&client, options.timeout)?);
        let server = Arc::new(Server {
            client,
            options,
            connection,
            admit: Script::new(include_str!("admit.lua")),
            end: Script::new(include_str!("end.lua")),
            origin: Instant::now(),
            away_until_ms: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
            untold_ends: AtomicU64::new(0),
            run: rand::random(),
            calls: AtomicU64::new(0),
        });
        let (ends, waiting) = mpsc::channel(ENDS_WAITING);
        tokio::spawn(tell(Arc::clone(&server), waiting));
        Ok(Self { server, ends })
    }

    /// Asks Redis. `None`: it is away.
    pub(super) async fn admit(&self, wanted: &[(&Subject, Limit)], tokens: u64) -> Option<Answer> {
        let server = &self.server;
        if !server.may_be_asked() {
            server.fallbacks.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let end = server.new_end(wanted, tokens);
        // Made before Redis is asked: from here on a place may be taken, whether or not we learn of it.
        let mut share = Share { end: Some(end), server: Arc::clone(server), ends: self.ends.clone() };
        let asked = share.end.as_ref().map(|end| server.ask_admission(end, wanted, None));
        let Some(answer) = server.noted(asked?.await) else {
            server.fallbacks.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        match answer {
            Ok(shown) => {
                let is_timed = wanted
                    .iter()
                    .any(|(_, limit)| limit.tokens_per_minute.is_some() || limit.concurrency.is_some());
                if !is_timed {
                    share.end = None;
                }
                Some(Answer::Admitted { share, shown })
            }
            Err(refusal) => {
                share.end = None;
                Some(Answer::Refused(refusal))
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            is_shared: true,
            is_redis_away: self.server.is_away(),
            fallbacks: self.server.fallbacks.load(Ordering::Relaxed),
            untold_ends: self.server.untold_ends.load(Ordering::Relaxed),
            subjects: 0,
        }
    }

    pub(super) async fn flush(&self, limit: Duration) {
        let told = async {
            let (answer, told) = oneshot::channel();
            if self.ends.send(Message::Flush(answer)).await.is_ok() {
                let _ = told.await;
            }
        };
        let _ = timeout(limit, told).await;
    }
}

impl Share {
    /// The call has ended, with so many tokens.
    pub(super) fn end(mut self, used: Option<u64>) {
        if let Some(end) = &mut self.end {
            end.used = used.unwrap_or(0).min(bucket::MOST);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(mut end) = self.end.take() else { return };
        end.since = Instant::now();
        if self.ends.try_send(Message::End(end)).is_err() {
            self.server.untold_ends.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Server {
    /// May Redis be asked? While it is away, one in a while is let through to try.
    fn may_be_asked(&self) -> bool {
        let until = self.away_until_ms.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let now = self.now_ms();
        let next = now.saturating_add(millis(AGAIN));
        now >= until
            && self.away_until_ms.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn is_away(&self) -> bool {
        self.away_until_ms.load(Ordering::Relaxed) != 0
    }

    /// Takes note of whether Redis answered, and says so once when that changes.
    fn noted<T>(&self, answer: RedisResult<T>) -> Option<T> {
        match answer {
            Ok(answer) => {
                if self.away_until_ms.swap(0, Ordering::Relaxed) != 0 {
                    tracing::info!("limits are shared through Redis again");
                }
                Some(answer)
            }
            Err(error) => {
                let until = self.now_ms().saturating_add(millis(AGAIN)).max(1);
                if self.away_until_ms.swap(until, Ordering::Relaxed) == 0 {
                    tracing::warn!(%error, "Redis is away: each node limits by its own counts until it is back");
                }
                if error.is_timeout() {
                    self.reconnect();
                }
                None
            }
        }
    }

    /// A connection that fell silent may be dead without having been closed, and would stay so for a quarter of an hour.
    fn reconnect(&self) {
        if let Ok(connection) = connection(&self.client, self.options.timeout) {
            self.connection.store(Arc::new(connection));
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.origin.elapsed())
    }

    /// A call's name and what it would hold.
    fn new_end(&self, wanted: &[(&Subject, Limit)], tokens: u64) -> End {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let subjects = wanted.iter().map(|(subject, limit)| Held {
            keys: keys(subject),
            tokens_per_minute: limit.tokens(),
            tokens: limit.tokens().map_or(0, |most| tokens.min(most)),
        });
        End {
            call: format!("{:x}-{number:x}", self.run),
            used: 0,
            subjects: subjects.collect(),
            since: Instant::now(),
        }
    }

    /// The admission itself. `told_ms`: the time, in tests.
    async fn ask_admission(
        &self,
        end: &End,
        wanted: &[(&Subject, Limit)],
        told_ms: Option<u64>,
    ) -> RedisResult<Result<Shown, Refusal>> {
        let mut call = self.admit.prepare_invoke();
        let life = self.options.call_limit.saturating_add(BEYOND_THE_LONGEST);
        call.arg(&end.call).arg(millis(life)).arg(told(told_ms));
        for (held, (_, limit)) in end.subjects.iter().zip(wanted) {
            let [hash, calls] = &held.keys;
            call.key(hash).key(calls);
            call.arg(number(limit.requests()));
            call.arg(number(held.tokens_per_minute));
            call.arg(number(limit.concurrency.map(|most| most.min(bucket::MOST))));
            call.arg(held.tokens);
        }
        let mut connection = ConnectionManager::clone(&self.connection.load());
        let answer: Vec<i64> = within(self.options.timeout, call.invoke_async(&mut connection)).await?;
        read(&answer, wanted).ok_or_else(|| unreadable("an admission"))
    }

    /// Tells that a call has ended.
    async fn ask_end(&self, end: &End, told_ms: Option<u64>) -> RedisResult<()> {
        let mut call = self.end.prepare_invoke();
        call.arg(&end.call).arg(end.used).arg(told(told_ms));
        for held in &end.subjects {
            let [hash, calls] = &held.keys;
            call.key(hash).key(calls).arg(number(held.tokens_per_minute)).arg(held.tokens);
        }
        let mut connection = ConnectionManager::clone(&self.connection.load());
        within(self.options.timeout, call.invoke_async(&mut connection)).await
    }
}

/// Tells Redis of ended calls, many at once; while it is away they wait, until their places have expired anyway.
async fn tell(server: Arc<Server>, mut waiting: mpsc::Receiver<Message>) {
    let mut batch = Vec::with_capacity(ENDS_AT_ONCE);
    while waiting.recv_many(&mut batch, ENDS_AT_ONCE).await > 0 {
        let mut ends = Vec::with_capacity(batch.len());
        let mut flushes = Vec::new();
        for message in batch.drain(..) {
            match message {
                Message::End(end) => ends.push(end),
                Message::Flush(answer) => flushes.push(answer),
            }
        }
        loop {
            // Together they make one write to the connection that all share. While Redis is away one goes ahead.
            let first = if server.is_away() { 1 } else { ends.len() };
            let asked = ends.iter().take(first).map(|end| server.ask_end(end, None));
            let told = futures_util::future::join_all(asked).await;
            let mut told = told.into_iter().map(|answer| server.noted(answer).is_some());
            ends.retain(|end| {
                !told.next().unwrap_or(false) && end.since.elapsed() < server.options.call_limit
            });
            // Without anyone who could need the places again, trying on would only keep this task alive.
            if ends.is_empty() || (server.is_away() && waiting.is_closed()) {
                break;
            }
            if server.is_away() {
                sleep(AGAIN).await;
            }
        }
        for answer in flushes {
            // Who asked may have stopped waiting.
            let _ = answer.send(());
        }
    }
}

/// A connection that is made when it is first used, and again when it broke.
fn connection(client: &redis::Client, timeout: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// The connection has limits of its own for each of its steps; this is the one for all of them.
async fn within<T>(limit: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(limit, answer)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}

fn unreadable(what: &'static str) -> RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "not the answer to", what.to_owned()).into()
}

/// The names of a subject's hash and of its calls. The braces are for proxies of a Redis Cluster, which want all keys of a
/// script on one node.
fn keys(subject: &Subject) -> [String; 2] {
    let mut hash = String::with_capacity(32 + subject.id.len());
    // Writing to a string cannot fail.
    let _ = write!(hash, "{{nexusroute:limits}}:{}:{}", subject.kind.name(), subject.id);
    let calls = format!("{hash}:calls");
    [hash, calls]
}

/// What the script answered.
fn read(answer: &[i64], wanted: &[(&Subject, Limit)]) -> Option<Result<Shown, Refusal>> {
    let standing = |limit: Option<u64>, left: i64, reset: i64| {
        let (remaining, reset) = (u64::try_from(left).ok()?, u64::try_from(reset).ok()?);
        Some(Standing { limit: limit?, remaining, reset: Duration::from_millis(reset) })
    };
    let shown = |limit: &Limit, four: &[i64]| match *four {
        [requests, requests_reset, tokens, tokens_reset] => Some(Shown {
            requests: standing(limit.requests(), requests, requests_reset),
            tokens: standing(limit.tokens(), tokens, tokens_reset),
        }),
        _ => None,
    };
    let mut told = Shown::default();
    match answer {
        [1, standings @ ..] if standings.len() == 4 * wanted.len() => {
            for ((subject, limit), four) in wanted.iter().zip(standings.chunks_exact(4)) {
                told.add(subject.kind, shown(limit, four)?);
            }
            Some(Ok(told))
        }
        [0, index, what, wait_ms, four @ ..] => {
            let index = usize::try_from(*index).ok()?.checked_sub(1)?;
            let what = match what {
                1 => What::Requests,
                2 => What::Tokens,
                3 => What::Concurrency,
                _ => return None,
            };
            let (subject, limit) = wanted.get(index)?;
            told.add(subject.kind, shown(limit, four)?);
            Some(Err(Refusal { index, what, wait_ms: u64::try_from(*wait_ms).ok()?, shown: told }))
        }
        _ => None,
    }
}

fn number(limit: Option<u64>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn told(told_ms: Option<u64>) -> String {
    told_ms.map_or_else(String::new, |ms| ms.to_string())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod testing {
    //! Limits in Redis with told times.

    use super::*;

    impl Shared {
        pub(in super::super) async fn admit_at(
            &self,
            wanted: &[(&Subject, Limit)],
            tokens: u64,
            now_ms: u64,
        ) -> Result<(ToldShare, Shown), Refusal> {
            let end = self.server.new_end(wanted, tokens);
            let answer = self.server.ask_admission(&end, wanted, Some(now_ms)).await.unwrap();
            answer.map(|shown| (ToldShare(end, Arc::clone(&self.server)), shown))
        }
    }

    /// A call's places, given back at a told time.
    pub(in super::super) struct ToldShare(End, Arc<Server>);

    impl ToldShare {
        pub(in super::super) async fn end(&mut self, used: u64, now_ms: u64) {
            self.0.used = used;
            self.1.ask_end(&self.0, Some(now_ms)).await.unwrap();
        }
    }
}
