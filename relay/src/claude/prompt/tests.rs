//! The lines of the conversion table, read and written, and the way there and back: what these have in common.

mod reading;
mod there_and_back;
mod writing;

use super::{read, write};
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Sampling, Source, Target, Tool, ToolUse,
    Turn,
};
use crate::error::CallError;
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

const MODEL: &str = "claude-opus-4-5";

fn target(upstream_model: &str) -> Target<'_> {
    Target { upstream_model, default_cap: 4096, newer_cap: false }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.into()).unwrap()
}

/// Reads a request with these fields beside a model and a cap.
fn asked(fields: Value) -> Result<Prompt, CallError> {
    let mut body = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    for (field, value) in fields.as_object().unwrap() {
        body[field] = value.clone();
    }
    read(body.to_string().as_bytes())
}

/// Reads the content of one user's turn.
fn user(content: Value) -> Result<Prompt, CallError> {
    asked(json!({"messages": [{"role": "user", "content": content}]}))
}

/// A prompt with one turn of a user.
fn prompt(parts: Vec<Part>) -> Prompt {
    Prompt { turns: vec![Turn { role: Role::User, parts }], choices: 1, ..Prompt::default() }
}

fn hello() -> Prompt {
    prompt(vec![Part::text("hi")])
}

fn sent_to(model: &str, prompt: &Prompt) -> (Value, Vec<String>) {
    let written = write(prompt, &target(model)).unwrap();
    (serde_json::from_slice(&written.body).unwrap(), written.dropped)
}

fn sent(prompt: &Prompt) -> (Value, Vec<String>) {
    sent_to(MODEL, prompt)
}

fn refused(prompt: &Prompt) -> String {
    let error = write(prompt, &target(MODEL)).unwrap_err();
    assert_eq!(error.status(), 400);
    error.to_string()
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::Call { id: id.into(), name: name.into(), arguments: raw(arguments), signature: None }
}

fn result(id: &str, name: &str, content: Vec<Part>) -> Part {
    Part::Result { id: id.into(), name: name.into(), content, is_error: false, cache: None }
}

fn turn(role: Role, parts: Vec<Part>) -> Turn {
    Turn { role, parts }
}

fn tool(name: &str) -> Tool {
    Tool {
        name: name.into(),
        description: None,
        schema: Some(raw(r#"{"type":"object"}"#)),
        strict: None,
        cache: None,
    }
}

fn number(json: &str) -> Option<Number> {
    Some(serde_json::from_str(json).unwrap())
}
