//! A chat request: the few fields that money and routing depend on, and its body as the provider gets it.
//!
//! Claims: every byte that is not the model's name, `stream_options.include_usage` or a missing cap on the output, or the
//! name of a cap that the provider may not know, reaches the provider as it came; a field given twice is refused, since
//! two readers could disagree about which one counts.

use super::include_usage::UsagePlace;
use crate::body::{self, Behind, FRAME_TOKENS, MAX_OUTPUT_TOKENS, Medium, Plan, Scan, TOOLS_TOKENS, Walked};
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::unpriced::{self, Unpriced};
use bytes::Bytes;
use std::ops::Range;

/// The most choices a call may ask for.
pub const MAX_CHOICES: u64 = 128;

/// What a chat request's scanner looks for.
const PLAN: Plan = Plan {
    routed: &["model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"],
    read: &["tools", "service_tier", "web_search_options", "search_parameters", "enable_search", "plugins"],
    noted: &["messages", "functions"],
    medium: |around, key| match (around, key) {
        (Medium::Text, "image_url") | (Medium::Image, "url") => Medium::Image,
        (Medium::Text, "input_audio") | (Medium::Audio, "data") => Medium::Audio,
        (Medium::Text, "file") | (Medium::File, "file_data") => Medium::File,
        (Medium::File, "file_id") => Medium::Far(Behind::Document),
        _ => Medium::Text,
    },
};

/// A chat request as its caller sent it.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    body: Bytes,
    /// The model, as the caller names it.
    pub model: String,
    /// As a stream?
    pub stream: bool,
    /// Did the caller ask for the usage at the end of the stream?
    pub wants_usage: bool,
    /// How many choices.
    pub choices: u64,
    /// The caller's cap on the tokens of one choice.
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
    usage: UsagePlace,
    max_tokens: Option<Range<usize>>,
    max_completion_tokens: Option<Range<usize>>,
}

/// Under which name a provider takes the cap on the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapField {
    /// `max_tokens`: every provider but OpenAI knows it.
    MaxTokens,
    /// `max_completion_tokens`: OpenAI's newer models refuse the old name.
    MaxCompletionTokens,
}

impl CapField {
    fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

impl ChatRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub fn try_new(body: Bytes) -> Result<Self, CallError> {
        let scan = Scan::try_new(&body, &PLAN)?;
        let model = scan.get("model").ok_or_else(|| body::missing("model"))?;
        let name: String = body::parse(Some(model), "model", "a string")?;
        let stream = body::parse::<Option<bool>>(scan.get("stream"), "stream", "a boolean")?.unwrap_or(false);
        scan.require_array("messages")?;
        let choices = body::whole_number(scan.get("n"), "n", MAX_CHOICES)?.unwrap_or(1);
        let cap = |field| body::whole_number(scan.get(field), field, MAX_OUTPUT_TOKENS);
        let (max_tokens, max_completion_tokens) = (cap("max_tokens")?, cap("max_completion_tokens")?);
        let (wants_usage, usage) = UsagePlace::of(&scan, stream)?;
        let mut input = scan.input;
        input.tokens(FRAME_TOKENS);
        for field in ["tools", "functions"] {
            if scan.noted(field) == Some(Walked::Array) {
                input.tokens(TOOLS_TOKENS);
            }
        }
        let place = |field| scan.get(field).map(|value| scan.place(value));
        let places = Places {
            start: scan.start(),
            model: scan.place(model),
            usage,
            max_tokens: place("max_tokens"),
            max_completion_tokens: place("max_completion_tokens"),
        };
        Ok(Self {
            model: name,
            stream,
            wants_usage,
            choices,
            // A caller may give both names; which one its provider heeds is not known, so the larger one counts.
            max_output: max_tokens.max(max_completion_tokens),
            input,
            unpriced: unpriced::in_chat(&scan),
            places,
            body,
        })
    }

