//! The catalogue from the tables: what the relay needs to admit, route and price a call.
//!
//! Claims: one row that cannot be used (a key sealed under another master key, a damaged price) takes out itself, with
//! an error in the log, and never the whole gateway; a damaged price is no price, not an older one.

use super::{
    Directory, DirectoryError, Status,
    key::BudgetPeriod,
    model::{PriceVersion, price},
    provider::{ApiFormat, MAIN_KEY, ProviderConfig, Responses, owner_of_key},
};
use domain::{KeyId, Label, Moment, Prices};
use projections::Row;
use relay::{
    Catalogue, KeyGrant, KeyStatus, LastUse, Model, Priced, ProviderKey, Route,
    catalogue::{BudgetPeriod as RelayPeriod, KeyBudget},
    limits::{Limit, Subject, SubjectKind},
    zone::Zone,
};
use rust_decimal::Decimal;
use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};
use uuid::Uuid;

impl Directory {
    /// The catalogue as of a moment, and the next moment at which it changes by itself (a price begins).
    pub(super) async fn load_catalogue(
        &self,
        at: Moment,
    ) -> Result<(Catalogue, Option<Moment>), DirectoryError> {
        let limits = self.load_limits().await?;
        let keys = self.load_keys(&limits).await?;
        let mut prices = self.load_prices(at).await?;
        let mut routes = self.load_routes(&limits).await?;
        let mut models = BTreeMap::new();
        for row in self.models().await?.into_iter().filter(|row| row.status == Status::Active) {
            let Ok(name) = Label::try_new(row.name.as_str()) else {
                tracing::error!(model = row.name, "a model's name cannot be used; the model is left out");
                continue;
            };
            let model = Model {
                name,
                created: row.created_at,
                price: prices.remove(&row.name).flatten(),
                max_output_tokens: row.max_output_tokens,
                routes: routes.remove(&row.name).unwrap_or_default(),
                limit: limited(&limits, SubjectKind::Model, &row.name),
            };
            models.insert(row.name, Arc::new(model));
        }
        let next = "SELECT MIN(effective_from) AS due FROM price_versions WHERE effective_from > ?";
        let due = self.0.db.fetch_one(next, &[at.into()]).await?.opt_moment("due")?;
        Ok((Catalogue { keys, models }, due))
    }

    async fn load_keys(&self, limits: &Limits) -> Result<HashMap<[u8; 32], Arc<KeyGrant>>, DirectoryError> {
        let multipliers: HashMap<String, Decimal> =
            self.groups().await?.into_iter().map(|group| (group.name, group.multiplier)).collect();
        let at = super::now();
        let sql = "SELECT k.id, k.user_id, k.hash, k.previous_hash, k.previous_until, k.status, k.expires_at, k.models, k.ip_allow, k.budget_credits, \
                   k.budget_period, u.status AS owner_status, u.group_name, s.time_zone \
                   FROM api_keys k JOIN users u ON u.id = k.user_id LEFT JOIN user_settings s ON s.user_id = k.user_id WHERE k.status <> 'deleted'";
        let mut keys = HashMap::new();
        for row in self.0.db.fetch_all(sql, &[]).await? {
            let last_use = self.0.last_uses.of(row.parsed("id")?);
            match grant(&row, &multipliers, limits, last_use) {
                Ok((hash, grant)) => {
                    let grant = Arc::new(grant);
                    match former(&row, &grant, at) {
                        Ok(former) => keys.extend(former),
                        Err(error) => {
                            tracing::error!(key = row.text("id")?, %error, "a former secret cannot be used")
                        }
                    }
                    keys.insert(hash, grant);
                }
                Err(error) => tracing::error!(key = row.text("id")?, %error, "a key cannot be used"),
            }
        }
        Ok(keys)
    }

