//! What an import writes: rows that came from another gateway, each with its place in `imported_rows`.
//!
//! Claims: a row and the note of where it came from are one transaction, so that a run that died is completed by the next
//! and nothing is imported twice; balances are not here, but on the ledger.

use super::{
    Directory, DirectoryError, Status, act, corrupt,
    imported_password::{MAX_COST, SETTING, cost_of},
    key::KeyStatus,
    model::insert_price,
    now,
    provider::{ApiFormat, MAIN_KEY, NewProviderModel, ProviderConfig, add_model, owner_of_key},
    taken,
    user::{Role, alias},
};
use domain::{AccountId, Actor, Credits, KeyId, Moment, Prices};
use ipnet::IpNet;
use projections::{Database, DatabaseError, Tx, Value};
use relay::Secret;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// A source as it was imported first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportSource {
    /// Its name here.
    pub source: String,
    /// Which gateway's.
    pub kind: String,
    /// Tells another database under the same name.
    pub fingerprint: String,
    /// How much quota is one credit.
    pub quota_per_credit: i64,
}

/// A row that was imported before.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// What it became.
    pub target: String,
    /// A user's quota then.
    pub quota: i64,
    /// What the account opens with.
    pub credits: Credits,
}

/// What of the directory an import has to know.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// The source, if it was imported before.
    pub source: Option<ImportSource>,
    /// Names in use, in lower case.
    pub usernames: HashSet<String>,
    /// Addresses in use, in lower case.
    pub emails: HashSet<String>,
    /// Ids of users.
    pub users: HashSet<String>,
    /// Groups and their multipliers.
    pub groups: HashMap<String, Decimal>,
    /// Names of providers.
    pub providers: HashSet<String>,
    /// Models that have a price.
    pub priced: HashSet<String>,
    /// SHA-256 of keys, in hexadecimal.
    pub keys: HashSet<String>,
    /// SHA-256 of redemption codes, in hexadecimal.
    pub codes: HashSet<String>,
    /// Rows imported before, by kind and id.
    pub mapped: HashMap<(String, String), Mapped>,
    /// Is there an operator?
    pub has_operator: bool,
}

/// A user to be.
#[derive(Clone, Debug)]
pub struct ImportedUser {
    /// The id there.
    pub source_id: String,
    /// The id here.
    pub id: AccountId,
    /// The name.
    pub username: String,
    /// The address, in lower case.
    pub email: String,
    /// Was it proven, by the operator's word?
    pub email_verified: bool,
    /// bcrypt, or [`super::imported_password::NO_PASSWORD`].
    pub password_hash: String,
    /// What they may do.
    pub role: Role,
    /// May they log in?
    pub status: Status,
    /// Their group.
    pub group: String,
    /// When they registered there; `None`: that was not stored.
    pub created_at: Option<Moment>,
    /// Their quota.
    pub quota: i64,
    /// What their account opens with.
    pub credits: Credits,
}

/// A key to be.
#[derive(Clone, Debug)]
pub struct ImportedKey {
    /// The id there.
    pub source_id: String,
    /// The id here.
    pub id: KeyId,
    /// Whose.
    pub user: AccountId,
    /// Its name.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// The secret's first characters.
    pub prefix: String,
    /// May it be used?
    pub status: KeyStatus,
    /// When it ends.
    pub expires_at: Option<Moment>,
    /// The models it may call; `None`: all.
    pub models: Option<Vec<String>>,
    /// The networks it may be used from; empty: all.
    pub ip_allow: Vec<IpNet>,
    /// What it may spend, for ever.
    pub budget: Option<Credits>,
    /// When it was made.
    pub created_at: Option<Moment>,
}

/// A provider to be.
#[derive(Clone, Debug)]
pub struct ImportedProvider {
    /// The id there.
    pub source_id: String,
    /// The id here.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub base_url: String,
    /// How it speaks.
    pub api_format: ApiFormat,
    /// Is it in use?
    pub status: Status,
    /// Higher goes first.
    pub priority: i32,
    /// Share among equals.
    pub weight: u32,
    /// Its keys; never empty.
    pub keys: Vec<Secret>,
    /// What it serves.
    pub models: Vec<NewProviderModel>,
}

