//! A provider's token counts, brought into disjoint classes.
//!
//! Claims: every token is in exactly one class, and the classes of the prompt sum to `prompt_tokens` (unless the
//! provider's own parts are larger than its whole, then the parts count); counts that cannot be meant (negative,
//! fractional, absurdly large) are no counts at all.

use crate::count::Count;
use domain::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Default, Deserialize)]
struct Wire {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
    #[serde(default)]
    completion_tokens_details: Option<Details>,
    /// DeepSeek's older name for what was read from its cache.
    #[serde(default)]
    prompt_cache_hit_tokens: Count,
}

/// The parts of a count.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Details {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    cache_write_tokens: Count,
    #[serde(default)]
    audio_tokens: Count,
    #[serde(default)]
    image_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
}

/// The classes of a `usage` object; `None`: it says nothing usable.
pub fn tokens(usage: &RawValue) -> Option<Tokens> {
    let wire: Wire = serde_json::from_str(usage.get()).ok()?;
    let mut details = wire.prompt_tokens_details.unwrap_or_default();
    details.cached_tokens = details.cached_tokens.or(wire.prompt_cache_hit_tokens);
    classes(
        (wire.prompt_tokens, wire.completion_tokens, wire.total_tokens),
        details,
        wire.completion_tokens_details.unwrap_or_default(),
    )
}

/// The classes of the counts of prompt, completion and both, with their parts.
pub(crate) fn classes(
    (prompt, completion, total): (Count, Count, Count),
    details: Details,
    completion_details: Details,
) -> Option<Tokens> {
    let (Count::Is(prompt), Count::Is(completion)) = (prompt, completion.or(Count::Is(0))) else {
        return None;
    };
    let cache_read = details.cached_tokens.or_zero();
    let cache_write = details.cache_write_tokens.or_zero();
    // Parts are taken from the whole one after another, so that overlapping parts (cached audio) count once. Cache
    // parts above the whole mean a provider that counts them beside it, as Anthropic does: then they are all real.
    let mut rest = prompt.saturating_sub(cache_read).saturating_sub(cache_write);
    let audio_input = take(&mut rest, details.audio_tokens);
    let image_input = take(&mut rest, details.image_tokens);
    let input = rest;

    let details = completion_details;
    let mut rest = completion;
    let reasoning = match details.reasoning_tokens.or_zero() {
        // Some providers count reasoning beside the completion; their total tells.
        beside if beside > 0 && is_total(total, prompt, completion, beside) => beside,
        _ => take(&mut rest, details.reasoning_tokens),
    };
    let audio_output = take(&mut rest, details.audio_tokens);
    let image_output = take(&mut rest, details.image_tokens);
    Some(Tokens {
        input,
        cache_read,
        cache_write,
        cache_write_1h: 0,
        output: rest,
        reasoning,
        image_input,
        image_output,
        audio_input,
        audio_output,
        ..Tokens::default()
    })
}

fn is_total(total: Count, prompt: u64, completion: u64, reasoning: u64) -> bool {
    // Three counts of at most MAX_COUNT cannot overflow.
    matches!(total, Count::Is(total) if total == prompt + completion + reasoning)
}

pub(crate) fn take(rest: &mut u64, part: Count) -> u64 {
    let part = part.or_zero().min(*rest);
    *rest -= part;
    part
}

