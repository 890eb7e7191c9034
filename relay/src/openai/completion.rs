//! A request of the older completions (`/v1/completions`): a prompt without roles, continued.
//!
//! For: the few fields that money and routing depend on, and its body as the provider gets it. It is never converted:
//! only providers that speak it can be asked.
//! Claims: as in [`super::request`]; besides, every answer that may be generated is counted: one per prompt, times the
//! larger of `n` and `best_of`.

use super::include_usage::UsagePlace;
use super::request::MAX_CHOICES;
use crate::body::{self, FRAME_TOKENS, MAX_OUTPUT_TOKENS, Medium, Plan, Scan};
use crate::error::CallError;
use crate::estimate::Estimate;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::ops::Range;

/// The cap that the API documents for requests without one. Some servers go on without end instead, so it is written.
const DOCUMENTED_CAP: u64 = 16;

/// The most prompts a request may hold.
const MAX_PROMPTS: u64 = 2048;

const PLAN: Plan = Plan {
    routed: &["model", "prompt", "stream", "stream_options", "max_tokens", "n", "best_of"],
    read: &[],
    noted: &[],
    medium: |_, _| Medium::Text,
};

/// A request of the older completions as its caller sent it.
#[derive(Clone, Debug)]
pub struct CompletionRequest {
    body: Bytes,
    /// The model, as the caller names it.
    pub model: String,
    /// As a stream?
    pub stream: bool,
    /// Did the caller ask for the usage at the end of the stream?
    pub wants_usage: bool,
    /// How many answers are generated, whether the caller sees them or not.
    pub choices: u64,
    /// The cap on the tokens of one answer; what the API documents where the caller set none. May be zero.
    pub max_output: Option<u64>,
    /// The tokens of all prompts.
    pub input: Estimate,
    start: usize,
    model_place: Range<usize>,
    usage: UsagePlace,
    /// Where the missing cap goes: over a null, or nowhere yet.
    cap: Option<Option<Range<usize>>>,
}

impl CompletionRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub fn try_new(body: Bytes) -> Result<Self, CallError> {
        let scan = Scan::try_new(&body, &PLAN)?;
        let model = scan.get("model").ok_or_else(|| body::missing("model"))?;
        let name: String = body::parse(Some(model), "model", "a string")?;
        let stream = body::parse::<Option<bool>>(scan.get("stream"), "stream", "a boolean")?.unwrap_or(false);
        let prompt = scan.get("prompt").ok_or_else(|| body::missing("prompt"))?;
        let prompts: Prompts = body::parse(
            Some(prompt),
            "prompt",
            "a string, an array of strings, or one or more arrays of token numbers",
        )?;
        if !(1..=MAX_PROMPTS).contains(&prompts.count) {
            return Err(CallError::bad(
                "prompt",
                format!("`prompt` must hold from 1 to {MAX_PROMPTS} prompts"),
            ));
        }
        let times = |field| body::whole_number(scan.get(field), field, MAX_CHOICES);
        let each = times("n")?.max(times("best_of")?).unwrap_or(1);
        let cap = scan.get("max_tokens");
        let expected = format!("a whole number from 0 to {MAX_OUTPUT_TOKENS}");
        let max_output = body::parse::<Option<u64>>(cap, "max_tokens", &expected)?;
        if max_output.is_some_and(|cap| cap > MAX_OUTPUT_TOKENS) {
            return Err(CallError::bad("max_tokens", format!("`max_tokens` must be {expected}")));
        }
        let (wants_usage, usage) = UsagePlace::of(&scan, stream)?;
        let mut input = prompts.input;
        // What is beside the prompt, such as a suffix.
        input.tokens(scan.input.upper().saturating_add(FRAME_TOKENS));
        Ok(Self {
            model: name,
            stream,
            wants_usage,
            choices: prompts.count.saturating_mul(each),
            max_output: max_output.or(Some(DOCUMENTED_CAP)),
            input,
            start: scan.start(),
            model_place: scan.place(model),
            usage,
            cap: max_output.is_none().then(|| cap.map(|null| scan.place(null))),
            body,
        })
    }

    /// The body for a provider that calls the model `upstream_model`.
    pub fn body_for(&self, upstream_model: &str) -> Bytes {
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        if upstream_model != self.model {
            edits.push((self.model_place.clone(), body::json_string(upstream_model)));
        }
        match &self.cap {
            None => {}
            Some(Some(null)) => edits.push((null.clone(), DOCUMENTED_CAP.to_string())),
            Some(None) => {
                edits.push((self.start..self.start, format!("\"max_tokens\":{DOCUMENTED_CAP},")));
            }
        }
        edits.extend(self.usage.edit(self.start));
        body::splice(&self.body, edits)
    }
}

/// One prompt or several, in text or in numbers of tokens.
#[derive(Default)]
struct Prompts {
    count: u64,
    input: Estimate,
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outer;

