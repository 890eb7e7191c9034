//! Extractors: bodies, queries, paths and headers, with a problem that names the fault instead of axum's plain text.
//!
//! Claims: malformed JSON is 400, another content type 415, too large a body 413, a wrong, missing or unknown field
//! 422 with the field's path; nothing is read leniently.

use crate::problem::Problem;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, Request, rejection::BytesRejection},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use domain::IdempotencyKey;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

/// The most bytes a body of `/api` may have.
pub const BODY_LIMIT_BYTES: usize = 1024 * 1024;

/// A JSON body, in and out.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(is_json) {
            let found = content_type.map_or("none".to_owned(), |it| format!("{it:?}"));
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                format!("the body must be sent with content-type application/json, not {found}"),
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        parse(&bytes).map(Self)
    }
}

/// A body that may be left out, with its content type.
impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Option<Self>, Problem> {
        if !request.headers().contains_key(header::CONTENT_TYPE) {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

fn is_json(content_type: &str) -> bool {
    let mime = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    mime == "application/json" || (mime.starts_with("application/") && mime.ends_with("+json"))
}

/// The problem of a body that could not be read at all. Also for handlers that take raw bytes.
pub fn unreadable(rejection: BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("the body is larger than {BODY_LIMIT_BYTES} bytes");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail);
    }
    Problem::bad_request("unreadable_body", "the body could not be read to its end")
}

/// Reads JSON strictly.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array for a struct, field by field in an order that nobody promised.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let detail = "the body must be a JSON object, not an array";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        let mut fault = error.to_string();
        if let Some(at) = fault.rfind(" at line ") {
            fault.truncate(at);
        }
        match error.classify() {
            serde_json::error::Category::Data => {
                let mut end = offset(bytes, error.line(), error.column());
                // A value that its own type refused is placed after the object's end if it was the last one in it; a
                // field that is missing is missed at the object.
                if !fault.starts_with("missing field") && matches!(bytes[..end].last(), Some(b'}' | b']')) {
                    end -= 1;
                }
                let path = path_at(&bytes[..end]);
                let detail = if path.is_empty() { fault } else { format!("{path}: {fault}") };
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail)
            }
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => {
                Problem::bad_request("malformed_json", format!("the body is not JSON: {fault} at {place}"))
            }
        }
    })
}

/// Where a line and column (from 1, counting what has been read) are.
fn offset(bytes: &[u8], line: usize, column: usize) -> usize {
    let lines = bytes.split_inclusive(|b| *b == b'\n').take(line.saturating_sub(1));
    (lines.map(<[u8]>::len).sum::<usize>() + column).min(bytes.len())
}

/// The path of the value that these bytes of JSON end with, such as `budget.credits` or `models[2]`; empty at the top.
///
/// serde says what was expected but not of which field; the place is enough to find out.
fn path_at(bytes: &[u8]) -> String {
    enum Step {
        Field(Option<String>),
        Index(usize),
    }
    let end = bytes.len();
    let mut steps: Vec<Step> = Vec::new();
    let mut at = 0;
    while at < end {
        match bytes[at] {
            // A container that was only just entered is itself the value at fault.
            b'{' if at + 1 < end => steps.push(Step::Field(None)),
            b'[' if at + 1 < end => steps.push(Step::Index(0)),
            b'}' | b']' => drop(steps.pop()),
            b',' => match steps.last_mut() {
                Some(Step::Field(name)) => *name = None,
                Some(Step::Index(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let start = at + 1;
                at = start;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                let text = bytes.get(start..at.min(bytes.len())).map(String::from_utf8_lossy);
                if let (Some(Step::Field(name @ None)), Some(text)) = (steps.last_mut(), text) {
                    *name = Some(text.chars().take(64).collect());
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Field(Some(name)) if path.is_empty() => path = name,
            Step::Field(Some(name)) => path.extend([".", &name]),
            Step::Field(None) => {}
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// A query string; its structs refuse unknown fields.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(query) => Ok(Self(query.0)),
            Err(rejection) => {
                let text = rejection.body_text();
                let fault = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(Problem::bad_request("invalid_query", format!("query: {fault}")))
            }
        }
    }
}

/// Parameters of the path, such as an id.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(rejection) => {
                let text = rejection.body_text();
                let fault = text.strip_prefix("Invalid URL: ").unwrap_or(&text);
                Err(Problem::bad_request("invalid_path", format!("path: {fault}")))
            }
        }
    }
}

/// The `Idempotency-Key` header, if one was sent.
#[derive(Clone, Debug)]
pub struct Idempotency(pub Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let bad = |fault: &str| {
            Problem::bad_request("invalid_idempotency_key", format!("Idempotency-Key: {fault}"))
        };
        if values.next().is_some() {
            return Err(bad("was sent more than once"));
        }
        let text = value.to_str().map_err(|_| bad("must be ASCII"))?;
        IdempotencyKey::try_new(text).map(|key| Self(Some(key))).map_err(|error| bad(&error.to_string()))
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The things on this page.
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Which page is wanted. Lists with more parameters repeat these two fields: a flattened query would lose its types.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many at most: 1 to 100, else 20.
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// The wanted number of items, checked.
    pub fn limit(&self) -> Result<u32, Problem> {
        page_limit(self.limit)
    }
}

