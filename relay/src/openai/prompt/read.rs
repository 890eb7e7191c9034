//! A chat request, read into a prompt.

use crate::body::{self, MAX_OUTPUT_TOKENS, json_string};
use crate::dialogue::{Medium, OutputFormat, Part, Prompt, Reasoning, Sampling, Source, Tool, ToolUse};
use crate::error::CallError;
use crate::openai::fields::{Fields, Place, elements};
use crate::openai::parts::{self, Conversation};
use crate::openai::request::MAX_CHOICES;
use serde_json::value::RawValue;

/// Reads a caller's request.
///
/// # Errors
/// [`CallError::BadRequest`] naming the field that is of a wrong shape or cannot be honoured by a provider of another
/// format.
pub fn read(body: &[u8]) -> Result<Prompt, CallError> {
    let mut fields = Fields::of_body(body)?;
    // The scanner has read these; they are no part of what is said.
    for routed in ["model", "stream_options"] {
        fields.take(routed);
    }
    let mut prompt = Prompt { stream: fields.flag("stream")?.unwrap_or(false), ..Prompt::default() };
    let cap = |value, param| body::whole_number(value, param, MAX_OUTPUT_TOKENS);
    let older = cap(fields.take("max_tokens"), "max_tokens")?;
    prompt.max_output = older.max(cap(fields.take("max_completion_tokens"), "max_completion_tokens")?);
    prompt.choices = body::whole_number(fields.take("n"), "n", MAX_CHOICES)?.unwrap_or(1);
    messages(&mut fields, &mut prompt)?;
    tools(&mut fields, &mut prompt)?;
    prompt.sampling = sampling(&mut fields)?;
    prompt.stop = match fields.take("stop") {
        Some(value) if value.get().starts_with('"') => vec![body::parse(Some(value), "stop", "a string")?],
        value => body::parse::<Option<Vec<String>>>(value, "stop", "a string or an array of strings")?
            .unwrap_or_default(),
    };
    if let Some(format) = fields.object("response_format")? {
        prompt.format = response_format(format, &mut prompt)?;
    }
    prompt.reasoning = reasoning(&mut fields, &mut prompt)?;
    prompt.user = match (fields.text("user")?, fields.text("safety_identifier")?) {
        (Some(user), None) | (None, Some(user)) => Some(user),
        (Some(user), Some(_)) => {
            prompt.not_read("safety_identifier");
            Some(user)
        }
        (None, None) => None,
    };
    refuse_what_answers_otherwise(&mut fields)?;
    for (field, value) in fields.rest() {
        if !says_nothing(&field, value.get()) {
            prompt.not_read(field);
        }
    }
    Ok(prompt)
}

/// Refuses what only OpenAI can answer.
fn refuse_what_answers_otherwise(fields: &mut Fields<'_>) -> Result<(), CallError> {
    let only_text = |at: Place| at.fault("asks for something that the provider of this model cannot give");
    if let Some(modalities) = fields.get::<Vec<String>>("modalities", "an array of strings")?
        && modalities.iter().any(|modality| modality != "text")
    {
        return Err(only_text(Place::top("modalities")));
    }
    for field in ["audio", "web_search_options"] {
        if fields.take(field).is_some() {
            return Err(only_text(Place::top(field)));
        }
    }
    Ok(())
}

/// Is it what holds anyway?
fn says_nothing(field: &str, value: &str) -> bool {
    match field {
        "store" | "logprobs" => value == "false",
        "service_tier" => matches!(value, "\"auto\"" | "\"default\""),
        "verbosity" => value == "\"medium\"",
        "top_logprobs" => value == "0",
        "metadata" | "logit_bias" => {
            value.strip_prefix('{').is_some_and(|rest| rest.trim_ascii_start() == "}")
        }
        _ => false,
    }
}

fn sampling(fields: &mut Fields<'_>) -> Result<Sampling, CallError> {
    Ok(Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.number("top_k")?,
        seed: fields.number("seed")?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
    })
}