    /// The price in force of every model. `None`: it is damaged.
    async fn load_prices(&self, at: Moment) -> Result<HashMap<String, Option<Priced>>, DirectoryError> {
        let sql = "SELECT id, model, prices, effective_from, author, created_at FROM price_versions \
                   WHERE effective_from <= ? ORDER BY model, effective_from DESC, created_at DESC, id DESC";
        let mut prices = HashMap::new();
        for row in self.0.db.fetch_all(sql, &[at.into()]).await? {
            let Entry::Vacant(first) = prices.entry(row.text("model")?) else { continue };
            let version =
                price(&row).inspect_err(|error| tracing::error!(%error, "a price cannot be used")).ok();
            first.insert(version.map(|PriceVersion { id, prices, .. }| Priced { version: id, prices }));
        }
        Ok(prices)
    }

    /// Who serves each model, best first.
    async fn load_routes(&self, limits: &Limits) -> Result<HashMap<String, Vec<Route>>, DirectoryError> {
        let further = self.load_provider_keys().await?;
        let sql = "SELECT p.id, p.name, p.base_url, p.api_key_sealed, p.api_format, p.priority, p.weight, p.config, \
                   m.model_name, m.upstream_name, m.cost \
                   FROM provider_models m JOIN providers p ON p.id = m.provider_id WHERE p.status = 'active' \
                   ORDER BY p.priority DESC, p.name";
        let mut routes: HashMap<String, Vec<Route>> = HashMap::new();
        for row in self.0.db.fetch_all(sql, &[]).await? {
            match self.route(&row, &further, limits) {
                Ok(route) => routes.entry(row.text("model_name")?).or_default().push(route),
                Err(error) => {
                    tracing::error!(provider = row.text("name")?, %error, "a provider cannot be used");
                }
            }
        }
        Ok(routes)
    }

    /// The further keys of all providers, by the provider's id. One that cannot be opened is left out.
    async fn load_provider_keys(&self) -> Result<HashMap<String, Vec<ProviderKey>>, DirectoryError> {
        let sql = "SELECT provider_id, name, sealed FROM provider_keys ORDER BY provider_id, name";
        let mut keys: HashMap<String, Vec<ProviderKey>> = HashMap::new();
        for row in self.0.db.fetch_all(sql, &[]).await? {
            let (provider, name) = (row.text("provider_id")?, row.parsed::<Label>("name")?);
            match self.0.sealer.open(&row.text("sealed")?, &owner_of_key(&provider, name.as_str())) {
                Ok(secret) => keys.entry(provider).or_default().push(ProviderKey { name, secret }),
                Err(error) => {
                    tracing::error!(provider, key = %name, %error, "a provider's key cannot be used")
                }
            }
        }
        Ok(keys)
    }

    fn route(
        &self,
        row: &Row,
        further: &HashMap<String, Vec<ProviderKey>>,
        limits: &Limits,
    ) -> Result<Route, DirectoryError> {
        let id: Uuid = row.parsed("id")?;
        let config: ProviderConfig = row.json("config")?;
        let (format, custom) = row.parsed::<ApiFormat>("api_format")?.spoken(config.custom)?;
        let base_url = row.text("base_url")?;
        let name = Label::try_new(MAIN_KEY).map_err(|error| super::corrupt("key", error))?;
        let secret = self.0.sealer.open(&row.text("api_key_sealed")?, &id.to_string())?;
        let mut keys = vec![ProviderKey { name, secret }];
        keys.extend(further.get(&id.to_string()).into_iter().flatten().cloned());
        Ok(Route {
            provider: row.parsed("name")?,
            format,
            speaks_responses: match (&custom, config.responses) {
                (Some(custom), _) => custom.speaks_responses(),
                (None, Some(Responses::Native)) => true,
                (None, Some(Responses::Chat)) => false,
                (None, None) => relay::is_openai(&base_url),
            },
            custom,
            base_url,
            keys,
            limit: limited(limits, SubjectKind::Provider, &id.to_string()),
            upstream_model: row.parsed("upstream_name")?,
            cost: row.opt_json::<Prices>("cost")?,
            priority: row
                .int("priority")?
                .try_into()
                .map_err(|_| super::corrupt("priority", "out of range"))?,
            weight: row.int("weight")?.try_into().map_err(|_| super::corrupt("weight", "out of range"))?,
        })
    }
}

/// Every limit, by kind and subject.
type Limits = HashMap<(String, String), Limit>;

