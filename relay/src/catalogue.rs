//! The catalogue: a plain snapshot of keys, models, prices and routes, swapped whole when an operator changes one.
//!
//! May not touch: where it comes from (`api::directory` loads it).
//! Claims: a call sees one catalogue from start to end, so its price version and its route belong together.

use crate::custom::Template;
use crate::limits::{Limit, Subject};
use crate::zone::Zone;
use domain::{AccountId, Credits, KeyId, Label, Moment, PriceVersionId, Prices};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Everything a call needs to be admitted, routed and priced.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// API keys by the SHA-256 of the whole secret.
    pub keys: HashMap<[u8; 32], Arc<KeyGrant>>,
    /// Models by the name callers use.
    pub models: BTreeMap<String, Arc<Model>>,
}

/// What a key may do.
#[derive(Clone, Debug)]
pub struct KeyGrant {
    /// The key.
    pub key: KeyId,
    /// Who pays.
    pub account: AccountId,
    /// May it be used?
    pub status: KeyStatus,
    /// When it ends.
    pub expires_at: Option<Moment>,
    /// The models it may call; `None`: all.
    pub models: Option<Vec<String>>,
    /// The networks it may be used from; empty: all.
    pub ip_allow: Vec<ipnet::IpNet>,
    /// Its budget.
    pub budget: Option<KeyBudget>,
    /// The owner's group's multiplier.
    pub multiplier: Decimal,
    /// The rate limits of the key and of its owner's group; empty: none.
    pub limits: Vec<(Subject, Limit)>,
    /// When it was last used; the same in every snapshot.
    pub last_use: Arc<LastUse>,
}

/// When a key was last used, as far as this process knows and to within [`LastUse::COARSE`].
#[derive(Debug)]
pub struct LastUse(AtomicI64);

impl LastUse {
    /// A use this short after the last one noted is not noted, in microseconds: a busy key's calls only read what all cores
    /// share.
    pub const COARSE: i64 = 10_000_000;

    /// Notes a use.
    pub fn note(&self, at: Moment) {
        if at.micros() > self.0.load(Ordering::Relaxed).saturating_add(Self::COARSE) {
            self.0.fetch_max(at.micros(), Ordering::Relaxed);
        }
    }

    /// The last use that was noted.
    pub fn get(&self) -> Option<Moment> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros != i64::MIN).then(|| Moment::from_micros(micros))
    }
}

impl Default for LastUse {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl KeyGrant {
    /// Is this model among those that it may call?
    pub fn may_call(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|name| name == model))
    }
}

/// May a key be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// Yes.
    Active,
    /// Its owner switched it off.
    Disabled,
    /// Its owner's account is switched off.
    OwnerDisabled,
}

/// A spending limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBudget {
    /// Credits per period.
    pub credits: Credits,
    /// Which period.
    pub period: BudgetPeriod,
    /// Where its days and months begin: the owner's time zone.
    pub zone: Zone,
}

/// How long a budget lasts. Days and months are the owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetPeriod {
    /// For ever.
    Total,
    /// Per day.
    Day,
    /// Per month.
    Month,
}

/// A model that callers can name.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name.
    pub name: Label,
    /// When it was added.
    pub created: Moment,
    /// What it costs; `None`: it cannot be called.
    pub price: Option<Priced>,
    /// The cap on generated tokens that is set when the caller sets none.
    pub max_output_tokens: u64,
    /// Who serves it, best first (by priority, high first). Empty: it cannot be called.
    pub routes: Vec<Route>,
    /// Its rate limit, whoever calls it.
    pub limit: Option<(Subject, Limit)>,
}

/// A price list with its version.
#[derive(Clone, Debug)]
pub struct Priced {
    /// Its version.
    pub version: PriceVersionId,
    /// The list.
    pub prices: Prices,
}

/// One provider that serves a model.
#[derive(Clone, Debug)]
pub struct Route {
    /// The provider's name.
    pub provider: Label,
    /// How it speaks, or what is nearest to that.
    pub format: ProviderFormat,
    /// What differs from the format, as an operator told.
    pub custom: Option<Template>,
    /// Its base URL, without a trailing slash: `https://antinomy.ai/api/v1`.
    pub base_url: String,
    /// Its keys; never empty. Which one a call takes is decided as between providers.
    pub keys: Vec<ProviderKey>,
    /// Does an OpenAI-shaped provider offer `/responses` itself? If not, such calls are converted to chat completions.
    pub speaks_responses: bool,
    /// The model's name there.
    pub upstream_model: Label,
    /// What it takes from the operator, in credits; `None`: unknown, booked as zero.
    pub cost: Option<Prices>,
    /// Higher goes first.
    pub priority: i32,
    /// Share among equals.
    pub weight: u32,
    /// Its provider's rate limit; beyond it the next provider is asked.
    pub limit: Option<(Subject, Limit)>,
}

/// One of a provider's keys.
#[derive(Clone, Debug)]
pub struct ProviderKey {
    /// Its name, as usage records and operators see it.
    pub name: Label,
    /// The key itself.
    pub secret: Secret,
}

/// How a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderFormat {
    /// As OpenAI does.
    OpenAi,
    /// As Anthropic does.
    Claude,
    /// As Google does.
    Gemini,
}

/// A secret that no log line shows.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}
