//! Sessions: a random token that stands for a logged-in user.
//!
//! Claims: the table holds only the token's SHA-256; a session ends 30 days after the login, after 7 idle days, at
//! logout, when the password changes or the user is disabled.

use super::{Directory, DirectoryError, Status, now, user::Role, user::User};
use super::{digest, random_token};
use crate::session::Caller;
use domain::{AccountId, Moment};
use projections::{Row, Value};
use serde::Serialize;

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

/// A session, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// Its id: a hash of the token, which cannot be had from it.
    pub id: String,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Moment,
    /// When it was last used, to the minute.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Moment,
    /// When it ends at the latest.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Moment,
    /// The program that opened it, as it named itself.
    pub user_agent: String,
    /// The address that it was opened from; null where that is not known.
    pub address: Option<String>,
    /// Is it the one that asks?
    pub current: bool,
}

impl Directory {
    /// Opens a session for a user who has proven to be one.
    pub async fn open_session(&self, user: &User, user_agent: &str) -> Result<NewSession, DirectoryError> {
        self.open_session_from(user, user_agent, "").await
    }

    /// Opens a session, with the address that it comes from.
    pub async fn open_session_from(
        &self,
        user: &User,
        user_agent: &str,
        address: &str,
    ) -> Result<NewSession, DirectoryError> {
        let token = random_token();
        let at = now();
        let expires_at = at.plus_ms(LIFE_MS);
        let agent: String = user_agent.chars().filter(|c| !c.is_control()).take(200).collect();
        let values: [Value; 8] = [
            digest(&token).into(),
            user.id.into(),
            at.into(),
            expires_at.into(),
            at.into(),
            agent.into(),
            address.into(),
            at.into(),
        ];
        let mut tx = self.0.db.begin().await?;
        let insert = "INSERT INTO sessions (id, user_id, created_at, expires_at, last_seen_at, user_agent, address, confirmed_at) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
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
        let sql = "SELECT s.expires_at, s.last_seen_at, s.confirmed_at, u.id, u.username, u.role, u.status, u.group_name \
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
            confirmed_at: row.moment("confirmed_at")?,
            session,
        }))
    }

    /// The role of whose session this is, by its id; `None`: it is over. Asking is not using: it does not go on by this.
    pub async fn role_of_session(&self, session: &str) -> Result<Option<Role>, DirectoryError> {
        let at = now();
        let sql = "SELECT s.expires_at, s.last_seen_at, u.role, u.status \
                   FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = ?";
        let Some(row) = self.0.db.fetch_optional(sql, &[session.into()]).await? else { return Ok(None) };
        let ended = at >= row.moment("expires_at")? || at >= row.moment("last_seen_at")?.plus_ms(IDLE_MS);
        if ended || row.parsed::<Status>("status")? != Status::Active {
            return Ok(None);
        }
        Ok(Some(row.parsed("role")?))
    }

    /// Ends a session, by its id.
    pub async fn close_session(&self, session: &str) -> Result<(), DirectoryError> {
        self.0.db.execute("DELETE FROM sessions WHERE id = ?", &[session.into()]).await?;
        Ok(())
    }

    /// A user's sessions, the one used last first. `current`: the id of the one that asks.
    pub async fn sessions(&self, user: AccountId, current: &str) -> Result<Vec<SessionView>, DirectoryError> {
        let at = now();
        let sql = "SELECT id, created_at, last_seen_at, expires_at, user_agent, address FROM sessions \
                   WHERE user_id = ? AND expires_at > ? AND last_seen_at > ? ORDER BY last_seen_at DESC, id LIMIT 1000";
        let values: [Value; 3] = [user.into(), at.into(), at.plus_ms(-IDLE_MS).into()];
        let view = |row: &Row| {
            let id = row.text("id")?;
            Ok(SessionView {
                created_at: row.moment("created_at")?,
                last_seen_at: row.moment("last_seen_at")?,
                expires_at: row.moment("expires_at")?,
                user_agent: row.text("user_agent")?,
                address: Some(row.text("address")?).filter(|address| !address.is_empty()),
                current: id == current,
                id,
            })
        };
        self.0.db.fetch_all(sql, &values).await?.iter().map(view).collect()
    }

    /// Ends one of a user's sessions.
    pub async fn end_session(&self, user: AccountId, session: &str) -> Result<(), DirectoryError> {
        let sql = "DELETE FROM sessions WHERE id = ? AND user_id = ?";
        match self.0.db.execute(sql, &[session.into(), user.into()]).await? {
            0 => Err(DirectoryError::NotFound("session")),
            _ => Ok(()),
        }
    }

    /// Ends all of a user's sessions.
    pub async fn end_sessions(&self, user: AccountId) -> Result<(), DirectoryError> {
        self.0.db.execute("DELETE FROM sessions WHERE user_id = ?", &[user.into()]).await?;
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
