//! Charges and exchanges against arithmetic done by hand, in decimal digits.

use super::fixed;
use crate::price::{PriceList, Prices, Tier};
use crate::{Credits, Currency, Money, Tokens, UnitPrices};
use proptest::prelude::*;
use rust_decimal::Decimal;

/// Schoolbook arithmetic on decimal digits, the lowest first: slow, exact, and nothing in common with the code.
mod schoolbook {
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(super) struct Number {
        digits: Vec<u8>,
        decimals: usize,
    }

    impl Number {
        pub(super) fn read(text: &str) -> Self {
            let decimals = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let digits = text.bytes().rev().filter(|byte| *byte != b'.').map(|byte| byte - b'0').collect();
            Self { digits, decimals }
        }

        pub(super) fn times(&self, other: &Self) -> Self {
            let mut sums = vec![0_u32; self.digits.len() + other.digits.len()];
            for (i, a) in self.digits.iter().enumerate() {
                for (j, b) in other.digits.iter().enumerate() {
                    sums[i + j] += u32::from(*a) * u32::from(*b);
                }
            }
            Self { digits: carried(&sums), decimals: self.decimals + other.decimals }
        }

        pub(super) fn plus(&self, other: &Self) -> Self {
            let decimals = self.decimals.max(other.decimals);
            let (a, b) = (self.with_decimals(decimals), other.with_decimals(decimals));
            let digit = |digits: &[u8], i| u32::from(digits.get(i).copied().unwrap_or(0));
            let sums: Vec<_> = (0..=a.len().max(b.len())).map(|i| digit(&a, i) + digit(&b, i)).collect();
            Self { digits: carried(&sums), decimals }
        }

        /// The point moves left.
        pub(super) fn shifted(&self, places: usize) -> Self {
            Self { digits: self.digits.clone(), decimals: self.decimals + places }
        }

        /// Nano-credits, a tie to the even neighbour. `None` if it does not fit the ledger.
        pub(super) fn nano_half_even(&self) -> Option<i64> {
            let digits = self.with_decimals(self.decimals.max(10));
            let (dropped, kept) = digits.split_at(self.decimals.max(10) - 9);
            let (lower, first) = dropped.split_at(dropped.len() - 1);
            let exact_half = first[0] == 5 && lower.iter().all(|digit| *digit == 0);
            let odd = kept.first().is_some_and(|digit| digit % 2 == 1);
            let up = if exact_half { odd } else { first[0] >= 5 };
            let nano = kept
                .iter()
                .rev()
                .try_fold(0_i64, |sum, digit| sum.checked_mul(10)?.checked_add((*digit).into()));
            nano?.checked_add(up.into())
        }

        /// At least 9 digits before as many decimals.
        fn with_decimals(&self, decimals: usize) -> Vec<u8> {
            let mut digits = vec![0; decimals - self.decimals];
            digits.extend(&self.digits);
            digits.resize(digits.len().max(decimals + 1), 0);
            digits
        }
    }

    fn carried(sums: &[u32]) -> Vec<u8> {
        let mut carry = 0;
        let mut digits = Vec::new();
        for sum in sums {
            carry += sum;
            digits.push(u8::try_from(carry % 10).unwrap());
            carry /= 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap());
            carry /= 10;
        }
        digits
    }
}

/// What the design says, word for word: `round_half_even_to_nano((Σ tokens × price ÷ 1e6 + per_call) × multiplier)`.
fn by_hand(prices: &UnitPrices, tokens: &Tokens, multiplier: Decimal) -> Option<i64> {
    let read = |text: String| schoolbook::Number::read(&text);
    let lines = [
        (tokens.input, prices.input),
        (tokens.cache_read, prices.cache_read),
        (tokens.cache_write, prices.cache_write),
        (tokens.cache_write_1h, prices.cache_write_1h),
        (tokens.output, prices.output),
        (tokens.reasoning, prices.reasoning),
        (tokens.image_input, prices.image_input),
        (tokens.image_output, prices.image_output),
        (tokens.audio_input, prices.audio_input),
        (tokens.audio_output, prices.audio_output),
    ];
    let line =
        |(count, price): (u64, Decimal)| read(count.to_string()).times(&read(price.to_string())).shifted(6);
    let sum =
        lines.into_iter().map(line).fold(read(prices.per_call.to_string()), |sum, line| sum.plus(&line));
    sum.times(&read(multiplier.to_string())).nano_half_even()
}

