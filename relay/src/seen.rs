//! What a provider's answer says that money and routing depend on, whatever format it is in.
//!
//! For: the common result of every format's metering reader. Each format has one for whole answers and a [`Watch`] for
//! streams; they read the provider's bytes, also where those are then converted for a caller of another format.
//! May not touch: how answers are written.
//! Claims: an unknown event, key or finish reason is never an error; counts replace each other, they never add up.

use crate::dialogue::Voice;
use crate::error::CallError;
use crate::estimate::Estimate;
use crate::sse::Event;
use bytes::Bytes;
use domain::Tokens;

/// What one event of a stream, or a whole answer, came to.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The counts known by now, if this event changed them: all classes, merged over the events so far.
    pub usage: Option<Tokens>,
    /// What it made of what is not counted in tokens (images, seconds), if it says so.
    pub units: Option<u64>,
    /// Does it hold counts and nothing that a caller who did not ask for them should see?
    pub is_usage_only: bool,
    /// Does it hold an answer, even an empty one (choices, content, candidates)?
    pub has_answer: bool,
    /// Does it say why the answer ended?
    pub is_finished: bool,
    /// Is it the stream's last event, after which nothing of use can follow?
    pub is_last: bool,
    /// The provider's error in place of an answer.
    pub error: Option<CallError>,
}

/// What a stream that is ended early says at its end.
#[derive(Debug)]
pub struct Cut<'a> {
    /// How many choices were asked for.
    pub choices: u64,
    /// What was consumed.
    pub tokens: Tokens,
    /// Does the caller want the counts, where one has to ask for them?
    pub wants_usage: bool,
    /// The names that the answer goes by, where the provider gave none.
    pub voice: &'a Voice,
}

/// Reads a provider's stream for metering.
pub trait Watch: Send {
    /// Reads one event and counts its generated text. `None`: it is nothing that this format knows.
    fn event(&mut self, event: &Event, delivered: &mut Estimate) -> Option<Seen>;

    /// The bytes that end a stream here with this format's word for "length", as if its provider had met the cap; `last` is the
    /// event that was passed on last. Nothing, where the format has no such word.
    fn cut(&self, last: &Event, cut: &Cut<'_>) -> Bytes;

    /// Is the end of the bytes after a finish reason the regular end of a stream of this format? (Gemini's streams end
    /// so; others have a last event, and providers that forget it are forgiven.)
    fn ends_with_its_bytes(&self) -> bool;
}
