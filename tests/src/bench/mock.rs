//! A provider that answers at once: about 1 KiB of JSON, or a stream of fifty chunks, each sent by itself.
//!
//! A stream whose prompt is [`IDLE`] sends one chunk and a comment now and then, until somebody asks [`RELEASE`].

use super::wire::{Wire, find};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How many chunks of text a stream has.
pub const CHUNKS: usize = 50;
/// The prompt of a stream that is held open.
pub const IDLE: &str = "be idle";
/// The path that lets all idle streams end.
pub const RELEASE: &str = "/release";
/// How often an idle stream says that it lives.
const COMMENT_EVERY: Duration = Duration::from_secs(10);

struct Answers {
    whole: Vec<u8>,
    head: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    comment: Vec<u8>,
}

/// Serves on a port of loopback for ever.
pub async fn serve(port: u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap();
    let listener: TcpListener = socket.listen(8192).unwrap();
    let answers = Arc::new(Answers::new());
    let released = watch::Sender::new(0_u64);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answers, released) = (answers.clone(), released.clone());
        tokio::spawn(async move {
            // A caller that breaks off is a caller that left.
            let _ = converse(Wire::new(stream)?, &answers, &released).await;
            std::io::Result::Ok(())
        });
    }
}

async fn converse(mut wire: Wire, answers: &Answers, released: &watch::Sender<u64>) -> std::io::Result<()> {
    let mut body = Vec::new();
    while let Some(head) = wire.head().await? {
        let is_release = head.first.contains(RELEASE);
        body.clear();
        wire.body(head, &mut body).await?;
        if is_release {
            released.send_modify(|times| *times += 1);
            wire.send(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        } else if find(&body, br#""stream":true"#).is_none() {
            wire.send(&answers.whole).await?;
        } else if find(&body, IDLE.as_bytes()).is_some() {
            idle(&mut wire, answers, released.subscribe()).await?;
        } else {
            wire.send(&answers.head).await?;
            for chunk in &answers.chunks {
                wire.send(chunk).await?;
                // Others get their turn, as between the tokens of a model.
                tokio::task::yield_now().await;
            }
        }
    }
    Ok(())
}

async fn idle(wire: &mut Wire, answers: &Answers, mut released: watch::Receiver<u64>) -> std::io::Result<()> {
    wire.send(&answers.head).await?;
    wire.send(&answers.chunks[0]).await?;
    while tokio::time::timeout(COMMENT_EVERY, released.changed()).await.is_err() {
        wire.send(&answers.comment).await?;
    }
    for chunk in &answers.chunks[1..] {
        wire.send(chunk).await?;
    }
    Ok(())
}

impl Answers {
    fn new() -> Self {
        let usage = json!({
            "prompt_tokens": 57, "completion_tokens": 50, "total_tokens": 107,
            "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0},
        });
        let message = json!({"role": "assistant", "content": "A sentence of an answer. ".repeat(28)});
        let whole = json!({
            "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_795_000_000, "model": "upstream-bench",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage,
        })
        .to_string();
        let whole = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{whole}",
            whole.len()
        );
        let event = |choices: serde_json::Value, usage: &serde_json::Value| {
            let chunk = json!({
                "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_795_000_000,
                "model": "upstream-bench", "choices": choices, "usage": usage,
            });
            framed(&format!("data: {chunk}\n\n"))
        };
        let none = serde_json::Value::Null;
        let text = |n: usize| json!([{"index": 0, "delta": {"content": format!(" word{n}")}, "finish_reason": null}]);
        let mut chunks: Vec<_> = (0..CHUNKS).map(|n| event(text(n), &none)).collect();
        chunks.push(event(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), &none));
        chunks.push(event(json!([]), &usage));
        chunks.push(framed("data: [DONE]\n\n"));
        chunks.push(b"0\r\n\r\n".to_vec());
        Self {
            whole: whole.into_bytes(),
            head: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                .to_vec(),
            chunks,
            comment: framed(": still here\n\n"),
        }
    }
}

fn framed(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}
