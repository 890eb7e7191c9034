//! A JSON object, field by field, with the path to each for the sentence about what is wrong.
//!
//! For: the readers of requests that are converted: what is taken is typed, what is left over can be named.
//! May not touch: what a field means.
//! Claims: a null is as good as no field; a field given twice is refused; the work is linear in the text.

use crate::body::Key;
use crate::dialogue::Prompt;
use crate::error::CallError;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::{self, Display};

/// The most fields of an object whose fields have meaning. Known ones are at most about forty.
const MAX_FIELDS: usize = 128;

/// Where a value stands, for its reader's complaints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The top-level field.
    param: &'static str,
    /// The whole path.
    path: String,
}

impl Place {
    /// A top-level field.
    pub(crate) fn top(param: &'static str) -> Self {
        Self { param, path: param.to_owned() }
    }

    /// An element of the array here.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self { param: self.param, path: format!("{}[{index}]", self.path) }
    }

    /// A field of the object here.
    pub(crate) fn field(&self, name: &'static str) -> Self {
        if self.path.is_empty() {
            return Self::top(name);
        }
        Self { param: self.param, path: format!("{}.{name}", self.path) }
    }

    /// A field here, without the numbers of elements: `messages[].content[].name`.
    fn general(&self, field: &str) -> String {
        let mut general = String::with_capacity(self.path.len() + field.len() + 1);
        let mut is_number = false;
        for character in self.path.chars() {
            is_number = is_number && character != ']';
            if !is_number {
                general.push(character);
            }
            is_number = is_number || character == '[';
        }
        general.push('.');
        general.push_str(field);
        general
    }

    /// The refusal of what stands here: it must be something else.
    pub(crate) fn must_be(&self, expected: impl Display) -> CallError {
        self.fault(format_args!("must be {expected}"))
    }

    /// The refusal of what stands here, in a sentence whose subject it is.
    pub(crate) fn fault(&self, says: impl Display) -> CallError {
        if self.path.is_empty() {
            return crate::body::not_json(says);
        }
        CallError::bad(self.param, format!("`{}` {says}", self.path))
    }
}

/// An object's fields that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) at: Place,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// A request's top-level fields.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] if it is no object.
    pub(crate) fn of_body(body: &'a [u8]) -> Result<Self, CallError> {
        let text = std::str::from_utf8(body).map_err(|_| crate::body::not_json("it is not UTF-8"))?;
        Self::parse(text, Place::default())
    }

    /// The fields of an object within a request.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] if it is no object.
    pub(crate) fn of(value: &'a RawValue, at: Place) -> Result<Self, CallError> {
        Self::parse(value.get(), at)
    }

    fn parse(text: &'a str, at: Place) -> Result<Self, CallError> {
        match serde_json::from_str::<Object<'a>>(text) {
            Ok(Object(fields)) => Ok(Self { at, fields }),
            Err(_) => Err(at.must_be("a JSON object that gives each of its fields once")),
        }
    }

    /// Takes a field. A null is none.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.fields.iter().position(|(key, _)| key == name)?;
        let (_, value) = self.fields.remove(at);
        (value.get() != "null").then_some(value)
    }

    /// Takes a field if this is its value.
    pub(crate) fn take_if(&mut self, name: &str, value: &str) {
        self.fields.retain(|(key, given)| key != name || given.get() != value);
    }

    /// Takes a field of a type.
    pub(crate) fn get<T: Deserialize<'a>>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, CallError> {
        self.take(name)
            .map(|value| serde_json::from_str(value.get()).map_err(|_| self.at.field(name).must_be(expected)))
            .transpose()
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, CallError> {
        self.get(name, "a string")
    }

    /// Takes a flag.
    pub(crate) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, CallError> {
        self.get(name, "a boolean")
    }

    /// Takes a number, in the caller's form.
    pub(crate) fn number(&mut self, name: &'static str) -> Result<Option<serde_json::Number>, CallError> {
        self.get(name, "a number")
    }

    /// Takes a text that must be there.
    pub(crate) fn require_text(&mut self, name: &'static str) -> Result<String, CallError> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, name: &'static str) -> Result<Option<Fields<'a>>, CallError> {
        self.take(name).map(|value| Fields::of(value, self.at.field(name))).transpose()
    }

    /// Takes an object that must be there.
    pub(crate) fn require_object(&mut self, name: &'static str) -> Result<Fields<'a>, CallError> {
        self.object(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes an array, with the place of each element.
    pub(crate) fn array(&mut self, name: &'static str) -> Result<Vec<(Place, &'a RawValue)>, CallError> {
        let at = self.at.field(name);
        self.take(name).map_or_else(|| Ok(Vec::new()), |value| elements(value, &at))
    }

    /// The refusal of an object that lacks a field.
    pub(crate) fn missing(&self, name: &'static str) -> CallError {
        if self.at.path.is_empty() {
            return crate::body::missing(name);
        }
        self.at.field(name).fault("is missing")
    }

    /// Notes the fields of an object within a request that nobody has taken.
    pub(crate) fn note_rest(self, prompt: &mut Prompt) {
        let at = self.at.clone();
        for (field, _) in self.rest() {
            prompt.not_read(at.general(&field));
        }
    }

    /// Fields that nobody has taken, without the nulls.
    pub(crate) fn rest(self) -> impl Iterator<Item = (Cow<'a, str>, &'a RawValue)> {
        self.fields.into_iter().filter(|(_, value)| value.get() != "null")
    }
}

/// An array's elements, with their places.
pub(crate) fn elements<'a>(value: &'a RawValue, at: &Place) -> Result<Vec<(Place, &'a RawValue)>, CallError> {
    let elements: Vec<&'a RawValue> =
        serde_json::from_str(value.get()).map_err(|_| at.must_be("an array"))?;
    Ok(elements.into_iter().enumerate().map(|(index, element)| (at.index(index), element)).collect())
}

struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                    if fields.len() >= MAX_FIELDS || fields.iter().any(|(known, _)| *known == key) {
                        return Err(serde::de::Error::custom("too many fields, or one of them twice"));
                    }
                    fields.push((key, map.next_value()?));
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Read)
    }
}
