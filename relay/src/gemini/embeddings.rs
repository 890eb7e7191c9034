//! Embeddings: in this format (`embedContent`, `batchEmbedContents`), in OpenAI's, and from each into the other.
//!
//! For: requests that pass through ([`EmbedRequest`]), counts in answers ([`whole`]), and the conversion of requests
//! ([`Texts`]) and answers ([`Vectors`]) both ways.
//! Claims: a vector's numbers are the provider's own, digit by digit, unless base64 is asked for; as many vectors come
//! back as texts were sent, or the answer is none.

use super::object::{Object, Place, list, text, unsupported, value};
use super::path::{Verb, model_name};
use super::request::{Named, medium};
use super::{error, usage};
use crate::body::{self, Plan, Scan};
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::seen::Seen;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const ONE: Plan = Plan { routed: &["model"], read: &[], noted: &["content"], medium };
const BATCH: Plan = Plan { routed: &["model", "requests"], read: &[], noted: &[], medium };
/// The largest number of dimensions that is passed on.
const MAX_DIMENSIONS: u64 = 1_000_000;

/// A request for vectors as its caller sent it, for a provider of this format.
#[derive(Clone, Debug)]
pub struct EmbedRequest {
    body: Bytes,
    /// The model, as the caller names it.
    pub model: String,
    /// The texts' tokens.
    pub input: Estimate,
    named: Vec<Named>,
}

impl EmbedRequest {
    /// Reads a request body. The model stands in the path; where the body repeats it, the path counts.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault.
    pub fn try_new(body: Bytes, model: &str, verb: Verb) -> Result<Self, CallError> {
        let mut named = Vec::new();
        let input = if verb == Verb::BatchEmbed {
            let scan = Scan::try_new(&body, &BATCH)?;
            let requests = scan.get("requests").ok_or_else(|| body::missing("requests"))?;
            let mut input = scan.input;
            named.extend(Named::of(&scan, 0));
            let requests = requests_in(requests)?;
            for request in requests {
                let within = one(request.get().as_bytes(), &mut input)?;
                named.extend(Named::of(&within, scan.place(request).start));
            }
            input
        } else {
            let mut input = Estimate::default();
            named.extend(Named::of(&one(&body, &mut input)?, 0));
            input
        };
        Ok(Self { model: model.to_owned(), input, named, body })
    }

    /// The body for a provider that calls the model `upstream_model`.
    pub fn body_for(&self, upstream_model: &str) -> Bytes {
        let edits = self.named.iter().filter_map(|named| named.renamed(upstream_model)).collect();
        body::splice(&self.body, edits)
    }
}

fn requests_in(requests: &RawValue) -> Result<Vec<&RawValue>, CallError> {
    let requests = list(requests, &Place::root("requests"))?;
    if requests.is_empty() {
        return Err(CallError::bad("requests", "`requests` must not be empty"));
    }
    Ok(requests)
}

fn one<'a>(request: &'a [u8], input: &mut Estimate) -> Result<Scan<'a>, CallError> {
    let scan = Scan::try_new(request, &ONE)?;
    if scan.noted("content").is_none() {
        return Err(body::missing("content"));
    }
    input.add(scan.input);
    Ok(scan)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerIn<'a> {
    #[serde(borrow)]
    embedding: Option<VectorIn<'a>>,
    #[serde(borrow)]
    embeddings: Option<Vec<VectorIn<'a>>>,
    #[serde(borrow, alias = "usage_metadata")]
    usage_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct VectorIn<'a> {
    #[serde(borrow)]
    values: Option<&'a RawValue>,
}

/// Reads a provider's answer for metering. `None`: it is none of this format. Google seldom counts.
pub fn whole(body: &[u8]) -> Option<Seen> {
    let answer: AnswerIn<'_> = serde_json::from_slice(body).ok()?;
    Some(Seen {
        usage: answer.usage_metadata.and_then(usage::tokens),
        has_answer: answer.embedding.is_some() || answer.embeddings.is_some(),
        is_finished: true,
        is_last: true,
        error: answer.error.map(error::in_answer),
        ..Seen::default()
    })
}

