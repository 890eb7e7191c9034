//! A caller's request, read into the dialogue.

use super::{is_kept_at_google, is_youtube, medium_of, type_by_ending};
use crate::body;
use crate::dialogue::{
    Effort, Medium, OutputFormat, Part, Prompt, Reasoning, Role, Source, Tool, ToolUse, Turn,
};
use crate::error::CallError;
use crate::gemini::object::{self, Object, Place, list, text};
use crate::gemini::schema;
use crate::openai::request::MAX_CHOICES;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet, VecDeque};

/// Reads a request body. Whether it is a stream stands in the path; so does the model.
///
/// # Errors
/// [`CallError::BadRequest`] naming the place of the fault, or what no provider of another format could be asked for.
pub fn read(body: &[u8], stream: bool) -> Result<Prompt, CallError> {
    let json: &RawValue = serde_json::from_slice(body).map_err(body::not_json)?;
    if !json.get().starts_with('{') {
        return Err(body::not_json("it must be a JSON object"));
    }
    let mut request = Object::read(json, &Place::root("request"))?;
    let mut prompt = Prompt { stream, choices: 1, ..Prompt::default() };
    // The path names it.
    request.take("model");
    if let Some(cached) = request.take("cachedContent")
        && cached.get() != r#""""#
    {
        return Err(Place::root("cachedContent").unsupported("cannot be read by the provider of this model"));
    }
    if let Some(instruction) = request.take("systemInstruction") {
        system(instruction, &mut prompt)?;
    }
    let contents = request.take("contents").ok_or_else(|| body::missing("contents"))?;
    let root = Place::root("contents");
    let contents = list(contents, &root)?;
    if contents.is_empty() {
        return Err(CallError::bad("contents", "`contents` must not be empty"));
    }
    let mut calls = Calls::default();
    for (at, content) in contents.into_iter().enumerate() {
        turn(content, &root.at(at), &mut calls, &mut prompt)?;
    }
    if let Some(tools) = request.take("tools") {
        read_tools(tools, &mut prompt)?;
    }
    if let Some(config) = request.take("toolConfig") {
        tool_config(config, &mut prompt)?;
    }
    if let Some(config) = request.take("generationConfig") {
        generation_config(config, &mut prompt)?;
    }
    for name in request.rest() {
        prompt.not_read(name);
    }
    Ok(prompt)
}

/// Notes what was not taken of an object at a place.
fn note_rest(prompt: &mut Prompt, object: &Object<'_>, place: &Place<'_>) {
    for name in object.rest() {
        prompt.not_read(place.field(name).general());
    }
}

fn system(json: &RawValue, prompt: &mut Prompt) -> Result<(), CallError> {
    let root = Place::root("systemInstruction");
    if json.get().starts_with('"') {
        prompt.system.push(Part::text(text(json, &root)?));
        return Ok(());
    }
    let mut content = Object::read(json, &root)?;
    content.take("role");
    let place = root.field("parts");
    let parts = content.take("parts").map(|parts| list(parts, &place)).transpose()?.unwrap_or_default();
    for (at, part) in parts.into_iter().enumerate() {
        let place = place.at(at);
        let mut part = Object::read(part, &place)?;
        match part.take("text") {
            Some(json) => prompt.system.push(Part::text(text(json, &place.field("text"))?)),
            None => return Err(place.unsupported("must be text for the provider of this model")),
        }
        note_rest(prompt, &part, &place);
    }
    note_rest(prompt, &content, &root);
    Ok(())
}

/// Calls and their results, which may lack ids: then a result belongs to the first call of its name that has none yet.
#[derive(Default)]
struct Calls {
    /// Ids of calls, with whether they have a result.
    ids: HashMap<String, bool>,
    /// By the function's name, in order.
    open: HashMap<String, VecDeque<String>>,
    made_up: u64,
    /// Ids that were given, by calls or results.
    given: HashSet<String>,
}

