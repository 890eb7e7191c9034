//! Batches applied to every database, without a log server.

use super::apply::in_transaction;
use super::{Applied, apply};
use crate::billing::{BillingBy, BillingFilter, BillingKind};
use crate::journal::tests::book;
use crate::page::Paging;
use crate::testing::*;
use crate::top_ups::OrderStatus;
use crate::usage::{StatsFilter, UsageBy, UsageFilter};
use crate::{Checkpoint, Database, Halt, ProjectionError, balances, billing, top_ups, usage};
use domain::account::event::CloseReason;
use domain::{Credits, Moment, Tokens, UsageRecord};
use ledger::{Logged, Snapshots as _};

on_every_database! {
    however_the_log_is_cut_into_batches_the_tables_are_the_same,
    a_batch_offered_twice_is_applied_once,
    of_two_projectors_that_apply_the_same_batch_one_does,
    a_crash_before_the_commit_leaves_nothing,
    a_row_that_the_database_refuses_takes_the_whole_batch_with_it,
    a_checkpoint_of_another_message_is_not_moved,
    holes_gaps_and_strangers_halt,
    a_record_counts_once_however_often_it_is_reported,
    after_a_close_n_decides_who_pays,
    a_record_that_lands_between_a_sweepers_look_and_its_close_is_taken_back,
    every_table_tells_the_same_to_the_nano,
    margin_is_what_was_paid_less_what_providers_take,
    consumption_is_a_row_per_day_of_the_operators_zone,
    an_order_is_one_row_from_its_beginning_to_its_end,
    a_page_ends_where_the_next_begins_while_rows_come_in,
    a_snapshot_of_another_shape_reads_as_none_and_stops_nothing,
    a_sum_that_does_not_fit_halts_instead_of_turning_into_a_float,
    a_database_from_before_units_of_media_keeps_its_rows,
}

async fn halted_by(db: &Database, messages: &[Logged]) -> Halt {
    let from = Checkpoint::read(db).await.unwrap();
    match apply(db, zone(8), &identity(), &from, messages).await {
        Err(ProjectionError::Halt(halt)) => halt,
        other => panic!("{other:?} is no halt"),
    }
}

async fn however_the_log_is_cut_into_batches_the_tables_are_the_same(on: On) {
    let mut log = TestLog::busy_week(7);
    log.oddities();
    let whole = TestDatabase::on(on).await;
    apply_in(&whole.db, &log.messages, 10_000).await;
    let expected = dump(&whole.db).await;
    assert!(expected.len() > 300, "{} rows say little", expected.len());
    for size in [1, 3, 50] {
        let cut = TestDatabase::on(on).await;
        let checkpoint = apply_in(&cut.db, &log.messages, size).await;
        assert_eq!(checkpoint.sequence, log.messages.last().unwrap().recorded.sequence);
        assert_eq!(dump(&cut.db).await, expected, "batches of {size}");
    }
}

async fn a_batch_offered_twice_is_applied_once(on: On) {
    let log = TestLog::busy_week(1);
    let test = TestDatabase::on(on).await;
    let start = Checkpoint::default();
    let first = apply(&test.db, zone(8), &identity(), &start, &log.messages).await.unwrap();
    assert!(matches!(first, Applied::Here(_)));
    let before = dump(&test.db).await;
    let again = apply(&test.db, zone(8), &identity(), &start, &log.messages).await.unwrap();
    assert_eq!(again, Applied::Elsewhere);
    assert_eq!(dump(&test.db).await, before);
}

async fn of_two_projectors_that_apply_the_same_batch_one_does(on: On) {
    let log = TestLog::busy_week(2);
    let expected = TestDatabase::on(on).await;
    apply_in(&expected.db, &log.messages, 100).await;

    let test = TestDatabase::on(on).await;
    let other = test.another().await;
    let (start, identity) = (Checkpoint::default(), identity());
    let mut from = start;
    for batch in log.messages.chunks(100) {
        let (one, two) = tokio::join!(
            apply(&test.db, zone(8), &identity, &from, batch),
            apply(&other, zone(8), &identity, &from, batch)
        );
        from = match (one.unwrap(), two.unwrap()) {
            (Applied::Here(next), Applied::Elsewhere) | (Applied::Elsewhere, Applied::Here(next)) => next,
            both => panic!("{both:?}"),
        };
    }
    assert_eq!(dump(&test.db).await, dump(&expected.db).await);
}

