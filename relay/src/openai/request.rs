//! A chat request: the few fields that money and routing depend on, and its body as the provider gets it.
//!
//! Claims: every byte that is not the model's name, `stream_options.include_usage` or a missing cap on the output
//! reaches the provider as it came; a field given twice is refused, since two readers could disagree about which one
//! counts.

use super::Key;
use crate::error::CallError;
use crate::estimate::Estimate;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::ops::Range;

/// No model generates more tokens for one choice; a larger cap is a mistake.
pub const MAX_OUTPUT_TOKENS: u64 = 2_000_000;
/// The most choices a call may ask for.
pub const MAX_CHOICES: u64 = 128;
/// The most fields a request may have. Known ones are about forty.
const MAX_FIELDS: usize = 128;

/// What templates and hidden instructions of providers add to any prompt.
const FRAME_TOKENS: u64 = 32;
/// What the presence of tools adds beside their text: some providers explain them to the model in about 500 tokens.
const TOOLS_TOKENS: u64 = 600;
/// An image: above what providers count for one at full detail, but for the cheapest models, which inflate it.
const IMAGE_TOKENS: u64 = 5_000;
/// Base64 bytes of audio per token: even well compressed speech is thinner.
const AUDIO_BYTES_PER_TOKEN: u64 = 256;
/// Base64 bytes of a document per token.
const FILE_BYTES_PER_TOKEN: u64 = 4;

/// A chat request as its caller sent it.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    body: Bytes,
    /// The model, as the caller names it.
    pub model: String,
    /// As a stream?
    pub stream: bool,
    /// Did the caller ask for the usage at the end of the stream?
    pub wants_usage: bool,
    /// How many choices.
    pub choices: u64,
    /// The caller's cap on the tokens of one choice.
    pub max_output: Option<u64>,
    /// The prompt's tokens.
    pub input: Estimate,
    places: Places,
}

/// Where the fields are whose values may change.
#[derive(Clone, Debug)]
struct Places {
    /// After the opening brace.
    start: usize,
    model: Range<usize>,
    usage: UsagePlace,
    max_tokens: Option<Range<usize>>,
    max_completion_tokens: Option<Range<usize>>,
}

/// Where `"include_usage":true` goes.
#[derive(Clone, Debug)]
enum UsagePlace {
    /// Nowhere: it is there, or the call is no stream.
    Nowhere,
    /// There are no stream options.
    NoOptions,
    /// They are null.
    NullOptions(Range<usize>),
    /// After their opening brace.
    Within { start: usize, is_empty: bool },
    /// In place of another value.
    InPlaceOf(Range<usize>),
}

/// Under which name a provider takes the cap on the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapField {
    /// `max_tokens`: every provider but OpenAI knows it.
    MaxTokens,
    /// `max_completion_tokens`: OpenAI's newer models refuse the old name.
    MaxCompletionTokens,
}

impl CapField {
    fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

impl ChatRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub fn try_new(body: Bytes) -> Result<Self, CallError> {
        let text = std::str::from_utf8(&body).map_err(|_| not_json("it is not UTF-8"))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let fields = (&mut json).deserialize_any(Fields).map_err(|error| unreadable(&error))?;
        json.end().map_err(|error| unreadable(&error))?;
        if let Some(twice) = fields.twice {
            return Err(CallError::BadRequest {
                param: None,
                code: "duplicate_field",
                message: format!("the field `{twice}` is given twice"),
            });
        }