/// Counts as a caller gets them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counts {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cache_write_tokens: u64,
    audio_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    image_tokens: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
    audio_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    image_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<Tokens> for Counts {
    fn from(tokens: Tokens) -> Self {
        let (input, output) = (tokens.input_total(), tokens.output_total());
        Self {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.saturating_add(output),
            prompt_tokens_details: PromptDetails {
                cached_tokens: tokens.cache_read,
                cache_write_tokens: tokens.cache_write.saturating_add(tokens.cache_write_1h),
                audio_tokens: tokens.audio_input,
                image_tokens: tokens.image_input,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: tokens.reasoning,
                audio_tokens: tokens.audio_output,
                image_tokens: tokens.image_output,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(json: &str) -> Option<Tokens> {
        tokens(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_providers_send_is_brought_into_disjoint_classes() {
        let none = Tokens::default();
        let cases = [
            // OpenAI, everything.
            (
                r#"{"prompt_tokens":2600,"completion_tokens":300,"total_tokens":2900,
                    "prompt_tokens_details":{"cached_tokens":2000,"cache_write_tokens":400,"audio_tokens":0},
                    "completion_tokens_details":{"reasoning_tokens":120,"audio_tokens":0,"accepted_prediction_tokens":0,
                    "rejected_prediction_tokens":0}}"#,
                Tokens {
                    input: 200,
                    cache_read: 2000,
                    cache_write: 400,
                    output: 180,
                    reasoning: 120,
                    ..none
                },
            ),
            // Bare, and with nulls.
            (
                r#"{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}"#,
                Tokens { input: 9, output: 12, ..none },
            ),
            (
                r#"{"prompt_tokens":9,"completion_tokens":12,"prompt_tokens_details":null,
                    "completion_tokens_details":{"reasoning_tokens":null}}"#,
                Tokens { input: 9, output: 12, ..none },
            ),
            // Zeros are counts; whether they are believed is not decided here.
            (r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#, none),
            // A prompt without a completion: a refusal by a filter, an embedding.
            (r#"{"prompt_tokens":5,"total_tokens":5}"#, Tokens { input: 5, ..none }),
            // More cached than there was prompt: counted beside it.
            (
                r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":500}}"#,
                Tokens { cache_read: 500, output: 1, ..none },
            ),
            // DeepSeek's names.
            (
                r#"{"prompt_tokens":100,"completion_tokens":1,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}"#,
                Tokens { input: 36, cache_read: 64, output: 1, ..none },
            ),
            // Reasoning within the completion, all of it, and (as the total tells) beside it.
            (
                r#"{"prompt_tokens":1,"completion_tokens":50,"total_tokens":51,"completion_tokens_details":{"reasoning_tokens":50}}"#,
                Tokens { input: 1, reasoning: 50, ..none },
            ),
            (
                r#"{"prompt_tokens":1,"completion_tokens":5,"total_tokens":306,"completion_tokens_details":{"reasoning_tokens":300}}"#,
                Tokens { input: 1, output: 5, reasoning: 300, ..none },
            ),
            // More reasoning than completion and a total that does not own up to it: the completion is what counts.
            (
                r#"{"prompt_tokens":1,"completion_tokens":5,"total_tokens":6,"completion_tokens_details":{"reasoning_tokens":300}}"#,
                Tokens { input: 1, reasoning: 5, ..none },
            ),
            // Audio both ways; cached audio counts once.
            (
                r#"{"prompt_tokens":100,"completion_tokens":80,
                    "prompt_tokens_details":{"cached_tokens":60,"audio_tokens":50,"text_tokens":50},
                    "completion_tokens_details":{"audio_tokens":70,"text_tokens":10}}"#,
                Tokens { cache_read: 60, audio_input: 40, output: 10, audio_output: 70, ..none },
            ),
            // Whole floats, extra keys of vendors.
            (
                r#"{"prompt_tokens":7.0,"completion_tokens":2.0,"cost":0.0001,"queue_time":0.2,"timings":{"a":[1]}}"#,
                Tokens { input: 7, output: 2, ..none },
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
            "\"12\"",
            r#"{"prompt_tokens":null,"completion_tokens":null}"#,
            r#"{"prompt_tokens":-1,"completion_tokens":3}"#,
            r#"{"prompt_tokens":1,"completion_tokens":-3}"#,
            r#"{"prompt_tokens":1.5,"completion_tokens":3}"#,
            r#"{"prompt_tokens":"9","completion_tokens":3}"#,
            r#"{"prompt_tokens":1,"completion_tokens":1e300}"#,
            r#"{"prompt_tokens":1,"completion_tokens":18446744073709551615}"#,
            r#"{"prompt_tokens":{},"completion_tokens":[1]}"#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn counts_that_are_written_read_the_same(counts in proptest::array::uniform9(0..10_000_u64)) {
            let [input, cache_read, cache_write, output, reasoning, image_input, image_output, audio_input, audio_output] =
                counts;
            let tokens = Tokens {
                input, cache_read, cache_write, cache_write_1h: 0, output, reasoning, image_input, image_output,
                audio_input, audio_output, ..Tokens::default() };
            let written = serde_json::to_string(&Counts::from(tokens)).unwrap();
            prop_assert_eq!(read(&written), Some(tokens));
        }

        #[test]
        fn the_classes_sum_to_the_whole(
            prompt in 0..10_000_u64, completion in 0..10_000_u64, parts in proptest::array::uniform7(0..10_000_u64),
        ) {
            let [cached, written, audio, image, reasoning, audio_out, image_out] = parts;
            let tokens = read(&format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},
                "prompt_tokens_details":{{"cached_tokens":{cached},"cache_write_tokens":{written},"audio_tokens":{audio},"image_tokens":{image}}},
                "completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":{audio_out},"image_tokens":{image_out}}}}}"#
            )).unwrap();
            prop_assert_eq!(tokens.input_total(), prompt.max(cached + written));
            prop_assert_eq!(tokens.output_total(), completion);
        }
    }
}
