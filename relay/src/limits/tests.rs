use super::redis_server::RedisServer;
use super::*;
use futures_util::FutureExt;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

const CALL_LIMIT: Duration = Duration::from_secs(540);

fn requests(most: u64) -> Limit {
    Limit { requests_per_minute: Some(most), ..Limit::NONE }
}

fn tokens(most: u64) -> Limit {
    Limit { tokens_per_minute: Some(most), ..Limit::NONE }
}

fn concurrency(most: u64) -> Limit {
    Limit { concurrency: Some(most), ..Limit::NONE }
}

fn subject(kind: SubjectKind, id: &str) -> Subject {
    Subject::new(kind, id)
}

fn key(limit: Limit) -> (Subject, Limit) {
    (subject(SubjectKind::Key, "k"), limit)
}

/// Limits in this process, asked at told milliseconds.
struct Told(Limits);

impl Told {
    fn new() -> Self {
        Self(Limits::in_process())
    }

    fn at(&self, ms: u64) -> Instant {
        self.0.0.origin + Duration::from_millis(ms)
    }

    fn admit(&self, wanted: &[(Subject, Limit)], tokens: u64, ms: u64) -> Result<Admitted, Exceeded> {
        self.0.admit(wanted, tokens, self.at(ms)).now_or_never().expect("nothing is waited for")
    }

    fn is_admitted(&self, wanted: &[(Subject, Limit)], tokens: u64, ms: u64) -> bool {
        self.admit(wanted, tokens, ms).is_ok()
    }

    /// Admits a call and ends it at once.
    fn use_up(&self, wanted: &[(Subject, Limit)], tokens: u64, ms: u64) {
        self.admit(wanted, tokens, ms).unwrap().settled(tokens, self.at(ms));
    }
}

#[test]
fn requests_are_admitted_up_to_the_limit_at_once_and_then_at_its_pace() {
    let limits = Told::new();
    let seven = [key(requests(7))];
    for _ in 0..7 {
        limits.use_up(&seven, 0, 0);
    }
    let refused = limits.admit(&seven, 0, 0).unwrap_err();
    // 60 s / 7 = 8571.43 ms: exact, the next one comes a millisecond after the whole number.
    assert_eq!((refused.what, refused.limit), (What::Requests, 7));
    assert_eq!(refused.retry_after, Duration::from_millis(8572));
    assert_eq!(refused.retry_after_seconds(), 9);
    assert_eq!(refused.to_string(), "the limit of this key is reached: 7 requests per minute");
    assert!(!limits.is_admitted(&seven, 0, 8571));
    assert!(limits.is_admitted(&seven, 0, 8572));
    assert!(!limits.is_admitted(&seven, 0, 8573));
    // No boundary of a minute gives anything at once.
    let more = (59_990..60_010).filter(|ms| limits.is_admitted(&seven, 0, *ms)).count();
    assert_eq!(more, 6, "six drained since the eighth call, and none besides");
}

#[test]
fn a_limit_of_zero_admits_nothing() {
    let limits = Told::new();
    for (limit, what) in
        [(requests(0), What::Requests), (tokens(0), What::Tokens), (concurrency(0), What::Concurrency)]
    {
        let refused = limits.admit(&[key(limit)], 0, 0).unwrap_err();
        assert_eq!((refused.what, refused.limit), (what, 0));
        assert!(refused.retry_after_seconds() >= 1);
    }
}

#[test]
fn tokens_are_held_by_estimate_and_count_by_what_the_call_came_to() {
    let limits = Told::new();
    let thousand = [key(tokens(1000))];
    let first = limits.admit(&thousand, 600, 0).unwrap();
    assert_eq!(first.shown().tokens.unwrap().remaining, 400);
    assert_eq!(limits.admit(&thousand, 401, 0).unwrap_err().what, What::Tokens);
    // What is held does not drain, however long its call takes.
    assert!(!limits.is_admitted(&thousand, 401, 300_000));
    first.settled(100, limits.at(300_000));
    let second = limits.admit(&thousand, 900, 300_000).unwrap();
    // More than was held is counted all the same: a debt that drains before others get through.
    second.settled(2900, limits.at(300_000));
    let refused = limits.admit(&thousand, 1000, 300_000).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(180));
    assert!(limits.is_admitted(&thousand, 1000, 480_000));
}

