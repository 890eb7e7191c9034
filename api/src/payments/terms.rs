//! Terms: in which currencies one may pay, between which bounds, and what a credit costs.
//!
//! May not touch: exchange rates from elsewhere; an operator states them.
//! Claims: an accepted amount has no more decimals than its currency, lies between the bounds, and buys at least one
//! nano-credit.

use crate::config::TopUpConfig;
use domain::money::MoneyError;
use domain::{Credits, Currency, Money};
use rust_decimal::Decimal;
use std::collections::BTreeMap;

/// The longest text that is read as an amount; more digits than the ledger can hold.
const LONGEST_AMOUNT: usize = 40;

/// What an operator offers to payers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    default: Currency,
    by_currency: BTreeMap<Currency, CurrencyTerms>,
    presets: Vec<u32>,
    daily_max: Option<Money>,
    monthly_max: Option<Money>,
}

/// The offer in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrencyTerms {
    /// Units of the currency per credit.
    pub rate: Decimal,
    /// The least that can be paid at once.
    pub min: Money,
    /// The most that can be paid at once.
    pub max: Money,
    /// What is given beside a payment, ascending; the last tier that a payment reaches holds.
    pub bonus: Vec<BonusTier>,
}

/// A bonus for payments of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BonusTier {
    /// The least payment that has it.
    pub from: Money,
    /// How many hundredths of the credits bought are given beside them.
    pub percent: Decimal,
}

/// Why terms, or an amount under them, were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// The amount is no amount.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A text of a length that no amount has.
    #[error("an amount has at most {LONGEST_AMOUNT} characters")]
    TooLong,
    /// Not offered.
    #[error("{currency:?} is not accepted; accepted: {accepted}")]
    Currency {
        /// What was asked.
        currency: String,
        /// Codes, separated by commas.
        accepted: String,
    },
    /// Zero or below.
    #[error("the amount must be above zero")]
    NotPositive,
    /// Below the least.
    #[error("at least {0} must be paid")]
    BelowMin(Money),
    /// Above the most.
    #[error("at most {0} can be paid at once")]
    AboveMax(Money),
    /// Terms that contradict themselves.
    #[error("the top-up terms of {currency} are wrong: {what}")]
    Wrong {
        /// Whose.
        currency: Currency,
        /// What is wrong.
        what: &'static str,
    },
}

impl Terms {
    /// Checks what an operator wrote. Bounds are written in the usual currency; in the others they are worth the same.
    pub fn try_new(config: &TopUpConfig) -> Result<Self, TermsError> {
        let default = Currency::try_new(&config.currency)?;
        let wrong = |currency, what| TermsError::Wrong { currency, what };
        let min = Money::parse(&config.min, default)?;
        let max = Money::parse(&config.max, default)?;
        if min.minor <= 0 || max.minor < min.minor {
            return Err(wrong(default, "the bounds must be above zero and in order"));
        }
        let base = config.rates.get(&config.currency).copied();
        let base = base.ok_or_else(|| wrong(default, "it is the usual currency and has no rate"))?;
        let mut by_currency = BTreeMap::new();
        for (code, rate) in &config.rates {
            let currency = Currency::try_new(code)?;
            let same_worth = |money: Money, round: fn(&Decimal) -> Decimal| {
                if currency == default {
                    return Ok(money);
                }
                let moved = converted(money, base, currency, *rate, round);
                moved.ok_or_else(|| wrong(currency, "the bounds cannot be said in it at this rate"))
            };
            let terms = CurrencyTerms {
                rate: *rate,
                min: same_worth(min, Decimal::ceil)?,
                max: same_worth(max, Decimal::floor)?,
                bonus: config
                    .bonus
                    .iter()
                    .map(|(from, percent)| {
                        let from = Money::parse(&from.to_string(), default)?;
                        Ok(BonusTier { from: same_worth(from, Decimal::ceil)?, percent: *percent })
                    })
                    .collect::<Result<_, TermsError>>()?,
            };
            if !terms.min.to_credits(*rate)?.is_positive() || terms.max.minor < terms.min.minor {
                return Err(wrong(currency, "the least amount buys no credits"));
            }
            terms.max.to_credits(*rate)?;
            by_currency.insert(currency, terms);
        }
        let limit = |text: &str| {
            let limit = Money::parse(text, default)?;
            Ok::<_, TermsError>((limit.minor > 0).then_some(limit))
        };
        let (daily_max, monthly_max) = (limit(&config.daily_max)?, limit(&config.monthly_max)?);
        let terms = Self { default, by_currency, presets: config.presets.clone(), daily_max, monthly_max };
        let (_, usual) = terms.of(None)?;
        if terms.presets.iter().any(|units| usual.accept(&units.to_string()).is_err()) {
            return Err(wrong(default, "a preset is out of bounds"));
        }
        Ok(terms)
    }

    /// The currency that is meant when none is named; that of the presets.
    pub fn default_currency(&self) -> Currency {
        self.default
    }

    /// Amounts to choose from: whole units of the default currency.
    pub fn presets(&self) -> &[u32] {
        &self.presets
    }