async fn a_crash_before_the_commit_leaves_nothing(on: On) {
    let log = TestLog::busy_week(3);
    let test = TestDatabase::on(on).await;
    let empty = dump(&test.db).await;
    let start = Checkpoint::default();
    let to = Checkpoint::after(log.messages.last().unwrap(), &identity());
    let mut tx = test.db.begin().await.unwrap();
    assert!(in_transaction(&test.db, &mut tx, zone(8), &start, &to, &log.messages).await.unwrap());
    drop(tx);
    assert_eq!(Checkpoint::read(&test.db).await.unwrap(), start);
    assert_eq!(dump(&test.db).await, empty);
    assert_eq!(apply_in(&test.db, &log.messages, 1_000).await, to);
}

async fn a_row_that_the_database_refuses_takes_the_whole_batch_with_it(on: On) {
    let test = TestDatabase::on(on).await;
    let mut log = TestLog::default();
    let call = usage(1, "m", 1_000, 100, at("2026-11-22T10:00:00Z"));
    log.granted(account(1), 1, "10").leased(account(1), 2, "5");
    apply_in(&test.db, &log.messages, 10).await;
    // What another writer must have done for the second net to be needed: the row without the watermark.
    let mut elsewhere = log.messages.clone();
    log.reported(vec![record(account(1), lease(2), 1, call.charge, call)]).granted(account(1), 3, "1");
    elsewhere.push(log.messages[2].clone());
    apply_in(&test.db, &elsewhere, 10).await;
    test.db.execute("UPDATE leases SET watermark = 0", &[]).await.unwrap();
    let sql = "UPDATE projection_checkpoints SET sequence = 2, hash = ?";
    test.db.execute(sql, &[hex::encode(log.messages[1].hash).into()]).await.unwrap();
    let before = dump(&test.db).await;
    let from = Checkpoint::read(&test.db).await.unwrap();
    let refused = apply(&test.db, zone(8), &identity(), &from, &log.messages[2..]).await;
    assert!(
        matches!(&refused, Err(ProjectionError::Database(error)) if error.is_unique_violation()),
        "{refused:?}"
    );
    assert_eq!(dump(&test.db).await, before);
    assert_eq!(Checkpoint::read(&test.db).await.unwrap(), from);
}

async fn a_checkpoint_of_another_message_is_not_moved(on: On) {
    let log = TestLog::busy_week(4);
    let test = TestDatabase::on(on).await;
    let mut from = apply_in(&test.db, &log.messages[..10], 10).await;
    from.hash = hex::encode([9; 32]);
    let applied = apply(&test.db, zone(8), &identity(), &from, &log.messages[10..20]).await.unwrap();
    assert_eq!(applied, Applied::Elsewhere);
}

async fn holes_gaps_and_strangers_halt(on: On) {
    let test = TestDatabase::on(on).await;
    let mut log = TestLog::default();
    log.granted(account(1), 1, "10").granted(account(1), 2, "10").granted(account(2), 3, "10");
    assert_eq!(halted_by(&test.db, &log.messages[1..]).await, Halt::Hole { sequence: 1 });
    let holed = [log.messages[0].clone(), log.messages[2].clone()];
    assert_eq!(halted_by(&test.db, &holed).await, Halt::Hole { sequence: 2 });

    let mut gap = log.messages.clone();
    gap[1].recorded.version = 3;
    let halt = halted_by(&test.db, &gap).await;
    assert_eq!(halt, Halt::VersionGap { account: account(1), expected: 2, found: 3, sequence: 2 });
    let mut repeated = log.messages.clone();
    repeated[1].recorded.version = 1;
    assert!(matches!(halted_by(&test.db, &repeated).await, Halt::VersionGap { expected: 2, found: 1, .. }));

    let mut stranger = TestLog::default();
    stranger.completed(account(1), 5, "50.00", "6");
    assert!(matches!(halted_by(&test.db, &stranger.messages).await, Halt::UnknownOrder { .. }));
    let mut stranger = TestLog::default();
    stranger.amended(account(1), 5, "50.00");
    assert!(matches!(halted_by(&test.db, &stranger.messages).await, Halt::LeaseNotOpen { .. }));
    let mut twice = TestLog::default();
    twice.leased(account(1), 5, "1").leased(account(1), 5, "1");
    assert!(matches!(halted_by(&test.db, &twice.messages).await, Halt::LeaseTwice { .. }));
    assert_eq!(dump(&test.db).await, Vec::<String>::new());
}

