//! Sessions: a random token that stands for a logged-in user.
//!
//! Claims: the table holds only the token's SHA-256; a session ends 30 days after the login, after 7 idle days, at
//! logout, when the password changes or the user is disabled.

use super::{Directory, DirectoryError, Status, now, user::User};
use crate::session::Caller;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Moment;
use projections::Value;
use sha2::{Digest, Sha256};

/// The longest life of a session, in milliseconds.
pub const LIFE_MS: i64 = 30 * 24 * 3600 * 1000;
/// The longest pause between two requests of a session, in milliseconds.
pub const IDLE_MS: i64 = 7 * 24 * 3600 * 1000;
/// `last_seen_at` is written at most this often: a row written at every read would be the busiest of the database.
const SEEN_MS: i64 = 60_000;

/// A session just opened.
#[derive(Debug)]
pub struct NewSession {
    /// The token, shown once.
    pub token: String,
    /// When it ends at the latest.
    pub expires_at: Moment,
}

/// SHA-256 of a token, in hexadecimal.
fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

impl Directory {
    /// Opens a session for a user who has proven to be one.
    pub async fn open_session(&self, user: &User, user_agent: &str) -> Result<NewSession, DirectoryError> {
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let at = now();
        let expires_at = at.plus_ms(LIFE_MS);
        let agent: String = user_agent.chars().filter(|c| !c.is_control()).take(200).collect();
        let values: [Value; 6] =
            [digest(&token).into(), user.id.into(), at.into(), expires_at.into(), at.into(), agent.into()];
        let mut tx = self.0.db.begin().await?;
        let insert = "INSERT INTO sessions (id, user_id, created_at, expires_at, last_seen_at, user_agent) \
                      VALUES (?, ?, ?, ?, ?, ?)";
        tx.execute(insert, &values).await?;
        tx.execute("UPDATE users SET last_login_at = ? WHERE id = ?", &[at.into(), user.id.into()]).await?;
        tx.commit().await?;
        Ok(NewSession { token, expires_at })
    }

    /// Who a token stands for, if it still does.
    pub async fn session(&self, token: &str) -> Result<Option<Caller>, DirectoryError> {
        self.session_at(token, now()).await
    }

    pub(super) async fn session_at(&self, token: &str, at: Moment) -> Result<Option<Caller>, DirectoryError> {
        let session = digest(token);
        let sql = "SELECT s.expires_at, s.last_seen_at, u.id, u.username, u.role, u.status, u.group_name \
                   FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = ?";
        let Some(row) = self.0.db.fetch_optional(sql, &[session.as_str().into()]).await? else {
            return Ok(None);
        };
        let last_seen_at = row.moment("last_seen_at")?;
        let ended = at >= row.moment("expires_at")? || at >= last_seen_at.plus_ms(IDLE_MS);
        if ended || row.parsed::<Status>("status")? != Status::Active {
            return Ok(None);
        }
        if at > last_seen_at.plus_ms(SEEN_MS) {
            let update = "UPDATE sessions SET last_seen_at = ? WHERE id = ?";
            self.0.db.execute(update, &[at.into(), session.as_str().into()]).await?;
        }
        Ok(Some(Caller {
            user: row.parsed("id")?,
            username: row.text("username")?,
            role: row.parsed("role")?,
            group: row.text("group_name")?,
            session,
        }))
    }

    /// Ends a session, by its id.
    pub async fn close_session(&self, session: &str) -> Result<(), DirectoryError> {
        self.0.db.execute("DELETE FROM sessions WHERE id = ?", &[session.into()]).await?;
        Ok(())
    }

    /// Deletes the sessions that ended by themselves.
    pub(super) async fn purge_sessions(&self) -> Result<(), DirectoryError> {
        let at = now();
        let sql = "DELETE FROM sessions WHERE expires_at < ? OR last_seen_at < ?";
        self.0.db.execute(sql, &[at.into(), at.plus_ms(-IDLE_MS).into()]).await?;
        Ok(())
    }
}