    /// The most that one user may top up on a day, in the default currency; `None`: there is no such limit.
    pub fn daily_max(&self) -> Option<Money> {
        self.daily_max
    }

    /// The same in a month.
    pub fn monthly_max(&self) -> Option<Money> {
        self.monthly_max
    }

    /// The same worth in the default currency, rounded up; `None`: its currency is not offered, or the sum does not fit.
    pub fn worth(&self, money: Money) -> Option<Money> {
        if money.currency == self.default {
            return Some(money);
        }
        let rate = |currency| self.by_currency.get(&currency).map(|it| it.rate);
        converted(money, rate(money.currency)?, self.default, rate(self.default)?, Decimal::ceil)
    }

    /// Every currency, by code.
    pub fn currencies(&self) -> impl Iterator<Item = (Currency, &CurrencyTerms)> {
        self.by_currency.iter().map(|(currency, terms)| (*currency, terms))
    }

    /// The terms of a currency; of the default one where none is named.
    pub fn of(&self, code: Option<&str>) -> Result<(Currency, &CurrencyTerms), TermsError> {
        let known = match code {
            None => Some(self.default),
            Some(code) => Currency::try_new(code).ok(),
        };
        let refused = || TermsError::Currency {
            currency: code.unwrap_or_default().chars().take(16).collect(),
            accepted: self.by_currency.keys().map(Currency::code).collect::<Vec<_>>().join(", "),
        };
        known.and_then(|it| Some((it, self.by_currency.get(&it)?))).ok_or_else(refused)
    }
}

/// The amount of another currency that buys as many credits, rounded to its minor unit.
fn converted(
    money: Money,
    rate: Decimal,
    currency: Currency,
    new_rate: Decimal,
    round: fn(&Decimal) -> Decimal,
) -> Option<Money> {
    let unit = |currency: Currency| Decimal::from(10_u64.pow(currency.decimals()));
    let units = Decimal::from(money.minor).checked_div(unit(money.currency))?;
    let minor = units.checked_div(rate)?.checked_mul(new_rate)?.checked_mul(unit(currency))?;
    Some(Money { currency, minor: i64::try_from(round(&minor)).ok()? })
}

impl CurrencyTerms {
    /// Reads an amount such as `"50.00"`; answers it with the credits that it buys.
    pub fn accept(&self, amount: &str) -> Result<(Money, Credits), TermsError> {
        if amount.len() > LONGEST_AMOUNT {
            return Err(TermsError::TooLong);
        }
        let pay = Money::parse(amount, self.min.currency)?;
        if pay.minor <= 0 {
            return Err(TermsError::NotPositive);
        }
        if pay.minor < self.min.minor {
            return Err(TermsError::BelowMin(self.min));
        }
        if pay.minor > self.max.minor {
            return Err(TermsError::AboveMax(self.max));
        }
        Ok((pay, pay.to_credits(self.rate)?))
    }