        let model = fields.model.ok_or_else(|| missing("model"))?;
        let name: String = parse(Some(model), "model", "a string")?;
        let stream = parse::<Option<bool>>(fields.stream, "stream", "a boolean")?.unwrap_or(false);
        match fields.messages {
            Messages::Missing => return Err(missing("messages")),
            Messages::Empty => return Err(CallError::bad("messages", "`messages` must not be empty")),
            Messages::NoArray => return Err(CallError::bad("messages", "`messages` must be an array")),
            Messages::Given => {}
        }
        let choices = whole_number(fields.n, "n", MAX_CHOICES)?.unwrap_or(1);
        let max_tokens = whole_number(fields.max_tokens, "max_tokens", MAX_OUTPUT_TOKENS)?;
        let max_completion_tokens =
            whole_number(fields.max_completion_tokens, "max_completion_tokens", MAX_OUTPUT_TOKENS)?;
        let (wants_usage, usage) = usage_place(text, stream, fields.stream_options)?;
        let range = |value: &RawValue| range_in(text, value);
        let places = Places {
            // The body is an object, so its first brace opens it.
            start: text.find('{').map_or(0, |at| at + 1),
            model: range(model),
            usage,
            max_tokens: fields.max_tokens.map(range),
            max_completion_tokens: fields.max_completion_tokens.map(range),
        };
        Ok(Self {
            model: name,
            stream,
            wants_usage,
            choices,
            // A caller may give both names; which one its provider heeds is not known, so the larger one counts.
            max_output: max_tokens.max(max_completion_tokens),
            input: fields.input,
            places,
            body,
        })
    }

