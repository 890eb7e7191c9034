//! A caller's request, whatever its protocol: what routing, holds and bills need to know of it.

use crate::call::cost;
use crate::claude;
use crate::claude::request::MessagesRequest;
use crate::endpoint::Endpoint;
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::gemini::embeddings::EmbedRequest;
use crate::gemini::path::Verb;
use crate::gemini::request::GenerateRequest;
use crate::openai::completion::CompletionRequest;
use crate::openai::plain::PlainRequest;
use crate::openai::request::ChatRequest;
use crate::responses::request::ResponsesRequest;
use crate::unpriced::Unpriced;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use domain::price::MediaUnit;

/// A request, read as far as money and routing depend on it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    /// The model, as the caller names it.
    pub(crate) model: String,
    /// As a stream?
    pub(crate) stream: bool,
    /// Does the caller of a stream want the counts at its end? Protocols that always give them say yes.
    pub(crate) wants_usage: bool,
    /// The prompt's tokens.
    pub(crate) input: Estimate,
    /// The most tokens it may generate.
    pub(crate) output: Output,
    /// What it orders that is not counted in tokens.
    pub(crate) ordered: Option<Ordered>,
    /// The body as it came.
    pub(crate) body: Bytes,
    /// Its content type, if it is a form; all others are JSON.
    pub(crate) content_type: Option<HeaderValue>,
    /// Those of the caller's headers that a provider of the same protocol gets.
    pub(crate) forwarded: HeaderMap,
    /// Does the caller want the charge within the answer?
    pub(crate) wants_cost: bool,
    /// Does the caller want its stream as a JSON array that comes in pieces? Only Gemini's protocol knows that.
    pub(crate) frames_as_array: bool,
    pub(crate) form: Form,
}

/// What the path says, in a protocol that says it there.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathSays {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Events, not a JSON array?
    pub(crate) sse: bool,
}

/// How many tokens a request may generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// None: vectors, marks.
    Nothing,
    /// So many choices of at most so many tokens; `None`: the model's own cap.
    Choices { choices: u64, each: Option<u64> },
}

/// What a request orders that is not counted in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ordered {
    pub(crate) unit: MediaUnit,
    /// The most of it.
    pub(crate) most: u64,
    /// A guess of how much it will be, for a provider that does not say.
    pub(crate) likely: u64,
}

/// A request in its protocol's own form.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    Chat(ChatRequest),
    Completion(CompletionRequest),
    Responses(ResponsesRequest),
    Messages(MessagesRequest),
    Generate(GenerateRequest),
    Embed(EmbedRequest),
    Plain(PlainRequest),
}

