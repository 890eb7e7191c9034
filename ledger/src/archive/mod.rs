//! Archives: the whole log in one file, outside of the server that holds it, and the way back.
//!
//! For: writing LEDGER, INBOX and AUDIT to a compressed, checksummed file ([`export`]); reading such a file and naming what
//! is damaged ([`verify`]); bringing a log back, message for message to the sequences it had ([`import`]).
//! May not touch: what events mean; SQL.
//! Claims: the same log gives the same content, byte for byte, wherever it stands; a byte that changes and a message that is
//! missing are found and named; an import writes into nothing but empty streams, can be continued where it was
//! interrupted, and is done only when all of it has been read back and compared; memory does not grow with the log.
//!
//! # The format
//!
//! A gzip file. Its content is a row of blocks, each of them three parts: a header, one line of JSON; a body, as many bytes
//! as the header's `size`, and a line feed; and the CRC-32 of header and body with their line feeds, eight hexadecimal
//! digits and a line feed. Headers are written without spaces, their fields in this order:
//!
//! ```text
//! {"kind":"archive","version":1,"size":0}
//! {"kind":"stream","stream":"LEDGER","created":"2026-11-22T10:00:00Z","first":1,"last":2,"size":0}
//! {"kind":"message","sequence":1,"stored_at":"2026-11-22T10:00:00.123456Z","subject":"ledger.account.…","size":412}
//! {"kind":"message","sequence":2,…
//! {"kind":"stream","stream":"INBOX",…
//! {"kind":"stream","stream":"AUDIT",…
//! {"kind":"end","messages":2,"sha256":"…","size":0}
//! ```
//!
//! A message's body is its stored bytes. `created` is the stream's identity, `first` and `last` its extent. `sha256` is that
//! of all content before its own block: the archive's digest, which names the log's content. Messages' headers are not kept:
//! ids for de-duplication and expected sequences have done their work, and an event's own id is in its bytes.

mod export;
mod frame;
mod import;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use export::{Exported, export};
pub use import::{Imported, import};
pub use read::{Fault, Item, Reader, verify};
pub use write::Writer;

use crate::LedgerError;
use crate::log::{Extent, Stream};

/// What can go wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file cannot be read or written.
    #[error("{what}")]
    File {
        /// What was tried, with the file's name.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// It is damaged, or no archive.
    #[error("the archive is damaged: {0}")]
    Damaged(Fault),
    /// It was written by a newer version.
    #[error("the archive has version {0}, and this program reads version {version}", version = frame::VERSION)]
    Newer(u32),
    /// It cannot be done, and why.
    #[error("{0}")]
    Refused(String),
    /// The log says no.
    #[error(transparent)]
    Log(#[from] LedgerError),
}

/// What a stream has in an archive.
pub type Part = (Stream, Extent);

/// The parts in words: `LEDGER 1 to 17, INBOX none, AUDIT 1 to 3`.
pub fn words(parts: &[Part]) -> String {
    let words = parts.iter().map(|(stream, extent)| match extent.messages {
        0 => format!("{stream} none"),
        _ => format!("{stream} {} to {}", extent.first, extent.last),
    });
    words.collect::<Vec<_>>().join(", ")
}