#[test]
fn a_call_that_is_dropped_unsettled_counts_for_no_token() {
    let limits = Told::new();
    let thousand = [key(tokens(1000))];
    drop(limits.admit(&thousand, 1000, 0).unwrap());
    assert!(limits.is_admitted(&thousand, 1000, 0));
}

#[test]
fn a_call_larger_than_the_whole_limit_waits_for_an_empty_bucket_and_takes_all_of_it() {
    let limits = Told::new();
    let thousand = [key(tokens(1000))];
    limits.use_up(&thousand, 10, 0);
    assert_eq!(limits.admit(&thousand, 50_000, 0).unwrap_err().retry_after, Duration::from_millis(600));
    let large = limits.admit(&thousand, 50_000, 600).unwrap();
    assert!(!limits.is_admitted(&thousand, 1, 600));
    large.settled(2, limits.at(700));
    assert!(limits.is_admitted(&thousand, 998, 700));
}

#[test]
fn calls_at_once_end_with_their_guards() {
    let limits = Told::new();
    let two = [key(concurrency(2))];
    let (one, other) = (limits.admit(&two, 0, 0).unwrap(), limits.admit(&two, 0, 0).unwrap());
    assert_eq!(limits.admit(&two, 0, 0).unwrap_err().what, What::Concurrency);
    drop(one);
    let third = limits.admit(&two, 0, 0).unwrap();
    other.settled(5, limits.at(0));
    third.settled(5, limits.at(0));
    assert!(limits.is_admitted(&two, 0, 0));
}

#[test]
fn a_refusal_takes_nothing_of_any_subject() {
    let limits = Told::new();
    let all = Limit { requests_per_minute: Some(1), tokens_per_minute: Some(100), concurrency: Some(1) };
    let names = [SubjectKind::Key, SubjectKind::Group, SubjectKind::Model, SubjectKind::Provider];
    for full in names {
        let others = names.map(|kind| (subject(kind, full.name()), all));
        let one = (subject(full, full.name()), all);
        let held = limits.admit(std::slice::from_ref(&one), 100, 0).unwrap();
        let refused = limits.admit(&others, 100, 0).unwrap_err();
        assert_eq!((refused.subject, refused.what), (full, What::Requests));
        let rest: Vec<_> = others.into_iter().filter(|(subject, _)| subject.kind != full).collect();
        assert!(limits.is_admitted(&rest, 100, 0), "nothing was taken of the others");
        drop(held);
    }
}

#[test]
fn a_subject_that_is_named_twice_counts_once() {
    let limits = Told::new();
    let twice = [key(requests(2)), key(requests(2))];
    assert!(limits.is_admitted(&twice, 0, 0));
    assert!(limits.is_admitted(&twice, 0, 0));
    assert!(!limits.is_admitted(&twice, 0, 0));
}

#[test]
fn where_nothing_is_limited_nothing_is_remembered() {
    let limits = Told::new();
    let free = [key(Limit::NONE), (subject(SubjectKind::Model, "m"), Limit::NONE)];
    let admitted = limits.admit(&free, u64::MAX, 0).unwrap();
    assert_eq!(limits.0.status(), Status::default());
    assert_eq!(admitted.shown(), Shown::default());
    admitted.settled(u64::MAX, limits.at(0));
}

#[test]
fn the_greatest_numbers_neither_overflow_nor_admit_too_much() {
    let limits = Told::new();
    let most = [key(Limit {
        requests_per_minute: Some(u64::MAX),
        tokens_per_minute: Some(u64::MAX),
        concurrency: Some(u64::MAX),
    })];
    for start in [0, 600_000, 1_200_000] {
        limits.admit(&most, u64::MAX, start).unwrap().settled(u64::MAX, limits.at(start));
        assert!(!limits.is_admitted(&most, 1, start));
        assert!(limits.is_admitted(&most, 1, start + 60_000));
    }
}

