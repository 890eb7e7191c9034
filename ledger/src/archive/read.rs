use super::frame::{Header, LARGEST_BODY, LONGEST_HEADER, VERSION, checksum};
use super::{ArchiveError, Part};
use crate::log::{Extent, RawMessage, Stream};
use crate::verify::{Code, Finding, Verifier};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The stream whose part it is in.
    pub stream: Option<Stream>,
    /// The message where it shows.
    pub sequence: Option<u64>,
    /// The byte of the content at which its block begins.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// Are bytes wrong, rather than missing?
    pub is_damage: bool,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.stream, self.sequence) {
            (Some(stream), Some(sequence)) => write!(f, "{stream} message {sequence}")?,
            (Some(stream), None) => write!(f, "{stream}")?,
            (None, _) => f.write_str("archive")?,
        }
        write!(f, " (byte {} of the content): {}", self.offset, self.what)
    }
}

/// What an archive holds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A stream begins.
    Stream(Part),
    /// A message of that stream.
    Message(RawMessage),
    /// The end: the number of messages, and the archive's digest.
    End {
        /// Messages.
        messages: u64,
        /// The digest.
        sha256: String,
    },
}

/// Reads an archive, block by block.
///
/// What is wrong and does not keep the rest from being read is collected ([`Reader::faults`]).
pub struct Reader<R: Read> {
    content: BufReader<MultiGzDecoder<R>>,
    digest: Sha256,
    offset: u64,
    stream: Option<Part>,
    seen: Vec<Part>,
    messages: u64,
    next: u64,
    faults: Vec<Fault>,
    is_over: bool,
}

/// Why the reading of a block ended.
enum Stop {
    /// The file ended.
    Short,
    /// It makes no sense.
    Nonsense(String),
    /// The file or its compression.
    Io(std::io::Error),
}

/// Faults that are kept; an import stops at the first, a verification lists them.
const MOST_FAULTS: usize = 10_000;

impl<R: Read> Reader<R> {
    /// Begins to read.
    pub fn begin(file: R) -> Self {
        Self {
            content: BufReader::with_capacity(256 * 1024, MultiGzDecoder::new(file)),
            digest: Sha256::new(),
            offset: 0,
            stream: None,
            seen: Vec::new(),
            messages: 0,
            next: 0,
            faults: Vec::new(),
            is_over: false,
        }
    }

    /// What was found to be wrong so far, without keeping the rest from being read.
    pub fn faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// The next item; `None` behind the end.
    ///
    /// Errors: [`ArchiveError::Damaged`] where the rest cannot be read, [`ArchiveError::Newer`].
    pub fn next_item(&mut self) -> Result<Option<Item>, ArchiveError> {
        if self.is_over {
            return Ok(None);
        }
        let at = self.offset;
        let before = self.digest.clone();
        let (header, body) = match self.block() {
            Ok(block) => block,
            Err(stop) => {
                self.is_over = true;
                let (what, is_damage) = match stop {
                    Stop::Short => ("the file ends here; its end is missing".to_owned(), false),
                    Stop::Nonsense(what) => (format!("{what}; the rest cannot be read"), true),
                    Stop::Io(error) => (format!("{error}; the rest cannot be read"), true),
                };
                // The block behind the last one that made sense.
                let stream = self.stream.as_ref().filter(|(_, extent)| self.next <= extent.last);
                let sequence = stream.map(|_| self.next);
                return Err(ArchiveError::Damaged(self.fault_at(at, sequence, what, is_damage)));
            }
        };
        self.item(at, before, header, body).map(Some)
    }

