//! A request of this format that passes through: the few fields that money and routing depend on, and its body as the
//! provider gets it.
//!
//! Claims: every byte that is not the model's name or a missing `max_tokens` reaches the provider as it came; a field
//! given twice is refused, since two readers could disagree about which one counts.

use crate::body::{self, Behind, FRAME_TOKENS, MAX_OUTPUT_TOKENS, Medium, Plan, Scan, TOOLS_TOKENS, Walked};
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::unpriced::{self, Unpriced};
use bytes::Bytes;
use std::ops::Range;

/// What a request's scanner looks for.
const PLAN: Plan = Plan {
    routed: &["model", "stream", "max_tokens"],
    read: &["tools", "mcp_servers", "service_tier", "speed", "inference_geo"],
    noted: &["messages"],
    medium: |around, key| match (around, key) {
        // Of images, documents (whose data may be plain text) and, harmlessly, of search results.
        (Medium::Text, "source") | (Medium::Unknown, "data") => Medium::Unknown,
        // What lies behind an address or an id, the block around it tells: an image, or a document.
        (Medium::Unknown, "url" | "file_id") => Medium::Far(Behind::Image),
        (Medium::Text, "type") => Medium::Told,
        // The proof of a thought: base64 that is no text to the model.
        (Medium::Text, "signature") => Medium::File,
        _ => Medium::Text,
    },
};

/// A request as its caller sent it: for a message, or to count its tokens.
#[derive(Clone, Debug)]
pub struct MessagesRequest {
    body: Bytes,
    /// The model, as the caller names it.
    pub model: String,
    /// As a stream?
    pub stream: bool,
    /// How many choices: this format knows one.
    pub choices: u64,
    /// The caller's cap on the generated tokens, thoughts included.
    pub max_output: Option<u64>,
    /// The prompt's tokens.
    pub input: Estimate,
    /// What it asks for that no price list covers.
    pub(crate) unpriced: Option<Unpriced>,
    places: Places,
}

/// Where the fields are whose values may change.
#[derive(Clone, Debug)]
struct Places {
    /// After the opening brace.
    start: usize,
    model: Range<usize>,
    /// Of a null.
    max_tokens: Option<Range<usize>>,
}

impl MessagesRequest {
    /// Reads a request body. The format asks for `max_tokens`; a request without it is taken too.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub fn try_new(body: Bytes) -> Result<Self, CallError> {
        let scan = Scan::try_new(&body, &PLAN)?;
        let model = scan.get("model").ok_or_else(|| body::missing("model"))?;
        let name: String = body::parse(Some(model), "model", "a string")?;
        let stream = body::parse::<Option<bool>>(scan.get("stream"), "stream", "a boolean")?.unwrap_or(false);
        scan.require_array("messages")?;
        let max_output = body::whole_number(scan.get("max_tokens"), "max_tokens", MAX_OUTPUT_TOKENS)?;
        let mut input = scan.input;
        input.tokens(FRAME_TOKENS);
        if scan.noted("tools") == Some(Walked::Array) {
            input.tokens(TOOLS_TOKENS);
        }
        let places = Places {
            start: scan.start(),
            model: scan.place(model),
            max_tokens: scan.get("max_tokens").map(|value| scan.place(value)),
        };
        let unpriced = unpriced::in_messages(&scan);
        Ok(Self { model: name, stream, choices: 1, max_output, input, unpriced, places, body })
    }

    /// The body for a provider that calls the model `upstream_model`; `default_cap` is set where the caller set none.
    pub fn body_for(&self, upstream_model: &str, default_cap: u64) -> Bytes {
        let mut edits = self.renamed(upstream_model);
        if self.max_output.is_none() {
            edits.push(match &self.places.max_tokens {
                Some(null) => (null.clone(), default_cap.to_string()),
                None => (self.places.start..self.places.start, format!("\"max_tokens\":{default_cap},")),
            });
        }
        body::splice(&self.body, edits)
    }

    /// The body of a request to count tokens, which takes no cap.
    pub fn count_body_for(&self, upstream_model: &str) -> Bytes {
        body::splice(&self.body, self.renamed(upstream_model))
    }

    fn renamed(&self, upstream_model: &str) -> Vec<(Range<usize>, String)> {
        let name = || (self.places.model.clone(), body::json_string(upstream_model));
        (upstream_model != self.model).then(name).into_iter().collect()
    }
}

