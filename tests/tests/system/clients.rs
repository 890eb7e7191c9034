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
    Behaviour, FakeProvider, Gateway, credits,
    foreign::{Aimock, Llmock, Official, Speaks},
    people::{Operator, User, text, upstream_name},
    provider::VECTOR,
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
    async fn aimock_as(&self, model: &str, format: &str) -> Value {
        let provider = json!({"base_url": self.aimock.url(format), "api_format": format});
        self.operator.offers_as(model, provider, INPUT, OUTPUT).await
    }

    /// Offers llmock in a format under a name.
    async fn llmock_as(&self, model: &str, format: &str) -> Value {
        let provider = json!({"base_url": self.llmock.url_as(format), "api_format": format});
        self.operator.offers_as(model, provider, INPUT, OUTPUT).await
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
        names.map(|name| usage[name].as_u64().unwrap_or_else(|| panic!("{client}: no {name}: {answer}")));
    (input, output)
}

/// Fails unless a client saw this.
fn saw(client: Official, model: &str, said: Said, answer: &Value) {
    let about = || format!("{client} {model}: {answer}");
    assert_eq!(answer["text"].as_str().unwrap_or_default(), said.text, "{}", about());
    let calls: Vec<Value> =
        said.cities.iter().map(|city| json!({"name": "weather", "arguments": {"city": city}})).collect();
    assert_eq!(answer["calls"], json!(calls), "{}", about());
    assert_eq!(counted(client, answer), said.tokens, "{}", about());
    if client.speaks == Speaks::Anthropic {
        assert_eq!(answer["client_request_id"], answer["request_id"], "{}", about());
    }
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
    assert!(answer.get("exception").is_none(), "{client} {step}: {answer}");
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
    // The same server once more, by a template that says what the protocol would say, at another place and with other names.
    let root = set.aimock.url("openai");
    let root = root.strip_suffix("/v1").unwrap();
    let template = json!({
        "speaks": "openai",
        "paths": {"chat": "/v1/chat/completions?by=template"},
        "headers": {"Authorization": "Token {key}"},
        "body": {"set": {"/user": "{model}"}},
        "usage": {"input": "/usage/prompt_tokens", "output": "/usage/completion_tokens"},
    });
    let custom = json!({"base_url": root, "api_format": "custom", "config": {"custom": template}});
    set.operator.offers_as("custom", custom, INPUT, OUTPUT).await;

    let steps = |client: Official| {
        let mut steps = Vec::new();
        for model in FORMATS.into_iter().chain(["custom"]) {
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
            for model in ["openai", "claude", "gemini", "custom", "responses"] {
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
            assert_eq!(turns.len(), said.len(), "{client} {step}: {answer}");
            for (said, turn) in said.iter().zip(&turns) {
                saw(*client, &model, *said, turn);
                charged = charged.checked_add(said.price()).unwrap();
                let request = text(&turn["request_id"]);
                let receipt = set.user.usage(&request).await;
                requests.insert(request);
                assert_eq!(receipt["model"], json!(model), "{receipt}");
                assert_eq!(receipt["tokens"]["input"], said.tokens.0, "{client} {step}: {receipt}");
                assert_eq!(receipt["tokens"]["output"], said.tokens.1, "{client} {step}: {receipt}");
                assert_eq!(receipt["usage_source"], "provider", "{receipt}");
                assert_eq!(receipt["outcome"], "completed", "{receipt}");
                assert_eq!(receipt["stream"], step["stream"], "{receipt}");
                assert_eq!(credits(&receipt["charge"]), said.price(), "{receipt}");
            }
        }
    }
    set.closes(requests, charged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_results_of_tools_reach_providers_in_their_own_words() {
    let set = Set::up(&fixtures()).await;
    for format in FORMATS {
        set.llmock_as(format, format).await;
    }
    let steps = |_: Official| {
        let per_format = FORMATS.map(|model| {
            [
                json!({"do": "chat", "model": model, "prompt": PROMPT, "image": IMAGE}),
                json!({"do": "chat", "model": model, "prompt": PROMPT, "image": IMAGE, "stream": true, "include_usage": true}),
                json!({"do": "tools", "model": model, "prompt": WEATHER}),
                json!({"do": "tools", "model": model, "prompt": WEATHER, "stream": true, "include_usage": true}),
            ]
        });
        json!(per_format.concat())
    };
    let walks = set.walk(steps).await;
    let (mut requests, mut charged) = (BTreeSet::new(), Credits::ZERO);
    for (client, answers) in &walks {
        for (step, answer) in steps(*client).as_array().unwrap().iter().zip(answers) {
            let turns = turns(*client, step, answer);
            for (at, turn) in turns.iter().enumerate() {
                let is_call = turns.len() == 2 && at == 0;
                assert_eq!(
                    turn["calls"].as_array().unwrap().len(),
                    usize::from(is_call),
                    "{client} {step}: {answer}"
                );
                assert_eq!(
                    turn["text"].as_str().unwrap_or_default().is_empty(),
                    is_call,
                    "{client} {step}: {answer}"
                );
                let tokens = counted(*client, turn);
                let receipt = set.user.usage(&text(&turn["request_id"])).await;
                let of = |class: &str| receipt["tokens"][class].as_u64().unwrap();
                assert_eq!((of("input"), of("output")), tokens, "{client} {step}: {answer}: {receipt}");
                assert_eq!(receipt["usage_source"], "provider", "{receipt}");
                assert_eq!(credits(&receipt["charge"]), price(tokens), "{receipt}");
                charged = charged.checked_add(price(tokens)).unwrap();
                requests.insert(text(&turn["request_id"]));
            }
        }
    }
    // Of each client two images, and two conversations that went on after a call.
    let upstream = |verb: &str| format!("/gemini/v1beta/models/{}:{verb}", upstream_name("gemini"));
    let mut contents = set.llmock.seen_at(&upstream("generateContent")).await;
    contents.extend(set.llmock.seen_at(&upstream("streamGenerateContent")).await);
    let seen = [
        (set.llmock.seen().await, json!({"url": format!("data:image/png;base64,{IMAGE}")}), "tool"),
        (
            set.llmock.seen_at("/anthropic/v1/messages").await,
            json!({"type": "base64", "media_type": "image/png", "data": IMAGE}),
            "tool_result",
        ),
        (contents, json!({"mimeType": "image/png", "data": IMAGE}), "functionResponse"),
    ];
    for (bodies, image, result) in seen {
        assert_eq!(bodies.len(), Official::ALL.len() * 6, "{result}");
        // Google's Python client writes `mime_type`, and what it writes passes through.
        let images = bodies.iter().filter(|body| {
            let other = json!({"mime_type": image["mimeType"], "data": image["data"]});
            contains(body, &image) || contains(body, &other)
        });
        assert_eq!(images.count(), Official::ALL.len() * 2, "{image}: {bodies:#?}");
        let results = bodies.iter().filter(|body| {
            body.to_string().contains(": 7 degrees") && body.to_string().contains(&format!("\"{result}\""))
        });
        assert_eq!(results.count(), Official::ALL.len() * 2, "{result}: {bodies:#?}");
    }
    set.closes(requests, charged).await;
}

/// Does this value stand anywhere inside? Of objects, with whatever else they say.
fn contains(whole: &Value, part: &Value) -> bool {
    let is_here = match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key) == Some(value))
        }
        _ => whole == part,
    };
    is_here
        || match whole {
            Value::Array(items) => items.iter().any(|it| contains(it, part)),
            Value::Object(items) => items.values().any(|it| contains(it, part)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_and_counts_of_tokens_reach_their_clients() {
    let mut answers = fixtures();
    let vector =
        json!({"match": {"inputText": "books", "endpoint": "embedding"}, "response": {"embedding": VECTOR}});
    answers.as_array_mut().unwrap().push(vector);
    let set = Set::up(&answers).await;
    for format in FORMATS {
        set.aimock_as(&format!("aimock {format}"), format).await;
        set.llmock_as(&format!("llmock {format}"), format).await;
    }
    let fake = FakeProvider::start(Behaviour::default()).await;
    let gemini = json!({"base_url": fake.url(), "api_format": "gemini"});
    set.operator.offers_as("vectors", gemini, INPUT, OUTPUT).await;
    let steps = |client: Official| {
        // By themselves OpenAI's clients ask for base64, which the two servers do not know; conversions do.
        let embed = |model: &str, float: bool| json!({"do": "embed", "model": model, "input": ["the books", "of the books"], "float": float});
        let count = |model: &str| json!({"do": "count", "model": model, "prompt": PROMPT});
        let embeds = [
            embed("aimock openai", true),
            embed("llmock openai", true),
            embed("vectors", false),
            embed("aimock claude", false),
        ];
        let counts = FORMATS.map(|format| count(&format!("aimock {format}")));
        match client.speaks {
            Speaks::OpenAi => json!(embeds),
            Speaks::Anthropic => json!(counts),
            Speaks::Google => json!([&embeds[..], &counts[..]].concat()),
        }
    };
    let (mut requests, mut charged) = (BTreeSet::new(), Credits::ZERO);
    let vectors = vec![VECTOR.to_vec(); 2];
    for (client, answers) in set.walk(steps).await {
        for (step, answer) in steps(client).as_array().unwrap().iter().zip(&answers) {
            let about = || format!("{client} {step}: {answer}");
            if step["do"] == "count" {
                // Neither server counts: these are the gateway's own guesses, from above.
                assert!((5..200).contains(&answer["tokens"].as_u64().unwrap()), "{}", about());
                continue;
            }
            if step["model"] == "aimock claude" {
                // Anthropic has no embeddings.
                assert_eq!(answer["status"], 400, "{}", about());
                continue;
            }
            let receipt = set.user.usage(&text(&answer["request_id"])).await;
            requests.insert(text(&answer["request_id"]));
            let input = receipt["tokens"]["input"].as_u64().unwrap();
            if step["model"] != "llmock openai" {
                let seen: Vec<Vec<f64>> = floats(&answer["vectors"]);
                assert_eq!(seen, vectors, "{}", about());
                // Neither counts: one says nothing, the other zero, which is not believed.
                assert_eq!(receipt["usage_source"], "estimated", "{receipt}");
                assert!((4..50).contains(&input), "{receipt}");
            } else {
                assert_eq!(answer["vectors"].as_array().unwrap().len(), 2, "{}", about());
                assert_eq!(receipt["usage_source"], "provider", "{receipt}");
                assert_eq!(input, 5, "{receipt}");
            }
            assert_eq!(credits(&receipt["charge"]), price((input, 0)), "{receipt}");
            charged = charged.checked_add(price((input, 0))).unwrap();
        }
    }
    // Google's clients ask for several vectors at once, which aimock does not know; one at a time it does.
    let own = set.gateway.nobody().with("x-goog-api-key", &set.key);
    let path = "/v1beta/models/aimock gemini:embedContent".replace(' ', "%20");
    let answer = own.post(&path, &json!({"content": {"parts": [{"text": "the books"}]}})).await;
    assert_eq!(floats(&json!([answer.ok()["embedding"]["values"]])), [VECTOR]);
    let request = answer.header("x-request-id").unwrap();
    let receipt = set.user.usage(request).await;
    let input = receipt["tokens"]["input"].as_u64().unwrap();
    assert!((2..50).contains(&input), "{receipt}");
    assert_eq!(credits(&receipt["charge"]), price((input, 0)), "{receipt}");
    charged = charged.checked_add(price((input, 0))).unwrap();
    requests.insert(request.to_owned());
    set.closes(requests, charged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_official_client_raises_its_own_exceptions() {
    let error = |status: u16, prompt: &str, kind: &str| {
        json!({"match": {"userMessage": prompt},
            "response": {"status": status, "error": {"message": format!("told to {prompt}"), "type": kind}, "retryAfter": 7}})
    };
    let set = Set::up(&json!([
        error(400, "refuse", "invalid_request_error"),
        error(500, "fail", "server_error"),
        error(429, "be busy", "rate_limit_error"),
    ]))
    .await;
    // Whoever meets a busy model, or fails five times in a row, shuts it to the next: such models serve one caller each.
    let prompts = ["refuse", "fail", "be busy"];
    let model = |client: Official, format: &str, prompt: &str, stream: bool| match prompt {
        "refuse" => format!("{format} {prompt}"),
        "fail" => format!("{format} {prompt} {client}"),
        _ => format!("{format} {prompt} {client} {stream}"),
    };
    for format in FORMATS {
        let provider = set.aimock_as(&format!("{format} here"), format).await;
        let models: BTreeSet<String> = Official::ALL
            .iter()
            .flat_map(|client| {
                prompts.map(|prompt| [false, true].map(|stream| model(*client, format, prompt, stream)))
            })
            .flatten()
            .collect();
        set.operator
            .offers_more(&provider, &models.iter().map(String::as_str).collect::<Vec<_>>(), INPUT, OUTPUT)
            .await;
    }
    let poor = User::with_credits(&set.gateway, &set.operator, "0.000001").await.makes_key().await;
    let steps = |client: Official| {
        let mut steps = vec![
            json!({"do": "chat", "model": "no-such-model", "prompt": "unknown"}),
            json!({"do": "chat", "model": "openai here", "prompt": "poor", "key": poor}),
            json!({"do": "chat", "model": "openai here", "prompt": "nobody", "key": "sk-of-nobody"}),
            json!({"do": "models", "prompt": "nobody", "key": "sk-of-nobody"}),
        ];
        for format in FORMATS {
            for (prompt, stream) in prompts.iter().flat_map(|prompt| [(prompt, false), (prompt, true)]) {
                let model = model(client, format, prompt, stream);
                steps.push(json!({"do": "chat", "model": model, "prompt": prompt, "stream": stream}));
            }
        }
        json!(steps)
    };
    let mut requests = BTreeSet::new();
    for (client, answers) in set.walk(steps).await {
        for (step, answer) in steps(client).as_array().unwrap().iter().zip(&answers) {
            raised(client, &text(&step["prompt"]), answer);
            if !prompts.contains(&text(&step["prompt"]).as_str()) {
                continue;
            }
            let receipt = set.user.usage(&text(&answer["request_id"])).await;
            assert_eq!(credits(&receipt["charge"]), Credits::ZERO, "{receipt}");
            let outcome = if step["prompt"] == "refuse" { "refused" } else { "provider_error" };
            assert_eq!(receipt["outcome"], outcome, "{receipt}");
            requests.insert(text(&answer["request_id"]));
        }
    }

    set.closes(requests, Credits::ZERO).await;
}

fn floats(vectors: &Value) -> Vec<Vec<f64>> {
    let vector = |it: &Value| it.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect();
    vectors.as_array().unwrap().iter().map(vector).collect()
}

/// Fails unless a client raised what it raises at its own provider in such a case.
fn raised(client: Official, case: &str, answer: &Value) {
    let (status, openai, anthropic, google, kind) = match case {
        "unknown" => (404, "NotFoundError", "NotFoundError", "ClientError", "NOT_FOUND"),
        "refuse" => (400, "BadRequestError", "BadRequestError", "ClientError", "INVALID_ARGUMENT"),
        "fail" => (502, "InternalServerError", "InternalServerError", "ServerError", "UNAVAILABLE"),
        "be busy" => (429, "RateLimitError", "RateLimitError", "ClientError", "RESOURCE_EXHAUSTED"),
        "poor" => (402, "APIStatusError", "PaymentRequiredError", "ClientError", "FAILED_PRECONDITION"),
        _ => (401, "AuthenticationError", "AuthenticationError", "ClientError", "UNAUTHENTICATED"),
    };
    let exception = match (client.speaks, client.is_node) {
        (Speaks::OpenAi, true) if case == "poor" => "APIError",
        (Speaks::OpenAi, _) => openai,
        (Speaks::Anthropic, _) => anthropic,
        (Speaks::Google, false) => google,
        (Speaks::Google, true) => "ApiError",
    };
    let about = || format!("{client} {case}: {answer}");
    assert_eq!(answer["status"], status, "{}", about());
    assert_eq!(answer["exception"], exception, "{}", about());
    assert!(answer["request_id"].is_string(), "{}", about());
    match client.speaks {
        Speaks::OpenAi | Speaks::Anthropic => {
            assert_eq!(answer["client_request_id"], answer["request_id"], "{}", about());
        }
        Speaks::Google => assert_eq!(answer["kind"], kind, "{}", about()),
    }
    if case == "refuse" {
        assert!(text(&answer["message"]).contains("told to refuse"), "{}", about());
    }
}

/// What goes wrong in the tests of faults, at which of the two servers.
const AIMOCK_FAULTS: [&str; 7] = ["drop", "garble", "hang up", "crowd", "wait", "truncate", "break off"];
const LLMOCK_FAULTS: [&str; 6] = ["disconnect", "truncate", "malformed", "stall", "overload", "dawdle"];
/// What both say unless a fault keeps them from it.
const LONG: &str = "The books balance to the billionth, whatever breaks on the way that leads to them.";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_aimock_breaks_a_client_notices_and_pays_for_what_it_got() {
    let fixture = |fault: &str, how: Value| {
        let usage = json!({"prompt_tokens": 30, "completion_tokens": 20});
        let mut fixture =
            json!({"match": {"userMessage": fault}, "response": {"content": LONG, "usage": usage}});
        fixture.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        fixture
    };
    let set = Set::up(&json!([
        fixture("drop", json!({"chaos": {"dropRate": 1}})),
        fixture("garble", json!({"chaos": {"malformedRate": 1}})),
        fixture("hang up", json!({"chaos": {"disconnectRate": 1}})),
        fixture("crowd", json!({"chaos": {"rateLimitRate": 1}})),
        fixture("wait", json!({"chaos": {"latencyMs": 300}})),
        fixture("truncate", json!({"truncateAfterChunks": 7, "latency": 20})),
        fixture("break off", json!({"latency": 60, "disconnectAfterMs": 500})),
    ]))
    .await;
    let mut providers = Vec::new();
    for format in FORMATS {
        providers.push((format, set.aimock_as(format, format).await));
    }
    // Cut are the streams that are truncated or broken off; of whole answers these faults are none.
    breaks(set, &providers, &AIMOCK_FAULTS, (4, 7, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_llmock_breaks_a_client_notices_and_pays_for_what_it_got() {
    let set = Set::up(&fixtures()).await;
    let of = |fault: &str, mut how: Value| {
        let model = json!(format!("{}*", upstream_name(fault)));
        if how["type"] == "stream_fault" {
            how["match"] = json!({"model": model, "stream": true});
        } else {
            how["match"] = json!({"model": model});
        }
        how["times"] = Value::Null;
        how
    };
    let broken = |kind: &str| {
        of(kind, json!({"type": "stream_fault", "kind": kind, "after_chunks": 7, "stall_seconds": 0.5}))
    };
    let behaviors = json!([
        {"type": "reply", "text": LONG, "times": null},
        broken("disconnect"), broken("truncate"), broken("malformed"), broken("stall"),
        of("overload", json!({"type": "fail", "status": 529, "retry_after": 1})),
        of("dawdle", json!({"type": "delay", "seconds": 0.3})),
    ]);
    set.llmock.api().post("/_llmock/scenario", &json!({"behaviors": behaviors})).await.ok();
    let mut providers = Vec::new();
    for format in FORMATS {
        providers.push((format, set.llmock_as(format, format).await));
    }
    breaks(set, &providers, &LLMOCK_FAULTS, (7, 2, 3)).await;
}

/// Every client meets every fault in every format, whole and streamed; so many answers of a client and a format must be
/// complete, fail, and be cut.
async fn breaks(set: Set, providers: &[(&str, Value)], faults: &[&str], expected: (usize, usize, usize)) {
    // A model for each client and fault: who fails five times in a row would shut it to the others.
    let model =
        |client: Official, fault: &str, format: &str| format!("{fault} {format} {client}").replace(' ', "-");
    for (format, provider) in providers {
        let models: Vec<String> = faults
            .iter()
            .flat_map(|fault| Official::ALL.map(|client| model(client, fault, format)))
            .collect();
        let models: Vec<&str> = models.iter().map(String::as_str).collect();
        set.operator.offers_more(provider, &models, INPUT, OUTPUT).await;
    }
    let steps = |client: Official| {
        let mut steps = Vec::new();
        for fault in faults {
            for (format, _) in providers {
                // A busy model is left alone for a while, so it is asked once.
                let streams = if *fault == "crowd" { vec![true] } else { vec![false, true] };
                for stream in streams {
                    let model = model(client, fault, format);
                    steps.push(json!({"do": "chat", "model": model, "prompt": fault, "stream": stream, "include_usage": true}));
                }
            }
        }
        json!(steps)
    };
    let (mut requests, mut charged) = (BTreeSet::new(), Credits::ZERO);
    let (mut complete, mut failed, mut cut) = (0, 0, 0);
    for (client, answers) in set.walk(steps).await {
        for (step, answer) in steps(client).as_array().unwrap().iter().zip(&answers) {
            let receipt = set.user.usage(&text(&answer["request_id"])).await;
            let about = format!("{client} {step}: {answer}: {receipt}");
            let of = |class: &str| receipt["tokens"][class].as_u64().unwrap();
            let (tokens, heard) = ((of("input"), of("output")), answer["text"].as_str().unwrap_or_default());
            if answer.get("exception").is_none() {
                assert_eq!(heard, LONG, "a whole answer, or an exception: {about}");
                assert_eq!(
                    (&receipt["outcome"], &receipt["usage_source"]),
                    (&json!("completed"), &json!("provider")),
                    "{about}"
                );
                assert_eq!(tokens, counted(client, answer), "{about}");
                complete += 1;
            } else {
                assert!(LONG.starts_with(heard) && heard != LONG, "{about}");
                assert_eq!(receipt["outcome"], "provider_error", "{about}");
                assert_eq!(receipt["usage_source"], "estimated", "{about}");
                let exception = text(&answer["exception"]);
                if heard.is_empty() {
                    // Nothing came, nothing is paid.
                    assert_eq!(tokens, (0, 0), "{about}");
                    raised(client, if step["prompt"] == "crowd" { "be busy" } else { "fail" }, answer);
                    failed += 1;
                } else {
                    // An estimate of what came, and of no more.
                    assert!(tokens.0 > 0 && tokens.1 > 0 && tokens.1 < 20, "{about}");
                    let own: &[&str] = match (client.speaks, client.is_node) {
                        (Speaks::OpenAi, _) | (Speaks::Anthropic, true) => &["APIError"],
                        (Speaks::Anthropic, false) => &["APIStatusError"],
                        (Speaks::Google, false) => &["ServerError"],
                        (Speaks::Google, true) => &["ApiError"],
                    };
                    assert!(own.contains(&exception.as_str()), "{about}");
                    cut += 1;
                }
            }
            assert_eq!(credits(&receipt["charge"]), price(tokens), "{about}");
            charged = charged.checked_add(price(tokens)).unwrap();
            requests.insert(text(&answer["request_id"]));
        }
    }
    let walks = FORMATS.len() * Official::ALL.len();
    assert_eq!((complete, failed, cut), (expected.0 * walks, expected.1 * walks, expected.2 * walks));
    set.closes(requests, charged).await;
}
