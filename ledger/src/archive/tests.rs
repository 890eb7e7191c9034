//! Archives of a hand-made log, damaged in every way; archives of a real one, and back.

use super::read::verify_reader;
use super::*;
use crate::log::{Log, LogOptions, RawMessage, Stream};
use crate::testing::{Server, credits, funded, grant, now, tester, until, usage};
use crate::verify::tests::everything;
use crate::verify::{Code, Finding, Report, Verifier};
use crate::{Act, Audit, Inbox, Ledger, Meter, MeterOptions, RawCallback};
use bytes::Bytes;
use domain::account::event::Scope;
use domain::{AccountId, ChannelName, Moment};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

fn extent(first: u64, last: u64) -> Extent {
    Extent { created: "2026-11-22T10:00:00Z".into(), first, last, messages: last + 1 - first }
}

fn message(sequence: u64, subject: &str, data: &'static [u8]) -> RawMessage {
    let stored_at = Moment::from_micros(1_795_348_800_000_001);
    RawMessage { sequence, subject: subject.into(), stored_at, data: Bytes::from_static(data) }
}

/// A small whole log: every kind of event, callbacks behind a lost beginning, acts with odd bytes.
fn parts() -> Vec<(Part, Vec<RawMessage>)> {
    parts_of(everything().messages)
}

/// The same with few events: for tests that damage each byte.
fn few_parts() -> Vec<(Part, Vec<RawMessage>)> {
    parts_of(everything().messages[..3].to_vec())
}

fn parts_of(ledger: Vec<RawMessage>) -> Vec<(Part, Vec<RawMessage>)> {
    let inbox = vec![message(58, "inbox.epay", b"{}"), message(59, "inbox.stripe", b"")];
    let audit = vec![
        message(1, "audit.user", b"\n\0\xff{\"kind\":\"end\"}\n"),
        message(2, "audit.key", b"00000000\n"),
    ];
    vec![
        ((Stream::Ledger, extent(1, u64::try_from(ledger.len()).unwrap())), ledger),
        ((Stream::Inbox, extent(58, 59)), inbox),
        ((Stream::Audit, extent(1, 2)), audit),
    ]
}

fn written(parts: &[(Part, Vec<RawMessage>)]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new()).unwrap();
    for ((stream, extent), messages) in parts {
        writer.stream(*stream, extent).unwrap();
        messages.iter().for_each(|message| writer.message(message).unwrap());
    }
    writer.end().unwrap().0
}

fn unpacked(file: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    MultiGzDecoder::new(file).read_to_end(&mut content).unwrap();
    content
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut file = GzEncoder::new(Vec::new(), Compression::fast());
    file.write_all(content).unwrap();
    file.finish().unwrap()
}

/// What reading it finds, for the archive and for the log in it.
fn findings(file: &[u8]) -> Vec<Finding> {
    let mut verifier = Verifier::new();
    verify_reader(&mut Reader::begin(file), &mut verifier).unwrap();
    verifier.finish().findings
}

/// Where each message's block begins and ends in the content, with its stream and sequence.
fn blocks(content: &[u8]) -> Vec<(Stream, u64, std::ops::Range<usize>)> {
    let (mut at, mut stream, mut all) = (0, Stream::Ledger, Vec::new());
    while at < content.len() {
        let end_of_header = at + content[at..].iter().position(|byte| *byte == b'\n').unwrap();
        let header: Value = serde_json::from_slice(&content[at..end_of_header]).unwrap();
        let end = end_of_header + 1 + usize::try_from(header["size"].as_u64().unwrap()).unwrap() + 1 + 9;
        match header["kind"].as_str().unwrap() {
            "stream" => stream = Stream::named(header["stream"].as_str().unwrap()).unwrap(),
            "message" => all.push((stream, header["sequence"].as_u64().unwrap(), at..end)),
            _ => {}
        }
        at = end;
    }
    assert_eq!(at, content.len());
    all
}

