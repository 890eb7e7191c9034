//! Deciding against a real log: fresh refusals, repeated commands, other processes, damage.

use super::*;
use crate::LogOptions;
use crate::testing::{
    Server, chained, credits, freeze, funded, grant, label, new_account, new_lease, now, story, tester, until,
};
use domain::account::Amend;
use domain::account::event::{Closer, GrantSource, Scope};
use domain::{AdjustmentId, Credits, EpochId, GrantId, Money, OrderId, Refusal};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

fn yuan(minor: i64) -> Money {
    Money { currency: "CNY".to_owned().try_into().unwrap(), minor }
}

fn initiate(order: OrderId, pay: Money, bought: &str) -> Command {
    Command::InitiateTopUp {
        order,
        channel: "sandbox".parse().unwrap(),
        pay,
        credits: credits(bought),
        expires_at: now().plus_ms(60_000),
    }
}

fn complete(order: OrderId, pay: Money) -> Command {
    let channel = "sandbox".parse().unwrap();
    Command::CompleteTopUp { order, channel, provider_txn: label("txn-1"), paid: pay }
}

fn lease(at_least: &str) -> Command {
    Command::GrantLease {
        lease: new_lease(),
        epoch: EpochId::from_uuid(Uuid::now_v7()),
        scope: Scope::Account,
        at_least: credits(at_least),
        wanted: credits(at_least),
        ttl_ms: 60_000,
        budget: None,
    }
}

fn order() -> OrderId {
    OrderId::from_uuid(Uuid::new_v4())
}

async fn available(ledger: &Ledger, account: AccountId) -> Credits {
    ledger.account(account).await.unwrap().available()
}

#[tokio::test]
async fn a_top_up_counts_once_it_is_paid() {
    let server = Server::start().await;
    let (ledger, account, order) = (server.ledger().await, new_account(), order());
    let first = ledger.execute(account, initiate(order, yuan(5000), "7.25"), tester(), None).await.unwrap();
    assert_eq!((first.recorded.sequence, first.recorded.version, first.repeated), (1, 1, false));
    assert_eq!(available(&ledger, account).await, Credits::ZERO);
    let second = ledger.execute(account, complete(order, yuan(5000)), tester(), None).await.unwrap();
    assert_eq!((second.recorded.sequence, second.recorded.version), (2, 2));
    assert_eq!(available(&ledger, account).await, credits("7.25"));
    let told = story(ledger.log(), account).await;
    assert!(
        matches!(&told[..], [AccountEvent::TopUpInitiated(_), AccountEvent::TopUpCompleted(it)] if it.credits == credits("7.25"))
    );
}

