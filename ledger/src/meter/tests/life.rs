//! The life of a run: its death and its successor, its seal and its next epoch, and what nodes give each other back.

use super::*;
use crate::meter::{epoch, recall, sweep};
use domain::event::SealCause;
use domain::{LeaseId, Outcome};
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

/// A node that can be killed: its tasks live in a runtime of their own.
struct Mortal {
    runtime: Runtime,
    meter: Meter,
    dir: PathBuf,
}

impl Mortal {
    async fn start(node: &Node, dir: PathBuf, options: MeterOptions) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = node.server.options();
        let folder = dir.clone();
        let meter = runtime.spawn(async move {
            let ledger = Ledger::new(Log::connect(server).await.unwrap(), Arc::new(NoSnapshots));
            start_in(folder, ledger, options).await
        });
        Self { meter: meter.await.unwrap(), runtime, dir }
    }

    /// Runs something as that process would.
    async fn run<T: Send + 'static>(&self, act: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.spawn(act).await.unwrap()
    }

    /// As `kill -9` would: nothing of it runs any more. Answers with a copy of its outbox, for the holds that it never
    /// dropped keep the lock of the original in this process.
    async fn kill(self) -> PathBuf {
        let Self { runtime, meter, dir } = self;
        drop(meter);
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
        copy_of(&dir)
    }
}

