//! Callers who ask again as soon as they are answered, and read every answer to its end.

use super::wire::Wire;
use super::{MODEL, ourselves};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// What to drive.
#[derive(Clone, Debug)]
pub struct Task {
    /// Where the calls go.
    pub address: SocketAddr,
    /// The callers' key.
    pub key: String,
    /// Streams, or whole answers?
    pub streams: bool,
    /// How many callers there are, each with a connection of its own.
    pub connections: usize,
    /// For how long they begin new calls.
    pub time: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Driven {
    /// Answers that were read to their end.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// From the first call's begin to the last one's end.
    pub time: Duration,
    /// Half of the calls took no longer.
    pub p50: Duration,
    /// Of a hundred calls one took longer.
    pub p99: Duration,
}

/// Drives in a process of its own, on the core of the others.
pub async fn drive(task: &Task) -> Driven {
    let text = json!([
        task.address.to_string(),
        task.key,
        task.streams,
        task.connections,
        u64::try_from(task.time.as_millis()).unwrap()
    ]);
    let output = ourselves(&["drive", &text.to_string()]).stderr(Stdio::inherit()).output().await.unwrap();
    let told: [u64; 5] = serde_json::from_slice(&output.stdout).expect("the driver tells its figures");
    let [calls, errors, time, p50, p99] = told;
    let micros = Duration::from_micros;
    Driven { calls, errors, time: micros(time), p50: micros(p50), p99: micros(p99) }
}

/// The driver's process: does what it was told, and prints its figures.
pub async fn run(task: &Value) {
    let number = |index: usize| task[index].as_u64().expect("a number");
    let task = Task {
        address: task[0].as_str().and_then(|text| text.parse().ok()).expect("an address"),
        key: task[1].as_str().expect("a key").to_owned(),
        streams: task[2].as_bool().expect("streams or not"),
        connections: usize::try_from(number(3)).unwrap(),
        time: Duration::from_millis(number(4)),
    };
    let request = request(&task.key, "Tell me something about proxies.", task.streams);
    let begun = Instant::now();
    let until = begun + task.time;
    let callers: Vec<_> = (0..task.connections)
        .map(|_| tokio::spawn(call_until(task.address, request.clone(), task.streams, until)))
        .collect();
    let (mut latencies, mut calls, mut errors) = (Vec::new(), 0, 0);
    for caller in callers {
        let made = caller.await.expect("callers do not panic");
        calls += made.calls;
        errors += made.errors;
        latencies.extend(made.latencies);
    }
    let time = u64::try_from(begun.elapsed().as_micros()).unwrap();
    latencies.sort_unstable();
    let at = |percent: usize| {
        latencies
            .get((latencies.len() * percent / 100).min(latencies.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    println!("{}", json!([calls, errors, time, at(50), at(99)]));
}

#[derive(Default)]
struct Made {
    calls: u64,
    errors: u64,
    /// In microseconds. The first call of a connection, which waits for its making, is left out.
    latencies: Vec<u64>,
}

async fn call_until(address: SocketAddr, request: Vec<u8>, streams: bool, until: Instant) -> Made {
    let mut made = Made::default();
    let mut body = Vec::new();
    while Instant::now() < until {
        let ended = call_on(address, &request, streams, until, &mut made, &mut body).await;
        if let Err(error) = ended {
            made.errors += 1;
            if made.errors == 1 {
                eprintln!("a call failed: {error}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    made
}

/// Calls on one connection until the time is over or it breaks.
async fn call_on(
    address: SocketAddr,
    request: &[u8],
    streams: bool,
    until: Instant,
    made: &mut Made,
    body: &mut Vec<u8>,
) -> io::Result<()> {
    let mut wire = Wire::new(TcpStream::connect(address).await?)?;
    let mut is_first = true;
    while Instant::now() < until {
        let begun = Instant::now();
        body.clear();
        ask(&mut wire, request, streams, body).await?;
        made.calls += 1;
        if !is_first {
            made.latencies.push(u64::try_from(begun.elapsed().as_micros()).unwrap());
        }
        is_first = false;
    }
    Ok(())
}

/// One call, read to its end.
pub async fn ask(wire: &mut Wire, request: &[u8], streams: bool, body: &mut Vec<u8>) -> io::Result<()> {
    wire.send(request).await?;
    let head = wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let is_ok = head.first.starts_with("HTTP/1.1 200");
    wire.body(head, body).await?;
    let end: &[u8] = if streams { b"data: [DONE]\n\n" } else { b"}" };
    if is_ok && body.ends_with(end) {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned()))
    }
}

/// A request's bytes.
pub fn request(key: &str, prompt: &str, streams: bool) -> Vec<u8> {
    let system =
        "You are an assistant who answers in short and friendly sentences, and never makes anything up.";
    let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": prompt}]);
    let mut body = json!({"model": MODEL, "messages": messages, "max_tokens": 200, "temperature": 0.7});
    if streams {
        body["stream"] = true.into();
    }
    let body = body.to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
