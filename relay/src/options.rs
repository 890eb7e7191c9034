//! The relay's knobs, and the HTTP client that fits them.

use crate::http::{NoClient, ProviderClient};
use ipnet::IpNet;
use std::time::Duration;

/// Limits and addresses; `Default` fits production.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Where a caller tops up; named in the message of every 402.
    pub top_up_url: String,
    /// The longest accepted request body, in bytes.
    pub max_body_bytes: usize,
    /// The longest accepted answer of a provider that is read whole, in bytes.
    pub max_response_bytes: usize,
    /// The longest accepted event of a provider's stream, in bytes.
    pub max_event_bytes: usize,
    /// How many providers are tried for one call.
    pub max_attempts: usize,
    /// How long connecting to a provider may take.
    pub connect_timeout: Duration,
    /// How long a provider may take from the request to the first byte of its answer. An answer that is not streamed
    /// begins when it is complete, so this is also how long such an answer may take.
    pub first_byte_timeout: Duration,
    /// How long a provider may be silent within an answer.
    pub idle_timeout: Duration,
    /// How long a call may take at all. It must stay below the quarantine of leases of a node that died, or a call
    /// could end after its lease was closed.
    pub call_limit: Duration,
    /// How long a caller may take to send the next piece of its body, or to take the next piece of an answer.
    pub client_timeout: Duration,
    /// How many bytes of a stream are read on, after its caller left, to learn the true usage.
    pub read_on_bytes: u64,
    /// For how long a stream is read on after its caller left.
    pub read_on_limit: Duration,
    /// After how much silence of the provider a stream's caller gets a comment line, so that nothing in between takes
    /// the connection for dead. `None`: never.
    pub keep_alive: Option<Duration>,
    /// For how long the head of a stream is held back, waiting for the first piece of content, so that another
    /// provider can still be tried.
    pub hold_back: Duration,
    /// The networks of our own proxies: a request from them is taken to come from the right-most address in
    /// `X-Forwarded-For` that is not one of them.
    pub trusted_proxies: Vec<IpNet>,
    /// Put the charge into a header of answers that are not streamed.
    pub cost_headers: bool,
    /// Let calls through that ask for what price lists do not cover: dearer tiers, tools that the provider runs. What
    /// the provider takes for those is borne by the operator.
    pub allow_unpriced: bool,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            top_up_url: "/".into(),
            max_body_bytes: 32 << 20,
            max_response_bytes: 64 << 20,
            max_event_bytes: 32 << 20,
            max_attempts: 4,
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(120),
            call_limit: Duration::from_secs(540),
            client_timeout: Duration::from_secs(60),
            read_on_bytes: 8 << 20,
            read_on_limit: Duration::from_secs(120),
            keep_alive: Some(Duration::from_secs(15)),
            hold_back: Duration::from_secs(5),
            trusted_proxies: Vec::new(),
            cost_headers: false,
            allow_unpriced: false,
        }
    }
}

/// The client for calls to providers.
///
/// `resolver` decides which addresses a provider's name may stand for, anew at every connection: a name that was
/// fit when an operator entered it can be pointed inward later. A default TLS provider must have been installed before.
///
/// # Errors
/// When the TLS set-up is unusable.
pub fn provider_client(
    options: &RelayOptions,
    resolver: impl reqwest::dns::Resolve + 'static,
) -> Result<ProviderClient, NoClient> {
    ProviderClient::try_new(options.connect_timeout, resolver)
}
