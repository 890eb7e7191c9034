//! Registrations: people who want to join, and the proof of an address.
//!
//! For: asking to join where an address must be proven, joining at once where not, and what a token from a mail proves.
//! May not touch: sending mail; a request for one is put into the queue with the change.
//! Claims: where addresses are proven, asking to join does and leaves the same whether the address is known or not; an address
//! becomes a user's only if they have shown that mail to it reaches them, or nobody asks for that; a token works for the
//! address that the user has or has asked for, and for no other.

use super::{
    Directory, DirectoryError, Status, act, invitation,
    key::end_secrets,
    mail::{self, MailKind},
    notice::{self, Notice},
    now, referral, second_factor,
    settings::{self, Language, Settings},
    token::{self, Purpose},
    user::{NewUser, Role, User, fold, insert_user},
};
use domain::{AccountId, Actor, ActorKind, Moment};
use projections::{Row, Tx, Value};
use serde_json::json;
use uuid::Uuid;

/// How long a registration waits for its proof, in milliseconds; as long as the token in the mail.
const LIFE_MS: i64 = Purpose::Verify.life_ms();

/// Who wants to join.
#[derive(Clone, Debug)]
pub struct NewRegistration {
    /// The name; see [`super::user::check_username`].
    pub username: String,
    /// The address; see [`super::user::check_email`].
    pub email: String,
    /// The password's hash.
    pub password_hash: String,
    /// The language of the mail, and of the user to be.
    pub language: Language,
    /// An invitation's code.
    pub invite: Option<String>,
    /// Who brought them.
    pub referrer: Option<AccountId>,
}

/// A registration that waits for its proof.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) id: String,
    pub(super) username: String,
    pub(super) email: String,
    pub(super) language: Language,
}

fn pending(row: &Row) -> Result<Pending, DirectoryError> {
    Ok(Pending {
        id: row.text("id")?,
        username: row.text("username")?,
        email: row.text("email")?,
        language: row.parsed("language")?,
    })
}

const COLUMNS: &str = "id, username, email, password_hash, language, referrer";

impl Directory {
    /// Asks to join: leaves a registration and a request for a mail, whether the address is known or not. Names are unique
    /// among users and registrations alike.
    pub async fn ask_to_join(&self, new: NewRegistration) -> Result<(), DirectoryError> {
        let (id, at, name) = (Uuid::now_v7().to_string(), now(), fold(&new.username));
        // By itself: within the change, two who register at once could lock each other's gaps on MySQL.
        let ended = "DELETE FROM registrations WHERE username_folded = ? AND expires_at <= ?";
        self.0.db.execute(ended, &[name.as_str().into(), at.into()]).await?;
        let mut change = self.change_aside().await?;
        let user = "SELECT id FROM users WHERE username_folded = ?";
        if change.tx.fetch_optional(user, &[name.as_str().into()]).await?.is_some() {
            return Err(DirectoryError::Taken("that username"));
        }
        if let Some(code) = &new.invite {
            invitation::redeem(&mut change.tx, code).await?;
        }
        let values: [Value; 10] = [
            id.as_str().into(),
            new.username.into(),
            name.into(),
            new.email.as_str().into(),
            fold(&new.email).into(),
            new.password_hash.into(),
            new.language.as_str().into(),
            at.into(),
            at.plus_ms(LIFE_MS).into(),
            new.referrer.into(),
        ];
        let insert = "INSERT INTO registrations (id, username, username_folded, email, email_folded, password_hash, \
                      language, created_at, expires_at, referrer) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        change.tx.execute(insert, &values).await.map_err(super::taken("that username"))?;
        mail::queue(&mut change.tx, MailKind::Verify, &new.email, new.language, Some(&id)).await?;
        self.finish(change).await
    }

    /// Joins at once, with an address that nobody has proven. With `with_mail` a mail asks for the proof.
    pub async fn join(
        &self,
        new: NewRegistration,
        fold_aliases: bool,
        with_mail: bool,
    ) -> Result<User, DirectoryError> {
        let mut change = self.change_aside().await?;
        if let Some(code) = &new.invite {
            invitation::redeem(&mut change.tx, code).await?;
        }
        let user = NewUser {
            username: new.username,
            email: new.email,
            password_hash: new.password_hash,
            role: Role::User,
            email_verified: false,
        };
        let id = AccountId::from_uuid(Uuid::now_v7());
        let made = insert_user(&mut change.tx, id, user, fold_aliases).await?;
        settings::put(&mut change.tx, id, &Settings::new(new.language)).await?;
        if let Some(referrer) = new.referrer {
            referral::note(&mut change.tx, id, &made.email, referrer).await?;
        }
        if with_mail {
            let subject = id.to_string();
            mail::queue(&mut change.tx, MailKind::Verify, &made.email, new.language, Some(&subject)).await?;
        }
        self.finish(change).await?;
        Ok(made)
    }