#[test]
fn subjects_without_anything_in_use_are_forgotten() {
    let limits = Told::new();
    let named = |number: u64| [(subject(SubjectKind::Key, &number.to_string()), requests(60))];
    let in_flight: Vec<_> = (0..10)
        .map(|number| {
            let wanted = [(subject(SubjectKind::Group, &number.to_string()), concurrency(1))];
            limits.admit(&wanted, 0, 0).unwrap()
        })
        .collect();
    // One key a millisecond; each is idle again after a second.
    for number in 0..50_000 {
        limits.use_up(&named(number), 0, number);
    }
    let remembered = limits.0.status().subjects;
    assert!((1000..5000).contains(&remembered), "{remembered} subjects, of which 1010 are in use");
    for number in 0..10 {
        let wanted = [(subject(SubjectKind::Group, &number.to_string()), concurrency(1))];
        assert!(!limits.is_admitted(&wanted, 0, 50_000), "calls in flight are not forgotten");
    }
    drop(in_flight);
}

#[test]
fn a_provider_at_its_limit_is_passed_over() {
    let limits = Told::new();
    let provider = (subject(SubjectKind::Provider, "p"), requests(60));
    let turn = |ms| limits.0.try_provider(&provider, 0, limits.at(ms)).now_or_never().unwrap();
    for _ in 0..60 {
        assert!(matches!(turn(0), Turn::Take(_)));
    }
    assert!(matches!(turn(1), Turn::PassOver { retry_after } if retry_after == Duration::from_millis(999)));
    assert!(matches!(turn(1000), Turn::Take(_)));
}

#[test]
fn threads_that_race_never_have_more_calls_at_once_than_allowed_and_never_lock_one_another_out() {
    let limits = Limits::in_process();
    let subjects = ["a", "b", "c"].map(|id| (subject(SubjectKind::Model, id), concurrency(3)));
    let running = [const { AtomicU64::new(0) }; 3];
    let admitted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let (limits, subjects, running, admitted) = (limits.clone(), &subjects, &running, &admitted);
            scope.spawn(move || {
                for round in 0..2000 {
                    // In every order, so that a fixed order of locking is needed.
                    let order = [thread + round, thread + 2 * round + 1].map(|number| number % 3);
                    let wanted = order.map(|index| subjects[index].clone());
                    let now = Instant::now();
                    let Ok(guard) = limits.admit(&wanted, 0, now).now_or_never().unwrap() else { continue };
                    admitted.fetch_add(1, Ordering::Relaxed);
                    let distinct = if order[0] == order[1] { &order[..1] } else { &order[..] };
                    for index in distinct {
                        assert!(running[*index].fetch_add(1, Ordering::SeqCst) < 3);
                    }
                    std::thread::yield_now();
                    for index in distinct {
                        running[*index].fetch_sub(1, Ordering::SeqCst);
                    }
                    drop(guard);
                }
            });
        }
    });
    assert!(admitted.into_inner() > 1000);
}

/// Something that happens to limits.
#[derive(Clone, Debug)]
enum Act {
    Wait {
        ms: u64,
    },
    /// Which subjects, as bits, and the tokens expected.
    Admit {
        of: u8,
        tokens: u64,
    },
    /// Which of the calls in flight ends, and with how many tokens more or less than expected, in per cent.
    End {
        which: usize,
        per_cent: u64,
    },
}

fn acts(length: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => (0..4000_u64).prop_map(|ms| Act::Wait { ms }),
        5 => (1..8_u8, 0..150_u64).prop_map(|(of, tokens)| Act::Admit { of, tokens }),
        3 => (any::<usize>(), 0..=100_u64).prop_map(|(which, per_cent)| Act::End { which, per_cent }),
    ];
    prop::collection::vec(act, 1..length)
}

fn some_limit() -> impl Strategy<Value = Limit> {
    let maybe = |range| prop::option::weighted(0.8, range);
    (maybe(1..30_u64), maybe(1..400_u64), maybe(1..6_u64)).prop_map(|(requests, tokens, concurrency)| Limit {
        requests_per_minute: requests,
        tokens_per_minute: tokens,
        concurrency,
    })
}

