use super::frame::{Header, VERSION, checksum};
use crate::log::{Extent, RawMessage, Stream};
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::io::{Error, Write};

/// Writes an archive, block by block.
pub struct Writer<W: Write> {
    file: GzEncoder<W>,
    digest: Sha256,
    messages: u64,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    ///
    /// Errors: those of the file, here and in all other functions.
    pub fn begin(file: W) -> Result<Self, Error> {
        let file = GzEncoder::new(file, flate2::Compression::default());
        let mut writer = Self { file, digest: Sha256::new(), messages: 0, block: Vec::new() };
        writer.write(&Header::Archive { version: VERSION, size: 0 }, b"")?;
        Ok(writer)
    }

    /// Begins a stream. Its messages follow.
    pub fn stream(&mut self, stream: Stream, extent: &Extent) -> Result<(), Error> {
        let header = Header::Stream {
            stream: stream.name().to_owned(),
            created: extent.created.clone(),
            first: extent.first,
            last: extent.last,
            size: 0,
        };
        self.write(&header, b"")
    }

    /// The stream's next message.
    pub fn message(&mut self, message: &RawMessage) -> Result<(), Error> {
        self.messages += 1;
        let header = Header::Message {
            sequence: message.sequence,
            stored_at: message.stored_at,
            subject: message.subject.clone(),
            size: u64::try_from(message.data.len()).unwrap_or(u64::MAX),
        };
        self.write(&header, &message.data)
    }

    /// Ends the archive: the file, the number of its messages, and its digest.
    pub fn end(mut self) -> Result<(W, u64, String), Error> {
        let sha256 = hex::encode(self.digest.clone().finalize());
        let end = Header::End { messages: self.messages, sha256: sha256.clone(), size: 0 };
        self.write(&end, b"")?;
        Ok((self.file.finish()?, self.messages, sha256))
    }

    fn write(&mut self, header: &Header, body: &[u8]) -> Result<(), Error> {
        let line = header.line()?;
        self.block.clear();
        self.block.extend_from_slice(body);
        self.block.push(b'\n');
        let checksum = checksum(&line, &self.block);
        for part in [&line, &self.block, &checksum] {
            self.digest.update(part);
            self.file.write_all(part)?;
        }
        Ok(())
    }
}
