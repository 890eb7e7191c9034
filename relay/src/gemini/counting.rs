//! Counting a prompt's tokens (`countTokens`): free, and answered from the estimate.
//!
//! Claims: whatever a request to generate may hold can be counted, alone or within `generateContentRequest`.

use super::request::{Named, medium};
use crate::body::{self, FRAME_TOKENS, Plan, Scan};
use crate::error::CallError;
use crate::estimate::Estimate;
use bytes::Bytes;
use serde_json::value::RawValue;

const PLAN: Plan = Plan {
    routed: &["model", "generateContentRequest", "generate_content_request"],
    read: &[],
    noted: &["contents"],
    medium,
};
const WITHIN: Plan = Plan { routed: &["model"], read: &[], noted: &["contents"], medium };

/// A request to count as its caller sent it.
#[derive(Clone, Debug)]
pub struct CountRequest {
    body: Bytes,
    /// The prompt's tokens.
    pub input: Estimate,
    named: Vec<Named>,
}

impl CountRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub fn try_new(body: Bytes) -> Result<Self, CallError> {
        let scan = Scan::try_new(&body, &PLAN)?;
        let mut input = scan.input;
        let mut named: Vec<Named> = Named::of(&scan, 0).into_iter().collect();
        let wrapped = scan.get("generateContentRequest").or(scan.get("generate_content_request"));
        match wrapped.filter(|request| request.get() != "null") {
            None => scan.require_array("contents")?,
            Some(request) if request.get().starts_with('{') => {
                let within = Scan::try_new(request.get().as_bytes(), &WITHIN)?;
                within.require_array("contents")?;
                input.add(within.input);
                named.extend(Named::of(&within, scan.place(request).start));
            }
            Some(_) => {
                return Err(CallError::bad(
                    "generateContentRequest",
                    "`generateContentRequest` must be an object",
                ));
            }
        }
        input.tokens(FRAME_TOKENS);
        Ok(Self { input, named, body })
    }

    /// The body for a provider that calls the model `upstream_model`.
    pub fn body_for(&self, upstream_model: &str) -> Bytes {
        let edits = self.named.iter().filter_map(|named| named.renamed(upstream_model)).collect();
        body::splice(&self.body, edits)
    }
}

/// The answer that a caller gets.
pub fn answer(total_tokens: u64) -> Bytes {
    format!(r#"{{"totalTokens":{total_tokens}}}"#).into()
}

/// The count in a provider's answer.
pub fn read(answer: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire<'a> {
        #[serde(borrow, alias = "total_tokens")]
        total_tokens: Option<&'a RawValue>,
    }
    let wire: Wire<'_> = serde_json::from_slice(answer).ok()?;
    serde_json::from_str(wire.total_tokens?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Result<CountRequest, CallError> {
        CountRequest::try_new(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn a_prompt_is_counted_alone_and_within_a_request() {
        let contents = format!(r#""contents":[{{"parts":[{{"text":"{}"}}]}}]"#, "word ".repeat(1000));
        let alone = request(&format!("{{{contents}}}")).unwrap();
        let body = format!(r#"{{"generateContentRequest": {{"model":"models/m",{contents}}}}}"#);
        let within = request(&body).unwrap();
        assert!(alone.input.upper() > 1000 && within.input.upper().abs_diff(alone.input.upper()) < 20);
        let sent = String::from_utf8(within.body_for("up").to_vec()).unwrap();
        assert_eq!(sent, body.replace("models/m", "models/up"));
        assert_eq!(answer(7), r#"{"totalTokens":7}"#);
        assert_eq!((read(&answer(7)), read(b"{}"), read(b"[")), (Some(7), None, None));
    }

    #[test]
    fn faults_are_named() {
        for (body, expected) in [
            ("{}", "`contents` is missing"),
            (r#"{"generateContentRequest":{"contents":[]}}"#, "`contents` must not be empty"),
            (r#"{"generateContentRequest":7}"#, "`generateContentRequest` must be an object"),
        ] {
            let error = request(body).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
