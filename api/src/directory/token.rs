//! Tokens of mails: what a link in a mail proves about who follows it.
//!
//! For: making them, and using them up within a change.
//! Claims: a token is 256 random bits, of which the table holds the SHA-256 only; it is good for one purpose, for one user or
//! registration and for the address that it went to, once, and until it expires. Whatever is wrong with one is the same
//! refusal ([`DirectoryError::BadToken`]), so that nobody learns from it what exists.

use super::{Directory, DirectoryError, digest, now, random_token, words};
use domain::Moment;
use projections::{Tx, Value};
use relay::Secret;

words! {
    /// What a token is good for.
    Purpose {
        /// Proves that an address is its owner's.
        Verify = "verify",
        /// Sets a new password.
        Reset = "reset",
    }
}

impl Purpose {
    /// How long a token of this purpose lives, in milliseconds.
    pub const fn life_ms(self) -> i64 {
        match self {
            Self::Verify => 24 * 3_600_000,
            Self::Reset => 30 * 60_000,
        }
    }
}

/// What a token proved.
pub(super) struct Proven {
    /// The id of a user or of a registration.
    pub(super) subject: String,
    /// The address that the token went to.
    pub(super) email: String,
}

/// Uses a token up, and those of the same purpose and subject along with it. Of a crowd with the same token one succeeds.
pub(super) async fn consume(
    tx: &mut Tx,
    purpose: Purpose,
    token: &str,
    at: Moment,
) -> Result<Proven, DirectoryError> {
    let id = digest(token);
    let use_up = "UPDATE email_tokens SET used_at = ? WHERE id = ? AND purpose = ? AND used_at IS NULL AND expires_at > ?";
    let values: [Value; 4] = [at.into(), id.as_str().into(), purpose.as_str().into(), at.into()];
    if tx.execute(use_up, &values).await? != 1 {
        return Err(DirectoryError::BadToken);
    }
    let row = tx.fetch_one("SELECT subject, email FROM email_tokens WHERE id = ?", &[id.into()]).await?;
    let proven = Proven { subject: row.text("subject")?, email: row.text("email")? };
    let others = "UPDATE email_tokens SET used_at = ? WHERE subject = ? AND purpose = ? AND used_at IS NULL";
    tx.execute(others, &[at.into(), proven.subject.as_str().into(), purpose.as_str().into()]).await?;
    Ok(proven)
}

impl Directory {
    /// Makes a token for an address.
    pub async fn make_email_token(
        &self,
        purpose: Purpose,
        subject: &str,
        email: &str,
    ) -> Result<Secret, DirectoryError> {
        self.make_email_token_at(purpose, subject, email, now()).await
    }

    pub(super) async fn make_email_token_at(
        &self,
        purpose: Purpose,
        subject: &str,
        email: &str,
        at: Moment,
    ) -> Result<Secret, DirectoryError> {
        let token = random_token();
        let values: [Value; 6] = [
            digest(&token).into(),
            purpose.as_str().into(),
            subject.into(),
            email.into(),
            at.into(),
            at.plus_ms(purpose.life_ms()).into(),
        ];
        let insert = "INSERT INTO email_tokens (id, purpose, subject, email, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)";
        self.0.db.execute(insert, &values).await?;
        Ok(Secret::new(token))
    }
}
