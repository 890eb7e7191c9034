//! Credits: the unit of the wallet, in whole billionths.
//!
//! Claims: sums are checked; text goes in and out without a float; a text with more than nine decimals is refused,
//! never rounded.

use crate::short::{Short, from_text};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Billionths of a credit ("nano-credits"). Negative only where a direction is meant: an adjustment, a debt, a posting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(i64);

/// Why a text is not an amount of credits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreditsError {
    /// Not of the form `-12.345`.
    #[error("{0:?} is not a decimal number such as \"12.5\"")]
    NotANumber(String),
    /// More than nine decimals.
    #[error("{0:?} has more than nine decimals; the smallest unit is 0.000000001")]
    TooPrecise(String),
    /// Beyond what the ledger can hold.
    #[error("{0:?} is larger than the ledger can hold")]
    TooLarge(String),
}

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Nano-credits in one credit.
    pub const NANO_PER_CREDIT: i64 = 1_000_000_000;

    /// From billionths.
    pub const fn from_nano(nano: i64) -> Self {
        Self(nano)
    }

    /// Billionths.
    pub const fn nano(self) -> i64 {
        self.0
    }

    /// The sum, unless it does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, unless it does not fit.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The amount with the other sign, unless it does not fit.
    pub const fn checked_neg(self) -> Option<Self> {
        match self.0.checked_neg() {
            Some(negated) => Some(Self(negated)),
            None => None,
        }
    }

    /// The sum of all, unless it does not fit.
    pub fn checked_sum(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// `nano ÷ divisor` billionths, a tie going to the even neighbour, unless it does not fit. `divisor` is above zero.
    ///
    /// The one rounding of the ledger: charges and exchanges are exact fractions up to here.
    pub(crate) fn rounded_half_even(nano: i128, divisor: i128) -> Option<Self> {
        let (floor, rest) = (nano.div_euclid(divisor), nano.rem_euclid(divisor));
        let up = match rest.cmp(&(divisor - rest)) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => floor % 2 != 0,
            std::cmp::Ordering::Greater => true,
        };
        i64::try_from(floor + i128::from(up)).ok().map(Self)
    }

    /// Nothing at all. By reference: it says of a field whether it is written.
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// Below zero?
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Above zero?
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }
}

impl Credits {
    /// Exact, without trailing zeros.
    fn text(self) -> Short<21> {
        let mut text = Short::new();
        let nano = self.0.unsigned_abs();
        if self.0 < 0 {
            text.push(b'-');
        }
        text.push_number(nano / 1_000_000_000, 1);
        let rest = nano % 1_000_000_000;
        if rest > 0 {
            text.push(b'.');
            text.push_number(rest, 9);
            text.trim_end(b'0');
        }
        text
    }
}

impl std::fmt::Display for Credits {
    /// Exact, without trailing zeros: `12.5`, `-0.000000001`, `0`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl std::fmt::Debug for Credits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credits({self})")
    }
}

impl std::str::FromStr for Credits {
    type Err = CreditsError;

    fn from_str(text: &str) -> Result<Self, CreditsError> {
        let nano = crate::money::parse_scaled(text, 9).map_err(|error| match error {
            crate::money::ScaledError::NotANumber => CreditsError::NotANumber(text.into()),
            crate::money::ScaledError::TooPrecise => CreditsError::TooPrecise(text.into()),
            crate::money::ScaledError::TooLarge => CreditsError::TooLarge(text.into()),
        })?;
        Ok(Self(nano))
    }
}

impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text().as_str())
    }
}

impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "an amount of credits", |_, error: CreditsError| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for (text, nano) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("-0.5", -500_000_000),
            ("0.000000001", 1),
            ("9223372036.854775807", i64::MAX),
            ("-9223372036.854775808", i64::MIN),
        ] {
            assert_eq!(text.parse::<Credits>(), Ok(Credits(nano)));
            assert_eq!(Credits(nano).to_string(), text);
        }
        assert_eq!("+1.50".parse(), Ok(Credits(1_500_000_000)));
        assert_eq!("-0".parse(), Ok(Credits::ZERO));
        assert_eq!("000000000000000000000000012".parse(), Ok(Credits(12_000_000_000)));
    }

    #[test]
    fn bad_text_is_refused_by_name() {
        for text in ["", "-", ".", "1.", ".5", "1e3", "1,000", "0x1", " 1", "١", "NaN", "--1", "1.2.3"] {
            assert!(matches!(text.parse::<Credits>(), Err(CreditsError::NotANumber(_))), "{text}");
        }
        assert!(matches!("0.0000000001".parse::<Credits>(), Err(CreditsError::TooPrecise(_))));
        assert!(matches!("1.0000000000".parse::<Credits>(), Err(CreditsError::TooPrecise(_))));
        for text in ["9223372036.854775808", "-9223372036.854775809", "99999999999999999999999999"] {
            assert!(matches!(text.parse::<Credits>(), Err(CreditsError::TooLarge(_))), "{text}");
        }
    }

    #[test]
    fn json_is_text_and_a_number_is_refused() {
        assert_eq!(serde_json::to_string(&Credits(12_345_678)).unwrap(), r#""0.012345678""#);
        for json in ["1", "1.5", "0.1e1", "null", r#""1e3""#, r#"" 1""#] {
            assert!(serde_json::from_str::<Credits>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_none() {
        let (most, least, one) = (Credits(i64::MAX), Credits(i64::MIN), Credits(1));
        assert_eq!(most.checked_add(one), None);
        assert_eq!(least.checked_sub(one), None);
        assert_eq!(least.checked_neg(), None);
        assert_eq!(most.checked_neg(), Some(Credits(-i64::MAX)));
        assert_eq!(Credits::checked_sum([most, one, Credits(-1)]), None);
        assert_eq!(Credits::checked_sum([most, Credits(-1), one]), Some(most));
        assert_eq!(Credits::checked_sum([]), Some(Credits::ZERO));
    }

    #[test]
    fn a_tie_goes_to_the_even_neighbour_on_both_sides_of_zero() {
        let table =
            [(4, 0), (5, 0), (6, 1), (14, 1), (15, 2), (16, 2), (24, 2), (25, 2), (26, 3), (35, 4), (30, 3)];
        for (tenths, rounded) in table {
            assert_eq!(Credits::rounded_half_even(tenths, 10), Some(Credits(rounded)), "{tenths}");
            assert_eq!(Credits::rounded_half_even(-tenths, 10), Some(Credits(-rounded)), "-{tenths}");
        }
        assert_eq!(Credits::rounded_half_even(7, 3), Some(Credits(2)));
        assert_eq!(Credits::rounded_half_even(8, 3), Some(Credits(3)));
        assert_eq!(Credits::rounded_half_even(1, i128::MAX), Some(Credits(0)));
        assert_eq!(Credits::rounded_half_even(i128::MAX, i128::MAX), Some(Credits(1)));
        assert_eq!(Credits::rounded_half_even(i128::from(i64::MAX) * 2 + 1, 2), None); // the tie goes up and out
        assert_eq!(Credits::rounded_half_even(i128::from(i64::MIN) * 2 - 1, 2), Some(Credits(i64::MIN)));
        assert_eq!(Credits::rounded_half_even(i128::MIN, 1), None);
    }
}
