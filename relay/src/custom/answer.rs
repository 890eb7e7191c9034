//! The vendor's whole answers and refusals, made into those of the protocol that it is nearest to.
//!
//! Claims: an answer without what the template names is no answer, and never an empty one that is charged; the vendor's
//! own error is looked for only then, since many say "ok" in the same place.

use super::edit::Node;
use super::template::{FinishWord, Template};
use super::usage::Counted;
use crate::claude;
use crate::dialogue::{Answered, Finish, Part, Reply, Voice};
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::gemini;
use crate::openai;
use crate::wire::Wire;
use axum::http::StatusCode;
use bytes::Bytes;
use domain::Tokens;

/// A whole answer in the protocol's shape.
#[derive(Debug)]
pub(crate) struct Shaped {
    pub(crate) body: Bytes,
    /// The vendor's counts, if the template names them: they go before those that the protocol's reader finds.
    pub(crate) tokens: Option<Tokens>,
}

impl Template {
    /// Makes a whole answer into the protocol's.
    pub(crate) fn whole(&self, wire: Wire, body: Bytes, voice: &Voice) -> Shaped {
        let rules = &self.0.answer;
        let Ok(json) = std::str::from_utf8(&body) else { return Shaped { body, tokens: None } };
        let tokens = self.counted(json).filter(|it| wire.is_conversation() || *it != Tokens::default());
        let shaped = match (&rules.text, &rules.root) {
            (Some(text), _) if wire.is_conversation() => {
                text.text(json).and_then(|text| self.reply(wire, json, text.into_owned(), tokens, voice))
            }
            (_, Some(root)) => root.find(json).map(|own| with_counts(wire, own.get(), tokens)),
            (_, None) if rules.error.is_some() && !is_answer(wire, &body) => None,
            (_, None) => Some(tokens.map_or(body.clone(), |_| with_counts(wire, json, tokens))),
        };
        let body = match shaped.or_else(|| self.error_in(json).map(Bytes::from)) {
            Some(body) => body,
            None => body,
        };
        Shaped { body, tokens }
    }

    /// What stands at the place of the protocol's own answer; all of it, where none is named.
    pub(crate) fn unwrapped(&self, body: Vec<u8>) -> Vec<u8> {
        let json = std::str::from_utf8(&body).ok();
        let own = self.0.answer.root.as_ref().zip(json).and_then(|(root, json)| root.find(json));
        own.map(|own| own.get().as_bytes().to_vec()).unwrap_or(body)
    }

    fn counted(&self, json: &str) -> Option<Tokens> {
        let rules = self.0.usage.as_ref()?;
        let mut counted = Counted::default();
        counted.read(rules, json);
        counted.tokens(rules)
    }

    fn reply(
        &self,
        wire: Wire,
        json: &str,
        text: String,
        tokens: Option<Tokens>,
        voice: &Voice,
    ) -> Option<Bytes> {
        let word = self.0.answer.finish.as_ref().and_then(|finish| finish.text(json));
        let parts = vec![Part::Text { text, cache: None }];
        let finish = self.finish(word.as_deref());
        let reply = Reply { id: None, choices: vec![Answered { parts, finish }], usage: tokens };
        match wire {
            Wire::Chat => Some(openai::reply::write(&reply, voice)),
            Wire::Claude => Some(claude::reply::write(&reply, voice)),
            Wire::Gemini => Some(gemini::reply::write(&reply, voice)),
            Wire::Completions
            | Wire::Responses
            | Wire::Embeddings
            | Wire::GeminiEmbeddings
            | Wire::Media(_) => None,
        }
    }

    /// Why an answer ended, by the vendor's word. What the template does not list is read as OpenAI's and Anthropic's
    /// words are.
    pub(super) fn finish(&self, word: Option<&str>) -> Finish {
        let Some(word) = word else { return Finish::Stop };
        match self.0.answer.finish_words.get(word) {
            Some(FinishWord::Stop) => Finish::Stop,
            Some(FinishWord::Length) => Finish::Length,
            Some(FinishWord::Filtered) => Finish::Filtered,
            None => match word.to_ascii_lowercase().as_str() {
                "max_tokens" => Finish::Length,
                lower => match openai::reply::finish(Some(lower), false) {
                    // It gives nothing but text.
                    Finish::Calls => Finish::Stop,
                    finish => finish,
                },
            },
        }
    }

    /// The vendor's error in the protocol's shape, if the template's place for it holds one.
    pub(super) fn error_in(&self, json: &str) -> Option<String> {
        let found = self.0.answer.error.as_ref()?.find(json)?.get();
        match found.as_bytes().first()? {
            b'{' => Some(format!(r#"{{"error":{found}}}"#)),
            b'"' if found != r#""""# => Some(format!(r#"{{"error":{{"message":{found}}}}}"#)),
            b'-' | b'1'..=b'9' => Some(format!(r#"{{"error":{{"message":"{found}"}}}}"#)),
            _ => None,
        }
    }

    /// What the vendor's refusal of a request says.
    pub(crate) fn refused(&self, wire: Wire, status: StatusCode, body: &[u8]) -> CallError {
        let told = std::str::from_utf8(body).ok().and_then(|json| self.error_in(json));
        wire.refused(status, told.as_deref().map_or(body, str::as_bytes))
    }
}

/// Does the protocol's reader find an answer?
pub(super) fn is_answer(wire: Wire, json: &[u8]) -> bool {
    wire.whole(json, &mut Estimate::default()).is_some_and(|seen| seen.has_answer)
}

/// The protocol's own object with these counts in it.
fn with_counts(wire: Wire, json: &str, tokens: Option<Tokens>) -> Bytes {
    let mut node = Node::new(json);
    if let Some((key, counts)) = tokens.as_ref().and_then(|tokens| counts(wire, tokens)) {
        node.put_key(key, Node::Owned(counts));
    }
    node.written().into()
}

/// Counts as the protocol writes them, and where. What it has no word for is joined to the class that is nearest: the
/// bill is made from the counts themselves.
pub(super) fn counts(wire: Wire, tokens: &Tokens) -> Option<(&'static str, String)> {
    let written = match wire {
        Wire::Chat | Wire::Completions | Wire::Embeddings => {
            ("usage", serde_json::to_string(&openai::usage::Counts::from(*tokens)))
        }
        Wire::Claude => ("usage", serde_json::to_string(&claude::usage::View::new(tokens))),
        Wire::Gemini | Wire::GeminiEmbeddings => {
            ("usageMetadata", serde_json::to_string(&gemini::usage::View::new(tokens)))
        }
        // Each has counts of its own kind, and the bill does not read these.
        Wire::Responses | Wire::Media(_) => return None,
    };
    Some((written.0, written.1.ok()?))
}
