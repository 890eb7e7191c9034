//! An answer that is passed on event by event.
//!
//! Claims: a caller gets whole events, as they came, in order, and in one piece what was there at once; the last bytes
//! wait for the settlement; the head waits for the first content (bounded in time), so that another provider can be
//! tried while nothing was seen; a stream that breaks off, or holds what nobody can read, ends with an error that
//! clients notice; the usage chunk that only we asked for is not passed on; a stream that costs more than its hold, which its
//! account cannot extend, is ended by the protocol's word for "length".

use super::attempt::{Failure, Reached};
use super::client::{Client, Head};
use super::settlement::Settlement;
use crate::custom::stream::{Lines, Shaper};
use crate::error::CallError;
use crate::gemini::framing::ArrayFraming;
use crate::http::{Broken, Response};
use crate::metering::Holding;
use crate::options::RelayOptions;
use crate::seen::{Cut, Watch};
use crate::sse::{Event, EventTooLong, Splitter};
use crate::wire::Framing;
use crate::wire::convert::Translator;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use domain::{Outcome, Tokens};
use futures_util::FutureExt;
use std::collections::VecDeque;
use tokio::time::Instant;

/// How many packets are taken at most before their events are passed on.
const MAX_GATHERED: usize = 32;

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
    pub(crate) rest: Option<Response>,
}

/// Passes a stream on to its end. After an error the client has seen nothing.
pub(crate) async fn forward<H: Holding>(
    options: &RelayOptions,
    reached: Reached,
    settlement: &mut Settlement<H>,
    client: &mut Client,
    deadline: Instant,
) -> Result<Ended, Failure> {
    let now = Instant::now();
    let Reached { mut response, wire, custom } = reached;
    let status = response.status;
    let call = settlement.call();
    let asked = &call.asked;
    let content_type = response.headers.get(header::CONTENT_TYPE);
    let limit = options.max_event_bytes;
    let shaper = custom.as_ref().and_then(|custom| Shaper::new(custom, wire, call.voice(), limit));
    let cuts_lines = custom.is_some_and(|custom| custom.streams_lines(wire));
    let is_conversation = cuts_lines || shaper.is_some();
    let framing = if is_conversation { Framing::Events } else { Framing::of(content_type) };
    let cutter = if cuts_lines { Cutter::Lines(Lines::new(limit)) } else { Cutter::new(framing, limit) };
    let mut pieces = Pieces { cutter, shaper: shaper.map(Box::new), ready: VecDeque::new() };
    let is_through = wire == asked.endpoint.wire();
    let translator =
        if is_through { None } else { Translator::new(wire, asked.endpoint.wire(), call.voice()) };
    if !is_through && translator.is_none() {
        return Err(Failure::failed("unconvertible").with_status(status));
    }
    let head = Head {
        content_type: match framing {
            Framing::Events if asked.frames_as_array => HeaderValue::from_static("application/json"),
            Framing::Events => HeaderValue::from_static("text/event-stream; charset=utf-8"),
            Framing::Bytes => {
                content_type.cloned().unwrap_or(HeaderValue::from_static("application/octet-stream"))
            }
        },
        dropped: settlement.dropped(),
    };
    // They lie in the connection's buffer and would keep it for as long as the stream lasts.
    response.headers = HeaderMap::new();
    let mut stream = Forward {
        options,
        watch: wire.watch(framing),
        framing,
        translator,
        array: asked.frames_as_array.then(|| ArrayFraming::new(options.max_event_bytes)),
        hides_usage: is_through && !asked.wants_usage,
        choices: asked.choices(),
        settlement,
        client,
        head,
        held_back: Vec::new(),
        hold_back_until: now + options.hold_back,
        is_committed: false,
        has_head: false,
        is_finished: false,
        withheld: Bytes::new(),
        due: Vec::new(),
        last_sent: now,
        gone: None,
        deadline,
    };
    let mut last_read = now;
    // What was read of the answer beyond what is being passed on.
    let mut ahead = None;
    loop {
        let step = match ahead.take() {
            Some(read) => Step::Read(read),
            None => {
                let wake_at = stream.wake_at(last_read);
                tokio::select! {
                    biased;
                    chunk = response.chunk() => Step::Read(chunk),
                    () = stream.client.left() => Step::ClientLeft,
                    () = tokio::time::sleep_until(wake_at) => Step::Wake,
                }
            }
        };
        let now = Instant::now();
        let ended = match step {
            Step::Read(Ok(Some(chunk))) => {
                last_read = now;
                stream.settlement.first_byte();
                stream.read_on(chunk.len() as u64, now);
                pieces.push(chunk);
                if framing == Framing::Events {
                    ahead = gather(
                        async || response.chunk().await,
                        |chunk| {
                            stream.read_on(chunk.len() as u64, now);
                            pieces.push(chunk);
                        },
                    )
                    .await;
                }
                let ended = stream.events(&mut pieces).await;
                stream.settlement.progressed(now);
                ended
            }
            Step::Read(Ok(None)) => stream.end_of_bytes(&mut pieces).await,
            Step::Read(Err(error)) => stream.broken(Failure::transport("broken", error)).await.map(Some),
            Step::ClientLeft => {
                stream.gone.get_or_insert(Gone { since: now, bytes: 0 });
                Ok(None)
            }
            Step::Wake => stream.woken(now, last_read).await,
        };
        // Asked after every step: a provider that never pauses is stopped as well as one that is silent.
        let ended = match ended {
            Ok(None) if Instant::now() >= deadline => {
                stream.broken(Failure::timeout("call_limit")).await.map(Some)
            }
            ended => ended,
        };
        stream.flush().await;
        if let Some(mut ended) = ended.map_err(|failure| failure.with_status(status))? {
            // After the last event nothing but the end of the body can come.
            ended.rest = ended.is_complete.then_some(response);
            return Ok(ended);
        }
    }
}

