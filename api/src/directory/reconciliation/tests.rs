//! Bills, days, comparisons and sign-offs, between two processes.

use super::*;
use crate::directory::now;
use crate::directory::user::Role;
use crate::payments::BillKind;
use crate::reconciliation::bill::{BillRow, RowKind, RowStatus};
use crate::reconciliation::matching::Finding;
use crate::secrets::Sealer;
use crate::session::Caller;
use domain::{ChannelName, Currency, Money};
use projections::Database;

async fn directories() -> (Directory, Directory, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("t.db").display());
    let db = Database::connect(&url).await.unwrap();
    db.migrate().await.unwrap();
    let sealer = || Sealer::new(&[1; 32]);
    let (here, there) = tokio::join!(Directory::open(db.clone(), sealer()), Directory::open(db, sealer()));
    (here.unwrap(), there.unwrap(), folder)
}

fn channel() -> ChannelName {
    ChannelName::try_new("wechat").unwrap()
}

fn day(n: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, n).unwrap()
}

fn person(n: u128) -> Caller {
    Caller {
        user: AccountId::from_uuid(Uuid::from_u128(n)),
        username: "ann".into(),
        role: Role::Finance,
        group: "default".into(),
        session: String::new(),
        confirmed_at: now(),
    }
}

async fn bill_of(directory: &Directory, sha256: &str) -> (StoredBill, Import) {
    brought(directory, sha256, BillSource::Upload, &[]).await
}

async fn brought(
    directory: &Directory,
    sha256: &str,
    source: BillSource,
    rows: &[BillRow],
) -> (StoredBill, Import) {
    let channel = channel();
    let new = NewBill {
        channel: &channel,
        merchant: "1",
        day: day(21),
        kind: BillKind::Trades,
        name: "bill.csv",
        sha256,
        source,
        by: None,
    };
    directory.store_bill(&new, rows).await.unwrap()
}

fn row() -> BillRow {
    let money = Money { currency: Currency::try_new("CNY").unwrap(), minor: 1 };
    BillRow {
        line: 1,
        kind: RowKind::Payment,
        status: RowStatus::Done,
        order: None,
        refund: None,
        txn: "t".into(),
        amount: money,
        fee_milli: None,
        rate_ppm: None,
        settled: money,
        at: now(),
        word: "SUCCESS".into(),
    }
}

fn finding(minor: i64) -> Finding {
    let money = Money { currency: Currency::try_new("CNY").unwrap(), minor };
    Finding {
        class: Class::LedgerOnly,
        subject: "a".into(),
        order_number: Some("a".into()),
        refund_number: None,
        txn: None,
        order: None,
        account: None,
        ledger: Some(money),
        provider: None,
        detail: "somebody was credited".into(),
        is_cleared: false,
        linked: None,
    }
}

async fn compared(directory: &Directory, findings: &[Finding]) -> StoredRun {
    let channel = channel();
    let bills = directory.current_bills(&channel, day(21)).await.unwrap();
    let new = NewRun {
        channel: &channel,
        day: day(21),
        cause: RunCause::Again,
        by: None,
        position: 1,
        is_preliminary: false,
        bills: &bills,
        matched: 0,
        totals: &[],
    };
    directory.keep_run(&new, findings).await.unwrap()
}

async fn states(directory: &Directory) -> Vec<(DifferenceState, bool)> {
    let which = Which { limit: 100, ..Which::default() };
    let all = directory.differences(&which).await.unwrap();
    all.iter().rev().map(|it| (it.state, it.reopens.is_some())).collect()
}

