//! API keys: what a program shows to call models at its owner's expense.
//!
//! Claims: the secret is returned once, when made or rotated, and kept only as SHA-256; a deleted or rotated secret is
//! out of the catalogue when the call returns, or ends with the overlap that its owner asked for; a secret that was shown to
//! us by others never works again; a key is only ever seen by its owner.

use super::notice::{self, Notice};
use super::rate_limit::{self, LimitKind};
use super::{Directory, DirectoryError, act, corrupt, now, words};
use crate::session::gateway;
use domain::{AccountId, Actor, Credits, KeyId, Moment};
use ipnet::IpNet;
use projections::{Row, Tx, Value};
use relay::{Secret, limits::Limit};
use serde_json::json;
use uuid::Uuid;

/// The most keys one user may have.
pub const MAX_KEYS: i64 = 100;

words! {
    /// May a key be used?
    KeyStatus {
        /// Yes.
        Active = "active",
        /// Its owner switched it off.
        Disabled = "disabled",
    }
    /// How long a budget lasts; days and months are those of the owner's time zone.
    BudgetPeriod {
        /// For ever.
        Total = "total",
        /// Per day.
        Day = "day",
        /// Per month.
        Month = "month",
    }
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Its owner.
    pub user: AccountId,
    /// The secret's first characters, to recognise it by.
    pub prefix: String,
    /// When it was made.
    pub created_at: Moment,
    /// When its terms or secret last changed.
    pub updated_at: Moment,
    /// When it was last used, to about a minute; `None`: never.
    pub last_used_at: Option<Moment>,
    /// Until when the secret before this one works too.
    pub previous_until: Option<Moment>,
    /// When somebody else showed a secret of it.
    pub leaked_at: Option<Moment>,
    /// What it may do.
    pub terms: KeyTerms,
}

/// What a key may do; all of it can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTerms {
    /// What its owner calls it.
    pub name: String,
    /// May it be used?
    pub status: KeyStatus,
    /// When it ends.
    pub expires_at: Option<Moment>,
    /// The models it may call; `None`: all.
    pub models: Option<Vec<String>>,
    /// The networks it may be used from; empty: all.
    pub ip_allow: Vec<IpNet>,
    /// Its spending limit.
    pub budget: Option<(Credits, BudgetPeriod)>,
    /// How much it may be used.
    pub limit: Limit,
}

/// What is selected of a key.
fn selected() -> String {
    let limit = rate_limit::columns_of(LimitKind::Key, "api_keys.id");
    format!(
        "id, user_id, name, prefix, status, expires_at, models, ip_allow, budget_credits, budget_period, created_at, \
         updated_at, last_used_at, previous_until, leaked_at, {limit}"
    )
}

fn key(row: &Row) -> Result<Key, DirectoryError> {
    let budget = match (row.opt_credits("budget_credits")?, row.opt_parsed("budget_period")?) {
        (Some(credits), Some(period)) => Some((credits, period)),
        (None, None) => None,
        (_, _) => return Err(corrupt("budget", "credits and period go together")),
    };
    Ok(Key {
        id: row.parsed("id")?,
        user: row.parsed("user_id")?,
        prefix: row.text("prefix")?,
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
        last_used_at: row.opt_moment("last_used_at")?,
        previous_until: row.opt_moment("previous_until")?.filter(|until| now() < *until),
        leaked_at: row.opt_moment("leaked_at")?,
        terms: KeyTerms {
            name: row.text("name")?,
            status: row.parsed("status")?,
            expires_at: row.opt_moment("expires_at")?,
            models: row.opt_json("models")?,
            ip_allow: networks(row)?,
            budget,
            limit: rate_limit::limit(row)?,
        },
    })
}

/// The networks of a row, as [`IpNet`] writes them.
pub(super) fn networks(row: &Row) -> Result<Vec<IpNet>, DirectoryError> {
    let texts: Vec<String> = row.json("ip_allow")?;
    texts.iter().map(|text| text.parse().map_err(|error| corrupt("ip_allow", error))).collect()
}

fn network_texts(terms: &KeyTerms) -> Vec<String> {
    terms.ip_allow.iter().map(ToString::to_string).collect()
}

/// The terms as the columns name to ip… period, in this order.
fn columns(terms: &KeyTerms) -> [Value; 7] {
    let models = terms.models.as_ref().map(|models| json!(models).to_string());
    [
        terms.name.as_str().into(),
        terms.status.as_str().into(),
        terms.expires_at.into(),
        models.into(),
        json!(network_texts(terms)).to_string().into(),
        terms.budget.map(|(credits, _)| credits).into(),
        terms.budget.map(|(_, period)| period.as_str()).into(),
    ]
}

fn told(terms: &KeyTerms) -> serde_json::Value {
    let budget = terms.budget.map(|(credits, period)| json!({"credits": credits, "period": period}));
    json!({
        "name": terms.name, "status": terms.status, "expires_at": terms.expires_at, "models": terms.models,
        "ip_allow": network_texts(terms), "budget": budget, "limit": rate_limit::told(terms.limit),
    })
}

