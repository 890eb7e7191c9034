//! Second factors: what besides the password lets somebody in. Codes of an app ([`totp`]), recovery codes, and passkeys
//! ([`super::passkey`]).
//!
//! For: setting them up and taking them away, whether a code is right, and the challenges that wait for one.
//! May not touch: who may ask (that is the edge's), sessions but for when they were last confirmed.
//! Claims: a secret stands in the table only sealed, for its user; a code is accepted once, by one process of many; recovery
//! codes live as long as there is something that they stand in for; every change is an act on AUDIT.

pub mod challenge;
mod recovery;
pub(crate) mod totp;

use super::{
    Directory, DirectoryError, act, digest,
    notice::{self, LoginChange, Notice},
    now,
    user::{Role, User, user},
};
use challenge::{Challenge, ChallengeKind, NewChallenge};
use domain::{AccountId, Actor, ActorKind, Moment};
use projections::{Tx, Value};
use relay::Secret;
use serde_json::json;

/// What a user has besides the password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondFactors {
    /// Since when an app's codes are asked for.
    pub totp_since: Option<Moment>,
    /// How many passkeys there are.
    pub passkeys: i64,
    /// How many recovery codes are left.
    pub recovery_codes: i64,
}

impl SecondFactors {
    /// Is there anything that a login by password has to ask for?
    pub fn any(&self) -> bool {
        self.totp_since.is_some() || self.passkeys > 0
    }
}

/// What a code turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Totp,
    Recovery,
}

/// A login that waits for a code, one try of which has been counted.
#[derive(Debug)]
pub struct WaitingLogin {
    /// Who logs in.
    pub user: AccountId,
    challenge: Challenge,
}

/// Under which name a user's secret is sealed.
fn owner_of(user: AccountId) -> String {
    format!("totp:{user}")
}

fn seconds(at: Moment) -> i64 {
    at.micros().div_euclid(1_000_000)
}

/// Makes changes of one user's factors wait for each other.
pub(super) async fn lock(tx: &mut Tx, user: AccountId) -> Result<(), DirectoryError> {
    tx.execute("UPDATE users SET role = role WHERE id = ?", &[user.into()]).await?;
    Ok(())
}

/// Takes all factors away, and what waits for one.
pub(super) async fn forget(tx: &mut Tx, user: AccountId) -> Result<(), DirectoryError> {
    for table in ["totp_secrets", "passkeys", "recovery_codes", "login_challenges"] {
        tx.execute(&format!("DELETE FROM {table} WHERE user_id = ?"), &[user.into()]).await?;
    }
    Ok(())
}

/// What a user has, within a change.
pub(super) async fn factors(tx: &mut Tx, user: AccountId) -> Result<SecondFactors, DirectoryError> {
    let row = tx.fetch_one(FACTORS, &[user.into(), user.into(), user.into()]).await?;
    read_factors(&row)
}

const FACTORS: &str = "SELECT \
    (SELECT confirmed_at FROM totp_secrets WHERE user_id = ?) AS totp_since, \
    (SELECT COUNT(*) FROM passkeys WHERE user_id = ?) AS passkeys, \
    (SELECT COUNT(*) FROM recovery_codes WHERE user_id = ? AND used_at IS NULL) AS recovery_codes";

fn read_factors(row: &projections::Row) -> Result<SecondFactors, DirectoryError> {
    Ok(SecondFactors {
        totp_since: row.opt_moment("totp_since")?,
        passkeys: row.int("passkeys")?,
        recovery_codes: row.int("recovery_codes")?,
    })
}

/// Makes recovery codes with the first factor; a second one finds them there.
pub(super) async fn first_codes(
    tx: &mut Tx,
    user: AccountId,
    before: &SecondFactors,
    at: Moment,
) -> Result<Vec<Secret>, DirectoryError> {
    if before.any() { Ok(Vec::new()) } else { recovery::make(tx, user, at).await }
}

/// Ends recovery codes with the last factor.
pub(super) async fn last_codes(tx: &mut Tx, user: AccountId) -> Result<(), DirectoryError> {
    if !factors(tx, user).await?.any() {
        recovery::end(tx, user).await?;
    }
    Ok(())
}

impl Directory {
    /// What a user has besides the password.
    pub async fn second_factors(&self, user: AccountId) -> Result<SecondFactors, DirectoryError> {
        read_factors(&self.0.db.fetch_one(FACTORS, &[user.into(), user.into(), user.into()]).await?)
    }