impl Asked {
    /// Reads a request. `target` is what the path says where the body does not: the model and whether to stream.
    ///
    /// # Errors
    /// [`CallError`] naming the fault.
    pub(crate) fn try_new(
        endpoint: Endpoint,
        path: PathSays,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, CallError> {
        let blank = |model: &str, input, form| Self {
            endpoint,
            model: model.to_owned(),
            stream: false,
            wants_usage: true,
            input,
            output: Output::Nothing,
            ordered: None,
            body: body.clone(),
            content_type: None,
            forwarded: HeaderMap::new(),
            wants_cost: cost::is_wanted(headers),
            frames_as_array: false,
            form,
        };
        let choices = |choices, each| Output::Choices { choices, each };
        Ok(match endpoint {
            Endpoint::Chat => {
                let chat = ChatRequest::try_new(body.clone())?;
                Self {
                    stream: chat.stream,
                    wants_usage: chat.wants_usage,
                    output: choices(chat.choices, chat.max_output),
                    ..blank(&chat.model.clone(), chat.input, Form::Chat(chat))
                }
            }
            Endpoint::Completions => {
                let completion = CompletionRequest::try_new(body.clone())?;
                Self {
                    stream: completion.stream,
                    wants_usage: completion.wants_usage,
                    output: choices(completion.choices, completion.max_output),
                    ..blank(&completion.model.clone(), completion.input, Form::Completion(completion))
                }
            }
            Endpoint::Responses => {
                let responses = ResponsesRequest::try_new(body.clone())?;
                if responses.is_background {
                    let why =
                        "`background` is not offered: what such a response comes to could not be metered";
                    return Err(CallError::bad("background", why));
                }
                if let Some(field) = responses.kept() {
                    let why = format!(
                        "`{field}` refers to what a provider keeps, for all callers of this gateway alike and of a size that \
                         nobody here knows: that is not offered, send the whole conversation"
                    );
                    return Err(CallError::bad(field, why));
                }
                Self {
                    stream: responses.stream,
                    output: choices(responses.choices, responses.max_output),
                    ..blank(&responses.model.clone(), responses.input, Form::Responses(responses))
                }
            }
            Endpoint::Messages => {
                let messages = MessagesRequest::try_new(body.clone())?;
                Self {
                    stream: messages.stream,
                    output: choices(messages.choices, messages.max_output),
                    forwarded: claude::forwarded(headers),
                    ..blank(&messages.model.clone(), messages.input, Form::Messages(messages))
                }
            }
            Endpoint::Generate => {
                let generate = GenerateRequest::try_new(body.clone(), &path.model, path.stream)?;
                Self {
                    stream: path.stream,
                    frames_as_array: path.stream && !path.sse,
                    output: choices(generate.choices, generate.max_output),
                    ..blank(&path.model, generate.input, Form::Generate(generate))
                }
            }
            Endpoint::EmbedContent | Endpoint::BatchEmbedContents => {
                let verb = if endpoint == Endpoint::EmbedContent { Verb::Embed } else { Verb::BatchEmbed };
                let embed = EmbedRequest::try_new(body.clone(), &path.model, verb)?;
                blank(&path.model, embed.input, Form::Embed(embed))
            }
            Endpoint::Embeddings
            | Endpoint::ImageGenerations
            | Endpoint::ImageEdits
            | Endpoint::Speech
            | Endpoint::Transcriptions
            | Endpoint::Translations
            | Endpoint::Moderations
            | Endpoint::Rerank => {
                let plain = PlainRequest::try_new(endpoint, headers, body.clone())?;
                let form = endpoint.takes_form().then(|| headers.get(header::CONTENT_TYPE).cloned());
                Self {
                    stream: plain.stream,
                    output: plain.output,
                    ordered: plain.ordered,
                    content_type: form.flatten(),
                    ..blank(&plain.model.clone(), plain.input, Form::Plain(plain))
                }
            }
        })
    }

    /// How many tokens it may generate at most, where the model's own cap is `cap`.
    pub(crate) fn most_output(&self, cap: u64) -> u64 {
        match self.output {
            Output::Nothing => 0,
            Output::Choices { choices, each } => each.unwrap_or(cap).saturating_mul(choices),
        }
    }

    /// What it asks for that no price list covers, if it does.
    pub(crate) fn unpriced(&self) -> Option<&Unpriced> {
        match &self.form {
            Form::Chat(chat) => chat.unpriced.as_ref(),
            Form::Responses(responses) => responses.unpriced.as_ref(),
            Form::Messages(messages) => messages.unpriced.as_ref(),
            Form::Generate(generate) => generate.unpriced.as_ref(),
            Form::Completion(_) | Form::Embed(_) | Form::Plain(_) => None,
        }
    }

    /// How many choices its answer has, where it is text that may end for its length; `None`: it is something else.
    pub(crate) fn choices(&self) -> Option<u64> {
        match (&self.form, self.output) {
            (
                Form::Chat(_)
                | Form::Completion(_)
                | Form::Responses(_)
                | Form::Messages(_)
                | Form::Generate(_),
                Output::Choices { choices, .. },
            ) => Some(choices),
            (_, Output::Choices { .. } | Output::Nothing) => None,
        }
    }

    /// Is the answer passed on as it comes? Sound is, whether its caller knows the word stream or not.
    pub(crate) fn is_streamed(&self) -> bool {
        self.stream || self.endpoint == Endpoint::Speech
    }
}
