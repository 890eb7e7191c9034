//! JSON of this format, read by hand where a derived reader would be too strict or would not say where a fault is.

use crate::body::Key;
use crate::error::CallError;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An object's fields, in order, as they stand.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(super) fn read(json: &'a RawValue) -> Result<Self, Fault> {
        serde_json::from_str(json.get()).map_err(|_| Fault::new("must be an object"))
    }

    /// A field's value; null is as good as none.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// The names of all fields that are not null.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, value)| value.get() != "null").map(|(key, _)| &**key)
    }

    /// A field's value; absent is a fault.
    pub(super) fn need(&self, name: &str) -> Result<&'a RawValue, Fault> {
        self.get(name).ok_or_else(|| Fault::new("is missing").under(name))
    }

    /// A string that must be there.
    pub(super) fn text(&self, name: &str) -> Result<String, Fault> {
        string(self.need(name)?).map_err(|fault| fault.under(name))
    }

    /// A string that may be there.
    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>, Fault> {
        self.get(name).map(string).transpose().map_err(|fault| fault.under(name))
    }

    /// A flag that may be there.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        self.get(name)
            .map(|value| parse(value, "must be true or false"))
            .transpose()
            .map_err(|fault| fault.under(name))
    }

    /// A value as it stands, to be kept.
    pub(super) fn raw(&self, name: &str) -> Option<Box<RawValue>> {
        self.get(name).map(ToOwned::to_owned)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                    fields.push((key, map.next_value()?));
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Fields).map(Self)
    }
}

/// What is wrong in a request, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    path: String,
    message: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { path: String::new(), message: message.into() }
    }

    /// The same fault, seen from the value around.
    pub(super) fn under(mut self, step: impl std::fmt::Display) -> Self {
        self.path = if self.path.is_empty() { step.to_string() } else { format!("{step}.{}", self.path) };
        self
    }

    /// The fault as the caller is told, below a top-level field.
    pub(super) fn in_field(self, field: &'static str) -> CallError {
        let Self { path, message } = self.under(field);
        CallError::bad(field, format!("`{path}` {message}"))
    }
}

pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a RawValue, fault: &'static str) -> Result<T, Fault> {
    serde_json::from_str(json.get()).map_err(|_| Fault::new(fault))
}

pub(super) fn string(json: &RawValue) -> Result<String, Fault> {
    parse(json, "must be a string")
}

/// The elements of an array.
pub(super) fn array(json: &RawValue) -> Result<Vec<&RawValue>, Fault> {
    parse(json, "must be an array")
}

/// Is this an object (and not null, a list or a plain value)? The text is JSON already.
pub(super) fn is_object(json: &RawValue) -> bool {
    json.get().starts_with('{')
}

/// Is this an object without fields?
pub(super) fn is_empty_object(json: &str) -> bool {
    json.strip_prefix('{').is_some_and(|rest| rest.trim_start() == "}")
}

/// The text of JSON that is known to be legible; `{}` were it not.
pub(super) fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|_| empty_object())
}

/// `{}`.
pub(super) fn empty_object() -> Box<RawValue> {
    serde_json::value::to_raw_value(&serde_json::Map::new()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
