//! Metering against a real log: what is admitted, paid, reported and given back.

mod life;

use super::*;
use crate::testing::{
    Server, Unprojected, credits, freeze, funded, grant, key_scope, label, minus, new_account, story, sum,
    tester, thaw, until, usage,
};
use crate::{Log, Logged, NoSnapshots, Subject};
use domain::account::event::{Closer, LeaseClosed};
use domain::usage::Usage;
use domain::{AccountEvent, Command, Event, NodeEvent, UsageRecord};
use tokio::time::Instant;

/// Leases that live long and upkeep that keeps out of the way: what happens is what the test does.
fn quiet() -> MeterOptions {
    MeterOptions {
        idle_close: Duration::from_secs(60),
        upkeep_every: Duration::from_millis(20),
        recall_wait: Duration::from_millis(100),
        sweep_every: Duration::from_secs(3600),
        ..MeterOptions::with_outbox("")
    }
}

/// A meter with an outbox of its own, as another process would have.
pub(super) async fn start_meter(server: &Server, ledger: Ledger, mut options: MeterOptions) -> Meter {
    options.outbox.dir = server.folder().join(format!("outbox-{}", uuid::Uuid::now_v7()));
    Meter::start(ledger, Arc::new(Unprojected), options).await.unwrap()
}

const DRAIN: Duration = Duration::from_secs(10);

/// A node with one account.
struct Node {
    server: Server,
    ledger: Ledger,
    meter: Meter,
    account: AccountId,
}

impl Node {
    async fn start(amount: &str, options: MeterOptions) -> Self {
        let server = Server::start().await;
        let log = server.log().await;
        Self::on(server, log, amount, options).await
    }

    /// A node that soon gives up on the log.
    async fn start_impatient(amount: &str, options: MeterOptions, patience: Duration) -> Self {
        let server = Server::start().await;
        let log = server.impatient_log(patience / 2, patience).await;
        Self::on(server, log, amount, options).await
    }

    async fn on(server: Server, log: Log, amount: &str, options: MeterOptions) -> Self {
        let ledger = Ledger::new(log, Arc::new(NoSnapshots));
        let account = match credits(amount) {
            Credits::ZERO => new_account(),
            _ => funded(&server.ledger().await, amount).await,
        };
        let meter = start_meter(&server, ledger.clone(), options).await;
        Self { server, ledger, meter, account }
    }

    fn request(&self, worst_case: &str) -> HoldRequest {
        HoldRequest {
            account: self.account,
            scope: Scope::Account,
            budget: None,
            worst_case: credits(worst_case),
        }
    }

    fn key_request(&self, scope: &Scope, limit: &str, worst_case: &str) -> HoldRequest {
        let budget = Some(Budget { limit: credits(limit) });
        HoldRequest { scope: scope.clone(), budget, ..self.request(worst_case) }
    }

    async fn hold(&self, worst_case: &str) -> Result<Hold, HoldError> {
        self.meter.hold(self.request(worst_case)).await
    }

    async fn available(&self) -> Credits {
        self.ledger.account(self.account).await.unwrap().available()
    }

    /// The records of this node in the order of the log.
    async fn records(&self) -> Vec<UsageRecord> {
        records(self.ledger.log(), self.meter.epoch()).await
    }

    async fn closed(&self) -> Vec<LeaseClosed> {
        let events = story(self.ledger.log(), self.account).await.into_iter();
        events
            .filter_map(|event| if let AccountEvent::LeaseClosed(it) = event { Some(it) } else { None })
            .collect()
    }

    /// Drains, and checks what must hold after every drain: all leases closed; each has records 1..count with a cumulative
    /// sum that ends at what the close says; the account is lower by what was paid, to the nano.
    async fn drain(&self, given: &str) -> Vec<UsageRecord> {
        self.meter.drain(DRAIN).await;
        let records = self.records().await;
        let account = self.ledger.account(self.account).await.unwrap();
        assert!(account.leases.is_empty(), "{:?}", account.leases);
        assert_whole(&records, &self.closed().await);
        let paid = sum(records.iter().map(UsageRecord::paid));
        assert_eq!(account.available(), minus(credits(given), paid));
        assert_eq!(self.meter.status().unreported, 0);
        records
    }
}

