//! The dialogue's request, written for a provider.

use super::read::lone;
use super::{is_kept_at_google, is_youtube, type_by_ending};
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Source, Target, Tool, ToolUse, Turn, Written,
};
use crate::error::CallError;
use crate::gemini::object::unsupported;
use crate::gemini::path::model_name;
use crate::gemini::wire::{ContentOut, FileOut, PartOut, ResultOut};
use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// How many stop texts Google takes.
const MAX_STOPS: usize = 5;
/// What Google documents to stand in for the proof of a thought where a call came from another model or was shown to
/// a client that did not keep the proof. Without any, newer models refuse the turn after a call.
const NO_PROOF: &str = "skip_thought_signature_validator";
/// The largest thinking budget of the large models, and of the others.
const MAX_BUDGETS: (u64, u64) = (32_768, 24_576);
/// The smallest budget of the large models, which cannot do without.
const LEAST_BUDGET: u64 = 128;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<SystemOut<'a>>,
    contents: Vec<ContentOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolsOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfigOut<'a>>,
    generation_config: ConfigOut<'a>,
}

#[derive(Serialize)]
struct SystemOut<'a> {
    parts: Vec<PartOut<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolsOut<'a> {
    function_declarations: Vec<DeclarationOut<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeclarationOut<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfigOut<'a> {
    function_calling_config: CallingOut<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallingOut<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    allowed_function_names: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigOut<'a> {
    max_output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingOut>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ThinkingOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    include_thoughts: bool,
}

/// What a model takes, by its name.
#[derive(Clone, Copy)]
struct Generation {
    /// Levels of thinking instead of budgets, media within results of functions, and proofs of thoughts with calls.
    is_third: bool,
    /// A large model, which always thinks.
    is_pro: bool,
}

impl Generation {
    fn of(upstream_model: &str) -> Self {
        let name = model_name(upstream_model).rsplit('/').next().unwrap_or_default();
        let digits = name.strip_prefix("gemini-").unwrap_or_default();
        let major: u32 = digits
            .split(|it: char| !it.is_ascii_digit())
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or_default();
        Self { is_third: major >= 3, is_pro: name.contains("pro") }
    }
}

/// What has no counterpart, by the caller's names, each once.
struct Dropped(Vec<String>);

impl Dropped {
    fn note(&mut self, field: &str) {
        if !self.0.iter().any(|known| known == field) {
            self.0.push(field.to_owned());
        }
    }
}

/// Writes a request for a provider of this format. Whether it is a stream goes into the path.
///
/// # Errors
/// [`CallError::BadRequest`] naming what cannot be said in this format.
pub fn write(prompt: &Prompt, target: &Target<'_>) -> Result<Written, CallError> {
    let generation = Generation::of(target.upstream_model);
    let mut dropped = Dropped(prompt.unread.clone());
    let system = system(prompt, &mut dropped)?;
    let contents = contents(prompt, generation, &mut dropped)?;
    if contents.is_empty() {
        return Err(CallError::bad("messages", "there must be a message with something in it"));
    }
    if prompt.stop.len() > MAX_STOPS {
        return Err(unsupported(
            "stop",
            format!("`stop` may hold at most {MAX_STOPS} texts with the provider of this model"),
        ));
    }
    if prompt.user.is_some() {
        dropped.note("user");
    }
    if prompt.parallel_tools == Some(false) && !prompt.tools.is_empty() {
        dropped.note("parallel_tool_calls");
    }
    let (response_mime_type, response_json_schema) = match &prompt.format {
        OutputFormat::Text => (None, None),
        OutputFormat::Json => (Some("application/json"), None),
        OutputFormat::Schema { schema, description, .. } => {
            if description.is_some() {
                dropped.note("response_format.json_schema.description");
            }
            (Some("application/json"), Some(&**schema))
        }
    };
    let sampling = &prompt.sampling;
    let request = RequestOut {
        system_instruction: (!system.is_empty()).then_some(SystemOut { parts: system }),
        contents,
        tools: tools(&prompt.tools, &mut dropped),
        tool_config: prompt.tool_use.as_ref().map(tool_config),
        generation_config: ConfigOut {
            max_output_tokens: prompt.max_output.unwrap_or(target.default_cap),
            candidate_count: (prompt.choices > 1).then_some(prompt.choices),
            temperature: sampling.temperature.as_ref(),
            top_p: sampling.top_p.as_ref(),
            top_k: sampling.top_k.as_ref(),
            seed: sampling.seed.as_ref(),
            presence_penalty: sampling.presence_penalty.as_ref(),
            frequency_penalty: sampling.frequency_penalty.as_ref(),
            stop_sequences: &prompt.stop,
            response_mime_type,
            response_json_schema,
            thinking_config: prompt.reasoning.as_ref().map(|it| thinking(it, generation, &mut dropped)),
        },
    };
    let body = serde_json::to_vec(&request).map_err(|_| CallError::Internal)?;
    Ok(Written { body: body.into(), dropped: dropped.0 })
}

