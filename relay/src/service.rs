//! The relay as a service: its routes, its handlers, and how it stops.

use crate::asked::{Asked, PathSays};
use crate::call::admission::{self, Call};
use crate::call::carried::Carried;
use crate::call::client::Client;
use crate::call::settlement::Settlement;
use crate::call::{self, Tools};
use crate::caller;
use crate::catalogue::{Catalogue, KeyGrant};
use crate::clock::now;
use crate::endpoint::{Endpoint, Protocol};
use crate::error::CallError;
use crate::figures::Figures;
use crate::gemini::path::Verb;
use crate::health::{self, Health};
use crate::http::ProviderClient;
use crate::limits::Limits;
use crate::metering::Metering;
use crate::openai::models::{ModelList, ModelView, is_callable};
use crate::options::RelayOptions;
use crate::{claude, gemini};
use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use domain::{Label, RequestId};
use futures_util::{FutureExt, StreamExt};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The endpoints whose paths say it all.
const CALLS: [Endpoint; 12] = [
    Endpoint::Chat,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::Embeddings,
    Endpoint::ImageGenerations,
    Endpoint::ImageEdits,
    Endpoint::Speech,
    Endpoint::Transcriptions,
    Endpoint::Translations,
    Endpoint::Moderations,
    Endpoint::Rerank,
    Endpoint::Messages,
];
/// How long a stop waits for Redis to be told which calls have ended.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
const COUNT_TOKENS: &str = "/v1/messages/count_tokens";
/// Up to this a body is copied, in bytes. Buffers of connections are some times larger.
const SMALL_BODY: usize = 4096;
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Where Anthropic's clients look for it.
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The relay of one node. Cheap to clone; all clones are the same relay.
#[derive(Clone)]
pub struct Relay<M: Metering = ledger::Meter>(Arc<Inner<M>>);

struct Inner<M> {
    meter: M,
    catalogue: Arc<ArcSwap<Catalogue>>,
    tools: Tools,
    /// Holds a token or a task for every call from its admission to its settlement.
    calls: TaskTracker,
    is_draining: AtomicBool,
}

impl<M: Metering> Relay<M> {
    /// A relay over this meter and this catalogue. `http` comes from [`crate::provider_client`].
    pub fn new(
        meter: M,
        catalogue: Arc<ArcSwap<Catalogue>>,
        http: ProviderClient,
        limits: Limits,
        options: RelayOptions,
    ) -> Self {
        let tools = Tools {
            http,
            options: Arc::new(options),
            health: Arc::default(),
            limits,
            figures: Arc::default(),
        };
        let calls = TaskTracker::new();
        // Closed means only that `wait` returns once there are no calls; new ones can still be tracked.
        calls.close();
        Self(Arc::new(Inner { meter, catalogue, tools, calls, is_draining: AtomicBool::new(false) }))
    }

