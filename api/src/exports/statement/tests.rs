//! Statements of months in every zone against a plain sum of what happened.

use super::*;
use crate::directory::user::Role;
use crate::http::tests::{Node, gateway, lease, record};
use crate::usage_archive;
use domain::account::event::GrantSource;
use domain::{Command, GrantId, LeaseId};
use proptest::prelude::*;
use std::time::Duration;
use uuid::Uuid;

/// Zones at both ends of the earth, with odd offsets, with summer times that change at midnight, by half an hour, on other days
/// in the south, and one that skipped a whole day.
const ZONES: [&str; 14] = [
    "+00:00",
    "+14:00",
    "-12:00",
    "+05:45",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Santiago",
    "Pacific/Apia",
];

#[test]
fn a_month_begins_where_the_clock_there_first_shows_its_first_day() {
    for (zone, day, expected) in [
        ("+08:00", "2026-11-01", "2026-10-31T16:00:00Z"),
        ("+00:00", "2026-11-01", "2026-11-01T00:00:00Z"),
        ("Europe/Berlin", "2026-11-01", "2026-10-31T23:00:00Z"),
        ("Europe/Berlin", "2026-07-01", "2026-06-30T22:00:00Z"),
        ("America/New_York", "2026-12-01", "2026-12-01T05:00:00Z"),
        // Clocks sprang from 0 to 1 at midnight.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
        ("Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15:00Z"),
    ] {
        let begins = midnight(zone.parse().unwrap(), day.parse().unwrap());
        assert_eq!(begins, expected.parse().unwrap(), "{zone} {day}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_zones_months_hold_every_moment_once(zone in 0..ZONES.len(), micros in 0_i64..2_145_916_800_000_000) {
        let (zone, at): (Zone, _) = (ZONES[zone].parse().unwrap(), Moment::from_micros(micros));
        let day = zone.date(at);
        let begins = midnight(zone, day);
        prop_assert!(begins <= at && zone.date(begins) == day);
        prop_assert!(zone.date(Moment::from_micros(begins.micros() - 1)) < day);
        let month = Month::of(day);
        let (from, to) = (midnight(zone, month.first()), midnight(zone, month.next().first()));
        prop_assert!((from..to).contains(&at), "{at} is not in {month} of {zone}");
        // A month of days that a clock skipped is no shorter than what there was.
        let hours = (to.micros() - from.micros()) / 3_600_000_000;
        prop_assert!((26 * 24..=32 * 24).contains(&hours), "{hours} hours");
    }
}

/// What a table of a statement says: the sums of its lines, between its first and its last balance.
fn of_table(csv: &[u8]) -> (Credits, i128, Credits) {
    let text = std::str::from_utf8(csv).unwrap();
    let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = text.lines().skip(1).map(cells).collect();
    let balance = |row: &[String]| row.last().unwrap().parse::<Credits>().unwrap();
    let moved = rows[1..rows.len() - 1].iter();
    let moved = moved.map(|row| i128::from(row[row.len() - 2].parse::<Credits>().unwrap().nano())).sum();
    (balance(&rows[0]), moved, balance(rows.last().unwrap()))
}

#[tokio::test]
async fn the_months_of_any_zone_add_up_to_the_ledger_to_the_nano() {
    let it = gateway().await;
    let ann = it.account_of(&it.token("ann", Role::User).await).await;
    let mut random = 7_u64;
    let mut below = |end: i64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(random >> 33).unwrap() % end
    };
    // Moments of a year: some anywhere, most within a day of a month's end or of a change of clocks, some right on it.
    let edges = [
        "2026-01-01T00:00:00Z",
        "2026-02-01T00:00:00Z",
        "2026-03-08T07:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-04-01T00:00:00Z",
        "2026-04-04T15:00:00Z",
        "2026-10-03T15:30:00Z",
        "2026-10-25T01:00:00Z",
        "2026-11-01T06:00:00Z",
        "2026-12-01T00:00:00Z",
        "2026-12-31T10:00:00Z",
    ];
    let edges = edges.map(|it| it.parse::<Moment>().unwrap().micros());
    let mut moment = || match below(4) {
        0 => Moment::from_micros(edges[0] + below(365 * 86_400) * 1_000_000),
        1 => Moment::from_micros(edges[usize::try_from(below(11)).unwrap()] + below(3) - 1),
        _ => Moment::from_micros(
            edges[usize::try_from(below(11)).unwrap()] + (below(2 * 86_400) - 86_400) * 1_000_000,
        ),
    };
    // By the log: when, and by how much.
    let mut moves: Vec<(Moment, i128)> = Vec::new();
    for n in 1..=24_i64 {
        let nano = n * 1_000_000_007;
        let source = GrantSource::Admin;
        let (grant, credits) = (GrantId::from_uuid(Uuid::now_v7()), Credits::from_nano(nano));
        let position = it.decides(ann, Command::GrantCredit { grant, source, credits, reason: None }).await;
        moves.push((moment(), nano.into()));
        assert!(it.projector.wait_for(position, Duration::from_secs(20)).await);
        // As if it had been decided then.
        let values = [moves.last().unwrap().0.into(), projections::Value::count(position)];
        it.app.db.execute("UPDATE journal_entries SET at = ? WHERE event_seq = ?", &values).await.unwrap();
    }
    let (mut node, id) = (Node::new(), LeaseId::from_uuid(Uuid::now_v7()));
    it.decides(ann, lease(id, node.epoch, "200")).await;
    let (mut spent, mut records) = (0_i64, Vec::new());
    for n in 1..=60 {
        let charge = 1_000 * (1 + below_once(n));
        spent += charge;
        let text = |nano: i64| Credits::from_nano(nano).to_string();
        let mut it = record(ann, id, n, &text(charge), &text(spent));
        it.usage.at = moment();
        moves.push((it.usage.at, -i128::from(charge)));
        records.push(it);
    }
    let position = node.reports(&it, records).await;
    assert!(it.projector.wait_for(position, Duration::from_secs(20)).await);
    let total: i128 = moves.iter().map(|it| it.1).sum();
    let now = "2027-06-01T00:00:00Z".parse().unwrap();
    for archived in [false, true] {
        if archived {
            archive_all(&it.app.db, 60).await;
        }
        for zone in ZONES {
            let zone: Zone = zone.parse().unwrap();
            let (mut month, mut before) = ("2025-12".parse::<Month>().unwrap(), 0_i128);
            while month <= "2027-02".parse().unwrap() {
                let told = of_month(&it.app.db, (ann, "ann"), month, zone, now).await.unwrap();
                let of_it = moves.iter().filter(|it| Month::of(zone.date(it.0)) == month);
                let sum: i128 = of_it.map(|it| it.1).sum();
                let nano = |text: &str| i128::from(text.parse::<Credits>().unwrap().nano());
                assert_eq!(nano(&told.opening), before, "{month} of {zone}");
                assert_eq!(nano(&told.closing), before + sum, "{month} of {zone}");
                assert_eq!(nano(&told.credits) - nano(&told.charges), sum, "{month} of {zone}");
                let of_csv = of_table(&told.table(TableFormat::Csv).unwrap());
                assert_eq!((i128::from(of_csv.0.nano()), of_csv.1), (before, sum), "{month} of {zone}");
                before += sum;
                assert_eq!(i128::from(of_csv.2.nano()), before, "{month} of {zone}");
                for line in &told.lines {
                    assert!(line.day.starts_with(&month.to_string()), "{line:?} in {month} of {zone}");
                    assert_eq!(zone.date(line.at).to_string(), line.day);
                }
                month = month.next();
            }
            assert_eq!(before, total, "{zone}");
        }
    }
    let balance = projections::balances::balance(&it.app.db, ann).await.unwrap().total;
    assert_eq!(i128::from(balance.nano()), total);
}