fn system<'a>(prompt: &'a Prompt, dropped: &mut Dropped) -> Result<Vec<PartOut<'a>>, CallError> {
    let mut parts = Vec::new();
    for part in &prompt.system {
        match part {
            Part::Text { text, cache } => {
                if cache.is_some() {
                    dropped.note("cache_control");
                }
                if !text.is_empty() {
                    parts.push(PartOut::text(text));
                }
            }
            Part::Media { .. }
            | Part::Thinking { .. }
            | Part::HiddenThinking { .. }
            | Part::Call { .. }
            | Part::Result { .. }
            | Part::Refusal { .. } => {
                return Err(unsupported(
                    "system",
                    "system instructions must be text with the provider of this model".into(),
                ));
            }
        }
    }
    Ok(parts)
}

fn tools<'a>(tools: &'a [Tool], dropped: &mut Dropped) -> Vec<ToolsOut<'a>> {
    if tools.is_empty() {
        return Vec::new();
    }
    let function_declarations = tools
        .iter()
        .map(|tool| {
            if tool.strict == Some(true) {
                dropped.note("tools[].strict");
            }
            if tool.cache.is_some() {
                dropped.note("cache_control");
            }
            DeclarationOut {
                name: &tool.name,
                description: tool.description.as_deref(),
                parameters_json_schema: tool.schema.as_deref(),
            }
        })
        .collect();
    vec![ToolsOut { function_declarations }]
}

fn tool_config(tool_use: &ToolUse) -> ToolConfigOut<'_> {
    let (mode, allowed_function_names): (_, &[String]) = match tool_use {
        ToolUse::Auto => ("AUTO", &[]),
        ToolUse::Never => ("NONE", &[]),
        ToolUse::Some => ("ANY", &[]),
        ToolUse::Only(name) => ("ANY", std::slice::from_ref(name)),
        ToolUse::Among { names, must: true } => ("ANY", names),
        // `AUTO` takes no names.
        ToolUse::Among { names, must: false } => ("VALIDATED", names),
    };
    ToolConfigOut { function_calling_config: CallingOut { mode, allowed_function_names } }
}

fn thinking(reasoning: &Reasoning, model: Generation, dropped: &mut Dropped) -> ThinkingOut {
    let level = |effort: Effort| match effort {
        // Large models know no less.
        Effort::Minimal if model.is_pro => "low",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::Higher | Effort::Max => "high",
    };
    let most = if model.is_pro { MAX_BUDGETS.0 } else { MAX_BUDGETS.1 };
    // At most `most`, so it fits.
    let budget = |tokens: u64| i64::try_from(tokens.min(most)).unwrap_or(i64::MAX);
    let (thinking_level, thinking_budget) = match reasoning {
        Reasoning::Off if model.is_third => {
            // They cannot but think.
            dropped.note("reasoning");
            (Some(level(Effort::Minimal)), None)
        }
        Reasoning::Off if model.is_pro => {
            dropped.note("reasoning");
            (None, Some(budget(LEAST_BUDGET)))
        }
        Reasoning::Off => (None, Some(0)),
        Reasoning::Effort(effort) if model.is_third => (Some(level(*effort)), None),
        Reasoning::Effort(effort) => (None, Some(budget(effort.budget()))),
        Reasoning::Budget(tokens) if model.is_third => (Some(level(Effort::of_budget(*tokens))), None),
        Reasoning::Budget(tokens) => (None, Some(budget(*tokens))),
        // Newer models adapt when told nothing.
        Reasoning::Adaptive if model.is_third => (None, None),
        Reasoning::Adaptive => (None, Some(-1)),
    };
    ThinkingOut { thinking_level, thinking_budget, include_thoughts: *reasoning != Reasoning::Off }
}

/// What the calls of a conversation are, by their ids.
type CallsById<'a> = HashMap<&'a str, (usize, &'a str)>;

fn contents<'a>(
    prompt: &'a Prompt,
    model: Generation,
    dropped: &mut Dropped,
) -> Result<Vec<ContentOut<'a>>, CallError> {
    let mut calls: CallsById<'a> = HashMap::new();
    for part in prompt.turns.iter().flat_map(|turn| &turn.parts) {
        if let Part::Call { id, name, .. } = part {
            let at = calls.len();
            calls.entry(id).or_insert((at, name));
        }
    }
    let mut contents = Vec::new();
    for turns in prompt.turns.chunk_by(|one, next| one.role == next.role) {
        let (role, parts) = match turns.first().map_or(Role::User, |turn| turn.role) {
            Role::User => ("user", user_parts(turns, &calls, model, dropped)?),
            Role::Assistant => ("model", model_parts(turns, model, dropped)?),
        };
        if !parts.is_empty() {
            contents.push(ContentOut { role, parts });
        }
    }
    Ok(contents)
}

