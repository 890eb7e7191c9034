//! What a caller asks of a model: a conversation so far, the tools it may use, and how the next turn shall be.

use serde_json::Number;
use serde_json::value::RawValue;

/// A request for the next turn of a conversation.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// As a stream?
    pub stream: bool,
    /// Instructions that stand above the conversation: texts in order.
    pub system: Vec<Part>,
    /// The conversation. Neighbours may have the same role; a writer merges them where its format asks for it.
    pub turns: Vec<Turn>,
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Must it call one?
    pub tool_use: Option<ToolUse>,
    /// May it call several at once? `None`: as the provider likes.
    pub parallel_tools: Option<bool>,
    /// The cap on generated tokens, reasoning included.
    pub max_output: Option<u64>,
    /// How many answers; 1 is the usual.
    pub choices: u64,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// What the answer's text must be.
    pub format: OutputFormat,
    /// How much it shall think first.
    pub reasoning: Option<Reasoning>,
    /// The caller's name for its own end user.
    pub user: Option<String>,
    /// Top-level fields (or paths such as `messages[].name`) that this hub has no place for. A writer hands them on in
    /// [`super::Written::dropped`].
    pub unread: Vec<String>,
}

/// How the next token is drawn. Numbers keep the caller's form.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    /// 0 to 2 with OpenAI and Gemini, 0 to 1 with Claude.
    pub temperature: Option<Number>,
    /// Nucleus.
    pub top_p: Option<Number>,
    /// Among how many.
    pub top_k: Option<Number>,
    /// For the same answer again.
    pub seed: Option<Number>,
    /// Against repeating topics.
    pub presence_penalty: Option<Number>,
    /// Against repeating words.
    pub frequency_penalty: Option<Number>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The caller's side; results of tools too.
    User,
    /// The model.
    Assistant,
}

/// One side's turn, or a piece of it.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Whose.
    pub role: Role,
    /// In order. Results of tools stand before any other part of a user's turn.
    pub parts: Vec<Part>,
}

/// A piece of a turn, of an instruction, or of an answer.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text.
    Text {
        /// The text itself.
        text: String,
        /// The mark that asks to cache the prompt up to here: Claude's `cache_control`, as written.
        cache: Option<Box<RawValue>>,
    },
    /// An image, a sound or a document.
    Media {
        /// Which.
        medium: Medium,
        /// Where it is.
        source: Source,
        /// OpenAI's `detail` of an image.
        detail: Option<String>,
        /// As in `Text`.
        cache: Option<Box<RawValue>>,
    },
    /// What the model thought before it spoke.
    Thinking {
        /// The thought; empty if it is withheld.
        text: String,
        /// The provider's proof, without which it does not take the thought back in a later turn.
        signature: Option<String>,
    },
    /// A thought that only its provider can read.
    HiddenThinking {
        /// As given.
        data: String,
    },
    /// The model calls a function.
    Call {
        /// The call's id; never empty: a reader makes one up where its format gives none.
        id: String,
        /// The function.
        name: String,
        /// A JSON object, as written. A reader refuses a request whose arguments are no JSON object and reads no
        /// arguments as `{}`.
        arguments: Box<RawValue>,
        /// Gemini's proof of the thought behind the call.
        signature: Option<String>,
    },
    /// A function's result.
    Result {
        /// The call's id.
        id: String,
        /// The function, looked up from the call where the format does not repeat it.
        name: String,
        /// Texts and images.
        content: Vec<Part>,
        /// Did the function fail?
        is_error: bool,
        /// As in `Text`.
        cache: Option<Box<RawValue>>,
    },
    /// The model declines, in words.
    Refusal {
        /// Its words.
        text: String,
    },
}

/// What a piece of media is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A picture.
    Image,
    /// Sound.
    Audio,
    /// A PDF or another document.
    Document,
    /// Moving pictures.
    Video,
}

/// Where media is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the request.
    Inline {
        /// Such as `image/png`.
        media_type: String,
        /// Base64, as written.
        data: String,
        /// A document's name, if it has one.
        filename: Option<String>,
    },
    /// At an address.
    Url {
        /// The address.
        url: String,
        /// Its type, if stated.
        media_type: Option<String>,
    },
    /// Kept at the provider under an id. Only the provider that gave the id can read it.
    File {
        /// The id.
        id: String,
    },
}