/// A number that looks random and is the same each time.
fn below_once(n: u64) -> i64 {
    i64::try_from(n.wrapping_mul(6_364_136_223_846_793_005) >> 40).unwrap() % 900_000
}

/// Moves every call into files, and looks that these are read as they were written.
async fn archive_all(db: &projections::Database, calls: u64) {
    // As if the node had closed its lease: a month waits for that.
    db.execute("UPDATE leases SET status = 'closed'", &[]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let due = |at: &str| {
        let now: Moment = at.parse().unwrap();
        usage_archive::archive_due(db, folder.path(), 1, now)
    };
    // What a run left that was cut off.
    std::fs::write(folder.path().join("usage-2025-12-1.parquet.partial"), "half").unwrap();
    // A month is due when another whole one has passed.
    let first = due("2026-02-28T23:59:59Z").await.unwrap();
    assert!(first.iter().all(|it| it.month.to_string() == "2025-12"), "{first:?}");
    let rest = due("2027-06-01T00:00:00Z").await.unwrap();
    assert_eq!(first.iter().chain(&rest).map(|it| it.rows).sum::<u64>(), calls);
    assert_eq!(due("2027-06-01T00:00:00Z").await.unwrap(), []);
    let left = db.fetch_one("SELECT COUNT(*) AS n FROM usage_records", &[]).await.unwrap();
    assert_eq!(left.count("n").unwrap(), 0);
    let archives = projections::usage::archives(db).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), archives.len());
    assert_eq!(archives.len(), first.len() + rest.len());
    for it in &archives {
        usage_archive::check(folder.path(), it).unwrap();
        let path = folder.path().join(&it.file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(matches!(
            usage_archive::check(folder.path(), it),
            Err(usage_archive::Fault::NotTheSame { .. })
        ));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(usage_archive::check(folder.path(), it), Err(usage_archive::Fault::Folder { .. })));
    }
}
