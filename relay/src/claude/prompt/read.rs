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

/// The most of a name that an error repeats, in characters.
const MAX_NAME: usize = 100;

/// Reads a caller's request.
///
/// # Errors
/// [`CallError::BadRequest`] naming the field at fault.
pub fn read(body: &[u8]) -> Result<Prompt, CallError> {
    let fields: Object<'_> =
        serde_json::from_slice(body).map_err(|_| body::not_json("it must be a JSON object"))?;
    let prompt = Prompt { choices: 1, ..Prompt::default() };
    let mut reader = Reader { prompt, calls: HashMap::new(), at: Vec::new() };
    if let Some(system) = fields.get("system") {
        let parts = reader.within("system[]", |reader| reader.texts(system));
        let parts = parts.map_err(|fault| fault.in_field("system"))?;
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
    reader.note_others(&fields, &KNOWN);
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
    /// The steps to the object that is being read, without numbers.
    at: Vec<&'static str>,
}

impl Reader {
    /// Notes a field of the object here that has no place in the dialogue.
    fn note(&mut self, field: &str) {
        let steps = self.at.iter().copied().chain([field]);
        self.prompt.not_read(steps.collect::<Vec<_>>().join("."));
    }

    /// Notes the fields of the object here but those that are read.
    fn note_others(&mut self, object: &Object<'_>, read: &[&str]) {
        for name in object.names().filter(|name| !read.contains(name)) {
            self.note(name);
        }
    }

    /// Reads something one step further in.
    fn within<T>(&mut self, step: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.at.push(step);
        let read = read(self);
        self.at.pop();
        read
    }

    fn messages(&mut self, json: &RawValue) -> Result<(), Fault> {
        let messages = array(json)?;
        if messages.is_empty() {
            return Err(Fault::new("must not be empty"));
        }
        for (index, message) in messages.into_iter().enumerate() {
            self.within("messages[]", |reader| reader.message(message))
                .map_err(|fault| fault.under(index))?;
        }
        Ok(())
    }

    fn message(&mut self, json: &RawValue) -> Result<(), Fault> {
        let message = Object::read(json)?;
        let content = message.need("content")?;
        self.note_others(&message, &["role", "content"]);
        let mut read = |place| {
            let parts = self.within("content[]", |reader| reader.content(content, place));
            parts.map_err(|fault| fault.under("content"))
        };
        let (role, parts) = match message.text("role")?.as_str() {
            "user" => {
                let mut parts = read(Place::User)?;
                parts.sort_by_key(|part| !matches!(part, Part::Result { .. }));
                (Role::User, parts)
            }
            "assistant" => (Role::Assistant, read(Place::Assistant)?),
            "system" => {
                let parts = read(Place::System)?;
                self.prompt.system.extend(parts);
                self.prompt.not_read("messages[] (the place of a system message within the conversation)");
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
                self.note_others(&block, &["type", "text", "cache_control", "citations"]);
                self.note_citations(&block);
                parts.push(Part::Text { text: block.text("text")?, cache: cache() });
            }
            ("image", Place::User | Place::Result) => {
                self.note_others(&block, &["type", "source", "cache_control"]);
                let source = self
                    .source(&block, None)
                    .and_then(|source| source.ok_or_else(|| bad_type().under("source")))?;
                parts.push(Part::Media { medium: Medium::Image, source, detail: None, cache: cache() });
            }
            ("document", Place::User | Place::Result) => self.document(&block, parts)?,
            ("search_result", Place::User | Place::Result) => self.search_result(&block, parts)?,
            ("tool_use", Place::Assistant) => parts.push(self.call(&block)?),
            ("tool_result", Place::User) => {
                self.note_others(&block, &["type", "tool_use_id", "content", "is_error", "cache_control"]);
                let id = block.text("tool_use_id")?;
                let Some(name) = self.calls.get(&id).cloned() else {
                    return Err(Fault::new("refers to no call before it").under("tool_use_id"));
                };
                let content = match block.get("content") {
                    None => Vec::new(),
                    Some(content) => {
                        let parts = self.within("content[]", |reader| reader.content(content, Place::Result));
                        parts.map_err(|fault| fault.under("content"))?
                    }
                };
                let is_error = block.flag("is_error")?.unwrap_or(false);
                parts.push(Part::Result { id, name, content, is_error, cache: cache() });
            }
            ("thinking", Place::Assistant) => {
                self.note_others(&block, &["type", "thinking", "signature"]);
                let signature = block.optional_text("signature")?.filter(|signature| !signature.is_empty());
                parts.push(Part::Thinking { text: block.text("thinking")?, signature });
            }
            ("redacted_thinking", Place::Assistant) => {
                self.note_others(&block, &["type", "data"]);
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
        self.note_others(block, &["type", "id", "name", "input", "signature"]);
        self.calls.insert(id.clone(), name.clone());
        Ok(Part::Call { id, name, arguments, signature: block.optional_text("signature")? })
    }

    fn document(&mut self, block: &Object<'_>, parts: &mut Vec<Part>) -> Result<(), Fault> {
        let title = block.optional_text("title")?;
        self.note_citations(block);
        self.note_others(block, &["type", "source", "title", "citations", "cache_control"]);
        let cache = block.raw("cache_control");
        if let Some(source) = self.source(block, title)? {
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
                if cache.is_some() {
                    self.note("cache_control");
                }
                let inner = self.within("source", |reader| {
                    reader.within("content[]", |reader| reader.content(content, Place::Result))
                });
                parts.extend(inner.map_err(|fault| fault.under("content").under("source"))?);
            }
            _ => return Err(bad_type().under("source")),
        }
        Ok(())
    }

    /// What was found, as a text with its title and its source.
    fn search_result(&mut self, block: &Object<'_>, parts: &mut Vec<Part>) -> Result<(), Fault> {
        self.note_citations(block);
        self.note_others(block, &["type", "title", "source", "content", "citations", "cache_control"]);
        let mut text = format!("{}\n{}", block.text("title")?, block.text("source")?);
        let content = block.need("content")?;
        let content = self.within("content[]", |reader| reader.texts(content));
        let content = content.map_err(|fault| fault.under("content"))?;
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
            self.note("title");
        }
    }

    fn note_citations(&mut self, block: &Object<'_>) {
        if block.get("citations").is_some_and(|citations| citations.get() != "[]") {
            self.note("citations");
        }
    }

    fn tools(&mut self, json: &RawValue) -> Result<(), Fault> {
        for (index, tool) in array(json)?.into_iter().enumerate() {
            self.within("tools[]", |reader| reader.tool(tool)).map_err(|fault| fault.under(index))?;
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
        self.note_others(&tool, &READ);
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
        self.within("tool_choice", |reader| {
            reader.note_others(&choice, &["type", "name", "disable_parallel_tool_use"]);
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
            let read = self.within("output_format", |reader| reader.output_format(format));
            read.map_err(|fault| fault.in_field("output_format"))?;
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
        self.within("thinking", |reader| reader.note_others(&thinking, &["type", "budget_tokens"]));
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
            self.within("output_config", |reader| {
                reader.within("format", |reader| reader.output_format(format))
            })
            .map_err(|fault| fault.under("format"))?;
        }
        self.within("output_config", |reader| reader.note_others(&config, &["effort", "format"]));
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
        self.note_others(&format, &["type", "schema"]);
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
            let metadata = Object::read(metadata).map_err(|fault| fault.in_field("metadata"))?;
            let user = metadata.optional_text("user_id").map_err(|fault| fault.in_field("metadata"))?;
            prompt.user = user;
            self.within("metadata", |reader| reader.note_others(&metadata, &["user_id"]));
        }
        Ok(())
    }

    /// Where a block's media is; `None`: its source is of a type that holds no media.
    fn source(&mut self, block: &Object<'_>, filename: Option<String>) -> Result<Option<Source>, Fault> {
        let under = |fault: Fault| fault.under("source");
        let source = Object::read(block.need("source")?).map_err(under)?;
        let text = |name: &str| source.text(name).map_err(under);
        let kind = text("type")?;
        let (read, fields) = match kind.as_str() {
            "base64" => {
                let media_type = text("media_type")?;
                (Some(Source::Inline { media_type, data: text("data")?, filename }), ["media_type", "data"])
            }
            "url" => {
                // The documents behind addresses are PDF in this format; images may be of any type.
                let is_document = block.text("type")? == "document";
                let media_type = is_document.then(|| "application/pdf".to_owned());
                (Some(Source::Url { url: text("url")?, media_type }), ["url", "type"])
            }
            "file" => (Some(Source::File { id: text("file_id")? }), ["file_id", "type"]),
            "text" => (None, ["media_type", "data"]),
            _ => (None, ["content", "type"]),
        };
        self.within("source", |reader| {
            let is_unread = |name: &&str| *name != "type" && !fields.contains(name);
            source.names().filter(is_unread).for_each(|name| reader.note(name));
        });
        Ok(read)
    }
}

fn bad_type() -> Fault {
    Fault::new("must be `base64`, `url` or `file`").under("type")
}

fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}