async fn a_record_counts_once_however_often_it_is_reported(on: On) {
    let when = at("2026-11-22T10:00:00Z");
    let calls = [1, 2, 3].map(|number| usage(number, "m", number * 1_000, 10, when));
    let mut spent = Credits::ZERO;
    let records: Vec<UsageRecord> = (1..)
        .zip(calls)
        .map(|(n, call)| {
            spent = spent.checked_add(call.charge).unwrap();
            record(account(1), lease(2), n, spent, call)
        })
        .collect();
    for batch in [1, 10] {
        let mut log = TestLog::default();
        log.granted(account(1), 1, "10").leased(account(1), 2, "5");
        // Twice in one report, again in the next, and out of order after a gap.
        log.reported(vec![records[0].clone(), records[0].clone(), records[2].clone()]);
        log.reported(vec![records[2].clone(), records[1].clone()]).reported(records.clone());
        let test = TestDatabase::on(on).await;
        apply_in(&test.db, &log.messages, batch).await;
        assert_eq!(count(&test.db, "usage_records").await, 3);
        let balance = balances::balance(&test.db, account(1)).await.unwrap();
        assert_eq!(balance.total, credits("10").checked_sub(spent).unwrap());
        let stats = usage::stats(&test.db, &StatsFilter::default(), UsageBy::Model).await.unwrap();
        assert_eq!((stats[0].calls, stats[0].paid), (3, spent));
        let leases = crate::leases::open(&test.db, account(1)).await.unwrap();
        assert_eq!((leases[0].count, leases[0].spent), (3, spent));
    }
}

async fn after_a_close_n_decides_who_pays(on: On) {
    let when = at("2026-11-22T10:00:00Z");
    let calls = [1, 2, 3].map(|number| usage(number, "m", 1_000, 10, when));
    let sum = |count: usize| Credits::checked_sum(calls[..count].iter().map(|call| call.charge)).unwrap();
    let nth =
        |n: usize| record(account(1), lease(2), u64::try_from(n).unwrap(), sum(n), calls[n - 1].clone());
    let mut log = TestLog::default();
    log.granted(account(1), 1, "10").leased(account(1), 2, "5").reported(vec![nth(1)]);
    // Closed with two records, of which one comes late; a third was never counted by whoever closed.
    log.ended(account(1), 2, sum(2), 2).reported(vec![nth(2), nth(3)]);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 10).await;
    let balance = balances::balance(&test.db, account(1)).await.unwrap();
    let left = credits("10").checked_sub(sum(2)).unwrap();
    assert_eq!((balance.total, balance.available, balance.reserved), (left, left, Credits::ZERO));
    let third = usage::find(&test.db, request(3)).await.unwrap().unwrap();
    assert!(third.late);
    assert_eq!((third.record.paid(), third.record.uncovered), (Credits::ZERO, calls[2].charge));
    assert!(!usage::find(&test.db, request(2)).await.unwrap().unwrap().late);
    let stats = usage::stats(&test.db, &StatsFilter::default(), UsageBy::Model).await.unwrap();
    assert_eq!((stats[0].charge, stats[0].paid, stats[0].uncovered), (sum(3), sum(2), calls[2].charge));
    let stats = billing::stats(&test.db, account(1), None, None, BillingBy::Day).await.unwrap();
    assert_eq!((stats[0].consumed, stats[0].requests), (sum(2), 3));
}

