//! What a caller can ask for: one name for each path that calls a model.
//!
//! For: which protocol an endpoint speaks, and so in whose shape its errors are told.
//! May not touch: how requests are read.
//! Claims: each endpoint is in each list by name; a new one breaks the build where it matters.

use crate::error::CallError;
use crate::{claude, gemini, openai, responses};
use axum::response::Response;
use bytes::Bytes;

/// A path that calls a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's older completions of a text.
    Completions,
    /// OpenAI's responses.
    Responses,
    /// Vectors of texts, OpenAI's way.
    Embeddings,
    /// Images from a text.
    ImageGenerations,
    /// Images from images and a text.
    ImageEdits,
    /// Speech from a text.
    Speech,
    /// Text from speech.
    Transcriptions,
    /// English text from speech.
    Translations,
    /// Is a text harmful?
    Moderations,
    /// Documents in the order of their worth for a query; the way of Jina and Cohere.
    Rerank,
    /// Anthropic's messages.
    Messages,
    /// Gemini's answers, whole or streamed.
    Generate,
    /// A vector of a text, Gemini's way.
    EmbedContent,
    /// Vectors of texts, Gemini's way.
    BatchEmbedContents,
}

/// A protocol, as its clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Claude,
    /// Google's.
    Gemini,
}

impl Protocol {
    /// Its name, for figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Claude => "claude",
            Self::Gemini => "gemini",
        }
    }
}

impl Endpoint {
    /// The path, as usage records name it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::ImageGenerations => "/v1/images/generations",
            Self::ImageEdits => "/v1/images/edits",
            Self::Speech => "/v1/audio/speech",
            Self::Transcriptions => "/v1/audio/transcriptions",
            Self::Translations => "/v1/audio/translations",
            Self::Moderations => "/v1/moderations",
            Self::Rerank => "/v1/rerank",
            Self::Messages => "/v1/messages",
            Self::Generate => "/v1beta/models:generateContent",
            Self::EmbedContent => "/v1beta/models:embedContent",
            Self::BatchEmbedContents => "/v1beta/models:batchEmbedContents",
        }
    }

    /// Whose protocol it is.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::ImageGenerations
            | Self::ImageEdits
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations
            | Self::Moderations
            | Self::Rerank => Protocol::OpenAi,
            Self::Messages => Protocol::Claude,
            Self::Generate | Self::EmbedContent | Self::BatchEmbedContents => Protocol::Gemini,
        }
    }

    /// Does it take a form with files? All others take JSON.
    pub(crate) fn takes_form(self) -> bool {
        match self {
            Self::ImageEdits | Self::Transcriptions | Self::Translations => true,
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::ImageGenerations
            | Self::Speech
            | Self::Moderations
            | Self::Rerank
            | Self::Messages
            | Self::Generate
            | Self::EmbedContent
            | Self::BatchEmbedContents => false,
        }
    }

    /// Is each member of its answer's `data` an image?
    pub(crate) fn makes_images(self) -> bool {
        matches!(self, Self::ImageGenerations | Self::ImageEdits)
    }

    /// Is its whole answer JSON, whatever its content type says?
    pub(crate) fn answers_json(self) -> bool {
        match self {
            Self::Speech | Self::Transcriptions | Self::Translations => false,
            Self::Chat
            | Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::ImageGenerations
            | Self::ImageEdits
            | Self::Moderations
            | Self::Rerank
            | Self::Messages
            | Self::Generate
            | Self::EmbedContent
            | Self::BatchEmbedContents => true,
        }
    }

    /// What a stream's caller gets after a long silence, so that nothing in between takes the connection for dead: what
    /// every client of the protocol skips. Google's clients take a comment for a broken event.
    pub(crate) fn keep_alive(self) -> Bytes {
        match self.protocol() {
            Protocol::OpenAi => Bytes::from_static(b": keep-alive\n\n"),
            Protocol::Claude => Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
            Protocol::Gemini => Bytes::from_static(gemini::stream::KEEP_ALIVE),
        }
    }

    /// The event that tells a stream's caller of an error after the head of the answer is out.
    pub(crate) fn error_event(self, error: &CallError) -> Bytes {
        match self.protocol() {
            Protocol::OpenAi if self == Self::Responses => responses::error::event(error),
            Protocol::OpenAi => openai::error::event(error),
            Protocol::Claude => claude::error::event(error),
            Protocol::Gemini => gemini::error::event(error),
        }
    }
}

impl Protocol {
    /// The answer that tells a caller of an error.
    pub(crate) fn refused(self, error: &CallError) -> Response {
        let mut response = match self {
            Self::OpenAi => openai::error::response(error),
            Self::Claude => claude::error::response(error),
            Self::Gemini => gemini::error::response(error),
        };
        if let CallError::RateLimited(exceeded) = error {
            response.headers_mut().extend(exceeded.headers(self, chrono::Utc::now().into()));
        }
        response
    }
}
