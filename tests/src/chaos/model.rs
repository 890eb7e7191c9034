//! A provider for calls that are cut off: it says as many tokens as it is asked for, at the pace that it is asked for, and
//! remembers by the call's tag how many it has said.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

/// A running one.
pub struct Model {
    url: String,
    said: Arc<Mutex<HashMap<u64, Said>>>,
    server: tokio::task::JoinHandle<()>,
}

/// What was said to a call.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// When the call came in.
    pub asked: SystemTime,
    /// Tokens so far.
    pub tokens: u64,
    /// Is more to come?
    pub speaking: bool,
}

/// A piece of text that the gateway's estimate takes for one token.
const TOKEN: &str = " tok";

/// The body of a call: a prompt that says who calls and how slowly to answer.
pub fn ask(model: &str, tag: u64, tokens: u64, pause: Duration, streamed: bool) -> Value {
    let prompt = format!("{tag} {}", pause.as_millis());
    json!({"model": model, "max_tokens": tokens, "stream": streamed, "messages": [{"role": "user", "content": prompt}]})
}

impl Model {
    /// Starts it.
    pub async fn start() -> Self {
        let said: Arc<Mutex<HashMap<u64, Said>>> = Arc::default();
        let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(said.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, said, server }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was said to a call; `None`: it never came in.
    pub fn said(&self, tag: u64) -> Option<Said> {
        self.said.lock().unwrap().get(&tag).copied()
    }

    /// Streams that have begun and not ended.
    pub fn speaking(&self) -> usize {
        self.said.lock().unwrap().values().filter(|said| said.speaking && said.tokens > 0).count()
    }

    /// Forgets all calls.
    pub fn forget(&self) {
        self.said.lock().unwrap().clear();
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Notes the end of an answer, also when nobody listens any more.
struct Speaking {
    said: Arc<Mutex<HashMap<u64, Said>>>,
    tag: u64,
}

impl Speaking {
    fn says(&self, tokens: u64) {
        if let Some(said) = self.said.lock().unwrap().get_mut(&self.tag) {
            said.tokens += tokens;
        }
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        if let Some(said) = self.said.lock().unwrap().get_mut(&self.tag) {
            said.speaking = false;
        }
    }
}

async fn complete(State(said): State<Arc<Mutex<HashMap<u64, Said>>>>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let prompt = body["messages"][0]["content"].as_str().unwrap();
    let (tag, pause) = prompt.split_once(' ').unwrap();
    let (tag, pause) = (tag.parse().unwrap(), Duration::from_millis(pause.parse().unwrap()));
    let tokens = body["max_tokens"].as_u64().unwrap();
    let before =
        said.lock().unwrap().insert(tag, Said { asked: SystemTime::now(), tokens: 0, speaking: true });
    assert!(before.is_none(), "call {tag} reached the provider twice");
    let speaking = Speaking { said, tag };
    let usage = json!({"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens});
    if body["stream"] != true {
        tokio::time::sleep(pause).await;
        speaking.says(tokens);
        let text = TOKEN.repeat(usize::try_from(tokens).unwrap());
        let body = json!({
            "id": "chatcmpl-chaos", "object": "chat.completion", "created": 1_795_000_000, "model": body["model"], "usage": usage,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        });
        return ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
    }
    let model = body["model"].clone();
    let event = move |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({
            "id": "chatcmpl-chaos", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": model, "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        format!("data: {chunk}\n\n")
    };
    let mut events: Vec<(u64, String)> = (0..tokens)
        .map(|_| (1, event(json!([{"index": 0, "delta": {"content": TOKEN}, "finish_reason": null}]), None)))
        .collect();
    events.push((0, event(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), None)));
    if body["stream_options"]["include_usage"] == true {
        events.push((0, event(json!([]), Some(&usage))));
    }
    events.push((0, "data: [DONE]\n\n".to_owned()));
    let body = stream::iter(events).then(move |(tokens, event)| {
        // Said before it is sent: the count is what was delivered or more.
        speaking.says(tokens);
        async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(event)
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}
