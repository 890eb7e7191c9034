//! What people set for themselves: language, time zone, the currency that amounts are shown in, when to be warned.
//!
//! Claims: somebody without a row has the defaults; another time zone is in the catalogue, where budgets' days are counted by
//! it, when its change returns; another threshold is one to be warned of again.

use super::{Directory, DirectoryError, notice::Choices, words};
use domain::{AccountId, Credits};
use projections::{Dialect, Set, Tx, Value};
use relay::zone::Zone;
use serde_json::json;

words! {
    /// A language that mails and pages are written in.
    Language {
        /// English.
        English = "en",
        /// Simplified Chinese.
        Chinese = "zh-CN",
    }
}

impl Language {
    /// The first that an `Accept-Language` header names and that we speak; else English.
    pub fn accepted(header: &str) -> Self {
        let spoken = header.split(',').find_map(|item| {
            let tag = item.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            match tag.split('-').next() {
                Some("zh") => Some(Self::Chinese),
                Some("en") => Some(Self::English),
                _ => None,
            }
        });
        spoken.unwrap_or(Self::English)
    }
}

/// A user's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The language of mails and pages.
    pub language: Language,
    /// By which days are shown, and by which those of keys' budgets begin.
    pub time_zone: Zone,
    /// The currency that amounts are shown in; `None`: credits.
    pub display_currency: Option<String>,
    /// Below which balance to be warned; `None`: never.
    pub low_balance_alert: Option<Credits>,
    /// What to be told of, and how.
    pub notifications: Choices,
}

impl Settings {
    /// Of somebody who has set nothing.
    pub fn new(language: Language) -> Self {
        Self {
            language,
            time_zone: Zone::UTC,
            display_currency: None,
            low_balance_alert: None,
            notifications: Choices::default(),
        }
    }
}

/// Writes settings within a change.
pub(super) async fn put(tx: &mut Tx, user: AccountId, settings: &Settings) -> Result<(), DirectoryError> {
    let dialect: Dialect = tx.dialect();
    // Below zero is no threshold, so it can stand for none.
    let arm =
        "UPDATE user_settings SET alert_armed = 1 WHERE user_id = ? AND COALESCE(low_balance_alert, -1) <> ?";
    let threshold = settings.low_balance_alert.map_or(-1, Credits::nano);
    tx.execute(arm, &[user.into(), threshold.into()]).await?;
    let sets =
        ["language", "time_zone", "display_currency", "low_balance_alert", "notifications"].map(Set::New);
    let sql = format!(
        "INSERT INTO user_settings (user_id, language, time_zone, display_currency, low_balance_alert, notifications) \
         VALUES (?, ?, ?, ?, ?, ?){}",
        dialect.upsert("user_settings", &["user_id"], &sets)
    );
    let is_usual = settings.notifications == Choices::default();
    let values: [Value; 6] = [
        user.into(),
        settings.language.as_str().into(),
        settings.time_zone.to_string().into(),
        settings.display_currency.clone().into(),
        settings.low_balance_alert.into(),
        (!is_usual).then(|| json!(settings.notifications).to_string()).into(),
    ];
    tx.execute(&sql, &values).await?;
    Ok(())
}

impl Directory {
    /// A user's settings; `None`: they have set nothing.
    pub async fn settings(&self, user: AccountId) -> Result<Option<Settings>, DirectoryError> {
        let sql = "SELECT language, time_zone, display_currency, low_balance_alert, notifications FROM user_settings \
                   WHERE user_id = ?";
        let Some(row) = self.0.db.fetch_optional(sql, &[user.into()]).await? else { return Ok(None) };
        Ok(Some(Settings {
            language: row.parsed("language")?,
            time_zone: row.parsed("time_zone")?,
            display_currency: row.opt_text("display_currency")?,
            low_balance_alert: row.opt_credits("low_balance_alert")?,
            notifications: row.opt_json("notifications")?.unwrap_or_default(),
        }))
    }

    /// States a user's settings anew.
    pub async fn put_settings(&self, user: AccountId, settings: &Settings) -> Result<(), DirectoryError> {
        let zone = self.settings(user).await?.map_or(Zone::UTC, |before| before.time_zone);
        // The catalogue shows the zone and nothing else of them.
        let mut change = match zone == settings.time_zone {
            true => self.change_aside().await?,
            false => self.change().await?,
        };
        put(&mut change.tx, user, settings).await?;
        self.finish(change).await
    }
}
