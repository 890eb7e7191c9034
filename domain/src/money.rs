//! Money: what a payer paid, in integer minor units of a currency.
//!
//! Claims: never a float, never mixed currencies; turning money into credits rounds once, half to even, to the nano.

use crate::credits::Credits;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// An ISO 4217 code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// An amount of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Which currency.
    pub currency: Currency,
    /// Minor units (fen, cents); how many make one unit is [`Currency::decimals`].
    pub minor: i64,
}

/// Why an amount of money was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three capital letters.
    #[error("{0:?} is not an ISO 4217 currency code such as CNY")]
    Currency(String),
    /// Not a decimal number.
    #[error("{0:?} is not a decimal number such as \"50.00\"")]
    NotANumber(String),
    /// More decimals than the currency has.
    #[error("{text:?} has more decimals than {currency} has")]
    TooPrecise {
        /// What was sent.
        text: String,
        /// The currency.
        currency: Currency,
    },
    /// Does not fit.
    #[error("{0:?} is too large")]
    TooLarge(String),
    /// A rate of zero or below, or with more than nine decimals.
    #[error("an exchange rate must be above zero and have at most nine decimals")]
    Rate,
}

impl Currency {
    /// Checks and wraps a code.
    pub fn try_new(code: &str) -> Result<Self, MoneyError> {
        match code.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|letter| letter.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(MoneyError::Currency(code.into())),
        }
    }

    /// The code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }

    /// Digits after the point (ISO 4217's minor unit): 2 but for the listed exceptions.
    pub fn decimals(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF"
            | b"UGX" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, MoneyError> {
        Self::try_new(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().to_owned()
    }
}

impl std::str::FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        Self::try_new(code)
    }
}

impl std::fmt::Display for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::fmt::Debug for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl Money {
    /// Reads a decimal such as `"50.00"`; refuses more decimals than the currency has.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let minor = parse_scaled(text, currency.decimals()).map_err(|error| match error {
            ScaledError::NotANumber => MoneyError::NotANumber(text.into()),
            ScaledError::TooPrecise => MoneyError::TooPrecise { text: text.into(), currency },
            ScaledError::TooLarge => MoneyError::TooLarge(text.into()),
        })?;
        Ok(Self { currency, minor })
    }

    /// The amount as a decimal, with all of the currency's decimals: `50.00`.
    pub fn amount(self) -> String {
        let decimals = self.currency.decimals();
        let unit = 10_u64.pow(decimals);
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        match decimals {
            0 => format!("{sign}{minor}"),
            _ => format!("{sign}{}.{:0width$}", minor / unit, minor % unit, width = decimals as usize),
        }
    }

    /// The credits that this buys at `rate` units of the currency per credit.
    ///
    /// Rounds half to even to the nano: the one rounding of a top-up.
    pub fn to_credits(self, rate: Decimal) -> Result<Credits, MoneyError> {
        let rate = rate.normalize();
        if rate <= Decimal::ZERO || rate.scale() > 9 {
            return Err(MoneyError::Rate);
        }
        // minor ÷ 10^decimals ÷ rate as one fraction of integers: a decimal quotient would be rounded at its 28th digit
        // first, and again to the nano.
        let divisor = rate.mantissa().checked_mul(10_i128.pow(self.currency.decimals()));
        i128::from(self.minor)
            .checked_mul(i128::from(Credits::NANO_PER_CREDIT))
            .and_then(|nano| nano.checked_mul(10_i128.pow(rate.scale())))
            .and_then(|nano| Credits::rounded_half_even(nano, divisor?))
            .ok_or_else(|| MoneyError::TooLarge(self.amount()))
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.amount(), self.currency)
    }
}

/// Why a text is not a scaled integer.
pub(crate) enum ScaledError {
    NotANumber,
    TooPrecise,
    TooLarge,
}

