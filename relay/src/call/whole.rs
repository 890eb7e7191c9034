//! An answer that is read whole before its caller gets any of it.

use super::attempt::{Failure, Reached};
use super::settlement::Settlement;
use crate::custom::answer::Shaped;
use crate::gemini::framing::ArrayFraming;
use crate::http::Response;
use crate::metering::Holding;
use crate::options::RelayOptions;
use crate::wire::{Wire, convert};
use axum::http::{HeaderValue, StatusCode, header};
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

/// A provider's answer, in its caller's words.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: HeaderValue,
    pub(crate) body: Bytes,
    /// Is it a stream that came whole?
    pub(crate) is_events: bool,
}

/// Reads the answer and tells the settlement what it came to. Nothing has reached the client yet, so a broken answer
/// is a failed try.
pub(crate) async fn read<H: Holding>(
    options: &RelayOptions,
    reached: Reached,
    settlement: &mut Settlement<H>,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let Reached { response, wire, custom } = reached;
    let status = response.status;
    let content_type = response.headers.get(header::CONTENT_TYPE).cloned();
    let body = collect(options, response, deadline).await.map_err(|failure| failure.with_status(status))?;
    let unusable = |code| Err(Failure::failed(code).with_status(status));
    let call = settlement.call();
    let Shaped { body, tokens } = match &custom {
        None => Shaped { body, tokens: None },
        Some(custom) => custom.whole(wire, body, &call.voice()),
    };
    match wire.whole(&body, &mut settlement.delivered) {
        None => return unusable("illegible"),
        Some(seen) if seen.error.is_some() && !seen.has_answer => return unusable("error_in_answer"),
        Some(seen) if !seen.has_answer && tokens.or(seen.usage).is_none() => return unusable("empty_answer"),
        Some(seen) => {
            settlement.reported = tokens.or(seen.usage);
            settlement.made = seen.units;
        }
    }
    let asked = call.asked.endpoint.wire();
    // Whoever asked for a stream reads nothing else.
    if call.asked.stream && wire.is_conversation() {
        let Some(events) = convert::answer_as_stream(wire, asked, &body, call.voice()) else {
            return unusable("unconvertible");
        };
        return Ok(as_stream(status, events, call.asked.frames_as_array));
    }
    if asked == wire {
        let json = HeaderValue::from_static("application/json");
        // What is not JSON by its endpoint (sound, subtitles) says itself what it is.
        let content_type =
            if call.asked.endpoint.answers_json() { json } else { content_type.unwrap_or(json) };
        return Ok(Answer { status, content_type, body, is_events: false });
    }
    let converted = match wire {
        Wire::Embeddings | Wire::GeminiEmbeddings => {
            let tokens =
                settlement.reported.map_or_else(|| call.asked.input.likely(), |tokens| tokens.input_total());
            convert::vectors(&call.asked, wire, &body, tokens)
        }
        _ => convert::answer(wire, asked, &body, &call.voice()),
    };
    match converted {
        Some(body) => {
            let content_type = HeaderValue::from_static("application/json");
            Ok(Answer { status, content_type, body, is_events: false })
        }
        None => unusable("unconvertible"),
    }
}

/// The events of a whole answer, as a caller of a stream gets them.
fn as_stream(status: StatusCode, events: Bytes, frames_as_array: bool) -> Answer {
    if !frames_as_array {
        let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
        return Answer { status, content_type, body: events, is_events: true };
    }
    let mut array = ArrayFraming::new(events.len());
    let mut body = BytesMut::new();
    // No event is longer than all of them.
    let _ = array.push(&events, &mut body);
    array.end(&mut body);
    let content_type = HeaderValue::from_static("application/json");
    Answer { status, content_type, body: body.freeze(), is_events: true }
}

async fn collect(
    options: &RelayOptions,
    mut response: Response,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    let too_long = || Failure::failed("answer_too_long");
    let announced =
        response.length().map_or(Ok(0), |length| usize::try_from(length).map_err(|_| too_long()))?;
    if announced > options.max_response_bytes {
        return Err(too_long());
    }
    let mut body = BytesMut::with_capacity(announced);
    loop {
        let silence = deadline.min(Instant::now() + options.idle_timeout);
        match timeout_at(silence, response.chunk()).await {
            Err(_) => return Err(Failure::timeout("idle_timeout")),
            Ok(Err(error)) => return Err(Failure::transport("broken", error)),
            Ok(Ok(None)) => return Ok(body.freeze()),
            Ok(Ok(Some(chunk))) => {
                if body.len() + chunk.len() > options.max_response_bytes {
                    return Err(too_long());
                }
                body.extend_from_slice(&chunk);
            }
        }
    }
}
