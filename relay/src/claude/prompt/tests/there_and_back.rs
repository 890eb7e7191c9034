//! The way there and back.

use super::*;
use proptest::prelude::*;

fn any_text() -> impl Strategy<Value = Part> {
    let cache = proptest::option::of(Just(r#"{"type":"ephemeral","ttl":"5m"}"#));
    ("[!-~\u{e9}\u{4e2d}][ -~\n]{0,9}[!-~]", cache)
        .prop_map(|(text, cache)| Part::Text { text, cache: cache.map(raw) })
}

fn any_media() -> impl Strategy<Value = Part> {
    let inline = |media_type: &str, filename: Option<String>| Source::Inline {
        media_type: media_type.into(),
        data: "AAAA".into(),
        filename,
    };
    let url = |media_type: Option<&str>| Source::Url {
        url: "https://x/y".into(),
        media_type: media_type.map(Into::into),
    };
    prop_oneof![
        Just((Medium::Image, inline("image/png", None))),
        Just((Medium::Image, url(None))),
        proptest::option::of("[a-z]{1,5}")
            .prop_map(move |name| (Medium::Document, inline("application/pdf", name))),
        Just((Medium::Document, url(Some("application/pdf")))),
    ]
    .prop_map(|(medium, source)| Part::Media { medium, source, detail: None, cache: None })
}

/// A user's turn and the model's, perhaps with a call; the next user's turn holds its result.
fn any_exchange() -> impl Strategy<Value = (Vec<Part>, Vec<Part>, bool)> {
    let user = proptest::collection::vec(prop_oneof![any_text(), any_media()], 1..3);
    let thought = ("[a-z]{0,9}", "[A-Z]{1,5}")
        .prop_map(|(text, signature)| Part::Thinking { text, signature: Some(signature) });
    let hidden = "[A-Z]{1,5}".prop_map(|data| Part::HiddenThinking { data });
    let assistant = proptest::collection::vec(prop_oneof![any_text(), thought, hidden], 1..4);
    (user, assistant, any::<bool>())
}

fn any_prompt() -> impl Strategy<Value = Prompt> {
    let turns = proptest::collection::vec(any_exchange(), 1..4);
    let result_content = proptest::collection::vec(prop_oneof![any_text(), any_media()], 0..3);
    let tool_use = proptest::option::of(prop_oneof![
        Just(ToolUse::Auto),
        Just(ToolUse::Some),
        Just(ToolUse::Never),
        Just(ToolUse::Only("get".into())),
    ]);
    let settings = (
        any::<bool>(),
        proptest::option::of(1..9999_u64),
        proptest::option::of(prop_oneof![Just(Reasoning::Off), (1024..4000_u64).prop_map(Reasoning::Budget)]),
        proptest::option::of(0..=10_u64),
        any::<bool>(),
        proptest::collection::vec("[A-Z]{1,4}", 0..3),
        proptest::option::of(Just("user-1".to_owned())),
        proptest::collection::vec(any_text(), 0..3),
    );
    (turns, result_content, tool_use, any::<bool>(), settings).prop_map(
        |(exchanges, result_content, tool_use, is_parallel, settings)| {
            let (stream, max_output, reasoning, temperature, has_schema, stop, user, system) = settings;
            let mut turns = Vec::new();
            let mut results = Vec::new();
            for (index, (user, mut assistant, has_call)) in exchanges.into_iter().enumerate() {
                results.extend(user);
                turns.push(turn(Role::User, std::mem::take(&mut results)));
                if has_call {
                    let id = format!("toolu_{index}");
                    assistant.push(call(&id, "get", r#"{"z": 1.0,"a":[1e2]}"#));
                    results.push(result(&id, "get", result_content.clone()));
                }
                turns.push(turn(Role::Assistant, assistant));
            }
            turns.push(turn(Role::User, results.into_iter().chain([Part::text("go on")]).collect()));
            let is_forced = matches!(tool_use, Some(ToolUse::Some | ToolUse::Only(_)));
            // What this format has both ways, without what it changes by its rules.
            let reasoning = reasoning.filter(|reasoning| {
                !matches!(reasoning, Reasoning::Budget(budget)
                    if is_forced || *budget >= max_output.unwrap_or(4096))
            });
            let is_thinking = matches!(reasoning, Some(Reasoning::Budget(_)));
            let temperature = temperature
                .filter(|_| !is_thinking)
                .map(|tenths| serde_json::from_str(&format!("{}.{}", tenths / 10, tenths % 10)).unwrap());
            let parallel_tools =
                (is_parallel && tool_use.is_some() && tool_use != Some(ToolUse::Never)).then_some(false);
            let format = if has_schema {
                OutputFormat::Schema {
                    name: "answer".into(),
                    description: None,
                    schema: raw(r#"{"type": "object"}"#),
                    strict: Some(true),
                }
            } else {
                OutputFormat::Text
            };
            let strict =
                Tool { strict: Some(true), cache: Some(raw(r#"{"type":"ephemeral"}"#)), ..tool("get") };
            Prompt {
                stream,
                system,
                turns,
                tools: vec![strict, tool("other")],
                tool_use,
                parallel_tools,
                max_output: max_output.or(Some(4096)),
                choices: 1,
                sampling: Sampling { temperature, ..Sampling::default() },
                stop,
                format,
                reasoning,
                user,
                unread: Vec::new(),
            }
        },
    )
}

/// Does a result wait whose call came without a signed thought? Then thinking is switched off.
fn is_unsigned_loop(prompt: &Prompt) -> bool {
    let [.., calls, results] = prompt.turns.as_slice() else { return false };
    let is_thought = matches!(calls.parts.first(), Some(Part::Thinking { .. } | Part::HiddenThinking { .. }));
    matches!(results.parts.first(), Some(Part::Result { .. })) && !is_thought
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(prompt in any_prompt()) {
        let mut prompt = prompt;
        if matches!(prompt.reasoning, Some(Reasoning::Budget(_))) && is_unsigned_loop(&prompt) {
            prompt.reasoning = None;
        }
        let written = write(&prompt, &target(MODEL)).unwrap();
        prop_assert!(written.dropped.is_empty(), "{:?}", written.dropped);
        let again = read(&written.body).unwrap();
        prop_assert_eq!(format!("{again:#?}"), format!("{prompt:#?}"));
    }
}
