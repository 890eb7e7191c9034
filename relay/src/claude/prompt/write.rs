//! The dialogue's request, written for a provider of this format.
//!
//! Claims: the rules of the format hold for any dialogue: the first turn is the user's, sides take turns, results come
//! first in a turn, ids are plain, no text is empty, a thinking budget lies from 1024 to below `max_tokens`. What would
//! make the call mean something else is refused; the rest is named in what was dropped.

use super::ids::Ids;
use super::model::{Abilities, abilities};
use crate::claude::wire::empty_object;
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Source, Target, Tool, ToolUse, Written,
};
use crate::error::CallError;
use serde::Serialize;
use serde_json::Number;
use serde_json::value::RawValue;

/// The least a model may think, in tokens.
const MIN_BUDGET: u64 = 1024;
/// What stands for the user's turn where a conversation begins with the model's.
const OPENING: &str = "(The conversation begins here.)";
/// The types of images that the format takes.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Content<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a Number>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(&'a str),
    Blocks(Vec<Block<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Image {
        source: SourceView<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Document {
        source: SourceView<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: String,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<Content<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum SourceView<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

#[derive(Serialize)]
struct ToolView<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Schema<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Given(&'a RawValue),
    /// Of a function without arguments.
    None {
        r#type: &'static str,
        properties: Box<RawValue>,
    },
}

#[derive(Serialize)]
struct ToolChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize)]
struct Thinking {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_tokens: Option<u64>,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: &'a str,
}

/// What was left out, each name once.
#[derive(Default)]
struct Dropped(Vec<String>);

impl Dropped {
    fn note(&mut self, field: &str) {
        if !self.0.iter().any(|known| known == field) {
            self.0.push(field.to_owned());
        }
    }
}

/// Writes a request for a provider.
///
/// # Errors
/// [`CallError::BadRequest`] naming what the format cannot say.
pub fn write(prompt: &Prompt, target: &Target<'_>) -> Result<Written, CallError> {
    if prompt.choices > 1 {
        return Err(unsupported("n", "this model gives one answer per call: `n` must be 1"));
    }
    let can = abilities(target.upstream_model);
    let mut dropped = Dropped(prompt.unread.clone());
    let max_tokens = prompt.max_output.unwrap_or(target.default_cap);
    let messages = messages(prompt, &mut dropped)?;
    let (tools, tool_choice) = tools(prompt, can, &mut dropped)?;
    let is_forced = tool_choice.as_ref().is_some_and(|choice| matches!(choice.r#type, "any" | "tool"));
    let asked = Asked { max_tokens, is_forced, in_unsigned_loop: is_unsigned_loop(&messages) };
    let (thinking, effort) = thinking(prompt.reasoning.as_ref(), can, asked, &mut dropped);
    let is_thinking = thinking.as_ref().is_some_and(|thinking| thinking.r#type != "disabled");
    let takes_sampling = can.takes_sampling && !is_thinking;
    let (temperature, top_p, top_k) = sampling(prompt, takes_sampling, can.takes_both, &mut dropped);
    let format = match &prompt.format {
        OutputFormat::Text => None,
        OutputFormat::Json => {
            dropped.note("response_format");
            None
        }
        OutputFormat::Schema { schema, .. } => Some(Format { r#type: "json_schema", schema }),
    };
    let request = Request {
        model: target.upstream_model,
        max_tokens,
        system: system(prompt)?,
        messages: messages
            .into_iter()
            .map(|(role, blocks)| Message { role: word(role), content: content(blocks) })
            .collect(),
        tools,
        tool_choice,
        thinking,
        output_config: (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }),
        temperature,
        top_p,
        top_k,
        stop_sequences: stops(prompt, &mut dropped),
        metadata: prompt.user.as_deref().map(|user_id| Metadata { user_id }),
        stream: prompt.stream,
    };
    let body = serde_json::to_vec(&request).map_err(|_| CallError::Internal)?;
    Ok(Written { body: body.into(), dropped: dropped.0 })
}

fn word(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// One plain text stands as a string, which every vendor of the format can read.
fn content(blocks: Vec<Block<'_>>) -> Content<'_> {
    match blocks.as_slice() {
        [Block::Text { text, cache_control: None }] => Content::Text(text),
        _ => Content::Blocks(blocks),
    }
}

fn system(prompt: &Prompt) -> Result<Option<Content<'_>>, CallError> {
    let mut blocks = Vec::new();
    for part in &prompt.system {
        match part {
            Part::Text { text, cache } => blocks.extend(text_block(text, cache.as_deref())),
            Part::Media { .. }
            | Part::Thinking { .. }
            | Part::HiddenThinking { .. }
            | Part::Call { .. }
            | Part::Result { .. }
            | Part::Refusal { .. } => {
                return Err(unsupported("messages", "instructions of the system can only be text"));
            }
        }
    }
    Ok((!blocks.is_empty()).then(|| content(blocks)))
}

/// The turns, one side after the other.
fn messages<'a>(prompt: &'a Prompt, dropped: &mut Dropped) -> Result<Vec<(Role, Vec<Block<'a>>)>, CallError> {
    let mut ids = Ids::default();
    let mut messages: Vec<(Role, Vec<Block<'a>>)> = Vec::with_capacity(prompt.turns.len());
    for turn in &prompt.turns {
        let mut blocks = Vec::with_capacity(turn.parts.len());
        for part in &turn.parts {
            blocks.extend(block(part, &mut ids, dropped)?);
        }
        if blocks.is_empty() {
            continue;
        }
        match messages.last_mut() {
            Some((role, before)) if *role == turn.role => before.extend(blocks),
            Some(_) | None => messages.push((turn.role, blocks)),
        }
    }
    if messages.is_empty() {
        return Err(CallError::bad("messages", "`messages` must hold something that the model can read"));
    }
    for (role, blocks) in &mut messages {
        match role {
            Role::User => blocks.sort_by_key(|block| !matches!(block, Block::ToolResult { .. })),
            Role::Assistant => {}
        }
    }
    if let Some((Role::Assistant, _)) = messages.first() {
        messages.insert(0, (Role::User, vec![Block::Text { text: OPENING, cache_control: None }]));
    }
    // The model goes on where its own turn stops, and white space there is refused.
    if let Some((Role::Assistant, blocks)) = messages.last_mut()
        && let Some(Block::Text { text, .. }) = blocks.last_mut()
    {
        *text = text.trim_end();
    }
    Ok(messages)
}

/// A text, unless it is blank, which the format refuses.
fn text_block<'a>(text: &'a str, cache_control: Option<&'a RawValue>) -> Option<Block<'a>> {
    (!text.trim().is_empty()).then_some(Block::Text { text, cache_control })
}

fn block<'a>(
    part: &'a Part,
    ids: &mut Ids<'a>,
    dropped: &mut Dropped,
) -> Result<Option<Block<'a>>, CallError> {
    Ok(match part {
        Part::Text { text, cache } => text_block(text, cache.as_deref()),
        Part::Refusal { text } => text_block(text, None),
        Part::Media { medium, source, detail, cache } => {
            if detail.as_deref().is_some_and(|detail| detail != "auto") {
                dropped.note("detail");
            }
            Some(media(*medium, source, cache.as_deref())?)
        }
        Part::Thinking { text, signature: Some(signature) } => {
            Some(Block::Thinking { thinking: text, signature })
        }
        // A thought without its proof is refused: it is another provider's.
        Part::Thinking { signature: None, .. } => {
            dropped.note("thinking");
            None
        }
        Part::HiddenThinking { data } => Some(Block::RedactedThinking { data }),
        Part::Call { id, name, arguments, signature } => {
            if signature.is_some() {
                dropped.note("signature");
            }
            Some(Block::ToolUse { id: ids.of_call(id), name, input: arguments })
        }
        Part::Result { id, name: _, content: parts, is_error, cache } => {
            let mut blocks = Vec::with_capacity(parts.len());
            for part in parts {
                blocks.extend(result_block(part, ids, dropped)?);
            }
            Some(Block::ToolResult {
                tool_use_id: ids.of_result(id),
                content: (!blocks.is_empty()).then(|| content(blocks)),
                is_error: *is_error,
                cache_control: cache.as_deref(),
            })
        }
    })
}

fn result_block<'a>(
    part: &'a Part,
    ids: &mut Ids<'a>,
    dropped: &mut Dropped,
) -> Result<Option<Block<'a>>, CallError> {
    match part {
        Part::Text { .. } | Part::Media { .. } | Part::Refusal { .. } => block(part, ids, dropped),
        Part::Thinking { .. } | Part::HiddenThinking { .. } | Part::Call { .. } | Part::Result { .. } => {
            Err(unsupported("messages", "the result of a tool can only hold texts, images and documents"))
        }
    }
}

fn media<'a>(
    medium: Medium,
    source: &'a Source,
    cache_control: Option<&'a RawValue>,
) -> Result<Block<'a>, CallError> {
    let refuse =
        |what: &str| Err(unsupported("messages", format!("this model's provider cannot read {what}")));
    let (view, title) = match source {
        Source::Inline { media_type, data, filename } => {
            let media_type = plain(media_type);
            let is_known = match medium {
                Medium::Image => IMAGES.contains(&media_type),
                Medium::Document => media_type == "application/pdf",
                Medium::Audio | Medium::Video => true,
            };
            if !is_known {
                return refuse(&format!("`{}`", media_type.chars().take(100).collect::<String>()));
            }
            (SourceView::Base64 { media_type, data }, filename.as_deref())
        }
        Source::Url { url, .. } => (SourceView::Url { url }, None),
        Source::File { .. } => return refuse("files that another provider keeps: send the content itself"),
    };
    match medium {
        Medium::Image => Ok(Block::Image { source: view, cache_control }),
        Medium::Document => Ok(Block::Document { source: view, title, cache_control }),
        Medium::Audio => refuse("audio"),
        Medium::Video => refuse("video"),
    }
}

