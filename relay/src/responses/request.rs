//! A request of Responses: the few fields that money and routing depend on, and its body as the provider gets it.
//!
//! Claims: every byte that is not the model's name or a missing cap on the output reaches the provider as it came; a
//! field given twice is refused.

use crate::body::{self, Behind, FRAME_TOKENS, MAX_OUTPUT_TOKENS, Medium, Plan, Scan, TOOLS_TOKENS, Walked};
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::unpriced::{self, Unpriced};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::ops::Range;

const PLAN: Plan = Plan {
    routed: &[
        "model",
        "stream",
        "max_output_tokens",
        "previous_response_id",
        "conversation",
        "prompt",
        "background",
    ],
    read: &["tools", "service_tier"],
    noted: &["input"],
    medium: |around, key| match (around, key) {
        (Medium::Text, "image_url") | (Medium::Image, "url") => Medium::Image,
        (Medium::Text, "input_audio") | (Medium::Audio, "data") => Medium::Audio,
        // Sealed thoughts weigh about as much as a document of their length.
        (Medium::Text, "file_data" | "encrypted_content") => Medium::File,
        // What lies behind an address or an id, the part around it tells.
        (Medium::Text, "file_url" | "file_id") => Medium::Far(Behind::Document),
        (Medium::Text, "type") => Medium::Told,
        // A picture that was drawn before.
        (Medium::Text, "result") => Medium::Unknown,
        _ => Medium::Text,
    },
};

/// A request of Responses as its caller sent it.
#[derive(Clone, Debug)]
pub struct ResponsesRequest {
    body: Bytes,
    /// The model, as the caller names it.
    pub model: String,
    /// As a stream?
    pub stream: bool,
    /// How many answers: always one.
    pub choices: u64,
    /// The caller's cap on the answer's tokens.
    pub max_output: Option<u64>,
    /// The tokens of the prompt, as far as it is in the body.
    pub input: Estimate,
    /// The answer that this one goes on from, kept at the provider. Its text is prompt again, and is not in `input`.
    pub previous_response_id: Option<String>,
    /// Does it go on with a conversation that the provider keeps? Its text is not in `input` either.
    pub has_conversation: bool,
    /// Does it use a prompt that is kept at the provider?
    pub has_kept_prompt: bool,
    /// Does its input refer to items that the provider keeps?
    pub has_references: bool,
    /// Is it to be answered later, on another request? Its counts would come there, where nobody meters.
    pub is_background: bool,
    /// What it asks for that no price list covers.
    pub(crate) unpriced: Option<Unpriced>,
    start: usize,
    model_place: Range<usize>,
    cap_place: Option<Range<usize>>,
}

impl ResponsesRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub fn try_new(body: Bytes) -> Result<Self, CallError> {
        let scan = Scan::try_new(&body, &PLAN)?;
        let model = scan.get("model").ok_or_else(|| body::missing("model"))?;
        let name: String = body::parse(Some(model), "model", "a string")?;
        let flag = |field| body::parse::<Option<bool>>(scan.get(field), field, "a boolean");
        let previous_response_id = body::parse::<Option<String>>(
            scan.get("previous_response_id"),
            "previous_response_id",
            "a string",
        )?;
        let cap = scan.get("max_output_tokens");
        let has_kept_prompt = scan.get("prompt").is_some_and(|it| it.get() != "null");
        let has_references = scan.noted("input") == Some(Walked::Array) && has_references(&body);
        let has_conversation = scan.get("conversation").is_some_and(|it| it.get() != "null");
        if scan.noted("input").is_none()
            && previous_response_id.is_none()
            && !has_conversation
            && !has_kept_prompt
        {
            return Err(body::missing("input"));
        }
        let mut input = scan.input;
        input.tokens(FRAME_TOKENS);
        if scan.noted("tools") == Some(Walked::Array) {
            input.tokens(TOOLS_TOKENS);
        }
        Ok(Self {
            model: name,
            stream: flag("stream")?.unwrap_or(false),
            choices: 1,
            max_output: body::whole_number(cap, "max_output_tokens", MAX_OUTPUT_TOKENS)?,
            input,
            previous_response_id,
            has_conversation,
            has_kept_prompt,
            has_references,
            is_background: flag("background")?.unwrap_or(false),
            unpriced: unpriced::in_responses(&scan),
            start: scan.start(),
            model_place: scan.place(model),
            cap_place: cap.map(|value: &RawValue| scan.place(value)),
            body,
        })
    }

    /// The field by which it refers to what a provider keeps, if one does.
    pub fn kept(&self) -> Option<&'static str> {
        [
            (self.previous_response_id.is_some(), "previous_response_id"),
            (self.has_conversation, "conversation"),
            (self.has_kept_prompt, "prompt"),
            (self.has_references, "input"),
        ]
        .into_iter()
        .find_map(|(is_there, field)| is_there.then_some(field))
    }

    /// The body for a provider that calls the model `upstream_model`; `cap` is set where the caller set none.
    pub fn body_for(&self, upstream_model: &str, cap: u64) -> Bytes {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        if upstream_model != self.model {
            edits.push((self.model_place.clone(), body::json_string(upstream_model)));
        }
        if self.max_output.is_none() {
            edits.push(match &self.cap_place {
                // The caller wrote null.
                Some(null) => (null.clone(), cap.to_string()),
                None => (self.start..self.start, format!("\"max_output_tokens\":{cap},")),
            });
        }
        body::splice(&self.body, edits)
    }
}

