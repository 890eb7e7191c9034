//! A provider's token counts, brought into disjoint classes, and counts as a caller gets them.
//!
//! Claims: as in [`crate::openai::usage`], whose rules these counts follow under other names.

use crate::count::Count;
use crate::openai::usage::{self as chat, Details};
use domain::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    input_tokens_details: Option<Details>,
    #[serde(default)]
    output_tokens_details: Option<Details>,
}

/// The classes of a `usage` object; `None`: it says nothing usable.
pub fn tokens(usage: &RawValue) -> Option<Tokens> {
    let wire: Wire = serde_json::from_str(usage.get()).ok()?;
    if wire.input_tokens == Count::Absent {
        // Some vendors answer with the names of chat.
        return chat::tokens(usage);
    }
    chat::classes(
        (wire.input_tokens, wire.output_tokens, wire.total_tokens),
        wire.input_tokens_details.unwrap_or_default(),
        wire.output_tokens_details.unwrap_or_default(),
    )
}

/// Counts as a caller gets them.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counts {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl From<Tokens> for Counts {
    fn from(tokens: Tokens) -> Self {
        let (input, output) = (tokens.input_total(), tokens.output_total());
        Self {
            input_tokens: input,
            input_tokens_details: InputDetails {
                cached_tokens: tokens.cache_read,
                cache_write_tokens: tokens.cache_write.saturating_add(tokens.cache_write_1h),
            },
            output_tokens: output,
            output_tokens_details: OutputDetails { reasoning_tokens: tokens.reasoning },
            total_tokens: input.saturating_add(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Tokens> {
        tokens(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_providers_send_is_brought_into_disjoint_classes() {
        let none = Tokens::default();
        let cases = [
            (
                r#"{"input_tokens":2600,"input_tokens_details":{"cached_tokens":2000,"cache_write_tokens":400,
                    "cache_write_tokens_details":{"ttl_30m_tokens":400}},"output_tokens":300,
                    "output_tokens_details":{"reasoning_tokens":120},"total_tokens":2900}"#,
                Some(Tokens {
                    input: 200,
                    cache_read: 2000,
                    cache_write: 400,
                    output: 180,
                    reasoning: 120,
                    ..none
                }),
            ),
            (r#"{"input_tokens":9,"output_tokens":12.0}"#, Some(Tokens { input: 9, output: 12, ..none })),
            (
                r#"{"input_tokens":9,"output_tokens":12,"input_tokens_details":null,"output_tokens_details":{"reasoning_tokens":null}}"#,
                Some(Tokens { input: 9, output: 12, ..none }),
            ),
            (r#"{"prompt_tokens":9,"completion_tokens":12}"#, Some(Tokens { input: 9, output: 12, ..none })),
            (
                r#"{"input_tokens":9,"output_tokens":12,"prompt_tokens":9,"completion_tokens":12}"#,
                Some(Tokens { input: 9, output: 12, ..none }),
            ),
            (r#"{"input_tokens":0,"output_tokens":0,"total_tokens":0}"#, Some(none)),
            (r#"{"input_tokens":-1,"output_tokens":0}"#, None),
            (r#"{"input_tokens":"9","output_tokens":3}"#, None),
            ("{}", None),
            ("[]", None),
        ];
        for (json, expected) in cases {
            assert_eq!(read(json), expected, "{json}");
        }
    }

    #[test]
    fn counts_that_are_written_read_the_same() {
        let tokens =
            Tokens { input: 3, cache_read: 4, cache_write: 5, output: 6, reasoning: 7, ..Tokens::default() };
        assert_eq!(read(&serde_json::to_string(&Counts::from(tokens)).unwrap()), Some(tokens));
    }
}
