//! The outbox under restarts, kills, power cuts, flipped bits, full disks and bounds.

mod bench;
mod faults;
mod model;

pub(super) use faults::Faults;

use super::frame::HEADER;
use super::*;
use crate::testing::until;
use domain::usage::Usage;
use domain::{AccountId, Credits, EpochId, LeaseId, Moment, RequestId, UsageRecord};
use model::Model;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;
use uuid::Uuid;

/// Nothing in these tests takes this long unless it never happens.
const FOREVER: Duration = Duration::from_secs(20);

fn account() -> AccountId {
    AccountId::from_uuid(Uuid::from_u128(1))
}

fn epoch(n: u64) -> EpochId {
    EpochId::from_uuid(Uuid::from_u128(u128::from(n)))
}

fn lease(n: u64) -> LeaseId {
    LeaseId::from_uuid(Uuid::from_u128(u128::from(n)))
}

fn request(n: u64) -> RequestId {
    RequestId::from_uuid(Uuid::from_u128(u128::from(n)))
}

fn usage(n: u64) -> Usage {
    let at = Moment::from_micros(1_795_348_800_000_000);
    Usage { request: request(n), at, ..crate::testing::usage(Credits::from_nano(7)) }
}

fn opened(n: u64) -> Entry {
    Entry::Opened { lease: lease(1), account: account(), worst_case: Credits::from_nano(9), usage: usage(n) }
}

fn record(n: u64) -> UsageRecord {
    let spent = Credits::from_nano(i64::try_from(n).unwrap() * 7);
    UsageRecord { account: account(), lease: lease(1), n, spent, uncovered: Credits::ZERO, usage: usage(n) }
}

fn settled(n: u64) -> Entry {
    Entry::Settled { record: record(n) }
}

fn reported(sequence: u64, numbers: impl IntoIterator<Item = u64>) -> Entry {
    Entry::Reported { sequence, records: numbers.into_iter().map(|n| (lease(1), n)).collect() }
}

/// One entry of every kind, and a few more.
fn story() -> Vec<Entry> {
    let mut progressed = usage(3);
    progressed.tokens.output = 99;
    vec![
        Entry::Began { epoch: epoch(1) },
        Entry::Leasing { lease: lease(1), account: account(), epoch: epoch(1) },
        Entry::Leasing { lease: lease(2), account: account(), epoch: epoch(1) },
        opened(1),
        opened(2),
        opened(3),
        settled(1),
        Entry::Released { request: request(2) },
        reported(41, [1]),
        Entry::Ended { lease: lease(2) },
        Entry::Progressed { usage: progressed },
        opened(4),
        settled(2),
    ]
}

fn manual(dir: &Path) -> OutboxOptions {
    OutboxOptions { flush: Flush::Manual, ..OutboxOptions::at(dir) }
}

fn open(options: OutboxOptions) -> Outbox {
    Outbox::open(options).unwrap().0
}

fn recover(dir: &Path) -> Result<Recovered, OutboxError> {
    Outbox::open(manual(dir)).map(|(_, recovered)| recovered)
}

fn write(outbox: &Outbox, entries: &[Entry]) {
    for entry in entries {
        let _written = outbox.append(entry).unwrap();
    }
}

#[test]
fn a_record_that_is_json_already_is_written_as_any_other() {
    let last_payload = |dir: &TempDir| {
        let bytes = std::fs::read(&segments(dir.path())[0]).unwrap();
        let offsets = frame_offsets(&bytes);
        frame::at(&bytes, offsets[offsets.len() - 2]).unwrap().payload.to_vec()
    };
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(&open(manual(one.path())), &[opened(1), settled(1)]);
    let outbox = open(manual(other.path()));
    write(&outbox, &[opened(1)]);
    let _written = outbox.settle(&record(1), &RecordJson::of(&record(1)).unwrap()).unwrap();
    assert_eq!((outbox.status().open_calls, outbox.status().unreported), (0, 1));
    drop(outbox);
    assert_eq!(last_payload(&other), last_payload(&one));
    assert_eq!(recover(other.path()).unwrap(), recover(one.path()).unwrap());
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut all: Vec<_> = all.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    all.sort();
    all
}

fn segment_number(path: &Path) -> u64 {
    let name = path.file_stem().unwrap().to_str().unwrap();
    name.strip_prefix("outbox-").unwrap().parse().unwrap()
}

