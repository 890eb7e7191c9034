//! What `docs/conversions.md` says, cell by cell, of whole requests and answers: each cell that says something has a case
//! here, and each case belongs to a cell. What is left out is compared to the last name.

mod answers;
mod endpoints;
mod reading;
mod writing;

use super::names;
use super::outgoing::{self, NotSent};
use crate::asked::{Asked, PathSays};
use crate::catalogue::{ProviderFormat, ProviderKey, Route, Secret};
use crate::endpoint::Endpoint;
use axum::http::HeaderMap;
use domain::Label;
use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/conversions.md");

/// A case for a cell: a caller's request, the providers that it is written for, and what becomes of it.
struct Case {
    row: &'static str,
    column: &'static str,
    /// The caller's protocol.
    from: &'static str,
    /// The fields that matter; the rest is made up around them.
    fields: &'static str,
    /// Providers, as [`route`] names them; none: one of each kind but the caller's own.
    to: &'static [&'static str],
    expected: &'static [Expected],
}

/// What becomes of a request. What is sent has exactly those names in its header that are expected.
enum Expected {
    /// It says this there.
    At(&'static str, &'static str),
    /// It holds this to the byte.
    Holds(&'static str),
    /// It says nothing there.
    Nothing(&'static str),
    /// The header names this.
    Notes(&'static str),
    /// It is refused in a sentence with this in it.
    Refuses(&'static str),
}

/// A table below a heading: its columns but the first, and its rows with their cells.
struct Table {
    columns: Vec<&'static str>,
    rows: Vec<(&'static str, Vec<&'static str>)>,
}

fn table(heading: &str) -> Table {
    let (_, below) = DOCUMENT.split_once(&format!("\n## {heading}\n")).unwrap();
    let cells = |line: &'static str| -> Vec<&'static str> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect()
    };
    let is_row = |line: &&str| line.starts_with('|');
    let mut lines = below.lines().skip_while(|line| !is_row(line)).take_while(is_row);
    let columns = cells(lines.next().unwrap()).split_off(1);
    let rows = lines.skip(1).map(|line| {
        let mut cells = cells(line);
        (cells.remove(0), cells)
    });
    Table { columns, rows: rows.collect() }
}

/// Has each cell a case, and each case a cell?
fn assert_covers(heading: &str, cases: &[(&str, &str)]) {
    let Table { columns, rows } = table(heading);
    assert!(columns.len() >= 3 && rows.len() >= 5, "{heading} is no table any more");
    let mut cells = BTreeSet::new();
    for (row, said) in &rows {
        assert_eq!(said.len(), columns.len(), "{heading}: {row}");
        let says = columns.iter().zip(said).filter(|(_, said)| **said != "–");
        cells.extend(says.map(|(column, _)| (*row, *column)));
    }
    let tested: BTreeSet<_> = cases.iter().copied().collect();
    let untested: Vec<_> = cells.difference(&tested).collect();
    let unknown: Vec<_> = tested.difference(&cells).collect();
    assert!(untested.is_empty(), "{heading}: cells without a case: {untested:#?}");
    assert!(unknown.is_empty(), "{heading}: cases without a cell: {unknown:#?}");
}

/// A provider: of OpenAI's kind, OpenAI itself, one that knows responses, or the name of a model of the others.
fn route(name: &str) -> Route {
    let format = match name {
        _ if name.starts_with("claude") => ProviderFormat::Claude,
        _ if name.starts_with("gemini") => ProviderFormat::Gemini,
        _ => ProviderFormat::OpenAi,
    };
    let host = if name == "openai.com" { "https://api.openai.com/v1" } else { "http://127.0.0.1/v1" };
    Route {
        provider: Label::try_new("p").unwrap(),
        format,
        custom: None,
        base_url: host.into(),
        keys: vec![ProviderKey { name: Label::try_new("k").unwrap(), secret: Secret::new("s") }],
        speaks_responses: name == "responses",
        upstream_model: Label::try_new(name).unwrap(),
        cost: None,
        priority: 0,
        weight: 1,
        limit: None,
    }
}

/// A caller's request: these fields, and what else each request of its protocol must have.
fn asked(from: &str, fields: &str) -> Result<Asked, String> {
    let (endpoint, conversation, default) = match from {
        "chat completions" => (Endpoint::Chat, "messages", r#""messages":[{"role":"user","content":"hi"}]"#),
        "responses" => (Endpoint::Responses, "input", r#""input":"hi""#),
        "messages" => (Endpoint::Messages, "messages", r#""messages":[{"role":"user","content":"hi"}]"#),
        _ => (Endpoint::Generate, "contents", r#""contents":[{"parts":[{"text":"hi"}]}]"#),
    };
    let mut members = vec![fields.to_owned()];
    if !fields.contains(&format!("\"{conversation}\":[")) {
        members.push(default.to_owned());
    }
    if endpoint != Endpoint::Generate {
        members.push(r#""model":"m""#.to_owned());
    }
    if endpoint == Endpoint::Messages && !fields.contains("\"max_tokens\"") {
        members.push(r#""max_tokens":4000"#.to_owned());
    }
    members.retain(|member| !member.is_empty());
    let body = format!("{{{}}}", members.join(","));
    serde_json::from_str::<Value>(&body).unwrap_or_else(|error| panic!("{error} in {body}"));
    let path = PathSays { model: "m".into(), ..PathSays::default() };
    Asked::try_new(endpoint, path, &HeaderMap::new(), body.into()).map_err(|it| it.to_string())
}

/// What a provider gets, and what the caller is told was left out.
fn sent(from: &str, fields: &str, to: &str) -> Result<(String, String), String> {
    let asked = asked(from, fields)?;
    match outgoing::write(&asked, &route(to), "key", 99) {
        Ok(outgoing) => {
            let dropped = names(&outgoing.dropped).map(|it| it.to_str().unwrap().to_owned());
            Ok((String::from_utf8(outgoing.body.to_vec()).unwrap(), dropped.unwrap_or_default()))
        }
        Err(NotSent::Refused(error)) => Err(error.to_string()),
        Err(other) => panic!("{other:?}"),
    }
}

fn own(from: &str) -> &'static str {
    match from {
        "messages" => "claude-opus-4-5",
        "Gemini" => "gemini-2.5-flash",
        "responses" => "responses",
        _ => "openai",
    }
}

/// All that a case lacks; nothing: it holds.
fn faults(case: &Case) -> Vec<String> {
    let all = ["openai", "claude-opus-4-5", "gemini-2.5-flash"];
    let others: Vec<&str> = all.into_iter().filter(|to| *to != own(case.from)).collect();
    let mut faults = Vec::new();
    for to in if case.to.is_empty() { &others } else { case.to } {
        let mut fault = |what: String| {
            faults.push(format!("{} | {} ({} → {to}): {what}", case.row, case.column, case.from));
        };
        let (body, dropped) = match sent(case.from, case.fields, to) {
            Ok(sent) => sent,
            Err(said) => {
                match case.expected {
                    [Expected::Refuses(text)] if said.contains(text) => {}
                    _ => fault(format!("refused: {said}")),
                }
                continue;
            }
        };
        let json: Value = serde_json::from_str(&body).unwrap();
        let mut notes = BTreeSet::new();
        for expected in case.expected {
            match expected {
                Expected::At(path, value) => {
                    let wanted: Value = serde_json::from_str(value).unwrap();
                    if json.pointer(path) != Some(&wanted) {
                        fault(format!("{path} must be {value}: {body}"));
                    }
                }
                Expected::Holds(text) if !body.contains(text) => fault(format!("must hold {text}: {body}")),
                Expected::Nothing(path) if json.pointer(path).is_some() => {
                    fault(format!("must say nothing at {path}: {body}"));
                }
                Expected::Holds(_) | Expected::Nothing(_) => {}
                Expected::Notes(name) => {
                    notes.insert(*name);
                }
                Expected::Refuses(text) => fault(format!("must be refused ({text}): {body}")),
            }
        }
        let told: BTreeSet<&str> = dropped.split(", ").filter(|name| !name.is_empty()).collect();
        if told != notes {
            fault(format!("the header names {told:?}, not {notes:?}"));
        }
    }
    faults
}

fn assert_all(heading: &str, cases: &[Case]) {
    let faults: Vec<String> = cases.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "{heading}:\n{}", faults.join("\n"));
    assert_covers(heading, &cases.iter().map(|case| (case.row, case.column)).collect::<Vec<_>>());
}

#[test]
fn what_no_header_can_hold_is_told_of_all_the_same() {
    let header = |dropped: &[&str]| {
        let dropped: Vec<String> = dropped.iter().map(|&name| name.into()).collect();
        names(&dropped).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header(&[]), None);
    assert_eq!(header(&["a", "messages[] (its place)"]).unwrap(), "a, messages[] (its place)");
    assert_eq!(header(&["a", "naïve", &"b".repeat(101)]).unwrap(), "a, and others");
    assert_eq!(header(&["é", "and others"]).unwrap(), "and others");
}
