//! Usage records: the fact that a call consumed tokens, with all that its charge was made of.
//!
//! Claims: a charge can be derived again from the record alone; `(lease, n)` names a record; `spent` is cumulative
//! per lease, so that a lost record does not lose money.

use crate::{
    AccountId, Credits, KeyId, Label, LeaseId, Moment, PriceVersionId, RequestId, Tokens, UnitPrices,
    price::PriceError,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The caller got a whole answer.
    Completed,
    /// The caller left before the end.
    ClientGone,
    /// The provider failed or broke off.
    ProviderError,
    /// Our own process ended during the call.
    Interrupted,
    /// The provider refused the request.
    Refused,
}

/// Where the token counts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The provider's own counts.
    Provider,
    /// Our estimate from what was delivered.
    Estimated,
}

/// One try at a provider on behalf of a call, or a route to one that was skipped: then without a status, in no time, and
/// `error` says why (`circuit_open`, `unsupported`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which provider.
    pub provider: Label,
    /// Which of its keys, by the name that the operator gave it; never the key itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Label>,
    /// Why this one: a short word such as `priority`, `weight`, `sticky`, `failover` or `half-open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Label>,
    /// Its HTTP status, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong, if anything; a short code such as `connect` or `status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Label>,
    /// Time it took, in milliseconds.
    pub duration_ms: u64,
}

/// What a call consumed and what it costs, before a lease is charged with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The call.
    pub request: RequestId,
    /// When it ended.
    pub at: Moment,
    /// The API key that made it.
    pub key: KeyId,
    /// The model the caller asked for.
    pub model: Label,
    /// The provider that answered.
    pub provider: Label,
    /// The model's name there.
    pub upstream_model: Label,
    /// The endpoint called, such as `/v1/chat/completions`.
    pub endpoint: Label,
    /// Tokens by class, and units of media.
    pub tokens: Tokens,
    /// The version of the price list.
    pub price_version: PriceVersionId,
    /// The prices charged.
    pub unit_prices: UnitPrices,
    /// The user group's multiplier.
    pub multiplier: Decimal,
    /// What the call costs: [`UnitPrices::charge`] of the above, or zero where the metering policy says so.
    pub charge: Credits,
    /// What the provider takes from the operator, in credits.
    pub cost: Credits,
    /// The provider's prices behind `cost`, if the operator stated them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_prices: Option<UnitPrices>,
    /// How it ended.
    pub outcome: Outcome,
    /// Where the counts come from.
    pub usage_source: UsageSource,
    /// Streamed?
    pub stream: bool,
    /// The HTTP status the caller saw.
    pub status: u16,
    /// Time to the first byte, in milliseconds; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<u64>,
    /// Time from the request to the end, in milliseconds.
    pub duration_ms: u64,
    /// Every try at a provider and every route skipped, in order; the last try is the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
}

/// A usage as charged to a lease: what goes on the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// The account that pays.
    pub account: AccountId,
    /// The lease charged.
    pub lease: LeaseId,
    /// 1, 2, 3… within the lease, without holes.
    pub n: u64,
    /// What the lease has spent up to and with this record.
    pub spent: Credits,
    /// The part of `charge` that neither the lease nor the account could cover: the operator's loss.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub uncovered: Credits,
    /// What was consumed and what it costs.
    pub usage: Usage,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_nothing(credits: &Credits) -> bool {
    *credits == Credits::ZERO
}

impl Usage {
    /// The charge derived again from tokens, unit prices and multiplier.
    pub fn derived_charge(&self) -> Result<Credits, PriceError> {
        self.unit_prices.charge(&self.tokens, self.multiplier)
    }
}

impl UsageRecord {
    /// What the account paid: the charge without the part that the operator bears.
    pub fn paid(&self) -> Credits {
        self.usage.charge.checked_sub(self.uncovered).unwrap_or(Credits::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{credits, dec, usage_record};

    #[test]
    fn a_charge_is_derived_again_from_the_record_alone() {
        let record = usage_record();
        let kept: UsageRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(kept, record);
        assert_eq!(kept.usage.derived_charge(), Ok(credits("0.00885")));
        let dearer = Usage { multiplier: dec("1.5"), ..kept.usage };
        assert_eq!(dearer.derived_charge(), Ok(credits("0.013275")));
    }

    #[test]
    fn what_is_not_covered_is_not_paid() {
        let record = UsageRecord { uncovered: credits("0.00885"), ..usage_record() };
        assert_eq!(record.paid(), Credits::ZERO);
        let record = UsageRecord { uncovered: credits("0.000000001"), ..usage_record() };
        assert_eq!(record.paid(), credits("0.008849999"));
        assert_eq!(usage_record().paid(), credits("0.00885"));
    }

    #[test]
    fn a_record_with_prices_as_numbers_is_refused() {
        let mut json = serde_json::to_value(usage_record()).unwrap();
        json["usage"]["multiplier"] = serde_json::json!(1.5);
        assert!(serde_json::from_value::<UsageRecord>(json).is_err(), "a number may have been a float");
    }

    #[test]
    fn a_record_with_a_class_that_we_do_not_know_is_refused() {
        let mut json = serde_json::to_value(usage_record()).unwrap();
        json["usage"]["tokens"]["video_input"] = serde_json::json!(7);
        assert!(
            serde_json::from_value::<UsageRecord>(json).is_err(),
            "its tokens would be lost without a word"
        );
    }
}
