//! Reading what callers wrote, strictly: every fault is named by its place, such as `contents[2].parts[0].text`.
//!
//! Claims: names may be written in `camelCase` or `snake_case`, but not in both; no work grows faster than the body.

use crate::body::Key;
use crate::error::CallError;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The most fields an object may have whose fields have names of ours. The largest known one has about thirty.
const MAX_FIELDS: usize = 128;

/// Where a value stands in a request.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    /// The top-level field.
    root: &'static str,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Root,
    Field(&'p Place<'p>, &'p str),
    Index(&'p Place<'p>, usize),
}

impl<'p> Place<'p> {
    pub(super) fn root(root: &'static str) -> Self {
        Self { root, step: Step::Root }
    }

    pub(super) fn field(&'p self, name: &'p str) -> Self {
        Self { root: self.root, step: Step::Field(self, name) }
    }

    pub(super) fn at(&'p self, index: usize) -> Self {
        Self { root: self.root, step: Step::Index(self, index) }
    }

    /// It must be something else.
    pub(super) fn must_be(&self, expected: &str) -> CallError {
        CallError::bad(self.root, format!("`{self}` must be {expected}"))
    }

    pub(super) fn missing(&self, field: &str) -> CallError {
        CallError::BadRequest {
            param: Some(self.root),
            code: "missing_required_parameter",
            message: format!("`{self}.{field}` is missing"),
        }
    }

    /// It cannot be done by the provider that serves the model.
    pub(super) fn unsupported(&self, why: &str) -> CallError {
        unsupported(self.root, format!("`{self}` {why}"))
    }

    /// Without numbers: `contents[].parts[].videoMetadata`.
    pub(super) fn general(&self) -> String {
        match self.step {
            Step::Root => self.root.to_owned(),
            Step::Field(around, name) => format!("{}.{name}", around.general()),
            Step::Index(around, _) => format!("{}[]", around.general()),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Step::Root => f.write_str(self.root),
            Step::Field(around, name) => write!(f, "{around}.{name}"),
            Step::Index(around, index) => write!(f, "{around}[{index}]"),
        }
    }
}

/// A request that cannot be said to the provider that serves the model.
pub(super) fn unsupported(param: &'static str, message: String) -> CallError {
    CallError::BadRequest { param: Some(param), code: "unsupported_parameter", message }
}

/// An object's fields that have not been taken yet, by their names in `camelCase`. Nulls are no fields.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    pub(super) fn read(value: &'a RawValue, place: &Place<'_>) -> Result<Self, CallError> {
        if !value.get().starts_with('{') {
            return Err(place.must_be("an object"));
        }
        let fields: Fields<'a> =
            serde_json::from_str(value.get()).map_err(|_| place.must_be("a readable object"))?;
        match fields {
            Fields::Are(fields) => Ok(Self(fields)),
            Fields::Twice(name) => Err(CallError::BadRequest {
                param: Some(place.root),
                code: "duplicate_field",
                message: format!("the field `{name}` is given twice in `{place}`"),
            }),
            Fields::TooMany => Err(place.must_be(&format!("an object of at most {MAX_FIELDS} fields"))),
        }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The names of what was not taken.
    pub(super) fn rest(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

/// `camelCase` of any spelling.
pub(super) fn camel(name: Cow<'_, str>) -> Cow<'_, str> {
    if !name.contains('_') {
        return name;
    }
    let mut camel = String::with_capacity(name.len());
    let mut starts = false;
    for character in name.chars() {
        match character {
            '_' => starts = !camel.is_empty(),
            _ if starts => {
                camel.extend(character.to_uppercase());
                starts = false;
            }
            _ => camel.push(character),
        }
    }
    camel.into()
}

enum Fields<'a> {
    Are(Vec<(Cow<'a, str>, &'a RawValue)>),
    Twice(String),
    TooMany,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(4);
                let mut fault = None;
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    let name = camel(key);
                    if fault.is_some() {
                        continue;
                    }
                    if fields.len() == MAX_FIELDS {
                        fault = Some(Fields::TooMany);
                    } else if fields.iter().any(|(known, _)| *known == name) {
                        fault = Some(Fields::Twice(name.chars().take(100).collect()));
                    } else {
                        fields.push((name, value));
                    }
                }
                fields.retain(|(_, value)| value.get() != "null");
                Ok(fault.unwrap_or(Fields::Are(fields)))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

/// A value of a simple type.
pub(super) fn value<'a, T: de::Deserialize<'a>>(
    value: &'a RawValue,
    place: &Place<'_>,
    expected: &str,
) -> Result<T, CallError> {
    serde_json::from_str(value.get()).map_err(|_| place.must_be(expected))
}

pub(super) fn text(json: &RawValue, place: &Place<'_>) -> Result<String, CallError> {
    value(json, place, "a string")
}

pub(super) fn list<'a>(json: &'a RawValue, place: &Place<'_>) -> Result<Vec<&'a RawValue>, CallError> {
    value(json, place, "an array")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn both_spellings_are_read_and_nulls_are_not_there() {
        let root = Place::root("tools");
        let mut object =
            Object::read(raw(r#"{"function_declarations":1,"googleSearch":null,"_x":2}"#), &root).unwrap();
        assert_eq!(object.take("functionDeclarations").map(RawValue::get), Some("1"));
        assert!(object.take("googleSearch").is_none());
        assert_eq!(object.rest().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn faults_name_their_place() {
        let root = Place::root("contents");
        let (second, parts);
        second = root.at(1);
        parts = second.field("parts");
        let place = parts.at(3);
        let fault = |json| Object::read(raw(json), &place).err().unwrap().to_string();
        assert_eq!(fault("[]"), "`contents[1].parts[3]` must be an object");
        assert_eq!(
            fault(r#"{"file_data":1,"fileData":2}"#),
            "the field `fileData` is given twice in `contents[1].parts[3]`"
        );
        let many: Vec<String> = (0..200).map(|at| format!("\"f{at}\":1")).collect();
        assert!(fault(&format!("{{{}}}", many.join(","))).contains("at most 128 fields"));
        assert_eq!(place.general(), "contents[].parts[]");
    }
}