#[tokio::test]
async fn a_refusal_is_given_only_on_a_fresh_state_and_leaves_nothing() {
    let server = Server::start().await;
    let (here, there) = (server.ledger().await, server.ledger().await);
    let account = funded(&here, "1").await;
    // Now `here` believes in 1 credit; another process adds the rest.
    there.execute(account, grant("9"), tester(), None).await.unwrap();
    let receipt = here.execute(account, lease("10"), tester(), None).await.unwrap();
    assert_eq!(receipt.recorded.version, 3);
    let refused = there.execute(account, lease("0.000000001"), tester(), None).await;
    let expected = Refusal::InsufficientCredits { available: Credits::ZERO, wanted: credits("0.000000001") };
    assert!(matches!(&refused, Err(LedgerError::Refused(refusal)) if *refusal == expected), "{refused:?}");
    assert_eq!(chained(here.log(), account).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_with_one_key_are_one_event() {
    let server = Server::start().await;
    let ledgers = [server.ledger().await, server.ledger().await];
    let account = funded(&ledgers[0], "1").await;
    let key: IdempotencyKey = "pay-once".parse().unwrap();
    let calls: Vec<_> = (0..100)
        .map(|i| {
            let (ledger, key) = (ledgers[i % 2].clone(), key.clone());
            // Ids differ, as they do when a client sends its request again.
            let command = initiate(order(), yuan(5000), "7");
            tokio::spawn(async move { ledger.execute(account, command, tester(), Some(key)).await.unwrap() })
        })
        .collect();
    let mut receipts = Vec::new();
    for call in calls {
        receipts.push(call.await.unwrap());
    }
    assert!(receipts.iter().all(|receipt| receipt.recorded == receipts[0].recorded));
    assert_eq!(receipts.iter().filter(|receipt| !receipt.repeated).count(), 1);
    assert_eq!(receipts[0].recorded.key.as_ref(), Some(&key));

    let other_body = initiate(order(), yuan(5001), "7");
    for ledger in &ledgers {
        let answer = ledger.execute(account, other_body.clone(), tester(), Some(key.clone())).await;
        assert!(matches!(answer, Err(LedgerError::Refused(Refusal::KeyReused))), "{answer:?}");
    }
    let answer = ledgers[0].execute(account, grant("1"), tester(), Some(key)).await;
    assert!(matches!(answer, Err(LedgerError::Refused(Refusal::KeyReused))), "{answer:?}");
    assert_eq!(chained(ledgers[0].log(), account).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_identical_callbacks_make_one_credit() {
    let server = Server::start().await;
    let ledgers = [server.ledger().await, server.ledger().await, server.ledger().await];
    let (account, order) = (new_account(), order());
    ledgers[0].execute(account, initiate(order, yuan(5000), "7"), tester(), None).await.unwrap();
    let calls: Vec<_> = (0..100)
        .map(|i| {
            let ledger = ledgers[i % 3].clone();
            tokio::spawn(async move {
                ledger.execute(account, complete(order, yuan(5000)), tester(), None).await.unwrap()
            })
        })
        .collect();
    let mut fresh = 0;
    for call in calls {
        let receipt = call.await.unwrap();
        assert_eq!(receipt.recorded.sequence, 2);
        fresh += usize::from(!receipt.repeated);
    }
    assert_eq!(fresh, 1);
    assert_eq!(chained(ledgers[0].log(), account).await.len(), 2);
    assert_eq!(available(&ledgers[2], account).await, credits("7"));
    let wrong = ledgers[1].execute(account, complete(order, yuan(4999)), tester(), None).await;
    assert!(matches!(wrong, Err(LedgerError::Refused(Refusal::WrongAmount { .. }))), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_one_process_on_one_account_queue_up() {
    let server = Server::start().await;
    let ledger = server.ledger().await;
    let account = new_account();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.execute(account, grant("1"), tester(), None).await.unwrap() })
        })
        .collect();
    let mut sequences = HashSet::new();
    for call in calls {
        assert!(sequences.insert(call.await.unwrap().recorded.sequence));
    }
    assert_eq!(chained(ledger.log(), account).await.len(), 50);
    assert_eq!(available(&ledger, account).await, credits("50"));
}

/// What a child of the storm is told by its environment.
const STORM: &str = "NEXUSROUTE_TEST_STORM";
const STORM_ROUNDS: u64 = 200;

/// One process of the storm: grants, adjustments up and down, leases opened, amended and closed. Prints the ids that were
/// acknowledged.
#[tokio::test]
#[ignore = "a child process of `a_storm_from_two_processes_loses_and_doubles_nothing`"]
async fn storm_child() {
    let Ok(told) = std::env::var(STORM) else { return };
    let [url, token, account] = told.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let options =
        LogOptions { servers: vec![url.to_owned()], token: Some(token.to_owned()), ..LogOptions::default() };
    let ledger = Ledger::new(Log::connect(options).await.unwrap(), Arc::new(NoSnapshots));
    let account: AccountId = account.parse().unwrap();
    let mut acknowledged = Vec::new();
    let mut open = None;
    for round in 0..STORM_ROUNDS {
        let adjustment = |amount: &str| Command::PostAdjustment {
            adjustment: AdjustmentId::from_uuid(Uuid::now_v7()),
            credits: credits(amount),
            reason: "storm".parse().unwrap(),
        };
        let command = match (round % 6, open) {
            (0 | 5, _) => grant("3"),
            (1, _) => adjustment("0.5"),
            (2, _) => adjustment("-1"),
            (3, None) => lease("1"),
            (3, Some(lease)) => Command::AmendLease {
                lease,
                amend: Amend::Extend { at_least: credits("0.1"), wanted: credits("0.1") },
                ttl_ms: 60_000,
                budget: None,
            },
            (_, None) => grant("1"),
            (_, Some(lease)) => {
                Command::CloseLease { lease, spent: credits("0.25"), count: 1, by: Closer::Holder }
            }
        };
        let receipt = ledger.execute(account, command, tester(), None).await.unwrap();
        match &receipt.recorded.event {
            AccountEvent::LeaseGranted(it) => open = Some(it.lease),
            AccountEvent::LeaseClosed(_) => open = None,
            _ => {}
        }
        assert!(!receipt.repeated);
        acknowledged.push(receipt.recorded.id.to_string());
    }
    println!("\nacknowledged {}", acknowledged.join(" "));
}

/// This test binary again, running one of its ignored tests as another process.
fn another_process(test: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_from_two_processes_loses_and_doubles_nothing() {
    let server = Server::start().await;
    let ledger = server.ledger().await;
    let account = funded(&ledger, "100").await;
    let told = format!("{} {} {account}", server.local().url(), server.local().token());
    let child = || another_process("account::tests::storm_child").env(STORM, &told).output();
    let (one, two) = tokio::join!(child(), child());
    let mut acknowledged = Vec::new();
    for output in [one.unwrap(), two.unwrap()] {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("acknowledged "))
            .expect("a child says what it did");
        acknowledged.extend(line.split(' ').map(|id| id.parse::<EventId>().unwrap()));
    }

    // Versions 1..n and the chain are checked by `chained`.
    let all = chained(ledger.log(), account).await;
    let mut on_log: Vec<_> = all[1..].iter().map(|logged| logged.recorded.id).collect();
    assert_eq!(on_log.len(), 2 * usize::try_from(STORM_ROUNDS).unwrap());
    on_log.sort();
    acknowledged.sort();
    assert_eq!(on_log, acknowledged);

    let mut sum = 0_i64;
    let mut leases = std::collections::HashMap::new();
    for event in story(ledger.log(), account).await {
        match event {
            AccountEvent::CreditGranted(it) => sum += it.credits.nano(),
            AccountEvent::AdjustmentPosted(it) => sum += it.credits.nano(),
            AccountEvent::LeaseGranted(it) => {
                leases.insert(it.lease, it.credits.nano());
            }
            AccountEvent::LeaseAmended(it) => {
                leases.insert(it.lease, it.credits.nano());
            }
            AccountEvent::LeaseClosed(it) => {
                leases.remove(&it.lease);
                sum -= it.spent.nano();
            }
            other => panic!("{other:?}"),
        }
    }
    let expected = Credits::from_nano(sum - leases.values().sum::<i64>());
    assert_eq!(available(&ledger, account).await, expected);
    assert_eq!(available(&server.ledger().await, account).await, expected);
}

/// An account with three events, and what another process would see after something was published past the ledger.
struct Damage {
    server: Server,
    ledger: Ledger,
    account: AccountId,
}

impl Damage {
    async fn new() -> Self {
        let server = Server::start().await;
        let ledger = server.ledger().await;
        let account = funded(&ledger, "1").await;
        ledger.execute(account, grant("2"), tester(), None).await.unwrap();
        ledger.execute(account, grant("3"), tester(), None).await.unwrap();
        Self { server, ledger, account }
    }

    /// Publishes, and demands that the warm ledger and a cold one say so by the sequence, again and again.
    async fn publish(&self, bytes: &[u8]) -> String {
        let sequence = self.server.raw().await.put(&Subject::Account(self.account), bytes).await;
        let mut said = String::new();
        for ledger in [&self.ledger, &self.server.ledger().await, &self.ledger] {
            for answer in [
                ledger.execute(self.account, grant("1"), tester(), None).await.map(|_| ()),
                ledger.account(self.account).await.map(|_| ()),
            ] {
                match answer {
                    Err(LedgerError::Damaged(text)) => said = text,
                    Err(error @ LedgerError::UnknownEvent { .. }) => said = error.to_string(),
                    other => panic!("{other:?}"),
                }
                assert!(said.contains(&sequence.to_string()), "{said}");
            }
        }
        assert_eq!(
            self.server.log().await.identity().await.unwrap().last_sequence,
            sequence,
            "nothing was appended"
        );
        said
    }

    async fn stored(&self, sequence: u64) -> String {
        String::from_utf8(self.server.raw().await.bytes(sequence).await).unwrap()
    }
}

#[tokio::test]
async fn garbage_on_an_accounts_subject_is_damage() {
    let damage = Damage::new().await;
    damage.publish(b"not an event").await;
}

#[tokio::test]
async fn a_repeated_version_is_damage() {
    let damage = Damage::new().await;
    let third = damage.stored(3).await;
    damage.publish(third.as_bytes()).await;
}

#[tokio::test]
async fn a_version_out_of_order_is_damage_even_where_the_chain_fits() {
    for version in ["\"version\":5", "\"version\":3", "\"version\":0"] {
        let damage = Damage::new().await;
        let [second, third] = [damage.stored(2).await, damage.stored(3).await];
        let [old, new] = [second, third.clone()].map(|text| hex::encode(hash(text.as_bytes())));
        damage.publish(third.replace("\"version\":3", version).replace(&old, &new).as_bytes()).await;
    }
}

#[tokio::test]
async fn a_next_version_that_is_chained_to_another_message_is_damage() {
    let damage = Damage::new().await;
    // Right number, but `prev` is that of the third event.
    let fourth = damage.stored(3).await.replace("\"version\":3", "\"version\":4");
    damage.publish(fourth.as_bytes()).await;
}

#[tokio::test]
async fn another_accounts_event_is_damage() {
    let damage = Damage::new().await;
    let other = damage.stored(3).await.replace(&damage.account.to_string(), &new_account().to_string());
    let said = damage.publish(other.as_bytes()).await;
    assert!(said.contains("it names"), "{said}");
}

#[tokio::test]
async fn an_unknown_event_is_said_to_be_unknown() {
    let damage = Damage::new().await;
    let newer = damage.stored(3).await.replace("\"v\":1", "\"v\":2");
    let said = damage.publish(newer.as_bytes()).await;
    assert!(said.contains("credit_granted v2"), "{said}");
}

#[derive(Clone)]
struct One(Snapshot);

impl Snapshots for One {
    fn load(&self, _account: AccountId) -> BoxFuture<'_, Option<Snapshot>> {
        Box::pin(std::future::ready(Some(self.0.clone())))
    }
}

#[tokio::test]
async fn a_snapshot_counts_only_if_the_log_has_its_last_event() {
    let server = Server::start().await;
    let ledger = server.ledger().await;
    let account = funded(&ledger, "1").await;
    let mut after_one = ledger.account(account).await.unwrap();
    // Marked, so that one can see whether it was used.
    after_one.credits_in = credits("1000");
    ledger.execute(account, grant("2"), tester(), None).await.unwrap();
    let first = ledger.log().at(1).await.unwrap().unwrap();
    let stranger = funded(&ledger, "5").await;
    let third = ledger.log().at(3).await.unwrap().unwrap();
    assert_ne!(stranger, account);

    for (sequence, hash, expected) in [
        (1, hex::encode(first.hash), "1002"),
        (1, hex::encode(third.hash), "3"),
        (2, hex::encode(first.hash), "3"),
        (3, hex::encode(third.hash), "3"),
        (9, hex::encode(first.hash), "3"),
    ] {
        let snapshot = Snapshot { account: after_one.clone(), sequence, hash };
        let log = server.log().await;
        let with_snapshot = Ledger::new(log, Arc::new(One(snapshot.clone())));
        assert_eq!(available(&with_snapshot, account).await, credits(expected), "{snapshot:?}");
    }
}

#[tokio::test]
async fn the_account_at_a_position_is_the_fold_of_its_events_up_to_there() {
    let server = Server::start().await;
    let ledger = server.ledger().await;
    let (account, other) = (new_account(), new_account());
    for _ in 0..20 {
        ledger.execute(account, grant("1"), tester(), None).await.unwrap();
        ledger.execute(other, grant("1"), tester(), None).await.unwrap();
    }
    let (mut state, mut folds) = (Account::default(), vec![(0, Account::default(), String::new())]);
    for logged in chained(ledger.log(), account).await {
        let Event::Account(_, event) = logged.recorded.event.clone() else { panic!() };
        state = state.evolve(&logged.recorded.with(event));
        folds.push((logged.recorded.sequence, state.clone(), hex::encode(logged.hash)));
    }
    assert_eq!(folds.len(), 21);
    // From a snapshot of the middle, from one that the log does not know, and from none.
    let (sequence, middle, hash) = folds[10].clone();
    let snapshot = Snapshot { account: middle, sequence, hash };
    let lie = Snapshot { account: Account { version: 9, ..Account::default() }, ..snapshot.clone() };
    let lie = Snapshot { hash: "00".repeat(32), ..lie };
    let readers = [
        ledger.clone(),
        Ledger::new(server.log().await, Arc::new(One(snapshot))),
        Ledger::new(server.log().await, Arc::new(One(lie))),
    ];
    for reader in readers {
        for (sequence, expected, _) in &folds {
            assert_eq!(reader.account_at(account, *sequence).await.unwrap(), *expected, "at {sequence}");
            // The other account's event behind it changes nothing.
            assert_eq!(
                reader.account_at(account, *sequence + 1).await.unwrap().version,
                match sequence {
                    0 => 1,
                    _ => expected.version,
                }
            );
        }
        assert_eq!(reader.account_at(account, u64::MAX).await.unwrap(), state);
        assert_eq!(reader.account_at(new_account(), u64::MAX).await.unwrap(), Account::default());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_no_error_for_callers() {
    let server = Server::start().await;
    let ledger = server.ledger().await;
    let accounts = [new_account(), new_account()];
    let writers: Vec<_> = accounts
        .into_iter()
        .map(|account| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for _ in 0..150 {
                    ledger.execute(account, grant("1"), tester(), None).await.unwrap();
                }
            })
        })
        .collect();
    for seen in [40, 120] {
        until("writers go on", async || {
            ledger.log().identity().await.is_ok_and(|it| it.last_sequence > seen)
        })
        .await;
        let pid = server.local().pid();
        server.kill();
        until("the supervisor starts another", async || {
            let now = server.local().pid();
            now.is_some() && now != pid
        })
        .await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for account in accounts {
        assert_eq!(chained(ledger.log(), account).await.len(), 150);
        assert_eq!(available(&ledger, account).await, credits("150"));
    }
}

#[tokio::test]
async fn without_a_server_everyone_is_told_so_in_time() {
    let mut server = Server::start().await;
    let (timeout, patience) = (Duration::from_millis(100), Duration::from_millis(400));
    let log = server.impatient_log(timeout, patience).await;
    let ledger = Ledger::new(log, Arc::new(NoSnapshots));
    let account = funded(&server.ledger().await, "1").await;
    server.stop().await;
    let began = Instant::now();
    // They queue for the account; nobody waits for the patience of all before him.
    let all = (0..20).map(|_| ledger.execute(account, grant("1"), tester(), None));
    for answer in futures_util::future::join_all(all).await {
        assert!(matches!(answer, Err(LedgerError::Unavailable(_))), "{answer:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_command_repeated_after_an_open_outcome_is_answered_with_what_happened() {
    let server = Server::start().await;
    let (ledger, account) = (server.ledger().await, new_account());
    let command = Command::GrantCredit {
        grant: GrantId::from_uuid(Uuid::now_v7()),
        source: GrantSource::Signup,
        credits: credits("4"),
        reason: None,
    };
    // The caller goes away right after the message was sent: nobody read the answer.
    let mut first = Box::pin(ledger.execute(account, command.clone(), tester(), None));
    until("it stands on the log", async || {
        let polled = futures_util::poll!(&mut first);
        let landed = server.log().await.identity().await.unwrap().last_sequence == 1;
        assert!(polled.is_pending() || landed);
        landed
    })
    .await;
    drop(first);
    let receipt = ledger.execute(account, command, tester(), None).await.unwrap();
    assert_eq!(receipt.recorded.sequence, 1);
    assert_eq!(chained(ledger.log(), account).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_dies_with_its_server_is_asked_again() {
    let server = Server::start().await;
    let account = funded(&server.ledger().await, "5").await;
    let log = server.impatient_log(Duration::from_millis(200), LogOptions::default().patience).await;
    let ledger = Ledger::new(log, Arc::new(NoSnapshots));
    let pid = server.local().pid().unwrap();
    // The server has the question, and dies before it reads it.
    freeze(pid);
    let reading = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.account(account).await.unwrap().available() }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.kill();
    assert_eq!(reading.await.unwrap(), credits("5"));
}
