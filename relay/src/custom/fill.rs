//! The texts of a template that are filled in: paths, headers, values of a query.
//!
//! Claims: a path can only lead below the base URL; no header of the connection or of the body can be named; a value
//! that may be a secret by mistake is shown by no fault and no debug output.

use axum::http::{HeaderName, header};
use serde::{Deserialize, Serialize};

/// The longest path, header, query value or mark, in bytes.
pub(super) const MAX_TEXT: usize = 1000;

/// A path below the base URL, with `{model}` for the model's name there; perhaps with a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct PathTemplate(pub(super) String);

impl TryFrom<String> for PathTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = |why: &str| Err(format!("the path {text:?} {why}"));
        if text.len() > MAX_TEXT {
            return Err(format!("a path has at most {MAX_TEXT} bytes"));
        }
        if !text.starts_with('/') || text.starts_with("//") {
            return fault("must begin with one slash: it stands below the base URL");
        }
        if placeholders(&text)?.iter().any(|name| name != "model") {
            return fault(
                "may hold {model}, and no other name in braces (a key goes in `headers` or `query`)",
            );
        }
        if text.bytes().any(|byte| !byte.is_ascii_graphic() || b"\\#<>\"^`|".contains(&byte)) {
            return fault("may hold visible ASCII characters only, and none of \\ # < > \" ^ ` |");
        }
        let path = text.split('?').next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return fault("must not hold the segments . and ..");
        }
        Ok(Self(text))
    }
}

impl From<PathTemplate> for String {
    fn from(path: PathTemplate) -> Self {
        path.0
    }
}

/// The value of a header or of a query, with `{key}` for the provider's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Filled(pub(super) String);

impl Filled {
    /// Does it hold the key?
    pub(super) fn has_key(&self) -> bool {
        self.0.contains("{key}")
    }

    /// With the key in it.
    pub(super) fn with(&self, key: &str) -> String {
        self.0.replace("{key}", key)
    }
}

impl std::fmt::Debug for Filled {
    /// An operator may have written a secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filled(…)")
    }
}

impl TryFrom<String> for Filled {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // The text itself may be a secret by mistake: no fault repeats it.
        if text.is_empty() || text.len() > MAX_TEXT || text.trim() != text {
            return Err(format!("must have 1 to {MAX_TEXT} bytes, and no blanks around them"));
        }
        if text.bytes().any(|byte| !byte.is_ascii_graphic() && byte != b' ') {
            return Err("may hold visible ASCII characters and blanks only".into());
        }
        if placeholders(&text)?.iter().any(|name| name != "key") {
            return Err("may hold {key}, and no other name in braces".into());
        }
        Ok(Self(text))
    }
}

impl From<Filled> for String {
    fn from(filled: Filled) -> Self {
        filled.0
    }
}

/// The names in braces.
fn placeholders(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let name = rest[at..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        match name {
            Some((name, after)) if !name.contains('{') => {
                names.push(name.to_owned());
                rest = after;
            }
            _ => return Err("holds a brace without its other half".into()),
        }
    }
    Ok(names)
}

/// A header's name, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct FieldName(pub(super) String);

impl TryFrom<String> for FieldName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name: HeaderName = text.parse().map_err(|_| format!("{text:?} is no name of a header"))?;
        let is_ours = [
            header::HOST,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::ACCEPT_ENCODING,
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::TE,
            header::TRAILER,
            header::UPGRADE,
            header::EXPECT,
            HeaderName::from_static("keep-alive"),
        ]
        .contains(&name);
        if is_ours || name.as_str().starts_with("proxy-") {
            return Err(format!(
                "the header {name} belongs to the connection or to the body, and cannot be set"
            ));
        }
        Ok(Self(name.as_str().to_owned()))
    }
}

impl From<FieldName> for String {
    fn from(name: FieldName) -> Self {
        name.0
    }
}
