//! What a call may cost at most, and what it did cost.
//!
//! For: the metering policy: which tokens count when a provider's own counts are missing or a stream broke off.
//! May not touch: clocks, I/O.
//! Claims: a provider's usage is charged exactly as reported where there is one; "no usage" is never "free"; an
//! error without output is free; a charge can be derived again from tokens, unit prices and multiplier, or is zero.

use crate::asked::Ordered;
use crate::catalogue::Priced;
use crate::estimate::Estimate;
use domain::price::{MediaUnit, PriceError};
use domain::{Credits, Prices, Tokens, UnitPrices, UsageSource};
use rust_decimal::Decimal;

/// The most that a call can cost: all of the prompt and of the allowed output at the dearest prices of any tier.
///
/// # Errors
/// When the sum does not fit the ledger, or the price list is unusable.
pub(crate) fn worst_case(
    price: &Priced,
    input: u64,
    output: u64,
    ordered: Option<Ordered>,
    multiplier: Decimal,
) -> Result<Credits, PriceError> {
    let prices = price.prices.dearest();
    match ordered {
        // What is billed by its units is not billed by its tokens too.
        Some(it) if price.prices.has_price_for(it.unit) => {
            prices.charge(&of_unit(it.unit, it.most), multiplier)
        }
        Some(_) | None => prices.worst_case(input, output, multiplier),
    }
}

/// So much of a unit, and no tokens.
fn of_unit(unit: MediaUnit, count: u64) -> Tokens {
    let none = Tokens::default();
    match unit {
        MediaUnit::Character => Tokens { characters: count, ..none },
        MediaUnit::AudioSecond => Tokens { audio_seconds: count, ..none },
        MediaUnit::Image => Tokens { images: count, ..none },
    }
}

/// The tokens that stand for so much of a unit, where a provider counts nothing and the model has no price for the
/// unit: a medium image of OpenAI's has 1,056 (square) to 1,584; a spoken character about one; a second heard about ten.
fn instead_of(unit: MediaUnit, count: u64) -> Tokens {
    let none = Tokens::default();
    match unit {
        MediaUnit::Character => Tokens { audio_output: count, ..none },
        MediaUnit::AudioSecond => Tokens { audio_input: count.saturating_mul(10), ..none },
        MediaUnit::Image => Tokens { image_output: count.saturating_mul(1584), ..none },
    }
}

/// What is known about a call when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Consumption<'a> {
    /// The prompt.
    pub input: &'a Estimate,
    /// The generated text that was seen.
    pub delivered: &'a Estimate,
    /// The provider's last counts.
    pub reported: Option<&'a Tokens>,
    /// Did the provider's answer come to its end?
    pub is_complete: bool,
    /// What was made that is not counted in tokens, and how much of it.
    pub ordered: Option<(MediaUnit, u64)>,
}

/// What a call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Tokens by class.
    pub tokens: Tokens,
    /// Who counted them.
    pub source: UsageSource,
    /// The prices charged.
    pub unit_prices: UnitPrices,
    /// What the account pays.
    pub charge: Credits,
    /// What the provider takes.
    pub cost: Credits,
    /// The provider's prices.
    pub cost_prices: Option<UnitPrices>,
}

impl Bill {
    /// The bill of a call of which nothing has come.
    pub fn nothing(price: &Priced) -> Self {
        Self {
            tokens: Tokens::default(),
            source: UsageSource::Estimated,
            unit_prices: price.prices.unit_prices(0),
            charge: Credits::ZERO,
            cost: Credits::ZERO,
            cost_prices: None,
        }
    }
}

impl Consumption<'_> {
    /// The tokens that count, and who counted them.
    pub fn tokens(&self) -> (Tokens, UsageSource) {
        let estimated_output = Tokens { output: self.delivered.likely(), ..Tokens::default() };
        match self.reported {
            // Nothing came and nobody counted: an error before any output.
            None if self.delivered.is_empty() && !self.is_complete => {
                (Tokens::default(), UsageSource::Estimated)
            }
            None => {
                let media = self.ordered.map_or(Tokens::default(), |(unit, count)| instead_of(unit, count));
                let (input, output) = (self.input.likely(), estimated_output.output);
                (Tokens { input, output, ..media }, UsageSource::Estimated)
            }
            Some(reported) => {
                // Zeros beside content are a vendor's placeholder, and so are counts from before a stream broke off.
                let counted = reported.output_total();
                let is_placeholder =
                    if self.is_complete { counted == 0 } else { counted < estimated_output.output };
                if !is_placeholder || self.delivered.is_empty() {
                    // Some vendors leave the prompt out where they count the answer. No prompt has no tokens.
                    return if reported.input_total() == 0 && counted > 0 {
                        (Tokens { input: self.input.likely(), ..*reported }, UsageSource::Estimated)
                    } else {
                        (*reported, UsageSource::Provider)
                    };
                }
                let input = if reported.input_total() == 0 { self.input.likely() } else { reported.input };
                let tokens = Tokens { input, output: estimated_output.output, ..without_output(reported) };
                (tokens, UsageSource::Estimated)
            }
        }
    }

    /// The bill: charged unless the call is free, at the tier of its prompt.
    ///
    /// # Errors
    /// When a sum does not fit the ledger, or a price list is unusable.
    pub fn bill(
        &self,
        price: &Priced,
        multiplier: Decimal,
        cost: Option<&Prices>,
        is_free: bool,
    ) -> Result<Bill, PriceError> {
        let by_unit = |prices: &Prices| match self.ordered {
            // Half of an image or of a sound is not billed as a whole one.
            Some((unit, count)) if prices.has_price_for(unit) && self.is_complete => {
                Some(of_unit(unit, count))
            }
            Some(_) | None => None,
        };
        let (tokens, source) = match by_unit(&price.prices) {
            Some(units) => (units, UsageSource::Provider),
            None => self.tokens(),
        };
        let unit_prices = price.prices.unit_prices(tokens.input_total());
        let charge = if is_free { Credits::ZERO } else { unit_prices.charge(&tokens, multiplier)? };
        // A cost of a unit that the operator has stated no price for is not stated either.
        let cost_prices =
            cost.map(|cost| cost.unit_prices(tokens.input_total())).filter(|prices| prices.covers(&tokens));
        let cost = match &cost_prices {
            // A provider takes nothing, not even a fee per call, for a call that it did not serve.
            Some(prices) if !is_free || tokens != Tokens::default() => {
                prices.charge(&tokens, Decimal::ONE)?
            }
            _ => Credits::ZERO,
        };
        Ok(Bill { tokens, source, unit_prices, charge, cost, cost_prices })
    }
}

