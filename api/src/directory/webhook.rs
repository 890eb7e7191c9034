//! Webhooks: where a user wants notices to be sent, and the queue of calls on their way there.
//!
//! For: the address and its secret, queueing a call within a change, claiming the next ones, saying how they went.
//! May not touch: the network and signatures; that is [`crate::webhook`]. What happened; that is [`super::notice`].
//! Claims: a call is made once and keeps its id and its bytes at every try; one process at a time has it, by raising
//! `attempts` from what it read; of one user's calls one is under way at a time, so that a receiver who hangs holds up
//! nobody else; a secret is shown when it is made and stands sealed in the table.

use super::{Directory, DirectoryError, act, now, random_token, words};
use crate::secrets::Sealer;
use domain::{AccountId, Actor, Moment};
use projections::{Row, Tx, Value};
use relay::Secret;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use uuid::Uuid;

words! {
    /// How far a webhook's call has come.
    DeliveryState {
        /// It waits for its time.
        Queued = "queued",
        /// A process makes it.
        Sending = "sending",
        /// The receiver took it.
        Delivered = "delivered",
        /// Given up, until its owner asks again.
        Failed = "failed",
    }
}

/// A user's webhook, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Webhook {
    /// Where notices are posted.
    pub url: String,
    /// Until when the secret before the last rotation signs too; null: it does not.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub previous_until: Option<Moment>,
    /// When it was set up.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// When its address or secret last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Moment,
}

/// A call of a webhook, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    /// Its id, also the event's: the same at every try.
    pub id: Uuid,
    /// What happened: `balance.low`.
    pub event: String,
    /// The body that is posted, as JSON in a text.
    pub body: String,
    /// How far it has come.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next; null once it is done with.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try_at: Option<Moment>,
    /// The status that the last try was answered with; null: with none.
    pub last_status: Option<i64>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// When the receiver took it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<Moment>,
}

/// A call that this process may make.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub user: AccountId,
    /// What happened.
    pub event: String,
    /// Where it goes, as the webhook is now.
    pub url: String,
    /// What is posted.
    pub body: String,
    /// What signs it: the present secret and, for a day after a rotation, the one before.
    pub secrets: Vec<Secret>,
    /// How often it was tried, this time included.
    pub attempts: i64,
}

/// How a try ended that was not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What was wrong, in words that hold nothing of the answer.
    pub error: String,
}

/// A rotated secret signs beside the new one for so long, in milliseconds.
pub const OVERLAP_MS: i64 = 24 * 3_600_000;
/// How long a claim lasts, in milliseconds: much longer than a try may take.
pub const CLAIM_MS: i64 = 60_000;
/// Calls that are done with are kept so long, in milliseconds.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// How many of the calls that are due are looked at for those that may be made.
const LOOKED_AT: i64 = 256;

/// What a secret begins with, so that scanners and people recognise it.
const SECRET_PREFIX: &str = "whsec_";

const COLUMNS: &str =
    "id, event, body, state, attempts, next_try_at, last_status, last_error, created_at, delivered_at";

fn delivery(row: &Row) -> Result<Delivery, DirectoryError> {
    let state: DeliveryState = row.parsed("state")?;
    let waits = matches!(state, DeliveryState::Queued | DeliveryState::Sending);
    Ok(Delivery {
        id: row.parsed("id")?,
        event: row.text("event")?,
        body: row.text("body")?,
        state,
        attempts: row.int("attempts")?,
        next_try_at: if waits { Some(row.moment("next_try_at")?) } else { None },
        last_status: row.opt_int("last_status")?,
        last_error: Some(row.text("last_error")?).filter(|text| !text.is_empty()),
        created_at: row.moment("created_at")?,
        delivered_at: row.opt_moment("delivered_at")?,
    })
}

fn webhook(row: &Row) -> Result<Webhook, DirectoryError> {
    Ok(Webhook {
        url: row.text("url")?,
        previous_until: row.opt_moment("previous_until")?.filter(|until| now() < *until),
        created_at: row.moment("created_at")?,
        updated_at: row.moment("updated_at")?,
    })
}

/// Whose a sealed secret is: it opens for this webhook alone.
fn owner(user: AccountId) -> String {
    format!("webhook:{user}")
}