    /// The body for a provider that calls the model `upstream_model`; `cap` is set where the caller set none.
    pub fn body_for(&self, upstream_model: &str, field: CapField, cap: u64) -> Bytes {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        let at = |place: usize| place..place;
        if upstream_model != self.model {
            edits.push((self.places.model.clone(), json_string(upstream_model)));
        }
        if self.max_output.is_none() {
            let place = match field {
                CapField::MaxTokens => &self.places.max_tokens,
                CapField::MaxCompletionTokens => &self.places.max_completion_tokens,
            };
            edits.push(match place {
                // The caller wrote null.
                Some(null) => (null.clone(), cap.to_string()),
                None => (at(self.places.start), format!("\"{}\":{cap},", field.name())),
            });
        }
        match &self.places.usage {
            UsagePlace::Nowhere => {}
            UsagePlace::NoOptions => {
                edits.push((at(self.places.start), r#""stream_options":{"include_usage":true},"#.into()));
            }
            UsagePlace::NullOptions(null) => edits.push((null.clone(), r#"{"include_usage":true}"#.into())),
            UsagePlace::Within { start, is_empty } => {
                let comma = if *is_empty { "" } else { "," };
                edits.push((at(*start), format!(r#""include_usage":true{comma}"#)));
            }
            UsagePlace::InPlaceOf(value) => edits.push((value.clone(), "true".into())),
        }
        splice(&self.body, edits)
    }
}

/// The bytes with each range replaced. Ranges do not overlap; several may stand at one place.
fn splice(body: &Bytes, mut edits: Vec<(Range<usize>, String)>) -> Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    edits.sort_by_key(|(range, _)| range.start);
    let grown: usize = edits.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + grown);
    let mut done = 0;
    for (range, text) in edits {
        out.extend_from_slice(&body[done..range.start]);
        out.extend_from_slice(text.as_bytes());
        done = range.end;
    }
    out.extend_from_slice(&body[done..]);
    out.into()
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where a value borrowed from a text stands in it.
fn range_in(text: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + value.get().len()
}

fn usage_place(
    text: &str,
    stream: bool,
    options: Option<&RawValue>,
) -> Result<(bool, UsagePlace), CallError> {
    #[derive(Deserialize)]
    struct StreamOptions<'a> {
        #[serde(borrow, default, deserialize_with = "even_null")]
        include_usage: Option<&'a RawValue>,
    }

    /// A null is there, too, and has a place.
    fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Some)
    }

    let place = match options {
        None => (false, UsagePlace::NoOptions),
        Some(null) if null.get() == "null" => (false, UsagePlace::NullOptions(range_in(text, null))),
        Some(options) => {
            let fault =
                || CallError::bad("stream_options", "`stream_options` must be an object of known shape");
            // serde would take an array for a struct.
            if !options.get().starts_with('{') {
                return Err(fault());
            }
            let read: StreamOptions<'_> = serde_json::from_str(options.get()).map_err(|_| fault())?;
            match read.include_usage {
                None => {
                    let is_empty = options.get()[1..].trim_start() == "}";
                    (false, UsagePlace::Within { start: range_in(text, options).start + 1, is_empty })
                }
                Some(value) => match value.get() {
                    "true" => (true, UsagePlace::Nowhere),
                    "false" | "null" => (false, UsagePlace::InPlaceOf(range_in(text, value))),
                    _ => return Err(CallError::bad("stream_options", "`include_usage` must be a boolean")),
                },
            }
        }
    };
    Ok(if stream { place } else { (place.0, UsagePlace::Nowhere) })
}

fn missing(param: &'static str) -> CallError {
    CallError::BadRequest {
        param: Some(param),
        code: "missing_required_parameter",
        message: format!("`{param}` is missing"),
    }
}

fn not_json(why: impl std::fmt::Display) -> CallError {
    CallError::BadRequest {
        param: None,
        code: "invalid_json",
        message: format!("the request body cannot be read: {why}"),
    }
}

fn unreadable(error: &serde_json::Error) -> CallError {
    match error.classify() {
        // Our own words, or serde's about the type of the whole, which would quote the body.
        serde_json::error::Category::Data if error.to_string().starts_with("invalid type") => {
            not_json("it must be a JSON object")
        }
        serde_json::error::Category::Data
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => not_json(error),
    }
}

/// A field's value; absent reads as null.
fn parse<'a, T: Deserialize<'a>>(
    value: Option<&'a RawValue>,
    param: &'static str,
    expected: &str,
) -> Result<T, CallError> {
    serde_json::from_str(value.map_or("null", RawValue::get))
        .map_err(|_| CallError::bad(param, format!("`{param}` must be {expected}")))
}

/// A whole number from 1 to `max`, or nothing.
fn whole_number(value: Option<&RawValue>, param: &'static str, max: u64) -> Result<Option<u64>, CallError> {
    let expected = format!("a whole number from 1 to {max}");
    let number = parse::<Option<u64>>(value, param, &expected)?;
    match number {
        Some(number) if !(1..=max).contains(&number) => {
            Err(CallError::bad(param, format!("`{param}` must be {expected}")))
        }
        _ => Ok(number),
    }
}

/// A request's fields, as found.
#[derive(Default)]
struct Found<'a> {
    model: Option<&'a RawValue>,
    stream: Option<&'a RawValue>,
    stream_options: Option<&'a RawValue>,
    max_tokens: Option<&'a RawValue>,
    max_completion_tokens: Option<&'a RawValue>,
    n: Option<&'a RawValue>,
    messages: Messages,
    twice: Option<String>,
    input: Estimate,
}

#[derive(Default)]
enum Messages {
    #[default]
    Missing,
    NoArray,
    Empty,
    Given,
}

/// Reads the body's object once: routed fields by their place, all others by their weight in tokens.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::default();
        found.input.tokens(FRAME_TOKENS);
        let mut seen: Vec<Key<'de>> = Vec::with_capacity(16);
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if seen.contains(&key) {
                found.twice.get_or_insert_with(|| key.0.chars().take(100).collect());
            }
            let routed = match &*key.0 {
                "model" => Some(&mut found.model),
                "stream" => Some(&mut found.stream),
                "stream_options" => Some(&mut found.stream_options),
                "max_tokens" => Some(&mut found.max_tokens),
                "max_completion_tokens" => Some(&mut found.max_completion_tokens),
                "n" => Some(&mut found.n),
                _ => None,
            };
            match routed {
                Some(place) => *place = Some(map.next_value()?),
                None => {
                    let kind = map.next_value_seed(Weigh::text(&mut found.input))?;
                    match &*key.0 {
                        "messages" => {
                            found.messages = match kind {
                                Walked::EmptyArray => Messages::Empty,
                                Walked::Array => Messages::Given,
                                Walked::Other => Messages::NoArray,
                            };
                        }
                        "tools" | "functions" if matches!(kind, Walked::Array) => {
                            found.input.tokens(TOOLS_TOKENS)
                        }
                        _ => {}
                    }
                }
            }
            seen.push(key);
            if seen.len() > MAX_FIELDS {
                return Err(serde::de::Error::custom(format!("it has more than {MAX_FIELDS} fields")));
            }
        }
        Ok(found)
    }
}

