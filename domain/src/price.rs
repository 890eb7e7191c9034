//! Prices, tokens and charges.
//!
//! A price is credits per one million tokens, per class; every token is in exactly one class. Beside tokens stand the
//! units of media: characters spoken, seconds of audio heard, images made. What is billed by its tokens is not counted in
//! units as well.
//! Claims: a charge is computed in exact integers and rounded once, half to even, to the nano; the same tokens and
//! unit prices give the same charge for ever; a sum that does not fit is an error, never a wrong number; a unit without a
//! price is an error too, never free.

use crate::credits::Credits;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Tokens of one call, each in exactly one class, and its units of media. Nothing is counted twice.
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
    /// Characters made into speech, where they are what is billed.
    #[serde(skip_serializing_if = "is_zero")]
    pub characters: u64,
    /// Seconds of audio heard, where they are what is billed; a begun second is one.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_seconds: u64,
    /// Images generated, where they are what is billed.
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tokens {
    /// All tokens of the prompt, whatever their class: what a tier's threshold is compared with. Units of media are none.
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

/// What is billed by another unit than tokens. No list has to price these, and none falls back to another price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaUnit {
    /// A character made into speech: `characters`, priced by `per_million_characters`.
    Character,
    /// A second of audio heard: `audio_seconds`, priced by `per_audio_minute`.
    AudioSecond,
    /// An image generated: `images`, priced by `per_image`.
    Image,
}

impl MediaUnit {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Character, Self::AudioSecond, Self::Image];

    /// The class of [`Tokens`] that counts it, as written in JSON.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Character => "characters",
            Self::AudioSecond => "audio_seconds",
            Self::Image => "images",
        }
    }

    /// Its price in a list, as written in JSON.
    pub const fn price(self) -> &'static str {
        match self {
            Self::Character => "per_million_characters",
            Self::AudioSecond => "per_audio_minute",
            Self::Image => "per_image",
        }
    }

    const fn per(self) -> Per {
        match self {
            Self::Character => Per::MillionCharacters,
            Self::AudioSecond => Per::AudioMinute,
            Self::Image => Per::Image,
        }
    }

    const fn count(self, tokens: &Tokens) -> u64 {
        match self {
            Self::Character => tokens.characters,
            Self::AudioSecond => tokens.audio_seconds,
            Self::Image => tokens.images,
        }
    }
}

/// A model's price list as an operator writes it: credits per one million tokens, absent classes falling back; credits per
/// unit of media, absent ones having no price.
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

/// Prices by class. Absent: cache classes and media tokens cost what `input` or `output` does; reasoning costs `output`;
/// units of media have no price, and a call that is billed by one is refused.
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
    /// Credits per million characters made into speech; absent: no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_million_characters: Option<Decimal>,
    /// Credits per minute of audio heard, charged by the second; absent: no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_audio_minute: Option<Decimal>,
    /// Credits per image generated; absent: no price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_image: Option<Decimal>,
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

/// The prices that one call was charged at, every class of tokens resolved; kept in the usage record.
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
    /// Credits per million characters made into speech, if they have a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_million_characters: Option<Decimal>,
    /// Credits per minute of audio heard, if it has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_audio_minute: Option<Decimal>,
    /// Credits per image generated, if it has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_image: Option<Decimal>,
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
    /// A unit of media that some lists of a model price and others do not: the prompt's length would decide whether it can
    /// be billed at all.
    #[error("{class} must have a price in every tier or in none")]
    Uneven {
        /// Which price.
        class: &'static str,
    },
    /// Units of media to be charged at a list that has no price for them.
    #[error("there is no price for {class}")]
    Unpriced {
        /// Which class.
        class: &'static str,
    },
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
            per_million_characters: None,
            per_audio_minute: None,
            per_image: None,
        }
    }

    /// Every class of tokens with its own number; units of media as they are.
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
            per_million_characters: self.per_million_characters,
            per_audio_minute: self.per_audio_minute,
            per_image: self.per_image,
        }
    }
}

impl Prices {
    /// The dearest accepted price: a thousand credits a token, a milliard an image.
    pub const MAX: i64 = 1_000_000_000;

