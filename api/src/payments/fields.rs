//! Fields of a JSON object, as a gateway wrote them.
//!
//! For: answers whose numbers must keep their source text (`1.00` must not become `1`), because it was signed or is an amount.
//! Claims: a name that stands there twice makes the object unreadable; no number becomes a float.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// An object's fields, each with the text of its value.
#[derive(Debug, Default)]
pub struct Fields(BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if fields.insert(name, value).is_some() {
                        return Err(A::Error::custom("a field stands there twice"));
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl Fields {
    /// Reads an object; `None`: it is none, or one that cannot be read safely.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// A text, or the source text of a number or a boolean; `None` where it is absent, null, empty or something larger.
    pub fn text(&self, name: &str) -> Option<String> {
        plain(self.0.get(name)?.get()).filter(|text| !text.is_empty())
    }

    /// A value exactly as it was written: what signatures over parts of an answer are made of.
    pub fn source(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// An object within.
    pub fn object(&self, name: &str) -> Option<Self> {
        Self::read(self.0.get(name)?.get().as_bytes())
    }

    /// A list of objects within, each as its source text.
    pub fn list(&self, name: &str) -> Option<Vec<Box<RawValue>>> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// Every plain value, by name: what signatures over answers are made of.
    pub fn plain(&self) -> BTreeMap<&str, String> {
        self.0.iter().filter_map(|(name, value)| Some((name.as_str(), plain(value.get())?))).collect()
    }
}

fn plain(source: &str) -> Option<String> {
    match source.as_bytes().first()? {
        b'"' => serde_json::from_str(source).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(source.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_source_text() {
        let fields =
            Fields::read(br#"{"a":1.00,"b":"x\/y","c":null,"d":[1],"e":{"f":"g"},"t":true,"z":""}"#).unwrap();
        assert_eq!(fields.text("a").as_deref(), Some("1.00"));
        assert_eq!(fields.text("b").as_deref(), Some("x/y"));
        assert_eq!((fields.text("c"), fields.text("d"), fields.text("z")), (None, None, None));
        assert_eq!(fields.object("e").unwrap().text("f").as_deref(), Some("g"));
        assert_eq!(fields.plain().into_keys().collect::<Vec<_>>(), ["a", "b", "t", "z"]);
        assert_eq!(fields.list("d").unwrap().len(), 1);
    }

    #[test]
    fn an_ambiguous_object_is_none() {
        for bad in [r#"{"a":1,"a":2}"#, "[]", "1", "<html>", "", "{"] {
            assert!(Fields::read(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
