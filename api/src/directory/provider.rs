//! Providers: upstream LLM APIs, and the models that each serves.
//!
//! Claims: a provider's key is sealed before it is stored, and no read returns it but the catalogue's.

use super::{Directory, DirectoryError, Status, act, corrupt, now, taken, words};
use domain::{Actor, Moment, Prices};
use projections::{Row, Tx, Value};
use relay::ProviderFormat;
use relay::Secret;
use relay::custom::Template;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

words! {
    /// How a provider speaks.
    ApiFormat {
        /// As OpenAI does.
        OpenAi = "openai",
        /// As Anthropic does.
        Claude = "claude",
        /// As Google does.
        Gemini = "gemini",
        /// By a mapping that the operator writes.
        Custom = "custom",
    }
}

impl ApiFormat {
    /// The protocol that a provider of this format speaks, or that is nearest, and what differs from it.
    pub fn spoken(
        self,
        custom: Option<Template>,
    ) -> Result<(ProviderFormat, Option<Template>), DirectoryError> {
        Ok(match (self, custom) {
            (Self::OpenAi, _) => (ProviderFormat::OpenAi, None),
            (Self::Claude, _) => (ProviderFormat::Claude, None),
            (Self::Gemini, _) => (ProviderFormat::Gemini, None),
            (Self::Custom, Some(custom)) => (custom.format(), Some(custom)),
            // Refused at the door.
            (Self::Custom, None) => return Err(corrupt("config", "there is no template in it")),
        })
    }
}

/// A provider, without its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its id.
    pub id: Uuid,
    /// When it was added.
    pub created_at: Moment,
    /// When it last changed.
    pub updated_at: Moment,
    /// What the operator says of it.
    pub terms: ProviderTerms,
}

/// What the operator says of a provider; all of it can be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderTerms {
    /// Its name; usage records carry it.
    pub name: String,
    /// Where it is, without a trailing slash.
    pub base_url: String,
    /// How it speaks.
    pub api_format: ApiFormat,
    /// Is it in use?
    pub status: Status,
    /// Higher goes first.
    pub priority: i32,
    /// Share among equals.
    pub weight: u32,
    /// Further options.
    pub config: ProviderConfig,
}

/// Further options of a provider. Unknown ones are refused: a misspelt option would silently do nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// Does an OpenAI-shaped provider offer `/responses` itself (`native`), or are such calls converted to chat
    /// completions (`chat`)? Absent: `native` for OpenAI's own hosts, else `chat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responses: Option<Responses>,
    /// How a provider of the format `custom` differs from the protocol that is nearest to its own. Needed with that
    /// format, refused with any other. `docs/providers.md` tells its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub custom: Option<Template>,
    /// Where the provider tells what is left of the money there. Absent: as is known of its host, if anything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceTemplate>,
}

/// Where a provider tells its balance: a path on its own host, and JSON pointers (RFC 6901) into the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BalanceTemplate {
    /// The path, from the host's root, with a query if need be.
    #[schema(example = "/user/balance")]
    pub path: String,
    /// Where the sum stands, a number or a text.
    #[schema(example = "/balance_infos/0/total_balance")]
    pub pointer: String,
    /// Where a sum stands that is to be taken from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minus_pointer: Option<String>,
    /// Its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Where its currency stands, if the answer tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency_pointer: Option<String>,
}

impl BalanceTemplate {
    fn check(&self) -> Result<(), DirectoryError> {
        let mismatch = |field, fault| Err(DirectoryError::Mismatch { field, fault });
        let is_plain = |b: u8| b.is_ascii_graphic() && b != b'\\' && b != b'#';
        let leads_elsewhere = !self.path.starts_with('/') || self.path.starts_with("//");
        if leads_elsewhere || self.path.len() > 500 || !self.path.bytes().all(is_plain) {
            return mismatch(
                "config.balance.path",
                "must be a path on the provider's own host, such as /user/balance",
            );
        }
        let pointers = [Some(&self.pointer), self.minus_pointer.as_ref(), self.currency_pointer.as_ref()];
        if pointers.into_iter().flatten().any(|it| !it.starts_with('/') || it.len() > 200) {
            return mismatch(
                "config.balance.pointer",
                "pointers must be JSON pointers such as /data/balance",
            );
        }
        if self.currency.as_ref().is_some_and(|it| it.len() > 16) {
            return mismatch("config.balance.currency", "must be at most 16 characters");
        }
        Ok(())
    }
}