    /// The body for a provider that calls the model `upstream_model`; `cap` is set where the caller set none. A cap under the
    /// newer name is renamed for who may know only the older one, and would give an answer without any.
    pub fn body_for(&self, upstream_model: &str, field: CapField, cap: u64) -> Bytes {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        if upstream_model != self.model {
            edits.push((self.places.model.clone(), body::json_string(upstream_model)));
        }
        edits.extend(self.cap(field, cap));
        edits.extend(self.places.usage.edit(self.places.start));
        body::splice(&self.body, edits)
    }

    /// What puts the cap where the provider looks for it. Both names at once are refused by some providers.
    fn cap(&self, field: CapField, cap: u64) -> Vec<(Range<usize>, String)> {
        let places = &self.places;
        let is_set = |place: &Option<Range<usize>>| {
            place.clone().is_some_and(|value| self.body.get(value).is_some_and(|text| text != b"null"))
        };
        let start = places.start..places.start;
        let put = |place: &Option<Range<usize>>, cap: u64| match place {
            // The caller wrote null.
            Some(null) => (null.clone(), cap.to_string()),
            None => (start, format!("\"{}\":{cap},", field.name())),
        };
        match (field, &places.max_tokens, &places.max_completion_tokens) {
            (CapField::MaxTokens, own, _) if is_set(own) => Vec::new(),
            // OpenAI heeds either name, or refuses the older one.
            (CapField::MaxCompletionTokens, older, own) if is_set(older) || is_set(own) => Vec::new(),
            (CapField::MaxCompletionTokens, _, own) => vec![put(own, cap)],
            (CapField::MaxTokens, own, Some(newer)) if is_set(&Some(newer.clone())) => {
                let asked = self.max_output.unwrap_or(cap);
                match (own, self.key_of(newer)) {
                    (None, Some(key)) => vec![(key, format!("\"{}\"", field.name()))],
                    _ => vec![put(own, asked), (newer.clone(), "null".into())],
                }
            }
            (CapField::MaxTokens, own, _) => vec![put(own, cap)],
        }
    }