#[tokio::test]
async fn a_day_is_one_processs_at_a_time_and_done_once() {
    let (here, there, _folder) = directories().await;
    let (one, two, wechat) = (Uuid::new_v4(), Uuid::new_v4(), channel());
    let until = now().plus_ms(60_000);
    let (first, second) = tokio::join!(
        here.claim_day(&wechat, day(21), one, until),
        there.claim_day(&wechat, day(21), two, until)
    );
    assert!(first.unwrap() ^ second.unwrap());
    for claim in [one, two] {
        let end = DayEnd::Again { at: now().plus_ms(60_000), error: "not ready" };
        here.release_day(&channel(), day(21), claim, end).await.unwrap();
    }
    // It is tried again later, not now; the days before it are another matter: they were never begun.
    assert_eq!(here.due_days(&channel(), day(18), day(21)).await.unwrap(), []);
    assert!(there.claim_day(&channel(), day(21), two, now().plus_ms(-1)).await.unwrap());
    assert!(here.claim_day(&channel(), day(21), one, until).await.unwrap(), "the other one died");
    there.release_day(&channel(), day(21), two, DayEnd::Done).await.unwrap();
    assert!(!there.claim_day(&channel(), day(21), two, until).await.unwrap(), "its word counts no more");
    here.release_day(&channel(), day(21), one, DayEnd::Done).await.unwrap();
    // Two days slept over, and today's.
    let due = here.due_days(&channel(), day(21), day(24)).await.unwrap();
    assert_eq!(due.iter().map(|it| it.day).collect::<Vec<_>>(), [day(22), day(23), day(24)]);
    let other = ChannelName::try_new("stripe").unwrap();
    let due = here.due_days(&other, day(21), day(24)).await.unwrap();
    assert_eq!(
        due.iter().map(|it| it.day).collect::<Vec<_>>(),
        [day(24)],
        "a new channel owes only the last"
    );
}

#[tokio::test]
async fn a_file_is_one_bill_and_the_last_of_a_day_stands() {
    let (here, _, _folder) = directories().await;
    let (first, is_new) = bill_of(&here, "one").await;
    assert_eq!((is_new, bill_of(&here, "one").await.1), (Import::New, Import::Known));
    let (second, _) = bill_of(&here, "two").await;
    let current = here.current_bills(&channel(), day(21)).await.unwrap();
    assert_eq!(current.iter().map(|it| it.id).collect::<Vec<_>>(), [second.id]);
    let all = here.bills(&Which { limit: 10, ..Which::default() }).await.unwrap();
    assert_eq!(all.iter().map(|it| it.id).collect::<Vec<_>>(), [second.id, first.id]);
    // The second was the wrong one: the first stands again, and counts as come in now.
    let (again, import) = bill_of(&here, "one").await;
    assert_eq!((again.id, import, again.is_current), (first.id, Import::StandsAgain, true));
    assert!(again.imported_at > second.imported_at);
    assert_eq!(here.current_bills(&channel(), day(21)).await.unwrap(), [again]);
    let audit = "SELECT COUNT(*) AS n FROM audit_outbox";
    assert_eq!(here.0.db.fetch_one(audit, &[]).await.unwrap().count("n").unwrap(), 3);
}

#[tokio::test]
async fn a_channel_that_says_it_has_no_bill_takes_none_with_rows_away() {
    let (here, _, _folder) = directories().await;
    let (nothing, import) = brought(&here, "empty", BillSource::Download, &[]).await;
    assert_eq!((nothing.rows, import), (0, Import::New));
    let (full, import) = brought(&here, "full", BillSource::Download, &[row()]).await;
    assert_eq!((full.rows, import), (1, Import::New));
    let (kept, import) = brought(&here, "empty", BillSource::Download, &[]).await;
    assert_eq!((kept.id, import), (full.id, Import::Kept));
    assert_eq!(here.current_bills(&channel(), day(21)).await.unwrap(), [full]);
    // A person who knows that there was none may say so.
    let (empty, import) = brought(&here, "empty", BillSource::Upload, &[]).await;
    assert_eq!((empty.id, import), (nothing.id, Import::StandsAgain));
}

