//! Deletions: a person's rows are erased, the account they had stays on the ledger.
//!
//! For: erasing within one change, and keeping track of accounts that are still to be closed. What closing means on the ledger
//! is [`crate::deletion`]'s.
//! May not touch: balances.
//! Claims: what identifies a person is gone from every table here when the call returns ([`PERSONAL`] names them, and a test
//! that there are no others); their keys open nothing and their sessions are over; their name and address are free; a row
//! with their id stays, so that the ledger and the audit log point at somebody; the last active owner is not deleted.

use super::{
    Directory, DirectoryError, act,
    imported_password::NO_PASSWORD,
    notice::{self, Notice},
    now,
    user::{COLUMNS, Role, fold, user},
};
use domain::{AccountId, Actor, Credits, Moment};
use projections::{Row, Tx, Value};
use serde_json::json;

/// The tables that hold a person's rows, with the column that says whose: erased with them.
pub(super) const PERSONAL: &[(&str, &str)] = &[
    ("sessions", "user_id"),
    ("email_tokens", "subject"),
    ("user_settings", "user_id"),
    ("mails", "subject_id"),
    ("webhooks", "user_id"),
    ("webhook_deliveries", "user_id"),
    ("totp_secrets", "user_id"),
    ("recovery_codes", "user_id"),
    ("passkeys", "user_id"),
    ("login_challenges", "user_id"),
    ("identities", "user_id"),
    ("login_attempts", "user_id"),
    ("referral_codes", "user_id"),
];

/// Who is to be deleted, and on whose word.
#[derive(Clone, Debug)]
pub struct NewDeletion {
    /// Whom.
    pub user: AccountId,
    /// Who says so: they themselves, or somebody whose role governs theirs.
    pub by: AccountId,
    /// The role of whoever says so; `None`: they themselves.
    pub role: Option<Role>,
    /// Why, in the operator's words; empty: their own wish.
    pub reason: String,
    /// All that had come into the account by then: no later credit is forfeited.
    pub credits_in: Credits,
}

/// A deleted user's account, and how far its closing has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Whose it was.
    pub user: AccountId,
    /// When they were erased.
    pub deleted_at: Moment,
    /// On whose word.
    pub by: AccountId,
    /// Why, in the operator's words; empty: their own wish.
    pub reason: String,
    /// All that had come in by then.
    pub credits_in: Credits,
    /// What was forfeited so far.
    pub forfeited: Credits,
    /// The position of the last forfeiture.
    pub event_seq: Option<u64>,
    /// When nothing was left to forfeit; `None`: leases are still open.
    pub closed_at: Option<Moment>,
}

const DELETION: &str = "user_id, deleted_at, deleted_by, reason, credits_in, forfeited, event_seq, closed_at";

fn deletion(row: &Row) -> Result<Deletion, DirectoryError> {
    Ok(Deletion {
        user: row.parsed("user_id")?,
        deleted_at: row.moment("deleted_at")?,
        by: row.parsed("deleted_by")?,
        reason: row.text("reason")?,
        credits_in: row.credits("credits_in")?,
        forfeited: row.credits("forfeited")?,
        event_seq: row.opt_count("event_seq")?,
        closed_at: row.opt_moment("closed_at")?,
    })
}

/// What stands where a name and an address were: nobody can register it, for neither may look so.
fn tombstone(id: AccountId) -> (String, String) {
    let simple = id.uuid().simple().to_string();
    // A name has room for 32 characters: the last digit of the id's time and its version are left out.
    (format!("~{}{}", &simple[..11], &simple[13..]), format!("~{simple}"))
}