/// A folder with these files and nothing else.
fn folder_of(files: &[(&Path, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        std::fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    dir
}

fn folder_with(file: &Path, bytes: &[u8]) -> TempDir {
    folder_of(&[(file, bytes)])
}

/// The whole frames of a segment: where each begins, and where the last one ends.
fn frame_offsets(segment: &[u8]) -> Vec<usize> {
    let mut offsets = vec![0];
    while let Some(frame) = frame::at(segment, offsets[offsets.len() - 1]) {
        offsets.push(offsets[offsets.len() - 1] + frame.len());
    }
    offsets
}

impl store::Store {
    /// The last segment's number, its length, and how much of it is on disk.
    fn tail(&self) -> (u64, u64, u64) {
        let path = segments(self.folder()).pop().unwrap();
        let length = path.metadata().unwrap().len();
        (segment_number(&path), length, length - self.status().unflushed_bytes)
    }
}

#[test]
fn a_new_outbox_is_empty_and_a_reopened_one_has_everything() {
    for flush in [Flush::default(), Flush::BeforeAnswer, Flush::Manual] {
        let dir = tempfile::tempdir().unwrap();
        let options = OutboxOptions { flush, ..OutboxOptions::at(dir.path().join("made/here")) };
        let (outbox, recovered) = Outbox::open(options.clone()).unwrap();
        assert_eq!(recovered, Recovered::default());
        let entries = story();
        for part in entries.chunks(5) {
            write(&outbox, part);
        }
        drop(outbox);
        for _ in 0..2 {
            let (_, recovered) = Outbox::open(options.clone()).unwrap();
            assert_eq!(recovered, Model::of(&entries).all(), "{flush:?}");
        }
        let recovered = Outbox::open(options).unwrap().1;
        assert_eq!(recovered.epochs, [FormerEpoch { epoch: epoch(1), last_reported: 41 }]);
        let counted = RecoveredLease {
            lease: lease(1),
            account: account(),
            epoch: epoch(1),
            count: 2,
            spent: Credits::from_nano(14),
        };
        assert_eq!(recovered.leases, [counted]);
        assert_eq!(
            recovered.interrupted.iter().map(|it| it.usage.tokens.output).collect::<Vec<_>>(),
            [99, 5]
        );
        assert_eq!(recovered.settled.iter().map(|it| it.reported).collect::<Vec<_>>(), [Some(41), None]);
    }
}

#[test]
fn entries_go_on_behind_what_an_earlier_run_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let entries = story();
    for entry in &entries {
        write(&open(OutboxOptions::at(dir.path())), std::slice::from_ref(entry));
    }
    assert_eq!(recover(dir.path()).unwrap(), Model::of(&entries).all());
}

#[test]
fn a_power_cut_at_any_byte_leaves_the_entries_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let entries = story();
    write(&open(manual(dir.path())), &entries);
    let file = segments(dir.path()).remove(0);
    let whole = std::fs::read(&file).unwrap();
    // The first frame is the segment's own.
    let ends = frame_offsets(&whole)[2..].to_vec();
    assert_eq!(ends.len(), entries.len());
    for length in 0..whole.len() {
        let cut = folder_with(&file, &whole[..length]);
        let (outbox, mut recovered) = Outbox::open(manual(cut.path())).unwrap();
        let left = ends.iter().filter(|end| **end <= length).count();
        let torn = recovered.cut.take();
        assert_eq!(recovered, Model::of(&entries[..left]).all(), "cut at {length}");
        let begin = frame_offsets(&whole[..length]).pop().unwrap();
        let expected = (length > begin).then(|| Cut {
            file: cut.path().join(file.file_name().unwrap()),
            offset: begin as u64,
            bytes: (length - begin) as u64,
        });
        assert_eq!(torn, expected, "cut at {length}");
        if length % 16 == 0 {
            // And it goes on.
            write(&outbox, &entries[left..]);
            drop(outbox);
            assert_eq!(recover(cut.path()).unwrap(), Model::of(&entries).all(), "cut at {length}");
        }
    }
}

#[test]
fn a_power_cut_that_kept_later_pages_but_not_earlier_ones_leaves_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(manual(dir.path()));
    let entries: Vec<_> = (1..60).flat_map(|n| [opened(n), settled(n)]).collect();
    let flushed = 40;
    write(&outbox, &entries[..flushed]);
    outbox.flush().unwrap();
    let durable = usize::try_from(outbox.handle.store.tail().2).unwrap();
    write(&outbox, &entries[flushed..]);
    drop(outbox);
    let file = segments(dir.path()).remove(0);
    let whole = std::fs::read(&file).unwrap();
    let ends = frame_offsets(&whole)[2..].to_vec();
    // Each run of pages that never reached the disk reads as zeros.
    let pages: Vec<_> = (durable..whole.len()).step_by(512).collect();
    for from in 0..pages.len() {
        for to in from..pages.len().min(from + 6) {
            let mut bytes = whole.clone();
            let end = pages.get(to + 1).copied().unwrap_or(whole.len());
            bytes[pages[from]..end].fill(0);
            let cut = folder_with(&file, &bytes);
            let mut recovered = recover(cut.path()).unwrap();
            let left = ends.iter().filter(|end| **end <= pages[from]).count();
            assert!(left >= flushed);
            assert!(recovered.cut.take().is_some());
            assert_eq!(recovered, Model::of(&entries[..left]).all());
        }
    }
}