impl Calls {
    /// A call's id. Those made up are the same whenever the same conversation is sent, or no provider could cache it.
    fn begin(&mut self, id: Option<String>, name: &str) -> String {
        let id = id.filter(|id| !id.is_empty() && !self.ids.contains_key(id)).unwrap_or_else(|| {
            loop {
                let id = format!("call_{}", self.made_up);
                self.made_up += 1;
                if !self.ids.contains_key(&id) && !self.given.contains(&id) {
                    break id;
                }
            }
        });
        self.ids.insert(id.clone(), false);
        self.open.entry(name.to_owned()).or_default().push_back(id.clone());
        id
    }

    /// The id of the call that a result belongs to; `None`: there is none.
    fn end(&mut self, id: Option<String>, name: &str) -> Option<String> {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            if let Some(answered) = self.ids.get_mut(&id) {
                *answered = true;
                return Some(id);
            }
            self.given.insert(id);
        }
        let open = self.open.get_mut(name)?;
        while let Some(id) = open.pop_front() {
            if let Some(answered) = self.ids.get_mut(&id)
                && !*answered
            {
                *answered = true;
                return Some(id);
            }
        }
        None
    }
}

fn turn(json: &RawValue, place: &Place<'_>, calls: &mut Calls, prompt: &mut Prompt) -> Result<(), CallError> {
    let mut content = Object::read(json, place)?;
    let role_place = place.field("role");
    let role = match content.take("role").map(|role| text(role, &role_place)).transpose()?.as_deref() {
        None | Some("" | "user" | "function" | "tool") => Role::User,
        Some("model") => Role::Assistant,
        Some(_) => return Err(role_place.must_be("`user` or `model`")),
    };
    let parts_place = place.field("parts");
    let parts = content.take("parts").map(|parts| list(parts, &parts_place)).transpose()?.unwrap_or_default();
    let mut read = Vec::with_capacity(parts.len());
    for (at, part) in parts.into_iter().enumerate() {
        read_part(part, &parts_place.at(at), role, calls, &mut read, prompt)?;
    }
    note_rest(prompt, &content, place);
    match role {
        Role::User => {
            let (mut parts, rest): (Vec<_>, Vec<_>) =
                read.into_iter().partition(|part| matches!(part, Part::Result { .. }));
            parts.extend(rest);
            if !parts.is_empty() {
                prompt.turns.push(Turn { role, parts });
            }
        }
        Role::Assistant => {
            // A turn that was streamed comes back as the pieces it came in.
            if !matches!(prompt.turns.last(), Some(Turn { role: Role::Assistant, .. })) && !read.is_empty() {
                prompt.turns.push(Turn { role, parts: Vec::with_capacity(read.len()) });
            }
            if let Some(turn) = prompt.turns.last_mut() {
                read.into_iter().for_each(|part| join(&mut turn.parts, part));
            }
        }
    }
    Ok(())
}

/// Adds a part of the model's turn, to the one before it where both are pieces of one.
fn join(parts: &mut Vec<Part>, next: Part) {
    match (parts.last_mut(), next) {
        (Some(Part::Text { text, .. }), Part::Text { text: more, .. }) => text.push_str(&more),
        (
            Some(Part::Thinking { text, signature: signature @ None }),
            Part::Thinking { text: more, signature: proof },
        ) => {
            text.push_str(&more);
            *signature = proof;
        }
        (_, next) => parts.push(next),
    }
}

