//! Wires: the forms in which requests, answers and streams cross the network, and how a call gets from one to another.
//!
//! For: which wire a provider takes for an endpoint ([`Wire::at`]), what is sent there ([`outgoing`]), how its answers
//! are metered ([`Wire::whole`], [`Wire::watch`]), and how they reach the caller ([`convert`]).
//! May not touch: holds, routing, sockets.
//! Claims: where both sides speak one wire, bytes pass through but for what metering needs; a pair of wires without a
//! conversion is found before a provider is called; what a conversion cannot say is named.

#[cfg(test)]
mod conversions;
pub(crate) mod convert;
pub(crate) mod outgoing;

use crate::catalogue::{ProviderFormat, Route};
use crate::endpoint::Endpoint;
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::openai::plain_answer::{self, BytesWatch, MediaWatch};
use crate::seen::{Seen, Watch};
use crate::{claude, gemini, openai, responses};
use axum::http::{HeaderValue, StatusCode};

/// The form of a request and of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's older completions.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Claude,
    /// Gemini's content.
    Gemini,
    /// OpenAI's vectors.
    Embeddings,
    /// Gemini's vectors.
    GeminiEmbeddings,
    /// What else OpenAI's providers offer, at the endpoint of that name.
    Media(Endpoint),
}

/// How a stream is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// Whatever comes: sound.
    Bytes,
}

impl Framing {
    /// Of an answer, by its content type.
    pub(crate) fn of(content_type: Option<&HeaderValue>) -> Self {
        let kind = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().trim_start();
        let is =
            |prefix: &str| kind.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if is("audio/") || is("application/octet-stream") { Self::Bytes } else { Self::Events }
    }
}

/// The most bytes of a field's name in a header.
const MAX_NAME: usize = 100;

/// The names of fields that were left out, as a header; `None`: there are none.
pub(crate) fn names(dropped: &[String]) -> Option<HeaderValue> {
    const OTHERS: &str = "and others";
    // Names come from a caller's body: those that no header can hold are told of together.
    let is_visible = |name: &str| {
        name.len() <= MAX_NAME && name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    };
    let mut names: Vec<&str> = dropped.iter().map(String::as_str).filter(|name| is_visible(name)).collect();
    if names.len() < dropped.len() && !names.contains(&OTHERS) {
        names.push(OTHERS);
    }
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok()).flatten()
}

impl Endpoint {
    /// The wire that its callers speak.
    pub(crate) fn wire(self) -> Wire {
        match self {
            Self::Chat => Wire::Chat,
            Self::Completions => Wire::Completions,
            Self::Responses => Wire::Responses,
            Self::Messages => Wire::Claude,
            Self::Generate => Wire::Gemini,
            Self::Embeddings => Wire::Embeddings,
            Self::EmbedContent | Self::BatchEmbedContents => Wire::GeminiEmbeddings,
            Self::ImageGenerations
            | Self::ImageEdits
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations
            | Self::Moderations
            | Self::Rerank => Wire::Media(self),
        }
    }
}

impl Wire {
    /// The wire in which a provider is asked for an endpoint; `None`: it offers nothing that stands for it.
    pub(crate) fn at(route: &Route, endpoint: Endpoint) -> Option<Self> {
        let wire = Self::by_format(route, endpoint.wire())?;
        route.custom.as_ref().is_none_or(|custom| custom.serves(wire, endpoint)).then_some(wire)
    }

    /// Is it one of conversations, which are converted into each other?
    pub(crate) fn is_conversation(self) -> bool {
        match self {
            Self::Chat | Self::Responses | Self::Claude | Self::Gemini => true,
            Self::Completions | Self::Embeddings | Self::GeminiEmbeddings | Self::Media(_) => false,
        }
    }

    fn by_format(route: &Route, asked: Self) -> Option<Self> {
        match (route.format, asked) {
            (ProviderFormat::OpenAi, Self::Responses) if route.speaks_responses => Some(Self::Responses),
            (ProviderFormat::OpenAi, Self::Chat | Self::Responses | Self::Claude | Self::Gemini) => {
                Some(Self::Chat)
            }
            (ProviderFormat::OpenAi, Self::Embeddings | Self::GeminiEmbeddings) => Some(Self::Embeddings),
            (ProviderFormat::OpenAi, Self::Completions | Self::Media(_)) => Some(asked),
            (ProviderFormat::Claude, Self::Chat | Self::Responses | Self::Claude | Self::Gemini) => {
                Some(Self::Claude)
            }
            (
                ProviderFormat::Claude,
                Self::Completions | Self::Embeddings | Self::GeminiEmbeddings | Self::Media(_),
            ) => None,
            (ProviderFormat::Gemini, Self::Chat | Self::Responses | Self::Claude | Self::Gemini) => {
                Some(Self::Gemini)
            }
            (ProviderFormat::Gemini, Self::Embeddings | Self::GeminiEmbeddings) => {
                Some(Self::GeminiEmbeddings)
            }
            (ProviderFormat::Gemini, Self::Completions | Self::Media(_)) => None,
        }
    }

    /// Reads a whole answer of a provider for metering. `None`: it is illegible.
    pub(crate) fn whole(self, body: &[u8], delivered: &mut Estimate) -> Option<Seen> {
        match self {
            Self::Chat | Self::Completions => openai::answer::whole(body, delivered),
            Self::Responses => responses::answer::whole(body, delivered),
            Self::Claude => claude::answer::whole(body, delivered),
            Self::Gemini => gemini::answer::whole(body, delivered),
            Self::GeminiEmbeddings => gemini::embeddings::whole(body),
            Self::Embeddings => plain_answer::whole(Endpoint::Embeddings, body, delivered),
            Self::Media(endpoint) => plain_answer::whole(endpoint, body, delivered),
        }
    }

    /// Reads a stream of a provider for metering.
    pub(crate) fn watch(self, framing: Framing) -> Box<dyn Watch> {
        match (self, framing) {
            (_, Framing::Bytes) => Box::new(BytesWatch),
            (Self::Chat | Self::Completions, Framing::Events) => {
                Box::new(openai::answer::ChatWatch::default())
            }
            (Self::Responses, Framing::Events) => Box::new(responses::answer::ResponsesWatch::default()),
            (Self::Claude, Framing::Events) => Box::new(claude::answer::StreamWatch::default()),
            (Self::Gemini | Self::GeminiEmbeddings, Framing::Events) => {
                Box::new(gemini::answer::Watcher::default())
            }
            (Self::Embeddings, Framing::Events) => Box::new(MediaWatch { endpoint: Endpoint::Embeddings }),
            (Self::Media(endpoint), Framing::Events) => Box::new(MediaWatch { endpoint }),
        }
    }

    /// What a provider's refusal of the request says.
    pub(crate) fn refused(self, status: StatusCode, body: &[u8]) -> CallError {
        match self {
            Self::Claude => claude::error::refused(status, body),
            Self::Gemini | Self::GeminiEmbeddings => gemini::error::refused(status, body),
            Self::Chat | Self::Completions | Self::Responses | Self::Embeddings | Self::Media(_) => {
                openai::error::refused(status, body)
            }
        }
    }
}