/// A host that is known to tell what is left of the money there.
struct KnownBalance {
    host: &'static str,
    path: &'static str,
    pointer: &'static str,
    currency_pointer: &'static str,
}

/// Those hosts, by their public documentation.
const BALANCES: &[KnownBalance] = &[KnownBalance {
    host: "api.deepseek.com",
    path: "/user/balance",
    pointer: "/balance_infos/0/total_balance",
    currency_pointer: "/balance_infos/0/currency",
}];

impl ProviderTerms {
    /// Where it tells what is left of the money there: as its operator says, else as is known of its host.
    pub fn balance_template(&self) -> Option<BalanceTemplate> {
        if let Some(own) = &self.config.balance {
            return Some(own.clone());
        }
        let url: reqwest::Url = self.base_url.parse().ok()?;
        let known = BALANCES.iter().find(|known| url.host_str() == Some(known.host))?;
        Some(BalanceTemplate {
            path: known.path.to_owned(),
            pointer: known.pointer.to_owned(),
            currency_pointer: Some(known.currency_pointer.to_owned()),
            ..BalanceTemplate::default()
        })
    }

    /// Do format and options go together?
    fn check(&self) -> Result<(), DirectoryError> {
        if let Some(balance) = &self.config.balance {
            balance.check()?;
        }
        let mismatch = |field, fault| Err(DirectoryError::Mismatch { field, fault });
        match (self.api_format, &self.config.custom) {
            (ApiFormat::Custom, None) => mismatch("config.custom", "is needed with the format `custom`"),
            (ApiFormat::Custom, Some(_)) if self.config.responses.is_some() => mismatch(
                "config.responses",
                "says nothing of the format `custom`: there `config.custom.paths.responses` does",
            ),
            (ApiFormat::OpenAi | ApiFormat::Claude | ApiFormat::Gemini, Some(_)) => {
                mismatch("config.custom", "goes with the format `custom` only")
            }
            (ApiFormat::Custom, Some(_))
            | (ApiFormat::OpenAi | ApiFormat::Claude | ApiFormat::Gemini, None) => Ok(()),
        }
    }
}

words! {
    /// How a provider serves OpenAI's responses.
    Responses {
        /// It offers them itself.
        Native = "native",
        /// As chat completions.
        Chat = "chat",
    }
}

/// The name of the key that stands in a provider's own row.
pub const MAIN_KEY: &str = "main";

/// A further key of a provider, without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderKey {
    /// Its name.
    pub name: String,
    /// When it was added.
    pub created_at: Moment,
}

/// A model that a provider serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderModel {
    /// The name callers use.
    pub model_name: String,
    /// The name there.
    pub upstream_name: String,
    /// What the provider takes for it; `None`: unknown.
    pub cost: Option<Prices>,
    /// When it was added.
    pub created_at: Moment,
}

/// A model to be offered by a provider.
#[derive(Clone, Debug)]
pub struct NewProviderModel {
    /// The name callers use.
    pub model_name: String,
    /// The name there.
    pub upstream_name: String,
    /// How the console names it; `None`: its name.
    pub display_name: Option<String>,
    /// What the provider takes for it.
    pub cost: Option<Prices>,
}

/// A provider that is known beforehand: the operator adds a key and prices.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What to name it by.
    pub preset: &'static str,
    /// The provider's name.
    pub name: &'static str,
    /// Where it is.
    pub base_url: &'static str,
    /// How it speaks.
    pub api_format: ApiFormat,
    /// The models it serves.
    pub models: &'static [&'static str],
}

const fn preset(
    preset: &'static str,
    name: &'static str,
    base_url: &'static str,
    api_format: ApiFormat,
) -> Preset {
    Preset { preset, name, base_url, api_format, models: &[] }
}

