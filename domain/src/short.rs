//! Short texts that stay on the stack: amounts and moments go in and out of JSON by the million.
//!
//! Claims: a text is what was put in, in order; what does not fit is cut off, and never fits by the caller's choice of size.

use serde::de::{Deserializer, Error, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// A text of at most `SIZE` ASCII characters.
pub(crate) struct Short<const SIZE: usize> {
    bytes: [u8; SIZE],
    length: usize,
}

impl<const SIZE: usize> Short<SIZE> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; SIZE], length: 0 }
    }

    /// Adds one ASCII character.
    pub(crate) const fn push(&mut self, ascii: u8) {
        if self.length < SIZE {
            self.bytes[self.length] = ascii & 0x7f;
            self.length += 1;
        }
    }

    /// Adds a number, with zeros in front up to `width` digits.
    pub(crate) const fn push_number(&mut self, mut number: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        while number > 0 || digits.len() - first < width {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        while first < digits.len() {
            self.push(digits[first]);
            first += 1;
        }
    }

    /// Takes characters like this one off the end.
    pub(crate) const fn trim_end(&mut self, ascii: u8) {
        while self.length > 0 && self.bytes[self.length - 1] == ascii {
            self.length -= 1;
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        // Always the text: nothing but ASCII was put in.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// Reads what is written as a JSON string, without a copy of it. `fault` tells what is wrong with a text.
pub(crate) fn from_text<'de, T, D>(
    deserializer: D,
    expected: &'static str,
    fault: fn(&str, T::Err) -> String,
) -> Result<T, D::Error>
where
    T: FromStr,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Text { expected, fault, of: PhantomData })
}

struct Text<T: FromStr> {
    expected: &'static str,
    fault: fn(&str, T::Err) -> String,
    of: PhantomData<T>,
}

impl<T: FromStr> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|error| E::custom((self.fault)(text, error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_are_asked_for_and_as_they_need() {
        for (number, width, text) in [
            (0, 0, ""),
            (0, 1, "0"),
            (7, 2, "07"),
            (123, 2, "123"),
            (1, 9, "000000001"),
            (u64::MAX, 1, "18446744073709551615"),
        ] {
            let mut short = Short::<20>::new();
            short.push_number(number, width);
            assert_eq!(short.as_str(), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut short = Short::<3>::new();
        short.push_number(12_345, 1);
        short.push(b'x');
        assert_eq!(short.as_str(), "123");
        short.trim_end(b'3');
        assert_eq!(short.as_str(), "12");
    }
}
