//! From one wire to another, by way of the dialogue.
//!
//! Claims: only wires of conversations are converted into each other, and vectors into vectors; a pair that is not can
//! not come here, and is an internal error if it does.

use super::Wire;
use crate::asked::{Asked, Form};
use crate::dialogue::{Choice, Finish, Part, Piece, Prompt, Reply, Target, Voice, Written};
use crate::endpoint::Endpoint;
use crate::error::CallError;
use crate::gemini::embeddings::{Texts, Vectors};
use crate::gemini::path::Verb;
use crate::sse::Event;
use crate::{claude, gemini, openai, responses};
use bytes::{Bytes, BytesMut};
use domain::Tokens;

/// A request in another protocol's words.
pub(crate) fn request(asked: &Asked, wire: Wire, target: &Target<'_>) -> Result<Written, CallError> {
    let mut prompt: Prompt = match &asked.form {
        Form::Chat(_) => openai::prompt::read(&asked.body)?,
        Form::Responses(_) => responses::prompt::read(&asked.body)?,
        Form::Messages(_) => claude::prompt::read(&asked.body)?,
        Form::Generate(_) => gemini::prompt::read(&asked.body, asked.stream)?,
        Form::Completion(_) | Form::Embed(_) | Form::Plain(_) => return Err(CallError::Internal),
    };
    // Where the protocol says it in the path.
    prompt.stream = asked.stream;
    match wire {
        Wire::Chat => openai::prompt::write(&prompt, target),
        Wire::Responses => responses::prompt::write(&prompt, target),
        Wire::Claude => claude::prompt::write(&prompt, target),
        Wire::Gemini => gemini::prompt::write(&prompt, target),
        Wire::Completions | Wire::Embeddings | Wire::GeminiEmbeddings | Wire::Media(_) => {
            Err(CallError::Internal)
        }
    }
}

/// A request for vectors in another protocol's words.
pub(crate) fn texts(asked: &Asked, wire: Wire, upstream_model: &str) -> Result<Written, CallError> {
    let texts = asked_texts(asked)?;
    let body = match wire {
        Wire::GeminiEmbeddings => texts.write_gemini(upstream_model),
        _ => texts.write_openai(upstream_model),
    };
    Ok(Written { body, dropped: texts.dropped })
}

fn asked_texts(asked: &Asked) -> Result<Texts, CallError> {
    match asked.endpoint {
        Endpoint::EmbedContent => Texts::read_gemini(&asked.body, Verb::Embed),
        Endpoint::BatchEmbedContents => Texts::read_gemini(&asked.body, Verb::BatchEmbed),
        _ => Texts::read_openai(&asked.body),
    }
}

/// Vectors in the caller's words, with the tokens that they are billed for.
pub(crate) fn vectors(asked: &Asked, from: Wire, body: &[u8], tokens: u64) -> Option<Bytes> {
    let texts = asked_texts(asked).ok()?;
    let vectors = match from {
        Wire::GeminiEmbeddings => Vectors::read_gemini(body, texts.inputs.len()),
        _ => Vectors::read_openai(body, texts.inputs.len()),
    }?;
    match asked.endpoint {
        Endpoint::EmbedContent => Some(vectors.write_gemini(Verb::Embed, tokens)),
        Endpoint::BatchEmbedContents => Some(vectors.write_gemini(Verb::BatchEmbed, tokens)),
        _ => vectors.write_openai(&asked.model, texts.base64, tokens),
    }
}

fn reply(from: Wire, body: &[u8]) -> Option<Reply> {
    match from {
        Wire::Chat => openai::reply::read(body),
        Wire::Responses => responses::reply::read(body),
        Wire::Claude => claude::reply::read(body),
        Wire::Gemini => gemini::reply::read(body),
        Wire::Completions | Wire::Embeddings | Wire::GeminiEmbeddings | Wire::Media(_) => None,
    }
}

/// A whole answer in the caller's words; `None`: it cannot be read.
pub(crate) fn answer(from: Wire, to: Wire, body: &[u8], voice: &Voice) -> Option<Bytes> {
    let reply = reply(from, body)?;
    match to {
        Wire::Chat => Some(openai::reply::write(&reply, voice)),
        Wire::Responses => Some(responses::reply::write(&reply, voice)),
        Wire::Claude => Some(claude::reply::write(&reply, voice)),
        Wire::Gemini => Some(gemini::reply::write(&reply, voice)),
        Wire::Completions | Wire::Embeddings | Wire::GeminiEmbeddings | Wire::Media(_) => None,
    }
}

/// A whole answer as a stream in the caller's words, for a caller that asked for one; `None`: it cannot be read.
pub(crate) fn answer_as_stream(from: Wire, to: Wire, body: &[u8], voice: Voice) -> Option<Bytes> {
    let reply = reply(from, body)?;
    let mut writer = Writer::new(to, voice)?;
    let mut out = BytesMut::new();
    for piece in pieces(reply) {
        writer.piece(piece, &mut out);
    }
    Some(out.freeze())
}

