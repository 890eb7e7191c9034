//! An answer that is read whole before its caller gets any of it.

use super::attempt::Failure;
use super::settlement::Settlement;
use crate::metering::Holding;
use crate::openai::answer;
use crate::options::RelayOptions;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

/// A provider's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Its bytes as they came.
    pub(crate) body: Bytes,
}

/// Reads the answer and tells the settlement what it came to. Nothing has reached the client yet, so a broken answer
/// is a failed try.
pub(crate) async fn read<H: Holding>(
    options: &RelayOptions,
    response: reqwest::Response,
    settlement: &mut Settlement<H>,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let status = response.status();
    let body = collect(options, response, deadline).await.map_err(|failure| failure.with_status(status))?;
    let unusable = |code| Err(Failure::failed(code).with_status(status));
    let delivered = &mut settlement.delivered;
    match answer::read(&body, delivered) {
        None => unusable("illegible"),
        Some(read) if read.error.is_some() && !read.has_choices => unusable("error_in_answer"),
        Some(read) if !read.has_choices && read.usage.is_none() => unusable("empty_answer"),
        Some(read) => {
            settlement.reported = read.usage;
            Ok(Answer { status, body })
        }
    }
}

async fn collect(
    options: &RelayOptions,
    mut response: reqwest::Response,
    deadline: Instant,
) -> Result<Bytes, Failure> {
    let too_long = || Failure::failed("answer_too_long");
    let announced =
        response.content_length().map_or(Ok(0), |length| usize::try_from(length).map_err(|_| too_long()))?;
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
