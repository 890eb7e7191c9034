//! The HTTP client for calls to providers.
//!
//! For: one exchange with a provider, over connections that are kept. May not touch: what is said in it.
//! Claims: no redirect is followed (a redirected call would carry the provider's key and the prompt to an address that no
//! operator entered); names are resolved by the resolver given, anew at every connection; HTTP/1.1 only; the certificates are
//! judged as the operating system does; nothing but connecting has a time limit here: the relay's limits know what phase a
//! call is in.
//!
//! Hyper's connections in a pool of our own ([`pool`]), since what reqwest puts around them costs a call as much again. Only where the environment names a
//! proxy (`HTTPS_PROXY` and its kind) calls go by reqwest, which knows those.

mod pool;

use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, dns};
use pool::{InUse, Pool, Target};
use reqwest::dns::Resolve;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

/// For how long a connection that nobody uses is kept.
const KEPT_IDLE: Duration = Duration::from_secs(60);
/// How often the operating system asks the other end of a silent connection whether it is there, and how often in vain.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const ALIVE_TRIES: u32 = 3;
/// Addresses that are kept parsed. There are as many as providers have models, times a few.
const MOST_ADDRESSES: usize = 4096;
const USER_AGENT: &str = concat!("nexusroute/", env!("CARGO_PKG_VERSION"));
/// Where the environment names a proxy.
const PROXIES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"];

type BoxError = Box<dyn StdError + Send + Sync>;
type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;
type Connector = InTime<HttpsConnector<HttpConnector<Resolver>>>;

/// A client for calls to providers. Cheap to clone; all clones share their connections.
#[derive(Clone, Debug)]
pub struct ProviderClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    way: Way,
    /// Where addresses lead: the same few are called all the time.
    targets: Mutex<HashMap<String, Target>>,
}

#[derive(Debug)]
enum Way {
    Direct(Arc<Pool>),
    /// By way of the environment's proxy.
    Proxied(reqwest::Client),
}

/// Why there is no client: TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("no client for providers can be made")]
pub struct NoClient(#[source] BoxError);

/// Why an exchange broke. Its text and its sources name no address: an operator may have put a key into one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the address cannot be called")]
    Address,
    #[error("no connection can be made")]
    Connect(#[source] BoxError),
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    #[error(transparent)]
    Proxied(#[from] reqwest::Error),
}

impl Broken {
    /// Was no connection made?
    pub(crate) fn is_connect(&self) -> bool {
        match self {
            Self::Address | Self::Connect(_) => true,
            Self::Exchange(_) => false,
            Self::Proxied(error) => error.is_connect(),
        }
    }
}

impl ProviderClient {
    pub(crate) fn try_new(
        connect_timeout: Duration,
        resolver: impl Resolve + 'static,
    ) -> Result<Self, NoClient> {
        let is_proxied = PROXIES.iter().any(|name| std::env::var_os(name).is_some_and(|it| !it.is_empty()));
        let way = if is_proxied {
            Way::Proxied(proxied(connect_timeout, resolver).map_err(|error| NoClient(error.into()))?)
        } else {
            Way::Direct(direct(connect_timeout, resolver).map_err(NoClient)?)
        };
        Ok(Self(Arc::new(Inner { way, targets: Mutex::default() })))
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Broken> {
        match &self.0.way {
            Way::Direct(pool) => {
                let target = self.target(pool, url)?;
                headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
                let mut request = Request::new(Full::new(body));
                *request.method_mut() = method;
                *request.headers_mut() = headers;
                let (head, body, connection) = pool.send(target, request).await?;
                let body = Answer::Direct { body, _connection: connection };
                Ok(Response { status: head.status, headers: head.headers, body })
            }
            Way::Proxied(client) => {
                let sent = client.request(method, url).headers(headers).body(body).send().await;
                let mut answer = sent.map_err(reqwest::Error::without_url)?;
                let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
                Ok(Response { status, headers, body: Answer::Proxied(answer) })
            }
        }
    }

    /// As URLs are understood everywhere: what no path can hold is escaped, and dots in it are resolved.
    fn target(&self, pool: &Pool, url: &str) -> Result<Target, Broken> {
        let targets = || self.0.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = targets().get(url) {
            return Ok(known.clone());
        }
        let parsed = reqwest::Url::parse(url).map_err(|_| Broken::Address)?;
        let uri: Uri = parsed.as_str().parse().map_err(|_| Broken::Address)?;
        let mut targets = targets();
        if targets.len() >= MOST_ADDRESSES {
            targets.clear();
            pool.forget_hosts();
        }
        let target = pool.target(&uri)?;
        targets.insert(url.to_owned(), target.clone());
        Ok(target)
    }
}

/// An answer, of which the head is here.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Answer,
}

#[derive(Debug)]
enum Answer {
    /// The connection goes back behind the body.
    Direct {
        body: Incoming,
        _connection: InUse,
    },
    Proxied(reqwest::Response),
}

impl Response {
    /// The next piece of the body; `None`: it has ended.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        match &mut self.body {
            Answer::Direct { body, .. } => loop {
                match body.frame().await {
                    None => return Ok(None),
                    // Trailers say nothing that matters here.
                    Some(frame) => {
                        if let Ok(data) = frame?.into_data() {
                            return Ok(Some(data));
                        }
                    }
                }
            },
            Answer::Proxied(answer) => Ok(answer.chunk().await.map_err(reqwest::Error::without_url)?),
        }
    }

    /// How long the body is, in bytes, if that is known beforehand.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.body {
            Answer::Direct { body, .. } => body.size_hint().exact(),
            Answer::Proxied(answer) => answer.content_length(),
        }
    }
}