/// The answer to a request to count tokens.
pub fn counted(input_tokens: u64) -> Bytes {
    format!(r#"{{"input_tokens":{input_tokens}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Result<MessagesRequest, CallError> {
        MessagesRequest::try_new(Bytes::copy_from_slice(body.as_bytes()))
    }

    fn content(blocks: &str) -> u64 {
        let body =
            format!(r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":[{blocks}]}}]}}"#);
        request(&body).unwrap().input.upper()
    }

    #[test]
    fn a_body_that_needs_no_change_is_the_same_bytes() {
        let body = Bytes::from_static(
            b" {\n \"messages\":[ {\"role\":\"user\"} ], \"model\" : \"m\",\"max_tokens\":5,\"x\":1.0e2}\n",
        );
        let request = MessagesRequest::try_new(body.clone()).unwrap();
        assert_eq!(request.body_for("m", 99).as_ptr(), body.as_ptr());
        assert_eq!(request.count_body_for("m").as_ptr(), body.as_ptr());
    }

    #[test]
    fn only_the_bytes_that_must_change_do() {
        let cases = [
            (
                r#"{"model" : "m","messages":[1],"max_tokens":5}"#,
                r#"{"model" : "up/\"x","messages":[1],"max_tokens":5}"#,
            ),
            (
                r#" { "m\u006fdel":"m","messages":["\"model\":1"] }"#,
                r#" {"max_tokens":99, "m\u006fdel":"up/\"x","messages":["\"model\":1"] }"#,
            ),
            (
                r#"{"max_tokens": null ,"model":"m","messages":[1]}"#,
                r#"{"max_tokens": 99 ,"model":"up/\"x","messages":[1]}"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(request(body).unwrap().body_for("up/\"x", 99), expected.as_bytes());
        }
    }

    #[test]
    fn a_count_of_tokens_gets_no_cap() {
        let request = request(r#"{"model":"m","messages":[1]}"#).unwrap();
        assert_eq!(request.count_body_for("up"), r#"{"model":"up","messages":[1]}"#);
        assert_eq!(counted(17), r#"{"input_tokens":17}"#);
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("[]", "must be a JSON object"),
            (r#"{"messages":[1]}"#, "`model` is missing"),
            (r#"{"model":7,"messages":[1]}"#, "`model` must be a string"),
            (r#"{"model":"m"}"#, "`messages` is missing"),
            (r#"{"model":"m","messages":[]}"#, "`messages` must not be empty"),
            (r#"{"model":"m","messages":{}}"#, "`messages` must be an array"),
            (r#"{"model":"m","messages":[1],"stream":1}"#, "`stream` must be a boolean"),
            (r#"{"model":"m","messages":[1],"max_tokens":0}"#, "`max_tokens` must be a whole number"),
            (r#"{"model":"m","messages":[1],"max_tokens":"9"}"#, "`max_tokens` must be"),
            (r#"{"model":"m","messages":[1],"max_tokens":1,"max_tokens":9}"#, "`max_tokens` is given twice"),
            (r#"{"model":"m","mod\u0065l":"x","messages":[1]}"#, "`model` is given twice"),
        ];
        for (body, fault) in cases {
            let error = request(body).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.to_string().contains(fault), "{body}: {error}");
        }
    }

    #[test]
    fn images_documents_and_signatures_do_not_weigh_as_text() {
        let source = |data: &str| {
            content(&format!(
                r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}"#
            ))
        };
        let base64 = "A".repeat(400_000);
        let image = source(&format!("iVBOR{base64}"));
        assert!((5_000..5_100).contains(&image), "{image}");
        let pdf = source(&format!("JVBERi0x{base64}"));
        assert!((100_000..100_200).contains(&pdf), "{pdf}");
        let url = content(r#"{"type":"image","source":{"type":"url","url":"https://x/y.png"}}"#);
        assert!((5_000..5_100).contains(&url), "{url}");
        for source in [r#"{"type":"url","url":"https://x/y"}"#, r#"{"type":"file","file_id":"file_1"}"#] {
            let before = content(&format!(r#"{{"type":"document","source":{source}}}"#));
            let behind = content(&format!(r#"{{"source":{source},"type":"document"}}"#));
            for weight in [before, behind] {
                assert!((262_144..262_300).contains(&weight), "{weight}");
            }
        }
        let within_a_call = content(r#"{"type":"tool_use","input":{"source":{"url":"https://x/y"}}}"#);
        assert!((5_000..5_100).contains(&within_a_call), "{within_a_call}");
        let thought = content(&format!(r#"{{"type":"thinking","thinking":"a","signature":"{base64}"}}"#));
        assert!((100_000..100_200).contains(&thought), "{thought}");
    }

    #[test]
    fn a_document_of_plain_text_weighs_as_text() {
        let text = "密码学 is a long story. ".repeat(1000);
        let document = content(&format!(
            r#"{{"type":"document","source":{{"type":"text","media_type":"text/plain","data":"{text}"}}}}"#
        ));
        let plain = content(&format!(r#"{{"type":"text","text":"{text}"}}"#));
        assert!(document >= plain && document < plain + 100, "{document} and {plain}");
        let within_a_call = content(&format!(r#"{{"type":"tool_use","input":{{"source":"{text}"}}}}"#));
        assert!(within_a_call >= plain, "{within_a_call} and {plain}");
    }

    #[test]
    fn tools_and_system_weigh() {
        let plain = request(r#"{"model":"m","messages":[1]}"#).unwrap().input.upper();
        let tools = request(r#"{"model":"m","messages":[1],"tools":[{"name":"get"}]}"#).unwrap();
        assert!(tools.input.upper() > plain + TOOLS_TOKENS);
        let system = request(r#"{"model":"m","messages":[1],"system":"four words are here"}"#).unwrap();
        assert!(system.input.upper() > plain + 4);
    }
}
