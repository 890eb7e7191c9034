//! Secrets at rest: providers' keys, sealed with AES-256-GCM under the operator's master key.
//!
//! Claims: a sealed text opens only under the same master key and for the same owner (its id is authenticated along
//! with it), so that a sealed key copied to another provider's row is refused; the master key file is readable by its
//! owner alone.

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{Aead, KeyInit, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use relay::Secret;
use std::{fs, io, io::Write, path::Path};

/// Why a secret cannot be sealed, opened, or the master key not be had.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The master key is not 32 bytes.
    #[error("the master key must be 32 bytes, written as 64 hexadecimal digits or as base64")]
    BadMasterKey,
    /// The master key's file cannot be read or made.
    #[error("the master key file {path} cannot be used")]
    File {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Encryption failed.
    #[error("the secret could not be sealed")]
    Seal,
    /// Damaged, of another owner, or sealed under another master key.
    #[error("a sealed secret does not open; was it sealed under another NEXUSROUTE_MASTER_KEY?")]
    Open,
}

/// Seals and opens.
#[derive(Clone)]
pub struct Sealer(Aes256Gcm);

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

/// The form of a sealed text: another algorithm would be another word.
const FORM: &str = "v1:";
const NONCE_BYTES: usize = 12;

impl Sealer {
    /// With this master key.
    pub fn new(master_key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(master_key.into()))
    }

    /// With the master key as an operator writes it: hexadecimal or base64.
    pub fn try_from_text(text: &str) -> Result<Self, SealError> {
        let text = text.trim();
        let bytes =
            hex::decode(text).or_else(|_| STANDARD.decode(text)).map_err(|_| SealError::BadMasterKey)?;
        let key = bytes.as_slice().try_into().map_err(|_| SealError::BadMasterKey)?;
        Ok(Self::new(key))
    }

    /// With the master key from the environment's value, else from `master.key` in the data folder, made if absent.
    pub fn from_environment_or_file(text: Option<&str>, data_dir: &Path) -> Result<Self, SealError> {
        match text {
            Some(text) => Self::try_from_text(text),
            None => {
                let path = data_dir.join("master.key");
                let file = |source| SealError::File { path: path.display().to_string(), source };
                Self::try_from_text(&read_or_make(&path).map_err(file)?)
            }
        }
    }

    /// Seals a secret for an owner.
    pub fn seal(&self, secret: &Secret, owner: &str) -> Result<String, SealError> {
        // Random nonces are safe for 2^32 seals under one key; an operator makes hundreds.
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: secret.expose().as_bytes(), aad: owner.as_bytes() };
        let sealed = self.0.encrypt(&Nonce::from(nonce), payload).map_err(|_| SealError::Seal)?;
        Ok(format!("{FORM}{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Opens an owner's secret.
    pub fn open(&self, sealed: &str, owner: &str) -> Result<Secret, SealError> {
        let bytes =
            sealed.strip_prefix(FORM).and_then(|text| STANDARD.decode(text).ok()).ok_or(SealError::Open)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Open)?;
        let payload = Payload { msg: sealed, aad: owner.as_bytes() };
        let secret = self.0.decrypt(&Nonce::from(*nonce), payload).map_err(|_| SealError::Open)?;
        String::from_utf8(secret).map(Secret::new).map_err(|_| SealError::Open)
    }
}

/// Reads the file, or makes it with a fresh key. Of two processes that start at once, one makes it and both read it:
/// it is written whole beside its place and linked there only if nobody was faster.
fn read_or_make(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!("master.key.{:016x}", rand::random::<u64>()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(hex::encode(rand::random::<[u8; 32]>()).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_for_its_owner_only() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer.seal(&Secret::new("sk-upstream"), "provider-a").unwrap();
        assert!(!sealed.contains("upstream"));
        assert_eq!(sealer.open(&sealed, "provider-a").unwrap().expose(), "sk-upstream");
        assert!(matches!(sealer.open(&sealed, "provider-b"), Err(SealError::Open)));
        assert!(matches!(Sealer::new(&[8; 32]).open(&sealed, "provider-a"), Err(SealError::Open)));
        assert_ne!(sealed, sealer.seal(&Secret::new("sk-upstream"), "provider-a").unwrap());
    }

    #[test]
    fn an_altered_or_foreign_text_does_not_open() {
        let sealer = Sealer::new(&[7; 32]);
        let mut sealed = sealer.seal(&Secret::new("sk-upstream"), "a").unwrap().into_bytes();
        sealed[10] = if sealed[10] == b'A' { b'B' } else { b'A' };
        for text in [String::from_utf8(sealed).unwrap(), "sk-upstream".into(), "v1:".into(), "v1:AAAA".into()]
        {
            assert!(matches!(sealer.open(&text, "a"), Err(SealError::Open)), "{text}");
        }
    }

    #[test]
    fn a_master_key_is_32_bytes_in_hexadecimal_or_base64() {
        let key = [9_u8; 32];
        for text in [hex::encode(key), STANDARD.encode(key), format!(" {}\n", hex::encode(key))] {
            assert!(Sealer::try_from_text(&text).is_ok(), "{text}");
        }
        for text in ["", "secret", &hex::encode([9; 31]), &STANDARD.encode([9; 33])] {
            assert!(matches!(Sealer::try_from_text(text), Err(SealError::BadMasterKey)), "{text}");
        }
    }

    #[test]
    fn the_master_key_file_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = Sealer::from_environment_or_file(None, folder.path())
            .unwrap()
            .seal(&Secret::new("sk-upstream"), "a")
            .unwrap();
        let again = Sealer::from_environment_or_file(None, folder.path()).unwrap();
        assert_eq!(again.open(&sealed, "a").unwrap().expose(), "sk-upstream");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::MetadataExt::mode(
                &fs::metadata(folder.path().join("master.key")).unwrap(),
            );
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
