//! Identities: who a user is at other sites by which they log in, and logins by those sites that are under way.
//!
//! For: which user an identity stands for, linking and unlinking, joining by one, and what must come back with a browser.
//! May not touch: the sites themselves ([`crate::issuers`]).
//! Claims: an identity stands for one user, and never passes to another by itself; nobody loses the last way to log in; a login
//! under way is used up once, by the browser that began it, within ten minutes.

use super::{
    Directory, DirectoryError, act, digest,
    imported_password::NO_PASSWORD,
    invitation,
    notice::{self, LoginChange, Notice},
    now,
    settings::{self, Language, Settings},
    taken,
    user::{NewUser, Role, User, check_username, fold, insert_user, user},
};
use domain::{AccountId, Actor, ActorKind, Moment};
use projections::{Row, Tx, Value};
use relay::Secret;
use serde_json::json;
use uuid::Uuid;

/// How long a login may be under way, in milliseconds.
pub const ATTEMPT_MS: i64 = 10 * 60_000;
/// Links that a user may have.
const MOST: i64 = 20;

/// Who somebody is at an issuer.
#[derive(Clone, Copy, Debug)]
pub struct IdentityName<'a> {
    /// The issuer's address.
    pub issuer: &'a str,
    /// Who they are there.
    pub subject: &'a str,
}

impl IdentityName<'_> {
    /// The key of its row.
    fn id(self) -> String {
        digest(&format!("{}\n{}", self.issuer, self.subject))
    }
}

/// An identity of a user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: String,
    /// The issuer's address.
    pub issuer: String,
    /// What they are called there.
    pub label: String,
    /// When it was linked.
    pub created_at: Moment,
    /// When it was last logged in by.
    pub last_used_at: Moment,
}

/// A login by an issuer that begins.
#[derive(Clone, Debug)]
pub struct NewAttempt<'a> {
    /// What comes back in the address.
    pub state: &'a str,
    /// What comes back in the cookie.
    pub browser: &'a str,
    /// The issuer's id in the configuration.
    pub issuer: &'a str,
    /// What comes back in the ID token.
    pub nonce: &'a str,
    /// The verifier of PKCE.
    pub verifier: &'a Secret,
    /// Who wants to link, and their session; `None`: somebody wants in.
    pub links: Option<Linking>,
    /// An invitation's code.
    pub invite: Option<&'a str>,
    /// Where to go at the end: a path of ours.
    pub return_to: &'a str,
}

/// Who wants to link an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linking {
    /// The user.
    pub user: AccountId,
    /// The id of the session that asked.
    pub session: String,
}

/// A login by an issuer that has come back.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What must stand in the ID token.
    pub nonce: String,
    /// The verifier of PKCE.
    pub verifier: Secret,
    /// Who wants to link.
    pub links: Option<Linking>,
    /// SHA-256 of an invitation's code.
    pub invite_hash: Option<String>,
    /// Where to go now.
    pub return_to: String,
}

/// Who wants to join by an issuer that vouches for their address.
#[derive(Clone, Debug)]
pub struct NewByIdentity<'a> {
    /// Who they are there.
    pub identity: IdentityName<'a>,
    /// What they are called there; a name is made of it.
    pub called: &'a str,
    /// Their address.
    pub email: &'a str,
    /// The language of pages and mails.
    pub language: Language,
    /// SHA-256 of an invitation's code.
    pub invite_hash: Option<&'a str>,
}

fn identity(row: &Row) -> Result<Identity, DirectoryError> {
    Ok(Identity {
        id: row.text("id")?,
        issuer: row.text("issuer")?,
        label: row.text("label")?,
        created_at: row.moment("created_at")?,
        last_used_at: row.moment("last_used_at")?,
    })
}

/// What is shown of a name elsewhere.
fn shown(label: &str) -> String {
    label.chars().filter(|c| !c.is_control()).take(120).collect()
}

impl Directory {
    /// Notes that a login has begun.
    pub async fn begin_attempt(&self, new: NewAttempt<'_>) -> Result<(), DirectoryError> {
        let (user, session) = new.links.map(|it| (it.user.to_string(), it.session)).unzip();
        let values: [Value; 10] = [
            digest(new.state).into(),
            digest(new.browser).into(),
            new.issuer.into(),
            new.nonce.into(),
            new.verifier.expose().into(),
            user.into(),
            session.into(),
            new.invite.map(digest).into(),
            new.return_to.into(),
            now().plus_ms(ATTEMPT_MS).into(),
        ];
        let insert = "INSERT INTO login_attempts (id, browser, issuer, nonce, verifier, user_id, session_id, invite_hash, \
                      return_to, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        self.0.db.execute(insert, &values).await?;
        Ok(())
    }

    /// Uses up a login that has come back. `None`: there is none, it is another browser's or another issuer's, it was used, or it
    /// took too long; which, nobody is told.
    pub async fn take_attempt(
        &self,
        issuer: &str,
        state: &str,
        browser: &str,
    ) -> Result<Option<Attempt>, DirectoryError> {
        self.take_attempt_at(issuer, state, browser, now()).await
    }

