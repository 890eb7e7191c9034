//! The template: what an operator says of a provider, checked when it is read.
//!
//! Claims: a template that can be read can be used: its paths stay below the provider's base URL, its headers can be
//! sent, and its rules do not contradict each other; a fault is named with its place.

use super::fill::{FieldName, Filled, MAX_TEXT, PathTemplate};
use super::pointer::Pointer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest template, in bytes: it lies in a row beside others.
const MAX_BYTES: usize = 32 << 10;
/// The most entries of a map or a list.
const MAX_ENTRIES: usize = 64;

/// What an operator says of a provider that speaks none of the protocols exactly. Cheap to clone. Whatever it does not
/// tell is done as the protocol does that the provider's is nearest to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub(super) Arc<Said>);

/// A template as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    /// The protocol that is nearest.
    pub(super) speaks: Speaks,
    /// The paths below the base URL. If given, what it does not name is not served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) paths: Option<BTreeMap<Service, PathTemplate>>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<FieldName, Filled>,
    /// What is added to the query of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) query: BTreeMap<String, Filled>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) auth: Option<Auth>,
    #[serde(default, skip_serializing_if = "BodyRules::is_empty")]
    pub(super) body: BodyRules,
    #[serde(default, skip_serializing_if = "AnswerRules::is_empty")]
    pub(super) answer: AnswerRules,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<UsageRules>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<Streaming>,
}

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaks {
    /// OpenAI's.
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic's.
    Claude,
    /// Google's.
    Gemini,
}

/// What a provider can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Service {
    /// Conversations: chat completions, messages, content.
    Chat,
    /// Conversations as a stream, where they have a path of their own.
    Stream,
    Completions,
    Responses,
    Embeddings,
    ImageGenerations,
    ImageEdits,
    Speech,
    Transcriptions,
    Translations,
    Moderations,
    Rerank,
    EmbedContent,
    BatchEmbedContents,
    CountTokens,
    /// What probes and tests ask for: the list of models, or whatever else answers a GET with the key.
    Models,
}

impl Service {
    /// Does a protocol know it?
    fn is_of(self, speaks: Speaks) -> bool {
        match self {
            Self::Chat | Self::Stream | Self::Models => true,
            Self::Completions
            | Self::Responses
            | Self::Embeddings
            | Self::ImageGenerations
            | Self::ImageEdits
            | Self::Speech
            | Self::Transcriptions
            | Self::Translations
            | Self::Moderations
            | Self::Rerank => speaks == Speaks::OpenAi,
            Self::EmbedContent | Self::BatchEmbedContents => speaks == Speaks::Gemini,
            Self::CountTokens => speaks != Speaks::OpenAi,
        }
    }

    fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// How a provider knows us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Auth {
    /// It does not.
    None,
}

/// How a request's body differs. All is taken before anything is put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BodyRules {
    /// From where to where.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) rename: BTreeMap<Pointer, Pointer>,
    /// What is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remove: Vec<Pointer>,
    /// What is set, whatever the caller said. `{model}` in a text is the model's name there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) set: BTreeMap<Pointer, serde_json::Value>,
}

impl BodyRules {
    pub(super) fn is_empty(&self) -> bool {
        self.rename.is_empty() && self.remove.is_empty() && self.set.is_empty()
    }
}

/// Where things stand in a whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AnswerRules {
    /// The protocol's own answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<Pointer>,
    /// The generated text, of a vendor that gives nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Pointer>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish: Option<Pointer>,
    /// The vendor's words for why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) finish_words: BTreeMap<String, FinishWord>,
    /// What went wrong: a text, or an object like the protocol's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Pointer>,
}

impl AnswerRules {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FinishWord {
    /// The model was done.
    Stop,
    /// The cap.
    Length,
    /// A filter.
    Filtered,
}

/// Where a vendor counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UsageRules {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_read: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write_1h: Option<Pointer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<Pointer>,
    /// Are the tokens of caches among those of the input?
    #[serde(skip_serializing_if = "is_true")]
    pub(super) input_includes_cache: bool,
    /// Are the tokens of reasoning among those of the output?
    #[serde(skip_serializing_if = "is_true")]
    pub(super) output_includes_reasoning: bool,
}

