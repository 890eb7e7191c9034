//! An answer that is passed on event by event.
//!
//! Claims: a caller gets whole events, as they came, in order; the last bytes wait for the settlement; the head waits
//! for the first content (bounded in time), so that another provider can be tried while nothing was seen; a stream
//! that breaks off ends with an error that clients notice; the usage chunk that only we asked for is not passed on.

use super::attempt::Failure;
use super::client::Client;
use super::settlement::Settlement;
use crate::error::CallError;
use crate::metering::Holding;
use crate::openai::{self, answer};
use crate::options::RelayOptions;
use crate::sse::{Event, Splitter};
use axum::http::StatusCode;
use bytes::Bytes;
use domain::{Outcome, Tokens};
use tokio::time::Instant;

/// A comment line: clients skip it, and whatever stands between sees that the connection lives.
const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// How many events are held back at most. Providers send one or two before the first content, and comments.
const MAX_HELD_BACK: usize = 64;

/// How a stream ended. Its last bytes are still to be sent.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// Did the provider's answer come to its end?
    pub(crate) is_complete: bool,
    /// Did the client get the head?
    pub(crate) has_head: bool,
    /// What went wrong, if anything: a short code.
    pub(crate) failure: Option<&'static str>,
    /// The last bytes.
    pub(crate) tail: Option<Bytes>,
    /// The provider's response, if its end is still to be read.
    pub(crate) rest: Option<reqwest::Response>,
}

/// Passes a stream on to its end. After an error the client has seen nothing.
pub(crate) async fn forward<H: Holding>(
    options: &RelayOptions,
    mut response: reqwest::Response,
    settlement: &mut Settlement<H>,
    client: &mut Client,
    deadline: Instant,
) -> Result<Ended, Failure> {
    let now = Instant::now();
    let status = response.status();
    let mut splitter = Splitter::new(options.max_event_bytes);
    let mut stream = Forward {
        options,
        hides_usage: !settlement.call().chat.wants_usage,
        settlement,
        client,
        held_back: Vec::new(),
        hold_back_until: now + options.hold_back,
        is_committed: false,
        has_head: false,
        is_finished: false,
        last_sent: now,
        gone: None,
    };
    let mut last_read = now;
    loop {
        let wake_at = stream.wake_at(last_read, deadline);
        let step = tokio::select! {
            biased;
            chunk = response.chunk() => Step::Read(chunk),
            () = stream.client.left() => Step::ClientLeft,
            () = tokio::time::sleep_until(wake_at) => Step::Wake,
        };
        let now = Instant::now();
        let ended = match step {
            Step::Read(Ok(Some(chunk))) => {
                last_read = now;
                stream.settlement.first_byte();
                splitter.push(&chunk);
                stream.read_on(chunk.len() as u64, now);
                let ended = stream.events(&mut splitter).await;
                stream.settlement.progressed(now);
                ended
            }
            Step::Read(Ok(None)) => stream.end_of_bytes(&mut splitter).await,
            Step::Read(Err(error)) => stream.broken(Failure::transport("broken", error)).await.map(Some),
            Step::ClientLeft => {
                stream.gone.get_or_insert(Gone { since: now, bytes: 0 });
                Ok(None)
            }
            Step::Wake => stream.woken(now, last_read, deadline).await,
        };
        if let Some(mut ended) = ended.map_err(|failure| failure.with_status(status))? {
            // After the last event nothing but the end of the body can come.
            ended.rest = ended.is_complete.then_some(response);
            return Ok(ended);
        }
    }
}

enum Step {
    Read(Result<Option<Bytes>, reqwest::Error>),
    ClientLeft,
    Wake,
}

struct Gone {
    since: Instant,
    /// What was read since.
    bytes: u64,
}

struct Forward<'a, H: Holding> {
    options: &'a RelayOptions,
    settlement: &'a mut Settlement<H>,
    client: &'a mut Client,
    hides_usage: bool,
    /// What came before the head was sent.
    held_back: Vec<Bytes>,
    hold_back_until: Instant,
    /// Is it too late for another provider?
    is_committed: bool,
    has_head: bool,
    /// Was there a finish reason?
    is_finished: bool,
    last_sent: Instant,
    gone: Option<Gone>,
}

