//! Requests as the vendor wants them: where they go, with which headers, in which shape.
//!
//! Claims: whatever a model is called, the address stays on the provider's host and below its base URL; a key stands
//! nowhere but in the headers and the query that the template names for it, and there it is marked as secret.

use super::edit::Node;
use super::fill::{Filled, PathTemplate};
use super::template::{Service, Speaks, Streaming, Template};
use crate::catalogue::ProviderFormat;
use crate::endpoint::Endpoint;
use crate::wire::Wire;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use std::fmt::Write as _;

impl Service {
    /// What is asked of a provider in a wire.
    fn of(wire: Wire, endpoint: Endpoint) -> Option<Self> {
        Some(match wire {
            Wire::Chat | Wire::Claude | Wire::Gemini => Self::Chat,
            Wire::Completions => Self::Completions,
            Wire::Responses => Self::Responses,
            Wire::Embeddings => Self::Embeddings,
            Wire::GeminiEmbeddings if endpoint == Endpoint::EmbedContent => Self::EmbedContent,
            Wire::GeminiEmbeddings => Self::BatchEmbedContents,
            Wire::Media(endpoint) => match endpoint {
                Endpoint::ImageGenerations => Self::ImageGenerations,
                Endpoint::ImageEdits => Self::ImageEdits,
                Endpoint::Speech => Self::Speech,
                Endpoint::Transcriptions => Self::Transcriptions,
                Endpoint::Translations => Self::Translations,
                Endpoint::Moderations => Self::Moderations,
                Endpoint::Rerank => Self::Rerank,
                Endpoint::Chat
                | Endpoint::Completions
                | Endpoint::Responses
                | Endpoint::Embeddings
                | Endpoint::Messages
                | Endpoint::Generate
                | Endpoint::EmbedContent
                | Endpoint::BatchEmbedContents => return None,
            },
        })
    }
}

impl Template {
    /// The protocol that the provider's is nearest to.
    pub fn format(&self) -> ProviderFormat {
        match self.0.speaks {
            Speaks::OpenAi => ProviderFormat::OpenAi,
            Speaks::Claude => ProviderFormat::Claude,
            Speaks::Gemini => ProviderFormat::Gemini,
        }
    }

    /// Does it name a path for OpenAI's responses?
    pub fn speaks_responses(&self) -> bool {
        self.0.paths.is_some() && self.0.offers(Service::Responses)
    }

    /// Does it name an address that answers probes and tests?
    pub fn names_models(&self) -> bool {
        self.path(Service::Models).is_some()
    }

    /// Can it be asked in this wire, for an endpoint?
    pub(crate) fn serves(&self, wire: Wire, endpoint: Endpoint) -> bool {
        if wire == Wire::Completions && self.0.gives_text() {
            return false;
        }
        Service::of(wire, endpoint).is_some_and(|service| self.0.offers(service))
    }

    /// Can it be asked to count a prompt's tokens?
    pub(crate) fn counts(&self) -> bool {
        self.0.offers(Service::CountTokens)
    }

    /// Is it asked for a whole answer even where a conversation is to be streamed?
    pub(crate) fn is_whole_only(&self) -> bool {
        self.0.stream == Some(Streaming::None)
    }

    fn path(&self, service: Service) -> Option<&PathTemplate> {
        self.0.paths.as_ref()?.get(&service)
    }

    /// The address for a call; `own` is the protocol's.
    ///
    /// # Errors
    /// A short code, if the model's name cannot stand in a path.
    pub(crate) fn url(
        &self,
        (base, own): (&str, String),
        (wire, endpoint, stream): (Wire, Endpoint, bool),
        model: &str,
        key: &str,
    ) -> Result<String, &'static str> {
        let service = Service::of(wire, endpoint);
        let streamed = (stream && service == Some(Service::Chat)).then_some(Service::Stream);
        let path = [streamed, service].into_iter().flatten().find_map(|service| self.path(service));
        self.address(base, own, path, model, key)
    }

    /// The address for counting a prompt's tokens.
    pub(crate) fn counting_url(
        &self,
        base: &str,
        own: String,
        model: &str,
        key: &str,
    ) -> Result<String, &'static str> {
        self.address(base, own, self.path(Service::CountTokens), model, key)
    }

    /// The address for probes and tests.
    pub(crate) fn models_url(&self, base: &str, own: String, key: &str) -> Result<String, &'static str> {
        self.address(base, own, self.path(Service::Models), "", key)
    }

    fn address(
        &self,
        base: &str,
        own: String,
        path: Option<&PathTemplate>,
        model: &str,
        key: &str,
    ) -> Result<String, &'static str> {
        let mut url = match path {
            None => own,
            Some(PathTemplate(path)) => {
                let (path, query) =
                    path.split_once('?').map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
                if path.contains("{model}") && model.split('/').any(|part| matches!(part, "" | "." | "..")) {
                    return Err("model_in_path");
                }
                let mut url = format!("{base}{}", path.replace("{model}", &encoded(model, b"/:@")));
                if let Some(query) = query {
                    url.push('?');
                    url.push_str(&query.replace("{model}", &encoded(model, b"")));
                }
                url
            }
        };
        for (name, value) in &self.0.query {
            url.push(if url.contains('?') { '&' } else { '?' });
            // Writing into a string cannot fail.
            let _ = write!(url, "{}={}", encoded(name, b""), encoded(&value.with(key), b""));
        }
        Ok(url)
    }

    /// Does the protocol's own header bring the key?
    pub(crate) fn keeps_auth(&self) -> bool {
        let own = self.0.headers.values().chain(self.0.query.values());
        self.0.auth.is_none() && !own.into_iter().any(Filled::has_key)
    }

    /// Puts its headers in.
    ///
    /// # Errors
    /// A short code, if the key cannot stand in a header.
    pub(crate) fn put_headers(&self, headers: &mut HeaderMap, key: &str) -> Result<(), &'static str> {
        for (name, value) in &self.0.headers {
            let name = HeaderName::from_bytes(name.0.as_bytes()).map_err(|_| "provider_header")?;
            let mut filled = HeaderValue::from_str(&value.with(key)).map_err(|_| "provider_key")?;
            filled.set_sensitive(true);
            headers.insert(name, filled);
        }
        Ok(())
    }

    /// A request's JSON as the vendor wants it. `stream`: it is a conversation that is to be streamed.
    pub(crate) fn body(&self, body: Bytes, model: &str, stream: bool) -> Bytes {
        let rules = &self.0.body;
        let asks_for_whole = stream && self.is_whole_only();
        if rules.is_empty() && !asks_for_whole {
            return body;
        }
        let Ok(text) = std::str::from_utf8(&body) else { return body };
        let mut json = Node::new(text);
        if asks_for_whole {
            json.take_key("stream");
            json.take_key("stream_options");
        }
        let moved: Vec<_> =
            rules.rename.iter().filter_map(|(from, to)| Some((to, json.take(from)?))).collect();
        for pointer in &rules.remove {
            json.take(pointer);
        }
        for (to, value) in moved {
            json.put(to, value);
        }
        for (to, value) in &rules.set {
            json.put(to, Node::Owned(with_model(value, model).to_string()));
        }
        json.written().into()
    }
}

/// Percent-encoded, but for letters, digits, `-._~` and what may stay.
fn encoded(text: &str, stays: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || stays.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A value with the model's name in its texts.
fn with_model(value: &serde_json::Value, model: &str) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(text.replace("{model}", model)),
        Value::Array(values) => values.iter().map(|value| with_model(value, model)).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), with_model(value, model))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
