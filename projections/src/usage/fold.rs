use super::TOKEN_COLUMNS;
use super::archive::{Archived, Carried};
use crate::calendar::Calendar;
use crate::facts::{CountedUsage, Facts, TakenBack};
use crate::{Halt, ProjectionError, Set, Tx, Value};
use domain::{AccountId, Credits, KeyId, Label, Moment, Outcome, Tokens, UnitPrices, UsageSource};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The most tokens of one class that a record adds to the hourly counts (its own row keeps the true number). No call
/// has a trillion; a provider that says so must not make a sum overflow, which a database would refuse for ever.
const MOST_TOKENS: u64 = 1_000_000_000_000;

/// The columns of `usage_records`.
pub(super) const COLUMNS: [&str; 30] = [
    "lease",
    "n",
    "account",
    "request_id",
    "at",
    "key_id",
    "model",
    "provider",
    "upstream_model",
    "endpoint",
    "tokens",
    "price_version",
    "unit_prices",
    "multiplier",
    "charge",
    "cost",
    "cost_prices",
    "paid",
    "uncovered",
    "late",
    "outcome",
    "source",
    "stream",
    "status",
    "ttft_ms",
    "duration_ms",
    "attempts",
    "spent",
    "event_seq",
    "reported_at",
];

/// What a batch adds to usage.
#[derive(Debug, Default)]
pub(crate) struct UsageRows {
    records: Vec<Value>,
    /// Rows that stop being paid.
    taken_back: Vec<TakenBack>,
    /// Calls that an archive holds: no rows, but sums.
    carried: Carried,
    hours: BTreeMap<HourKey, Hour>,
}

/// With the zone, which is the same for all of a fold, the hour says which day it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HourKey {
    account: AccountId,
    hour: Moment,
    key: KeyId,
    model: Label,
    provider: Label,
}

#[derive(Clone, Debug, Default)]
struct Hour {
    day: String,
    calls: i64,
    errors: i64,
    tokens: [i64; TOKEN_COLUMNS.len()],
    charge: Credits,
    paid: Credits,
    uncovered: Credits,
    cost: Credits,
}

impl UsageRows {
    /// What a batch means for usage, of which an archive may hold calls; pure.
    pub(crate) fn fold(facts: &Facts<'_>, archived: &Archived) -> Result<Self, Halt> {
        let (mut rows, mut calendar) = (Self::default(), Calendar::new(facts.zone));
        let (mut prices, mut costs) = (PricesJson::default(), PricesJson::default());
        rows.records.reserve_exact(facts.usage.len() * COLUMNS.len());
        for counted in &facts.usage {
            let overflow = || Halt::Overflow { account: counted.record.account, sequence: counted.sequence };
            let usage = &counted.record.usage;
            let local = calendar.at(usage.at);
            let key = HourKey {
                account: counted.record.account,
                hour: local.hour,
                key: usage.key,
                model: usage.model.clone(),
                provider: usage.provider.clone(),
            };
            let hour = rows.hours.entry(key);
            let hour = hour.or_insert_with(|| Hour { day: local.day.clone(), ..Hour::default() });
            hour.add(counted).ok_or_else(overflow)?;
            if archived.has(usage.at, counted.sequence) {
                let call = (1, counted.paid);
                let added = rows.carried.add(counted.record.account, usage.at, usage.model.as_str(), call);
                added.ok_or_else(overflow)?;
                continue;
            }
            let values = record_values(counted, &mut prices, &mut costs);
            rows.records
                .extend(values.map_err(|error| Halt::Unreadable(format!("{}: {error}", usage.request)))?);
        }
        for it in &facts.taken_back {
            let overflow = || Halt::Overflow { account: it.account, sequence: it.sequence };
            let local = calendar.at(it.record.at);
            let key = HourKey {
                account: it.account,
                hour: local.hour,
                key: it.record.key,
                model: it.record.model.clone(),
                provider: it.record.provider.clone(),
            };
            let hour = rows.hours.entry(key);
            let hour = hour.or_insert_with(|| Hour { day: local.day.clone(), ..Hour::default() });
            hour.take_back(it.record.paid).ok_or_else(overflow)?;
            rows.taken_back.push(it.clone());
        }
        Ok(rows)
    }