#[test]
fn a_flipped_bit_is_refused_below_what_was_flushed_and_cuts_the_tail_above() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(manual(dir.path()));
    let entries = story();
    write(&outbox, &entries[..7]);
    outbox.flush().unwrap();
    let durable = usize::try_from(outbox.handle.store.tail().1).unwrap();
    write(&outbox, &entries[7..]);
    drop(outbox);
    let file = segments(dir.path()).remove(0);
    let whole = std::fs::read(&file).unwrap();
    let offsets = frame_offsets(&whole);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let changed = folder_with(&file, &bytes);
        let path = changed.path().join(file.file_name().unwrap());
        let frame = *offsets.iter().rfind(|offset| **offset <= at).unwrap();
        match recover(changed.path()) {
            Err(OutboxError::Damaged { file, offset, .. }) => {
                assert!(at < durable, "byte {at} was never flushed");
                assert_eq!((file, offset), (path.clone(), frame as u64));
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "a refusal must touch nothing");
            }
            Ok(mut recovered) => {
                assert!(at >= durable, "byte {at} was changed unnoticed");
                assert_eq!(recovered.cut.take().unwrap().offset, frame as u64);
                let left = offsets.iter().filter(|offset| **offset <= frame).count() - 2;
                assert_eq!(recovered, Model::of(&entries[..left]).all());
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

#[test]
fn after_a_clean_stop_a_flipped_bit_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let entries = story();
    write(&open(OutboxOptions::at(dir.path())), &entries);
    let file = segments(dir.path()).remove(0);
    let whole = std::fs::read(&file).unwrap();
    let offsets = frame_offsets(&whole);
    let mark = offsets[offsets.len() - 2];
    assert!(whole.len() - mark < 2 * HEADER, "the last frame should be a mark");
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        let changed = folder_with(&file, &bytes);
        match recover(changed.path()) {
            Err(error) => assert!(at < mark && error.to_string().contains("is damaged at byte"), "{error}"),
            Ok(mut recovered) => {
                assert!(at >= mark, "byte {at} was changed unnoticed");
                recovered.cut = None;
                assert_eq!(recovered, Model::of(&entries).all());
            }
        }
    }
}

#[test]
fn an_outbox_that_is_quiet_marks_its_last_entries_as_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions::at(dir.path()));
    write(&outbox, &[settled(1)]);
    let file = segments(dir.path()).remove(0);
    let begun = Instant::now();
    loop {
        let bytes = std::fs::read(&file).unwrap();
        let offsets = frame_offsets(&bytes);
        if offsets.len() == 4 {
            let mark = frame::at(&bytes, offsets[2]).unwrap();
            assert_eq!((mark.payload, mark.durable), (b"\"mark\"".as_slice(), offsets[2] as u64));
            break;
        }
        assert!(begun.elapsed() < FOREVER, "no mark was written");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Segments with their bytes.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// Three segments: the second and third begin with what is carried over.
fn three_segments() -> (TempDir, Files, Vec<Entry>) {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions { segment_bytes: 4000, ..manual(dir.path()) });
    let mut entries = story();
    write(&outbox, &entries);
    for n in 3.. {
        if outbox.status().segments == 3 {
            break;
        }
        write(&outbox, &[settled(n)]);
        entries.push(settled(n));
    }
    drop(outbox);
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
    let files = segments(dir.path()).into_iter().map(read).collect();
    (dir, files, entries)
}

fn with(files: &Files, index: usize, bytes: &[u8]) -> TempDir {
    let mut all: Vec<_> = files.iter().map(|(path, bytes)| (path.as_path(), bytes.as_slice())).collect();
    all[index].1 = bytes;
    folder_of(&all)
}

