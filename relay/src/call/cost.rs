//! What a call cost, told within its answer to a caller that asks for it by `x-nexusroute-cost: true`.
//!
//! Claims: only the counts' object gains a field, `cost`, a decimal string in credits; every other byte stays; an answer
//! without counts stays as it is.

use crate::sse::{Event, Splitter};
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use domain::Credits;
use serde::Deserialize;
use serde_json::value::RawValue;

/// By which a caller asks for it.
const X_COST: HeaderName = HeaderName::from_static("x-nexusroute-cost");

/// Where the protocols keep their counts.
#[derive(Deserialize)]
struct Counts<'a> {
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, rename = "usageMetadata")]
    usage_metadata: Option<&'a RawValue>,
    /// Around the counts, in the last event of a stream of responses.
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

/// Does the caller ask for it?
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(X_COST).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// A whole answer with its cost.
pub(crate) fn in_answer(body: Bytes, charge: Credits) -> Bytes {
    with_cost(&body, charge).unwrap_or(body)
}

/// The last events of a stream with the cost in the counts among them.
pub(crate) fn in_events(tail: Bytes, charge: Credits) -> Bytes {
    let mut splitter = Splitter::new(tail.len());
    splitter.push(&tail);
    let mut out = Vec::with_capacity(tail.len() + 64);
    while let Ok(Some(event)) = splitter.next_event() {
        out.extend_from_slice(&event_with_cost(&event, charge));
    }
    if let Some(rest) = splitter.rest() {
        out.extend_from_slice(&rest.raw);
    }
    out.into()
}

fn event_with_cost(event: &Event, charge: Credits) -> Bytes {
    // Data in one piece, as everybody sends it, stands in the event as it is.
    let edited = event.data().and_then(|data| {
        let at = memchr::memmem::find(&event.raw, &data)?;
        let edited = with_cost(&data, charge)?;
        Some([&event.raw[..at], &edited, &event.raw[at + data.len()..]].concat().into())
    });
    edited.unwrap_or_else(|| event.raw.clone())
}

/// The JSON with the cost as the first field of its counts; `None`: it has none.
fn with_cost(json: &[u8], charge: Credits) -> Option<Bytes> {
    let text = std::str::from_utf8(json).ok()?;
    let counts = counts(text)?;
    // Behind the brace.
    let at = counts.as_ptr().addr() - text.as_ptr().addr() + 1;
    let comma = if counts[1..].trim_start() == "}" { "" } else { "," };
    let field = format!("\"cost\":\"{charge}\"{comma}");
    Some([&text.as_bytes()[..at], field.as_bytes(), &text.as_bytes()[at..]].concat().into())
}

fn counts(text: &str) -> Option<&str> {
    let found: Counts<'_> = serde_json::from_str(text).ok()?;
    let object = found.usage.or(found.usage_metadata).map(RawValue::get).filter(|it| it.starts_with('{'));
    object.or_else(|| found.response.and_then(|response| counts(response.get())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHARGE: Credits = Credits::from_nano(276_000);

    #[test]
    fn every_protocols_counts_gain_the_cost_and_nothing_else_changes() {
        let cases = [
            (r#"{"a":1, "usage" : {"x":2}}"#, r#"{"a":1, "usage" : {"cost":"0.000276","x":2}}"#),
            (r#"{"usage":{ }}"#, r#"{"usage":{"cost":"0.000276" }}"#),
            (r#"{"usageMetadata":{"x":2}}"#, r#"{"usageMetadata":{"cost":"0.000276","x":2}}"#),
            (
                r#"{"type":"response.completed","response":{"usage":{"x":2}}}"#,
                r#"{"type":"response.completed","response":{"usage":{"cost":"0.000276","x":2}}}"#,
            ),
            (r#"{"usage":null}"#, r#"{"usage":null}"#),
            ("no json", "no json"),
        ];
        for (body, expected) in cases {
            assert_eq!(in_answer(Bytes::from_static(body.as_bytes()), CHARGE), expected);
        }
    }

    #[test]
    fn of_a_streams_last_events_the_one_with_counts_gains_it() {
        let tail = "data: {\"choices\":[],\"usage\":{\"x\":1}}\n\ndata: [DONE]\n\n";
        let expected = "data: {\"choices\":[],\"usage\":{\"cost\":\"0.000276\",\"x\":1}}\n\ndata: [DONE]\n\n";
        assert_eq!(in_events(Bytes::from_static(tail.as_bytes()), CHARGE), expected);
    }
}