/// What shall become vectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// The texts, in order.
    pub inputs: Vec<String>,
    /// How long a vector shall be.
    pub dimensions: Option<u64>,
    /// Does an OpenAI caller want base64?
    pub base64: bool,
    /// The caller's fields that the other format has no counterpart of.
    pub dropped: Vec<String>,
}

impl Texts {
    /// Reads an OpenAI caller's request.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault; tokens in place of texts are refused, since only their model's own
    /// provider knows them.
    pub fn read_openai(body: &[u8]) -> Result<Self, CallError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Input {
            One(String),
            Several(Vec<String>),
        }

        let json: &RawValue = serde_json::from_slice(body).map_err(body::not_json)?;
        let mut request = Object::read(json, &Place::root("request"))?;
        request.take("model");
        let root = Place::root("input");
        let input = request.take("input").ok_or_else(|| body::missing("input"))?;
        if is_tokens(input) {
            return Err(root.unsupported("must be text, not tokens, for the provider of this model"));
        }
        let inputs = match value::<Input>(input, &root, "a string or an array of strings")? {
            Input::One(one) => vec![one],
            Input::Several(several) => several,
        };
        if inputs.is_empty() {
            return Err(CallError::bad("input", "`input` must not be empty"));
        }
        let dimensions = body::whole_number(request.take("dimensions"), "dimensions", MAX_DIMENSIONS)?;
        // `Object` knows names in Google's spelling.
        let place = Place::root("encoding_format");
        let base64 = match request.take("encodingFormat").map(|it| text(it, &place)).transpose()?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(_) => return Err(place.must_be("`float` or `base64`")),
        };
        Ok(Self { inputs, dimensions, base64, dropped: request.rest().map(str::to_owned).collect() })
    }

    /// Writes the request for a provider of this format: `batchEmbedContents`.
    pub fn write_gemini(&self, upstream_model: &str) -> Bytes {
        #[derive(Serialize)]
        struct Batch<'a> {
            requests: Vec<One<'a>>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct One<'a> {
            model: &'a str,
            content: Content<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            output_dimensionality: Option<u64>,
        }
        #[derive(Serialize)]
        struct Content<'a> {
            parts: [Part<'a>; 1],
        }
        #[derive(Serialize)]
        struct Part<'a> {
            text: &'a str,
        }

        let model = format!("models/{}", model_name(upstream_model));
        let requests = self
            .inputs
            .iter()
            .map(|text| One {
                model: &model,
                content: Content { parts: [Part { text }] },
                output_dimensionality: self.dimensions,
            })
            .collect();
        // Serialising into memory cannot fail.
        serde_json::to_vec(&Batch { requests }).unwrap_or_default().into()
    }

    /// Reads a request of a caller of this format.
    ///
    /// # Errors
    /// [`CallError::BadRequest`] naming the fault: anything but text, or different lengths of vectors in one batch.
    pub fn read_gemini(body: &[u8], verb: Verb) -> Result<Self, CallError> {
        let json: &RawValue = serde_json::from_slice(body).map_err(body::not_json)?;
        let mut texts = Self::default();
        if verb != Verb::BatchEmbed {
            texts.read_one(json, &Place::root("request"))?;
            return Ok(texts);
        }
        let mut batch = Object::read(json, &Place::root("request"))?;
        batch.take("model");
        let root = Place::root("requests");
        let requests = batch.take("requests").ok_or_else(|| body::missing("requests"))?;
        for (at, request) in requests_in(requests)?.into_iter().enumerate() {
            let before = texts.dimensions;
            texts.read_one(request, &root.at(at))?;
            if at > 0 && texts.dimensions != before {
                return Err(unsupported(
                    "requests",
                    "all `requests` must have the same `outputDimensionality` with the provider of this model"
                        .into(),
                ));
            }
        }
        batch.rest().for_each(|name| texts.drop_field(name));
        Ok(texts)
    }

    fn read_one(&mut self, json: &RawValue, place: &Place<'_>) -> Result<(), CallError> {
        let mut request = Object::read(json, place)?;
        request.take("model");
        let content_place = place.field("content");
        let content = request.take("content").ok_or_else(|| place.missing("content"))?;
        let mut content = Object::read(content, &content_place)?;
        let parts_place = content_place.field("parts");
        let parts = content.take("parts").ok_or_else(|| content_place.missing("parts"))?;
        let mut joined = String::new();
        for (at, part) in list(parts, &parts_place)?.into_iter().enumerate() {
            let place = parts_place.at(at);
            let mut part = Object::read(part, &place)?;
            let Some(json) = part.take("text") else {
                return Err(place.unsupported("must be text for the provider of this model"));
            };
            if at > 0 {
                joined.push('\n');
            }
            joined.push_str(&text(json, &place.field("text"))?);
        }
        self.inputs.push(joined);
        self.dimensions =
            body::whole_number(request.take("outputDimensionality"), "outputDimensionality", MAX_DIMENSIONS)?;
        request.rest().for_each(|name| self.drop_field(name));
        Ok(())
    }

    fn drop_field(&mut self, name: &str) {
        // A request has few fields; a hostile one shall not cost more.
        if self.dropped.len() < 64 && !self.dropped.iter().any(|known| known == name) {
            self.dropped.push(name.chars().take(100).collect());
        }
    }

    /// Writes the request for a provider of OpenAI's format.
    pub fn write_openai(&self, upstream_model: &str) -> Bytes {
        #[derive(Serialize)]
        struct Wire<'a> {
            model: &'a str,
            input: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            dimensions: Option<u64>,
            encoding_format: &'static str,
        }

        let wire = Wire {
            model: upstream_model,
            input: &self.inputs,
            dimensions: self.dimensions,
            encoding_format: "float",
        };
        // Serialising into memory cannot fail.
        serde_json::to_vec(&wire).unwrap_or_default().into()
    }
}

