//! The door that all requests come through: calls of models go straight to the relay, everything else by the routes.
//!
//! May not touch: what any of them answers.
//! Claims: an answer is the same by either way; only what matching a path and passing through layers cost is missing,
//! which would be a good part of what an ordinary call costs.

use crate::http;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use relay::Relay;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::Service;

/// The door. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door {
    relay: Option<Relay>,
    router: Router,
}

/// The door as one peer comes through it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Peer {
    door: Door,
    address: SocketAddr,
}

impl Door {
    /// Calls go to the relay, if this process has one.
    pub(super) fn new(relay: Option<Relay>, router: Router) -> Self {
        Self { relay, router }
    }
}

impl<L: Listener<Addr = SocketAddr>> Service<IncomingStream<'_, L>> for Door {
    type Response = Peer;
    type Error = Infallible;
    type Future = Ready<Result<Peer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, L>) -> Self::Future {
        ready(Ok(Peer { door: self.clone(), address: *stream.remote_addr() }))
    }
}

impl Service<Request> for Peer {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answered = match &self.door.relay {
            Some(relay) => relay.answer(self.address, request),
            None => Err(request),
        };
        match answered {
            Ok(answering) => Box::pin(async {
                let mut response = answering.await;
                http::secure(&mut response, false);
                Ok(response)
            }),
            Err(mut request) => {
                request.extensions_mut().insert(ConnectInfo(self.address));
                Box::pin(self.door.router.call(request))
            }
        }
    }
}
