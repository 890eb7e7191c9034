//! Requests that are no conversation: vectors, images, speech, transcripts, marks, ranks.
//!
//! For: reading the few fields that money and routing depend on, in JSON or in a form; the body as the provider gets it.
//! May not touch: sockets, prices.
//! Claims: every byte that is not the model's name reaches the provider as it came.

use super::upload::Upload;
use crate::asked::{Ordered, Output};
use crate::body::{self, FRAME_TOKENS, Medium, Plan, Scan};
use crate::endpoint::Endpoint;
use crate::error::CallError;
use crate::estimate::Estimate;
use axum::http::HeaderMap;
use bytes::Bytes;
use domain::price::MediaUnit;
use std::ops::Range;

/// The model of a moderation that names none: OpenAI's own default.
const DEFAULT_MODERATION: &str = "omni-moderation-latest";
/// The most images that a call may ask for; no provider makes as many.
const MAX_IMAGES: u64 = 64;
/// The fewest bytes that a second of speech takes in any codec that providers accept: 8 kbit/s.
const FEWEST_BYTES_A_SECOND: u64 = 1_000;

/// A request as its caller sent it.
#[derive(Clone, Debug)]
pub(crate) struct PlainRequest {
    body: Bytes,
    /// The model, as the caller names it.
    pub(crate) model: String,
    /// As a stream of events?
    pub(crate) stream: bool,
    /// The prompt's tokens.
    pub(crate) input: Estimate,
    /// The most tokens it may generate.
    pub(crate) output: Output,
    /// What it orders that is not counted in tokens.
    pub(crate) ordered: Option<Ordered>,
    place: Place,
}

/// Where the model's name goes.
#[derive(Clone, Debug)]
enum Place {
    /// In place of a JSON string.
    String(Range<usize>),
    /// Before the first field of a JSON object that names none.
    Field(usize),
    /// In place of a form field's text.
    Text(Range<usize>),
}

const PLAN: Plan = Plan {
    routed: &["model", "stream", "stream_format", "n"],
    read: &[],
    noted: &[],
    medium: |around, key| match (around, key) {
        // Of multimodal embeddings.
        (Medium::Text, "image_url") | (Medium::Image, "url") => Medium::Image,
        (Medium::Text, "image" | "image_base64" | "bytes") => Medium::Unknown,
        _ => Medium::Text,
    },
};

impl PlainRequest {
    /// Reads a request at one of the endpoints that take JSON or a form.
    ///
    /// # Errors
    /// [`CallError`] naming the fault.
    pub(crate) fn try_new(endpoint: Endpoint, headers: &HeaderMap, body: Bytes) -> Result<Self, CallError> {
        if endpoint.takes_form() {
            Self::from_form(endpoint, headers, body)
        } else {
            Self::from_json(endpoint, body)
        }
    }

    fn from_json(endpoint: Endpoint, body: Bytes) -> Result<Self, CallError> {
        let scan = Scan::try_new(&body, &PLAN)?;
        let (model, place) = match scan.get("model") {
            Some(value) => {
                (body::parse::<String>(Some(value), "model", "a string")?, Place::String(scan.place(value)))
            }
            None if endpoint == Endpoint::Moderations => {
                (DEFAULT_MODERATION.into(), Place::Field(scan.start()))
            }
            None => return Err(body::missing("model")),
        };
        let is_events =
            body::parse::<Option<String>>(scan.get("stream_format"), "stream_format", "a string")?
                .is_some_and(|format| format == "sse");
        let stream = body::parse::<Option<bool>>(scan.get("stream"), "stream", "a boolean")?.unwrap_or(false);
        let images = body::whole_number(scan.get("n"), "n", MAX_IMAGES)?.unwrap_or(1);
        let mut input = scan.input;
        input.tokens(FRAME_TOKENS);
        let characters = match endpoint {
            Endpoint::Speech => characters(&body)?,
            _ => 0,
        };
        let (output, ordered) = worst(endpoint, images, characters, 0);
        Ok(Self { model, stream: stream || is_events, input, output, ordered, place, body })
    }

