//! Prices: the old gateways' ratios as credits per one million tokens.
//!
//! For: reading the ratio tables, and the price list of one model.
//! Claims: no number passes through a float; a model of which something is not known gets no price rather than a guess;
//! whatever was rounded is told.

use super::Kind;
use super::units::{QuotaPerCredit, decimal};
use domain::Prices;
use domain::price::PriceList;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// Model (or group) → ratio.
pub type Ratios = BTreeMap<String, Decimal>;

/// The ratio tables of a site.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Quota per token of the prompt.
    pub model: Ratios,
    /// Output as a multiple of input.
    pub completion: Ratios,
    /// Tokens read from a cache as a multiple of input.
    pub cache: Ratios,
    /// Tokens written to a cache as a multiple of input.
    pub create_cache: Ratios,
    /// Image tokens as a multiple of input.
    pub image: Ratios,
    /// Audio heard as a multiple of input.
    pub audio: Ratios,
    /// Audio spoken as a multiple of audio heard.
    pub audio_completion: Ratios,
    /// The site's dollars per call.
    pub per_call: Ratios,
    /// Models that are charged by an expression.
    pub tiered: BTreeSet<String>,
    /// Models whose ratios were told by the running site, so that no rule of its program applies on top.
    pub in_force: BTreeSet<String>,
}

/// What a table's text holds, and the entries that are no numbers.
pub fn ratios(json: &str) -> Result<(Ratios, Vec<String>), String> {
    let raw: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(json).map_err(|error| error.to_string())?;
    let (mut read, mut odd) = (Ratios::new(), Vec::new());
    for (name, value) in raw {
        match decimal(value.get()) {
            Some(ratio) => drop(read.insert(name, ratio)),
            None => odd.push(name),
        }
    }
    Ok((read, odd))
}

/// What `GET /api/pricing` of a running site answers: the prices in force.
#[derive(Deserialize)]
struct Pricing<'a> {
    #[serde(borrow)]
    data: Vec<PricedModel<'a>>,
}

#[derive(Deserialize)]
struct PricedModel<'a> {
    model_name: String,
    #[serde(default)]
    quota_type: i64,
    #[serde(default)]
    billing_mode: Option<String>,
    #[serde(borrow, default)]
    model_ratio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model_price: Option<&'a RawValue>,
    #[serde(borrow, default)]
    completion_ratio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_ratio: Option<&'a RawValue>,
    #[serde(borrow, default)]
    create_cache_ratio: Option<&'a RawValue>,
}

impl Tables {
    /// Takes the prices in force over those of the database. Answers with the models of which the two differ.
    pub fn take_pricing(&mut self, json: &str) -> Result<Vec<String>, String> {
        let pricing: Pricing<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut differ = Vec::new();
        for it in pricing.data {
            let name = it.model_name;
            let number = |raw: Option<&RawValue>| raw.and_then(|raw| decimal(raw.get()));
            let put = |table: &mut Ratios, value: Option<Decimal>| match value {
                Some(value) => table.insert(name.clone(), value) != Some(value),
                None => false,
            };
            if it.billing_mode.as_deref() == Some("tiered_expr") {
                self.tiered.insert(name.clone());
                continue;
            }
            let changed = if it.quota_type == 1 {
                self.model.remove(&name);
                put(&mut self.per_call, number(it.model_price))
            } else {
                self.per_call.remove(&name);
                put(&mut self.cache, number(it.cache_ratio));
                put(&mut self.create_cache, number(it.create_cache_ratio));
                let completion = put(&mut self.completion, number(it.completion_ratio));
                put(&mut self.model, number(it.model_ratio)) || completion
            };
            if changed {
                differ.push(name.clone());
            }
            self.tiered.remove(&name);
            self.in_force.insert(name);
        }
        Ok(differ)
    }
}

/// Why a model gets no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpriced {
    /// No table names it.
    Unknown,
    /// It is charged by an expression.
    Tiered,
    /// What its output costs is built into the old program.
    Output,
    /// It cannot be a price here: negative, or too large.
    OutOfRange,
}

/// A model's list, and whether a number of it had to be rounded.
pub type Priced = Result<(Prices, bool), Unpriced>;

/// How ratios become prices.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Which gateway's rules.
    pub kind: Kind,
    /// What is one credit.
    pub per_credit: QuotaPerCredit,
    /// What was a dollar at the site.
    pub per_dollar: QuotaPerCredit,
    /// What a missing completion ratio counts as; `None`: the model gets no price.
    pub completion: Option<Decimal>,
}

const CACHE_WRITE: Decimal = Decimal::from_parts(125, 0, 0, false, 2);
const CACHE_WRITE_1H: Decimal = Decimal::from_parts(16, 0, 0, false, 1);