/// Does an item of the input only name one that the provider keeps? It has an id and no other field but perhaps its type.
fn has_references(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Given<'a> {
        #[serde(borrow)]
        input: Vec<&'a RawValue>,
    }
    type Fields<'a> = std::collections::BTreeMap<std::borrow::Cow<'a, str>, &'a RawValue>;
    let is_reference = |item: &RawValue| {
        serde_json::from_str::<Fields<'_>>(item.get()).is_ok_and(|fields| {
            let is = |kind: &str| fields.get("type").is_some_and(|it| it.get().trim_matches('"') == kind);
            is("item_reference")
                || fields.contains_key("id") && fields.keys().all(|key| matches!(key.as_ref(), "id" | "type"))
        })
    };
    serde_json::from_slice::<Given<'_>>(body).is_ok_and(|given| given.input.into_iter().any(is_reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> Result<ResponsesRequest, CallError> {
        ResponsesRequest::try_new(Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn only_the_bytes_that_must_change_do() {
        let cases = [
            (r#"{"model":"m", "input":"hi"}"#, r#"{"max_output_tokens":99,"model":"up", "input":"hi"}"#),
            (
                r#"{"input":[1],"max_output_tokens":null,"model":"m"}"#,
                r#"{"input":[1],"max_output_tokens":99,"model":"up"}"#,
            ),
            (
                r#"{"input":"{\"model\":\"m\"}","max_output_tokens":5,"model":"m","stream":true}"#,
                r#"{"input":"{\"model\":\"m\"}","max_output_tokens":5,"model":"up","stream":true}"#,
            ),
        ];
        for (body, expected) in cases {
            let sent = request(body).unwrap().body_for("up", 99);
            assert_eq!(sent, expected);
        }
        let body = Bytes::from_static(br#"{"model":"m","input":"hi","max_output_tokens":5}"#);
        let request = ResponsesRequest::try_new(body.clone()).unwrap();
        assert_eq!(request.body_for("m", 99).as_ptr(), body.as_ptr());
    }

    #[test]
    fn what_only_its_provider_has_is_noted() {
        let plain = request(r#"{"model":"m","input":"hi","conversation":null,"background":false}"#).unwrap();
        assert!(plain.kept().is_none() && !plain.is_background && !plain.stream);
        for (kept, field) in [
            (r#""previous_response_id":"resp_1""#, "previous_response_id"),
            (r#""conversation":"conv_1""#, "conversation"),
            (r#""prompt":{"id":"pmpt_1"}"#, "prompt"),
            (r#""input":[{"role":"user","content":"x"},{"type":"item_reference","id":"msg_1"}]"#, "input"),
            (r#""input":[{"id":"msg_1"}]"#, "input"),
        ] {
            assert_eq!(request(&format!(r#"{{"model":"m",{kept}}}"#)).unwrap().kept(), Some(field));
        }
        let whole = r#"{"model":"m","prompt":null,"input":[{"id":"msg_1","type":"message","role":"user","content":"x"}]}"#;
        assert_eq!(request(whole).unwrap().kept(), None);
        assert!(request(r#"{"model":"m","input":"hi","background":true}"#).unwrap().is_background);
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            (r#"{"input":"hi"}"#, "`model` is missing"),
            (r#"{"model":"m"}"#, "`input` is missing"),
            (r#"{"model":"m","input":"x","stream":1}"#, "`stream` must be a boolean"),
            (r#"{"model":"m","input":"x","max_output_tokens":0}"#, "`max_output_tokens` must be"),
            (r#"{"model":"m","input":"x","previous_response_id":7}"#, "`previous_response_id` must be"),
            (r#"{"model":"m","input":"x","input":"y"}"#, "`input` is given twice"),
        ];
        for (body, fault) in cases {
            let error = request(body).unwrap_err().to_string();
            assert!(error.contains(fault), "{body}: {error}");
        }
    }

    #[test]
    fn media_do_not_weigh_as_text() {
        let data = "A".repeat(400_000);
        let weigh = |part: &str| {
            let body = format!(r#"{{"model":"m","input":[{{"role":"user","content":[{part}]}}]}}"#);
            request(&body).unwrap().input.upper()
        };
        let image = weigh(&format!(r#"{{"type":"input_image","image_url":"data:image/png;base64,{data}"}}"#));
        assert!((5_000..5_100).contains(&image), "{image}");
        let file = weigh(&format!(r#"{{"type":"input_file","filename":"a.pdf","file_data":"{data}"}}"#));
        assert!((100_000..100_200).contains(&file), "{file}");
        for address in [r#""file_url":"https://x/y""#, r#""file_id":"file-1""#] {
            let file = weigh(&format!(r#"{{"type":"input_file",{address}}}"#));
            assert!((262_144..262_300).contains(&file), "{file}");
        }
        let image = weigh(r#"{"type":"input_image","file_id":"file-1"}"#);
        assert!((5_000..5_100).contains(&image), "{image}");
        let drawn = weigh(&format!(r#"{{"type":"image_generation_call","result":"iVBOR{data}"}}"#));
        assert!((5_000..5_100).contains(&drawn), "{drawn}");
    }
}