/// A redemption code to be.
#[derive(Clone, Debug)]
pub struct ImportedCode {
    /// The id there.
    pub source_id: String,
    /// The batch here: codes of one name, worth and end.
    pub batch: Uuid,
    /// What the batch is called.
    pub name: String,
    /// What it is good for.
    pub credits: Credits,
    /// When it ends.
    pub expires_at: Option<Moment>,
    /// SHA-256 of the code, in hexadecimal.
    pub hash: String,
    /// Its last characters.
    pub ending: String,
}

/// A payment from before the import.
#[derive(Clone, Debug)]
pub struct ImportedTopUp {
    /// The id there.
    pub source_id: String,
    /// Who paid.
    pub user: AccountId,
    /// The merchant's order number.
    pub trade_no: String,
    /// The gateway, as it was named there.
    pub channel: String,
    /// The sum, in a currency that was not stored.
    pub paid: String,
    /// What it bought.
    pub credits: Option<Credits>,
    /// How far it got there.
    pub status: String,
    /// When it was ordered.
    pub created_at: Moment,
    /// When it was paid.
    pub completed_at: Option<Moment>,
}

/// A payment from before the import, as its payer sees it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PastTopUp {
    /// The merchant's order number.
    pub trade_no: String,
    /// The payment gateway, as the old gateway named it; empty: it did not say.
    pub channel: String,
    /// The sum paid, a decimal string, in the currency of the old site.
    pub paid: String,
    /// What it bought, if that can be told.
    #[schema(value_type = Option<String>)]
    pub credits: Option<Credits>,
    /// `pending`, `success`, `failed` or `expired`.
    pub status: String,
    /// When it was ordered.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// When it was paid.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Moment>,
}

/// Reads what an import of this source has to know.
pub async fn present(db: &Database, source: &str) -> Result<Present, DatabaseError> {
    let mut present = Present::default();
    let sql = "SELECT source, kind, fingerprint, quota_per_credit FROM import_sources WHERE source = ?";
    if let Some(row) = db.fetch_optional(sql, &[source.into()]).await? {
        present.source = Some(ImportSource {
            source: row.text("source")?,
            kind: row.text("kind")?,
            fingerprint: row.text("fingerprint")?,
            quota_per_credit: row.int("quota_per_credit")?,
        });
    }
    for row in db.fetch_all("SELECT id, username_folded, email_folded, role FROM users", &[]).await? {
        present.usernames.insert(row.text("username_folded")?);
        present.emails.insert(row.text("email_folded")?);
        present.users.insert(row.text("id")?);
        present.has_operator |= row.text("role")? != Role::User.as_str();
    }
    for row in db.fetch_all("SELECT name, multiplier FROM user_groups", &[]).await? {
        present.groups.insert(row.text("name")?, row.parsed("multiplier")?);
    }
    for row in db.fetch_all("SELECT name FROM providers", &[]).await? {
        present.providers.insert(row.text("name")?);
    }
    for row in db.fetch_all("SELECT DISTINCT model FROM price_versions", &[]).await? {
        present.priced.insert(row.text("model")?);
    }
    for row in db.fetch_all("SELECT hash FROM api_keys", &[]).await? {
        present.keys.insert(row.text("hash")?);
    }
    for row in db.fetch_all("SELECT hash FROM redemption_codes", &[]).await? {
        present.codes.insert(row.text("hash")?);
    }
    let sql = "SELECT kind, source_id, target_id, quota, credits FROM imported_rows WHERE source = ?";
    for row in db.fetch_all(sql, &[source.into()]).await? {
        let mapped = Mapped {
            target: row.text("target_id")?,
            quota: row.opt_int("quota")?.unwrap_or(0),
            credits: row.opt_credits("credits")?.unwrap_or(Credits::ZERO),
        };
        present.mapped.insert((row.text("kind")?, row.text("source_id")?), mapped);
    }
    Ok(present)
}