    pub(super) async fn take_attempt_at(
        &self,
        issuer: &str,
        state: &str,
        browser: &str,
        at: Moment,
    ) -> Result<Option<Attempt>, DirectoryError> {
        let mut tx = self.0.db.begin().await?;
        let which = "id = ? AND browser = ? AND issuer = ? AND expires_at > ?";
        let values: [Value; 4] = [digest(state).into(), digest(browser).into(), issuer.into(), at.into()];
        let sql = format!(
            "SELECT nonce, verifier, user_id, session_id, invite_hash, return_to FROM login_attempts WHERE {which}"
        );
        let Some(row) = tx.fetch_optional(&sql, &values).await? else { return Ok(None) };
        // Of two that come at once one deletes it.
        if tx.execute(&format!("DELETE FROM login_attempts WHERE {which}"), &values).await? != 1 {
            return Ok(None);
        }
        let links = match (row.opt_text("user_id")?, row.opt_text("session_id")?) {
            (Some(user), Some(session)) => {
                let user = user.parse().map_err(|error| super::corrupt("login_attempts", error))?;
                Some(Linking { user, session })
            }
            _ => None,
        };
        let attempt = Attempt {
            nonce: row.text("nonce")?,
            verifier: Secret::new(row.text("verifier")?),
            links,
            invite_hash: row.opt_text("invite_hash")?,
            return_to: row.text("return_to")?,
        };
        tx.commit().await?;
        Ok(Some(attempt))
    }

    /// Deletes logins that never came back.
    pub(super) async fn purge_attempts(&self) -> Result<(), DirectoryError> {
        self.0.db.execute("DELETE FROM login_attempts WHERE expires_at <= ?", &[now().into()]).await?;
        Ok(())
    }

    /// Who an identity stands for. Notes that it was used, and what they are called there now.
    pub async fn user_by_identity(
        &self,
        name: IdentityName<'_>,
        label: &str,
    ) -> Result<Option<User>, DirectoryError> {
        let id = name.id();
        let columns =
            super::user::COLUMNS.split(", ").map(|it| format!("u.{it}")).collect::<Vec<_>>().join(", ");
        let sql =
            format!("SELECT {columns} FROM identities i JOIN users u ON u.id = i.user_id WHERE i.id = ?");
        let Some(row) = self.0.db.fetch_optional(&sql, &[id.as_str().into()]).await? else {
            return Ok(None);
        };
        let update = "UPDATE identities SET last_used_at = ?, label = ? WHERE id = ?";
        self.0.db.execute(update, &[now().into(), shown(label).into(), id.into()]).await?;
        user(&row).map(Some)
    }

    /// A user's identities, the oldest first.
    pub async fn identities(&self, of: AccountId) -> Result<Vec<Identity>, DirectoryError> {
        let sql = "SELECT id, issuer, label, created_at, last_used_at FROM identities WHERE user_id = ? \
                   ORDER BY created_at, id";
        self.0.db.fetch_all(sql, &[of.into()]).await?.iter().map(identity).collect()
    }

    /// Can this user log in with a password?
    pub async fn has_password(&self, id: AccountId) -> Result<bool, DirectoryError> {
        Ok(self.password_hash(id).await?.is_some_and(|hash| hash != NO_PASSWORD))
    }

    /// Is this session of this user's still there?
    pub async fn session_is_open(&self, of: &Linking) -> Result<bool, DirectoryError> {
        let sql = "SELECT id FROM sessions WHERE id = ? AND user_id = ? AND expires_at > ?";
        let values = [of.session.as_str().into(), of.user.into(), now().into()];
        Ok(self.0.db.fetch_optional(sql, &values).await?.is_some())
    }

    /// Lets an identity stand for a user. One that stands for somebody already is refused, for the same user too.
    pub async fn link_identity(
        &self,
        of: AccountId,
        name: IdentityName<'_>,
        label: &str,
        actor: Actor,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        lock(&mut change.tx, of).await?;
        let count = "SELECT COUNT(*) AS n FROM identities WHERE user_id = ?";
        if change.tx.fetch_one(count, &[of.into()]).await?.int("n")? >= MOST {
            return Err(DirectoryError::TooMany { what: "identities", max: MOST });
        }
        insert_identity(&mut change.tx, of, name, label).await?;
        let told = json!({"issuer": name.issuer});
        notice::notify(&mut change.tx, of, &Notice::LoginChanged(LoginChange::IdentityLinked), now()).await?;
        change.acts.push(act(actor, "identity.link", of.to_string(), None, Some(told)));
        self.finish(change).await
    }