    /// A list without tiers.
    pub fn flat(base: PriceList) -> Self {
        Self { base, tiers: Vec::new() }
    }

    /// Refuses negative, over-precise and absurd prices, units of media that only some tiers price, and tiers out of order.
    pub fn validate(&self) -> Result<(), PriceError> {
        for prices in self.resolved() {
            for (class, price) in prices.classes() {
                nano(class, price)?;
            }
        }
        for unit in MediaUnit::ALL {
            if !self.has_price_for(unit) && self.resolved().any(|prices| prices.of_unit(unit).is_some()) {
                return Err(PriceError::Uneven { class: unit.price() });
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

    /// Can a call be billed by this unit, however long its prompt? Ask before a provider is called: [`UnitPrices::charge`]
    /// refuses units without a price, and by then the provider has taken its own.
    pub fn has_price_for(&self, unit: MediaUnit) -> bool {
        self.resolved().all(|prices| prices.of_unit(unit).is_some())
    }

    fn resolved(&self) -> impl Iterator<Item = UnitPrices> {
        std::iter::once(self.base.resolve()).chain(self.tiers.iter().map(|tier| tier.list.resolve()))
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
    /// Each stated price with its name, as written in JSON.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, Decimal)> {
        let units = MediaUnit::ALL.map(|unit| self.of_unit(unit).map(|price| (unit.price(), price)));
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
        .into_iter()
        .chain(units.into_iter().flatten())
    }

    /// The price of a unit of media, if it has one.
    pub const fn of_unit(&self, unit: MediaUnit) -> Option<Decimal> {
        match unit {
            MediaUnit::Character => self.per_million_characters,
            MediaUnit::AudioSecond => self.per_audio_minute,
            MediaUnit::Image => self.per_image,
        }
    }

    /// Has every unit of media that was counted a price?
    pub fn covers(&self, tokens: &Tokens) -> bool {
        MediaUnit::ALL.into_iter().all(|unit| unit.count(tokens) == 0 || self.of_unit(unit).is_some())
    }

    /// Class by class the larger price; of units of media the one there is.
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
            // None is below every price.
            per_million_characters: self.per_million_characters.max(other.per_million_characters),
            per_audio_minute: self.per_audio_minute.max(other.per_audio_minute),
            per_image: self.per_image.max(other.per_image),
        }
    }

    /// The lines of a receipt: what was counted, by class, with its price, and the price of the call if there is one. Classes
    /// of which nothing was counted are left out.
    ///
    /// Errors: [`PriceError::Unpriced`] for units of media without a price.
    pub fn lines(&self, tokens: &Tokens) -> Result<Vec<Line>, PriceError> {
        let classes = [
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
        ];
        let line = |(class, quantity, price)| Line { class, quantity, price, per: Per::MillionTokens };
        let mut lines: Vec<_> = classes.into_iter().filter(|(_, count, _)| *count > 0).map(line).collect();
        for unit in MediaUnit::ALL {
            let (class, quantity) = (unit.class(), unit.count(tokens));
            if quantity > 0 {
                let price = self.of_unit(unit).ok_or(PriceError::Unpriced { class })?;
                lines.push(Line { class, quantity, price, per: unit.per() });
            }
        }
        if !self.per_call.is_zero() {
            lines.push(Line { class: "per_call", quantity: 1, price: self.per_call, per: Per::Call });
        }
        Ok(lines)
    }

    /// What the lines come to before the multiplier, exactly.
    pub fn sum(&self, tokens: &Tokens) -> Result<Exact, PriceError> {
        self.lines(tokens)?.iter().try_fold(Exact::ZERO, |sum, line| sum.plus(line.amount()?))
    }

    /// `round_half_even_to_nano((Σ tokens × price ÷ 1e6 + Σ units × price ÷ per + per_call) × multiplier)`, where `per` is a
    /// million characters, 60 seconds or one image: one rounding, exact before it.
    pub fn charge(&self, tokens: &Tokens, multiplier: Decimal) -> Result<Credits, PriceError> {
        self.sum(tokens)?.times(multiplier)?.rounded()
    }

    /// The most that a call of so many tokens can cost: [`UnitPrices::worst_case_of`] without units of media.
    pub fn worst_case(&self, input: u64, output: u64, multiplier: Decimal) -> Result<Credits, PriceError> {
        self.worst_case_of(&Tokens { input, output, ..Tokens::default() }, multiplier)
    }

    /// The most that a call can cost: every prompt token at the dearest prompt class, every generated one likewise, units of
    /// media at their own price.
    ///
    /// Errors: [`PriceError::Unpriced`] for units of media without a price, as [`UnitPrices::charge`].
    pub fn worst_case_of(&self, most: &Tokens, multiplier: Decimal) -> Result<Credits, PriceError> {
        let input =
            [self.cache_read, self.cache_write, self.cache_write_1h, self.image_input, self.audio_input]
                .into_iter()
                .fold(self.input, Decimal::max);
        let output = [self.reasoning, self.image_output, self.audio_output]
            .into_iter()
            .fold(self.output, Decimal::max);
        let tokens = Tokens {
            input: most.input_total(),
            output: most.output_total(),
            characters: most.characters,
            audio_seconds: most.audio_seconds,
            images: most.images,
            ..Tokens::default()
        };
        Self { input, output, ..self.clone() }.charge(&tokens, multiplier)
    }
}

/// What a price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A million tokens.
    MillionTokens,
    /// A million characters.
    MillionCharacters,
    /// A minute of audio, charged by the second.
    AudioMinute,
    /// An image.
    Image,
    /// A call.
    Call,
}

