//! The caller at the other end of an answer: waiting for it, reading it, or gone.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Events that may wait for a slow reader. Beyond them the provider is not read either, so memory stays bounded.
const EVENTS_IN_FLIGHT: usize = 32;

/// The head of a streamed answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) content_type: HeaderValue,
    /// The caller's fields that the provider's protocol cannot say.
    pub(crate) dropped: Option<HeaderValue>,
}

/// Names the caller's fields that the provider's protocol cannot say.
pub(crate) const X_DROPPED: HeaderName = HeaderName::from_static("x-nexusroute-dropped");

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Client {
    /// Has seen nothing yet. Its answer, whatever it is, gets these headers.
    Waiting(oneshot::Sender<Response>, HeaderMap),
    /// Reads a stream.
    Reading(mpsc::Sender<Bytes>),
    /// Left.
    Gone,
}

impl Client {
    /// A client, and where its response will come.
    pub(crate) fn waiting(headers: HeaderMap) -> (Self, oneshot::Receiver<Response>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Waiting(sender, headers), receiver)
    }

    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Waiting(sender, _) => sender.is_closed(),
            Self::Reading(sender) => sender.is_closed(),
            Self::Gone => true,
        }
    }

    /// Returns when the client has left; never, once that is known.
    pub(crate) async fn left(&mut self) {
        match self {
            Self::Waiting(sender, _) => sender.closed().await,
            Self::Reading(sender) => sender.closed().await,
            Self::Gone => std::future::pending().await,
        }
        *self = Self::Gone;
    }

    /// Answers a client that waits. One that reads a stream has its answer already.
    pub(crate) fn answer(self, mut response: Response) {
        if let Self::Waiting(sender, headers) = self {
            response.headers_mut().extend(headers);
            // A client that has just left needs no answer.
            let _ = sender.send(response);
        }
    }

    /// Sends the head of a stream to a client that waits. Did it get one?
    pub(crate) fn begin_stream(&mut self, head: &Head) -> bool {
        let Self::Waiting(waiting, headers) = std::mem::replace(self, Self::Gone) else { return false };
        let (sender, receiver) = mpsc::channel(EVENTS_IN_FLIGHT);
        let mut response = stream_response(head, receiver);
        response.headers_mut().extend(headers);
        let is_sent = waiting.send(response).is_ok();
        if is_sent {
            *self = Self::Reading(sender);
        }
        is_sent
    }

    /// Sends the next bytes of a stream. A client that does not take them in time counts as gone.
    pub(crate) async fn send(&mut self, bytes: Bytes, limit: Duration) {
        if let Self::Reading(sender) = self
            && sender.send_timeout(bytes, limit).await.is_err()
        {
            *self = Self::Gone;
        }
    }
}

fn stream_response(head: &Head, receiver: mpsc::Receiver<Bytes>) -> Response {
    let events = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|event| (Ok::<_, Infallible>(event), receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, head.content_type.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // nginx would collect events otherwise.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let mut response = (headers, Body::from_stream(events)).into_response();
    if let Some(dropped) = &head.dropped {
        response.headers_mut().insert(X_DROPPED, dropped.clone());
    }
    response
}
