//! JSON whose members are moved, set and removed, and which is otherwise left alone.
//!
//! Claims: what no step leads through keeps its bytes, and members keep their order; only what is walked is opened.

use super::pointer::{Pointer, index};
use crate::body::Key;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A JSON value, opened as far as it was walked.
#[derive(Debug)]
pub(super) enum Node<'a> {
    /// As it came.
    Raw(&'a str),
    /// Written anew: JSON.
    Owned(String),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
    Array(Vec<Node<'a>>),
}

impl<'a> Node<'a> {
    /// A value, unopened.
    pub(super) fn new(json: &'a str) -> Self {
        Self::Raw(json)
    }

    /// Takes what is at a place out of the value.
    pub(super) fn take(&mut self, pointer: &Pointer) -> Option<Node<'a>> {
        self.take_steps(pointer.steps())
    }

    /// Puts a value at a place, with objects on the way where there are none: a caller that sends something else there
    /// cannot keep it out. An index of an array must be there, or be the next one.
    pub(super) fn put(&mut self, pointer: &Pointer, value: Node<'a>) {
        self.put_steps(pointer.steps(), value);
    }

    /// Takes a member of an object.
    pub(super) fn take_key(&mut self, key: &str) -> Option<Node<'a>> {
        self.take_steps(&[key.to_owned()])
    }

    /// Puts a member into an object; anything else stays as it is.
    pub(super) fn put_key(&mut self, key: &str, value: Node<'a>) {
        self.put_in_object(&[key.to_owned()], value);
    }

    /// As [`Self::put_key`], in the object at another key.
    pub(super) fn put_key_in(&mut self, outer: &str, key: &str, value: Node<'a>) {
        self.put_in_object(&[outer.to_owned(), key.to_owned()], value);
    }

    fn put_in_object(&mut self, steps: &[String], value: Node<'a>) {
        self.open();
        if let Self::Object(_) = self {
            self.put_steps(steps, value);
        }
    }

    /// The JSON.
    pub(super) fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn open(&mut self) {
        if let Self::Raw(json) = *self
            && let Ok(opened) = serde_json::Deserializer::from_str(json).deserialize_any(Opened)
        {
            *self = opened;
        }
    }

    fn take_steps(&mut self, steps: &[String]) -> Option<Node<'a>> {
        let (step, rest) = steps.split_first()?;
        self.open();
        match self {
            Self::Object(members) if rest.is_empty() => {
                let (mut taken, left): (Vec<_>, Vec<_>) =
                    std::mem::take(members).into_iter().partition(|(key, _)| key == step);
                *members = left;
                taken.pop().map(|(_, value)| value)
            }
            Self::Object(members) => {
                let member = members.iter_mut().rev().find(|(key, _)| key == step)?;
                member.1.take_steps(rest)
            }
            Self::Array(elements) => {
                let at = index(step).filter(|at| *at < elements.len())?;
                if rest.is_empty() { Some(elements.remove(at)) } else { elements[at].take_steps(rest) }
            }
            Self::Raw(_) | Self::Owned(_) => None,
        }
    }

    fn put_steps(&mut self, steps: &[String], value: Node<'a>) {
        let Some((step, rest)) = steps.split_first() else {
            *self = value;
            return;
        };
        self.open();
        if let (Self::Array(elements), Some(at)) = (&mut *self, index(step)) {
            if at == elements.len() {
                elements.push(Node::Object(Vec::new()));
            }
            if let Some(element) = elements.get_mut(at) {
                element.put_steps(rest, value);
            }
            return;
        }
        if !matches!(self, Self::Object(_)) {
            *self = Self::Object(Vec::new());
        }
        let Self::Object(members) = self else { return };
        if !members.iter().any(|(key, _)| key == step) {
            members.push((Cow::Owned(step.clone()), Node::Object(Vec::new())));
        }
        // Of a key that a caller gave twice some readers take the first: what a rule puts is to be the only one.
        let mut later = members.iter().filter(|(key, _)| key == step).count();
        members.retain(|(key, _)| {
            later -= usize::from(key == step);
            key != step || later == 0
        });
        if let Some((_, member)) = members.iter_mut().find(|(key, _)| key == step) {
            member.put_steps(rest, value);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Raw(json) => out.extend_from_slice(json.as_bytes()),
            Self::Owned(json) => out.extend_from_slice(json.as_bytes()),
            Self::Object(members) => {
                out.push(b'{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(crate::body::json_string(key).as_bytes());
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
            Self::Array(elements) => {
                out.push(b'[');
                for (at, value) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
        }
    }
}

/// Opens an object or an array by one level. Anything else stays what it is.
struct Opened;

impl<'de> Visitor<'de> for Opened {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            members.push((key, Node::Raw(value.get())));
        }
        Ok(Node::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(value) = seq.next_element::<&'de RawValue>()? {
            elements.push(Node::Raw(value.get()));
        }
        Ok(Node::Array(elements))
    }
}
