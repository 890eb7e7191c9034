//! A prompt, written as a chat request.

use crate::dialogue::{
    Medium, OutputFormat, Part, Prompt, Role, Source, Target, Tool, ToolUse, Turn, Written,
};
use crate::error::CallError;
use crate::openai::parts::{self, FAILED, cannot};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;
use std::borrow::Cow;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Default, Serialize)]
struct Message<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<ThinkingBlock<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
    InputAudio { input_audio: InputAudio<'a> },
    File { file: File<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct InputAudio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum File<'a> {
    Inline { filename: &'a str, file_data: String },
    Kept { file_id: &'a str },
}

/// A thought with its proof, as the module's head says.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ThinkingBlock<'a> {
    Thinking {
        #[serde(skip_serializing_if = "Option::is_none")]
        index: Option<u64>,
        thinking: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<&'a str>,
    },
    RedactedThinking {
        #[serde(skip_serializing_if = "Option::is_none")]
        index: Option<u64>,
        data: &'a str,
    },
}

/// A call, in requests and whole answers.
#[derive(Serialize)]
pub(crate) struct ToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraContent<'a>>,
}

impl<'a> ToolCall<'a> {
    pub(crate) fn new(id: &'a str, name: &'a str, arguments: &'a str, signature: Option<&'a str>) -> Self {
        Self {
            id,
            r#type: "function",
            function: Function { name, arguments },
            extra_content: signature.map(ExtraContent::new),
        }
    }
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// Where Google's own OpenAI-compatible API has the proof of a call.
#[derive(Serialize)]
pub(crate) struct ExtraContent<'a> {
    google: Google<'a>,
}

#[derive(Serialize)]
struct Google<'a> {
    thought_signature: &'a str,
}

impl<'a> ExtraContent<'a> {
    pub(crate) fn new(thought_signature: &'a str) -> Self {
        Self { google: Google { thought_signature } }
    }
}

#[derive(Serialize)]
struct WireTool<'a> {
    r#type: &'static str,
    function: FunctionTool<'a>,
}