impl Directory {
    /// Makes a key. Returns it with its secret, which cannot be seen again.
    pub async fn create_key(
        &self,
        user: AccountId,
        terms: KeyTerms,
        actor: Actor,
    ) -> Result<(Key, Secret), DirectoryError> {
        let minted = relay::key::mint();
        let at = now();
        let made = Key {
            id: KeyId::from_uuid(Uuid::now_v7()),
            user,
            prefix: minted.prefix,
            created_at: at,
            updated_at: at,
            last_used_at: None,
            previous_until: None,
            leaked_at: None,
            terms,
        };
        let mut change = self.change().await?;
        let count = "SELECT COUNT(*) AS n FROM api_keys WHERE user_id = ? AND status <> 'deleted'";
        if change.tx.fetch_one(count, &[user.into()]).await?.int("n")? >= MAX_KEYS {
            return Err(DirectoryError::TooMany { what: "keys", max: MAX_KEYS });
        }
        let mut values: Vec<Value> = columns(&made.terms).into();
        values.extend([
            made.id.into(),
            user.into(),
            hex::encode(minted.hash).into(),
            made.prefix.as_str().into(),
            at.into(),
            at.into(),
        ]);
        let insert = "INSERT INTO api_keys (name, status, expires_at, models, ip_allow, budget_credits, \
                      budget_period, id, user_id, hash, prefix, created_at, updated_at) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await?;
        rate_limit::put(&mut change.tx, LimitKind::Key, &made.id.to_string(), made.terms.limit).await?;
        change.acts.push(act(actor, "key.create", made.id.to_string(), None, Some(told(&made.terms))));
        self.finish(change).await?;
        Ok((made, minted.secret))
    }