    /// The routes below `/v1` and `/v1beta`, every answer with `x-request-id`, every error in the shape of the protocol
    /// that its path belongs to. The peer's address is read from `ConnectInfo<SocketAddr>`, if the server provides it.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        for endpoint in CALLS {
            let call =
                move |State(relay): State<Self>, Extension(id): Extension<RequestId>, request: Request| {
                    relay.call(id, endpoint, PathSays::default(), request)
                };
            router = router.route(endpoint.path(), post(call).fallback(only(endpoint.protocol(), "POST")));
        }
        router
            .route(COUNT_TOKENS, post(count_tokens::<M>).fallback(only(Protocol::Claude, "POST")))
            .route("/v1/models", get(list_models::<M>).fallback(only(Protocol::OpenAi, "GET, HEAD")))
            .route("/v1/models/{*model}", get(show_model::<M>).post(gemini_verb::<M>))
            .route("/v1beta/models", get(list_models::<M>).fallback(only(Protocol::Gemini, "GET, HEAD")))
            .route("/v1beta/models/{*model}", get(show_model::<M>).post(gemini_verb::<M>))
            .route("/v1/{*path}", any(unknown_path))
            .route("/v1", any(unknown_path))
            .route("/v1beta/{*path}", any(unknown_path))
            .with_state(self.clone())
            .layer(axum::middleware::from_fn(with_request_id))
    }

    /// Answers a call as [`Relay::router`] does, without what routing costs, which is much of what an ordinary call costs;
    /// whatever else a request may be, it comes back. `peer`: where it came from.
    #[expect(
        clippy::result_large_err,
        reason = "a request comes back as it came; a box would cost every other"
    )]
    pub fn answer(
        &self,
        peer: SocketAddr,
        mut request: Request,
    ) -> Result<impl Future<Output = Response> + Send + 'static, Request> {
        let path = request.uri().path();
        let endpoint = CALLS.into_iter().find(|endpoint| endpoint.path() == path);
        let Some(endpoint) = endpoint.filter(|_| request.method() == Method::POST) else {
            return Err(request);
        };
        request.extensions_mut().insert(ConnectInfo(peer));
        let (relay, id) = (self.clone(), new_id());
        Ok(async move {
            let protocol = protocol_of(request.uri(), request.headers());
            let mut response = relay.call(id, endpoint, PathSays::default(), request).await;
            name(&mut response, id, protocol);
            response
        })
    }

    /// Calls that are being admitted, served or settled.
    pub fn in_flight(&self) -> usize {
        self.0.calls.len()
    }

    /// Refuses new calls, and waits for those in flight for at most `limit`. Returns how many were left.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.0.is_draining.store(true, Ordering::SeqCst);
        let _ = timeout(limit, self.0.calls.wait()).await;
        self.0.tools.limits.flush(FLUSH_LIMIT).await;
        self.in_flight()
    }

    /// How well the providers are, as this node's calls found them.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.0.tools.health)
    }

    /// What this node's calls came to since its start.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.0.tools.figures)
    }

    /// Where rate limits are counted, and how that goes.
    pub fn limits(&self) -> crate::limits::Status {
        self.0.tools.limits.status()
    }

    /// Asks providers that are left alone whether they are well again, until `stop`.
    pub async fn keep_probing(self, stop: CancellationToken) {
        let Inner { tools, catalogue, .. } = &*self.0;
        let probing = health::probe::for_ever(&tools.health, catalogue, &tools.http);
        let _ = stop.run_until_cancelled(probing).await;
    }

    fn options(&self) -> &RelayOptions {
        &self.0.tools.options
    }

    fn authenticate(&self, catalogue: &Catalogue, parts: &Parts) -> Result<Arc<KeyGrant>, CallError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let address = caller::address(peer, &parts.headers, &self.options().trusted_proxies);
        caller::authenticate(catalogue, &parts.headers, parts.uri.query(), address, now())
    }

    /// Answers a call, whatever becomes of it: a panic on the way to its answer ends this call and not its connection. Its
    /// message goes by the panic hook; what was held is let go as it unwinds.
    async fn call(
        self,
        request_id: RequestId,
        endpoint: Endpoint,
        path: PathSays,
        request: Request,
    ) -> Response {
        let carried = AssertUnwindSafe(self.carry(request_id, endpoint, path, request)).catch_unwind();
        let answered = carried.await.unwrap_or(Err(CallError::Internal));
        answered.unwrap_or_else(|error| self.refused(request_id, endpoint.protocol(), &error))
    }

    /// The answer to a request for a call that became none.
    fn refused(&self, request: RequestId, protocol: Protocol, error: &CallError) -> Response {
        self.0.tools.figures.refused(
            protocol.name(),
            error.code().unwrap_or("other"),
            error.status().as_u16(),
        );
        refused(request, protocol, error)
    }

    /// From a request to the head of its answer. The call itself outlives this if it must.
    async fn carry(
        &self,
        request_id: RequestId,
        endpoint: Endpoint,
        path: PathSays,
        request: Request,
    ) -> Result<Response, CallError> {
        let started = Instant::now();
        // Taken before the flag is read, so that a drain either sees this call or is seen by it.
        let admission = self.0.calls.token();
        if self.0.is_draining.load(Ordering::SeqCst) {
            return Err(CallError::Draining);
        }
        let (parts, body) = request.into_parts();
        let catalogue = self.0.catalogue.load_full();
        let grant = self.authenticate(&catalogue, &parts)?;
        check_content_type(&parts.headers, endpoint)?;
        let body = read_body(&parts.headers, body, self.options()).await?;
        let asked = Asked::try_new(endpoint, path, &parts.headers, body)?;
        if let Some(unpriced) = asked.unpriced().filter(|_| !self.options().allow_unpriced) {
            return Err(unpriced.refusal());
        }
        let call = Call::try_new(&catalogue, grant, asked, request_id, started)?;
        drop(catalogue);

        let limits = &self.0.tools.limits;
        let places = limits.admit(&call.limits(), call.likely_tokens(), Instant::now()).await;
        let places = places.map_err(CallError::RateLimited)?;
        let headers = places.headers(call.asked.endpoint.protocol(), now()).into_iter().collect();
        let request = call.hold_request(now())?;
        let hold =
            self.0.meter.hold(request).await.map_err(|error| admission::hold_error(error, self.options()))?;
        let endpoint = Label::try_new(endpoint.path()).map_err(|_| CallError::Internal)?;
        let figures = Arc::clone(&self.0.tools.figures);
        let settlement = Settlement::new(hold, call, endpoint, places, self.0.calls.clone(), figures);
        let (client, response) = Client::waiting(headers);
        let call = call::run(self.0.tools.clone(), settlement, client);
        let call = Carried::new(self.0.calls.track_future(call));
        drop(admission);
        // A call always answers; it is gone without an answer only if it panicked.
        call.until(response).await.map_err(|_| CallError::Internal)
    }

    /// How many tokens a prompt has: the provider's word where one of the same protocol serves the model, else our own
    /// guess from above. Nothing is held and nothing charged, but it is a request for every limit.
    async fn count(&self, protocol: Protocol, path: PathSays, request: Request) -> Result<u64, CallError> {
        // As for a call: taken before the flag is read.
        let _token = self.0.calls.token();
        if self.0.is_draining.load(Ordering::SeqCst) {
            return Err(CallError::Draining);
        }
        let (parts, body) = request.into_parts();
        let catalogue = self.0.catalogue.load_full();
        let grant = self.authenticate(&catalogue, &parts)?;
        check_content_type(&parts.headers, Endpoint::Messages)?;
        let body = read_body(&parts.headers, body, self.options()).await?;
        call::count::tokens(&self.0.tools, &catalogue, &grant, protocol, path, &parts.headers, body).await
    }
}