/// `[1, 2]` or `[[1], [2]]`.
fn is_tokens(input: &RawValue) -> bool {
    input
        .get()
        .trim_start_matches(|it: char| it == '[' || it.is_ascii_whitespace())
        .starts_with(|it: char| it.is_ascii_digit() || it == '-')
}

/// Vectors, in the texts' order.
#[derive(Clone, Debug)]
pub struct Vectors {
    /// JSON arrays of numbers.
    values: Vec<Box<RawValue>>,
}

impl Vectors {
    /// Reads the answer of a provider of this format, to `count` texts. `None`: it is none.
    pub fn read_gemini(body: &[u8], count: usize) -> Option<Self> {
        let answer: AnswerIn<'_> = serde_json::from_slice(body).ok()?;
        let vectors = answer.embeddings.or_else(|| answer.embedding.map(|one| vec![one]))?;
        let values: Option<Vec<Box<RawValue>>> = vectors
            .into_iter()
            .map(|vector| vector.values.filter(|it| it.get().starts_with('[')).map(ToOwned::to_owned))
            .collect();
        values.filter(|values| values.len() == count).map(|values| Self { values })
    }

    /// Reads the answer of a provider of OpenAI's format, to `count` texts. `None`: it is none.
    pub fn read_openai(body: &[u8], count: usize) -> Option<Self> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(borrow)]
            data: Vec<Item<'a>>,
        }
        #[derive(Deserialize)]
        struct Item<'a> {
            index: Option<usize>,
            #[serde(borrow)]
            embedding: &'a RawValue,
        }

        let answer: Wire<'_> = serde_json::from_slice(body).ok()?;
        let mut items: Vec<(usize, &RawValue)> = answer
            .data
            .iter()
            .enumerate()
            .map(|(at, item)| (item.index.unwrap_or(at), item.embedding))
            .collect();
        items.sort_by_key(|(index, _)| *index);
        let values: Option<Vec<Box<RawValue>>> = items
            .into_iter()
            .map(|(_, embedding)| match embedding.get().as_bytes().first() {
                Some(b'[') => Some(embedding.to_owned()),
                Some(b'"') => {
                    let data: String = serde_json::from_str(embedding.get()).ok()?;
                    serde_json::value::to_raw_value(&floats(&data)?).ok()
                }
                _ => None,
            })
            .collect();
        values.filter(|values| values.len() == count).map(|values| Self { values })
    }

    /// Writes the answer for a caller of this format.
    pub fn write_gemini(&self, verb: Verb, tokens: u64) -> Bytes {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            embedding: Option<Vector<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            embeddings: Option<Vec<Vector<'a>>>,
            usage_metadata: Counts,
        }
        #[derive(Serialize)]
        struct Vector<'a> {
            values: &'a RawValue,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Counts {
            prompt_token_count: u64,
            total_token_count: u64,
        }

        let mut vectors = self.values.iter().map(|values| Vector { values });
        let (embedding, embeddings) =
            if verb == Verb::BatchEmbed { (None, Some(vectors.collect())) } else { (vectors.next(), None) };
        let usage_metadata = Counts { prompt_token_count: tokens, total_token_count: tokens };
        // Serialising into memory cannot fail.
        serde_json::to_vec(&Wire { embedding, embeddings, usage_metadata }).unwrap_or_default().into()
    }

    /// Writes the answer for a caller of OpenAI's format; `None`: a provider's number is none, where base64 is wanted.
    pub fn write_openai(&self, model: &str, base64: bool, tokens: u64) -> Option<Bytes> {
        #[derive(Serialize)]
        struct Wire<'a> {
            object: &'static str,
            data: Vec<Item<'a>>,
            model: &'a str,
            usage: Counts,
        }
        #[derive(Serialize)]
        struct Item<'a> {
            object: &'static str,
            index: usize,
            embedding: Shown<'a>,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Shown<'a> {
            Numbers(&'a RawValue),
            Base64(String),
        }
        #[derive(Serialize)]
        struct Counts {
            prompt_tokens: u64,
            total_tokens: u64,
        }

        let shown = |values: &'_ RawValue| -> Option<String> {
            let floats: Vec<f32> = serde_json::from_str(values.get()).ok()?;
            Some(encode(&floats.iter().flat_map(|float| float.to_le_bytes()).collect::<Vec<u8>>()))
        };
        let data: Option<Vec<Item<'_>>> = self
            .values
            .iter()
            .enumerate()
            .map(|(index, values)| {
                let embedding = if base64 { Shown::Base64(shown(values)?) } else { Shown::Numbers(values) };
                Some(Item { object: "embedding", index, embedding })
            })
            .collect();
        let usage = Counts { prompt_tokens: tokens, total_tokens: tokens };
        serde_json::to_vec(&Wire { object: "list", data: data?, model, usage }).ok().map(Bytes::from)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                // Six bits are below 64.
                let sextet = (bits >> (18 - 6 * place) & 63) as usize;
                out.push(ALPHABET.get(sextet).copied().map_or('=', char::from));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// The 32-bit numbers in base64, lowest byte first. `None`: it is not that.
