//! Streams, from providers into the dialogue and from the dialogue for callers.
//!
//! Claims: a stream is complete if every candidate said why it ended, since nothing else marks the end in this format;
//! a call is written whole, in the calls' order, however its arguments came; the reason for the end stands in the last
//! event only, with the counts; nothing is written after an end or an error.

use super::wire::{self, Candidate, CandidateOut, ContentOut, PartOut, Response, ResponseOut, Said};
use super::{error, usage};
use crate::dialogue::{Choice, Finish, Piece, Voice};
use crate::error::CallError;
use crate::seen::Cut;
use crate::sse::Event;
use bytes::{Bytes, BytesMut};
use domain::Tokens;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A sign of life for callers of this format, between events: an empty one. A comment must never be sent to them:
/// Google's client for Python takes any line that does not begin with `data: ` for JSON, and fails.
pub const KEEP_ALIVE: &[u8] = b"\r\n\r\n";

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub struct Reader {
    has_begun: bool,
    is_over: bool,
    choices: BTreeMap<Choice, Reading>,
}

#[derive(Debug, Default)]
struct Reading {
    calls: u64,
    /// Google's word for why it ended: the last one, since older models say `STOP` with every event.
    finish: Option<String>,
}

impl Reader {
    /// Reads one event. What cannot be read is passed over.
    pub fn event(&mut self, event: &Event, out: &mut Vec<Piece>) {
        let Some(data) = event.data().filter(|_| !self.is_over) else { return };
        let Some(response) = Response::read(&data) else {
            // Google's errors may come as a list of one.
            if let Some(error) = error::error_in(&data) {
                self.error(error, out);
            }
            return;
        };
        if let Some(error) = response.error {
            return self.error(error, out);
        }
        if !self.has_begun {
            self.has_begun = true;
            out.push(Piece::Begin { id: response.id() });
        }
        let candidates = response.candidates.as_deref().unwrap_or_default();
        if candidates.is_empty() && response.prompt_feedback.is_some_and(super::answer::is_blocked) {
            self.choices.entry(0).or_default().finish = Some("PROHIBITED_CONTENT".into());
        }
        for (at, candidate) in candidates.iter().enumerate() {
            self.candidate(candidate, candidate.index(at), out);
        }
        if let Some(tokens) = response.usage_metadata.and_then(usage::tokens) {
            out.push(Piece::Usage(tokens));
        }
    }

    fn error(&mut self, error: &RawValue, out: &mut Vec<Piece>) {
        self.is_over = true;
        out.push(Piece::Error(error::in_answer(error)));
    }

    fn candidate(&mut self, candidate: &Candidate<'_>, choice: Choice, out: &mut Vec<Piece>) {
        let reading = self.choices.entry(choice).or_default();
        for said in candidate.said() {
            match said {
                Said::Text(text) => out.push(Piece::Text { choice, text }),
                Said::Thought(text) => out.push(Piece::Thinking { choice, text }),
                Said::Signature(signature) => out.push(Piece::Signature { choice, signature }),
                Said::Call { id, name, arguments, signature } => {
                    let index = reading.calls;
                    reading.calls += 1;
                    out.push(Piece::CallBegin { choice, index, id, name, signature });
                    out.push(Piece::CallArguments { choice, index, fragment: arguments.get().to_owned() });
                    out.push(Piece::CallEnd { choice, index });
                }
            }
        }
        if let Some(reason) = candidate.finish() {
            reading.finish = Some(reason);
        }
    }

    /// The bytes have ended. Unless a candidate still owes its end, so has the stream.
    pub fn end(&mut self, out: &mut Vec<Piece>) {
        let is_complete = !self.choices.is_empty() && self.choices.values().all(|it| it.finish.is_some());
        if self.is_over || !is_complete {
            return;
        }
        self.is_over = true;
        for (choice, reading) in &self.choices {
            if let Some(reason) = &reading.finish {
                out.push(Piece::Finish { choice: *choice, finish: wire::finish(reason, reading.calls > 0) });
            }
        }
        out.push(Piece::End);
    }
}

