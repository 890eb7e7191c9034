//! A provider that does as it is told: an OpenAI-compatible server on loopback for tests of concurrency and faults.
//!
//! Ordinary behaviour is judged against servers that this project did not write ([`crate::foreign`]); this one exists
//! to hold calls back, break off, and report any token counts.

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::watch;

/// The vector of every text.
pub const VECTOR: [f64; 3] = [0.5, -0.25, 1.0];

/// How it answers.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// HTTP status; anything but 200 answers an error.
    pub status: u16,
    /// `prompt_tokens` and `completion_tokens`; `None`: no usage at all.
    pub usage: Option<(u64, u64)>,
    /// Pieces of text, each one an event of a stream.
    pub pieces: Vec<String>,
    /// Breaks the connection off after so many pieces of a stream.
    pub cut_after: Option<usize>,
}

impl Default for Behaviour {
    fn default() -> Self {
        let pieces = ["The", " books", " balance."].map(str::to_owned).to_vec();
        Self { status: 200, usage: Some((10, 20)), pieces, cut_after: None }
    }
}

/// A running fake provider.
pub struct FakeProvider {
    url: String,
    state: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its JSON.
    pub body: Value,
    /// Its headers.
    pub headers: HeaderMap,
}

impl FakeProvider {
    /// Starts one with its gate open.
    pub async fn start(behaviour: Behaviour) -> Self {
        let state = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            seen: Mutex::default(),
            open: watch::Sender::new(true),
            waiting: watch::Sender::new(0),
        });
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models/{*verb}", post(embed))
            .with_state(state.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, server }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers differently from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }

    /// From now on calls wait at the gate until it is opened.
    pub fn close_gate(&self) {
        self.state.open.send_replace(false);
    }

    /// Lets everybody through.
    pub fn open_gate(&self) {
        self.state.open.send_replace(true);
    }

    /// Waits until so many calls stand at the gate.
    pub async fn until_waiting(&self, calls: usize) {
        let mut waiting = self.state.waiting.subscribe();
        let reached =
            tokio::time::timeout(Duration::from_secs(60), waiting.wait_for(|now| *now >= calls)).await;
        assert!(reached.is_ok(), "{} calls reached the provider, {calls} were expected", self.waiting());
    }

    /// How many calls stand at the gate.
    pub fn waiting(&self) -> usize {
        *self.state.waiting.borrow()
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Counts a call that waits, also when its caller leaves and the future is dropped.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|now| *now += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|now| *now -= 1);
    }
}

async fn complete(State(state): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    state.seen.lock().unwrap().push(Seen { body: body.clone(), headers });
    {
        let waiting = Waiting::new(&state.waiting);
        state.open.subscribe().wait_for(|open| *open).await.unwrap();
        drop(waiting);
    }
    let behaviour = state.behaviour.lock().unwrap().clone();
    if behaviour.status != 200 {
        let error = json!({"error": {"message": "told to fail", "type": "server_error", "code": null, "param": null}});
        let status = StatusCode::from_u16(behaviour.status).unwrap();
        return (status, [(header::CONTENT_TYPE, "application/json")], error.to_string()).into_response();
    }
    let usage = behaviour.usage.map(|(prompt, completion)| {
        json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
    });
    if body["stream"] == true { streamed(&body, &behaviour, usage) } else { whole(&body, &behaviour, usage) }
}

/// Vectors in Gemini's words, for several texts at once: neither of the servers that this project did not write has them.
async fn embed(State(state): State<Arc<Shared>>, headers: HeaderMap, Json(body): Json<Value>) -> Json<Value> {
    let texts = body["requests"].as_array().map_or(0, Vec::len);
    state.seen.lock().unwrap().push(Seen { body, headers });
    Json(json!({"embeddings": vec![json!({"values": VECTOR}); texts]}))
}

fn whole(request: &Value, behaviour: &Behaviour, usage: Option<Value>) -> Response {
    let message = json!({"role": "assistant", "content": behaviour.pieces.concat()});
    let mut body = json!({
        "id": "chatcmpl-fake", "object": "chat.completion", "created": 1_795_000_000, "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    });
    if let Some(usage) = usage {
        body["usage"] = usage;
    }
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn streamed(request: &Value, behaviour: &Behaviour, usage: Option<Value>) -> Response {
    let event = |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({
            "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1_795_000_000,
            "model": request["model"], "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        format!("data: {chunk}\n\n")
    };
    let mut events: Vec<Result<String, std::io::Error>> = Vec::new();
    for (index, piece) in behaviour.pieces.iter().enumerate() {
        if behaviour.cut_after == Some(index) {
            break;
        }
        events
            .push(Ok(event(json!([{"index": 0, "delta": {"content": piece}, "finish_reason": null}]), None)));
    }
    if behaviour.cut_after.is_some() {
        // A chunked body that ends without its last chunk.
        events.push(Err(std::io::Error::other("told to break off")));
    } else {
        events.push(Ok(event(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), None)));
        if request["stream_options"]["include_usage"] == true {
            events.extend(usage.map(|usage| Ok(event(json!([]), Some(&usage)))));
        }
        events.push(Ok("data: [DONE]\n\n".to_owned()));
    }
    // One event at a time, so that a break reaches the reader after what came before it.
    let body = stream::iter(events).then(async |event| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        event
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}
