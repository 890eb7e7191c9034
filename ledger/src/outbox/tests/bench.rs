//! What an append costs. Run in a release build:
//! `cargo test --release -p ledger outbox::tests::bench -- --ignored --nocapture`.

use super::*;
use domain::Label;

/// A record of about 900 bytes of JSON, as a real call makes it.
fn realistic(n: u64) -> Entry {
    let mut record = record(n);
    let label = |text: &str| Label::try_new(text).unwrap();
    record.usage.model = label("claude-sonnet-4-5-20250929");
    record.usage.upstream_model = label("anthropic/claude-sonnet-4-5-20250929");
    record.usage.provider = label("antinomy");
    record.usage.ttft_ms = Some(312);
    record.usage.duration_ms = 4211;
    Entry::Settled { record }
}

fn report(what: &str, mut each: Vec<Duration>) {
    each.sort();
    let at = |share: usize| each[(each.len() - 1) * share / 1000];
    let (median, p99, p999, most) = (at(500), at(990), at(999), at(1000));
    println!(
        "{what:<46} median {median:>10.1?}   p99 {p99:>10.1?}   p99.9 {p999:>10.1?}   max {most:>10.1?}"
    );
}

fn per_second(count: usize, since: Instant) -> u128 {
    count as u128 * 1_000_000 / since.elapsed().as_micros().max(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a release build"]
async fn what_an_append_costs() {
    const APPENDS: u64 = 50_000;
    let bytes = serde_json::to_vec(&realistic(1)).unwrap().len();
    println!("one entry: {bytes} bytes");
    for flush in [Flush::default(), Flush::BeforeAnswer, Flush::Manual] {
        let dir = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        Faults::in_folder(dir.path()).flush_really();
        let outbox = open(OutboxOptions { flush, ..OutboxOptions::at(dir.path()) });
        let begun = Instant::now();
        let mut each = Vec::new();
        for n in 1..=APPENDS {
            let entry = realistic(n);
            let before = Instant::now();
            let _written = outbox.append(&entry).unwrap();
            each.push(before.elapsed());
        }
        let rate = per_second(each.len(), begun);
        report(&format!("{flush:?}: append, {rate}/s"), each);
        drop(outbox);

        // As calls come: some time between them.
        let outbox = open(OutboxOptions { flush, ..OutboxOptions::at(dir.path()) });
        let mut each = Vec::new();
        for n in 1..=5000 {
            let entry = realistic(APPENDS + n);
            let before = Instant::now();
            let _written = outbox.append(&entry).unwrap();
            each.push(before.elapsed());
            std::thread::sleep(Duration::from_micros(200));
        }
        report(&format!("{flush:?}: append, about 4000/s"), each);
        drop(outbox);
        if flush == Flush::Manual {
            let begun = Instant::now();
            let recovered = recover(dir.path()).unwrap();
            println!("reading {} records back: {:?}", recovered.settled.len(), begun.elapsed());
        }
    }
    for callers in [1, 64] {
        let dir = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        Faults::in_folder(dir.path()).flush_really();
        let outbox = open(OutboxOptions { flush: Flush::BeforeAnswer, ..OutboxOptions::at(dir.path()) });
        let begun = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|caller| {
                let outbox = outbox.clone();
                tokio::spawn(async move {
                    let mut each = Vec::new();
                    for n in 1..=2000 / callers {
                        let entry = realistic(caller * 10_000 + n);
                        let before = Instant::now();
                        outbox.append(&entry).unwrap().durable().await.unwrap();
                        each.push(before.elapsed());
                    }
                    each
                })
            })
            .collect();
        let mut each = Vec::new();
        for task in tasks {
            each.extend(task.await.unwrap());
        }
        let rate = per_second(each.len(), begun);
        report(&format!("BeforeAnswer: durable, {callers} callers, {rate}/s"), each);
    }
}
