use crate::testing::*;
use domain::{Credits, Moment};
use ledger::{Projected as _, StaleLease};

on_every_database! {
    a_lease_that_nobody_renews_is_stale_after_two_lives,
}

async fn a_lease_that_nobody_renews_is_stale_after_two_lives(on: On) {
    let mut log = TestLog::default();
    log.at("2026-11-22T10:00:00Z").granted(account(1), 1, "50").granted(account(2), 2, "50");
    // Each a second after the one before: 11 is renewed, 14 is closed, 99 was never granted.
    log.leased(account(1), 11, "5").leased(account(2), 12, "5").leased(account(1), 13, "5");
    log.leased(account(1), 14, "5").amended(account(1), 11, "6").ended(account(1), 14, Credits::ZERO, 0);
    let call = usage(1, "m", 1_000, 10, at("2026-11-22T10:00:00Z"));
    let spent = call.charge;
    log.reported(vec![record(account(2), lease(12), 1, spent, call.clone())]);
    log.reported(vec![record(account(2), lease(99), 1, spent, call)]);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 3).await;

    let last = log.messages.last().unwrap().recorded.sequence;
    assert_eq!(test.db.position().await.unwrap(), last);
    let touched = |index: usize| log.messages[index].stored_at;
    let two_lives = |since: Moment| since.plus_ms(2 * 60_000);
    let seen = async |now: Moment, most: usize| {
        let stale = test.db.stale_leases(now, most).await.unwrap();
        assert_eq!(stale.position, last);
        stale.leases
    };
    let just_before = Moment::from_micros(two_lives(touched(3)).micros() - 1);
    assert_eq!(seen(just_before, 10).await, []);
    let twelve = StaleLease {
        lease: lease(12),
        account: account(2),
        epoch: domain::EpochId::from_uuid(id(10, 1)),
        spent,
        count: 1,
        touched: touched(3),
    };
    assert_eq!(seen(two_lives(touched(3)), 10).await, [twelve]);
    let names =
        async |now, most| -> Vec<_> { seen(now, most).await.into_iter().map(|it| it.lease).collect() };
    assert_eq!(names(two_lives(touched(4)), 10).await, [lease(12), lease(13)]);
    assert_eq!(names(two_lives(touched(6)), 10).await, [lease(12), lease(13), lease(11)]);
    assert_eq!(names(Moment::from_micros(i64::MAX), usize::MAX).await, [lease(12), lease(13), lease(11)]);
    assert_eq!(names(two_lives(touched(6)), 2).await, [lease(12), lease(13)]);
    assert_eq!(seen(two_lives(touched(6)), 0).await, []);
    // A life that no clock sees the end of.
    test.db
        .execute("UPDATE leases SET ttl_ms = 9223372036854775807 WHERE lease = ?", &[lease(13).into()])
        .await
        .unwrap();
    assert_eq!(names(two_lives(touched(6)), 10).await, [lease(12), lease(11)]);
}

#[tokio::test]
async fn a_database_that_is_away_answers_metering_with_unavailable() {
    let test = TestDatabase::on(On::Sqlite).await;
    test.db.close().await;
    let error = test.db.position().await.unwrap_err();
    assert!(matches!(error, ledger::LedgerError::Unavailable(_)), "{error:?}");
    let error = test.db.stale_leases(Moment::from_micros(0), 1).await.unwrap_err();
    assert!(matches!(error, ledger::LedgerError::Unavailable(_)), "{error:?}");
}