impl Per {
    /// How many of what is counted a price buys.
    pub const fn quantity(self) -> u64 {
        match self {
            Self::MillionTokens | Self::MillionCharacters => 1_000_000,
            Self::AudioMinute => 60,
            Self::Image | Self::Call => 1,
        }
    }
}

impl std::fmt::Display for Per {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MillionTokens => "1000000 tokens",
            Self::MillionCharacters => "1000000 characters",
            Self::AudioMinute => "60 seconds",
            Self::Image => "image",
            Self::Call => "call",
        })
    }
}

/// A line of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was counted: a class of [`Tokens`], or `per_call`.
    pub class: &'static str,
    /// How many; 1 for `per_call`.
    pub quantity: u64,
    /// Credits per `per`.
    pub price: Decimal,
    /// What the price is for.
    pub per: Per,
}

impl Line {
    /// `quantity × price ÷ per`, exactly.
    pub fn amount(&self) -> Result<Exact, PriceError> {
        let (factor, thirds) = match self.per {
            Per::MillionTokens | Per::MillionCharacters => (1, false),
            Per::Image | Per::Call => (1_000_000, false),
            // A million sixtieths are 50,000 thirds.
            Per::AudioMinute => (50_000, true),
        };
        let units = nano(self.class, self.price)?
            .checked_mul(i128::from(self.quantity))
            .and_then(|units| units.checked_mul(factor))
            .ok_or(PriceError::Overflow)?;
        Ok(Exact { units, decimals: SUM_DECIMALS, thirds }.reduced())
    }
}

/// Decimals of a sum before the multiplier: nine of a price, six of a million.
const SUM_DECIMALS: u32 = 15;
/// Decimals of a multiplier.
const MULTIPLIER_DECIMALS: u32 = 6;

/// Credits before the one rounding: an integer over a power of ten, or over three times one where a price by the minute does
/// not come out even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact {
    units: i128,
    decimals: u32,
    thirds: bool,
}

impl Exact {
    const ZERO: Self = Self { units: 0, decimals: SUM_DECIMALS, thirds: false };

    /// Thirds only where they are needed: sums without seconds of audio are those of the time before there were any.
    fn reduced(self) -> Self {
        let is_whole = self.thirds && self.units % 3 == 0;
        if is_whole { Self { units: self.units / 3, thirds: false, ..self } } else { self }
    }

    fn in_thirds(self) -> Option<i128> {
        if self.thirds { Some(self.units) } else { self.units.checked_mul(3) }
    }

    /// The sum of two of the same decimals.
    fn plus(self, other: Self) -> Result<Self, PriceError> {
        let thirds = self.thirds || other.thirds;
        let units = if thirds {
            self.in_thirds().zip(other.in_thirds()).and_then(|(a, b)| a.checked_add(b))
        } else {
            self.units.checked_add(other.units)
        };
        let units = units.ok_or(PriceError::Overflow)?;
        Ok(Self { units, thirds, ..self }.reduced())
    }

