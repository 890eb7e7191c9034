//! An import of prices: many models' price versions, and what a provider takes for them, in one change.
//!
//! Claims: all of it or none, an import of one request is never half there; versions are published as any other, none is
//! changed; what a provider calls a model that it already serves stays.

use super::{
    Directory, DirectoryError, act, corrupt,
    model::{PriceVersion, insert_price},
    now,
    provider::{NewProviderModel, add_model},
};
use domain::{Actor, Moment, Prices};
use projections::Value;
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

/// One model's prices to be.
#[derive(Clone, Debug)]
pub struct PriceImport {
    /// Where they come from; the act of the import tells it.
    pub entry: String,
    /// The model, as callers name it.
    pub model: String,
    /// What `cost` was multiplied with; the act tells it, too.
    pub multiplier: Decimal,
    /// What callers will pay.
    pub prices: Prices,
    /// What the provider takes.
    pub cost: Prices,
    /// The name at the provider, if it does not serve the model yet.
    pub upstream_name: String,
    /// The cap on generated tokens, for a model that there was not before.
    pub max_output_tokens: Option<u64>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedPrice {
    /// The version that was published.
    pub version: PriceVersion,
    /// Was there no such model before?
    pub is_new_model: bool,
}

impl Directory {
    /// Publishes a version for each model and, if a provider is named, has it serve them at these costs. A model that does
    /// not exist is made if a provider is named, and refused as not found if none is.
    pub async fn import_prices(
        &self,
        imports: Vec<PriceImport>,
        effective_from: Option<Moment>,
        costs_for: Option<Uuid>,
        author: Actor,
    ) -> Result<Vec<ImportedPrice>, DirectoryError> {
        let mut change = self.change().await?;
        if let Some(provider) = costs_for {
            let select = "SELECT id FROM providers WHERE id = ?";
            let found = change.tx.fetch_optional(select, &[provider.to_string().into()]).await?;
            found.ok_or(DirectoryError::NotFound("provider"))?;
        }
        let mut imported = Vec::with_capacity(imports.len());
        for it in imports {
            let name: Value = it.model.as_str().into();
            let select = "SELECT name FROM models WHERE name = ?";
            let is_new_model = change.tx.fetch_optional(select, std::slice::from_ref(&name)).await?.is_none();
            if let Some(provider) = costs_for {
                let id: Value = provider.to_string().into();
                let select =
                    "SELECT upstream_name FROM provider_models WHERE provider_id = ? AND model_name = ?";
                let served = change.tx.fetch_optional(select, &[id.clone(), name.clone()]).await?;
                let upstream_name = if let Some(row) = served {
                    let cost = serde_json::to_string(&it.cost).map_err(|error| corrupt("cost", error))?;
                    let update =
                        "UPDATE provider_models SET cost = ? WHERE provider_id = ? AND model_name = ?";
                    change.tx.execute(update, &[cost.into(), id, name.clone()]).await?;
                    row.text("upstream_name")?
                } else {
                    let model = NewProviderModel {
                        model_name: it.model.clone(),
                        upstream_name: it.upstream_name.clone(),
                        display_name: None,
                        cost: Some(it.cost.clone()),
                    };
                    add_model(&mut change.tx, provider, &model, now()).await?;
                    it.upstream_name
                };
                if let (true, Some(cap)) = (is_new_model, it.max_output_tokens) {
                    let update = "UPDATE models SET max_output_tokens = ? WHERE name = ?";
                    change.tx.execute(update, &[Value::count(cap), name]).await?;
                }
                let after = json!({
                    "model": it.model, "upstream_name": upstream_name, "cost": it.cost, "catalogue_entry": it.entry,
                });
                let told = act(author.clone(), "provider.put_model", provider.to_string(), None, Some(after));
                change.acts.push(told);
            } else if is_new_model {
                return Err(DirectoryError::NotFound("model"));
            }
            let version = insert_price(&mut change.tx, &it.model, it.prices, effective_from, &author).await?;
            let after = json!({
                "version": version.id, "prices": version.prices, "effective_from": version.effective_from,
                "catalogue_entry": it.entry, "multiplier": it.multiplier,
            });
            change.acts.push(act(author.clone(), "price.publish", it.model, None, Some(after)));
            imported.push(ImportedPrice { version, is_new_model });
        }
        self.finish(change).await?;
        Ok(imported)
    }
}