/// Notes what a row became.
async fn note(
    tx: &mut Tx,
    source: &str,
    kind: &str,
    source_id: &str,
    target: String,
    opening: Option<(i64, Credits)>,
) -> Result<(), DatabaseError> {
    let values: [Value; 7] = [
        source.into(),
        kind.into(),
        source_id.into(),
        target.into(),
        opening.map(|(quota, _)| quota).into(),
        opening.map(|(_, credits)| credits).into(),
        now().into(),
    ];
    let insert = "INSERT INTO imported_rows (source, kind, source_id, target_id, quota, credits, imported_at) \
                  VALUES (?, ?, ?, ?, ?, ?, ?)";
    tx.execute(insert, &values).await.map(drop)
}

impl Directory {
    /// Begins a run: notes the source, and lets every process check passwords at the cost that those of the source have,
    /// before the first of them can be tried.
    pub async fn begin_import(
        &self,
        source: &ImportSource,
        users: &[ImportedUser],
        actor: Actor,
    ) -> Result<(), DirectoryError> {
        let dearest = users.iter().filter_map(|user| cost_of(&user.password_hash)).max();
        let mut change = self.change().await?;
        if let Some(dearest) = dearest {
            let select = "SELECT value FROM settings WHERE name = ?";
            let before = change.tx.fetch_optional(select, &[SETTING.into()]).await?;
            let before = before.map(|row| row.parsed::<u32>("value")).transpose()?.unwrap_or(0);
            let cost = dearest.max(before).min(MAX_COST).to_string();
            change.tx.execute("DELETE FROM settings WHERE name = ?", &[SETTING.into()]).await?;
            let insert = "INSERT INTO settings (name, value) VALUES (?, ?)";
            change.tx.execute(insert, &[SETTING.into(), cost.into()]).await?;
        }
        let at = now();
        let update = "UPDATE import_sources SET last_at = ? WHERE source = ?";
        let name: Value = source.source.as_str().into();
        let select = "SELECT source FROM import_sources WHERE source = ?";
        if change.tx.fetch_optional(select, std::slice::from_ref(&name)).await?.is_some() {
            change.tx.execute(update, &[at.into(), name]).await?;
        } else {
            let values: [Value; 6] = [
                name,
                source.kind.as_str().into(),
                source.fingerprint.as_str().into(),
                source.quota_per_credit.into(),
                at.into(),
                at.into(),
            ];
            let insert = "INSERT INTO import_sources (source, kind, fingerprint, quota_per_credit, first_at, last_at) \
                          VALUES (?, ?, ?, ?, ?, ?)";
            change.tx.execute(insert, &values).await?;
        }
        let after = json!({"kind": source.kind, "quota_per_credit": source.quota_per_credit});
        change.acts.push(act(actor, "import.begin", source.source.as_str(), None, Some(after)));
        self.finish(change).await
    }

    /// Tells what a run did.
    pub async fn finish_import(
        &self,
        source: &str,
        told: serde_json::Value,
        actor: Actor,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        change.acts.push(act(actor, "import.finish", source, None, Some(told)));
        self.finish(change).await
    }

    /// Makes groups, or sets their multipliers.
    pub async fn import_groups(
        &self,
        source: &str,
        groups: &[(String, Decimal)],
    ) -> Result<(), DirectoryError> {
        let mut change = self.change().await?;
        for (name, multiplier) in groups {
            let text = multiplier.normalize().to_string();
            let select = "SELECT name FROM user_groups WHERE name = ?";
            let sql = match change.tx.fetch_optional(select, &[name.into()]).await? {
                Some(_) => "UPDATE user_groups SET multiplier = ? WHERE name = ?",
                None => "INSERT INTO user_groups (multiplier, name) VALUES (?, ?)",
            };
            change.tx.execute(sql, &[text.into(), name.into()]).await?;
            note(&mut change.tx, source, "group", name, name.clone(), None).await?;
        }
        self.finish(change).await
    }