impl Directory {
    /// Erases a user. Repeated, it answers what the first call did.
    pub async fn delete_user(&self, it: NewDeletion, actor: Actor) -> Result<Deletion, DirectoryError> {
        let at = now();
        let mut change = self.change().await?;
        if let Some(done) = find(&mut change.tx, it.user).await? {
            return Ok(done);
        }
        let sql = format!("SELECT {COLUMNS} FROM users WHERE id = ?");
        let row = change.tx.fetch_optional(&sql, &[it.user.into()]).await?;
        let before = user(&row.ok_or(DirectoryError::NotFound("user"))?)?;
        match it.role {
            None => {}
            Some(role) if role == Role::Support || !role.governs(before.role) => {
                return Err(DirectoryError::NotAllowed(
                    "only an owner deletes owners and admins, and support nobody",
                ));
            }
            Some(_) => {}
        }
        // Also mails that were asked for by whoever has the address: their rows name nobody.
        let mails = "DELETE FROM mails WHERE subject_id = ? OR recipient = ? OR LOWER(recipient) = ?";
        let whose: [Value; 3] = [it.user.into(), before.email.as_str().into(), fold(&before.email).into()];
        change.tx.execute(mails, &whose).await?;
        // The last one, in a language that is forgotten below; it is forgotten itself once it has left.
        notice::notify(&mut change.tx, it.user, &Notice::AccountDeleted, at).await?;
        for (table, column) in PERSONAL.iter().filter(|(table, _)| *table != "mails") {
            let erase = format!("DELETE FROM {table} WHERE {column} = ?");
            change.tx.execute(&erase, &[it.user.into()]).await?;
        }
        erase_keys(&mut change.tx, it.user, at).await?;
        let (name, address) = tombstone(it.user);
        let values: [Value; 9] = [
            name.as_str().into(),
            name.as_str().into(),
            address.as_str().into(),
            address.as_str().into(),
            address.as_str().into(),
            NO_PASSWORD.into(),
            Role::User.as_str().into(),
            at.into(),
            it.user.into(),
        ];
        let update = "UPDATE users SET username = ?, username_folded = ?, email = ?, email_folded = ?, email_alias = ?, \
                      email_wanted = NULL, password_hash = ?, role = ?, status = 'disabled', email_verified = 0, \
                      last_login_at = NULL, deleted_at = ? WHERE id = ?";
        change.tx.execute(update, &values).await?;
        let owners = "SELECT COUNT(*) AS n FROM users WHERE role = 'owner' AND status = 'active'";
        if before.role == Role::Owner && change.tx.fetch_one(owners, &[]).await?.int("n")? == 0 {
            return Err(DirectoryError::LastOwner);
        }
        let made = Deletion {
            user: it.user,
            deleted_at: at,
            by: it.by,
            reason: it.reason,
            credits_in: it.credits_in,
            forfeited: Credits::ZERO,
            event_seq: None,
            closed_at: None,
        };
        let values: [Value; 6] = [
            made.user.into(),
            at.into(),
            made.by.into(),
            made.reason.as_str().into(),
            made.credits_in.into(),
            made.forfeited.into(),
        ];
        let insert = "INSERT INTO account_deletions (user_id, deleted_at, deleted_by, reason, credits_in, forfeited) \
                      VALUES (?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await?;
        let after = json!({"role": before.role, "reason": made.reason});
        change.acts.push(act(actor, "user.delete", made.user.to_string(), None, Some(after)));
        self.finish(change).await?;
        Ok(made)
    }

    /// A deletion, if this user was deleted.
    pub async fn deletion(&self, user: AccountId) -> Result<Option<Deletion>, DirectoryError> {
        let sql = format!("SELECT {DELETION} FROM account_deletions WHERE user_id = ?");
        self.0.db.fetch_optional(&sql, &[user.into()]).await?.as_ref().map(deletion).transpose()
    }

    /// Deletions, newest account first, from below `before`.
    pub async fn deletions(
        &self,
        before: Option<uuid::Uuid>,
        limit: u32,
    ) -> Result<Vec<Deletion>, DirectoryError> {
        let sql = format!(
            "SELECT {DELETION} FROM account_deletions WHERE user_id < ? ORDER BY user_id DESC LIMIT ?"
        );
        let before = before.map_or("~".to_owned(), |id| id.to_string());
        self.0
            .db
            .fetch_all(&sql, &[before.into(), i64::from(limit).into()])
            .await?
            .iter()
            .map(deletion)
            .collect()
    }

    /// Deletions whose account is not closed yet.
    pub async fn open_deletions(&self) -> Result<Vec<Deletion>, DirectoryError> {
        let sql = format!("SELECT {DELETION} FROM account_deletions WHERE closed_at IS NULL LIMIT 500");
        self.0.db.fetch_all(&sql, &[]).await?.iter().map(deletion).collect()
    }

    /// Notes what was forfeited in all and, where nothing is left, that the account is closed.
    pub async fn note_forfeited(
        &self,
        user: AccountId,
        forfeited: Credits,
        event_seq: Option<u64>,
        closed: bool,
    ) -> Result<(), DirectoryError> {
        let sql = "UPDATE account_deletions SET forfeited = ?, event_seq = ?, closed_at = ? \
                   WHERE user_id = ? AND closed_at IS NULL";
        let closed_at: Option<Moment> = closed.then(now);
        let values: [Value; 4] =
            [forfeited.into(), Value::opt_count(event_seq), closed_at.into(), user.into()];
        self.0.db.execute(sql, &values).await?;
        Ok(())
    }

    /// What a user brought from another gateway as an opening balance: paid for there, for all that is known here.
    pub async fn opening_credits(&self, user: AccountId) -> Result<Credits, DirectoryError> {
        let sum = self.0.db.dialect().sum("credits");
        let sql = format!("SELECT {sum} AS n FROM imported_rows WHERE kind = 'user' AND target_id = ?");
        Ok(self.0.db.fetch_one(&sql, &[user.into()]).await?.credits("n")?.max(Credits::ZERO))
    }
}

async fn find(tx: &mut Tx, user: AccountId) -> Result<Option<Deletion>, DirectoryError> {
    let sql = format!("SELECT {DELETION} FROM account_deletions WHERE user_id = ?");
    tx.fetch_optional(&sql, &[user.into()]).await?.as_ref().map(deletion).transpose()
}

/// A key's row stays, for usage names it. Its name and networks are its owner's and go, and so do its secrets.
async fn erase_keys(tx: &mut Tx, user: AccountId, at: Moment) -> Result<(), DirectoryError> {
    let update = "UPDATE api_keys SET status = 'deleted', name = '', ip_allow = '[]', previous_hash = NULL, \
                  previous_until = NULL, updated_at = ? WHERE user_id = ?";
    tx.execute(update, &[at.into(), user.into()]).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