/// Results first, in the order of their calls: Google tells parallel calls of one function apart by it.
fn user_parts<'a>(
    turns: &'a [Turn],
    calls: &CallsById<'a>,
    model: Generation,
    dropped: &mut Dropped,
) -> Result<Vec<PartOut<'a>>, CallError> {
    let mut results: Vec<(usize, PartOut<'a>)> = Vec::new();
    let mut rest = Vec::new();
    for part in turns.iter().flat_map(|turn| &turn.parts) {
        match part {
            Part::Result { id, name, content, is_error, cache } => {
                if cache.is_some() {
                    dropped.note("cache_control");
                }
                let call = calls.get(id.as_str());
                let name = match call {
                    _ if !name.is_empty() => name,
                    Some((_, name)) => *name,
                    None => {
                        return Err(CallError::bad(
                            "messages",
                            format!(
                                "the result of the tool call `{}` has no call before it",
                                id.chars().take(100).collect::<String>()
                            ),
                        ));
                    }
                };
                let (response, media) = result(content, *is_error, dropped)?;
                // Older models take media beside a result, newer ones within.
                let (within, beside) = if model.is_third { (media, Vec::new()) } else { (Vec::new(), media) };
                let response = ResultOut { id, name, response, parts: within };
                results.push((
                    call.map_or(usize::MAX, |(at, _)| *at),
                    PartOut { function_response: Some(response), ..PartOut::default() },
                ));
                rest.extend(beside);
            }
            Part::Call { .. } => {
                return Err(CallError::bad("messages", "a user's message must not call tools"));
            }
            Part::Text { .. }
            | Part::Media { .. }
            | Part::Thinking { .. }
            | Part::HiddenThinking { .. }
            | Part::Refusal { .. } => rest.extend(plain(part, dropped)?),
        }
    }
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, part)| part).chain(rest).collect())
}

fn model_parts<'a>(
    turns: &'a [Turn],
    model: Generation,
    dropped: &mut Dropped,
) -> Result<Vec<PartOut<'a>>, CallError> {
    let mut parts = Vec::new();
    let mut has_call = false;
    for part in turns.iter().flat_map(|turn| &turn.parts) {
        match part {
            Part::Call { id, name, arguments, signature } => {
                // Only the first of parallel calls has a proof.
                let missing = (model.is_third && !has_call).then_some(NO_PROOF);
                has_call = true;
                parts.push(PartOut::call(id, name, arguments, signature.as_deref().or(missing)));
            }
            Part::Result { .. } => {
                return Err(CallError::bad("messages", "a model's message must not hold results of tools"));
            }
            Part::Text { .. }
            | Part::Media { .. }
            | Part::Thinking { .. }
            | Part::HiddenThinking { .. }
            | Part::Refusal { .. } => parts.extend(plain(part, dropped)?),
        }
    }
    Ok(parts)
}

/// A part that both sides may have. `None`: there is nothing to say.
fn plain<'a>(part: &'a Part, dropped: &mut Dropped) -> Result<Option<PartOut<'a>>, CallError> {
    Ok(match part {
        Part::Text { text, cache } => {
            if cache.is_some() {
                dropped.note("cache_control");
            }
            (!text.is_empty()).then(|| PartOut::text(text))
        }
        Part::Refusal { text } => (!text.is_empty()).then(|| PartOut::text(text)),
        Part::Thinking { text, signature } => {
            (!text.is_empty() || signature.is_some()).then(|| PartOut::thought(text, signature.as_deref()))
        }
        Part::HiddenThinking { .. } => {
            dropped.note("redacted_thinking");
            None
        }
        Part::Media { medium, source, detail, cache } => {
            if detail.as_deref().is_some_and(|detail| detail != "auto") {
                dropped.note("image_url.detail");
            }
            if cache.is_some() {
                dropped.note("cache_control");
            }
            Some(media(*medium, source, dropped)?)
        }
        Part::Call { .. } | Part::Result { .. } => None,
    })
}

