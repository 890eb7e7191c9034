//! A request as a provider gets it: address, headers, body.

use super::{Wire, convert};
use crate::asked::{Asked, Form};
use crate::catalogue::{ProviderFormat, Route};
use crate::claude::request::MessagesRequest;
use crate::custom::Template;
use crate::dialogue::{Target, Written};
use crate::endpoint::Endpoint;
use crate::error::CallError;
use crate::gemini::counting::CountRequest;
use crate::gemini::{self, path::Verb};
use crate::openai::request::CapField;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The only version of its protocol that Anthropic has.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// A request for one provider.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The wire in which the answer will come.
    pub(crate) wire: Wire,
    /// What of the answer differs from the wire.
    pub(crate) custom: Option<Template>,
    /// The caller's fields that the provider's protocol cannot say.
    pub(crate) dropped: Vec<String>,
}

/// Why a request cannot be written for a provider.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// The provider offers nothing that stands for the endpoint.
    Unsupported,
    /// Its protocol cannot say this request.
    Refused(CallError),
    /// Its row is at fault, as a short code says.
    Misconfigured(&'static str),
}

/// Writes a request for a provider. `default_cap` is set where the caller capped nothing.
pub(crate) fn write(asked: &Asked, route: &Route, key: &str, default_cap: u64) -> Result<Outgoing, NotSent> {
    let wire = Wire::at(route, asked.endpoint).ok_or(NotSent::Unsupported)?;
    let stream = streams(asked, route, wire)?;
    let mut written = body(asked, route, wire, default_cap).map_err(NotSent::Refused)?;
    let mut url = url(route, wire, asked.endpoint, stream);
    if let Some(custom) = &route.custom {
        let (base, model) = (route.base_url.as_str(), route.upstream_model.as_str());
        let asked_for = (wire, asked.endpoint, stream);
        url = custom.url((base, url), asked_for, model, key).map_err(NotSent::Misconfigured)?;
        // A form is no JSON.
        if asked.content_type.is_none() {
            written.body = custom.body(written.body, model, wire.is_conversation() && asked.stream);
        }
    }
    let json = HeaderValue::from_static("application/json");
    let content_type = asked.content_type.as_ref().unwrap_or(&json);
    let none = HeaderMap::new();
    let forwarded = if asked.endpoint.wire() == wire { &asked.forwarded } else { &none };
    let headers = headers(route, wire, key, content_type, stream, forwarded)?;
    let custom = route.custom.clone();
    Ok(Outgoing { url, headers, body: written.body, wire, custom, dropped: written.dropped })
}

/// Is a stream asked for? Not of a provider that has none: its whole answer becomes one, where that can be.
fn streams(asked: &Asked, route: &Route, wire: Wire) -> Result<bool, NotSent> {
    let has_streams = !route.custom.as_ref().is_some_and(Template::is_whole_only);
    match wire {
        _ if !asked.stream || has_streams => Ok(asked.stream),
        Wire::Completions => {
            let why = "no provider of this model streams completions: ask without `stream`";
            Err(NotSent::Refused(CallError::bad("stream", why)))
        }
        Wire::Chat | Wire::Responses | Wire::Claude | Wire::Gemini => Ok(false),
        // Not conversations: what is said of those does not concern them.
        Wire::Embeddings | Wire::GeminiEmbeddings | Wire::Media(_) => Ok(true),
    }
}

/// The headers for a provider; `forwarded` are those of a caller who speaks its protocol.
fn headers(
    route: &Route,
    wire: Wire,
    key: &str,
    content_type: &HeaderValue,
    stream: bool,
    forwarded: &HeaderMap,
) -> Result<HeaderMap, NotSent> {
    let accept = if stream { "text/event-stream" } else { "*/*" };
    let mut headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, content_type.clone()),
        (header::ACCEPT, HeaderValue::from_static(accept)),
        // Compressed bytes could be passed through, but not metered.
        (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
    ]);
    if wire == Wire::Claude {
        headers.insert(ANTHROPIC_VERSION, VERSION);
        headers.extend(forwarded.clone());
    }
    if route.custom.as_ref().is_none_or(Template::keeps_auth) {
        let (name, value) = key_header(route.format, key)?;
        headers.insert(name, value);
    }
    if let Some(custom) = &route.custom {
        custom.put_headers(&mut headers, key).map_err(NotSent::Misconfigured)?;
    }
    Ok(headers)
}

