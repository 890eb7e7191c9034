//! A provider's token counts, brought into disjoint classes.
//!
//! Claims: what the provider counts apart (uncached, read, written for five minutes, written for an hour) stays apart;
//! over the events of a stream the last count of each field holds, and nothing is added up; the output count that
//! opens a stream is a placeholder and never counts; counts that cannot be meant are no counts.

use crate::count::Count;
use domain::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Default, Deserialize)]
struct Wire {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
    #[serde(default)]
    cache_creation: Option<Creation>,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Default, Deserialize)]
struct Creation {
    #[serde(default)]
    ephemeral_5m_input_tokens: Count,
    #[serde(default)]
    ephemeral_1h_input_tokens: Count,
}

#[derive(Default, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    thinking_tokens: Count,
}

/// The counts of an answer so far, merged over the events of its stream.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    input: Count,
    cache_read: Count,
    written: Count,
    written_5m: Count,
    written_1h: Count,
    output: Count,
    thinking: Count,
}

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Counts").field(&self.tokens()).finish()
    }
}

impl Counts {
    /// Takes the counts that open a stream: all but the output, which is a placeholder. Says whether they are legible.
    pub fn open(&mut self, usage: &RawValue) -> bool {
        let output = self.output;
        let is_legible = self.merge(usage);
        self.output = output;
        is_legible
    }

    /// Takes counts: each field that is there replaces what was known. Says whether they are legible; counts of which
    /// one cannot be meant are not taken at all.
    pub fn merge(&mut self, usage: &RawValue) -> bool {
        let Ok(wire) = serde_json::from_str::<Wire>(usage.get()) else { return false };
        if matches!(wire.input_tokens, Count::Absurd) || matches!(wire.output_tokens, Count::Absurd) {
            return false;
        }
        let creation = wire.cache_creation.unwrap_or_default();
        let details = wire.output_tokens_details.unwrap_or_default();
        let fields = [
            (&mut self.input, wire.input_tokens),
            (&mut self.cache_read, wire.cache_read_input_tokens),
            (&mut self.written, wire.cache_creation_input_tokens),
            (&mut self.written_5m, creation.ephemeral_5m_input_tokens),
            (&mut self.written_1h, creation.ephemeral_1h_input_tokens),
            (&mut self.output, wire.output_tokens),
            (&mut self.thinking, details.thinking_tokens),
        ];
        for (known, new) in fields {
            if let Count::Is(_) = new {
                *known = new;
            }
        }
        true
    }

    /// The classes; `None`: the prompt was not counted.
    pub fn tokens(&self) -> Option<Tokens> {
        let Count::Is(input) = self.input else { return None };
        let output = self.output.or_zero();
        let cache_write_1h = self.written_1h.or_zero();
        // What is written for another time than an hour costs as five minutes do. Parts above the whole all count.
        let written = self.written.or_zero();
        let cache_write = written.saturating_sub(cache_write_1h).max(self.written_5m.or_zero());
        let reasoning = self.thinking.or_zero().min(output);
        Some(Tokens {
            input,
            cache_read: self.cache_read.or_zero(),
            cache_write,
            cache_write_1h,
            output: output - reasoning,
            reasoning,
            ..Tokens::default()
        })
    }
}

/// The classes of a whole answer's `usage`; `None`: it says nothing usable.
pub fn tokens(usage: &RawValue) -> Option<Tokens> {
    let mut counts = Counts::default();
    counts.merge(usage).then(|| counts.tokens()).flatten()
}

/// Counts as callers of this format read them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct View {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    /// Absent where nothing was written. Clients keep what opens a stream, so a split of zeros there would stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation: Option<CreationView>,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetailsView>,
}

#[derive(Clone, Debug, Serialize)]
struct CreationView {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Clone, Debug, Serialize)]
struct OutputDetailsView {
    thinking_tokens: u64,
}