fn media<'a>(medium: Medium, source: &'a Source, dropped: &mut Dropped) -> Result<PartOut<'a>, CallError> {
    let refuse = |why: &str| Err(unsupported("messages", why.to_owned()));
    let file = |mime_type, file_uri| PartOut {
        file_data: Some(FileOut { mime_type, file_uri }),
        ..PartOut::default()
    };
    match source {
        Source::Inline { media_type, data, filename } => {
            if filename.is_some() {
                dropped.note("filename");
            }
            Ok(PartOut::blob(media_type, data))
        }
        Source::Url { url, media_type } => {
            if is_youtube(url) {
                return Ok(file(media_type.as_deref(), url));
            }
            if !url.starts_with("https://") && !url.starts_with("http://") {
                return refuse("media must be given inline or at an https address");
            }
            match media_type.as_deref().or_else(|| type_by_ending(url)) {
                Some(kind) => Ok(file(Some(kind), url)),
                None => refuse(match medium {
                    Medium::Image => {
                        "an image's address must end like one (.png, .jpg…) with the provider of this model; \
                         or give the image inline"
                    }
                    Medium::Audio | Medium::Document | Medium::Video => {
                        "a file's address must end like its type (.pdf, .mp3…) with the provider of this model; \
                         or give the file inline"
                    }
                }),
            }
        }
        Source::File { id } if is_kept_at_google(id) => Ok(file(None, id)),
        Source::File { .. } => {
            refuse("a file that another provider keeps cannot be read by the provider of this model")
        }
    }
}

/// A function's result, which must be an object, and the media in it.
fn result<'a>(
    content: &'a [Part],
    is_error: bool,
    dropped: &mut Dropped,
) -> Result<(Box<RawValue>, Vec<PartOut<'a>>), CallError> {
    let mut texts: Vec<&str> = Vec::new();
    let mut media_parts = Vec::new();
    for part in content {
        match part {
            Part::Text { text, cache } => {
                if cache.is_some() {
                    dropped.note("cache_control");
                }
                texts.push(text);
            }
            Part::Refusal { text } => texts.push(text),
            Part::Media { .. } => media_parts.extend(plain(part, dropped)?),
            Part::Thinking { .. } | Part::HiddenThinking { .. } | Part::Call { .. } | Part::Result { .. } => {
                return Err(CallError::bad("messages", "a tool's result must be text or media"));
            }
        }
    }
    let text = texts.join("\n");
    // An object speaks for itself, unless it looks like our wrapping.
    if !is_error
        && text.starts_with('{')
        && text.ends_with('}')
        && let Ok(object) = serde_json::from_str::<Box<RawValue>>(&text)
        && lone(&object).is_none()
    {
        return Ok((object, media_parts));
    }
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Wrapped<'a> {
        Result(&'a str),
        Error(&'a str),
    }
    let wrapped = if is_error { Wrapped::Error(&text) } else { Wrapped::Result(&text) };
    let response = serde_json::value::to_raw_value(&wrapped).map_err(|_| CallError::Internal)?;
    Ok((response, media_parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_to_think_is_said_as_the_model_takes_it() {
        let written = |model, reasoning| {
            let mut dropped = Dropped(Vec::new());
            let thinking = thinking(&reasoning, Generation::of(model), &mut dropped);
            (thinking.thinking_level, thinking.thinking_budget, thinking.include_thoughts, dropped.0.len())
        };
        let (flash, pro, third, third_pro) =
            ("gemini-2.5-flash", "models/gemini-2.5-pro", "gemini-3-flash-preview", "google/gemini-3.1-pro");
        let cases = [
            (flash, Reasoning::Off, (None, Some(0), false, 0)),
            (flash, Reasoning::Effort(Effort::Low), (None, Some(2048), true, 0)),
            (flash, Reasoning::Effort(Effort::Max), (None, Some(24_576), true, 0)),
            (flash, Reasoning::Budget(777), (None, Some(777), true, 0)),
            (flash, Reasoning::Adaptive, (None, Some(-1), true, 0)),
            (pro, Reasoning::Off, (None, Some(128), false, 1)),
            (pro, Reasoning::Budget(40_000), (None, Some(32_768), true, 0)),
            (third, Reasoning::Off, (Some("minimal"), None, false, 1)),
            (third, Reasoning::Effort(Effort::Minimal), (Some("minimal"), None, true, 0)),
            (third, Reasoning::Effort(Effort::Medium), (Some("medium"), None, true, 0)),
            (third, Reasoning::Effort(Effort::Higher), (Some("high"), None, true, 0)),
            (third, Reasoning::Budget(2000), (Some("low"), None, true, 0)),
            (third, Reasoning::Adaptive, (None, None, true, 0)),
            (third_pro, Reasoning::Effort(Effort::Minimal), (Some("low"), None, true, 0)),
            ("gemini-flash-latest", Reasoning::Effort(Effort::High), (None, Some(16_384), true, 0)),
        ];
        for (model, reasoning, expected) in cases {
            assert_eq!(written(model, reasoning.clone()), expected, "{model} {reasoning:?}");
        }
    }
}