/// A whole answer, as if it had come piece by piece.
fn pieces(reply: Reply) -> Vec<Piece> {
    let mut pieces = vec![Piece::Begin { id: reply.id }];
    for (choice, answered) in (0..).zip(reply.choices) {
        let mut calls = 0;
        for part in answered.parts {
            match part {
                Part::Text { text, .. } => pieces.push(Piece::Text { choice, text }),
                Part::Refusal { text } => pieces.push(Piece::Refusal { choice, text }),
                Part::Thinking { text, signature } => {
                    pieces.push(Piece::Thinking { choice, text });
                    pieces.extend(signature.map(|signature| Piece::Signature { choice, signature }));
                }
                Part::HiddenThinking { data } => pieces.push(Piece::HiddenThinking { choice, data }),
                Part::Call { id, name, arguments, signature } => {
                    let (index, fragment) = (calls, arguments.get().to_owned());
                    calls += 1;
                    pieces.push(Piece::CallBegin { choice, index, id, name, signature });
                    pieces.push(Piece::CallArguments { choice, index, fragment });
                    pieces.push(Piece::CallEnd { choice, index });
                }
                // No model answers with these.
                Part::Media { .. } | Part::Result { .. } => {}
            }
        }
        pieces.push(Piece::Finish { choice, finish: answered.finish });
    }
    pieces.extend(reply.usage.map(Piece::Usage));
    pieces.push(Piece::End);
    pieces
}

/// A stream in the caller's words, event by event.
pub(crate) struct Translator {
    reader: Reader,
    writer: Writer,
    pieces: Vec<Piece>,
    /// The choices that have said why they ended.
    finished: Vec<Choice>,
}

enum Reader {
    Chat(openai::stream::Reader),
    Responses(responses::stream::Reader),
    Claude(claude::stream::Reader),
    Gemini(gemini::stream::Reader),
}

/// Writes a stream of conversation.
pub(crate) enum Writer {
    Chat(openai::stream::Writer),
    Responses(responses::stream::Writer),
    Claude(claude::stream::Writer),
    Gemini(gemini::stream::Writer),
}

impl Translator {
    /// Between two wires of conversations; `None`: one of them is another kind.
    pub(crate) fn new(from: Wire, to: Wire, voice: Voice) -> Option<Self> {
        let reader = match from {
            Wire::Chat => Reader::Chat(openai::stream::Reader::default()),
            Wire::Responses => Reader::Responses(responses::stream::Reader::default()),
            Wire::Claude => Reader::Claude(claude::stream::Reader::default()),
            Wire::Gemini => Reader::Gemini(gemini::stream::Reader::default()),
            Wire::Completions | Wire::Embeddings | Wire::GeminiEmbeddings | Wire::Media(_) => return None,
        };
        let writer = Writer::new(to, voice)?;
        Some(Self { reader, writer, pieces: Vec::new(), finished: Vec::new() })
    }

    /// The bytes that an event becomes; none, often.
    pub(crate) fn event(&mut self, event: &Event) -> Bytes {
        match &mut self.reader {
            Reader::Chat(reader) => reader.event(event, &mut self.pieces),
            Reader::Responses(reader) => reader.event(event, &mut self.pieces),
            Reader::Claude(reader) => reader.event(event, &mut self.pieces),
            Reader::Gemini(reader) => reader.event(event, &mut self.pieces),
        }
        self.written()
    }

    /// The bytes that the end of the provider's bytes becomes.
    pub(crate) fn end(&mut self) -> Bytes {
        match &mut self.reader {
            Reader::Chat(reader) => reader.end(&mut self.pieces),
            Reader::Responses(reader) => reader.end(&mut self.pieces),
            Reader::Claude(reader) => reader.end(&mut self.pieces),
            Reader::Gemini(reader) => reader.end(&mut self.pieces),
        }
        self.written()
    }

    /// The bytes that end a stream which broke off.
    pub(crate) fn error(&mut self, error: CallError) -> Bytes {
        self.pieces.push(Piece::Error(error));
        self.written()
    }

    /// The bytes that end a stream here for its length.
    pub(crate) fn cut(&mut self, choices: u64, tokens: Tokens) -> Bytes {
        let unfinished = (0..choices).filter(|choice| !self.finished.contains(choice));
        let finish = |choice| Piece::Finish { choice, finish: Finish::Length };
        self.pieces.extend(unfinished.map(finish));
        self.pieces.extend([Piece::Usage(tokens), Piece::End]);
        self.written()
    }

    fn written(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        for piece in self.pieces.drain(..) {
            if let Piece::Finish { choice, .. } = &piece {
                self.finished.push(*choice);
            }
            self.writer.piece(piece, &mut out);
        }
        out.freeze()
    }
}

impl Writer {
    /// In a wire of conversations; `None`: it is another kind.
    pub(crate) fn new(to: Wire, voice: Voice) -> Option<Self> {
        Some(match to {
            Wire::Chat => Self::Chat(openai::stream::Writer::new(voice)),
            Wire::Responses => Self::Responses(responses::stream::Writer::new(voice)),
            Wire::Claude => Self::Claude(claude::stream::Writer::new(voice)),
            Wire::Gemini => Self::Gemini(gemini::stream::Writer::new(voice)),
            Wire::Completions | Wire::Embeddings | Wire::GeminiEmbeddings | Wire::Media(_) => return None,
        })
    }

    /// Writes a piece.
    pub(crate) fn piece(&mut self, piece: Piece, out: &mut BytesMut) {
        match self {
            Self::Chat(writer) => writer.piece(piece, out),
            Self::Responses(writer) => writer.piece(piece, out),
            Self::Claude(writer) => writer.piece(piece, out),
            Self::Gemini(writer) => writer.piece(piece, out),
        }
    }
}
