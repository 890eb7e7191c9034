//! Challenges: what was asked of somebody and waits for an answer, by a token that only they have.
//!
//! For: making them, counting the tries at answering, using them up within a change.
//! Claims: the table holds the token's SHA-256 only; a challenge is answered once, within five minutes and by at most five
//! tries, at whichever process; whatever is wrong with one is the same refusal.

use super::super::{Directory, DirectoryError, digest, now, random_token, words};
use domain::{AccountId, Moment};
use projections::{Tx, Value};
use relay::Secret;

/// How long a challenge waits for its answer, in milliseconds.
pub const LIFE_MS: i64 = 5 * 60_000;
/// How often an answer may be tried.
pub const MAX_TRIES: i64 = 5;

words! {
    /// What was asked for.
    ChallengeKind {
        /// A code, after a password or another's word.
        SecondFactor = "second_factor",
        /// A passkey's signature, of whoever has one.
        PasskeyLogin = "passkey_login",
        /// A new passkey.
        PasskeyRegistration = "passkey_registration",
    }
}

/// A challenge just made.
#[derive(Debug)]
pub struct NewChallenge {
    /// The token, shown once.
    pub token: Secret,
    /// When it is over.
    pub expires_at: Moment,
}

/// A challenge that may be answered.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) id: String,
    /// Whose answer it waits for; `None`: whoever's.
    pub(super) user: Option<AccountId>,
    /// What the answer is checked with.
    pub(super) state: String,
}

/// Uses a challenge up; false: somebody else did.
pub(super) async fn use_up(tx: &mut Tx, challenge: &Challenge, at: Moment) -> Result<bool, DirectoryError> {
    let update = "UPDATE login_challenges SET used_at = ? WHERE id = ? AND used_at IS NULL";
    Ok(tx.execute(update, &[at.into(), challenge.id.as_str().into()]).await? == 1)
}

impl Directory {
    /// Asks for something.
    pub(super) async fn make_challenge(
        &self,
        kind: ChallengeKind,
        user: Option<AccountId>,
        state: &str,
        at: Moment,
    ) -> Result<NewChallenge, DirectoryError> {
        let (token, expires_at) = (random_token(), at.plus_ms(LIFE_MS));
        let values: [Value; 6] = [
            digest(&token).into(),
            kind.as_str().into(),
            Value::opt_display(user),
            state.into(),
            at.into(),
            expires_at.into(),
        ];
        let insert = "INSERT INTO login_challenges (id, kind, user_id, state, tries, created_at, expires_at) \
                      VALUES (?, ?, ?, ?, 0, ?, ?)";
        self.0.db.execute(insert, &values).await?;
        Ok(NewChallenge { token: Secret::new(token), expires_at })
    }

    /// Counts a try at a challenge before anybody looks at the answer, so that a crowd of guesses is no way around.
    pub(super) async fn try_challenge(
        &self,
        kind: ChallengeKind,
        token: &str,
        at: Moment,
    ) -> Result<Challenge, DirectoryError> {
        let id = digest(token);
        let count = "UPDATE login_challenges SET tries = tries + 1 \
                     WHERE id = ? AND kind = ? AND used_at IS NULL AND expires_at > ? AND tries < ?";
        let values: [Value; 4] = [id.as_str().into(), kind.as_str().into(), at.into(), MAX_TRIES.into()];
        if self.0.db.execute(count, &values).await? != 1 {
            return Err(DirectoryError::BadChallenge);
        }
        let read = "SELECT user_id, state FROM login_challenges WHERE id = ?";
        // Whoever removed it meanwhile meant to.
        let row = self.0.db.fetch_optional(read, &values[..1]).await?.ok_or(DirectoryError::BadChallenge)?;
        Ok(Challenge { user: row.opt_parsed("user_id")?, state: row.text("state")?, id })
    }

    /// Deletes challenges that are over.
    pub(in crate::directory) async fn purge_challenges(&self) -> Result<(), DirectoryError> {
        let sql = "DELETE FROM login_challenges WHERE expires_at < ?";
        self.0.db.execute(sql, &[now().into()]).await?;
        Ok(())
    }
}
