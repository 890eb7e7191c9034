//! API keys: `sk-`, 42 random base62 characters and 6 characters of checksum.
//!
//! For: minting a key, telling what may be a key from what cannot before anything is looked up, hashing it.
//! May not touch: storage. The secret is shown once; only its hash and its display form are ever kept.
//! Claims: a minted key passes its own check; a key with one character changed does not. The checksum lets scanners
//! of leaked secrets tell a key from a random word. It is not a defence: anyone can compute it. Keys that were imported from
//! another gateway have none and are found all the same.

use crate::catalogue::Secret;
use sha2::{Digest, Sha256};

const PREFIX: &str = "sk-";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LEN: usize = 42;
const CHECK_LEN: usize = 6;
/// The length of a whole key, in characters.
pub const KEY_LEN: usize = PREFIX.len() + RANDOM_LEN + CHECK_LEN;

/// The shortest and the longest imported key, without `sk-`.
const IMPORTED_LEN_MIN: usize = 20;
const IMPORTED_LEN_MAX: usize = 128;

/// A fresh key.
#[derive(Clone, Debug)]
pub struct MintedKey {
    /// The whole key, to be shown once.
    pub secret: Secret,
    /// Its SHA-256: what is stored and looked up.
    pub hash: [u8; 32],
    /// What its owner recognises it by: `sk-Ab12…wxyz`.
    pub prefix: String,
}

/// A key from the operating system's randomness.
pub fn mint() -> MintedKey {
    mint_from(rand::random())
}

/// The key made of these random bytes.
///
/// They are read as one number, of which the low 42 base62 digits are kept: 250 of the 256 bits. The distribution of
/// the digits is even to within one part in fifty, which costs a fraction of a bit.
pub fn mint_from(random: [u8; 32]) -> MintedKey {
    let mut number = random;
    let mut key = String::with_capacity(KEY_LEN);
    key.push_str(PREFIX);
    key.extend((0..RANDOM_LEN).map(|_| char::from(ALPHABET[divide_by_62(&mut number)])));
    let check = checksum(key.as_bytes());
    key.extend(check.map(char::from));
    MintedKey { hash: hash(&key), prefix: display(&key), secret: Secret::new(key) }
}

/// Divides a big-endian number in place and returns the remainder.
fn divide_by_62(number: &mut [u8; 32]) -> usize {
    let mut rest = 0;
    for byte in number {
        let value = rest * 256 + usize::from(*byte);
        // Never truncates: value is at most 61 × 256 + 255, so the quotient fits a byte.
        *byte = (value / 62) as u8;
        rest = value % 62;
    }
    rest
}

/// Has this text the form and the checksum of a key? Asked before any lookup.
pub fn is_well_formed(key: &str) -> bool {
    let Some((signed, check)) = key.as_bytes().split_last_chunk::<CHECK_LEN>() else { return false };
    key.len() == KEY_LEN
        && key.starts_with(PREFIX)
        && signed[PREFIX.len()..].iter().all(u8::is_ascii_alphanumeric)
        && *check == checksum(signed)
}

/// The hash by which a key is looked up, however it came here: minted by this gateway, or imported from another and in use
/// there without a checksum, with or without `sk-` before it. `None`: it cannot be a key.
pub fn lookup_hash(key: &str) -> Option<[u8; 32]> {
    if is_well_formed(key) {
        return Some(hash(key));
    }
    let bare = key.strip_prefix(PREFIX).unwrap_or(key);
    is_importable(bare).then(|| hash(&format!("{PREFIX}{bare}")))
}

