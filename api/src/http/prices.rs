//! Price lists as they cross the wire: strings in credits per one million tokens, or per unit of media.
//!
//! Claims: read strictly (digits and a point, no exponent, no unknown class) into `domain`'s prices, which check the
//! rest; written back as they were.

use crate::problem::Problem;
use domain::{
    Prices,
    price::{PriceList, Tier},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// One price: a decimal in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Price(Decimal);

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        decimal(from).map(Self)
    }
}

/// A decimal in a string, without sign games, exponents or separators.
pub(super) fn decimal<'de, D: Deserializer<'de>>(from: D) -> Result<Decimal, D::Error> {
    let text = String::deserialize(from)?;
    let plain = text.strip_prefix('-').unwrap_or(&text);
    let shaped = plain.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && plain.starts_with(|c: char| c.is_ascii_digit())
        && plain.ends_with(|c: char| c.is_ascii_digit());
    let parsed = if shaped { Decimal::from_str_exact(&text).ok() } else { None };
    parsed.ok_or_else(|| D::Error::custom(format!("{text:?} is not a decimal number such as \"1.25\"")))
}

/// Declares the classes once for the list and for a tier: serde refuses unknown fields only where nothing is flattened.
macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* $field: $type,)*
            /// Plain prompt tokens.
            #[schema(value_type = String, example = "3")]
            input: Price,
            /// Visible generated tokens.
            #[schema(value_type = String, example = "15")]
            output: Price,
            /// Tokens read from a cache; absent: as input.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            cache_read: Option<Price>,
            /// Tokens written to a cache; absent: as input.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            cache_write: Option<Price>,
            /// Tokens written to a cache for an hour; absent: as cache_write.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            cache_write_1h: Option<Price>,
            /// Reasoning tokens; absent: as output.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            reasoning: Option<Price>,
            /// Image tokens in the prompt; absent: as input.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            image_input: Option<Price>,
            /// Generated image tokens; absent: as output.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            image_output: Option<Price>,
            /// Audio tokens in the prompt; absent: as input.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            audio_input: Option<Price>,
            /// Generated audio tokens; absent: as output.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            audio_output: Option<Price>,
            /// Credits per call, whatever its tokens; absent: none.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            per_call: Option<Price>,
            /// Credits per million characters made into speech. Absent: no price, and calls that are billed by it are refused.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            per_million_characters: Option<Price>,
            /// Credits per minute of audio heard, charged by the second. Absent: no price, and calls that are billed by it are
            /// refused.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            per_audio_minute: Option<Price>,
            /// Credits per image generated. Absent: no price, and calls that are billed by it are refused.
            #[schema(value_type = Option<String>)]
            #[serde(skip_serializing_if = "Option::is_none")]
            per_image: Option<Price>,
        }

        impl $name {
            fn list(&self) -> PriceList {
                let of = |price: Option<Price>| price.map(|it| it.0);
                PriceList {
                    input: self.input.0,
                    output: self.output.0,
                    cache_read: of(self.cache_read),
                    cache_write: of(self.cache_write),
                    cache_write_1h: of(self.cache_write_1h),
                    reasoning: of(self.reasoning),
                    image_input: of(self.image_input),
                    image_output: of(self.image_output),
                    audio_input: of(self.audio_input),
                    audio_output: of(self.audio_output),
                    per_call: of(self.per_call),
                    per_million_characters: of(self.per_million_characters),
                    per_audio_minute: of(self.per_audio_minute),
                    per_image: of(self.per_image),
                }
            }

            fn from_list(list: &PriceList, $($field: $type),*) -> Self {
                let of = |price: Option<Decimal>| price.map(Price);
                Self {
                    $($field,)*
                    input: Price(list.input),
                    output: Price(list.output),
                    cache_read: of(list.cache_read),
                    cache_write: of(list.cache_write),
                    cache_write_1h: of(list.cache_write_1h),
                    reasoning: of(list.reasoning),
                    image_input: of(list.image_input),
                    image_output: of(list.image_output),
                    audio_input: of(list.audio_input),
                    audio_output: of(list.audio_output),
                    per_call: of(list.per_call),
                    per_million_characters: of(list.per_million_characters),
                    per_audio_minute: of(list.per_audio_minute),
                    per_image: of(list.per_image),
                }
            }
        }
    )*};
}