impl View {
    /// This format has one class for what others count as text, images and sound.
    pub(crate) fn new(tokens: &Tokens) -> Self {
        let input = [tokens.input, tokens.image_input, tokens.audio_input];
        let output = [tokens.output, tokens.reasoning, tokens.image_output, tokens.audio_output];
        let sum = |counts: &[u64]| counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let written = tokens.cache_write.saturating_add(tokens.cache_write_1h);
        Self {
            input_tokens: sum(&input),
            cache_creation_input_tokens: written,
            cache_read_input_tokens: tokens.cache_read,
            cache_creation: (written > 0).then_some(CreationView {
                ephemeral_5m_input_tokens: tokens.cache_write,
                ephemeral_1h_input_tokens: tokens.cache_write_1h,
            }),
            output_tokens: sum(&output),
            output_tokens_details: (tokens.reasoning > 0)
                .then_some(OutputDetailsView { thinking_tokens: tokens.reasoning }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.into()).unwrap()
    }

    fn read(json: &str) -> Option<Tokens> {
        tokens(&raw(json))
    }

    #[test]
    fn every_token_is_in_one_class() {
        let none = Tokens::default();
        let cases = [
            (r#"{"input_tokens":10,"output_tokens":5}"#, Tokens { input: 10, output: 5, ..none }),
            // Cache counts stand beside the input, and are not within it.
            (
                r#"{"input_tokens":10,"cache_read_input_tokens":2000,"cache_creation_input_tokens":400,"output_tokens":5}"#,
                Tokens { input: 10, cache_read: 2000, cache_write: 400, output: 5, ..none },
            ),
            // The split of what was written.
            (
                r#"{"input_tokens":1,"cache_creation_input_tokens":400,
                    "cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":300},"output_tokens":5}"#,
                Tokens { input: 1, cache_write: 100, cache_write_1h: 300, output: 5, ..none },
            ),
            // A split without its whole, a whole above its split (another time), a split above its whole.
            (
                r#"{"input_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":7,"ephemeral_1h_input_tokens":9}}"#,
                Tokens { input: 1, cache_write: 7, cache_write_1h: 9, ..none },
            ),
            (
                r#"{"input_tokens":1,"cache_creation_input_tokens":50,
                    "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20,"ephemeral_30m_input_tokens":20}}"#,
                Tokens { input: 1, cache_write: 30, cache_write_1h: 20, ..none },
            ),
            (
                r#"{"input_tokens":1,"cache_creation_input_tokens":5,
                    "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}"#,
                Tokens { input: 1, cache_write: 10, cache_write_1h: 20, ..none },
            ),
            // Nulls, unknown keys, server tools.
            (
                r#"{"input_tokens":3,"cache_read_input_tokens":null,"cache_creation":null,"output_tokens":4,
                    "server_tool_use":{"web_search_requests":2},"service_tier":"standard","inference_geo":"eu","speed":"fast"}"#,
                Tokens { input: 3, output: 4, ..none },
            ),
            // Thoughts are within the output.
            (
                r#"{"input_tokens":3,"output_tokens":50,"output_tokens_details":{"thinking_tokens":40}}"#,
                Tokens { input: 3, output: 10, reasoning: 40, ..none },
            ),
            (
                r#"{"input_tokens":3,"output_tokens":50,"output_tokens_details":{"thinking_tokens":60}}"#,
                Tokens { input: 3, reasoning: 50, ..none },
            ),
            (r#"{"input_tokens":7.0,"output_tokens":2.0}"#, Tokens { input: 7, output: 2, ..none }),
            (r#"{"input_tokens":0,"output_tokens":0}"#, none),
            // A cache count that cannot be meant does not spoil the others.
            (
                r#"{"input_tokens":3,"cache_read_input_tokens":-1,"output_tokens":4}"#,
                Tokens { input: 3, output: 4, ..none },
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(read(json), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_no_count() {
        for json in [
            "{}",
            "[]",
            "7",
            r#"{"output_tokens":4}"#,
            r#"{"input_tokens":null,"output_tokens":4}"#,
            r#"{"input_tokens":-1,"output_tokens":4}"#,
            r#"{"input_tokens":1,"output_tokens":-4}"#,
            r#"{"input_tokens":1.5,"output_tokens":4}"#,
            r#"{"input_tokens":"9","output_tokens":4}"#,
            r#"{"input_tokens":1,"output_tokens":18446744073709551615}"#,
            r#"{"input_tokens":1,"output_tokens":1e300}"#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[test]
    fn the_last_count_of_each_field_holds_and_the_placeholder_never_does() {
        let mut counts = Counts::default();
        assert!(counts.open(&raw(
            r#"{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":9,
                "cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":9},"output_tokens":3}"#
        )));
        let opened = Tokens { input: 10, cache_read: 5, cache_write_1h: 9, ..Tokens::default() };
        assert_eq!(counts.tokens(), Some(opened));
        assert!(counts.merge(&raw(r#"{"output_tokens":7,"input_tokens":null}"#)));
        assert!(counts.merge(&raw(r#"{"output_tokens":20,"input_tokens":12}"#)));
        assert_eq!(counts.tokens(), Some(Tokens { input: 12, output: 20, ..opened }));
        assert!(!counts.merge(&raw(r#"{"output_tokens":-1,"input_tokens":99}"#)));
        assert_eq!(counts.tokens(), Some(Tokens { input: 12, output: 20, ..opened }));
    }

    #[test]
    fn counts_that_come_only_at_the_end_replace_zeros() {
        let mut counts = Counts::default();
        counts.open(&raw(r#"{"input_tokens":0,"output_tokens":0}"#));
        counts.merge(&raw(r#"{"input_tokens":40,"cache_read_input_tokens":2,"output_tokens":6}"#));
        let expected = Tokens { input: 40, cache_read: 2, output: 6, ..Tokens::default() };
        assert_eq!(counts.tokens(), Some(expected));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(counts in proptest::array::uniform6(0..10_000_u64)) {
            let [input, cache_read, cache_write, cache_write_1h, output, reasoning] = counts;
            let tokens = Tokens { input, cache_read, cache_write, cache_write_1h, output, reasoning, ..Tokens::default() };
            prop_assert_eq!(read(&serde_json::to_string(&View::new(&tokens)).unwrap()), Some(tokens));
        }

        #[test]
        fn no_token_is_lost_where_classes_are_joined(counts in proptest::array::uniform10(0..10_000_u64)) {
            let [input, cache_read, cache_write, cache_write_1h, output, reasoning, image_input, image_output,
                audio_input, audio_output] = counts;
            let tokens = Tokens { input, cache_read, cache_write, cache_write_1h, output, reasoning, image_input,
                image_output, audio_input, audio_output, ..Tokens::default() };
            let read = read(&serde_json::to_string(&View::new(&tokens)).unwrap()).unwrap();
            prop_assert_eq!(read.input_total(), tokens.input_total());
            prop_assert_eq!(read.output_total(), tokens.output_total());
        }
    }
}