/// Prices that operators write, odd ones, and both ends.
fn price() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        4 => (0_i64..100_000).prop_map(|cents| Decimal::new(cents, 3)),
        3 => (0_i64..2_000_000_000).prop_map(|nano| Decimal::new(nano, 9)),
        1 => (0_i64..=1_000_000_000_000_000_000).prop_map(|nano| Decimal::new(nano, 9)),
        1 => Just(Decimal::ZERO),
        1 => Just(Decimal::from(Prices::MAX)),
        1 => (1_i64..100, 0_u32..7).prop_map(|(n, zeros)| Decimal::new(n * 10_i64.pow(zeros), zeros)),
    ]
}

fn unit_prices() -> impl Strategy<Value = UnitPrices> {
    proptest::array::uniform11(price()).prop_map(|p| UnitPrices {
        input: p[0],
        cache_read: p[1],
        cache_write: p[2],
        cache_write_1h: p[3],
        output: p[4],
        reasoning: p[5],
        image_input: p[6],
        image_output: p[7],
        audio_input: p[8],
        audio_output: p[9],
        per_call: p[10],
    })
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 8 => 0_u64..300_000, 1 => 0..10_000_000_000_u64]
}

fn tokens_of(count: impl Strategy<Value = u64>) -> impl Strategy<Value = Tokens> {
    proptest::array::uniform10(count).prop_map(|t| Tokens {
        input: t[0],
        cache_read: t[1],
        cache_write: t[2],
        cache_write_1h: t[3],
        output: t[4],
        reasoning: t[5],
        image_input: t[6],
        image_output: t[7],
        audio_input: t[8],
        audio_output: t[9],
    })
}

fn tokens() -> impl Strategy<Value = Tokens> {
    tokens_of(count())
}

fn multiplier() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        3 => Just(Decimal::ONE),
        2 => (0_i64..3_000).prop_map(|thousandths| Decimal::new(thousandths, 3)),
        1 => (0_i64..=1_000_000_000).prop_map(|millionths| Decimal::new(millionths, 6)),
    ]
}

fn price_list() -> impl Strategy<Value = PriceList> {
    let optional = || proptest::option::of(price());
    (price(), price(), proptest::array::uniform9(optional())).prop_map(|(input, output, rest)| PriceList {
        input,
        output,
        cache_read: rest[0],
        cache_write: rest[1],
        cache_write_1h: rest[2],
        reasoning: rest[3],
        image_input: rest[4],
        image_output: rest[5],
        audio_input: rest[6],
        audio_output: rest[7],
        per_call: rest[8],
    })
}

fn plus(a: Tokens, b: Tokens) -> Tokens {
    Tokens {
        input: a.input + b.input,
        cache_read: a.cache_read + b.cache_read,
        cache_write: a.cache_write + b.cache_write,
        cache_write_1h: a.cache_write_1h + b.cache_write_1h,
        output: a.output + b.output,
        reasoning: a.reasoning + b.reasoning,
        image_input: a.image_input + b.image_input,
        image_output: a.image_output + b.image_output,
        audio_input: a.audio_input + b.audio_input,
        audio_output: a.audio_output + b.audio_output,
    }
}

/// An overflow is dearer than any charge.
fn or_too_much<E>(charge: Result<Credits, E>) -> i128 {
    charge.map_or(i128::MAX, |credits| credits.nano().into())
}

#[test]
fn the_schoolbook_knows_its_own_tables() {
    let read = schoolbook::Number::read;
    for (text, nano) in [
        ("0", 0),
        ("1.5", 1_500_000_000),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0.0000000025", 2),
        ("0.00000000250000001", 3),
        ("0.00000000249999999", 2),
    ] {
        assert_eq!(read(text).nano_half_even(), Some(nano), "{text}");
    }
    assert_eq!(read("12.5").times(&read("0.8")).plus(&read("99")).nano_half_even(), Some(109_000_000_000));
    assert_eq!(read("3").shifted(6).nano_half_even(), Some(3_000));
    assert_eq!(read("9223372036.854775807").nano_half_even(), Some(i64::MAX));
    assert_eq!(read("9223372036.854775808").nano_half_even(), None);
}

