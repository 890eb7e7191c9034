//! Groups: a name and the multiplier that its users' charges are taken times.

use super::{Directory, DirectoryError, act, corrupt};
use domain::Actor;
use rust_decimal::Decimal;
use serde_json::json;

/// The group of new users; always there.
pub const DEFAULT: &str = "default";

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What its users' charges are multiplied with.
    pub multiplier: Decimal,
}

impl Directory {
    /// All groups, by name.
    pub async fn groups(&self) -> Result<Vec<Group>, DirectoryError> {
        let rows = self.0.db.fetch_all("SELECT name, multiplier FROM user_groups ORDER BY name", &[]).await?;
        let group = |row: &projections::Row| {
            let name = row.text("name")?;
            let text = row.text("multiplier")?;
            let multiplier =
                text.parse().map_err(|error| corrupt(format!("multiplier of group {name}"), error))?;
            Ok(Group { name, multiplier })
        };
        rows.iter().map(group).collect()
    }

    /// Makes a group, or changes its multiplier.
    pub async fn put_group(&self, group: &Group, actor: Actor) -> Result<(), DirectoryError> {
        let mut change = self.change().await?;
        let name = group.name.as_str();
        let select = "SELECT multiplier FROM user_groups WHERE name = ?";
        let before = change.tx.fetch_optional(select, &[name.into()]).await?;
        let before = before.map(|row| row.text("multiplier")).transpose()?;
        let sql = match before {
            Some(_) => "UPDATE user_groups SET multiplier = ? WHERE name = ?",
            None => "INSERT INTO user_groups (multiplier, name) VALUES (?, ?)",
        };
        let multiplier = group.multiplier.normalize().to_string();
        change.tx.execute(sql, &[multiplier.as_str().into(), name.into()]).await?;
        let told = |multiplier: &str| json!({ "multiplier": multiplier });
        change.acts.push(act(actor, "group.put", name, before.as_deref().map(told), Some(told(&multiplier))));
        self.finish(change).await
    }
}
