//! What a model answers: whole, or piece by piece.

use super::prompt::{Choice, Part};
use crate::error::CallError;
use domain::Tokens;

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The provider's id for it.
    pub id: Option<String>,
    /// One per choice asked for, in order.
    pub choices: Vec<Answered>,
    /// The provider's counts.
    pub usage: Option<Tokens>,
}

/// One of a reply's choices.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Texts, thoughts, calls, refusals, in order.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub finish: Finish,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model was done.
    Stop,
    /// A stop text came up; which one, if told.
    StopText(Option<String>),
    /// The cap on tokens, or the model's window.
    Length,
    /// It calls functions.
    Calls,
    /// It declined, or a filter did.
    Filtered,
    /// The provider paused a long turn that can be taken up again. Only Claude does.
    Paused,
    /// Something we have no word for: the provider's own, for the log; a caller is told `Stop`.
    Other(String),
}

/// A piece of a streamed answer, in the order in which it was generated.
///
/// A reader of a stream gives: [`Piece::Begin`] first; texts, thoughts and calls; a [`Piece::Finish`] for each choice;
/// [`Piece::Usage`] whenever counts are known (each replaces the one before it); [`Piece::End`] last, unless the stream
/// broke off. Calls of one choice may interleave: `index` tells them apart.
#[derive(Clone, Debug)]
pub enum Piece {
    /// The answer begins.
    Begin {
        /// The provider's id for it.
        id: Option<String>,
    },
    /// More text.
    Text {
        /// Of which choice.
        choice: Choice,
        /// The text.
        text: String,
    },
    /// More of a thought.
    Thinking {
        /// Of which choice.
        choice: Choice,
        /// The text.
        text: String,
    },
    /// The proof of the thought (Claude) or text (Gemini) so far.
    Signature {
        /// Of which choice.
        choice: Choice,
        /// As given.
        signature: String,
    },
    /// A whole thought that only its provider can read.
    HiddenThinking {
        /// Of which choice.
        choice: Choice,
        /// As given.
        data: String,
    },
    /// The model declines, in words.
    Refusal {
        /// Of which choice.
        choice: Choice,
        /// The text.
        text: String,
    },
    /// A call begins.
    CallBegin {
        /// Of which choice.
        choice: Choice,
        /// 0, 1, 2… among the calls of the choice.
        index: u64,
        /// Never empty.
        id: String,
        /// The function.
        name: String,
        /// As in [`Part::Call`].
        signature: Option<String>,
    },
    /// More of a call's arguments: JSON text.
    CallArguments {
        /// Of which choice.
        choice: Choice,
        /// Which call.
        index: u64,
        /// The text.
        fragment: String,
    },
    /// A call's arguments are complete.
    CallEnd {
        /// Of which choice.
        choice: Choice,
        /// Which call.
        index: u64,
    },
    /// A choice is finished.
    Finish {
        /// Which one.
        choice: Choice,
        /// Why.
        finish: Finish,
    },
    /// The provider's counts so far.
    Usage(Tokens),
    /// The provider lives, and has nothing to say yet.
    Ping,
    /// The provider's error in place of the rest.
    Error(CallError),
    /// Nothing follows.
    End,
}
