//! A request in `multipart/form-data`: the fields that money and routing depend on, found in its bytes.
//!
//! For: transcriptions, translations and edits of images, whose bodies hold files.
//! May not touch: what is in a file.
//! Claims: every byte but the model's name reaches the provider as it came; a routed field given twice is refused; no
//! part is copied.

use crate::error::CallError;
use axum::http::HeaderMap;
use bytes::Bytes;
use std::ops::Range;

/// The most parts that a request may have.
const MAX_PARTS: usize = 64;
/// The longest text field that is read, in bytes.
const MAX_FIELD: usize = 64 << 10;

/// A form, cut into its parts.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    name: String,
    is_file: bool,
    content: Range<usize>,
}

impl Upload {
    /// Cuts a form.
    ///
    /// # Errors
    /// [`CallError::ContentType`] for another kind of body, [`CallError::BadRequest`] naming what is broken.
    pub(crate) fn try_new(headers: &HeaderMap, body: &Bytes) -> Result<Self, CallError> {
        let boundary = boundary(headers)?;
        let delimiter = format!("--{boundary}");
        let finder = memchr::memmem::Finder::new(delimiter.as_bytes());
        let broken = |why: &str| bad_form(format!("the form cannot be read: {why}"));
        // A delimiter stands at the start of a line: the file between could hold its text anywhere else.
        let is_line_start = |at: usize| at == 0 || body[..at].ends_with(b"\r\n");
        let mut delimiters = finder.find_iter(body).filter(|at| is_line_start(*at));
        let start = delimiters.next().ok_or_else(|| broken("its boundary does not occur"))?;
        let mut parts = Vec::new();
        let mut at = start + delimiter.len();
        loop {
            let rest = &body[at..];
            if rest.starts_with(b"--") {
                break;
            }
            let line_end =
                memchr::memmem::find(rest, b"\r\n").ok_or_else(|| broken("a part lacks its head"))?;
            if !rest[..line_end].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
                return Err(broken("its boundary is followed by other text"));
            }
            let head_start = at + line_end + 2;
            let next = delimiters.next().ok_or_else(|| broken("it does not end with its boundary"))?;
            let part = &body[head_start..next];
            let head_len =
                memchr::memmem::find(part, b"\r\n\r\n").ok_or_else(|| broken("a part lacks its head"))?;
            let (name, is_file) =
                disposition(&part[..head_len]).ok_or_else(|| broken("a part has no name"))?;
            // Without the line end before the next delimiter.
            let content = head_start + head_len + 4..next.saturating_sub(2).max(head_start + head_len + 4);
            parts.push(Part { name, is_file, content });
            if parts.len() > MAX_PARTS {
                return Err(broken("it has too many parts"));
            }
            at = next + delimiter.len();
        }
        Ok(Self { parts })
    }

    /// The text of a field; `None`: it is not there.
    ///
    /// # Errors
    /// If it is given twice, too long, or no text.
    pub(crate) fn text<'a>(
        &self,
        body: &'a Bytes,
        field: &'static str,
    ) -> Result<Option<&'a str>, CallError> {
        let mut found = self.parts.iter().filter(|part| part.name == field);
        let Some(part) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(CallError::BadRequest {
                param: Some(field),
                code: "duplicate_field",
                message: format!("the field `{field}` is given twice"),
            });
        }
        let text = body.get(part.content.clone()).filter(|text| text.len() <= MAX_FIELD && !part.is_file);
        let text = text.and_then(|text| std::str::from_utf8(text).ok());
        text.map(Some).ok_or_else(|| CallError::bad(field, format!("`{field}` must be a text")))
    }

    /// Where a field's text stands.
    pub(crate) fn place(&self, field: &str) -> Option<Range<usize>> {
        self.parts.iter().find(|part| part.name == field).map(|part| part.content.clone())
    }

    /// The bytes of all files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files().map(|part| part.content.len() as u64).sum()
    }

    /// How many files there are.
    pub(crate) fn file_count(&self) -> u64 {
        self.files().count() as u64
    }

    fn files(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.is_file)
    }
}