fn read_part(
    json: &RawValue,
    place: &Place<'_>,
    role: Role,
    calls: &mut Calls,
    out: &mut Vec<Part>,
    prompt: &mut Prompt,
) -> Result<(), CallError> {
    let mut part = Object::read(json, place)?;
    let is_thought = match part.take("thought") {
        Some(flag) => object::value::<bool>(flag, &place.field("thought"), "a boolean")?,
        None => false,
    };
    let signature = match part.take("thoughtSignature") {
        Some(json) => Some(text(json, &place.field("thoughtSignature"))?).filter(|it| !it.is_empty()),
        None => None,
    };
    // Google's and Claude's proofs are in the usual alphabet, and Google's clients may have written them in the other;
    // those of OpenAI, which all begin so, are in the one for URLs.
    let mut signature = signature.map(|it| if it.starts_with("gAAAA") { it } else { standard_base64(it) });
    let before = out.len();
    let mut is_known = signature.is_some();
    if let Some(json) = part.take("text") {
        is_known = true;
        let text = text(json, &place.field("text"))?;
        if is_thought && role == Role::Assistant {
            if !text.is_empty() || signature.is_some() {
                out.push(Part::Thinking { text, signature: signature.take() });
            }
        } else if !text.is_empty() {
            out.push(Part::text(text));
        }
    }
    if let Some(json) = part.take("functionCall") {
        if role == Role::User {
            return Err(place.field("functionCall").must_be("in a content of the role `model`"));
        }
        out.push(read_call(json, &place.field("functionCall"), signature.take(), calls, prompt)?);
    }
    if let Some(json) = part.take("functionResponse") {
        if role == Role::Assistant {
            return Err(place.field("functionResponse").must_be("in a content of the role `user`"));
        }
        out.push(read_result(json, &place.field("functionResponse"), calls, prompt)?);
    }
    if let Some(media) = read_media(&mut part, place, prompt)? {
        out.push(media);
    }
    if let (Some(signature), Role::Assistant) = (signature, role) {
        out.push(Part::Thinking { text: String::new(), signature: Some(signature) });
    }
    if out.len() == before && !is_known && part.rest().next().is_some() {
        return Err(place.unsupported("holds nothing that the provider of this model can read"));
    }
    note_rest(prompt, &part, place);
    Ok(())
}

/// Base64 in the usual alphabet: Google's clients write the one for URLs, and other providers do not read it.
fn standard_base64(data: String) -> String {
    if !data.bytes().any(|byte| matches!(byte, b'-' | b'_')) {
        return data;
    }
    let mut data = data.replace('-', "+").replace('_', "/");
    while !data.len().is_multiple_of(4) {
        data.push('=');
    }
    data
}

fn read_media(
    part: &mut Object<'_>,
    place: &Place<'_>,
    prompt: &mut Prompt,
) -> Result<Option<Part>, CallError> {
    if let Some(json) = part.take("inlineData") {
        let place = place.field("inlineData");
        let mut blob = Object::read(json, &place)?;
        let mut field = |name: &str| blob.take(name).map(|json| text(json, &place.field(name))).transpose();
        let media_type = field("mimeType")?.ok_or_else(|| place.missing("mimeType"))?;
        let data = field("data")?.ok_or_else(|| place.missing("data"))?;
        let filename = field("displayName")?;
        note_rest(prompt, &blob, &place);
        let medium = medium_of(&media_type);
        let source = Source::Inline { media_type, data: standard_base64(data), filename };
        return Ok(Some(Part::Media { medium, source, detail: None, cache: None }));
    }
    let Some(json) = part.take("fileData") else { return Ok(None) };
    let place = place.field("fileData");
    let mut file = Object::read(json, &place)?;
    let mut field = |name: &str| file.take(name).map(|json| text(json, &place.field(name))).transpose();
    let url = field("fileUri")?.ok_or_else(|| place.missing("fileUri"))?;
    let media_type = field("mimeType")?.filter(|kind| !kind.is_empty());
    note_rest(prompt, &file, &place);
    let kind = media_type.as_deref().or_else(|| type_by_ending(&url));
    let medium = if is_youtube(&url) { Medium::Video } else { kind.map_or(Medium::Document, medium_of) };
    let source = if is_kept_at_google(&url) {
        Source::File { id: url }
    } else if kind.is_some() || is_youtube(&url) {
        Source::Url { url, media_type }
    } else {
        return Err(place.missing("mimeType"));
    };
    Ok(Some(Part::Media { medium, source, detail: None, cache: None }))
}