/// Takes what has come already, so that it leaves in one piece: each piece by itself would cost a write to the client.
/// Between two looks whatever is ready gets its turn, the connection to the provider among it; nothing is waited for.
/// Answers with the end of the answer, if that was met.
async fn gather<E>(
    mut next: impl AsyncFnMut() -> Result<Option<Bytes>, E>,
    mut take: impl FnMut(Bytes),
) -> Option<Result<Option<Bytes>, E>> {
    for _ in 1..MAX_GATHERED {
        tokio::task::yield_now().await;
        match next().now_or_never()? {
            Ok(Some(chunk)) => take(chunk),
            end => return Some(end),
        }
    }
    None
}

enum Step {
    Read(Result<Option<Bytes>, Broken>),
    ClientLeft,
    Wake,
}

/// What comes, cut into pieces.
struct Pieces {
    cutter: Cutter,
    /// Makes a vendor's events into those of its wire.
    shaper: Option<Box<Shaper>>,
    /// What it made, in order.
    ready: VecDeque<Event>,
}

impl Pieces {
    fn push(&mut self, chunk: Bytes) {
        self.cutter.push(chunk);
    }

    fn next(&mut self) -> Result<Option<Event>, EventTooLong> {
        let Some(shaper) = &mut self.shaper else { return self.cutter.next() };
        while self.ready.is_empty() {
            let Some(event) = self.cutter.next()? else { return Ok(None) };
            shaper.event(&event, &mut self.ready);
        }
        Ok(self.ready.pop_front())
    }

    /// What is left at the end of the bytes: asked until there is nothing.
    fn rest(&mut self) -> Option<Event> {
        let rest = self.cutter.rest();
        let Some(shaper) = &mut self.shaper else { return rest };
        if let Some(event) = rest.filter(|event| !is_garbled(event)) {
            shaper.event(&event, &mut self.ready);
        }
        shaper.end(&mut self.ready);
        self.ready.pop_front()
    }

