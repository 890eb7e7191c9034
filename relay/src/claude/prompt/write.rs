//! The dialogue's request, written for a provider of this format.
//!
//! Claims: what would make the call mean something else is refused; the rest is named in what was dropped.

use super::model::abilities;
use super::shape::{Format, Message, Metadata, OutputConfig, Request};
use super::thought::{Asked, is_unsigned_loop, thinking};
use super::tools::tools;
use super::turns::{content, messages, system};
use crate::dialogue::{OutputFormat, Prompt, Role, Target, Written};
use crate::error::CallError;
use serde_json::Number;

/// What was left out, each name once.
#[derive(Default)]
pub(super) struct Dropped(Vec<String>);

impl Dropped {
    pub(super) fn note(&mut self, field: &str) {
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
        OutputFormat::Schema { name: _, description, schema, strict: _ } => {
            if description.is_some() {
                dropped.note("response_format.json_schema.description");
            }
            Some(Format { r#type: "json_schema", schema })
        }
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
pub(super) fn unsupported(param: &'static str, message: impl Into<String>) -> CallError {
    CallError::BadRequest { param: Some(param), code: "unsupported_value", message: message.into() }
}