async fn a_record_that_lands_between_a_sweepers_look_and_its_close_is_taken_back(on: On) {
    let when = at("2026-11-22T10:00:00Z");
    let calls = [1, 2, 3, 4].map(|number| usage(number, "m", 1_000, 10, when));
    let sum = |count: usize| Credits::checked_sum(calls[..count].iter().map(|call| call.charge)).unwrap();
    let nth =
        |n: usize| record(account(1), lease(2), u64::try_from(n).unwrap(), sum(n), calls[n - 1].clone());
    let mut log = TestLog::default();
    log.granted(account(1), 1, "10").leased(account(1), 2, "5").reported(vec![nth(1)]);
    // The sweeper has looked. The holder's successor reports what was left, and a last one comes behind the close.
    log.reported_by(2, vec![nth(2), nth(3)]).ended(account(1), 2, sum(1), 1);
    log.reported_by(2, vec![nth(4), nth(3)]);
    let mut sums = Vec::new();
    for batch in [1, 2, 10] {
        let test = TestDatabase::on(on).await;
        apply_in(&test.db, &log.messages, batch).await;
        let balance = balances::balance(&test.db, account(1)).await.unwrap();
        let left = credits("10").checked_sub(sum(1)).unwrap();
        assert_eq!((balance.total, balance.available, balance.reserved), (left, left, Credits::ZERO));
        for (number, late) in [(1, false), (2, true), (3, true), (4, true)] {
            let call = usage::find(&test.db, request(number)).await.unwrap().unwrap();
            assert_eq!(call.late, late, "call {number}");
            let uncovered = if late { call.record.usage.charge } else { Credits::ZERO };
            assert_eq!(call.record.uncovered, uncovered, "call {number}");
        }
        let stats = usage::stats(&test.db, &StatsFilter::default(), UsageBy::Model).await.unwrap();
        let lost = sum(4).checked_sub(sum(1)).unwrap();
        assert_eq!((stats[0].charge, stats[0].paid, stats[0].uncovered), (sum(4), sum(1), lost));
        let stats = billing::stats(&test.db, account(1), None, None, BillingBy::Day).await.unwrap();
        assert_eq!((stats[0].consumed, stats[0].requests), (sum(1), 4));
        assert_eq!(book(&test.db, "liability:credits").await, -i128::from(left.nano()));
        assert_eq!(book(&test.db, "expense:metering_loss").await, i128::from(lost.nano()));
        sums.push(crate::checksum(&test.db).await.unwrap().tables);
    }
    // How lines of the same book fall into debits and credits does not depend on the batches either.
    for (first, other) in sums.iter().zip(&sums[1..]) {
        for (first, other) in first.iter().zip(other) {
            assert_eq!(first, other);
        }
    }
}