/// The subjects of these bits, with their limits.
fn chosen(of: u8, limits: &[Limit; 3], id: &str) -> Vec<(Subject, Limit)> {
    let kinds = [SubjectKind::Key, SubjectKind::Group, SubjectKind::Model];
    let all = kinds.into_iter().zip(limits).enumerate().filter(|(bit, _)| of >> bit & 1 == 1);
    all.map(|(_, (kind, limit))| (subject(kind, id), *limit)).collect()
}

proptest! {
    #[test]
    fn no_span_of_time_sees_more_than_the_limit_and_what_drains_in_it(
        limits in prop::array::uniform3(some_limit()),
        acts in acts(150),
    ) {
        let told = Told::new();
        let mut now = 0;
        let mut running: Vec<(u8, u64, Admitted)> = Vec::new();
        // Of each subject: when how many requests were admitted, when how many tokens were counted.
        let mut admitted: [Vec<(u64, u64)>; 3] = Default::default();
        let mut counted: [Vec<(u64, u64)>; 3] = Default::default();
        for act in acts {
            match act {
                Act::Wait { ms } => now += ms,
                Act::Admit { of, tokens } => {
                    let wanted = chosen(of, &limits, "s");
                    if let Ok(guard) = told.admit(&wanted, tokens, now) {
                        running.push((of, tokens, guard));
                        (0..3).filter(|bit| of >> bit & 1 == 1).for_each(|bit| admitted[bit].push((now, 1)));
                    }
                }
                Act::End { which, per_cent } if !running.is_empty() => {
                    let (of, tokens, guard) = running.swap_remove(which % running.len());
                    let tightest = chosen(of, &limits, "s").iter().filter_map(|it| it.1.tokens_per_minute).min();
                    // A call larger than a limit takes all of it; more than that is a debt, not within the bound.
                    let used = tokens.min(tightest.unwrap_or(u64::MAX)) * per_cent / 100;
                    guard.settled(used, told.at(now));
                    (0..3).filter(|bit| of >> bit & 1 == 1).for_each(|bit| counted[bit].push((now, used)));
                }
                Act::End { .. } => {}
            }
            for (bit, limit) in limits.iter().enumerate() {
                let mine: Vec<_> = running.iter().filter(|(of, ..)| of >> bit & 1 == 1).collect();
                if let Some(most) = limit.concurrency {
                    prop_assert!(mine.len() as u64 <= most);
                }
                if let Some(most) = limit.tokens_per_minute {
                    prop_assert!(mine.iter().map(|(_, tokens, _)| *tokens.min(&most)).sum::<u64>() <= most);
                }
            }
        }
        for (bit, limit) in limits.iter().enumerate() {
            for (most, used) in [(limit.requests_per_minute, &admitted[bit]), (limit.tokens_per_minute, &counted[bit])] {
                let Some(most) = most else { continue };
                for (first, (from, _)) in used.iter().enumerate() {
                    let mut sum = 0;
                    for (at, amount) in &used[first..] {
                        sum += amount;
                        prop_assert!(sum * 60_000 <= most * (60_000 + at - from), "{sum} within {} ms of {most}", at - from);
                    }
                }
            }
        }
    }
}

/// Waits until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One node's limits in this Redis, with the patience of a busy machine.
fn node(server: &RedisServer) -> Limits {
    let options =
        SharedOptions { timeout: Duration::from_secs(20), ..SharedOptions::new(server.url(), CALL_LIMIT) };
    Limits::shared(options).unwrap()
}

