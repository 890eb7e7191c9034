//! Codes of an authenticator app: RFC 6238 with SHA-1, six digits and steps of 30 seconds, which every app knows.
//!
//! For: the arithmetic. May not touch: the database, the clock.
//! Claims: a code fits its own step and no other; which step a code is of is found among one before and one after the
//! present, and never below the step whose code was last accepted.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// How long a code is shown, in seconds.
const STEP_S: i64 = 30;
/// How many steps a clock may be off, either way.
const SKEW: i64 = 1;
/// Bytes of a secret: as many as SHA-1 has, as RFC 4226 asks for.
const SECRET_BYTES: usize = 20;
const DIGITS: usize = 6;

/// A new secret, in base32, as it is sealed and as people type it into an app that cannot see.
pub(super) fn new_secret() -> String {
    BASE32_NOPAD.encode(&rand::random::<[u8; SECRET_BYTES]>())
}

/// The step of a moment, in seconds since 1970.
pub(super) fn step_of(seconds: i64) -> i64 {
    seconds.div_euclid(STEP_S)
}

/// The step that a code is of, if it is near the present one and above the last that was accepted. `None`, too, for what
/// is no code, or a secret that is none.
pub(super) fn find(secret: &str, code: &str, present: i64, last: i64) -> Option<i64> {
    let key = BASE32_NOPAD.decode(secret.as_bytes()).ok()?;
    let mut found = None;
    // All of them are looked at: how long it takes says nothing about which it was.
    for step in present - SKEW..=present + SKEW {
        let fits = bool::from(code_of(&key, step)?.as_bytes().ct_eq(code.as_bytes()));
        if fits && step > last && found.is_none() {
            found = Some(step);
        }
    }
    found
}

/// The code of a step; `None`: there is no step before 1970.
pub(super) fn code_of(key: &[u8], step: i64) -> Option<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).ok()?;
    mac.update(&u64::try_from(step).ok()?.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    // The last four bits say where the four bytes are taken from (RFC 4226, 5.3).
    let at = usize::from(hash.last()? & 0x0f);
    let bytes: [u8; 4] = hash.get(at..at + 4)?.try_into().ok()?;
    let number = (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 1_000_000;
    Some(format!("{number:0DIGITS$}"))
}

/// Does it look like a code of an app?
pub(super) fn is_code(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit())
}

/// What an app reads from a QR code. `label`: whose it is, as the app will show it.
pub(super) fn uri(secret: &str, label: &str) -> String {
    let label: String = label
        .bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    format!(
        "otpauth://totp/NexusRoute:{label}?secret={secret}&issuer=NexusRoute&algorithm=SHA1&digits={DIGITS}&period={STEP_S}"
    )
}

/// The code that an app shows now, for tests of whoever uses one.
#[cfg(test)]
pub(crate) fn shown(secret: &str, seconds: i64) -> String {
    code_of(&BASE32_NOPAD.decode(secret.as_bytes()).unwrap(), step_of(seconds)).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238, appendix B.
    const RFC: &[u8] = b"12345678901234567890";

    #[test]
    fn codes_are_those_of_the_rfc() {
        // Its eight digits, of which six are ours.
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(code_of(RFC, step_of(seconds)).unwrap(), code[2..], "{seconds}");
        }
    }

    #[test]
    fn a_code_fits_one_step_before_and_after_and_never_one_that_was_used() {
        let secret = BASE32_NOPAD.encode(RFC);
        let code = code_of(RFC, 100).unwrap();
        for (present, last, found) in [
            (98, 0, None),
            (99, 0, Some(100)),
            (100, 0, Some(100)),
            (101, 99, Some(100)),
            (101, 100, None),
            (102, 0, None),
        ] {
            assert_eq!(find(&secret, &code, present, last), found, "{present} {last}");
        }
        for wrong in ["", "000000", "0000000", &code[1..], "abcdef"] {
            assert_eq!(find(&secret, wrong, 100, 0).filter(|_| wrong != code), None, "{wrong:?}");
        }
        assert_eq!(find("not base32!", &code, 100, 0), None);
    }

    #[test]
    fn the_uri_is_what_apps_read() {
        assert_eq!(
            uri("GEZDGNBV", "ann@gw.example.org:8443"),
            "otpauth://totp/NexusRoute:ann%40gw.example.org%3A8443?secret=GEZDGNBV&issuer=NexusRoute&algorithm=SHA1&digits=6&period=30"
        );
    }
}