/// Reads `[+-]digits[.digits]` as an integer scaled by `10^decimals`. No exponent, no separators, no rounding.
pub(crate) fn parse_scaled(text: &str, decimals: u32) -> Result<i64, ScaledError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return Err(ScaledError::NotANumber),
        Some(parts) => parts,
        None => (digits, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(ScaledError::NotANumber);
    }
    let scale = decimals as usize;
    if fraction.len() > scale {
        return Err(ScaledError::TooPrecise);
    }
    let padding = std::iter::repeat_n(b'0', scale - fraction.len());
    let sign = if negative { -1 } else { 1 };
    whole
        .bytes()
        .chain(fraction.bytes())
        .chain(padding)
        .try_fold(0_i64, |sum, digit| sum.checked_mul(10)?.checked_add(sign * i64::from(digit - b'0')))
        .ok_or(ScaledError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cny(text: &str) -> Money {
        Money::parse(text, Currency::try_new("CNY").unwrap()).unwrap()
    }

    #[test]
    fn money_knows_its_decimals() {
        assert_eq!(cny("50").minor, 5000);
        assert_eq!(cny("50.00").amount(), "50.00");
        assert_eq!(cny("-0.05").amount(), "-0.05");
        let jpy = Currency::try_new("JPY").unwrap();
        assert_eq!(Money::parse("500", jpy).unwrap().amount(), "500");
        assert!(matches!(Money::parse("500.5", jpy), Err(MoneyError::TooPrecise { .. })));
        assert!(matches!(
            Money::parse("0.001", Currency::try_new("CNY").unwrap()),
            Err(MoneyError::TooPrecise { .. })
        ));
        for code in ["", "cny", "CN", "CNYY", "C1Y", "C Y", "ÄB"] {
            assert_eq!(Currency::try_new(code), Err(MoneyError::Currency(code.into())));
        }
    }

    #[test]
    fn bad_amounts_are_refused_by_name() {
        let parse = |text: &str| Money::parse(text, Currency::try_new("KWD").unwrap());
        assert_eq!(parse("1.234").map(|money| money.minor), Ok(1234));
        assert!(matches!(parse("1.2345"), Err(MoneyError::TooPrecise { .. })));
        for text in ["", "-", "1.", ".5", "1e3", "1,000", "50 CNY", "½", "１"] {
            assert!(matches!(parse(text), Err(MoneyError::NotANumber(_))), "{text}");
        }
        assert!(matches!(parse("9223372036854775.808"), Err(MoneyError::TooLarge(_))));
        assert_eq!(parse("-9223372036854775.808").map(|money| money.minor), Ok(i64::MIN));
        assert_eq!(parse("-9223372036854775.808").map(Money::amount), Ok("-9223372036854775.808".into()));
    }

    #[test]
    fn json_holds_minor_units_and_the_code() {
        assert_eq!(serde_json::to_string(&cny("50.00")).unwrap(), r#"{"currency":"CNY","minor":5000}"#);
        for json in
            [r#"{"currency":"cny","minor":5000}"#, r#"{"currency":"CNY","minor":50.5}"#, r#"{"minor":1}"#]
        {
            assert!(serde_json::from_str::<Money>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn an_exchange_is_not_rounded_on_the_way() {
        // 225309248779934816 and a half plus 3e-12 nanos. A quotient of 28 digits would be the half itself, and then the
        // even number below.
        let yen = Money { currency: Currency::try_new("JPY").unwrap(), minor: 33_824_203_254 };
        let rate = "150.123456703".parse().unwrap();
        assert_eq!(yen.to_credits(rate).map(Credits::nano), Ok(225_309_248_779_934_817));
    }

    #[test]
    fn an_exchange_works_at_both_ends_of_what_a_rate_may_be() {
        let rate = |text: &str| text.parse::<Decimal>().unwrap();
        assert_eq!(cny("0.01").to_credits(rate("0.000000001")).unwrap().to_string(), "10000000");
        assert_eq!(cny("0.01").to_credits(rate("79228162514264337593543950335")).unwrap(), Credits::ZERO);
        assert_eq!(cny("-50.00").to_credits(rate("7.2")).unwrap().to_string(), "-6.944444444");
        assert_eq!(cny("0.01").to_credits(rate("7.20000000000000")).unwrap().nano(), 1_388_889);
        for bad in ["0", "-7.2", "7.2000000001", "0.0000000000000000000000000001"] {
            assert_eq!(cny("1").to_credits(rate(bad)), Err(MoneyError::Rate), "{bad}");
        }
        let most = Money { minor: i64::MAX, ..cny("1") };
        assert!(matches!(most.to_credits(rate("0.000000001")), Err(MoneyError::TooLarge(_))));
        assert!(matches!(most.to_credits(rate("9999999.9")), Err(MoneyError::TooLarge(_))));
        assert_eq!(most.to_credits(rate("10000000")).map(Credits::nano), Ok(9_223_372_036_854_775_807));
    }

    #[test]
    fn credits_round_half_to_even_to_the_nano() {
        let rate = |text: &str| text.parse::<Decimal>().unwrap();
        assert_eq!(cny("50.00").to_credits(rate("7.2")).unwrap().to_string(), "6.944444444");
        assert_eq!(cny("50.00").to_credits(rate("1")).unwrap().to_string(), "50");
        assert_eq!(cny("0.01").to_credits(rate("4000000")).unwrap().nano(), 2); // 2.5 goes to the even 2
        assert_eq!(cny("0.03").to_credits(rate("20000000")).unwrap().nano(), 2); // 1.5 goes to the even 2
        assert_eq!(cny("1").to_credits(rate("0")), Err(MoneyError::Rate));
        assert!(cny("92233720368547758.07").to_credits(rate("1")).is_err());
    }
}