        impl<'de> Visitor<'de> for Outer {
            type Value = Prompts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("prompts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Prompts, E> {
                let mut prompts = Prompts { count: 1, ..Prompts::default() };
                prompts.input.text(text);
                Ok(prompts)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prompts, A::Error> {
                let mut prompts = Prompts::default();
                let mut is_tokens = None;
                while let Some(element) = seq.next_element::<Element>()? {
                    let is_token = matches!(element, Element::Token);
                    if *is_tokens.get_or_insert(is_token) != is_token {
                        return Err(A::Error::custom("mixed"));
                    }
                    match element {
                        Element::Token => {
                            prompts.count = 1;
                            prompts.input.tokens(1);
                        }
                        Element::Prompt(input) => {
                            prompts.count += 1;
                            prompts.input.tokens(input.upper() + 1);
                        }
                    }
                }
                Ok(prompts)
            }
        }

        deserializer.deserialize_any(Outer)
    }
}

enum Element {
    /// A token of the one prompt.
    Token,
    /// A whole prompt.
    Prompt(Estimate),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Inner;

        impl<'de> Visitor<'de> for Inner {
            type Value = Element;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a prompt")
            }

            fn visit_u64<E>(self, _token: u64) -> Result<Element, E> {
                Ok(Element::Token)
            }

            fn visit_str<E>(self, text: &str) -> Result<Element, E> {
                let mut input = Estimate::default();
                input.text(text);
                Ok(Element::Prompt(input))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Element, A::Error> {
                let mut input = Estimate::default();
                while seq.next_element::<u64>()?.is_some() {
                    input.tokens(1);
                }
                Ok(Element::Prompt(input))
            }
        }

        deserializer.deserialize_any(Inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &str) -> Result<CompletionRequest, CallError> {
        CompletionRequest::try_new(format!(r#"{{"model":"m",{fields}}}"#).into())
    }

    #[test]
    fn every_answer_that_may_be_generated_is_counted() {
        let cases = [
            (r#""prompt":"a""#, 1),
            (r#""prompt":["a"]"#, 1),
            (r#""prompt":["a","b","c"]"#, 3),
            (r#""prompt":[1,2,3]"#, 1),
            (r#""prompt":[[1,2],[3]]"#, 2),
            (r#""prompt":["a","b"],"n":2"#, 4),
            (r#""prompt":["a","b"],"n":2,"best_of":5"#, 10),
            (r#""prompt":"a","best_of":null"#, 1),
        ];
        for (fields, choices) in cases {
            assert_eq!(request(fields).unwrap().choices, choices, "{fields}");
        }
    }

    #[test]
    fn a_token_weighs_as_one_and_a_suffix_weighs() {
        let tokens = |count: usize| {
            let prompt = vec!["100257"; count].join(",");
            request(&format!(r#""prompt":[{prompt}]"#)).unwrap().input.upper()
        };
        assert_eq!(tokens(1001) - tokens(1), 1000);
        let plain = request(r#""prompt":"a""#).unwrap().input.upper();
        let suffixed = request(r#""prompt":"a","suffix":"one two three four""#).unwrap().input.upper();
        assert!(suffixed > plain + 3);
    }

    #[test]
    fn a_missing_cap_is_the_documented_one_and_written() {
        let sent = |fields: &str, model: &str| {
            let request = request(fields).unwrap();
            (request.max_output, String::from_utf8(request.body_for(model).to_vec()).unwrap())
        };
        let (cap, body) = sent(r#""prompt":"a""#, "m");
        assert_eq!((cap, body.as_str()), (Some(16), r#"{"max_tokens":16,"model":"m","prompt":"a"}"#));
        let (cap, body) = sent(r#""prompt":"a","max_tokens":null"#, "up");
        assert_eq!((cap, body.as_str()), (Some(16), r#"{"model":"up","prompt":"a","max_tokens":16}"#));
        let (cap, body) = sent(r#""prompt":"a","max_tokens":0,"stream":true"#, "m");
        assert_eq!(cap, Some(0));
        assert_eq!(
            body,
            r#"{"stream_options":{"include_usage":true},"model":"m","prompt":"a","max_tokens":0,"stream":true}"#
        );
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            (r#""x":1"#, "`prompt` is missing"),
            (r#""prompt":null"#, "`prompt` must be a string"),
            (r#""prompt":[]"#, "from 1 to 2048 prompts"),
            (r#""prompt":[1,"a"]"#, "`prompt` must be"),
            (r#""prompt":[-1]"#, "`prompt` must be"),
            (r#""prompt":[["a"]]"#, "`prompt` must be"),
            (r#""prompt":"a","n":0"#, "`n` must be"),
            (r#""prompt":"a","best_of":500"#, "`best_of` must be"),
            (r#""prompt":"a","max_tokens":-1"#, "`max_tokens` must be"),
            (r#""prompt":"a","max_tokens":2000001"#, "`max_tokens` must be"),
            (r#""prompt":"a","prompt":"b""#, "`prompt` is given twice"),
        ];
        for (fields, fault) in cases {
            let error = request(fields).unwrap_err().to_string();
            assert!(error.contains(fault), "{fields}: {error}");
        }
        let many = vec![r#""a""#; 2049].join(",");
        assert!(request(&format!(r#""prompt":[{many}]"#)).unwrap_err().to_string().contains("2048"));
    }
}