#[test]
fn an_earlier_segment_may_not_be_changed_shortened_lengthened_or_missing() {
    let (_dir, files, entries) = three_segments();
    let name = |index: usize| files[index].0.file_name().unwrap().to_owned();
    let refused = |folder: &TempDir, index: usize, what: &str| {
        let error = recover(folder.path()).expect_err(what);
        let OutboxError::Damaged { file, .. } = &error else { panic!("{what}: {error}") };
        assert_eq!(file.file_name().unwrap(), name(index), "{what}: {error}");
    };
    for index in [0, 1] {
        let whole = &files[index].1;
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            refused(&with(&files, index, &bytes), index, &format!("byte {at} of segment {index}"));
        }
        refused(&with(&files, index, &whole[..whole.len() - 1]), index, "a byte is missing");
        refused(&with(&files, index, &[]), index, "it is empty");
        refused(&with(&files, index, &[whole.as_slice(), b"\0"].concat()), index, "a byte is too many");
        let offsets = frame_offsets(whole);
        let last = offsets[offsets.len() - 2];
        refused(&with(&files, index, &whole[..last]), index + 1, "the last record is missing");
    }
    let folder = with(&files, 0, &files[0].1);
    std::fs::remove_file(folder.path().join(name(1))).unwrap();
    refused(&folder, 2, "the middle segment is missing");
    assert_eq!(recover(with(&files, 0, &files[0].1).path()).unwrap(), Model::of(&entries).all());
}

#[test]
fn a_segment_that_was_just_begun_may_be_torn_anywhere() {
    let (_dir, files, entries) = three_segments();
    let last = &files[2].1;
    let carried = frame_offsets(last)[1];
    let in_last = frame_offsets(last).len() - 2;
    let before = Model::of(&entries[..entries.len() - in_last]).all();
    for length in 0..carried {
        let folder = with(&files, 2, &last[..length]);
        let (outbox, mut recovered) = Outbox::open(manual(folder.path())).unwrap();
        assert_eq!(
            recovered.cut.take().map(|cut| (cut.offset, cut.bytes)),
            (length > 0).then_some((0, length as u64))
        );
        assert_eq!(recovered, before, "cut at {length}");
        write(&outbox, &entries[entries.len() - in_last..]);
        drop(outbox);
        assert_eq!(recover(folder.path()).unwrap(), Model::of(&entries).all(), "cut at {length}");
    }
}

#[test]
fn what_was_carried_over_from_deleted_segments_may_not_be_damaged() {
    let (_dir, files, _) = three_segments();
    let (path, whole) = &files[2];
    let carried = &whole[..frame_offsets(whole)[1]];
    for length in 0..carried.len() {
        // Former segments are deleted only when this is on disk, so that it cannot be a torn tail.
        let alone = folder_with(path, &carried[..length]);
        let error = recover(alone.path()).unwrap_err();
        assert!(matches!(error, OutboxError::Damaged { offset: 0, .. }), "{error}");
    }
    assert!(recover(folder_with(path, carried).path()).is_ok());
}