async fn every_table_tells_the_same_to_the_nano(on: On) {
    let log = TestLog::busy_week(11);
    let test = TestDatabase::on(on).await;
    let db = &test.db;
    apply_in(db, &log.messages, 17).await;
    for (owner, state) in &log.accounts {
        let owner = *owner;
        let balance = balances::balance(db, owner).await.unwrap();
        assert_eq!(balance.available, state.available());
        assert_eq!(balance.total, balance.available.checked_add(balance.reserved).unwrap());
        assert!(!balance.reserved.is_negative());
        assert_eq!(balance.position, log.messages.last().unwrap().recorded.sequence);

        let mut paid = Credits::ZERO;
        let (mut records, mut media) = (0, [0; 3]);
        let filter = UsageFilter { account: Some(owner), ..UsageFilter::default() };
        let mut paging = Paging { after: None, limit: 200 };
        loop {
            let page = usage::list(db, &filter, &paging).await.unwrap();
            for receipt in &page.items {
                assert_eq!(receipt.record.usage.derived_charge().unwrap(), receipt.record.usage.charge);
                paid = paid.checked_add(receipt.record.paid()).unwrap();
                records += 1;
                let counted = media_of(&receipt.record.usage.tokens);
                media.iter_mut().zip(counted).for_each(|(sum, count)| *sum += count);
            }
            paging.after = page.next_cursor;
            if paging.after.is_none() {
                break;
            }
        }
        assert!(records > 20);
        for by in [UsageBy::Hour, UsageBy::Day, UsageBy::Model, UsageBy::Key] {
            let filter = StatsFilter { account: Some(owner), ..StatsFilter::default() };
            let stats = usage::stats(db, &filter, by).await.unwrap();
            assert!(stats.len() > 1, "{by:?}");
            assert_eq!(Credits::checked_sum(stats.iter().map(|stat| stat.paid)).unwrap(), paid, "{by:?}");
            assert_eq!(stats.iter().map(|stat| stat.calls).sum::<u64>(), records, "{by:?}");
            let of_stats = stats.iter().map(|stat| media_of(&stat.tokens));
            let sums = of_stats.fold([0; 3], |[a, b, c], [x, y, z]| [a + x, b + y, c + z]);
            assert_eq!(sums, media, "{by:?}");
            assert!(media.iter().all(|count| *count > 0), "{media:?}");
        }
        for by in [BillingBy::Day, BillingBy::Month, BillingBy::Model, BillingBy::Key] {
            let stats = billing::stats(db, owner, None, None, by).await.unwrap();
            let consumed = Credits::checked_sum(stats.iter().map(|stat| stat.consumed)).unwrap();
            assert_eq!(consumed, paid, "{by:?}");
            assert_eq!(stats.iter().map(|stat| stat.requests).sum::<u64>(), records, "{by:?}");
            if matches!(by, BillingBy::Day | BillingBy::Month) {
                let net = stats.iter().flat_map(|stat| {
                    let back = stat.refunded.checked_neg().unwrap();
                    [stat.topped_up, stat.granted, stat.adjusted, back, stat.consumed.checked_neg().unwrap()]
                });
                assert_eq!(Credits::checked_sum(net).unwrap(), balance.total, "{by:?}");
            }
        }
        let snapshot = db.load(owner).await.unwrap();
        assert_eq!(&snapshot.account, state);
        assert_eq!(snapshot.account.version, state.version);
        let last = log
            .messages
            .iter()
            .rfind(|it| matches!(&it.recorded.event, domain::Event::Account(of, _) if *of == owner));
        let last = last.unwrap();
        assert_eq!((snapshot.sequence, snapshot.hash), (last.recorded.sequence, hex::encode(last.hash)));
    }
    let open = crate::leases::counts(db).await.unwrap();
    let expected = log.accounts.values().flat_map(|state| state.leases.values());
    let (leases, sizes): (Vec<_>, Vec<_>) = expected.map(|lease| (lease.granted, lease.credits)).unzip();
    assert_eq!(open.count, u64::try_from(leases.len()).unwrap());
    assert_eq!(Some(open.credits), Credits::checked_sum(sizes));
}

/// Units of media, apart from tokens.
fn media_of(tokens: &Tokens) -> [u64; 3] {
    [tokens.characters, tokens.audio_seconds, tokens.images]
}

async fn a_database_from_before_units_of_media_keeps_its_rows(on: On) {
    let when = at("2026-11-22T10:00:00Z");
    let call = |number| {
        let mut call = usage(number, "m", 1_000, 10, when);
        call.tokens = Tokens { characters: 0, audio_seconds: 0, images: 0, ..call.tokens };
        call.charge = call.derived_charge().unwrap();
        call
    };
    let (first, second) = (call(1), usage(7, "m", 1_000, 10, when));
    let spent = first.charge;
    let both = spent.checked_add(second.charge).unwrap();
    let mut log = TestLog::default();
    log.granted(account(1), 1, "10").leased(account(1), 2, "5");
    log.reported(vec![record(account(1), lease(2), 1, spent, first)]);
    let before = log.messages.len();
    log.reported(vec![record(account(1), lease(2), 2, both, second.clone())]);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages[..before], 10).await;
    let expected = dump(&test.db).await;
    // As the release before left it.
    for sql in [
        "ALTER TABLE usage_hourly DROP COLUMN characters",
        "ALTER TABLE usage_hourly DROP COLUMN audio_seconds",
        "ALTER TABLE usage_hourly DROP COLUMN images",
        "DELETE FROM _sqlx_migrations WHERE version = 5",
    ] {
        test.db.execute(sql, &[]).await.unwrap();
    }
    // As a new process would: PostgreSQL does not forget on an open connection which columns `SELECT *` had.
    let db = test.another().await;
    assert_ne!(dump(&db).await, expected);
    drop(db);
    let db = test.another().await;
    db.migrate().await.unwrap();
    assert_eq!(dump(&db).await, expected);
    // The hour goes on where it was.
    apply_in(&db, &log.messages, 10).await;
    let stats = usage::stats(&db, &StatsFilter::default(), UsageBy::Model).await.unwrap();
    assert_eq!((stats[0].calls, stats[0].paid), (2, both));
    assert_eq!(media_of(&stats[0].tokens), media_of(&second.tokens));
    assert_eq!(second.tokens.images, 1);
    let receipt = usage::find(&db, request(7)).await.unwrap().unwrap();
    assert_eq!(receipt.record.usage, second);
}