impl Default for UsageRules {
    fn default() -> Self {
        Self {
            input: None,
            output: None,
            total: None,
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
            reasoning: None,
            input_includes_cache: true,
            output_includes_reasoning: true,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}

/// How a vendor streams conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Streaming {
    /// Not at all: it is asked for a whole answer.
    None,
    /// So.
    Rules(Box<StreamRules>),
}

/// Where things stand in each event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StreamRules {
    #[serde(skip_serializing_if = "Cut::is_sse")]
    pub(super) framing: Cut,
    /// The protocol's own event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<Pointer>,
    /// More of the generated text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<Pointer>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finish: Option<Pointer>,
    /// What is the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) done: Option<Done>,
}

/// How a stream is cut into events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cut {
    /// Server-sent events.
    #[default]
    Sse,
    /// A JSON value per line.
    Lines,
}

impl Cut {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
    fn is_sse(&self) -> bool {
        *self == Self::Sse
    }
}

/// What tells the last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// Its data are this text, which is no JSON.
    Mark(String),
    /// It has this value at this place.
    Value(DoneValue),
}

/// A value at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DoneValue {
    pub(super) at: Pointer,
    pub(super) is: serde_json::Value,
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let said = Said::deserialize(deserializer)?;
        said.check().map_err(de::Error::custom)?;
        Ok(Self(Arc::new(said)))
    }
}