async fn records(log: &Log, epoch: EpochId) -> Vec<UsageRecord> {
    let reports = log.events_behind(&Subject::Node(epoch), 0).await.unwrap();
    let mut before = None;
    let mut all = Vec::new();
    for (Logged { recorded, hash, prev, .. }, version) in reports.into_iter().zip(1..) {
        assert_eq!((recorded.version, prev), (version, before));
        before = Some(hash);
        let Event::Node(_, NodeEvent::UsageReported(report)) = recorded.event else {
            panic!("on a node's subject")
        };
        assert!(!report.records.is_empty());
        all.extend(report.records);
    }
    all
}

/// For every closed lease: records 1..count are all there, once, with a cumulative sum that ends at `spent`.
fn assert_whole(records: &[UsageRecord], closed: &[LeaseClosed]) {
    let mut counted = 0;
    for close in closed {
        let mut spent = Credits::ZERO;
        let of_lease = records.iter().filter(|record| record.lease == close.lease);
        let mut count = 0;
        for record in of_lease {
            count += 1;
            assert_eq!(record.n, count, "in the order of the log");
            spent = sum([spent, record.paid()]);
            assert_eq!(record.spent, spent);
        }
        assert_eq!((close.count, close.spent, close.by), (count, spent, Closer::Holder));
        counted += count;
    }
    assert_eq!(counted, records.len() as u64, "records of leases that were never closed");
}

fn is_insufficient(answer: &Result<Hold, HoldError>) -> bool {
    matches!(answer, Err(HoldError::InsufficientCredits { .. }))
}

fn is_unavailable(answer: &Result<Hold, HoldError>) -> bool {
    matches!(answer, Err(HoldError::Unavailable(_)))
}