#[test]
fn what_this_version_cannot_read_is_refused() {
    let frames = |payloads: &[&str]| {
        let mut bytes = Vec::new();
        for (payload, number) in payloads.iter().zip(1..) {
            let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
            bytes.extend_from_slice(frame::Draft::of(&payload).unwrap().sealed(number, 0));
        }
        folder_with(Path::new("outbox-00000000000000000001.log"), &bytes)
    };
    let carried = |format: u32| {
        format!(
            r#"{{"carried":{{"format":{format},"at":"2026-11-22T12:00:00Z","epochs":[],"leases":[],"calls":[]}}}}"#
        )
    };
    for (folder, what) in [
        (frames(&[&carried(2)]), "its format is 2, this version reads 1"),
        (frames(&[&carried(1), r#"{"entry":{"vanished":{}}}"#]), "record 2 is unknown to this version"),
        (frames(&[&carried(1), &carried(1)]), "a segment begins inside a segment"),
        (frames(&[r#""mark""#]), "it does not begin with what it carries over"),
    ] {
        let error = recover(folder.path()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    assert!(recover(frames(&[&carried(1), r#""mark""#]).path()).is_ok());
}

#[test]
fn entries_keep_the_form_in_which_they_were_written() {
    let id = |n: u64| format!("00000000-0000-0000-0000-{n:012}");
    let one = usage(1);
    let in_json = serde_json::to_string(&one).unwrap();
    let record = UsageRecord { usage: one.clone(), ..record(1) };
    let record_in_json = serde_json::to_string(&record).unwrap();
    let (lease, account, epoch, request) = (lease(2), account(), epoch(3), request(4));
    for (entry, json) in [
        (Entry::Began { epoch }, format!(r#"{{"began":{{"epoch":"{}"}}}}"#, id(3))),
        (
            Entry::Leasing { lease, account, epoch },
            format!(r#"{{"leasing":{{"lease":"{}","account":"{}","epoch":"{}"}}}}"#, id(2), id(1), id(3)),
        ),
        (Entry::Ended { lease }, format!(r#"{{"ended":{{"lease":"{}"}}}}"#, id(2))),
        (
            Entry::Opened { lease, account, worst_case: Credits::from_nano(9), usage: one.clone() },
            format!(
                r#"{{"opened":{{"lease":"{}","account":"{}","worst_case":"0.000000009","usage":{in_json}}}}}"#,
                id(2),
                id(1)
            ),
        ),
        (Entry::Progressed { usage: one }, format!(r#"{{"progressed":{{"usage":{in_json}}}}}"#)),
        (Entry::Released { request }, format!(r#"{{"released":{{"request":"{}"}}}}"#, id(4))),
        (Entry::Settled { record }, format!(r#"{{"settled":{{"record":{record_in_json}}}}}"#)),
        (
            Entry::Reported { sequence: 41, records: vec![(lease, 7)] },
            format!(r#"{{"reported":{{"sequence":41,"records":[["{}",7]]}}}}"#, id(2)),
        ),
    ] {
        assert_eq!(serde_json::to_string(&entry).unwrap(), json);
        assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry);
    }
    let mut draft = frame::Draft::of(&entry::Writing::Mark).unwrap();
    let bytes = hex::encode(draft.sealed(2, 300));
    assert_eq!(bytes, "ff4e52fe625225280600000002000000000000002c01000000000000226d61726b22");
}

#[test]
fn an_outbox_belongs_to_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions::at(dir.path()));
    let other = outbox.clone();
    drop(outbox);
    let error = Outbox::open(OutboxOptions::at(dir.path())).unwrap_err();
    assert!(matches!(&error, OutboxError::Locked { dir: it } if it == dir.path()), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    drop(other);
    open(OutboxOptions::at(dir.path()));
}

#[test]
fn a_dropped_outbox_frees_its_folder_at_once_also_while_processes_are_started() {
    let dir = tempfile::tempdir().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                Command::new("true").status().unwrap();
            }
        });
        let failed = (0..500).find_map(|_| recover(dir.path()).err());
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(failed.is_none(), "{failed:?}");
    });
}

/// In a process of its own, started by the next test: writes until it is killed.
#[test]
fn a_child_that_writes() {
    let Ok(dir) = std::env::var("NEXUSROUTE_TEST_OUTBOX") else { return };
    let outbox = open(OutboxOptions { segment_bytes: 100_000, ..OutboxOptions::at(dir) });
    for n in 1.. {
        let _written = outbox.append(&settled(n)).unwrap();
        println!("\nwritten {n}");
    }
}

#[test]
fn a_kill_loses_nothing_that_was_written_and_frees_the_folder() {
    for round in 1..=5 {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "outbox::tests::a_child_that_writes", "--nocapture"])
            .env("NEXUSROUTE_TEST_OUTBOX", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut written =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("written ")?.parse::<u64>().ok());
        let seen = written.find(|n| *n > 150 * round).unwrap();
        assert!(matches!(recover(dir.path()), Err(OutboxError::Locked { .. })));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = written.last().unwrap_or(seen);
        let recovered = recover(dir.path()).unwrap();
        let numbers: Vec<_> = recovered.settled.iter().map(|it| it.record.n).collect();
        assert!(numbers.len() as u64 >= last, "{} of {last} are left", numbers.len());
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn old_segments_go_however_long_leases_and_calls_last() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions { segment_bytes: 5000, ..manual(dir.path()) });
    let begun = [
        Entry::Began { epoch: epoch(1) },
        Entry::Leasing { lease: lease(1), account: account(), epoch: epoch(1) },
        opened(1000),
    ];
    write(&outbox, &begun);
    for n in 1..=100 {
        write(&outbox, &[settled(n)]);
    }
    assert!(outbox.status().segments > 10);
    write(&outbox, &[reported(5, 1..=60)]);
    let before = segments(dir.path()).len();
    outbox.trim(4).unwrap();
    assert_eq!(segments(dir.path()).len(), before, "the projections have not passed the report");
    outbox.trim(5).unwrap();
    let left = segments(dir.path());
    assert!(left.len() < before / 2, "{left:?}");
    assert_eq!((outbox.status().records, outbox.status().unreported), (40, 40));
    write(&outbox, &[reported(6, 61..=100)]);
    outbox.trim(6).unwrap();
    assert_eq!(outbox.status().segments, 1);
    assert!(outbox.status().bytes < 5000, "{:?}", outbox.status());
    drop(outbox);
    let recovered = recover(dir.path()).unwrap();
    assert_eq!(recovered.epochs, [FormerEpoch { epoch: epoch(1), last_reported: 6 }]);
    assert_eq!(recovered.leases.iter().map(|it| (it.lease, it.count)).collect::<Vec<_>>(), [(lease(1), 100)]);
    assert_eq!(recovered.interrupted.len(), 1);
    assert_eq!(recovered.settled, []);
}

#[test]
fn a_former_segment_is_deleted_only_when_what_it_hands_over_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions { segment_bytes: 3000, ..manual(dir.path()) });
    for n in 1.. {
        write(&outbox, &[settled(n)]);
        // The last record is not reported, so that the segment written to stays that.
        if outbox.status().segments == 2 {
            break;
        }
        write(&outbox, &[reported(n, [n])]);
    }
    let faults = Faults::in_folder(dir.path());
    faults.fail_flushes(true);
    let error = outbox.trim(1000).unwrap_err();
    assert!(matches!(error, OutboxError::Broken { .. }), "{error}");
    assert_eq!(segments(dir.path()).len(), 2);
}

#[test]
fn a_record_that_was_reported_again_waits_for_the_later_report() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(manual(dir.path()));
    write(&outbox, &[settled(1), reported(5, [1]), reported(9, [1])]);
    for (position, records) in [(5, 1), (8, 1), (9, 0)] {
        outbox.trim(position).unwrap();
        assert_eq!(outbox.status().records, records, "at {position}");
    }
}

#[test]
fn the_next_segment_is_begun_only_when_the_former_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions { segment_bytes: 3000, ..manual(dir.path()) });
    Faults::in_folder(dir.path()).fail_flushes(true);
    let error = (1..100).find_map(|n| outbox.append(&settled(n)).err()).unwrap();
    assert!(matches!(error, OutboxError::Broken { .. }), "{error}");
    assert_eq!(segments(dir.path()).len(), 1);
}

#[test]
fn what_is_read_at_the_start_is_flushed_before_anyone_acts_on_it() {
    let dir = tempfile::tempdir().unwrap();
    write(&open(manual(dir.path())), &[settled(1)]);
    let faults = Faults::in_folder(dir.path());
    let before = faults.flushes();
    let outbox = open(manual(dir.path()));
    assert_eq!((faults.flushes() - before, outbox.status().unflushed_bytes), (1, 0));
    drop(outbox);
    faults.fail_flushes(true);
    assert!(matches!(recover(dir.path()), Err(OutboxError::Broken { .. })));
}

#[test]
fn a_full_outbox_begins_nothing_and_still_records_what_ends() {
    let dir = tempfile::tempdir().unwrap();
    let options = OutboxOptions { max_bytes: 40_000, segment_bytes: 10_000, ..manual(dir.path()) };
    let (outbox, _) = Outbox::open(options.clone()).unwrap();
    let mut calls = 0;
    let error = loop {
        match outbox.append(&opened(calls + 1)) {
            Ok(_) => calls += 1,
            Err(error) => break error,
        }
        if calls > 3 {
            // So that the calls carried over stay few.
            let _written = outbox.append(&settled(calls - 3)).unwrap();
        }
    };
    assert!(matches!(error, OutboxError::Full { max_bytes: 40_000, .. }), "{error}");
    assert!(error.to_string().contains("is full"), "{error}");
    write(&outbox, &[settled(calls)]);
    let written = outbox.status().bytes;
    assert!(written > 40_000, "{written}");
    let lease = lease(9);
    let leasing = Entry::Leasing { lease, account: account(), epoch: epoch(2) };
    assert!(matches!(outbox.append(&leasing), Err(OutboxError::Full { .. })));
    assert_eq!(outbox.status().bytes, written, "a refusal writes nothing");
    assert_eq!(segments(dir.path()).iter().map(|it| it.metadata().unwrap().len()).sum::<u64>(), written);
    write(&outbox, &[Entry::Progressed { usage: usage(calls) }, Entry::Released { request: request(calls) }]);
    write(&outbox, &[settled(calls - 1), Entry::Ended { lease }]);
    // Without a run nobody would report, and the outbox would be full for ever.
    write(&outbox, &[Entry::Began { epoch: epoch(2) }]);
    // The reserve ends too; a report is what makes room again, and is never refused.
    let mut late = calls + 1;
    while outbox.append(&settled(late)).is_ok() {
        late += 1;
    }
    assert!(matches!(outbox.append(&settled(late)), Err(OutboxError::Full { .. })));
    let full = outbox.status();
    assert!(full.bytes <= 45_000 && full.bytes > 44_000, "{full:?}");
    let all: Vec<_> = (1..late).collect();
    write(&outbox, &[reported(7, all)]);
    assert_eq!(outbox.status().unreported, 0);
    outbox.trim(7).unwrap();
    assert!(outbox.status().bytes < 10_000, "{:?}", outbox.status());
    write(&outbox, &[opened(late), settled(late)]);
    drop(outbox);
    let left: Vec<_> = Outbox::open(options).unwrap().1.settled.iter().map(|it| it.record.n).collect();
    assert_eq!(left, [late]);
}

#[test]
fn a_run_is_named_even_when_the_reserve_of_a_full_outbox_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let options = OutboxOptions { max_bytes: 40_000, segment_bytes: 10_000, ..manual(dir.path()) };
    let (outbox, _) = Outbox::open(options.clone()).unwrap();
    let mut calls = 1;
    while outbox.append(&opened(calls)).is_ok() && outbox.append(&settled(calls)).is_ok() {
        calls += 1;
    }
    while outbox.append(&settled(calls)).is_ok() {
        calls += 1;
    }
    // An entry of a run is smaller than a settlement: the first few still find room within the reserve.
    let runs: Vec<_> = (100..130).map(epoch).collect();
    for epoch in runs.iter().copied() {
        write(&outbox, &[Entry::Began { epoch }]);
    }
    assert!(outbox.status().bytes > 45_000, "{:?}", outbox.status());
    drop(outbox);
    let named: Vec<_> = Outbox::open(options).unwrap().1.epochs.iter().map(|it| it.epoch).collect();
    assert!(named.ends_with(&runs), "{named:?}");
}

#[test]
fn a_full_disk_refuses_an_entry_whole_and_takes_the_next_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(manual(dir.path()));
    write(&outbox, &[settled(1)]);
    let faults = Faults::in_folder(dir.path());
    let before = outbox.status();
    for room in [0, 1, 27, 28, 500] {
        faults.leave_room(room);
        let error = outbox.append(&settled(2)).unwrap_err();
        assert!(matches!(&error, OutboxError::Io { act: "write", .. }), "{error}");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::StorageFull);
        assert_eq!(segments(dir.path())[0].metadata().unwrap().len(), before.bytes);
        let after = outbox.status();
        assert_eq!((after.records, after.bytes, after.broken), (1, before.bytes, None));
    }
    faults.leave_room(u64::MAX);
    write(&outbox, &[settled(2)]);
    drop(outbox);
    let recovered = recover(dir.path()).unwrap();
    assert_eq!((recovered.settled.len(), recovered.cut), (2, None));
}

#[test]
fn a_half_written_entry_that_cannot_be_cut_ends_the_outbox_until_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(manual(dir.path()));
    write(&outbox, &[settled(1)]);
    let faults = Faults::in_folder(dir.path());
    faults.leave_room(100);
    faults.fail_cuts();
    assert!(matches!(outbox.append(&settled(2)), Err(OutboxError::Io { .. })));
    faults.leave_room(u64::MAX);
    for _ in 0..2 {
        let error = outbox.append(&settled(3)).unwrap_err().to_string();
        assert!(error.contains("takes no more entries") && error.contains("half written"), "{error}");
    }
    assert!(outbox.flush().is_err() && outbox.trim(1).is_err());
    assert!(outbox.status().broken.is_some());
    drop(outbox);
    let folder = folder_with(&segments(dir.path())[0], &std::fs::read(&segments(dir.path())[0]).unwrap());
    let recovered = recover(folder.path()).unwrap();
    assert_eq!((recovered.settled.len(), recovered.cut.unwrap().bytes), (1, 100));
}

#[tokio::test]
async fn a_failed_flush_is_never_called_a_success() {
    for flush in [Flush::Within(Duration::from_millis(5)), Flush::BeforeAnswer] {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(OutboxOptions { flush, ..OutboxOptions::at(dir.path()) });
        outbox.append(&settled(1)).unwrap().durable().await.unwrap();
        let faults = Faults::in_folder(dir.path());
        faults.fail_flushes(true);
        let written = outbox.append(&settled(2)).unwrap();
        let error = written.durable().await.unwrap_err();
        assert!(error.to_string().contains("could not be flushed"), "{error}");
        // The next one would succeed.
        faults.fail_flushes(false);
        let asked = faults.flushes();
        assert!(matches!(outbox.append(&settled(3)), Err(OutboxError::Broken { .. })));
        assert!(matches!(outbox.flush(), Err(OutboxError::Broken { .. })));
        drop(outbox);
        assert_eq!(faults.flushes(), asked, "a failed flush was tried again");
    }
}

#[tokio::test]
async fn an_entry_is_durable_after_a_flush_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(manual(dir.path()));
    let written = outbox.append(&settled(1)).unwrap();
    let waiting = tokio::spawn(written.durable());
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert!(outbox.status().unflushed_bytes > 0);
    outbox.flush().unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(outbox.status().unflushed_bytes, 0);
    let lost = outbox.append(&settled(2)).unwrap();
    drop(outbox);
    assert!(lost.durable().await.unwrap_err().to_string().contains("closed without a flush"));
}

#[tokio::test]
async fn what_is_written_is_flushed_without_being_asked_also_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions::at(dir.path()));
    write(&outbox, &[settled(1)]);
    until("the entry is flushed", async || outbox.status().unflushed_bytes == 0).await;
    drop(outbox);
    let never = Flush::Within(Duration::from_secs(3600));
    let outbox = open(OutboxOptions { flush: never, ..OutboxOptions::at(dir.path()) });
    let written = outbox.append(&settled(2)).unwrap();
    drop(outbox);
    written.durable().await.unwrap();
}

#[tokio::test]
async fn entries_that_are_written_during_a_flush_share_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions { flush: Flush::BeforeAnswer, ..OutboxOptions::at(dir.path()) });
    let faults = Faults::in_folder(dir.path());
    let before = faults.flushes();
    let waiting: Vec<_> = {
        let _slow = faults.hold_flushes();
        (1..=400).map(|n| outbox.append(&settled(n)).unwrap().durable()).collect()
    };
    for durable in waiting {
        durable.await.unwrap();
    }
    let flushes = faults.flushes() - before;
    assert!((1..=2).contains(&flushes), "{flushes} flushes for 400 entries");
}

#[test]
fn a_next_segment_that_cannot_be_begun_stops_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions { segment_bytes: 4000, ..manual(dir.path()) });
    let blocker = dir.path().join("outbox-00000000000000000002.log");
    std::fs::create_dir(&blocker).unwrap();
    for n in 1..=10 {
        write(&outbox, &[settled(n)]);
    }
    assert_eq!(outbox.status().segments, 1);
    std::fs::remove_dir(&blocker).unwrap();
    for n in 11..=20 {
        write(&outbox, &[settled(n)]);
    }
    assert!(outbox.status().segments > 1);
    drop(outbox);
    assert_eq!(recover(dir.path()).unwrap().settled.len(), 20);
}

