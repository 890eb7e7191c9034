//! Models that callers can name, and the versions of their prices.
//!
//! Claims: a price version is never changed or deleted; the newest one whose time has come is in force; a model
//! without one cannot be called.

use super::{Directory, DirectoryError, Status, act, corrupt, now};
use domain::{Actor, Moment, PriceVersionId, Prices};
use projections::{Row, Tx, Value};
use serde_json::json;
use uuid::Uuid;

/// The cap on generated tokens of a model that nobody set one for.
pub const MAX_OUTPUT_TOKENS: u64 = 4096;

/// A model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRow {
    /// The name callers use.
    pub name: String,
    /// How the console names it.
    pub display_name: String,
    /// The cap on generated tokens that is set when the caller sets none.
    pub max_output_tokens: u64,
    /// Is it offered?
    pub status: Status,
    /// When it was added.
    pub created_at: Moment,
}

/// What an admin changes about a model; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct ModelChange {
    /// How the console names it.
    pub display_name: Option<String>,
    /// The cap on generated tokens.
    pub max_output_tokens: Option<u64>,
    /// Is it offered?
    pub status: Option<Status>,
}

/// A version of a model's prices.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceVersion {
    /// Its id; usage records carry it.
    pub id: PriceVersionId,
    /// The model.
    pub model: String,
    /// The list.
    pub prices: Prices,
    /// From when on it holds.
    pub effective_from: Moment,
    /// The admin who set it.
    pub author: String,
    /// When it was set.
    pub created_at: Moment,
}

fn model(row: &Row) -> Result<ModelRow, DirectoryError> {
    Ok(ModelRow {
        name: row.text("name")?,
        display_name: row.text("display_name")?,
        max_output_tokens: row.count("max_output_tokens")?,
        status: row.parsed("status")?,
        created_at: row.moment("created_at")?,
    })
}

pub(super) fn price(row: &Row) -> Result<PriceVersion, DirectoryError> {
    Ok(PriceVersion {
        id: row.parsed("id")?,
        model: row.text("model")?,
        prices: row.json("prices")?,
        effective_from: row.moment("effective_from")?,
        author: row.text("author")?,
        created_at: row.moment("created_at")?,
    })
}

/// Makes a model's row if there is none, and gives it a name to show if one is stated.
pub(super) async fn ensure(
    tx: &mut Tx,
    name: &str,
    display_name: Option<&str>,
    at: Moment,
) -> Result<(), DirectoryError> {
    let select = "SELECT name FROM models WHERE name = ?";
    if tx.fetch_optional(select, &[name.into()]).await?.is_none() {
        let values: [Value; 5] = [
            name.into(),
            display_name.unwrap_or(name).into(),
            Value::count(MAX_OUTPUT_TOKENS),
            Status::Active.as_str().into(),
            at.into(),
        ];
        let insert = "INSERT INTO models (name, display_name, max_output_tokens, status, created_at) \
                      VALUES (?, ?, ?, ?, ?)";
        tx.execute(insert, &values).await?;
    } else if let Some(display_name) = display_name {
        let update = "UPDATE models SET display_name = ? WHERE name = ?";
        tx.execute(update, &[display_name.into(), name.into()]).await?;
    }
    Ok(())
}

/// Writes a version of a model's prices. Inside a change: of two prices without a time, the one published later is the
/// newer.
pub(super) async fn insert_price(
    tx: &mut Tx,
    name: &str,
    prices: Prices,
    effective_from: Option<Moment>,
    author: &Actor,
) -> Result<PriceVersion, DirectoryError> {
    let at = now();
    let version = PriceVersion {
        id: PriceVersionId::from_uuid(Uuid::now_v7()),
        model: name.to_owned(),
        prices,
        effective_from: effective_from.unwrap_or(at),
        author: author.id.to_string(),
        created_at: at,
    };
    let list = serde_json::to_string(&version.prices).map_err(|error| corrupt("prices", error))?;
    let values: [Value; 6] = [
        version.id.into(),
        name.into(),
        list.into(),
        version.effective_from.into(),
        version.author.as_str().into(),
        at.into(),
    ];
    let insert = "INSERT INTO price_versions (id, model, prices, effective_from, author, created_at) \
                  VALUES (?, ?, ?, ?, ?, ?)";
    tx.execute(insert, &values).await?;
    Ok(version)
}

impl Directory {
    /// All models, by name.
    pub async fn models(&self) -> Result<Vec<ModelRow>, DirectoryError> {
        let sql =
            "SELECT name, display_name, max_output_tokens, status, created_at FROM models ORDER BY name";
        self.0.db.fetch_all(sql, &[]).await?.iter().map(model).collect()
    }

    /// Changes a model.
    pub async fn change_model(
        &self,
        name: &str,
        wanted: ModelChange,
        actor: Actor,
    ) -> Result<ModelRow, DirectoryError> {
        let mut change = self.change().await?;
        let sql =
            "SELECT name, display_name, max_output_tokens, status, created_at FROM models WHERE name = ?";
        let row = change.tx.fetch_optional(sql, &[name.into()]).await?;
        let before = model(&row.ok_or(DirectoryError::NotFound("model"))?)?;
        let after = ModelRow {
            display_name: wanted.display_name.unwrap_or_else(|| before.display_name.clone()),
            max_output_tokens: wanted.max_output_tokens.unwrap_or(before.max_output_tokens),
            status: wanted.status.unwrap_or(before.status),
            ..before.clone()
        };
        let values: [Value; 4] = [
            after.display_name.as_str().into(),
            Value::count(after.max_output_tokens),
            after.status.as_str().into(),
            name.into(),
        ];
        let update = "UPDATE models SET display_name = ?, max_output_tokens = ?, status = ? WHERE name = ?";
        change.tx.execute(update, &values).await?;
        let told = |it: &ModelRow| json!({"display_name": it.display_name, "max_output_tokens": it.max_output_tokens, "status": it.status});
        change.acts.push(act(actor, "model.change", name, Some(told(&before)), Some(told(&after))));
        self.finish(change).await?;
        Ok(after)
    }

    /// Publishes a version of a model's prices.
    pub async fn publish_price(
        &self,
        name: &str,
        prices: Prices,
        effective_from: Option<Moment>,
        author: Actor,
    ) -> Result<PriceVersion, DirectoryError> {
        let mut change = self.change().await?;
        let select = "SELECT name FROM models WHERE name = ?";
        if change.tx.fetch_optional(select, &[name.into()]).await?.is_none() {
            return Err(DirectoryError::NotFound("model"));
        }
        let version = insert_price(&mut change.tx, name, prices, effective_from, &author).await?;
        let after = json!({"version": version.id, "prices": version.prices, "effective_from": version.effective_from});
        change.acts.push(act(author, "price.publish", name, None, Some(after)));
        self.finish(change).await?;
        Ok(version)
    }

    /// Price versions, newest first, from below `before`; of one model or of all.
    pub async fn price_versions(
        &self,
        name: Option<&str>,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<PriceVersion>, DirectoryError> {
        let mut sql = "SELECT id, model, prices, effective_from, author, created_at FROM price_versions \
                       WHERE 1 = 1"
            .to_owned();
        let mut values: Vec<Value> = Vec::new();
        if let Some(name) = name {
            sql.push_str(" AND model = ?");
            values.push(name.into());
        }
        if let Some(before) = before {
            sql.push_str(" AND id < ?");
            values.push(before.to_string().into());
        }
        sql.push_str(" ORDER BY id DESC LIMIT ?");
        values.push(i64::from(limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(price).collect()
    }
}
