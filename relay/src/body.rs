//! A request's body in JSON: the fields that routing and money depend on, found by their place, and all the rest weighed
//! in tokens without being typed.
//!
//! For: every format's reader of requests; changing a few values in a body and leaving all other bytes alone.
//! May not touch: what a field means.
//! Claims: one pass, no tree; a field given twice is refused, since two readers could disagree about which one counts;
//! depth, number of fields and size are bounded.

use crate::error::CallError;
use crate::estimate::Estimate;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::ops::Range;

/// No model generates more tokens for one choice; a larger cap is a mistake.
pub(crate) const MAX_OUTPUT_TOKENS: u64 = 2_000_000;
/// What templates and hidden instructions of providers add to any prompt.
pub(crate) const FRAME_TOKENS: u64 = 32;
/// What the presence of tools adds beside their text: some providers explain them to the model in about 500 tokens.
pub(crate) const TOOLS_TOKENS: u64 = 600;
/// The most fields a request may have. Known ones are about forty.
const MAX_FIELDS: usize = 128;
/// An image: above what providers count for one at full detail, but for the cheapest models, which inflate it.
pub(crate) const IMAGE_TOKENS: u64 = 5_000;
/// A document behind an address: a thousand pages as Google counts them, above the context of most models.
pub(crate) const DOCUMENT_TOKENS: u64 = 256 << 10;
/// Sound, film or whatever else behind an address: the largest context that is sold, an hour of film.
pub(crate) const LONG_TOKENS: u64 = 1 << 20;
/// Base64 bytes of audio per token: even well compressed speech is thinner.
const AUDIO_BYTES_PER_TOKEN: u64 = 256;
/// Base64 bytes of a document per token.
const FILE_BYTES_PER_TOKEN: u64 = 4;

/// A key of a JSON object, borrowed from the text unless it holds escapes.
#[derive(Deserialize, PartialEq)]
pub(crate) struct Key<'a>(#[serde(borrow)] pub(crate) std::borrow::Cow<'a, str>);

/// How a format's scanner goes about a body.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Top-level fields whose values are wanted as they stand; they do not weigh.
    pub(crate) routed: &'static [&'static str],
    /// Top-level fields whose values are wanted as they stand, and that weigh.
    pub(crate) read: &'static [&'static str],
    /// Top-level fields that weigh, and of which it is wanted whether they are arrays; those that are read are noted, too.
    pub(crate) noted: &'static [&'static str],
    /// What a string below a key is, by what the value around the key is.
    pub(crate) medium: fn(Medium, &str) -> Medium,
}

/// A body, scanned.
pub(crate) struct Scan<'a> {
    text: &'a str,
    routed: Vec<(&'static str, &'a RawValue)>,
    noted: Vec<(&'static str, Walked)>,
    /// The weight of all that was not routed.
    pub(crate) input: Estimate,
}

impl<'a> Scan<'a> {
    /// Scans a body.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub(crate) fn try_new(body: &'a [u8], plan: &Plan) -> Result<Self, CallError> {
        let text = std::str::from_utf8(body).map_err(|_| not_json("it is not UTF-8"))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let found = (&mut json).deserialize_any(Fields(plan)).map_err(|error| unreadable(&error))?;
        json.end().map_err(|error| unreadable(&error))?;
        if let Some(twice) = found.twice {
            return Err(CallError::BadRequest {
                param: None,
                code: "duplicate_field",
                message: format!("the field `{twice}` is given twice"),
            });
        }
        Ok(Self { text, routed: found.routed, noted: found.noted, input: found.input })
    }

    /// The value of a field that is routed or read.
    pub(crate) fn get(&self, field: &str) -> Option<&'a RawValue> {
        self.routed.iter().find(|(name, _)| *name == field).map(|(_, value)| *value)
    }

    /// What a noted field is; `None`: it is absent.
    pub(crate) fn noted(&self, field: &str) -> Option<Walked> {
        self.noted.iter().find(|(name, _)| *name == field).map(|(_, walked)| *walked)
    }

    /// After the opening brace: a place for new fields, each followed by a comma (there is always a field after them:
    /// no format allows an empty request).
    pub(crate) fn start(&self) -> usize {
        // The body is an object, so its first brace opens it.
        self.text.find('{').map_or(0, |at| at + 1)
    }

    /// Where a value stands in the body.
    pub(crate) fn place(&self, value: &RawValue) -> Range<usize> {
        let start = value.get().as_ptr().addr() - self.text.as_ptr().addr();
        start..start + value.get().len()
    }

    /// Refuses a field that must be there as an array with something in it.
    pub(crate) fn require_array(&self, field: &'static str) -> Result<(), CallError> {
        match self.noted(field) {
            None => Err(missing(field)),
            Some(Walked::EmptyArray) => Err(CallError::bad(field, format!("`{field}` must not be empty"))),
            Some(Walked::Other | Walked::Far(_)) => {
                Err(CallError::bad(field, format!("`{field}` must be an array")))
            }
            Some(Walked::Array) => Ok(()),
        }
    }
}

