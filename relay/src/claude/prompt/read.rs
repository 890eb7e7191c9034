//! A caller's request of this format, read into the dialogue.
//!
//! Claims: blocks and tools that only one provider can make sense of are refused by name; top-level fields that have
//! no counterpart are noted.

use crate::body;
use crate::claude::wire::{Fault, Object, array, empty_object, is_object, parse, string};
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Sampling, Source, Tool, ToolUse, Turn,
};
use crate::error::CallError;
use serde_json::Number;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// Top-level fields that are read here, or by the router.
const KNOWN: [&str; 16] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "stream",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "stop_sequences",
    "metadata",
    "temperature",
    "top_p",
    "top_k",
    "mcp_servers",
];

/// The most fields that are noted.
const MAX_NOTES: usize = 128;
/// The most of a name that an error repeats, in characters.
const MAX_NAME: usize = 100;

/// Reads a caller's request.
///
/// # Errors
/// [`CallError::BadRequest`] naming the field at fault.
pub fn read(body: &[u8]) -> Result<Prompt, CallError> {
    let fields: Object<'_> =
        serde_json::from_slice(body).map_err(|_| body::not_json("it must be a JSON object"))?;
    let mut reader = Reader { prompt: Prompt { choices: 1, ..Prompt::default() }, calls: HashMap::new() };
    if let Some(system) = fields.get("system") {
        let parts = reader.texts(system).map_err(|fault| fault.in_field("system"))?;
        reader.prompt.system.extend(parts);
    }
    let messages = fields.get("messages").ok_or_else(|| body::missing("messages"))?;
    reader.messages(messages).map_err(|fault| fault.in_field("messages"))?;
    if let Some(tools) = fields.get("tools") {
        reader.tools(tools).map_err(|fault| fault.in_field("tools"))?;
    }
    if let Some(choice) = fields.get("tool_choice") {
        reader.tool_choice(choice).map_err(|fault| fault.in_field("tool_choice"))?;
    }
    reader.reasoning(&fields)?;
    reader.rest(&fields)?;
    for name in fields.names().filter(|name| !KNOWN.contains(name)) {
        reader.note(cut(name));
    }
    Ok(reader.prompt)
}

/// Whose content is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    User,
    Assistant,
    System,
    Result,
}

struct Reader {
    prompt: Prompt,
    /// The functions of the calls so far, by id.
    calls: HashMap<String, String>,
}

impl Reader {
    /// Notes a field that has no place in the dialogue. Far more than any API has are a caller's mischief.
    fn note(&mut self, field: impl AsRef<str>) {
        if self.prompt.unread.len() < MAX_NOTES {
            self.prompt.not_read(field);
        }
    }

    fn messages(&mut self, json: &RawValue) -> Result<(), Fault> {
        let messages = array(json)?;
        if messages.is_empty() {
            return Err(Fault::new("must not be empty"));
        }
        for (index, message) in messages.into_iter().enumerate() {
            self.message(message).map_err(|fault| fault.under(index))?;
        }
        Ok(())
    }

    fn message(&mut self, json: &RawValue) -> Result<(), Fault> {
        let message = Object::read(json)?;
        let content = message.need("content")?;
        let under = |fault: Fault| fault.under("content");
        let (role, parts) = match message.text("role")?.as_str() {
            "user" => {
                let mut parts = self.content(content, Place::User).map_err(under)?;
                parts.sort_by_key(|part| !matches!(part, Part::Result { .. }));
                (Role::User, parts)
            }
            "assistant" => (Role::Assistant, self.content(content, Place::Assistant).map_err(under)?),
            "system" => {
                let parts = self.texts(content).map_err(under)?;
                self.prompt.system.extend(parts);
                self.note("messages[] (the place of a system message within the conversation)");
                return Ok(());
            }
            _ => return Err(Fault::new("must be `user` or `assistant`").under("role")),
        };
        if !parts.is_empty() {
            self.prompt.turns.push(Turn { role, parts });
        }
        Ok(())
    }

    fn texts(&mut self, json: &RawValue) -> Result<Vec<Part>, Fault> {
        self.content(json, Place::System)
    }