    /// Takes a link away. `usable` are the issuers by which one can log in at present; without one of them left a password or a
    /// passkey must be there.
    pub async fn unlink_identity(
        &self,
        of: AccountId,
        id: &str,
        usable: &[&str],
        actor: Actor,
    ) -> Result<(), DirectoryError> {
        let mut change = self.change_aside().await?;
        // Two at once must not each leave the other one's.
        lock(&mut change.tx, of).await?;
        let row = change
            .tx
            .fetch_optional("SELECT password_hash FROM users WHERE id = ?", &[of.into()])
            .await?
            .ok_or(DirectoryError::NotFound("identity"))?;
        let delete = "DELETE FROM identities WHERE id = ? AND user_id = ?";
        if change.tx.execute(delete, &[id.into(), of.into()]).await? == 0 {
            return Err(DirectoryError::NotFound("identity"));
        }
        let left = "SELECT issuer FROM identities WHERE user_id = ?";
        let mut leaves_a_way = row.text("password_hash")? != NO_PASSWORD;
        for row in change.tx.fetch_all(left, &[of.into()]).await? {
            leaves_a_way |= usable.contains(&row.text("issuer")?.as_str());
        }
        let passkeys = "SELECT COUNT(*) AS n FROM passkeys WHERE user_id = ?";
        leaves_a_way |= change.tx.fetch_one(passkeys, &[of.into()]).await?.int("n")? > 0;
        if !leaves_a_way {
            return Err(DirectoryError::LastWayIn);
        }
        notice::notify(&mut change.tx, of, &Notice::LoginChanged(LoginChange::IdentityUnlinked), now())
            .await?;
        change.acts.push(act(actor, "identity.unlink", of.to_string(), None, None));
        self.finish(change).await
    }

    /// Makes a user of somebody whom an issuer vouches for, without a password. The name is made of what they are called there,
    /// with a number where that is taken.
    pub async fn join_by_identity(
        &self,
        new: NewByIdentity<'_>,
        fold_aliases: bool,
    ) -> Result<User, DirectoryError> {
        let mut change = self.change_aside().await?;
        if let Some(hash) = new.invite_hash {
            invitation::redeem_hash(&mut change.tx, hash).await?;
        }
        let username = free_name(&mut change.tx, new.called).await?;
        let id = AccountId::from_uuid(Uuid::now_v7());
        let user = NewUser {
            username,
            email: new.email.to_owned(),
            password_hash: NO_PASSWORD.to_owned(),
            role: Role::User,
            email_verified: true,
        };
        let made = insert_user(&mut change.tx, id, user, fold_aliases).await?;
        settings::put(&mut change.tx, id, &Settings::new(new.language)).await?;
        insert_identity(&mut change.tx, id, new.identity, new.email).await?;
        let actor = crate::session::actor(ActorKind::User, id);
        let told = json!({"issuer": new.identity.issuer});
        change.acts.push(act(actor, "user.join_by_identity", id.to_string(), None, Some(told)));
        self.finish(change).await?;
        Ok(made)
    }
}

/// Makes changes of one user's ways to log in wait for each other.
async fn lock(tx: &mut Tx, user: AccountId) -> Result<(), DirectoryError> {
    tx.execute("UPDATE users SET password_hash = password_hash WHERE id = ?", &[user.into()]).await?;
    Ok(())
}

async fn insert_identity(
    tx: &mut Tx,
    of: AccountId,
    name: IdentityName<'_>,
    label: &str,
) -> Result<(), DirectoryError> {
    let at = now();
    let values: [Value; 7] = [
        name.id().into(),
        of.into(),
        name.issuer.into(),
        name.subject.into(),
        shown(label).into(),
        at.into(),
        at.into(),
    ];
    let insert = "INSERT INTO identities (id, user_id, issuer, subject, label, created_at, last_used_at) \
                  VALUES (?, ?, ?, ?, ?, ?, ?)";
    tx.execute(insert, &values).await.map_err(taken("that identity"))?;
    Ok(())
}

/// A name that nobody has and nobody waits for.
async fn free_name(tx: &mut Tx, called: &str) -> Result<String, DirectoryError> {
    let base = base_name(called);
    for n in 1..=20_u32 {
        let name = match n {
            1 => base.clone(),
            2..=9 => format!("{base}-{n}"),
            // There are many of that name.
            _ => format!("{base}-{:06x}", rand::random::<u32>() & 0xff_ffff),
        };
        let folded = fold(&name);
        let mut free = true;
        for table in ["users", "registrations"] {
            let sql = format!("SELECT id FROM {table} WHERE username_folded = ?");
            free &= tx.fetch_optional(&sql, &[folded.as_str().into()]).await?.is_none();
        }
        if free {
            return Ok(name);
        }
    }
    Err(DirectoryError::Taken("that username"))
}

/// What fits a name of what somebody is called: of an address, the part before the `@`.
fn base_name(called: &str) -> String {
    let local = called.split('@').next().unwrap_or_default();
    let mut name = String::new();
    for c in local.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    name.truncate(24);
    let name = name.trim_end_matches('-');
    match check_username(name) {
        Ok(()) => name.to_owned(),
        Err(_) if name.is_empty() => "user".to_owned(),
        Err(_) => format!("user-{name}"),
    }
}

#[cfg(test)]
mod tests;