/// The bytes with each range replaced. Ranges do not overlap; several may stand at one place.
pub(crate) fn splice(body: &Bytes, mut edits: Vec<(Range<usize>, String)>) -> Bytes {
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

pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(crate) fn missing(param: &'static str) -> CallError {
    CallError::BadRequest {
        param: Some(param),
        code: "missing_required_parameter",
        message: format!("`{param}` is missing"),
    }
}

pub(crate) fn not_json(why: impl std::fmt::Display) -> CallError {
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
pub(crate) fn parse<'a, T: Deserialize<'a>>(
    value: Option<&'a RawValue>,
    param: &'static str,
    expected: &str,
) -> Result<T, CallError> {
    serde_json::from_str(value.map_or("null", RawValue::get))
        .map_err(|_| CallError::bad(param, format!("`{param}` must be {expected}")))
}

/// A whole number from 1 to `max`, or nothing.
pub(crate) fn whole_number(
    value: Option<&RawValue>,
    param: &'static str,
    max: u64,
) -> Result<Option<u64>, CallError> {
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
    routed: Vec<(&'static str, &'a RawValue)>,
    noted: Vec<(&'static str, Walked)>,
    twice: Option<String>,
    input: Estimate,
}

/// Reads the body's object once: routed fields by their place, all others by their weight in tokens.
struct Fields<'p>(&'p Plan);

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found::default();
        let mut seen: Vec<Key<'de>> = Vec::with_capacity(16);
        let known =
            |names: &'static [&'static str], key: &str| names.iter().copied().find(|name| *name == key);
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if seen.contains(&key) {
                found.twice.get_or_insert_with(|| key.0.chars().take(100).collect());
            }
            if let Some(name) = known(self.0.routed, &key.0) {
                found.routed.push((name, map.next_value()?));
            } else if let Some(name) = known(self.0.read, &key.0) {
                let value: &RawValue = map.next_value()?;
                found.routed.push((name, value));
                let medium = (self.0.medium)(Medium::Text, name);
                let weigh = Weigh { input: &mut found.input, medium, below: self.0.medium };
                let walked = weigh.deserialize(&mut serde_json::Deserializer::from_str(value.get()));
                let walked = walked.map_err(serde::de::Error::custom)?;
                walked.settle(&mut found.input);
                found.noted.push((name, walked));
            } else {
                let medium = (self.0.medium)(Medium::Text, &key.0);
                let weigh = Weigh { input: &mut found.input, medium, below: self.0.medium };
                let walked = map.next_value_seed(weigh)?;
                walked.settle(&mut found.input);
                if let Some(name) = known(self.0.noted, &key.0) {
                    found.noted.push((name, walked));
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
    below: fn(Medium, &str) -> Medium,
}

/// What a string at some place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// Text of the prompt.
    Text,
    /// An image, or the object around one.
    Image,
    /// A sound, or the object around one.
    Audio,
    /// A document, or the object around one.
    File,
    /// Base64 of a kind that only its first bytes tell, or the object around it.
    Unknown,
    /// The object around an address of media of any kind.
    Linked,
    /// An address or an id; this lies behind it, unless an object around it tells better.
    Far(Behind),
    /// A string that tells what the address beside it, or in an object beside it, leads to.
    Told,
}

impl Medium {
    /// What base64 of an unknown kind is, by its first characters.
    fn of_base64(data: &str) -> Self {
        // JPEG, PNG, GIF, BMP, TIFF.
        // JPEG and bare MP3 look otherwise in the alphabet for URLs, which Google's clients write.
        const IMAGES: &[&str] = &["/9j/", "_9j_", "iVBOR", "R0lGOD", "Qk", "SUkqA", "TU0AK"];
        // MP3 (tagged and bare), Ogg, FLAC.
        const SOUNDS: &[&str] = &["SUQz", "//u", "//s", "__u", "__s", "T2dn", "ZkxhQ"];
        // What is not base64 at all (a document may be given as plain text) weighs as what it is.
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n".contains(&byte);
        if !data.bytes().take(64).all(is_base64) {
            return Self::Text;
        }
        let starts = |known: &[&str]| known.iter().any(|start| data.starts_with(start));
        // RIFF holds WEBP or WAVE, and says so in its bytes 8 to 11.
        let riff = data.strip_prefix("UklGR").and_then(|rest| rest.get(7..11));
        if starts(IMAGES) || riff == Some("RUJQ") {
            Self::Image
        } else if starts(SOUNDS) || riff.is_some() {
            Self::Audio
        } else {
            Self::File
        }
    }
}

/// What lies behind an address, the heaviest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Behind {
    Image,
    Document,
    /// Sound, film, or nobody knows what.
    Long,
}