/// The price list of one model.
pub fn price_of(tables: &Tables, model: &str, terms: &Terms) -> Priced {
    if tables.tiered.contains(model) {
        return Err(Unpriced::Tiered);
    }
    let out_of_range = Unpriced::OutOfRange;
    if let Some(dollars) = tables.per_call.get(model) {
        let quota = dollars.checked_mul(terms.per_dollar.get().into()).ok_or(out_of_range)?;
        let credits = quota.checked_div(terms.per_credit.get().into()).ok_or(out_of_range)?;
        let list = PriceList { per_call: Some(credits), ..PriceList::plain(Decimal::ZERO, Decimal::ZERO) };
        return rounded(list);
    }
    let ratio = tables.model.get(model).ok_or(Unpriced::Unknown)?;
    let input = terms.per_million(*ratio)?;
    let times = |base: Decimal, ratio: Option<&Decimal>| match ratio {
        Some(ratio) => base.checked_mul(*ratio).map(Some).ok_or(out_of_range),
        None => Ok(None),
    };
    let completion = completion_of(tables, model, terms).ok_or(Unpriced::Output)?;
    let output = times(input, Some(&completion))?.ok_or(out_of_range)?;
    let mut list = PriceList::plain(input, output);
    // One API knows no classes of cache: all of a prompt costs what input does, as an absent price does here.
    if terms.kind == Kind::NewApi {
        list.cache_read = times(input, tables.cache.get(model))?;
        list.cache_write = times(input, Some(tables.create_cache.get(model).unwrap_or(&CACHE_WRITE)))?;
        list.cache_write_1h = times(list.cache_write.unwrap_or(input), Some(&CACHE_WRITE_1H))?;
        list.image_input = times(input, tables.image.get(model))?;
        list.audio_input = times(input, tables.audio.get(model))?;
        // Audio spoken counts from audio heard.
        let heard = list.audio_input.unwrap_or(input);
        list.audio_output = match (tables.audio.get(model), tables.audio_completion.get(model)) {
            (None, None) => None,
            (_, ratio) => times(heard, Some(ratio.unwrap_or(&Decimal::ONE)))?,
        };
    }
    rounded(list)
}

impl Terms {
    fn per_million(&self, ratio: Decimal) -> Result<Decimal, Unpriced> {
        self.per_credit.per_million(ratio).ok_or(Unpriced::OutOfRange)
    }
}

/// Output as a multiple of input. New API's program overrules its own table for some families, unless the name holds a `/`.
fn completion_of(tables: &Tables, model: &str, terms: &Terms) -> Option<Decimal> {
    let stated = tables.completion.get(model).copied();
    if terms.kind == Kind::NewApi
        && !tables.in_force.contains(model)
        && let Some(ruled) = ruled_completion(model)
    {
        return Some(ruled);
    }
    stated.or(terms.completion)
}

/// What New API takes for output whatever its table says.
pub fn ruled_completion(model: &str) -> Option<Decimal> {
    if model.contains('/') {
        return None;
    }
    let begins = |families: &[&str]| families.iter().any(|family| model.starts_with(family));
    let is_claude_4 = model.starts_with("claude-") && model.contains("-4");
    let ratio = if begins(&["claude-3"]) || is_claude_4 {
        5
    } else if begins(&["gpt-5"]) && !begins(&["gpt-5."]) {
        8
    } else if begins(&["o1", "o3", "gemini-1.5", "gemini-2.0"]) {
        4
    } else {
        return None;
    };
    Some(Decimal::from(ratio))
}