/// A subject with its limit; `None`: it has none.
fn limited(limits: &Limits, kind: SubjectKind, subject: &str) -> Option<(Subject, Limit)> {
    let limit = limits.get(&(kind.name().to_owned(), subject.to_owned()))?;
    Some((Subject::new(kind, subject), *limit))
}

fn grant(
    row: &Row,
    multipliers: &HashMap<String, Decimal>,
    limits: &Limits,
    last_use: Arc<LastUse>,
) -> Result<([u8; 32], KeyGrant), DirectoryError> {
    let hash = hash(&row.text("hash")?)?;
    let group = row.text("group_name")?;
    let multiplier =
        multipliers.get(&group).ok_or_else(|| super::corrupt("group", "there is no such group"))?;
    let owner: Status = row.parsed("owner_status")?;
    let status = match (owner, row.parsed("status")?) {
        (Status::Disabled, _) => KeyStatus::OwnerDisabled,
        (Status::Active, super::key::KeyStatus::Disabled) => KeyStatus::Disabled,
        (Status::Active, super::key::KeyStatus::Active) => KeyStatus::Active,
    };
    let grant = KeyGrant {
        key: row.parsed::<KeyId>("id")?,
        account: row.parsed("user_id")?,
        status,
        expires_at: row.opt_moment("expires_at")?,
        models: row.opt_json("models")?,
        ip_allow: super::key::networks(row)?,
        budget: budget(row)?,
        multiplier: *multiplier,
        limits: [(SubjectKind::Key, &row.text("id")?), (SubjectKind::Group, &group)]
            .into_iter()
            .filter_map(|(kind, subject)| limited(limits, kind, subject))
            .collect(),
        last_use,
    };
    Ok((hash, grant))
}

fn hash(text: &str) -> Result<[u8; 32], DirectoryError> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|error| super::corrupt("hash", error))?;
    Ok(hash)
}

/// A secret's hash and what it may do.
type Granted = ([u8; 32], Arc<KeyGrant>);

/// A rotated key's former secret, as long as it works: the same key, which ends earlier.
fn former(row: &Row, grant: &KeyGrant, at: Moment) -> Result<Option<Granted>, DirectoryError> {
    let until = row.opt_moment("previous_until")?.filter(|until| at < *until);
    let (Some(text), Some(until)) = (row.opt_text("previous_hash")?, until) else { return Ok(None) };
    let expires_at = Some(grant.expires_at.map_or(until, |end| end.min(until)));
    Ok(Some((hash(&text)?, Arc::new(KeyGrant { expires_at, ..grant.clone() }))))
}

/// A key's budget. Half a budget is damage: such a key must not spend without one.
fn budget(row: &Row) -> Result<Option<KeyBudget>, DirectoryError> {
    let period = row.opt_parsed::<BudgetPeriod>("budget_period")?.map(|period| match period {
        BudgetPeriod::Total => RelayPeriod::Total,
        BudgetPeriod::Day => RelayPeriod::Day,
        BudgetPeriod::Month => RelayPeriod::Month,
    });
    match (row.opt_credits("budget_credits")?, period) {
        (Some(credits), Some(period)) => {
            let zone = row.opt_parsed("time_zone")?.unwrap_or(Zone::UTC);
            Ok(Some(KeyBudget { credits, period, zone }))
        }
        (None, None) => Ok(None),
        (_, _) => Err(super::corrupt("budget", "credits and period go together")),
    }
}

/// How a model stands, offered or not.
#[derive(Clone, Debug, Default)]
pub struct Offering {
    /// The prices in force.
    pub prices: Option<Prices>,
    /// The names of the active providers that serve it, best first.
    pub providers: Vec<String>,
}

impl Directory {
    /// Prices in force and active providers of every model that has any, also of those not offered.
    pub async fn offers(&self) -> Result<HashMap<String, Offering>, DirectoryError> {
        let mut offers: HashMap<String, Offering> = HashMap::new();
        for (model, price) in self.load_prices(super::now()).await? {
            offers.entry(model).or_default().prices = price.map(|it| it.prices);
        }
        for (model, routes) in self.load_routes(&HashMap::new()).await? {
            offers.entry(model).or_default().providers =
                routes.into_iter().map(|route| route.provider.to_string()).collect();
        }
        Ok(offers)
    }
}
