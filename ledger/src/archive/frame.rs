//! Blocks: a header, a body and their checksum.

use domain::Moment;
use flate2::Crc;
use serde::{Deserialize, Serialize};

/// The format's version.
pub(super) const VERSION: u32 = 1;
/// No header is longer: a subject is some hundred bytes at most.
pub(super) const LONGEST_HEADER: u64 = 16 * 1024;
/// No message is larger than a server may be configured to take.
pub(super) const LARGEST_BODY: u64 = 64 * 1024 * 1024;

/// A block's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Header {
    Archive { version: u32, size: u64 },
    Stream { stream: String, created: String, first: u64, last: u64, size: u64 },
    Message { sequence: u64, stored_at: Moment, subject: String, size: u64 },
    End { messages: u64, sha256: String, size: u64 },
}

impl Header {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Archive { size, .. }
            | Self::Stream { size, .. }
            | Self::Message { size, .. }
            | Self::End { size, .. } => *size,
        }
    }

    /// The header's line, with its line feed.
    pub(super) fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// The checksum's line, with its line feed. Both parts come with theirs.
pub(super) fn checksum(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(header);
    crc.update(body);
    format!("{:08x}\n", crc.sum()).into_bytes()
}
