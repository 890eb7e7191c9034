//! A provider's token counts, brought into disjoint classes.
//!
//! Claims: every token is in exactly one class, and the classes of the prompt sum to `prompt_tokens` (unless the
//! provider's own parts are larger than its whole, then the parts count); counts that cannot be meant (negative,
//! fractional, beyond [`MAX_COUNT`]) are no counts at all.

use domain::Tokens;
use serde::de::{Deserializer, IgnoredAny, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

/// No call has more tokens of a kind than this: a larger count is a provider's fault, and is not charged.
pub const MAX_COUNT: u64 = 1_000_000_000;

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

#[derive(Default, Deserialize)]
struct Details {
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

/// A count as providers write it: a whole number, perhaps as `12.0`, or null, or nothing.
#[derive(Clone, Copy, Default)]
pub(crate) enum Count {
    #[default]
    Absent,
    Is(u64),
    /// A number that cannot be a count.
    Absurd,
}

impl Count {
    pub(crate) fn or_zero(self) -> u64 {
        match self {
            Self::Is(count) => count,
            Self::Absent | Self::Absurd => 0,
        }
    }
}

/// The classes of a `usage` object; `None`: it says nothing usable.
pub fn tokens(usage: &RawValue) -> Option<Tokens> {
    let wire: Wire = serde_json::from_str(usage.get()).ok()?;
    let (Count::Is(prompt), Count::Is(completion)) =
        (wire.prompt_tokens, wire.completion_tokens.or(Count::Is(0)))
    else {
        return None;
    };
    let details = wire.prompt_tokens_details.unwrap_or_default();
    let cache_read = details.cached_tokens.or(wire.prompt_cache_hit_tokens).or_zero();
    let cache_write = details.cache_write_tokens.or_zero();
    // Parts are taken from the whole one after another, so that overlapping parts (cached audio) count once. Cache
    // parts above the whole mean a provider that counts them beside it, as Anthropic does: then they are all real.
    let mut rest = prompt.saturating_sub(cache_read).saturating_sub(cache_write);
    let audio_input = take(&mut rest, details.audio_tokens);
    let image_input = take(&mut rest, details.image_tokens);
    let input = rest;

    let details = wire.completion_tokens_details.unwrap_or_default();
    let mut rest = completion;
    let reasoning = match details.reasoning_tokens.or_zero() {
        // Some providers count reasoning beside the completion; their total tells.
        beside if beside > 0 && is_total(wire.total_tokens, prompt, completion, beside) => beside,
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
    })
}

fn is_total(total: Count, prompt: u64, completion: u64, reasoning: u64) -> bool {
    // Three counts of at most MAX_COUNT cannot overflow.
    matches!(total, Count::Is(total) if total == prompt + completion + reasoning)
}

fn take(rest: &mut u64, part: Count) -> u64 {
    let part = part.or_zero().min(*rest);
    *rest -= part;
    part
}

impl Count {
    /// This count, or the other where this one is absent.
    pub(crate) fn or(self, other: Self) -> Self {
        match self {
            Self::Absent => other,
            Self::Is(_) | Self::Absurd => self,
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;

        impl<'de> Visitor<'de> for Lenient {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a count")
            }

            fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
                Ok(if count <= MAX_COUNT { Count::Is(count) } else { Count::Absurd })
            }

            fn visit_i64<E>(self, _negative: i64) -> Result<Count, E> {
                Ok(Count::Absurd)
            }

            fn visit_f64<E: de::Error>(self, count: f64) -> Result<Count, E> {
                // `as` saturates; a fraction or a negative number does not survive the way back.
                let whole = count as u64;
                if whole as f64 == count { self.visit_u64(whole) } else { Ok(Count::Absurd) }
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count::Absent)
            }

            fn visit_str<E>(self, _text: &str) -> Result<Count, E> {
                Ok(Count::Absurd)
            }

            fn visit_bool<E>(self, _flag: bool) -> Result<Count, E> {
                Ok(Count::Absurd)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count::Absurd)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count::Absurd)
            }
        }

        deserializer.deserialize_any(Lenient)
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
