//! A request to generate: the few fields that money depends on, and its body as the provider gets it.
//!
//! Claims: every byte that is not a missing cap on the output or the model's name reaches the provider as it came; a
//! field given twice, be it in two spellings, is refused, since two readers could disagree about which one counts.

use super::path::model_name;
use crate::body::{self, Behind, FRAME_TOKENS, MAX_OUTPUT_TOKENS, Medium, Plan, Scan, TOOLS_TOKENS, Walked};
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::openai::request::MAX_CHOICES;
use crate::unpriced::{self, Unpriced};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::ops::Range;

/// What a request's scanner looks for.
const PLAN: Plan = Plan {
    routed: &["model", "generationConfig", "generation_config", "cachedContent", "cached_content"],
    read: &["tools", "serviceTier", "service_tier"],
    noted: &["contents"],
    medium,
};

/// Within `generationConfig`.
const CONFIG: Plan = Plan {
    routed: &["maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count"],
    read: &[],
    noted: &[],
    medium,
};

/// What a string below a key is.
pub(super) fn medium(around: Medium, key: &str) -> Medium {
    match (around, key) {
        (Medium::Text, "inlineData" | "inline_data") | (Medium::Unknown, "data") => Medium::Unknown,
        // The address of media of some kind.
        (Medium::Text, "fileData" | "file_data") => Medium::Linked,
        (Medium::Linked, "fileUri" | "file_uri") => Medium::Far(Behind::Long),
        (Medium::Linked, "mimeType" | "mime_type") => Medium::Told,
        (_, "thoughtSignature" | "thought_signature") => Medium::File,
        _ => Medium::Text,
    }
}

/// A request to generate as its caller sent it.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    body: Bytes,
    /// The model, as the caller names it.
    pub model: String,
    /// As a stream?
    pub stream: bool,
    /// How many candidates.
    pub choices: u64,
    /// The caller's cap on the tokens of one candidate.
    pub max_output: Option<u64>,
    /// The prompt's tokens.
    pub input: Estimate,
    /// What it asks for that no price list covers.
    pub(crate) unpriced: Option<Unpriced>,
    start: usize,
    named: Option<Named>,
    cap: CapPlace,
}

/// Where a body repeats the model that stands in the path.
#[derive(Clone, Debug)]
pub(super) struct Named {
    place: Range<usize>,
    /// Without a prefix; `None`: it is no string.
    name: Option<String>,
}

/// Where the cap goes.
#[derive(Clone, Debug)]
enum CapPlace {
    /// Nowhere: the caller set it.
    Nowhere,
    /// There is no `generationConfig`.
    NoConfig,
    /// It is null.
    NullConfig(Range<usize>),
    /// After its opening brace.
    Within { start: usize, is_empty: bool },
    /// In place of a null.
    InPlaceOf(Range<usize>),
}

/// A field's value under either spelling.
fn either<'a>(
    scan: &Scan<'a>,
    camel: &'static str,
    snake: &'static str,
) -> Result<Option<&'a RawValue>, CallError> {
    match (scan.get(camel), scan.get(snake)) {
        (Some(_), Some(_)) => Err(CallError::BadRequest {
            param: Some(camel),
            code: "duplicate_field",
            message: format!("the field `{camel}` is given twice"),
        }),
        (one, other) => Ok(one.or(other)),
    }
}

impl Named {
    pub(super) fn of(scan: &Scan<'_>, offset: usize) -> Option<Self> {
        let value = scan.get("model")?;
        let place = scan.place(value);
        let name: Option<String> = serde_json::from_str(value.get()).ok();
        Some(Self {
            place: place.start + offset..place.end + offset,
            name: name.map(|name| model_name(&name).to_owned()),
        })
    }

    /// The change that names another model, if it is another one.
    pub(super) fn renamed(&self, upstream_model: &str) -> Option<(Range<usize>, String)> {
        let upstream = model_name(upstream_model);
        (self.name.as_deref() != Some(upstream))
            .then(|| (self.place.clone(), body::json_string(&format!("models/{upstream}"))))
    }
}

