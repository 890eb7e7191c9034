//! Places within JSON: pointers after RFC 6901.
//!
//! Claims: finding a value reads no more than the way to it and builds no tree; of a key that is given twice the last
//! one counts, as in most readers.

use crate::body::Key;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The longest pointer, in bytes.
const MAX_BYTES: usize = 300;
/// The deepest.
const MAX_STEPS: usize = 16;

/// A place within a JSON value, such as `/result/choices/0/text`. Never the whole of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = |why: &str| Err(format!("{text:?} is no JSON pointer such as \"/usage/input\": {why}"));
        let Some(rest) = text.strip_prefix('/') else { return fault("it must begin with a slash") };
        if text.len() > MAX_BYTES {
            return Err(format!("a JSON pointer has at most {MAX_BYTES} bytes"));
        }
        let mut steps = Vec::new();
        for step in rest.split('/') {
            let without_escapes = step.replace("~0", "").replace("~1", "");
            if without_escapes.contains('~') {
                return fault("~ is written ~0");
            }
            if step.is_empty() {
                return fault("a step is empty");
            }
            steps.push(step.replace("~1", "/").replace("~0", "~"));
        }
        if steps.len() > MAX_STEPS {
            return fault("it is too deep");
        }
        Ok(Self { text, steps })
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.text
    }
}

impl Pointer {
    /// The keys and indexes on the way; at least one.
    pub(super) fn steps(&self) -> &[String] {
        &self.steps
    }

    /// The value there; `None`: there is none, or it is null.
    pub(super) fn find<'a>(&self, json: &'a str) -> Option<&'a RawValue> {
        let mut found: Option<&'a RawValue> = None;
        for step in &self.steps {
            let within = found.map_or(json, RawValue::get);
            found = Some(Pick(step).deserialize(&mut serde_json::Deserializer::from_str(within)).ok()??);
        }
        found.filter(|value| value.get() != "null")
    }

    /// The text there; `None`: there is no string.
    pub(super) fn text<'a>(&self, json: &'a str) -> Option<Cow<'a, str>> {
        serde_json::from_str::<Key<'a>>(self.find(json)?.get()).ok().map(|Key(text)| text)
    }
}

/// An array's index as RFC 6901 writes it.
pub(super) fn index(step: &str) -> Option<usize> {
    let is_canonical = step == "0" || !step.starts_with(['0', '+']);
    step.parse().ok().filter(|_| is_canonical)
}

/// Takes one step: the member of an object or an array.
struct Pick<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let wanted = index(self.0);
        let mut at = 0;
        let mut found = None;
        loop {
            if Some(at) == wanted {
                found = seq.next_element()?;
                if found.is_none() {
                    return Ok(None);
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }
}