    /// Makes a provider with its keys and what it serves.
    pub async fn import_provider(
        &self,
        source: &str,
        provider: &ImportedProvider,
    ) -> Result<(), DirectoryError> {
        let (id, at) = (provider.id.to_string(), now());
        let Some((first, further)) = provider.keys.split_first() else {
            return Err(corrupt("a provider", "it has no key"));
        };
        let config = serde_json::to_string(&ProviderConfig::default());
        let values: [Value; 11] = [
            provider.name.as_str().into(),
            provider.base_url.as_str().into(),
            provider.api_format.as_str().into(),
            provider.status.as_str().into(),
            i64::from(provider.priority).into(),
            i64::from(provider.weight).into(),
            config.map_err(|error| corrupt("config", error))?.into(),
            id.as_str().into(),
            self.0.sealer.seal(first, &id)?.into(),
            at.into(),
            at.into(),
        ];
        let mut change = self.change().await?;
        let insert = "INSERT INTO providers (name, base_url, api_format, status, priority, weight, config, id, \
                      api_key_sealed, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await.map_err(taken("that provider's name"))?;
        for (at_key, key) in further.iter().enumerate() {
            let name = format!("key {}", at_key + 2);
            debug_assert_ne!(name, MAIN_KEY);
            let sealed = self.0.sealer.seal(key, &owner_of_key(&id, &name))?;
            let insert =
                "INSERT INTO provider_keys (provider_id, name, sealed, created_at) VALUES (?, ?, ?, ?)";
            change.tx.execute(insert, &[id.as_str().into(), name.into(), sealed.into(), at.into()]).await?;
        }
        for model in &provider.models {
            add_model(&mut change.tx, provider.id, model, at).await?;
        }
        note(&mut change.tx, source, "provider", &provider.source_id, id, None).await?;
        self.finish(change).await
    }

    /// Publishes prices of models that are there.
    pub async fn import_price_lists(
        &self,
        source: &str,
        prices: &[(String, Prices)],
        author: &Actor,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change().await?;
        for (model, prices) in prices {
            let version = insert_price(&mut change.tx, model, prices.clone(), None, author).await?;
            note(&mut change.tx, source, "price", model, version.id.to_string(), None).await?;
        }
        self.finish(change).await
    }