fn direct(connect_timeout: Duration, resolver: impl Resolve + 'static) -> Result<Arc<Pool>, BoxError> {
    let provider = rustls::crypto::CryptoProvider::get_default().cloned();
    let provider = provider.ok_or("no TLS provider was installed")?;
    let verifier = rustls_platform_verifier::Verifier::new(provider.clone())?;
    // What the operating system trusts, as reqwest has it too; rustls calls every verifier but its own dangerous.
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let mut http = HttpConnector::new_with_resolver(Resolver(Arc::new(resolver)));
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(ALIVE_EVERY));
    http.set_keepalive_interval(Some(ALIVE_EVERY));
    http.set_keepalive_retries(Some(ALIVE_TRIES));
    let https =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    Ok(Pool::new(InTime { connector: https, limit: connect_timeout }, KEPT_IDLE))
}

fn proxied(
    connect_timeout: Duration,
    resolver: impl Resolve + 'static,
) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .dns_resolver(resolver)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(KEPT_IDLE)
        .tcp_nodelay(true)
        .user_agent(USER_AGENT)
        .build()
}

/// The relay's resolver, as hyper asks it.
#[derive(Clone)]
struct Resolver(Arc<dyn Resolve>);

impl Service<dns::Name> for Resolver {
    type Response = reqwest::dns::Addrs;
    type Error = BoxError;
    type Future = Boxed<reqwest::dns::Addrs>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: dns::Name) -> Self::Future {
        match name.as_str().parse() {
            Ok(name) => self.0.resolve(name),
            Err(_) => Box::pin(std::future::ready(Err("it is no name".into()))),
        }
    }
}

/// A connector that gives up: the name, the connection and its encryption together may take so long.
#[derive(Clone, Debug)]
struct InTime<C> {
    connector: C,
    limit: Duration,
}