impl<H: Holding> Forward<'_, H> {
    /// When to look up even if nothing comes.
    fn wake_at(&self, last_read: Instant, deadline: Instant) -> Instant {
        let silence = last_read + self.options.idle_timeout;
        let others = [
            (!self.is_committed).then_some(self.hold_back_until),
            self.gone.as_ref().map(|gone| gone.since + self.options.read_on_limit),
            self.keep_alive_at(),
        ];
        others.into_iter().flatten().fold(silence.min(deadline), Instant::min)
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        let is_reading = self.has_head && self.gone.is_none();
        self.options.keep_alive.filter(|_| is_reading).map(|silence| self.last_sent + silence)
    }

    async fn woken(
        &mut self,
        now: Instant,
        last_read: Instant,
        deadline: Instant,
    ) -> Result<Option<Ended>, Failure> {
        if now >= deadline {
            return self.broken(Failure::timeout("call_limit")).await.map(Some);
        }
        if now >= last_read + self.options.idle_timeout {
            return self.broken(Failure::timeout("idle_timeout")).await.map(Some);
        }
        if self.is_read_on_over(now) {
            return Ok(Some(self.abandoned()));
        }
        if !self.is_committed && now >= self.hold_back_until {
            self.commit().await;
        }
        if self.keep_alive_at().is_some_and(|at| now >= at) {
            self.send(KEEP_ALIVE).await;
        }
        Ok(None)
    }

    /// Counts what is read for a client that is gone.
    fn read_on(&mut self, bytes: u64, now: Instant) {
        if self.gone.is_none() && self.client.is_gone() {
            self.gone = Some(Gone { since: now, bytes: 0 });
        }
        if let Some(gone) = &mut self.gone {
            gone.bytes = gone.bytes.saturating_add(bytes);
        }
    }

    fn is_read_on_over(&self, now: Instant) -> bool {
        self.gone.as_ref().is_some_and(|gone| {
            now >= gone.since + self.options.read_on_limit || gone.bytes > self.options.read_on_bytes
        })
    }

    /// Takes all whole events that have come.
    async fn events(&mut self, splitter: &mut Splitter) -> Result<Option<Ended>, Failure> {
        loop {
            match splitter.next_event() {
                Ok(Some(event)) => {
                    if let Some(ended) = self.event(event).await? {
                        return Ok(Some(ended));
                    }
                }
                Ok(None) if self.is_read_on_over(Instant::now()) => return Ok(Some(self.abandoned())),
                Ok(None) => return Ok(None),
                Err(_) => return self.broken(Failure::failed("event_too_long")).await.map(Some),
            }
        }
    }

    /// One event: passed on, hidden, or the end.
    async fn event(&mut self, event: Event) -> Result<Option<Ended>, Failure> {
        let Some(data) = event.data() else {
            self.pass(event.raw.clone()).await;
            return Ok(None);
        };
        if data.starts_with(b"[DONE]") {
            return self.done(event.raw.clone()).await.map(Some);
        }
        let Some(read) = answer::read(&data, &mut self.settlement.delivered) else {
            // Not JSON of any known shape: the caller's library decides what to make of it.
            self.pass(event.raw.clone()).await;
            return Ok(None);
        };
        if let Some(error) = read.error {
            let error = openai::error::refused_by(StatusCode::BAD_GATEWAY, Some(error));
            return self.broken_by(Failure::failed("error_in_stream"), &error).await.map(Some);
        }
        if read.usage.is_some() {
            self.settlement.reported = read.usage;
        }
        self.is_finished |= read.finished;
        // Azure's first chunk has no choices either, but no usage.
        if self.hides_usage && read.has_usage && !read.has_choices {
            return Ok(None);
        }
        if !self.is_committed && (self.is_finished || !self.settlement.delivered.is_empty()) {
            self.commit().await;
        }
        self.pass(event.raw.clone()).await;
        Ok(None)
    }

    /// The provider says that it is done. Its last event waits for the settlement.
    async fn done(&mut self, raw: Bytes) -> Result<Ended, Failure> {
        if self.is_empty() {
            return self.broken(Failure::failed("empty_stream")).await;
        }
        self.commit().await;
        Ok(self.completed(Some(raw)))
    }

    /// The provider's bytes have ended, with or without an end of its stream.
    async fn end_of_bytes(&mut self, splitter: &mut Splitter) -> Result<Option<Ended>, Failure> {
        if let Some(event) = splitter.rest() {
            // A last event that lacks its blank line still counts, but half of one is nothing that a client can use.
            let data = event.data();
            let is_done = data.as_ref().is_some_and(|data| data.starts_with(b"[DONE]"));
            let is_whole =
                data.is_some_and(|data| serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok());
            if is_done || is_whole {
                let mut raw = event.raw.to_vec();
                raw.extend_from_slice(b"\n\n");
                if let Some(ended) = self.event(Event { raw: raw.into() }).await? {
                    return Ok(Some(ended));
                }
            }
        }
        let code = if self.is_empty() { "empty_stream" } else { "cut_off" };
        self.broken(Failure::failed(code)).await.map(Some)
    }

    /// Nothing of use has come.
    fn is_empty(&self) -> bool {
        let has_usage = self.settlement.reported.is_some_and(|tokens| tokens != Tokens::default());
        !self.is_finished && !has_usage && self.settlement.delivered.is_empty()
    }

    /// The stream broke off: after its finish reason that is as good as an end, before the head it is a failed try,
    /// in between the client is told.
    async fn broken(&mut self, failure: Failure) -> Result<Ended, Failure> {
        let error = match failure.kind {
            super::attempt::FailureKind::Timeout => CallError::ProviderTimeout,
            super::attempt::FailureKind::Failed
            | super::attempt::FailureKind::Busy { .. }
            | super::attempt::FailureKind::Unauthorized => CallError::ProviderFailed,
        };
        self.broken_by(failure, &error).await
    }

    async fn broken_by(&mut self, failure: Failure, error: &CallError) -> Result<Ended, Failure> {
        if self.is_finished {
            self.commit().await;
            return Ok(self.completed(None));
        }
        if !self.is_committed {
            return Err(failure);
        }
        let outcome = if self.client.is_gone() { Outcome::ClientGone } else { Outcome::ProviderError };
        Ok(Ended {
            outcome,
            is_complete: false,
            has_head: self.has_head,
            failure: Some(failure.code),
            tail: Some(openai::error::event(error)),
            rest: None,
        })
    }

    fn completed(&self, tail: Option<Bytes>) -> Ended {
        let outcome = if self.client.is_gone() { Outcome::ClientGone } else { Outcome::Completed };
        Ended { outcome, is_complete: true, has_head: self.has_head, failure: None, tail, rest: None }
    }

    /// The client is gone, and the provider goes on for longer than its usage is worth waiting for.
    fn abandoned(&self) -> Ended {
        Ended {
            outcome: Outcome::ClientGone,
            is_complete: false,
            has_head: self.has_head,
            failure: Some("read_on_limit"),
            tail: None,
            rest: None,
        }
    }

    /// From here on no other provider is tried: the head goes out, and what was held back.
    async fn commit(&mut self) {
        if self.is_committed {
            return;
        }
        self.is_committed = true;
        self.has_head = self.client.begin_stream();
        for bytes in std::mem::take(&mut self.held_back) {
            self.send(bytes).await;
        }
    }

    async fn pass(&mut self, raw: Bytes) {
        if !self.is_committed && self.held_back.len() >= MAX_HELD_BACK {
            self.commit().await;
        }
        if self.is_committed {
            self.send(raw).await;
        } else {
            self.held_back.push(raw);
        }
    }

    async fn send(&mut self, bytes: Bytes) {
        self.client.send(bytes, self.options.client_timeout).await;
        self.last_sent = Instant::now();
    }
}