    /// A string, or blocks. Empty texts say nothing, and some formats refuse them.
    fn content(&mut self, json: &RawValue, place: Place) -> Result<Vec<Part>, Fault> {
        if json.get().starts_with('"') {
            let text = string(json)?;
            return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] });
        }
        let mut parts = Vec::new();
        for (index, block) in
            parse::<Vec<&RawValue>>(json, "must be a string or an array of blocks")?.into_iter().enumerate()
        {
            self.block(block, place, &mut parts).map_err(|fault| fault.under(index))?;
        }
        parts.retain(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
        Ok(parts)
    }

    fn block(&mut self, json: &RawValue, place: Place, parts: &mut Vec<Part>) -> Result<(), Fault> {
        let block = Object::read(json)?;
        let kind = block.text("type")?;
        let cache = || block.raw("cache_control");
        match (kind.as_str(), place) {
            ("text", _) => {
                self.note_citations(&block);
                parts.push(Part::Text { text: block.text("text")?, cache: cache() });
            }
            ("image", Place::User | Place::Result) => {
                let source = source(&block, None)
                    .and_then(|source| source.ok_or_else(|| bad_type().under("source")))?;
                parts.push(Part::Media { medium: Medium::Image, source, detail: None, cache: cache() });
            }
            ("document", Place::User | Place::Result) => self.document(&block, parts)?,
            ("search_result", Place::User | Place::Result) => self.search_result(&block, parts)?,
            ("tool_use", Place::Assistant) => parts.push(self.call(&block)?),
            ("tool_result", Place::User) => {
                let id = block.text("tool_use_id")?;
                let Some(name) = self.calls.get(&id).cloned() else {
                    return Err(Fault::new("refers to no call before it").under("tool_use_id"));
                };
                let content = match block.get("content") {
                    None => Vec::new(),
                    Some(content) => {
                        self.content(content, Place::Result).map_err(|fault| fault.under("content"))?
                    }
                };
                let is_error = block.flag("is_error")?.unwrap_or(false);
                parts.push(Part::Result { id, name, content, is_error, cache: cache() });
            }
            ("thinking", Place::Assistant) => {
                let signature = block.optional_text("signature")?.filter(|signature| !signature.is_empty());
                parts.push(Part::Thinking { text: block.text("thinking")?, signature });
            }
            ("redacted_thinking", Place::Assistant) => {
                parts.push(Part::HiddenThinking { data: block.text("data")? });
            }
            (
                "image" | "document" | "search_result" | "tool_use" | "tool_result" | "thinking"
                | "redacted_thinking",
                _,
            ) => {
                return Err(Fault::new(format!("cannot be a block of the type `{kind}` here")));
            }
            _ => {
                let kind = cut(&kind);
                return Err(Fault::new(format!(
                    "is a block of the type `{kind}`, which this model's provider cannot read"
                )));
            }
        }
        Ok(())
    }

    fn call(&mut self, block: &Object<'_>) -> Result<Part, Fault> {
        let (id, name) = (block.text("id")?, block.text("name")?);
        if id.is_empty() {
            return Err(Fault::new("must not be empty").under("id"));
        }
        let arguments = match block.get("input") {
            None => empty_object(),
            Some(input) if is_object(input) => input.to_owned(),
            Some(_) => return Err(Fault::new("must be an object").under("input")),
        };
        if block.get("cache_control").is_some() {
            self.note("messages[].content[].cache_control");
        }
        self.calls.insert(id.clone(), name.clone());
        Ok(Part::Call { id, name, arguments, signature: block.optional_text("signature")? })
    }

    fn document(&mut self, block: &Object<'_>, parts: &mut Vec<Part>) -> Result<(), Fault> {
        let title = block.optional_text("title")?;
        self.note_citations(block);
        if block.get("context").is_some() {
            self.note("messages[].content[].context");
        }
        let cache = block.raw("cache_control");
        if let Some(source) = source(block, title)? {
            if !matches!(source, Source::Inline { .. }) {
                self.note_title(block);
            }
            parts.push(Part::Media { medium: Medium::Document, source, detail: None, cache });
            return Ok(());
        }
        // Texts in the place of a document are texts: other formats have nothing else for them.
        self.note_title(block);
        let source = Object::read(block.need("source")?).map_err(|fault| fault.under("source"))?;
        let under = |fault: Fault| fault.under("source");
        match source.text("type").map_err(under)?.as_str() {
            "text" => parts.push(Part::Text { text: source.text("data").map_err(under)?, cache }),
            "content" => {
                let content = source.need("content").map_err(under)?;
                let content = self.content(content, Place::Result);
                parts.extend(content.map_err(|fault| fault.under("content").under("source"))?);
            }
            _ => return Err(bad_type().under("source")),
        }
        Ok(())
    }

    /// What was found, as a text with its title and its source.
    fn search_result(&mut self, block: &Object<'_>, parts: &mut Vec<Part>) -> Result<(), Fault> {
        self.note_citations(block);
        let mut text = format!("{}\n{}", block.text("title")?, block.text("source")?);
        let content = self.texts(block.need("content")?).map_err(|fault| fault.under("content"))?;
        for part in content {
            if let Part::Text { text: found, .. } = part {
                text.push('\n');
                text.push_str(&found);
            }
        }
        parts.push(Part::Text { text, cache: block.raw("cache_control") });
        Ok(())
    }

    fn note_title(&mut self, block: &Object<'_>) {
        if block.get("title").is_some() {
            self.note("messages[].content[].title");
        }
    }

    fn note_citations(&mut self, block: &Object<'_>) {
        if block.get("citations").is_some_and(|citations| citations.get() != "[]") {
            self.note("messages[].content[].citations");
        }
    }

    fn tools(&mut self, json: &RawValue) -> Result<(), Fault> {
        for (index, tool) in array(json)?.into_iter().enumerate() {
            self.tool(tool).map_err(|fault| fault.under(index))?;
        }
        Ok(())
    }

    fn tool(&mut self, json: &RawValue) -> Result<(), Fault> {
        const READ: [&str; 6] = ["type", "name", "description", "input_schema", "strict", "cache_control"];
        let tool = Object::read(json)?;
        if let Some(kind) = tool.optional_text("type")?.filter(|kind| kind != "custom") {
            let kind = cut(&kind);
            let fault = format!("is a tool of the type `{kind}`, which this model's provider does not have");
            return Err(Fault::new(fault));
        }
        let schema = match tool.get("input_schema") {
            Some(schema) if !is_object(schema) => {
                return Err(Fault::new("must be an object").under("input_schema"));
            }
            schema => schema.map(ToOwned::to_owned),
        };
        for name in tool.names().filter(|name| !READ.contains(name)) {
            self.note(format!("tools[].{}", cut(name)));
        }
        self.prompt.tools.push(Tool {
            name: tool.text("name")?,
            description: tool.optional_text("description")?,
            schema,
            strict: tool.flag("strict")?,
            cache: tool.raw("cache_control"),
        });
        Ok(())
    }

    fn tool_choice(&mut self, json: &RawValue) -> Result<(), Fault> {
        let choice = Object::read(json)?;
        self.prompt.tool_use = Some(match choice.text("type")?.as_str() {
            "auto" => ToolUse::Auto,
            "any" => ToolUse::Some,
            "none" => ToolUse::Never,
            "tool" => ToolUse::Only(choice.text("name")?),
            _ => return Err(Fault::new("must be `auto`, `any`, `tool` or `none`").under("type")),
        });
        self.prompt.parallel_tools = choice.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
        Ok(())
    }

    /// `thinking`, and the effort and the format within `output_config`.
    fn reasoning(&mut self, fields: &Object<'_>) -> Result<(), CallError> {
        let thinking = fields.get("thinking").map(|json| self.thinking(json)).transpose();
        let thinking = thinking.map_err(|fault| fault.in_field("thinking"))?;
        let effort = fields.get("output_config").map(|json| self.output_config(json)).transpose();
        let effort = effort.map_err(|fault| fault.in_field("output_config"))?.flatten();
        if let Some(format) = fields.get("output_format") {
            self.output_format(format).map_err(|fault| fault.in_field("output_format"))?;
        }
        self.prompt.reasoning = match (thinking, effort) {
            (None | Some(Reasoning::Adaptive), Some(effort)) => Some(Reasoning::Effort(effort)),
            (Some(thinking), Some(_)) => {
                // A dialogue has one measure of thought, and this is the finer one.
                self.note("output_config.effort");
                Some(thinking)
            }
            (thinking, None) => thinking,
        };
        Ok(())
    }

    fn thinking(&mut self, json: &RawValue) -> Result<Reasoning, Fault> {
        let thinking = Object::read(json)?;
        if thinking.get("display").is_some() {
            self.note("thinking.display");
        }
        Ok(match thinking.text("type")?.as_str() {
            "enabled" => {
                let fault = "must be a whole number of at least 1024";
                let under = |fault: Fault| fault.under("budget_tokens");
                let budget = parse::<u64>(thinking.need("budget_tokens")?, fault).map_err(under)?;
                if budget < 1024 {
                    return Err(under(Fault::new(fault)));
                }
                Reasoning::Budget(budget)
            }
            "adaptive" => Reasoning::Adaptive,
            "between_tools" => {
                self.note("thinking.type");
                Reasoning::Adaptive
            }
            "disabled" => Reasoning::Off,
            _ => return Err(Fault::new("must be `enabled`, `adaptive` or `disabled`").under("type")),
        })
    }

    fn output_config(&mut self, json: &RawValue) -> Result<Option<Effort>, Fault> {
        let config = Object::read(json)?;
        if let Some(format) = config.get("format") {
            self.output_format(format).map_err(|fault| fault.under("format"))?;
        }
        for name in config.names().filter(|name| !["effort", "format"].contains(name)) {
            self.note(format!("output_config.{}", cut(name)));
        }
        Ok(match config.optional_text("effort")?.as_deref() {
            None => None,
            Some("minimal") => Some(Effort::Minimal),
            Some("low") => Some(Effort::Low),
            Some("medium") => Some(Effort::Medium),
            Some("high") => Some(Effort::High),
            Some("xhigh") => Some(Effort::Higher),
            Some("max") => Some(Effort::Max),
            Some(_) => {
                let fault = "must be `low`, `medium`, `high`, `xhigh` or `max`";
                return Err(Fault::new(fault).under("effort"));
            }
        })
    }

    fn output_format(&mut self, json: &RawValue) -> Result<(), Fault> {
        let format = Object::read(json)?;
        if format.text("type")? != "json_schema" {
            return Err(Fault::new("must be `json_schema`").under("type"));
        }
        let schema = format.need("schema")?;
        if !is_object(schema) {
            return Err(Fault::new("must be an object").under("schema"));
        }
        self.prompt.format = OutputFormat::Schema {
            name: "answer".into(),
            description: None,
            schema: schema.to_owned(),
            strict: Some(true),
        };
        Ok(())
    }

    fn rest(&mut self, fields: &Object<'_>) -> Result<(), CallError> {
        if fields.get("mcp_servers").is_some_and(|servers| servers.get() != "[]") {
            let fault = "`mcp_servers` cannot be served by this model's provider";
            return Err(CallError::bad("mcp_servers", fault));
        }
        let prompt = &mut self.prompt;
        prompt.stream =
            body::parse::<Option<bool>>(fields.get("stream"), "stream", "a boolean")?.unwrap_or(false);
        prompt.max_output =
            body::whole_number(fields.get("max_tokens"), "max_tokens", body::MAX_OUTPUT_TOKENS)?;
        let number =
            |field: &'static str| body::parse::<Option<Number>>(fields.get(field), field, "a number");
        prompt.sampling = Sampling {
            temperature: number("temperature")?,
            top_p: number("top_p")?,
            top_k: number("top_k")?,
            ..Sampling::default()
        };
        let stop = fields.get("stop_sequences");
        prompt.stop = body::parse::<Option<Vec<String>>>(stop, "stop_sequences", "an array of strings")?
            .unwrap_or_default();
        if let Some(metadata) = fields.get("metadata") {
            let user = Object::read(metadata).and_then(|metadata| metadata.optional_text("user_id"));
            prompt.user = user.map_err(|fault| fault.in_field("metadata"))?;
        }
        Ok(())
    }
}

/// Where a block's media is; `None`: its source is of a type that holds no media.
fn source(block: &Object<'_>, filename: Option<String>) -> Result<Option<Source>, Fault> {
    let under = |fault: Fault| fault.under("source");
    let source = Object::read(block.need("source")?).map_err(under)?;
    let text = |name: &str| source.text(name).map_err(under);
    Ok(match text("type")?.as_str() {
        "base64" => Some(Source::Inline { media_type: text("media_type")?, data: text("data")?, filename }),
        "url" => {
            // The documents behind addresses are PDF in this format; images may be of any type.
            let is_document = block.text("type")? == "document";
            let media_type = is_document.then(|| "application/pdf".to_owned());
            Some(Source::Url { url: text("url")?, media_type })
        }
        "file" => Some(Source::File { id: text("file_id")? }),
        _ => None,
    })
}

fn bad_type() -> Fault {
    Fault::new("must be `base64`, `url` or `file`").under("type")
}

fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}