#[tokio::test]
async fn two_nodes_with_one_redis_share_a_limit() {
    let server = RedisServer::start_new();
    let nodes = [node(&server), node(&server)];
    let wanted = [
        key(Limit { requests_per_minute: Some(20), tokens_per_minute: Some(2000), concurrency: None }),
        (subject(SubjectKind::Group, "g"), concurrency(3)),
    ];
    let mut running = Vec::new();
    for turn in 0..3 {
        running.push(nodes[turn % 2].admit(&wanted, 100, Instant::now()).await.unwrap());
    }
    let shown = running[2].shown();
    assert_eq!(shown.requests.map(|it| (it.limit, it.remaining)), Some((20, 17)));
    assert_eq!(shown.tokens.map(|it| (it.limit, it.remaining)), Some((2000, 1700)));
    for node in &nodes {
        let refused = node.admit(&wanted, 100, Instant::now()).await.unwrap_err();
        assert_eq!(
            (refused.subject, refused.what, refused.limit),
            (SubjectKind::Group, What::Concurrency, 3)
        );
    }
    // A call that ended on one node makes room on the other; another kind of subject does not stand in the way.
    running.pop().unwrap().settled(1700, Instant::now());
    drop(running.pop());
    until("the other node has room", async || nodes[1].admit(&wanted, 100, Instant::now()).await.is_ok())
        .await;
    let refused = nodes[1].admit(&wanted, 1500, Instant::now()).await.unwrap_err();
    assert_eq!((refused.subject, refused.what), (SubjectKind::Key, What::Tokens));
    assert!(refused.retry_after > Duration::from_secs(20), "{:?}", refused.retry_after);
    assert_eq!(nodes.each_ref().map(|node| node.status().fallbacks), [0, 0]);
}

#[tokio::test]
async fn nodes_that_race_for_a_shared_limit_get_no_more_than_it() {
    let server = RedisServer::start_new();
    let nodes = [node(&server), node(&server)];
    let wanted = [key(concurrency(40))];
    let calls = (0..200).map(|turn| nodes[turn % 2].admit(&wanted, 0, Instant::now()));
    let admitted: Vec<_> = futures_util::future::join_all(calls).await.into_iter().flatten().collect();
    assert_eq!(admitted.len(), 40);
    drop(admitted);
    nodes[0].flush(Duration::from_secs(20)).await;
    nodes[1].flush(Duration::from_secs(20)).await;
    let again = (0..40).map(|turn| nodes[turn % 2].admit(&wanted, 0, Instant::now()));
    assert_eq!(futures_util::future::join_all(again).await.into_iter().flatten().count(), 40);
}

#[tokio::test]
async fn without_redis_a_node_goes_by_its_own_counts_until_it_is_back() {
    let mut server = RedisServer::start_new();
    let nodes = [node(&server), node(&server)];
    let two = [key(concurrency(2))];
    let before = nodes[0].admit(&two, 0, Instant::now()).await.unwrap();
    server.kill();
    for node in &nodes {
        let kept = [
            node.admit(&two, 0, Instant::now()).await.unwrap(),
            node.admit(&two, 0, Instant::now()).await.unwrap(),
        ];
        // Neither unlimited nor closed.
        assert_eq!(node.admit(&two, 0, Instant::now()).await.unwrap_err().what, What::Concurrency);
        let status = node.status();
        assert!(status.is_shared && status.is_redis_away && status.fallbacks == 3, "{status:?}");
        drop(kept);
    }
    drop(before);
    server.start();
    for node in &nodes {
        let other = [(subject(SubjectKind::Model, "m"), requests(1_000_000))];
        until("Redis is used again", async || {
            let _ = node.admit(&other, 0, Instant::now()).await;
            !node.status().is_redis_away
        })
        .await;
    }
    let _kept = [
        nodes[0].admit(&two, 0, Instant::now()).await.unwrap(),
        nodes[1].admit(&two, 0, Instant::now()).await.unwrap(),
    ];
    for node in &nodes {
        assert!(node.admit(&two, 0, Instant::now()).await.is_err(), "shared again");
    }
}