    /// Where the key of a value stands, quotes and all.
    fn key_of(&self, value: &Range<usize>) -> Option<Range<usize>> {
        let before = self.body.get(..value.start)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
        let name = before.strip_suffix(b"\"")?;
        // The key says one of our names, perhaps with escapes: none of them is a quote.
        Some(memchr::memrchr(b'"', name)?..before.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(body: &str) -> Result<ChatRequest, CallError> {
        ChatRequest::try_new(Bytes::copy_from_slice(body.as_bytes()))
    }

    fn chat(fields: &str) -> Result<ChatRequest, CallError> {
        request(&format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{fields}}}"#))
    }

    fn sent(request: &ChatRequest, upstream: &str) -> String {
        let body = request.body_for(upstream, CapField::MaxTokens, 99);
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn a_body_that_needs_no_change_is_the_same_bytes() {
        let body = Bytes::from_static(
            b" {\n \"messages\":[ {\"role\":\"user\"} ], \"model\" : \"m\",\"max_tokens\":5,\"x\":1.0e2}\n",
        );
        let request = ChatRequest::try_new(body.clone()).unwrap();
        assert_eq!(request.body_for("m", CapField::MaxTokens, 99).as_ptr(), body.as_ptr());
    }

    #[test]
    fn only_the_bytes_that_must_change_do() {
        let cases = [
            // model
            (
                r#"{"model" : "m","messages":[1],"max_tokens":5}"#,
                r#"{"model" : "up/\"x","messages":[1],"max_tokens":5}"#,
            ),
            (
                r#"{"max_tokens":5,"messages":[1],"m\u006fdel":"\u006d"}"#,
                r#"{"max_tokens":5,"messages":[1],"m\u006fdel":"up/\"x"}"#,
            ),
            // the cap
            (r#" { "model":"m","messages":[1] }"#, r#" {"max_tokens":99, "model":"up/\"x","messages":[1] }"#),
            (
                r#"{"max_tokens": null ,"model":"m","messages":[1]}"#,
                r#"{"max_tokens": 99 ,"model":"up/\"x","messages":[1]}"#,
            ),
            (
                r#"{"model":"m","messages":[1],"max_completion_tokens":7}"#,
                r#"{"model":"up/\"x","messages":[1],"max_tokens":7}"#,
            ),
            (
                r#"{"max_completion_tok\u0065ns" : 7,"model":"m","messages":[1]}"#,
                r#"{"max_tokens" : 7,"model":"up/\"x","messages":[1]}"#,
            ),
            (
                r#"{"max_tokens":null,"model":"m","messages":[1],"max_completion_tokens":7}"#,
                r#"{"max_tokens":7,"model":"up/\"x","messages":[1],"max_completion_tokens":null}"#,
            ),
            (
                r#"{"max_completion_tokens":null,"model":"m","messages":[1]}"#,
                r#"{"max_tokens":99,"max_completion_tokens":null,"model":"up/\"x","messages":[1]}"#,
            ),
            // the usage of a stream
            (
                r#"{"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":null,"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{ },"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true },"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_obfuscation":false},"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage": false},"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage": true},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage":null},"model":"m","messages":[1],"max_tokens":5,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"up/\"x","messages":[1],"max_tokens":5,"stream":true}"#,
            ),
            // both at the start, in one body
            (
                r#"{"model":"m","messages":["{\"model\":1}"],"stream":true}"#,
                r#"{"max_tokens":99,"stream_options":{"include_usage":true},"model":"up/\"x","messages":["{\"model\":1}"],"stream":true}"#,
            ),
        ];
        for (body, expected) in cases {
            let sent = sent(&request(body).unwrap(), "up/\"x");
            assert_eq!(sent, expected);
            serde_json::from_str::<Value>(&sent).unwrap();
        }
    }

    #[test]
    fn a_caller_that_asks_for_the_usage_is_remembered() {
        assert!(chat(r#","stream":true,"stream_options":{"include_usage":true}"#).unwrap().wants_usage);
        assert!(!chat(r#","stream":true,"stream_options":{"include_usage":false}"#).unwrap().wants_usage);
        assert!(!chat(r#","stream":true"#).unwrap().wants_usage);
    }

    #[test]
    fn a_call_that_is_no_stream_keeps_its_options() {
        let request = chat(r#","max_tokens":5,"stream_options":null"#).unwrap();
        assert!(sent(&request, "m").contains(r#""stream_options":null"#));
    }

    #[test]
    fn openais_own_name_of_the_cap_is_used_where_asked() {
        let body = chat(r#","max_tokens":null"#).unwrap().body_for("m", CapField::MaxCompletionTokens, 7);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["max_completion_tokens"], &body["max_tokens"]), (&json!(7), &Value::Null));
    }

    #[test]
    fn openai_itself_gets_the_cap_under_the_name_that_its_caller_used() {
        for cap in ["max_tokens", "max_completion_tokens"] {
            let body = format!(r#"{{"model":"m","messages":[1],"{cap}":5}}"#);
            let sent = request(&body).unwrap().body_for("m", CapField::MaxCompletionTokens, 7);
            assert_eq!(sent, body.as_bytes(), "{cap}");
        }
    }

    #[test]
    fn of_two_caps_the_larger_counts() {
        assert_eq!(chat(r#","max_tokens":5,"max_completion_tokens":9"#).unwrap().max_output, Some(9));
        assert_eq!(chat("").unwrap().max_output, None);
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("", "EOF while parsing"),
            ("{", "EOF while parsing"),
            ("[]", "must be a JSON object"),
            ("\"secret\"", "must be a JSON object"),
            (r#"{"model":"m"} x"#, "trailing characters"),
            (r#"{"messages":[1]}"#, "`model` is missing"),
            (r#"{"model":null,"messages":[1]}"#, "`model` must be a string"),
            (r#"{"model":["m"],"messages":[1]}"#, "`model` must be a string"),
            (r#"{"model":"m"}"#, "`messages` is missing"),
            (r#"{"model":"m","messages":[]}"#, "`messages` must not be empty"),
            (r#"{"model":"m","messages":"hi"}"#, "`messages` must be an array"),
            (r#"{"model":"m","messages":[1],"stream":"yes"}"#, "`stream` must be a boolean"),
            (r#"{"model":"m","messages":[1],"n":0}"#, "`n` must be a whole number from 1 to 128"),
            (r#"{"model":"m","messages":[1],"n":129}"#, "`n` must be"),
            (r#"{"model":"m","messages":[1],"max_tokens":0}"#, "`max_tokens` must be a whole number"),
            (r#"{"model":"m","messages":[1],"max_tokens":-1}"#, "`max_tokens` must be"),
            (r#"{"model":"m","messages":[1],"max_tokens":1.5}"#, "`max_tokens` must be"),
            (r#"{"model":"m","messages":[1],"max_tokens":"9"}"#, "`max_tokens` must be"),
            (r#"{"model":"m","messages":[1],"max_completion_tokens":2000001}"#, "from 1 to 2000000"),
            (r#"{"model":"m","messages":[1],"stream_options":[]}"#, "`stream_options` must be an object"),
            (
                r#"{"model":"m","messages":[1],"stream_options":{"include_usage":1}}"#,
                "`include_usage` must be a boolean",
            ),
            (
                r#"{"model":"m","messages":[1],"stream_options":{"include_usage":true,"include_usage":false}}"#,
                "`stream_options` must be",
            ),
            (r#"{"model":"m","model":"x","messages":[1]}"#, "`model` is given twice"),
            (r#"{"model":"m","mod\u0065l":"x","messages":[1]}"#, "`model` is given twice"),
            (
                r#"{"model":"m","messages":[1],"max_tokens":1,"max_tokens":900}"#,
                "`max_tokens` is given twice",
            ),
            (r#"{"model":"m","messages":[1],"messages":[2]}"#, "`messages` is given twice"),
        ];
        for (body, fault) in cases {
            let error = request(body).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.to_string().contains(fault), "{body}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
        assert!(ChatRequest::try_new(Bytes::from_static(b"{\"model\":\"\xff\"}")).is_err());
    }

    #[test]
    fn depth_and_the_number_of_fields_are_bounded() {
        let deep = format!(r#"{{"model":"m","messages":[{}{}]}}"#, "[".repeat(500), "]".repeat(500));
        assert!(request(&deep).unwrap_err().to_string().contains("recursion limit"));
        let many: String = (0..200).map(|i| format!(r#","f{i}":1"#)).collect();
        assert!(chat(&many).unwrap_err().to_string().contains("more than 128 fields"));
    }

    #[test]
    fn images_audio_and_files_do_not_weigh_as_text() {
        let data = "A".repeat(400_000);
        let weigh = |part: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
            request(&body).unwrap().input.upper()
        };
        let image =
            weigh(&format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#));
        assert!((5_000..5_100).contains(&image), "{image}");
        let audio =
            weigh(&format!(r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"wav"}}}}"#));
        assert!((1_500..1_700).contains(&audio), "{audio}");
        let file = weigh(&format!(r#"{{"type":"file","file":{{"filename":"a.pdf","file_data":"{data}"}}}}"#));
        assert!((100_000..100_200).contains(&file), "{file}");
        let kept = weigh(r#"{"type":"file","file":{"file_id":"file-1"}}"#);
        assert!((262_144..262_300).contains(&kept), "{kept}");
        assert!(weigh(&format!(r#"{{"type":"text","text":"{data}"}}"#)) > 100_000);
    }

    #[test]
    fn everything_that_can_become_prompt_weighs() {
        let plain = chat("").unwrap().input.upper();
        let tool = r#","tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}]"#;
        assert!(chat(tool).unwrap().input.upper() > plain + TOOLS_TOKENS);
        let schema =
            r#","response_format":{"type":"json_schema","json_schema":{"name":"long_name_of_a_schema"}}"#;
        assert!(chat(schema).unwrap().input.upper() > plain + 15);
        let escaped = r#","system":"\u4e2d\u6587\u4e2d\u6587""#;
        assert!(chat(escaped).unwrap().input.upper() >= plain + 4);
    }
}
