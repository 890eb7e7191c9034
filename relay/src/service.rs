//! The relay as a service: its routes, its handlers, and how it stops.

use crate::call::admission::{self, Call};
use crate::call::client::Client;
use crate::call::settlement::Settlement;
use crate::call::{self, Tools};
use crate::caller;
use crate::catalogue::{Catalogue, KeyGrant};
use crate::error::CallError;
use crate::metering::Metering;
use crate::openai::models::{ModelList, ModelView, is_callable};
use crate::openai::{self, request::ChatRequest};
use crate::options::RelayOptions;
use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::{Bytes, BytesMut};
use domain::{Label, Moment, RequestId};
use futures_util::StreamExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

const CHAT_COMPLETIONS: &str = "/v1/chat/completions";
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
    /// A relay over this meter and this catalogue. `http` should come from [`crate::provider_client`], which follows
    /// no redirects.
    pub fn new(
        meter: M,
        catalogue: Arc<ArcSwap<Catalogue>>,
        http: reqwest::Client,
        options: RelayOptions,
    ) -> Self {
        let tools = Tools { http, options: Arc::new(options) };
        let calls = TaskTracker::new();
        // Closed means only that `wait` returns once there are no calls; new ones can still be tracked.
        calls.close();
        Self(Arc::new(Inner { meter, catalogue, tools, calls, is_draining: AtomicBool::new(false) }))
    }

    /// The routes below `/v1`, every answer with `x-request-id`, every error in OpenAI's shape. The peer's address is
    /// read from `ConnectInfo<SocketAddr>`, if the server provides it.
    pub fn router(&self) -> Router {
        let only =
            |allow| move || async move { openai::error::response(&CallError::MethodNotAllowed { allow }) };
        Router::new()
            .route(CHAT_COMPLETIONS, post(chat_completions::<M>).fallback(only("POST")))
            .route("/v1/models", get(list_models::<M>).fallback(only("GET, HEAD")))
            .route("/v1/models/{*model}", get(show_model::<M>).fallback(only("GET, HEAD")))
            .route("/v1/{*path}", any(unknown_path))
            .route("/v1", any(unknown_path))
            .with_state(self.clone())
            .layer(axum::middleware::from_fn(with_request_id))
    }

    /// Calls that are being admitted, served or settled.
    pub fn in_flight(&self) -> usize {
        self.0.calls.len()
    }

    /// Refuses new calls, and waits for those in flight for at most `limit`. Returns how many were left.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.0.is_draining.store(true, Ordering::SeqCst);
        let _ = timeout(limit, self.0.calls.wait()).await;
        self.in_flight()
    }

    fn options(&self) -> &RelayOptions {
        &self.0.tools.options
    }

    fn authenticate(&self, catalogue: &Catalogue, parts: &Parts) -> Result<Arc<KeyGrant>, CallError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let address = caller::address(peer, &parts.headers, &self.options().trusted_proxies);
        caller::authenticate(catalogue, &parts.headers, address, now())
    }

    /// From a request to the head of its answer. The call itself runs in a task of its own.
    async fn chat(&self, request_id: RequestId, request: Request) -> Result<Response, CallError> {
        let started = Instant::now();
        // Taken before the flag is read, so that a drain either sees this call or is seen by it.
        let admission = self.0.calls.token();
        if self.0.is_draining.load(Ordering::SeqCst) {
            return Err(CallError::Draining);
        }
        let (parts, body) = request.into_parts();
        let catalogue = self.0.catalogue.load_full();
        let grant = self.authenticate(&catalogue, &parts)?;
        check_content_type(&parts.headers)?;
        let body = read_body(&parts.headers, body, self.options()).await?;
        let chat = ChatRequest::try_new(body)?;
        let call = Call::try_new(&catalogue, grant, chat, request_id, started)?;
        drop(catalogue);

        let request = call.hold_request(now())?;
        let hold =
            self.0.meter.hold(request).await.map_err(|error| admission::hold_error(error, self.options()))?;
        let settlement = Settlement::new(hold, call, endpoint()?, self.0.calls.clone());
        let (client, response) = Client::waiting();
        self.0.calls.spawn(call::run(self.0.tools.clone(), settlement, client));
        drop(admission);
        // The task always answers; it is gone without an answer only if it panicked.
        response.await.map_err(|_| CallError::Internal)
    }
}

fn now() -> Moment {
    chrono::Utc::now().into()
}

fn endpoint() -> Result<Label, CallError> {
    Label::try_new(CHAT_COMPLETIONS).map_err(|_| CallError::Internal)
}

async fn chat_completions<M: Metering>(
    State(relay): State<Relay<M>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    Box::pin(relay.chat(request_id, request)).await.unwrap_or_else(|error| refused(request_id, &error))
}

async fn list_models<M: Metering>(
    State(relay): State<Relay<M>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let catalogue = relay.0.catalogue.load_full();
    match relay.authenticate(&catalogue, &request.into_parts().0) {
        Ok(grant) => {
            Json(ModelList::new(catalogue.models.values().map(AsRef::as_ref), &grant)).into_response()
        }
        Err(error) => refused(request_id, &error),
    }
}

async fn show_model<M: Metering>(
    State(relay): State<Relay<M>>,
    Extension(request_id): Extension<RequestId>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let catalogue = relay.0.catalogue.load_full();
    let found = relay.authenticate(&catalogue, &request.into_parts().0).and_then(|grant| {
        let model = catalogue.models.get(&name).filter(|model| is_callable(model, &grant));
        model.ok_or_else(|| CallError::ModelNotFound { model: name.chars().take(Label::MAX).collect() })
    });
    match found {
        Ok(model) => Json(ModelView::new(model)).into_response(),
        Err(error) => refused(request_id, &error),
    }
}

async fn unknown_path(method: Method, request: Request) -> Response {
    let path = request.uri().path().chars().take(Label::MAX).collect();
    openai::error::response(&CallError::UnknownPath { method, path })
}

/// The answer to a request that became no call.
fn refused(request: RequestId, error: &CallError) -> Response {
    tracing::debug!(%request, status = error.status().as_u16(), code = error.code(), "a request was refused");
    openai::error::response(error)
}

/// Gives every request its id, which is also the id of the usage record, and names it in the answer.
async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = RequestId::from_uuid(uuid::Uuid::now_v7());
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

fn check_content_type(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?").trim());
    let media_type = text(header::CONTENT_TYPE).and_then(|it| it.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
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
    // Most bodies come in one piece, which needs no copy.
    let Some(first) = next().await? else { return Ok(Bytes::new()) };
    let Some(second) = next().await? else {
        return if first.len() > limit { Err(too_large) } else { Ok(first) };
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