    /// This many times as much, exactly. A multiplier is between 0 and 1000 and has at most six decimals.
    pub fn times(self, multiplier: Decimal) -> Result<Self, PriceError> {
        let units = self.units.checked_mul(multiplier_millionths(multiplier)?).ok_or(PriceError::Overflow)?;
        Ok(Self { units, decimals: self.decimals + MULTIPLIER_DECIMALS, ..self }.reduced())
    }

    /// Half to even, to the nano.
    pub fn rounded(self) -> Result<Credits, PriceError> {
        let nano = 10_i128.pow(self.decimals.saturating_sub(9));
        let divisor = if self.thirds { 3 * nano } else { nano };
        Credits::rounded_half_even(self.units, divisor).ok_or(PriceError::Overflow)
    }
}

impl std::fmt::Display for Exact {
    /// A decimal; one without an end as a third of one that has an end: `0.0005/3`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.units < 0 { "-" } else { "" };
        let scale = 10_u128.pow(self.decimals);
        let (whole, rest) = (self.units.unsigned_abs() / scale, self.units.unsigned_abs() % scale);
        write!(f, "{sign}{whole}")?;
        if rest > 0 {
            let decimals = format!("{rest:0>width$}", width = self.decimals as usize);
            write!(f, ".{}", decimals.trim_end_matches('0'))?;
        }
        f.write_str(if self.thirds { "/3" } else { "" })
    }
}

