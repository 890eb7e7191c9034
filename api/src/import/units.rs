//! Units of the old gateways: quota, and what it is in credits.
//!
//! Claims: exact in whole numbers; where a quota is no whole number of nano-credits it is rounded once, half to even, and
//! whoever asked hears of it.

use domain::Credits;
use rust_decimal::Decimal;

/// How much quota is one credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaPerCredit(u32);

impl QuotaPerCredit {
    /// What New API and One API use unless their operator said otherwise.
    pub const DEFAULT: Self = Self(500_000);

    /// Between 1 and four thousand million.
    pub fn try_new(quota: u32) -> Result<Self, String> {
        if quota == 0 { Err("must be above zero".to_owned()) } else { Ok(Self(quota)) }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// A sum of quota in credits, and whether that is exact. `None`: more than an account can hold.
    pub fn credits(self, quota: i64) -> Option<(Credits, bool)> {
        let scaled = i128::from(quota) * i128::from(Credits::NANO_PER_CREDIT);
        let divisor = i128::from(self.0);
        let (floor, rest) = (scaled.div_euclid(divisor), scaled.rem_euclid(divisor));
        let up = match (rest * 2).cmp(&divisor) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => floor.rem_euclid(2),
            std::cmp::Ordering::Greater => 1,
        };
        let nano = i64::try_from(floor + up).ok()?;
        Some((Credits::from_nano(nano), rest == 0))
    }

    /// Sums of any size in credits, for reading only.
    pub fn shown(self, quota: i128) -> String {
        let nano = quota * i128::from(Credits::NANO_PER_CREDIT) / i128::from(self.0);
        nano_text(nano)
    }

    /// What credits are more (or less, below zero) than this quota, exactly, in credits.
    pub fn difference(self, nano: i128, quota: i128) -> String {
        let divisor = i128::from(self.0);
        let over = nano * divisor - quota * i128::from(Credits::NANO_PER_CREDIT);
        match (over % divisor == 0, over / divisor) {
            (true, whole) => nano_text(whole),
            (false, whole) => {
                format!("{} and {}/{divisor} of 0.000000001", nano_text(whole), (over % divisor).abs())
            }
        }
    }

    /// Credits per million tokens of a ratio: the quota that one token takes.
    pub fn per_million(self, ratio: Decimal) -> Option<Decimal> {
        ratio.checked_mul(Decimal::from(1_000_000))?.checked_div(Decimal::from(self.0))
    }
}

/// Nano-credits of any size as credits, without trailing zeros.
pub fn nano_text(nano: i128) -> String {
    let (sign, size) = (if nano < 0 { "-" } else { "" }, nano.unsigned_abs());
    let (whole, rest) = (size / 1_000_000_000, size % 1_000_000_000);
    let decimals = format!("{rest:09}");
    let decimals = decimals.trim_end_matches('0');
    if decimals.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{decimals}") }
}

/// A number as written in SQL or JSON, without a float between: `0.5`, `-3`, `1e-3`.
pub fn decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let read = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text));
    // More digits than a decimal holds: a price of 29 digits is rounded by whoever reads it, not refused.
    read.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_is_credits_to_the_last_unit() {
        let usual = QuotaPerCredit::DEFAULT;
        for (quota, credits) in [
            (0, "0"),
            (1, "0.000002"),
            (-1, "-0.000002"),
            (500_000, "1"),
            (2_147_483_647, "4294.967294"),
            (500_000_000_000_000, "1000000000"),
        ] {
            let (found, exact) = usual.credits(quota).unwrap();
            assert_eq!((found.to_string().as_str(), exact), (credits, true), "{quota}");
            assert_eq!(usual.shown(quota.into()), credits);
        }
        assert_eq!(usual.credits(i64::MAX), None);
        assert!(QuotaPerCredit::try_new(0).is_err());
    }

    #[test]
    fn what_is_no_whole_number_is_rounded_half_to_even_and_told() {
        let thirds = QuotaPerCredit::try_new(3).unwrap();
        assert_eq!(thirds.credits(1).unwrap(), (Credits::from_nano(333_333_333), false));
        assert_eq!(thirds.credits(2).unwrap(), (Credits::from_nano(666_666_667), false));
        assert_eq!(thirds.credits(-1).unwrap(), (Credits::from_nano(-333_333_333), false));
        assert_eq!(thirds.credits(3).unwrap(), (Credits::from_nano(1_000_000_000), true));
        assert_eq!(thirds.difference(333_333_333, 1), "0 and 1/3 of 0.000000001");
        let halves = QuotaPerCredit::try_new(2_000_000_000).unwrap();
        for (quota, nano) in [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2)] {
            assert_eq!(halves.credits(quota).unwrap(), (Credits::from_nano(nano), false), "{quota}");
        }
        assert_eq!(QuotaPerCredit::DEFAULT.difference(2_000, 1), "0");
        assert_eq!(QuotaPerCredit::DEFAULT.difference(0, 1), "-0.000002");
    }

    #[test]
    fn numbers_are_read_as_written() {
        for (text, read) in
            [("0.1", "0.1"), (" 37.5 ", "37.5"), ("1e-3", "0.001"), ("2E2", "200"), ("-3", "-3")]
        {
            assert_eq!(decimal(text).unwrap(), read.parse().unwrap(), "{text}");
        }
        assert_eq!(decimal("0.0357142857142857142857142857142857").unwrap().scale(), 28);
        assert_eq!(decimal("NaN"), None);
    }
}