#[tokio::test]
async fn a_hold_that_settles_is_one_record() {
    let node = Node::start("10", quiet()).await;
    let mut hold = node.hold("2").await.unwrap();
    assert_eq!(hold.held(), credits("2"));
    hold.open(usage(Credits::ZERO)).await.unwrap();
    assert_eq!(node.meter.status().calls_in_flight, 1);
    let used = usage(credits("1.25"));
    let settled = hold.settle(used.clone()).await;
    assert_eq!(settled, Settled { paid: credits("1.25"), uncovered: Credits::ZERO });
    let records = node.drain("10").await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(
        (record.n, record.spent, record.uncovered, record.account),
        (1, credits("1.25"), Credits::ZERO, node.account)
    );
    assert_eq!(record.usage, used);
    assert_eq!(node.available().await, credits("8.75"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_parallel_holds_exactly_those_are_admitted_that_the_credits_cover() {
    let node = Node::start("50.7", quiet()).await;
    let holds: Vec<_> = (0..200)
        .map(|_| {
            let (meter, request) = (node.meter.clone(), node.request("1"));
            tokio::spawn(async move { meter.hold(request).await })
        })
        .collect();
    let mut admitted = Vec::new();
    for hold in holds {
        match hold.await.unwrap() {
            Ok(hold) => admitted.push(hold),
            Err(error) => assert!(matches!(error, HoldError::InsufficientCredits { .. }), "{error}"),
        }
    }
    assert_eq!(admitted.len(), 50);
    assert_eq!(node.meter.status().calls_in_flight, 50);
    for (hold, charge) in
        admitted.into_iter().zip(["1", "0.000000001", "0.333333333", "0", "0.7"].into_iter().cycle())
    {
        hold.settle(usage(credits(charge))).await;
    }
    assert_eq!(node.meter.status().calls_in_flight, 0);
    assert_eq!(node.drain("50.7").await.len(), 50);
    assert_eq!(node.available().await, minus(credits("50.7"), credits("20.333333340")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_all_sizes_are_admitted_as_long_as_there_are_credits() {
    let node = Node::start("100000", quiet()).await;
    let calls: Vec<_> = (0..400_u32)
        .map(|i| {
            let (meter, worst) = (node.meter.clone(), ["0.1", "25", "1", "7.5", "0", "3"][i as usize % 6]);
            let request = node.request(worst);
            // Others take what one has asked for: that must never be his error.
            tokio::spawn(async move {
                let mut hold = meter.hold(request).await.unwrap();
                hold.open(usage(Credits::ZERO)).await.unwrap();
                let charge = hold.held();
                assert_eq!(hold.settle(usage(charge)).await.uncovered, Credits::ZERO);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(node.drain("100000").await.len(), 400);
}

#[tokio::test]
async fn what_a_call_did_not_use_is_there_for_the_next() {
    let node = Node::start("1", quiet()).await;
    let first = node.hold("1").await.unwrap();
    let refused = node.hold("0.1").await;
    let expected = HoldError::InsufficientCredits { available: Credits::ZERO, wanted: credits("0.1") };
    assert_eq!(refused.err(), Some(expected));
    first.settle(usage(credits("0.3"))).await;
    let second = node.hold("0.7").await.unwrap();
    assert!(is_insufficient(&node.hold("0.000000001").await));
    drop(second);
    let third = node.hold("0.6").await.unwrap();
    let refused = node.hold("0.2").await;
    let expected = HoldError::InsufficientCredits { available: credits("0.1"), wanted: credits("0.2") };
    assert_eq!(refused.err(), Some(expected), "what is left of the lease is available too");
    third.release();
    assert_eq!(node.drain("1").await.len(), 1);
}

#[tokio::test]
async fn a_dropped_hold_leaves_nothing() {
    let node = Node::start("5", quiet()).await;
    for _ in 0..3 {
        drop(node.hold("5").await.unwrap());
        assert_eq!(node.meter.status().calls_in_flight, 0);
    }
    assert_eq!(node.drain("5").await, []);
    let closed = node.closed().await;
    assert!(matches!(&closed[..], [LeaseClosed { spent: Credits::ZERO, count: 0, .. }]), "{closed:?}");
}

#[tokio::test]
async fn a_thousand_calls_need_few_decisions_and_none_while_the_lease_suffices() {
    let node = Node::start("1000", quiet()).await;
    let mut free_rides = 0;
    for _ in 0..1000 {
        let before = node.meter.status().lease_decisions;
        let hold = node.hold("0.1").await.unwrap();
        free_rides += u32::from(node.meter.status().lease_decisions == before);
        hold.settle(usage(credits("0.1"))).await;
    }
    let decisions = node.meter.status().lease_decisions;
    assert!(decisions <= 40, "{decisions} decisions");
    assert!(free_rides >= 960, "{free_rides}");
    let records = node.drain("1000").await;
    assert_eq!((records.len(), node.available().await), (1000, credits("900")));

    let node = Node::start("10", quiet()).await;
    drop(node.hold("9").await.unwrap());
    let before = node.meter.status().lease_decisions;
    for _ in 0..100 {
        node.hold("0.05").await.unwrap().settle(usage(credits("0.01"))).await;
    }
    assert_eq!(node.meter.status().lease_decisions, before);
}

#[tokio::test]
async fn an_idle_lease_is_given_back_and_forgotten() {
    let node = Node::start("10", MeterOptions { idle_close: Duration::from_millis(150), ..quiet() }).await;
    let hold = node.hold("4").await.unwrap();
    // Not while a call uses it, however long.
    let before = Instant::now();
    until("a few idle times pass", async || before.elapsed() > Duration::from_millis(500)).await;
    assert_eq!(node.meter.status().open_leases, 1);
    hold.settle(usage(credits("1"))).await;
    until("the lease is closed", async || node.meter.status().open_leases == 0).await;
    assert_eq!(node.available().await, credits("9"));
    until("the entry is forgotten", async || node.meter.shared.all_entries().is_empty()).await;
    // And somebody comes again.
    node.hold("9").await.unwrap().settle(usage(credits("9"))).await;
    assert_eq!(node.drain("10").await.len(), 2);
    assert_eq!(node.closed().await.len(), 2);
}

#[tokio::test]
async fn a_lease_is_renewed_before_its_life_ends_while_a_call_is_in_flight() {
    let node = Node::start("10", MeterOptions { lease_life: Duration::from_millis(1000), ..quiet() }).await;
    let mut hold = node.hold("4").await.unwrap();
    let renewals = async || {
        let events = story(node.ledger.log(), node.account).await.into_iter();
        events
            .filter(|event| matches!(event, AccountEvent::LeaseAmended(it) if it.credits == credits("4")))
            .count()
    };
    until("it is renewed four times, which is two lives", async || {
        hold.open(usage(Credits::ZERO)).await.unwrap();
        renewals().await >= 4
    })
    .await;
    hold.settle(usage(credits("4"))).await;
    assert_eq!(node.drain("10").await.len(), 1);
}

#[tokio::test]
async fn a_charge_above_its_hold_takes_the_leases_rest_then_the_accounts_then_is_the_operators() {
    let node = Node::start("10", quiet()).await;
    drop(node.hold("3").await.unwrap());
    let decisions = || node.meter.status().lease_decisions;
    let before = decisions();
    // The lease's rest: 3 are leased, 1 is held.
    let settled = node.hold("1").await.unwrap().settle(usage(credits("2.5"))).await;
    assert_eq!(settled, Settled { paid: credits("2.5"), uncovered: Credits::ZERO });
    assert_eq!(decisions(), before);
    // A forced amend: 0.5 are left of the lease, 7 of the account.
    let settled = node.hold("0.5").await.unwrap().settle(usage(credits("4.5"))).await;
    assert_eq!(settled, Settled { paid: credits("4.5"), uncovered: Credits::ZERO });
    assert!(decisions() > before);
    // Down to the last credit, and the rest is nobody's: 3 are left.
    let settled = node.hold("1").await.unwrap().settle(usage(credits("3.000000002"))).await;
    assert_eq!(settled, Settled { paid: credits("3"), uncovered: credits("0.000000002") });
    assert!(is_insufficient(&node.hold("0.000000001").await));
    let records = node.drain("10").await;
    let uncovered: Vec<_> = records.iter().map(|record| record.uncovered).collect();
    assert_eq!(uncovered, [Credits::ZERO, Credits::ZERO, credits("0.000000002")]);
    assert_eq!(node.available().await, Credits::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_above_their_holds_are_covered_as_long_as_the_account_can() {
    let node = Node::start("1000", quiet()).await;
    let calls: Vec<_> = (0..200)
        .map(|_| {
            let (meter, request) = (node.meter.clone(), node.request("1"));
            tokio::spawn(
                async move { meter.hold(request).await.unwrap().settle(usage(credits("2.5"))).await },
            )
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Settled { paid: credits("2.5"), uncovered: Credits::ZERO });
    }
    assert_eq!(node.drain("1000").await.len(), 200);
    assert_eq!(node.available().await, credits("500"));
}

/// Polls a future until it waits for a server that does not answer.
async fn sent<F: Future>(future: F) -> std::pin::Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(futures_util::poll!(&mut future).is_pending());
    // Its task, if it has one, gets as far as the log.
    tokio::time::sleep(Duration::from_millis(20)).await;
    future
}

#[tokio::test]
async fn a_call_whose_credits_others_took_meanwhile_asks_again() {
    let node = Node::start("100", quiet()).await;
    drop(node.hold("3").await.unwrap());
    let pid = node.server.local().pid().unwrap();
    freeze(pid);
    // 3 are there, 2 are asked for; then a smaller call takes the 3.
    let large = sent(node.hold("5")).await;
    let small = node.hold("3").await.unwrap();
    thaw(pid);
    let large = large.await.unwrap();
    large.settle(usage(credits("5"))).await;
    small.settle(usage(credits("3"))).await;
    node.drain("100").await;
}

#[tokio::test]
async fn a_charge_above_its_hold_is_covered_also_when_others_are_quicker() {
    let node = Node::start("100", quiet()).await;
    drop(node.hold("3").await.unwrap());
    let hold = node.hold("1").await.unwrap();
    let pid = node.server.local().pid().unwrap();
    freeze(pid);
    // 1 is held, 2 are free, 2 are asked for; then another call comes for the 2.
    let settling = sent(hold.settle(usage(credits("5")))).await;
    let other = sent(node.hold("2")).await;
    thaw(pid);
    assert_eq!(settling.await, Settled { paid: credits("5"), uncovered: Credits::ZERO });
    other.await.unwrap().settle(usage(credits("2"))).await;
    node.drain("100").await;
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_no_charge_with_it() {
    let node = Node::start("10", quiet()).await;
    let hold = node.hold("1").await.unwrap();
    // Polled once: it asks the log for what the hold does not cover.
    let mut settling = Box::pin(hold.settle(usage(credits("3"))));
    assert!(futures_util::poll!(&mut settling).is_pending());
    drop(settling);
    until("it is settled all the same", async || node.meter.status().calls_in_flight == 0).await;
    let records = node.drain("10").await;
    assert_eq!((records.len(), records[0].spent), (1, credits("3")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_while_they_ask_leave_nothing_behind() {
    let node = Node::start("100", quiet()).await;
    for round in 0..40_u64 {
        let (meter, request) = (node.meter.clone(), node.request("1.5"));
        let asking = tokio::spawn(async move { meter.hold(request).await.map(|_| ()) });
        tokio::time::sleep(Duration::from_micros(round * 50)).await;
        asking.abort();
        // Another scope each time, so that each asks for a lease of its own.
        let (meter, request) = (node.meter.clone(), node.key_request(&key_scope(), "5", "1"));
        let asking = tokio::spawn(async move { meter.hold(request).await.map(|_| ()) });
        tokio::time::sleep(Duration::from_micros(round * 50)).await;
        asking.abort();
    }
    until("nobody holds", async || node.meter.status().calls_in_flight == 0).await;
    assert_eq!(node.drain("100").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_never_spends_more_than_its_budget() {
    let node = Node::start("100", quiet()).await;
    let scope = key_scope();
    let ask = || node.key_request(&scope, "10.5", "1");
    let asked: Vec<_> = (0..40)
        .map(|_| {
            let (meter, request) = (node.meter.clone(), ask());
            tokio::spawn(async move { meter.hold(request).await })
        })
        .collect();
    let mut admitted = Vec::new();
    for hold in asked {
        match hold.await.unwrap() {
            Ok(hold) => admitted.push(hold),
            Err(error) => assert!(matches!(error, HoldError::BudgetSpent { .. }), "{error}"),
        }
    }
    assert_eq!(admitted.len(), 10);
    for hold in admitted {
        hold.settle(usage(credits("0.5"))).await;
    }
    let held = node.meter.hold(node.key_request(&scope, "10.5", "5.5")).await.unwrap();
    let refused = node.meter.hold(node.key_request(&scope, "10.5", "0.1")).await.err();
    assert_eq!(refused, Some(HoldError::BudgetSpent { left: Credits::ZERO, wanted: credits("0.1") }));
    held.settle(usage(credits("2"))).await;
    assert_eq!(node.drain("100").await.len(), 11);

    // Another run of the node remembers what the key has spent: 7 of 10.5.
    let next = start_meter(&node.server, server_ledger(&node).await, quiet()).await;
    let hold = next.hold(node.key_request(&scope, "10.5", "3.5")).await.unwrap();
    let refused = next.hold(node.key_request(&scope, "10.5", "0.000000001")).await;
    assert!(matches!(refused, Err(HoldError::BudgetSpent { .. })));
    // Other keys and the account itself are free.
    drop(next.hold(node.key_request(&key_scope(), "10", "10")).await.unwrap());
    drop(next.hold(node.request("20")).await.unwrap());
    drop(hold);
    next.drain(DRAIN).await;
    assert_eq!(node.available().await, credits("93"));
}

#[tokio::test]
async fn a_charge_above_its_hold_stops_at_the_keys_budget() {
    let node = Node::start("100", quiet()).await;
    let hold = node.meter.hold(node.key_request(&key_scope(), "3", "1")).await.unwrap();
    let settled = hold.settle(usage(credits("5"))).await;
    assert_eq!((settled.paid, settled.uncovered), (credits("3"), credits("2")));
    let records = node.drain("100").await;
    assert_eq!(records[0].uncovered, credits("2"));
}

#[tokio::test]
async fn a_hold_grows_to_what_its_account_has_and_within_its_keys_budget() {
    let node = Node::start("10", quiet()).await;
    let mut hold = node.hold("1").await.unwrap();
    assert_eq!(hold.extend(credits("6")).await, credits("6"));
    assert_eq!(hold.extend(credits("5")).await, credits("6"), "it never shrinks");
    let mut capped = node.meter.hold(node.key_request(&key_scope(), "2", "1")).await.unwrap();
    assert!(capped.extend(credits("5")).await <= credits("2"), "the budget is a limit here too");
    assert!(hold.extend(credits("100")).await <= credits("9"), "nobody has more than there is");
    for hold in [hold, capped] {
        let held = hold.held();
        assert_eq!(hold.settle(usage(held)).await, Settled { paid: held, uncovered: Credits::ZERO });
    }
    node.drain("10").await;
}

async fn server_ledger(node: &Node) -> Ledger {
    node.server.ledger().await
}

#[tokio::test]
async fn what_one_scope_does_not_need_another_scope_gets() {
    let scope = key_scope();
    for busy in [false, true] {
        let node = Node::start("10", quiet()).await;
        // The account's lease has it all, and needs nothing or 3 of it.
        drop(node.hold("10").await.unwrap());
        let kept = if busy { Some(node.hold("3").await.unwrap()) } else { None };
        let wanted = if busy { "7" } else { "10" };
        let taken = node.meter.hold(node.key_request(&scope, "10", wanted)).await.unwrap();
        assert!(is_insufficient(&node.hold("0.1").await), "nothing is there twice");
        taken.settle(usage(credits("1"))).await;
        // And the other way round.
        let back = node.hold(if busy { "6" } else { "9" }).await.unwrap();
        let refused = node.meter.hold(node.key_request(&scope, "10", "0.1")).await;
        assert!(is_insufficient(&refused), "{:?}", refused.err());
        back.settle(usage(credits("2"))).await;
        if let Some(kept) = kept {
            kept.settle(usage(credits("3"))).await;
        }
        node.drain("10").await;
        assert_eq!(node.available().await, credits(if busy { "4" } else { "7" }));
    }
}

#[tokio::test]
async fn a_call_that_can_cost_nothing_needs_an_account_that_has_something() {
    let node = Node::start("0.000000001", quiet()).await;
    node.hold("0").await.unwrap().settle(usage(Credits::ZERO)).await;
    assert_eq!(
        node.hold("0").await.unwrap().settle(usage(credits("0.000000001"))).await.paid,
        credits("0.000000001")
    );
    let records = node.drain("0.000000001").await;
    assert_eq!(records.iter().map(|record| record.n).collect::<Vec<_>>(), [1, 2]);

    let poor = Node::start("0", quiet()).await;
    assert!(is_insufficient(&poor.hold("0").await));
    assert!(is_insufficient(&poor.hold("1").await));
    assert_eq!(story(poor.ledger.log(), poor.account).await, []);
    poor.ledger.execute(poor.account, grant("1"), tester(), None).await.unwrap();
    drop(poor.hold("1").await.unwrap());
    poor.drain("1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_share_an_account_never_spend_more_than_it_has() {
    let node = Node::start("50", quiet()).await;
    let other = start_meter(&node.server, server_ledger(&node).await, quiet()).await;
    let calls: Vec<_> = (0..200)
        .map(|i| {
            let (meter, request) = (if i % 2 == 0 { &node.meter } else { &other }.clone(), node.request("1"));
            tokio::spawn(async move { meter.hold(request).await })
        })
        .collect();
    let mut admitted = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(hold) => admitted.push(hold),
            Err(error) => assert!(matches!(error, HoldError::InsufficientCredits { .. }), "{error}"),
        }
    }
    assert!((40..=50).contains(&admitted.len()), "{}", admitted.len());
    let count = admitted.len();
    for hold in admitted {
        assert_eq!(hold.settle(usage(credits("1"))).await.uncovered, Credits::ZERO);
    }
    node.meter.drain(DRAIN).await;
    other.drain(DRAIN).await;
    let mut all = node.records().await;
    all.extend(records(node.ledger.log(), other.epoch()).await);
    assert_eq!(all.len(), count);
    assert_whole(&all, &node.closed().await);
    assert_eq!(node.available().await, minus(credits("50"), sum(all.iter().map(UsageRecord::paid))));
}

#[tokio::test]
async fn without_a_log_calls_go_on_until_the_lease_or_the_bound_ends() {
    let (bound, patience) = (Duration::from_millis(400), Duration::from_millis(600));
    let mut node =
        Node::start_impatient("10", MeterOptions { report_bound: bound, ..quiet() }, patience).await;
    drop(node.hold("5").await.unwrap());
    let stranger = funded(&node.ledger, "5").await;
    node.server.stop().await;

    // The lease lives: no network is needed.
    let (mut one, two) = (node.hold("1").await.unwrap(), node.hold("1").await.unwrap());
    one.open(usage(Credits::ZERO)).await.unwrap();
    // Nothing is leased to these: they are told so in time, all of them.
    let began = Instant::now();
    let asking = (0..20).map(|_| node.meter.hold(HoldRequest { account: stranger, ..node.request("1") }));
    for answer in futures_util::future::join_all(asking).await {
        assert!(is_unavailable(&answer), "{:?}", answer.err());
    }
    assert!(began.elapsed() < patience * 3, "{:?}", began.elapsed());

    one.settle(usage(credits("1"))).await;
    assert_eq!(node.meter.status().unreported, 1);
    until("the record has waited too long", async || is_unavailable(&node.hold("1").await)).await;
    assert!(node.meter.status().oldest_unreported_ms >= 400);
    two.settle(usage(credits("0.5"))).await;
    assert_eq!(node.meter.status().unreported, 2);

    let began = Instant::now();
    node.meter.drain(Duration::from_millis(300)).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(is_unavailable(&node.hold("1").await), "a drained meter admits nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_no_error_for_calls() {
    let node = Node::start("1000", quiet()).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (meter, request) = (node.meter.clone(), node.request("1"));
            tokio::spawn(async move {
                for _ in 0..40 {
                    let mut hold = meter.hold(request.clone()).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    hold.open(usage(Credits::ZERO)).await.unwrap();
                    assert_eq!(hold.settle(usage(credits("1"))).await.uncovered, Credits::ZERO);
                }
            })
        })
        .collect();
    until("calls are under way", async || node.meter.status().lease_decisions > 3).await;
    node.server.kill();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(node.drain("1000").await.len(), 320);
    assert_eq!(node.available().await, credits("680"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_calls_refuses_new_ones_and_leaves_nothing_open() {
    for _ in 0..5 {
        let node = Node::start("1000", quiet()).await;
        let calls: Vec<_> = (0..30)
            .map(|i| {
                let (meter, worst) = (node.meter.clone(), if i % 3 == 0 { "7" } else { "1" });
                let request = node.request(worst);
                tokio::spawn(async move {
                    let mut settled = 0_u64;
                    loop {
                        match meter.hold(request.clone()).await {
                            Ok(hold) => {
                                tokio::task::yield_now().await;
                                hold.settle(usage(credits("0.01"))).await;
                                settled += 1;
                            }
                            Err(HoldError::Unavailable(_)) => return settled,
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        until("calls are under way", async || node.meter.status().open_leases > 0).await;
        let records = node.drain("1000").await;
        let mut settled = 0;
        for call in calls {
            settled += call.await.unwrap();
        }
        assert_eq!(records.len() as u64, settled, "every settled call is on the log");
        assert_eq!(node.ledger.account(node.account).await.unwrap().leases.len(), 0);
    }
}

#[tokio::test]
async fn an_account_at_its_end_is_not_asked_again_and_again() {
    let node = Node::start("4", quiet()).await;
    let scope = key_scope();
    // Most of it is spent in the window, so both would like more than there is.
    node.hold("2").await.unwrap().settle(usage(credits("1.9"))).await;
    node.meter.hold(node.key_request(&scope, "2", "2")).await.unwrap().settle(usage(credits("1.9"))).await;
    until("records are reported", async || node.meter.status().unreported == 0).await;
    let ticks = || tokio::time::sleep(Duration::from_millis(300));
    ticks().await;
    let before = node.meter.status().lease_decisions;
    ticks().await;
    assert_eq!(node.meter.status().lease_decisions, before, "15 ticks of upkeep without a decision");
    node.drain("4").await;
}

#[tokio::test]
async fn a_lease_that_the_log_has_ended_pays_nothing_and_is_replaced() {
    let node = Node::start("10", quiet()).await;
    let hold = node.hold("2").await.unwrap();
    let lease = hold.lease();
    // As a sweeper would, which took this node for dead.
    let close = Command::CloseLease { lease, spent: Credits::ZERO, count: 0, by: Closer::Sweeper };
    node.ledger.execute(node.account, close, tester(), None).await.unwrap();
    // Found out when more is asked for.
    let next = node.hold("3").await.unwrap();
    assert_ne!(next.lease(), lease);
    assert_eq!(node.meter.status().calls_in_flight, 2);
    let settled = hold.settle(usage(credits("1"))).await;
    assert_eq!(settled, Settled { paid: Credits::ZERO, uncovered: credits("1") });
    next.settle(usage(credits("3"))).await;
    node.meter.drain(DRAIN).await;
    assert_eq!(node.available().await, credits("7"));
    let records = node.records().await;
    assert_eq!(
        records.iter().map(|record| (record.lease == lease, record.n)).collect::<Vec<_>>(),
        [(true, 1), (false, 1)]
    );
}

#[tokio::test]
async fn a_node_whose_subject_has_another_writer_admits_nobody() {
    let node = Node::start("10", quiet()).await;
    let hold = node.hold("1").await.unwrap();
    let raw = node.server.raw().await;
    raw.put(&Subject::Node(node.meter.epoch()), b"{}").await;
    hold.settle(usage(credits("1"))).await;
    until("the report fails", async || is_unavailable(&node.hold("1").await)).await;
    let error = node.hold("1").await.err().unwrap();
    assert!(error.to_string().contains("another process writes"), "{error}");
    // It does not wait for what can never be.
    let began = Instant::now();
    node.meter.drain(DRAIN).await;
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn large_records_go_in_batches_that_the_server_takes() {
    let node = Node::start("10", quiet()).await;
    let long = "x".repeat(domain::Label::MAX);
    let attempt = domain::usage::Attempt {
        provider: label(&long),
        key: None,
        chosen: None,
        status: None,
        error: Some(label(&long)),
        duration_ms: 1,
    };
    let holds: Vec<_> = futures_util::future::join_all((0..300).map(|_| node.hold("0.01"))).await;
    for hold in holds {
        let usage = Usage { attempts: vec![attempt.clone(); 20], ..usage(credits("0.01")) };
        hold.unwrap().settle(usage).await;
    }
    assert_eq!(node.drain("10").await.len(), 300);
}

/// A node that asked for a lease of 4, never heard the answer, and whose grant landed all the same.
async fn half_granted(idle_close: Duration) -> Node {
    let patience = Duration::from_millis(600);
    let node = Node::start_impatient("10", MeterOptions { idle_close, ..quiet() }, patience).await;
    let pid = node.server.local().pid().unwrap();
    // With the account at hand, so that the grant is the first thing sent.
    node.available().await;
    freeze(pid);
    assert!(is_unavailable(&node.hold("4").await));
    // The attempt itself gives up some time after its caller.
    drop(node.meter.shared.entry(node.account, &Scope::Account).slow.lock().await);
    thaw(pid);
    until("the grant landed after all", async || {
        let told = story(&node.server.log().await, node.account).await;
        told.iter().any(|event| matches!(event, AccountEvent::LeaseGranted(_)))
    })
    .await;
    node
}

#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_asked_for_again() {
    let node = half_granted(Duration::from_secs(60)).await;
    node.hold("4").await.unwrap().settle(usage(credits("1"))).await;
    node.hold("5").await.unwrap().settle(usage(credits("2"))).await;
    assert_eq!(node.drain("10").await.len(), 2);
    assert_eq!(node.closed().await.len(), 1, "one lease all the time");
}

#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_given_back_when_nobody_comes() {
    let node = half_granted(Duration::from_millis(100)).await;
    until("the entry is forgotten", async || node.meter.shared.all_entries().is_empty()).await;
    assert_eq!(node.closed().await.len(), 1);
    assert_eq!(node.available().await, credits("10"));
    node.drain("10").await;
}
