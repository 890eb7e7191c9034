//! A request of Responses, read into a prompt.

use super::REDACTED;
use crate::body::{self, MAX_OUTPUT_TOKENS, json_string};
use crate::dialogue::{Medium, OutputFormat, Part, Prompt, Reasoning, Sampling, Source, Tool, ToolUse};
use crate::error::CallError;
use crate::openai::fields::{Fields, Place, elements};
use crate::openai::parts::{self, Conversation};
use crate::openai::prompt::{file_source, is_required, json_object, thought_signature, word_of_tool_use};
use serde_json::value::RawValue;

/// Reads a caller's request.
///
/// # Errors
/// [`CallError::BadRequest`] naming the field that is of a wrong shape or cannot be honoured by a provider of another
/// format.
pub fn read(body: &[u8]) -> Result<Prompt, CallError> {
    let mut fields = Fields::of_body(body)?;
    for routed in ["model", "stream_options"] {
        fields.take(routed);
    }
    refuse_what_is_kept(&mut fields)?;
    let mut prompt =
        Prompt { stream: fields.flag("stream")?.unwrap_or(false), choices: 1, ..Prompt::default() };
    let cap = fields.take("max_output_tokens");
    prompt.max_output = body::whole_number(cap, "max_output_tokens", MAX_OUTPUT_TOKENS)?;
    input(&mut fields, &mut prompt)?;
    for (at, value) in fields.array("tools")? {
        let tool = tool(Fields::of(value, at)?, &mut prompt)?;
        prompt.tools.push(tool);
    }
    if let Some(choice) = fields.take("tool_choice") {
        prompt.tool_use = Some(tool_use(choice, &mut prompt)?);
    }
    prompt.parallel_tools = fields.flag("parallel_tool_calls")?;
    prompt.sampling = Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        ..Sampling::default()
    };
    if let Some(mut text) = fields.object("text")? {
        if let Some(format) = text.object("format")? {
            prompt.format = text_format(format, &mut prompt)?;
        }
        for (field, value) in text.rest() {
            if (field.as_ref(), value.get()) != ("verbosity", "\"medium\"") {
                prompt.not_read(format!("text.{field}"));
            }
        }
    }
    if let Some(reasoning) = fields.object("reasoning")? {
        prompt.reasoning = effort(reasoning, &mut prompt)?;
    }
    prompt.user = match (fields.text("user")?, fields.text("safety_identifier")?) {
        (Some(user), None) | (None, Some(user)) => Some(user),
        (Some(user), Some(_)) => {
            prompt.not_read("safety_identifier");
            Some(user)
        }
        (None, None) => None,
    };
    for (field, value) in fields.rest() {
        if !says_nothing(&field, value.get()) {
            prompt.not_read(field);
        }
    }
    Ok(prompt)
}

/// Refuses what only one provider has, and what is answered later.
fn refuse_what_is_kept(fields: &mut Fields<'_>) -> Result<(), CallError> {
    for field in ["previous_response_id", "conversation", "prompt"] {
        if fields.take(field).is_some() {
            return Err(Place::top(field).fault("refers to what the provider of this model does not keep"));
        }
    }
    if fields.flag("background")? == Some(true) {
        return Err(Place::top("background").fault("cannot be honoured by the provider of this model"));
    }
    Ok(())
}

/// Is it what holds anyway? (`store` is true where nothing is said.)
fn says_nothing(field: &str, value: &str) -> bool {
    match field {
        "store" => value == "false",
        "truncation" => value == "\"disabled\"",
        "service_tier" => matches!(value, "\"auto\"" | "\"default\""),
        // The proofs of thoughts are always given.
        "include" => {
            value.split_ascii_whitespace().collect::<String>() == r#"["reasoning.encrypted_content"]"#
                || value.split_ascii_whitespace().collect::<String>() == "[]"
        }
        "top_logprobs" => value == "0",
        "metadata" => value.strip_prefix('{').is_some_and(|rest| rest.trim_ascii_start() == "}"),
        _ => false,
    }
}

