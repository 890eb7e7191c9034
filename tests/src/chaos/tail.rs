//! The tail of an outbox: what a power cut may take from it, and what it may not.
//!
//! A flush is for ever: what a run has flushed, and all that it read at its start, is out of a power cut's reach. Each frame
//! says how much of its file was on disk when it was written; the greatest of these lengths is where a power cut may begin.
//! Knows the frame of the outbox's files (`ledger/src/outbox/frame.rs`) and of its payloads one word, `settled`: to tell
//! which calls a cut takes, it must see what stands behind it.

use super::Chance;
use serde_json::Value;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

const MAGIC: [u8; 4] = [0xff, b'N', b'R', 0xfe];
const HEADER: usize = 28;
/// The name of the first file of all.
const FIRST: &str = "outbox-00000000000000000001.log";
/// A disk writes this many bytes or none of them.
const SECTOR: usize = 512;

/// The last file of an outbox.
pub struct Tail {
    file: PathBuf,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
    /// Former files are gone: without its first frame nothing is known.
    stands_alone: bool,
}

struct Frame {
    from: usize,
    to: usize,
    /// So much of the file was on disk when this was written.
    durable: usize,
    /// The request that it settles.
    settled: Option<String>,
}

/// What is done to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// It ends before this byte.
    Cut(usize),
    /// From this byte on there is something else.
    Torn(usize),
    /// From this byte on there are zeros: its length had reached the disk, its bytes had not.
    Blank(usize),
    /// The sector with this byte did not reach the disk, those behind it did.
    Hole(usize),
    /// This byte is another one.
    Flipped(usize),
}

impl Tail {
    /// Reads the last file of the outbox in a data folder.
    pub fn of(data: &Path) -> Self {
        let files = std::fs::read_dir(data.join("outbox")).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|it| it == "log")).collect();
        files.sort();
        let file = files.pop().unwrap();
        let stands_alone = files.is_empty() && !file.ends_with(FIRST);
        let bytes = std::fs::read(&file).unwrap();
        let (mut frames, mut from) = (Vec::new(), 0);
        while let Some(header) = bytes.get(from..from + HEADER).filter(|header| header[..4] == MAGIC) {
            let length = u32::from_le_bytes(header[8..12].try_into().unwrap());
            let durable = u64::from_le_bytes(header[20..28].try_into().unwrap());
            let to = from + HEADER + usize::try_from(length).unwrap();
            let Some(payload) = bytes.get(from + HEADER..to) else { break };
            let payload: Value = serde_json::from_slice(payload).unwrap();
            let settled = payload.pointer("/entry/settled/record/usage/request");
            let settled = settled.map(|request| request.as_str().unwrap().to_owned());
            frames.push(Frame { from, to, durable: usize::try_from(durable).unwrap(), settled });
            from = to;
        }
        assert_eq!(from, bytes.len(), "a killed process leaves whole frames: {}", file.display());
        Self { file, bytes, frames, stands_alone }
    }

    /// The file's length.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// So much of it was on disk for certain: a power cut takes nothing before.
    pub fn durable(&self) -> usize {
        self.frames.iter().map(|frame| frame.durable).max().unwrap_or(0)
    }

    /// The file after the harm.
    pub fn harmed(&self, harm: Harm, chance: &mut Chance) -> Harmed<'_> {
        let mut bytes = self.bytes.clone();
        match harm {
            Harm::Cut(at) => bytes.truncate(at),
            Harm::Torn(at) => {
                for byte in &mut bytes[at..] {
                    *byte = u8::try_from(chance.number() % 256).unwrap();
                }
                // A byte can be what it was by chance; the first one must not.
                bytes[at] = !self.bytes[at];
            }
            Harm::Blank(at) => bytes[at..].fill(0),
            Harm::Hole(at) => {
                // Of the sector that is on disk in part only the rest was to be written.
                let (from, to) =
                    ((at / SECTOR * SECTOR).max(self.durable().min(at)), at / SECTOR * SECTOR + SECTOR);
                let to = to.min(bytes.len());
                bytes[from..to].fill(0);
            }
            Harm::Flipped(at) => bytes[at] ^= 1 << (chance.number() % 8),
        }
        let is_whole =
            |frame: &&Frame| bytes.get(frame.from..frame.to) == Some(&self.bytes[frame.from..frame.to]);
        let sound = self.frames.iter().take_while(is_whole).last().map_or(0, |frame| frame.to);
        let durable = self.frames.iter().filter(is_whole).map(|frame| frame.durable).max().unwrap_or(0);
        Harmed { tail: self, bytes, sound, durable }
    }
}

/// The last file of an outbox after harm.
pub struct Harmed<'a> {
    tail: &'a Tail,
    bytes: Vec<u8>,
    /// So far its frames are whole.
    sound: usize,
    /// So much had been on disk, according to the frames that are whole.
    durable: usize,
}

impl Harmed<'_> {
    /// The requests whose settlement the harm takes.
    pub fn lost(&self) -> HashSet<&str> {
        let lost = self.tail.frames.iter().filter(|frame| frame.from >= self.sound);
        lost.filter_map(|frame| frame.settled.as_deref()).collect()
    }

    /// Must a start find that something was damaged which had been on disk? What is gone altogether can say nothing about
    /// itself.
    pub fn is_damage(&self) -> bool {
        self.durable > self.sound || (self.sound == 0 && self.tail.stands_alone)
    }

    /// Does a start have something to cut off?
    pub fn is_torn(&self) -> bool {
        self.sound < self.bytes.len()
    }

    /// Puts it in the place of the file's copy in another data folder.
    pub fn put(&self, data: &Path) {
        std::fs::write(self.place(data), &self.bytes).unwrap();
    }

    /// Is it still in that data folder as it was put there?
    pub fn is_untouched(&self, data: &Path) -> bool {
        std::fs::read(self.place(data)).unwrap() == self.bytes
    }

    fn place(&self, data: &Path) -> PathBuf {
        data.join("outbox").join(self.tail.file.file_name().unwrap())
    }
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