#[test]
fn what_was_written_is_read_again_byte_for_byte() {
    let (parts, file) = (parts(), written(&parts()));
    assert_eq!(findings(&file), []);
    let (mut reader, mut read) = (Reader::begin(&file[..]), Vec::new());
    let end = loop {
        match reader.next_item().unwrap().unwrap() {
            Item::Stream(part) => read.push((part, Vec::new())),
            Item::Message(message) => read.last_mut().unwrap().1.push(message),
            end @ Item::End { .. } => break end,
        }
    };
    assert_eq!((reader.next_item().unwrap(), reader.faults()), (None, Vec::new()));
    assert_eq!(read, parts);
    let Item::End { messages, sha256 } = end else { panic!("{end:?}") };
    assert_eq!((messages, sha256.len()), (19, 64));
    assert_eq!(written(&read), file, "the same log gives the same file");
    // However it is packed, the content is what counts.
    assert_eq!(findings(&packed(&unpacked(&file))), []);
}

#[test]
fn the_format_is_as_its_documentation_says() {
    use sha2::Digest;
    let text = |content: Vec<u8>| String::from_utf8(content).unwrap();
    let part = |stream| ((stream, extent(1, 0)), Vec::new());
    let ledger = ((Stream::Ledger, extent(1, 1)), vec![message(1, "ledger.x", b"{\"a\":1}")]);
    let content = text(unpacked(&written(&[ledger, part(Stream::Inbox), part(Stream::Audit)])));
    let lines: Vec<_> = content.lines().collect();
    assert_eq!(lines[0], r#"{"kind":"archive","version":1,"size":0}"#);
    assert_eq!(
        lines[3],
        r#"{"kind":"stream","stream":"LEDGER","created":"2026-11-22T10:00:00Z","first":1,"last":1,"size":0}"#
    );
    let message = r#"{"kind":"message","sequence":1,"stored_at":"2026-11-22T12:00:00.000001Z","subject":"ledger.x","size":7}"#;
    assert_eq!(lines[6..8], [message, r#"{"a":1}"#]);
    let mut crc = flate2::Crc::new();
    crc.update(format!("{message}\n{{\"a\":1}}\n").as_bytes());
    assert_eq!(lines[8], format!("{:08x}", crc.sum()));
    let before_the_end = content.split_inclusive('\n').take(15).collect::<String>();
    let digest = hex::encode(sha2::Sha256::digest(before_the_end));
    assert_eq!(lines[15], format!(r#"{{"kind":"end","messages":1,"sha256":"{digest}","size":0}}"#));
    assert_eq!(lines.len(), 18);
}

#[test]
fn any_byte_of_the_content_that_changes_is_named() {
    let content = unpacked(&written(&few_parts()));
    let blocks = blocks(&content);
    for at in 0..content.len() {
        let mut damaged = content.clone();
        damaged[at] ^= 1 << (at % 8);
        let found = findings(&packed(&damaged));
        assert!(!found.is_empty(), "byte {at}");
        let Some((stream, sequence, _)) = blocks.iter().find(|(_, _, block)| block.contains(&at)) else {
            continue;
        };
        let is_named = |it: &Finding| it.subject == stream.name() && it.sequence == Some(*sequence);
        assert!(found.iter().any(is_named), "byte {at}, {stream} {sequence}: {found:?}");
    }
}

#[test]
fn any_message_that_is_missing_is_named() {
    let content = unpacked(&written(&parts()));
    for (stream, sequence, block) in blocks(&content) {
        let rest = [&content[..block.start], &content[block.end..]].concat();
        let found = findings(&packed(&rest));
        let is_named = |it: &&Finding| {
            it.code == Code::ArchiveIncomplete && it.subject == stream.name() && it.sequence == Some(sequence)
        };
        let named = found.iter().find(is_named).unwrap_or_else(|| panic!("{stream} {sequence}: {found:?}"));
        assert!(named.sentence.contains(&format!("message {sequence} is missing")), "{named:?}");
        // And by its number and its digest, were it the last of its stream.
        assert!(
            found.iter().any(|it| it.sentence.contains("19 messages were written, 18 are here")),
            "{found:?}"
        );
        assert!(found.iter().any(|it| it.sentence.contains("has the digest")), "{found:?}");
    }
}

#[test]
fn messages_twice_or_in_another_order_are_named() {
    let content = unpacked(&written(&parts()));
    let blocks = blocks(&content);
    let (first, second) = (blocks[3].2.clone(), blocks[4].2.clone());
    let twice = [&content[..first.end], &content[first.start..]].concat();
    let swapped =
        [&content[..first.start], &content[second.clone()], &content[first.clone()], &content[second.end..]]
            .concat();
    for damaged in [twice, swapped] {
        let found = findings(&packed(&damaged));
        assert!(
            found.iter().any(|it| it.code == Code::ArchiveDamaged && it.sequence == Some(4)),
            "{found:?}"
        );
    }
    let mut without = parts();
    without.remove(1);
    let found = findings(&written(&without));
    assert!(found.iter().any(|it| it.sentence.contains("stream INBOX is missing")), "{found:?}");
    let mut longer = parts();
    longer[2].0.1.last = 1;
    let found = findings(&written(&longer));
    assert!(found.iter().any(|it| it.sentence.contains("goes on to message 2")), "{found:?}");
}

#[test]
fn a_file_that_ends_early_or_goes_on_is_named() {
    let content = unpacked(&written(&few_parts()));
    for end in 0..content.len() {
        let found = findings(&packed(&content[..end]));
        assert!(!found.is_empty(), "the first {end} bytes");
    }
    let found = findings(&packed(&[&content[..], b"x"].concat()));
    assert!(found.iter().any(|it| it.sentence.contains("something follows its end")), "{found:?}");
    let file = written(&few_parts());
    for end in 0..file.len() {
        assert!(!findings(&file[..end]).is_empty(), "the first {end} bytes of the file");
    }
    for more in [&b"x"[..], &file] {
        assert!(!findings(&[&file[..], more].concat()).is_empty());
    }
    assert!(!findings(b"no archive at all").is_empty());
    assert!(!findings(b"").is_empty());
    assert!(!findings(&packed(b"no archive at all")).is_empty());
}

#[test]
fn no_byte_of_the_file_can_change_its_content_unnoticed() {
    let file = written(&few_parts());
    let content = unpacked(&file);
    let mut unnoticed = 0;
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        if !findings(&damaged).is_empty() {
            continue;
        }
        // gzip's own header has bytes that say nothing about the content: a time, a system.
        assert_eq!(unpacked(&damaged), content, "byte {at}");
        unnoticed += 1;
    }
    assert!(unnoticed < 12, "{unnoticed}");
}

#[test]
fn a_newer_archive_is_refused_and_not_called_damaged() {
    let content = String::from_utf8_lossy(&unpacked(&written(&parts()))).into_owned();
    let line = "{\"kind\":\"archive\",\"version\":2,\"size\":0}\n";
    let mut crc = flate2::Crc::new();
    crc.update(line.as_bytes());
    crc.update(b"\n");
    let newer = format!("{line}\n{:08x}\n{}", crc.sum(), content.splitn(4, '\n').last().unwrap());
    let mut reader = Reader::begin(std::io::Cursor::new(packed(newer.as_bytes())));
    match verify_reader(&mut reader, &mut Verifier::new()) {
        Err(ArchiveError::Newer(2)) => {}
        other => panic!("{other:?}"),
    }
}

// From here on with a real server.

/// Grants, leases, usage, callbacks and acts.
async fn busy(server: &Server) -> AccountId {
    let log = server.log().await;
    let ledger = Ledger::new(log.clone(), std::sync::Arc::new(crate::NoSnapshots));
    let account = funded(&ledger, "5").await;
    for _ in 0..20 {
        ledger.execute(account, grant("0.5"), tester(), None).await.unwrap();
    }
    let meter = Meter::start(ledger.clone(), MeterOptions::default()).unwrap();
    for _ in 0..10 {
        let request =
            crate::HoldRequest { account, scope: Scope::Account, budget: None, worst_case: credits("0.1") };
        meter.hold(request).await.unwrap().settle(usage(credits("0.01"))).await;
    }
    meter.drain(Duration::from_secs(20)).await;
    let channel: ChannelName = "epay".parse().unwrap();
    for body in [vec![0, 255, 10], Vec::new(), vec![b'x'; 100_000]] {
        let callback = RawCallback {
            method: "POST".into(),
            uri: "/".into(),
            headers: Vec::new(),
            body,
            received_at: now(),
        };
        Inbox::new(log.clone()).store(&channel, &callback).await.unwrap();
    }
    let act = Act {
        at: now(),
        actor: tester(),
        act: "key.create".into(),
        subject: "k".into(),
        before: None,
        after: None,
    };
    Audit::new(log).record(&act).await.unwrap();
    account
}

async fn attached(server: &Server) -> Log {
    Log::attach(server.options()).await.unwrap()
}

async fn everything_on(log: &Log, stream: Stream) -> Vec<RawMessage> {
    let extent = log.extent(stream).await.unwrap().unwrap();
    let (mut scan, mut all) = (log.scan(stream, extent.first - 1, extent.last), Vec::new());
    while let Some(batch) = scan.next_batch().await.unwrap() {
        all.extend(batch);
    }
    all
}

async fn verified(log: &Log) -> Report {
    let mut verifier = Verifier::new();
    everything_on(log, Stream::Ledger).await.iter().for_each(|message| verifier.take(message));
    verifier.finish()
}

fn archive_verified(path: &Path) -> Report {
    let mut verifier = Verifier::new();
    verify(path, &mut verifier).unwrap();
    verifier.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_exported_and_imported_is_the_same_log() {
    let (from, to, folder) = (Server::start().await, Server::start().await, tempfile::tempdir().unwrap());
    let account = busy(&from).await;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let log = from.log().await;
    let exported = export(&log, &first).await.unwrap();
    assert_eq!(exported.missing, []);
    assert_eq!(exported.parts[1].1.messages, 3);
    assert!(archive_verified(&first).clean);
    match export(&log, &first).await {
        Err(ArchiveError::Refused(what)) => assert!(what.contains("exists"), "{what}"),
        other => panic!("{other:?}"),
    }

    let imported = import(&attached(&to).await, &first).await.unwrap();
    assert_eq!((imported.messages, imported.were_there), (exported.messages, 0));
    assert_eq!((&imported.digest, &imported.parts), (&exported.digest, &exported.parts));
    let again = to.log().await;
    for stream in Stream::ALL {
        assert_eq!(everything_on(&again, stream).await, everything_on(&log, stream).await, "{stream}");
    }
    assert_eq!(again.identity().await.unwrap(), log.identity().await.unwrap(), "the checkpoint still fits");
    // Single messages have their first time too.
    let (one, other) = (log.at(3).await.unwrap().unwrap(), again.at(3).await.unwrap().unwrap());
    assert_eq!((one.stored_at, one.recorded, one.hash), (other.stored_at, other.recorded, other.hash));

    let exported_again = export(&again, &second).await.unwrap();
    assert_eq!(exported_again.digest, exported.digest);
    let read = |path: &Path| std::fs::read(path).unwrap();
    assert_eq!(read(&first), read(&second), "byte for byte");
    assert!(verified(&again).await.clean);

    // Life goes on where it stood.
    let (before, after) = (Ledger::new(log, std::sync::Arc::new(crate::NoSnapshots)), to.ledger().await);
    let balance = before.account(account).await.unwrap();
    assert_eq!(after.account(account).await.unwrap(), balance);
    let receipt = after.execute(account, grant("1"), tester(), None).await.unwrap();
    assert_eq!(receipt.recorded.sequence, exported.parts[0].1.last + 1);
    assert!(verified(after.log()).await.clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_that_lost_its_beginning_keeps_its_sequences() {
    let (from, to, folder) = (Server::start().await, Server::start().await, tempfile::tempdir().unwrap());
    let raw = from.raw().await;
    // Retention in a moment instead of after a year: the server itself drops what is too old.
    from.log().await;
    let set_age = async |nanoseconds: u64| {
        let mut config = raw.api("STREAM.INFO.INBOX", &Value::Null).await["config"].clone();
        config["max_age"] = json!(nanoseconds);
        config["duplicate_window"] = json!(nanoseconds.min(120_000_000_000));
        assert!(raw.api("STREAM.UPDATE.INBOX", &config).await["error"].is_null());
    };
    for n in 1..=3 {
        raw.publish("inbox.epay", &format!("old {n}"), b"{}").await;
    }
    set_age(100_000_000).await;
    until("the old callbacks are gone", async || {
        raw.api("STREAM.INFO.INBOX", &Value::Null).await["state"]["messages"] == 0
    })
    .await;
    let paths = [folder.path().join("empty"), folder.path().join("some"), folder.path().join("third")];
    let log = attached(&from).await;
    let empty = export(&log, &paths[0]).await.unwrap();
    assert_eq!((empty.parts[1].1.first, empty.parts[1].1.last), (4, 3));
    set_age(400 * 86_400_000_000_000).await;
    raw.publish("inbox.epay", "new", b"{\"n\":4}").await;
    let some = export(&from.log().await, &paths[1]).await.unwrap();
    assert_eq!((some.parts[1].1.first, some.parts[1].1.last), (4, 4));

    import(&attached(&to).await, &paths[1]).await.unwrap();
    let back = to.log().await;
    assert_eq!(
        everything_on(&back, Stream::Inbox).await,
        everything_on(&from.log().await, Stream::Inbox).await
    );
    assert_eq!(export(&back, &paths[2]).await.unwrap().digest, some.digest);
    let third = Server::start().await;
    import(&attached(&third).await, &paths[0]).await.unwrap();
    assert_eq!(third.log().await.extent(Stream::Inbox).await.unwrap(), Some(empty.parts[1].1.clone()));
    // A stream that begins elsewhere is not taken away to make room.
    let fourth = Server::start().await;
    fourth.log().await;
    let refused = import(&attached(&fourth).await, &paths[1]).await.unwrap_err().to_string();
    assert!(refused.contains("INBOX is empty but would begin at 1"), "{refused}");
    fourth.log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_takes_nothing_but_empty_streams() {
    let (from, to, folder) = (Server::start().await, Server::start().await, tempfile::tempdir().unwrap());
    busy(&from).await;
    let path = folder.path().join("archive");
    export(&from.log().await, &path).await.unwrap();
    // Empty streams that are there already will do.
    let log = to.log().await;
    import(&attached(&to).await, &path).await.unwrap();
    // Again: it is there already.
    let again = import(&attached(&to).await, &path).await.unwrap();
    assert_eq!(again.were_there, again.messages);
    let ledger = Ledger::new(log, std::sync::Arc::new(crate::NoSnapshots));
    let account = funded(&ledger, "1").await;
    let refused = import(&attached(&to).await, &path).await.unwrap_err().to_string();
    assert!(refused.contains("LEDGER is not empty"), "{refused}");
    assert_eq!(ledger.account(account).await.unwrap().credits_in, credits("1"));
    to.log().await;

    // A damaged archive is refused before anything is made of it.
    let fresh = Server::start().await;
    let mut content = unpacked(&std::fs::read(&path).unwrap());
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&path, packed(&content)).unwrap();
    match import(&attached(&fresh).await, &path).await {
        Err(ArchiveError::Damaged(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(attached(&fresh).await.extent(Stream::Ledger).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_import_is_refused_by_gateways_and_continued_by_the_next() {
    let (from, to, folder) = (Server::start().await, Server::start().await, tempfile::tempdir().unwrap());
    busy(&from).await;
    let (path, other) = (folder.path().join("archive"), folder.path().join("other"));
    let log = from.log().await;
    export(&log, &path).await.unwrap();
    funded(&Ledger::new(log.clone(), std::sync::Arc::new(crate::NoSnapshots)), "1").await;
    export(&log, &other).await.unwrap();
    let contents = super::read::check(&path).unwrap();
    // As far as an import came before it was killed: marked, and the first messages written.
    let target = attached(&to).await;
    let all = everything_on(&log, Stream::Ledger).await;
    let (stream, extent) = &contents.parts[0];
    let plan = crate::log::Restore::plan(&target, *stream, extent, &contents.digest).await.unwrap();
    let mut restore = plan.begin().await.unwrap();
    for message in &all[..9] {
        restore.push(message.clone()).await.unwrap();
    }
    restore.settle().await.unwrap();
    let refused = Log::connect(to.options()).await.err().unwrap().to_string();
    assert!(refused.contains("import was not finished"), "{refused}");
    let refused = import(&attached(&to).await, &other).await.unwrap_err().to_string();
    assert!(refused.contains("another archive"), "{refused}");
    let imported = import(&attached(&to).await, &path).await.unwrap();
    assert_eq!(imported.were_there, 9);
    assert_eq!(everything_on(&to.log().await, Stream::Ledger).await, all[..all.len() - 1]);

    // Killed between the streams' last steps: the rest is done.
    crate::log::Restore::plan(&target, *stream, extent, &contents.digest)
        .await
        .unwrap()
        .begin()
        .await
        .unwrap();
    assert!(Log::connect(to.options()).await.is_err());
    import(&attached(&to).await, &path).await.unwrap();
    to.log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_notices_whoever_else_writes() {
    let (from, to, folder) = (Server::start().await, Server::start().await, tempfile::tempdir().unwrap());
    busy(&from).await;
    let (log, path) = (from.log().await, folder.path().join("archive"));
    export(&log, &path).await.unwrap();
    let contents = super::read::check(&path).unwrap();
    let (target, raw) = (attached(&to).await, to.raw().await);
    let all = everything_on(&log, Stream::Ledger).await;
    let (stream, extent) = &contents.parts[0];
    let begin = async || {
        let plan = crate::log::Restore::plan(&target, *stream, extent, &contents.digest).await;
        plan.unwrap().begin().await.unwrap()
    };
    let mut restore = begin().await;
    restore.push(all[0].clone()).await.unwrap();
    restore.settle().await.unwrap();
    assert_eq!(raw.publish(&all[1].subject, "foreign", b"{}").await["seq"], 2);
    let mut foreign = Ok(());
    for message in &all[1..] {
        foreign = foreign.and(restore.push(message.clone()).await);
    }
    let said = foreign.and(restore.settle().await).unwrap_err().to_string();
    assert!(said.contains("message 2 on stream LEDGER is not the archive's"), "{said}");
    // And so does the next one that would go on, for it reads all of it back.
    let refused = import(&target, &path).await.unwrap_err().to_string();
    assert!(refused.contains("message 2 on"), "{refused}");
    assert!(Log::connect(to.options()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_outlives_its_server() {
    let (from, to, folder) = (Server::start().await, Server::start().await, tempfile::tempdir().unwrap());
    let raw = from.raw().await;
    from.log().await;
    for n in 0..400 {
        raw.publish("audit.test", &format!("{n}"), format!("{{\"n\":{n}}}").as_bytes()).await;
    }
    let path = folder.path().join("archive");
    let exported = export(&from.log().await, &path).await.unwrap();
    let patient = LogOptions { patience: Duration::from_secs(30), ..to.options() };
    let log = Log::attach(patient).await.unwrap();
    let (target, file) = (log.clone(), path.clone());
    let importing = tokio::spawn(async move { import(&target, &file).await });
    until(
        "half of it is there",
        async || matches!(log.extent(Stream::Audit).await, Ok(Some(extent)) if extent.last > 100),
    )
    .await;
    to.kill();
    let imported = importing.await.unwrap().unwrap();
    assert_eq!(imported.digest, exported.digest);
    assert_eq!(
        everything_on(&to.log().await, Stream::Audit).await,
        everything_on(&from.log().await, Stream::Audit).await
    );
}

#[tokio::test]
async fn a_log_that_lost_messages_is_exported_as_it_is_and_says_so() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let raw = server.raw().await;
    let config = json!({ "name": "LEDGER", "subjects": ["ledger.>"] });
    assert!(raw.api("STREAM.CREATE.LEDGER", &config).await["error"].is_null());
    for (name, subjects) in [("INBOX", "inbox.>"), ("AUDIT", "audit.>")] {
        raw.api(&format!("STREAM.CREATE.{name}"), &json!({ "name": name, "subjects": [subjects] })).await;
    }
    for message in everything().messages {
        raw.publish(&message.subject, &message.sequence.to_string(), &message.data).await;
    }
    for sequence in [1, 7, 15] {
        let answer = raw.api("STREAM.MSG.DELETE.LEDGER", &json!({ "seq": sequence })).await;
        assert!(answer["error"].is_null(), "{answer}");
    }
    let path = folder.path().join("archive");
    let exported = export(&attached(&server).await, &path).await.unwrap();
    let stretches: Vec<_> = exported.missing.iter().map(|(_, first, last)| (*first, *last)).collect();
    assert_eq!(stretches, [(1, 1), (7, 7), (15, 15)]);
    let report = archive_verified(&path);
    for sequence in [1, 7, 15] {
        let is_named = |it: &Finding| it.code == Code::ArchiveIncomplete && it.sequence == Some(sequence);
        assert!(report.findings.iter().any(is_named), "{:?}", report.findings);
    }
    match import(&attached(&Server::start().await).await, &path).await {
        Err(ArchiveError::Damaged(fault)) => {
            assert!(fault.to_string().contains("message 1 is missing"), "{fault}")
        }
        other => panic!("{other:?}"),
    }
}