/// Writes a stream for a caller, as events. (For an array see [`super::framing`].)
#[derive(Debug)]
pub struct Writer {
    voice: Voice,
    choices: BTreeMap<Choice, Writing>,
    usage: Option<Tokens>,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Writing {
    /// Calls that are not written yet, by their index.
    calls: BTreeMap<u64, Call>,
    /// Was there a call whose arguments were no object?
    is_malformed: bool,
    finish: Option<Finish>,
}

#[derive(Debug, Default)]
struct Call {
    id: String,
    name: String,
    signature: Option<String>,
    arguments: String,
    is_whole: bool,
}

impl Writer {
    /// For one stream.
    pub fn new(voice: Voice) -> Self {
        Self { voice, choices: BTreeMap::new(), usage: None, is_over: false }
    }

    /// Writes a piece, now or when it is whole.
    pub fn piece(&mut self, piece: Piece, out: &mut BytesMut) {
        if self.is_over {
            return;
        }
        match piece {
            // Every event holds the answer's id; there is nothing that only begins.
            Piece::Begin { .. } => {}
            Piece::Ping => out.extend_from_slice(KEEP_ALIVE),
            Piece::Text { choice, text } | Piece::Refusal { choice, text } => {
                self.choices.entry(choice).or_default();
                if !text.is_empty() {
                    self.part(choice, PartOut::text(text), out);
                }
            }
            Piece::Thinking { choice, text } => {
                self.choices.entry(choice).or_default();
                if !text.is_empty() {
                    self.part(choice, PartOut::thought(&text, None), out);
                }
            }
            Piece::Signature { choice, signature } => {
                self.choices.entry(choice).or_default();
                self.part(choice, PartOut::thought("", Some(&signature)), out);
            }
            // Only Claude's own clients can keep it.
            Piece::HiddenThinking { choice, .. } => {
                self.choices.entry(choice).or_default();
            }
            Piece::CallBegin { choice, index, id, name, signature } => {
                let call = Call { id, name, signature, ..Call::default() };
                self.choices.entry(choice).or_default().calls.insert(index, call);
            }
            Piece::CallArguments { choice, index, fragment } => {
                if let Some(call) =
                    self.choices.get_mut(&choice).and_then(|choice| choice.calls.get_mut(&index))
                {
                    call.arguments.push_str(&fragment);
                }
            }
            Piece::CallEnd { choice, index } => {
                if let Some(call) =
                    self.choices.get_mut(&choice).and_then(|choice| choice.calls.get_mut(&index))
                {
                    call.is_whole = true;
                }
                self.calls(choice, false, out);
            }
            Piece::Finish { choice, finish } => {
                self.choices.entry(choice).or_default().finish = Some(finish);
                self.calls(choice, true, out);
            }
            Piece::Usage(tokens) => self.usage = Some(tokens),
            Piece::Error(error) => {
                self.is_over = true;
                out.extend_from_slice(&error::event(&error));
            }
            Piece::End => self.end(out),
        }
    }

    /// Writes the calls that are whole, as far as none before them is missing; or all that are left.
    fn calls(&mut self, choice: Choice, all: bool, out: &mut BytesMut) {
        while let Some(mut first) =
            self.choices.get_mut(&choice).and_then(|writing| writing.calls.first_entry())
        {
            if !first.get().is_whole && !all {
                return;
            }
            let call = std::mem::take(first.get_mut());
            first.remove();
            let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.trim() };
            match serde_json::from_str::<&RawValue>(arguments) {
                Ok(arguments) if arguments.get().starts_with('{') => {
                    let part = PartOut::call(&call.id, &call.name, arguments, call.signature.as_deref());
                    self.part(choice, part, out);
                }
                _ => {
                    if let Some(writing) = self.choices.get_mut(&choice) {
                        writing.is_malformed = true;
                    }
                }
            }
        }
    }