async fn margin_is_what_was_paid_less_what_providers_take(on: On) {
    let (first, second) = (at("2026-11-22T10:00:00Z"), at("2026-11-23T10:00:00Z"));
    let call = |number, model, provider, cost, when| {
        let mut call = usage(number, model, 1_000 * number, 10, when);
        call.provider = label(provider);
        call.cost = credits(cost);
        call
    };
    // Of the last two nothing is paid: they come after the close, and one has no known cost.
    let calls = [
        call(1, "m", "cheap", "0.001", first),
        call(2, "n", "dear", "7", first),
        call(3, "m", "cheap", "0.002", second),
        call(4, "m", "dear", "0", second),
    ];
    let sum = |count: usize| Credits::checked_sum(calls[..count].iter().map(|call| call.charge)).unwrap();
    let nth =
        |n: usize| record(account(1), lease(2), u64::try_from(n).unwrap(), sum(n), calls[n - 1].clone());
    let mut log = TestLog::default();
    log.granted(account(1), 1, "10").leased(account(1), 2, "5").reported(vec![nth(1), nth(2)]);
    log.ended(account(1), 2, sum(2), 2).reported(vec![nth(3), nth(4)]);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 10).await;
    let paid = |calls: u64, paid: Credits, cost: &str| (calls, paid, credits(cost));
    let (one, two, none) = (calls[0].charge, calls[1].charge, Credits::ZERO);
    for (by, expected) in [
        (UsageBy::Provider, [("dear", paid(2, two, "7")), ("cheap", paid(2, one, "0.003"))]),
        (UsageBy::Model, [("n", paid(1, two, "7")), ("m", paid(3, one, "0.003"))]),
        (UsageBy::Day, [("2026-11-23", paid(2, none, "0.002")), ("2026-11-22", paid(2, sum(2), "7.001"))]),
    ] {
        let stats = usage::stats(&test.db, &StatsFilter::default(), by).await.unwrap();
        let found: Vec<_> =
            stats.iter().map(|it| (it.bucket.as_str(), (it.calls, it.paid, it.cost))).collect();
        assert_eq!(found, expected, "{by:?}");
        for (stat, (_, (_, paid, cost))) in stats.iter().zip(expected) {
            assert_eq!(stat.margin(), paid.checked_sub(cost), "{by:?}");
        }
    }
    let period = StatsFilter { from: Some(second), ..StatsFilter::default() };
    let stats = usage::stats(&test.db, &period, UsageBy::Provider).await.unwrap();
    let margins: Vec<_> = stats.iter().map(|it| (it.bucket.as_str(), it.margin().unwrap())).collect();
    assert_eq!(margins, [("cheap", credits("-0.002")), ("dear", none)]);
    let days = async |from| usage::days_of_models(&test.db, from).await.unwrap();
    let day = |model: &str, day: &str, calls, errors| usage::DayOfModel {
        model: model.into(),
        day: day.into(),
        calls,
        errors,
    };
    // The third call is one that its provider failed.
    let all = [day("m", "2026-11-23", 2, 1), day("m", "2026-11-22", 1, 0), day("n", "2026-11-22", 1, 0)];
    assert_eq!(days(calls[0].at.plus_ms(-3_600_000)).await, all);
    assert_eq!(days(second.plus_ms(-3_600_000)).await, all[..1]);
    let newest = |wanted: &[usize]| {
        let mut latencies = usage::Latencies::default();
        latencies.ttft_ms.extend(wanted.iter().filter_map(|n| calls[*n].ttft_ms));
        latencies.duration_ms.extend(wanted.iter().map(|n| calls[*n].duration_ms));
        latencies.ttft_ms.sort_unstable();
        latencies.duration_ms.sort_unstable();
        latencies
    };
    let end = calls[3].at.plus_ms(1);
    for (from, to, most, wanted) in [
        (calls[0].at, end, 10, &[0, 1, 2, 3][..]),
        (calls[2].at, end, 10, &[2, 3]),
        (calls[0].at, calls[2].at, 10, &[0, 1]),
        (calls[0].at, calls[0].at, 10, &[]),
    ] {
        assert_eq!(usage::latencies(&test.db, from, to, most).await.unwrap(), newest(wanted));
    }
    assert_eq!(usage::latencies(&test.db, calls[0].at, end, 2).await.unwrap(), newest(&[2, 3]));
}