/// The built-in presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        preset: "antinomy",
        name: "Antinomy AI",
        base_url: "https://antinomy.ai/api/v1",
        api_format: ApiFormat::OpenAi,
        models: &[
            "anthropic/claude-opus-4",
            "anthropic/claude-sonnet-4",
            "anthropic/claude-3.7-sonnet",
            "anthropic/claude-3.5-sonnet",
            "anthropic/claude-3.7-sonnet:thinking",
            "google/gemini-2.5-pro-preview",
            "x-ai/grok-3-beta",
        ],
    },
    preset("openai", "OpenAI", "https://api.openai.com/v1", ApiFormat::OpenAi),
    preset("anthropic", "Anthropic", "https://api.anthropic.com", ApiFormat::Claude),
    preset("gemini", "Google Gemini", "https://generativelanguage.googleapis.com", ApiFormat::Gemini),
    preset("deepseek", "DeepSeek", "https://api.deepseek.com/v1", ApiFormat::OpenAi),
    preset("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", ApiFormat::OpenAi),
];

const COLUMNS: &str = "id, name, base_url, api_format, status, priority, weight, config, created_at, updated_at, api_key_sealed";

fn provider(row: &Row) -> Result<Provider, DirectoryError> {
    let name = row.text("name")?;
    let wrong = |column: &str| corrupt(format!("{column} of provider {name}"), "out of range");
    Ok(Provider {
        id: row.parsed("id")?,
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
        terms: ProviderTerms {
            base_url: row.text("base_url")?,
            api_format: row.parsed("api_format")?,
            status: row.parsed("status")?,
            priority: row.int("priority")?.try_into().map_err(|_| wrong("priority"))?,
            weight: row.int("weight")?.try_into().map_err(|_| wrong("weight"))?,
            config: row.json("config")?,
            name,
        },
    })
}

fn columns(terms: &ProviderTerms) -> [Value; 7] {
    [
        terms.name.as_str().into(),
        terms.base_url.as_str().into(),
        terms.api_format.as_str().into(),
        terms.status.as_str().into(),
        i64::from(terms.priority).into(),
        i64::from(terms.weight).into(),
        serde_json::to_string(&terms.config).unwrap_or_else(|_| "{}".into()).into(),
    ]
}

fn told(terms: &ProviderTerms) -> serde_json::Value {
    json!({
        "name": terms.name, "base_url": terms.base_url, "api_format": terms.api_format, "status": terms.status,
        "priority": terms.priority, "weight": terms.weight, "config": terms.config,
    })
}