    fn item(&mut self, at: u64, before: Sha256, header: Header, body: Bytes) -> Result<Item, ArchiveError> {
        match header {
            Header::Archive { version, .. } => {
                if at > 0 {
                    return Err(self.end_at(at, "an archive begins within an archive"));
                }
                if version != VERSION && self.faults.is_empty() {
                    self.is_over = true;
                    return Err(ArchiveError::Newer(version));
                }
                self.next_item()?.ok_or_else(|| self.end_at(at, "there is nothing behind its beginning"))
            }
            _ if at == 0 => Err(self.end_at(at, "it does not begin as an archive does")),
            Header::Stream { stream, created, first, last, .. } => {
                let known = Stream::named(&stream).filter(|it| self.seen.iter().all(|(seen, _)| seen != it));
                let Some(stream) = known else {
                    return Err(self.end_at(at, &format!("there can be no stream {stream} here")));
                };
                if first == 0 || last < first - 1 || last == u64::MAX {
                    return Err(self.end_at(at, &format!("a stream cannot reach from {first} to {last}")));
                }
                self.end_stream(at);
                let extent = Extent { created, first, last, messages: last + 1 - first };
                (self.next, self.stream) = (first, Some((stream, extent.clone())));
                self.seen.push((stream, extent.clone()));
                Ok(Item::Stream((stream, extent)))
            }
            Header::Message { sequence, stored_at, subject, .. } => {
                if self.stream.is_none() {
                    return Err(self.end_at(at, "a message stands before any stream"));
                }
                self.messages += 1;
                if sequence > self.next {
                    self.missing(at, self.next, sequence - 1);
                } else if sequence < self.next {
                    self.add(at, Some(sequence), "it stands behind later messages".into(), true);
                }
                self.next = sequence.saturating_add(1);
                Ok(Item::Message(RawMessage { sequence, subject, stored_at, data: body }))
            }
            Header::End { messages, sha256, .. } => {
                self.end_stream(at);
                for stream in Stream::ALL {
                    if self.seen.iter().all(|(seen, _)| *seen != stream) {
                        self.add(at, None, format!("stream {stream} is missing"), false);
                    }
                }
                if messages != self.messages {
                    let what = format!("{messages} messages were written, {} are here", self.messages);
                    self.add(at, None, what, false);
                }
                let found = hex::encode(before.finalize());
                if sha256 != found {
                    let what = format!("its content has the digest {found}, and {sha256} was written");
                    self.add(at, None, what, true);
                }
                self.check_nothing_follows()?;
                self.is_over = true;
                Ok(Item::End { messages, sha256 })
            }
        }
    }

    /// A header, and the body that belongs to it.
    fn block(&mut self) -> Result<(Header, Bytes), Stop> {
        let at = self.offset;
        let line = self.line(LONGEST_HEADER)?;
        let header: Header = serde_json::from_slice(&line)
            .map_err(|error| Stop::Nonsense(format!("a block's header is no header: {error}")))?;
        if header.line().ok().as_deref() != Some(&line[..]) {
            return Err(Stop::Nonsense("a block's header is not written as this program writes it".into()));
        }
        let is_empty = !matches!(header, Header::Message { .. });
        if header.size() > LARGEST_BODY || (is_empty && header.size() > 0) {
            return Err(Stop::Nonsense(format!("a body cannot have {} bytes", header.size())));
        }
        let mut body = Vec::new();
        self.content.by_ref().take(header.size() + 1).read_to_end(&mut body).map_err(io)?;
        self.pass(&body);
        if body.len() as u64 != header.size() + 1 {
            return Err(Stop::Short);
        }
        if body.last() != Some(&b'\n') {
            return Err(Stop::Nonsense("a block's body is longer than its header says".into()));
        }
        let written = self.line(16)?;
        if written != checksum(&line, &body) {
            // What its header says of itself is as doubtful as the rest: it is the one behind the last.
            let sequence = match &header {
                Header::Message { .. } => Some(self.next),
                Header::Archive { .. } | Header::Stream { .. } | Header::End { .. } => None,
            };
            let what = "its bytes do not have the checksum that was written with them";
            self.add(at, sequence, what.into(), true);
        }
        body.pop();
        Ok((header, body.into()))
    }

    fn line(&mut self, longest: u64) -> Result<Vec<u8>, Stop> {
        let mut line = Vec::new();
        self.content.by_ref().take(longest).read_until(b'\n', &mut line).map_err(io)?;
        self.pass(&line);
        match line.last() {
            Some(b'\n') => Ok(line),
            _ if (line.len() as u64) < longest => Err(Stop::Short),
            _ => Err(Stop::Nonsense("a line is too long".into())),
        }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.offset += bytes.len() as u64;
    }

    fn end_stream(&mut self, at: u64) {
        let last = self.stream.as_ref().map(|(_, extent)| extent.last);
        if let Some(last) = last {
            if self.next <= last {
                self.missing(at, self.next, last);
            } else if self.next > last + 1 {
                let what = format!("it goes on to message {}, and its header says {last}", self.next - 1);
                self.add(at, None, what, true);
            }
        }
        self.stream = None;
    }