async fn consumption_is_a_row_per_day_of_the_operators_zone(on: On) {
    let mut log = TestLog::default();
    let calls = [
        usage(1, "m", 1_000, 0, at("2026-11-22T15:59:59.999999Z")),
        usage(2, "m", 2_000, 0, at("2026-11-22T16:00:00Z")),
        usage(3, "m", 3_000, 0, at("2026-11-22T23:00:00Z")),
    ];
    log.at("2026-11-22T09:00:00Z").granted(account(1), 1, "10").leased(account(1), 2, "5");
    let mut spent = Credits::ZERO;
    for (n, call) in (1..).zip(calls.clone()) {
        spent = spent.checked_add(call.charge).unwrap();
        log.reported(vec![record(account(1), lease(2), n, spent, call)]);
    }
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 2).await;
    let filter = BillingFilter {
        account: Some(account(1)),
        kind: Some(BillingKind::Consumption),
        ..BillingFilter::default()
    };
    let days = billing::list(&test.db, &filter, &Paging::default()).await.unwrap().items;
    let seen: Vec<_> = days.iter().map(|it| (it.day.as_str(), it.requests, it.quota_amount)).collect();
    let second = calls[1].charge.checked_add(calls[2].charge).unwrap();
    assert_eq!(seen, [("2026-11-23", 2, second), ("2026-11-22", 1, calls[0].charge)]);
    assert_eq!(days[0].time_zone, "+08:00");
    // The span drills down to exactly the day's records.
    let (from, to) = days[0].day_span;
    assert_eq!(from, at("2026-11-22T16:00:00Z"));
    let filter =
        UsageFilter { account: Some(account(1)), from: Some(from), to: Some(to), ..UsageFilter::default() };
    assert_eq!(usage::list(&test.db, &filter, &Paging::default()).await.unwrap().items.len(), 2);
    let stats = billing::stats(&test.db, account(1), Some(from), Some(to), BillingBy::Day).await.unwrap();
    assert_eq!(stats.iter().map(|stat| stat.bucket.as_str()).collect::<Vec<_>>(), ["2026-11-23"]);
    let found = billing::get(&test.db, account(1), &days[0].id).await.unwrap().unwrap();
    assert_eq!(found, days[0]);
    assert_eq!(billing::get(&test.db, account(2), &days[0].id).await.unwrap(), None);
    assert_eq!(billing::get(&test.db, account(1), "x' OR 1 = 1\0").await.unwrap(), None);
}

async fn an_order_is_one_row_from_its_beginning_to_its_end(on: On) {
    for batch in [1, 10] {
        let mut log = TestLog::default();
        log.at("2026-11-22T10:00:00Z").initiated(account(1), 1, "50.00", "6.944444444");
        log.initiated(account(1), 2, "100.00", "13.9").closed(account(1), 1, CloseReason::Expired);
        log.closed(account(1), 2, CloseReason::Failed).completed(account(1), 1, "50.00", "6.944444444");
        let test = TestDatabase::on(on).await;
        apply_in(&test.db, &log.messages, batch).await;
        let paid = top_ups::find(&test.db, order(1)).await.unwrap().unwrap();
        assert_eq!(
            (paid.account, paid.status, paid.close_reason),
            (account(1), OrderStatus::Completed, None)
        );
        assert_eq!(paid.provider_txn, Some(label("txn-1")));
        assert_eq!((paid.first_seq, paid.event_seq), (1, 5));
        let failed = top_ups::get(&test.db, account(1), order(2)).await.unwrap().unwrap();
        assert_eq!((failed.status, failed.close_reason), (OrderStatus::Failed, Some(CloseReason::Failed)));
        assert_eq!(top_ups::get(&test.db, account(2), order(2)).await.unwrap(), None);
        assert!(top_ups::pending(&test.db, &Paging::default()).await.unwrap().items.is_empty());
        let lines =
            billing::list(&test.db, &BillingFilter::default(), &Paging::default()).await.unwrap().items;
        let seen: Vec<_> = lines.iter().map(|it| (it.reference.clone(), it.status, it.event_seq)).collect();
        let expected = [
            (order(2).to_string(), OrderStatus::Failed, 4),
            (order(1).to_string(), OrderStatus::Completed, 5),
        ];
        assert_eq!(seen, expected);
        assert_eq!(lines[1].transaction_id.as_deref(), Some("txn-1"));
        assert_eq!(lines[1].money.unwrap().minor, 5_000);
        let by_order = billing::get(&test.db, account(1), &order(1).to_string()).await.unwrap();
        assert_eq!(by_order.as_ref(), Some(&lines[1]));
        let balance = balances::balance(&test.db, account(1)).await.unwrap();
        assert_eq!(balance.total, credits("6.944444444"));
    }
}