/// OpenAI's word, or what compatible vendors take: `thinking` as Claude has it, `reasoning` as OpenRouter has it.
///
/// Of several the first counts.
fn reasoning(fields: &mut Fields<'_>, prompt: &mut Prompt) -> Result<Option<Reasoning>, CallError> {
    let (word, thinking, reasoning) =
        (fields.text("reasoning_effort")?, fields.object("thinking")?, fields.object("reasoning")?);
    let effort = |word: &str, at: Place| match parts::effort_of(word) {
        Some(Some(effort)) => Ok(Some(Reasoning::Effort(effort))),
        Some(None) => Ok(Some(Reasoning::Off)),
        None => Err(at.must_be("`none`, `minimal`, `low`, `medium`, `high` or `xhigh`")),
    };
    let count = "a whole number of tokens";
    if thinking.is_some() && word.is_some() {
        prompt.not_read("thinking");
    }
    if reasoning.is_some() && (word.is_some() || thinking.is_some()) {
        prompt.not_read("reasoning");
    }
    if let Some(word) = word {
        return effort(&word, Place::top("reasoning_effort"));
    }
    if let Some(mut thinking) = thinking {
        let budget = thinking.get("budget_tokens", count)?;
        let read = match thinking.require_text("type")?.as_str() {
            "enabled" => budget.map_or(Reasoning::Adaptive, Reasoning::Budget),
            "adaptive" => Reasoning::Adaptive,
            "disabled" => Reasoning::Off,
            _ => return Err(thinking.at.field("type").must_be("`enabled`, `adaptive` or `disabled`")),
        };
        thinking.note_rest(prompt);
        return Ok(Some(read));
    }
    let Some(mut reasoning) = reasoning else { return Ok(None) };
    let read = if let Some(word) = reasoning.text("effort")? {
        effort(&word, reasoning.at.field("effort"))?
    } else if let Some(tokens) = reasoning.get("max_tokens", count)? {
        Some(Reasoning::Budget(tokens))
    } else {
        let enabled = reasoning.flag("enabled")?;
        enabled.map(|enabled| if enabled { Reasoning::Adaptive } else { Reasoning::Off })
    };
    // That it is enabled goes without saying beside an effort or a budget.
    if read.as_ref().is_some_and(|read| *read != Reasoning::Off) {
        reasoning.take_if("enabled", "true");
    }
    reasoning.note_rest(prompt);
    Ok(read)
}

fn response_format(mut format: Fields<'_>, prompt: &mut Prompt) -> Result<OutputFormat, CallError> {
    let read = match format.require_text("type")?.as_str() {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::Json,
        "json_schema" => {
            let mut schema = format.require_object("json_schema")?;
            let read = OutputFormat::Schema {
                name: schema.require_text("name")?,
                description: schema.text("description")?,
                schema: json_object(&mut schema, "schema")?.ok_or_else(|| schema.missing("schema"))?,
                strict: schema.flag("strict")?,
            };
            schema.note_rest(prompt);
            read
        }
        _ => return Err(format.at.field("type").must_be("`text`, `json_object` or `json_schema`")),
    };
    format.note_rest(prompt);
    Ok(read)
}