impl<C> Service<Uri> for InTime<C>
where
    C: Service<Uri, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Boxed<C::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.limit, self.connector.call(address));
        Box::pin(async move { connecting.await.unwrap_or_else(|_| Err("connecting took too long".into())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::dns::{Addrs, Name, Resolving};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Names stand for this address, or for none that ever comes.
    struct Names(Option<SocketAddr>);

    impl Resolve for Names {
        fn resolve(&self, name: Name) -> Resolving {
            assert_eq!(name.as_str(), "provider.test");
            let found = self.0.map(|address| Box::new(std::iter::once(address)) as Addrs);
            Box::pin(async {
                match found {
                    Some(found) => Ok(found),
                    None => std::future::pending().await,
                }
            })
        }
    }

    fn client(names: Names, limit: Duration) -> ProviderClient {
        let _ = rustls::crypto::ring::default_provider().install_default();
        ProviderClient::try_new(limit, names).unwrap()
    }

    async fn post(client: &ProviderClient, url: &str) -> Result<Response, Broken> {
        client.send(Method::POST, url, HeaderMap::new(), Bytes::from_static(b"{}")).await
    }

    /// Answers each connection's first request with these bytes; tells what was asked.
    async fn server(answer: &'static str) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, (asked, told)) =
            (listener.local_addr().unwrap(), tokio::sync::mpsc::unbounded_channel());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"{}") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                let _ = asked.send(String::from_utf8(request).unwrap());
            }
        });
        (address, told)
    }

    #[tokio::test]
    async fn a_name_stands_for_what_the_resolver_says() {
        let (address, mut asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        let client = client(Names(Some(address)), Duration::from_secs(10));
        let url = format!("http://provider.test:{}/v1/a b/../é?x=1", address.port());
        for _ in 0..2 {
            let mut answer = post(&client, &url).await.unwrap();
            assert_eq!((answer.status, answer.length()), (StatusCode::OK, Some(5)));
            assert_eq!(answer.chunk().await.unwrap().unwrap(), "hello");
            assert_eq!(answer.chunk().await.unwrap(), None);
            let asked = asked.recv().await.unwrap();
            assert!(asked.starts_with("POST /v1/%C3%A9?x=1 HTTP/1.1\r\n"), "{asked}");
            assert!(asked.contains(&format!("host: provider.test:{}\r\n", address.port())), "{asked}");
            assert!(asked.contains(&format!("user-agent: {USER_AGENT}\r\n")), "{asked}");
        }
    }

    /// Answers every request on every connection, each `answers` times before it closes it; counts connections.
    async fn lasting_server(answers: usize) -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::default());
        let connections: Arc<std::sync::atomic::AtomicUsize> = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                tokio::spawn(async move {
                    for _ in 0..answers {
                        let mut request = Vec::new();
                        while !request.ends_with(b"{}") {
                            if stream.read_buf(&mut request).await.unwrap() == 0 {
                                return;
                            }
                        }
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
                    }
                });
            }
        });
        (address, count)
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_the_next_call_and_one_that_is_closed_is_followed_by_another() {
        let (address, connections) = lasting_server(3).await;
        let client = client(Names(None), Duration::from_secs(10));
        for call in 1..=9 {
            let mut answer = post(&client, &format!("http://{address}/{}", call % 2)).await.unwrap();
            assert_eq!(answer.chunk().await.unwrap().unwrap(), "hello");
            assert_eq!(answer.chunk().await.unwrap(), None);
            drop(answer);
            assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), usize::div_ceil(call, 3));
            if call % 3 == 0 {
                // The other end's farewell is read by a task of the connection's own.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_harms_no_later_call() {
        let (address, connections) = lasting_server(9).await;
        let client = client(Names(None), Duration::from_secs(10));
        let url = format!("http://{address}/");
        let (first, second) = (post(&client, &url).await.unwrap(), post(&client, &url).await.unwrap());
        assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 2);
        drop((first, second));
        let mut answer = post(&client, &url).await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_like_any_other() {
        let answer =
            "HTTP/1.1 307 Elsewhere\r\nlocation: http://elsewhere.test/\r\ncontent-length: 0\r\n\r\n";
        let (address, mut asked) = server(answer).await;
        let client = client(Names(None), Duration::from_secs(10));
        let answer = post(&client, &format!("http://{address}/")).await.unwrap();
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
        asked.recv().await.unwrap();
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error_and_no_end() {
        let (address, _asked) = server("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
        let client = client(Names(None), Duration::from_secs(10));
        let mut answer = post(&client, &format!("http://{address}/")).await.unwrap();
        assert_eq!(answer.chunk().await.unwrap().unwrap(), "hello");
        assert!(matches!(answer.chunk().await, Err(error @ Broken::Exchange(_)) if !error.is_connect()));
    }

    #[tokio::test(start_paused = true)]
    async fn connecting_ends_with_its_time_and_the_error_names_no_address() {
        let limit = Duration::from_secs(3);
        let begun = tokio::time::Instant::now();
        let error = post(&client(Names(None), limit), "http://provider.test/secret").await.unwrap_err();
        assert!(error.is_connect() && begun.elapsed() >= limit, "{error:?}");
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        assert!(text.contains("took too long") && !text.contains("secret"), "{text}");
        let error = post(&client(Names(None), limit), "no address").await.unwrap_err();
        assert!(matches!(error, Broken::Address));
    }
}
