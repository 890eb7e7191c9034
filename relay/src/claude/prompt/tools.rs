//! The tools, and which of them the model must call.

use super::model::Abilities;
use super::shape::{Schema, ToolChoice, ToolView};
use super::write::Dropped;
use crate::claude::wire::empty_object;
use crate::dialogue::{Part, Prompt, Tool, ToolUse};
use crate::error::CallError;

pub(super) fn tools<'a>(
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
            dropped.note("tools[].strict");
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