/// May a key of another gateway, as stored there without `sk-`, become one here? Letters, digits and `_`, at least as many as
/// cannot be guessed. It is hashed with `sk-` before it.
pub fn is_importable(bare: &str) -> bool {
    (IMPORTED_LEN_MIN..=IMPORTED_LEN_MAX).contains(&bare.len())
        && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A key that was minted elsewhere, by its bare form.
pub fn imported(bare: &str) -> Option<MintedKey> {
    let key = is_importable(bare).then(|| format!("{PREFIX}{bare}"))?;
    Some(MintedKey { hash: hash(&key), prefix: display(&key), secret: Secret::new(key) })
}

/// The SHA-256 of a whole key. A key has 250 random bits, so a fast hash without salt is enough: there is nothing to
/// guess, and every call pays for it.
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn display(key: &str) -> String {
    format!("{}…{}", &key[..PREFIX.len() + 4], &key[key.len() - 4..])
}

/// The CRC-32 (IEEE) as six base62 digits, high first.
fn checksum(bytes: &[u8]) -> [u8; CHECK_LEN] {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut rest = !crc;
    let mut digits = [0; CHECK_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_has_the_promised_shape() {
        let key = mint_from([7; 32]);
        let secret = key.secret.expose();
        assert_eq!(secret.len(), 51);
        assert_eq!(key.prefix, format!("{}…{}", &secret[..7], &secret[47..]));
        assert!(secret.starts_with("sk-") && secret[3..].bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(hex::encode(key.hash), hex::encode(Sha256::digest(secret)));
        assert!(!format!("{key:?}").contains(secret));
    }

    #[test]
    fn two_keys_differ() {
        assert_ne!(mint().hash, mint().hash);
        assert_ne!(mint_from([0; 32]).hash, mint_from([1; 32]).hash);
    }

    #[test]
    fn the_checksum_is_crc32_in_base62() {
        // CRC-32 of "123456789" is the check value 0xCBF43926 = 3421780262.
        let digits = checksum(b"123456789");
        let value = digits.iter().fold(0_u64, |sum, digit| {
            sum * 62 + ALPHABET.iter().position(|letter| letter == digit).unwrap() as u64
        });
        assert_eq!(value, 0xCBF4_3926);
    }

    #[test]
    fn an_imported_key_is_found_however_it_is_sent() {
        let bare = "Ab".repeat(24);
        let key = imported(&bare).unwrap();
        assert_eq!(key.hash, hash(&format!("sk-{bare}")));
        assert_eq!(key.prefix, "sk-AbAb…AbAb");
        assert_eq!(lookup_hash(&bare), Some(key.hash));
        assert_eq!(lookup_hash(&format!("sk-{bare}")), Some(key.hash));
        let ours = mint_from([3; 32]);
        assert_eq!(lookup_hash(ours.secret.expose()), Some(ours.hash));
        // A channel that is named behind the key is not ours; the rest cannot be a key, or could be guessed.
        for none in [
            &format!("sk-{bare}-7"),
            "",
            "sk-",
            "sk-short",
            &"A".repeat(19),
            &"A".repeat(129),
            "密密密密密密密",
            "with a blank in it and long",
        ] {
            assert_eq!(lookup_hash(none), None, "{none}");
            assert!(imported(none).is_none(), "{none}");
        }
        assert!(imported(&"A".repeat(20)).is_some() && imported(&"A".repeat(128)).is_some());
    }

    #[test]
    fn what_is_not_a_key_is_seen_without_a_lookup() {
        let good = mint_from([9; 32]).secret.expose().to_owned();
        for bad in [
            "",
            "sk-",
            "sk-proj-abc",
            &good[1..],
            &good[..50],
            &format!("{good}0"),
            &good.replace("sk-", "pk-"),
        ] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert!(!is_well_formed(&"密".repeat(17)));
    }

    proptest! {
        #[test]
        fn a_minted_key_passes_and_a_mistyped_one_does_not(
            random: [u8; 32], at in 3..KEY_LEN, letter in 0..62_usize,
        ) {
            let key = mint_from(random).secret.expose().to_owned();
            prop_assert!(is_well_formed(&key));
            let mut typed = key.clone().into_bytes();
            typed[at] = ALPHABET[letter];
            let typed = String::from_utf8(typed).unwrap();
            prop_assert_eq!(is_well_formed(&typed), typed == key);
        }
    }
}
