//! Connections to providers, kept for the next call.
//!
//! For: a connection for a request, and its way back. May not touch: what is said over it.
//! Claims: a connection carries one exchange at a time and is kept only when that has come to its end; a request goes to a
//! second connection only if nothing of it was sent over the first.
//!
//! Hyper-util's pool does the same for both versions of HTTP, at the cost of a task for every call.

use super::{BoxError, Broken, Connector};
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderValue, Request, Uri, header, response};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;
use tower::Service;

type Sender = http1::SendRequest<Full<Bytes>>;

/// Connections to all providers.
#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    /// For how long a connection that nobody uses is kept.
    kept_idle: Duration,
    hosts: Mutex<HashMap<(Scheme, Authority), Arc<Host>>>,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    host: Arc<Host>,
    /// As it stands in the request's first line.
    path: Uri,
}

#[derive(Debug)]
struct Host {
    address: Uri,
    /// As it stands in the request's header.
    name: HeaderValue,
    /// The one that was used last comes last.
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Sender,
    since: Instant,
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct InUse {
    /// `None`: on its way back.
    connection: Option<Sender>,
    host: Arc<Host>,
}

impl Pool {
    /// Nothing is connected yet. Inside a runtime a task forgets connections that nobody uses, for as long as this lives.
    pub(super) fn new(connector: Connector, kept_idle: Duration) -> Arc<Self> {
        let pool = Arc::new(Self { connector, kept_idle, hosts: Mutex::default() });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(forget_idle(Arc::downgrade(&pool), kept_idle));
        }
        pool
    }

    /// The target of an address.
    pub(super) fn target(&self, address: &Uri) -> Result<Target, Broken> {
        let (Some(scheme), Some(authority)) = (address.scheme(), address.authority()) else {
            return Err(Broken::Address);
        };
        let path = address.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut hosts = lock(&self.hosts);
        let host = match hosts.get(&(scheme.clone(), authority.clone())) {
            Some(host) => host.clone(),
            None => {
                let host = Arc::new(Host::try_new(scheme, authority).ok_or(Broken::Address)?);
                hosts.insert((scheme.clone(), authority.clone()), host.clone());
                host
            }
        };
        Ok(Target { host, path: Uri::from(path) })
    }

    /// Forgets which hosts there are, but for their connections in use.
    pub(super) fn forget_hosts(&self) {
        lock(&self.hosts).clear();
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        target: Target,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(response::Parts, Incoming, InUse), Broken> {
        let Target { host, path } = target;
        *request.uri_mut() = path;
        request.headers_mut().insert(header::HOST, host.name.clone());
        while let Some(mut connection) = host.take(self.kept_idle) {
            match connection.try_send_request(request).await {
                Ok(answer) => return Ok(InUse::with(host, connection, answer)),
                // The other end has closed it since; where nothing was sent another one may be tried.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
        let mut connection = self.connect(&host).await.map_err(Broken::Connect)?;
        let answer = connection.send_request(request).await?;
        Ok(InUse::with(host, connection, answer))
    }

    async fn connect(&self, host: &Host) -> Result<Sender, BoxError> {
        let mut connector = self.connector.clone();
        std::future::poll_fn(|context| connector.poll_ready(context)).await?;
        let stream = connector.call(host.address.clone()).await?;
        let (connection, driver) = http1::handshake(stream).await?;
        // It ends with the connection, which ends when nobody has its other half any more.
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to a provider broke");
            }
        });
        Ok(connection)
    }
}

impl Host {
    fn try_new(scheme: &Scheme, authority: &Authority) -> Option<Self> {
        let address = Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/");
        let is_default = match authority.port_u16() {
            None => true,
            Some(443) => *scheme == Scheme::HTTPS,
            Some(80) => *scheme == Scheme::HTTP,
            Some(_) => false,
        };
        let name = match authority.port_u16().filter(|_| !is_default) {
            None => authority.host().to_owned(),
            Some(port) => format!("{}:{port}", authority.host()),
        };
        Some(Self {
            address: address.build().ok()?,
            name: HeaderValue::from_str(&name).ok()?,
            idle: Mutex::default(),
        })
    }

    /// A kept connection, if one is still good.
    fn take(&self, kept_idle: Duration) -> Option<Sender> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { connection, since }) = idle.pop() {
            if connection.is_ready() && since.elapsed() < kept_idle {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Sender) {
        lock(&self.idle).push(Idle { connection, since: Instant::now() });
    }
}

impl InUse {
    fn with(
        host: Arc<Host>,
        connection: Sender,
        answer: axum::http::Response<Incoming>,
    ) -> (response::Parts, Incoming, Self) {
        let (head, body) = answer.into_parts();
        (head, body, Self { connection: Some(connection), host })
    }
}

impl Drop for InUse {
    /// Dropped behind the answer's body: a connection of which the answer was read to its end is ready now or in a moment,
    /// any other will be closed.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if connection.is_ready() {
            return self.host.keep(connection);
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !connection.is_closed() {
            let host = self.host.clone();
            runtime.spawn(async move {
                if connection.ready().await.is_ok() {
                    host.keep(connection);
                }
            });
        }
    }
}

async fn forget_idle(pool: Weak<Pool>, kept_idle: Duration) {
    loop {
        tokio::time::sleep(kept_idle).await;
        let Some(pool) = pool.upgrade() else { return };
        for host in lock(&pool.hosts).values() {
            lock(&host.idle).retain(|kept| !kept.connection.is_closed() && kept.since.elapsed() < kept_idle);
        }
    }
}

/// Nothing is left half-done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
