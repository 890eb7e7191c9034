//! Many streams held open at once: what each takes of memory, and whether all of them come to their end.

use super::driver::request;
use super::rounds::Stage;
use super::tree::Tree;
use super::wire::{Head, Wire, find};
use super::{mock, print_circumstances};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How many streams are held open.
pub const STREAMS: usize = 5000;
/// For how long.
pub const HOLD: Duration = Duration::from_secs(60);
/// How many are being opened at a time.
const OPENING: usize = 64;
/// How many are read to their end at a time.
const ENDING: usize = 256;

struct Open {
    wire: Wire,
    head: Head,
    text: Vec<u8>,
}

/// Opens the streams, holds them, reads them to their end, and prints what they took.
pub async fn run(count: usize, hold: Duration) {
    print_circumstances();
    let stage = Stage::set().await;
    let tree = Tree::of(stage.gateway.id());
    // What the first streams bring into memory is not theirs.
    end(&stage, open(&stage, OPENING).await).await;
    let (own_before, all_before) = tree.memory_kib();
    let begun = Instant::now();
    let streams = open(&stage, count).await;
    let opening = begun.elapsed();
    let cpu = tree.cpu();
    tokio::time::sleep(hold).await;
    let (own, all) = tree.memory_kib();
    let used = tree.cpu() - cpu;
    let per_stream = |kib: u64| {
        let bytes = kib * 1024 / u64::try_from(count).unwrap();
        format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024)
    };
    let opened = streams.iter().filter(|stream| stream.is_ok()).count();
    let whole = end(&stage, streams).await;
    println!(
        "\n{count} streams, opened within {:.1} s, held for {} s: {opened} opened, {whole} came whole to their end, {} failed",
        opening.as_secs_f32(),
        hold.as_secs(),
        count - whole,
    );
    println!(
        "memory per stream: {} ({} with the nats-server); in all {} MiB from {} MiB; processor time while held: {:.2} s",
        per_stream(own.saturating_sub(own_before)),
        per_stream(all.saturating_sub(all_before)),
        own / 1024,
        own_before / 1024,
        used.as_secs_f32(),
    );
    assert_eq!(whole, count, "streams failed");
    stage.leave().await;
}

/// Opens streams and reads the first chunk of each.
async fn open(stage: &Stage, count: usize) -> Vec<io::Result<Open>> {
    let request: Arc<[u8]> = request(&stage.key, mock::IDLE, true).into();
    let permits = Arc::new(Semaphore::new(OPENING));
    let opening: Vec<_> = (0..count)
        .map(|_| {
            let (request, permits, address) = (request.clone(), permits.clone(), stage.address);
            tokio::spawn(async move {
                let _permit = permits.acquire().await.expect("it is never closed");
                open_one(address, &request).await
            })
        })
        .collect();
    let mut streams = Vec::with_capacity(count);
    for one in opening {
        let stream = one.await.expect("callers do not panic");
        if let (Err(error), true) = (&stream, streams.iter().all(io::Result::is_ok)) {
            eprintln!("a stream could not be opened: {error}");
        }
        streams.push(stream);
    }
    streams
}

async fn open_one(address: SocketAddr, request: &[u8]) -> io::Result<Open> {
    let mut wire = Wire::new(TcpStream::connect(address).await?)?;
    wire.send(request).await?;
    let mut head = wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut text = Vec::new();
    while find(&text, b"word0").is_none() {
        if !wire.piece(&mut head, &mut text).await? {
            return Err(io::Error::other(String::from_utf8_lossy(&text).into_owned()));
        }
    }
    Ok(Open { wire, head, text })
}

/// Lets all streams end and reads them; answers how many were whole.
async fn end(stage: &Stage, streams: Vec<io::Result<Open>>) -> usize {
    let mut release = Wire::new(TcpStream::connect(stage.mock.address).await.unwrap()).unwrap();
    release.send(format!("POST {} HTTP/1.1\r\n\r\n", mock::RELEASE).as_bytes()).await.unwrap();
    release.head().await.unwrap().expect("the mock answers");
    let permits = Arc::new(Semaphore::new(ENDING));
    let ending: Vec<_> = streams
        .into_iter()
        .flatten()
        .map(|stream| {
            let permits = permits.clone();
            tokio::spawn(async move {
                let _permit = permits.acquire().await.expect("it is never closed");
                let Open { mut wire, head, mut text } = stream;
                let read = wire.body(head, &mut text).await;
                let chunks =
                    text.split(|byte| *byte == b'\n').filter(|line| find(line, b" word").is_some()).count();
                read.is_ok() && chunks == mock::CHUNKS && text.ends_with(b"data: [DONE]\n\n")
            })
        })
        .collect();
    let mut whole = 0;
    for one in ending {
        whole += usize::from(one.await.expect("callers do not panic"));
    }
    whole
}
