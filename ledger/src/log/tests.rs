//! The log against a real server: its guards, the append contract, the tail.

use super::*;
use crate::testing::{
    Raw, Server, credits, freeze, funded, grant, new_account, new_event, now, tester, thaw, until,
};
use crate::{LedgerError, Subject, codec};
use domain::{AccountId, Event, EventId, Moment};
use serde_json::json;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn subject() -> Subject {
    Subject::Account(new_account())
}

/// How many messages a subject has.
async fn count(raw: &Raw, subject: &Subject) -> u64 {
    let info = raw.api("STREAM.INFO.LEDGER", &json!({ "subjects_filter": subject.to_string() })).await;
    info["state"]["subjects"][subject.to_string()].as_u64().unwrap_or(0)
}

fn stored(appended: Appended) -> u64 {
    match appended {
        Appended::Stored { sequence } => sequence,
        Appended::LostRace => panic!("the race was lost"),
    }
}

async fn put(log: &Log, subject: &Subject, expected: u64) -> u64 {
    stored(log.append(subject, expected, new_event(), b"{}".to_vec()).await.unwrap())
}

#[tokio::test]
async fn streams_are_created_with_their_guards_and_accepted_again() {
    let server = Server::start().await;
    let (log, raw) = (server.log().await, server.raw().await);
    for (stream, max_age) in [("LEDGER", 0), ("INBOX", 400 * 86_400_000_000_000_u64), ("AUDIT", 0)] {
        let config = raw.api(&format!("STREAM.INFO.{stream}"), &Value::Null).await["config"].clone();
        assert_eq!(config["subjects"], json!([format!("{}.>", stream.to_lowercase())]));
        assert_eq!(config["deny_delete"], true, "{config}");
        assert_eq!(config["deny_purge"], true, "{config}");
        assert_eq!(config["discard"], "new", "{config}");
        assert_eq!(config["storage"], "file", "{config}");
        assert_eq!(config["max_msgs"], -1, "{config}");
        assert_eq!(config["max_bytes"], -1, "{config}");
        assert_eq!(config["max_age"], max_age, "{config}");
        for off in
            ["allow_rollup_hdrs", "allow_msg_ttl", "sealed", "persist_mode", "mirror", "sources", "republish"]
        {
            assert!(
                config[off].is_null() || config[off] == false || config[off] == "default",
                "{off}: {config}"
            );
        }
    }
    let again = server.log().await;
    assert_eq!(again.identity().await.unwrap(), log.identity().await.unwrap());
    assert!(again.is_connected());
    let durability = Log::connect(LogOptions { sync: Some("always".into()), ..server.options() })
        .await
        .unwrap()
        .durability();
    assert_eq!((durability.replicas, durability.sync.as_str()), (1, "always"));
    assert!(durability.server_version.starts_with("2."), "{durability:?}");
}

#[tokio::test]
async fn a_stream_that_could_lose_money_is_refused_by_the_name_of_the_setting() {
    let server = Server::start().await;
    let raw = server.raw().await;
    let good = json!({ "name": "LEDGER", "subjects": ["ledger.>"], "discard": "new", "deny_delete": true,
        "deny_purge": true, "allow_direct": true });
    for (setting, value) in [
        ("discard", json!("old")),
        ("max_age", json!(3_600_000_000_000_u64)),
        ("deny_delete", json!(false)),
        ("deny_purge", json!(false)),
        ("max_msgs", json!(1000)),
        ("max_bytes", json!(1_000_000)),
        ("storage", json!("memory")),
        ("allow_msg_ttl", json!(true)),
        ("persist_mode", json!("async")),
        ("no_ack", json!(true)),
        ("subjects", json!(["ledger.account.*"])),
    ] {
        let mut config = good.clone();
        config[setting] = value;
        // The server removes the former stream's files in the background.
        until(setting, async || raw.api("STREAM.CREATE.LEDGER", &config).await["error"].is_null()).await;
        match Log::connect(server.options()).await {
            Err(LedgerError::Unfit(text)) => {
                assert!(text.contains("LEDGER") && text.contains(setting), "{setting}: {text}")
            }
            other => panic!("{setting}: {:?}", other.map(|_| ())),
        }
        raw.api("STREAM.DELETE.LEDGER", &Value::Null).await;
    }
    until("good", async || raw.api("STREAM.CREATE.LEDGER", &good).await["error"].is_null()).await;
    server.log().await;
}

