//! The conversation, written by the rules of the format.
//!
//! Claims: the first turn is the user's, sides take turns, results come first in a turn and refer to their calls, no
//! text is blank; media that the format has no place for is refused by name.

use super::ids::Ids;
use super::shape::{Block, Content, SourceView};
use super::write::{Dropped, unsupported};
use crate::dialogue::{Medium, Part, Prompt, Role, Source};
use crate::error::CallError;
use serde_json::value::RawValue;

/// What stands for the user's turn where a conversation begins with the model's.
const OPENING: &str = "(The conversation begins here.)";
/// The types of images that the format takes.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// A turn as the format has it: of one side, with all that it says.
pub(super) type Said<'a> = (Role, Vec<Block<'a>>);

/// One plain text stands as a string, which every vendor of the format can read.
pub(super) fn content(blocks: Vec<Block<'_>>) -> Content<'_> {
    match blocks.as_slice() {
        [Block::Text { text, cache_control: None }] => Content::Text(text),
        _ => Content::Blocks(blocks),
    }
}

pub(super) fn system(prompt: &Prompt) -> Result<Option<Content<'_>>, CallError> {
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
pub(super) fn messages<'a>(prompt: &'a Prompt, dropped: &mut Dropped) -> Result<Vec<Said<'a>>, CallError> {
    let mut ids = Ids::default();
    let mut messages: Vec<Said<'a>> = Vec::with_capacity(prompt.turns.len());
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
                dropped.note("image_url.detail");
            }
            if *medium == Medium::Image && matches!(source, Source::Inline { filename: Some(_), .. }) {
                dropped.note("filename");
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
    let is_known = |media_type: &str| match medium {
        Medium::Image => IMAGES.contains(&plain(media_type)),
        Medium::Document => plain(media_type) == "application/pdf",
        Medium::Audio | Medium::Video => true,
    };
    if let Source::Inline { media_type, .. } | Source::Url { media_type: Some(media_type), .. } = source
        && !is_known(media_type)
    {
        return refuse(&format!("`{}`", plain(media_type).chars().take(100).collect::<String>()));
    }
    let (view, title) = match source {
        Source::Inline { media_type, data, filename } => {
            (SourceView::Base64 { media_type: plain(media_type), data }, filename.as_deref())
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