/// A price as an integer: nano-credits per what it is for.
fn nano(class: &'static str, price: Decimal) -> Result<i128, PriceError> {
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
    scaled(multiplier, MULTIPLIER_DECIMALS).ok_or(PriceError::Multiplier)
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
            per_million_characters: Some(dec("11")),
            per_audio_minute: Some(dec("12")),
            per_image: Some(dec("13")),
        };
        for (class, price) in prices.classes() {
            let tokens = match class {
                "per_call" => serde_json::json!({}),
                "per_million_characters" => serde_json::json!({ "characters": 1_000_000 }),
                "per_audio_minute" => serde_json::json!({ "audio_seconds": 60 }),
                "per_image" => serde_json::json!({ "images": 1 }),
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
            nano("per_call", dec("0.0000000015")),
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

    const MEDIA: Tokens = Tokens {
        input: 0,
        cache_read: 0,
        cache_write: 0,
        cache_write_1h: 0,
        output: 0,
        reasoning: 0,
        image_input: 0,
        image_output: 0,
        audio_input: 0,
        audio_output: 0,
        characters: 1_234,
        audio_seconds: 61,
        images: 3,
    };

    fn media_list() -> PriceList {
        PriceList {
            per_million_characters: Some(dec("15")),
            per_audio_minute: Some(dec("0.006")),
            per_image: Some(dec("0.04")),
            ..list("3", "15")
        }
    }

    #[test]
    fn units_of_media_are_charged_beside_tokens_with_one_rounding() {
        let prices = media_list().resolve();
        // 1234 × 15 ÷ 1e6 + 61 × 0.006 ÷ 60 + 3 × 0.04
        assert_eq!(prices.charge(&MEDIA, Decimal::ONE).unwrap().to_string(), "0.14461");
        let with_tokens = Tokens { input: 1_000, ..MEDIA };
        assert_eq!(prices.charge(&with_tokens, Decimal::ONE).unwrap().to_string(), "0.14761");
        assert_eq!(prices.charge(&with_tokens, dec("1.5")).unwrap().to_string(), "0.221415");
        assert_eq!(prices.worst_case_of(&with_tokens, Decimal::ONE).unwrap().to_string(), "0.14761");
    }

    #[test]
    fn a_second_is_a_sixtieth_of_a_minute_exactly() {
        let by_minute =
            |price| PriceList { per_audio_minute: Some(dec(price)), ..list("0.0005", "0") }.resolve();
        let seconds = |audio_seconds| Tokens { audio_seconds, ..Tokens::default() };
        for (price, count, exact, charge) in [
            ("0.006", 1, "0.0001", "0.0001"),
            ("0.01", 1, "0.0005/3", "0.000166667"),
            ("0.01", 2, "0.001/3", "0.000333333"),
            // Three seconds that were rounded one by one would be a nano too dear.
            ("0.01", 3, "0.0005", "0.0005"),
            ("0.01", 60, "0.01", "0.01"),
            ("0.00000003", 1, "0.0000000005", "0"),
            ("0.00000003", 3, "0.0000000015", "0.000000002"),
            ("0.00000001", 1, "0.0000000005/3", "0"),
        ] {
            let prices = by_minute(price);
            assert_eq!(prices.sum(&seconds(count)).unwrap().to_string(), exact, "{count} at {price}");
            let charged = prices.charge(&seconds(count), Decimal::ONE).unwrap().to_string();
            assert_eq!(charged, charge, "{count} at {price}");
        }
        // A third of a nano and half a nano: together one, apart none at all.
        let together = Tokens { input: 1, ..seconds(2) };
        assert_eq!(by_minute("0.00000001").charge(&together, Decimal::ONE).unwrap().nano(), 1);
        // A multiplier may make thirds whole.
        let tripled = by_minute("0.01").sum(&seconds(1)).unwrap().times(dec("3")).unwrap();
        assert_eq!(tripled.to_string(), "0.0005");
    }

    #[test]
    fn a_unit_without_a_price_is_refused_and_never_falls_back() {
        let plain = Prices::flat(list("3", "15"));
        let none = Tokens::default();
        for (unit, tokens) in [
            (MediaUnit::Character, Tokens { characters: 1, ..none }),
            (MediaUnit::AudioSecond, Tokens { audio_seconds: 1, ..none }),
            (MediaUnit::Image, Tokens { images: 1, ..none }),
        ] {
            let prices = plain.dearest();
            let refused = Err(PriceError::Unpriced { class: unit.class() });
            assert_eq!(prices.charge(&tokens, Decimal::ONE), refused);
            assert_eq!(prices.charge(&tokens, Decimal::ZERO), refused, "not even for nothing");
            assert_eq!(prices.worst_case_of(&tokens, Decimal::ONE), refused);
            assert!(!prices.covers(&tokens) && prices.covers(&none) && !plain.has_price_for(unit));
            let priced = Prices::flat(media_list());
            assert!(priced.dearest().covers(&tokens) && priced.has_price_for(unit));
        }
    }

    #[test]
    fn a_unit_is_priced_in_every_tier_or_in_none() {
        let tier = |list| Tier { above_input: 10, list };
        let (plain, media) = (list("3", "15"), media_list());
        for (base, tiered) in [(&plain, &media), (&media, &plain)] {
            let prices = Prices { base: base.clone(), tiers: vec![tier(tiered.clone())] };
            let refused = Err(PriceError::Uneven { class: "per_million_characters" });
            assert_eq!(prices.validate(), refused);
            assert!(!prices.has_price_for(MediaUnit::Image));
        }
        let dearer = PriceList { per_image: Some(dec("0.08")), ..media.clone() };
        let prices = Prices { base: media.clone(), tiers: vec![tier(dearer)] };
        prices.validate().unwrap();
        assert!(prices.has_price_for(MediaUnit::Image));
        assert_eq!(prices.dearest().per_image, Some(dec("0.08")));
        let negative = PriceList { per_audio_minute: Some(dec("-0.006")), ..media };
        let refused = Prices::flat(negative).validate();
        assert_eq!(refused, Err(PriceError::Negative { class: "per_audio_minute" }));
    }

    #[test]
    fn prices_without_units_are_written_as_before_there_were_any() {
        let json = serde_json::to_string(&list("3", "15").resolve()).unwrap();
        assert!(
            !json.contains("per_image") && !json.contains("minute") && !json.contains("characters"),
            "{json}"
        );
        assert_eq!(serde_json::to_string(&Tokens::default()).unwrap(), "{}");
        assert_eq!(
            serde_json::to_string(&MEDIA).unwrap(),
            r#"{"characters":1234,"audio_seconds":61,"images":3}"#
        );
    }
}
