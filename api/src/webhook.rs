//! Webhooks: the courier that takes calls from the queue to the addresses that users gave.
//!
//! For: signing a call and making it, with a limit on everything that the other side decides. What is told and to whom is
//! [`crate::directory::notice`]'s; the queue is [`crate::directory::webhook`]'s.
//! May not touch: SQL; the body.
//! Claims: without the operator's switch nothing is connected to but public addresses, by https, whatever a name resolves to
//! and wherever an answer points: names are checked at the connection, redirects are not followed, and no proxy is used that
//! would resolve them elsewhere. A receiver that hangs holds up nobody for longer than [`TRY_LIMIT`], and of what it answers
//! only the status is read. A call that was answered with a 2xx is not made again by anybody, unless its owner asks; any other
//! is tried again, ever more rarely, and given up after [`MAX_ATTEMPTS`]. A process that dies between the answer and its own
//! note of it is the one way to a second call, under the same id.

use crate::config::Config;
use crate::directory::{
    Directory, DirectoryError,
    address::{Guard, check_webhook_literal},
    now,
    webhook::{ClaimedDelivery, Failure},
};
use hmac::{Hmac, KeyInit, Mac};
use relay::Secret;
use reqwest::{StatusCode, header};
use sha2::Sha256;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// A call is given up after so many tries: with the pauses between them, after about eighteen hours.
pub const MAX_ATTEMPTS: i64 = 15;
/// How long one try may take, from the name to the answer's status.
pub const TRY_LIMIT: Duration = Duration::from_secs(10);
/// How long the connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How often the queue is looked at; a test that is asked for in this process is seen at once.
const WATCH: Duration = Duration::from_secs(1);
/// How many calls are under way at once.
const AT_ONCE: usize = 16;

/// Moment and signatures.
pub const SIGNATURE: &str = "nexusroute-signature";
/// What happened.
pub const EVENT: &str = "nexusroute-event";
/// The call's id, the same at every try.
pub const DELIVERY: &str = "nexusroute-delivery";
const USER_AGENT: &str = "NexusRoute-Webhook/1";

/// Makes the calls. Cloning it clones one pointer.
#[derive(Clone)]
pub struct Courier(Arc<Inner>);

struct Inner {
    directory: Directory,
    client: reqwest::Client,
    allow_private: bool,
    wake: Notify,
}

impl Courier {
    /// As configured.
    pub fn try_new(config: &Config, directory: Directory) -> Result<Self, reqwest::Error> {
        let allow_private = config.allow_private_webhooks;
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .dns_resolver(Guard { allow_private })
            .https_only(!allow_private)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(TRY_LIMIT)
            // Calls are rare, and a connection that is kept was checked for a name's address of another day.
            .pool_max_idle_per_host(0)
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self(Arc::new(Inner { directory, client, allow_private, wake: Notify::new() })))
    }

    /// Something was asked for: looks at once.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Makes the calls that stand in the queue, until told to stop. Run it as a task of its own.
    pub async fn keep_delivering(self, stop: CancellationToken) {
        let mut under_way = JoinSet::new();
        while !stop.is_cancelled() {
            let claimed = self.0.directory.claim_deliveries(AT_ONCE - under_way.len()).await;
            let claimed = claimed.unwrap_or_else(|error| {
                tracing::warn!(%error, "the queue of webhooks cannot be read; it is looked at again");
                Vec::new()
            });
            for it in claimed {
                let courier = self.clone();
                under_way.spawn(async move { courier.deliver(&it).await });
            }
            let is_full = under_way.len() >= AT_ONCE;
            tokio::select! {
                () = stop.cancelled() => break,
                // A call that ends makes room, and its user's next one may be made.
                Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
                () = self.0.wake.notified(), if !is_full => {}
                () = tokio::time::sleep(WATCH), if !is_full => {}
            }
        }
        // None takes longer than its limit; one that is broken off would be made twice.
        while under_way.join_next().await.is_some() {}
    }

    /// Makes one call and notes how it went. What cannot be noted is tried again when the claim is over.
    async fn deliver(&self, it: &ClaimedDelivery) {
        if let Err(error) = self.try_deliver(it).await {
            tracing::warn!(delivery = %it.id, %error, "a webhook's call waits for the database");
        }
    }

    async fn try_deliver(&self, it: &ClaimedDelivery) -> Result<(), DirectoryError> {
        let directory = &self.0.directory;
        match self.post(it).await {
            Ok(status) => directory.delivery_taken(it, status.as_u16()).await,
            Err(failure) => {
                let is_over =
                    it.attempts >= MAX_ATTEMPTS || failure.status == Some(StatusCode::GONE.as_u16());
                let again_at = (!is_over).then(|| now().plus_ms(pause_ms(it.attempts)));
                tracing::debug!(delivery = %it.id, account = %it.user, attempts = it.attempts, error = failure.error, "a webhook's call was not taken");
                directory.delivery_failed(it, &failure, again_at).await
            }
        }
    }

    async fn post(&self, it: &ClaimedDelivery) -> Result<StatusCode, Failure> {
        let fails = |error: String| Failure { status: None, error };
        let url = check_webhook_literal(&it.url, self.0.allow_private)
            .map_err(|fault| fails(format!("the address {fault}")))?;
        if it.secrets.is_empty() {
            return Err(fails("the secret cannot be used; rotate it".into()));
        }
        let signature = sign(&it.secrets, now().micros() / 1_000_000, &it.body);
        let request = self
            .0
            .client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(EVENT, &it.event)
            .header(DELIVERY, it.id.to_string())
            .header(SIGNATURE, signature)
            .body(it.body.clone());
        // The answer is dropped with its body unread, and the connection with it.
        let status = request.send().await.map_err(|error| fails(cause(&error)))?.status();
        match status {
            status if status.is_success() => Ok(status),
            status if status.is_redirection() => Err(Failure {
                status: Some(status.as_u16()),
                error: format!("it answered {status}; redirects are not followed"),
            }),
            status => Err(Failure { status: Some(status.as_u16()), error: format!("it answered {status}") }),
        }
    }
}

/// The header that tells when a body was signed, and its signature by each secret: `t=1732350000,v1=…`.
///
/// A signature is the HMAC-SHA256 of the moment's digits, a dot and the body, in hexadecimal, under the secret's text.
pub fn sign(secrets: &[Secret], at_s: i64, body: &str) -> String {
    let mut header = format!("t={at_s}");
    for secret in secrets {
        // HMAC takes keys of any length; a secret that is none would leave the header without a signature.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) {
            mac.update(format!("{at_s}.{body}").as_bytes());
            header.push_str(&format!(",v1={}", hex::encode(mac.finalize().into_bytes())));
        }
    }
    header
}

/// The pause after the n-th try: ten seconds, doubled up to four hours.
fn pause_ms(attempts: i64) -> i64 {
    let exponent = u32::try_from(attempts.clamp(1, 12) - 1).unwrap_or(0);
    2_i64.pow(exponent).saturating_mul(10_000).min(4 * 3_600_000)
}

/// Why a call failed, down to the first cause.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TRY_LIMIT.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