/// The list with nine decimals at most.
fn rounded(mut list: PriceList) -> Priced {
    let mut changed = false;
    let mut round = |price: &mut Decimal| {
        let short = price.round_dp_with_strategy(9, RoundingStrategy::MidpointNearestEven).normalize();
        changed |= short != *price;
        *price = short;
    };
    round(&mut list.input);
    round(&mut list.output);
    [
        &mut list.cache_read,
        &mut list.cache_write,
        &mut list.cache_write_1h,
        &mut list.image_input,
        &mut list.audio_input,
        &mut list.audio_output,
        &mut list.per_call,
    ]
    .into_iter()
    .flatten()
    .for_each(&mut round);
    let prices = Prices::flat(list);
    prices.validate().map_err(|_| Unpriced::OutOfRange)?;
    Ok((prices, changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        kind: Kind::NewApi,
        per_credit: QuotaPerCredit::DEFAULT,
        per_dollar: QuotaPerCredit::DEFAULT,
        completion: None,
    };

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn table(entries: &[(&str, &str)]) -> Ratios {
        entries.iter().map(|(name, ratio)| ((*name).to_owned(), dec(ratio))).collect()
    }

    #[test]
    fn a_ratio_of_one_is_two_credits_a_million() {
        let tables = Tables {
            model: table(&[("m", "1.25")]),
            completion: table(&[("m", "4")]),
            cache: table(&[("m", "0.1")]),
            image: table(&[("m", "2")]),
            audio: table(&[("m", "16")]),
            audio_completion: table(&[("m", "2")]),
            ..Tables::default()
        };
        let (prices, changed) = price_of(&tables, "m", &TERMS).unwrap();
        let expected = PriceList {
            cache_read: Some(dec("0.25")),
            cache_write: Some(dec("3.125")),
            cache_write_1h: Some(dec("5")),
            image_input: Some(dec("5")),
            audio_input: Some(dec("40")),
            audio_output: Some(dec("80")),
            ..PriceList::plain(dec("2.5"), dec("10"))
        };
        assert_eq!((prices.base, changed), (expected, false));

        let one_api = Terms { kind: Kind::OneApi, ..TERMS };
        let (prices, _) = price_of(&tables, "m", &one_api).unwrap();
        assert_eq!(prices.base, PriceList::plain(dec("2.5"), dec("10")), "no classes of cache or media");
    }

    #[test]
    fn a_price_of_a_call_replaces_the_ratios() {
        let tables =
            Tables { model: table(&[("m", "1")]), per_call: table(&[("m", "0.1")]), ..Tables::default() };
        let (prices, _) = price_of(&tables, "m", &TERMS).unwrap();
        let free = PriceList::plain(Decimal::ZERO, Decimal::ZERO);
        assert_eq!(prices.base, PriceList { per_call: Some(dec("0.1")), ..free.clone() });
        // A site whose dollar is another number of quota than the credit here.
        let dear = Terms { per_dollar: QuotaPerCredit::try_new(1_000_000).unwrap(), ..TERMS };
        let (prices, _) = price_of(&tables, "m", &dear).unwrap();
        assert_eq!(prices.base, PriceList { per_call: Some(dec("0.2")), ..free });
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let tables = Tables {
            model: table(&[("m", "1"), ("t", "1"), ("minus", "-1"), ("huge", "1000000000")]),
            completion: table(&[("t", "1"), ("minus", "1"), ("huge", "1")]),
            tiered: ["t".to_owned()].into(),
            ..Tables::default()
        };
        for (model, why) in [
            ("none", Unpriced::Unknown),
            ("m", Unpriced::Output),
            ("t", Unpriced::Tiered),
            ("minus", Unpriced::OutOfRange),
            ("huge", Unpriced::OutOfRange),
        ] {
            assert_eq!(price_of(&tables, model, &TERMS), Err(why), "{model}");
        }
        let vouched = Terms { completion: Some(dec("1")), ..TERMS };
        assert_eq!(price_of(&tables, "m", &vouched).unwrap().0.base.output, dec("2"));
    }

    #[test]
    fn new_apis_program_overrules_its_table_for_some_families() {
        for (model, ratio) in [
            ("claude-3-5-sonnet", Some(5)),
            ("claude-sonnet-4-20250514", Some(5)),
            ("claude-2", None),
            ("o1-mini", Some(4)),
            ("o3", Some(4)),
            ("gpt-5-mini", Some(8)),
            ("gpt-5.1", None),
            ("gpt-4o", None),
            ("gemini-2.0-flash", Some(4)),
            ("gemini-2.5-pro", None),
            ("anthropic/claude-3-5-sonnet", None),
        ] {
            assert_eq!(ruled_completion(model), ratio.map(Decimal::from), "{model}");
        }
        let mut tables =
            Tables { model: table(&[("o1", "1")]), completion: table(&[("o1", "9")]), ..Tables::default() };
        assert_eq!(price_of(&tables, "o1", &TERMS).unwrap().0.base.output, dec("8"));
        let one_api = Terms { kind: Kind::OneApi, ..TERMS };
        assert_eq!(price_of(&tables, "o1", &one_api).unwrap().0.base.output, dec("18"));
        // What the running site says is what it takes.
        let json = r#"{"data":[{"model_name":"o1","quota_type":0,"model_ratio":7.5,"completion_ratio":3.1,
                       "model_price":0,"enable_groups":["default"]}],"group_ratio":{"default":1}}"#;
        assert_eq!(tables.take_pricing(json).unwrap(), ["o1"]);
        assert_eq!(price_of(&tables, "o1", &TERMS).unwrap().0.base.output, dec("46.5"));
        assert!(tables.take_pricing(json).unwrap().is_empty(), "now they agree");
    }

    #[test]
    fn ratios_of_odd_currencies_are_rounded_half_to_even_at_the_ninth_decimal_and_told() {
        let (model, odd) = ratios(r#"{"a": 0.0357142857142857, "b": 1e-3, "c": "x"}"#).unwrap();
        assert_eq!(odd, ["c"]);
        let tables = Tables { completion: table(&[("a", "1"), ("b", "1")]), model, ..Tables::default() };
        let (prices, changed) = price_of(&tables, "a", &TERMS).unwrap();
        assert_eq!((prices.base.input, changed), (dec("0.071428571"), true));
        let (prices, changed) = price_of(&tables, "b", &TERMS).unwrap();
        assert_eq!((prices.base.input, changed), (dec("0.002"), false));
        assert!(ratios("[]").is_err());
    }
}