#[tokio::test]
async fn a_redis_that_hangs_holds_up_no_call_and_keeps_no_place() {
    let server = RedisServer::start_new();
    let options =
        SharedOptions { timeout: Duration::from_millis(500), ..SharedOptions::new(server.url(), CALL_LIMIT) };
    let node = Limits::shared(options).unwrap();
    let two = [key(concurrency(2))];
    let mut patient = connection(&server).await;
    until("Redis is used", async || {
        drop(node.admit(&two, 0, Instant::now()).await);
        !node.status().is_redis_away
    })
    .await;
    node.flush(Duration::from_secs(20)).await;
    let before = node.status().fallbacks;
    server.freeze();
    let kept = [
        node.admit(&two, 0, Instant::now()).await.unwrap(),
        node.admit(&two, 0, Instant::now()).await.unwrap(),
    ];
    assert_eq!(node.admit(&two, 0, Instant::now()).await.unwrap_err().what, What::Concurrency);
    let status = node.status();
    assert!(status.is_redis_away && status.fallbacks == before + 3, "{status:?}");
    server.thaw();
    // The question that was never answered may have taken a place.
    until("Redis is used again", async || {
        drop(node.admit(&two, 0, Instant::now()).await);
        !node.status().is_redis_away
    })
    .await;
    until("all places are free", async || places(&mut patient, &two[0].0).await == 0).await;
    drop(kept);
}

#[tokio::test]
async fn a_redis_that_never_was_there_limits_nobody_out_and_stops_nobody() {
    let mut server = RedisServer::start_new();
    server.kill();
    let node = node(&server);
    let one = [key(requests(1))];
    assert!(node.admit(&one, 0, Instant::now()).await.is_ok());
    assert!(node.admit(&one, 0, Instant::now()).await.is_err());
    assert!(node.status().is_redis_away);
    assert!(Limits::shared(SharedOptions::new("http://nowhere", CALL_LIMIT)).is_err());
}

#[tokio::test]
async fn ends_that_redis_could_not_be_told_of_are_told_when_it_answers_again() {
    let server = RedisServer::start_new();
    let node = node(&server);
    let mut patient = connection(&server).await;
    let one = [key(concurrency(1))];
    let running = node.admit(&one, 0, Instant::now()).await.unwrap();
    // Every write is refused, as by a Redis that lost its replicas.
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "min-replicas-to-write", "1"])
        .query_async(&mut patient)
        .await
        .unwrap();
    drop(running);
    until("the node noticed", async || node.status().is_redis_away).await;
    assert_eq!(places(&mut patient, &one[0].0).await, 1);
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "min-replicas-to-write", "0"])
        .query_async(&mut patient)
        .await
        .unwrap();
    until("the place is free", async || places(&mut patient, &one[0].0).await == 0).await;
    assert!(!node.status().is_redis_away);
}

#[tokio::test]
async fn a_caller_who_leaves_while_redis_is_asked_leaves_no_place_taken() {
    let server = RedisServer::start_new();
    let node = node(&server);
    let mut patient = connection(&server).await;
    let wanted = [key(Limit { requests_per_minute: Some(5), concurrency: Some(1), ..Limit::NONE })];
    // The scripts are known and the connection is made before Redis is held up.
    drop(node.admit(&wanted, 0, Instant::now()).await.unwrap());
    node.flush(Duration::from_secs(20)).await;
    let used = async |connection: &mut _| -> u64 {
        redis::cmd("HGET").arg("{nexusroute:limits}:key:k").arg("r").query_async(connection).await.unwrap()
    };
    let before = used(&mut patient).await;
    let () = redis::cmd("CLIENT").arg(&["PAUSE", "600000", "WRITE"]).query_async(&mut patient).await.unwrap();
    let asking = tokio::spawn({
        let (node, wanted) = (node.clone(), wanted.clone());
        async move { node.admit(&wanted, 0, Instant::now()).await.map(drop) }
    });
    until("the question has reached Redis", async || {
        let blocked: String = redis::cmd("INFO").arg("clients").query_async(&mut patient).await.unwrap();
        blocked.contains("blocked_clients:1")
    })
    .await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    let () = redis::cmd("CLIENT").arg("UNPAUSE").query_async(&mut patient).await.unwrap();
    until("the question is answered", async || used(&mut patient).await > before + 30_000).await;
    until("the place is free", async || places(&mut patient, &wanted[0].0).await == 0).await;
}

