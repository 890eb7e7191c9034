use super::Follower;
use crate::testing::{On, TestDatabase};
use futures_util::future::join_all;
use std::time::{Duration, Instant};

/// Moves the checkpoint as another process would.
async fn moves_to(test: &TestDatabase, sequence: u64) {
    let sql = format!("UPDATE projection_checkpoints SET sequence = {sequence} WHERE name = 'live'");
    assert_eq!(test.another().await.execute(&sql, &[]).await.unwrap(), 1);
}

#[tokio::test]
async fn whoever_waits_elsewhere_sees_the_tables_move() {
    let test = TestDatabase::on(On::Sqlite).await;
    let follower = Follower::elsewhere(test.db.clone());
    assert!(follower.wait_for(0, Duration::from_secs(20)).await);
    assert!(!follower.wait_for(1, Duration::from_millis(60)).await);

    // A crowd for different positions: each is let go when its own is there, and none before.
    let waiting =
        join_all([3, 1, 2, 1, 3].map(|position| {
            let follower = follower.clone();
            async move {
                (follower.wait_for(position, Duration::from_secs(30)).await, follower.applied(), position)
            }
        }));
    let moving = async {
        for sequence in 1..=3 {
            tokio::time::sleep(Duration::from_millis(60)).await;
            moves_to(&test, sequence).await;
        }
    };
    let (waited, ()) = tokio::join!(waiting, moving);
    for (reached, applied, position) in waited {
        assert!(reached && applied >= position, "{position}: {applied}");
    }

    // What was seen once is not believed for ever: these tables were put back.
    moves_to(&test, 1).await;
    assert!(!follower.wait_for(3, Duration::from_millis(60)).await);
    assert_eq!(follower.applied(), 1);
}

#[tokio::test]
async fn a_database_that_is_away_ends_no_wait_early() {
    let test = TestDatabase::on(On::Sqlite).await;
    let follower = Follower::elsewhere(test.db.clone());
    test.db.close().await;
    let begun = Instant::now();
    assert!(!follower.wait_for(0, Duration::from_millis(80)).await);
    assert!(begun.elapsed() >= Duration::from_millis(80));
}