    fn part(&self, choice: Choice, part: PartOut<'_>, out: &mut BytesMut) {
        let candidate = CandidateOut {
            content: ContentOut { role: "model", parts: vec![part] },
            finish_reason: None,
            finish_message: None,
            index: choice,
        };
        self.event(vec![candidate], None, out);
    }

    fn end(&mut self, out: &mut BytesMut) {
        self.is_over = true;
        self.choices.entry(0).or_default();
        let choices: Vec<Choice> = self.choices.keys().copied().collect();
        choices.into_iter().for_each(|choice| self.calls(choice, true, out));
        let candidates = self
            .choices
            .iter()
            .map(|(choice, writing)| CandidateOut {
                // A text, though an empty one: callers print what each event's text is.
                content: ContentOut { role: "model", parts: vec![PartOut::text("")] },
                finish_reason: Some(match &writing.finish {
                    _ if writing.is_malformed => "MALFORMED_FUNCTION_CALL",
                    Some(finish) => wire::finish_word(finish),
                    None => "STOP",
                }),
                finish_message: writing
                    .is_malformed
                    .then_some("the arguments of a function call are no JSON object"),
                index: *choice,
            })
            .collect();
        self.event(candidates, self.usage.as_ref().map(usage::View::new), out);
    }

    fn event(&self, candidates: Vec<CandidateOut<'_>>, usage: Option<usage::View>, out: &mut BytesMut) {
        let response = ResponseOut {
            candidates,
            usage_metadata: usage,
            model_version: &self.voice.model,
            response_id: &self.voice.id,
        };
        put(&response, out);
    }
}

fn put(response: &ResponseOut<'_>, out: &mut BytesMut) {
    match serde_json::to_vec(response) {
        Ok(json) => {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&json);
            out.extend_from_slice(b"\r\n\r\n");
        }
        // Serialising into memory cannot fail; were it to, the caller must see more than a gap.
        Err(_) => out.extend_from_slice(&error::event(&CallError::Internal)),
    }
}

