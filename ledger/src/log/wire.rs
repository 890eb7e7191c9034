//! The wire: requests to the server and messages between nodes, over NATS or inside a simulation.
//!
//! May not touch: what is said. Claims: a request has one answer, or an error after the time that the log's options allow.

use crate::LedgerError;
use async_nats::HeaderMap;
use async_nats::jetstream;
use bytes::Bytes;
use futures_util::StreamExt;

/// How the log reaches its server.
#[cfg_attr(test, expect(clippy::large_enum_variant, reason = "there is one for each connection"))]
pub(crate) enum Wire {
    Nats {
        client: async_nats::Client,
        context: jetstream::Context,
    },
    #[cfg(test)]
    Simulated(std::sync::Arc<dyn Simulated>),
}

/// What is heard on a pattern of subjects: subject and payload.
pub(crate) enum Heard {
    Nats(async_nats::Subscriber),
    #[cfg(test)]
    Simulated(tokio::sync::mpsc::UnboundedReceiver<(String, Bytes)>),
}

/// A server and its network that are played by a test.
#[cfg(test)]
pub(crate) trait Simulated: Send + Sync {
    fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> futures_util::future::BoxFuture<'_, Result<Bytes, String>>;

    fn publish(&self, subject: String, payload: Bytes);

    fn subscribe(&self, pattern: String) -> tokio::sync::mpsc::UnboundedReceiver<(String, Bytes)>;
}

impl Wire {
    pub(super) fn nats(client: async_nats::Client) -> Self {
        let context = jetstream::new(client.clone());
        Self::Nats { client, context }
    }

    pub(super) async fn request(
        &self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<Bytes, String> {
        match self {
            Self::Nats { client, .. } => {
                let mut request = async_nats::Request::new().payload(payload);
                if let Some(headers) = headers {
                    request = request.headers(headers);
                }
                let answer = client.send_request(subject, request).await;
                answer.map(|answer| answer.payload).map_err(|error| error.to_string())
            }
            #[cfg(test)]
            Self::Simulated(server) => server.request(subject, headers, payload).await,
        }
    }

    pub(super) async fn publish(&self, subject: String, payload: Bytes) -> Result<(), String> {
        match self {
            Self::Nats { client, .. } => {
                client.publish(subject, payload).await.map_err(|error| error.to_string())
            }
            #[cfg(test)]
            Self::Simulated(server) => {
                server.publish(subject, payload);
                Ok(())
            }
        }
    }

    pub(super) async fn subscribe(&self, pattern: String) -> Result<Heard, String> {
        match self {
            Self::Nats { client, .. } => {
                client.subscribe(pattern).await.map(Heard::Nats).map_err(|error| error.to_string())
            }
            #[cfg(test)]
            Self::Simulated(server) => Ok(Heard::Simulated(server.subscribe(pattern))),
        }
    }

    /// The server's version; of a simulated one, what suffices.
    pub(super) fn server_version(&self) -> String {
        match self {
            Self::Nats { client, .. } => client.server_info().version,
            #[cfg(test)]
            Self::Simulated(_) => "2.12.0".into(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        match self {
            Self::Nats { client, .. } => {
                client.connection_state() == async_nats::connection::State::Connected
            }
            #[cfg(test)]
            Self::Simulated(_) => true,
        }
    }

    /// For consumers, which only a real server has.
    pub(super) fn context(&self) -> Result<&jetstream::Context, LedgerError> {
        match self {
            Self::Nats { context, .. } => Ok(context),
            #[cfg(test)]
            Self::Simulated(_) => Err(LedgerError::Unavailable("a simulated server has no consumers".into())),
        }
    }
}

impl Heard {
    /// The next message; `None` when nothing will come any more.
    pub(crate) async fn next(&mut self) -> Option<(String, Bytes)> {
        match self {
            Self::Nats(subscriber) => {
                subscriber.next().await.map(|message| (message.subject.to_string(), message.payload))
            }
            #[cfg(test)]
            Self::Simulated(receiver) => receiver.recv().await,
        }
    }
}