fn mint(sealer: &Sealer, user: AccountId) -> Result<(Secret, String), DirectoryError> {
    let secret = Secret::new(format!("{SECRET_PREFIX}{}", random_token()));
    let sealed = sealer.seal(&secret, &owner(user))?;
    Ok((secret, sealed))
}

/// What an audit entry says of an address: some receivers are told apart by a secret in the path.
fn host(url: &str) -> String {
    reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// Queues a call of a user's webhook within a change, if they have one.
pub(super) async fn queue(
    tx: &mut Tx,
    user: AccountId,
    event: &str,
    data: &serde_json::Value,
    at: Moment,
) -> Result<Option<Delivery>, DirectoryError> {
    let sql = "SELECT url FROM webhooks WHERE user_id = ?";
    if tx.fetch_optional(sql, &[user.into()]).await?.is_none() {
        return Ok(None);
    }
    let id = Uuid::now_v7();
    let body = json!({"id": id, "type": event, "created_at": at, "account": user, "data": data}).to_string();
    let values: [Value; 6] =
        [id.to_string().into(), user.into(), event.into(), body.as_str().into(), at.into(), at.into()];
    let insert = "INSERT INTO webhook_deliveries (id, user_id, event, body, state, attempts, next_try_at, last_error, \
                  created_at) VALUES (?, ?, ?, ?, 'queued', 0, ?, '', ?)";
    tx.execute(insert, &values).await?;
    Ok(Some(Delivery {
        id,
        event: event.to_owned(),
        body,
        state: DeliveryState::Queued,
        attempts: 0,
        next_try_at: Some(at),
        last_status: None,
        last_error: None,
        created_at: at,
        delivered_at: None,
    }))
}

impl Directory {
    /// A user's webhook.
    pub async fn webhook(&self, user: AccountId) -> Result<Option<Webhook>, DirectoryError> {
        let sql = "SELECT url, previous_until, created_at, updated_at FROM webhooks WHERE user_id = ?";
        self.0.db.fetch_optional(sql, &[user.into()]).await?.as_ref().map(webhook).transpose()
    }

    /// Sets where a user's notices go. The first time it makes the secret, which cannot be seen again; a new address keeps it.
    pub async fn put_webhook(
        &self,
        user: AccountId,
        url: &str,
        actor: Actor,
    ) -> Result<(Webhook, Option<Secret>), DirectoryError> {
        let at = now();
        let (secret, sealed) = mint(&self.0.sealer, user)?;
        let mut change = self.change_aside().await?;
        let update = "UPDATE webhooks SET url = ?, updated_at = ? WHERE user_id = ?";
        let known = change.tx.execute(update, &[url.into(), at.into(), user.into()]).await? == 1;
        if !known {
            let values: [Value; 5] = [user.into(), url.into(), sealed.into(), at.into(), at.into()];
            let insert = "INSERT INTO webhooks (user_id, url, secret_sealed, created_at, updated_at) \
                          VALUES (?, ?, ?, ?, ?)";
            change.tx.execute(insert, &values).await.map_err(super::taken("the webhook"))?;
        }
        let sql = "SELECT url, previous_until, created_at, updated_at FROM webhooks WHERE user_id = ?";
        let made = webhook(&change.tx.fetch_one(sql, &[user.into()]).await?)?;
        let after = json!({"host": host(url)});
        change.acts.push(act(actor, "webhook.put", user.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok((made, (!known).then_some(secret)))
    }

    /// Takes a user's webhook away; calls that wait are given up.
    pub async fn delete_webhook(&self, user: AccountId, actor: Actor) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        if change.tx.execute("DELETE FROM webhooks WHERE user_id = ?", &[user.into()]).await? == 0 {
            return Err(DirectoryError::NotFound("webhook"));
        }
        let give_up = "UPDATE webhook_deliveries SET state = 'failed', attempts = attempts + 1, \
                       last_error = 'the webhook was taken away' WHERE user_id = ? AND state IN ('queued', 'sending')";
        change.tx.execute(give_up, &[user.into()]).await?;
        change.acts.push(act(actor, "webhook.delete", user.to_string(), None, None));
        self.finish(change).await
    }

    /// Gives a webhook a new secret; the one before signs beside it for a day.
    pub async fn rotate_webhook_secret(
        &self,
        user: AccountId,
        actor: Actor,
    ) -> Result<(Webhook, Secret), DirectoryError> {
        let at = now();
        let (secret, sealed) = mint(&self.0.sealer, user)?;
        let mut change = self.change_aside().await?;
        let sql = "SELECT secret_sealed FROM webhooks WHERE user_id = ?";
        let row = change.tx.fetch_optional(sql, &[user.into()]).await?;
        let before = row.ok_or(DirectoryError::NotFound("webhook"))?.text("secret_sealed")?;
        let values: [Value; 6] = [
            sealed.into(),
            before.as_str().into(),
            at.plus_ms(OVERLAP_MS).into(),
            at.into(),
            user.into(),
            before.as_str().into(),
        ];
        // Of two rotations at once one is refused: the other's secret would be shown and never sign.
        let update = "UPDATE webhooks SET secret_sealed = ?, previous_sealed = ?, previous_until = ?, updated_at = ? \
                      WHERE user_id = ? AND secret_sealed = ?";
        if change.tx.execute(update, &values).await? == 0 {
            return Err(DirectoryError::Taken("the webhook"));
        }
        let sql = "SELECT url, previous_until, created_at, updated_at FROM webhooks WHERE user_id = ?";
        let after = webhook(&change.tx.fetch_one(sql, &[user.into()]).await?)?;
        change.acts.push(act(actor, "webhook.rotate_secret", user.to_string(), None, None));
        self.finish(change).await?;
        Ok((after, secret))
    }

    /// Queues a call that only tests the webhook.
    pub async fn test_webhook(&self, user: AccountId) -> Result<Delivery, DirectoryError> {
        let mut change = self.change_aside().await?;
        let queued = super::notice::notify(&mut change.tx, user, &super::notice::Notice::Test, now()).await?;
        let queued = queued.ok_or(DirectoryError::NotFound("webhook"))?;
        self.finish(change).await?;
        Ok(queued)
    }

    /// A user's calls, newest first.
    pub async fn deliveries(
        &self,
        user: AccountId,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Delivery>, DirectoryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM webhook_deliveries WHERE user_id = ? AND id < ? ORDER BY id DESC LIMIT ?"
        );
        // Every id sorts below "~".
        let before = before.map_or("~".to_owned(), |id| id.to_string());
        let values: [Value; 3] = [user.into(), before.into(), i64::from(limit).into()];
        self.0.db.fetch_all(&sql, &values).await?.iter().map(delivery).collect()
    }

    /// Tries one of a user's calls at once that was given up, that waits, or that was delivered and is wanted again.
    pub async fn retry_delivery(&self, user: AccountId, id: Uuid) -> Result<Delivery, DirectoryError> {
        let mut change = self.change_aside().await?;
        let sql = format!("SELECT {COLUMNS} FROM webhook_deliveries WHERE id = ? AND user_id = ?");
        let key: [Value; 2] = [id.to_string().into(), user.into()];
        let row = change.tx.fetch_optional(&sql, &key).await?.ok_or(DirectoryError::NotFound("delivery"))?;
        let has = "SELECT url FROM webhooks WHERE user_id = ?";
        if change.tx.fetch_optional(has, &[user.into()]).await?.is_none() {
            return Err(DirectoryError::NotFound("webhook"));
        }
        // One under way stays so: it is tried again anyhow if it fails.
        let retry = "UPDATE webhook_deliveries SET state = 'queued', next_try_at = ?, delivered_at = NULL \
                     WHERE id = ? AND state <> 'sending'";
        let moved = change.tx.execute(retry, &[now().into(), id.to_string().into()]).await?;
        if moved == 0 {
            return delivery(&row);
        }
        let after = delivery(&change.tx.fetch_one(&sql, &key).await?)?;
        self.finish(change).await?;
        Ok(after)
    }

    /// Claims calls whose time has come: of each user one at a time, and none while another of theirs is under way.
    pub async fn claim_deliveries(&self, limit: usize) -> Result<Vec<ClaimedDelivery>, DirectoryError> {
        self.claim_deliveries_at(limit, now()).await
    }

    pub(super) async fn claim_deliveries_at(
        &self,
        limit: usize,
        at: Moment,
    ) -> Result<Vec<ClaimedDelivery>, DirectoryError> {
        let due = "SELECT d.id, d.user_id, d.event, d.body, d.attempts, w.url, w.secret_sealed, w.previous_sealed, \
                   w.previous_until FROM webhook_deliveries d JOIN webhooks w ON w.user_id = d.user_id \
                   WHERE d.state IN ('queued', 'sending') AND d.next_try_at <= ? AND NOT EXISTS (SELECT 1 FROM \
                   webhook_deliveries o WHERE o.user_id = d.user_id AND o.state = 'sending' AND o.next_try_at > ?) \
                   ORDER BY d.next_try_at, d.id LIMIT ?";
        let (mut claimed, mut users) = (Vec::new(), BTreeSet::new());
        for row in self.0.db.fetch_all(due, &[at.into(), at.into(), LOOKED_AT.into()]).await? {
            if claimed.len() >= limit {
                break;
            }
            let user: AccountId = row.parsed("user_id")?;
            if !users.insert(user) {
                continue;
            }
            let (id, attempts) = (row.text("id")?, row.int("attempts")?);
            let claim = "UPDATE webhook_deliveries SET state = 'sending', attempts = ?, next_try_at = ? \
                         WHERE id = ? AND attempts = ? AND state IN ('queued', 'sending') AND next_try_at <= ?";
            let values: [Value; 5] = [
                (attempts + 1).into(),
                at.plus_ms(CLAIM_MS).into(),
                id.as_str().into(),
                attempts.into(),
                at.into(),
            ];
            if self.0.db.execute(claim, &values).await? == 1 {
                claimed.push(ClaimedDelivery {
                    id: row.parsed("id")?,
                    user,
                    event: row.text("event")?,
                    url: row.text("url")?,
                    body: row.text("body")?,
                    secrets: self.secrets_of(user, &row, at)?,
                    attempts: attempts + 1,
                });
            }
        }
        Ok(claimed)
    }

    /// What signs a user's calls. One that does not open, under another master key, is left out; a call without any is not made.
    fn secrets_of(&self, user: AccountId, row: &Row, at: Moment) -> Result<Vec<Secret>, DirectoryError> {
        let previous = row.opt_moment("previous_until")?.is_some_and(|until| at < until);
        let sealed =
            [Some(row.text("secret_sealed")?), row.opt_text("previous_sealed")?.filter(|_| previous)];
        let mut secrets = Vec::new();
        for sealed in sealed.into_iter().flatten() {
            match self.0.sealer.open(&sealed, &owner(user)) {
                Ok(secret) => secrets.push(secret),
                Err(error) => tracing::error!(%user, %error, "a webhook's secret cannot be used"),
            }
        }
        Ok(secrets)
    }

    /// A claimed call was taken.
    pub async fn delivery_taken(&self, it: &ClaimedDelivery, status: u16) -> Result<(), DirectoryError> {
        let sql = "UPDATE webhook_deliveries SET state = 'delivered', last_status = ?, last_error = '', delivered_at = ? \
                   WHERE id = ? AND attempts = ?";
        let values: [Value; 4] =
            [i64::from(status).into(), now().into(), it.id.to_string().into(), it.attempts.into()];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// A claimed call was not taken. `again_at`: when it is tried next; `None`: it is given up.
    pub async fn delivery_failed(
        &self,
        it: &ClaimedDelivery,
        failure: &Failure,
        again_at: Option<Moment>,
    ) -> Result<(), DirectoryError> {
        let state = if again_at.is_some() { DeliveryState::Queued } else { DeliveryState::Failed };
        let error: String = failure.error.chars().filter(|c| !c.is_control()).take(500).collect();
        let sql = "UPDATE webhook_deliveries SET state = ?, next_try_at = ?, last_status = ?, last_error = ? \
                   WHERE id = ? AND attempts = ?";
        let values: [Value; 6] = [
            state.as_str().into(),
            again_at.unwrap_or_else(now).into(),
            failure.status.map(i64::from).into(),
            error.into(),
            it.id.to_string().into(),
            it.attempts.into(),
        ];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// Deletes calls that are done with.
    pub(super) async fn purge_deliveries(&self) -> Result<(), DirectoryError> {
        let sql = "DELETE FROM webhook_deliveries WHERE state IN ('delivered', 'failed') AND created_at < ?";
        self.0.db.execute(sql, &[now().plus_ms(-KEPT_MS).into()]).await?;
        Ok(())
    }
}