    /// The hash of the password of whoever waits to prove an address, by name or by address.
    pub async fn pending_password(&self, login: &str) -> Result<Option<String>, DirectoryError> {
        let column = if login.contains('@') { "email_folded" } else { "username_folded" };
        let sql = format!(
            "SELECT {COLUMNS} FROM registrations WHERE {column} = ? AND expires_at > ? ORDER BY id DESC LIMIT 1"
        );
        let row = self.0.db.fetch_optional(&sql, &[fold(login).into(), now().into()]).await?;
        row.map(|row| Ok(row.text("password_hash")?)).transpose()
    }

    /// The newest registration of an address, or the one with this id.
    pub(super) async fn pending(
        &self,
        id: Option<&str>,
        email: &str,
        at: Moment,
    ) -> Result<Option<Pending>, DirectoryError> {
        let mut sql =
            format!("SELECT {COLUMNS} FROM registrations WHERE email_folded = ? AND expires_at > ?");
        let mut values: Vec<Value> = vec![fold(email).into(), at.into()];
        if let Some(id) = id {
            sql.push_str(" AND id = ?");
            values.push(id.into());
        }
        sql.push_str(" ORDER BY id DESC LIMIT 1");
        self.0.db.fetch_optional(&sql, &values).await?.as_ref().map(pending).transpose()
    }

    /// Lets a registration live as long as the token of a new mail.
    pub(super) async fn prolong(&self, registration: &str, at: Moment) -> Result<(), DirectoryError> {
        let sql = "UPDATE registrations SET expires_at = ? WHERE id = ?";
        self.0.db.execute(sql, &[at.plus_ms(LIFE_MS).into(), registration.into()]).await?;
        Ok(())
    }

    /// Uses a token that proves an address: a registration becomes a user, a user's address is proven.
    pub async fn prove_email(&self, token: &str, fold_aliases: bool) -> Result<User, DirectoryError> {
        self.prove_email_at(token, fold_aliases, now()).await
    }

    pub(super) async fn prove_email_at(
        &self,
        token: &str,
        fold_aliases: bool,
        at: Moment,
    ) -> Result<User, DirectoryError> {
        let mut change = self.change_aside().await?;
        let proven = token::consume(&mut change.tx, Purpose::Verify, token, at).await?;
        let sql = format!("SELECT {COLUMNS} FROM registrations WHERE id = ? AND email_folded = ?");
        let values = [proven.subject.as_str().into(), fold(&proven.email).into()];
        let id: AccountId = proven.subject.parse().map_err(|error| super::corrupt("email_tokens", error))?;
        let user = match change.tx.fetch_optional(&sql, &values).await? {
            Some(row) => {
                let new = NewUser {
                    username: row.text("username")?,
                    email: row.text("email")?,
                    password_hash: row.text("password_hash")?,
                    role: Role::User,
                    email_verified: true,
                };
                let user = insert_user(&mut change.tx, id, new, fold_aliases).await?;
                settings::put(&mut change.tx, id, &Settings::new(row.parsed("language")?)).await?;
                if let Some(referrer) = row.opt_parsed("referrer")? {
                    referral::note(&mut change.tx, id, &user.email, referrer).await?;
                }
                change.tx.execute("DELETE FROM registrations WHERE id = ?", &values[..1]).await?;
                user
            }
            None => self.prove_users_email(&mut change.tx, id, &proven.email).await?,
        };
        let told = json!({"verified": true});
        let actor = crate::session::actor(ActorKind::User, id);
        change.acts.push(act(actor, "user.verify_email", id.to_string(), None, Some(told)));
        self.finish(change).await?;
        Ok(user)
    }

    async fn prove_users_email(
        &self,
        tx: &mut projections::Tx,
        id: AccountId,
        email: &str,
    ) -> Result<User, DirectoryError> {
        let sql = format!("SELECT {}, email_wanted FROM users WHERE id = ?", super::user::COLUMNS);
        let row = tx.fetch_optional(&sql, &[id.into()]).await?.ok_or(DirectoryError::BadToken)?;
        let before = super::user::user(&row)?;
        let folded = fold(email);
        let theirs = fold(&before.email) == folded || row.opt_text("email_wanted")?.as_ref() == Some(&folded);
        if !theirs || before.status != Status::Active {
            return Err(DirectoryError::BadToken);
        }
        let values: [Value; 4] =
            [email.into(), folded.as_str().into(), super::user::alias(email).into(), id.into()];
        let update = "UPDATE users SET email = ?, email_folded = ?, email_alias = ?, email_wanted = NULL, \
                      email_verified = 1 WHERE id = ?";
        tx.execute(update, &values).await.map_err(super::taken("that e-mail address"))?;
        if fold(&before.email) != folded {
            let changed = Notice::EmailChanged { before: before.email.clone() };
            notice::notify(tx, id, &changed, now()).await?;
        }
        Ok(User { email: email.to_owned(), email_verified: true, ..before })
    }

