//! What a request may ask for that no price list here covers: dearer tiers of service, and tools that the provider runs
//! and bills beside its tokens.
//!
//! For: refusing such a call before a hold, unless the operator has chosen to bear it.
//! May not touch: what is converted. A reader of conversations refuses or notes these for its own reasons.
//! Claims: of tools, what is not known to be the caller's own is taken to be the provider's. Of fields only the known
//! ones are seen: providers have more of them than anybody could list.

use crate::body::{Medium, Plan, Scan};
use crate::error::CallError;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One such thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpriced {
    /// The top-level field that asks for it.
    field: &'static str,
    /// What it is.
    what: String,
}

/// Tiers that cost no more than a plain call, in the words of OpenAI, Anthropic, Google and Groq. `auto` is what the
/// operator's own account at the provider is set to.
const PLAIN_TIERS: &[&str] =
    &["auto", "default", "flex", "standard", "standard_only", "on_demand", "unspecified"];

/// A field of it is given twice, or its type is no string: two readers could disagree about what it is.
const UNREADABLE: &str = "of a type that cannot be read";

impl Unpriced {
    /// What the caller is told.
    pub(crate) fn refusal(&self) -> CallError {
        CallError::BadRequest {
            param: Some(self.field),
            code: "unsupported_parameter",
            message: format!(
                "{} is not offered: its provider bills it beyond the prices of the model's tokens",
                self.what
            ),
        }
    }

    fn field(scan: &Scan<'_>, field: &'static str, is_plain: impl Fn(&str) -> bool) -> Option<Self> {
        let value = scan.get(field)?.get();
        (!is_plain(value)).then(|| Self { field, what: format!("`{field}`: {}", shortened(value)) })
    }

    fn tier(scan: &Scan<'_>, field: &'static str) -> Option<Self> {
        Self::field(scan, field, |value| is_one_of(value, PLAIN_TIERS))
    }

    /// The first tool that is not the caller's own. `kind` reads what a tool is, if it is one of the provider's.
    fn tool(scan: &Scan<'_>, kind: impl Fn(&RawValue) -> Option<String>) -> Option<Self> {
        let tools = scan.get("tools")?.get();
        // What is no array is the provider's to refuse.
        let tools: Vec<&RawValue> = serde_json::from_str(tools).ok()?;
        tools.into_iter().enumerate().find_map(|(at, tool)| {
            kind(tool).map(|kind| Self { field: "tools", what: format!("`tools[{at}]` ({kind})") })
        })
    }
}

/// Chat completions, with what other providers than OpenAI added: xAI, Alibaba, OpenRouter.
pub(crate) fn in_chat(scan: &Scan<'_>) -> Option<Unpriced> {
    Unpriced::tier(scan, "service_tier")
        .or_else(|| Unpriced::field(scan, "web_search_options", is_nothing))
        .or_else(|| Unpriced::field(scan, "search_parameters", is_nothing))
        .or_else(|| Unpriced::field(scan, "enable_search", is_nothing))
        .or_else(|| Unpriced::field(scan, "plugins", is_nothing))
        .or_else(|| Unpriced::tool(scan, |tool| foreign(tool, |kind| matches!(kind, "function" | "custom"))))
}

/// Responses.
pub(crate) fn in_responses(scan: &Scan<'_>) -> Option<Unpriced> {
    // What the caller's own machine runs.
    let is_own = |kind: &str| {
        matches!(
            kind,
            "function" | "custom" | "local_shell" | "apply_patch" | "computer" | "namespace" | "tool_search"
        ) || kind.starts_with("computer_use")
    };
    Unpriced::tier(scan, "service_tier").or_else(|| Unpriced::tool(scan, |tool| foreign(tool, is_own)))
}

/// Messages.
pub(crate) fn in_messages(scan: &Scan<'_>) -> Option<Unpriced> {
    // What the caller's own machine runs, and the search among its tools, which costs nothing.
    const OWN: &[&str] = &["bash_", "text_editor_", "memory_", "computer_", "tool_search_tool_"];
    let is_own = |kind: &str| kind == "custom" || OWN.iter().any(|start| kind.starts_with(start));
    Unpriced::tier(scan, "service_tier")
        .or_else(|| Unpriced::field(scan, "speed", |value| is_one_of(value, &["standard"])))
        .or_else(|| Unpriced::field(scan, "inference_geo", |value| is_one_of(value, &["global"])))
        .or_else(|| Unpriced::field(scan, "mcp_servers", is_nothing))
        .or_else(|| Unpriced::tool(scan, |tool| foreign(tool, is_own)))
}

