//! Charges and exchanges against arithmetic done by hand, in decimal digits.

use super::fixed;
use crate::price::{PriceList, Prices, Tier};
use crate::{Credits, Currency, Money, Tokens, UnitPrices};
use proptest::prelude::*;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

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

        /// A sixtieth of it in nano-credits, a tie to the even neighbour: long division, digit by digit.
        pub(super) fn sixtieth_nano_half_even(&self) -> Option<i64> {
            let mut digits = self.with_decimals(self.decimals.max(10));
            let mut rest = 0_u32;
            for digit in digits.iter_mut().rev() {
                let value = rest * 10 + u32::from(*digit);
                *digit = u8::try_from(value / 60).unwrap();
                rest = value % 60;
            }
            // What is left only tells that the number lies above its last digit: one more digit says so.
            digits.insert(0, u8::from(rest > 0));
            Self { digits, decimals: self.decimals.max(10) + 1 }.nano_half_even()
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

/// What the design says, word for word: `round_half_even_to_nano((Σ tokens × price ÷ 1e6 + Σ units × price ÷ per + per_call)
/// × multiplier)`. Everything is taken 60 times, and the rounding divides by 60 again.
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
    let times = |count: u64, price: Decimal| read(count.to_string()).times(&read(price.to_string()));
    let unit = |count: u64, price: Option<Decimal>| match (count, price) {
        (0, _) => Some(read("0".to_owned())),
        (_, price) => price.map(|price| times(count, price)),
    };
    let sixty = read("60".to_owned());
    let sum = lines
        .into_iter()
        .map(|(count, price)| times(count, price).shifted(6))
        .chain([
            unit(tokens.characters, prices.per_million_characters)?.shifted(6),
            unit(tokens.images, prices.per_image)?,
        ])
        .fold(read(prices.per_call.to_string()), |sum, line| sum.plus(&line))
        .times(&sixty)
        .plus(&unit(tokens.audio_seconds, prices.per_audio_minute)?);
    sum.times(&read(multiplier.to_string())).sixtieth_nano_half_even()
}

/// Prices that operators write, odd ones, and both ends.
fn price() -> BoxedStrategy<Decimal> {
    // On the heap: dozens of them in one case are more than a test's stack holds.
    prop_oneof![
        4 => (0_i64..100_000).prop_map(|cents| Decimal::new(cents, 3)),
        3 => (0_i64..2_000_000_000).prop_map(|nano| Decimal::new(nano, 9)),
        1 => (0_i64..=1_000_000_000_000_000_000).prop_map(|nano| Decimal::new(nano, 9)),
        1 => Just(Decimal::ZERO),
        1 => Just(Decimal::from(Prices::MAX)),
        1 => (1_i64..100, 0_u32..7).prop_map(|(n, zeros)| Decimal::new(n * 10_i64.pow(zeros), zeros)),
    ]
    .boxed()
}

fn unit_prices() -> impl Strategy<Value = UnitPrices> {
    let units = proptest::array::uniform3(price().prop_map(Some));
    (proptest::array::uniform11(price()), units).prop_map(|(p, units)| UnitPrices {
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
        per_million_characters: units[0],
        per_audio_minute: units[1],
        per_image: units[2],
    })
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 8 => 0_u64..300_000, 1 => 0..10_000_000_000_u64]
}

/// Units of media, in half of the calls.
fn media() -> impl Strategy<Value = [u64; 3]> {
    prop_oneof![
        2 => Just([0; 3]),
        2 => proptest::array::uniform3(prop_oneof![Just(0), 0_u64..100_000, 0..10_000_000_000_u64]),
    ]
}

fn tokens_of(count: impl Strategy<Value = u64>) -> impl Strategy<Value = Tokens> {
    (proptest::array::uniform10(count), media()).prop_map(|(t, media)| Tokens {
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
        characters: media[0],
        audio_seconds: media[1],
        images: media[2],
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
        per_million_characters: None,
        per_audio_minute: None,
        per_image: None,
    })
}

