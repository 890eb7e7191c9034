//! Forms: `a=1&b=2`, as gateways send their notifications and as we ask them.
//!
//! Claims: a form is decoded once, strictly, and whole: a field that stands there twice, a bad escape or bytes that are no UTF-8
//! make it unreadable, for two readers of it could then differ about what was signed.

use std::collections::BTreeMap;

/// The most fields of a form; real ones have about thirty.
const MOST_FIELDS: usize = 200;

/// A form's fields, by name in byte order, which is how signatures take them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads a query or a form's body. The error says what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut fields = BTreeMap::new();
        for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (decode(&pair[..at])?, decode(pair.get(at + 1..).unwrap_or_default())?);
            if fields.insert(name, value).is_some() {
                return Err("a field stands there twice");
            }
            if fields.len() > MOST_FIELDS {
                return Err("it has too many fields");
            }
        }
        Ok(Self(fields))
    }

    /// A field, where it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All fields, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Form {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// What several gateways sign: the fields that are not empty, but for those named, as `k=v` in the order of their names.
pub fn string_to_sign<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>, without: &[&str]) -> String {
    let kept: BTreeMap<&str, &str> =
        fields.into_iter().filter(|(name, value)| !value.is_empty() && !without.contains(name)).collect();
    kept.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Fields as they go over the wire.
pub fn encode<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = fields.into_iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// All but RFC 3986's unreserved characters as `%XX`, which queries, forms and path segments read alike.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn decode(bytes: &[u8]) -> Result<String, &'static str> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2).ok_or("it has a broken escape")?;
                let mut one = [0];
                hex::decode_to_slice(digits, &mut one).map_err(|_| "it has a broken escape")?;
                out.push(one[0]);
                rest = tail;
            }
            _ => out.push(*byte),
        }
    }
    String::from_utf8(out).map_err(|_| "it is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded_once() {
        let form = Form::read(b"name=A%26B%3DC%2BD+100%25&empty=&%E4%B8%AD=%2541").unwrap();
        assert_eq!(
            (form.get("name"), form.get("empty"), form.get("中")),
            (Some("A&B=C+D 100%"), None, Some("%41"))
        );
        let again = encode(form.iter());
        assert_eq!(Form::read(again.as_bytes()).unwrap(), form);
        assert_eq!(string_to_sign(form.iter(), &["中"]), "name=A&B=C+D 100%");
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        for bad in ["a=1&a=1", "a=1&%61=2", "a=%", "a=%4", "a=%zz", "a=%ff", "%ff=1"] {
            assert!(Form::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let long = (0..300).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join("&");
        assert!(Form::read(long.as_bytes()).is_err());
        assert_eq!(Form::read(b"").unwrap(), Form::default());
    }
}
