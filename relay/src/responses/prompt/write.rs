//! A prompt, written as a request of Responses.

use crate::dialogue::{
    Medium, OutputFormat, Part, Prompt, Reasoning, Role, Source, Target, ToolUse, Turn, Written,
};
use crate::error::CallError;
use crate::openai::parts::{self, FAILED, cannot};
use crate::openai::prompt::ExtraContent;
use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// How OpenAI's own sealed thoughts begin.
const OPENAIS: &str = "gAAAA";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    input: Vec<Item<'a>>,
    max_output_tokens: u64,
    stream: bool,
    /// The caller of another format cannot ask for it again.
    store: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Effort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Message { role: &'static str, content: Vec<Content<'a>> },
    Call(CallItem<'a>),
    Output { r#type: &'static str, call_id: &'a str, output: Output<'a> },
    Reasoning(ReasoningItem<'a>),
}

/// A call, in requests and answers.
#[derive(Serialize)]
pub(crate) struct CallItem<'a> {
    pub(crate) r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    pub(crate) call_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) extra_content: Option<ExtraContent<'a>>,
}

/// A thought, in requests and answers.
#[derive(Serialize)]
pub(crate) struct ReasoningItem<'a> {
    pub(crate) r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    pub(crate) summary: Vec<Summary<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encrypted_content: Option<Cow<'a, str>>,
}

/// A thought's text.
#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    r#type: &'static str,
    text: &'a str,
}

