//! Prices, tokens and charges.
//!
//! A price is credits per one million tokens, per class; every token is in exactly one class.
//! Claims: a charge is computed in exact integers and rounded once, half to even, to the nano; the same tokens and
//! unit prices give the same charge for ever; a sum that does not fit is an error, never a wrong number.

use crate::credits::Credits;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Tokens of one call, each in exactly one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Prompt tokens that were neither read from nor written to a cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub input: u64,
    /// Prompt tokens read from a provider's cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Prompt tokens written to a provider's cache for the usual (5 minutes) time.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// Prompt tokens written to a provider's cache for an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Generated tokens the caller sees.
    #[serde(skip_serializing_if = "is_zero")]
    pub output: u64,
    /// Generated tokens spent on reasoning.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Image tokens in the prompt.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_input: u64,
    /// Generated image tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output: u64,
    /// Audio tokens in the prompt.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input: u64,
    /// Generated audio tokens.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tokens {
    /// All tokens of the prompt, whatever their class: what a tier's threshold is compared with.
    pub fn input_total(&self) -> u64 {
        [
            self.input,
            self.cache_read,
            self.cache_write,
            self.cache_write_1h,
            self.image_input,
            self.audio_input,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// All generated tokens, whatever their class.
    pub fn output_total(&self) -> u64 {
        [self.output, self.reasoning, self.image_output, self.audio_output]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// A model's price list as an operator writes it: credits per one million tokens, absent classes falling back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The list that holds below the first tier's threshold.
    #[serde(flatten)]
    pub base: PriceList,
    /// Dearer (or cheaper) lists for long prompts; thresholds rise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

/// Prices by class. Absent: cache classes and media cost what `input` or `output` does; reasoning costs `output`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceList {
    /// Plain prompt tokens.
    pub input: Decimal,
    /// Visible generated tokens.
    pub output: Decimal,
    /// Tokens read from a cache; absent: `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Decimal>,
    /// Tokens written to a cache; absent: `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Decimal>,
    /// Tokens written to a cache for an hour; absent: as `cache_write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<Decimal>,
    /// Reasoning tokens; absent: `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Decimal>,
    /// Image tokens in the prompt; absent: `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_input: Option<Decimal>,
    /// Generated image tokens; absent: `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_output: Option<Decimal>,
    /// Audio tokens in the prompt; absent: `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<Decimal>,
    /// Generated audio tokens; absent: `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<Decimal>,
    /// Credits per call, whatever its tokens; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_call: Option<Decimal>,
}

/// A list that holds for the whole call once its prompt is longer than the threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)] // a misspelt class would silently cost what `input` does
pub struct Tier {
    /// The list holds for prompts of more than this many tokens.
    pub above_input: u64,
    /// Its prices.
    #[serde(flatten)]
    pub list: PriceList,
}

/// The prices that one call was charged at, every class resolved; kept in the usage record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitPrices {
    /// Credits per million plain prompt tokens.
    pub input: Decimal,
    /// Credits per million tokens read from a cache.
    pub cache_read: Decimal,
    /// Credits per million tokens written to a cache.
    pub cache_write: Decimal,
    /// Credits per million tokens written to a cache for an hour.
    pub cache_write_1h: Decimal,
    /// Credits per million visible generated tokens.
    pub output: Decimal,
    /// Credits per million reasoning tokens.
    pub reasoning: Decimal,
    /// Credits per million image tokens in the prompt.
    pub image_input: Decimal,
    /// Credits per million generated image tokens.
    pub image_output: Decimal,
    /// Credits per million audio tokens in the prompt.
    pub audio_input: Decimal,
    /// Credits per million generated audio tokens.
    pub audio_output: Decimal,
    /// Credits per call.
    pub per_call: Decimal,
}

/// Why a price list or a charge was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Below zero.
    #[error("the price of {class} must not be negative")]
    Negative {
        /// Which class.
        class: &'static str,
    },
    /// More than nine decimals.
    #[error("the price of {class} has more than nine decimals")]
    TooPrecise {
        /// Which class.
        class: &'static str,
    },
    /// Above [`Prices::MAX`].
    #[error("the price of {class} is above {}", Prices::MAX)]
    TooLarge {
        /// Which class.
        class: &'static str,
    },
    /// Tier thresholds that do not rise.
    #[error("tier thresholds must rise: {0} follows a higher or equal one")]
    TierOrder(u64),
    /// A multiplier outside 0..=1000, or with more than six decimals.
    #[error("a multiplier must be between 0 and 1000 with at most six decimals")]
    Multiplier,
    /// The charge does not fit the ledger.
    #[error("the charge is larger than the ledger can hold")]
    Overflow,
}