/// The answer to a method that a path does not take.
fn only(
    protocol: Protocol,
    allow: &'static str,
) -> impl Fn() -> std::future::Ready<Response> + Clone + Send + Sync + 'static {
    move || std::future::ready(protocol.refused(&CallError::MethodNotAllowed { allow }))
}

async fn count_tokens<M: Metering>(
    State(relay): State<Relay<M>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    match Box::pin(relay.count(Protocol::Claude, PathSays::default(), request)).await {
        Ok(tokens) => json(claude::request::counted(tokens)),
        Err(error) => refused(request_id, Protocol::Claude, &error),
    }
}

/// Gemini's paths end in a verb: `models/{model}:generateContent`.
async fn gemini_verb<M: Metering>(
    State(relay): State<Relay<M>>,
    Extension(request_id): Extension<RequestId>,
    Path(rest): Path<String>,
    method: Method,
    request: Request,
) -> Response {
    let Some((model, verb)) = gemini::path::parse(&rest) else {
        return unknown_path(method, request).await;
    };
    let sse = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
    let path = PathSays { model: model.to_owned(), stream: verb == Verb::Stream, sse };
    match verb {
        Verb::Generate | Verb::Stream => relay.call(request_id, Endpoint::Generate, path, request).await,
        Verb::Embed => relay.call(request_id, Endpoint::EmbedContent, path, request).await,
        Verb::BatchEmbed => relay.call(request_id, Endpoint::BatchEmbedContents, path, request).await,
        Verb::CountTokens => match Box::pin(relay.count(Protocol::Gemini, path, request)).await {
            Ok(tokens) => json(gemini::counting::answer(tokens)),
            Err(error) => refused(request_id, Protocol::Gemini, &error),
        },
    }
}

async fn list_models<M: Metering>(
    State(relay): State<Relay<M>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let catalogue = relay.0.catalogue.load_full();
    let parts = request.into_parts().0;
    let protocol = protocol_of(&parts.uri, &parts.headers);
    match relay.authenticate(&catalogue, &parts) {
        Ok(grant) => {
            let models = catalogue.models.values().map(AsRef::as_ref);
            match protocol {
                Protocol::OpenAi => Json(ModelList::new(models, &grant)).into_response(),
                Protocol::Claude => Json(claude::models::ModelList::new(models, &grant)).into_response(),
                Protocol::Gemini => Json(gemini::models::ModelList::new(models, &grant)).into_response(),
            }
        }
        Err(error) => refused(request_id, protocol, &error),
    }
}