    /// Begins to set an app up: a new secret, which counts for nothing until a code of it has come. Answers the secret in
    /// base32 and the address that apps read from a QR code. `host`: of which gateway it is, as the app will show it.
    pub async fn begin_totp(&self, user: AccountId, host: &str) -> Result<(Secret, Secret), DirectoryError> {
        let username = self.user(user).await?.ok_or(DirectoryError::NotFound("user"))?.username;
        let secret = Secret::new(totp::new_secret());
        let sealed = self.0.sealer.seal(&secret, &owner_of(user))?;
        let mut change = self.change_aside().await?;
        lock(&mut change.tx, user).await?;
        if factors(&mut change.tx, user).await?.totp_since.is_some() {
            return Err(DirectoryError::TotpOn);
        }
        let values: [Value; 3] = [sealed.into(), now().into(), user.into()];
        let again = "UPDATE totp_secrets SET secret_sealed = ?, created_at = ?, last_step = 0 \
                     WHERE user_id = ? AND confirmed_at IS NULL";
        if change.tx.execute(again, &values).await? == 0 {
            let insert = "INSERT INTO totp_secrets (secret_sealed, created_at, user_id, last_step) VALUES (?, ?, ?, 0)";
            change.tx.execute(insert, &values).await?;
        }
        self.finish(change).await?;
        let uri = totp::uri(secret.expose(), &format!("{username}@{host}"));
        Ok((secret, Secret::new(uri)))
    }

    /// From now on a login asks for codes of the app, if this is one of them. Answers recovery codes where there was no
    /// second factor before.
    pub async fn confirm_totp(&self, user: AccountId, code: &str) -> Result<Vec<Secret>, DirectoryError> {
        self.confirm_totp_at(user, code, now()).await
    }

    pub(super) async fn confirm_totp_at(
        &self,
        user: AccountId,
        code: &str,
        at: Moment,
    ) -> Result<Vec<Secret>, DirectoryError> {
        let mut change = self.change_aside().await?;
        lock(&mut change.tx, user).await?;
        let before = factors(&mut change.tx, user).await?;
        if before.totp_since.is_some() {
            return Err(DirectoryError::TotpOn);
        }
        let step = self.find_step(&mut change.tx, user, code, at).await?.ok_or(DirectoryError::WrongCode)?;
        let codes = first_codes(&mut change.tx, user, &before, at).await?;
        let update = "UPDATE totp_secrets SET confirmed_at = ?, last_step = ? WHERE user_id = ?";
        change.tx.execute(update, &[at.into(), step.into(), user.into()]).await?;
        let actor = crate::session::actor(ActorKind::User, user);
        notice::notify(&mut change.tx, user, &Notice::LoginChanged(LoginChange::TotpOn), at).await?;
        change.acts.push(act(actor, "user.totp_on", user.to_string(), None, None));
        self.finish(change).await?;
        Ok(codes)
    }