impl PriceList {
    /// One price for input, one for output, nothing else.
    pub fn plain(input: Decimal, output: Decimal) -> Self {
        Self {
            input,
            output,
            cache_read: None,
            cache_write: None,
            cache_write_1h: None,
            reasoning: None,
            image_input: None,
            image_output: None,
            audio_input: None,
            audio_output: None,
            per_call: None,
        }
    }

    /// Every class with its own number.
    pub fn resolve(&self) -> UnitPrices {
        let cache_write = self.cache_write.unwrap_or(self.input);
        UnitPrices {
            input: self.input,
            cache_read: self.cache_read.unwrap_or(self.input),
            cache_write,
            cache_write_1h: self.cache_write_1h.unwrap_or(cache_write),
            output: self.output,
            reasoning: self.reasoning.unwrap_or(self.output),
            image_input: self.image_input.unwrap_or(self.input),
            image_output: self.image_output.unwrap_or(self.output),
            audio_input: self.audio_input.unwrap_or(self.input),
            audio_output: self.audio_output.unwrap_or(self.output),
            per_call: self.per_call.unwrap_or(Decimal::ZERO),
        }
    }
}

impl Prices {
    /// The dearest accepted price: a thousand credits a token.
    pub const MAX: i64 = 1_000_000_000;

    /// A list without tiers.
    pub fn flat(base: PriceList) -> Self {
        Self { base, tiers: Vec::new() }
    }

    /// Refuses negative, over-precise and absurd prices, and tiers out of order.
    pub fn validate(&self) -> Result<(), PriceError> {
        for list in std::iter::once(&self.base).chain(self.tiers.iter().map(|tier| &tier.list)) {
            for (class, price) in list.resolve().classes() {
                nano_per_million(class, price)?;
            }
        }
        let mut before = 0;
        for tier in &self.tiers {
            if tier.above_input <= before {
                return Err(PriceError::TierOrder(tier.above_input));
            }
            before = tier.above_input;
        }
        Ok(())
    }

    /// The unit prices for a prompt of this many tokens. The whole call takes the tier's list (not only the excess).
    pub fn unit_prices(&self, input_total: u64) -> UnitPrices {
        self.tiers
            .iter()
            .rev()
            .find(|tier| input_total > tier.above_input)
            .map_or(&self.base, |tier| &tier.list)
            .resolve()
    }

    /// The dearest price of each class over all tiers: what a hold is sized with.
    pub fn dearest(&self) -> UnitPrices {
        self.tiers.iter().map(|tier| tier.list.resolve()).fold(self.base.resolve(), UnitPrices::max)
    }
}

