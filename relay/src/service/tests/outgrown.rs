//! Streams of providers that heed no cap, and cost more than was held for them.

use super::*;

/// Ten words: more than a cap of ten tokens holds.
const WORD: &str = "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one more word of it, and another one too, again \"},\"finish_reason\":null}]}\n\n";
/// At most what one such event costs: 20 tokens at 15 a million.
const ONE_EVENT: i64 = 20 * 15_000;

/// A provider that goes on for ever.
async fn endless() -> Provider {
    provider(|_| sse_of(stream::repeat_with(|| Ok(Bytes::from_static(WORD.as_bytes()))))).await
}

/// A gateway whose account has just what a call is held for, and `more`.
async fn scarce(more: i64, provider: &Provider) -> (Gateway, i64) {
    let body = body(r#", "stream": true, "max_tokens": 10"#);
    let asked = Asked::try_new(Endpoint::Chat, PathSays::default(), &HeaderMap::new(), body.into()).unwrap();
    let held = 3_000 * i64::try_from(asked.input.upper()).unwrap() + 10 * 15_000;
    let options = RelayOptions::default();
    (gateway_with(options, held + more, ranked(&[&provider.url])).await, held)
}

fn is_ended_by_us(record: &Usage, most: i64) {
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(record.attempts[0].error, Some(label("hold_spent")));
    let charge = record.charge.nano();
    assert!(charge > most && charge <= most + ONE_EVENT, "{charge} of {most}");
}

#[tokio::test]
async fn chat_that_outgrows_what_its_account_has_ends_for_its_length() {
    let provider = endless().await;
    let (gateway, held) = scarce(0, &provider).await;
    let fields = r#", "stream": true, "max_tokens": 10, "stream_options": {"include_usage": true}"#;
    let body = body(fields);
    // The options weigh a little themselves: room for them, and for nothing else.
    let asked = Asked::try_new(Endpoint::Chat, PathSays::default(), &HeaderMap::new(), body.into()).unwrap();
    let most = 3_000 * i64::try_from(asked.input.upper()).unwrap() + 10 * 15_000;
    gateway.wallet.0.lock().unwrap().available += most - held;
    let text = gateway.call(fields).await.text().await.unwrap();
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    let json = |back: usize| -> Value {
        serde_json::from_str(events[events.len() - back].strip_prefix("data: ").unwrap()).unwrap()
    };
    assert_eq!(json(3)["choices"][0]["finish_reason"], "length", "{text}");
    assert_eq!(json(3)["id"], "c1");
    let record = gateway.settled_one().await;
    is_ended_by_us(&record, most);
    assert_eq!(json(2)["usage"]["completion_tokens"], record.tokens.output);
}

#[tokio::test]
async fn a_hold_grows_while_its_account_has_credits() {
    let provider = endless().await;
    let (gateway, held) = scarce(1_000 * 15_000, &provider).await;
    gateway.call(r#", "stream": true, "max_tokens": 10"#).await.text().await.unwrap();
    is_ended_by_us(&gateway.settled_one().await, held + 1_000 * 15_000);
}

#[tokio::test]
async fn callers_of_other_protocols_are_told_in_their_own_words() {
    let provider = endless().await;
    for (path, body, expected) in [
        (
            "/v1/messages",
            r#"{"model":"vendor/model","max_tokens":10,"stream":true,"messages":[{"role":"user","content":"say hello"}]}"#,
            r#""stop_reason":"max_tokens""#,
        ),
        (
            "/v1/responses",
            r#"{"model":"vendor/model","max_output_tokens":10,"stream":true,"input":"say hello"}"#,
            r#""incomplete_details":{"reason":"max_output_tokens"}"#,
        ),
        (
            "/v1beta/models/vendor/model:streamGenerateContent?alt=sse",
            r#"{"contents":[{"parts":[{"text":"say hello"}]}],"generationConfig":{"maxOutputTokens":10}}"#,
            r#""finishReason":"MAX_TOKENS""#,
        ),
    ] {
        let (gateway, held) = scarce(3_000 * 200, &provider).await;
        let request = gateway.http.post(format!("{}{path}", gateway.url)).bearer_auth(&gateway.key);
        let response = request.header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let text = response.text().await.unwrap();
        assert!(text.contains(expected), "{path}: {text}");
        is_ended_by_us(&gateway.settled_one().await, held + 3_000 * 200);
    }
}