#[tokio::test]
async fn the_server_refuses_to_purge_and_to_delete() {
    let server = Server::start().await;
    let (log, raw, subject) = (server.log().await, server.raw().await, subject());
    let sequence = put(&log, &subject, 0).await;
    assert_eq!(raw.api("STREAM.PURGE.LEDGER", &Value::Null).await["error"]["code"], 500);
    assert!(!raw.api("STREAM.MSG.DELETE.LEDGER", &json!({ "seq": sequence })).await["error"].is_null());
    assert_eq!(count(&raw, &subject).await, 1);
}

#[tokio::test]
async fn another_stream_on_our_subjects_fails_loudly() {
    let server = Server::start().await;
    let raw = server.raw().await;
    let foreign = json!({ "name": "FOREIGN", "subjects": ["ledger.>"] });
    raw.api("STREAM.CREATE.FOREIGN", &foreign).await;
    match Log::connect(server.options()).await {
        Err(LedgerError::Unfit(text)) => assert!(text.contains("overlap"), "{text}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
    raw.api("STREAM.DELETE.FOREIGN", &Value::Null).await;

    let log = server.log().await;
    raw.api("STREAM.DELETE.LEDGER", &Value::Null).await;
    raw.api("STREAM.CREATE.FOREIGN", &foreign).await;
    match log.append(&subject(), 0, new_event(), b"{}".to_vec()).await {
        Err(LedgerError::Unfit(text)) => assert!(text.contains("expected stream"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(raw.api("STREAM.INFO.FOREIGN", &Value::Null).await["state"]["messages"], 0);
}

/// Greets as an old server does; answers the client's PING so that the connection stands.
async fn old_server() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let info = json!({ "server_id": "x", "server_name": "x", "version": "2.9.10", "go": "go1", "host": "127.0.0.1",
            "port": port, "headers": true, "max_payload": 1_048_576, "proto": 1, "client_id": 1, "jetstream": true });
        stream.write_all(format!("INFO {info}\r\n").as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while stream.read_buf(&mut seen).await.is_ok_and(|read| read > 0) {
            if seen.windows(4).any(|word| word == b"PING") {
                seen.clear();
                stream.write_all(b"PONG\r\n").await.unwrap();
            }
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_ignores_safety_options_is_refused() {
    let options = LogOptions {
        servers: vec![format!("nats://127.0.0.1:{}", old_server().await)],
        ..LogOptions::default()
    };
    match Log::connect(options).await {
        Err(LedgerError::Unfit(text)) => assert!(text.contains("2.9.10") && text.contains("2.12"), "{text}"),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn an_append_on_a_wrong_expectation_loses_and_leaves_nothing() {
    let server = Server::start().await;
    let (log, raw) = (server.log().await, server.raw().await);
    let (one, two) = (subject(), subject());
    let first = put(&log, &one, 0).await;
    put(&log, &two, 0).await;
    let second = put(&log, &one, first).await;
    assert_eq!(
        (first, second),
        (1, 3),
        "the expected value is the stream's sequence, not a count of the subject"
    );
    for wrong in [0, first, 2] {
        let answer = log.append(&one, wrong, new_event(), b"{}".to_vec()).await.unwrap();
        assert_eq!(answer, Appended::LostRace, "expected {wrong}");
    }
    assert_eq!(count(&raw, &one).await, 2);
}

#[tokio::test]
async fn an_append_that_had_landed_is_found_again() {
    let server = Server::start().await;
    let raw = server.raw().await;
    // A short window of the server's own de-duplication, so that the test can outlive it.
    let config = json!({ "name": "LEDGER", "subjects": ["ledger.>"], "discard": "new", "deny_delete": true,
        "deny_purge": true, "allow_direct": true, "duplicate_window": 300_000_000 });
    assert!(raw.api("STREAM.CREATE.LEDGER", &config).await["error"].is_null());
    let (log, subject, probe) = (server.log().await, subject(), new_event().to_string());
    let (ours, bytes) = (new_event(), b"{\"ours\":1}".to_vec());
    let sequence = stored(log.append(&subject, 0, ours, bytes.clone()).await.unwrap());
    let again = async |log: &Log| stored(log.append(&subject, 0, ours, bytes.clone()).await.unwrap());

    assert_eq!(again(&log).await, sequence, "at the tail");
    let other = put(&server.log().await, &subject, sequence).await;
    put(&server.log().await, &subject, other).await;
    assert_eq!(again(&log).await, sequence, "behind other writers");

    raw.publish("ledger.probe.a", &probe, b"").await;
    until("the server forgets message ids", async || {
        raw.publish("ledger.probe.b", &probe, b"").await["duplicate"].is_null()
    })
    .await;
    assert_eq!(again(&server.log().await).await, sequence, "after the window, on a fresh connection");
    assert_eq!(count(&raw, &subject).await, 3);
}

#[tokio::test]
async fn an_append_whose_answers_were_lost_lands_once() {
    let server = Server::start().await;
    let log = server.impatient_log(Duration::from_millis(100), Duration::from_secs(10)).await;
    let (raw, subject) = (server.raw().await, subject());
    for round in 0..5 {
        let before = raw_last(&log, &subject).await;
        let pid = server.local().pid().unwrap();
        // The server takes what is sent but answers nobody for several time-outs.
        freeze(pid);
        let wake = async {
            tokio::time::sleep(Duration::from_millis(350)).await;
            thaw(pid);
        };
        let append = log.append(&subject, before, new_event(), b"{}".to_vec());
        let (appended, ()) = tokio::join!(append, wake);
        let sequence = stored(appended.unwrap());
        assert_eq!(raw_last(&log, &subject).await, sequence);
        assert_eq!(count(&raw, &subject).await, round + 1);
    }
}

/// The sequence of a subject's last message, whatever it holds.
async fn raw_last(log: &Log, subject: &Subject) -> u64 {
    let which = json!({ "last_by_subj": subject.to_string() });
    log.message(streams::LEDGER, &which).await.unwrap().map_or(0, |message| message.sequence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_racing_writers_exactly_one_wins_each_round() {
    let server = Server::start().await;
    let (one, two, raw, subject) = (server.log().await, server.log().await, server.raw().await, subject());
    let mut expected = 0;
    for round in 1..=60 {
        let append = |log: &Log| {
            let (log, subject) = (log.clone(), subject.clone());
            tokio::spawn(
                async move { log.append(&subject, expected, new_event(), b"{}".to_vec()).await.unwrap() },
            )
        };
        let (a, b) = (append(&one), append(&two));
        let (a, b) = (a.await.unwrap(), b.await.unwrap());
        expected = match (a, b) {
            (Appended::Stored { sequence }, Appended::LostRace)
            | (Appended::LostRace, Appended::Stored { sequence }) => sequence,
            both => panic!("round {round}: {both:?}"),
        };
        assert_eq!(count(&raw, &subject).await, round);
    }
}

#[tokio::test]
async fn an_append_without_a_server_is_unavailable_once_patience_is_over() {
    let mut server = Server::start().await;
    let (timeout, patience) = (Duration::from_millis(100), Duration::from_millis(400));
    let log = server.impatient_log(timeout, patience).await;
    server.stop().await;
    let began = Instant::now();
    let answer = log.append(&subject(), 0, new_event(), b"{}".to_vec()).await;
    assert!(matches!(answer, Err(LedgerError::Unavailable(_))), "{answer:?}");
    let read = log.at(1).await;
    assert!(matches!(read, Err(LedgerError::Unavailable(_))), "{read:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// So many events of one account, and one of another after each.
async fn fill(server: &Server, count: usize) -> (AccountId, Vec<EventId>) {
    let ledger = server.ledger().await;
    let (account, other) = (new_account(), new_account());
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(ledger.execute(account, grant("1"), tester(), None).await.unwrap().recorded.id);
        ledger.execute(other, grant("1"), tester(), None).await.unwrap();
    }
    (account, ids)
}

#[tokio::test]
async fn a_subject_is_read_in_order_from_any_position_however_long_it_is() {
    let server = Server::start().await;
    let (account, ids) = fill(&server, 40).await;
    let (log, subject) = (server.log().await, Subject::Account(account));
    let read = async |after| {
        let events = log.events_behind(&subject, after).await.unwrap();
        events.iter().map(|logged| logged.recorded.id).collect::<Vec<_>>()
    };
    assert_eq!(read(0).await, ids);
    assert_eq!(read(1).await, ids[1..]);
    assert_eq!(read(60).await, ids[30..]);
    assert_eq!(read(80).await, []);
    assert_eq!(log.last_on(&subject).await.unwrap().map(|logged| logged.recorded.id), ids.last().copied());
    assert_eq!(log.events_behind(&self::subject(), 0).await.unwrap().len(), 0);
    assert!(log.last_on(&self::subject()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_subject_is_read_up_to_a_position_and_not_beyond() {
    let server = Server::start().await;
    let (account, ids) = fill(&server, 60).await;
    let (log, subject) = (server.log().await, Subject::Account(account));
    let all = log.events_behind(&subject, 0).await.unwrap();
    assert_eq!(all.len(), ids.len());
    let sequences: Vec<u64> = all.iter().map(|logged| logged.recorded.sequence).collect();
    let last = *sequences.last().unwrap();
    for (after, up_to) in
        [(0, 0), (0, 1), (0, last / 2), (0, last - 1), (0, last), (0, last + 9), (7, 40), (9, 3)]
    {
        let between = log.events_between(&subject, after, up_to).await.unwrap();
        let between: Vec<u64> = between.iter().map(|logged| logged.recorded.sequence).collect();
        let expected = sequences.iter().copied().filter(|it| (after + 1..=up_to).contains(it));
        assert_eq!(between, expected.collect::<Vec<_>>(), "{after}..={up_to}");
    }
}

#[tokio::test]
async fn the_position_at_a_moment_is_the_last_message_stored_by_then() {
    let server = Server::start().await;
    let log = server.log().await;
    let before = now();
    until("the server's clock has passed the start", async || {
        log.position_at(before).await.unwrap().is_some()
    })
    .await;
    assert_eq!(log.position_at(before).await.unwrap(), Some(0), "an empty log");
    let (account, _) = fill(&server, 25).await;
    let mut stored = Vec::new();
    for sequence in 1.. {
        let Some(logged) = log.at(sequence).await.unwrap() else { break };
        stored.push(logged.stored_at);
    }
    assert!(stored.len() > 20 && stored.is_sorted());
    let last = *stored.last().unwrap();
    let after = Moment::from_micros(last.micros() + 1);
    until("the server's clock has passed the end", async || log.position_at(after).await.unwrap().is_some())
        .await;
    for moment in &stored {
        for micros in [-1, 0, 1] {
            let moment = Moment::from_micros(moment.micros() + micros);
            let expected = stored.iter().filter(|at| **at <= moment).count();
            let position = log.position_at(moment).await.unwrap();
            assert_eq!(position, u64::try_from(expected).ok(), "{moment}");
        }
    }
    assert_eq!(log.position_at(Moment::MIN).await.unwrap(), Some(0));
    assert_eq!(log.position_at(Moment::MAX).await.unwrap(), None);
    assert_eq!(log.position_at(now().plus_ms(60_000)).await.unwrap(), None, "nobody knows yet");
    // What comes later does not change the answer.
    let receipt = server.ledger().await.execute(account, grant("1"), tester(), None).await.unwrap();
    assert_eq!(log.position_at(last).await.unwrap(), Some(receipt.recorded.sequence - 1));
}

#[tokio::test]
async fn what_is_read_is_what_was_stored_to_the_byte() {
    let server = Server::start().await;
    let (ledger, raw) = (server.ledger().await, server.raw().await);
    let account = funded(&ledger, "3.000000001").await;
    ledger.execute(account, grant("1"), tester(), Some("a-key".parse().unwrap())).await.unwrap();
    for sequence in 1..=2 {
        let logged = ledger.log().at(sequence).await.unwrap().unwrap();
        let bytes = raw.bytes(sequence).await;
        assert_eq!(logged.json().unwrap(), bytes);
        assert_eq!(logged.hash, hash(&bytes));
        let age = crate::testing::now().micros() - logged.stored_at.micros();
        assert!((0..20_000_000).contains(&age), "{age}");
    }
    assert!(ledger.log().at(3).await.unwrap().is_none());
}

#[tokio::test]
async fn the_tail_is_ordered_decodes_and_goes_on_from_a_position() {
    let server = Server::start().await;
    let (account, ids) = fill(&server, 20).await;
    let log = server.log().await;
    let mut tail = log.tail(0, None).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 40 {
        seen.extend(tail.next_batch(7).await.unwrap());
    }
    let sequences: Vec<_> = seen.iter().map(|logged| logged.recorded.sequence).collect();
    assert_eq!(sequences, (1..=40).collect::<Vec<_>>());
    assert_eq!(tail.pending(), Some(0));
    assert!(seen.iter().all(|logged| matches!(&logged.recorded.event, Event::Account(..))));

    let mut later = log.tail(31, Some(&Subject::Account(account).to_string())).await.unwrap();
    let mut ours = Vec::new();
    while ours.len() < 4 {
        ours.extend(later.next_batch(100).await.unwrap().into_iter().map(|logged| logged.recorded.id));
    }
    assert_eq!(ours, ids[16..]);

    // It waits for what is not there yet, and dropping the wait loses nothing.
    let waiting = tokio::time::timeout(Duration::from_millis(20), tail.next_batch(1)).await;
    assert!(waiting.is_err());
    let receipt = server.ledger().await.execute(account, grant("2"), tester(), None).await.unwrap();
    let next = tail.next_batch(10).await.unwrap();
    assert_eq!(next[0].recorded.id, receipt.recorded.id);
    assert_eq!(next[0].recorded.sequence, 41);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tail_goes_on_after_the_server_was_killed() {
    let server = Server::start().await;
    let ledger = server.ledger().await;
    let account = funded(&ledger, "1").await;
    let mut tail = ledger.log().tail(0, None).await.unwrap();
    let mut position = tail.next_batch(10).await.unwrap()[0].recorded.sequence;
    let writer = tokio::spawn({
        let ledger = ledger.clone();
        async move {
            for _ in 0..60 {
                // No error may reach the caller.
                ledger.execute(account, grant("1"), tester(), None).await.unwrap();
            }
        }
    });
    until("the writer is under way", async || {
        ledger.log().identity().await.is_ok_and(|it| it.last_sequence > 10)
    })
    .await;
    server.kill();
    let mut opened = 0;
    while position < 61 {
        let next = tokio::time::timeout(Duration::from_secs(1), tail.next_batch(100)).await;
        match next {
            Ok(Ok(batch)) => {
                for logged in batch {
                    assert_eq!(logged.recorded.sequence, position + 1);
                    position = logged.recorded.sequence;
                }
            }
            Ok(Err(LedgerError::Unavailable(_))) | Err(_) => {
                opened += 1;
                assert!(opened < 20, "no tail comes back");
                if let Ok(new) = ledger.log().tail(position, None).await {
                    tail = new;
                }
            }
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    writer.await.unwrap();
    assert_eq!(ledger.account(account).await.unwrap().available(), credits("61"));
}

#[tokio::test]
async fn an_unknown_event_stops_the_tail_by_name() {
    let server = Server::start().await;
    let (ledger, raw) = (server.ledger().await, server.raw().await);
    let account = funded(&ledger, "1").await;
    let text = String::from_utf8(raw.bytes(1).await).unwrap();
    raw.put(&Subject::Account(account), text.replace("credit_granted", "credit_minted").as_bytes()).await;
    let mut tail = ledger.log().tail(1, None).await.unwrap();
    match tail.next_batch(10).await {
        Err(LedgerError::UnknownEvent { sequence: 2, what }) => assert_eq!(what, "credit_minted v1"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn subjects_read_back_as_written_and_foreign_ones_do_not() {
    for subject in [
        subject(),
        Subject::Node(domain::EpochId::from_uuid(uuid::Uuid::nil())),
        Subject::Suspense("epay".parse().unwrap()),
    ] {
        assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
    }
    for foreign in [
        "ledger",
        "ledger.account",
        "ledger.account.x",
        "ledger.suspense.A",
        "inbox.epay",
        "ledger.suspense.a.b",
    ] {
        assert_eq!(Subject::parse(foreign), None, "{foreign}");
    }
    assert!(matches!(codec::decode("inbox.epay", 1, b"{}"), Err(LedgerError::Damaged(_))));
}
