//! Shapes of events that are written no more, and what they mean in today's: pure, without a clock or a lookup.
//!
//! Claims: a shape here is closed (it is what was written, and a change in `domain` does not change it); nothing of it is
//! lost, and what it could not say is absent.

use domain::event::UsageReported;
use domain::usage::{Attempt, Usage};
use domain::{
    AccountId, BatchId, Credits, KeyId, Label, LeaseId, Moment, Outcome, PriceVersionId, RequestId, Tokens,
    UnitPrices, UsageRecord, UsageSource,
};
use rust_decimal::Decimal;
use serde::Deserialize;

/// `usage_reported` v1: tokens in ten classes, no units of media; attempts without key or choice.
#[derive(Deserialize)]
pub(super) struct UsageReportedV1 {
    batch: BatchId,
    records: Vec<UsageRecordV1>,
}

#[derive(Deserialize)]
struct UsageRecordV1 {
    account: AccountId,
    lease: LeaseId,
    n: u64,
    spent: Credits,
    #[serde(default)]
    uncovered: Option<Credits>,
    usage: UsageV1,
}

#[derive(Deserialize)]
struct UsageV1 {
    request: RequestId,
    at: Moment,
    key: KeyId,
    model: Label,
    provider: Label,
    upstream_model: Label,
    endpoint: Label,
    tokens: TokensV1,
    price_version: PriceVersionId,
    unit_prices: UnitPricesV1,
    multiplier: Decimal,
    charge: Credits,
    cost: Credits,
    #[serde(default)]
    cost_prices: Option<UnitPricesV1>,
    outcome: Outcome,
    usage_source: UsageSource,
    stream: bool,
    status: u16,
    #[serde(default)]
    ttft_ms: Option<u64>,
    duration_ms: u64,
    #[serde(default)]
    attempts: Vec<AttemptV1>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)] // tokens of another class would be lost without a word
struct TokensV1 {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_1h: u64,
    output: u64,
    reasoning: u64,
    image_input: u64,
    image_output: u64,
    audio_input: u64,
    audio_output: u64,
}

#[derive(Deserialize)]
struct UnitPricesV1 {
    input: Decimal,
    cache_read: Decimal,
    cache_write: Decimal,
    cache_write_1h: Decimal,
    output: Decimal,
    reasoning: Decimal,
    image_input: Decimal,
    image_output: Decimal,
    audio_input: Decimal,
    audio_output: Decimal,
    per_call: Decimal,
}

#[derive(Deserialize)]
struct AttemptV1 {
    provider: Label,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    error: Option<Label>,
    duration_ms: u64,
}

impl From<UsageReportedV1> for UsageReported {
    fn from(it: UsageReportedV1) -> Self {
        Self { batch: it.batch, records: it.records.into_iter().map(Into::into).collect() }
    }
}

impl From<UsageRecordV1> for UsageRecord {
    fn from(it: UsageRecordV1) -> Self {
        Self {
            account: it.account,
            lease: it.lease,
            n: it.n,
            spent: it.spent,
            uncovered: it.uncovered.unwrap_or(Credits::ZERO),
            usage: it.usage.into(),
        }
    }
}

impl From<UsageV1> for Usage {
    fn from(it: UsageV1) -> Self {
        Self {
            request: it.request,
            at: it.at,
            key: it.key,
            model: it.model,
            provider: it.provider,
            upstream_model: it.upstream_model,
            endpoint: it.endpoint,
            tokens: it.tokens.into(),
            price_version: it.price_version,
            unit_prices: it.unit_prices.into(),
            multiplier: it.multiplier,
            charge: it.charge,
            cost: it.cost,
            cost_prices: it.cost_prices.map(Into::into),
            outcome: it.outcome,
            usage_source: it.usage_source,
            stream: it.stream,
            status: it.status,
            ttft_ms: it.ttft_ms,
            duration_ms: it.duration_ms,
            attempts: it.attempts.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<TokensV1> for Tokens {
    fn from(it: TokensV1) -> Self {
        Self {
            input: it.input,
            cache_read: it.cache_read,
            cache_write: it.cache_write,
            cache_write_1h: it.cache_write_1h,
            output: it.output,
            reasoning: it.reasoning,
            image_input: it.image_input,
            image_output: it.image_output,
            audio_input: it.audio_input,
            audio_output: it.audio_output,
            characters: 0,
            audio_seconds: 0,
            images: 0,
        }
    }
}

impl From<UnitPricesV1> for UnitPrices {
    fn from(it: UnitPricesV1) -> Self {
        Self {
            input: it.input,
            cache_read: it.cache_read,
            cache_write: it.cache_write,
            cache_write_1h: it.cache_write_1h,
            output: it.output,
            reasoning: it.reasoning,
            image_input: it.image_input,
            image_output: it.image_output,
            audio_input: it.audio_input,
            audio_output: it.audio_output,
            per_call: it.per_call,
            per_million_characters: None,
            per_audio_minute: None,
            per_image: None,
        }
    }
}

impl From<AttemptV1> for Attempt {
    fn from(it: AttemptV1) -> Self {
        Self {
            provider: it.provider,
            key: None,
            chosen: None,
            status: it.status,
            error: it.error,
            duration_ms: it.duration_ms,
        }
    }
}