impl GenerateRequest {
    /// Reads a request body. The model and whether it is a stream stand in the path.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub fn try_new(body: Bytes, model: &str, stream: bool) -> Result<Self, CallError> {
        let scan = Scan::try_new(&body, &PLAN)?;
        scan.require_array("contents")?;
        let mut input = scan.input;
        input.tokens(FRAME_TOKENS);
        if scan.noted("tools") == Some(Walked::Array) {
            input.tokens(TOOLS_TOKENS);
        }
        if either(&scan, "cachedContent", "cached_content")?
            .is_some_and(|name| !matches!(name.get(), "null" | r#""""#))
        {
            return Err(CallError::BadRequest {
                param: Some("cachedContent"),
                code: "unsupported_parameter",
                message: "`cachedContent` is not supported: a cache belongs to the provider's account, and what it \
                          holds cannot be counted before the call"
                    .into(),
            });
        }
        let (mut choices, mut max_output) = (1, None);
        let cap = match either(&scan, "generationConfig", "generation_config")? {
            None => CapPlace::NoConfig,
            Some(config) if config.get() == "null" => CapPlace::NullConfig(scan.place(config)),
            Some(config) if !config.get().starts_with('{') => {
                return Err(CallError::bad("generationConfig", "`generationConfig` must be an object"));
            }
            Some(config) => {
                let offset = scan.place(config).start;
                let within = Scan::try_new(config.get().as_bytes(), &CONFIG)?;
                // A schema of the answer weighs as well.
                input.add(within.input);
                let count = either(&within, "candidateCount", "candidate_count")?;
                choices = body::whole_number(count, "candidateCount", MAX_CHOICES)?.unwrap_or(1);
                let cap = either(&within, "maxOutputTokens", "max_output_tokens")?;
                max_output = body::whole_number(cap, "maxOutputTokens", MAX_OUTPUT_TOKENS)?;
                match cap {
                    Some(_) if max_output.is_some() => CapPlace::Nowhere,
                    Some(null) => {
                        let place = within.place(null);
                        CapPlace::InPlaceOf(place.start + offset..place.end + offset)
                    }
                    None => CapPlace::Within {
                        start: offset + 1,
                        is_empty: config.get()[1..].trim_start() == "}",
                    },
                }
            }
        };
        Ok(Self {
            model: model.to_owned(),
            stream,
            choices,
            max_output,
            input,
            unpriced: unpriced::in_generate(&scan),
            start: scan.start(),
            named: Named::of(&scan, 0),
            cap,
            body,
        })
    }

    /// The body for a provider that calls the model `upstream_model`; `default_cap` is set where the caller set none.
    pub fn body_for(&self, upstream_model: &str, default_cap: u64) -> Bytes {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        edits.extend(self.named.as_ref().and_then(|named| named.renamed(upstream_model)));
        let cap = format!(r#""maxOutputTokens":{default_cap}"#);
        match &self.cap {
            CapPlace::Nowhere => {}
            CapPlace::NoConfig => {
                edits.push((self.start..self.start, format!(r#""generationConfig":{{{cap}}},"#)));
            }
            CapPlace::NullConfig(null) => edits.push((null.clone(), format!("{{{cap}}}"))),
            CapPlace::Within { start, is_empty } => {
                let comma = if *is_empty { "" } else { "," };
                edits.push((*start..*start, format!("{cap}{comma}")));
            }
            CapPlace::InPlaceOf(null) => edits.push((null.clone(), default_cap.to_string())),
        }
        body::splice(&self.body, edits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn request(body: &str) -> Result<GenerateRequest, CallError> {
        GenerateRequest::try_new(Bytes::copy_from_slice(body.as_bytes()), "m", false)
    }

    fn sent(body: &str) -> String {
        String::from_utf8(request(body).unwrap().body_for("up/\"x", 99).to_vec()).unwrap()
    }

    #[test]
    fn a_body_that_needs_no_change_is_the_same_bytes() {
        let body = Bytes::from_static(
            b" {\"contents\":[ {\"parts\":[]} ],\"generation_config\" : {\"maxOutputTokens\":5, \"x\":1.0e2},\"model\":\"models/u\"}\n",
        );
        let request = GenerateRequest::try_new(body.clone(), "m", true).unwrap();
        assert_eq!(request.body_for("u", 99).as_ptr(), body.as_ptr());
        assert_eq!(
            (request.max_output, request.choices, request.stream, &*request.model),
            (Some(5), 1, true, "m")
        );
    }

    #[test]
    fn only_the_bytes_that_must_change_do() {
        let cases = [
            (r#" { "contents":[1] }"#, r#" {"generationConfig":{"maxOutputTokens":99}, "contents":[1] }"#),
            (
                r#"{"contents":[1],"generationConfig": null }"#,
                r#"{"contents":[1],"generationConfig": {"maxOutputTokens":99} }"#,
            ),
            (
                r#"{"contents":[1],"generationConfig":{ }}"#,
                r#"{"contents":[1],"generationConfig":{"maxOutputTokens":99 }}"#,
            ),
            (
                r#"{"contents":[1],"generation_config":{"topK":1.0}}"#,
                r#"{"contents":[1],"generation_config":{"maxOutputTokens":99,"topK":1.0}}"#,
            ),
            (
                r#"{"contents":[1],"generationConfig":{"topK":2,"max_output_tokens": null}}"#,
                r#"{"contents":[1],"generationConfig":{"topK":2,"max_output_tokens": 99}}"#,
            ),
            (
                r#"{"model":"models/m","contents":[1],"generationConfig":{"maxOutputTokens":5}}"#,
                r#"{"model":"models/up/\"x","contents":[1],"generationConfig":{"maxOutputTokens":5}}"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(sent(body), expected);
            serde_json::from_str::<Value>(expected).unwrap();
        }
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("", "EOF while parsing"),
            ("[]", "must be a JSON object"),
            ("{}", "`contents` is missing"),
            (r#"{"contents":[]}"#, "`contents` must not be empty"),
            (r#"{"contents":{"parts":[]}}"#, "`contents` must be an array"),
            (r#"{"contents":[1],"contents":[2]}"#, "`contents` is given twice"),
            (r#"{"contents":[1],"generationConfig":7}"#, "`generationConfig` must be an object"),
            (
                r#"{"contents":[1],"generationConfig":{},"generation_config":{}}"#,
                "`generationConfig` is given twice",
            ),
            (
                r#"{"contents":[1],"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":9}}"#,
                "`maxOutputTokens` is given twice",
            ),
            (
                r#"{"contents":[1],"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}"#,
                "`maxOutputTokens` is given twice",
            ),
            (
                r#"{"contents":[1],"generationConfig":{"maxOutputTokens":0}}"#,
                "`maxOutputTokens` must be a whole number",
            ),
            (
                r#"{"contents":[1],"generationConfig":{"candidateCount":"2"}}"#,
                "`candidateCount` must be a whole number",
            ),
            (r#"{"contents":[1],"cached_content":"cachedContents/x"}"#, "`cachedContent` is not supported"),
        ];
        for (body, expected) in cases {
            let error = request(body).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
        request(r#"{"contents":[1],"cachedContent":null,"unknown":{"a":[1]}}"#).unwrap();
    }

    #[test]
    fn candidates_are_counted() {
        assert_eq!(
            request(r#"{"contents":[1],"generationConfig":{"candidate_count":3}}"#).unwrap().choices,
            3
        );
    }

    fn weight(body: &str) -> u64 {
        request(body).unwrap().input.upper()
    }

    #[test]
    fn media_weighs_by_what_it_is_and_text_by_its_length() {
        let data = "A".repeat(40_000);
        let inline = |start: &str| {
            weight(&format!(
                r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"x/y","data":"{start}{data}"}}}}]}}]}}"#
            ))
        };
        // Images have a fixed weight, also in the alphabet for URLs.
        assert!((5_000..5_200).contains(&inline("iVBORw0KGgo")));
        assert!((5_000..5_200).contains(&inline("_9j_4AAQ")));
        assert!((10_000..10_300).contains(&inline("JVBERi0xLjcK")));
        assert!((150..500).contains(&inline("SUQzBAAAAAAA")));
        let address = |more: &str| {
            weight(&format!(
                r#"{{"contents":[{{"parts":[{{"fileData":{{"fileUri":"gs://a/b"{more}}}}}]}}]}}"#
            ))
        };
        assert!((5_000..5_200).contains(&address(r#","mimeType":"image/png""#)));
        assert!((262_144..262_400).contains(&address(r#","mime_type":"application/pdf""#)));
        assert!((1_048_576..1_048_800).contains(&address(r#","mimeType":"video/mp4""#)));
        assert!((1_048_576..1_048_800).contains(&address("")));
        let signed = |size: usize| {
            weight(&format!(
                r#"{{"contents":[{{"parts":[{{"text":"a","thought_signature":"{}"}}]}}]}}"#,
                "aB3".repeat(size / 3)
            ))
        };
        assert!((900..1_100).contains(&(signed(4_000) - signed(0))));
    }

    #[test]
    fn tools_and_a_schema_of_the_answer_weigh() {
        let bare = weight(r#"{"contents":[1]}"#);
        assert!(weight(r#"{"contents":[1],"tools":[{"googleSearch":{}}]}"#) >= bare + TOOLS_TOKENS);
        let schema = format!(
            r#"{{"contents":[1],"generationConfig":{{"responseJsonSchema":{{"description":"{}"}}}}}}"#,
            "word ".repeat(1000)
        );
        assert!(weight(&schema) > bare + 900);
    }
}