lists! {
    /// Prices in credits per one million tokens, by class, and per unit of media. A unit of media has a price in every tier or
    /// in none.
    PriceTable {
        /// Lists that hold for the whole call once its prompt is longer than a threshold; thresholds rise.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tiers: Vec<PriceTier>,
    }
    /// A list that holds once the prompt is longer than the threshold.
    PriceTier {
        /// The threshold, in prompt tokens.
        above_input: u64,
    }
}

impl PriceTable {
    /// The checked list. The problem names `field` and the class at fault.
    pub fn checked(&self, field: &str) -> Result<Prices, Problem> {
        let tier = |tier: &PriceTier| Tier { above_input: tier.above_input, list: tier.list() };
        let prices = Prices { base: self.list(), tiers: self.tiers.iter().map(tier).collect() };
        prices.validate().map_err(|error| Problem::invalid(field, error))?;
        Ok(prices)
    }
}

impl From<&Prices> for PriceTable {
    fn from(prices: &Prices) -> Self {
        let tiers =
            prices.tiers.iter().map(|tier| PriceTier::from_list(&tier.list, tier.above_input)).collect();
        Self::from_list(&prices.base, tiers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;

    #[test]
    fn a_table_round_trips_through_the_domain() {
        let text = r#"{"tiers":[{"above_input":200000,"input":"6","output":"22.50"}],"input":"3","output":"15","cache_read":"0.3"}"#;
        let table: PriceTable = parse(text.as_bytes()).unwrap();
        let prices = table.checked("prices").unwrap();
        assert_eq!(prices.unit_prices(200_001).output, Decimal::new(225, 1));
        assert_eq!(serde_json::to_string(&PriceTable::from(&prices)).unwrap(), text);
        let stored = serde_json::to_string(&prices).unwrap();
        assert_eq!(serde_json::from_str::<Prices>(&stored).unwrap(), prices);
    }

    #[test]
    fn units_of_media_are_priced_beside_tokens() {
        let text = r#"{"input":"0","output":"0","per_million_characters":"15","per_audio_minute":"0.006","per_image":"0.04"}"#;
        let table: PriceTable = parse(text.as_bytes()).unwrap();
        let prices = table.checked("prices").unwrap();
        assert_eq!(prices.base.per_audio_minute, Some(Decimal::new(6, 3)));
        assert_eq!(serde_json::to_string(&PriceTable::from(&prices)).unwrap(), text);
        let stored = serde_json::to_string(&prices).unwrap();
        assert_eq!(serde_json::from_str::<Prices>(&stored).unwrap(), prices);
    }

    #[test]
    fn bad_prices_are_refused_by_name() {
        for (text, fault) in [
            (r#"{"input":"3"}"#, "output"),
            (r#"{"input":3,"output":"15"}"#, "input: invalid type: integer `3`"),
            (r#"{"input":"3","output":"1e3"}"#, "output: \"1e3\" is not a decimal"),
            (r#"{"input":"1_0","output":"1"}"#, "input: \"1_0\" is not a decimal"),
            (r#"{"input":"","output":"1"}"#, "input: \"\" is not a decimal"),
            (r#"{"input":".5","output":"1"}"#, "input: \".5\" is not a decimal"),
            (r#"{"input":"3","output":"15","cached":"1"}"#, "unknown field `cached`"),
            (
                r#"{"input":"3","output":"15","tiers":[{"above_input":5,"input":"1","output":"x"}]}"#,
                "tiers[0].output",
            ),
            (r#"{"input":"-3","output":"15"}"#, "prices: the price of input must not be negative"),
            (
                r#"{"input":"3","output":"0.0000000001"}"#,
                "prices: the price of output has more than nine decimals",
            ),
            (r#"{"input":"1000000001","output":"1"}"#, "prices: the price of input is above"),
            (
                r#"{"input":"1","output":"1","per_image":0.04}"#,
                "per_image: invalid type: floating point `0.04`",
            ),
            (r#"{"input":"1","output":"1","per_second":"1"}"#, "unknown field `per_second`"),
            (
                r#"{"input":"1","output":"1","tiers":[{"above_input":5,"input":"2","output":"2","per_image":"1"}]}"#,
                "prices: per_image must have a price in every tier or in none",
            ),
        ] {
            let problem =
                parse::<PriceTable>(text.as_bytes()).and_then(|table| table.checked("prices")).unwrap_err();
            assert!(problem.detail.contains(fault), "{text}: {}", problem.detail);
            assert_eq!(problem.status, axum::http::StatusCode::UNPROCESSABLE_ENTITY);
        }
    }
}