impl UnitPrices {
    /// Each class with its name, as written in JSON.
    pub fn classes(&self) -> [(&'static str, Decimal); 11] {
        [
            ("input", self.input),
            ("cache_read", self.cache_read),
            ("cache_write", self.cache_write),
            ("cache_write_1h", self.cache_write_1h),
            ("output", self.output),
            ("reasoning", self.reasoning),
            ("image_input", self.image_input),
            ("image_output", self.image_output),
            ("audio_input", self.audio_input),
            ("audio_output", self.audio_output),
            ("per_call", self.per_call),
        ]
    }

    /// Class by class the larger price.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
            cache_write_1h: self.cache_write_1h.max(other.cache_write_1h),
            output: self.output.max(other.output),
            reasoning: self.reasoning.max(other.reasoning),
            image_input: self.image_input.max(other.image_input),
            image_output: self.image_output.max(other.image_output),
            audio_input: self.audio_input.max(other.audio_input),
            audio_output: self.audio_output.max(other.audio_output),
            per_call: self.per_call.max(other.per_call),
        }
    }

    /// The tokens by class with their prices: the lines of a receipt. Classes without tokens are left out.
    pub fn lines(&self, tokens: &Tokens) -> Vec<(&'static str, u64, Decimal)> {
        [
            ("input", tokens.input, self.input),
            ("cache_read", tokens.cache_read, self.cache_read),
            ("cache_write", tokens.cache_write, self.cache_write),
            ("cache_write_1h", tokens.cache_write_1h, self.cache_write_1h),
            ("output", tokens.output, self.output),
            ("reasoning", tokens.reasoning, self.reasoning),
            ("image_input", tokens.image_input, self.image_input),
            ("image_output", tokens.image_output, self.image_output),
            ("audio_input", tokens.audio_input, self.audio_input),
            ("audio_output", tokens.audio_output, self.audio_output),
        ]
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
        .collect()
    }

    /// `round_half_even_to_nano((Σ tokens × price ÷ 1e6 + per_call) × multiplier)`: one rounding, exact before it.
    pub fn charge(&self, tokens: &Tokens, multiplier: Decimal) -> Result<Credits, PriceError> {
        let mut sum = nano_per_million("per_call", self.per_call)?
            .checked_mul(1_000_000)
            .ok_or(PriceError::Overflow)?;
        for (class, count, price) in self.lines(tokens) {
            let part =
                nano_per_million(class, price)?.checked_mul(i128::from(count)).ok_or(PriceError::Overflow)?;
            sum = sum.checked_add(part).ok_or(PriceError::Overflow)?;
        }
        // The sum counts 1e-15 credits; times a multiplier in millionths it counts 1e-21: a nano is 1e12 of those.
        let exact = sum.checked_mul(multiplier_millionths(multiplier)?).ok_or(PriceError::Overflow)?;
        Credits::rounded_half_even(exact, 1_000_000_000_000).ok_or(PriceError::Overflow)
    }

    /// The most that a call can cost: every prompt token at the dearest prompt class, every generated one likewise.
    pub fn worst_case(&self, input: u64, output: u64, multiplier: Decimal) -> Result<Credits, PriceError> {
        let dearest_input =
            [self.cache_read, self.cache_write, self.cache_write_1h, self.image_input, self.audio_input]
                .into_iter()
                .fold(self.input, Decimal::max);
        let dearest_output = [self.reasoning, self.image_output, self.audio_output]
            .into_iter()
            .fold(self.output, Decimal::max);
        let list =
            PriceList { per_call: Some(self.per_call), ..PriceList::plain(dearest_input, dearest_output) };
        list.resolve().charge(&Tokens { input, output, ..Tokens::default() }, multiplier)
    }
}

/// A price as an integer: nano-credits per million tokens.
fn nano_per_million(class: &'static str, price: Decimal) -> Result<i128, PriceError> {
    if price.is_sign_negative() && !price.is_zero() {
        return Err(PriceError::Negative { class });
    }
    if price > Decimal::from(Prices::MAX) {
        return Err(PriceError::TooLarge { class });
    }
    scaled(price, 9).ok_or(PriceError::TooPrecise { class })
}

/// A multiplier as millionths.
fn multiplier_millionths(multiplier: Decimal) -> Result<i128, PriceError> {
    if (multiplier.is_sign_negative() && !multiplier.is_zero()) || multiplier > Decimal::ONE_THOUSAND {
        return Err(PriceError::Multiplier);
    }
    scaled(multiplier, 6).ok_or(PriceError::Multiplier)
}