fn floats(base64: &str) -> Option<Vec<f32>> {
    let mut bytes = Vec::with_capacity(base64.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for sign in base64.trim_end_matches('=').bytes() {
        let sextet = u32::try_from(ALPHABET.iter().position(|known| *known == sign)?).ok()?;
        bits = (bits << 6 | sextet) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            // The lowest eight of what is left.
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    let (quads, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Tokens;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn request(body: &str, verb: Verb) -> Result<EmbedRequest, CallError> {
        EmbedRequest::try_new(Bytes::copy_from_slice(body.as_bytes()), "m", verb)
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_request_passes_through_but_for_the_models_name() {
        let one = r#"{"model":"models/m", "content":{"parts":[{"text":"hello"}]},"outputDimensionality":3}"#;
        let sent = request(one, Verb::Embed).unwrap().body_for("up");
        assert_eq!(sent, one.replace("models/m", "models/up"));
        let batch = r#"{"requests":[ {"content":{"parts":[{"text":"model"}]},"model":"models/m"},{"model":"models/x","content":{}}]}"#;
        let request = request(batch, Verb::BatchEmbed).unwrap();
        assert_eq!(
            request.body_for("up"),
            batch.replace("models/m", "models/up").replace("models/x", "models/up")
        );
        assert!((10..60).contains(&request.input.upper()));
    }

    #[test]
    fn a_file_by_address_is_held_for_at_its_worst_and_not_charged_so() {
        let film = r#"{"content":{"parts":[{"fileData":{"fileUri":"gs://a/b","mimeType":"video/mp4"}}]}}"#;
        let batch = format!(r#"{{"requests":[{film},{film}]}}"#);
        for (body, verb, files) in [(film, Verb::Embed, 1), (batch.as_str(), Verb::BatchEmbed, 2)] {
            let input = request(body, verb).unwrap().input;
            assert!(input.upper() > files << 20, "{}", input.upper());
            assert!(input.likely() < files * 5_000, "{}", input.likely());
        }
    }

    #[test]
    fn faults_of_a_request_are_named() {
        for (body, verb, expected) in [
            ("{}", Verb::Embed, "`content` is missing"),
            ("{}", Verb::BatchEmbed, "`requests` is missing"),
            (r#"{"requests":[]}"#, Verb::BatchEmbed, "`requests` must not be empty"),
            (r#"{"requests":7}"#, Verb::BatchEmbed, "`requests` must be an array"),
            (r#"{"requests":[{}]}"#, Verb::BatchEmbed, "`content` is missing"),
            (r#"{"requests":[{"content":1,"content":2}]}"#, Verb::BatchEmbed, "`content` is given twice"),
        ] {
            let error = request(body, verb).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn answers_are_metered_with_counts_and_without() {
        let bare = whole(br#"{"embedding":{"values":[0.1,-2e-3]}}"#).unwrap();
        assert!(bare.has_answer && bare.usage.is_none() && bare.error.is_none());
        let counted =
            whole(br#"{"embeddings":[{"values":[1]}],"usageMetadata":{"promptTokenCount":5}}"#).unwrap();
        assert_eq!(counted.usage, Some(Tokens { input: 5, ..Tokens::default() }));
        assert!(!whole(b"{}").unwrap().has_answer);
        assert!(whole(br#"{"error":{"code":500,"status":"INTERNAL"}}"#).unwrap().error.is_some());
        assert!(whole(b"[").is_none());
    }

    #[test]
    fn an_openai_caller_is_served_by_a_gemini_provider() {
        let texts = Texts::read_openai(
            br#"{"model":"m","input":["a","b"],"dimensions":2,"encoding_format":"base64","user":"u"}"#,
        )
        .unwrap();
        assert_eq!(
            (&*texts.dropped, texts.base64, texts.dimensions),
            (&["user".to_owned()][..], true, Some(2))
        );
        assert_eq!(
            json(&texts.write_gemini("up")),
            json!({"requests": [
                {"model": "models/up", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 2},
                {"model": "models/up", "content": {"parts": [{"text": "b"}]}, "outputDimensionality": 2},
            ]})
        );
        let answer = br#"{"embeddings":[{"values":[1.0, -2.5e0]},{"values":[0.125,3]}]}"#;
        let vectors = Vectors::read_gemini(answer, 2).unwrap();
        assert!(
            std::str::from_utf8(&vectors.write_openai("m", false, 7).unwrap())
                .unwrap()
                .contains("[1.0, -2.5e0]")
        );
        assert_eq!(
            json(&vectors.write_openai("m", true, 7).unwrap()),
            json!({"object": "list", "data": [
                {"object": "embedding", "index": 0, "embedding": "AACAPwAAIMA="},
                {"object": "embedding", "index": 1, "embedding": "AAAAPgAAQEA="},
            ], "model": "m", "usage": {"prompt_tokens": 7, "total_tokens": 7}})
        );
        assert!(Vectors::read_gemini(answer, 3).is_none());
        assert!(Vectors::read_gemini(b"{}", 0).is_none());
        assert_eq!(Texts::read_openai(br#"{"input":"one"}"#).unwrap().inputs, ["one"]);
    }

    #[test]
    fn what_gemini_cannot_embed_is_refused() {
        for (body, expected) in [
            (r#"{"input":[1,2]}"#, "not tokens"),
            (r#"{"input":[[1],[2]]}"#, "not tokens"),
            (r#"{"input":[]}"#, "must not be empty"),
            (r#"{"input":[null]}"#, "must be a string or an array of strings"),
            (r#"{"input":{}}"#, "must be a string or an array of strings"),
            (r#"{}"#, "`input` is missing"),
            (r#"{"input":"a","encoding_format":"int8"}"#, "must be `float` or `base64`"),
            (r#"{"input":"a","dimensions":0}"#, "`dimensions` must be a whole number"),
        ] {
            let error = Texts::read_openai(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn a_gemini_caller_is_served_by_an_openai_provider() {
        let one = Texts::read_gemini(
            br#"{"model":"models/m","content":{"role":"user","parts":[{"text":"a"},{"text":"b"}]},"task_type":"RETRIEVAL_QUERY"}"#,
            Verb::Embed,
        )
        .unwrap();
        assert_eq!((&*one.inputs, &*one.dropped), (&["a\nb".to_owned()][..], &["taskType".to_owned()][..]));
        let batch = Texts::read_gemini(
            br#"{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":2},
                {"content":{"parts":[{"text":"b"}]},"output_dimensionality":2}]}"#,
            Verb::BatchEmbed,
        )
        .unwrap();
        assert_eq!(
            json(&batch.write_openai("up")),
            json!({"model": "up", "input": ["a", "b"], "dimensions": 2, "encoding_format": "float"})
        );
        let answer =
            br#"{"data":[{"index":1,"embedding":"AAAAPgAAQEA="},{"index":0,"embedding":[1.0,-2.5e0]}],"usage":{}}"#;
        let vectors = Vectors::read_openai(answer, 2).unwrap();
        assert_eq!(
            json(&vectors.write_gemini(Verb::BatchEmbed, 7)),
            json!({"embeddings": [{"values": [1.0, -2.5]}, {"values": [0.125, 3.0]}],
                "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}})
        );
        assert_eq!(json(&vectors.write_gemini(Verb::Embed, 7))["embedding"]["values"], json!([1.0, -2.5]));
        for (body, expected) in [
            (
                r#"{"requests":[{"content":{"parts":[{"text":"a"}]},"outputDimensionality":2},{"content":{"parts":[{"text":"b"}]}}]}"#,
                "the same `outputDimensionality`",
            ),
            (
                r#"{"requests":[{"content":{"parts":[{"inlineData":{}}]}}]}"#,
                "`requests[0].content.parts[0]` must be text",
            ),
            (r#"{"requests":[{}]}"#, "`requests[0].content` is missing"),
        ] {
            let error = Texts::read_gemini(body.as_bytes(), Verb::BatchEmbed).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    proptest! {
        #[test]
        fn numbers_survive_base64(numbers in proptest::collection::vec(-1e30_f32..1e30, 0..20)) {
            let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
            prop_assert_eq!(floats(&encode(&bytes)), Some(numbers));
        }
    }
}