async fn show_model<M: Metering>(
    State(relay): State<Relay<M>>,
    Extension(request_id): Extension<RequestId>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let catalogue = relay.0.catalogue.load_full();
    let parts = request.into_parts().0;
    let protocol = protocol_of(&parts.uri, &parts.headers);
    let found = relay.authenticate(&catalogue, &parts).and_then(|grant| {
        let model = catalogue.models.get(&name).filter(|model| is_callable(model, &grant));
        model.ok_or_else(|| CallError::ModelNotFound { model: name.chars().take(Label::MAX).collect() })
    });
    match (found, protocol) {
        (Ok(model), Protocol::OpenAi) => Json(ModelView::new(model)).into_response(),
        (Ok(model), Protocol::Claude) => Json(claude::models::ModelView::new(model)).into_response(),
        (Ok(model), Protocol::Gemini) => Json(gemini::models::ModelView::new(model)).into_response(),
        (Err(error), protocol) => refused(request_id, protocol, &error),
    }
}

async fn unknown_path(method: Method, request: Request) -> Response {
    let path = request.uri().path().chars().take(Label::MAX).collect();
    protocol_of(request.uri(), request.headers()).refused(&CallError::UnknownPath { method, path })
}

/// The protocol that a path belongs to; where several share it, the caller's headers tell.
fn protocol_of(uri: &Uri, headers: &HeaderMap) -> Protocol {
    let path = uri.path();
    if path.starts_with("/v1beta") || headers.contains_key("x-goog-api-key") {
        Protocol::Gemini
    } else if path.starts_with(Endpoint::Messages.path()) || headers.contains_key("anthropic-version") {
        Protocol::Claude
    } else {
        Protocol::OpenAi
    }
}

fn json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// The answer to a request that became no call.
fn refused(request: RequestId, protocol: Protocol, error: &CallError) -> Response {
    tracing::debug!(%request, status = error.status().as_u16(), code = error.code(), "a request was refused");
    protocol.refused(error)
}

/// Gives every request its id, which is also the id of the usage record, and names it in the answer.
async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = new_id();
    request.extensions_mut().insert(id);
    let protocol = protocol_of(request.uri(), request.headers());
    let mut response = next.run(request).await;
    name(&mut response, id, protocol);
    response
}

/// Names the request in its answer.
fn name(response: &mut Response, id: RequestId, protocol: Protocol) {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        if protocol == Protocol::Claude {
            response.headers_mut().insert(REQUEST_ID, value.clone());
        }
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
}

/// An id by the time, as `Uuid::now_v7` makes it, but of the thread's random numbers: the system's are a call to the kernel
/// each, and no secret is made of them here.
fn new_id() -> RequestId {
    let millis = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
    RequestId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
}

fn check_content_type(headers: &HeaderMap, endpoint: Endpoint) -> Result<(), CallError> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?").trim());
    let media_type = text(header::CONTENT_TYPE).and_then(|it| it.split(';').next()).unwrap_or_default();
    // A form's content type is read with its boundary.
    if !endpoint.takes_form() && !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(CallError::ContentType);
    }
    match text(header::CONTENT_ENCODING) {
        None | Some("") => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(_) => Err(CallError::ContentEncoding),
    }
}

/// Reads the body, no further than the limit, and not for a caller that stops sending it.
async fn read_body(headers: &HeaderMap, body: Body, options: &RelayOptions) -> Result<Bytes, CallError> {
    let limit = options.max_body_bytes;
    let too_large = CallError::BodyTooLarge { limit };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large);
    }
    let mut stream = body.into_data_stream();
    let mut next = async || match timeout(options.client_timeout, stream.next()).await {
        Err(_) => Err(CallError::BodyTimeout),
        Ok(Some(Err(_))) => Err(CallError::BodyCut),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(None) => Ok(None),
    };
    // Most bodies come in one piece.
    let Some(first) = next().await? else { return Ok(Bytes::new()) };
    let Some(second) = next().await? else {
        return match first.len() {
            length if length > limit => Err(too_large),
            // A slice of the connection's buffer would keep all of that buffer for as long as the call lasts.
            length if length <= SMALL_BODY => Ok(Bytes::copy_from_slice(&first)),
            _ => Ok(first),
        };
    };
    let mut whole = BytesMut::from(first);
    let mut chunk = Some(second);
    while let Some(more) = chunk {
        if whole.len() + more.len() > limit {
            return Err(too_large);
        }
        whole.extend_from_slice(&more);
        chunk = next().await?;
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests;