#[derive(Serialize)]
struct FunctionTool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ToolChoice<'a> {
    Word(&'static str),
    Function { r#type: &'static str, function: Named<'a> },
    Allowed { r#type: &'static str, allowed_tools: Allowed<'a> },
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Allowed<'a> {
    mode: &'static str,
    tools: Vec<AllowedTool<'a>>,
}

#[derive(Serialize)]
struct AllowedTool<'a> {
    r#type: &'static str,
    function: Named<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: JsonSchema<'a> },
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// Writes a prompt for a provider.
///
/// A stream always asks for its counts.
///
/// # Errors
/// [`CallError::BadRequest`] naming what Chat Completions cannot say and the call needs.
pub fn write(prompt: &Prompt, target: &Target<'_>) -> Result<Written, CallError> {
    // Names that were not read go on as they came; what this writer adds has names of its own.
    let mut dropped = Dropped { target: *target, names: prompt.unread.clone() };
    let messages = messages(prompt, &mut dropped)?;
    let tools: Vec<_> = prompt.tools.iter().map(|it| tool(it, &mut dropped)).collect();
    let has_tools = !tools.is_empty();
    let cap = Some(prompt.max_output.unwrap_or(target.default_cap));
    let sampling = &prompt.sampling;
    if sampling.top_k.is_some() {
        dropped.note("top_k");
    }
    let body = Body {
        model: target.upstream_model,
        messages,
        max_tokens: cap.filter(|_| !target.newer_cap),
        max_completion_tokens: cap.filter(|_| target.newer_cap),
        stream: prompt.stream,
        stream_options: prompt.stream.then_some(StreamOptions { include_usage: true }),
        tools,
        // OpenAI refuses either without tools, where they say nothing.
        tool_choice: prompt.tool_use.as_ref().and_then(|it| tool_choice(it, has_tools)),
        parallel_tool_calls: prompt.parallel_tools.filter(|_| has_tools),
        n: (prompt.choices > 1).then_some(prompt.choices),
        temperature: sampling.temperature.as_ref(),
        top_p: sampling.top_p.as_ref(),
        seed: sampling.seed.as_ref(),
        presence_penalty: sampling.presence_penalty.as_ref(),
        frequency_penalty: sampling.frequency_penalty.as_ref(),
        stop: &prompt.stop,
        response_format: match &prompt.format {
            OutputFormat::Text => None,
            OutputFormat::Json => Some(ResponseFormat::JsonObject),
            OutputFormat::Schema { name, description, schema, strict } => Some(ResponseFormat::JsonSchema {
                json_schema: JsonSchema {
                    name,
                    description: description.as_deref(),
                    schema,
                    strict: *strict,
                },
            }),
        },
        reasoning_effort: prompt.reasoning.as_ref().and_then(parts::reasoning_word),
        user: prompt.user.as_deref(),
    };
    let body = serde_json::to_vec(&body).map_err(|_| CallError::Internal)?;
    Ok(Written { body: Bytes::from(body), dropped: dropped.names })
}

/// What could not be written.
struct Dropped<'a> {
    target: Target<'a>,
    names: Vec<String>,
}

impl Dropped<'_> {
    fn note(&mut self, name: &str) {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    fn note_cache(&mut self, cache: Option<&RawValue>) {
        if cache.is_some() {
            self.note("cache_control");
        }
    }

    /// OpenAI refuses fields of messages that it does not know; others know them or skip them.
    fn takes_extra_fields(&mut self, field: &str) -> bool {
        if self.target.newer_cap {
            self.note(field);
        }
        !self.target.newer_cap
    }
}

fn tool<'a>(tool: &'a Tool, dropped: &mut Dropped<'_>) -> WireTool<'a> {
    dropped.note_cache(tool.cache.as_deref());
    WireTool {
        r#type: "function",
        function: FunctionTool {
            name: &tool.name,
            description: tool.description.as_deref(),
            parameters: tool.schema.as_deref(),
            strict: tool.strict,
        },
    }
}

fn tool_choice(tool_use: &ToolUse, has_tools: bool) -> Option<ToolChoice<'_>> {
    Some(match tool_use {
        ToolUse::Auto | ToolUse::Never if !has_tools => return None,
        ToolUse::Auto => ToolChoice::Word("auto"),
        ToolUse::Never => ToolChoice::Word("none"),
        ToolUse::Some => ToolChoice::Word("required"),
        ToolUse::Only(name) => ToolChoice::Function { r#type: "function", function: Named { name } },
        ToolUse::Among { names, must } => ToolChoice::Allowed {
            r#type: "allowed_tools",
            allowed_tools: Allowed {
                mode: if *must { "required" } else { "auto" },
                tools: names
                    .iter()
                    .map(|name| AllowedTool { r#type: "function", function: Named { name } })
                    .collect(),
            },
        },
    })
}

fn messages<'a>(prompt: &'a Prompt, dropped: &mut Dropped<'_>) -> Result<Vec<Message<'a>>, CallError> {
    let mut messages = Vec::with_capacity(prompt.turns.len() + 1);
    if !prompt.system.is_empty() {
        let parts: Vec<_> =
            prompt.system.iter().map(|part| content_part(part, dropped)).collect::<Result<_, _>>()?;
        messages.push(Message { role: "system", content: Some(content(parts)), ..Message::default() });
    }
    for turn in &prompt.turns {
        match turn.role {
            Role::User => user(turn, &mut messages, dropped)?,
            Role::Assistant => messages.push(assistant(turn, dropped)?),
        }
    }
    Ok(messages)
}

/// A text alone goes as a string: every server takes that. Nothing goes as an empty one.
fn content(mut parts: Vec<ContentPart<'_>>) -> Content<'_> {
    match parts.as_mut_slice() {
        [] => Content::Text("".into()),
        [ContentPart::Text { text }] => Content::Text(std::mem::take(text)),
        _ => Content::Parts(parts),
    }
}

/// The results first, each in its own message, then what the user says; with it the images of the results, since a
/// message of a tool takes text only.
fn user<'a>(
    turn: &'a Turn,
    messages: &mut Vec<Message<'a>>,
    dropped: &mut Dropped<'_>,
) -> Result<(), CallError> {
    let mut said = Vec::new();
    let mut has_results = false;
    for part in &turn.parts {
        let Part::Result { id, name, content: result, is_error, cache } = part else { continue };
        has_results = true;
        dropped.note_cache(cache.as_deref());
        let mut texts = Vec::new();
        let mut media = Vec::new();
        for part in result {
            match content_part(part, dropped)? {
                text @ ContentPart::Text { .. } => texts.push(text),
                other => media.push(other),
            }
        }
        if *is_error {
            match texts.first_mut() {
                Some(ContentPart::Text { text }) => text.to_mut().insert_str(0, FAILED),
                _ => texts.push(ContentPart::Text { text: FAILED.into() }),
            }
        }
        if !media.is_empty() {
            if texts.is_empty() {
                texts.push(ContentPart::Text { text: "(see the attachment below)".into() });
            }
            let text = format!("Attached to the result of `{name}` ({id}):").into();
            said.push(ContentPart::Text { text });
            said.extend(media);
        }
        messages.push(Message {
            role: "tool",
            tool_call_id: Some(id),
            content: Some(content(texts)),
            ..Message::default()
        });
    }
    for part in &turn.parts {
        match part {
            Part::Result { .. } => {}
            part => said.push(content_part(part, dropped)?),
        }
    }
    if !said.is_empty() || !has_results {
        messages.push(Message { role: "user", content: Some(content(said)), ..Message::default() });
    }
    Ok(())
}

fn content_part<'a>(part: &'a Part, dropped: &mut Dropped<'_>) -> Result<ContentPart<'a>, CallError> {
    match part {
        Part::Text { text, cache } => {
            dropped.note_cache(cache.as_deref());
            Ok(ContentPart::Text { text: text.into() })
        }
        Part::Refusal { text } => Ok(ContentPart::Text { text: text.into() }),
        Part::Media { medium, source, detail, cache } => {
            dropped.note_cache(cache.as_deref());
            if *medium != Medium::Document && matches!(source, Source::Inline { filename: Some(_), .. }) {
                dropped.note("filename");
            }
            media(*medium, source, detail.as_deref())
        }
        Part::Thinking { .. } | Part::HiddenThinking { .. } | Part::Call { .. } | Part::Result { .. } => {
            Err(CallError::bad("messages", "a user's message holds what only a model says"))
        }
    }
}

fn media<'a>(
    medium: Medium,
    source: &'a Source,
    detail: Option<&'a str>,
) -> Result<ContentPart<'a>, CallError> {
    let image = |url| Ok(ContentPart::ImageUrl { image_url: ImageUrl { url, detail } });
    match (medium, source) {
        (Medium::Image, Source::Inline { media_type, data, .. }) => {
            image(parts::data_url(media_type, data).into())
        }
        (Medium::Image, Source::Url { url, .. }) => image(url.into()),
        (Medium::Audio, Source::Inline { media_type, data, .. }) => Ok(ContentPart::InputAudio {
            input_audio: InputAudio { data, format: parts::audio_format(media_type) },
        }),
        (Medium::Document, Source::Inline { media_type, data, filename }) => Ok(ContentPart::File {
            file: File::Inline {
                filename: parts::filename(filename.as_deref(), media_type),
                file_data: parts::data_url(media_type, data),
            },
        }),
        (Medium::Document, Source::File { id }) => {
            Ok(ContentPart::File { file: File::Kept { file_id: parts::openai_file(id)? } })
        }
        (
            Medium::Image | Medium::Audio | Medium::Document | Medium::Video,
            Source::Inline { .. } | Source::Url { .. } | Source::File { .. },
        ) => Err(cannot(parts::medium_word(medium))),
    }
}

fn assistant<'a>(turn: &'a Turn, dropped: &mut Dropped<'_>) -> Result<Message<'a>, CallError> {
    let mut message = Message { role: "assistant", ..Message::default() };
    let mut texts = Vec::new();
    let mut thought = String::new();
    let mut blocks = Vec::new();
    let mut has_proof = false;
    for part in &turn.parts {
        match part {
            Part::Text { text, cache } => {
                dropped.note_cache(cache.as_deref());
                texts.push(ContentPart::Text { text: text.into() });
            }
            Part::Refusal { text } => message.refusal.get_or_insert_default().push_str(text),
            Part::Thinking { text, signature } => {
                thought.push_str(text);
                has_proof |= signature.is_some();
                blocks.push(ThinkingBlock::Thinking {
                    index: None,
                    thinking: text,
                    signature: signature.as_deref(),
                });
            }
            Part::HiddenThinking { data } => {
                has_proof = true;
                blocks.push(ThinkingBlock::RedactedThinking { index: None, data });
            }
            Part::Call { id, name, arguments, signature } => {
                let signature = signature
                    .as_deref()
                    .filter(|_| dropped.takes_extra_fields("messages[].tool_calls[].extra_content"));
                message.tool_calls.push(ToolCall::new(id, name, arguments.get(), signature));
            }
            Part::Media { .. } => dropped.note("messages[].content (media of the model)"),
            Part::Result { .. } => {
                return Err(CallError::bad("messages", "a result of a tool stands in the model's own turn"));
            }
        }
    }
    if !blocks.is_empty() && dropped.takes_extra_fields("messages[].reasoning_content") {
        message.reasoning_content = Some(thought).filter(|thought| !thought.is_empty());
        if has_proof {
            message.thinking_blocks = blocks;
        }
    }
    let needs_content = message.tool_calls.is_empty() && message.refusal.is_none();
    if !texts.is_empty() || needs_content {
        message.content = Some(content(texts));
    }
    Ok(message)
}
