//! Callers that leave, a hundred at once, and what is left of their calls: the charge, and nothing else.

use super::*;
use std::sync::atomic::AtomicUsize;
use tokio::sync::watch;

/// Streams that a provider has open: each counts itself while it lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A provider that streams as far as its gate lets it: 1 the role, 2 a word, 3 all the rest.
async fn gated(gate: watch::Receiver<u8>, open: Arc<AtomicUsize>) -> Provider {
    provider(move |_| {
        let (gate, open) = (gate.clone(), Open::new(&open));
        let steps = [(1, ROLE), (2, HELLO), (3, THERE), (3, FINISH), (3, USAGE), (3, DONE)];
        sse_of(stream::unfold((steps.into_iter(), gate, open), |(mut steps, mut gate, open)| async move {
            let (level, event) = steps.next()?;
            gate.wait_for(|open_to| *open_to >= level).await.ok()?;
            Some((Ok(Bytes::from_static(event.as_bytes())), (steps, gate, open)))
        }))
    })
    .await
}

#[derive(Clone, Copy, Debug)]
enum Leaves {
    BeforeTheHead,
    AtTheFirstByte,
    MidStream,
    AfterTheLastByte,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_that_leave_at_any_moment_leave_nothing_behind_but_their_bills() {
    let (gate_keeper, gate) = watch::channel(0_u8);
    let open = Arc::new(AtomicUsize::new(0));
    let provider = gated(gate, Arc::clone(&open)).await;
    let gateway = Arc::new(gateway(ranked(&[&provider.url])).await);
    let kinds = [Leaves::BeforeTheHead, Leaves::AtTheFirstByte, Leaves::MidStream, Leaves::AfterTheLastByte];
    let (go, leave_now) = watch::channel(false);
    let (left, mut left_by) = watch::channel(0_usize);
    let (seen, mut seen_by) = watch::channel(0_usize);
    let marks = Arc::new(Marks { leave_now, left, seen });
    let callers: Vec<_> = (0..100)
        .map(|index| {
            let (gateway, leaves, marks) =
                (Arc::clone(&gateway), kinds[index % kinds.len()], Arc::clone(&marks));
            tokio::spawn(async move { leave(&gateway, leaves, &marks).await })
        })
        .collect();
    // All of them are at the provider before the first word; those who leave before the head leave now.
    while provider.calls.lock().unwrap().len() < 100 {
        tokio::task::yield_now().await;
    }
    go.send(true).unwrap();
    left_by.wait_for(|count| *count == 25).await.unwrap();
    gate_keeper.send(2).unwrap();
    // All who stay have the first word before the rest comes.
    seen_by.wait_for(|count| *count >= 75).await.unwrap();
    gate_keeper.send(3).unwrap();
    for caller in callers {
        caller.await.unwrap();
    }
    let records = gateway.settled().await;
    assert_eq!((records.len(), gateway.relay.in_flight()), (100, 0));
    let of = |outcome| records.iter().filter(|record| record.outcome == outcome).count();
    assert_eq!((of(Outcome::Completed) + of(Outcome::ClientGone), of(Outcome::Completed) >= 25), (100, true));
    // The provider counted every call, and was heard out by all: each is charged exactly what it counted.
    for record in &records {
        assert_eq!((record.charge.to_string(), record.usage_source), (CHARGE.into(), UsageSource::Provider));
    }
    let spent: i64 = records.iter().map(|record| record.charge.nano()).sum();
    assert_eq!(gateway.wallet.0.lock().unwrap().available, PLENTY - spent);
    tokio::time::timeout(Duration::from_secs(20), async {
        while open.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("every stream of the provider has ended");
}

/// How the callers and the test keep step.
struct Marks {
    leave_now: watch::Receiver<bool>,
    left: watch::Sender<usize>,
    seen: watch::Sender<usize>,
}

async fn leave(gateway: &Gateway, leaves: Leaves, marks: &Marks) {
    // A connection of its own, so that leaving closes it.
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let request = client
        .post(format!("{}/v1/chat/completions", gateway.url))
        .bearer_auth(&gateway.key)
        .header("content-type", "application/json")
        .body(body(STREAM));
    if matches!(leaves, Leaves::BeforeTheHead) {
        let mut leave_now = marks.leave_now.clone();
        tokio::select! {
            _ = request.send() => panic!("there is no head before the first word"),
            told = leave_now.wait_for(|now| *now) => drop(told.unwrap()),
        }
        return marks.left.send_modify(|count| *count += 1);
    }
    let mut response = request.send().await.unwrap();
    let mut text = Vec::from(response.chunk().await.unwrap().unwrap());
    marks.seen.send_modify(|count| *count += 1);
    match leaves {
        Leaves::BeforeTheHead | Leaves::AtTheFirstByte => {}
        Leaves::MidStream => {
            while !String::from_utf8_lossy(&text).contains("Hello ") {
                text.extend(response.chunk().await.unwrap().unwrap());
            }
        }
        Leaves::AfterTheLastByte => {
            while let Some(chunk) = response.chunk().await.unwrap() {
                text.extend(chunk);
            }
            assert!(text.ends_with(DONE.as_bytes()));
        }
    }
}

#[tokio::test]
async fn an_answer_beyond_all_measure_is_not_read_to_its_end() {
    // A hundred megabytes, of which the relay may take one.
    let huge = provider(|_| {
        let piece = Bytes::from(vec![b' '; 1 << 20]);
        let pieces = stream::iter((0..100).map(move |_| Ok::<_, io::Error>(piece.clone())));
        ([("content-type", "application/json")], Body::from_stream(pieces)).into_response()
    })
    .await;
    let endless = provider(|_| {
        let piece = Bytes::from(vec![b'x'; 1 << 20]);
        sse_of(stream::iter((0..100).map(move |_| Ok(piece.clone()))))
    })
    .await;
    for (url, fields, code) in [(&huge.url, "", "answer_too_long"), (&endless.url, STREAM, "event_too_long")]
    {
        let options =
            RelayOptions { max_response_bytes: 1 << 20, max_event_bytes: 1 << 20, ..RelayOptions::default() };
        let gateway = gateway_with(options, PLENTY, ranked(&[url])).await;
        assert_eq!(gateway.call(fields).await.status(), 502);
        let record = gateway.settled_one().await;
        assert_eq!((record.attempts[0].error.clone(), record.charge), (Some(label(code)), Credits::ZERO));
    }
}