fn without_output(tokens: &Tokens) -> Tokens {
    Tokens { output: 0, reasoning: 0, image_output: 0, audio_output: 0, ..*tokens }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::PriceVersionId;
    use domain::price::PriceList;

    fn text(text: &str) -> Estimate {
        let mut estimate = Estimate::default();
        estimate.text(text);
        estimate
    }

    fn priced(input: i64, output: i64) -> Priced {
        Priced {
            version: PriceVersionId::from_uuid(uuid::Uuid::nil()),
            prices: Prices::flat(PriceList {
                per_call: Some(Decimal::new(1, 3)),
                ..PriceList::plain(Decimal::from(input), Decimal::from(output))
            }),
        }
    }

    const REPORTED: Tokens = Tokens {
        input: 100,
        cache_read: 20,
        output: 7,
        reasoning: 3,
        cache_write: 0,
        cache_write_1h: 0,
        image_input: 0,
        image_output: 0,
        audio_input: 0,
        audio_output: 0,
        characters: 0,
        audio_seconds: 0,
        images: 0,
    };

    #[test]
    fn whose_counts_count() {
        let (input, delivered, nothing) =
            (text(&"word ".repeat(90)), text(&"word ".repeat(30)), Estimate::default());
        let zeros = Tokens::default();
        let estimate = Tokens { input: input.likely(), output: delivered.likely(), ..zeros };
        let more = Tokens { output: 1000, ..REPORTED };
        let (provider, estimated) = (UsageSource::Provider, UsageSource::Estimated);
        let cases = [
            ("reported", Some(&REPORTED), &delivered, true, (REPORTED, provider)),
            ("none, with content", None, &delivered, true, (estimate, estimated)),
            ("none, complete but empty", None, &nothing, true, (Tokens { output: 0, ..estimate }, estimated)),
            ("none, an error before any output", None, &nothing, false, (zeros, estimated)),
            ("zeros beside content", Some(&zeros), &delivered, true, (estimate, estimated)),
            (
                "an answer without its prompt",
                Some(&Tokens { output: 9, ..zeros }),
                &delivered,
                true,
                (Tokens { input: input.likely(), output: 9, ..zeros }, estimated),
            ),
            ("zeros and no content", Some(&zeros), &nothing, true, (zeros, provider)),
            ("cut off, none", None, &delivered, false, (estimate, estimated)),
            ("cut off, a running count above the estimate", Some(&more), &delivered, false, (more, provider)),
            (
                "cut off, a placeholder",
                Some(&REPORTED),
                &delivered,
                false,
                (Tokens { output: delivered.likely(), reasoning: 0, ..REPORTED }, estimated),
            ),
        ];
        for (case, reported, delivered, is_complete, expected) in cases {
            let consumption = Consumption { input: &input, delivered, reported, is_complete, ordered: None };
            assert_eq!(consumption.tokens(), expected, "{case}");
        }
    }

    #[test]
    fn a_bill_is_tokens_times_price_and_free_is_free() {
        let (input, delivered) = (text("hi"), text("ho"));
        let whole = Consumption {
            input: &input,
            delivered: &delivered,
            reported: Some(&REPORTED),
            is_complete: true,
            ordered: None,
        };
        let cost = Prices::flat(PriceList::plain(Decimal::ONE, Decimal::TWO));
        let bill = whole.bill(&priced(3, 15), Decimal::TWO, Some(&cost), false).unwrap();
        // (120 × 3 + 10 × 15) ÷ 1e6 + 0.001, doubled; cost (120 × 1 + 10 × 2) ÷ 1e6
        assert_eq!(bill.charge.to_string(), "0.00302");
        assert_eq!(bill.cost.to_string(), "0.00014");

        let nothing = Estimate::default();
        let failed = Consumption { delivered: &nothing, reported: None, is_complete: false, ..whole };
        let fee = priced(1, 1).prices;
        let bill = failed.bill(&priced(3, 15), Decimal::ONE, Some(&fee), true).unwrap();
        assert_eq!((bill.charge, bill.cost, bill.tokens), (Credits::ZERO, Credits::ZERO, Tokens::default()));
    }

    #[test]
    fn the_worst_case_takes_the_dearest_tier() {
        let mut price = priced(1, 1);
        price.prices.tiers.push(domain::price::Tier {
            above_input: 10,
            list: PriceList::plain(Decimal::from(5), Decimal::from(7)),
        });
        let worst = worst_case(&price, 1_000_000, 1_000_000, None, Decimal::ONE).unwrap();
        assert_eq!(worst.to_string(), "12.001");
    }
}
