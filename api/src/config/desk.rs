//! The options of the operator's desk: how much one person may move alone, and what is given for bringing somebody.

use super::{ConfigError, Number};
use crate::directory::user::Role;
use domain::Credits;
use serde::Deserialize;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;

/// An amount of credits for each role that may move any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleLimits {
    finance: Credits,
    admin: Credits,
    owner: Credits,
}

impl RoleLimits {
    /// That of a role; nothing for those that may not move credits at all.
    pub fn of(self, role: Role) -> Credits {
        match role {
            Role::Finance => self.finance,
            Role::Admin => self.admin,
            Role::Owner => self.owner,
            Role::User | Role::Support | Role::Auditor => Credits::ZERO,
        }
    }

    fn read(key: &str, pairs: &BTreeMap<String, Number>) -> Result<Self, ConfigError> {
        let mut limits = Self::default();
        for (role, number) in pairs {
            let wrong = |fault: String| ConfigError::Wrong(format!("{key}: {fault}"));
            let place = match role.parse() {
                Ok(Role::Finance) => &mut limits.finance,
                Ok(Role::Admin) => &mut limits.admin,
                Ok(Role::Owner) => &mut limits.owner,
                Ok(Role::User | Role::Support | Role::Auditor) | Err(_) => {
                    return Err(wrong(format!("{role:?} is none of finance, admin and owner")));
                }
            };
            *place = credits(key, number)?;
        }
        Ok(limits)
    }
}

/// How much of other people's credits an operator may move without a second person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdjustmentsConfig {
    /// At once.
    pub approval_above: RoleLimits,
    /// On one day.
    pub daily: RoleLimits,
    approval_days: u32,
}

impl AdjustmentsConfig {
    /// How long a request waits for the second person, in milliseconds.
    pub fn approval_ms(&self) -> i64 {
        i64::from(self.approval_days) * DAY_MS
    }
}

/// What is given for bringing somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferralConfig {
    /// Is anything?
    pub enabled: bool,
    /// To whoever brought somebody.
    pub reward: Credits,
    /// To whoever was brought.
    pub welcome: Credits,
    /// The least that a first top-up must buy.
    pub min_topup: Credits,
    /// Rewards of one person in a month.
    pub monthly_cap: u32,
    days: u32,
    hold_days: u32,
}

impl ReferralConfig {
    /// How long a top-up must stand before it earns, in milliseconds.
    pub fn hold_ms(&self) -> i64 {
        i64::from(self.hold_days) * DAY_MS
    }

    /// How long after registering a first top-up counts, in milliseconds.
    pub fn life_ms(&self) -> i64 {
        i64::from(self.days) * DAY_MS
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdjustments {
    approval_above: BTreeMap<String, Number>,
    daily: BTreeMap<String, Number>,
    approval_days: u32,
}

impl RawAdjustments {
    pub(super) fn check(&self) -> Result<AdjustmentsConfig, ConfigError> {
        if !(1..=90).contains(&self.approval_days) {
            return Err(ConfigError::Wrong("adjustments.approval_days must be between 1 and 90".into()));
        }
        Ok(AdjustmentsConfig {
            approval_above: RoleLimits::read("adjustments.approval_above", &self.approval_above)?,
            daily: RoleLimits::read("adjustments.daily", &self.daily)?,
            approval_days: self.approval_days,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReferral {
    enabled: bool,
    reward: Number,
    welcome: Number,
    min_topup: Number,
    monthly_cap: u32,
    days: u32,
    hold_days: u32,
}

impl RawReferral {
    pub(super) fn check(&self) -> Result<ReferralConfig, ConfigError> {
        if !(1..=3650).contains(&self.days) {
            return Err(ConfigError::Wrong("referral.days must be between 1 and 3650".into()));
        }
        if self.hold_days > 365 {
            return Err(ConfigError::Wrong("referral.hold_days must be between 0 and 365".into()));
        }
        Ok(ReferralConfig {
            enabled: self.enabled,
            reward: credits("referral.reward", &self.reward)?,
            welcome: credits("referral.welcome", &self.welcome)?,
            min_topup: credits("referral.min_topup", &self.min_topup)?,
            monthly_cap: self.monthly_cap,
            days: self.days,
            hold_days: self.hold_days,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSite {
    name: String,
}

impl RawSite {
    pub(super) fn check(self) -> Result<String, ConfigError> {
        let name = self.name.trim();
        if !(1..=60).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return Err(ConfigError::Wrong("site.name must be 1 to 60 characters".into()));
        }
        Ok(name.to_owned())
    }
}

/// Credits, not below zero.
fn credits(key: &str, number: &Number) -> Result<Credits, ConfigError> {
    let text = number.text();
    let wrong = |fault: String| ConfigError::Wrong(format!("{key}: {fault}"));
    let credits: Credits =
        text.parse().map_err(|error| wrong(format!("{text:?} is no amount of credits: {error}")))?;
    if credits.nano() < 0 {
        return Err(wrong(format!("{text:?} is below zero")));
    }
    Ok(credits)
}