impl Behind {
    /// What the type of a block or of its media tells, if it does.
    fn told(by: &str) -> Option<Self> {
        match by {
            "image" | "input_image" => Some(Self::Image),
            "document" | "input_file" => Some(Self::Document),
            _ => by.split_once('/').map(|(kind, of)| match (kind, of) {
                ("image", _) => Self::Image,
                ("text", _) | ("application", "pdf") => Self::Document,
                _ => Self::Long,
            }),
        }
    }

    fn weigh(self, input: &mut Estimate) {
        let most = match self {
            Self::Image => IMAGE_TOKENS,
            Self::Document => DOCUMENT_TOKENS,
            Self::Long => LONG_TOKENS,
        };
        input.between(IMAGE_TOKENS, most);
    }
}

/// What was walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// An object with an address, which itself does not tell what lies behind it, and does not weigh it: it is this where
    /// no object around it knows better.
    Far(Behind),
    /// `[]`.
    EmptyArray,
    /// An array with something in it.
    Array,
    /// Anything else.
    Other,
}

impl Walked {
    /// Weighs an address of which nobody told what is behind it.
    fn settle(self, input: &mut Estimate) {
        if let Self::Far(behind) = self {
            behind.weigh(input);
        }
    }
}

impl Weigh<'_> {
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
        let medium = if self.medium == Medium::Unknown { Medium::of_base64(text) } else { self.medium };
        match medium {
            Medium::Far(behind) => return Ok(Walked::Far(behind)),
            Medium::Text | Medium::Linked | Medium::Told => {
                self.input.text(text);
                // The quotes or the line's end after it.
                self.input.tokens(1);
            }
            Medium::Image => self.input.tokens(IMAGE_TOKENS),
            Medium::Audio => self.input.tokens(len / AUDIO_BYTES_PER_TOKEN + 1),
            Medium::File | Medium::Unknown => self.input.tokens(len / FILE_BYTES_PER_TOKEN + 1),
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
        while let Some(element) =
            seq.next_element_seed(Weigh { input: &mut *self.input, medium: self.medium, below: self.below })?
        {
            element.settle(self.input);
            walked = Walked::Array;
            self.input.tokens(1);
        }
        Ok(walked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Walked, A::Error> {
        self.input.tokens(3);
        let (mut told, mut far) = (None, None);
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            self.input.text(&key);
            let medium = (self.below)(self.medium, &key);
            if medium == Medium::Told {
                let value: &RawValue = map.next_value()?;
                self.input.text(value.get());
                let kind: Option<std::borrow::Cow<'_, str>> = serde_json::from_str(value.get()).ok();
                told = told.max(kind.and_then(|kind| Behind::told(&kind)));
                continue;
            }
            let weigh = Weigh { input: &mut *self.input, medium, below: self.below };
            if let Walked::Far(behind) = map.next_value_seed(weigh)? {
                far = far.max(Some(behind));
            }
        }
        // Whoever is the text of the prompt has nobody around it that would know.
        match (far, told) {
            (Some(_), Some(behind)) => behind.weigh(self.input),
            (Some(behind), None) if self.medium == Medium::Text => behind.weigh(self.input),
            (Some(behind), None) => return Ok(Walked::Far(behind)),
            (None, _) => {}
        }
        Ok(Walked::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_an_address_is_what_any_object_around_it_tells() {
        let plan = Plan {
            routed: &[],
            read: &[],
            noted: &[],
            medium: |around, key| match (around, key) {
                (Medium::Text, "file") => Medium::Linked,
                (Medium::Linked, "uri") => Medium::Far(Behind::Long),
                (Medium::Linked | Medium::Text, "type") => Medium::Told,
                _ => Medium::Text,
            },
        };
        let cases = [
            (r#"{"file":{"uri":"x","type":"image/png"}}"#, IMAGE_TOKENS),
            (r#"{"file":{"type":"im\u0061ge/png","uri":"x"}}"#, IMAGE_TOKENS),
            (r#"{"file":{"type":"application/pdf","uri":"x"}}"#, DOCUMENT_TOKENS),
            (r#"{"file":{"type":"image/png","type":"text/plain","uri":"x"}}"#, DOCUMENT_TOKENS),
            (r#"{"file":{"type":"video/mp4","uri":"x"}}"#, LONG_TOKENS),
            (r#"{"file":{"type":"novel/thing","uri":"x"}}"#, LONG_TOKENS),
            (r#"{"file":{"type":7,"uri":"x"}}"#, LONG_TOKENS),
            (r#"{"file":{"uri":"x"}}"#, LONG_TOKENS),
            (r#"{"file":[{"uri":"x"}]}"#, LONG_TOKENS),
            (r#"{"parts":[{"file":{"uri":"x"},"type":"image"}]}"#, IMAGE_TOKENS),
            (r#"{"parts":[{"type":"document","file":{"uri":"x"}}]}"#, DOCUMENT_TOKENS),
            (r#"{"parts":[{"type":"image","text":"x"}]}"#, 0),
        ];
        for (body, expected) in cases {
            let input = Scan::try_new(body.as_bytes(), &plan).unwrap().input;
            assert!((expected..expected + 60).contains(&input.upper()), "{body}: {}", input.upper());
            assert!(input.likely() < IMAGE_TOKENS, "{body}: held for, not charged: {}", input.likely());
        }
    }

    #[test]
    fn base64_tells_what_it_is() {
        let cases = [
            ("iVBORw0KGgo", Medium::Image),
            ("/9j/4AAQ", Medium::Image),
            ("_9j_4AAQ", Medium::Image),
            ("__uQZAAA", Medium::Audio),
            ("UklGRiQQAABXRUJQVlA4IA==", Medium::Image),
            ("UklGRv/uqgFXQVZFZm10IA==", Medium::Audio),
            ("SUQzBAAAAAAA", Medium::Audio),
            ("JVBERi0xLjcK", Medium::File),
            ("", Medium::File),
            ("Once upon a time", Medium::Text),
            ("\u{5bc6}\u{7801}", Medium::Text),
        ];
        for (data, expected) in cases {
            assert_eq!(Medium::of_base64(data), expected, "{data}");
        }
    }
}
