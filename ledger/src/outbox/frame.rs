//! Frames: how one payload stands in a segment, and how a damaged one is told from a whole one.
//!
//! | bytes | what (integers little-endian) |
//! |---|---|
//! | 4 | magic; two of its bytes never occur in UTF-8, so that no payload can contain one |
//! | 4 | CRC-32 of all that follows |
//! | 4 | length of the payload |
//! | 8 | the frame's number, counted without holes through all segments |
//! | 8 | how many bytes of this segment were known to be on disk when the frame was written |
//! | … | payload, JSON |
//!
//! Claims: a frame with any byte changed is not read; what a frame says to be on disk was flushed before it was written.

use super::OutboxError;
use serde::Serialize;

const MAGIC: [u8; 4] = [0xff, b'N', b'R', 0xfe];

/// Bytes before the payload.
pub(super) const HEADER: usize = 28;

/// A frame being made: the payload is written first, before any lock is held, and the header when its turn has come.
pub(super) struct Draft {
    bytes: Vec<u8>,
}

impl Draft {
    pub(super) fn of(payload: &impl Serialize) -> Result<Self, OutboxError> {
        let mut bytes = Self::empty();
        serde_json::to_writer(&mut bytes, payload)
            .map_err(|error| OutboxError::Unwritable { why: error.to_string() })?;
        Self::around(bytes)
    }

    /// Of a payload in parts that are written already.
    pub(super) fn of_parts(parts: [&[u8]; 3]) -> Result<Self, OutboxError> {
        let mut bytes = Self::empty();
        for part in parts {
            bytes.extend_from_slice(part);
        }
        Self::around(bytes)
    }

    fn empty() -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2048);
        bytes.resize(HEADER, 0);
        bytes
    }

    fn around(mut bytes: Vec<u8>) -> Result<Self, OutboxError> {
        let Ok(length) = u32::try_from(bytes.len() - HEADER) else {
            return Err(OutboxError::Unwritable { why: format!("{} bytes are too many", bytes.len()) });
        };
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        Ok(Self { bytes })
    }

    /// Length of the whole frame, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Completes the frame.
    pub(super) fn sealed(&mut self, number: u64, durable: u64) -> &[u8] {
        self.bytes[12..20].copy_from_slice(&number.to_le_bytes());
        self.bytes[20..28].copy_from_slice(&durable.to_le_bytes());
        let crc = crc32fast::hash(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

/// A whole frame found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) number: u64,
    pub(super) durable: u64,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    /// Length of the whole frame, in bytes.
    pub(super) fn len(&self) -> usize {
        HEADER + self.payload.len()
    }
}

/// The frame that begins at `offset`, if a whole one does.
pub(super) fn at(segment: &[u8], offset: usize) -> Option<Frame<'_>> {
    let bytes = segment.get(offset..)?;
    if bytes.get(0..4)? != MAGIC {
        return None;
    }
    let length = usize::try_from(u32_at(bytes, 8)?).ok()?;
    let payload = bytes.get(HEADER..)?.get(..length)?;
    if crc32fast::hash(bytes.get(8..HEADER + length)?) != u32_at(bytes, 4)? {
        return None;
    }
    Some(Frame { number: u64_at(bytes, 12)?, durable: u64_at(bytes, 20)?, payload })
}

/// How far a segment was on disk according to the whole frames behind `offset`, where none begins.
pub(super) fn durable_behind(segment: &[u8], mut offset: usize) -> u64 {
    let mut durable = 0;
    while offset < segment.len() {
        match at(segment, offset) {
            Some(frame) => {
                durable = durable.max(frame.durable);
                offset += frame.len();
            }
            None => offset += 1,
        }
    }
    durable
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(offset..offset + 8)?.try_into().ok()?))
}