async fn a_page_ends_where_the_next_begins_while_rows_come_in(on: On) {
    let mut log = TestLog::default();
    log.granted(account(1), 1, "100").leased(account(1), 2, "50");
    let when = at("2026-11-22T10:00:00Z");
    let mut spent = Credits::ZERO;
    let mut next = |n: u64, when: Moment| {
        let call = usage(n, "m", 100, 1, when);
        spent = spent.checked_add(call.charge).unwrap();
        record(account(1), lease(2), n, spent, call)
    };
    // Several at the same microsecond, so that the order needs the id.
    let first: Vec<_> = (1..=23).map(|n| next(n, when.plus_ms(i64::try_from(n / 5).unwrap()))).collect();
    log.reported(first);
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 10).await;
    let filter = UsageFilter { account: Some(account(1)), ..UsageFilter::default() };
    let mut seen = Vec::new();
    let mut paging = Paging { after: None, limit: 4 };
    let mut n = 23;
    loop {
        let page = usage::list(&test.db, &filter, &paging).await.unwrap();
        assert!(page.items.len() <= 4);
        seen.extend(page.items.iter().map(|receipt| (receipt.record.usage.at, receipt.record.usage.request)));
        // A newer call comes in between two pages.
        n += 1;
        log.reported(vec![next(n, when.plus_ms(60_000))]);
        apply_in(&test.db, &log.messages, 10).await;
        let Some(cursor) = page.next_cursor else { break };
        paging.after = Some(cursor.to_string().parse().unwrap());
    }
    assert_eq!(seen.len(), 23);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first, each once");
}

async fn a_snapshot_of_another_shape_reads_as_none_and_stops_nothing(on: On) {
    let mut log = TestLog::default();
    log.granted(account(1), 1, "10");
    let test = TestDatabase::on(on).await;
    apply_in(&test.db, &log.messages, 10).await;
    assert!(test.db.load(account(1)).await.is_some());
    assert!(test.db.load(account(9)).await.is_none());
    test.db.execute("UPDATE account_states SET shape = 999", &[]).await.unwrap();
    assert!(test.db.load(account(1)).await.is_none());
    log.granted(account(1), 2, "5");
    apply_in(&test.db, &log.messages, 10).await;
    assert!(test.db.load(account(1)).await.is_none());
    assert_eq!(balances::balance(&test.db, account(1)).await.unwrap().total, credits("15"));
    let mut gap = log.messages.clone();
    log.granted(account(1), 3, "5").granted(account(1), 4, "5");
    let mut skipped = log.messages[3].clone();
    skipped.recorded.sequence = 3;
    gap.push(skipped);
    assert!(matches!(halted_by(&test.db, &gap[2..]).await, Halt::VersionGap { expected: 3, found: 4, .. }));
}

async fn a_sum_that_does_not_fit_halts_instead_of_turning_into_a_float(on: On) {
    let test = TestDatabase::on(on).await;
    let mut log = TestLog::default();
    log.granted(account(1), 1, "9000000000");
    apply_in(&test.db, &log.messages, 10).await;
    log.granted(account(1), 2, "9000000000");
    let from = Checkpoint::read(&test.db).await.unwrap();
    let before = dump(&test.db).await;
    let refused = apply(&test.db, zone(8), &identity(), &from, &log.messages[1..]).await;
    assert!(
        matches!(&refused, Err(ProjectionError::Database(error)) if !error.is_unavailable()),
        "{refused:?}"
    );
    assert_eq!(dump(&test.db).await, before);
}
