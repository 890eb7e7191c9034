//! Errors of Responses: OpenAI's shape before the stream, an `error` event within it.

use crate::error::CallError;
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

pub use crate::openai::error::{refused, refused_by, response};

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    code: Option<&'a str>,
    message: String,
    param: Option<&'a str>,
    sequence_number: u64,
    /// OpenAI's clients hand an error event on like any other; they raise one that has this.
    error: Value,
}

/// The event that ends a stream whose status has already been sent.
pub fn event(error: &CallError) -> Bytes {
    event_at(error, 0)
}

/// As [`event`], with its place among the stream's events.
pub(crate) fn event_at(error: &CallError, sequence_number: u64) -> Bytes {
    let event = Event {
        r#type: "error",
        code: error.code(),
        message: error.to_string(),
        param: error.param(),
        sequence_number,
        error: crate::openai::error::shape(error),
    };
    let mut bytes = b"event: error\ndata: ".to_vec();
    if serde_json::to_writer(&mut bytes, &event).is_err() {
        // Serialising strings into memory cannot fail; were it to, the client must still see an error.
        bytes.extend_from_slice(
            br#"{"type":"error","code":null,"message":"error","param":null,"sequence_number":0,"error":{}}"#,
        );
    }
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_within_a_stream_is_one_named_event_that_clients_raise() {
        let event = event_at(&CallError::ProviderFailed, 7);
        let text = std::str::from_utf8(&event).unwrap();
        let data = text.strip_prefix("event: error\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&data["type"], &data["code"]), (&"error".into(), &"provider_error".into()));
        assert_eq!((&data["sequence_number"], &data["param"]), (&7.into(), &Value::Null));
        assert_eq!(data["error"]["type"], "server_error");
        assert_eq!(data["error"]["message"], data["message"]);
    }
}
