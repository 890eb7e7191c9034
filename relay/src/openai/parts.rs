//! What Chat Completions and Responses have in common: the hub's parts as OpenAI writes them, in either API.
//!
//! For: conversations put together from messages and items, media and files, efforts, arguments, tool choices.
//! May not touch: the shape of either API's messages.

use super::fields::Place;
use crate::dialogue::{Effort, Medium, Part, Role, Source, Turn};
use crate::error::CallError;
use serde_json::value::RawValue;
use std::collections::{HashMap, VecDeque};

/// What stands before the text of a result of a function that failed: OpenAI has no field for that.
pub(crate) const FAILED: &str = "Error: ";

/// A conversation, put together from its messages.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) system: Vec<Part>,
    pub(crate) turns: Vec<Turn>,
    /// The function behind each call's id.
    names: HashMap<String, String>,
    /// The id of each function's latest call: what the oldest clients refer to.
    latest: HashMap<String, String>,
    /// Ids that were made up, whose results have not been seen.
    made_up: VecDeque<String>,
    count_made_up: u64,
    /// Is the last turn one of results, which the user's next words join?
    has_open_results: bool,
}

impl Conversation {
    /// Has the conversation itself begun?
    pub(crate) fn has_begun(&self) -> bool {
        !self.turns.is_empty()
    }

    /// The user speaks.
    pub(crate) fn user(&mut self, parts: Vec<Part>) {
        match self.turns.last_mut() {
            Some(turn) if self.has_open_results => turn.parts.extend(parts),
            _ => self.turns.push(Turn { role: Role::User, parts }),
        }
        self.has_open_results = false;
    }

    /// The model speaks.
    pub(crate) fn assistant(&mut self, parts: Vec<Part>) {
        self.has_open_results = false;
        self.turns.push(Turn { role: Role::Assistant, parts });
    }

    /// The model goes on: in its turn, if it is the last one.
    pub(crate) fn assistant_part(&mut self, part: Part) {
        match self.turns.last_mut() {
            Some(turn) if turn.role == Role::Assistant => turn.parts.push(part),
            _ => self.assistant(vec![part]),
        }
    }

    /// The model calls a function: the call's id, made up if there is none.
    pub(crate) fn call_id(&mut self, id: Option<String>, name: &str) -> String {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
            self.count_made_up += 1;
            let id = format!("call_{}", self.count_made_up);
            self.made_up.push_back(id.clone());
            id
        });
        self.names.insert(id.clone(), name.to_owned());
        self.latest.insert(name.to_owned(), id.clone());
        id
    }

    /// A call's result.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] if no call has the id.
    pub(crate) fn result(
        &mut self,
        at: &Place,
        id: Option<String>,
        content: Vec<Part>,
        cache: Option<Box<RawValue>>,
    ) -> Result<(), CallError> {
        let id = id.filter(|id| !id.is_empty()).or_else(|| self.made_up.pop_front());
        let known = id.and_then(|id| self.names.get(&id).cloned().map(|name| (id, name)));
        let (id, name) = known.ok_or_else(|| at.fault("names no call of an earlier message"))?;
        self.add_result(Part::Result { id, name, content, is_error: false, cache });
        Ok(())
    }

    /// The result of a function's latest call.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] if it was not called.
    pub(crate) fn result_by_name(
        &mut self,
        at: &Place,
        name: String,
        content: Vec<Part>,
    ) -> Result<(), CallError> {
        let id = self.latest.get(&name).cloned().ok_or_else(|| at.fault("was not called before"))?;
        self.made_up.retain(|made_up| *made_up != id);
        self.add_result(Part::Result { id, name, content, is_error: false, cache: None });
        Ok(())
    }

    fn add_result(&mut self, result: Part) {
        match self.turns.last_mut() {
            Some(turn) if self.has_open_results => turn.parts.push(result),
            _ => self.turns.push(Turn { role: Role::User, parts: vec![result] }),
        }
        self.has_open_results = true;
    }
}

