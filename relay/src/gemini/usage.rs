//! A provider's token counts (`usageMetadata`), brought into disjoint classes.
//!
//! Claims: every token is in exactly one class; what was read from a cache is within the prompt and counted once;
//! thoughts stand beside the candidates unless the total says that they are within; counts that cannot be meant are no
//! counts at all.

use crate::count::Count;
use crate::openai::usage::take;
use domain::Tokens;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Zeros are left out by Google, so what is absent is zero as long as something is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(default, alias = "prompt_token_count")]
    prompt_token_count: Count,
    #[serde(default, alias = "cached_content_token_count")]
    cached_content_token_count: Count,
    /// The second name is Vertex AI's in some answers.
    #[serde(default, alias = "responseTokenCount", alias = "candidates_token_count")]
    candidates_token_count: Count,
    #[serde(default, alias = "thoughts_token_count")]
    thoughts_token_count: Count,
    #[serde(default, alias = "tool_use_prompt_token_count")]
    tool_use_prompt_token_count: Count,
    #[serde(default, alias = "total_token_count")]
    total_token_count: Count,
    // Read one by one: an odd list of details must not cost the counts.
    #[serde(borrow, alias = "prompt_tokens_details")]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, alias = "cache_tokens_details")]
    cache_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, alias = "responseTokensDetails", alias = "candidates_tokens_details")]
    candidates_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, alias = "tool_use_prompt_tokens_details")]
    tool_use_prompt_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    modality: String,
    #[serde(default, alias = "token_count")]
    token_count: Count,
}

/// What of a count is sound and pictures. Text, documents and moving pictures have no class of their own.
#[derive(Clone, Copy, Default)]
struct Modalities {
    audio: u64,
    image: u64,
}

impl Modalities {
    fn read(details: Option<&RawValue>) -> Self {
        let details: Vec<Detail> =
            details.and_then(|details| serde_json::from_str(details.get()).ok()).unwrap_or_default();
        let mut found = Self::default();
        for detail in details {
            let count = detail.token_count.or_zero();
            match detail.modality.to_ascii_uppercase().as_str() {
                "AUDIO" => found.audio = found.audio.saturating_add(count),
                "IMAGE" => found.image = found.image.saturating_add(count),
                _ => {}
            }
        }
        found
    }
}

/// The classes of a `usageMetadata` object; `None`: it says nothing usable.
pub fn tokens(usage: &RawValue) -> Option<Tokens> {
    let wire: Wire<'_> = serde_json::from_str(usage.get()).ok()?;
    let counts = [
        wire.prompt_token_count,
        wire.candidates_token_count,
        wire.thoughts_token_count,
        wire.tool_use_prompt_token_count,
    ];
    if counts.iter().any(|count| matches!(count, Count::Absurd))
        || counts.iter().all(|count| matches!(count, Count::Absent))
    {
        return None;
    }
    let [mut prompt, mut candidates, thoughts, tool] = counts.map(Count::or_zero);
    // Four counts of at most a billion cannot overflow.
    let sum = prompt + candidates + thoughts + tool;
    if let Count::Is(total) = wire.total_token_count {
        let missing = total.saturating_sub(sum);
        if matches!(wire.prompt_token_count, Count::Absent) {
            prompt += missing;
        } else if matches!(wire.candidates_token_count, Count::Absent) {
            candidates += missing;
        } else if thoughts > 0 && (total == prompt + candidates + tool || total == prompt + candidates) {
            // They are among the candidates.
            candidates = candidates.saturating_sub(thoughts);
        }
    }
    let cache_read = wire.cached_content_token_count.or_zero();
    let (prompts, cached, tools) = (
        Modalities::read(wire.prompt_tokens_details),
        Modalities::read(wire.cache_tokens_details),
        Modalities::read(wire.tool_use_prompt_tokens_details),
    );
    // Parts are taken from the whole one after another, so that overlapping parts (cached sound) count once.
    let mut input = prompt.saturating_sub(cache_read) + tool;
    let fresh =
        |prompt: u64, cached: u64, tool: u64| Count::Is(prompt.saturating_sub(cached).saturating_add(tool));
    let audio_input = take(&mut input, fresh(prompts.audio, cached.audio, tools.audio));
    let image_input = take(&mut input, fresh(prompts.image, cached.image, tools.image));
    let answers = Modalities::read(wire.candidates_tokens_details);
    let mut output = candidates;
    let audio_output = take(&mut output, Count::Is(answers.audio));
    let image_output = take(&mut output, Count::Is(answers.image));
    Some(Tokens {
        input,
        cache_read,
        cache_write: 0,
        cache_write_1h: 0,
        output,
        reasoning: thoughts,
        image_input,
        image_output,
        audio_input,
        audio_output,
        ..Tokens::default()
    })
}