    fn missing(&mut self, at: u64, first: u64, last: u64) {
        let what = match first == last {
            true => format!("message {first} is missing"),
            false => format!("messages {first} to {last} are missing"),
        };
        self.add(at, Some(first), what, false);
    }

    fn check_nothing_follows(&mut self) -> Result<(), ArchiveError> {
        let mut more = [0];
        let what = match self.content.read(&mut more) {
            Ok(0) => return Ok(()),
            Ok(_) => "something follows its end".to_owned(),
            Err(error) => format!("behind its end: {error}"),
        };
        Err(self.end_at(self.offset, &what))
    }

    fn add(&mut self, at: u64, sequence: Option<u64>, what: String, is_damage: bool) {
        if self.faults.len() < MOST_FAULTS {
            let fault = self.fault_at(at, sequence, what, is_damage);
            self.faults.push(fault);
        }
    }

    fn end_at(&mut self, at: u64, what: &str) -> ArchiveError {
        self.is_over = true;
        ArchiveError::Damaged(self.fault_at(at, None, what.to_owned(), true))
    }

    fn fault_at(&self, offset: u64, sequence: Option<u64>, what: String, is_damage: bool) -> Fault {
        Fault { stream: self.stream.as_ref().map(|(stream, _)| *stream), sequence, offset, what, is_damage }
    }
}

fn io(error: std::io::Error) -> Stop {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Stop::Short,
        _ => Stop::Io(error),
    }
}

/// What a look at an archive came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) parts: Vec<Part>,
    pub(super) messages: u64,
    pub(super) digest: String,
}

/// Reads a whole archive and refuses one that is not as it was written.
pub(super) fn check(path: &Path) -> Result<Contents, ArchiveError> {
    let mut reader = open(path)?;
    let mut contents = Contents::default();
    while let Some(item) = reader.next_item()? {
        if let Some(fault) = reader.faults().into_iter().next() {
            return Err(ArchiveError::Damaged(fault));
        }
        match item {
            Item::Stream(part) => contents.parts.push(part),
            Item::Message(_) => {}
            Item::End { messages, sha256 } => (contents.messages, contents.digest) = (messages, sha256),
        }
    }
    Ok(contents)
}

pub(super) fn open(path: &Path) -> Result<Reader<std::fs::File>, ArchiveError> {
    let file = std::fs::File::open(path)
        .map_err(|source| ArchiveError::File { what: format!("cannot open {}", path.display()), source })?;
    Ok(Reader::begin(file))
}

/// Reads a whole archive: its own checksums, sequences and counts, and the events of LEDGER, which go to `verifier` with
/// every fault of the archive. Answers with the archive's parts and its digest, where it could be read to the end.
///
/// Errors: [`ArchiveError::File`] and [`ArchiveError::Newer`]; damage is no error here but a finding.
pub fn verify(path: &Path, verifier: &mut Verifier) -> Result<(Vec<Part>, Option<String>), ArchiveError> {
    verify_reader(&mut open(path)?, verifier)
}

pub(super) fn verify_reader<R: Read>(
    reader: &mut Reader<R>,
    verifier: &mut Verifier,
) -> Result<(Vec<Part>, Option<String>), ArchiveError> {
    let (mut parts, mut digest): (Vec<Part>, _) = (Vec::new(), None);
    loop {
        let item = match reader.next_item() {
            Ok(item) => item,
            Err(ArchiveError::Damaged(fault)) => {
                reader.faults().into_iter().for_each(|fault| verifier.add(finding(fault)));
                verifier.add(finding(fault));
                break;
            }
            Err(error) => return Err(error),
        };
        reader.faults().into_iter().for_each(|fault| verifier.add(finding(fault)));
        match item {
            None => break,
            Some(Item::Stream(part)) => parts.push(part),
            Some(Item::Message(message)) => {
                if parts.last().is_some_and(|(stream, _)| *stream == Stream::Ledger) {
                    verifier.take(&message);
                }
            }
            Some(Item::End { sha256, .. }) => digest = Some(sha256),
        }
    }
    Ok((parts, digest))
}

fn finding(fault: Fault) -> Finding {
    Finding {
        code: if fault.is_damage { Code::ArchiveDamaged } else { Code::ArchiveIncomplete },
        sequence: fault.sequence,
        subject: fault.stream.map_or("archive", Stream::name).to_owned(),
        sentence: format!("byte {} of the archive's content: {}", fault.offset, fault.what),
    }
}