/// Walks any JSON and weighs what of it can become prompt.
struct Weigh<'a> {
    input: &'a mut Estimate,
    medium: Medium,
}

/// What a string at some place is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    Text,
    /// Below `image_url`.
    Image,
    /// Below `input_audio`.
    Audio,
    /// Below `file`.
    File,
}

/// What was walked.
#[derive(PartialEq, Eq)]
enum Walked {
    EmptyArray,
    Array,
    Other,
}

impl<'a> Weigh<'a> {
    fn text(input: &'a mut Estimate) -> Self {
        Self { input, medium: Medium::Text }
    }

    fn number<E>(self) -> Result<Walked, E> {
        self.input.tokens(4);
        Ok(Walked::Other)
    }
}

impl<'de> DeserializeSeed<'de> for Weigh<'_> {
    type Value = Walked;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Walked, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Weigh<'_> {
    type Value = Walked;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Walked, E> {
        let len = text.len() as u64;
        match self.medium {
            Medium::Text => {
                self.input.text(text);
                // The quotes or the line's end after it.
                self.input.tokens(1);
            }
            Medium::Image => self.input.tokens(IMAGE_TOKENS),
            Medium::Audio => self.input.tokens(len / AUDIO_BYTES_PER_TOKEN + 1),
            Medium::File => self.input.tokens(len / FILE_BYTES_PER_TOKEN + 1),
        }
        Ok(Walked::Other)
    }

    fn visit_unit<E>(self) -> Result<Walked, E> {
        Ok(Walked::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Walked, E> {
        self.number()
    }

    fn visit_u64<E>(self, _: u64) -> Result<Walked, E> {
        self.number()
    }

    fn visit_i64<E>(self, _: i64) -> Result<Walked, E> {
        self.number()
    }

    fn visit_f64<E>(self, _: f64) -> Result<Walked, E> {
        self.number()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Walked, A::Error> {
        let mut walked = Walked::EmptyArray;
        while seq.next_element_seed(Weigh { input: &mut *self.input, medium: self.medium })?.is_some() {
            walked = Walked::Array;
            self.input.tokens(1);
        }
        Ok(walked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Walked, A::Error> {
        self.input.tokens(3);
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            self.input.text(&key);
            let medium = match (self.medium, &*key) {
                (Medium::Text, "image_url") | (Medium::Image, "url") => Medium::Image,
                (Medium::Text, "input_audio") | (Medium::Audio, "data") => Medium::Audio,
                (Medium::Text, "file") | (Medium::File, "file_data") => Medium::File,
                _ => Medium::Text,
            };
            map.next_value_seed(Weigh { input: &mut *self.input, medium })?;
        }
        Ok(Walked::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(body: &str) -> Result<ChatRequest, CallError> {
        ChatRequest::try_new(Bytes::copy_from_slice(body.as_bytes()))
    }

    fn chat(fields: &str) -> Result<ChatRequest, CallError> {
        request(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{fields}}}"#))
    }

    fn sent(request: &ChatRequest, upstream: &str) -> String {
        let body = request.body_for(upstream, CapField::MaxTokens, 99);
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn a_body_that_needs_no_change_is_the_same_bytes() {
        let body = Bytes::from_static(
            b" {\n \"messages\":[ {\"role\":\"user\"} ], \"model\" : \"m\",\"max_tokens\":5,\"x\":1.0e2}\n",
        );
        let request = ChatRequest::try_new(body.clone()).unwrap();
        assert_eq!(request.body_for("m", CapField::MaxTokens, 99).as_ptr(), body.as_ptr());
    }

    #[test]
    fn only_the_bytes_that_must_change_do() {
        let cases = [
            // model
            (
                r#"{"model" : "m","messages":[1],"max_tokens":5}"#,
                r#"{"model" : "up/\"x","messages":[1],"max_tokens":5}"#,
            ),
            (
                r#"{"max_tokens":5,"messages":[1],"m\u006fdel":"\u006d"}"#,
                r#"{"max_tokens":5,"messages":[1],"m\u006fdel":"up/\"x"}"#,
            ),
            // the cap
            (r#" { "model":"m","messages":[1] }"#, r#" {"max_tokens":99, "model":"up/\"x","messages":[1] }"#),
            (
                r#"{"max_tokens": null ,"model":"m","messages":[1]}"#,
                r#"{"max_tokens": 99 ,"model":"up/\"x","messages":[1]}"#,
            ),
            (
                r#"{"model":"m","messages":[1],"max_completion_tokens":7}"#,
                r#"{"model":"up/\"x","messages":[1],"max_completion_tokens":7}"#,
            ),
            // the usage of a stream
            (
                r#"{"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":null,"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{ },"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true },"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_obfuscation":false},"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage": false},"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage": true},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":null},"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            // both at the start, in one body
            (
                r#"{"model":"m","messages":["{\"model\":1}"],"stream":true}"#,
                r#"{"max_tokens":99,"stream_options":{"include_usage":true},"model":"up/\"x","messages":["{\"model\":1}"],"stream":true}"#,
            ),
        ];
        for (body, expected) in cases {
            let sent = sent(&request(body).unwrap(), "up/\"x");
            assert_eq!(sent, expected);
            serde_json::from_str::<Value>(&sent).unwrap();
        }
    }

    #[test]
    fn a_caller_that_asks_for_the_usage_is_remembered() {
        assert!(chat(r#","stream":true,"stream_options":{"include_usage":true}"#).unwrap().wants_usage);
        assert!(!chat(r#","stream":true,"stream_options":{"include_usage":false}"#).unwrap().wants_usage);
        assert!(!chat(r#","stream":true"#).unwrap().wants_usage);
    }

    #[test]
    fn a_call_that_is_no_stream_keeps_its_options() {
        let request = chat(r#","max_tokens":5,"stream_options":null"#).unwrap();
        assert!(sent(&request, "m").contains(r#""stream_options":null"#));
    }

    #[test]
    fn openais_own_name_of_the_cap_is_used_where_asked() {
        let body = chat(r#","max_tokens":null"#).unwrap().body_for("m", CapField::MaxCompletionTokens, 7);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["max_completion_tokens"], &body["max_tokens"]), (&json!(7), &Value::Null));
    }

    #[test]
    fn of_two_caps_the_larger_counts() {
        assert_eq!(chat(r#","max_tokens":5,"max_completion_tokens":9"#).unwrap().max_output, Some(9));
        assert_eq!(chat("").unwrap().max_output, None);
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("", "EOF while parsing"),
            ("{", "EOF while parsing"),
            ("[]", "must be a JSON object"),
            ("\"secret\"", "must be a JSON object"),
            (r#"{"model":"m"} x"#, "trailing characters"),
            (r#"{"messages":[1]}"#, "`model` is missing"),
            (r#"{"model":null,"messages":[1]}"#, "`model` must be a string"),
            (r#"{"model":["m"],"messages":[1]}"#, "`model` must be a string"),
            (r#"{"model":"m"}"#, "`messages` is missing"),
            (r#"{"model":"m","messages":[]}"#, "`messages` must not be empty"),
            (r#"{"model":"m","messages":"hi"}"#, "`messages` must be an array"),
            (r#"{"model":"m","messages":[1],"stream":"yes"}"#, "`stream` must be a boolean"),
            (r#"{"model":"m","messages":[1],"n":0}"#, "`n` must be a whole number from 1 to 128"),
            (r#"{"model":"m","messages":[1],"n":129}"#, "`n` must be"),
            (r#"{"model":"m","messages":[1],"max_tokens":0}"#, "`max_tokens` must be a whole number"),
            (r#"{"model":"m","messages":[1],"max_tokens":-1}"#, "`max_tokens` must be"),
            (r#"{"model":"m","messages":[1],"max_tokens":1.5}"#, "`max_tokens` must be"),
            (r#"{"model":"m","messages":[1],"max_tokens":"9"}"#, "`max_tokens` must be"),
            (r#"{"model":"m","messages":[1],"max_completion_tokens":2000001}"#, "from 1 to 2000000"),
            (r#"{"model":"m","messages":[1],"stream_options":[]}"#, "`stream_options` must be an object"),
            (
                r#"{"model":"m","messages":[1],"stream_options":{"include_usage":1}}"#,
                "`include_usage` must be a boolean",
            ),
            (
                r#"{"model":"m","messages":[1],"stream_options":{"include_usage":true,"include_usage":false}}"#,
                "`stream_options` must be",
            ),
            (r#"{"model":"m","model":"x","messages":[1]}"#, "`model` is given twice"),
            (r#"{"model":"m","mod\u0065l":"x","messages":[1]}"#, "`model` is given twice"),
            (
                r#"{"model":"m","messages":[1],"max_tokens":1,"max_tokens":900}"#,
                "`max_tokens` is given twice",
            ),
            (r#"{"model":"m","messages":[1],"messages":[2]}"#, "`messages` is given twice"),
        ];
        for (body, fault) in cases {
            let error = request(body).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.to_string().contains(fault), "{body}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
        assert!(ChatRequest::try_new(Bytes::from_static(b"{\"model\":\"\xff\"}")).is_err());
    }

    #[test]
    fn depth_and_the_number_of_fields_are_bounded() {
        let deep = format!(r#"{{"model":"m","messages":[{}{}]}}"#, "[".repeat(500), "]".repeat(500));
        assert!(request(&deep).unwrap_err().to_string().contains("recursion limit"));
        let many: String = (0..200).map(|i| format!(r#","f{i}":1"#)).collect();
        assert!(chat(&many).unwrap_err().to_string().contains("more than 128 fields"));
    }

    #[test]
    fn images_audio_and_files_do_not_weigh_as_text() {
        let data = "A".repeat(400_000);
        let weigh = |part: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
            request(&body).unwrap().input.upper()
        };
        let image =
            weigh(&format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#));
        assert!((5_000..5_100).contains(&image), "{image}");
        let audio =
            weigh(&format!(r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"wav"}}}}"#));
        assert!((1_500..1_700).contains(&audio), "{audio}");
        let file = weigh(&format!(r#"{{"type":"file","file":{{"filename":"a.pdf","file_data":"{data}"}}}}"#));
        assert!((100_000..100_200).contains(&file), "{file}");
        assert!(weigh(&format!(r#"{{"type":"text","text":"{data}"}}"#)) > 100_000);
    }

    #[test]
    fn everything_that_can_become_prompt_weighs() {
        let plain = chat("").unwrap().input.upper();
        let tool = r#","tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}]"#;
        assert!(chat(tool).unwrap().input.upper() > plain + TOOLS_TOKENS);
        let schema =
            r#","response_format":{"type":"json_schema","json_schema":{"name":"long_name_of_a_schema"}}"#;
        assert!(chat(schema).unwrap().input.upper() > plain + 15);
        let escaped = r#","system":"\u4e2d\u6587\u4e2d\u6587""#;
        assert!(chat(escaped).unwrap().input.upper() >= plain + 4);
    }
}
