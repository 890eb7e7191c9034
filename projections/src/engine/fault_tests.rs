//! The engine and a database that fails: a connection that breaks at COMMIT, a server that is killed.

use super::apply::{fold_in, in_transaction};
use super::{Applied, apply};
use crate::testing::*;
use crate::{Checkpoint, Checksums, DatabaseError, ProjectionError, checksum};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the tables are when nothing fails.
async fn undisturbed(log: &TestLog) -> Checksums {
    let test = TestDatabase::on(On::Sqlite).await;
    apply_in(&test.db, &log.messages, 1_000).await;
    checksum(&test.db).await.unwrap()
}

async fn a_commit_whose_answer_is_lost_is_looked_up(program: Program) {
    let log = TestLog::busy_week(21);
    let proxy = Proxy::to(program.shared());
    let test = TestDatabase::on_server(program.shared(), proxy.socket()).await;
    let identity = identity();
    let mut from = Checkpoint::default();
    let cuts = [Cut::BeforeTheServer, Cut::BeforeTheClient, Cut::Nowhere];
    for (batch, cut) in log.messages.chunks(20).zip(cuts.into_iter().cycle()) {
        proxy.cut_next(cut);
        let applied = apply(&test.db, zone(8), &identity, &from, batch).await;
        assert!(proxy.is_cut());
        let found = Checkpoint::read(&test.db).await.unwrap();
        let to = Checkpoint::after(batch.last().unwrap(), &identity);
        match (cut, applied) {
            (Cut::Nowhere, Ok(Applied::Here(next))) => assert_eq!((&next, &found), (&to, &to)),
            (Cut::BeforeTheServer | Cut::BeforeTheClient, Err(ProjectionError::Database(error))) => {
                assert!(matches!(error, DatabaseError::OutcomeUnknown(_)), "{error:?}");
                assert_eq!(found, if cut == Cut::BeforeTheClient { to.clone() } else { from.clone() });
                // Nobody looked before repeating: that does no harm either.
                let again = apply(&test.db, zone(8), &identity, &from, batch).await.unwrap();
                let expected =
                    if cut == Cut::BeforeTheClient { Applied::Elsewhere } else { Applied::Here(to.clone()) };
                assert_eq!(again, expected);
            }
            (cut, applied) => panic!("{cut:?}: {applied:?}"),
        }
        from = to;
    }
    assert_eq!(checksum(&test.db).await.unwrap(), undisturbed(&log).await);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_looked_up_on_postgres() {
    a_commit_whose_answer_is_lost_is_looked_up(Program::Postgres).await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_looked_up_on_mariadb() {
    a_commit_whose_answer_is_lost_is_looked_up(Program::MariaDb).await;
}

/// Applies a few messages at a time, with a new look at the checkpoint after each failure, while the server is killed, or stopped,
/// and started again.
async fn a_killed_server_loses_and_doubles_nothing(program: Program) {
    let log = TestLog::busy_week(22);
    let server = Server::start_new(program);
    let test = TestDatabase::on_server(&server, &server.socket()).await;
    let (identity, done) = (identity(), AtomicBool::new(false));
    let kills = async {
        let mut kills = 0;
        while !done.load(Ordering::SeqCst) {
            tokio::task::block_in_place(|| {
                if kills % 2 == 0 {
                    server.kill()
                } else {
                    server.stop()
                }
                server.start();
            });
            kills += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        kills
    };
    let applied = async {
        let (mut from, mut failures) = (None, 0);
        loop {
            let error = match &from {
                None => match Checkpoint::read(&test.db).await {
                    Ok(checkpoint) => {
                        from = Some(checkpoint);
                        continue;
                    }
                    Err(error) => error.into(),
                },
                Some(checkpoint) => {
                    let next = usize::try_from(checkpoint.sequence).unwrap();
                    let Some(batch) = log.messages[next..].chunks(3).next() else { break };
                    match apply(&test.db, zone(8), &identity, checkpoint, batch).await {
                        Ok(Applied::Here(next)) => {
                            from = Some(next);
                            continue;
                        }
                        Ok(Applied::Elsewhere) => panic!("nobody else applies"),
                        Err(error) => error,
                    }
                }
            };
            let ProjectionError::Database(error) = error else { panic!("{error:?}") };
            assert!(error.is_unavailable(), "{error:?}");
            (from, failures) = (None, failures + 1);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        done.store(true, Ordering::SeqCst);
        failures
    };
    let (kills, failures) = tokio::join!(kills, applied);
    assert!(kills > 2 && failures > 2, "{kills} kills and {failures} failures say little");
    assert_eq!(checksum(&test.db).await.unwrap(), undisturbed(&log).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgres_loses_and_doubles_nothing() {
    a_killed_server_loses_and_doubles_nothing(Program::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_mariadb_loses_and_doubles_nothing() {
    a_killed_server_loses_and_doubles_nothing(Program::MariaDb).await;
}

/// A node that is put to sleep in the middle of its batch, as a stopped process or a machine that was cut off: its connection
/// stays, and nothing comes from it.
async fn a_projector_that_falls_asleep_in_its_batch_does_not_hold_up_the_others(program: Program) {
    let log = TestLog::busy_week(23);
    let server = program.shared();
    let test = TestDatabase::on_server(server, &server.socket()).await;
    let (identity, from) = (identity(), Checkpoint::default());
    let batch = &log.messages[..10];
    let to = Checkpoint::after(&batch[9], &identity);
    let mut sleeper = test.db.begin_watched().await.unwrap();
    assert!(in_transaction(&test.db, &mut sleeper, zone(8), &from, &to, batch).await.unwrap());
    let other = apply(&test.db, zone(8), &identity, &from, batch);
    let applied = tokio::time::timeout(FOREVER, other).await.expect("it waits for the sleeper").unwrap();
    assert_eq!(applied, Applied::Here(to.clone()));
    sleeper.commit().await.unwrap_err();
    apply(&test.db, zone(8), &identity, &to, &log.messages[10..]).await.unwrap();
    assert_eq!(checksum(&test.db).await.unwrap(), undisturbed(&log).await);
}

#[tokio::test]
async fn a_sleeping_projector_does_not_hold_up_the_others_on_postgres() {
    a_projector_that_falls_asleep_in_its_batch_does_not_hold_up_the_others(Program::Postgres).await;
}

#[tokio::test]
async fn a_sleeping_projector_does_not_hold_up_the_others_on_mariadb() {
    a_projector_that_falls_asleep_in_its_batch_does_not_hold_up_the_others(Program::MariaDb).await;
}

/// Asleep while the server tells it more than the connection's buffers take: the server waits for it then, without a limit.
#[tokio::test]
async fn a_projector_that_falls_asleep_in_a_long_answer_does_not_hold_up_the_others() {
    let log = TestLog::busy_week(24);
    let proxy = Proxy::to(Program::Postgres.shared());
    let test = TestDatabase::on_server(Program::Postgres.shared(), proxy.socket()).await;
    let (first, second) = log.messages.split_at(log.messages.len() / 2);
    let from = apply_in(&test.db, first, 1_000).await;
    let long = "UPDATE account_states SET shape = 0, snapshot = repeat('x', 2000000)";
    assert!(test.db.execute(long, &[]).await.unwrap() > 0);
    let (identity, other) = (identity(), test.another().await);
    proxy.cut_next(Cut::InALongAnswer);
    let sleeper = apply(&test.db, zone(8), &identity, &from, second);
    let woken = async {
        while !proxy.is_cut() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let applied = tokio::time::timeout(FOREVER, apply(&other, zone(8), &identity, &from, second)).await;
        applied.expect("it waits for the sleeper").unwrap()
    };
    let applied = tokio::select! {
        applied = sleeper => panic!("it was to sleep: {applied:?}"),
        applied = woken => applied,
    };
    assert_eq!(applied, Applied::Here(Checkpoint::after(second.last().unwrap(), &identity)));
}

/// It slept until the server had ended its transaction and another had applied its batch, and then reads what that has written.
#[tokio::test]
async fn a_projector_whose_transaction_ended_while_it_slept_does_not_take_the_others_rows_for_a_fault() {
    let log = TestLog::busy_week(25);
    let server = Program::Postgres.shared();
    let test = TestDatabase::on_server(server, &server.socket()).await;
    let (first, second) = log.messages.split_at(log.messages.len() / 2);
    let from = apply_in(&test.db, first, 1_000).await;
    let (identity, other) = (identity(), test.another().await);
    let to = Checkpoint::after(second.last().unwrap(), &identity);
    let mut sleeper = test.db.begin_watched().await.unwrap();
    assert!(Checkpoint::compare_and_set(&mut sleeper, &from, &to).await.unwrap());
    let own = sleeper.fetch_one("SELECT pg_backend_pid() AS pid", &[]).await.unwrap().int("pid").unwrap();
    other.execute(&format!("SELECT pg_terminate_backend({own})"), &[]).await.unwrap();
    let applied = apply(&other, zone(8), &identity, &from, second).await.unwrap();
    assert_eq!(applied, Applied::Here(to));
    let error = fold_in(&test.db, &mut sleeper, zone(8), second).await.unwrap_err();
    assert!(matches!(&error, ProjectionError::Database(it) if it.is_unavailable()), "{error:?}");
}