fn copy_of(dir: &Path) -> PathBuf {
    let copy = dir.with_file_name(format!("outbox-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    copy
}

async fn start_in(dir: PathBuf, ledger: Ledger, mut options: MeterOptions) -> Meter {
    options.outbox.dir = dir;
    Meter::start(ledger, Arc::new(Unprojected), options).await.unwrap()
}

async fn all_reported(meter: &Meter) {
    let begun = Instant::now();
    while meter.status().unreported > 0 {
        assert!(begun.elapsed() < DRAIN, "usage is not reported");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn interrupted(charge: &str) -> Usage {
    Usage { outcome: Outcome::Interrupted, ..usage(credits(charge)) }
}

/// All usage of the log, with duplicates by (lease, n) checked to be the same and counted once.
async fn counted(node: &Node) -> BTreeMap<(LeaseId, u64), UsageRecord> {
    let log = node.ledger.log();
    let end = log.identity().await.unwrap().last_sequence;
    let mut all = BTreeMap::new();
    for sequence in 1..=end {
        let Some(logged) = log.at(sequence).await.unwrap() else { continue };
        let Event::Node(_, NodeEvent::UsageReported(report)) = logged.recorded.event else { continue };
        for record in report.records {
            let same = all.entry((record.lease, record.n)).or_insert_with(|| record.clone());
            assert_eq!(*same, record, "a record reported twice says the same");
        }
    }
    all
}

/// After everything: no lease is open, each closed one has its records 1..count, and the account paid their sum.
async fn assert_even(node: &Node, given: &str) -> Vec<UsageRecord> {
    let records = counted(node).await;
    let account = node.ledger.account(node.account).await.unwrap();
    assert!(account.leases.is_empty(), "{:?}", account.leases);
    for close in node.closed().await {
        let of_lease: Vec<_> = records.values().filter(|record| record.lease == close.lease).collect();
        assert_eq!(u64::try_from(of_lease.len()).unwrap(), close.count);
        assert_eq!(of_lease.last().map_or(Credits::ZERO, |last| last.spent), close.spent);
    }
    let records: Vec<_> = records.into_values().collect();
    let paid = sum(records.iter().map(UsageRecord::paid));
    assert_eq!(account.available(), minus(credits(given), paid));
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_successor_of_a_killed_run_reports_what_it_had_settled_and_gives_its_credits_back() {
    let node = Node::start("10", quiet()).await;
    let dir = node.server.folder().join("outbox-mortal");
    let mortal = Mortal::start(&node, dir.clone(), quiet()).await;
    let (meter, request) = (mortal.meter.clone(), node.request("1"));
    let lost_epoch = meter.epoch();
    let server = node.server.local().pid().unwrap();
    mortal
        .run(async move {
            let hold = meter.hold(request.clone()).await.unwrap();
            hold.settle(usage(credits("0.25"))).await;
            all_reported(&meter).await;
            // From here on nothing reaches the log.
            freeze(server);
            let mut opened =
                meter.hold(HoldRequest { worst_case: credits("0.1"), ..request.clone() }).await.unwrap();
            opened.open(interrupted("0")).await.unwrap();
            let hold =
                meter.hold(HoldRequest { worst_case: credits("0.5"), ..request.clone() }).await.unwrap();
            hold.settle(usage(credits("0.125"))).await;
            let mut marked = meter.hold(HoldRequest { worst_case: credits("0.1"), ..request }).await.unwrap();
            let draft = interrupted("0");
            marked.open(draft.clone()).await.unwrap();
            marked.mark(Usage { charge: credits("0.0625"), ..draft });
            // Never settled, never dropped: the process dies first.
            std::mem::forget((opened, marked));
        })
        .await;
    let dir = mortal.kill().await;
    thaw(server);
    let begun = Instant::now();
    let next = start_in(dir, server_ledger(&node).await, quiet()).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "credits are back in time: {:?}", begun.elapsed());
    let records = assert_even(&node, "10").await;
    let charges: Vec<_> = records.iter().map(|record| record.usage.charge.to_string()).collect();
    assert_eq!(records.len(), 4);
    assert_eq!(sum(records.iter().map(UsageRecord::paid)), credits("0.4375"), "{charges:?}");
    assert_eq!(records.iter().filter(|record| record.usage.outcome == Outcome::Interrupted).count(), 2);
    assert!(epoch::is_sealed(&next.shared, lost_epoch).await.unwrap());
    next.drain(DRAIN).await;
    node.meter.drain(DRAIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_dies_at_once_leaves_the_same_to_its_own() {
    let node = Node::start("10", quiet()).await;
    let mut dir = node.server.folder().join("outbox-mortal");
    for _ in 0..4 {
        let mortal = Mortal::start(&node, dir.clone(), quiet()).await;
        let (meter, request) = (mortal.meter.clone(), node.request("1"));
        mortal
            .run(async move {
                let hold = meter.hold(request.clone()).await.unwrap();
                hold.settle(usage(credits("0.5"))).await;
                let mut open = meter.hold(request).await.unwrap();
                open.open(interrupted("0.25")).await.unwrap();
                std::mem::forget(open);
            })
            .await;
        dir = mortal.kill().await;
    }
    let last = start_in(dir, server_ledger(&node).await, quiet()).await;
    let records = assert_even(&node, "10").await;
    assert_eq!((records.len(), sum(records.iter().map(UsageRecord::paid))), (8, credits("3")));
    last.drain(DRAIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_the_outbox_has_lost_are_found_by_the_seals_they_left() {
    let node = Node::start("10", quiet()).await;
    let mut dir = node.server.folder().join("outbox-mortal");
    let (mut older, mut epochs) = (None, Vec::new());
    for _ in 0..3 {
        let mortal = Mortal::start(&node, dir.clone(), quiet()).await;
        let (meter, request) = (mortal.meter.clone(), node.request("1"));
        epochs.push(meter.epoch());
        mortal
            .run(async move {
                let hold = meter.hold(request.clone()).await.unwrap();
                hold.settle(usage(credits("0.5"))).await;
                let mut open = meter.hold(request).await.unwrap();
                open.open(interrupted("0.25")).await.unwrap();
                std::mem::forget(open);
                all_reported(&meter).await;
            })
            .await;
        dir = mortal.kill().await;
        // The outbox as the first run left it.
        older.get_or_insert_with(|| copy_of(&dir));
    }
    let last = start_in(older.unwrap(), server_ledger(&node).await, quiet()).await;
    // The call that the third had in flight is lost with its outbox; all else is charged once, and no lease is left.
    let records = assert_even(&node, "10").await;
    assert_eq!((records.len(), sum(records.iter().map(UsageRecord::paid))), (5, credits("2")));
    for epoch in epochs {
        assert!(epoch::is_sealed(&last.shared, epoch).await.unwrap());
    }
    last.drain(DRAIN).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_reports_nothing_before_its_begin_is_on_disk() {
    let mut options = quiet();
    options.outbox.flush = Flush::Manual;
    let node = Node::start("10", options).await;
    let other = start_meter(&node.server, server_ledger(&node).await, quiet()).await;
    // Nothing else flushes here. The begin of the first run is the last that was written, then that of the second is.
    for _ in 0..2 {
        let begun = node.meter.outbox().status();
        assert!(begun.unflushed_bytes > 0);
        node.hold("1").await.unwrap().settle(usage(credits("0.5"))).await;
        all_reported(&node.meter).await;
        let now = node.meter.outbox().status();
        assert!(now.bytes - now.unflushed_bytes >= begun.bytes, "{begun:?} {now:?}");
        let epoch = node.meter.epoch();
        sweep::seal(&other.shared, epoch, SealCause::Silent).await.unwrap().unwrap();
        node.meter.shared.check_epoch().await.unwrap();
        assert_ne!(node.meter.epoch(), epoch);
    }
    node.meter.drain(DRAIN).await;
    other.drain(DRAIN).await;
    assert_even(&node, "10").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_sealed_by_mistake_goes_on_as_another_run_and_loses_no_record() {
    let node = Node::start("10", quiet()).await;
    let other = start_meter(&node.server, server_ledger(&node).await, quiet()).await;
    let before = node.meter.epoch();
    let in_flight = node.hold("1").await.unwrap();
    node.hold("1").await.unwrap().settle(usage(credits("0.5"))).await;
    until("it is reported", async || node.meter.status().unreported == 0).await;

    let seal = sweep::seal(&other.shared, before, SealCause::Silent).await.unwrap().unwrap();
    // Found out by the next report, which is made again under the next epoch.
    node.hold("1").await.unwrap().settle(usage(credits("0.25"))).await;
    until("it is reported again", async || node.meter.status().unreported == 0).await;
    assert_ne!(node.meter.epoch(), before);
    let sealed = node.ledger.log().last_on(&Subject::Node(before)).await.unwrap().unwrap();
    assert_eq!(sealed.recorded.sequence, seal.sequence, "nothing stands behind the seal");
    // New calls get a new lease; the one in flight is charged to the old one.
    let fresh = node.hold("1").await.unwrap();
    assert_ne!(fresh.lease(), in_flight.lease());
    assert_eq!(
        in_flight.settle(usage(credits("1"))).await,
        Settled { paid: credits("1"), uncovered: Credits::ZERO }
    );
    fresh.settle(usage(credits("0.125"))).await;
    node.meter.drain(DRAIN).await;
    other.drain(DRAIN).await;
    let records = assert_even(&node, "10").await;
    assert_eq!((records.len(), sum(records.iter().map(UsageRecord::paid))), (4, credits("1.875")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_admits_nobody_under_a_sealed_epoch() {
    let life = Duration::from_millis(400);
    // Upkeep that comes too late to renew: as if the process had stood still.
    let options = MeterOptions { lease_life: life, upkeep_every: Duration::from_secs(3600), ..quiet() };
    let node = Node::start("10", options).await;
    let other = start_meter(&node.server, server_ledger(&node).await, quiet()).await;
    let before = node.meter.epoch();
    let mut held = node.hold("1").await.unwrap();
    sweep::seal(&other.shared, before, SealCause::Silent).await.unwrap().unwrap();
    tokio::time::sleep(life).await;
    let error = held.open(usage(Credits::ZERO)).await.unwrap_err();
    assert!(matches!(error, HoldError::Unavailable(_)), "{error}");
    held.release();
    let next = node.hold("1").await.unwrap();
    assert_ne!(node.meter.epoch(), before, "asked of the log before a lease that had run out was used again");
    next.settle(usage(credits("1"))).await;
    node.meter.drain(DRAIN).await;
    other.drain(DRAIN).await;
    assert_even(&node, "10").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_slept_without_a_lease_asks_for_none_under_a_sealed_epoch() {
    let life = Duration::from_millis(400);
    let options = MeterOptions { lease_life: life, upkeep_every: Duration::from_secs(3600), ..quiet() };
    let node = Node::start("10", options).await;
    let other = start_meter(&node.server, server_ledger(&node).await, quiet()).await;
    let before = node.meter.epoch();
    sweep::seal(&other.shared, before, SealCause::Silent).await.unwrap().unwrap();
    tokio::time::sleep(life).await;
    // Its first lease: no older one tells it how long it slept.
    let fresh = node.hold("1").await.unwrap();
    assert_ne!(node.meter.epoch(), before);
    let account = node.ledger.account(node.account).await.unwrap();
    let epochs: Vec<_> = account.leases.values().map(|lease| lease.epoch).collect();
    assert_eq!(epochs, [node.meter.epoch()], "a lease of a run that can report no more");
    fresh.settle(usage(credits("1"))).await;
    node.meter.drain(DRAIN).await;
    other.drain(DRAIN).await;
    assert_even(&node, "10").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recall_does_not_wake_a_lease_of_a_sealed_epoch() {
    let life = Duration::from_millis(400);
    let options = MeterOptions { lease_life: life, upkeep_every: Duration::from_secs(3600), ..quiet() };
    let node = Node::start("10", options).await;
    let other = start_meter(&node.server, server_ledger(&node).await, quiet()).await;
    let before = node.meter.epoch();
    let in_flight = node.hold("1").await.unwrap();
    sweep::seal(&other.shared, before, SealCause::Silent).await.unwrap().unwrap();
    tokio::time::sleep(life).await;
    // What was asked of the node while it stood still is the first that it hears.
    let entry = node.meter.shared.entry(node.account, &Scope::Account);
    recall::give_slack(&node.meter.shared, &entry).await;
    let next = node.hold("1").await.unwrap();
    assert_ne!(node.meter.epoch(), before);
    assert_ne!(next.lease(), in_flight.lease());
    next.settle(usage(credits("1"))).await;
    in_flight.settle(usage(credits("0.5"))).await;
    node.meter.drain(DRAIN).await;
    other.drain(DRAIN).await;
    assert_even(&node, "10").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_does_not_need_is_given_to_who_does() {
    let node = Node::start("10", MeterOptions { recall_wait: Duration::from_secs(1), ..quiet() }).await;
    let other = start_meter(&node.server, server_ledger(&node).await, quiet()).await;
    // The other node holds nearly all, and one call there needs a little of it.
    let slack = other.hold(node.request("9.5")).await.unwrap();
    slack.settle(usage(credits("0.5"))).await;
    let busy = other.hold(node.request("1")).await.unwrap();
    let begun = Instant::now();
    let hold = node.hold("8.5").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(is_insufficient(&node.hold("0.5").await), "what a call holds is not given away");
    busy.settle(usage(credits("0.25"))).await;
    let rest = node.hold("0.5").await.unwrap();
    for (hold, charge) in [(hold, "8.5"), (rest, "0.5")] {
        assert_eq!(hold.settle(usage(credits(charge))).await.uncovered, Credits::ZERO);
    }
    node.meter.drain(DRAIN).await;
    other.drain(DRAIN).await;
    assert_even(&node, "10").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_spend_one_credit_to_the_last_call_and_not_beyond() {
    let options = || MeterOptions { recall_wait: Duration::from_secs(1), ..quiet() };
    let node = Node::start("1", options()).await;
    let mut meters = vec![node.meter.clone()];
    for _ in 0..2 {
        meters.push(start_meter(&node.server, server_ledger(&node).await, options()).await);
    }
    let calls: Vec<_> = (0..300_usize)
        .map(|i| {
            let (meter, request) = (meters[i % 3].clone(), node.request("0.01"));
            tokio::spawn(async move {
                match meter.hold(request).await {
                    Ok(hold) => {
                        tokio::task::yield_now().await;
                        assert_eq!(hold.settle(usage(credits("0.01"))).await.uncovered, Credits::ZERO);
                        true
                    }
                    Err(HoldError::InsufficientCredits { .. }) => false,
                    Err(error) => panic!("{error}"),
                }
            })
        })
        .collect();
    let mut answered = 0;
    for call in calls {
        answered += u32::from(call.await.unwrap());
    }
    assert_eq!(answered, 100, "none is refused while credits lie idle on another node");
    for meter in meters {
        meter.drain(DRAIN).await;
    }
    assert_even(&node, "1").await;
    assert_eq!(node.available().await, Credits::ZERO);
}

#[tokio::test]
async fn a_full_outbox_admits_nobody_and_lets_the_admitted_end() {
    let mut options = quiet();
    (options.outbox.max_bytes, options.outbox.segment_bytes) = (6_000, 2_000);
    let node = Node::start("10", options).await;
    let mut settled = 0;
    let error = loop {
        let opened = async {
            let mut hold = node.hold("0.01").await?;
            hold.open(interrupted("0")).await?;
            Ok::<_, HoldError>(hold)
        };
        match opened.await {
            Ok(hold) => {
                hold.settle(usage(credits("0.01"))).await;
                settled += 1;
            }
            Err(error) => break error,
        }
        assert!(settled < 100, "the bound is nowhere");
    };
    assert!(error.to_string().contains("is full"), "{error}");
    let records = node.drain("10").await;
    assert_eq!(records.len(), settled);
}

/// What the auditor says of a whole log.
async fn verified(log: &Log) -> crate::verify::Report {
    let (mut verifier, stream) = (crate::verify::Verifier::new(), crate::log::Stream::Ledger);
    let extent = log.extent(stream).await.unwrap().unwrap();
    let mut scan = log.scan(stream, extent.first - 1, extent.last);
    while let Some(batch) = scan.next_batch().await.unwrap() {
        batch.iter().for_each(|message| verifier.take(message));
    }
    verifier.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_younger_than_a_restored_log_is_refused_until_a_person_writes_the_rest_off() {
    let node = Node::start("10", quiet()).await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("log.nra");
    let dir = node.server.folder().join("outbox-mortal");
    let mortal = Mortal::start(&node, dir, quiet()).await;
    let (meter, request, log) = (mortal.meter.clone(), node.request("1"), node.ledger.log().clone());
    let other = funded(&server_ledger(&node).await, "10").await;
    let path = backup.clone();
    mortal
        .run(async move {
            // Two calls of a lease that the backup has, one of them only the outbox.
            let again = HoldRequest { worst_case: credits("0.1"), ..request.clone() };
            meter.hold(request).await.unwrap().settle(usage(credits("0.25"))).await;
            all_reported(&meter).await;
            crate::archive::export(&log, &path).await.unwrap();
            meter.hold(again).await.unwrap().settle(usage(credits("0.125"))).await;
            // A lease that it has not, with a call that is reported, and one in flight.
            let later =
                HoldRequest { account: other, scope: Scope::Account, budget: None, worst_case: credits("1") };
            meter.hold(later.clone()).await.unwrap().settle(usage(credits("0.5"))).await;
            let mut open = meter.hold(later).await.unwrap();
            open.open(interrupted("0.0625")).await.unwrap();
            all_reported(&meter).await;
            std::mem::forget(open);
        })
        .await;
    let dir = mortal.kill().await;
    let restored = Server::start().await;
    crate::archive::import(&Log::attach(restored.options()).await.unwrap(), &backup).await.unwrap();
    let ledger = restored.ledger().await;
    let log = ledger.log().clone();
    let options = || MeterOptions { outbox: crate::outbox::OutboxOptions::at(&dir), ..quiet() };
    let before = log.identity().await.unwrap().last_sequence;
    for _ in 0..2 {
        let refused = Meter::start(ledger.clone(), Arc::new(Unprojected), options()).await.err().unwrap();
        assert!(
            refused.to_string().contains("holds 2 calls of leases that this log never granted"),
            "{refused}"
        );
    }
    assert_eq!(log.identity().await.unwrap().last_sequence, before, "nothing was appended");

    std::fs::write(dir.join("write-off"), "").unwrap();
    let next = Meter::start(ledger.clone(), Arc::new(Unprojected), options()).await.unwrap();
    assert!(!dir.join("write-off").exists(), "the act is for one start");
    let files = std::fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path());
    let files: Vec<_> =
        files.filter(|it| it.file_name().unwrap().to_string_lossy().starts_with("written-off-")).collect();
    let told = std::fs::read_to_string(&files[0]).unwrap();
    assert_eq!((files.len(), told.lines().count()), (1, 2), "{told}");
    assert!(
        told.contains("\"settled\"") && told.contains("\"interrupted\"") && told.contains("0.0625"),
        "{told}"
    );
    // What the log knows the lease of is charged once, all else to nobody.
    let available = async |account| ledger.account(account).await.unwrap().available();
    assert_eq!(available(node.account).await, credits("9.625"));
    assert_eq!(available(other).await, credits("10"));
    next.drain(DRAIN).await;
    let report = verified(&log).await;
    assert!(report.clean, "{:?}", report.findings);
    assert_eq!((report.counts.usage_records, report.counts.leases_open), (2, 0));

    // Nothing of it comes back.
    let (again, end) = (copy_of(&dir), log.identity().await.unwrap().last_sequence);
    drop(next);
    let last = start_in(again, ledger.clone(), quiet()).await;
    last.drain(DRAIN).await;
    let sealed = log.identity().await.unwrap().last_sequence - end;
    assert_eq!(sealed, 1, "a seal, and no usage");
    assert_eq!((available(node.account).await, available(other).await), (credits("9.625"), credits("10")));
    node.meter.drain(DRAIN).await;
}
