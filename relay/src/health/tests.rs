use super::*;
use crate::catalogue::{ProviderFormat, Secret};

fn route(model: &str, keys: &[&str]) -> Route {
    Route {
        provider: Label::try_new("p").unwrap(),
        format: ProviderFormat::OpenAi,
        custom: None,
        speaks_responses: false,
        base_url: String::new(),
        keys: keys
            .iter()
            .map(|name| ProviderKey { name: Label::try_new(*name).unwrap(), secret: Secret::new("") })
            .collect(),
        upstream_model: Label::try_new(model).unwrap(),
        cost: None,
        priority: 0,
        weight: 1,
        limit: None,
    }
}

const ANSWERED: Verdict = Verdict::Answered { first_byte: Some(Duration::from_millis(100)) };

/// Time passes only when told so.
struct Clock(Instant);

impl Clock {
    fn after(&mut self, seconds: u64) -> Instant {
        self.0 += Duration::from_secs(seconds);
        self.0
    }
}

#[test]
fn a_route_that_fails_again_and_again_is_left_alone_then_tried_by_one_call() {
    let (health, route, mut clock) = (Health::default(), route("m", &["k"]), Clock(Instant::now()));
    let key = &route.keys[0];
    for _ in 0..5 {
        assert_eq!(health.ask(&route, key, clock.0), Fitness::Fit);
        health.report(&route, key, Verdict::Failed("status"), clock.0);
    }
    assert_eq!(
        health.ask(&route, key, clock.0),
        Fitness::Unfit { remaining: Duration::from_secs(5), is_busy: false }
    );
    clock.after(5);
    assert_eq!(health.ask(&route, key, clock.0), Fitness::OnTrial);
    assert!(matches!(health.ask(&route, key, clock.0), Fitness::Unfit { .. }), "one at a time");
    health.report(&route, key, Verdict::Failed("status"), clock.0);
    assert_eq!(
        health.ask(&route, key, clock.0),
        Fitness::Unfit { remaining: Duration::from_secs(10), is_busy: false }
    );
    clock.after(10);
    assert_eq!(health.ask(&route, key, clock.0), Fitness::OnTrial);
    health.report(&route, key, ANSWERED, clock.0);
    assert_eq!(health.ask(&route, key, clock.0), Fitness::Fit);
}

#[test]
fn a_refused_key_takes_out_the_key_for_every_model_and_no_other_key() {
    let (health, one, other) =
        (Health::default(), route("m", &["bad", "good"]), route("n", &["bad", "good"]));
    let now = Instant::now();
    health.report(&one, &one.keys[0], Verdict::KeyRefused, now);
    assert!(matches!(health.ask(&other, &other.keys[0], now), Fitness::Unfit { .. }));
    assert_eq!(health.ask(&one, &one.keys[1], now), Fitness::Fit);
}

#[test]
fn one_account_alone_never_takes_a_key_away_from_the_others() {
    let (health, route, mut clock) = (Health::default(), route("m", &["k"]), Clock(Instant::now()));
    let key = &route.keys[0];
    let doubted =
        |number| Verdict::KeyDoubted { account: domain::AccountId::from_uuid(uuid::Uuid::from_u128(number)) };
    for _ in 0..100 {
        health.report(&route, key, doubted(1), clock.0);
    }
    assert_eq!(health.ask(&route, key, clock.0), Fitness::Fit);
    // An answer in between says that it was about the calls.
    health.report(&route, key, doubted(2), clock.0);
    health.report(&route, key, ANSWERED, clock.0);
    health.report(&route, key, doubted(3), clock.0);
    health.report(&route, key, doubted(1), clock.0);
    assert_eq!(health.ask(&route, key, clock.0), Fitness::Fit);
    health.report(&route, key, doubted(2), clock.0);
    let unfit = Fitness::Unfit { remaining: Duration::from_secs(60), is_busy: false };
    assert_eq!(health.ask(&route, key, clock.0), unfit, "three accounts, and no answer");
    for _ in 0..3 {
        clock.after(60);
        assert_eq!(health.ask(&route, key, clock.0), Fitness::OnTrial);
        health.report(&route, key, doubted(1), clock.0);
        assert_eq!(health.ask(&route, key, clock.0), unfit, "no longer for one account's trials");
    }
    clock.after(60);
    health.report(&route, key, ANSWERED, clock.0);
}

