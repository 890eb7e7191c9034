//! Options that operators change while the gateway runs, in versions: each holds all of them, the newest counts.
//!
//! May not touch: what an option means; [`crate::live`] checks that. Whoever writes a version has had it checked.
//! Claims: a version is never changed; of two changes of one version the second is refused; every process has the newest within
//! a second, as it has the catalogue.

use super::{Directory, DirectoryError, act, corrupt, now};
use crate::config::Overrides;
use domain::{Actor, Moment};
use projections::{Row, Value};
use serde_json::json;
use std::sync::Arc;

/// All options that were changed, at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptionsVersion {
    /// Its number, counted from 1; 0: nothing was ever changed.
    pub version: i64,
    /// The options.
    pub options: Overrides,
    /// Who made it: a user's id, or `command line`; empty: nobody.
    pub author: String,
    /// When.
    pub created_at: Option<Moment>,
}

const COLUMNS: &str = "version, options, author, created_at";

fn version(row: &Row) -> Result<OptionsVersion, DirectoryError> {
    Ok(OptionsVersion {
        version: row.int("version")?,
        options: row.json("options")?,
        author: row.text("author")?,
        created_at: Some(row.moment("created_at")?),
    })
}

impl Directory {
    /// The options in force, as this process has last read them.
    pub fn options(&self) -> Arc<OptionsVersion> {
        self.0.options.load_full()
    }

    /// Reads the options in force.
    pub(super) async fn load_options(&self) -> Result<(), DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM settings_versions ORDER BY version DESC LIMIT 1");
        let newest = self.0.db.fetch_optional(&sql, &[]).await?.as_ref().map(version).transpose()?;
        self.0.options.store(Arc::new(newest.unwrap_or_default()));
        Ok(())
    }

    /// States all options anew, on top of a version. `Err`: that is not the newest any more; this is.
    pub async fn put_options(
        &self,
        on: i64,
        options: &Overrides,
        actor: Actor,
    ) -> Result<Result<OptionsVersion, i64>, DirectoryError> {
        let mut change = self.change().await?;
        let sql = format!("SELECT {COLUMNS} FROM settings_versions ORDER BY version DESC LIMIT 1");
        let newest = change.tx.fetch_optional(&sql, &[]).await?.as_ref().map(version).transpose()?;
        let before = newest.unwrap_or_default();
        if before.version != on {
            return Ok(Err(before.version)); // the transaction rolls back as it is dropped
        }
        let after = OptionsVersion {
            version: on + 1,
            options: options.clone(),
            author: actor.id.to_string(),
            created_at: Some(now()),
        };
        let text = serde_json::to_string(options).map_err(|error| corrupt("options", error))?;
        let values: [Value; 4] =
            [after.version.into(), text.into(), after.author.as_str().into(), after.created_at.into()];
        let insert = format!("INSERT INTO settings_versions ({COLUMNS}) VALUES (?, ?, ?, ?)");
        change.tx.execute(&insert, &values).await?;
        // What differs; an option that is not there is as the file says.
        let differ = |one: &Overrides, other: &Overrides| {
            let part: Overrides = one
                .iter()
                .filter(|(key, value)| other.get(*key) != Some(*value))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            json!(part)
        };
        let (was, is) = (differ(&before.options, options), differ(options, &before.options));
        change.acts.push(act(actor, "settings.change", after.version.to_string(), Some(was), Some(is)));
        self.finish(change).await?;
        Ok(Ok(after))
    }

    /// Versions, newest first, from below `before`.
    pub async fn options_versions(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<OptionsVersion>, DirectoryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM settings_versions WHERE version < ? ORDER BY version DESC LIMIT ?"
        );
        let values: [Value; 2] = [before.unwrap_or(i64::MAX).into(), i64::from(limit).into()];
        self.0.db.fetch_all(&sql, &values).await?.iter().map(version).collect()
    }
}