impl Directory {
    /// Adds a provider with its key and the models it serves.
    pub async fn create_provider(
        &self,
        terms: ProviderTerms,
        api_key: &Secret,
        models: Vec<NewProviderModel>,
        actor: Actor,
    ) -> Result<Provider, DirectoryError> {
        terms.check()?;
        let at = now();
        let made = Provider { id: Uuid::now_v7(), created_at: at, updated_at: at, terms };
        let mut values: Vec<Value> = columns(&made.terms).into();
        values.extend([
            made.id.to_string().into(),
            self.0.sealer.seal(api_key, &made.id.to_string())?.into(),
            at.into(),
            at.into(),
        ]);
        let mut change = self.change().await?;
        let insert = "INSERT INTO providers (name, base_url, api_format, status, priority, weight, config, id, \
                      api_key_sealed, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await.map_err(taken("that provider's name"))?;
        for model in &models {
            add_model(&mut change.tx, made.id, model, at).await?;
        }
        let mut after = told(&made.terms);
        after["models"] = json!(models.iter().map(|model| &model.model_name).collect::<Vec<_>>());
        change.acts.push(act(actor, "provider.create", made.id.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok(made)
    }

    /// All providers, by name.
    pub async fn providers(&self) -> Result<Vec<Provider>, DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM providers ORDER BY name");
        self.0.db.fetch_all(&sql, &[]).await?.iter().map(provider).collect()
    }

    /// One provider.
    pub async fn provider(&self, id: Uuid) -> Result<Provider, DirectoryError> {
        self.provider_with_key(id).await.map(|(provider, _)| provider)
    }

    /// One provider and its sealed key.
    async fn provider_with_key(&self, id: Uuid) -> Result<(Provider, String), DirectoryError> {
        let sql = format!("SELECT {COLUMNS} FROM providers WHERE id = ?");
        let row = self.0.db.fetch_optional(&sql, &[id.to_string().into()]).await?;
        let row = row.ok_or(DirectoryError::NotFound("provider"))?;
        Ok((provider(&row)?, row.text("api_key_sealed")?))
    }

    /// One provider with its key, for the one who calls it.
    pub async fn open_provider(&self, id: Uuid) -> Result<(Provider, Secret), DirectoryError> {
        let (provider, sealed) = self.provider_with_key(id).await?;
        let secret = self.0.sealer.open(&sealed, &id.to_string())?;
        Ok((provider, secret))
    }

    /// Changes a provider: `edit` gets the present terms.
    pub async fn change_provider(
        &self,
        id: Uuid,
        edit: impl FnOnce(&mut ProviderTerms),
        api_key: Option<&Secret>,
        actor: Actor,
    ) -> Result<Provider, DirectoryError> {
        let mut change = self.change().await?;
        let sql = format!("SELECT {COLUMNS} FROM providers WHERE id = ?");
        let row = change.tx.fetch_optional(&sql, &[id.to_string().into()]).await?;
        let row = row.ok_or(DirectoryError::NotFound("provider"))?;
        let before = provider(&row)?;
        let mut after = Provider { updated_at: now(), ..before.clone() };
        edit(&mut after.terms);
        after.terms.check()?;
        let sealed = match api_key {
            Some(secret) => self.0.sealer.seal(secret, &id.to_string())?,
            None => row.text("api_key_sealed")?,
        };
        let mut values: Vec<Value> = columns(&after.terms).into();
        values.extend([sealed.into(), after.updated_at.into(), id.to_string().into()]);
        let update = "UPDATE providers SET name = ?, base_url = ?, api_format = ?, status = ?, priority = ?, \
                      weight = ?, config = ?, api_key_sealed = ?, updated_at = ? WHERE id = ?";
        change.tx.execute(update, &values).await.map_err(taken("that provider's name"))?;
        let mut is = told(&after.terms);
        is["api_key_changed"] = json!(api_key.is_some());
        change.acts.push(act(actor, "provider.change", id.to_string(), Some(told(&before.terms)), Some(is)));
        self.finish(change).await?;
        Ok(after)
    }

    /// Removes a provider and what it serves. Usage records keep its name.
    pub async fn delete_provider(&self, id: Uuid, actor: Actor) -> Result<(), DirectoryError> {
        let before = self.provider(id).await?;
        let mut change = self.change().await?;
        let id: Value = id.to_string().into();
        for sql in [
            "DELETE FROM provider_models WHERE provider_id = ?",
            "DELETE FROM provider_keys WHERE provider_id = ?",
            "DELETE FROM rate_limits WHERE kind = 'provider' AND subject = ?",
        ] {
            change.tx.execute(sql, std::slice::from_ref(&id)).await?;
        }
        if change.tx.execute("DELETE FROM providers WHERE id = ?", &[id]).await? == 0 {
            return Err(DirectoryError::NotFound("provider"));
        }
        let subject = before.id.to_string();
        change.acts.push(act(actor, "provider.delete", subject, Some(told(&before.terms)), None));
        self.finish(change).await
    }

    /// A provider's further keys, by name.
    pub async fn provider_keys(&self, id: Uuid) -> Result<Vec<ProviderKey>, DirectoryError> {
        self.provider(id).await?;
        let sql = "SELECT name, created_at FROM provider_keys WHERE provider_id = ? ORDER BY name";
        let rows = self.0.db.fetch_all(sql, &[id.to_string().into()]).await?;
        rows.iter()
            .map(|row| Ok(ProviderKey { name: row.text("name")?, created_at: row.moment("created_at")? }))
            .collect()
    }

    /// Adds a key to a provider.
    pub async fn add_provider_key(
        &self,
        id: Uuid,
        name: String,
        secret: &Secret,
        actor: Actor,
    ) -> Result<ProviderKey, DirectoryError> {
        self.provider(id).await?;
        if name == MAIN_KEY {
            return Err(DirectoryError::Taken("that key's name"));
        }
        let key = ProviderKey { name, created_at: now() };
        let sealed = self.0.sealer.seal(secret, &owner_of_key(&id.to_string(), &key.name))?;
        let mut change = self.change().await?;
        let insert = "INSERT INTO provider_keys (provider_id, name, sealed, created_at) VALUES (?, ?, ?, ?)";
        let values: [Value; 4] =
            [id.to_string().into(), key.name.as_str().into(), sealed.into(), key.created_at.into()];
        change.tx.execute(insert, &values).await.map_err(taken("that key's name"))?;
        let after = json!({ "key": key.name });
        change.acts.push(act(actor, "provider.add_key", id.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok(key)
    }

    /// Takes a key from a provider.
    pub async fn delete_provider_key(
        &self,
        id: Uuid,
        name: &str,
        actor: Actor,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change().await?;
        let delete = "DELETE FROM provider_keys WHERE provider_id = ? AND name = ?";
        if change.tx.execute(delete, &[id.to_string().into(), name.into()]).await? == 0 {
            return Err(DirectoryError::NotFound("key of this provider"));
        }
        let before = json!({ "key": name });
        change.acts.push(act(actor, "provider.delete_key", id.to_string(), Some(before), None));
        self.finish(change).await
    }

    /// What a provider serves, by name.
    pub async fn provider_models(&self, id: Uuid) -> Result<Vec<ProviderModel>, DirectoryError> {
        self.provider(id).await?;
        let sql = "SELECT model_name, upstream_name, cost, created_at FROM provider_models \
                   WHERE provider_id = ? ORDER BY model_name";
        let rows = self.0.db.fetch_all(sql, &[id.to_string().into()]).await?;
        let model = |row: &Row| {
            Ok(ProviderModel {
                model_name: row.text("model_name")?,
                upstream_name: row.text("upstream_name")?,
                cost: row.opt_json("cost")?,
                created_at: row.moment("created_at")?,
            })
        };
        rows.iter().map(model).collect()
    }

    /// Lets a provider serve a model, or states anew how; a model that is new gets its row in `models`.
    pub async fn put_provider_model(
        &self,
        id: Uuid,
        model: NewProviderModel,
        actor: Actor,
    ) -> Result<ProviderModel, DirectoryError> {
        self.provider(id).await?;
        let at = now();
        let mut change = self.change().await?;
        let which: [Value; 2] = [id.to_string().into(), model.model_name.as_str().into()];
        let select =
            "SELECT upstream_name, cost FROM provider_models WHERE provider_id = ? AND model_name = ?";
        let before = change.tx.fetch_optional(select, &which).await?;
        let before = before.map(|row| -> Result<_, DirectoryError> {
            let cost = row.opt_json::<serde_json::Value>("cost")?;
            Ok(json!({"model": model.model_name, "upstream_name": row.text("upstream_name")?, "cost": cost}))
        });
        let before = before.transpose()?;
        let delete = "DELETE FROM provider_models WHERE provider_id = ? AND model_name = ?";
        change.tx.execute(delete, &which).await?;
        add_model(&mut change.tx, id, &model, at).await?;
        let after =
            json!({"model": model.model_name, "upstream_name": model.upstream_name, "cost": model.cost});
        change.acts.push(act(actor, "provider.put_model", id.to_string(), before, Some(after)));
        self.finish(change).await?;
        let NewProviderModel { model_name, upstream_name, cost, .. } = model;
        Ok(ProviderModel { model_name, upstream_name, cost, created_at: at })
    }

    /// Stops a provider from serving a model.
    pub async fn delete_provider_model(
        &self,
        id: Uuid,
        model: &str,
        actor: Actor,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change().await?;
        let delete = "DELETE FROM provider_models WHERE provider_id = ? AND model_name = ?";
        if change.tx.execute(delete, &[id.to_string().into(), model.into()]).await? == 0 {
            return Err(DirectoryError::NotFound("model at this provider"));
        }
        let before = json!({ "model": model });
        change.acts.push(act(actor, "provider.delete_model", id.to_string(), Some(before), None));
        self.finish(change).await
    }
}

/// To whom a further key is sealed: a sealed text that is moved to another row opens nothing.
pub(super) fn owner_of_key(provider: &str, name: &str) -> String {
    format!("{provider}/{name}")
}

pub(super) async fn add_model(
    tx: &mut Tx,
    id: Uuid,
    model: &NewProviderModel,
    at: Moment,
) -> Result<(), DirectoryError> {
    let cost =
        model.cost.as_ref().map(serde_json::to_string).transpose().map_err(|error| corrupt("cost", error))?;
    let values: [Value; 5] = [
        id.to_string().into(),
        model.model_name.as_str().into(),
        model.upstream_name.as_str().into(),
        cost.into(),
        at.into(),
    ];
    let insert = "INSERT INTO provider_models (provider_id, model_name, upstream_name, cost, created_at) \
                  VALUES (?, ?, ?, ?, ?)";
    tx.execute(insert, &values).await?;
    super::model::ensure(tx, &model.model_name, model.display_name.as_deref(), at).await
}
