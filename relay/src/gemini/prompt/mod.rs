//! Requests to generate, from callers into the dialogue and from the dialogue for providers.
//!
//! For: conversion. A call between a caller and a provider of this format never comes here.
//! May not touch: whether the provider is asked for a stream; that stands in the path.
//! Claims: what a caller wrote is kept, noted as not read, or refused by its place; nothing is fetched.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::read;
pub use write::write;

use crate::dialogue::Medium;

/// Media types by the ending of an address.
const ENDINGS: &[(&str, &str)] = &[
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("bmp", "image/bmp"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("wav", "audio/wav"),
    ("mp3", "audio/mp3"),
    ("aac", "audio/aac"),
    ("ogg", "audio/ogg"),
    ("flac", "audio/flac"),
    ("aiff", "audio/aiff"),
    ("m4a", "audio/m4a"),
    ("mp4", "video/mp4"),
    ("mpg", "video/mpeg"),
    ("mpeg", "video/mpeg"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("wmv", "video/wmv"),
    ("avi", "video/x-msvideo"),
    ("flv", "video/x-flv"),
    ("3gp", "video/3gpp"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("html", "text/html"),
    ("csv", "text/csv"),
    ("json", "application/json"),
    ("xml", "text/xml"),
];

/// What an address's ending says about what is there.
fn type_by_ending(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, name) = path.rsplit_once('/')?;
    let (_, ending) = name.rsplit_once('.')?;
    ENDINGS.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}

fn medium_of(media_type: &str) -> Medium {
    match media_type.split('/').next().unwrap_or_default() {
        "image" => Medium::Image,
        "audio" => Medium::Audio,
        "video" => Medium::Video,
        _ => Medium::Document,
    }
}

/// Is it kept at Google, under the provider's account?
fn is_kept_at_google(uri: &str) -> bool {
    uri.starts_with("https://generativelanguage.googleapis.com/")
        || uri.starts_with("gs://")
        || uri.starts_with("files/")
}

/// The one kind of address that Google's models open without being told a type.
fn is_youtube(uri: &str) -> bool {
    ["https://www.youtube.com/", "https://youtube.com/", "https://youtu.be/"]
        .iter()
        .any(|start| uri.starts_with(start))
}