    /// The counts so far, where a template names them.
    fn tokens(&self) -> Option<Tokens> {
        self.shaper.as_ref()?.tokens()
    }
}

enum Cutter {
    Events(Splitter),
    Lines(Lines),
    Bytes(Option<Bytes>),
}

impl Cutter {
    fn new(framing: Framing, limit: usize) -> Self {
        match framing {
            Framing::Events => Self::Events(Splitter::new(limit)),
            Framing::Bytes => Self::Bytes(None),
        }
    }

    fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Events(splitter) => splitter.push(&chunk),
            Self::Lines(lines) => lines.push(&chunk),
            Self::Bytes(piece) => *piece = Some(chunk),
        }
    }

    fn next(&mut self) -> Result<Option<Event>, EventTooLong> {
        match self {
            Self::Events(splitter) => splitter.next_event(),
            Self::Lines(lines) => lines.next_event(),
            Self::Bytes(piece) => Ok(piece.take().map(|raw| Event { raw })),
        }
    }

    fn rest(&mut self) -> Option<Event> {
        match self {
            Self::Events(splitter) => splitter.rest(),
            Self::Lines(lines) => lines.rest(),
            Self::Bytes(_) => None,
        }
    }
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
    head: Head,
    /// Reads the provider's events for the settlement.
    watch: Box<dyn Watch>,
    framing: Framing,
    /// Turns them into the caller's; `None`: they pass through.
    translator: Option<Translator>,
    /// Turns the caller's events into elements of an array, for a caller that wants that.
    array: Option<ArrayFraming>,
    hides_usage: bool,
    /// How many choices there are; `None`: nothing that a length could end.
    choices: Option<u64>,
    /// What came before the head was sent.
    held_back: Vec<Bytes>,
    hold_back_until: Instant,
    /// Is it too late for another provider?
    is_committed: bool,
    has_head: bool,
    /// Was there a finish reason?
    is_finished: bool,
    /// What came with or after the finish reason, until something follows it: the last bytes wait for the settlement.
    withheld: Bytes,
    /// What goes to the client next, in one piece.
    due: Vec<Bytes>,
    last_sent: Instant,
    gone: Option<Gone>,
    /// When the call must be over.
    deadline: Instant,
}