fn bad_form(message: String) -> CallError {
    CallError::BadRequest { param: None, code: "invalid_form", message }
}

/// The boundary that the content type states.
fn boundary(headers: &HeaderMap) -> Result<String, CallError> {
    let value = headers.get(axum::http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (kind, parameters) = value.and_then(|value| value.split_once(';')).ok_or(CallError::FormExpected)?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(CallError::FormExpected);
    }
    let stated = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    });
    stated
        .filter(|boundary| (1..=70).contains(&boundary.len()))
        .ok_or_else(|| bad_form("the content type states no boundary".into()))
}

/// The name in a part's head, and whether the part is a file.
fn disposition(head: &[u8]) -> Option<(String, bool)> {
    let head = std::str::from_utf8(head).ok()?;
    let line = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let name = quoted(line, "name")?;
    let is_file = quoted(line, "filename").is_some() || line.contains("filename*=");
    Some((name, is_file))
}

/// The value of a parameter of a `Content-Disposition`, quoted or not.
fn quoted(line: &str, parameter: &str) -> Option<String> {
    let mut rest = line;
    loop {
        let at = rest.find(parameter)?;
        let is_whole = rest[..at].ends_with([';', ' ', '\t']);
        let after = &rest[at + parameter.len()..];
        match after.trim_start().strip_prefix('=') {
            Some(value) if is_whole => {
                let value = value.trim_start();
                let text = match value.strip_prefix('"') {
                    Some(text) => text.split('"').next()?,
                    None => value.split([';', ' ']).next()?,
                };
                return Some(text.to_owned());
            }
            Some(_) | None => rest = after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderValue, header};

    fn form(content_type: &'static str, body: &'static [u8]) -> Result<(Upload, Bytes), CallError> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let body = Bytes::from_static(body);
        Upload::try_new(&headers, &body).map(|upload| (upload, body))
    }

    const BODY: &[u8] =
        b"--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"name=model.mp3\"\r\n\
        Content-Type: audio/mpeg\r\n\r\nID3 --xYz in the middle\r\n--xY\r\n--xYz\r\n\
        content-disposition: form-data; name=model\r\n\r\nwhisper-1\r\n--xYz--\r\n";

    #[test]
    fn fields_and_files_are_found_by_their_place() {
        let (upload, body) = form("multipart/form-data; boundary=xYz", BODY).unwrap();
        assert_eq!(upload.text(&body, "model").unwrap(), Some("whisper-1"));
        assert_eq!(upload.text(&body, "language").unwrap(), None);
        assert_eq!(&body[upload.place("model").unwrap()], b"whisper-1");
        assert_eq!((upload.file_count(), upload.file_bytes()), (1, 29));
        assert!(upload.text(&body, "file").is_err(), "a file is no text");
    }

    #[test]
    fn what_is_broken_is_named() {
        let good = "multipart/form-data; boundary=xYz";
        let cases: &[(&'static str, &'static [u8], &str)] = &[
            ("application/json", b"{}", "multipart/form-data"),
            ("multipart/form-data", b"", "multipart/form-data"),
            ("multipart/form-data; charset=utf-8", b"", "states no boundary"),
            (good, b"", "does not occur"),
            (good, b"--xYz", "lacks its head"),
            (good, b"--xYz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx", "does not end"),
            (good, b"--xYz\r\nA: b\r\n\r\nx\r\n--xYz--", "no name"),
        ];
        for (content_type, body, fault) in cases {
            let error = form(content_type, body).unwrap_err();
            assert!(error.to_string().contains(fault), "{error}");
        }
        let twice = b"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na\r\n--b\r\n\
            Content-Disposition: form-data; name=\"model\"\r\n\r\nb\r\n--b--\r\n";
        let (upload, body) = form("multipart/form-data; boundary=\"b\"", twice).unwrap();
        assert!(upload.text(&body, "model").unwrap_err().to_string().contains("given twice"));
    }
}