fn effort(mut reasoning: Fields<'_>, prompt: &mut Prompt) -> Result<Option<Reasoning>, CallError> {
    // Whatever the provider tells of its thoughts is given.
    for summary in ["summary", "generate_summary"] {
        reasoning.take(summary);
    }
    let effort = match reasoning.text("effort")? {
        None => None,
        Some(word) => Some(match parts::effort_of(&word) {
            Some(Some(effort)) => Reasoning::Effort(effort),
            Some(None) => Reasoning::Off,
            None => {
                let words = "`none`, `minimal`, `low`, `medium`, `high` or `xhigh`";
                return Err(reasoning.at.field("effort").must_be(words));
            }
        }),
    };
    for (field, _) in reasoning.rest() {
        prompt.not_read(format!("reasoning.{field}"));
    }
    Ok(effort)
}

fn text_format(mut format: Fields<'_>, prompt: &mut Prompt) -> Result<OutputFormat, CallError> {
    let read = match format.require_text("type")?.as_str() {
        "text" => OutputFormat::Text,
        "json_object" => OutputFormat::Json,
        "json_schema" => OutputFormat::Schema {
            name: format.require_text("name")?,
            description: format.text("description")?,
            schema: json_object(&mut format, "schema")?.ok_or_else(|| format.missing("schema"))?,
            strict: format.flag("strict")?,
        },
        _ => return Err(format.at.field("type").must_be("`text`, `json_object` or `json_schema`")),
    };
    format.note_rest(prompt);
    Ok(read)
}

fn tool(mut tool: Fields<'_>, prompt: &mut Prompt) -> Result<Tool, CallError> {
    if tool.require_text("type")? != "function" {
        return Err(tool.at.field("type").must_be("`function`: the model's provider knows no other"));
    }
    let read = Tool {
        name: tool.require_text("name")?,
        description: tool.text("description")?,
        schema: json_object(&mut tool, "parameters")?,
        strict: tool.flag("strict")?,
        cache: None,
    };
    tool.note_rest(prompt);
    Ok(read)
}

fn tool_use(value: &RawValue, prompt: &mut Prompt) -> Result<ToolUse, CallError> {
    let at = Place::top("tool_choice");
    if value.get().starts_with('"') {
        return word_of_tool_use(value, &at);
    }
    let mut choice = Fields::of(value, at)?;
    let read = match choice.require_text("type")?.as_str() {
        "function" => ToolUse::Only(choice.require_text("name")?),
        "allowed_tools" => {
            let mut names = Vec::new();
            for (at, value) in choice.array("tools")? {
                names.push(Fields::of(value, at)?.require_text("name")?);
            }
            ToolUse::Among { names, must: is_required(&mut choice)? }
        }
        _ => return Err(choice.at.field("type").must_be("`function` or `allowed_tools`")),
    };
    choice.note_rest(prompt);
    Ok(read)
}

fn input(fields: &mut Fields<'_>, prompt: &mut Prompt) -> Result<(), CallError> {
    let mut conversation = Conversation::default();
    if let Some(text) = fields.text("instructions")? {
        conversation.system.push(Part::text(text));
    }
    let at = Place::top("input");
    match fields.take("input") {
        None => return Err(fields.missing("input")),
        Some(value) if value.get().starts_with('"') => {
            let text: String = serde_json::from_str(value.get()).map_err(|_| at.must_be("a string"))?;
            conversation.user(vec![Part::text(text)]);
        }
        Some(value) => {
            for (at, value) in elements(value, &at)? {
                item(Fields::of(value, at)?, &mut conversation, prompt)?;
            }
        }
    }
    prompt.system = conversation.system;
    prompt.turns = conversation.turns;
    Ok(())
}

fn item(mut item: Fields<'_>, conversation: &mut Conversation, prompt: &mut Prompt) -> Result<(), CallError> {
    // What answers have and no request needs.
    for own in ["id", "status"] {
        item.take(own);
    }
    let kind = item.text("type")?;
    match kind.as_deref() {
        None | Some("message") => message(&mut item, conversation, prompt)?,
        Some("function_call") => {
            let name = item.require_text("name")?;
            let text = item.text("arguments")?.unwrap_or_default();
            let arguments = parts::arguments(text)
                .ok_or_else(|| item.at.field("arguments").must_be("the text of a JSON object"))?;
            let signature = thought_signature(&mut item)?;
            let id = conversation.call_id(item.text("call_id")?, &name);
            conversation.assistant_part(Part::Call { id, name, arguments, signature });
        }
        Some("function_call_output") => {
            let id = item.text("call_id")?;
            let at = item.at.field("call_id");
            let output = content(&mut item, "output", "user", prompt)?;
            conversation.result(&at, id, output, None)?;
        }
        Some("reasoning") => {
            if let Some(thought) = thought(&mut item, prompt)? {
                conversation.assistant_part(thought);
            }
        }
        Some(other) => {
            return Err(item.at.field("type").fault(format_args!(
                "is {}, which the provider of this model does not know",
                json_string(other)
            )));
        }
    }
    item.note_rest(prompt);
    Ok(())
}