/// The event that ends these candidates of a provider's stream for their length, by the names that the answer goes by.
pub(super) fn length(
    last: Option<Response<'_>>,
    unfinished: impl Iterator<Item = Choice>,
    cut: &Cut<'_>,
) -> Bytes {
    let id = last.as_ref().and_then(Response::id);
    let model = last.as_ref().and_then(Response::model);
    let candidates = unfinished
        .map(|choice| CandidateOut {
            content: ContentOut { role: "model", parts: vec![PartOut::text("")] },
            finish_reason: Some(wire::finish_word(&Finish::Length)),
            finish_message: None,
            index: choice,
        })
        .collect();
    let response = ResponseOut {
        candidates,
        usage_metadata: Some(usage::View::new(&cut.tokens)),
        model_version: model.as_deref().unwrap_or(&cut.voice.model),
        response_id: id.as_deref().unwrap_or(&cut.voice.id),
    };
    let mut out = BytesMut::new();
    put(&response, &mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::Splitter;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn voice() -> Voice {
        Voice { model: "m".into(), id: "r1".into(), created: 1, wants_usage: false }
    }

    /// What a reader makes of a stream that comes in packets cut at these places, and then ends.
    fn read(stream: &[u8], cuts: &[usize]) -> Vec<Piece> {
        let (mut splitter, mut reader, mut out) = (Splitter::new(1 << 20), Reader::default(), Vec::new());
        let ends = cuts.iter().copied().chain([stream.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        for (start, end) in starts.zip(ends) {
            splitter.push(&stream[start..end]);
            while let Some(event) = splitter.next_event().unwrap() {
                reader.event(&event, &mut out);
            }
        }
        if let Some(event) = splitter.rest() {
            reader.event(&event, &mut out);
        }
        reader.end(&mut out);
        out
    }

    fn written(pieces: impl IntoIterator<Item = Piece>) -> String {
        let (mut writer, mut out) = (Writer::new(voice()), BytesMut::new());
        pieces.into_iter().for_each(|piece| writer.piece(piece, &mut out));
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn events(stream: &str) -> Vec<Value> {
        stream
            .split("\r\n\r\n")
            .filter(|event| !event.is_empty())
            .inspect(|event| assert!(event.starts_with("data: "), "a client for Python fails at {event}"))
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }

    /// Each piece in a few signs.
    fn short(pieces: &[Piece]) -> Vec<String> {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Begin { id } => format!("begin {}", id.as_deref().unwrap_or("-")),
                Piece::Text { choice, text } => format!("{choice} text {text}"),
                Piece::Thinking { choice, text } => format!("{choice} thought {text}"),
                Piece::Signature { choice, signature } => format!("{choice} proof {signature}"),
                Piece::CallBegin { choice, index, id, name, signature } => {
                    let id = if id.len() > 20 { "made-up" } else { id };
                    format!("{choice} call {index} {id} {name} {}", signature.as_deref().unwrap_or("-"))
                }
                Piece::CallArguments { choice, index, fragment } => {
                    format!("{choice} arguments {index} {fragment}")
                }
                Piece::CallEnd { choice, index } => format!("{choice} called {index}"),
                Piece::Finish { choice, finish } => format!("{choice} finish {finish:?}"),
                Piece::Usage(tokens) => {
                    format!("usage {} {} {}", tokens.input, tokens.output, tokens.reasoning)
                }
                Piece::Error(error) => format!("error {error:?}"),
                Piece::End => "end".into(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    const THINKING_AND_CALLS: &str = concat!(
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hmm\",\"thought\":true}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":8,\"totalTokenCount\":8},\"modelVersion\":\"gemini-3-pro\",\"responseId\":\"abc\"}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"早\"},{\"text\":\"\",\"thoughtSignature\":\"AA==\"}],\"role\":\"model\"},\"index\":0}]}\r\n\r\n",
        ": comment\n\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"b\":1.0}},\"thoughtSignature\":\"BB==\"},{\"functionCall\":{\"id\":\"c2\",\"name\":\"g\"}}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":8,\"candidatesTokenCount\":5,\"thoughtsTokenCount\":3,\"totalTokenCount\":16}}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":8,\"candidatesTokenCount\":6,\"thoughtsTokenCount\":3,\"totalTokenCount\":17}}\r\n\r\n",
    );

    #[test]
    fn a_stream_with_thoughts_and_calls_is_read_wherever_it_is_cut() {
        let expected = [
            "begin abc",
            "0 thought Hmm",
            "usage 8 0 0",
            "0 text 早",
            "0 proof AA==",
            "0 call 0 made-up f BB==",
            "0 arguments 0 {\"b\":1.0}",
            "0 called 0",
            "0 call 1 c2 g -",
            "0 arguments 1 {}",
            "0 called 1",
            "usage 8 5 3",
            "usage 8 6 3",
            "0 finish Calls",
            "end",
        ];
        let stream = THINKING_AND_CALLS.as_bytes();
        for cut in (0..stream.len()).step_by(7) {
            assert_eq!(short(&read(stream, &[cut])), expected, "cut at {cut}");
        }
    }

    fn event(json: &str) -> String {
        format!("data: {json}\n\n")
    }

    fn said(text: &str, finish: &str) -> String {
        event(&format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}},"finishReason":{finish}}}]}}"#
        ))
    }

    #[test]
    fn an_older_model_that_says_stop_with_every_event_is_not_cut_short() {
        let stream = said("a", r#""STOP""#) + &said("b", r#""STOP""#) + &said("c", r#""MAX_TOKENS""#);
        assert_eq!(
            short(&read(stream.as_bytes(), &[])),
            ["begin -", "0 text a", "0 text b", "0 text c", "0 finish Length", "end"]
        );
    }

    #[test]
    fn a_stream_without_a_finish_reason_has_no_end() {
        let cut = said("a", "null");
        assert_eq!(short(&read(cut.as_bytes(), &[])), ["begin -", "0 text a"]);
        let two = event(
            r#"{"candidates":[{"index":0,"finishReason":"STOP"},{"index":1,"content":{"parts":[{"text":"b"}]}}]}"#,
        );
        assert_eq!(short(&read(two.as_bytes(), &[])), ["begin -", "1 text b"]);
        assert!(read(b"", &[]).is_empty());
    }

    #[test]
    fn a_blocked_prompt_ends_filtered() {
        let stream = event(
            r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":5,"totalTokenCount":5}}"#,
        );
        assert_eq!(
            short(&read(stream.as_bytes(), &[])),
            ["begin -", "usage 5 0 0", "0 finish Filtered", "end"]
        );
    }

    #[test]
    fn an_unknown_finish_reason_with_a_call_is_a_call() {
        let stream = event(
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"id":"c","name":"f","args":{}}}]},"finishReason":"FUNCTION_CALL"}]}"#,
        );
        assert_eq!(short(&read(stream.as_bytes(), &[]))[4..], ["0 finish Calls", "end"]);
    }

    #[test]
    fn an_error_in_the_middle_is_the_last_that_is_read() {
        let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
        for error in [error.to_owned(), format!("[{error}]")] {
            let stream = said("a", "null") + &event(&error) + &said("b", r#""STOP""#);
            assert_eq!(short(&read(stream.as_bytes(), &[])), ["begin -", "0 text a", "error ProviderFailed"]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        let stream =
            event("{\"half") + &event("[DONE]") + &event("7") + &said("a", r#""STOP""#) + &event("[DONE]");
        assert_eq!(short(&read(stream.as_bytes(), &[])), ["begin -", "0 text a", "0 finish Stop", "end"]);
    }

    fn call(index: u64, id: &str) -> Piece {
        Piece::CallBegin { choice: 0, index, id: id.into(), name: "f".into(), signature: None }
    }

    fn arguments(index: u64, fragment: &str) -> Piece {
        Piece::CallArguments { choice: 0, index, fragment: fragment.into() }
    }

    fn finish(finish: Finish) -> Piece {
        Piece::Finish { choice: 0, finish }
    }

    #[test]
    fn a_stream_is_written_with_its_end_and_counts_in_the_last_event() {
        let stream = written([
            Piece::Begin { id: Some("x".into()) },
            Piece::Usage(Tokens { input: 3, ..Tokens::default() }),
            Piece::Ping,
            Piece::Thinking { choice: 0, text: "hm".into() },
            Piece::Signature { choice: 0, signature: "AA==".into() },
            Piece::Text { choice: 0, text: "Hi".into() },
            finish(Finish::Length),
            Piece::Usage(Tokens { input: 3, output: 4, ..Tokens::default() }),
            Piece::End,
            Piece::Text { choice: 0, text: "late".into() },
        ]);
        let part = |part: Value| {
            json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}],
                "modelVersion": "m", "responseId": "r1"})
        };
        assert_eq!(
            events(&stream),
            [
                part(json!({"text": "hm", "thought": true})),
                part(json!({"text": "", "thoughtSignature": "AA=="})),
                part(json!({"text": "Hi"})),
                json!({"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]},
                    "finishReason": "MAX_TOKENS", "index": 0}],
                    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
                    "modelVersion": "m", "responseId": "r1"}),
            ]
        );
    }

    #[test]
    fn a_sign_of_life_is_no_event_and_no_comment() {
        let stream = written([Piece::Ping, Piece::Text { choice: 0, text: "a".into() }, Piece::Ping]);
        assert!(stream.starts_with("\r\n\r\ndata: ") && stream.ends_with("}\r\n\r\n\r\n\r\n"));
        assert_eq!(short(&read(stream.as_bytes(), &[])), ["begin r1", "0 text a"]);
    }

    #[test]
    fn interleaved_calls_are_written_whole_and_in_order() {
        let stream = written([
            call(0, "c0"),
            arguments(0, "{\"a\""),
            call(1, "c1"),
            arguments(1, "{\"b\":"),
            arguments(1, "2}"),
            Piece::CallEnd { choice: 0, index: 1 },
            arguments(0, ":1.0}"),
            Piece::CallEnd { choice: 0, index: 0 },
            call(2, "c2"),
            finish(Finish::Calls),
            Piece::End,
        ]);
        assert!(stream.contains(r#""args":{"a":1.0}"#), "{stream}");
        let calls: Vec<String> = events(&stream)
            .iter()
            .map(|event| event["candidates"][0]["content"]["parts"][0]["functionCall"].to_string())
            .collect();
        assert_eq!(
            calls,
            [
                r#"{"args":{"a":1.0},"id":"c0","name":"f"}"#,
                r#"{"args":{"b":2},"id":"c1","name":"f"}"#,
                r#"{"args":{},"id":"c2","name":"f"}"#,
                "null"
            ]
        );
        assert_eq!(events(&stream)[3]["candidates"][0]["finishReason"], "STOP");
    }

    #[test]
    fn a_call_with_broken_arguments_is_owned_up_to() {
        for broken in ["{\"a\":", "[1]", "nonsense"] {
            let stream = written([
                call(0, "c0"),
                arguments(0, broken),
                Piece::CallEnd { choice: 0, index: 0 },
                finish(Finish::Calls),
                Piece::End,
            ]);
            let events = events(&stream);
            assert_eq!(events.len(), 1, "{broken}");
            assert_eq!(events[0]["candidates"][0]["finishReason"], "MALFORMED_FUNCTION_CALL");
        }
    }

    #[test]
    fn nothing_follows_an_error() {
        let stream = written([
            Piece::Text { choice: 0, text: "Hi".into() },
            Piece::Error(CallError::ProviderTimeout),
            finish(Finish::Stop),
            Piece::End,
        ]);
        let events = events(&stream);
        assert_eq!((events.len(), &events[1]["error"]["code"]), (2, &json!(504)));
    }

    fn any_pieces() -> impl Strategy<Value = Vec<Piece>> {
        let piece = (0..5_u8, 0..3_u64, "[a-z\u{e9}\u{4e2d}\r\n\"\\\\ ]{1,8}");
        let finishes = proptest::collection::vec(0..3_u8, 3);
        (proptest::collection::vec(piece, 0..12), finishes, 1..1000_u64).prop_map(
            |(kinds, finishes, input)| {
                let mut pieces = vec![Piece::Begin { id: Some("r1".into()) }];
                let mut calls = [0_u64; 3];
                for (kind, choice, text) in kinds {
                    let calls = &mut calls[usize::try_from(choice).unwrap()];
                    match kind {
                        0 | 1 => pieces.push(Piece::Text { choice, text }),
                        2 => pieces.push(Piece::Thinking { choice, text }),
                        3 => pieces.push(Piece::Signature { choice, signature: text }),
                        _ => {
                            let index = *calls;
                            *calls += 1;
                            let (id, signature) = (format!("c{index}"), Some(text.clone()));
                            pieces.push(Piece::CallBegin { choice, index, id, name: "f".into(), signature });
                            let fragment = json!({ "k": text }).to_string();
                            pieces.push(Piece::CallArguments { choice, index, fragment });
                            pieces.push(Piece::CallEnd { choice, index });
                        }
                    }
                }
                // No candidate goes missing, whether it said something or not.
                pieces.push(Piece::Usage(Tokens { input, output: 2, reasoning: 1, ..Tokens::default() }));
                for (choice, (finish, calls)) in (0..).zip(finishes.into_iter().zip(calls)) {
                    let finish = match finish {
                        0 => Finish::Length,
                        1 => Finish::Filtered,
                        _ if calls > 0 => Finish::Calls,
                        _ => Finish::Stop,
                    };
                    pieces.push(Piece::Finish { choice, finish });
                }
                pieces.push(Piece::End);
                pieces
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_wherever_it_is_cut(
            pieces in any_pieces(), cuts: Vec<proptest::sample::Index>,
        ) {
            let stream = written(pieces.clone());
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(short(&read(stream.as_bytes(), &cuts)), short(&pieces));
        }
    }
}
