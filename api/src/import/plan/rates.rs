//! Ratio tables, which become price lists.

use super::*;

impl Planner<'_> {
    /// The ratio tables, and the groups' ratios.
    pub(super) fn tables(&mut self) -> anyhow::Result<(Tables, prices::Ratios)> {
        let mut read = |name: &str| {
            let Some(text) = self.data.options.get(name).filter(|text| !text.trim().is_empty()) else {
                return prices::Ratios::new();
            };
            let (mut table, odd) = match prices::ratios(text) {
                Ok(read) => read,
                Err(_) => (prices::Ratios::new(), vec!["the whole table".to_owned()]),
            };
            let report = &mut self.plan.report;
            odd.iter().for_each(|entry| report.tell(note::RATIO_ODD, format!("{name}: {entry}")));
            table.retain(|model, _| {
                let is_pattern = model.contains('*') || (model.contains('(') && model.ends_with(')'));
                if is_pattern {
                    report.tell(note::RATIO_PATTERN, format!("{name}: {model}"));
                }
                !is_pattern
            });
            table
        };
        let mut tables = Tables {
            model: read("ModelRatio"),
            completion: read("CompletionRatio"),
            cache: read("CacheRatio"),
            create_cache: read("CreateCacheRatio"),
            image: read("ImageRatio"),
            audio: read("AudioRatio"),
            audio_completion: read("AudioCompletionRatio"),
            per_call: read("ModelPrice"),
            ..Tables::default()
        };
        let groups = read("GroupRatio");
        if let Some(modes) = self.data.options.get("billing_setting.billing_mode") {
            let modes: BTreeMap<String, String> = serde_json::from_str(modes).unwrap_or_default();
            tables.tiered =
                modes.into_iter().filter(|(_, mode)| mode == "tiered_expr").map(|(model, _)| model).collect();
        }
        let pairs = self.data.options.get("GroupGroupRatio").map_or("", |text| text.trim());
        if !matches!(pairs, "" | "{}" | "null") {
            self.report().tell(note::GROUP_PAIRS, "GroupGroupRatio");
        }
        if let Some(pricing) = &self.terms.pricing {
            let differ = tables.take_pricing(pricing);
            for model in differ.map_err(|error| anyhow::anyhow!("--pricing: {error}"))? {
                self.report().tell(note::PRICE_DIFFERS, model);
            }
        }
        Ok((tables, groups))
    }

    pub(super) fn prices(&mut self, tables: &Tables, terms: &prices::Terms, sent: &SentNames) {
        for (model, upstream) in sent {
            self.report().count("models").source += 1;
            if self.mapped("price", model).is_some() {
                self.report().count("prices").already += 1;
                continue;
            }
            if self.present.priced.contains(model) {
                self.report().tell(note::PRICE_KEPT, model.as_str());
                continue;
            }
            let priced = match terms.kind {
                Kind::NewApi => prices::price_of(tables, model, terms),
                Kind::OneApi => self.dearest(tables, terms, model, upstream),
            };
            let note = match priced {
                Ok((prices, was_rounded)) => {
                    if was_rounded {
                        self.report().tell(note::PRICE_ROUNDED, model.as_str());
                    }
                    self.report().count("prices").imported += 1;
                    self.plan.prices.push((model.clone(), prices));
                    continue;
                }
                Err(Unpriced::Unknown) => note::NO_PRICE,
                Err(Unpriced::Output) => note::NO_OUTPUT_PRICE,
                Err(Unpriced::Tiered) => note::PRICE_TIERED,
                Err(Unpriced::OutOfRange) => note::PRICE_RANGE,
            };
            self.report().tell(note, model.as_str());
        }
    }

    /// One API prices the name that is sent. Where channels send several, the dearest counts; one without a price leaves the
    /// model without one.
    fn dearest(
        &mut self,
        tables: &Tables,
        terms: &prices::Terms,
        model: &str,
        sent: &BTreeSet<String>,
    ) -> prices::Priced {
        let mut dearest: Option<(Prices, bool)> = None;
        let mut differ = false;
        for name in sent {
            let (prices, rounded) = prices::price_of(tables, name, terms)?;
            let worth = |prices: &Prices| (prices.base.output, prices.base.input, prices.base.per_call);
            dearest = match dearest {
                Some((best, was)) => {
                    differ |= best != prices;
                    Some(if worth(&prices) > worth(&best) { (prices, rounded) } else { (best, was) })
                }
                None => Some((prices, rounded)),
            };
        }
        if differ {
            self.report().tell(note::PRICE_AMBIGUOUS, model);
        }
        dearest.ok_or(Unpriced::Unknown)
    }
}