impl<H: Holding> Forward<'_, H> {
    /// When to look up even if nothing comes.
    fn wake_at(&self, last_read: Instant) -> Instant {
        let silence = last_read + self.options.idle_timeout;
        let others = [
            (!self.is_committed).then_some(self.hold_back_until),
            self.gone.as_ref().map(|gone| gone.since + self.options.read_on_limit),
            self.keep_alive_at(),
        ];
        others.into_iter().flatten().fold(silence.min(self.deadline), Instant::min)
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        // Only events have room for a comment.
        let is_reading =
            self.has_head && self.gone.is_none() && self.framing == Framing::Events && self.array.is_none();
        self.options.keep_alive.filter(|_| is_reading).map(|silence| self.last_sent + silence)
    }

    async fn woken(&mut self, now: Instant, last_read: Instant) -> Result<Option<Ended>, Failure> {
        if now >= last_read + self.options.idle_timeout {
            return self.broken(Failure::timeout("idle_timeout")).await.map(Some);
        }
        if self.is_read_on_over(now) {
            return Ok(Some(self.abandoned()));
        }
        if !self.is_committed && now >= self.hold_back_until {
            self.commit();
        }
        if self.keep_alive_at().is_some_and(|at| now >= at) {
            let alive = self.settlement.call().asked.endpoint.keep_alive();
            self.due.push(alive);
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

    /// Takes all whole pieces that have come.
    async fn events(&mut self, pieces: &mut Pieces) -> Result<Option<Ended>, Failure> {
        loop {
            match pieces.next() {
                Ok(Some(event)) => {
                    let ended = self.event(&event).await?;
                    self.counted(pieces);
                    if ended.is_some() {
                        return Ok(ended);
                    }
                }
                Ok(None) if self.is_read_on_over(Instant::now()) => return Ok(Some(self.abandoned())),
                Ok(None) => return Ok(None),
                Err(_) => return self.broken(Failure::failed("event_too_long")).await.map(Some),
            }
        }
    }

    /// One event: passed on, hidden, or the end.
    async fn event(&mut self, event: &Event) -> Result<Option<Ended>, Failure> {
        let Some(seen) = self.watch.event(event, &mut self.settlement.delivered) else {
            if !self.is_finished && is_garbled(event) {
                // A translator would skip it, and leave a hole in the answer that nobody sees.
                return self.broken(Failure::failed("illegible")).await.map(Some);
            }
            // Nothing of any known shape: the caller's library decides what to make of it.
            let bytes = self.rendered(event);
            self.pass(bytes);
            return Ok(None);
        };
        if seen.usage.is_some() {
            self.settlement.reported = seen.usage;
        }
        if seen.units.is_some() {
            self.settlement.made = seen.units;
        }
        if let Some(error) = seen.error {
            return self.broken_by(Failure::failed("error_in_stream"), &error).await.map(Some);
        }
        self.is_finished |= seen.is_finished;
        if seen.is_last {
            return self.done(event).await.map(Some);
        }
        if self.hides_usage && seen.is_usage_only {
            return Ok(None);
        }
        let is_cut = self.choices.is_some_and(|choices| {
            // After the end of its only choice a stream brings counts, and no more costs.
            let goes_on = !self.is_finished || (choices > 1 && !seen.is_finished);
            goes_on && !seen.is_usage_only && !self.settlement.is_within_worst_case()
        }) && Box::pin(self.settlement.has_outgrown_its_hold()).await;
        let has_content =
            !self.settlement.delivered.is_empty() || (self.framing == Framing::Bytes && seen.has_answer);
        if !self.is_committed && (self.is_finished || has_content) {
            self.commit();
        }
        let bytes = self.rendered(event);
        self.pass(bytes);
        if is_cut {
            return Ok(Some(self.cut(event).await));
        }
        Ok(None)
    }

    /// The stream has consumed all that its account has: it ends as if it had met its cap. What was passed on is charged, and
    /// the connection to the provider is closed, so that it stops.
    async fn cut(&mut self, last: &Event) -> Ended {
        let call = self.settlement.call();
        tracing::info!(request = %call.request, account = %call.grant.account, "a stream was ended: its account has no more");
        self.commit();
        self.flush().await;
        let choices = self.choices.unwrap_or(1);
        let tokens = self.settlement.tokens_so_far();
        let end = match &mut self.translator {
            Some(translator) => translator.cut(choices, tokens),
            None => {
                let voice = call.voice();
                let cut = Cut { choices, tokens, wants_usage: call.asked.wants_usage, voice: &voice };
                let end = self.watch.cut(last, &cut);
                if end.is_empty() {
                    call.asked.endpoint.error_event(&self.settlement.outgrown(&self.options.top_up_url))
                } else {
                    end
                }
            }
        };
        let outcome = if self.client.is_gone() { Outcome::ClientGone } else { Outcome::Completed };
        let tail = Some(self.tail(end));
        let failure = Some("hold_spent");
        Ended { outcome, is_complete: false, has_head: self.has_head, failure, tail, rest: None }
    }

    /// Counts that a template names go before those that the format's own reader found.
    fn counted(&mut self, pieces: &Pieces) {
        if let Some(tokens) = pieces.tokens() {
            self.settlement.reported = Some(tokens);
        }
    }

    /// An event in the caller's words; no bytes, if it says nothing there.
    fn rendered(&mut self, event: &Event) -> Bytes {
        match &mut self.translator {
            None => event.raw.clone(),
            Some(translator) => translator.event(event),
        }
    }

    /// The provider says that it is done. Its last event waits for the settlement.
    async fn done(&mut self, event: &Event) -> Result<Ended, Failure> {
        if self.is_empty() {
            return self.broken(Failure::failed("empty_stream")).await;
        }
        self.commit();
        self.flush().await;
        let last = self.rendered(event);
        let rest = self.translator.as_mut().map(Translator::end).unwrap_or_default();
        Ok(self.completed(join([&last, &rest])))
    }

    /// The provider's bytes have ended, with or without an end of its stream.
    async fn end_of_bytes(&mut self, pieces: &mut Pieces) -> Result<Option<Ended>, Failure> {
        while let Some(event) = pieces.rest() {
            // A last event that lacks its blank line still counts, but half of one is nothing that a client can use.
            let says_something = event.data().is_some_and(|data| !data.trim_ascii().is_empty());
            if says_something && !is_garbled(&event) {
                let mut raw = event.raw.to_vec();
                if !event.is_ended() {
                    raw.extend_from_slice(b"\n\n");
                }
                let ended = self.event(&Event { raw: raw.into() }).await?;
                self.counted(pieces);
                if ended.is_some() {
                    return Ok(ended);
                }
            }
        }
        self.counted(pieces);
        // Sound has no other end than that of its bytes.
        self.is_finished |= self.framing == Framing::Bytes && self.is_committed;
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
            | super::attempt::FailureKind::Unauthorized
            | super::attempt::FailureKind::Forbidden => CallError::ProviderFailed,
        };
        self.broken_by(failure, &error).await
    }

    async fn broken_by(&mut self, failure: Failure, error: &CallError) -> Result<Ended, Failure> {
        if self.is_finished {
            self.commit();
            self.flush().await;
            let rest = self.translator.as_mut().map(Translator::end).unwrap_or_default();
            return Ok(self.completed(rest));
        }
        if !self.is_committed {
            return Err(failure);
        }
        self.flush().await;
        let outcome = if self.client.is_gone() { Outcome::ClientGone } else { Outcome::ProviderError };
        let event = match (&mut self.translator, self.framing) {
            (Some(translator), _) => translator.error(error.clone()),
            (None, Framing::Events) => self.settlement.call().asked.endpoint.error_event(error),
            // Sound has no room for an error: it is merely short.
            (None, Framing::Bytes) => Bytes::new(),
        };
        let tail = self.tail(event);
        Ok(Ended {
            outcome,
            is_complete: false,
            has_head: self.has_head,
            failure: Some(failure.code),
            tail: Some(tail),
            rest: None,
        })
    }

    fn completed(&mut self, last: Bytes) -> Ended {
        let outcome = if self.client.is_gone() { Outcome::ClientGone } else { Outcome::Completed };
        let tail = Some(self.tail(last));
        Ended { outcome, is_complete: true, has_head: self.has_head, failure: None, tail, rest: None }
    }

    /// The last bytes as they are sent: what was withheld, and the end.
    fn tail(&mut self, last: Bytes) -> Bytes {
        let all = join([&std::mem::take(&mut self.withheld), &last]);
        match &mut self.array {
            None => all,
            Some(array) => {
                let mut out = BytesMut::new();
                // What we pass on are whole events, each within the limit that the provider's kept to.
                let _ = array.push(&all, &mut out);
                array.end(&mut out);
                out.freeze()
            }
        }
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
    fn commit(&mut self) {
        if self.is_committed {
            return;
        }
        self.is_committed = true;
        self.has_head = self.client.begin_stream(&self.head);
        for bytes in std::mem::take(&mut self.held_back) {
            self.send_framed(bytes);
        }
    }

    /// Passes bytes on, in whole events.
    fn pass(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if !self.is_committed && self.held_back.len() >= MAX_HELD_BACK {
            self.commit();
        }
        if !self.is_committed {
            return self.held_back.push(bytes);
        }
        let due = if self.is_finished { std::mem::replace(&mut self.withheld, bytes) } else { bytes };
        if !due.is_empty() {
            self.send_framed(due);
        }
    }

    fn send_framed(&mut self, bytes: Bytes) {
        let bytes = match &mut self.array {
            None => bytes,
            Some(array) => {
                let mut out = BytesMut::new();
                // As in `tail`.
                let _ = array.push(&bytes, &mut out);
                out.freeze()
            }
        };
        if !bytes.is_empty() {
            self.due.push(bytes);
        }
    }

    /// Hands what is due to the client.
    async fn flush(&mut self) {
        let bytes = match self.due.as_mut_slice() {
            [] => return,
            [only] => std::mem::take(only),
            several => several.concat().into(),
        };
        self.due.clear();
        // A caller that does not read holds the call up no longer than the call may last.
        let limit = self.deadline.saturating_duration_since(Instant::now()).min(self.options.client_timeout);
        self.client.send(bytes, limit).await;
        self.last_sent = Instant::now();
    }
}

/// Does an event hold what is neither JSON nor the mark of an end?
fn is_garbled(event: &Event) -> bool {
    event.data().is_some_and(|data| {
        !data.starts_with(b"[DONE]")
            && !data.trim_ascii().is_empty()
            && serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_err()
    })
}

fn join(parts: [&Bytes; 2]) -> Bytes {
    match parts {
        [only, none] | [none, only] if none.is_empty() => only.clone(),
        both => both.into_iter().flatten().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    /// What was gathered of a channel, and how that ended.
    async fn gathered(
        chunks: &mut mpsc::UnboundedReceiver<Result<Bytes, &'static str>>,
    ) -> (Vec<Bytes>, Option<Result<Option<Bytes>, &'static str>>) {
        let mut taken = Vec::new();
        let end = gather(async || chunks.recv().await.transpose(), |chunk| taken.push(chunk)).await;
        (taken, end)
    }

    fn chunk(number: usize) -> Bytes {
        number.to_string().into()
    }

    #[tokio::test]
    async fn what_is_there_is_gathered_and_nothing_is_waited_for() {
        let (sender, mut chunks) = mpsc::unbounded_channel();
        (0..3).for_each(|number| sender.send(Ok(chunk(number))).unwrap());
        assert_eq!(gathered(&mut chunks).await, ((0..3).map(chunk).collect(), None));
        assert_eq!(gathered(&mut chunks).await, (Vec::new(), None));
    }

    #[tokio::test]
    async fn what_others_bring_between_two_looks_is_gathered_too() {
        let (sender, mut chunks) = mpsc::unbounded_channel();
        let bringing = tokio::spawn(async move {
            for number in 0..5 {
                sender.send(Ok(chunk(number))).unwrap();
                tokio::task::yield_now().await;
            }
            // Held, or the channel would end.
            std::future::pending::<()>().await;
            drop(sender);
        });
        assert_eq!(gathered(&mut chunks).await.0, (0..5).map(chunk).collect::<Vec<_>>());
        bringing.abort();
    }

    #[tokio::test]
    async fn gathering_ends_with_the_answer_or_when_it_is_much() {
        let (sender, mut chunks) = mpsc::unbounded_channel();
        (0..40).for_each(|number| sender.send(Ok(chunk(number))).unwrap());
        let (taken, end) = gathered(&mut chunks).await;
        assert_eq!((taken.len(), end), (MAX_GATHERED - 1, None));
        sender.send(Err("broken")).unwrap();
        let (taken, end) = gathered(&mut chunks).await;
        assert_eq!((taken.len(), end), (40 - MAX_GATHERED + 1, Some(Err("broken"))));
        drop(sender);
        assert_eq!(gathered(&mut chunks).await, (Vec::new(), Some(Ok(None))));
    }
}