impl Serialize for Streaming {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Rules(rules) => rules.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Streaming {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Streaming;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"none\", or an object")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Streaming, E> {
                if word == "none" {
                    return Ok(Streaming::None);
                }
                Err(E::invalid_value(de::Unexpected::Str(word), &self))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Streaming, A::Error> {
                StreamRules::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|rules| Streaming::Rules(Box::new(rules)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Done {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Mark(mark) => serializer.serialize_str(mark),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Done {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Done;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text such as \"[DONE]\", or an object with `at` and `is`")
            }

            fn visit_str<E: de::Error>(self, mark: &str) -> Result<Done, E> {
                let is_json = serde_json::from_str::<de::IgnoredAny>(mark).is_ok();
                if mark.trim() != mark || mark.is_empty() || mark.len() > MAX_TEXT || is_json {
                    return Err(E::invalid_value(de::Unexpected::Str(mark), &self));
                }
                Ok(Done::Mark(mark.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Done, A::Error> {
                DoneValue::deserialize(de::value::MapAccessDeserializer::new(map)).map(Done::Value)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Said {
    /// Is there a path for it, or does the protocol's own hold?
    pub(super) fn offers(&self, service: Service) -> bool {
        self.paths.as_ref().is_none_or(|paths| paths.contains_key(&service)) && service.is_of(self.speaks)
    }

    /// The rules of streams, if it streams by rules of its own.
    pub(super) fn stream_rules(&self) -> Option<&StreamRules> {
        match &self.stream {
            Some(Streaming::Rules(rules)) => Some(rules),
            Some(Streaming::None) | None => None,
        }
    }

    /// Does it give nothing but a text, whole or in streams?
    pub(super) fn gives_text(&self) -> bool {
        self.answer.text.is_some() || self.stream_rules().is_some_and(|rules| rules.text.is_some())
    }

    /// Do the parts agree with each other?
    fn check(&self) -> Result<(), String> {
        self.check_sizes()?;
        self.check_paths()?;
        let sends_key = self.headers.values().chain(self.query.values()).any(Filled::has_key);
        let mut faults = vec![
            (self.auth.is_some() && sends_key, "auth: `none` contradicts {key} in `headers` or `query`"),
            (
                self.answer.root.is_some() && self.answer.text.is_some(),
                "answer: `root` and `text` exclude each other: either the protocol's own answer is there, or only text",
            ),
            (
                self.answer.finish.is_some() && self.answer.text.is_none(),
                "answer.finish: goes with `text` only",
            ),
            (
                !self.answer.finish_words.is_empty() && !self.gives_text(),
                "answer.finish_words: go with `text` only, of answers or of streams",
            ),
            (
                (self.answer.root.is_some() || self.answer.text.is_some())
                    && self.stream.is_none()
                    && self.offers(Service::Chat),
                "stream: is needed beside `answer.root` and `answer.text`: \"none\", or where things stand in an event \
                 ({} where events are the protocol's own)",
            ),
        ];
        if let Some(rules) = self.stream_rules() {
            faults.extend([
                (
                    rules.root.is_some() && rules.text.is_some(),
                    "stream: `root` and `text` exclude each other",
                ),
                (rules.finish.is_some() && rules.text.is_none(), "stream.finish: goes with `text` only"),
                (
                    rules.text.is_some() && rules.finish.is_none() && rules.done.is_none(),
                    "stream: needs `finish` or `done` beside `text`: a stream that breaks off could not be told from one \
                     that ends",
                ),
            ]);
        }
        if let Some(usage) = &self.usage {
            let known = [&usage.input, &usage.output, &usage.total].into_iter().flatten().count();
            faults.push((
                known < 2,
                "usage: needs two of `input`, `output` and `total`: what is not counted would be free",
            ));
        }
        match faults.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, fault)) => Err(fault.into()),
            None => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<(), String> {
        let sizes = [
            ("headers", self.headers.len()),
            ("query", self.query.len()),
            ("body.rename", self.body.rename.len()),
            ("body.remove", self.body.remove.len()),
            ("body.set", self.body.set.len()),
            ("answer.finish_words", self.answer.finish_words.len()),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size > MAX_ENTRIES) {
            return Err(format!("{name}: has more than {MAX_ENTRIES} entries"));
        }
        if serde_json::to_string(self).is_ok_and(|json| json.len() > MAX_BYTES) {
            return Err(format!("it is longer than {MAX_BYTES} bytes"));
        }
        let is_name = |name: &String| {
            !name.is_empty() && name.len() <= MAX_TEXT && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match self.query.keys().find(|name| !is_name(name)) {
            Some(name) => Err(format!("query: {name:?} is no name: visible ASCII characters only")),
            None => Ok(()),
        }
    }

    fn check_paths(&self) -> Result<(), String> {
        let Some(paths) = &self.paths else { return Ok(()) };
        if let Some(service) = paths.keys().find(|service| !service.is_of(self.speaks)) {
            return Err(format!("paths.{}: is nothing that this protocol has", service.name()));
        }
        let has = |service| paths.contains_key(&service);
        let is_changed =
            self.answer != AnswerRules::default() || self.usage.is_some() || self.stream.is_some();
        let is_whole_only = self.stream == Some(Streaming::None);
        let faults = [
            (paths.keys().all(|service| *service == Service::Models), "paths: names nothing to call"),
            (has(Service::Stream) && !has(Service::Chat), "paths.stream: goes with `chat` only"),
            (has(Service::Stream) && is_whole_only, "paths.stream: contradicts `stream`: \"none\""),
            (
                self.speaks == Speaks::Gemini
                    && has(Service::Chat)
                    && !has(Service::Stream)
                    && !is_whole_only,
                "paths.stream: is needed beside `chat`: in Gemini's protocol only the path asks for a stream",
            ),
            (
                paths.get(&Service::Models).is_some_and(|path| path.0.contains("{model}")),
                "paths.models: must not hold {model}",
            ),
            (
                has(Service::Responses) && is_changed,
                "paths.responses: excludes `answer`, `usage` and `stream`; such calls reach `chat` by conversion",
            ),
            (
                has(Service::Completions) && self.gives_text(),
                "paths.completions: excludes `text` in `answer` and `stream`",
            ),
        ];
        match faults.into_iter().find(|(is_wrong, _)| *is_wrong) {
            Some((_, fault)) => Err(fault.into()),
            None => Ok(()),
        }
    }
}
