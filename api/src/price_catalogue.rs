//! The price catalogue: what providers publish as their prices, embedded as data (`data/price-catalogue.json`).
//!
//! For: entries to be found by name, and their prices times a multiplier. Nothing is charged by an entry: only price
//! versions that an operator published are in force, and an entry is where one may come from.
//! May not touch: the directory, the network. A newer catalogue comes with a newer release, or from
//! `tools/price-catalogue.py`.
//! Claims: every entry passes `Prices::validate`; a product is exact and then rounded once, half to even, to nine
//! decimals; a product that was rounded is known.

use domain::{Prices, price::PriceList, price::Tier};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserialize;
use std::{collections::HashSet, sync::LazyLock};

/// The decimals of a price.
const DECIMALS: u32 = 9;

/// The catalogue of this release.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceCatalogue {
    /// Whose list it was made from.
    pub source: String,
    /// Where that is kept.
    pub url: String,
    /// The version of that list.
    pub version: String,
    /// The day of that version: `2026-10-21`.
    pub date: String,
    /// Under which licence it is.
    pub licence: String,
    /// ISO 4217: what the prices are in.
    pub currency: String,
    /// The entries, by their id.
    #[serde(rename = "models")]
    pub entries: Vec<Entry>,
}

/// What a provider publishes for a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The model's name at the provider.
    pub name: String,
    /// The provider, such as `openai`.
    pub provider: String,
    /// What it does, such as `chat` or `embedding`.
    pub mode: String,
    /// The longest prompt, in tokens, if known.
    pub max_input: Option<u64>,
    /// The most generated tokens, if known.
    pub max_output: Option<u64>,
    /// In the catalogue's currency per one million tokens, or per unit of media.
    pub prices: Prices,
}

impl Entry {
    /// Its id: `openai/gpt-5`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.provider, self.name)
    }
}

/// Why the embedded catalogue cannot be used; a defect of the release.
#[derive(Debug, thiserror::Error)]
#[error("the embedded price catalogue cannot be read: {0}")]
pub struct Unreadable(String);

/// The catalogue of this release, read at the first use.
pub fn embedded() -> Result<&'static PriceCatalogue, &'static Unreadable> {
    static CATALOGUE: LazyLock<Result<PriceCatalogue, Unreadable>> =
        LazyLock::new(|| PriceCatalogue::parse(include_str!("../data/price-catalogue.json")));
    CATALOGUE.as_ref()
}

impl PriceCatalogue {
    fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut catalogue: Self =
            serde_json::from_str(text).map_err(|error| Unreadable(error.to_string()))?;
        let mut ids = HashSet::new();
        for entry in &catalogue.entries {
            let id = entry.id();
            entry.prices.validate().map_err(|error| Unreadable(format!("{id}: {error}")))?;
            if !ids.insert(id) {
                return Err(Unreadable(format!("{} stands there twice", entry.id())));
            }
        }
        catalogue.entries.sort_by_cached_key(Entry::id);
        Ok(catalogue)
    }

    /// The entry of this id.
    pub fn find(&self, id: &str) -> Option<&Entry> {
        let (provider, name) = id.split_once('/')?;
        self.entries.iter().find(|it| it.provider == provider && it.name == name)
    }

    /// The entries whose ids hold every word of `query`, whatever its case, and of this provider if one is named; in the
    /// order of their ids, beginning behind the id `after`.
    pub fn search<'a>(
        &'a self,
        query: &str,
        provider: Option<&'a str>,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Entry> {
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        self.entries.iter().filter(move |it| {
            let id = it.id();
            let folded = id.to_lowercase();
            provider.is_none_or(|provider| it.provider == provider)
                && after.is_none_or(|after| id.as_str() > after)
                && words.iter().all(|word| folded.contains(word))
        })
    }
}

/// A price list times a multiplier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedUp {
    /// The products; a price that is absent stays so and falls back as before.
    pub prices: Prices,
    /// Had one of them more than nine decimals, so that it was rounded, half to even?
    pub rounded: bool,
}