#[tokio::test]
async fn a_day_that_was_compared_on_the_way_is_left_to_the_daily_run() {
    let (here, _, _folder) = directories().await;
    let due = async || !here.due_days(&channel(), day(21), day(21)).await.unwrap().is_empty();
    for (end, is_due) in [
        (DayEnd::AsBefore, true),
        (DayEnd::Again { at: now(), error: "not ready" }, true),
        (DayEnd::AsBefore, true),
        (DayEnd::Done, false),
        (DayEnd::AsBefore, false),
    ] {
        let claim = Uuid::new_v4();
        assert!(here.claim_day(&channel(), day(21), claim, now().plus_ms(60_000)).await.unwrap());
        here.release_day(&channel(), day(21), claim, end).await.unwrap();
        assert_eq!(due().await, is_due, "{end:?}");
    }
}

#[tokio::test]
async fn what_is_signed_off_stays_so_until_a_later_bill_shows_it_again() {
    use DifferenceState::{Assigned, Cleared, Open, Proposed, Resolved};
    let (here, _, _folder) = directories().await;
    bill_of(&here, "one").await;
    compared(&here, &[finding(1), finding(2)]).await;
    compared(&here, &[finding(1)]).await;
    assert_eq!(states(&here).await, [(Open, false), (Cleared, false)], "known again, and not found any more");
    let which = Which { state: Some(Open), limit: 1, ..Which::default() };
    let id = here.differences(&which).await.unwrap()[0].id;
    let (maker, checker) = (person(1), person(2));
    let assigned = here.assign_difference(id, maker.user, &checker).await.unwrap().unwrap();
    assert_eq!((assigned.state, assigned.owner), (Assigned, Some(maker.user)));
    let propose = || here.propose_end(id, DifferenceAct::Accepted, "seen", &maker);
    assert_eq!(propose().await.unwrap().unwrap().state, Proposed);
    assert_eq!(here.reject_end(id, None, &checker).await.unwrap().unwrap().state, Assigned);
    propose().await.unwrap().unwrap();
    assert_eq!(here.approve_end(id, None, &maker, false).await.unwrap(), Err(StepFault::Involved));
    // Two who approve at once: one of them does.
    let (one, two) = tokio::join!(
        here.approve_end(id, None, &checker, false),
        here.approve_end(id, None, &checker, false)
    );
    assert!(one.unwrap().is_ok() ^ two.unwrap().is_ok());
    compared(&here, &[finding(1)]).await;
    assert_eq!(states(&here).await, [(Resolved, false), (Cleared, false)], "the same bill opens nothing");
    bill_of(&here, "two").await;
    compared(&here, &[finding(1)]).await;
    assert_eq!(states(&here).await, [(Resolved, false), (Cleared, false), (Open, true)]);
    compared(&here, &[finding(1)]).await;
    assert_eq!(states(&here).await.len(), 3, "and it is one again");
}

#[tokio::test]
async fn a_sign_off_in_between_is_not_overwritten_by_a_comparison() {
    let (here, _, _folder) = directories().await;
    bill_of(&here, "one").await;
    let run = compared(&here, &[finding(1)]).await;
    let read = here.differences(&Which { limit: 1, ..Which::default() }).await.unwrap().remove(0);
    // PostgreSQL and MariaDB let others write after the comparison's transaction has read.
    let (maker, checker) = (person(1), person(2));
    here.propose_end(read.id, DifferenceAct::Accepted, "seen", &maker).await.unwrap().unwrap();
    let proposed = here.difference(read.id).await.unwrap();
    here.approve_end(read.id, None, &checker, false).await.unwrap().unwrap();
    for stale in [&read, &proposed] {
        let mut tx = here.0.db.begin().await.unwrap();
        assert!(!runs::clear(&mut tx, stale, &run).await.unwrap());
        tx.commit().await.unwrap();
    }
    let after = here.difference(read.id).await.unwrap();
    assert_eq!((after.state, after.approved_by), (DifferenceState::Resolved, Some(checker.user)));
}