    /// What is given beside a payment that buys so many credits: rounded down to the nano.
    pub fn bonus_of(&self, pay: Money, credits: Credits) -> Credits {
        let tier = self.bonus.iter().rev().find(|tier| tier.from.minor <= pay.minor);
        let given = tier.and_then(|tier| {
            let nano =
                Decimal::from(credits.nano()).checked_mul(tier.percent)?.checked_div(Decimal::ONE_HUNDRED)?;
            i64::try_from(nano.floor()).ok()
        });
        // One that cannot be counted is none; the terms' own maximum is far below that.
        Credits::from_nano(given.unwrap_or(0).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rates: &[(&str, &str)]) -> TopUpConfig {
        TopUpConfig {
            presets: vec![50, 1000],
            min: "1".into(),
            max: "10000".into(),
            currency: "CNY".into(),
            order_life_ms: 1_800_000,
            poll_seconds: vec![30, 120, 600],
            bonus: vec![(100.into(), 5.into()), (500.into(), Decimal::new(125, 1))],
            daily_max: "0".into(),
            monthly_max: "20000".into(),
            open_orders: 50,
            rates: rates.iter().map(|(code, rate)| ((*code).into(), rate.parse().unwrap())).collect(),
        }
    }

    fn usual() -> Terms {
        Terms::try_new(&config(&[("CNY", "7.2"), ("USD", "1"), ("JPY", "150")])).unwrap()
    }

    #[test]
    fn an_amount_is_accepted_within_its_bounds_and_buys_amount_by_rate() {
        let terms = usual();
        for (currency, amount, credits) in [
            (None, "50.00", "6.944444444"),
            (Some("CNY"), "50", "6.944444444"),
            (None, "1", "0.138888889"),
            (None, "10000.00", "1388.888888889"),
            (Some("USD"), "50.00", "50"),
            (Some("JPY"), "3000", "20"),
        ] {
            let (code, terms) = terms.of(currency).unwrap();
            let (pay, bought) = terms.accept(amount).unwrap();
            assert_eq!(bought.to_string(), credits, "{amount}");
            assert_eq!(pay, Money::parse(amount, code).unwrap());
        }
    }

    #[test]
    fn an_amount_out_of_bounds_or_out_of_shape_is_refused_by_name() {
        let terms = usual();
        let (_, cny) = terms.of(Some("CNY")).unwrap();
        let refused = |amount: &str| cny.accept(amount).unwrap_err();
        assert_eq!(refused("0"), TermsError::NotPositive);
        assert_eq!(refused("-50.00"), TermsError::NotPositive);
        assert_eq!(refused("0.99"), TermsError::BelowMin(cny.min));
        assert_eq!(refused("10000.01"), TermsError::AboveMax(cny.max));
        assert!(matches!(refused("50.001"), TermsError::Money(MoneyError::TooPrecise { .. })));
        for text in ["", "fifty", "5e1", "50,00", "NaN", " 50", "50 ", "0x32", "¥50", "5０"] {
            assert!(matches!(refused(text), TermsError::Money(MoneyError::NotANumber(_))), "{text}");
        }
        assert!(matches!(refused(&"9".repeat(LONGEST_AMOUNT)), TermsError::Money(MoneyError::TooLarge(_))));
        assert_eq!(refused(&"9".repeat(LONGEST_AMOUNT + 1)), TermsError::TooLong);
    }

    #[test]
    fn a_bonus_is_that_of_the_last_tier_reached_and_never_more_than_its_percentage() {
        let terms = usual();
        for (currency, amount, bonus) in [
            ("CNY", "99.99", "0"),
            ("CNY", "100.00", "0.694444444"),
            ("CNY", "499.99", "3.472152777"),
            ("CNY", "500", "8.680555555"),
            // 100 CNY are 13.888… USD: a cent less does not reach it.
            ("USD", "13.88", "0"),
            ("USD", "13.89", "0.6945"),
            ("JPY", "2084", "0.694666666"),
        ] {
            let (_, terms) = terms.of(Some(currency)).unwrap();
            let (pay, bought) = terms.accept(amount).unwrap();
            assert_eq!(terms.bonus_of(pay, bought).to_string(), bonus, "{amount} {currency}");
        }
    }

    #[test]
    fn what_was_paid_in_any_currency_counts_in_the_usual_one_and_is_rounded_up() {
        let terms = usual();
        let money = |amount, code: &str| Money::parse(amount, code.parse().unwrap()).unwrap();
        for (pay, worth) in [
            (money("50.00", "CNY"), "50.00 CNY"),
            (money("10.00", "USD"), "72.00 CNY"),
            (money("1", "JPY"), "0.05 CNY"),
        ] {
            assert_eq!(terms.worth(pay).unwrap().to_string(), worth);
        }
        assert_eq!(terms.worth(money("1.00", "EUR")), None);
        assert_eq!((terms.daily_max(), terms.monthly_max()), (None, Some(money("20000.00", "CNY"))));
    }

    #[test]
    fn bounds_are_worth_the_same_in_every_currency() {
        let terms = usual();
        let bounds =
            |code| terms.of(Some(code)).map(|(_, it)| (it.min.to_string(), it.max.to_string())).unwrap();
        assert_eq!(bounds("CNY"), ("1.00 CNY".into(), "10000.00 CNY".into()));
        assert_eq!(bounds("USD"), ("0.14 USD".into(), "1388.88 USD".into()));
        assert_eq!(bounds("JPY"), ("21 JPY".into(), "208333 JPY".into()));
    }

    #[test]
    fn a_currency_that_is_not_offered_is_refused_with_those_that_are() {
        let refused = usual().of(Some("EUR")).unwrap_err();
        assert_eq!(refused.to_string(), "\"EUR\" is not accepted; accepted: CNY, JPY, USD");
        assert!(usual().of(Some("cny")).is_err());
    }

    #[test]
    fn terms_that_contradict_themselves_are_refused() {
        let good = config(&[("CNY", "7.2")]);
        assert!(Terms::try_new(&good).is_ok());
        for rates in [
            &[("CNY", "0")][..],
            &[("CNY", "-1")],
            &[("USD", "1")],
            &[("CNY", "7.2"), ("dollars", "1")],
            &[("CNY", "7.2"), ("USD", "0")],
            &[("CNY", "100000000000000000")],
        ] {
            assert!(Terms::try_new(&config(rates)).is_err(), "{rates:?}");
        }
        assert!(Terms::try_new(&TopUpConfig { min: "0".into(), ..good.clone() }).is_err());
        assert!(Terms::try_new(&TopUpConfig { max: "0.99".into(), ..good.clone() }).is_err());
        assert!(Terms::try_new(&TopUpConfig { max: "1e9".into(), ..good.clone() }).is_err());
        assert!(Terms::try_new(&TopUpConfig { presets: vec![10_001], ..good.clone() }).is_err());
        assert!(Terms::try_new(&TopUpConfig { presets: vec![0], ..good }).is_err());
    }

    #[test]
    fn the_default_configuration_is_good() {
        assert!(Terms::try_new(&crate::config::Config::default().topup).is_ok());
    }
}
