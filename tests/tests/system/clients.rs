//! The official clients of OpenAI, Anthropic and Google, in Python and from npm, against providers of every format: two
//! servers that this project did not write.
//!
//! Claims: a client sees in its own types what the provider said, whatever protocol the provider speaks; its own
//! exceptions when something goes wrong; and pays exactly for the tokens that the provider counted.

use domain::Credits;
use futures_util::future::join_all;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use system_tests::{
    Gateway, credits,
    foreign::{Aimock, Llmock, Official, Speaks},
    people::{Operator, User, text},
};

/// Credits per million tokens: a token costs a whole number of nano-credits, so that nothing here is rounded.
const INPUT: &str = "3.25";
const OUTPUT: &str = "15.5";
const CREDITS: &str = "1000";
/// The providers' formats.
const FORMATS: [&str; 3] = ["openai", "claude", "gemini"];
const SYSTEM: &str = "You keep the books.";
const PROMPT: &str = "How are the books?";
const WEATHER: &str = "Which weather have Bergen and Oslo?";
/// A red dot.
const IMAGE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

/// What aimock answers: to [`PROMPT`] only under [`SYSTEM`], to the results of calls only where it got them.
fn fixtures() -> Value {
    let usage = |(input, output): (u64, u64)| json!({"prompt_tokens": input, "completion_tokens": output});
    let call = |city: &str| json!({"name": "weather", "arguments": {"city": city}});
    json!([
        {"match": {"userMessage": PROMPT, "systemMessage": SYSTEM},
            "response": {"content": PLAIN.text, "usage": usage(PLAIN.tokens)}},
        {"match": {"userMessage": WEATHER, "hasToolResult": true, "toolResultContains": "Oslo: 7 degrees"},
            "response": {"content": ANSWERED.text, "usage": usage(ANSWERED.tokens)}},
        {"match": {"userMessage": WEATHER, "hasToolResult": false},
            "response": {"toolCalls": [call("Bergen"), call("Oslo")], "usage": usage(CALLING.tokens)}},
    ])
}

/// One answer, as the provider means it.
#[derive(Clone, Copy, Debug)]
struct Said {
    text: &'static str,
    cities: &'static [&'static str],
    tokens: (u64, u64),
}

const PLAIN: Said = Said { text: "The books balance, to the billionth.", cities: &[], tokens: (21, 8) };
const CALLING: Said = Said { text: "", cities: &["Bergen", "Oslo"], tokens: (40, 12) };
const ANSWERED: Said = Said { text: "Seven degrees in both.", cities: &[], tokens: (60, 9) };

impl Said {
    fn price(self) -> Credits {
        price(self.tokens)
    }
}

/// What tokens cost, by the textbook; fails where that is no whole nano-credit.
fn price((input, output): (u64, u64)) -> Credits {
    let price = |text: &str| text.parse::<Decimal>().unwrap();
    let sum = Decimal::from(input) * price(INPUT) + Decimal::from(output) * price(OUTPUT);
    credits(&json!((sum / Decimal::from(1_000_000)).normalize().to_string()))
}

/// A gateway with an operator, a user with credits, and the two servers.
struct Set {
    gateway: Gateway,
    operator: Operator,
    user: User,
    key: String,
    aimock: Aimock,
    llmock: Llmock,
}

impl Set {
    async fn up(fixtures: &Value) -> Self {
        let (gateway, aimock, llmock) =
            tokio::join!(Gateway::start(), Aimock::start(fixtures), Llmock::start());
        let operator = Operator::of(&gateway).await;
        let user = User::with_credits(&gateway, &operator, CREDITS).await;
        let key = user.makes_key().await;
        Self { gateway, operator, user, key, aimock, llmock }
    }

    /// Offers aimock in a format under a name.
    async fn aimock_as(&self, model: &str, format: &str) {
        let provider = json!({"base_url": self.aimock.url(format), "api_format": format});
        self.operator.offers_as(model, provider, INPUT, OUTPUT).await;
    }

    /// Offers llmock in a format under a name.
    async fn llmock_as(&self, model: &str, format: &str) {
        let provider = json!({"base_url": self.llmock.url_as(format), "api_format": format});
        self.operator.offers_as(model, provider, INPUT, OUTPUT).await;
    }

    /// Lets every client make its steps, at the same time.
    async fn walk(&self, steps: impl Fn(Official) -> Value) -> Vec<(Official, Vec<Value>)> {
        join_all(Official::ALL.map(|client| {
            let steps = steps(client);
            async move { (client, client.walk(self.gateway.url(), &self.key, &steps).await) }
        }))
        .await
    }

    /// Fails unless exactly these charges were made, nothing is left open, and the log alone says the same.
    async fn closes(self, requests: BTreeSet<String>, charged: Credits) {
        let left = credits(&json!(CREDITS)).checked_sub(charged).unwrap();
        self.user.until_total(left).await;
        let options = self.gateway.options().clone();
        self.gateway.stop().await;
        let books = options.audit().await;
        books.assert_all_leases_closed();
        let account = books.account(&self.user.id);
        assert_eq!(account.paid, charged);
        assert_eq!(account.requests, requests);
    }
}

