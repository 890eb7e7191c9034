//! What bills come packed in: zip, gzip, or nothing; and their encodings.
//!
//! Claims: nothing is written to a disk, so a name in an archive leads nowhere; one that would lead out of a folder is refused all
//! the same; no more than [`MOST_BYTES`] are ever unpacked, whatever an archive says of itself.

use super::{BillFault, MOST_BYTES};
use encoding_rs::GB18030;
use std::io::{Cursor, Read};

/// The most files of an archive.
const MOST_FILES: usize = 16;

/// A file of an archive.
pub(super) struct Packed {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Reads to the end, but not further than there is room.
fn read_all(from: impl Read, room: usize) -> Result<Vec<u8>, BillFault> {
    let mut bytes = Vec::new();
    let most = u64::try_from(room).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| BillFault::whole(format!("the file is damaged: {error}")))?;
    match bytes.len() > room {
        true => Err(BillFault::whole(format!("unpacked it is larger than {MOST_BYTES} bytes"))),
        false => Ok(bytes),
    }
}

/// A plain file as it is, or what is packed by gzip.
pub(super) fn plain(bytes: &[u8]) -> Result<Vec<u8>, BillFault> {
    match bytes.starts_with(&[0x1f, 0x8b]) {
        true => read_all(flate2::read::MultiGzDecoder::new(bytes), MOST_BYTES),
        false => read_all(bytes, MOST_BYTES),
    }
}

/// The files of a zip archive.
pub(super) fn zip(bytes: &[u8]) -> Result<Vec<Packed>, BillFault> {
    let damaged =
        |error: zip::result::ZipError| BillFault::whole(format!("the zip file is damaged: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    if archive.len() > MOST_FILES {
        return Err(BillFault::whole(format!("the zip file holds more than {MOST_FILES} files")));
    }
    let (mut files, mut room) = (Vec::new(), MOST_BYTES);
    for at in 0..archive.len() {
        let file = archive.by_index(at).map_err(damaged)?;
        if file.is_dir() {
            continue;
        }
        // Alipay writes names in GBK and does not say so; the library would read them as another code page.
        let name = text(file.name_raw())?;
        if name.starts_with('/') || name.contains(['\\', '\0', ':']) || name.split('/').any(|it| it == "..") {
            return Err(BillFault::whole(format!(
                "the zip file holds the name {name:?}, which leads elsewhere"
            )));
        }
        let bytes = read_all(file, room)?;
        room = room.saturating_sub(bytes.len());
        files.push(Packed { name, bytes });
    }
    Ok(files)
}

/// UTF-8 with or without its mark, or GB18030, which holds GBK.
pub(super) fn text(bytes: &[u8]) -> Result<String, BillFault> {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return utf8(rest);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(text.to_owned());
    }
    let text = GB18030.decode_without_bom_handling_and_without_replacement(bytes);
    text.map(Into::into).ok_or_else(|| BillFault::whole("its text is neither GB18030 nor UTF-8"))
}

/// UTF-8 with or without its mark.
pub(super) fn utf8(bytes: &[u8]) -> Result<String, BillFault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|it| **it == b'\n').count() + 1;
            Err(BillFault { line: u32::try_from(line).ok(), what: "its text is not UTF-8".to_owned() })
        }
    }
}