    fn from_form(endpoint: Endpoint, headers: &HeaderMap, body: Bytes) -> Result<Self, CallError> {
        let form = Upload::try_new(headers, &body)?;
        let model = form.text(&body, "model")?.ok_or_else(|| body::missing("model"))?.trim().to_owned();
        let place = form.place("model").ok_or_else(|| body::missing("model"))?;
        let stream = match form.text(&body, "stream")?.map(str::trim) {
            None | Some("" | "false" | "False" | "0") => false,
            Some("true" | "True" | "1") => true,
            Some(_) => return Err(CallError::bad("stream", "`stream` must be `true` or `false`")),
        };
        let images = match form.text(&body, "n")?.map(str::trim) {
            None | Some("") => 1,
            Some(text) => {
                text.parse().ok().filter(|count| (1..=MAX_IMAGES).contains(count)).ok_or_else(|| {
                    CallError::bad("n", format!("`n` must be a whole number from 1 to {MAX_IMAGES}"))
                })?
            }
        };
        let mut input = Estimate::default();
        input.tokens(FRAME_TOKENS);
        input.text(form.text(&body, "prompt")?.unwrap_or_default());
        let seconds = match endpoint {
            Endpoint::Transcriptions | Endpoint::Translations => {
                form.file_bytes().div_ceil(FEWEST_BYTES_A_SECOND)
            }
            _ => {
                input.tokens(form.file_count().saturating_mul(body::IMAGE_TOKENS));
                0
            }
        };
        // Audio is counted in tokens by some providers, at ten a second; that many at most.
        input.tokens(seconds.saturating_mul(10));
        let (output, ordered) = worst(endpoint, images, 0, seconds);
        Ok(Self { model, stream, input, output, ordered, place: Place::Text(place), body })
    }

    /// The body for a provider that calls the model `upstream_model`.
    pub(crate) fn body_for(&self, upstream_model: &str) -> Bytes {
        let is_default = matches!(self.place, Place::Field(_));
        if upstream_model == self.model && !is_default {
            return self.body.clone();
        }
        let edit = match &self.place {
            Place::String(place) => (place.clone(), body::json_string(upstream_model)),
            Place::Field(at) => (*at..*at, format!("\"model\":{},", body::json_string(upstream_model))),
            Place::Text(place) => (place.clone(), upstream_model.to_owned()),
        };
        body::splice(&self.body, vec![edit])
    }
}

/// What a call at an endpoint may generate at most.
fn worst(endpoint: Endpoint, images: u64, characters: u64, seconds: u64) -> (Output, Option<Ordered>) {
    let exactly = |unit, count| Some(Ordered { unit, most: count, likely: count });
    let output = |choices| Output::Choices { choices, each: None };
    match endpoint {
        Endpoint::ImageGenerations | Endpoint::ImageEdits => {
            (output(images), exactly(MediaUnit::Image, images))
        }
        Endpoint::Speech => (output(1), exactly(MediaUnit::Character, characters)),
        Endpoint::Transcriptions | Endpoint::Translations => {
            // Speech is usually sent at 64 kbit/s or more, an eighth of the seconds that the sparsest codec allows for.
            let likely = seconds.div_ceil(8);
            (output(1), Some(Ordered { unit: MediaUnit::AudioSecond, most: seconds, likely }))
        }
        Endpoint::Embeddings
        | Endpoint::Moderations
        | Endpoint::Rerank
        | Endpoint::Chat
        | Endpoint::Completions
        | Endpoint::Responses
        | Endpoint::Messages
        | Endpoint::Generate
        | Endpoint::EmbedContent
        | Endpoint::BatchEmbedContents => (Output::Nothing, None),
    }
}

/// The characters that are to be spoken.
fn characters(body: &[u8]) -> Result<u64, CallError> {
    #[derive(serde::Deserialize)]
    struct Speech<'a> {
        #[serde(borrow)]
        input: Option<std::borrow::Cow<'a, str>>,
    }

    let speech: Speech<'_> =
        serde_json::from_slice(body).map_err(|_| CallError::bad("input", "`input` must be a string"))?;
    let input = speech.input.ok_or_else(|| body::missing("input"))?;
    Ok(input.chars().count() as u64)
}
