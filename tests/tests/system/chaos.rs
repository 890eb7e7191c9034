//! Chaos: whatever is killed, every call that was answered is charged exactly once, and the log and the tables agree.
//!
//! Each kind of fault is a test of a few rounds; `make chaos` runs a hundred of each (`ROUNDS=100`, `SEED=…` to repeat one).

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    time::{Duration, SystemTime},
};
use system_tests::{
    GatewayOptions, Nats,
    chaos::{
        Chance, Fate, Judge, Load, Setting, Stage,
        load::{self, Manner},
        rounds, seed,
        stage::DatabaseServer,
        tail::{Harm, Tail, copy},
    },
    eventually, place,
    process::signal,
};

/// Every so many rounds, and after the last, the whole log is verified and the tables are rebuilt.
const SOUND_EVERY: u64 = 5;
/// Whatever is waited for on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(120);

/// Rounds of load with a fault in the middle. The fault leaves every gateway running or coming back.
async fn rounds_of(stage: &mut Stage, count: u64, fault: impl AsyncFn(&mut Stage)) {
    for round in 1..=count {
        let load = stage.load();
        stage.moment().await;
        fault(stage).await;
        stage.is_ready().await;
        load.more_are_answered(5).await;
        let seen = load.stop().await;
        stage.judge(&seen).await;
        if round % SOUND_EVERY == 0 && round < count {
            stage.is_sound().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_in_the_middle_of_streams_loses_and_doubles_nothing() {
    let mut stage = Stage::set(Setting::embedded("relay killed, its NATS with it", seed(1))).await;
    rounds_of(&mut stage, rounds(3), async |stage| {
        stage.kill(0).await;
        stage.revive(0).await;
    })
    .await;
    stage.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_beside_a_log_that_lives_loses_and_doubles_nothing() {
    let setting = Setting { nats: true, ..Setting::embedded("relay killed, NATS lives", seed(2)) };
    let mut stage = Stage::set(setting).await;
    rounds_of(&mut stage, rounds(2), async |stage| {
        // In every other round the log says nothing for a while before, so that records wait.
        let is_silent = stage.chance.index(2) == 0;
        let nats = stage.nats.as_ref().unwrap().id();
        if is_silent {
            signal("STOP", nats);
            tokio::time::sleep(stage.chance.millis(20, 500)).await;
        }
        stage.kill(0).await;
        if is_silent {
            signal("CONT", nats);
        }
        stage.revive(0).await;
    })
    .await;
    stage.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nats_server_that_is_killed_under_load_loses_and_doubles_nothing() {
    let mut stage = Stage::set(Setting::embedded("nats-server killed", seed(3))).await;
    rounds_of(&mut stage, rounds(2), async |stage| {
        let killed = stage.gateway(0).nats_id().expect("it has a child");
        signal("KILL", killed);
        eventually("the child is back", Duration::from_secs(60), async || {
            stage.gateway(0).nats_id().filter(|id| *id != killed)
        })
        .await;
    })
    .await;
    stage.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_is_killed_under_load_loses_and_doubles_nothing() {
    a_database_is_killed(DatabaseServer::Postgres, "PostgreSQL killed", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_that_is_killed_under_load_loses_and_doubles_nothing() {
    a_database_is_killed(DatabaseServer::MariaDb, "MariaDB killed", 5).await;
}

async fn a_database_is_killed(database: DatabaseServer, kind: &'static str, fixed: u64) {
    let setting = Setting { database: Some(database), ..Setting::embedded(kind, seed(fixed)) };
    let mut stage = Stage::set(setting).await;
    rounds_of(&mut stage, rounds(2), async |stage| {
        stage.kill_database();
        tokio::time::sleep(stage.chance.millis(0, 300)).await;
        stage.revive_database();
    })
    .await;
    stage.ends().await;
}

/// The life of a lease in [`SHORT_LIVES`].
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// Leases of a second; all else as short as it may be then.
const SHORT_LIVES: &[(&str, &str)] = &[
    ("NEXUSROUTE_LEASE_LIFE_SECONDS", "1"),
    ("NEXUSROUTE_RELAY_CALL_SECONDS", "2"),
    ("NEXUSROUTE_LEASE_REPORT_SECONDS", "1"),
    ("NEXUSROUTE_LEASE_QUARANTINE_SECONDS", "8"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sleeps_beyond_its_leases_wakes_as_another_and_doubles_nothing() {
    let setting = Setting {
        nodes: 2,
        nats: true,
        database: Some(DatabaseServer::Postgres),
        environment: SHORT_LIVES,
        manner: Manner { tokens: 30, pause_ms: 30, ..Manner::default() },
        ..Setting::embedded("a node sleeps and wakes", seed(6))
    };
    let mut stage = Stage::set(setting).await;
    let count = rounds(2);
    for round in 1..=count {
        // Now and then it sleeps until even the quarantine is over.
        let is_long = round % 10 == 0;
        // Either it falls asleep in the middle of calls, or with leases that no call uses: then nothing that it has to say
        // to the log tells it, when it wakes, that it was taken for dead.
        let is_idle = stage.chance.index(2) == 0 || round == 1;
        let load = stage.load();
        stage.moment().await;
        let told = |stage: &Stage, what: &str| -> Vec<String> {
            stage.gateway(1).output().lines().filter(|line| line.contains(what)).map(str::to_owned).collect()
        };
        let own = |stage: &Stage| {
            let output = stage.gateway(0).output();
            output.lines().filter(|line| line.contains("goes on as a new run")).count()
        };
        let seals = told(&stage, "a run was sealed").len();
        let (closes, lives) = (told(&stage, "the lease of a silent node was closed").len(), own(&stage));
        if is_idle {
            stage.has_leases(0).await;
            load.aim(Some(1));
            load.nobody_waits_for(0).await;
            stage.is_idle(0).await;
        }
        stage.signal("STOP", 0);
        let asleep = SystemTime::now();
        eventually("the sleeper is sealed", LONG, async || {
            (told(&stage, "a run was sealed").len() > seals).then_some(())
        })
        .await;
        // On a busy machine the seal may be meant for a pause before: what it holds then has not run out yet.
        let since = asleep.elapsed().unwrap();
        tokio::time::sleep(SHORT_LIFE.saturating_sub(since)).await;
        if is_long {
            eventually("its leases are closed", LONG, async || {
                (told(&stage, "the lease of a silent node was closed").len() > closes).then_some(())
            })
            .await;
        }
        // All who call now call the sleeper: they are the first that it sees when it wakes.
        load.aim(Some(0));
        load.all_wait_for(0).await;
        tokio::time::sleep(stage.chance.millis(0, 300)).await;
        stage.signal("CONT", 0);
        eventually("it goes on as a new run", LONG, async || (own(&stage) > lives).then_some(())).await;
        load.more_are_answered(5).await;
        load.aim(None);
        load.more_are_answered(5).await;
        let seen = load.stop().await;
        stage.judge.lost_before = is_long.then_some(asleep);
        stage.judge(&seen).await;
        // What came in while it slept was not served on a lease of the run that is over.
        let sealed: Vec<String> = told(&stage, "a run was sealed")[seals..]
            .iter()
            .map(|line| line.split("epoch=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned())
            .collect();
        let calls = seen.calls.lock().unwrap().clone();
        let woken: Vec<_> = calls.iter().filter(|call| call.node == 0 && call.begun > asleep).collect();
        assert!(woken.iter().any(|call| call.fate == Fate::Complete), "nobody called the sleeper");
        for request in woken.into_iter().filter_map(|call| call.request.as_deref()) {
            let epoch = stage.judge.epoch_of(request);
            assert!(
                epoch.is_none_or(|epoch| !sealed.iter().any(|it| it == epoch)),
                "{request} was served by run {epoch:?}, which was sealed before it came in"
            );
        }
        if round % SOUND_EVERY == 0 && round < count {
            stage.is_sound().await;
        }
    }
    stage.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_dies_between_the_rows_and_the_checkpoint_applies_each_batch_once() {
    let mut stage = Stage::set(Setting::embedded("projector killed", seed(7))).await;
    let count = rounds(3);
    for round in 1..=count {
        let point = ["project.moved", "project.written", "project.committed"][stage.chance.index(3)];
        let nth = stage.chance.between(1, 20);
        stage.kill(0).await;
        let load = stage.load();
        dies_at(&mut stage, point, nth).await;
        stage.revive(0).await;
        load.more_are_answered(5).await;
        let seen = load.stop().await;
        stage.judge(&seen).await;
        if round % SOUND_EVERY == 0 && round < count {
            stage.is_sound().await;
        }
    }
    stage.ends().await;
}

/// Starts the gateway so that it dies at a crash point, and waits for that.
async fn dies_at(stage: &mut Stage, point: &str, nth: u64) {
    let plan = format!("{point}:{nth}");
    let mut gateway = stage.nodes[0].options.clone().environment("CRASH_AT", &plan).launch();
    if gateway.gets_ready().await {
        stage.is_back(0, gateway);
        let reached = async {
            while !stage.gateway_mut(0).has_ended() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(LONG, reached).await.is_ok(), "{plan} was never reached");
        gateway = stage.nodes[0].gateway.take().unwrap();
    }
    let output = gateway.output();
    let status = gateway.wait().await;
    assert_eq!(status.signal(), Some(9), "{plan} was never reached: {status}\n{output}");
}

/// So many times one outbox is harmed.
const HARMS: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_takes_at_most_the_outbox_s_last_words_and_never_charges_twice() {
    let setting = Setting { nats: true, ..Setting::embedded("power cut of the outbox", seed(8)) };
    let mut stage = Stage::set(setting).await;
    let (count, mut harms, mut lost, mut refused) = (rounds(HARMS), 0, 0, 0);
    while harms < count {
        // The log falls silent, calls go on for a while, and everything dies.
        let load = stage.load();
        stage.moment().await;
        let nats = stage.nats.as_ref().unwrap().id();
        signal("STOP", nats);
        tokio::time::sleep(stage.chance.millis(50, 800)).await;
        stage.kill(0).await;
        let seen = load.stop().await;
        let tail = Tail::of(&stage.nodes[0].options.data());
        let left = tempfile::tempdir().unwrap();
        copy(stage.nats.as_ref().unwrap().store(), &left.path().join("nats"));
        copy(&stage.nodes[0].options.data(), &left.path().join("data"));
        for _ in 0..HARMS.min(count - harms) {
            let harm = harm(&tail, harms, &mut stage.chance);
            let took = starts_on_the_harmed(&mut stage, left.path(), &tail, harm, &seen).await;
            (harms, lost, refused) =
                (harms + 1, lost + took.unwrap_or(0), refused + usize::from(took.is_none()));
        }
        // And the one that was only killed.
        signal("CONT", nats);
        stage.revive(0).await;
        stage.judge(&seen).await;
    }
    eprintln!(
        "chaos: power cut of the outbox: {harms} times harmed, {lost} settled records lost in them, {refused} refused"
    );
    stage.ends().await;
}

/// What is done to the outbox: at first each kind once, then anything.
///
/// A power cut takes what was not on disk yet, from any byte on, in four ways. The others are what it cannot do: a disk that
/// did not keep what it had flushed, however long ago, and a byte that turns. They cost what they hold, and no more.
fn harm(tail: &Tail, number: u64, chance: &mut Chance) -> Harm {
    let (from, to) = (tail.durable() as u64, tail.length() as u64);
    let kind = if number < HARMS { number } else { chance.between(0, HARMS) };
    let (anywhere, late) = (chance.between(0, to), chance.between(from.min(to - 1), to));
    let at = |number: u64| usize::try_from(number).unwrap();
    match kind {
        0 => Harm::Cut(at(late)),
        1 => Harm::Torn(at(late)),
        2 => Harm::Blank(at(late)),
        3 => Harm::Hole(at(late)),
        4 => Harm::Cut(at(anywhere)),
        _ => Harm::Flipped(at(anywhere)),
    }
}

/// Starts a gateway on a copy of everything whose outbox was harmed. Answers with the settled records that were lost;
/// `None`: the start was refused, as it had to be.
async fn starts_on_the_harmed(
    stage: &mut Stage,
    left: &Path,
    tail: &Tail,
    harm: Harm,
    seen: &load::Seen,
) -> Option<usize> {
    let folder = tempfile::tempdir().unwrap();
    copy(&left.join("nats"), folder.path());
    let mut nats = Nats::on_store(folder.path()).await;
    let options = GatewayOptions::default().nats(&nats);
    let options = options.environment("NEXUSROUTE_MASTER_KEY", &"5a".repeat(32));
    copy(&left.join("data"), &options.data());
    let harmed = tail.harmed(harm, &mut stage.chance);
    harmed.put(&options.data());
    let mut gateway = options.launch();
    let is_ready = gateway.gets_ready().await;
    if harmed.is_damage() {
        assert!(
            !matches!(harm, Harm::Torn(_) | Harm::Blank(_) | Harm::Hole(_)),
            "{harm:?}: no power cut does that"
        );
        assert!(!is_ready, "{harm:?}: it started on a damaged outbox");
        // What it said last may still be on its way.
        let said = async || gateway.output().contains("is damaged at byte").then_some(());
        eventually("the start says what is damaged", LONG, said).await;
        assert!(harmed.is_untouched(&options.data()), "{harm:?}: what is damaged was changed");
        nats.go_away().await;
        return None;
    }
    let output = gateway.output();
    assert!(is_ready, "{harm:?} of {} bytes, {} durable: {output}", tail.length(), tail.durable());
    assert_eq!(output.contains("it was cut off"), harmed.is_torn(), "{harm:?}: {output}");
    let lost = harmed.lost();
    let mut judge = Judge::default();
    judge.reads(&gateway.command(&["ledger", "tail"]).await);
    // What was cut off is the operator's loss, if the log did not have it; all else is charged.
    let mut calls = seen.calls.lock().unwrap().clone();
    for call in &mut calls {
        let request = call.request.as_deref();
        if call.fate == Fate::Complete && request.is_some_and(|request| lost.contains(request)) {
            call.fate = Fate::Cut;
        }
    }
    judge.hears_again(&calls, &stage.model);
    for command in
        [&["ledger", "verify", "--json"][..], &["projections", "rebuild", "--dry-run", "--json"][..]]
    {
        gateway.command(command).await;
    }
    gateway.stop().await;
    nats.go_away().await;
    Some(lost.len())
}

/// Names of the crash points, from the list that the binary is built with.
fn crash_points() -> Vec<String> {
    let source = std::fs::read_to_string(place::repository().join("ledger/src/crash.rs")).unwrap();
    let list = source.split("POINTS: &[&str] = &[").nth(1).unwrap().split("];").next().unwrap();
    let names: Vec<_> = list.lines().filter_map(|line| line.trim().strip_prefix('"')).collect();
    let names = names.iter().map(|line| line.split('"').next().unwrap().to_owned());
    names.collect()
}

/// Points that only a node reaches which sweeps another, or is swept: [`a_sweeper_and_a_swept_node_may_die_in_between`].
const OF_TWO_NODES: [&str; 3] = ["sweep.sealed", "sweep.closed", "epoch.noted"];

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_process_dies_every_answered_call_is_charged_once() {
    let setting = Setting {
        manner: Manner { callers: 6, pause_ms: 25, ..Manner::default() },
        ..Setting::embedded("crash points", seed(9))
    };
    let mut stage = Stage::set(setting).await;
    let points = crash_points();
    let points: Vec<_> = points.iter().filter(|point| !OF_TWO_NODES.contains(&point.as_str())).collect();
    assert!(points.len() >= 30, "{points:?}");
    let count = usize::try_from(rounds(points.len() as u64)).unwrap();
    stage.kill(0).await;
    let mut load = stage.load();
    for round in 0..count {
        let point = points[round % points.len()].as_str();
        // The first time at once, then at any later time: of a new lease one in each account, for more of them are made
        // only where credits are short.
        let most =
            if matches!(point, "lease.noted" | "lease.granted") { stage.people.len() as u64 } else { 6 };
        let nth = if round < points.len() { 1 } else { stage.chance.between(1, most) };
        if point.starts_with("restart.") {
            // A run that leaves behind what the next one has to do at this point.
            let before = if point == "restart.interrupted" { "settle.begun" } else { "report.encoded" };
            dies_at(&mut stage, before, 2).await;
            dies_at(&mut stage, point, 1).await;
        } else if ["lease.unused", "lease.closed", "lease.ended"].contains(&point) {
            dies_stopping(&mut stage, &load, point).await;
        } else {
            dies_at(&mut stage, point, nth).await;
        }
        // Each start is also the one after a death. Only now and then is one let live, and all of it judged.
        if round % DEATHS_IN_A_ROW != DEATHS_IN_A_ROW - 1 && round != count - 1 {
            continue;
        }
        stage.revive(0).await;
        load.more_are_answered(5).await;
        let seen = load.stop().await;
        stage.judge(&seen).await;
        if (round + 1) % (2 * DEATHS_IN_A_ROW) == 0 {
            stage.is_sound().await;
        }
        if round == count - 1 {
            break;
        }
        stage.kill(0).await;
        load = stage.load();
    }
    stage.ends().await;
}

/// So often the gateway dies before it is judged.
const DEATHS_IN_A_ROW: usize = 5;

/// Leases are closed when a gateway stops.
async fn dies_stopping(stage: &mut Stage, load: &Load, point: &str) {
    let plan = format!("{point}:1");
    let mut gateway = stage.nodes[0].options.clone().environment("CRASH_AT", &plan).launch();
    assert!(gateway.gets_ready().await, "{}", gateway.output());
    stage.is_back(0, gateway);
    load.more_are_answered(3).await;
    stage.signal("TERM", 0);
    let gateway = stage.nodes[0].gateway.take().unwrap();
    let output = gateway.output();
    assert_eq!(gateway.wait().await.signal(), Some(9), "{plan} was never reached:\n{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweeper_and_a_swept_node_may_die_in_between() {
    let setting = Setting {
        nats: true,
        environment: SHORT_LIVES,
        manner: Manner { tokens: 30, pause_ms: 30, ..Manner::default() },
        ..Setting::embedded("crash points of two nodes", seed(10))
    };
    let mut stage = Stage::set(setting).await;
    let mut sweeper = GatewayOptions::default().nats(stage.nats.as_ref().unwrap());
    for (name, value) in SHORT_LIVES {
        sweeper = sweeper.environment(name, value);
    }
    let count = rounds(1);
    for _ in 0..count {
        // The node that will sleep dies where it notices that it slept.
        stage.nodes[0].gateway.take().unwrap().stop().await;
        let sleeper = stage.nodes[0].options.clone().environment("CRASH_AT", "epoch.noted:1").start().await;
        stage.is_back(0, sleeper);
        let load = stage.load();
        stage.moment().await;
        stage.signal("STOP", 0);
        let asleep = SystemTime::now();
        for point in &OF_TWO_NODES[..2] {
            let plan = format!("{point}:1");
            let mut gateway = sweeper.clone().environment("CRASH_AT", &plan).launch();
            gateway.gets_ready().await;
            let output = gateway.output();
            assert_eq!(gateway.wait().await.signal(), Some(9), "{plan} was never reached:\n{output}");
        }
        stage.signal("CONT", 0);
        let sleeper = stage.nodes[0].gateway.take().unwrap();
        let output = sleeper.output();
        assert_eq!(sleeper.wait().await.signal(), Some(9), "epoch.noted was never reached:\n{output}");
        stage.revive(0).await;
        load.more_are_answered(5).await;
        let seen = load.stop().await;
        // One of its leases was closed while it slept.
        stage.judge.lost_before = Some(asleep);
        stage.judge(&seen).await;
        let third = sweeper.start().await;
        third.stop().await;
    }
    stage.ends().await;
}

#[test]
fn every_crash_point_in_the_source_is_on_the_list_and_the_other_way_round() {
    let mut placed = std::collections::BTreeSet::new();
    for folder in ["ledger/src", "projections/src", "api/src", "relay/src"] {
        points_in(&place::repository().join(folder), &mut placed);
    }
    let listed: std::collections::BTreeSet<_> = crash_points().into_iter().collect();
    assert_eq!(placed, listed);
}

fn points_in(folder: &Path, placed: &mut std::collections::BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            points_in(&path, placed);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let named = source.split("crash::point(\"").skip(1);
            placed.extend(named.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
}