    /// Moves the sums to those of earlier batches; the records stay.
    pub(crate) fn move_sums(&mut self, earlier: &mut Self) -> Result<(), Halt> {
        for (key, hour) in std::mem::take(&mut self.hours) {
            match earlier.hours.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(hour);
                }
                Entry::Occupied(mut entry) => {
                    let merged = entry.get_mut().merge(&hour);
                    merged
                        .ok_or_else(|| Halt::Unreadable(format!("{:?}: a sum does not fit", entry.key())))?;
                }
            }
        }
        let unfit = || Halt::Unreadable("a sum of archived calls does not fit".to_owned());
        self.carried.move_to(&mut earlier.carried).ok_or_else(unfit)
    }

    /// How many sums it is.
    pub(crate) fn sums(&self) -> usize {
        self.hours.len() + self.carried.len()
    }

    /// The records in multi-row inserts, the sums in upserts.
    pub(crate) async fn write(&self, tx: &mut Tx) -> Result<(), ProjectionError> {
        tx.insert("usage_records", &COLUMNS, &self.records, "").await?;
        let mut carried = Carried::default();
        for it in &self.taken_back {
            let sql =
                "UPDATE usage_records SET late = 1, paid = 0, uncovered = charge WHERE lease = ? AND n = ?";
            if tx.execute(sql, &[it.lease.into(), Value::count(it.n)]).await? == 0 {
                // An archive holds it: of such a call there are sums alone.
                let paid = it.record.paid.checked_neg();
                let taken = paid.and_then(|paid| {
                    carried.add(it.account, it.record.at, it.record.model.as_str(), (0, paid))
                });
                taken.ok_or(Halt::Overflow { account: it.account, sequence: it.sequence })?;
            }
        }
        self.carried.write(tx).await?;
        carried.write(tx).await?;
        let keys = ["account", "hour", "day", "key_id", "model", "provider"];
        let sums: Vec<&str> = ["calls", "errors"]
            .into_iter()
            .chain(TOKEN_COLUMNS)
            .chain(["charge", "paid", "uncovered", "cost"])
            .collect();
        let mut values = Vec::with_capacity(self.hours.len() * (keys.len() + sums.len()));
        for (key, hour) in &self.hours {
            values.extend([
                key.account.into(),
                key.hour.into(),
                hour.day.as_str().into(),
                key.key.into(),
                key.model.as_str().into(),
                key.provider.as_str().into(),
            ]);
            values.extend([hour.calls, hour.errors].into_iter().chain(hour.tokens).map(Value::from));
            values.extend([hour.charge, hour.paid, hour.uncovered, hour.cost].map(Value::from));
        }
        let sets: Vec<Set<'_>> = sums.iter().map(|column| Set::Add(column)).collect();
        let columns: Vec<&str> = keys.into_iter().chain(sums.iter().copied()).collect();
        let tail = tx.dialect().upsert("usage_hourly", &keys, &sets);
        tx.insert("usage_hourly", &columns, &values, &tail).await?;
        Ok(())
    }
}

impl Hour {
    /// `None`: a sum does not fit.
    fn merge(&mut self, later: &Self) -> Option<()> {
        self.calls = self.calls.checked_add(later.calls)?;
        self.errors = self.errors.checked_add(later.errors)?;
        for (sum, count) in self.tokens.iter_mut().zip(later.tokens) {
            *sum = sum.checked_add(count)?;
        }
        self.charge = self.charge.checked_add(later.charge)?;
        self.paid = self.paid.checked_add(later.paid)?;
        self.uncovered = self.uncovered.checked_add(later.uncovered)?;
        self.cost = self.cost.checked_add(later.cost)?;
        Some(())
    }

    /// `None`: a sum does not fit.
    fn take_back(&mut self, paid: Credits) -> Option<()> {
        self.paid = self.paid.checked_sub(paid)?;
        self.uncovered = self.uncovered.checked_add(paid)?;
        Some(())
    }

    /// `None`: a sum does not fit.
    fn add(&mut self, counted: &CountedUsage<'_>) -> Option<()> {
        let usage = &counted.record.usage;
        self.calls = self.calls.checked_add(1)?;
        if is_error(usage.outcome) {
            self.errors = self.errors.checked_add(1)?;
        }
        for (sum, count) in self.tokens.iter_mut().zip(by_class(&usage.tokens)) {
            *sum = sum.checked_add_unsigned(count.min(MOST_TOKENS))?;
        }
        self.charge = self.charge.checked_add(usage.charge)?;
        self.paid = self.paid.checked_add(counted.paid)?;
        self.uncovered = self.uncovered.checked_add(counted.uncovered)?;
        self.cost = self.cost.checked_add(usage.cost)?;
        Some(())
    }
}

