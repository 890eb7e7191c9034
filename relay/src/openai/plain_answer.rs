//! Answers that are no conversation, read only as far as money depends on it.
//!
//! Claims: a provider's counts are read as given, in tokens or in units; what it does not count, the request told.

use super::{error, usage};
use crate::count::Count;
use crate::endpoint::Endpoint;
use crate::estimate::Estimate;
use crate::seen::{Cut, Seen, Watch};
use crate::sse::Event;
use axum::http::StatusCode;
use bytes::Bytes;
use domain::Tokens;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    /// Vectors, or images.
    data: Option<Vec<IgnoredAny>>,
    /// Marks, or ranks.
    results: Option<Vec<IgnoredAny>>,
    /// A transcript.
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    /// The length of a transcript's sound, in seconds; of `verbose_json`.
    duration: Option<f64>,
    /// Of an event.
    #[serde(borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delta: Option<Cow<'a, str>>,
}

/// Counts as the endpoints for media write them.
#[derive(Default, Deserialize)]
struct MediaUsage {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    /// Images write it so, transcripts without the `s`.
    #[serde(default, alias = "input_token_details")]
    input_tokens_details: Option<MediaDetails>,
    #[serde(default, alias = "output_token_details")]
    output_tokens_details: Option<MediaDetails>,
    /// Whole seconds, of `{"type":"duration"}`.
    #[serde(default)]
    seconds: Option<f64>,
    /// Of providers that count a prompt only.
    #[serde(default)]
    total_tokens: Count,
}

#[derive(Default, Deserialize)]
struct MediaDetails {
    #[serde(default)]
    text_tokens: Count,
    #[serde(default)]
    image_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
}

/// Reads a whole answer.
pub(crate) fn whole(endpoint: Endpoint, body: &[u8], delivered: &mut Estimate) -> Option<Seen> {
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(body) else {
        return match endpoint {
            // Sound, or a transcript as text: whatever bytes they are.
            Endpoint::Speech | Endpoint::Transcriptions | Endpoint::Translations if !body.is_empty() => {
                if let (Ok(text), false) = (std::str::from_utf8(body), endpoint == Endpoint::Speech) {
                    delivered.text(text);
                }
                Some(Seen { has_answer: true, is_finished: true, ..Seen::default() })
            }
            _ => None,
        };
    };
    if let Some(error) = answer.error {
        let error = Some(error::refused_by(StatusCode::BAD_GATEWAY, Some(error)));
        return Some(Seen { error, ..Seen::default() });
    }
    if let Some(text) = &answer.text {
        delivered.text(text);
    }
    let images = answer.data.as_ref().map(|data| data.len() as u64);
    let has_answer = images.is_some() || answer.results.is_some() || answer.text.is_some();
    let (usage, seconds) = answer.usage.map_or((None, None), |usage| counted(endpoint, usage));
    let units =
        seconds.or_else(|| whole_seconds(answer.duration)).or(images.filter(|_| endpoint.makes_images()));
    Some(Seen { usage, units, has_answer, is_finished: true, ..Seen::default() })
}

/// A provider's counts in tokens, or in seconds. Nothing but zeros is no count: there was something to read.
fn counted(endpoint: Endpoint, raw: &RawValue) -> (Option<Tokens>, Option<u64>) {
    let is_count = |tokens: &Tokens| *tokens != Tokens::default();
    if let Some(tokens) = usage::tokens(raw) {
        return (Some(tokens).filter(is_count), None);
    }
    let Ok(wire) = serde_json::from_str::<MediaUsage>(raw.get()) else { return (None, None) };
    match wire.seconds {
        Some(seconds) => (None, whole_seconds(Some(seconds))),
        None => (in_tokens(endpoint, wire).filter(is_count), None),
    }
}