/// Arguments as a JSON object; of no text `{}`. `None`: they are no object.
pub(crate) fn arguments(text: String) -> Option<Box<RawValue>> {
    let text = if text.trim_ascii().is_empty() { "{}".to_owned() } else { text };
    RawValue::from_string(text).ok().filter(|value| value.get().starts_with('{'))
}

/// A model's arguments, whatever they are: text that is no object becomes the only member `arguments` of one, so that
/// nothing of it is lost.
pub(crate) fn arguments_of_a_model(text: String) -> Box<RawValue> {
    arguments(text.clone()).unwrap_or_else(|| {
        let wrapped = format!(r#"{{"arguments":{}}}"#, crate::body::json_string(&text));
        // A string in an object is JSON; the default (null) is never seen.
        RawValue::from_string(wrapped).unwrap_or_default()
    })
}

/// An effort's word. `None`: OpenAI knows no such word.
pub(crate) fn effort_of(word: &str) -> Option<Option<Effort>> {
    Some(match word {
        "none" => None,
        "minimal" => Some(Effort::Minimal),
        "low" => Some(Effort::Low),
        "medium" => Some(Effort::Medium),
        "high" => Some(Effort::High),
        "xhigh" => Some(Effort::Higher),
        "max" => Some(Effort::Max),
        _ => return None,
    })
}

/// The word for an effort; OpenAI has none above `xhigh`.
pub(crate) fn effort_word(effort: Effort) -> &'static str {
    match effort {
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Higher | Effort::Max => "xhigh",
    }
}

/// The word for how much a model shall think. `None`: nothing is to be said.
pub(crate) fn reasoning_word(reasoning: &crate::dialogue::Reasoning) -> Option<&'static str> {
    use crate::dialogue::Reasoning;
    match reasoning {
        Reasoning::Off => Some("none"),
        Reasoning::Effort(effort) => Some(effort_word(*effort)),
        Reasoning::Budget(tokens) => Some(effort_word(Effort::of_budget(*tokens))),
        Reasoning::Adaptive => None,
    }
}

/// Where media is that a URL names: within it, or there.
pub(crate) fn source_of_url(url: String, filename: Option<String>) -> Option<Source> {
    let Some(inline) = url.strip_prefix("data:") else {
        return Some(Source::Url { url, media_type: None });
    };
    let (head, data) = inline.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    // Such as `;charset=utf-8`.
    let media_type = media_type.split_once(';').map_or(media_type, |(media_type, _)| media_type);
    Some(Source::Inline { media_type: media_type.to_owned(), data: data.to_owned(), filename })
}

/// The URL of media that is in the request.
pub(crate) fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// The id of a file if it is kept at OpenAI.
///
/// # Errors
/// [`CallError::BadRequest`] for files that are kept elsewhere.
pub(crate) fn openai_file(id: &str) -> Result<&str, CallError> {
    if id.starts_with("file-") {
        return Ok(id);
    }
    Err(cannot("a file that is kept at another provider"))
}

/// The refusal of a call whose meaning would be lost.
pub(crate) fn cannot(what: &str) -> CallError {
    CallError::BadRequest {
        param: None,
        code: "unsupported_value",
        message: format!("the provider of this model cannot be given {what}"),
    }
}

/// A sound's type by the name of its format.
pub(crate) fn audio_type(format: &str) -> String {
    match format {
        "mp3" => "audio/mpeg".into(),
        other => format!("audio/{other}"),
    }
}

/// The name of a sound's format by its type.
pub(crate) fn audio_format(media_type: &str) -> &str {
    match media_type {
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        other => other.strip_prefix("audio/").unwrap_or(other),
    }
}

/// A document's name where it has none: OpenAI wants one.
pub(crate) fn filename<'a>(given: Option<&'a str>, media_type: &str) -> &'a str {
    given.unwrap_or(match media_type {
        "application/pdf" => "document.pdf",
        "text/plain" => "document.txt",
        _ => "document",
    })
}

/// How a part of media is called in a sentence.
pub(crate) fn medium_word(medium: Medium) -> &'static str {
    match medium {
        Medium::Image => "an image of this kind",
        Medium::Audio => "a sound at an address",
        Medium::Document => "a document at an address",
        Medium::Video => "a video",
    }
}