#[test]
fn a_disk_that_is_full_where_the_next_segment_begins_leaves_the_former_whole() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions { segment_bytes: 4000, ..manual(dir.path()) });
    let mut n = 0;
    while outbox.status().bytes < 3500 {
        n += 1;
        write(&outbox, &[settled(n)]);
    }
    let faults = Faults::in_folder(dir.path());
    faults.leave_room(50);
    assert!(matches!(outbox.append(&settled(n + 1)), Err(OutboxError::Io { .. })));
    assert_eq!(segments(dir.path()).len(), 1);
    faults.leave_room(u64::MAX);
    write(&outbox, &[settled(n + 1)]);
    drop(outbox);
    let recovered = recover(dir.path()).unwrap();
    assert_eq!((recovered.settled.len() as u64, recovered.cut), (n + 1, None));
}

#[test]
fn many_threads_write_whole_entries() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(OutboxOptions { segment_bytes: 50_000, ..OutboxOptions::at(dir.path()) });
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let outbox = &outbox;
            scope.spawn(move || {
                for n in 1..=200 {
                    let record = UsageRecord { lease: lease(thread), ..record(n) };
                    let _written = outbox.append(&Entry::Settled { record }).unwrap();
                    if n % 50 == 0 {
                        let records = (1..=n).map(|n| (lease(thread), n)).collect();
                        let _written = outbox.append(&Entry::Reported { sequence: n, records }).unwrap();
                        outbox.trim(n / 2).unwrap();
                    }
                }
            });
        }
    });
    let status = outbox.status();
    drop(outbox);
    let recovered = recover(dir.path()).unwrap();
    for thread in 0..8 {
        let of = recovered.settled.iter().filter(|it| it.record.lease == lease(thread));
        let numbers: Vec<_> = of.map(|it| it.record.n).collect();
        assert!(numbers.ends_with(&(101..=200).collect::<Vec<_>>()), "{numbers:?}");
    }
    assert!(status.records <= recovered.settled.len() as u64);
}