/// Gemini's `generateContent`, whose tools are objects with a field for each kind.
pub(crate) fn in_generate(scan: &Scan<'_>) -> Option<Unpriced> {
    const NAMES: Plan = Plan { routed: &[], read: &[], noted: &[], medium: |_, _| Medium::Text };
    let is_own = |name: &str| {
        matches!(name, "functionDeclarations" | "function_declarations" | "computerUse" | "computer_use")
            || name.starts_with('_')
    };
    let kind = |tool: &RawValue| {
        if !tool.get().starts_with('{') {
            return None;
        }
        if Scan::try_new(tool.get().as_bytes(), &NAMES).is_err() {
            return Some(UNREADABLE.to_owned());
        }
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(tool.get()).ok()?;
        let foreign = fields.iter().find(|(name, value)| !is_own(name) && value.get() != "null");
        foreign.map(|(name, _)| shortened(name).into_owned())
    };
    Unpriced::tier(scan, "serviceTier")
        .or_else(|| Unpriced::tier(scan, "service_tier"))
        .or_else(|| Unpriced::tool(scan, kind))
}

/// What a tool is by its `type`, unless it is the caller's own or has none.
fn foreign(tool: &RawValue, is_own: impl Fn(&str) -> bool) -> Option<String> {
    #[derive(Deserialize)]
    struct Tool<'a> {
        #[serde(borrow, default, rename = "type")]
        kind: Option<Cow<'a, str>>,
    }
    // No object: the provider's to refuse.
    if !tool.get().starts_with('{') {
        return None;
    }
    match serde_json::from_str::<Tool<'_>>(tool.get()) {
        Ok(Tool { kind }) => kind.filter(|kind| !is_own(kind)).map(|kind| shortened(&kind).into_owned()),
        Err(_) => Some(UNREADABLE.to_owned()),
    }
}

/// Does a JSON value ask for nothing?
fn is_nothing(value: &str) -> bool {
    matches!(value, "null" | "false" | "[]")
}

/// Is a JSON value one of these words, in letters of any case, or null?
fn is_one_of(value: &str, words: &[&str]) -> bool {
    match serde_json::from_str::<Option<Cow<'_, str>>>(value) {
        Ok(Some(word)) => words.iter().any(|known| known.eq_ignore_ascii_case(&word)),
        Ok(None) => true,
        Err(_) => false,
    }
}