/// A function that the model may call.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments; `None`: it takes none.
    pub schema: Option<Box<RawValue>>,
    /// Must arguments follow the schema to the letter?
    pub strict: Option<bool>,
    /// As in [`Part::Text`].
    pub cache: Option<Box<RawValue>>,
}

/// Must the model call a function?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolUse {
    /// If it likes.
    Auto,
    /// It must not.
    Never,
    /// It must call one.
    Some,
    /// It must call this one.
    Only(String),
    /// It must call one of these (`must`), or may call only these.
    Among {
        /// The functions.
        names: Vec<String>,
        /// Must it?
        must: bool,
    },
}

/// What the answer's text must be.
#[derive(Clone, Debug, Default)]
pub enum OutputFormat {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    Json,
    /// JSON of a schema.
    Schema {
        /// The schema's name; formats without one make up `answer`.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema, as written.
        schema: Box<RawValue>,
        /// To the letter?
        strict: Option<bool>,
    },
}

/// How much a model shall think before it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// In a word.
    Effort(Effort),
    /// In tokens.
    Budget(u64),
    /// As the model likes.
    Adaptive,
}

/// An effort in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Next to nothing.
    Minimal,
    /// Little.
    Low,
    /// The usual.
    Medium,
    /// Much.
    High,
    /// Very much (`xhigh`).
    Higher,
    /// As much as it can (`max`).
    Max,
}

/// The most names of unread fields that are noted: each is looked for among the others.
const MAX_UNREAD: usize = 64;
/// The most of such a name, in characters.
const MAX_NAME: usize = 100;

/// A reference to one answer of several.
pub type Choice = u64;

impl Effort {
    /// The thinking budget, in tokens, that stands for an effort where a format has budgets only.
    pub fn budget(self) -> u64 {
        match self {
            Self::Minimal => 1024,
            Self::Low => 2048,
            Self::Medium => 8192,
            Self::High => 16_384,
            Self::Higher => 32_768,
            Self::Max => 63_999,
        }
    }

    /// The effort that stands for a thinking budget where a format has words only.
    pub fn of_budget(tokens: u64) -> Self {
        match tokens {
            0..=1024 => Self::Minimal,
            1025..=4096 => Self::Low,
            4097..=12_288 => Self::Medium,
            12_289..=24_576 => Self::High,
            24_577..=49_152 => Self::Higher,
            49_153.. => Self::Max,
        }
    }
}

impl Part {
    /// A plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), cache: None }
    }
}

impl Prompt {
    /// Notes a field that the hub has no place for, once. Far more of them than any API has are a caller's mischief, and
    /// are noted as `and others`.
    pub fn not_read(&mut self, field: impl AsRef<str>) {
        let field = field.as_ref();
        let field = field.char_indices().nth(MAX_NAME).map_or(field, |(end, _)| &field[..end]);
        let field = match self.unread.len() {
            0..MAX_UNREAD => field,
            MAX_UNREAD.. if self.unread.iter().any(|known| known == field) => return,
            MAX_UNREAD.. => "and others",
        };
        if !self.unread.iter().any(|known| known == field) {
            self.unread.push(field.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_unread_names_is_noted_in_part() {
        let mut prompt = Prompt::default();
        for name in (0..5000).map(|at| format!("f{}", at / 2)) {
            prompt.not_read(name);
        }
        assert_eq!((prompt.unread.len(), prompt.unread[63].as_str()), (65, "f63"));
        prompt.not_read("f0");
        assert_eq!(prompt.unread[64], "and others");
        let mut prompt = Prompt::default();
        prompt.not_read("é".repeat(200));
        assert_eq!(prompt.unread, ["é".repeat(100)]);
    }

    #[test]
    fn an_effort_survives_the_way_through_a_budget() {
        for effort in
            [Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::Higher, Effort::Max]
        {
            assert_eq!(Effort::of_budget(effort.budget()), effort);
        }
    }
}
