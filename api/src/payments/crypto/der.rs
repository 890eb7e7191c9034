//! As much of DER as keys and certificates need: tags, lengths, contents.
//!
//! Claims: no input makes it panic or read beyond its end; what it does not understand is `None`.

/// The tags that are looked for.
pub(super) mod tag {
    pub(in super::super) const INTEGER: u8 = 0x02;
    pub(in super::super) const BIT_STRING: u8 = 0x03;
    pub(in super::super) const OID: u8 = 0x06;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x31;
    /// `[0] EXPLICIT`: a certificate's version.
    pub(in super::super) const VERSION: u8 = 0xa0;
    pub(in super::super) const BOOLEAN: u8 = 0x01;
    pub(in super::super) const OCTET_STRING: u8 = 0x04;
    pub(in super::super) const UTC_TIME: u8 = 0x17;
    pub(in super::super) const GENERALIZED_TIME: u8 = 0x18;
    /// `[3] EXPLICIT`: a certificate's extensions.
    pub(in super::super) const EXTENSIONS: u8 = 0xa3;
}

/// One value: its tag and its contents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) contents: &'a [u8],
}

/// Reads values one after the other.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn next(&mut self) -> Option<Value<'a>> {
        let (tag, rest) = self.0.split_first()?;
        // Tags above 30 take more bytes; nothing here has one.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Value { tag: *tag, contents })
    }

    /// The next value, if it has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|value| value.tag == tag).map(|value| value.contents)
    }

    /// How many bytes have not been read.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// The contents of the one sequence that these bytes are.
pub(super) fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let contents = reader.expect(tag::SEQUENCE)?;
    reader.is_at_end().then_some(contents)
}

/// An object identifier as it is written: `1.2.840.113549.1.1.11`.
pub(super) fn oid(contents: &[u8]) -> Option<String> {
    let mut arcs: Vec<u64> = Vec::new();
    let mut arc = 0_u64;
    for byte in contents {
        arc = arc.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.extend([first, arc - first * 40]);
            } else {
                arcs.push(arc);
            }
            arc = 0;
        }
    }
    Some(arcs.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
}

/// A non-negative integer in decimal, however large.
pub(super) fn decimal(contents: &[u8]) -> String {
    // Digits in base 10, the least first.
    let mut digits: Vec<u8> = vec![0];
    for byte in contents {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let sum = u32::from(*digit) * 256 + carry;
            *digit = u8::try_from(sum % 10).unwrap_or(0);
            carry = sum / 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap_or(0));
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_and_identifiers_are_written_out() {
        assert_eq!(decimal(&[]), "0");
        assert_eq!(decimal(&[0, 1, 0]), "256");
        assert_eq!(decimal(&[0xff; 16]), u128::MAX.to_string());
        let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
        assert_eq!(oid(&rsa).as_deref(), Some("1.2.840.113549.1.1.11"));
        assert_eq!(oid(&[0x55, 4, 3]).as_deref(), Some("2.5.4.3"));
    }

    #[test]
    fn broken_bytes_are_no_values() {
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 2, 0],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x84, 0, 0, 0, 1, 0],
            &[0x1f, 1, 0],
        ] {
            assert!(Reader::new(bad).next().is_none(), "{bad:?}");
        }
        assert!(sequence(&[0x30, 0, 0]).is_none(), "something follows");
    }
}
