//! Words for tests: ids by name, amounts by text, and a usage record to start from.

use crate::usage::{Outcome, Usage, UsageSource};
use crate::{
    AccountId, ChannelName, Credits, IdempotencyKey, KeyId, Label, LeaseId, Moment, Money, PriceVersionId,
    Reason, RequestId, Tokens, UsageRecord,
};
use rust_decimal::Decimal;
use uuid::Uuid;

/// The same name always gives the same UUID; at most 16 bytes.
pub(crate) fn uuid(name: &str) -> Uuid {
    assert!(name.len() <= 16, "{name:?} is too long for a test's id");
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Uuid::from_bytes(bytes)
}

pub(crate) fn lease_id(name: &str) -> LeaseId {
    LeaseId::from_uuid(uuid(name))
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

pub(crate) fn nano(nano: i64) -> Credits {
    Credits::from_nano(nano)
}

/// Such as `"50.00 CNY"`.
pub(crate) fn money(text: &str) -> Money {
    let (amount, currency) = text.split_once(' ').unwrap();
    Money::parse(amount, currency.parse().unwrap()).unwrap()
}

pub(crate) fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(crate) fn label(text: &str) -> Label {
    Label::try_new(text).unwrap()
}

pub(crate) fn reason(text: &str) -> Reason {
    Reason::try_new(text).unwrap()
}

pub(crate) fn channel(text: &str) -> ChannelName {
    ChannelName::try_new(text).unwrap()
}

pub(crate) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::try_new(text).unwrap()
}

/// A completed call of 1,200 prompt and 350 answer tokens at 3 and 15 credits per million: 0.00885 credits.
pub(crate) fn usage_record() -> UsageRecord {
    let tokens = Tokens { input: 1200, output: 350, ..Tokens::default() };
    let unit_prices = crate::price::PriceList::plain(dec("3"), dec("15")).resolve();
    let charge = unit_prices.charge(&tokens, Decimal::ONE).unwrap();
    let usage = Usage {
        request: RequestId::from_uuid(uuid("request")),
        at: Moment::from_micros(0),
        key: KeyId::from_uuid(uuid("key")),
        model: label("claude"),
        provider: label("antinomy"),
        upstream_model: label("anthropic/claude"),
        endpoint: label("/v1/chat/completions"),
        tokens,
        price_version: PriceVersionId::from_uuid(uuid("prices")),
        unit_prices,
        multiplier: Decimal::ONE,
        charge,
        cost: credits("0.005"),
        cost_prices: None,
        outcome: Outcome::Completed,
        usage_source: UsageSource::Provider,
        stream: false,
        status: 200,
        ttft_ms: Some(300),
        duration_ms: 900,
        attempts: Vec::new(),
    };
    UsageRecord {
        account: AccountId::from_uuid(uuid("ann")),
        lease: lease_id("lease"),
        n: 1,
        spent: charge,
        uncovered: Credits::ZERO,
        usage,
    }
}
