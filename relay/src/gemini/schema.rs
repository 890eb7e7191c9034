//! Google's `Schema` (`parameters`, `responseSchema`) as a JSON schema, which all other formats want.
//!
//! For: types in capitals, `nullable`, bounds as strings, names in either spelling.
//! Claims: keys stay in their order; a schema that is a JSON schema already stays one; names of properties and values
//! of enums are not touched.

use super::object::camel;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Number;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// JSON whose objects keep the order of their keys.
#[derive(Debug)]
enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// The JSON schema that says the same. `None`: it is no object, or nested too deeply.
pub(super) fn of_google(schema: &RawValue) -> Option<Box<RawValue>> {
    match serde_json::from_str(schema.get()).ok()? {
        Json::Object(fields) => serde_json::value::to_raw_value(&Json::Object(schema_fields(fields))).ok(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => None,
    }
}

fn converted(schema: Json) -> Json {
    match schema {
        Json::Object(fields) => Json::Object(schema_fields(fields)),
        Json::List(schemas) => Json::List(schemas.into_iter().map(converted).collect()),
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_)) => other,
    }
}

fn schema_fields(fields: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let named: Vec<(String, Json)> = fields
        .into_iter()
        .map(|(key, value)| {
            // `$defs` and the like are not Google's.
            if key.starts_with('$') { (key, value) } else { (camel(Cow::Owned(key)).into_owned(), value) }
        })
        .collect();
    let is_nullable = named.iter().any(|(key, value)| key == "nullable" && matches!(value, Json::Bool(true)));
    named
        .into_iter()
        .filter(|(key, _)| !matches!(&**key, "nullable" | "propertyOrdering"))
        .map(|(key, value)| {
            let value = match &*key {
                "type" => types(value, is_nullable),
                "properties" | "$defs" | "defs" | "patternProperties" => match value {
                    Json::Object(schemas) => {
                        Json::Object(schemas.into_iter().map(|(name, it)| (name, converted(it))).collect())
                    }
                    other => converted(other),
                },
                "items" | "prefixItems" | "anyOf" | "oneOf" | "allOf" | "not" | "additionalProperties" => {
                    converted(value)
                }
                // 64-bit numbers are strings in protocol buffers' JSON.
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                    match value {
                        Json::Text(text) => match text.parse::<u64>() {
                            Ok(number) => Json::Number(number.into()),
                            Err(_) => Json::Text(text),
                        },
                        other => other,
                    }
                }
                _ => value,
            };
            (key, value)
        })
        .filter(|(key, value)| {
            key != "type" || !matches!(value, Json::Text(text) if text == "type_unspecified")
        })
        .collect()
}

fn types(value: Json, is_nullable: bool) -> Json {
    match value {
        Json::Text(name) => {
            let name = Json::Text(name.to_ascii_lowercase());
            if is_nullable { Json::List(vec![name, Json::Text("null".into())]) } else { name }
        }
        Json::List(names) => Json::List(names.into_iter().map(|name| types(name, false)).collect()),
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) => other,
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
                Ok(Json::Bool(flag))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
                Ok(Json::Number(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
                Ok(Json::Number(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
                Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(element) = seq.next_element()? {
                    list.push(element);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for element in list {
                    seq.serialize_element(element)?;
                }
                seq.end()
            }
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(schema: &str) -> Option<String> {
        of_google(serde_json::from_str(schema).unwrap()).map(|it| it.get().to_owned())
    }

    #[test]
    fn googles_schema_becomes_a_json_schema() {
        let cases = [
            (
                r#"{"type":"OBJECT","properties":{"type":{"type":"STRING","enum":["OBJECT"]},"max_items":{"type":"ARRAY","items":{"type":"INTEGER"},"min_items":"1"}},"required":["type"],"propertyOrdering":["type"]}"#,
                r#"{"type":"object","properties":{"type":{"type":"string","enum":["OBJECT"]},"max_items":{"type":"array","items":{"type":"integer"},"minItems":1}},"required":["type"]}"#,
            ),
            (
                r#"{"nullable":true,"type":"NUMBER","minimum":0.5}"#,
                r#"{"type":["number","null"],"minimum":0.5}"#,
            ),
            (
                r#"{"any_of":[{"type":"STRING"},{"type":"NULL"}]}"#,
                r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#,
            ),
            (
                r#"{"$defs":{"MY_type":{"type":"object"}},"z":1,"a":2,"type":"TYPE_UNSPECIFIED"}"#,
                r#"{"$defs":{"MY_type":{"type":"object"}},"z":1,"a":2}"#,
            ),
            ("{}", "{}"),
        ];
        for (google, expected) in cases {
            assert_eq!(converted(google).as_deref(), Some(expected));
            assert_eq!(converted(expected).as_deref(), Some(expected), "twice");
        }
        assert_eq!(converted("[]"), None);
        assert_eq!(converted(&format!("{}1{}", r#"{"items":"#.repeat(500), "}".repeat(500))), None);
    }
}