#[test]
fn a_busy_model_is_left_alone_for_as_long_as_it_says() {
    let (health, one, other, mut clock) =
        (Health::default(), route("m", &["k"]), route("n", &["k"]), Clock(Instant::now()));
    health.report(&one, &one.keys[0], Verdict::Busy { pause: Duration::from_secs(7) }, clock.0);
    assert_eq!(
        health.ask(&one, &one.keys[0], clock.0),
        Fitness::Unfit { remaining: Duration::from_secs(7), is_busy: true }
    );
    assert_eq!(health.ask(&other, &other.keys[0], clock.0), Fitness::Fit, "another model");
    clock.after(7);
    assert_eq!(health.ask(&one, &one.keys[0], clock.0), Fitness::OnTrial);
}

#[test]
fn half_of_many_tries_failing_opens_and_single_failures_do_not() {
    let (health, route, now) = (Health::default(), route("m", &["k"]), Instant::now());
    let key = &route.keys[0];
    for index in 0..100 {
        let verdict = if index % 4 == 0 { Verdict::Failed("broken") } else { ANSWERED };
        health.report(&route, key, verdict, now);
    }
    assert_eq!(health.ask(&route, key, now), Fitness::Fit);
    for index in 0..100 {
        let verdict = if index % 4 == 0 { ANSWERED } else { Verdict::Failed("broken") };
        health.report(&route, key, verdict, now);
    }
    assert!(matches!(health.ask(&route, key, now), Fitness::Unfit { .. }));
}

#[test]
fn a_trial_that_says_nothing_or_never_reports_is_not_the_last() {
    let (health, route, mut clock) = (Health::default(), route("m", &["k"]), Clock(Instant::now()));
    let key = &route.keys[0];
    health.report(&route, key, Verdict::Busy { pause: Duration::from_secs(1) }, clock.0);
    clock.after(1);
    assert_eq!(health.ask(&route, key, clock.0), Fitness::OnTrial);
    health.report(&route, key, Verdict::Abandoned, clock.0);
    assert_eq!(health.ask(&route, key, clock.0), Fitness::OnTrial, "the next call tries");
    clock.after(601);
    assert_eq!(health.ask(&route, key, clock.0), Fitness::OnTrial, "the trial's call died");
}

#[test]
fn what_left_the_catalogue_is_forgotten_and_conditions_are_told() {
    let (health, one, other) = (Health::default(), route("m", &["k"]), route("n", &["k"]));
    let now = Instant::now();
    health.report(&one, &one.keys[0], ANSWERED, now);
    health.report(&other, &other.keys[0], Verdict::Busy { pause: Duration::from_secs(9) }, now);
    let told: Vec<String> = health
        .conditions(now)
        .iter()
        .map(|it| format!("{} {:?}", it.watched.model.as_ref().map_or("-", Label::as_str), it.state))
        .collect();
    assert_eq!(told, ["- Closed", "m Closed", "n Open { remaining: 9s }"]);
    health.keep([&one].into_iter());
    assert_eq!(health.conditions(now).len(), 2);
    health.forgive(&one.provider);
    assert!(health.conditions(now).is_empty());
}

#[test]
fn how_quick_a_provider_is_is_known_for_a_minute() {
    let (health, route, mut clock) = (Health::default(), route("m", &["k"]), Clock(Instant::now()));
    let key = &route.keys[0];
    assert_eq!(health.latency(&route, key, clock.0), None);
    health.report(&route, key, ANSWERED, clock.0);
    health.report(&route, key, Verdict::Answered { first_byte: None }, clock.after(59));
    assert_eq!(health.latency(&route, key, clock.0), Some(Duration::from_millis(100)));
    assert_eq!(health.latency(&route, key, clock.after(1)), None);
    // Whoever was slow is tried again then, and by one stream found as slow as before.
    health.report(&route, key, Verdict::Answered { first_byte: Some(Duration::from_millis(1100)) }, clock.0);
    assert_eq!(health.latency(&route, key, clock.0), Some(Duration::from_millis(200)));
}