/// The tokens as a client's own type names them: input and output.
fn counted(client: Official, answer: &Value) -> (u64, u64) {
    let usage = &answer["usage"];
    let names = match (client.speaks, client.is_node) {
        (Speaks::OpenAi, _) if usage.get("prompt_tokens").is_some() => ["prompt_tokens", "completion_tokens"],
        (Speaks::OpenAi | Speaks::Anthropic, _) => ["input_tokens", "output_tokens"],
        (Speaks::Google, false) => ["prompt_token_count", "candidates_token_count"],
        (Speaks::Google, true) => ["promptTokenCount", "candidatesTokenCount"],
    };
    let [input, output] =
        names.map(|name| usage[name].as_u64().unwrap_or_else(|| panic!("{client:?}: no {name}: {answer}")));
    (input, output)
}

/// Fails unless a client saw this.
fn saw(client: Official, model: &str, said: Said, answer: &Value) {
    let about = || format!("{client:?} {model}: {answer}");
    assert_eq!(answer["text"].as_str().unwrap_or_default(), said.text, "{}", about());
    let calls: Vec<Value> =
        said.cities.iter().map(|city| json!({"name": "weather", "arguments": {"city": city}})).collect();
    assert_eq!(answer["calls"], json!(calls), "{}", about());
    assert_eq!(counted(client, answer), said.tokens, "{}", about());
    let finish = text(&answer["finish_reason"]);
    let is_response = answer["usage"].get("input_tokens").is_some() && client.speaks == Speaks::OpenAi;
    let expected: &[&str] = match (client.speaks, said.cities.is_empty()) {
        (Speaks::OpenAi, _) if is_response => &["completed"],
        (Speaks::OpenAi, true) => &["stop"],
        (Speaks::OpenAi, false) => &["tool_calls"],
        (Speaks::Anthropic, true) => &["end_turn"],
        (Speaks::Anthropic, false) => &["tool_use"],
        (Speaks::Google, true) => &["STOP"],
        // Not Google's own word, but aimock's, whose bytes pass through.
        (Speaks::Google, false) => &["STOP", "FUNCTION_CALL"],
    };
    assert!(expected.contains(&finish.as_str()), "{}", about());
}

/// The turns of an answer; fails where there is an exception instead.
fn turns(client: Official, step: &Value, answer: &Value) -> Vec<Value> {
    assert!(answer.get("exception").is_none(), "{client:?} {step}: {answer}");
    answer["turns"].as_array().cloned().unwrap_or_else(|| vec![answer.clone()])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_official_client_walks_through_every_format() {
    let set = Set::up(&fixtures()).await;
    for format in FORMATS {
        set.aimock_as(format, format).await;
    }
    let native = json!({"base_url": set.aimock.url("openai"), "api_format": "openai", "config": {"responses": "native"}});
    set.operator.offers_as("responses", native, INPUT, OUTPUT).await;

    let steps = |client: Official| {
        let mut steps = Vec::new();
        for model in FORMATS {
            for stream in [false, true] {
                let with = |what: Value| {
                    let mut step = json!({"model": model, "stream": stream, "include_usage": true});
                    step.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
                    step
                };
                steps.push(with(json!({"do": "chat", "prompt": PROMPT, "system": SYSTEM})));
                steps.push(with(json!({"do": "tools", "prompt": WEATHER})));
            }
        }
        if client.speaks == Speaks::OpenAi {
            for model in ["openai", "claude", "gemini", "responses"] {
                for stream in [false, true] {
                    steps.push(json!({"do": "respond", "model": model, "prompt": WEATHER, "tools": true, "stream": stream}));
                }
            }
        }
        json!(steps)
    };
    let walks = set.walk(steps).await;
    let (mut requests, mut charged) = (BTreeSet::new(), Credits::ZERO);
    for (client, answers) in &walks {
        for (step, answer) in steps(*client).as_array().unwrap().iter().zip(answers) {
            let model = text(&step["model"]);
            let turns = turns(*client, step, answer);
            let said: &[Said] = if step["do"] == "chat" { &[PLAIN] } else { &[CALLING, ANSWERED] };
            assert_eq!(turns.len(), said.len(), "{client:?} {step}: {answer}");
            for (said, turn) in said.iter().zip(&turns) {
                saw(*client, &model, *said, turn);
                charged = charged.checked_add(said.price()).unwrap();
                let request = text(&turn["request_id"]);
                let receipt = set.user.usage(&request).await;
                requests.insert(request);
                assert_eq!(receipt["model"], json!(model), "{receipt}");
                assert_eq!(receipt["tokens"]["input"], said.tokens.0, "{client:?} {step}: {receipt}");
                assert_eq!(receipt["tokens"]["output"], said.tokens.1, "{client:?} {step}: {receipt}");
                assert_eq!(receipt["usage_source"], "provider", "{receipt}");
                assert_eq!(receipt["outcome"], "completed", "{receipt}");
                assert_eq!(receipt["stream"], step["stream"], "{receipt}");
                assert_eq!(credits(&receipt["charge"]), said.price(), "{receipt}");
            }
        }
    }
    set.closes(requests, charged).await;
}