    /// No code of the app is asked for any more.
    pub async fn end_totp(&self, user: AccountId) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        lock(&mut change.tx, user).await?;
        if change.tx.execute("DELETE FROM totp_secrets WHERE user_id = ?", &[user.into()]).await? == 0 {
            return Err(DirectoryError::NotFound("authenticator app"));
        }
        last_codes(&mut change.tx, user).await?;
        let actor = crate::session::actor(ActorKind::User, user);
        notice::notify(&mut change.tx, user, &Notice::LoginChanged(LoginChange::TotpOff), now()).await?;
        change.acts.push(act(actor, "user.totp_off", user.to_string(), None, None));
        self.finish(change).await
    }

    /// Makes recovery codes anew; the old ones end.
    pub async fn new_recovery_codes(&self, user: AccountId) -> Result<Vec<Secret>, DirectoryError> {
        let mut change = self.change_aside().await?;
        lock(&mut change.tx, user).await?;
        if !factors(&mut change.tx, user).await?.any() {
            return Err(DirectoryError::NoSecondFactor);
        }
        let codes = recovery::make(&mut change.tx, user, now()).await?;
        let actor = crate::session::actor(ActorKind::User, user);
        notice::notify(&mut change.tx, user, &Notice::LoginChanged(LoginChange::RecoveryCodesMade), now())
            .await?;
        change.acts.push(act(actor, "user.recovery_codes", user.to_string(), None, None));
        self.finish(change).await?;
        Ok(codes)
    }

    /// Takes another's second factors away, as someone of the role `by` may. They log in by password alone until they set
    /// one up again.
    pub async fn remove_second_factors(
        &self,
        id: AccountId,
        reason: &str,
        actor: Actor,
        by: Role,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        lock(&mut change.tx, id).await?;
        let sql = format!("SELECT {} FROM users WHERE id = ?", super::user::COLUMNS);
        let row = change.tx.fetch_optional(&sql, &[id.into()]).await?;
        let of = user(&row.ok_or(DirectoryError::NotFound("user"))?)?;
        if !by.governs(of.role) {
            return Err(DirectoryError::NotAllowed("only an owner does this to owners and admins"));
        }
        let before = factors(&mut change.tx, id).await?;
        if !before.any() {
            return Err(DirectoryError::NoSecondFactor);
        }
        forget(&mut change.tx, id).await?;
        let told = json!({"totp": before.totp_since.is_some(), "passkeys": before.passkeys});
        let after = json!({"reason": reason});
        notice::notify(&mut change.tx, id, &Notice::LoginChanged(LoginChange::SecondFactorsRemoved), now())
            .await?;
        change.acts.push(act(actor, "user.remove_second_factors", id.to_string(), Some(told), Some(after)));
        self.finish(change).await
    }

    /// Asks a user who has shown one factor for the second one.
    pub async fn ask_second_factor(&self, user: AccountId) -> Result<NewChallenge, DirectoryError> {
        self.ask_second_factor_at(user, now()).await
    }

    pub(super) async fn ask_second_factor_at(
        &self,
        user: AccountId,
        at: Moment,
    ) -> Result<NewChallenge, DirectoryError> {
        let hash = self.password_hash(user).await?.ok_or(DirectoryError::NotFound("user"))?;
        self.make_challenge(ChallengeKind::SecondFactor, Some(user), &digest(&hash), at).await
    }

    /// Counts a try at a login that waits for a code.
    pub async fn waiting_login(&self, token: &str) -> Result<WaitingLogin, DirectoryError> {
        self.waiting_login_at(token, now()).await
    }

    pub(super) async fn waiting_login_at(
        &self,
        token: &str,
        at: Moment,
    ) -> Result<WaitingLogin, DirectoryError> {
        let challenge = self.try_challenge(ChallengeKind::SecondFactor, token, at).await?;
        Ok(WaitingLogin { user: challenge.user.ok_or(DirectoryError::BadChallenge)?, challenge })
    }

    /// Ends a login that waited for a code, by an app's code or a recovery code: both the login and the code are used up, or
    /// neither is.
    pub async fn answer_login(&self, waiting: &WaitingLogin, code: &str) -> Result<User, DirectoryError> {
        self.answer_login_at(waiting, code, now()).await
    }

    pub(super) async fn answer_login_at(
        &self,
        waiting: &WaitingLogin,
        code: &str,
        at: Moment,
    ) -> Result<User, DirectoryError> {
        let mut change = self.change_aside().await?;
        if !challenge::use_up(&mut change.tx, &waiting.challenge, at).await? {
            return Err(DirectoryError::BadChallenge);
        }
        let sql = format!("SELECT {} FROM users WHERE id = ?", super::user::COLUMNS);
        let row = change.tx.fetch_optional(&sql, &[waiting.user.into()]).await?;
        let row = row.ok_or(DirectoryError::BadChallenge)?;
        // A new password ends what was begun with the old one.
        if digest(&row.text("password_hash")?) != waiting.challenge.state {
            return Err(DirectoryError::BadChallenge);
        }
        let found = self.use_code(&mut change, waiting.user, code, at).await?;
        found.ok_or(DirectoryError::WrongCode)?;
        self.finish(change).await?;
        user(&row)
    }

    /// Uses up a code of somebody who is logged in.
    pub async fn take_code(&self, user: AccountId, code: &str) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        let found = self.use_code(&mut change, user, code, now()).await?;
        found.ok_or(DirectoryError::WrongCode)?;
        self.finish(change).await
    }

    async fn use_code(
        &self,
        change: &mut super::Change,
        user: AccountId,
        code: &str,
        at: Moment,
    ) -> Result<Option<Code>, DirectoryError> {
        if totp::is_code(code) {
            if factors(&mut change.tx, user).await?.totp_since.is_none() {
                return Ok(None);
            }
            let Some(step) = self.find_step(&mut change.tx, user, code, at).await? else { return Ok(None) };
            // Whoever else has found the same step, in whatever process, finds it taken here, or took it.
            let take = "UPDATE totp_secrets SET last_step = ? WHERE user_id = ? AND last_step < ?";
            let taken = change.tx.execute(take, &[step.into(), user.into(), step.into()]).await? == 1;
            return Ok(taken.then_some(Code::Totp));
        }
        if !recovery::use_up(&mut change.tx, user, code, at).await? {
            return Ok(None);
        }
        let left = factors(&mut change.tx, user).await?.recovery_codes;
        let actor = crate::session::actor(ActorKind::User, user);
        let told = json!({"left": left});
        notice::notify(&mut change.tx, user, &Notice::LoginChanged(LoginChange::RecoveryCodeUsed), at)
            .await?;
        change.acts.push(act(actor, "user.recovery_code_used", user.to_string(), None, Some(told)));
        Ok(Some(Code::Recovery))
    }

    /// Which step a code is of, if it may be accepted.
    async fn find_step(
        &self,
        tx: &mut Tx,
        user: AccountId,
        code: &str,
        at: Moment,
    ) -> Result<Option<i64>, DirectoryError> {
        let sql = "SELECT secret_sealed, last_step FROM totp_secrets WHERE user_id = ?";
        let Some(row) = tx.fetch_optional(sql, &[user.into()]).await? else { return Ok(None) };
        let secret = self.0.sealer.open(&row.text("secret_sealed")?, &owner_of(user))?;
        Ok(totp::find(secret.expose(), code, totp::step_of(seconds(at)), row.int("last_step")?))
    }

    /// The owner of a session has just proven again to be who they are.
    pub async fn confirm_session(&self, session: &str) -> Result<Moment, DirectoryError> {
        let at = now();
        let sql = "UPDATE sessions SET confirmed_at = ? WHERE id = ?";
        self.0.db.execute(sql, &[at.into(), session.into()]).await?;
        Ok(at)
    }
}

#[cfg(test)]
mod tests;