#[tokio::test]
async fn the_place_of_a_call_whose_node_died_frees_itself_after_the_longest_call() {
    let server = RedisServer::start_new();
    let node = node(&server);
    let shared = node.0.shared.as_ref().unwrap();
    let one = subject(SubjectKind::Key, "k");
    let limit = Limit { tokens_per_minute: Some(100), concurrency: Some(1), ..Limit::NONE };
    let wanted = [(&one, limit)];
    let now = 1_700_000_000_000;
    let life = u64::try_from(CALL_LIMIT.as_millis()).unwrap() + 60_000;
    let (mut dead, _) = shared.admit_at(&wanted, 100, now).await.ok().unwrap();
    let refused = shared.admit_at(&wanted, 100, now + life - 1).await.err().unwrap();
    assert_eq!(refused.what, What::Tokens);
    let (mut next, shown) = shared.admit_at(&wanted, 60, now + life).await.ok().unwrap();
    assert_eq!(shown.tokens.unwrap().remaining, 40, "its tokens are no longer held");
    // It was not dead, only late: that changes nothing now.
    dead.end(100, now + life).await;
    next.end(10, now + life).await;
    let (_, shown) = shared.admit_at(&wanted, 0, now + life).await.ok().unwrap();
    assert_eq!(shown.tokens.unwrap().remaining, 90);
    let mut patient = connection(&server).await;
    for key in ["{nexusroute:limits}:key:k", "{nexusroute:limits}:key:k:calls"] {
        let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut patient).await.unwrap();
        assert!(left > 0 && left <= i64::try_from(life + 60_000).unwrap(), "{key} is kept for {left} ms");
    }
}

#[test]
fn redis_and_the_process_count_alike() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = RedisServer::start_new();
    let node = runtime.block_on(async { node(&server) });
    let case = AtomicU64::new(0);
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(limits in prop::array::uniform3(some_limit()), acts in acts(80))| {
        let id = case.fetch_add(1, Ordering::Relaxed).to_string();
        runtime.block_on(alike(&node, &limits, &acts, &id));
    });
}

/// Does the same to both, at the same told times, and compares every answer.
async fn alike(node: &Limits, limits: &[Limit; 3], acts: &[Act], id: &str) {
    let (here, shared) = (InProcess::new(), node.0.shared.as_ref().unwrap());
    let mut now = 1_700_000_000_000;
    let mut running = Vec::new();
    for act in acts {
        match act {
            Act::Wait { ms } => now += ms,
            Act::Admit { of, tokens } => {
                let wanted = chosen(*of, limits, id);
                let wanted: Vec<_> =
                    wanted.iter().filter(|it| !it.1.is_none()).map(|it| (&it.0, it.1)).collect();
                match (here.admit(&wanted, *tokens, now), shared.admit_at(&wanted, *tokens, now).await) {
                    (Ok((here, here_shown)), Ok((there, there_shown))) => {
                        assert_eq!(here_shown, there_shown);
                        running.push((here, there, *tokens));
                    }
                    (Err(here), Err(there)) => {
                        assert_eq!(
                            (here.index, here.what, here.wait_ms, here.shown),
                            (there.index, there.what, there.wait_ms, there.shown)
                        );
                    }
                    (here, there) => panic!("admitted here {}, there {}", here.is_ok(), there.is_ok()),
                }
            }
            Act::End { which, per_cent } if !running.is_empty() => {
                let (here, mut there, tokens) = running.swap_remove(which % running.len());
                // Twice as much as expected, too.
                let used = tokens * per_cent / 50;
                here.into_iter().for_each(|share| share.end(Some((used, now))));
                there.end(used, now).await;
            }
            Act::End { .. } => {}
        }
    }
}

/// A connection of the test's own.
async fn connection(server: &RedisServer) -> redis::aio::MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// How many places of this subject are taken in Redis.
async fn places(connection: &mut redis::aio::MultiplexedConnection, subject: &Subject) -> u64 {
    let key = format!("{{nexusroute:limits}}:{}:{}:calls", subject.kind.name(), subject.id);
    redis::cmd("ZCARD").arg(key).query_async(connection).await.unwrap()
}
