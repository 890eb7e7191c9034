//! The engine against a real log.

use super::{Projector, ProjectorHandle, ProjectorOptions};
use crate::testing::{Cut, FOREVER, On, Program, Proxy, TestDatabase, account, credits, dump, id, serve};
use crate::{Database, balances, checksum, position};
use domain::account::event::GrantSource;
use domain::{Actor, ActorKind, Command, GrantId};
use ledger::{Ledger, LocalServer, Log};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct Server {
    local: LocalServer,
    log: Log,
}

impl Server {
    async fn start(folder: &Path) -> Self {
        let (local, log) = serve(folder).await;
        Self { local, log }
    }

    fn project(&self, db: &Database) -> ProjectorHandle {
        let options = ProjectorOptions { max_batch: 7, ..ProjectorOptions::default() };
        Projector::start_aside(db, self.log.clone(), options).unwrap()
    }

    /// Gives one credit each, under these numbers, to three accounts in turn; answers with the last position.
    async fn give(&self, db: &Database, numbers: std::ops::Range<u64>) -> u64 {
        let ledger = Ledger::new(self.log.clone(), Arc::new(db.clone()));
        let mut last = 0;
        for number in numbers {
            let command = Command::GrantCredit {
                grant: GrantId::from_uuid(id(8, number)),
                source: GrantSource::Promotion,
                credits: credits("1"),
                reason: None,
            };
            let actor = Actor { kind: ActorKind::System, id: "test".parse().unwrap() };
            last = ledger.execute(account(number % 3), command, actor, None).await.unwrap().recorded.sequence;
        }
        last
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn halted(projector: &ProjectorHandle) -> String {
    // A halt ends the waiting, whatever the position.
    assert!(!projector.wait_for(u64::MAX, FOREVER).await);
    projector.status().halted.expect("the engine goes on")
}

async fn total(db: &Database, number: u64) -> String {
    balances::balance(db, account(number)).await.unwrap().total.to_string()
}

#[tokio::test]
async fn events_reach_the_tables_through_stops_and_restarts_and_a_killed_server() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let test = TestDatabase::on(On::Sqlite).await;
    let projector = server.project(&test.db);
    let last = server.give(&test.db, 0..9).await;
    assert!(projector.wait_for(last, FOREVER).await);
    assert_eq!(total(&test.db, 0).await, "3");
    assert!(
        !projector.wait_for(last + 1, Duration::from_millis(20)).await,
        "that position does not exist yet"
    );
    projector.stop().await;

    // What happens meanwhile is caught up with, by two engines at once.
    let last = server.give(&test.db, 9..60).await;
    assert!(!projector.wait_for(last, Duration::from_millis(20)).await);
    let other = Database::connect(&test.url).await.unwrap();
    let (one, two) = (server.project(&test.db), server.project(&other));
    assert!(one.wait_for(last, FOREVER).await && two.wait_for(last, FOREVER).await);
    assert_eq!(one.status().lag, 0);

    let pid = server.local.pid().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let last = server.give(&test.db, 60..75).await;
    assert!(one.wait_for(last, FOREVER).await && two.wait_for(last, FOREVER).await, "{:?}", one.status());
    for owner in 0..3 {
        assert_eq!(total(&test.db, owner).await, "25");
    }
    assert_eq!(one.status().halted, None);
    one.stop().await;
    two.stop().await;
    server.local.stop().await;
}

#[tokio::test]
async fn a_log_that_lost_its_tail_or_was_replaced_halts_the_engine() {
    let (folder, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let test = TestDatabase::on(On::Sqlite).await;
    let server = Server::start(folder.path()).await;
    server.give(&test.db, 0..5).await;
    server.local.stop().await;
    copy(folder.path(), kept.path());

    let server = Server::start(folder.path()).await;
    let projector = server.project(&test.db);
    let last = server.give(&test.db, 5..10).await;
    assert!(projector.wait_for(last, FOREVER).await);
    projector.stop().await;
    server.local.stop().await;
    let before = dump(&test.db).await;

    // The tail is gone: first shorter than the checkpoint, then grown past it with other events.
    let server = Server::start(kept.path()).await;
    let projector = server.project(&test.db);
    let reason = halted(&projector).await;
    assert!(reason.contains("lost its tail"), "{reason}");
    projector.stop().await;
    let elsewhere = TestDatabase::on(On::Sqlite).await;
    assert!(server.give(&elsewhere.db, 100..120).await > last);
    let projector = server.project(&test.db);
    let reason = halted(&projector).await;
    assert!(reason.contains("not the one"), "{reason}");
    projector.stop().await;
    server.local.stop().await;

    let replaced = TempDir::new().unwrap();
    let server = Server::start(replaced.path()).await;
    server.give(&elsewhere.db, 200..230).await;
    let projector = server.project(&test.db);
    let reason = halted(&projector).await;
    assert!(reason.contains("LEDGER of"), "{reason}");
    projector.stop().await;
    server.local.stop().await;
    assert_eq!(dump(&test.db).await, before);
    assert_eq!(position(&test.db).await.unwrap(), last);
}

#[tokio::test]
async fn a_tail_lost_under_a_running_engine_is_noticed_before_anything_new_is_applied() {
    let (folder, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let test = TestDatabase::on(On::Sqlite).await;
    let server = Server::start(folder.path()).await;
    server.give(&test.db, 0..5).await;
    server.local.stop().await;
    copy(folder.path(), kept.path());
    let server = Server::start(folder.path()).await;
    let last = server.give(&test.db, 5..10).await;
    let projector = server.project(&test.db);
    assert!(projector.wait_for(last, FOREVER).await);
    projector.stop().await;
    let before = dump(&test.db).await;
    let place = crate::Checkpoint::read(&test.db).await.unwrap();
    server.local.stop().await;

    let server = Server::start(kept.path()).await;
    let elsewhere = TestDatabase::on(On::Sqlite).await;
    server.give(&elsewhere.db, 100..120).await;
    // As if the reader had mended its connection by itself: the engine still believes in its checkpoint.
    let run = super::run::Run::for_tests(test.db.clone(), server.log.clone());
    let new = server.log.at(last + 1).await.unwrap().unwrap();
    let refused = run.apply_after(place, server.log.identity().await.unwrap(), vec![new]).await.unwrap_err();
    assert!(refused.to_string().contains("not the one"), "{refused}");
    assert_eq!(dump(&test.db).await, before);
    server.local.stop().await;
}

/// Its server is killed or stopped while it applies, then stays away for a while; and connections break at COMMIT, before and after.
async fn the_engine_outlives_its_database(program: Program) {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let sqlite = TestDatabase::on(On::Sqlite).await;
    let below = crate::testing::Server::start_new(program);
    let proxy = Proxy::to(&below);
    let test = TestDatabase::on_server(&below, proxy.socket()).await;
    // A second engine, on another road to the same database, now and then applies what the first one wanted to.
    let other = Database::connect(&below.url(test.name())).await.unwrap();
    let (one, two) = (server.project(&test.db), server.project(&other));
    let mut last = 0;
    for round in 0..4 {
        proxy.cut_next(if round % 2 == 0 { Cut::BeforeTheServer } else { Cut::BeforeTheClient });
        last = server.give(&sqlite.db, round * 40..round * 40 + 20).await;
        tokio::task::block_in_place(|| if round < 2 { below.kill() } else { below.stop() });
        last = last.max(server.give(&sqlite.db, round * 40 + 20..round * 40 + 40).await);
        if round == 3 {
            let waits = async {
                while one.status().waiting.is_none() || two.status().waiting.is_none() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(FOREVER, waits).await.expect("they know that they wait");
        }
        tokio::task::block_in_place(|| below.start());
    }
    for engine in [&one, &two] {
        assert!(engine.wait_for(last, FOREVER).await, "{:?}", engine.status());
        assert_eq!(engine.status().halted, None);
        engine.stop().await;
    }
    assert_as_undisturbed(server, &sqlite.db, &test.db, last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_outlives_its_postgres() {
    the_engine_outlives_its_database(Program::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_outlives_its_mariadb() {
    the_engine_outlives_its_database(Program::MariaDb).await;
}

/// The tables are what an engine that nothing disturbed makes of the same log.
async fn assert_as_undisturbed(server: Server, plain: &Database, disturbed: &Database, last: u64) {
    let undisturbed = server.project(plain);
    assert!(undisturbed.wait_for(last, FOREVER).await);
    undisturbed.stop().await;
    assert_eq!(checksum(disturbed).await.unwrap(), checksum(plain).await.unwrap());
    server.local.stop().await;
}

/// Its database, or the road there, swallows a COMMIT, once before and once after it was done, and closes nothing.
async fn the_engine_gives_up_a_database_that_stops_answering(program: Program) {
    let folder = TempDir::new().unwrap();
    let server = Server::start(folder.path()).await;
    let sqlite = TestDatabase::on(On::Sqlite).await;
    let proxy = Proxy::to(program.shared());
    let test = TestDatabase::on_server(program.shared(), proxy.socket()).await;
    let options = ProjectorOptions { patience: Duration::from_millis(500), ..ProjectorOptions::default() };
    let projector = Projector::start_aside(&test.db, server.log.clone(), options).unwrap();
    let mut last = server.give(&sqlite.db, 0..3).await;
    assert!(projector.wait_for(last, FOREVER).await, "{:?}", projector.status());
    for (round, cut) in (1..).zip([Cut::StallBeforeTheServer, Cut::StallBeforeTheClient].repeat(2)) {
        proxy.cut_next(cut);
        last = server.give(&sqlite.db, round * 10..round * 10 + 5).await;
        assert!(projector.wait_for(last, FOREVER).await, "{:?}", projector.status());
        assert!(proxy.is_cut());
    }
    assert_eq!(projector.status().halted, None);
    projector.stop().await;
    assert_as_undisturbed(server, &sqlite.db, &test.db, last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_gives_up_a_postgres_that_stops_answering() {
    the_engine_gives_up_a_database_that_stops_answering(Program::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_gives_up_a_mariadb_that_stops_answering() {
    the_engine_gives_up_a_database_that_stops_answering(Program::MariaDb).await;
}