fn in_tokens(endpoint: Endpoint, wire: MediaUsage) -> Option<Tokens> {
    let (Count::Is(input), Count::Is(output)) = (wire.input_tokens, wire.output_tokens.or(Count::Is(0)))
    else {
        let Count::Is(total) = wire.total_tokens else { return None };
        return Some(Tokens { input: total, ..Tokens::default() });
    };
    let details = wire.input_tokens_details.unwrap_or_default();
    let mut rest = input;
    let audio_input = usage::take(&mut rest, details.audio_tokens);
    let image_input = usage::take(&mut rest, details.image_tokens);
    let given = Tokens { input: rest, audio_input, image_input, ..Tokens::default() };
    let text = wire.output_tokens_details.map_or(Count::Absent, |details| details.text_tokens);
    let mut media = output;
    let text = usage::take(&mut media, text);
    Some(match endpoint {
        // What these endpoints generate is not text, but for the part that says so.
        Endpoint::ImageGenerations | Endpoint::ImageEdits => {
            Tokens { output: text, image_output: media, ..given }
        }
        Endpoint::Speech => Tokens { output: text, audio_output: media, ..given },
        _ => Tokens { output, ..given },
    })
}

/// Seconds of sound, rounded up.
fn whole_seconds(seconds: Option<f64>) -> Option<u64> {
    let seconds = seconds.filter(|seconds| (0.0..=1e9).contains(seconds))?;
    // Within range, so `as` is exact after rounding up.
    Some(seconds.ceil() as u64)
}

/// Reads a stream of media: images in parts, speech, transcripts as they come.
pub(crate) struct MediaWatch {
    pub(crate) endpoint: Endpoint,
}

impl Watch for MediaWatch {
    fn event(&mut self, event: &Event, delivered: &mut Estimate) -> Option<Seen> {
        let data = event.data()?;
        if data.starts_with(b"[DONE]") {
            return Some(Seen { is_last: true, ..Seen::default() });
        }
        let answer: Answer<'_> = serde_json::from_slice(&data).ok()?;
        if let Some(error) = answer.error {
            let error = Some(error::refused_by(StatusCode::BAD_GATEWAY, Some(error)));
            return Some(Seen { error, ..Seen::default() });
        }
        if let Some(text) = &answer.delta {
            delivered.text(text);
        }
        let kind = answer.r#type.unwrap_or_default();
        // `image_generation.completed`, `image_edit.completed`, `speech.audio.done`, `transcript.text.done`.
        let is_finished = kind.ends_with(".completed") || kind.ends_with(".done");
        let (usage, units) = answer.usage.map_or((None, None), |usage| counted(self.endpoint, usage));
        Some(Seen { usage, units, has_answer: true, is_finished, ..Seen::default() })
    }

    fn cut(&self, _last: &Event, _cut: &Cut<'_>) -> Bytes {
        Bytes::new()
    }

    fn ends_with_its_bytes(&self) -> bool {
        true
    }
}

/// Reads a stream that is no events: sound as it is spoken. Every chunk is a piece of the answer; only the end of the
/// bytes tells that it is whole.
pub(crate) struct BytesWatch;

impl Watch for BytesWatch {
    fn event(&mut self, event: &Event, _delivered: &mut Estimate) -> Option<Seen> {
        Some(Seen { has_answer: !event.raw.is_empty(), ..Seen::default() })
    }

    fn cut(&self, _last: &Event, _cut: &Cut<'_>) -> Bytes {
        Bytes::new()
    }

    fn ends_with_its_bytes(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_no_counts() {
        let usage = |usage: &str| {
            let body = format!(r#"{{"data":[{{"embedding":[0.5]}}],"usage":{usage}}}"#);
            whole(Endpoint::Embeddings, body.as_bytes(), &mut Estimate::default()).unwrap().usage
        };
        assert_eq!(usage(r#"{"prompt_tokens":0,"total_tokens":0}"#), None);
        assert_eq!(usage(r#"{"input_tokens":0}"#), None);
        assert_eq!(
            usage(r#"{"prompt_tokens":7,"total_tokens":7}"#),
            Some(Tokens { input: 7, ..Tokens::default() })
        );
    }
}