/// The same list with prices for units of media.
fn with_media(list: PriceList, [characters, minute, image]: [Decimal; 3]) -> PriceList {
    PriceList {
        per_million_characters: Some(characters),
        per_audio_minute: Some(minute),
        per_image: Some(image),
        ..list
    }
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
        characters: a.characters + b.characters,
        audio_seconds: a.audio_seconds + b.audio_seconds,
        images: a.images + b.images,
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

    /// Thirds of a nano, alone and beside halves.
    #[test]
    fn seconds_are_sixtieths_of_a_minute(
        seconds in 0_u64..100_000,
        input in prop_oneof![Just(0), 0_u64..100],
        nano in prop_oneof![1_i64..200, 1_i64..1_000_000_000],
        multiplier in multiplier(),
    ) {
        let plain = PriceList::plain(Decimal::new(5, 4), Decimal::ZERO);
        let prices = PriceList { per_audio_minute: Some(Decimal::new(nano, 9)), ..plain }.resolve();
        let tokens = Tokens { input, audio_seconds: seconds, ..Tokens::default() };
        let charge = prices.charge(&tokens, multiplier).ok().map(Credits::nano);
        prop_assert_eq!(charge, by_hand(&prices, &tokens, multiplier));
    }

    /// The formula of the first version of the usage record: what was charged by it must derive for ever.
    #[test]
    fn calls_without_units_of_media_cost_what_they_did_before_there_were_any(
        prices in unit_prices(),
        tokens in prop_oneof![tokens(), tokens_of(any::<u64>())],
        multiplier in multiplier(),
        has_media_prices in any::<bool>(),
    ) {
        let tokens = Tokens { characters: 0, audio_seconds: 0, images: 0, ..tokens };
        let nano = |price: Decimal| (price * Decimal::from(1_000_000_000)).to_i128().unwrap();
        let classes = [
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
        let before = classes
            .into_iter()
            .try_fold(nano(prices.per_call) * 1_000_000, |sum, (count, price)| {
                nano(price).checked_mul(i128::from(count)).and_then(|part| sum.checked_add(part))
            })
            .and_then(|sum| sum.checked_mul((multiplier * Decimal::from(1_000_000)).to_i128().unwrap()))
            .and_then(|exact| Credits::rounded_half_even(exact, 1_000_000_000_000));
        let none = UnitPrices {
            per_million_characters: None, per_audio_minute: None, per_image: None, ..prices.clone()
        };
        let prices = if has_media_prices { prices } else { none };
        prop_assert_eq!(prices.charge(&tokens, multiplier).ok(), before);
    }

    #[test]
    fn any_counts_at_any_prices_give_a_charge_or_an_overflow(
        prices in unit_prices(),
        tokens in tokens_of(any::<u64>()),
        multiplier in multiplier(),
    ) {
        // Nothing times a sum that does not fit is an overflow here and nothing by hand.
        prop_assume!(!multiplier.is_zero() || tokens.audio_seconds == 0);
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
        media in proptest::array::uniform4(proptest::array::uniform3(price())),
        tokens in tokens(),
        spare in (0_u64..1_000, 0_u64..1_000),
        multiplier in multiplier(),
    ) {
        let tiers = tiers.into_iter().zip(&media[1..]);
        let tier = |((above_input, list), media): (_, &_)| Tier { above_input, list: with_media(list, *media) };
        let prices = Prices { base: with_media(base, media[0]), tiers: tiers.map(tier).collect() };
        prop_assert_eq!(prices.validate(), Ok(()));
        let charge = prices.unit_prices(tokens.input_total()).charge(&tokens, multiplier);
        let (input, output) = (tokens.input_total() + spare.0, tokens.output_total() + spare.1);
        let most = Tokens {
            input,
            output,
            characters: tokens.characters,
            audio_seconds: tokens.audio_seconds,
            images: tokens.images + spare.0,
            ..Tokens::default()
        };
        let worst = prices.dearest().worst_case_of(&most, multiplier);
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