/// A JSON object that is handed on as it was written.
pub(crate) fn json_object(
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Result<Option<Box<RawValue>>, CallError> {
    match fields.take(name) {
        Some(value) if value.get().starts_with('{') => Ok(Some(value.to_owned())),
        Some(_) => Err(fields.at.field(name).must_be("a JSON object")),
        None => Ok(None),
    }
}

fn tools(fields: &mut Fields<'_>, prompt: &mut Prompt) -> Result<(), CallError> {
    for (at, value) in fields.array("tools")? {
        let mut tool = Fields::of(value, at)?;
        match tool.require_text("type")?.as_str() {
            "function" => {
                let cache = tool.take("cache_control").map(ToOwned::to_owned);
                let function = tool.require_object("function")?;
                let read = Tool { cache, ..function_tool(function, prompt)? };
                prompt.tools.push(read);
                tool.note_rest(prompt);
            }
            _ => {
                return Err(tool.at.field("type").must_be("`function`: the model's provider knows no other"));
            }
        }
    }
    for (at, value) in fields.array("functions")? {
        let read = function_tool(Fields::of(value, at)?, prompt)?;
        prompt.tools.push(read);
    }
    prompt.parallel_tools = fields.flag("parallel_tool_calls")?;
    let older = fields.take("function_call").map(|value| (Place::top("function_call"), value));
    let choice = fields.take("tool_choice").map(|value| (Place::top("tool_choice"), value));
    if choice.is_some() && older.is_some() {
        prompt.not_read("function_call");
    }
    if let Some((at, value)) = choice.or(older) {
        prompt.tool_use = Some(tool_use(value, at, prompt)?);
    }
    Ok(())
}

fn function_tool(mut function: Fields<'_>, prompt: &mut Prompt) -> Result<Tool, CallError> {
    let tool = Tool {
        name: function.require_text("name")?,
        description: function.text("description")?,
        schema: json_object(&mut function, "parameters")?,
        strict: function.flag("strict")?,
        cache: None,
    };
    function.note_rest(prompt);
    Ok(tool)
}

fn tool_use(value: &RawValue, at: Place, prompt: &mut Prompt) -> Result<ToolUse, CallError> {
    if value.get().starts_with('"') {
        return word_of_tool_use(value, &at);
    }
    let mut choice = Fields::of(value, at)?;
    let read = match choice.text("type")?.as_deref() {
        // `function_call` of old has the name alone.
        None => ToolUse::Only(choice.require_text("name")?),
        Some("function") => ToolUse::Only(choice.require_object("function")?.require_text("name")?),
        Some("allowed_tools") => {
            let mut allowed = choice.require_object("allowed_tools")?;
            let mut names = Vec::new();
            for (at, value) in allowed.array("tools")? {
                let mut tool = Fields::of(value, at)?;
                names.push(tool.require_object("function")?.require_text("name")?);
            }
            let read = ToolUse::Among { names, must: is_required(&mut allowed)? };
            allowed.note_rest(prompt);
            read
        }
        Some(_) => return Err(choice.at.field("type").must_be("`function` or `allowed_tools`")),
    };
    choice.note_rest(prompt);
    Ok(read)
}

/// `auto`, `none` or `required`.
pub(crate) fn word_of_tool_use(value: &RawValue, at: &Place) -> Result<ToolUse, CallError> {
    match value.get() {
        "\"auto\"" => Ok(ToolUse::Auto),
        "\"none\"" => Ok(ToolUse::Never),
        "\"required\"" => Ok(ToolUse::Some),
        _ => Err(at.must_be("`auto`, `none`, `required` or an object")),
    }
}

/// The mode of a list of allowed tools.
pub(crate) fn is_required(allowed: &mut Fields<'_>) -> Result<bool, CallError> {
    match allowed.text("mode")?.as_deref() {
        None | Some("auto") => Ok(false),
        Some("required") => Ok(true),
        Some(_) => Err(allowed.at.field("mode").must_be("`auto` or `required`")),
    }
}

fn messages(fields: &mut Fields<'_>, prompt: &mut Prompt) -> Result<(), CallError> {
    let messages = fields.array("messages")?;
    if messages.is_empty() {
        return Err(Place::top("messages").must_be("an array with something in it"));
    }
    let mut conversation = Conversation::default();
    for (at, value) in messages {
        let mut message = Fields::of(value, at)?;
        let role = message.require_text("role")?;
        match role.as_str() {
            "system" | "developer" => {
                if conversation.has_begun() {
                    prompt.not_read("messages[] (the place of a system message within the conversation)");
                }
                let parts = content(&mut message, Speaker::System, prompt)?;
                conversation.system.extend(parts);
            }
            "user" => {
                let parts = content(&mut message, Speaker::User, prompt)?;
                conversation.user(parts);
            }
            "assistant" => {
                let parts = assistant(&mut message, &mut conversation, prompt)?;
                conversation.assistant(parts);
            }
            "tool" => {
                let id = message.text("tool_call_id")?;
                let at = message.at.field("tool_call_id");
                let cache = message.take("cache_control").map(ToOwned::to_owned);
                let parts = content(&mut message, Speaker::Tool, prompt)?;
                conversation.result(&at, id, parts, cache)?;
            }
            "function" => {
                let name = message.require_text("name")?;
                let at = message.at.field("name");
                let parts = content(&mut message, Speaker::Tool, prompt)?;
                conversation.result_by_name(&at, name, parts)?;
            }
            _ => {
                let roles = "`system`, `developer`, `user`, `assistant` or `tool`";
                return Err(message.at.field("role").must_be(roles));
            }
        }
        message.note_rest(prompt);
    }
    prompt.system = conversation.system;
    prompt.turns = conversation.turns;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

/// A message's content: a text or a list of parts.
fn content(message: &mut Fields<'_>, speaker: Speaker, prompt: &mut Prompt) -> Result<Vec<Part>, CallError> {
    let at = message.at.field("content");
    // Where a whole text is one message, its cache mark stands beside it.
    let cache = match speaker {
        Speaker::Tool => None,
        Speaker::System | Speaker::User | Speaker::Assistant => message.take("cache_control"),
    };
    match message.take("content") {
        None if speaker == Speaker::Assistant => {
            if cache.is_some() {
                prompt.not_read("messages[].cache_control");
            }
            Ok(Vec::new())
        }
        None => Err(at.fault("is missing")),
        Some(value) if value.get().starts_with('"') => {
            let text: String = serde_json::from_str(value.get()).map_err(|_| at.must_be("a string"))?;
            Ok(vec![Part::Text { text, cache: cache.map(ToOwned::to_owned) }])
        }
        Some(value) => {
            let parts = elements(value, &at)?;
            if let (Some(_), Speaker::System | Speaker::User | Speaker::Assistant) = (cache, speaker) {
                prompt.not_read("messages[].cache_control");
            }
            parts.into_iter().map(|(at, value)| part(value, at, speaker, prompt)).collect()
        }
    }
}

fn part(value: &RawValue, at: Place, speaker: Speaker, prompt: &mut Prompt) -> Result<Part, CallError> {
    let mut part = Fields::of(value, at)?;
    let cache = part.take("cache_control").map(ToOwned::to_owned);
    let kind = part.require_text("type")?;
    let media = |medium, source, detail| Part::Media { medium, source, detail, cache: cache.clone() };
    let read = match (kind.as_str(), speaker) {
        ("text", _) => Part::Text { text: part.require_text("text")?, cache },
        ("refusal", Speaker::Assistant) => Part::Refusal { text: part.require_text("refusal")? },
        ("image_url", Speaker::User | Speaker::Tool) => {
            let mut image = part.require_object("image_url")?;
            let url = image.require_text("url")?;
            let source = parts::source_of_url(url, None)
                .ok_or_else(|| image.at.field("url").must_be("an address or a `data:` URL in base64"))?;
            let detail = image.text("detail")?;
            image.note_rest(prompt);
            media(Medium::Image, source, detail)
        }
        ("input_audio", Speaker::User) => {
            let mut audio = part.require_object("input_audio")?;
            let media_type = parts::audio_type(&audio.require_text("format")?);
            let source = Source::Inline { media_type, data: audio.require_text("data")?, filename: None };
            audio.note_rest(prompt);
            media(Medium::Audio, source, None)
        }
        ("file", Speaker::User) => {
            let mut file = part.require_object("file")?;
            let source = file_source(&mut file)?;
            file.note_rest(prompt);
            media(Medium::Document, source, None)
        }
        _ => {
            return Err(part.at.field("type").fault(format_args!("is unknown here: {}", json_string(&kind))));
        }
    };
    part.note_rest(prompt);
    Ok(read)
}

/// A file in the request, or kept at the provider.
pub(crate) fn file_source(file: &mut Fields<'_>) -> Result<Source, CallError> {
    if let Some(id) = file.text("file_id")? {
        return Ok(Source::File { id });
    }
    let filename = file.text("filename")?;
    let data = file.require_text("file_data")?;
    if !data.contains(':') {
        // Some clients send the bare base64; OpenAI takes that for a PDF.
        return Ok(Source::Inline { media_type: "application/pdf".into(), data, filename });
    }
    match parts::source_of_url(data, filename) {
        Some(inline @ Source::Inline { .. }) => Ok(inline),
        Some(Source::Url { .. } | Source::File { .. }) | None => {
            Err(file.at.field("file_data").must_be("a `data:` URL in base64"))
        }
    }
}

fn assistant(
    message: &mut Fields<'_>,
    conversation: &mut Conversation,
    prompt: &mut Prompt,
) -> Result<Vec<Part>, CallError> {
    // What answers have, and clients send back with them.
    for own in ["annotations", "parsed"] {
        message.take(own);
    }
    let mut parts = thoughts(message, prompt)?;
    parts.extend(content(message, Speaker::Assistant, prompt)?.into_iter().filter(|part| match part {
        // What stands beside calls where nothing was said.
        Part::Text { text, .. } => !text.is_empty(),
        _ => true,
    }));
    if let Some(text) = message.text("refusal")?.filter(|text| !text.is_empty()) {
        parts.push(Part::Refusal { text });
    }
    if message.take("audio").is_some() {
        return Err(message
            .at
            .field("audio")
            .fault("names an answer that the provider of this model does not have"));
    }
    for (at, value) in message.array("tool_calls")? {
        let mut call = Fields::of(value, at)?;
        let id = call.text("id")?;
        let signature = thought_signature(&mut call)?;
        let function = call.require_object("function")?;
        parts.push(called(function, id, signature, conversation, prompt)?);
        // What pieces of a stream have, and clients send back with the whole.
        for own in ["type", "index"] {
            call.take(own);
        }
        call.note_rest(prompt);
    }
    if let Some(function) = message.object("function_call")? {
        parts.push(called(function, None, None, conversation, prompt)?);
    }
    Ok(parts)
}

fn called(
    mut function: Fields<'_>,
    id: Option<String>,
    signature: Option<String>,
    conversation: &mut Conversation,
    prompt: &mut Prompt,
) -> Result<Part, CallError> {
    let name = function.require_text("name")?;
    let text = function.text("arguments")?.unwrap_or_default();
    let arguments = parts::arguments(text)
        .ok_or_else(|| function.at.field("arguments").must_be("the text of a JSON object"))?;
    function.note_rest(prompt);
    Ok(Part::Call { id: conversation.call_id(id, &name), name, arguments, signature })
}

/// Gemini's proof of a call.
pub(crate) fn thought_signature(call: &mut Fields<'_>) -> Result<Option<String>, CallError> {
    let Some(mut extra) = call.object("extra_content")? else { return Ok(None) };
    let Some(mut google) = extra.object("google")? else { return Ok(None) };
    google.text("thought_signature")
}

fn thoughts(message: &mut Fields<'_>, prompt: &mut Prompt) -> Result<Vec<Part>, CallError> {
    let (blocks, details) = (message.array("thinking_blocks")?, message.array("reasoning_details")?);
    let plain = message.text("reasoning_content")?;
    let plain = plain.or(message.text("reasoning")?).filter(|text| !text.is_empty());
    let mut parts = Vec::new();
    for (at, value) in blocks {
        let mut block = Fields::of(value, at)?;
        match block.require_text("type")?.as_str() {
            "thinking" => parts.push(Part::Thinking {
                text: block.text("thinking")?.unwrap_or_default(),
                signature: block.text("signature")?.filter(|signature| !signature.is_empty()),
            }),
            "redacted_thinking" => parts.push(Part::HiddenThinking { data: block.require_text("data")? }),
            _ => prompt.not_read("messages[].thinking_blocks[] (of an unknown type)"),
        }
    }
    if parts.is_empty() {
        for (at, value) in details {
            let mut detail = Fields::of(value, at)?;
            match detail.require_text("type")?.as_str() {
                "reasoning.text" => parts.push(Part::Thinking {
                    text: detail.text("text")?.unwrap_or_default(),
                    signature: detail.text("signature")?.filter(|signature| !signature.is_empty()),
                }),
                // Only the vendor that sealed it can open it.
                _ => prompt.not_read("messages[].reasoning_details[] (other than `reasoning.text`)"),
            }
        }
    }
    if let Some(text) = plain.filter(|_| parts.is_empty()) {
        parts.push(Part::Thinking { text, signature: None });
    }
    Ok(parts)
}
