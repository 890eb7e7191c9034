//! What people set for themselves: language, time zone, the currency that amounts are shown in, when to be warned.
//!
//! Claims: somebody without a row has the defaults.

use super::{Directory, DirectoryError, words};
use domain::{AccountId, Credits};
use projections::{Dialect, Set, Tx, Value};

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
    /// The offset from UTC by which days are shown, such as `+08:00`.
    pub time_zone: String,
    /// The currency that amounts are shown in; `None`: credits.
    pub display_currency: Option<String>,
    /// Below which balance to be warned; `None`: never.
    pub low_balance_alert: Option<Credits>,
}

impl Settings {
    /// Of somebody who has set nothing.
    pub fn new(language: Language) -> Self {
        Self { language, time_zone: "+00:00".into(), display_currency: None, low_balance_alert: None }
    }
}

/// Writes settings within a change.
pub(super) async fn put(tx: &mut Tx, user: AccountId, settings: &Settings) -> Result<(), DirectoryError> {
    let dialect: Dialect = tx.dialect();
    let sets = ["language", "time_zone", "display_currency", "low_balance_alert"].map(Set::New);
    let sql = format!(
        "INSERT INTO user_settings (user_id, language, time_zone, display_currency, low_balance_alert) \
         VALUES (?, ?, ?, ?, ?){}",
        dialect.upsert("user_settings", &["user_id"], &sets)
    );
    let values: [Value; 5] = [
        user.into(),
        settings.language.as_str().into(),
        settings.time_zone.as_str().into(),
        settings.display_currency.clone().into(),
        settings.low_balance_alert.into(),
    ];
    tx.execute(&sql, &values).await?;
    Ok(())
}

impl Directory {
    /// A user's settings; `None`: they have set nothing.
    pub async fn settings(&self, user: AccountId) -> Result<Option<Settings>, DirectoryError> {
        let sql = "SELECT language, time_zone, display_currency, low_balance_alert FROM user_settings WHERE user_id = ?";
        let Some(row) = self.0.db.fetch_optional(sql, &[user.into()]).await? else { return Ok(None) };
        Ok(Some(Settings {
            language: row.parsed("language")?,
            time_zone: row.text("time_zone")?,
            display_currency: row.opt_text("display_currency")?,
            low_balance_alert: row.opt_credits("low_balance_alert")?,
        }))
    }

    /// States a user's settings anew.
    pub async fn put_settings(&self, user: AccountId, settings: &Settings) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        put(&mut change.tx, user, settings).await?;
        self.finish(change).await
    }
}