fn key_header(format: ProviderFormat, key: &str) -> Result<(HeaderName, HeaderValue), NotSent> {
    let (name, value) = match format {
        ProviderFormat::OpenAi => (header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))),
        ProviderFormat::Claude => (X_API_KEY, HeaderValue::from_str(key)),
        ProviderFormat::Gemini => (X_GOOG_API_KEY, HeaderValue::from_str(key)),
    };
    let mut value = value.map_err(|_| NotSent::Misconfigured("provider_key"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The address. Operators write base URLs with or without the version; only OpenAI's kind has none of its own.
fn url(route: &Route, wire: Wire, asked: Endpoint, stream: bool) -> String {
    let base = &route.base_url;
    match wire {
        Wire::Chat => format!("{base}/chat/completions"),
        Wire::Completions => format!("{base}/completions"),
        Wire::Responses => format!("{base}/responses"),
        Wire::Embeddings => format!("{base}/embeddings"),
        // Without their leading `/v1`.
        Wire::Media(endpoint) => format!("{base}{}", endpoint.path().trim_start_matches("/v1")),
        Wire::Claude => claude_url(route),
        Wire::Gemini | Wire::GeminiEmbeddings => {
            let verb = match wire {
                Wire::GeminiEmbeddings if asked == Endpoint::EmbedContent => Verb::Embed,
                Wire::GeminiEmbeddings => Verb::BatchEmbed,
                _ if stream => Verb::Stream,
                _ => Verb::Generate,
            };
            gemini_url(route, verb)
        }
    }
}

fn claude_url(route: &Route) -> String {
    let base = &route.base_url;
    if base.ends_with("/v1") { format!("{base}/messages") } else { format!("{base}/v1/messages") }
}

fn gemini_url(route: &Route, verb: Verb) -> String {
    format!(
        "{}{}",
        gemini_base(&route.base_url),
        gemini::path::of_provider(route.upstream_model.as_str(), verb)
    )
}

fn gemini_base(base: &str) -> String {
    let has_version = base.ends_with("/v1") || base.ends_with("/v1beta");
    if has_version { base.to_owned() } else { format!("{base}/v1beta") }
}

/// Where a provider lists its models, and the headers to ask with; `None`: its key cannot be sent. Of a provider with a
/// template it is whatever address that names for this.
pub fn models_request(
    format: ProviderFormat,
    base_url: &str,
    custom: Option<&Template>,
    key: &str,
) -> Option<(String, HeaderMap)> {
    let own = match format {
        ProviderFormat::OpenAi => format!("{base_url}/models"),
        ProviderFormat::Claude if base_url.ends_with("/v1") => format!("{base_url}/models"),
        ProviderFormat::Claude => format!("{base_url}/v1/models"),
        ProviderFormat::Gemini => format!("{}/models", gemini_base(base_url)),
    };
    let mut headers = HeaderMap::new();
    if custom.is_none_or(Template::keeps_auth) {
        let (name, value) = key_header(format, key).ok()?;
        headers.insert(name, value);
    }
    if format == ProviderFormat::Claude {
        headers.insert(ANTHROPIC_VERSION, VERSION);
    }
    let Some(custom) = custom else { return Some((own, headers)) };
    custom.put_headers(&mut headers, key).ok()?;
    Some((custom.models_url(base_url, own, key).ok()?, headers))
}

/// A prompt whose tokens are to be counted.
#[derive(Clone, Debug)]
pub(crate) enum Counted {
    Messages(MessagesRequest),
    Contents(CountRequest),
}

/// A request to count a prompt's tokens, for a provider that speaks the caller's own protocol; `None`: it speaks another.
pub(crate) fn count(counted: &Counted, forwarded: &HeaderMap, route: &Route, key: &str) -> Option<Outgoing> {
    let model = route.upstream_model.as_str();
    if route.custom.as_ref().is_some_and(|custom| !custom.counts()) {
        return None;
    }
    let (wire, mut url, mut body) = match (counted, route.format) {
        (Counted::Messages(messages), ProviderFormat::Claude) => {
            (Wire::Claude, format!("{}/count_tokens", claude_url(route)), messages.count_body_for(model))
        }
        (Counted::Contents(contents), ProviderFormat::Gemini) => {
            (Wire::Gemini, gemini_url(route, Verb::CountTokens), contents.body_for(model))
        }
        (Counted::Messages(_) | Counted::Contents(_), _) => return None,
    };
    if let Some(custom) = &route.custom {
        url = custom.counting_url(&route.base_url, url, model, key).ok()?;
        body = custom.body(body, model, false);
    }
    let headers =
        headers(route, wire, key, &HeaderValue::from_static("application/json"), false, forwarded).ok()?;
    Some(Outgoing { url, headers, body, wire, custom: route.custom.clone(), dropped: Vec::new() })
}

fn body(asked: &Asked, route: &Route, wire: Wire, default_cap: u64) -> Result<Written, CallError> {
    let model = route.upstream_model.as_str();
    let through = |body| Ok(Written { body, dropped: Vec::new() });
    let cap = cap_field(&route.base_url);
    match (&asked.form, wire) {
        (Form::Chat(chat), Wire::Chat) => through(chat.body_for(model, cap, default_cap)),
        (Form::Completion(completion), Wire::Completions) => through(completion.body_for(model)),
        (Form::Responses(responses), Wire::Responses) => through(responses.body_for(model, default_cap)),
        (Form::Messages(messages), Wire::Claude) => through(messages.body_for(model, default_cap)),
        (Form::Generate(generate), Wire::Gemini) => through(generate.body_for(model, default_cap)),
        (Form::Embed(embed), Wire::GeminiEmbeddings) => through(embed.body_for(model)),
        (Form::Plain(plain), Wire::Embeddings | Wire::Media(_)) => through(plain.body_for(model)),
        (Form::Plain(_) | Form::Embed(_), Wire::Embeddings | Wire::GeminiEmbeddings) => {
            convert::texts(asked, wire, model)
        }
        _ => {
            let newer_cap = cap == CapField::MaxCompletionTokens;
            convert::request(asked, wire, &Target { upstream_model: model, default_cap, newer_cap })
        }
    }
}

/// OpenAI's newer models refuse `max_tokens`; all of its models take `max_completion_tokens`. Of the others many know
/// only the former.
fn cap_field(base_url: &str) -> CapField {
    if is_openai(base_url) { CapField::MaxCompletionTokens } else { CapField::MaxTokens }
}

/// Is this address one of OpenAI's own, or of its models at Azure?
pub fn is_openai(base_url: &str) -> bool {
    let host = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    host == "api.openai.com" || host.ends_with(".api.openai.com") || host.ends_with(".openai.azure.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_openai_itself_gets_its_new_name_of_the_cap() {
        assert_eq!(cap_field("https://api.openai.com/v1"), CapField::MaxCompletionTokens);
        assert_eq!(cap_field("https://x.openai.azure.com/openai/v1"), CapField::MaxCompletionTokens);
        for other in
            ["https://antinomy.ai/api/v1", "http://127.0.0.1:9/v1", "https://evil.com/api.openai.com"]
        {
            assert_eq!(cap_field(other), CapField::MaxTokens, "{other}");
        }
    }
}