fn read_call(
    json: &RawValue,
    place: &Place<'_>,
    signature: Option<String>,
    calls: &mut Calls,
    prompt: &mut Prompt,
) -> Result<Part, CallError> {
    let mut call = Object::read(json, place)?;
    let mut field = |name: &str| call.take(name).map(|json| text(json, &place.field(name))).transpose();
    let name = field("name")?.ok_or_else(|| place.missing("name"))?;
    let id = field("id")?;
    let arguments = match call.take("args") {
        Some(args) if args.get().starts_with('{') => args.to_owned(),
        Some(_) => return Err(place.field("args").must_be("an object")),
        None => RawValue::from_string("{}".into()).map_err(|_| CallError::Internal)?,
    };
    note_rest(prompt, &call, place);
    Ok(Part::Call { id: calls.begin(id, &name), name, arguments, signature })
}

fn read_result(
    json: &RawValue,
    place: &Place<'_>,
    calls: &mut Calls,
    prompt: &mut Prompt,
) -> Result<Part, CallError> {
    let mut result = Object::read(json, place)?;
    let mut field = |name: &str| result.take(name).map(|json| text(json, &place.field(name))).transpose();
    let name = field("name")?.ok_or_else(|| place.missing("name"))?;
    let id = field("id")?;
    let id = calls
        .end(id, &name)
        .ok_or_else(|| place.must_be("the result of a `functionCall` of the same name before it"))?;
    let response = result.take("response").ok_or_else(|| place.missing("response"))?;
    let (text, is_error) = result_text(response, &place.field("response"))?;
    let mut content = vec![Part::text(text)];
    let parts_place = place.field("parts");
    let parts = result.take("parts").map(|parts| list(parts, &parts_place)).transpose()?.unwrap_or_default();
    for (at, json) in parts.into_iter().enumerate() {
        let place = parts_place.at(at);
        let mut part = Object::read(json, &place)?;
        match read_media(&mut part, &place, prompt)? {
            Some(media) => content.push(media),
            None => return Err(place.missing("inlineData")),
        }
        note_rest(prompt, &part, &place);
    }
    // These are about results that come in pieces while the model goes on, which other formats do not know.
    note_rest(prompt, &result, place);
    Ok(Part::Result { id, name, content, is_error, cache: None })
}

/// What a function gave, as text: a lone `result`, `output` or `error` stands for itself, anything else for its JSON.
fn result_text(response: &RawValue, place: &Place<'_>) -> Result<(String, bool), CallError> {
    if !response.get().starts_with('{') {
        return Err(place.must_be("an object"));
    }
    Ok(match lone(response) {
        Some((key, value)) => {
            let text = serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| value.get().to_owned());
            (text, key == "error")
        }
        None => (response.get().to_owned(), false),
    })
}

/// The one field of an object whose only field is `result`, `output` or `error`.
pub(super) fn lone(response: &RawValue) -> Option<(&'static str, &RawValue)> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Lone<'a> {
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow)]
        output: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let lone: Lone<'_> = serde_json::from_str(response.get()).ok()?;
    match lone {
        Lone { result: Some(value), output: None, error: None } => Some(("result", value)),
        Lone { result: None, output: Some(value), error: None } => Some(("output", value)),
        Lone { result: None, output: None, error: Some(value) } => Some(("error", value)),
        Lone { .. } => None,
    }
}

fn read_tools(json: &RawValue, prompt: &mut Prompt) -> Result<(), CallError> {
    let root = Place::root("tools");
    for (at, tool) in list(json, &root)?.into_iter().enumerate() {
        let place = root.at(at);
        let mut tool = Object::read(tool, &place)?;
        if let Some(declarations) = tool.take("functionDeclarations") {
            let place = place.field("functionDeclarations");
            for (at, json) in list(declarations, &place)?.into_iter().enumerate() {
                let tool = read_declaration(json, &place.at(at), prompt)?;
                prompt.tools.push(tool);
            }
        }
        if let Some(name) = tool.rest().next() {
            let name = name.to_owned();
            return Err(place.field(&name).unsupported("is a tool that only Google's own models have"));
        }
    }
    Ok(())
}

