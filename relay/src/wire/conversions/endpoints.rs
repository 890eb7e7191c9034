//! Which endpoint reaches which provider.

use super::{assert_covers, route};
use crate::catalogue::Route;
use crate::claude::request::MessagesRequest;
use crate::endpoint::Endpoint;
use crate::gemini::counting::CountRequest;
use crate::wire::Wire;
use crate::wire::outgoing::{self, Counted};
use axum::http::HeaderMap;

const PROVIDERS: [(&str, &str); 3] = [
    ("openai", "`openai` provider"),
    ("claude-opus-4-5", "`claude` provider"),
    ("gemini-2.5-flash", "`gemini` provider"),
];

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Through,
    Converted,
    Refused,
}

fn way(route: &Route, endpoint: Endpoint) -> Way {
    match Wire::at(route, endpoint) {
        Some(wire) if wire == endpoint.wire() => Way::Through,
        Some(_) => Way::Converted,
        None => Way::Refused,
    }
}

#[test]
fn every_endpoint_goes_the_way_that_the_document_says() {
    use Endpoint as E;
    use Way::{Converted, Refused, Through};
    let vectors = "`/v1/embeddings`, `:embedContent`, `:batchEmbedContents`";
    let plain = "`/v1/completions`, `/v1/images/*`, `/v1/audio/*`, `/v1/moderations`, `/v1/rerank`";
    let contents = "`…/models/{m}:generateContent`, `:streamGenerateContent`";
    let ways = [
        ("`/v1/chat/completions`", E::Chat, [Through, Converted, Converted]),
        ("`/v1/responses`", E::Responses, [Converted, Converted, Converted]),
        ("`/v1/messages`", E::Messages, [Converted, Through, Converted]),
        (contents, E::Generate, [Converted, Converted, Through]),
        (vectors, E::Embeddings, [Through, Refused, Converted]),
        (vectors, E::EmbedContent, [Converted, Refused, Through]),
        (vectors, E::BatchEmbedContents, [Converted, Refused, Through]),
        (plain, E::Completions, [Through, Refused, Refused]),
        (plain, E::ImageGenerations, [Through, Refused, Refused]),
        (plain, E::ImageEdits, [Through, Refused, Refused]),
        (plain, E::Speech, [Through, Refused, Refused]),
        (plain, E::Transcriptions, [Through, Refused, Refused]),
        (plain, E::Translations, [Through, Refused, Refused]),
        (plain, E::Moderations, [Through, Refused, Refused]),
        (plain, E::Rerank, [Through, Refused, Refused]),
    ];
    let mut cells = Vec::new();
    for (row, endpoint, expected) in ways {
        for ((provider, column), expected) in PROVIDERS.into_iter().zip(expected) {
            assert_eq!(way(&route(provider), endpoint), expected, "{row} | {column}: {endpoint:?}");
            cells.push((row, column));
        }
    }
    let knows_responses = route("responses");
    assert_eq!(way(&knows_responses, E::Responses), Through, "where the provider has it");
    for other in [E::Chat, E::Messages, E::Generate] {
        assert_eq!(
            Wire::at(&knows_responses, other),
            Some(Wire::Chat),
            "no call is converted into responses"
        );
    }

    let messages = br#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}"#;
    let messages = Counted::Messages(MessagesRequest::try_new(messages.as_slice().into()).unwrap());
    let contents = br#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
    let contents = Counted::Contents(CountRequest::try_new(contents.as_slice().into()).unwrap());
    for (row, counted, who) in [
        ("`/v1/messages/count_tokens`", messages, "claude-opus-4-5"),
        ("`:countTokens`", contents, "gemini-2.5-flash"),
    ] {
        for (provider, column) in PROVIDERS {
            let is_asked = outgoing::count(&counted, &HeaderMap::new(), &route(provider), "key").is_some();
            assert_eq!(is_asked, provider == who, "{row} | {column}");
            cells.push((row, column));
        }
    }
    assert_covers("Which endpoint reaches which provider", &cells);
}
