//! Who probes a gateway gets an answer in time, whatever is away, and reads there what it is.

use std::time::{Duration, Instant};
use system_tests::{Gateway, Nats, cluster::Shared, databases, eventually, process::signal};

/// What `/readyz` promises, and some time for a busy machine to say it.
const PROMISE: Duration = Duration::from_millis(2_000);
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again, as a balancer does, and judges each answer; says what was missed at last. A stop may take a moment to show,
/// so the first answers may be of before.
async fn faults(gateway: &Gateway, away: &str) -> Vec<String> {
    let api = gateway.nobody();
    let mut seen = 0;
    eventually("what is away is named", PATIENCE, async || {
        let asked = Instant::now();
        let (ready, alive) = tokio::join!(api.get("/readyz"), api.get("/healthz"));
        let took = asked.elapsed();
        assert!(took < PROMISE, "{away} is away, and it took {took:?}: {}", ready.text);
        assert_eq!(alive.status, 200, "the process itself is well");
        let faults = ready.json()["faults"].as_array().cloned().unwrap_or_default();
        let faults: Vec<String> = faults.iter().map(|it| it.as_str().unwrap().to_owned()).collect();
        assert_eq!(ready.status == 503, !faults.is_empty(), "{}", ready.text);
        seen += usize::from(faults.iter().any(|it| it.starts_with(away)));
        (seen >= 6).then_some(faults)
    })
    .await
}

async fn is_ready_again(gateway: &Gateway) {
    eventually("the gateway is ready again", PATIENCE, async || {
        (gateway.nobody().get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_is_answered_in_time_whatever_is_away_and_names_it() {
    let (mut nats, database) = tokio::join!(Nats::start(), databases::Own::start());
    let shared = Shared::new(&database.url()).with("NEXUSROUTE_NATS_URL", &nats.url());
    let gateway = shared.start("api").await;
    let (log, tables) = ("the log does not answer", "the database does not answer");

    // Stopped in its tracks: nothing is refused, everything is silent.
    signal("STOP", nats.id());
    let missed = faults(&gateway, log).await;
    assert!(!missed.iter().any(|it| it.starts_with(tables)), "{missed:?}");
    signal("CONT", nats.id());
    is_ready_again(&gateway).await;

    database.freeze();
    let missed = faults(&gateway, tables).await;
    // Both at once: they are asked at once.
    signal("STOP", nats.id());
    let both = faults(&gateway, log).await;
    signal("CONT", nats.id());
    database.thaw();
    assert!(!missed.iter().any(|it| it.starts_with(log)), "{missed:?}");
    assert!(both.iter().any(|it| it.starts_with(tables)), "{both:?}");
    is_ready_again(&gateway).await;

    // Killed: connections are refused, which the pool tries again and again.
    database.kill();
    let missed = faults(&gateway, tables).await;
    assert!(!missed.iter().any(|it| it.starts_with(log)), "{missed:?}");
    database.come_back().await;
    is_ready_again(&gateway).await;

    nats.kill().await;
    let missed = faults(&gateway, log).await;
    assert!(!missed.iter().any(|it| it.starts_with(tables)), "{missed:?}");
    nats.come_back().await;
    is_ready_again(&gateway).await;
    gateway.stop().await;
}