proptest! {
    #![proptest_config(fixed(500))]

    #[test]
    fn a_charge_is_what_it_is_by_hand(prices in unit_prices(), tokens in tokens(), multiplier in multiplier()) {
        let charge = prices.charge(&tokens, multiplier).ok().map(Credits::nano);
        prop_assert_eq!(charge, by_hand(&prices, &tokens, multiplier));
    }

    /// Half a nano per token and simple multipliers: every other charge is a tie.
    #[test]
    fn ties_go_to_the_even_neighbour(
        count in 0_u64..1_000_000_000_000,
        thousandths in prop_oneof![proptest::sample::select(vec![200, 500, 600, 1_000, 3_000]), 0_i64..4_000],
    ) {
        let prices = PriceList::plain(Decimal::new(5, 4), Decimal::ZERO).resolve();
        let tokens = Tokens { input: count, ..Tokens::default() };
        let multiplier = Decimal::new(thousandths, 3);
        let charge = prices.charge(&tokens, multiplier).ok().map(Credits::nano);
        prop_assert_eq!(charge, by_hand(&prices, &tokens, multiplier));
    }

    #[test]
    fn any_counts_at_any_prices_give_a_charge_or_an_overflow(
        prices in unit_prices(),
        tokens in tokens_of(any::<u64>()),
        multiplier in multiplier(),
    ) {
        let charge = prices.charge(&tokens, multiplier).ok().map(Credits::nano);
        prop_assert_eq!(charge, by_hand(&prices, &tokens, multiplier));
    }

    #[test]
    fn more_tokens_never_cost_less(
        prices in unit_prices(),
        some in tokens(),
        more in tokens(),
        multiplier in multiplier(),
    ) {
        let less = or_too_much(prices.charge(&some, multiplier));
        prop_assert!(less <= or_too_much(prices.charge(&plus(some, more), multiplier)));
        prop_assert!(less >= 0);
    }

    #[test]
    fn a_call_never_costs_more_than_its_worst_case(
        base in price_list(),
        tiers in proptest::collection::btree_map(1_u64..400_000, price_list(), 0..3),
        tokens in tokens(),
        spare in (0_u64..1_000, 0_u64..1_000),
        multiplier in multiplier(),
    ) {
        let tiers = tiers.into_iter().map(|(above_input, list)| Tier { above_input, list }).collect();
        let prices = Prices { base, tiers };
        prop_assert_eq!(prices.validate(), Ok(()));
        let charge = prices.unit_prices(tokens.input_total()).charge(&tokens, multiplier);
        let (input, output) = (tokens.input_total() + spare.0, tokens.output_total() + spare.1);
        let worst = prices.dearest().worst_case(input, output, multiplier);
        prop_assert!(or_too_much(charge.clone()) <= or_too_much(worst.clone()), "{:?} above {:?}", charge, worst);
    }

    /// Where only plain tokens are used the worst case is not a nano too high either: nobody is refused for nothing.
    #[test]
    fn the_worst_case_of_plain_prices_is_exact(
        input in price(), output in price(), counts in (count(), count()), multiplier in multiplier(),
    ) {
        let prices = PriceList::plain(input, output).resolve();
        let tokens = Tokens { input: counts.0, output: counts.1, ..Tokens::default() };
        prop_assert_eq!(prices.worst_case(counts.0, counts.1, multiplier), prices.charge(&tokens, multiplier));
    }

    #[test]
    fn prices_survive_their_json(base in price_list(), tier in price_list(), above_input in 1_u64..1_000_000) {
        let prices = Prices { base, tiers: vec![Tier { above_input, list: tier }] };
        let json = serde_json::to_string(&prices).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Prices>(&json).unwrap(), &prices);
        let resolved = prices.dearest();
        let json = serde_json::to_string(&resolved).unwrap();
        prop_assert_eq!(serde_json::from_str::<UnitPrices>(&json).unwrap(), resolved);
    }

    /// Checked by multiplying back: credits × rate is within half a nano of the money, and a tie is at an even neighbour.
    #[test]
    fn an_exchange_is_rounded_once(
        minor in prop_oneof![-10_000_000_i64..1_000_000_000, any::<i64>()],
        rate_nano in prop_oneof![
            (1_i64..100_000).prop_map(|thousandths| thousandths * 1_000_000),
            // A rate of millions, at which a minor unit buys a few halves of a nano: ties.
            (1_i64..50).prop_map(|times| times * 4_000_000_000_000_000),
            1_i64..=i64::MAX,
        ],
        currency in prop_oneof![Just("CNY"), Just("JPY"), Just("KWD")],
    ) {
        let money = Money { currency: Currency::try_new(currency).unwrap(), minor };
        let rate = Decimal::new(rate_nano, 9);
        // nano-credits = paid ÷ per_nano, both integers.
        let paid = i128::from(minor) * 1_000_000_000_000_000_000;
        let per_nano = i128::from(rate_nano) * 10_i128.pow(money.currency.decimals());
        match money.to_credits(rate) {
            Ok(credits) => {
                let off = (paid - i128::from(credits.nano()) * per_nano).abs() * 2;
                prop_assert!(off <= per_nano, "{} at {} gave {}", money, rate, credits);
                prop_assert!(off < per_nano || credits.nano() % 2 == 0, "a tie at an odd neighbour");
            }
            Err(error) => prop_assert!((paid / per_nano).abs() >= i128::from(i64::MAX), "{} at {}: {}", money, rate, error),
        }
    }
}
