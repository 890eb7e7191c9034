//! What a provider says in a message or a delta, wherever vendors put it.
//!
//! For: reading answers, whole and in chunks.
//! Claims: an odd field is skipped and never hides another.

use crate::dialogue::Part;
use crate::openai::parts;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A message, or a delta of one, with every field as it stands.
#[derive(Default, Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking_blocks: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_details: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    /// Where one vendor puts pictures that the model drew.
    #[serde(borrow)]
    images: Option<&'a RawValue>,
}

/// A call, or a piece of one.
#[derive(Default)]
pub(crate) struct CallPiece {
    /// Which one, if told.
    pub(crate) index: Option<u64>,
    /// Not empty.
    pub(crate) id: Option<String>,
    /// Not empty.
    pub(crate) name: Option<String>,
    pub(crate) arguments: String,
    pub(crate) signature: Option<String>,
}

#[derive(Deserialize)]
struct WireCall<'a> {
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    function: Option<&'a RawValue>,
    #[serde(borrow)]
    extra_content: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct WireFunction<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Extra {
    google: Google,
}

#[derive(Deserialize)]
struct Google {
    thought_signature: String,
}

/// A piece of content, or of a list of thoughts.
#[derive(Deserialize)]
struct WirePart<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    signature: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Reads a message or a delta; what is none says nothing.
    pub(crate) fn read(value: Option<&'a RawValue>) -> Self {
        value.and_then(parse).unwrap_or_default()
    }

    /// The thought in plain text.
    pub(crate) fn thought(&self) -> Option<String> {
        text(self.reasoning_content).or_else(|| text(self.reasoning))
    }

    /// Thoughts with their proofs.
    pub(crate) fn thinking_blocks(&self) -> Vec<Part> {
        let blocks: Vec<Part> = list(self.thinking_blocks)
            .into_iter()
            .filter_map(|block| match kind(&block).as_deref() {
                Some("thinking") => Some(Part::Thinking {
                    text: text(block.thinking).unwrap_or_default(),
                    signature: text(block.signature),
                }),
                Some("redacted_thinking") => text(block.data).map(|data| Part::HiddenThinking { data }),
                _ => None,
            })
            .collect();
        if !blocks.is_empty() {
            return blocks;
        }
        list(self.reasoning_details)
            .into_iter()
            .filter(|detail| kind(detail).as_deref() == Some("reasoning.text"))
            .map(|detail| Part::Thinking {
                text: text(detail.text).unwrap_or_default(),
                signature: text(detail.signature),
            })
            .collect()
    }

    /// What is said: texts, refusals, and thoughts that stand among the content.
    pub(crate) fn said(&self) -> Vec<Part> {
        let mut said = Vec::new();
        match text(self.content) {
            Some(text) => said.push(Part::text(text)),
            None => said.extend(list(self.content).into_iter().filter_map(content_part)),
        }
        if let Some(text) = text(self.refusal) {
            said.push(Part::Refusal { text });
        }
        said
    }

    /// Pictures that the model drew.
    pub(crate) fn images(&self) -> Vec<Part> {
        list(self.images).into_iter().filter_map(image).collect()
    }

    /// Calls, or pieces of them; the one call of old as a call without an id.
    pub(crate) fn calls(&self) -> Vec<CallPiece> {
        let calls: Option<Vec<WireCall<'_>>> = self.tool_calls.and_then(parse);
        let mut calls: Vec<CallPiece> = calls
            .unwrap_or_default()
            .into_iter()
            .map(|call| CallPiece {
                index: call.index.and_then(parse),
                id: text(call.id),
                signature: call.extra_content.and_then(parse::<Extra>).map(|it| it.google.thought_signature),
                ..function(call.function)
            })
            .collect();
        if self.function_call.is_some() {
            calls.push(CallPiece { index: Some(0), ..function(self.function_call) });
        }
        calls
    }
}

fn function(value: Option<&RawValue>) -> CallPiece {
    let function: WireFunction<'_> = value.and_then(parse).unwrap_or_default();
    let arguments = match function.arguments {
        // Some vendors send the object itself.
        Some(object) if object.get().starts_with('{') => object.get().to_owned(),
        other => text(other).unwrap_or_default(),
    };
    CallPiece { name: text(function.name), arguments, ..CallPiece::default() }
}

fn content_part(part: WirePart<'_>) -> Option<Part> {
    match kind(&part).as_deref() {
        Some("refusal") => text(part.refusal).map(|text| Part::Refusal { text }),
        Some("thinking") => {
            let thought = text(part.thinking).or_else(|| {
                let texts: Vec<_> = list(part.thinking).into_iter().filter_map(|it| text(it.text)).collect();
                (!texts.is_empty()).then(|| texts.concat())
            });
            thought.map(|text| Part::Thinking { text, signature: None })
        }
        Some("image_url") => image(part),
        _ => text(part.text).map(Part::text),
    }
}

fn image(part: WirePart<'_>) -> Option<Part> {
    #[derive(Deserialize)]
    struct Url {
        url: String,
    }
    let url = part.image_url.and_then(parse::<Url>)?.url;
    let source = parts::source_of_url(url, None)?;
    Some(Part::Media { medium: crate::dialogue::Medium::Image, source, detail: None, cache: None })
}

fn kind(part: &WirePart<'_>) -> Option<String> {
    text(part.r#type)
}

fn list<'a>(value: Option<&'a RawValue>) -> Vec<WirePart<'a>> {
    let elements: Vec<&'a RawValue> = value.and_then(parse).unwrap_or_default();
    elements.into_iter().filter_map(parse).collect()
}

/// A string with something in it.
pub(crate) fn text(value: Option<&RawValue>) -> Option<String> {
    value.and_then(parse::<String>).filter(|text| !text.is_empty())
}

/// A value of a type, if it is one.
pub(crate) fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}
