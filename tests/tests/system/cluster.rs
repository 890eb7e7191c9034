//! Several processes share the work: roles on one PostgreSQL, three copies of the log, nodes that die under load.

use domain::Credits;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use system_tests::{
    Answer, Api, Behaviour, FakeProvider, Gateway, GatewayOptions, Nats, NatsCluster, auditor,
    cluster::Shared,
    credits, databases, eventually,
    people::{Caller, Operator, User, bought, chat, text},
    process::signal,
};

const MODEL: &str = "shared-model";
/// Prompts are free and a generated token costs 0.001 credits.
const OUTPUT: &str = "1000";
/// What the provider reports, and the most that is asked for: a call's worst case is its price.
const TOKENS: u64 = 20;
/// The load on the machine is not the product's affair: far beyond what anything here takes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many calls of [`TOKENS`] tokens each.
fn price_of(calls: usize) -> Credits {
    Credits::from_nano(20_000_000 * i64::try_from(calls).unwrap())
}

fn minus(from: Credits, less: Credits) -> Credits {
    from.checked_sub(less).unwrap()
}

fn request_id(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

/// Waits until a relay has heard of a key and its model: changes reach other processes about a second later.
async fn until_known(caller: &Caller) -> String {
    eventually("the relay knows the key and the model", PATIENCE, async || {
        let answer = caller.chat(MODEL, TOKENS).await;
        (!matches!(answer.status, 401 | 404)).then(|| {
            answer.ok();
            request_id(&answer)
        })
    })
    .await
}

async fn readiness(gateway: &Gateway) -> Value {
    gateway.nobody().get("/readyz").await.json()
}

/// Waits until relays have nothing left to report; answers the log's end after that.
async fn position_after_reports(relays: &[&Gateway]) -> u64 {
    let mut end = 0;
    for relay in relays {
        end = eventually("everything is reported", PATIENCE, async || {
            let ready = readiness(relay).await;
            (ready["meter"]["unreported"] == 0).then(|| ready["log_position"].as_u64()).flatten()
        })
        .await
        .max(end);
    }
    end
}

/// The balance's total as of a position or later, from the very first answer.
async fn total_after(api: &Api, position: u64) -> Credits {
    let body = api.get(&format!("/api/user/balance?after={position}")).await.ok();
    assert!(body["position"].as_u64().unwrap() >= position, "{body}");
    credits(&body["total"])
}

/// The product's own judgement of log and tables.
async fn is_clean(options: &GatewayOptions) {
    let output = options.run(&["ledger", "verify"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

// ---- Roles, and the loss of a nats-server ---------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_shares_the_work_and_survives_the_loss_of_a_log_server_under_load() {
    let (mut nats, database, provider) =
        tokio::join!(NatsCluster::start(), databases::postgres(), FakeProvider::start(Behaviour::default()));
    let shared = Shared::new(&database).on(&nats);
    // All at once, as after a power cut: one of them makes the tables, the streams and the admin.
    let (api, both, relay, first, second) = tokio::join!(
        shared.start("api"),
        shared.start("api,relay"),
        shared.start("relay"),
        shared.start("projector"),
        shared.start("projector"),
    );
    each_does_what_its_roles_say(&api, &both, &relay, &first).await;

    let operator = Operator::of(&api).await;
    operator.offers(MODEL, provider.url(), "0", OUTPUT).await;
    let user = User::new(&api).await;
    let options = user.api.get("/api/user/topup/options").await.ok();
    let paid_in = bought("5000.00", &options);
    // Paid at one process, read at another that neither decided it nor applies it.
    let there = User { id: user.id.clone(), api: user.api.at(both.url()) };
    there.tops_up("5000.00", "pay").await;
    let position = position_after_reports(&[&both]).await;
    assert_eq!(total_after(&user.api, position).await, paid_in);

    let key = user.makes_key().await;
    let callers = [Caller::new(&both, &key), Caller::new(&relay, &key)];
    let mut answered = BTreeSet::new();
    for caller in &callers {
        answered.insert(until_known(caller).await);
    }
    let answers = join_all((0..40).map(|n| callers[n % 2].chat(MODEL, TOKENS))).await;
    answered.extend(answers.iter().map(|answer| {
        answer.ok();
        request_id(answer)
    }));
    let position = position_after_reports(&[&both, &relay]).await;
    every_view_is_exact_at(&user, position, paid_in, &answered).await;

    let given = a_read_waits_for_a_position(&operator, &user, [&first, &second]).await;
    let paid_in = paid_in.checked_add(given).unwrap();

    // The projector that was applying is as good as the one that was not: whichever dies, the other goes on.
    first.kill().await;
    for caller in &callers {
        let answer = caller.chat(MODEL, TOKENS).await;
        answer.ok();
        answered.insert(request_id(&answer));
    }
    let position = position_after_reports(&[&both, &relay]).await;
    every_view_is_exact_at(&user, position, paid_in, &answered).await;

    let given = a_log_server_dies_under_load(&mut nats, &operator, &user, &callers, &mut answered).await;
    let position = position_after_reports(&[&both, &relay]).await;
    let total = paid_in.checked_add(given).unwrap();
    every_view_is_exact_at(&user, position, total, &answered).await;

    for relay in [both, relay] {
        relay.stop().await;
    }
    let position = readiness(&api).await["log_position"].as_u64().unwrap();
    let balance = user.api.get(&format!("/api/user/balance?after={position}")).await.ok();
    assert_eq!(balance["reserved"], "0", "a stop gives the leases back: {balance}");
    second.stop().await;
    is_clean(api.options()).await;
    api.stop().await;
    let books = auditor::audit(&nats.ledger().await);
    books.assert_all_leases_closed();
    let account = books.account(&user.id);
    assert_eq!((account.credits_in, account.paid), (total, price_of(answered.len())));
    assert_eq!(account.requests, answered);
}

async fn each_does_what_its_roles_say(api: &Gateway, both: &Gateway, relay: &Gateway, projector: &Gateway) {
    for (gateway, roles, serves_api, serves_calls) in [
        (api, json!(["api"]), true, false),
        (both, json!(["api", "relay"]), true, true),
        (relay, json!(["relay"]), false, true),
        (projector, json!(["projector"]), false, false),
    ] {
        let nobody = gateway.nobody();
        assert_eq!(nobody.get("/healthz").await.ok()["roles"], roles);
        let ready = nobody.get("/readyz").await.ok();
        assert_eq!((&ready["roles"], &ready["durability"]["replicas"]), (&roles, &json!(3)), "{ready}");
        // Without credentials a door that is there says 401, and none says 404.
        for (path, serves) in [("/api/user/self", serves_api), ("/v1/models", serves_calls)] {
            let status = nobody.get(path).await.status;
            assert_eq!(status, if serves { 401 } else { 404 }, "{path} of {roles}");
        }
        assert_eq!(ready["meter"].is_object(), serves_calls, "{ready}");
        let data = gateway.options().data();
        assert_eq!(data.join("outbox").exists(), serves_calls, "{roles}");
        assert!(!data.join("master.key").exists(), "{roles}");
        // Only an engine of its own knows what the tables wait for.
        assert_eq!(ready["projections"].get("halted").is_some(), roles == json!(["projector"]), "{ready}");
    }
}

/// Balance, statement and call list, each asked once, of a process that does not apply the log.
async fn every_view_is_exact_at(user: &User, position: u64, paid_in: Credits, calls: &BTreeSet<String>) {
    let charged = price_of(calls.len());
    assert_eq!(total_after(&user.api, position).await, minus(paid_in, charged));
    let rows = user.every(&format!("/api/user/billing?type=consumption&after={position}")).await;
    assert_eq!(Credits::checked_sum(rows.iter().map(|row| credits(&row["quota_amount"]))), Some(charged));
    let listed = user.every(&format!("/api/user/usage?after={position}")).await;
    let ids: BTreeSet<String> = listed.iter().map(|call| text(&call["id"])).collect();
    assert_eq!((ids.len(), &ids), (listed.len(), calls));
}

/// While both projectors stand still, a read shows the past, and a read of a position waits for them. Answers the credits
/// that were given meanwhile.
async fn a_read_waits_for_a_position(operator: &Operator, user: &User, projectors: [&Gateway; 2]) -> Credits {
    let before = user.balance().await.total;
    projectors.iter().for_each(|projector| signal("STOP", projector.id()));
    let answer = operator.adjusts(user, "0.5").await;
    answer.ok();
    let position = answer.header("x-ledger-position").unwrap().parse().unwrap();
    assert_eq!(user.balance().await.total, before);
    let read = total_after(&user.api, position);
    tokio::pin!(read);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut read).await;
    projectors.iter().for_each(|projector| signal("CONT", projector.id()));
    assert!(early.is_err(), "answered before the tables were there: {early:?}");
    let given = credits(&json!("0.5"));
    assert_eq!(read.await, before.checked_add(given).unwrap());
    given
}

/// Kills LEDGER's leader while calls and corrections go on, and brings it back. Answers the credits that corrections gave.
async fn a_log_server_dies_under_load(
    nats: &mut NatsCluster,
    operator: &Operator,
    user: &User,
    callers: &[Caller; 2],
    answered: &mut BTreeSet<String>,
) -> Credits {
    let (stop, served) = (AtomicBool::new(false), Mutex::new(Vec::<(Instant, String)>::new()));
    let calling = join_all((0..8).map(|n| {
        let (stop, served) = (&stop, &served);
        async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = callers[n % 2].chat(MODEL, TOKENS).await;
                if answer.status == 200 {
                    served.lock().unwrap().push((Instant::now(), request_id(&answer)));
                } else {
                    answer.openai_error(503);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }));
    let gift = Credits::from_nano(1_000_000_000);
    // Decisions that were acknowledged, and how long each took.
    let corrects = async |numbers: std::ops::Range<u32>| {
        let mut positions = Vec::new();
        let mut slowest = Duration::ZERO;
        for number in numbers {
            let begun = Instant::now();
            // With a key, a correction whose outcome was unclear is asked for again and not given twice.
            let key = format!("gift-{number}");
            let api = operator.api.with("idempotency-key", &key);
            let path = format!("/api/admin/users/{}/adjustments", user.id);
            let body = json!({"credits": gift.to_string(), "reason": "a test needs it"});
            let position = eventually("a correction is decided", PATIENCE, async || {
                let answer = api.post(&path, &body).await;
                if answer.status == 503 {
                    return None;
                }
                answer.ok();
                answer.header("x-ledger-position")?.parse::<u64>().ok()
            })
            .await;
            positions.push(position);
            slowest = slowest.max(begun.elapsed());
        }
        (positions, slowest)
    };
    let killing = async {
        let (mut positions, _) = corrects(0..5).await;
        let leader = nats.leader().await;
        nats.kill(&leader).await;
        let killed = Instant::now();
        let (more, slowest) = corrects(5..15).await;
        positions.extend(more);
        // The service goes on with two of three.
        let count = |since: Instant| served.lock().unwrap().iter().filter(|(at, _)| *at > since).count();
        eventually("calls go on", PATIENCE, async || (count(killed) >= 100).then_some(())).await;
        let took = killed.elapsed();
        nats.bring_back(&leader);
        nats.until_whole().await;
        let back = Instant::now();
        eventually("calls go on", PATIENCE, async || (count(back) >= 50).then_some(())).await;
        stop.store(true, Ordering::Relaxed);
        (positions, killed, slowest, took)
    };
    let (_, (positions, killed, slowest, took)) = tokio::join!(calling, killing);
    let served = served.into_inner().unwrap();
    let mut times: Vec<_> = served.iter().map(|(at, _)| *at).filter(|at| *at >= killed).collect();
    times.insert(0, killed);
    times.sort();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    println!(
        "killed the leader: {} calls served, longest pause between two {gap:?}, slowest decision {slowest:?}, hundred calls after {took:?}",
        served.len()
    );
    answered.extend(served.into_iter().map(|(_, id)| id));
    let log = nats.ledger().await;
    for position in &positions {
        let (subject, bytes) = &log[usize::try_from(*position).unwrap() - 1];
        let event: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(*subject, format!("ledger.account.{}", user.id), "{event}");
        assert_eq!(event["type"], "adjustment_posted", "{event}");
    }
    Credits::checked_sum(positions.iter().map(|_| gift)).unwrap()
}

// ---- A storm on one credit ------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_calls_on_three_nodes_one_credit_pays_for_exactly_fifty() {
    let (nats, database, provider) =
        tokio::join!(Nats::start(), databases::postgres(), FakeProvider::start(Behaviour::default()));
    let shared = Shared::new(&database).with("NEXUSROUTE_NATS_URL", &nats.url());
    let (api, one, two, three) = tokio::join!(
        shared.start("api,projector"),
        shared.start("relay"),
        shared.start("relay"),
        shared.start("relay"),
    );
    let relays = [&one, &two, &three];
    let operator = Operator::of(&api).await;
    operator.offers(MODEL, provider.url(), "0", OUTPUT).await;
    let user = User::new(&api).await;
    let key = user.makes_key().await;
    let callers = relays.map(|relay| Caller::new(relay, &key));
    for caller in &callers {
        eventually("the relay knows the key and the model", PATIENCE, async || {
            let answer = caller.chat(MODEL, TOKENS).await;
            (!matches!(answer.status, 401 | 404)).then(|| answer.openai_error(402))
        })
        .await;
    }
    operator.adjusts(&user, "1").await.ok();

    let begun = Instant::now();
    let answers = join_all((0..1000).map(|n| callers[n % 3].chat(MODEL, TOKENS))).await;
    let (answered, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    println!("1000 calls on 3 nodes: {} answered in {:?}", answered.len(), begun.elapsed());
    for answer in refused {
        assert_eq!(answer.openai_error(402), "insufficient_credits", "{}", answer.text);
    }
    assert_eq!(answered.len(), 50, "each answered call costs its worst case, 0.02 of 1 credit");
    let answered: BTreeSet<String> = answered.into_iter().map(request_id).collect();
    let position = position_after_reports(&relays).await;
    assert_eq!(total_after(&user.api, position).await, Credits::ZERO);

    let other = User::with_credits(&api, &operator, "1").await;
    let others = what_lies_idle_is_recalled(&other, &relays).await;

    for gateway in [one, two, three] {
        gateway.stop().await;
    }
    is_clean(api.options()).await;
    api.stop().await;
    let books = auditor::audit(&nats.ledger().await);
    books.assert_all_leases_closed();
    for (user, answered) in [(user, answered), (other, others)] {
        let account = books.account(&user.id);
        assert_eq!((account.paid.to_string().as_str(), &account.requests), ("1", &answered));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_hundred_calls_on_three_nodes_a_days_budget_pays_for_exactly_its_fifty_and_the_next_day_for_more()
 {
    let (nats, database, provider) =
        tokio::join!(Nats::start(), databases::postgres(), FakeProvider::start(Behaviour::default()));
    let folder = tempfile::tempdir().unwrap();
    // The processes' clock, which this test moves.
    let clock = folder.path().join("clock");
    let moves_to = |seconds: u64| {
        // As a whole: nobody reads half of it.
        let new = folder.path().join("new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(&new, &clock).unwrap();
    };
    // Far from midnight, whenever this runs: noon of this day, and of the next.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let to_noon = (86_400 + 43_200 - since % 86_400) % 86_400;
    moves_to(to_noon);
    let shared = Shared::new(&database)
        .with("NEXUSROUTE_NATS_URL", &nats.url())
        .with("CLOCK_FILE", clock.to_str().unwrap());
    let (api, one, two, three) = tokio::join!(
        shared.start("api,projector"),
        shared.start("relay"),
        shared.start("relay"),
        shared.start("relay"),
    );
    let relays = [&one, &two, &three];
    let operator = Operator::of(&api).await;
    operator.offers(MODEL, provider.url(), "0", OUTPUT).await;
    let user = User::with_credits(&api, &operator, "10").await;
    let budget = json!({"name": "by the day", "budget": {"credits": "1", "period": "day"}});
    let key = text(&user.makes_key_with(budget).await["secret"]);
    let free = user.makes_key().await;
    let callers = relays.map(|relay| Caller::new(relay, &key));
    let others = relays.map(|relay| Caller::new(relay, &free));
    let mut answered = BTreeSet::new();
    for caller in &others {
        answered.insert(until_known(caller).await);
    }

    for day in 0..2 {
        moves_to(to_noon + day * 86_400);
        let begun = Instant::now();
        let answers = join_all((0..500).map(|n| callers[n % 3].chat(MODEL, TOKENS))).await;
        let (paid, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        println!("day {day}: 500 calls on 3 nodes, {} answered in {:?}", paid.len(), begun.elapsed());
        for answer in refused {
            assert_eq!(answer.openai_error(402), "budget_exceeded", "{}", answer.text);
        }
        // A call's worst case is its price: whoever was refused while more than that was left would be missing here.
        assert_eq!(paid.len(), 50, "a budget of 1 pays for 50 calls of 0.02");
        answered.extend(paid.into_iter().map(request_id));
        // What the key may not spend, the account still has.
        let other = others[0].chat(MODEL, TOKENS).await;
        other.ok();
        answered.insert(request_id(&other));
    }
    // A clock that goes back finds yesterday's budget as it was left.
    moves_to(to_noon);
    assert_eq!(callers[1].chat(MODEL, TOKENS).await.openai_error(402), "budget_exceeded");
    let position = position_after_reports(&relays).await;
    let spent = price_of(answered.len());
    assert_eq!(total_after(&user.api, position).await, minus(credits(&json!("10")), spent));

    for gateway in [one, two, three] {
        gateway.stop().await;
    }
    is_clean(api.options()).await;
    api.stop().await;
    let books = auditor::audit(&nats.ledger().await);
    books.assert_all_leases_closed();
    let account = books.account(&user.id);
    assert_eq!((account.paid, &account.requests), (spent, &answered));
}

/// One node leases more of one credit than its calls need; then all calls go to the two others. Nobody is refused while the
/// rest of that lease could pay. Answers the calls that were answered.
async fn what_lies_idle_is_recalled(user: &User, relays: &[&Gateway; 3]) -> BTreeSet<String> {
    let key = user.makes_key().await;
    let callers = relays.map(|relay| Caller::new(relay, &key));
    let mut answered = BTreeSet::new();
    for caller in &callers {
        answered.insert(until_known(caller).await);
    }
    let mut idle = Credits::ZERO;
    while idle < price_of(1) {
        let answer = callers[0].chat(MODEL, TOKENS).await;
        answer.ok();
        answered.insert(request_id(&answer));
        let position = position_after_reports(relays).await;
        let balance = user.api.get(&format!("/api/user/balance?after={position}")).await.ok();
        idle = credits(&balance["reserved"]);
        assert!(answered.len() < 25, "a lease of more than one call's credits was expected: {balance}");
    }
    let begun = Instant::now();
    let answers = join_all((0..200).map(|n| callers[1 + n % 2].chat(MODEL, TOKENS))).await;
    let (paid, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    refused.iter().for_each(|answer| assert_eq!(answer.openai_error(402), "insufficient_credits"));
    println!(
        "{idle} lay idle; of 200 calls on the two other nodes {} were answered in {:?}",
        paid.len(),
        begun.elapsed()
    );
    assert_eq!(paid.len() + answered.len(), 50, "one credit is worth fifty calls");
    answered.extend(paid.into_iter().map(request_id));
    let position = position_after_reports(relays).await;
    assert_eq!(total_after(&user.api, position).await, Credits::ZERO);
    answered
}

// ---- Relays that die --------------------------------------------------------------------------------------------------

/// Seconds: a lease's life, and how long the leases of a sealed run stay reserved.
const LIFE: u64 = 2;
const QUARANTINE: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn credits_of_a_relay_that_dies_come_back_with_it_or_after_two_lives_and_a_quarantine() {
    let (nats, database, provider) =
        tokio::join!(Nats::start(), databases::postgres(), FakeProvider::start(Behaviour::default()));
    let shared = Shared::new(&database)
        .with("NEXUSROUTE_NATS_URL", &nats.url())
        .with("NEXUSROUTE_LEASE_LIFE_SECONDS", &LIFE.to_string())
        .with("NEXUSROUTE_LEASE_REPORT_SECONDS", "1")
        .with("NEXUSROUTE_LEASE_QUARANTINE_SECONDS", &QUARANTINE.to_string())
        .with("NEXUSROUTE_RELAY_CALL_SECONDS", "2");
    let (api, returning, gone) =
        tokio::join!(shared.start("api,projector"), shared.start("relay"), shared.start("relay"));
    let operator = Operator::of(&api).await;
    operator.offers(MODEL, provider.url(), "0", OUTPUT).await;
    let (loyal, stranded) =
        (User::with_credits(&api, &operator, "10").await, User::with_credits(&api, &operator, "10").await);
    let keys = [loyal.makes_key().await, stranded.makes_key().await];

    for user in [&loyal, &stranded] {
        user.until_total(credits(&json!("10"))).await;
    }
    let paid = holds_credits(&stranded, &gone, &keys[1], &provider).await;
    gone.kill().await;
    let died = Instant::now();
    let (returns, ()) = tokio::join!(
        dies_and_returns(returning, &loyal, &keys[0], &provider, 3),
        credits_are_back(&stranded, paid),
    );
    let stranded_for = died.elapsed();
    provider.open_gate();
    let (returning, loyal_paid, took) = returns;
    println!("back from a restart: {took:?} (start of the process to the lease's close, to the balance)");
    // How long a process takes to start depends on what else the machine does.
    let best = took.iter().map(|(closed, _)| *closed).min().unwrap();
    assert!(best < Duration::from_secs(2), "{took:?}");
    let paid_by = [(&loyal, loyal_paid), (&stranded, paid)];
    for (user, paid) in paid_by {
        credits_are_back(user, paid).await;
    }

    returning.stop().await;
    let live = api.options().clone();
    is_clean(&live).await;
    api.stop().await;
    let log = nats.ledger().await;
    let books = auditor::audit(&log);
    books.assert_all_leases_closed();
    for (user, paid) in paid_by {
        assert_eq!(books.account(&user.id).paid, paid);
    }
    the_seal_and_the_quarantine_were_waited_for(&log, &stranded, stranded_for);
    three_databases_hold_the_same(&nats, &live).await;
}

/// Has a relay hold credits of a user: some leased and spent, some held by a call that never ends. Answers what was spent.
async fn holds_credits(user: &User, relay: &Gateway, key: &str, provider: &FakeProvider) -> Credits {
    provider.open_gate();
    let before = user.balance().await.total;
    let caller = Caller::new(relay, key);
    until_known(&caller).await;
    let answers = join_all((0..9).map(|_| caller.chat(MODEL, TOKENS))).await;
    answers.iter().for_each(Answer::assert_success);
    provider.close_gate();
    let waiting = provider.waiting();
    // Its caller hangs until the relay dies.
    tokio::spawn(async move {
        let body = Some(("application/json", chat(MODEL, TOKENS).to_string().into_bytes()));
        drop(caller.api.try_send(reqwest::Method::POST, "/v1/chat/completions", body).await);
    });
    provider.until_waiting(waiting + 1).await;
    let position = position_after_reports(&[relay]).await;
    assert_eq!(total_after(&user.api, position).await, minus(before, price_of(10)));
    let balance = user.balance().await;
    assert!(balance.reserved.is_positive(), "{balance:?}");
    price_of(10)
}

/// Nothing is reserved any more, and nothing is lost but what was spent of ten credits.
async fn credits_are_back(user: &User, spent: Credits) {
    let balance = user.until_nothing_is_reserved().await;
    assert_eq!(balance.available, minus(credits(&json!("10")), spent));
}

/// Kills a relay and starts it again at once, some times. Answers the last run, what the user has paid, and for each round
/// the time from the start of the process until its lease was closed on the log, and until the balance showed it.
async fn dies_and_returns(
    mut relay: Gateway,
    user: &User,
    key: &str,
    provider: &FakeProvider,
    rounds: usize,
) -> (Gateway, Credits, Vec<(Duration, Duration)>) {
    let mut paid = Credits::ZERO;
    let mut took = Vec::new();
    for _ in 0..rounds {
        paid = paid.checked_add(holds_credits(user, &relay, key, provider).await).unwrap();
        let options = relay.options().clone();
        relay.kill().await;
        let (begun, wall) = (Instant::now(), chrono::Utc::now());
        let starting = options.start();
        let returned = async {
            eventually("the credits are back", PATIENCE, async || {
                (user.balance().await.reserved == Credits::ZERO).then_some(())
            })
            .await;
            begun.elapsed()
        };
        let (restarted, shown) = tokio::join!(starting, returned);
        relay = restarted;
        let tail = relay.command(&["ledger", "tail", "--account", &user.id]).await;
        let closed = tail.lines().rev().find(|line| line.contains("lease_closed")).unwrap();
        let closed: Value = serde_json::from_str(closed).unwrap();
        assert_eq!(closed["event"]["data"]["by"], "holder", "{closed}");
        let closed = moment(&closed["event"]["at"]) - wall;
        took.push((closed.to_std().unwrap(), shown));
    }
    (relay, paid, took)
}

fn moment(at: &Value) -> chrono::DateTime<chrono::Utc> {
    text(at).parse().unwrap()
}

fn the_seal_and_the_quarantine_were_waited_for(
    log: &[(String, Vec<u8>)],
    user: &User,
    shown_after: Duration,
) {
    let events: Vec<Value> = log.iter().map(|(_, bytes)| serde_json::from_slice(bytes).unwrap()).collect();
    let own = events.iter().filter(|event| event["account"] == user.id.as_str());
    let (mut touched, mut epoch, mut closed) = (None, None, None);
    for event in own {
        match event["type"].as_str().unwrap() {
            "lease_granted" => {
                epoch = Some(text(&event["data"]["epoch"]));
                touched = Some(moment(&event["at"]));
            }
            "lease_amended" => touched = Some(moment(&event["at"])),
            "lease_closed" => {
                assert_eq!(event["data"]["by"], "sweeper", "{event}");
                closed = Some(moment(&event["at"]));
            }
            _ => {}
        }
    }
    let subject = format!("ledger.node.{}", epoch.unwrap());
    let sealed = log.iter().zip(&events).rev().find(|((on, _), _)| *on == subject).unwrap().1;
    assert_eq!((&sealed["type"], &sealed["data"]["cause"]), (&json!("node_sealed"), &json!("silent")));
    let (touched, sealed, closed) = (touched.unwrap(), moment(&sealed["at"]), closed.unwrap());
    let seconds = |count: u64| chrono::TimeDelta::seconds(i64::try_from(count).unwrap());
    println!(
        "a relay that never returned: sealed {} ms and closed {} ms after its last word, shown {shown_after:?} after its end",
        (sealed - touched).num_milliseconds(),
        (closed - touched).num_milliseconds(),
    );
    // The server's clock measures, a node's clock is written down: both are this machine's.
    let slack = chrono::TimeDelta::milliseconds(50);
    assert!(sealed - touched >= seconds(2 * LIFE) - slack, "sealed too early: {touched} {sealed}");
    assert!(closed - sealed >= seconds(QUARANTINE) - slack, "closed too early: {sealed} {closed}");
    assert!(closed - touched < seconds(2 * LIFE + QUARANTINE + 20), "closed late: {touched} {closed}");
}

/// The log projected anew into three databases gives the tables that the live one has.
async fn three_databases_hold_the_same(nats: &Nats, live: &GatewayOptions) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}?mode=rwc", folder.path().join("projected.db").display());
    let (postgres, mariadb) = tokio::join!(databases::postgres(), databases::mariadb());
    let projected = join_all([sqlite, postgres, mariadb].map(|url| async move {
        let options = Shared::new(&url).with("NEXUSROUTE_NATS_URL", &nats.url()).options("projector");
        let projector = options.start().await;
        eventually("the log is projected", PATIENCE, async || {
            let ready = readiness(&projector).await;
            let tables = &ready["projections"];
            (tables["lag"] == 0 && tables["applied"] == ready["log_position"]).then_some(())
        })
        .await;
        projector.stop().await;
        tables_of(&options).await
    }))
    .await;
    let expected = tables_of(live).await;
    let rows = |name: &str| expected.iter().find(|it| it["table"] == name).unwrap()["rows"].as_u64().unwrap();
    assert!(rows("usage_records") >= 40 && rows("leases") >= 4, "{expected:?}");
    for tables in projected {
        assert_eq!(tables, expected);
    }
}

/// The projected tables with their checksums, as the command line prints them.
async fn tables_of(options: &GatewayOptions) -> Vec<Value> {
    let output = options.run(&["projections", "status", "--checksum", "--json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&status["halted"], &status["lag"]), (&Value::Null, &json!(0)), "{status}");
    let tables = status["tables"].as_array().unwrap().clone();
    assert!(tables.iter().all(|table| table["sha256"].as_str().is_some_and(|sum| sum.len() == 64)));
    tables
}