fn read_declaration(json: &RawValue, place: &Place<'_>, prompt: &mut Prompt) -> Result<Tool, CallError> {
    let mut declaration = Object::read(json, place)?;
    let mut field =
        |name: &str| declaration.take(name).map(|json| text(json, &place.field(name))).transpose();
    let name = field("name")?.ok_or_else(|| place.missing("name"))?;
    let description = field("description")?;
    let schema = read_schema(&mut declaration, "parameters", "parametersJsonSchema", place)?;
    note_rest(prompt, &declaration, place);
    Ok(Tool { name, description, schema, strict: None, cache: None })
}

/// A schema in Google's own form or as a JSON schema.
fn read_schema(
    object: &mut Object<'_>,
    google: &str,
    json: &str,
    place: &Place<'_>,
) -> Result<Option<Box<RawValue>>, CallError> {
    match (object.take(google), object.take(json)) {
        (Some(_), Some(_)) => Err(place.must_be(&format!("given `{google}` or `{json}`, not both"))),
        (None, None) => Ok(None),
        (None, Some(schema)) if schema.get().starts_with(['{', 't', 'f']) => Ok(Some(schema.to_owned())),
        (None, Some(_)) => Err(place.field(json).must_be("a JSON schema")),
        (Some(schema), None) => schema::of_google(schema)
            .map(Some)
            .ok_or_else(|| place.field(google).must_be("a schema, not nested too deeply")),
    }
}

fn tool_config(json: &RawValue, prompt: &mut Prompt) -> Result<(), CallError> {
    let root = Place::root("toolConfig");
    let mut config = Object::read(json, &root)?;
    if let Some(json) = config.take("functionCallingConfig") {
        let place = root.field("functionCallingConfig");
        let mut calling = Object::read(json, &place)?;
        let mode = calling.take("mode").map(|mode| text(mode, &place.field("mode"))).transpose()?;
        let mut names: Vec<String> = match calling.take("allowedFunctionNames") {
            Some(names) => object::value(names, &place.field("allowedFunctionNames"), "an array of strings")?,
            None => Vec::new(),
        };
        let mode = mode.map(|mode| mode.to_ascii_uppercase());
        if !names.is_empty() && !matches!(mode.as_deref(), Some("ANY" | "VALIDATED")) {
            prompt.not_read(place.field("allowedFunctionNames").general());
        }
        prompt.tool_use = match mode.as_deref() {
            None | Some("" | "MODE_UNSPECIFIED") => None,
            Some("AUTO") => Some(ToolUse::Auto),
            Some("NONE") => Some(ToolUse::Never),
            Some("ANY") => Some(match names.len() {
                0 => ToolUse::Some,
                1 => ToolUse::Only(names.swap_remove(0)),
                _ => ToolUse::Among { names, must: true },
            }),
            Some("VALIDATED") if names.is_empty() => Some(ToolUse::Auto),
            Some("VALIDATED") => Some(ToolUse::Among { names, must: false }),
            Some(_) => return Err(place.field("mode").must_be("`AUTO`, `ANY`, `NONE` or `VALIDATED`")),
        };
        note_rest(prompt, &calling, &place);
    }
    note_rest(prompt, &config, &root);
    Ok(())
}