fn shortened(text: &str) -> Cow<'_, str> {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use crate::claude::request::MessagesRequest;
    use crate::gemini::request::GenerateRequest;
    use crate::openai::request::ChatRequest;
    use crate::responses::request::ResponsesRequest;

    /// What a request of a protocol with these fields is refused for.
    fn refused(protocol: &str, fields: &str) -> Option<String> {
        let body = |start: &str| format!("{{{start}{fields}}}").into();
        let unpriced = match protocol {
            "chat" => ChatRequest::try_new(body(r#""model":"m","messages":[1]"#)).unwrap().unpriced,
            "responses" => ResponsesRequest::try_new(body(r#""model":"m","input":"x""#)).unwrap().unpriced,
            "messages" => MessagesRequest::try_new(body(r#""model":"m","messages":[1]"#)).unwrap().unpriced,
            _ => GenerateRequest::try_new(body(r#""contents":[1]"#), "m", false).unwrap().unpriced,
        };
        unpriced.map(|it| it.refusal().to_string())
    }

    #[test]
    fn dearer_tiers_and_tools_that_a_provider_runs_are_named() {
        let cases = [
            ("chat", r#","service_tier":"priority""#, "`service_tier`"),
            ("chat", r#","service_tier":"scale""#, "`service_tier`"),
            ("chat", r#","service_tier":7"#, "`service_tier`"),
            ("chat", r#","web_search_options":{}"#, "`web_search_options`"),
            ("chat", r#","search_parameters":{"mode":"on"}"#, "`search_parameters`"),
            ("chat", r#","enable_search":true"#, "`enable_search`"),
            ("chat", r#","plugins":[{"id":"web"}]"#, "`plugins`"),
            ("chat", r#","tools":[{"type":"function"},{"type":"web_search"}]"#, "`tools[1]` (web_search)"),
            ("responses", r#","service_tier":"priority""#, "`service_tier`"),
            ("responses", r#","tools":[{"type":"web_search_preview"}]"#, "(web_search_preview)"),
            ("responses", r#","tools":[{"type":"code_interpreter","container":{}}]"#, "(code_interpreter)"),
            ("responses", r#","tools":[{"type":"image_generation"}]"#, "(image_generation)"),
            ("responses", r#","tools":[{"type":"file_search"}]"#, "(file_search)"),
            ("responses", r#","tools":[{"type":"mcp"}]"#, "(mcp)"),
            ("responses", r#","tools":[{"type":"function","type":"mcp"}]"#, "cannot be read"),
            ("responses", r#","tools":[{"type":"m\u0063p"}]"#, "(mcp)"),
            ("messages", r#","service_tier":"priority""#, "`service_tier`"),
            ("messages", r#","speed":"fast""#, "`speed`"),
            ("messages", r#","inference_geo":"us""#, "`inference_geo`"),
            ("messages", r#","mcp_servers":[{"url":"https://x"}]"#, "`mcp_servers`"),
            ("messages", r#","tools":[{"type":"web_search_20250305","name":"web_search"}]"#, "(web_search_"),
            ("messages", r#","tools":[{"type":"web_fetch_20250910"}]"#, "(web_fetch_"),
            ("messages", r#","tools":[{"type":"code_execution_20250825"}]"#, "(code_execution_"),
            ("gemini", r#","serviceTier":"PRIORITY""#, "`serviceTier`"),
            ("gemini", r#","service_tier":"priority""#, "`service_tier`"),
            (
                "gemini",
                r#","tools":[{"functionDeclarations":[]},{"googleSearch":{}}]"#,
                "`tools[1]` (googleSearch)",
            ),
            ("gemini", r#","tools":[{"google_search_retrieval":{}}]"#, "(google_search_retrieval)"),
            ("gemini", r#","tools":[{"codeExecution":{}}]"#, "(codeExecution)"),
            ("gemini", r#","tools":[{"urlContext":{}}]"#, "(urlContext)"),
            ("gemini", r#","tools":[{"urlContext":{},"url\u0043ontext":null}]"#, "cannot be read"),
        ];
        for (protocol, fields, named) in cases {
            let said = refused(protocol, fields).unwrap_or_default();
            assert!(said.contains(named), "{protocol} {fields}: {said}");
        }
    }

    #[test]
    fn plain_calls_and_what_the_caller_runs_itself_pass() {
        let cases = [
            ("chat", r#","service_tier":null,"enable_search":false,"plugins":[],"web_search_options":null"#),
            ("chat", r#","service_tier":"flex","tools":[{"type":"function"},{"type":"custom"},{},1]"#),
            ("chat", r#","service_tier":"auto","tools":{"type":"function"}"#),
            (
                "responses",
                r#","service_tier":"default","tools":[{"type":"local_shell"},{"type":"function"}]"#,
            ),
            ("responses", r#","tools":[{"type":"computer_use_preview"},{"type":"custom"}]"#),
            ("messages", r#","service_tier":"standard_only","speed":"standard","inference_geo":"global""#),
            (
                "messages",
                r#","mcp_servers":[],"tools":[{"name":"f"},{"type":"custom"},{"type":"bash_20250124"}]"#,
            ),
            ("messages", r#","tools":[{"type":"text_editor_20250728"},{"type":"memory_20250818"}]"#),
            (
                "gemini",
                r#","serviceTier":"STANDARD","tools":[{"function_declarations":[],"googleSearch":null}]"#,
            ),
        ];
        for (protocol, fields) in cases {
            assert_eq!(refused(protocol, fields), None, "{protocol} {fields}");
        }
    }
}