/// Every price of a list times `multiplier`. `None`: a product is beyond any price.
pub fn marked_up(prices: &Prices, multiplier: Decimal) -> Option<MarkedUp> {
    let mut rounded = false;
    let mut tiers = Vec::with_capacity(prices.tiers.len());
    let base = list(&prices.base, multiplier, &mut rounded)?;
    for tier in &prices.tiers {
        let list = list(&tier.list, multiplier, &mut rounded)?;
        tiers.push(Tier { above_input: tier.above_input, list });
    }
    Some(MarkedUp { prices: Prices { base, tiers }, rounded })
}

/// Every price by name: a new one must find its place here before this compiles.
fn list(of: &PriceList, multiplier: Decimal, rounded: &mut bool) -> Option<PriceList> {
    let PriceList {
        input,
        output,
        cache_read,
        cache_write,
        cache_write_1h,
        reasoning,
        image_input,
        image_output,
        audio_input,
        audio_output,
        per_call,
        per_million_characters,
        per_audio_minute,
        per_image,
    } = *of;
    let mut times = |price: Decimal| {
        // A price has at most 9 decimals and a multiplier 6, so the product is exact before it is rounded.
        let exact = price.checked_mul(multiplier)?;
        let product = exact.round_dp_with_strategy(DECIMALS, RoundingStrategy::MidpointNearestEven);
        *rounded |= product != exact;
        Some(product.normalize())
    };
    let mut maybe = |price: Option<Decimal>| match price {
        Some(price) => times(price).map(Some),
        None => Some(None),
    };
    let (cache_read, cache_write, cache_write_1h) =
        (maybe(cache_read)?, maybe(cache_write)?, maybe(cache_write_1h)?);
    let (image_input, image_output) = (maybe(image_input)?, maybe(image_output)?);
    let (audio_input, audio_output) = (maybe(audio_input)?, maybe(audio_output)?);
    let (reasoning, per_call) = (maybe(reasoning)?, maybe(per_call)?);
    let (per_million_characters, per_audio_minute, per_image) =
        (maybe(per_million_characters)?, maybe(per_audio_minute)?, maybe(per_image)?);
    Some(PriceList {
        input: times(input)?,
        output: times(output)?,
        cache_read,
        cache_write,
        cache_write_1h,
        reasoning,
        image_input,
        image_output,
        audio_input,
        audio_output,
        per_call,
        per_million_characters,
        per_audio_minute,
        per_image,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn the_embedded_catalogue_is_read_whole_and_small() {
        let catalogue = embedded().unwrap();
        assert!(catalogue.entries.len() > 300, "{}", catalogue.entries.len());
        assert!(include_str!("../data/price-catalogue.json").len() < 150_000);
        assert_eq!(catalogue.currency, "USD");
        for provider in ["openai", "anthropic", "gemini", "deepseek", "xai", "mistral", "moonshot", "cohere"]
        {
            assert!(catalogue.entries.iter().any(|it| it.provider == provider), "{provider}");
        }
        for entry in &catalogue.entries {
            assert_eq!(catalogue.find(&entry.id()), Some(entry));
            domain::Label::try_new(entry.name.as_str()).unwrap();
        }
    }

    #[test]
    fn prices_of_the_catalogue_are_the_sources_to_the_digit() {
        let catalogue = embedded().unwrap();
        let list = &catalogue.find("anthropic/claude-sonnet-4-5").unwrap().prices.base;
        assert_eq!((list.input, list.output), (decimal("3"), decimal("15")));
        assert_eq!(
            (list.cache_read, list.cache_write, list.cache_write_1h),
            (Some(decimal("0.3")), Some(decimal("3.75")), Some(decimal("6")))
        );
        let long = catalogue.find("gemini/gemini-2.5-pro").unwrap().prices.unit_prices(200_001);
        assert_eq!((long.input, long.output, long.reasoning), (decimal("2.5"), decimal("15"), decimal("15")));
        let heard = &catalogue.find("openai/whisper-1").unwrap().prices.base;
        assert_eq!((heard.input, heard.per_audio_minute), (Decimal::ZERO, Some(decimal("0.006"))));
        let spoken = &catalogue.find("openai/tts-1").unwrap().prices.base;
        assert_eq!(spoken.per_million_characters, Some(decimal("15")));
    }

    #[test]
    fn a_catalogue_with_a_bad_or_a_double_entry_is_refused_by_name() {
        let with = |models: &str| {
            let head = r#""source":"s","url":"u","version":"1","date":"d","licence":"MIT","currency":"USD""#;
            PriceCatalogue::parse(&format!("{{{head},\"models\":[{models}]}}")).map_err(|it| it.to_string())
        };
        let one = r#"{"name":"m","provider":"p","mode":"chat","prices":{"input":"1","output":"2"}}"#;
        assert_eq!(with(one).unwrap().entries[0].id(), "p/m");
        for (models, fault) in [
            (format!("{one},{one}"), "p/m stands there twice"),
            (one.replace("\"1\"", "\"-1\""), "p/m: the price of input must not be negative"),
            (one.replace("output", "outputs"), "output"),
        ] {
            assert!(with(&models).unwrap_err().contains(fault), "{models}");
        }
    }

    #[test]
    fn search_goes_by_every_word_and_begins_behind_a_cursor() {
        let catalogue = embedded().unwrap();
        let found = |query, provider, after| -> Vec<String> {
            catalogue.search(query, provider, after).map(Entry::id).collect()
        };
        let all = found("SONNET claude", None, None);
        assert!(all.iter().all(|id| id.contains("sonnet")) && all.len() > 2, "{all:?}");
        assert!(all.is_sorted());
        assert_eq!(found("claude sonnet", Some("anthropic"), Some(&all[0])), all[1..]);
        assert_eq!(found("claude", Some("openai"), None), Vec::<String>::new());
        assert_eq!(found("", None, None).len(), catalogue.entries.len());
    }

    #[test]
    fn a_product_is_exact_and_rounded_once_half_to_even() {
        let price = |text: &str| Prices::flat(PriceList::plain(decimal(text), Decimal::ZERO));
        for (input, multiplier, product, rounded) in [
            ("3", "1.1", "3.3", false),
            ("0.000000001", "1.5", "0.000000002", true),
            ("0.000000003", "1.5", "0.000000004", true),
            ("0.000000001", "0.5", "0", true),
            ("0.15", "1", "0.15", false),
            ("1000000000", "1000", "1000000000000", false),
        ] {
            let it = marked_up(&price(input), decimal(multiplier)).unwrap();
            assert_eq!(
                (it.prices.base.input, it.rounded),
                (decimal(product), rounded),
                "{input} × {multiplier}"
            );
        }
        assert_eq!(marked_up(&price("79000000000000000000000000000"), decimal("1000")), None);
    }

    #[test]
    fn every_price_of_a_list_and_its_tiers_is_multiplied() {
        let mut list = PriceList::plain(decimal("1"), decimal("2"));
        for (at, class) in [
            &mut list.cache_read,
            &mut list.cache_write,
            &mut list.cache_write_1h,
            &mut list.reasoning,
            &mut list.image_input,
            &mut list.image_output,
            &mut list.audio_input,
            &mut list.audio_output,
            &mut list.per_call,
            &mut list.per_million_characters,
            &mut list.per_audio_minute,
            &mut list.per_image,
        ]
        .into_iter()
        .enumerate()
        {
            *class = Some(Decimal::from(at + 3));
        }
        let prices = Prices { base: list.clone(), tiers: vec![Tier { above_input: 7, list }] };
        let twice = marked_up(&prices, Decimal::TWO).unwrap().prices;
        for input in [7, 8] {
            let pairs = prices.unit_prices(input);
            for ((class, before), (_, after)) in pairs.classes().zip(twice.unit_prices(input).classes()) {
                assert_eq!(after, before * Decimal::TWO, "{class}");
            }
        }
        let absent = Prices::flat(PriceList::plain(decimal("1"), decimal("2")));
        assert_eq!(marked_up(&absent, Decimal::ONE).unwrap().prices, absent);
    }
}