fn generation_config(json: &RawValue, prompt: &mut Prompt) -> Result<(), CallError> {
    let root = Place::root("generationConfig");
    let mut config = Object::read(json, &root)?;
    let mut number = |name: &str| {
        config.take(name).map(|json| object::value(json, &root.field(name), "a number")).transpose()
    };
    prompt.sampling.temperature = number("temperature")?;
    prompt.sampling.top_p = number("topP")?;
    prompt.sampling.top_k = number("topK")?;
    prompt.sampling.seed = number("seed")?;
    prompt.sampling.presence_penalty = number("presencePenalty")?;
    prompt.sampling.frequency_penalty = number("frequencyPenalty")?;
    prompt.max_output =
        body::whole_number(config.take("maxOutputTokens"), "maxOutputTokens", body::MAX_OUTPUT_TOKENS)?;
    prompt.choices =
        body::whole_number(config.take("candidateCount"), "candidateCount", MAX_CHOICES)?.unwrap_or(1);
    if let Some(stop) = config.take("stopSequences") {
        prompt.stop = object::value(stop, &root.field("stopSequences"), "an array of strings")?;
    }
    if let Some(modalities) = config.take("responseModalities") {
        let place = root.field("responseModalities");
        let modalities: Vec<String> = object::value(modalities, &place, "an array of strings")?;
        if modalities.iter().any(|it| !it.eq_ignore_ascii_case("TEXT")) {
            return Err(place.unsupported("may hold nothing but `TEXT` with the provider of this model"));
        }
    }
    prompt.format = read_format(&mut config, &root)?;
    if let Some(thinking) = config.take("thinkingConfig") {
        prompt.reasoning = read_thinking(thinking, &root.field("thinkingConfig"), prompt)?;
    }
    note_rest(prompt, &config, &root);
    Ok(())
}

fn read_format(config: &mut Object<'_>, root: &Place<'_>) -> Result<OutputFormat, CallError> {
    let place = root.field("responseMimeType");
    let kind = config.take("responseMimeType").map(|kind| text(kind, &place)).transpose()?;
    let schema = read_schema(config, "responseSchema", "responseJsonSchema", root)?;
    match (kind.as_deref(), schema) {
        (None | Some("" | "text/plain"), None) => Ok(OutputFormat::Text),
        (Some("application/json"), None) => Ok(OutputFormat::Json),
        (Some("application/json"), Some(schema)) => {
            Ok(OutputFormat::Schema { name: "answer".into(), description: None, schema, strict: None })
        }
        (None | Some("" | "text/plain"), Some(_)) => {
            Err(place.must_be("`application/json` where the answer has a schema"))
        }
        (Some(_), _) => {
            Err(place
                .unsupported("may be `text/plain` or `application/json` with the provider of this model"))
        }
    }
}

fn read_thinking(
    json: &RawValue,
    place: &Place<'_>,
    prompt: &mut Prompt,
) -> Result<Option<Reasoning>, CallError> {
    let mut thinking = Object::read(json, place)?;
    // Thoughts that a provider shows are passed on in any case.
    thinking.take("includeThoughts");
    let budget: Option<i64> = thinking
        .take("thinkingBudget")
        .map(|json| object::value(json, &place.field("thinkingBudget"), "a whole number"))
        .transpose()?;
    let level_place = place.field("thinkingLevel");
    let level = thinking.take("thinkingLevel").map(|json| text(json, &level_place)).transpose()?;
    note_rest(prompt, &thinking, place);
    let level = level.map(|level| level.to_ascii_uppercase());
    if budget.is_some() && !matches!(level.as_deref(), None | Some("" | "THINKING_LEVEL_UNSPECIFIED")) {
        prompt.not_read(place.field("thinkingBudget").general());
    }
    Ok(match level.as_deref() {
        None | Some("" | "THINKING_LEVEL_UNSPECIFIED") => match budget {
            None => None,
            Some(0) => Some(Reasoning::Off),
            Some(tokens) => Some(u64::try_from(tokens).map_or(Reasoning::Adaptive, Reasoning::Budget)),
        },
        Some("MINIMAL") => Some(Reasoning::Effort(Effort::Minimal)),
        Some("LOW") => Some(Reasoning::Effort(Effort::Low)),
        Some("MEDIUM") => Some(Reasoning::Effort(Effort::Medium)),
        Some("HIGH") => Some(Reasoning::Effort(Effort::High)),
        Some(_) => return Err(level_place.must_be("`MINIMAL`, `LOW`, `MEDIUM` or `HIGH`")),
    })
}