/// In the order of [`TOKEN_COLUMNS`].
fn by_class(tokens: &Tokens) -> [u64; TOKEN_COLUMNS.len()] {
    [
        tokens.input,
        tokens.cache_read,
        tokens.cache_write,
        tokens.cache_write_1h,
        tokens.output,
        tokens.reasoning,
        tokens.image_input,
        tokens.image_output,
        tokens.audio_input,
        tokens.audio_output,
        tokens.characters,
        tokens.audio_seconds,
        tokens.images,
    ]
}

/// Did the gateway or a provider fail the caller? One that left did not.
fn is_error(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Completed | Outcome::ClientGone => false,
        Outcome::ProviderError | Outcome::Interrupted | Outcome::Refused => true,
    }
}

/// Prices as JSON. A price list lasts for days, so the text of the record before is nearly always that of the next.
#[derive(Debug, Default)]
struct PricesJson {
    last: Option<(Exact, String)>,
}

impl PricesJson {
    fn of(&mut self, prices: &UnitPrices) -> Result<String, serde_json::Error> {
        // By their bytes: as numbers 1.0 and 1.00 are equal, as texts they are not.
        let bytes = exact(prices);
        match &self.last {
            Some((known, text)) if *known == bytes => Ok(text.clone()),
            Some(_) | None => {
                let text = serde_json::to_string(prices)?;
                self.last = Some((bytes, text.clone()));
                Ok(text)
            }
        }
    }
}

/// Every price to the byte; those of media may be absent.
type Exact = [Option<[u8; 16]>; 14];

/// Every price by name: a new one must find its place here before this compiles.
fn exact(prices: &UnitPrices) -> Exact {
    let UnitPrices {
        input,
        cache_read,
        cache_write,
        cache_write_1h,
        output,
        reasoning,
        image_input,
        image_output,
        audio_input,
        audio_output,
        per_call,
        per_million_characters,
        per_audio_minute,
        per_image,
    } = *prices;
    [
        Some(input),
        Some(cache_read),
        Some(cache_write),
        Some(cache_write_1h),
        Some(output),
        Some(reasoning),
        Some(image_input),
        Some(image_output),
        Some(audio_input),
        Some(audio_output),
        Some(per_call),
        per_million_characters,
        per_audio_minute,
        per_image,
    ]
    .map(|price| price.map(|price| price.serialize()))
}

fn record_values(
    counted: &CountedUsage<'_>,
    prices: &mut PricesJson,
    costs: &mut PricesJson,
) -> Result<[Value; COLUMNS.len()], serde_json::Error> {
    let record = counted.record;
    let usage = &record.usage;
    Ok([
        record.lease.into(),
        Value::count(record.n),
        record.account.into(),
        usage.request.into(),
        usage.at.into(),
        usage.key.into(),
        usage.model.as_str().into(),
        usage.provider.as_str().into(),
        usage.upstream_model.as_str().into(),
        usage.endpoint.as_str().into(),
        serde_json::to_string(&usage.tokens)?.into(),
        usage.price_version.into(),
        prices.of(&usage.unit_prices)?.into(),
        Value::display(usage.multiplier),
        usage.charge.into(),
        usage.cost.into(),
        usage.cost_prices.as_ref().map(|it| costs.of(it)).transpose()?.into(),
        counted.paid.into(),
        counted.uncovered.into(),
        counted.late.into(),
        outcome_text(usage.outcome).into(),
        source_text(usage.usage_source).into(),
        usage.stream.into(),
        i64::from(usage.status).into(),
        Value::opt_count(usage.ttft_ms),
        Value::count(usage.duration_ms),
        serde_json::to_string(&usage.attempts)?.into(),
        record.spent.into(),
        Value::count(counted.sequence),
        counted.reported_at.into(),
    ])
}

/// An outcome as its row and its JSON write it.
pub(super) fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::ClientGone => "client_gone",
        Outcome::ProviderError => "provider_error",
        Outcome::Interrupted => "interrupted",
        Outcome::Refused => "refused",
    }
}

/// A source as its row and its JSON write it.
pub(super) fn source_text(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Provider => "provider",
        UsageSource::Estimated => "estimated",
    }
}
