//! The tail of an outbox: what a power cut may take from it, and what it may not.
//!
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

/// The last file of an outbox.
pub struct Tail {
    file: PathBuf,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
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
    /// This byte is another one.
    Flipped(usize),
}

impl Tail {
    /// Reads the last file of the outbox in a data folder.
    pub fn of(data: &Path) -> Self {
        let files = std::fs::read_dir(data.join("outbox")).unwrap().map(|file| file.unwrap().path());
        let file = files.filter(|file| file.extension().is_some_and(|it| it == "log")).max().unwrap();
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
        Self { file, bytes, frames }
    }

    /// The file's length.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// So much of it was on disk for certain: a power cut takes nothing before.
    pub fn durable(&self) -> usize {
        self.frames.iter().map(|frame| frame.durable).max().unwrap_or(0)
    }

    /// Requests that are settled in it.
    pub fn settled(&self) -> usize {
        self.frames.iter().filter(|frame| frame.settled.is_some()).count()
    }

    /// Where the file is sound up to, after harm.
    fn sound(&self, harm: Harm) -> usize {
        let (Harm::Cut(at) | Harm::Torn(at) | Harm::Flipped(at)) = harm;
        self.frames.iter().map(|frame| frame.to).take_while(|to| *to <= at).last().unwrap_or(0)
    }

    /// The requests whose settlement the harm takes.
    pub fn lost(&self, harm: Harm) -> HashSet<&str> {
        let sound = self.sound(harm);
        let lost = self.frames.iter().filter(|frame| frame.from >= sound);
        lost.filter_map(|frame| frame.settled.as_deref()).collect()
    }

    /// Must a start find that something was damaged which had been on disk?
    pub fn is_damage(&self, harm: Harm) -> bool {
        let sound = self.sound(harm);
        match harm {
            // What is gone altogether can say nothing about itself, nor what is overwritten.
            Harm::Cut(_) | Harm::Torn(_) => false,
            Harm::Flipped(_) => {
                let behind = self.frames.iter().filter(|frame| frame.from > sound);
                behind.map(|frame| frame.durable).max().unwrap_or(0) > sound
            }
        }
    }

    /// Does a start have something to cut off?
    pub fn is_torn(&self, harm: Harm) -> bool {
        match harm {
            Harm::Cut(at) => self.sound(harm) < at,
            Harm::Torn(_) => true,
            Harm::Flipped(_) => true,
        }
    }

    /// Does it to the copy of the file in another data folder.
    pub fn harm(&self, harm: Harm, data: &Path, chance: &mut Chance) {
        let file = data.join("outbox").join(self.file.file_name().unwrap());
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
            Harm::Flipped(at) => bytes[at] ^= 1 << (chance.number() % 8),
        }
        std::fs::write(file, bytes).unwrap();
    }

    /// Is the copy in a data folder still as long as the original?
    pub fn is_untouched(&self, data: &Path) -> bool {
        let file = data.join("outbox").join(self.file.file_name().unwrap());
        std::fs::metadata(file).unwrap().len() == self.bytes.len() as u64
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