/// Checks `limit`: 1 to 100, 20 where absent.
pub fn page_limit(limit: Option<u32>) -> Result<u32, Problem> {
    match limit.unwrap_or(20) {
        limit @ 1..=100 => Ok(limit),
        limit => {
            Err(Problem::bad_request("invalid_query", format!("limit: {limit} is not between 1 and 100")))
        }
    }
}

/// For `#[serde(default, deserialize_with = "nullable")]` on `Option<Option<T>>`: absent is `None` (leave it), null is
/// `Some(None)` (clear it).
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

impl PageQuery {
    /// The cursor of lists in the order of their ids.
    pub fn before(&self) -> Result<Option<uuid::Uuid>, Problem> {
        page_before(self.cursor.as_deref())
    }
}

/// Reads the cursor of a list in the order of its ids: the last id of the page before.
pub fn page_before(cursor: Option<&str>) -> Result<Option<uuid::Uuid>, Problem> {
    let bad = |_| Problem::bad_request("invalid_query", "cursor: is not one that this list gave");
    cursor.map(uuid::Uuid::parse_str).transpose().map_err(bad)
}

impl<T> Page<T> {
    /// A page of up to `limit` items from `limit + 1` that were read: the one too many says that there are more.
    pub fn of(mut items: Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> String) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(cursor) } else { None };
        Self { items, next_cursor }
    }

    /// The page with each item as another type.
    pub fn map<U>(self, into: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(into).collect(), next_cursor: self.next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::key::BudgetPeriod;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read into")]
    struct Order {
        name: String,
        count: Option<u8>,
        tags: Option<Vec<String>>,
        nested: Option<Nested>,
        #[serde(default, deserialize_with = "nullable")]
        end: Option<Option<u8>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read into")]
    struct Nested {
        credits: domain::Credits,
        period: BudgetPeriod,
    }

    #[test]
    fn a_wrong_value_is_named_with_its_path() {
        for (text, detail) in [
            (r#"{"name":1}"#, "name: invalid type: integer `1`, expected a string"),
            (r#"{"name":"a","count":-1}"#, "count: invalid value: integer `-1`, expected u8"),
            (r#"{"name":"a","count":300}"#, "count: invalid value: integer `300`, expected u8"),
            (r#"{"name":"a","tags":["x",{}]}"#, "tags[1]: invalid type: map, expected a string"),
            (
                r#"{"name":"a\"b","nested":{"credits":"1e3","period":"day"}}"#,
                "nested.credits: \"1e3\" is not a decimal",
            ),
            (
                r#"{"name":"a","nested":{"credits":1.5,"period":"day"}}"#,
                "nested.credits: invalid type: floating point",
            ),
            (
                r#"{"name":"a","nested":{"credits":"1","period":"week"}}"#,
                "nested.period: unknown variant `week`",
            ),
            ("{\n \"name\": \"a\",\n \"count\": \"x\"\n}", "count: invalid type: string \"x\""),
            (r#"{"name":"a","colour":"red"}"#, "unknown field `colour`, expected one of `name`"),
            (r#"{"count":1}"#, "missing field `name`"),
            (r#"{"name":"a","name":"b"}"#, "duplicate field `name`"),
            (r#" ["a"]"#, "must be a JSON object"),
            (
                r#"{"name":"a","nested":{"period":"day","credits":"1e3"}}"#,
                "nested.credits: \"1e3\" is not a decimal",
            ),
            (r#"{"name":"a","nested":{"period":"day"}}"#, "nested: missing field `credits`"),
            (r#""a""#, "invalid type: string \"a\", expected struct Order"),
        ] {
            let problem = parse::<Order>(text.as_bytes()).unwrap_err();
            assert_eq!(
                (problem.status, problem.code),
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_body"),
                "{text}"
            );
            assert!(problem.detail.contains(detail), "{text}: {}", problem.detail);
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in
            ["", "{", "{\"name\":}", "{\"name\":\"a\"} x", "name=a", "\u{feff}{}", "{\"name\":\"a\",}"]
        {
            let problem = parse::<Order>(text.as_bytes()).unwrap_err();
            assert_eq!((problem.status, problem.code), (StatusCode::BAD_REQUEST, "malformed_json"), "{text}");
            assert!(problem.detail.contains("line 1"), "{}", problem.detail);
        }
        assert_eq!(parse::<Order>(b"{\"name\":\"\xff\"}").unwrap_err().code, "malformed_json");
    }

    #[test]
    fn null_clears_and_absence_leaves() {
        let end = |text: &str| parse::<Order>(text.as_bytes()).unwrap().end;
        assert_eq!(end(r#"{"name":"a"}"#), None);
        assert_eq!(end(r#"{"name":"a","end":null}"#), Some(None));
        assert_eq!(end(r#"{"name":"a","end":5}"#), Some(Some(5)));
    }

    #[test]
    fn a_page_says_whether_there_is_more() {
        let page = Page::of(vec![1, 2, 3], 2, ToString::to_string);
        assert_eq!((page.items, page.next_cursor.as_deref()), (vec![1, 2], Some("2")));
        let page = Page::of(vec![1, 2], 2, ToString::to_string);
        assert_eq!((page.items, page.next_cursor), (vec![1, 2], None));
        assert!(page_limit(Some(0)).is_err() && page_limit(Some(101)).is_err());
        assert!(page_before(Some("x")).is_err());
    }

    #[test]
    fn json_content_types_are_recognised() {
        for mime in
            ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/a+json"]
        {
            assert!(is_json(mime), "{mime}");
        }
        for mime in ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "applicationjson"] {
            assert!(!is_json(mime), "{mime}");
        }
    }
}