    /// Makes users. Their balances follow, on the ledger.
    pub async fn import_users(&self, source: &str, users: &[ImportedUser]) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        for user in users {
            let values: [Value; 12] = [
                user.id.into(),
                user.username.as_str().into(),
                user.username.to_lowercase().into(),
                user.email.as_str().into(),
                user.email.to_lowercase().into(),
                alias(&user.email).into(),
                user.password_hash.as_str().into(),
                user.role.as_str().into(),
                user.status.as_str().into(),
                user.email_verified.into(),
                user.group.as_str().into(),
                user.created_at.unwrap_or_else(now).into(),
            ];
            let insert = "INSERT INTO users (id, username, username_folded, email, email_folded, email_alias, \
                          password_hash, role, status, email_verified, group_name, created_at) \
                          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
            change.tx.execute(insert, &values).await.map_err(taken("that username or e-mail address"))?;
            let opening = Some((user.quota, user.credits));
            note(&mut change.tx, source, "user", &user.source_id, user.id.to_string(), opening).await?;
        }
        self.finish(change).await
    }

    /// Makes keys.
    pub async fn import_keys(&self, source: &str, keys: &[ImportedKey]) -> Result<(), DirectoryError> {
        let mut change = self.change().await?;
        for key in keys {
            let at = key.created_at.unwrap_or_else(now);
            let networks: Vec<String> = key.ip_allow.iter().map(ToString::to_string).collect();
            let values: [Value; 13] = [
                key.name.as_str().into(),
                key.status.as_str().into(),
                key.expires_at.into(),
                key.models.as_ref().map(|models| json!(models).to_string()).into(),
                json!(networks).to_string().into(),
                key.budget.into(),
                key.budget.map(|_| super::key::BudgetPeriod::Total.as_str()).into(),
                key.id.into(),
                key.user.into(),
                hex::encode(key.hash).into(),
                key.prefix.as_str().into(),
                at.into(),
                at.into(),
            ];
            let insert = "INSERT INTO api_keys (name, status, expires_at, models, ip_allow, budget_credits, \
                          budget_period, id, user_id, hash, prefix, created_at, updated_at) \
                          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
            change.tx.execute(insert, &values).await?;
            note(&mut change.tx, source, "key", &key.source_id, key.id.to_string(), None).await?;
        }
        self.finish(change).await
    }

    /// Keeps payments from before the import.
    pub async fn import_top_ups(&self, source: &str, rows: &[ImportedTopUp]) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        for row in rows {
            let values: [Value; 10] = [
                source.into(),
                row.source_id.as_str().into(),
                row.user.into(),
                row.trade_no.as_str().into(),
                row.channel.as_str().into(),
                row.paid.as_str().into(),
                row.credits.into(),
                row.status.as_str().into(),
                row.created_at.into(),
                row.completed_at.into(),
            ];
            let insert = "INSERT INTO imported_top_ups (source, source_id, user_id, trade_no, channel, paid, credits, \
                          status, created_at, completed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
            change.tx.execute(insert, &values).await?;
            note(&mut change.tx, source, "top_up", &row.source_id, row.source_id.clone(), None).await?;
        }
        self.finish(change).await
    }

    /// Brings codes that nobody redeemed there. Their batches are made with the first of them.
    pub async fn import_codes(&self, source: &str, codes: &[ImportedCode]) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        for code in codes {
            let batch: Value = code.batch.to_string().into();
            let known = "UPDATE redemption_batches SET codes = codes + 1 WHERE id = ?";
            if change.tx.execute(known, std::slice::from_ref(&batch)).await? == 0 {
                let values: [Value; 6] = [
                    batch.clone(),
                    code.name.as_str().into(),
                    code.credits.into(),
                    code.expires_at.into(),
                    format!("import {source}").chars().take(36).collect::<String>().into(),
                    now().into(),
                ];
                let insert = "INSERT INTO redemption_batches (id, name, credits, codes, expires_at, author, created_at) \
                              VALUES (?, ?, ?, 1, ?, ?, ?)";
                change.tx.execute(insert, &values).await?;
            }
            let insert = "INSERT INTO redemption_codes (hash, batch, ending) VALUES (?, ?, ?)";
            let values: [Value; 3] = [code.hash.as_str().into(), batch, code.ending.as_str().into()];
            change.tx.execute(insert, &values).await?;
            note(&mut change.tx, source, "redemption", &code.source_id, code.batch.to_string(), None).await?;
        }
        self.finish(change).await
    }

    /// A user's payments from before an import, newest first, from those behind the first `skip`.
    pub async fn past_top_ups(
        &self,
        user: AccountId,
        skip: u32,
        limit: u32,
    ) -> Result<Vec<PastTopUp>, DirectoryError> {
        let sql = "SELECT trade_no, channel, paid, credits, status, created_at, completed_at FROM imported_top_ups \
                   WHERE user_id = ? ORDER BY created_at DESC, source_id DESC LIMIT ? OFFSET ?";
        let values = [user.into(), i64::from(limit).into(), i64::from(skip).into()];
        let read = |row: &projections::Row| {
            Ok(PastTopUp {
                trade_no: row.text("trade_no")?,
                channel: row.text("channel")?,
                paid: row.text("paid")?,
                credits: row.opt_credits("credits")?,
                status: row.text("status")?,
                created_at: row.moment("created_at")?,
                completed_at: row.opt_moment("completed_at")?,
            })
        };
        self.0.db.fetch_all(sql, &values).await?.iter().map(read).collect()
    }
}