/// Counts as a caller of this format gets them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    prompt_token_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_content_token_count: Option<u64>,
    candidates_token_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    thoughts_token_count: Option<u64>,
    total_token_count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prompt_tokens_details: Vec<DetailView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates_tokens_details: Vec<DetailView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailView {
    modality: &'static str,
    token_count: u64,
}

impl View {
    /// Of these counts. What was written to a cache is part of the prompt here, without a name of its own.
    pub fn new(tokens: &Tokens) -> Self {
        let prompt = tokens.input_total();
        let candidates = [tokens.output, tokens.image_output, tokens.audio_output]
            .into_iter()
            .fold(0, u64::saturating_add);
        let some = |count: u64| (count > 0).then_some(count);
        Self {
            prompt_token_count: prompt,
            cached_content_token_count: some(tokens.cache_read),
            candidates_token_count: candidates,
            thoughts_token_count: some(tokens.reasoning),
            total_token_count: prompt.saturating_add(tokens.output_total()),
            prompt_tokens_details: details(prompt, tokens.image_input, tokens.audio_input),
            candidates_tokens_details: details(candidates, tokens.image_output, tokens.audio_output),
        }
    }
}

/// Only where there is more than text.
fn details(whole: u64, image: u64, audio: u64) -> Vec<DetailView> {
    if image == 0 && audio == 0 {
        return Vec::new();
    }
    let text = whole.saturating_sub(image).saturating_sub(audio);
    [("TEXT", text), ("IMAGE", image), ("AUDIO", audio)]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(modality, token_count)| DetailView { modality, token_count })
        .collect()
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
            // Bare.
            (
                r#"{"promptTokenCount":9,"candidatesTokenCount":12,"totalTokenCount":21}"#,
                Tokens { input: 9, output: 12, ..none },
            ),
            // Everything: the prompt includes what was cached, tools come on top, thoughts beside.
            (
                r#"{"promptTokenCount":2600,"cachedContentTokenCount":2000,"candidatesTokenCount":180,
                    "thoughtsTokenCount":120,"toolUsePromptTokenCount":50,"totalTokenCount":2950,
                    "promptTokensDetails":[{"modality":"TEXT","tokenCount":2600}],
                    "cacheTokensDetails":[{"modality":"TEXT","tokenCount":2000}],
                    "trafficType":"ON_DEMAND"}"#,
                Tokens { input: 650, cache_read: 2000, output: 180, reasoning: 120, ..none },
            ),
            // The total tells that thoughts are among the candidates, with tools within it and without.
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":300,"thoughtsTokenCount":120,"totalTokenCount":310}"#,
                Tokens { input: 10, output: 180, reasoning: 120, ..none },
            ),
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":300,"thoughtsTokenCount":120,
                    "toolUsePromptTokenCount":5,"totalTokenCount":315}"#,
                Tokens { input: 15, output: 180, reasoning: 120, ..none },
            ),
            // A total that fits nothing decides nothing.
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":300,"thoughtsTokenCount":120,"totalTokenCount":7}"#,
                Tokens { input: 10, output: 300, reasoning: 120, ..none },
            ),
            // Zeros are left out: thoughts ate the cap; the first event of a stream; an embedding.
            (
                r#"{"promptTokenCount":10,"thoughtsTokenCount":100,"totalTokenCount":110}"#,
                Tokens { input: 10, reasoning: 100, ..none },
            ),
            (r#"{"promptTokenCount":10,"totalTokenCount":10}"#, Tokens { input: 10, ..none }),
            (r#"{"promptTokenCount":10}"#, Tokens { input: 10, ..none }),
            // What the total has beyond the parts belongs to the part that is missing.
            (r#"{"promptTokenCount":10,"totalTokenCount":35}"#, Tokens { input: 10, output: 25, ..none }),
            (r#"{"candidatesTokenCount":10,"totalTokenCount":35}"#, Tokens { input: 25, output: 10, ..none }),
            // Sound and pictures in, some of them cached; pictures out.
            (
                r#"{"promptTokenCount":1000,"cachedContentTokenCount":300,"candidatesTokenCount":1300,
                    "totalTokenCount":2300,
                    "promptTokensDetails":[{"modality":"TEXT","tokenCount":100},{"modality":"AUDIO","tokenCount":500},
                        {"modality":"IMAGE","tokenCount":258},{"modality":"VIDEO","tokenCount":142}],
                    "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":300}],
                    "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]}"#,
                Tokens {
                    input: 242,
                    cache_read: 300,
                    audio_input: 200,
                    image_input: 258,
                    output: 10,
                    image_output: 1290,
                    ..none
                },
            ),
            // Details that are no list, and one of an unknown kind, cost nothing.
            (
                r#"{"promptTokenCount":7.0,"candidatesTokenCount":null,"totalTokenCount":7,"promptTokensDetails":{},
                    "candidatesTokensDetails":[{"modality":"SMELL","tokenCount":3}]}"#,
                Tokens { input: 7, ..none },
            ),
            // More cached than there was prompt.
            (
                r#"{"promptTokenCount":10,"cachedContentTokenCount":500,"candidatesTokenCount":1}"#,
                Tokens { cache_read: 500, output: 1, ..none },
            ),
            // Other spellings.
            (
                r#"{"prompt_token_count":9,"candidates_token_count":12,"total_token_count":21}"#,
                Tokens { input: 9, output: 12, ..none },
            ),
            (
                r#"{"promptTokenCount":9,"responseTokenCount":12,"responseTokensDetails":[{"modality":"AUDIO","tokenCount":12}]}"#,
                Tokens { input: 9, audio_output: 12, ..none },
            ),
            // Zeros are counts; whether they are believed is not decided here.
            (r#"{"promptTokenCount":0,"candidatesTokenCount":0,"totalTokenCount":0}"#, none),
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
            r#"{"totalTokenCount":7}"#,
            r#"{"trafficType":"ON_DEMAND"}"#,
            r#"{"promptTokenCount":null}"#,
            r#"{"promptTokenCount":-1,"candidatesTokenCount":3}"#,
            r#"{"promptTokenCount":1,"candidatesTokenCount":1e300}"#,
            r#"{"promptTokenCount":1,"candidatesTokenCount":3,"thoughtsTokenCount":-3}"#,
            r#"{"promptTokenCount":"9","candidatesTokenCount":3}"#,
            r#"{"promptTokenCount":1.5}"#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn the_classes_sum_to_the_whole(
            [prompt, candidates, thoughts, tool] in proptest::array::uniform4(0..10_000_u64),
            parts in proptest::array::uniform7(0..10_000_u64),
        ) {
            let [cached, audio, image, cached_audio, tool_image, audio_out, image_out] = parts;
            let tokens = read(&format!(
                r#"{{"promptTokenCount":{prompt},"candidatesTokenCount":{candidates},"thoughtsTokenCount":{thoughts},
                "toolUsePromptTokenCount":{tool},"cachedContentTokenCount":{cached},"totalTokenCount":{},
                "promptTokensDetails":[{{"modality":"AUDIO","tokenCount":{audio}}},{{"modality":"IMAGE","tokenCount":{image}}}],
                "cacheTokensDetails":[{{"modality":"AUDIO","tokenCount":{cached_audio}}}],
                "toolUsePromptTokensDetails":[{{"modality":"IMAGE","tokenCount":{tool_image}}}],
                "candidatesTokensDetails":[{{"modality":"AUDIO","tokenCount":{audio_out}}},{{"modality":"IMAGE","tokenCount":{image_out}}}]}}"#,
                prompt + candidates + thoughts + tool,
            )).unwrap();
            prop_assert_eq!(tokens.input_total(), prompt.max(cached) + tool);
            prop_assert_eq!(tokens.output_total(), candidates + thoughts);
            prop_assert_eq!(tokens.reasoning, thoughts);
        }

        #[test]
        fn counts_that_are_written_are_read_back(parts in proptest::array::uniform8(0..10_000_u64)) {
            let [input, cache_read, output, reasoning, image_input, image_output, audio_input, audio_output] = parts;
            let tokens = Tokens {
                input, cache_read, output, reasoning, image_input, image_output, audio_input, audio_output,
                ..Tokens::default()
            };
            prop_assert_eq!(read(&serde_json::to_string(&View::new(&tokens)).unwrap()), Some(tokens));
        }
    }
}