    /// A user's keys, newest first, from below `before`.
    pub async fn keys(
        &self,
        user: AccountId,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Key>, DirectoryError> {
        let sql = format!(
            "SELECT {} FROM api_keys WHERE user_id = ? AND status <> 'deleted' AND id < ? ORDER BY id DESC LIMIT ?",
            selected()
        );
        // Every id sorts below "~".
        let before = before.map_or("~".to_owned(), |id| id.to_string());
        let rows = self.0.db.fetch_all(&sql, &[user.into(), before.into(), i64::from(limit).into()]).await?;
        rows.iter().map(|row| Ok(self.with_use(key(row)?))).collect()
    }

    /// One key of a user.
    pub async fn key(&self, user: AccountId, id: KeyId) -> Result<Key, DirectoryError> {
        let sql = format!(
            "SELECT {} FROM api_keys WHERE id = ? AND user_id = ? AND status <> 'deleted'",
            selected()
        );
        let row = self.0.db.fetch_optional(&sql, &[id.into(), user.into()]).await?;
        Ok(self.with_use(key(&row.ok_or(DirectoryError::NotFound("key"))?)?))
    }

    /// The table trails what this process saw by a minute.
    fn with_use(&self, key: Key) -> Key {
        Key { last_used_at: key.last_used_at.max(self.0.last_uses.seen(key.id)), ..key }
    }

    /// Changes a key's terms: `edit` gets the present ones.
    pub async fn change_key(
        &self,
        user: AccountId,
        id: KeyId,
        edit: impl FnOnce(&mut KeyTerms),
        actor: Actor,
    ) -> Result<Key, DirectoryError> {
        let mut change = self.change().await?;
        let before = locked(&mut change.tx, user, id).await?;
        let mut after = before.clone();
        edit(&mut after.terms);
        after.updated_at = now();
        let mut values: Vec<Value> = columns(&after.terms).into();
        values.extend([after.updated_at.into(), id.into()]);
        let update = "UPDATE api_keys SET name = ?, status = ?, expires_at = ?, models = ?, ip_allow = ?, \
                      budget_credits = ?, budget_period = ?, updated_at = ? WHERE id = ?";
        change.tx.execute(update, &values).await?;
        rate_limit::put(&mut change.tx, LimitKind::Key, &id.to_string(), after.terms.limit).await?;
        let (was, is) = (told(&before.terms), told(&after.terms));
        change.acts.push(act(actor, "key.change", id.to_string(), Some(was), Some(is)));
        self.finish(change).await?;
        Ok(after)
    }

    /// Gives a key a new secret; the old one stops working after `overlap_ms`, and any older one at once.
    pub async fn rotate_key(
        &self,
        user: AccountId,
        id: KeyId,
        overlap_ms: i64,
        actor: Actor,
    ) -> Result<(Key, Secret), DirectoryError> {
        let minted = relay::key::mint();
        let mut change = self.change().await?;
        let mut key = locked(&mut change.tx, user, id).await?;
        key.prefix = minted.prefix;
        key.updated_at = now();
        key.previous_until = (overlap_ms > 0).then(|| key.updated_at.plus_ms(overlap_ms));
        key.leaked_at = None;
        let former = change.tx.fetch_one("SELECT hash FROM api_keys WHERE id = ?", &[id.into()]).await?;
        let former = key.previous_until.map(|_| former.text("hash")).transpose()?;
        let values: [Value; 6] = [
            hex::encode(minted.hash).into(),
            key.prefix.as_str().into(),
            former.into(),
            key.previous_until.into(),
            key.updated_at.into(),
            id.into(),
        ];
        let update = "UPDATE api_keys SET hash = ?, prefix = ?, previous_hash = ?, previous_until = ?, \
                      leaked_at = NULL, updated_at = ? WHERE id = ?";
        change.tx.execute(update, &values).await?;
        let after = json!({"previous_until": key.previous_until});
        change.acts.push(act(actor, "key.rotate", id.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok((key, minted.secret))
    }

    /// Somebody showed a secret, by its SHA-256: it never works again. A key whose present secret it was is switched off, and
    /// works again once its owner has rotated it and switched it on. A secret that nobody has is passed over.
    pub async fn revoke_leaked(&self, hash: [u8; 32]) -> Result<(), DirectoryError> {
        let hash = hex::encode(hash);
        let sql =
            "SELECT id, user_id FROM api_keys WHERE (hash = ? OR previous_hash = ?) AND status <> 'deleted'";
        let both: [Value; 2] = [hash.as_str().into(), hash.as_str().into()];
        // Looked at before anything is locked: this door is open to everybody.
        if self.0.db.fetch_optional(sql, &both).await?.is_none() {
            return Ok(());
        }
        let mut change = self.change().await?;
        let sql = "SELECT id, user_id, hash, name, prefix FROM api_keys WHERE (hash = ? OR previous_hash = ?) \
                   AND status <> 'deleted'";
        let Some(row) = change.tx.fetch_optional(sql, &both).await? else { return Ok(()) };
        let at = now();
        let is_present = row.text("hash")? == hash;
        if is_present {
            let values: [Value; 4] = [no_secrets().into(), at.into(), at.into(), row.text("id")?.into()];
            let update = "UPDATE api_keys SET hash = ?, previous_hash = NULL, previous_until = NULL, \
                          status = 'disabled', leaked_at = ?, updated_at = ? WHERE id = ?";
            change.tx.execute(update, &values).await?;
        } else {
            let values: [Value; 3] = [at.into(), at.into(), row.text("id")?.into()];
            let update = "UPDATE api_keys SET previous_hash = NULL, previous_until = NULL, leaked_at = ?, \
                          updated_at = ? WHERE id = ?";
            change.tx.execute(update, &values).await?;
        }
        let leaked = Notice::KeyLeaked {
            key: row.parsed("id")?,
            name: row.text("name")?,
            prefix: row.text("prefix")?,
        };
        notice::notify(&mut change.tx, row.parsed("user_id")?, &leaked, at).await?;
        let secret = if is_present { "present" } else { "former" };
        let after = json!({"owner": row.text("user_id")?, "secret": secret});
        change.acts.push(act(
            gateway("leak report"),
            "key.revoke_leaked",
            row.text("id")?,
            None,
            Some(after),
        ));
        self.finish(change).await
    }

    /// Deletes a key. Its row stays, so that usage keeps its name.
    pub async fn delete_key(&self, user: AccountId, id: KeyId, actor: Actor) -> Result<(), DirectoryError> {
        let mut change = self.change().await?;
        let before = locked(&mut change.tx, user, id).await?;
        let update = "UPDATE api_keys SET status = 'deleted', updated_at = ? WHERE id = ?";
        change.tx.execute(update, &[now().into(), id.into()]).await?;
        change.acts.push(act(actor, "key.delete", id.to_string(), Some(told(&before.terms)), None));
        self.finish(change).await
    }
}

/// A hash that no secret has.
fn no_secrets() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Switches all keys of a user off and ends their secrets, within a change; how many. A key works again once its owner has rotated it
/// and switched it on.
pub(super) async fn end_secrets(tx: &mut Tx, user: AccountId, at: Moment) -> Result<u64, DirectoryError> {
    let sql = "SELECT id FROM api_keys WHERE user_id = ? AND status <> 'deleted'";
    let mut ended = 0;
    for row in tx.fetch_all(sql, &[user.into()]).await? {
        let values: [Value; 3] = [no_secrets().into(), at.into(), row.text("id")?.into()];
        let update = "UPDATE api_keys SET hash = ?, previous_hash = NULL, previous_until = NULL, status = 'disabled', \
                      updated_at = ? WHERE id = ?";
        ended += tx.execute(update, &values).await?;
    }
    Ok(ended)
}

/// A key inside a change, where nobody else can change it.
async fn locked(tx: &mut Tx, user: AccountId, id: KeyId) -> Result<Key, DirectoryError> {
    let sql =
        format!("SELECT {} FROM api_keys WHERE id = ? AND user_id = ? AND status <> 'deleted'", selected());
    let row = tx.fetch_optional(&sql, &[id.into(), user.into()]).await?;
    key(&row.ok_or(DirectoryError::NotFound("key"))?)
}