/// `value × 10^decimals` as an integer, if it is one. `value` is at most [`Prices::MAX`], so the product fits.
fn scaled(value: Decimal, decimals: u32) -> Option<i128> {
    let value = value.normalize();
    let missing = decimals.checked_sub(value.scale())?;
    value.mantissa().checked_mul(10_i128.pow(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn list(input: &str, output: &str) -> PriceList {
        PriceList::plain(dec(input), dec(output))
    }

    #[test]
    fn a_charge_is_tokens_times_price() {
        let prices = PriceList { cache_read: Some(dec("0.3")), ..list("3", "15") }.resolve();
        let tokens = Tokens { input: 1200, cache_read: 800, output: 350, reasoning: 50, ..Tokens::default() };
        // (1200×3 + 800×0.3 + 400×15) ÷ 1e6
        assert_eq!(prices.charge(&tokens, Decimal::ONE).unwrap().to_string(), "0.00984");
        assert_eq!(prices.charge(&tokens, dec("1.5")).unwrap().to_string(), "0.01476");
    }

    #[test]
    fn rounding_happens_once_and_half_to_even() {
        let tokens = |input| Tokens { input, ..Tokens::default() };
        let half_nano = list("0.0005", "0").resolve(); // one token is half a nano
        for (count, nano) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (7, 4)] {
            assert_eq!(
                half_nano.charge(&tokens(count), Decimal::ONE).unwrap().nano(),
                nano,
                "{count} tokens"
            );
        }
    }

    #[test]
    fn tiers_are_by_request_and_above_means_above() {
        let prices =
            Prices { base: list("1", "2"), tiers: vec![Tier { above_input: 200_000, list: list("2", "4") }] };
        prices.validate().unwrap();
        assert_eq!(prices.unit_prices(200_000).input, dec("1"));
        assert_eq!(prices.unit_prices(200_001).output, dec("4"));
        assert_eq!(prices.dearest().output, dec("4"));
    }

    #[test]
    fn absurd_prices_are_refused_by_name() {
        let cases = [
            (list("-1", "0"), PriceError::Negative { class: "input" }),
            (list("0", "1.0000000001"), PriceError::TooPrecise { class: "output" }),
            (list("1000000001", "0"), PriceError::TooLarge { class: "input" }),
        ];
        for (list, error) in cases {
            assert_eq!(Prices::flat(list).validate(), Err(error));
        }
        let tier = |above_input| Tier { above_input, list: list("1", "1") };
        let unordered = Prices { base: list("1", "1"), tiers: vec![tier(5), tier(5)] };
        assert_eq!(unordered.validate(), Err(PriceError::TierOrder(5)));
        let all = Tokens { input: u64::MAX, output: u64::MAX, ..Tokens::default() };
        assert_eq!(
            list("1000000000", "1").resolve().charge(&all, Decimal::ONE_THOUSAND),
            Err(PriceError::Overflow)
        );
        assert_eq!(list("1", "1").resolve().charge(&all, dec("1000.1")), Err(PriceError::Multiplier));
    }

    #[test]
    fn absent_classes_cost_what_their_plain_class_does() {
        let resolved = list("3", "15").resolve();
        for (class, price) in resolved.classes() {
            let expected = match class {
                "output" | "reasoning" | "image_output" | "audio_output" => dec("15"),
                "per_call" => Decimal::ZERO,
                _ => dec("3"),
            };
            assert_eq!(price, expected, "{class}");
        }
        let written = PriceList { cache_write: Some(dec("3.75")), ..list("3", "15") }.resolve();
        assert_eq!(written.cache_write_1h, dec("3.75"));
    }

    #[test]
    fn each_class_is_charged_at_its_own_price() {
        // A million tokens of one class cost its price, and nothing else.
        let prices = UnitPrices {
            input: dec("1"),
            cache_read: dec("2"),
            cache_write: dec("3"),
            cache_write_1h: dec("4"),
            output: dec("5"),
            reasoning: dec("6"),
            image_input: dec("7"),
            image_output: dec("8"),
            audio_input: dec("9"),
            audio_output: dec("10"),
            per_call: dec("0.25"),
        };
        for (class, price) in prices.classes() {
            let tokens = match class {
                "per_call" => serde_json::json!({}),
                class => serde_json::json!({ class: 1_000_000 }),
            };
            let tokens: Tokens = serde_json::from_value(tokens).unwrap();
            let expected = if class == "per_call" { price } else { price + dec("0.25") };
            let charge = prices.charge(&tokens, Decimal::ONE).unwrap();
            assert_eq!(charge.to_string(), expected.normalize().to_string(), "{class}");
        }
    }

    #[test]
    fn a_call_of_no_tokens_costs_its_call_and_a_free_model_nothing() {
        let per_call = PriceList { per_call: Some(dec("0.0000000015")), ..list("0", "0") };
        assert_eq!(
            nano_per_million("per_call", dec("0.0000000015")),
            Err(PriceError::TooPrecise { class: "per_call" }),
            "half a nano per call cannot be a price"
        );
        assert!(per_call.resolve().charge(&Tokens::default(), Decimal::ONE).is_err());
        let free = list("0", "0").resolve();
        let tokens = Tokens { input: u64::MAX, output: u64::MAX, ..Tokens::default() };
        assert_eq!(free.charge(&tokens, Decimal::ONE), Ok(Credits::ZERO));
        assert_eq!(list("3", "15").resolve().charge(&tokens, Decimal::ZERO), Ok(Credits::ZERO));
    }

    #[test]
    fn a_multiplier_has_six_decimals_and_stays_between_nothing_and_a_thousand() {
        let prices = list("1", "1").resolve();
        let tokens = Tokens { input: 1_000_000, ..Tokens::default() };
        for (multiplier, charge) in
            [("0.000001", "0.000001"), ("1000", "1000"), ("1.0000000", "1"), ("-0", "0")]
        {
            assert_eq!(prices.charge(&tokens, dec(multiplier)).unwrap().to_string(), charge);
        }
        for multiplier in ["0.0000001", "1000.000001", "-0.000001", "-1"] {
            assert_eq!(prices.charge(&tokens, dec(multiplier)), Err(PriceError::Multiplier), "{multiplier}");
        }
    }

    #[test]
    fn a_misspelt_class_is_refused_wherever_it_stands() {
        let read = |json: &str| serde_json::from_str::<Prices>(json);
        let tier = r#"{"input":"1","output":"2","tiers":[{"above_input":5,"input":"2","output":"4"}]}"#;
        assert_eq!(read(tier).unwrap().tiers[0].above_input, 5);
        for json in [
            r#"{"input":"1","output":"2","cache_raed":"0.1"}"#,
            r#"{"input":"1","output":"2","tiers":[{"above_input":5,"input":"2","output":"4","cache_raed":"0.1"}]}"#,
            r#"{"input":"1"}"#,
            r#"{"input":1,"output":2}"#,
            r#"{"input":"1e3x","output":"2"}"#,
            r#"{"input":"1","output":"2","tiers":[{"above_input":-5,"input":"2","output":"4"}]}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_tier_is_checked_like_the_base() {
        let tiers = vec![Tier { above_input: 0, list: list("1", "1") }];
        assert_eq!(Prices { base: list("1", "1"), tiers }.validate(), Err(PriceError::TierOrder(0)));
        let tiers = vec![Tier { above_input: 5, list: list("1", "-1") }];
        let refused = Prices { base: list("1", "1"), tiers }.validate();
        assert_eq!(refused, Err(PriceError::Negative { class: "output" }));
    }

    #[test]
    fn the_worst_case_covers_every_class() {
        let prices = PriceList { cache_write: Some(dec("7")), reasoning: Some(dec("30")), ..list("3", "15") }
            .resolve();
        let worst = prices.worst_case(100, 10, Decimal::ONE).unwrap();
        for tokens in [
            Tokens { cache_write: 100, reasoning: 10, ..Tokens::default() },
            Tokens { input: 50, cache_write_1h: 50, output: 10, ..Tokens::default() },
        ] {
            assert!(prices.charge(&tokens, Decimal::ONE).unwrap() <= worst);
        }
    }
}