    /// Asks for another address, which becomes the user's when it is proven.
    pub async fn want_email(
        &self,
        id: AccountId,
        email: &str,
        language: Language,
        actor: Actor,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        let update = "UPDATE users SET email_wanted = ? WHERE id = ?";
        change.tx.execute(update, &[fold(email).into(), id.into()]).await?;
        mail::queue(&mut change.tx, MailKind::Verify, email, language, Some(&id.to_string())).await?;
        change.acts.push(act(actor, "user.want_email", id.to_string(), None, None));
        self.finish(change).await
    }

    /// Uses a token up and sets its user's password. All their sessions end, and the address is proven: mail to it arrived.
    ///
    /// Where it was not proven before, whoever made the account need not be who reads its mail: every other way in that they
    /// left (passkeys, codes, other sites' logins, webhooks) is taken away, and its API keys are switched off.
    pub async fn reset_password(
        &self,
        token: &str,
        password_hash: String,
    ) -> Result<AccountId, DirectoryError> {
        self.reset_password_at(token, password_hash, now()).await
    }

    pub(super) async fn reset_password_at(
        &self,
        token: &str,
        password_hash: String,
        at: Moment,
    ) -> Result<AccountId, DirectoryError> {
        let mut change = self.change().await?;
        let proven = token::consume(&mut change.tx, Purpose::Reset, token, at).await?;
        let id: AccountId = proven.subject.parse().map_err(|error| super::corrupt("email_tokens", error))?;
        second_factor::lock(&mut change.tx, id).await?;
        let known = "SELECT email_verified FROM users WHERE id = ?";
        let row = change.tx.fetch_optional(known, &[id.into()]).await?.ok_or(DirectoryError::BadToken)?;
        let was_proven = row.truth("email_verified")?;
        let values: [Value; 3] = [password_hash.into(), id.into(), fold(&proven.email).into()];
        // An address that was wanted before is wanted no more: whoever knew the old password may have asked for it.
        let update = "UPDATE users SET password_hash = ?, email_verified = 1, email_wanted = NULL \
                      WHERE id = ? AND email_folded = ? AND status = 'active'";
        // Their address has changed since, or they were switched off.
        if change.tx.execute(update, &values).await? == 0 {
            return Err(DirectoryError::BadToken);
        }
        change.tx.execute("DELETE FROM sessions WHERE user_id = ?", &[id.into()]).await?;
        notice::notify(&mut change.tx, id, &Notice::PasswordChanged, at).await?;
        let actor = crate::session::actor(ActorKind::User, id);
        let after = match was_proven {
            true => None,
            false => Some(forget_the_maker(&mut change.tx, id, at).await?),
        };
        change.acts.push(act(actor, "user.reset_password", id.to_string(), None, after));
        self.finish(change).await?;
        Ok(id)
    }

    /// Deletes registrations and tokens that have ended.
    pub(super) async fn purge_registrations(&self) -> Result<(), DirectoryError> {
        let at = now();
        self.0.db.execute("DELETE FROM registrations WHERE expires_at <= ?", &[at.into()]).await?;
        let yesterday = at.plus_ms(-24 * 3_600_000);
        self.0.db.execute("DELETE FROM email_tokens WHERE expires_at < ?", &[yesterday.into()]).await?;
        Ok(())
    }
}

/// Takes away what an account's maker may have left to come back by; tells, for the audit, how much that was.
async fn forget_the_maker(
    tx: &mut Tx,
    user: AccountId,
    at: Moment,
) -> Result<serde_json::Value, DirectoryError> {
    let factors = second_factor::factors(tx, user).await?;
    second_factor::forget(tx, user).await?;
    let identities = tx.execute("DELETE FROM identities WHERE user_id = ?", &[user.into()]).await?;
    let webhooks = tx.execute("DELETE FROM webhooks WHERE user_id = ?", &[user.into()]).await?;
    let keys = end_secrets(tx, user, at).await?;
    Ok(json!({
        "was_proven": false, "passkeys": factors.passkeys, "totp": factors.totp_since.is_some(), "identities": identities,
        "webhooks": webhooks, "keys_revoked": keys,
    }))
}

#[cfg(test)]
mod tests;