fn message(
    item: &mut Fields<'_>,
    conversation: &mut Conversation,
    prompt: &mut Prompt,
) -> Result<(), CallError> {
    let role = item.require_text("role")?;
    let parts = match role.as_str() {
        "user" | "assistant" | "system" | "developer" => content(item, "content", &role, prompt)?,
        _ => return Err(item.at.field("role").must_be("`user`, `assistant`, `system` or `developer`")),
    };
    match role.as_str() {
        "user" => conversation.user(parts),
        "assistant" => {
            for part in parts {
                conversation.assistant_part(part);
            }
        }
        _ => {
            if conversation.has_begun() {
                prompt.not_read("input[] (the place of a system message within the conversation)");
            }
            conversation.system.extend(parts);
        }
    }
    Ok(())
}

fn thought(item: &mut Fields<'_>, prompt: &mut Prompt) -> Result<Option<Part>, CallError> {
    let mut texts = Vec::new();
    for list in ["summary", "content"] {
        let parts = item.array(list)?;
        if texts.is_empty() {
            for (at, value) in parts {
                texts.push(Fields::of(value, at)?.require_text("text")?);
            }
        } else if !parts.is_empty() {
            // The thought itself, of which the summary tells.
            prompt.not_read("input[].content");
        }
    }
    let text = texts.join("\n\n");
    let proof = item.text("encrypted_content")?;
    Ok(match proof {
        Some(proof) => match proof.strip_prefix(REDACTED) {
            Some(data) => Some(Part::HiddenThinking { data: data.to_owned() }),
            None => Some(Part::Thinking { text, signature: Some(proof) }),
        },
        None => (!text.is_empty()).then_some(Part::Thinking { text, signature: None }),
    })
}

/// A text or a list of parts.
fn content(
    item: &mut Fields<'_>,
    field: &'static str,
    role: &str,
    prompt: &mut Prompt,
) -> Result<Vec<Part>, CallError> {
    let at = item.at.field(field);
    match item.take(field) {
        None => Err(at.fault("is missing")),
        Some(value) if value.get().starts_with('"') => {
            let text: String = serde_json::from_str(value.get()).map_err(|_| at.must_be("a string"))?;
            Ok(vec![Part::text(text)])
        }
        Some(value) => {
            elements(value, &at)?.into_iter().map(|(at, value)| part(value, at, role, prompt)).collect()
        }
    }
}

fn part(value: &RawValue, at: Place, role: &str, prompt: &mut Prompt) -> Result<Part, CallError> {
    let mut part = Fields::of(value, at)?;
    let kind = part.require_text("type")?;
    let media = |medium, source, detail| Part::Media { medium, source, detail, cache: None };
    let read = match (kind.as_str(), role) {
        ("input_text" | "output_text" | "text", _) => {
            // What answers have, and clients send back with them.
            for own in ["annotations", "logprobs"] {
                part.take(own);
            }
            Part::text(part.require_text("text")?)
        }
        ("refusal", "assistant") => Part::Refusal { text: part.require_text("refusal")? },
        ("input_image", "user") => {
            let detail = part.text("detail")?;
            let source = match part.text("file_id")? {
                Some(id) => Source::File { id },
                None => parts::source_of_url(part.require_text("image_url")?, None).ok_or_else(|| {
                    part.at.field("image_url").must_be("an address or a `data:` URL in base64")
                })?,
            };
            media(Medium::Image, source, detail)
        }
        ("input_file", "user") => {
            let source = match part.text("file_url")? {
                Some(url) => Source::Url { url, media_type: None },
                None => file_source(&mut part)?,
            };
            media(Medium::Document, source, None)
        }
        ("input_audio", "user") => {
            let mut audio = part.require_object("input_audio")?;
            let media_type = parts::audio_type(&audio.require_text("format")?);
            let source = Source::Inline { media_type, data: audio.require_text("data")?, filename: None };
            audio.note_rest(prompt);
            media(Medium::Audio, source, None)
        }
        _ => {
            return Err(part.at.field("type").fault(format_args!("is unknown here: {}", json_string(&kind))));
        }
    };
    part.note_rest(prompt);
    Ok(read)
}