impl<'a> ReasoningItem<'a> {
    pub(crate) fn new(id: Option<&'a str>, text: &'a str, encrypted_content: Option<Cow<'a, str>>) -> Self {
        let summary =
            if text.is_empty() { Vec::new() } else { vec![Summary { r#type: "summary_text", text }] };
        Self { r#type: "reasoning", id, summary, encrypted_content }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Content<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    InputText {
        text: Cow<'a, str>,
    },
    OutputText {
        text: &'a str,
    },
    Refusal {
        refusal: &'a str,
    },
    InputImage {
        #[serde(skip_serializing_if = "Option::is_none")]
        image_url: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
        detail: &'a str,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
    },
    InputAudio {
        input_audio: InputAudio<'a>,
    },
}

#[derive(Serialize)]
struct InputAudio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: Option<&'a RawValue>,
    /// OpenAI takes a tool that says nothing for a strict one, which other formats do not mean.
    strict: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ToolChoice<'a> {
    Word(&'static str),
    Function(Named<'a>),
    Allowed { r#type: &'static str, mode: &'static str, tools: Vec<Named<'a>> },
}

#[derive(Serialize)]
struct Named<'a> {
    r#type: &'static str,
    name: &'a str,
}

impl<'a> Named<'a> {
    fn new(name: &'a str) -> Self {
        Self { r#type: "function", name }
    }
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    JsonObject,
    JsonSchema {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        schema: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
    },
}

#[derive(Serialize)]
struct Effort {
    effort: &'static str,
}

/// Writes a prompt for a provider.
///
/// # Errors
/// [`CallError::BadRequest`] naming what Responses cannot say and the call needs.
pub fn write(prompt: &Prompt, target: &Target<'_>) -> Result<Written, CallError> {
    if prompt.choices > 1 {
        return Err(cannot("a wish for several answers at once"));
    }
    if !prompt.stop.is_empty() {
        return Err(cannot("texts that end the answer (`stop`)"));
    }
    let mut dropped = prompt.unread.clone();
    note_sampling(prompt, &mut dropped);
    let mut input = Vec::with_capacity(prompt.turns.len());
    let instructions = match prompt.system.as_slice() {
        [] => None,
        [Part::Text { text, cache }] => {
            note_cache(cache.as_deref(), &mut dropped);
            Some(text.as_str())
        }
        parts => {
            let content = parts.iter().map(|part| said(part, &mut dropped)).collect::<Result<_, _>>()?;
            input.push(Item::Message { role: "system", content });
            None
        }
    };
    let mut has_proof = false;
    for turn in &prompt.turns {
        match turn.role {
            Role::User => user(turn, &mut input, &mut dropped)?,
            Role::Assistant => has_proof |= assistant(turn, &mut input, &mut dropped)?,
        }
    }
    let tools: Vec<_> = prompt
        .tools
        .iter()
        .map(|tool| {
            note_cache(tool.cache.as_deref(), &mut dropped);
            Tool {
                r#type: "function",
                name: &tool.name,
                description: tool.description.as_deref(),
                parameters: tool.schema.as_deref(),
                strict: tool.strict.unwrap_or(false),
            }
        })
        .collect();
    let has_tools = !tools.is_empty();
    // Models that do not think refuse to be asked for proofs of it.
    let thinks = has_proof || !matches!(prompt.reasoning, None | Some(Reasoning::Off));
    let effort = prompt.reasoning.as_ref().and_then(parts::reasoning_word);
    let body = Body {
        model: target.upstream_model,
        instructions,
        input,
        max_output_tokens: prompt.max_output.unwrap_or(target.default_cap),
        stream: prompt.stream,
        store: false,
        tools,
        tool_choice: prompt.tool_use.as_ref().and_then(|it| tool_choice(it, has_tools)),
        parallel_tool_calls: prompt.parallel_tools.filter(|_| has_tools),
        temperature: prompt.sampling.temperature.as_ref(),
        top_p: prompt.sampling.top_p.as_ref(),
        text: format(&prompt.format).map(|format| Text { format }),
        reasoning: effort.map(|effort| Effort { effort }),
        include: thinks.then_some(["reasoning.encrypted_content"]),
        user: prompt.user.as_deref(),
    };
    let body = serde_json::to_vec(&body).map_err(|_| CallError::Internal)?;
    Ok(Written { body: body.into(), dropped })
}

fn note(name: &str, dropped: &mut Vec<String>) {
    if !dropped.iter().any(|known| known == name) {
        dropped.push(name.to_owned());
    }
}

fn note_cache(cache: Option<&RawValue>, dropped: &mut Vec<String>) {
    if cache.is_some() {
        note("cache_control", dropped);
    }
}

fn note_sampling(prompt: &Prompt, dropped: &mut Vec<String>) {
    let sampling = &prompt.sampling;
    for (value, name) in [
        (&sampling.top_k, "top_k"),
        (&sampling.seed, "seed"),
        (&sampling.presence_penalty, "presence_penalty"),
        (&sampling.frequency_penalty, "frequency_penalty"),
    ] {
        if value.is_some() {
            note(name, dropped);
        }
    }
}

fn format(format: &OutputFormat) -> Option<Format<'_>> {
    Some(match format {
        OutputFormat::Text => return None,
        OutputFormat::Json => Format::JsonObject,
        OutputFormat::Schema { name, description, schema, strict } => {
            Format::JsonSchema { name, description: description.as_deref(), schema, strict: *strict }
        }
    })
}

fn tool_choice(tool_use: &ToolUse, has_tools: bool) -> Option<ToolChoice<'_>> {
    Some(match tool_use {
        ToolUse::Auto | ToolUse::Never if !has_tools => return None,
        ToolUse::Auto => ToolChoice::Word("auto"),
        ToolUse::Never => ToolChoice::Word("none"),
        ToolUse::Some => ToolChoice::Word("required"),
        ToolUse::Only(name) => ToolChoice::Function(Named::new(name)),
        ToolUse::Among { names, must } => ToolChoice::Allowed {
            r#type: "allowed_tools",
            mode: if *must { "required" } else { "auto" },
            tools: names.iter().map(|name| Named::new(name)).collect(),
        },
    })
}

fn user<'a>(turn: &'a Turn, input: &mut Vec<Item<'a>>, dropped: &mut Vec<String>) -> Result<(), CallError> {
    let mut words = Vec::new();
    for part in &turn.parts {
        let Part::Result { id, content, is_error, cache, .. } = part else {
            words.push(said(part, dropped)?);
            continue;
        };
        note_cache(cache.as_deref(), dropped);
        let mut content: Vec<_> = content.iter().map(|part| said(part, dropped)).collect::<Result<_, _>>()?;
        if *is_error {
            match content.first_mut() {
                Some(Content::InputText { text }) => text.to_mut().insert_str(0, FAILED),
                _ => content.insert(0, Content::InputText { text: FAILED.into() }),
            }
        }
        let output = match content.as_mut_slice() {
            [] => Output::Text("".into()),
            [Content::InputText { text }] => Output::Text(std::mem::take(text)),
            _ => Output::Parts(content),
        };
        input.push(Item::Output { r#type: "function_call_output", call_id: id, output });
    }
    if !words.is_empty() {
        input.push(Item::Message { role: "user", content: words });
    }
    Ok(())
}

/// What a user says, or a result holds.
fn said<'a>(part: &'a Part, dropped: &mut Vec<String>) -> Result<Content<'a>, CallError> {
    match part {
        Part::Text { text, cache } => {
            note_cache(cache.as_deref(), dropped);
            Ok(Content::InputText { text: text.into() })
        }
        Part::Refusal { text } => Ok(Content::InputText { text: text.into() }),
        Part::Media { medium, source, detail, cache } => {
            note_cache(cache.as_deref(), dropped);
            media(*medium, source, detail.as_deref())
        }
        Part::Thinking { .. } | Part::HiddenThinking { .. } | Part::Call { .. } | Part::Result { .. } => {
            Err(CallError::bad("messages", "a user's message holds what only a model says"))
        }
    }
}

fn media<'a>(medium: Medium, source: &'a Source, detail: Option<&'a str>) -> Result<Content<'a>, CallError> {
    let detail = detail.unwrap_or("auto");
    let image = |url| Ok(Content::InputImage { image_url: Some(url), file_id: None, detail });
    let file = |filename, file_data, file_url, file_id| {
        Ok(Content::InputFile { filename, file_data, file_url, file_id })
    };
    match (medium, source) {
        (Medium::Image, Source::Inline { media_type, data, .. }) => {
            image(parts::data_url(media_type, data).into())
        }
        (Medium::Image, Source::Url { url, .. }) => image(url.into()),
        (Medium::Image, Source::File { id }) => {
            let file_id = Some(parts::openai_file(id)?);
            Ok(Content::InputImage { image_url: None, file_id, detail })
        }
        (Medium::Document, Source::Inline { media_type, data, filename }) => file(
            Some(parts::filename(filename.as_deref(), media_type)),
            Some(parts::data_url(media_type, data)),
            None,
            None,
        ),
        (Medium::Document, Source::Url { url, .. }) => file(None, None, Some(url), None),
        (Medium::Document, Source::File { id }) => file(None, None, None, Some(parts::openai_file(id)?)),
        (Medium::Audio, Source::Inline { media_type, data, .. }) => Ok(Content::InputAudio {
            input_audio: InputAudio { data, format: parts::audio_format(media_type) },
        }),
        (Medium::Audio | Medium::Video, Source::Inline { .. } | Source::Url { .. } | Source::File { .. }) => {
            Err(cannot(parts::medium_word(medium)))
        }
    }
}

/// Writes the model's turn; says whether it holds proofs of thoughts. A thought without one of OpenAI's stays behind:
/// OpenAI refuses it.
fn assistant<'a>(
    turn: &'a Turn,
    input: &mut Vec<Item<'a>>,
    dropped: &mut Vec<String>,
) -> Result<bool, CallError> {
    let mut words: Vec<Content<'a>> = Vec::new();
    let mut has_proof = false;
    let say = |words: &mut Vec<Content<'a>>, input: &mut Vec<Item<'a>>| {
        if !words.is_empty() {
            input.push(Item::Message { role: "assistant", content: std::mem::take(words) });
        }
    };
    for part in &turn.parts {
        match part {
            Part::Text { text, cache } => {
                note_cache(cache.as_deref(), dropped);
                words.push(Content::OutputText { text });
            }
            Part::Refusal { text } => words.push(Content::Refusal { refusal: text }),
            Part::Thinking { text, signature: Some(proof) } if proof.starts_with(OPENAIS) => {
                has_proof = true;
                say(&mut words, input);
                input.push(Item::Reasoning(ReasoningItem::new(None, text, Some(proof.into()))));
            }
            Part::Thinking { .. } | Part::HiddenThinking { .. } => {
                note("messages[] (thoughts of another provider)", dropped);
            }
            Part::Call { id, name, arguments, signature } => {
                say(&mut words, input);
                if signature.is_some() {
                    note("messages[].tool_calls[].extra_content", dropped);
                }
                input.push(Item::Call(CallItem {
                    r#type: "function_call",
                    id: None,
                    call_id: id,
                    name,
                    arguments: arguments.get(),
                    status: None,
                    extra_content: None,
                }));
            }
            Part::Media { .. } => note("messages[].content (media of the model)", dropped),
            Part::Result { .. } => {
                return Err(CallError::bad("messages", "a result of a tool stands in the model's own turn"));
            }
        }
    }
    say(&mut words, input);
    Ok(has_proof)
}