/// A media type without its parameters, in its proper name.
fn plain(media_type: &str) -> &str {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "image/jpg" => "image/jpeg",
        media_type => media_type,
    }
}

fn tools<'a>(
    prompt: &'a Prompt,
    can: Abilities,
    dropped: &mut Dropped,
) -> Result<(Vec<ToolView<'a>>, Option<ToolChoice<'a>>), CallError> {
    let may_use = |tool: &&Tool| match &prompt.tool_use {
        Some(ToolUse::Among { names, .. }) => names.contains(&tool.name),
        Some(ToolUse::Auto | ToolUse::Never | ToolUse::Some | ToolUse::Only(_)) | None => true,
    };
    let mut tools = Vec::new();
    for tool in prompt.tools.iter().filter(may_use) {
        let is_strict = tool.strict == Some(true);
        if is_strict && !can.takes_strict {
            dropped.note("strict");
        }
        tools.push(ToolView {
            name: &tool.name,
            description: tool.description.as_deref(),
            input_schema: tool.schema.as_deref().map_or_else(no_arguments, Schema::Given),
            strict: is_strict && can.takes_strict,
            cache_control: tool.cache.as_deref(),
        });
    }
    let disable_parallel_tool_use = prompt.parallel_tools.map(|parallel| !parallel);
    let choice = |r#type, name| Some(ToolChoice { r#type, name, disable_parallel_tool_use });
    if tools.is_empty() {
        return match &prompt.tool_use {
            Some(ToolUse::Some | ToolUse::Only(_) | ToolUse::Among { must: true, .. }) => {
                Err(CallError::bad("tool_choice", "`tool_choice` asks for a tool, but there is none"))
            }
            Some(ToolUse::Auto | ToolUse::Never | ToolUse::Among { must: false, .. }) | None => {
                Ok(tools_of_history(prompt))
            }
        };
    }
    let tool_choice = match &prompt.tool_use {
        None if disable_parallel_tool_use.is_none() => None,
        None | Some(ToolUse::Auto | ToolUse::Among { must: false, .. }) => choice("auto", None),
        Some(ToolUse::Some | ToolUse::Among { must: true, .. }) => choice("any", None),
        Some(ToolUse::Only(name)) => choice("tool", Some(name)),
        Some(ToolUse::Never) => {
            Some(ToolChoice { r#type: "none", name: None, disable_parallel_tool_use: None })
        }
    };
    Ok((tools, tool_choice))
}

fn no_arguments<'a>() -> Schema<'a> {
    Schema::None { r#type: "object", properties: empty_object() }
}

/// The tools that a conversation speaks of although the request names none: the format wants each of them known. The
/// model must not call them.
fn tools_of_history(prompt: &Prompt) -> (Vec<ToolView<'_>>, Option<ToolChoice<'_>>) {
    let parts = prompt.turns.iter().flat_map(|turn| &turn.parts);
    let mut names: Vec<&str> = parts
        .filter_map(|part| match part {
            Part::Call { name, .. } => Some(name.as_str()),
            Part::Text { .. }
            | Part::Media { .. }
            | Part::Thinking { .. }
            | Part::HiddenThinking { .. }
            | Part::Result { .. }
            | Part::Refusal { .. } => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    let view = |name| ToolView {
        name,
        description: None,
        input_schema: no_arguments(),
        strict: false,
        cache_control: None,
    };
    let tools: Vec<_> = names.into_iter().map(view).collect();
    let choice = ToolChoice { r#type: "none", name: None, disable_parallel_tool_use: None };
    let choice = (!tools.is_empty()).then_some(choice);
    (tools, choice)
}

/// What else is asked, as far as thinking depends on it.
#[derive(Clone, Copy)]
struct Asked {
    max_tokens: u64,
    /// Must a tool be called?
    is_forced: bool,
    /// Does a result wait for the model whose call came without a signed thought?
    in_unsigned_loop: bool,
}

/// Thoughts before a call must come back with its result, or thinking must be off.
fn is_unsigned_loop(messages: &[(Role, Vec<Block<'_>>)]) -> bool {
    let [.., (Role::Assistant, calls), (Role::User, results)] = messages else { return false };
    let starts_with_thought =
        matches!(calls.first(), Some(Block::Thinking { .. } | Block::RedactedThinking { .. }));
    matches!(results.first(), Some(Block::ToolResult { .. })) && !starts_with_thought
}

/// How much the model shall think, and the effort in a word where it takes one.
fn thinking(
    reasoning: Option<&Reasoning>,
    can: Abilities,
    asked: Asked,
    dropped: &mut Dropped,
) -> (Option<Thinking>, Option<&'static str>) {
    let effort = match reasoning {
        None => return (None, None),
        Some(Reasoning::Off | Reasoning::Budget(0)) => {
            return (Some(Thinking { r#type: "disabled", budget_tokens: None }), None);
        }
        Some(Reasoning::Effort(effort)) => Some(*effort),
        Some(Reasoning::Budget(tokens)) => Some(Effort::of_budget(*tokens)),
        Some(Reasoning::Adaptive) => None,
    };
    // A model cannot be told to think and to call a tool at once.
    if asked.is_forced {
        dropped.note("reasoning");
        return (None, None);
    }
    if can.is_adaptive {
        let effort = effort.map(|effort| effort_word(effort, can));
        return (Some(Thinking { r#type: "adaptive", budget_tokens: None }), effort);
    }
    // The thought and the answer share the cap, and the answer shall have a quarter of it.
    let share = asked.max_tokens - asked.max_tokens / 4;
    let budget = match reasoning {
        Some(Reasoning::Budget(tokens)) if *tokens < asked.max_tokens => *tokens,
        Some(Reasoning::Budget(_)) => share,
        Some(Reasoning::Off | Reasoning::Effort(_) | Reasoning::Adaptive) | None => {
            effort.unwrap_or(Effort::Medium).budget().min(share)
        }
    };
    let budget = budget.max(MIN_BUDGET);
    if budget >= asked.max_tokens || asked.in_unsigned_loop {
        dropped.note("reasoning");
        return (None, None);
    }
    (Some(Thinking { r#type: "enabled", budget_tokens: Some(budget) }), None)
}

fn effort_word(effort: Effort, can: Abilities) -> &'static str {
    match effort {
        Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Higher if can.knows_xhigh => "xhigh",
        Effort::Higher | Effort::Max => "max",
    }
}

type SamplingViews<'a> = (Option<Number>, Option<&'a Number>, Option<&'a Number>);

fn sampling<'a>(
    prompt: &'a Prompt,
    takes_sampling: bool,
    takes_both: bool,
    dropped: &mut Dropped,
) -> SamplingViews<'a> {
    let sampling = &prompt.sampling;
    let is = |number: &Number, value: f64| number.as_f64() == Some(value);
    for (name, given, usual) in [
        ("presence_penalty", &sampling.presence_penalty, 0.0),
        ("frequency_penalty", &sampling.frequency_penalty, 0.0),
    ] {
        if given.as_ref().is_some_and(|given| !is(given, usual)) {
            dropped.note(name);
        }
    }
    if sampling.seed.is_some() {
        dropped.note("seed");
    }
    if !takes_sampling {
        // One is what these are anyway.
        for (name, given) in [("temperature", &sampling.temperature), ("top_p", &sampling.top_p)] {
            if given.as_ref().is_some_and(|given| !is(given, 1.0)) {
                dropped.note(name);
            }
        }
        if sampling.top_k.is_some() {
            dropped.note("top_k");
        }
        return (None, None, None);
    }
    let temperature = sampling.temperature.as_ref().map(|temperature| {
        if temperature.as_f64().is_some_and(|value| value > 1.0) {
            dropped.note("temperature");
            Number::from(1)
        } else {
            temperature.clone()
        }
    });
    let top_p = sampling.top_p.as_ref().filter(|top_p| {
        let fits = takes_both || temperature.is_none();
        if !fits && !is(top_p, 1.0) {
            dropped.note("top_p");
        }
        fits
    });
    (temperature, top_p, sampling.top_k.as_ref())
}

fn stops<'a>(prompt: &'a Prompt, dropped: &mut Dropped) -> Vec<&'a str> {
    let (stops, blank): (Vec<&str>, Vec<&str>) =
        prompt.stop.iter().map(String::as_str).partition(|stop| !stop.trim().is_empty());
    if !blank.is_empty() {
        dropped.note("stop");
    }
    stops
}

/// What the format cannot say, and without which the call would mean something else.
fn unsupported(param: &'static str, message: impl Into<String>) -> CallError {
    CallError::BadRequest { param: Some(param), code: "not_supported_by_provider", message: message.into() }
}
